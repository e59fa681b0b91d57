//! JSON that leaves no doubt: one value, valid UTF-8, no key twice, not too deep.
//!
//! Owns the check and where in the document it failed. `serde_json` accepts
//! duplicate keys (the last wins) while other parsers take the first: two
//! readers of one request must not see two requests. Invariant: what passes
//! here means the same to every JSON parser.

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

/// Where and why a document was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail} (byte {offset})")]
pub struct NotStrict {
    /// Path to the place, as `messages[3].content`; empty for the document itself.
    pub field: String,
    /// Offset into the document, bytes.
    pub offset: u64,
    pub detail: String,
}

/// Checks a whole document. Nesting ends at `serde_json`'s own limit of 128.
///
/// # Errors
/// [`NotStrict`] names the path and the byte.
pub fn check(document: &[u8]) -> Result<(), NotStrict> {
    if let Err(error) = std::str::from_utf8(document) {
        return Err(NotStrict {
            field: String::new(),
            offset: error.valid_up_to() as u64,
            detail: "the body is not valid UTF-8".to_owned(),
        });
    }
    let mut path = Path { parts: Vec::new(), objects: 0 };
    let mut deserializer = serde_json::Deserializer::from_slice(document);
    let outcome = Strict { path: &mut path }.deserialize(&mut deserializer).and_then(|()| deserializer.end());
    outcome.map_err(|error| NotStrict {
        field: path.to_string(),
        offset: offset_of(document, error.line(), error.column()),
        detail: describe(&error),
    })
}

fn describe(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let bare = text.rsplit_once(" at line ").map_or(text.as_str(), |(bare, _)| bare);
    if bare.starts_with("recursion limit") {
        "the JSON is nested more than 127 levels deep".to_owned()
    } else if ["duplicate key", TOO_MANY_KEYS, TOO_MANY_OBJECTS].iter().any(|ours| bare.starts_with(ours)) {
        bare.to_owned()
    } else {
        format!("the body is not JSON: {bare}")
    }
}

fn offset_of(document: &[u8], line: usize, column: usize) -> u64 {
    let line_start = match line {
        0 | 1 => 0,
        _ => memchr::memchr_iter(b'\n', document).nth(line - 2).map_or(0, |at| at + 1),
    };
    (line_start + column.saturating_sub(1)) as u64
}

enum Part<'de> {
    Key(Cow<'de, str>),
    Index(usize),
}

struct Path<'de> {
    parts: Vec<Part<'de>>,
    /// Objects of the document so far.
    objects: usize,
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A path is for a person: what lies deeper than this says nothing more.
        for (place, part) in self.parts.iter().take(12).enumerate() {
            match part {
                Part::Key(key) if place == 0 => write!(f, "{}", clip(key))?,
                Part::Key(key) => write!(f, ".{}", clip(key))?,
                Part::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

fn clip(key: &str) -> Cow<'_, str> {
    if key.chars().count() <= 64 { Cow::Borrowed(key) } else { Cow::Owned(key.chars().take(64).collect()) }
}

/// Walks one value; on an error the path is left standing at its place.
struct Strict<'p, 'de> {
    path: &'p mut Path<'de>,
}

impl<'de> DeserializeSeed<'de> for Strict<'_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut index = 0;
        self.path.parts.push(Part::Index(index));
        while seq.next_element_seed(Strict { path: &mut *self.path })?.is_some() {
            index += 1;
            if let Some(last) = self.path.parts.last_mut() {
                *last = Part::Index(index);
            }
        }
        self.path.parts.pop();
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.path.objects += 1;
        if self.path.objects > OBJECTS_MAX {
            return Err(A::Error::custom(TOO_MANY_OBJECTS));
        }
        let mut seen = Seen::Few(Vec::new());
        while let Some(Key(key)) = map.next_key()? {
            if !seen.insert(key.clone()) {
                self.path.parts.push(Part::Key(key));
                return Err(A::Error::custom("duplicate key"));
            }
            if seen.len() > KEYS_MAX {
                return Err(A::Error::custom(TOO_MANY_KEYS));
            }
            self.path.parts.push(Part::Key(key));
            map.next_value_seed(Strict { path: &mut *self.path })?;
            self.path.parts.pop();
        }
        Ok(())
    }
}

/// A key as it stands in the document, copied only where it is escaped.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// Keys of one object. A set costs more than the few comparisons that most
/// objects need; of many keys each would be compared with all.
enum Seen<'de> {
    Few(Vec<Cow<'de, str>>),
    Many(HashSet<Cow<'de, str>>),
}

const FEW: usize = 16;
/// Keys of one object. A megabyte of schema has some thousands; to tell two million
/// apart takes seconds.
const KEYS_MAX: usize = 65_536;
const TOO_MANY_KEYS: &str = "an object with more than 65536 keys";
/// Objects of one document. Anthropic takes 100,000 messages in a request (API reference, "Messages"), each with one
/// part at least; a million short turns cost seconds to read and to write in another dialect, and as many as this, in
/// 32 MiB, most of one (bench, "dialects").
const OBJECTS_MAX: usize = 210_000;
const TOO_MANY_OBJECTS: &str = "more than 210000 objects in one body";

impl<'de> Seen<'de> {
    fn len(&self) -> usize {
        match self {
            Self::Few(keys) => keys.len(),
            Self::Many(keys) => keys.len(),
        }
    }

    /// False where it was seen before.
    fn insert(&mut self, key: Cow<'de, str>) -> bool {
        match self {
            Self::Many(keys) => keys.insert(key),
            Self::Few(keys) if keys.contains(&key) => false,
            Self::Few(keys) if keys.len() < FEW => {
                keys.push(key);
                true
            }
            Self::Few(keys) => {
                let many = keys.drain(..).chain([key]).collect();
                *self = Self::Many(many);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &[u8]) -> (String, u64, String) {
        let error = check(text).expect_err("refused");
        (error.field, error.offset, error.detail)
    }

    #[test]
    fn an_object_of_a_million_keys_is_refused_before_it_is_read_whole() {
        let keys: Vec<String> = (0..70_000).map(|n| format!("\"k{n}\":0")).collect();
        let (field, offset, detail) = refused(format!("{{\"tools\":{{{}}}}}", keys.join(",")).as_bytes());
        assert_eq!((field.as_str(), detail.as_str()), ("tools", TOO_MANY_KEYS));
        assert!(offset < 720_000, "{offset}");
    }

    #[test]
    fn a_million_turns_are_refused_where_they_become_too_many() {
        let turns = |count: usize| format!("{{\"messages\":[{}]}}", vec!["{\"a\":1}"; count].join(","));
        let (field, offset, detail) = refused(turns(1_000_000).as_bytes());
        assert_eq!((field.as_str(), detail.as_str()), ("messages[209999]", TOO_MANY_OBJECTS));
        assert!(offset < 2_200_000, "{offset}");
        check(turns(OBJECTS_MAX - 1).as_bytes()).expect("as many as there may be");
    }

    #[test]
    fn a_key_given_twice_is_named_with_its_path() {
        let (field, _, detail) = refused(br#"{"messages":[{"role":"user"},{"role":"a","content":1,"role":"b"}]}"#);
        assert_eq!((field.as_str(), detail.as_str()), ("messages[1].role", "duplicate key"));
    }

    #[test]
    fn depth_is_bounded_and_said() {
        let deep = [b"[".repeat(10_000), b"]".repeat(10_000)].concat();
        assert!(refused(&deep).2.contains("127 levels"));
    }

    #[test]
    fn bad_utf8_and_bad_json_name_the_byte() {
        assert_eq!(refused(b"{\"a\":\"\xff\"}").1, 6);
        let (field, offset, detail) = refused(b"{\"a\": {\"b\": nope}}");
        assert_eq!(field, "a.b");
        assert!(offset >= 12 && detail.starts_with("the body is not JSON"), "{offset} {detail}");
        assert!(refused(b"{} {}").2.contains("trailing"));
    }

    #[test]
    fn a_key_given_twice_is_found_among_many_and_however_it_is_written() {
        let many: Vec<String> = (0..100).map(|key| format!("\"{key}\":0,")).collect();
        let many = many.concat();
        assert_eq!(refused(format!("{{{many}\"7\":1}}").as_bytes()).2, "duplicate key");
        check(format!("{{{many}\"x\":1}}").as_bytes()).expect("strict");
        assert_eq!(refused(br#"{"a":1,"\u0061":2}"#).2, "duplicate key");
    }

    #[test]
    fn ordinary_documents_pass() {
        check(br#"{"a":[1,2.5,-3,null,true,"x"],"b":{"a":{}}}"#).expect("strict");
    }
}
