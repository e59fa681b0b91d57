//! A good answer in `OpenAI`'s chat dialect.
//!
//! Owns what is said and its JSON, streamed or whole. Refuses sockets and
//! faults. Invariant: a whole answer is its streamed deltas joined.

use super::script::{Script, ScriptError, TOKENS_MAX};
use super::text;
use serde_json::{Map, Value, json};

/// 2026-01-01T00:00:00Z; constant, so that recorded answers compare equal.
const CREATED: u64 = 1_767_225_600;
const CHOICES_MAX: u64 = 16;

/// One content delta.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Delta {
    Text(String),
    Reasoning(String),
    ToolStart { index: usize, id: String, name: String },
    ToolArguments { index: usize, text: String },
}

/// What one request is answered with.
pub(super) struct Chat {
    id: String,
    model: String,
    prompt: String,
    pub choices: usize,
    /// Content in the order of sending: choices interleaved.
    pub deltas: Vec<(usize, Delta)>,
    finish: String,
    reasoning: usize,
    /// `stream_options.include_usage`.
    pub usage_asked: bool,
    with_usage: bool,
    /// What stands in `finish_reason` before the end.
    no_reason: Value,
}

impl Chat {
    /// Words the answer to `body`; `request` is the ordinal that makes its id.
    pub fn compose(body: &Value, script: &Script, request: u64) -> Result<Self, ScriptError> {
        let model = body["model"].as_str().unwrap_or_default().to_owned();
        let prompt = prompt(body);
        let choices = body["n"].as_u64().unwrap_or(1).clamp(1, CHOICES_MAX);
        let choices = usize::try_from(choices).unwrap_or(1);
        let tool = tool(body, script);
        let each: Vec<Vec<Delta>> =
            (0..choices).map(|choice| content(&prompt, choice, tool.as_deref(), body, script)).collect();
        let count: usize = each.iter().map(Vec::len).sum();
        if count > TOKENS_MAX {
            return Err(ScriptError::BadValue { key: "tokens".to_owned(), value: script.tokens.to_string() });
        }
        let usual = if tool.is_some() { "tool_calls" } else { "stop" };
        Ok(Self {
            id: format!("chatcmpl-sim-{:016x}", text::seed(&format!("{request}\u{1}{model}\u{1}{prompt}"))),
            model,
            prompt,
            choices,
            deltas: interleave(each),
            finish: script.finish.clone().unwrap_or_else(|| usual.to_owned()),
            reasoning: script.reasoning,
            usage_asked: body["stream_options"]["include_usage"] == true,
            with_usage: script.usage,
            no_reason: if script.reasons { json!("") } else { Value::Null },
        })
    }

    /// The same answer without any content, finished as if it were complete.
    pub fn emptied(mut self) -> Self {
        self.deltas.clear();
        self.reasoning = 0;
        "stop".clone_into(&mut self.finish);
        self
    }

    pub fn prompt(&self) -> &str {
        &self.prompt
    }

    pub fn model(&self) -> &str {
        &self.model
    }

    pub fn role_frame(&self, choice: usize) -> String {
        self.chunk(json!([{
            "index": choice,
            "delta": { "role": "assistant", "content": "", "refusal": null },
            "logprobs": null,
            "finish_reason": null,
        }]))
    }

    pub fn frame(&self, choice: usize, delta: &Delta) -> String {
        let delta = match delta {
            Delta::Text(text) => json!({ "content": text }),
            Delta::Reasoning(text) => json!({ "reasoning_content": text }),
            Delta::ToolStart { index, id, name } => json!({ "tool_calls": [
                { "index": index, "id": id, "type": "function", "function": { "name": name, "arguments": "" } }
            ] }),
            Delta::ToolArguments { index, text } => {
                json!({ "tool_calls": [{ "index": index, "function": { "arguments": text } }] })
            }
        };
        self.chunk(json!([{ "index": choice, "delta": delta, "logprobs": null, "finish_reason": self.no_reason }]))
    }

    pub fn finish_frame(&self, choice: usize) -> String {
        self.chunk(json!([{ "index": choice, "delta": {}, "logprobs": null, "finish_reason": self.finish }]))
    }

    /// The usage frame, where it was asked for and the script does not forbid it.
    pub fn usage_frame(&self) -> Option<String> {
        (self.usage_asked && self.with_usage).then(|| {
            let mut chunk = self.envelope("chat.completion.chunk");
            chunk.insert("choices".to_owned(), json!([]));
            chunk.insert("usage".to_owned(), self.usage());
            Value::Object(chunk).to_string()
        })
    }

    /// The answer to a request that did not ask for a stream.
    pub fn whole(&self) -> String {
        let choices: Vec<Value> = (0..self.choices).map(|choice| self.whole_choice(choice)).collect();
        let mut answer = self.envelope("chat.completion");
        answer.insert("choices".to_owned(), choices.into());
        if self.with_usage {
            answer.insert("usage".to_owned(), self.usage());
        }
        Value::Object(answer).to_string()
    }

    fn whole_choice(&self, choice: usize) -> Value {
        let (mut content, mut reasoning, mut calls) = (String::new(), String::new(), Vec::<Value>::new());
        let mut arguments = Vec::<String>::new();
        for (_, delta) in self.deltas.iter().filter(|(of, _)| *of == choice) {
            match delta {
                Delta::Text(text) => content.push_str(text),
                Delta::Reasoning(text) => reasoning.push_str(text),
                Delta::ToolStart { id, name, .. } => {
                    calls.push(json!({ "id": id, "type": "function", "function": { "name": name } }));
                    arguments.push(String::new());
                }
                Delta::ToolArguments { index, text } => {
                    if let Some(call) = arguments.get_mut(*index) {
                        call.push_str(text);
                    }
                }
            }
        }
        let mut message = json!({ "role": "assistant", "content": content, "refusal": null });
        if !reasoning.is_empty() {
            message["reasoning_content"] = reasoning.into();
        }
        if !calls.is_empty() {
            for (call, arguments) in calls.iter_mut().zip(arguments) {
                call["function"]["arguments"] = arguments.into();
            }
            message["content"] = Value::Null;
            message["tool_calls"] = calls.into();
        }
        json!({ "index": choice, "message": message, "logprobs": null, "finish_reason": self.finish })
    }

    fn usage(&self) -> Value {
        let (prompt, completion) = (self.prompt.len().div_ceil(4), self.deltas.len());
        json!({
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": { "cached_tokens": 0, "audio_tokens": 0 },
            "completion_tokens_details": { "reasoning_tokens": self.reasoning * self.choices, "audio_tokens": 0 },
        })
    }

    fn chunk(&self, choices: Value) -> String {
        let mut chunk = self.envelope("chat.completion.chunk");
        chunk.insert("choices".to_owned(), choices);
        if self.usage_asked && self.with_usage {
            chunk.insert("usage".to_owned(), Value::Null);
        }
        Value::Object(chunk).to_string()
    }

    fn envelope(&self, object: &str) -> Map<String, Value> {
        let mut envelope = Map::new();
        envelope.insert("id".to_owned(), self.id.clone().into());
        envelope.insert("object".to_owned(), object.into());
        envelope.insert("created".to_owned(), CREATED.into());
        envelope.insert("model".to_owned(), self.model.clone().into());
        envelope.insert("system_fingerprint".to_owned(), "fp_sim".into());
        envelope
    }
}

/// The text of the last user message.
fn prompt(body: &Value) -> String {
    let messages = body["messages"].as_array().map_or(&[][..], Vec::as_slice);
    let last = messages.iter().rfind(|message| message["role"] == "user");
    match last.map(|message| &message["content"]) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    }
}

/// The tool to be called, if the script or `tool_choice` says that one is.
fn tool(body: &Value, script: &Script) -> Option<String> {
    let choice = &body["tool_choice"];
    let forced = choice["function"]["name"].as_str();
    (script.tools || forced.is_some() || choice == "required").then(|| {
        let first = body["tools"][0]["function"]["name"].as_str();
        forced.or(first).unwrap_or("sim_tool").to_owned()
    })
}

fn content(prompt: &str, choice: usize, tool: Option<&str>, body: &Value, script: &Script) -> Vec<Delta> {
    // Choice 0 speaks the text that tests compute from the prompt; the others differ, as real ones do.
    let prompt = if choice == 0 { prompt.to_owned() } else { format!("{prompt}\u{1}choice {choice}") };
    let thought = text::answer(&format!("{prompt}\u{1}reasoning"), script.reasoning);
    let mut deltas: Vec<Delta> = thought.into_iter().map(Delta::Reasoning).collect();
    let format = body["response_format"]["type"].as_str();
    if let Some(name) = tool {
        for index in 0..script.parallel {
            let id = format!("call_sim_{:016x}", text::seed(&format!("{prompt}\u{1}{index}")));
            deltas.push(Delta::ToolStart { index, id, name: name.to_owned() });
            let pieces = text::fragments(&text::tool_arguments(&prompt, index));
            deltas.extend(pieces.into_iter().map(|text| Delta::ToolArguments { index, text }));
        }
    } else if script.json || matches!(format, Some("json_object" | "json_schema")) {
        deltas.extend(text::fragments(&text::json_answer(&prompt, script.tokens)).into_iter().map(Delta::Text));
    } else {
        deltas.extend(text::answer(&prompt, script.tokens).into_iter().map(Delta::Text));
    }
    deltas
}

/// One delta of each choice in turn, until all have said theirs.
fn interleave(each: Vec<Vec<Delta>>) -> Vec<(usize, Delta)> {
    let longest = each.iter().map(Vec::len).max().unwrap_or(0);
    let mut rows: Vec<_> = each.into_iter().map(Vec::into_iter).collect();
    let mut deltas = Vec::new();
    for _ in 0..longest {
        for (choice, row) in rows.iter_mut().enumerate() {
            deltas.extend(row.next().map(|delta| (choice, delta)));
        }
    }
    deltas
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compose(body: &Value, script: &str) -> Chat {
        let script = Script::read("sim", Some(script)).expect("a valid script");
        Chat::compose(body, &script, 1).expect("within bounds")
    }

    #[test]
    fn the_prompt_is_the_last_user_message_in_either_form() {
        let parts = json!([{ "type": "text", "text": "a" }, { "type": "image_url" }, { "type": "text", "text": "b" }]);
        let body = json!({ "messages": [
            { "role": "user", "content": "first" },
            { "role": "user", "content": parts },
            { "role": "assistant", "content": "x" },
        ] });
        assert_eq!(prompt(&body), "ab");
    }

    #[test]
    fn whole_and_streamed_say_the_same() {
        let body = json!({ "model": "sim", "n": 2, "messages": [{ "role": "user", "content": "hello" }] });
        let chat = compose(&body, "tokens=9&reasoning=3");
        let whole: Value = serde_json::from_str(&chat.whole()).expect("JSON");
        assert_eq!(whole["choices"][0]["message"]["content"], text::answer_text("hello", 9));
        for choice in 0..2 {
            let streamed: String = chat
                .deltas
                .iter()
                .filter(|(of, _)| *of == choice)
                .filter_map(|(_, delta)| if let Delta::Text(text) = delta { Some(text.as_str()) } else { None })
                .collect();
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
