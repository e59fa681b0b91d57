//! Export by OTLP: spans, log lines and metrics to a collector.
//!
//! Owns the encoding, the bounded queue and the thread that sends. Refuses to
//! know what a span is about (each role says so). Invariant: handing something
//! over never waits; what finds no room is dropped and counted.

mod export;
mod families;
mod protobuf;
mod send;
mod signal;

pub use export::{Exporter, OtlpSettings, Reading};
pub use signal::{Kind, LogLine, Sent, Signal, Span, Value};
