//! Frames in, one whole answer out.
//!
//! Owns the accumulation rules of Anthropic's packages (`accumulate_event` in
//! Python, `MessageStream` in Node): text, thinking and JSON pieces are joined,
//! a signature is replaced, citations are appended, counts of a later report
//! replace those of an earlier one. Refuses to invent. Invariant: blocks and
//! fields that we do not know survive; pieces of an unknown kind are joined to
//! the field of their name.

use super::partial::mend;
use crate::wire::sse::SseFrame;
use crate::wire::strict;
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// Builds a message from its frames.
#[derive(Debug, Default)]
pub struct Assembler {
    message: Map<String, Value>,
    blocks: Vec<Block>,
    bytes: usize,
}

#[derive(Debug)]
struct Block {
    fields: Map<String, Value>,
    /// JSON text of the input so far.
    input: String,
}

impl Assembler {
    /// Takes a frame; what is no object is ignored (the attempt has judged it before).
    pub fn push(&mut self, frame: &SseFrame) {
        let Ok(Value::Object(mut event)) = serde_json::from_slice::<Value>(&frame.data) else { return };
        self.bytes += frame.data.len();
        let named = event.get("type").and_then(Value::as_str).map(str::to_owned);
        let named = named.or_else(|| Some(String::from_utf8_lossy(frame.event.as_ref()?).into_owned()));
        let index = event.get("index").and_then(Value::as_u64).and_then(|index| usize::try_from(index).ok());
        match named.as_deref() {
            Some("message_start") => {
                if let Some(Value::Object(message)) = event.shift_remove("message")
                    && self.message.is_empty()
                {
                    self.start(message);
                }
            }
            Some("content_block_start") => {
                if let Some(Value::Object(fields)) = event.shift_remove("content_block") {
                    self.blocks.push(Block { fields, input: String::new() });
                }
            }
            Some("content_block_delta") => {
                let delta = event.shift_remove("delta");
                let block = index.and_then(|index| self.blocks.get_mut(index));
                if let (Some(Value::Object(delta)), Some(block)) = (delta, block) {
                    block.grow(delta);
                }
            }
            Some("message_delta") => self.end(event),
            _ => {}
        }
    }

    /// Payload bytes taken so far.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    fn start(&mut self, mut message: Map<String, Value>) {
        // Some servers put blocks there that others stream.
        if let Some(Value::Array(content)) = message.insert("content".to_owned(), json!([])) {
            let objects = content.into_iter().filter_map(|block| match block {
                Value::Object(fields) => Some(Block { fields, input: String::new() }),
                _ => None,
            });
            self.blocks.extend(objects);
        }
        self.message = message;
    }

    fn end(&mut self, event: Map<String, Value>) {
        for (key, value) in event {
            match (key.as_str(), value) {
                ("type", _) => {}
                ("delta", Value::Object(delta)) => {
                    for (key, value) in delta {
                        if !value.is_null() || !self.message.contains_key(&key) {
                            self.message.insert(key, value);
                        }
                    }
                }
                ("usage", Value::Object(usage)) => {
                    let slot = self.message.entry("usage").or_insert_with(|| json!({}));
                    if let Value::Object(known) = slot {
                        known.extend(usage.into_iter().filter(|(_, count)| !count.is_null()));
                    }
                }
                // Said of the whole message, such as `context_management`.
                (_, value) => {
                    self.message.insert(key, value);
                }
            }
        }
    }

    /// The whole answer, as JSON text. What a call's input says is written as it came: a number in it may have more
    /// digits than a parser keeps.
    #[must_use]
    pub fn finish(mut self) -> String {
        // Keeps its place among the fields.
        self.message.insert("content".to_owned(), Value::Null);
        let content = self.blocks.into_iter().map(Block::finish).collect();
        // Fails only where a key is no string.
        serde_json::to_string(&Whole { message: self.message, content }).unwrap_or_default()
    }
}

/// A message with its blocks' inputs beside them.
struct Whole {
    message: Map<String, Value>,
    content: Vec<Finished>,
}

struct Finished {
    fields: Map<String, Value>,
    /// Instead of the field of this name.
    input: Option<Box<RawValue>>,
}

impl Serialize for Whole {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (key, value) in &self.message {
            match key.as_str() {
                "content" => map.serialize_entry(key, &self.content)?,
                _ => map.serialize_entry(key, value)?,
            }
        }
        map.end()
    }
}

impl Serialize for Finished {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (key, value) in &self.fields {
            match &self.input {
                Some(input) if key == "input" => map.serialize_entry(key, input)?,
                _ => map.serialize_entry(key, value)?,
            }
        }
        map.end()
    }
}

impl Block {
    fn grow(&mut self, delta: Map<String, Value>) {
        let kind = delta.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        for (key, value) in delta {
            match (kind.as_str(), key.as_str(), value) {
                (_, "type", _) => {}
                ("input_json_delta", "partial_json", Value::String(text)) => self.input.push_str(&text),
                ("citations_delta", "citation", citation) => {
                    let slot = self.fields.entry("citations").or_insert(Value::Null);
                    match slot {
                        Value::Array(citations) => citations.push(citation),
                        slot => *slot = json!([citation]),
                    }
                }
                ("signature_delta", _, value) => {
                    self.fields.insert(key, value);
                }
                (_, _, Value::String(more)) => match self.fields.get_mut(&key) {
                    Some(Value::String(text)) => text.push_str(&more),
                    _ => {
                        self.fields.insert(key, Value::String(more));
                    }
                },
                (_, _, value) => {
                    self.fields.insert(key, value);
                }
            }
        }
    }

    /// Input that was cut is what can be read of it, as the packages have it.
    fn finish(mut self) -> Finished {
        let mut input = None;
        if !self.input.is_empty() {
            let said = strict::check(self.input.as_bytes()).is_ok();
            let readable = if said { Some(Value::Null) } else { mend(&self.input) };
            if let Some(readable) = readable {
                self.fields.insert("input".to_owned(), readable);
            }
            input = said.then(|| RawValue::from_string(self.input).ok()).flatten();
        }
        Finished { fields: self.fields, input }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::messages::whole::frames_of_whole;
    use bytes::Bytes;

    fn assemble(events: &[Value]) -> Value {
        let mut assembler = Assembler::default();
        for event in events {
            assembler.push(&SseFrame { event: None, data: Bytes::from(event.to_string()) });
        }
        serde_json::from_str(&assembler.finish()).expect("JSON")
    }

    fn delta(index: u64, delta: &Value) -> Value {
        json!({"type": "content_block_delta", "index": index, "delta": delta})
    }

    #[test]
    fn every_kind_of_piece_finds_its_place() {
        let whole = assemble(&[
            json!({"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],
                "stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":9,"output_tokens":1,"service_tier":"standard"}}}),
            json!({"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}),
            delta(0, &json!({"type":"thinking_delta","thinking":"h"})),
            delta(0, &json!({"type":"thinking_delta","thinking":"m"})),
            delta(0, &json!({"type":"signature_delta","signature":"sig"})),
            json!({"type":"content_block_stop","index":0}),
            json!({"type":"ping"}),
            json!({"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}),
            delta(1, &json!({"type":"text_delta","text":"Hel"})),
            delta(1, &json!({"type":"text_delta","text":"lo"})),
            delta(1, &json!({"type":"citations_delta","citation":{"type":"char_location"}})),
            delta(1, &json!({"type":"citations_delta","citation":{"type":"page_location"}})),
            json!({"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"toolu_1","name":"f","input":{}}}),
            delta(2, &json!({"type":"input_json_delta","partial_json":""})),
            delta(2, &json!({"type":"input_json_delta","partial_json":"{\"a\": 1.50,"})),
            delta(2, &json!({"type":"input_json_delta","partial_json":" \"b\": [1]}"})),
            json!({"type":"content_block_start","index":3,"content_block":{"type":"compaction","content":"a","new":7}}),
            delta(3, &json!({"type":"compaction_delta","content":"b"})),
            delta(99, &json!({"type":"text_delta","text":"lost"})),
            json!({"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null,"container":null},
                "usage":{"output_tokens":15,"input_tokens":null,"server_tool_use":{"web_search_requests":1}},"context_management":{"x":1}}),
            json!({"type":"message_stop"}),
        ]);
        assert_eq!(
            whole,
            json!({"id":"msg_1","type":"message","role":"assistant","model":"m","content":[
                {"type":"thinking","thinking":"hm","signature":"sig"},
                {"type":"text","text":"Hello","citations":[{"type":"char_location"},{"type":"page_location"}]},
                {"type":"tool_use","id":"toolu_1","name":"f","input":{"a":1.5,"b":[1]}},
                {"type":"compaction","content":"ab","new":7}],
                "stop_reason":"tool_use","stop_sequence":null,"container":null,
                "usage":{"input_tokens":9,"output_tokens":15,"service_tier":"standard","server_tool_use":{"web_search_requests":1}},
                "context_management":{"x":1}})
        );
    }

    #[test]
    fn input_that_was_cut_is_what_can_be_read_of_it() {
        let cut = assemble(&[
            json!({"type":"message_start","message":{"id":"msg_1"}}),
            json!({"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"a","name":"f","input":{}}}),
            delta(0, &json!({"type":"input_json_delta","partial_json":"{\"a\":1,\"b\":\"ha"})),
        ]);
        assert_eq!(cut["content"][0]["input"], json!({"a": 1}));
    }

    #[test]
    fn the_frames_of_a_whole_answer_assemble_to_it() {
        let whole = json!({"id":"msg_1","type":"message","role":"assistant","model":"m","content":[
            {"type":"thinking","thinking":"hm","signature":"sig"},
            {"type":"redacted_thinking","data":"xx"},
            {"type":"text","text":"Hello","citations":[{"type":"char_location","cited_text":"x"}]},
            {"type":"tool_use","id":"toolu_1","name":"f","input":{"a":1.5}},
            {"type":"tool_use","id":"toolu_2","name":"g","input":{}},
            {"type":"web_search_tool_result","tool_use_id":"s","content":[]}],
            "stop_reason":"tool_use","stop_sequence":null,"stop_details":null,
            "usage":{"input_tokens":9,"output_tokens":15,"service_tier":"standard"},"container":null});
        let mut assembler = Assembler::default();
        for frame in frames_of_whole(whole.to_string().as_bytes()) {
            super::super::FrameReader::default().read(&frame).expect("a frame");
            assembler.push(&frame);
        }
        assert_eq!(serde_json::from_str::<Value>(&assembler.finish()).expect("JSON"), whole);
        assert!(frames_of_whole(b"{}").is_empty());
        assert!(frames_of_whole(b"x").is_empty());
    }

    #[test]
    fn the_numbers_of_an_input_keep_their_digits() {
        let input = r#"{"wei": 1000000000000000000001, "price": 1.10,"ids":[18446744073709551617]}"#;
        let whole = format!(
            r#"{{"id":"msg_1","content":[{{"type":"tool_use","id":"t","name":"f","input":{input}}}],"stop_reason":"tool_use"}}"#
        );
        let mut assembler = Assembler::default();
        for frame in frames_of_whole(whole.as_bytes()) {
            assembler.push(&frame);
        }
        let again = assembler.finish();
        assert!(again.contains(input), "{again}");
    }
}
