//! Paging: linear to guest-physical addresses.

use crate::core::{Access, Core, Fault};
use crate::memory::{Backing, GuestMemory, PAGE};
use crate::state::{CpuState, Mode, Width, cr0, cr4, efer};

const P: u64 = 1 << 0;
const RW: u64 = 1 << 1;
const US: u64 = 1 << 2;
const A: u64 = 1 << 5;
const D: u64 = 1 << 6;
const PS: u64 = 1 << 7;
const G: u64 = 1 << 8;
const NX: u64 = 1 << 63;

/// Page-fault error code bits (SDM vol. 3, section 4.7).
const ERR_P: u32 = 1;
const ERR_W: u32 = 2;
const ERR_U: u32 = 4;
const ERR_RSVD: u32 = 8;
const ERR_ID: u32 = 16;

/// See [`Core::translate`].
pub(crate) fn translate(core: &mut Core<'_, '_>, linear: u64, access: Access, user: bool) -> Result<u64, Fault> {
    let (physical, global) = if core.cpu.paging() { walk(core, linear, access, user)? } else { (linear, false) };
    let global = global && core.cpu.cr4 & cr4::PGE != 0;
    let physical = if core.cpu.a20 { physical } else { physical & !(1 << 20) };
    let physical = physical & (u64::MAX >> (64 - core.cpu.model.physical_bits()));
    let checked = watched(core, linear) || (user && core.cpu.mode.has(Mode::ALIGN));
    if !checked {
        let tlb = &mut core.env.tlb;
        match (core.env.memory.backing(physical), access) {
            (Backing::Ram(page) | Backing::Rom(page), Access::Execute) => {
                tlb.fill_execute(linear, user, page, global);
            }
            (Backing::Ram(page), Access::Write) => {
                tlb.learn(linear, user, page, true, global);
                tlb.fill_read(linear, user, page);
                if core.env.memory.may_write_freely(page) {
                    tlb.fill_write(linear, user, page);
                }
            }
            (Backing::Ram(page), Access::Read) => {
                tlb.learn(linear, user, page, false, global);
                tlb.fill_read(linear, user, page);
            }
            (Backing::Rom(page), _) => tlb.fill_read(linear, user, page),
            (Backing::Mmio, _) => {}
        }
    }
    Ok(physical)
}

/// The guest-physical address behind `linear` by the page tables as they are, without a fault, an
/// accessed bit or a look at permissions. `None` when no page is present.
#[must_use]
pub fn look_up(cpu: &CpuState, memory: &GuestMemory, linear: u64) -> Option<u64> {
    let gate = |address: u64| {
        let address = if cpu.a20 { address } else { address & !(1 << 20) };
        address & (u64::MAX >> (64 - cpu.model.physical_bits()))
    };
    if !cpu.paging() {
        return Some(gate(linear));
    }
    let entry = |at: u64, width: Width| {
        let mut bytes = [0; 8];
        memory.read(gate(at), &mut bytes[..width.bytes() as usize]);
        Some(u64::from_le_bytes(bytes)).filter(|entry| entry & P != 0)
    };
    if cpu.cr4 & cr4::PAE == 0 {
        let pde = entry((cpu.cr3 & 0xffff_f000) | (linear >> 22 & 0x3ff) << 2, Width::Dword)?;
        if pde & PS != 0 && cpu.cr4 & cr4::PSE != 0 {
            let high = if cpu.model.physical_bits() > 32 { (pde >> 13 & 0xf) << 32 } else { 0 };
            return Some(gate(high | pde & 0xffc0_0000 | linear & 0x3f_ffff));
        }
        let pte = entry((pde & 0xffff_f000) | (linear >> 12 & 0x3ff) << 2, Width::Dword)?;
        return Some(gate(pte & 0xffff_f000 | linear & 0xfff));
    }
    let (mut table, levels) = if cpu.msr.efer & efer::LMA != 0 {
        (cpu.cr3 & 0x000f_ffff_ffff_f000, 4)
    } else {
        let pdpte = cpu.pdpte[(linear >> 30 & 3) as usize];
        if pdpte & P == 0 {
            return None;
        }
        (pdpte & 0x000f_ffff_ffff_f000, 2)
    };
    for level in (1..=levels).rev() {
        let shift = 12 + 9 * (level - 1);
        let entry = entry(table | (linear >> shift & 0x1ff) << 3, Width::Qword)?;
        let address = entry & 0x000f_ffff_ffff_f000;
        if level == 1 || level == 2 && entry & PS != 0 {
            let mask = (1u64 << shift) - 1;
            return Some(gate(address & !mask | linear & mask));
        }
        table = address;
    }
    None
}

/// Whether a data breakpoint or an embedder's watchpoint lies in the page of `linear`: such pages stay out of the TLB so that
/// every access to them is seen.
fn watched(core: &Core<'_, '_>, linear: u64) -> bool {
    if !core.env.tlb.watches.is_empty() && core.env.tlb.watches.in_page(linear) {
        return true;
    }
    let dr7 = core.cpu.dr[7];
    if dr7 & 0xff == 0 {
        return false;
    }
    (0..4).any(|n| {
        dr7 >> (2 * n) & 3 != 0 && dr7 >> (16 + 4 * n) & 3 != 0 && {
            let length = [1u64, 2, 8, 4][(dr7 >> (18 + 4 * n) & 3) as usize];
            let first = core.cpu.dr[n] & !(length - 1);
            first / PAGE == linear / PAGE || (first + length - 1) / PAGE == linear / PAGE
        }
    })
}

/// Collects data breakpoints that an access hits; the trap comes after the instruction.
pub(crate) fn note_data_access(core: &mut Core<'_, '_>, linear: u64, size: u64, access: Access) {
    let dr7 = core.cpu.dr[7];
    if dr7 & 0xff == 0 {
        return;
    }
    for n in 0..4 {
        let kind = dr7 >> (16 + 4 * n) & 3;
        let enabled = dr7 >> (2 * n) & 3 != 0;
        let matches = kind == 3 || kind == 1 && access == Access::Write;
        if matches {
            let length = [1u64, 2, 8, 4][(dr7 >> (18 + 4 * n) & 3) as usize];
            let first = core.cpu.dr[n] & !(length - 1);
            if linear < first + length && first < linear + size {
                core.cpu.pending_debug |= 1 << n;
                if enabled {
                    core.cpu.pending_debug |= crate::core::DEBUG_ENABLED;
                }
            }
        }
    }
}

fn read_entry(core: &mut Core<'_, '_>, at: u64, width: Width) -> u64 {
    let at = if core.cpu.a20 { at } else { at & !(1 << 20) };
    match core.env.memory.backing(at) {
        Backing::Ram(_) | Backing::Rom(_) => core.physical_read(at, width),
        // Tables are not kept in device registers; the bus would float.
        Backing::Mmio => width.mask(),
    }
}

/// Sets bits in a paging-structure entry.
fn set_bits(core: &mut Core<'_, '_>, at: u64, entry: u64, set: u64, width: Width) {
    if entry & set != set {
        let at = if core.cpu.a20 { at } else { at & !(1 << 20) };
        if let Backing::Ram(_) = core.env.memory.backing(at) {
            core.physical_write(at, width, entry | set);
        }
    }
}

/// Reads the four page-directory pointers of PAE paging from the table at `cr3`.
///
/// # Errors
/// #GP(0) when a present entry has reserved bits set (SDM vol. 3, section 4.4.1).
pub(crate) fn load_pdptes(core: &mut Core<'_, '_>, cr3: u64) -> Result<[u64; 4], Fault> {
    let table = cr3 & 0xffff_ffe0;
    let reserved = u64::MAX << core.cpu.model.physical_bits() | 0x1e6;
    let mut entries = [0; 4];
    for (n, entry) in (0u64..).zip(entries.iter_mut()) {
        *entry = read_entry(core, table + 8 * n, Width::Qword);
        if *entry & P != 0 && *entry & reserved != 0 {
            return Err(core.protection(0));
        }
    }
    Ok(entries)
}

/// The physical address, and whether the page is marked global.
fn walk(core: &mut Core<'_, '_>, linear: u64, access: Access, user: bool) -> Result<(u64, bool), Fault> {
    let write = access == Access::Write;
    let nxe = core.cpu.msr.efer & efer::NXE != 0;
    let pae = core.cpu.cr4 & cr4::PAE != 0;
    let mut error = u32::from(write) * ERR_W | u32::from(user) * ERR_U;
    if access == Access::Execute && nxe && pae {
        error |= ERR_ID;
    }
    let allowed = |rights: u64, wp: bool| -> bool {
        if user && rights & US == 0 {
            return false;
        }
        !write || rights & RW != 0 || (!user && !wp)
    };
    // Before the 486 the supervisor could write to any page.
    let wp = core.cpu.cr0 & cr0::WP != 0;

    if !pae {
        let pde_at = (core.cpu.cr3 & 0xffff_f000) | (linear >> 22 & 0x3ff) << 2;
        let pde = read_entry(core, pde_at, Width::Dword);
        if pde & P == 0 {
            return Err(core.page_fault(linear, error));
        }
        if pde & PS != 0 && core.cpu.cr4 & cr4::PSE != 0 {
            // PSE-36: bits 13–16 are physical address bits 32–35 on processors that have them;
            // bits 17–21 are reserved.
            let has_pse36 = core.cpu.model.physical_bits() > 32;
            let reserved = if has_pse36 { 0x003e_0000 } else { 0x003f_e000 };
            if pde & reserved != 0 {
                return Err(core.page_fault(linear, error | ERR_P | ERR_RSVD));
            }
            if !allowed(pde, wp) {
                return Err(core.page_fault(linear, error | ERR_P));
            }
            set_bits(core, pde_at, pde, if write { A | D } else { A }, Width::Dword);
            core.env.tlb.note_large(linear);
            let high = if has_pse36 { (pde >> 13 & 0xf) << 32 } else { 0 };
            return Ok((high | pde & 0xffc0_0000 | linear & 0x3f_ffff, pde & G != 0));
        }
        let pte_at = (pde & 0xffff_f000) | (linear >> 12 & 0x3ff) << 2;
        let pte = read_entry(core, pte_at, Width::Dword);
        if pte & P == 0 {
            return Err(core.page_fault(linear, error));
        }
        if !allowed(pde & pte, wp) {
            return Err(core.page_fault(linear, error | ERR_P));
        }
        set_bits(core, pde_at, pde, A, Width::Dword);
        // The accessed bit of the directory entry may have changed the table entry: they can be
        // the same dword in a self-mapped directory.
        let pte = read_entry(core, pte_at, Width::Dword);
        set_bits(core, pte_at, pte, if write { A | D } else { A }, Width::Dword);
        return Ok((pte & 0xffff_f000 | linear & 0xfff, pte & G != 0));
    }

    let reserved = (u64::MAX << core.cpu.model.physical_bits()) & !NX | if nxe { 0 } else { NX };
    let (mut table, mut rights, mut no_execute, levels);
    if core.cpu.msr.efer & efer::LMA != 0 {
        table = core.cpu.cr3 & 0x000f_ffff_ffff_f000;
        rights = RW | US;
        no_execute = false;
        levels = 4;
    } else {
        let pdpte = core.cpu.pdpte[(linear >> 30 & 3) as usize];
        if pdpte & P == 0 {
            return Err(core.page_fault(linear, error));
        }
        table = pdpte & 0x000f_ffff_ffff_f000;
        rights = RW | US;
        no_execute = false;
        levels = 2;
    }
    let mut path = [(0u64, 0u64); 4];
    for level in (1..=levels).rev() {
        let shift = 12 + 9 * (level - 1);
        let at = table | (linear >> shift & 0x1ff) << 3;
        let entry = read_entry(core, at, Width::Qword);
        if entry & P == 0 {
            return Err(core.page_fault(linear, error));
        }
        let large = level == 2 && entry & PS != 0;
        let extra = if large {
            0x1f_e000
        } else if level > 2 {
            PS
        } else {
            0
        };
        if entry & (reserved | extra) != 0 {
            return Err(core.page_fault(linear, error | ERR_P | ERR_RSVD));
        }
        rights &= entry;
        no_execute |= entry & NX != 0;
        path[level - 1] = (at, entry);
        if large || level == 1 {
            if !allowed(rights, wp) || access == Access::Execute && no_execute {
                return Err(core.page_fault(linear, error | ERR_P));
            }
            for &(upper_at, upper) in path[level..levels].iter() {
                set_bits(core, upper_at, upper, A, Width::Qword);
            }
            let entry = read_entry(core, at, Width::Qword);
            set_bits(core, at, entry, if write { A | D } else { A }, Width::Qword);
            if large {
                core.env.tlb.note_large(linear);
            }
            let mask = (1u64 << shift) - 1;
            return Ok((entry & 0x000f_ffff_ffff_f000 & !mask | linear & mask, entry & G != 0));
        }
        table = entry & 0x000f_ffff_ffff_f000;
    }
    unreachable!("the last level always returns")
}
