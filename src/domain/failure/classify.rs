//! Evidence in, failure out: one pure function.
//!
//! Owns every decision of the kind "is that our timeout or theirs". Refuses to
//! look at anything but the recorded evidence. Invariant: the same evidence
//! always gives the same failure.

use super::{Cause, Confidence, Evidence, Fact, Failure, Observation, Phase, Raw, RefusalKind};

/// Names what happened. Source of every row: failure-taxonomy.md.
#[must_use]
pub fn classify(evidence: &Evidence) -> Failure {
    let cause = cause_of(evidence);
    Failure {
        cause,
        phase: phase_of(evidence, cause),
        side: cause.side(),
        confidence: confidence_of(evidence),
        evidence: facts_of(evidence),
        raw: raw_of(evidence),
    }
}

fn cause_of(evidence: &Evidence) -> Cause {
    match &evidence.observation {
        Observation::Invalid { .. } => Cause::InvalidRequest,
        Observation::TooLarge { .. } => Cause::TooLarge,
        Observation::UnknownPath { .. } | Observation::UnknownRoute { .. } => Cause::UnknownRoute,
        Observation::NotAllowed { .. } => Cause::NotAllowed,
        Observation::Unauthorized { .. } => Cause::Unauthorized,
        Observation::NoFit { context_alone: true, .. } => Cause::ContextTooLong,
        Observation::NoFit { .. } => Cause::NoFitTarget,
        Observation::Unsayable { .. } => Cause::UnsupportedByTarget,
        Observation::Draining => Cause::Draining,
        Observation::NoRoom { .. } => Cause::QueueFull,
        Observation::ClientStalled { .. } => Cause::ClientStalled,
        Observation::ClientGone => Cause::ClientGone,
        Observation::Shutdown => Cause::Shutdown,
        Observation::OutputLimit { .. } => Cause::OutputLimit,
        Observation::Panic { .. } => Cause::Internal,
        Observation::Clock { clock, .. } => clock.cause(),
        Observation::Dns { .. } => Cause::Dns,
        Observation::Connect { errno, .. } => connect_cause(*errno),
        Observation::Tls { .. } => Cause::Tls,
        Observation::Broken { errno } => broken_cause(evidence, errno.is_some()),
        Observation::StreamReset { .. } => broken_cause(evidence, true),
        Observation::Refused { kind, .. } => refusal_cause(*kind, evidence),
        Observation::ErrorFrame { .. } => Cause::ErrorEvent,
        Observation::ErrorPayload { .. } => Cause::ErrorPayload,
        Observation::Garbled { .. } => Cause::Garbled,
        Observation::Empty => Cause::Empty,
    }
}

/// ECONNREFUSED says that a host answered and no one listens; everything else
/// that ends a connect is the way there.
fn connect_cause(errno: Option<i32>) -> Cause {
    const ECONNREFUSED: i32 = 111;
    match errno {
        Some(ECONNREFUSED) => Cause::ConnectRefused,
        _ => Cause::ConnectUnreachable,
    }
}

/// No byte of an answer: `reset_before_headers`, ended or reset alike. After
/// that an errno or an HTTP/2 code is a reset and a plain end is an early one. A head that stops
/// half way is a broken answer, not a missing one.
const fn broken_cause(evidence: &Evidence, reset: bool) -> Cause {
    match (evidence.headers_seen, reset) {
        (false, _) => Cause::ResetBeforeHeaders,
        (true, true) => Cause::Reset,
        (true, false) => Cause::EarlyEnd,
    }
}

fn refusal_cause(kind: RefusalKind, evidence: &Evidence) -> Cause {
    match kind {
        // Any such refusal from a later target, or after we changed the body, is
        // the configuration's fault, not the client's.
        RefusalKind::BadRequest if evidence.first_target && evidence.pristine => Cause::BadRequest,
        RefusalKind::BadRequest | RefusalKind::Unsupported => Cause::UnsupportedByTarget,
        RefusalKind::Auth => Cause::Auth,
        RefusalKind::ModelNotFound => Cause::ModelNotFound,
        RefusalKind::ContextTooLong => Cause::ContextTooLong,
        RefusalKind::ContentPolicy => Cause::ContentPolicy,
        RefusalKind::RateLimited => Cause::RateLimited,
        RefusalKind::QuotaExhausted => Cause::QuotaExhausted,
        RefusalKind::Overloaded => Cause::Overloaded,
        RefusalKind::ProviderTimeout => Cause::ProviderTimeout,
        RefusalKind::ServerError => Cause::ServerError,
        RefusalKind::NotAnApi => Cause::NotAnApi,
    }
}

fn phase_of(evidence: &Evidence, cause: Cause) -> Phase {
    match cause {
        Cause::InvalidRequest | Cause::TooLarge | Cause::NotAllowed | Cause::Unauthorized | Cause::Draining => {
            return Phase::Admit;
        }
        Cause::UnknownRoute | Cause::NoFitTarget => return Phase::Plan,
        Cause::Empty | Cause::ErrorPayload => return Phase::End,
        _ => {}
    }
    match &evidence.observation {
        Observation::NoFit { .. } | Observation::Unsayable { .. } => Phase::Plan,
        Observation::NoRoom { .. }
        | Observation::ClientStalled {
            at: super::StallPoint::Head | super::StallPoint::Body | super::StallPoint::BodyPace,
            ..
        } => Phase::Admit,
        // The head was complete and said it: that is where it ended.
        Observation::Refused { .. } => Phase::Headers,
        _ if evidence.contents > 0 && evidence.finish_seen => Phase::End,
        _ if evidence.contents > 0 => Phase::Stream,
        _ if evidence.headers_seen => Phase::FirstToken,
        _ if evidence.connected => Phase::Headers,
        _ => Phase::Connect,
    }
}

const fn confidence_of(evidence: &Evidence) -> Confidence {
    match &evidence.observation {
        Observation::Refused { by_wording: true, .. } | Observation::ErrorFrame { code: None, .. } => {
            Confidence::Probable
        }
        _ => Confidence::Certain,
    }
}

fn facts_of(evidence: &Evidence) -> Vec<Fact> {
    let mut facts = Vec::new();
    observation_facts(evidence, &mut facts);
    if evidence.reused_connection {
        facts.push(Fact::ReusedConnection);
    }
    if evidence.headers_seen {
        facts.push(Fact::Seen { bytes: evidence.bytes, contents: evidence.contents, finish: evidence.finish_seen });
    }
    facts
}

fn observation_facts(evidence: &Evidence, facts: &mut Vec<Fact>) {
    let detail = |text: &str| Fact::Detail { text: text.to_owned() };
    match &evidence.observation {
        Observation::Invalid { field, offset, detail: text } => {
            facts.extend(field.clone().map(|field| Fact::Field { field }));
            facts.extend(offset.map(|byte| Fact::Offset { byte }));
            facts.push(detail(text));
        }
        Observation::TooLarge { what, limit } | Observation::NoRoom { what, limit } => {
            facts.push(Fact::Bound { what: (*what).to_owned(), limit: *limit });
        }
        Observation::UnknownPath { asked, nearest } | Observation::UnknownRoute { asked, nearest } => {
            let path = matches!(evidence.observation, Observation::UnknownPath { .. });
            facts.push(Fact::Field { field: if path { "path" } else { "model" }.to_owned() });
            facts.push(detail(asked));
            facts.push(Fact::Nearest { names: nearest.clone() });
        }
        Observation::NoFit { rejected, .. } => {
            facts.extend(
                rejected
                    .iter()
                    .map(|(target, reason)| Fact::Rejected { target: target.clone(), reason: reason.clone() }),
            );
        }
        Observation::Unsayable { field, why } => {
            facts.push(Fact::Field { field: field.clone() });
            facts.push(detail(why));
        }
        Observation::ClientStalled { at, limit_ms } => {
            facts.push(Fact::Stalled { at: *at, limit_ms: *limit_ms });
        }
        Observation::ClientGone => facts.push(Fact::ClosedByClient),
        Observation::OutputLimit { limit_bytes } => {
            facts.push(Fact::Bound { what: "output_bytes_max".to_owned(), limit: *limit_bytes });
        }
        Observation::Clock { clock, limit_ms, elapsed_ms, source } => {
            facts.push(Fact::Clock { clock: *clock, limit_ms: *limit_ms, elapsed_ms: *elapsed_ms, source: *source });
        }
        Observation::Connect { errno, detail: text } => {
            facts.extend(errno.map(errno_fact));
            facts.push(detail(text));
        }
        Observation::Broken { errno } => facts.push(errno.map_or(Fact::ClosedByTarget, errno_fact)),
        Observation::StreamReset { code, name } => facts.push(Fact::Http2 { code: *code, name: name.clone() }),
        Observation::Refused { .. } | Observation::ErrorFrame { .. } | Observation::ErrorPayload { .. } => {
            refusal_facts(evidence, facts);
        }
        Observation::NotAllowed { detail: text }
        | Observation::Unauthorized { detail: text }
        | Observation::Panic { detail: text }
        | Observation::Dns { detail: text }
        | Observation::Tls { detail: text }
        | Observation::Garbled { detail: text } => facts.push(detail(text)),
        Observation::Draining | Observation::Shutdown | Observation::Empty => {}
    }
}

fn refusal_facts(evidence: &Evidence, facts: &mut Vec<Fact>) {
    let mut vendor = |code: &Option<String>, param: &Option<String>, message: &Option<String>| {
        if code.is_some() || param.is_some() || message.is_some() {
            facts.push(Fact::Vendor { code: code.clone(), param: param.clone(), message: message.clone() });
        }
    };
    match &evidence.observation {
        Observation::Refused { status, code, param, message, retry_after_ms, by_wording, .. } => {
            vendor(code, param, message);
            facts.insert(0, Fact::HttpStatus { status: *status });
            facts.extend(retry_after_ms.map(|ms| Fact::RetryAfter { ms }));
            if *by_wording {
                facts.push(Fact::ByWording);
            }
        }
        Observation::ErrorFrame { kind, code, message, retry_after_ms } => {
            vendor(code, &None, message);
            facts.push(Fact::MappedTo { cause: refusal_cause(*kind, evidence) });
            facts.extend(retry_after_ms.map(|ms| Fact::RetryAfter { ms }));
        }
        Observation::ErrorPayload { code, message } => vendor(code, &None, message),
        _ => {}
    }
}

fn errno_fact(errno: i32) -> Fact {
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    let name = text.split(" (os error").next().unwrap_or_default().to_owned();
    Fact::Errno { errno, name }
}

const fn raw_of(evidence: &Evidence) -> Raw {
    let (http_code, errno) = match &evidence.observation {
        Observation::Refused { status, .. } => (Some(*status), None),
        Observation::Connect { errno, .. } | Observation::Broken { errno } => (None, *errno),
        _ => (None, None),
    };
    Raw { http_code, errno, ms: evidence.elapsed_ms }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::deadline::{Clock, LimitSource};

    fn after(observation: Observation, headers_seen: bool, contents: u64) -> Evidence {
        Evidence { connected: true, headers_seen, contents, ..Evidence::at_door(observation, 7) }
    }

    fn named(evidence: &Evidence) -> (Cause, Phase) {
        let failure = classify(evidence);
        (failure.cause, failure.phase)
    }

    fn refused(kind: RefusalKind, status: u16) -> Observation {
        Observation::Refused {
            kind,
            status,
            code: None,
            param: None,
            message: None,
            retry_after_ms: None,
            by_wording: false,
        }
    }

    #[test]
    fn a_broken_connection_is_told_by_how_far_the_answer_had_come() {
        let reset = || Observation::Broken { errno: Some(104) };
        let end = || Observation::Broken { errno: None };
        assert_eq!(named(&after(reset(), false, 0)), (Cause::ResetBeforeHeaders, Phase::Headers));
        assert_eq!(named(&after(end(), false, 0)), (Cause::ResetBeforeHeaders, Phase::Headers));
        assert_eq!(named(&after(reset(), true, 0)), (Cause::Reset, Phase::FirstToken));
        assert_eq!(named(&after(reset(), true, 9)), (Cause::Reset, Phase::Stream));
        assert_eq!(named(&after(end(), true, 9)), (Cause::EarlyEnd, Phase::Stream));
    }

    #[test]
    fn our_deadline_is_never_the_targets_timeout() {
        let clock = Observation::Clock {
            clock: Clock::FirstToken,
            limit_ms: 5,
            elapsed_ms: 6,
            source: LimitSource::Configured,
        };
        let ours = classify(&after(clock, false, 0));
        let theirs = classify(&after(refused(RefusalKind::ProviderTimeout, 504), true, 0));
        assert_eq!((ours.cause, ours.side), (Cause::OwnDeadlineFirstToken, super::super::Side::Gateway));
        assert_eq!((theirs.cause, theirs.side), (Cause::ProviderTimeout, super::super::Side::Target));
        assert_eq!((ours.phase, theirs.phase), (Phase::Headers, Phase::Headers));
    }

    #[test]
    fn a_plain_400_blames_the_client_only_where_the_body_was_its_own() {
        let mut evidence = after(refused(RefusalKind::BadRequest, 400), true, 0);
        assert_eq!(named(&evidence).0, Cause::BadRequest);
        evidence.pristine = false;
        assert_eq!(named(&evidence).0, Cause::UnsupportedByTarget);
        evidence.pristine = true;
        evidence.first_target = false;
        assert_eq!(named(&evidence).0, Cause::UnsupportedByTarget);
    }

    #[test]
    fn an_error_frame_keeps_its_own_name_and_tells_what_it_maps_to() {
        let frame = Observation::ErrorFrame {
            kind: RefusalKind::Overloaded,
            code: Some("overloaded".into()),
            message: None,
            retry_after_ms: None,
        };
        let failure = classify(&after(frame, true, 3));
        assert_eq!(failure.cause, Cause::ErrorEvent);
        assert_eq!(failure.effective_cause(), Cause::Overloaded);
    }

    #[test]
    fn context_that_fits_nowhere_is_named_so_even_in_plan() {
        let rejected = vec![("a".to_owned(), "too small".to_owned())];
        let evidence = Evidence::at_door(Observation::NoFit { rejected, context_alone: true }, 0);
        assert_eq!(named(&evidence), (Cause::ContextTooLong, Phase::Plan));
    }
}
