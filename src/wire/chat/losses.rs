//! Places in a request, as losses name them.
//!
//! Owns their words. Refuses payloads: only names and places are told. Invariant: of a key
//! that somebody else chose no more is told than a person reads.

pub(super) use crate::wire::canon::Losses;
use std::fmt;

/// Characters of a key that somebody else chose.
const KEY_MAX: usize = 64;

/// A place in a request; its text is made only when it is wanted.
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
    for c in key.chars().filter(|c| !c.is_control()).take(KEY_MAX) {
        write!(f, "{c}")?;
    }
    Ok(())
}
