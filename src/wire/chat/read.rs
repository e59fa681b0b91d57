//! A chat request, read to the one model of conversations.
//!
//! Owns the top level of the body. Refuses wrong shapes by name, where going on
//! would misread them; values are the target's to judge. Invariant: every field
//! ends up in the conversation, in its `others`, or among the losses.
//!
//! Sources: OpenAI API reference, "Create chat completion"; for `reasoning`
//! OpenRouter's, for `thinking` LiteLLM's and Z.ai's, for `top_k` vLLM's.

mod object;
mod parts;
mod tools;
mod turns;

pub(super) use tools::{nested_format, nested_place};

use super::losses::{At, Losses};
use crate::wire::canon::{Conversation, Effort, Format, Json, Loss, Thinking, Tool, WebSearch};
use crate::wire::request::Invalid;
use object::{Object, count, flag, is_object, is_text, text, word, wrong};
use serde_json::value::RawValue;

/// Reads a body's top level; `model`, `stream` and `stream_options` are the
/// gateway's own matter.
///
/// # Errors
/// [`Invalid`] names the field that cannot be read.
pub fn read_request(fields: &[(String, Box<RawValue>)]) -> Result<(Conversation, Vec<Loss>), Invalid> {
    let mut reading = Reading::default();
    for (name, raw) in fields {
        // A field that is `null` counts as absent.
        if raw.get() != "null" {
            reading.field(name, raw)?;
        }
    }
    Ok(reading.finish())
}

#[derive(Default)]
struct Reading {
    conversation: Conversation,
    losses: Losses,
    functions: Vec<Tool>,
    search: Option<WebSearch>,
    /// `max_tokens`, which yields to `max_completion_tokens`.
    max_tokens: Option<u64>,
    /// `user`, which yields to `safety_identifier`.
    user: Option<String>,
}

impl Reading {
    fn field(&mut self, name: &str, raw: &RawValue) -> Result<(), Invalid> {
        let at = At::Field(name);
        let Self { conversation, losses, .. } = self;
        let json = || Some(Json::from(raw.to_owned()));
        match name {
            "model" | "stream" | "stream_options" => {}
            "messages" => conversation.turns = turns::read(raw, losses)?,
            "tools" => conversation.tools = tools::read(raw, losses)?,
            "functions" => self.functions = tools::read_functions(raw, losses)?,
            "web_search_options" => self.search = Some(tools::read_web_search(raw, losses)?),
            "tool_choice" | "function_call" => match tools::read_choice(raw, &at, losses)? {
                Some(choice) => conversation.tool_choice = Some(choice),
                None => conversation.others.extend(json().map(|json| (name.to_owned(), json))),
            },
            "parallel_tool_calls" => conversation.parallel_calls = Some(flag(raw, &at)?),
            "response_format" => match format(raw, &at, losses)? {
                Some(format) => conversation.format = Some(format),
                None => conversation.others.extend(json().map(|json| (name.to_owned(), json))),
            },
            "temperature" => conversation.sampling.temperature = json(),
            "top_p" => conversation.sampling.top_p = json(),
            "top_k" => conversation.sampling.top_k = json(),
            "seed" => conversation.sampling.seed = json(),
            "frequency_penalty" => conversation.sampling.frequency_penalty = json(),
            "presence_penalty" => conversation.sampling.presence_penalty = json(),
            "stop" if is_text(raw) => conversation.stop = vec![text(raw, &at)?],
            "stop" => conversation.stop = tools::words(raw, &at)?,
            "max_completion_tokens" => conversation.output_tokens_max = Some(count(raw, &at)?),
            "max_tokens" => self.max_tokens = Some(count(raw, &at)?),
            "reasoning_effort" | "reasoning" | "thinking" => return self.wishes(name, raw),
            "verbosity" => conversation.verbosity = Some(text(raw, &at)?),
            "prompt_cache_key" => conversation.cache_key = Some(text(raw, &at)?),
            "service_tier" => conversation.service_tier = Some(text(raw, &at)?),
            "metadata" => conversation.metadata = json(),
            "safety_identifier" => conversation.user = Some(text(raw, &at)?),
            "user" => self.user = Some(text(raw, &at)?),
            _ => conversation.others.extend(json().map(|json| (name.to_owned(), json))),
        }
        Ok(())
    }

    /// Wishes about reasoning, in the words of OpenAI (`reasoning_effort`),
    /// OpenRouter (`reasoning`) and Anthropic (`thinking`, which some pass on).
    fn wishes(&mut self, name: &str, raw: &RawValue) -> Result<(), Invalid> {
        let at = At::Field(name);
        let thinking = self.conversation.thinking.get_or_insert_default();
        if name == "reasoning_effort" {
            return effort(thinking, raw, &at, &mut self.losses);
        }
        if !is_object(raw) {
            return Err(wrong(&at, "an object"));
        }
        let mut object = Object::read(raw, &at)?;
        if let Some(raw) = object.take("effort") {
            effort(thinking, raw, &at.key("effort"), &mut self.losses)?;
        }
        for budget in ["max_tokens", "budget_tokens"] {
            if let Some(raw) = object.take(budget) {
                thinking.budget_tokens = Some(count(raw, &at.key(budget))?);
            }
        }
        if let Some(raw) = object.take("enabled") {
            thinking.wanted = Some(flag(raw, &at.key("enabled"))?);
        }
        match object.text("type", &at)?.as_deref() {
            Some("disabled") => thinking.wanted = Some(false),
            Some("adaptive") => (thinking.wanted, thinking.adaptive) = (Some(true), true),
            Some(_) => thinking.wanted = Some(true),
            None => {}
        }
        thinking.summary = object.text("summary", &at)?.or(thinking.summary.take());
        for key in object.rest() {
            self.losses.dropped(at.key(key));
        }
        Ok(())
    }

    fn finish(mut self) -> (Conversation, Vec<Loss>) {
        if !self.functions.is_empty() {
            // The legacy form has one call a turn.
            self.conversation.parallel_calls.get_or_insert(false);
            self.conversation.tools.extend(self.functions);
        }
        self.conversation.tools.extend(self.search.map(Tool::WebSearch));
        match (self.conversation.output_tokens_max, self.max_tokens) {
            (None, limit) => self.conversation.output_tokens_max = limit,
            (Some(limit), Some(other)) if limit != other => self.losses.dropped("max_tokens"),
            (Some(_), _) => {}
        }
        match (&self.conversation.user, self.user) {
            (None, user) => self.conversation.user = user,
            (Some(user), Some(other)) if *user != other => self.losses.dropped("user"),
            (Some(_), _) => {}
        }
        (self.conversation, self.losses.finish())
    }
}

fn effort(thinking: &mut Thinking, raw: &RawValue, at: &At<'_>, losses: &mut Losses) -> Result<(), Invalid> {
    match &*word(raw, at)? {
        "none" => thinking.wanted = Some(false),
        word => match Effort::parse(word) {
            Some(effort) => thinking.effort = Some(effort),
            None => losses.dropped(at),
        },
    }
    Ok(())
}

/// `None`: of a type that is not known here.
fn format(raw: &RawValue, at: &At<'_>, losses: &mut Losses) -> Result<Option<Format>, Invalid> {
    let mut object = Object::read(raw, at)?;
    let format = match object.required("type", at)?.as_str() {
        "text" => Format::Text,
        "json_object" => Format::JsonObject,
        "json_schema" => {
            let at = at.key("json_schema");
            let raw = object.take("json_schema").ok_or_else(|| wrong(&at, "an object with a schema"))?;
            let mut inner = Object::read(raw, &at)?;
            let schema = inner.take("schema").map(ToOwned::to_owned);
            let format = Format::Schema {
                name: inner.text("name", &at)?,
                description: inner.text("description", &at)?,
                schema: schema.map_or_else(|| Json::from(&serde_json::json!({})), Json::from),
                strict: inner.take("strict").map(|raw| flag(raw, &at.key("strict"))).transpose()?,
            };
            for key in inner.rest() {
                losses.dropped(at.key(key));
            }
            format
        }
        _ => return Ok(None),
    };
    for key in object.rest() {
        losses.dropped(at.key(key));
    }
    Ok(Some(format))
}

#[cfg(test)]
mod tests {
    use super::super::round::fields;
    use super::*;
    use crate::wire::canon::{Cache, Part, Role, Seal, Source, ToolChoice};

    fn read(body: &str) -> (Conversation, Vec<String>) {
        let (conversation, losses) = read_request(&fields(body.as_bytes())).expect("a request");
        (conversation, losses.iter().map(ToString::to_string).collect())
    }

    fn messages(messages: &str) -> (Conversation, Vec<String>) {
        read(&format!(r#"{{"model":"m","stream":true,"stream_options":{{}},"messages":{messages}}}"#))
    }

    #[test]
    fn roles_and_their_parts_are_read() {
        let (conversation, losses) = messages(
            r#"[{"role":"system","content":"s"},{"role":"developer","content":[{"type":"text","text":"d"}]},
                {"role":"user","name":"ann","content":[
                    {"type":"text","text":"look","cache_control":{"type":"ephemeral","ttl":"1h"}},
                    {"type":"image_url","image_url":{"url":"data:image/PNG;charset=x;base64,aGk=","detail":"low"}},
                    {"type":"image_url","image_url":"https://x.test/i"},
                    {"type":"input_audio","input_audio":{"data":"AA","format":"mp3"}},
                    {"type":"file","file":{"file_data":"JVBERi0=","filename":"a.pdf"}},
                    {"type":"file","file":{"file_data":"https://x.test/f"}},
                    {"type":"file","file":{"file_id":"file-1"}},
                    {"type":"video_url","video_url":{"url":"v"}}]},
                {"role":"assistant","content":"","reasoning_content":"hm","refusal":null,"annotations":[],"audio":null,
                 "tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{}"}},
                               {"id":"c2","type":"custom","custom":{"name":"g","input":"free"}},
                               {"id":"c3","function":{"name":"h","arguments":{"a":1}}}]},
                {"role":"tool","tool_call_id":"c1","content":"r1"},
                {"role":"tool","tool_call_id":"c2","name":"g","content":[{"type":"text","text":"r2"}]},
                {"role":"tool","tool_call_id":"c3","content":"r3"},
                {"role":"user","content":"go on"}]"#,
        );
        assert_eq!(losses, [] as [&str; 0]);
        let roles: Vec<Role> = conversation.turns.iter().map(|turn| turn.role).collect();
        assert_eq!(roles, [Role::System, Role::Developer, Role::User, Role::Assistant, Role::User, Role::User]);
        let user = &conversation.turns[2];
        assert_eq!(user.name.as_deref(), Some("ann"));
        assert!(matches!(&user.parts[0], Part::Text { cache: Some(Cache { ttl: Some(ttl) }), .. } if ttl == "1h"));
        let base64 = |kind: &str, data: &str| Source::Base64 { media_type: kind.into(), data: data.into() };
        let sources: Vec<Option<&Source>> = user
            .parts
            .iter()
            .map(|part| match part {
                Part::Image { source, .. } | Part::File { source, .. } => Some(source),
                _ => None,
            })
            .collect();
        assert_eq!(
            sources,
            [
                None,
                Some(&base64("image/png", "aGk=")),
                Some(&Source::Url("https://x.test/i".into())),
                None,
                Some(&base64("application/pdf", "JVBERi0=")),
                Some(&Source::Url("https://x.test/f".into())),
                Some(&Source::FileId("file-1".into())),
                None,
            ]
        );
        let assistant = &conversation.turns[3].parts;
        // The empty text beside the calls is none.
        assert!(matches!(&assistant[0], Part::Reasoning(block) if block.text == ["hm"]));
        assert!(matches!(&assistant[2], Part::Call(call) if call.custom && call.arguments == "free"));
        assert!(matches!(&assistant[3], Part::Call(call) if call.arguments == "{\"a\":1}"));
        let results: Vec<(&str, bool)> = conversation.turns[4]
            .parts
            .iter()
            .map(|part| match part {
                Part::Result(result) => (result.call_id.as_str(), result.custom),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(results, [("c1", false), ("c2", true), ("c3", false)]);
    }

    #[test]
    fn the_legacy_form_of_calls_is_read_as_the_new_one() {
        let (conversation, losses) = read(
            r#"{"messages":[{"role":"user","content":"x"},
                {"role":"assistant","content":null,"function_call":{"name":"f","arguments":"{}"}},
                {"role":"function","name":"f","content":"r"}],
                "functions":[{"name":"f","parameters":{"type":"object"}}],"function_call":{"name":"f"}}"#,
        );
        assert_eq!(losses, [] as [&str; 0]);
        let (Part::Call(call), Part::Result(result)) =
            (&conversation.turns[1].parts[0], &conversation.turns[2].parts[0])
        else {
            panic!("a call and its result")
        };
        assert_eq!(call.id, result.call_id);
        assert_eq!(conversation.parallel_calls, Some(false));
        assert_eq!(conversation.tool_choice, Some(ToolChoice::Named("f".into())));
        assert!(matches!(&conversation.tools[0], Tool::Function { name, .. } if name == "f"));
    }

    #[test]
    fn reasoning_of_any_vendor_is_read_once() {
        let reasoning = |fields: &str| {
            let (conversation, losses) = messages(&format!(r#"[{{"role":"assistant","content":"a",{fields}}}]"#));
            let blocks: Vec<_> = conversation.turns[0]
                .parts
                .iter()
                .filter_map(|part| match part {
                    Part::Reasoning(block) => Some((block.text.concat(), block.seal.clone())),
                    _ => None,
                })
                .collect();
            (blocks, losses.len())
        };
        let text = |text: &str| (text.to_owned(), None);
        let signed = |text: &str| (text.to_owned(), Some(Seal::Signature("s".into())));
        for (fields, blocks) in [
            (r#""reasoning_content":"a","reasoning":"a""#, vec![text("a")]),
            (r#""reasoning":"b""#, vec![text("b")]),
            (
                r#""reasoning":"ab","reasoning_details":[{"type":"reasoning.text","text":"b","signature":"s"}]"#,
                vec![text("a"), signed("b")],
            ),
            (
                r#""reasoning":"ab","reasoning_details":[{"type":"reasoning.text","text":"a","signature":"s"}]"#,
                vec![signed("a"), text("b")],
            ),
            (
                r#""reasoning_content":"","reasoning_details":[{"type":"reasoning.encrypted","data":"Er"}]"#,
                vec![(String::new(), Some(Seal::Redacted("Er".into())))],
            ),
        ] {
            assert_eq!(reasoning(fields), (blocks, 0), "{fields}");
        }
        let content =
            r#"[{"role":"assistant","content":[{"type":"thinking","thinking":[{"type":"text","text":"t"}]}]}]"#;
        assert!(matches!(&messages(content).0.turns[0].parts[0], Part::Reasoning(block) if block.text == ["t"]));
        assert_eq!(reasoning(r#""reasoning":"x","reasoning_details":[{"type":"reasoning.new"}]"#).1, 1);
    }

    #[test]
    fn citations_go_to_the_text_that_they_stand_in() {
        let (conversation, losses) = messages(
            r#"[{"role":"assistant","content":[{"type":"text","text":"äb"},{"type":"text","text":"cd"}],"annotations":[
                {"type":"url_citation","url_citation":{"url":"u","title":"t","start_index":2,"end_index":4}},
                {"type":"file_citation","file_citation":{}}]}]"#,
        );
        let Part::Text { citations, .. } = &conversation.turns[0].parts[1] else { panic!("a text") };
        assert_eq!((citations[0].span, citations[0].url.as_deref()), (Some((0, 2)), Some("u")));
        assert_eq!(losses, ["dropped messages[0].annotations[1]"]);
    }

    #[test]
    fn wishes_of_all_vendors_and_both_limits_are_read() {
        let with = |fields: &str| read(&format!(r#"{{"messages":[{{"role":"user","content":"x"}}],{fields}}}"#));
        let thinking = |fields: &str| with(fields).0.thinking.expect("a wish");
        assert_eq!(thinking(r#""reasoning_effort":"xhigh""#).effort, Some(Effort::XHigh));
        assert_eq!(thinking(r#""reasoning_effort":"none""#).wanted, Some(false));
        assert_eq!(thinking(r#""reasoning":{"max_tokens":9}"#).budget_tokens, Some(9));
        assert_eq!(thinking(r#""thinking":{"type":"enabled","budget_tokens":7}"#).budget_tokens, Some(7));
        assert!(thinking(r#""thinking":{"type":"adaptive"}"#).adaptive);
        assert_eq!(with(r#""reasoning_effort":"vast""#).1, ["dropped reasoning_effort"]);
        let (conversation, losses) =
            with(r#""max_tokens":5,"max_completion_tokens":9,"user":"a","safety_identifier":"b""#);
        assert_eq!((conversation.output_tokens_max, conversation.user.as_deref()), (Some(9), Some("b")));
        assert_eq!(losses, ["dropped max_tokens", "dropped user"]);
        assert_eq!(with(r#""max_tokens":5"#).0.output_tokens_max, Some(5));
        assert_eq!(with(r#""stop":"x""#).0.stop, ["x"]);
        let others = with(r#""n":1,"min_p":0.10,"tool_choice":{"type":"odd"},"seed":null"#).0.others;
        let texts: Vec<_> = others.iter().map(|(name, value)| (name.as_str(), value.text())).collect();
        assert_eq!(texts, [("min_p", "0.10"), ("n", "1"), ("tool_choice", r#"{"type":"odd"}"#)]);
    }

    #[test]
    fn what_is_not_known_is_named_by_its_place() {
        let (_, losses) = read(
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":"x","odd":1,"none":null}],"prefix":true}],
                "tools":[{"type":"function","function":{"name":"f","odd":1}}],
                "response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{},"odd":1}}}"#,
        );
        let named = [
            "dropped messages[0].content[0].odd",
            "dropped messages[0].prefix",
            "dropped response_format.json_schema.odd",
            "dropped tools[0].function.odd",
        ];
        assert_eq!(losses, named);
    }

    #[test]
    fn a_wrong_shape_is_refused_by_its_place_and_not_quoted() {
        for (body, field) in [
            (r#"{"messages":[{"role":"owner","content":"secret"}]}"#, "messages[0].role"),
            (r#"{"messages":[{"content":"secret"}]}"#, "messages[0].role"),
            (r#"{"messages":["secret"]}"#, "messages[0]"),
            (r#"{"messages":[{"role":"user","content":7}]}"#, "messages[0].content"),
            (r#"{"messages":[{"role":"user","content":[{"text":"secret"}]}]}"#, "messages[0].content[0].type"),
            (r#"{"messages":[{"role":"user","content":[{"type":"file","file":{}}]}]}"#, "messages[0].content[0].file"),
            (r#"{"messages":[{"role":"tool","content":"secret"}]}"#, "messages[0].tool_call_id"),
            (
                r#"{"messages":[{"role":"assistant","tool_calls":[{"id":"c","function":{"name":"f","arguments":3}}]}]}"#,
                "messages[0].tool_calls[0].function.arguments",
            ),
            (r#"{"messages":[],"tools":[{"type":"function"}]}"#, "tools[0].function"),
            (r#"{"messages":[],"stop":[1]}"#, "stop"),
            (r#"{"messages":[],"response_format":{"type":"json_schema"}}"#, "response_format.json_schema"),
        ] {
            let error = read_request(&fields(body.as_bytes())).expect_err(body);
            assert_eq!(error.field.as_deref(), Some(field), "{}", error.detail);
            assert!(!error.detail.contains("secret"));
        }
    }

    #[test]
    fn a_large_request_is_read_in_linear_time() {
        let took = |parts: usize| {
            let part = r#"{"type":"text","text":"x","odd":1},"#;
            let call = r#"{"id":"c","function":{"name":"f","arguments":"{}"}},"#;
            let trim = |list: String| list.trim_end_matches(',').to_owned();
            let body = format!(
                r#"{{"messages":[{{"role":"user","content":[{}]}},{{"role":"assistant","tool_calls":[{}]}},{}]}}"#,
                trim(part.repeat(parts)),
                trim(call.repeat(parts)),
                trim(r#"{"role":"tool","tool_call_id":"c","content":"r"},"#.repeat(parts)),
            );
            let fields = fields(body.as_bytes());
            let began = std::time::Instant::now();
            let (conversation, losses) = read_request(&fields).expect("a request");
            assert_eq!(conversation.turns.len(), 3);
            assert_eq!(losses.last(), Some(&Loss::Dropped("and more".to_owned())));
            began.elapsed()
        };
        // Ten times as much; each against each would take a hundred times as long.
        let (few, many) = (took(4_000), took(40_000));
        assert!(many < few * 50, "{few:?}, then {many:?}");
    }
}
