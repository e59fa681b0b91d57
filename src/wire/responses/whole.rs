//! A whole answer as the frames of a stream, for a client that asked for one.
//!
//! Owns the events that bring each item in one piece. Refuses to change the
//! answer. Invariant: the frames assemble to the answer that they came from.

use super::json_out::JsonOut;
use crate::wire::sse::SseFrame;
use bytes::Bytes;
use serde_json::{Value, json};

/// The frames; what is no whole answer gives none.
#[must_use]
pub fn frames_of_whole(whole: &[u8]) -> Vec<SseFrame> {
    let Ok(Value::Object(whole)) = serde_json::from_slice::<Value>(whole) else { return Vec::new() };
    let Some(Value::Array(output)) = whole.get("output").cloned() else { return Vec::new() };
    let mut begun = whole.clone();
    for (key, value) in [("status", json!("in_progress")), ("output", json!([])), ("usage", Value::Null)] {
        begun.insert(key.to_owned(), value);
    }
    begun.insert("incomplete_details".to_owned(), Value::Null);
    let begun = Value::Object(begun).to_string();
    let mut frames = Frames(Vec::new());
    for kind in ["response.created", "response.in_progress"] {
        frames.push(kind, |json| {
            json.raw_field("response", &begun);
        });
    }
    for (index, item) in output.iter().enumerate() {
        frames.item(index as u64, item);
    }
    let end = match whole.get("status").and_then(Value::as_str) {
        Some("incomplete") => "response.incomplete",
        Some("failed") => "response.failed",
        _ => "response.completed",
    };
    frames.push(end, |json| {
        json.raw_field("response", &Value::Object(whole).to_string());
    });
    frames.0
}

struct Frames(Vec<SseFrame>);

impl Frames {
    fn push(&mut self, kind: &str, fill: impl FnOnce(&mut JsonOut)) {
        let mut json = JsonOut::with_capacity(256);
        json.open().field("type", kind).number("sequence_number", self.0.len() as u64);
        fill(&mut json);
        json.close();
        let event = Some(Bytes::copy_from_slice(kind.as_bytes()));
        self.0.push(SseFrame { event, data: Bytes::from(json.into_bytes()) });
    }

    fn item(&mut self, index: u64, item: &Value) {
        let id = item["id"].as_str().unwrap_or_default().to_owned();
        let mut begun = item.clone();
        let kind = item["type"].as_str().unwrap_or_default();
        let emptied = match kind {
            "message" => ("content", json!([])),
            "function_call" => ("arguments", json!("")),
            "custom_tool_call" => ("input", json!("")),
            "reasoning" => ("summary", json!([])),
            _ => ("status", json!("in_progress")),
        };
        if let Some(begun) = begun.as_object_mut() {
            if begun.contains_key("status") {
                begun.insert("status".to_owned(), json!("in_progress"));
            }
            if begun.contains_key(emptied.0) {
                begun.insert(emptied.0.to_owned(), emptied.1);
            }
        }
        self.push("response.output_item.added", |json| {
            json.number("output_index", index).raw_field("item", &begun.to_string());
        });
        match kind {
            "message" => self.parts(index, &id, &item["content"], false),
            "reasoning" => self.parts(index, &id, &item["summary"], true),
            "function_call" => self.arguments(index, &id, "function_call_arguments", "arguments", item),
            "custom_tool_call" => self.arguments(index, &id, "custom_tool_call_input", "input", item),
            _ => {}
        }
        self.push("response.output_item.done", |json| {
            json.number("output_index", index).raw_field("item", &item.to_string());
        });
    }

    fn parts(&mut self, index: u64, id: &str, parts: &Value, is_summary: bool) {
        let (place, around, said) = if is_summary {
            ("summary_index", "response.reasoning_summary_part", Some(("response.reasoning_summary_text", "text")))
        } else {
            ("content_index", "response.content_part", None)
        };
        for (number, part) in parts.as_array().into_iter().flatten().enumerate() {
            let at = |json: &mut JsonOut| {
                json.field("item_id", id).number("output_index", index).number(place, number as u64);
            };
            let said = said.or(match part["type"].as_str() {
                Some("output_text") => Some(("response.output_text", "text")),
                Some("refusal") => Some(("response.refusal", "refusal")),
                _ => None,
            });
            let mut begun = part.clone();
            if let (Some((_, field)), Some(begun)) = (said, begun.as_object_mut()) {
                begun.insert(field.to_owned(), json!(""));
                if begun.contains_key("annotations") {
                    begun.insert("annotations".to_owned(), json!([]));
                }
            }
            self.push(&format!("{around}.added"), |json| {
                at(json);
                json.raw_field("part", &begun.to_string());
            });
            if let Some((kind, field)) = said {
                let text = part[field].as_str().unwrap_or_default();
                for (end, field) in [("delta", "delta"), ("done", field)] {
                    self.push(&format!("{kind}.{end}"), |json| {
                        at(json);
                        json.field(field, text);
                        if kind == "response.output_text" {
                            json.raw_field("logprobs", "[]");
                        }
                    });
                }
            }
            self.push(&format!("{around}.done"), |json| {
                at(json);
                json.raw_field("part", &part.to_string());
            });
        }
    }

    fn arguments(&mut self, index: u64, id: &str, kind: &str, field: &str, item: &Value) {
        let text = item[field].as_str().unwrap_or_default();
        for (end, field) in [("delta", "delta"), ("done", field)] {
            self.push(&format!("response.{kind}.{end}"), |json| {
                json.field("item_id", id).number("output_index", index);
                if end == "done" && kind == "function_call_arguments" {
                    json.field("name", item["name"].as_str().unwrap_or_default());
                }
                json.field(field, text);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::tests::frames;
    use super::super::{Assembler, Decoder, decode_whole};
    use super::*;

    #[test]
    fn the_frames_say_what_the_answer_says_and_assemble_to_it() {
        for stream in [
            include_str!("../../../tests/wire/responses/reasoning_text_calls.sse"),
            include_str!("../../../tests/wire/responses/hosted_custom_refusal.sse"),
        ] {
            let mut assembler = Assembler::default();
            for frame in frames(stream) {
                assembler.push(&frame);
            }
            let whole = assembler.finish();
            let made = frames_of_whole(whole.to_string().as_bytes());
            let mut assembler = Assembler::default();
            let mut deltas = Assembler::default();
            let mut decoder = Decoder::default();
            let mut events = Vec::new();
            for frame in &made {
                assembler.push(frame);
                let kind = frame.event.as_deref().expect("a kind");
                if !kind.starts_with(b"response.output_item.done") && !kind.starts_with(b"response.completed") {
                    deltas.push(frame);
                }
                decoder.push(frame, &mut events).expect("of this dialect");
            }
            assert_eq!(assembler.finish(), whole);
            let said = super::super::decode::tests::told;
            assert_eq!(said(&events), said(&decode_whole(whole.to_string().as_bytes()).expect("an answer")));
            let texts = |value: &Value| value["output"][1]["content"][0]["text"].clone();
            assert_eq!(texts(&deltas.finish()), texts(&whole));
        }
        for none in ["", "[]", "{}", r#"{"output":null}"#] {
            assert!(frames_of_whole(none.as_bytes()).is_empty());
        }
    }
}
