//! Metrics, logs and traces, as tools.
//!
//! Owns the subscriber, the registry's typed wrappers and the rule for labels.
//! Refuses metric names of any role (each keeps its own). Invariant: a free
//! string as a label does not compile.

mod labels;
mod logs;
pub mod otlp;
mod registry;
mod trace;

pub use labels::Label;
pub use logs::{LogFormat, check_filter, init_logs};
pub use registry::{Counters, Gauges, Histograms, Levels, Observer, Raised, Scope, Sums, encode};
pub use trace::{SpanId, TraceId, Traceparent};
