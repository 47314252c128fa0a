//! HTTP/1.1 (RFC 9110, 9112) as far as boot loaders need it: GET and HEAD of files, whole or from an
//! offset. Each connection serves one request.

use super::folder::{Folder, Open};

/// Longest request.
const LONGEST: usize = 8192;

/// One connection.
pub(super) struct Session {
    folder: Folder,
    request: Vec<u8>,
    answer: Option<Answer>,
}

struct Answer {
    head: Vec<u8>,
    body: Option<Open>,
    at: u64,
    end: u64,
}

impl Session {
    pub(super) fn new(folder: Folder) -> Session {
        Session { folder, request: Vec::new(), answer: None }
    }
    /// Takes what the client has sent; what comes behind the request is ignored.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        if self.answer.is_some() {
            return;
        }
        self.request.extend(bytes);
        let end = self.request.windows(4).position(|four| four == b"\r\n\r\n");
        if end.is_some() || self.request.len() > LONGEST {
            self.answer = Some(self.respond(end));
        }
    }
    /// Gives bytes for the client; `None` when all have been given.
    pub(super) fn give(&mut self, buffer: &mut [u8]) -> Option<usize> {
        let Some(answer) = self.answer.as_mut() else { return Some(0) };
        if !answer.head.is_empty() {
            let n = answer.head.len().min(buffer.len());
            buffer[..n].copy_from_slice(&answer.head[..n]);
            answer.head.drain(..n);
            return Some(n);
        }
        let left = answer.end - answer.at;
        let n = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let body = answer.body.as_mut().filter(|_| n != 0)?;
        match body.read(answer.at, &mut buffer[..n]) {
            Ok(0) | Err(_) => None,
            Ok(n) => {
                answer.at += n as u64;
                Some(n)
            }
        }
    }

    fn respond(&self, end: Option<usize>) -> Answer {
        let plain = |status: &str| Answer {
            head: format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").into_bytes(),
            body: None,
            at: 0,
            end: 0,
        };
        let Some(end) = end else { return plain("431 Request Header Fields Too Large") };
        let text = String::from_utf8_lossy(&self.request[..end]);
        let mut lines = text.split("\r\n");
        let mut words = lines.next().unwrap_or_default().split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if method != "GET" && method != "HEAD" {
            return plain("405 Method Not Allowed");
        }
        let path = target.split(['?', '#']).next().unwrap_or_default();
        let Some(file) = decode(path).and_then(|path| self.folder.open(&path)) else { return plain("404 Not Found") };
        let range = lines.filter_map(|line| line.split_once(':')).find(|(name, _)| name.eq_ignore_ascii_case("range"));
        let length = file.length;
        let (status, at, end) = match range.and_then(|(_, value)| parse_range(value.trim(), length)) {
            Some((at, end)) if at < end => ("206 Partial Content", at, end),
            Some(_) => return plain("416 Range Not Satisfiable"),
            None => ("200 OK", 0, length),
        };
        let mut head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nAccept-Ranges: bytes\r\n", end - at);
        if status.starts_with("206") {
            head += &format!("Content-Range: bytes {at}-{}/{length}\r\n", end - 1);
        }
        head += "Content-Type: application/octet-stream\r\nConnection: close\r\n\r\n";
        let body = (method == "GET").then_some(file);
        Answer { head: head.into_bytes(), body, at, end }
    }
}

/// One range of bytes, as first and last plus one; others are served as if none had been asked for.
fn parse_range(value: &str, length: u64) -> Option<(u64, u64)> {
    let (first, last) = value.strip_prefix("bytes=")?.split_once('-')?;
    if first.is_empty() {
        let tail: u64 = last.parse().ok()?;
        return Some((length.saturating_sub(tail), length));
    }
    let first: u64 = first.parse().ok()?;
    let end = if last.is_empty() { length } else { last.parse::<u64>().ok()?.saturating_add(1).min(length) };
    Some((first, end))
}

fn decode(path: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &rest[2..];
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(folder: &Folder, request: &str) -> String {
        let mut session = Session::new(folder.clone());
        for byte in request.as_bytes() {
            session.take(&[*byte]);
        }
        let (mut all, mut buffer) = (Vec::new(), [0; 7]);
        while let Some(n) = session.give(&mut buffer).filter(|_| all.len() < 10_000) {
            all.extend(&buffer[..n]);
        }
        String::from_utf8_lossy(&all).into_owned()
    }

    #[test]
    fn requests() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("a b"), "0123456789").unwrap();
        let folder = Folder::new(directory.path()).unwrap();
        let whole = get(&folder, "GET /a%20b HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(
            whole.starts_with("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n") && whole.ends_with("\r\n\r\n0123456789")
        );
        let part = get(&folder, "GET /a%20b HTTP/1.1\r\nRange: bytes=2-4\r\n\r\n");
        assert!(part.contains("206 Partial") && part.contains("bytes 2-4/10") && part.ends_with("\r\n\r\n234"));
        assert!(get(&folder, "HEAD /a%20b HTTP/1.0\r\n\r\n").ends_with("\r\n\r\n"));
        for (request, status) in [
            ("GET /nothing HTTP/1.1\r\n\r\n", "404"),
            ("GET /../a%20b HTTP/1.1\r\n\r\n", "404"),
            ("GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\n\r\n", "404"),
            ("POST / HTTP/1.1\r\n\r\n", "405"),
            ("\r\n\r\n", "405"),
            ("GET /a%20b HTTP/1.1\r\nRange: bytes=20-\r\n\r\n", "416"),
        ] {
            assert!(get(&folder, request).starts_with(&format!("HTTP/1.1 {status}")), "{request}");
        }
        assert!(get(&folder, &"x".repeat(9000)).starts_with("HTTP/1.1 431"));
    }
}
