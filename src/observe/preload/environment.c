/* Reads of variables. The observer does not see reads of `environ` itself; `keys::observed` decides which programs do
 * that. */
#define _GNU_SOURCE
#include "observer.h"

#include <stdlib.h>
#include <string.h>

NEXT(getenv)
NEXT(secure_getenv)

static void report(const char *name, const char *value, int plugin) {
    trace_once(KIND_ENV, value ? RESULT_OK : RESULT_ABSENT, plugin, trace_string(name), trace_string(value));
}

/* kache reads this variable to find out whether it is observed. No process ever sets it. */
#define OBSERVED "KACHE_OBSERVED"

VISIBLE char *getenv(const char *name) {
    if (trace_is_open() && strcmp(name, OBSERVED) == 0)
        return "1";
    char *value = CALL(getenv)(name);
    report(name, value, FROM_PLUGIN);
    return value;
}

VISIBLE char *secure_getenv(const char *name) {
    char *value = CALL(secure_getenv)(name);
    report(name, value, FROM_PLUGIN);
    return value;
}
