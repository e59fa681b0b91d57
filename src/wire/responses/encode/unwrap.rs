//! The free text of a call that was made as a function's, piece by piece.
//!
//! Owns the reading of `{"input": "..."}` as it arrives. Refuses to guess: what
//! begins in another way is held and given as it is. Invariant: all pieces
//! together are the same whatever the cuts between them.

use serde::Deserialize;
use std::borrow::Cow;

/// Bytes within which the text has to begin, white space counted.
const BEGIN_MAX: usize = 256;

/// Takes pieces of JSON, gives pieces of text.
#[derive(Debug, Default)]
pub(super) struct Unwrap {
    /// What was taken and not given yet; all of it while nothing was given.
    held: String,
    /// Inside the string.
    inside: bool,
    /// The string has ended; nothing after it is text.
    ended: bool,
}

#[derive(Deserialize)]
struct Wrapped<'a> {
    #[serde(borrow)]
    input: Cow<'a, str>,
}

impl Unwrap {
    /// What can be said now.
    pub(super) fn push(&mut self, piece: &str) -> String {
        if self.ended {
            return String::new();
        }
        self.held.push_str(piece);
        if !self.inside {
            // What is not begun by now is not wrapped, and looked at once, at its end.
            match Some(&self.held).filter(|held| held.len() <= BEGIN_MAX + piece.len()).and_then(|held| begin(held)) {
                Some(at) => {
                    self.held.drain(..at);
                    self.inside = true;
                }
                None => return String::new(),
            }
        }
        let (read, end) = readable(&self.held);
        self.ended = end;
        let text = unescape(&self.held[..read]);
        self.held.drain(..read);
        text
    }

    /// What remains when nothing more comes.
    pub(super) fn finish(self) -> String {
        if self.ended || self.inside {
            return String::new();
        }
        // Perhaps with its fields in another order, or a text without a wrapping.
        match serde_json::from_str::<Wrapped<'_>>(&self.held) {
            Ok(wrapped) => wrapped.input.into_owned(),
            Err(_) if self.held.trim() == "{}" => String::new(),
            Err(_) => self.held,
        }
    }
}

/// Where the text begins, if all before it is `{"input":"` with any white space.
fn begin(held: &str) -> Option<usize> {
    let mut rest = held;
    for token in ["{", "\"input\"", ":", "\""] {
        rest = rest.trim_start().strip_prefix(token)?;
    }
    Some(held.len() - rest.len())
}

/// How much of the inside of a string is whole characters, and whether its end follows.
fn readable(text: &str) -> (usize, bool) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => return (at, true),
            b'\\' => {
                let Some(length) = escape(&bytes[at..]) else { return (at, false) };
                at += length;
            }
            _ => at += 1,
        }
    }
    (at, false)
}

/// Bytes of the escape that begins here, both halves of a surrogate pair; `None`
/// while it is not whole.
fn escape(bytes: &[u8]) -> Option<usize> {
    if *bytes.get(1)? != b'u' {
        return Some(2);
    }
    let high = std::str::from_utf8(bytes.get(2..6)?).ok().and_then(|hex| u16::from_str_radix(hex, 16).ok());
    if !high.is_some_and(|unit| (0xD800..0xDC00).contains(&unit)) {
        return Some(6);
    }
    bytes.get(..12).map(|_| 12)
}

/// The inside of a JSON string as text. More is taken than JSON allows: models
/// write line breaks as they are, and escapes that there are not.
fn unescape(inside: &str) -> String {
    let mut text = String::with_capacity(inside.len());
    let mut rest = inside;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let length = escape(&rest.as_bytes()[at..]).unwrap_or(2);
        let Some(escaped) = rest.get(at..at + length) else {
            // Half an escape, or one that is cut by a character: as it stands.
            text.push_str(&rest[at..]);
            return text;
        };
        match serde_json::from_str::<String>(&format!("\"{escaped}\"")) {
            Ok(character) => text.push_str(&character),
            Err(_) => text.push_str(escaped),
        }
        rest = &rest[at + length..];
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unwrap(pieces: &[&str]) -> String {
        let mut unwrap = Unwrap::default();
        let mut text: String = pieces.iter().map(|piece| unwrap.push(piece)).collect();
        text.push_str(&unwrap.finish());
        text
    }

    #[test]
    fn any_cut_gives_the_same_text() {
        for (json, text) in [
            (r#"{"input":"*** Begin\nä \"x\" \\ \u00e9 \ud83d\ude00 end"}"#, "*** Begin\nä \"x\" \\ é 😀 end"),
            (" { \"input\" : \"a\" } ", "a"),
            (r#"{"input":""}"#, ""),
            (r#"{"other":1,"input":"a\n"}"#, "a\n"),
            ("plain text", "plain text"),
            (r#"{"patch":"x"}"#, r#"{"patch":"x"}"#),
            ("{}", ""),
            ("", ""),
        ] {
            assert_eq!(unwrap(&[json]), text, "{json}");
            for cut in (0..=json.len()).filter(|cut| json.is_char_boundary(*cut)) {
                assert_eq!(unwrap(&[&json[..cut], &json[cut..]]), text, "{json} cut at {cut}");
            }
            let singles: Vec<String> = json.chars().map(String::from).collect();
            assert_eq!(unwrap(&singles.iter().map(String::as_str).collect::<Vec<_>>()), text);
        }
    }
}
