/* The working directory's own name in the arguments of programs that an aliased rustc starts.
 *
 * A linker may work in another directory, or write its arguments down (a map file): it must not see the alias. */
#define _GNU_SOURCE
#include "observer.h"

#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LENGTH (sizeof ALIAS - 1)

static size_t occurrences(const char *text) {
    size_t count = 0;
    for (; (text = strstr(text, ALIAS)); text += LENGTH)
        count++;
    return count;
}

size_t observer_plain_room(char *const argv[]) {
    size_t count = 1, bytes = 0, found = 0;
    for (; argv && argv[count - 1]; count++) {
        found += occurrences(argv[count - 1]);
        bytes += strlen(argv[count - 1]) + 1;
    }
    return found ? count * sizeof(char *) + bytes + found * PATH_ROOM : 0;
}

char **observer_plain_arguments(char *const argv[], void *room) {
    char cwd[PATH_ROOM];
    if (syscall(SYS_getcwd, cwd, sizeof cwd) <= 0)
        return (char **)argv;
    size_t length = strlen(cwd), count = 0;
    char **all = room;
    while (argv[count])
        count++;
    char *text = (char *)(all + count + 1);
    for (size_t i = 0; i < count; i++) {
        const char *rest = argv[i];
        all[i] = text;
        for (const char *at; (at = strstr(rest, ALIAS)); rest = at + LENGTH) {
            memcpy(text, rest, (size_t)(at - rest));
            text += at - rest;
            memcpy(text, cwd, length);
            text += length;
        }
        strcpy(text, rest);
        text += strlen(text) + 1;
    }
    all[count] = NULL;
    return all;
}
