//! What a person does, done to a machine.

use crate::{Command, Event};
use beigebox::Machine;

/// Does to a machine what [`Event`]s say.
///
/// Where a driver in the guest takes absolute positions, the pointer simply is where the person's
/// pointer is. Elsewhere positions become movements of the PS/2 mouse, one count per pixel; how far
/// the guest's pointer moves for a count is the guest's affair, so the two drift apart. Pushing the
/// pointer against an edge of the screen brings them together again, because the guest's pointer
/// is pushed there by the whole length of the screen. A front end that can grab the mouse reports
/// movements instead.
#[derive(Clone, Debug, Default)]
pub struct Hands {
    last: Option<(u16, u16)>,
}

impl Hands {
    /// The pointer has not been seen yet.
    #[must_use]
    pub fn new() -> Hands {
        Hands::default()
    }
    /// Does it, or gives back what is for the emulator. `size` is that of the picture in pixels.
    pub fn apply(&mut self, event: &Event, machine: &mut Machine, size: (usize, usize)) -> Option<Command> {
        match *event {
            Event::Key(key, down) => machine.key(key, down),
            Event::Chord(ref keys) => machine.type_chord(keys),
            Event::Pointer { x, y, wheel, buttons } => {
                if machine.takes_absolute_pointer() {
                    machine.pointer(x, y, wheel, buttons);
                } else {
                    let (last_x, last_y) = self.last.unwrap_or((x, y));
                    machine.mouse(counts(last_x, x, size.0), counts(last_y, y, size.1), wheel.into(), buttons);
                }
                self.last = Some((x, y));
            }
            Event::Motion { dx, dy, wheel, buttons } => machine.mouse(dx, dy, wheel.into(), buttons),
            Event::Command(Command::CtrlAltDelete) => {
                use crate::KeyCode::{Delete, LeftAlt, LeftControl};
                machine.type_chord(&[LeftControl, LeftAlt, Delete]);
            }
            Event::Command(command) => return Some(command),
        }
        None
    }
}

/// Counts from one position to another along a side of `length` pixels.
fn counts(from: u16, to: u16, length: usize) -> i32 {
    let length = length.clamp(1, 16384) as i32;
    let pixel = |at: u16| (i32::from(at) * (length - 1) + 32767) / 65535;
    let push = match to {
        0 if from != 0 => -length,
        u16::MAX if from != u16::MAX => length,
        _ => 0,
    };
    pixel(to) - pixel(from) + push
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_pixels_and_edges_push() {
        assert_eq!(counts(0, 0, 640), 0);
        assert_eq!(counts(1026, 3077, 640), 20);
        assert_eq!(counts(32768, 0, 640), -320 - 640);
        assert_eq!(counts(32768, 65535, 640), 319 + 640);
        assert_eq!(counts(0, 65535, 1 << 40), 16383 * 2 + 1);
    }
}
