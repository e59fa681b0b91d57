//! Answers that are no answer: a status, a page, an error object.
//!
//! Owns responses as such, the response head and `OpenAI`'s wording of refusals;
//! Anthropic's is in `anthropic.rs`. Refuses sockets. Invariant: an error has the
//! form of the dialect it was asked in, with every field that its vendor sends.

mod anthropic;

use super::dialect::Dialect;
use super::fault::Fault;
use super::script::Script;
use serde_json::{Value, json};
use std::fmt::Write as _;

pub(super) use anthropic::object as anthropic;

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

/// What is wrong with a request, before a dialect gives it its form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Complaint {
    pub status: u16,
    pub message: String,
    pub param: Option<String>,
    /// `OpenAI`'s `code`; with Anthropic the `error_code` of `details`.
    pub code: Option<&'static str>,
    kind: &'static str,
}

impl Complaint {
    /// A 400.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self { status: 400, message: message.into(), param: None, code: None, kind: INVALID }
    }

    pub fn status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    pub fn param(self, param: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..self }
    }

    pub fn code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// `request` is the ordinal that makes the request's id.
    pub fn response(&self, dialect: Dialect, request: u64) -> Response {
        let body = match dialect {
            Dialect::Messages => {
                let mut object = anthropic::object(anthropic::kind(self.status), &self.message, request);
                if let Some(code) = self.code {
                    object["error"]["details"] = json!({ "error_code": code });
                }
                object
            }
            Dialect::Chat | Dialect::Completions | Dialect::Responses => {
                error(&self.message, self.kind, self.param.as_deref(), self.code)
            }
        };
        Response::json(self.status, &body)
    }
}

/// `OpenAI`'s error object.
pub(super) fn error(message: &str, kind: &str, param: Option<&str>, code: Option<&str>) -> Value {
    json!({ "error": { "message": message, "type": kind, "param": param, "code": code } })
}

/// The error object of a fault that chat tells inside a 200.
pub(super) fn error_inside(fault: Fault) -> Value {
    match fault {
        Fault::ErrorEventOverloaded => error("Overloaded", "overloaded_error", None, Some("overloaded_error")),
        _ => error("The server had an error while processing your request.", "server_error", None, None),
    }
}

/// What a refusal says about its request.
pub(super) struct About<'a> {
    pub dialect: Dialect,
    /// The ordinal that makes the request's id.
    pub request: u64,
    pub script: &'a Script,
    pub model: &'a str,
    pub prompt: &'a str,
}

/// The response of a fault that is told by status or page; `None` for the others.
pub(super) fn refusal(fault: Fault, about: &About<'_>) -> Option<Response> {
    let page = match fault {
        Fault::Html => Response::html(200, "<!doctype html><title>Sign in</title><h1>Please sign in</h1>"),
        Fault::Html502 => Response::html(502, "<html><head><title>502 Bad Gateway</title></head></html>"),
        Fault::Redirect => {
            let target = Some("https://login.invalid/".to_owned());
            Response::html(307, "<a href=\"https://login.invalid/\">moved</a>").with("location", target)
        }
        _ => return told(fault, about),
    };
    Some(page)
}

/// A refusal in JSON.
fn told(fault: Fault, about: &About<'_>) -> Option<Response> {
    let script = about.script;
    let quoted = |message: &str| {
        if script.quote { format!("{message} Got: '{}'.", about.prompt) } else { message.to_owned() }
    };
    let response = if about.dialect == Dialect::Messages {
        let (status, kind, message) = anthropic::worded(fault, about.model)?;
        Response::json(status, &anthropic::object(kind, &quoted(&message), about.request))
    } else {
        if fault == Fault::ErrorPayload {
            return Some(Response::json(200, &error_inside(fault)));
        }
        let (status, message, kind, param, code) = worded(fault, about.dialect)?;
        let message = message.replace("{model}", about.model);
        Response::json(status, &error(&quoted(&message), kind, param, code))
    };
    let seconds = script.retry_after.map(|seconds| seconds.to_string());
    let millis = script.retry_after_ms.map(|millis| millis.to_string());
    let waits = matches!(response.status, 429 | 503);
    Some(if waits { response.with("retry-after", seconds).with("retry-after-ms", millis) } else { response })
}

type Worded = (u16, &'static str, &'static str, Option<&'static str>, Option<&'static str>);

fn worded(fault: Fault, dialect: Dialect) -> Option<Worded> {
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
        Fault::Status404 => (
            404,
            "The model `{model}` does not exist or you do not have access to it.",
            INVALID,
            None,
            Some("model_not_found"),
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
        _ => return worded_400(fault, dialect),
    })
}

fn worded_400(fault: Fault, dialect: Dialect) -> Option<Worded> {
    let responses = dialect == Dialect::Responses;
    Some(match fault {
        Fault::ContextLength if responses => (
            400,
            "Your input exceeds the context window of this model. Please adjust your input and try again.",
            INVALID,
            Some("input"),
            Some("context_length_exceeded"),
        ),
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
        Fault::Policy if responses => (
            400,
            "Invalid prompt: your prompt was flagged as potentially violating our usage policy. Please try again with \
             a different prompt.",
            INVALID,
            None,
            Some("invalid_prompt"),
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

/// A response head with the headers that the dialect's vendor sends on every answer.
pub(super) fn head(dialect: Dialect, status: u16, request: u64, fields: &[(&str, &str)]) -> String {
    let mut head = format!("HTTP/1.1 {status} {}\r\n", reason(status));
    if dialect == Dialect::Messages {
        write!(head, "request-id: {}\r\n", anthropic::request_id(request)).expect("a String takes everything");
        head.push_str("anthropic-organization-id: 00000000-0000-4000-8000-000000000000\r\n");
    } else {
        write!(head, "x-request-id: sim-{request}\r\n").expect("a String takes everything");
        head.push_str("openai-processing-ms: 1\r\nopenai-version: 2020-10-01\r\n");
    }
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
    fn a_status_fault_answers_with_its_own_status_in_every_dialect() {
        let script = Script { retry_after: Some(2), ..Script::default() };
        for dialect in Dialect::ALL.iter().copied() {
            let about = About { dialect, request: 1, script: &script, model: "m", prompt: "" };
            for fault in Fault::ALL {
                if let Some(status) = fault.as_str().strip_prefix("status_") {
                    let response = refusal(*fault, &about).expect("a status is a refusal");
                    assert_eq!(response.status.to_string(), status);
                    assert_eq!(!response.headers.is_empty(), matches!(response.status, 429 | 503), "{fault}");
                }
            }
        }
    }

    #[test]
    fn the_same_faults_are_refusals_in_every_dialect() {
        let script = Script::default();
        let refused = |dialect| {
            let about = About { dialect, request: 1, script: &script, model: "m", prompt: "" };
            Fault::ALL.iter().copied().filter(|fault| refusal(*fault, &about).is_some()).collect::<Vec<_>>()
        };
        let chat = refused(Dialect::Chat);
        assert_eq!(refused(Dialect::Responses), chat);
        let without = chat.into_iter().filter(|fault| *fault != Fault::StreamOptionsUnsupported);
        assert_eq!(refused(Dialect::Messages), without.collect::<Vec<_>>());
    }
}
