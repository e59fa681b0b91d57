//! Turns as `system` and `messages`.
//!
//! Owns which turn a part goes into and in which order. Invariant: results come
//! first in their turn, as the API demands ("`tool_result` blocks must come
//! first in the content array", Claude docs, "Handle tool calls").

use super::body::{Block, Content, Message, Piece, Raw, Source, cache};
use crate::wire::canon::{self, Call, CallResult, Conversation, Json, Part, Reasoning, Role, Seal, Turn, Unsayable};
use crate::wire::dialect::Dialect;
use crate::wire::messages::ids;
use crate::wire::messages::object::{Losses, Path};
use base64::Engine as _;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Put where the API demands a user's turn and the client has none.
const PLACEHOLDER: &str = "(The conversation begins with the answer below.)";

pub(super) struct Turns<'a> {
    pub system: Vec<Piece<'a>>,
    pub messages: Vec<Message<'a>>,
    /// There are calls or results among the turns.
    pub has_calls: bool,
    /// Calls are being answered, and the first answer since the user last spoke holds no
    /// reasoning that its maker would know again.
    pub is_loop_unsealed: bool,
}

pub(super) fn turns<'a>(conversation: &'a Conversation, losses: &mut Losses) -> Result<Turns<'a>, Unsayable> {
    let messages = Path::Field("messages");
    let mut out = Turns {
        system: Vec::new(),
        messages: Vec::new(),
        has_calls: false,
        is_loop_unsealed: is_loop_unsealed(&conversation.turns),
    };
    let mut begun = false;
    for (index, turn) in conversation.turns.iter().enumerate() {
        let path = Path::Index(&messages, index);
        if turn.name.is_some() {
            losses.dropped(Path::Key(&path, "name"));
        }
        let is_system = matches!(turn.role, Role::System | Role::Developer);
        begun |= !is_system;
        if is_system && begun && !turn.parts.is_empty() {
            losses.changed(path, "a system turn in the middle became user text");
        }
        out.has_calls |= turn.parts.iter().any(|part| matches!(part, Part::Call(_) | Part::Result(_)));
        let mut pieces = Vec::new();
        for (place, part) in turn.parts.iter().enumerate() {
            let content = Path::Key(&path, "content");
            let path = Path::Index(&content, place);
            if is_system && !begun && !matches!(part, Part::Text { .. } | Part::Refusal(_)) {
                // The system prompt is text there.
                losses.dropped(path);
                continue;
            }
            pieces.extend(piece(part, turn.role, &path, losses)?);
        }
        if is_system && !begun {
            out.system.extend(pieces);
        } else {
            let role = if turn.role == Role::Assistant { "assistant" } else { "user" };
            append(&mut out.messages, role, pieces);
        }
    }
    settle(&mut out, losses);
    if out.messages.is_empty() {
        return Err(unsayable(&messages, "nothing is left that can be said there"));
    }
    Ok(out)
}

/// The API joins turns of one role that follow each other; results must then
/// stand before the rest.
fn append<'a>(messages: &mut Vec<Message<'a>>, role: &'static str, pieces: Vec<Piece<'a>>) {
    if pieces.is_empty() {
        return;
    }
    match messages.last_mut() {
        Some(last) if last.role == role => last.content.0.extend(pieces),
        _ => messages.push(Message { role, content: Content(pieces) }),
    }
}

/// What the API demands of the whole: a user's turn first, and no white space
/// at the end of an answer that is to be continued.
fn settle(turns: &mut Turns<'_>, losses: &mut Losses) {
    for message in &mut turns.messages {
        message.content.0.sort_by_key(|piece| !matches!(piece, Piece::Block(Block::ToolResult { .. })));
    }
    if turns.messages.is_empty()
        && let Some(last) = turns.system.pop()
    {
        losses.changed("messages", "the last system text became the user's");
        turns.messages.push(Message { role: "user", content: Content(vec![last]) });
    }
    if turns.messages.first().is_some_and(|first| first.role == "assistant") {
        losses.changed("messages[0]", "a user turn was put before it");
        let text = plain(Cow::Borrowed(PLACEHOLDER));
        turns.messages.insert(0, Message { role: "user", content: Content(vec![text]) });
    }
    if let Some(last) = turns.messages.last_mut()
        && last.role == "assistant"
        && let Some(Piece::Block(Block::Text { text, .. })) = last.content.0.last_mut()
        && text.ends_with(char::is_whitespace)
    {
        losses.changed("messages", "white space at the end of the last answer was cut");
        *text = Cow::Owned(text.trim_end().to_owned());
    }
}

/// A maker thinks once, before the first of the calls that follow a user's words: the
/// answer that holds that one is looked at.
fn is_loop_unsealed(turns: &[Turn]) -> bool {
    let has = |turn: &Turn, is: fn(&Part) -> bool| turn.parts.iter().any(is);
    let is_result = |part: &Part| matches!(part, Part::Result(_));
    let answers = turns.iter().rev().take_while(|turn| turn.role != Role::Assistant);
    if !answers.into_iter().any(|turn| has(turn, is_result)) {
        return false;
    }
    let goes_on = |turn: &&Turn| turn.role != Role::User || has(turn, is_result);
    let (mut calls, mut thought) = (false, false);
    for turn in turns.iter().rev().take_while(goes_on).filter(|turn| turn.role == Role::Assistant) {
        calls |= has(turn, |part| matches!(part, Part::Call(_)));
        let is_sealed = |part: &Part| {
            matches!(part, Part::Reasoning(Reasoning { seal: Some(Seal::Signature(_) | Seal::Redacted(_)), .. }))
        };
        thought = has(turn, is_sealed);
    }
    calls && !thought
}

fn plain(text: Cow<'_, str>) -> Piece<'_> {
    Piece::Block(Block::Text { text, citations: Vec::new(), cache_control: None })
}

fn piece<'a>(part: &'a Part, role: Role, path: &Path<'_>, losses: &mut Losses) -> Result<Option<Piece<'a>>, Unsayable> {
    let block = match part {
        Part::Text { text, cache: mark, citations } => {
            // The API refuses text without a letter, and it says nothing.
            if text.trim().is_empty() {
                if !text.is_empty() {
                    losses.dropped(path);
                }
                return Ok(None);
            }
            let native = |citation: &'a canon::Citation| match &citation.native {
                Some((Dialect::Messages, json)) if role == Role::Assistant => Some(json),
                _ => None,
            };
            let kept: Vec<_> = citations.iter().filter_map(native).collect();
            if kept.len() < citations.len() {
                losses.dropped(Path::Key(path, "citations"));
            }
            Block::Text { text: text.into(), citations: kept, cache_control: cache(mark.as_ref()) }
        }
        Part::Image { source, detail, cache: mark } => {
            if detail.as_deref().is_some_and(|detail| detail != "auto") {
                losses.dropped(Path::Key(path, "detail"));
            }
            Block::Image { source: image(source, path)?, cache_control: cache(mark.as_ref()) }
        }
        Part::File { source, name, cache: mark } => Block::Document {
            source: document(source, path)?,
            title: name.as_deref().filter(|name| !name.is_empty()),
            cache_control: cache(mark.as_ref()),
        },
        Part::Audio { .. } => return Err(unsayable(path, "it takes no audio")),
        Part::Refusal(text) => {
            losses.changed(path, "a refusal became text");
            if text.trim().is_empty() {
                return Ok(None);
            }
            return Ok(Some(plain(text.into())));
        }
        Part::Reasoning(thought) => {
            let Some(block) = reasoning(thought) else {
                losses.dropped(path);
                return Ok(None);
            };
            block
        }
        Part::Call(call) => tool_use(call, path, losses),
        Part::Result(result) => tool_result(result, path, losses)?,
        Part::Native { dialect: Dialect::Messages, json, .. } => return Ok(Some(Piece::Native(json))),
        Part::Native { .. } => {
            losses.dropped(path);
            return Ok(None);
        }
    };
    Ok(Some(Piece::Block(block)))
}

fn unsayable(path: &Path<'_>, why: &'static str) -> Unsayable {
    Unsayable { field: path.to_string(), why }
}

/// Only reasoning that this dialect's makers sealed is taken there.
fn reasoning(reasoning: &Reasoning) -> Option<Block<'_>> {
    match reasoning.seal.as_ref()? {
        Seal::Signature(signature) => {
            let thinking = match reasoning.text.as_slice() {
                [text] => Cow::Borrowed(text.as_str()),
                texts => Cow::Owned(texts.concat()),
            };
            Some(Block::Thinking { thinking, signature })
        }
        Seal::Redacted(data) => Some(Block::RedactedThinking { data }),
        Seal::Encrypted(_) => None,
    }
}

fn tool_use<'a>(call: &'a Call, path: &Path<'_>, losses: &mut Losses) -> Block<'a> {
    Block::ToolUse {
        id: ids::portable(&call.id),
        name: &call.name,
        input: input(call, path, losses),
        cache_control: cache(call.cache.as_ref()),
    }
}

/// An object, whatever the model wrote.
fn input<'a>(call: &'a Call, path: &Path<'_>, losses: &mut Losses) -> Raw<'a> {
    if !call.custom {
        if call.arguments.trim().is_empty() {
            return Raw::Made(Json::from(&serde_json::json!({})));
        }
        match serde_json::from_str::<&RawValue>(&call.arguments) {
            Ok(input) if input.get().starts_with('{') => return Raw::Text(input),
            _ => losses.changed(Path::Key(path, "arguments"), "wrapped as `input`, being no object"),
        }
    }
    Raw::Made(Json::from(&serde_json::json!({"input": call.arguments})))
}

fn tool_result<'a>(result: &'a CallResult, path: &Path<'_>, losses: &mut Losses) -> Result<Block<'a>, Unsayable> {
    let mut content = Vec::with_capacity(result.parts.len());
    for (place, part) in result.parts.iter().enumerate() {
        let parent = Path::Key(path, "content");
        content.extend(piece(part, Role::User, &Path::Index(&parent, place), losses)?);
    }
    Ok(Block::ToolResult {
        tool_use_id: ids::portable(&result.call_id),
        content: Content(content),
        is_error: result.is_error,
        cache_control: cache(result.cache.as_ref()),
    })
}

/// `data:` URLs as others write them.
fn inline(url: &str) -> Option<(&str, &str)> {
    let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
    let media_type = head.strip_suffix(";base64")?;
    Some((media_type.split(';').next().unwrap_or_default(), data))
}

fn image<'a>(source: &'a canon::Source, path: &Path<'_>) -> Result<Source<'a>, Unsayable> {
    Ok(match source {
        canon::Source::Base64 { media_type, data } => Source::Base64 { media_type, data },
        canon::Source::Url(url) => match inline(url) {
            Some((media_type, data)) => Source::Base64 { media_type, data },
            None => Source::Url { url },
        },
        canon::Source::FileId(id) => Source::File { file_id: stored(id, path)? },
        canon::Source::Text(_) => return Err(unsayable(path, "an image is no text")),
    })
}

/// Anthropic's Files API makes ids that begin so; another store's id names nothing there.
fn stored<'a>(id: &'a str, path: &Path<'_>) -> Result<&'a str, Unsayable> {
    if id.starts_with("file_") { Ok(id) } else { Err(unsayable(path, "the file is in another provider's store")) }
}

fn document<'a>(source: &'a canon::Source, path: &Path<'_>) -> Result<Source<'a>, Unsayable> {
    let inlined = |media_type: &'a str, data: &'a str| {
        if media_type == "application/pdf" {
            return Ok(Source::Base64 { media_type, data });
        }
        let is_text = media_type.starts_with("text/") || media_type == "application/json";
        // Text is sent as text; only a document of that form is decoded, and only to be written.
        let text = is_text.then(|| base64::engine::general_purpose::STANDARD.decode(data).ok()).flatten();
        match text.and_then(|bytes| String::from_utf8(bytes).ok()) {
            Some(text) => Ok(Source::Text { media_type: "text/plain", data: text.into() }),
            None => Err(unsayable(path, "it takes PDF and text files only")),
        }
    };
    match source {
        canon::Source::Base64 { media_type, data } => inlined(media_type, data),
        canon::Source::Url(url) => match inline(url) {
            Some((media_type, data)) => inlined(media_type, data),
            None => Ok(Source::Url { url }),
        },
        canon::Source::FileId(id) => Ok(Source::File { file_id: stored(id, path)? }),
        canon::Source::Text(text) => Ok(Source::Text { media_type: "text/plain", data: text.into() }),
    }
}
