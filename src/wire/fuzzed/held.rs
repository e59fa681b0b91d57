//! What is held against an answer, whichever way it came.
//!
//! Owns the checks of frames that we write and of events that we read. Refuses
//! to make either. Invariant: what is compared is meaning (words, calls with
//! their arguments), not its form.

use crate::wire::canon::{Block, Delta, Event, Json, Loss, ReplyContext};
use crate::wire::dialect::Dialect;
use crate::wire::facts::WholeFacts;
use crate::wire::frames::{Assembler, FrameReader, read_whole};
use crate::wire::sse::{SseDecoder, SseFrame};
use crate::wire::{chat, messages, responses, strict};
use bytes::BytesMut;
use serde_json::{Map, Value};
use std::collections::HashMap;

pub(super) const SPOKEN: [Dialect; 3] = [Dialect::Chat, Dialect::Messages, Dialect::Responses];

/// Bytes that one byte of input may become, over all frames of an answer: the
/// shortest delta is some thirty bytes, the frames of its text in the most
/// talkative dialect some thousand.
const GROWTH_MAX: usize = 256;
/// What even the shortest answer may be made of; contexts repeat the client's tools.
const LEAST: usize = 256 << 10;
/// Characters of a loss: it goes into a header.
const LOSS_MAX: usize = 512;

pub(super) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(4096)]).into_owned()
}

pub(super) fn assert_growth(what: &str, from: usize, to: usize) {
    assert!(to <= LEAST + GROWTH_MAX * from, "{what}: {to} bytes of {from}");
}

pub(super) fn assert_named(losses: &[Loss]) {
    assert!(losses.len() <= 64, "{} losses", losses.len());
    for loss in losses {
        let text = loss.to_string();
        assert!(text.chars().count() <= LOSS_MAX, "a loss of {} bytes: {text:.80}", text.len());
    }
}

/// What clients of a dialect differ in, as far as its encoder acts on it: one who
/// asked for nothing special, one with tools of every kind, one with functions.
pub(super) fn contexts(to: Dialect) -> Vec<ReplyContext> {
    const TOOLS: &str = r#"[{"type":"function","name":"f","parameters":{}},{"type":"custom","name":"c"},
        {"type":"namespace","name":"n","tools":[{"type":"function","name":"g"}]},{"type":"tool_search"},
        {"type":"local_shell"},{"type":"shell"},{"type":"apply_patch"}]"#;
    const INCLUDE: &str = r#"["reasoning.encrypted_content","web_search_call.action.sources"]"#;
    let json = |text: &str| Json::parse(text.to_owned()).expect("it is written here");
    let plain = ReplyContext {
        id: "01jt0000000000000000000000".to_owned(),
        created: 1,
        model: "m".to_owned(),
        include_usage: true,
        ..ReplyContext::default()
    };
    let mut all = vec![plain.clone()];
    if to != Dialect::Messages {
        let fields = vec![("tools".to_owned(), json(TOOLS)), ("include".to_owned(), json(INCLUDE))];
        let custom_tools = vec!["c".to_owned()];
        all.push(ReplyContext { include_usage: false, custom_tools, fields, ..plain.clone() });
    }
    if to == Dialect::Chat {
        all.push(ReplyContext { fields: vec![("functions".to_owned(), json(r#"[{"name":"f"}]"#))], ..plain });
    }
    all
}

/// What an answer says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// Characters of text and refusals in the order of the alphabet: what blocks say
    /// at the same time may be written one behind the other.
    said: Vec<char>,
    thought: Vec<char>,
    /// Names and arguments of functions that were called, in the order of the alphabet.
    called: Vec<(String, String)>,
}

/// Reads events, and holds them to their own rules: a block opens once, grows and
/// closes while it is open, and the one finish finds none open.
pub(super) fn told(events: &[Event]) -> Told {
    let mut told = Told::default();
    let mut open: HashMap<u32, &Block> = HashMap::new();
    let mut calls: HashMap<u32, usize> = HashMap::new();
    let (mut next, mut finished, mut begun) = (0, false, false);
    for event in events {
        match event {
            Event::Start { .. } => assert!(!std::mem::replace(&mut begun, true), "two starts"),
            Event::Usage(_) => {}
            Event::Open { block, kind } => {
                assert!(!finished && *block == next, "block {block} after {next} were opened, finished: {finished}");
                next += 1;
                open.insert(*block, kind);
                if let Block::Call { name, custom: false, .. } = kind {
                    calls.insert(*block, told.called.len());
                    told.called.push((name.clone(), String::new()));
                }
            }
            Event::Delta { block, delta } => match (open.get(block).expect("a block that is open grows"), delta) {
                (Block::Text | Block::Refusal, Delta::Text(text)) => told.said.extend(text.chars()),
                (Block::Reasoning, Delta::Text(text)) => told.thought.extend(text.chars()),
                (Block::Call { custom: false, .. }, Delta::Arguments(text)) => {
                    told.called[calls[block]].1.push_str(text);
                }
                _ => {}
            },
            Event::Close { block } => drop(open.remove(block).expect("a block that is open closes")),
            Event::Finish { .. } => {
                assert!(!std::mem::replace(&mut finished, true), "two finishes");
                assert!(open.is_empty(), "open at the end: {open:?}");
            }
        }
    }
    told.said.sort_unstable();
    told.thought.sort_unstable();
    for (_, arguments) in &mut told.called {
        if arguments.is_empty() {
            arguments.push_str("{}");
        }
    }
    told.called.sort_unstable();
    told
}

impl Told {
    /// Whether a whole answer says what its stream said. A call's arguments are an
    /// object there, and what can be read of one that was cut. Of chat completions,
    /// reasoning that bears no seal is left out beside one that does.
    fn is_whole_of(&self, streamed: &Self, dialect: Dialect) -> bool {
        let objects = |told: &Self| -> Vec<(String, Map<String, Value>)> {
            let calls = told.called.iter();
            calls.filter_map(|(name, text)| Some((name.clone(), serde_json::from_str(text).ok()?))).collect()
        };
        let calls = objects(self);
        self.said == streamed.said
            && (dialect == Dialect::Chat || self.thought == streamed.thought)
            && self.called.len() == streamed.called.len()
            && objects(streamed).iter().all(|call| calls.contains(call))
    }
}

/// Decodes frames that are all good.
pub(super) fn decoded(dialect: Dialect, frames: &[SseFrame]) -> Result<Vec<Event>, String> {
    let mut out = Vec::new();
    match dialect {
        Dialect::Messages => {
            let mut decoder = messages::Decoder::default();
            frames.iter().try_for_each(|frame| decoder.push(frame, &mut out))?;
        }
        Dialect::Responses => {
            let mut decoder = responses::Decoder::default();
            frames.iter().try_for_each(|frame| decoder.push(frame, &mut out))?;
        }
        _ => {
            let mut decoder = chat::Decoder::default();
            frames.iter().try_for_each(|frame| decoder.push(frame, &mut out))?;
        }
    }
    Ok(out)
}

/// Reads an answer that we wrote as its client does: every payload is strict JSON
/// and a frame of the dialect, the bytes cut into the same frames again, and the
/// answer that the frames assemble to is one. What it says.
pub(super) fn read_ours(dialect: Dialect, frames: &[SseFrame]) -> Told {
    let mut reader = FrameReader::new(dialect);
    let mut assembler = Assembler::new(dialect);
    let mut bytes = BytesMut::new();
    for frame in frames {
        let shown = || lossy(&frame.data);
        strict::check(&frame.data).unwrap_or_else(|error| panic!("{dialect}: {error}: {}", shown()));
        let facts = reader.read(frame).unwrap_or_else(|error| panic!("{dialect}: {error}: {}", shown()));
        assert!(facts.error.is_none(), "{dialect}: an error: {}", shown());
        assembler.push(frame);
        frame.encode_into(&mut bytes);
    }
    let mut again = Vec::new();
    SseDecoder::new(usize::MAX).push(&bytes, &mut again).expect("no bound");
    assert!(again == frames, "{dialect}: other frames were read than were written");
    let whole = assembler.finish();
    let facts = read_whole(dialect, whole.as_bytes());
    assert!(matches!(facts, Ok(WholeFacts { error: None, .. })), "{dialect}: {facts:?}: {}", lossy(whole.as_bytes()));
    let events = decoded(dialect, frames).unwrap_or_else(|error| panic!("{dialect}: {error}"));
    let (said, repeated) = (told(&events), told(&decoded_whole(dialect, whole.as_bytes())));
    assert!(repeated.is_whole_of(&said, dialect), "{dialect}: whole {repeated:?}, streamed {said:?}");
    said
}

/// The events of a whole answer that is good.
pub(super) fn decoded_whole(dialect: Dialect, body: &[u8]) -> Vec<Event> {
    let events = match dialect {
        Dialect::Messages => messages::decode_whole(body),
        Dialect::Responses => responses::decode_whole(body),
        _ => chat::decode_whole(body),
    };
    events.unwrap_or_else(|error| panic!("{dialect}: {error}: {}", lossy(body)))
}
