/* Beigebox: a PC as a library. Made by cbindgen from frontends/c/src/lib.rs:
 * `BEIGEBOX_BLESS=1 cargo test -p beigebox-c` writes it anew. */

#ifndef BEIGEBOX_H
#define BEIGEBOX_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

// How a call went.
typedef enum bb_status {
  // Well.
  BB_STATUS_OK = 0,
  // An argument is null, out of range or no UTF-8.
  BB_STATUS_ARGUMENT = 1,
  // A file cannot be opened or read.
  BB_STATUS_FILE = 2,
  // The machine cannot be built so.
  BB_STATUS_BUILD = 3,
  // The saved state does not fit.
  BB_STATUS_STATE = 4,
  // A bug in Beigebox.
  BB_STATUS_INTERNAL = 5,
} bb_status;

// Why a run ended.
typedef enum bb_stop_kind {
  // The time is over, or the text was found.
  BB_STOP_KIND_DONE = 0,
  // The instructions are over.
  BB_STOP_KIND_INSTRUCTIONS = 1,
  // The guest switched off.
  BB_STOP_KIND_POWER_OFF = 2,
  // The guest wrote to the exit port; `value` is what.
  BB_STOP_KIND_EXIT = 3,
  // A triple fault; `bb_machine_message` has the report.
  BB_STOP_KIND_TRIPLE_FAULT = 4,
  // Halted with interrupts off.
  BB_STOP_KIND_HANG = 5,
  // The guest reset the machine and `bb_builder_no_reboot` was asked for.
  BB_STOP_KIND_RESET = 6,
  // A probe; `value` is its number, `address` where.
  BB_STOP_KIND_BREAKPOINT = 7,
  // The call itself failed; `bb_machine_message` says why.
  BB_STOP_KIND_ERROR = 8,
} bb_stop_kind;

// Registers by name. The general ones have their numbers in instructions.
typedef enum bb_register {
  BB_REGISTER_EAX = 0,
  BB_REGISTER_ECX = 1,
  BB_REGISTER_EDX = 2,
  BB_REGISTER_EBX = 3,
  BB_REGISTER_ESP = 4,
  BB_REGISTER_EBP = 5,
  BB_REGISTER_ESI = 6,
  BB_REGISTER_EDI = 7,
  BB_REGISTER_EIP = 8,
  BB_REGISTER_EFLAGS = 9,
  BB_REGISTER_CS = 10,
  BB_REGISTER_SS = 11,
  BB_REGISTER_DS = 12,
  BB_REGISTER_ES = 13,
  BB_REGISTER_FS = 14,
  BB_REGISTER_GS = 15,
  BB_REGISTER_CR0 = 16,
  BB_REGISTER_CR2 = 17,
  BB_REGISTER_CR3 = 18,
  BB_REGISTER_CR4 = 19,
} bb_register;

// Which accesses a probe means.
typedef enum bb_access {
  // Loads, IN.
  BB_ACCESS_READ = 1,
  // Stores, OUT.
  BB_ACCESS_WRITE = 2,
  // Both.
  BB_ACCESS_ANY = 3,
} bb_access;

// A machine to be built.
typedef struct bb_builder bb_builder;

// A machine.
typedef struct bb_machine bb_machine;

// A disk of your own. All functions return 0 when all went well.
typedef struct bb_storage {
  // Given to each function.
  void *user;
  // Bytes; a multiple of 512.
  uint64_t length;
  // Whether writes are refused.
  bool read_only;
  // Fills `buffer` from `offset`.
  int32_t (*read)(void *user, uint64_t offset, uint8_t *buffer, size_t length);
  // Stores `data` at `offset`. May be null when `read_only`.
  int32_t (*write)(void *user, uint64_t offset, const uint8_t *data, size_t length);
  // Makes earlier writes durable. May be null.
  int32_t (*flush)(void *user);
  // Called when the machine needs the disk no more. May be null.
  void (*free)(void *user);
} bb_storage;

// Why a run ended, with details.
typedef struct bb_stop {
  // Why.
  enum bb_stop_kind kind;
  // See `bb_stop_kind`.
  uint64_t value;
  // The linear address or port of a probe that was met.
  uint64_t address;
} bb_stop;

// What the monitor shows: `width * height` pixels 0x00RRGGBB, row by row.
typedef struct bb_frame {
  // Pixels in a row.
  uint32_t width;
  // Rows.
  uint32_t height;
  // The pixels, until the next call with this machine.
  const uint32_t *pixels;
  // Whether anything has changed since the last frame.
  bool changed;
} bb_frame;

// Called at a probe, between two instructions, with the probe's number and the linear address or port; returns
// whether the run goes on. It may look at the machine and change it, but must neither run nor free it.
typedef bool (*bb_hook)(void *user, struct bb_machine *machine, uint64_t probe, uint64_t address);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Version of the library.
const char *bb_version(void);

// A machine to be described: 64 MiB, the built-in firmware, no drives.
struct bb_builder *bb_builder_new(void);

// Frees a builder, built from or not. Null does nothing.
//
// # Safety
// `builder` is null or comes from `bb_builder_new` and is not used any more.
void bb_builder_free(struct bb_builder *builder);

// Why the last call with this builder failed.
//
// # Safety
// `builder` is null or a live handle.
const char *bb_builder_message(struct bb_builder *builder);

// Bytes of RAM.
//
// # Safety
// `builder` is null or a live handle.
enum bb_status bb_builder_memory(struct bb_builder *builder, uint64_t length);

// The processor, by name: "486", "pentium-m".
//
// # Safety
// `builder` is null or a live handle; `name` is null or ends with a zero.
enum bb_status bb_builder_cpu(struct bb_builder *builder, const char *name);

// Whether the translator runs the processor instead of the interpreter.
//
// # Safety
// `builder` is null or a live handle.
enum bb_status bb_builder_translate(struct bb_builder *builder, bool translate);

// Stop instead of resetting.
//
// # Safety
// `builder` is null or a live handle.
enum bb_status bb_builder_no_reboot(struct bb_builder *builder, bool stop);

// Another system BIOS. The bytes are copied.
//
// # Safety
// `builder` is null or a live handle; `data` points to `length` bytes.
enum bb_status bb_builder_bios(struct bb_builder *builder, const uint8_t *data, size_t length);

// A floppy in drive 0 or 1. The bytes are copied; writes are forgotten.
//
// # Safety
// `builder` is null or a live handle; `data` points to `length` bytes.
enum bb_status bb_builder_floppy(struct bb_builder *builder,
                                 uint32_t drive,
                                 const uint8_t *data,
                                 size_t length);

// A hard disk in a file of any known format. Without `writable` writes are forgotten.
//
// # Safety
// `builder` is null or a live handle; `path` is null or ends with a zero.
enum bb_status bb_builder_disk_file(struct bb_builder *builder, const char *path, bool writable);

// A compact disc in a file.
//
// # Safety
// `builder` is null or a live handle; `path` is null or ends with a zero.
enum bb_status bb_builder_cdrom_file(struct bb_builder *builder, const char *path);

// A hard disk of your own. Its `free` is called once, also when this fails.
//
// # Safety
// `builder` is null or a live handle; `storage` is null or points to functions that work with their
// `user` on any thread, one call at a time, until `free` is called.
enum bb_status bb_builder_disk(struct bb_builder *builder, const struct bb_storage *storage);

// Boots a kernel (bzImage, multiboot, ELF) directly. `initrd` and `command_line` may be null; all is copied.
//
// # Safety
// `builder` is null or a live handle; `kernel` and `initrd` point to as many bytes as is said;
// `command_line` is null or ends with a zero.
enum bb_status bb_builder_kernel(struct bb_builder *builder,
                                 const uint8_t *kernel,
                                 size_t kernel_length,
                                 const uint8_t *initrd,
                                 size_t initrd_length,
                                 const char *command_line);

// Puts the machine together; the builder is used up, but still to be freed. Null when that failed:
// see `bb_builder_message`.
//
// # Safety
// `builder` is null or a live handle.
struct bb_machine *bb_builder_build(struct bb_builder *builder);

// Frees a machine. Null does nothing.
//
// # Safety
// `machine` is null or comes from `bb_builder_build` and is not used any more.
void bb_machine_free(struct bb_machine *machine);

// What there is to say about the last stop or failure.
//
// # Safety
// `machine` is null or a live handle.
const char *bb_machine_message(struct bb_machine *machine);

// Runs for so many nanoseconds of guest time, or until something happens.
//
// # Safety
// `machine` is null or a live handle.
struct bb_stop bb_machine_run(struct bb_machine *machine, uint64_t nanoseconds);

// Runs so many instructions, or until something happens.
//
// # Safety
// `machine` is null or a live handle.
struct bb_stop bb_machine_run_instructions(struct bb_machine *machine, uint64_t instructions);

// Runs until `wanted` has come over the first serial port or to the debug console or stands on the text
// screen; for so many nanoseconds at most. Returns whether it was found; `stop`, which may be null, says why the
// run ended. A text that is cut in two by the call of a hook is not seen.
//
// # Safety
// `machine` is null or a live handle; `wanted` is null or ends with a zero; `stop` is null or can be written.
bool bb_machine_run_until_text(struct bb_machine *machine,
                               uint64_t nanoseconds,
                               const char *wanted,
                               struct bb_stop *stop);

// Nanoseconds of guest time since power-on.
//
// # Safety
// `machine` is null or a live handle.
uint64_t bb_machine_time(struct bb_machine *machine);

// Instructions since power-on.
//
// # Safety
// `machine` is null or a live handle.
uint64_t bb_machine_instructions(struct bb_machine *machine);

// Presses the reset button.
//
// # Safety
// `machine` is null or a live handle.
enum bb_status bb_machine_reset(struct bb_machine *machine);

// Moves what came over serial port 0 or 1, or to the debug console (2), to `buffer`; returns how many bytes. The rest waits.
//
// # Safety
// `machine` is null or a live handle; `buffer` has room for `size` bytes.
size_t bb_machine_output(struct bb_machine *machine,
                         uint32_t port,
                         uint8_t *buffer,
                         size_t size);

// Sends bytes to the guest over serial port 0 or 1.
//
// # Safety
// `machine` is null or a live handle; `data` points to `length` bytes.
enum bb_status bb_machine_serial_input(struct bb_machine *machine,
                                       uint32_t port,
                                       const uint8_t *data,
                                       size_t length);

// Types keys in guest time: text, `<enter>`, `<ctrl-alt-delete>`.
//
// # Safety
// `machine` is null or a live handle; `keys` is null or ends with a zero.
enum bb_status bb_machine_type(struct bb_machine *machine, const char *keys);

// Moves the mouse and sets its buttons (bit 0 left, 1 right, 2 middle).
//
// # Safety
// `machine` is null or a live handle.
enum bb_status bb_machine_mouse(struct bb_machine *machine,
                                int32_t dx,
                                int32_t dy,
                                int32_t wheel,
                                uint8_t buttons);

// What the monitor shows now.
//
// # Safety
// `machine` is null or a live handle; `frame` is null or can be written.
enum bb_status bb_machine_frame(struct bb_machine *machine, struct bb_frame *frame);

// The text screen as lines; empty in graphics modes. Holds until the next call with this machine.
//
// # Safety
// `machine` is null or a live handle.
const char *bb_machine_screen_text(struct bb_machine *machine);

// Reads guest memory: physical addresses, or linear ones through the guest's page tables. Returns how many
// bytes are there.
//
// # Safety
// `machine` is null or a live handle; `buffer` has room for `length` bytes.
size_t bb_machine_read(struct bb_machine *machine,
                       bool linear,
                       uint64_t address,
                       uint8_t *buffer,
                       size_t length);

// Writes guest RAM; returns how many bytes could be written.
//
// # Safety
// `machine` is null or a live handle; `data` points to `length` bytes.
size_t bb_machine_write(struct bb_machine *machine,
                        bool linear,
                        uint64_t address,
                        const uint8_t *data,
                        size_t length);

// The value of a register; of segment registers the selector.
//
// # Safety
// `machine` is null or a live handle.
uint64_t bb_machine_register(struct bb_machine *machine, enum bb_register register_);

// Changes a general register or EIP between two runs.
//
// # Safety
// `machine` is null or a live handle.
enum bb_status bb_machine_set_register(struct bb_machine *machine,
                                       enum bb_register register_,
                                       uint32_t value);

// Calls `hook` at a probe instead of stopping there; null stops again.
//
// # Safety
// `machine` is null or a live handle; `hook` may be called with `user` on any thread that runs the machine.
enum bb_status bb_machine_set_hook(struct bb_machine *machine, uint64_t probe, bb_hook hook, void *user);

// Stops before the instruction at a linear address; returns the probe's number, 0 when that failed.
//
// # Safety
// `machine` is null or a live handle.
uint64_t bb_machine_break(struct bb_machine *machine, uint64_t address);

// Stops behind an access to these linear addresses.
//
// # Safety
// `machine` is null or a live handle.
uint64_t bb_machine_watch(struct bb_machine *machine, uint64_t first, uint64_t last, enum bb_access access);

// Stops behind an access to these ports.
//
// # Safety
// `machine` is null or a live handle.
uint64_t bb_machine_watch_ports(struct bb_machine *machine,
                                uint16_t first,
                                uint16_t last,
                                enum bb_access access);

// Removes a probe.
//
// # Safety
// `machine` is null or a live handle.
enum bb_status bb_machine_unwatch(struct bb_machine *machine, uint64_t probe);

// Saves the machine's state, without the contents of drives. The bytes hold until the next call of this function.
//
// # Safety
// `machine` is null or a live handle; `length` is null or can be written.
const uint8_t *bb_machine_save(struct bb_machine *machine,
                               size_t *length);

// Takes over a saved state. The machine must have been built alike.
//
// # Safety
// `machine` is null or a live handle; `data` points to `length` bytes.
enum bb_status bb_machine_restore(struct bb_machine *machine, const uint8_t *data, size_t length);

// Writes a hash of the whole state to 16 bytes.
//
// # Safety
// `machine` is null or a live handle; `hash` has room for 16 bytes.
enum bb_status bb_machine_hash(struct bb_machine *machine, uint8_t *hash);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* BEIGEBOX_H */
