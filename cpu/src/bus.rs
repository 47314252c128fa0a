//! What a processor asks of the board around it.

use crate::memory::GuestMemory;
use crate::state::Width;

/// The circumstances of one bus access.
pub struct Cycle<'a> {
    /// Guest memory, for device DMA and changes of the memory map.
    pub memory: &'a mut GuestMemory,
    /// Ticks (see [`crate::CpuState::ticks`]) at the start of the accessing instruction.
    pub ticks: u64,
}

/// The board as a processor sees it. An implementation never panics whatever the guest does. What it does not
/// implement is what a processor meets where nobody is home: loads give all ones, stores are lost, and nobody calls.
pub trait Bus {
    /// IN.
    fn port_read(&mut self, _: Cycle<'_>, _port: u16, width: Width) -> u32 {
        width.mask() as u32
    }
    /// OUT.
    fn port_write(&mut self, _: Cycle<'_>, _port: u16, _: Width, _value: u32) {}
    /// Repeated IN from one port into `buffer` (a whole number of `width` units): REP INS.
    /// Returns the number of units done, at least 1 unless `buffer` is empty. All of them are done
    /// at the time of `cycle`, so a board does only as many as can be told apart by nothing from
    /// units that come one a tick.
    fn port_read_block(&mut self, cycle: Cycle<'_>, port: u16, width: Width, buffer: &mut [u8]) -> usize {
        let Some(first) = buffer.get_mut(..width.bytes() as usize) else { return 0 };
        let value = self.port_read(cycle, port, width).to_le_bytes();
        for (to, from) in first.iter_mut().zip(value) {
            *to = from;
        }
        1
    }
    /// Repeated OUT of `bytes` (a whole number of `width` units) to one port: REP OUTS. Returns how
    /// many units were taken at once. That may be none, when the device must be told the time of
    /// each: then [`Bus::port_write`] takes the first.
    fn port_write_block(&mut self, _: Cycle<'_>, _port: u16, _: Width, _bytes: &[u8]) -> usize {
        0
    }
    /// Load from an address that is not memory.
    fn mmio_read(&mut self, _: Cycle<'_>, _address: u64, width: Width) -> u64 {
        width.mask()
    }
    /// Store to an address that is not memory.
    fn mmio_write(&mut self, _: Cycle<'_>, _address: u64, _: Width, _value: u64) {}
    /// The FERR# pin goes on: an unmasked x87 exception waits while CR0.NE is clear. On a PC this
    /// becomes IRQ 13. An engine asks for [`Bus::attention`] afterwards, before the instruction
    /// that has found the exception.
    fn numeric_error(&mut self, _: Cycle<'_>) {}
    /// The INTA cycle: the vector of the interrupt that is requested, or `None` when the request
    /// is gone.
    fn acknowledge_interrupt(&mut self, _: Cycle<'_>) -> Option<u8> {
        None
    }
    /// Whether the board wants the engine to return before the next instruction: a deadline
    /// moved nearer, an interrupt line, A20 or reset changed, a device asked to stop. Asked after
    /// every access; stays true until the board has been looked after.
    fn attention(&self) -> bool {
        false
    }
}
