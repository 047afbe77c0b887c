/* The trace: one shared mapping that all observed processes append to.
 *
 * Format, version 4 (`wire.rs` reads it; MAGIC changes with it; since 2: remaps, and links that were made; since 4: what
 * shells were told, and files that were added to):
 *
 *   0          header: magic, bytes of the log, bytes used, whether something was lost
 *   64         remaps: `FROM=TO` for compilers' -fdebug-prefix-map, each ended by a zero byte, ended by an empty one
 *   4096       filter: hashes of records that are there already, so that most are written once. Small, as every page of
 *              it that is touched is one that the kernel has to clear: a process with 200 records took 0.51 ms more than
 *              unobserved with 65536 hashes, 0.26 with 16384, 0.18 with 4096
 *   LOG_AT     records, each 8-byte aligned:
 *                u32 length, header and padding included; written last, so that 0 is a record that was never finished
 *                u8 kind, u8 result, u8 plugin, u8 0
 *                u32 process
 *                u32 bytes of the first text, u32 bytes of the second, u32 0
 *                first text, second text, padding
 *
 * Appending is one atomic addition and a copy: no lock, no allocation, no system call, so that it may happen in a signal
 * handler, between fork and exec, and in a child that shares its parent's memory (vfork). What was appended is there
 * whatever becomes of the process.
 */
#ifndef KACHE_TRACE_H
#define KACHE_TRACE_H

#include <stddef.h>
#include <stdint.h>

#define TRACE_MAGIC "KACHETR4"
#define TRACE_REMAPS_AT 64u
#define TRACE_FILTER_AT 4096u
#define TRACE_FILTER_SLOTS (1u << 13)
#define TRACE_LOG_AT (TRACE_FILTER_AT + TRACE_FILTER_SLOTS * 8u)

/* What happened. Numbers are part of the format. */
enum kind {
    KIND_START = 1,       /* a program began under observation: its file, the path that it was started by */
    KIND_READ = 2,        /* a file (or directory) was opened for reading */
    KIND_WRITE = 3,       /* a file was created, opened for writing, renamed to, or given another mode, owner or time */
    KIND_STAT = 4,        /* existence or metadata was asked for, links followed */
    KIND_LSTAT = 5,       /* the same of the link itself */
    KIND_LIST = 6,        /* a directory was listed */
    KIND_LINK = 7,        /* a link was read: path, target */
    KIND_RESOLVE = 8,     /* a path was made canonical: path, answer */
    KIND_ENV = 9,         /* a variable was read: name, value */
    KIND_LOOKUP = 10,     /* a program was looked for on PATH: name, file or nothing */
    KIND_EXEC = 11,       /* this process becomes another program: the path as given, the file */
    KIND_EXEC_FAILED = 12,/* it did not: the same */
    KIND_SPAWN = 13,      /* another process was started (the record bears its number; 0: not known): the same */
    KIND_LOAD = 14,       /* a library was loaded */
    KIND_CONNECT = 15,    /* a socket was connected */
    KIND_LOST = 16,       /* something happened that cannot be observed: what */
    KIND_ENVIRON = 17,    /* a library was loaded that may read all variables past getenv: its file */
    KIND_END = 18,        /* the program ended in good order */
    KIND_SYMLINK = 19,    /* a symbolic link was made: path, target */
    KIND_SHELL = 20,      /* a shell or `env` began: its file, its arguments with a zero byte behind each (OTHER: not known) */
    KIND_COMMANDS = 21,   /* a shell opened the file, which may hold its commands */
    KIND_APPEND = 22,     /* a file was opened for adding to its end and nothing else (ABSENT: it was created) */
};

/* How it ended. For STAT and LSTAT of what exists: what it is. */
enum result {
    RESULT_OK = 0,
    RESULT_ABSENT = 1, /* ENOENT, ENOTDIR, a name that cannot be; an unset variable */
    RESULT_DENIED = 2, /* EACCES, EPERM */
    RESULT_OTHER = 3,
    RESULT_FILE = 10,
    RESULT_DIRECTORY = 11,
    RESULT_LINK = 12,
    RESULT_SPECIAL = 13,
};

struct trace_text {
    const char *bytes;
    size_t length;
};

/* What compilers are told to call directories in debug info; empty at its end. */
const char *trace_remaps(void);

/* Maps the trace in the file `path`. Without it everything below does nothing. */
void trace_open(const char *path);
int trace_is_open(void);

/* Appends a record unless an equal one (but for the process) is there. errno stays. */
void trace_once(enum kind kind, int result, int plugin, struct trace_text one, struct trace_text two);
/* Appends a record in any case, in the name of `process`. */
void trace_always(enum kind kind, int result, int plugin, uint32_t process, struct trace_text one, struct trace_text two);

uint32_t trace_process(void);
struct trace_text trace_string(const char *string);

#endif
