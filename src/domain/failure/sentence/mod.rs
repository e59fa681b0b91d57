//! What a cause says in plain words, and what to do about it.
//!
//! Owns the sentences and advice, kept in the taxonomy's groups (`door`,
//! `process`, `stopped`, `refusal`, `answer`, `ours`), and the one message that
//! an error answer carries. Refuses addresses, keys and prompts. Invariant:
//! `words` is one exhaustive match, so a new cause without words breaks the build.

mod answer;
mod door;
mod message;
mod ours;
mod process;
mod refusal;
mod stopped;
mod words;

pub use message::client_message;
pub use words::{advice, advice_for, sentence};
