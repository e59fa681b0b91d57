//! Events of any dialect as frames of this one.
//!
//! Owns the order that clients of this dialect rely on: one block is open at a
//! time, blocks are numbered as they open, and what another block says meanwhile
//! waits. Text and reasoning give way at once and go on in a block of their own;
//! a call gives way when its arguments are whole. Refuses to interpret. Invariant:
//! the frames accumulate in Anthropic's packages to the answer that the events
//! tell. Source: Claude docs, "Streaming messages".

use super::object::Losses;
use super::partial::Scanner;
use super::stop::stop_reason_of;
use super::{ids, seal};
use crate::domain::usage::Usage;
use crate::wire::canon::{Block, Citation, Delta, Event, Loss, ReplyContext, Seal};
use crate::wire::dialect::Dialect;
use crate::wire::facts::Finish;
use crate::wire::resume::Identity;
use crate::wire::sse::SseFrame;
use bytes::Bytes;
use serde_json::{Value, json};
use std::collections::VecDeque;

/// Bytes of pieces that wait for a call to end. When there are more, the answer
/// cannot be told: a call whose input is cut would be run.
const HELD_BYTES_MAX: usize = 4 << 20;

/// Blocks that wait; as with the bytes.
const HELD_BLOCKS_MAX: usize = 256;

/// Blocks that gave way and may go on; the oldest is forgotten.
const PAUSED_MAX: usize = 64;

/// Makes the frames of one answer.
#[derive(Debug)]
pub struct Encoder {
    context: ReplyContext,
    id: String,
    model: String,
    begun: bool,
    ended: bool,
    next_index: u64,
    current: Option<Current>,
    /// Blocks that opened while a call was being written.
    waiting: VecDeque<Waiting>,
    held_bytes: usize,
    paused: VecDeque<(u32, Kind)>,
    usage: Option<Usage>,
    finish: Option<(Finish, Option<String>)>,
    called: bool,
    searches: u64,
    seals: Seals,
    failure: Option<&'static str>,
    losses: Losses,
}

/// How seals go out.
#[derive(Debug, Clone, Copy)]
enum Seals {
    Marked,
    /// The answer came in this dialect, whose seals need no mark.
    Own,
}

/// The block that is being written.
#[derive(Debug)]
struct Current {
    block: u32,
    kind: Kind,
    /// Its number, once its start is out; a block without a word has none.
    index: Option<u64>,
    arguments: Scanner,
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Text,
    Reasoning,
    Sealed,
    Call { id: String, name: String, custom: bool },
    Search { id: String, query: Option<String>, hits: Vec<(String, String)> },
}

#[derive(Debug)]
struct Waiting {
    block: u32,
    kind: Kind,
    deltas: Vec<Delta>,
    closed: bool,
}

impl Encoder {
    #[must_use]
    pub fn new(context: ReplyContext) -> Self {
        let id = format!("msg_{}", context.id);
        let model = context.model.clone();
        Self {
            context,
            id,
            model,
            begun: false,
            ended: false,
            next_index: 0,
            current: None,
            waiting: VecDeque::new(),
            held_bytes: 0,
            paused: VecDeque::new(),
            usage: None,
            finish: None,
            called: false,
            searches: 0,
            seals: Seals::Marked,
            failure: None,
            losses: Losses::default(),
        }
    }

    /// Says that the events come from a target of this dialect.
    pub const fn keep_seals(&mut self) {
        self.seals = Seals::Own;
    }

    fn sealed(&self, seal: &Seal) -> String {
        match (self.seals, seal) {
            (Seals::Own, Seal::Signature(text) | Seal::Redacted(text)) => text.clone(),
            _ => seal::foreign(seal),
        }
    }

    /// Goes on as an answer that began elsewhere, behind its last block's number.
    pub(in crate::wire) fn adopt(&mut self, names: &Identity) {
        self.begun = true;
        let Some(last) = names.index else { return };
        self.next_index = last + 1;
        if let Some(current) = &mut self.current {
            current.index = current.index.map(|_| last);
        }
    }

    /// What this dialect has no place for, so far.
    #[must_use]
    pub fn losses(&self) -> &[Loss] {
        self.losses.list()
    }

    /// Appends the frames that an event makes. Nothing comes after [`end`](Self::end).
    pub fn push(&mut self, event: &Event, out: &mut Vec<SseFrame>) {
        if self.ended {
            return;
        }
        match event {
            Event::Start { id, model } => self.start(id, model),
            Event::Open { block, kind } => self.open(*block, kind, out),
            Event::Delta { block, delta } => self.delta(*block, delta, out),
            Event::Close { block } => self.close(*block, out),
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::Finish { finish, stop_sequence } => self.finish = Some((*finish, stop_sequence.clone())),
        }
    }

    /// Appends what remains: blocks that wait, why it ended, what it counted.
    pub fn end(&mut self, out: &mut Vec<SseFrame>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.shut(out);
        while let Some(next) = self.waiting.pop_front() {
            self.write_held(next, out);
            self.shut(out);
        }
        self.begin(out);
        let (finish, sequence) = match self.finish.take() {
            Some((finish, sequence)) => (Some(finish), sequence),
            None => (None, None),
        };
        let reason = stop_reason_of(finish, self.called, sequence.is_some());
        let sequence = sequence.filter(|_| reason == "stop_sequence");
        let delta = json!({"type": "message_delta",
            "delta": {"stop_reason": reason, "stop_sequence": sequence}, "usage": self.final_usage()});
        out.push(frame("message_delta", delta.to_string()));
        out.push(frame("message_stop", r#"{"type":"message_stop"}"#.to_owned()));
    }

    /// An id in the vendor's form is the answer's own; the model is what the
    /// client asked for, where the exchange knows it.
    fn start(&mut self, id: &str, model: &str) {
        if self.begun {
            return;
        }
        if id.starts_with("msg_") {
            id.clone_into(&mut self.id);
        }
        if self.context.model.is_empty() {
            model.clone_into(&mut self.model);
        }
    }

    fn begin(&mut self, out: &mut Vec<SseFrame>) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let usage = self.usage.unwrap_or_default();
        let message = json!({"type": "message_start", "message": {
            "id": self.id, "type": "message", "role": "assistant", "model": self.model, "content": [],
            "stop_reason": null, "stop_sequence": null, "usage": counted(&usage)}});
        out.push(frame("message_start", message.to_string()));
    }

    fn final_usage(&self) -> Value {
        let Some(usage) = self.usage else { return json!({"output_tokens": 0}) };
        let mut value = counted(&usage);
        if usage.reasoning > 0 {
            value["output_tokens_details"] = json!({"thinking_tokens": usage.reasoning});
        }
        if self.searches > 0 {
            value["server_tool_use"] = json!({"web_search_requests": self.searches, "web_fetch_requests": 0});
        }
        value
    }

    fn open(&mut self, block: u32, kind: &Block, out: &mut Vec<SseFrame>) {
        let kind = match kind {
            Block::Text => Kind::Text,
            Block::Refusal => {
                self.losses.changed("refusal", "became text");
                Kind::Text
            }
            Block::Reasoning => Kind::Reasoning,
            Block::Sealed => Kind::Sealed,
            Block::Call { id, name, custom } => Kind::Call { id: id.clone(), name: name.clone(), custom: *custom },
            Block::Search { id, query, hits } => {
                Kind::Search { id: id.clone(), query: query.clone(), hits: hits.clone() }
            }
            Block::Native { kind, .. } => {
                self.losses.dropped(super::object::clip(kind));
                return;
            }
        };
        self.enter(Waiting { block, kind, deltas: Vec::new(), closed: false }, out);
    }

    /// Writes a block now, or lets it wait for the call that is being written.
    fn enter(&mut self, next: Waiting, out: &mut Vec<SseFrame>) {
        if self.gives_way(out) {
            self.write_held(next, out);
        } else {
            self.held_bytes += next.deltas.iter().map(bytes_of).sum::<usize>();
            self.waiting.push_back(next);
            self.bound_waiting();
        }
    }

    /// Gives up where too much waits for a call.
    fn bound_waiting(&mut self) {
        if self.held_bytes > HELD_BYTES_MAX || self.waiting.len() > HELD_BLOCKS_MAX {
            self.failure = Some("a call goes on while more is said beside it than can be held");
            self.ended = true;
        }
    }

    /// Why the answer cannot be told to its end; nothing comes after it.
    #[must_use]
    pub const fn failure(&self) -> Option<&'static str> {
        self.failure
    }

    /// Whether the current block let go. Text and reasoning may go on later.
    fn gives_way(&mut self, out: &mut Vec<SseFrame>) -> bool {
        match &self.current {
            None => true,
            Some(Current { kind: Kind::Call { custom, .. }, arguments, .. }) if *custom || !arguments.is_whole() => {
                false
            }
            Some(Current { kind: Kind::Call { .. }, .. }) => {
                self.shut(out);
                true
            }
            Some(current) => {
                if self.paused.len() == PAUSED_MAX {
                    self.paused.pop_front();
                }
                self.paused.push_back((current.block, current.kind.clone()));
                self.shut(out);
                true
            }
        }
    }

    /// Writes a block with all that it said while it waited; it is the current
    /// one then, unless it is closed.
    fn write_held(&mut self, held: Waiting, out: &mut Vec<SseFrame>) {
        self.held_bytes = self.held_bytes.saturating_sub(held.deltas.iter().map(bytes_of).sum());
        if let Kind::Search { id, query, hits } = &held.kind {
            self.write_search(id, query.as_deref(), hits, out);
            return;
        }
        let at_once = matches!(held.kind, Kind::Call { .. });
        let arguments = Scanner::default();
        self.current = Some(Current { block: held.block, kind: held.kind, index: None, arguments });
        if at_once {
            self.write_start(out);
        }
        for delta in &held.deltas {
            self.write_delta(delta, out);
        }
        if held.closed {
            self.shut(out);
        }
    }

    fn delta(&mut self, block: u32, delta: &Delta, out: &mut Vec<SseFrame>) {
        if self.current.as_ref().is_some_and(|current| current.block == block) {
            self.write_delta(delta, out);
            if !self.waiting.is_empty() && self.gives_way(out) {
                self.drain(out);
            }
        } else if let Some(held) = self.waiting.iter_mut().find(|held| held.block == block) {
            self.held_bytes += bytes_of(delta);
            held.deltas.push(delta.clone());
            self.bound_waiting();
        } else if let Some(place) = self.paused.iter().position(|(paused, _)| *paused == block) {
            if matches!(delta, Delta::Citation(_)) {
                // A citation stands in the block whose words it supports.
                self.losses.dropped("citations");
            } else if let Some((_, kind)) = self.paused.remove(place) {
                self.enter(Waiting { block, kind, deltas: vec![delta.clone()], closed: false }, out);
            }
        }
    }

    fn close(&mut self, block: u32, out: &mut Vec<SseFrame>) {
        if self.current.as_ref().is_some_and(|current| current.block == block) {
            self.shut(out);
            self.drain(out);
        } else if let Some(held) = self.waiting.iter_mut().find(|held| held.block == block) {
            held.closed = true;
        } else {
            self.paused.retain(|(paused, _)| *paused != block);
        }
    }

    /// Writes what waited, as far as nothing holds it back.
    fn drain(&mut self, out: &mut Vec<SseFrame>) {
        while !self.waiting.is_empty() && self.gives_way(out) {
            let Some(next) = self.waiting.pop_front() else { return };
            self.write_held(next, out);
        }
    }

    /// Ends the current block.
    fn shut(&mut self, out: &mut Vec<SseFrame>) {
        let Some(current) = self.current.take() else { return };
        let Some(index) = current.index else { return };
        if matches!(current.kind, Kind::Call { custom: true, .. }) {
            out.push(piece(index, "input_json_delta", "partial_json", "\"}"));
        }
        out.push(frame("content_block_stop", format!(r#"{{"type":"content_block_stop","index":{index}}}"#)));
    }

    /// The current block's number; its start goes out with its first word.
    fn write_start(&mut self, out: &mut Vec<SseFrame>) -> Option<u64> {
        let current = self.current.as_ref()?;
        if current.index.is_some() {
            return current.index;
        }
        let index = self.next_index;
        let (start, custom) = match &current.kind {
            Kind::Text => (json!({"type": "text", "text": ""}), false),
            Kind::Reasoning => (json!({"type": "thinking", "thinking": "", "signature": ""}), false),
            Kind::Call { id, name, custom } => {
                let id = if id.is_empty() {
                    format!("toolu_{}_{index}", self.context.id)
                } else {
                    ids::portable(id).into_owned()
                };
                self.called = true;
                (json!({"type": "tool_use", "id": id, "name": name, "input": {}}), *custom)
            }
            // Written whole, elsewhere.
            Kind::Sealed | Kind::Search { .. } => return None,
        };
        self.write_block(&start, out);
        if custom {
            out.push(piece(index, "input_json_delta", "partial_json", "{\"input\":\""));
        }
        if let Some(current) = &mut self.current {
            current.index = Some(index);
        }
        Some(index)
    }

    /// A block's start under the next number.
    fn write_block(&mut self, block: &Value, out: &mut Vec<SseFrame>) -> u64 {
        self.begin(out);
        let index = self.next_index;
        self.next_index += 1;
        let start = format!(r#"{{"type":"content_block_start","index":{index},"content_block":{block}}}"#);
        out.push(frame("content_block_start", start));
        index
    }

    fn write_delta(&mut self, delta: &Delta, out: &mut Vec<SseFrame>) {
        let Some(kind) = self.current.as_ref().map(|current| &current.kind) else { return };
        match (kind, delta) {
            (_, Delta::Text(text) | Delta::Arguments(text)) if text.is_empty() => {}
            (_, Delta::Seal(seal)) if seal.text().is_empty() => {}
            (Kind::Text, Delta::Text(text)) => {
                let Some(index) = self.write_start(out) else { return };
                out.push(piece(index, "text_delta", "text", text));
            }
            (Kind::Text, Delta::Citation(citation)) => self.write_citation(citation, out),
            (Kind::Reasoning, Delta::Text(text)) => {
                let Some(index) = self.write_start(out) else { return };
                out.push(piece(index, "thinking_delta", "thinking", text));
            }
            (Kind::Reasoning, Delta::Seal(seal)) => {
                let Some(index) = self.write_start(out) else { return };
                out.push(piece(index, "signature_delta", "signature", &self.sealed(seal)));
            }
            (Kind::Sealed, Delta::Seal(seal)) => {
                let block = json!({"type": "redacted_thinking", "data": self.sealed(seal)});
                let index = self.write_block(&block, out);
                out.push(frame("content_block_stop", format!(r#"{{"type":"content_block_stop","index":{index}}}"#)));
            }
            (Kind::Call { custom, .. }, Delta::Arguments(text)) => {
                let custom = *custom;
                let Some(index) = self.write_start(out) else { return };
                let inside = if custom { json_text(text) } else { String::new() };
                let text = if custom { &inside[1..inside.len() - 1] } else { text };
                if let Some(current) = &mut self.current {
                    current.arguments.push(text);
                }
                out.push(piece(index, "input_json_delta", "partial_json", text));
            }
            // What no block of its kind grows by.
            _ => {}
        }
    }

    fn write_citation(&mut self, citation: &Citation, out: &mut Vec<SseFrame>) {
        let native = match &citation.native {
            Some((Dialect::Messages, json)) => Some(json.text().to_owned()),
            _ => None,
        };
        let told = native.or_else(|| {
            let url = citation.url.as_deref()?;
            let quote = citation.quote.as_deref().unwrap_or_default();
            let told = json!({"type": "web_search_result_location", "url": url, "title": citation.title,
                "cited_text": quote, "encrypted_index": ""});
            Some(told.to_string())
        });
        let started = self.current.as_ref().and_then(|current| current.index);
        match (told, started) {
            (Some(told), Some(index)) => {
                let data = format!(
                    r#"{{"type":"content_block_delta","index":{index},"delta":{{"type":"citations_delta","citation":{told}}}}}"#
                );
                out.push(frame("content_block_delta", data));
            }
            _ => self.losses.dropped("citations"),
        }
    }

    /// A search is two blocks: what was asked, and what was found.
    fn write_search(&mut self, id: &str, query: Option<&str>, hits: &[(String, String)], out: &mut Vec<SseFrame>) {
        self.searches += 1;
        let known = id.strip_prefix("srvtoolu_").is_some_and(|rest| {
            !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        });
        let id = if known { id.to_owned() } else { format!("srvtoolu_{}_{}", self.context.id, self.next_index) };
        let asked = json!({"type": "server_tool_use", "id": id, "name": "web_search", "input": {}});
        let index = self.write_block(&asked, out);
        if let Some(query) = query {
            out.push(piece(index, "input_json_delta", "partial_json", &json!({"query": query}).to_string()));
        }
        out.push(frame("content_block_stop", format!(r#"{{"type":"content_block_stop","index":{index}}}"#)));
        let hit = |(title, url): &(String, String)| json!({"type": "web_search_result", "title": title, "url": url, "encrypted_content": "", "page_age": null});
        let found = json!({"type": "web_search_tool_result", "tool_use_id": id,
            "content": hits.iter().map(hit).collect::<Vec<_>>()});
        let index = self.write_block(&found, out);
        out.push(frame("content_block_stop", format!(r#"{{"type":"content_block_stop","index":{index}}}"#)));
    }
}

fn bytes_of(delta: &Delta) -> usize {
    match delta {
        Delta::Text(text) | Delta::Arguments(text) => text.len(),
        Delta::Seal(seal) => seal.text().len(),
        Delta::Citation(citation) => citation.quote.as_ref().map_or(0, String::len) + 256,
    }
}

/// A report in this dialect's terms: what the cache held is counted apart.
fn counted(usage: &Usage) -> Value {
    let cached = usage.cached_input.min(usage.input);
    let written = usage.cache_write.min(usage.input - cached);
    json!({"input_tokens": usage.input - cached - written, "cache_creation_input_tokens": written,
        "cache_read_input_tokens": cached, "output_tokens": usage.output})
}

fn json_text(text: &str) -> String {
    serde_json::to_string(text).expect("a string is always JSON")
}

fn frame(event: &'static str, data: String) -> SseFrame {
    SseFrame { event: Some(Bytes::from_static(event.as_bytes())), data: Bytes::from(data) }
}

fn piece(index: u64, kind: &str, field: &str, text: &str) -> SseFrame {
    let text = json_text(text);
    let data =
        format!(r#"{{"type":"content_block_delta","index":{index},"delta":{{"type":"{kind}","{field}":{text}}}}}"#);
    frame("content_block_delta", data)
}

#[cfg(test)]
mod tests;
