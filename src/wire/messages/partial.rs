//! JSON that arrives in pieces: whether it is whole, and what of it can be read.
//!
//! Owns one scanner over the text of a call's arguments. Refuses to judge values
//! (a parser does). Invariant: linear in the bytes, and what it keeps is one bit
//! for each level that is open.

/// Levels that are followed; deeper JSON no parser of the SDKs takes either.
const DEPTH_MAX: usize = 512;

/// Follows the brackets and strings of JSON text, piece by piece.
#[derive(Debug, Default, Clone)]
pub(super) struct Scanner {
    /// Open brackets; `true` is an object.
    open: Vec<bool>,
    at: At,
    broken: bool,
}

/// What the next byte stands in.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before the first bracket.
    #[default]
    Start,
    Value,
    String,
    /// Behind a backslash.
    Escape,
}

impl Scanner {
    pub(super) fn push(&mut self, text: &str) {
        for byte in text.bytes() {
            self.step(byte);
        }
    }

    /// One value with brackets has begun and ended.
    pub(super) fn is_whole(&self) -> bool {
        self.at == At::Value && !self.broken && self.open.is_empty()
    }

    fn in_string(&self) -> bool {
        matches!(self.at, At::String | At::Escape)
    }

    fn step(&mut self, byte: u8) {
        match (self.at, byte) {
            (At::String, b'\\') => self.at = At::Escape,
            (At::String, b'"') => self.at = At::Value,
            (At::Escape, _) | (At::Value, b'"') => self.at = At::String,
            (At::Start | At::Value, b'{' | b'[') => {
                self.at = At::Value;
                self.broken |= self.open.len() == DEPTH_MAX;
                if !self.broken {
                    self.open.push(byte == b'{');
                }
            }
            (At::Start | At::Value, b'}' | b']') => self.broken |= self.open.pop() != Some(byte == b'}'),
            // A call's input is an object: a string or a number before it is none.
            (At::Start, _) => self.broken |= !byte.is_ascii_whitespace(),
            (At::String | At::Value, _) => {}
        }
    }
}

/// What of a cut object can be read: everything up to the last value that is
/// whole, with the brackets closed, as the SDKs' parsers of partial JSON do.
/// `None` when that is no JSON either.
pub(super) fn mend(text: &str) -> Option<serde_json::Value> {
    // A string, number or word at the very end is a value, unless it is a key.
    closed(text).or_else(|| closed(&text[..last_bracket_or_comma(text)?]))
}

fn closed(text: &str) -> Option<serde_json::Value> {
    let mut scanner = Scanner::default();
    scanner.push(text);
    if scanner.broken || scanner.in_string() {
        return None;
    }
    let mut closed = text.to_owned();
    closed.extend(scanner.open.iter().rev().map(|is_object| if *is_object { '}' } else { ']' }));
    serde_json::from_str(&closed).ok()
}

/// Where the text can be cut: behind a bracket, or before a comma.
fn last_bracket_or_comma(text: &str) -> Option<usize> {
    let mut scanner = Scanner::default();
    let mut end = None;
    for (at, byte) in text.bytes().enumerate() {
        scanner.step(byte);
        match byte {
            _ if scanner.in_string() => {}
            b'{' | b'[' | b'}' | b']' => end = Some(at + 1),
            b',' => end = Some(at),
            _ => {}
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn it_is_whole_when_its_last_bracket_closed_and_not_before() {
        let text = r#" {"a":"}\"{","b":[1,{"c":null}]} "#;
        for cut in 0..text.len() {
            let mut scanner = Scanner::default();
            scanner.push(&text[..cut]);
            assert_eq!(scanner.is_whole(), cut >= text.len() - 1, "{}", &text[..cut]);
        }
        let mut scanner = Scanner::default();
        scanner.push("{]");
        assert!(!scanner.is_whole());
        scanner.push("}");
        assert!(!scanner.is_whole());
    }

    #[test]
    fn of_a_cut_object_stays_what_was_whole() {
        for (text, value) in [
            (r#"{"a":1,"b":"ha"#, Some(json!({"a":1}))),
            (r#"{"a":[1,2"#, Some(json!({"a":[1,2]}))),
            (r#"{"a":[1,2."#, Some(json!({"a":[1]}))),
            (r#"{"a":tr"#, Some(json!({}))),
            (r#"{"a":"b""#, Some(json!({"a":"b"}))),
            (r#"{"a":1,"#, Some(json!({"a":1}))),
            (r#"{"a":["x","y"#, Some(json!({"a":["x"]}))),
            (r#"{"a":["x""#, Some(json!({"a":["x"]}))),
            (r#"{"a":{"b":true},"c""#, Some(json!({"a":{"b":true}}))),
            (r#"{"a":{"b":{"#, Some(json!({"a":{"b":{}}}))),
            ("{", Some(json!({}))),
            ("", None),
            ("{'a':1}", None),
            ("}{", None),
        ] {
            assert_eq!(mend(text), value, "{text}");
        }
    }

    #[test]
    fn depth_without_end_is_no_depth() {
        let deep = "[".repeat(1_000_000);
        let mut scanner = Scanner::default();
        scanner.push(&deep);
        assert!(!scanner.is_whole() && scanner.open.len() <= DEPTH_MAX);
        assert_eq!(mend(&deep), None);
    }
}
