//! The tools of a request and what is said about their use.
//!
//! Owns `tools`, `functions`, `tool_choice`, `function_call` and
//! `web_search_options`. Refuses to judge schemas. Invariant: a tool of a kind
//! that is not known here is kept whole, as [`Tool::Native`].

use super::super::losses::{At, Losses};
use super::object::{Object, flag, is_text, list, word, wrong};
use super::parts::mark;
use crate::wire::canon::{Cache, Json, Tool, ToolChoice, WebSearch};
use crate::wire::dialect::Dialect;
use crate::wire::request::Invalid;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// Reads `tools`.
pub(super) fn read(raw: &RawValue, losses: &mut Losses) -> Result<Vec<Tool>, Invalid> {
    let at = At::Field("tools");
    let entries = list(raw, &at)?.into_iter().enumerate();
    entries.map(|(place, raw)| tool(raw, &at.index(place), losses)).collect()
}

/// Reads the legacy `functions`.
pub(super) fn read_functions(raw: &RawValue, losses: &mut Losses) -> Result<Vec<Tool>, Invalid> {
    let at = At::Field("functions");
    let entries = list(raw, &at)?.into_iter().enumerate();
    entries.map(|(place, raw)| function(Object::read(raw, &at)?, None, &at.index(place), losses)).collect()
}

fn tool(raw: &RawValue, at: &At<'_>, losses: &mut Losses) -> Result<Tool, Invalid> {
    let mut object = Object::read(raw, at)?;
    let kind = object.required("type", at)?;
    let tool = match kind.as_str() {
        "function" => {
            let cache = mark(&mut object, at, losses)?;
            let at = at.key("function");
            let raw = object.take("function").ok_or_else(|| wrong(&at, "an object with a name"))?;
            function(Object::read(raw, &at)?, cache, &at, losses)?
        }
        "custom" => {
            let at = at.key("custom");
            let raw = object.take("custom").ok_or_else(|| wrong(&at, "an object with a name"))?;
            custom(Object::read(raw, &at)?, &at, losses)?
        }
        kind if kind.starts_with("web_search") => return Ok(Tool::WebSearch(searching(object, raw, at, losses)?)),
        _ => {
            let name = object.take("name").and_then(|raw| word(raw, at).ok()).map(std::borrow::Cow::into_owned);
            return Ok(Tool::Native { dialect: Dialect::Chat, kind, name, json: Json::from(raw.to_owned()) });
        }
    };
    for key in object.rest() {
        losses.dropped(at.key(key));
    }
    Ok(tool)
}

fn function(mut object: Object<'_>, cache: Option<Cache>, at: &At<'_>, losses: &mut Losses) -> Result<Tool, Invalid> {
    let inner = mark(&mut object, at, losses)?;
    let tool = Tool::Function {
        name: object.required("name", at)?,
        description: object.text("description", at)?,
        parameters: object.take("parameters").map(|raw| Json::from(raw.to_owned())),
        strict: object.take("strict").map(|raw| flag(raw, &at.key("strict"))).transpose()?,
        cache: cache.or(inner),
    };
    for key in object.rest() {
        losses.dropped(at.key(key));
    }
    Ok(tool)
}

fn custom(mut object: Object<'_>, at: &At<'_>, losses: &mut Losses) -> Result<Tool, Invalid> {
    let tool = Tool::Custom {
        name: object.required("name", at)?,
        description: object.text("description", at)?,
        format: object.take("format").map(|raw| flat(&Json::from(raw.to_owned()))),
    };
    for key in object.rest() {
        losses.dropped(at.key(key));
    }
    Ok(tool)
}

/// A grammar in the form of the responses dialect, which is the model's:
/// `{"type","syntax","definition"}` instead of `{"type","grammar":{...}}`.
fn flat(format: &Json) -> Json {
    match format.value() {
        Value::Object(mut outer) => match outer.shift_remove("grammar") {
            Some(Value::Object(grammar)) => {
                outer.extend(grammar);
                Json::from(&Value::Object(outer))
            }
            _ => format.clone(),
        },
        _ => format.clone(),
    }
}

/// Reads `web_search_options`.
pub(super) fn read_web_search(raw: &RawValue, losses: &mut Losses) -> Result<WebSearch, Invalid> {
    let at = At::Field("web_search_options");
    searching(Object::read(raw, &at)?, raw, &at, losses)
}

fn searching(mut object: Object<'_>, raw: &RawValue, at: &At<'_>, losses: &mut Losses) -> Result<WebSearch, Invalid> {
    object.take("type");
    let mut search = WebSearch {
        context_size: object.text("search_context_size", at)?,
        native: Some((Dialect::Chat, Json::from(raw.to_owned()))),
        ..WebSearch::default()
    };
    if let Some(raw) = object.take("user_location") {
        search.user_location = Some(place(&Json::from(raw.to_owned())));
    }
    if let Some(raw) = object.take("filters") {
        let at = at.key("filters");
        let mut filters = Object::read(raw, &at)?;
        if let Some(raw) = filters.take("allowed_domains") {
            search.allowed_domains = words(raw, &at.key("allowed_domains"))?;
        }
        for key in filters.rest() {
            losses.dropped(at.key(key));
        }
    }
    for key in object.rest() {
        losses.dropped(at.key(key));
    }
    Ok(search)
}

/// `{"type":"approximate","approximate":{"city"}}` as the flat form of the others.
fn place(location: &Json) -> Json {
    match location.value() {
        Value::Object(mut outer) => match outer.shift_remove("approximate") {
            Some(Value::Object(inner)) => {
                outer.extend(inner);
                Json::from(&Value::Object(outer))
            }
            _ => location.clone(),
        },
        _ => location.clone(),
    }
}

/// The flat form as chat completions write it.
pub(in crate::wire::chat) fn nested_place(location: &Json) -> Value {
    let mut inner = match location.value() {
        Value::Object(inner) => inner,
        _ => Map::new(),
    };
    inner.shift_remove("type");
    serde_json::json!({"type": "approximate", "approximate": inner})
}

/// A grammar as chat completions write it.
pub(in crate::wire::chat) fn nested_format(format: &Json) -> Value {
    match format.value() {
        Value::Object(mut outer) if outer.contains_key("definition") => {
            let kind = outer.shift_remove("type").unwrap_or_else(|| "grammar".into());
            serde_json::json!({"type": kind, "grammar": outer})
        }
        value => value,
    }
}

/// Reads a list of strings.
pub(super) fn words(raw: &RawValue, at: &At<'_>) -> Result<Vec<String>, Invalid> {
    serde_json::from_str(raw.get()).map_err(|_| wrong(at, "a list of strings"))
}

/// Reads `tool_choice`, or the legacy `function_call`; `None`: of a form that is
/// not known here.
pub(super) fn read_choice(raw: &RawValue, at: &At<'_>, losses: &mut Losses) -> Result<Option<ToolChoice>, Invalid> {
    if is_text(raw) {
        return Ok(match &*word(raw, at)? {
            "auto" => Some(ToolChoice::Auto),
            "none" => Some(ToolChoice::None),
            // Mistral's and Anthropic's word for it.
            "required" | "any" => Some(ToolChoice::Required),
            _ => None,
        });
    }
    let mut object = Object::read(raw, at)?;
    if let Some(raw) = object.take("allowed_tools") {
        return allowed(raw, &at.key("allowed_tools"), losses).map(Some);
    }
    for field in ["function", "custom"] {
        if let Some(raw) = object.take(field) {
            let at = at.key(field);
            return Ok(Some(ToolChoice::Named(Object::read(raw, &at)?.required("name", &at)?)));
        }
    }
    Ok(object.text("name", at)?.map(ToolChoice::Named))
}

fn allowed(raw: &RawValue, at: &At<'_>, losses: &mut Losses) -> Result<ToolChoice, Invalid> {
    let mut object = Object::read(raw, at)?;
    let must = object.text("mode", at)?.is_some_and(|mode| mode == "required");
    let tools = object.take("tools").ok_or_else(|| wrong(&at.key("tools"), "a list of objects"))?;
    let at = at.key("tools");
    let mut names = Vec::new();
    for (place, raw) in list(tools, &at)?.into_iter().enumerate() {
        let at = at.index(place);
        let mut tool = Object::read(raw, &at)?;
        let inner = tool.take("function").or_else(|| tool.take("custom"));
        let name = match inner {
            Some(raw) => Object::read(raw, &at)?.text("name", &at)?,
            None => tool.text("name", &at)?,
        };
        match name {
            Some(name) => names.push(name),
            None => losses.dropped(at),
        }
    }
    Ok(ToolChoice::Allowed(names, must))
}
