//! Standard input, as bytes, read by a thread of its own; and the terminal's raw mode.

use std::io::{IsTerminal, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::time::Duration;

static RAW: AtomicBool = AtomicBool::new(false);
static SCREEN: AtomicBool = AtomicBool::new(false);

/// Puts the terminal into raw mode until [`restore`]; also a panic restores it.
pub(crate) fn raw_mode() -> std::io::Result<()> {
    crossterm::terminal::enable_raw_mode()?;
    if !RAW.swap(true, Ordering::SeqCst) {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            restore();
            before(info);
        }));
    }
    Ok(())
}

/// Says that the terminal shows the alternate screen, which [`restore`] then leaves.
#[cfg(unix)]
pub(crate) fn screen_mode() {
    SCREEN.store(true, Ordering::SeqCst);
}

/// The terminal as it was. Safe to call at any time, any number of times.
pub(crate) fn restore() {
    if SCREEN.swap(false, Ordering::SeqCst) {
        let _ = crossterm::execute!(
            std::io::stdout(),
            crossterm::style::ResetColor,
            crossterm::cursor::Show,
            crossterm::terminal::LeaveAlternateScreen
        );
    }
    if RAW.swap(false, Ordering::SeqCst) {
        let _ = crossterm::terminal::disable_raw_mode();
    }
}

/// Bytes from standard input.
pub(crate) struct Console {
    receiver: Receiver<Vec<u8>>,
    /// Ctrl-A was the last byte.
    escaped: bool,
    is_terminal: bool,
    ended: bool,
}

/// What has come.
pub(crate) enum Input {
    Bytes(Vec<u8>),
    /// Ctrl-A x.
    Quit,
}

impl Console {
    /// Starts to read. A terminal goes into raw mode.
    pub(crate) fn open() -> std::io::Result<Console> {
        let is_terminal = std::io::stdin().is_terminal();
        if is_terminal {
            raw_mode()?;
        }
        let (sender, receiver) = channel();
        // Reading blocks, so it has a thread of its own, which ends with the process.
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                match std::io::stdin().read(&mut buffer) {
                    Ok(0) | Err(_) => break,
                    Ok(n) => {
                        if sender.send(buffer[..n].to_vec()).is_err() {
                            break;
                        }
                    }
                }
            }
        });
        Ok(Console { receiver, escaped: false, is_terminal, ended: false })
    }
    /// What has come, waiting for it at most so long.
    pub(crate) fn poll(&mut self, wait: Duration) -> Option<Input> {
        if self.ended {
            std::thread::sleep(wait);
            return None;
        }
        let bytes = if wait.is_zero() {
            self.receiver.try_recv().map_err(|error| error == TryRecvError::Disconnected)
        } else {
            self.receiver.recv_timeout(wait).map_err(|error| error == RecvTimeoutError::Disconnected)
        };
        match bytes {
            Ok(bytes) => Some(self.filter(&bytes)),
            Err(ended) => {
                self.ended = ended;
                None
            }
        }
    }
    /// Takes the escapes out: Ctrl-A x quits, Ctrl-A Ctrl-A is a Ctrl-A.
    fn filter(&mut self, bytes: &[u8]) -> Input {
        if !self.is_terminal {
            return Input::Bytes(bytes.to_vec());
        }
        let mut out = Vec::new();
        for &byte in bytes {
            if std::mem::take(&mut self.escaped) {
                match byte {
                    b'x' | b'X' => return Input::Quit,
                    b'h' | b'?' => eprint!("\r\nCtrl-A x quits, Ctrl-A Ctrl-A sends Ctrl-A\r\n"),
                    _ => out.push(byte),
                }
            } else if byte == 1 {
                self.escaped = true;
            } else {
                out.push(byte);
            }
        }
        Input::Bytes(out)
    }
}
