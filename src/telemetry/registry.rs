//! Thin typed wrappers over the prometheus crate.

use super::labels::Label;
use prometheus::{
    CounterVec, Encoder as _, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

/// A registry and the prefix of one role's names.
#[derive(Debug, Clone)]
pub struct Scope {
    registry: Registry,
    prefix: &'static str,
}

impl Scope {
    /// A scope whose names begin with `prefix` and an underscore.
    #[must_use]
    pub const fn new(registry: Registry, prefix: &'static str) -> Self {
        Self { registry, prefix }
    }

    fn opts(&self, name: &str, help: &str) -> Opts {
        Opts::new(format!("{}_{name}", self.prefix), help)
    }
}

/// A family of whole-numbered counters.
#[derive(Debug, Clone)]
pub struct Counters<const N: usize>(IntCounterVec);

/// A family of counters of fractions, such as USD.
#[derive(Debug, Clone)]
pub struct Sums<const N: usize>(CounterVec);

/// A family of histograms.
#[derive(Debug, Clone)]
pub struct Histograms<const N: usize>(HistogramVec);

/// A family of gauges.
#[derive(Debug, Clone)]
pub struct Gauges<const N: usize>(IntGaugeVec);

/// A family of gauges of fractions, such as seconds, set as a whole.
#[derive(Debug, Clone)]
pub struct Levels<const N: usize>(GaugeVec);

/// One histogram of a family.
#[derive(Debug)]
pub struct Observer(prometheus::Histogram);

impl Observer {
    /// Observes a duration in seconds.
    pub fn observe(&self, value: std::time::Duration) {
        self.0.observe(value.as_secs_f64());
    }
}

/// One that was raised; it falls again when this is dropped.
#[derive(Debug)]
pub struct Raised(IntGauge);

const VALID: &str = "metric names are constants, each registered once";

impl<const N: usize> Counters<N> {
    #[must_use]
    pub fn new(scope: &Scope, name: &str, help: &str, labels: [&str; N]) -> Self {
        let family = IntCounterVec::new(scope.opts(name, help), &labels).expect(VALID);
        scope.registry.register(Box::new(family.clone())).expect(VALID);
        Self(family)
    }

    pub fn add(&self, labels: [&dyn Label; N], by: u64) {
        self.0.with_label_values(&labels.map(Label::label)).inc_by(by);
    }

    pub fn one(&self, labels: [&dyn Label; N]) {
        self.add(labels, 1);
    }
}

impl<const N: usize> Sums<N> {
    #[must_use]
    pub fn new(scope: &Scope, name: &str, help: &str, labels: [&str; N]) -> Self {
        let family = CounterVec::new(scope.opts(name, help), &labels).expect(VALID);
        scope.registry.register(Box::new(family.clone())).expect(VALID);
        Self(family)
    }

    pub fn add(&self, labels: [&dyn Label; N], by: f64) {
        self.0.with_label_values(&labels.map(Label::label)).inc_by(by.max(0.0));
    }
}

impl<const N: usize> Histograms<N> {
    #[must_use]
    pub fn new(scope: &Scope, name: &str, help: &str, labels: [&str; N], buckets: &[f64]) -> Self {
        let opts = HistogramOpts { common_opts: scope.opts(name, help), buckets: buckets.to_vec() };
        let family = HistogramVec::new(opts, &labels).expect(VALID);
        scope.registry.register(Box::new(family.clone())).expect(VALID);
        Self(family)
    }

    /// Observes a count.
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
    pub fn observe_count(&self, labels: [&dyn Label; N], count: u64) {
        self.0.with_label_values(&labels.map(Label::label)).observe(count as f64);
    }

    /// One of them, for who observes often. It shows from now on.
    #[must_use]
    pub fn of(&self, labels: [&dyn Label; N]) -> Observer {
        Observer(self.0.with_label_values(&labels.map(Label::label)))
    }

    /// Observes a duration in seconds.
    pub fn observe(&self, labels: [&dyn Label; N], value: std::time::Duration) {
        self.0.with_label_values(&labels.map(Label::label)).observe(value.as_secs_f64());
    }
}

impl<const N: usize> Gauges<N> {
    #[must_use]
    pub fn new(scope: &Scope, name: &str, help: &str, labels: [&str; N]) -> Self {
        let family = IntGaugeVec::new(scope.opts(name, help), &labels).expect(VALID);
        scope.registry.register(Box::new(family.clone())).expect(VALID);
        Self(family)
    }

    /// Raises by one for as long as the guard lives.
    #[must_use]
    pub fn raise(&self, labels: [&dyn Label; N]) -> Raised {
        let gauge = self.0.with_label_values(&labels.map(Label::label));
        gauge.inc();
        Raised(gauge)
    }

    pub fn set(&self, labels: [&dyn Label; N], value: i64) {
        self.0.with_label_values(&labels.map(Label::label)).set(value);
    }
}

impl<const N: usize> Levels<N> {
    #[must_use]
    pub fn new(scope: &Scope, name: &str, help: &str, labels: [&str; N]) -> Self {
        let family = GaugeVec::new(scope.opts(name, help), &labels).expect(VALID);
        scope.registry.register(Box::new(family.clone())).expect(VALID);
        Self(family)
    }

    pub fn set(&self, labels: [&dyn Label; N], value: f64) {
        self.0.with_label_values(&labels.map(Label::label)).set(value);
    }

    /// Forgets every series: what is not set again is no longer true.
    pub fn clear(&self) {
        self.0.reset();
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        // The only place that lowers a gauge: guards do it, nobody by hand.
        self.0.sub(1);
    }
}

/// The text exposition of everything registered.
#[must_use]
pub fn encode(registry: &Registry) -> Vec<u8> {
    let mut out = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut out).expect("writing to memory");
    out
}
