//! Frames and whole answers of whichever dialect.
//!
//! Owns the choice of a dialect's reader and assembler, and the answers that
//! are no conversations. Refuses translation (`translate`). Invariant: a reader
//! is given the frames of one stream, in their order.

use super::dialect::Dialect;
use super::facts::{FrameFacts, WholeFacts};
use super::refusal::read_error_fields;
use super::sse::SseFrame;
use super::{chat, messages, responses};
use crate::domain::usage::Usage;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

/// Reads the frames of one stream.
#[derive(Debug)]
pub enum FrameReader {
    Chat(chat::ChunkReader),
    Messages(messages::FrameReader),
    Responses(responses::FrameReader),
}

impl FrameReader {
    #[must_use]
    pub fn new(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Messages | Dialect::CountTokens => Self::Messages(messages::FrameReader::default()),
            Dialect::Responses => Self::Responses(responses::FrameReader::default()),
            // Completions stream chunks with `text`, which chat's reader knows too.
            Dialect::Chat | Dialect::Completions | Dialect::Embeddings => Self::Chat(chat::ChunkReader::default()),
        }
    }

    /// What a frame tells. A frame that is the bare end of its stream (`[DONE]`)
    /// is [`FrameFacts::done`] and nothing else.
    ///
    /// # Errors
    /// A sentence saying why it is not a frame of this dialect.
    pub fn read(&mut self, frame: &SseFrame) -> Result<FrameFacts, String> {
        if frame.data == "[DONE]" {
            return Ok(FrameFacts { done: true, ..FrameFacts::default() });
        }
        match self {
            Self::Chat(reader) => reader.read(&frame.data),
            Self::Messages(reader) => reader.read(frame),
            Self::Responses(reader) => reader.read(frame),
        }
    }
}

/// Builds a whole answer from the frames of a stream.
#[derive(Debug)]
pub enum Assembler {
    Chat(chat::Assembler),
    Messages(Box<messages::Assembler>),
    Responses(Box<responses::Assembler>),
}

impl Assembler {
    #[must_use]
    pub fn new(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Messages | Dialect::CountTokens => Self::Messages(Box::default()),
            Dialect::Responses => Self::Responses(Box::default()),
            Dialect::Chat | Dialect::Completions | Dialect::Embeddings => Self::Chat(chat::Assembler::default()),
        }
    }

    /// Takes one frame; what is not of its dialect is ignored (the attempt has judged it before).
    pub fn push(&mut self, frame: &SseFrame) {
        match self {
            Self::Chat(assembler) => assembler.push(&frame.data),
            Self::Messages(assembler) => assembler.push(frame),
            Self::Responses(assembler) => assembler.push(frame),
        }
    }

    /// The whole answer, as JSON text.
    #[must_use]
    pub fn finish(self) -> String {
        match self {
            Self::Chat(assembler) => assembler.finish().to_string(),
            Self::Messages(assembler) => assembler.finish(),
            Self::Responses(assembler) => assembler.finish().to_string(),
        }
    }
}

/// Reads an unstreamed answer.
///
/// # Errors
/// A sentence saying why it is not an answer of this dialect.
pub fn read_whole(dialect: Dialect, body: &[u8]) -> Result<WholeFacts, String> {
    match dialect {
        Dialect::Chat | Dialect::Completions => chat::read_whole(body),
        Dialect::Messages => messages::read_whole(body),
        Dialect::Responses => responses::read_whole(body),
        Dialect::Embeddings | Dialect::CountTokens => read_figures(body),
    }
}

/// An answer in numbers: embeddings, or a count of tokens.
fn read_figures(body: &[u8]) -> Result<WholeFacts, String> {
    #[derive(Deserialize)]
    struct Figures {
        data: Option<Vec<serde::de::IgnoredAny>>,
        input_tokens: Option<u64>,
        usage: Option<Used>,
        error: Option<serde::de::IgnoredAny>,
    }
    #[derive(Deserialize)]
    struct Used {
        #[serde(default)]
        prompt_tokens: u64,
    }
    let figures: Figures =
        serde_json::from_slice(body).map_err(|_| "the answer is no object with the fields of its kind".to_owned())?;
    if figures.error.is_some() {
        return Ok(WholeFacts { error: Some(read_error_fields(body)), ..WholeFacts::default() });
    }
    if figures.data.is_none() && figures.input_tokens.is_none() {
        return Err("the answer has neither data nor input_tokens".to_owned());
    }
    let usage = figures.usage.map(|used| Usage { input: used.prompt_tokens, ..Usage::default() });
    let has_answer = figures.input_tokens.is_some() || figures.data.is_some_and(|data| !data.is_empty());
    Ok(WholeFacts { choices: 1, has_answer, usage, ..WholeFacts::default() })
}

/// A line that keeps a stream of this dialect alive. Of a comment one newline
/// only: a blank line after it would make the openai Python package parse an
/// empty event when the frame before carried an `id`.
#[must_use]
pub const fn keepalive(dialect: Dialect) -> &'static [u8] {
    if dialect.is_anthropics() { b"event: ping\ndata: {\"type\": \"ping\"}\n\n" } else { b": keepalive\n" }
}

/// What stands at the end of a complete stream, behind its last frame.
#[must_use]
pub const fn terminator(dialect: Dialect) -> &'static [u8] {
    match dialect {
        Dialect::Chat | Dialect::Completions => b"data: [DONE]\n\n",
        Dialect::Messages | Dialect::Responses | Dialect::Embeddings | Dialect::CountTokens => b"",
    }
}

/// A report of ours as the last frame of a complete stream.
#[must_use]
pub fn report_frame(dialect: Dialect, report: &Value) -> SseFrame {
    let (event, data) = match dialect {
        Dialect::Chat | Dialect::Completions | Dialect::Embeddings => {
            (None, serde_json::json!({"object": "chat.completion.chunk", "choices": [], "tautline": report}))
        }
        Dialect::Messages | Dialect::Responses | Dialect::CountTokens => {
            (Some(Bytes::from_static(b"tautline")), serde_json::json!({"type": "tautline", "tautline": report}))
        }
    };
    SseFrame { event, data: Bytes::from(data.to_string()) }
}
