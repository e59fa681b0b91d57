//! What responses refuse.
//!
//! Owns parameters, input items and the pairing of calls and outputs. Refuses to
//! resolve earlier responses (`prepare.rs` brings the whole conversation).
//! Invariant: reasoning passes only as the simulator made it, for the same key.

use super::{known_parameters, list, missing_parameter, unknown_parameter};
use crate::sim::ask::is_call;
use crate::sim::refusal::Complaint;
use crate::sim::responses::Kept;
use crate::sim::seal::Seal;
use serde_json::Value;

const KNOWN: &[&str] = &[
    "access_programs",
    "background",
    "background_options",
    "client_metadata",
    "context_management",
    "conversation",
    "image",
    "include",
    "input",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "model",
    "moderation",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
];

/// Chat's parameters that the vendor knows and says where they went.
const MOVED: &[(&str, &str)] = &[
    ("messages", "input"),
    ("max_tokens", "max_output_tokens"),
    ("max_completion_tokens", "max_output_tokens"),
    ("response_format", "text.format"),
    ("reasoning_effort", "reasoning.effort"),
];

/// Fields of the other dialects' messages and calls.
const FOREIGN: &[&str] =
    &["tool_calls", "tool_call_id", "tool_use_id", "reasoning_content", "cache_control", "function", "signature"];

/// The parameters, before anything is looked up.
pub(in crate::sim) fn known(body: &Value) -> Result<(), Complaint> {
    if let Some((from, to)) = MOVED.iter().find(|(from, _)| body.get(from).is_some()) {
        let message = format!(
            "Unsupported parameter: '{from}'. In the Responses API, this parameter has moved to '{to}'. Try again \
             with the new parameter."
        );
        return Err(Complaint::invalid(message).param(*from).code("unsupported_parameter"));
    }
    known_parameters(body, KNOWN)?;
    if ["input", "previous_response_id", "prompt", "conversation"].iter().all(|name| body[name].is_null()) {
        let message = "One of \"input\" or \"previous_response_id\" or 'prompt' or 'conversation_id' must be provided.";
        return Err(Complaint::invalid(message).code("missing_required_parameter"));
    }
    for (at, tool) in list(&body["tools"]).iter().enumerate() {
        if tool["type"].is_null() {
            return Err(missing_parameter(&format!("tools[{at}].type")));
        }
        if matches!(tool["type"].as_str(), Some("function" | "custom")) && tool["name"].is_null() {
            return Err(missing_parameter(&format!("tools[{at}].name")));
        }
    }
    Ok(())
}

/// The input of this request, and the pairing in the whole conversation.
pub(in crate::sim) fn check(body: &Value, items: &[Value], kept: &Kept, seal: &Seal) -> Result<(), Complaint> {
    for (at, item) in list(&body["input"]).iter().enumerate() {
        let place = format!("input[{at}]");
        foreign(item, &place)?;
        match item["type"].as_str() {
            None | Some("message") => message(item, &place)?,
            Some("reasoning") => reasoning(item, &place, kept, seal)?,
            Some("function_call") => required(item, &place, &["call_id", "name", "arguments"])?,
            Some("custom_tool_call") => required(item, &place, &["call_id", "name", "input"])?,
            Some("function_call_output" | "custom_tool_call_output") => required(item, &place, &["call_id", "output"])?,
            Some("text" | "tool_use" | "tool_result" | "thinking" | "input_text" | "output_text" | "image_url") => {
                let kind = &item["type"];
                let message = format!(
                    "Invalid value: '{}'. Supported values are: 'message', 'reasoning', 'function_call', \
                     'function_call_output', and others.",
                    kind.as_str().unwrap_or_default()
                );
                return Err(Complaint::invalid(message).param(place).code("invalid_value"));
            }
            Some(_) => {}
        }
        prefix(item, &place)?;
    }
    pairs(items)
}

fn foreign(item: &Value, place: &str) -> Result<(), Complaint> {
    let found = FOREIGN.iter().find(|name| item.get(name).is_some());
    found.map_or(Ok(()), |name| Err(unknown_parameter(&format!("{place}.{name}"))))
}

fn required(item: &Value, place: &str, names: &[&str]) -> Result<(), Complaint> {
    let missing = names.iter().find(|name| item[**name].is_null());
    missing.map_or(Ok(()), |name| Err(missing_parameter(&format!("{place}.{name}"))))
}

fn message(item: &Value, place: &str) -> Result<(), Complaint> {
    let assistant = match item["role"].as_str() {
        Some("assistant") => true,
        Some("user" | "system" | "developer") => false,
        role => {
            let message = format!(
                "Invalid value: '{}'. Supported values are: 'assistant', 'system', 'developer', and 'user'.",
                role.unwrap_or_default()
            );
            return Err(Complaint::invalid(message).param(format!("{place}.role")).code("invalid_value"));
        }
    };
    for (at, part) in list(&item["content"]).iter().enumerate() {
        let here = format!("{place}.content[{at}]");
        foreign(part, &here)?;
        let kind = part["type"].as_str().unwrap_or_default();
        let outgoing = matches!(kind, "output_text" | "refusal");
        let supported = match (assistant, outgoing) {
            (true, false) => "'output_text' and 'refusal'",
            (false, true) => "'input_text', 'input_image', 'input_file' and 'input_audio'",
            (false, false) if !kind.starts_with("input_") && kind != "computer_screenshot" => {
                "'input_text', 'input_image', 'output_text', 'refusal', 'input_file', 'computer_screenshot', and \
                 'summary_text'"
            }
            _ => continue,
        };
        let message = format!("Invalid value: '{kind}'. Supported values are: {supported}.");
        return Err(Complaint::invalid(message).param(format!("{here}.type")).code("invalid_value"));
    }
    Ok(())
}

/// Encrypted content has to be the simulator's own; an id alone has to be known.
fn reasoning(item: &Value, place: &str, kept: &Kept, seal: &Seal) -> Result<(), Complaint> {
    required(item, place, &["summary"])?;
    let id = item["id"].as_str();
    let Some(content) = item["encrypted_content"].as_str() else {
        return id.filter(|id| kept.item(id).is_none()).map_or(Ok(()), |id| Err(unknown_item(id)));
    };
    seal.opens(content, id).map_err(|why| {
        let ends = |text: &str| {
            let characters: Vec<char> = text.chars().collect();
            let (first, last) = (characters.len().min(4), characters.len().saturating_sub(4));
            format!("{}...{}", String::from_iter(&characters[..first]), String::from_iter(&characters[last..]))
        };
        let which = id.map_or_else(|| ends(content), |id| format!("for item {id}"));
        Complaint::invalid(format!("The encrypted content {which} could not be verified. Reason: {why}"))
            .code("invalid_encrypted_content")
    })
}

pub(in crate::sim) fn unknown_item(id: &str) -> Complaint {
    let message = format!(
        "Item with id '{id}' not found. Items are not persisted when `store` is set to false. Try again with `store` \
         set to true, or remove this item from your input."
    );
    Complaint::invalid(message).status(404).param("input")
}

/// Ids are told apart by how they begin.
fn prefix(item: &Value, place: &str) -> Result<(), Complaint> {
    let begins = match item["type"].as_str() {
        None | Some("message") if item["role"] == "assistant" => "msg",
        Some("function_call") => "fc",
        Some("custom_tool_call") => "ctc",
        Some("reasoning") => "rs",
        Some("web_search_call") => "ws",
        _ => return Ok(()),
    };
    let Some(id) = item["id"].as_str().filter(|id| !id.starts_with(begins)) else {
        return Ok(());
    };
    let message = format!("Invalid '{place}.id': '{id}'. Expected an ID that begins with '{begins}'.");
    Err(Complaint::invalid(message).param(format!("{place}.id")).code("invalid_value"))
}

/// Every output answers a call before it, and every call has its output.
fn pairs(items: &[Value]) -> Result<(), Complaint> {
    let mut open: Vec<&str> = Vec::new();
    for item in items {
        let kind = item["type"].as_str().unwrap_or_default();
        let Some(call) = item["call_id"].as_str() else {
            continue;
        };
        if is_call(kind) {
            open.push(call);
        } else if kind.ends_with("_output") {
            let Some(place) = open.iter().position(|id| *id == call) else {
                let what = if kind == "custom_tool_call_output" { "custom tool call" } else { "function call" };
                let message = format!("No tool call found for {what} output with call_id {call}.");
                return Err(Complaint::invalid(message).param("input"));
            };
            open.remove(place);
        }
    }
    let Some(call) = open.first() else {
        return Ok(());
    };
    Err(Complaint::invalid(format!("No tool output found for function call {call}.")).param("input"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(input: &Value) -> Option<Complaint> {
        let body = json!({ "input": input });
        let items = list(&body["input"]);
        check(&body, items, &Kept::default(), &Seal::new("s", "k")).err()
    }

    fn told(input: &Value) -> String {
        refused(input).map(|complaint| complaint.message).unwrap_or_default()
    }

    #[test]
    fn parameters_of_chat_are_refused_with_their_new_places() {
        let message = known(&json!({ "messages": [] })).expect_err("chat's").message;
        assert!(message.contains("has moved to 'input'"), "{message}");
        let complaint = known(&json!({ "input": "x", "top_k": 1 })).expect_err("nobody's");
        assert_eq!((complaint.code, complaint.param.as_deref()), (Some("unknown_parameter"), Some("top_k")));
        let nested = json!({ "input": "x", "tools": [{ "type": "function", "function": { "name": "x" } }] });
        assert_eq!(known(&nested).expect_err("chat's").param.as_deref(), Some("tools[0].name"));
        assert!(known(&json!({ "model": "x" })).is_err());
    }

    #[test]
    fn what_codex_sends_passes() {
        let seal = Seal::new("s", "k");
        let body = json!({
            "model": "sim", "instructions": "x", "store": false, "stream": true, "parallel_tool_calls": true,
            "include": ["reasoning.encrypted_content"], "prompt_cache_key": "x", "client_metadata": { "a": "b" },
            "reasoning": { "effort": "medium", "summary": "auto" }, "text": { "verbosity": "low" },
            "tool_choice": "auto", "service_tier": "priority",
            "tools": [
                { "type": "function", "name": "shell", "strict": false, "parameters": {} },
                { "type": "custom", "name": "apply_patch", "format": { "type": "grammar" } },
                { "type": "web_search", "external_web_access": false }, { "type": "local_shell" },
            ],
            "input": [
                { "type": "message", "role": "developer", "content": [{ "type": "input_text", "text": "x" }] },
                { "type": "message", "role": "user", "content": [{ "type": "input_text", "text": "x" }] },
                { "type": "reasoning", "summary": [], "content": null,
                  "encrypted_content": seal.encrypted("rs_1", "thought") },
                { "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": "x" }] },
                { "type": "function_call", "name": "shell", "arguments": "{}", "call_id": "call_1" },
                { "type": "function_call_output", "call_id": "call_1", "output": "x" },
                { "type": "custom_tool_call", "status": "completed", "name": "apply_patch", "input": "x",
                  "call_id": "call_2" },
                { "type": "custom_tool_call_output", "call_id": "call_2", "output": "x" },
            ],
        });
        assert_eq!(known(&body), Ok(()));
        assert_eq!(check(&body, list(&body["input"]), &Kept::default(), &seal), Ok(()));
    }

    #[test]
    fn calls_and_outputs_come_in_pairs() {
        let call = json!({ "type": "function_call", "call_id": "a", "name": "x", "arguments": "{}" });
        let output = json!({ "type": "function_call_output", "call_id": "a", "output": "x" });
        assert_eq!(refused(&json!([call, output])), None);
        assert_eq!(told(&json!([output])), "No tool call found for function call output with call_id a.");
        assert_eq!(told(&json!([call])), "No tool output found for function call a.");
    }

    #[test]
    fn foreign_reasoning_is_refused_by_what_is_wrong_with_it() {
        let item = |id: Option<&str>, content: Option<String>| json!([{ "type": "reasoning", "id": id, "summary": [], "encrypted_content": content }]);
        let sealed = |secret: &str| Some(Seal::new(secret, "k").encrypted("rs_1", "x"));
        assert_eq!(refused(&item(Some("rs_1"), sealed("s"))), None);
        for (id, secret) in [(None, "other"), (Some("rs_1"), "other"), (Some("rs_2"), "s")] {
            let complaint = refused(&item(id, sealed(secret))).expect("a refusal");
            assert_eq!(complaint.code, Some("invalid_encrypted_content"));
        }
        let unknown = refused(&item(Some("rs_9"), None)).expect("a refusal");
        assert_eq!(unknown.status, 404);
        assert!(unknown.message.starts_with("Item with id 'rs_9' not found."));
    }

    #[test]
    fn forms_of_other_dialects_are_refused() {
        for (input, word) in [
            (json!([{ "role": "user", "content": [{ "type": "text", "text": "x" }] }]), "'text'"),
            (json!([{ "role": "assistant", "content": [{ "type": "input_text", "text": "x" }] }]), "'input_text'"),
            (json!([{ "role": "tool", "content": "x" }]), "'tool'"),
            (json!([{ "role": "assistant", "content": "x", "tool_calls": [] }]), "input[0].tool_calls"),
            (json!([{ "role": "assistant", "content": "x", "id": "chatcmpl-1" }]), "begins with 'msg'"),
            (json!([{ "type": "tool_result", "tool_use_id": "x" }]), "input[0].tool_use_id"),
            (json!([{ "type": "function_call", "name": "x", "arguments": "{}" }]), "input[0].call_id"),
        ] {
            let message = told(&input);
            assert!(message.contains(word), "{message}");
        }
    }
}
