/* Walks that the C library does behind our back. Nobody does so in a compile; whoever does is not observed.
 *
 * Without the headers that declare them, so that all pointers look alike. */
#define _GNU_SOURCE
#include "observer.h"

#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WALKS(type, name, parameters, arguments)                                                                       \
    type name parameters;                                                                                              \
    NEXT(name)                                                                                                         \
    VISIBLE type name parameters {                                                                                     \
        trace_once(KIND_LOST, RESULT_OTHER, FROM_PLUGIN, trace_string(#name "()"), trace_string(NULL));                \
        return CALL(name) arguments;                                                                                   \
    }
WALKS(int, wordexp, (const char *words, void *found, int flags), (words, found, flags))
WALKS(int, ftw, (const char *path, void *visit, int most), (path, visit, most))
WALKS(int, ftw64, (const char *path, void *visit, int most), (path, visit, most))
WALKS(int, nftw, (const char *path, void *visit, int most, int flags), (path, visit, most, flags))
WALKS(int, nftw64, (const char *path, void *visit, int most, int flags), (path, visit, most, flags))
WALKS(void *, fts_open, (char *const *paths, int options, void *order), (paths, options, order))
WALKS(void *, fts64_open, (char *const *paths, int options, void *order), (paths, options, order))
WALKS(int, scandirat, (int at, const char *path, void *names, void *wanted, void *order), (at, path, names, wanted, order))
WALKS(int, scandirat64, (int at, const char *path, void *names, void *wanted, void *order), (at, path, names, wanted, order))

/* A pattern in the last part of a path lists one directory (GNU ld: `include /etc/ld.so.conf.d/ *.conf`). */
static void matched(const char *pattern, int plugin) {
    char directory[PATH_ROOM];
    const char *slash = strrchr(pattern, '/');
    size_t length = slash ? (size_t)(slash - pattern) : 0;
    if (strpbrk(pattern, "{~\\") || length == 0 || length >= sizeof directory) {
        trace_once(KIND_LOST, RESULT_OTHER, plugin, trace_string("glob()"), trace_string(NULL));
        return;
    }
    memcpy(directory, pattern, length);
    directory[length] = 0;
    if (strpbrk(directory, "*?[")) {
        trace_once(KIND_LOST, RESULT_OTHER, plugin, trace_string("glob()"), trace_string(NULL));
        return;
    }
    int saved = errno;
    int missing = syscall(SYS_faccessat, AT_FDCWD, directory, F_OK) != 0;
    observer_report(KIND_LIST, AT_FDCWD, directory, missing ? errno : 0, plugin);
    errno = saved;
}

#define GLOB(name)                                                                                                     \
    int name(const char *pattern, int flags, void *failed, void *found);                                               \
    NEXT(name)                                                                                                         \
    VISIBLE int name(const char *pattern, int flags, void *failed, void *found) {                                      \
        matched(pattern, FROM_PLUGIN);                                                                                 \
        return CALL(name)(pattern, flags, failed, found);                                                              \
    }
GLOB(glob)
GLOB(glob64)
