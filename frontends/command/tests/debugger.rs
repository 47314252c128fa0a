//! Debian's GDB on a boot sector in real mode and on a Linux kernel.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod guests;

use assembler::{Options, assemble};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The machine, ended when the test is over.
struct Guest {
    child: Child,
    folder: tempfile::TempDir,
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Guest {
    /// A machine that serves GDB on `socket` in `folder` and sends its serial line to `serial` there.
    fn start(folder: tempfile::TempDir, arguments: &[&str]) -> Guest {
        let socket = format!("--gdb=unix:{}", folder.path().join("socket").display());
        let serial = format!("--serial=file:{}", folder.path().join("serial").display());
        let child = Command::new(env!("CARGO_BIN_EXE_beigebox"))
            .args(["run", "--display", "none", "--clock", "instructions", "--wall-limit", "300s", &socket, &serial])
            .args(arguments)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Guest { child, folder }
    }
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
    fn wait_for<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(begun.elapsed() < Duration::from_secs(200), "{what} did not come");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    /// What GDB says to these commands, after it has connected.
    fn gdb(&self, commands: &[&str]) -> String {
        self.wait_for("the socket", || self.path("socket").exists().then_some(()));
        let target = format!("target remote {}", self.path("socket").display());
        let before = ["set confirm off", "set pagination off", "set remotetimeout 60", &target];
        let mut gdb = Command::new("gdb");
        gdb.args(["--batch", "--nx", "--quiet"]);
        for command in before.iter().chain(commands) {
            gdb.args(["-ex", command]);
        }
        let output =
            gdb.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("gdb: {error}: run scripts/setup"));
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        println!("{said}");
        said
    }
}

fn is_set_up() -> bool {
    guests::guest("vmlinuz-686").is_some()
}

/// All of `texts` stand in `said`, in this order.
#[track_caller]
fn in_order(said: &str, texts: &[&str]) {
    let mut rest = said;
    for text in texts {
        let at = rest.find(text).unwrap_or_else(|| panic!("no {text:?} behind its predecessor in:\n{said}"));
        rest = &rest[at + text.len()..];
    }
}

fn write(folder: &Path, source: &str) -> PathBuf {
    let source = format!("org 7c00h\nbits 16\n{source}\ntimes 510-($-$$) db 0\ndb 55h, 0aah\n");
    let mut image = assemble(&source, &Options::default()).unwrap_or_else(|error| panic!("{error}")).bytes;
    image.resize(1_474_560, 0);
    let path = folder.join("floppy.img");
    std::fs::write(&path, image).unwrap();
    path
}

#[test]
fn a_boot_sector_in_real_mode() {
    if !is_set_up() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = write(
        folder.path(),
        "       jmp 7c0h:start-7c00h
start:  xor ax, ax
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov sp, 7000h
        fninit
        fldpi
        mov bx, 1234h
        push bx
        call work
        mov eax, cr4
        or ax, 200h
        mov cr4, eax
        mov eax, 0cafe0000h
        movd xmm3, eax
        mov byte [600h], 7
        inc byte [600h]
        mov al, [601h]
        jmp $
work:   mov cx, 5
.turn:  inc dx
        loop .turn
        ret",
    );
    let guest = Guest::start(folder, &["--gdb-wait", "--floppy", image.to_str().unwrap()]);
    let said = guest.gdb(&[
        "p/x $eip",
        "monitor where",
        "hbreak *0x7c00",
        "continue",
        "x/i $eip",
        "stepi",
        "x/2i $eip",
        "p/x $ip",
        "p/x $cs",
        "p/x $cs_base",
        "x/2xb 0x7dfe",
        "info registers cr0",
        // The boot sector runs as well as without: software breakpoints are not in memory.
        "break *0x7c18",
        "x/6xb 0x7c18",
        "continue",
        "p $st0",
        "x/i $eip",
        "stepi 3",
        "x/i $eip",
        "p/x $cx",
        "delete 2",
        "watch *(unsigned char*)0x600",
        "continue",
        "x/2xb 0x600",
        "p/x $xmm3.v4_int32[0]",
        "continue",
        "delete",
        "rwatch *(unsigned char*)0x601",
        "continue",
        "delete",
        "set $ax = 0x55aa",
        "p/x $eax",
        "set *(unsigned short*)0x604 = 0xbeef",
        "monitor xp 0x604 2",
        "monitor page 0x604",
        "monitor nonsense",
        "monitor save",
        "monitor reset",
        "maintenance flush register-cache",
        "p/x $eip",
        "monitor restore",
        "maintenance flush register-cache",
        "p/x $eax",
        "monitor quit",
        "detach",
    ]);
    in_order(
        &said,
        &[
            "= 0xfffffff0",
            "Breakpoint 1",
            "ljmp   $0x7c0,$0x5",
            "0x7c05:\txor    %ax,%ax",
            "= 0x5",
            "= 0x7c0",
            "= 0x7c00",
            "0x55\t0xaa",
            "cr0",
            "ET",
            "Breakpoint 2",
            "0xe8",
            "Breakpoint 2",
            "= 3.14159265358979323",
            "call",
            "loop",
            "= 0x5",
            "Hardware watchpoint 3",
            "New value = 7",
            "0x07\t0x00",
            "= 0xcafe0000",
            "New value = 8",
            "Hardware read watchpoint 4",
            "55aa",
            "= 0xfffffff0",
            "55aa",
        ],
    );
    // What `monitor` says comes over another stream.
    for text in
        ["real mode, f000:fff0", "00000604: ef be", "0x604\n", "unknown command `nonsense`", "the emulator ends"]
    {
        assert!(said.contains(text), "no {text:?} in {said}");
    }
}

/// The address of `symbol` in the lines of /proc/kallsyms in `text`.
fn symbol(text: &str, symbol: &str) -> String {
    let line = text.lines().find(|line| line.trim_end().ends_with(&format!(" {symbol}")));
    let address = line.unwrap_or_else(|| panic!("no {symbol} in {text}")).split(' ').next().unwrap_or_default();
    format!("0x{}", address.trim())
}

/// A running kernel tells its symbols; then it is stopped in a system call and watched. Another is
/// stopped on its way up.
#[test]
fn a_linux_kernel() {
    let (Some(kernel), Some(initrd)) = (guests::guest("vmlinuz-686"), guests::guest("initramfs.cpio.gz")) else {
        return;
    };
    let ask = "/ # =>serial:grep -E ' (start_kernel|__do_sys_newuname)$' /proc/kallsyms; \
               echo end-$((40+2)); while :; do uname; done<enter>";
    let append = "console=ttyS0,115200 nokaslr mitigations=off cryptomgr.notests";
    let guest = Guest::start(
        tempfile::tempdir().unwrap(),
        &[
            "--kernel",
            kernel.to_str().unwrap(),
            "--initrd",
            initrd.to_str().unwrap(),
            "--append",
            append,
            "--on-text",
            ask,
        ],
    );
    let serial = || String::from_utf8_lossy(&std::fs::read(guest.path("serial")).unwrap_or_default()).into_owned();
    let text = guest.wait_for("the list of symbols", || Some(serial()).filter(|text| text.contains("end-42")));
    let [start, uname] = ["start_kernel", "__do_sys_newuname"].map(|name| symbol(&text, name));
    let said = guest.gdb(&[
        &format!("x/4xb {uname}"),
        &format!("break *{uname}"),
        "continue",
        "p/x $eip",
        "info registers cr0",
        "p $cpl",
        &format!("x/4xb {uname}"),
        &format!("monitor page {uname}"),
        "stepi",
        "stepi",
        "delete",
        "watch -location *(int*)($esp-4)",
        "continue",
        "delete",
        "kill",
    ]);
    let code = said.lines().find(|line| line.starts_with(&format!("{uname}:"))).unwrap_or_default();
    assert!(code.len() > 20, "{said}");
    in_order(
        &said,
        &[
            "Breakpoint 1",
            &format!("= {uname}"),
            "PE",
            "PG",
            "= 0",
            // The breakpoint is not in memory.
            code,
            "Hardware watchpoint 2",
            "New value",
        ],
    );
    let physical = u32::from_str_radix(uname.trim_start_matches("0x"), 16).unwrap() - 0xc000_0000;
    assert!(said.contains(&format!("{physical:#x}\n")), "{said}");
    // The same kernel from its beginning.
    drop(guest);
    let guest = Guest::start(
        tempfile::tempdir().unwrap(),
        &["--kernel", kernel.to_str().unwrap(), "--gdb-wait", "--append", append],
    );
    let said = guest.gdb(&[
        &format!("hbreak *{start}"),
        "continue",
        "set architecture i386",
        "p/x $eip",
        "info registers cr4",
        "x/i $eip",
        "stepi 5",
        "delete",
        "detach",
    ]);
    in_order(&said, &["Breakpoint 1", &format!("= {start}"), "cr4", &format!("=> {start}")]);
    let serial = || std::fs::read_to_string(guest.path("serial")).unwrap_or_default();
    guest.wait_for("its first words", || serial().contains("Linux version").then_some(()));
}

/// A guest that prints to the debug console, counts in memory, and calls a function in a loop that gets hot.
const BUSY: &str = "       jmp 0:start
start:  xor ax, ax
        mov ds, ax
        mov ss, ax
        mov sp, 7000h
        xor ebx, ebx
        cli
turn:   mov cx, 1000
.inner: call work
        loop .inner
        inc dword [600h]
        jmp turn
work:   inc ebx
        mov [604h], ebx
        ret";

/// Over TCP: interrupted while it runs, left and visited again; breakpoints, steps and watchpoints hold exactly, in
/// translated code too.
fn over_tcp(engine: &str) {
    if !is_set_up() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = write(folder.path(), BUSY);
    let mut child = Command::new(env!("CARGO_BIN_EXE_beigebox"))
        .args(["run", "--display=none", "--serial=null", "--clock=instructions", "--wall-limit=200s", "--gdb=tcp:0"])
        .args(["--jit-threshold=1", "--engine", engine, "--floppy"])
        .arg(&image)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stderr.take().unwrap()), &mut line).unwrap();
    let guest = Guest { child, folder };
    let place = line.trim().rsplit(' ').next().unwrap().trim_end_matches('`').to_owned();
    let target = format!("target remote {place}");
    // Where the boot sector's parts are.
    let (inner, work) = (0x7c15, 0x7c21);
    let gdb = |commands: &[&str]| {
        let mut gdb = Command::new("gdb");
        gdb.args(["--batch", "--nx", "--quiet", "-ex", "set confirm off", "-ex", "set pagination off", "-ex", &target]);
        for command in commands {
            gdb.args(["-ex", command]);
        }
        let output = gdb.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        println!("{said}");
        said
    };
    // Until the loop is hot.
    guest.wait_for("the loop", || {
        let said = gdb(&["x/1uw 0x600", "detach"]);
        let count = said.lines().find_map(|line| line.strip_prefix("0x600:\t")?.trim().parse::<u32>().ok())?;
        (count > 20).then_some(())
    });
    // Interrupted while it runs: GDB gets a Ctrl-C a moment after `continue`, and a breakpoint holds afterwards.
    let interrupt = "python import threading, os, signal; \
                     threading.Timer(1.0, lambda: os.kill(os.getpid(), signal.SIGINT)).start()";
    let said = gdb(&[
        interrupt,
        "continue",
        "p $eip >= 0x7c00 && $eip < 0x7c40",
        &format!("break *{work:#x}"),
        "continue",
        "p $ebx - *(unsigned*)0x604",
        "set $before = $ebx",
        "continue",
        "continue",
        "p $ebx - $before",
        "ignore 1 100",
        "continue",
        "p $ebx - $before",
        "delete",
        // Single steps in the hot loop: inc, mov, ret, loop, call.
        "set $cx = 500",
        "stepi",
        "p $eip",
        "stepi",
        "stepi",
        "stepi",
        "p $eip",
        "p $cx",
        "stepi",
        "p $eip",
        // A watchpoint on what the loop writes, each time, and behind the instruction that does.
        "watch *(unsigned*)0x604",
        "continue",
        "p $ebx - *(unsigned*)0x604",
        "continue",
        "delete",
        "rwatch *(unsigned*)0x600",
        "detach",
    ]);
    in_order(
        &said,
        &[
            "SIGINT",
            "= 1",
            "Breakpoint 1,",
            "= 0",
            "Breakpoint 1,",
            "Breakpoint 1,",
            "= 2",
            "Breakpoint 1,",
            "= 103",
            &format!("= (void (*)()) {:#x}", work + 2),
            &format!("= (void (*)()) {inner:#x}"),
            "= 499",
            &format!("= (void (*)()) {work:#x}"),
            "Hardware watchpoint 2",
            "= 0",
            "Hardware watchpoint 2",
        ],
    );
    let value = |text: &str| {
        let values = said.lines().filter_map(|line| line.strip_prefix(text)?.trim().parse::<u32>().ok());
        values.collect::<Vec<u32>>()
    };
    let (old, new) = (value("Old value = "), value("New value = "));
    assert_eq!(old.len(), 2);
    assert_eq!(new, [old[0] + 1, old[0] + 2], "each write is seen");
    // A connection that breaks off leaves the guest running, and its breakpoints are gone.
    let cut = gdb(&["break *0x7c15", "continue", "python import os; os._exit(0)"]);
    assert!(cut.contains("Breakpoint 1"), "{cut}");
    let count = || {
        let said = gdb(&["x/1uw 0x600", "detach"]);
        said.lines().find_map(|line| line.strip_prefix("0x600:\t")?.trim().parse::<u32>().ok())
    };
    let before = guest.wait_for("an answer after the break", count);
    guest.wait_for("that it goes on", || count().filter(|now| *now > before + 5));
    let said = gdb(&["info registers eip", "monitor quit", "detach"]);
    assert!(said.contains("the emulator ends"), "{said}");
}

#[test]
fn interpreted_code_over_tcp() {
    over_tcp("interpreter");
}

#[test]
fn translated_code_over_tcp() {
    over_tcp("jit");
}
