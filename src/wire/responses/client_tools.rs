//! Tools of this dialect that the client itself acts on, as functions.
//!
//! Owns `local_shell`, `shell` (in the client's own environment), `apply_patch`
//! and `tool_search` (executed by the client): their definitions as functions, and
//! their items as calls and results, both ways. Refuses those that the provider
//! runs. Invariant: the arguments of a call are the fields of its item, so that
//! what a model of another vendor writes is what the client expects. Source: OpenAI
//! API reference, "Create a response", `tools` and `input`.

use super::json_out::JsonOut;
use super::names::{Kind, Origin};
use super::reading::{At, Object, as_list, as_word};
use crate::wire::canon::{Call, CallResult, Json, Part, Tool};
use serde_json::value::RawValue;

const LOCAL_SHELL: &str = r#"{"type":"object","properties":{"command":{"type":"array","items":{"type":"string"},"description":"The program and its arguments."},"working_directory":{"type":"string"},"timeout_ms":{"type":"integer"},"env":{"type":"object","additionalProperties":{"type":"string"}}},"required":["command"]}"#;
const SHELL: &str = r#"{"type":"object","properties":{"commands":{"type":"array","items":{"type":"string"},"description":"Shell commands to run."},"timeout_ms":{"type":"integer"},"max_output_length":{"type":"integer"}},"required":["commands"]}"#;
const APPLY_PATCH: &str = r#"{"type":"object","properties":{"type":{"type":"string","enum":["create_file","update_file","delete_file"]},"path":{"type":"string"},"diff":{"type":"string","description":"A unified diff in V4A form; not for delete_file."}},"required":["type","path"]}"#;
const TOOL_SEARCH: &str = r#"{"type":"object","properties":{"query":{"type":"string"}},"required":["query"]}"#;

/// The function that stands for such a tool; `None`: the provider acts on it.
pub(super) fn definition(kind: Kind, tool: &Object<'_>) -> Option<Tool> {
    let word = |name: &str| tool.get(name).and_then(as_word).map(std::borrow::Cow::into_owned);
    let (name, about, parameters) = match kind {
        Kind::LocalShell => ("local_shell", "Runs a program on the user's machine.", LOCAL_SHELL),
        Kind::Shell if is_local(tool.get("environment")) => ("shell", "Runs shell commands.", SHELL),
        Kind::ApplyPatch => ("apply_patch", "Creates, updates or deletes one file.", APPLY_PATCH),
        Kind::ToolSearch if word("execution").is_some_and(|execution| execution == "client") => {
            ("tool_search", "Finds further tools and makes them available.", TOOL_SEARCH)
        }
        Kind::Function | Kind::Custom | Kind::Shell | Kind::ToolSearch => return None,
    };
    let own = tool.get("parameters").map(|raw| Json::from(raw.to_owned()));
    Some(Tool::Function {
        name: name.to_owned(),
        description: Some(word("description").unwrap_or_else(|| about.to_owned())),
        parameters: own.or_else(|| Json::parse(parameters.to_owned())),
        strict: None,
        cache: None,
    })
}

/// Containers are run by the provider; without an environment, or with a local
/// one, the client runs the commands.
fn is_local(environment: Option<&RawValue>) -> bool {
    let Some(raw) = environment else { return true };
    let kind = Object::read(raw, &At::Field("environment")).ok().and_then(|object| object.get("type"));
    kind.and_then(as_word).is_some_and(|kind| kind == "local")
}

/// An item that is such a call.
pub(super) fn read_call(kind: &str, item: &Object<'_>) -> Option<Call> {
    let (name, arguments) = match kind {
        "local_shell_call" => ("local_shell", item.get("action")?),
        "shell_call" if is_local(item.get("environment")) => ("shell", item.get("action")?),
        "apply_patch_call" => ("apply_patch", item.get("operation")?),
        "tool_search_call" if is_client(item) => ("tool_search", item.get("arguments")?),
        _ => return None,
    };
    // A local shell call of older models is named by its own id.
    let id = item.get("call_id").or_else(|| item.get("id")).and_then(as_word)?.into_owned();
    let arguments = arguments.get().to_owned();
    Some(Call { id, name: name.to_owned(), arguments, custom: false, cache: None })
}

/// Who searches: the client, unless the item says otherwise. A server's search
/// has no id to answer.
fn is_client(item: &Object<'_>) -> bool {
    item.get("call_id").is_some() && item.get("execution").and_then(as_word).is_none_or(|who| who == "client")
}

/// An item that answers such a call.
pub(super) fn read_result(kind: &str, item: &Object<'_>) -> Option<CallResult> {
    let field = match kind {
        "local_shell_call_output" | "shell_call_output" | "apply_patch_call_output" => "output",
        "tool_search_output" if is_client(item) => "tools",
        _ => return None,
    };
    let call_id = item.get("call_id").or_else(|| item.get("id")).and_then(as_word)?.into_owned();
    let text = match item.get(field) {
        Some(raw) if field == "tools" => format!("These tools are available now: {}", names(raw)),
        Some(raw) => as_word(raw).map_or_else(|| raw.get().to_owned(), std::borrow::Cow::into_owned),
        None => item.get("status").and_then(as_word).unwrap_or_default().into_owned(),
    };
    let is_error = item.get("status").and_then(as_word).is_some_and(|status| status == "failed");
    Some(CallResult { call_id, parts: vec![Part::text(text)], is_error, custom: false, cache: None })
}

fn names(tools: &RawValue) -> String {
    let tools = as_list(tools).unwrap_or_default();
    let mut all = Vec::new();
    for tool in tools {
        let Ok(tool) = Object::read(tool, &At::Field("tools")) else { continue };
        let name = tool.get("name").and_then(as_word);
        let inner = tool.get("tools").and_then(as_list).unwrap_or_default();
        if inner.is_empty() {
            all.extend(name.map(std::borrow::Cow::into_owned));
            continue;
        }
        let inner = inner.into_iter().filter_map(|raw| Object::read(raw, &At::Field("tools")).ok()?.get("name"));
        all.extend(inner.filter_map(as_word).map(|tool| super::names::flat(name.as_deref(), &tool)));
    }
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

/// Writes the type and the fields of the item that a call of such a tool is, but
/// for its ids and status. `arguments` that are no JSON are given as a string.
pub(super) fn write_call(out: &mut JsonOut, origin: &Origin, arguments: &str) {
    let json = if serde_json::from_str::<&RawValue>(arguments).is_ok() {
        arguments.to_owned()
    } else {
        serde_json::Value::from(arguments).to_string()
    };
    match origin.kind {
        Kind::LocalShell => out.raw_field("action", &with_type(&json, "exec", Some(("env", "{}")))),
        Kind::Shell => out.raw_field("action", &json),
        Kind::ApplyPatch => out.raw_field("operation", &json),
        Kind::ToolSearch => out.field("execution", "client").raw_field("arguments", &json),
        Kind::Function | Kind::Custom => out,
    };
}

/// The object with the fields that its kind demands and the model may have left out.
fn with_type(json: &str, kind: &str, demanded: Option<(&str, &str)>) -> String {
    let Ok(serde_json::Value::Object(mut object)) = serde_json::from_str(json) else { return json.to_owned() };
    object.entry("type").or_insert_with(|| kind.into());
    if let Some((key, value)) = demanded {
        object.entry(key).or_insert_with(|| serde_json::from_str(value).expect("written above"));
    }
    serde_json::Value::Object(object).to_string()
}

/// The type of the item that a call of such a tool is.
pub(super) const fn item_kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Function => "function_call",
        Kind::Custom => "custom_tool_call",
        Kind::ToolSearch => "tool_search_call",
        Kind::LocalShell => "local_shell_call",
        Kind::Shell => "shell_call",
        Kind::ApplyPatch => "apply_patch_call",
    }
}
