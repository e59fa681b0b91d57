//! One attempt at a provider with bytes, and its part of the record.
//!
//! Owns the choice of the key, the clocks, and what an ending is called. Refuses
//! the client's socket. Invariant: an errand that began is settled once.

use super::crossing::{Crossing, Head};
use crate::domain::failure::{Cause, Failure, Observation, RefusalKind, classify};
use crate::domain::record::{AttemptOutcome, Outcome, PlanRecord, PlanStep, Purpose};
use crate::gateway::attempt::{Credential, Passing, passing, unquoted};
use crate::gateway::journal::ErrorAnswer;
use crate::gateway::plan::{clocks, limits_of};
use crate::gateway::provider::pool::Picked;
use crate::gateway::settings::Target;
use crate::gateway::settle::{BegunAttempt, Open, Verdicts, error_answer};
use crate::gateway::state::Gateway;
use crate::wire::refusal::read_refusal;
use bytes::Bytes;
use http::HeaderMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Bytes of a refusal's body that are looked at.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// What is asked of whom.
#[derive(Debug)]
pub struct Request {
    pub target: Arc<Target>,
    /// The credential, where only this one will do.
    pub picked: Option<Picked>,
    pub passing: Passing,
    /// The client's headers; some go along.
    pub client: HeaderMap,
    /// Why this provider, for the record.
    pub reason: String,
    /// `x-tautline-timeout-ms`.
    pub budget: Option<Duration>,
    /// Bytes of a good answer that are kept beside its delivery; a longer one is not.
    pub keep_max: usize,
}

/// An attempt under way.
#[derive(Debug)]
pub struct Errand<'a> {
    pub gateway: &'a Gateway,
    pub open: Open,
    pub crossing: Crossing,
    pub target: Arc<Target>,
    picked: Picked,
    /// What was sent, to recognise what a provider quotes of it.
    sent: Bytes,
    head: Option<Head>,
    /// The beginning of a refusal's body.
    refusal: Vec<u8>,
    /// A good answer, as far as it is kept.
    copy: Vec<u8>,
    keep_max: usize,
}

impl<'a> Errand<'a> {
    /// Begins the attempt.
    #[must_use]
    pub fn begin(gateway: &'a Gateway, mut open: Open, request: Request) -> Self {
        let Request { target, picked, passing: asked, client, reason, budget, keep_max } = request;
        let settings = gateway.settings();
        // What is not known to be short is clocked as a stream.
        let limits = limits_of(&[&settings.deadlines, &target.deadlines], true, budget);
        let picked = picked.unwrap_or_else(|| gateway.memory.pick(&target, &[], Instant::now()));
        let (credential, key) = match picked {
            Picked::Nothing => (Credential::Nothing, None),
            Picked::Client => (Credential::Client, None),
            Picked::Key(key) => (Credential::Key(key), Some(key)),
        };
        let step = PlanStep { target: target.name.to_string(), reason, clocks: clocks(&limits) };
        open.record.plan = PlanRecord { steps: vec![step], ..PlanRecord::default() };
        let sent = asked.body.clone();
        let mut outgoing = passing(&target, credential, &client, asked);
        outgoing.headers.extend(open.trace_attempt());
        let crossing = Crossing::start(outgoing, limits, open.accepted(), &gateway.transport);
        let begun = BegunAttempt {
            tally: crossing.tally(),
            purpose: Purpose::Serve,
            limit: limits.first_token,
            waited: Duration::ZERO,
            key,
            input_tokens: None,
            translated_to: None,
        };
        open.begin_attempt(&target, begun);
        let (refusal, copy) = (Vec::new(), Vec::new());
        Self { gateway, open, crossing, target, picked, sent, head: None, refusal, copy, keep_max }
    }

    /// Whether the provider got the caller's own credential.
    #[must_use]
    pub fn is_callers(&self) -> bool {
        self.picked == Picked::Client
    }

    /// The status of the answer, once its head came.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.head.as_ref().map(|head| head.status)
    }

    /// Takes note of a head.
    ///
    /// # Errors
    /// It leads elsewhere, which no gateway's client could follow.
    pub fn take_head(&mut self, head: Head) -> Result<(), Observation> {
        let status = head.status;
        self.head = Some(head);
        if (300..400).contains(&status) && status != 304 {
            return Err(refusal_of(RefusalKind::NotAnApi, status));
        }
        Ok(())
    }

    /// Takes note of a piece of the body.
    pub fn take_piece(&mut self, piece: &[u8]) {
        if self.status().is_some_and(|status| status >= 400) {
            let room = REFUSAL_BYTES_MAX - self.refusal.len();
            self.refusal.extend_from_slice(&piece[..piece.len().min(room)]);
        } else if self.copy.len() + piece.len() <= self.keep_max {
            self.copy.extend_from_slice(piece);
        } else {
            // It is whole or not at all.
            (self.copy, self.keep_max) = (Vec::new(), 0);
        }
    }

    /// Reads an answer of which the status alone counts, to its end.
    ///
    /// # Errors
    /// What was seen instead.
    pub async fn read_whole(&mut self) -> Result<u16, Observation> {
        let head = self.crossing.head().await?;
        let status = head.status;
        self.take_head(head)?;
        while let Some(piece) = self.crossing.piece().await? {
            self.take_piece(&piece);
        }
        Ok(status)
    }

    /// The answer was read, and delivered, to its end; it is handed back where it is kept.
    pub fn delivered(mut self) -> Option<Vec<u8>> {
        let status = self.status().unwrap_or(0);
        match self.refused() {
            None => {
                let copy = std::mem::take(&mut self.copy);
                let kept = (self.keep_max > 0).then_some(copy);
                self.done(status);
                kept
            }
            Some(failure) => {
                self.open.end_attempt(AttemptOutcome::Returned, Some(&failure));
                self.open.settle(Outcome::Returned, status, Some(&failure));
                None
            }
        }
    }

    /// It ended well, and the client gets this status.
    pub fn done(mut self, status: u16) {
        self.open.end_attempt(AttemptOutcome::Ok, None);
        self.open.settle(Outcome::Ok, status, None);
    }

    /// A refusal that is not passed on: the answer for the client, in our words.
    pub fn refused_whole(mut self) -> ErrorAnswer {
        let failure = self.refused().unwrap_or_else(|| {
            // Neither good nor a refusal.
            let observation = refusal_of(RefusalKind::NotAnApi, self.status().unwrap_or(0));
            classify(&self.crossing.evidence(observation))
        });
        self.open.end_attempt(AttemptOutcome::Failed, Some(&failure));
        self.failed_by(&failure)
    }

    /// It ended in the middle of the answer.
    pub fn cut(mut self, observation: Observation) {
        let (failure, by_client) = self.end(observation);
        let (outcome, status) =
            if by_client { (Outcome::ClientGone, 499) } else { (Outcome::Cut, self.status().unwrap_or(0)) };
        self.open.settle(outcome, status, Some(&failure));
    }

    /// It ended before anything was shown: the answer for a client, if one is there.
    pub fn failed(mut self, observation: Observation) -> Option<ErrorAnswer> {
        let (failure, by_client) = self.end(observation);
        if by_client {
            self.open.settle(Outcome::ClientGone, 499, Some(&failure));
            return None;
        }
        Some(self.failed_by(&failure))
    }

    fn failed_by(self, failure: &Failure) -> ErrorAnswer {
        let name = self.target.name.as_str();
        let (_, answer) = error_answer(&Verdicts {
            failure,
            target: Some(name),
            attempts: &[(name.to_owned(), failure.cause)],
            answer: None,
            client_auth: self.is_callers(),
            passthrough: false,
            free_in: None,
            asker: self.open.asker,
        });
        self.open.settle(Outcome::Failed, answer.status, Some(failure));
        answer
    }

    /// Ends the attempt by a failure, and says whether the client's side ended it.
    fn end(&mut self, observation: Observation) -> (Failure, bool) {
        let by_client = matches!(observation, Observation::ClientGone | Observation::ClientStalled { .. });
        let by_us = by_client || observation == Observation::Shutdown;
        let failure = classify(&self.crossing.evidence(unquoted(observation, &self.sent)));
        let outcome = if by_us { AttemptOutcome::Cancelled } else { AttemptOutcome::Failed };
        self.open.end_attempt(outcome, Some(&failure));
        (failure, by_client)
    }

    /// The provider's own refusal, read. Its key rests as an attempt's does.
    fn refused(&self) -> Option<Failure> {
        let head = self.head.as_ref().filter(|head| head.status >= 400)?;
        let read = read_refusal(head.status, &head.headers, &self.refusal, SystemTime::now());
        let names_model = read.fields.code.as_deref() == Some("model_not_found");
        let kind = match read.kind {
            // Nothing of it was ours: neither the path nor a word of the body.
            RefusalKind::Unsupported | RefusalKind::NotAnApi => RefusalKind::BadRequest,
            RefusalKind::ModelNotFound if !names_model => RefusalKind::BadRequest,
            kind => kind,
        };
        let observation = Observation::Refused {
            kind,
            status: head.status,
            code: read.fields.code.or(read.fields.kind),
            param: read.fields.param,
            message: read.fields.message,
            retry_after_ms: read.retry_after_ms,
            by_wording: read.by_wording,
        };
        let failure = classify(&self.crossing.evidence(unquoted(observation, &self.sent)));
        let of_the_key = matches!(failure.cause, Cause::RateLimited | Cause::QuotaExhausted | Cause::Auth);
        if let (Picked::Key(key), true) = (self.picked, of_the_key) {
            let (now, wait) = (Instant::now(), read.retry_after_ms.map(Duration::from_millis));
            self.gateway.memory.cool(&self.target, key, failure.cause, wait, now);
            let spoilt = failure.cause == Cause::Auth
                && self.target.provider.auth.keys().get(key).is_some_and(|failed| failed.spoil(now));
            if spoilt {
                self.gateway.keys_due.notify_one();
            }
        }
        Some(failure)
    }
}

/// A refusal of which the status alone is known.
fn refusal_of(kind: RefusalKind, status: u16) -> Observation {
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
