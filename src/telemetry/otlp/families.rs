//! The registry's families as OTLP metrics.
//!
//! The same numbers under the same names as `/metrics` shows, so that a
//! dashboard works with either way in. Cumulative: an export that is lost costs
//! a point, not its counts.

use super::protobuf::Message;
use super::signal::{Value, attributes};
use prometheus::proto::{Histogram, Metric, MetricFamily, MetricType};

const CUMULATIVE: u64 = 2;

/// Since when is counted and when it was read, nanoseconds since the Unix epoch.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    pub since: u64,
    pub now: u64,
}

/// Encodes each family as a `Metric`; kinds that nobody here registers are left out.
pub fn encode(families: &[MetricFamily], span: Span) -> Vec<Vec<u8>> {
    families.iter().filter_map(|family| metric(family, span)).collect()
}

/// Names of OpenTelemetry's conventions hold dots, which Prometheus's may not:
/// how they are registered, and what they are called, units included.
const GEN_AI: [(&str, &str, &str); 2] = [
    ("gen_ai_client_operation_duration", "gen_ai.client.operation.duration", "s"),
    ("gen_ai_client_token_usage", "gen_ai.client.token.usage", "{token}"),
];
const GEN_AI_LABELS: [(&str, &str); 5] = [
    ("gen_ai_operation_name", "gen_ai.operation.name"),
    ("gen_ai_provider_name", "gen_ai.provider.name"),
    ("gen_ai_request_model", "gen_ai.request.model"),
    ("gen_ai_token_type", "gen_ai.token.type"),
    ("error_type", "error.type"),
];

fn metric(family: &MetricFamily, span: Span) -> Option<Vec<u8>> {
    let seconds = if family.name().ends_with("_seconds") { "s" } else { "" };
    let standard = GEN_AI.iter().find(|(registered, ..)| *registered == family.name());
    let (name, unit) = standard.map_or((family.name(), seconds), |(_, name, unit)| (*name, *unit));
    let mut out = Message::default();
    out.bytes(1, name.as_bytes());
    out.bytes(2, family.help().as_bytes());
    out.bytes(3, unit.as_bytes());
    let points = family.get_metric();
    match family.get_field_type() {
        MetricType::COUNTER => out.message(7, |sum| {
            for metric in points {
                sum.message(1, |point| number(point, metric, metric.get_counter().get_value(), span));
            }
            sum.uint(2, CUMULATIVE);
            sum.uint(3, 1);
        }),
        MetricType::GAUGE => out.message(5, |gauge| {
            for metric in points {
                gauge.message(1, |point| number(point, metric, metric.get_gauge().get_value(), span));
            }
        }),
        MetricType::HISTOGRAM => out.message(9, |histogram| {
            for metric in points {
                histogram.message(1, |point| self::histogram(point, metric, metric.get_histogram(), span));
            }
            histogram.uint(2, CUMULATIVE);
        }),
        _ => return None,
    }
    Some(out.into_bytes())
}

fn number(point: &mut Message, metric: &Metric, value: f64, span: Span) {
    point.fixed64(2, span.since);
    point.fixed64(3, span.now);
    point.double(4, value);
    labels(point, 7, metric);
}

/// Prometheus counts from the bottom up to each bound; OTLP between bounds, and
/// has one count more for what lies above the last.
fn histogram(point: &mut Message, metric: &Metric, read: &Histogram, span: Span) {
    let finite: Vec<_> = read.get_bucket().iter().filter(|bucket| bucket.upper_bound().is_finite()).collect();
    let mut below = 0;
    let mut counts: Vec<u64> = Vec::with_capacity(finite.len() + 1);
    for bucket in &finite {
        counts.push(bucket.cumulative_count().saturating_sub(below));
        below = bucket.cumulative_count();
    }
    counts.push(read.get_sample_count().saturating_sub(below));
    point.fixed64(2, span.since);
    point.fixed64(3, span.now);
    point.fixed64(4, counts.iter().sum());
    point.double(5, read.get_sample_sum());
    point.packed(6, counts.into_iter());
    point.packed(7, finite.iter().map(|bucket| bucket.upper_bound().to_bits()));
    labels(point, 9, metric);
}

fn labels(point: &mut Message, field: u32, metric: &Metric) {
    let name =
        |registered| GEN_AI_LABELS.iter().find(|(known, _)| *known == registered).map_or(registered, |found| found.1);
    let pairs: Vec<(&str, Value<'_>)> = metric
        .get_label()
        .iter()
        // By convention a success has none.
        .filter(|pair| (pair.name(), pair.value()) != ("error_type", "none"))
        .map(|pair| (name(pair.name()), Value::from(pair.value())))
        .collect();
    attributes(point, field, &pairs);
}
