//! What one frame, or one whole answer, tells.
//!
//! Owns the reading of events and response objects as far as clocks, endings and
//! usage need it. Refuses to change them, and to know every event: vendors add
//! some, and those pass without a meaning. Invariant: an answer is finished by
//! `response.completed` or `response.incomplete` alone. Source: OpenAI API
//! reference, "Streaming events" of responses.

use super::reading::as_word;
use super::usage::UsageWire;
use crate::domain::usage::Usage;
use crate::wire::facts::{Finish, FrameFacts, Indexes, WholeFacts};
use crate::wire::refusal::{ErrorFields, read_error_fields};
use crate::wire::sse::SseFrame;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Reads the frames of one stream in their order.
#[derive(Debug, Default)]
pub struct FrameReader {
    /// A call that the client has to answer was begun.
    calls: bool,
    /// Content came since an item began or ended: what the item's end repeats is not new.
    streamed: bool,
    /// Any part of an answer came.
    answered: bool,
}

impl FrameReader {
    /// Reads one frame.
    ///
    /// # Errors
    /// A sentence saying why it is not an event of this dialect.
    pub fn read(&mut self, frame: &SseFrame) -> Result<FrameFacts, String> {
        if frame.data.is_empty() || &frame.data[..] == b"[DONE]" {
            // Some servers end as chat completions do.
            return Ok(FrameFacts::default());
        }
        let text = std::str::from_utf8(&frame.data)
            .map_err(|error| format!("a frame is not valid UTF-8 at byte {}", error.valid_up_to()))?;
        let event: Event<'_> = serde_json::from_str(text).map_err(|error| not_of_this_dialect("a frame", &error))?;
        let mut facts = FrameFacts { sequence: event.sequence_number.and_then(number), ..FrameFacts::default() };
        let kind = match (&event.r#type, &frame.event) {
            (Some(kind), _) => &**kind,
            (None, _) if is_there(event.error) => "error",
            (None, Some(name)) => std::str::from_utf8(name).unwrap_or_default(),
            (None, None) => return Err("a frame has neither a type nor an error".to_owned()),
        };
        match delta_of(kind) {
            Some(is_answer) => {
                if event.delta.is_some_and(|delta| !matches!(delta.get(), "\"\"" | "null")) {
                    self.tell(&mut facts, is_answer);
                    self.streamed = true;
                }
            }
            None => self.other(kind, &event, &frame.data, &mut facts),
        }
        Ok(facts)
    }

    fn tell(&mut self, facts: &mut FrameFacts, is_answer: bool) {
        facts.contents += 1;
        facts.answers += u32::from(is_answer);
        facts.choices = Indexes::of(0);
        self.answered |= is_answer;
    }

    fn other(&mut self, kind: &str, event: &Event<'_>, payload: &[u8], facts: &mut FrameFacts) {
        match kind {
            "response.in_progress" | "response.queued" | "keepalive" | "ping" => facts.repeat = true,
            "response.output_item.added" => {
                self.streamed = false;
                self.item(event.item, false, facts);
            }
            "response.output_item.done" => {
                self.item(event.item, true, facts);
                self.streamed = false;
            }
            "response.image_generation_call.partial_image" => self.tell(facts, true),
            "response.completed" | "response.incomplete" => {
                let response = response(event.response);
                if !self.answered {
                    for item in &response.output {
                        self.item(Some(item), true, facts);
                    }
                }
                self.calls |= response.output.iter().any(|item| kind_of_item(item).is_some_and(|kind| is_call(&kind)));
                facts.usage = response.usage();
                facts.finished.push((0, response.finish(kind == "response.completed", self.calls)));
                facts.choices = Indexes::of(0);
                facts.done = true;
            }
            "response.failed" | "response.cancelled" => {
                facts.usage = response(event.response).usage();
                facts.error = Some(failure(event.response));
                facts.done = true;
            }
            "error" => facts.error = Some(read_error_fields(payload)),
            _ => {}
        }
    }

    /// An item that begins or ends. Its beginning is content where it is a call;
    /// its end is where nothing of it was streamed.
    fn item(&mut self, item: Option<&RawValue>, ended: bool, facts: &mut FrameFacts) {
        let Some(item) = item else { return };
        let Some(kind) = kind_of_item(item) else { return };
        match &*kind {
            "message" | "reasoning" => {
                if ended && !self.streamed && says_something(item) {
                    self.tell(facts, kind == "message");
                }
            }
            "image_generation_call" => {
                if ended {
                    self.tell(facts, true);
                }
            }
            kind if is_call(kind) => {
                if !ended || !self.calls {
                    self.tell(facts, true);
                }
                self.calls = true;
            }
            // A step of a tool that the provider runs: it works, and has not answered yet.
            _ => self.tell(facts, false),
        }
    }
}

/// Whether an event is a delta, and then, whether it is one of the answer.
fn delta_of(kind: &str) -> Option<bool> {
    match kind {
        "response.output_text.delta"
        | "response.function_call_arguments.delta"
        | "response.custom_tool_call_input.delta"
        | "response.refusal.delta"
        | "response.audio.delta"
        | "response.audio.transcript.delta" => Some(true),
        "response.reasoning_summary_text.delta"
        | "response.reasoning_text.delta"
        | "response.mcp_call_arguments.delta"
        | "response.code_interpreter_call_code.delta" => Some(false),
        _ => None,
    }
}

/// Items that the client has to answer.
pub(super) fn is_call(kind: &str) -> bool {
    matches!(
        kind,
        "function_call"
            | "custom_tool_call"
            | "local_shell_call"
            | "shell_call"
            | "apply_patch_call"
            | "computer_call"
            | "tool_search_call"
            | "mcp_approval_request"
    )
}

/// Reads an unstreamed answer.
///
/// # Errors
/// A sentence saying why it is not an answer of this dialect.
pub fn read_whole(body: &[u8]) -> Result<WholeFacts, String> {
    let text = std::str::from_utf8(body).map_err(|_| "the answer is not valid UTF-8".to_owned())?;
    let whole: Response<'_> = serde_json::from_str(text).map_err(|error| not_of_this_dialect("the answer", &error))?;
    let status = whole.status.as_deref();
    if is_there(whole.error) || matches!(status, Some("failed" | "cancelled")) {
        let raw: Option<&RawValue> = serde_json::from_str(text).ok();
        return Ok(WholeFacts { usage: whole.usage(), error: Some(failure(raw)), ..WholeFacts::default() });
    }
    if whole.object.as_deref() == Some("error") || (status.is_none() && whole.output.is_empty()) {
        return Err("the answer has neither a status, output nor error".to_owned());
    }
    // A job in the background has only begun: to have taken it is the answer.
    let begun = matches!(status, Some("queued" | "in_progress"));
    let calls = whole.output.iter().any(|item| kind_of_item(item).is_some_and(|kind| is_call(&kind)));
    let answers = |item: &&RawValue| {
        kind_of_item(item).is_some_and(|kind| match &*kind {
            "message" => says_something(item),
            "image_generation_call" => true,
            kind => is_call(kind),
        })
    };
    Ok(WholeFacts {
        choices: 1,
        has_answer: begun || whole.output.iter().any(answers),
        finish: (!begun).then(|| whole.finish(status != Some("incomplete"), calls)),
        usage: whole.usage(),
        error: None,
    })
}

/// The parser's words without its quotation of the payload, which may be a part
/// of somebody's answer.
pub(super) fn not_of_this_dialect(what: &str, error: &serde_json::Error) -> String {
    let kind = match error.classify() {
        serde_json::error::Category::Eof => "ends in the middle of its JSON",
        serde_json::error::Category::Data => "has a field of the wrong type",
        serde_json::error::Category::Syntax | serde_json::error::Category::Io => "is not JSON",
    };
    format!("{what} {kind} (column {})", error.column())
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, default)]
    r#type: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    sequence_number: Option<&'a RawValue>,
    #[serde(borrow, default)]
    delta: Option<&'a RawValue>,
    #[serde(borrow, default)]
    item: Option<&'a RawValue>,
    #[serde(borrow, default)]
    response: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// A response object, as far as it is looked at.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Response<'a> {
    #[serde(borrow)]
    object: Option<Cow<'a, str>>,
    #[serde(borrow)]
    status: Option<Cow<'a, str>>,
    #[serde(borrow)]
    output: Items<'a>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    incomplete_details: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// `output`, where it is a list.
#[derive(Default)]
struct Items<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Items<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::<Vec<&'de RawValue>>::deserialize(deserializer).map(|items| Self(items.unwrap_or_default()))
    }
}

impl<'a> std::ops::Deref for Items<'a> {
    type Target = [&'a RawValue];
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<'a> IntoIterator for &'a Items<'_> {
    type Item = &'a &'a RawValue;
    type IntoIter = std::slice::Iter<'a, &'a RawValue>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl Response<'_> {
    fn usage(&self) -> Option<Usage> {
        let wire: UsageWire = serde_json::from_str(self.usage?.get()).ok()?;
        Some(wire.into())
    }

    fn finish(&self, completed: bool, calls: bool) -> Finish {
        #[derive(Deserialize)]
        struct Details<'a> {
            #[serde(borrow)]
            reason: Cow<'a, str>,
        }
        if completed {
            return if calls { Finish::ToolCalls } else { Finish::Stop };
        }
        let details = self.incomplete_details.and_then(|raw| serde_json::from_str::<Details<'_>>(raw.get()).ok());
        finish_of(details.as_ref().map(|details| &*details.reason))
    }
}

/// Why an answer is incomplete.
pub(super) fn finish_of(reason: Option<&str>) -> Finish {
    match reason {
        Some("content_filter") => Finish::ContentFilter,
        // Whatever cut it short, it is not whole.
        _ => Finish::Length,
    }
}

fn response(raw: Option<&RawValue>) -> Response<'_> {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
}

/// What a response object says of its failure.
fn failure(response: Option<&RawValue>) -> ErrorFields {
    #[derive(Deserialize)]
    struct Failed<'a> {
        #[serde(borrow, default)]
        error: Option<&'a RawValue>,
        #[serde(borrow, default)]
        status: Option<&'a RawValue>,
    }
    let failed: Option<Failed<'_>> = response.and_then(|raw| serde_json::from_str(raw.get()).ok());
    let Some(failed) = failed else { return ErrorFields::default() };
    match failed.error.filter(|error| is_there(Some(error))) {
        Some(error) => {
            let words = format!("{{\"error\":{}}}", error.get());
            read_error_fields(words.as_bytes())
        }
        None => ErrorFields {
            code: failed.status.and_then(as_word).map(Cow::into_owned),
            message: Some("the target gives no reason".to_owned()),
            ..ErrorFields::default()
        },
    }
}

fn is_there(raw: Option<&RawValue>) -> bool {
    raw.is_some_and(|raw| raw.get() != "null")
}

fn number(raw: &RawValue) -> Option<u64> {
    raw.get().parse().ok()
}

fn kind_of_item(item: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Typed<'a> {
        #[serde(borrow)]
        r#type: Cow<'a, str>,
        #[serde(borrow, default)]
        execution: Option<Cow<'a, str>>,
    }
    let typed: Typed<'_> = serde_json::from_str(item.get()).ok()?;
    // A search among tools that the provider makes itself asks nothing of the client.
    Some(if typed.execution.as_deref() == Some("server") { "server_step".into() } else { typed.r#type })
}

/// Whether a message or reasoning holds text.
fn says_something(item: &RawValue) -> bool {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Said<'a> {
        #[serde(borrow)]
        content: Option<Vec<Part<'a>>>,
        #[serde(borrow)]
        summary: Option<Vec<Part<'a>>>,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Part<'a> {
        #[serde(borrow)]
        text: Option<Cow<'a, str>>,
        #[serde(borrow)]
        refusal: Option<Cow<'a, str>>,
    }
    let said: Said<'_> = serde_json::from_str(item.get()).unwrap_or_default();
    let filled = |text: &Option<Cow<'_, str>>| text.as_ref().is_some_and(|text| !text.is_empty());
    let mut parts = said.content.iter().flatten().chain(said.summary.iter().flatten());
    parts.any(|part| filled(&part.text) || filled(&part.refusal))
}

#[cfg(test)]
pub(super) mod tests;
