//! Values on the command line.

use beigebox::{BootDevice, DateTime, Model};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// `64M`, `1G`, `512K`, or bytes.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "K" | "KB" | "KIB" => 1 << 10,
        "M" | "MB" | "MIB" => 1 << 20,
        "G" | "GB" | "GIB" => 1 << 30,
        "T" | "TB" | "TIB" => 1 << 40,
        other => return Err(format!("`{other}` is no unit; use K, M, G or T")),
    };
    let number: u64 = digits.parse().map_err(|_| format!("`{text}` is no size; write for instance 64M"))?;
    number.checked_mul(factor).ok_or_else(|| format!("`{text}` is too large"))
}

/// Guest memory.
pub(crate) fn memory(text: &str) -> Result<u64, String> {
    let bytes = size(text)?;
    if bytes < 1 << 20 {
        return Err("a PC needs at least 1M of memory".into());
    }
    if bytes % 4096 != 0 {
        return Err("memory comes in multiples of 4K".into());
    }
    if bytes > 32 << 30 {
        return Err("at most 32G of memory are supported".into());
    }
    Ok(bytes)
}

/// `30s`, `500ms`, `2m`, `1h`, or seconds; in nanoseconds.
pub(crate) fn duration(text: &str) -> Result<u64, String> {
    let bad = || format!("`{text}` is no duration; write for instance 30s, 500ms or 2m");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "" | "s" => 1e9,
        "ms" => 1e6,
        "us" => 1e3,
        "ns" => 1.0,
        "m" | "min" => 60e9,
        "h" => 3600e9,
        _ => return Err(bad()),
    };
    let number: f64 = digits.parse().map_err(|_| bad())?;
    let nanoseconds = number * factor;
    if nanoseconds.is_finite() && (0.0..1.8e19).contains(&nanoseconds) { Ok(nanoseconds as u64) } else { Err(bad()) }
}

/// A number, decimal or with `0x`.
pub(crate) fn number(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| format!("`{text}` is no number; write for instance 1000000 or 0x402"))
}

/// A port number.
pub(crate) fn port(text: &str) -> Result<u16, String> {
    u16::try_from(number(text)?).map_err(|_| format!("`{text}` is no port; ports are 0 to 0xffff"))
}

/// A processor.
pub(crate) fn model(text: &str) -> Result<Model, String> {
    Model::from_name(text).ok_or_else(|| {
        let names: Vec<_> = Model::ALL.iter().map(|model| model.name()).collect();
        format!("there is no processor `{text}`; there are {}", names.join(", "))
    })
}

/// A boot order: names with commas between them, or QEMU's letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BootOrder(pub(crate) Vec<BootDevice>);

pub(crate) fn boot(text: &str) -> Result<BootOrder, String> {
    let named = |name: &str| match name {
        "floppy" | "a" => Some(BootDevice::Floppy),
        "disk" | "hd" | "c" => Some(BootDevice::Disk),
        "cdrom" | "cd" | "d" => Some(BootDevice::Cdrom),
        "network" | "net" | "n" => Some(BootDevice::Network),
        _ => None,
    };
    let found: Option<Vec<_>> = text.split(',').map(named).collect();
    let letters = || text.chars().map(|letter| named(&letter.to_string())).collect::<Option<Vec<_>>>();
    found
        .or_else(letters)
        .filter(|order| !order.is_empty() && order.len() <= 3)
        .map(BootOrder)
        .ok_or_else(|| format!("`{text}` is no boot order; name up to three of floppy, disk, cdrom, network"))
}

/// Where a stream of bytes goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdio,
    File(PathBuf),
    Null,
}

pub(crate) fn stream(text: &str) -> Result<Stream, String> {
    match text {
        "stdio" => Ok(Stream::Stdio),
        "null" | "none" => Ok(Stream::Null),
        _ => match text.strip_prefix("file:") {
            Some(path) if !path.is_empty() => Ok(Stream::File(path.into())),
            _ => Err(format!("`{text}` is neither stdio, file:PATH nor null")),
        },
    }
}

/// A file at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) address: u64,
    pub(crate) path: PathBuf,
}

pub(crate) fn load(text: &str) -> Result<Load, String> {
    let (address, path) = text.split_once(':').ok_or("write ADDRESS:FILE, for instance 0x7c00:boot.bin")?;
    Ok(Load { address: number(address)?, path: path.into() })
}

/// What the clock chip shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Date {
    Host,
    Fixed(DateTime),
}

pub(crate) fn date(text: &str) -> Result<Date, String> {
    if text == "host" {
        return Ok(Date::Host);
    }
    let bad = || format!("`{text}` is no date; write for instance 2001-09-09T01:46:40, or host");
    let parts: Vec<&str> = text.split(['-', 'T', ':', ' ']).collect();
    let part = |index: usize| match parts.get(index) {
        Some(part) => part.parse::<u16>().map_err(|_| bad()),
        None if index >= 3 => Ok(0),
        None => Err(bad()),
    };
    let date = DateTime {
        year: part(0)?,
        month: u8::try_from(part(1)?).map_err(|_| bad())?,
        day: u8::try_from(part(2)?).map_err(|_| bad())?,
        hour: u8::try_from(part(3)?).map_err(|_| bad())?,
        minute: u8::try_from(part(4)?).map_err(|_| bad())?,
        second: u8::try_from(part(5)?).map_err(|_| bad())?,
    };
    let plausible = (1980..=2099).contains(&date.year)
        && (1..=12).contains(&date.month)
        && (1..=31).contains(&date.day)
        && date.hour < 24
        && date.minute < 60
        && date.second < 60;
    if plausible && parts.len() <= 6 { Ok(Date::Fixed(date)) } else { Err(bad()) }
}

/// Where VNC clients are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Vnc {
    pub(crate) address: SocketAddr,
    pub(crate) web_socket: Option<u16>,
    pub(crate) password: Option<String>,
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) origins: Vec<String>,
}

/// The port of display 0.
const VNC_PORT: u16 = 5900;
/// Smaller numbers behind an address are displays, as QEMU has them.
const SMALLEST_PORT: u16 = 100;

/// `:N` or `ADDRESS:PORT`, with options behind commas.
pub(crate) fn vnc(text: &str) -> Result<Vnc, String> {
    let mut parts = text.split(',');
    let place = parts.next().unwrap_or_default();
    let bad = || format!("`{place}` is no place to listen; write :1 or 127.0.0.1:5901");
    let (host, port) = place.rsplit_once(':').ok_or_else(bad)?;
    let port = match port {
        "auto" => 0,
        number => match number.parse::<u16>().map_err(|_| bad())? {
            display if display < SMALLEST_PORT => VNC_PORT + display,
            port => port,
        },
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address = match host {
        "" | "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        address => {
            address.parse().map_err(|_| format!("`{address}` is no IP address; write for instance 127.0.0.1"))?
        }
    };
    let mut vnc = Vnc {
        address: SocketAddr::new(address, port),
        web_socket: None,
        password: None,
        password_file: None,
        origins: Vec::new(),
    };
    let mut open = false;
    for part in parts {
        match part.split_once('=') {
            Some(("password", password)) => vnc.password = Some(password.to_owned()),
            Some(("password-file", path)) => vnc.password_file = Some(path.into()),
            Some(("websocket", "auto")) => vnc.web_socket = Some(0),
            Some(("websocket", port)) => {
                vnc.web_socket = Some(port.parse().map_err(|_| format!("`{port}` is no port"))?);
            }
            Some(("origin", origin)) => vnc.origins.push(origin.to_owned()),
            None if part == "no-password" => open = true,
            _ => {
                return Err(format!(
                    "`{part}`: there are password=TEXT, password-file=FILE, websocket=PORT, origin=URL and no-password"
                ));
            }
        }
    }
    if vnc.password.as_ref().is_some_and(|password| password.is_empty() || password.len() > 8) {
        return Err("a VNC password has 1 to 8 bytes: the protocol ignores all others".into());
    }
    if !address.is_loopback() && vnc.password.is_none() && vnc.password_file.is_none() && !open {
        return Err(format!(
            "on {address} everybody could take the keyboard: add password=TEXT, or no-password if that is wanted"
        ));
    }
    Ok(vnc)
}

/// Where GDB finds the machine.
pub(crate) fn gdb(text: &str) -> Result<beigebox::gdb::Address, String> {
    text.parse().map_err(|error: beigebox::gdb::AddressError| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_parse() {
        assert_eq!(size("64M"), Ok(64 << 20));
        assert!(size("64X").is_err() && size("M").is_err() && memory("512K").is_err());
        assert_eq!(duration("1.5s"), Ok(1_500_000_000));
        assert!(duration("5 parsecs").is_err() && duration("-1s").is_err());
        assert_eq!(port("0x402"), Ok(0x402));
        assert_eq!(boot("cda"), Ok(BootOrder(vec![BootDevice::Disk, BootDevice::Cdrom, BootDevice::Floppy])));
        assert_eq!(boot("cdrom,disk"), Ok(BootOrder(vec![BootDevice::Cdrom, BootDevice::Disk])));
        assert!(boot("").is_err() && boot("x").is_err());
        assert_eq!(stream("file:x"), Ok(Stream::File("x".into())));
        assert!(stream("file:").is_err());
        assert!(matches!(date("2001-09-09T01:46:40"), Ok(Date::Fixed(_))));
        assert!(date("2001-13-09").is_err());
        assert_eq!(load("0x7c00:a").unwrap().address, 0x7c00);
    }

    #[test]
    fn places_for_vnc() {
        let place = |text: &str| vnc(text).map(|vnc| vnc.address.to_string());
        assert_eq!(place(":1"), Ok("127.0.0.1:5901".into()));
        assert_eq!(place("127.0.0.1:5910"), Ok("127.0.0.1:5910".into()));
        assert_eq!(place("[::1]:auto"), Ok("[::1]:0".into()));
        assert_eq!(place("0.0.0.0:0,password=secret"), Ok("0.0.0.0:5900".into()));
        assert_eq!(place("0.0.0.0:0,no-password"), Ok("0.0.0.0:5900".into()));
        for bad in ["", "5900", ":x", "host:1", "0.0.0.0:0", ":1,passwd=x", ":1,password=ninechars", ":1,websocket=x"] {
            assert!(vnc(bad).is_err(), "{bad}");
        }
        assert_eq!(vnc(":0,websocket=6080").unwrap().web_socket, Some(6080));
    }
}
