/* From the arguments of a call to a record with an absolute path. */
#define _GNU_SOURCE
#include "observer.h"

#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Where what `dirfd` stands for begins. By system calls: the functions would report themselves. */
static long directory(int at, char *room) {
    if (at == AT_FDCWD)
        return syscall(SYS_getcwd, room, PATH_ROOM) - 1;
    char name[32] = "/proc/self/fd/";
    char digits[12];
    size_t count = 0, end = strlen(name);
    do
        digits[count++] = (char)('0' + at % 10);
    while ((at /= 10) > 0);
    while (count > 0)
        name[end++] = digits[--count];
    name[end] = 0;
    return syscall(SYS_readlinkat, AT_FDCWD, name, room, PATH_ROOM);
}

static int is_below(const char *path, const char *directory) {
    size_t length = strlen(directory);
    return strncmp(path, directory, length) == 0 && (path[length] == '/' || path[length] == 0);
}

struct trace_text observer_path(int at, const char *path, char room[PATH_ROOM]) {
    struct trace_text none = {NULL, 0};
    int saved = errno;
    size_t length = strlen(path), start = 0;
    if (path[0] != '/') {
        long found = at == AT_FDCWD || at >= 0 ? directory(at, room) : -1;
        /* A pipe, a socket, or a directory that is gone. */
        if (found <= 0 || found >= PATH_ROOM || room[0] != '/') {
            if (at == AT_FDCWD)
                trace_always(KIND_LOST, RESULT_OTHER, 0, trace_process(), trace_string("the working directory"));
            errno = saved;
            return none;
        }
        start = (size_t)found;
        if (length > 0 && start < PATH_ROOM)
            room[start++] = '/';
    }
    errno = saved;
    if (start + length >= PATH_ROOM) {
        trace_always(KIND_LOST, RESULT_OTHER, 0, trace_process(), trace_string("a path that is too long"));
        return none;
    }
    memcpy(room + start, path, length);
    room[start + length] = 0;
    if (is_below(room, "/proc") || is_below(room, "/sys") || is_below(room, "/dev"))
        return none;
    struct trace_text text = {room, start + length};
    return text;
}

int observer_result(int error) {
    switch (error) {
    case 0:
        return RESULT_OK;
    case ENOENT:
    case ENOTDIR:
        return RESULT_ABSENT;
    case EACCES:
    case EPERM:
        return RESULT_DENIED;
    default:
        return RESULT_OTHER;
    }
}

void observer_report_as(enum kind kind, int at, const char *path, int result, int plugin) {
    if (!trace_is_open() || !path || !path[0])
        return;
    char room[PATH_ROOM];
    struct trace_text text = observer_path(at, path, room);
    if (text.bytes)
        trace_once(kind, result, plugin, text, trace_string(NULL));
}

void observer_report(enum kind kind, int at, const char *path, int error, int plugin) {
    observer_report_as(kind, at, path, observer_result(error), plugin);
}
