//! One attempt, told: whom, why, when, how it ended, what was done next.

use super::evidence;
use crate::domain::failure::{Cause, Fact, Verdict, sentence, verdict};
use crate::domain::quantity::{bytes, duration, grouped, usd};
use crate::domain::record::{
    AttemptOutcome, AttemptRecord, NOT_CARRIED_ON, Outcome, Purpose, Record, Seam, SeamFit, Strategy,
};
use crate::domain::usage::Usage;

/// The lines of the attempt at `place` (from 0); details are indented.
pub(super) fn tell(record: &Record, place: usize) -> Vec<String> {
    let Some(attempt) = record.attempts.get(place) else {
        return Vec::new();
    };
    let mut lines = vec![opening(record, place, attempt)];
    let mut detail = |text: String| lines.push(format!("    {text}"));
    detail(format!("Started {}.", start(record, place, attempt)));
    if let Some(dialect) = &attempt.translated_to {
        detail(format!("The request came in {} and was put in {dialect} for it.", record.dialect));
    }
    detail(first_content(attempt));
    detail(ending(attempt));
    if attempt.cause().is_some() {
        detail(format!("Who has to act: {}.", who(attempt)));
        for fact in &attempt.evidence {
            detail(format!("Evidence: {}.", evidence::fact(fact)));
        }
    }
    if let Some(id) = &attempt.upstream_request_id {
        detail(format!("The target calls this request {id}."));
    }
    if let Some(tokens) = attempt.tokens {
        detail(format!("It used {}{}.", usage(tokens), cost(attempt.cost_usd)));
    }
    if let Some(seam) = attempt.seam {
        detail(joined(seam));
    }
    detail(next(record, place, attempt));
    lines
}

/// How the words of a successor joined those before.
fn joined(seam: Seam) -> String {
    let asked = match seam.strategy {
        Strategy::Prefill => "It was given the answer so far as the beginning of its own",
        Strategy::Anchored => "It was asked to repeat the last words and go on",
        Strategy::Realigned => "It was asked to go on, and started over",
        Strategy::Afresh => "Only reasoning had been shown, so it was asked anew",
    };
    let fitted = match seam.seam {
        SeamFit::Exact => "its words joined exactly",
        SeamFit::Normalised => "the repeat was found in another form (case, spaces, quotes)",
        SeamFit::Overlap => "it repeated another part than it was asked to, and the place was found",
        SeamFit::Realigned => "it said the same up to the break, which was left out",
        SeamFit::None => {
            return format!("{asked}; none of its words were shown, since they did not join or never came.");
        }
    };
    let mut text =
        format!("{asked}; {fitted}: {} characters said again, {} left out before them", seam.repeated, seam.dropped);
    if let Some(silence) = seam.silence_ms {
        text = format!("{text}; the client heard nothing for {}", duration(silence));
    }
    text + "."
}

fn opening(record: &Record, place: usize, attempt: &AttemptRecord) -> String {
    let purpose = match attempt.purpose {
        Purpose::Serve => "the first choice of the plan",
        Purpose::Retry => "the same target once more",
        Purpose::Fallback => "the next target of the plan",
        Purpose::Hedge => "started beside a slow one, whoever speaks first wins",
        Purpose::Continue => "to carry on a broken answer",
        Purpose::Shadow => "reading on unseen, to learn whether our limit was too short",
    };
    let (count, target, provider) = (record.attempts.len(), &attempt.target, &attempt.provider);
    let whom = match attempt.model.as_str() {
        // Bytes passed: no model was named.
        "" => format!("provider {provider}"),
        model => format!("{target} (model {model} at provider {provider})"),
    };
    format!("  Attempt {} of {count}: {whom}, {purpose}.", place + 1)
}

fn start(record: &Record, place: usize, attempt: &AttemptRecord) -> String {
    let mut text = format!("{} after the request was accepted", duration(attempt.started_ms));
    if attempt.waited_ms > 0 {
        let before = place.checked_sub(1).and_then(|before| record.attempts.get(before));
        let told =
            before.is_some_and(|before| before.evidence.iter().any(|fact| matches!(fact, Fact::RetryAfter { .. })));
        let why = match attempt.purpose {
            Purpose::Retry if told => "as the target had asked",
            Purpose::Retry => "a random pause, so that retries do not come all at once",
            Purpose::Serve | Purpose::Fallback | Purpose::Hedge | Purpose::Continue | Purpose::Shadow => {
                "until it could begin"
            }
        };
        text = format!("{text}, having waited {} ({why})", duration(attempt.waited_ms));
    }
    if let Some(key) = attempt.key {
        text = format!("{text}, with key number {key} of the provider's pool");
    }
    text
}

fn first_content(attempt: &AttemptRecord) -> String {
    let limit = match (attempt.limit_ms, attempt.limit_source) {
        (Some(limit), Some(source)) => {
            format!("our limit was {}, {}", duration(limit), evidence::limit_source(source))
        }
        (Some(limit), None) => format!("our limit was {}", duration(limit)),
        (None, _) => "we had set no limit".to_owned(),
    };
    match attempt.first_token_ms {
        Some(ms) => format!("First content after {} ({limit}).", duration(ms)),
        None => format!("No content ever came ({limit})."),
    }
}

fn ending(attempt: &AttemptRecord) -> String {
    let after = duration(attempt.ms);
    let so_far = bytes(attempt.bytes);
    let Some(cause) = attempt.cause() else {
        return match attempt.outcome {
            AttemptOutcome::Ok => format!("Ended well after {after}, {so_far}."),
            AttemptOutcome::OkLate => {
                format!("Ended well after {after}: its complete answer was read before our signal, and kept.")
            }
            AttemptOutcome::OkOrphans => {
                format!("Ended well after {after}; processes it had left behind were ended by us.")
            }
            AttemptOutcome::Returned => {
                format!("Refused after {after}; its own answer was passed on as it came.")
            }
            AttemptOutcome::Failed => format!("Failed after {after}; no cause was written down."),
            AttemptOutcome::Cancelled => format!("Cancelled by us after {after}."),
        };
    };
    let verb = match attempt.outcome {
        AttemptOutcome::Ok | AttemptOutcome::OkLate | AttemptOutcome::OkOrphans => "Ended well all the same",
        AttemptOutcome::Returned => "Refused, and passed on as it came,",
        AttemptOutcome::Failed => "Failed",
        AttemptOutcome::Cancelled => "Cancelled",
    };
    format!("{verb} after {after} ({cause}, {}): {}.", phase(&attempt.phase), sentence(cause))
}

/// The stored phase as a place on the path.
pub(super) fn phase(label: &str) -> String {
    match label {
        "admit" => "at our door".to_owned(),
        "plan" => "while planning".to_owned(),
        "queue" => "while waiting for its turn".to_owned(),
        "connect" => "while connecting".to_owned(),
        "headers" => "at the head of the answer".to_owned(),
        "first_token" => "after the head, before the first content".to_owned(),
        "stream" => "in the middle of the answer".to_owned(),
        "end" => "at the end of the answer".to_owned(),
        other => format!("phase {other}"),
    }
}

fn who(attempt: &AttemptRecord) -> String {
    let side = evidence::side_named(&attempt.side)
        .map_or_else(|| attempt.side.clone(), |side| evidence::side(side).to_owned());
    match attempt.confidence {
        Some(confidence) => format!("{side}. The cause is {}", evidence::confidence(confidence)),
        None => side,
    }
}

fn next(record: &Record, place: usize, attempt: &AttemptRecord) -> String {
    if let Some(later) = record.attempts.get(place + 1) {
        let name = &later.target;
        return match later.purpose {
            Purpose::Serve => format!("Next: asked {name}."),
            Purpose::Retry => format!("Next: asked {name} once more."),
            Purpose::Fallback => format!("Next: fell back to {name}."),
            Purpose::Hedge => format!("Next: {name} was started beside it."),
            Purpose::Continue => format!("Next: {name} carried the answer on."),
            Purpose::Shadow => format!("Next: {name} was read on unseen."),
        };
    }
    match attempt.cause() {
        None => "Next: nothing more was needed.".to_owned(),
        Some(cause) => {
            let cause = evidence::effective(cause, &attempt.evidence);
            format!("Next: nothing more was tried, {}.", why_ended(record, cause))
        }
    }
}

fn why_ended(record: &Record, cause: Cause) -> String {
    let Verdict { no, person, .. } = verdict(cause, false);
    let kept = record.annotations.iter().find_map(|annotation| annotation.strip_prefix(NOT_CARRIED_ON));
    if let Some(why) = kept {
        return format!("since the answer could not be carried on: {why}");
    }
    let why = match (record.outcome, cause) {
        (_, Cause::ClientGone) => "since nobody was left to read an answer",
        (Outcome::Cut, _) if record.attempts.iter().any(|attempt| attempt.seam.is_some()) => {
            "since nobody of the plan could carry the answer on"
        }
        (Outcome::Cut, _) => "since part of the answer had already been shown to the client",
        (_, Cause::OwnDeadlineTotal) => "since the time of the whole request was up",
        _ if person => "since a person has to decide",
        _ if no => "since another target could not have mended it",
        _ if tried_all(record) => "since the plan held no further target",
        _ => "although the plan held another target; no further attempt was allowed",
    };
    why.to_owned()
}

fn tried_all(record: &Record) -> bool {
    record.plan.steps.iter().all(|step| record.attempts.iter().any(|attempt| attempt.target == step.target))
}

/// "1,200 tokens in (800 from the provider's cache) and 300 out (100 reasoning)".
pub(super) fn usage(usage: Usage) -> String {
    let part = |count: u64, what: &str| match count {
        0 => String::new(),
        _ => format!(" ({} {what})", grouped(count)),
    };
    format!(
        "{} tokens in{}{} and {} out{}{}",
        grouped(usage.input),
        part(usage.cached_input, "from the provider's cache"),
        part(usage.cache_write, "written to it"),
        grouped(usage.output),
        part(usage.reasoning, "of them reasoning"),
        if usage.estimated { ", estimated by us" } else { "" }
    )
}

pub(super) fn cost(cost_usd: Option<f64>) -> String {
    cost_usd.map_or_else(
        || "; what that costs is not known, since a price is missing".to_owned(),
        |amount| format!(", {}", usd(amount)),
    )
}
