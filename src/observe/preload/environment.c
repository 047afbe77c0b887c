/* Variables that are read. What goes through `environ` itself is not seen; `keys::observed` knows who does that. */
#define _GNU_SOURCE
#include "observer.h"

#include <stdlib.h>

NEXT(getenv)
NEXT(secure_getenv)

static void report(const char *name, const char *value, int plugin) {
    trace_once(KIND_ENV, value ? RESULT_OK : RESULT_ABSENT, plugin, trace_string(name), trace_string(value));
}

VISIBLE char *getenv(const char *name) {
    char *value = CALL(getenv)(name);
    report(name, value, FROM_PLUGIN);
    return value;
}

VISIBLE char *secure_getenv(const char *name) {
    char *value = CALL(secure_getenv)(name);
    report(name, value, FROM_PLUGIN);
    return value;
}
