//! How a successor is asked to go on.
//!
//! Owns what is appended to a request: the answer so far, and, where it cannot be
//! given as the beginning of the successor's own, the words that ask for the rest.
//! Refuses to choose between the two. Invariant: all else of the request stays as
//! it was.

use crate::wire::dialect::Dialect;
use crate::wire::request::Fields;
use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// The form in which a server takes the beginning of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefill {
    /// The last turn is the assistant's (Claude docs, "Prefill Claude's response").
    Anthropic,
    /// As that, with `prefix: true` (Mistral and DeepSeek API references).
    Prefix,
    /// `continue_final_message: true` and `add_generation_prompt: false` (vLLM,
    /// "OpenAI-Compatible Server").
    ContinueFinal,
    /// The last turn is the assistant's, for servers that go on with it (llama.cpp).
    Trailing,
}

/// What a successor is asked.
#[derive(Debug, Clone)]
pub struct Continuing<'a> {
    /// The answer so far.
    pub text: &'a str,
    /// `None`: the successor is asked to repeat `fragment`.
    pub prefill: Option<Prefill>,
    pub fragment: &'a str,
    /// Tokens that it may write; `None`: as the request has it.
    pub output_tokens_max: Option<u64>,
}

/// What stands before the fragment; the fragment is all that follows the first empty line.
pub const PLEA: &str = "The connection dropped in the middle of your answer; I have all of it up to the break. \
    Go on exactly where it ended. Begin by repeating its last words, which follow here, character for character, \
    then continue straight on from them. Add no remark, do not start over, open no new code block.\n\n";

/// The body of a request, in a target's dialect, that asks for the rest.
/// `None`: it has no turns to append to.
#[must_use]
pub fn continued(dialect: Dialect, body: &Bytes, ask: &Continuing<'_>) -> Option<Bytes> {
    let Fields(mut fields) = serde_json::from_slice(body).ok()?;
    let (list, limits): (_, &[&str]) = match dialect {
        Dialect::Chat => ("messages", &["max_completion_tokens", "max_tokens"]),
        Dialect::Messages => ("messages", &["max_tokens"]),
        Dialect::Responses => ("input", &["max_output_tokens"]),
        Dialect::Completions | Dialect::Embeddings | Dialect::CountTokens => return None,
    };
    let turns = &mut fields.iter_mut().find(|(name, _)| name == list)?.1;
    *turns = appended(turns, &new_turns(dialect, ask))?;
    if let Some(max) = ask.output_tokens_max {
        for (name, value) in &mut fields {
            if limits.contains(&name.as_str()) {
                *value = raw(&json!(max))?;
            }
        }
    }
    if ask.prefill == Some(Prefill::ContinueFinal) {
        fields.retain(|(name, _)| name != "continue_final_message" && name != "add_generation_prompt");
        fields.push(("continue_final_message".to_owned(), raw(&json!(true))?));
        fields.push(("add_generation_prompt".to_owned(), raw(&json!(false))?));
    }
    Some(Bytes::from(Fields(fields).to_raw().get().to_owned()))
}

fn new_turns(dialect: Dialect, ask: &Continuing<'_>) -> Vec<Value> {
    // Anthropic refuses one that ends in spaces; the seam expects them back once.
    let text = ask.text.trim_end();
    let plea = || format!("{PLEA}{}", ask.fragment);
    let mut turns = match dialect {
        Dialect::Responses => vec![json!({"type": "message", "role": "assistant", "content": [
            {"type": "output_text", "text": text, "annotations": []}]})],
        _ => vec![json!({"role": "assistant", "content": text})],
    };
    match ask.prefill {
        Some(Prefill::Prefix) => turns[0]["prefix"] = json!(true),
        Some(Prefill::Anthropic | Prefill::ContinueFinal | Prefill::Trailing) => {}
        None if dialect == Dialect::Responses => turns.push(json!({"type": "message", "role": "user", "content": [
            {"type": "input_text", "text": plea()}]})),
        None => turns.push(json!({"role": "user", "content": plea()})),
    }
    turns
}

/// A list with more in it; a text (responses) becomes the list of one turn.
fn appended(list: &RawValue, more: &[Value]) -> Option<Box<RawValue>> {
    let text = list.get().trim();
    let before = match text.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']')?.trim().to_owned(),
        None if text.starts_with('"') => format!(r#"{{"type":"message","role":"user","content":{text}}}"#),
        None => return None,
    };
    let more = more.iter().map(Value::to_string).collect::<Vec<_>>().join(",");
    let comma = if before.is_empty() { "" } else { "," };
    RawValue::from_string(format!("[{before}{comma}{more}]")).ok()
}

fn raw(value: &Value) -> Option<Box<RawValue>> {
    serde_json::value::to_raw_value(value).ok()
}
