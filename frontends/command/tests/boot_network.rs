//! The network cards at work: Linux over the NAT in both directions, and boots from the network.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod guests;

use guests::{Boot, Firmware};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

/// A folder with a kernel and a script for iPXE that boots it by TFTP or HTTP.
fn boot_folder(scheme: &str) -> Option<tempfile::TempDir> {
    let kernel = guests::guest("memtest86+.bin")?;
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(kernel, folder.path().join("kernel")).unwrap();
    let script = format!("#!ipxe\nimgfetch --name k {scheme}://10.0.2.2/kernel\nboot k\n");
    std::fs::write(folder.path().join("boot.ipxe"), script).unwrap();
    Some(folder)
}

fn served(boot: Boot, folder: &Path, file: &str, card: &str) -> Boot {
    let net = format!("user,restrict,{card}");
    boot.with(&["--memory", "32M", "--ips", "50000000", "--net", &net])
        .with(&["--tftp", folder.to_str().unwrap(), "--boot-file", file])
        .until("Memtest86+ v6", "300s")
}

/// iPXE's ROM on the PCI card: DHCP, its script by TFTP, the kernel by HTTP.
fn ipxe_rom(firmware: Firmware) {
    let Some(folder) = boot_folder("http") else { return };
    let boot = Boot::new(firmware).image("--option-rom", "pxe-ne2k_pci.rom").with(&["--boot", "network"]);
    served(boot, folder.path(), "boot.ipxe", "model=pci").passes();
}

under_both_firmwares!(ipxe_rom, rom_on_the_isa_card);

/// iPXE from its disc, over the PCI card: all by TFTP.
#[test]
fn ipxe_disc_boots_by_tftp() {
    let Some(folder) = boot_folder("tftp") else { return };
    served(Boot::new(Firmware::Own).image("--cdrom", "ipxe.iso"), folder.path(), "boot.ipxe", "model=pci").passes();
}

/// A ROM on the ISA card is started by both firmwares.
fn rom_on_the_isa_card(firmware: Firmware) {
    let mut rom = vec![0u8; 2048];
    // After signature and length: a mark on the debug console, and back.
    rom[..12].copy_from_slice(&[0x55, 0xaa, 4, 0xb0, b'@', 0xe6, 0xe9, 0xb0, b'%', 0xe6, 0xe9, 0xcb]);
    rom[2047] = rom.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte));
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(at("rom"), rom).unwrap();
    let boot = Boot::new(firmware).with(&["--net", "user,restrict,model=isa", "--option-rom", &at("rom")]);
    let Some(outcome) =
        boot.with(&["--boot", "network", "--debugcon", &format!("file:{}", at("log"))]).until("@%", "20s").run()
    else {
        return;
    };
    assert_eq!(outcome.code, 0, "{}", outcome.report());
}

/// iPXE from its disc, over the ISA card: its script by TFTP, the kernel by HTTP.
#[test]
fn ipxe_boots_over_the_isa_card() {
    let Some(folder) = boot_folder("http") else { return };
    served(Boot::new(Firmware::Own).image("--cdrom", "ipxe.iso"), folder.path(), "boot.ipxe", "model=isa").passes();
}

fn pattern(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

/// Serves one request, and takes one upload.
fn server(body: Vec<u8>) -> (u16, u16, std::thread::JoinHandle<Vec<u8>>) {
    let (http, upload) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let ports = (http.local_addr().unwrap().port(), upload.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for stream in http.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).unwrap();
            write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).unwrap();
            stream.write_all(&body).unwrap();
        }
    });
    let taken = std::thread::spawn(move || {
        let mut got = Vec::new();
        upload.accept().unwrap().0.read_to_end(&mut got).unwrap();
        got
    });
    (ports.0, ports.1, taken)
}

/// The guest loads a file from the host, sends it back, and is reached over a forward.
#[test]
fn linux_moves_data_both_ways() {
    let Some(kernel) = guests::guest("vmlinuz-686") else { return };
    let Some(initrd) = guests::guest("initramfs-modules.cpio.gz") else { return };
    let body = pattern(3_000_000, 7);
    let (http, upload, taken) = server(body.clone());
    let forward = {
        // A port that is free now; nothing else on this machine takes ports at this pace.
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let script = "printf '#!/bin/sh\\n[ $1 = bound ] && ip addr add $ip/24 dev $interface && ip route add default via $router; true' >/tmp/s; chmod +x /tmp/s";
    let load = format!("wget -O /tmp/f http://10.0.2.2:{http}/f && nc 10.0.2.2 {upload} </tmp/f; echo sent-$((6*7))");
    let rules = [
        format!("/ # =>serial:modprobe ne2k-pci; ip link set eth0 up; {script}; echo up-$((6*7))<enter>"),
        "up-42=>serial:udhcpc -n -q -f -i eth0 -s /tmp/s; ping -c 1 10.0.2.2; echo dhcp-$((6*7))<enter>".to_owned(),
        format!("dhcp-42=>serial:{load}<enter>"),
        "sent-42=>serial:cd /tmp; httpd -p 80; echo ready-$((6*7))<enter>".to_owned(),
    ];
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_beigebox"));
    command.args(["run", "--display", "none", "--serial", "stdio", "--memory", "64M", "--net", "user"]);
    command.args(["--forward", &format!("tcp:127.0.0.1:{forward}:80"), "--wall-limit", "300s"]);
    command.args(["--append", "console=ttyS0,115200 mitigations=off cryptomgr.notests"]);
    command.arg("--kernel").arg(kernel).arg("--initrd").arg(initrd);
    for rule in &rules {
        command.args(["--on-text", rule]);
    }
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    command.stdout(std::fs::File::create(&log).unwrap()).stdin(std::process::Stdio::null());
    let mut machine = command.spawn().unwrap();
    let serial = || String::from_utf8_lossy(&std::fs::read(&log).unwrap()).into_owned();
    while !serial().contains("ready-42") {
        assert!(machine.try_wait().unwrap().is_none(), "it ended: {}", serial());
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    let mut client = TcpStream::connect(("127.0.0.1", forward)).unwrap();
    client.write_all(b"GET /f HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    machine.kill().unwrap();
    machine.wait().unwrap();
    assert!(taken.join().unwrap() == body, "what came back differs: {}", serial());
    let start = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    assert!(answer[start..] == body[..], "what the guest served differs: {}", serial());
}

/// A machine with the ISA card listens as a switch; another one and QEMU connect to it. Linux drives
/// all three cards, and each loads a file from the first.
#[test]
fn machines_and_qemu_share_a_switch() {
    let Some(kernel) = guests::guest("vmlinuz-686") else { return };
    let Some(initrd) = guests::guest("initramfs-modules.cpio.gz") else { return };
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let append = "console=ttyS0,115200 mitigations=off cryptomgr.notests";
    let up = |n: u8| format!("ip link set eth0 up; ip addr add 192.168.7.{n}/24 dev eth0; ");
    let folder = tempfile::tempdir().unwrap();
    let make = "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done >/tmp/f";
    let load = "until wget -q -O /tmp/g http://192.168.7.1/f; do sleep 1; done; sha256sum /tmp/g; echo got-$((6*7))";
    let machine = |name: &str, net: &str, command: String| {
        let mut machine = std::process::Command::new(env!("CARGO_BIN_EXE_beigebox"));
        machine.args(["run", "--display", "none", "--serial", "stdio", "--memory", "64M", "--wall-limit", "300s"]);
        machine.args(["--net", net, "--append", append, "--on-text", &format!("/ # =>serial:{command}<enter>")]);
        machine.arg("--kernel").arg(&kernel).arg("--initrd").arg(&initrd).stdin(std::process::Stdio::null());
        machine.stdout(std::fs::File::create(folder.path().join(name)).unwrap()).spawn().unwrap()
    };
    let serial = |name: &str| String::from_utf8_lossy(&std::fs::read(folder.path().join(name)).unwrap()).into_owned();
    let listen = format!("socket=listen:127.0.0.1:{port},model=isa,mac=52:54:00:00:00:01");
    let isa = "modprobe ne io=0x300 irq=10; ";
    let serve = format!("{isa}{}{make}; sha256sum /tmp/f; cd /tmp; httpd -p 80; echo up-$((6*7))", up(1));
    let mut all = vec![machine("one", &listen, serve)];
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(all[0].try_wait().unwrap().is_none(), "{}", serial("one"));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let connect = format!("socket=127.0.0.1:{port},mac=52:54:00:00:00:02");
    all.push(machine("two", &connect, format!("modprobe ne2k-pci; {}{load}", up(2))));
    let mut qemu = std::process::Command::new("qemu-system-i386");
    qemu.args(["-m", "64", "-display", "none", "-serial", "stdio", "-append", append, "-no-reboot", "-netdev"]);
    qemu.arg(format!("stream,id=n,server=off,addr.type=inet,addr.host=127.0.0.1,addr.port={port}"));
    qemu.args(["-device", "ne2k_pci,netdev=n,mac=52:54:00:00:00:03", "-kernel"])
        .arg(&kernel)
        .arg("-initrd")
        .arg(&initrd);
    qemu.stdin(std::process::Stdio::piped()).stdout(std::fs::File::create(folder.path().join("three")).unwrap());
    all.push(qemu.spawn().unwrap());
    let mut names = vec!["one", "two", "three"];
    let mut typed = false;
    for _ in 0..3000 {
        std::thread::sleep(std::time::Duration::from_millis(100));
        if !typed && serial("three").contains("/ # ") {
            typed = true;
            let line = format!("modprobe ne2k-pci; {}{load}\n", up(3));
            all[2].stdin.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
        }
        if ["two", "three"].iter().all(|name| serial(name).contains("got-42")) {
            break;
        }
    }
    for machine in &mut all {
        machine.kill().unwrap();
        machine.wait().unwrap();
    }
    let sum = |name: &str| {
        let text = serial(name);
        let found = text.split(|c: char| !c.is_ascii_hexdigit()).find(|word| word.len() == 64).map(str::to_owned);
        found.unwrap_or_else(|| panic!("{name}: {text}"))
    };
    names.dedup_by_key(|name| sum(name));
    assert_eq!(names, ["one"], "all sums are the same");
}
