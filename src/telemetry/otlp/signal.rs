//! What is exported, and its form on the wire.
//!
//! Owns opentelemetry-proto's messages for traces and logs. Refuses queues and
//! sockets. Invariant: an entry is encoded where it is made, so that nothing of
//! an exchange is kept alive by a queue.

use super::protobuf::Message;
use crate::domain::failure::closed_enum;
use crate::telemetry::labels::Label;
use crate::telemetry::trace::{SpanId, TraceId};
use std::borrow::Cow;

closed_enum! {
    /// What OTLP carries.
    Signal {
        Traces => "traces",
        Metrics => "metrics",
        Logs => "logs",
    }
}

impl Label for Signal {
    fn label(&self) -> &str {
        self.as_str()
    }
}

/// An attribute's value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    Text(Cow<'a, str>),
    Flag(bool),
    Count(u64),
    Number(f64),
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<u64> for Value<'_> {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<f64> for Value<'_> {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Value<'_> {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

/// Which side of a call a span stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Server,
    Client,
}

/// A span that is over. Times in nanoseconds since the Unix epoch.
#[derive(Debug)]
pub struct Span<'a> {
    pub trace: TraceId,
    pub id: SpanId,
    pub parent: Option<SpanId>,
    /// The caller's `tracestate`.
    pub state: Option<&'a str>,
    pub sampled: bool,
    pub name: String,
    pub kind: Kind,
    pub start: u64,
    pub end: u64,
    pub attributes: Vec<(&'static str, Value<'a>)>,
    /// What went wrong; `None` leaves the status unset.
    pub error: Option<&'a str>,
}

/// A line of a log.
#[derive(Debug)]
pub struct LogLine<'a> {
    /// Nanoseconds since the Unix epoch.
    pub at: u64,
    pub level: tracing::Level,
    pub event: &'static str,
    pub body: String,
    pub attributes: Vec<(&'static str, Value<'a>)>,
    pub trace: Option<TraceId>,
    pub span: Option<SpanId>,
}

/// What a usual entry takes.
const ENTRY_BYTES: usize = 1 << 10;

/// An encoded entry.
#[derive(Debug)]
pub struct Sent(pub(super) Vec<u8>);

impl From<Span<'_>> for Sent {
    fn from(span: Span<'_>) -> Self {
        let mut out = Message::with_capacity(ENTRY_BYTES);
        out.bytes(1, &span.trace.to_bytes());
        out.bytes(2, &span.id.to_bytes());
        if let Some(state) = span.state {
            out.bytes(3, state.as_bytes());
        }
        if let Some(parent) = span.parent {
            out.bytes(4, &parent.to_bytes());
        }
        out.bytes(5, span.name.as_bytes());
        out.uint(6, if span.kind == Kind::Server { 2 } else { 3 });
        out.fixed64(7, span.start);
        out.fixed64(8, span.end);
        attributes(&mut out, 9, &span.attributes);
        if let Some(error) = span.error {
            out.message(15, |status| {
                status.bytes(2, error.as_bytes());
                status.uint(3, 2);
            });
        }
        out.fixed32(16, u32::from(span.sampled));
        Self(out.into_bytes())
    }
}

impl From<LogLine<'_>> for Sent {
    fn from(line: LogLine<'_>) -> Self {
        let severity = match line.level {
            tracing::Level::TRACE => 1,
            tracing::Level::DEBUG => 5,
            tracing::Level::INFO => 9,
            tracing::Level::WARN => 13,
            tracing::Level::ERROR => 17,
        };
        let mut out = Message::with_capacity(ENTRY_BYTES);
        out.fixed64(1, line.at);
        out.uint(2, severity);
        out.bytes(3, line.level.as_str().as_bytes());
        out.message(5, |body| body.bytes(1, line.body.as_bytes()));
        attributes(&mut out, 6, &line.attributes);
        if let Some(trace) = line.trace {
            out.bytes(9, &trace.to_bytes());
        }
        if let Some(span) = line.span {
            out.bytes(10, &span.to_bytes());
        }
        out.fixed64(11, line.at);
        out.bytes(12, line.event.as_bytes());
        Self(out.into_bytes())
    }
}

/// Writes `KeyValue`s.
pub fn attributes(out: &mut Message, field: u32, pairs: &[(&str, Value<'_>)]) {
    for (name, value) in pairs {
        out.message(field, |pair| {
            pair.bytes(1, name.as_bytes());
            pair.message(2, |any| match value {
                Value::Text(text) => any.bytes(1, text.as_bytes()),
                Value::Flag(flag) => any.uint(2, u64::from(*flag)),
                Value::Count(count) => any.uint(3, *count),
                Value::Number(number) => any.double(4, *number),
            });
        });
    }
}

/// A request to the collector: who speaks, and the entries. All three signals
/// have the same shell around them.
pub fn request<'a>(entries: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let version = Value::from(env!("CARGO_PKG_VERSION"));
    let mut out = Message::default();
    out.message(1, |of_resource| {
        of_resource.message(1, |resource| {
            attributes(resource, 1, &[("service.name", "tautline".into()), ("service.version", version)]);
        });
        of_resource.message(2, |of_scope| {
            of_scope.message(1, |scope| scope.bytes(1, b"tautline"));
            for entry in entries {
                of_scope.bytes(2, entry);
            }
        });
    });
    out.into_bytes()
}
