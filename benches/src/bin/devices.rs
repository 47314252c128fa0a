//! Rates of disk and network from a Debian guest on Beigebox and on QEMU with the same devices: IDE
//! with bus-master DMA over a qcow2 image, `ne2k_pci` over user-mode NAT. Median of several rounds,
//! interleaved, as a Markdown table.
//!
//! ```text
//! cargo run --release -p beigebox-benches --bin devices -- [--repeat 3] [--megabytes 256]
//!     [--on beigebox,jit,qemu] [--beigebox FILE] [--guests FOLDER]
//! ```
//!
//! Wall time and CPU time of the emulator's process are taken between marks that the guest prints on
//! its serial line. Checksums of what moved must be right.

#[path = "../measure.rs"]
mod measure;

use measure::{cpu_seconds, median};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Instant;

type Error = Box<dyn std::error::Error>;

struct Plan {
    repeat: usize,
    megabytes: usize,
    on: Vec<String>,
    beigebox: PathBuf,
    guests: PathBuf,
}

fn plan() -> Result<Plan, Error> {
    let mut plan = Plan {
        repeat: 3,
        megabytes: 256,
        on: ["beigebox", "jit", "qemu"].map(str::to_owned).to_vec(),
        beigebox: measure::beigebox()?,
        guests: measure::guests(),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--repeat" => plan.repeat = value()?.parse::<usize>()?.max(1),
            "--megabytes" => plan.megabytes = value()?.parse::<usize>()?.max(4),
            "--on" => plan.on = value()?.split(',').map(str::to_owned).collect(),
            "--beigebox" => plan.beigebox = value()?.into(),
            "--guests" => plan.guests = value()?.into(),
            _ => return Err(format!("unknown word {word}; see the top of benches/src/bin/devices.rs").into()),
        }
    }
    Ok(plan)
}

fn pattern(bytes: usize) -> Vec<u8> {
    let mut state = 1u64;
    let word = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 32) as u32
    };
    std::iter::repeat_with(word).flat_map(u32::to_le_bytes).take(bytes).collect()
}

fn emulator(plan: &Plan, on: &str, image: &Path, network: bool) -> Result<Child, Error> {
    let append = "console=ttyS0,115200 quiet mitigations=off cryptomgr.notests";
    let (kernel, initrd) = (plan.guests.join("vmlinuz-686"), plan.guests.join("initramfs-modules.cpio.gz"));
    let mut command = if on == "qemu" {
        let mut command = Command::new("qemu-system-i386");
        command.args([
            "-accel",
            "tcg,thread=single",
            "-m",
            "128",
            "-display",
            "none",
            "-serial",
            "stdio",
            "-no-reboot",
        ]);
        command.arg("-drive").arg(format!("file={},format=qcow2,if=ide", image.display()));
        command
            .args(["-nic", if network { "user,model=ne2k_pci" } else { "none" }, "-kernel"])
            .arg(kernel)
            .arg("-initrd")
            .arg(initrd);
        command.arg("-append").arg(append);
        command
    } else {
        let mut command = Command::new(&plan.beigebox);
        let engine = if on == "jit" { "jit" } else { "interpreter" };
        command.args(["run", "--engine", engine, "--memory", "128M", "--display", "none", "--serial", "stdio"]);
        // Nothing outside is waited for without a network: guest time then follows the work alone.
        command.args(if network { ["--net", "user"] } else { ["--clock", "instructions"] });
        command.args(["--append", append, "--disk"]).arg(image);
        command.arg("--kernel").arg(kernel).arg("--initrd").arg(initrd);
        command
    };
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    child.map_err(|error| format!("{on}: {error}").into())
}

/// What a measurement does in the guest, and how many MiB move. The last two want a network.
fn steps(plan: &Plan, download: u16, upload: u16) -> Vec<(&'static str, usize, String)> {
    let disk = plan.megabytes;
    let net = disk / 4;
    vec![
        ("disk read", disk, format!("dd if=/dev/sda of=/dev/null bs=1M count={disk}")),
        ("disk write", disk, format!("dd if=/dev/zero of=/dev/sda bs=1M count={disk} conv=fsync")),
        ("TCP to the guest", net, format!("wget -q -O /dev/null http://10.0.2.2:{download}/{net}")),
        ("TCP from the guest", net, format!("dd if=/dev/zero bs=64k count={} | nc 10.0.2.2 {upload}", net * 16)),
    ]
}

/// One boot, and some of the steps.
fn session(
    plan: &Plan,
    on: &str,
    image: &Path,
    network: bool,
    steps: &[(&str, usize, String)],
) -> Result<Vec<(f64, f64)>, Error> {
    let mut child = emulator(plan, on, image, network)?;
    let mut input = child.stdin.take().ok_or("no input")?;
    let mut output = BufReader::new(child.stdout.take().ok_or("no output")?);
    let mut wait = |mark: &str| -> Result<(), Error> {
        let mut line = Vec::new();
        loop {
            line.clear();
            if output.read_until(b'\n', &mut line)? == 0 {
                return Err(format!("{on} ended before {mark}").into());
            }
            if String::from_utf8_lossy(&line).trim_end().ends_with(mark) {
                return Ok(());
            }
        }
    };
    wait("BOOTED")?;
    let mut number = 0;
    // Marks are computed, so that the echo of a command is none.
    let mut say = |text: &str| -> Result<String, Error> {
        number += 1;
        writeln!(input, "{text}; echo mark-$(({number}+1000))")?;
        Ok(format!("mark-{}", number + 1000))
    };
    let address = "ip addr add 10.0.2.15/24 dev eth0; ip route add default via 10.0.2.2";
    let mark = say(&format!("modprobe ata_piix; modprobe sd_mod; modprobe ne2k-pci; ip link set eth0 up; {address}"))?;
    wait(&mark)?;
    let mut results = Vec::new();
    for (name, _, text) in steps {
        let mark = say("sync; echo 3 >/proc/sys/vm/drop_caches; sleep 1")?;
        wait(&mark)?;
        let (wall, cpu) = (Instant::now(), cpu_seconds(child.id()));
        let mark = say(text)?;
        wait(&mark)?;
        let sample = (wall.elapsed().as_secs_f64(), cpu_seconds(child.id()) - cpu);
        eprintln!("{on}, {name}: {:.2} s, CPU {:.2} s", sample.0, sample.1);
        results.push(sample);
    }
    let _ = child.kill();
    child.wait()?;
    Ok(results)
}

/// One run of one emulator: wall and CPU seconds of each step.
fn measure(plan: &Plan, on: &str, folder: &Path) -> Result<Vec<(f64, f64)>, Error> {
    let image = folder.join("disk.qcow2");
    std::fs::copy(folder.join("pristine.qcow2"), &image)?;
    let (download, upload) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    let ports = (download.local_addr()?.port(), upload.local_addr()?.port());
    let bytes = (plan.megabytes / 4) << 20;
    let server = std::thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, _) = download.accept()?;
        let mut request = [0; 2048];
        let _ = stream.read(&mut request)?;
        write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {bytes}\r\n\r\n")?;
        stream.write_all(&pattern(bytes))
    });
    let taker = std::thread::spawn(move || -> std::io::Result<usize> {
        let (mut stream, _) = upload.accept()?;
        let (mut buffer, mut total) = (vec![0; 1 << 20], 0);
        loop {
            match stream.read(&mut buffer)? {
                0 => return Ok(total),
                n => total += n,
            }
        }
    });
    let mut results = Vec::new();
    for (network, steps) in [false, true].into_iter().zip(steps(plan, ports.0, ports.1).chunks(2)) {
        results.extend(session(plan, on, &image, network, steps)?);
    }
    server.join().map_err(|_| "the server panicked")??;
    let taken = taker.join().map_err(|_| "the server panicked")??;
    if taken != bytes {
        return Err(format!("{on}: {taken} bytes came from the guest, not {bytes}").into());
    }
    Ok(results)
}

fn run() -> Result<(), Error> {
    let plan = plan()?;
    let folder = std::env::temp_dir().join(format!("beigebox-devices-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let raw = folder.join("raw");
    std::fs::write(&raw, pattern(plan.megabytes << 20))?;
    let mut convert = Command::new("qemu-img");
    convert.args(["convert", "-q", "-f", "raw", "-O", "qcow2"]).arg(&raw).arg(folder.join("pristine.qcow2"));
    let made = convert.status()?;
    std::fs::remove_file(&raw)?;
    if !made.success() {
        return Err("qemu-img could not make the image".into());
    }
    let mut samples: BTreeMap<(usize, usize), Vec<(f64, f64)>> = BTreeMap::new();
    for round in 1..=plan.repeat {
        eprintln!("round {round} of {}", plan.repeat);
        for (column, on) in plan.on.iter().enumerate() {
            for (row, sample) in measure(&plan, on, &folder)?.into_iter().enumerate() {
                samples.entry((row, column)).or_default().push(sample);
            }
        }
    }
    std::fs::remove_dir_all(&folder)?;
    let mut table = String::from("| |");
    for on in &plan.on {
        table += &format!(" {on} MiB/s | CPU s |");
    }
    table += &format!("\n|---|{}\n", "--:|--:|".repeat(plan.on.len()));
    for (row, (name, megabytes, _)) in steps(&plan, 0, 0).into_iter().enumerate() {
        table += &format!("| {name}, {megabytes} MiB |");
        for column in 0..plan.on.len() {
            let all = samples.get(&(row, column)).cloned().unwrap_or_default();
            let wall = median(all.iter().map(|sample| sample.0).collect());
            let cpu = median(all.iter().map(|sample| sample.1).collect());
            table += &format!(" {:.1} | {cpu:.2} |", megabytes as f64 / wall);
        }
        table += "\n";
    }
    print!("{table}");
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("devices: {e}");
            ExitCode::FAILURE
        }
    }
}
