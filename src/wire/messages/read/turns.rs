//! Turns and their blocks.

use crate::wire::canon::{Cache, Call, CallResult, Citation, Json, Part, Reasoning, Role, Source, Turn};
use crate::wire::dialect::Dialect;
use crate::wire::messages::ids;
use crate::wire::messages::object::{Losses, Object, Path, list, wrong};
use crate::wire::messages::seal;
use crate::wire::request::Invalid;
use serde_json::value::RawValue;

pub(super) fn turns(raw: &RawValue, path: &Path<'_>, losses: &mut Losses) -> Result<Vec<Turn>, Invalid> {
    let messages = list(raw, path, "a list of objects, each with a role")?;
    let mut turns = Vec::with_capacity(messages.len());
    for (index, raw) in messages.into_iter().enumerate() {
        let path = Path::Index(path, index);
        let mut object = Object::read(raw, &path)?;
        let role = match object.text("role", &path)?.as_deref() {
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            // Since Claude Opus 4.8; Claude Code sends it.
            Some("system") => Role::System,
            _ => return Err(wrong(&Path::Key(&path, "role"), "`user`, `assistant` or `system`")),
        };
        let at = Path::Key(&path, "content");
        let raw = object.take("content").ok_or_else(|| wrong(&at, "a string or a list of blocks"))?;
        let parts = content(raw, &at, losses)?;
        object.name_rest(&path, losses);
        turns.push(Turn { role, name: None, parts });
    }
    Ok(turns)
}

/// A string or a list of blocks. An empty string is no part.
pub(super) fn content(raw: &RawValue, path: &Path<'_>, losses: &mut Losses) -> Result<Vec<Part>, Invalid> {
    if raw.get().starts_with('"') {
        let text: String = serde_json::from_str(raw.get()).map_err(|_| wrong(path, "a string"))?;
        return Ok(if text.is_empty() { Vec::new() } else { vec![Part::text(text)] });
    }
    let blocks = list(raw, path, "a string or a list of blocks")?;
    let mut parts = Vec::with_capacity(blocks.len());
    for (index, raw) in blocks.into_iter().enumerate() {
        let path = Path::Index(path, index);
        if is_composed(raw) {
            composed(raw, &path, &mut parts, losses)?;
        } else {
            parts.push(block(raw, &path, losses)?);
        }
    }
    Ok(parts)
}

/// A document that is a list of blocks: its title and its blocks as parts of their own.
fn composed(raw: &RawValue, path: &Path<'_>, parts: &mut Vec<Part>, losses: &mut Losses) -> Result<(), Invalid> {
    losses.changed(path, "a document of blocks became its parts");
    let mut object = Object::read(raw, path)?;
    object.take("type");
    parts.extend(object.text("title", path)?.filter(|title| !title.is_empty()).map(Part::text));
    let source = Path::Key(path, "source");
    if let Some(raw) = object.take("source") {
        let inner = Object::read(raw, &source)?.take("content");
        if let Some(raw) = inner {
            parts.extend(content(raw, &Path::Key(&source, "content"), losses)?);
        }
    }
    // Whether it is to be cited is nothing that others can be asked.
    object.take("citations");
    if let (Some(mark), Some(last)) = (cache(&mut object, path)?, parts.last_mut())
        && let Part::Text { cache, .. } | Part::Image { cache, .. } = last
    {
        *cache = Some(mark);
    }
    object.name_rest(path, losses);
    Ok(())
}

fn block(raw: &RawValue, path: &Path<'_>, losses: &mut Losses) -> Result<Part, Invalid> {
    let mut object = Object::read(raw, path)?;
    let kind = object.text("type", path)?.ok_or_else(|| wrong(&Path::Key(path, "type"), "a string"))?;
    let part = match kind.as_str() {
        "text" => text(&mut object, path)?,
        "image" => {
            let source = source(&mut object, path, losses)?;
            Part::Image { source, detail: None, cache: cache(&mut object, path)? }
        }
        "document" => document(&mut object, path, losses)?,
        "thinking" => {
            let thinking = object.text("thinking", path)?.unwrap_or_default();
            let seal = object.text("signature", path)?.and_then(|signature| seal::of_signature(&signature));
            let text = if thinking.is_empty() { Vec::new() } else { vec![thinking] };
            Part::Reasoning(Reasoning { text, seal, id: None })
        }
        "redacted_thinking" => {
            let seal = required(&mut object, "data", path)?;
            Part::Reasoning(Reasoning { text: Vec::new(), seal: Some(seal::of_redacted(&seal)), id: None })
        }
        "tool_use" => call(&mut object, path, losses)?,
        "tool_result" => result(&mut object, path, losses)?,
        "search_result" => {
            losses.changed(path, "a search result became text");
            search_result(&mut object, path, losses)?
        }
        _ => return Ok(Part::Native { dialect: Dialect::Messages, kind, json: Json::from(raw.to_owned()) }),
    };
    object.name_rest(path, losses);
    Ok(part)
}

fn required(object: &mut Object<'_>, name: &str, path: &Path<'_>) -> Result<String, Invalid> {
    object.text(name, path)?.ok_or_else(|| wrong(&Path::Key(path, name), "a string"))
}

fn cache(object: &mut Object<'_>, path: &Path<'_>) -> Result<Option<Cache>, Invalid> {
    let Some(raw) = object.take("cache_control") else { return Ok(None) };
    let path = Path::Key(path, "cache_control");
    let mut object = Object::read(raw, &path)?;
    Ok(Some(Cache { ttl: object.text("ttl", &path)? }))
}

fn text(object: &mut Object<'_>, path: &Path<'_>) -> Result<Part, Invalid> {
    let text = required(object, "text", path)?;
    let citations = match object.take("citations") {
        Some(raw) => {
            let path = Path::Key(path, "citations");
            list(raw, &path, "a list of objects")?.into_iter().map(|raw| citation(Json::from(raw.to_owned()))).collect()
        }
        None => Vec::new(),
    };
    Ok(Part::Text { text, cache: cache(object, path)?, citations })
}

/// What a citation of this dialect says to others, and itself.
pub(in crate::wire::messages) fn citation(json: Json) -> Citation {
    let value = json.value();
    let text = |name: &str| value.get(name).and_then(serde_json::Value::as_str).map(str::to_owned);
    let source = text("source").filter(|source| source.starts_with("http"));
    Citation {
        url: text("url").or(source),
        title: text("title").or_else(|| text("document_title")),
        quote: text("cited_text").filter(|quote| !quote.is_empty()),
        span: None,
        native: Some((Dialect::Messages, json)),
    }
}

fn source(object: &mut Object<'_>, path: &Path<'_>, losses: &mut Losses) -> Result<Source, Invalid> {
    let path = Path::Key(path, "source");
    let raw = object.take("source").ok_or_else(|| wrong(&path, "an object"))?;
    let mut object = Object::read(raw, &path)?;
    let source = match object.text("type", &path)?.as_deref() {
        Some("base64") => Source::Base64 {
            media_type: required(&mut object, "media_type", &path)?,
            data: required(&mut object, "data", &path)?,
        },
        Some("url") => Source::Url(required(&mut object, "url", &path)?),
        Some("file") => Source::FileId(required(&mut object, "file_id", &path)?),
        Some("text") => {
            object.take("media_type");
            Source::Text(required(&mut object, "data", &path)?)
        }
        _ => return Err(wrong(&Path::Key(&path, "type"), "`base64`, `url`, `file` or `text`")),
    };
    object.name_rest(&path, losses);
    Ok(source)
}

/// A document that is a list of blocks is more than a file.
fn is_composed(raw: &RawValue) -> bool {
    #[derive(serde::Deserialize)]
    struct Document<'a> {
        r#type: &'a str,
        #[serde(borrow)]
        source: Kind<'a>,
    }
    #[derive(serde::Deserialize)]
    struct Kind<'a> {
        r#type: &'a str,
    }
    serde_json::from_str::<Document<'_>>(raw.get())
        .is_ok_and(|document| document.r#type == "document" && document.source.r#type == "content")
}

fn document(object: &mut Object<'_>, path: &Path<'_>, losses: &mut Losses) -> Result<Part, Invalid> {
    let source = source(object, path, losses)?;
    let name = object.text("title", path)?;
    // Whether statements are to be cited from it is nothing that others can be asked;
    // switched off it is what they do anyway.
    if let Some(raw) = object.take("citations")
        && raw.get().contains("true")
    {
        losses.dropped(Path::Key(path, "citations"));
    }
    Ok(Part::File { source, name, cache: cache(object, path)? })
}

fn call(object: &mut Object<'_>, path: &Path<'_>, losses: &mut Losses) -> Result<Part, Invalid> {
    let id = required(object, "id", path)?;
    let input = object.take("input");
    // `direct` is what every call is elsewhere.
    if let Some(raw) = object.take("caller")
        && !raw.get().contains("\"direct\"")
    {
        losses.dropped(Path::Key(path, "caller"));
    }
    Ok(Part::Call(Call {
        id: ids::original(&id).into_owned(),
        name: required(object, "name", path)?,
        arguments: input.map_or_else(|| "{}".to_owned(), |raw| raw.get().to_owned()),
        custom: false,
        cache: cache(object, path)?,
    }))
}

fn result(object: &mut Object<'_>, path: &Path<'_>, losses: &mut Losses) -> Result<Part, Invalid> {
    let id = required(object, "tool_use_id", path)?;
    let parts = match object.take("content") {
        Some(raw) => content(raw, &Path::Key(path, "content"), losses)?,
        None => Vec::new(),
    };
    Ok(Part::Result(CallResult {
        call_id: ids::original(&id).into_owned(),
        parts,
        is_error: object.typed("is_error", path, "true or false")?.unwrap_or(false),
        custom: false,
        cache: cache(object, path)?,
    }))
}

/// Its words matter more than its form, which nobody else has.
fn search_result(object: &mut Object<'_>, path: &Path<'_>, losses: &mut Losses) -> Result<Part, Invalid> {
    let mut text = required(object, "title", path)?;
    text.push('\n');
    text.push_str(&required(object, "source", path)?);
    if let Some(raw) = object.take("content") {
        for part in content(raw, &Path::Key(path, "content"), losses)? {
            if let Part::Text { text: more, .. } = part {
                text.push_str("\n\n");
                text.push_str(&more);
            }
        }
    }
    object.take("citations");
    Ok(Part::Text { text, cache: cache(object, path)?, citations: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use super::*;
    use crate::wire::canon::{Loss, Seal};

    fn parts(role: &str, content: &str) -> (Vec<Part>, Vec<Loss>) {
        let body = format!(r#"{{"messages":[{{"role":"{role}","content":{content}}}]}}"#);
        let (mut conversation, losses) = read(&body).expect("a request");
        (conversation.turns.pop().expect("a turn").parts, losses)
    }

    #[test]
    fn each_block_becomes_the_part_that_means_it() {
        let (user, losses) = parts(
            "user",
            r#"[{"type":"tool_result","tool_use_id":"tl64_Y2FsbDox","content":[{"type":"text","text":"r"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA"}}],"is_error":true},
               {"type":"text","text":"hi","cache_control":{"type":"ephemeral"}},
               {"type":"document","source":{"type":"text","media_type":"text/plain","data":"d"},"title":"t","context":"c","citations":{"enabled":true}},
               {"type":"document","title":"T","source":{"type":"content","content":[{"type":"text","text":"x"},
                   {"type":"image","source":{"type":"url","url":"u"}}]},"cache_control":{"type":"ephemeral"}},
               {"type":"image","source":{"type":"file","file_id":"file_1"},"transformations":{}}]"#,
        );
        assert_eq!(
            user[..3],
            [
                Part::Result(CallResult {
                    call_id: "call:1".into(),
                    parts: vec![
                        Part::text("r"),
                        Part::Image {
                            source: Source::Base64 { media_type: "image/png".into(), data: "AA".into() },
                            detail: None,
                            cache: None
                        }
                    ],
                    is_error: true,
                    custom: false,
                    cache: None
                }),
                Part::Text { text: "hi".into(), cache: Some(Cache { ttl: None }), citations: Vec::new() },
                Part::File { source: Source::Text("d".into()), name: Some("t".into()), cache: None },
            ]
        );
        let cache = Some(Cache { ttl: None });
        let image = Part::Image { source: Source::Url("u".into()), detail: None, cache };
        assert_eq!(user[3..6], [Part::text("T"), Part::text("x"), image]);
        assert!(matches!(&user[6], Part::Image { source: Source::FileId(id), .. } if id == "file_1"));
        let named: Vec<_> = losses.iter().map(ToString::to_string).collect();
        assert_eq!(
            named,
            [
                "dropped messages[0].content[2].citations",
                "dropped messages[0].content[2].context",
                "changed messages[0].content[3]: a document of blocks became its parts",
                "dropped messages[0].content[4].transformations"
            ]
        );
        let (assistant, losses) = parts(
            "assistant",
            r#"[{"type":"thinking","thinking":"hm","signature":"sig"},{"type":"thinking","thinking":"","signature":""},
               {"type":"redacted_thinking","data":"xx"},
               {"type":"tool_use","id":"toolu_1","name":"f","input":{"n":1.50},"caller":{"type":"direct"}},
               {"type":"server_tool_use","id":"srvtoolu_1","name":"web_search","input":{}}]"#,
        );
        assert_eq!(
            assistant[..4],
            [
                Part::Reasoning(Reasoning {
                    text: vec!["hm".into()],
                    seal: Some(Seal::Signature("sig".into())),
                    id: None
                }),
                Part::Reasoning(Reasoning::default()),
                Part::Reasoning(Reasoning { text: Vec::new(), seal: Some(Seal::Redacted("xx".into())), id: None }),
                Part::Call(Call {
                    id: "toolu_1".into(),
                    name: "f".into(),
                    arguments: r#"{"n":1.5}"#.into(),
                    custom: false,
                    cache: None
                }),
            ]
        );
        assert!(matches!(&assistant[4], Part::Native { kind, .. } if kind == "server_tool_use"));
        assert_eq!(losses, []);
    }

    #[test]
    fn a_search_result_keeps_its_words() {
        let (parts, losses) = parts(
            "user",
            r#"[{"type":"search_result","source":"https://a","title":"T","content":[{"type":"text","text":"one"},{"type":"text","text":"two"}]}]"#,
        );
        assert_eq!(parts, [Part::text("T\nhttps://a\n\none\n\ntwo")]);
        assert_eq!(losses.len(), 1);
    }

    #[test]
    fn losses_without_end_are_cut_and_that_is_said() {
        let blocks: Vec<String> =
            (0..200).map(|n| format!(r#"{{"type":"text","text":"{n}","odd\u0007{n}":1}}"#)).collect();
        let (parts, losses) = parts("user", &format!("[{}]", blocks.join(",")));
        assert_eq!(parts.len(), 200);
        assert_eq!(losses.len(), 33, "32 by name");
        assert_eq!(losses[0], Loss::Dropped("messages[0].content[0].odd0".into()));
        assert_eq!(losses.last(), Some(&Loss::Dropped("and more".into())));
    }
}
