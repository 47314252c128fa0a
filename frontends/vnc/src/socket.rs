//! The two ways in which clients come: as they are, or inside WebSocket frames (RFC 6455).

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tungstenite::handshake::server::{Callback, ErrorResponse, Request, Response, ServerHandshake};
use tungstenite::handshake::{HandshakeError, MidHandshake};
use tungstenite::http::{HeaderValue, StatusCode};
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Error, Message, WebSocket, accept_hdr_with_config};

/// Longest message that is taken from a client; RFB's longest is a quarter of it.
const LONGEST_MESSAGE: usize = 1 << 20;

/// From which web pages a WebSocket may come.
///
/// A page from anywhere can make its reader's browser connect to the reader's own machine. So
/// unless a password protects the screen, the page must come from that machine as well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    /// All pages.
    pub any: bool,
    /// These as well, as browsers write them: `https://example.org`.
    pub allowed: Vec<String>,
}

impl Origins {
    /// Whether a page from there may connect. Only browsers tell.
    #[must_use]
    pub fn allows(&self, origin: Option<&str>) -> bool {
        let Some(origin) = origin else { return true };
        if self.any || self.allowed.iter().any(|allowed| allowed.trim_end_matches('/') == origin) {
            return true;
        }
        let Some((_, host)) = origin.split_once("://") else { return false };
        let host = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
            Some((address, _)) => address,
            None => host.split_once(':').map_or(host, |(host, _)| host),
        };
        host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
    }
}

impl Callback for Origins {
    fn on_request(self, request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
        let header = |name: &str| request.headers().get(name);
        let origin = header("origin").map(|value| value.to_str().unwrap_or("?"));
        if !self.allows(origin) {
            let text = format!("{} may not look at this screen\n", origin.unwrap_or_default());
            let mut refusal = ErrorResponse::new(Some(text));
            *refusal.status_mut() = StatusCode::FORBIDDEN;
            return Err(refusal);
        }
        let offered = header("sec-websocket-protocol").and_then(|value| value.to_str().ok()).unwrap_or("");
        if offered.split(',').any(|protocol| protocol.trim() == "binary") {
            response.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("binary"));
        }
        Ok(response)
    }
}

/// What stands in for a socket: bytes that have come, and bytes that are to go.
#[derive(Clone, Default)]
struct Pipe(Arc<Mutex<(VecDeque<u8>, Vec<u8>)>>);

impl Pipe {
    fn both(&self) -> MutexGuard<'_, (VecDeque<u8>, Vec<u8>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let input = &mut self.both().0;
        if input.is_empty() { Err(io::ErrorKind::WouldBlock.into()) } else { input.read(buffer) }
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.both().1.extend(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Way {
    Plain,
    Handshake(Box<MidHandshake<ServerHandshake<Pipe, Origins>>>),
    Frames(Box<WebSocket<Pipe>>),
    Closed,
}

/// How bytes get from and to one client. It opens no socket: it is handed what came, and hands
/// out what is to be sent.
pub struct Transport {
    way: Way,
    pipe: Pipe,
}

/// The client has closed the connection, or its WebSocket is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl Transport {
    /// A client that speaks RFB at once.
    #[must_use]
    pub fn plain() -> Transport {
        Transport { way: Way::Plain, pipe: Pipe::default() }
    }
    /// A client that begins with a WebSocket handshake.
    #[must_use]
    pub fn web_socket(origins: Origins) -> Transport {
        let config = WebSocketConfig::default()
            .read_buffer_size(16 << 10)
            .write_buffer_size(0)
            .max_message_size(Some(LONGEST_MESSAGE))
            .max_frame_size(Some(LONGEST_MESSAGE));
        let pipe = Pipe::default();
        let mut transport = Transport { way: Way::Closed, pipe: pipe.clone() };
        transport.shaken(accept_hdr_with_config(pipe, origins, Some(config)));
        transport
    }
    fn shaken(&mut self, result: Result<WebSocket<Pipe>, HandshakeError<ServerHandshake<Pipe, Origins>>>) {
        self.way = match result {
            Ok(socket) => Way::Frames(Box::new(socket)),
            Err(HandshakeError::Interrupted(mid)) => Way::Handshake(Box::new(mid)),
            Err(HandshakeError::Failure(_)) => Way::Closed,
        };
    }
    /// Whether RFB can be spoken: the handshake is over.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.way, Way::Plain | Way::Frames(_))
    }
    /// What the client said, out of bytes that came from it.
    ///
    /// # Errors
    /// The connection is over; what [`send`](Transport::send) still has should be sent.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Closed> {
        if matches!(self.way, Way::Plain) {
            return Ok(bytes.to_vec());
        }
        self.pipe.both().0.extend(bytes);
        self.way = match std::mem::replace(&mut self.way, Way::Closed) {
            Way::Handshake(mid) => {
                self.shaken(mid.handshake());
                return if matches!(self.way, Way::Closed) { Err(Closed) } else { Ok(Vec::new()) };
            }
            other => other,
        };
        let Way::Frames(socket) = &mut self.way else { return Err(Closed) };
        let mut said = Vec::new();
        loop {
            match socket.read() {
                Ok(Message::Binary(bytes)) => said.extend_from_slice(&bytes),
                // RFB is binary; text is nobody's.
                Ok(Message::Text(_) | Message::Close(_)) => return Err(Closed),
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return Ok(said),
                Err(_) => return Err(Closed),
            }
        }
    }
    /// The bytes to send so that the client hears `payload`, behind whatever the way itself has
    /// to say.
    pub fn send(&mut self, payload: Vec<u8>) -> Vec<u8> {
        match &mut self.way {
            Way::Plain => return payload,
            Way::Frames(socket) => {
                if !payload.is_empty() {
                    // The pipe takes everything; only a closed socket refuses.
                    let _ = socket.write(Message::Binary(payload.into()));
                }
                let _ = socket.flush();
            }
            Way::Handshake(_) | Way::Closed => {}
        }
        std::mem::take(&mut self.pipe.both().1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &str = "GET / HTTP/1.1\r\nHost: localhost:5900\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

    fn request(more: &str) -> Vec<u8> {
        format!("{REQUEST}{more}\r\n").into_bytes()
    }

    #[test]
    fn frames_come_and_go() {
        let mut transport = Transport::web_socket(Origins::default());
        for piece in request("Sec-WebSocket-Protocol: base64, binary\r\nOrigin: http://localhost:6080\r\n").chunks(99) {
            assert!(!transport.is_open());
            assert_eq!(transport.receive(piece), Ok(Vec::new()));
        }
        assert!(transport.is_open());
        let answer = String::from_utf8(transport.send(Vec::new())).unwrap();
        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
        assert!(answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "the key of RFC 6455's example: {answer}");
        assert!(answer.contains("binary"));
        assert_eq!(transport.send(vec![1, 2, 3]), [0x82, 3, 1, 2, 3]);
        // Two masked frames, the second in pieces.
        assert_eq!(transport.receive(&[0x82, 0x82, 1, 1, 1, 1, 4, 5, 0x82]), Ok(vec![5, 4]));
        assert_eq!(transport.receive(&[0x81, 0, 0, 0, 0, 9]), Ok(vec![9]));
        assert_eq!(transport.receive(&[0x88, 0x80, 0, 0, 0, 0]), Err(Closed));
    }

    #[test]
    fn pages_from_elsewhere_are_refused() {
        let mut transport = Transport::web_socket(Origins::default());
        assert_eq!(transport.receive(&request("Origin: https://example.org\r\n")), Err(Closed));
        let answer = String::from_utf8(transport.send(Vec::new())).unwrap();
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
        assert!(!transport.is_open());

        let origins = Origins { any: false, allowed: vec!["https://example.org".into()] };
        let cases = [
            (None, true),
            (Some("http://localhost:6080"), true),
            (Some("http://127.0.0.1"), true),
            (Some("http://[::1]:80"), true),
            (Some("https://example.org"), true),
            (Some("http://example.org"), false),
            (Some("http://localhost.example.com"), false),
            (Some("http://192.168.1.1"), false),
            (Some("null"), false),
        ];
        for (origin, allowed) in cases {
            assert_eq!(origins.allows(origin), allowed, "{origin:?}");
            assert!(Origins { any: true, ..Origins::default() }.allows(origin));
        }
    }

    #[test]
    fn nonsense_closes() {
        let mut transport = Transport::web_socket(Origins::default());
        assert_eq!(transport.receive(b"RFB 003.008\n\r\n\r\n"), Err(Closed));
        let mut transport = Transport::web_socket(Origins::default());
        transport.receive(&request("")).unwrap();
        // A frame that claims four gigabytes.
        assert_eq!(transport.receive(&[0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 1, 1, 1, 1]), Err(Closed));
    }
}
