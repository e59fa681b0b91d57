//! A conversation, written as a chat request.
//!
//! Owns the body for a target and the naming of what it cannot carry. Refuses to
//! fetch, decode or shorten what is carried. Invariant: what is left out or
//! altered is named, or stands below as a change that alters no meaning.
//!
//! | what | becomes | told |
//! |---|---|---|
//! | reasoning of earlier turns | the target's own field, else left out | dropped |
//! | seals of reasoning, where the field is not `reasoning_details` | left out | dropped |
//! | `top_k`; fields that only other dialects have | left out | dropped |
//! | tools and parts of a provider's own kind | left out | dropped |
//! | images and files of a tool's result | a user message behind the results | changed |
//! | texts before results in one turn; texts behind calls | stand behind; stand before | changed |
//! | a thinking budget | `reasoning_effort` | changed |
//! | an effort that the model does not take | the nearest that it takes | changed |
//! | no thinking, where that cannot be asked for | its least effort, else left out | changed, dropped |
//! | `strict` of a schema that OpenAI holds no model to | `false` | changed |
//! | a reasoning summary's kind; a search's domains and number of uses | left out | dropped |
//! | more than four stop sequences | the first four | changed |
//! | a user id of more than 64 characters | its SHA-256 | changed |
//! | `service_tier: standard_only` | `default` | changed |
//! | `metadata` without `store` | left out, since OpenAI refuses it | dropped |
//! | a text document | a text | changed |
//! | a schema's missing name | `answer` | no |
//! | quotes in citations, citations without URL | left out | dropped |
//! | a file by URL, an image by file id | | refused |
//! | a forced tool that cannot be said | | refused |
//! | cache marks | left out: the prompt is cached without them | no |
//! | `developer`, where the target has no such role | `system` | no |
//! | a result that is an error | its text begins with `Error: ` | no |
//! | an id of a call with more than 40 characters | `call_` and its hash, in call and result alike | no |
//! | empty arguments | `{}` | no |
//! | a tool's schema without `type` or `properties` | with them, since OpenAI refuses it | no |
//! | `tool_choice` and `parallel_tool_calls` without tools, `store: false` | left out | no |
//! | ids of reasoning | left out outside of `reasoning_details` | no |
//!
//! Sources: OpenAI API reference, "Create chat completion"; its errors for the
//! limits of `user` (64), `tool_calls[].id` (40) and `stop` (4).

mod messages;
mod tools;

use super::losses::{At, Losses};
use crate::wire::canon::{Conversation, Effort, Encoded, Format, Json, Thinking, Unsayable, WriteFor};
use crate::wire::efforts::{self, Word};
use bytes::Bytes;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::num::NonZeroU32;

/// Stop sequences that OpenAI takes.
const STOPS_MAX: usize = 4;
/// Characters of `user`.
const USER_MAX: usize = 64;
/// Budgets up to this are low effort, then medium. Claude Code's three words for
/// thinking harder stand for 4,000, 10,000 and 31,999 tokens.
const LOW_TOKENS_MAX: u64 = 4_096;
const MEDIUM_TOKENS_MAX: u64 = 16_384;

/// Fields that mean the same in chat completions, from whatever dialect of
/// OpenAI's they come.
const OTHERS: [&str; 11] = [
    "audio",
    "logit_bias",
    "logprobs",
    "modalities",
    "moderation",
    "n",
    "prediction",
    "prompt_cache_options",
    "prompt_cache_retention",
    "store",
    "top_logprobs",
];

/// Writes the body for a target.
///
/// # Errors
/// [`Unsayable`] where leaving something out would ask something else.
pub fn write_request(conversation: &Conversation, to: &WriteFor<'_>) -> Result<Encoded, Unsayable> {
    let mut losses = Losses::default();
    let messages = messages::write(&conversation.turns, to, &mut losses)?;
    if messages.is_empty() {
        return Err(Unsayable { field: "messages".to_owned(), why: "nothing is left that can be said there" });
    }
    let tools = tools::write(&conversation.tools, &mut losses);
    let choice = tools::choice(conversation.tool_choice.as_ref(), &tools, &mut losses)?;
    let mut body = Body::default();
    body.put("model", to.model);
    body.put("messages", &messages);
    if !tools.list.is_empty() {
        body.put("tools", &tools.list);
        body.maybe("parallel_tool_calls", conversation.parallel_calls.as_ref());
    }
    body.maybe("tool_choice", choice.as_ref());
    body.maybe("web_search_options", tools.search.as_ref());
    let format = conversation.format.as_ref().map(|format| ResponseFormat::of(format, &mut losses));
    body.maybe("response_format", format.as_ref());
    body.maybe("max_completion_tokens", conversation.output_tokens_max.as_ref());
    put_sampling(&mut body, conversation, &mut losses);
    if let Some(effort) = effort(conversation.thinking.as_ref(), to, &mut losses) {
        body.put("reasoning_effort", effort);
    }
    body.maybe("verbosity", conversation.verbosity.as_ref());
    put_identity(&mut body, conversation, &mut losses);
    put_others(&mut body, conversation, &mut losses);
    if to.stream {
        body.put("stream", &true);
        if to.ask_usage {
            body.put("stream_options", &serde_json::json!({"include_usage": true}));
        }
    }
    Ok(Encoded { body: body.finish(), losses: losses.finish() })
}

fn put_sampling(body: &mut Body, conversation: &Conversation, losses: &mut Losses) {
    let sampling = &conversation.sampling;
    body.maybe("temperature", sampling.temperature.as_ref());
    body.maybe("top_p", sampling.top_p.as_ref());
    body.maybe("seed", sampling.seed.as_ref());
    body.maybe("frequency_penalty", sampling.frequency_penalty.as_ref());
    body.maybe("presence_penalty", sampling.presence_penalty.as_ref());
    if sampling.top_k.is_some() {
        losses.dropped("top_k");
    }
    if conversation.stop.len() > STOPS_MAX {
        losses.changed("stop", "only the first four sequences are kept");
    }
    if !conversation.stop.is_empty() {
        body.put("stop", &conversation.stop[..conversation.stop.len().min(STOPS_MAX)]);
    }
}

/// The word for `reasoning_effort`.
fn effort(thinking: Option<&Thinking>, to: &WriteFor<'_>, losses: &mut Losses) -> Option<&'static str> {
    let thinking = thinking?;
    if !to.reasoning {
        if *thinking != Thinking::default() {
            losses.dropped("reasoning_effort");
        }
        return None;
    }
    if thinking.summary.is_some() {
        losses.dropped("reasoning.summary");
    }
    let word = if thinking.wanted == Some(false) {
        efforts::none(to.model, to.reasoning_declared)
    } else if let Some(effort) = thinking.effort {
        if thinking.budget_tokens.is_some() {
            losses.dropped("thinking.budget_tokens");
        }
        efforts::word(to.model, effort)
    } else {
        // Wanted or adaptive without more words is what a reasoning target does by itself.
        let tokens = thinking.budget_tokens?;
        losses.changed("thinking.budget_tokens", "sent as reasoning_effort");
        let effort = match tokens {
            _ if tokens <= LOW_TOKENS_MAX => Effort::Low,
            _ if tokens <= MEDIUM_TOKENS_MAX => Effort::Medium,
            _ => Effort::High,
        };
        efforts::word(to.model, effort)
    };
    match word {
        Word::Same(word) => Some(word),
        Word::Nearest(word) => {
            losses.changed("reasoning_effort", "the nearest that this model takes");
            Some(word)
        }
        Word::LeftOut => {
            losses.dropped("reasoning_effort");
            None
        }
    }
}

fn put_identity(body: &mut Body, conversation: &Conversation, losses: &mut Losses) {
    if let Some(user) = &conversation.user {
        if user.chars().count() > USER_MAX {
            losses.changed("user", "longer than 64 characters, sent as its SHA-256");
            body.put("user", &hash(user));
        } else {
            body.put("user", user);
        }
    }
    body.maybe("prompt_cache_key", conversation.cache_key.as_ref());
    match conversation.service_tier.as_deref() {
        Some(tier @ ("auto" | "default" | "flex" | "scale" | "priority" | "fast")) => body.put("service_tier", tier),
        Some("standard_only") => {
            losses.changed("service_tier", "standard_only is called default there");
            body.put("service_tier", "default");
        }
        Some(_) => losses.dropped("service_tier"),
        None => {}
    }
    if let Some(metadata) = &conversation.metadata {
        if other(conversation, "store").is_some_and(|store| store.text() == "true") {
            body.put("metadata", metadata);
        } else {
            losses.dropped("metadata");
        }
    }
}

fn put_others(body: &mut Body, conversation: &Conversation, losses: &mut Losses) {
    for (name, value) in &conversation.others {
        match name.as_str() {
            // The default of chat completions, and a field that few others know.
            "store" if value.text() == "false" => {}
            // Refused without `logprobs`, which the responses dialect has no field for.
            "top_logprobs" if other(conversation, "logprobs").is_none() => losses.dropped("top_logprobs"),
            name if OTHERS.contains(&name) && is_fit(name, value.text()) => body.put(name, value),
            name => losses.dropped(At::Field(name)),
        }
    }
}

/// Of other vendors these may be anything.
fn is_fit(name: &str, json: &str) -> bool {
    match name {
        "n" => serde_json::from_str::<NonZeroU32>(json).is_ok(),
        "logprobs" | "store" => matches!(json, "true" | "false"),
        "modalities" => serde_json::from_str::<Vec<String>>(json).is_ok(),
        _ => true,
    }
}

fn other<'a>(conversation: &'a Conversation, name: &str) -> Option<&'a Json> {
    conversation.others.iter().find(|(known, _)| known == name).map(|(_, value)| value)
}

/// Lowercase hex, 64 characters.
fn hash(text: &str) -> String {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(text) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ResponseFormat<'a> {
    Text,
    JsonObject,
    JsonSchema { json_schema: Schema<'a> },
}

#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the field's name is OpenAI's")]
struct Schema<'a> {
    name: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    schema: &'a Json,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

impl<'a> ResponseFormat<'a> {
    fn of(format: &'a Format, losses: &mut Losses) -> Self {
        match format {
            Format::Text => Self::Text,
            Format::JsonObject => Self::JsonObject,
            Format::Schema { name, description, schema, strict } => Self::JsonSchema {
                json_schema: Schema {
                    // Chat completions demand one.
                    name: name.as_deref().map_or(Cow::Borrowed("answer"), Cow::Borrowed),
                    description: description.as_deref(),
                    schema,
                    strict: tools::strict(*strict, Some(schema), &At::Field("response_format"), losses),
                },
            },
        }
    }
}

/// A JSON object that is written field by field.
#[derive(Default)]
struct Body(Vec<u8>);

impl Body {
    fn put<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) {
        self.0.push(if self.0.is_empty() { b'{' } else { b',' });
        serde_json::to_writer(&mut self.0, name).expect("a string always serializes");
        self.0.push(b':');
        serde_json::to_writer(&mut self.0, value).expect("strings, numbers and JSON always serialize");
    }

    fn maybe<T: Serialize>(&mut self, name: &str, value: Option<&T>) {
        if let Some(value) = value {
            self.put(name, value);
        }
    }

    fn finish(mut self) -> Bytes {
        self.0.push(b'}');
        Bytes::from(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::round::TO;
    use super::*;
    use crate::wire::canon::{
        Cache, Call, CallResult, Part, Reasoning, Role, Seal, Source, Tool, ToolChoice, Turn, WebSearch,
    };
    use crate::wire::dialect::Dialect;
    use serde_json::{Value, json};

    fn turn(role: Role, parts: Vec<Part>) -> Turn {
        Turn { role, name: None, parts }
    }

    fn asking(parts: Vec<Part>) -> Conversation {
        Conversation { turns: vec![turn(Role::User, parts)], ..Conversation::default() }
    }

    fn write_to(conversation: &Conversation, to: &WriteFor<'_>) -> (Value, Vec<String>) {
        let written = write_request(conversation, to).expect("it can be said");
        let body = serde_json::from_slice(&written.body).expect("JSON");
        (body, written.losses.iter().map(ToString::to_string).collect())
    }

    fn write(conversation: &Conversation) -> (Value, Vec<String>) {
        write_to(conversation, &TO)
    }

    fn call(id: &str) -> Part {
        let (id, name) = (id.to_owned(), "f".to_owned());
        Part::Call(Call { id, name, arguments: String::new(), custom: false, cache: None })
    }

    fn result(id: &str, parts: Vec<Part>, is_error: bool) -> Part {
        Part::Result(CallResult { call_id: id.to_owned(), parts, is_error, custom: false, cache: None })
    }

    fn image() -> Part {
        let source = Source::Base64 { media_type: "image/png".into(), data: "aGk=".into() };
        Part::Image { source, detail: None, cache: Some(Cache { ttl: None }) }
    }

    #[test]
    fn the_plain_case_is_the_body_that_everybody_knows() {
        let written = write_request(
            &Conversation { output_tokens_max: Some(5), ..asking(vec![Part::text("hi")]) },
            &WriteFor { stream: true, ask_usage: true, ..TO },
        );
        assert_eq!(
            written.expect("it can be said").body,
            r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"max_completion_tokens":5,"stream":true,"stream_options":{"include_usage":true}}"#
        );
    }

    #[test]
    fn results_stand_right_behind_their_calls_and_their_images_behind_them() {
        let long = "x".repeat(41);
        let conversation = Conversation {
            turns: vec![
                turn(Role::Assistant, vec![Part::text("a"), call("c1")]),
                turn(Role::Assistant, vec![call(&long), Part::text("b")]),
                turn(Role::User, vec![Part::text("first"), result("c1", vec![image()], false)]),
                turn(Role::User, vec![result(&long, vec![Part::text("no"), Part::text("file")], true)]),
            ],
            ..Conversation::default()
        };
        let (body, losses) = write(&conversation);
        let id = body["messages"][0]["tool_calls"][1]["id"].as_str().expect("an id").to_owned();
        assert!(id.starts_with("call_") && id.len() == 37);
        let function = json!({"name": "f", "arguments": "{}"});
        assert_eq!(
            body["messages"],
            json!([
                {"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "tool_calls": [
                    {"type": "function", "id": "c1", "function": function}, {"type": "function", "id": id, "function": function}]},
                {"role": "tool", "tool_call_id": "c1", "content": "The result is in the next user message."},
                {"role": "tool", "tool_call_id": id, "content": [{"type": "text", "text": "Error: no"}, {"type": "text", "text": "file"}]},
                {"role": "user", "content": [{"type": "text", "text": "From the result of c1:"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]},
                {"role": "user", "content": "first"},
            ])
        );
        assert_eq!(
            losses,
            [
                "changed messages[1]: texts behind calls stand before them",
                "changed messages[2]: results stand before what was said with them",
                "changed messages[2].content[1][0]: sent in a user message behind the result",
                "changed messages[3]: results stand before what was said with them",
            ]
        );
    }

    #[test]
    fn reasoning_goes_where_the_target_reads_it_and_else_not() {
        let block = Reasoning { text: vec!["hm".into()], seal: Some(Seal::Signature("s".into())), id: None };
        let conversation = Conversation {
            turns: vec![turn(Role::Assistant, vec![Part::Reasoning(block), Part::text("a")])],
            ..Conversation::default()
        };
        let to = |field| write_to(&conversation, &WriteFor { reasoning_field: field, ..TO });
        let (body, losses) = to(None);
        assert_eq!(body["messages"], json!([{"role": "assistant", "content": "a"}]));
        assert_eq!(losses, ["dropped reasoning of earlier turns"]);
        let (body, losses) = to(Some("reasoning_content"));
        assert_eq!(body["messages"][0]["reasoning_content"], "hm");
        assert_eq!(losses, ["dropped seals of earlier reasoning"]);
        let (body, losses) = to(Some("reasoning_details"));
        assert_eq!(body["messages"][0]["reasoning_details"][0]["signature"], "s");
        assert_eq!(losses, [] as [&str; 0]);
    }

    #[test]
    fn what_is_left_out_or_altered_is_named() {
        let json = |text: &str| Json::parse(text.to_owned()).expect("JSON");
        let native = Part::Native { dialect: Dialect::Messages, kind: "container_upload".into(), json: json("{}") };
        let search = WebSearch { max_uses: Some(2), blocked_domains: vec!["x".into()], ..WebSearch::default() };
        let user = "u".repeat(65);
        let conversation = Conversation {
            tools: vec![
                Tool::Native {
                    dialect: Dialect::Messages,
                    kind: "bash_20250124".into(),
                    name: Some("bash".into()),
                    json: json("{}"),
                },
                Tool::WebSearch(search),
            ],
            tool_choice: Some(ToolChoice::Auto),
            parallel_calls: Some(false),
            stop: ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec(),
            thinking: Some(Thinking {
                budget_tokens: Some(31_999),
                summary: Some("auto".into()),
                ..Thinking::default()
            }),
            sampling: crate::wire::canon::Sampling { top_k: Some(json("5")), ..Default::default() },
            user: Some(user.clone()),
            service_tier: Some("standard_only".into()),
            metadata: Some(json("{}")),
            others: vec![
                ("mcp_servers".into(), json("[]")),
                ("store".into(), json("false")),
                ("top_logprobs".into(), json("2")),
            ],
            ..asking(vec![Part::text("x"), native])
        };
        let (body, losses) = write(&conversation);
        assert_eq!(
            body,
            json!({
                "model": "m", "messages": [{"role": "user", "content": "x"}], "web_search_options": {}, "stop": ["a", "b", "c", "d"],
                "reasoning_effort": "high", "user": hash(&user), "service_tier": "default",
            })
        );
        assert_eq!(
            losses,
            [
                "dropped messages[0].content[1] (container_upload)",
                "dropped tools[0] (bash_20250124)",
                "dropped tools[1].max_uses",
                "dropped tools[1].blocked_domains",
                "dropped top_k",
                "changed stop: only the first four sequences are kept",
                "dropped reasoning.summary",
                "changed thinking.budget_tokens: sent as reasoning_effort",
                "changed user: longer than 64 characters, sent as its SHA-256",
                "changed service_tier: standard_only is called default there",
                "dropped metadata",
                "dropped mcp_servers",
                "dropped top_logprobs",
            ]
        );
        let plain = WriteFor { reasoning: false, ..TO };
        assert!(write_to(&conversation, &plain).1.contains(&"dropped reasoning_effort".to_owned()));
    }

    #[test]
    fn efforts_and_strictness_are_what_the_target_takes() {
        let open = Json::parse(r#"{"type":"object","properties":{"a":{}}}"#.to_owned()).expect("JSON");
        let conversation = |thinking| Conversation {
            tools: vec![Tool::Function {
                name: "f".into(),
                description: None,
                parameters: Some(open.clone()),
                strict: Some(true),
                cache: None,
            }],
            format: Some(Format::Schema { name: None, description: None, schema: open.clone(), strict: Some(true) }),
            thinking: Some(thinking),
            ..asking(vec![Part::text("x")])
        };
        let (body, losses) = write(&conversation(Thinking { effort: Some(Effort::Max), ..Thinking::default() }));
        assert_eq!(body["tools"][0]["function"]["strict"], false);
        assert_eq!(body["response_format"]["json_schema"]["strict"], false);
        assert_eq!(body["reasoning_effort"], "high");
        assert_eq!(
            losses,
            [
                "changed tools[0].strict: false, as the schema leaves fields open",
                "changed response_format.strict: false, as the schema leaves fields open",
                "changed reasoning_effort: the nearest that this model takes",
            ]
        );
        let none = conversation(Thinking { wanted: Some(false), ..Thinking::default() });
        let effort = |model, reasoning_declared| {
            write_to(&none, &WriteFor { model, reasoning_declared, ..TO }).0["reasoning_effort"].clone()
        };
        assert_eq!([effort("m", true), effort("m", false)], [json!("none"), Value::Null]);
        assert_eq!([effort("gpt-5.2", false), effort("o3", true)], [json!("none"), json!("low")]);
    }

    #[test]
    fn a_developer_is_a_system_where_no_such_role_is_known() {
        let conversation =
            Conversation { turns: vec![turn(Role::Developer, vec![Part::text("d")])], ..Conversation::default() };
        assert_eq!(write(&conversation).0["messages"][0]["role"], "developer");
        let (body, losses) = write_to(&conversation, &WriteFor { developer_role: false, ..TO });
        assert_eq!((body["messages"][0]["role"].as_str(), losses.len()), (Some("system"), 0));
    }

    #[test]
    fn what_would_ask_something_else_is_refused() {
        let at_part = "messages[0].content[0]";
        let image = |source| Part::Image { source, detail: None, cache: None };
        let file = |source| Part::File { source, name: None, cache: None };
        let choosing = |choice| Conversation { tool_choice: Some(choice), ..asking(vec![Part::text("x")]) };
        for (conversation, field) in [
            (Conversation::default(), "messages"),
            (asking(vec![image(Source::FileId("f".into()))]), at_part),
            (asking(vec![file(Source::Url("u".into()))]), at_part),
            (choosing(ToolChoice::Required), "tool_choice"),
            (choosing(ToolChoice::Named("web_search".into())), "tool_choice"),
            (choosing(ToolChoice::Allowed(vec!["f".into()], true)), "tool_choice"),
        ] {
            assert_eq!(write_request(&conversation, &TO).expect_err("it cannot be said").field, field);
        }
        let named = [ToolChoice::None, ToolChoice::Auto, ToolChoice::Allowed(vec!["f".into()], false)];
        for choice in named {
            assert_eq!(write(&choosing(choice)).0.get("tool_choice"), None);
        }
    }
}
