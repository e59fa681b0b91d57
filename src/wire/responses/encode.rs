//! The events of an answer as a stream of this dialect.
//!
//! Owns the life of items and their parts: which event follows which, with which
//! index, id and sequence number. Refuses to end an answer as complete that had
//! no finish. Invariant: items get their `output_index` in the order in which they
//! are added, so that an accumulator that appends them finds each at its index.
//! What was said is held until the end, which repeats all of it; the answer's own
//! bound is the exchange's.

mod item;
mod reply;
mod unwrap;

use super::client_tools;
use super::json_out::JsonOut;
use super::names::{Kind, Names, Origin};
use super::reading::Losses;
use super::write::{is_placed, write_citation};
use crate::domain::usage::Usage;
use crate::wire::canon::{Block, Citation, Delta, Event, Loss, ReplyContext};
use crate::wire::facts::Finish;
use crate::wire::resume::Identity;
use crate::wire::sse::SseFrame;
use bytes::Bytes;
use item::{Item, ItemKind, Part, Status};
use reply::Reply;
use std::collections::{BTreeMap, HashSet};
use unwrap::Unwrap;

/// Citations of one answer.
const CITATIONS_MAX: usize = 1024;

/// Writes the frames of one answer.
#[derive(Debug)]
pub struct Encoder {
    reply: Reply,
    names: Names,
    custom_tools: HashSet<String>,
    id: String,
    sequence: u64,
    started: bool,
    ended: bool,
    /// Blocks that are open.
    blocks: BTreeMap<u32, Place>,
    /// By `output_index`.
    items: Vec<Item>,
    /// A block that closed last: whether what it held was cut, the next event tells.
    closing: Option<u32>,
    cited: usize,
    /// The message that takes further parts.
    message: Option<usize>,
    usage: Option<Usage>,
    finish: Option<Finish>,
    losses: Losses,
}

/// Where a block is written to.
#[derive(Debug)]
enum Place {
    /// Nothing was said in it yet; what stays empty is not written.
    Pending(Pending),
    Part {
        item: usize,
        part: usize,
    },
    Item(usize),
    /// A call whose item holds an object, which cannot be told before it is whole.
    Held {
        call_id: String,
        origin: Origin,
        arguments: String,
    },
    Nowhere,
}

#[derive(Debug, Clone, Copy)]
enum Pending {
    Text,
    Refusal,
    Reasoning,
}

impl Encoder {
    #[must_use]
    pub fn new(context: ReplyContext) -> Self {
        let names = Names::of(&context.fields);
        Self {
            reply: Reply::new(&context),
            names,
            custom_tools: context.custom_tools.into_iter().collect(),
            id: context.id,
            sequence: 0,
            started: false,
            ended: false,
            blocks: BTreeMap::new(),
            items: Vec::new(),
            closing: None,
            cited: 0,
            message: None,
            usage: None,
            finish: None,
            losses: Losses::default(),
        }
    }

    /// Appends the frames that say `event`.
    pub fn push(&mut self, event: &Event, out: &mut Vec<SseFrame>) {
        if self.ended {
            return;
        }
        if let Some(closing) = self.closing.take_if(|_| !matches!(event, Event::Usage(_) | Event::Finish { .. })) {
            self.close(closing, Status::Completed, out);
        }
        match event {
            Event::Start { model, .. } => self.start(Some(model), out),
            Event::Open { block, kind } => {
                self.start(None, out);
                self.open(*block, kind, out);
            }
            Event::Delta { block, delta } => self.delta(*block, delta, out),
            Event::Close { block } => self.closing = Some(*block),
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::Finish { finish, .. } => self.finish = Some(*finish),
        }
    }

    /// Appends what remains: the ends of open blocks, and the terminal event.
    pub fn end(&mut self, out: &mut Vec<SseFrame>) {
        if self.ended {
            return;
        }
        self.start(None, out);
        let is_cut = matches!(self.finish, Some(Finish::Length | Finish::ContentFilter) | None);
        let last = if is_cut { Status::Incomplete } else { Status::Completed };
        if let Some(closing) = self.closing.take() {
            self.close(closing, last, out);
        }
        let open: Vec<u32> = self.blocks.keys().copied().collect();
        for block in open {
            self.close(block, last, out);
        }
        // A message that something else came after is whole.
        let is_last = self.message.is_some_and(|message| message + 1 == self.items.len());
        self.end_message(if is_last { last } else { Status::Completed }, out);
        self.ended = true;
        let (kind, status, reason) = match self.finish {
            Some(Finish::Stop | Finish::ToolCalls | Finish::Other) => ("response.completed", "completed", None),
            Some(Finish::Length) => ("response.incomplete", "incomplete", Some("max_output_tokens")),
            Some(Finish::ContentFilter) => ("response.incomplete", "incomplete", Some("content_filter")),
            None => ("response.incomplete", "incomplete", None),
        };
        let Self { reply, items, usage, sequence, .. } = self;
        let output = items.iter().map(|item| item.done.as_str());
        emit(sequence, kind, out, |json| {
            json.key("response");
            reply.write(status, reason, output, usage.as_ref(), json);
        });
    }

    /// Goes on as an answer that began elsewhere: by its ids, behind its last event.
    pub(in crate::wire) fn adopt(&mut self, names: &Identity) {
        self.reply.adopt(names);
        self.sequence = names.sequence.unwrap_or(self.sequence);
        self.started = true;
        for (place, item) in self.items.iter_mut().enumerate() {
            if let Some(id) = names.items.get(&place) {
                item.rename(id);
            }
        }
    }

    /// What could not be written so far.
    #[must_use]
    pub fn losses(&self) -> &[Loss] {
        self.losses.list()
    }

    fn start(&mut self, model: Option<&str>, out: &mut Vec<SseFrame>) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        if let Some(model) = model.filter(|model| !model.is_empty()) {
            model.clone_into(&mut self.reply.model);
        }
        let reply = &self.reply;
        for kind in ["response.created", "response.in_progress"] {
            emit(&mut self.sequence, kind, out, |json| {
                json.key("response");
                reply.write("in_progress", None, std::iter::empty(), None, json);
            });
        }
    }

    fn open(&mut self, block: u32, kind: &Block, out: &mut Vec<SseFrame>) {
        // One that opens again was not closed: its item must still end.
        self.close(block, Status::Completed, out);
        let place = match kind {
            Block::Text => Place::Pending(Pending::Text),
            Block::Refusal => Place::Pending(Pending::Refusal),
            Block::Reasoning | Block::Sealed => Place::Pending(Pending::Reasoning),
            Block::Call { id, name, custom } => self.open_call(id, name, *custom, out),
            Block::Search { id, query, hits } => {
                self.search(id, query.as_deref(), hits, out);
                Place::Nowhere
            }
            Block::Native { kind, .. } => {
                self.losses.dropped(kind);
                Place::Nowhere
            }
        };
        self.blocks.insert(block, place);
    }

    fn delta(&mut self, block: u32, delta: &Delta, out: &mut Vec<SseFrame>) {
        if let Some(Place::Pending(pending)) = self.blocks.get(&block) {
            let place = match (*pending, delta) {
                (_, Delta::Text(text)) if text.is_empty() => return,
                (Pending::Text, Delta::Text(_) | Delta::Citation(_)) => self.begin_part(false, out),
                (Pending::Refusal, Delta::Text(_)) => self.begin_part(true, out),
                (Pending::Reasoning, Delta::Text(_) | Delta::Seal(_)) => self.begin_reasoning(out),
                // Nothing that such a block grows by.
                _ => return,
            };
            self.blocks.insert(block, place);
        }
        match (self.blocks.get_mut(&block), delta) {
            (Some(Place::Part { item, part }), Delta::Text(text)) => {
                let (item, part) = (*item, *part);
                self.items[item].say(part, text, &mut self.sequence, out);
            }
            (Some(Place::Part { item, part }), Delta::Citation(citation)) => {
                let (item, part) = (*item, *part);
                self.cite(item, part, citation, out);
            }
            (Some(Place::Item(item)), Delta::Text(text)) => self.items[*item].think(text, &mut self.sequence, out),
            (Some(Place::Item(item)), Delta::Seal(seal)) => self.items[*item].seal(seal),
            (Some(Place::Item(item)), Delta::Arguments(text)) => {
                self.items[*item].argue(text, &mut self.sequence, out);
            }
            (Some(Place::Held { arguments, .. }), Delta::Arguments(text)) => arguments.push_str(text),
            _ => {}
        }
    }

    fn close(&mut self, block: u32, status: Status, out: &mut Vec<SseFrame>) {
        match self.blocks.remove(&block) {
            Some(Place::Part { item, part }) => {
                self.items[item].end_part(part, &mut self.sequence, out);
                // A message that something else came after takes no further parts.
                if self.message == Some(item) && item + 1 != self.items.len() {
                    self.settle_message(out);
                }
            }
            Some(Place::Item(item)) => self.items[item].end(status, self.reply.sealed, &mut self.sequence, out),
            Some(Place::Held { call_id, origin, arguments }) => {
                self.held_call(&call_id, &origin, &arguments, status, out);
            }
            Some(Place::Pending(_) | Place::Nowhere) | None => {}
        }
    }

    /// An item's id in the vendor's form; [`is_minted`] knows it again.
    fn item_id(&self, prefix: &str) -> String {
        format!("{prefix}_{}{:04x}", self.id, self.items.len())
    }

    fn add(&mut self, item: Item, out: &mut Vec<SseFrame>) -> usize {
        let index = self.items.len();
        item.begin(&mut self.sequence, out);
        self.items.push(item);
        index
    }

    /// A part of the message that is being written, or of a new one.
    fn begin_part(&mut self, refusal: bool, out: &mut Vec<SseFrame>) -> Place {
        let item = if let Some(item) = self.message {
            item
        } else {
            let item = Item::new(self.item_id("msg"), self.items.len(), ItemKind::Message { parts: Vec::new() });
            let item = self.add(item, out);
            self.message = Some(item);
            item
        };
        let part = self.items[item].begin_part(Part::new(refusal), &mut self.sequence, out);
        Place::Part { item, part }
    }

    /// Ends the message if nothing is being said in it, before another item begins.
    fn settle_message(&mut self, out: &mut Vec<SseFrame>) {
        if self.message.is_some_and(|message| !self.items[message].has_open_part()) {
            self.end_message(Status::Completed, out);
        }
    }

    fn end_message(&mut self, status: Status, out: &mut Vec<SseFrame>) {
        if let Some(message) = self.message.take() {
            self.items[message].end(status, false, &mut self.sequence, out);
        }
    }

    fn begin_reasoning(&mut self, out: &mut Vec<SseFrame>) -> Place {
        self.settle_message(out);
        let kind = ItemKind::Reasoning { text: String::new(), seal: None };
        let item = Item::new(self.item_id("rs"), self.items.len(), kind);
        Place::Item(self.add(item, out))
    }

    fn open_call(&mut self, id: &str, name: &str, custom: bool, out: &mut Vec<SseFrame>) -> Place {
        self.settle_message(out);
        let known = self.names.get(name).cloned();
        let kind = if custom || self.custom_tools.contains(name) { Kind::Custom } else { Kind::Function };
        let origin = known.unwrap_or_else(|| Origin { namespace: None, name: name.to_owned(), kind });
        let call_id = if id.is_empty() { self.item_id("call") } else { id.to_owned() };
        let (prefix, unwrap) = match origin.kind {
            Kind::Function if custom => ("ctc", None),
            Kind::Function => ("fc", None),
            Kind::Custom => ("ctc", (!custom).then(Unwrap::default)),
            Kind::ToolSearch | Kind::LocalShell | Kind::Shell | Kind::ApplyPatch => {
                return Place::Held { call_id, origin, arguments: String::new() };
            }
        };
        let kind = ItemKind::Call { call_id, origin, custom: prefix == "ctc", arguments: String::new(), unwrap };
        let item = Item::new(self.item_id(prefix), self.items.len(), kind);
        Place::Item(self.add(item, out))
    }

    fn held_call(&mut self, call_id: &str, origin: &Origin, arguments: &str, status: Status, out: &mut Vec<SseFrame>) {
        self.settle_message(out);
        let prefix = match origin.kind {
            Kind::ToolSearch => "tsc",
            Kind::LocalShell => "lsh",
            Kind::Shell => "sh",
            Kind::ApplyPatch => "apc",
            Kind::Function | Kind::Custom => "fc",
        };
        let mut body = JsonOut::default();
        body.field("call_id", call_id);
        client_tools::write_call(&mut body, origin, arguments);
        let kind = ItemKind::Whole { kind: client_tools::item_kind(origin.kind), body: body.into_string() };
        let item = Item::new(self.item_id(prefix), self.items.len(), kind);
        let item = self.add(item, out);
        self.items[item].end(status, false, &mut self.sequence, out);
    }

    fn search(&mut self, id: &str, query: Option<&str>, hits: &[(String, String)], out: &mut Vec<SseFrame>) {
        self.settle_message(out);
        let id = if id.starts_with("ws_") { id.to_owned() } else { self.item_id("ws") };
        let mut body = JsonOut::default();
        body.key("action").open().field("type", "search").field("query", query.unwrap_or_default());
        if self.reply.sources && !hits.is_empty() {
            body.key("sources").open_list();
            for (_, url) in hits {
                body.open().field("type", "url").field("url", url).close();
            }
            body.close_list();
        }
        body.close();
        let kind = ItemKind::Whole { kind: "web_search_call", body: body.into_string() };
        let item = Item::new(id, self.items.len(), kind);
        let item = self.add(item, out);
        for kind in [
            "response.web_search_call.in_progress",
            "response.web_search_call.searching",
            "response.web_search_call.completed",
        ] {
            let (index, id) = (item as u64, &self.items[item].id);
            emit(&mut self.sequence, kind, out, |json| {
                json.number("output_index", index).field("item_id", id);
            });
        }
        self.items[item].end(Status::Completed, false, &mut self.sequence, out);
    }

    fn cite(&mut self, item: usize, part: usize, citation: &Citation, out: &mut Vec<SseFrame>) {
        if !is_placed(citation) {
            self.losses.dropped("citations");
            return;
        }
        if self.cited == CITATIONS_MAX {
            self.losses.dropped("citations after the first 1024");
            return;
        }
        self.cited += 1;
        let mut annotation = JsonOut::default();
        write_citation(citation, (0, self.items[item].characters(part)), &mut annotation);
        self.items[item].annotate(part, &annotation.into_string(), &mut self.sequence, out);
    }
}

/// One frame, with the next sequence number.
fn emit(sequence: &mut u64, kind: &'static str, out: &mut Vec<SseFrame>, fill: impl FnOnce(&mut JsonOut)) {
    let mut json = JsonOut::with_capacity(256);
    json.open().field("type", kind).number("sequence_number", *sequence);
    *sequence += 1;
    fill(&mut json);
    json.close();
    out.push(SseFrame { event: Some(Bytes::from_static(kind.as_bytes())), data: Bytes::from(json.into_bytes()) });
}

/// Whether an item's id is of a translation, not of a vendor: an exchange's ULID
/// and the item's number in hexadecimal. `OpenAI`'s are 50 and more digits long.
pub(in crate::wire) fn is_minted(id: &str) -> bool {
    const ULID: usize = 26;
    let Some((_, digits)) = id.split_once('_') else { return false };
    let crockford = |byte: u8| byte.is_ascii_digit() || (byte.is_ascii_lowercase() && !b"ilou".contains(&byte));
    digits.len() == ULID + 4
        && digits.bytes().take(ULID).all(crockford)
        && digits.bytes().skip(ULID).all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests;
