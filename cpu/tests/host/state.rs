//! Where programs run, from which states, and what they leave behind.

/// Bytes of a page.
pub const PAGE: usize = 4096;
/// The page of the program: user code, not writable.
pub const CODE: u32 = 0x2000_0000;
/// The page to which a program jumps at its end.
pub const EXIT: u32 = 0x2000_2000;
/// Data: two pages that can be written to and one that cannot, between pages that do not exist.
pub const SCRATCH: u32 = 0x2000_8000;
/// Bytes of [`SCRATCH`] that can be written to.
pub const WRITABLE: usize = 2 * PAGE;
/// Where FNSTENV, FNSAVE and FXSAVE put their images.
pub const IMAGES: u32 = SCRATCH + 0x400;

/// A state in which a program starts.
#[derive(Clone)]
pub struct Start {
    /// EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI.
    pub gpr: [u32; 8],
    pub flags: u32,
    /// x87, MMX and SSE state in FXSAVE's format.
    pub image: [u8; 512],
    /// Bytes that differ from the background: offsets in [`SCRATCH`].
    pub patches: Vec<(usize, [u8; 16])>,
}

/// What a program left behind, memory aside.
#[derive(Clone)]
pub struct Outcome {
    pub gpr: [u32; 8],
    pub flags: u32,
    pub image: [u8; 512],
    /// Vector, error code, linear address of a page fault; `None` at the regular end.
    pub fault: Option<(u8, u32, u32)>,
    pub eip: u32,
}

/// SplitMix64: the programs are the same each time.
#[derive(Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
    pub fn below(&mut self, n: u64) -> u64 {
        (u128::from(self.next()) * u128::from(n) >> 64) as u64
    }
    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
    /// An integer with a liking for the edges of all widths.
    pub fn integer(&mut self) -> u32 {
        const EDGES: [u32; 20] = [
            0,
            1,
            2,
            0x7f,
            0x80,
            0xff,
            0x100,
            0x7fff,
            0x8000,
            0xffff,
            0x1_0000,
            0x7fff_ffff,
            0x8000_0000,
            0x8000_0001,
            0xffff_ffff,
            0xffff_fffe,
            0xffff_8000,
            0x7f80_7f80,
            0x8080_8080,
            0xaaaa_5555,
        ];
        match self.below(4) {
            0 => self.pick(&EDGES),
            1 => self.below(64) as u32,
            2 => self.next() as u32,
            _ => self.pick(&EDGES).wrapping_add(self.below(5) as u32).wrapping_sub(2),
        }
    }
    /// An offset in [`SCRATCH`]: mostly in the middle, sometimes where pages meet or end.
    pub fn window(&mut self) -> u32 {
        let at = match self.below(16) {
            0 => self.below(0x20) as u32,
            1 => 0xff0 + self.below(0x20) as u32,
            2 => 0x1ff0 + self.below(0x20) as u32,
            3 => 0x2ff0 + self.below(0x10) as u32,
            4..=6 => 0x2000 + self.below(0x400) as u32,
            _ => 0x800 + self.below(0x200) as u32,
        };
        match self.below(4) {
            0 => at,
            1 => at & !3,
            _ => at & !15,
        }
    }
    fn single(&mut self) -> u32 {
        const EDGES: [u32; 20] = [
            0,
            0x8000_0000,
            0x3f80_0000,
            0xbf80_0000,
            0x7f80_0000,
            0xff80_0000,
            0x7fc0_0001,
            0xffc1_2345,
            0x7f81_2345,
            0xffa0_0000,
            1,
            0x8000_0001,
            0x007f_ffff,
            0x0080_0000,
            0x7f7f_ffff,
            0x4f00_0000,
            0xcf00_0000,
            0x4eff_ffff,
            0x3f00_0000,
            0x4020_0000,
        ];
        match self.below(4) {
            0 => self.pick(&EDGES),
            1 => self.next() as u32,
            2 => (self.below(2000) as f32 / 8.0 - 100.0).to_bits(),
            _ => 0x3f00_0000 + (self.next() as u32 & 0x83ff_ffff),
        }
    }
    fn double(&mut self) -> u64 {
        const EDGES: [u64; 20] = [
            0,
            1 << 63,
            0x3ff << 52,
            0xbff << 52,
            0x7ff << 52,
            0xfff << 52,
            0x7ff8_0000_0000_0001,
            0xfffc_1234_0000_0000,
            0x7ff0_0000_0000_1234,
            0xfff4_0000_0000_0000,
            1,
            0x8000_0000_0000_0001,
            0x000f_ffff_ffff_ffff,
            1 << 52,
            0x7fef_ffff_ffff_ffff,
            0x41e0_0000_0000_0000,
            0xc1e0_0000_0010_0000,
            0x3690_0000_0000_0000,
            0x47ef_ffff_f000_0000,
            0x380f_ffff_ffff_ffff,
        ];
        match self.below(4) {
            0 => self.pick(&EDGES),
            1 => self.next(),
            2 => (self.below(20000) as f64 / 8.0 - 1000.0).to_bits(),
            _ => 0x3fe0_0000_0000_0000 + (self.next() & 0x807f_ffff_ffff_ffff),
        }
    }
    /// An 80-bit value of any kind: unnormals, pseudo-denormals and pseudo-infinities included.
    fn extended(&mut self) -> [u8; 10] {
        let integer = 1 << 63;
        let sign = (self.next() as u16) << 15;
        let (high, low) = match self.below(9) {
            0 => (sign, 0),
            1 => (sign | 0x7fff, integer | self.pick(&[0, 1, 1 << 62, 1 << 62 | 77, 3 << 60])),
            2 => (sign | self.pick(&[0, 1, 0x7ffe, 0x7fff, 0x3fff]), self.next()),
            3 => (sign | (0x3ff0 + self.below(80) as u16), integer | self.below(64) << 57),
            4 => (sign | (0x3f00 + self.below(512) as u16), integer | self.next()),
            5 => (self.next() as u16, integer | self.next()),
            6 => (sign | self.pick(&[0, 1, 0x7ffe]), integer | self.next()),
            // The neighbourhood of the narrower formats' largest and smallest numbers.
            7 => (
                sign | self.pick(&[0x3f80, 0x3f81, 0x3f6a, 0x3c00, 0x3c01, 0x3bcd, 0x407e, 0x407f, 0x43fe, 0x43ff]),
                integer | self.pick(&[0, u64::MAX >> 1, u64::MAX << 11, u64::MAX << 40, 0x400, 0x80_0000_0000]),
            ),
            _ => (sign | (0x3ffc + self.below(8) as u16), integer | self.next()),
        };
        let mut bytes = [0; 10];
        bytes[..8].copy_from_slice(&low.to_le_bytes());
        bytes[8..].copy_from_slice(&high.to_le_bytes());
        bytes
    }
    /// Sixteen bytes of some format.
    pub fn vector(&mut self) -> [u8; 16] {
        let mut v = [0; 16];
        match self.below(6) {
            0 => v.copy_from_slice(&(u128::from(self.next()) << 64 | u128::from(self.next())).to_le_bytes()),
            1 => v.chunks_exact_mut(8).for_each(|c| c.copy_from_slice(&self.double().to_le_bytes())),
            2 => v.chunks_exact_mut(4).for_each(|c| c.copy_from_slice(&self.single().to_le_bytes())),
            3 => v.chunks_exact_mut(4).for_each(|c| c.copy_from_slice(&self.integer().to_le_bytes())),
            4 => v[..10].copy_from_slice(&self.extended()),
            // BCD.
            _ => v.iter_mut().for_each(|b| *b = (self.below(10) << 4 | self.below(10)) as u8),
        }
        v
    }
    fn image(&mut self) -> [u8; 512] {
        let mut image = [0; 512];
        let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
        let masks = if self.one_in(4) { self.next() as u16 & 0x3f } else { 0x3f };
        put(0, &(0x40 | masks | (self.next() as u16 & 0x1f00)).to_le_bytes());
        let sticky = if self.one_in(2) { self.next() as u16 & 0x3f } else { 0 };
        let mut sticky = if self.one_in(16) { sticky } else { sticky & masks };
        if sticky & !masks != 0 {
            sticky |= 0x8080;
        }
        let status = (self.next() as u16 & 0x7f40) | sticky;
        put(2, &status.to_le_bytes());
        let top = u32::from(status >> 11 & 7);
        let tags = match self.below(4) {
            0 => self.next() as u8,
            1 => 0x7f_u8.rotate_left(top),
            2 => 0xff,
            _ => 0x1f_u8.rotate_left(top),
        };
        put(4, &[tags]);
        for n in 0..8 {
            put(32 + 16 * n, &self.extended());
            put(160 + 16 * n, &self.vector());
        }
        let masks = if self.one_in(4) { self.next() as u32 & 0x1f80 } else { 0x1f80 };
        let sticky = self.next() as u32 & if self.one_in(2) { 0x3f } else { 0 };
        put(24, &(masks | sticky | self.next() as u32 & if self.one_in(2) { 0xe040 } else { 0 }).to_le_bytes());
        image
    }
    /// A state to start from.
    pub fn start(&mut self) -> Start {
        let mut gpr = [0; 8];
        for (n, r) in gpr.iter_mut().enumerate() {
            // Mostly: EBX, EBP, ESI and EDI are addresses, ECX a small count.
            *r = match (n, self.below(8)) {
                (3 | 5..=7, 0..=4) | (_, 7) => SCRATCH + self.window(),
                (1, 0..=4) => self.below(40) as u32,
                (4, 0..=6) => SCRATCH + 0x900 + 4 * self.below(32) as u32,
                (4, _) => SCRATCH + self.window(),
                _ => self.integer(),
            };
        }
        let mut flags = 0x202 | self.next() as u32 & 0x8d5;
        for (bit, n) in [(1 << 10, 4), (1 << 18, 40), (1 << 8, 60), (1 << 21, 8), (1 << 14, 50)] {
            if self.one_in(n) {
                flags |= bit;
            }
        }
        let mut patches = Vec::new();
        for _ in 0..8 {
            patches.push(((self.window() & !15) as usize % WRITABLE, self.vector()));
        }
        Start { gpr, flags, image: self.image(), patches }
    }
}
