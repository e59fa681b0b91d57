//! Frames in, one whole answer out.
//!
//! Owns the accumulation rules of the SDKs: the terminal event's response object
//! is the answer; where its output is empty, the items that the stream brought
//! stand in it. Refuses to invent, and to know every item: fields and items that
//! are new survive. Invariant: the result equals what the openai packages
//! accumulate from the same stream.

use crate::wire::sse::SseFrame;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Parts and annotations of one list that are made room for; an index beyond
/// would be a way to ask for memory without sending it.
const PLACES_MAX: usize = 4096;

/// Builds a `response` from its events.
#[derive(Debug, Default)]
pub struct Assembler {
    response: Map<String, Value>,
    /// By `output_index`.
    items: BTreeMap<u64, Value>,
    bytes: usize,
}

impl Assembler {
    /// Takes one frame; what is no event is ignored (the attempt has judged it before).
    pub fn push(&mut self, frame: &SseFrame) {
        self.bytes += frame.data.len();
        let Ok(Value::Object(mut event)) = serde_json::from_slice::<Value>(&frame.data) else { return };
        let kind = event.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        let index = event.get("output_index").and_then(Value::as_u64).unwrap_or(0);
        match kind.as_str() {
            "response.output_item.added" | "response.output_item.done" => {
                self.items.extend(event.shift_remove("item").map(|item| (index, item)));
            }
            _ => match event.shift_remove("response") {
                Some(Value::Object(response)) => self.replace(response),
                _ => {
                    if let Some(item) = self.items.get_mut(&index).filter(|item| item.is_object()) {
                        grow(item, &kind, event);
                    }
                }
            },
        }
    }

    /// Payload bytes taken so far.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// A later response object stands for the earlier one, whose identity stays.
    fn replace(&mut self, mut response: Map<String, Value>) {
        for key in ["id", "created_at", "model"] {
            if let Some(value) = self.response.get(key) {
                response.insert(key.to_owned(), value.clone());
            }
        }
        self.response = response;
    }

    /// The whole answer.
    #[must_use]
    pub fn finish(self) -> Value {
        let Self { mut response, items, .. } = self;
        let is_empty = response.get("output").and_then(Value::as_array).is_none_or(Vec::is_empty);
        if is_empty && !items.is_empty() {
            response.insert("output".to_owned(), items.into_values().collect());
        }
        Value::Object(response)
    }
}

/// What an event adds to the item that it names.
fn grow(item: &mut Value, kind: &str, mut event: Map<String, Value>) {
    let index = |key: &str| {
        let index = event.get(key).and_then(Value::as_u64).and_then(|index| usize::try_from(index).ok());
        index.unwrap_or(0)
    };
    let (content, summary, annotation) = (index("content_index"), index("summary_index"), index("annotation_index"));
    let mut take = |key: &str| event.shift_remove(key).unwrap_or(Value::Null);
    match kind {
        "response.content_part.added" | "response.content_part.done" => {
            put(&mut item["content"], content, take("part"));
        }
        "response.reasoning_summary_part.added" | "response.reasoning_summary_part.done" => {
            put(&mut item["summary"], summary, take("part"));
        }
        "response.output_text.delta" => {
            append(part(&mut item["content"], content, "output_text", "text"), &take("delta"));
        }
        "response.refusal.delta" => append(part(&mut item["content"], content, "refusal", "refusal"), &take("delta")),
        "response.reasoning_text.delta" => {
            append(part(&mut item["content"], content, "reasoning_text", "text"), &take("delta"));
        }
        "response.reasoning_summary_text.delta" => {
            append(part(&mut item["summary"], summary, "summary_text", "text"), &take("delta"));
        }
        "response.output_text.done" => set(part(&mut item["content"], content, "output_text", "text"), take("text")),
        "response.refusal.done" => set(part(&mut item["content"], content, "refusal", "refusal"), take("refusal")),
        "response.reasoning_text.done" => {
            set(part(&mut item["content"], content, "reasoning_text", "text"), take("text"));
        }
        "response.reasoning_summary_text.done" => {
            set(part(&mut item["summary"], summary, "summary_text", "text"), take("text"));
        }
        "response.output_text.annotation.added" => {
            let annotations = part(&mut item["content"], content, "output_text", "annotations");
            if let Some(annotations) = annotations {
                put(annotations, annotation, take("annotation"));
            }
        }
        "response.function_call_arguments.delta" | "response.mcp_call_arguments.delta" => {
            append(Some(&mut item["arguments"]), &take("delta"));
        }
        "response.function_call_arguments.done" | "response.mcp_call_arguments.done" => {
            set(Some(&mut item["arguments"]), take("arguments"));
        }
        "response.custom_tool_call_input.delta" => append(Some(&mut item["input"]), &take("delta")),
        "response.custom_tool_call_input.done" => set(Some(&mut item["input"]), take("input")),
        "response.code_interpreter_call_code.delta" => append(Some(&mut item["code"]), &take("delta")),
        "response.code_interpreter_call_code.done" => set(Some(&mut item["code"]), take("code")),
        _ => {}
    }
}

/// Puts a value at its place in a list; room up to there is made within a bound.
fn put(list: &mut Value, place: usize, value: Value) {
    if value.is_null() || place >= PLACES_MAX {
        return;
    }
    if !list.is_array() {
        *list = json!([]);
    }
    let Some(list) = list.as_array_mut() else { return };
    if place < list.len() {
        list[place] = value;
    } else {
        list.push(value);
    }
}

/// A field of a part, made where the stream left out its beginning.
fn part<'v>(list: &'v mut Value, place: usize, kind: &str, field: &str) -> Option<&'v mut Value> {
    if place >= PLACES_MAX {
        return None;
    }
    if list.get(place).is_none() {
        let mut made = json!({ "type": kind });
        if kind == "output_text" {
            made["annotations"] = json!([]);
        }
        put(list, place, made);
    }
    let part = list.as_array_mut()?.get_mut(place)?.as_object_mut()?;
    Some(part.entry(field).or_insert(Value::Null))
}

fn append(slot: Option<&mut Value>, more: &Value) {
    let (Some(slot), Some(more)) = (slot, more.as_str()) else { return };
    match slot {
        Value::String(text) => text.push_str(more),
        slot => *slot = Value::from(more),
    }
}

fn set(slot: Option<&mut Value>, value: Value) {
    if let (Some(slot), true) = (slot, value.is_string()) {
        *slot = value;
    }
}

#[cfg(test)]
mod tests;
