//! The messages of a request as turns.
//!
//! Owns roles and what each may carry. Refuses an order of its own: turns come
//! as the messages came, results of neighbouring tool messages in one turn.
//! Invariant: every result names a call, legacy ones by an id made here.

use super::super::losses::{At, Losses};
use super::super::seal::{Detail, read_details};
use super::object::{Object, is_object, is_text, list, text, word, wrong};
use super::parts;
use crate::wire::canon::{Cache, Call, CallResult, Citation, Part, Reasoning, Role, Turn};
use crate::wire::request::Invalid;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::{HashMap, HashSet};

/// Reads `messages`.
pub(super) fn read(raw: &RawValue, losses: &mut Losses) -> Result<Vec<Turn>, Invalid> {
    let at = At::Field("messages");
    let mut reading = Reading { turns: Vec::new(), custom: HashSet::new(), legacy: HashMap::new(), in_results: false };
    for (place, raw) in list(raw, &at)?.into_iter().enumerate() {
        reading.message(raw, place, &at.index(place), losses)?;
    }
    Ok(reading.turns)
}

struct Reading {
    turns: Vec<Turn>,
    /// Ids of calls that carry free text: their results are marked, too.
    custom: HashSet<String>,
    /// Ids made for legacy calls, by the function's name.
    legacy: HashMap<String, String>,
    /// The turn that was read last holds results and may take more.
    in_results: bool,
}

impl Reading {
    fn message(&mut self, raw: &RawValue, place: usize, at: &At<'_>, losses: &mut Losses) -> Result<(), Invalid> {
        let mut object = Object::read(raw, at)?;
        let role = object.take("role").ok_or_else(|| wrong(&at.key("role"), "a string"))?;
        let role = word(role, &at.key("role"))?;
        let in_results = std::mem::replace(&mut self.in_results, matches!(&*role, "tool" | "function"));
        let turn = match &*role {
            "system" => plain(Role::System, &mut object, at, losses)?,
            "developer" => plain(Role::Developer, &mut object, at, losses)?,
            "user" => plain(Role::User, &mut object, at, losses)?,
            "assistant" => self.assistant(&mut object, place, at, losses)?,
            "tool" | "function" => {
                let result = self.result(&mut object, &role, place, at, losses)?;
                match self.turns.last_mut().filter(|_| in_results) {
                    Some(turn) => {
                        turn.parts.push(Part::Result(result));
                        None
                    }
                    None => Some(Turn { role: Role::User, name: None, parts: vec![Part::Result(result)] }),
                }
            }
            _ => return Err(wrong(&at.key("role"), "system, developer, user, assistant, tool or function")),
        };
        for key in object.rest() {
            losses.dropped(at.key(key));
        }
        self.turns.extend(turn);
        Ok(())
    }

    fn assistant(
        &mut self,
        object: &mut Object<'_>,
        place: usize,
        at: &At<'_>,
        losses: &mut Losses,
    ) -> Result<Option<Turn>, Invalid> {
        let name = object.text("name", at)?;
        let cache = parts::mark(object, at, losses)?;
        let mut parts: Vec<Part> = reasoning(object, at, losses)?.into_iter().map(Part::Reasoning).collect();
        let said = content(object, at, losses)?;
        let calls = self.calls(object, place, at, losses)?;
        // Beside calls an empty text is how some clients write none.
        let is_none = |part: &Part| matches!(part, Part::Text { text, .. } if text.is_empty()) && !calls.is_empty();
        parts.extend(said.into_iter().filter(|part| !is_none(part)));
        if let Some(raw) = object.take("annotations") {
            annotate(&mut parts, raw, &at.key("annotations"), losses)?;
        }
        if let Some(refusal) = object.text("refusal", at)?.filter(|refusal| !refusal.is_empty()) {
            parts.push(Part::Refusal(refusal));
        }
        parts.extend(calls.into_iter().map(Part::Call));
        put_mark(&mut parts, cache);
        Ok(Some(Turn { role: Role::Assistant, name, parts }))
    }

    fn calls(
        &mut self,
        object: &mut Object<'_>,
        place: usize,
        at: &At<'_>,
        losses: &mut Losses,
    ) -> Result<Vec<Call>, Invalid> {
        let mut calls = Vec::new();
        if let Some(raw) = object.take("tool_calls") {
            let at = at.key("tool_calls");
            for (place, raw) in list(raw, &at)?.into_iter().enumerate() {
                let call = call(raw, &at.index(place), losses)?;
                if call.custom {
                    self.custom.insert(call.id.clone());
                }
                calls.push(call);
            }
        }
        if let Some(raw) = object.take("function_call") {
            let at = at.key("function_call");
            let mut object = Object::read(raw, &at)?;
            let name = object.required("name", &at)?;
            let id = format!("call_{place}");
            self.legacy.insert(name.clone(), id.clone());
            calls.push(Call { id, name, arguments: arguments(&mut object, &at)?, custom: false, cache: None });
        }
        Ok(calls)
    }

    fn result(
        &mut self,
        object: &mut Object<'_>,
        role: &str,
        place: usize,
        at: &At<'_>,
        losses: &mut Losses,
    ) -> Result<CallResult, Invalid> {
        // The call says its name; beside `tool_call_id` it is only repeated.
        let name = object.text("name", at)?;
        let call_id = match object.text("tool_call_id", at)? {
            Some(id) => id,
            None if role == "function" => {
                let name = name.ok_or_else(|| wrong(&at.key("name"), "a string"))?;
                self.legacy.remove(&name).unwrap_or_else(|| format!("call_{place}"))
            }
            None => return Err(wrong(&at.key("tool_call_id"), "a string")),
        };
        let cache = parts::mark(object, at, losses)?;
        let parts = content(object, at, losses)?;
        Ok(CallResult { custom: self.custom.contains(&call_id), call_id, parts, is_error: false, cache })
    }
}

fn plain(role: Role, object: &mut Object<'_>, at: &At<'_>, losses: &mut Losses) -> Result<Option<Turn>, Invalid> {
    let name = object.text("name", at)?;
    let cache = parts::mark(object, at, losses)?;
    let mut parts = content(object, at, losses)?;
    put_mark(&mut parts, cache);
    Ok(Some(Turn { role, name, parts }))
}

fn content(object: &mut Object<'_>, at: &At<'_>, losses: &mut Losses) -> Result<Vec<Part>, Invalid> {
    let raw = object.take("content");
    raw.map_or_else(|| Ok(Vec::new()), |raw| parts::read(raw, &at.key("content"), losses))
}

/// A mark on the message is one behind its last part.
fn put_mark(parts: &mut [Part], mark: Option<Cache>) {
    let Some(mark) = mark else { return };
    match parts.last_mut() {
        Some(Part::Text { cache, .. } | Part::Image { cache, .. } | Part::File { cache, .. }) => *cache = Some(mark),
        Some(Part::Call(call)) => call.cache = Some(mark),
        Some(Part::Result(result)) => result.cache = Some(mark),
        Some(Part::Audio { .. } | Part::Refusal(_) | Part::Reasoning(_) | Part::Native { .. }) | None => {}
    }
}

/// Reasoning in the fields of DeepSeek, vLLM and others; the details say the same
/// with its seals, so where they are given the plain text is left aside.
fn reasoning(object: &mut Object<'_>, at: &At<'_>, losses: &mut Losses) -> Result<Vec<Reasoning>, Invalid> {
    let mut plain = None;
    for field in ["reasoning_content", "reasoning"] {
        if let Some(raw) = object.take(field) {
            plain = plain.or(Some(text(raw, &at.key(field))?));
        }
    }
    let mut blocks = Vec::new();
    if let Some(raw) = object.take("reasoning_details") {
        let at = at.key("reasoning_details");
        let details: Vec<Detail> =
            serde_json::from_str(raw.get()).map_err(|_| wrong(&at, "a list of objects, each with a type"))?;
        let (read, unknown) = read_details(details);
        if unknown {
            losses.dropped(at);
        }
        blocks = read;
    }
    if let Some(text) = plain.filter(|text| !text.is_empty()) {
        let told: String = blocks.iter().flat_map(|block| &block.text).map(String::as_str).collect();
        let block = |text: &str| Reasoning { text: vec![text.to_owned()], ..Reasoning::default() };
        if let Some(first) = text.strip_suffix(&told) {
            // Also where the details tell nothing but seals.
            blocks.splice(0..0, (!first.is_empty()).then(|| block(first)));
        } else if let Some(rest) = text.strip_prefix(&told) {
            blocks.push(block(rest));
        } else {
            losses.dropped(at.key("reasoning"));
        }
    }
    Ok(blocks)
}

fn call(raw: &RawValue, at: &At<'_>, losses: &mut Losses) -> Result<Call, Invalid> {
    let mut object = Object::read(raw, at)?;
    let id = object.required("id", at)?;
    let cache = parts::mark(&mut object, at, losses)?;
    // Its place in the stream, which some clients keep.
    object.take("index");
    let kind = object.text("type", at)?;
    let custom = match kind.as_deref() {
        None | Some("function") => false,
        Some("custom") => true,
        Some(_) => return Err(wrong(&at.key("type"), "function or custom")),
    };
    let (field, carries) = if custom { ("custom", "input") } else { ("function", "arguments") };
    let inner_at = at.key(field);
    let inner = object.take(field).ok_or_else(|| wrong(&inner_at, "an object with a name"))?;
    let mut inner = Object::read(inner, &inner_at)?;
    let name = inner.required("name", &inner_at)?;
    let arguments = if custom { inner.required(carries, &inner_at)? } else { arguments(&mut inner, &inner_at)? };
    for key in inner.rest() {
        losses.dropped(inner_at.key(key));
    }
    for key in object.rest() {
        losses.dropped(at.key(key));
    }
    Ok(Call { id, name, arguments, custom, cache })
}

/// JSON text; some clients put the object itself there.
fn arguments(object: &mut Object<'_>, at: &At<'_>) -> Result<String, Invalid> {
    let at = at.key("arguments");
    match object.take("arguments") {
        None => Ok(String::new()),
        Some(raw) if is_text(raw) => text(raw, &at),
        Some(raw) if is_object(raw) => Ok(raw.get().to_owned()),
        Some(_) => Err(wrong(&at, "a string")),
    }
}

/// Puts each citation to the text that it stands in: its characters are counted
/// over all texts of the message.
fn annotate(parts: &mut [Part], raw: &RawValue, at: &At<'_>, losses: &mut Losses) -> Result<(), Invalid> {
    #[derive(Deserialize)]
    struct Annotation {
        #[serde(default)]
        url_citation: Option<UrlCitation>,
    }
    #[derive(Deserialize)]
    struct UrlCitation {
        url: Option<String>,
        title: Option<String>,
        content: Option<String>,
        start_index: Option<u64>,
        end_index: Option<u64>,
    }
    let mut texts: Vec<(u64, u64, &mut Vec<Citation>)> = Vec::new();
    let entries = list(raw, at)?;
    if entries.is_empty() {
        return Ok(());
    }
    let mut end = 0;
    for part in parts {
        if let Part::Text { text, citations, .. } = part {
            let start = end;
            end += text.chars().count() as u64;
            texts.push((start, end, citations));
        }
    }
    for (place, raw) in entries.into_iter().enumerate() {
        let at = at.index(place);
        let read = serde_json::from_str::<Annotation>(raw.get()).map_err(|_| wrong(&at, "an object"))?;
        let Some(cited) = read.url_citation.filter(|_| !texts.is_empty()) else {
            losses.dropped(at);
            continue;
        };
        let span = cited.start_index.zip(cited.end_index);
        let place = texts.partition_point(|(_, end, _)| *end <= span.map_or(0, |(start, _)| start));
        let place = place.min(texts.len() - 1);
        let (start, _, citations) = &mut texts[place];
        citations.push(Citation {
            url: cited.url,
            title: cited.title,
            quote: cited.content,
            span: span.map(|(from, to)| (from.saturating_sub(*start), to.saturating_sub(*start))),
            native: None,
        });
    }
    Ok(())
}
