//! Errors as the OpenAI dialect writes them.

use crate::wire::redact::redact;
use bytes::Bytes;
use serde::Serialize;

/// Characters kept of a refusal that is no error object.
const MESSAGE_MAX: usize = 400;

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
    // Written anew: a payload with line breaks would need a `data:` line for
    // each, and a target's own refusal may be no error object at all.
    let compact = match serde_json::from_slice::<serde_json::Value>(error_object) {
        Ok(value) if value.get("error").is_some() => value,
        _ => {
            let text = redact(&String::from_utf8_lossy(error_object), MESSAGE_MAX);
            serde_json::json!({"error": {"message": text, "type": "invalid_request_error", "param": null, "code": null}})
        }
    };
    let compact = compact.to_string().into_bytes();
    let mut frame = Vec::with_capacity(compact.len() + 8);
    frame.extend_from_slice(b"data: ");
    frame.extend_from_slice(&compact);
    frame.extend_from_slice(b"\n\n");
    Bytes::from(frame)
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
        assert_eq!(
            error_frame(b"<html>\nno"),
            "data: {\"error\":{\"message\":\"<html>no\",\"type\":\"invalid_request_error\",\"param\":null,\"code\":null}}\n\n"
        );
    }
}
