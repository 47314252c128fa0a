use super::*;

fn picture(width: usize, height: usize, colour: u32) -> Picture {
    Picture { width, height, pixels: vec![colour; width * height] }
}

struct Client {
    session: Session,
    events: Vec<Event>,
}

impl Client {
    fn new(password: Option<&str>) -> Client {
        let settings = Settings { name: "test".into(), password: password.map(|text| text.as_bytes().to_vec()) };
        Client { session: Session::new(settings, (100, 50), [7; 16]), events: Vec::new() }
    }
    fn running() -> Client {
        let mut client = Client::new(None);
        client.say(b"RFB 003.008\n\x01\x01");
        client
    }
    fn say(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.session.receive(bytes, &mut self.events).unwrap();
        self.session.output()
    }
    /// One byte at a time.
    fn spell(&mut self, bytes: &[u8]) -> Vec<u8> {
        bytes.iter().flat_map(|byte| self.say(&[*byte])).collect()
    }
    fn ask(&mut self, incremental: u8) {
        self.say(&[3, incremental, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    }
    fn encodings(&mut self, list: &[i32]) {
        let mut bytes = vec![2, 0, 0, list.len() as u8];
        bytes.extend(list.iter().flat_map(|number| number.to_be_bytes()));
        self.say(&bytes);
    }
}

#[test]
fn three_versions_begin() {
    let mut client = Client::new(None);
    assert_eq!(client.say(b""), b"RFB 003.008\n");
    assert_eq!(client.spell(b"RFB 003.008\n"), [1, 1]);
    assert_eq!(client.say(&[1]), [0, 0, 0, 0]);
    let init = client.say(&[1]);
    assert_eq!(init[..4], [0, 100, 0, 50]);
    assert_eq!(init[4..20], PixelFormat::DEFAULT.to_bytes());
    assert_eq!(init[20..], *b"\0\0\0\x04test");
    assert!(client.session.is_running());

    let mut client = Client::new(None);
    assert_eq!(client.say(b"RFB 003.003\n")[12..], [0, 0, 0, 1]);
    assert_eq!(client.say(&[0]).len(), 28);

    let mut client = Client::new(None);
    assert_eq!(client.say(b"RFB 003.007\n")[12..], [1, 1]);
    assert_eq!(client.say(&[1, 0]).len(), 28);

    for bad in [&b"GET / HTTP/1.1\r\n"[..], b"RFB 002.008\n", b"RFB 003.0x8\n", b"RFX"] {
        let mut client = Client::new(None);
        assert_eq!(client.session.receive(bad, &mut client.events), Err(ProtocolError::Version));
    }
}

#[test]
fn passwords_are_checked() {
    let challenge = std::array::from_fn(|at| at as u8);
    let answer = answer_to(&challenge, b"secret");
    assert_eq!(answer, answer_to(&challenge, b"secret\0\0longer is cut"));
    for (answer, right) in [(answer_to(&[7; 16], b"secret"), true), ([0; 16], false)] {
        for version in [&b"RFB 003.008\n\x02"[..], b"RFB 003.003\n"] {
            let mut client = Client::new(Some("secret"));
            let said = client.say(version);
            assert_eq!(said[said.len() - 16..], [7; 16]);
            let result = client.session.receive(&answer, &mut client.events);
            assert_eq!(result.is_ok(), right);
            assert_eq!(client.session.output()[..4], [0, 0, 0, u8::from(!right)]);
            assert_eq!(client.session.receive(&[1], &mut client.events), Ok(()));
            assert_eq!(client.session.is_running(), right, "nothing counts after a wrong password");
        }
    }
    let mut client = Client::new(Some("secret"));
    client.say(b"RFB 003.008\n");
    assert_eq!(client.session.receive(&[1], &mut client.events), Err(ProtocolError::Security));
}

#[test]
fn only_what_changed_is_sent() {
    let mut client = Client::running();
    let mut screen = picture(100, 50, 0x11_2233);
    assert!(!client.session.update(&screen, 1, true), "nobody asked");
    client.ask(0);
    assert!(client.session.update(&screen, 1, true));
    let out = client.session.output();
    assert_eq!(out[..16], [0, 0, 0, 1, 0, 0, 0, 0, 0, 100, 0, 50, 0, 0, 0, 0]);
    assert_eq!(out.len(), 16 + 100 * 50 * 4);
    assert_eq!(out[16..20], [0x33, 0x22, 0x11, 0]);
    client.ask(1);
    assert!(!client.session.update(&screen, 1, true));
    screen.pixels[49 * 100 + 99] = 0;
    assert!(!client.session.waits(1) && client.session.waits(2));
    assert!(client.session.update(&screen, 2, true));
    assert_eq!(client.session.output()[..12], [0, 0, 0, 1, 0, 64, 0, 48, 0, 36, 0, 2]);
    // A request for a part is answered with that part.
    client.say(&[3, 0, 0, 10, 0, 10, 0, 5, 0, 5]);
    assert!(client.session.update(&screen, 2, true));
    assert_eq!(client.session.output()[4..12], [0, 10, 0, 10, 0, 5, 0, 5]);
}

#[test]
fn sizes_change() {
    let mut client = Client::running();
    client.encodings(&[-223, -258]);
    client.ask(0);
    assert!(client.session.update(&picture(200, 300, 1), 1, true));
    let out = client.session.output();
    assert_eq!(out[..4], [0, 0, 0, 2]);
    assert_eq!(out[12..16], (-258i32).to_be_bytes());
    assert_eq!(out[16..28], [0, 0, 0, 0, 0, 200, 1, 44, 0xff, 0xff, 0xff, 0x21]);
    client.ask(0);
    assert!(client.session.update(&picture(200, 300, 1), 1, true));
    assert_eq!(client.session.output().len(), 16 + 200 * 300 * 4);
    // Who cannot resize sees a part, or black around.
    let mut client = Client::running();
    for screen in [picture(200, 30, 1), picture(1, 1, 1), picture(0, 0, 1)] {
        client.ask(0);
        assert!(client.session.update(&screen, 1, true));
        assert_eq!(client.session.output().len(), 16 + 100 * 50 * 4);
    }
}

#[test]
fn keys_and_pointer_become_events() {
    use KeyCode::{A, Delete};
    let mut client = Client::running();
    client.spell(&[4, 1, 0, 0, 0, 0, 0, 0x61, 4, 0, 0, 0, 0, 0, 0, 0x61]);
    client.spell(&[255, 0, 0, 1, 0, 0, 0xff, 0xff, 0, 0, 0, 0xd3]);
    assert_eq!(client.events, [Event::Key(A, true), Event::Key(A, false), Event::Key(Delete, true)]);
    client.events.clear();
    // Clipboard text is skipped, in pieces and at once.
    client.spell(&[6, 0, 0, 0, 0, 0, 0, 3, 4, 4, 4]);
    client.say(&[6, 0, 0, 0, 0, 0, 0, 3, 5, 5, 5, 5, 0b10101, 0, 99, 0, 0]);
    let buttons = button::LEFT | button::RIGHT;
    assert_eq!(client.events, [Event::Pointer { x: 65535, y: 0, wheel: 1, buttons }]);
    client.events.clear();
    client.session.leave(&mut client.events);
    let still = Event::Motion { dx: 0, dy: 0, wheel: 0, buttons: 0 };
    assert_eq!(client.events, [Event::Key(Delete, false), still]);
}

#[test]
fn a_client_that_can_is_told_of_a_relative_pointer() {
    let mut client = Client::running();
    client.encodings(&[0, -257]);
    client.ask(0);
    assert!(client.session.update(&picture(100, 50, 0), 1, false));
    assert_eq!(client.session.output()[..16], [0, 0, 0, 2, 0, 0, 0, 0, 0, 100, 0, 50, 0xff, 0xff, 0xfe, 0xff]);
    client.say(&[5, 0, 0x80, 0x04, 0x7f, 0xfc]);
    assert_eq!(client.events, [Event::Motion { dx: 5, dy: -3, wheel: 0, buttons: 0 }]);
}

#[test]
fn nonsense_ends_the_session() {
    let mut client = Client::running();
    assert_eq!(client.session.receive(&[77], &mut client.events), Err(ProtocolError::Message(77)));
    let mut client = Client::running();
    assert_eq!(client.session.receive(&[0; 20], &mut client.events), Err(ProtocolError::PixelFormat));
    let mut client = Client::running();
    let mapped = [0, 0, 0, 0, 8, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let result = (0..1000).try_for_each(|_| client.session.receive(&mapped, &mut client.events));
    assert_eq!(result, Err(ProtocolError::Deaf));
}
