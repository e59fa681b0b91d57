//! What a collector gets, and that nobody waits for it.

use crate::support::{Collector, Folder, Got, House, attribute, chat, closed_port, otlp_section, sim_target, within};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use std::time::{Duration, Instant};
use tautline::sim::{Seen, answer_text};

const PROMPT: &str = "why do ropes go slack?";
const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// Longer than any export may delay the end, shorter than a collector hangs.
const SOON: Duration = Duration::from_secs(4);

/// `fine` answers, `bad` fails always, `both` falls back from one to the other.
fn config(otlp: &str) -> String {
    format!(
        "{}{}[routes.fine]\ntargets = [\"good\"]\n[routes.bad]\ntargets = [\"broken\"]\n\
         [routes.both]\ntargets = [\"broken\", \"good\"]\n{otlp}",
        sim_target("good", "tokens=5", "price = { input = 1.0, output = 2.0 }"),
        sim_target("broken", "fault=status_500", "")
    )
}

async fn house(otlp: &str) -> House {
    House::start("same_target_retries = 0", &config(otlp)).await
}

/// Asks and reads the answer to its end; its id.
async fn ask(house: &House, model: &str, headers: &[(&str, &str)]) -> String {
    let mut answer = within("the answer", house.post_with(headers, &chat(model, true))).await;
    assert_eq!(answer.status == 200, model != "bad", "{model}");
    answer.bytes().await;
    answer.header("x-request-id").expect("an id").to_owned()
}

fn of(span: &Span, name: &str) -> String {
    attribute(&span.attributes, name)
}

/// The span of an exchange and those of its attempts, in order.
fn exchange<'a>(got: &'a Got, id: &str) -> (&'a Span, Vec<&'a Span>) {
    let own = got.spans.iter().find(|span| of(span, "tautline.id") == id).expect("the exchange's span");
    let children = got.spans.iter().filter(|span| span.parent_span_id == own.span_id).collect();
    (own, children)
}

fn has_exchanges(count: usize) -> impl FnMut(&Got) -> bool {
    move |got| got.spans.iter().filter(|span| span.kind() == SpanKind::Server).count() >= count
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn header<'a>(seen: &'a Seen, name: &str) -> Option<&'a str> {
    seen.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// A counter's value in the gateway's own metrics.
fn count(metrics: &str, signal: &str) -> u64 {
    let name = format!("tautline_gateway_otlp_dropped_total{{signal=\"{signal}\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap_or_else(|| panic!("no {name}: {metrics}")).parse().expect("a number")
}

fn dropped(registry: &prometheus::Registry, signal: &str) -> u64 {
    count(&String::from_utf8(tautline::telemetry::encode(registry)).expect("text"), signal)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fallback_is_one_span_with_its_attempts_as_children() {
    let collector = Collector::start(200).await;
    let house = house(&collector.section("")).await;
    let id = ask(&house, "both", &[]).await;
    let record = house.record(&id).await;
    let got = collector.wait("the spans", has_exchanges(1)).await;
    let (own, attempts) = exchange(&got, &id);
    assert!(own.parent_span_id.is_empty(), "nobody called: {own:?}");
    assert_eq!((own.name.as_str(), own.kind()), ("chat both", SpanKind::Server));
    assert_eq!(own.status, None, "a later target answered");
    let wanted = [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.request.model", "both"),
        ("http.response.status_code", "200"),
        ("client.address", "127.0.0.1"),
        ("tautline.route", "both"),
        ("tautline.outcome", "ok_fallback"),
        ("tautline.target", "good"),
        ("tautline.attempts", "2"),
        ("tautline.stream", "true"),
        ("error.type", ""),
    ];
    for (name, value) in wanted {
        assert_eq!(of(own, name), value, "{name}");
    }
    assert!(!of(own, "tautline.first_token_ms").is_empty());
    let [broken, good] = attempts[..] else { panic!("two attempts: {attempts:?}") };
    let wanted = [
        ("gen_ai.request.model", "sim?fault=status_500", "sim?tokens=5"),
        ("gen_ai.provider.name", "sim", "sim"),
        ("tautline.target", "broken", "good"),
        ("tautline.attempt", "1", "2"),
        ("tautline.purpose", "serve", "fallback"),
        ("tautline.outcome", "failed", "ok"),
        ("error.type", record.attempts[0].cause.as_str(), ""),
        ("tautline.phase", record.attempts[0].phase.as_str(), ""),
        ("tautline.side", record.attempts[0].side.as_str(), ""),
        ("gen_ai.usage.output_tokens", "", "5"),
        ("server.address", "", ""),
    ];
    for (name, of_broken, of_good) in wanted {
        assert_eq!((of(broken, name).as_str(), of(good, name).as_str()), (of_broken, of_good), "{name}");
    }
    assert_ne!(record.attempts[0].cause, "none");
    let status = broken.status.as_ref().expect("it failed");
    assert_eq!((status.code, status.message.as_str()), (2, record.attempts[0].cause.as_str()));
    assert_eq!((good.status.clone(), good.kind()), (None, SpanKind::Client));
    assert!([broken, good].iter().all(|span| span.trace_id == own.trace_id && span.trace_id.len() == 16));
    // In order, and within what they belong to.
    let times = [own.start_time_unix_nano, broken.start_time_unix_nano, broken.end_time_unix_nano];
    assert!(times.is_sorted(), "{times:?}");
    let times = [broken.end_time_unix_nano, good.start_time_unix_nano, good.end_time_unix_nano, own.end_time_unix_nano];
    assert!(times.is_sorted(), "{times:?}");
    assert!(own.start_time_unix_nano > 1_700_000_000_000_000_000);
    // Without a caller's trace the targets are told of ours.
    let told: Vec<String> =
        house.sim.seen().iter().map(|seen| header(seen, "traceparent").expect("told").to_owned()).collect();
    let wanted = [broken, good].map(|span| format!("00-{}-{}-01", hex(&own.trace_id), hex(&span.span_id)));
    assert_eq!(told, wanted);
    assert!(got.services.iter().all(|service| service == "tautline"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_callers_trace_is_joined_and_its_targets_are_told() {
    let collector = Collector::start(200).await;
    let house = house(&collector.section("")).await;
    let id = ask(&house, "fine", &[("traceparent", CALLER), ("tracestate", "a=1"), ("tracestate", "b=2")]).await;
    let got = collector.wait("the spans", has_exchanges(1)).await;
    let (own, attempts) = exchange(&got, &id);
    assert_eq!(hex(&own.trace_id), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(hex(&own.parent_span_id), "00f067aa0ba902b7");
    assert_eq!(own.trace_state, "a=1,b=2");
    let seen = house.sim.seen().pop().expect("asked");
    let wanted = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", hex(&attempts[0].span_id));
    assert_eq!(header(&seen, "traceparent"), Some(wanted.as_str()));
    assert_eq!(header(&seen, "tracestate"), Some("a=1,b=2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalid_traceparent_is_no_traceparent() {
    let collector = Collector::start(200).await;
    let house = house(&collector.section("")).await;
    let wrong = CALLER.to_uppercase().replacen("00", "ff", 1);
    let lone = ask(&house, "fine", &[("traceparent", &wrong), ("tracestate", "a=1")]).await;
    let twice = ask(&house, "fine", &[("traceparent", CALLER), ("traceparent", CALLER)]).await;
    let got = collector.wait("the spans", has_exchanges(2)).await;
    for id in [lone, twice] {
        let (own, _) = exchange(&got, &id);
        assert!(own.parent_span_id.is_empty());
        assert_ne!(hex(&own.trace_id), "4bf92f3577b34da6a3ce929d0e0e4736");
    }
    for seen in house.sim.seen() {
        let told = header(&seen, "traceparent").expect("a trace of our own");
        assert!(!told.contains("4bf92f35") && told.starts_with("00-"), "{told}");
        assert_eq!(header(&seen, "tracestate"), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nothing_is_exported_a_callers_trace_goes_on_as_it_came() {
    let house = house("[otlp]\nendpoint = \"off\"\n").await;
    ask(&house, "fine", &[("traceparent", CALLER), ("tracestate", "a=1")]).await;
    ask(&house, "fine", &[]).await;
    ask(&house, "fine", &[("traceparent", "00-0-0-0")]).await;
    let told: Vec<_> = house.sim.seen().iter().map(|seen| header(seen, "traceparent").map(str::to_owned)).collect();
    assert_eq!(told, [Some(CALLER.to_owned()), None, None]);
    assert_eq!(header(&house.sim.seen()[0], "tracestate"), Some("a=1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sampling_keeps_every_failure_and_what_callers_record() {
    let collector = Collector::start(200).await;
    let house = house(&collector.section("sample = 0.0")).await;
    let unsampled = CALLER.replace("-01", "-00");
    let plain = ask(&house, "fine", &[]).await;
    let left_out = ask(&house, "fine", &[("traceparent", &unsampled)]).await;
    let recorded = ask(&house, "fine", &[("traceparent", CALLER)]).await;
    let rescued = ask(&house, "both", &[]).await;
    let failed = ask(&house, "bad", &[("traceparent", &unsampled)]).await;
    let refused = ask(&house, "bad", &[("x-tautline-task", "nonsense")]).await;
    house.running.stop(Duration::ZERO, std::future::pending()).await;
    let got = collector.got();
    let mut kept: Vec<String> =
        got.spans.iter().map(|span| of(span, "tautline.id")).filter(|id| !id.is_empty()).collect();
    // Settling may take one before the other, and ids of one millisecond have no order.
    kept.sort();
    let mut expected = [recorded, rescued, failed.clone(), refused.clone()];
    expected.sort();
    assert_eq!(kept, expected, "of them {plain} and {left_out} are plain");
    let (own, attempts) = exchange(&got, &failed);
    assert_eq!((own.status.as_ref().expect("it failed").code, attempts.len()), (2, 1));
    assert_eq!(of(own, "error.type"), own.status.as_ref().expect("it failed").message);
    let (own, attempts) = exchange(&got, &refused);
    assert_eq!((of(own, "error.type").as_str(), attempts.len()), ("invalid_request", 0));
    // Lines are not sampled: they are the log.
    assert_eq!(got.lines.len(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_and_logs_arrive_at_the_latest_with_the_end() {
    let collector = Collector::start(200).await;
    let house = house(&collector.section("traces = false")).await;
    let id = ask(&house, "both", &[]).await;
    let failed = ask(&house, "bad", &[("traceparent", CALLER)]).await;
    house.running.stop(Duration::ZERO, std::future::pending()).await;
    let got = collector.got();
    assert!(got.spans.is_empty(), "they are switched off");
    assert_eq!(got.lines.len(), 2);
    let find =
        |id: &str| got.lines.iter().find(|line| attribute(&line.attributes, "tautline.id") == id).expect("a line");
    let (line, bad) = (find(&id), find(&failed));
    assert_eq!(line.event_name, "tautline.exchange");
    assert_eq!(attribute(&line.attributes, "tautline.outcome"), "ok_fallback");
    assert_eq!((line.severity_text.as_str(), line.severity_number), ("INFO", 9));
    assert!(bad.severity_number > 9 && !attribute(&bad.attributes, "error.type").is_empty(), "{bad:?}");
    assert_eq!(hex(&bad.trace_id), "4bf92f3577b34da6a3ce929d0e0e4736");
    let find = |name: &str| got.metrics.iter().find(|metric| metric.name == name).expect("a metric").data.as_ref();
    let Some(Data::Sum(requests)) = find("tautline_gateway_requests_total") else { panic!("a counter is a sum") };
    assert!(requests.is_monotonic && requests.aggregation_temporality == 2);
    let point = requests.data_points.iter().find(|point| attribute(&point.attributes, "outcome") == "ok_fallback");
    let point = point.expect("one rescued request");
    assert_eq!(point.value, Some(Value::AsDouble(1.0)));
    assert!(point.start_time_unix_nano < point.time_unix_nano);
    let Some(Data::Histogram(durations)) = find("tautline_gateway_request_duration_seconds") else { panic!("one") };
    let point = durations.data_points.iter().find(|point| attribute(&point.attributes, "route") == "both");
    let point = point.expect("one rescued request");
    assert_eq!((point.count, point.bucket_counts.iter().sum::<u64>()), (1, 1));
    assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
    assert_eq!(point.explicit_bounds[..2], [0.1, 0.25]);
    // The same facts under the names of OpenTelemetry's conventions.
    let Some(Data::Histogram(durations)) = find("gen_ai.client.operation.duration") else { panic!("one") };
    let mut told: Vec<_> = durations
        .data_points
        .iter()
        .map(|point| {
            let of = |name| attribute(&point.attributes, name);
            (of("gen_ai.request.model"), of("error.type").is_empty(), point.count)
        })
        .collect();
    told.sort();
    assert_eq!(told, [("sim?fault=status_500".to_owned(), false, 2), ("sim?tokens=5".to_owned(), true, 1)]);
    let Some(Data::Histogram(tokens)) = find("gen_ai.client.token.usage") else { panic!("one") };
    let output = tokens.data_points.iter().find(|point| attribute(&point.attributes, "gen_ai.token.type") == "output");
    assert_eq!(output.expect("tokens").sum, Some(5.0));
    assert!(matches!(find("tautline_gateway_inflight"), Some(Data::Gauge(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_prompt_nor_answer_nor_key_is_exported() {
    const KEY: &str = "sk-live-9f8e7d6c5b4a39281706f5e4d3c2b1a0";
    let folder = tempfile::tempdir().expect("a temporary folder");
    let token = folder.path().join("token");
    std::fs::write(&token, "collectors-own-token").expect("writable");
    let collector = Collector::start(200).await;
    let more = format!("headers = {{ authorization = \"file:{}\" }}", token.display());
    // A key as the model's name goes to whoever serves any name.
    let elsewhere = format!("http://127.0.0.1:{}/v1", closed_port());
    let passed_on = format!(
        "{}[providers.any]\ndialect = \"openai\"\nbase_url = \"{elsewhere}\"\nmodels = [\"sk-*\"]\n\
         [routes.\"*\"]\npassthrough = true\n",
        collector.section(&more)
    );
    let house = house(&passed_on).await;
    let bearer = format!("Bearer {KEY}");
    for model in ["fine", "bad", "both", KEY, "sk-short"] {
        let path = "/v1/chat/completions";
        let body = chat(model, true).to_string();
        let client = crate::support::Client::connect(house.addr).await;
        let headers = [("authorization", bearer.as_str()), ("x-client-request-id", KEY), ("tracestate", "a=1")];
        within("the answer", client.request("POST", path, &headers, body.as_bytes())).await.bytes().await;
    }
    let upstream = house.sim.addr().to_string();
    house.running.stop(Duration::ZERO, std::future::pending()).await;
    let got = collector.got();
    assert!(got.spans.len() > 4 && got.lines.len() == 5 && !got.metrics.is_empty());
    let text = String::from_utf8_lossy(&got.bytes).into_owned();
    let answer = answer_text(PROMPT, 5);
    for secret in [PROMPT, "slack", answer.as_str(), KEY, "9f8e7d6c5b4a", "sk-short", upstream.as_str()] {
        assert!(!text.contains(secret), "{secret} was exported");
    }
    assert!(text.contains("[redacted]"), "the model that was a key is told as one");
    assert_eq!(text.matches("collectors-own-token").count(), got.requests, "the collector gets its own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_away_harms_nobody_and_what_finds_no_room_is_counted() {
    let hanging = Collector::start(0).await;
    for port in [closed_port(), hanging.addr.port()] {
        let house = house(&otlp_section(port, "queue_max = 16\ntimeout = \"6s\"")).await;
        // Three spans each: more than the queue holds, even beside a batch under way.
        let exchanges = 30;
        for _ in 0..exchanges {
            ask(&house, "both", &[]).await;
        }
        assert!(count(&house.metrics().await, "traces") >= 30, "most found no room");
        if port == hanging.addr.port() {
            // An export is under way that lasts longer than the end may.
            hanging.wait("an export", |got| got.requests >= 1).await;
        }
        let registry = house.running.registry.clone();
        let began = Instant::now();
        house.running.stop(Duration::ZERO, std::future::pending()).await;
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        // A request under way at the end may be counted later; but all are accounted for.
        for (signal, sent) in [("traces", exchanges * 3), ("logs", exchanges)] {
            within("the count", async {
                while dropped(&registry, signal) < sent {
                    tokio::task::yield_now().await;
                }
            })
            .await;
            assert_eq!(dropped(&registry, signal), sent, "{signal}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_comes_back_gets_what_waited_for_it() {
    let collector = Collector::start(503).await;
    let house = house(&collector.section("metrics = false")).await;
    let id = ask(&house, "fine", &[]).await;
    collector.wait("a refused export", |got| got.requests >= 2).await;
    assert!(collector.got().spans.is_empty());
    collector.answer(200);
    let got = collector.wait("what waited", |got| got.spans.len() >= 2 && !got.lines.is_empty()).await;
    exchange(&got, &id);
    assert_eq!(dropped(&house.running.registry, "traces"), 0);
    // What it refuses for good is not offered twice.
    collector.answer(400);
    ask(&house, "fine", &[]).await;
    within("the loss", async {
        while dropped(&house.running.registry, "traces") < 2 || dropped(&house.running.registry, "logs") < 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

const FAULTY: &str = "[otlp]\nendpoint = \"collector:4318\"\ntrace = true\ntimeout = \"0s\"\nqueue_max = 1\nsample = 1.5\n\
     [otlp.headers]\nx-token = \"t-7f3c\"\nhost = \"x\"\nx-key = \"exec:date\"\n";

#[tokio::test]
async fn every_fault_of_the_section_is_told_with_its_key() {
    let folder = Folder::new();
    folder.write("tautline.toml", FAULTY);
    let told = folder.run(&["check-config"]).await.out;
    for (key, problem) in [
        ("endpoint", "neither http:// nor https://"),
        ("trace", "unknown key"),
        ("timeout", "no duration above zero"),
        ("queue_max", "out of range"),
        ("sample", "no share"),
        ("headers.x-token", "holds a credential"),
        ("headers.host", "by the exporter itself"),
        ("headers.x-key", "never renewed"),
    ] {
        let line = told.lines().find(|line| line.contains(&format!("otlp.{key}: ")));
        assert!(line.is_some_and(|line| line.contains(problem)), "{key}: {told}");
    }
    assert!(!told.contains("7f3c"), "a key is not repeated");
    assert!(told.contains("did you mean \"traces\"?"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_standard_variable_names_the_collector_where_the_file_does_not() {
    const STANDARD: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    let folder = Folder::new();
    let wrong = [(STANDARD, "ftp://collector")];
    let write = |otlp: &str| folder.write("tautline.toml", &format!("{}{otlp}", crate::config::BY_TASK));
    write("");
    let ran = folder.run_with(&wrong, &["check-config"]).await;
    assert!(ran.code == Some(1) && ran.out.contains("otlp.endpoint: OTEL_EXPORTER_OTLP_ENDPOINT: "), "{}", ran.out);
    // What the file says goes first.
    for otlp in ["[otlp]\nendpoint = \"off\"\n", "[otlp]\nendpoint = \"http://127.0.0.1:4318\"\n"] {
        write(otlp);
        assert_eq!(folder.run_with(&wrong, &["check-config"]).await.code, Some(0), "{otlp}");
    }
    // And it is enough to export.
    let collector = Collector::start(200).await;
    let base = format!("http://{}/", collector.addr);
    let [port, admin] = [closed_port(), closed_port()];
    let ports = format!("[gateway]\nlisten = \"127.0.0.1:{port}\"\n[admin]\nlisten = \"127.0.0.1:{admin}\"\n");
    write(&ports);
    let mut up = folder.spawn(&[(STANDARD, &base)], &["up"], [port, admin]).await.expect("it starts");
    let client = crate::support::Client::connect(up.addr).await;
    client.request("POST", "/v1/chat/completions", &[], b"{}").await.bytes().await;
    up.signal("TERM").await;
    assert!(up.ended().await.success());
    let got = collector.got();
    assert_eq!((got.spans.len(), got.lines.len(), got.metrics.is_empty()), (1, 1, false));
}
