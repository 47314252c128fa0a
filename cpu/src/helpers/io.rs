//! IN and OUT, and the permission to do port I/O.

use crate::core::{Core, Fault};
use crate::insn::{Code, Insn, Mnemonic};
use crate::state::{Width, gpr};

use super::{debug, tasks};
use crate::insn::Helper;

/// Checks that the program may access `width` at `port`: IOPL, or the I/O permission bitmap of
/// the TSS (Intel SDM vol. 1, section 19.5). Collects I/O breakpoints too. To be called once for
/// each access, before it is made.
///
/// # Errors
/// #GP(0); page faults on the TSS.
#[inline]
pub fn check_permission(core: &mut Core<'_, '_>, port: u16, width: Width) -> Result<(), Fault> {
    if core.cpu.v86() || core.cpu.protected() && core.cpu.cpl > core.cpu.iopl() {
        check_bitmap(core, port, width)?;
    }
    debug::note_io(core, port, width);
    Ok(())
}

fn check_bitmap(core: &mut Core<'_, '_>, port: u16, width: Width) -> Result<(), Fault> {
    let bits = (1u64 << width.bytes()) - 1;
    match tasks::io_bitmap(core, port)? {
        Some(map) if map >> (port & 7) & bits == 0 => Ok(()),
        _ => Err(core.protection(0)),
    }
}

fn port_of(core: &Core<'_, '_>, i: &Insn) -> u16 {
    match i.code {
        Code::In_AL_DX | Code::In_AX_DX | Code::In_EAX_DX | Code::Out_DX_AL | Code::Out_DX_AX | Code::Out_DX_EAX => {
            core.cpu.gpr.get(gpr::DX) as u16
        }
        _ => (i.imm & 0xff) as u16,
    }
}

fn width_of(code: Code) -> Width {
    match code {
        Code::In_AL_DX | Code::In_AL_imm8 | Code::Out_DX_AL | Code::Out_imm8_AL => Width::Byte,
        Code::In_AX_DX | Code::In_AX_imm8 | Code::Out_DX_AX | Code::Out_imm8_AX => Width::Word,
        _ => Width::Dword,
    }
}

fn input(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let (port, width) = (port_of(core, i), width_of(i.code));
    check_permission(core, port, width)?;
    let (bus, cycle) = core.cycle();
    let value = u64::from(bus.port_read(cycle, port, width)) & width.mask();
    core.cpu.gpr.write(gpr::AX, width, value);
    Ok(())
}

fn output(core: &mut Core<'_, '_>, i: &Insn) -> Result<(), Fault> {
    let (port, width) = (port_of(core, i), width_of(i.code));
    check_permission(core, port, width)?;
    let value = core.cpu.gpr.read(gpr::AX, width) as u32;
    let (bus, cycle) = core.cycle();
    bus.port_write(cycle, port, width, value);
    Ok(())
}

pub(super) fn lookup(mnemonic: Mnemonic, _: Code) -> Option<Helper> {
    Some(match mnemonic {
        Mnemonic::In => input,
        Mnemonic::Out => output,
        _ => return None,
    })
}
