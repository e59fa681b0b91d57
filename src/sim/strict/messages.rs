//! What messages refuse.
//!
//! Owns the request's fields, tools and thinking; the conversation is checked in
//! `conversation.rs`. Refuses to judge values that the vendor leaves to the
//! model. Invariant: the first fault found is the one told, in the vendor's words.

mod conversation;

use super::list;
use crate::sim::refusal::Complaint;
use crate::sim::seal::Seal;
use serde_json::Value;

const KNOWN: &[&str] = &[
    "model",
    "messages",
    "max_tokens",
    "cache_control",
    "container",
    "diagnostics",
    "inference_geo",
    "metadata",
    "output_config",
    "service_tier",
    "speed",
    "stop_sequences",
    "stream",
    "system",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
    "user_profile_id",
    "workspace_id",
];

/// Fields that exist only where `anthropic-beta` names some beta.
const BETA: &[&str] = &[
    "billing_policy",
    "compaction",
    "context_management",
    "fallback_credit_token",
    "fallbacks",
    "mcp_servers",
    "output_format",
    "thread",
];

/// Fields of an answer, which counting tokens does not take.
const ANSWERED: &[&str] =
    &["max_tokens", "metadata", "service_tier", "stop_sequences", "stream", "temperature", "top_k", "top_p"];

/// Tokens of thinking at least, the vendor's bound.
const BUDGET_MIN: u64 = 1_024;
const TOOL_NAME_MAX: usize = 128;

/// The headers that change what a body may hold.
#[derive(Debug, Clone, Copy)]
pub(in crate::sim) struct Versions<'a> {
    pub version: Option<&'a str>,
    pub betas: Option<&'a str>,
}

/// A request for a message. `thinker`: the model thinks by its script, hence it may
/// demand that its thinking comes back; one that never thought could not.
pub(in crate::sim) fn check(body: &Value, versions: Versions<'_>, seal: &Seal, thinker: bool) -> Result<(), Complaint> {
    let max = &body["max_tokens"];
    required(body, &["model", "max_tokens", "messages"])?;
    if !max.is_u64() {
        return Err(Complaint::invalid("max_tokens: Input should be a valid integer"));
    }
    if max == 0 {
        return Err(Complaint::invalid("max_tokens: must be greater than or equal to 1"));
    }
    fields(body, versions, |_| true)?;
    // The vendor's way of saying that it holds no such conversation: its packages then
    // send the whole of it again. This simulator holds none.
    if body["thread"]["type"] == "continue" {
        let message = "No usable Thread state was found for `previous_message_id`. Replay the full conversation with \
                       `thread: {\"type\": \"create\"}` to start a new Thread.";
        return Err(Complaint::invalid(message).status(404).code("thread_not_found"));
    }
    thinking(body)?;
    shared(body, seal)?;
    if thinker && body["thinking"]["type"] == "enabled" {
        conversation::begins_with_thinking(list(&body["messages"]))?;
    }
    Ok(())
}

/// A request to count tokens.
pub(in crate::sim) fn check_count(body: &Value, versions: Versions<'_>, seal: &Seal) -> Result<(), Complaint> {
    required(body, &["model", "messages"])?;
    fields(body, versions, |name| !ANSWERED.contains(&name))?;
    shared(body, seal)
}

fn shared(body: &Value, seal: &Seal) -> Result<(), Complaint> {
    tools(body)?;
    if list(&body["system"]).iter().any(|block| block["text"] == "") {
        return Err(Complaint::invalid("system: text content blocks must be non-empty"));
    }
    conversation::check(body, seal)
}

fn required(body: &Value, names: &[&str]) -> Result<(), Complaint> {
    let missing = names.iter().find(|name| body[**name].is_null());
    missing.map_or(Ok(()), |name| Err(Complaint::invalid(format!("{name}: Field required"))))
}

fn extra(place: &str) -> Complaint {
    Complaint::invalid(format!("{place}: Extra inputs are not permitted"))
}

fn fields(body: &Value, versions: Versions<'_>, here: impl Fn(&str) -> bool) -> Result<(), Complaint> {
    if versions.version.is_none() {
        return Err(Complaint::invalid("anthropic-version: header is required"));
    }
    let beta = versions.betas.is_some_and(|betas| !betas.trim().is_empty());
    for (name, _) in body.as_object().into_iter().flatten() {
        let name = name.as_str();
        let known = KNOWN.contains(&name) || (beta && BETA.contains(&name));
        if !known || !here(name) {
            return Err(extra(name));
        }
    }
    Ok(())
}

fn thinking(body: &Value) -> Result<(), Complaint> {
    let thinking = &body["thinking"];
    match thinking["type"].as_str() {
        None if thinking.is_null() => return Ok(()),
        Some("disabled") => return Ok(()),
        Some("adaptive" | "between_tools") => {}
        Some("enabled") => {
            let Some(budget) = thinking["budget_tokens"].as_u64() else {
                return Err(Complaint::invalid("thinking.enabled.budget_tokens: Field required"));
            };
            if budget < BUDGET_MIN {
                let message = "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024";
                return Err(Complaint::invalid(message));
            }
            if body["max_tokens"].as_u64().is_some_and(|max| max <= budget) {
                let message = "`max_tokens` must be greater than `thinking.budget_tokens`. Please consult our \
                               documentation at https://docs.claude.com/en/docs/build-with-claude/extended-thinking\
                               #max-tokens-and-context-window-size";
                return Err(Complaint::invalid(message));
            }
        }
        kind => {
            let message = format!(
                "thinking: Input tag '{}' found using 'type' does not match any of the expected tags: 'adaptive', \
                 'disabled', 'enabled'",
                kind.unwrap_or_default()
            );
            return Err(Complaint::invalid(message));
        }
    }
    if matches!(body["tool_choice"]["type"].as_str(), Some("any" | "tool")) {
        return Err(Complaint::invalid("Thinking may not be enabled when tool_choice forces tool use."));
    }
    Ok(())
}

fn tools(body: &Value) -> Result<(), Complaint> {
    let mut names: Vec<&str> = Vec::new();
    for (at, tool) in list(&body["tools"]).iter().enumerate() {
        let kind = tool["type"].as_str();
        if matches!(kind, Some("function" | "web_search" | "namespace" | "local_shell")) {
            let message = format!(
                "tools.{at}: Input tag '{}' found using 'type' does not match any of the expected tags: \
                 'bash_20250124', 'custom', 'text_editor_20250728', 'web_search_20250305', and others",
                kind.unwrap_or_default()
            );
            return Err(Complaint::invalid(message));
        }
        if matches!(kind, None | Some("custom")) {
            custom_tool(tool, at)?;
        }
        names.extend(tool["name"].as_str());
    }
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Complaint::invalid("tools: Tool names must be unique."));
    }
    let choice = &body["tool_choice"];
    match choice["type"].as_str() {
        None if choice.is_null() => Ok(()),
        Some("tool") => {
            let name = choice["name"].as_str().unwrap_or_default();
            let found = names.binary_search(&name).is_ok();
            let message = || format!("Tool '{name}' not found in provided tools");
            if found { Ok(()) } else { Err(Complaint::invalid(message())) }
        }
        Some("auto" | "any" | "none") => Ok(()),
        kind => Err(Complaint::invalid(format!(
            "tool_choice: Input tag '{}' found using 'type' does not match any of the expected tags: 'any', 'auto', \
             'none', 'tool'",
            kind.unwrap_or_default()
        ))),
    }
}

fn custom_tool(tool: &Value, at: usize) -> Result<(), Complaint> {
    let Some(name) = tool["name"].as_str() else {
        return Err(Complaint::invalid(format!("tools.{at}.custom.name: Field required")));
    };
    if !is_name(name) || name.is_empty() || name.len() > TOOL_NAME_MAX {
        let message = format!("tools.{at}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'");
        return Err(Complaint::invalid(message));
    }
    if !tool["input_schema"].is_object() {
        return Err(Complaint::invalid(format!("tools.{at}.custom.input_schema: Field required")));
    }
    if tool["input_schema"]["type"] != "object" {
        return Err(Complaint::invalid(format!("tools.{at}.custom.input_schema.type: Field required")));
    }
    let foreign = ["function", "parameters"].into_iter().find(|name| tool.get(name).is_some());
    foreign.map_or(Ok(()), |name| Err(extra(&format!("tools.{at}.custom.{name}"))))
}

/// `^[a-zA-Z0-9_-]*$`
fn is_name(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const PLAIN: Versions<'_> = Versions { version: Some("2023-06-01"), betas: None };

    fn told(extra: &Value) -> String {
        let mut body = json!({ "model": "m", "max_tokens": 2_000, "messages": [{ "role": "user", "content": "x" }] });
        for (name, value) in extra.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        check(&body, PLAIN, &Seal::new("s", "k"), true).err().map(|complaint| complaint.message).unwrap_or_default()
    }

    #[test]
    fn fields_are_refused_by_name() {
        let schema = json!({ "type": "object" });
        for (body, expected) in [
            (json!({ "max_tokens": null }), "max_tokens: Field required"),
            (json!({ "response_format": {} }), "response_format: Extra inputs are not permitted"),
            (json!({ "context_management": {} }), "context_management: Extra inputs are not permitted"),
            (json!({ "system": [{ "type": "text", "text": "" }] }), "system: text content blocks must be non-empty"),
            (json!({ "tools": [{ "name": "a" }] }), "tools.0.custom.input_schema: Field required"),
            (
                json!({ "tools": [{ "name": "a", "input_schema": schema }, { "name": "a", "input_schema": schema }] }),
                "tools: Tool names must be unique.",
            ),
            (json!({ "tool_choice": { "type": "tool", "name": "b" } }), "Tool 'b' not found in provided tools"),
        ] {
            assert_eq!(told(&body), expected);
        }
        let openai = json!({ "tools": [{ "type": "function", "function": { "name": "a" } }], "tool_choice": "auto" });
        assert!(told(&openai).starts_with("tools.0: Input tag 'function'"), "{}", told(&openai));
        assert!(told(&json!({ "tool_choice": "auto" })).starts_with("tool_choice: "));
    }

    #[test]
    fn thinking_keeps_the_vendors_bounds() {
        let thinking = |budget: u64| json!({ "thinking": { "type": "enabled", "budget_tokens": budget } });
        assert_eq!(told(&thinking(1_024)), "");
        assert!(told(&thinking(1_000)).ends_with("greater than or equal to 1024"));
        assert!(told(&thinking(2_000)).starts_with("`max_tokens` must be greater"));
        let forced = json!({ "thinking": { "type": "adaptive" }, "tool_choice": { "type": "any" } });
        assert!(told(&forced).starts_with("Thinking may not be enabled"));
    }

    #[test]
    fn betas_open_their_fields_and_the_version_is_required() {
        let body = json!({ "model": "m", "max_tokens": 1, "messages": [{ "role": "user", "content": "x" }],
            "context_management": { "edits": [] } });
        let seal = Seal::new("s", "k");
        let beta = Versions { betas: Some("context-management-2025-06-27"), ..PLAIN };
        assert_eq!(check(&body, beta, &seal, true), Ok(()));
        let message = check(&body, Versions { version: None, ..beta }, &seal, true).expect_err("no version").message;
        assert_eq!(message, "anthropic-version: header is required");
    }

    #[test]
    fn a_thread_is_never_found_so_that_the_conversation_comes_whole() {
        let body = json!({ "model": "m", "max_tokens": 1, "thread": { "type": "continue", "previous_message_id": "x" },
            "messages": [{ "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "a" }] }] });
        let beta = Versions { betas: Some("message-threads-2026-08-12"), ..PLAIN };
        let complaint = check(&body, beta, &Seal::new("s", "k"), true).expect_err("no thread");
        assert_eq!((complaint.status, complaint.code), (404, Some("thread_not_found")));
    }

    #[test]
    fn counting_takes_no_fields_of_an_answer() {
        let body = json!({ "model": "m", "messages": [{ "role": "user", "content": "x" }], "max_tokens": 1 });
        let message = check_count(&body, PLAIN, &Seal::new("s", "k")).expect_err("an answer's").message;
        assert_eq!(message, "max_tokens: Extra inputs are not permitted");
    }
}
