/* Translates between the alias and the real name of the working directory.
 *
 * rustc canonicalizes the paths of crates, and the linked output depends on them (`rustc_metadata::locator`), so
 * realpath answers with the alias. A program that rustc starts may run in another directory, or write its arguments to
 * a file (a linker's map), so its arguments contain the real name. */
#define _GNU_SOURCE
#include "observer.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LENGTH (sizeof ALIAS - 1)

char *observer_aliased(char *answer, char *room) {
    char cwd[PATH_ROOM];
    if (!answer || syscall(SYS_getcwd, cwd, sizeof cwd) <= 0)
        return answer;
    size_t length = strlen(cwd), rest = strlen(answer);
    if (rest < length || strncmp(answer, cwd, length) != 0 || (answer[length] && answer[length] != '/'))
        return answer;
    rest -= length;
    /* The caller's buffer has PATH_MAX bytes. */
    char *aliased = room ? room : malloc(LENGTH + rest + 1);
    if (!aliased || (room && LENGTH + rest >= PATH_MAX))
        return answer;
    memmove(aliased + LENGTH, answer + length, rest + 1);
    memcpy(aliased, ALIAS, LENGTH);
    if (!room)
        free(answer);
    return aliased;
}

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
