/* The trace: one shared mapping to which all observed processes append records.
 *
 * Format, version 4. `wire.rs` reads it, and MAGIC changes with it. Version 2 added remaps and links that were made,
 * version 4 the arguments of shells and files that were appended to.
 *
 *   0          header: magic, capacity for records in bytes, bytes used, whether something was lost
 *   64         remaps: `FROM=TO` for -fdebug-prefix-map, each ended by a zero byte; an empty one ends the list
 *   4096       filter: hashes of records in the log, so that most are written only once. It is small because the kernel
 *              has to clear every page that is touched: compared with an unobserved process, one with 200 records took
 *              0.51 ms longer with 65536 hashes, 0.26 ms with 16384, and 0.18 ms with 4096
 *   LOG_AT     records, each 8-byte aligned:
 *                u32 length, including header and padding; written last, so 0 is a record that was never finished
 *                u8 kind, u8 result, u8 plugin, u8 0
 *                u32 process
 *                u32 bytes of the text, u32 bytes of the extra text, u32 0
 *                text, extra text, padding
 *
 * Appending a record is one atomic addition and a copy, without locks, allocations, or system calls other than getpid.
 * It is safe in a signal handler, between fork and exec, and in a child that shares its parent's memory (vfork). A
 * record survives the process that appended it.
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

/* What happened. The numbers are part of the format. */
enum kind {
    KIND_START = 1,       /* a program started under observation: its file, the path used to start it */
    KIND_READ = 2,        /* a file (or directory) was opened for reading */
    KIND_WRITE = 3,       /* a file was created, opened for writing, renamed to, or given another mode, owner or time */
    KIND_STAT = 4,        /* existence or metadata was queried, following links */
    KIND_LSTAT = 5,       /* the same, for the link itself */
    KIND_LIST = 6,        /* a directory was listed */
    KIND_LINK = 7,        /* a link was read: path, target */
    KIND_RESOLVE = 8,     /* a path was canonicalized: path, answer */
    KIND_ENV = 9,         /* a variable was read: name, value */
    KIND_LOOKUP = 10,     /* a program was looked up on PATH: name, file or nothing */
    KIND_EXEC = 11,       /* this process is about to become another program: the path as given, the file */
    KIND_EXEC_FAILED = 12,/* it did not: the same */
    KIND_SPAWN = 13,      /* another process was started (its ID is in the record; 0: not known): the same */
    KIND_LOAD = 14,       /* a library was loaded */
    KIND_CONNECT = 15,    /* a socket was connected */
    KIND_LOST = 16,       /* something happened that cannot be observed: a description */
    KIND_ENVIRON = 17,    /* a library was loaded that may read all variables without getenv: its file */
    KIND_END = 18,        /* the program ended normally */
    KIND_SYMLINK = 19,    /* a symbolic link was made: path, target */
    KIND_SHELL = 20,      /* a shell or `env` started: its file, its zero-terminated arguments (OTHER: not known) */
    KIND_COMMANDS = 21,   /* a shell opened this file, which may contain commands */
    KIND_APPEND = 22,     /* a file was opened only for appending (ABSENT: it was created) */
};

/* How the call ended. STAT and LSTAT of an existing file give its kind. */
enum result {
    RESULT_OK = 0,
    RESULT_ABSENT = 1, /* ENOENT, ENOTDIR, a name that cannot exist; an unset variable */
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

/* The remaps for C compilers, each ended by a zero byte; an empty one ends the list. */
const char *trace_remaps(void);

/* Maps the trace in the file `path`. Without a trace, all functions below do nothing. */
void trace_open(const char *path);
int trace_is_open(void);

/* Appends a record unless the trace has an equal one from any process. Preserves errno. */
void trace_once(enum kind kind, int result, int plugin, struct trace_text text, struct trace_text extra);
/* Appends a record unconditionally, for `process`. */
void trace_always(enum kind kind, int result, int plugin, uint32_t process, struct trace_text text,
                  struct trace_text extra);

uint32_t trace_process(void);
struct trace_text trace_string(const char *string);

#endif
