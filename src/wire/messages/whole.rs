//! A whole answer as the frames of a stream, for a client that asked for one.

use crate::wire::sse::SseFrame;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// The inputs of the calls in an answer as they were written: a tree keeps no more of a number than 64 bits.
#[derive(Deserialize, Default)]
struct Inputs<'a> {
    #[serde(borrow)]
    content: Vec<Input<'a>>,
}

#[derive(Deserialize)]
struct Input<'a> {
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

/// The frames that a stream of this answer would have had, each block's words in
/// one piece. What is no whole answer gives nothing.
#[must_use]
pub fn frames_of_whole(whole: &[u8]) -> Vec<SseFrame> {
    let Ok(Value::Object(mut message)) = serde_json::from_slice::<Value>(whole) else { return Vec::new() };
    let Some(Value::Array(content)) = message.get_mut("content").map(Value::take) else { return Vec::new() };
    message.insert("content".to_owned(), json!([]));
    let mut delta = Map::new();
    for key in ["stop_reason", "stop_sequence", "stop_details"] {
        if let Some(value) = message.get_mut(key) {
            delta.insert(key.to_owned(), value.take());
        }
    }
    let usage = message.get("usage").filter(|usage| usage.is_object()).cloned();
    let usage = usage.unwrap_or_else(|| json!({"output_tokens": 0}));
    let mut frames = vec![frame("message_start", &json!({"type": "message_start", "message": message}))];
    // Where a block is none, no input is found for any.
    let inputs = serde_json::from_slice::<Inputs<'_>>(whole).unwrap_or_default().content;
    for (index, block) in content.into_iter().enumerate() {
        let Value::Object(block) = block else { continue };
        let input = inputs.get(index).and_then(|block| block.input);
        block_frames(index, block, input, &mut frames);
    }
    frames.push(frame("message_delta", &json!({"type": "message_delta", "delta": delta, "usage": usage})));
    frames.push(frame("message_stop", &json!({"type": "message_stop"})));
    frames
}

/// What grows in pieces is taken out of the block's start.
fn block_frames(index: usize, mut block: Map<String, Value>, written: Option<&RawValue>, frames: &mut Vec<SseFrame>) {
    let mut deltas = Vec::new();
    // A text that is none stays where it is: no delta of text could bring it.
    let emptied = |block: &mut Map<String, Value>, field: &str, empty: Value| {
        let value = block.get_mut(field).filter(|value| value.is_string() || !empty.is_string());
        value.map(|value| std::mem::replace(value, empty))
    };
    match block.get("type").and_then(Value::as_str) {
        Some("text") => {
            let text = emptied(&mut block, "text", json!(""));
            deltas.extend(text.map(|text| json!({"type": "text_delta", "text": text})));
            if let Some(Value::Array(citations)) = block.shift_remove("citations") {
                deltas.extend(citations.into_iter().map(|one| json!({"type": "citations_delta", "citation": one})));
            }
        }
        Some("thinking") => {
            let thinking = emptied(&mut block, "thinking", json!(""));
            deltas.extend(thinking.map(|text| json!({"type": "thinking_delta", "thinking": text})));
            let signature = emptied(&mut block, "signature", json!(""));
            deltas.extend(signature.map(|seal| json!({"type": "signature_delta", "signature": seal})));
        }
        Some("tool_use" | "server_tool_use") => {
            let input = emptied(&mut block, "input", json!({}));
            let text = input.map(|input| written.map_or_else(|| input.to_string(), |written| written.get().to_owned()));
            deltas.extend(text.map(|text| json!({"type": "input_json_delta", "partial_json": text})));
        }
        _ => {}
    }
    let start = json!({"type": "content_block_start", "index": index, "content_block": block});
    frames.push(frame("content_block_start", &start));
    for delta in deltas {
        let delta = json!({"type": "content_block_delta", "index": index, "delta": delta});
        frames.push(frame("content_block_delta", &delta));
    }
    frames.push(frame("content_block_stop", &json!({"type": "content_block_stop", "index": index})));
}

fn frame(event: &'static str, data: &Value) -> SseFrame {
    SseFrame { event: Some(Bytes::from_static(event.as_bytes())), data: Bytes::from(data.to_string()) }
}
