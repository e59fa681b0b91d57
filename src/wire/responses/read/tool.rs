//! The tools of a request, and the choice among them.
//!
//! Owns definitions at the top level, in namespaces and in items of the input.
//! Refuses to drop a tool that the client acts on itself: one that is no function
//! (`local_shell`, `shell`, `apply_patch`, `tool_search`) becomes a function of
//! that name, whose calls are written back in the client's own form. Invariant:
//! a tool that only a provider of this dialect has is kept whole, as `Native`.

use super::super::client_tools;
use super::super::names::{Kind, flat};
use super::super::reading::{At, Losses, Object, as_word, flag, is_text, list, texts, word, wrong};
use crate::wire::canon::{Json, Tool, ToolChoice, WebSearch};
use crate::wire::dialect::Dialect;
use crate::wire::request::Invalid;
use serde_json::value::RawValue;
use std::collections::HashSet;

/// Reads a list of definitions.
pub(super) fn read(raw: &RawValue, at: &At<'_>, losses: &mut Losses) -> Result<Vec<Tool>, Invalid> {
    let mut tools = Vec::new();
    for (place, raw) in list(raw, at)?.into_iter().enumerate() {
        let at = at.index(place);
        let mut object = Object::read(raw, &at)?;
        let kind = object.required("type", &at)?;
        if kind == "namespace" {
            namespace(&mut object, &at, &mut tools, losses)?;
        } else {
            tools.push(tool(&kind, object, None, raw, &at, losses)?);
        }
    }
    Ok(tools)
}

/// A namespace's tools under one flat name each; what it says of itself stands
/// before the words of its first tool.
fn namespace(object: &mut Object<'_>, at: &At<'_>, tools: &mut Vec<Tool>, losses: &mut Losses) -> Result<(), Invalid> {
    let name = object.required("name", at)?;
    let about = object.text("description", at)?.filter(|about| !about.trim().is_empty());
    let at = at.key("tools");
    let inner = object.take("tools").ok_or_else(|| wrong(&at, "a list"))?;
    let first = tools.len();
    for (place, raw) in list(inner, &at)?.into_iter().enumerate() {
        let at = at.index(place);
        let mut object = Object::read(raw, &at)?;
        let kind = object.required("type", &at)?;
        tools.push(tool(&kind, object, Some(&name), raw, &at, losses)?);
    }
    let words = tools.get_mut(first).and_then(|tool| match tool {
        Tool::Function { description, .. } | Tool::Custom { description, .. } => Some(description),
        Tool::WebSearch(_) | Tool::Native { .. } => None,
    });
    if let (Some(words), Some(about)) = (words, about) {
        *words = Some(match words.take() {
            Some(own) => format!("({about})\n{own}"),
            None => about,
        });
    }
    Ok(())
}

fn tool(
    kind: &str,
    mut object: Object<'_>,
    namespace: Option<&str>,
    raw: &RawValue,
    at: &At<'_>,
    losses: &mut Losses,
) -> Result<Tool, Invalid> {
    let tool = match kind {
        "function" => Tool::Function {
            name: flat(namespace, &object.required("name", at)?),
            description: object.text("description", at)?,
            parameters: object.take("parameters").map(|raw| raw.to_owned().into()),
            strict: object.take("strict").map(|raw| flag(raw, &at.key("strict"))).transpose()?,
            cache: None,
        },
        "custom" => Tool::Custom {
            name: flat(namespace, &object.required("name", at)?),
            description: object.text("description", at)?,
            format: object.take("format").map(|raw| raw.to_owned().into()),
        },
        _ if kind.starts_with("web_search") => return web_search(object, raw, at),
        _ => {
            let name = object.get("name").and_then(as_word).map(std::borrow::Cow::into_owned);
            if let Some(tool) = Kind::of(kind).and_then(|kind| client_tools::definition(kind, &object)) {
                losses.changed(at, "a function, for targets of other dialects");
                return Ok(tool);
            }
            let json = Json::from(raw.to_owned());
            return Ok(Tool::Native { dialect: Dialect::Responses, kind: kind.to_owned(), name, json });
        }
    };
    if object.take("defer_loading").is_some_and(|raw| raw.get() == "true") {
        losses.changed(at.key("defer_loading"), "loaded at once");
    }
    // Who may call it, and what it returns, are hints for OpenAI's own programs.
    object.name_rest(at, &["allowed_callers", "output_schema"], losses);
    Ok(tool)
}

/// All forms of it; its fields beside these stay in `native`.
fn web_search(mut object: Object<'_>, raw: &RawValue, at: &At<'_>) -> Result<Tool, Invalid> {
    let mut domains = (Vec::new(), Vec::new());
    if let Some(raw) = object.take("filters") {
        let at = at.key("filters");
        let mut filters = Object::read(raw, &at)?;
        let mut of = |name: &str| filters.take(name).map(|raw| texts(raw, &at.key(name))).transpose();
        domains = (of("allowed_domains")?.unwrap_or_default(), of("blocked_domains")?.unwrap_or_default());
    }
    Ok(Tool::WebSearch(WebSearch {
        max_uses: None,
        allowed_domains: domains.0,
        blocked_domains: domains.1,
        user_location: object.take("user_location").map(|raw| raw.to_owned().into()),
        context_size: object.text("search_context_size", at)?,
        native: Some((Dialect::Responses, raw.to_owned().into())),
    }))
}

/// Adds the tools whose names are not there yet.
pub(super) fn add_new(tools: &mut Vec<Tool>, later: Vec<Tool>) {
    if later.is_empty() {
        return;
    }
    let mut known: HashSet<String> = tools.iter().filter_map(name).map(str::to_owned).collect();
    for tool in later {
        let is_new = name(&tool).is_none_or(|name| known.insert(name.to_owned()));
        if is_new {
            tools.push(tool);
        }
    }
}

fn name(tool: &Tool) -> Option<&str> {
    match tool {
        Tool::Function { name, .. } | Tool::Custom { name, .. } => Some(name),
        Tool::Native { name, .. } => name.as_deref(),
        Tool::WebSearch(_) => Some("web_search"),
    }
}

/// Reads `tool_choice`; `None`: one of a provider's own tools, which cannot be
/// said elsewhere.
pub(super) fn choice(raw: &RawValue, at: &At<'_>) -> Result<Option<ToolChoice>, Invalid> {
    if is_text(raw) {
        return match &*word(raw, at)? {
            "auto" => Ok(Some(ToolChoice::Auto)),
            "none" => Ok(Some(ToolChoice::None)),
            "required" => Ok(Some(ToolChoice::Required)),
            _ => Err(wrong(at, "auto, none, required or an object")),
        };
    }
    let mut object = Object::read(raw, at)?;
    let kind = object.required("type", at)?;
    if kind == "allowed_tools" {
        let must = object.text("mode", at)?.is_some_and(|mode| mode == "required");
        let at = at.key("tools");
        let tools = object.take("tools").ok_or_else(|| wrong(&at, "a list"))?;
        let mut names = Vec::new();
        for (place, raw) in list(tools, &at)?.into_iter().enumerate() {
            names.extend(named(&mut Object::read(raw, &at.index(place))?, &at.index(place))?);
        }
        return Ok(Some(ToolChoice::Allowed(names, must)));
    }
    let mut object = Object::read(raw, at)?;
    Ok(named(&mut object, at)?.map(ToolChoice::Named))
}

/// The flat name of the tool that is meant, where it has one elsewhere.
fn named(object: &mut Object<'_>, at: &At<'_>) -> Result<Option<String>, Invalid> {
    let kind = object.required("type", at)?;
    let namespace = object.text("namespace", at)?;
    Ok(match kind.as_str() {
        "function" | "custom" => Some(flat(namespace.as_deref(), &object.required("name", at)?)),
        _ if kind.starts_with("web_search") => Some("web_search".to_owned()),
        _ if Kind::of(&kind).is_some() => Some(kind),
        _ => None,
    })
}
