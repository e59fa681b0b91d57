//! Facts, sides and confidence in words.
//!
//! Owns exhaustive matches only. Invariant: a new kind of fact breaks the build
//! here, so that no evidence is ever left untold.

use crate::domain::deadline::{Clock, LimitSource};
use crate::domain::failure::{Cause, Confidence, Fact, Side, sentence};
use crate::domain::quantity::{bytes, duration, grouped};

/// One fact, for whoever may see the record (it may name hosts).
pub(super) fn fact(fact: &Fact) -> String {
    match fact {
        Fact::Clock { clock, limit_ms, elapsed_ms, source } => format!(
            "our own {} clock ran out: limit {} ({}), elapsed {}",
            clock_name(*clock),
            duration(*limit_ms),
            limit_source(*source),
            duration(*elapsed_ms)
        ),
        Fact::Errno { errno, name } => format!("the system said: {name} (errno {errno})"),
        Fact::Http2 { code, name } => format!("it ended the HTTP/2 stream with {name} ({code})"),
        Fact::HttpStatus { status } => format!("the target's status was {status}"),
        Fact::Vendor { code, param, message } => vendor(code.as_deref(), param.as_deref(), message.as_deref()),
        Fact::RetryAfter { ms } => format!("the target asked us to wait {}", duration(*ms)),
        Fact::MappedTo { cause } => {
            format!("the error's own code means {cause}: {}", sentence(*cause))
        }
        Fact::ByWording => "this was read off the wording of the message, not off a code".to_owned(),
        Fact::Seen { bytes, contents, finish } => seen(*bytes, *contents, *finish),
        Fact::ReusedConnection => "the connection had served an earlier request".to_owned(),
        Fact::ClosedByTarget => "the target's side closed the connection first".to_owned(),
        Fact::ClosedByClient => "the client closed its connection first".to_owned(),
        Fact::Field { field } => format!("it is about the field `{field}`"),
        Fact::Offset { byte } => format!("it is at byte {byte} of the body"),
        Fact::Bound { what, limit } if what.contains("bytes") => {
            format!("the bound `{what}` is {}", bytes(*limit))
        }
        Fact::Bound { what, limit } => format!("the bound `{what}` is {}", grouped(*limit)),
        Fact::Stalled { at, limit_ms } => {
            format!("{} {}", at.words(), duration(*limit_ms))
        }
        Fact::Nearest { names } if names.is_empty() => "no known name is near to it".to_owned(),
        Fact::Nearest { names } => format!("the nearest known names are {}", names.join(", ")),
        Fact::Rejected { target, reason } => format!("{target} was left out: {reason}"),
        Fact::Detail { text } => format!("in its own words: {text}"),
    }
}

fn vendor(code: Option<&str>, param: Option<&str>, message: Option<&str>) -> String {
    let mut parts = Vec::new();
    parts.extend(code.map(|code| format!("code `{code}`")));
    parts.extend(param.map(|param| format!("parameter `{param}`")));
    parts.extend(message.map(|message| format!("\"{message}\"")));
    format!("the target said: {}", parts.join(", "))
}

fn seen(count: u64, contents: u64, finish: bool) -> String {
    let end = if finish { "its proper end was seen" } else { "no proper end was seen" };
    if count == 0 && contents == 0 {
        return format!("of the answer only the head had come, and {end}");
    }
    let pieces = if contents == 1 { "piece" } else { "pieces" };
    format!("of the answer {} with {} {pieces} of content had come, and {end}", bytes(count), grouped(contents))
}

/// A clock by the name that the sentences use.
pub(super) const fn clock_name(clock: Clock) -> &'static str {
    match clock {
        Clock::Connect => "connect",
        Clock::Send => "send",
        Clock::FirstToken => "first-token",
        Clock::Idle => "idle",
        Clock::Progress => "progress",
        Clock::Total => "total",
    }
}

pub(super) const fn limit_source(source: LimitSource) -> &'static str {
    match source {
        LimitSource::Configured => "configured",
        LimitSource::Learned => "learned from earlier answers",
        LimitSource::Client => "asked for by the client",
        LimitSource::Budget => "what was left of the request's time",
    }
}

/// Who has to act, as a person would point.
pub(super) const fn side(side: Side) -> &'static str {
    match side {
        Side::Client => "whoever runs the client",
        Side::CallerConfig => "whoever keeps this gateway's configuration",
        Side::Gateway => "whoever runs this gateway",
        Side::Network => "whoever runs the network between gateway and target",
        Side::Target => "whoever runs the target",
        Side::Unknown => "not known: the evidence does not say who did it",
    }
}

pub(super) const fn confidence(confidence: Confidence) -> &'static str {
    match confidence {
        Confidence::Certain => "certain",
        Confidence::Probable => "probable, not proven",
        Confidence::Inferred => "inferred, other readings are possible",
    }
}

/// The side that a stored label names.
pub(super) fn side_named(label: &str) -> Option<Side> {
    Side::ALL.iter().copied().find(|side| side.as_str() == label)
}

/// The cause whose consequences apply: an error frame by the code inside it.
pub(super) fn effective(cause: Cause, evidence: &[Fact]) -> Cause {
    let mapped = evidence.iter().find_map(|fact| match fact {
        Fact::MappedTo { cause } => Some(*cause),
        _ => None,
    });
    match (cause, mapped) {
        (Cause::ErrorEvent, Some(mapped)) => mapped,
        _ => cause,
    }
}
