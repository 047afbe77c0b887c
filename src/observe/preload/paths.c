/* Turns the arguments of a call into a record with an absolute path. */
#define _GNU_SOURCE
#include "observer.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The path of the directory that `at` refers to, in `room`; returns its length. Uses system calls, because the C
 * library's functions would report themselves. */
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

/* Whether a path below /dev is one that shells and C libraries open in any case. Files in /dev/shm count like any
 * others. */
static int is_irrelevant_device(const char *path) {
    static const char *const paths[] = {
        "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/ptmx", "/dev/stdin",
        "/dev/stdout", "/dev/stderr", "/dev/fd",
    };
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (is_below(path, paths[i]))
            return 1;
    return 0;
}

/* Whether a path below /proc or /sys is one that std and C libraries read for themselves (number of processors,
 * limits), or another name of something that was opened before. */
static int is_irrelevant_system_file(const char *path) {
    static const char *const paths[] = {
        "/proc/self/fd", "/proc/self/exe", "/proc/self/maps", "/proc/self/auxv", "/proc/self/task",
        "/proc/self/mountinfo", "/proc/self/cgroup", "/proc/filesystems", "/proc/mounts", "/proc/stat",
        "/proc/meminfo", "/proc/sys", "/sys/fs", "/sys/devices/system", "/sys/kernel/mm",
    };
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (is_below(path, paths[i]))
            return 1;
    return 0;
}

/* Whether a path need not be recorded. A plugin may put anything that it reads below /proc or /sys into its result, so
 * such a read is LOST. */
static int is_irrelevant(const char *path, int plugin) {
    if (is_below(path, "/dev"))
        return is_irrelevant_device(path);
    if (!is_below(path, "/proc") && !is_below(path, "/sys"))
        return 0;
    /* kache can look at the processor itself, so this read is an ordinary input. */
    if (plugin && strcmp(path, "/proc/cpuinfo") == 0)
        return 0;
    if (plugin && !is_irrelevant_system_file(path))
        trace_once(KIND_LOST, RESULT_OTHER, plugin, trace_string(path), trace_string(NULL));
    return 1;
}

struct trace_text observer_path(int at, const char *path, int plugin, char room[PATH_ROOM]) {
    struct trace_text none = {NULL, 0};
    int saved = errno;
    if (is_below(path, ALIAS)) {
        at = AT_FDCWD;
        path += sizeof ALIAS - 1;
        path += strspn(path, "/");
    }
    size_t length = strlen(path), start = 0;
    /* Every call fails on such a path, in any checkout. */
    if (length >= PATH_MAX)
        return none;
    if (path[0] != '/') {
        long found = at == AT_FDCWD || at >= 0 ? directory(at, room) : -1;
        /* A pipe, a socket, or a directory that was removed. */
        if (found <= 0 || found >= PATH_ROOM || room[0] != '/') {
            if (at == AT_FDCWD)
                trace_once(KIND_LOST, RESULT_OTHER, 0, trace_string("the working directory"), none);
            errno = saved;
            return none;
        }
        start = (size_t)found;
        if (length > 0 && start < PATH_ROOM)
            room[start++] = '/';
    }
    errno = saved;
    if (start + length >= PATH_ROOM) {
        trace_once(KIND_LOST, RESULT_OTHER, 0, trace_string("a path that is too long"), none);
        return none;
    }
    memcpy(room + start, path, length);
    room[start + length] = 0;
    if (!strstr(room, "/..") && is_irrelevant(room, plugin))
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
    case ENAMETOOLONG:
    case ELOOP:
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
    /* A shell may act on a size or a time (`[ -s file ]`). */
    if (observer_is_shell() && (kind == KIND_STAT || kind == KIND_LSTAT))
        plugin = 1;
    struct trace_text text = observer_path(at, path, plugin, room);
    if (text.bytes)
        trace_once(kind, result, plugin, text, trace_string(NULL));
}

void observer_report(enum kind kind, int at, const char *path, int error, int plugin) {
    observer_report_as(kind, at, path, observer_result(error), plugin);
}
