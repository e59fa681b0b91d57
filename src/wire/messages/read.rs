//! A body of this dialect as a conversation.
//!
//! Owns the top level; turns are read in `read/turns.rs`, tools in
//! `read/tools.rs`. Refuses to judge what a target may judge: only a shape that
//! would make us misread is an error. Invariant: every field ends in the
//! conversation, in its `others`, in a `Native` part or tool, or in a [`Loss`].
//! Source: Anthropic API reference, "Create a Message".

mod tools;
mod turns;

pub(super) use turns::citation;

use super::object::{Losses, Object, Path, wrong};
use crate::wire::canon::{Conversation, Effort, Format, Json, Loss, Role, Thinking, Turn};
use crate::wire::request::{Invalid, bad};
use serde_json::value::RawValue;

/// Reads the top-level fields of a body, in any order. `model` and `stream` are
/// skipped: they are the exchange's.
///
/// # Errors
/// [`Invalid`] names the field whose shape would make us misread the request.
pub fn read_request(fields: &[(String, Box<RawValue>)]) -> Result<(Conversation, Vec<Loss>), Invalid> {
    let mut losses = Losses::default();
    let mut conversation = Conversation::default();
    let mut system = None;
    for (key, raw) in fields {
        if raw.get() == "null" {
            continue;
        }
        let path = Path::Field(key);
        let json = || Some(Json::from(raw.clone()));
        match key.as_str() {
            "model" | "stream" | "stream_options" => {}
            "system" => system = Some(turns::content(raw, &path, &mut losses)?),
            "messages" => conversation.turns = turns::turns(raw, &path, &mut losses)?,
            "max_tokens" => conversation.output_tokens_max = Some(whole(raw, &path)?),
            "temperature" => conversation.sampling.temperature = json(),
            "top_p" => conversation.sampling.top_p = json(),
            "top_k" => conversation.sampling.top_k = json(),
            "stop_sequences" => conversation.stop = texts(raw, &path)?,
            "tools" => conversation.tools = tools::tools(raw, &path, &mut losses)?,
            "tool_choice" => tools::choice(raw, &path, &mut conversation, &mut losses)?,
            "thinking" => thinking(raw, &path, &mut conversation, &mut losses)?,
            "output_config" => output_config(raw, &path, &mut conversation, &mut losses)?,
            // Its name before it became a part of `output_config`.
            "output_format" => conversation.format = format(raw, &path, &mut losses)?,
            // What was said before is with the provider that answered it, and nowhere here.
            "thread" if goes_on(raw) => {
                let why = "goes on from a conversation that only its own provider holds: send all of it again";
                return Err(bad(&path.to_string(), why));
            }
            "metadata" => metadata(raw, &path, &mut conversation, &mut losses)?,
            "service_tier" => {
                conversation.service_tier =
                    Some(serde_json::from_str(raw.get()).map_err(|_| wrong(&path, "a string"))?);
            }
            _ => conversation.others.push((key.clone(), Json::from(raw.clone()))),
        }
    }
    if let Some(parts) = system.filter(|parts| !parts.is_empty()) {
        conversation.turns.insert(0, Turn { role: Role::System, name: None, parts });
    }
    Ok((conversation, losses.finish()))
}

/// Whether a thread holds turns that are not in the body (beta `message-threads`).
fn goes_on(thread: &RawValue) -> bool {
    #[derive(serde::Deserialize)]
    struct Thread<'a> {
        #[serde(borrow)]
        r#type: std::borrow::Cow<'a, str>,
    }
    serde_json::from_str::<Thread<'_>>(thread.get()).is_ok_and(|thread| thread.r#type == "continue")
}

fn whole(raw: &RawValue, path: &Path<'_>) -> Result<u64, Invalid> {
    serde_json::from_str(raw.get()).map_err(|_| wrong(path, "a whole number"))
}

fn texts(raw: &RawValue, path: &Path<'_>) -> Result<Vec<String>, Invalid> {
    serde_json::from_str(raw.get()).map_err(|_| wrong(path, "a list of strings"))
}

fn thinking(
    raw: &RawValue,
    path: &Path<'_>,
    conversation: &mut Conversation,
    losses: &mut Losses,
) -> Result<(), Invalid> {
    let mut object = Object::read(raw, path)?;
    let thinking = conversation.thinking.get_or_insert_default();
    let kind = object.text("type", path)?;
    match kind.as_deref() {
        Some("enabled") => thinking.wanted = Some(true),
        Some("disabled") => thinking.wanted = Some(false),
        Some("adaptive") => {
            thinking.wanted = Some(true);
            thinking.adaptive = true;
        }
        Some("between_tools") => {
            thinking.wanted = Some(false);
            losses.changed(Path::Key(path, "type"), "read as `disabled`");
        }
        Some(_) => losses.dropped(Path::Key(path, "type")),
        None => return Err(wrong(&Path::Key(path, "type"), "a string")),
    }
    thinking.budget_tokens = object.typed("budget_tokens", path, "a whole number")?;
    // Without it nothing is shown elsewhere: `omitted` is what others do unasked.
    if object.text("display", path)?.as_deref() == Some("summarized") {
        thinking.summary = Some("auto".to_owned());
    }
    object.name_rest(path, losses);
    Ok(())
}

fn output_config(
    raw: &RawValue,
    path: &Path<'_>,
    conversation: &mut Conversation,
    losses: &mut Losses,
) -> Result<(), Invalid> {
    let mut object = Object::read(raw, path)?;
    if let Some(word) = object.text("effort", path)? {
        match Effort::parse(&word) {
            Some(effort) => {
                conversation.thinking.get_or_insert_with(Thinking::default).effort = Some(effort);
            }
            None => losses.dropped(Path::Key(path, "effort")),
        }
    }
    if let Some(raw) = object.take("format") {
        conversation.format = format(raw, &Path::Key(path, "format"), losses)?;
    }
    object.name_rest(path, losses);
    Ok(())
}

fn format(raw: &RawValue, path: &Path<'_>, losses: &mut Losses) -> Result<Option<Format>, Invalid> {
    let mut object = Object::read(raw, path)?;
    let kind = object.text("type", path)?;
    let schema = object.take("schema");
    match (kind.as_deref(), schema) {
        (Some("json_schema"), Some(schema)) => {
            let format = Format::Schema {
                name: None,
                description: None,
                schema: Json::from(schema.to_owned()),
                // It is always held to here.
                strict: Some(true),
            };
            object.name_rest(path, losses);
            Ok(Some(format))
        }
        (Some("json_schema"), None) => Err(wrong(&Path::Key(path, "schema"), "a JSON schema")),
        _ => {
            losses.dropped(path);
            Ok(None)
        }
    }
}

fn metadata(
    raw: &RawValue,
    path: &Path<'_>,
    conversation: &mut Conversation,
    losses: &mut Losses,
) -> Result<(), Invalid> {
    let mut object = Object::read(raw, path)?;
    conversation.user = object.text("user_id", path)?;
    object.name_rest(path, losses);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::canon::{Cache, Part, Sampling};

    pub(super) fn read(body: &str) -> Result<(Conversation, Vec<Loss>), Invalid> {
        let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(body).expect("an object");
        let fields: Vec<_> = fields
            .iter()
            .map(|(key, value)| (key.clone(), serde_json::value::to_raw_value(value).expect("JSON")))
            .collect();
        read_request(&fields)
    }

    #[test]
    fn a_thread_that_goes_on_holds_what_nobody_else_can_read() {
        let with = |thread: &str| {
            read(&format!(r#"{{"messages":[{{"role":"user","content":"hi"}}],"max_tokens":9,"thread":{thread}}}"#))
        };
        let refused = with(r#"{"type":"continue","previous_message_id":"msg_1"}"#).expect_err("refused");
        assert_eq!(refused.field.as_deref(), Some("thread"));
        let (conversation, _) = with(r#"{"type":"create"}"#).expect("all of it is here");
        assert_eq!(conversation.others[0].0, "thread");
    }

    #[test]
    fn the_top_level_is_read_in_any_order() {
        let (conversation, losses) = read(
            r#"{"messages":[{"role":"user","content":"hi"}],"system":[{"type":"text","text":"be brief","cache_control":{"type":"ephemeral","ttl":"1h"}}],
            "model":"m","stream":true,"max_tokens":100,"temperature":0.5,"top_k":7,"stop_sequences":["END"],
            "metadata":{"user_id":"u","run":"7"},"service_tier":"standard_only","container":"c","speed":null,
            "output_config":{"effort":"xhigh","format":{"type":"json_schema","schema":{"type":"object"}},"task_budget":1},
            "thinking":{"type":"adaptive","display":"summarized"}}"#,
        )
        .expect("a request");
        assert_eq!(
            conversation,
            Conversation {
                turns: vec![
                    Turn {
                        role: Role::System,
                        name: None,
                        parts: vec![Part::Text {
                            text: "be brief".into(),
                            cache: Some(Cache { ttl: Some("1h".into()) }),
                            citations: Vec::new()
                        }]
                    },
                    Turn { role: Role::User, name: None, parts: vec![Part::text("hi")] },
                ],
                output_tokens_max: Some(100),
                sampling: Sampling {
                    temperature: Json::parse("0.5".into()),
                    top_k: Json::parse("7".into()),
                    ..Sampling::default()
                },
                stop: vec!["END".into()],
                user: Some("u".into()),
                service_tier: Some("standard_only".into()),
                thinking: Some(Thinking {
                    effort: Some(Effort::XHigh),
                    wanted: Some(true),
                    adaptive: true,
                    summary: Some("auto".into()),
                    ..Thinking::default()
                }),
                format: Some(Format::Schema {
                    name: None,
                    description: None,
                    schema: Json::parse(r#"{"type":"object"}"#.into()).expect("JSON"),
                    strict: Some(true)
                }),
                others: vec![("container".into(), Json::parse("\"c\"".into()).expect("JSON"))],
                ..Conversation::default()
            }
        );
        let dropped = |path: &str| Loss::Dropped(path.to_owned());
        assert_eq!(losses, [dropped("metadata.run"), dropped("output_config.task_budget")]);
    }

    #[test]
    fn a_wrong_shape_is_named_where_it_stands() {
        for (body, field) in [
            (r#"{"messages":"x"}"#, "messages"),
            (r#"{"messages":[7]}"#, "messages[0]"),
            (r#"{"messages":[{"role":"tool","content":"x"}]}"#, "messages[0].role"),
            (r#"{"messages":[{"role":"user"}]}"#, "messages[0].content"),
            (r#"{"messages":[{"role":"user","content":[{"text":"x"}]}]}"#, "messages[0].content[0].type"),
            (r#"{"messages":[{"role":"user","content":[{"type":"text"}]}]}"#, "messages[0].content[0].text"),
            (r#"{"messages":[{"role":"user","content":[{"type":"image"}]}]}"#, "messages[0].content[0].source"),
            (r#"{"messages":[],"max_tokens":"9"}"#, "max_tokens"),
            (r#"{"messages":[],"tools":{}}"#, "tools"),
            (r#"{"messages":[],"tools":[{"name":7}]}"#, "tools[0].name"),
            (r#"{"messages":[],"tool_choice":{"type":"tool"}}"#, "tool_choice.name"),
            (r#"{"messages":[],"thinking":{}}"#, "thinking.type"),
            (r#"{"messages":[],"system":{"text":"x"}}"#, "system"),
        ] {
            let error = read(body).expect_err(body);
            assert_eq!(error.field.as_deref(), Some(field), "{body}");
            assert!(!error.detail.contains("secret"));
        }
    }

    #[test]
    fn hostile_bodies_are_read_in_linear_time() {
        let payload = "A".repeat(16 << 20);
        let image =
            format!(r#"[{{"type":"image","source":{{"type":"base64","media_type":"image/png","data":"{payload}"}}}}]"#);
        let block = r#"{"type":"text","text":"x","odd":1},"#.repeat(100_000);
        let keys = (0..200_000).map(|n| format!(r#""k{n}":1,"#)).collect::<Vec<_>>().concat();
        let nested = format!("{}{}", r#"{"a":["#.repeat(60), "]}".repeat(60));
        for content in [
            image,
            format!("[{}]", block.trim_end_matches(',')),
            format!(r#"[{{{keys}"type":"text","text":"x"}}]"#),
            format!(r#"[{{"type":"tool_use","id":"a","name":"f","input":{nested}}},{{"type":"odd","x":{nested}}}]"#),
        ] {
            let raw = |json: String| RawValue::from_string(json).expect("JSON");
            let fields = [("messages".to_owned(), raw(format!(r#"[{{"role":"user","content":{content}}}]"#)))];
            let began = std::time::Instant::now();
            read_request(&fields).expect("a request");
            // Each against each took minutes.
            assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
        }
    }
}
