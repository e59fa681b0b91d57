//! Frames of this dialect as the events of an answer.
//!
//! Owns which part of which item is which block. Refuses to hold text: what was
//! handed on is only counted. Invariant: every block that was opened is closed
//! before `Finish`, which comes once; what a stream's end repeats is not said
//! twice, and what only it holds is not lost.

use super::frame::{finish_of, is_call, not_of_this_dialect};
use super::names::flat;
use super::read::citation;
use super::seal;
use super::usage::UsageWire;
use crate::wire::canon::{Block, Citation, Delta, Event, Json};
use crate::wire::facts::Finish;
use crate::wire::sse::SseFrame;
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

/// Items of one answer. The longest agents' turns have some hundred.
const ITEMS_MAX: usize = 4096;
/// Parts of one item: texts of a message, summaries of reasoning.
const PARTS_MAX: usize = 4096;

/// Reads the frames of one answer in their order.
#[derive(Debug, Default)]
pub struct Decoder {
    started: bool,
    finished: bool,
    blocks: u32,
    /// By `output_index`.
    items: BTreeMap<u64, Item>,
    /// Where items that the stream brought stand, by their ids: some servers count
    /// the terminal output in another way.
    ids: HashMap<String, u64>,
    calls: bool,
}

/// What was handed on of one item.
#[derive(Debug, Default)]
struct Item {
    /// The block that all of the item is: a call, or reasoning.
    block: Option<u32>,
    block_closed: bool,
    /// Blocks of a message, by `content_index`.
    parts: BTreeMap<u64, Part>,
    /// Characters or parts of it went out.
    spoken: bool,
    /// Where its reasoning is read from: `content` if true, else `summary`.
    from_content: Option<bool>,
    /// The part of the reasoning that was read last.
    last_part: u64,
    ended: bool,
}

/// An event that may be a delta.
#[derive(Deserialize)]
struct Spoken<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow, default)]
    delta: Option<Cow<'a, str>>,
    #[serde(default)]
    output_index: Option<u64>,
    #[serde(default)]
    content_index: Option<u64>,
    #[serde(default)]
    summary_index: Option<u64>,
}

/// What a delta adds to.
enum Growing {
    Text,
    Refusal,
    Summary,
    Reasoning,
    Arguments,
}

#[derive(Debug, Default)]
struct Part {
    block: u32,
    spoken: bool,
    citations: usize,
    closed: bool,
}

impl Decoder {
    /// Appends what one frame says.
    ///
    /// # Errors
    /// A sentence saying why the frame is not of this dialect, or that the answer failed.
    pub fn push(&mut self, frame: &SseFrame, out: &mut Vec<Event>) -> Result<(), String> {
        if frame.data.is_empty() || &frame.data[..] == b"[DONE]" {
            return Ok(());
        }
        if self.delta(&frame.data, out)? {
            return Ok(());
        }
        let event: Value =
            serde_json::from_slice(&frame.data).map_err(|error| not_of_this_dialect("a frame", &error))?;
        let kind = event["type"].as_str().unwrap_or_default();
        if self.finished {
            return Ok(());
        }
        match kind {
            "response.created" | "response.in_progress" | "response.queued" => self.start(&event["response"], out),
            "response.output_item.added" => self.added(&event, out)?,
            "response.content_part.added" => self.part_added(&event, out)?,
            "response.output_text.annotation.added" => self.annotated(&event, out),
            "response.output_item.done" => {
                self.know(output_index(&event), &event["item"])?;
                self.item_done(output_index(&event), &event["item"], out)?;
            }
            "response.completed" | "response.incomplete" => self.end(&event["response"], out)?,
            "response.failed" | "response.cancelled" | "error" => return Err("the answer failed".to_owned()),
            _ => {}
        }
        Ok(())
    }

    /// Reads what nearly all frames are without making a tree of it; `false`: it
    /// is something else. A delta with fields of odd types is passed over: the end
    /// of its item brings what it brought.
    fn delta(&mut self, payload: &[u8], out: &mut Vec<Event>) -> Result<bool, String> {
        let Ok(spoken) = serde_json::from_slice::<Spoken<'_>>(payload) else { return Ok(false) };
        let known = match &*spoken.r#type {
            "response.output_text.delta" => Some(Growing::Text),
            "response.refusal.delta" => Some(Growing::Refusal),
            "response.reasoning_summary_text.delta" => Some(Growing::Summary),
            "response.reasoning_text.delta" => Some(Growing::Reasoning),
            "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" => {
                Some(Growing::Arguments)
            }
            _ => None,
        };
        let Some(growing) = known else { return Ok(false) };
        let text = spoken.delta.as_deref().unwrap_or_default();
        if text.is_empty() || self.finished {
            return Ok(true);
        }
        let index = spoken.output_index.unwrap_or(0);
        let content = spoken.content_index.unwrap_or(0);
        match growing {
            Growing::Text => self.said(index, content, Block::Text, text, out)?,
            Growing::Refusal => self.said(index, content, Block::Refusal, text, out)?,
            Growing::Summary => self.thought(index, spoken.summary_index.unwrap_or(0), false, text, out)?,
            Growing::Reasoning => self.thought(index, content, true, text, out)?,
            Growing::Arguments => self.argued(index, text, out)?,
        }
        Ok(true)
    }

    fn start(&mut self, response: &Value, out: &mut Vec<Event>) {
        // Behind what was said already it would come too late to be the first.
        if !std::mem::replace(&mut self.started, true) && self.blocks == 0 {
            let text = |key: &str| response[key].as_str().unwrap_or_default().to_owned();
            out.push(Event::Start { id: text("id"), model: text("model") });
        }
    }

    fn item(&mut self, index: u64) -> Result<&mut Item, String> {
        if self.items.len() >= ITEMS_MAX && !self.items.contains_key(&index) {
            return Err(format!("the answer has more than {ITEMS_MAX} items"));
        }
        Ok(self.items.entry(index).or_default())
    }

    fn know(&mut self, index: u64, item: &Value) -> Result<(), String> {
        if let Some(id) = item["id"].as_str() {
            if self.ids.len() >= ITEMS_MAX && !self.ids.contains_key(id) {
                return Err(format!("the answer has more than {ITEMS_MAX} items"));
            }
            self.ids.insert(id.to_owned(), index);
        }
        Ok(())
    }

    fn open(blocks: &mut u32, kind: Block, out: &mut Vec<Event>) -> u32 {
        let block = *blocks;
        *blocks += 1;
        out.push(Event::Open { block, kind });
        block
    }

    /// A call opens with its item; all else with its first words.
    fn added(&mut self, event: &Value, out: &mut Vec<Event>) -> Result<(), String> {
        let (index, item) = (output_index(event), &event["item"]);
        if self.items.get(&index).is_some_and(|before| before.ended) {
            // A server that gives every item the same index.
            self.close(index, out);
            self.items.remove(&index);
        }
        self.item(index)?;
        self.know(index, item)?;
        if matches!(item["type"].as_str(), Some("function_call" | "custom_tool_call")) {
            self.open_call(index, item, out)?;
        }
        Ok(())
    }

    fn open_call(&mut self, index: u64, item: &Value, out: &mut Vec<Event>) -> Result<u32, String> {
        if let Some(block) = self.item(index)?.block {
            return Ok(block);
        }
        let text = |key: &str| item[key].as_str().unwrap_or_default();
        if text("name").is_empty() {
            return Err("a call has no name".to_owned());
        }
        let id = if text("call_id").is_empty() { text("id") } else { text("call_id") };
        let custom = item["type"] == "custom_tool_call";
        let name = flat(item["namespace"].as_str(), text("name"));
        let block = Self::open(&mut self.blocks, Block::Call { id: id.to_owned(), name, custom }, out);
        self.calls = true;
        self.item(index)?.block = Some(block);
        Ok(block)
    }

    fn part_added(&mut self, event: &Value, out: &mut Vec<Event>) -> Result<(), String> {
        let kind = match event["part"]["type"].as_str() {
            Some("output_text") => Block::Text,
            Some("refusal") => Block::Refusal,
            _ => return Ok(()),
        };
        self.part(output_index(event), content_index(event), kind, out).map(|_| ())
    }

    /// The part of a message, opened if it is new.
    fn part(&mut self, index: u64, content: u64, kind: Block, out: &mut Vec<Event>) -> Result<&mut Part, String> {
        self.item(index)?;
        let item = self.items.get_mut(&index).expect("it was just made");
        if item.parts.len() >= PARTS_MAX && !item.parts.contains_key(&content) {
            return Err(format!("an item has more than {PARTS_MAX} parts"));
        }
        let blocks = &mut self.blocks;
        Ok(item
            .parts
            .entry(content)
            .or_insert_with(|| Part { block: Self::open(blocks, kind, out), ..Part::default() }))
    }

    fn said(&mut self, index: u64, content: u64, kind: Block, text: &str, out: &mut Vec<Event>) -> Result<(), String> {
        let part = self.part(index, content, kind, out)?;
        if !part.closed {
            part.spoken = true;
            out.push(Event::Delta { block: part.block, delta: Delta::Text(text.to_owned()) });
        }
        Ok(())
    }

    fn annotated(&mut self, event: &Value, out: &mut Vec<Event>) {
        let part = self.items.get_mut(&output_index(event)).and_then(|item| item.parts.get_mut(&content_index(event)));
        // Of a text that was not streamed they come with its end.
        if let Some(part) = part.filter(|part| part.spoken && !part.closed)
            && event["annotation"].is_object()
        {
            part.citations += 1;
            out.push(Event::Delta { block: part.block, delta: Delta::Citation(citation_of(&event["annotation"])) });
        }
    }

    /// Reasoning is read from its summary or from its content, whichever comes
    /// first; its parts are paragraphs.
    fn thought(
        &mut self,
        index: u64,
        place: u64,
        from_content: bool,
        text: &str,
        out: &mut Vec<Event>,
    ) -> Result<(), String> {
        self.item(index)?;
        let item = self.items.get_mut(&index).expect("it was just made");
        if item.ended || item.block_closed || *item.from_content.get_or_insert(from_content) != from_content {
            return Ok(());
        }
        let block = *item.block.get_or_insert_with(|| Self::open(&mut self.blocks, Block::Reasoning, out));
        if item.spoken && item.last_part != place {
            out.push(Event::Delta { block, delta: Delta::Text("\n\n".to_owned()) });
        }
        item.spoken = true;
        item.last_part = place;
        out.push(Event::Delta { block, delta: Delta::Text(text.to_owned()) });
        Ok(())
    }

    fn argued(&mut self, index: u64, text: &str, out: &mut Vec<Event>) -> Result<(), String> {
        let item = self.item(index)?;
        if let Some(block) = item.block.filter(|_| !item.ended) {
            item.spoken = true;
            out.push(Event::Delta { block, delta: Delta::Arguments(text.to_owned()) });
        }
        Ok(())
    }

    /// The end of an item: what was not streamed of it is said now.
    fn item_done(&mut self, index: u64, item: &Value, out: &mut Vec<Event>) -> Result<(), String> {
        if std::mem::replace(&mut self.item(index)?.ended, true) {
            return Ok(());
        }
        match item["type"].as_str().unwrap_or_default() {
            "message" => self.message_done(index, item, out)?,
            "reasoning" => self.reasoning_done(index, item, out),
            kind @ ("function_call" | "custom_tool_call") => {
                let block = self.open_call(index, item, out)?;
                let arguments = if kind == "function_call" { &item["arguments"] } else { &item["input"] };
                let arguments = arguments.as_str().unwrap_or_default();
                if !self.item(index)?.spoken && !arguments.is_empty() {
                    out.push(Event::Delta { block, delta: Delta::Arguments(arguments.to_owned()) });
                }
            }
            kind => {
                self.calls |= is_call(kind) && item["execution"] != "server";
                let block = Self::open(&mut self.blocks, step(kind, item), out);
                out.push(Event::Close { block });
            }
        }
        self.close(index, out);
        Ok(())
    }

    fn message_done(&mut self, index: u64, item: &Value, out: &mut Vec<Event>) -> Result<(), String> {
        for (content, part) in item["content"].as_array().into_iter().flatten().enumerate() {
            if self.items.get(&index).and_then(|item| item.parts.get(&(content as u64))).is_some_and(|part| part.closed)
            {
                continue;
            }
            let (kind, text) = match part["type"].as_str() {
                Some("output_text") => (Block::Text, part["text"].as_str()),
                Some("refusal") => (Block::Refusal, part["refusal"].as_str()),
                _ => continue,
            };
            let said = self.part(index, content as u64, kind, out)?;
            let block = said.block;
            if let Some(text) = text.filter(|text| !said.spoken && !text.is_empty()) {
                out.push(Event::Delta { block, delta: Delta::Text(text.to_owned()) });
            }
            let annotations = part["annotations"].as_array().into_iter().flatten().skip(said.citations);
            for annotation in annotations.filter(|annotation| annotation.is_object()) {
                out.push(Event::Delta { block, delta: Delta::Citation(citation_of(annotation)) });
            }
        }
        Ok(())
    }

    /// Closes what is open of an item, whatever it was opened as.
    fn close(&mut self, index: u64, out: &mut Vec<Event>) {
        let Some(item) = self.items.get_mut(&index) else { return };
        for part in item.parts.values_mut() {
            if !std::mem::replace(&mut part.closed, true) {
                out.push(Event::Close { block: part.block });
            }
        }
        if let Some(block) = item.block.filter(|_| !item.block_closed) {
            item.block_closed = true;
            out.push(Event::Close { block });
        }
    }

    fn reasoning_done(&mut self, index: u64, item: &Value, out: &mut Vec<Event>) {
        let state = self.items.get_mut(&index).expect("the caller has it");
        let texts = |key: &str| {
            let parts = item[key].as_array().into_iter().flatten().filter_map(|part| part["text"].as_str());
            parts.filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n\n")
        };
        let text = if state.spoken {
            String::new()
        } else {
            Some(texts("content")).filter(|t| !t.is_empty()).unwrap_or_else(|| texts("summary"))
        };
        let seal = item["encrypted_content"].as_str().filter(|seal| !seal.is_empty());
        let kind = if text.is_empty() { Block::Sealed } else { Block::Reasoning };
        if state.block.is_none() && text.is_empty() && seal.is_none() {
            return;
        }
        let block = *state.block.get_or_insert_with(|| Self::open(&mut self.blocks, kind, out));
        if !text.is_empty() {
            out.push(Event::Delta { block, delta: Delta::Text(text) });
        }
        if let Some(seal) = seal {
            out.push(Event::Delta { block, delta: Delta::Seal(seal::open(seal.to_owned())) });
        }
    }

    /// The terminal response object: what only it holds, then usage and finish.
    fn end(&mut self, response: &Value, out: &mut Vec<Event>) -> Result<(), String> {
        self.start(response, out);
        for (index, item) in response["output"].as_array().into_iter().flatten().enumerate() {
            let known = item["id"].as_str().and_then(|id| self.ids.get(id));
            self.item_done(known.copied().unwrap_or(index as u64), item, out)?;
        }
        let all: Vec<u64> = self.items.keys().copied().collect();
        for index in all {
            self.close(index, out);
        }
        if response["usage"].is_object()
            && let Ok(usage) = serde_json::from_value::<UsageWire>(response["usage"].clone())
        {
            out.push(Event::Usage(usage.into()));
        }
        self.finished = true;
        let finish = match response["status"].as_str() {
            Some("incomplete") => finish_of(response["incomplete_details"]["reason"].as_str()),
            _ if self.calls => Finish::ToolCalls,
            _ => Finish::Stop,
        };
        out.push(Event::Finish { finish, stop_sequence: None });
        Ok(())
    }
}

/// The events of an unstreamed answer.
///
/// # Errors
/// A sentence saying why it is not an answer of this dialect, or that it failed.
pub fn decode_whole(body: &[u8]) -> Result<Vec<Event>, String> {
    let whole: Value = serde_json::from_slice(body).map_err(|error| not_of_this_dialect("the answer", &error))?;
    if !whole["error"].is_null() || matches!(whole["status"].as_str(), Some("failed" | "cancelled")) {
        return Err("the answer failed".to_owned());
    }
    if !whole["output"].is_array() {
        return Err("the answer has no output".to_owned());
    }
    let mut out = Vec::new();
    Decoder::default().end(&whole, &mut out)?;
    Ok(out)
}

/// A step of a provider's own tool.
fn step(kind: &str, item: &Value) -> Block {
    let action = &item["action"];
    if kind == "web_search_call" && matches!(action["type"].as_str(), Some("search") | None) {
        let queries = || {
            let all = action["queries"].as_array()?.iter().filter_map(Value::as_str).collect::<Vec<_>>();
            Some(all.join("\n")).filter(|all| !all.is_empty())
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let sources = action["sources"].as_array().into_iter().flatten();
        return Block::Search {
            id: text(&item["id"]),
            query: action["query"].as_str().map(str::to_owned).or_else(queries),
            hits: sources.map(|source| (text(&source["title"]), text(&source["url"]))).collect(),
        };
    }
    Block::Native { kind: kind.to_owned(), json: Json::from(item) }
}

fn citation_of(annotation: &Value) -> Citation {
    citation(&serde_json::value::to_raw_value(annotation).expect("a tree is always JSON"))
}

fn output_index(event: &Value) -> u64 {
    event["output_index"].as_u64().unwrap_or(0)
}

fn content_index(event: &Value) -> u64 {
    event["content_index"].as_u64().unwrap_or(0)
}

#[cfg(test)]
pub(super) mod tests;
