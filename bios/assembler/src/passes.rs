//! Statements to bytes: passes over all lines until no label moves.

use crate::encode::Encoder;
use crate::expression::{Cursor, Names, Value, evaluate};
use crate::lexer::Token;
use crate::preprocessor::Line;
use crate::{AssembleError, Assembled, Options, Source};
use std::collections::HashMap;

/// Jumps only ever grow, so this many passes are never needed in practice.
const PASS_LIMIT: usize = 200;
/// An image larger than this is a mistake in a `times` or `org`.
const SIZE_LIMIT: usize = 64 << 20;

struct Symbol {
    value: Value,
    pass: usize,
}

/// All that lasts from pass to pass, and the output of the current one.
pub struct Assembler {
    symbols: HashMap<String, Symbol>,
    parent: String,
    pass: usize,
    last: bool,
    moved: bool,
    origin: i64,
    out: Vec<u8>,
    /// Code size, 16 or 32.
    pub bits: u8,
    /// Per line: the jump did not fit its short form.
    long: Vec<bool>,
    line: usize,
    here: i64,
    /// Trouble that only counts once labels are settled.
    pub late: Option<String>,
}

impl Names for Assembler {
    fn value(&mut self, name: &str) -> Result<Value, String> {
        if name == "$" {
            return Ok(Value { number: self.here, constant: false });
        }
        if name == "$$" {
            return Ok(Value { number: self.origin, constant: false });
        }
        let full = self.full(name);
        match self.symbols.get(&full) {
            Some(s) => Ok(s.value),
            None if self.last => Err(format!("`{full}` is not defined")),
            None => {
                self.moved = true;
                Ok(Value { number: self.here, constant: false })
            }
        }
    }
}

impl Assembler {
    fn full(&self, name: &str) -> String {
        if name.starts_with('.') && !name.starts_with("..") {
            format!("{}{name}", self.parent)
        } else {
            name.to_string()
        }
    }

    /// Address of the next byte.
    pub fn position(&self) -> i64 {
        self.origin + self.out.len() as i64
    }

    /// Appends bytes.
    pub fn emit(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Appends the low `size` bytes of a value, which must fit as signed or unsigned.
    pub fn emit_value(&mut self, v: Value, size: u8) {
        let bits = u32::from(size) * 8;
        if bits < 64 && (v.number >> bits != 0 && v.number >> (bits - 1) != -1) {
            self.late = Some(format!("{:#x} does not fit in {size} byte(s)", v.number));
        }
        let bytes = v.number.to_le_bytes();
        self.emit(&bytes[..usize::from(size)]);
    }

    /// Whether the jump on this line has to use its long form; `distance` is that of the short form.
    pub fn needs_long(&mut self, distance: i64) -> bool {
        let fits = (-128..=127).contains(&distance);
        if !fits && !self.long[self.line] {
            self.long[self.line] = true;
            self.moved = true;
        }
        self.long[self.line]
    }

    fn define(&mut self, name: &str, value: Value) -> Result<(), String> {
        let full = self.full(name);
        if !name.starts_with('.') {
            self.parent = name.to_string();
        }
        let pass = self.pass;
        match self.symbols.get_mut(&full) {
            Some(s) if s.pass == pass => return Err(format!("`{full}` is defined twice")),
            Some(s) => {
                self.moved |= s.value != value;
                *s = Symbol { value, pass };
            }
            None => {
                self.moved = true;
                self.symbols.insert(full, Symbol { value, pass });
            }
        }
        Ok(())
    }

    fn constant(&mut self, c: &mut Cursor<'_>) -> Result<i64, String> {
        evaluate(c, self, 0).map(|v| v.number)
    }

    fn fill(&mut self, count: i64, byte: u8) -> Result<(), String> {
        if count < 0 {
            self.late = Some(format!("the count is negative ({count})"));
            return Ok(());
        }
        if count as usize > SIZE_LIMIT {
            return Err("the image grows too large".into());
        }
        self.out.resize(self.out.len() + count as usize, byte);
        Ok(())
    }

    fn statement(&mut self, mut c: Cursor<'_>) -> Result<(), String> {
        self.here = self.position();
        if let (Some(name), true) = (c.name(), c.second_is(":")) {
            let here = Value { number: self.here, constant: false };
            self.define(name, here)?;
            c.at += 2;
            if c.done() {
                return Ok(());
            }
            return self.statement(c);
        }
        let Some(word) = c.name() else { return Err(format!("an instruction or label expected{}", c.found())) };
        if let Some(Token::Name(second)) = c.tokens.get(c.at + 1) {
            let second = second.to_ascii_lowercase();
            if second == "equ" {
                c.at += 2;
                let parent = self.parent.clone();
                let v = evaluate(&mut c, self, 0)?;
                self.define(word, v)?;
                self.parent = parent;
                return c.finish();
            }
            if matches!(second.as_str(), "db" | "dw" | "dd" | "dq" | "resb" | "resw" | "resd")
                && !word.eq_ignore_ascii_case("times")
            {
                let here = Value { number: self.here, constant: false };
                self.define(word, here)?;
                c.at += 1;
                return self.statement(c);
            }
        }
        let lower = word.to_ascii_lowercase();
        c.at += 1;
        match lower.as_str() {
            "bits" => match self.constant(&mut c)? {
                16 => self.bits = 16,
                32 => self.bits = 32,
                n => return Err(format!("bits {n}: only 16 and 32 are known")),
            },
            "org" => {
                let address = self.constant(&mut c)?;
                if self.out.is_empty() {
                    self.origin = address;
                } else if address < self.here {
                    self.late = Some(format!("org {address:#x} lies behind: already at {:#x}", self.here));
                } else {
                    self.fill(address - self.here, 0)?;
                }
            }
            "align" => {
                let n = self.constant(&mut c)?;
                if n < 1 || n & (n - 1) != 0 {
                    return Err("align needs a power of two".into());
                }
                let fill = if c.take(",") { self.constant(&mut c)? } else { 0x90 };
                self.fill(self.here.wrapping_neg() & (n - 1), fill as u8)?;
            }
            "db" | "dw" | "dd" | "dq" => {
                let size: u8 = match lower.as_str() {
                    "db" => 1,
                    "dw" => 2,
                    "dd" => 4,
                    _ => 8,
                };
                loop {
                    match c.tokens.get(c.at..c.at + 2).or(c.tokens.get(c.at..c.at + 1)) {
                        // A text alone is a string, inside an expression it is a number.
                        Some([Token::Text(t)] | [Token::Text(t), Token::Op(",")]) => {
                            self.emit(t);
                            let odd = t.len() % usize::from(size);
                            self.fill(if odd == 0 { 0 } else { i64::from(size) - odd as i64 }, 0)?;
                            c.at += 1;
                        }
                        _ => {
                            let v = evaluate(&mut c, self, 0)?;
                            self.emit_value(v, size);
                        }
                    }
                    if !c.take(",") {
                        break;
                    }
                }
            }
            "resb" | "resw" | "resd" => {
                let n = self.constant(&mut c)?;
                let size = if lower == "resb" { 1 } else { 2 << i64::from(lower == "resd") };
                self.fill(n.saturating_mul(size), 0)?;
            }
            "times" => {
                let n = self.constant(&mut c)?;
                if n < 0 {
                    return self.fill(n, 0);
                }
                for _ in 0..n {
                    if self.out.len() > SIZE_LIMIT {
                        return Err("the image grows too large".into());
                    }
                    self.statement(c.clone())?;
                }
                return Ok(());
            }
            _ => return Encoder::new(self).instruction(&lower, c),
        }
        c.finish()
    }
}

/// Assembles the expanded lines.
pub fn run(sources: &[Source<'_>], lines: &[Line], options: &Options) -> Result<Assembled, AssembleError> {
    let mut symbols = HashMap::new();
    for (name, number) in &options.defines {
        let value = Value { number: *number, constant: true };
        symbols.insert(name.clone(), Symbol { value, pass: 0 });
    }
    let mut a = Assembler {
        symbols,
        parent: String::new(),
        pass: 0,
        last: false,
        moved: false,
        origin: options.origin as i64,
        out: Vec::new(),
        bits: options.bits,
        long: vec![false; lines.len()],
        line: 0,
        here: 0,
        late: None,
    };
    loop {
        a.pass += 1;
        a.moved = false;
        a.out.clear();
        a.parent.clear();
        a.origin = options.origin as i64;
        a.bits = options.bits;
        for (i, line) in lines.iter().enumerate() {
            a.line = i;
            a.late = None;
            let result = a.statement(Cursor::new(&line.tokens));
            let late = if a.last { a.late.take() } else { None };
            if let Some(message) = result.err().or(late) {
                let file = sources.get(line.source).map_or(String::new(), |s| s.name.to_string());
                return Err(AssembleError { file, line: line.number, message });
            }
        }
        if a.last {
            break;
        }
        a.last = !a.moved || a.pass >= PASS_LIMIT;
    }
    let symbols = a.symbols.iter().map(|(name, s)| (name.clone(), s.value.number)).collect();
    Ok(Assembled { bytes: a.out, origin: a.origin as u64, symbols })
}
