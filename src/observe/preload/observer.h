/* What the observer's parts share: who called, where a path leads, and the functions behind the ones defined here. */
#ifndef KACHE_OBSERVER_H
#define KACHE_OBSERVER_H

#include "trace.h"

#include <dlfcn.h>
#include <errno.h>

/* Only these functions are visible: they stand in front of the C library's of the same names. */
#define VISIBLE __attribute__((visibility("default")))

/* `NEXT(open)` declares `next_open`, the C library's own. It is looked up at the start: dlsym may not be called between
 * fork and exec. */
#define NEXT(name)                                                                                                     \
    static __typeof__(&name) next_##name;                                                                              \
    __attribute__((constructor(101))) static void find_##name(void) {                                                  \
        if (!next_##name)                                                                                              \
            next_##name = (__typeof__(&name))dlsym(RTLD_NEXT, #name);                                                  \
    }

/* Another library's constructor may call before ours ran. */
#define CALL(name) (next_##name ? next_##name : (find_##name(), next_##name))

/* Whether the caller of the function that says this is a plugin: a proc macro that rustc has loaded, or a program that one
 * started. */
#define FROM_PLUGIN observer_is_plugin(__builtin_return_address(0))
int observer_is_plugin(const void *caller);

/* The room for an absolute path. */
#define PATH_ROOM 4352

/* A name of the working directory that reads the same in every checkout and leads there in every process. rustc gets it for
 * an answer where kache wants its incremental sessions to hold no path (`rustc::alias`, which has the same text). */
#define ALIAS "/proc/self/task/../cwd"

/* Whether this process is a rustc that is to call its working directory by the alias. */
int observer_uses_alias(void);

/* Whether this process is a shell: what it opens may be commands. */
int observer_is_shell(void);

/* Makes `path` absolute in `room`, relative to the directory `at`. Gives no text if nobody needs to know (much below /proc,
 * /sys and /dev), and reports a loss if it cannot. errno stays. */
struct trace_text observer_path(int at, const char *path, int plugin, char room[PATH_ROOM]);

/* Reports one path; `error` is 0 or the errno of the call. */
void observer_report(enum kind kind, int at, const char *path, int error, int plugin);
/* The same with a result of its own. */
void observer_report_as(enum kind kind, int at, const char *path, int result, int plugin);
int observer_result(int error);

/* The environment of the program in the file `path` (null: not known) that is about to be started: theirs, with the observer
 * in it if it can enter there. `room` has at least `observer_environment_room` bytes. */
size_t observer_environment_room(char *const theirs[]);
char **observer_environment(const char *path, char *const theirs[], int plugin, int same_process, void *room);

/* An answer of realpath with the alias, if it is below the working directory. `room`: where the caller wanted it, or null. */
char *observer_aliased(char *answer, char *room);

/* The arguments with the working directory's own name for its alias. `room` has `observer_plain_room` bytes; 0: none has it. */
size_t observer_plain_room(char *const argv[]);
char **observer_plain_arguments(char *const argv[], void *room);

/* The arguments for the program in the file `path`, with remaps if it takes them. `room` has `observer_arguments_room` bytes;
 * 0: the arguments stay as they are. */
size_t observer_arguments_room(const char *path, char *const argv[]);
char **observer_arguments(const char *path, char *const argv[], void *room);

#endif
