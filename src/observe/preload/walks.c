/* Walks that the C library does behind our back. Nobody does so in a compile; whoever does is not observed.
 *
 * Without the headers that declare them, so that all pointers look alike. */
#define _GNU_SOURCE
#include "observer.h"

#define WALKS(type, name, parameters, arguments)                                                                       \
    type name parameters;                                                                                              \
    NEXT(name)                                                                                                         \
    VISIBLE type name parameters {                                                                                     \
        trace_once(KIND_LOST, RESULT_OTHER, FROM_PLUGIN, trace_string(#name "()"), trace_string(NULL));                \
        return CALL(name) arguments;                                                                                   \
    }
WALKS(int, glob, (const char *pattern, int flags, void *failed, void *found), (pattern, flags, failed, found))
WALKS(int, glob64, (const char *pattern, int flags, void *failed, void *found), (pattern, flags, failed, found))
WALKS(int, wordexp, (const char *words, void *found, int flags), (words, found, flags))
WALKS(int, ftw, (const char *path, void *visit, int most), (path, visit, most))
WALKS(int, ftw64, (const char *path, void *visit, int most), (path, visit, most))
WALKS(int, nftw, (const char *path, void *visit, int most, int flags), (path, visit, most, flags))
WALKS(int, nftw64, (const char *path, void *visit, int most, int flags), (path, visit, most, flags))
WALKS(void *, fts_open, (char *const *paths, int options, void *order), (paths, options, order))
WALKS(void *, fts64_open, (char *const *paths, int options, void *order), (paths, options, order))
WALKS(int, scandirat, (int at, const char *path, void *names, void *wanted, void *order), (at, path, names, wanted, order))
WALKS(int, scandirat64, (int at, const char *path, void *names, void *wanted, void *order), (at, path, names, wanted, order))
