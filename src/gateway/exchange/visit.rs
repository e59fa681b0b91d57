//! All attempts at one target: its keys, a repeat, a wait, a second form.

use super::{Lost, Visit, Walk};
use crate::domain::backoff::full_jitter;
use crate::domain::failure::{Cause, Verdict, verdict};
use crate::domain::record::Purpose;
use crate::gateway::attempt::Interrupted;
use crate::gateway::plan::Step;
use crate::gateway::provider::pool::{Picked, Quirk};
use crate::wire::request::{Rewrite, Rewritten};
use std::time::{Duration, Instant};

/// A jittered repeat waits at most this long.
const RETRY_CAP: Duration = Duration::from_secs(2);

/// What was tried at this target already.
#[derive(Default)]
struct Tried {
    keys: Vec<usize>,
    repeats: u32,
    waited: bool,
    resent: u32,
}

/// How one attempt goes out.
pub(super) struct Form {
    pub streams: bool,
    pub asks_usage: bool,
    pub rewritten: Rewritten,
}

/// What follows a lost attempt.
enum Next {
    Again {
        wait: Duration,
    },
    /// The same request in another form of ours.
    Resend,
    MoveOn,
    Over,
}

impl Walk {
    pub(super) async fn visit(&mut self, step: &Step, first_target: bool, purpose: Purpose) -> Visit {
        let mut tried = Tried::default();
        let mut purpose = purpose;
        let mut waited = Duration::ZERO;
        loop {
            let form = self.form(step);
            let picked = self.gateway.memory.pick(&step.target, &tried.keys, Instant::now());
            let interrupted = match self.attempt(step, &form, picked, first_target, purpose, waited).await {
                Ok(good) => return Visit::Good(good),
                Err(interrupted) => interrupted,
            };
            let next = self.judge(step, &form, picked, &interrupted, &mut tried);
            let resent = matches!(next, Next::Resend);
            self.lose(step, *interrupted, resent);
            match next {
                Next::Resend => purpose = Purpose::Retry,
                Next::Over => return Visit::Over,
                Next::MoveOn => return Visit::MoveOn,
                Next::Again { wait } => {
                    if !wait.is_zero()
                        && let Err(observation) = self.wait(wait, step).await
                    {
                        return Visit::Stopped(self.open.classify_here(observation));
                    }
                    purpose = Purpose::Retry;
                    waited = wait;
                }
            }
        }
    }

    /// What may be done after this failure, at this target or elsewhere.
    fn judge(&self, step: &Step, form: &Form, picked: Picked, interrupted: &Interrupted, tried: &mut Tried) -> Next {
        let (now, memory, target) = (Instant::now(), &self.gateway.memory, &step.target);
        let bounds = &self.settings.bounds;
        let cause = interrupted.failure.effective_cause();
        if !self.journal.start_afresh() {
            return Next::Over;
        }
        if let Some(quirk) = self.ours(form, interrupted)
            && tried.resent < 2
        {
            memory.learn(target, quirk, now);
            tried.resent += 1;
            return Next::Resend;
        }
        let of_the_key = matches!(cause, Cause::RateLimited | Cause::QuotaExhausted | Cause::Auth);
        if let (Picked::Key(key), true) = (picked, of_the_key) {
            memory.cool(target, key, cause, interrupted.retry_after, now);
            let spoilt =
                cause == Cause::Auth && target.provider.auth.keys().get(key).is_some_and(|failed| failed.spoil(now));
            if spoilt {
                self.gateway.keys_due.notify_one();
            }
            tried.keys.push(key);
            if memory.has_fresh_key(target, &tried.keys, now) {
                return Next::Again { wait: Duration::ZERO };
            }
        }
        let Verdict { same, fallback, wait, no, person } = verdict(cause, false);
        if no || person || cause == Cause::Shutdown {
            return Next::Over;
        }
        let short = interrupted.retry_after.filter(|wait| *wait <= bounds.retry_after_wait_max);
        if wait
            && !tried.waited
            && let Some(wait) = short
            && self.fits_budget(step, wait)
        {
            tried.waited = true;
            // After the wait the keys are free again.
            tried.keys.clear();
            return Next::Again { wait };
        }
        if same && tried.repeats < bounds.same_target_retries {
            tried.repeats += 1;
            let wait = full_jitter(bounds.retry_base, RETRY_CAP, 0, fastrand::f64());
            if self.fits_budget(step, wait) {
                return Next::Again { wait };
            }
        }
        if fallback { Next::MoveOn } else { Next::Over }
    }

    /// A refusal of `stream` or `stream_options` that the client did not ask for.
    fn ours(&self, form: &Form, interrupted: &Interrupted) -> Option<Quirk> {
        let asked = &self.request.asked;
        match interrupted.names_streaming {
            Some("stream_options") if form.asks_usage && !asked.particulars.include_usage => Some(Quirk::StreamOptions),
            Some("stream") if form.streams && !asked.stream => Some(Quirk::Stream),
            _ => None,
        }
    }

    fn fits_budget(&self, step: &Step, wait: Duration) -> bool {
        step.limits.total.value.is_none_or(|total| self.open.accepted() + total > Instant::now() + wait)
    }

    fn lose(&mut self, step: &Step, interrupted: Interrupted, resent: bool) {
        if self.first_empty.is_none() {
            self.first_empty = interrupted.empty.map(|empty| empty.entries);
        }
        self.lost.push(Lost {
            target: step.target.name.to_string(),
            client_auth: Lost::client_auth(step),
            resent,
            free_at: interrupted.retry_after.map(|wait| Instant::now() + wait),
            failure: interrupted.failure,
            answer: interrupted.answer,
        });
    }

    /// How the request is put to this target.
    fn form(&self, step: &Step) -> Form {
        let (asked, target, now) = (&self.request.asked, &step.target, Instant::now());
        let memory = &self.gateway.memory;
        let unstreamed =
            asked.particulars.unstreamable || !target.stream_upstream || memory.knows(target, Quirk::Stream, now);
        let streams = asked.stream || !unstreamed;
        let asks_usage =
            streams && (asked.particulars.include_usage || !memory.knows(target, Quirk::StreamOptions, now));
        let rewritten = asked.rewrite(&Rewrite {
            model: &target.model,
            stream: streams,
            ask_usage: asks_usage,
            drop_metadata_task: self.request.drop_metadata_task,
            drop: &target.params.drop,
            rename: &target.params.rename,
            set: &target.params.set,
        });
        Form { streams, asks_usage, rewritten }
    }
}
