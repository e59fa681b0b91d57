//! What a dialect could not carry over.

use bytes::Bytes;
use std::fmt;

/// Something that was left out or altered, to be named in `x-tautline-warning`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// The field, as the client wrote it (`top_k`, `messages[3].content[0].citations`).
    Dropped(String),
    /// The field, and what was made of it.
    Changed(String, &'static str),
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dropped(field) => write!(f, "dropped {field}"),
            Self::Changed(field, what) => write!(f, "changed {field}: {what}"),
        }
    }
}

/// Losses that are named one by one: a header and a record hold them.
const LOSSES_MAX: usize = 32;
/// Characters of what is named: a client's own key may stand in it.
const NAME_MAX: usize = 256;

/// Losses of one request or answer in the order in which they were met, each once; behind
/// as many as are named it is said that there were more.
#[derive(Debug, Clone, Default)]
pub(in crate::wire) struct Losses {
    list: Vec<Loss>,
    more: bool,
}

impl Losses {
    pub(in crate::wire) fn dropped(&mut self, what: impl fmt::Display) {
        self.push(|| Loss::Dropped(named(what)));
    }

    pub(in crate::wire) fn changed(&mut self, what: impl fmt::Display, how: &'static str) {
        self.push(|| Loss::Changed(named(what), how));
    }

    /// The words of a loss are made only where there is room for it.
    fn push(&mut self, loss: impl FnOnce() -> Loss) {
        if self.list.len() < LOSSES_MAX {
            let loss = loss();
            if !self.list.contains(&loss) {
                self.list.push(loss);
            }
        } else if !self.more {
            self.more = true;
            self.list.push(Loss::Dropped("and more".to_owned()));
        }
    }

    pub(in crate::wire) fn list(&self) -> &[Loss] {
        &self.list
    }

    pub(in crate::wire) fn finish(self) -> Vec<Loss> {
        self.list
    }
}

fn named(what: impl fmt::Display) -> String {
    what.to_string().chars().filter(|c| !c.is_control()).take(NAME_MAX).collect()
}

/// A request that this dialect cannot put at all; the target is not tried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` cannot be said there: {why}")]
pub struct Unsayable {
    pub field: String,
    pub why: &'static str,
}

/// A conversation as a dialect's body.
#[derive(Debug, Clone)]
pub struct Encoded {
    pub body: Bytes,
    pub losses: Vec<Loss>,
}

/// For whom a conversation is written.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not a state")]
pub struct WriteFor<'a> {
    pub model: &'a str,
    /// Whether the target is asked to stream.
    pub stream: bool,
    /// Whether a usage frame is asked for (chat).
    pub ask_usage: bool,
    /// Fills in where the dialect demands a limit and the client gave none.
    pub output_tokens_max: Option<u64>,
    /// The target takes wishes about reasoning; `false` leaves them out, named.
    pub reasoning: bool,
    /// Its operator declared that it does.
    pub reasoning_declared: bool,
    /// The target takes the role `developer`; else it goes as `system`.
    pub developer_role: bool,
    /// The field that the target reads reasoning from (`reasoning_content`,
    /// `reasoning`); `None`: reasoning of earlier turns is not sent (chat).
    pub reasoning_field: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_named_once_within_a_bound_and_not_without_end() {
        let mut losses = Losses::default();
        losses.dropped("x".repeat(1 << 20));
        for place in 0..1000 {
            losses.changed(format_args!("messages[{}].x\ny", place / 2), "so");
        }
        let list = losses.finish();
        assert_eq!(list.len(), LOSSES_MAX + 1);
        assert_eq!(list[0], Loss::Dropped("x".repeat(NAME_MAX)));
        assert_eq!(list[1], Loss::Changed("messages[0].xy".to_owned(), "so"));
        assert_eq!(list.last(), Some(&Loss::Dropped("and more".to_owned())));
    }
}
