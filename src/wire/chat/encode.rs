//! Events, written as a stream of chat completion chunks.
//!
//! Owns the frames of one answer: the role, what is said, calls by rising index,
//! the finish, the usage frame. Refuses `[DONE]`: whoever closes the stream
//! writes it. Invariant: the openai packages accumulate these frames to the
//! answer that the events tell.
//!
//! Citations come in one delta before the finish: the packages refuse a second
//! list whose entries have no index. Reasoning goes to `reasoning_content`; its
//! seal to `reasoning_details`, from which a client that sends messages back as
//! they came returns it.

use super::losses::Losses;
use super::seal::write_details;
use crate::domain::usage::Usage;
use crate::wire::canon::{Block, Citation, Delta, Event, Loss, Reasoning, ReplyContext, Seal};
use crate::wire::facts::Finish;
use crate::wire::resume::Identity;
use crate::wire::sse::SseFrame;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Bytes of one reasoning, or of one wrapped input, that are held until it is closed.
const HELD_BYTES_MAX: usize = 1 << 20;
/// Citations of one answer.
const CITATIONS_MAX: usize = 1024;

/// Writes one answer.
#[derive(Debug)]
pub struct Encoder {
    context: ReplyContext,
    id: String,
    /// Everything up to the delta, once the answer has begun.
    head: Vec<u8>,
    /// The client asked with `functions`: it reads `function_call`.
    legacy: bool,
    open: BTreeMap<u32, Open>,
    /// Calls that were begun.
    calls: u32,
    /// Entries of `reasoning_details` so far.
    details: u64,
    /// Characters of text so far.
    chars: u64,
    cited: usize,
    annotations: Vec<Value>,
    usage: Option<Usage>,
    finished: bool,
    ended: bool,
    losses: Losses,
}

/// A block that is open.
#[derive(Debug)]
enum Open {
    Text {
        start: u64,
        citations: Vec<Citation>,
    },
    Refusal,
    Reasoning {
        /// What was shown, since the seal is over it; `None`: too much to be held.
        text: Option<String>,
        seal: Option<Seal>,
    },
    Sealed(Option<Seal>),
    Call {
        index: u32,
        custom: bool,
        is_empty: bool,
    },
    /// A call of a custom tool whose input is wrapped as JSON.
    Wrapped {
        index: u32,
        held: String,
    },
    /// Left out.
    Nothing,
}

impl Encoder {
    #[must_use]
    pub fn new(context: ReplyContext) -> Self {
        let has = |name: &str| context.fields.iter().any(|(field, value)| field == name && value.text() != "null");
        Self {
            legacy: has("functions") && !has("tools"),
            id: format!("chatcmpl-{}", context.id),
            context,
            head: Vec::new(),
            open: BTreeMap::new(),
            calls: 0,
            details: 0,
            chars: 0,
            cited: 0,
            annotations: Vec::new(),
            usage: None,
            finished: false,
            ended: false,
            losses: Losses::default(),
        }
    }

    /// Appends the frames that an event makes.
    pub fn push(&mut self, event: &Event, out: &mut Vec<SseFrame>) {
        match event {
            Event::Start { model, .. } => self.begin(Some(model), out),
            // Also after the finish.
            Event::Usage(usage) => self.usage = Some(*usage),
            _ if self.finished => {}
            Event::Open { block, kind } => {
                self.begin(None, out);
                self.close(*block, out);
                let open = self.opened(kind, out);
                self.open.insert(*block, open);
            }
            Event::Delta { block, delta } => self.delta(*block, delta, out),
            Event::Close { block } => self.close(*block, out),
            Event::Finish { finish, .. } => self.finish(*finish, out),
        }
    }

    /// Appends what remains: the finish if no event told it, and the usage frame
    /// where the client asked for one and the target gave a count.
    pub fn end(&mut self, out: &mut Vec<SseFrame>) {
        if !self.finished {
            self.finish(Finish::Stop, out);
        }
        if std::mem::replace(&mut self.ended, true) || !self.context.include_usage {
            return;
        }
        if let Some(usage) = self.usage {
            let mut chunk = self.top();
            chunk["choices"] = json!([]);
            chunk["usage"] = usage_value(&usage);
            out.push(SseFrame { event: None, data: Bytes::from(chunk.to_string()) });
        }
    }

    /// What could not be told so far.
    #[must_use]
    pub fn losses(&self) -> &[Loss] {
        self.losses.list()
    }

    fn top(&self) -> Value {
        json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.context.created,
            "model": self.context.model,
        })
    }

    fn begin(&mut self, model: Option<&String>, out: &mut Vec<SseFrame>) {
        if !self.head.is_empty() {
            return;
        }
        if let Some(model) = model.filter(|model| !model.is_empty()) {
            self.context.model.clone_from(model);
        }
        self.write_head();
        out.push(self.frame(&json!({"role": "assistant", "content": "", "refusal": null}), None));
    }

    fn write_head(&mut self) {
        self.head = self.top().to_string().into_bytes();
        // The closing brace makes room for the choices.
        self.head.pop();
        self.head.extend_from_slice(br#","choices":[{"index":0,"delta":"#);
    }

    /// Goes on as an answer that began elsewhere: by its names, and without another role.
    pub(in crate::wire) fn adopt(&mut self, names: &Identity) {
        if let Some(id) = &names.id {
            self.id.clone_from(id);
        }
        self.context.created = names.created.unwrap_or(self.context.created);
        if let Some(model) = &names.model {
            self.context.model.clone_from(model);
        }
        self.write_head();
    }

    fn frame<T: Serialize>(&self, delta: &T, finish: Option<&str>) -> SseFrame {
        let mut bytes = Vec::with_capacity(self.head.len() + 128);
        bytes.extend_from_slice(&self.head);
        serde_json::to_writer(&mut bytes, delta).expect("strings and numbers always serialize");
        bytes.extend_from_slice(br#","logprobs":null,"finish_reason":"#);
        serde_json::to_writer(&mut bytes, &finish).expect("a string always serializes");
        bytes.extend_from_slice(b"}]");
        if self.context.include_usage {
            // OpenAI API reference, `include_usage`: all other chunks have a null there.
            bytes.extend_from_slice(br#","usage":null"#);
        }
        bytes.push(b'}');
        SseFrame { event: None, data: Bytes::from(bytes) }
    }

    fn opened(&mut self, kind: &Block, out: &mut Vec<SseFrame>) -> Open {
        match kind {
            Block::Text => Open::Text { start: self.chars, citations: Vec::new() },
            Block::Refusal => Open::Refusal,
            Block::Reasoning => Open::Reasoning { text: Some(String::new()), seal: None },
            Block::Sealed => Open::Sealed(None),
            Block::Call { id, name, custom } => self.opened_call(id, name, *custom, out),
            // What was found is told by the citations alone.
            Block::Search { .. } => Open::Nothing,
            Block::Native { kind, .. } => {
                self.losses.dropped(format_args!("{kind:.40}"));
                Open::Nothing
            }
        }
    }

    fn opened_call(&mut self, id: &str, name: &str, custom: bool, out: &mut Vec<SseFrame>) -> Open {
        let index = self.calls;
        self.calls += 1;
        if self.legacy {
            if index > 0 {
                self.losses.dropped("all calls but the first");
                return Open::Nothing;
            }
            out.push(self.frame(&json!({"function_call": {"name": name, "arguments": ""}}), None));
            return Open::Call { index, custom: false, is_empty: true };
        }
        let is_wrapped = !custom && self.context.custom_tools.iter().any(|known| known == name);
        let call = if custom || is_wrapped {
            json!({"index": index, "id": id, "type": "custom", "custom": {"name": name, "input": ""}})
        } else {
            json!({"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""}})
        };
        out.push(self.frame(&json!({"tool_calls": [call]}), None));
        if is_wrapped {
            return Open::Wrapped { index, held: String::new() };
        }
        Open::Call { index, custom, is_empty: true }
    }

    fn delta(&mut self, block: u32, delta: &Delta, out: &mut Vec<SseFrame>) {
        let Some(mut open) = self.open.remove(&block) else { return };
        match (&mut open, delta) {
            (_, Delta::Text(text)) if text.is_empty() => {}
            (Open::Text { .. }, Delta::Text(text)) => {
                self.chars += text.chars().count() as u64;
                out.push(self.frame(&Said { content: Some(text), ..Said::default() }, None));
            }
            (Open::Refusal, Delta::Text(text)) => {
                out.push(self.frame(&Said { refusal: Some(text), ..Said::default() }, None));
            }
            (Open::Reasoning { text: held, .. }, Delta::Text(text)) => {
                match held {
                    Some(shown) if shown.len() + text.len() <= HELD_BYTES_MAX => shown.push_str(text),
                    _ => *held = None,
                }
                out.push(self.frame(&Said { reasoning_content: Some(text), ..Said::default() }, None));
            }
            (Open::Reasoning { seal, .. } | Open::Sealed(seal), Delta::Seal(piece)) => {
                let held = seal.as_ref().map_or(0, |seal| seal.text().len());
                if held + piece.text().len() <= HELD_BYTES_MAX {
                    match seal {
                        Some(seal) => seal.push(piece.text()),
                        None => *seal = Some(piece.clone()),
                    }
                } else {
                    // A part of a seal seals nothing.
                    self.losses.dropped("a seal of more than 1 MiB");
                    open = Open::Nothing;
                }
            }
            (Open::Text { citations, .. }, Delta::Citation(citation)) => {
                self.cited += 1;
                if self.cited <= CITATIONS_MAX {
                    citations.push(citation.clone());
                } else {
                    self.losses.dropped("citations after the first 1024");
                }
            }
            (Open::Call { index, custom, is_empty }, Delta::Arguments(text)) if !text.is_empty() => {
                *is_empty = false;
                out.push(self.arguments(*index, *custom, text));
            }
            (Open::Wrapped { index, held }, Delta::Arguments(text)) => {
                held.push_str(text);
                if held.len() > HELD_BYTES_MAX {
                    self.losses.changed("a custom call's input", "too long to be unwrapped, sent as JSON");
                    out.push(self.arguments(*index, true, held));
                    open = Open::Call { index: *index, custom: true, is_empty: false };
                }
            }
            // Nothing of a kind that its block cannot hold.
            _ => {}
        }
        self.open.insert(block, open);
    }

    fn arguments(&self, index: u32, custom: bool, text: &str) -> SseFrame {
        let delta = if self.legacy {
            json!({"function_call": {"arguments": text}})
        } else if custom {
            json!({"tool_calls": [{"index": index, "custom": {"input": text}}]})
        } else {
            json!({"tool_calls": [{"index": index, "function": {"arguments": text}}]})
        };
        self.frame(&delta, None)
    }

    fn close(&mut self, block: u32, out: &mut Vec<SseFrame>) {
        #[derive(Deserialize)]
        struct Input {
            input: String,
        }
        match self.open.remove(&block) {
            Some(Open::Text { start, citations }) => self.cite(start, citations),
            Some(Open::Call { index, custom: false, is_empty: true }) => {
                // Clients parse it as JSON.
                out.push(self.arguments(index, false, "{}"));
            }
            Some(Open::Wrapped { index, held }) => {
                let input = serde_json::from_str::<Input>(&held).map(|input| input.input).unwrap_or(held);
                out.push(self.arguments(index, true, &input));
            }
            Some(Open::Reasoning { text, seal: Some(seal) }) if !seal.text().is_empty() => {
                let Some(text) = text else {
                    self.losses.dropped("the seal of a reasoning of more than 1 MiB");
                    return;
                };
                self.seal(&Reasoning { text: vec![text], seal: Some(seal), id: None }, out);
            }
            Some(Open::Sealed(Some(seal))) if !seal.text().is_empty() => {
                self.seal(&Reasoning { text: Vec::new(), seal: Some(seal), id: None }, out);
            }
            Some(Open::Call { .. } | Open::Refusal | Open::Reasoning { .. } | Open::Sealed(_) | Open::Nothing)
            | None => {}
        }
    }

    fn seal(&mut self, block: &Reasoning, out: &mut Vec<SseFrame>) {
        let mut details = Vec::new();
        write_details(block, &mut self.details, &mut details);
        out.push(self.frame(&json!({"reasoning_details": details}), None));
    }

    /// A citation without a place stands for the whole text of its block.
    fn cite(&mut self, start: u64, citations: Vec<Citation>) {
        for citation in citations {
            let Some(url) = citation.url else {
                self.losses.dropped("citations without a URL");
                continue;
            };
            let moved = |(from, to): (u64, u64)| (from.saturating_add(start), to.saturating_add(start));
            let (from, to) = citation.span.map_or((start, self.chars), moved);
            let mut cited = json!({
                "start_index": from, "end_index": to, "title": citation.title.unwrap_or_default(), "url": url,
            });
            if let Some(quote) = citation.quote {
                // OpenRouter's field for it.
                cited["content"] = quote.into();
            }
            self.annotations.push(json!({"type": "url_citation", "url_citation": cited}));
        }
    }

    fn finish(&mut self, finish: Finish, out: &mut Vec<SseFrame>) {
        self.begin(None, out);
        while let Some(block) = self.open.keys().next().copied() {
            self.close(block, out);
        }
        if !self.annotations.is_empty() {
            let annotations = std::mem::take(&mut self.annotations);
            out.push(self.frame(&json!({"annotations": annotations}), None));
        }
        let reason = match finish {
            Finish::Length => "length",
            Finish::ContentFilter => "content_filter",
            Finish::Stop | Finish::ToolCalls | Finish::Other if self.calls == 0 => "stop",
            Finish::Stop | Finish::ToolCalls | Finish::Other if self.legacy => "function_call",
            Finish::Stop | Finish::ToolCalls | Finish::Other => "tool_calls",
        };
        self.finished = true;
        out.push(self.frame(&json!({}), Some(reason)));
    }
}

/// A piece of text, in the field that it belongs to.
#[derive(Default, Serialize)]
struct Said<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
}

fn usage_value(usage: &Usage) -> Value {
    let mut value = json!({
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input.saturating_add(usage.output),
        "prompt_tokens_details": {"cached_tokens": usage.cached_input},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    });
    if usage.cache_write > 0 {
        // OpenRouter's field for it.
        value["prompt_tokens_details"]["cache_write_tokens"] = usage.cache_write.into();
    }
    value
}

#[cfg(test)]
mod tests {
    use super::super::Assembler;
    use super::super::round::encode;
    use super::*;
    use crate::wire::canon::{Json, Part};

    fn context() -> ReplyContext {
        ReplyContext {
            id: "01".into(),
            created: 7,
            model: "asked".into(),
            include_usage: true,
            ..ReplyContext::default()
        }
    }

    fn open(block: u32, kind: Block) -> Event {
        Event::Open { block, kind }
    }

    fn call(block: u32, name: &str) -> Event {
        open(block, Block::Call { id: format!("c{block}"), name: name.into(), custom: false })
    }

    fn text(block: u32, text: &str) -> Event {
        Event::Delta { block, delta: Delta::Text(text.into()) }
    }

    fn arguments(block: u32, text: &str) -> Event {
        Event::Delta { block, delta: Delta::Arguments(text.into()) }
    }

    fn message(events: &[Event], context: ReplyContext) -> Value {
        let mut assembler = Assembler::default();
        for frame in encode(events, context) {
            assembler.push(&frame.data);
        }
        let mut whole = assembler.finish();
        let mut message = whole["choices"][0]["message"].take();
        message["finish"] = whole["choices"][0]["finish_reason"].take();
        message
    }

    #[test]
    fn the_frames_are_openais_byte_by_byte() {
        let usage = Usage { input: 3, output: 2, cached_input: 1, ..Usage::default() };
        let events = [
            Event::Start { id: "msg_1".into(), model: "claude".into() },
            open(0, Block::Text),
            text(0, "a\"b"),
            Event::Close { block: 0 },
            Event::Finish { finish: Finish::Length, stop_sequence: None },
            Event::Usage(usage),
        ];
        let head = r#"{"id":"chatcmpl-01","object":"chat.completion.chunk","created":7,"model":"claude","choices":["#;
        let one = |delta: &str, finish: &str| {
            format!(r#"{head}{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{finish}}}],"usage":null}}"#)
        };
        let expected = [
            one(r#"{"role":"assistant","content":"","refusal":null}"#, "null"),
            one(r#"{"content":"a\"b"}"#, "null"),
            one("{}", r#""length""#),
            format!(
                r#"{head}],"usage":{{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5,"prompt_tokens_details":{{"cached_tokens":1}},"completion_tokens_details":{{"reasoning_tokens":0}}}}}}"#
            ),
        ];
        let frames = encode(&events, context());
        let told: Vec<&[u8]> = frames.iter().map(|frame| &frame.data[..]).collect();
        assert_eq!(told, expected.each_ref().map(String::as_bytes));
        let unasked = encode(&events, ReplyContext { include_usage: false, ..context() });
        assert_eq!(unasked.len(), 3);
        assert!(unasked.iter().all(|frame| !frame.data.windows(7).any(|window| window == b"\"usage\"")));
    }

    #[test]
    fn an_answer_without_start_close_or_finish_is_made_whole() {
        let events = [call(3, "f"), call(5, "g"), arguments(3, "{\"a\""), text(9, "nowhere"), arguments(3, ":1}")];
        assert_eq!(
            message(&events, context()),
            json!({"role": "assistant", "content": null, "refusal": null, "finish": "tool_calls", "tool_calls": [
                {"id": "c3", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}},
                {"id": "c5", "type": "function", "function": {"name": "g", "arguments": "{}"}},
            ]})
        );
        let nothing = message(&[], context());
        assert_eq!((nothing["content"].as_str(), nothing["finish"].as_str()), (Some(""), Some("stop")));
    }

    #[test]
    fn a_wrapped_input_is_free_text_again() {
        let custom = |pieces: &[&str]| {
            let mut events = vec![call(0, "patch")];
            events.extend(pieces.iter().map(|piece| arguments(0, piece)));
            let context = ReplyContext { custom_tools: vec!["patch".into()], ..context() };
            message(&events, context)["tool_calls"][0].take()
        };
        let expected = |input: &str| json!({"id": "c0", "type": "custom", "custom": {"name": "patch", "input": input}});
        assert_eq!(custom(&["{\"in", "put\":\"a\\nb\"}"]), expected("a\nb"));
        assert_eq!(custom(&["not ", "wrapped"]), expected("not wrapped"));
        let long = "x".repeat(HELD_BYTES_MAX);
        assert_eq!(custom(&[&long, "y", "z"]), expected(&format!("{long}yz")));
    }

    #[test]
    fn who_asked_with_functions_reads_a_function_call() {
        let fields = vec![("functions".to_owned(), Json::parse("[{}]".into()).expect("JSON"))];
        let events = [call(0, "f"), arguments(0, "{}"), call(1, "g")];
        let legacy = ReplyContext { fields, ..context() };
        let told = message(&events, legacy.clone());
        assert_eq!(told["function_call"], json!({"name": "f", "arguments": "{}"}));
        assert_eq!((&told["finish"], told.get("tool_calls")), (&json!("function_call"), None));
        let mut encoder = Encoder::new(legacy);
        for event in &events {
            encoder.push(event, &mut Vec::new());
        }
        assert_eq!(encoder.losses(), [Loss::Dropped("all calls but the first".into())]);
    }

    #[test]
    fn citations_stand_for_their_text_and_come_in_one_delta() {
        let cite = |block, citation| Event::Delta { block, delta: Delta::Citation(citation) };
        let url = |url: &str| Citation { url: Some(url.into()), ..Citation::default() };
        let events = [
            open(0, Block::Text),
            text(0, "äb"),
            Event::Close { block: 0 },
            open(1, Block::Search { id: "s".into(), query: None, hits: vec![("t".into(), "hit".into())] }),
            open(2, Block::Text),
            cite(2, url("u")),
            text(2, "cde"),
            cite(2, Citation { span: Some((1, 2)), quote: Some("q".into()), title: Some("t".into()), ..url("v") }),
            cite(2, Citation::default()),
            open(4, Block::Native { kind: "code_execution".into(), json: Json::from(&json!({})) }),
            Event::Finish { finish: Finish::Other, stop_sequence: None },
        ];
        let mut encoder = Encoder::new(context());
        let mut frames = Vec::new();
        for event in &events {
            encoder.push(event, &mut frames);
        }
        let chunks: Vec<Value> =
            frames.iter().map(|frame| serde_json::from_slice(&frame.data).expect("JSON")).collect();
        let told: Vec<&Value> = chunks
            .iter()
            .map(|chunk| &chunk["choices"][0]["delta"]["annotations"])
            .filter(|told| !told.is_null())
            .collect();
        assert_eq!(
            told,
            [&json!([
                {"type": "url_citation", "url_citation": {"start_index": 2, "end_index": 5, "title": "", "url": "u"}},
                {"type": "url_citation", "url_citation": {"start_index": 3, "end_index": 4, "title": "t", "url": "v", "content": "q"}},
            ])]
        );
        let losses = ["dropped code_execution", "dropped citations without a URL"];
        assert_eq!(encoder.losses().iter().map(ToString::to_string).collect::<Vec<_>>(), losses);
    }

    #[test]
    fn seals_come_back_as_they_were_when_the_client_returns_the_message() {
        let seal = |block, seal: Seal| Event::Delta { block, delta: Delta::Seal(seal) };
        let events = [
            open(0, Block::Reasoning),
            text(0, "hm"),
            seal(0, Seal::Signature("si".into())),
            seal(0, Seal::Signature("g".into())),
            Event::Close { block: 0 },
            open(1, Block::Sealed),
            seal(1, Seal::Redacted("EoRed".into())),
            Event::Close { block: 1 },
            open(2, Block::Reasoning),
            text(2, "yes"),
            // As xAI and others write it.
            seal(2, Seal::Encrypted("xai".into())),
            Event::Close { block: 2 },
            open(3, Block::Text),
            text(3, "a"),
        ];
        let mut told = message(&events, context());
        told.as_object_mut().expect("an object").shift_remove("finish");
        let body = json!({"messages": [told]}).to_string();
        let (conversation, losses) =
            super::super::read_request(&super::super::round::fields(body.as_bytes())).expect("a request");
        assert_eq!(losses, []);
        let block = |text: &[&str], seal| {
            Part::Reasoning(Reasoning {
                text: text.iter().map(|text| (*text).to_owned()).collect(),
                seal: Some(seal),
                id: None,
            })
        };
        assert_eq!(
            conversation.turns[0].parts,
            [
                block(&["hm"], Seal::Signature("sig".into())),
                block(&[], Seal::Redacted("EoRed".into())),
                block(&["yes"], Seal::Encrypted("xai".into())),
                Part::text("a")
            ]
        );
    }

    #[test]
    fn more_than_is_held_is_told_without_its_seal() {
        let long = "x".repeat(HELD_BYTES_MAX + 1);
        let events = [
            open(0, Block::Reasoning),
            text(0, &long),
            Event::Delta { block: 0, delta: Delta::Seal(Seal::Signature("s".into())) },
        ];
        let told = message(&events, context());
        assert_eq!(told["reasoning_content"].as_str().map(str::len), Some(HELD_BYTES_MAX + 1));
        assert_eq!(told.get("reasoning_details"), None);
    }
}
