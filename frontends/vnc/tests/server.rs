//! The server over real sockets.

#![allow(clippy::unwrap_used, reason = "tests")]

use beigebox_vnc::protocol::{Settings, answer_to};
use beigebox_vnc::{Config, Server};
use screen::{Event, FrontEnd, KeyCode};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

fn server(password: Option<&str>) -> (Server, SocketAddr) {
    let settings = Settings { name: "test".into(), password: password.map(|text| text.as_bytes().to_vec()) };
    let address = Some("127.0.0.1:0".parse().unwrap());
    let server = Server::listen(Config { address, settings, ..Config::default() }).unwrap();
    let address = server.addresses()[0];
    (server, address)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

fn hear<const N: usize>(stream: &mut TcpStream) -> [u8; N] {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

fn events(server: &mut Server, count: usize) -> Vec<Event> {
    let (mut events, began) = (Vec::new(), Instant::now());
    while events.len() < count && began.elapsed() < Duration::from_secs(30) {
        server.poll(&mut events).unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    events
}

#[test]
fn a_client_comes_looks_types_and_goes() {
    let (mut server, address) = server(None);
    let mut client = connect(address);
    assert_eq!(hear(&mut client), *b"RFB 003.008\n");
    client.write_all(b"RFB 003.008\n\x01\x01").unwrap();
    assert_eq!(hear(&mut client), [1, 1, 0, 0, 0, 0]);
    let init: [u8; 28] = hear(&mut client);
    assert_eq!(init[..4], [2, 128, 1, 224]);
    client.write_all(&[3, 0, 0, 0, 0, 0, 0, 2, 0, 1]).unwrap();
    assert_eq!(hear(&mut client), [0, 0, 0, 1, 0, 0, 0, 0, 0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    client.write_all(&[4, 1, 0, 0, 0, 0, 0, 0x61]).unwrap();
    assert_eq!(events(&mut server, 1), [Event::Key(KeyCode::A, true)]);
    drop(client);
    assert_eq!(events(&mut server, 1), [Event::Key(KeyCode::A, false)], "who goes holds nothing");
    let mut other = connect(address);
    hear::<12>(&mut other);
    drop(server);
    assert_eq!(other.read(&mut [0; 1]).unwrap(), 0, "the server has gone");
}

#[test]
fn wrong_passwords_cost_time() {
    let (_server, address) = server(Some("secret"));
    let attempt = |password: &[u8]| {
        let mut client = connect(address);
        hear::<12>(&mut client);
        client.write_all(b"RFB 003.008\n\x02").unwrap();
        assert_eq!(hear(&mut client), [1, 2]);
        let challenge = hear(&mut client);
        client.write_all(&answer_to(&challenge, password)).unwrap();
        client.write_all(&[1]).unwrap();
        let mut answer = Vec::new();
        client.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let _ = client.read_to_end(&mut answer);
        (challenge, answer)
    };
    let (first, answer) = attempt(b"wrong");
    assert_eq!(answer[..4], [0, 0, 0, 1]);
    let wrong = Instant::now();
    let (second, answer) = attempt(b"secret");
    // Unless this machine was asleep in between.
    assert!(answer.len() < 28 || wrong.elapsed() > Duration::from_secs(2), "nobody gets in at once: {answer:?}");
    assert_ne!(first, second);
    std::thread::sleep(Duration::from_millis(3100));
    assert_eq!(attempt(b"secret").1.len(), 4 + 28);
}

#[test]
fn browsers_are_told_apart_and_crowds_turned_away() {
    let (_server, address) = server(None);
    let mut browser = connect(address);
    browser
        .write_all(
            b"GET /websockify HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
              Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(hear::<1>(&mut browser));
    }
    assert!(head.starts_with(b"HTTP/1.1 101"));
    assert_eq!(hear(&mut browser), *b"\x82\x0cRFB 003.008\n");
    let crowd: Vec<TcpStream> = (0..7).map(|_| connect(address)).collect();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(connect(address).read(&mut [0; 1]).unwrap_or(0), 0, "the ninth is sent away");
    drop(crowd);
}
