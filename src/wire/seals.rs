//! Seals over reasoning: what only its maker can make, and checks.
//!
//! Owns finding them in requests and answers, their hashes, and taking sealed
//! reasoning out of a request. Refuses to know who made which (`gateway`).
//! Invariants: no seal and no text of reasoning is kept, only hashes; all else
//! in a request stays the bytes it came in.

use super::canon::{Conversation, Part, Reasoning, Seal};
use super::dialect::Dialect;
use super::request::Fields;
use super::sse::SseFrame;
use super::{chat, messages, responses, searches};
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

/// A seal's hash: the first half of its SHA-256.
pub type SealHash = [u8; 16];

/// A signature that comes in pieces is collected up to this; no vendor's is that long.
const SEAL_BYTES_MAX: usize = 1 << 20;

/// A request without some of its reasoning.
#[derive(Debug)]
pub struct Stripped {
    pub fields: Vec<(String, Box<RawValue>)>,
    /// Blocks or items that were taken out.
    pub removed: usize,
    /// Searches of other providers and citations of them that were taken out (messages).
    pub searches: usize,
    /// Thinking was switched off, because the turn that goes on lost its own.
    pub thinking_off: bool,
}

/// What a seal is remembered by.
#[must_use]
pub fn hash(seal: &str) -> SealHash {
    let digest = Sha256::digest(seal.as_bytes());
    digest[..16].try_into().expect("a digest has 32 bytes")
}

/// What of a block or an item says whether it is reasoning, and whose.
#[derive(Deserialize)]
struct Peek<'a> {
    #[serde(borrow, default)]
    r#type: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow, default)]
    id: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow, default)]
    signature: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    encrypted_content: Option<std::borrow::Cow<'a, str>>,
}

enum Kind {
    /// Not reasoning.
    Other,
    Unsealed,
    Sealed(SealHash),
    /// Made by a target of another dialect.
    Abroad,
}

/// Reads a block of a message, or an item of a response.
fn kind(raw: &RawValue) -> Kind {
    let Ok(peek) = serde_json::from_str::<Peek<'_>>(raw.get()) else { return Kind::Other };
    let ours = peek.id.as_deref().is_some_and(responses::is_minted);
    let seal = match peek.r#type.as_deref() {
        Some("thinking") => peek.signature,
        Some("redacted_thinking") => peek.data.and_then(|data| serde_json::from_str(data.get()).ok()),
        Some("reasoning") => peek.encrypted_content,
        _ => return Kind::Other,
    };
    match seal.filter(|seal| !seal.is_empty()) {
        // An item that a translation made: no maker knows it by its id.
        None if ours => Kind::Abroad,
        None => Kind::Unsealed,
        Some(seal) if messages::is_abroad(&seal) || responses::is_abroad(&seal) => Kind::Abroad,
        Some(seal) => Kind::Sealed(hash(&seal)),
    }
}

/// A conversation without some of its reasoning, for a target of another dialect
/// than its client's. `goes` is asked for each sealed piece; with `all` what is
/// unsealed goes too. The second value counts; `None`: nothing goes.
pub fn strip_conversation(
    conversation: &Conversation,
    all: bool,
    goes: &dyn Fn(&SealHash) -> bool,
) -> Option<(Conversation, usize)> {
    let gone = |part: &Part| match part {
        Part::Reasoning(Reasoning { seal: Some(seal), .. }) => {
            let (Seal::Signature(text) | Seal::Redacted(text) | Seal::Encrypted(text)) = seal;
            all || goes(&hash(text))
        }
        Part::Reasoning(_) => all,
        _ => false,
    };
    let removed = conversation.turns.iter().flat_map(|turn| &turn.parts).filter(|part| gone(part)).count();
    if removed == 0 {
        return None;
    }
    let mut stripped = conversation.clone();
    for turn in &mut stripped.turns {
        turn.parts.retain(|part| !gone(part));
    }
    // Reasoning alone was all that some turns held.
    stripped.turns.retain(|turn| !turn.parts.is_empty());
    Some((stripped, removed))
}

/// Takes reasoning out of the history of a request. `goes` is asked for each
/// sealed piece. Reasoning of a message without any seal goes too: no vendor that signs takes
/// it back; an item without one is known to its maker by its id and stays, unless
/// `all` is to go. `None`: nothing goes.
pub fn strip(
    dialect: Dialect,
    fields: &[(String, Box<RawValue>)],
    all: bool,
    goes: &dyn Fn(&SealHash) -> bool,
) -> Option<Stripped> {
    let name = match dialect {
        Dialect::Chat | Dialect::Messages | Dialect::CountTokens => "messages",
        Dialect::Responses => "input",
        Dialect::Completions | Dialect::Embeddings => return None,
    };
    let place = fields.iter().position(|(key, _)| key == name)?;
    let list = &fields[place].1;
    // An answer that was given with thinking off, as after a change of targets, holds no
    // thinking that could be taken out, and is no answer to go on from with it.
    let may_resume = dialect.is_anthropics()
        && thinking_of(fields).is_some_and(is_enabled)
        && memchr::memmem::find(list.get().as_bytes(), b"tool_use").is_some();
    let may_have_searched = dialect.is_anthropics() && searches::may_be_in(list);
    if !may_resume
        && !may_have_searched
        && memchr::memmem::find(list.get().as_bytes(), b"think").is_none()
        && memchr::memmem::find(list.get().as_bytes(), b"reasoning").is_none()
    {
        // Nearly every request.
        return None;
    }
    if dialect == Dialect::Chat {
        let (kept, removed) = chat::strip_sealed(list, &|seal| all || goes(&hash(seal)))?;
        let mut fields = fields.to_vec();
        fields[place].1 = kept;
        return Some(Stripped { fields, removed, searches: 0, thinking_off: false });
    }
    let entries: Vec<Box<RawValue>> = serde_json::from_str(list.get()).ok()?;
    let gone = |raw: &RawValue| match kind(raw) {
        Kind::Other => false,
        Kind::Unsealed => all || dialect.is_anthropics(),
        Kind::Sealed(seal) => all || goes(&seal),
        Kind::Abroad => true,
    };
    let (kept, removed) =
        if dialect.is_anthropics() { strip_turns(entries, &gone) } else { strip_items(entries, &gone) };
    let (kept, searches) = if may_have_searched { searches::strip(kept) } else { (kept, 0) };
    if removed == 0 && searches == 0 && !(may_resume && resumes_without_thinking(&kept)) {
        return None;
    }
    let mut fields = fields.to_vec();
    fields[place].1 = serde_json::value::to_raw_value(&kept).ok()?;
    let thinking_off = dialect.is_anthropics() && resumes_without_thinking(&kept) && switch_thinking_off(&mut fields);
    Some(Stripped { fields, removed, searches, thinking_off })
}

/// Turns of messages without such blocks; a turn that nothing is left of is gone.
fn strip_turns(turns: Vec<Box<RawValue>>, gone: &dyn Fn(&RawValue) -> bool) -> (Vec<Box<RawValue>>, usize) {
    let mut removed = 0;
    let mut kept = Vec::with_capacity(turns.len());
    for turn in turns {
        let Ok(Fields(mut fields)) = serde_json::from_str::<Fields>(turn.get()) else {
            kept.push(turn);
            continue;
        };
        let Some((_, content)) = fields.iter_mut().find(|(key, _)| key == "content") else {
            kept.push(turn);
            continue;
        };
        let Ok(blocks) = serde_json::from_str::<Vec<Box<RawValue>>>(content.get()) else {
            kept.push(turn);
            continue;
        };
        let before = blocks.len();
        let left: Vec<Box<RawValue>> = blocks.into_iter().filter(|block| !gone(block)).collect();
        if left.len() == before {
            kept.push(turn);
            continue;
        }
        removed += before - left.len();
        if !left.is_empty() {
            *content = serde_json::value::to_raw_value(&left).expect("a list of JSON is JSON");
            kept.push(Fields(fields).to_raw());
        }
    }
    (kept, removed)
}

/// Items of a response without such ones. What the same answer said besides loses
/// its id: the vendor looks up by it the reasoning that belongs there.
fn strip_items(items: Vec<Box<RawValue>>, gone: &dyn Fn(&RawValue) -> bool) -> (Vec<Box<RawValue>>, usize) {
    #[derive(Deserialize)]
    struct Made<'a> {
        #[serde(borrow, default)]
        r#type: Option<&'a str>,
        #[serde(borrow, default)]
        role: Option<&'a str>,
    }
    let mut removed = 0;
    let mut follows = false;
    let mut kept = Vec::with_capacity(items.len());
    for item in items {
        if gone(&item) {
            removed += 1;
            follows = true;
            continue;
        }
        let made = serde_json::from_str::<Made<'_>>(item.get()).ok();
        let of_answer = made.is_some_and(|made| {
            made.role == Some("assistant") || made.r#type.is_some_and(|kind| kind.ends_with("_call"))
        });
        follows &= of_answer;
        if follows && let Ok(Fields(mut fields)) = serde_json::from_str::<Fields>(item.get()) {
            fields.retain(|(key, _)| key != "id");
            kept.push(Fields(fields).to_raw());
            continue;
        }
        kept.push(item);
    }
    (kept, removed)
}

/// Whether calls are being answered and the first answer since the user last spoke holds
/// no thinking: with thinking on, Anthropic refuses that ("Expected `thinking` or
/// `redacted_thinking`, but found `tool_use`"). It thinks once, before the first of
/// its calls, so that later answers of the same loop may hold none.
fn resumes_without_thinking(turns: &[Box<RawValue>]) -> bool {
    #[derive(Deserialize)]
    struct Turn<'a> {
        #[serde(borrow, default)]
        role: Option<&'a str>,
        #[serde(borrow, default)]
        content: Option<&'a RawValue>,
    }
    let (mut calls, mut thought) = (false, false);
    for turn in turns.iter().rev() {
        let Ok(turn) = serde_json::from_str::<Turn<'_>>(turn.get()) else { continue };
        let blocks = turn.content.and_then(|content| serde_json::from_str::<Vec<Peek<'_>>>(content.get()).ok());
        let has = |kind: &str| {
            blocks.as_ref().is_some_and(|blocks| blocks.iter().any(|block| block.r#type.as_deref() == Some(kind)))
        };
        match turn.role {
            Some("assistant") => {
                calls |= has("tool_use");
                thought = has("thinking") || has("redacted_thinking");
            }
            // Words beside results do not make it another turn.
            Some("user") if !has("tool_result") => break,
            _ => {}
        }
    }
    calls && !thought
}

fn thinking_of(fields: &[(String, Box<RawValue>)]) -> Option<&RawValue> {
    fields.iter().find(|(key, _)| key == "thinking").map(|(_, thinking)| &**thinking)
}

fn is_enabled(thinking: &RawValue) -> bool {
    serde_json::from_str::<Peek<'_>>(thinking.get()).is_ok_and(|peek| peek.r#type.as_deref() == Some("enabled"))
}

fn switch_thinking_off(fields: &mut [(String, Box<RawValue>)]) -> bool {
    let Some((_, thinking)) = fields.iter_mut().find(|(key, _)| key == "thinking") else { return false };
    let enabled = is_enabled(thinking);
    if enabled {
        *thinking = RawValue::from_string("{\"type\":\"disabled\"}".to_owned()).expect("valid JSON");
    }
    enabled
}

/// Watches the frames of one answer for seals.
#[derive(Debug, Default)]
pub struct SealWatch {
    /// Pieces of a signature (messages).
    pieces: String,
    /// Words of which a frame of this dialect with a seal has one. Made once: to make them costs
    /// more than to look for them in a frame, by a profile.
    marks: Option<(Dialect, Vec<memchr::memmem::Finder<'static>>)>,
}

/// Words of which a frame of this dialect with a seal has one.
const fn marks(dialect: Dialect) -> &'static [&'static str] {
    match dialect {
        Dialect::Chat => &["reasoning_details"],
        Dialect::Messages => &["signature_delta", "redacted_thinking"],
        Dialect::Responses => &["encrypted_content"],
        Dialect::Completions | Dialect::Embeddings | Dialect::CountTokens => &[],
    }
}

impl SealWatch {
    /// The seals that this frame completes: one at most, but for chat.
    pub fn frame(&mut self, dialect: Dialect, frame: &SseFrame) -> Vec<SealHash> {
        match dialect {
            Dialect::Messages => self.message(&frame.data).into_iter().collect(),
            Dialect::Responses if self.is_marked(dialect, &frame.data) => item_done(&frame.data).into_iter().collect(),
            Dialect::Chat if self.is_marked(dialect, &frame.data) => in_whole(dialect, &frame.data),
            _ => Vec::new(),
        }
    }

    fn is_marked(&mut self, dialect: Dialect, data: &[u8]) -> bool {
        if self.marks.as_ref().is_none_or(|(of, _)| *of != dialect) {
            let marks = marks(dialect).iter().map(|mark| memchr::memmem::Finder::new(*mark)).collect();
            self.marks = Some((dialect, marks));
        }
        self.marks.iter().flat_map(|(_, marks)| marks).any(|mark| mark.find(data).is_some())
    }

    fn message(&mut self, data: &[u8]) -> Option<SealHash> {
        #[derive(Deserialize)]
        struct Frame<'a> {
            #[serde(borrow, default)]
            content_block: Option<&'a RawValue>,
            #[serde(borrow, default)]
            delta: Option<Peek<'a>>,
        }
        if !self.pieces.is_empty() && memchr::memmem::find(data, b"content_block_stop").is_some() {
            return Some(hash(&std::mem::take(&mut self.pieces)));
        }
        if !self.is_marked(Dialect::Messages, data) {
            return None;
        }
        let frame: Frame<'_> = serde_json::from_slice(data).ok()?;
        if let Some(piece) = frame.delta.and_then(|delta| delta.signature)
            && self.pieces.len() + piece.len() <= SEAL_BYTES_MAX
        {
            self.pieces.push_str(&piece);
        }
        frame.content_block.and_then(sealed)
    }
}

/// The seal of an item that an event says is done.
fn item_done(data: &[u8]) -> Option<SealHash> {
    #[derive(Deserialize)]
    struct Done<'a> {
        r#type: &'a str,
        #[serde(borrow)]
        item: &'a RawValue,
    }
    let done: Done<'_> = serde_json::from_slice(data).ok()?;
    sealed(done.item).filter(|_| done.r#type == "response.output_item.done")
}

fn sealed(raw: &RawValue) -> Option<SealHash> {
    match kind(raw) {
        Kind::Sealed(seal) => Some(seal),
        Kind::Other | Kind::Unsealed | Kind::Abroad => None,
    }
}

/// The seals of a whole answer.
#[must_use]
pub fn in_whole(dialect: Dialect, body: &[u8]) -> Vec<SealHash> {
    #[derive(Deserialize)]
    struct Whole {
        #[serde(default)]
        content: Vec<Box<RawValue>>,
        #[serde(default)]
        output: Vec<Box<RawValue>>,
    }
    // Most have none, and are not read again for that.
    let marks: &[&str] = match dialect {
        Dialect::Messages => &["signature", "redacted_thinking"],
        _ => marks(dialect),
    };
    if !marks.iter().any(|mark| memchr::memmem::find(body, mark.as_bytes()).is_some()) {
        return Vec::new();
    }
    if dialect == Dialect::Chat {
        return chat::sealed_in(body).iter().map(|seal| hash(seal)).collect();
    }
    if !matches!(dialect, Dialect::Messages | Dialect::Responses) {
        return Vec::new();
    }
    let Ok(whole) = serde_json::from_slice::<Whole>(body) else { return Vec::new() };
    whole.content.iter().chain(&whole.output).filter_map(|raw| sealed(raw)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use serde_json::{Value, json};

    fn stripped(dialect: Dialect, body: &Value, all: bool, foreign: &[&str]) -> Option<(Value, usize, bool)> {
        let Fields(fields) = serde_json::from_str(&body.to_string()).expect("an object");
        let foreign: Vec<SealHash> = foreign.iter().map(|seal| hash(seal)).collect();
        let stripped = strip(dialect, &fields, all, &|seal| foreign.contains(seal))?;
        let value = serde_json::from_str(Fields(stripped.fields).to_raw().get()).expect("JSON");
        Some((value, stripped.removed, stripped.thinking_off))
    }

    fn history(first: &Value) -> Value {
        json!({"model": "m", "thinking": {"type": "enabled", "budget_tokens": 2000}, "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [first, {"type": "tool_use", "id": "a", "name": "f", "input": {"n": 1.0}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "1"}]}
        ]})
    }

    #[test]
    fn anothers_thinking_goes_and_ones_own_stays() {
        let body = history(&json!({"type": "thinking", "thinking": "hm", "signature": "s1"}));
        assert_eq!(stripped(Dialect::Messages, &body, false, &["s2"]), None);
        let (value, removed, off) = stripped(Dialect::Messages, &body, false, &["s1"]).expect("stripped");
        assert_eq!((removed, off), (1, true), "a call that goes on needs its thinking, or none at all");
        assert_eq!(
            value["messages"][1]["content"],
            json!([{"type": "tool_use", "id": "a", "name": "f", "input": {"n": 1.0}}])
        );
        assert_eq!(value["thinking"], json!({"type": "disabled"}));
        let redacted = history(&json!({"type": "redacted_thinking", "data": "d1"}));
        assert!(stripped(Dialect::Messages, &redacted, false, &["d1"]).is_some());
        assert_eq!(stripped(Dialect::Messages, &redacted, false, &[]), None);
        assert!(stripped(Dialect::Messages, &redacted, true, &[]).is_some());
    }

    #[test]
    fn sealed_details_of_another_go_from_chat_and_the_rest_of_a_message_stays() {
        let details = json!([
            {"type": "reasoning.text", "text": "hm", "signature": "s1", "index": 0},
            {"type": "reasoning.summary", "summary": "so", "index": 1},
            {"type": "reasoning.encrypted", "data": "s2", "index": 2}
        ]);
        let body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"},
            {"role": "assistant", "content": "x", "reasoning": "hm", "reasoning_details": details}]});
        assert_eq!(stripped(Dialect::Chat, &body, false, &["s3"]), None);
        let (value, removed, off) = stripped(Dialect::Chat, &body, false, &["s1"]).expect("stripped");
        assert_eq!((removed, off), (1, false));
        assert_eq!(value["messages"][1]["reasoning_details"].as_array().map(Vec::len), Some(2), "{value}");
        assert_eq!((&value["messages"][1]["content"], &value["messages"][0]), (&json!("x"), &body["messages"][0]));
        let (value, removed, _) = stripped(Dialect::Chat, &body, true, &[]).expect("stripped");
        assert_eq!((removed, value["messages"][1].get("reasoning_details")), (2, Some(&json!([details[1]]))));
        let chunk = json!({"choices": [{"delta": {"reasoning_details": [details[0], details[2]]}}]});
        let frame = SseFrame { event: None, data: Bytes::from(chunk.to_string()) };
        assert_eq!(SealWatch::default().frame(Dialect::Chat, &frame), [hash("s1"), hash("s2")]);
        let whole = json!({"choices": [{"message": {"reasoning_details": details}}]}).to_string();
        assert_eq!(in_whole(Dialect::Chat, whole.as_bytes()), [hash("s1"), hash("s2")]);
    }

    #[test]
    fn thinking_without_a_signature_goes_to_nobody_who_signs() {
        for unsigned in [
            json!({"type": "thinking", "thinking": "hm", "signature": ""}),
            json!({"type": "thinking", "thinking": "hm"}),
        ] {
            assert!(stripped(Dialect::Messages, &history(&unsigned), false, &[]).is_some());
        }
    }

    #[test]
    fn what_another_dialects_maker_sealed_is_known_by_its_mark() {
        let body = history(&json!({"type": "thinking", "thinking": "hm", "signature": "tl-sealed:gAAAAAx"}));
        assert!(stripped(Dialect::Messages, &body, false, &[]).is_some());
        let body = json!({"input": [{"type": "reasoning", "summary": [], "encrypted_content": "tl-signature:x"}]});
        assert!(stripped(Dialect::Responses, &body, false, &[]).is_some());
    }

    #[test]
    fn a_turn_of_nothing_but_anothers_thinking_is_gone() {
        let body = json!({"messages": [{"role": "assistant", "content": [{"type": "thinking", "thinking": "x", "signature": "s"}]},
            {"role": "user", "content": "go on"}]});
        let (value, ..) = stripped(Dialect::Messages, &body, false, &["s"]).expect("stripped");
        assert_eq!(value["messages"], json!([{"role": "user", "content": "go on"}]));
    }

    #[test]
    fn items_of_the_same_answer_lose_their_ids_with_its_reasoning() {
        let body = json!({"input": [
            {"role": "user", "content": "hi"},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "e1"},
            {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "1"},
            {"type": "message", "id": "msg_2", "role": "assistant", "content": []}
        ]});
        assert_eq!(stripped(Dialect::Responses, &body, false, &["e2"]), None);
        let (value, removed, _) = stripped(Dialect::Responses, &body, false, &["e1"]).expect("stripped");
        assert_eq!(removed, 1);
        assert_eq!(value["input"][1], json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}));
        assert_eq!(value["input"][3]["id"], "msg_2");
        let by_id = json!({"input": [{"type": "reasoning", "id": "rs_1", "summary": []}]});
        assert_eq!(stripped(Dialect::Responses, &by_id, false, &[]), None, "its maker knows it by its id");
        assert!(stripped(Dialect::Responses, &by_id, true, &[]).is_some());
    }

    #[test]
    fn what_another_dialect_made_goes_to_nobody_in_this_one() {
        let abroad = history(&json!({"type": "thinking", "thinking": "hm", "signature": "tl-sealed:gAAAAAB"}));
        assert_eq!(stripped(Dialect::Messages, &abroad, false, &[]).map(|(_, removed, _)| removed), Some(1));
        for item in [
            json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "tl-signature:EqQB"}),
            json!({"type": "reasoning", "id": "rs_01m88f4qtmnacv7qw11584r1ra0000", "summary": []}),
        ] {
            let body = json!({"input": [item, {"role": "user", "content": "hi"}]});
            assert_eq!(stripped(Dialect::Responses, &body, false, &[]).map(|(_, removed, _)| removed), Some(1));
        }
        let vendors = "rs_68af4030592c81938ec0a5fbab4a3e9f05438e46b5f69a3b";
        let body = json!({"input": [{"type": "reasoning", "id": vendors, "summary": []}]});
        assert_eq!(stripped(Dialect::Responses, &body, false, &[]), None);
    }

    #[test]
    fn thinking_is_off_where_the_answer_to_go_on_from_was_given_without() {
        let without = json!({"model": "m", "thinking": {"type": "enabled", "budget_tokens": 2000}, "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "1"}]}
        ]});
        let (value, removed, off) = stripped(Dialect::Messages, &without, false, &[]).expect("changed");
        assert_eq!((removed, off, &value["messages"]), (0, true, &without["messages"]));
        let mut on = without.clone();
        let more = [
            json!({"role": "assistant", "content": [{"type": "tool_use", "id": "b", "name": "f", "input": {}}]}),
            json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "b", "content": "1"}]}),
        ];
        on["messages"].as_array_mut().expect("messages").extend(more.clone());
        assert!(stripped(Dialect::Messages, &on, false, &[]).is_some(), "of several calls none was thought about");
        let mut adaptive = without.clone();
        adaptive["thinking"] = json!({"type": "adaptive"});
        assert_eq!(stripped(Dialect::Messages, &adaptive, false, &[]), None);
    }

    #[test]
    fn searches_of_other_providers_go_with_nothing_else() {
        let body = json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": [
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
            {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"url": "u", "encrypted_content": ""}]},
            {"type": "text", "text": "a"}]}]});
        let (value, removed, off) = stripped(Dialect::Messages, &body, false, &[]).expect("stripped");
        assert_eq!((removed, off), (0, false));
        assert_eq!(value["messages"][1]["content"], json!([{"type": "text", "text": "a"}]));
        let own = serde_json::from_str(
            &body.to_string().replace("\"encrypted_content\":\"\"", "\"encrypted_content\":\"e\""),
        );
        assert_eq!(stripped(Dialect::Messages, &own.expect("JSON"), false, &[]), None);
    }

    #[test]
    fn thinking_stays_on_where_the_first_answer_of_several_calls_holds_it() {
        let mut body = history(&json!({"type": "thinking", "thinking": "hm", "signature": "s1"}));
        let reminded =
            json!([{"type": "tool_result", "tool_use_id": "b", "content": "1"}, {"type": "text", "text": "x"}]);
        body["messages"].as_array_mut().expect("messages").extend([
            json!({"role": "assistant", "content": [{"type": "tool_use", "id": "b", "name": "f", "input": {}}]}),
            json!({"role": "user", "content": reminded}),
            json!({"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}]}),
            json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "1"}]}),
        ]);
        assert_eq!(stripped(Dialect::Messages, &body, false, &[]), None);
        let (value, removed, off) = stripped(Dialect::Messages, &body, false, &["s1"]).expect("stripped");
        assert_eq!((removed, off, &value["thinking"]["type"]), (1, true, &json!("disabled")));
        body["messages"]
            .as_array_mut()
            .expect("messages")
            .extend([json!({"role": "assistant", "content": "done"}), json!({"role": "user", "content": "again"})]);
        let (_, removed, off) = stripped(Dialect::Messages, &body, false, &["s1"]).expect("stripped");
        assert_eq!((removed, off), (1, false), "the next answer thinks anew");
    }

    #[test]
    fn a_conversation_loses_the_reasoning_that_others_sealed() {
        let turn = |parts| crate::wire::canon::Turn { role: crate::wire::canon::Role::Assistant, name: None, parts };
        let sealed = |seal: &str| {
            Part::Reasoning(Reasoning { text: vec!["hm".into()], seal: Some(Seal::Signature(seal.into())), id: None })
        };
        let unsealed = Part::Reasoning(Reasoning { text: vec!["hm".into()], ..Reasoning::default() });
        let conversation = Conversation {
            turns: vec![
                turn(vec![sealed("s1"), Part::text("a")]),
                turn(vec![sealed("s1")]),
                turn(vec![unsealed.clone()]),
            ],
            ..Conversation::default()
        };
        let goes = |foreign: &'static str| move |seal: &SealHash| *seal == hash(foreign);
        assert_eq!(strip_conversation(&conversation, false, &goes("s2")), None);
        let (stripped, removed) = strip_conversation(&conversation, false, &goes("s1")).expect("stripped");
        assert_eq!(removed, 2);
        assert_eq!(stripped.turns, [turn(vec![Part::text("a")]), turn(vec![unsealed])]);
        let (stripped, removed) = strip_conversation(&conversation, true, &goes("s2")).expect("stripped");
        assert_eq!((removed, stripped.turns), (3, vec![turn(vec![Part::text("a")])]));
    }

    #[test]
    fn seals_are_seen_in_frames_and_whole_answers() {
        let frame = |value: Value| SseFrame { event: None, data: Bytes::from(value.to_string()) };
        let mut watch = SealWatch::default();
        for piece in ["ab", "cd"] {
            let delta = json!({"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": piece}});
            assert!(watch.frame(Dialect::Messages, &frame(delta)).is_empty());
        }
        let stop = json!({"type": "content_block_stop", "index": 0});
        assert_eq!(watch.frame(Dialect::Messages, &frame(stop.clone())), [hash("abcd")]);
        assert!(watch.frame(Dialect::Messages, &frame(stop)).is_empty());
        let redacted = json!({"type": "content_block_start", "index": 1, "content_block": {"type": "redacted_thinking", "data": "zz"}});
        assert_eq!(watch.frame(Dialect::Messages, &frame(redacted)), [hash("zz")]);
        let item = json!({"type": "reasoning", "encrypted_content": "ee"});
        let done = json!({"type": "response.output_item.done", "item": item});
        assert_eq!(watch.frame(Dialect::Responses, &frame(done)), [hash("ee")]);
        let whole = json!({"output": [item, {"type": "message"}]}).to_string();
        assert_eq!(in_whole(Dialect::Responses, whole.as_bytes()), [hash("ee")]);
    }
}
