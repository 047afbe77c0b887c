/* Remaps of directories in the output of C compilers.
 *
 * The path of a checkout in debug info would tie an object file to that checkout. kache gives rustc
 * `--remap-path-prefix` to prevent this. C compilers that a build script starts get a flag for the same purpose, in
 * addition to their own arguments. Only programs that are known to accept the flag get it, because an unknown flag
 * would fail the build. `__FILE__` is not remapped, because a source may use its value (`#include __FILE__`). */
#define _GNU_SOURCE
#include "observer.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The oldest major versions that get -fdebug-prefix-map, which exists since GCC 4.3 and clang 3.8. */
#define FIRST_GCC 5
#define FIRST_CLANG 4

static int number_at(const char *text) {
    int number = 0;
    for (; *text >= '0' && *text <= '9'; text++)
        number = number * 10 + (*text - '0');
    return number;
}

/* GCC's driver starts cc1 or cc1plus from a directory that is named by the version. */
static int is_gcc(const char *path, const char *name) {
    if (strcmp(name, "cc1") != 0 && strcmp(name, "cc1plus") != 0)
        return 0;
    const char *version = name - 1;
    while (version > path && version[-1] != '/')
        version--;
    return number_at(version) >= FIRST_GCC;
}

/* `/usr/bin/clang` is a link to `../lib/llvm-14/bin/clang`. */
static int is_clang(const char *path, const char *name, char *const argv[]) {
    char room[PATH_ROOM];
    if (strncmp(name, "clang", 5) != 0)
        return 0;
    long length = readlink(path, room, sizeof room - 1);
    if (length <= 0)
        return 0;
    room[length] = 0;
    const char *version = strstr(room, "llvm-");
    if (!version || number_at(version + 5) < FIRST_CLANG)
        return 0;
    /* If clang does not compile, it warns about the flag as unused. */
    for (; *argv; argv++)
        if (strcmp(*argv, "-c") == 0)
            return 1;
    return 0;
}

/* The GNU assembler records directories itself, for sources in assembly. */
static int is_assembler(const char *name) {
    const char *end = strstr(name, "-linux-gnu-as");
    return strcmp(name, "as") == 0 || (end && strcmp(end, "-linux-gnu-as") == 0);
}

static int has_own_map(char *const argv[]) {
    for (; *argv; argv++)
        if (strstr(*argv, "-prefix-map"))
            return 1;
    return 0;
}

/* The flag that the program in the file `path` accepts, or null. */
static const char *flag_of(const char *path, char *const argv[]) {
    const char *name = path ? strrchr(path, '/') : NULL;
    if (!name || !argv || !*trace_remaps() || has_own_map(argv))
        return NULL;
    name++;
    if (is_assembler(name))
        return "--debug-prefix-map=";
    return is_gcc(path, name) || is_clang(path, name, argv) ? "-fdebug-prefix-map=" : NULL;
}

size_t observer_arguments_room(const char *path, char *const argv[]) {
    const char *flag = flag_of(path, argv);
    if (!flag)
        return 0;
    size_t count = 1, bytes = 0;
    for (; argv[count - 1]; count++)
        ;
    for (const char *remap = trace_remaps(); *remap; remap += strlen(remap) + 1, count++)
        bytes += strlen(flag) + strlen(remap) + 1;
    return count * sizeof(char *) + bytes;
}

char **observer_arguments(const char *path, char *const argv[], void *room) {
    const char *flag = flag_of(path, argv);
    char **all = room;
    size_t count = 0, remaps = 0;
    for (; argv[count]; count++)
        all[count] = argv[count];
    for (const char *remap = trace_remaps(); *remap; remap += strlen(remap) + 1)
        remaps++;
    char *text = (char *)(all + count + remaps + 1);
    for (const char *remap = trace_remaps(); *remap; remap += strlen(remap) + 1) {
        all[count++] = text;
        strcpy(text, flag);
        strcat(text, remap);
        text += strlen(text) + 1;
    }
    all[count] = NULL;
    return all;
}
