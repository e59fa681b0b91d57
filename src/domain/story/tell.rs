//! The order of the paragraphs, and everything around the attempts.

use super::{advice, attempt, evidence};
use crate::domain::failure::{Cause, sentence};
use crate::domain::ids::{Principal, PrincipalKind};
use crate::domain::quantity::{duration, grouped, micros};
use crate::domain::record::{AttemptOutcome, AttemptRecord, Feedback, Outcome, PlanClock, Purpose, Record};

/// The story of one exchange, a sentence a line; lines of detail are indented.
#[must_use]
pub fn tell(record: &Record) -> Vec<String> {
    let mut lines = vec![
        format!("Request {}, {}.", record.id, record.at),
        format!("In short: {}.{}", in_short(record), who(record)),
    ];
    lines.extend(asked(record));
    lines.extend(plan(record));
    lines.extend(happened(record));
    lines.extend(outcome(record));
    lines.extend(money(record));
    lines.extend(feedback(record));
    lines.push(timings(record));
    lines.extend(advice::tell(record));
    lines
}

fn in_short(record: &Record) -> String {
    let total = duration(record.timings.total_ms);
    let served = served_by(record).map_or("the gateway itself", |attempt| attempt.target.as_str());
    let told = told_cause(record);
    match record.outcome {
        Outcome::Ok => format!("{served} answered in {total}"),
        Outcome::OkFallback => {
            format!("{served} answered in {total}, after {}", list_failed(record))
        }
        Outcome::OkContinued => {
            format!("{served} finished the answer in {total}, after {}", list_failed(record))
        }
        Outcome::OkHedged => {
            format!("{served} answered in {total}; it had been started beside a slow target and spoke first")
        }
        Outcome::Returned => {
            format!("the target refused it and its own answer was passed on: {told}")
        }
        Outcome::Refused => format!("refused before any target was asked: {told}"),
        Outcome::Failed => format!("failed after {total} with nothing shown to the client: {told}"),
        Outcome::Cut => format!("cut after {total}, when the client had already received part of the answer: {told}"),
        Outcome::ClientGone => client_left(record),
    }
}

/// Who has to act, where something went wrong.
fn who(record: &Record) -> String {
    let side = evidence::side_named(&record.side).map(evidence::side);
    side.map_or_else(String::new, |side| format!(" Who has to act: {side}."))
}

/// A departure is the client's own; what matters is how long it had waited and
/// whether it had seen anything.
fn client_left(record: &Record) -> String {
    let total = record.timings.total_ms;
    let seen = match record.timings.first_token_ms {
        Some(first) if first <= total => format!("it had been receiving the answer for {}", duration(total - first)),
        _ => "no content had come yet".to_owned(),
    };
    if record.cause() == Some(Cause::ClientStalled) {
        return format!(
            "we let the client go after {}, since it no longer took what it was sent; {seen}",
            duration(total)
        );
    }
    format!("the client left by itself after waiting {}; {seen}, and no target is blamed", duration(total))
}

fn served_by(record: &Record) -> Option<&AttemptRecord> {
    let shown = |attempt: &&AttemptRecord| attempt.purpose != Purpose::Shadow;
    let good = |attempt: &&AttemptRecord| match attempt.outcome {
        AttemptOutcome::Ok | AttemptOutcome::OkLate | AttemptOutcome::OkOrphans => true,
        AttemptOutcome::Returned | AttemptOutcome::Failed | AttemptOutcome::Cancelled => false,
    };
    let attempts = || record.attempts.iter().filter(shown);
    attempts().rfind(good).or_else(|| attempts().next_back())
}

/// `strong failed (own_deadline_first_token) and local failed (reset)`.
fn list_failed(record: &Record) -> String {
    let failed: Vec<String> = record
        .attempts
        .iter()
        .filter(|attempt| attempt.outcome == AttemptOutcome::Failed)
        .map(|attempt| format!("{} failed ({})", attempt.target, attempt.cause))
        .collect();
    if failed.is_empty() { "another attempt".to_owned() } else { failed.join(" and ") }
}

fn told_cause(record: &Record) -> String {
    record.cause().map_or_else(
        || "no cause was written down".to_owned(),
        |cause| {
            let culprit = record.attempts.iter().find(|attempt| attempt.cause == record.cause);
            let target = culprit.map(|attempt| format!("{}, ", attempt.target)).unwrap_or_default();
            format!("{} ({target}{cause})", sentence(cause))
        },
    )
}

fn asked(record: &Record) -> Vec<String> {
    let way = if record.stream { "streamed" } else { "as a whole, not streamed" };
    let at = match record.model.as_str() {
        // Refused before its body was read.
        "" => format!("at {}", record.path),
        model => format!("for model {model} at {}", record.path),
    };
    let mut lines = vec![
        format!("{} asked {at}, {way}.", caller(&record.principal)),
        format!(
            "It took the route {}; the task is {}, {}.",
            or_none(&record.route),
            or_none(&record.task),
            task_reason(&record.task_reason)
        ),
    ];
    let is_here = |addr: &String| addr.parse::<std::net::IpAddr>().is_ok_and(|addr| addr.is_loopback());
    if let Some(addr) = record.client_addr.as_ref().filter(|addr| !is_here(addr)) {
        lines.push(format!("It came from {addr}."));
    }
    if let Some(id) = &record.client_request_id {
        lines.push(format!("The client calls this request {id}."));
    }
    lines
}

fn caller(principal: &Principal) -> String {
    match principal.kind {
        PrincipalKind::Anonymous => "A caller without a credential".to_owned(),
        PrincipalKind::AccessKey => "A caller with this gateway's access key".to_owned(),
        PrincipalKind::ClientCredential => {
            format!("The caller {} (a hash of its own credential)", principal.id)
        }
    }
}

fn or_none(name: &str) -> &str {
    if name.is_empty() { "(none)" } else { name }
}

/// Reasons are stored as labels; unknown ones (of a later version) go through.
fn task_reason(label: &str) -> String {
    match label {
        "header" => "because `x-tautline-task` said so".to_owned(),
        "metadata" => "because `metadata.task` said so".to_owned(),
        "model_suffix" => "because the model name ended in it".to_owned(),
        "default" => "because nobody said otherwise".to_owned(),
        "session" => "because the session was already on it".to_owned(),
        "" => "for no stated reason".to_owned(),
        other => format!("because of {other}"),
    }
}

fn plan(record: &Record) -> Vec<String> {
    let plan = &record.plan;
    if plan.steps.is_empty() && plan.rejected.is_empty() {
        return vec!["No plan was made.".to_owned()];
    }
    let needs = if plan.needs.is_empty() { "no special ability".to_owned() } else { plan.needs.join(", ") };
    let mut lines = vec![if record.model.is_empty() {
        "The plan, for a request that is passed on as it came:".to_owned()
    } else {
        format!("The plan, for about {} prompt tokens and a target with {needs}:", grouped(plan.input_tokens))
    }];
    for (place, step) in plan.steps.iter().enumerate() {
        let clocks: Vec<String> = step.clocks.iter().map(clock).collect();
        let clocks = if clocks.is_empty() { "no clock".to_owned() } else { clocks.join(", ") };
        lines.push(format!("  {}. {}: {}. Clocks: {clocks}.", place + 1, step.target, step.reason));
    }
    for left in &plan.rejected {
        lines.push(format!("  Left out: {}: {}.", left.target, left.reason));
    }
    lines
}

fn clock(clock: &PlanClock) -> String {
    let name = evidence::clock_name(clock.clock);
    match clock.limit_ms {
        Some(limit) => {
            format!("{name} {} ({})", duration(limit), evidence::limit_source(clock.source))
        }
        None => format!("{name} off"),
    }
}

fn happened(record: &Record) -> Vec<String> {
    if record.attempts.is_empty() {
        return vec!["No target was asked.".to_owned()];
    }
    let mut lines = vec!["What happened:".to_owned()];
    lines.extend((0..record.attempts.len()).flat_map(|place| attempt::tell(record, place)));
    lines
}

fn outcome(record: &Record) -> Vec<String> {
    let mut lines = vec![match record.outcome {
        Outcome::ClientGone => {
            format!("Outcome: {}; nobody was there to get a status (recorded as {}).", record.outcome, record.status)
        }
        Outcome::Cut if record.stream => format!(
            "Outcome: {}; the client had got status {} and then an error inside the stream.",
            record.outcome, record.status
        ),
        Outcome::Cut => format!(
            "Outcome: {}; the client had got status {} and then a broken answer.",
            record.outcome, record.status
        ),
        Outcome::Ok
        | Outcome::OkFallback
        | Outcome::OkContinued
        | Outcome::OkHedged
        | Outcome::Returned
        | Outcome::Refused
        | Outcome::Failed => {
            format!("Outcome: {}; the client got status {}.", record.outcome, record.status)
        }
    }];
    if record.cause().is_some() {
        lines.push(format!("  Cause: {}, {}.", record.cause, attempt::phase(&record.phase)));
    }
    // Attempts have told their own.
    lines.extend(record.evidence.iter().map(|fact| format!("  Evidence: {}.", evidence::fact(fact))));
    for label in &record.annotations {
        let known = Cause::ALL.iter().find(|cause| cause.as_str() == label);
        let words = known.map_or("", |cause| sentence(*cause));
        lines.push(format!("  Note: {label}{}{words}.", if words.is_empty() { "" } else { ": " }));
    }
    for warning in &record.warnings {
        lines.push(format!("  The client was warned: {warning}."));
    }
    lines
}

fn money(record: &Record) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(usage) = record.usage {
        lines.push(format!("Delivered: {}.", attempt::usage(usage)));
    }
    if let Some(billed) = record.billed {
        lines.push(format!(
            "Billed over all attempts: {}{}.",
            attempt::usage(billed.tokens),
            attempt::cost(billed.cost_usd)
        ));
    }
    lines
}

fn feedback(record: &Record) -> Option<String> {
    let Feedback { at, verdict, score } = record.feedback.as_ref()?;
    let score = score.map_or_else(String::new, |score| format!(" (score {score})"));
    Some(format!("The client's feedback, {at}: {verdict}{score}."))
}

fn timings(record: &Record) -> String {
    let timings = &record.timings;
    let stages = [
        ("request complete at", timings.body_ms),
        ("first attempt at", timings.first_attempt_ms),
        ("first content at", timings.first_token_ms),
        ("end at", Some(timings.total_ms)),
    ];
    let stages: Vec<String> =
        stages.iter().filter_map(|(name, ms)| ms.map(|ms| format!("{name} {}", duration(ms)))).collect();
    format!("Timings from acceptance: {}; our own share of it was {}.", stages.join(", "), micros(timings.overhead_us))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::deadline::{Clock, LimitSource};
    use crate::domain::failure::{Confidence, Fact};
    use crate::domain::record::{Billed, NONE, PlanRecord, PlanRejection, PlanStep, Timings};
    use crate::domain::usage::Usage;

    fn step(target: &str, reason: &str) -> PlanStep {
        let source = LimitSource::Configured;
        PlanStep {
            target: target.to_owned(),
            reason: reason.to_owned(),
            clocks: vec![
                PlanClock { clock: Clock::FirstToken, limit_ms: Some(30_000), source },
                PlanClock { clock: Clock::Total, limit_ms: None, source },
            ],
        }
    }

    fn good(target: &str, started_ms: u64, purpose: Purpose) -> AttemptRecord {
        AttemptRecord {
            target: target.to_owned(),
            provider: "openai".to_owned(),
            model: "gpt-5".to_owned(),
            translated_to: None,
            outcome: AttemptOutcome::Ok,
            cause: NONE.to_owned(),
            phase: NONE.to_owned(),
            side: NONE.to_owned(),
            confidence: None,
            evidence: Vec::new(),
            limit_ms: Some(30_000),
            limit_source: Some(LimitSource::Configured),
            first_token_ms: Some(230),
            started_ms,
            ms: 1_849,
            waited_ms: 0,
            bytes: 2_048,
            tokens: Some(Usage { input: 1_200, output: 300, ..Usage::default() }),
            cost_usd: Some(0.0045),
            purpose,
            key: None,
            upstream_request_id: Some("req_42".to_owned()),
            seam: None,
        }
    }

    fn failed(target: &str, cause: Cause, phase: &str, evidence: Vec<Fact>) -> AttemptRecord {
        AttemptRecord {
            outcome: AttemptOutcome::Failed,
            cause: cause.as_str().to_owned(),
            phase: phase.to_owned(),
            side: cause.side().as_str().to_owned(),
            confidence: Some(Confidence::Certain),
            evidence,
            first_token_ms: None,
            ms: 30_004,
            bytes: 0,
            tokens: None,
            cost_usd: None,
            upstream_request_id: None,
            ..good(target, 3, Purpose::Serve)
        }
    }

    fn ok() -> Record {
        let tokens = Usage { input: 1_200, output: 300, cached_input: 800, ..Usage::default() };
        Record {
            id: "01JDEXAMPLE".to_owned(),
            at: "2026-11-24T02:13:00.000Z".to_owned(),
            client_request_id: None,
            client_addr: None,
            principal: Principal { id: "anonymous".to_owned(), kind: PrincipalKind::Anonymous },
            dialect: "chat".to_owned(),
            path: "/v1/chat/completions".to_owned(),
            model: "auto".to_owned(),
            route: "auto".to_owned(),
            task: "analysis".to_owned(),
            task_reason: "header".to_owned(),
            stream: true,
            outcome: Outcome::Ok,
            status: 200,
            cause: NONE.to_owned(),
            phase: NONE.to_owned(),
            side: NONE.to_owned(),
            evidence: Vec::new(),
            plan: PlanRecord {
                steps: vec![step("strong", "listed first"), step("local", "listed second")],
                rejected: vec![PlanRejection { target: "fast".to_owned(), reason: "has no tools".to_owned() }],
                needs: vec!["tools".to_owned()],
                input_tokens: 1_180,
            },
            attempts: vec![good("strong", 3, Purpose::Serve)],
            timings: Timings {
                body_ms: Some(1),
                first_attempt_ms: Some(3),
                first_token_ms: Some(233),
                total_ms: 1_852,
                overhead_us: 640,
            },
            annotations: Vec::new(),
            warnings: Vec::new(),
            feedback: None,
            usage: Some(tokens),
            billed: Some(Billed { tokens, cost_usd: Some(0.0045) }),
        }
    }

    /// The same request, ended by `cause` before or after something was shown.
    fn ended(outcome: Outcome, status: u16, cause: Cause, attempts: Vec<AttemptRecord>) -> Record {
        let phase = attempts.last().map_or("plan", |attempt| attempt.phase.as_str()).to_owned();
        Record {
            outcome,
            status,
            cause: cause.as_str().to_owned(),
            phase,
            side: cause.side().as_str().to_owned(),
            attempts,
            usage: None,
            billed: None,
            ..ok()
        }
    }

    #[test]
    fn what_a_client_said_of_it_is_told() {
        use crate::domain::record::Verdict;
        let said = |score| Some(Feedback { at: "2026-11-24T02:14:00.000Z".to_owned(), verdict: Verdict::Bad, score });
        for (score, told) in [(Some(0.25), "bad (score 0.25)."), (None, "bad.")] {
            let lines = tell(&Record { feedback: said(score), ..ok() });
            assert!(lines.contains(&format!("The client's feedback, 2026-11-24T02:14:00.000Z: {told}")), "{lines:#?}");
        }
    }

    fn own_deadline() -> AttemptRecord {
        let clock = Fact::Clock {
            clock: Clock::FirstToken,
            limit_ms: 30_000,
            elapsed_ms: 30_004,
            source: LimitSource::Configured,
        };
        failed("strong", Cause::OwnDeadlineFirstToken, "headers", vec![clock])
    }

    #[test]
    fn a_good_answer_is_told_from_end_to_end() {
        let expected = "\
Request 01JDEXAMPLE, 2026-11-24T02:13:00.000Z.
In short: strong answered in 1.9 s.
A caller without a credential asked for model auto at /v1/chat/completions, streamed.
It took the route auto; the task is analysis, because `x-tautline-task` said so.
The plan, for about 1,180 prompt tokens and a target with tools:
  1. strong: listed first. Clocks: first-token 30 s (configured), total off.
  2. local: listed second. Clocks: first-token 30 s (configured), total off.
  Left out: fast: has no tools.
What happened:
  Attempt 1 of 1: strong (model gpt-5 at provider openai), the first choice of the plan.
    Started 3 ms after the request was accepted.
    First content after 230 ms (our limit was 30 s, configured).
    Ended well after 1.8 s, 2 KiB.
    The target calls this request req_42.
    It used 1,200 tokens in and 300 out, $0.0045.
    Next: nothing more was needed.
Outcome: ok; the client got status 200.
Delivered: 1,200 tokens in (800 from the provider's cache) and 300 out.
Billed over all attempts: 1,200 tokens in (800 from the provider's cache) and 300 out, $0.0045.
Timings from acceptance: request complete at 1 ms, first attempt at 3 ms, first content at 233 ms, \
end at 1.9 s; our own share of it was 640 µs.";
        assert_eq!(tell(&ok()).join("\n"), expected);
    }

    #[test]
    fn a_fallback_after_our_own_clock_blames_the_clock() {
        let record = Record {
            outcome: Outcome::OkFallback,
            attempts: vec![own_deadline(), good("local", 30_010, Purpose::Fallback)],
            ..ok()
        };
        let story = tell(&record).join("\n");
        for line in [
            "In short: local answered in 1.9 s, after strong failed (own_deadline_first_token).",
            "    No content ever came (our limit was 30 s, configured).",
            "    Failed after 30 s (own_deadline_first_token, at the head of the answer): the \
             target was reached but sent no content within our first-token limit, so we ended the \
             attempt.",
            "    Who has to act: whoever runs this gateway. The cause is certain.",
            "    Evidence: our own first-token clock ran out: limit 30 s (configured), elapsed 30 s.",
            "    Next: fell back to local.",
            "What to change:\n  own_deadline_first_token (strong): operator: raise \
             `deadlines.first_token.hard`",
        ] {
            assert!(story.contains(line), "missing: {line}\n{story}");
        }
    }

    #[test]
    fn a_refusal_in_plan_tells_its_own_evidence() {
        let mut record = ended(Outcome::Refused, 400, Cause::NoFitTarget, Vec::new());
        record.evidence = vec![Fact::Rejected { target: "fast".to_owned(), reason: "has no tools".to_owned() }];
        let story = tell(&record).join("\n");
        assert!(story.contains("In short: refused before any target was asked: no configured"));
        assert!(story.contains("No target was asked."));
        assert!(story.contains("  Evidence: fast was left out: has no tools."));
        assert!(story.contains("  no_fit_target: operator: add a target"), "{story}");
    }

    #[test]
    fn a_cut_answer_says_why_nobody_else_was_asked() {
        let mut reset =
            failed("strong", Cause::Reset, "stream", vec![Fact::Seen { bytes: 9_000, contents: 40, finish: false }]);
        reset.first_token_ms = Some(230);
        let story = tell(&ended(Outcome::Cut, 200, Cause::Reset, vec![reset])).join("\n");
        for line in [
            "In short: cut after 1.9 s, when the client had already received part of the answer: ",
            "Evidence: of the answer 9,000 bytes with 40 pieces of content had come, and no proper \
             end was seen.",
            "Next: nothing more was tried, since part of the answer had already been shown to the \
             client.",
            "the client had got status 200 and then an error inside the stream.",
        ] {
            assert!(story.contains(line), "missing: {line}\n{story}");
        }
    }

    #[test]
    fn a_departed_client_is_neither_a_timeout_nor_a_targets_fault() {
        let mut left = failed("strong", Cause::ClientGone, "headers", vec![Fact::ClosedByClient]);
        left.outcome = AttemptOutcome::Cancelled;
        let mut record = ended(Outcome::ClientGone, 499, Cause::ClientGone, vec![left]);
        record.timings.total_ms = 12_000;
        record.timings.first_token_ms = None;
        let story = tell(&record).join("\n");
        for line in [
            "In short: the client left by itself after waiting 12 s; no content had come yet, and \
             no target is blamed.",
            "and no target is blamed. Who has to act: whoever runs the client.",
            "Next: nothing more was tried, since nobody was left to read an answer.",
            "Outcome: client_gone; nobody was there to get a status (recorded as 499).",
            "  client_gone (strong): client: raise your own timeout",
        ] {
            assert!(story.contains(line), "missing: {line}\n{story}");
        }
    }

    #[test]
    fn a_wait_is_told_with_its_reason() {
        let limited = failed(
            "strong",
            Cause::RateLimited,
            "headers",
            vec![Fact::HttpStatus { status: 429 }, Fact::RetryAfter { ms: 2_000 }],
        );
        let mut again = good("strong", 2_050, Purpose::Retry);
        again.waited_ms = 2_000;
        let record = Record { attempts: vec![limited, again], ..ok() };
        let story = tell(&record).join("\n");
        assert!(story.contains("having waited 2 s (as the target had asked)."), "{story}");
        assert!(story.contains("Next: asked strong once more."), "{story}");
    }

    #[test]
    fn one_cause_at_two_targets_is_one_piece_of_advice() {
        let attempts =
            vec![failed("a", Cause::Auth, "headers", Vec::new()), failed("b", Cause::Auth, "headers", Vec::new())];
        let story = tell(&ended(Outcome::Failed, 502, Cause::Auth, attempts)).join("\n");
        assert_eq!(story.matches("`providers.X.api_key`").count(), 1, "{story}");
        assert!(story.contains("  auth (a, b): operator: replace"), "{story}");
    }
}
