//! What one chunk, or one whole answer, holds.
//!
//! Owns the reading of `chat.completion.chunk` and `chat.completion` objects as
//! far as clocks, endings and usage need it. Refuses to change them. Source:
//! OpenAI API reference, "The chat completion chunk object"; `reasoning_content`
//! (DeepSeek, vLLM) and `reasoning` (OpenRouter, Groq) by their own references.

use crate::domain::usage::Usage;
use crate::wire::facts::{Finish, FrameFacts, WholeFacts, broken_off};
use crate::wire::refusal::{ErrorFields, read_error_fields};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::ops::Range;

/// The field that sealed reasoning comes in.
const DETAILS: &[u8] = b"reasoning_details";

/// Reads a `data:` payload.
///
/// # Errors
/// A sentence saying why it is not a chunk of this dialect.
pub fn read_chunk(payload: &[u8]) -> Result<FrameFacts, String> {
    read_with_text(payload).map(|(facts, _)| facts)
}

/// [`read_chunk`], and where in the payload the text of its last choice stands
/// if it has one in which nothing is escaped.
pub(super) fn read_with_text(payload: &[u8]) -> Result<(FrameFacts, Option<Range<usize>>), String> {
    let text = std::str::from_utf8(payload)
        .map_err(|error| format!("a frame is not valid UTF-8 at byte {}", error.valid_up_to()))?;
    let chunk: Chunk<'_> = serde_json::from_str(text).map_err(|error| not_a_chunk(&error))?;
    if chunk.error.is_some_and(|error| error.get() != "null") || chunk.object.is_some_and(|object| object.is_error) {
        return Ok((FrameFacts { error: Some(read_error_fields(payload)), ..FrameFacts::default() }, None));
    }
    let usage = chunk.usage.map(Into::into);
    match chunk.choices {
        Some(Choices { facts, text }) => {
            let usage_only = facts.choices.is_empty() && usage.is_some();
            let text = text.map(|text| {
                let start = text.as_ptr() as usize - payload.as_ptr() as usize;
                start..start + text.len()
            });
            let unsealed = memchr::memmem::find(payload, DETAILS).is_none();
            Ok((FrameFacts { usage, usage_only, unsealed, ..facts }, text))
        }
        None if usage.is_some() => Ok((FrameFacts { usage, usage_only: true, ..FrameFacts::default() }, None)),
        None => Err("a frame has neither choices, usage nor error".to_owned()),
    }
}

/// Reads an unstreamed answer.
///
/// # Errors
/// A sentence saying why it is not an answer of this dialect.
pub fn read_whole(body: &[u8]) -> Result<WholeFacts, String> {
    let text = std::str::from_utf8(body).map_err(|_| "the answer is not valid UTF-8".to_owned())?;
    let whole: Whole<'_> = serde_json::from_str(text).map_err(|error| not_a_chunk(&error))?;
    if whole.error.is_some_and(|error| error.get() != "null") || whole.object.is_some_and(|object| object.is_error) {
        return Ok(WholeFacts { error: Some(read_error_fields(body)), ..WholeFacts::default() });
    }
    let Some(choices) = whole.choices else {
        return Err("the answer has neither choices nor error".to_owned());
    };
    let mut facts = WholeFacts { choices: choices.len(), usage: whole.usage.map(Into::into), ..WholeFacts::default() };
    for choice in choices {
        if let Some(message) = choice.message {
            let parts = [&message.refusal, &message.tool_calls, &message.function_call, &message.audio];
            facts.has_answer |= message.content.filled.0 || parts.iter().any(|part| part.0);
        }
        facts.has_answer |= choice.text.0;
        if let Some(reason) = choice.finish_reason {
            facts.error = reason.broken_off.map(|error| *error).or(facts.error);
            facts.finish = reason.finish.or(facts.finish);
        }
    }
    Ok(facts)
}

/// The parser's words without its quotation of the payload, which may be a
/// part of somebody's answer.
pub(super) fn not_a_chunk(error: &serde_json::Error) -> String {
    let kind = match error.classify() {
        serde_json::error::Category::Eof => "ends in the middle of its JSON",
        serde_json::error::Category::Data => "has a field of the wrong type",
        serde_json::error::Category::Syntax | serde_json::error::Category::Io => "is not JSON",
    };
    format!("a frame {kind} (column {})", error.column())
}

pub(super) fn finish(reason: &str) -> Finish {
    match reason {
        "stop" => Finish::Stop,
        "length" => Finish::Length,
        "content_filter" => Finish::ContentFilter,
        "tool_calls" | "function_call" => Finish::ToolCalls,
        _ => Finish::Other,
    }
}

/// A string of which only its meaning is kept.
#[derive(Default)]
struct Word {
    is_error: bool,
    /// As a reason to end. Some servers write an empty one into every chunk: that is none.
    finish: Option<Finish>,
    /// As a reason to end, it says that the server broke off.
    broken_off: Option<Box<ErrorFields>>,
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Look;
        impl Visitor<'_> for Look {
            type Value = Word;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E>(self, text: &str) -> Result<Word, E> {
                Ok(Word {
                    is_error: text == "error",
                    finish: (!text.is_empty()).then(|| finish(text)),
                    broken_off: broken_off(text).map(Box::new),
                })
            }
        }
        deserializer.deserialize_str(Look)
    }
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(default)]
    object: Option<Word>,
    #[serde(borrow, default)]
    choices: Option<Choices<'a>>,
    #[serde(default)]
    usage: Option<UsageWire>,
    #[serde(borrow, default)]
    error: Option<&'a serde_json::value::RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default)]
    index: u32,
    #[serde(borrow, default)]
    delta: Option<Delta<'a>>,
    #[serde(default)]
    finish_reason: Option<Word>,
    #[serde(default)]
    text: Filled,
}

/// A list of choices, added up as it is read.
struct Choices<'a> {
    facts: FrameFacts,
    text: Option<&'a str>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Choices<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Look;
        impl<'de> Visitor<'de> for Look {
            type Value = Choices<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of choices")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Choices<'de>, A::Error> {
                let mut choices = Choices { facts: FrameFacts::default(), text: None };
                while let Some(choice) = list.next_element()? {
                    choices.add(choice);
                }
                Ok(choices)
            }
        }
        deserializer.deserialize_seq(Look)
    }
}

impl<'a> Choices<'a> {
    fn add(&mut self, choice: Choice<'a>) {
        let facts = &mut self.facts;
        facts.choices.push(choice.index);
        if let Some(delta) = choice.delta {
            let answers = [&delta.refusal, &delta.tool_calls, &delta.function_call, &delta.audio];
            let answers = u32::from(delta.content.filled.0 || answers.iter().any(|part| part.0));
            let reasoning = [&delta.reasoning_content, &delta.reasoning, &delta.reasoning_details];
            facts.answers += answers;
            facts.contents += answers.max(u32::from(reasoning.iter().any(|part| part.0)));
            self.text = delta.content.text;
        }
        // The legacy completion shape that some servers mix in.
        if choice.text.0 {
            facts.answers += 1;
            facts.contents += 1;
        }
        if let Some(reason) = choice.finish_reason {
            facts.error = reason.broken_off.map(|error| *error).or(facts.error.take());
            facts.finished.extend(reason.finish.map(|finish| (choice.index, finish)));
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Delta<'a> {
    #[serde(borrow)]
    content: Spoken<'a>,
    refusal: Filled,
    tool_calls: Filled,
    function_call: Filled,
    audio: Filled,
    reasoning_content: Filled,
    reasoning: Filled,
    reasoning_details: Filled,
}

#[derive(Deserialize)]
struct Whole<'a> {
    #[serde(default)]
    object: Option<Word>,
    #[serde(borrow, default)]
    choices: Option<Vec<WholeChoice<'a>>>,
    #[serde(default)]
    usage: Option<UsageWire>,
    #[serde(borrow, default)]
    error: Option<&'a serde_json::value::RawValue>,
}

#[derive(Deserialize)]
struct WholeChoice<'a> {
    #[serde(borrow, default)]
    message: Option<Delta<'a>>,
    #[serde(default)]
    finish_reason: Option<Word>,
    #[serde(default)]
    text: Filled,
}

/// A report never costs an answer: what is no count is taken as absent.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct UsageWire {
    prompt_tokens: Count,
    completion_tokens: Count,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PromptDetails {
    cached_tokens: Count,
    /// `OpenRouter`, and OpenAI where it charges for it.
    cache_write_tokens: Count,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct CompletionDetails {
    reasoning_tokens: Count,
}

/// A count of tokens in whatever form a server writes it.
#[derive(Default, Clone, Copy)]
struct Count(u64);

impl<'de> Deserialize<'de> for Count {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::Number(number) => Self(number.as_u64().unwrap_or_else(|| {
                number.as_f64().filter(|count| (0.0..1e15).contains(count)).map_or(0, |count| count as u64)
            })),
            serde_json::Value::String(text) => Self(text.parse().unwrap_or(0)),
            _ => Self(0),
        })
    }
}

impl From<UsageWire> for Usage {
    fn from(wire: UsageWire) -> Self {
        let details = wire.prompt_tokens_details.unwrap_or_default();
        Self {
            input: wire.prompt_tokens.0,
            output: wire.completion_tokens.0,
            cached_input: details.cached_tokens.0,
            cache_write: details.cache_write_tokens.0,
            cache_write_1h: 0,
            reasoning: wire.completion_tokens_details.map_or(0, |details| details.reasoning_tokens.0),
            estimated: false,
        }
    }
}

/// Whether a value holds anything: a string, list or object that is not empty,
/// a number or `true`. Reads without keeping.
#[derive(Default, Clone, Copy)]
struct Filled(bool);

impl<'de> Deserialize<'de> for Filled {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Look).map(|spoken| spoken.filled)
    }
}

/// [`Filled`], and the text as it stands in the payload, where it is one without escapes.
#[derive(Default, Clone, Copy)]
struct Spoken<'a> {
    filled: Filled,
    text: Option<&'a str>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Spoken<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Look)
    }
}

struct Look;

const fn filled<'a>(filled: bool) -> Spoken<'a> {
    Spoken { filled: Filled(filled), text: None }
}

impl<'de> Visitor<'de> for Look {
    type Value = Spoken<'de>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }
    fn visit_bool<E>(self, value: bool) -> Result<Spoken<'de>, E> {
        Ok(filled(value))
    }
    fn visit_i64<E>(self, _: i64) -> Result<Spoken<'de>, E> {
        Ok(filled(true))
    }
    fn visit_u64<E>(self, _: u64) -> Result<Spoken<'de>, E> {
        Ok(filled(true))
    }
    fn visit_f64<E>(self, _: f64) -> Result<Spoken<'de>, E> {
        Ok(filled(true))
    }
    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Spoken<'de>, E> {
        Ok(Spoken { filled: Filled(!value.is_empty()), text: Some(value) })
    }
    fn visit_str<E>(self, value: &str) -> Result<Spoken<'de>, E> {
        Ok(filled(!value.is_empty()))
    }
    fn visit_unit<E>(self) -> Result<Spoken<'de>, E> {
        Ok(filled(false))
    }
    fn visit_none<E>(self) -> Result<Spoken<'de>, E> {
        Ok(filled(false))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Spoken<'de>, A::Error> {
        let mut any = false;
        while seq.next_element::<serde::de::IgnoredAny>()?.is_some() {
            any = true;
        }
        Ok(filled(any))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Spoken<'de>, A::Error> {
        let mut any = false;
        while map.next_entry::<serde::de::IgnoredAny, serde::de::IgnoredAny>()?.is_some() {
            any = true;
        }
        Ok(filled(any))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(text: &str) -> FrameFacts {
        read_chunk(text.as_bytes()).expect("a chunk")
    }

    #[test]
    fn a_server_that_broke_off_is_an_error_and_no_end() {
        for word in ["insufficient_system_resource", "abort", "error"] {
            let chunk = facts(&format!(r#"{{"choices":[{{"index":0,"delta":{{}},"finish_reason":"{word}"}}]}}"#));
            assert_eq!(chunk.error.and_then(|error| error.code).as_deref(), Some(word));
            let whole = format!(r#"{{"choices":[{{"message":{{"content":"a"}},"finish_reason":"{word}"}}]}}"#);
            assert!(read_whole(whole.as_bytes()).expect("an answer").error.is_some());
        }
        assert_eq!(facts(r#"{"choices":[{"index":0,"delta":{},"finish_reason":"eos"}]}"#).error, None);
    }

    #[test]
    fn only_filled_deltas_are_content() {
        for (delta, contents, answers) in [
            (r#"{"role":"assistant","content":""}"#, 0, 0),
            (r#"{"role":"assistant","content":null,"tool_calls":[]}"#, 0, 0),
            (r#"{"content":"a"}"#, 1, 1),
            (r#"{"reasoning_content":"hm"}"#, 1, 0),
            (r#"{"reasoning":"hm","content":""}"#, 1, 0),
            (r#"{"tool_calls":[{"index":0,"function":{"arguments":""}}]}"#, 1, 1),
            (r#"{"refusal":"no"}"#, 1, 1),
            (r#"{"audio":{"data":"x"}}"#, 1, 1),
            ("{}", 0, 0),
        ] {
            let facts = facts(&format!(r#"{{"choices":[{{"index":0,"delta":{delta},"finish_reason":null}}]}}"#));
            assert_eq!((facts.contents, facts.answers), (contents, answers), "{delta}");
        }
    }

    #[test]
    fn an_odd_report_of_usage_costs_no_answer() {
        let usage = facts(
            r#"{"choices":[],"usage":{"prompt_tokens":12.0,"completion_tokens":"7","prompt_tokens_details":{"cached_tokens":null}}}"#,
        );
        assert_eq!(usage.usage, Some(Usage { input: 12, output: 7, ..Usage::default() }));
    }

    #[test]
    fn an_empty_finish_reason_is_none() {
        let chunk = br#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":""}]}"#;
        assert_eq!(read_chunk(chunk).expect("a chunk").finished, []);
    }

    #[test]
    fn usage_frames_and_finishes_are_told() {
        let usage = facts(
            r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":2},"completion_tokens_details":null}}"#,
        );
        assert!(usage.usage_only);
        assert_eq!(usage.usage, Some(Usage { input: 9, output: 4, cached_input: 2, ..Usage::default() }));
        let end = facts(r#"{"choices":[{"index":1,"delta":{},"finish_reason":"length"}],"usage":null}"#);
        assert_eq!(end.finished, [(1, Finish::Length)]);
        assert!(!end.usage_only);
    }

    #[test]
    fn an_error_inside_the_stream_is_no_chunk() {
        let error = facts(r#"{"error":{"message":"boom","type":"server_error","code":null}}"#).error.expect("error");
        assert_eq!(error.message.as_deref(), Some("boom"));
        assert_eq!(facts(r#"{"choices":[],"error":null,"usage":{}}"#).error, None);
    }

    #[test]
    fn half_a_character_and_half_an_object_are_refused_without_quoting_them() {
        assert!(
            read_chunk(b"{\"choices\":[{\"delta\":{\"content\":\"\xe2\x82\"}}]}").expect_err("bad").contains("UTF-8")
        );
        assert!(
            read_chunk(b"{\"choices\":[{\"delta\":{\"content\":\"secret")
                .expect_err("bad")
                .contains("ends in the middle")
        );
        assert!(!read_chunk(b"{\"choices\":\"secret\"}").expect_err("bad").contains("secret"));
        assert!(read_chunk(b"{\"hello\":1}").is_err());
    }
}
