/* The start and the end of an observed process.
 *
 * The observer removes itself from the environment, so that the program sees what it would see without the observer,
 * and adds itself to the environment of every program that is started (programs.c). */
#define _GNU_SOURCE
#include "observer.h"

#include <fcntl.h>
#include <link.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PRELOAD "LD_PRELOAD="
#define TRACE "KACHE_TRACE="

/* How this process is observed: the first letter of KACHE_TRACE. */
enum mode {
    MODE_COMPILER = 'r', /* rustc: calls from libraries that are loaded later are those of plugins */
    MODE_ALIAS = 'a',    /* the same, and rustc names its working directory by the alias */
    MODE_TOOL = 't',     /* a program of the toolchain */
    MODE_PLUGIN = 'p',   /* a build script, or a program that a plugin started */
};

static char mode = MODE_TOOL;
static uint32_t started_as;

/* Whether the alias was requested, and whether this program is rustc itself. rustup's proxy does not get the alias,
 * because it looks for its settings above the working directory. */
static int wants_alias, is_rustc;

int observer_uses_alias(void) { return wants_alias && is_rustc && trace_is_open(); }

/* Whether this is a compiler, or one of its tools, that a plugin started. Unlike a plugin, a compiler does not put
 * everything that it sees into its result: its sources are inputs, its terminal is not. Programs that it starts count
 * as plugins again: they may be anything, such as a script that is called as its linker. */
static int is_tool;

/* Identity of the observer's library file. Its path may lead elsewhere once the process that opened it has ended. */
static struct {
    dev_t device;
    ino_t inode;
} own_file;

/* The observer's own entries of the environment, as this process received them. */
static char own_library[PATH_ROOM], own_trace[PATH_ROOM];
static char their_preload[PATH_ROOM + sizeof PRELOAD];

#define MAX_OBJECTS 256
static struct {
    const char *from, *to;
} objects[MAX_OBJECTS];
static size_t object_count;

static int note_object(struct dl_phdr_info *info, size_t size, void *data) {
    (void)size, (void)data;
    is_rustc |= info->dlpi_name && strstr(info->dlpi_name, "/librustc_driver-");
    const char *from = (const char *)-1, *to = NULL;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const char *at = (const char *)info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
        if (info->dlpi_phdr[i].p_type != PT_LOAD)
            continue;
        from = at < from ? at : from;
        to = at + info->dlpi_phdr[i].p_memsz > to ? at + info->dlpi_phdr[i].p_memsz : to;
    }
    if (object_count < MAX_OBJECTS && to) {
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

/* Whether an object names `environ`. Rust's std does so only for `env::vars` and for starting programs. */
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

/* Reports an object. `data` is null at the start. Later, only objects that were loaded since then are reported: plugins
 * and the libraries that they need. */
static int report_object(struct dl_phdr_info *info, size_t size, void *data) {
    (void)size;
    const char *name = info->dlpi_name;
    if (!name || name[0] != '/' || strcmp(name, own_library) == 0)
        return 0;
    if (data && info->dlpi_phnum > 0 && is_known((const char *)info->dlpi_addr + info->dlpi_phdr[0].p_vaddr))
        return 0;
    int plugin = mode == MODE_PLUGIN ? !is_tool : data && mode == MODE_COMPILER;
    /* rustc may have loaded a macro by the alias. */
    char room[PATH_ROOM];
    struct trace_text path = observer_path(AT_FDCWD, name, plugin, room);
    if (!path.bytes)
        return 0;
    trace_once(KIND_LOAD, RESULT_OK, plugin, path, trace_string(NULL));
    if (data && plugin && names_environ(info))
        trace_once(KIND_ENVIRON, RESULT_OK, plugin, path, trace_string(NULL));
    return 0;
}

/* Removes the observer's entries from `env` and saves them. An LD_PRELOAD that the program already had stays. */
static void remove_own_entries(char **env) {
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

/* Whether the file is a compiler or one of its tools, according to its name: `gcc`, `x86_64-linux-gnu-gcc-12`,
 * `ld.bfd`, `rust-lld`. */
static int names_tool(const char *path) {
    static const char *const tools[] = {"cc",  "gcc", "g++", "c++", "cpp",    "clang", "clang++", "cc1",    "cc1plus", "collect2",
                                        "as",  "ld",  "lld", "ar",  "ranlib", "nm",    "strip",   "objcopy", "lto1",   "rustc"};
    const char *name = strrchr(path, '/');
    name = name ? name + 1 : path;
    /* Excludes `my-as`: only a target, or the project that a tool belongs to, may precede its name. */
    int is_prefixed = strstr(name, "linux-gnu") || strncmp(name, "rust-", 5) == 0 || strncmp(name, "llvm-", 5) == 0;
    for (const char *part = name; *part; part += strspn(part, "-.")) {
        size_t length = strcspn(part, "-.");
        for (size_t i = 0; i < sizeof tools / sizeof *tools; i++)
            if ((part == name || is_prefixed) && strlen(tools[i]) == length && strncmp(part, tools[i], length) == 0)
                return 1;
        part += length;
    }
    return 0;
}

/* Whether this program is a shell whose language kache can read. Its commands may name variables. */
static int is_shell;

int observer_is_shell(void) { return is_shell; }

static int is_called(const char *path, const char *wanted) {
    const char *name = strrchr(path, '/');
    return strcmp(name ? name + 1 : path, wanted) == 0;
}

/* Reports the arguments of a shell. They come from /proc: if a constructor of another library began the observation,
 * ours has not received the arguments of `main` yet. */
static void report_shell(const char *program, int plugin) {
    static char room[64 * 1024];
    is_shell = is_called(program, "dash") || is_called(program, "bash");
    if (!is_shell && !is_called(program, "env"))
        return;
    size_t length = 0;
    long size = 0;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && length < sizeof room && (size = syscall(SYS_read, fd, room + length, sizeof room - length)) > 0)
        length += (size_t)size;
    if (fd >= 0)
        syscall(SYS_close, fd);
    int is_whole = length > 0 && length < sizeof room && size == 0;
    struct trace_text arguments = {room, is_whole ? length : 0};
    trace_once(KIND_SHELL, is_whole ? RESULT_OK : RESULT_OTHER, plugin, trace_string(program), arguments);
}

unsigned long getauxval(unsigned long type) __attribute__((weak));

/* Reports the start of this program, with the path used to start it. The path shows whether the program was started
 * directly: a program without a dynamic linker may pass on our environment. */
static void report_program(void) {
    char room[PATH_ROOM];
    long length = syscall(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", room, sizeof room - 1);
    struct trace_text path = {room, length > 0 ? (size_t)length : 0};
    room[path.length] = 0;
    is_tool = mode == MODE_PLUGIN && names_tool(room);
    const char *started_by = getauxval ? (const char *)getauxval(AT_EXECFN) : NULL;
    trace_always(KIND_START, RESULT_OK, mode == MODE_PLUGIN, trace_process(), path, trace_string(started_by));
    report_shell(room, mode == MODE_PLUGIN);
}

/* Whether the path of our library still leads to it; the first call notes which file that is. The path is invalid after
 * kache has ended (in a daemon that outlives the compile) and in another namespace, and then the dynamic linker would
 * complain. */
static int is_in_place(void) {
    struct stat found;
    if (syscall(SYS_newfstatat, AT_FDCWD, own_library, &found, 0) != 0)
        return 0;
    if (!own_file.inode) {
        own_file.device = found.st_dev;
        own_file.inode = found.st_ino;
    }
    return found.st_dev == own_file.device && found.st_ino == own_file.inode;
}

#if defined(__x86_64__)
#define OWN_MACHINE EM_X86_64
#elif defined(__aarch64__)
#define OWN_MACHINE EM_AARCH64
#endif

static int is_of_own_kind(const ElfW(Ehdr) * elf) {
#ifdef OWN_MACHINE
    if (elf->e_machine != OWN_MACHINE)
        return 0;
#endif
    return elf->e_ident[EI_CLASS] == (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32);
}

/* Whether the dynamic linker will load our library into the program in this file. It does so for the interpreters of
 * scripts, and for programs of our own kind that have a dynamic linker. Others would only see our environment, or the
 * complaint of their dynamic linker. */
static int can_preload_into(const char *path) {
    char head[4096];
    int fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
    if (fd < 0)
        return 1;
    long size = syscall(SYS_read, fd, head, sizeof head);
    syscall(SYS_close, fd);
    ElfW(Ehdr) elf;
    if (size < (long)sizeof elf || memcmp(head, ELFMAG, SELFMAG) != 0)
        return 1;
    memcpy(&elf, head, sizeof elf);
    if (!is_of_own_kind(&elf))
        return 0;
    for (unsigned i = 0; i < elf.e_phnum; i++) {
        ElfW(Phdr) part;
        size_t at = elf.e_phoff + i * sizeof part;
        if (at + sizeof part > (size_t)size)
            return 1;
        memcpy(&part, head + at, sizeof part);
        if (part.p_type == PT_INTERP)
            return 1;
    }
    return 0;
}

extern char **environ __attribute__((weak));

static int began;

static void begin(char **env) {
    began = 1;
    if (!env)
        return;
    remove_own_entries(env);
    if (!own_trace[0] || !own_library[0])
        return;
    wants_alias = own_trace[0] == MODE_ALIAS;
    mode = wants_alias ? MODE_COMPILER : own_trace[0];
    started_as = trace_process();
    dl_iterate_phdr(note_object, NULL);
    /* A script in the compiler's place started this rustc. Libraries that it loads later are plugins. */
    if (mode == MODE_TOOL && is_rustc)
        mode = MODE_COMPILER;
    if (object_count == MAX_OBJECTS)
        return; /* The caller could not be determined: better not observed than wrongly. */
    if (!is_in_place())
        return;
    trace_open(own_trace + 1);
    report_program();
    dl_iterate_phdr(report_object, NULL);
}

/* Constructors of other libraries run first, and may already call an observed function (LLVM's read variables). That
 * call then begins the observation. Only glibc passes the environment to constructors, and may do so before it has set
 * `environ`. */
__attribute__((constructor(102))) static void start(int argc, char **argv, char **env) {
    (void)argc, (void)argv;
    if (!dlsym(RTLD_DEFAULT, "gnu_get_libc_version"))
        env = &environ ? environ : NULL;
    if (!began)
        begin(env);
}

int observer_is_plugin(const void *caller) {
    if (!began)
        begin(&environ ? environ : NULL);
    return mode == MODE_COMPILER ? !is_known(caller) : mode == MODE_PLUGIN && !is_tool;
}

/* Reports the libraries that were loaded since the start, and the end. */
__attribute__((destructor)) static void finish(void) {
    if (!trace_is_open())
        return;
    dl_iterate_phdr(report_object, &mode);
    trace_always(KIND_END, RESULT_OK, 0, trace_process(), trace_string(NULL), trace_string(NULL));
}

NEXT(dlclose)

VISIBLE int dlclose(void *library) {
    if (trace_is_open())
        dl_iterate_phdr(report_object, &mode);
    return CALL(dlclose)(library);
}

size_t observer_environment_room(char *const theirs[]) {
    size_t count = 0, preload = 0;
    for (; theirs && theirs[count]; count++)
        if (strncmp(theirs[count], PRELOAD, sizeof PRELOAD - 1) == 0)
            preload = strlen(theirs[count]);
    return (count + 3) * sizeof(char *) + sizeof PRELOAD + strlen(own_library) + 1 + preload + sizeof TRACE + 1 +
           strlen(own_trace);
}

char **observer_environment(const char *path, char *const theirs[], int plugin, int same_process, void *room) {
    int saved = errno;
    int can_preload = trace_is_open() && is_in_place() && can_preload_into(path);
    errno = saved;
    if (!can_preload)
        return (char **)theirs;
    char *const *given = theirs;
    char **env = room;
    size_t count = 0;
    const char *preload = NULL;
    for (; theirs && *theirs; theirs++) {
        if (strncmp(*theirs, PRELOAD, sizeof PRELOAD - 1) == 0)
            preload = *theirs + sizeof PRELOAD - 1;
        else if (strncmp(*theirs, TRACE, sizeof TRACE - 1) != 0)
            env[count++] = *theirs;
        else
            return (char **)given; /* Set by kache, which observes the program itself; this trace lacks it. */
    }
    char *text = (char *)(env + count + 3);
    env[count++] = text;
    strcpy(text, PRELOAD);
    strcat(text, own_library);
    if (preload) {
        strcat(text, ":");
        strcat(text, preload);
    }
    text += strlen(text) + 1;
    env[count++] = text;
    strcpy(text, TRACE);
    /* rustup's proxy becomes rustc: the process stays the compiler. */
    int is_compiler = mode == MODE_COMPILER && same_process && trace_process() == started_as;
    char compiler = wants_alias ? MODE_ALIAS : MODE_COMPILER;
    char letter[2] = {plugin || mode == MODE_PLUGIN ? MODE_PLUGIN : is_compiler ? compiler : MODE_TOOL, 0};
    strcat(text, letter);
    strcat(text, own_trace + 1);
    env[count] = NULL;
    return env;
}
