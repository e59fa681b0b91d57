//! Errors as this dialect writes them.
//!
//! Owns the body of a refusal, and the `response.failed` of an answer that had
//! begun. Refuses to name a target or a key: the words come from whoever knows
//! what may be shown. Invariant: an answer that failed keeps its id and its
//! sequence, and never gets a `response.completed`.
//!
//! What agents act on: Codex compacts on the code `context_length_exceeded`, but
//! only inside `response.failed`; of a status 400 it shows the body. In a failed
//! response it knows `insufficient_quota`, `usage_not_included`, `invalid_prompt`,
//! `server_is_overloaded` and `slow_down` as ends; it tries all others again, a
//! `rate_limit_exceeded` after the time that "try again in 1.5s" names.

use super::json_out::JsonOut;
use crate::wire::chat::ErrorBody;
use crate::wire::redact::redact;
use crate::wire::refusal::{ErrorFields, read_error_fields};
use crate::wire::sse::SseFrame;
use bytes::{Bytes, BytesMut};
use serde_json::Value;

/// Characters of a target's text that was no error object.
const WORDS_MAX: usize = 400;
/// What OpenAI says of a context that is too long; agents look for these words, too.
const TOO_LONG: &str = "Your input exceeds the context window of this model. Please adjust your input and try again.";

/// The body of an HTTP answer. OpenAI's has no place for the request's id, which
/// is in a header.
#[must_use]
pub fn error_body(error: &ErrorBody, _request_id: &str) -> Bytes {
    if error.code == "context_length_exceeded" && !error.message.contains(TOO_LONG) {
        let message = format!("{TOO_LONG} {}", error.message);
        return ErrorBody { message, param: error.param.clone().or(Some("input".into())), ..error.clone() }.to_json();
    }
    error.to_json()
}

/// What of the frames that went out an error after them repeats.
#[derive(Debug, Clone, Default)]
pub struct Tail {
    id: Option<String>,
    created: u64,
    model: String,
    /// The next sequence number.
    next: u64,
}

impl Tail {
    /// Follows one frame that went out. Cheap: all but the first response object
    /// are searched for one number only.
    pub fn follow(&mut self, frame: &SseFrame) {
        // Inside a string its quotation marks would be escaped: this is the field.
        const FIELD: &[u8] = b"\"sequence_number\":";
        let data = &frame.data[..];
        if let Some(at) = memchr::memmem::find(data, FIELD) {
            let digits = data[at + FIELD.len()..].iter().skip_while(|byte| **byte == b' ');
            let number = digits.take_while(|byte| byte.is_ascii_digit()).take(18);
            let last = number.fold(0_u64, |number, digit| number * 10 + u64::from(digit - b'0'));
            self.next = self.next.max(last + 1);
        }
        if self.id.is_none() && memchr::memmem::find(data, b"\"response\"").is_some() {
            let event: Value = serde_json::from_slice(data).unwrap_or_default();
            let response = &event["response"];
            self.id = response["id"].as_str().map(str::to_owned);
            self.created = response["created_at"].as_f64().map_or(0, whole_seconds);
            response["model"].as_str().unwrap_or_default().clone_into(&mut self.model);
        }
    }

    /// What an error says if no frame went out before it.
    #[must_use]
    pub fn of(id: &str, created: u64, model: &str) -> Self {
        Self { id: Some(format!("resp_{id}")), created, model: model.to_owned(), next: 0 }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
fn whole_seconds(seconds: f64) -> u64 {
    if (0.0..1e15).contains(&seconds) { seconds as u64 } else { 0 }
}

/// An error object of any dialect, or plain words, as the end of a stream. Where
/// nothing went out before, the response begins first: the SDKs' helpers refuse
/// any other first event.
#[must_use]
pub fn error_frames(error_object: &[u8], tail: &Tail) -> Bytes {
    let (code, message) = told(error_object);
    let mut out = BytesMut::new();
    let mut next = tail.next;
    if next == 0 {
        frame("response.created", next, tail, "in_progress", None, &mut out);
        next += 1;
    }
    frame("response.failed", next, tail, "failed", Some((&code, &message)), &mut out);
    out.freeze()
}

fn frame(
    kind: &'static str,
    sequence: u64,
    tail: &Tail,
    status: &str,
    error: Option<(&str, &str)>,
    out: &mut BytesMut,
) {
    let mut json = JsonOut::with_capacity(512);
    json.open().field("type", kind).number("sequence_number", sequence).key("response").open();
    json.field("id", tail.id.as_deref().unwrap_or("resp_unknown")).field("object", "response");
    json.number("created_at", tail.created).field("status", status).key("error");
    match error {
        Some((code, message)) => json.open().field("code", code).field("message", message).close(),
        None => json.raw("null"),
    };
    json.raw_field("incomplete_details", "null").field("model", &tail.model).raw_field("output", "[]");
    json.flag("parallel_tool_calls", true).field("tool_choice", "auto").raw_field("tools", "[]");
    json.raw_field("usage", "null").raw_field("metadata", "{}").close().close();
    let data = Bytes::from(json.into_bytes());
    SseFrame { event: Some(Bytes::from_static(kind.as_bytes())), data }.encode_into(out);
}

/// Code and words of an error object.
fn told(error_object: &[u8]) -> (String, String) {
    let mut fields = read_error_fields(error_object);
    // Words that are redacted and cut already; what was no object comes as it is.
    let message = fields.message.take().unwrap_or_else(|| match serde_json::from_slice::<Value>(error_object) {
        Ok(value) if !value.is_string() => String::new(),
        _ => redact(&String::from_utf8_lossy(error_object), WORDS_MAX),
    });
    let code = code_of(&fields, &message);
    let message = match message.trim() {
        "" => "the target refused without a word".to_owned(),
        _ if code == "context_length_exceeded" && !message.contains(TOO_LONG) => format!("{TOO_LONG} {message}"),
        _ => message,
    };
    (code, message)
}

/// The code in OpenAI's words.
fn code_of(fields: &ErrorFields, message: &str) -> String {
    let given = fields.code.as_deref().or(fields.kind.as_deref()).unwrap_or_default();
    let code = match given {
        "overloaded_error"
        | "overloaded"
        | "service_unavailable"
        | "service_unavailable_error"
        | "engine_overloaded"
        | "server_overloaded" => "server_is_overloaded",
        "rate_limit_error" | "rate_limited" => "rate_limit_exceeded",
        "billing_error" | "quota_exhausted" | "billing_hard_limit_reached" => "insufficient_quota",
        "context_too_long" => "context_length_exceeded",
        "invalid_request_error" if is_too_long(message) => "context_length_exceeded",
        "content_policy_violation"
        | "content_filter"
        | "content_policy"
        | "invalid_request_error"
        | "bad_request"
        | "invalid_request" => "invalid_prompt",
        "" | "api_error" | "error" => "server_error",
        other => other,
    };
    code.to_owned()
}

fn is_too_long(message: &str) -> bool {
    let text = message.to_ascii_lowercase();
    ["prompt is too long", "maximum context length", "context window"].iter().any(|words| text.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::sse::SseDecoder;

    fn frames(bytes: &[u8]) -> Vec<Value> {
        let mut out = Vec::new();
        SseDecoder::new(1 << 20).push(bytes, &mut out).expect("frames");
        out.iter().map(|frame| serde_json::from_slice(&frame.data).expect("JSON")).collect()
    }

    #[test]
    fn a_failure_goes_on_with_the_responses_id_and_sequence() {
        let mut tail = Tail::default();
        for data in [
            r#"{"type":"response.created","sequence_number":0,"response":{"id":"resp_1","created_at":7,"model":"m"}}"#,
            r#"{"type":"response.output_text.delta","sequence_number": 41,"delta":"\"sequence_number\":99"}"#,
        ] {
            tail.follow(&SseFrame { event: None, data: Bytes::from(data) });
        }
        let error = br#"{"error":{"message":"slow","type":"rate_limit_error","code":"rate_limit_exceeded"}}"#;
        let [failed] = &frames(&error_frames(error, &tail))[..] else { panic!("one frame") };
        assert_eq!(failed["type"], "response.failed");
        assert_eq!(failed["sequence_number"], 42);
        assert_eq!(failed["response"]["id"], "resp_1");
        assert_eq!(failed["response"]["created_at"], 7);
        assert_eq!(failed["response"]["status"], "failed");
        assert_eq!(failed["response"]["error"]["code"], "rate_limit_exceeded");
    }

    #[test]
    fn without_a_frame_before_it_the_response_begins_first() {
        let all = frames(&error_frames(b"<html>\n\n", &Tail::of("x", 3, "m")));
        assert_eq!(all.len(), 2);
        assert_eq!((&all[0]["type"], &all[0]["sequence_number"]), (&"response.created".into(), &0.into()));
        assert_eq!((&all[1]["type"], &all[1]["sequence_number"]), (&"response.failed".into(), &1.into()));
        assert_eq!(all[1]["response"]["id"], "resp_x");
        assert_eq!(all[1]["response"]["error"]["message"], "<html>");
        assert_eq!(all[1]["response"]["error"]["code"], "server_error");
    }

    #[test]
    fn errors_of_every_dialect_get_the_code_that_agents_know() {
        for (error, code) in [
            (
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9 tokens > 8 maximum"}}"#,
                "context_length_exceeded",
            ),
            (r#"{"error":{"code":"context_length_exceeded","message":"x"}}"#, "context_length_exceeded"),
            (r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, "server_is_overloaded"),
            (r#"{"error":{"type":"insufficient_quota","code":"insufficient_quota"}}"#, "insufficient_quota"),
            (r#"{"error":{"type":"invalid_request_error","message":"no"}}"#, "invalid_prompt"),
            (r#"{"detail":"no such thing"}"#, "server_error"),
            (r#"{"error":{"code":"early_end","message":"cut"}}"#, "early_end"),
        ] {
            let all = frames(&error_frames(error.as_bytes(), &Tail::default()));
            assert_eq!(all[1]["response"]["error"]["code"], code, "{error}");
            assert!(all[1]["response"]["error"]["message"].as_str().is_some_and(|words| !words.is_empty()));
        }
    }

    #[test]
    fn a_context_that_is_too_long_is_refused_in_the_vendors_words() {
        let error = ErrorBody {
            status: 400,
            message: "no target takes 9 tokens".into(),
            param: None,
            code: "context_length_exceeded".into(),
        };
        let body: Value = serde_json::from_slice(&error_body(&error, "r")).expect("JSON");
        assert_eq!(body["error"]["type"], "invalid_request_error");
        assert_eq!(body["error"]["code"], "context_length_exceeded");
        assert_eq!(body["error"]["message"], format!("{TOO_LONG} no target takes 9 tokens"));
    }
}
