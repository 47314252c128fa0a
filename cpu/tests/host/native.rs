//! Runs 32-bit programs in user mode on the host's own processor.
//!
//! A 64-bit process on Linux enters 32-bit code by IRETQ to the selector of the kernel's 32-bit user code segment and
//! leaves it by a far jump. No memory of the process but what [`Native::new`] maps lies below 4 GiB, so 32-bit code
//! can neither read nor spoil anything else; FS and GS, whose bases reach further, must not be used by programs.

use super::state::{CODE, EXIT, Outcome, PAGE, SCRATCH, Start, WRITABLE};
use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::sync::atomic::{AtomicPtr, Ordering};

/// What the assembly below reads and writes. The offsets are part of it.
#[repr(C, align(64))]
struct Control {
    /// FXRSTOR image before, FXSAVE image after.
    image: [u8; 512],
    /// 512: EAX, ECX, EDX, EBX, EBP, ESI, EDI.
    gpr: [u64; 7],
    /// 568: the frame that IRETQ takes: RIP, CS, RFLAGS, RSP, SS.
    frame: [u64; 5],
    /// 608: RFLAGS after.
    flags: u64,
    /// 616: RSP after.
    esp: u64,
    /// 624: the host's stack pointer.
    host_stack: u64,
    /// 632: what MXCSR becomes after the program.
    safe_mxcsr: u64,
    /// A small stack for PUSHFQ, its end at 704.
    stack: [u64; 8],
    /// Set by the signal handler: vector, error code, RIP, CR2.
    fault: [u64; 4],
    faulted: bool,
}

// The part from `host_exit` on is copied to a page below 4 GiB, where 32-bit code can jump to it; the two zero
// operands there are filled in then.
std::arch::global_asm!(
    ".globl host_enter",
    ".globl host_exit",
    ".globl host_exit_target",
    ".globl host_exit_64",
    ".globl host_exit_control",
    ".globl host_tail",
    ".globl host_end",
    "host_enter:",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "mov r15, rdi",
    "mov [r15 + 624], rsp",
    "mov eax, 0x2b",
    "mov ds, eax",
    "mov es, eax",
    "fxrstor [r15]",
    "mov eax, [r15 + 512]",
    "mov ecx, [r15 + 520]",
    "mov edx, [r15 + 528]",
    "mov ebx, [r15 + 536]",
    "mov ebp, [r15 + 544]",
    "mov esi, [r15 + 552]",
    "mov edi, [r15 + 560]",
    "lea rsp, [r15 + 568]",
    "iretq",
    "host_exit:",
    // In 32-bit code: a far jump to the next instruction as 64-bit code.
    ".byte 0xea",
    "host_exit_target: .long 0",
    ".word 0x33",
    "host_exit_64:",
    ".byte 0x49, 0xbf", // mov r15, imm64
    "host_exit_control: .quad 0",
    "mov [r15 + 512], rax",
    "mov [r15 + 520], rcx",
    "mov [r15 + 528], rdx",
    "mov [r15 + 536], rbx",
    "mov [r15 + 544], rbp",
    "mov [r15 + 552], rsi",
    "mov [r15 + 560], rdi",
    "mov [r15 + 616], rsp",
    "lea rsp, [r15 + 704]",
    "pushfq",
    "pop [r15 + 608]",
    "fxsave [r15]",
    "host_tail:",
    "mov rsp, [r15 + 624]",
    "push 0x202",
    "popfq",
    "fninit",
    "ldmxcsr [r15 + 632]",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "ret",
    "host_end:",
);

unsafe extern "C" {
    fn host_enter(control: *mut Control);
    fn host_exit();
    fn host_exit_target();
    fn host_exit_64();
    fn host_exit_control();
    fn host_tail();
    fn host_end();
}

/// The control block of the program that runs, for the signal handler.
static RUNNING: AtomicPtr<Control> = AtomicPtr::new(std::ptr::null_mut());

const SIGNALS: [i32; 5] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP];

/// Keeps what the kernel says of an exception, and makes the signal return to the end of the run.
extern "C" fn on_signal(_signal: i32, _info: *mut libc::siginfo_t, context: *mut c_void) {
    let control = RUNNING.load(Ordering::Relaxed);
    // SAFETY: the kernel passes a valid ucontext_t to a handler installed with SA_SIGINFO; its fpregs points to an
    // FXSAVE image. `control` is the block of the run on this thread, which is suspended in the program.
    unsafe {
        let registers = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext;
        let r = &mut registers.gregs;
        if control.is_null() || r[libc::REG_CSGSFS as usize] & 0xffff != 0x23 {
            // Not the program's: the default action, on return.
            for signal in SIGNALS {
                libc::signal(signal, libc::SIG_DFL);
            }
            return;
        }
        let c = &mut *control;
        let get = |n: i32| r[n as usize] as u64;
        c.gpr = [
            get(libc::REG_RAX),
            get(libc::REG_RCX),
            get(libc::REG_RDX),
            get(libc::REG_RBX),
            get(libc::REG_RBP),
            get(libc::REG_RSI),
            get(libc::REG_RDI),
        ];
        (c.flags, c.esp) = (get(libc::REG_EFL), get(libc::REG_RSP));
        c.fault = [get(libc::REG_TRAPNO), get(libc::REG_ERR), get(libc::REG_RIP), get(libc::REG_CR2)];
        c.faulted = true;
        std::ptr::copy_nonoverlapping(registers.fpregs.cast::<u8>(), c.image.as_mut_ptr(), 512);
        let tail = host_tail as *const () as i64 - host_exit as *const () as i64 + i64::from(EXIT);
        r[libc::REG_RIP as usize] = tail;
        r[libc::REG_R15 as usize] = control as i64;
        r[libc::REG_EFL as usize] = 0x202;
        r[libc::REG_CSGSFS as usize] = r[libc::REG_CSGSFS as usize] & !0xffff | 0x33;
    }
}

/// The host's processor with the memory that programs see.
pub struct Native {
    control: Box<UnsafeCell<Control>>,
    /// The code page, where it can be written to.
    code: *mut u8,
}

/// Maps `length` bytes of `file` (−1: zeros) at `address` (null: anywhere).
///
/// # Safety
/// A mapping at a fixed address must not replace memory that is in use.
unsafe fn map(address: u32, length: usize, protection: i32, file: i32, offset: usize) -> *mut u8 {
    let kind = if file < 0 { libc::MAP_PRIVATE | libc::MAP_ANONYMOUS } else { libc::MAP_SHARED };
    let fixed = if address != 0 { libc::MAP_FIXED_NOREPLACE } else { 0 };
    // SAFETY: NOREPLACE makes the kernel refuse to touch what is mapped already.
    let at = unsafe {
        let flags = kind | fixed | libc::MAP_POPULATE;
        libc::mmap(address as usize as *mut c_void, length, protection, flags, file, offset as i64)
    };
    assert!(at != libc::MAP_FAILED, "cannot map {address:#x}: {}", std::io::Error::last_os_error());
    assert!(address == 0 || at as usize == address as usize);
    at.cast()
}

impl Native {
    /// Maps the memory and installs the signal handlers. One at a time in a process.
    pub fn new() -> Native {
        const RX: i32 = libc::PROT_READ | libc::PROT_EXEC;
        const RW: i32 = libc::PROT_READ | libc::PROT_WRITE;
        let safe_mxcsr = 0x1f80;
        let control = Box::new(UnsafeCell::new(Control {
            image: [0; 512],
            gpr: [0; 7],
            frame: [0; 5],
            flags: 0,
            esp: 0,
            host_stack: 0,
            safe_mxcsr,
            stack: [0; 8],
            fault: [0; 4],
            faulted: false,
        }));
        // SAFETY: plain system calls; the addresses are those of the fixed layout, where nothing else is mapped. The
        // copied bytes lie between two labels of the assembly above, and fit into the page.
        unsafe {
            let file = libc::memfd_create(c"programs".as_ptr(), libc::MFD_CLOEXEC);
            assert!(file >= 0 && libc::ftruncate(file, 2 * PAGE as i64) == 0, "no memory file");
            let code = map(0, 2 * PAGE, RW, file, 0);
            map(CODE, PAGE, RX, file, 0);
            map(EXIT, PAGE, RX, file, PAGE);
            libc::close(file);
            map(SCRATCH, WRITABLE, RW, -1, 0);
            map(SCRATCH + WRITABLE as u32, PAGE, RW, -1, 0);
            let start = host_exit as *const () as usize;
            let length = host_end as *const () as usize - start;
            let exit = code.add(PAGE);
            std::ptr::copy_nonoverlapping(start as *const u8, exit, length);
            let target = EXIT + (host_exit_64 as *const () as usize - start) as u32;
            let at = host_exit_target as *const () as usize - start;
            exit.add(at).cast::<u32>().write_unaligned(target);
            let at = host_exit_control as *const () as usize - start;
            exit.add(at).cast::<u64>().write_unaligned(control.get() as u64);

            let stack_size = 1 << 16;
            let stack = libc::stack_t { ss_sp: map(0, stack_size, RW, -1, 0).cast(), ss_flags: 0, ss_size: stack_size };
            libc::sigaltstack(&stack, std::ptr::null_mut());
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_signal as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            for signal in SIGNALS {
                libc::sigaction(signal, &action, std::ptr::null_mut());
            }
            Native { control, code }
        }
    }
    /// The bytes of the page that ends programs.
    pub fn exit_page(&self) -> [u8; PAGE] {
        // SAFETY: the second page of the mapping, written to only in `new`.
        unsafe { self.code.add(PAGE).cast::<[u8; PAGE]>().read() }
    }
    /// Puts a program at [`CODE`].
    pub fn load(&mut self, code: &[u8]) {
        assert!(code.len() <= PAGE);
        // SAFETY: the first page of the mapping; IRETQ serialises before the bytes are executed.
        unsafe { std::ptr::copy_nonoverlapping(code.as_ptr(), self.code, code.len()) }
    }
    /// The page after the writable ones, which programs can only read.
    pub fn write_read_only(&mut self, bytes: &[u8; PAGE]) {
        let at = SCRATCH as usize + WRITABLE;
        // SAFETY: the page is mapped for writing until this is done.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), at as *mut u8, PAGE);
            assert_eq!(libc::mprotect(at as *mut c_void, PAGE, libc::PROT_READ), 0);
        }
    }
    /// The memory that programs can write to.
    pub fn memory(&mut self) -> &mut [u8; WRITABLE] {
        // SAFETY: mapped for good by `new`; programs run only in `run`, which borrows `self`.
        unsafe { &mut *(SCRATCH as usize as *mut [u8; WRITABLE]) }
    }
    /// Runs the program from `start`.
    pub fn run(&mut self, start: &Start) -> Outcome {
        let control = self.control.get();
        // SAFETY: `control` is valid and used by nobody else. The assembly keeps the ABI: callee-saved registers, DF,
        // x87 and MXCSR control are put back; what the program does to memory is confined to `memory`.
        unsafe {
            let c = &mut *control;
            c.image = start.image;
            let g = &start.gpr;
            c.gpr = [g[0], g[1], g[2], g[3], g[5], g[6], g[7]].map(u64::from);
            c.frame = [u64::from(CODE), 0x23, u64::from(start.flags), u64::from(g[4]), 0x2b];
            c.faulted = false;
            RUNNING.store(control, Ordering::Relaxed);
            host_enter(control);
            RUNNING.store(std::ptr::null_mut(), Ordering::Relaxed);
            let c = &*control;
            let g = c.gpr.map(|v| v as u32);
            Outcome {
                gpr: [g[0], g[1], g[2], g[3], c.esp as u32, g[4], g[5], g[6]],
                flags: c.flags as u32,
                image: c.image,
                fault: c.faulted.then(|| (c.fault[0] as u8, c.fault[1] as u32, c.fault[3] as u32)),
                eip: if c.faulted { c.fault[2] as u32 } else { EXIT },
            }
        }
    }
}
