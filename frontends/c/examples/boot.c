/* Boots a floppy that it makes itself, follows it with a hook, types to it, looks at its screen, saves and restores it, with a
 * disk of its own.
 *
 *     cargo build --release -p beigebox-c
 *     gcc -Ifrontends/c/include frontends/c/examples/boot.c target/release/libbeigebox_c.a -lpthread -lm -ldl
 */
#include "beigebox.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "line %d: %s: %s\n", __LINE__, #condition,                                       \
                    machine ? bb_machine_message(machine) : bb_builder_message(builder));                    \
            return 1;                                                                                        \
        }                                                                                                    \
    } while (0)

/* org 7c00h: reads the disk's second sector to 8000h, says its first byte over the serial line,
 * waits for a key, writes it to port 80h and to the disk's second sector, shows it, and exits with it. */
static const unsigned char sector[] = {
    0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0,             /* ds = es = 0 */
    0xb8, 0x01, 0x02, 0xbb, 0x00, 0x80,             /* mov ax,201h; mov bx,8000h */
    0xb9, 0x02, 0x00, 0xba, 0x80, 0x00, 0xcd, 0x13, /* mov cx,2; mov dx,80h; int 13h */
    0xba, 0xf8, 0x03, 0xa0, 0x00, 0x80, 0xee,       /* mov dx,3f8h; mov al,[8000h]; out dx,al */
    0xb4, 0x00, 0xcd, 0x16,                         /* mov ah,0; int 16h */
    0xe6, 0x80, 0xa2, 0x00, 0x80, 0x50,             /* out 80h,al; mov [8000h],al; push ax */
    0xb8, 0x01, 0x03, 0xbb, 0x00, 0x80,             /* mov ax,301h; mov bx,8000h */
    0xb9, 0x02, 0x00, 0xba, 0x80, 0x00, 0xcd, 0x13, /* mov cx,2; mov dx,80h; int 13h */
    0x58, 0xb4, 0x0e, 0xbb, 0x07, 0x00, 0xcd, 0x10, /* pop ax; mov ah,0eh; int 10h */
    0xe6, 0xf4,                                     /* out f4h,al */
};

static unsigned char disk[1 << 20];
static int freed;

static int32_t read_disk(void *user, uint64_t offset, uint8_t *buffer, size_t length) {
    memcpy(buffer, (unsigned char *)user + offset, length);
    return 0;
}
static int32_t write_disk(void *user, uint64_t offset, const uint8_t *data, size_t length) {
    memcpy((unsigned char *)user + offset, data, length);
    return 0;
}
static void free_disk(void *user) {
    (void)user;
    freed++;
}

/* The value on its way to the port is in AL. */
static bool port_80(void *user, bb_machine *machine, uint64_t probe, uint64_t port) {
    (void)probe;
    if (port == 0x80)
        *(uint64_t *)user = bb_machine_register(machine, BB_REGISTER_EAX) & 0xff;
    return true;
}

int main(void) {
    bb_machine *machine = NULL;
    bb_builder *builder = bb_builder_new();
    static unsigned char floppy[1474560];
    memcpy(floppy, sector, sizeof sector);
    floppy[510] = 0x55;
    floppy[511] = 0xaa;
    disk[512] = '?';
    bb_storage storage = {disk, sizeof disk, false, read_disk, write_disk, NULL, free_disk};

    CHECK(bb_builder_memory(builder, 4 << 20) == BB_STATUS_OK);
    CHECK(bb_builder_cpu(builder, "no such processor") == BB_STATUS_ARGUMENT);
    CHECK(bb_builder_cpu(builder, "pentium") == BB_STATUS_OK);
    CHECK(bb_builder_floppy(builder, 0, floppy, sizeof floppy) == BB_STATUS_OK);
    CHECK(bb_builder_disk(builder, &storage) == BB_STATUS_OK);
    machine = bb_builder_build(builder);
    CHECK(machine != NULL);

    uint64_t written = 0;
    uint64_t probe = bb_machine_watch_ports(machine, 0x80, 0x80, BB_ACCESS_WRITE);
    CHECK(probe != 0 && bb_machine_set_hook(machine, probe, port_80, &written) == BB_STATUS_OK);

    uint64_t entry = bb_machine_break(machine, 0x7c00);
    bb_stop stop = bb_machine_run(machine, 10000000000u);
    CHECK(stop.kind == BB_STOP_KIND_BREAKPOINT && stop.value == entry && stop.address == 0x7c00);
    CHECK(bb_machine_register(machine, BB_REGISTER_EIP) == 0x7c00);
    CHECK(bb_machine_unwatch(machine, entry) == BB_STATUS_OK);
    unsigned char code[4];
    CHECK(bb_machine_read(machine, true, 0x7c00, code, sizeof code) == sizeof code);
    CHECK(memcmp(code, sector, sizeof code) == 0);

    CHECK(bb_machine_run_until_text(machine, 5000000000u, "?", &stop));
    char output[16];
    CHECK(bb_machine_output(machine, 0, (uint8_t *)output, sizeof output) == 1 && output[0] == '?');

    size_t length;
    const uint8_t *state = bb_machine_save(machine, &length);
    uint8_t *kept = malloc(length);
    CHECK(state && kept);
    memcpy(kept, state, length);
    uint8_t hashes[2][16];
    for (int turn = 0; turn < 2; turn++) {
        CHECK(bb_machine_restore(machine, kept, length) == BB_STATUS_OK);
        CHECK(bb_machine_type(machine, "K") == BB_STATUS_OK);
        stop = bb_machine_run(machine, 5000000000u);
        CHECK(stop.kind == BB_STOP_KIND_EXIT && stop.value == 'K' && written == 'K');
        CHECK(bb_machine_hash(machine, hashes[turn]) == BB_STATUS_OK);
    }
    CHECK(memcmp(hashes[0], hashes[1], sizeof hashes[0]) == 0);
    CHECK(bb_machine_restore(machine, kept, length / 2) == BB_STATUS_STATE);
    free(kept);
    CHECK(disk[512] == 'K');

    bb_frame frame;
    CHECK(bb_machine_frame(machine, &frame) == BB_STATUS_OK && frame.width == 720 && frame.height == 400);
    unsigned lit = 0;
    for (unsigned i = 0; i < frame.width * frame.height; i++)
        lit += frame.pixels[i] != 0;
    CHECK(lit > 0 && strchr(bb_machine_screen_text(machine), 'K'));

    printf("Beigebox %s: %llu instructions, %u pixels lit\n", bb_version(),
           (unsigned long long)bb_machine_instructions(machine), lit);
    bb_machine_free(machine);
    bb_builder_free(builder);
    if (freed != 1)
        return 1;

    /* What cannot be built says why. */
    machine = NULL;
    builder = bb_builder_new();
    CHECK(bb_builder_memory(builder, 4097) == BB_STATUS_OK);
    CHECK(bb_builder_build(builder) == NULL && strlen(bb_builder_message(builder)) > 10);
    bb_builder_free(builder);
    builder = bb_builder_new();
    CHECK(bb_builder_disk_file(builder, "/no/such/file", false) == BB_STATUS_FILE);
    CHECK(strstr(bb_builder_message(builder), "/no/such/file"));
    bb_builder_free(builder);
    return 0;
}
