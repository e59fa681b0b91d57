//! An exchange as spans and as a line of a log.
//!
//! Owns the ids of an exchange in its caller's trace, and which fields of a
//! record are exported under which name (OpenTelemetry's GenAI conventions
//! where they have one). Refuses queues and encodings (`telemetry/otlp`).
//! Built from the record when it is settled, not along the way: so the choice
//! of what is kept can be made by how it ended. Invariant: neither a prompt, an
//! answer nor a credential is exported, and what a client wrote is redacted.

use crate::domain::failure::level;
use crate::domain::record::{AttemptOutcome, AttemptRecord, NONE, Outcome, Record};
use crate::domain::usage::Usage;
use crate::telemetry::otlp::{Exporter, Kind, LogLine, Sent, Span, Value};
use crate::telemetry::{SpanId, TraceId, Traceparent};
use crate::wire::redact::redact;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::time::{Duration, Instant, SystemTime};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// Bytes of a `tracestate` that are carried on (W3C Trace Context, section
/// 3.3.1.5, asks for 512 at least); a longer one is left out.
const STATE_BYTES_MAX: usize = 512;
/// Characters of a name that a client may have chosen.
const NAME_MAX: usize = 80;

/// The place of one exchange in a trace.
#[derive(Debug)]
pub struct Trace {
    exporter: Option<Exporter>,
    /// What the client sent, if that was valid.
    caller: Option<Traceparent>,
    state: Option<HeaderValue>,
    /// Of the exchange itself; `None` when no spans are made.
    own: Option<Traceparent>,
    /// The attempt under way.
    current: Option<SpanId>,
    attempts: Vec<Tried>,
}

/// An attempt that is over.
#[derive(Debug)]
struct Tried {
    span: SpanId,
    began: Instant,
    ended: Instant,
}

/// What settling knows besides the record.
#[derive(Debug, Clone, Copy)]
pub struct Spent {
    pub accepted: Instant,
    pub total: Duration,
}

type Attributes<'a> = Vec<(&'static str, Value<'a>)>;

impl Trace {
    /// The beginning of a trace of its own.
    #[must_use]
    pub fn new(exporter: Option<&Exporter>) -> Self {
        let own = exporter.filter(|exporter| exporter.settings().traces).map(|exporter| {
            let trace = TraceId::generate();
            let sampled = trace.is_among(exporter.settings().sample);
            Traceparent { trace, span: SpanId::generate(), sampled }
        });
        Self { exporter: exporter.cloned(), caller: None, state: None, own, current: None, attempts: Vec::new() }
    }

    /// Joins the caller's trace, if it sent one. Whether a plain success is kept
    /// is then the caller's choice, so that no trace has holes.
    pub fn join(&mut self, headers: &HeaderMap) {
        let mut sent = headers.get_all(TRACEPARENT).iter();
        let (Some(only), None) = (sent.next(), sent.next()) else { return };
        let Some(caller) = only.to_str().ok().and_then(Traceparent::parse) else { return };
        self.caller = Some(caller);
        if let Some(own) = &mut self.own {
            *own = Traceparent { trace: caller.trace, sampled: caller.sampled, ..*own };
        }
        let states: Vec<&[u8]> = headers.get_all(TRACESTATE).iter().map(HeaderValue::as_bytes).collect();
        let state = states.join(&b","[..]);
        let fits = !state.is_empty() && state.is_ascii() && state.len() <= STATE_BYTES_MAX;
        self.state = fits.then(|| HeaderValue::from_bytes(&state).ok()).flatten();
    }

    /// An attempt begins: the headers that tell its target of the trace. Where
    /// no spans are made, the caller's own go on as they came: a span that
    /// nobody exports would cut its trace in two.
    pub fn begin_attempt(&mut self) -> Vec<(HeaderName, HeaderValue)> {
        self.current = self.own.map(|_| SpanId::generate());
        let own = self.own.zip(self.current).map(|(own, span)| Traceparent { span, ..own });
        let Some(told) = own.or(self.caller) else { return Vec::new() };
        let value = HeaderValue::try_from(told.to_string()).expect("hexadecimal digits and dashes");
        let state = self.state.clone().map(|state| (TRACESTATE, state));
        [(TRACEPARENT, value)].into_iter().chain(state).collect()
    }

    /// The attempt under way is over.
    pub fn end_attempt(&mut self, began: Instant) {
        if let Some(span) = self.current.take() {
            self.attempts.push(Tried { span, began, ended: Instant::now() });
        }
    }

    /// Hands a settled exchange over to be exported. Never waits.
    pub fn export(&self, record: &Record, spent: Spent) {
        let Some(exporter) = &self.exporter else { return };
        let start = unix_nanos(spent.accepted);
        let plain = record.outcome == Outcome::Ok
            && record.attempts.iter().all(|attempt| attempt.outcome == AttemptOutcome::Ok);
        if let Some(own) = self.own
            && (own.sampled || !plain)
        {
            exporter.spans(self.spans(own, record, start, spent), plain);
        }
        if exporter.settings().logs {
            exporter.log(self.line(record, start + nanos(spent.total)), plain);
        }
    }

    fn spans(&self, own: Traceparent, record: &Record, start: u64, spent: Spent) -> Vec<Sent> {
        let span = |id, parent, kind, model: &str, (start, end), attributes, cause| Span {
            trace: own.trace,
            id,
            parent,
            state: self.state.as_ref().and_then(|state| state.to_str().ok()),
            sampled: own.sampled,
            name: match kind {
                _ if !model.is_empty() => format!("chat {}", redact(model, NAME_MAX)),
                // Of bytes that pass.
                Kind::Client => "attempt".to_owned(),
                Kind::Server => "exchange".to_owned(),
            },
            kind,
            start,
            end,
            attributes,
            error: named(cause),
        };
        let times = (start, start + nanos(spent.total));
        let caller = self.caller.map(|caller| caller.span);
        let mut spans = Vec::with_capacity(1 + self.attempts.len());
        spans.push(
            span(own.span, caller, Kind::Server, &record.model, times, of_exchange(record), &record.cause).into(),
        );
        for (place, (tried, attempt)) in self.attempts.iter().zip(&record.attempts).enumerate() {
            let at = |instant: Instant| start + nanos(instant.saturating_duration_since(spent.accepted));
            let times = (at(tried.began), at(tried.ended));
            let fields = of_attempt(attempt, place);
            spans.push(
                span(tried.span, Some(own.span), Kind::Client, &attempt.model, times, fields, &attempt.cause).into(),
            );
        }
        spans
    }

    /// The record, shortened.
    fn line(&self, record: &Record, at: u64) -> Sent {
        let mut attributes = of_exchange(record);
        attributes.push(("tautline.total_ms", record.timings.total_ms.into()));
        let causes: Vec<&str> = record.attempts.iter().filter_map(|attempt| named(&attempt.cause)).collect();
        if !causes.is_empty() {
            attributes.push(("tautline.attempt_causes", causes.join(",").into()));
        }
        LogLine {
            at,
            level: record.cause().map_or(tracing::Level::INFO, level),
            event: "tautline.exchange",
            body: format!("exchange {} {}", record.id, record.outcome),
            attributes,
            trace: self.own.or(self.caller).map(|known| known.trace),
            span: self.own.map(|own| own.span),
        }
        .into()
    }
}

/// `error.type` and its like are left out on success.
fn named(label: &str) -> Option<&str> {
    Some(label).filter(|label| *label != NONE && !label.is_empty())
}

fn of_exchange(record: &Record) -> Attributes<'_> {
    let mut out: Attributes<'_> = vec![
        ("http.response.status_code", u64::from(record.status).into()),
        ("tautline.id", record.id.as_str().into()),
        ("tautline.stream", record.stream.into()),
        ("tautline.outcome", record.outcome.as_str().into()),
        ("tautline.attempts", (record.attempts.len() as u64).into()),
        ("tautline.overhead_us", record.timings.overhead_us.into()),
    ];
    if !record.model.is_empty() {
        out.push(("gen_ai.operation.name", "chat".into()));
        out.push(("gen_ai.request.model", redact(&record.model, NAME_MAX).into()));
    }
    texts(
        &mut out,
        [
            ("tautline.route", &record.route),
            ("tautline.task", &record.task),
            ("error.type", &record.cause),
            ("tautline.phase", &record.phase),
            ("tautline.side", &record.side),
        ],
    );
    if let Some(addr) = &record.client_addr {
        out.push(("client.address", addr.as_str().into()));
    }
    if let Some(last) = record.attempts.last() {
        out.push(("tautline.target", shown(&last.target).into()));
    }
    if let Some(first) = record.timings.first_token_ms {
        out.push(("tautline.first_token_ms", first.into()));
    }
    // Under names of ours: the attempts carry `gen_ai.usage`, and whoever adds up a
    // trace's tokens must not find them twice.
    if let Some(billed) = &record.billed {
        out.push(("tautline.billed.input_tokens", billed.tokens.input.into()));
        out.push(("tautline.billed.output_tokens", billed.tokens.output.into()));
        out.extend(billed.cost_usd.map(|usd| ("tautline.cost_usd", usd.into())));
    }
    out
}

fn of_attempt(attempt: &AttemptRecord, place: usize) -> Attributes<'_> {
    let mut out: Attributes<'_> = vec![
        ("gen_ai.provider.name", attempt.provider.as_str().into()),
        ("tautline.target", shown(&attempt.target).into()),
        ("tautline.attempt", (place as u64 + 1).into()),
        ("tautline.purpose", attempt.purpose.as_str().into()),
        ("tautline.outcome", attempt.outcome.as_str().into()),
        ("tautline.bytes", attempt.bytes.into()),
    ];
    if !attempt.model.is_empty() {
        out.push(("gen_ai.operation.name", "chat".into()));
        out.push(("gen_ai.request.model", redact(&attempt.model, NAME_MAX).into()));
    }
    texts(
        &mut out,
        [("error.type", &attempt.cause), ("tautline.phase", &attempt.phase), ("tautline.side", &attempt.side)],
    );
    if let Some(Usage { input, output, estimated, .. }) = attempt.tokens {
        out.push(("gen_ai.usage.input_tokens", input.into()));
        out.push(("gen_ai.usage.output_tokens", output.into()));
        out.push(("tautline.usage_estimated", estimated.into()));
    }
    out.extend(attempt.first_token_ms.map(|first| ("tautline.first_token_ms", first.into())));
    out.extend(attempt.limit_ms.map(|limit| ("tautline.limit_ms", limit.into())));
    out.extend(attempt.cost_usd.map(|usd| ("tautline.cost_usd", usd.into())));
    out
}

/// A target made on demand has a name that a client chose behind its slash.
fn shown(target: &str) -> String {
    match target.split_once('/') {
        Some((provider, model)) => format!("{provider}/{}", redact(model, NAME_MAX)),
        None => target.to_owned(),
    }
}

/// Those that say something.
fn texts<'a, const N: usize>(out: &mut Attributes<'a>, pairs: [(&'static str, &'a String); N]) {
    out.extend(pairs.into_iter().filter_map(|(name, text)| Some((name, named(text)?.into()))));
}

fn unix_nanos(at: Instant) -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    nanos(now.saturating_sub(at.elapsed()))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
