/* Libraries that a program loads by a path: one that cannot be loaded may appear. */
#define _GNU_SOURCE
#include "observer.h"

#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

NEXT(dlopen)
NEXT(dlmopen)

/* Told before it is loaded: glibc goes by its caller's address (for $ORIGIN, DT_RUNPATH, DT_RPATH), so the calls below have to
 * be the last thing that happens, jumps without a frame of our own. A name without a slash is searched for in places that are
 * not known here, and one that is loaded in the end is told by the process. */
static __attribute__((noinline)) void wanted(const char *file, int plugin) {
    if (!trace_is_open() || !file || !strchr(file, '/') || strchr(file, '$'))
        return;
    int saved = errno;
    int is_there = syscall(SYS_faccessat, AT_FDCWD, file, F_OK) == 0;
    observer_report(KIND_READ, AT_FDCWD, file, is_there ? 0 : errno, plugin);
    errno = saved;
}

VISIBLE void *dlopen(const char *file, int mode) {
    wanted(file, FROM_PLUGIN);
    return CALL(dlopen)(file, mode);
}

VISIBLE void *dlmopen(Lmid_t space, const char *file, int mode) {
    wanted(file, FROM_PLUGIN);
    return CALL(dlmopen)(space, file, mode);
}
