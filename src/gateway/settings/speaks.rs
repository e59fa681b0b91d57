//! In which dialect a provider is asked.

use super::{Api, Provider, ReasoningBack};
use crate::wire::dialect::Dialect;

impl Api {
    /// The dialect that it is written in.
    #[must_use]
    pub const fn dialect(self) -> Dialect {
        match self {
            Self::Chat => Dialect::Chat,
            Self::Responses => Dialect::Responses,
            Self::Messages => Dialect::Messages,
            Self::Completions => Dialect::Completions,
            Self::Embeddings => Dialect::Embeddings,
        }
    }

    /// The API that requests in a dialect belong to.
    #[must_use]
    pub const fn of(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Chat => Self::Chat,
            Dialect::Responses => Self::Responses,
            Dialect::Messages | Dialect::CountTokens => Self::Messages,
            Dialect::Completions => Self::Completions,
            Dialect::Embeddings => Self::Embeddings,
        }
    }
}

impl Provider {
    /// What a request that came in `asked` is put in for this provider: as it
    /// is where that is served, else in what it speaks. `None`: it cannot serve it.
    #[must_use]
    pub fn dialect_for(&self, asked: Dialect) -> Option<Dialect> {
        if self.serves(Api::of(asked)) {
            return Some(asked);
        }
        self.spoken().filter(|_| asked.is_conversation()).map(Api::dialect)
    }

    /// The field in which reasoning goes back to it with an assistant's message (chat).
    #[must_use]
    pub const fn reasoning_back(&self) -> Option<&'static str> {
        match self.vendor.reasoning_back {
            ReasoningBack::Needed | ReasoningBack::Taken => self.vendor.reasoning.as_str(),
            ReasoningBack::Unsaid | ReasoningBack::Refused => None,
        }
    }
}
