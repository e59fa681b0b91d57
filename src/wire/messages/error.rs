//! Errors as Anthropic's API writes them.
//!
//! Owns type and wording, on which agents act: they compact a conversation on
//! "prompt is too long", stop on "blocked by content filtering policy", wait on
//! `rate_limit_error` and `overloaded_error`, and ask a person on
//! `authentication_error` and `billing_error`. Refuses to choose a status. Invariant: whatever a target said leaves as one error object of this
//! dialect. Source: Claude docs, "Claude API errors".

use crate::domain::failure::RefusalKind;
use crate::wire::chat::ErrorBody;
use crate::wire::redact::redact;
use crate::wire::refusal::{ErrorFields, read_error_fields};
use bytes::Bytes;
use serde_json::{Value, json};

/// How the API begins when a prompt has more tokens than the model takes; Claude
/// Code, OpenCode and others look for these words.
const TOO_LONG: &str = "prompt is too long";

/// What it says of a prompt or an answer that its policy forbids. Claude Code sends
/// any other 400 again and again, each time without one of its betas.
const BLOCKED: &str = "Output blocked by content filtering policy";

/// Characters of a target's text that was no error object.
const WORDS_MAX: usize = 400;

/// The body of an HTTP answer.
#[must_use]
pub fn error_body(error: &ErrorBody, request_id: &str) -> Bytes {
    let message = worded(error.status, &error.code, &error.message);
    let kind = kind_of(error.status, &error.code);
    let mut body = json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id});
    if error.code == "thread_not_found" {
        body["error"]["details"] = json!({"error_code": error.code});
    }
    Bytes::from(body.to_string())
}

/// An error after the stream began, from an error object of any dialect or from
/// plain words. Nothing follows it but the end: a cut answer never gets a
/// `message_stop`.
#[must_use]
pub fn error_frames(error_object: &[u8]) -> Bytes {
    let error = match serde_json::from_slice::<Value>(error_object) {
        Ok(value) if is_native(&value) => value,
        _ => translated(error_object),
    };
    Bytes::from(format!("event: error\ndata: {error}\n\n"))
}

/// `{"type": "error", "error": {"type", "message"}}` goes on as it came.
fn is_native(value: &Value) -> bool {
    let text = |name: &str| value.get("error").and_then(|error| error.get(name)).is_some_and(Value::is_string);
    value.get("type").is_some_and(|kind| kind == "error") && text("type") && text("message")
}

fn translated(error_object: &[u8]) -> Value {
    let fields = read_error_fields(error_object);
    let code = fields.code.clone().or_else(|| fields.kind.clone()).unwrap_or_default();
    let status = status_of(&fields);
    let kind = known_type(fields.kind.as_deref()).unwrap_or_else(|| kind_of(status, &code));
    let told = fields.message.unwrap_or_else(|| redact(&String::from_utf8_lossy(error_object), WORDS_MAX));
    let told = if told.trim().is_empty() { "the target refused without a word".to_owned() } else { told };
    json!({"type": "error", "error": {"type": kind, "message": worded(status, &code, &told)}})
}

/// The types that both vendors write alike.
fn known_type(kind: Option<&str>) -> Option<&'static str> {
    const TYPES: [&str; 10] = [
        "invalid_request_error",
        "authentication_error",
        "billing_error",
        "permission_error",
        "not_found_error",
        "request_too_large",
        "rate_limit_error",
        "timeout_error",
        "api_error",
        "overloaded_error",
    ];
    TYPES.into_iter().find(|known| kind == Some(known))
}

/// The status of an error object that names none.
fn status_of(fields: &ErrorFields) -> u16 {
    use RefusalKind as K;
    if fields.code.is_none() && fields.kind.is_none() && fields.status.is_none() {
        // Words without a code are a target's own refusal of the request.
        return 400;
    }
    fields.status.unwrap_or_else(|| match fields.kind_without_status() {
        K::Auth => 401,
        K::QuotaExhausted => 402,
        K::ModelNotFound => 404,
        K::RateLimited => 429,
        K::Overloaded => 529,
        K::ProviderTimeout => 504,
        K::BadRequest | K::Unsupported | K::ContextTooLong | K::ContentPolicy => 400,
        K::ServerError | K::NotAnApi => 500,
    })
}

fn worded(status: u16, code: &str, message: &str) -> String {
    let is_too_long = matches!(code, "context_length_exceeded" | "context_too_long" | "exceed_context_size_error");
    let says_so = message.get(..TOO_LONG.len()).is_some_and(|start| start.eq_ignore_ascii_case(TOO_LONG));
    if is_too_long && !says_so {
        return format!("{TOO_LONG}: {message}");
    }
    let is_blocked = || {
        let (code, message) = (Some(code.to_owned()), Some(message.to_owned()));
        let fields = ErrorFields { code, message, status: Some(status), ..ErrorFields::default() };
        status == 400 && fields.kind_without_status() == RefusalKind::ContentPolicy
    };
    if !message.contains(BLOCKED) && is_blocked() { format!("{BLOCKED}: {message}") } else { message.to_owned() }
}

/// The `type` that the API gives an error of this status.
fn kind_of(status: u16, code: &str) -> &'static str {
    match status {
        _ if code == "insufficient_quota" => "billing_error",
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        503 | 529 => "overloaded_error",
        504 => "timeout_error",
        _ => "api_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(status: u16, code: &str, message: &str) -> Value {
        let error = ErrorBody { status, message: message.into(), param: None, code: code.into() };
        serde_json::from_slice(&error_body(&error, "01J")).expect("JSON")
    }

    #[test]
    fn the_shape_and_the_words_are_anthropics() {
        assert_eq!(
            body(404, "model_not_found", "no \"x\""),
            json!({"type": "error", "error": {"type": "not_found_error", "message": "no \"x\""}, "request_id": "01J"})
        );
        let gone = body(400, "thread_not_found", "send all of it");
        assert_eq!(gone["error"]["details"], json!({"error_code": "thread_not_found"}), "its packages act on it");
        for (status, code, kind) in [
            (400, "invalid_request", "invalid_request_error"),
            (401, "unauthorized", "authentication_error"),
            (403, "not_allowed", "permission_error"),
            (408, "client_stalled", "invalid_request_error"),
            (413, "too_large", "request_too_large"),
            (429, "rate_limit_exceeded", "rate_limit_error"),
            (429, "insufficient_quota", "billing_error"),
            (500, "internal", "api_error"),
            (502, "reset", "api_error"),
            (503, "overloaded", "overloaded_error"),
            (504, "own_deadline_idle", "timeout_error"),
        ] {
            assert_eq!(body(status, code, "m")["error"]["type"], kind, "{status} {code}");
        }
        let long = |message: &str| body(400, "context_length_exceeded", message)["error"]["message"].clone();
        assert_eq!(long("9 tokens > 8 maximum"), "prompt is too long: 9 tokens > 8 maximum");
        assert_eq!(long("Prompt is too long: 9"), "Prompt is too long: 9");
        assert_eq!(long("é"), "prompt is too long: é");
        let blocked = |status, code, message: &str| body(status, code, message)["error"]["message"].clone();
        let told = "Output blocked by content filtering policy: no";
        assert_eq!(blocked(400, "content_policy_violation", "no"), told);
        assert_eq!(blocked(400, "invalid_prompt", told), told);
        assert_eq!(blocked(400, "invalid_request_error", "no"), "no");
        assert_eq!(blocked(500, "content_filter", "no"), "no");
    }

    #[test]
    fn whatever_a_target_said_its_frame_is_one_error_event() {
        let native = br#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded","details":null},"request_id":"req_1"}"#;
        for (words, kind, message) in [
            (&native[..], "overloaded_error", "Overloaded"),
            (
                b"{\n\"error\":{\"message\":\"slow down\",\"type\":\"requests\",\"code\":\"rate_limit_exceeded\"}}",
                "rate_limit_error",
                "slow down",
            ),
            (
                br#"{"error":{"message":"9 > 8","code":"context_length_exceeded","type":"invalid_request_error"}}"#,
                "invalid_request_error",
                "prompt is too long: 9 > 8",
            ),
            (
                br#"{"error":{"message":"no","code":"content_filter","type":"invalid_request_error"}}"#,
                "invalid_request_error",
                "Output blocked by content filtering policy: no",
            ),
            (br#"{"error":{"message":"no","type":"server_error","code":null}}"#, "api_error", "no"),
            (br#"{"error":{"message":"no","code":529}}"#, "overloaded_error", "no"),
            (br#"{"detail":"nothing here"}"#, "invalid_request_error", "nothing here"),
            (b"bad\n\ndata: x\n\n", "invalid_request_error", "baddata: x"),
            (b"", "invalid_request_error", "the target refused without a word"),
        ] {
            let frame = error_frames(words);
            let text = std::str::from_utf8(&frame).expect("text");
            let payload = text.strip_prefix("event: error\ndata: ").and_then(|rest| rest.strip_suffix("\n\n"));
            let payload = payload.expect("one frame");
            assert!(!payload.contains('\n'));
            let value: Value = serde_json::from_str(payload).expect("JSON");
            assert_eq!((&value["error"]["type"], &value["error"]["message"]), (&json!(kind), &json!(message)));
            assert_eq!(value["type"], "error");
        }
    }
}
