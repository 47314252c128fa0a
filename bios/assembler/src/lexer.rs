//! Text to tokens.

/// A token of one line.
#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    /// A name: label, mnemonic, register, `$`, `$$`.
    Name(String),
    /// A number.
    Number(i64),
    /// A quoted text.
    Text(Vec<u8>),
    /// Punctuation.
    Op(&'static str),
}

const OPS: [&str; 27] = [
    "<<", ">>", "==", "!=", "<=", ">=", "&&", "||", "+", "-", "*", "/", "%", "&", "|", "^", "~", "!", "(", ")", "[",
    "]", ",", ":", "<", ">", "=",
];

fn starts_name(c: char) -> bool {
    c.is_ascii_alphabetic() || matches!(c, '_' | '.' | '@' | '$' | '?')
}

fn continues_name(c: char) -> bool {
    starts_name(c) || c.is_ascii_digit()
}

fn number(word: &str) -> Option<i64> {
    let w: String = word.chars().filter(|c| *c != '_').collect::<String>().to_ascii_lowercase();
    let parsed = if let Some(hex) = w.strip_prefix("0x") {
        u64::from_str_radix(hex, 16)
    } else if let Some(hex) = w.strip_suffix('h') {
        u64::from_str_radix(hex, 16)
    } else if let Some(bin) = w.strip_prefix("0b") {
        u64::from_str_radix(bin, 2)
    } else if let Some(bin) = w.strip_suffix('b').filter(|b| b.bytes().all(|c| c == b'0' || c == b'1')) {
        u64::from_str_radix(bin, 2)
    } else {
        w.parse::<u64>()
    };
    parsed.ok().map(|v| v as i64)
}

/// Splits a line; the comment is dropped.
pub fn tokenize(line: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_start();
        let Some(c) = rest.chars().next() else { return Ok(tokens) };
        if c == ';' {
            return Ok(tokens);
        }
        if c == '\'' || c == '"' || c == '`' {
            let Some(end) = rest[1..].find(c) else { return Err("the text has no closing quote".into()) };
            tokens.push(Token::Text(rest[1..1 + end].bytes().collect()));
            rest = &rest[end + 2..];
        } else if c.is_ascii_digit() {
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
            let word = &rest[..end];
            tokens.push(Token::Number(number(word).ok_or_else(|| format!("`{word}` is not a number"))?));
            rest = &rest[end..];
        } else if starts_name(c) {
            let end = rest.find(|c: char| !continues_name(c)).unwrap_or(rest.len());
            tokens.push(Token::Name(rest[..end].to_string()));
            rest = &rest[end..];
        } else if let Some(op) = OPS.iter().find(|op| rest.starts_with(**op)) {
            tokens.push(Token::Op(op));
            rest = &rest[op.len()..];
        } else {
            return Err(format!("unexpected character `{c}`"));
        }
    }
}
