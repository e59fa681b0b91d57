//! The parts of one message.
//!
//! Owns the reading of `content`: a text or a list of typed parts. Refuses to
//! decode or fetch what parts carry. Invariant: a part of a kind that is not
//! known here is kept whole, as [`Part::Native`].

use super::super::losses::{At, Losses};
use super::object::{Object, is_list, is_text, list, text, word, wrong};
use crate::wire::canon::{Cache, Json, Part, Reasoning, Source};
use crate::wire::dialect::Dialect;
use crate::wire::request::Invalid;
use serde_json::value::RawValue;

/// The type of files whose type is not said: all that chat completions take inline.
const FILE_TYPE: &str = "application/pdf";

/// Reads `content`.
pub(super) fn read(raw: &RawValue, at: &At<'_>, losses: &mut Losses) -> Result<Vec<Part>, Invalid> {
    if is_text(raw) {
        return Ok(vec![Part::text(text(raw, at)?)]);
    }
    if !is_list(raw) {
        return Err(wrong(at, "text, a list of parts or null"));
    }
    let mut parts = Vec::new();
    for (place, raw) in list(raw, at)?.into_iter().enumerate() {
        parts.push(part(raw, &at.index(place), losses)?);
    }
    Ok(parts)
}

fn part(raw: &RawValue, at: &At<'_>, losses: &mut Losses) -> Result<Part, Invalid> {
    if is_text(raw) {
        // Some servers take bare strings in the list.
        return Ok(Part::text(text(raw, at)?));
    }
    let mut object = Object::read(raw, at)?;
    let kind = object.required("type", at)?;
    let cache = mark(&mut object, at, losses)?;
    let part = match kind.as_str() {
        "text" => Part::Text { text: object.required("text", at)?, cache, citations: Vec::new() },
        "image_url" => image(&mut object, cache, at, losses)?,
        "input_audio" => audio(&mut object, at, losses)?,
        "file" => file(&mut object, cache, at, losses)?,
        "refusal" => Part::Refusal(object.required("refusal", at)?),
        "thinking" => Part::Reasoning(Reasoning { text: thinking(&mut object, at)?, ..Reasoning::default() }),
        _ => return Ok(Part::Native { dialect: Dialect::Chat, kind, json: Json::from(raw.to_owned()) }),
    };
    for key in object.rest() {
        losses.dropped(at.key(key));
    }
    Ok(part)
}

/// A mark after which the prompt may be cached: `cache_control` as OpenRouter and
/// LiteLLM pass it on, or OpenAI's `prompt_cache_breakpoint`.
pub(super) fn mark(object: &mut Object<'_>, at: &At<'_>, losses: &mut Losses) -> Result<Option<Cache>, Invalid> {
    let mut cache = None;
    if let Some(raw) = object.take("prompt_cache_breakpoint") {
        let ttl = Object::read(raw, &at.key("prompt_cache_breakpoint"))?.text("ttl", at)?;
        if ttl.is_some() {
            losses.changed(at.key("prompt_cache_breakpoint").key("ttl"), "an hour, the longest that others have");
        }
        cache = Some(Cache { ttl: ttl.map(|_| "1h".to_owned()) });
    }
    if let Some(raw) = object.take("cache_control") {
        let ttl = Object::read(raw, &at.key("cache_control"))?.text("ttl", at)?;
        cache = Some(Cache { ttl });
    }
    Ok(cache)
}

fn image(object: &mut Object<'_>, cache: Option<Cache>, at: &At<'_>, losses: &mut Losses) -> Result<Part, Invalid> {
    let at = at.key("image_url");
    let raw = object.take("image_url").ok_or_else(|| wrong(&at, "an object with a url"))?;
    if is_text(raw) {
        return Ok(Part::Image { source: source(&word(raw, &at)?), detail: None, cache });
    }
    let mut inner = Object::read(raw, &at)?;
    let url = inner.take("url").ok_or_else(|| wrong(&at.key("url"), "a string"))?;
    let source = source(&word(url, &at.key("url"))?);
    let detail = inner.text("detail", &at)?;
    for key in inner.rest() {
        losses.dropped(at.key(key));
    }
    Ok(Part::Image { source, detail, cache })
}

fn audio(object: &mut Object<'_>, at: &At<'_>, losses: &mut Losses) -> Result<Part, Invalid> {
    let at = at.key("input_audio");
    let raw = object.take("input_audio").ok_or_else(|| wrong(&at, "an object with data and format"))?;
    let mut inner = Object::read(raw, &at)?;
    let part = Part::Audio { data: inner.required("data", &at)?, format: inner.required("format", &at)? };
    for key in inner.rest() {
        losses.dropped(at.key(key));
    }
    Ok(part)
}

fn file(object: &mut Object<'_>, cache: Option<Cache>, at: &At<'_>, losses: &mut Losses) -> Result<Part, Invalid> {
    let at = at.key("file");
    let raw = object.take("file").ok_or_else(|| wrong(&at, "an object with file_data or file_id"))?;
    let mut inner = Object::read(raw, &at)?;
    let source = match (inner.take("file_data"), inner.text("file_id", &at)?) {
        (Some(raw), id) => {
            if id.is_some() {
                losses.dropped(at.key("file_id"));
            }
            match source(&word(raw, &at.key("file_data"))?) {
                // OpenAI takes the bare base64 as well; OpenRouter takes a URL.
                Source::Url(data) if !data.contains(':') => Source::Base64 { media_type: FILE_TYPE.to_owned(), data },
                source => source,
            }
        }
        (None, Some(id)) => Source::FileId(id),
        (None, None) => return Err(wrong(&at, "an object with file_data or file_id")),
    };
    let name = inner.text("filename", &at)?;
    for key in inner.rest() {
        losses.dropped(at.key(key));
    }
    Ok(Part::File { source, name, cache })
}

/// Mistral's reasoning: `thinking` is a text or a list of text parts.
fn thinking(object: &mut Object<'_>, at: &At<'_>) -> Result<Vec<String>, Invalid> {
    let at = at.key("thinking");
    let raw = object.take("thinking").ok_or_else(|| wrong(&at, "text or a list of texts"))?;
    if is_text(raw) {
        return Ok(vec![text(raw, &at)?]);
    }
    let mut texts = Vec::new();
    for (place, raw) in list(raw, &at)?.into_iter().enumerate() {
        let at = at.index(place);
        texts.push(Object::read(raw, &at)?.required("text", &at)?);
    }
    Ok(texts)
}

/// What an URL points at: itself, or what a `data:` URL (RFC 2397) carries in base64.
fn source(url: &str) -> Source {
    let carried = url.strip_prefix("data:").and_then(|rest| rest.split_once(','));
    match carried.and_then(|(head, data)| Some((head.strip_suffix(";base64")?, data))) {
        Some((head, data)) => {
            let media_type = head.split(';').next().unwrap_or_default();
            Source::Base64 { media_type: media_type.to_ascii_lowercase(), data: data.to_owned() }
        }
        None => Source::Url(url.to_owned()),
    }
}
