//! Tools and their choice.

use super::body::{Choice, Raw, Tool as Out, cache};
use super::schema;
use crate::wire::canon::{Conversation, Json, Part, Tool, ToolChoice, Unsayable, WebSearch};
use crate::wire::dialect::Dialect;
use crate::wire::messages::object::{Losses, Path};
use crate::wire::messages::traits::Traits;
use serde_json::{Value, json};

/// The basic search, which every model has that searches at all; later ones run
/// code between search and answer.
const WEB_SEARCH: &str = "web_search_20250305";

/// "Strict tools per request" (Claude docs, "Strict tool use").
const STRICT_MAX: usize = 20;

pub(super) struct Tools<'a> {
    pub list: Vec<Out<'a>>,
    pub choice: Option<Choice<'a>>,
    /// The model has no choice but to call.
    pub forced: bool,
}

pub(super) fn tools<'a>(
    conversation: &'a Conversation,
    traits: &Traits,
    has_calls: bool,
    losses: &mut Losses,
) -> Result<Tools<'a>, Unsayable> {
    let allowed = match &conversation.tool_choice {
        Some(ToolChoice::Allowed(names, _)) => Some(names),
        _ => None,
    };
    let mut out = Vec::with_capacity(conversation.tools.len());
    let mut names = Vec::new();
    let mut stricts = 0;
    let path = Path::Field("tools");
    for (index, tool) in conversation.tools.iter().enumerate() {
        let name = name_of(tool);
        if allowed.is_some_and(|allowed| !name.is_some_and(|name| allowed.iter().any(|one| one == name))) {
            continue;
        }
        if let Some(mut written) = write(tool, &Path::Index(&path, index), losses) {
            hold(tool, &mut written, &mut stricts, &Path::Index(&path, index), losses);
            out.push(written);
            names.extend(name);
        }
    }
    if allowed.is_some() {
        losses.changed("tool_choice", "the tools that are not allowed were left out");
    }
    let choice = choice(conversation, !out.is_empty(), &names)?;
    let forced = matches!(choice, Some(Choice::Any { .. } | Choice::Tool { .. }));
    if forced && !traits.forced_tool {
        return Err(unsayable("tool_choice", "this model cannot be made to call a tool"));
    }
    if out.is_empty() && has_calls {
        losses.changed("tools", "the tools of earlier calls were named, and none may be called");
        return Ok(Tools { list: remembered(conversation), choice: Some(Choice::None), forced: false });
    }
    Ok(Tools { list: out, choice, forced })
}

fn unsayable(field: &str, why: &'static str) -> Unsayable {
    Unsayable { field: field.to_owned(), why }
}

fn name_of(tool: &Tool) -> Option<&str> {
    match tool {
        Tool::Function { name, .. } | Tool::Custom { name, .. } => Some(name),
        Tool::WebSearch(_) => Some("web_search"),
        Tool::Native { name, .. } => name.as_deref(),
    }
}

fn choice<'a>(
    conversation: &'a Conversation,
    has_tools: bool,
    names: &[&str],
) -> Result<Option<Choice<'a>>, Unsayable> {
    let single = conversation.parallel_calls == Some(false);
    let any = || Choice::Any { disable_parallel_tool_use: single };
    let auto = || single.then_some(Choice::Auto { disable_parallel_tool_use: true });
    let choice = match &conversation.tool_choice {
        None if has_tools => auto(),
        Some(ToolChoice::Auto | ToolChoice::Allowed(_, false)) if has_tools => {
            Some(Choice::Auto { disable_parallel_tool_use: single })
        }
        Some(ToolChoice::None) if has_tools => Some(Choice::None),
        Some(ToolChoice::Required | ToolChoice::Allowed(_, true)) if has_tools => Some(any()),
        Some(ToolChoice::Named(name)) if names.contains(&name.as_str()) => {
            Some(Choice::Tool { name, disable_parallel_tool_use: single })
        }
        Some(ToolChoice::Required | ToolChoice::Named(_) | ToolChoice::Allowed(_, true)) => {
            return Err(unsayable("tool_choice", "the tool that must be called does not exist there"));
        }
        _ => None,
    };
    Ok(choice)
}

fn write<'a>(tool: &'a Tool, path: &Path<'_>, losses: &mut Losses) -> Option<Out<'a>> {
    match tool {
        Tool::Function { name, description, parameters, strict, cache: mark } => Some(Out::Function {
            name,
            description: description.as_deref(),
            input_schema: schema(parameters.as_ref()),
            strict: *strict == Some(true),
            cache_control: cache(mark.as_ref()),
        }),
        Tool::Custom { name, description, format } => {
            losses.changed(path, "became a function with one text, `input`");
            if format.as_ref().is_some_and(|format| format.value()["type"] != "text") {
                losses.dropped(Path::Key(path, "format"));
            }
            Some(Out::Function {
                name,
                description: description.as_deref(),
                input_schema: made(&one_text()),
                strict: false,
                cache_control: None,
            })
        }
        Tool::WebSearch(search) => Some(web_search(search, path, losses)),
        Tool::Native { dialect: Dialect::Messages, json, .. } => Some(Out::Native(json)),
        Tool::Native { .. } => {
            losses.dropped(path);
            None
        }
    }
}

/// Lets `strict` go where the API would refuse the whole request for it.
fn hold(tool: &Tool, written: &mut Out<'_>, stricts: &mut usize, path: &Path<'_>, losses: &mut Losses) {
    let (Tool::Function { parameters, .. }, Out::Function { strict: strict @ true, .. }) = (tool, written) else {
        return;
    };
    let fits = parameters.as_ref().is_some_and(|parameters| schema::fit(parameters) == schema::Fit::AsIs);
    if fits && *stricts < STRICT_MAX {
        *stricts += 1;
    } else {
        *strict = false;
        losses.dropped(Path::Key(path, "strict"));
    }
}

fn one_text() -> Value {
    json!({"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]})
}

fn made<'a>(value: &Value) -> Raw<'a> {
    Raw::Made(Json::from(value))
}

/// The API demands an object with a `type`; others take less.
fn schema(parameters: Option<&Json>) -> Raw<'_> {
    #[derive(serde::Deserialize)]
    struct Typed {
        #[serde(rename = "type")]
        _type: serde::de::IgnoredAny,
    }
    let Some(parameters) = parameters else { return made(&json!({"type": "object", "properties": {}})) };
    let text = parameters.text().trim();
    if serde_json::from_str::<Typed>(text).is_ok() {
        return Raw::Kept(parameters);
    }
    match text.strip_prefix('{').map(str::trim_start) {
        Some("}") => made(&json!({"type": "object", "properties": {}})),
        Some(rest) => Json::parse(format!("{{\"type\":\"object\",{rest}")).map_or(Raw::Kept(parameters), Raw::Made),
        // `true`, or no schema at all: the target's to judge.
        None => Raw::Kept(parameters),
    }
}

fn web_search<'a>(search: &'a WebSearch, path: &Path<'_>, losses: &mut Losses) -> Out<'a> {
    if let Some((Dialect::Messages, json)) = &search.native {
        return Out::Native(json);
    }
    if search.context_size.is_some() {
        losses.dropped(Path::Key(path, "search_context_size"));
    }
    // "Cannot be used alongside": what is allowed says more than what is not.
    let both = !search.allowed_domains.is_empty() && !search.blocked_domains.is_empty();
    if both {
        losses.dropped(Path::Key(path, "blocked_domains"));
    }
    Out::WebSearch {
        r#type: WEB_SEARCH,
        name: "web_search",
        max_uses: search.max_uses,
        allowed_domains: &search.allowed_domains,
        blocked_domains: if both { &[] } else { &search.blocked_domains },
        user_location: search.user_location.as_ref(),
    }
}

/// The tools of calls that stand in the history: "Requests which include
/// `tool_use` or `tool_result` blocks must define tools" (the API's own 400).
fn remembered(conversation: &Conversation) -> Vec<Out<'_>> {
    let mut names: Vec<&str> = Vec::new();
    let calls = conversation.turns.iter().flat_map(|turn| &turn.parts).filter_map(|part| match part {
        Part::Call(call) => Some(call.name.as_str()),
        _ => None,
    });
    let mut seen = std::collections::HashSet::new();
    names.extend(calls.filter(|name| seen.insert(*name)));
    if names.is_empty() {
        names.push("earlier");
    }
    let out = |name| Out::Function {
        name,
        description: None,
        input_schema: made(&json!({"type": "object"})),
        strict: false,
        cache_control: None,
    };
    names.into_iter().map(out).collect()
}
