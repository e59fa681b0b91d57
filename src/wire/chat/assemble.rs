//! Chunks in, one whole answer out.
//!
//! Owns the accumulation rules of the SDKs: `index` and `type` are replaced,
//! strings concatenated, lists merged by `index` and else appended, objects
//! merged, unknown top-level fields last wins. Refuses to invent: what no chunk
//! said is `null` or absent. Invariant: the result equals what the openai
//! packages accumulate from the same stream.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Fields that some servers repeat in every frame: the first value that is not
/// empty stays, instead of growing into `assistantassistant`.
const CONSTANTS: [&str; 4] = ["role", "id", "name", "format"];

/// Entries of a list that are searched for one whose index is not its place.
const SEARCHED_MAX: usize = 64;

/// Builds a `chat.completion` from its chunks.
#[derive(Debug, Default)]
pub struct Assembler {
    top: Map<String, Value>,
    choices: BTreeMap<u64, Choice>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Choice {
    message: Map<String, Value>,
    rest: Map<String, Value>,
}

impl Assembler {
    /// Takes one `data:` payload; what is not an object is ignored (the attempt
    /// has judged it before).
    pub fn push(&mut self, payload: &[u8]) {
        let Ok(Value::Object(chunk)) = serde_json::from_slice::<Value>(payload) else { return };
        self.bytes += payload.len();
        for (key, value) in chunk {
            match key.as_str() {
                "choices" => self.push_choices(value),
                "usage" => self.push_usage(value),
                // These are the answer's identity: those of the first frame stay.
                "id" | "created" | "model" if self.top.contains_key(&key) => {}
                "object" => {}
                _ => {
                    self.top.insert(key, value);
                }
            }
        }
    }

    /// Payload bytes taken so far.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    fn push_choices(&mut self, choices: Value) {
        let Value::Array(choices) = choices else { return };
        for choice in choices {
            let Value::Object(choice) = choice else { continue };
            let index = choice.get("index").and_then(Value::as_u64).unwrap_or(0);
            let target = self.choices.entry(index).or_default();
            for (key, value) in choice {
                match (key.as_str(), value) {
                    ("index", _) => {}
                    ("delta", Value::Object(delta)) => merge_object(&mut target.message, delta),
                    ("logprobs", Value::Object(logprobs)) => {
                        let slot = target.rest.entry("logprobs").or_insert(Value::Null);
                        merge(slot, Value::Object(logprobs));
                    }
                    // The legacy shape that some servers mix in.
                    ("text", Value::String(text)) => match target.message.entry("content").or_insert(Value::Null) {
                        Value::String(content) => content.push_str(&text),
                        slot => *slot = Value::String(text),
                    },
                    (_, Value::Null) => {
                        target.rest.entry(key).or_insert(Value::Null);
                    }
                    (_, value) => {
                        target.rest.insert(key, value);
                    }
                }
            }
        }
    }

    /// Numbers inside `usage` are added, as a split report needs it; a report
    /// that only ever grows is cumulative (vLLM's `continuous_usage_stats`,
    /// xAI), where adding would count every token many times: there the last
    /// one wins.
    fn push_usage(&mut self, value: Value) {
        if value.is_null() {
            self.top.entry("usage").or_insert(Value::Null);
            return;
        }
        let slot = self.top.entry("usage").or_insert(Value::Null);
        if slot.is_null() || grows(slot, &value) {
            *slot = value;
        } else {
            add(slot, value);
        }
    }

    /// The whole answer. The usage field is left out unless a chunk brought one.
    #[must_use]
    pub fn finish(self) -> Value {
        let Self { mut top, choices, .. } = self;
        let usage = top.shift_remove("usage").filter(|usage| !usage.is_null());
        let mut whole = Map::new();
        for key in ["id", "created", "model"] {
            if let Some(value) = top.shift_remove(key) {
                whole.insert(key.to_owned(), value);
            }
            if key == "id" {
                whole.insert("object".to_owned(), json!("chat.completion"));
            }
        }
        let choices = choices.into_iter().map(|(index, choice)| finish_choice(index, choice)).collect();
        whole.insert("choices".to_owned(), Value::Array(choices));
        whole.extend(usage.map(|usage| ("usage".to_owned(), usage)));
        whole.extend(top);
        Value::Object(whole)
    }
}

fn finish_choice(index: u64, choice: Choice) -> Value {
    let Choice { mut message, rest } = choice;
    let mut ordered = Map::new();
    ordered.insert("role".to_owned(), message.shift_remove("role").unwrap_or_else(|| json!("assistant")));
    ordered.insert("content".to_owned(), message.shift_remove("content").unwrap_or(Value::Null));
    ordered.insert("refusal".to_owned(), message.shift_remove("refusal").unwrap_or(Value::Null));
    if let Some(Value::Array(calls)) = message.get_mut("tool_calls") {
        for call in calls {
            if let Value::Object(call) = call {
                // The place in the list says it; whole answers carry no `index` here.
                call.shift_remove("index");
            }
        }
    }
    // A call without text: some servers stream `content: ""` before it.
    let has_calls = message.contains_key("tool_calls") || message.contains_key("function_call");
    if has_calls && ordered["content"] == "" {
        ordered.insert("content".to_owned(), Value::Null);
    }
    ordered.extend(message);
    let mut whole = Map::new();
    whole.insert("index".to_owned(), json!(index));
    whole.insert("message".to_owned(), Value::Object(ordered));
    whole.insert("logprobs".to_owned(), Value::Null);
    whole.insert("finish_reason".to_owned(), Value::Null);
    whole.extend(rest);
    Value::Object(whole)
}

fn merge_object(target: &mut Map<String, Value>, delta: Map<String, Value>) {
    for (key, value) in delta {
        match target.get_mut(&key) {
            None if key == "tool_calls" && value.is_array() => {
                let Value::Array(pieces) = value else { continue };
                let mut calls = Vec::with_capacity(pieces.len());
                for piece in pieces {
                    merge_call(&mut calls, piece);
                }
                target.insert(key, Value::Array(calls));
            }
            None => {
                target.insert(key, value);
            }
            Some(slot) if key == "index" || key == "type" => {
                if !value.is_null() {
                    *slot = value;
                }
            }
            Some(slot) if CONSTANTS.contains(&key.as_str()) && is_repeat(&key, slot, &value) => {}
            Some(Value::Array(calls)) if key == "tool_calls" && value.is_array() => {
                let Value::Array(pieces) = value else { continue };
                for piece in pieces {
                    merge_call(calls, piece);
                }
            }
            Some(slot) => merge(slot, value),
        }
    }
}

/// A constant that comes again: nothing, the same value, or, except for a name
/// (which may come in pieces), any value after the first.
fn is_repeat(key: &str, known: &Value, value: &Value) -> bool {
    let known_empty = known.is_null() || known == "";
    value.is_null() || value == "" || known == value || (key != "name" && !known_empty)
}

fn merge(slot: &mut Value, value: Value) {
    match (slot, value) {
        (_, Value::Null) => {}
        (Value::String(text), Value::String(more)) => text.push_str(&more),
        (Value::Object(target), Value::Object(delta)) => merge_object(target, delta),
        (Value::Array(target), Value::Array(entries)) => merge_list(target, entries),
        (slot, value) => *slot = value,
    }
}

fn merge_list(target: &mut Vec<Value>, entries: Vec<Value>) {
    for entry in entries {
        let index = entry.get("index").and_then(Value::as_u64);
        let known = index.and_then(|index| place_of(target, index));
        match known {
            Some(place) => merge(&mut target[place], entry),
            None => target.push(entry),
        }
    }
}

/// Some servers give all calls the same number, and each an id and a name of its
/// own (Gemini's adapters): such a piece begins another call.
fn merge_call(calls: &mut Vec<Value>, piece: Value) {
    let known = piece.get("index").and_then(Value::as_u64).and_then(|index| call_of(calls, index, id_of(&piece)));
    match known.filter(|place| !is_another(&calls[*place], &piece)) {
        Some(place) => merge(&mut calls[place], piece),
        None => calls.push(piece),
    }
}

fn id_of(call: &Value) -> Option<&str> {
    call.get("id").and_then(Value::as_str).filter(|id| !id.is_empty())
}

fn is_another(known: &Value, piece: &Value) -> bool {
    let name = ["function", "custom"].iter().find_map(|kind| piece.get(kind)?.get("name")?.as_str());
    let ids = id_of(known).zip(id_of(piece));
    name.is_some_and(|name| !name.is_empty()) && ids.is_some_and(|(known, id)| known != id)
}

/// The last call of this number, before it one with this id; what was said of
/// [`place_of`] holds here too.
fn call_of(calls: &[Value], index: u64, id: Option<&str>) -> Option<usize> {
    let mut last = None;
    for (place, call) in calls.iter().enumerate().rev().take(SEARCHED_MAX) {
        if call.get("index").and_then(Value::as_u64) == Some(index) {
            if id.is_none() || id_of(call) == id {
                return Some(place);
            }
            last = last.or(Some(place));
        }
    }
    last.or_else(|| place_of(calls, index))
}

/// Where the entry with this index stands: at its own place nearly always, else
/// among the last ones. A search through all would let a target that counts up
/// without end hold a thread for minutes (16 MiB of indexes are a million).
fn place_of(list: &[Value], index: u64) -> Option<usize> {
    let is = |entry: &Value| entry.get("index").and_then(Value::as_u64) == Some(index);
    let own = usize::try_from(index).ok().filter(|place| list.get(*place).is_some_and(is));
    let nearby = || list.iter().rev().take(SEARCHED_MAX).position(is).map(|back| list.len() - 1 - back);
    own.or_else(nearby)
}

/// Whether every number in `old` is at most its counterpart in `new`.
fn grows(old: &Value, new: &Value) -> bool {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            old.iter().all(|(key, value)| new.get(key).is_some_and(|other| grows(value, other)))
        }
        (Value::Number(old), Value::Number(new)) => old.as_f64() <= new.as_f64(),
        (Value::Null, _) => true,
        (old, new) => old == new,
    }
}

fn add(slot: &mut Value, value: Value) {
    match (slot, value) {
        (Value::Object(target), Value::Object(more)) => {
            for (key, value) in more {
                match target.get_mut(&key) {
                    Some(slot) => add(slot, value),
                    None => {
                        target.insert(key, value);
                    }
                }
            }
        }
        (Value::Number(have), Value::Number(more)) => {
            if let (Some(a), Some(b)) = (have.as_u64(), more.as_u64()) {
                *have = a.saturating_add(b).into();
            } else if let Some(sum) =
                have.as_f64().zip(more.as_f64()).and_then(|(a, b)| serde_json::Number::from_f64(a + b))
            {
                *have = sum;
            }
        }
        (_, Value::Null) => {}
        (slot, value) => *slot = value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_counts_up_without_end_is_merged_in_linear_time() {
        let began = std::time::Instant::now();
        let calls = |from: u64| -> Vec<Value> { (from..from + 100_000).map(|index| json!({"index": index})).collect() };
        let mut list = Vec::new();
        merge_list(&mut list, calls(7));
        merge_list(&mut list, vec![json!({"index": 100_006, "function": {"arguments": "{}"}})]);
        assert_eq!(list.len(), 100_000);
        assert_eq!(list[99_999]["function"]["arguments"], "{}");
        // Each against each took minutes here.
        assert!(began.elapsed().as_secs() < 30, "{:?}", began.elapsed());
    }

    fn assemble(chunks: &[Value]) -> Value {
        let mut assembler = Assembler::default();
        for chunk in chunks {
            assembler.push(chunk.to_string().as_bytes());
        }
        assembler.finish()
    }

    fn delta(delta: &Value) -> Value {
        json!({"id":"c1","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":delta,"finish_reason":null}]})
    }

    #[test]
    fn text_joins_and_identity_is_the_first_frames() {
        let mut late = delta(&json!({"content":" world","role":"assistant"}));
        late["id"] = json!("other");
        late["system_fingerprint"] = json!("fp2");
        let whole = assemble(&[
            delta(&json!({"role":"assistant","content":"","refusal":null})),
            delta(&json!({"content":"hello"})),
            late,
            json!({"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}),
            json!({"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}),
        ]);
        assert_eq!(
            whole,
            json!({
                "id":"c1","object":"chat.completion","created":7,"model":"m",
                "choices":[{"index":0,"message":{"role":"assistant","content":"hello world","refusal":null},"logprobs":null,"finish_reason":"stop"}],
                "usage":{"prompt_tokens":3,"completion_tokens":2},"system_fingerprint":"fp2"
            })
        );
    }

    #[test]
    fn parallel_calls_are_merged_by_index_and_repeated_constants_do_not_grow() {
        let call = |index: u64, id: &str, name: &str, arguments: &str| {
            delta(
                &json!({"role":"assistant","tool_calls":[{"index":index,"id":id,"type":"function","function":{"name":name,"arguments":arguments}}]}),
            )
        };
        let whole = assemble(&[
            delta(&json!({"role":"assistant","content":""})),
            call(0, "a", "f", "{\"x\""),
            call(1, "b", "g", "{"),
            call(0, "a", "f", ":1}"),
            call(1, "", "", "}"),
        ]);
        let message = &whole["choices"][0]["message"];
        assert_eq!(message["role"], "assistant");
        assert_eq!(message["content"], Value::Null);
        assert_eq!(
            message["tool_calls"],
            json!([
                {"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}},
                {"id":"b","type":"function","function":{"name":"g","arguments":"{}"}}
            ])
        );
    }

    #[test]
    fn calls_of_one_number_with_ids_of_their_own_stay_apart() {
        let call = |id: &str, name: &str, arguments: &str| json!({"index":0,"id":id,"type":"function","function":{"name":name,"arguments":arguments}});
        let expected = json!([
            {"id":"a","type":"function","function":{"name":"f","arguments":"{}"}},
            {"id":"b","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}}
        ]);
        let calls = |chunks: &[Value]| assemble(chunks)["choices"][0]["message"]["tool_calls"].clone();
        let one = delta(&json!({"tool_calls":[call("a", "f", "{}"), call("b", "f", "{\"x\":1}")]}));
        assert_eq!(calls(&[one]), expected);
        let piece = |call: Value| delta(&json!({"tool_calls": [call]}));
        assert_eq!(
            calls(&[
                piece(call("a", "f", "")),
                piece(call("b", "f", "{\"x\"")),
                piece(json!({"index":0,"function":{"arguments":":1}"}})),
                piece(json!({"index":0,"id":"a","function":{"arguments":"{}"}})),
            ]),
            expected
        );
        // An id that is made anew for each piece names no other call.
        assert_eq!(
            calls(&[piece(call("a", "f", "{")), piece(call("c", "", "}"))]),
            json!([{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}])
        );
    }

    #[test]
    fn what_names_the_format_of_reasoning_does_not_grow() {
        let detail = |text: &str| {
            delta(
                &json!({"reasoning_details":[{"type":"reasoning.text","text":text,"format":"anthropic-claude-v1","index":0}]}),
            )
        };
        let whole = assemble(&[detail("a"), detail("b")]);
        assert_eq!(
            whole["choices"][0]["message"]["reasoning_details"],
            json!([{"type":"reasoning.text","text":"ab","format":"anthropic-claude-v1","index":0}])
        );
    }

    #[test]
    fn the_legacy_text_shape_joins_to_content() {
        let chunk = |text: &str| json!({"choices":[{"index":0,"text":text,"finish_reason":null}]});
        assert_eq!(assemble(&[chunk("a"), chunk("b")])["choices"][0]["message"]["content"], "ab");
    }

    #[test]
    fn split_usage_is_added_and_cumulative_usage_is_not() {
        let usage =
            |input: u64, output: u64| json!({"choices":[],"usage":{"prompt_tokens":input,"completion_tokens":output}});
        assert_eq!(
            assemble(&[usage(9, 1), usage(9, 2), usage(9, 3)])["usage"],
            json!({"prompt_tokens":9,"completion_tokens":3})
        );
        assert_eq!(assemble(&[usage(9, 0), usage(0, 3)])["usage"], json!({"prompt_tokens":9,"completion_tokens":3}));
    }

    #[test]
    fn choices_and_logprobs_stay_apart() {
        let chunk = |index: u64, text: &str| json!({"choices":[{"index":index,"delta":{"content":text},"logprobs":{"content":[{"token":text}]},"finish_reason":null}]});
        let whole = assemble(&[chunk(1, "b"), chunk(0, "a"), chunk(1, "c")]);
        assert_eq!(whole["choices"][0]["message"]["content"], "a");
        assert_eq!(whole["choices"][1]["message"]["content"], "bc");
        assert_eq!(whole["choices"][1]["logprobs"]["content"], json!([{"token":"b"},{"token":"c"}]));
    }
}
