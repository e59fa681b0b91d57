//! The messages of a request.
//!
//! Owns roles, blocks, pairs of tool use and result, and signatures. Refuses the
//! request's other fields. Invariant: a thinking block passes only with the
//! signature that this simulator made for this key and this text.

use super::super::list;
use super::{extra, is_name};
use crate::sim::refusal::Complaint;
use crate::sim::seal::Seal;
use serde_json::Value;

/// Blocks of the other dialects.
const FOREIGN: &[&str] = &[
    "input_text",
    "output_text",
    "image_url",
    "input_image",
    "input_file",
    "input_audio",
    "refusal",
    "function_call",
    "function_call_output",
    "reasoning",
];

pub(super) fn check(body: &Value, seal: &Seal) -> Result<(), Complaint> {
    let messages = list(&body["messages"]);
    if messages.is_empty() {
        return Err(Complaint::invalid("messages: at least one message is required"));
    }
    for (at, message) in messages.iter().enumerate() {
        role(message, at)?;
        let last = at + 1 == messages.len();
        filled(message, at, last)?;
        for (place, block) in list(&message["content"]).iter().enumerate() {
            check_block(block, &format!("messages.{at}.content.{place}"), seal)?;
        }
    }
    unique(messages)?;
    pairs(messages)?;
    trailing(messages)
}

fn role(message: &Value, at: usize) -> Result<(), Complaint> {
    if let Some((name, _)) =
        message.as_object().into_iter().flatten().find(|(name, _)| !matches!(name.as_str(), "role" | "content"))
    {
        return Err(extra(&format!("messages.{at}.{name}")));
    }
    match message["role"].as_str() {
        Some("assistant") if at == 0 => Err(Complaint::invalid("messages: first message must use the \"user\" role")),
        Some("system") if at == 0 => Err(Complaint::invalid(
            "messages: Unexpected role \"system\". The Messages API accepts a top-level `system` parameter, not \
             \"system\" as an input message role.",
        )),
        // Later in a conversation current models take instructions as messages.
        Some("user" | "assistant" | "system") => Ok(()),
        Some(role) => Err(Complaint::invalid(format!(
            "messages: Unexpected role \"{role}\". Allowed roles are \"user\" or \"assistant\"."
        ))),
        None => Err(Complaint::invalid(format!("messages.{at}.role: Field required"))),
    }
}

fn filled(message: &Value, at: usize, last: bool) -> Result<(), Complaint> {
    let content = &message["content"];
    let empty = match content {
        Value::Null => return Err(Complaint::invalid(format!("messages.{at}.content: Field required"))),
        Value::String(text) => text.is_empty(),
        Value::Array(blocks) => blocks.is_empty(),
        _ => return Err(Complaint::invalid(format!("messages.{at}.content: Input should be a valid list"))),
    };
    if empty && !(last && message["role"] == "assistant") {
        let message = format!(
            "messages.{at}: all messages must have non-empty content except for the optional final assistant message"
        );
        return Err(Complaint::invalid(message));
    }
    Ok(())
}

fn check_block(block: &Value, place: &str, seal: &Seal) -> Result<(), Complaint> {
    let kind = block["type"].as_str().unwrap_or_default();
    let missing = |name: &str| Complaint::invalid(format!("{place}.{kind}.{name}: Field required"));
    let allowed: &[&str] = match kind {
        "text" => &["type", "text", "cache_control", "citations"],
        "thinking" => &["type", "thinking", "signature"],
        "redacted_thinking" => &["type", "data"],
        "tool_use" => &["type", "id", "name", "input", "cache_control", "caller", "toolset_name"],
        "tool_result" => &["type", "tool_use_id", "content", "is_error", "cache_control"],
        "web_search_tool_result" => return searched(block, place),
        "" => return Err(Complaint::invalid(format!("{place}.type: Field required"))),
        _ if FOREIGN.contains(&kind) => {
            return Err(Complaint::invalid(format!(
                "{place}: Input tag '{kind}' found using 'type' does not match any of the expected tags: 'document', \
                 'image', 'redacted_thinking', 'search_result', 'text', 'thinking', 'tool_result', 'tool_use', and \
                 others"
            )));
        }
        _ => return Ok(()),
    };
    let mut names = block.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    if let Some(name) = names.find(|name| !allowed.contains(name)) {
        return Err(extra(&format!("{place}.{kind}.{name}")));
    }
    let absent = |name: &&&str| block[**name].is_null();
    let needed: &[&str] = match kind {
        "text" => &["text"],
        "thinking" => &["signature", "thinking"],
        "redacted_thinking" => &["data"],
        "tool_use" => &["id", "input", "name"],
        _ => &["tool_use_id"],
    };
    if let Some(name) = needed.iter().find(absent) {
        return Err(missing(name));
    }
    match kind {
        "text" if block["text"] == "" => Err(Complaint::invalid("messages: text content blocks must be non-empty")),
        "text" if list(&block["citations"]).iter().any(|citation| citation["encrypted_index"] == "") => {
            Err(Complaint::invalid(format!("{place}: Invalid `encrypted_index` in `citations`")))
        }
        "thinking" => signed(block, place, seal),
        // The simulator redacts nothing, so whatever comes back redacted is another's.
        "redacted_thinking" => Err(Complaint::invalid(format!("{place}: Invalid `data` in `redacted_thinking` block"))),
        "tool_use" if !block["input"].is_object() => {
            Err(Complaint::invalid(format!("{place}.tool_use.input: Input should be a valid dictionary")))
        }
        "tool_use" => named(&block["id"], &format!("{place}.tool_use.id")),
        "tool_result" => {
            named(&block["tool_use_id"], &format!("{place}.tool_result.tool_use_id"))?;
            let mut inner = list(&block["content"]).iter().enumerate();
            inner.try_for_each(|(at, inner)| check_block(inner, &format!("{place}.tool_result.content.{at}"), seal))
        }
        _ => Ok(()),
    }
}

/// What a search found comes back as it was sealed.
fn searched(block: &Value, place: &str) -> Result<(), Complaint> {
    if list(&block["content"]).iter().any(|hit| hit["encrypted_content"] == "") {
        let message = format!("{place}: Invalid `encrypted_content` in `web_search_tool_result` block");
        return Err(Complaint::invalid(message));
    }
    Ok(())
}

fn signed(block: &Value, place: &str, seal: &Seal) -> Result<(), Complaint> {
    let text = |name: &str| block[name].as_str().unwrap_or_default();
    if seal.signed(text("thinking"), text("signature")) {
        return Ok(());
    }
    Err(Complaint::invalid(format!("{place}: Invalid `signature` in `thinking` block")))
}

fn named(id: &Value, place: &str) -> Result<(), Complaint> {
    if id.as_str().is_some_and(|id| !id.is_empty() && is_name(id)) {
        return Ok(());
    }
    Err(Complaint::invalid(format!("{place}: String should match pattern '^[a-zA-Z0-9_-]+$'")))
}

/// The ids in the blocks of one kind.
fn ids<'a>(message: &'a Value, kind: &'static str, name: &'static str) -> impl Iterator<Item = &'a str> {
    list(&message["content"]).iter().filter(move |block| block["type"] == kind).filter_map(move |b| b[name].as_str())
}

fn unique(messages: &[Value]) -> Result<(), Complaint> {
    let mut all: Vec<&str> = messages.iter().flat_map(|message| ids(message, "tool_use", "id")).collect();
    all.sort_unstable();
    if all.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Complaint::invalid("messages: `tool_use` ids must be unique"));
    }
    Ok(())
}

/// Results stand first in the user's message directly behind the calls; messages
/// of the same role are one turn to the vendor.
fn pairs(messages: &[Value]) -> Result<(), Complaint> {
    let mut open: Vec<&str> = Vec::new();
    let mut asked_at = 0;
    let mut answered: Vec<&str> = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        match message["role"].as_str() {
            Some("assistant") => {
                unanswered(&open, asked_at)?;
                if at == 0 || messages[at - 1]["role"] != "assistant" {
                    answered.clear();
                }
                open.extend(ids(message, "tool_use", "id"));
                asked_at = at;
            }
            Some("user") => {
                let blocks = list(&message["content"]);
                let is_result = |block: &&Value| block["type"] == "tool_result";
                for (place, block) in blocks.iter().enumerate().filter(|(_, block)| is_result(block)) {
                    let id = block["tool_use_id"].as_str().unwrap_or_default();
                    let late = blocks[..place].iter().any(|earlier| !is_result(&earlier));
                    if late && open.contains(&id) {
                        return unanswered(&open, asked_at);
                    }
                    answer(id, &mut open, &mut answered, &format!("messages.{at}.content.{place}"))?;
                }
                unanswered(&open, asked_at)?;
                answered.clear();
            }
            _ => {}
        }
    }
    unanswered(&open, asked_at)
}

fn answer<'a>(id: &'a str, open: &mut Vec<&'a str>, answered: &mut Vec<&'a str>, place: &str) -> Result<(), Complaint> {
    if let Some(found) = open.iter().position(|call| *call == id) {
        answered.push(open.remove(found));
        return Ok(());
    }
    let message = if answered.contains(&id) {
        format!("{place}: each tool_use must have a single result. Found multiple `tool_result` blocks with id: {id}")
    } else {
        format!(
            "{place}: unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each `tool_result` block must \
             have a corresponding `tool_use` block in the previous message."
        )
    };
    Err(Complaint::invalid(message))
}

fn unanswered(open: &[&str], at: usize) -> Result<(), Complaint> {
    if open.is_empty() {
        return Ok(());
    }
    Err(Complaint::invalid(format!(
        "messages.{at}: `tool_use` ids were found without `tool_result` blocks immediately after: {}. Each `tool_use` \
         block must have a corresponding `tool_result` block in the next message.",
        open.join(", ")
    )))
}

/// With thinking enabled the turn that is being continued begins with a thinking
/// block: an assistant's unfinished message, or the first of the calls since the
/// user last spoke, whose results come last. The calls after it need none.
pub(super) fn begins_with_thinking(messages: &[Value]) -> Result<(), Complaint> {
    let results = |message: &Value| ids(message, "tool_result", "tool_use_id").next().is_some();
    let spoke = messages.iter().rposition(|message| message["role"] == "user" && !results(message));
    let begun = spoke.map_or(0, |at| at + 1);
    let Some(at) = messages[begun..].iter().position(|message| message["role"] == "assistant") else {
        return Ok(());
    };
    let at = begun + at;
    let first = list(&messages[at]["content"]).first().and_then(|block| block["type"].as_str()).unwrap_or("text");
    if matches!(first, "thinking" | "redacted_thinking") {
        return Ok(());
    }
    Err(Complaint::invalid(format!(
        "messages.{at}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `{first}`. When \
         `thinking` is enabled, a final `assistant` message must start with a thinking block (preceeding the lastmost \
         set of `tool_use` and `tool_result` blocks). We recommend you include thinking blocks from previous turns. To \
         avoid this requirement, disable `thinking`. Please consult our documentation at \
         https://docs.claude.com/en/docs/build-with-claude/extended-thinking"
    )))
}

fn trailing(messages: &[Value]) -> Result<(), Complaint> {
    let Some(last) = messages.last().filter(|message| message["role"] == "assistant") else {
        return Ok(());
    };
    let text = match &last["content"] {
        Value::String(text) => text.as_str(),
        content => list(content).last().and_then(|block| block["text"].as_str()).unwrap_or_default(),
    };
    if text.ends_with(char::is_whitespace) {
        return Err(Complaint::invalid("messages: final assistant content cannot end with trailing whitespace"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(messages: &Value) -> String {
        let body = json!({ "messages": messages });
        check(&body, &Seal::new("s", "k")).err().map(|complaint| complaint.message).unwrap_or_default()
    }

    fn user(content: impl Into<Value>) -> Value {
        json!({ "role": "user", "content": content.into() })
    }

    fn assistant(content: impl Into<Value>) -> Value {
        json!({ "role": "assistant", "content": content.into() })
    }

    fn call(id: &str) -> Value {
        json!({ "type": "tool_use", "id": id, "name": "look", "input": {} })
    }

    fn result(id: &str) -> Value {
        json!({ "type": "tool_result", "tool_use_id": id, "content": [{ "type": "text", "text": "x" }] })
    }

    #[test]
    fn roles_and_contents_are_refused_in_the_vendors_words() {
        let empty = json!([{ "type": "text", "text": "" }]);
        for (messages, expected) in [
            (json!([]), "messages: at least one message is required"),
            (json!([assistant(json!("x"))]), "messages: first message must use the \"user\" role"),
            (json!([user(empty)]), "messages: text content blocks must be non-empty"),
            (
                json!([user(json!("x")), assistant(json!("x "))]),
                "messages: final assistant content cannot end with trailing whitespace",
            ),
            (
                json!([{ "role": "user", "content": "x", "name": "me" }]),
                "messages.0.name: Extra inputs are not permitted",
            ),
            (
                json!([user(json!("x")), assistant(json!([call("call.1")])), user(json!([result("call.1")]))]),
                "messages.1.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'",
            ),
        ] {
            assert_eq!(told(&messages), expected);
        }
        assert!(
            told(&json!([user(json!("x")), { "role": "tool", "content": "x" }])).contains("Unexpected role \"tool\"")
        );
        assert!(told(&json!([user(json!([{ "type": "image_url" }]))])).contains("Input tag 'image_url'"));
    }

    #[test]
    fn calls_and_results_come_in_pairs() {
        let ask = user(json!("x"));
        let calls = assistant(json!([{ "type": "text", "text": "y" }, call("a"), call("b")]));
        let both = user(json!([result("b"), result("a"), { "type": "text", "text": "and" }]));
        assert_eq!(told(&json!([ask, calls, both])), "");
        assert_eq!(told(&json!([ask, calls, user(json!([result("a"), result("b")])), assistant(json!("done"))])), "");
        let one = told(&json!([ask, calls, user(json!([result("a")]))]));
        assert!(
            one.starts_with("messages.1: `tool_use` ids were found without") && one.contains("after: b. "),
            "{one}"
        );
        let late = told(&json!([ask, calls, user(json!([{ "type": "text", "text": "x" }, result("a"), result("b")]))]));
        assert!(late.starts_with("messages.1: `tool_use` ids were found without"), "{late}");
        assert!(told(&json!([ask, calls])).starts_with("messages.1: `tool_use`"));
        let orphan = told(&json!([ask, assistant(json!("y")), user(json!([result("a")]))]));
        assert!(orphan.starts_with("messages.2.content.0: unexpected `tool_use_id` found"), "{orphan}");
        let twice = told(&json!([ask, assistant(json!([call("a")])), user(json!([result("a"), result("a")]))]));
        assert!(twice.contains("must have a single result"), "{twice}");
        let again = json!([
            ask,
            assistant(json!([call("a")])),
            user(json!([result("a")])),
            assistant(json!([call("a")])),
            user(json!([result("a")]))
        ]);
        assert_eq!(told(&again), "messages: `tool_use` ids must be unique");
    }

    #[test]
    fn what_a_search_found_comes_back_sealed() {
        let found = |sealed: &str| {
            let hit = json!({ "type": "web_search_result", "url": "u", "encrypted_content": sealed });
            json!([
                user(json!("x")),
                assistant(json!([{ "type": "web_search_tool_result", "tool_use_id": "s", "content": [hit] }])),
                user(json!("y"))
            ])
        };
        assert_eq!(told(&found("e")), "");
        assert!(told(&found("")).contains("Invalid `encrypted_content`"));
        let cited = |index: &str| {
            let text = json!({ "type": "text", "text": "a", "citations": [{ "url": "u", "encrypted_index": index }] });
            json!([user(json!("x")), assistant(json!([text])), user(json!("y"))])
        };
        assert_eq!(told(&cited("i")), "");
        assert!(told(&cited("")).contains("Invalid `encrypted_index`"));
    }

    #[test]
    fn thinking_passes_with_its_own_signature_alone() {
        let thought = |signature: Option<String>| {
            let mut block = json!({ "type": "thinking", "thinking": "hm" });
            if let Some(signature) = signature {
                block["signature"] = signature.into();
            }
            json!([user(json!("x")), assistant(json!([block, { "type": "text", "text": "y" }])), user(json!("z"))])
        };
        assert_eq!(told(&thought(Some(Seal::new("s", "k").signature("hm")))), "");
        for other in [Seal::new("t", "k").signature("hm"), Seal::new("s", "k").signature("h"), String::new()] {
            let message = told(&thought(Some(other)));
            assert_eq!(message, "messages.1.content.0: Invalid `signature` in `thinking` block");
        }
        assert_eq!(told(&thought(None)), "messages.1.content.0.thinking.signature: Field required");
    }

    #[test]
    fn a_turn_in_progress_begins_with_thinking_where_that_is_enabled() {
        let messages = |first: Value| {
            let turn = if first.is_null() { json!([call("a")]) } else { json!([first, call("a")]) };
            json!([user(json!("x")), assistant(turn), user(json!([result("a")]))])
        };
        let refused = |messages: &Value| {
            begins_with_thinking(list(messages)).err().map(|complaint| complaint.message).unwrap_or_default()
        };
        let thought = json!({ "type": "thinking", "thinking": "", "signature": Seal::new("s", "k").signature("") });
        assert_eq!(refused(&messages(thought.clone())), "");
        let message = refused(&messages(Value::Null));
        assert!(message.starts_with("messages.1.content.0.type: Expected `thinking`"), "{message}");
        let mut several = messages(thought);
        let more = [assistant(json!([call("b")])), user(json!([result("b")]))];
        several.as_array_mut().expect("messages").extend(more);
        assert_eq!(refused(&several), "", "it thinks once, before its first call");
        several[1]["content"].as_array_mut().expect("blocks").remove(0);
        assert!(refused(&several).starts_with("messages.1.content.0.type: Expected `thinking`"));
        let over = json!([user(json!("x")), assistant(json!("y")), user(json!("z"))]);
        assert_eq!(refused(&over), "");
    }
}
