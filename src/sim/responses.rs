//! A good answer in `OpenAI`'s Responses dialect.
//!
//! Owns its events and its output items; the response object is in `object.rs`,
//! what is kept between requests in `kept.rs`. Refuses sockets and pace.
//! Invariant: as in `voice.rs`; `sequence_number` counts every event from 0, and
//! the items of the last event are the ones that were streamed.

mod kept;
mod object;

pub(super) use kept::{Kept, Turn as KeptTurn};

use super::answer::{Answer, Block, Cite, Content, Delta, Finish};
use super::fault::Fault;
use super::seal::Seal;
use super::voice::Frame;
use object::Object;
use serde_json::{Map, Value, json};

/// One answer, worded as a response.
pub(super) struct Responses {
    answer: Answer,
    blocks: Vec<Block>,
    /// The blocks' item ids.
    ids: Vec<String>,
    object: Object,
    /// A summary of the reasoning was asked for; without it reasoning is silent.
    summary: bool,
    /// `reasoning.encrypted_content` was asked for.
    seal: Option<Seal>,
    obfuscates: bool,
    /// The script wants the flat `error` event instead of `response.failed`.
    flat: bool,
    sequence: u64,
    /// Place of the block that was opened and not closed.
    open: Option<usize>,
    /// Blocks opened so far.
    begun: usize,
}

impl Responses {
    pub fn new(answer: Answer, body: &Value, seal: Seal, script: &super::script::Script) -> Self {
        let blocks = answer.blocks();
        let include = body["include"].as_array();
        let encrypts = include.is_some_and(|list| list.iter().any(|wish| wish == "reasoning.encrypted_content"));
        Self {
            object: Object::new(&answer, body, script),
            summary: body["reasoning"]["summary"].is_string(),
            seal: encrypts.then_some(seal),
            obfuscates: body["stream_options"]["include_obfuscation"] != false,
            flat: script.flat,
            sequence: 0,
            open: None,
            begun: 0,
            ids: blocks.iter().enumerate().map(|(place, block)| item_id(&answer, place, block)).collect(),
            answer,
            blocks,
        }
    }

    pub fn answer(&self) -> &Answer {
        &self.answer
    }

    pub fn emptied(self) -> Self {
        let answer = self.answer.emptied();
        Self { object: self.object.recounted(&answer), answer, blocks: Vec::new(), ..self }
    }

    /// The response object as it is when all was said.
    pub fn completed(&self) -> Value {
        self.object.finished(self.answer.finish, &self.output())
    }

    /// All output items, complete.
    pub fn output(&self) -> Vec<Value> {
        (0..self.blocks.len()).map(|place| self.item(place, true)).collect()
    }

    pub fn opening(&mut self) -> Vec<Frame> {
        let started = self.object.started();
        ["response.created", "response.in_progress"]
            .into_iter()
            .map(|kind| self.event(kind, [("response", started.clone())]))
            .collect()
    }

    pub fn say(&mut self, at: usize) -> Vec<Frame> {
        let place = self.blocks.partition_point(|block| block.last < at);
        let Some(block) = self.blocks.get(place) else {
            return Vec::new();
        };
        let ends = at == block.last;
        let mut frames = Vec::new();
        if place >= self.begun {
            self.start(place, &mut frames);
        }
        match self.answer.deltas[at].1.clone() {
            Delta::Reasoning(_) if !self.summary => {}
            Delta::Text(text) | Delta::Reasoning(text) | Delta::ToolArguments { text, .. } => {
                frames.push(self.piece(place, &text));
            }
            Delta::Cite(cite) => {
                let number = json!(0);
                let fields =
                    [("content_index", json!(0)), ("annotation_index", number), ("annotation", annotation(&cite))];
                frames.push(self.within(place, "response.output_text.annotation.added", fields));
            }
            Delta::Search { .. } => {
                frames.push(self.within(place, "response.web_search_call.in_progress", []));
                frames.push(self.within(place, "response.web_search_call.searching", []));
                frames.push(self.within(place, "response.web_search_call.completed", []));
            }
            Delta::ToolStart { .. } => {}
        }
        if ends {
            self.stop(place, &mut frames);
        }
        frames
    }

    pub fn filler(&mut self, text: &str) -> Vec<Frame> {
        let mut frames = Vec::new();
        let place = self.open.unwrap_or(self.begun);
        if self.open.is_none() {
            if place == self.blocks.len() {
                let content = Content::Text { text: String::new(), cites: Vec::new() };
                let last = self.answer.deltas.len();
                self.ids.push(self.answer.part_id("msg", place));
                self.blocks.push(Block { first: last, last, content });
            }
            self.start(place, &mut frames);
        }
        frames.push(self.piece(place, text));
        frames
    }

    pub fn ending(&mut self) -> Vec<Frame> {
        let kind = match self.answer.finish {
            Finish::Stop | Finish::Tools => "response.completed",
            Finish::Length | Finish::Filter => "response.incomplete",
        };
        let response = self.completed();
        vec![self.event(kind, [("response", response)])]
    }

    pub fn failed(&mut self, fault: Fault) -> Frame {
        let failed = self.failed_object(fault);
        if self.flat {
            let error = failed["error"].clone();
            let fields =
                [("code", error["code"].clone()), ("message", error["message"].clone()), ("param", Value::Null)];
            return self.event("error", fields);
        }
        self.event("response.failed", [("response", failed)])
    }

    /// The response object of an answer that broke off.
    pub fn failed_object(&self, fault: Fault) -> Value {
        let (code, message) = match fault {
            Fault::ErrorEventOverloaded => {
                ("server_is_overloaded", "Our servers are currently overloaded. Please try again later.")
            }
            _ => ("server_error", "The server had an error while processing your request. Sorry about that!"),
        };
        self.object.failed(code, message)
    }

    pub fn whole(&self) -> String {
        self.completed().to_string()
    }

    fn start(&mut self, place: usize, frames: &mut Vec<Frame>) {
        self.open = Some(place);
        self.begun = place + 1;
        let fields = [("output_index", json!(place)), ("item", self.item(place, false))];
        frames.push(self.event("response.output_item.added", fields));
        match self.blocks[place].content {
            Content::Text { .. } => {
                let fields = [("content_index", json!(0)), ("part", part("", &[]))];
                frames.push(self.within(place, "response.content_part.added", fields));
            }
            Content::Reasoning(_) if self.summary => {
                let fields = [("summary_index", json!(0)), ("part", summary(""))];
                frames.push(self.within(place, "response.reasoning_summary_part.added", fields));
            }
            Content::Reasoning(_) | Content::Call { .. } | Content::Search { .. } => {}
        }
    }

    /// One delta of a block's text or arguments.
    fn piece(&mut self, place: usize, text: &str) -> Frame {
        let (kind, index) = match self.blocks[place].content {
            Content::Text { .. } | Content::Search { .. } => ("response.output_text.delta", Some("content_index")),
            Content::Reasoning(_) => ("response.reasoning_summary_text.delta", Some("summary_index")),
            Content::Call { custom: true, .. } => ("response.custom_tool_call_input.delta", None),
            Content::Call { custom: false, .. } => ("response.function_call_arguments.delta", None),
        };
        let mut fields: Vec<(&str, Value)> = index.map(|index| (index, json!(0))).into_iter().collect();
        fields.push(("delta", text.into()));
        if index == Some("content_index") {
            fields.push(("logprobs", json!([])));
        }
        if self.obfuscates {
            // Pads each delta to a multiple of 16, as the vendor does against readers of lengths.
            let padding = 16 - text.len() % 16;
            fields.push(("obfuscation", "x8Qf2LmZr0TcVb7K"[..padding].into()));
        }
        self.within(place, kind, fields)
    }

    fn stop(&mut self, place: usize, frames: &mut Vec<Frame>) {
        let content = self.blocks[place].content.clone();
        let zero = json!(0);
        match &content {
            Content::Text { text, cites } => {
                let fields = [("content_index", zero.clone()), ("text", json!(text)), ("logprobs", json!([]))];
                frames.push(self.within(place, "response.output_text.done", fields));
                let fields = [("content_index", zero), ("part", part(text, cites))];
                frames.push(self.within(place, "response.content_part.done", fields));
            }
            Content::Reasoning(text) if self.summary => {
                let fields = [("summary_index", zero.clone()), ("text", json!(text))];
                frames.push(self.within(place, "response.reasoning_summary_text.done", fields));
                let fields = [("summary_index", zero), ("part", summary(text))];
                frames.push(self.within(place, "response.reasoning_summary_part.done", fields));
            }
            Content::Call { custom: true, arguments, .. } => {
                let fields = [("input", json!(arguments))];
                frames.push(self.within(place, "response.custom_tool_call_input.done", fields));
            }
            Content::Call { custom: false, arguments, .. } => {
                let fields = [("arguments", json!(arguments))];
                frames.push(self.within(place, "response.function_call_arguments.done", fields));
            }
            Content::Reasoning(_) | Content::Search { .. } => {}
        }
        let fields = [("output_index", json!(place)), ("item", self.item(place, true))];
        frames.push(self.event("response.output_item.done", fields));
        self.open = None;
    }

    /// An output item, as it is added or as it is done.
    fn item(&self, place: usize, done: bool) -> Value {
        let cut = place + 1 == self.blocks.len() && matches!(self.answer.finish, Finish::Length | Finish::Filter);
        let status = match (done, cut) {
            (false, _) => "in_progress",
            (true, false) => "completed",
            (true, true) => "incomplete",
        };
        let id = self.ids[place].clone();
        match &self.blocks[place].content {
            Content::Text { text, cites } => {
                let content = if done { json!([part(text, cites)]) } else { json!([]) };
                json!({ "id": id, "type": "message", "status": status, "content": content, "role": "assistant" })
            }
            Content::Reasoning(text) => {
                let shown = if done && self.summary { json!([summary(text)]) } else { json!([]) };
                let mut item = Map::new();
                item.insert("id".to_owned(), id.clone().into());
                item.insert("type".to_owned(), "reasoning".into());
                if let Some(seal) = &self.seal {
                    item.insert("encrypted_content".to_owned(), seal.encrypted(&id, text).into());
                }
                item.insert("summary".to_owned(), shown);
                Value::Object(item)
            }
            Content::Call { id: call, name, custom, namespace, arguments } => {
                let arguments = if done { arguments.as_str() } else { "" };
                let (kind, key) = if *custom { ("custom_tool_call", "input") } else { ("function_call", "arguments") };
                let call = format!("call_sim_{call:016x}");
                let mut item =
                    json!({ "id": id, "type": kind, "status": status, key: arguments, "call_id": call, "name": name });
                if let Some(namespace) = namespace {
                    item["namespace"] = namespace.as_str().into();
                }
                item
            }
            Content::Search { query, .. } => {
                let action = if done { json!({ "type": "search", "query": query }) } else { Value::Null };
                let mut item = json!({ "id": id, "type": "web_search_call", "status": status });
                if done {
                    item["action"] = action;
                }
                item
            }
        }
    }

    /// An event about one item.
    fn within<'a>(
        &mut self,
        place: usize,
        kind: &'static str,
        fields: impl IntoIterator<Item = (&'a str, Value)>,
    ) -> Frame {
        let item = [("item_id", self.ids[place].clone().into()), ("output_index", json!(place))];
        self.event(kind, item.into_iter().chain(fields))
    }

    fn event<'a>(&mut self, kind: &'static str, fields: impl IntoIterator<Item = (&'a str, Value)>) -> Frame {
        let mut event = Map::new();
        event.insert("type".to_owned(), kind.into());
        event.insert("sequence_number".to_owned(), self.sequence.into());
        event.extend(fields.into_iter().map(|(name, value)| (name.to_owned(), value)));
        self.sequence += 1;
        Frame::named(kind, &Value::Object(event))
    }
}

fn item_id(answer: &Answer, place: usize, block: &Block) -> String {
    let prefix = match block.content {
        Content::Text { .. } => "msg",
        Content::Reasoning(_) => "rs",
        Content::Call { custom: true, .. } => "ctc",
        Content::Call { custom: false, .. } => "fc",
        Content::Search { .. } => "ws",
    };
    answer.part_id(prefix, place)
}

fn part(text: &str, cites: &[Cite]) -> Value {
    let annotations: Vec<Value> = cites.iter().map(annotation).collect();
    json!({ "type": "output_text", "annotations": annotations, "logprobs": [], "text": text })
}

fn summary(text: &str) -> Value {
    json!({ "type": "summary_text", "text": text })
}

fn annotation(cite: &Cite) -> Value {
    json!({ "type": "url_citation", "end_index": cite.end, "start_index": 0, "title": cite.title, "url": cite.url })
}
