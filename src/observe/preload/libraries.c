/* Libraries that a program loads by a path. A load that fails is reported, too: the library may exist later. */
#define _GNU_SOURCE
#include "observer.h"

#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

NEXT(dlopen)
NEXT(dlmopen)

/* Reports a library before it is loaded. glibc depends on the address of the caller (for $ORIGIN, DT_RUNPATH,
 * DT_RPATH), so the calls below have to be the last thing that happens: jumps without a stack frame of ours. The places
 * to search for a name without a slash are not known here. If such a library is loaded, start.c reports it. */
static __attribute__((noinline)) void report_library(const char *file, int plugin) {
    if (!trace_is_open() || !file || !strchr(file, '/') || strchr(file, '$'))
        return;
    int saved = errno;
    int is_there = syscall(SYS_faccessat, AT_FDCWD, file, F_OK) == 0;
    observer_report(KIND_READ, AT_FDCWD, file, is_there ? 0 : errno, plugin);
    errno = saved;
}

VISIBLE void *dlopen(const char *file, int mode) {
    report_library(file, FROM_PLUGIN);
    return CALL(dlopen)(file, mode);
}

VISIBLE void *dlmopen(Lmid_t space, const char *file, int mode) {
    report_library(file, FROM_PLUGIN);
    return CALL(dlmopen)(space, file, mode);
}
