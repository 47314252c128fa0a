//! Macros, repetition, conditions: text lines in, tokens of plain statements out.

use crate::expression::{Cursor, Names, Value, evaluate};
use crate::lexer::{Token, tokenize};
use crate::{AssembleError, Options, Source};
use std::collections::HashMap;

/// A statement's tokens and where it came from.
pub struct Line {
    /// Index of the source.
    pub source: usize,
    /// Line number from 1.
    pub number: usize,
    /// Never empty.
    pub tokens: Vec<Token>,
}

#[derive(Clone)]
struct Raw {
    source: usize,
    number: usize,
    text: String,
}

struct Macro {
    parameters: usize,
    body: Vec<Raw>,
}

/// Macro calls inside macros and repetitions end here.
const DEPTH_LIMIT: usize = 32;
/// More lines than this are a runaway `%rep`.
const LINE_LIMIT: usize = 1 << 20;

struct Preprocessor {
    macros: HashMap<String, Macro>,
    defines: HashMap<String, Vec<Token>>,
    constants: HashMap<String, i64>,
    expansions: usize,
    out: Vec<Line>,
}

impl Names for Preprocessor {
    fn value(&mut self, name: &str) -> Result<Value, String> {
        match self.constants.get(name) {
            Some(&number) => Ok(Value { number, constant: true }),
            None => Err(format!("`{name}` is not a constant known here")),
        }
    }
}

/// Expands all sources.
pub fn expand(sources: &[Source<'_>], options: &Options) -> Result<Vec<Line>, AssembleError> {
    let mut p = Preprocessor {
        macros: HashMap::new(),
        defines: HashMap::new(),
        constants: options.defines.iter().cloned().collect(),
        expansions: 0,
        out: Vec::new(),
    };
    let mut raw: Vec<Raw> = Vec::new();
    for (source, s) in sources.iter().enumerate() {
        let mut joined: Option<Raw> = None;
        for (i, line) in s.text.lines().enumerate() {
            let mut r = joined.take().unwrap_or(Raw { source, number: i + 1, text: String::new() });
            if let Some(head) = line.trim_end().strip_suffix('\\') {
                r.text.push_str(head);
                joined = Some(r);
            } else {
                r.text.push_str(line);
                raw.push(r);
            }
        }
        raw.extend(joined);
    }
    p.lines(&raw, 0).map_err(|(source, line, message)| AssembleError {
        file: sources.get(source).map_or(String::new(), |s| s.name.to_string()),
        line,
        message,
    })?;
    Ok(p.out)
}

type Failure = (usize, usize, String);

/// First word of a line, and what follows it.
fn directive(text: &str) -> Option<(&str, &str)> {
    let t = text.trim();
    let rest = t.strip_prefix('%')?;
    let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    if end == 0 { None } else { Some((&rest[..end], rest[end..].trim())) }
}

/// Index of the directive that closes the block opened before `from`.
fn closing(lines: &[Raw], from: usize, open: &[&str], close: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (i, l) in lines.iter().enumerate().skip(from) {
        if let Some((d, _)) = directive(&l.text) {
            if open.contains(&d) {
                depth += 1;
            } else if d == close {
                if depth == 0 {
                    return Some(i);
                }
                depth -= 1;
            }
        }
    }
    None
}

fn without_comment(text: &str) -> &str {
    let mut quote = None;
    for (i, c) in text.char_indices() {
        match quote {
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None if matches!(c, '\'' | '"' | '`') => quote = Some(c),
            None if c == ';' => return &text[..i],
            None => {}
        }
    }
    text
}

fn split_arguments(text: &str) -> Vec<String> {
    let text = without_comment(text).trim();
    let (mut parts, mut quote, mut depth) = (vec![String::new()], None, 0);
    if text.is_empty() {
        return Vec::new();
    }
    for c in text.chars() {
        match c {
            _ if quote == Some(c) => quote = None,
            '\'' | '"' | '`' if quote.is_none() => quote = Some(c),
            '(' | '[' if quote.is_none() => depth += 1,
            ')' | ']' if quote.is_none() => depth -= 1,
            ',' if quote.is_none() && depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(p) = parts.last_mut() {
            p.push(c);
        }
    }
    parts.into_iter().map(|p| p.trim().to_string()).collect()
}

impl Preprocessor {
    fn lines(&mut self, lines: &[Raw], depth: usize) -> Result<(), Failure> {
        let mut i = 0;
        while let Some(l) = lines.get(i) {
            let fail = |message: String| (l.source, l.number, message);
            i += 1;
            if self.out.len() > LINE_LIMIT || depth > DEPTH_LIMIT {
                return Err(fail("macros or repetitions nest or grow without end".into()));
            }
            let Some((word, rest)) = directive(&l.text) else {
                self.plain(l, depth)?;
                continue;
            };
            match word {
                "define" | "undef" => {
                    let tokens = self.tokens(rest, true).map_err(fail)?;
                    let Some(Token::Name(name)) = tokens.first() else {
                        return Err(fail(format!("%{word} needs a name")));
                    };
                    if word == "define" {
                        let body = self.substitute(tokens[1..].to_vec());
                        self.defines.insert(name.clone(), body);
                    } else {
                        self.defines.remove(name);
                    }
                }
                "macro" => {
                    let end = closing(lines, i, &["macro"], "endmacro");
                    let end = end.ok_or_else(|| fail("%macro without %endmacro".into()))?;
                    let mut words = without_comment(rest).split_whitespace();
                    let name = words.next().ok_or_else(|| fail("%macro needs a name".into()))?;
                    let parameters = words.next().map_or(Ok(0), str::parse);
                    let parameters = parameters.map_err(|_| fail("%macro name count".into()))?;
                    self.macros.insert(name.to_string(), Macro { parameters, body: lines[i..end].to_vec() });
                    i = end + 1;
                }
                "rep" => {
                    let end = closing(lines, i, &["rep"], "endrep");
                    let end = end.ok_or_else(|| fail("%rep without %endrep".into()))?;
                    for _ in 0..self.condition(rest).map_err(fail)? {
                        self.lines(&lines[i..end], depth + 1)?;
                    }
                    i = end + 1;
                }
                "if" | "ifdef" | "ifndef" => {
                    let opens = ["if", "ifdef", "ifndef"];
                    let end = closing(lines, i, &opens, "endif");
                    let end = end.ok_or_else(|| fail(format!("%{word} without %endif")))?;
                    let mut taken = self.test(word, rest).map_err(fail)?;
                    let (mut done, mut start, mut level) = (taken, i, 0usize);
                    for (j, line) in lines.iter().enumerate().take(end + 1).skip(i) {
                        let Some((d, r)) = directive(&line.text) else { continue };
                        if opens.contains(&d) {
                            level += 1;
                        } else if level > 0 {
                            level -= usize::from(d == "endif");
                        } else if matches!(d, "elif" | "else" | "endif") {
                            if taken {
                                self.lines(&lines[start..j], depth + 1)?;
                            }
                            let at = |m| (line.source, line.number, m);
                            taken = !done && (d == "else" || d == "elif" && self.test("if", r).map_err(at)?);
                            done |= taken;
                            start = j + 1;
                        }
                    }
                    i = end + 1;
                }
                "error" => return Err(fail(rest.trim_matches(['"', '\'']).to_string())),
                _ => return Err(fail(format!("unknown directive `%{word}`"))),
            }
        }
        Ok(())
    }

    fn test(&mut self, word: &str, rest: &str) -> Result<bool, String> {
        let name = without_comment(rest).trim();
        let known =
            self.defines.contains_key(name) || self.constants.contains_key(name) || self.macros.contains_key(name);
        match word {
            "ifdef" => Ok(known),
            "ifndef" => Ok(!known),
            _ => self.condition(rest).map(|v| v != 0),
        }
    }

    fn condition(&mut self, text: &str) -> Result<i64, String> {
        let tokens = self.tokens(text, false)?;
        let mut c = Cursor::new(&tokens);
        let v = evaluate(&mut c, self, 0)?;
        c.finish()?;
        Ok(v.number)
    }

    fn tokens(&self, text: &str, raw: bool) -> Result<Vec<Token>, String> {
        let tokens = tokenize(text)?;
        Ok(if raw { tokens } else { self.substitute(tokens) })
    }

    fn substitute(&self, tokens: Vec<Token>) -> Vec<Token> {
        let mut out = Vec::with_capacity(tokens.len());
        for t in tokens {
            match &t {
                Token::Name(n) if self.defines.contains_key(n) => out.extend(self.defines[n].iter().cloned()),
                _ => out.push(t),
            }
        }
        out
    }

    fn plain(&mut self, l: &Raw, depth: usize) -> Result<(), Failure> {
        let fail = |message: String| (l.source, l.number, message);
        let text = l.text.trim();
        let end = text.find(|c: char| c.is_whitespace() || c == ';').unwrap_or(text.len());
        // A label may stand before the use of a macro.
        let (label, text) = match text[..end].strip_suffix(':') {
            Some(_) => (&text[..end], text[end..].trim_start()),
            None => ("", text),
        };
        let end = text.find(|c: char| c.is_whitespace() || c == ';').unwrap_or(text.len());
        if let Some(m) = self.macros.get(&text[..end]) {
            let arguments = split_arguments(&text[end..]);
            if arguments.len() != m.parameters {
                let n = m.parameters;
                return Err(fail(format!("`{}` takes {n} arguments, {} given", &text[..end], arguments.len())));
            }
            self.expansions += 1;
            let local = format!("..@{}.", self.expansions);
            let mut body: Vec<Raw> = Vec::new();
            if !label.is_empty() {
                body.push(Raw { text: label.to_string(), ..l.clone() });
            }
            for b in &m.body {
                let mut text = b.text.replace("%%", &local).replace("%0", &arguments.len().to_string());
                for (i, a) in arguments.iter().enumerate() {
                    text = text.replace(&format!("%{}", i + 1), a);
                }
                body.push(Raw { source: l.source, number: l.number, text });
            }
            return self.lines(&body, depth + 1);
        }
        let tokens = self.tokens(&l.text, false).map_err(fail)?;
        if tokens.is_empty() {
            return Ok(());
        }
        if let [Token::Name(name), Token::Name(equ), value @ ..] = tokens.as_slice()
            && equ.eq_ignore_ascii_case("equ")
            && !name.starts_with('.')
            && let Ok(v) = evaluate(&mut Cursor::new(value), self, 0)
        {
            self.constants.insert(name.clone(), v.number);
        }
        self.out.push(Line { source: l.source, number: l.number, tokens });
        Ok(())
    }
}
