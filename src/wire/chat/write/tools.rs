//! Tools, and what is said about their use.
//!
//! Owns `tools`, `web_search_options` and `tool_choice`. Refuses a choice that
//! names what could not be written. Invariant: no choice is written without the
//! tools that it speaks of.

use super::super::losses::{At, Losses};
use super::super::read::{nested_format, nested_place};
use crate::wire::canon::{Json, Tool, ToolChoice, Unsayable, WebSearch};
use crate::wire::dialect::Dialect;
use crate::wire::strict_schema::is_strict;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::collections::HashMap;

/// Tools as they are written.
#[derive(Default)]
pub(super) struct Tools<'a> {
    pub(super) list: Vec<Written<'a>>,
    pub(super) search: Option<Value>,
    /// The type of each tool that can be called, by its name.
    callable: HashMap<&'a str, Kind>,
}

#[derive(Clone, Copy)]
enum Kind {
    Function,
    Custom,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Written<'a> {
    Function {
        function: Function<'a>,
    },
    Custom {
        custom: Custom<'a>,
    },
    #[serde(untagged)]
    Native(&'a Json),
}

#[derive(Serialize)]
pub(super) struct Function<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Cow<'a, Json>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

#[derive(Serialize)]
pub(super) struct Custom<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Value>,
}

/// What of the tools can be said.
pub(super) fn write<'a>(tools: &'a [Tool], losses: &mut Losses) -> Tools<'a> {
    let mut out = Tools::default();
    let at = At::Field("tools");
    for (place, tool) in tools.iter().enumerate() {
        match tool {
            Tool::Function { name, description, parameters, strict, cache: _ } => {
                out.callable.insert(name, Kind::Function);
                out.list.push(Written::Function {
                    function: Function {
                        name,
                        description: description.as_deref(),
                        parameters: parameters.as_ref().and_then(schema),
                        strict: self::strict(*strict, parameters.as_ref(), &at.index(place), losses),
                    },
                });
            }
            Tool::Custom { name, description, format } => {
                out.callable.insert(name, Kind::Custom);
                let format = format.as_ref().map(nested_format);
                out.list.push(Written::Custom { custom: Custom { name, description: description.as_deref(), format } });
            }
            Tool::WebSearch(search) => out.put_search(search, &at.index(place), losses),
            Tool::Native { dialect: Dialect::Chat, json, .. } => out.list.push(Written::Native(json)),
            Tool::Native { kind, .. } => losses.dropped(format_args!("{} ({kind:.40})", at.index(place))),
        }
    }
    out
}

impl<'a> Tools<'a> {
    fn put_search(&mut self, search: &'a WebSearch, at: &At<'_>, losses: &mut Losses) {
        if let Some((Dialect::Chat, json)) = &search.native {
            match json.value() {
                Value::Object(fields) if !fields.contains_key("type") => self.search = Some(Value::Object(fields)),
                _ => self.list.push(Written::Native(json)),
            }
            return;
        }
        if self.search.is_some() {
            losses.dropped(at);
            return;
        }
        let mut options = Map::new();
        if let Some(size) = &search.context_size {
            options.insert("search_context_size".to_owned(), json!(size));
        }
        if let Some(location) = &search.user_location {
            options.insert("user_location".to_owned(), nested_place(location));
        }
        if search.max_uses.is_some() {
            losses.dropped(at.key("max_uses"));
        }
        if !search.allowed_domains.is_empty() {
            losses.dropped(at.key("allowed_domains"));
        }
        if !search.blocked_domains.is_empty() {
            losses.dropped(at.key("blocked_domains"));
        }
        self.search = Some(Value::Object(options));
    }

    fn reference<'n>(&self, name: &'n str) -> Option<Reference<'n>> {
        let name = Name { name };
        Some(match self.callable.get(name.name)? {
            Kind::Function => Reference::Function { function: name },
            Kind::Custom => Reference::Custom { custom: name },
        })
    }
}

/// `strict` as it may be written: OpenAI refuses a whole request for one that its
/// schema does not bear.
pub(super) fn strict(asked: Option<bool>, schema: Option<&Json>, at: &At<'_>, losses: &mut Losses) -> Option<bool> {
    if asked == Some(true) && !schema.is_some_and(is_strict) {
        losses.changed(at.key("strict"), "false, as the schema leaves fields open");
        return Some(false);
    }
    asked
}

/// The schema as OpenAI takes it: it refuses an object that says nothing of its
/// properties ("object schema missing properties"), which others write for a
/// tool without arguments.
fn schema(parameters: &Json) -> Option<Cow<'_, Json>> {
    let text = parameters.text();
    if text == "null" {
        return None;
    }
    let Ok(fields) = serde_json::from_str::<HashMap<Cow<'_, str>, &RawValue>>(text) else {
        return Some(Cow::Borrowed(parameters));
    };
    let kind = fields.get("type").map(|raw| raw.get());
    let missing = match (kind, fields.contains_key("properties")) {
        (None, true) => r#"{"type":"object""#,
        (None, false) => r#"{"type":"object","properties":{}"#,
        (Some(r#""object""#), false) => r#"{"properties":{}"#,
        (Some(_), _) => return Some(Cow::Borrowed(parameters)),
    };
    let rest = text.trim_start().strip_prefix('{').unwrap_or_default();
    let comma = if fields.is_empty() { "" } else { "," };
    Json::parse(format!("{missing}{comma}{rest}")).map(Cow::Owned)
}

/// `tool_choice` as it is written.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Choice<'a> {
    Word(&'static str),
    One(Reference<'a>),
    Some(AllowedTools<'a>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Reference<'a> {
    Function { function: Name<'a> },
    Custom { custom: Name<'a> },
}

#[derive(Serialize)]
pub(super) struct Name<'a> {
    name: &'a str,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum AllowedTools<'a> {
    AllowedTools { allowed_tools: Allowed<'a> },
}

#[derive(Serialize)]
pub(super) struct Allowed<'a> {
    mode: &'static str,
    tools: Vec<Reference<'a>>,
}

/// What is said about the use of those tools.
///
/// # Errors
/// [`Unsayable`] when a tool is demanded that could not be written.
pub(super) fn choice<'a>(
    choice: Option<&'a ToolChoice>,
    tools: &Tools<'_>,
    losses: &mut Losses,
) -> Result<Option<Choice<'a>>, Unsayable> {
    let refused = || Unsayable { field: "tool_choice".to_owned(), why: "it demands a tool that cannot be said there" };
    let is_none = tools.list.is_empty();
    let written = match choice {
        // Nothing to choose from: it says what is so anyway, and OpenAI refuses it.
        Some(ToolChoice::Auto | ToolChoice::None) if is_none => return Ok(None),
        None => return Ok(None),
        Some(ToolChoice::Auto) => Choice::Word("auto"),
        Some(ToolChoice::None) => Choice::Word("none"),
        Some(ToolChoice::Required) if is_none => return Err(refused()),
        Some(ToolChoice::Required) => Choice::Word("required"),
        Some(ToolChoice::Named(name)) => Choice::One(tools.reference(name).ok_or_else(refused)?),
        Some(ToolChoice::Allowed(names, must)) => {
            let allowed: Vec<Reference<'a>> = names.iter().filter_map(|name| tools.reference(name)).collect();
            if allowed.len() < names.len() {
                losses.changed("tool_choice", "tools that cannot be said there are left out");
            }
            match (allowed.is_empty(), must) {
                (true, true) => return Err(refused()),
                (true, false) if is_none => return Ok(None),
                (true, false) => Choice::Word("none"),
                (false, must) => Choice::Some(AllowedTools::AllowedTools {
                    allowed_tools: Allowed { mode: if *must { "required" } else { "auto" }, tools: allowed },
                }),
            }
        }
    };
    Ok(Some(written))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_without_properties_gets_none_and_keeps_its_bytes() {
        for (parameters, written) in [
            (r#"{"type":"object"}"#, Some(r#"{"properties":{},"type":"object"}"#)),
            ("{ }", Some(r#"{"type":"object","properties":{} }"#)),
            (r#"{"properties":{"x":1.0}}"#, Some(r#"{"type":"object","properties":{"x":1.0}}"#)),
            (r#"{"type":"object","properties":{"x":1.0}}"#, Some(r#"{"type":"object","properties":{"x":1.0}}"#)),
            (r#"{"type":"array"}"#, Some(r#"{"type":"array"}"#)),
            ("true", Some("true")),
            ("null", None),
        ] {
            let parameters = Json::parse(parameters.to_owned()).expect("JSON");
            assert_eq!(schema(&parameters).as_deref().map(Json::text), written);
        }
    }
}
