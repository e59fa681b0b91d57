//! What was delivered of an answer that broke off.
//!
//! Owns the reading of its frames as words, and the names it goes by: ids, numbers,
//! times. Refuses what nobody could carry on. Invariant: read from the frames that
//! the client has, so what is carried on is what the client holds.

use crate::wire::canon::{Block, Delta, Event};
use crate::wire::dialect::Dialect;
use crate::wire::sse::SseFrame;
use crate::wire::{chat, messages, responses};
use serde::Deserialize;
use std::collections::BTreeMap;

/// An answer that broke off.
#[derive(Debug, Clone, Default)]
pub struct Transcript {
    /// What a decoder read, from the start to the break.
    pub(in crate::wire) events: Vec<Event>,
    pub(in crate::wire) identity: Identity,
    text: String,
    has_reasoning: bool,
    /// The block that was being written.
    pub(super) open: Option<(u32, Block)>,
    /// The number of the next block.
    pub(super) next: u32,
}

/// What the client knows the answer by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::wire) struct Identity {
    pub(in crate::wire) id: Option<String>,
    pub(in crate::wire) created: Option<u64>,
    pub(in crate::wire) model: Option<String>,
    /// The number of the last block (messages).
    pub(in crate::wire) index: Option<u64>,
    /// The next `sequence_number` (responses).
    pub(in crate::wire) sequence: Option<u64>,
    /// Ids of items by `output_index` (responses).
    pub(in crate::wire) items: BTreeMap<usize, String>,
}

/// Why an answer cannot be carried on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// A call was handed out: the client may have run it, or holds half of it.
    Call,
    /// The answer has what only its provider can make.
    Native,
    /// It refuses; that is the provider's word.
    Refusal,
    /// It cannot be read again.
    Unreadable,
    /// It said why it ends.
    Finished,
}

impl Lost {
    /// As a sentence's end: the answer cannot be carried on, since ...
    #[must_use]
    pub const fn why(self) -> &'static str {
        match self {
            Self::Call => "a tool call was handed out already",
            Self::Native => "it holds steps that only its provider can make",
            Self::Refusal => "it is a refusal",
            Self::Unreadable => "its frames cannot be read again",
            Self::Finished => "it had ended",
        }
    }
}

impl Transcript {
    /// Reads the frames that a client of `dialect` has.
    ///
    /// # Errors
    /// [`Lost`] says why nobody could carry it on.
    ///
    /// # Panics
    /// For what is no conversation; nobody asks for that.
    pub fn read<'a>(dialect: Dialect, frames: impl Iterator<Item = &'a SseFrame>) -> Result<Self, Lost> {
        let mut transcript = Self::default();
        let mut reader = Reader::new(dialect);
        for frame in frames {
            reader.push(frame, &mut transcript.events).map_err(|_| Lost::Unreadable)?;
            transcript.identity.follow(dialect, frame);
        }
        transcript.judge()?;
        Ok(transcript)
    }

    fn judge(&mut self) -> Result<(), Lost> {
        for event in &self.events {
            match event {
                Event::Open { block, kind } => {
                    match kind {
                        Block::Call { .. } => return Err(Lost::Call),
                        Block::Native { .. } | Block::Search { .. } => return Err(Lost::Native),
                        Block::Refusal => return Err(Lost::Refusal),
                        Block::Reasoning | Block::Sealed => self.has_reasoning = true,
                        Block::Text => {}
                    }
                    self.next = self.next.max(block + 1);
                    self.open = Some((*block, kind.clone()));
                }
                Event::Delta { block, delta: Delta::Text(text) } => {
                    if self.open.as_ref().is_some_and(|(open, kind)| open == block && *kind == Block::Text) {
                        self.text.push_str(text);
                    }
                }
                Event::Close { block } => {
                    self.open.take_if(|(open, _)| open == block);
                }
                Event::Finish { .. } => return Err(Lost::Finished),
                Event::Start { .. } | Event::Usage(_) | Event::Delta { .. } => {}
            }
        }
        Ok(())
    }

    /// All that was said, without reasoning.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether reasoning was shown.
    #[must_use]
    pub const fn has_reasoning(&self) -> bool {
        self.has_reasoning
    }
}

enum Reader {
    Chat(Box<chat::Decoder>),
    Messages(Box<messages::Decoder>),
    Responses(Box<responses::Decoder>),
}

impl Reader {
    fn new(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Chat => Self::Chat(Box::default()),
            Dialect::Messages => Self::Messages(Box::default()),
            Dialect::Responses => Self::Responses(Box::default()),
            Dialect::Completions | Dialect::Embeddings | Dialect::CountTokens => {
                unreachable!("only conversations are carried on")
            }
        }
    }

    fn push(&mut self, frame: &SseFrame, events: &mut Vec<Event>) -> Result<(), String> {
        match self {
            Self::Chat(decoder) => decoder.push(frame, events),
            Self::Messages(decoder) => decoder.push(frame, events),
            Self::Responses(decoder) => decoder.push(frame, events),
        }
    }
}

/// What frames of all three dialects say of names.
#[derive(Deserialize)]
struct Named {
    id: Option<String>,
    created: Option<u64>,
    model: Option<String>,
    index: Option<u64>,
    sequence_number: Option<u64>,
    output_index: Option<usize>,
    item: Option<Item>,
    response: Option<Response>,
}

#[derive(Deserialize)]
struct Item {
    id: Option<String>,
}

#[derive(Deserialize)]
struct Response {
    id: Option<String>,
    created_at: Option<f64>,
    model: Option<String>,
}

impl Identity {
    fn follow(&mut self, dialect: Dialect, frame: &SseFrame) {
        let Ok(named) = serde_json::from_slice::<Named>(&frame.data) else { return };
        match dialect {
            // The first frame's are the answer's: agents put frames together by them.
            Dialect::Chat => {
                self.id = self.id.take().or(named.id);
                self.created = self.created.or(named.created);
                self.model = self.model.take().or(named.model);
            }
            Dialect::Messages => self.index = named.index.max(self.index),
            _ => {
                self.sequence = named.sequence_number.map(|number| number + 1).max(self.sequence);
                if let (Some(place), Some(Item { id: Some(id) })) = (named.output_index, named.item) {
                    self.items.entry(place).or_insert(id);
                }
                if let Some(response) = named.response {
                    self.id = self.id.take().or(response.id);
                    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "Unix seconds")]
                    let created = response.created_at.map(|seconds| seconds as u64);
                    self.created = self.created.or(created);
                    self.model = self.model.take().or(response.model);
                }
            }
        }
    }
}
