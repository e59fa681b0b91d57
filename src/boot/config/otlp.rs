//! `[otlp]`: where telemetry is exported to.

use super::secrets;
use crate::gateway::settings::{Endpoint, Fault};
use crate::telemetry::otlp::OtlpSettings;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// The standard variable (OpenTelemetry, "OTLP Exporter Configuration"); it
/// names the collector where the file does not. The only one of its kind that
/// is read: what it leaves open stands in `[otlp]`.
const STANDARD: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// Entries that may wait at most.
const QUEUE_MAX: u64 = 1_000_000;
/// Headers that the client writes itself.
const OURS: [&str; 5] = ["host", "content-length", "transfer-encoding", "connection", "content-type"];
/// Words in a header's name that say that its value is a credential.
const CREDENTIALS: [&str; 5] = ["key", "token", "secret", "auth", "cookie"];

/// `[otlp]`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawOtlp {
    endpoint: Option<String>,
    traces: Option<bool>,
    metrics: Option<bool>,
    logs: Option<bool>,
    timeout: Option<String>,
    queue_max: Option<u64>,
    sample: Option<f64>,
    headers: BTreeMap<String, String>,
}

/// Checks the section; `None` when nothing is exported.
pub fn check(raw: &RawOtlp, faults: &mut Vec<Fault>) -> Option<OtlpSettings> {
    let mut fault = |key: &str, problem: String, fix: &str| {
        faults.push(Fault::new(format!("otlp.{key}"), problem, fix));
    };
    let timeout = raw.timeout.as_deref().unwrap_or("10s");
    let timeout = crate::gateway::settings::duration(timeout).filter(|limit| !limit.is_zero()).unwrap_or_else(|| {
        fault("timeout", format!("\"{timeout}\" is no duration above zero"), "write it as \"10s\" or \"500ms\"");
        Duration::ZERO
    });
    let queue_max = raw.queue_max.unwrap_or(2048);
    if !(16..=QUEUE_MAX).contains(&queue_max) {
        fault("queue_max", format!("{queue_max} is out of range"), "write a number from 16 to 1000000");
    }
    let sample = raw.sample.unwrap_or(1.0);
    if !(0.0..=1.0).contains(&sample) {
        fault("sample", format!("{sample} is no share"), "write a number from 0.0 to 1.0");
    }
    let mut headers = Vec::new();
    for (name, text) in &raw.headers {
        match header(name, text) {
            Ok(pair) => headers.push(pair),
            Err((problem, fix)) => fault(&format!("headers.{name}"), problem, fix),
        }
    }
    let endpoint = match endpoint(raw)? {
        Ok(endpoint) => endpoint,
        Err(problem) => {
            fault("endpoint", problem, "write it as \"http://127.0.0.1:4318\", or \"off\"");
            return None;
        }
    };
    let [traces, metrics, logs] = [raw.traces, raw.metrics, raw.logs].map(|switch| switch.unwrap_or(true));
    let queue_max = usize::try_from(queue_max).unwrap_or(usize::MAX);
    let any = traces || metrics || logs;
    any.then_some(OtlpSettings { endpoint, traces, metrics, logs, timeout, queue_max, sample, headers })
}

/// The collector's base URL: the file's, else the standard variable's.
fn endpoint(raw: &RawOtlp) -> Option<Result<String, String>> {
    let (url, from) = match &raw.endpoint {
        Some(url) if url == "off" => return None,
        Some(url) => (url.clone(), ""),
        None => (std::env::var(STANDARD).ok().filter(|url| !url.is_empty())?, "OTEL_EXPORTER_OTLP_ENDPOINT: "),
    };
    let checked = Endpoint::parse(&url).map(|_| url.trim_end_matches('/').to_owned());
    Some(checked.map_err(|problem| format!("{from}{problem}")))
}

/// One header: its value as it is, or what a reference gives. A credential must
/// be a reference, as everywhere.
fn header(name: &str, text: &str) -> Result<(http::HeaderName, http::HeaderValue), (String, &'static str)> {
    let form = "use letters, digits and dashes, and a value without control characters";
    let reference = "write \"env:NAME\" or \"file:PATH\"";
    let name = http::HeaderName::try_from(name).map_err(|_| ("is no name of a header".to_owned(), form))?;
    if OURS.contains(&name.as_str()) {
        return Err(("is written by the exporter itself".to_owned(), "leave it out"));
    }
    if text.starts_with("exec:") {
        return Err(("would be asked once and never renewed".to_owned(), reference));
    }
    let is_reference = ["env:", "file:"].iter().any(|kind| text.starts_with(kind));
    if !is_reference && CREDENTIALS.iter().any(|word| name.as_str().contains(word)) {
        return Err(("holds a credential as it is".to_owned(), reference));
    }
    let mut value = if is_reference {
        let resolved = secrets::resolve(text).map_err(|problem| (problem, reference))?;
        http::HeaderValue::try_from(resolved.secret.expose())
    } else {
        http::HeaderValue::try_from(text)
    }
    .map_err(|_| ("is no value of a header".to_owned(), form))?;
    value.set_sensitive(is_reference);
    Ok((name, value))
}
