//! What the gateway tells the world in numbers.
//!
//! Owns every metric name of the role. Stories build a small struct and emit
//! it; nothing else here decides anything. Invariant: labels come from closed
//! enums and configured names.

use crate::domain::deadline::Clock;
use crate::domain::failure::{Cause, Failure, Phase, Side, closed_enum};
use crate::domain::ids::{ProviderName, RouteName, TargetName};
use crate::domain::record::{AttemptOutcome, Purpose, Record, SeamFit, Strategy, Verdict};
use crate::domain::task::{Task, TaskReason};
use crate::domain::usage::Usage;
use crate::gateway::settings::{LimitInForce, Target};
use crate::serve::Closed;
use crate::telemetry::otlp::Signal;
use crate::telemetry::{Counters, Gauges, Histograms, Label, Levels, Observer, Raised, Scope, Sums};
use crate::wire::dialect::Dialect;
use std::time::Duration;

closed_enum! {
    /// Kinds of tokens.
    TokenKind {
        Input => "input",
        CachedInput => "cached_input",
        CacheWrite => "cache_write",
        Output => "output",
        Reasoning => "reasoning",
    }
}

closed_enum! {
    /// What is asked of a model (`gen_ai.operation.name`).
    Operation { Chat => "chat" }
}

closed_enum! {
    /// Bounds that were hit.
    Bound {
        Journal => "journal_bytes_max",
        Body => "body_bytes_max",
        Bodies => "bodies_bytes_max",
        Connections => "connections_max",
        Head => "head_bytes_max",
        Output => "output_bytes_max",
        Frame => "frame_bytes_max",
        /// Frames before the first content.
        Held => "held_frames_max",
        Records => "record_queue",
    }
}

closed_enum! {
    /// Keys and teams come later; until then spend belongs to nobody.
    Team { None => "none" }
}

impl Label for TokenKind {
    fn label(&self) -> &str {
        self.as_str()
    }
}

impl Label for Operation {
    fn label(&self) -> &str {
        self.as_str()
    }
}

impl Label for Bound {
    fn label(&self) -> &str {
        self.as_str()
    }
}

impl Label for Team {
    fn label(&self) -> &str {
        self.as_str()
    }
}

const WAITS: [f64; 18] =
    [0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 300.0, 600.0, 900.0, 1800.0];
const OVERHEADS: [f64; 11] = [50e-6, 100e-6, 200e-6, 400e-6, 800e-6, 1.6e-3, 3.2e-3, 6.4e-3, 12.8e-3, 50e-3, 100e-3];
/// As OpenTelemetry's GenAI conventions advise.
const GEN_AI_SECONDS: [f64; 14] =
    [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
const GEN_AI_TOKENS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
const GAPS: [f64; 13] = [0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2, 2.5, 5.0, 15.0, 60.0];

/// The role's metrics.
#[derive(Debug)]
pub struct Metrics {
    exchanges: Exchanges,
    attempts: Attempts,
    limits: Limits,
    gen_ai: Option<GenAi>,
}

/// The same facts under OpenTelemetry's own names. In a registry of their own,
/// as they are exported by OTLP only: `/metrics` has ours.
#[derive(Debug)]
struct GenAi {
    duration: Histograms<4>,
    tokens: Histograms<4>,
}

#[derive(Debug)]
struct Exchanges {
    requests: Counters<3>,
    request_duration: Histograms<2>,
    overhead: Histograms<0>,
    tasks: Counters<2>,
    fallbacks: Counters<4>,
    continuations: Counters<2>,
    silences: Histograms<1>,
    translations: Counters<2>,
    keepalives: Counters<0>,
    feedback: Counters<3>,
}

#[derive(Debug)]
struct Attempts {
    ended: Counters<6>,
    first_token: Histograms<2>,
    gap: Histograms<1>,
    inflight: Gauges<1>,
    limits: Levels<5>,
    own_timeouts: Counters<2>,
    tokens: Counters<2>,
    cost: Sums<3>,
}

#[derive(Debug)]
struct Limits {
    journal_full: Counters<0>,
    bounds: Counters<1>,
    records_dropped: Counters<0>,
    otlp_dropped: Counters<1>,
    key_pool_cooling: Gauges<1>,
    connections: Gauges<0>,
    connections_closed: Counters<1>,
}

impl Metrics {
    /// Registers everything below `scope`.
    #[must_use]
    pub fn new(scope: &Scope) -> Self {
        Self {
            exchanges: Exchanges::new(scope),
            attempts: Attempts::new(scope),
            limits: Limits::new(scope),
            gen_ai: None,
        }
    }

    /// Registers OpenTelemetry's own names, too.
    #[must_use]
    pub fn with_gen_ai(self, registry: prometheus::Registry) -> Self {
        let scope = Scope::new(registry, "gen_ai_client");
        let gen_ai = GenAi {
            duration: Histograms::new(
                &scope,
                "operation_duration",
                "How long attempts took.",
                ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "error_type"],
                &GEN_AI_SECONDS,
            ),
            tokens: Histograms::new(
                &scope,
                "token_usage",
                "Tokens of attempts.",
                ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "gen_ai_token_type"],
                &GEN_AI_TOKENS,
            ),
        };
        Self { gen_ai: Some(gen_ai), ..self }
    }

    /// Counts an attempt as under way until the guard is dropped.
    #[must_use]
    pub fn attempt_under_way(&self, target: &TargetName) -> Raised {
        self.attempts.inflight.raise([target])
    }

    /// The gaps of one target: its series is looked up once and not for each gap.
    #[must_use]
    pub fn gaps_of(&self, target: &TargetName) -> Observer {
        self.attempts.gap.of([target])
    }

    /// For the exporter, which counts what it drops itself.
    #[must_use]
    pub fn otlp_dropped(&self) -> Counters<1> {
        self.limits.otlp_dropped.clone()
    }

    /// Counts a client's connection as open until the guard is dropped.
    #[must_use]
    pub fn connection_open(&self) -> Raised {
        self.limits.connections.raise([])
    }
}

impl Exchanges {
    fn new(scope: &Scope) -> Self {
        Self {
            requests: Counters::new(
                scope,
                "requests_total",
                "Requests by how they ended.",
                ["route", "task", "outcome"],
            ),
            request_duration: Histograms::new(
                scope,
                "request_duration_seconds",
                "From the request's head to the end of its answer.",
                ["route", "task"],
                &WAITS,
            ),
            overhead: Histograms::new(
                scope,
                "overhead_seconds",
                "The gateway's own share of a request.",
                [],
                &OVERHEADS,
            ),
            tasks: Counters::new(scope, "tasks_total", "Requests by task and by who said it.", ["task", "source"]),
            fallbacks: Counters::new(
                scope,
                "fallbacks_total",
                "Moves from one target to the next, by why.",
                ["from", "to", "cause", "phase"],
            ),
            continuations: Counters::new(
                scope,
                "continuations_total",
                "Attempts that carried on a broken answer, or tried to, by how they were asked and how the words fitted.",
                ["strategy", "seam"],
            ),
            silences: Histograms::new(
                scope,
                "continuation_silence_seconds",
                "From the moment a break was known to the next new words.",
                ["strategy"],
                &GAPS,
            ),
            translations: Counters::new(
                scope,
                "translations_total",
                "Attempts put in another dialect than the client's.",
                ["from", "to"],
            ),
            keepalives: at_zero(Counters::new(scope, "keepalives_total", "Keep-alive comments sent to clients.", [])),
            feedback: Counters::new(
                scope,
                "feedback_total",
                "What clients thought of answers; one that takes the place of an earlier one counts, too.",
                ["target", "task", "verdict"],
            ),
        }
    }
}

impl Attempts {
    fn new(scope: &Scope) -> Self {
        Self {
            ended: Counters::new(
                scope,
                "attempts_total",
                "Attempts at targets by how they ended.",
                ["target", "task", "outcome", "cause", "phase", "side"],
            ),
            first_token: Histograms::new(
                scope,
                "time_to_first_token_seconds",
                "From the start of an attempt to its first content.",
                ["target", "task"],
                &WAITS,
            ),
            gap: Histograms::new(
                scope,
                "inter_token_latency_seconds",
                "Between contents of a stream.",
                ["target"],
                &GAPS,
            ),
            inflight: Gauges::new(scope, "inflight", "Attempts under way.", ["target"]),
            limits: Levels::new(
                scope,
                "limit_seconds",
                "Limits in force; one that is off has no series. Task none: routes where the task decides nothing. \
                 Clock total: requests that are not streamed.",
                ["target", "task", "clock", "kind", "source"],
            ),
            own_timeouts: Counters::new(
                scope,
                "own_timeouts_total",
                "Attempts that a clock of the gateway ended.",
                ["clock", "target"],
            ),
            tokens: Counters::new(scope, "tokens_total", "Tokens billed, estimates included.", ["target", "kind"]),
            cost: Sums::new(
                scope,
                "cost_usd_total",
                "USD billed at targets with a known price.",
                ["target", "team", "purpose"],
            ),
        }
    }
}

/// Shows a counter without labels before its first event: an alert reads
/// differences, and a series that begins at 1 has none.
fn at_zero(family: Counters<0>) -> Counters<0> {
    family.add([], 0);
    family
}

impl Limits {
    fn new(scope: &Scope) -> Self {
        let bounds = Counters::new(scope, "bound_hit_total", "Times a named bound was hit.", ["bound"]);
        for bound in Bound::ALL {
            // As above: the first hit must be seen.
            bounds.add([bound], 0);
        }
        let otlp_dropped = Counters::new(
            scope,
            "otlp_dropped_total",
            "Spans, log lines and readings of metrics that did not reach the collector.",
            ["signal"],
        );
        for signal in Signal::ALL {
            otlp_dropped.add([signal], 0);
        }
        Self {
            journal_full: at_zero(Counters::new(
                scope,
                "journal_full_total",
                "Times a full journal stopped the reading of a target.",
                [],
            )),
            bounds,
            records_dropped: at_zero(Counters::new(
                scope,
                "records_dropped_total",
                "Records that were counted but not kept.",
                [],
            )),
            otlp_dropped,
            key_pool_cooling: Gauges::new(scope, "key_pool_cooling", "Keys of a pool that rest.", ["provider"]),
            connections: Gauges::new(scope, "connections", "Open connections of clients.", []),
            connections_closed: Counters::new(
                scope,
                "connections_closed_total",
                "Connections of clients by why they ended.",
                ["reason"],
            ),
        }
    }
}

/// An attempt came to its end.
pub struct AttemptEnded<'a> {
    pub target: &'a Target,
    pub took: Duration,
    pub task: &'a Task,
    pub outcome: AttemptOutcome,
    pub failure: Option<&'a Failure>,
    pub clock: Option<Clock>,
    pub usage: Option<Usage>,
    pub cost_usd: Option<f64>,
    pub purpose: Purpose,
    pub first_token: Option<Duration>,
}

impl AttemptEnded<'_> {
    pub fn emit(&self, metrics: &Metrics) {
        let (cause, phase, side): (Option<Cause>, Option<Phase>, Option<Side>) = match self.failure {
            Some(failure) => (Some(failure.cause), Some(failure.phase), Some(failure.side)),
            None => (None, None, None),
        };
        let target = &self.target.label;
        metrics.attempts.ended.one([target, self.task, &self.outcome, &cause, &phase, &side]);
        if let Some(clock) = self.clock {
            metrics.attempts.own_timeouts.one([&clock, target]);
        }
        if let Some(waited) = self.first_token {
            metrics.attempts.first_token.observe([target, self.task], waited);
        }
        if let Some(usage) = self.usage {
            for (kind, count) in [
                (TokenKind::Input, usage.input),
                (TokenKind::CachedInput, usage.cached_input),
                (TokenKind::CacheWrite, usage.cache_write),
                (TokenKind::Output, usage.output),
                (TokenKind::Reasoning, usage.reasoning),
            ] {
                if count > 0 {
                    metrics.attempts.tokens.add([target, &kind], count);
                }
            }
        }
        if let Some(usd) = self.cost_usd {
            metrics.attempts.cost.add([target, &Team::None, &self.purpose], usd);
        }
        tracing::debug!(
            target: "tautline::attempt",
            upstream = target.as_str(),
            outcome = self.outcome.as_str(),
            cause = cause.label(),
            "attempt ended"
        );
        // Bytes that pass are no operation that the conventions know.
        if let Some(gen_ai) = metrics.gen_ai.as_ref().filter(|_| !self.target.model.is_empty()) {
            self.emit_gen_ai(gen_ai, cause);
        }
    }

    fn emit_gen_ai(&self, gen_ai: &GenAi, cause: Option<Cause>) {
        let Target { provider, model, label, on_demand, .. } = self.target;
        // A model that a client named is no label.
        let model = if *on_demand { label.clone() } else { TargetName::new(model.as_str()) };
        gen_ai.duration.observe([&Operation::Chat, &provider.name, &model, &cause], self.took);
        if let Some(usage) = self.usage {
            for (kind, count) in [(TokenKind::Input, usage.input), (TokenKind::Output, usage.output)] {
                gen_ai.tokens.observe_count([&Operation::Chat, &provider.name, &model, &kind], count);
            }
        }
    }
}

/// Content followed content.
pub struct GapSeen(pub Duration);

impl GapSeen {
    /// `gaps`: of the target that it came from, [`Metrics::gaps_of`].
    pub fn emit(&self, gaps: &Observer) {
        gaps.observe(self.0);
    }
}

/// A client said what it thought of an answer.
pub struct FeedbackGiven {
    /// Of the last attempt.
    pub target: Option<TargetName>,
    pub task: Option<Task>,
    pub verdict: Verdict,
}

impl FeedbackGiven {
    pub fn emit(&self, metrics: &Metrics) {
        metrics.exchanges.feedback.one([&self.target, &self.task, &self.verdict]);
    }
}

/// The exchange moved on to its next target.
pub struct FellBack<'a> {
    pub from: &'a TargetName,
    pub to: &'a TargetName,
    pub failure: &'a Failure,
}

impl FellBack<'_> {
    pub fn emit(&self, metrics: &Metrics) {
        metrics.exchanges.fallbacks.one([self.from, self.to, &self.failure.cause, &self.failure.phase]);
    }
}

/// An attempt carried on an answer that had broken off, or tried to.
pub struct Continued {
    pub strategy: Strategy,
    pub fit: SeamFit,
    pub silence_ms: Option<u64>,
}

impl Continued {
    pub fn emit(&self, metrics: &Metrics) {
        metrics.exchanges.continuations.one([&self.strategy, &self.fit]);
        if let Some(silence) = self.silence_ms {
            metrics.exchanges.silences.observe([&self.strategy], Duration::from_millis(silence));
        }
    }
}

/// An attempt is put in another dialect than its client's.
pub struct Translated {
    pub from: Dialect,
    pub to: Dialect,
}

impl Translated {
    pub fn emit(&self, metrics: &Metrics) {
        metrics.exchanges.translations.one([&self.from, &self.to]);
    }
}

impl Label for Dialect {
    fn label(&self) -> &str {
        self.as_str()
    }
}

/// An exchange is over. Its one log line is its record, written off the hot path (`record.rs`).
pub struct Settled<'a> {
    pub route: Option<&'a RouteName>,
    pub task: Option<&'a Task>,
    pub task_reason: Option<TaskReason>,
    pub record: &'a Record,
    pub total: Duration,
    pub overhead: Duration,
}

impl Settled<'_> {
    pub fn emit(&self, metrics: &Metrics) {
        let (route, task) = (self.route.cloned(), self.task.cloned());
        metrics.exchanges.requests.one([&route, &task, &self.record.outcome]);
        metrics.exchanges.request_duration.observe([&route, &task], self.total);
        metrics.exchanges.overhead.observe([], self.overhead);
        if let (Some(task), Some(reason)) = (self.task, self.task_reason) {
            metrics.exchanges.tasks.one([task, &reason]);
        }
    }
}

/// The span of an exchange. Fields by the GenAI semantic conventions where they
/// have a name for it (`gen_ai.request.model`). As deep as the lines that are
/// written within it: above `debug` there are none, and a span is costly.
pub struct ExchangeSpan<'a> {
    pub record: &'a Record,
}

impl ExchangeSpan<'_> {
    #[must_use]
    pub fn open(&self) -> tracing::Span {
        let record = self.record;
        tracing::debug_span!(
            // That of the lines within it: a filter that shows them shows whose they are.
            target: "tautline::attempt",
            "exchange",
            id = record.id,
            gen_ai.operation.name = "chat",
            gen_ai.request.model = record.model,
            tautline.route = record.route,
            tautline.task = record.task,
            tautline.stream = record.stream,
        )
    }
}

/// The span of one attempt, a child of its exchange's.
pub struct AttemptSpan<'a> {
    pub target: &'a Target,
    pub purpose: Purpose,
    /// Counted from 1.
    pub place: usize,
}

impl AttemptSpan<'_> {
    #[must_use]
    pub fn open(&self) -> tracing::Span {
        tracing::debug_span!(
            target: "tautline::attempt",
            "attempt",
            gen_ai.request.model = self.target.model,
            tautline.target = self.target.name.as_str(),
            tautline.purpose = self.purpose.as_str(),
            tautline.attempt = self.place,
            error.type = tracing::field::Empty,
            tautline.phase = tracing::field::Empty,
            tautline.side = tracing::field::Empty,
        )
    }

    /// Writes how it ended; the span ends when it is dropped.
    pub fn close(span: &tracing::Span, failure: Option<&Failure>) {
        if let Some(failure) = failure {
            span.record("error.type", failure.cause.as_str());
            span.record("tautline.phase", failure.phase.as_str());
            span.record("tautline.side", failure.side.as_str());
        }
    }
}

/// A full journal stopped the reading of a target.
pub struct JournalFull;

impl JournalFull {
    pub fn emit(&self, metrics: &Metrics) {
        metrics.limits.journal_full.one([]);
        metrics.limits.bounds.one([&Bound::Journal]);
    }
}

/// A named bound was hit.
pub struct BoundHit(pub Bound);

impl BoundHit {
    pub fn emit(&self, metrics: &Metrics) {
        metrics.limits.bounds.one([&self.0]);
    }
}

/// A client's connection ended.
pub struct ConnectionClosed(pub Closed);

impl ConnectionClosed {
    pub fn emit(&self, metrics: &Metrics) {
        metrics.limits.connections_closed.one([&self.0]);
        if self.0 == Closed::ConnectionsMax {
            metrics.limits.bounds.one([&Bound::Connections]);
        }
    }
}

/// A record was counted but not kept.
pub struct RecordDropped;

impl RecordDropped {
    pub fn emit(&self, metrics: &Metrics) {
        metrics.limits.records_dropped.one([]);
        metrics.limits.bounds.one([&Bound::Records]);
    }
}

/// How many of a provider's keys rest now.
pub struct KeysCooling<'a> {
    pub provider: &'a ProviderName,
    pub count: usize,
}

impl KeysCooling<'_> {
    pub fn emit(&self, metrics: &Metrics) {
        metrics.limits.key_pool_cooling.set([self.provider], i64::try_from(self.count).unwrap_or(i64::MAX));
    }
}

/// The limits in force have changed, or are known for the first time.
pub struct LimitsInForce<'a>(pub &'a [LimitInForce]);

impl LimitsInForce<'_> {
    pub fn emit(&self, metrics: &Metrics) {
        metrics.attempts.limits.clear();
        for row in self.0 {
            let labels: [&dyn Label; 5] = [&row.target, &row.task, &row.clock, &row.kind, &row.source];
            metrics.attempts.limits.set(labels, row.value.as_secs_f64());
        }
    }
}

/// A keep-alive comment went out.
pub struct KeptAlive;

impl KeptAlive {
    pub fn emit(&self, metrics: &Metrics) {
        metrics.exchanges.keepalives.one([]);
    }
}
