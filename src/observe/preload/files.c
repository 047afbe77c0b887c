/* Calls that open, create, move, link and remove files, and connections to sockets. */
#define _GNU_SOURCE
#include "observer.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
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
NEXT(unlink)
NEXT(unlinkat)
NEXT(rmdir)
NEXT(remove)
NEXT(truncate)
NEXT(truncate64)
NEXT(connect)

/* The variants of open that _FORTIFY_SOURCE selects. No header declares them for us. */
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int at, const char *path, int flags);
int __openat64_2(int at, const char *path, int flags);
NEXT(__open_2)
NEXT(__open64_2)
NEXT(__openat_2)
NEXT(__openat64_2)

#define CREATES_ONLY (O_CREAT | O_EXCL)

/* Whether a file that is about to be opened for writing only exists already and keeps its content. */
static int is_kept(int at, const char *path, int flags) {
    int is_added_to = (flags & O_ACCMODE) == O_WRONLY && !(flags & O_TRUNC) && (flags & CREATES_ONLY) != CREATES_ONLY;
    if (!is_added_to || !trace_is_open())
        return 0;
    int saved = errno;
    int there = syscall(SYS_faccessat, at, path, F_OK) == 0;
    errno = saved;
    return there;
}

/* Reports an open. A file that is opened for reading and writing counts as read first, because its content stays. A
 * failed open for writing changes nothing and is not reported. */
static void report_open(int at, const char *path, int flags, int failed, int kept, int plugin) {
    int error = failed ? errno : 0;
    int writes = (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC));
    int fresh = (flags & O_TRUNC) || (flags & CREATES_ONLY) == CREATES_ONLY;
    int reads = ((flags & O_ACCMODE) != O_WRONLY && !fresh) || (kept && !error);
    if ((flags & O_TMPFILE) == O_TMPFILE)
        return;
    /* EEXIST shows the caller that the file exists. */
    if (error == EEXIST)
        observer_report(KIND_STAT, at, path, 0, plugin);
    if (flags & O_PATH) {
        observer_report(KIND_STAT, at, path, error, plugin);
        return;
    }
    if (!error && (flags & (O_APPEND | O_TRUNC | O_ACCMODE)) == (O_APPEND | O_WRONLY)) {
        observer_report_as(KIND_APPEND, at, path, kept ? RESULT_OK : RESULT_ABSENT, plugin);
        return;
    }
    if (reads)
        observer_report(KIND_READ, at, path, error, plugin);
    if (reads && !error && observer_is_shell())
        observer_report(KIND_COMMANDS, at, path, 0, plugin);
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
        int kept = is_kept(AT_FDCWD, path, flags);                                                                     \
        int fd = CALL(name)(path, flags, mode);                                                                        \
        report_open(AT_FDCWD, path, flags, fd < 0, kept, FROM_PLUGIN);                                                 \
        return fd;                                                                                                     \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                                                   \
    VISIBLE int name(int at, const char *path, int flags, ...) {                                                       \
        MODE_OF(flags)                                                                                                 \
        int kept = is_kept(at, path, flags);                                                                           \
        int fd = CALL(name)(at, path, flags, mode);                                                                    \
        report_open(at, path, flags, fd < 0, kept, FROM_PLUGIN);                                                       \
        return fd;                                                                                                     \
    }
OPENAT(openat)
OPENAT(openat64)

#define OPEN_2(name)                                                                                                   \
    VISIBLE int name(const char *path, int flags) {                                                                    \
        int kept = is_kept(AT_FDCWD, path, flags);                                                                     \
        int fd = CALL(name)(path, flags);                                                                              \
        report_open(AT_FDCWD, path, flags, fd < 0, kept, FROM_PLUGIN);                                                 \
        return fd;                                                                                                     \
    }
OPEN_2(__open_2)
OPEN_2(__open64_2)

#define OPENAT_2(name)                                                                                                 \
    VISIBLE int name(int at, const char *path, int flags) {                                                            \
        int kept = is_kept(at, path, flags);                                                                           \
        int fd = CALL(name)(at, path, flags);                                                                          \
        report_open(at, path, flags, fd < 0, kept, FROM_PLUGIN);                                                       \
        return fd;                                                                                                     \
    }
OPENAT_2(__openat_2)
OPENAT_2(__openat64_2)

#define CREAT(name)                                                                                                    \
    VISIBLE int name(const char *path, mode_t mode) {                                                                  \
        int fd = CALL(name)(path, mode);                                                                               \
        report_open(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, fd < 0, 0, FROM_PLUGIN);                             \
        return fd;                                                                                                     \
    }
CREAT(creat)
CREAT(creat64)

static int flags_of(const char *how) {
    int both = 0;
    for (const char *at = how; *at && *at != ','; at++)
        both |= *at == '+';
    int access = both ? O_RDWR : how[0] == 'r' ? O_RDONLY : O_WRONLY;
    return access | (how[0] == 'w' ? O_CREAT | O_TRUNC : how[0] == 'a' ? O_CREAT | O_APPEND : 0);
}

#define FOPEN(name)                                                                                                    \
    VISIBLE FILE *name(const char *path, const char *how) {                                                            \
        int kept = is_kept(AT_FDCWD, path, flags_of(how));                                                             \
        FILE *file = CALL(name)(path, how);                                                                            \
        report_open(AT_FDCWD, path, flags_of(how), !file, kept, FROM_PLUGIN);                                          \
        return file;                                                                                                   \
    }
FOPEN(fopen)
FOPEN(fopen64)

#define FREOPEN(name)                                                                                                  \
    VISIBLE FILE *name(const char *path, const char *how, FILE *old) {                                                 \
        int kept = path && is_kept(AT_FDCWD, path, flags_of(how));                                                     \
        FILE *file = CALL(name)(path, how, old);                                                                       \
        report_open(AT_FDCWD, path, flags_of(how), !file, kept, FROM_PLUGIN);                                          \
        return file;                                                                                                   \
    }
FREOPEN(freopen)
FREOPEN(freopen64)

/* Calls that create a file under a name from the caller, or change its size. */
#define CREATES(type, name, failed, at, path, parameters, arguments)                                                   \
    VISIBLE type name parameters {                                                                                     \
        type result = CALL(name) arguments;                                                                            \
        if (!(failed))                                                                                                 \
            observer_report(KIND_WRITE, at, path, 0, FROM_PLUGIN);                                                     \
        return result;                                                                                                 \
    }
CREATES(char *, mkdtemp, !result, AT_FDCWD, result, (char *path), (path))
CREATES(int, mkstemp, result < 0, AT_FDCWD, path, (char *path), (path))
CREATES(int, mkstemp64, result < 0, AT_FDCWD, path, (char *path), (path))
CREATES(int, mkostemp, result < 0, AT_FDCWD, path, (char *path, int flags), (path, flags))
CREATES(int, mkostemp64, result < 0, AT_FDCWD, path, (char *path, int flags), (path, flags))
CREATES(int, mkstemps, result < 0, AT_FDCWD, path, (char *path, int end), (path, end))
CREATES(int, mkstemps64, result < 0, AT_FDCWD, path, (char *path, int end), (path, end))
CREATES(int, mkostemps, result < 0, AT_FDCWD, path, (char *path, int end, int flags), (path, end, flags))
CREATES(int, mkostemps64, result < 0, AT_FDCWD, path, (char *path, int end, int flags), (path, end, flags))
CREATES(int, truncate, result != 0, AT_FDCWD, path, (const char *path, off_t size), (path, size))
CREATES(int, truncate64, result != 0, AT_FDCWD, path, (const char *path, off64_t size), (path, size))

/* EEXIST shows the caller that the directory exists. */
static void report_directory(int at, const char *path, int failed, int plugin) {
    if (!failed)
        observer_report(KIND_WRITE, at, path, 0, plugin);
    else if (errno == EEXIST)
        observer_report(KIND_STAT, at, path, 0, plugin);
}

VISIBLE int mkdir(const char *path, mode_t mode) {
    int result = CALL(mkdir)(path, mode);
    report_directory(AT_FDCWD, path, result != 0, FROM_PLUGIN);
    return result;
}
VISIBLE int mkdirat(int at, const char *path, mode_t mode) {
    int result = CALL(mkdirat)(at, path, mode);
    report_directory(at, path, result != 0, FROM_PLUGIN);
    return result;
}

/* Reports a link that was made, and its target: the compile may not have made the files below the link. */
static void report_link(int failed, const char *to, int at, const char *path, int plugin) {
    char room[PATH_ROOM];
    if (failed || !trace_is_open())
        return;
    struct trace_text text = observer_path(at, path, plugin, room);
    if (text.bytes)
        trace_once(KIND_SYMLINK, RESULT_OK, plugin, text, trace_string(to));
}

VISIBLE int symlink(const char *to, const char *path) {
    int result = CALL(symlink)(to, path);
    report_link(result != 0, to, AT_FDCWD, path, FROM_PLUGIN);
    return result;
}
VISIBLE int symlinkat(const char *to, int at, const char *path) {
    int result = CALL(symlinkat)(to, at, path);
    report_link(result != 0, to, at, path, FROM_PLUGIN);
    return result;
}

/* Calls that remove. The toolchain removes its own outputs, whether they exist or not, so its calls are not reported. A
 * plugin that removes a file that it did not make learns that the file existed, and leaves less behind than it
 * found. */
#define REMOVES(name, at, parameters, arguments)                                                                       \
    VISIBLE int name parameters {                                                                                      \
        int result = CALL(name) arguments;                                                                             \
        if (FROM_PLUGIN)                                                                                               \
            observer_report(KIND_LSTAT, at, path, result ? errno : 0, 1);                                              \
        return result;                                                                                                 \
    }
REMOVES(unlink, AT_FDCWD, (const char *path), (path))
REMOVES(unlinkat, at, (int at, const char *path, int flags), (at, path, flags))
REMOVES(rmdir, AT_FDCWD, (const char *path), (path))
REMOVES(remove, AT_FDCWD, (const char *path), (path))

/* Calls that give a file another name. The file counts as read under its old name. */
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
    int result = CALL(connect)(fd, address, length), saved = errno, plugin = FROM_PLUGIN;
    /* To a plugin, a refused connection is an answer, too. A tool reports a failure that matters, so only its success
     * counts. */
    if (plugin || result == 0 || saved == EINPROGRESS)
        trace_once(KIND_CONNECT, RESULT_OK, plugin, trace_string("a socket"), trace_string(NULL));
    errno = saved;
    return result;
}
