/* The beginning and the end of an observed process.
 *
 * The observer takes itself out of the environment, so that the program sees what it would see without it, and puts itself
 * into that of every program that is started (programs.c). */
#define _GNU_SOURCE
#include "observer.h"

#include <link.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PRELOAD "LD_PRELOAD="
#define TRACE "KACHE_TRACE="

/* How this process is looked at; the first letter of KACHE_TRACE. */
enum mode {
    MODE_ROOT = 'r',   /* rustc: what calls from a library that was loaded later is a plugin */
    MODE_TOOL = 't',   /* a program of the toolchain */
    MODE_PLUGIN = 'p', /* a program that a plugin started */
};

static char mode = MODE_TOOL;
static uint32_t started_as;

/* Our own entries of the environment, as they came. */
static char own_library[PATH_ROOM], own_trace[PATH_ROOM];
static char their_preload[PATH_ROOM + sizeof PRELOAD];

#define MOST_OBJECTS 256
static struct {
    const char *from, *to;
} objects[MOST_OBJECTS];
static size_t object_count;

static int note_object(struct dl_phdr_info *info, size_t size, void *data) {
    (void)size, (void)data;
    const char *from = (const char *)-1, *to = NULL;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const char *at = (const char *)info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
        if (info->dlpi_phdr[i].p_type != PT_LOAD)
            continue;
        from = at < from ? at : from;
        to = at + info->dlpi_phdr[i].p_memsz > to ? at + info->dlpi_phdr[i].p_memsz : to;
    }
    if (object_count < MOST_OBJECTS && to) {
        objects[object_count].from = from;
        objects[object_count++].to = to;
    }
    return 0;
}

static int is_known(const char *address) {
    for (size_t i = 0; i < object_count; i++)
        if (address >= objects[i].from && address < objects[i].to)
            return 1;
    return 0;
}

/* Whether an object names `environ`: Rust's std does for `env::vars` and for starting programs, and for nothing else. */
static int names_environ(const struct dl_phdr_info *info) {
    const ElfW(Dyn) *dynamic = NULL;
    const char *names = NULL;
    size_t size = 0;
    for (int i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_DYNAMIC)
            dynamic = (const void *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
    for (; dynamic && dynamic->d_tag != DT_NULL; dynamic++) {
        if (dynamic->d_tag == DT_STRTAB)
            names = (const char *)dynamic->d_un.d_ptr;
        if (dynamic->d_tag == DT_STRSZ)
            size = dynamic->d_un.d_val;
    }
    static const char name[] = "environ";
    for (size_t at = 0; names && at + sizeof name <= size; at += strlen(names + at) + 1)
        if (strcmp(names + at, name) == 0 || strcmp(names + at, "__environ") == 0 || strcmp(names + at, "_environ") == 0)
            return 1;
    return 0;
}

/* `data` is null at the start. At the end only what came later is told: plugins and what they need. */
static int report_object(struct dl_phdr_info *info, size_t size, void *data) {
    (void)size;
    const char *name = info->dlpi_name;
    if (!name || name[0] != '/' || strcmp(name, own_library) == 0)
        return 0;
    if (data && info->dlpi_phnum > 0 && is_known((const char *)info->dlpi_addr + info->dlpi_phdr[0].p_vaddr))
        return 0;
    int plugin = data ? mode != MODE_TOOL : mode == MODE_PLUGIN;
    trace_once(KIND_LOAD, RESULT_OK, plugin, trace_string(name), trace_string(NULL));
    if (data && plugin && names_environ(info))
        trace_once(KIND_ENVIRON, RESULT_OK, plugin, trace_string(name), trace_string(NULL));
    return 0;
}

int observer_is_plugin(const void *caller) {
    return mode == MODE_ROOT ? !is_known(caller) : mode == MODE_PLUGIN;
}

/* Takes our entries out of `env` and keeps them. An LD_PRELOAD that was there before us stays. */
static void step_out(char **env) {
    char **kept = env;
    for (; *env; env++) {
        if (strncmp(*env, TRACE, sizeof TRACE - 1) == 0) {
            strncpy(own_trace, *env + sizeof TRACE - 1, sizeof own_trace - 1);
            continue;
        }
        if (strncmp(*env, PRELOAD, sizeof PRELOAD - 1) == 0) {
            const char *ours = *env + sizeof PRELOAD - 1;
            const char *theirs = strchr(ours, ':');
            size_t length = theirs ? (size_t)(theirs - ours) : strlen(ours);
            if (length < sizeof own_library)
                memcpy(own_library, ours, length);
            if (!theirs || strlen(theirs + 1) >= PATH_ROOM)
                continue;
            strcpy(their_preload, PRELOAD);
            strcat(their_preload, theirs + 1);
            *env = their_preload;
        }
        *kept++ = *env;
    }
    *kept = NULL;
}

static void report_program(void) {
    char room[PATH_ROOM];
    long length = syscall(SYS_readlinkat, -100, "/proc/self/exe", room, sizeof room - 1);
    struct trace_text path = {room, length > 0 ? (size_t)length : 0};
    trace_always(KIND_START, RESULT_OK, mode == MODE_PLUGIN, trace_process(), path);
}

extern char **environ __attribute__((weak));

__attribute__((constructor(102))) static void start(int argc, char **argv, char **env) {
    (void)argc, (void)argv;
    /* Only glibc hands the environment to constructors, and may do so before it has set `environ`. */
    if (!dlsym(RTLD_DEFAULT, "gnu_get_libc_version"))
        env = &environ ? environ : NULL;
    if (!env)
        return;
    step_out(env);
    if (!own_trace[0] || !own_library[0])
        return;
    mode = own_trace[0];
    started_as = trace_process();
    dl_iterate_phdr(note_object, NULL);
    if (object_count == MOST_OBJECTS)
        return; /* Who calls could not be told: better not observed than wrongly. */
    trace_open(own_trace + 1);
    report_program();
    dl_iterate_phdr(report_object, NULL);
}

/* What was loaded on the way. */
__attribute__((destructor)) static void finish(void) {
    if (!trace_is_open())
        return;
    dl_iterate_phdr(report_object, &mode);
    trace_always(KIND_END, RESULT_OK, 0, trace_process(), trace_string(NULL));
}

size_t observer_environment_room(char *const theirs[]) {
    size_t count = 0, preload = 0;
    for (; theirs && theirs[count]; count++)
        if (strncmp(theirs[count], PRELOAD, sizeof PRELOAD - 1) == 0)
            preload = strlen(theirs[count]);
    return (count + 3) * sizeof(char *) + sizeof PRELOAD + strlen(own_library) + 1 + preload + sizeof TRACE + 1 +
           strlen(own_trace);
}

char **observer_environment(char *const theirs[], int plugin, int same_process, void *room) {
    if (!trace_is_open())
        return (char **)theirs;
    char **env = room;
    size_t count = 0;
    const char *preload = NULL;
    for (; theirs && *theirs; theirs++) {
        if (strncmp(*theirs, PRELOAD, sizeof PRELOAD - 1) == 0)
            preload = *theirs + sizeof PRELOAD - 1;
        else if (strncmp(*theirs, TRACE, sizeof TRACE - 1) != 0)
            env[count++] = *theirs;
    }
    char *text = (char *)(env + count + 3);
    env[count++] = text;
    strcpy(text, PRELOAD);
    strcat(text, own_library);
    if (preload && preload[0]) {
        strcat(text, ":");
        strcat(text, preload);
    }
    text += strlen(text) + 1;
    env[count++] = text;
    strcpy(text, TRACE);
    /* rustup's proxy becomes rustc: the root stays the root. */
    int is_root = mode == MODE_ROOT && same_process && trace_process() == started_as;
    char letter[2] = {plugin ? MODE_PLUGIN : is_root ? MODE_ROOT : MODE_TOOL, 0};
    strcat(text, letter);
    strcat(text, own_trace + 1);
    env[count] = NULL;
    return env;
}
