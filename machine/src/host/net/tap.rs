//! A TAP interface of the host: the guest's cable ends in the host's own network.
//!
//! Who may use `/dev/net/tun` lets it be made; anybody else attaches to one that was made for them
//! (`ip tuntap add tap0 mode tap user NAME`). Addresses, bridges and rules are the host's business.

use devices::Time;
use devices::network::Network;
use std::io::{self, ErrorKind};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

/// Longest frame.
const LONGEST: usize = 0x1_0000;

/// A TAP interface.
pub struct Tap {
    device: SyncDevice,
    buffer: Vec<u8>,
}

impl Tap {
    /// Attaches to the interface `name`, or makes it until the machine ends.
    ///
    /// # Errors
    /// It is used by somebody else, or there is no permission.
    pub fn open(name: &str) -> io::Result<Tap> {
        let device = DeviceBuilder::new().name(name).layer(Layer::L2).inherit_enable_state().build_sync()?;
        device.set_nonblocking(true)?;
        Ok(Tap { device, buffer: vec![0; LONGEST] })
    }
}

impl Network for Tap {
    fn send(&mut self, _now: Time, frame: &[u8]) {
        // A full queue, or an interface that is down, loses the frame as a cable would.
        let _ = self.device.send(frame);
    }
    fn receive(&mut self, _now: Time) -> Option<Vec<u8>> {
        loop {
            match self.device.recv(&mut self.buffer) {
                Ok(length) => return self.buffer.get(..length).map(<[u8]>::to_vec),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
    }
}
