//! Errors as the OpenAI dialect writes them.

use crate::wire::redact::redact;
use crate::wire::refusal::read_error_fields;
use bytes::Bytes;
use serde::Serialize;

/// Characters of a target's text that was no error object.
const WORDS_MAX: usize = 400;

/// An error object: `{"error": {"message", "type", "param", "code"}}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorBody {
    pub status: u16,
    pub message: String,
    pub param: Option<String>,
    pub code: String,
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: Inner<'a>,
}

#[derive(Serialize)]
struct Inner<'a> {
    message: &'a str,
    r#type: &'a str,
    param: Option<&'a str>,
    code: &'a str,
}

impl ErrorBody {
    /// The body of an HTTP answer.
    #[must_use]
    pub fn to_json(&self) -> Bytes {
        let envelope = Envelope {
            error: Inner {
                message: &self.message,
                r#type: kind_of(self.status, &self.code),
                param: self.param.as_deref(),
                code: &self.code,
            },
        };
        Bytes::from(serde_json::to_vec(&envelope).expect("strings always serialize"))
    }
}

/// The `type` that OpenAI gives an error of this status.
fn kind_of(status: u16, code: &str) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        429 if code == "insufficient_quota" => "insufficient_quota",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        503 => "service_unavailable_error",
        504 => "timeout_error",
        _ => "server_error",
    }
}

/// An error object as an event in a stream. Nothing follows it but the end: a
/// cut answer never gets a `[DONE]`.
#[must_use]
pub fn error_frame(error_object: &[u8]) -> Bytes {
    // A payload with line breaks would need a `data:` line for each, and SDKs
    // know an error frame by its `error` alone: a target's page or `detail` that
    // went on as it came would read as a chunk, or as nothing.
    let compact = match serde_json::from_slice::<serde_json::Value>(error_object) {
        Ok(value) if value.get("error").is_some_and(|error| !error.is_null()) => value.to_string().into_bytes(),
        _ => worded(error_object),
    };
    let mut frame = Vec::with_capacity(compact.len() + 8);
    frame.extend_from_slice(b"data: ");
    frame.extend_from_slice(&compact);
    frame.extend_from_slice(b"\n\n");
    Bytes::from(frame)
}

/// Words that are no error object, as one.
fn worded(words: &[u8]) -> Vec<u8> {
    let told = read_error_fields(words).message;
    let message = told.unwrap_or_else(|| redact(&String::from_utf8_lossy(words), WORDS_MAX));
    let message = if message.trim().is_empty() { "the target refused without a word".to_owned() } else { message };
    let error = serde_json::json!({"error": {
        "message": message, "type": "invalid_request_error", "param": null, "code": null,
    }});
    error.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_is_openais() {
        let error = ErrorBody {
            status: 404,
            message: "no \"x\"".into(),
            param: Some("model".into()),
            code: "model_not_found".into(),
        };
        assert_eq!(
            error.to_json(),
            r#"{"error":{"message":"no \"x\"","type":"invalid_request_error","param":"model","code":"model_not_found"}}"#
        );
        assert_eq!(error_frame(b"{\n \"error\": {}\n}"), "data: {\"error\":{}}\n\n");
    }

    #[test]
    fn whatever_a_target_said_its_frame_is_one_line_that_holds_an_error() {
        for (words, message) in [
            (&b"bad\n\ndata: [DONE]\n\n"[..], "baddata: [DONE]"),
            (b"{\"detail\": \"no such thing\"}", "no such thing"),
            (b"", "the target refused without a word"),
            (b"{\"error\": null}", "{\"error\": null}"),
            (b"\xff\xfe", "\u{fffd}\u{fffd}"),
        ] {
            let frame = error_frame(words);
            let text = std::str::from_utf8(&frame).expect("text");
            let payload = text.strip_prefix("data: ").and_then(|rest| rest.strip_suffix("\n\n")).expect("a frame");
            assert!(!payload.contains('\n'));
            let value: serde_json::Value = serde_json::from_str(payload).expect("JSON");
            assert_eq!(value["error"]["message"], message);
        }
    }
}
