#define _GNU_SOURCE
#include "trace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct header {
    char magic[8];
    uint64_t capacity;
    _Atomic uint64_t used;
    _Atomic uint64_t lost;
};

struct record {
    _Atomic uint32_t length;
    uint8_t kind, result, plugin, zero;
    uint32_t process;
    uint32_t text_length, extra_length, padding;
};

/* In bytes. Paths are shorter, and no input is a variable with a longer value. A longer text marks the trace as
 * lost. */
#define MAX_TEXT_BYTES (256u * 1024u)

static struct header *header;
static _Atomic uint64_t *filter;
static unsigned char *log_start;

int trace_is_open(void) { return header != NULL; }

const char *trace_remaps(void) { return header ? (const char *)header + TRACE_REMAPS_AT : ""; }

uint32_t trace_process(void) { return (uint32_t)syscall(SYS_getpid); }

struct trace_text trace_string(const char *string) {
    struct trace_text text = {string, string ? strlen(string) : 0};
    return text;
}

/* Uses system calls, because this library interposes the C library's functions. */
void trace_open(const char *path) {
    long fd = syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    long size = syscall(SYS_lseek, fd, 0, SEEK_END);
    void *map = MAP_FAILED;
    if (size > (long)TRACE_LOG_AT)
        map = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, (int)fd, 0);
    syscall(SYS_close, fd);
    if (map == MAP_FAILED)
        return;
    struct header *candidate = map;
    if (memcmp(candidate->magic, TRACE_MAGIC, 8) != 0 || candidate->capacity > (uint64_t)size - TRACE_LOG_AT) {
        munmap(map, (size_t)size);
        return;
    }
    filter = (_Atomic uint64_t *)((char *)map + TRACE_FILTER_AT);
    log_start = (unsigned char *)map + TRACE_LOG_AT;
    header = candidate;
}

static uint64_t mix(uint64_t hash, const char *bytes, size_t length) {
    hash ^= length * 0x9e3779b97f4a7c15u;
    while (length >= 8) {
        uint64_t word;
        memcpy(&word, bytes, 8);
        hash = (hash ^ word) * 0xff51afd7ed558ccdu;
        hash ^= hash >> 32;
        bytes += 8;
        length -= 8;
    }
    uint64_t tail = 0;
    memcpy(&tail, bytes, length);
    hash = (hash ^ tail) * 0xc4ceb9fe1a85ec53u;
    return hash ^ (hash >> 29);
}

/* Whether the filter contains the hash; adds it if not. If the slots around it are full, it is not added, and its
 * record is written again. */
static int is_known(uint64_t hash) {
    if (hash == 0)
        hash = 1;
    for (unsigned step = 0; step < 16; step++) {
        _Atomic uint64_t *slot = &filter[(hash + step) % TRACE_FILTER_SLOTS];
        uint64_t held = atomic_load_explicit(slot, memory_order_relaxed);
        if (held == hash)
            return 1;
        if (held == 0) {
            if (atomic_compare_exchange_strong(slot, &held, hash))
                return 0;
            if (held == hash)
                return 1;
        }
    }
    return 0;
}

static void append(enum kind kind, int result, int plugin, uint32_t process, struct trace_text text,
                   struct trace_text extra) {
    if (text.length > MAX_TEXT_BYTES || extra.length > MAX_TEXT_BYTES) {
        atomic_store(&header->lost, 1);
        return;
    }
    uint64_t length = (sizeof(struct record) + text.length + extra.length + 7) & ~(uint64_t)7;
    uint64_t at = atomic_fetch_add(&header->used, length);
    if (at + length > header->capacity) {
        atomic_store(&header->lost, 1);
        return;
    }
    struct record *record = (struct record *)(log_start + at);
    record->kind = (uint8_t)kind;
    record->result = (uint8_t)result;
    record->plugin = (uint8_t)plugin;
    record->process = process;
    record->text_length = (uint32_t)text.length;
    record->extra_length = (uint32_t)extra.length;
    char *place = (char *)(record + 1);
    if (text.length)
        memcpy(place, text.bytes, text.length);
    if (extra.length)
        memcpy(place + text.length, extra.bytes, extra.length);
    atomic_store_explicit(&record->length, (uint32_t)length, memory_order_release);
}

void trace_once(enum kind kind, int result, int plugin, struct trace_text text, struct trace_text extra) {
    if (!header)
        return;
    uint64_t hash = (uint64_t)kind << 16 | (uint64_t)result << 8 | (uint64_t)plugin;
    hash = mix(mix(hash + 1, text.bytes, text.length), extra.bytes, extra.length);
    if (!is_known(hash))
        append(kind, result, plugin, trace_process(), text, extra);
}

void trace_always(enum kind kind, int result, int plugin, uint32_t process, struct trace_text text,
                  struct trace_text extra) {
    if (header)
        append(kind, result, plugin, process, text, extra);
}
