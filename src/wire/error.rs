//! Errors in whichever dialect a client speaks.
//!
//! Owns the choice of shape, and the change of shape of a target's own words.
//! Refuses to decide what is said. Invariant: nothing that is written here ends
//! a stream as if its answer were complete.

use super::chat::ErrorBody;
use super::dialect::Dialect;
use super::redact::redact;
use super::refusal::read_error_fields;
use super::sse::SseFrame;
use super::{chat, messages, responses};
use bytes::Bytes;

/// Characters of a target's text that was no error object.
const WORDS_MAX: usize = 400;

/// The body of an HTTP answer.
#[must_use]
pub fn error_body(dialect: Dialect, error: &ErrorBody, request_id: &str) -> Bytes {
    match dialect {
        Dialect::Messages | Dialect::CountTokens => messages::error_body(error, request_id),
        Dialect::Responses => responses::error_body(error, request_id),
        Dialect::Chat | Dialect::Completions | Dialect::Embeddings => error.to_json(),
    }
}

/// A refusal of a target that speaks `from`, as a client that speaks `to` reads
/// one; of one vendor's dialects it stays as it came.
#[must_use]
pub fn reshape(from: Dialect, to: Dialect, status: u16, body: &Bytes, request_id: &str) -> Bytes {
    if from.is_anthropics() == to.is_anthropics() {
        return body.clone();
    }
    let fields = read_error_fields(body);
    let message = fields.message.unwrap_or_else(|| redact(&String::from_utf8_lossy(body), WORDS_MAX));
    let message = if message.trim().is_empty() { "the target refused without a word".to_owned() } else { message };
    let code = fields.code.or(fields.kind).unwrap_or_else(|| "invalid_request_error".to_owned());
    error_body(to, &ErrorBody { status, message, param: fields.param, code }, request_id)
}

/// What is known of the frames that went out, so that an error can follow them.
#[derive(Debug)]
pub enum Tail {
    /// Nothing needs to be known.
    Plain,
    Responses(Box<responses::Tail>),
}

impl Tail {
    #[must_use]
    pub fn new(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Responses => Self::Responses(Box::default()),
            Dialect::Chat | Dialect::Messages | Dialect::Completions | Dialect::Embeddings | Dialect::CountTokens => {
                Self::Plain
            }
        }
    }

    /// Takes note of a frame that goes out.
    pub fn follow(&mut self, frame: &SseFrame) {
        if let Self::Responses(tail) = self {
            tail.follow(frame);
        }
    }

    /// An error as the last of a stream. `error`: the body of an HTTP answer, in
    /// the client's dialect or a target's words.
    #[must_use]
    pub fn error(&self, dialect: Dialect, error: &[u8]) -> Bytes {
        match self {
            Self::Responses(tail) => responses::error_frames(error, tail),
            Self::Plain if dialect.is_anthropics() => messages::error_frames(error),
            Self::Plain => chat::error_frame(error),
        }
    }
}
