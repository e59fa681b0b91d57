//! A whole answer as the chunks of a stream, for a client that asked for one.

use crate::wire::sse::SseFrame;
use bytes::Bytes;
use serde_json::{Map, Value, json};

/// One chunk with each choice's message as its delta, one with its finish, and,
/// where asked for, a usage frame. What is no whole answer gives nothing.
#[must_use]
pub fn chunks_of_whole(whole: &[u8], include_usage: bool) -> Vec<SseFrame> {
    let Ok(Value::Object(mut whole)) = serde_json::from_slice::<Value>(whole) else { return Vec::new() };
    let usage = whole.shift_remove("usage").filter(|usage| !usage.is_null());
    let Some(Value::Array(choices)) = whole.shift_remove("choices") else { return Vec::new() };
    whole.insert("object".to_owned(), json!("chat.completion.chunk"));
    let mut frames = Vec::new();
    for (place, choice) in choices.into_iter().enumerate() {
        let Value::Object(mut choice) = choice else { continue };
        // Who reads a stream tells choices apart by their numbers; of an answer it need not.
        let index = choice.get("index").and_then(Value::as_u64).and_then(|index| u32::try_from(index).ok());
        let index = index.map_or_else(|| json!(place), |index| json!(index));
        let finish = choice.shift_remove("finish_reason").unwrap_or(Value::Null);
        // The stop sequence that was met (vLLM).
        let stop = choice.shift_remove("stop_reason").filter(|stop| !stop.is_null());
        let mut delta = match choice.shift_remove("message") {
            Some(Value::Object(message)) => message,
            _ => Map::new(),
        };
        if let Some(Value::Array(calls)) = delta.get_mut("tool_calls") {
            for (place, call) in calls.iter_mut().enumerate() {
                if let Value::Object(call) = call {
                    call.insert("index".to_owned(), json!(place));
                }
            }
        }
        let logprobs = choice.shift_remove("logprobs").unwrap_or(Value::Null);
        frames.push(frame(
            &whole,
            &json!([{"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": null}]),
            None,
        ));
        let mut last = json!({"index": index, "delta": {}, "finish_reason": finish});
        if let Some(stop) = stop {
            last["stop_reason"] = stop;
        }
        frames.push(frame(&whole, &json!([last]), None));
    }
    if let Some(usage) = usage.filter(|_| include_usage) {
        frames.push(frame(&whole, &json!([]), Some(usage)));
    }
    frames
}

fn frame(top: &Map<String, Value>, choices: &Value, usage: Option<Value>) -> SseFrame {
    let mut chunk = top.clone();
    chunk.insert("choices".to_owned(), choices.clone());
    chunk.extend(usage.map(|usage| ("usage".to_owned(), usage)));
    SseFrame { event: None, data: Bytes::from(Value::Object(chunk).to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::chat::{Assembler, read_chunk};

    #[test]
    fn the_stop_sequence_that_was_met_goes_with_the_finish() {
        let whole = json!({"id":"c","choices":[{"index":0,"message":{"content":"a"},"finish_reason":"stop","stop_reason":"END"}]});
        let frames = chunks_of_whole(whole.to_string().as_bytes(), false);
        let last: Value = serde_json::from_slice(&frames.last().expect("frames").data).expect("JSON");
        assert_eq!(last["choices"][0]["stop_reason"], "END");
    }

    #[test]
    fn the_chunks_assemble_to_the_answer_they_came_from() {
        let whole = json!({
            "id":"c","object":"chat.completion","created":1,"model":"m",
            "choices":[{"index":0,"message":{"role":"assistant","content":null,"refusal":null,
                "tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]},
                "logprobs":null,"finish_reason":"tool_calls"}],
            "usage":{"prompt_tokens":1,"completion_tokens":2}
        });
        let mut assembler = Assembler::default();
        for frame in chunks_of_whole(whole.to_string().as_bytes(), true) {
            read_chunk(&frame.data).expect("a chunk");
            assembler.push(&frame.data);
        }
        assert_eq!(assembler.finish(), whole);
    }
}
