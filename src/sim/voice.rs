//! One answer in the words of one dialect.
//!
//! Owns the closed set of renderers, behind which `stream.rs` and `whole.rs` know
//! no dialect. Refuses pace and faults' timing. Invariant: a whole answer is its
//! streamed deltas joined, and deltas are said in order, each once.

use super::answer::Answer;
use super::chat::Chat;
use super::completions::Completions;
use super::fault::Fault;
use super::messages::Messages;
use super::responses::Responses;
use serde_json::Value;

/// One frame of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    /// What the `event:` line says, in dialects that have one.
    pub event: Option<&'static str>,
    pub payload: String,
}

impl Frame {
    pub fn data(payload: String) -> Self {
        Self { event: None, payload }
    }

    /// A frame with an `event:` line, which repeats the payload's `type`.
    pub fn named(event: &'static str, payload: &Value) -> Self {
        Self { event: Some(event), payload: payload.to_string() }
    }
}

/// What is played: an answer in a dialect, or a body that is no conversation.
pub(super) enum Voice {
    Chat(Chat),
    Completions(Completions),
    Messages(Messages),
    Responses(Responses),
    /// Embeddings and counted tokens: one JSON body, never streamed.
    Fixed {
        body: String,
        model: String,
        prompt: String,
    },
}

impl Voice {
    pub fn answer(&self) -> Option<&Answer> {
        match self {
            Self::Chat(chat) => Some(&chat.answer),
            Self::Completions(completions) => Some(&completions.answer),
            Self::Messages(messages) => Some(messages.answer()),
            Self::Responses(responses) => Some(responses.answer()),
            Self::Fixed { .. } => None,
        }
    }

    pub fn model(&self) -> &str {
        match self {
            Self::Fixed { model, .. } => model,
            _ => self.answer().map_or("", |answer| &answer.model),
        }
    }

    pub fn prompt(&self) -> &str {
        match self {
            Self::Fixed { prompt, .. } => prompt,
            _ => self.answer().map_or("", |answer| &answer.prompt),
        }
    }

    /// How many deltas there are.
    pub fn deltas(&self) -> usize {
        self.answer().map_or(0, |answer| answer.deltas.len())
    }

    /// What comes before any content; `roles` times in dialects with role frames.
    pub fn opening(&mut self, roles: usize) -> Vec<Frame> {
        match self {
            Self::Chat(chat) => chat.opening(roles),
            Self::Completions(_) | Self::Fixed { .. } => Vec::new(),
            Self::Messages(messages) => messages.opening(),
            Self::Responses(responses) => responses.opening(),
        }
    }

    /// A frame that is lawful before any content and says nothing.
    pub fn hollow(&mut self) -> Vec<Frame> {
        match self {
            Self::Chat(chat) => chat.opening(1),
            _ => self.filler(""),
        }
    }

    /// The frames of the delta at this place.
    pub fn say(&mut self, at: usize) -> Vec<Frame> {
        match self {
            Self::Chat(chat) => chat.say(at),
            Self::Completions(completions) => completions.say(at),
            Self::Messages(messages) => messages.say(at),
            Self::Responses(responses) => responses.say(at),
            Self::Fixed { .. } => Vec::new(),
        }
    }

    /// Text that is no part of the answer, in the block that is open, last; if none
    /// is, its opening comes before it.
    pub fn filler(&mut self, text: &str) -> Vec<Frame> {
        match self {
            Self::Chat(chat) => vec![chat.filler(text)],
            Self::Completions(completions) => vec![completions.filler(text)],
            Self::Messages(messages) => messages.filler(text),
            Self::Responses(responses) => responses.filler(text),
            Self::Fixed { .. } => Vec::new(),
        }
    }

    /// Finish and usage, as far as they are wanted, without `[DONE]`.
    pub fn ending(&mut self) -> Vec<Frame> {
        match self {
            Self::Chat(chat) => chat.ending(),
            Self::Completions(completions) => completions.ending(),
            Self::Messages(messages) => messages.ending(),
            Self::Responses(responses) => responses.ending(),
            Self::Fixed { .. } => Vec::new(),
        }
    }

    /// Whether a good stream ends in `data: [DONE]`.
    pub fn has_done(&self) -> bool {
        matches!(self, Self::Chat(_) | Self::Completions(_))
    }

    /// The error frame of a fault.
    pub fn failed(&mut self, fault: Fault) -> Frame {
        match self {
            Self::Chat(_) | Self::Completions(_) | Self::Fixed { .. } => {
                Frame::data(super::refusal::error_inside(fault).to_string())
            }
            Self::Messages(messages) => messages.failed(fault),
            Self::Responses(responses) => responses.failed(fault),
        }
    }

    /// The answer to a request that did not ask for a stream.
    pub fn whole(&self) -> String {
        match self {
            Self::Chat(chat) => chat.whole(),
            Self::Completions(completions) => completions.whole(),
            Self::Messages(messages) => messages.whole(),
            Self::Responses(responses) => responses.whole(),
            Self::Fixed { body, .. } => body.clone(),
        }
    }

    /// The body of a 200 that tells an error.
    pub fn whole_failed(&self, fault: Fault) -> Value {
        match self {
            Self::Chat(_) | Self::Completions(_) | Self::Fixed { .. } => super::refusal::error_inside(fault),
            Self::Messages(messages) => messages.error(fault),
            Self::Responses(responses) => responses.failed_object(fault),
        }
    }

    /// What stands before the first text in a whole body.
    pub fn text_key(&self) -> &'static str {
        match self {
            Self::Chat(_) => "\"content\":\"",
            Self::Completions(_) | Self::Messages(_) | Self::Responses(_) | Self::Fixed { .. } => "\"text\":\"",
        }
    }

    /// The same answer without any content.
    pub fn emptied(self) -> Self {
        match self {
            Self::Chat(chat) => Self::Chat(chat.emptied()),
            Self::Completions(completions) => Self::Completions(completions.emptied()),
            Self::Messages(messages) => Self::Messages(messages.emptied()),
            Self::Responses(responses) => Self::Responses(responses.emptied()),
            fixed @ Self::Fixed { .. } => fixed,
        }
    }
}
