//! TOML files with errors that point at the line.

use crate::{Failure, code};
use miette::{SourceCode, SourceSpan};
use std::fmt::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The most bytes that a machine file or manifest may have.
const LARGEST: u64 = 16 << 20;

/// A TOML file as text, which its errors show.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    /// Where it was read from.
    pub(crate) path: PathBuf,
    text: String,
}

impl Document {
    pub(crate) fn read(path: &Path) -> Result<Document, Failure> {
        let length = std::fs::metadata(path).map_err(|error| Failure::file(path, "opened", &error))?.len();
        if length > LARGEST {
            return Err(Failure::new(code::CONFIGURATION, format!("{}: is too large", path.display())));
        }
        let bytes = std::fs::read(path).map_err(|error| Failure::file(path, "read", &error))?;
        let text = String::from_utf8(bytes)
            .map_err(|_| Failure::new(code::CONFIGURATION, format!("{}: is not UTF-8 text", path.display())))?;
        Ok(Document { path: path.to_owned(), text })
    }
    /// A document that is in no file, for tests.
    #[cfg(test)]
    pub(crate) fn from_text(text: &str) -> Document {
        Document { path: "test.toml".into(), text: text.to_owned() }
    }
    pub(crate) fn parse(&self) -> Result<DeTable<'_>, Failure> {
        match DeTable::parse(&self.text) {
            Ok(table) => Ok(table.into_inner()),
            Err(error) => Err(self.error(error.span().unwrap_or(0..0), error.message(), None)),
        }
    }
    /// The folder from which relative paths in it count.
    pub(crate) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }
    /// The line of a byte, from 1.
    pub(crate) fn line(&self, at: usize) -> usize {
        self.text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
    }
    /// An error about the bytes at `span`, shown with the lines around them.
    pub(crate) fn error(&self, span: Range<usize>, problem: &str, mend: Option<String>) -> Failure {
        let mut text = format!("{}:{}: {problem}", self.path.display(), self.line(span.start));
        // Whole lines, from the one before.
        let end = self.text[span.start..].find('\n').map_or(self.text.len(), |end| span.start + end);
        let source = SourceSpan::from(span.start..end);
        if let Ok(contents) = self.text.read_span(&source, 1, 0) {
            let lines = String::from_utf8_lossy(contents.data());
            let first = contents.line() + 1;
            let digits = (first + lines.lines().count()).to_string().len();
            for (index, line) in lines.lines().take(5).enumerate() {
                let _ = write!(text, "\n {:>digits$} | {line}", first + index);
                if first + index == self.line(span.start) {
                    let before = self.text[..span.start].rfind('\n').map_or(0, |end| end + 1);
                    let column = self.text[before..span.start].chars().count();
                    let width = self.text[span.clone()].lines().next().map_or(0, |part| part.chars().count()).max(1);
                    let _ = write!(text, "\n {:digits$} | {:column$}{}", "", "", "^".repeat(width));
                    break;
                }
            }
        }
        if let Some(mend) = mend {
            let _ = write!(text, "\n   = {mend}");
        }
        Failure::new(code::CONFIGURATION, text)
    }
    /// An error about a key that nobody knows, with the nearest that somebody does.
    pub(crate) fn unknown_key<'a>(
        &self,
        key: &Spanned<impl AsRef<str>>,
        known: impl Iterator<Item = &'a str>,
    ) -> Failure {
        let name = key.get_ref().as_ref();
        let mend = nearest(name, known).map(|near| format!("the nearest key is `{near}`"));
        self.error(key.span(), &format!("there is no key `{name}`"), mend)
    }
    /// The text of a string.
    pub(crate) fn string(&self, value: &Spanned<DeValue<'_>>) -> Result<String, Failure> {
        match value.get_ref() {
            DeValue::String(text) => Ok(text.clone().into_owned()),
            other => Err(self.error(value.span(), &format!("a string is wanted, not {}", kind(other)), None)),
        }
    }
    /// The elements of a list, or the one value that stands in its place.
    pub(crate) fn list<'v, 'i>(&self, value: &'v Spanned<DeValue<'i>>) -> Vec<&'v Spanned<DeValue<'i>>> {
        match value.get_ref() {
            DeValue::Array(array) => array.iter().collect(),
            _ => vec![value],
        }
    }
    /// A number, as an integer or as text with `0x`.
    pub(crate) fn number(&self, value: &Spanned<DeValue<'_>>) -> Result<u64, Failure> {
        let parsed = match value.get_ref() {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            DeValue::String(text) => crate::values::number(text).ok(),
            _ => None,
        };
        parsed.ok_or_else(|| self.error(value.span(), "a number from 0 up is wanted", None))
    }
}

/// What a value is, with its article.
pub(crate) fn kind(value: &DeValue<'_>) -> String {
    let name = value.type_str();
    let article = if name.starts_with(['a', 'i', 'o']) { "an" } else { "a" };
    format!("{article} {name}")
}

/// The known name that is most like `name`, if any is alike at all.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|other| (strsim::jaro_winkler(name, other), other))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, other)| other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_show_the_place() {
        let document = Document::from_text("a = 1\nmemry = 2\n");
        let failure = document.error(6..11, "there is no key `memry`", Some("try another".into()));
        assert_eq!(
            failure.text,
            "test.toml:2: there is no key `memry`\n 1 | a = 1\n 2 | memry = 2\n   | ^^^^^\n   = try another"
        );
        assert!(Document::from_text("").error(0..0, "empty", None).text.contains("test.toml:1: empty"));
        assert!(Document::from_text("x = ").error(4..4, "open", None).text.contains("test.toml:1: open"));
    }
}
