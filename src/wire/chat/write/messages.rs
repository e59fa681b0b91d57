//! Turns as messages.
//!
//! Owns roles, the order that chat completions demand (results right behind the
//! calls they answer, all calls of a turn in one message) and the parts of a
//! message. Refuses parts whose loss would change the question. Invariant:
//! between a message with calls and its results nothing is written.

use super::super::losses::{At, Losses};
use super::super::seal::{Detail, write_details};
use crate::wire::canon::{Call, CallResult, Citation, Json, Part, Reasoning, Role, Source, Turn, Unsayable, WriteFor};
use crate::wire::dialect::Dialect;
use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};
use std::borrow::Cow;

/// Characters of a call's id that OpenAI takes.
const ID_MAX: usize = 40;

/// A message as it is written.
pub(super) struct Message<'a> {
    role: &'static str,
    name: Option<&'a str>,
    tool_call_id: Option<Cow<'a, str>>,
    content: Content<'a>,
    refusal: Option<&'a str>,
    /// The field that the target reads reasoning from, and what stands there.
    reasoning: Option<(&'a str, Thought)>,
    annotations: Vec<Annotation<'a>>,
    tool_calls: Vec<ToolCall<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Null,
    Text(Cow<'a, str>),
    Pieces(Vec<Piece<'a>>),
}

#[derive(Serialize)]
#[serde(untagged)]
enum Thought {
    Text(String),
    Details(Vec<Detail>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Piece<'a> {
    Text {
        text: Cow<'a, str>,
    },
    ImageUrl {
        image_url: ImageUrl<'a>,
    },
    InputAudio {
        input_audio: InputAudio<'a>,
    },
    File {
        file: File<'a>,
    },
    Refusal {
        refusal: &'a str,
    },
    #[serde(untagged)]
    Native(&'a Json),
}

#[derive(Serialize)]
struct ImageUrl<'a> {
    url: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

#[derive(Serialize)]
struct InputAudio<'a> {
    data: &'a str,
    format: &'a str,
}

#[derive(Serialize)]
struct File<'a> {
    #[serde(rename = "filename", skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(rename = "file_data", skip_serializing_if = "Option::is_none")]
    data: Option<String>,
    #[serde(rename = "file_id", skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ToolCall<'a> {
    Function { id: Cow<'a, str>, function: Function<'a> },
    Custom { id: Cow<'a, str>, custom: Custom<'a> },
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    arguments: &'a str,
}

#[derive(Serialize)]
struct Custom<'a> {
    name: &'a str,
    input: &'a str,
}

#[derive(Serialize)]
struct Annotation<'a> {
    r#type: &'static str,
    url_citation: UrlCitation<'a>,
}

#[derive(Serialize)]
struct UrlCitation<'a> {
    start_index: u64,
    end_index: u64,
    title: &'a str,
    url: &'a str,
}

impl Serialize for Message<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("role", self.role)?;
        if let Some(name) = self.name {
            map.serialize_entry("name", name)?;
        }
        if let Some(id) = &self.tool_call_id {
            map.serialize_entry("tool_call_id", id)?;
        }
        if let Some((field, thought)) = &self.reasoning {
            map.serialize_entry(field, thought)?;
        }
        map.serialize_entry("content", &self.content)?;
        if let Some(refusal) = self.refusal {
            map.serialize_entry("refusal", refusal)?;
        }
        if !self.annotations.is_empty() {
            map.serialize_entry("annotations", &self.annotations)?;
        }
        if !self.tool_calls.is_empty() {
            map.serialize_entry("tool_calls", &self.tool_calls)?;
        }
        map.end()
    }
}

impl<'a> Message<'a> {
    const fn new(role: &'static str, content: Content<'a>) -> Self {
        Self {
            role,
            name: None,
            tool_call_id: None,
            content,
            refusal: None,
            reasoning: None,
            annotations: Vec::new(),
            tool_calls: Vec::new(),
        }
    }
}

/// Turns with their places in the conversation.
type Numbered<'a> = (usize, &'a Turn);

/// All messages.
///
/// # Errors
/// [`Unsayable`] names the part.
pub(super) fn write<'a>(
    turns: &'a [Turn],
    to: &WriteFor<'a>,
    losses: &mut Losses,
) -> Result<Vec<Message<'a>>, Unsayable> {
    let numbered: Vec<Numbered<'a>> = turns.iter().enumerate().filter(|(_, turn)| !turn.parts.is_empty()).collect();
    let mut out = Vec::with_capacity(numbered.len());
    for group in numbered.chunk_by(|(_, a), (_, b)| a.role == b.role && a.name == b.name) {
        let role = group[0].1.role;
        if role == Role::Assistant {
            // Calls of neighbouring turns are answered together, so they stand together.
            let has_calls = group.iter().any(|(_, turn)| turn.parts.iter().any(|part| matches!(part, Part::Call(_))));
            let size = if has_calls { group.len() } else { 1 };
            for turns in group.chunks(size) {
                out.extend(assistant(turns, to, losses));
            }
            continue;
        }
        let role = match role {
            Role::Developer if to.developer_role => "developer",
            Role::System | Role::Developer => "system",
            Role::User | Role::Assistant => "user",
        };
        results(group, &mut out, losses)?;
        for (place, turn) in group {
            out.extend(plain(role, *place, turn, losses)?);
        }
    }
    Ok(out)
}

/// A turn without calls; its results were written before.
fn plain<'a>(
    role: &'static str,
    place: usize,
    turn: &'a Turn,
    losses: &mut Losses,
) -> Result<Option<Message<'a>>, Unsayable> {
    let messages = At::Field("messages");
    let at = messages.index(place);
    let at = at.key("content");
    let mut pieces = Vec::new();
    for (place, part) in turn.parts.iter().enumerate() {
        if !matches!(part, Part::Result(_)) {
            pieces.extend(piece(part, &at.index(place), losses)?);
        }
    }
    let message = Message { name: turn.name.as_deref(), ..Message::new(role, content(pieces)) };
    Ok(Some(message).filter(|message| !matches!(message.content, Content::Null)))
}

/// One text as a string, so that targets that know no lists understand it.
fn content(mut pieces: Vec<Piece<'_>>) -> Content<'_> {
    match pieces.pop() {
        None => Content::Null,
        Some(Piece::Text { text }) if pieces.is_empty() => Content::Text(text),
        Some(piece) => {
            pieces.push(piece);
            Content::Pieces(pieces)
        }
    }
}

/// The results of a group of turns as tool messages; what such a message cannot
/// carry comes in one user message behind all of them.
fn results<'a>(group: &[Numbered<'a>], out: &mut Vec<Message<'a>>, losses: &mut Losses) -> Result<(), Unsayable> {
    let messages = At::Field("messages");
    let mut attached = Vec::new();
    let mut others_before = false;
    for (place, turn) in group {
        let at = messages.index(*place);
        let content = at.key("content");
        for (place, part) in turn.parts.iter().enumerate() {
            let Part::Result(result) = part else {
                others_before = true;
                continue;
            };
            if others_before {
                losses.changed(at, "results stand before what was said with them");
            }
            out.push(tool_message(result, &content.index(place), &mut attached, losses)?);
        }
    }
    if !attached.is_empty() {
        out.push(Message::new("user", Content::Pieces(attached)));
    }
    Ok(())
}

fn tool_message<'a>(
    result: &'a CallResult,
    at: &At<'_>,
    attached: &mut Vec<Piece<'a>>,
    losses: &mut Losses,
) -> Result<Message<'a>, Unsayable> {
    let id = short(&result.call_id);
    let mut texts = Vec::new();
    let mut first = true;
    for (place, part) in result.parts.iter().enumerate() {
        let at = at.index(place);
        match piece(part, &at, losses)? {
            Some(text @ Piece::Text { .. }) => texts.push(text),
            Some(other) => {
                losses.changed(at, "sent in a user message behind the result");
                if std::mem::take(&mut first) {
                    attached.push(Piece::Text { text: format!("From the result of {id}:").into() });
                }
                attached.push(other);
            }
            None => {}
        }
    }
    if texts.is_empty() && !first {
        texts.push(Piece::Text { text: "The result is in the next user message.".into() });
    }
    if result.is_error {
        // The dialect has no field for it, and a model must not take it for a good one.
        match texts.first_mut() {
            Some(Piece::Text { text }) => *text = format!("Error: {text}").into(),
            _ => texts.push(Piece::Text { text: "Error".into() }),
        }
    }
    let content = match content(texts) {
        Content::Null => Content::Text("".into()),
        content => content,
    };
    Ok(Message { tool_call_id: Some(id), ..Message::new("tool", content) })
}

/// One part of a user's, system's or result's.
fn piece<'a>(part: &'a Part, at: &At<'_>, losses: &mut Losses) -> Result<Option<Piece<'a>>, Unsayable> {
    let piece = match part {
        Part::Text { text, citations, cache: _ } => {
            if !citations.is_empty() {
                losses.dropped(at.key("citations"));
            }
            Piece::Text { text: text.into() }
        }
        Part::Image { source, detail, cache: _ } => match source {
            Source::Text(text) => Piece::Text { text: text.into() },
            Source::FileId(_) => return unsayable(at, "chat completions take no image by its file id"),
            Source::Url(url) => image(url.into(), detail.as_deref()),
            Source::Base64 { media_type, data } => image(data_url(media_type, data).into(), detail.as_deref()),
        },
        Part::File { source, name, cache: _ } => file(source, name.as_deref(), at, losses)?,
        Part::Audio { data, format } => Piece::InputAudio { input_audio: InputAudio { data, format } },
        Part::Refusal(text) => Piece::Text { text: text.into() },
        Part::Native { dialect: Dialect::Chat, json, .. } => Piece::Native(json),
        Part::Native { kind, .. } => {
            losses.dropped(format_args!("{at} ({kind:.40})"));
            return Ok(None);
        }
        Part::Reasoning(_) | Part::Call(_) | Part::Result(_) => {
            losses.dropped(at);
            return Ok(None);
        }
    };
    Ok(Some(piece))
}

fn unsayable<T>(at: &At<'_>, why: &'static str) -> Result<T, Unsayable> {
    Err(Unsayable { field: at.to_string(), why })
}

const fn image<'a>(url: Cow<'a, str>, detail: Option<&'a str>) -> Piece<'a> {
    Piece::ImageUrl { image_url: ImageUrl { url, detail } }
}

fn file<'a>(
    source: &'a Source,
    name: Option<&'a str>,
    at: &At<'_>,
    losses: &mut Losses,
) -> Result<Piece<'a>, Unsayable> {
    let file = match source {
        Source::Url(_) => return unsayable(at, "chat completions take no file by its URL"),
        Source::Text(text) => {
            losses.changed(at, "a text document is sent as text");
            let text = match name {
                Some(name) => format!("{name}:\n\n{text}").into(),
                None => text.into(),
            };
            return Ok(Piece::Text { text });
        }
        Source::FileId(id) => File { name, data: None, id: Some(id) },
        Source::Base64 { media_type, data } => {
            // OpenAI refuses data without a name.
            let plain = if media_type == "application/pdf" { "file.pdf" } else { "file" };
            File { name: name.or(Some(plain)), data: Some(data_url(media_type, data)), id: None }
        }
    };
    Ok(Piece::File { file })
}

fn data_url(media_type: &str, data: &str) -> String {
    format!("data:{media_type};base64,{data}")
}

/// An id that the target takes: the same for a call and its result.
fn short(id: &str) -> Cow<'_, str> {
    if id.len() <= ID_MAX { id.into() } else { format!("call_{}", &super::hash(id)[..32]).into() }
}

/// What is gathered of an assistant's turns for one message.
#[derive(Default)]
struct Said<'a> {
    pieces: Vec<Piece<'a>>,
    /// Pieces whose characters were counted, and how many those were.
    counted: (usize, u64),
    refusals: Vec<&'a str>,
    reasoning: Vec<&'a Reasoning>,
    annotations: Vec<Annotation<'a>>,
    calls: Vec<ToolCall<'a>>,
}

/// One message of an assistant; `None` when nothing of it can be said.
fn assistant<'a>(turns: &[Numbered<'a>], to: &WriteFor<'a>, losses: &mut Losses) -> Option<Message<'a>> {
    let messages = At::Field("messages");
    let mut said = Said::default();
    for (place, turn) in turns {
        let at = messages.index(*place);
        let content = at.key("content");
        for (place, part) in turn.parts.iter().enumerate() {
            said.part(part, &at, &content.index(place), losses);
        }
    }
    let Said { mut pieces, refusals, reasoning, annotations, calls, .. } = said;
    let refusal = match refusals.as_slice() {
        [refusal] => Some(*refusal),
        several => {
            pieces.extend(several.iter().map(|refusal| Piece::Refusal { refusal }));
            None
        }
    };
    let reasoning = thought(&reasoning, to, losses);
    let content = match content(pieces) {
        // Only beside calls or a refusal may there be no text at all.
        Content::Null if calls.is_empty() && refusal.is_none() => {
            reasoning.as_ref()?;
            Content::Text("".into())
        }
        content => content,
    };
    let name = turns.first().and_then(|(_, turn)| turn.name.as_deref());
    let message = Message::new("assistant", content);
    Some(Message { name, refusal, reasoning, annotations, tool_calls: calls, ..message })
}

impl<'a> Said<'a> {
    fn part(&mut self, part: &'a Part, turn: &At<'_>, at: &At<'_>, losses: &mut Losses) {
        match part {
            Part::Text { text, citations, cache: _ } => {
                if !self.calls.is_empty() && !text.is_empty() {
                    losses.changed(turn, "texts behind calls stand before them");
                }
                // Only what is cited makes the count worth its time.
                if !citations.is_empty() {
                    let (pieces, chars) = &mut self.counted;
                    *chars += self.pieces[*pieces..].iter().map(piece_chars).sum::<u64>();
                    *pieces = self.pieces.len();
                    let start = *chars;
                    self.cite(citations, start, start + text.chars().count() as u64, losses);
                }
                self.pieces.push(Piece::Text { text: text.into() });
            }
            Part::Refusal(text) => self.refusals.push(text),
            Part::Reasoning(block) => self.reasoning.push(block),
            Part::Call(call) => self.calls.push(tool_call(call)),
            Part::Native { dialect: Dialect::Chat, json, .. } => self.pieces.push(Piece::Native(json)),
            Part::Native { kind, .. } => losses.dropped(format_args!("{at} ({kind:.40})")),
            // What the model itself made comes back in no chat message.
            Part::Image { .. } | Part::File { .. } | Part::Audio { .. } | Part::Result(_) => losses.dropped(at),
        }
    }

    fn cite(&mut self, citations: &'a [Citation], start: u64, end: u64, losses: &mut Losses) {
        for citation in citations {
            let Some(url) = &citation.url else {
                losses.dropped("citations without a URL");
                continue;
            };
            if citation.quote.is_some() {
                losses.dropped("quotes in citations");
            }
            let moved = |(from, to): (u64, u64)| (from.saturating_add(start), to.saturating_add(start));
            let (from, to) = citation.span.map_or((start, end), moved);
            self.annotations.push(Annotation {
                r#type: "url_citation",
                url_citation: UrlCitation {
                    start_index: from,
                    end_index: to,
                    title: citation.title.as_deref().unwrap_or_default(),
                    url,
                },
            });
        }
    }
}

fn piece_chars(piece: &Piece<'_>) -> u64 {
    match piece {
        Piece::Text { text } => text.chars().count() as u64,
        _ => 0,
    }
}

fn tool_call(call: &Call) -> ToolCall<'_> {
    let id = short(&call.id);
    let Call { name, arguments, .. } = call;
    if call.custom {
        return ToolCall::Custom { id, custom: Custom { name, input: arguments } };
    }
    let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
    ToolCall::Function { id, function: Function { name, arguments } }
}

/// Reasoning of earlier turns, for a target that takes it.
fn thought<'a>(blocks: &[&Reasoning], to: &WriteFor<'a>, losses: &mut Losses) -> Option<(&'a str, Thought)> {
    if blocks.is_empty() {
        return None;
    }
    let Some(field) = to.reasoning_field else {
        losses.dropped("reasoning of earlier turns");
        return None;
    };
    if field == "reasoning_details" {
        let (mut details, mut index) = (Vec::new(), 0);
        for block in blocks {
            write_details(block, &mut index, &mut details);
        }
        return (!details.is_empty()).then_some((field, Thought::Details(details)));
    }
    if blocks.iter().any(|block| block.seal.is_some()) {
        losses.dropped("seals of earlier reasoning");
    }
    let texts: Vec<&str> = blocks.iter().flat_map(|block| &block.text).map(String::as_str).collect();
    (!texts.is_empty()).then(|| (field, Thought::Text(texts.join("\n\n"))))
}
