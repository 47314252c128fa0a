//! Conversations with clients that say anything, in pieces of any length.

use crate::driver::{Source, Target};
use beigebox_vnc::protocol::{Session, Settings, answer_to};
use beigebox_vnc::socket::{Origins, Transport};
use screen::Picture;

/// All targets.
pub const TARGETS: &[Target] =
    &[Target { name: "session", run: session }, Target { name: "web_socket", run: web_socket }];

const CHALLENGE: [u8; 16] = [9; 16];
const PASSWORD: &[u8] = b"secret";
const ENCODINGS: [i32; 8] = [0, 5, 16, 1, -223, -257, -258, i32::MIN];

/// One message, mostly of the right form.
fn message(source: &mut Source<'_>, out: &mut Vec<u8>) {
    let noise = |source: &mut Source<'_>, length: u64, out: &mut Vec<u8>| {
        for _ in 0..length {
            out.push(source.bits() as u8);
        }
    };
    match source.below(10) {
        0 => {
            out.extend([0, 0, 0, 0]);
            match source.below(4) {
                0 => out.extend([8, 8, 0, 0]),
                1 => return noise(source, 16, out),
                _ => {
                    let bits = source.pick(&[8, 16, 32]);
                    out.extend([bits, bits, source.below(2) as u8, 1]);
                }
            }
            let wide = source.pick(&[1u16, 3, 7, 31, 63, 255, 0xffff, 6]);
            for _ in 0..3 {
                out.extend(wide.to_be_bytes());
            }
            for _ in 0..3 {
                out.push(source.below(33) as u8);
            }
            out.extend([0; 3]);
        }
        1 => {
            let count = source.below(9) as u16;
            out.extend([2, 0]);
            out.extend(count.to_be_bytes());
            for _ in 0..count {
                out.extend(source.pick(&ENCODINGS).to_be_bytes());
            }
        }
        2..=4 => {
            out.extend([3, source.below(2) as u8]);
            for _ in 0..4 {
                let edge = source.pick(&[0, 1, 15, 16, 63, 64, 65, 200, 0x7fff, 0xffff]);
                out.extend(u16::to_be_bytes(edge));
            }
        }
        5 => {
            out.extend([4, source.below(2) as u8, 0, 0]);
            let keysym = source.pick(&[0x61, 0x41, 0xff0d, 0xffe1, 0xffe3, 0xfe50, 0x0100_20ac, u32::MAX]);
            out.extend((keysym ^ source.below(2) as u32).to_be_bytes());
        }
        6 => {
            out.push(5);
            noise(source, 5, out);
        }
        7 => {
            let length = source.pick(&[0u32, 1, 5, 70_000, u32::MAX]);
            out.extend([6, 0, 0, 0]);
            out.extend(length.to_be_bytes());
            noise(source, u64::from(length.min(5)), out);
        }
        8 => {
            out.extend([255, 0, 0, 1]);
            noise(source, 8, out);
        }
        _ => {
            let length = source.below(20);
            noise(source, length, out);
        }
    }
}

fn session(data: &[u8]) {
    let mut source = Source::new(data);
    let locked = source.once_in(4);
    let settings = Settings { name: "fuzz".into(), password: locked.then(|| PASSWORD.to_vec()) };
    let mut session = Session::new(settings, (64, 40), CHALLENGE);
    let mut events = Vec::new();
    let mut said = match source.below(4) {
        0 => b"RFB 003.003\n".to_vec(),
        1 => b"RFB 003.007\n".to_vec(),
        2 => b"RFB 003.008\n".to_vec(),
        _ => data.iter().copied().take(30).collect(),
    };
    let is_old = said.get(10) == Some(&b'3');
    if !is_old {
        said.push(if locked { 2 } else { 1 });
    }
    if locked {
        said.extend(answer_to(&CHALLENGE, PASSWORD));
    }
    said.push(1);
    let mut picture = Picture { width: 64, height: 40, pixels: vec![0; 64 * 40] };
    let mut generation = 0;
    for _ in 0..60 {
        while !said.is_empty() {
            let length = (1 + source.below(40) as usize).min(said.len());
            if session.receive(&said[..length], &mut events).is_err() {
                session.leave(&mut events);
                assert!(!session.update(&picture, 0, true), "who was sent away is sent pictures");
                return;
            }
            said.drain(..length);
            assert!(events.len() < 1000, "one piece makes a flood of events");
            events.clear();
        }
        if source.once_in(3) {
            if source.once_in(4) {
                let sides = [1, 16, 63, 64, 65, 130];
                (picture.width, picture.height) = (source.pick(&sides), source.pick(&sides));
                // Not always as many pixels as the size says.
                picture.pixels.resize(picture.width * picture.height - source.below(2) as usize, 7);
            }
            for _ in 0..source.below(20) {
                let at = source.below(picture.pixels.len() as u64) as usize;
                if let Some(pixel) = picture.pixels.get_mut(at) {
                    *pixel = source.below(3) as u32 * 0x7f_3f1f;
                }
            }
            generation += 1;
        }
        let waited = session.waits(generation);
        let sent = session.update(&picture, generation, source.once_in(2));
        assert!(waited || !sent || session.is_running());
        assert!(session.output().len() < 4 << 20);
        message(&mut source, &mut said);
    }
}

fn web_socket(data: &[u8]) {
    let mut source = Source::new(data);
    let mut transport = Transport::web_socket(Origins::default());
    let mut said = match source.below(3) {
        0 => data.to_vec(),
        _ => b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            .to_vec(),
    };
    for _ in 0..40 {
        while !said.is_empty() {
            let length = (1 + source.below(200) as usize).min(said.len());
            let Ok(heard) = transport.receive(&said[..length]) else {
                transport.send(Vec::new());
                return;
            };
            assert!(heard.len() < 1 << 20);
            said.drain(..length);
        }
        transport.send(vec![0; source.below(300) as usize]);
        // A frame, or something like one.
        let kind = source.pick(&[0x82, 0x02, 0x80, 0x89, 0x8a, 0x88, 0x81, 0xf2]);
        let length = source.pick(&[0u8, 1, 5, 125, 126, 127]);
        said.push(kind);
        said.push(length | source.pick(&[0x80, 0x80, 0x80, 0]));
        for _ in 0..source.below(140) {
            said.push(source.bits() as u8);
        }
    }
}
