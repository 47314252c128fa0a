/* Plugin for QEMU's emulation of user programs: counts the instructions that a program executes, and writes into a
 * file what the program prints on its standard output, with the number of instructions that were executed until then:
 * two little-endian words of 64 bits, instructions and bytes, and then the bytes.
 *
 *     qemu-aarch64 -plugin ./counter.so,log=FILE PROGRAM...
 *
 * Declares what it uses of the plugin interface (version 4) by itself, because Debian packages no header. */
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct bytes { uint8_t *data; unsigned len; }; /* GByteArray */

extern struct bytes *g_byte_array_new(void);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern bool qemu_plugin_read_memory_vaddr(uint64_t, struct bytes *, size_t);
extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, void (*)(unsigned, void *), int, void *);
extern void qemu_plugin_register_vcpu_syscall_cb(plugin_id, void (*)(plugin_id, unsigned, int64_t, uint64_t, uint64_t,
    uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t));

EXPORT int qemu_plugin_version = 4;

/* write(2) and writev(2) on ARM64. */
enum { WRITE = 64, WRITEV = 66 };
/* Threads beyond this number share a counter. */
enum { THREADS = 4096 };
static struct { _Alignas(64) uint64_t instructions; } counters[THREADS];
static int out = -1;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void on_execution(unsigned thread, void *instructions)
{
    counters[thread % THREADS].instructions += (uintptr_t)instructions;
}

static void on_translation(plugin_id id, struct qemu_plugin_tb *block)
{
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_cb(block, on_execution, 0, (void *)qemu_plugin_tb_n_insns(block));
}

static void put(const void *from, size_t bytes)
{
    if (write(out, from, bytes) != (ssize_t)bytes)
        abort();
}

static void text(uint64_t at, uint64_t bytes)
{
    static struct bytes *copy;
    uint64_t head[2] = { 0, bytes };

    if (!bytes || bytes > 1 << 20)
        return;
    pthread_mutex_lock(&lock);
    if (!copy)
        copy = g_byte_array_new();
    if (qemu_plugin_read_memory_vaddr(at, copy, bytes)) {
        for (unsigned i = 0; i < THREADS; i++)
            head[0] += *(volatile uint64_t *)&counters[i].instructions;
        put(head, sizeof head);
        put(copy->data, bytes);
    }
    pthread_mutex_unlock(&lock);
}

static void on_call(plugin_id id, unsigned thread, int64_t number, uint64_t file, uint64_t at, uint64_t count,
    uint64_t d, uint64_t e, uint64_t f, uint64_t g, uint64_t h)
{
    (void)id, (void)thread, (void)d, (void)e, (void)f, (void)g, (void)h;
    if (file != STDOUT_FILENO)
        return;
    if (number == WRITE)
        text(at, count);
    else if (number == WRITEV) {
        for (uint64_t i = 0; i < count && i < 16; i++) {
            uint64_t part[2];
            static _Thread_local struct bytes *vector;
            if (!vector)
                vector = g_byte_array_new();
            if (!qemu_plugin_read_memory_vaddr(at + 16 * i, vector, 16))
                return;
            memcpy(part, vector->data, 16);
            text(part[0], part[1]);
        }
    }
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++)
        if (!strncmp(argv[i], "log=", 4))
            out = open(argv[i] + 4, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
    if (out < 0)
        return -1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_vcpu_syscall_cb(id, on_call);
    return 0;
}
