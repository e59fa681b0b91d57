//! The error that a client gets.

use super::Asker;
use crate::domain::failure::{Cause, Fact, Failure, StatusRule, client_message, status_rule, waiting_helps};
use crate::domain::record::Record;
use crate::gateway::attempt::TargetAnswer;
use crate::gateway::journal::ErrorAnswer;
use crate::wire::chat::ErrorBody;
use crate::wire::dialect::Dialect;
use crate::wire::error::{error_body, reshape};
use crate::wire::responses::{Tail, error_frames};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue};
use std::time::Duration;

/// A known wait above this gets no `retry-after`: SDKs sleep it in silence.
const RETRY_AFTER_MAX: Duration = Duration::from_mins(1);

/// What an error is made from.
#[derive(Debug)]
pub struct Verdicts<'a> {
    pub failure: &'a Failure,
    pub target: Option<&'a str>,
    pub attempts: &'a [(String, Cause)],
    /// The target's own refusal.
    pub answer: Option<&'a TargetAnswer>,
    pub client_auth: bool,
    pub passthrough: bool,
    /// The soonest any target is free, where that is known.
    pub free_in: Option<Duration>,
    pub asker: Asker,
}

/// Whether the target's own refusal goes back as it came, and the error answer.
#[must_use]
pub fn error_answer(verdicts: &Verdicts<'_>) -> (bool, ErrorAnswer) {
    let cause = verdicts.failure.effective_cause();
    let rule = status_rule(cause, verdicts.client_auth, verdicts.passthrough);
    let mut headers =
        vec![(HeaderName::from_static("x-tautline-cause"), HeaderValue::from_static(verdicts.failure.cause.as_str()))];
    let returned = match (rule, verdicts.answer) {
        (StatusRule::AsItCame, Some(answer)) => Some(answer),
        _ => None,
    };
    if let Some(answer) = returned {
        let ours = |name: &HeaderName| *name == RETRY_AFTER || name.as_str() == "x-should-retry";
        let keep = |name: &HeaderName| verdicts.client_auth || !ours(name);
        headers.extend(answer.headers.iter().filter(|(name, _)| keep(name)).cloned());
        if !headers.iter().any(|(name, _)| name.as_str() == "x-should-retry") {
            headers.extend(waits(cause, verdicts.free_in));
        }
        return (true, {
            let (from, to) = (answer.dialect, verdicts.asker.dialect);
            let body = reshape(from, to, answer.status, &answer.body, &verdicts.asker.id.to_string());
            ErrorAnswer { status: answer.status, headers, body, in_stream: None }
        });
    }
    // Without its own words a refusal that would go back as it came is a plain 400.
    let status = match rule {
        StatusRule::Fixed(status) => status,
        StatusRule::AsItCame => verdicts.failure.raw.http_code.unwrap_or(400),
    };
    headers.push((CONTENT_TYPE, HeaderValue::from_static("application/json")));
    headers.extend(waits(cause, verdicts.free_in));
    let param = param(verdicts.failure);
    let body = ErrorBody {
        status,
        message: client_message(verdicts.failure, verdicts.target, verdicts.attempts),
        code: code(cause, param.as_deref()).to_owned(),
        param,
    };
    let body = error_body(verdicts.asker.dialect, &body, &verdicts.asker.id.to_string());
    (false, ErrorAnswer { status, headers, body, in_stream: None })
}

/// The same error as the vendor tells it to a client that streams, before
/// anything went out: OpenAI answers 200 and says inside the stream that a prompt
/// does not fit (`response.failed`), and Codex compacts on that alone. `None`: as a status.
#[must_use]
pub fn told_in_stream(record: &Record, asker: Asker, failure: &Failure, answer: &ErrorAnswer) -> Option<Bytes> {
    if asker.dialect != Dialect::Responses || !record.stream || failure.effective_cause() != Cause::ContextTooLong {
        return None;
    }
    let created = u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0);
    let tail = Tail::of(&asker.id.to_string().to_ascii_lowercase(), created, &record.model);
    Some(error_frames(&answer.body, &tail))
}

/// An error of ours outside an exchange, such as something that is no request.
#[must_use]
pub fn fixed_answer(failure: &Failure, asker: Asker) -> ErrorAnswer {
    let verdicts = Verdicts {
        failure,
        target: None,
        attempts: &[],
        answer: None,
        client_auth: false,
        passthrough: false,
        free_in: None,
        asker,
    };
    error_answer(&verdicts).1
}

/// `retry-after` where waiting helps and the wait is known and short;
/// `x-should-retry: false` where it does not help, or takes too long.
fn waits(cause: Cause, free_in: Option<Duration>) -> Vec<(HeaderName, HeaderValue)> {
    const NEVER: (HeaderName, HeaderValue) =
        (HeaderName::from_static("x-should-retry"), HeaderValue::from_static("false"));
    if !waiting_helps(cause) {
        return vec![NEVER];
    }
    match free_in {
        None => Vec::new(),
        Some(wait) if wait > RETRY_AFTER_MAX => vec![NEVER],
        // Whole seconds (RFC 9110, section 10.2.3), rounded up so that it is not too early.
        Some(wait) => {
            vec![(RETRY_AFTER, HeaderValue::from((wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)))]
        }
    }
}

/// OpenAI's own code where it has one, since agents act on it; else the cause.
/// An unknown path must not read as an unknown model: nobody would look at the path.
fn code(cause: Cause, param: Option<&str>) -> &'static str {
    match cause {
        Cause::InvalidRequest if param == Some("previous_response_id") => "previous_response_not_found",
        // Anthropic's word, on which its packages send the whole conversation again.
        Cause::UnsupportedByTarget if param == Some("thread") => "thread_not_found",
        Cause::UnknownRoute if param == Some("path") => "unknown_url",
        Cause::ContextTooLong => "context_length_exceeded",
        Cause::UnknownRoute | Cause::ModelNotFound => "model_not_found",
        Cause::RateLimited | Cause::Limited => "rate_limit_exceeded",
        Cause::QuotaExhausted => "insufficient_quota",
        Cause::Unauthorized => "invalid_api_key",
        other => other.as_str(),
    }
}

fn param(failure: &Failure) -> Option<String> {
    failure.evidence.iter().find_map(|fact| match fact {
        Fact::Field { field } => Some(field.clone()),
        Fact::Vendor { param, .. } => param.clone(),
        _ => None,
    })
}
