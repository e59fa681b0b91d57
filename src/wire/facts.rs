//! What a frame, or a whole answer, tells clocks, endings and bills.
//!
//! Owns the facts that every dialect's reader gives. Refuses text. Invariant:
//! whatever counts as content here is what design.md, section 7, calls content.

use crate::domain::usage::Usage;
use crate::wire::refusal::ErrorFields;

/// How a choice said it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    Stop,
    Length,
    ContentFilter,
    ToolCalls,
    Other,
}

/// Words by which a server says that it broke off (DeepSeek, vLLM, `OpenRouter`).
const BROKEN_OFF: [&str; 3] = ["insufficient_system_resource", "abort", "error"];

/// The error that a reason to end stands for, if it is no good end.
pub(super) fn broken_off(reason: &str) -> Option<ErrorFields> {
    let word = BROKEN_OFF.into_iter().find(|word| *word == reason)?;
    let message = format!("the answer was broken off, finish reason `{word}`");
    Some(ErrorFields { code: Some(word.to_owned()), message: Some(message), ..ErrorFields::default() })
}

/// What one frame told.
#[derive(Debug, Clone, Default, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not a state")]
pub struct FrameFacts {
    /// Deltas with content: text, reasoning, tool call, refusal or audio.
    pub contents: u32,
    /// Of those, the ones that are an answer (not reasoning).
    pub answers: u32,
    /// `(choice index, finish)` of each choice that ended here.
    pub finished: Vec<(u32, Finish)>,
    /// Choice indexes seen.
    pub choices: Indexes,
    pub usage: Option<Usage>,
    /// A usage frame: usage and no choices (chat).
    pub usage_only: bool,
    /// The dialect's own end: nothing but an orderly close follows it.
    pub done: bool,
    /// Says only that the target is alive (`ping`, `response.in_progress`).
    pub repeat: bool,
    /// It was looked at, and brings no sealed reasoning (chat).
    pub unsealed: bool,
    /// `sequence_number` (responses).
    pub sequence: Option<u64>,
    pub error: Option<ErrorFields>,
}

/// Indexes of choices; nearly every chunk has one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Indexes {
    first: Option<u32>,
    others: Vec<u32>,
}

impl Indexes {
    #[must_use]
    pub fn of(index: u32) -> Self {
        Self { first: Some(index), others: Vec::new() }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(super) fn is_one(&self) -> bool {
        self.first.is_some() && self.others.is_empty()
    }

    pub(super) fn push(&mut self, index: u32) {
        match self.first {
            None => self.first = Some(index),
            Some(_) => self.others.push(index),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.first.into_iter().chain(self.others.iter().copied())
    }
}

/// What a whole, unstreamed answer told.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WholeFacts {
    pub choices: usize,
    pub has_answer: bool,
    pub finish: Option<Finish>,
    pub usage: Option<Usage>,
    pub error: Option<ErrorFields>,
}
