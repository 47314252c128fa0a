//! The front ends with what people use: a VNC client, a window of X11, a terminal.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "tests")]

use assembler::{Options, Source, assemble_files};
use beigebox::host::read_png;
use screen::Picture;
use screen::scale::{Area, Scaler, fit};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Whether these tests can run here: they need programs that `scripts/setup` installs.
fn is_set_up() -> bool {
    let without = std::env::var_os("BEIGEBOX_WITHOUT_GUESTS").is_some_and(|value| !value.is_empty());
    if without {
        println!("not tested: BEIGEBOX_WITHOUT_GUESTS is set");
    }
    !without
}

fn tools() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::env::var_os("BEIGEBOX_GUESTS").map_or_else(|| root.join(".guests"), PathBuf::from).join("tools")
}

/// A process that is ended when the test is over.
struct Ended(Child);
impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs to its end and gives back what it said.
fn say(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let program = program.as_ref();
    let output = Command::new(program).args(arguments).envs(variables.iter().copied()).output();
    let output = output.unwrap_or_else(|error| panic!("{program:?}: {error}: run scripts/setup"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program:?} {arguments:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(90), "{what} did not come");
        std::thread::sleep(Duration::from_millis(30));
    }
}

/// The guest `echo.asm`, running in a folder of its own.
struct Guest {
    folder: tempfile::TempDir,
}

impl Guest {
    fn new() -> Guest {
        let folder = tempfile::tempdir().unwrap();
        let source = Source { name: "echo.asm", text: include_str!("fronts/echo.asm") };
        let options = Options { origin: 0x7c00, ..Options::default() };
        let image = assemble_files(&[source], &options).unwrap_or_else(|error| panic!("{error}"));
        fs::write(folder.path().join("echo.bin"), image.bytes).unwrap();
        Guest { folder }
    }
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_beigebox"));
        command.current_dir(self.folder.path());
        command.args(["run", "--load", "0x7c00:echo.bin", "--debugcon", "file:log", "--screenshot", "ours.png"]);
        command.args(["--success-code", "33", "--wall-limit", "150s"]);
        command.env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY");
        command
    }
    fn start(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
        let messages = fs::File::create(self.path("messages")).unwrap();
        let mut command = self.command();
        command.args(arguments).envs(variables.iter().copied());
        Ended(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(messages).spawn().unwrap())
    }
    fn log(&self) -> String {
        fs::read(self.path("log")).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }
    fn shows(&self, text: &str) {
        let began = Instant::now();
        while !self.log().contains(text) {
            assert!(began.elapsed() < Duration::from_secs(90), "no `{text}` in `{}`", self.log());
            std::thread::sleep(Duration::from_millis(30));
        }
    }
    fn passes(&self, mut child: Ended) {
        let status = wait_for("the end", || child.0.try_wait().unwrap());
        assert_eq!(status.code(), Some(0), "{}", fs::read_to_string(self.path("messages")).unwrap());
    }
    /// The ports that it says it listens on.
    fn ports(&self) -> Vec<String> {
        wait_for("the VNC server", || {
            let said = fs::read_to_string(self.path("messages")).ok()?;
            let line = said.lines().find(|line| line.contains("VNC on"))?;
            let words = line.split([' ', ',']).filter_map(|word| word.rsplit_once(':'));
            Some(words.map(|(_, port)| port.to_owned()).filter(|port| !port.is_empty()).collect())
        })
    }
}

/// How the guest shows a click at a pixel of a picture of this size.
fn click(x: u64, y: u64, width: u64, height: u64) -> String {
    let share = |at: u64, length: u64| (at * 65535).div_ceil(length - 1);
    format!("[{:04x} {:04x} 20]", share(x, width), share(y, height))
}

fn difference(a: &Picture, b: &Picture) -> Option<String> {
    if (a.width, a.height) != (b.width, b.height) {
        return Some(format!("{}x{} and {}x{}", a.width, a.height, b.width, b.height));
    }
    let at = a.pixels.iter().zip(&b.pixels).position(|(a, b)| a != b)?;
    let (x, y) = (at % a.width, at / a.width);
    Some(format!("at {x},{y}: {:06x} and {:06x}", a.pixels[at], b.pixels[at]))
}

#[test]
fn vnc_clients_type_click_and_see() {
    if !is_set_up() {
        return;
    }
    let guest = Guest::new();
    let child = guest.start(&["--vnc", "127.0.0.1:auto,password=secret"], &[]);
    let port = guest.ports().remove(0);
    guest.shows("READY");
    // vncdotool: keysyms, a password, a capture.
    let vncdo = tools().join("clients/bin/vncdo");
    let (theirs, place) = (guest.path("theirs.png"), format!("127.0.0.1::{port}"));
    let typed = ["type", "vnc", "key", "shift-a", "key", "f2", "move", "320", "200", "click", "1"];
    let capture = ["pause", "2", "capture", theirs.to_str().unwrap()];
    let mut arguments = vec!["-s", &place, "-p", "secret", "--delay=60"];
    arguments.extend(typed);
    say(&vncdo, &[&arguments[..], &capture].concat(), &[]);
    guest.shows("vncA");
    guest.shows(&click(320, 200, 720, 400));
    // A wrong password lets nobody in.
    let refused =
        Command::new(&vncdo).args(["-s", &place, "-p", "wrong", "--timeout=10", "key", "x"]).output().unwrap();
    assert!(!refused.status.success());
    // asyncvnc: another implementation, other encodings.
    std::thread::sleep(Duration::from_millis(3500));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fronts/client.py");
    let python = tools().join("clients/bin/python");
    let other = guest.path("other.png");
    say(python, &[script.to_str().unwrap(), &port, "secret", "-async", other.to_str().unwrap()], &[]);
    guest.shows("-async");
    // It has ended the guest by Escape, which shows nothing.
    guest.passes(child);
    let ours = read_png(&guest.path("ours.png")).unwrap();
    assert_eq!(difference(&ours, &read_png(&other).unwrap()), None);
    // What vncdotool saw was before the other client typed.
    let mut seen = read_png(&theirs).unwrap();
    assert_eq!((seen.width, seen.height), (720, 400));
    seen.pixels[..16 * 720].copy_from_slice(&ours.pixels[..16 * 720]);
    assert_eq!(difference(&ours, &seen), None);
}

/// An X server without a screen.
fn xvfb() -> (Ended, String) {
    let child = Command::new("Xvfb")
        .args(["-displayfd", "1", "-screen", "0", "1280x1024x24", "-nolisten", "tcp"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = Ended(child.unwrap_or_else(|error| panic!("Xvfb: {error}: run scripts/setup")));
    let mut line = String::new();
    let mut out = std::io::BufReader::new(child.0.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    (child, format!(":{}", line.trim()))
}

#[test]
fn a_window_takes_keys_and_clicks() {
    if !is_set_up() {
        return;
    }
    let (_server, display) = xvfb();
    let variables = [("DISPLAY", display.as_str())];
    let guest = Guest::new();
    let child = guest.start(&["--display", "window"], &variables);
    guest.shows("READY");
    let x = |arguments: &[&str]| say("xdotool", arguments, &variables);
    let window = window_of(&variables);
    // The window follows the picture: 720 by 400 in the shape of 4 by 3.
    wait_for("its size", || x(&["getwindowgeometry", &window]).contains("720x540").then_some(()));
    x(&["windowfocus", "--sync", &window]);
    x(&["type", "--window", "0", "--delay", "120", "Win{dow}"]);
    guest.shows("Win{dow}");
    x(&["mousemove", "--window", &window, "360", "270", "mousedown", "1", "sleep", "0.3", "mouseup", "1"]);
    guest.shows(&click(360, 270, 720, 540));
    x(&["key", "F2"]);
    std::thread::sleep(Duration::from_millis(1500));
    let shot = guest.path("window.png");
    say("import", &["-window", &window, shot.to_str().unwrap()], &variables);
    // Hot keys: a screenshot, full screen.
    x(&["key", "ctrl+alt+s"]);
    let ours = wait_for("the screenshot", || read_png(&guest.path("beigebox-1.png")).ok());
    let area = fit((720, 400), (720, 540), (720, 540), false);
    assert_eq!(area, Area { x: 0, y: 0, width: 720, height: 540 });
    let mut scaled = Picture { width: 720, height: 540, pixels: vec![0; 720 * 540] };
    Scaler::new().draw((720, 400), &ours.pixels, area, (720, 540), &mut scaled.pixels);
    assert_eq!(difference(&scaled, &read_png(&shot).unwrap()), None);
    x(&["key", "ctrl+alt+f"]);
    wait_for("full screen", || x(&["getwindowgeometry", &window]).contains("1280x1024").then_some(()));
    x(&["key", "ctrl+alt+f"]);
    wait_for("the window again", || x(&["getwindowgeometry", &window]).contains("720x540").then_some(()));
    // A guest with a PS/2 driver: a click takes the mouse, which then moves freely. Movements before
    // it would count, too.
    x(&["mousemove", "--window", &window, "100", "100", "sleep", "0.3", "key", "F3"]);
    wait_for("a driver", || guest.log().ends_with('~').then_some(()));
    std::thread::sleep(Duration::from_millis(300));
    x(&["mousedown", "1", "sleep", "0.3", "mouseup", "1"]);
    wait_for("the mouse", || x(&["getwindowname", &window]).contains("releases the mouse").then_some(()));
    for _ in 0..3 {
        x(&["mousemove_relative", "--", "300", "-200", "sleep", "0.3"]);
    }
    x(&["mousedown", "1", "sleep", "0.3", "mouseup", "1"]);
    guest.shows("(0384 0258 01)(0000 0000 00)");
    x(&["key", "ctrl+alt+g"]);
    wait_for("its release", || (!x(&["getwindowname", &window]).contains("releases the mouse")).then_some(()));
    let title = x(&["getwindowname", &window]);
    assert!(title.contains("MIPS") && title.contains("disk"), "{title}");
    x(&["key", "Escape"]);
    guest.passes(child);
}

/// The window of the emulator, once it is there.
fn window_of(variables: &[(&str, &str)]) -> String {
    wait_for("the window", || {
        let mut search = Command::new("xdotool");
        let found = search.args(["search", "--name", "Beigebox"]).envs(variables.iter().copied()).output().unwrap();
        String::from_utf8_lossy(&found.stdout).lines().next().map(str::to_owned)
    })
}

#[test]
fn hot_keys_change_media_and_full_screen_has_a_status_line() {
    if !is_set_up() {
        return;
    }
    let (_server, display) = xvfb();
    let variables = [("DISPLAY", display.as_str())];
    let guest = Guest::new();
    for (name, size) in [("a1.img", 1440 << 10), ("a2.img", 720 << 10), ("d1.iso", 64 << 10), ("d2.iso", 32 << 10)] {
        let mut bytes = vec![0; size];
        bytes[..8].copy_from_slice(format!("<{name}>").as_bytes());
        fs::write(guest.path(name), bytes).unwrap();
    }
    let media = ["--floppy", "a1.img", "--next-floppy", "a2.img", "--next-floppy", "a1.img"];
    let discs = ["--cdrom", "d1.iso", "--next-disc", "d2.iso"];
    let child = guest.start(&[&["--display", "window"], &media[..], &discs].concat(), &variables);
    guest.shows("READY");
    let x = |arguments: &[&str]| say("xdotool", arguments, &variables);
    let window = window_of(&variables);
    wait_for("its size", || x(&["getwindowgeometry", &window]).contains("720x540").then_some(()));
    x(&["windowfocus", "--sync", &window]);
    let title = |text: &str| wait_for(text, || x(&["getwindowname", &window]).contains(text).then_some(()));
    let line = || {
        let shot = guest.path("line.png");
        say("import", &["-window", &window, shot.to_str().unwrap()], &variables);
        let shot = read_png(&shot).unwrap();
        screen::overlay::read(bios::FONT, (shot.width, shot.height), &shot.pixels)
    };
    let mut log = "READY ".to_owned();
    let mut reads = |key: &str, text: &str| {
        log.push_str(text);
        x(&["key", key]);
        guest.shows(&log);
    };
    reads("F4", "<a1.img>");
    reads("F5", "<d1.iso>");
    x(&["key", "ctrl+alt+a"]);
    title("a2.img is in drive A");
    reads("F4", "<a2.img>");
    x(&["key", "ctrl+alt+c"]);
    title("d2.iso is in the CD-ROM drive");
    reads("F5", "<d2.iso>");
    assert_eq!(line(), "");
    // Over the picture: for a moment, with what must be said, and as long as it is wanted.
    x(&["key", "ctrl+alt+f"]);
    wait_for("how to leave", || line().contains("Ctrl-Alt-F leaves full screen").then_some(()));
    wait_for("nothing", || line().is_empty().then_some(()));
    x(&["key", "ctrl+alt+a"]);
    wait_for("the next floppy", || line().contains("a1.img is in drive A").then_some(()));
    reads("F4", "<a1.img>");
    wait_for("nothing again", || line().is_empty().then_some(()));
    x(&["key", "ctrl+alt+t"]);
    let text = wait_for("the status line", || Some(line()).filter(|text| text.contains("MIPS")));
    assert!(text.contains(" %") && text.contains("floppy") && !text.contains("drive A"), "{text}");
    std::thread::sleep(Duration::from_millis(4500));
    assert!(line().contains("MIPS"));
    x(&["key", "ctrl+alt+t"]);
    wait_for("no status line", || line().is_empty().then_some(()));
    x(&["key", "Escape"]);
    guest.passes(child);
}

#[test]
fn a_terminal_shows_text_colours_and_pictures() {
    if !is_set_up() {
        return;
    }
    let guest = Guest::new();
    let socket = guest.path("tmux");
    let tmux = |arguments: &[&str]| {
        say("tmux", &[&["-S", socket.to_str().unwrap()], arguments].concat(), &[("TERM", "xterm-256color")])
    };
    let mut command = guest.command();
    command.args(["--display", "terminal"]);
    let words: Vec<&str> =
        std::iter::once(command.get_program()).chain(command.get_args()).map(|word| word.to_str().unwrap()).collect();
    let line = format!("cd {}; exec env -u DISPLAY {}", guest.folder.path().display(), words.join(" "));
    tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "25", &line]);
    let sees = |text: &str, options: &[&str]| {
        wait_for(text, || tmux(&[&["capture-pane", "-p"], options].concat()).contains(text).then_some(()));
    };
    sees("READY", &[]);
    tmux(&["send-keys", "-l", "Term"]);
    tmux(&["send-keys", "F2"]);
    sees("READY Term", &[]);
    // Yellow, and on blue: by their numbers among 256 colours, or by the older ones among 16.
    wait_for("colours", || {
        let pane = tmux(&["capture-pane", "-p", "-e"]);
        let has = |numbers: [&str; 2]| numbers.iter().any(|number| pane.contains(number));
        (has(["38;5;11m", "93m"]) && has(["48;5;4m", "44m"])).then_some(())
    });
    // A key that comes together with a new size is a key, and the text follows the size.
    for (letter, columns) in "abcdefghijkl".chars().zip(60..) {
        tmux(&["resize-window", "-x", &columns.to_string(), "-y", "20", ";", "send-keys", &letter.to_string()]);
        wait_for("a key", || guest.log().ends_with(letter).then_some(()));
    }
    sees("READY Termabcdefghijkl", &[]);
    tmux(&["resize-window", "-x", "60", "-y", "21"]);
    tmux(&["send-keys", "F1"]);
    sees("▀▀▀▀", &[]);
    tmux(&["send-keys", "C-]"]);
    wait_for("the end", || {
        let list = Command::new("tmux").args(["-S", socket.to_str().unwrap(), "list-sessions"]).output().unwrap();
        (!list.status.success()).then_some(())
    });
    assert!(read_png(&guest.path("ours.png")).is_ok());
}

#[test]
fn scripts_click_without_an_absolute_pointer() {
    let guest = Guest::new();
    let rules = ["READY=><f3>", "~=>click:100,50", "(e064 1fce 01)=>drag:100,50..110,40", "(000a 000a 00)=><esc>"];
    let mut command = guest.command();
    command.args(["--display", "none", "--time-limit", "60s"]);
    command.args(rules.iter().flat_map(|rule| ["--on-text", *rule]));
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{} {}", guest.log(), String::from_utf8_lossy(&output.stderr));
    assert_eq!(guest.log(), "READY ~(e064 1fce 01)(0000 0000 00)(0000 0000 01)(000a 000a 00)");
}

#[test]
fn scripts_move_click_and_compare() {
    let guest = Guest::new();
    let run = |limit: &str, more: &[&str]| {
        let mut command = guest.command();
        command.args(["--display", "none", "--time-limit", limit]).args(more);
        let output = command.stdin(Stdio::null()).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let script =
        "READY=>hi<f2>\n@500ms=>click:100,50\n]=>drag:10,20..30,40\n@300ms=>screenshot:golden.png\n@0s=><esc>\n";
    fs::write(guest.path("script"), script).unwrap();
    let (code, messages) = run("60s", &["--script", "script"]);
    assert_eq!(code, Some(0), "{messages}");
    let log = guest.log();
    let parts = [click(100, 50, 720, 400), click(10, 20, 720, 400), click(30, 40, 720, 400).replace("20]", "00]")];
    for part in parts {
        assert!(log.contains(&part), "{part} in {log}");
    }
    // The picture is recognised, a part of it as well, and another one is not.
    let again = "READY=>hi<f2>\n@500ms=>click:100,50\n]=>drag:10,20..30,40\n";
    fs::write(guest.path("script"), again).unwrap();
    let picture = ["--script", "script", "--exit-on-picture"];
    assert_eq!(run("60s", &[&picture[..], &["golden.png"]].concat()), (Some(0), String::new()));
    assert_eq!(run("60s", &[&picture[..], &["golden.png@0,16,720x32~2"]].concat()).0, Some(0));
    let other = guest.path("other.png");
    let mut golden = read_png(&guest.path("golden.png")).unwrap();
    golden.pixels[0] ^= 0xff;
    beigebox::host::write_png(&golden, &other).unwrap();
    let (code, _) = run("5s", &[&picture[..], &["other.png"]].concat());
    assert_eq!(code, Some(124));
}

/// Too heavy for every run: `scripts/test --all-frontends`.
#[test]
#[ignore = "needs a browser: scripts/test --all-frontends"]
fn novnc_in_a_browser_types_clicks_and_sees() {
    let guest = Guest::new();
    let child = guest.start(&["--vnc", "127.0.0.1:auto,password=secret"], &[]);
    let port = guest.ports().remove(0);
    guest.shows("READY");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/novnc.mjs");
    let (browser, theirs) = (tools().join("browser"), guest.path("theirs.png"));
    let arguments =
        [script.as_path(), port.as_ref(), "secret".as_ref(), &browser, "/usr/bin/chromium".as_ref(), &theirs];
    println!("{}", say("node", &arguments.map(|argument| argument.to_str().unwrap()), &[]));
    guest.shows("Browser: {x}");
    guest.shows(&click(100, 60, 720, 400));
    guest.passes(child);
    let (ours, theirs) = (read_png(&guest.path("ours.png")).unwrap(), read_png(&theirs).unwrap());
    assert_eq!(difference(&ours, &theirs), None);
    if let Some(folder) = std::env::var_os("BEIGEBOX_KEEP_PICTURES") {
        fs::copy(guest.path("theirs-page.png"), Path::new(&folder).join("browser.png")).unwrap();
    }
}
