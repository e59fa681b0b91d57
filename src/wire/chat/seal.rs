//! Reasoning and its seals as chat completions carry them.
//!
//! Owns OpenRouter's `reasoning_details` (its guide "Reasoning tokens"): entries
//! `reasoning.text`, `reasoning.summary` and `reasoning.encrypted`. Refuses to
//! open a seal. Invariant: the text of a seal goes on unchanged.

use crate::wire::canon::{Reasoning, Seal};
use crate::wire::request::Fields;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// One entry of `reasoning_details`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Detail {
    pub(super) r#type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) summary: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) signature: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) format: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) index: Option<u64>,
}

pub(super) const TEXT: &str = "reasoning.text";
pub(super) const SUMMARY: &str = "reasoning.summary";
pub(super) const ENCRYPTED: &str = "reasoning.encrypted";

/// How reasoning that OpenAI encrypted begins: a Fernet token, whose version
/// 0x80 and the upper bytes of its time are `gAAAAA` in base64.
const FERNET: &str = "gAAAAA";

/// Whether sealed data is the reasoning of a responses dialect, which belongs to
/// the summary before it, and not a block that Anthropic redacted.
pub(super) fn is_encrypted(data: &str, format: Option<&str>) -> bool {
    match format {
        Some(format) if format.contains("anthropic") => false,
        Some(format) if format.contains("responses") => true,
        _ => data.starts_with(FERNET),
    }
}

/// The entries as blocks of reasoning. Pieces that a client did not join are
/// joined here: those of one index and kind. The second value tells that there
/// were entries of an unknown kind.
pub(super) fn read_details(details: Vec<Detail>) -> (Vec<Reasoning>, bool) {
    let mut blocks: Vec<Reasoning> = Vec::new();
    // Kind and index of the entry before.
    let mut before: Option<(&'static str, Option<u64>)> = None;
    let mut unknown = false;
    for detail in details {
        let index = detail.index;
        let kind = match detail.r#type.as_str() {
            TEXT => TEXT,
            SUMMARY => SUMMARY,
            ENCRYPTED => ENCRYPTED,
            _ => {
                unknown = true;
                continue;
            }
        };
        let goes_on = index.is_some() && before == Some((kind, index));
        match kind {
            TEXT => push_text(&mut blocks, detail, goes_on),
            SUMMARY => push_summary(&mut blocks, detail, goes_on, before.is_some_and(|(kind, _)| kind == SUMMARY)),
            _ => push_sealed(&mut blocks, detail, before.is_some_and(|(kind, _)| kind == SUMMARY)),
        }
        before = Some((kind, index));
    }
    blocks.retain(|block| block.seal.is_some() || block.text.iter().any(|text| !text.is_empty()));
    (blocks, unknown)
}

fn push_text(blocks: &mut Vec<Reasoning>, detail: Detail, goes_on: bool) {
    let text = detail.text.unwrap_or_default();
    let seal = detail.signature.filter(|signature| !signature.is_empty()).map(Seal::Signature);
    match blocks.last_mut() {
        Some(block) if goes_on => {
            match block.text.last_mut() {
                Some(last) => last.push_str(&text),
                None => block.text.push(text),
            }
            block.seal = seal.or(block.seal.take());
        }
        _ => blocks.push(Reasoning { text: vec![text], seal, id: detail.id }),
    }
}

fn push_summary(blocks: &mut Vec<Reasoning>, detail: Detail, goes_on: bool, after_summary: bool) {
    let text = detail.summary.unwrap_or_default();
    match blocks.last_mut() {
        Some(block) if goes_on && !block.text.is_empty() => {
            block.text.last_mut().expect("it has one").push_str(&text);
        }
        Some(block) if after_summary && block.seal.is_none() && block.id == detail.id => block.text.push(text),
        _ => blocks.push(Reasoning { text: vec![text], seal: None, id: detail.id }),
    }
}

fn push_sealed(blocks: &mut Vec<Reasoning>, detail: Detail, after_summary: bool) {
    let Some(data) = detail.data.filter(|data| !data.is_empty()) else { return };
    if !is_encrypted(&data, detail.format.as_deref()) {
        blocks.push(Reasoning { text: Vec::new(), seal: Some(Seal::Redacted(data)), id: detail.id });
        return;
    }
    match blocks.last_mut() {
        Some(block) if after_summary && block.seal.is_none() && (block.id == detail.id || detail.id.is_none()) => {
            block.seal = Some(Seal::Encrypted(data));
        }
        _ => blocks.push(Reasoning { text: Vec::new(), seal: Some(Seal::Encrypted(data)), id: detail.id }),
    }
}

/// The entries that carry one block, numbered from `index` on.
pub(super) fn write_details(block: &Reasoning, index: &mut u64, out: &mut Vec<Detail>) {
    let mut push = |detail: Detail| {
        out.push(Detail { id: block.id.clone(), index: Some(*index), ..detail });
        *index += 1;
    };
    match &block.seal {
        Some(Seal::Signature(signature)) => push(Detail {
            r#type: TEXT.to_owned(),
            text: Some(block.text.concat()),
            signature: Some(signature.clone()),
            ..Detail::default()
        }),
        None if block.text.len() == 1 => {
            push(Detail { r#type: TEXT.to_owned(), text: Some(block.text.concat()), ..Detail::default() });
        }
        Some(Seal::Redacted(_) | Seal::Encrypted(_)) | None => {
            for text in &block.text {
                push(Detail { r#type: SUMMARY.to_owned(), summary: Some(text.clone()), ..Detail::default() });
            }
        }
    }
    let (data, format) = match &block.seal {
        Some(Seal::Redacted(data)) => (data, "anthropic-claude-v1"),
        Some(Seal::Encrypted(data)) => (data, "openai-responses-v1"),
        Some(Seal::Signature(_)) | None => return,
    };
    push(Detail {
        r#type: ENCRYPTED.to_owned(),
        data: Some(data.clone()),
        format: Some(format.to_owned()),
        ..Detail::default()
    });
}

/// What of an entry only its maker can make.
#[derive(Deserialize)]
struct Sealed {
    #[serde(default)]
    signature: Option<String>,
    #[serde(default)]
    data: Option<String>,
}

impl Sealed {
    fn seal(self) -> Option<String> {
        self.signature.or(self.data).filter(|seal| !seal.is_empty())
    }
}

const DETAILS: &str = "reasoning_details";

/// A list of messages without the entries whose seal `goes`, and how many went. `None`: none.
pub fn strip_sealed(messages: &RawValue, goes: &dyn Fn(&str) -> bool) -> Option<(Box<RawValue>, usize)> {
    memchr::memmem::find(messages.get().as_bytes(), DETAILS.as_bytes())?;
    let messages: Vec<Box<RawValue>> = serde_json::from_str(messages.get()).ok()?;
    let mut removed = 0;
    let kept: Vec<Box<RawValue>> = messages
        .into_iter()
        .map(|message| {
            let Ok(Fields(mut fields)) = serde_json::from_str::<Fields>(message.get()) else { return message };
            let Some(place) = fields.iter().position(|(key, _)| key == DETAILS) else { return message };
            let Ok(mut entries) = serde_json::from_str::<Vec<Box<RawValue>>>(fields[place].1.get()) else {
                return message;
            };
            let before = entries.len();
            entries.retain(|entry| !seal_of(entry).is_some_and(|seal| goes(&seal)));
            if entries.len() == before {
                return message;
            }
            removed += before - entries.len();
            if entries.is_empty() {
                fields.remove(place);
            } else {
                fields[place].1 = serde_json::value::to_raw_value(&entries).expect("a list of JSON is JSON");
            }
            Fields(fields).to_raw()
        })
        .collect();
    (removed > 0).then(|| (serde_json::value::to_raw_value(&kept).expect("a list of JSON is JSON"), removed))
}

fn seal_of(entry: &RawValue) -> Option<String> {
    serde_json::from_str::<Sealed>(entry.get()).ok()?.seal()
}

/// All seals of an answer or of a chunk: a signature comes whole, behind its text.
pub fn sealed_in(body: &[u8]) -> Vec<String> {
    #[derive(Default, Deserialize)]
    struct Message {
        #[serde(default)]
        reasoning_details: Vec<Box<RawValue>>,
    }
    #[derive(Deserialize)]
    struct Choice {
        #[serde(default, alias = "message")]
        delta: Message,
    }
    #[derive(Deserialize)]
    struct Whole {
        #[serde(default)]
        choices: Vec<Choice>,
    }
    let Ok(whole) = serde_json::from_slice::<Whole>(body) else { return Vec::new() };
    let entries = whole.choices.iter().flat_map(|choice| &choice.delta.reasoning_details);
    entries.filter_map(|entry| seal_of(entry)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<Reasoning> {
        let (blocks, unknown) = read_details(serde_json::from_str(text).expect("details"));
        assert!(!unknown);
        blocks
    }

    #[test]
    fn pieces_of_one_index_are_one_block_and_the_last_signature_is_its_seal() {
        let blocks = read(
            r#"[{"type":"reasoning.text","text":"","signature":"","format":"anthropic-claude-v1","index":0},
                {"type":"reasoning.text","text":"hm","index":0},{"type":"reasoning.text","text":" yes","index":0},
                {"type":"reasoning.text","text":null,"signature":"sig","index":0},
                {"type":"reasoning.encrypted","data":"Eo8B","format":"anthropic-claude-v1","index":1}]"#,
        );
        assert_eq!(
            blocks,
            [
                Reasoning { text: vec!["hm yes".into()], seal: Some(Seal::Signature("sig".into())), id: None },
                Reasoning { text: vec![], seal: Some(Seal::Redacted("Eo8B".into())), id: None },
            ]
        );
    }

    #[test]
    fn encrypted_reasoning_seals_the_summary_before_it() {
        let blocks = read(
            r#"[{"type":"reasoning.summary","summary":"a","id":"rs_1","index":0},
                {"type":"reasoning.summary","summary":"b","id":"rs_1","index":1},
                {"type":"reasoning.encrypted","data":"gAAAAABx","id":"rs_1","index":2},
                {"type":"reasoning.encrypted","data":"gAAAAABy","id":"rs_2","index":3}]"#,
        );
        assert_eq!(blocks[0].text, ["a", "b"]);
        assert_eq!(blocks[0].seal, Some(Seal::Encrypted("gAAAAABx".into())));
        assert_eq!((blocks.len(), blocks[1].id.as_deref()), (2, Some("rs_2")));
    }

    #[test]
    fn what_is_written_reads_back() {
        for seal in [
            None,
            Some(Seal::Signature("s".into())),
            Some(Seal::Redacted("Eo".into())),
            Some(Seal::Encrypted("x".into())),
        ] {
            let text = if matches!(seal, Some(Seal::Redacted(_))) { vec![] } else { vec!["t".to_owned()] };
            let block = Reasoning { text, seal, id: Some("rs".into()) };
            let mut out = Vec::new();
            write_details(&block, &mut 0, &mut out);
            assert_eq!(read_details(out).0, [block]);
        }
    }
}
