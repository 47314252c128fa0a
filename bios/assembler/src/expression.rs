//! Expressions: evaluated straight from tokens, anew in every pass.

use crate::lexer::Token;

/// A value and whether it is a plain constant, the same in every pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Value {
    /// The number.
    pub number: i64,
    /// No label took part.
    pub constant: bool,
}

/// A position in the tokens of one statement.
#[derive(Clone)]
pub struct Cursor<'a> {
    /// All tokens.
    pub tokens: &'a [Token],
    /// Index of the next one.
    pub at: usize,
}

impl<'a> Cursor<'a> {
    /// At the first token.
    pub fn new(tokens: &'a [Token]) -> Self {
        Self { tokens, at: 0 }
    }

    /// The next token.
    pub fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.at)
    }

    /// The next token if it is a name.
    pub fn name(&self) -> Option<&'a str> {
        match self.peek() {
            Some(Token::Name(n)) => Some(n),
            _ => None,
        }
    }

    /// Is the token after the next this operator?
    pub fn second_is(&self, op: &str) -> bool {
        matches!(self.tokens.get(self.at + 1), Some(Token::Op(o)) if *o == op)
    }

    /// Takes the operator if it is next.
    pub fn take(&mut self, op: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Op(o)) if *o == op);
        self.at += usize::from(found);
        found
    }

    /// Takes the operator or complains.
    pub fn expect(&mut self, op: &str) -> Result<(), String> {
        if self.take(op) { Ok(()) } else { Err(format!("`{op}` expected{}", self.found())) }
    }

    /// Nothing left?
    pub fn done(&self) -> bool {
        self.at >= self.tokens.len()
    }

    /// Complains about leftovers.
    pub fn finish(&self) -> Result<(), String> {
        if self.done() { Ok(()) } else { Err(format!("end of line expected{}", self.found())) }
    }

    /// Describes the next token for a message.
    pub fn found(&self) -> String {
        match self.peek() {
            None => ", found the end of the line".into(),
            Some(Token::Name(n)) => format!(", found `{n}`"),
            Some(Token::Number(n)) => format!(", found `{n}`"),
            Some(Token::Text(_)) => ", found a text".into(),
            Some(Token::Op(o)) => format!(", found `{o}`"),
        }
    }
}

/// Resolves names to values.
pub trait Names {
    /// The value of `name`, or why there is none.
    fn value(&mut self, name: &str) -> Result<Value, String>;
}

const LEVELS: [&[&str]; 9] = [
    &["||"],
    &["&&"],
    &["|"],
    &["^"],
    &["&"],
    &["==", "!=", "<", ">", "<=", ">="],
    &["<<", ">>"],
    &["+", "-"],
    &["*", "/", "%"],
];

/// Level of `*`, `/` and `%`: the terms of a memory operand.
pub const TERM: usize = 8;

/// Evaluates an expression of the given lowest level (0: everything).
pub fn evaluate(c: &mut Cursor<'_>, names: &mut dyn Names, level: usize) -> Result<Value, String> {
    let Some(ops) = LEVELS.get(level) else { return unary(c, names) };
    let mut a = evaluate(c, names, level + 1)?;
    'next: loop {
        for op in *ops {
            if c.take(op) {
                let b = evaluate(c, names, level + 1)?;
                a = Value { number: apply(op, a.number, b.number)?, constant: a.constant && b.constant };
                continue 'next;
            }
        }
        return Ok(a);
    }
}

fn apply(op: &str, a: i64, b: i64) -> Result<i64, String> {
    Ok(match op {
        "||" => i64::from(a != 0 || b != 0),
        "&&" => i64::from(a != 0 && b != 0),
        "|" => a | b,
        "^" => a ^ b,
        "&" => a & b,
        "==" => i64::from(a == b),
        "!=" => i64::from(a != b),
        "<" => i64::from(a < b),
        ">" => i64::from(a > b),
        "<=" => i64::from(a <= b),
        ">=" => i64::from(a >= b),
        "<<" => a.wrapping_shl(b as u32),
        ">>" => ((a as u64).wrapping_shr(b as u32)) as i64,
        "+" => a.wrapping_add(b),
        "-" => a.wrapping_sub(b),
        "*" => a.wrapping_mul(b),
        "/" => a.checked_div(b).ok_or("division by zero")?,
        _ => a.checked_rem(b).ok_or("division by zero")?,
    })
}

fn unary(c: &mut Cursor<'_>, names: &mut dyn Names) -> Result<Value, String> {
    let map = |v: Value, f: fn(i64) -> i64| Value { number: f(v.number), constant: v.constant };
    if c.take("-") {
        return Ok(map(unary(c, names)?, i64::wrapping_neg));
    }
    if c.take("+") {
        return unary(c, names);
    }
    if c.take("~") {
        return Ok(map(unary(c, names)?, |v| !v));
    }
    if c.take("!") {
        return Ok(map(unary(c, names)?, |v| i64::from(v == 0)));
    }
    if c.take("(") {
        let v = evaluate(c, names, 0)?;
        c.expect(")")?;
        return Ok(v);
    }
    let found = c.found();
    let v = match c.peek() {
        Some(Token::Number(n)) => Value { number: *n, constant: true },
        Some(Token::Text(t)) if t.len() <= 8 => {
            Value { number: t.iter().rev().fold(0, |v, b| v << 8 | i64::from(*b)), constant: true }
        }
        Some(Token::Name(n)) => names.value(n)?,
        _ => return Err(format!("a value expected{found}")),
    };
    c.at += 1;
    Ok(v)
}
