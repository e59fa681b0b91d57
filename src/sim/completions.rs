//! A good answer in `OpenAI`'s legacy completions dialect.
//!
//! Owns its JSON, streamed or whole. Refuses tools and reasoning, which the
//! dialect does not have: they are left out. Invariant: as in `voice.rs`.

use super::answer::{Answer, Delta, Finish};
use super::chat::{CREATED, usage};
use super::script::Script;
use super::voice::Frame;
use serde_json::{Map, Value, json};

pub(super) struct Completions {
    pub answer: Answer,
    usage_asked: bool,
    with_usage: bool,
}

impl Completions {
    pub fn new(answer: Answer, body: &Value, script: &Script) -> Self {
        Self { answer, usage_asked: body["stream_options"]["include_usage"] == true, with_usage: script.usage }
    }

    pub fn emptied(self) -> Self {
        Self { answer: self.answer.emptied(), ..self }
    }

    pub fn say(&self, at: usize) -> Vec<Frame> {
        match &self.answer.deltas[at] {
            (choice, Delta::Text(text)) => vec![self.chunk(*choice, text, &Value::Null)],
            _ => Vec::new(),
        }
    }

    pub fn filler(&self, text: &str) -> Frame {
        self.chunk(0, text, &Value::Null)
    }

    pub fn ending(&self) -> Vec<Frame> {
        let finish = self.finish();
        let mut frames: Vec<Frame> = (0..self.answer.choices).map(|choice| self.chunk(choice, "", &finish)).collect();
        if self.usage_asked && self.with_usage {
            let mut chunk = self.envelope();
            chunk.insert("choices".to_owned(), json!([]));
            chunk.insert("usage".to_owned(), usage(&self.answer.counts));
            frames.push(Frame::data(Value::Object(chunk).to_string()));
        }
        frames
    }

    pub fn whole(&self) -> String {
        let text = |wanted: usize| -> String {
            let own = self.answer.deltas.iter().filter(|(choice, _)| *choice == wanted);
            own.filter_map(|(_, delta)| if let Delta::Text(text) = delta { Some(text.as_str()) } else { None })
                .collect()
        };
        let choices = (0..self.answer.choices).map(|choice| worded(choice, &text(choice), &self.finish()));
        let choices: Vec<Value> = choices.collect();
        let mut answer = self.envelope();
        answer.insert("choices".to_owned(), choices.into());
        if self.with_usage {
            answer.insert("usage".to_owned(), usage(&self.answer.counts));
        }
        Value::Object(answer).to_string()
    }

    fn finish(&self) -> Value {
        match self.answer.finish {
            Finish::Stop | Finish::Tools => json!("stop"),
            Finish::Length => json!("length"),
            Finish::Filter => json!("content_filter"),
        }
    }

    fn chunk(&self, choice: usize, text: &str, finish: &Value) -> Frame {
        let mut chunk = self.envelope();
        chunk.insert("choices".to_owned(), json!([worded(choice, text, finish)]));
        if self.usage_asked && self.with_usage {
            chunk.insert("usage".to_owned(), Value::Null);
        }
        Frame::data(Value::Object(chunk).to_string())
    }

    fn envelope(&self) -> Map<String, Value> {
        let mut envelope = Map::new();
        envelope.insert("id".to_owned(), format!("cmpl-sim-{:016x}", self.answer.seed).into());
        envelope.insert("object".to_owned(), "text_completion".into());
        envelope.insert("created".to_owned(), CREATED.into());
        envelope.insert("model".to_owned(), self.answer.model.clone().into());
        envelope.insert("system_fingerprint".to_owned(), "fp_sim".into());
        envelope
    }
}

fn worded(choice: usize, text: &str, finish: &Value) -> Value {
    json!({ "text": text, "index": choice, "logprobs": null, "finish_reason": finish })
}
