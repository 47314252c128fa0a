//! The south bridge: PIIX3's PCI-to-ISA bridge with interrupt routing and reset control (Intel
//! data sheet 290550), and PIIX4's power management function with its SMBus host controller
//! (290562). The pairing is that of common virtual PCs.
//!
//! [`IsaBridge`]: register 0 is the reset control (port CF9h); function 0 of the device.
//!
//! [`PowerManagement`]: registers 000h–03Fh the power management block, 100h–10Fh the SMBus host
//! controller, 200h and 201h the APM control and status (ports B2h, B3h), 300h–303h the general
//! purpose event registers once more (ports AFE0h–AFE3h, where the ACPI tables of virtual PCs look
//! for them); function 3. Where the first two lie is answered by [`PciFunction::bar`] with the indices 0 and 1, though they are
//! not at the places of base address registers.
//!
//! Not emulated: system management mode (the block reports that it is already set up, and the
//! two APM commands that turn ACPI mode on and off work by themselves), sleep states other than
//! off, device monitors and traps, throttling, devices on the SMBus, the positive decode and
//! timing settings of the ISA bridge (they read back).

use serde::{Deserialize, Serialize};

use crate::device::{Access, Bar, Device, PciFunction, PortIo, RestoreError, Saved, Time, Width};
use crate::line::{Attention, Line};
use crate::pci::{COMMAND, ConfigSpace, ConfigState};

/// Which of the four PIRQ wires (0–3) the interrupt pin `pin` (1 for INTA) of PCI slot `slot` is
/// wired to.
#[must_use]
pub const fn pirq_of(slot: u8, pin: u8) -> u8 {
    (slot.wrapping_add(pin).wrapping_add(2)) & 3
}

/// Offset of the first PIRQ route control register.
const PIRQ_ROUTE: u8 = 0x60;
const ROUTE_DISABLED: u8 = 0x80;
/// Interrupts a PIRQ can be routed to: 3–7, 9–12, 14, 15.
const ROUTABLE: u16 = 0xdef8;

const RESET_CPU: u8 = 0x04;
const RESET_WRITABLE: u8 = 0x06;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct IsaState {
    config: ConfigState,
    reset_control: u8,
}

/// The PIIX3's ISA bridge.
///
/// The board advances it whenever a PIRQ wire changed, before it advances the interrupt
/// controllers.
#[derive(Debug)]
pub struct IsaBridge {
    pirqs: [Line; 4],
    interrupts: Vec<Line>,
    reset: Line,
    config: ConfigSpace,
    reset_control: u8,
}

impl IsaBridge {
    /// A bridge that routes to `interrupts` (IRQ 0–15 in order; those it may not use stay low)
    /// and pulses `reset` of the whole machine. Its PIRQ wires raise `attention`.
    #[must_use]
    pub fn new(interrupts: [Line; 16], reset: Line, attention: &Attention) -> IsaBridge {
        let config = ConfigSpace::new(0x8086, 0x7000, 0x06_01_00, 0)
            .with_multifunction()
            .with_subsystem(0x1af4, 0x1100)
            .with_bytes(COMMAND, &[0x07, 0x00, 0x00, 0x02])
            .with_writable(COMMAND, &[0x08, 0x01])
            .with_bytes(0x4c, &[0x4d, 0x00, 0x03, 0x00])
            .with_writable(0x4c, &[0xff; 4])
            .with_bytes(PIRQ_ROUTE, &[ROUTE_DISABLED; 4])
            .with_writable(PIRQ_ROUTE, &[0x8f; 4])
            .with_bytes(0x69, &[0x02])
            .with_writable(0x69, &[0xfe, 0xff, 0xff])
            .with_bytes(0x70, &[0x80])
            .with_writable(0x70, &[0xff])
            .with_bytes(0x76, &[0x0c, 0x0c])
            .with_writable(0x76, &[0xff; 4])
            .with_writable(0x80, &[0x7f])
            .with_writable(0x82, &[0xff])
            .with_bytes(0xa0, &[0x08])
            .with_writable(0xa0, &[0xff; 16]);
        IsaBridge {
            pirqs: std::array::from_fn(|_| Line::on(attention)),
            interrupts: interrupts.into(),
            reset,
            config,
            reset_control: 0,
        }
    }
    /// Another end of PIRQ wire `number` (0–3 for A–D) for a PCI device's interrupt pin; see
    /// [`pirq_of`].
    #[must_use]
    pub fn pirq(&self, number: u8) -> Line {
        let [first, ..] = &self.pirqs;
        self.pirqs.get(usize::from(number)).unwrap_or(first).share()
    }
    /// The interrupt that PIRQ `number` (0–3) is routed to.
    #[must_use]
    pub fn route(&self, number: u8) -> Option<u8> {
        let route = self.config.byte(PIRQ_ROUTE + (number & 3));
        let irq = route & 0x0f;
        (route & ROUTE_DISABLED == 0 && ROUTABLE >> irq & 1 != 0).then_some(irq)
    }
    /// The interrupts that are high through routing, one bit each.
    fn levels(&self) -> u16 {
        let high = (0..4u8).zip(&self.pirqs).filter(|(_, line)| line.is_high());
        high.filter_map(|(number, _)| self.route(number)).fold(0, |levels, irq| levels | 1 << irq)
    }
    fn drive(&self) {
        let levels = self.levels();
        for (number, line) in self.interrupts.iter().enumerate() {
            line.set(levels >> number & 1 != 0);
        }
    }
}

impl PciFunction for IsaBridge {
    fn config_read(&mut self, offset: u8) -> u32 {
        self.config.read(offset)
    }
    fn config_write(&mut self, offset: u8, value: u32, mask: u32) {
        self.config.write(offset, value, mask);
        self.drive();
    }
}

impl PortIo for IsaBridge {
    fn read(&mut self, _cx: &mut Access<'_>, register: u16, width: Width) -> Option<u32> {
        (register == 0 && width == Width::Byte).then_some(u32::from(self.reset_control))
    }
    fn write(&mut self, _cx: &mut Access<'_>, register: u16, width: Width, value: u32) -> Option<()> {
        if register != 0 || width != Width::Byte {
            return None;
        }
        let value = value as u8 & RESET_WRITABLE;
        let rises = value & !self.reset_control;
        self.reset_control = value;
        if rises & RESET_CPU != 0 {
            self.reset.pulse();
        }
        Some(())
    }
}

impl Device for IsaBridge {
    fn name(&self) -> &'static str {
        "isa-bridge"
    }
    fn reset(&mut self) {
        self.config.reset();
        self.reset_control = 0;
        self.reset.set(false);
        for line in &self.interrupts {
            line.set(false);
        }
    }
    fn advance(&mut self, _cx: &mut Access<'_>) {
        self.drive();
    }
    fn port_io(&mut self) -> Option<&mut dyn PortIo> {
        Some(self)
    }
    fn pci(&mut self) -> Option<&mut dyn PciFunction> {
        Some(self)
    }
    fn save(&self) -> Saved {
        let Self { pirqs: _, interrupts: _, reset: _, config, reset_control } = self;
        Saved::of(&IsaState { config: config.save(), reset_control: *reset_control })
    }
    fn restore(&mut self, state: &Saved) -> Result<(), RestoreError> {
        let IsaState { config, reset_control } = state.decode()?;
        if reset_control & !RESET_WRITABLE != 0 {
            return Err(RestoreError::OutOfRange("reset_control"));
        }
        self.config.restore(&config)?;
        self.reset_control = reset_control;
        let levels = self.levels();
        for (number, line) in self.interrupts.iter().enumerate() {
            line.restore_level(levels >> number & 1 != 0);
        }
        Ok(())
    }
}

/// Frequency of the power management timer.
pub const PM_TIMER_HERTZ: u64 = 3_579_545;
const PM_TIMER_MASK: u64 = 0xff_ffff;

/// Configuration offsets.
const PM_BASE: u8 = 0x40;
const DEVICE_ACTIVITY_B: u8 = 0x58;
const PM_ENABLE: u8 = 0x80;
const SMBUS_BASE: u8 = 0x90;
const SMBUS_ENABLE: u8 = 0xd2;

/// Size of the power management block.
const PM_SIZE: u16 = 0x40;
const SMBUS_SIZE: u16 = 0x10;
/// Where the SMBus host controller begins in the device's registers.
const SMBUS_REGISTERS: u16 = 0x100;
/// Where the APM ports begin in the device's registers.
const APM_REGISTERS: u16 = 0x200;
/// Where the second view of the general purpose events begins.
const EVENT_REGISTERS: u16 = 0x300;
/// The general purpose event status in the power management block.
const EVENT_STATUS: u16 = 0x0c;

const STATUS_TIMER: u16 = 1 << 0;
const STATUS_GLOBAL: u16 = 1 << 5;
const STATUS_POWER_BUTTON: u16 = 1 << 8;
const STATUS_CLOCK: u16 = 1 << 10;
const STATUS_BITS: u16 = 0x8d31;
const ENABLE_BITS: u16 = STATUS_TIMER | STATUS_GLOBAL | STATUS_POWER_BUTTON | STATUS_CLOCK;
const CONTROL_ACPI: u16 = 1 << 0;
const CONTROL_BITS: u16 = 0x1c03;
/// Of the control register's upper byte: sleep enable.
const SLEEP_ENABLE: u8 = 1 << 5;

const APM_ENABLE_ACPI: u8 = 0xf1;
const APM_DISABLE_ACPI: u8 = 0xf0;

const SMBUS_DEVICE_ERROR: u8 = 0x04;
const SMBUS_START: u8 = 0x40;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PowerState {
    config: ConfigState,
    status: u16,
    enable: u16,
    control: u16,
    event_status: u16,
    event_enable: u16,
    /// The rest of the block, 10h–3Fh, which only reads back.
    block: Vec<u8>,
    smbus: Vec<u8>,
    apm_control: u8,
    apm_status: u8,
    power_off: bool,
    now: Time,
}

/// The PIIX4's power management function.
#[derive(Debug)]
pub struct PowerManagement {
    interrupt: Line,
    config: ConfigSpace,
    /// `config` in here stays empty between calls.
    state: PowerState,
}

impl PowerManagement {
    /// A function that drives `interrupt` (the SCI, IRQ 9).
    #[must_use]
    pub fn new(interrupt: Line) -> PowerManagement {
        let config = ConfigSpace::new(0x8086, 0x7113, 0x06_80_00, 3)
            .with_subsystem(0x1af4, 0x1100)
            .with_bytes(COMMAND, &[0x00, 0x00, 0x80, 0x02])
            .with_interrupt_pin(1)
            .with_bytes(PM_BASE, &[0x01])
            .with_writable(PM_BASE, &[0xc0, 0xff])
            .with_writable(0x44, &[0xff; 0x3c])
            // The APM command enable stands, by which a BIOS sees that system management mode is
            // set up and leaves it alone.
            .with_bytes(DEVICE_ACTIVITY_B, &[0x00, 0x00, 0x00, 0x02])
            .with_writable(PM_ENABLE, &[0x01])
            .with_bytes(SMBUS_BASE, &[0x01])
            .with_writable(SMBUS_BASE, &[0xf0, 0xff])
            .with_writable(SMBUS_ENABLE, &[0x0f, 0xff, 0xff, 0xff]);
        let state = PowerManagement::fresh(&config, Time::ZERO);
        PowerManagement { interrupt, config, state }
    }
    fn fresh(config: &ConfigSpace, now: Time) -> PowerState {
        PowerState {
            config: config.save(),
            status: 0,
            enable: 0,
            control: 0,
            event_status: 0,
            event_enable: 0,
            block: vec![0; usize::from(PM_SIZE) - 0x10],
            smbus: vec![0; usize::from(SMBUS_SIZE)],
            apm_control: 0,
            apm_status: 0,
            power_off: false,
            now,
        }
    }
    /// Whether the guest has switched the machine off since the last call.
    pub fn take_power_off(&mut self) -> bool {
        std::mem::take(&mut self.state.power_off)
    }
    /// Whether the guest has switched the machine off.
    #[must_use]
    pub fn is_powered_off(&self) -> bool {
        self.state.power_off
    }
    /// The user presses the power button: an orderly shutdown, if the guest knows ACPI.
    pub fn press_power_button(&mut self) {
        self.state.status |= STATUS_POWER_BUTTON;
        self.interrupt.set(self.level());
    }
    /// Whether the guest has turned ACPI mode on.
    #[must_use]
    pub fn is_acpi_enabled(&self) -> bool {
        self.state.control & CONTROL_ACPI != 0
    }

    fn level(&self) -> bool {
        let state = &self.state;
        let fixed = state.status & state.enable & ENABLE_BITS != 0;
        let general = state.event_status & state.event_enable != 0;
        state.control & CONTROL_ACPI != 0 && (fixed || general)
    }
    fn catch_up(&mut self, now: Time) {
        let state = &mut self.state;
        let now = now.max(state.now);
        // The status bit is set whenever the timer's highest bit changes.
        if now.ticks(PM_TIMER_HERTZ) >> 23 != state.now.ticks(PM_TIMER_HERTZ) >> 23 {
            state.status |= STATUS_TIMER;
        }
        state.now = now;
        self.interrupt.set(self.level());
    }

    fn read_block(&self, offset: u16) -> u8 {
        let state = &self.state;
        let timer = (state.now.ticks(PM_TIMER_HERTZ) & PM_TIMER_MASK) as u32;
        let [status, enable, control] = [state.status, state.enable, state.control].map(u16::to_le_bytes);
        let [event_status, event_enable] = [state.event_status, state.event_enable].map(u16::to_le_bytes);
        let bytes: [&[u8]; 7] =
            [&status, &enable, &control, &[0, 0], &timer.to_le_bytes(), &event_status, &event_enable];
        let place = usize::from(offset);
        match place.checked_sub(0x10) {
            Some(rest) => state.block.get(rest).copied().unwrap_or(0),
            None => bytes.iter().flat_map(|part| part.iter()).nth(place).copied().unwrap_or(0),
        }
    }

    fn write_block(&mut self, offset: u16, value: u8) {
        let state = &mut self.state;
        let shift = 8 * u32::from(offset & 1);
        let (bits, lane) = (u16::from(value) << shift, 0xff << shift);
        let put = |register: &mut u16, writable: u16| *register = *register & !(lane & writable) | bits & writable;
        match offset {
            0x00 | 0x01 => state.status &= !(bits & STATUS_BITS),
            0x02 | 0x03 => put(&mut state.enable, ENABLE_BITS),
            0x04 => put(&mut state.control, CONTROL_BITS),
            0x05 => {
                put(&mut state.control, CONTROL_BITS);
                // Types 0 (soft off) and 2 (suspend to disk, the rest is the system's work) cut
                // the power.
                let kind = value >> 2 & 7;
                if value & SLEEP_ENABLE != 0 && matches!(kind, 0 | 2) {
                    state.power_off = true;
                }
            }
            0x0c | 0x0d => state.event_status &= !bits,
            0x0e | 0x0f => put(&mut state.event_enable, 0xffff),
            _ => {
                let rest = usize::from(offset).checked_sub(0x10);
                if let Some(byte) = rest.and_then(|rest| state.block.get_mut(rest)) {
                    *byte = value;
                }
            }
        }
    }

    fn read_smbus(&self, offset: u16) -> u8 {
        let byte = self.state.smbus.get(usize::from(offset)).copied().unwrap_or(0);
        if offset == 2 { byte & 0x1f } else { byte }
    }

    fn write_smbus(&mut self, offset: u16, value: u8) {
        let starts = offset == 2 && value & SMBUS_START != 0;
        let smbus = &mut self.state.smbus;
        if let Some(status) = smbus.first_mut().filter(|_| offset == 0 || starts) {
            // Nobody answers to any address.
            *status = if starts { SMBUS_DEVICE_ERROR } else { *status & !(value & 0x1e) };
        }
        if let Some(byte) = smbus.get_mut(usize::from(offset)).filter(|_| offset > 1) {
            *byte = value;
        }
    }

    fn write_apm(&mut self, control: u8) {
        self.state.apm_control = control;
        match control {
            APM_ENABLE_ACPI => self.state.control |= CONTROL_ACPI,
            APM_DISABLE_ACPI => self.state.control &= !CONTROL_ACPI,
            _ => {}
        }
    }

    fn base(&self, offset: u8, size: u16) -> Option<Bar> {
        let base = self.config.word(offset) & !(size - 1);
        (base != 0).then_some(Bar::Io { base, size })
    }
}

impl PciFunction for PowerManagement {
    fn config_read(&mut self, offset: u8) -> u32 {
        self.config.read(offset)
    }
    fn config_write(&mut self, offset: u8, value: u32, mask: u32) {
        self.config.write(offset, value, mask);
    }
    /// Index 0 is the power management block, 1 the SMBus host controller. Both decode by their
    /// own enable bits, whatever the command register says.
    fn bar(&self, index: u8) -> Option<Bar> {
        match index {
            0 if self.config.byte(PM_ENABLE) & 1 != 0 => self.base(PM_BASE, PM_SIZE),
            1 if self.config.byte(SMBUS_ENABLE) & 1 != 0 => self.base(SMBUS_BASE, SMBUS_SIZE),
            _ => None,
        }
    }
}

impl PortIo for PowerManagement {
    fn read(&mut self, cx: &mut Access<'_>, register: u16, width: Width) -> Option<u32> {
        self.catch_up(cx.now);
        let bytes = u16::try_from(width.bytes()).ok().filter(|bytes| *bytes <= 4)?;
        let end = register.checked_add(bytes)?;
        let mut value = 0;
        for (lane, at) in (register..end).enumerate() {
            let byte = match at {
                0..PM_SIZE => self.read_block(at),
                SMBUS_REGISTERS..0x110 => self.read_smbus(at - SMBUS_REGISTERS),
                APM_REGISTERS => self.state.apm_control,
                0x201 => self.state.apm_status,
                EVENT_REGISTERS..0x304 => self.read_block(at - EVENT_REGISTERS + EVENT_STATUS),
                _ => return None,
            };
            value |= u32::from(byte) << (8 * lane);
        }
        Some(value)
    }
    fn write(&mut self, cx: &mut Access<'_>, register: u16, width: Width, value: u32) -> Option<()> {
        self.catch_up(cx.now);
        let bytes = u16::try_from(width.bytes()).ok().filter(|bytes| *bytes <= 4)?;
        let end = register.checked_add(bytes)?;
        for (at, byte) in (register..end).zip(value.to_le_bytes()) {
            match at {
                0..PM_SIZE => self.write_block(at, byte),
                SMBUS_REGISTERS..0x110 => self.write_smbus(at - SMBUS_REGISTERS, byte),
                APM_REGISTERS => self.write_apm(byte),
                0x201 => self.state.apm_status = byte,
                EVENT_REGISTERS..0x304 => self.write_block(at - EVENT_REGISTERS + EVENT_STATUS, byte),
                _ => return None,
            }
        }
        self.interrupt.set(self.level());
        Some(())
    }
}

impl Device for PowerManagement {
    fn name(&self) -> &'static str {
        "power-management"
    }
    fn reset(&mut self) {
        self.config.reset();
        self.state = PowerManagement::fresh(&self.config, self.state.now);
        self.interrupt.set(false);
    }
    fn advance(&mut self, cx: &mut Access<'_>) {
        self.catch_up(cx.now);
    }
    fn next_event(&self) -> Option<Time> {
        let state = &self.state;
        let wanted = state.control & CONTROL_ACPI != 0 && state.enable & !state.status & STATUS_TIMER != 0;
        let change = ((state.now.ticks(PM_TIMER_HERTZ) >> 23) + 1) << 23;
        wanted.then(|| Time::of_tick(change, PM_TIMER_HERTZ)).filter(|event| *event > state.now)
    }
    fn port_io(&mut self) -> Option<&mut dyn PortIo> {
        Some(self)
    }
    fn pci(&mut self) -> Option<&mut dyn PciFunction> {
        Some(self)
    }
    fn save(&self) -> Saved {
        let Self { interrupt: _, config, state } = self;
        Saved::of(&PowerState { config: config.save(), ..state.clone() })
    }
    fn restore(&mut self, state: &Saved) -> Result<(), RestoreError> {
        let state: PowerState = state.decode()?;
        if state.block.len() != usize::from(PM_SIZE) - 0x10 || state.smbus.len() != usize::from(SMBUS_SIZE) {
            return Err(RestoreError::OutOfRange("block"));
        }
        self.config.restore(&state.config)?;
        self.state = state;
        self.interrupt.restore_level(self.level());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    fn isa_bridge(attention: &Attention) -> (IsaBridge, Vec<Line>, Line) {
        let lines: Vec<Line> = (0..16).map(|_| Line::detached()).collect();
        let reset = Line::detached();
        let bridge = IsaBridge::new(std::array::from_fn(|number| lines[number].share()), reset.share(), attention);
        (bridge, lines, reset)
    }

    crate::device_conformance!(isa_bridge_conforms, isa_bridge(&Attention::new()).0);
    crate::device_conformance!(power_management_conforms, PowerManagement::new(Line::detached()));

    #[test]
    fn pirqs_are_routed_and_or_ed() {
        let attention = Attention::new();
        let (bridge, irqs, _) = isa_bridge(&attention);
        let (a, d) = (bridge.pirq(0), bridge.pirq(3));
        let mut bench = Bench::new(bridge);
        assert_eq!(bench.device.config_read(0x60), 0x8080_8080);
        bench.device.config_write(0x60, 0x0b00_000b, u32::MAX);
        let _ = attention.take();
        a.set(true);
        assert!(attention.take());
        bench.advance();
        assert!(irqs[11].is_high());
        d.set(true);
        bench.advance();
        a.set(false);
        bench.advance();
        assert!(irqs[11].is_high());
        bench.device.config_write(0x60, 0x0500_0000, 0xff00_0000);
        assert!(!irqs[11].is_high() && irqs[5].is_high());
        bench.device.config_write(0x60, 0x0800_0000, 0xff00_0000);
        assert!(irqs.iter().all(|line| !line.is_high()), "8 is the clock's");
        assert_eq!((pirq_of(1, 1), pirq_of(3, 1), pirq_of(3, 2)), (0, 2, 3));
    }

    #[test]
    fn reset_control() {
        let (bridge, _, reset) = isa_bridge(&Attention::new());
        let mut bench = Bench::new(bridge);
        bench.write(0, 0x02);
        assert!(!reset.take_edge());
        bench.write(0, 0x06);
        assert!(reset.take_edge());
        assert_eq!(bench.read(0), 0x06);
    }

    fn power() -> (Bench<PowerManagement>, Line) {
        let sci = Line::detached();
        (Bench::new(PowerManagement::new(sci.share())), sci)
    }

    #[test]
    fn blocks_appear_where_the_bios_puts_them() {
        let (mut bench, _) = power();
        assert_eq!(bench.device.bar(0), None);
        bench.device.config_write(0x40, 0x0000_0601, u32::MAX);
        assert_eq!(bench.device.bar(0), None);
        bench.device.config_write(0x80, 0x01, 0xff);
        assert_eq!(bench.device.bar(0), Some(Bar::Io { base: 0x600, size: 0x40 }));
        bench.device.config_write(0x90, 0x0701, u32::MAX);
        bench.device.config_write(0xd0, 0x0009_0000, 0x00ff_0000);
        assert_eq!(bench.device.bar(1), Some(Bar::Io { base: 0x700, size: 0x10 }));
        assert_eq!(bench.device.config_read(0x40), 0x0601);
        assert_eq!(bench.device.config_read(0x58) >> 25 & 1, 1);
    }

    #[test]
    fn timer_counts_and_overflows() {
        let (mut bench, sci) = power();
        bench.run(1_000_000_000);
        assert_eq!(bench.try_read(8, Width::Dword), Some(3_579_545));
        bench.write(APM_REGISTERS, APM_ENABLE_ACPI);
        bench.write_wide(2, Width::Word, u32::from(STATUS_TIMER));
        let event = bench.device.next_event().expect("the overflow is awaited");
        assert_eq!(event, Time::of_tick(1 << 23, PM_TIMER_HERTZ));
        bench.run(event.since(bench.now));
        assert!(sci.is_high());
        bench.write(0, 0x01);
        assert!(!sci.is_high());
        bench.run(5_000_000_000);
        assert_eq!(bench.try_read(8, Width::Dword), Some((bench.now.ticks(PM_TIMER_HERTZ) & 0xff_ffff) as u32));
    }

    #[test]
    fn power_button_and_soft_off() {
        let (mut bench, sci) = power();
        bench.write_wide(2, Width::Word, u32::from(STATUS_POWER_BUTTON));
        bench.device.press_power_button();
        assert!(!sci.is_high(), "ACPI mode is off");
        bench.write(APM_REGISTERS, APM_ENABLE_ACPI);
        assert!(sci.is_high());
        assert_eq!(bench.try_read(4, Width::Word), Some(1));
        bench.write_wide(0, Width::Word, 0x0100);
        assert!(!sci.is_high());
        bench.write_wide(4, Width::Word, 0x0001);
        assert!(!bench.device.take_power_off());
        bench.write_wide(4, Width::Word, 0x2001);
        assert!(bench.device.take_power_off() && !bench.device.take_power_off());
    }

    #[test]
    fn general_purpose_events_in_both_places() {
        let (mut bench, _) = power();
        bench.write_wide(0x302, Width::Word, 0x0104);
        assert_eq!(bench.try_read(0x0e, Width::Word), Some(0x0104));
        assert_eq!(bench.try_read(0x300, Width::Word), Some(0));
    }

    #[test]
    fn smbus_finds_no_device() {
        let (mut bench, _) = power();
        bench.write(0x104, 0xa1);
        bench.write(0x102, 0x48);
        assert_eq!(bench.read(0x100), 0x04);
        bench.write(0x100, 0x1e);
        assert_eq!(bench.read(0x100), 0x00);
        assert_eq!((bench.read(0x102), bench.read(0x104)), (0x08, 0xa1));
    }
}
