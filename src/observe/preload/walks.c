/* Walks that the C library does internally, where the observer does not see them. They are rare in a compile, and a
 * program that uses one counts as not observed. The exception is a glob in a single directory, which is recorded as a
 * listing of it (ld.bfd looks for `/etc/ld.so.conf.d/` with a star).
 *
 * This file does not include the headers that declare these functions, so that all pointers look alike. */
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

static void report_glob(const char *pattern, int plugin) {
    char room[PATH_ROOM];
    const char *end = strrchr(pattern, '/');
    size_t length = end ? (size_t)(end - pattern) : 0;
    /* Tildes and braces have a meaning only with certain flags, which are not checked here. */
    if (pattern[0] != '/' || length == 0 || length >= PATH_ROOM || strcspn(pattern, "*?[\\{~") < length) {
        trace_once(KIND_LOST, RESULT_OTHER, plugin, trace_string("glob()"), trace_string(NULL));
        return;
    }
    memcpy(room, pattern, length);
    room[length] = 0;
    observer_report(KIND_LIST, AT_FDCWD, room, syscall(SYS_faccessat, AT_FDCWD, room, R_OK) == 0 ? 0 : errno, plugin);
}

/* Make passes functions of its own, which call opendir and stat where the observer sees them (GLOB_ALTDIRFUNC in
 * glibc's glob.h). */
#define BY_CALLER (1 << 9)

#define GLOB(name)                                                                                                     \
    int name(const char *pattern, int flags, void *failed, void *found);                                               \
    NEXT(name)                                                                                                         \
    VISIBLE int name(const char *pattern, int flags, void *failed, void *found) {                                      \
        int result = CALL(name)(pattern, flags, failed, found);                                                        \
        int saved = errno;                                                                                             \
        if (!(flags & BY_CALLER))                                                                                      \
            report_glob(pattern, FROM_PLUGIN);                                                                         \
        errno = saved;                                                                                                 \
        return result;                                                                                                 \
    }
GLOB(glob)
GLOB(glob64)

WALKS(int, wordexp, (const char *words, void *found, int flags), (words, found, flags))
WALKS(int, ftw, (const char *path, void *visit, int most), (path, visit, most))
WALKS(int, ftw64, (const char *path, void *visit, int most), (path, visit, most))
WALKS(int, nftw, (const char *path, void *visit, int most, int flags), (path, visit, most, flags))
WALKS(int, nftw64, (const char *path, void *visit, int most, int flags), (path, visit, most, flags))
WALKS(void *, fts_open, (char *const *paths, int options, void *order), (paths, options, order))
WALKS(void *, fts64_open, (char *const *paths, int options, void *order), (paths, options, order))
WALKS(int, scandirat, (int at, const char *path, void *names, void *wanted, void *order), (at, path, names, wanted, order))
WALKS(int, scandirat64, (int at, const char *path, void *names, void *wanted, void *order), (at, path, names, wanted, order))
