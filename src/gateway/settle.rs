//! The single exit of every exchange.
//!
//! Owns the record in progress and what follows from an ending: the record,
//! the metrics, the log line, the error that the client gets. Invariant: every
//! exchange is settled exactly once, however it ends; a driver that is dropped
//! runs no code of ours, so the guard's `Drop` settles it.

mod error;

pub use error::{Verdicts, error_answer, fixed_answer, told_in_stream};

use crate::domain::deadline::{Clock, LimitSource};
use crate::domain::failure::{Evidence, Failure, Observation, Phase, StallPoint, classify};
use crate::domain::ids::{ExchangeId, Principal, RouteName, TargetName};
use crate::domain::record::{
    AttemptOutcome, AttemptRecord, Billed, NONE, NOT_CARRIED_ON, Outcome, Purpose, Record, Seam,
};
use crate::domain::task::{Task, TaskReason};
use crate::domain::usage::Usage;
use crate::gateway::attempt::Tally;
use crate::gateway::events::{AttemptEnded, Metrics, RecordDropped, Settled, Translated};
use crate::gateway::journal::{Departure, Journal};
use crate::gateway::record::RecordSink;
use crate::gateway::settings::Target;
use crate::gateway::spans::{Spent, Trace};
use crate::telemetry::Raised;
use crate::telemetry::otlp::Exporter;
use crate::wire::dialect::Dialect;
use http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// An exchange that is under way.
#[derive(Debug)]
pub struct Open {
    pub record: Box<Record>,
    pub asker: Asker,
    accepted: Instant,
    route: Option<RouteName>,
    task: Option<(Task, TaskReason)>,
    flight: Option<Flight>,
    journal: Option<Journal>,
    metrics: Arc<Metrics>,
    sink: RecordSink,
    trace: Trace,
    write_timeout: Duration,
    /// Nanoseconds of our own work, added up by the driver's polls.
    own_work: Arc<AtomicU64>,
    settled: bool,
}

/// The attempt that is under way.
#[derive(Debug)]
struct Flight {
    record: AttemptRecord,
    target: Arc<Target>,
    tally: Arc<Mutex<Tally>>,
    began: Instant,
    /// Estimated prompt tokens, for what the provider does not report; `None`: tokens are not counted.
    input_tokens: Option<u64>,
    _raised: Raised,
}

/// Where settled exchanges go.
#[derive(Debug, Clone)]
pub struct Settling {
    pub metrics: Arc<Metrics>,
    pub sink: RecordSink,
    /// `None`: nothing is exported by OTLP.
    pub exporter: Option<Exporter>,
    pub write_timeout: Duration,
}

/// What an exchange is called before anything else is known of it.
#[derive(Debug)]
pub struct Opening {
    pub id: ExchangeId,
    pub accepted: Instant,
    pub path: String,
    pub client_request_id: Option<String>,
    pub principal: Principal,
    pub client_addr: Option<String>,
    /// What the client speaks.
    pub dialect: Dialect,
}

/// Whom an error is written for.
#[derive(Debug, Clone, Copy)]
pub struct Asker {
    pub id: ExchangeId,
    pub dialect: Dialect,
}

impl Open {
    /// Opens the record of an exchange whose head is complete.
    #[must_use]
    pub fn new(opening: Opening, settling: &Settling) -> Self {
        let at = jiff::Timestamp::now().round(jiff::Unit::Millisecond).unwrap_or_default();
        let record = Record {
            id: opening.id.to_string(),
            at: format!("{at:.3}"),
            client_request_id: opening.client_request_id,
            principal: opening.principal,
            client_addr: opening.client_addr,
            path: opening.path,
            dialect: opening.dialect.as_str().to_owned(),
            ..Record::blank()
        };
        Self {
            record: Box::new(record),
            asker: Asker { id: opening.id, dialect: opening.dialect },
            accepted: opening.accepted,
            route: None,
            task: None,
            flight: None,
            journal: None,
            metrics: Arc::clone(&settling.metrics),
            sink: settling.sink.clone(),
            trace: Trace::new(settling.exporter.as_ref()),
            write_timeout: settling.write_timeout,
            own_work: Arc::default(),
            settled: false,
        }
    }

    /// Milliseconds since the head was complete.
    #[must_use]
    pub fn elapsed_ms(&self) -> u64 {
        ms(self.accepted.elapsed())
    }

    #[must_use]
    pub const fn accepted(&self) -> Instant {
        self.accepted
    }

    /// What it turned out to be.
    pub fn identify(&mut self, model: &str, route: &RouteName, task: &Task, reason: TaskReason, stream: bool) {
        model.clone_into(&mut self.record.model);
        route.as_str().clone_into(&mut self.record.route);
        task.as_str().clone_into(&mut self.record.task);
        reason.as_str().clone_into(&mut self.record.task_reason);
        self.record.stream = stream;
        self.route = Some(route.clone());
        self.task = Some((task.clone(), reason));
    }

    /// Joins the trace that the client's headers tell of.
    pub fn join_trace(&mut self, headers: &HeaderMap) {
        self.trace.join(headers);
    }

    /// The headers that tell the target of the next attempt of the trace.
    pub fn trace_attempt(&mut self) -> Vec<(HeaderName, HeaderValue)> {
        self.trace.begin_attempt()
    }

    /// From now on a departure is read off this journal.
    pub fn follow(&mut self, journal: Journal) {
        self.journal = Some(journal);
    }

    /// Where the driver adds up its own work.
    #[must_use]
    pub fn own_work(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.own_work)
    }

    /// An attempt begins.
    pub fn begin_attempt(&mut self, target: &Arc<Target>, begun: BegunAttempt) {
        let started_ms = self.elapsed_ms();
        self.record.timings.first_attempt_ms.get_or_insert(started_ms);
        let record = AttemptRecord {
            target: target.name.to_string(),
            provider: target.provider.name.to_string(),
            model: target.model.clone(),
            translated_to: begun.translated_to.map(|dialect| dialect.as_str().to_owned()),
            outcome: AttemptOutcome::Cancelled,
            cause: NONE.to_owned(),
            phase: NONE.to_owned(),
            side: NONE.to_owned(),
            confidence: None,
            evidence: Vec::new(),
            limit_ms: begun.limit.value.map(ms),
            limit_source: begun.limit.value.map(|_| begun.limit.source),
            first_token_ms: None,
            started_ms,
            ms: 0,
            waited_ms: ms(begun.waited),
            bytes: 0,
            tokens: None,
            cost_usd: None,
            purpose: begun.purpose,
            key: begun.key.map(|place| place + 1),
            upstream_request_id: None,
            seam: None,
        };
        if let Some(to) = begun.translated_to {
            Translated { from: self.asker.dialect, to }.emit(&self.metrics);
        }
        self.flight = Some(Flight {
            record,
            target: Arc::clone(target),
            tally: begun.tally,
            began: Instant::now(),
            input_tokens: begun.input_tokens,
            _raised: self.metrics.attempt_under_way(&target.label),
        });
    }

    /// A target was passed over when its turn came: an attempt without any wire.
    pub fn skip_attempt(&mut self, target: &Arc<Target>, failure: &Failure, purpose: Purpose) {
        drop(self.trace_attempt());
        let begun = BegunAttempt {
            tally: Arc::default(),
            purpose,
            limit: crate::gateway::settings::Limit { value: None, source: LimitSource::Configured },
            waited: Duration::ZERO,
            key: None,
            input_tokens: Some(0),
            translated_to: None,
        };
        self.begin_attempt(target, begun);
        self.end_attempt(AttemptOutcome::Failed, Some(failure));
    }

    /// Says why an answer that broke off ends there.
    pub fn note_not_carried_on(&mut self, why: &str) {
        self.record.annotations.push(format!("{NOT_CARRIED_ON}{why}"));
    }

    /// Says how the words of the attempt under way join.
    pub fn note_seam(&mut self, seam: Seam) {
        if let Some(flight) = &mut self.flight {
            flight.record.seam = Some(seam);
        }
    }

    /// The attempt under way ends.
    pub fn end_attempt(&mut self, outcome: AttemptOutcome, failure: Option<&Failure>) {
        let Some(Flight { mut record, target, tally, began, input_tokens, _raised }) = self.flight.take() else {
            return;
        };
        self.trace.end_attempt(began);
        let tally = tally.lock().clone();
        record.outcome = outcome;
        record.ms = ms(began.elapsed());
        record.bytes = tally.bytes;
        record.first_token_ms = tally.first_token.map(ms);
        record.upstream_request_id = tally.upstream_request_id;
        if let Some(failure) = failure {
            record.set_failure(failure);
        }
        let shown = self.journal.as_ref().is_some_and(Journal::shown);
        if tally.first_token.is_some() && (shown || outcome == AttemptOutcome::Ok) {
            self.record.timings.first_token_ms = record.first_token_ms.map(|first| record.started_ms + first);
        }
        // A provider that was reached may bill even what was never read to its end, and the
        // prompt of an answer that we, or the client's departure, ended before its first word.
        let ended_by_us =
            outcome == AttemptOutcome::Cancelled || failure.is_some_and(|failure| clock_of(failure).is_some());
        let estimate = input_tokens.filter(|_| tally.contents > 0 || (tally.sent && ended_by_us)).map(|input| Usage {
            input,
            output: tally.contents,
            estimated: true,
            ..Usage::default()
        });
        record.tokens = tally.usage.or(estimate);
        record.cost_usd = record.tokens.zip(target.price).map(|(usage, price)| price.cost_usd(&usage));
        let none = Task::new(NONE);
        let task = self.task.as_ref().map_or(&none, |(task, _)| task);
        let clock = failure.and_then(clock_of);
        AttemptEnded {
            target: &target,
            took: began.elapsed(),
            task,
            outcome,
            failure,
            clock,
            usage: record.tokens,
            cost_usd: record.cost_usd,
            purpose: record.purpose,
            first_token: tally.first_token,
        }
        .emit(&self.metrics);
        self.record.attempts.push(record);
    }

    /// The target of the last attempt, under way or not.
    #[must_use]
    pub fn last_target(&self) -> Option<TargetName> {
        let flight = self.flight.as_ref().map(|flight| flight.target.name.clone());
        flight.or_else(|| self.record.attempts.last().map(|attempt| TargetName::new(attempt.target.as_str())))
    }

    /// Classifies something that happened before any attempt.
    #[must_use]
    pub fn classify_here(&self, observation: Observation) -> Failure {
        classify(&Evidence::at_door(observation, self.elapsed_ms()))
    }

    /// Closes the exchange.
    pub fn settle(mut self, outcome: Outcome, status: u16, failure: Option<&Failure>) {
        self.close(outcome, status, failure);
    }

    fn close(&mut self, outcome: Outcome, status: u16, failure: Option<&Failure>) {
        if self.settled {
            return;
        }
        self.settled = true;
        let total = self.accepted.elapsed();
        let overhead = Duration::from_nanos(self.own_work.load(Ordering::Relaxed));
        let record = &mut self.record;
        record.outcome = outcome;
        record.status = status;
        if let Some(failure) = failure {
            failure.cause.as_str().clone_into(&mut record.cause);
            failure.phase.as_str().clone_into(&mut record.phase);
            failure.side.as_str().clone_into(&mut record.side);
            // What no attempt tells, the exchange does.
            if record.attempts.iter().all(|attempt| attempt.cause != record.cause) || outcome == Outcome::ClientGone {
                record.evidence.clone_from(&failure.evidence);
            }
        }
        record.timings.total_ms = ms(total);
        record.timings.overhead_us = u64::try_from(overhead.as_micros()).unwrap_or(u64::MAX);
        (record.usage, record.billed) = bill(&record.attempts);
        Settled {
            route: self.route.as_ref(),
            task: self.task.as_ref().map(|(task, _)| task),
            task_reason: self.task.as_ref().map(|(_, reason)| *reason),
            record,
            total,
            overhead,
        }
        .emit(&self.metrics);
        self.trace.export(&self.record, Spent { accepted: self.accepted, total });
        let record = std::mem::replace(&mut self.record, Box::new(Record::blank()));
        if !self.sink.put(record) {
            RecordDropped.emit(&self.metrics);
        }
    }
}

/// An exchange whose driver is done while its first reader still reads. Closed
/// by who delivers the answer; dropped, it settles as the driver said.
#[derive(Debug)]
pub struct Settlement {
    open: Option<Open>,
    outcome: Outcome,
    status: u16,
    failure: Option<Failure>,
}

impl Settlement {
    /// How the driver ended.
    #[must_use]
    pub fn new(mut open: Open, outcome: Outcome, status: u16, failure: Option<Failure>) -> Self {
        // It may wait inside the journal, which must not hold itself.
        open.journal = None;
        Self { open: Some(open), outcome, status, failure }
    }

    /// Settles, now that its reader is done: as the driver said, unless the
    /// reader went before the end.
    pub fn delivered(mut self, departure: Option<Departure>) {
        let Some(mut open) = self.open.take() else { return };
        match departure {
            None => open.close(self.outcome, self.status, self.failure.as_ref()),
            Some(departure) => {
                let mut evidence = Evidence::at_door(departed(departure, open.write_timeout), open.elapsed_ms());
                evidence.connected = true;
                evidence.headers_seen = true;
                evidence.contents = 1;
                evidence.finish_seen = true;
                open.close(Outcome::ClientGone, 499, Some(&classify(&evidence)));
            }
        }
    }
}

impl Drop for Settlement {
    fn drop(&mut self) {
        if let Some(mut open) = self.open.take() {
            open.close(self.outcome, self.status, self.failure.as_ref());
        }
    }
}

/// Why a reader went, as an observation.
fn departed(departure: Departure, write_timeout: Duration) -> Observation {
    match departure {
        Departure::Stalled => Observation::ClientStalled { at: StallPoint::Answer, limit_ms: ms(write_timeout) },
        Departure::Gone => Observation::ClientGone,
    }
}

/// What is known when an attempt begins.
#[derive(Debug)]
pub struct BegunAttempt {
    pub tally: Arc<Mutex<Tally>>,
    pub purpose: Purpose,
    pub limit: crate::gateway::settings::Limit,
    pub waited: Duration,
    pub key: Option<usize>,
    /// `None`: tokens are not counted.
    pub input_tokens: Option<u64>,
    /// What the target speaks, where the client speaks another dialect.
    pub translated_to: Option<Dialect>,
}

/// The clock of ours that ended an attempt, if one did.
fn clock_of(failure: &Failure) -> Option<Clock> {
    Clock::ALL.iter().copied().find(|clock| clock.cause() == failure.cause)
}

impl Drop for Open {
    /// A driver that was dropped: its client went, or it panicked.
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let observation = if std::thread::panicking() {
            Observation::Panic { detail: "a task of the gateway panicked".to_owned() }
        } else {
            let departure = self.journal.as_ref().and_then(Journal::departure);
            departed(departure.unwrap_or(Departure::Gone), self.write_timeout)
        };
        let panicked = matches!(observation, Observation::Panic { .. });
        let failure = self.departed(observation);
        self.end_attempt(AttemptOutcome::Cancelled, Some(&failure));
        let shown = self.journal.as_ref().is_some_and(Journal::shown);
        match (panicked, shown) {
            (true, true) => self.close(Outcome::Cut, 500, Some(&failure)),
            (true, false) => self.close(Outcome::Failed, 500, Some(&failure)),
            (false, _) => self.close(Outcome::ClientGone, 499, Some(&failure)),
        }
    }
}

impl Open {
    /// A departure, classified by how far the attempt under way had come.
    fn departed(&self, observation: Observation) -> Failure {
        let mut evidence = Evidence::at_door(observation, self.elapsed_ms());
        if let Some(flight) = &self.flight {
            let tally = flight.tally.lock();
            evidence.connected = tally.connected;
            evidence.headers_seen = tally.headers_seen;
            evidence.finish_seen = tally.finished;
            evidence.bytes = tally.bytes;
            evidence.contents = tally.contents;
        }
        let mut failure = classify(&evidence);
        if self.journal.is_none() {
            // Not even the request was complete.
            failure.phase = Phase::Admit;
        }
        failure
    }
}

/// What was delivered (the last attempt's tokens, if it was good) and what all
/// attempts cost together.
#[must_use]
pub fn bill(attempts: &[AttemptRecord]) -> (Option<Usage>, Option<Billed>) {
    let delivered = attempts.last().filter(|last| last.outcome == AttemptOutcome::Ok).and_then(|last| last.tokens);
    let tokens = attempts.iter().filter_map(|attempt| attempt.tokens).reduce(Usage::plus);
    let costs: Vec<Option<f64>> =
        attempts.iter().filter(|attempt| attempt.tokens.is_some()).map(|attempt| attempt.cost_usd).collect();
    let cost_usd = costs.iter().copied().sum::<Option<f64>>().filter(|_| !costs.is_empty());
    (delivered, tokens.map(|tokens| Billed { tokens, cost_usd }))
}

/// Whole milliseconds.
#[must_use]
pub fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
