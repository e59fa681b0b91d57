//! What got lost on the way, gathered within a bound.
//!
//! Owns the list of losses of one request or answer and the paths in it.
//! Refuses payloads: only names and places are kept. Invariant: at most
//! [`LOSSES_MAX`] are named, and that there were more is said.

use crate::wire::canon::Loss;
use std::fmt;

/// Losses named one by one; they go into a header.
const LOSSES_MAX: usize = 32;
/// Characters of a key that somebody else chose.
const KEY_MAX: usize = 64;

/// Losses in the order in which they were met, each once.
#[derive(Debug, Default)]
pub(super) struct Losses {
    list: Vec<Loss>,
    more: bool,
}

impl Losses {
    pub(super) fn dropped(&mut self, what: impl fmt::Display) {
        self.push(|| Loss::Dropped(what.to_string()));
    }

    pub(super) fn changed(&mut self, what: impl fmt::Display, how: &'static str) {
        self.push(|| Loss::Changed(what.to_string(), how));
    }

    /// The text of a loss is made only where there is room for it.
    fn push(&mut self, loss: impl FnOnce() -> Loss) {
        if self.list.len() >= LOSSES_MAX {
            self.more = true;
            return;
        }
        let loss = loss();
        if !self.list.contains(&loss) {
            self.list.push(loss);
        }
    }

    pub(super) fn list(&self) -> &[Loss] {
        &self.list
    }

    pub(super) fn finish(mut self) -> Vec<Loss> {
        if self.more {
            self.list.push(Loss::Dropped("and more".to_owned()));
        }
        self.list
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_named_once_and_not_without_end() {
        let mut losses = Losses::default();
        for place in 0..1000 {
            losses.dropped(At::Field("messages").index(place / 2).key("x\ny"));
        }
        let list = losses.finish();
        assert_eq!(list.len(), LOSSES_MAX + 1);
        assert_eq!(list[1], Loss::Dropped("messages[1].xy".to_owned()));
        assert_eq!(list.last(), Some(&Loss::Dropped("and more".to_owned())));
    }
}
