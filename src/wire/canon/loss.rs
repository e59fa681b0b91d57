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
