//! Beigebox for C.
//!
//! Handles are made and freed by the functions here; all else that is handed out belongs to its handle and
//! holds until the next call with it. A handle may move from thread to thread but is used by one at a
//! time. No function panics across the border: what would is an error, [`bb_status::Internal`].
//! Null handles are refused.
#![allow(unsafe_code, reason = "the border to C")]
#![allow(non_camel_case_types, reason = "the names are C's")]

use beigebox::display::Viewer;
use beigebox::host::{self, Mode};
use beigebox::loader::Payload;
use beigebox::{
    Builder, EngineKind, Event, Machine, MemoryStorage, Model, ProbeId, Spot, Stop, Storage, StorageError, WatchKind,
};
use std::ffi::{CStr, CString, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::slice;

/// How a call went.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum bb_status {
    /// Well.
    Ok = 0,
    /// An argument is null, out of range or no UTF-8.
    Argument = 1,
    /// A file cannot be opened or read.
    File = 2,
    /// The machine cannot be built so.
    Build = 3,
    /// The saved state does not fit.
    State = 4,
    /// A bug in Beigebox.
    Internal = 5,
}

/// Why a run ended.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum bb_stop_kind {
    /// The time is over, or the text was found.
    Done = 0,
    /// The instructions are over.
    Instructions = 1,
    /// The guest switched off.
    PowerOff = 2,
    /// The guest wrote to the exit port; `value` is what.
    Exit = 3,
    /// A triple fault; `bb_machine_message` has the report.
    TripleFault = 4,
    /// Halted with interrupts off.
    Hang = 5,
    /// The guest reset the machine and `bb_builder_no_reboot` was asked for.
    Reset = 6,
    /// A probe; `value` is its number, `address` where.
    Breakpoint = 7,
    /// The call itself failed; `bb_machine_message` says why.
    Error = 8,
}

/// Why a run ended, with details.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct bb_stop {
    /// Why.
    pub kind: bb_stop_kind,
    /// See `bb_stop_kind`.
    pub value: u64,
    /// The linear address or port of a probe that was met.
    pub address: u64,
}

/// Which accesses a probe means.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum bb_access {
    /// Loads, IN.
    Read = 1,
    /// Stores, OUT.
    Write = 2,
    /// Both.
    Any = 3,
}

/// Registers by name. The general ones have their numbers in instructions.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the manual's")]
pub enum bb_register {
    Eax = 0,
    Ecx = 1,
    Edx = 2,
    Ebx = 3,
    Esp = 4,
    Ebp = 5,
    Esi = 6,
    Edi = 7,
    Eip = 8,
    Eflags = 9,
    Cs = 10,
    Ss = 11,
    Ds = 12,
    Es = 13,
    Fs = 14,
    Gs = 15,
    Cr0 = 16,
    Cr2 = 17,
    Cr3 = 18,
    Cr4 = 19,
}

/// What the monitor shows: `width * height` pixels 0x00RRGGBB, row by row.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct bb_frame {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// The pixels, until the next call with this machine.
    pub pixels: *const u32,
    /// Whether anything has changed since the last frame.
    pub changed: bool,
}

/// A disk of your own. All functions return 0 when all went well.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct bb_storage {
    /// Given to each function.
    pub user: *mut c_void,
    /// Bytes; a multiple of 512.
    pub length: u64,
    /// Whether writes are refused.
    pub read_only: bool,
    /// Fills `buffer` from `offset`.
    pub read: Option<unsafe extern "C" fn(user: *mut c_void, offset: u64, buffer: *mut u8, length: usize) -> i32>,
    /// Stores `data` at `offset`. May be null when `read_only`.
    pub write: Option<unsafe extern "C" fn(user: *mut c_void, offset: u64, data: *const u8, length: usize) -> i32>,
    /// Makes earlier writes durable. May be null.
    pub flush: Option<unsafe extern "C" fn(user: *mut c_void) -> i32>,
    /// Called when the machine needs the disk no more. May be null.
    pub free: Option<unsafe extern "C" fn(user: *mut c_void)>,
}

/// Called at a probe, between two instructions, with the probe's number and the linear address or port; returns
/// whether the run goes on. It may look at the machine and change it, but must neither run nor free it.
pub type bb_hook =
    Option<unsafe extern "C" fn(user: *mut c_void, machine: *mut bb_machine, probe: u64, address: u64) -> bool>;

/// A machine to be built.
pub struct bb_builder {
    builder: Option<Builder>,
    message: CString,
}

/// A probe, and what is called there instead of stopping.
struct Probe {
    id: ProbeId,
    hook: bb_hook,
    user: *mut c_void,
}

/// A machine.
pub struct bb_machine {
    machine: Machine,
    message: CString,
    viewer: Viewer,
    pixels: Vec<u32>,
    text: CString,
    /// What was sent and not fetched yet: two serial ports and the debug console.
    output: [Vec<u8>; 3],
    saved: Vec<u8>,
    probes: Vec<Probe>,
}

fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default()
}

/// Runs `action` and turns a panic into [`bb_status::Internal`].
fn guarded(action: impl FnOnce() -> bb_status) -> bb_status {
    catch_unwind(AssertUnwindSafe(action)).unwrap_or(bb_status::Internal)
}

/// The handle behind a pointer.
///
/// # Safety
/// Null, or a live handle that nobody else uses meanwhile.
unsafe fn handle<'a, T>(pointer: *mut T) -> Option<&'a mut T> {
    // SAFETY: the caller's promise.
    unsafe { pointer.as_mut() }
}

/// Bytes from C; null is none.
///
/// # Safety
/// `data` is null or points to `length` bytes.
unsafe fn bytes<'a>(data: *const u8, length: usize) -> &'a [u8] {
    if data.is_null() || length == 0 {
        return &[];
    }
    // SAFETY: the caller's promise; not null.
    unsafe { slice::from_raw_parts(data, length) }
}

/// Text from C.
///
/// # Safety
/// `text` is null or ends with a zero.
unsafe fn text<'a>(text: *const c_char) -> Option<&'a str> {
    if text.is_null() {
        return None;
    }
    // SAFETY: the caller's promise; not null.
    unsafe { CStr::from_ptr(text) }.to_str().ok()
}

/// Changes the builder behind a handle.
///
/// # Safety
/// As [`handle`].
unsafe fn change(
    builder: *mut bb_builder,
    action: impl FnOnce(Builder) -> Result<Builder, (bb_status, String)>,
) -> bb_status {
    // SAFETY: the caller's promise.
    let Some(handle) = (unsafe { handle(builder) }) else { return bb_status::Argument };
    guarded(|| {
        let Some(builder) = handle.builder.take() else { return bb_status::Argument };
        match action(builder) {
            Ok(builder) => {
                handle.builder = Some(builder);
                bb_status::Ok
            }
            Err((status, message)) => {
                // A builder is used up by a step that failed.
                handle.message = c_string(&message);
                status
            }
        }
    })
}

/// Version of the library.
#[unsafe(no_mangle)]
pub extern "C" fn bb_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// A machine to be described: 64 MiB, the built-in firmware, no drives.
#[unsafe(no_mangle)]
pub extern "C" fn bb_builder_new() -> *mut bb_builder {
    Box::into_raw(Box::new(bb_builder { builder: Some(Machine::builder()), message: CString::default() }))
}

/// Frees a builder, built from or not. Null does nothing.
///
/// # Safety
/// `builder` is null or comes from `bb_builder_new` and is not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bb_builder_free(builder: *mut bb_builder) {
    if !builder.is_null() {
        // SAFETY: the caller's promise.
        drop(unsafe { Box::from_raw(builder) });
    }
}

/// Why the last call with this builder failed.
///
/// # Safety
/// `builder` is null or a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bb_builder_message(builder: *mut bb_builder) -> *const c_char {
    // SAFETY: the caller's promise.
    unsafe { handle(builder) }.map_or(c"the builder is null".as_ptr(), |builder| builder.message.as_ptr())
}

/// Bytes of RAM.
///
/// # Safety
/// `builder` is null or a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bb_builder_memory(builder: *mut bb_builder, length: u64) -> bb_status {
    // SAFETY: the caller's promise.
    unsafe { change(builder, |builder| Ok(builder.memory(length))) }
}

/// The processor, by name: "486", "pentium-m".
///
/// # Safety
/// `builder` is null or a live handle; `name` is null or ends with a zero.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bb_builder_cpu(builder: *mut bb_builder, name: *const c_char) -> bb_status {
    // SAFETY: the caller's promise.
    let name = unsafe { text(name) }.unwrap_or_default();
    let Some(model) = Model::ALL.iter().copied().find(|model| model.name() == name) else {
        return bb_status::Argument;
    };
    // SAFETY: the caller's promise.
    unsafe { change(builder, |builder| Ok(builder.cpu(model))) }
}

/// Whether the translator runs the processor instead of the interpreter.
///
/// # Safety
/// `builder` is null or a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bb_builder_translate(builder: *mut bb_builder, translate: bool) -> bb_status {
    let kind = if translate { EngineKind::Jit } else { EngineKind::Interpreter };
    // SAFETY: the caller's promise.
    unsafe { change(builder, |builder| Ok(builder.engine(kind))) }
}

/// Stop instead of resetting.
///
/// # Safety
/// `builder` is null or a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bb_builder_no_reboot(builder: *mut bb_builder, stop: bool) -> bb_status {
    // SAFETY: the caller's promise.
    unsafe { change(builder, |builder| Ok(builder.no_reboot(stop))) }
}

/// Another system BIOS. The bytes are copied.
///
/// # Safety
/// `builder` is null or a live handle; `data` points to `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bb_builder_bios(builder: *mut bb_builder, data: *const u8, length: usize) -> bb_status {
    // SAFETY: the caller's promise.
    let image = unsafe { bytes(data, length) }.to_vec();
    // SAFETY: the caller's promise.
    unsafe { change(builder, |builder| Ok(builder.bios(image))) }
}

/// A floppy in drive 0 or 1. The bytes are copied; writes are forgotten.
///
/// # Safety
/// `builder` is null or a live handle; `data` points to `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bb_builder_floppy(
    builder: *mut bb_builder,
    drive: u32,
    data: *const u8,
    length: usize,
) -> bb_status {
    if drive > 1 {
        return bb_status::Argument;
    }
    // SAFETY: the caller's promise.
    let image = unsafe { bytes(data, length) }.to_vec();
    // SAFETY: the caller's promise.
    unsafe { change(builder, |builder| Ok(builder.floppy(drive as usize, Some(Box::new(MemoryStorage::new(image)))))) }
}

/// A hard disk in a file of any known format. Without `writable` writes are forgotten.
///
/// # Safety
/// `builder` is null or a live handle; `path` is null or ends with a zero.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bb_builder_disk_file(
    builder: *mut bb_builder,
    path: *const c_char,
    writable: bool,
) -> bb_status {
    // SAFETY: the caller's promise.
    let Some(path) = (unsafe { text(path) }) else { return bb_status::Argument };
    let mode = if writable { Mode::Write } else { Mode::Snapshot };
    let open = |builder: Builder| match host::open_disk(path.as_ref(), mode) {
        Ok(disk) => Ok(builder.disk(disk)),
        Err(error) => Err((bb_status::File, error.to_string())),
    };
    // SAFETY: the caller's promise.
    unsafe { change(builder, open) }
}

/// A compact disc in a file.
///
/// # Safety
/// `builder` is null or a live handle; `path` is null or ends with a zero.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bb_builder_cdrom_file(builder: *mut bb_builder, path: *const c_char) -> bb_status {
    // SAFETY: the caller's promise.
    let Some(path) = (unsafe { text(path) }) else { return bb_status::Argument };
    let open = |builder: Builder| match host::open_cdrom(path.as_ref()) {
        Ok(disc) => Ok(builder.cdrom(Some(disc))),
        Err(error) => Err((bb_status::File, error.to_string())),
    };
    // SAFETY: the caller's promise.
    unsafe { change(builder, open) }
}

/// A disk behind functions of C.
struct Callbacks(bb_storage);

// SAFETY: `bb_builder_disk` demands that the functions may be called on any thread, one at a time.
unsafe impl Send for Callbacks {}

impl Drop for Callbacks {
    fn drop(&mut self) {
        if let Some(free) = self.0.free {
            // SAFETY: the functions work with their `user`, by the contract of `bb_builder_disk`.
            unsafe { free(self.0.user) };
        }
    }
}

impl Callbacks {
    fn check(&self, offset: u64, length: usize) -> Result<(), StorageError> {
        let end = offset.checked_add(length as u64).ok_or(StorageError::OutOfRange)?;
        if end > self.0.length { Err(StorageError::OutOfRange) } else { Ok(()) }
    }
}

impl Storage for Callbacks {
    fn len(&self) -> u64 {
        self.0.length
    }
    fn read_only(&self) -> bool {
        self.0.read_only || self.0.write.is_none()
    }
    fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), StorageError> {
        self.check(offset, buf.len())?;
        let read = self.0.read.ok_or(StorageError::Host)?;
        // SAFETY: the buffer has that many bytes; else as for `free`.
        let result = unsafe { read(self.0.user, offset, buf.as_mut_ptr(), buf.len()) };
        if result == 0 { Ok(()) } else { Err(StorageError::Host) }
    }
    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), StorageError> {
        self.check(offset, data.len())?;
        if self.0.read_only {
            return Err(StorageError::ReadOnly);
        }
        let write = self.0.write.ok_or(StorageError::ReadOnly)?;
        // SAFETY: as in `read`.
        let result = unsafe { write(self.0.user, offset, data.as_ptr(), data.len()) };
        if result == 0 { Ok(()) } else { Err(StorageError::Host) }
    }
    fn flush(&mut self) -> Result<(), StorageError> {
        let Some(flush) = self.0.flush else { return Ok(()) };
        // SAFETY: as for `free`.
        if unsafe { flush(self.0.user) } == 0 { Ok(()) } else { Err(StorageError::Host) }
    }
}

/// A hard disk of your own. Its `free` is called once, also when this fails.
///
/// # Safety
/// `builder` is null or a live handle; `storage` is null or points to functions that work with their
/// `user` on any thread, one call at a time, until `free` is called.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bb_builder_disk(builder: *mut bb_builder, storage: *const bb_storage) -> bb_status {
    // SAFETY: the caller's promise.
    let Some(storage) = (unsafe { storage.as_ref() }) else { return bb_status::Argument };
    let disk = Callbacks(*storage);
    if storage.read.is_none() || storage.length == 0 || !storage.length.is_multiple_of(512) {
        return bb_status::Argument;
    }
    // SAFETY: the caller's promise.
    unsafe { change(builder, |builder| Ok(builder.disk(Box::new(disk)))) }
}

/// Boots a kernel (bzImage, multiboot, ELF) directly. `initrd` and `command_line` may be null; all is copied.
///
/// # Safety
/// `builder` is null or a live handle; `kernel` and `initrd` point to as many bytes as is said;
/// `command_line` is null or ends with a zero.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bb_builder_kernel(
    builder: *mut bb_builder,
    kernel: *const u8,
    kernel_length: usize,
    initrd: *const u8,
    initrd_length: usize,
    command_line: *const c_char,
) -> bb_status {
    // SAFETY: the caller's promise, for all three.
    let (kernel, initrd, line) =
        unsafe { (bytes(kernel, kernel_length), bytes(initrd, initrd_length), text(command_line)) };
    let payload = Payload {
        kernel: kernel.to_vec(),
        initrd: (!initrd.is_empty()).then(|| initrd.to_vec()),
        command_line: line.unwrap_or_default().to_owned(),
        ..Payload::default()
    };
    // SAFETY: the caller's promise.
    unsafe { change(builder, |builder| Ok(builder.direct_boot(payload))) }
}

/// Puts the machine together; the builder is used up, but still to be freed. Null when that failed:
/// see `bb_builder_message`.
///
/// # Safety
/// `builder` is null or a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bb_builder_build(builder: *mut bb_builder) -> *mut bb_machine {
    // SAFETY: the caller's promise.
    let Some(handle) = (unsafe { handle(builder) }) else { return std::ptr::null_mut() };
    let Some(builder) = handle.builder.take() else { return std::ptr::null_mut() };
    let message = match catch_unwind(AssertUnwindSafe(|| builder.build())) {
        Ok(Ok(machine)) => {
            return Box::into_raw(Box::new(bb_machine {
                machine,
                message: CString::default(),
                viewer: Viewer::new(),
                pixels: Vec::new(),
                text: CString::default(),
                output: Default::default(),
                saved: Vec::new(),
                probes: Vec::new(),
            }));
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "a bug in Beigebox".into(),
    };
    handle.message = c_string(&message);
    std::ptr::null_mut()
}

/// Frees a machine. Null does nothing.
///
/// # Safety
/// `machine` is null or comes from `bb_builder_build` and is not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bb_machine_free(machine: *mut bb_machine) {
    if !machine.is_null() {
        // SAFETY: the caller's promise.
        drop(unsafe { Box::from_raw(machine) });
    }
}

/// What there is to say about the last stop or failure.
///
/// # Safety
/// `machine` is null or a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bb_machine_message(machine: *mut bb_machine) -> *const c_char {
    // SAFETY: the caller's promise.
    unsafe { handle(machine) }.map_or(c"the machine is null".as_ptr(), |machine| machine.message.as_ptr())
}

const FAILED: bb_stop = bb_stop { kind: bb_stop_kind::Error, value: 0, address: 0 };

impl bb_machine {
    fn gather(&mut self) {
        for port in 0..2 {
            self.output[port].extend(self.machine.serial_output(port));
        }
        self.output[2].extend(self.machine.debug_output());
    }
    fn stop(&mut self, stop: &Stop) -> bb_stop {
        let (kind, value, address) = match stop {
            Stop::Done => (bb_stop_kind::Done, 0, 0),
            Stop::Instructions => (bb_stop_kind::Instructions, 0, 0),
            Stop::PowerOff => (bb_stop_kind::PowerOff, 0, 0),
            Stop::Exit(value) => (bb_stop_kind::Exit, u64::from(*value), 0),
            Stop::TripleFault(report) => {
                self.message = c_string(&report.to_string());
                (bb_stop_kind::TripleFault, 0, 0)
            }
            Stop::Hang => (bb_stop_kind::Hang, 0, 0),
            Stop::Reset => (bb_stop_kind::Reset, 0, 0),
            Stop::Breakpoint(hit) => {
                let number = self.probes.iter().position(|probe| probe.id == hit.probe).map_or(0, |at| at as u64 + 1);
                (bb_stop_kind::Breakpoint, number, place(&hit.event))
            }
        };
        bb_stop { kind, value, address }
    }
    fn run(&mut self, action: impl FnOnce(&mut Machine) -> Stop) -> bb_stop {
        match catch_unwind(AssertUnwindSafe(|| action(&mut self.machine))) {
            Ok(stop) => {
                self.gather();
                self.stop(&stop)
            }
            Err(_) => {
                self.message = c_string("a bug in Beigebox");
                FAILED
            }
        }
    }
}

/// Address or port of an event.
fn place(event: &Event) -> u64 {
    match event {
        Event::Instruction { address } | Event::Memory { address, .. } => *address,
        Event::Port(io) => io.address,
    }
}

/// Runs as `action` says, again and again as long as hooks want it.
///
/// # Safety
/// As [`handle`].
unsafe fn run(machine: *mut bb_machine, mut action: impl FnMut(&mut bb_machine) -> bb_stop) -> bb_stop {
    loop {
        // SAFETY: the caller's promise.
        let Some(handle) = (unsafe { handle(machine) }) else { return FAILED };
        let stop = action(handle);
        if stop.kind != bb_stop_kind::Breakpoint {
            return stop;
        }
        let Some(&Probe { hook: Some(hook), user, .. }) = handle.probes.get((stop.value as usize).wrapping_sub(1))
        else {
            return stop;
        };
        // SAFETY: the contract of `bb_machine_set_hook`. Nothing borrows the machine here, so the hook may use it.
        if !unsafe { hook(user, machine, stop.value, stop.address) } {
            return stop;
        }
    }
}

/// Runs for so many nanoseconds of guest time, or until something happens.
///
/// # Safety
/// `machine` is null or a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bb_machine_run(machine: *mut bb_machine, nanoseconds: u64) -> bb_stop {
    let mut until = None;
    let slice = |machine: &mut bb_machine| {
        let until = *until.get_or_insert(machine.machine.now().plus(nanoseconds));
        machine.run(|pc| pc.run_for(until.since(pc.now())))
    };
    // SAFETY: the caller's promise.
    unsafe { run(machine, slice) }
}

/// Runs so many instructions, or until something happens.
///
/// # Safety
/// `machine` is null or a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bb_machine_run_instructions(machine: *mut bb_machine, instructions: u64) -> bb_stop {
    let mut last = None;
    let slice = |machine: &mut bb_machine| {
        let done = machine.machine.counters().instructions;
        let last: u64 = *last.get_or_insert(done.saturating_add(instructions));
        machine.run(|pc| pc.run_limited(u64::MAX, last - done))
    };
    // SAFETY: the caller's promise.
    unsafe { run(machine, slice) }
}

/// Runs until `wanted` has come over the first serial port or to the debug console or stands on the text
/// screen; for so many nanoseconds at most. Returns whether it was found; `stop`, which may be null, says why the
/// run ended. A text that is cut in two by the call of a hook is not seen.
///
/// # Safety
/// `machine` is null or a live handle; `wanted` is null or ends with a zero; `stop` is null or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bb_machine_run_until_text(
    machine: *mut bb_machine,
    nanoseconds: u64,
    wanted: *const c_char,
    stop: *mut bb_stop,
) -> bool {
    // SAFETY: the caller's promise.
    let Some(wanted) = (unsafe { text(wanted) }) else { return false };
    let (mut found, mut until) = (false, None);
    let slice = |machine: &mut bb_machine| {
        let until = *until.get_or_insert(machine.machine.now().plus(nanoseconds));
        let mut output = (Vec::new(), Vec::new());
        let why = machine.run(|pc| {
            let waited = pc.run_until_text(until.since(pc.now()), wanted);
            found = waited.found;
            output = (waited.serial, waited.debug);
            waited.stop
        });
        machine.output[0].extend(output.0);
        machine.output[2].extend(output.1);
        why
    };
    // SAFETY: the caller's promise.
    let why = unsafe { run(machine, slice) };
    // SAFETY: the caller's promise.
    if let Some(stop) = unsafe { stop.as_mut() } {
        *stop = why;
    }
    found
}

/// Nanoseconds of guest time since power-on.
///
/// # Safety
/// `machine` is null or a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bb_machine_time(machine: *mut bb_machine) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { handle(machine) }.map_or(0, |machine| machine.machine.now().0)
}

/// Instructions since power-on.
///
/// # Safety
/// `machine` is null or a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bb_machine_instructions(machine: *mut bb_machine) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { handle(machine) }.map_or(0, |machine| machine.machine.counters().instructions)
}

/// Presses the reset button.
///
/// # Safety
/// `machine` is null or a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bb_machine_reset(machine: *mut bb_machine) -> bb_status {
    // SAFETY: the caller's promise.
    let Some(machine) = (unsafe { handle(machine) }) else { return bb_status::Argument };
    guarded(|| {
        machine.machine.reset();
        bb_status::Ok
    })
}

/// Moves what came over serial port 0 or 1, or to the debug console (2), to `buffer`; returns how many bytes. The rest waits.
///
/// # Safety
/// `machine` is null or a live handle; `buffer` has room for `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bb_machine_output(machine: *mut bb_machine, port: u32, buffer: *mut u8, size: usize) -> usize {
    // SAFETY: the caller's promise.
    let Some(machine) = (unsafe { handle(machine) }) else { return 0 };
    let Some(output) = machine.output.get_mut(port as usize) else { return 0 };
    let count = output.len().min(size);
    if buffer.is_null() || count == 0 {
        return 0;
    }
    // SAFETY: `buffer` has room for `size` ≥ `count` bytes, and the two do not overlap.
    unsafe { std::ptr::copy_nonoverlapping(output.as_ptr(), buffer, count) };
    output.drain(..count);
    count
}

/// Sends bytes to the guest over serial port 0 or 1.
///
/// # Safety
/// `machine` is null or a live handle; `data` points to `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bb_machine_serial_input(
    machine: *mut bb_machine,
    port: u32,
    data: *const u8,
    length: usize,
) -> bb_status {
    // SAFETY: the caller's promise.
    let Some(machine) = (unsafe { handle(machine) }) else { return bb_status::Argument };
    // SAFETY: the caller's promise.
    let data = unsafe { bytes(data, length) };
    guarded(|| {
        machine.machine.serial_input(port as usize, data);
        bb_status::Ok
    })
}

/// Types keys in guest time: text, `<enter>`, `<ctrl-alt-delete>`.
///
/// # Safety
/// `machine` is null or a live handle; `keys` is null or ends with a zero.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bb_machine_type(machine: *mut bb_machine, keys: *const c_char) -> bb_status {
    // SAFETY: the caller's promise.
    let (Some(machine), Some(keys)) = (unsafe { (handle(machine), text(keys)) }) else { return bb_status::Argument };
    guarded(|| match machine.machine.type_keys(keys) {
        Ok(()) => bb_status::Ok,
        Err(error) => {
            machine.message = c_string(&error.to_string());
            bb_status::Argument
        }
    })
}

/// Moves the mouse and sets its buttons (bit 0 left, 1 right, 2 middle).
///
/// # Safety
/// `machine` is null or a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bb_machine_mouse(
    machine: *mut bb_machine,
    dx: i32,
    dy: i32,
    wheel: i32,
    buttons: u8,
) -> bb_status {
    // SAFETY: the caller's promise.
    let Some(machine) = (unsafe { handle(machine) }) else { return bb_status::Argument };
    guarded(|| {
        machine.machine.mouse(dx, dy, wheel, buttons);
        bb_status::Ok
    })
}

/// What the monitor shows now.
///
/// # Safety
/// `machine` is null or a live handle; `frame` is null or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bb_machine_frame(machine: *mut bb_machine, frame: *mut bb_frame) -> bb_status {
    // SAFETY: the caller's promise.
    let (Some(handle), Some(target)) = (unsafe { (handle(machine), frame.as_mut()) }) else {
        return bb_status::Argument;
    };
    guarded(|| {
        let frame = handle.machine.frame(&mut handle.viewer);
        let changed = frame.changed();
        if changed || handle.pixels.is_empty() {
            handle.pixels = frame.pixels.to_vec();
        }
        let (width, height) = (frame.width as u32, frame.height as u32);
        *target = bb_frame { width, height, pixels: handle.pixels.as_ptr(), changed };
        bb_status::Ok
    })
}

/// The text screen as lines; empty in graphics modes. Holds until the next call with this machine.
///
/// # Safety
/// `machine` is null or a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bb_machine_screen_text(machine: *mut bb_machine) -> *const c_char {
    // SAFETY: the caller's promise.
    let Some(machine) = (unsafe { handle(machine) }) else { return c"".as_ptr() };
    machine.text = c_string(&machine.machine.screen_text());
    machine.text.as_ptr()
}

/// Reads guest memory: physical addresses, or linear ones through the guest's page tables. Returns how many
/// bytes are there.
///
/// # Safety
/// `machine` is null or a live handle; `buffer` has room for `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bb_machine_read(
    machine: *mut bb_machine,
    linear: bool,
    address: u64,
    buffer: *mut u8,
    length: usize,
) -> usize {
    // SAFETY: the caller's promise.
    let Some(machine) = (unsafe { handle(machine) }) else { return 0 };
    if buffer.is_null() || length == 0 {
        return 0;
    }
    let mut read = vec![0; length];
    let count = if linear {
        machine.machine.read_linear(address, &mut read)
    } else {
        machine.machine.read_memory(address, &mut read);
        length
    };
    // SAFETY: `buffer` has room for `length` ≥ `count` bytes, and the two do not overlap.
    unsafe { std::ptr::copy_nonoverlapping(read.as_ptr(), buffer, count) };
    count
}

/// Writes guest RAM; returns how many bytes could be written.
///
/// # Safety
/// `machine` is null or a live handle; `data` points to `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bb_machine_write(
    machine: *mut bb_machine,
    linear: bool,
    address: u64,
    data: *const u8,
    length: usize,
) -> usize {
    // SAFETY: the caller's promise.
    let Some(machine) = (unsafe { handle(machine) }) else { return 0 };
    // SAFETY: the caller's promise.
    let data = unsafe { bytes(data, length) };
    if linear {
        return machine.machine.write_linear(address, data);
    }
    machine.machine.write_memory(address, data);
    data.len()
}

/// The value of a register; of segment registers the selector.
///
/// # Safety
/// `machine` is null or a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bb_machine_register(machine: *mut bb_machine, register: bb_register) -> u64 {
    use beigebox::processor::Seg;
    // SAFETY: the caller's promise.
    let Some(machine) = (unsafe { handle(machine) }) else { return 0 };
    let cpu = machine.machine.cpu();
    let selector = |seg| u64::from(cpu.segment(seg).selector);
    match register {
        bb_register::Eip => cpu.rip,
        bb_register::Eflags => cpu.eflags(),
        bb_register::Cs => selector(Seg::Cs),
        bb_register::Ss => selector(Seg::Ss),
        bb_register::Ds => selector(Seg::Ds),
        bb_register::Es => selector(Seg::Es),
        bb_register::Fs => selector(Seg::Fs),
        bb_register::Gs => selector(Seg::Gs),
        bb_register::Cr0 => cpu.cr0,
        bb_register::Cr2 => cpu.cr2,
        bb_register::Cr3 => cpu.cr3,
        bb_register::Cr4 => cpu.cr4,
        general => cpu.gpr.get(general as u8),
    }
}

/// Changes a general register or EIP between two runs.
///
/// # Safety
/// `machine` is null or a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bb_machine_set_register(
    machine: *mut bb_machine,
    register: bb_register,
    value: u32,
) -> bb_status {
    // SAFETY: the caller's promise.
    let Some(machine) = (unsafe { handle(machine) }) else { return bb_status::Argument };
    let number = register as u8;
    guarded(|| match number {
        0..=7 => {
            machine.machine.with_cpu(|cpu| cpu.gpr.set(number, value.into()));
            bb_status::Ok
        }
        8 => {
            machine.machine.with_cpu(|cpu| cpu.rip = value.into());
            bb_status::Ok
        }
        _ => bb_status::Argument,
    })
}

/// Adds a probe; returns its number.
///
/// # Safety
/// As [`handle`].
unsafe fn add(machine: *mut bb_machine, spot: Spot) -> u64 {
    // SAFETY: the caller's promise.
    let Some(handle) = (unsafe { handle(machine) }) else { return 0 };
    let id = handle.machine.add_breakpoint(spot);
    handle.probes.push(Probe { id, hook: None, user: std::ptr::null_mut() });
    handle.probes.len() as u64
}

/// Calls `hook` at a probe instead of stopping there; null stops again.
///
/// # Safety
/// `machine` is null or a live handle; `hook` may be called with `user` on any thread that runs the machine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bb_machine_set_hook(
    machine: *mut bb_machine,
    probe: u64,
    hook: bb_hook,
    user: *mut c_void,
) -> bb_status {
    // SAFETY: the caller's promise.
    let Some(machine) = (unsafe { handle(machine) }) else { return bb_status::Argument };
    let index = usize::try_from(probe).unwrap_or(0).wrapping_sub(1);
    let Some(probe) = machine.probes.get_mut(index) else { return bb_status::Argument };
    (probe.hook, probe.user) = (hook, user);
    bb_status::Ok
}

fn kind(access: bb_access) -> WatchKind {
    match access {
        bb_access::Read => WatchKind::Read,
        bb_access::Write => WatchKind::Write,
        bb_access::Any => WatchKind::Access,
    }
}

/// Stops before the instruction at a linear address; returns the probe's number, 0 when that failed.
///
/// # Safety
/// `machine` is null or a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bb_machine_break(machine: *mut bb_machine, address: u64) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { add(machine, Spot::Instruction(address)) }
}

/// Stops behind an access to these linear addresses.
///
/// # Safety
/// `machine` is null or a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bb_machine_watch(machine: *mut bb_machine, first: u64, last: u64, access: bb_access) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { add(machine, Spot::Memory(first..=last, kind(access))) }
}

/// Stops behind an access to these ports.
///
/// # Safety
/// `machine` is null or a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bb_machine_watch_ports(
    machine: *mut bb_machine,
    first: u16,
    last: u16,
    access: bb_access,
) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { add(machine, Spot::Ports(first..=last, kind(access))) }
}

/// Removes a probe.
///
/// # Safety
/// `machine` is null or a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bb_machine_unwatch(machine: *mut bb_machine, probe: u64) -> bb_status {
    // SAFETY: the caller's promise.
    let Some(machine) = (unsafe { handle(machine) }) else { return bb_status::Argument };
    let id = usize::try_from(probe).ok().and_then(|probe| machine.probes.get(probe.checked_sub(1)?));
    match id.map(|probe| probe.id) {
        Some(id) if machine.machine.remove_probe(id) => bb_status::Ok,
        _ => bb_status::Argument,
    }
}

/// Saves the machine's state, without the contents of drives. The bytes hold until the next call of this function.
///
/// # Safety
/// `machine` is null or a live handle; `length` is null or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bb_machine_save(machine: *mut bb_machine, length: *mut usize) -> *const u8 {
    // SAFETY: the caller's promise.
    let (Some(machine), Some(length)) = (unsafe { (handle(machine), length.as_mut()) }) else {
        return std::ptr::null();
    };
    machine.saved = machine.machine.save();
    *length = machine.saved.len();
    machine.saved.as_ptr()
}

/// Takes over a saved state. The machine must have been built alike.
///
/// # Safety
/// `machine` is null or a live handle; `data` points to `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bb_machine_restore(machine: *mut bb_machine, data: *const u8, length: usize) -> bb_status {
    // SAFETY: the caller's promise.
    let Some(machine) = (unsafe { handle(machine) }) else { return bb_status::Argument };
    // They may be the machine's own.
    // SAFETY: the caller's promise.
    let state = unsafe { bytes(data, length) }.to_vec();
    guarded(|| match machine.machine.restore(&state) {
        Ok(()) => bb_status::Ok,
        Err(error) => {
            machine.message = c_string(&error.to_string());
            bb_status::State
        }
    })
}

/// Writes a hash of the whole state to 16 bytes.
///
/// # Safety
/// `machine` is null or a live handle; `hash` has room for 16 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bb_machine_hash(machine: *mut bb_machine, hash: *mut u8) -> bb_status {
    // SAFETY: the caller's promise.
    let Some(machine) = (unsafe { handle(machine) }) else { return bb_status::Argument };
    if hash.is_null() {
        return bb_status::Argument;
    }
    let value = machine.machine.state_hash().to_be_bytes();
    // SAFETY: the caller's promise.
    unsafe { std::ptr::copy_nonoverlapping(value.as_ptr(), hash, value.len()) };
    bb_status::Ok
}
