/* Shared by the parts of the observer: who made a call, where a path leads, and the C library's own functions. */
#ifndef KACHE_OBSERVER_H
#define KACHE_OBSERVER_H

#include "trace.h"

#include <dlfcn.h>
#include <errno.h>

/* Only these functions are visible. They interpose the functions of the same names in the C library. */
#define VISIBLE __attribute__((visibility("default")))

/* `NEXT(open)` declares `next_open`, the C library's own function, and looks it up at the start, because dlsym may not
 * be called between fork and exec. */
#define NEXT(name)                                                                                                     \
    static __typeof__(&name) next_##name;                                                                              \
    __attribute__((constructor(101))) static void find_##name(void) {                                                  \
        if (!next_##name)                                                                                              \
            next_##name = (__typeof__(&name))dlsym(RTLD_NEXT, #name);                                                  \
    }

/* A constructor of another library may call the function before ours has looked it up. */
#define CALL(name) (next_##name ? next_##name : (find_##name(), next_##name))

/* Whether the caller of the function that uses this macro is a plugin: a proc macro that rustc has loaded, a build
 * script, or a program that one of them started. */
#define FROM_PLUGIN observer_is_plugin(__builtin_return_address(0))
int observer_is_plugin(const void *caller);

/* Room for an absolute path, in bytes. */
#define PATH_ROOM 4352

/* A name for the working directory that is the same in every checkout and leads to that directory in every process.
 * getcwd and realpath return it to rustc if kache wants its incremental sessions to contain no paths of the checkout.
 * `rustc::alias` has the same text. */
#define ALIAS "/proc/self/task/../cwd"

/* Whether this process is a rustc that must name its working directory by the alias. */
int observer_uses_alias(void);

/* Whether this process is a shell: files that it opens may contain commands. */
int observer_is_shell(void);

/* Makes `path` absolute in `room`, relative to the directory `at`. Returns a null text for a path that does not matter,
 * such as most of /proc, /sys and /dev, and for one that it cannot make absolute, which it reports as LOST if it might
 * matter. Preserves errno. */
struct trace_text observer_path(int at, const char *path, int plugin, char room[PATH_ROOM]);

/* Reports a call about a path. `error` is 0 or the errno of the call. */
void observer_report(enum kind kind, int at, const char *path, int error, int plugin);
/* Like `observer_report`, with a result instead of an errno. */
void observer_report_as(enum kind kind, int at, const char *path, int result, int plugin);
int observer_result(int error);

/* The environment for the program in the file `path` (null: not known), which is about to start: `theirs`, with the
 * observer added if its library can be loaded there. `room` has at least `observer_environment_room` bytes. */
size_t observer_environment_room(char *const theirs[]);
char **observer_environment(const char *path, char *const theirs[], int plugin, int same_process, void *room);

/* Replaces the working directory by the alias at the start of an answer of realpath. `room` is the caller's buffer, or
 * null if realpath allocated the answer. */
char *observer_aliased(char *answer, char *room);

/* The arguments with the working directory's real name instead of the alias. `room` has `observer_plain_room` bytes,
 * which is 0 if no argument contains the alias. */
size_t observer_plain_room(char *const argv[]);
char **observer_plain_arguments(char *const argv[], void *room);

/* The arguments for the program in the file `path`, with remaps if it accepts them. `room` has
 * `observer_arguments_room` bytes, which is 0 if the arguments stay as they are. */
size_t observer_arguments_room(const char *path, char *const argv[]);
char **observer_arguments(const char *path, char *const argv[], void *room);

#endif
