//! The registers that a debugger sees: their names and order, and the way to each.

use cpu::CpuState;
use cpu::helpers::coprocessor::summarize;
use cpu::helpers::x87::{load_status, load_tags, status_word, tag_word};
use cpu::softfloat::F80;
use cpu::state::{Seg, Segment, Width};
use std::fmt::Write as _;
use std::sync::LazyLock;

/// One register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Register {
    General(u8),
    /// Linear address of the next instruction: what memory commands and breakpoints take.
    LinearIp,
    Flags,
    Selector(Seg),
    St(u8),
    FpuControl,
    FpuStatus,
    FpuTags,
    FpuIpSelector,
    FpuIp,
    FpuDataSelector,
    FpuData,
    FpuOpcode,
    Xmm(usize),
    Mxcsr,
    Ip,
    Base(Seg),
    Limit(Seg),
    Ldtr,
    Tr,
    GdtBase,
    GdtLimit,
    IdtBase,
    IdtLimit,
    Cr0,
    Cr2,
    Cr3,
    Cr4,
    Debug(usize),
    Efer,
    Cpl,
}

struct Entry {
    name: &'static str,
    bits: u32,
    kind: &'static str,
    group: &'static str,
    register: Register,
}

const fn entry(name: &'static str, bits: u32, kind: &'static str, group: &'static str, register: Register) -> Entry {
    Entry { name, bits, kind, group, register }
}

/// GDB's own names and order for an i386 come first (features `core` and `sse`), then ours.
const CORE: usize = 32;
const SSE: usize = 9;
#[rustfmt::skip]
const TABLE: &[Entry] = &[
    entry("eax", 32, "int32", "general", Register::General(0)),
    entry("ecx", 32, "int32", "general", Register::General(1)),
    entry("edx", 32, "int32", "general", Register::General(2)),
    entry("ebx", 32, "int32", "general", Register::General(3)),
    entry("esp", 32, "data_ptr", "general", Register::General(4)),
    entry("ebp", 32, "data_ptr", "general", Register::General(5)),
    entry("esi", 32, "int32", "general", Register::General(6)),
    entry("edi", 32, "int32", "general", Register::General(7)),
    entry("eip", 32, "code_ptr", "general", Register::LinearIp),
    entry("eflags", 32, "i386_eflags", "general", Register::Flags),
    entry("cs", 32, "int32", "general", Register::Selector(Seg::Cs)),
    entry("ss", 32, "int32", "general", Register::Selector(Seg::Ss)),
    entry("ds", 32, "int32", "general", Register::Selector(Seg::Ds)),
    entry("es", 32, "int32", "general", Register::Selector(Seg::Es)),
    entry("fs", 32, "int32", "general", Register::Selector(Seg::Fs)),
    entry("gs", 32, "int32", "general", Register::Selector(Seg::Gs)),
    entry("st0", 80, "i387_ext", "float", Register::St(0)),
    entry("st1", 80, "i387_ext", "float", Register::St(1)),
    entry("st2", 80, "i387_ext", "float", Register::St(2)),
    entry("st3", 80, "i387_ext", "float", Register::St(3)),
    entry("st4", 80, "i387_ext", "float", Register::St(4)),
    entry("st5", 80, "i387_ext", "float", Register::St(5)),
    entry("st6", 80, "i387_ext", "float", Register::St(6)),
    entry("st7", 80, "i387_ext", "float", Register::St(7)),
    entry("fctrl", 32, "int", "float", Register::FpuControl),
    entry("fstat", 32, "int", "float", Register::FpuStatus),
    entry("ftag", 32, "int", "float", Register::FpuTags),
    entry("fiseg", 32, "int", "float", Register::FpuIpSelector),
    entry("fioff", 32, "int", "float", Register::FpuIp),
    entry("foseg", 32, "int", "float", Register::FpuDataSelector),
    entry("fooff", 32, "int", "float", Register::FpuData),
    entry("fop", 32, "int", "float", Register::FpuOpcode),
    entry("xmm0", 128, "vec128", "vector", Register::Xmm(0)),
    entry("xmm1", 128, "vec128", "vector", Register::Xmm(1)),
    entry("xmm2", 128, "vec128", "vector", Register::Xmm(2)),
    entry("xmm3", 128, "vec128", "vector", Register::Xmm(3)),
    entry("xmm4", 128, "vec128", "vector", Register::Xmm(4)),
    entry("xmm5", 128, "vec128", "vector", Register::Xmm(5)),
    entry("xmm6", 128, "vec128", "vector", Register::Xmm(6)),
    entry("xmm7", 128, "vec128", "vector", Register::Xmm(7)),
    entry("mxcsr", 32, "i386_mxcsr", "vector", Register::Mxcsr),
    entry("ip", 32, "int32", "system", Register::Ip),
    entry("cs_base", 32, "data_ptr", "system", Register::Base(Seg::Cs)),
    entry("ss_base", 32, "data_ptr", "system", Register::Base(Seg::Ss)),
    entry("ds_base", 32, "data_ptr", "system", Register::Base(Seg::Ds)),
    entry("es_base", 32, "data_ptr", "system", Register::Base(Seg::Es)),
    entry("fs_base", 32, "data_ptr", "system", Register::Base(Seg::Fs)),
    entry("gs_base", 32, "data_ptr", "system", Register::Base(Seg::Gs)),
    entry("cs_limit", 32, "int32", "system", Register::Limit(Seg::Cs)),
    entry("ss_limit", 32, "int32", "system", Register::Limit(Seg::Ss)),
    entry("ds_limit", 32, "int32", "system", Register::Limit(Seg::Ds)),
    entry("es_limit", 32, "int32", "system", Register::Limit(Seg::Es)),
    entry("fs_limit", 32, "int32", "system", Register::Limit(Seg::Fs)),
    entry("gs_limit", 32, "int32", "system", Register::Limit(Seg::Gs)),
    entry("ldtr", 32, "int32", "system", Register::Ldtr),
    entry("tr", 32, "int32", "system", Register::Tr),
    entry("gdt_base", 32, "data_ptr", "system", Register::GdtBase),
    entry("gdt_limit", 32, "int32", "system", Register::GdtLimit),
    entry("idt_base", 32, "data_ptr", "system", Register::IdtBase),
    entry("idt_limit", 32, "int32", "system", Register::IdtLimit),
    entry("cr0", 32, "cr0_flags", "system", Register::Cr0),
    entry("cr2", 32, "data_ptr", "system", Register::Cr2),
    entry("cr3", 32, "int32", "system", Register::Cr3),
    entry("cr4", 32, "cr4_flags", "system", Register::Cr4),
    entry("dr0", 32, "data_ptr", "system", Register::Debug(0)),
    entry("dr1", 32, "data_ptr", "system", Register::Debug(1)),
    entry("dr2", 32, "data_ptr", "system", Register::Debug(2)),
    entry("dr3", 32, "data_ptr", "system", Register::Debug(3)),
    entry("dr6", 32, "int32", "system", Register::Debug(6)),
    entry("dr7", 32, "int32", "system", Register::Debug(7)),
    entry("efer", 32, "int32", "system", Register::Efer),
    entry("cpl", 32, "int32", "system", Register::Cpl),
];

/// Name of a register of flags, and of its bits.
type Flags = (&'static str, &'static [(&'static str, u32)]);

const EFLAGS: Flags = (
    "i386_eflags",
    &[
        ("CF", 0),
        ("", 1),
        ("PF", 2),
        ("AF", 4),
        ("ZF", 6),
        ("SF", 7),
        ("TF", 8),
        ("IF", 9),
        ("DF", 10),
        ("OF", 11),
        ("NT", 14),
        ("RF", 16),
        ("VM", 17),
        ("AC", 18),
        ("VIF", 19),
        ("VIP", 20),
        ("ID", 21),
    ],
);
const MXCSR: Flags = (
    "i386_mxcsr",
    &[
        ("IE", 0),
        ("DE", 1),
        ("ZE", 2),
        ("OE", 3),
        ("UE", 4),
        ("PE", 5),
        ("DAZ", 6),
        ("IM", 7),
        ("DM", 8),
        ("ZM", 9),
        ("OM", 10),
        ("UM", 11),
        ("PM", 12),
        ("FZ", 15),
    ],
);
const CR0: Flags = (
    "cr0_flags",
    &[
        ("PE", 0),
        ("MP", 1),
        ("EM", 2),
        ("TS", 3),
        ("ET", 4),
        ("NE", 5),
        ("WP", 16),
        ("AM", 18),
        ("NW", 29),
        ("CD", 30),
        ("PG", 31),
    ],
);
const CR4: Flags = (
    "cr4_flags",
    &[
        ("VME", 0),
        ("PVI", 1),
        ("TSD", 2),
        ("DE", 3),
        ("PSE", 4),
        ("PAE", 5),
        ("MCE", 6),
        ("PGE", 7),
        ("PCE", 8),
        ("OSFXSR", 9),
        ("OSXMMEXCPT", 10),
    ],
);

fn write_flags(xml: &mut String, (name, fields): Flags) {
    // Writing to a string cannot fail.
    let _ = write!(xml, "<flags id=\"{name}\" size=\"4\">");
    for (field, bit) in fields {
        let _ = write!(xml, "<field name=\"{field}\" start=\"{bit}\" end=\"{bit}\"/>");
    }
    xml.push_str("</flags>");
}

/// The target description for 16-bit code, and for other code.
///
/// GDB takes the architecture for what it shows of code. It lets a person replace `i8086` by `i386`, but not the other way round.
pub(crate) static XML: LazyLock<[String; 2]> = LazyLock::new(|| [describe("i8086"), describe("i386")]);

fn describe(architecture: &str) -> String {
    let mut xml = format!(
        "<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\">\
         <target><architecture>{architecture}</architecture><feature name=\"org.gnu.gdb.i386.core\">"
    );
    write_flags(&mut xml, EFLAGS);
    for (number, entry) in TABLE.iter().enumerate() {
        if number == CORE {
            xml.push_str(
                "</feature><feature name=\"org.gnu.gdb.i386.sse\">\
                 <vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/><vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>\
                 <vector id=\"v16i8\" type=\"int8\" count=\"16\"/><vector id=\"v8i16\" type=\"int16\" count=\"8\"/>\
                 <vector id=\"v4i32\" type=\"int32\" count=\"4\"/><vector id=\"v2i64\" type=\"int64\" count=\"2\"/>\
                 <union id=\"vec128\"><field name=\"v4_float\" type=\"v4f\"/><field name=\"v2_double\" type=\"v2d\"/>\
                 <field name=\"v16_int8\" type=\"v16i8\"/><field name=\"v8_int16\" type=\"v8i16\"/>\
                 <field name=\"v4_int32\" type=\"v4i32\"/><field name=\"v2_int64\" type=\"v2i64\"/>\
                 <field name=\"uint128\" type=\"uint128\"/></union>",
            );
            write_flags(&mut xml, MXCSR);
        }
        if number == CORE + SSE {
            xml.push_str("</feature><feature name=\"org.beigebox.system\">");
            write_flags(&mut xml, CR0);
            write_flags(&mut xml, CR4);
        }
        let Entry { name, bits, kind, group, .. } = entry;
        let _ = write!(
            xml,
            "<reg name=\"{name}\" bitsize=\"{bits}\" type=\"{kind}\" group=\"{group}\" regnum=\"{number}\"/>"
        );
    }
    xml.push_str("</feature></target>");
    xml
}

/// How many registers there are.
pub(crate) const COUNT: usize = TABLE.len();

/// Bytes of register `number`; `None` when there is none.
pub(crate) fn size(number: usize) -> Option<usize> {
    TABLE.get(number).map(|entry| entry.bits as usize / 8)
}

/// Number of EIP.
pub(crate) const IP: usize = 8;

/// Bits of EFLAGS that a debugger can change: those that say nothing about the mode.
const CHANGEABLE: u64 = 0xfd5;

/// The value of register `number`, little-endian, as many bytes as [`size`] says.
pub(crate) fn read(cpu: &CpuState, number: usize) -> Vec<u8> {
    let Some(entry) = TABLE.get(number) else { return Vec::new() };
    let value: u128 = match entry.register {
        Register::General(index) => cpu.gpr.get(index).into(),
        Register::LinearIp => crate::probe::linear_ip(cpu).into(),
        Register::Flags => cpu.eflags().into(),
        Register::Selector(seg) => cpu.segment(seg).selector.into(),
        Register::St(index) => {
            let register = cpu.fpu.regs[usize::from((cpu.fpu.top + index) & 7)];
            return register.to_bytes().to_vec();
        }
        Register::FpuControl => cpu.fpu.control.into(),
        Register::FpuStatus => status_word(&cpu.fpu).into(),
        Register::FpuTags => tag_word(&cpu.fpu).into(),
        Register::FpuIpSelector => cpu.fpu.cs.into(),
        Register::FpuIp => cpu.fpu.ip.into(),
        Register::FpuDataSelector => cpu.fpu.ds.into(),
        Register::FpuData => cpu.fpu.dp.into(),
        Register::FpuOpcode => cpu.fpu.opcode.into(),
        Register::Xmm(index) => cpu.xmm[index],
        Register::Mxcsr => cpu.mxcsr.into(),
        Register::Ip => cpu.rip.into(),
        Register::Base(seg) => cpu.segment(seg).base.into(),
        Register::Limit(seg) => cpu.segment(seg).limit.into(),
        Register::Ldtr => cpu.ldtr.selector.into(),
        Register::Tr => cpu.tr.selector.into(),
        Register::GdtBase => cpu.gdtr.base.into(),
        Register::GdtLimit => cpu.gdtr.limit.into(),
        Register::IdtBase => cpu.idtr.base.into(),
        Register::IdtLimit => cpu.idtr.limit.into(),
        Register::Cr0 => cpu.cr0.into(),
        Register::Cr2 => cpu.cr2.into(),
        Register::Cr3 => cpu.cr3.into(),
        Register::Cr4 => cpu.cr4.into(),
        Register::Debug(index) => cpu.dr[index].into(),
        Register::Efer => cpu.msr.efer.into(),
        Register::Cpl => cpu.cpl.into(),
    };
    value.to_le_bytes()[..entry.bits as usize / 8].to_vec()
}

/// Changes register `number`; returns whether that can be done. What the mode rests on (control
/// registers, selectors in protected mode) can only be looked at.
pub(crate) fn write(cpu: &mut CpuState, number: usize, bytes: &[u8]) -> bool {
    let Some(entry) = TABLE.get(number) else { return false };
    if bytes.len() != entry.bits as usize / 8 {
        return false;
    }
    if read(cpu, number) == bytes {
        return true;
    }
    let mut wide = [0; 16];
    wide[..bytes.len()].copy_from_slice(bytes);
    let value = u128::from_le_bytes(wide);
    let (low, word) = (value as u64, value as u16);
    let real = !cpu.protected() || cpu.v86();
    match entry.register {
        Register::General(index) => cpu.gpr.write(index, Width::Dword, low),
        Register::LinearIp => cpu.rip = low.wrapping_sub(cpu.segment(Seg::Cs).base) & 0xffff_ffff,
        Register::Ip => cpu.rip = low & 0xffff_ffff,
        Register::Flags => {
            let flags = cpu.eflags();
            cpu.set_eflags(flags & !CHANGEABLE | low & CHANGEABLE);
        }
        Register::Selector(seg) if real => {
            let old = *cpu.segment(seg);
            let base = u64::from(word) << 4;
            cpu.seg[seg as usize] = Segment::new(word, base, old.limit, old.attributes, true);
        }
        Register::St(index) => {
            let mut value = [0; 10];
            value.copy_from_slice(&wide[..10]);
            let slot = usize::from((cpu.fpu.top + index) & 7);
            cpu.fpu.regs[slot] = F80::from_bytes(value);
        }
        Register::FpuControl => cpu.fpu.control = word & 0x1f3f | 0x40,
        Register::FpuStatus => load_status(&mut cpu.fpu, word),
        Register::FpuTags => load_tags(&mut cpu.fpu, word),
        Register::Xmm(index) => cpu.xmm[index] = value,
        Register::Mxcsr => cpu.mxcsr = low as u32 & 0xffbf,
        Register::Cr2 => cpu.cr2 = low,
        _ => return false,
    }
    summarize(cpu);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_gdb_s_come_first() {
        let names: std::collections::BTreeSet<_> = TABLE.iter().map(|entry| entry.name).collect();
        assert_eq!(names.len(), COUNT);
        assert_eq!((TABLE[IP].name, TABLE[CORE].name, TABLE[CORE + SSE].name), ("eip", "xmm0", "ip"));
        assert_eq!(XML[0].matches("<reg ").count(), COUNT);
    }

    #[test]
    fn what_is_written_is_read() {
        let mut cpu = CpuState::new(cpu::Model::default());
        let mut changed = Vec::new();
        for (number, entry) in TABLE.iter().enumerate() {
            let old = read(&cpu, number);
            assert_eq!(Some(old.len()), size(number));
            let new: Vec<u8> = old.iter().map(|byte| byte ^ 0x11).collect();
            if write(&mut cpu, number, &new) && read(&cpu, number) == new {
                changed.push(entry.name);
            }
            let now = read(&cpu, number);
            assert!(write(&mut cpu, number, &now));
        }
        // The others have bits that cannot be set, or follow from something else.
        for name in ["eax", "edi", "st0", "st7", "xmm0", "xmm7", "cr2"] {
            assert!(changed.contains(&name), "{name} is not among {changed:?}");
        }
        assert!(!write(&mut cpu, 0, &[1]) && !write(&mut cpu, COUNT, &[]) && read(&cpu, COUNT).is_empty());
    }
}
