//! Searches that another provider made, in the history of a messages client.
//!
//! Owns taking out what a translation wrote without the encrypted content that only
//! Anthropic can make: its API checks it when it comes back. Refuses searches that
//! Anthropic made. Invariant: the text that cites a search stays as it was.

use super::request::Fields;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashSet;

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow, default)]
    r#type: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    tool_use_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    citations: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Sealed<'a> {
    #[serde(borrow, default)]
    encrypted_content: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    encrypted_index: Option<Cow<'a, str>>,
}

impl Sealed<'_> {
    fn of(raw: &RawValue) -> Option<Sealed<'_>> {
        serde_json::from_str(raw.get()).ok()
    }
}

/// Whether there is anything to look at.
pub(super) fn may_be_in(list: &RawValue) -> bool {
    memchr::memmem::find(list.get().as_bytes(), b"encrypted_content").is_some()
        || memchr::memmem::find(list.get().as_bytes(), b"encrypted_index").is_some()
}

/// Turns without such searches and without citations of them; how many there were.
pub(super) fn strip(turns: Vec<Box<RawValue>>) -> (Vec<Box<RawValue>>, usize) {
    let mut foreign = HashSet::new();
    for turn in &turns {
        let Some(Turn { blocks, .. }) = Turn::read(turn) else { continue };
        foreign.extend(blocks.iter().filter_map(|block| foreign_result(block)));
    }
    let mut removed = 0;
    let mut kept = Vec::with_capacity(turns.len());
    for turn in turns {
        kept.extend(without(turn, &foreign, &mut removed));
    }
    (kept, removed)
}

/// A turn that may hold steps of a search.
struct Turn {
    fields: Vec<(String, Box<RawValue>)>,
    blocks: Vec<Box<RawValue>>,
}

impl Turn {
    fn read(turn: &RawValue) -> Option<Self> {
        if !may_be_in(turn) && memchr::memmem::find(turn.get().as_bytes(), b"server_tool_use").is_none() {
            return None;
        }
        let Fields(fields) = serde_json::from_str(turn.get()).ok()?;
        let (_, content) = fields.iter().find(|(key, _)| key == "content")?;
        let blocks = serde_json::from_str(content.get()).ok()?;
        Some(Self { fields, blocks })
    }
}

/// The search whose result it is, if it has a hit without its seal.
fn foreign_result(block: &RawValue) -> Option<String> {
    let block: Block<'_> = serde_json::from_str(block.get()).ok()?;
    if block.r#type.as_deref() != Some("web_search_tool_result") {
        return None;
    }
    let hits: Vec<&RawValue> = serde_json::from_str(block.content?.get()).ok()?;
    let is_empty = |hit: Sealed<'_>| hit.encrypted_content.is_some_and(|content| content.is_empty());
    hits.into_iter().filter_map(Sealed::of).any(is_empty).then(|| block.tool_use_id.unwrap_or_default().into_owned())
}

/// `None`: nothing is left of it.
fn without(turn: Box<RawValue>, foreign: &HashSet<String>, removed: &mut usize) -> Option<Box<RawValue>> {
    let Some(Turn { mut fields, blocks }) = Turn::read(&turn) else { return Some(turn) };
    let mut changed = false;
    let mut kept = Vec::with_capacity(blocks.len());
    for raw in blocks {
        let block: Option<Block<'_>> = serde_json::from_str(raw.get()).ok();
        let is = |kind: &str| block.as_ref().is_some_and(|block| block.r#type.as_deref() == Some(kind));
        let of = |id: Option<&Cow<'_, str>>| id.is_some_and(|id| foreign.contains(&**id));
        let goes = (is("server_tool_use") && of(block.as_ref().and_then(|block| block.id.as_ref())))
            || (is("web_search_tool_result") && of(block.as_ref().and_then(|block| block.tool_use_id.as_ref())));
        if goes {
            *removed += usize::from(is("web_search_tool_result"));
            changed = true;
            continue;
        }
        let cited = block.and_then(|block| block.citations).and_then(uncited);
        match cited {
            Some(citations) => {
                changed = true;
                *removed += 1;
                kept.push(with_citations(&raw, &citations));
            }
            None => kept.push(raw),
        }
    }
    if !changed {
        return Some(turn);
    }
    if kept.is_empty() {
        return None;
    }
    if let Some((_, content)) = fields.iter_mut().find(|(key, _)| key == "content") {
        *content = serde_json::value::to_raw_value(&kept).expect("a list of JSON is JSON");
    }
    Some(Fields(fields).to_raw())
}

/// The citations without those of foreign searches; `None`: all may stay.
fn uncited(citations: &RawValue) -> Option<Vec<&RawValue>> {
    let all: Vec<&RawValue> = serde_json::from_str(citations.get()).ok()?;
    let before = all.len();
    let is_empty = |citation: Sealed<'_>| citation.encrypted_index.is_some_and(|index| index.is_empty());
    let kept: Vec<_> = all.into_iter().filter(|raw| !Sealed::of(raw).is_some_and(is_empty)).collect();
    (kept.len() < before).then_some(kept)
}

fn with_citations(block: &RawValue, citations: &[&RawValue]) -> Box<RawValue> {
    let Ok(Fields(mut fields)) = serde_json::from_str(block.get()) else { return block.to_owned() };
    if citations.is_empty() {
        fields.retain(|(key, _)| key != "citations");
    } else if let Some((_, value)) = fields.iter_mut().find(|(key, _)| key == "citations") {
        *value = serde_json::value::to_raw_value(citations).expect("a list of JSON is JSON");
    }
    Fields(fields).to_raw()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn stripped(turns: &Value) -> (Value, usize) {
        let turns = serde_json::from_str(&turns.to_string()).expect("a list");
        let (kept, removed) = strip(turns);
        (serde_json::from_str(&serde_json::to_string(&kept).expect("JSON")).expect("JSON"), removed)
    }

    #[test]
    fn what_another_provider_found_goes_and_what_was_said_of_it_stays() {
        let search = |id: &str, sealed: &str| {
            [
                json!({"type": "server_tool_use", "id": id, "name": "web_search", "input": {"query": "q"}}),
                json!({"type": "web_search_tool_result", "tool_use_id": id, "content": [
                    {"type": "web_search_result", "title": "T", "url": "u", "encrypted_content": sealed}]}),
            ]
        };
        let cite = |index: &str| json!({"type": "web_search_result_location", "url": "u", "encrypted_index": index});
        let text = |citations: Value| json!({"type": "text", "text": "a", "citations": citations});
        let [asked, found] = search("s1", "");
        let [own_asked, own_found] = search("s2", "e");
        let assistant = |blocks: Value| json!({"role": "assistant", "content": blocks});
        let user = json!({"role": "user", "content": "q", "n": 1.0});
        let (turns, removed) = stripped(&json!([
            user,
            assistant(json!([asked, found, text(json!([cite("")]))])),
            assistant(json!([own_asked, own_found, text(json!([cite(""), cite("i")]))])),
            assistant(json!([asked, found])),
        ]));
        assert_eq!(
            turns,
            json!([
                user,
                assistant(json!([{"type": "text", "text": "a"}])),
                assistant(json!([own_asked, own_found, text(json!([cite("i")]))])),
            ])
        );
        assert_eq!(removed, 4);
        let own = json!([assistant(json!([own_asked, own_found, text(json!([cite("i")]))]))]);
        assert_eq!(stripped(&own), (own, 0));
    }
}
