//! The parts of a message, and of a call's output.
//!
//! Owns the reading of `content`: a text or a list of typed parts. Refuses to
//! decode or fetch what parts carry. Invariant: a part of a kind that is not
//! known here is kept whole, as [`Part::Native`].

use super::super::reading::{At, Losses, Object, as_list, as_word, is_list, is_text, list, text, word, wrong};
use crate::wire::canon::{Cache, Citation, Json, Part, Source};
use crate::wire::dialect::Dialect;
use crate::wire::request::Invalid;
use serde_json::value::RawValue;

/// The type of inline files that do not say theirs (OpenAI guide "File inputs").
const FILE_TYPE: &str = "application/pdf";

/// Reads `content`, or the `output` of a call.
pub(super) fn read(raw: &RawValue, at: &At<'_>, losses: &mut Losses) -> Result<Vec<Part>, Invalid> {
    if is_text(raw) {
        return Ok(vec![Part::text(text(raw, at)?)]);
    }
    if !is_list(raw) {
        return Err(wrong(at, "text or a list of parts"));
    }
    let raws = list(raw, at)?;
    let mut parts = Vec::with_capacity(raws.len());
    for (place, raw) in raws.into_iter().enumerate() {
        parts.push(part(raw, &at.index(place), losses)?);
    }
    Ok(parts)
}

fn part(raw: &RawValue, at: &At<'_>, losses: &mut Losses) -> Result<Part, Invalid> {
    let mut object = Object::read(raw, at)?;
    let kind = object.take("type").ok_or_else(|| wrong(&at.key("type"), "a string"))?;
    let kind = word(kind, &at.key("type"))?;
    // The one mode there is, "explicit": the prompt may be cached up to here.
    let cache = object.take("prompt_cache_breakpoint").map(|_| Cache { ttl: None });
    let part = match &*kind {
        "input_text" | "output_text" | "text" | "summary_text" | "reasoning_text" => Part::Text {
            text: object.required("text", at)?,
            cache,
            citations: object.take("annotations").map_or_else(Vec::new, citations),
        },
        "refusal" => Part::Refusal(object.required("refusal", at)?),
        "input_image" => image(&mut object, cache, at)?,
        "input_file" => file(&mut object, cache, at, losses)?,
        "input_audio" => audio(&mut object, at)?,
        _ => {
            return Ok(Part::Native {
                dialect: Dialect::Responses,
                kind: kind.into_owned(),
                json: Json::from(raw.to_owned()),
            });
        }
    };
    object.name_rest(at, &["logprobs"], losses);
    Ok(part)
}

fn image(object: &mut Object<'_>, cache: Option<Cache>, at: &At<'_>) -> Result<Part, Invalid> {
    let detail = object.text("detail", at)?;
    let source = match (object.take("image_url"), object.text("file_id", at)?) {
        (Some(raw), _) if is_text(raw) => source(&word(raw, &at.key("image_url"))?),
        // As chat completions write it; some clients mix the two up.
        (Some(raw), _) => source(&Object::read(raw, &at.key("image_url"))?.required("url", at)?),
        (None, Some(id)) => Source::FileId(id),
        (None, None) => return Err(wrong(&at.key("image_url"), "a string")),
    };
    Ok(Part::Image { source, detail, cache })
}

fn file(object: &mut Object<'_>, cache: Option<Cache>, at: &At<'_>, losses: &mut Losses) -> Result<Part, Invalid> {
    let name = object.text("filename", at)?;
    if object.take("detail").is_some() {
        losses.dropped(at.key("detail"));
    }
    let source = match (object.take("file_data"), object.text("file_url", at)?, object.text("file_id", at)?) {
        (Some(raw), ..) => match source(&word(raw, &at.key("file_data"))?) {
            // The bare base64 is taken, too.
            Source::Url(data) => Source::Base64 { media_type: FILE_TYPE.to_owned(), data },
            source => source,
        },
        (None, Some(url), _) => Source::Url(url),
        (None, None, Some(id)) => Source::FileId(id),
        (None, None, None) => return Err(wrong(&at.key("file_data"), "a string, or file_url or file_id be there")),
    };
    Ok(Part::File { source, name, cache })
}

fn audio(object: &mut Object<'_>, at: &At<'_>) -> Result<Part, Invalid> {
    let at = at.key("input_audio");
    let raw = object.take("input_audio").ok_or_else(|| wrong(&at, "an object with data and format"))?;
    let mut inner = Object::read(raw, &at)?;
    Ok(Part::Audio { data: inner.required("data", &at)?, format: inner.required("format", &at)? })
}

/// A URL, or what a `data:` URL (RFC 2397) holds as base64.
fn source(url: &str) -> Source {
    let inline = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
    match inline {
        Some((media_type, data)) if media_type.len() < 256 => {
            Source::Base64 { media_type: media_type.to_owned(), data: data.to_owned() }
        }
        _ => Source::Url(url.to_owned()),
    }
}

fn citations(raw: &RawValue) -> Vec<Citation> {
    as_list(raw).unwrap_or_default().into_iter().map(citation).collect()
}

/// One annotation of a text; what only this dialect says of it stays in `native`.
pub(in super::super) fn citation(raw: &RawValue) -> Citation {
    let mut object = Object::read(raw, &At::Field("annotations")).unwrap_or_default();
    let mut text = |name: &str| object.take(name).and_then(as_word).map(std::borrow::Cow::into_owned);
    let (url, title) = (text("url"), text("title").or_else(|| text("filename")));
    let mut number = |name: &str| object.take(name).and_then(|raw| raw.get().parse::<u64>().ok());
    Citation {
        url,
        title,
        quote: None,
        span: number("start_index").zip(number("end_index")),
        native: Some((Dialect::Responses, Json::from(raw.to_owned()))),
    }
}
