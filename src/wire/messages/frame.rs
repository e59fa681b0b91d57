//! What one streamed frame, or one whole answer, tells clocks, endings and bills.
//!
//! Owns the reading of the stream's events as far as that needs it. Refuses to
//! change them. Invariant: an event that is not known is told to hold nothing and
//! goes on as it came; vendors add some. Source: Claude docs, "Streaming
//! messages": `message_start`, `content_block_*`, `message_delta`,
//! `message_stop`, `ping`, `error`.

use super::stop::{Counted, UsageWire, finish_of, report};
use crate::wire::facts::{Finish, FrameFacts, Indexes, WholeFacts, broken_off};
use crate::wire::refusal::read_error_fields;
use crate::wire::sse::SseFrame;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// A frame's fields; what they hold is read once its type is known.
#[derive(Deserialize)]
pub(super) struct Frame<'a> {
    #[serde(borrow, default)]
    r#type: Option<Word<'a>>,
    #[serde(default)]
    pub index: Option<u64>,
    #[serde(borrow, default)]
    pub message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub content_block: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub delta: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// A word that is nearly never escaped.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Word<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// The events that mean something to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    MessageStart,
    BlockStart,
    BlockDelta,
    BlockStop,
    MessageDelta,
    MessageStop,
    Ping,
    Error,
    Unknown,
}

impl<'a> Frame<'a> {
    /// # Errors
    /// A sentence saying why it is no frame of this dialect.
    pub(super) fn parse(frame: &'a SseFrame) -> Result<(Kind, Self), String> {
        let text = std::str::from_utf8(&frame.data)
            .map_err(|error| format!("a frame is not valid UTF-8 at byte {}", error.valid_up_to()))?;
        let parsed: Frame<'a> = serde_json::from_str(text).map_err(|error| not_a_frame(&error))?;
        let kind = match &parsed.r#type {
            Some(word) => kind_of(word.0.as_bytes()),
            // Compatible servers leave it out of one or the other.
            None => match &frame.event {
                Some(name) => kind_of(name),
                None if parsed.error.is_some_and(|error| error.get() != "null") => Kind::Error,
                None => return Err("a frame has no type".to_owned()),
            },
        };
        Ok((kind, parsed))
    }
}

fn kind_of(name: &[u8]) -> Kind {
    match name {
        b"content_block_delta" => Kind::BlockDelta,
        b"content_block_start" => Kind::BlockStart,
        b"content_block_stop" => Kind::BlockStop,
        b"message_start" => Kind::MessageStart,
        b"message_delta" => Kind::MessageDelta,
        b"message_stop" => Kind::MessageStop,
        b"ping" => Kind::Ping,
        b"error" => Kind::Error,
        _ => Kind::Unknown,
    }
}

/// The parser's words without its quotation of the payload, which may be a
/// part of somebody's answer.
pub(super) fn not_a_frame(error: &serde_json::Error) -> String {
    let kind = match error.classify() {
        serde_json::error::Category::Eof => "ends in the middle of its JSON",
        serde_json::error::Category::Data => "has a field of the wrong type",
        serde_json::error::Category::Syntax | serde_json::error::Category::Io => "is not JSON",
    };
    format!("a frame {kind} (column {})", error.column())
}

/// A part of a frame that must be there.
pub(super) fn part<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>, name: &str) -> Result<T, String> {
    let raw = raw.ok_or_else(|| format!("a frame has no {name}"))?;
    serde_json::from_str(raw.get()).map_err(|_| format!("a frame's {name} has another form"))
}

/// A block, as far as it tells whether it says anything.
#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow)]
    r#type: Word<'a>,
    #[serde(borrow, default)]
    text: Option<Word<'a>>,
    #[serde(borrow, default)]
    thinking: Option<Word<'a>>,
}

/// `(contents, answers)` that a block brings with its start.
fn weight(block: &Block<'_>) -> (u32, u32) {
    let filled = |word: &Option<Word<'_>>| u32::from(word.as_ref().is_some_and(|word| !word.0.is_empty()));
    match &*block.r#type.0 {
        "text" => (filled(&block.text), filled(&block.text)),
        "thinking" => (filled(&block.thinking), 0),
        kind if kind == "redacted_thinking" || is_servers(kind) => (1, 0),
        // A call, or a kind that came later: it is said to the client.
        _ => (1, 1),
    }
}

/// What the provider's own tools do is work on the answer, not the answer.
fn is_servers(kind: &str) -> bool {
    kind == "server_tool_use" || kind.ends_with("_tool_result")
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow)]
    r#type: Word<'a>,
    #[serde(borrow, default)]
    text: Option<Word<'a>>,
    #[serde(borrow, default)]
    thinking: Option<Word<'a>>,
    #[serde(borrow, default)]
    partial_json: Option<Word<'a>>,
    #[serde(borrow, default)]
    signature: Option<Word<'a>>,
}

/// The start of a message, as far as it is counted.
#[derive(Deserialize)]
struct Started {
    #[serde(default, deserialize_with = "report")]
    usage: Option<UsageWire>,
}

#[derive(Deserialize, Default)]
struct Ended<'a> {
    #[serde(borrow, default)]
    stop_reason: Option<Word<'a>>,
}

/// Reads the frames of one stream in their order.
#[derive(Debug, Default)]
pub struct FrameReader {
    counted: Counted,
    finished: bool,
    /// The block that is open, if it is the provider's own tool.
    servers: Option<u64>,
}

impl FrameReader {
    /// Reads a frame.
    ///
    /// # Errors
    /// A sentence saying why it is no frame of this dialect.
    pub fn read(&mut self, frame: &SseFrame) -> Result<FrameFacts, String> {
        let (kind, parsed) = Frame::parse(frame)?;
        let mut facts = FrameFacts::default();
        match kind {
            Kind::BlockDelta => {
                facts.choices = Indexes::of(0);
                (facts.contents, facts.answers) = self.delta(&parsed)?;
            }
            Kind::BlockStart => {
                let block: Block<'_> = part(parsed.content_block, "content_block")?;
                facts.choices = Indexes::of(0);
                (facts.contents, facts.answers) = weight(&block);
                self.servers = parsed.index.filter(|_| is_servers(&block.r#type.0));
            }
            Kind::MessageStart => {
                let started: Started = part(parsed.message, "message")?;
                facts.usage = started.usage.map(|wire| self.counted.take(&wire));
            }
            Kind::MessageDelta => {
                facts.choices = Indexes::of(0);
                let ended: Ended<'_> = parsed.delta.map_or(Ok(Ended::default()), |raw| part(Some(raw), "delta"))?;
                if let Some(reason) = ended.stop_reason {
                    self.finished = true;
                    facts.error = broken_off(&reason.0);
                    facts.finished.push((0, finish_of(&reason.0)));
                }
                if let Some(raw) = parsed.usage {
                    // A report never costs an answer.
                    let wire: UsageWire = serde_json::from_str(raw.get()).unwrap_or_default();
                    facts.usage = Some(self.counted.take(&wire));
                }
            }
            Kind::MessageStop => {
                facts.done = true;
                if !std::mem::replace(&mut self.finished, true) {
                    facts.finished.push((0, Finish::Other));
                }
            }
            Kind::Ping => facts.repeat = true,
            Kind::Error => facts.error = Some(read_error_fields(&frame.data)),
            Kind::BlockStop | Kind::Unknown => {}
        }
        Ok(facts)
    }

    fn delta(&self, frame: &Frame<'_>) -> Result<(u32, u32), String> {
        let delta: Delta<'_> = part(frame.delta, "delta")?;
        let filled = |word: &Option<Word<'_>>| u32::from(word.as_ref().is_some_and(|word| !word.0.is_empty()));
        Ok(match &*delta.r#type.0 {
            "text_delta" => (filled(&delta.text), filled(&delta.text)),
            "input_json_delta" => {
                let said = filled(&delta.partial_json);
                let is_servers = self.servers.is_some() && self.servers == frame.index;
                (said, if is_servers { 0 } else { said })
            }
            "thinking_delta" => (filled(&delta.thinking), 0),
            "signature_delta" => (filled(&delta.signature), 0),
            "citations_delta" => (1, 1),
            _ => (1, 0),
        })
    }
}

/// Reads an unstreamed answer.
///
/// # Errors
/// A sentence saying why it is not an answer of this dialect.
pub fn read_whole(body: &[u8]) -> Result<WholeFacts, String> {
    #[derive(Deserialize)]
    struct Whole<'a> {
        #[serde(borrow, default)]
        r#type: Option<Word<'a>>,
        #[serde(borrow, default)]
        content: Option<Vec<Block<'a>>>,
        #[serde(borrow, default)]
        stop_reason: Option<Word<'a>>,
        #[serde(default, deserialize_with = "report")]
        usage: Option<UsageWire>,
        #[serde(borrow, default)]
        error: Option<&'a RawValue>,
    }
    let text = std::str::from_utf8(body).map_err(|_| "the answer is not valid UTF-8".to_owned())?;
    let whole: Whole<'_> = serde_json::from_str(text).map_err(|error| not_a_frame(&error))?;
    let is_error = whole.r#type.is_some_and(|word| word.0 == "error");
    if is_error || whole.error.is_some_and(|error| error.get() != "null") {
        return Ok(WholeFacts { error: Some(read_error_fields(body)), ..WholeFacts::default() });
    }
    let Some(content) = whole.content else {
        return Err("the answer has neither content nor error".to_owned());
    };
    Ok(WholeFacts {
        choices: 1,
        has_answer: content.iter().any(|block| weight(block).1 > 0),
        error: whole.stop_reason.as_ref().and_then(|reason| broken_off(&reason.0)),
        finish: whole.stop_reason.map(|reason| finish_of(&reason.0)),
        usage: whole.usage.map(|wire| Counted::default().take(&wire)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::usage::Usage;
    use bytes::Bytes;

    fn frame(data: &str) -> SseFrame {
        SseFrame { event: None, data: Bytes::from(data.to_owned()) }
    }

    fn facts(reader: &mut FrameReader, data: &str) -> FrameFacts {
        reader.read(&frame(data)).expect(data)
    }

    #[test]
    fn only_what_says_something_is_content() {
        for (data, contents, answers) in [
            (r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#, 0, 0),
            (
                r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
                0,
                0,
            ),
            (
                r#"{"type":"content_block_start","index":0,"content_block":{"type":"redacted_thinking","data":"x"}}"#,
                1,
                0,
            ),
            (
                r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"a","name":"f","input":{}}}"#,
                1,
                1,
            ),
            (
                r#"{"type":"content_block_start","index":0,"content_block":{"type":"web_search_tool_result","tool_use_id":"a","content":[]}}"#,
                1,
                0,
            ),
            (r#"{"type":"content_block_start","index":0,"content_block":{"type":"hologram"}}"#, 1, 1),
            (r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}"#, 1, 1),
            (r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\n"}}"#, 1, 1),
            (r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":""}}"#, 0, 0),
            (
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{"}}"#,
                1,
                1,
            ),
            (r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}"#, 1, 0),
            (r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"s"}}"#, 1, 0),
            (r#"{"type":"content_block_delta","index":0,"delta":{"type":"citations_delta","citation":{}}}"#, 1, 1),
            (r#"{"type":"content_block_stop","index":0}"#, 0, 0),
            (r#"{"type":"something_new","delta":"x","message":7}"#, 0, 0),
        ] {
            let facts = facts(&mut FrameReader::default(), data);
            assert_eq!((facts.contents, facts.answers), (contents, answers), "{data}");
        }
    }

    #[test]
    fn a_stream_is_told_from_its_start_to_its_end() {
        let mut reader = FrameReader::default();
        let start = facts(
            &mut reader,
            r#"{"type":"message_start","message":{"id":"msg_1","usage":{"input_tokens":25,"cache_read_input_tokens":75,"output_tokens":1}}}"#,
        );
        assert_eq!(start.usage, Some(Usage { input: 100, output: 1, cached_input: 75, ..Usage::default() }));
        assert!(start.choices.is_empty() && start.contents == 0);
        assert!(facts(&mut reader, r#"{"type":"ping"}"#).repeat);
        let query =
            r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{"}}"#;
        let search = r#"{"type":"content_block_start","index":1,"content_block":{"type":"server_tool_use","id":"s","name":"web_search","input":{}}}"#;
        assert_eq!(facts(&mut reader, search).answers, 0);
        assert_eq!((facts(&mut reader, query).contents, facts(&mut reader, query).answers), (1, 0));
        let end = facts(
            &mut reader,
            r#"{"type":"message_delta","delta":{"stop_reason":"max_tokens","stop_sequence":null},"usage":{"output_tokens":15}}"#,
        );
        assert_eq!(end.finished, [(0, Finish::Length)]);
        assert_eq!(end.usage.expect("usage").output, 15);
        assert_eq!(end.choices.iter().collect::<Vec<_>>(), [0]);
        let stop = facts(&mut reader, r#"{"type":"message_stop"}"#);
        assert!(stop.done && stop.finished.is_empty());
        // A report in another form, and a delta that is not there, cost no answer.
        let odd = r#"{"type":"message_start","message":{"usage":{"output_tokens_details":"x","input_tokens":[]}}}"#;
        assert_eq!(facts(&mut FrameReader::default(), odd).usage, None);
        let bare = facts(&mut reader, r#"{"type":"message_delta","usage":{"output_tokens":16}}"#);
        assert_eq!((bare.usage.map(|usage| usage.output), bare.finished.len()), (Some(16), 0));
        let stop = facts(&mut FrameReader::default(), r#"{"type":"message_stop"}"#);
        assert_eq!(stop.finished, [(0, Finish::Other)]);
    }

    #[test]
    fn errors_are_told_and_what_is_no_frame_is_refused_without_quoting_it() {
        let mut reader = FrameReader::default();
        let error =
            facts(&mut reader, r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#);
        assert_eq!(error.error.and_then(|error| error.kind).as_deref(), Some("overloaded_error"));
        assert!(facts(&mut reader, r#"{"error":{"message":"m"}}"#).error.is_some());
        let named = SseFrame { event: Some(Bytes::from_static(b"ping")), data: Bytes::from_static(b"{}") };
        assert!(reader.read(&named).expect("a ping").repeat);
        for bad in [
            "{\"secret\":1}",
            "secret",
            "{\"type\":\"content_block_delta\",\"delta\":{\"text\":\"secret",
            "{\"type\":\"content_block_delta\",\"delta\":\"secret\"}",
            "{\"type\":\"content_block_delta\"}",
            "{\"type\":\"content_block_start\",\"content_block\":{\"text\":\"secret\"}}",
            "[]",
        ] {
            let error = reader.read(&frame(bad)).expect_err(bad);
            assert!(!error.contains("secret"), "{error}");
        }
        let half = SseFrame { event: None, data: Bytes::from_static(b"{\"type\":\"x\xe2\x82\"}") };
        assert!(reader.read(&half).expect_err("half a character").contains("UTF-8"));
    }

    #[test]
    fn a_whole_answer_is_told_as_its_stream_would_be() {
        let whole = read_whole(
            br#"{"type":"message","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"hi"}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":2}}"#,
        )
        .expect("an answer");
        assert_eq!((whole.choices, whole.has_answer, whole.finish), (1, true, Some(Finish::Stop)));
        assert_eq!(whole.usage.expect("usage").output, 2);
        let empty = read_whole(br#"{"type":"message","content":[],"stop_reason":"end_turn"}"#).expect("an answer");
        assert!(!empty.has_answer);
        assert!(
            read_whole(br#"{"type":"error","error":{"type":"api_error","message":"m"}}"#)
                .expect("read")
                .error
                .is_some()
        );
        assert!(read_whole(b"{}").is_err());
        assert!(read_whole(b"<html>").is_err());
    }
}
