//! What a request asks for, whatever its dialect.
//!
//! Owns finding the prompt, the tools and the wishes in a body. Refuses to judge
//! it (`strict/`). Invariant: the prompt is the text of the last user message
//! that holds a person's words; messages of tool results only are skipped, and so
//! are parts that an agent's harness wraps in `<system-reminder>`.

use super::successor::Begun;
use serde_json::Value;

/// Choices of one answer at most.
pub(super) const CHOICES_MAX: usize = 16;

/// A tool that the request offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offered {
    pub name: String,
    /// Takes free text instead of JSON arguments.
    pub custom: bool,
    /// Called by the model and run by the client; false for the provider's own.
    pub callable: bool,
    /// The group of tools it is offered in; responses alone have such groups.
    pub namespace: Option<String>,
}

impl Offered {
    pub fn function(name: &str) -> Self {
        Self { name: name.to_owned(), custom: false, callable: true, namespace: None }
    }
}

/// What `tool_choice` demands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Forced {
    No,
    Any,
    Named(String),
}

/// A request, understood.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub model: String,
    /// One, but for legacy completions, which may bring several.
    pub prompts: Vec<String>,
    pub choices: usize,
    pub tools: Vec<Offered>,
    pub forced: Forced,
    pub json: bool,
    /// A web search tool is on offer.
    pub search: bool,
    /// False where the request forbids thinking.
    pub thinks: bool,
    /// Assistant turns with tool calls since the prompt.
    pub turns: usize,
    /// The beginning of the answer, where the request brings one.
    pub begun: Option<Begun>,
}

/// What one message means for the prompt.
enum Heard {
    Words(String),
    /// An assistant's turn with calls.
    Called,
    /// An assistant's words.
    Said(String),
    Other,
}

/// `POST /v1/chat/completions`.
pub(super) fn chat(body: &Value) -> Asked {
    let (prompt, turns, begun) = prompt(list(&body["messages"]).iter().map(|message| match message["role"].as_str() {
        Some("user") => user(&message["content"]),
        Some("assistant") if !list(&message["tool_calls"]).is_empty() => Heard::Called,
        Some("assistant") => Heard::Said(words(&message["content"])),
        _ => Heard::Other,
    }));
    let choice = &body["tool_choice"];
    let named = choice["function"]["name"].as_str().or(choice["custom"]["name"].as_str());
    let tools = list(&body["tools"]).iter().filter_map(|tool| {
        let custom = tool["type"] == "custom";
        let name = if custom { &tool["custom"]["name"] } else { &tool["function"]["name"] };
        name.as_str().map(|name| Offered { custom, ..Offered::function(name) })
    });
    Asked {
        prompts: vec![prompt],
        turns,
        begun,
        choices: choices(body),
        tools: tools.collect(),
        forced: forced(choice, named, "required"),
        json: json(&body["response_format"]),
        search: body["web_search_options"].is_object(),
        ..plain(body)
    }
}

/// `POST /v1/completions`: one prompt, or several with their own choices.
pub(super) fn completions(body: &Value) -> Asked {
    let prompts: Vec<String> = match &body["prompt"] {
        Value::Array(parts) if parts.iter().any(|part| part.is_string() || part.is_array()) => {
            parts.iter().take(CHOICES_MAX).map(tokens_or_text).collect()
        }
        one => vec![tokens_or_text(one)],
    };
    let choices = (choices(body) * prompts.len()).min(CHOICES_MAX);
    Asked { choices: choices - choices % prompts.len(), prompts, thinks: false, ..plain(body) }
}

/// `POST /v1/messages`.
pub(super) fn messages(body: &Value) -> Asked {
    let (prompt, turns, begun) = prompt(list(&body["messages"]).iter().map(|message| {
        let is = |kind: &str| list(&message["content"]).iter().any(|part| part["type"] == kind);
        match message["role"].as_str() {
            Some("user") => match user(&message["content"]) {
                Heard::Words(text) if text.is_empty() && is("tool_result") => Heard::Other,
                heard => heard,
            },
            Some("assistant") if is("tool_use") => Heard::Called,
            Some("assistant") => Heard::Said(words(&message["content"])),
            _ => Heard::Other,
        }
    }));
    let choice = &body["tool_choice"];
    let named = if choice["type"] == "tool" { choice["name"].as_str() } else { None };
    let tools: Vec<Offered> = list(&body["tools"]).iter().filter_map(messages_tool).collect();
    let kind = |word: &str| list(&body["tools"]).iter().any(|tool| text(&tool["type"]).starts_with(word));
    Asked {
        prompts: vec![prompt],
        turns,
        begun,
        forced: forced(&choice["type"], named, "any"),
        json: json(&body["output_config"]["format"]) || json(&body["output_format"]),
        search: kind("web_search_"),
        thinks: body["thinking"]["type"] != "disabled",
        tools,
        ..plain(body)
    }
}

/// The provider runs its own tools (`web_search_...`, `code_execution_...`); the
/// ones that clients run under Anthropic's schema (`bash_...`) are called.
fn messages_tool(tool: &Value) -> Option<Offered> {
    let kind = text(&tool["type"]);
    let own = ["web_search_", "web_fetch_", "code_execution_", "tool_search_", "advisor_", "mcp_"];
    let callable = !own.iter().any(|prefix| kind.starts_with(prefix));
    tool["name"].as_str().map(|name| Offered { callable, ..Offered::function(name) })
}

/// `POST /v1/responses`; `items` is the whole conversation, what a previous
/// response brought included.
pub(super) fn responses(body: &Value, items: &[Value]) -> Asked {
    let mut heard = Vec::new();
    for item in items {
        match item["type"].as_str() {
            None | Some("message") => match item["role"].as_str() {
                Some("user") => heard.push(user(&item["content"])),
                Some("assistant") => heard.push(Heard::Said(words(&item["content"]))),
                _ => heard.push(Heard::Other),
            },
            // Calls side by side are one turn.
            Some(kind) if is_call(kind) && matches!(heard.last(), Some(Heard::Called)) => {}
            Some(kind) if is_call(kind) => heard.push(Heard::Called),
            Some("reasoning") => {}
            Some(_) => heard.push(Heard::Other),
        }
    }
    let (prompt, turns, begun) = prompt(heard.into_iter());
    let choice = &body["tool_choice"];
    // Tools come with items as well: `additional_tools`, and what a search for tools found.
    let offers = || [body].into_iter().chain(items).flat_map(|place| list(&place["tools"]));
    let mut tools = Vec::new();
    offers().for_each(|tool| responses_tool(tool, &mut tools));
    Asked {
        prompts: vec![prompt],
        turns,
        begun,
        forced: forced(choice, choice["name"].as_str(), "required"),
        json: json(&body["text"]["format"]),
        search: offers().any(|tool| text(&tool["type"]).starts_with("web_search")),
        tools,
        ..plain(body)
    }
}

/// Items by which a model calls something that the client runs.
pub(super) fn is_call(kind: &str) -> bool {
    matches!(
        kind,
        "function_call" | "custom_tool_call" | "local_shell_call" | "shell_call" | "apply_patch_call" | "computer_call"
    )
}

/// A provider's tool has no name of its own but its type.
fn responses_tool(tool: &Value, tools: &mut Vec<Offered>) {
    let kind = text(&tool["type"]);
    if kind == "namespace" {
        for inner in list(&tool["tools"]) {
            let namespace = tool["name"].as_str().map(str::to_owned);
            let custom = inner["type"] == "custom";
            let inner = inner["name"].as_str();
            tools.extend(inner.map(|name| Offered { custom, namespace, ..Offered::function(name) }));
        }
        return;
    }
    let own = matches!(kind, "function" | "custom");
    let name = tool["name"].as_str().unwrap_or(kind);
    tools.push(Offered { custom: kind == "custom", callable: own, ..Offered::function(name) });
}

fn plain(body: &Value) -> Asked {
    Asked {
        model: text(&body["model"]).to_owned(),
        prompts: vec![String::new()],
        choices: 1,
        tools: Vec::new(),
        forced: Forced::No,
        json: false,
        search: false,
        thinks: true,
        turns: 0,
        begun: None,
    }
}

/// The last words, how many turns with calls came after them, and what was said last.
fn prompt(messages: impl Iterator<Item = Heard>) -> (String, usize, Option<Begun>) {
    let (mut prompt, mut turns, mut begun) = (String::new(), 0, None::<Begun>);
    for heard in messages {
        match heard {
            // Words that ask for the rest of what was said are nobody's prompt.
            Heard::Words(text) => {
                begun = begun.take().and_then(|said| Begun::asked(&said.text, &text));
                if begun.is_none() {
                    (prompt, turns) = (text, 0);
                }
            }
            Heard::Called => (turns, begun) = (turns + 1, None),
            Heard::Said(text) => begun = Some(Begun { text, repeat: None }),
            Heard::Other => {}
        }
    }
    (prompt, turns, begun.filter(|begun| !begun.text.is_empty()))
}

/// What is written in a turn.
fn words(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        parts => list(parts).iter().filter_map(|part| part["text"].as_str()).collect(),
    }
}

fn user(content: &Value) -> Heard {
    match content {
        Value::String(text) if is_reminder(text) => Heard::Other,
        Value::String(text) => Heard::Words(text.clone()),
        Value::Array(parts) => {
            let texts: Vec<&str> = parts.iter().filter_map(|part| part["text"].as_str()).collect();
            let words: String = texts.iter().copied().filter(|text| !is_reminder(text)).collect();
            // A message of reminders only holds nobody's words; one of images only still is the person's turn.
            if words.is_empty() && !texts.is_empty() { Heard::Other } else { Heard::Words(words) }
        }
        _ => Heard::Words(String::new()),
    }
}

fn is_reminder(text: &str) -> bool {
    let text = text.trim();
    text.starts_with("<system-reminder>") && text.ends_with("</system-reminder>")
}

fn choices(body: &Value) -> usize {
    let asked = body["n"].as_u64().unwrap_or(1);
    usize::try_from(asked).unwrap_or(CHOICES_MAX).clamp(1, CHOICES_MAX)
}

fn forced(choice: &Value, named: Option<&str>, any: &str) -> Forced {
    match named {
        Some(name) => Forced::Named(name.to_owned()),
        None if choice == any => Forced::Any,
        None => Forced::No,
    }
}

fn json(format: &Value) -> bool {
    matches!(format["type"].as_str(), Some("json_object" | "json_schema"))
}

fn tokens_or_text(prompt: &Value) -> String {
    match prompt {
        Value::String(text) => text.clone(),
        Value::Array(tokens) => tokens.iter().map(Value::to_string).collect::<Vec<_>>().join(" "),
        _ => String::new(),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_prompt_is_the_last_user_message_in_either_form() {
        let parts = json!([{ "type": "text", "text": "a" }, { "type": "image_url" }, { "type": "text", "text": "b" }]);
        let body = json!({ "messages": [
            { "role": "user", "content": "first" },
            { "role": "user", "content": parts },
            { "role": "assistant", "content": "x" },
        ] });
        assert_eq!(chat(&body).prompts, ["ab"]);
    }

    #[test]
    fn results_and_reminders_are_nobodys_words_in_any_dialect() {
        let reminder = "<system-reminder>\nBe brief.\n</system-reminder>";
        let body = json!({ "messages": [
            { "role": "user", "content": [{ "type": "text", "text": reminder }, { "type": "text", "text": "tie" }] },
            { "role": "assistant", "content": [{ "type": "tool_use", "id": "t", "name": "look", "input": {} }] },
            { "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": "t", "content": "text that counts not" },
                { "type": "text", "text": reminder },
            ] },
        ] });
        let asked = messages(&body);
        assert_eq!((asked.prompts, asked.turns), (vec!["tie".to_owned()], 1));
        let items = [
            json!({ "role": "user", "content": [{ "type": "input_text", "text": "tie" }] }),
            json!({ "type": "reasoning", "summary": [] }),
            json!({ "type": "function_call", "call_id": "a", "name": "look", "arguments": "{}" }),
            json!({ "type": "function_call", "call_id": "b", "name": "look", "arguments": "{}" }),
            json!({ "type": "function_call_output", "call_id": "a", "output": "x" }),
            json!({ "type": "function_call_output", "call_id": "b", "output": "x" }),
            json!({ "type": "custom_tool_call", "call_id": "c", "name": "raw", "input": "x" }),
        ];
        let asked = responses(&json!({}), &items);
        assert_eq!((asked.prompts, asked.turns), (vec!["tie".to_owned()], 2));
    }

    #[test]
    fn tools_have_the_names_they_are_called_by() {
        let names = |asked: Asked| asked.tools.into_iter().map(|tool| (tool.name, tool.callable)).collect::<Vec<_>>();
        let body = json!({ "tools": [
            { "type": "custom", "name": "patch" }, { "type": "web_search" },
            { "type": "namespace", "name": "mcp", "tools": [{ "type": "function", "name": "inner" }] },
        ] });
        let expected = [("patch", true), ("web_search", false), ("inner", true)];
        assert_eq!(names(responses(&body, &[])), expected.map(|(name, own)| (name.to_owned(), own)));
        let item = json!({ "type": "additional_tools", "role": "developer", "tools": body["tools"] });
        assert_eq!(names(responses(&json!({}), &[item])), expected.map(|(name, own)| (name.to_owned(), own)));
        let body = json!({ "tools": [
            { "name": "look", "input_schema": {} }, { "type": "bash_20250124", "name": "bash" },
            { "type": "web_search_20250305", "name": "web_search" },
        ], "tool_choice": { "type": "tool", "name": "bash" } });
        let asked = messages(&body);
        assert_eq!((asked.search, &asked.forced), (true, &Forced::Named("bash".to_owned())));
        let expected = [("look", true), ("bash", true), ("web_search", false)];
        assert_eq!(names(asked), expected.map(|(name, own)| (name.to_owned(), own)));
    }

    #[test]
    fn completions_may_bring_several_prompts() {
        let asked = completions(&json!({ "prompt": ["a", "b"], "n": 2 }));
        assert_eq!((asked.prompts.len(), asked.choices), (2, 4));
        assert_eq!(completions(&json!({ "prompt": [1, 2] })).prompts, ["1 2"]);
    }
}
