//! The ways in which requests and their answers are written.
//!
//! Owns their names and paths. Refuses to know how they are written (each
//! conversation has a folder). Invariant: a conversation that is listed here is
//! spoken at the door and to targets, streamed and not, and translated into
//! every other.

use crate::domain::failure::closed_enum;

closed_enum! {
    /// A way of writing a request and its answer.
    Dialect {
        /// OpenAI's chat completions.
        Chat => "chat",
        /// Anthropic's messages.
        Messages => "messages",
        /// OpenAI's responses.
        Responses => "responses",
        /// OpenAI's legacy completions: a prompt, no turns.
        Completions => "completions",
        /// OpenAI's embeddings.
        Embeddings => "embeddings",
        /// Anthropic's count of a prompt's tokens.
        CountTokens => "count_tokens",
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
            Self::Completions => "/completions",
            Self::Embeddings => "/embeddings",
            Self::CountTokens => "/messages/count_tokens",
        }
    }

    /// Whether it carries a conversation, which can be put in another dialect.
    #[must_use]
    pub const fn is_conversation(self) -> bool {
        matches!(self, Self::Chat | Self::Messages | Self::Responses)
    }

    /// Whose error objects it has.
    #[must_use]
    pub const fn is_anthropics(self) -> bool {
        matches!(self, Self::Messages | Self::CountTokens)
    }
}
