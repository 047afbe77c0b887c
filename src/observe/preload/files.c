/* Files that are opened, created, moved and linked. */
#define _GNU_SOURCE
#include "observer.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

NEXT(open)
NEXT(open64)
NEXT(openat)
NEXT(openat64)
NEXT(creat)
NEXT(creat64)
NEXT(fopen)
NEXT(fopen64)
NEXT(freopen)
NEXT(freopen64)
NEXT(mkdir)
NEXT(mkdirat)
NEXT(mkdtemp)
NEXT(mkstemp)
NEXT(mkstemp64)
NEXT(mkostemp)
NEXT(mkostemp64)
NEXT(mkstemps)
NEXT(mkstemps64)
NEXT(mkostemps)
NEXT(mkostemps64)
NEXT(rename)
NEXT(renameat)
NEXT(renameat2)
NEXT(link)
NEXT(linkat)
NEXT(symlink)
NEXT(symlinkat)
NEXT(truncate)
NEXT(truncate64)
NEXT(connect)

/* The forms that _FORTIFY_SOURCE makes of open; no header declares them for us. */
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int at, const char *path, int flags);
int __openat64_2(int at, const char *path, int flags);
NEXT(__open_2)
NEXT(__open64_2)
NEXT(__openat_2)
NEXT(__openat64_2)

/* A file that was opened with both in mind was read first: what is in it stays. A failure to write changes nothing. */
static void opened(int at, const char *path, int flags, int failed, int plugin) {
    int error = failed ? errno : 0;
    int writes = (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC));
    int fresh = (flags & O_TRUNC) || (flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL);
    int reads = (flags & O_ACCMODE) != O_WRONLY && !fresh;
    if ((flags & O_TMPFILE) == O_TMPFILE)
        return;
    if (flags & O_PATH)
        observer_report(KIND_STAT, at, path, error, plugin);
    else if (reads)
        observer_report(KIND_READ, at, path, error, plugin);
    if (writes && !error)
        observer_report(KIND_WRITE, at, path, 0, plugin);
}

static int needs_mode(int flags) { return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE; }

#define MODE_OF(flags)                                                                                                 \
    mode_t mode = 0;                                                                                                   \
    if (needs_mode(flags)) {                                                                                           \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode = va_arg(rest, mode_t);                                                                                   \
        va_end(rest);                                                                                                  \
    }

#define OPEN(name)                                                                                                     \
    VISIBLE int name(const char *path, int flags, ...) {                                                               \
        MODE_OF(flags)                                                                                                 \
        int fd = CALL(name)(path, flags, mode);                                                                        \
        opened(AT_FDCWD, path, flags, fd < 0, FROM_PLUGIN);                                                            \
        return fd;                                                                                                     \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                                                   \
    VISIBLE int name(int at, const char *path, int flags, ...) {                                                       \
        MODE_OF(flags)                                                                                                 \
        int fd = CALL(name)(at, path, flags, mode);                                                                    \
        opened(at, path, flags, fd < 0, FROM_PLUGIN);                                                                  \
        return fd;                                                                                                     \
    }
OPENAT(openat)
OPENAT(openat64)

#define OPEN_2(name)                                                                                                   \
    VISIBLE int name(const char *path, int flags) {                                                                    \
        int fd = CALL(name)(path, flags);                                                                              \
        opened(AT_FDCWD, path, flags, fd < 0, FROM_PLUGIN);                                                            \
        return fd;                                                                                                     \
    }
OPEN_2(__open_2)
OPEN_2(__open64_2)

#define OPENAT_2(name)                                                                                                 \
    VISIBLE int name(int at, const char *path, int flags) {                                                            \
        int fd = CALL(name)(at, path, flags);                                                                          \
        opened(at, path, flags, fd < 0, FROM_PLUGIN);                                                                  \
        return fd;                                                                                                     \
    }
OPENAT_2(__openat_2)
OPENAT_2(__openat64_2)

#define CREAT(name)                                                                                                    \
    VISIBLE int name(const char *path, mode_t mode) {                                                                  \
        int fd = CALL(name)(path, mode);                                                                               \
        opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, fd < 0, FROM_PLUGIN);                                     \
        return fd;                                                                                                     \
    }
CREAT(creat)
CREAT(creat64)

static int flags_of(const char *how) {
    int both = 0;
    for (const char *at = how; *at && *at != ','; at++)
        both |= *at == '+';
    int access = both ? O_RDWR : how[0] == 'r' ? O_RDONLY : O_WRONLY;
    return access | (how[0] == 'w' ? O_CREAT | O_TRUNC : how[0] == 'a' ? O_CREAT : 0);
}

#define FOPEN(name)                                                                                                    \
    VISIBLE FILE *name(const char *path, const char *how) {                                                            \
        FILE *file = CALL(name)(path, how);                                                                            \
        opened(AT_FDCWD, path, flags_of(how), !file, FROM_PLUGIN);                                                     \
        return file;                                                                                                   \
    }
FOPEN(fopen)
FOPEN(fopen64)

#define FREOPEN(name)                                                                                                  \
    VISIBLE FILE *name(const char *path, const char *how, FILE *old) {                                                 \
        FILE *file = CALL(name)(path, how, old);                                                                       \
        opened(AT_FDCWD, path, flags_of(how), !file, FROM_PLUGIN);                                                     \
        return file;                                                                                                   \
    }
FREOPEN(freopen)
FREOPEN(freopen64)

/* Calls that make a file under a name of the caller's. */
#define CREATES(type, name, failed, at, path, parameters, arguments)                                                   \
    VISIBLE type name parameters {                                                                                     \
        type result = CALL(name) arguments;                                                                            \
        if (!(failed))                                                                                                 \
            observer_report(KIND_WRITE, at, path, 0, FROM_PLUGIN);                                                     \
        return result;                                                                                                 \
    }
CREATES(int, mkdir, result != 0, AT_FDCWD, path, (const char *path, mode_t mode), (path, mode))
CREATES(int, mkdirat, result != 0, at, path, (int at, const char *path, mode_t mode), (at, path, mode))
CREATES(char *, mkdtemp, !result, AT_FDCWD, result, (char *path), (path))
CREATES(int, mkstemp, result < 0, AT_FDCWD, path, (char *path), (path))
CREATES(int, mkstemp64, result < 0, AT_FDCWD, path, (char *path), (path))
CREATES(int, mkostemp, result < 0, AT_FDCWD, path, (char *path, int flags), (path, flags))
CREATES(int, mkostemp64, result < 0, AT_FDCWD, path, (char *path, int flags), (path, flags))
CREATES(int, mkstemps, result < 0, AT_FDCWD, path, (char *path, int end), (path, end))
CREATES(int, mkstemps64, result < 0, AT_FDCWD, path, (char *path, int end), (path, end))
CREATES(int, mkostemps, result < 0, AT_FDCWD, path, (char *path, int end, int flags), (path, end, flags))
CREATES(int, mkostemps64, result < 0, AT_FDCWD, path, (char *path, int end, int flags), (path, end, flags))
CREATES(int, symlink, result != 0, AT_FDCWD, path, (const char *to, const char *path), (to, path))
CREATES(int, symlinkat, result != 0, at, path, (const char *to, int at, const char *path), (to, at, path))
CREATES(int, truncate, result != 0, AT_FDCWD, path, (const char *path, off_t size), (path, size))
CREATES(int, truncate64, result != 0, AT_FDCWD, path, (const char *path, off64_t size), (path, size))

/* Calls that give a file another name: what stood under the old one was read, in a way. */
#define MOVES(name, from_at, from, to_at, to, parameters, arguments)                                                   \
    VISIBLE int name parameters {                                                                                      \
        int result = CALL(name) arguments;                                                                             \
        if (result == 0) {                                                                                             \
            observer_report(KIND_READ, from_at, from, 0, FROM_PLUGIN);                                                 \
            observer_report(KIND_WRITE, to_at, to, 0, FROM_PLUGIN);                                                    \
        }                                                                                                              \
        return result;                                                                                                 \
    }
MOVES(rename, AT_FDCWD, from, AT_FDCWD, to, (const char *from, const char *to), (from, to))
MOVES(renameat, at, from, there, to, (int at, const char *from, int there, const char *to), (at, from, there, to))
MOVES(renameat2, at, from, there, to, (int at, const char *from, int there, const char *to, unsigned flags),
      (at, from, there, to, flags))
MOVES(link, AT_FDCWD, from, AT_FDCWD, to, (const char *from, const char *to), (from, to))
MOVES(linkat, at, from, there, to, (int at, const char *from, int there, const char *to, int flags),
      (at, from, there, to, flags))

VISIBLE int connect(int fd, const struct sockaddr *address, socklen_t length) {
    int result = CALL(connect)(fd, address, length);
    if (result == 0 || errno == EINPROGRESS)
        trace_once(KIND_CONNECT, RESULT_OK, FROM_PLUGIN, trace_string("a socket"), trace_string(NULL));
    return result;
}
