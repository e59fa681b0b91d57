//! How an exchange ends: good, by a failure of its own, or with nothing left to try.

use super::{Lost, Walk};
use crate::domain::failure::{Cause, Failure};
use crate::domain::record::{AttemptOutcome, Outcome};
use crate::gateway::attempt::Good;
use crate::gateway::journal::{Ending, Entry};
use crate::gateway::settle::{Settlement, Verdicts, bill, error_answer, told_in_stream};
use crate::wire::facts::Finish;
use std::time::Instant;

impl Walk {
    pub(super) fn succeeded(mut self, good: &Good) {
        self.keep();
        for finish in &good.finishes {
            let annotation = match finish {
                Finish::Length => Cause::LengthLimited.as_str(),
                Finish::ContentFilter => Cause::ContentFiltered.as_str(),
                Finish::Stop | Finish::ToolCalls | Finish::Other => continue,
            };
            if !self.open.record.annotations.iter().any(|known| known == annotation) {
                self.open.record.annotations.push(annotation.to_owned());
            }
        }
        let target = self.open.last_target();
        let first = self.open.record.plan.steps.first().map(|step| step.target.as_str());
        let moved = target.is_some_and(|last| Some(last.as_str()) != first);
        let outcome = match (&self.broken, moved) {
            (Some(_), _) => Outcome::OkContinued,
            (None, true) => Outcome::OkFallback,
            (None, false) => Outcome::Ok,
        };
        let report = self.report(outcome);
        self.finish(Ending::Complete { report }, outcome, 200, None);
    }

    /// A verdict of "no", something shown, the budget, a shutdown: it ends here.
    pub(super) fn failed_by_last(self) {
        let last = self.lost.len().saturating_sub(1);
        self.failed(last);
    }

    /// It ended between two attempts: no target is to blame, none is named.
    pub(super) fn stopped(self, failure: Failure) {
        let attempts = self.lost_attempts();
        let (_, answer) = error_answer(&Verdicts {
            failure: &failure,
            target: None,
            attempts: &attempts,
            answer: None,
            client_auth: false,
            passthrough: self.request.passthrough,
            free_in: None,
            asker: self.open.asker,
        });
        let status = if self.journal.head().sent { 200 } else { answer.status };
        self.finish(Ending::Error(answer), Outcome::Failed, status, Some(failure));
    }

    fn lost_attempts(&self) -> Vec<(String, Cause)> {
        self.lost.iter().map(|lost| (lost.target.clone(), lost.failure.cause)).collect()
    }

    /// Nothing is left to try: the failure is the first attempt's, unless every
    /// target was empty; then the first empty answer is the answer.
    pub(super) fn exhausted(mut self) {
        let all_empty = self.lost.iter().all(|lost| lost.resent || lost.failure.cause == Cause::Empty);
        let empty = self.first_empty.take().filter(|_| all_empty);
        if empty.is_some_and(|entries| self.tell_empty(entries)) {
            let report = self.report(Outcome::Returned);
            if let Some(first) = self.open.record.attempts.first_mut() {
                first.outcome = AttemptOutcome::Returned;
            }
            let first = self.first_lost();
            let failure = self.lost.swap_remove(first).failure;
            return self.finish(Ending::Complete { report }, Outcome::Returned, 200, Some(failure));
        }
        // What broke an answer off is told, not who could not carry it on.
        let told = self.broken.as_ref().map_or_else(|| self.first_lost(), |broken| broken.told);
        self.failed(told);
    }

    /// An empty answer as it came; one that its client's stream cannot say is none (`false`).
    fn tell_empty(&self, entries: Vec<Entry>) -> bool {
        let mut is_told = true;
        for entry in entries {
            match entry {
                // As for an answer that is good: a client that streams gets frames.
                Entry::Whole(body) => is_told &= self.whole(&body),
                other => self.journal.append([other]),
            }
        }
        is_told
    }

    /// The first attempt that failed in a form that stood.
    fn first_lost(&self) -> usize {
        self.lost.iter().position(|lost| !lost.resent).unwrap_or(0)
    }

    fn failed(mut self, which: usize) {
        let shown = self.journal.shown();
        let attempts = self.lost_attempts();
        let now = Instant::now();
        let free_in = self.free_at(now).map(|at| at.saturating_duration_since(now));
        let Lost { target, failure, answer, client_auth, .. } = self.lost.swap_remove(which);
        let (returned, mut answer) = error_answer(&Verdicts {
            failure: &failure,
            target: Some(&target),
            attempts: &attempts,
            answer: answer.as_ref(),
            client_auth,
            passthrough: self.request.passthrough,
            free_in,
            asker: self.open.asker,
        });
        answer.in_stream = told_in_stream(&self.open.record, self.open.asker, &failure, &answer);
        let outcome = match (shown, returned) {
            (true, _) => Outcome::Cut,
            (false, true) => Outcome::Returned,
            (false, false) => Outcome::Failed,
        };
        if returned
            && !shown
            && let Some(attempt) = self.open.record.attempts.get_mut(which)
        {
            attempt.outcome = AttemptOutcome::Returned;
        }
        // Headers that were held long enough went out with 200 before anything was shown.
        let status = if shown || self.journal.head().sent || answer.in_stream.is_some() { 200 } else { answer.status };
        self.finish(Ending::Error(answer), outcome, status, Some(failure));
    }

    /// Hands the exchange over to be settled and tells its readers the end.
    fn finish(self, ending: Ending, outcome: Outcome, status: u16, failure: Option<Failure>) {
        self.journal.settle(Settlement::new(self.open, outcome, status, failure));
        self.journal.end(ending);
    }

    /// The soonest that any target is free, where it said so. What a target said
    /// before a wait that is over counts no more once it was asked again.
    fn free_at(&self, now: Instant) -> Option<Instant> {
        let counts = |(place, lost): (usize, &Lost)| {
            let asked_again = || self.lost[place + 1..].iter().any(|later| later.target == lost.target);
            lost.free_at.filter(|at| *at > now || !asked_again())
        };
        self.lost.iter().enumerate().filter_map(counts).min()
    }

    /// The shortened record, for those who asked with `x-tautline-report`.
    fn report(&self, outcome: Outcome) -> Option<serde_json::Value> {
        self.request.report.then(|| {
            let record = &self.open.record;
            let attempts: Vec<_> = record
                .attempts
                .iter()
                .map(|attempt| {
                    serde_json::json!({
                        "target": attempt.target, "outcome": attempt.outcome, "cause": attempt.cause,
                        "phase": attempt.phase, "side": attempt.side, "ms": attempt.ms,
                        "first_token_ms": attempt.first_token_ms, "tokens": attempt.tokens,
                        "cost_usd": attempt.cost_usd, "purpose": attempt.purpose,
                    })
                })
                .collect();
            let (_, billed) = bill(&record.attempts);
            serde_json::json!({
                "id": record.id, "outcome": outcome, "route": record.route, "task": record.task,
                "task_reason": record.task_reason, "attempts": attempts, "billed": billed,
            })
        })
    }
}
