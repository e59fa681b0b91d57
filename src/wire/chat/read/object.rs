//! JSON values of a request, taken apart one level at a time.
//!
//! Owns the reading of objects, lists and words from their text, with the place
//! named when a value has the wrong shape. Refuses to quote values. Invariant:
//! no value is parsed deeper than it is looked at, so reading is linear.

use super::super::losses::At;
use crate::wire::request::{Invalid, bad};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// An object's fields in their order; those that are `null` count as absent.
pub(super) struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Object<'a> {
    pub(super) fn read(raw: &'a RawValue, at: &At<'_>) -> Result<Self, Invalid> {
        serde_json::from_str(raw.get()).map_err(|_| wrong(at, "an object"))
    }

    pub(super) fn take(&mut self, name: &str) -> Option<&'a RawValue> {
        let place = self.0.iter().position(|(key, _)| key == name)?;
        Some(self.0.remove(place).1)
    }

    pub(super) fn text(&mut self, name: &str, at: &At<'_>) -> Result<Option<String>, Invalid> {
        self.take(name).map(|raw| text(raw, &at.key(name))).transpose()
    }

    /// The field's text as the caller cannot go on without it.
    pub(super) fn required(&mut self, name: &str, at: &At<'_>) -> Result<String, Invalid> {
        self.text(name, at)?.ok_or_else(|| wrong(&at.key(name), "a string"))
    }

    /// Keys that nobody took.
    pub(super) fn rest(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(key, _)| &**key)
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

pub(super) fn text(raw: &RawValue, at: &At<'_>) -> Result<String, Invalid> {
    word(raw, at).map(Cow::into_owned)
}

pub(super) fn list<'a>(raw: &'a RawValue, at: &At<'_>) -> Result<Vec<&'a RawValue>, Invalid> {
    serde_json::from_str(raw.get()).map_err(|_| wrong(at, "a list"))
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

pub(super) fn is_object(raw: &RawValue) -> bool {
    raw.get().starts_with('{')
}

pub(super) fn is_list(raw: &RawValue) -> bool {
    raw.get().starts_with('[')
}
