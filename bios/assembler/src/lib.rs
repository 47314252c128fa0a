//! A small x86 assembler for NASM-like text, 16 and 32 bit, flat binary output.
//!
//! # The language
//! One statement per line, `;` starts a comment, `\` at the end of a line continues it.
//! * Labels `name:`; a label that starts with a dot belongs to the last one that does not.
//!   `name equ expression`. `$` is the address of the current statement, `$$` the origin.
//! * `bits 16|32`, `org address` (before any output: the origin; later: pad forward to that
//!   address), `align n [, fill]`, `db dw dd dq` (numbers, `'text'`, `"text"`), `resb resw resd`
//!   (zeroes), `times count statement`.
//! * `%define name tokens`, `%undef`, `%macro name parameters` … `%endmacro` with `%1`…`%9`, `%0` and
//!   `%%local` labels, `%rep n` … `%endrep`, `%if %elif %else %endif` over constants known so far,
//!   `%ifdef %ifndef`, `%error text`. Files are joined by the caller: [`assemble_files`].
//! * Expressions: C operators and precedence on 64-bit integers; character constants are little-endian.
//! * Memory operands `[es:bx+si+4]`, `[dword eax*4+table]`; sizes `byte word dword qword tword`;
//!   distances `short near far`; prefixes `rep repe repne lock o16 o32 a16 a32` and segment names.
//! * Conditional and unconditional jumps take the shortest form by themselves. Immediates and
//!   displacements use their byte form where the value is a plain constant (holds no label).
//!
//! # Instructions
//! Everything an i686 has outside of x87, MMX and SSE, and a few of those.
//! What is missing is written with `db`.

mod encode;
mod expression;
mod lexer;
mod passes;
mod preprocessor;

use std::collections::BTreeMap;
use std::fmt;

/// What the source cannot say itself.
#[derive(Clone, Debug)]
pub struct Options {
    /// Address of the first byte, until an `org` says otherwise.
    pub origin: u64,
    /// Initial code size, 16 or 32.
    pub bits: u8,
    /// Constants defined before the first line.
    pub defines: Vec<(String, i64)>,
}

impl Default for Options {
    fn default() -> Self {
        Self { origin: 0, bits: 16, defines: Vec::new() }
    }
}

/// One source text with the name that errors show.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// File name for messages.
    pub name: &'a str,
    /// The text.
    pub text: &'a str,
}

/// The result: a flat image and the value of every label and `equ`.
#[derive(Clone, Debug, Default)]
pub struct Assembled {
    /// The bytes from the origin on.
    pub bytes: Vec<u8>,
    /// Address of `bytes[0]`.
    pub origin: u64,
    /// Labels and constants; local labels as `parent.local`.
    pub symbols: BTreeMap<String, i64>,
}

/// The first mistake found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssembleError {
    /// Name of the source, empty for [`assemble`].
    pub file: String,
    /// Line number from 1; inside a macro, the line of its use.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for AssembleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.file.is_empty() {
            write!(f, "line {}: {}", self.line, self.message)
        } else {
            write!(f, "{}:{}: {}", self.file, self.line, self.message)
        }
    }
}

impl std::error::Error for AssembleError {}

/// Assembles one text.
pub fn assemble(source: &str, options: &Options) -> Result<Assembled, AssembleError> {
    assemble_files(&[Source { name: "", text: source }], options)
}

/// Assembles several texts as if they were one, in order.
pub fn assemble_files(sources: &[Source<'_>], options: &Options) -> Result<Assembled, AssembleError> {
    let lines = preprocessor::expand(sources, options)?;
    passes::run(sources, &lines, options)
}
