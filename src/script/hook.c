/* Linked into every build script that kache compiles: hands the run over to kache before `main`.
 *
 * Cargo sets RUSTC_WRAPPER for build scripts (`cargo/src/cargo/core/compiler/custom_build.rs`). The program finds kache
 * by that variable and replaces itself with it: same process, same argv[0], environment, directory and descriptors.
 * kache then runs the program again, with KACHE_SCRIPT set, or restores what an earlier run made. In all other cases
 * the program just runs: without kache, if started by hand, or by a cargo with another wrapper.
 *
 * The calls go through the C library, so that an observer around the build records the start of kache. */
#define _GNU_SOURCE
#include <string.h>
#include <unistd.h>

#define RUNNING "KACHE_SCRIPT="
#define WRAPPER "RUSTC_WRAPPER="

static const char *value_of(char **env, const char *name) {
    size_t length = strlen(name);
    for (; *env; env++)
        if (strncmp(*env, name, length) == 0)
            return *env + length;
    return NULL;
}

/* Removes kache's mark, so that the program and its children get the environment that cargo made. */
static int take_mark(char **env) {
    char **kept = env;
    for (; *env; env++)
        if (strncmp(*env, RUNNING, sizeof RUNNING - 1) != 0)
            *kept++ = *env;
    int found = kept != env;
    *kept = NULL;
    return found;
}

static int is_kache(const char *wrapper) {
    const char *slash = strrchr(wrapper, '/');
    return strcmp(slash ? slash + 1 : wrapper, "kache") == 0;
}

/* glibc passes the arguments to constructors; kache links this object for glibc targets only. */
static void hand_over(int argc, char **argv, char **env) {
    if (take_mark(env) || argc != 1)
        return;
    const char *wrapper = value_of(env, WRAPPER);
    if (!wrapper || !is_kache(wrapper) || !value_of(env, "OUT_DIR=") || !value_of(env, "CARGO_MANIFEST_DIR="))
        return;
    char self[4096];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self);
    if (length <= 0 || length == sizeof self)
        return;
    self[length] = 0;
    /* The call of a wrapper. Another wrapper of that name, which does not support the flag, just runs the program, and
     * the flag keeps that from coming here again (argc is not 1). execvp returns only if the wrapper cannot be started:
     * then this program runs. */
    char *args[] = {(char *)wrapper, self, "--kache-build-script", argv[0], NULL};
    execvp(wrapper, args);
}

__attribute__((section(".init_array"), used)) static void (*const entry)(int, char **, char **) = hand_over;
