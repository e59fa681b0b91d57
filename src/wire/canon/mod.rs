//! What every dialect means: the one model that translation goes through.
//!
//! Owns conversations, the events of an answer, and what is said of parts that
//! cannot be carried over. Refuses bytes: a dialect reads bytes to this and
//! writes bytes from it. Invariant: what a dialect cannot write is named as a
//! [`Loss`] or refused as [`Unsayable`], never left out in silence.

mod conversation;
mod event;
mod json;
mod loss;

pub use conversation::{
    Cache, Call, CallResult, Citation, Conversation, Effort, Format, Part, Reasoning, Role, Sampling, Seal, Source,
    Thinking, Tool, ToolChoice, Turn, WebSearch,
};
pub use event::{Block, Delta, Event, ReplyContext};
pub use json::Json;
pub(in crate::wire) use loss::Losses;
pub use loss::{Encoded, Loss, Unsayable, WriteFor};
