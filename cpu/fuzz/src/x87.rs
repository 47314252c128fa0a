//! The software floating point against the host's x87: values, status flags and condition bits of every operation that
//! is exact. On hosts without an x87 there is nothing to compare with.

#[cfg(not(target_arch = "x86_64"))]
pub fn agree(_: &[u8]) {}

#[cfg(target_arch = "x86_64")]
pub use host::agree;

#[cfg(target_arch = "x86_64")]
mod host {
    use crate::driver::Source;
    use core::arch::asm;
    use cpu::softfloat::*;

    const EXCEPTIONS: u16 = 0x3f;
    const CONDITIONS: u16 = 0x4700;
    /// What an operand in memory holds where nothing is stored.
    const UNTOUCHED: u8 = 0x55;

    /// Operands and results of one experiment.
    #[repr(C, align(16))]
    struct Area {
        a: [u8; 16],
        b: [u8; 16],
        top: [u8; 16],
        next: [u8; 16],
        memory: [u8; 16],
        control: u16,
        status: u16,
    }

    impl Area {
        fn new(a: F80, b: F80, control: u16, memory: [u8; 16]) -> Area {
            let pad = |value: F80| {
                let mut bytes = [0; 16];
                bytes[..10].copy_from_slice(&value.to_bytes());
                bytes
            };
            Area { a: pad(a), b: pad(b), top: [0; 16], next: [0; 16], memory, control, status: 0 }
        }
        fn value(bytes: &[u8; 16]) -> F80 {
            F80::from_bytes(bytes[..10].try_into().expect("ten bytes"))
        }
    }

    /// Functions that run one instruction with ST(0) = `a` and ST(1) = `b` under `control`. FNSTSW and FNCLEX do not
    /// wait, so that an unmasked exception is read and cleared before it could be delivered.
    macro_rules! native {
        ($($name:ident: $instruction:literal;)*) => {
            $(fn $name(area: &mut Area) {
                // SAFETY: the assembly reads and writes only `area`, whose fields it addresses at their `repr(C)`
                // offsets; the x87 stack is empty on entry and FNINIT leaves it empty with the default control word.
                unsafe {
                    asm!(
                        "fninit",
                        "fld tbyte ptr [{p} + 16]",
                        "fld tbyte ptr [{p}]",
                        "fldcw word ptr [{p} + 80]",
                        $instruction,
                        "fnstsw word ptr [{p} + 82]",
                        "fnclex",
                        "fstp tbyte ptr [{p} + 32]",
                        "fnclex",
                        "fstp tbyte ptr [{p} + 48]",
                        "fninit",
                        p = in(reg) area,
                        out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
                        out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
                    );
                }
            })*
        };
    }

    native! {
        fadd: "fadd st, st(1)";
        fsub: "fsub st, st(1)";
        fsubr: "fsubr st, st(1)";
        fmul: "fmul st, st(1)";
        fdiv: "fdiv st, st(1)";
        fdivr: "fdivr st, st(1)";
        fscale: "fscale";
        fsqrt: "fsqrt";
        frndint: "frndint";
        fprem: "fprem";
        fprem1: "fprem1";
        fcom: "fcom st(1)";
        fucom: "fucom st(1)";
        fxam: "fxam";
        fxtract: "fxtract";
        fst32: "fst dword ptr [{p} + 64]";
        fst64: "fst qword ptr [{p} + 64]";
        fist16: "fist word ptr [{p} + 64]";
        fist32: "fist dword ptr [{p} + 64]";
        fist64: "fld st\n fistp qword ptr [{p} + 64]";
        fbstp: "fld st\n fbstp tbyte ptr [{p} + 64]";
        fld32: "fld dword ptr [{p} + 64]";
        fld64: "fld qword ptr [{p} + 64]";
        fild16: "fild word ptr [{p} + 64]";
        fild32: "fild dword ptr [{p} + 64]";
        fild64: "fild qword ptr [{p} + 64]";
        fbld: "fbld tbyte ptr [{p} + 64]";
    }

    type Binary = fn(F80, F80, Env, &mut Flags) -> F80;

    /// Runs one instruction on the host.
    type Native = fn(&mut Area);

    const BINARY: [(&str, Binary, Native); 9] = [
        ("fadd", add, fadd),
        ("fsub", sub, fsub),
        ("fsubr", sub_reversed, fsubr),
        ("fmul", mul, fmul),
        ("fdiv", div, fdiv),
        ("fdivr", div_reversed, fdivr),
        ("fscale", scale, fscale),
        ("fsqrt", |a, _, env, flags| sqrt(a, env, flags), fsqrt),
        ("frndint", |a, _, env, flags| round_to_integer(a, env, flags), frndint),
    ];

    /// A significand whose integer bit is set: dense, sparse, or near a place where precisions round.
    fn significand(source: &mut Source<'_>) -> u64 {
        let noise = source.bits();
        let value = match source.below(8) {
            0 => 0,
            1 => u64::MAX << (noise & 63),
            2 => u64::MAX >> (noise & 63),
            3 => noise & !0x7ff | source.pick(&[0, 1, 0x3ff, 0x400, 0x401, 0x7ff]),
            4 => noise & !0xff_ffff_ffff | source.pick(&[0, 1, 0x7f_ffff_ffff, 0x80_0000_0000, 0x80_0000_0001]),
            5 => 1 << (noise & 63),
            _ => noise,
        };
        value | 1 << 63
    }

    /// Any encoding, the unsupported ones too.
    fn operand(source: &mut Source<'_>) -> F80 {
        let noise = source.bits();
        let (sign, near) = (noise as u16 & 0x8000, (noise >> 16) % 140);
        let value = significand(source);
        let around = |middle: u64| (middle + near).saturating_sub(70).min(0x7fff) as u16;
        let exponent = match noise >> 32 & 7 {
            0 => (noise >> 40) as u16 & 0x7fff,
            1 => around(70),
            2 => around(0x7fb9),
            3 => around(0x3fff - 1022),
            4 => around(0x3fff + 1023),
            5 => around(0x3fff + 63),
            _ => around(0x3fff),
        };
        match source.below(24) {
            0 => F80::new(sign, 0),
            1 => F80::new(sign | 0x7fff, 1 << 63),
            2 => F80::new(sign | 0x7fff, value | 3 << 62),
            3 => F80::new(sign | 0x7fff, value & !(1 << 62) | 1),
            4 => F80::new(sign, value & !(1 << 63)),
            5 => F80::new(sign, value),
            6 => F80::new(sign | exponent, value & !(1 << 63)),
            7 => F80::new(noise as u16, source.bits()),
            8 => from_i64(source.bits() as i64 >> (noise & 63)),
            _ => F80::new(sign | exponent, value),
        }
    }

    struct Experiment {
        a: F80,
        b: F80,
        control: u16,
        memory: [u8; 16],
    }

    impl Experiment {
        fn new(source: &mut Source<'_>) -> Experiment {
            let (a, mut b) = (operand(source), operand(source));
            match source.below(8) {
                0 => b = F80::new(b.sign() | a.exponent(), b.mantissa),
                1 => b = F80::new(b.sign() | a.exponent(), a.mantissa ^ source.below(3)),
                _ => {}
            }
            let noise = source.bits();
            let masks = if noise & 1 == 0 { 0x3f } else { (noise >> 1) as u16 & 0x3f };
            let precision = source.pick(&[0, 0x200, 0x300, 0x300]);
            let control = (noise >> 16) as u16 & 0xc00 | precision | masks | 0x40;
            Experiment { a, b, control, memory: [UNTOUCHED; 16] }
        }
        fn env(&self) -> Env {
            Env::from_control_word(self.control)
        }
        fn native(&self, run: Native) -> Area {
            let mut area = Area::new(self.a, self.b, self.control, self.memory);
            run(&mut area);
            area
        }
        fn same<T: PartialEq + core::fmt::Debug>(&self, name: &str, ours: T, host: T) {
            let Experiment { a, b, control, memory } = self;
            assert!(
                ours == host,
                "{name} of {a:x?}, {b:x?}, memory {memory:02x?}, control {control:04x}\nours {ours:x?}\nhost {host:x?}"
            );
        }

        fn binary(&self, (name, ours, run): (&str, Binary, Native)) {
            let mut flags = Flags::new();
            let value = ours(self.a, self.b, self.env(), &mut flags);
            let value = if flags.suppresses(self.env()) { self.a } else { value };
            let host = self.native(run);
            let status = host.status & (EXCEPTIONS | Flags::C1);
            self.same(name, (value, flags.bits()), (Area::value(&host.top), status));
        }
        fn remainder(&self, name: &str, ours: fn(F80, F80, Env, &mut Flags) -> Remainder, run: Native) {
            let mut flags = Flags::new();
            let mut step = ours(self.a, self.b, self.env(), &mut flags);
            if flags.suppresses(self.env()) {
                step.value = self.a;
            }
            let host = self.native(run);
            let status = host.status & (EXCEPTIONS | CONDITIONS);
            self.same(name, (step.value, flags.bits() | step.conditions), (Area::value(&host.top), status));
        }
        fn comparisons(&self) {
            let mut flags = Flags::new();
            let ours = compare(self.a, self.b, self.env(), &mut flags).condition_bits() | flags.bits();
            self.same("fcom", ours, self.native(fcom).status & (EXCEPTIONS | CONDITIONS));
            let mut flags = Flags::new();
            let ours = compare_unordered(self.a, self.b, self.env(), &mut flags).condition_bits() | flags.bits();
            self.same("fucom", ours, self.native(fucom).status & (EXCEPTIONS | CONDITIONS));
            self.same("fxam", self.a.examine(), self.native(fxam).status & (EXCEPTIONS | CONDITIONS));
        }
        fn extraction(&self) {
            let mut flags = Flags::new();
            let (exponent, significand) = extract(self.a, self.env(), &mut flags);
            let ours = if flags.suppresses(self.env()) { (self.a, self.b) } else { (significand, exponent) };
            let host = self.native(fxtract);
            let results = (Area::value(&host.top), Area::value(&host.next));
            self.same("fxtract", (ours, flags.bits()), (results, host.status & (EXCEPTIONS | Flags::C1)));
        }
        fn store<const N: usize>(&self, name: &str, ours: fn(F80, Env, &mut Flags) -> [u8; N], run: Native) {
            let mut flags = Flags::new();
            let value = ours(self.a, self.env(), &mut flags);
            let value = if flags.suppresses_store(self.env()) { [UNTOUCHED; N] } else { value };
            let host = self.native(run);
            let status = host.status & (EXCEPTIONS | Flags::C1);
            self.same(name, (&value[..], flags.bits()), (&host.memory[..N], status));
        }
        fn load(&self, name: &str, ours: fn(&[u8; 16], &mut Flags) -> F80, run: Native) {
            let mut flags = Flags::new();
            let value = ours(&self.memory, &mut flags);
            let host = self.native(run);
            // A load that an unmasked exception suppresses leaves what was on top.
            let value = if flags.suppresses_load(self.env()) { self.a } else { value };
            let status = host.status & (EXCEPTIONS | Flags::C1);
            self.same(name, (value, flags.bits()), (Area::value(&host.top), status));
        }
        fn stores(&self) {
            self.store("fst32", |a, env, flags| to_f32(a, env, flags).to_le_bytes(), fst32);
            self.store("fst64", |a, env, flags| to_f64(a, env, flags).to_le_bytes(), fst64);
            self.store("fist16", |a, env, flags| to_i16(a, env, flags).to_le_bytes(), fist16);
            self.store("fist32", |a, env, flags| to_i32(a, env, flags).to_le_bytes(), fist32);
            self.store("fist64", |a, env, flags| to_i64(a, env, flags).to_le_bytes(), fist64);
            self.store("fbstp", to_bcd, fbstp);
        }
        fn loads(&mut self, source: &mut Source<'_>) {
            let noise = source.bits();
            let double = match noise & 3 {
                0 => source.bits() & 0x800f_ffff_ffff_ffff | 0x7ff0_0000_0000_0000,
                1 => source.bits() & 0x800f_ffff_ffff_ffff,
                2 => {
                    source.pick(&[0, 1, 0x7f80_0000, 0x7f80_0001, 0x7fc0_0000, 0x7f_ffff, 0x80_0000]) | noise & 1 << 31
                }
                _ => source.bits(),
            };
            self.memory[..8].copy_from_slice(&double.to_le_bytes());
            self.load("fld32", |m, flags| from_f32(u32::from_le_bytes(first(m)), flags), fld32);
            self.load("fld64", |m, flags| from_f64(u64::from_le_bytes(first(m)), flags), fld64);
            self.load("fild16", |m, _| from_i16(i16::from_le_bytes(first(m))), fild16);
            self.load("fild32", |m, _| from_i32(i32::from_le_bytes(first(m))), fild32);
            self.load("fild64", |m, _| from_i64(i64::from_le_bytes(first(m))), fild64);
            // Digits above nine are undefined.
            for byte in &mut self.memory[..9] {
                *byte = (source.below(10) << 4 | source.below(10)) as u8;
            }
            self.memory[9] = noise as u8 & 0x80;
            self.load("fbld", |m, _| from_bcd(first(m)), fbld);
        }
    }

    fn first<const N: usize>(bytes: &[u8; 16]) -> [u8; N] {
        *bytes.first_chunk().expect("at most sixteen bytes")
    }

    /// Any operands under any control word give what the host gives.
    pub fn agree(data: &[u8]) {
        let mut source = Source::new(data);
        for _ in 0..64 {
            let mut experiment = Experiment::new(&mut source);
            for operation in BINARY {
                experiment.binary(operation);
            }
            experiment.remainder("fprem", remainder, fprem);
            experiment.remainder("fprem1", remainder_nearest, fprem1);
            experiment.comparisons();
            experiment.extraction();
            experiment.stores();
            experiment.loads(&mut source);
        }
    }
}
