//! A good answer in `OpenAI`'s chat dialect.
//!
//! Owns its JSON, streamed or whole. Refuses sockets and faults. Invariant: as in
//! `voice.rs`; reasoning goes out as `reasoning_content`, unsigned, as with the
//! vendors that have it.

use super::answer::{Answer, Cite, Counts, Delta, Finish};
use super::script::Script;
use super::voice::Frame;
use serde_json::{Map, Value, json};

/// 2026-01-01T00:00:00Z; constant, so that recorded answers compare equal.
pub(super) const CREATED: u64 = 1_767_225_600;

/// One answer, worded as chat completions.
pub(super) struct Chat {
    pub answer: Answer,
    /// `stream_options.include_usage`.
    usage_asked: bool,
    with_usage: bool,
    /// What stands in `finish_reason` before the end.
    no_reason: Value,
}

impl Chat {
    pub fn new(answer: Answer, body: &Value, script: &Script) -> Self {
        Self {
            answer,
            usage_asked: body["stream_options"]["include_usage"] == true,
            with_usage: script.usage,
            no_reason: if script.reasons { json!("") } else { Value::Null },
        }
    }

    pub fn emptied(self) -> Self {
        Self { answer: self.answer.emptied(), ..self }
    }

    pub fn opening(&self, roles: usize) -> Vec<Frame> {
        let each = (0..self.answer.choices).flat_map(|choice| std::iter::repeat_n(choice, roles));
        each.map(|choice| {
            self.chunk(json!([{
                "index": choice,
                "delta": { "role": "assistant", "content": "", "refusal": null },
                "logprobs": null,
                "finish_reason": null,
            }]))
        })
        .collect()
    }

    pub fn say(&self, at: usize) -> Vec<Frame> {
        let (choice, delta) = &self.answer.deltas[at];
        let delta = match delta {
            Delta::Text(text) => json!({ "content": text }),
            Delta::Reasoning(text) => json!({ "reasoning_content": text }),
            Delta::ToolStart { index, id, name, custom: false, .. } => json!({ "tool_calls": [
                { "index": index, "id": call_id(*id), "type": "function", "function": { "name": name, "arguments": "" } }
            ] }),
            Delta::ToolStart { index, id, name, custom: true, .. } => json!({ "tool_calls": [
                { "index": index, "id": call_id(*id), "type": "custom", "custom": { "name": name, "input": "" } }
            ] }),
            Delta::ToolArguments { index, text } => self.arguments(*choice, *index, text),
            Delta::Cite(cite) => json!({ "annotations": [annotation(cite)] }),
            Delta::Search { .. } => return Vec::new(),
        };
        let choices = json!([{
            "index": choice, "delta": delta, "logprobs": null, "finish_reason": self.no_reason,
        }]);
        vec![self.chunk(choices)]
    }

    pub fn filler(&self, text: &str) -> Frame {
        self.chunk(json!([{
            "index": 0, "delta": { "content": text }, "logprobs": null, "finish_reason": self.no_reason,
        }]))
    }

    pub fn ending(&self) -> Vec<Frame> {
        let finish = |choice| {
            self.chunk(json!([{ "index": choice, "delta": {}, "logprobs": null, "finish_reason": self.finish() }]))
        };
        let mut frames: Vec<Frame> = (0..self.answer.choices).map(finish).collect();
        if self.usage_asked && self.with_usage {
            let mut chunk = self.envelope("chat.completion.chunk");
            chunk.insert("choices".to_owned(), json!([]));
            chunk.insert("usage".to_owned(), usage(&self.answer.counts));
            frames.push(Frame::data(Value::Object(chunk).to_string()));
        }
        frames
    }

    /// The answer to a request that did not ask for a stream.
    pub fn whole(&self) -> String {
        let choices: Vec<Value> = (0..self.answer.choices).map(|choice| self.whole_choice(choice)).collect();
        let mut answer = self.envelope("chat.completion");
        answer.insert("choices".to_owned(), choices.into());
        if self.with_usage {
            answer.insert("usage".to_owned(), usage(&self.answer.counts));
        }
        Value::Object(answer).to_string()
    }

    fn whole_choice(&self, choice: usize) -> Value {
        let (mut content, mut reasoning, mut cites) = (String::new(), String::new(), Vec::new());
        let mut calls = Vec::<(u64, &str, bool, String)>::new();
        for (_, delta) in self.answer.deltas.iter().filter(|(of, _)| *of == choice) {
            match delta {
                Delta::Text(text) => content.push_str(text),
                Delta::Reasoning(text) => reasoning.push_str(text),
                Delta::ToolStart { id, name, custom, .. } => calls.push((*id, name, *custom, String::new())),
                Delta::ToolArguments { index, text } => {
                    if let Some(call) = calls.get_mut(*index) {
                        call.3.push_str(text);
                    }
                }
                Delta::Cite(cite) => cites.push(annotation(cite)),
                Delta::Search { .. } => {}
            }
        }
        let mut message = json!({ "role": "assistant", "content": content, "refusal": null, "annotations": cites });
        if !reasoning.is_empty() {
            message["reasoning_content"] = reasoning.into();
        }
        if !calls.is_empty() {
            let calls = calls.into_iter().map(|(id, name, custom, arguments)| {
                let id = call_id(id);
                if custom {
                    json!({ "id": id, "type": "custom", "custom": { "name": name, "input": arguments } })
                } else {
                    json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } })
                }
            });
            message["content"] = Value::Null;
            message["tool_calls"] = calls.collect();
        }
        json!({ "index": choice, "message": message, "logprobs": null, "finish_reason": self.finish() })
    }

    /// A piece of a call's arguments, under the name its kind of tool has for them.
    fn arguments(&self, choice: usize, index: usize, text: &str) -> Value {
        let custom = self.answer.deltas.iter().any(|(of, delta)| {
            *of == choice && matches!(delta, Delta::ToolStart { index: at, custom: true, .. } if *at == index)
        });
        if custom {
            return json!({ "tool_calls": [{ "index": index, "custom": { "input": text } }] });
        }
        json!({ "tool_calls": [{ "index": index, "function": { "arguments": text } }] })
    }

    fn finish(&self) -> &'static str {
        match self.answer.finish {
            Finish::Stop => "stop",
            Finish::Tools => "tool_calls",
            Finish::Length => "length",
            Finish::Filter => "content_filter",
        }
    }

    fn chunk(&self, choices: Value) -> Frame {
        let mut chunk = self.envelope("chat.completion.chunk");
        chunk.insert("choices".to_owned(), choices);
        if self.usage_asked && self.with_usage {
            chunk.insert("usage".to_owned(), Value::Null);
        }
        Frame::data(Value::Object(chunk).to_string())
    }

    fn envelope(&self, object: &str) -> Map<String, Value> {
        let mut envelope = Map::new();
        envelope.insert("id".to_owned(), format!("chatcmpl-sim-{:016x}", self.answer.seed).into());
        envelope.insert("object".to_owned(), object.into());
        envelope.insert("created".to_owned(), CREATED.into());
        envelope.insert("model".to_owned(), self.answer.model.clone().into());
        envelope.insert("system_fingerprint".to_owned(), "fp_sim".into());
        envelope
    }
}

/// `OpenAI`'s usage object of the two older dialects.
pub(super) fn usage(counts: &Counts) -> Value {
    json!({
        "prompt_tokens": counts.input,
        "completion_tokens": counts.output,
        "total_tokens": counts.input + counts.output,
        "prompt_tokens_details": { "cached_tokens": counts.cached, "audio_tokens": 0 },
        "completion_tokens_details": { "reasoning_tokens": counts.reasoning, "audio_tokens": 0 },
    })
}

fn call_id(id: u64) -> String {
    format!("call_sim_{id:016x}")
}

fn annotation(cite: &Cite) -> Value {
    json!({ "type": "url_citation", "url_citation": {
        "end_index": cite.end, "start_index": 0, "title": cite.title, "url": cite.url,
    } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{ask, text};

    fn compose(body: &Value, script: &str) -> Chat {
        let script = Script::read("sim", Some(script)).expect("a valid script");
        let answer = Answer::compose(&ask::chat(body), &script, "s", 1).expect("within bounds");
        Chat::new(answer, body, &script)
    }

    #[test]
    fn whole_and_streamed_say_the_same() {
        let body = json!({ "model": "sim", "n": 2, "messages": [{ "role": "user", "content": "hello" }] });
        let chat = compose(&body, "tokens=9&reasoning=3");
        let whole: Value = serde_json::from_str(&chat.whole()).expect("JSON");
        assert_eq!(whole["choices"][0]["message"]["content"], text::answer_text("hello", 9));
        let frames = (0..chat.answer.deltas.len()).flat_map(|at| chat.say(at));
        let frames: Vec<Value> = frames.map(|frame| serde_json::from_str(&frame.payload).expect("JSON")).collect();
        for choice in 0..2 {
            let own = frames.iter().map(|frame| &frame["choices"][0]).filter(|found| found["index"] == choice);
            let streamed: String = own.filter_map(|found| found["delta"]["content"].as_str()).collect();
            assert_eq!(whole["choices"][choice]["message"]["content"], streamed);
        }
        assert_eq!(whole["usage"]["completion_tokens"], 24);
        assert_eq!(whole["usage"]["prompt_tokens"], 2);
    }

    #[test]
    fn forced_tools_are_called_by_their_names_with_whole_arguments() {
        let body = json!({
            "model": "sim",
            "tools": [{ "type": "function", "function": { "name": "look" } }],
            "tool_choice": "required",
            "messages": [{ "role": "user", "content": "hello" }],
        });
        let whole: Value = serde_json::from_str(&compose(&body, "parallel=2").whole()).expect("JSON");
        let calls = whole["choices"][0]["message"]["tool_calls"].as_array().expect("calls");
        assert_eq!(whole["choices"][0]["finish_reason"], "tool_calls");
        for (index, call) in calls.iter().enumerate() {
            assert_eq!(call["function"]["name"], "look");
            assert_eq!(call["function"]["arguments"], text::tool_arguments("hello", index));
        }
        assert_eq!(calls.len(), 2);
    }
}
