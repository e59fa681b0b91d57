//! Answers that are no answer: a status, a page, an error object.
//!
//! Owns the vendors' wording of refusals and the response head. Refuses
//! sockets. Invariant: an error object always has `OpenAI`'s four fields.

use super::fault::Fault;
use super::script::Script;
use serde_json::{Value, json};

pub(super) const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";
const INVALID: &str = "invalid_request_error";

/// A complete response.
#[derive(Debug)]
pub(super) struct Response {
    pub status: u16,
    pub content_type: &'static str,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

impl Response {
    pub fn json(status: u16, body: &Value) -> Self {
        Self { status, content_type: JSON, headers: Vec::new(), body: body.to_string() }
    }

    fn html(status: u16, body: &str) -> Self {
        Self { status, content_type: HTML, headers: Vec::new(), body: body.to_owned() }
    }

    fn with(mut self, name: &'static str, value: Option<String>) -> Self {
        self.headers.extend(value.map(|value| (name, value)));
        self
    }
}

/// `OpenAI`'s error object.
pub(super) fn error(message: &str, kind: &str, param: Option<&str>, code: Option<&str>) -> Value {
    json!({ "error": { "message": message, "type": kind, "param": param, "code": code } })
}

/// A request the simulator itself cannot serve.
pub(super) fn rejected(status: u16, message: &str) -> Response {
    Response::json(status, &error(message, INVALID, None, None))
}

/// The error object of a fault that is told inside a 200.
pub(super) fn error_inside(fault: Fault) -> Value {
    match fault {
        Fault::ErrorEventOverloaded => error("Overloaded", "overloaded_error", None, Some("overloaded_error")),
        _ => error("The server had an error while processing your request.", "server_error", None, None),
    }
}

/// The response of a fault that is told by status or page; `None` for the others.
pub(super) fn refusal(fault: Fault, script: &Script, model: &str, prompt: &str) -> Option<Response> {
    let seconds = script.retry_after.map(|seconds| seconds.to_string());
    let millis = script.retry_after_ms.map(|millis| millis.to_string());
    let waits =
        |response: Response| response.with("retry-after", seconds.clone()).with("retry-after-ms", millis.clone());
    let (status, message, kind, param, code) = match fault {
        Fault::Html => {
            return Some(Response::html(200, "<!doctype html><title>Sign in</title><h1>Please sign in</h1>"));
        }
        Fault::Html502 => {
            return Some(Response::html(502, "<html><head><title>502 Bad Gateway</title></head></html>"));
        }
        Fault::Redirect => {
            let target = Some("https://login.invalid/".to_owned());
            return Some(Response::html(307, "<a href=\"https://login.invalid/\">moved</a>").with("location", target));
        }
        Fault::ErrorPayload => return Some(Response::json(200, &error_inside(fault))),
        Fault::Status404 => {
            let message = format!("The model `{model}` does not exist or you do not have access to it.");
            return Some(Response::json(404, &error(&message, INVALID, None, Some("model_not_found"))));
        }
        _ => worded(fault)?,
    };
    let quoted = script.quote.then(|| format!("{message} Got: '{prompt}'."));
    let response = Response::json(status, &error(quoted.as_deref().unwrap_or(message), kind, param, code));
    Some(if matches!(status, 429 | 503) { waits(response) } else { response })
}

type Worded = (u16, &'static str, &'static str, Option<&'static str>, Option<&'static str>);

fn worded(fault: Fault) -> Option<Worded> {
    Some(match fault {
        Fault::Status401 => (401, "Incorrect API key provided.", INVALID, None, Some("invalid_api_key")),
        Fault::Status402 => (402, "Insufficient Balance", "unknown_error", None, Some("invalid_request_error")),
        Fault::Status403 => (
            403,
            "Country, region, or territory not supported",
            "request_forbidden",
            None,
            Some("unsupported_country_region_territory"),
        ),
        Fault::Status408 => (408, "Request timed out.", "timeout", None, None),
        Fault::Status429 => (
            429,
            "Rate limit reached for requests per min (RPM): Limit 3, Used 3, Requested 1. Please try again later.",
            "requests",
            None,
            Some("rate_limit_exceeded"),
        ),
        Fault::Quota => (
            429,
            "You exceeded your current quota, please check your plan and billing details.",
            "insufficient_quota",
            None,
            Some("insufficient_quota"),
        ),
        Fault::Status500 => (
            500,
            "The server had an error while processing your request. Sorry about that!",
            "server_error",
            None,
            None,
        ),
        Fault::Status502 => (502, "Bad gateway.", "server_error", None, None),
        Fault::Status503 | Fault::EarlyAnswer => {
            (503, "The engine is currently overloaded, please try again later.", "server_error", None, None)
        }
        Fault::Status504 => (504, "The upstream model did not answer in time.", "server_error", None, None),
        Fault::Status529 => (529, "Overloaded", "overloaded_error", None, None),
        _ => return worded_400(fault),
    })
}

fn worded_400(fault: Fault) -> Option<Worded> {
    Some(match fault {
        Fault::ContextLength => (
            400,
            "This model's maximum context length is 128000 tokens. However, your messages resulted in 130123 tokens. \
             Please reduce the length of the messages.",
            INVALID,
            Some("messages"),
            Some("context_length_exceeded"),
        ),
        Fault::Unsupported => (
            400,
            "Unsupported parameter: 'temperature' is not supported with this model.",
            INVALID,
            Some("temperature"),
            Some("unsupported_parameter"),
        ),
        Fault::Policy => (
            400,
            "Your request was rejected as a result of our safety system.",
            INVALID,
            None,
            Some("content_policy_violation"),
        ),
        Fault::BadRequest => (400, "Your request could not be processed.", INVALID, None, None),
        Fault::StreamUnsupported => (
            400,
            "Unsupported value: 'stream' does not support true with this model.",
            INVALID,
            Some("stream"),
            Some("unsupported_value"),
        ),
        Fault::StreamOptionsUnsupported => (
            400,
            "Unrecognized request argument supplied: stream_options",
            INVALID,
            Some("stream_options"),
            Some("unknown_parameter"),
        ),
        _ => return None,
    })
}

/// A response head with the headers that `OpenAI` sends on every answer.
pub(super) fn head(status: u16, request: u64, fields: &[(&str, &str)]) -> String {
    use std::fmt::Write as _;
    let mut head = format!("HTTP/1.1 {status} {}\r\nx-request-id: sim-{request}\r\n", reason(status));
    head.push_str("openai-processing-ms: 1\r\nopenai-version: 2020-10-01\r\n");
    for (name, value) in fields {
        write!(head, "{name}: {value}\r\n").expect("a String takes everything");
    }
    head.push_str("\r\n");
    head
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        408 => "Request Timeout",
        413 => "Content Too Large",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_fault_answers_with_its_own_status() {
        let script = Script { retry_after: Some(2), ..Script::default() };
        for fault in Fault::ALL {
            if let Some(status) = fault.as_str().strip_prefix("status_") {
                let response = refusal(*fault, &script, "m", "").expect("a status is a refusal");
                assert_eq!(response.status.to_string(), status);
                assert_eq!(!response.headers.is_empty(), matches!(response.status, 429 | 503), "{fault}");
            }
        }
    }
}
