/* Programs that are started: each is looked up, reported, and given the observer.
 *
 * `execve` returns only if it fails. A successful call shows as the START of the new program, and a program that never
 * reports its START could not be observed. */
#define _GNU_SOURCE
#include "observer.h"

#include <alloca.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

NEXT(execve)
NEXT(execvpe)
NEXT(fexecve)
NEXT(posix_spawn)
NEXT(posix_spawnp)
NEXT(system)
NEXT(popen)
extern char **environ;

/* At most so many bytes are taken from the stack. Longer lists are passed on as they are; if they exceed the system's
 * limit, the call fails. */
#define MAX_STACK_BYTES (1u << 20)

/* The environment for the next program, on the caller's stack. */
#define WITH_OBSERVER(path, env, plugin, same_process)                                                                 \
    ({                                                                                                                 \
        size_t size = observer_environment_room(env);                                                                  \
        size > MAX_STACK_BYTES ? (char **)(env) : observer_environment(path, env, plugin, same_process, alloca(size)); \
    })

/* The arguments for the next program, on the caller's stack. A rustc that uses the alias passes the real directory to
 * its children, and no remaps. */
#define WITH_REMAPS(path, argv)                                                                                        \
    ({                                                                                                                 \
        int plain = observer_uses_alias();                                                                             \
        size_t size = plain ? observer_plain_room(argv) : observer_arguments_room(path, argv);                         \
        void *room = size == 0 || size > MAX_STACK_BYTES ? NULL : alloca(size);                                        \
        !room ? (char **)(argv) : plain ? observer_plain_arguments(argv, room) : observer_arguments(path, argv, room); \
    })

/* Reports a program that is started by its path. A success matters, too: another program may have this path later. */
static void report_exec(enum kind kind, uint32_t process, const char *path, int plugin) {
    char room[PATH_ROOM];
    if (!trace_is_open())
        return;
    struct trace_text text = observer_path(AT_FDCWD, path, plugin, room);
    trace_always(kind, RESULT_OK, plugin, process, trace_string(path), text);
}

/* Whether `path` is relative to a directory that is not known here: a spawned process may start in another one. */
static int is_elsewhere(const char *path, const posix_spawn_file_actions_t *actions) { return actions && path[0] != '/'; }

static void report_spawn(uint32_t process, const char *path, const posix_spawn_file_actions_t *actions, int plugin) {
    if (is_elsewhere(path, actions))
        trace_always(KIND_SPAWN, RESULT_OK, plugin, process, trace_string(path), trace_string(NULL));
    else
        report_exec(KIND_SPAWN, process, path, plugin);
}

/* Finds `name` on PATH as execvp and posix_spawnp do, and reports the lookup. Returns the file in `room`, or null. This
 * PATH may differ from the one that the compile was given, so candidates that do not fit are reported, too. */
static const char *look_up(const char *name, int plugin, char room[PATH_ROOM]) {
    if (strchr(name, '/'))
        return name;
    const char *path = "/bin:/usr/bin";
    for (char **env = environ; env && *env; env++)
        if (strncmp(*env, "PATH=", 5) == 0)
            path = *env + 5;
    size_t length = strlen(name);
    for (;;) {
        const char *end = strchrnul(path, ':');
        size_t size = (size_t)(end - path);
        if (size + length + 2 < PATH_ROOM) {
            memcpy(room, path, size);
            if (size > 0)
                room[size++] = '/';
            memcpy(room + size, name, length + 1);
            if (syscall(SYS_faccessat, AT_FDCWD, room, X_OK) == 0) {
                trace_once(KIND_LOOKUP, RESULT_OK, plugin, trace_string(name), trace_string(room));
                return room;
            }
            observer_report(KIND_STAT, AT_FDCWD, room, errno == EACCES ? 0 : errno, plugin);
        }
        if (!*end)
            break;
        path = end + 1;
    }
    trace_once(KIND_LOOKUP, RESULT_ABSENT, plugin, trace_string(name), trace_string(NULL));
    return NULL;
}

/* With `-march=native` and the like, a compiler identifies the processor by an instruction that the observer cannot
 * see. It counts as a read of /proc/cpuinfo. */
static void report_processor(char *const argv[], int plugin) {
    static const char native[] = "=native";
    for (; argv && *argv; argv++) {
        size_t length = strlen(*argv);
        if (length >= sizeof native - 1 && strcmp(*argv + length - (sizeof native - 1), native) == 0)
            trace_once(KIND_READ, RESULT_OK, plugin, trace_string("/proc/cpuinfo"), trace_string(NULL));
    }
}

static void failed_to_start(const char *path, int plugin) {
    if (strchr(path, '/'))
        observer_report(KIND_STAT, AT_FDCWD, path, errno, plugin);
}

static int run(const char *file, int on_path, char *const argv[], char *const env[], int plugin) {
    char room[PATH_ROOM];
    const char *found = on_path ? look_up(file, plugin, room) : file;
    char **with = WITH_OBSERVER(found, env, plugin, 1);
    report_processor(argv, plugin);
    if (found)
        report_exec(KIND_EXEC, trace_process(), found, plugin);
    char **arguments = WITH_REMAPS(found, argv);
    int result = on_path ? CALL(execvpe)(file, arguments, with) : CALL(execve)(file, arguments, with);
    int error = errno;
    if (found) {
        report_exec(KIND_EXEC_FAILED, trace_process(), found, plugin);
        failed_to_start(found, plugin);
    }
    errno = error;
    return result;
}

VISIBLE int execve(const char *path, char *const argv[], char *const env[]) {
    return run(path, 0, argv, env, FROM_PLUGIN);
}
VISIBLE int execv(const char *path, char *const argv[]) { return run(path, 0, argv, environ, FROM_PLUGIN); }
VISIBLE int execvp(const char *file, char *const argv[]) { return run(file, 1, argv, environ, FROM_PLUGIN); }
VISIBLE int execvpe(const char *file, char *const argv[], char *const env[]) {
    return run(file, 1, argv, env, FROM_PLUGIN);
}

/* The arguments of the execl family as an array, on the caller's stack. */
#define ARGUMENTS(first, argv, rest)                                                                                   \
    va_list rest, counted;                                                                                             \
    va_start(rest, first);                                                                                             \
    va_copy(counted, rest);                                                                                            \
    size_t count = 1;                                                                                                  \
    while (va_arg(counted, char *))                                                                                    \
        count++;                                                                                                       \
    va_end(counted);                                                                                                   \
    char **argv = alloca((count + 1) * sizeof(char *));                                                                \
    argv[0] = (char *)first;                                                                                           \
    for (size_t i = 1; i <= count; i++)                                                                                \
        argv[i] = va_arg(rest, char *);

VISIBLE int execl(const char *path, const char *first, ...) {
    ARGUMENTS(first, argv, rest)
    va_end(rest);
    return run(path, 0, argv, environ, FROM_PLUGIN);
}
VISIBLE int execlp(const char *file, const char *first, ...) {
    ARGUMENTS(first, argv, rest)
    va_end(rest);
    return run(file, 1, argv, environ, FROM_PLUGIN);
}
VISIBLE int execle(const char *path, const char *first, ...) {
    ARGUMENTS(first, argv, rest)
    char *const *env = va_arg(rest, char *const *);
    va_end(rest);
    return run(path, 0, argv, env, FROM_PLUGIN);
}

/* A program that is started by its descriptor cannot be identified. Compiles do not do this. */
VISIBLE int fexecve(int fd, char *const argv[], char *const env[]) {
    trace_once(KIND_LOST, RESULT_OTHER, FROM_PLUGIN, trace_string("fexecve()"), trace_string(NULL));
    return CALL(fexecve)(fd, argv, env);
}

VISIBLE int posix_spawn(pid_t *process, const char *path, const posix_spawn_file_actions_t *actions,
                        const posix_spawnattr_t *attributes, char *const argv[], char *const env[]) {
    int plugin = FROM_PLUGIN;
    pid_t child = 0;
    char **with = WITH_OBSERVER(is_elsewhere(path, actions) ? NULL : path, env, plugin, 0);
    report_processor(argv, plugin);
    char **arguments = WITH_REMAPS(path, argv);
    int error = CALL(posix_spawn)(&child, path, actions, attributes, arguments, with);
    if (error == 0)
        report_spawn((uint32_t)child, path, actions, plugin);
    else
        observer_report(KIND_STAT, AT_FDCWD, path, error, plugin);
    if (error == 0 && process)
        *process = child;
    return error;
}

VISIBLE int posix_spawnp(pid_t *process, const char *file, const posix_spawn_file_actions_t *actions,
                         const posix_spawnattr_t *attributes, char *const argv[], char *const env[]) {
    int plugin = FROM_PLUGIN;
    char room[PATH_ROOM];
    pid_t child = 0;
    const char *found = look_up(file, plugin, room);
    char **with = WITH_OBSERVER(found && !is_elsewhere(found, actions) ? found : NULL, env, plugin, 0);
    report_processor(argv, plugin);
    char **arguments = WITH_REMAPS(found, argv);
    int error = CALL(posix_spawnp)(&child, file, actions, attributes, arguments, with);
    if (error == 0)
        report_spawn((uint32_t)child, found ? found : file, actions, plugin);
    else if (found)
        observer_report(KIND_STAT, AT_FDCWD, found, error, plugin);
    if (error == 0 && process)
        *process = child;
    return error;
}

/* These functions start a shell with the environment of this process, which does not contain the observer, so the
 * observer is added for the duration of the call. (If another thread changes the environment meanwhile, its change is
 * lost; programs with threads do not call these functions.) The process ID of the shell is not known here: it is 0 in
 * the record. */
#define SHELL "/bin/sh"
#define WITH_SHELL(plugin, call)                                                                                       \
    char **theirs = environ;                                                                                           \
    environ = WITH_OBSERVER(SHELL, theirs, plugin, 0);                                                                 \
    trace_always(KIND_SPAWN, RESULT_OK, plugin, 0, trace_string(SHELL), trace_string(SHELL));                          \
    __typeof__(call) result = call;                                                                                    \
    environ = theirs;                                                                                                  \
    return result;

VISIBLE int system(const char *command) {
    if (!command || !trace_is_open())
        return CALL(system)(command);
    WITH_SHELL(FROM_PLUGIN, CALL(system)(command))
}
VISIBLE FILE *popen(const char *command, const char *how) {
    if (!trace_is_open())
        return CALL(popen)(command, how);
    WITH_SHELL(FROM_PLUGIN, CALL(popen)(command, how))
}
