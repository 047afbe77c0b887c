/* Calls that query files without opening them, resolve links, and list directories. */
#define _GNU_SOURCE
#include "observer.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

NEXT(access)
NEXT(faccessat)
NEXT(euidaccess)
NEXT(eaccess)
NEXT(stat)
NEXT(stat64)
NEXT(lstat)
NEXT(lstat64)
NEXT(fstatat)
NEXT(fstatat64)
NEXT(statx)
NEXT(readlink)
NEXT(readlinkat)
NEXT(realpath)
NEXT(canonicalize_file_name)
NEXT(getcwd)
NEXT(opendir)
NEXT(fdopendir)
NEXT(scandir)
NEXT(scandir64)

/* The variants that programs built for a glibc before 2.33, or with _FORTIFY_SOURCE, call. */
int __xstat(int version, const char *path, struct stat *stat);
int __lxstat(int version, const char *path, struct stat *stat);
int __fxstatat(int version, int at, const char *path, struct stat *stat, int flags);
int __xstat64(int version, const char *path, struct stat64 *stat);
int __lxstat64(int version, const char *path, struct stat64 *stat);
int __fxstatat64(int version, int at, const char *path, struct stat64 *stat, int flags);
ssize_t __readlink_chk(const char *path, char *room, size_t size, size_t real);
ssize_t __readlinkat_chk(int at, const char *path, char *room, size_t size, size_t real);
char *__realpath_chk(const char *path, char *room, size_t real);
char *__getcwd_chk(char *room, size_t size, size_t real);
NEXT(__xstat)
NEXT(__lxstat)
NEXT(__fxstatat)
NEXT(__xstat64)
NEXT(__lxstat64)
NEXT(__fxstatat64)
NEXT(__readlink_chk)
NEXT(__readlinkat_chk)
NEXT(__realpath_chk)
NEXT(__getcwd_chk)

static int result_of(int failed, mode_t mode) {
    if (failed)
        return observer_result(errno);
    return S_ISREG(mode) ? RESULT_FILE : S_ISDIR(mode) ? RESULT_DIRECTORY : S_ISLNK(mode) ? RESULT_LINK : RESULT_SPECIAL;
}

static enum kind kind_of(int flags) { return flags & AT_SYMLINK_NOFOLLOW ? KIND_LSTAT : KIND_STAT; }

#define STAT(name, type, kind, at, path, parameters, arguments, mode)                                                  \
    VISIBLE int name parameters {                                                                                      \
        int result = CALL(name) arguments;                                                                             \
        observer_report_as(kind, at, path, result_of(result != 0, result ? 0 : mode), FROM_PLUGIN);                    \
        return result;                                                                                                 \
    }
#define STATS(bits, type)                                                                                              \
    STAT(stat##bits, type, KIND_STAT, AT_FDCWD, path, (const char *path, type *stat), (path, stat), stat->st_mode)     \
    STAT(lstat##bits, type, KIND_LSTAT, AT_FDCWD, path, (const char *path, type *stat), (path, stat), stat->st_mode)   \
    STAT(fstatat##bits, type, kind_of(flags), at, path, (int at, const char *path, type *stat, int flags),             \
         (at, path, stat, flags), stat->st_mode)                                                                       \
    STAT(__xstat##bits, type, KIND_STAT, AT_FDCWD, path, (int version, const char *path, type *stat),                  \
         (version, path, stat), stat->st_mode)                                                                         \
    STAT(__lxstat##bits, type, KIND_LSTAT, AT_FDCWD, path, (int version, const char *path, type *stat),                \
         (version, path, stat), stat->st_mode)                                                                         \
    STAT(__fxstatat##bits, type, kind_of(flags), at, path,                                                             \
         (int version, int at, const char *path, type *stat, int flags), (version, at, path, stat, flags),             \
         stat->st_mode)
STATS(, struct stat)
STATS(64, struct stat64)

/* Programs check whether statx exists (glibc 2.28), and find this one. If the C library has none, the system call does
 * the same. */
VISIBLE int statx(int at, const char *path, int flags, unsigned mask, struct statx *stat) {
    int result = CALL(statx) ? next_statx(at, path, flags, mask, stat)
                             : (int)syscall(SYS_statx, at, path, flags, mask, stat);
    /* Rust's std passes null pointers to find out whether the system call exists. The header declares them as non-null,
     * so the compiler would remove the check below. */
    __asm__("" : "+r"(path));
    if (path && path[0])
        observer_report_as(kind_of(flags), at, path, result_of(result != 0, result ? 0 : stat->stx_mode), FROM_PLUGIN);
    return result;
}

/* These calls do not show the kind of the file. */
#define ACCESS(name, at, parameters, arguments)                                                                        \
    VISIBLE int name parameters {                                                                                      \
        int result = CALL(name) arguments;                                                                             \
        observer_report(KIND_STAT, at, path, result ? errno : 0, FROM_PLUGIN);                                         \
        return result;                                                                                                 \
    }
ACCESS(access, AT_FDCWD, (const char *path, int mode), (path, mode))
ACCESS(euidaccess, AT_FDCWD, (const char *path, int mode), (path, mode))
ACCESS(eaccess, AT_FDCWD, (const char *path, int mode), (path, mode))
ACCESS(faccessat, at, (int at, const char *path, int mode, int flags), (at, path, mode, flags))

/* Reports a read of the link at `path`. EINVAL means that the file is not a link, which is also a fact about the
 * file. */
static void report_link_read(int at, const char *path, const char *target, ssize_t length, int plugin) {
    if (length < 0) {
        if (errno == EINVAL)
            observer_report(KIND_LSTAT, at, path, 0, plugin);
        else
            observer_report(KIND_LSTAT, at, path, errno, plugin);
        return;
    }
    if (!trace_is_open() || !path[0])
        return;
    char room[PATH_ROOM];
    struct trace_text from = observer_path(at, path, plugin, room), to = {target, (size_t)length};
    if (from.bytes)
        trace_once(KIND_LINK, RESULT_OK, plugin, from, to);
}

#define READLINK(name, at, parameters, arguments)                                                                      \
    VISIBLE ssize_t name parameters {                                                                                  \
        ssize_t length = CALL(name) arguments;                                                                         \
        report_link_read(at, path, room, length, FROM_PLUGIN);                                                         \
        return length;                                                                                                 \
    }
READLINK(readlink, AT_FDCWD, (const char *path, char *room, size_t size), (path, room, size))
READLINK(readlinkat, at, (int at, const char *path, char *room, size_t size), (at, path, room, size))
READLINK(__readlink_chk, AT_FDCWD, (const char *path, char *room, size_t size, size_t real), (path, room, size, real))
READLINK(__readlinkat_chk, at, (int at, const char *path, char *room, size_t size, size_t real),
         (at, path, room, size, real))

static void report_resolved(const char *path, const char *answer, int plugin) {
    if (!answer) {
        observer_report(KIND_STAT, AT_FDCWD, path, errno, plugin);
        return;
    }
    if (!trace_is_open() || !path[0])
        return;
    char room[PATH_ROOM];
    struct trace_text from = observer_path(AT_FDCWD, path, plugin, room);
    if (from.bytes)
        trace_once(KIND_RESOLVE, RESULT_OK, plugin, from, trace_string(answer));
}

#define RESOLVE(name, room, parameters, arguments)                                                                     \
    VISIBLE char *name parameters {                                                                                    \
        int plugin = FROM_PLUGIN;                                                                                      \
        char *answer = CALL(name) arguments;                                                                           \
        report_resolved(path, answer, plugin);                                                                         \
        return !plugin && observer_uses_alias() ? observer_aliased(answer, room) : answer;                             \
    }
RESOLVE(realpath, room, (const char *path, char *room), (path, room))
RESOLVE(canonicalize_file_name, NULL, (const char *path), (path))
RESOLVE(__realpath_chk, room, (const char *path, char *room, size_t real), (path, room, real))

/* A plugin that reads the working directory learns its path. Every key contains the directory, but not its path. */
#define GETCWD(name, parameters, arguments)                                                                            \
    VISIBLE char *name parameters {                                                                                    \
        int plugin = FROM_PLUGIN;                                                                                      \
        if (!plugin && room && size >= sizeof ALIAS && observer_uses_alias())                                          \
            return strcpy(room, ALIAS);                                                                                \
        char *answer = CALL(name) arguments;                                                                           \
        if (answer && plugin)                                                                                          \
            trace_once(KIND_RESOLVE, RESULT_OK, 1, trace_string(answer), trace_string(answer));                        \
        return answer;                                                                                                 \
    }
GETCWD(getcwd, (char *room, size_t size), (room, size))
GETCWD(__getcwd_chk, (char *room, size_t size, size_t real), (room, size, real))

VISIBLE DIR *opendir(const char *path) {
    DIR *directory = CALL(opendir)(path);
    observer_report(KIND_LIST, AT_FDCWD, path, directory ? 0 : errno, FROM_PLUGIN);
    return directory;
}

VISIBLE DIR *fdopendir(int fd) {
    DIR *directory = CALL(fdopendir)(fd);
    if (directory)
        observer_report(KIND_LIST, fd, ".", 0, FROM_PLUGIN);
    return directory;
}

#define SCANDIR(name, entry)                                                                                           \
    VISIBLE int name(const char *path, struct entry ***names, int (*wanted)(const struct entry *),                     \
                     int (*order)(const struct entry **, const struct entry **)) {                                     \
        int count = CALL(name)(path, names, wanted, order);                                                            \
        observer_report(KIND_LIST, AT_FDCWD, path, count < 0 ? errno : 0, FROM_PLUGIN);                                \
        return count;                                                                                                  \
    }
SCANDIR(scandir, dirent)
SCANDIR(scandir64, dirent64)
