//! What a target's refusal means.
//!
//! Owns the reading of statuses, error objects and waits in the OpenAI dialect
//! and its relatives. Refuses to decide what follows (that is `classify` and
//! `verdict`). Invariant: text taken from a target is cut and redacted here.

use crate::domain::failure::RefusalKind;
use crate::wire::redact::redact;
use serde_json::Value;
use std::time::{Duration, SystemTime};

/// Characters of a vendor's message that are kept.
const MESSAGE_MAX: usize = 400;

/// The fields of an error object, whatever its exact shape.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorFields {
    pub code: Option<String>,
    pub kind: Option<String>,
    pub param: Option<String>,
    pub message: Option<String>,
    /// A status that the object itself names.
    pub status: Option<u16>,
}

/// A refusal, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub kind: RefusalKind,
    pub status: u16,
    pub fields: ErrorFields,
    pub retry_after_ms: Option<u64>,
    /// Told by the wording of the message alone.
    pub by_wording: bool,
}

impl Refusal {
    /// Whether the target refuses `stream` or `stream_options`, which we may
    /// have added ourselves.
    #[must_use]
    pub fn names_streaming(&self) -> Option<&'static str> {
        if !matches!(self.status, 400 | 404 | 405 | 415 | 422 | 501) {
            return None;
        }
        let param = self.fields.param.as_deref().unwrap_or_default();
        let message = self.fields.message.as_deref().unwrap_or_default().to_ascii_lowercase();
        if param.starts_with("stream_options") || message.contains("stream_options") {
            Some("stream_options")
        } else if param == "stream"
            || message.contains("'stream'")
            || message.contains("`stream`")
            || message.contains("\"stream\"")
            || message.contains("streaming is not supported")
        {
            Some("stream")
        } else {
            None
        }
    }
}

impl Refusal {
    /// Whether the target does not know the response that a request goes on from, or keeps none
    /// (OpenAI: `previous_response_not_found`; llama.cpp, OpenRouter: 400 naming the field; vLLM: 404
    /// "Response with id ... not found").
    #[must_use]
    pub fn names_previous(&self) -> bool {
        let has = |text: &Option<String>, word| text.as_deref().is_some_and(|text| text.contains(word));
        let fields = &self.fields;
        matches!(self.status, 400 | 404 | 422 | 501)
            && (fields.code.as_deref() == Some("previous_response_not_found")
                || has(&fields.param, "previous_response_id")
                || has(&fields.message, "previous_response_id")
                || (self.status == 404 && has(&fields.message, "Response with id")))
    }

    /// Whether the target refuses sealed reasoning of an earlier turn, which
    /// another provider may have made.
    #[must_use]
    pub fn names_seal(&self) -> bool {
        matches!(self.status, 400 | 404 | 422) && self.fields.names_seal()
    }
}

/// Reads a status other than 2xx. Source of the codes: OpenAI API reference,
/// "Error codes"; Azure OpenAI (`content_filter`), vLLM and llama.cpp for the
/// wordings of a context that is too long.
#[must_use]
pub fn read_refusal(status: u16, headers: &http::HeaderMap, body: &[u8], now: SystemTime) -> Refusal {
    let fields = read_error_fields(body);
    let retry_after_ms = retry_after(headers, now).map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
    let (kind, by_wording) = if is_page(headers) && !matches!(status, 401..=404 | 408 | 429 | 500..) {
        (RefusalKind::NotAnApi, false)
    } else {
        kind_of(status, &fields)
    };
    Refusal { kind, status, fields, retry_after_ms, by_wording }
}

impl ErrorFields {
    /// Anthropic: "Invalid `signature` in `thinking` block", "Expected `thinking` ...";
    /// OpenAI: `invalid_encrypted_content`, "Item with id 'rs_...' not found".
    fn names_seal(&self) -> bool {
        let message = self.message.as_deref().unwrap_or_default().to_ascii_lowercase();
        let has = |word: &str| message.contains(word);
        self.code.as_deref() == Some("invalid_encrypted_content")
            || has("encrypted content")
            || has("encrypted_content")
            || (has("think") && (has("signature") || has("expected")))
            || has("item with id 'rs_")
    }

    /// What an error object without a status of its own means: an error frame
    /// in a stream, or the body of a 200.
    #[must_use]
    pub fn kind_without_status(&self) -> RefusalKind {
        if let Some(kind) = by_code(self) {
            return kind;
        }
        if let Some(status) = self.status {
            return kind_of(status, self).0;
        }
        match self.kind.as_deref() {
            Some("rate_limit_error" | "rate_limit_exceeded" | "tokens" | "requests") => RefusalKind::RateLimited,
            Some("authentication_error" | "permission_error") => RefusalKind::Auth,
            Some("invalid_request_error") => RefusalKind::BadRequest,
            Some("timeout" | "timeout_error") => RefusalKind::ProviderTimeout,
            Some("not_found_error") => RefusalKind::ModelNotFound,
            _ => RefusalKind::ServerError,
        }
    }
}

fn kind_of(status: u16, fields: &ErrorFields) -> (RefusalKind, bool) {
    if (300..400).contains(&status) {
        return (RefusalKind::NotAnApi, false);
    }
    if let Some(kind) = by_code(fields).filter(|kind| may_stand_at(*kind, status)) {
        return (kind, false);
    }
    if let Some(kind) = by_wording(fields).filter(|_| matches!(status, 400 | 413 | 422)) {
        return (kind, true);
    }
    let kind = match status {
        401 | 403 => RefusalKind::Auth,
        402 => RefusalKind::QuotaExhausted,
        404 => RefusalKind::ModelNotFound,
        408 | 504 => RefusalKind::ProviderTimeout,
        429 => RefusalKind::RateLimited,
        503 | 529 => RefusalKind::Overloaded,
        400 | 413 | 422 => RefusalKind::BadRequest,
        // The path, the method or the form of the request is not what is served there.
        405 | 406 | 410 | 411 | 415 | 426 => RefusalKind::NotAnApi,
        // A conflict, a lock, a vendor's own number: nothing that the client could mend.
        _ => RefusalKind::ServerError,
    };
    (kind, false)
}

/// A web page instead of an error object.
fn is_page(headers: &http::HeaderMap) -> bool {
    let kind = headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.trim_start().to_ascii_lowercase().starts_with("text/html")
}

/// A code may sharpen a status, never contradict it: a 401 stays a 401.
const fn may_stand_at(kind: RefusalKind, status: u16) -> bool {
    match kind {
        RefusalKind::ContextTooLong | RefusalKind::Unsupported => matches!(status, 400 | 404 | 413 | 422),
        RefusalKind::ContentPolicy => matches!(status, 400 | 403 | 422 | 451),
        RefusalKind::QuotaExhausted => matches!(status, 400 | 402 | 403 | 429),
        RefusalKind::RateLimited => status == 429,
        RefusalKind::Overloaded => status >= 500 || status == 429,
        RefusalKind::ModelNotFound => matches!(status, 400 | 403 | 404),
        RefusalKind::BadRequest => matches!(status, 400 | 404 | 409),
        _ => false,
    }
}

fn by_code(fields: &ErrorFields) -> Option<RefusalKind> {
    [fields.code.as_deref(), fields.kind.as_deref()].into_iter().flatten().find_map(|code| match code {
        "context_length_exceeded" | "exceed_context_size_error" => Some(RefusalKind::ContextTooLong),
        "string_above_max_length" if is_of_text(fields.param.as_deref()) => Some(RefusalKind::ContextTooLong),
        // A name or an id: nothing that a shorter conversation would mend.
        "string_above_max_length" => Some(RefusalKind::Unsupported),
        "content_policy_violation"
        | "content_filter"
        | "invalid_prompt"
        | "moderation_blocked"
        | "cyber_policy"
        | "bio_policy"
        | "image_content_policy_violation"
        | "ResponsibleAIPolicyViolation" => Some(RefusalKind::ContentPolicy),
        "unsupported_parameter" | "unsupported_value" | "unknown_parameter" | "invalid_encrypted_content" => {
            Some(RefusalKind::Unsupported)
        }
        "insufficient_quota"
        | "billing_hard_limit_reached"
        | "billing_not_active"
        | "usage_limit_reached"
        | "usage_not_included"
        // Anthropic's, the first as a type and the others as `details.error_code`.
        | "billing_error"
        | "contract_spend_limit_reached"
        | "enforced_spend_limit_reached"
        | "linked_organization_spend_limit_reached" => Some(RefusalKind::QuotaExhausted),
        "rate_limit_exceeded" => Some(RefusalKind::RateLimited),
        "overloaded_error"
        | "overloaded"
        | "service_unavailable"
        | "server_overloaded"
        | "insufficient_system_resource"
        | "engine_overloaded"
        | "server_is_overloaded"
        | "slow_down" => Some(RefusalKind::Overloaded),
        // Anthropic's `details.error_code`: the client has to send its conversation in another
        // form, and its package does, as soon as it reads this.
        "thread_not_found"
        | "thread_already_continued"
        | "thread_continue_in_flight"
        | "thread_unsupported_request" => Some(RefusalKind::BadRequest),
        "model_not_found" | "DeploymentNotFound" => Some(RefusalKind::ModelNotFound),
        _ => None,
    })
}

/// Whether what a target names as too long is what is said (`messages[0].content`,
/// `input[1].content[0].text`), or nothing is named.
fn is_of_text(param: Option<&str>) -> bool {
    let Some(param) = param else { return true };
    let last = param.rsplit('.').next().unwrap_or_default();
    let last = last.split('[').next().unwrap_or_default();
    matches!(last, "content" | "text" | "input" | "output" | "arguments" | "instructions" | "messages" | "prompt")
}

fn by_wording(fields: &ErrorFields) -> Option<RefusalKind> {
    let text = fields.message.as_deref()?.to_ascii_lowercase();
    let has = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    if has(&[
        "maximum context length",
        "context window",
        "prompt is too long",
        "exceeds the available context size",
        "maximum input length",
        "input is too long",
        "reduce the length of the messages",
        "exceed context limit",
        // xAI, Gemini, LM Studio.
        "maximum prompt length is",
        "exceeds the maximum number of tokens allowed",
        "loaded with context length",
        "greater than the context length",
        "cannot truncate prompt with n_keep",
    ]) {
        Some(RefusalKind::ContextTooLong)
    } else if has(&["credit balance is too low", "specified api usage limits"]) {
        Some(RefusalKind::QuotaExhausted)
    } else if is_of_thinking(&text) {
        Some(RefusalKind::Unsupported)
    } else if has(&[
        "content management policy",
        "content policy",
        "content filtering policy",
        "usage policies",
        "usage policy",
    ]) {
        Some(RefusalKind::ContentPolicy)
    } else if has(&[
        "unsupported parameter",
        "unsupported value",
        "unrecognized request argument",
        "unknown parameter",
        "does not support",
        "is not supported",
        "extra inputs are not permitted",
        "not supported with this model",
        "is deprecated for this model",
        "cannot both be specified for this model",
    ]) || fields.names_seal()
    {
        Some(RefusalKind::Unsupported)
    } else {
        None
    }
}

/// Reasoning that its maker does not know again, misses, or does not want at
/// all beside a tool that must be called (Anthropic's own 400s).
fn is_of_thinking(text: &str) -> bool {
    let names = text.contains("thinking");
    names
        && ["`signature`", "cannot be modified", "but found", "when tool_choice forces"]
            .iter()
            .any(|part| text.contains(part))
}

/// Reads `{"error": {...}}`, `{"error": "text"}`, `{"object": "error", ...}`
/// (vLLM) and `{"detail": ...}` (FastAPI). Anything else has no fields.
#[must_use]
pub fn read_error_fields(body: &[u8]) -> ErrorFields {
    let Ok(mut value) = serde_json::from_slice::<Value>(body) else { return ErrorFields::default() };
    // Gemini puts its one error into a list.
    if let Some(first) = value.get_mut(0) {
        value = first.take();
    }
    let object = match value.get("error") {
        Some(Value::String(text)) => {
            return ErrorFields { message: Some(redact(text, MESSAGE_MAX)), ..ErrorFields::default() };
        }
        Some(object @ Value::Object(_)) => object,
        _ => &value,
    };
    let text = |key: &str| match object.get(key) {
        Some(Value::String(text)) if !text.is_empty() => Some(redact(text, MESSAGE_MAX)),
        _ => None,
    };
    let number = |key: &str| object.get(key).and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
    ErrorFields {
        code: text("code").or_else(|| {
            let code = object.get("details").and_then(|details| details.get("error_code")).and_then(Value::as_str);
            code.filter(|code| !code.is_empty()).map(|code| redact(code, MESSAGE_MAX))
        }),
        kind: text("type"),
        param: text("param"),
        message: text("message").or_else(|| text("detail")),
        status: number("status").or_else(|| number("code")).filter(|status| (300..600).contains(status)),
    }
}

/// The longest of the waits the headers name: `retry-after-ms` (OpenAI's own),
/// `retry-after` in seconds or as a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &http::HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let seconds = |text: &str, unit: f64| {
        text.parse::<f64>()
            .ok()
            .filter(|n| n.is_finite() && *n >= 0.0)
            .map(|n| Duration::from_secs_f64((n * unit).min(1e9)))
    };
    let precise = text("retry-after-ms").and_then(|text| seconds(text, 1e-3));
    let plain = text("retry-after").and_then(|text| {
        seconds(text, 1.0).or_else(|| {
            let at = httpdate::parse_http_date(text).ok()?;
            Some(at.duration_since(now).unwrap_or(Duration::ZERO))
        })
    });
    precise.or(plain)
}

/// A duration as `x-ratelimit-reset-*` writes it (`6m0s`, `1.5s`, `120ms`, or
/// bare seconds), in milliseconds.
#[must_use]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be positive and below 1e12")]
pub fn duration_text_ms(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    if let Ok(seconds) = rest.parse::<f64>() {
        return (0.0..1e9).contains(&seconds).then_some((seconds * 1000.0) as u64);
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| digits + at);
        total += number
            * match &rest[digits..unit_end] {
                "ms" => 1.0,
                "s" => 1000.0,
                "m" => 60_000.0,
                "h" => 3_600_000.0,
                "d" => 86_400_000.0,
                _ => return None,
            };
        rest = &rest[unit_end..];
    }
    (0.0..1e12).contains(&total).then_some(total as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, body: &str) -> (RefusalKind, bool) {
        let refusal = read_refusal(status, &http::HeaderMap::new(), body.as_bytes(), SystemTime::UNIX_EPOCH);
        (refusal.kind, refusal.by_wording)
    }

    #[test]
    fn codes_sharpen_statuses_and_wordings_only_400s() {
        use RefusalKind as K;
        for (status, body, kind, wording) in [
            (400, r#"{"error":{"code":"context_length_exceeded"}}"#, K::ContextTooLong, false),
            (
                400,
                r#"{"object":"error","message":"This model's maximum context length is 4096 tokens.","code":400}"#,
                K::ContextTooLong,
                true,
            ),
            (400, r#"{"error":{"code":"unsupported_parameter","param":"temperature"}}"#, K::Unsupported, false),
            (400, r#"{"error":{"code":"string_above_max_length"}}"#, K::ContextTooLong, false),
            (
                400,
                r#"{"error":{"code":"string_above_max_length","param":"messages[1].content"}}"#,
                K::ContextTooLong,
                false,
            ),
            (
                400,
                r#"{"error":{"code":"string_above_max_length","param":"input[0].content[0].text"}}"#,
                K::ContextTooLong,
                false,
            ),
            (
                400,
                r#"{"error":{"code":"string_above_max_length","param":"tools[0].function.name"}}"#,
                K::Unsupported,
                false,
            ),
            (400, r#"{"error":{"code":"string_above_max_length","param":"input[2].call_id"}}"#, K::Unsupported, false),
            (
                400,
                r#"[{"error":{"code":400,"message":"The input token count (9) exceeds the maximum number of tokens allowed (8).","status":"INVALID_ARGUMENT"}}]"#,
                K::ContextTooLong,
                true,
            ),
            (
                400,
                r#"{"code":"c","error":"This model's maximum prompt length is 131072 but the request contains 136973 tokens."}"#,
                K::ContextTooLong,
                true,
            ),
            (
                400,
                r#"{"error":"However, the model is loaded with context length of only 4096 tokens, which is not enough."}"#,
                K::ContextTooLong,
                true,
            ),
            (422, r#"{"detail":"Extra inputs are not permitted"}"#, K::Unsupported, true),
            (400, r#"{"error":{"code":"content_filter"}}"#, K::ContentPolicy, false),
            (400, r#"{"error":{"message":"bad temperature"}}"#, K::BadRequest, false),
            (401, r#"{"error":{"code":"context_length_exceeded"}}"#, K::Auth, false),
            (402, "", K::QuotaExhausted, false),
            (404, "<html>", K::ModelNotFound, false),
            (408, "", K::ProviderTimeout, false),
            (405, "", K::NotAnApi, false),
            (409, "", K::ServerError, false),
            (498, "", K::ServerError, false),
            (413, "", K::BadRequest, false),
            (429, r#"{"error":{"code":"insufficient_quota"}}"#, K::QuotaExhausted, false),
            (429, "", K::RateLimited, false),
            (429, r#"{"error":{"type":"usage_limit_reached","message":"wait"}}"#, K::QuotaExhausted, false),
            (400, r#"{"error":{"code":"cyber_policy","message":"flagged"}}"#, K::ContentPolicy, false),
            (400, r#"{"error":{"code":"invalid_encrypted_content","message":"x"}}"#, K::Unsupported, false),
            (503, r#"{"error":{"code":"server_is_overloaded"}}"#, K::Overloaded, false),
            (429, r#"{"error":{"code":"slow_down"}}"#, K::Overloaded, false),
            (500, r#"{"error":{"type":"overloaded_error"}}"#, K::Overloaded, false),
            (500, "", K::ServerError, false),
            (502, "<html>", K::ServerError, false),
            (503, "", K::Overloaded, false),
            (504, "", K::ProviderTimeout, false),
            (529, "", K::Overloaded, false),
            (307, "", K::NotAnApi, false),
        ] {
            assert_eq!(read(status, body), (kind, wording), "{status} {body}");
        }
    }

    #[test]
    fn anthropics_refusals_are_told_by_type_code_and_wording() {
        use RefusalKind as K;
        let body = |kind: &str, message: &str| {
            format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"{message}"}},"request_id":"req_1"}}"#)
        };
        let invalid = "invalid_request_error";
        for (status, kind, message, is) in [
            (400, invalid, "prompt is too long: 219898 tokens > 200000 maximum", K::ContextTooLong),
            (400, invalid, "input length and `max_tokens` exceed context limit: 9 + 9 > 10", K::ContextTooLong),
            (400, invalid, "Your credit balance is too low to access the Anthropic API.", K::QuotaExhausted),
            (400, invalid, "messages.1.content.0: Invalid `signature` in `thinking` block", K::Unsupported),
            (400, invalid, "Expected `thinking` or `redacted_thinking`, but found `tool_use`.", K::Unsupported),
            (400, invalid, "Thinking may not be enabled when tool_choice forces tool use.", K::Unsupported),
            (400, invalid, "`temperature` is deprecated for this model.", K::Unsupported),
            (400, invalid, "`temperature` and `top_p` cannot both be specified for this model.", K::Unsupported),
            (400, invalid, "Output blocked by content filtering policy", K::ContentPolicy),
            (400, invalid, "messages: roles must alternate", K::BadRequest),
            (401, "authentication_error", "invalid x-api-key", K::Auth),
            (402, "billing_error", "pay", K::QuotaExhausted),
            (403, "permission_error", "no", K::Auth),
            (404, "not_found_error", "model: x", K::ModelNotFound),
            (404, "not_found_error", "No usable Thread state was found", K::ModelNotFound),
            (413, "request_too_large", "Request exceeds the maximum size", K::BadRequest),
            (429, "rate_limit_error", "slow down", K::RateLimited),
            (500, "api_error", "Internal server error", K::ServerError),
            (504, "timeout_error", "late", K::ProviderTimeout),
            (529, "overloaded_error", "Overloaded", K::Overloaded),
        ] {
            assert_eq!(read(status, &body(kind, message)).0, is, "{status} {message}");
        }
        for (kind, is) in [
            ("overloaded_error", K::Overloaded),
            ("api_error", K::ServerError),
            ("rate_limit_error", K::RateLimited),
            ("authentication_error", K::Auth),
            ("billing_error", K::QuotaExhausted),
            ("not_found_error", K::ModelNotFound),
            ("timeout_error", K::ProviderTimeout),
            (invalid, K::BadRequest),
        ] {
            assert_eq!(read_error_fields(body(kind, "m").as_bytes()).kind_without_status(), is, "{kind}");
        }
        let spent = r#"{"type":"error","error":{"type":"invalid_request_error","message":"m","details":{"error_code":"enforced_spend_limit_reached"}}}"#;
        assert_eq!(read(400, spent), (K::QuotaExhausted, false));
        let gone = r#"{"type":"error","error":{"type":"not_found_error","message":"m","details":{"error_code":"thread_not_found"}}}"#;
        assert_eq!(read(404, gone), (K::BadRequest, false), "the client's to mend, and no model is missing");
    }

    #[test]
    fn waits_are_read_in_every_form() {
        let wait = |name: &'static str, value: &str| {
            let mut headers = http::HeaderMap::new();
            headers.insert(name, value.parse().expect("header"));
            read_refusal(429, &headers, b"", SystemTime::UNIX_EPOCH).retry_after_ms
        };
        assert_eq!(wait("retry-after", "2"), Some(2000));
        assert_eq!(wait("retry-after", "0.5"), Some(500));
        assert_eq!(wait("retry-after-ms", "120"), Some(120));
        assert_eq!(wait("retry-after", "Thu, 01 Jan 1970 00:01:00 GMT"), Some(60_000));
        assert_eq!(wait("retry-after", "soon"), None);
        assert_eq!(wait("retry-after", "-3"), None);
        assert_eq!(duration_text_ms("6m0s"), Some(360_000));
        assert_eq!(duration_text_ms("1.5s"), Some(1500));
        assert_eq!(duration_text_ms("120ms"), Some(120));
        assert_eq!(duration_text_ms("7"), Some(7000));
        assert_eq!(duration_text_ms("later"), None);
    }

    #[test]
    fn a_refusal_of_streaming_is_recognised_as_possibly_ours() {
        let names = |body: &str| {
            read_refusal(400, &http::HeaderMap::new(), body.as_bytes(), SystemTime::UNIX_EPOCH).names_streaming()
        };
        assert_eq!(names(r#"{"error":{"param":"stream","message":"no"}}"#), Some("stream"));
        assert_eq!(
            names(r#"{"error":{"message":"Unrecognized request argument supplied: stream_options"}}"#),
            Some("stream_options")
        );
        assert_eq!(names(r#"{"error":{"param":"temperature"}}"#), None);
    }

    #[test]
    fn an_error_frame_is_told_by_its_code() {
        let kind = |body: &str| read_error_fields(body.as_bytes()).kind_without_status();
        assert_eq!(kind(r#"{"error":{"code":"overloaded_error"}}"#), RefusalKind::Overloaded);
        assert_eq!(kind(r#"{"error":{"code":429,"message":"slow down"}}"#), RefusalKind::RateLimited);
        assert_eq!(kind(r#"{"error":{"type":"server_error"}}"#), RefusalKind::ServerError);
        assert_eq!(kind(r#"{"error":"boom"}"#), RefusalKind::ServerError);
    }
}
