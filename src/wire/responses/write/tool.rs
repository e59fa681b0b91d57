//! Tools, and the choice among them.
//!
//! Owns their form in this dialect. Refuses a choice that demands what could not
//! be written. Invariant: a tool that is left out is named.

use super::super::json_out::JsonOut;
use super::super::reading::Losses;
use crate::wire::canon::{Conversation, Json, Tool, ToolChoice, Unsayable, WebSearch};
use crate::wire::dialect::Dialect;
use crate::wire::strict_schema::is_strict;
use std::borrow::Cow;

/// Writes `tools` and `tool_choice`.
pub(super) fn write(conversation: &Conversation, out: &mut JsonOut, losses: &mut Losses) -> Result<(), Unsayable> {
    let mut written = Vec::new();
    for (place, tool) in conversation.tools.iter().enumerate() {
        if let Tool::Native { dialect, .. } = tool
            && *dialect != Dialect::Responses
        {
            losses.dropped(format_args!("tools[{place}]"));
            continue;
        }
        if written.is_empty() {
            out.key("tools").open_list();
        }
        write_tool(tool, place, out, losses);
        written.push(tool);
    }
    if !written.is_empty() {
        out.close_list();
    }
    match &conversation.tool_choice {
        None => Ok(()),
        Some(choice) => write_choice(choice, &written, out, losses),
    }
}

fn write_tool(tool: &Tool, place: usize, out: &mut JsonOut, losses: &mut Losses) {
    match tool {
        Tool::Function { name, description, parameters, strict, .. } => {
            out.open().field("type", "function").field("name", name);
            if let Some(description) = description {
                out.field("description", description);
            }
            out.raw_field("parameters", &schema(parameters.as_ref()));
            // Left out it would mean true here, and a schema that is not strict be refused.
            let strict =
                self::strict(*strict == Some(true), parameters.as_ref(), &format!("tools[{place}].strict"), losses);
            out.flag("strict", strict).close();
        }
        Tool::Custom { name, description, format } => {
            out.open().field("type", "custom").field("name", name);
            if let Some(description) = description {
                out.field("description", description);
            }
            if let Some(format) = format {
                out.raw_field("format", &flat_format(format));
            }
            out.close();
        }
        Tool::WebSearch(WebSearch { native: Some((Dialect::Responses, json)), .. }) | Tool::Native { json, .. } => {
            out.raw(json.text());
        }
        Tool::WebSearch(search) => write_search(search, out, losses),
    }
}

/// `strict` as it may be written: OpenAI refuses a whole request for one that its
/// schema does not bear.
pub(super) fn strict(asked: bool, schema: Option<&Json>, field: &str, losses: &mut Losses) -> bool {
    let strict = asked && schema.is_some_and(is_strict);
    if asked && !strict {
        losses.changed(field, "false, as the schema leaves fields open");
    }
    strict
}

/// The schema with the fields that OpenAI refuses one without.
fn schema(parameters: Option<&Json>) -> Cow<'_, str> {
    const EMPTY: &str = r#"{"type":"object","properties":{}}"#;
    let Some(parameters) = parameters else { return EMPTY.into() };
    let serde_json::Value::Object(mut object) = parameters.value() else { return EMPTY.into() };
    let is_object = object.get("type").is_some_and(|kind| kind == "object");
    if is_object && object.contains_key("properties") {
        return parameters.text().into();
    }
    // One that is no object has a kind of its own, which is the target's to judge.
    object.entry("type").or_insert_with(|| "object".into());
    object.entry("properties").or_insert_with(|| serde_json::json!({}));
    serde_json::Value::Object(object).to_string().into()
}

/// Chat completions put a grammar one level deeper.
fn flat_format(format: &Json) -> String {
    let serde_json::Value::Object(mut object) = format.value() else { return format.text().to_owned() };
    let Some(serde_json::Value::Object(grammar)) = object.shift_remove("grammar") else {
        return format.text().to_owned();
    };
    object.extend(grammar);
    serde_json::Value::Object(object).to_string()
}

fn write_search(search: &WebSearch, out: &mut JsonOut, losses: &mut Losses) {
    out.open().field("type", "web_search");
    if !search.allowed_domains.is_empty() {
        out.key("filters").open().key("allowed_domains").open_list();
        for domain in &search.allowed_domains {
            out.text(domain);
        }
        out.close_list().close();
    }
    if let Some(location) = &search.user_location {
        out.raw_field("user_location", location.text());
    }
    if let Some(size) = &search.context_size {
        out.field("search_context_size", size);
    }
    out.close();
    for (name, there) in
        [("max_uses", search.max_uses.is_some()), ("blocked_domains", !search.blocked_domains.is_empty())]
    {
        if there {
            losses.dropped(format_args!("web_search.{name}"));
        }
    }
}

fn write_choice(choice: &ToolChoice, tools: &[&Tool], out: &mut JsonOut, losses: &mut Losses) -> Result<(), Unsayable> {
    let unsayable = |why: &'static str| Err(Unsayable { field: "tool_choice".to_owned(), why });
    match choice {
        // Without tools nothing is chosen.
        ToolChoice::Auto | ToolChoice::None if tools.is_empty() => {}
        ToolChoice::Auto => {
            out.field("tool_choice", "auto");
        }
        ToolChoice::None => {
            out.field("tool_choice", "none");
        }
        ToolChoice::Required if tools.is_empty() => return unsayable("no tool is left that could be called"),
        ToolChoice::Required => {
            out.field("tool_choice", "required");
        }
        ToolChoice::Named(name) => match entry(name, tools) {
            Some(kind) => {
                out.key("tool_choice").open();
                write_entry(kind, name, out);
                out.close();
            }
            None => return unsayable("the tool that must be called cannot be given to the target"),
        },
        ToolChoice::Allowed(names, must) => {
            let known: Vec<_> = names.iter().filter_map(|name| Some((entry(name, tools)?, name))).collect();
            if known.is_empty() {
                return unsayable("none of the allowed tools can be given to the target");
            }
            if known.len() < names.len() {
                losses.dropped("tool_choice.tools");
            }
            out.key("tool_choice").open().field("type", "allowed_tools");
            out.field("mode", if *must { "required" } else { "auto" }).key("tools").open_list();
            for (kind, name) in known {
                out.open();
                write_entry(kind, name, out);
                out.close();
            }
            out.close_list().close();
        }
    }
    Ok(())
}

/// The type of the tool of this name.
fn entry<'t>(name: &str, tools: &[&'t Tool]) -> Option<&'t str> {
    tools.iter().find_map(|tool| match tool {
        Tool::Function { name: own, .. } if own == name => Some("function"),
        Tool::Custom { name: own, .. } if own == name => Some("custom"),
        Tool::WebSearch(_) if name == "web_search" => Some("web_search"),
        Tool::Native { name: own, kind, .. } if own.as_deref() == Some(name) || kind == name => Some(kind.as_str()),
        _ => None,
    })
}

fn write_entry(kind: &str, name: &str, out: &mut JsonOut) {
    out.field("type", kind);
    if matches!(kind, "function" | "custom") {
        out.field("name", name);
    }
}
