//! One question in each dialect, and what its answer said: written by hand from
//! the vendors' API references, not from the code under test.

use super::client::{Client, Response};
use serde_json::{Value, json};
use std::net::SocketAddr;

/// A dialect as a client speaks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tongue {
    Chat,
    Messages,
    Responses,
}

/// What an answer said.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Said {
    pub text: String,
    pub reasoning: String,
    /// Id, name, arguments.
    pub calls: Vec<(String, String, Value)>,
    /// In chat's words.
    pub finish: String,
    /// Input, output.
    pub usage: Option<(u64, u64)>,
    pub error: Option<Value>,
    /// The dialect's own end came.
    pub ended: bool,
}

impl Tongue {
    pub const ALL: [Self; 3] = [Self::Chat, Self::Messages, Self::Responses];

    pub const fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Messages => "/v1/messages",
            Self::Responses => "/v1/responses",
        }
    }

    /// The provider of the house that speaks this alone.
    pub const fn provider(self) -> &'static str {
        match self {
            Self::Chat => "only-chat",
            Self::Messages => "only-messages",
            Self::Responses => "only-responses",
        }
    }

    /// A target named after the dialect, on the provider that speaks it alone.
    pub fn target(self, script: &str, more: &str) -> String {
        let name = self.provider();
        format!("[targets.{name}]\nprovider = \"{name}\"\nmodel = \"sim?{script}\"\n{more}\n")
    }

    pub fn ask(self, model: &str, stream: bool, prompt: &str) -> Value {
        match self {
            Self::Chat => json!({"model": model, "stream": stream, "stream_options": {"include_usage": true},
                "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": prompt}]}),
            Self::Messages => json!({"model": model, "stream": stream, "max_tokens": 4000,
                "system": "be brief", "messages": [{"role": "user", "content": prompt}]}),
            Self::Responses => json!({"model": model, "stream": stream, "instructions": "be brief", "input": prompt}),
        }
    }

    /// Adds a tool to a request.
    pub fn offer(self, body: &mut Value, name: &str) {
        let schema =
            json!({"type": "object", "properties": {"query": {"type": "string"}}, "additionalProperties": true});
        let tool = match self {
            Self::Chat => {
                json!({"type": "function", "function": {"name": name, "description": "looks up", "parameters": schema}})
            }
            Self::Messages => json!({"name": name, "description": "looks up", "input_schema": schema}),
            Self::Responses => {
                json!({"type": "function", "name": name, "description": "looks up", "parameters": schema})
            }
        };
        match &mut body["tools"] {
            Value::Array(tools) => tools.push(tool),
            slot => *slot = json!([tool]),
        }
    }

    /// Shows a picture with the words of the last turn.
    pub fn show(self, body: &mut Value, png: &str) {
        let prompt = match self {
            Self::Responses => body["input"].clone(),
            Self::Chat | Self::Messages => {
                body["messages"].as_array().and_then(|list| list.last()).expect("a turn")["content"].clone()
            }
        };
        let data = format!("data:image/png;base64,{png}");
        match self {
            Self::Chat => {
                let last = body["messages"].as_array_mut().and_then(|list| list.last_mut()).expect("a turn");
                last["content"] =
                    json!([{"type": "text", "text": prompt}, {"type": "image_url", "image_url": {"url": data}}]);
            }
            Self::Messages => {
                let last = body["messages"].as_array_mut().and_then(|list| list.last_mut()).expect("a turn");
                last["content"] = json!([{"type": "text", "text": prompt},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": png}}]);
            }
            Self::Responses => {
                body["input"] = json!([{"role": "user", "content": [{"type": "input_text", "text": prompt},
                    {"type": "input_image", "image_url": data, "detail": "auto"}]}]);
            }
        }
    }

    /// The next turn: what was answered, and the results of its calls.
    pub fn go_on(self, body: &mut Value, whole: &Value, results: &[(String, String)]) {
        match self {
            Self::Chat => {
                let turns = body["messages"].as_array_mut().expect("turns");
                turns.push(whole["choices"][0]["message"].clone());
                turns.extend(
                    results.iter().map(|(id, text)| json!({"role": "tool", "tool_call_id": id, "content": text})),
                );
            }
            Self::Messages => {
                let turns = body["messages"].as_array_mut().expect("turns");
                turns.push(json!({"role": "assistant", "content": whole["content"]}));
                let blocks: Vec<Value> = results
                    .iter()
                    .map(|(id, text)| json!({"type": "tool_result", "tool_use_id": id, "content": text}))
                    .collect();
                turns.push(json!({"role": "user", "content": blocks}));
            }
            Self::Responses => {
                if let Value::String(prompt) = &body["input"] {
                    body["input"] = json!([{"role": "user", "content": prompt}]);
                }
                let items = body["input"].as_array_mut().expect("items");
                items.extend(whole["output"].as_array().into_iter().flatten().cloned());
                items.extend(
                    results
                        .iter()
                        .map(|(id, text)| json!({"type": "function_call_output", "call_id": id, "output": text})),
                );
            }
        }
    }

    pub async fn post(self, addr: SocketAddr, headers: &[(&str, &str)], body: &Value) -> Response {
        let mut all = headers.to_vec();
        if self == Self::Messages {
            all.push(("anthropic-version", "2023-06-01"));
        }
        Client::connect(addr).await.request("POST", self.path(), &all, body.to_string().as_bytes()).await
    }

    /// Reads a stream to its end.
    pub async fn stream(self, response: &mut Response) -> Said {
        self.said(&response.payloads().await)
    }

    /// What the payloads of a stream said.
    pub fn said(self, payloads: &[String]) -> Said {
        let mut said = Said::default();
        let mut calls: Vec<(u64, String, String, String)> = Vec::new();
        for payload in payloads {
            if payload == "[DONE]" {
                assert_eq!(self, Self::Chat, "only chat ends so");
                said.ended = true;
                continue;
            }
            let frame: Value = serde_json::from_str(payload).unwrap_or_else(|_| panic!("JSON, not {payload}"));
            match self {
                Self::Chat => chat_frame(&frame, &mut said, &mut calls),
                Self::Messages => messages_frame(&frame, &mut said, &mut calls),
                Self::Responses => responses_frame(&frame, &mut said, &mut calls),
            }
        }
        said.calls.extend(calls.into_iter().map(|(_, id, name, text)| {
            let arguments = serde_json::from_str(&text).unwrap_or_else(|_| panic!("arguments, not {text}"));
            (id, name, arguments)
        }));
        said
    }

    /// What a whole answer said.
    pub fn whole(self, answer: &Value) -> Said {
        let mut said = Said { ended: true, ..Said::default() };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match self {
            Self::Chat => {
                let choice = &answer["choices"][0];
                let message = &choice["message"];
                said.text = text(&message["content"]);
                said.reasoning = text(&message["reasoning_content"]);
                for call in message["tool_calls"].as_array().into_iter().flatten() {
                    let arguments = serde_json::from_str(&text(&call["function"]["arguments"])).expect("arguments");
                    said.calls.push((text(&call["id"]), text(&call["function"]["name"]), arguments));
                }
                said.finish = text(&choice["finish_reason"]);
                said.usage = pair(&answer["usage"], "prompt_tokens", "completion_tokens");
            }
            Self::Messages => {
                for block in answer["content"].as_array().into_iter().flatten() {
                    match block["type"].as_str() {
                        Some("text") => said.text.push_str(&text(&block["text"])),
                        Some("thinking") => said.reasoning.push_str(&text(&block["thinking"])),
                        Some("tool_use") => {
                            said.calls.push((text(&block["id"]), text(&block["name"]), block["input"].clone()));
                        }
                        _ => {}
                    }
                }
                said.finish = stop_reason(&answer["stop_reason"]);
                said.usage = pair(&answer["usage"], "input_tokens", "output_tokens");
            }
            Self::Responses => response(answer, &mut said),
        }
        said
    }
}

fn pair(usage: &Value, input: &str, output: &str) -> Option<(u64, u64)> {
    Some((usage[input].as_u64()?, usage[output].as_u64()?))
}

fn stop_reason(reason: &Value) -> String {
    match reason.as_str() {
        Some("end_turn" | "stop_sequence") => "stop",
        Some("max_tokens") => "length",
        Some("tool_use") => "tool_calls",
        Some("refusal") => "content_filter",
        other => panic!("a stop reason, not {other:?}"),
    }
    .to_owned()
}

type Calls = Vec<(u64, String, String, String)>;

fn push(text: &mut String, value: &Value) {
    text.push_str(value.as_str().unwrap_or_default());
}

fn chat_frame(frame: &Value, said: &mut Said, calls: &mut Calls) {
    if !frame["error"].is_null() {
        said.error = Some(frame["error"].clone());
        return;
    }
    let choice = &frame["choices"][0];
    push(&mut said.text, &choice["delta"]["content"]);
    push(&mut said.reasoning, &choice["delta"]["reasoning_content"]);
    for call in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
        let index = call["index"].as_u64().expect("an index");
        let at = calls.iter().position(|(known, ..)| *known == index).unwrap_or_else(|| {
            calls.push((index, String::new(), String::new(), String::new()));
            calls.len() - 1
        });
        push(&mut calls[at].1, &call["id"]);
        push(&mut calls[at].2, &call["function"]["name"]);
        push(&mut calls[at].3, &call["function"]["arguments"]);
    }
    if let Some(finish) = choice["finish_reason"].as_str() {
        finish.clone_into(&mut said.finish);
    }
    said.usage = pair(&frame["usage"], "prompt_tokens", "completion_tokens").or(said.usage);
}

fn messages_frame(frame: &Value, said: &mut Said, calls: &mut Calls) {
    let index = frame["index"].as_u64().unwrap_or_default();
    match frame["type"].as_str().expect("a type") {
        "message_start" => {
            assert_eq!(frame["message"]["role"], "assistant");
            assert!(frame["message"]["usage"]["input_tokens"].is_u64(), "{frame}");
        }
        "content_block_start" => {
            let block = &frame["content_block"];
            if block["type"] == "tool_use" {
                assert_eq!(block["input"], json!({}), "input comes in deltas");
                let text = |key: &str| block[key].as_str().expect("text").to_owned();
                calls.push((index, text("id"), text("name"), String::new()));
            }
        }
        "content_block_delta" => {
            push(&mut said.text, &frame["delta"]["text"]);
            push(&mut said.reasoning, &frame["delta"]["thinking"]);
            if let Some(json) = frame["delta"]["partial_json"].as_str() {
                calls.iter_mut().find(|(known, ..)| *known == index).expect("begun").3.push_str(json);
            }
        }
        "message_delta" => {
            said.finish = stop_reason(&frame["delta"]["stop_reason"]);
            said.usage = pair(&frame["usage"], "input_tokens", "output_tokens")
                .or_else(|| Some((0, frame["usage"]["output_tokens"].as_u64()?)));
        }
        "message_stop" => said.ended = true,
        "error" => said.error = Some(frame["error"].clone()),
        "content_block_stop" | "ping" | "tautline" => {}
        other => panic!("an event of messages, not {other}"),
    }
}

fn responses_frame(frame: &Value, said: &mut Said, calls: &mut Calls) {
    let index = frame["output_index"].as_u64().unwrap_or_default();
    match frame["type"].as_str().expect("a type") {
        "response.output_text.delta" => push(&mut said.text, &frame["delta"]),
        "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
            push(&mut said.reasoning, &frame["delta"]);
        }
        "response.output_item.added" if frame["item"]["type"] == "function_call" => {
            let text = |key: &str| frame["item"][key].as_str().expect("text").to_owned();
            calls.push((index, text("call_id"), text("name"), String::new()));
        }
        "response.function_call_arguments.delta" => {
            let call = calls.iter_mut().find(|(known, ..)| *known == index).expect("begun");
            push(&mut call.3, &frame["delta"]);
        }
        "response.completed" | "response.incomplete" => {
            let mut whole = Said::default();
            response(&frame["response"], &mut whole);
            assert_eq!((&whole.text, &whole.reasoning), (&said.text, &said.reasoning), "the end repeats all of it");
            (said.finish, said.usage, said.ended) = (whole.finish, whole.usage, true);
        }
        "response.failed" => {
            assert_eq!(frame["response"]["status"], "failed");
            said.error = Some(frame["response"]["error"].clone());
        }
        other => assert!(other.starts_with("response.") || other == "tautline", "an event of responses, not {other}"),
    }
}

fn response(answer: &Value, said: &mut Said) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for item in answer["output"].as_array().into_iter().flatten() {
        match item["type"].as_str() {
            Some("message") => {
                for part in item["content"].as_array().into_iter().flatten() {
                    said.text.push_str(&text(&part["text"]));
                }
            }
            Some("reasoning") => {
                for part in item["summary"].as_array().into_iter().chain(item["content"].as_array()).flatten() {
                    said.reasoning.push_str(&text(&part["text"]));
                }
            }
            Some("function_call") => {
                let arguments = serde_json::from_str(&text(&item["arguments"])).expect("arguments");
                said.calls.push((text(&item["call_id"]), text(&item["name"]), arguments));
            }
            _ => {}
        }
    }
    let finish = match (answer["status"].as_str(), answer["incomplete_details"]["reason"].as_str()) {
        (Some("incomplete"), Some("max_output_tokens")) => "length",
        (Some("incomplete"), Some("content_filter")) => "content_filter",
        (Some("completed"), _) if !said.calls.is_empty() => "tool_calls",
        (Some("completed"), _) => "stop",
        other => panic!("a status, not {other:?}"),
    };
    finish.clone_into(&mut said.finish);
    said.usage = pair(&answer["usage"], "input_tokens", "output_tokens");
}
