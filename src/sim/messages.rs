//! A good answer in Anthropic's Messages dialect.
//!
//! Owns its events and its message object. Refuses sockets and pace. Invariant:
//! as in `voice.rs`; every block is opened, filled and closed under an index of
//! its own, and a thinking block closes with the simulator's signature.

use super::answer::{Answer, Block, Cite, Content, Delta, Finish};
use super::fault::Fault;
use super::refusal;
use super::seal::Seal;
use super::text;
use super::voice::Frame;
use serde_json::{Value, json};

/// One answer, worded as a message.
pub(super) struct Messages {
    answer: Answer,
    blocks: Vec<Block>,
    seal: Seal,
    /// `thinking.display: "omitted"`: thinking is signed and not shown.
    omitted: bool,
    /// The id that the `request-id` header carries as well.
    request: u64,
    /// Index and kind of the block that was opened and not closed.
    open: Option<(usize, Part)>,
    /// Blocks opened so far, hence the next one's index.
    opened: usize,
    /// How many of the answer's blocks that were; a search makes two.
    begun: usize,
    pinged: bool,
}

/// What a block's deltas are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Text,
    Thinking,
    Input,
}

impl Messages {
    pub fn new(answer: Answer, body: &Value, seal: Seal, request: u64) -> Self {
        let blocks = answer.blocks();
        let omitted = body["thinking"]["display"] == "omitted";
        Self { answer, blocks, seal, omitted, request, open: None, opened: 0, begun: 0, pinged: false }
    }

    pub fn answer(&self) -> &Answer {
        &self.answer
    }

    pub fn emptied(self) -> Self {
        Self { answer: self.answer.emptied(), blocks: Vec::new(), ..self }
    }

    pub fn opening(&self) -> Vec<Frame> {
        let message = self.message(&[], &Value::Null, &self.usage(1));
        vec![Frame::named("message_start", &json!({ "type": "message_start", "message": message }))]
    }

    pub fn say(&mut self, at: usize) -> Vec<Frame> {
        let place = self.blocks.partition_point(|block| block.last < at);
        let Some(block) = self.blocks.get(place) else {
            return Vec::new();
        };
        let ends = at == block.last;
        let mut frames = Vec::new();
        if place >= self.begun {
            let (part, started) = (part(&block.content), started(&block.content));
            self.start(part, &started, &mut frames);
        }
        match self.answer.deltas[at].1.clone() {
            Delta::Text(text) => frames.push(self.delta(&json!({ "type": "text_delta", "text": text }))),
            Delta::Reasoning(_) if self.omitted => {}
            Delta::Reasoning(text) => frames.push(self.delta(&json!({ "type": "thinking_delta", "thinking": text }))),
            // The vendor opens a call with an empty piece of its input.
            Delta::ToolStart { .. } => frames.push(self.input("")),
            Delta::ToolArguments { text, .. } => frames.push(self.input(&text)),
            Delta::Cite(cite) => {
                frames.push(self.delta(&json!({ "type": "citations_delta", "citation": citation(&cite) })));
            }
            Delta::Search { id, query } => self.search(id, &query, &mut frames),
        }
        if ends {
            if let Content::Reasoning(text) = &self.blocks[place].content {
                let signature = self.seal.signature(if self.omitted { "" } else { text });
                frames.push(self.delta(&json!({ "type": "signature_delta", "signature": signature })));
            }
            frames.extend(self.stop());
        }
        frames
    }

    pub fn filler(&mut self, text: &str) -> Vec<Frame> {
        let mut frames = Vec::new();
        if self.open.is_none() {
            let text = Content::Text { text: String::new(), cites: Vec::new() };
            let next = self.blocks.get(self.begun).map_or(&text, |block| &block.content);
            let (part, started) = (part(next), started(next));
            self.start(part, &started, &mut frames);
        }
        let delta = match self.open {
            Some((_, Part::Thinking)) => json!({ "type": "thinking_delta", "thinking": text }),
            Some((_, Part::Input)) => json!({ "type": "input_json_delta", "partial_json": text }),
            Some((_, Part::Text)) | None => json!({ "type": "text_delta", "text": text }),
        };
        frames.push(self.delta(&delta));
        frames
    }

    pub fn ending(&mut self) -> Vec<Frame> {
        let mut frames: Vec<Frame> = self.stop().into_iter().collect();
        let counts = self.answer.counts;
        let mut usage = json!({
            "input_tokens": counts.input - counts.cached,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": counts.cached,
            "output_tokens": counts.output,
            "output_tokens_details": { "thinking_tokens": counts.reasoning },
        });
        self.count_searches(&mut usage);
        let delta = json!({ "stop_reason": self.stop_reason(), "stop_sequence": null, "stop_details": self.details() });
        let last = json!({ "type": "message_delta", "delta": delta, "usage": usage });
        frames.push(Frame::named("message_delta", &last));
        frames.push(Frame::named("message_stop", &json!({ "type": "message_stop" })));
        frames
    }

    pub fn failed(&self, fault: Fault) -> Frame {
        Frame::named("error", &self.error(fault))
    }

    /// The error object of a fault that is told inside a 200.
    pub fn error(&self, fault: Fault) -> Value {
        let (kind, message) = match fault {
            Fault::ErrorEventOverloaded => ("overloaded_error", "Overloaded"),
            _ => ("api_error", "Internal server error"),
        };
        refusal::anthropic(kind, message, self.request)
    }

    pub fn whole(&self) -> String {
        let mut content = Vec::new();
        for block in &self.blocks {
            match &block.content {
                Content::Text { text, cites } if cites.is_empty() => {
                    content.push(json!({ "type": "text", "text": text }));
                }
                Content::Text { text, cites } => {
                    let cites: Vec<Value> = cites.iter().map(citation).collect();
                    content.push(json!({ "citations": cites, "type": "text", "text": text }));
                }
                Content::Reasoning(text) => {
                    let text = if self.omitted { "" } else { text };
                    let signature = self.seal.signature(text);
                    content.push(json!({ "type": "thinking", "thinking": text, "signature": signature }));
                }
                Content::Call { arguments, .. } => {
                    let mut call = started(&block.content);
                    call["input"] = serde_json::from_str(arguments).unwrap_or_else(|_| json!({}));
                    content.push(call);
                }
                Content::Search { id, query } => {
                    let mut call = started(&block.content);
                    call["input"] = json!({ "query": query });
                    content.extend([call, found(*id)]);
                }
            }
        }
        let counts = self.answer.counts;
        let mut usage = self.usage(counts.output);
        usage["output_tokens_details"] = json!({ "thinking_tokens": counts.reasoning });
        self.count_searches(&mut usage);
        self.message(&content, &self.stop_reason().into(), &usage).to_string()
    }

    /// Opens the answer's next block.
    fn start(&mut self, part: Part, block: &Value, frames: &mut Vec<Frame>) {
        self.begun += 1;
        self.begin(part, block, frames);
    }

    fn begin(&mut self, part: Part, block: &Value, frames: &mut Vec<Frame>) {
        frames.extend(self.stop());
        let index = self.opened;
        let start = json!({ "type": "content_block_start", "index": index, "content_block": block });
        frames.push(Frame::named("content_block_start", &start));
        if !std::mem::replace(&mut self.pinged, true) {
            frames.push(Frame::named("ping", &json!({ "type": "ping" })));
        }
        self.open = Some((index, part));
        self.opened += 1;
    }

    /// A search is two blocks: the provider's call and what it found.
    fn search(&mut self, id: u64, query: &str, frames: &mut Vec<Frame>) {
        frames.push(self.input(""));
        for piece in text::fragments(&json!({ "query": query }).to_string()) {
            frames.push(self.input(&piece));
        }
        self.begin(Part::Input, &found(id), frames);
        frames.extend(self.stop());
    }

    fn input(&self, json: &str) -> Frame {
        self.delta(&json!({ "type": "input_json_delta", "partial_json": json }))
    }

    fn delta(&self, delta: &Value) -> Frame {
        let index = self.open.map_or(0, |(index, _)| index);
        Frame::named("content_block_delta", &json!({ "type": "content_block_delta", "index": index, "delta": delta }))
    }

    fn stop(&mut self) -> Option<Frame> {
        let (index, _) = self.open.take()?;
        Some(Frame::named("content_block_stop", &json!({ "type": "content_block_stop", "index": index })))
    }

    fn message(&self, content: &[Value], stop_reason: &Value, usage: &Value) -> Value {
        let details = if stop_reason.is_null() { Value::Null } else { self.details() };
        json!({
            "model": self.answer.model,
            "id": self.answer.id("msg"),
            "type": "message",
            "role": "assistant",
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": null,
            "stop_details": details,
            "usage": usage,
        })
    }

    /// Anthropic's `input_tokens` are the ones that came from no cache.
    fn usage(&self, output: usize) -> Value {
        let counts = self.answer.counts;
        json!({
            "input_tokens": counts.input - counts.cached,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": counts.cached,
            "cache_creation": { "ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0 },
            "output_tokens": output,
            "service_tier": "standard",
            "inference_geo": "not_available",
        })
    }

    fn count_searches(&self, usage: &mut Value) {
        if self.answer.searches > 0 {
            usage["server_tool_use"] = json!({ "web_search_requests": self.answer.searches, "web_fetch_requests": 0 });
        }
    }

    fn stop_reason(&self) -> &'static str {
        match self.answer.finish {
            Finish::Stop => "end_turn",
            Finish::Tools => "tool_use",
            Finish::Length => "max_tokens",
            Finish::Filter => "refusal",
        }
    }

    fn details(&self) -> Value {
        if self.answer.finish == Finish::Filter {
            return json!({ "type": "refusal", "category": null, "explanation": null });
        }
        Value::Null
    }
}

fn part(content: &Content) -> Part {
    match content {
        Content::Text { .. } => Part::Text,
        Content::Reasoning(_) => Part::Thinking,
        Content::Call { .. } | Content::Search { .. } => Part::Input,
    }
}

/// A block as it is opened.
fn started(content: &Content) -> Value {
    match content {
        Content::Text { cites, .. } if !cites.is_empty() => json!({ "citations": [], "type": "text", "text": "" }),
        Content::Text { .. } => json!({ "type": "text", "text": "" }),
        Content::Reasoning(_) => json!({ "type": "thinking", "thinking": "", "signature": "" }),
        Content::Call { id, name, .. } => json!({
            "type": "tool_use", "id": format!("toolu_sim_{id:016x}"), "name": name, "input": {},
            "caller": { "type": "direct" },
        }),
        Content::Search { id, .. } => json!({
            "type": "server_tool_use", "id": format!("srvtoolu_sim_{id:016x}"), "name": "web_search", "input": {},
            "caller": { "type": "direct" },
        }),
    }
}

/// What a search found.
fn found(id: u64) -> Value {
    json!({
        "type": "web_search_tool_result",
        "tool_use_id": format!("srvtoolu_sim_{id:016x}"),
        "content": [{
            "type": "web_search_result",
            "title": "Knots, simulated",
            "url": "https://sim.invalid/knots",
            "encrypted_content": format!("sim{id:016x}"),
            "page_age": null,
        }],
        "caller": { "type": "direct" },
    })
}

fn citation(cite: &Cite) -> Value {
    json!({
        "type": "web_search_result_location",
        "cited_text": cite.quote,
        "url": cite.url,
        "title": cite.title,
        "encrypted_index": format!("sim{:016x}", text::seed(&cite.quote)),
    })
}
