/* Changes to the mode, owner, times or attributes of files, and calls that make pipes and devices. */
#define _GNU_SOURCE
#include "observer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <utime.h>

NEXT(chmod)
NEXT(lchmod)
NEXT(fchmod)
NEXT(fchmodat)
NEXT(chown)
NEXT(lchown)
NEXT(fchown)
NEXT(fchownat)
NEXT(utime)
NEXT(utimes)
NEXT(lutimes)
NEXT(futimes)
NEXT(futimesat)
NEXT(utimensat)
NEXT(futimens)
NEXT(setxattr)
NEXT(lsetxattr)
NEXT(fsetxattr)
NEXT(removexattr)
NEXT(lremovexattr)
NEXT(fremovexattr)
NEXT(mkfifo)
NEXT(mkfifoat)
NEXT(mknod)
NEXT(mknodat)

/* The variants that programs built for a glibc before 2.33 call. */
int __xmknod(int version, const char *path, mode_t mode, dev_t *device);
int __xmknodat(int version, int at, const char *path, mode_t mode, dev_t *device);
NEXT(__xmknod)
NEXT(__xmknodat)

/* Whether the file behind a descriptor has a name. A pipe, or a removed file, vanishes when the last process closes
 * it. */
static int has_name(int fd) {
    struct stat found;
    return syscall(SYS_newfstatat, fd, "", &found, AT_EMPTY_PATH) == 0 && found.st_nlink > 0;
}

/* Reports a change to the file at `path`, or, if `path` is null or empty, to the file that is open as `at`. Reports
 * first that the file exists: this call did not create it. A call that sets what was already set is reported, too,
 * because it updates the ctime, so that the file looks edited. */
static void report_change(int at, const char *path, int flags, int failed, int plugin) {
    /* Headers declare the path as non-null where the system call accepts null. This keeps the compiler from removing
     * the check. */
    __asm__("" : "+r"(path));
    int saved = errno, is_open = !path || !path[0];
    enum kind kind = flags & AT_SYMLINK_NOFOLLOW ? KIND_LSTAT : KIND_STAT;
    if (!trace_is_open())
        return;
    if (failed) {
        /* The failure shows the caller that the file is absent or not accessible. */
        if (plugin && !is_open && (observer_result(saved) == RESULT_ABSENT || saved == EACCES))
            observer_report(kind, at, path, saved, plugin);
    } else if (!is_open || has_name(at)) {
        observer_report(kind, at, is_open ? "." : path, 0, plugin);
        observer_report(KIND_WRITE, at, is_open ? "." : path, 0, plugin);
    }
    errno = saved;
}

#define CHANGES(name, at, path, flags, parameters, arguments)                                                          \
    VISIBLE int name parameters {                                                                                      \
        int result = CALL(name) arguments;                                                                             \
        report_change(at, path, flags, result != 0, FROM_PLUGIN);                                                      \
        return result;                                                                                                 \
    }
CHANGES(chmod, AT_FDCWD, path, 0, (const char *path, mode_t mode), (path, mode))
CHANGES(lchmod, AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, (const char *path, mode_t mode), (path, mode))
CHANGES(fchmod, fd, NULL, 0, (int fd, mode_t mode), (fd, mode))
CHANGES(fchmodat, at, path, flags, (int at, const char *path, mode_t mode, int flags), (at, path, mode, flags))
CHANGES(chown, AT_FDCWD, path, 0, (const char *path, uid_t user, gid_t group), (path, user, group))
CHANGES(lchown, AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, (const char *path, uid_t user, gid_t group), (path, user, group))
CHANGES(fchown, fd, NULL, 0, (int fd, uid_t user, gid_t group), (fd, user, group))
CHANGES(fchownat, at, path, flags, (int at, const char *path, uid_t user, gid_t group, int flags),
        (at, path, user, group, flags))
CHANGES(utime, AT_FDCWD, path, 0, (const char *path, const struct utimbuf *times), (path, times))
CHANGES(utimes, AT_FDCWD, path, 0, (const char *path, const struct timeval times[2]), (path, times))
CHANGES(lutimes, AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, (const char *path, const struct timeval times[2]), (path, times))
CHANGES(futimes, fd, NULL, 0, (int fd, const struct timeval times[2]), (fd, times))
CHANGES(futimesat, at, path, 0, (int at, const char *path, const struct timeval times[2]), (at, path, times))
CHANGES(utimensat, at, path, flags, (int at, const char *path, const struct timespec times[2], int flags),
        (at, path, times, flags))
CHANGES(futimens, fd, NULL, 0, (int fd, const struct timespec times[2]), (fd, times))

CHANGES(setxattr, AT_FDCWD, path, 0, (const char *path, const char *name, const void *value, size_t size, int flags),
        (path, name, value, size, flags))
CHANGES(lsetxattr, AT_FDCWD, path, AT_SYMLINK_NOFOLLOW,
        (const char *path, const char *name, const void *value, size_t size, int flags),
        (path, name, value, size, flags))
CHANGES(fsetxattr, fd, NULL, 0, (int fd, const char *name, const void *value, size_t size, int flags),
        (fd, name, value, size, flags))
CHANGES(removexattr, AT_FDCWD, path, 0, (const char *path, const char *name), (path, name))
CHANGES(lremovexattr, AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, (const char *path, const char *name), (path, name))
CHANGES(fremovexattr, fd, NULL, 0, (int fd, const char *name), (fd, name))

/* EEXIST shows the caller that the name is taken. */
#define MAKES(name, at, parameters, arguments)                                                                         \
    VISIBLE int name parameters {                                                                                      \
        int result = CALL(name) arguments;                                                                             \
        if (result == 0)                                                                                               \
            observer_report(KIND_WRITE, at, path, 0, FROM_PLUGIN);                                                     \
        else if (errno == EEXIST)                                                                                      \
            observer_report(KIND_STAT, at, path, 0, FROM_PLUGIN);                                                      \
        return result;                                                                                                 \
    }
MAKES(mkfifo, AT_FDCWD, (const char *path, mode_t mode), (path, mode))
MAKES(mkfifoat, at, (int at, const char *path, mode_t mode), (at, path, mode))
MAKES(mknod, AT_FDCWD, (const char *path, mode_t mode, dev_t device), (path, mode, device))
MAKES(mknodat, at, (int at, const char *path, mode_t mode, dev_t device), (at, path, mode, device))
MAKES(__xmknod, AT_FDCWD, (int version, const char *path, mode_t mode, dev_t *device), (version, path, mode, device))
MAKES(__xmknodat, at, (int version, int at, const char *path, mode_t mode, dev_t *device),
      (version, at, path, mode, device))
