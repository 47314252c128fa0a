//! A machine with a real BIOS and a program that does what it is told (`board/hands.asm`).

#![allow(dead_code, reason = "each test file uses a part")]

use beigebox::loader::Payload;
use beigebox::{Machine, Stop};
use std::path::{Path, PathBuf};

const PROGRAM: u64 = 0x8000;
const COMMAND: u64 = 0x600;
const PORTS: u64 = 0x700;

/// Whose system and video BIOS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    Own,
    SeaBios,
}

/// One write to a port.
#[derive(Clone, Copy, Debug)]
pub enum Out {
    Byte(u16, u8),
    /// Index in the low byte, value in the high one, as software writes to VGA registers.
    Word(u16, u16),
    /// Not a write: the port is read.
    Read(u16),
}

/// The machine and its hands.
pub struct Board(pub Machine);

fn seabios(name: &str) -> Option<Vec<u8>> {
    let without = std::env::var_os("BEIGEBOX_WITHOUT_GUESTS").is_some_and(|value| !value.is_empty());
    if without {
        println!("{name}: not tested: BEIGEBOX_WITHOUT_GUESTS is set");
        return None;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = std::env::var_os("BEIGEBOX_GUESTS").map_or_else(|| root.join(".guests"), PathBuf::from);
    let path = folder.join("seabios").join(name);
    Some(std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}: run scripts/setup", path.display())))
}

impl Board {
    /// Boots the program; `None` without the firmware.
    pub fn boot(firmware: Firmware) -> Option<Board> {
        let text = include_str!("../../board/hands.asm");
        let program = assembler::assemble(text, &assembler::Options::default()).expect("it assembles").bytes;
        let payload = Payload { kernel: program, flat: Some(PROGRAM), ..Payload::default() };
        let (system, video) = match firmware {
            Firmware::Own => (bios::SYSTEM.to_vec(), bios::VGA.to_vec()),
            Firmware::SeaBios => (seabios("bios-256k.bin")?, seabios("vgabios-stdvga.bin")?),
        };
        let builder = Machine::builder().bios(system).video_bios(video).memory(16 << 20).direct_boot(payload);
        let mut board = Board(builder.build().expect("a machine"));
        board.0.write_memory(COMMAND, &[0xff]);
        board.wait();
        Some(board)
    }
    fn wait(&mut self) {
        for _ in 0..20_000 {
            assert_eq!(self.0.run_for(1_000_000), Stop::Done);
            let mut command = [0xff];
            self.0.read_memory(COMMAND, &mut command);
            // The firmware may use the place before the program does.
            let mut code = [0];
            self.0.read_memory(PROGRAM, &mut code);
            if command[0] == 0 && code[0] == 0x31 {
                return;
            }
        }
        panic!("the program does not answer");
    }
    fn order(&mut self, command: u8, words: &[u16]) {
        let bytes: Vec<u8> = words.iter().copied().flat_map(u16::to_le_bytes).collect();
        self.0.write_memory(COMMAND + 2, &bytes);
        self.0.write_memory(COMMAND, &[command]);
        self.wait();
    }
    /// Sets a standard mode, with colours and a font that a test can compute.
    pub fn mode(&mut self, mode: u16) {
        self.order(1, &[mode, 0, 0]);
    }
    /// Fills `bytes` of `segment` with a pattern.
    pub fn fill(&mut self, segment: u16, bytes: usize, pattern: u16) {
        self.order(2, &[segment, (bytes & 0xffff) as u16, pattern]);
    }
    /// Fills `cells` of `segment` with characters.
    pub fn text(&mut self, segment: u16, cells: u16) {
        self.order(3, &[segment, cells, 0]);
    }
    /// Sets a VBE mode and fills so many banks. Returns what the BIOS answered.
    pub fn vbe(&mut self, mode: u16, banks: usize) -> u16 {
        self.order(5, &[mode, banks as u16, 0]);
        let mut answer = [0; 2];
        self.0.read_memory(COMMAND + 8, &mut answer);
        u16::from_le_bytes(answer)
    }
    /// INT 10h with AX, BX, CX, DX, DI and BP; AX, BX, CX and DX afterwards.
    pub fn int_10(&mut self, registers: [u16; 6]) -> [u16; 4] {
        self.order(6, &registers);
        let mut answer = [0; 8];
        self.0.read_memory(COMMAND + 2, &mut answer);
        std::array::from_fn(|at| u16::from_le_bytes([answer[2 * at], answer[2 * at + 1]]))
    }
    /// Fills memory at a linear address with [`scattered`] doublewords.
    pub fn fill_linear(&mut self, address: u32, bytes: usize) {
        let [low, high] = [address as u16, (address >> 16) as u16];
        self.order(7, &[low, high, bytes as u16, (bytes >> 16) as u16]);
    }
    /// Gives the DAC the colours of [`color`].
    pub fn colors(&mut self) {
        self.order(8, &[]);
    }
    /// Writes to ports, in order.
    pub fn out(&mut self, writes: &[Out]) {
        for part in writes.chunks(60) {
            let mut words: Vec<u16> = part
                .iter()
                .flat_map(|write| match *write {
                    Out::Byte(port, value) => [port, u16::from(value)],
                    Out::Word(port, value) => [port | 0x8000, value],
                    Out::Read(port) => [port | 0x4000, 0],
                })
                .collect();
            words.push(0);
            let bytes: Vec<u8> = words.into_iter().flat_map(u16::to_le_bytes).collect();
            self.0.write_memory(PORTS, &bytes);
            self.order(4, &[]);
        }
    }
}

/// Byte `at` of a pattern.
pub fn pattern(at: usize, pattern: usize) -> u8 {
    (7 * at + 3 * (at >> 8 & 0xff) + 0x35 * pattern) as u8
}

/// Byte `at` of what `fill_linear` writes.
pub fn scattered(at: usize) -> u8 {
    ((at & !3) as u32).wrapping_mul(0x9e37_79b1).to_le_bytes()[at & 3]
}

/// What DAC entry `n` shows.
pub fn color(n: u8) -> u32 {
    let full = |c: u8| u32::from((c & 63) << 2 | (c & 63) >> 4);
    full(n) << 16 | full(n.wrapping_mul(5)) << 8 | full(63 - (n >> 2))
}
