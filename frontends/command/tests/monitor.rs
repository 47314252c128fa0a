//! The monitor and QMP from outside: by a person's lines, by a script, by peers that mean no good. QEMU, where it is
//! installed, is asked the same and must say the same.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The program, ended when the test is over.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    #[track_caller]
    fn code(&mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A guest that counts at 500h for ever.
fn counter(folder: &Path) -> PathBuf {
    let source = "org 7c00h\nbits 16\nxor ax, ax\nmov ds, ax\nnext: inc dword [500h]\njmp next\n\
                  times 510-($-$$) db 0\ndb 55h, 0aah\n";
    let mut image = assembler::assemble(source, &assembler::Options::default()).unwrap().bytes;
    image.resize(1_474_560, 0);
    let path = folder.join("floppy.img");
    std::fs::write(&path, image).unwrap();
    path
}

fn beigebox(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_beigebox"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

fn connect(path: &Path) -> UnixStream {
    let begun = Instant::now();
    loop {
        if let Ok(stream) = UnixStream::connect(path) {
            stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            return stream;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "nobody listens at {}", path.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A script's end of QMP.
struct Client {
    lines: BufReader<UnixStream>,
    stream: UnixStream,
}

impl Client {
    fn new(path: &Path) -> Client {
        let stream = connect(path);
        Client { lines: BufReader::new(stream.try_clone().unwrap()), stream }
    }
    fn next(&mut self) -> serde_json::Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        println!("{}", line.trim_end());
        serde_json::from_str(&line).unwrap()
    }
    /// The reply to a command, and the names of the events up to it.
    fn ask(&mut self, request: &str) -> (serde_json::Value, Vec<String>) {
        self.stream.write_all(request.as_bytes()).unwrap();
        let mut events = Vec::new();
        loop {
            let value = self.next();
            match value["event"].as_str() {
                Some(name) => events.push(name.to_owned()),
                None => return (value, events),
            }
        }
    }
    fn event(&mut self, name: &str) -> serde_json::Value {
        loop {
            let value = self.next();
            if value["event"] == name {
                return value["data"].clone();
            }
        }
    }
}

/// What a script does with a virtual machine, and what it learns.
fn script(socket: &Path, folder: &Path) -> Vec<String> {
    let mut qmp = Client::new(socket);
    let mut said = Vec::new();
    let greeting = qmp.next();
    said.push(format!("{:?}", greeting["QMP"].as_object().unwrap().keys().collect::<Vec<_>>()));
    said.push(qmp.ask(r#"{"execute":"query-status"}"#).0["error"]["class"].to_string());
    said.push(qmp.ask(r#"{"execute":"qmp_capabilities"}"#).0.to_string());
    said.push(qmp.ask(r#"{"execute":"query-status"}"#).0["return"]["status"].to_string());
    said.push(qmp.ask(r#"{"execute":"cont","id":"a"}"#).0.to_string());
    said.push(qmp.ask(r#"{"execute":"query-status"}"#).0["return"]["running"].to_string());
    said.push(qmp.ask("{\"execute\":\"stop\",\n\"id\":{\"b\":[1]}}\n").0.to_string());
    said.push(qmp.ask(r#"{"execute":"query-status"}"#).0["return"]["status"].to_string());
    let human = r#"{"execute":"human-monitor-command","arguments":{"command-line":"info status"}}"#;
    said.push(qmp.ask(human).0.to_string());
    let keys =
        r#"{"execute":"send-key","arguments":{"keys":[{"type":"qcode","data":"ctrl"},{"type":"qcode","data":"a"}]}}"#;
    said.push(qmp.ask(keys).0.to_string());
    let picture = folder.join("screen.ppm");
    let dump = format!(r#"{{"execute":"screendump","arguments":{{"filename":"{}"}}}}"#, picture.display());
    said.push(qmp.ask(&dump).0.to_string());
    said.push(String::from_utf8_lossy(&std::fs::read(&picture).unwrap()[..2]).into_owned());
    said.push(qmp.ask(r#"{"execute":"no-such-command"}"#).0["error"]["class"].to_string());
    said.push(qmp.ask(r#"{"execute":"stop","arguments":{"x":1}}"#).0["error"]["class"].to_string());
    for name in ["query-version", "query-commands"] {
        let (reply, _) = qmp.ask(&format!(r#"{{"execute":"{name}"}}"#));
        said.push(format!("{} {}", reply["return"].is_object(), reply["return"].is_array()));
    }
    qmp.ask(r#"{"execute":"cont"}"#);
    qmp.stream.write_all(br#"{"execute":"system_reset"}"#).unwrap();
    said.push(qmp.event("RESET").to_string());
    qmp.ask(r#"{"execute":"stop"}"#);
    qmp.stream.write_all(br#"{"execute":"quit"}"#).unwrap();
    said.push(qmp.event("SHUTDOWN").to_string());
    said
}

#[test]
fn a_script_finds_what_it_finds_at_qemu() {
    let folder = tempfile::tempdir().unwrap();
    let image = counter(folder.path());
    let own = folder.path().join("own");
    let arguments = ["-display", "none", "-S", "-fda", image.to_str().unwrap(), "-qmp"];
    let socket = |path: &Path| format!("unix:{},server=on,wait=off", path.display());
    let mut command = beigebox(&["qemu"]);
    let mut run = Running(command.args(arguments).arg(socket(&own)).spawn().unwrap());
    let said = script(&own, folder.path());
    assert_eq!(run.code(), Some(0));
    assert!(!own.exists(), "the socket is gone");
    assert!(said.contains(&r#"{"guest":false,"reason":"host-qmp-system-reset"}"#.to_owned()), "{said:#?}");
    assert!(said.contains(&r#"{"guest":false,"reason":"host-qmp-quit"}"#.to_owned()), "{said:#?}");
    let qemu = Path::new("/usr/bin/qemu-system-i386");
    if !qemu.is_file() {
        println!("qemu-system-i386 is not installed: not compared with it");
        return;
    }
    let other = folder.path().join("other");
    let mut command = Command::new(qemu);
    command.args(["-machine", "pc,accel=tcg", "-net", "none"]).args(arguments).arg(socket(&other));
    let mut run = Running(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());
    assert_eq!(said, script(&other, folder.path()));
    assert_eq!(run.code(), Some(0));
}

#[test]
fn events_tell_how_a_guest_ends() {
    let folder = tempfile::tempdir().unwrap();
    let demo = folder.path().join("demo.img");
    std::fs::write(&demo, test_roms::demo()).unwrap();
    let socket = folder.path().join("qmp");
    let place = format!("--qmp=unix:{}", socket.display());
    let image = demo.to_str().unwrap();
    let mut command =
        beigebox(&["run", "--display=none", "--serial=null", "--paused", "--wall-limit=100s", &place, image]);
    let mut run = Running(command.arg("--on-text=demo: ready=><esc>").spawn().unwrap());
    let mut qmp = Client::new(&socket);
    assert!(qmp.next()["QMP"].is_object());
    qmp.ask(r#"{"execute":"qmp_capabilities"}"#);
    assert_eq!(qmp.ask(r#"{"execute":"query-status"}"#).0["return"]["status"], "prelaunch");
    qmp.stream.write_all(br#"{"execute":"cont"}"#).unwrap();
    qmp.event("RESUME");
    assert_eq!(qmp.event("SHUTDOWN")["reason"], "guest-shutdown");
    assert_eq!(run.code(), Some(0));
}

#[test]
fn a_person_at_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let image = counter(folder.path());
    let file = |name: &str| folder.path().join(name).display().to_string();
    let mut command = beigebox(&["run", "--display=none", "--monitor=stdio", "--wall-limit=100s"]);
    let mut run = Running(command.arg(&image).stdin(Stdio::piped()).spawn().unwrap());
    let mut input = run.0.stdin.take().unwrap();
    let lines = [
        "stop".to_owned(),
        "info status".into(),
        format!("savevm {}", file("state")),
        "info registers".into(),
        "x/2i $eip".into(),
        format!("screendump {}", file("screen.png")),
        "cont".into(),
        "stop".into(),
        "info registers".into(),
        format!("loadvm {}", file("state")),
        "info registers".into(),
        "nonsense".into(),
        "change floppy0 /nowhere/x.img".into(),
        "quit".into(),
    ];
    for line in lines {
        writeln!(input, "{line}").unwrap();
        if line == "cont" {
            std::thread::sleep(Duration::from_millis(300));
        }
    }
    let mut said = String::new();
    run.0.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    println!("{said}");
    assert_eq!(run.code(), Some(0));
    assert!(said.contains("VM status: paused") && said.contains("unknown command `nonsense`"));
    assert!(said.contains("/nowhere/x.img"));
    let registers: Vec<&str> =
        said.split("EAX=").skip(1).map(|text| text.split("(beigebox)").next().unwrap()).collect();
    assert_eq!(registers.len(), 3);
    assert_eq!(registers[0], registers[2], "loadvm goes back");
    assert_ne!(registers[0], registers[1], "cont runs");
    assert!(std::fs::read(file("screen.png")).unwrap().starts_with(b"\x89PNG"));
}

#[test]
fn peers_that_mean_no_good() {
    let folder = tempfile::tempdir().unwrap();
    let image = counter(folder.path());
    let socket = folder.path().join("qmp");
    let place = format!("--qmp=unix:{}", socket.display());
    let mut command = beigebox(&["run", "--display=none", "--serial=null", "--monitor=tcp:127.0.0.1:0", &place]);
    let mut run = Running(command.args(["--wall-limit=100s"]).arg(&image).stderr(Stdio::piped()).spawn().unwrap());
    let mut errors = BufReader::new(run.0.stderr.take().unwrap());
    let mut line = String::new();
    errors.read_line(&mut line).unwrap();
    let address = line.trim().rsplit("tcp:").next().unwrap().to_owned();
    // A line without an end, rubbish, a peer that reads nothing, and many that say nothing.
    let mut long = TcpStream::connect(&address).unwrap();
    let _ = long.write_all(&vec![b'x'; 1 << 20]);
    let mut deaf = connect(&socket);
    deaf.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let _ = deaf.write_all(br#"{"execute":"qmp_capabilities"}"#);
    for _ in 0..2000 {
        if deaf.write_all(br#"{"execute":"query-commands"}"#).is_err() {
            break;
        }
    }
    let mut rubbish = connect(&socket);
    let _ = rubbish.write_all(&(0..=255).cycle().take(1 << 16).collect::<Vec<u8>>());
    let idle: Vec<UnixStream> = (0..4).map(|_| connect(&socket)).collect();
    drop((long, rubbish, idle));
    // It still answers.
    let mut qmp = Client::new(&socket);
    assert!(qmp.next()["QMP"].is_object());
    assert_eq!(qmp.ask(r#"{"execute":"qmp_capabilities"}"#).0["return"], serde_json::json!({}));
    assert_eq!(qmp.ask(r#"{"execute":"query-status"}"#).0["return"]["running"], true);
    qmp.stream.write_all(br#"{"execute":"quit"}"#).unwrap();
    assert_eq!(run.code(), Some(0));
}
