//! What chat completions refuse.
//!
//! Owns the pairing of tool calls and results and, where the script says
//! `strict=1`, unknown parameters. Refuses to check more: this dialect has many
//! servers that take more than its inventor. Invariant: a conversation without
//! tool calls and results always passes the pairing.

use super::{known_parameters, list};
use crate::sim::refusal::Complaint;
use serde_json::Value;

const KNOWN: &[&str] = &[
    "messages",
    "model",
    "audio",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "metadata",
    "modalities",
    "moderation",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning_effort",
    "response_format",
    "safety_identifier",
    "seed",
    "service_tier",
    "stop",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
    "web_search_options",
];

pub(in crate::sim) fn check(body: &Value, strict: bool) -> Result<(), Complaint> {
    if strict {
        known_parameters(body, KNOWN)?;
    }
    pairs(list(&body["messages"]))
}

/// Every call has its result directly behind it, and every result its call before it.
fn pairs(messages: &[Value]) -> Result<(), Complaint> {
    let mut open: Vec<&str> = Vec::new();
    // A result may be answered twice by mistake; the vendor minds only results without calls.
    let mut called: Vec<&str> = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        if message["role"] == "tool" {
            let id = message["tool_call_id"].as_str().unwrap_or_default();
            if !called.contains(&id) {
                let message = "Invalid parameter: messages with role 'tool' must be a response to a preceeding \
                               message with 'tool_calls'.";
                return Err(Complaint::invalid(message).param(format!("messages.[{at}].role")));
            }
            open.retain(|call| *call != id);
            continue;
        }
        answered(&open, at)?;
        called = list(&message["tool_calls"]).iter().filter_map(|call| call["id"].as_str()).collect();
        open.clone_from(&called);
    }
    answered(&open, messages.len())
}

fn answered(open: &[&str], at: usize) -> Result<(), Complaint> {
    if open.is_empty() {
        return Ok(());
    }
    let message = format!(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each \
         'tool_call_id'. The following tool_call_ids did not have response messages: {}",
        open.join(", ")
    );
    Err(Complaint::invalid(message).param(format!("messages.[{at}].role")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(messages: &Value) -> Option<String> {
        check(&json!({ "messages": messages }), false).err().map(|complaint| complaint.message)
    }

    #[test]
    fn calls_and_results_come_in_pairs() {
        let call = json!({ "role": "assistant", "tool_calls": [{ "id": "a" }, { "id": "b" }] });
        let result = |id: &str| json!({ "role": "tool", "tool_call_id": id, "content": "x" });
        let user = json!({ "role": "user", "content": "x" });
        assert_eq!(refused(&json!([user, call, result("b"), result("a"), user])), None);
        let missing = refused(&json!([user, call, result("a"), user])).expect("a refusal");
        assert!(missing.ends_with("did not have response messages: b"), "{missing}");
        assert!(refused(&json!([user, call, result("a")])).is_some());
        let orphan = refused(&json!([user, result("a")])).expect("a refusal");
        assert!(orphan.contains("must be a response to a preceeding message"), "{orphan}");
        assert!(refused(&json!([user, call, result("a"), result("b"), user, result("a")])).is_some());
    }

    #[test]
    fn unknown_parameters_are_refused_by_strict_scripts_alone() {
        let body = json!({ "messages": [], "thinking": {} });
        assert_eq!(check(&body, false), Ok(()));
        let complaint = check(&body, true).expect_err("not OpenAI's");
        assert_eq!((complaint.param.as_deref(), complaint.code), (Some("thinking"), Some("unknown_parameter")));
    }
}
