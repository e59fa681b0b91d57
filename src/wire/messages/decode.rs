//! Frames and whole answers of this dialect as events.
//!
//! Owns what each block and delta means. Refuses to guess: a block that no other
//! dialect has is `Native`, whole. Invariant: blocks open and close properly,
//! `Finish` comes at most once, and what is kept between frames is bounded.

use super::frame::{Frame, Kind, Word, not_a_frame, part};
use super::read::citation;
use super::seal;
use super::stop::{Counted, UsageWire, finish_of, report};
use crate::wire::canon::{Block, Delta, Event, Json};
use crate::wire::facts::Finish;
use crate::wire::sse::SseFrame;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// Blocks that are open at a time; the API has one.
const OPEN_MAX: usize = 64;
/// Searches whose results are awaited.
const SEARCHES_MAX: usize = 64;
/// Bytes of a search's query.
const QUERY_BYTES_MAX: usize = 64 << 10;

/// Reads the frames of one stream in their order.
#[derive(Debug, Default)]
pub struct Decoder {
    counted: Counted,
    started: bool,
    finished: bool,
    next: u32,
    open: Vec<Open>,
    searches: Vec<Search>,
}

#[derive(Debug)]
struct Open {
    /// The stream's own number.
    index: u64,
    /// Ours; none for a block that is held back.
    block: Option<u32>,
    /// Of a call: the input that came with its start, until pieces come.
    input: Option<String>,
    /// The input is a search's query.
    searches: bool,
}

/// A search that was begun.
#[derive(Debug)]
struct Search {
    id: String,
    /// JSON text of its input so far.
    input: String,
}

#[derive(Deserialize)]
struct Started<'a> {
    #[serde(borrow, default)]
    id: Option<Word<'a>>,
    #[serde(borrow, default)]
    model: Option<Word<'a>>,
    #[serde(default, deserialize_with = "report")]
    usage: Option<UsageWire>,
}

#[derive(Deserialize)]
struct Piece<'a> {
    #[serde(borrow)]
    r#type: Word<'a>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    thinking: Option<String>,
    #[serde(default)]
    partial_json: Option<String>,
    #[serde(default)]
    signature: Option<String>,
    #[serde(borrow, default)]
    citation: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct Ended {
    #[serde(rename = "stop_reason", default)]
    reason: Option<String>,
    #[serde(rename = "stop_sequence", default)]
    sequence: Option<String>,
    #[serde(rename = "stop_details", default)]
    details: Option<Value>,
}

impl Decoder {
    /// Appends what a frame says.
    ///
    /// # Errors
    /// A sentence saying why it is no frame of this dialect, or that it opens
    /// more than can be followed.
    pub fn push(&mut self, frame: &SseFrame, out: &mut Vec<Event>) -> Result<(), String> {
        let (kind, parsed) = Frame::parse(frame)?;
        match kind {
            Kind::MessageStart => self.start(&part(parsed.message, "message")?, out),
            Kind::BlockStart => {
                let block: &RawValue = part(parsed.content_block, "content_block")?;
                self.open(parsed.index.unwrap_or(0), block, out)?;
            }
            Kind::BlockDelta => {
                let piece: Piece<'_> = part(parsed.delta, "delta")?;
                self.delta(parsed.index.unwrap_or(0), piece, out);
            }
            Kind::BlockStop => self.close(parsed.index.unwrap_or(0), out),
            Kind::MessageDelta => {
                if let Some(raw) = parsed.usage {
                    let wire: UsageWire = serde_json::from_str(raw.get()).unwrap_or_default();
                    out.push(Event::Usage(self.counted.take(&wire)));
                }
                let ended: Ended = parsed.delta.map_or(Ok(Ended::default()), |raw| part(Some(raw), "delta"))?;
                self.end(ended, out);
            }
            Kind::MessageStop => self.finish(Finish::Other, None, out),
            // An error is the exchange's matter, which has read it already.
            Kind::Ping | Kind::Error | Kind::Unknown => {}
        }
        Ok(())
    }

    fn start(&mut self, started: &Started<'_>, out: &mut Vec<Event>) {
        if !std::mem::replace(&mut self.started, true) {
            let text = |word: &Option<Word<'_>>| word.as_ref().map_or_else(String::new, |word| word.0.to_string());
            out.push(Event::Start { id: text(&started.id), model: text(&started.model) });
        }
        if let Some(wire) = &started.usage {
            out.push(Event::Usage(self.counted.take(wire)));
        }
    }

    fn open(&mut self, index: u64, raw: &RawValue, out: &mut Vec<Event>) -> Result<(), String> {
        #[derive(Deserialize)]
        struct Called<'a> {
            #[serde(borrow)]
            input: &'a RawValue,
        }
        let block: &Value =
            &serde_json::from_str(raw.get()).map_err(|_| "a frame's content_block has another form".to_owned())?;
        if self.finished {
            return Ok(());
        }
        if self.open.len() == OPEN_MAX {
            return Err(format!("more than {OPEN_MAX} blocks are open at once"));
        }
        let text = |name: &str| block.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut open = Open { index, block: None, input: None, searches: false };
        let mut first = Vec::new();
        let kind = match block.get("type").and_then(Value::as_str).unwrap_or_default() {
            "text" => {
                first.push(Delta::Text(text("text")));
                let list = block.get("citations").and_then(Value::as_array);
                first.extend(list.into_iter().flatten().map(|json| Delta::Citation(citation(Json::from(json)))));
                Block::Text
            }
            "thinking" => {
                first.push(Delta::Text(text("thinking")));
                first.extend(seal::of_signature(&text("signature")).map(Delta::Seal));
                Block::Reasoning
            }
            "redacted_thinking" => {
                first.push(Delta::Seal(seal::of_redacted(&text("data"))));
                Block::Sealed
            }
            "tool_use" => {
                if text("name").is_empty() {
                    return Err("a call has no name".to_owned());
                }
                // As it was written: a tree would round great numbers.
                let called = serde_json::from_str::<Called<'_>>(raw.get()).ok();
                let input = called.map(|called| called.input.get()).filter(|input| *input != "null");
                open.input = Some(input.unwrap_or("{}").to_owned());
                Block::Call { id: text("id"), name: text("name"), custom: false }
            }
            "server_tool_use" if text("name") == "web_search" => {
                open.searches = true;
                self.begin_search(text("id"), block, out);
                self.open.push(open);
                return Ok(());
            }
            "web_search_tool_result" => {
                self.end_search(&text("tool_use_id"), block, out);
                self.open.push(open);
                return Ok(());
            }
            kind => Block::Native { kind: kind.to_owned(), json: Json::from(raw.to_owned()) },
        };
        let block = self.begin(kind, out);
        open.block = Some(block);
        self.open.push(open);
        let filled = |delta: &Delta| match delta {
            Delta::Text(text) => !text.is_empty(),
            Delta::Seal(seal) => !seal.text().is_empty(),
            _ => true,
        };
        out.extend(first.into_iter().filter(filled).map(|delta| Event::Delta { block, delta }));
        Ok(())
    }

    fn begin(&mut self, kind: Block, out: &mut Vec<Event>) -> u32 {
        let block = self.next;
        self.next += 1;
        out.push(Event::Open { block, kind });
        block
    }

    /// A search is told when its results are there: its query comes in pieces.
    fn begin_search(&mut self, id: String, block: &Value, out: &mut Vec<Event>) {
        if self.searches.len() == SEARCHES_MAX {
            let oldest = self.searches.remove(0);
            self.tell_search(oldest, Vec::new(), out);
        }
        let input = block.get("input").filter(|input| input.as_object().is_some_and(|input| !input.is_empty()));
        self.searches.push(Search { id, input: input.map_or_else(String::new, Value::to_string) });
    }

    fn end_search(&mut self, id: &str, block: &Value, out: &mut Vec<Event>) {
        let text = |hit: &Value, name: &str| hit.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let hits = block.get("content").and_then(Value::as_array).into_iter().flatten();
        let hits = hits.map(|hit| (text(hit, "title"), text(hit, "url"))).collect();
        let place = self.searches.iter().position(|search| search.id == id);
        let search = match place {
            Some(place) => self.searches.remove(place),
            None => Search { id: id.to_owned(), input: String::new() },
        };
        self.tell_search(search, hits, out);
    }

    fn tell_search(&mut self, search: Search, hits: Vec<(String, String)>, out: &mut Vec<Event>) {
        let input: Value = serde_json::from_str(&search.input).unwrap_or_default();
        let query = input.get("query").and_then(Value::as_str).map(str::to_owned);
        let block = self.begin(Block::Search { id: search.id, query, hits }, out);
        out.push(Event::Close { block });
    }

    fn delta(&mut self, index: u64, piece: Piece<'_>, out: &mut Vec<Event>) {
        // The newest of that number, should a server number two alike.
        let Some(open) = self.open.iter_mut().rev().find(|open| open.index == index) else { return };
        let delta = match &*piece.r#type.0 {
            "text_delta" => piece.text.map(Delta::Text),
            "thinking_delta" => piece.thinking.map(Delta::Text),
            "signature_delta" => piece.signature.and_then(|signature| seal::of_signature(&signature)).map(Delta::Seal),
            "citations_delta" => piece.citation.map(|raw| Delta::Citation(citation(Json::from(raw.to_owned())))),
            "input_json_delta" => piece.partial_json.map(Delta::Arguments),
            _ => None,
        };
        let Some(delta) = delta else { return };
        match (&delta, open.block) {
            (Delta::Text(text) | Delta::Arguments(text), _) if text.is_empty() => {}
            (Delta::Arguments(text), None) if open.searches => {
                if let Some(search) = self.searches.last_mut()
                    && search.input.len() + text.len() <= QUERY_BYTES_MAX
                {
                    search.input.push_str(text);
                }
            }
            (_, None) => {}
            (Delta::Arguments(_), Some(block)) => {
                open.input = None;
                out.push(Event::Delta { block, delta });
            }
            (_, Some(block)) => out.push(Event::Delta { block, delta }),
        }
    }

    fn close(&mut self, index: u64, out: &mut Vec<Event>) {
        if let Some(place) = self.open.iter().rposition(|open| open.index == index) {
            let open = self.open.remove(place);
            shut(open, out);
        }
    }

    fn end(&mut self, ended: Ended, out: &mut Vec<Event>) {
        let Some(reason) = ended.reason else { return };
        let why = ended.details.as_ref().and_then(|details| details.get("explanation")).and_then(Value::as_str);
        if let Some(why) = why.filter(|why| reason == "refusal" && !why.is_empty() && !self.finished) {
            let block = self.begin(Block::Refusal, out);
            out.push(Event::Delta { block, delta: Delta::Text(why.to_owned()) });
            out.push(Event::Close { block });
        }
        self.finish(finish_of(&reason), ended.sequence, out);
    }

    fn finish(&mut self, finish: Finish, stop_sequence: Option<String>, out: &mut Vec<Event>) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        for open in std::mem::take(&mut self.open) {
            shut(open, out);
        }
        for search in std::mem::take(&mut self.searches) {
            self.tell_search(search, Vec::new(), out);
        }
        out.push(Event::Finish { finish, stop_sequence });
    }
}

fn shut(open: Open, out: &mut Vec<Event>) {
    let Some(block) = open.block else { return };
    if let Some(input) = open.input {
        out.push(Event::Delta { block, delta: Delta::Arguments(input) });
    }
    out.push(Event::Close { block });
}

/// The events of an unstreamed answer.
///
/// # Errors
/// A sentence saying why it is not an answer of this dialect.
pub fn decode_whole(body: &[u8]) -> Result<Vec<Event>, String> {
    // Read thrice, since what is flattened cannot be kept as its text.
    #[derive(Deserialize)]
    struct Whole<'a> {
        #[serde(borrow)]
        content: Vec<&'a RawValue>,
    }
    let text = std::str::from_utf8(body).map_err(|_| "the answer is not valid UTF-8".to_owned())?;
    let whole: Whole<'_> = serde_json::from_str(text).map_err(|error| not_a_frame(&error))?;
    let started: Started<'_> = serde_json::from_str(text).map_err(|error| not_a_frame(&error))?;
    let ended: Ended = serde_json::from_str(text).map_err(|error| not_a_frame(&error))?;
    let mut decoder = Decoder::default();
    let mut out = Vec::new();
    decoder.start(&started, &mut out);
    for (index, block) in whole.content.iter().enumerate() {
        decoder.open(index as u64, block, &mut out)?;
        decoder.close(index as u64, &mut out);
    }
    decoder.end(ended, &mut out);
    decoder.finish(Finish::Other, None, &mut out);
    Ok(out)
}

#[cfg(test)]
mod tests;
