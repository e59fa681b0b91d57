//! A collector of OTLP on a real socket, which reads by the official schema.

use super::house::within;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What arrived, in order.
#[derive(Debug, Default, Clone)]
pub struct Got {
    pub spans: Vec<Span>,
    pub lines: Vec<LogRecord>,
    pub metrics: Vec<Metric>,
    /// Every byte, heads included.
    pub bytes: Vec<u8>,
    pub requests: usize,
    pub services: Vec<String>,
}

/// Ends with the test's runtime.
pub struct Collector {
    pub addr: SocketAddr,
    got: Arc<watch::Sender<Got>>,
    /// Answered to everyone; 0: nothing is answered.
    status: Arc<watch::Sender<u16>>,
}

impl Collector {
    /// One that answers with this status; with 0 it hangs.
    pub async fn start(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let collector = Self {
            addr: listener.local_addr().expect("bound"),
            got: Arc::new(watch::Sender::new(Got::default())),
            status: Arc::new(watch::Sender::new(status)),
        };
        let (got, status) = (Arc::clone(&collector.got), Arc::clone(&collector.status));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, Arc::clone(&got), Arc::clone(&status)));
            }
        });
        collector
    }

    pub fn answer(&self, status: u16) {
        self.status.send_replace(status);
    }

    /// The lines of `[otlp]` that lead here.
    pub fn section(&self, more: &str) -> String {
        section(self.addr.port(), more)
    }

    /// What arrived, once it is enough.
    pub async fn wait(&self, what: &str, enough: impl FnMut(&Got) -> bool) -> Got {
        let mut watching = self.got.subscribe();
        within(what, watching.wait_for(enough)).await.expect("the collector lives").clone()
    }

    pub fn got(&self) -> Got {
        self.got.borrow().clone()
    }
}

/// The lines of `[otlp]` that lead to a port of this machine.
pub fn section(port: u16, more: &str) -> String {
    format!("[otlp]\nendpoint = \"http://127.0.0.1:{port}\"\n{more}\n")
}

/// An attribute as text; empty if it is not there.
pub fn attribute(attributes: &[KeyValue], name: &str) -> String {
    let found = attributes.iter().find(|pair| pair.key == name).and_then(|pair| pair.value.as_ref());
    match found.and_then(|any: &AnyValue| any.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(count)) => count.to_string(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        _ => String::new(),
    }
}

/// Serves one connection to its end.
async fn converse(mut stream: TcpStream, got: Arc<watch::Sender<Got>>, status: Arc<watch::Sender<u16>>) {
    let mut buf = Vec::new();
    loop {
        let Some((path, head, length)) = head(&buf) else {
            if stream.read_buf(&mut buf).await.unwrap_or(0) == 0 {
                return;
            }
            continue;
        };
        while buf.len() < head + length {
            if stream.read_buf(&mut buf).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let request: Vec<u8> = buf.drain(..head + length).collect();
        let answer = *status.borrow();
        got.send_modify(|got| {
            got.requests += 1;
            got.bytes.extend_from_slice(&request);
            if answer == 200 {
                take(got, &path, &request[head..]);
            }
        });
        if answer == 0 {
            // It holds the connection and says nothing.
            std::future::pending::<()>().await;
        }
        let text = format!("HTTP/1.1 {answer} Whatever\r\ncontent-length: 0\r\n\r\n");
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Path, length of the head and of the body, once the head is whole.
fn head(buf: &[u8]) -> Option<(String, usize, usize)> {
    let mut slots = [httparse::EMPTY_HEADER; 32];
    let mut parsed = httparse::Request::new(&mut slots);
    let httparse::Status::Complete(len) = parsed.parse(buf).expect("the exporter speaks HTTP") else { return None };
    let find = |name: &str| parsed.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
    assert_eq!(find("content-type").map(|header| header.value), Some(&b"application/x-protobuf"[..]));
    let length = find("content-length").expect("a length").value;
    let length = std::str::from_utf8(length).expect("digits").parse().expect("a number");
    Some((parsed.path.expect("a path").to_owned(), len, length))
}

fn take(got: &mut Got, path: &str, body: &[u8]) {
    let resources: Vec<_> = match path {
        "/v1/traces" => {
            let read = ExportTraceServiceRequest::decode(body).expect("the schema of traces");
            let scopes = read.resource_spans.iter().flat_map(|one| one.scope_spans.clone());
            got.spans.extend(scopes.flat_map(|scope| scope.spans));
            read.resource_spans.into_iter().map(|one| one.resource).collect()
        }
        "/v1/logs" => {
            let read = ExportLogsServiceRequest::decode(body).expect("the schema of logs");
            let scopes = read.resource_logs.iter().flat_map(|one| one.scope_logs.clone());
            got.lines.extend(scopes.flat_map(|scope| scope.log_records));
            read.resource_logs.into_iter().map(|one| one.resource).collect()
        }
        "/v1/metrics" => {
            let read = ExportMetricsServiceRequest::decode(body).expect("the schema of metrics");
            let scopes = read.resource_metrics.iter().flat_map(|one| one.scope_metrics.clone());
            got.metrics.extend(scopes.flat_map(|scope| scope.metrics));
            read.resource_metrics.into_iter().map(|one| one.resource).collect()
        }
        other => panic!("{other} is no path of OTLP"),
    };
    let services = resources.into_iter().flatten().map(|resource| attribute(&resource.attributes, "service.name"));
    got.services.extend(services);
}
