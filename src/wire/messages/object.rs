//! Parts of a body, field by field, each value as its text.
//!
//! Owns how a reader looks into a value whose shape it knows in part: what it
//! takes it knows, what is left over it names. Refuses to build trees. Invariant:
//! a value is looked at once for each level that is read, so reading is linear.

pub(super) use crate::wire::canon::Losses;
use crate::wire::request::{Invalid, bad};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// Characters of a client's own key that are quoted.
const KEY_MAX: usize = 64;

/// Where something stands in a body.
#[derive(Clone, Copy)]
pub(super) enum Path<'a> {
    Field(&'a str),
    Key(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, "{}", clip(name)),
            Self::Key(parent, name) => write!(f, "{parent}.{}", clip(name)),
            Self::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// A key is the client's own text: it goes into a header, cut and without control characters.
pub(super) fn clip(key: &str) -> String {
    key.chars().filter(|c| !c.is_control()).take(KEY_MAX).collect()
}

/// Says that the value at `path` has another shape than was `expected`.
pub(super) fn wrong(path: &Path<'_>, expected: &str) -> Invalid {
    bad(&path.to_string(), &format!("must be {expected}"))
}

/// An object's fields in their order.
pub(super) struct Object<'a>(Vec<(String, Option<&'a RawValue>)>);

impl<'a> Object<'a> {
    pub(super) fn read(raw: &'a RawValue, path: &Path<'_>) -> Result<Self, Invalid> {
        serde_json::from_str(raw.get()).map_err(|_| wrong(path, "an object"))
    }

    /// Takes a field out; `null` counts as absent.
    pub(super) fn take(&mut self, name: &str) -> Option<&'a RawValue> {
        let slot = self.0.iter_mut().find(|(key, _)| key == name)?;
        slot.1.take().filter(|raw| raw.get() != "null")
    }

    pub(super) fn text(&mut self, name: &str, path: &Path<'_>) -> Result<Option<String>, Invalid> {
        self.typed(name, path, "a string")
    }

    pub(super) fn typed<T: Deserialize<'a>>(
        &mut self,
        name: &str,
        path: &Path<'_>,
        expected: &str,
    ) -> Result<Option<T>, Invalid> {
        self.take(name)
            .map(|raw| serde_json::from_str(raw.get()).map_err(|_| wrong(&Path::Key(path, name), expected)))
            .transpose()
    }

    /// Names every field that nobody took.
    pub(super) fn name_rest(self, path: &Path<'_>, losses: &mut Losses) {
        for (key, raw) in self.0 {
            if raw.is_some_and(|raw| raw.get() != "null") {
                losses.dropped(Path::Key(path, &key));
            }
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
                while let Some((key, value)) = map.next_entry::<String, &'de RawValue>()? {
                    fields.push((key, Some(value)));
                }
                Ok(Object(fields))
            }
        }
        deserializer.deserialize_map(Look)
    }
}

/// A list's values.
pub(super) fn list<'a>(raw: &'a RawValue, path: &Path<'_>, expected: &str) -> Result<Vec<&'a RawValue>, Invalid> {
    serde_json::from_str(raw.get()).map_err(|_| wrong(path, expected))
}
