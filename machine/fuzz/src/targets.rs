//! Whole machines: kernels with any headers, saved states with any damage, and a board whose
//! firmware is noise that likes ports.

use crate::driver::{Source, Target};
use beigebox::host::net::{Datagrams, Dump, Outside, Stream, UserConfig, UserNetwork};
use beigebox::loader::{MemoryLayout, Module, Payload, recognise};
use beigebox::{Machine, MemoryStorage, Model, Network, Time};
use std::cell::RefCell;
use std::io;
use std::net::SocketAddrV4;

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "loader", run: loader },
    Target { name: "snapshot", run: snapshot },
    Target { name: "board", run: board },
    Target { name: "nat", run: nat },
    Target { name: "qcow2", run: crate::images::qcow2 },
    Target { name: "vdi", run: crate::images::vdi },
    Target { name: "vmdk", run: crate::images::vmdk },
    Target { name: "vhd", run: crate::images::vhd },
    Target { name: "share", run: crate::images::share },
];

const RAM: u64 = 4 << 20;

/// 64 KiB of BIOS whose reset vector jumps to `code` at F000:0000.
fn bios(code: &[u8]) -> Vec<u8> {
    let mut image = vec![0xf4; 0x1_0000];
    let length = code.len().min(0xfff0);
    image[..length].copy_from_slice(&code[..length]);
    image[0xfff0..0xfff5].copy_from_slice(&[0xea, 0x00, 0x00, 0x00, 0xf0]);
    image
}

fn put(file: &mut [u8], at: usize, value: u64, bytes: usize) {
    if let Some(place) = file.get_mut(at..at + bytes) {
        place.copy_from_slice(&value.to_le_bytes()[..bytes]);
    }
}

/// A number for a header field: small, near a limit of memory, or noise.
fn field(source: &mut Source<'_>) -> u64 {
    const EDGES: [u64; 12] =
        [0, 1, 0x1000, 0x7c00, 0x9_fc00, 0xa_0000, 0x10_0000, 0x20_0000, RAM - 1, RAM, 0xffff_ffff, u64::MAX];
    match source.below(6) {
        0 => source.pick(&EDGES),
        1 => source.below(64),
        2 => source.below(0x2000),
        3 => 0x10_0000 + source.below(0x1000),
        4 => source.pick(&EDGES).wrapping_sub(source.below(0x100)),
        _ => source.bits() >> source.below(64),
    }
}

/// A kernel file: random bytes with a header of one of the known kinds, its fields half right.
fn kernel(source: &mut Source<'_>) -> Vec<u8> {
    let longest = source.pick(&[64, 0x300, 0x2000, 0x9000]);
    let length = source.below(longest + 1);
    let fill = source.pick(&[0u8, 0x90, 0xff]);
    let mut file = vec![fill; length as usize];
    let kinds = source.below(15) + 1;
    if kinds & 1 != 0 {
        put(&mut file, 0x1fe, 0xaa55, 2);
        put(&mut file, 0x202, u64::from(u32::from_le_bytes(*b"HdrS")), 4);
        put(&mut file, 0x206, source.pick(&[0x204, 0x206, 0x20a, 0x20f, 0x100]), 2);
        put(&mut file, 0x1f1, source.pick(&[0, 1, 4, 0x20, 0xff]), 1);
        put(&mut file, 0x211, source.below(4), 1);
        for (at, bytes) in [(0x22c, 4), (0x238, 4), (0x260, 4), (0x218, 4)] {
            if source.once_in(2) {
                put(&mut file, at, field(source), bytes);
            }
        }
    }
    let at = source.below(0x40) as usize * 8;
    if kinds & 2 != 0 {
        let flags = source.pick(&[0u64, 3, 0x1_0003, 0x1_0000, 0x1_0007, 0xffff_ffff]);
        put(&mut file, at, 0x1bad_b002, 4);
        put(&mut file, at + 4, flags, 4);
        put(&mut file, at + 8, u64::from(0u32.wrapping_sub(0x1bad_b002).wrapping_sub(flags as u32)), 4);
        let load = 0x10_0000 + source.below(0x1000);
        put(&mut file, at + 12, if source.once_in(4) { field(source) } else { load + at as u64 }, 4);
        for index in 4..8 {
            let value = if source.once_in(3) { field(source) } else { load };
            put(&mut file, at + 4 * index, value, 4);
        }
    }
    if kinds & 4 != 0 {
        let size = if source.once_in(3) { field(source) } else { 64 };
        put(&mut file, at, 0xe852_50d6, 4);
        put(&mut file, at + 4, 0, 4);
        put(&mut file, at + 8, size, 4);
        put(&mut file, at + 12, u64::from(0u32.wrapping_sub(0xe852_50d6).wrapping_sub(size as u32)), 4);
        let mut tag = at + 16;
        for _ in 0..source.below(5) {
            put(&mut file, tag, source.below(12), 2);
            put(&mut file, tag + 2, source.below(2), 2);
            let bytes = source.pick(&[8u64, 12, 16, 24, 0, 7, 0xffff_fff8, 0xffff_ffff]);
            put(&mut file, tag + 4, bytes, 4);
            for index in 2..6 {
                put(&mut file, tag + 4 * index, field(source), 4);
            }
            tag = tag.saturating_add(bytes as usize).min(file.len());
        }
    }
    if kinds & 8 != 0 {
        let wide = source.once_in(2);
        put(&mut file, 0, u64::from(u32::from_le_bytes(*b"\x7fELF")), 4);
        put(&mut file, 4, if wide { 2 } else { 1 }, 1);
        put(&mut file, 5, 1, 1);
        put(&mut file, 18, if wide { 62 } else { 3 }, 2);
        let (entry, table, size, count, bytes) = if wide { (24, 32, 54, 56, 8) } else { (24, 28, 42, 44, 4) };
        put(&mut file, entry, field(source), bytes);
        let headers = if source.once_in(4) { field(source) } else { 0x40 };
        put(&mut file, table, headers, bytes);
        put(&mut file, size, if wide { 56 } else { 32 }, 2);
        put(&mut file, count, source.pick(&[0, 1, 2, 3, 300, 0xffff]), 2);
        for index in 0..3 {
            let at = 0x40 + index * if wide { 56 } else { 32 };
            put(&mut file, at, source.pick(&[1, 1, 1, 2]), 4);
            let fields = if wide { [8, 16, 24, 32, 40] } else { [4, 8, 12, 16, 20] };
            for offset in fields {
                put(&mut file, at + offset, field(source), bytes);
            }
        }
    }
    for _ in 0..source.below(4) {
        let (at, value) = (source.below(0x400) as usize, source.bits());
        put(&mut file, at, value, 1);
    }
    file
}

/// Any file is refused or laid out inside of memory, and what is laid out can be entered.
fn loader(data: &[u8]) {
    let mut source = Source::new(data);
    let kernel = match source.below(4) {
        0 => data.to_vec(),
        _ => kernel(&mut source),
    };
    let _ = recognise(&kernel, field(&mut source));
    let mut payload = Payload { kernel, command_line: "x".repeat(source.below(300) as usize), ..Payload::default() };
    if source.once_in(3) {
        payload.initrd = Some(vec![1; source.below(0x4000) as usize]);
    }
    for _ in 0..source.below(3) {
        let bytes = vec![2; source.below(0x3000) as usize];
        payload.modules.push(Module { bytes, command_line: "module".into() });
    }
    if source.once_in(8) {
        payload.flat = Some(field(&mut source));
    }
    for bytes in [RAM, 1 << 20, 6 << 30] {
        let plan = payload.plan(MemoryLayout::of(bytes));
        // The option ROM's port is where the machine loads and enters the image.
        if plan.is_ok() && bytes == RAM && source.once_in(4) {
            let code = [0xba, 0xb0, 0xb1, 0xee, 0xeb, 0xfd];
            let mut pc = Machine::builder()
                .memory(RAM)
                .bios(bios(&code))
                .direct_boot(payload.clone())
                .build()
                .expect("the plan was good");
            pc.run_limited(1_000_000, 300);
        }
    }
}

/// Code that uses ports more than other code does.
fn port_code(source: &mut Source<'_>) -> Vec<u8> {
    const PORTS: [u16; 30] = [
        0x00, 0x08, 0x20, 0x21, 0x40, 0x43, 0x60, 0x61, 0x64, 0x70, 0x71, 0x80, 0x92, 0xa0, 0xa1, 0xc0, 0xd0, 0x1f0,
        0x170, 0x2f8, 0x378, 0x3c0, 0x3f0, 0x3f8, 0x4d0, 0x510, 0xcf8, 0xcfc, 0xb000, 0xc000,
    ];
    let mut code = vec![0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xd0, 0xbc, 0x00, 0x70];
    while code.len() < 0xff00 {
        let noise = source.bits();
        let [a, b, c, d, e, f, g, _] = noise.to_le_bytes();
        match a & 15 {
            0..=5 => {
                let port = PORTS[usize::from(b) % PORTS.len()].wrapping_add(u16::from(c & 15)).to_le_bytes();
                code.extend([0xba, port[0], port[1]]);
            }
            6 | 7 => code.extend([0x66, 0xb8, d & 0x3f, 0, 0, 0]),
            8 => code.extend([0x66, 0xb8, d, e, f, g]),
            // The address of a configuration register.
            9 => code.extend([
                0xba,
                0xf8,
                0x0c,
                0x66,
                0xb8,
                d & 0xfc,
                e & 0x1f,
                0,
                0x80,
                0x66,
                0xef,
                0xba,
                0xfc | f & 3,
                0x0c,
            ]),
            10 => code.extend([[0xec, 0xed, 0xee, 0xef][usize::from(b & 3)]]),
            11 => code.extend([0x66, 0xed | b & 2]),
            12 => code.extend([0xb9, c, 0, 0xf3, [0x6c, 0x6d, 0x6e, 0x6f][usize::from(b & 3)]]),
            13 => code.extend([0xb8, c, d, 0x8e, if b & 1 == 0 { 0xd8 } else { 0xc0 }, 0x88, 0x07, 0xa5]),
            14 => code.extend([[0xfb, 0xfa, 0x90, 0xee][usize::from(b & 3)], 0xb0, c, 0xee]),
            _ => code.extend([0xb0, c, 0xe6, d & 0x7f]),
        }
    }
    code
}

fn with_drives(memory: u64, model: Model, image: Vec<u8>) -> Machine {
    Machine::builder()
        .memory(memory)
        .cpu(model)
        .bios(image)
        .floppy(0, Some(Box::new(MemoryStorage::new(vec![0x11; 368_640]))))
        .disk(Box::new(MemoryStorage::new(vec![0x22; 0x4_0000])))
        .cdrom(Some(Box::new(MemoryStorage::read_only(vec![0x33; 0x1_0000]))))
        .build()
        .expect("a machine")
}

/// A board under code that touches everything: each run ends.
fn board(data: &[u8]) {
    let mut source = Source::new(data);
    let code = port_code(&mut source);
    let model = source.pick(&[Model::I386, Model::Pentium, Model::PentiumM]);
    let mut pc = with_drives(1 << 20, model, bios(&code));
    for _ in 0..20 {
        pc.run_limited(5_000_000, 3000);
        match source.below(6) {
            0 => pc.mouse(source.below(500) as i32 - 250, 9, 1, source.bits() as u8),
            1 => pc.serial_input(0, &data[..data.len().min(64)]),
            2 => pc.with_cpu(|cpu| cpu.rip = source.below(0xff00)),
            3 => {
                // A run that is saved and restored goes on as it would have.
                let saved = pc.save();
                let hash = pc.state_hash();
                let mut copy = with_drives(1 << 20, model, bios(&code));
                copy.restore(&saved).expect("its own state");
                let again = copy.save();
                let at = saved.iter().zip(&again).position(|(old, new)| old != new);
                assert!(
                    saved == again,
                    "a restored machine saves otherwise: {} and {} bytes, from {at:?}: {:x?}",
                    saved.len(),
                    again.len(),
                    at.map(|at| (&saved[at.saturating_sub(48)..at + 8], &again[at.saturating_sub(48)..at + 8])),
                );
                assert_eq!(copy.state_hash(), hash, "a restored machine differs");
            }
            _ => {}
        }
    }
    let _ = pc.post_codes();
    let _ = pc.fault_report();
}

thread_local! {
    static SAVED: RefCell<Option<(Machine, Vec<u8>)>> = const { RefCell::new(None) };
}

/// A damaged saved machine is refused, or makes a machine that runs.
fn snapshot(data: &[u8]) {
    SAVED.with_borrow_mut(|saved| {
        let (pc, state) = saved.get_or_insert_with(|| {
            let code = port_code(&mut Source::new(b"saved"));
            let mut pc = with_drives(1 << 20, Model::PentiumM, bios(&code));
            pc.run_limited(5_000_000, 5000);
            let state = pc.save();
            (pc, state)
        });
        let mut source = Source::new(data);
        let mut bytes = state.clone();
        // The processor comes first, pages of memory last.
        let reach = source.pick(&[64, 1024, 4096, bytes.len() as u64]).min(bytes.len() as u64);
        for _ in 0..=source.below(4) {
            let at = 8 + source.below(reach - 8) as usize;
            let noise = source.bits();
            match noise & 7 {
                0 => bytes[at] = 0xff,
                1 => bytes[at] = bytes[at].wrapping_add(1),
                2..=4 => bytes[at] ^= 1 << (noise >> 8 & 7),
                _ => bytes[at] = (noise >> 8) as u8,
            }
        }
        if source.once_in(16) {
            bytes.truncate(source.below(bytes.len() as u64) as usize);
        }
        if pc.restore(&bytes).is_ok() {
            pc.run_limited(2_000_000, 500);
            let again = pc.save();
            pc.restore(&again).expect("its own state");
            let _ = pc.state_hash();
        }
        pc.reset();
        pc.run_limited(100_000, 50);
    });
}

/// A host on which anything happens.
struct Noise(u64);

impl Noise {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        self.0 >> 33
    }
    fn error<T>(&mut self) -> io::Result<T> {
        let kinds = [io::ErrorKind::WouldBlock, io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
        Err(kinds[(self.bits() % 3) as usize].into())
    }
}

impl Outside for Noise {
    fn connect(&mut self, to: SocketAddrV4) -> io::Result<Box<dyn Stream>> {
        assert!(!to.ip().is_multicast() && !to.ip().is_broadcast());
        if self.bits().is_multiple_of(8) { self.error() } else { Ok(Box::new(Noise(self.bits()))) }
    }
    fn datagrams(&mut self) -> io::Result<Box<dyn Datagrams>> {
        if self.bits().is_multiple_of(8) { self.error() } else { Ok(Box::new(Noise(self.bits()))) }
    }
}
impl Stream for Noise {
    fn is_connected(&mut self) -> io::Result<bool> {
        if self.bits().is_multiple_of(16) { self.error() } else { Ok(self.bits().is_multiple_of(2)) }
    }
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.bits().is_multiple_of(3) { self.error() } else { Ok((self.bits() as usize % 3000).min(buffer.len())) }
    }
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bits().is_multiple_of(3) { self.error() } else { Ok((self.bits() as usize % 3000).min(bytes.len())) }
    }
    fn finish(&mut self) {}
}
impl Datagrams for Noise {
    fn send(&mut self, _: &[u8], _: SocketAddrV4) -> io::Result<()> {
        if self.bits().is_multiple_of(8) { self.error() } else { Ok(()) }
    }
    fn receive(&mut self, buffer: &mut [u8]) -> Option<(usize, SocketAddrV4)> {
        let from = SocketAddrV4::new([127, 0, 0, 1].into(), (self.bits() % 4) as u16 + 52);
        self.bits().is_multiple_of(2).then(|| ((self.bits() as usize % 9000).min(buffer.len()), from))
    }
}

/// A folder for the boot server, the same for all cases of a process.
fn folder() -> std::path::PathBuf {
    let path = std::env::temp_dir().join(format!("beigebox-fuzz-{}", std::process::id()));
    // Where it cannot be made, the network says so and the case is over.
    let _ = std::fs::create_dir_all(&path);
    let _ = std::fs::write(path.join("f"), vec![7; 5000]);
    path
}

fn sum(bytes: &[u8], start: u32) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from));
    let mut sum = start + words.sum::<u32>();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !sum as u16
}

/// A message of one of the protocols that the gateway speaks, then with some bytes changed.
fn message(source: &mut Source<'_>, port: u16) -> Vec<u8> {
    let mut message = match port {
        67 => {
            let mut message = vec![0; 236];
            message[..3].copy_from_slice(&[1, 1, 6]);
            message[28..34].copy_from_slice(&[0x52, 0x54, 0, 0, 0, source.below(20) as u8]);
            message.extend([0x63, 0x82, 0x53, 0x63, 53, 1, source.below(9) as u8, 50, 4, 10, 0, 2, 15, 255]);
            message
        }
        69 => [&[0, source.below(6) as u8][..], b"f\0octet\0blksize\x00", b"900\0tsize\x000\0"].concat(),
        53 => b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x04host\0\0\x01\0\x01".to_vec(),
        80 => b"GET /f HTTP/1.1\r\nRange: bytes=5-9\r\n\r\n".to_vec(),
        _ => [&[0, 4][..], &(source.below(9) as u16).to_be_bytes()].concat(),
    };
    for _ in 0..source.below(4) {
        let at = source.below(message.len() as u64) as usize;
        message[at] = source.bits() as u8;
    }
    if source.once_in(4) {
        message.truncate(source.below(message.len() as u64 + 1) as usize);
    }
    message
}

/// A frame: mostly one that gets past the first checks.
fn frame(source: &mut Source<'_>) -> Vec<u8> {
    const GATEWAY: [u8; 6] = [0x52, 0x55, 10, 0, 2, 2];
    let mut frame = if source.once_in(4) { vec![0xff; 6] } else { GATEWAY.to_vec() };
    frame.extend([0x52, 0x54, 0, 0, 0, source.below(4) as u8]);
    if source.once_in(10) {
        frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, source.below(3) as u8]);
        frame.extend((0..20).map(|_| source.bits() as u8));
        return frame;
    }
    let from = [10, 0, 2, 15 + source.below(3) as u8];
    let to = source.pick(&[[10, 0, 2, 2], [10, 0, 2, 3], [10, 0, 2, 2], [93, 184, 216, 34], [255; 4], [127, 0, 0, 1]]);
    let protocol = source.pick(&[6u8, 17, 17, 6, 1, 99]);
    let port = source.pick(&[53u16, 67, 69, 80, 443, 0xc000, 0xc001, 80]);
    let here = (3000 + source.below(6)) as u16;
    let content = message(source, port);
    let mut body = Vec::new();
    match protocol {
        6 => {
            body.extend(here.to_be_bytes());
            body.extend(port.to_be_bytes());
            body.extend((source.below(5000) as u32).to_be_bytes());
            body.extend((source.bits() as u32).to_be_bytes());
            let flags = source.pick(&[2u8, 2, 0x10, 0x18, 0x11, 4, 0x12, 0x3f]);
            body.extend([0x50, flags, 0x20, 0, 0, 0, 0, 0]);
            if flags & 0x18 == 0x18 {
                body.extend(&content);
            }
        }
        17 => {
            body.extend(here.to_be_bytes());
            body.extend(port.to_be_bytes());
            body.extend((content.len() as u16 + 8).to_be_bytes());
            body.extend([0, 0]);
            body.extend(&content);
        }
        _ => body.extend([&[8, 0, 0, 0][..], &content].concat()),
    }
    if protocol == 6 {
        let pseudo = [&from[..], &to, &[0, 6], &(body.len() as u16).to_be_bytes()].concat();
        let value = sum(&body, u32::from(!sum(&pseudo, 0)));
        body[16..18].copy_from_slice(&value.to_be_bytes());
    }
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0];
    packet[2..4].copy_from_slice(&(body.len() as u16 + 20).to_be_bytes());
    if source.once_in(5) {
        // One of few fragments of few packets.
        packet[5] = source.below(2) as u8;
        packet[6] = if source.once_in(2) { 0x20 } else { 0 };
        let noise = source.bits() as u8;
        packet[7] = source.pick(&[0, 1, 2, 3, noise]);
        if packet[6] != 0 {
            body.truncate(body.len() / 8 * 8);
            packet[2..4].copy_from_slice(&(body.len() as u16 + 20).to_be_bytes());
        }
    }
    packet.extend(from);
    packet.extend(to);
    let value = sum(&packet, 0);
    packet[10..12].copy_from_slice(&value.to_be_bytes());
    frame.extend([8, 0]);
    frame.extend(packet);
    frame.extend(body);
    for _ in 0..source.below(8) / 6 {
        let at = source.below(frame.len() as u64) as usize;
        frame[at] = source.bits() as u8;
    }
    frame
}

/// Frames of a hostile guest into the NAT, over a host on which anything happens; what goes over
/// the cable is also written down, and the dump read again.
fn nat(data: &[u8]) {
    let mut source = Source::new(data);
    let config = UserConfig {
        isolated: source.once_in(4),
        nameserver: (!source.once_in(3)).then(|| "127.0.0.1:53".parse().expect("an address")),
        boot_folder: (!source.once_in(3)).then(folder),
        boot_file: Some("f".into()),
        forwards: Vec::new(),
    };
    let Ok(network) = UserNetwork::over(config, Box::new(Noise(source.bits()))) else { return };
    let sink = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut network = Dump::new(Box::new(network), Sink(sink.clone())).expect("memory takes all");
    let (mut now, mut frames) = (0, 0);
    for _ in 0..source.below(200) {
        let longest = source.pick(&[1, 1000, 1_000_000, 1_000_000_000, 500_000_000_000]);
        now += source.below(longest);
        if source.once_in(20) {
            let noise: Vec<u8> = (0..source.below(2000)).map(|_| source.bits() as u8).collect();
            network.send(Time(now), &noise);
        } else {
            network.send(Time(now), &frame(&mut source));
        }
        frames += 1;
        for _ in 0..source.below(6) {
            if let Some(frame) = network.receive(Time(now)) {
                assert!((14..=1514).contains(&frame.len()));
                frames += 1;
            }
        }
    }
    let dump = sink.lock().expect("nobody panicked");
    let mut at = 24;
    for _ in 0..frames {
        let length = u32::from_le_bytes(dump[at + 8..at + 12].try_into().expect("four bytes")) as usize;
        at += 16 + length;
    }
    assert_eq!(at, dump.len());
}

struct Sink(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panicked").extend(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
