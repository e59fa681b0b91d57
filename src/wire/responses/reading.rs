//! JSON taken apart one level at a time.
//!
//! Owns the reading of objects, lists and words from their text, and the places that
//! refusals and losses name. Refuses to quote
//! values. Invariant: no value is parsed deeper than it is looked at, so reading
//! is linear in the body.

pub(super) use crate::wire::canon::Losses;
use crate::wire::request::{Invalid, bad};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// Characters of a key that somebody else chose.
const KEY_MAX: usize = 64;

/// A place in a request; it is put into words only when it is named.
#[derive(Debug, Clone, Copy)]
pub(super) enum At<'a> {
    Field(&'a str),
    Index(&'a At<'a>, usize),
    Key(&'a At<'a>, &'a str),
}

impl At<'_> {
    pub(super) const fn index(&self, index: usize) -> At<'_> {
        At::Index(self, index)
    }

    pub(super) const fn key<'a>(&'a self, key: &'a str) -> At<'a> {
        At::Key(self, key)
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write_key(f, name),
            Self::Index(of, index) => write!(f, "{of}[{index}]"),
            Self::Key(of, key) => {
                write!(f, "{of}.")?;
                write_key(f, key)
            }
        }
    }
}

fn write_key(f: &mut fmt::Formatter<'_>, key: &str) -> fmt::Result {
    key.chars().filter(|c| !c.is_control()).take(KEY_MAX).try_for_each(|c| write!(f, "{c}"))
}

/// An object's fields in their order; those that are `null` count as absent.
#[derive(Default)]
pub(super) struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Object<'a> {
    pub(super) fn read(raw: &'a RawValue, at: &At<'_>) -> Result<Self, Invalid> {
        serde_json::from_str(raw.get()).map_err(|_| wrong(at, "an object"))
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, raw)| *raw)
    }

    pub(super) fn take(&mut self, name: &str) -> Option<&'a RawValue> {
        let place = self.0.iter().position(|(key, _)| key == name)?;
        Some(self.0.remove(place).1)
    }

    pub(super) fn text(&mut self, name: &str, at: &At<'_>) -> Result<Option<String>, Invalid> {
        self.take(name).map(|raw| text(raw, &at.key(name))).transpose()
    }

    /// The field's text, where nothing can go on without it.
    pub(super) fn required(&mut self, name: &str, at: &At<'_>) -> Result<String, Invalid> {
        self.text(name, at)?.ok_or_else(|| wrong(&at.key(name), "a string"))
    }

    /// Names every field that nobody took, but for those that say nothing elsewhere.
    pub(super) fn name_rest(&self, at: &At<'_>, silent: &[&str], losses: &mut Losses) {
        for (key, _) in self.0.iter().filter(|(key, _)| !silent.contains(&&**key)) {
            losses.dropped(at.key(key));
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Look;
        impl<'de> Visitor<'de> for Look {
            type Value = Object<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some((Word(key), raw)) = map.next_entry::<Word<'de>, &'de RawValue>()? {
                    if raw.get() != "null" {
                        fields.push((key, raw));
                    }
                }
                Ok(Object(fields))
            }
        }
        deserializer.deserialize_map(Look)
    }
}

#[derive(Deserialize)]
struct Word<'a>(#[serde(borrow)] Cow<'a, str>);

/// A refusal that names the place and what should stand there.
pub(super) fn wrong(at: &At<'_>, expected: &str) -> Invalid {
    bad(&at.to_string(), &format!("must be {expected}"))
}

/// A string, borrowed where nothing in it is escaped.
pub(super) fn word<'a>(raw: &'a RawValue, at: &At<'_>) -> Result<Cow<'a, str>, Invalid> {
    serde_json::from_str::<Word<'a>>(raw.get()).map(|Word(text)| text).map_err(|_| wrong(at, "a string"))
}

/// A string, if it is one.
pub(super) fn as_word(raw: &RawValue) -> Option<Cow<'_, str>> {
    if is_text(raw) { serde_json::from_str::<Word<'_>>(raw.get()).ok().map(|Word(text)| text) } else { None }
}

pub(super) fn text(raw: &RawValue, at: &At<'_>) -> Result<String, Invalid> {
    word(raw, at).map(Cow::into_owned)
}

pub(super) fn list<'a>(raw: &'a RawValue, at: &At<'_>) -> Result<Vec<&'a RawValue>, Invalid> {
    as_list(raw).ok_or_else(|| wrong(at, "a list"))
}

/// A list, if it is one. Looked at before it is parsed: the parser's refusal of a
/// long text would hold all of it.
pub(super) fn as_list(raw: &RawValue) -> Option<Vec<&RawValue>> {
    if is_list(raw) { serde_json::from_str(raw.get()).ok() } else { None }
}

pub(super) fn texts(raw: &RawValue, at: &At<'_>) -> Result<Vec<String>, Invalid> {
    serde_json::from_str(raw.get()).map_err(|_| wrong(at, "a list of strings"))
}

pub(super) fn flag(raw: &RawValue, at: &At<'_>) -> Result<bool, Invalid> {
    serde_json::from_str(raw.get()).map_err(|_| wrong(at, "true or false"))
}

pub(super) fn count(raw: &RawValue, at: &At<'_>) -> Result<u64, Invalid> {
    serde_json::from_str(raw.get()).map_err(|_| wrong(at, "a whole number"))
}

pub(super) fn is_text(raw: &RawValue) -> bool {
    raw.get().starts_with('"')
}

pub(super) fn is_list(raw: &RawValue) -> bool {
    raw.get().starts_with('[')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_told_without_what_breaks_a_line_and_not_at_any_length() {
        let key = format!("x\ny{}", "z".repeat(1000));
        let told = At::Field("input").index(1).key(&key).to_string();
        assert_eq!(told, format!("input[1].xy{}", "z".repeat(KEY_MAX - 2)));
    }
}
