//! From one dialect to another.
//!
//! Owns the way through the canonical model. Refuses to know targets. Invariant:
//! what one of the two cannot say is named, never left out in silence.

use super::canon::{Block, Conversation, Encoded, Event, Loss, ReplyContext, Unsayable, WriteFor};
use super::dialect::Dialect;
use super::request::Invalid;
use super::resume::{How, Join, Transcript};
use super::sse::SseFrame;
use super::tool_names::{self, Back};
use super::{chat, messages, responses};
use serde_json::value::RawValue;

/// A request's top level, in the canonical model.
///
/// # Errors
/// [`Invalid`] where a field cannot be understood.
///
/// # Panics
/// For what is no conversation; nobody asks for that.
pub fn read_request(
    dialect: Dialect,
    fields: &[(String, Box<RawValue>)],
) -> Result<(Conversation, Vec<Loss>), Invalid> {
    match dialect {
        Dialect::Chat => chat::read_request(fields),
        Dialect::Messages => messages::read_request(fields),
        Dialect::Responses => responses::read_request(fields),
        Dialect::Completions | Dialect::Embeddings | Dialect::CountTokens => {
            unreachable!("only conversations are translated")
        }
    }
}

/// A conversation as the body of a request.
///
/// # Errors
/// [`Unsayable`] names what this dialect cannot put at all.
///
/// # Panics
/// For what is no conversation; nobody asks for that.
pub fn write_request(dialect: Dialect, conversation: &Conversation, whom: &WriteFor<'_>) -> Result<Encoded, Unsayable> {
    let conversation = &*tool_names::fit(conversation, dialect);
    match dialect {
        Dialect::Chat => chat::write_request(conversation, whom),
        Dialect::Messages => messages::write_request(conversation, whom),
        Dialect::Responses => responses::write_request(conversation, whom),
        Dialect::Completions | Dialect::Embeddings | Dialect::CountTokens => {
            unreachable!("only conversations are translated")
        }
    }
}

/// Turns the answer of a target into the dialect of a client, frame by frame.
#[derive(Debug)]
pub struct Translator {
    from: From,
    to: To,
    names: Back,
    /// Where the answer goes on from one that broke off.
    join: Option<Box<Join>>,
    events: Vec<Event>,
}

#[derive(Debug)]
enum From {
    Chat(Box<chat::Decoder>),
    Messages(Box<messages::Decoder>),
    Responses(Box<responses::Decoder>),
}

#[derive(Debug)]
enum To {
    Chat(Box<chat::Encoder>),
    Messages(Box<messages::Encoder>),
    Responses(Box<responses::Encoder>),
}

impl Translator {
    /// # Panics
    /// For what is no conversation; nobody asks for that.
    #[must_use]
    pub fn new(from: Dialect, to: Dialect, context: ReplyContext) -> Self {
        let names = if from == to { Back::default() } else { Back::of(&context.unfit_names, from) };
        let from = match from {
            Dialect::Chat => From::Chat(Box::default()),
            Dialect::Messages => From::Messages(Box::default()),
            Dialect::Responses => From::Responses(Box::default()),
            Dialect::Completions | Dialect::Embeddings | Dialect::CountTokens => {
                unreachable!("only conversations are translated")
            }
        };
        let to = match to {
            Dialect::Chat => To::Chat(Box::new(chat::Encoder::new(context))),
            Dialect::Messages => {
                let mut encoder = Box::new(messages::Encoder::new(context));
                if matches!(from, From::Messages(_)) {
                    encoder.keep_seals();
                }
                To::Messages(encoder)
            }
            Dialect::Responses => To::Responses(Box::new(responses::Encoder::new(context))),
            Dialect::Completions | Dialect::Embeddings | Dialect::CountTokens => {
                unreachable!("only conversations are translated")
            }
        };
        Self { from, to, names, join: None, events: Vec::new() }
    }

    /// As [`Self::new`], for an answer that goes on where `transcript` broke off.
    ///
    /// # Panics
    /// For what is no conversation; nobody asks for that.
    #[must_use]
    pub fn continuing(from: Dialect, to: Dialect, context: ReplyContext, transcript: &Transcript, join: Join) -> Self {
        let mut translator = Self::new(from, to, context);
        // The encoder says again what the client has, which nobody gets, and stands where the answer broke off.
        let mut said = Vec::new();
        for event in &transcript.events {
            match &mut translator.to {
                To::Chat(encoder) => encoder.push(event, &mut said),
                To::Messages(encoder) => encoder.push(event, &mut said),
                To::Responses(encoder) => encoder.push(event, &mut said),
            }
            said.clear();
        }
        match &mut translator.to {
            To::Chat(encoder) => encoder.adopt(&transcript.identity),
            To::Messages(encoder) => encoder.adopt(&transcript.identity),
            To::Responses(encoder) => encoder.adopt(&transcript.identity),
        }
        translator.join = Some(Box::new(join));
        translator
    }

    /// How the answer joined the one before. `None`: it began anew.
    #[must_use]
    pub fn how(&self) -> Option<How> {
        self.join.as_ref().map(|join| join.how())
    }

    /// Why the words do not join the answer before.
    #[must_use]
    pub fn unjoined(&self) -> Option<&'static str> {
        self.join.as_ref().and_then(|join| join.refused())
    }

    /// Takes a frame and appends what it becomes.
    ///
    /// # Errors
    /// A sentence saying why it is not a frame of the target's dialect.
    pub fn push(&mut self, frame: &SseFrame, out: &mut Vec<SseFrame>) -> Result<(), String> {
        match &mut self.from {
            From::Chat(decoder) => decoder.push(frame, &mut self.events)?,
            From::Messages(decoder) => decoder.push(frame, &mut self.events)?,
            From::Responses(decoder) => decoder.push(frame, &mut self.events)?,
        }
        self.write(out)
    }

    /// The answer ended well: appends what closes it.
    pub fn end(&mut self, out: &mut Vec<SseFrame>) {
        match &mut self.to {
            To::Chat(encoder) => encoder.end(out),
            To::Messages(encoder) => encoder.end(out),
            To::Responses(encoder) => encoder.end(out),
        }
    }

    /// A whole answer as the frames of a stream, its end included.
    ///
    /// # Errors
    /// A sentence saying why it is not an answer of the target's dialect.
    pub fn whole(&mut self, body: &[u8]) -> Result<Vec<SseFrame>, String> {
        self.events = match &self.from {
            From::Chat(_) => chat::decode_whole(body)?,
            From::Messages(_) => messages::decode_whole(body)?,
            From::Responses(_) => responses::decode_whole(body)?,
        };
        let mut out = Vec::new();
        self.write(&mut out)?;
        self.end(&mut out);
        Ok(out)
    }

    /// What of the answer the client's dialect could not say.
    #[must_use]
    pub fn losses(&self) -> &[Loss] {
        match &self.to {
            To::Chat(encoder) => encoder.losses(),
            To::Messages(encoder) => encoder.losses(),
            To::Responses(encoder) => encoder.losses(),
        }
    }

    fn write(&mut self, out: &mut Vec<SseFrame>) -> Result<(), String> {
        let events = match &mut self.join {
            None => &mut self.events,
            Some(join) => {
                let mut joined = Vec::new();
                for event in self.events.drain(..) {
                    join.push(event, &mut joined)?;
                }
                self.events = joined;
                &mut self.events
            }
        };
        for mut event in events.drain(..) {
            if let Event::Open { kind: Block::Call { name, .. }, .. } = &mut event {
                self.names.restore(name);
            }
            match &mut self.to {
                To::Chat(encoder) => encoder.push(&event, out),
                To::Messages(encoder) => encoder.push(&event, out),
                To::Responses(encoder) => encoder.push(&event, out),
            }
        }
        match &self.to {
            To::Messages(encoder) => encoder.failure().map_or(Ok(()), |failure| Err(failure.to_owned())),
            To::Chat(_) | To::Responses(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod crossing;
