//! What a head, a body or a clock means, as an observation.

use crate::domain::failure::{Observation, RefusalKind};
use crate::gateway::provider::pace::Fired;
use crate::gateway::provider::transport::Upstream;
use crate::wire::dialect::Dialect;
use crate::wire::facts::{Finish, WholeFacts};
use crate::wire::frames::read_whole;
use crate::wire::redact::mask_quotes;
use crate::wire::refusal::{ErrorFields, duration_text_ms, read_refusal};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::time::{Duration, SystemTime};

/// A refusal as it came from the target.
#[derive(Debug, Clone)]
pub struct TargetAnswer {
    /// Whose error objects its body has.
    pub dialect: Dialect,
    pub status: u16,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Bytes,
}

/// What a head announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    Refusal,
    Whole,
    Stream,
    NotAnApi,
}

/// By status and content type. A 200 without a content type is taken for what
/// was asked; a stream's frames are judged one by one anyway.
pub fn judge_head(status: u16, headers: &HeaderMap, asked_stream: bool) -> Judged {
    if !(200..300).contains(&status) {
        return Judged::Refusal;
    }
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match kind.as_str() {
        "text/event-stream" => Judged::Stream,
        "application/json" => Judged::Whole,
        kind if kind.ends_with("+json") => Judged::Whole,
        "" if asked_stream => Judged::Stream,
        "" => Judged::Whole,
        _ => Judged::NotAnApi,
    }
}

/// The id a provider gave the request, for its support.
pub fn upstream_request_id(headers: &HeaderMap) -> Option<String> {
    ["x-request-id", "request-id", "x-amzn-requestid", "cf-ray"].iter().find_map(|name| {
        let text = headers.get(*name)?.to_str().ok()?;
        (text.len() <= 128).then(|| text.to_owned())
    })
}

/// A refusal, read.
pub struct ReadRefusal {
    pub observation: Observation,
    pub answer: Option<TargetAnswer>,
    pub names_streaming: Option<&'static str>,
    pub names_seal: bool,
    pub names_previous: bool,
    /// It may be about the beginning of its own answer, where it was given one.
    pub names_prefill: bool,
    pub retry_after: Option<Duration>,
}

/// Reads a status other than 2xx, or a 200 that is no answer of an API.
pub fn refusal(dialect: Dialect, upstream: &Upstream, body: &[u8], client_auth: bool, now: SystemTime) -> ReadRefusal {
    let read = read_refusal(upstream.status, &upstream.headers, body, now);
    let kind = if (200..300).contains(&upstream.status) { RefusalKind::NotAnApi } else { read.kind };
    let (names_streaming, names_seal, names_previous) =
        (read.names_streaming(), read.names_seal(), read.names_previous());
    ReadRefusal {
        answer: Some(TargetAnswer {
            dialect,
            status: upstream.status,
            headers: passed_on(&upstream.headers, client_auth),
            body: Bytes::copy_from_slice(body),
        }),
        names_streaming,
        names_seal,
        names_previous,
        names_prefill: matches!(upstream.status, 400 | 422),
        retry_after: read.retry_after_ms.map(Duration::from_millis),
        observation: Observation::Refused {
            kind,
            status: upstream.status,
            code: read.fields.code.or(read.fields.kind),
            param: read.fields.param,
            message: read.fields.message,
            retry_after_ms: read.retry_after_ms,
            by_wording: read.by_wording,
        },
    }
}

/// Headers of a target's own refusal that go back with it: its content type
/// and wait; under `auth = "client"` also what the provider tells its user.
fn passed_on(headers: &HeaderMap, client_auth: bool) -> Vec<(HeaderName, HeaderValue)> {
    let plain = [CONTENT_TYPE, RETRY_AFTER].into_iter();
    let plain = plain.filter_map(|name| Some((name.clone(), headers.get(&name)?.clone())));
    let of_the_user = if client_auth { for_its_user(headers) } else { Vec::new() };
    plain.chain(of_the_user).collect()
}

/// What a provider tells the user whose credential it got (design.md, section 5).
pub fn for_its_user(headers: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    const PREFIXES: [&str; 4] = ["x-ratelimit-", "anthropic-ratelimit-", "x-codex-", "openai-"];
    headers
        .iter()
        .filter(|(name, _)| {
            let name = name.as_str();
            name == "x-should-retry" || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        })
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// How long a key has nothing left at this target, where a good answer says
/// so: `x-ratelimit-remaining-*` is 0 and `x-ratelimit-reset-*` names the wait
/// (OpenAI API reference, "Rate limits in headers").
pub fn exhausted_for(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: String| headers.get(name).and_then(|value| value.to_str().ok());
    ["requests", "tokens"]
        .iter()
        .filter(|what| text(format!("x-ratelimit-remaining-{what}")).is_some_and(|left| left.trim() == "0"))
        .filter_map(|what| duration_text_ms(text(format!("x-ratelimit-reset-{what}"))?))
        .max()
        .map(Duration::from_millis)
}

/// An error frame in a 200.
pub fn error_frame(fields: &ErrorFields) -> Observation {
    Observation::ErrorFrame {
        kind: fields.kind_without_status(),
        code: fields.code.clone().or_else(|| fields.kind.clone()),
        message: fields.message.clone(),
        retry_after_ms: None,
    }
}

/// An error frame whose code means a refusal that goes back as it came is given
/// the status that such a refusal has.
pub fn answer_in_stream(observation: &Observation) -> Option<TargetAnswer> {
    let Observation::ErrorFrame { kind, code, message, .. } = observation else { return None };
    let body = serde_json::json!({"error": {"message": message, "type": "invalid_request_error", "param": null, "code": code}});
    let status = match kind {
        RefusalKind::BadRequest | RefusalKind::ContentPolicy | RefusalKind::Unsupported => 400,
        RefusalKind::Auth => 401,
        RefusalKind::ModelNotFound => 404,
        _ => return None,
    };
    Some(TargetAnswer {
        dialect: Dialect::Chat,
        status,
        headers: vec![(CONTENT_TYPE, HeaderValue::from_static("application/json"))],
        body: Bytes::from(body.to_string()),
    })
}

/// The same observation without what a target quoted of the request.
pub fn unquoted(mut observation: Observation, request: &[u8]) -> Observation {
    if let Observation::Refused { message: Some(message), .. }
    | Observation::ErrorFrame { message: Some(message), .. }
    | Observation::ErrorPayload { message: Some(message), .. } = &mut observation
    {
        *message = mask_quotes(message, request);
    }
    observation
}

/// A clock of ours that fired.
pub fn clock(fired: Fired) -> Observation {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Observation::Clock {
        clock: fired.clock,
        limit_ms: ms(fired.limit),
        elapsed_ms: ms(fired.elapsed),
        source: fired.source,
    }
}

/// An unstreamed answer: good, empty, an error object, or garbled.
pub fn judge_whole(dialect: Dialect, body: &[u8]) -> Result<WholeFacts, Observation> {
    let facts = read_whole(dialect, body).map_err(|detail| Observation::Garbled { detail })?;
    if let Some(error) = facts.error {
        return Err(Observation::ErrorPayload { code: error.code.or(error.kind), message: error.message });
    }
    let accepted = facts.has_answer || matches!(facts.finish, Some(Finish::Length | Finish::ContentFilter));
    if accepted { Ok(facts) } else { Err(Observation::Empty) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_with_nothing_left_rests_until_its_reset() {
        let headers = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
            pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
        };
        let left = headers(&[("x-ratelimit-remaining-requests", "9"), ("x-ratelimit-reset-requests", "6m0s")]);
        assert_eq!(exhausted_for(&left), None);
        let none = headers(&[("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "1.5s")]);
        assert_eq!(exhausted_for(&none), Some(Duration::from_millis(1500)));
    }

    #[test]
    fn a_head_is_judged_by_status_and_type() {
        let typed = |kind: &'static str| -> HeaderMap {
            [(CONTENT_TYPE, HeaderValue::from_static(kind))].into_iter().collect()
        };
        for (status, kind, expected) in [
            (200, "text/event-stream; charset=utf-8", Judged::Stream),
            (200, "Application/JSON", Judged::Whole),
            (200, "application/problem+json", Judged::Whole),
            (200, "text/html", Judged::NotAnApi),
            (404, "text/html", Judged::Refusal),
            (307, "", Judged::Refusal),
        ] {
            assert_eq!(judge_head(status, &typed(kind), true), expected, "{status} {kind}");
        }
    }
}
