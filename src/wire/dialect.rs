//! The dialects that carry conversations.
//!
//! Owns their names and paths. Refuses to know how they are written (each has a
//! folder). Invariant: a dialect that is listed here is spoken at the door and
//! to targets, streamed and not.

use crate::domain::failure::closed_enum;

closed_enum! {
    /// A way of writing a conversation and its answer.
    Dialect {
        /// OpenAI's chat completions.
        Chat => "chat",
        /// Anthropic's messages.
        Messages => "messages",
        /// OpenAI's responses.
        Responses => "responses",
    }
}

impl Dialect {
    /// The path below a provider's base URL.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Chat => "/chat/completions",
            Self::Messages => "/messages",
            Self::Responses => "/responses",
        }
    }
}
