//! An answer of chat completions, read to events.
//!
//! Owns the order of blocks that chunks only imply: reasoning, text and calls
//! open where they begin and close where something else does. Refuses to repair
//! a broken call. Invariant: every block that opens is closed before the one
//! [`Event::Finish`], and no more than [`CALLS_MAX`] calls are kept.
//!
//! Sources: OpenAI API reference, "The chat completion chunk object"; the fields
//! of DeepSeek and vLLM (`reasoning_content`, `stop_reason`), OpenRouter
//! (`reasoning`, `reasoning_details`), Mistral (`content` as a list) and
//! Perplexity (`search_results`) by their own references.

mod calls;

use super::chunk::{UsageWire, finish, not_a_chunk};
use super::seal::{Detail, ENCRYPTED, SUMMARY, TEXT, is_encrypted};
use super::whole::chunks_of_whole;
use crate::domain::usage::Usage;
use crate::wire::canon::{Block, Citation, Delta, Event, Seal};
use crate::wire::facts::{Finish, broken_off};
use crate::wire::sse::SseFrame;
use calls::Calls;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Calls of one answer.
const CALLS_MAX: usize = 1024;
/// Sources that a provider names beside its answer; Perplexity names some ten.
const SOURCES_MAX: usize = 64;

/// Reads one stream; one choice of it, the first.
#[derive(Debug, Default)]
pub struct Decoder {
    started: bool,
    /// The number of the next block.
    next: u32,
    /// The block that text goes into.
    open: Option<(u32, Kind)>,
    calls: Calls,
    /// Reasoning was told in a plain field, without details.
    plain: bool,
    /// Characters of all texts, and how many there were when the open text began.
    chars: u64,
    text_start: u64,
    usage: Option<Usage>,
    sources: Option<Box<RawValue>>,
    finished: bool,
}

/// What is told piece by piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Refusal,
    Reasoning {
        /// A seal came: what follows is another block.
        sealed: bool,
    },
}

/// Reads an unstreamed answer.
///
/// # Errors
/// A sentence saying why it is not an answer of this dialect.
pub fn decode_whole(body: &[u8]) -> Result<Vec<Event>, String> {
    let frames = chunks_of_whole(body, true);
    if frames.is_empty() {
        return Err("the answer has no choices".to_owned());
    }
    let (mut decoder, mut events) = (Decoder::default(), Vec::new());
    for frame in &frames {
        decoder.push(frame, &mut events)?;
    }
    Ok(events)
}

impl Decoder {
    /// Takes one frame and appends what it says to `out`.
    ///
    /// # Errors
    /// A sentence saying why it is not a chunk of this dialect. It quotes nothing.
    pub fn push(&mut self, frame: &SseFrame, out: &mut Vec<Event>) -> Result<(), String> {
        if frame.data == "[DONE]" {
            return Ok(());
        }
        let chunk: Chunk<'_> = serde_json::from_slice(&frame.data).map_err(|error| not_a_chunk(&error))?;
        if chunk.error.is_some() {
            return Err("a frame holds an error".to_owned());
        }
        self.start(&chunk, out);
        if let Some(usage) = chunk.usage {
            self.usage(usage.into(), out);
        }
        if let Some(sources) = chunk.search_results.or(chunk.citations) {
            self.sources = Some(sources.to_owned());
        }
        for choice in chunk.choices.unwrap_or_default() {
            if choice.index == 0 && !self.finished {
                self.choice(&choice, out)?;
            }
        }
        Ok(())
    }

    /// Some servers send a frame without an id before the first.
    fn start(&mut self, chunk: &Chunk<'_>, out: &mut Vec<Event>) {
        let told = |raw: Option<&RawValue>| raw.and_then(string).unwrap_or_default();
        let id = told(chunk.id.filter(|_| !self.started));
        if self.started || (id.is_empty() && chunk.choices.as_ref().is_none_or(Vec::is_empty)) {
            return;
        }
        self.started = true;
        self.calls.name_after(&id);
        out.push(Event::Start { id, model: told(chunk.model) });
    }

    /// A split report fills up, a cumulative one grows: the larger count is the later one.
    fn usage(&mut self, told: Usage, out: &mut Vec<Event>) {
        let known = self.usage.unwrap_or_default();
        let usage = Usage {
            input: known.input.max(told.input),
            output: known.output.max(told.output),
            cached_input: known.cached_input.max(told.cached_input),
            cache_write: known.cache_write.max(told.cache_write),
            cache_write_1h: known.cache_write_1h.max(told.cache_write_1h),
            reasoning: known.reasoning.max(told.reasoning),
            estimated: false,
        };
        if self.usage != Some(usage) {
            self.usage = Some(usage);
            out.push(Event::Usage(usage));
        }
    }

    fn choice(&mut self, choice: &Choice<'_>, out: &mut Vec<Event>) -> Result<(), String> {
        if let Some(delta) = &choice.delta {
            self.reasoning(delta, out);
            if let Some(content) = delta.content {
                self.content(content, out);
            }
            if let Some(refusal) = delta.refusal.and_then(string) {
                self.say(Kind::Refusal, refusal, out);
            }
            if let Some(raw) = delta.tool_calls {
                let calls: Vec<calls::Piece<'_>> = serde_json::from_str(raw.get()).map_err(|e| not_a_chunk(&e))?;
                for piece in calls {
                    self.call(piece, out)?;
                }
            }
            if let Some(raw) = delta.function_call {
                let function = serde_json::from_str(raw.get()).map_err(|error| not_a_chunk(&error))?;
                self.call(calls::Piece::legacy(function), out)?;
            }
            if let Some(raw) = delta.annotations {
                self.annotations(raw, out);
            }
        }
        // The legacy completion shape that some servers mix in.
        if let Some(text) = choice.text.and_then(string) {
            self.say(Kind::Text, text, out);
        }
        match choice.finish_reason.and_then(string).filter(|reason| !reason.is_empty()) {
            Some(reason) if broken_off(&reason).is_some() => Err("the answer was broken off".to_owned()),
            Some(reason) => self.finish(finish(&reason), choice.stop_reason.and_then(string), out),
            None => Ok(()),
        }
    }

    /// A text, or a list of parts as Mistral's reasoning models write it.
    fn content(&mut self, raw: &RawValue, out: &mut Vec<Event>) {
        if let Some(text) = string(raw) {
            return self.say(Kind::Text, text, out);
        }
        for part in serde_json::from_str::<Vec<ContentPart>>(raw.get()).unwrap_or_default() {
            match part {
                ContentPart { text: Some(text), .. } => self.say(Kind::Text, text, out),
                ContentPart { thinking: Some(thinking), .. } => {
                    for text in thinking.into_iter().filter_map(|part| part.text) {
                        self.say(Kind::Reasoning { sealed: false }, text, out);
                    }
                }
                ContentPart { .. } => {}
            }
        }
    }

    /// The same reasoning may stand in several fields: it is taken once. The details
    /// know which seal is over which text; where their text comes only after it was
    /// told, the seals alone are new.
    fn reasoning(&mut self, delta: &DeltaWire<'_>, out: &mut Vec<Event>) {
        let details = delta.reasoning_details.map(|raw| serde_json::from_str::<Vec<Detail>>(raw.get()));
        let details = details.and_then(Result::ok).unwrap_or_default();
        let is_filled = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        let detailed =
            !self.plain && details.iter().any(|detail| is_filled(&detail.text) || is_filled(&detail.summary));
        let plain = [delta.reasoning_content, delta.reasoning];
        let plain = plain.into_iter().flatten().filter_map(string).find(|text| !text.is_empty());
        if let Some(text) = plain.filter(|_| !detailed) {
            self.plain = true;
            self.say(Kind::Reasoning { sealed: false }, text, out);
        }
        for detail in details {
            let (text, seal) = match detail.r#type.as_str() {
                TEXT => (detail.text, detail.signature),
                SUMMARY => (detail.summary, None),
                ENCRYPTED => {
                    self.sealed(detail.data, detail.format.as_deref(), out);
                    continue;
                }
                _ => continue,
            };
            if let Some(text) = text.filter(|_| detailed) {
                self.say(Kind::Reasoning { sealed: false }, text, out);
            }
            if let Some(seal) = seal.filter(|seal| !seal.is_empty()) {
                self.seal(Seal::Signature(seal), out);
            }
        }
    }

    /// The seal of the reasoning that is open, or of one that was never shown.
    fn seal(&mut self, seal: Seal, out: &mut Vec<Event>) {
        let block = match self.open {
            Some((block, Kind::Reasoning { sealed: false })) => block,
            _ => self.begin(Kind::Reasoning { sealed: false }, out),
        };
        self.open = Some((block, Kind::Reasoning { sealed: true }));
        out.push(Event::Delta { block, delta: Delta::Seal(seal) });
    }

    fn sealed(&mut self, data: Option<String>, format: Option<&str>, out: &mut Vec<Event>) {
        let Some(data) = data.filter(|data| !data.is_empty()) else { return };
        let is_open = matches!(self.open, Some((_, Kind::Reasoning { sealed: false })));
        let seal = if is_encrypted(&data, format) { Seal::Encrypted(data) } else { Seal::Redacted(data) };
        if is_open && matches!(seal, Seal::Encrypted(_)) {
            return self.seal(seal, out);
        }
        self.close(out);
        let block = self.number();
        out.push(Event::Open { block, kind: Block::Sealed });
        out.push(Event::Delta { block, delta: Delta::Seal(seal) });
        out.push(Event::Close { block });
    }

    fn say(&mut self, kind: Kind, text: String, out: &mut Vec<Event>) {
        if text.is_empty() {
            return;
        }
        let block = match self.open {
            Some((block, open)) if open == kind => block,
            _ => self.begin(kind, out),
        };
        if kind == Kind::Text {
            self.chars += text.chars().count() as u64;
        }
        out.push(Event::Delta { block, delta: Delta::Text(text) });
    }

    fn begin(&mut self, kind: Kind, out: &mut Vec<Event>) -> u32 {
        self.close(out);
        self.calls.close_complete(out);
        let block = self.number();
        let opened = match kind {
            Kind::Text => Block::Text,
            Kind::Refusal => Block::Refusal,
            Kind::Reasoning { .. } => Block::Reasoning,
        };
        self.text_start = self.chars;
        self.open = Some((block, kind));
        out.push(Event::Open { block, kind: opened });
        block
    }

    fn close(&mut self, out: &mut Vec<Event>) {
        if let Some((block, _)) = self.open.take() {
            out.push(Event::Close { block });
        }
    }

    fn number(&mut self) -> u32 {
        let block = self.next;
        self.next += 1;
        block
    }

    fn call(&mut self, piece: calls::Piece<'_>, out: &mut Vec<Event>) -> Result<(), String> {
        let place = self.calls.place_of(&piece);
        if place.is_none() {
            self.close(out);
            self.calls.close_complete(out);
        }
        self.calls.take(place, piece, &mut self.next, out)
    }

    fn annotations(&mut self, raw: &RawValue, out: &mut Vec<Event>) {
        #[derive(Deserialize)]
        struct Annotation {
            url_citation: UrlCitation,
        }
        #[derive(Deserialize)]
        struct UrlCitation {
            url: Option<String>,
            title: Option<String>,
            content: Option<String>,
            start_index: Option<u64>,
            end_index: Option<u64>,
        }
        for raw in serde_json::from_str::<Vec<&RawValue>>(raw.get()).unwrap_or_default() {
            // Kinds that are not known cite no page.
            let Ok(Annotation { url_citation: cited }) = serde_json::from_str(raw.get()) else { continue };
            let block = self.text_block(out);
            let moved = |index: u64| index.saturating_sub(self.text_start);
            let citation = Citation {
                url: cited.url,
                title: cited.title,
                quote: cited.content,
                span: cited.start_index.zip(cited.end_index).map(|(from, to)| (moved(from), moved(to))),
                native: None,
            };
            out.push(Event::Delta { block, delta: Delta::Citation(citation) });
        }
    }

    fn text_block(&mut self, out: &mut Vec<Event>) -> u32 {
        match self.open {
            Some((block, Kind::Text)) => block,
            _ => self.begin(Kind::Text, out),
        }
    }

    /// Pages that were read for the answer, without a place in it.
    fn cite_sources(&mut self, out: &mut Vec<Event>) {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Source {
            Url(String),
            Page { url: String, title: Option<String> },
        }
        let Some(raw) = self.sources.take().filter(|_| self.chars > 0) else { return };
        for source in serde_json::from_str::<Vec<Source>>(raw.get()).unwrap_or_default().into_iter().take(SOURCES_MAX) {
            let (url, title) = match source {
                Source::Url(url) => (url, None),
                Source::Page { url, title } => (url, title),
            };
            let block = self.text_block(out);
            let citation = Citation { url: Some(url), title, ..Citation::default() };
            out.push(Event::Delta { block, delta: Delta::Citation(citation) });
        }
    }

    fn finish(&mut self, told: Finish, stop: Option<String>, out: &mut Vec<Event>) -> Result<(), String> {
        self.cite_sources(out);
        self.close(out);
        let made_calls = self.calls.finish(&mut self.next, out)?;
        // A forced call ends with `stop` (OpenAI API reference, `tool_choice`), and some
        // servers say so of every call: who waits for `tool_calls` would run none of them.
        let finish = match told {
            Finish::Stop if made_calls => Finish::ToolCalls,
            Finish::ToolCalls if !made_calls => Finish::Stop,
            told => told,
        };
        self.finished = true;
        out.push(Event::Finish { finish, stop_sequence: stop.filter(|_| finish == Finish::Stop) });
        Ok(())
    }
}

/// The value, if it is a string.
fn string(raw: &RawValue) -> Option<String> {
    raw.get().starts_with('"').then(|| serde_json::from_str(raw.get()).ok()).flatten()
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    model: Option<&'a RawValue>,
    #[serde(borrow, default)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(default)]
    usage: Option<UsageWire>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    citations: Option<&'a RawValue>,
    #[serde(borrow, default)]
    search_results: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default)]
    index: u32,
    #[serde(borrow, default)]
    delta: Option<DeltaWire<'a>>,
    #[serde(borrow, default)]
    finish_reason: Option<&'a RawValue>,
    /// The stop sequence that was met (vLLM).
    #[serde(borrow, default)]
    stop_reason: Option<&'a RawValue>,
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct DeltaWire<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning_details: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tool_calls: Option<&'a RawValue>,
    #[serde(borrow, default)]
    function_call: Option<&'a RawValue>,
    #[serde(borrow, default)]
    annotations: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ContentPart {
    text: Option<String>,
    thinking: Option<Vec<ThinkingPart>>,
}

#[derive(Deserialize)]
struct ThinkingPart {
    text: Option<String>,
}

#[cfg(test)]
mod tests;
