/* The guest of `--bin arm64`: the benchmarks that need nothing but a processor, as a 32-bit multiboot kernel without
 * paging and interrupts. The word NAME:UNITS,NAME:UNITS,... of its command line says what is run, each as
 *
 *     @@B NAME UNITS
 *     @@E NAME UNITS CHECKSUM
 *
 * on the debug console (port E9h), and @@DONE at the end. A write to port F5h follows each line: there the machine that
 * counts its own instructions stops; elsewhere nobody is at that port. */
#include "bench.h"

enum { CONSOLE = 0xe9, PAUSE = 0xf5 };

/* Multiboot: magic, flags, checksum. The loader's descriptor table may be anywhere, so this brings its own. */
__asm__(
    ".section .multiboot, \"a\"\n"
    ".align 4\n"
    ".long 0x1badb002, 0, -0x1badb002\n"
    ".text\n"
    ".globl _start\n"
    "_start:\n"
    "    cli\n"
    "    lgdt table\n"
    "    ljmp $8, $1f\n"
    "1:  mov $16, %ax\n"
    "    mov %ax, %ds\n"
    "    mov %ax, %es\n"
    "    mov %ax, %ss\n"
    "    mov $stack_end, %esp\n"
    "    push %ebx\n"
    "    call start\n"
    "2:  hlt\n"
    "    jmp 2b\n"
    ".section .rodata\n"
    ".align 8\n"
    "entries: .quad 0, 0x00cf9a000000ffff, 0x00cf92000000ffff\n"
    "table: .word 23\n"
    "    .long entries\n"
    ".section .bss\n"
    ".align 16\n"
    ".skip 262144\n"
    "stack_end:\n"
    ".text\n");

static void out(u16 port, u8 value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static void text(const char *s)
{
    for (; *s; s++)
        out(CONSOLE, *s);
}

static void number(u64 value, u32 base, u32 least)
{
    char digits[24], *at = digits + sizeof digits;
    u32 high = value >> 32, low = value;

    *--at = 0;
    do {
        /* Division of 64 bits by 32, which needs no library. */
        u32 rest = high % base;
        high /= base;
        __asm__("divl %2" : "+a"(low), "+d"(rest) : "r"(base));
        *--at = "0123456789abcdef"[rest];
    } while (high || low || digits + sizeof digits - 1 - at < (int)least);
    text(at);
}

static void end_of_line(void)
{
    out(CONSOLE, '\n');
    out(PAUSE, 0);
}

/* Whether a name is what stands at `word`, up to its colon. */
static int is(const char *name, const char *word)
{
    while (*name && *name == *word)
        name++, word++;
    return !*name && *word == ':';
}

static void run(const struct bench *b, u32 units)
{
    if (b->setup)
        b->setup();
    text("@@B ");
    text(b->name);
    text(" ");
    number(units, 10, 1);
    end_of_line();
    u64 sum = b->run(units);
    text("@@E ");
    text(b->name);
    text(" ");
    number(units, 10, 1);
    text(" ");
    number(sum, 16, 16);
    end_of_line();
}

NOIPA void start(const u32 *information)
{
    /* The kernel's own name may stand before the list. */
    const char *word = (const char *)information[4];
    while (*word) {
        const struct bench *b = int_benches;
        while (b->name && !is(b->name, word))
            b++;
        while (*word && *word != ':' && *word != ' ' && *word != ',')
            word++;
        u32 units = 0;
        if (*word == ':')
            for (word++; *word >= '0' && *word <= '9'; word++)
                units = 10 * units + (*word - '0');
        if (b->name)
            run(b, units);
        while (*word && *word != ' ' && *word != ',')
            word++;
        while (*word == ' ' || *word == ',')
            word++;
    }
    text("@@DONE");
    end_of_line();
}
