//! Paths that go to a provider as bytes: what passes, what does not, and how it
//! is told when it breaks.

use crate::support::{Client, House, Http2, Response, closed_port, within};
use std::time::Duration;
use tautline::domain::record::Record;
use tautline::gateway::lifecycle::Stage;
use tautline::sim::{Ended, Sim, SimSettings};
use tautline::telemetry::encode;
use tokio::io::AsyncReadExt as _;

const ECHO: &str = "[passthrough]\n\"/v1/echo\" = \"sim\"\n\"/v1/files\" = \"sim\"\n";

/// Bytes of a scripted body. What a door gathers before it writes is far less.
const PADDING: usize = 200_000;

/// A request as bytes; `headers` with their line ends.
fn raw(method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head =
        format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n{headers}content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

async fn send(house: &House, method: &str, path: &str, headers: &str, body: &[u8]) -> Response {
    let mut client = Client::connect(house.addr).await;
    client.send_raw(&raw(method, path, headers, body)).await;
    client.response().await
}

/// A body that an echo plays by this script.
fn scripted(script: &str) -> Vec<u8> {
    let mut body = format!("{{\n\"model\":\"sim?{script}\",\n\"padding\":\"");
    body.push_str(&"x".repeat(PADDING));
    body.push_str("\"\n}\n");
    body.into_bytes()
}

/// All that a connection gives until it ends.
async fn until_closed(house: &House, request: &[u8]) -> Vec<u8> {
    let mut client = Client::connect(house.addr).await;
    client.send_raw(request).await;
    let mut all = Vec::new();
    // A reset is an end as well.
    let _ = within("the connection's end", client.stream.read_to_end(&mut all)).await;
    all
}

fn ended(record: &Record) -> (&str, &str, &str, u16) {
    (record.outcome.as_str(), &record.cause, &record.phase, record.status)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_pass_as_they_came_both_ways_and_are_recorded_without_their_path_as_a_label() {
    let house = House::start("", ECHO).await;
    let body: Vec<u8> = (0..300_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let kind = "multipart/form-data; boundary=rope";
    let headers = format!(
        "content-type: {kind}\r\naccept: audio/*\r\nrange: bytes=0-9\r\ncookie: own=1\r\nx-custom: 1\r\n\
         authorization: Bearer not-for-it\r\naccept-encoding: gzip\r\n"
    );
    let mut answer = send(&house, "PUT", "/v1/echo/unheard-of%2Fpath?limit=2&after=x%20y", &headers, &body).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some(kind)));
    assert_eq!(answer.header("content-length"), Some("300000"));
    assert_eq!((answer.header("x-tautline-target"), answer.header("x-tautline-attempts")), (Some("sim"), Some("1")));
    assert_eq!((answer.header("etag"), answer.header("set-cookie")), (Some("\"sim\""), None));
    assert_eq!(answer.header("openai-version"), None, "what a provider tells its own user is not for others");
    assert!(answer.bytes().await == body, "the bytes are the same");
    let seen = house.sim.seen().into_iter().find(|seen| seen.path.contains("/echo/")).expect("it arrived");
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("PUT", "/v1/echo/unheard-of%2Fpath"));
    assert_eq!(seen.query.as_deref(), Some("limit=2&after=x%20y"));
    let names: Vec<&str> = seen.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["host", "user-agent", "content-type", "accept", "range", "content-length"]);
    let record = house.record_of(&answer).await;
    assert_eq!(ended(&record), ("ok", "none", "none", 200));
    assert_eq!((record.route.as_str(), record.task.as_str(), record.model.as_str()), ("passthrough", "none", ""));
    let attempt = &record.attempts[0];
    assert_eq!((attempt.target.as_str(), attempt.provider.as_str(), attempt.bytes), ("sim", "sim", 300_000));
    assert_eq!(
        (attempt.upstream_request_id.as_deref(), attempt.tokens),
        (Some(format!("sim-{}", seen.id).as_str()), None)
    );
    let clocks: Vec<_> = record.plan.steps[0].clocks.iter().map(|clock| clock.clock.as_str()).collect();
    assert!(clocks.contains(&"first_token") && record.plan.steps[0].reason.contains("/v1/echo"), "{clocks:?}");
    let metrics = house.metrics().await;
    let line = "tautline_gateway_attempts_total{cause=\"none\",outcome=\"ok\",phase=\"none\",side=\"none\",target=\"sim/*\",task=\"none\"} 1";
    assert!(metrics.contains(line), "{metrics}");
    assert!(!metrics.contains("unheard-of") && !metrics.contains("/v1/"), "no path is a label");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_method_passes_and_the_connection_serves_the_next_one() {
    let house = House::start("", ECHO).await;
    let mut client = Client::connect(house.addr).await;
    for (method, path, body, status) in [
        ("GET", "/v1/echo/x", &b""[..], 200),
        ("GET", "/v1/echo/x", b"a body of a GET", 200),
        ("DELETE", "/v1/echo/x", b"", 200),
        ("DELETE", "/v1/echo/status/204", b"", 204),
        ("GET", "/v1/echo/status/304", b"", 304),
        ("PATCH", "/v1/echo/x", b"patched", 200),
        ("OPTIONS", "/v1/echo/x", b"", 200),
    ] {
        client.send_raw(&raw(method, path, "", body)).await;
        let mut answer = client.response().await;
        assert_eq!(answer.status, status, "{method} {path}");
        if status == 200 {
            assert_eq!(answer.bytes().await, body, "{method} {path}");
        } else {
            let framing = (answer.header("content-length"), answer.header("transfer-encoding"));
            assert_eq!(framing, (None, None), "{method} {path}");
        }
        let seen = house.sim.seen().into_iter().next_back().expect("it arrived");
        assert_eq!((seen.method.as_str(), seen.path.as_str(), seen.body_bytes), (method, path, body.len()));
        client = answer.into_client();
    }
    // HEAD last: what its head says of a body does not follow.
    let all = until_closed(&house, &raw("HEAD", "/v1/echo/x", "connection: close\r\n", b"12345")).await;
    let all = String::from_utf8(all).expect("text").to_ascii_lowercase();
    assert!(
        all.starts_with("http/1.1 200") && all.contains("content-length: 5\r\n") && all.ends_with("\r\n\r\n"),
        "{all}"
    );
    assert_eq!(ended(&house.newest_of(8).await), ("ok", "none", "none", 200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_carried_piece_by_piece_and_a_client_that_leaves_ends_it() {
    let house = House::start("", ECHO).await;
    let headers = "content-type: application/json\r\naccept: text/event-stream\r\n";
    let mut answer = send(&house, "POST", "/v1/echo/x", headers, &scripted("tokens=2&gap=1000s")).await;
    assert_eq!((answer.header("content-type"), answer.header("content-length")), (Some("text/event-stream"), None));
    assert_eq!(answer.header("x-accel-buffering"), Some("no"));
    assert_eq!(answer.frame().await.as_deref(), Some("{"), "the first part, though the second is far away");
    assert_eq!(house.sim.seen().last().map(|seen| seen.ended), Some(None), "it still goes on");
    let id = answer.header("x-request-id").expect("an id").to_owned();
    drop(answer);
    within("its provider to be left", house.sim.wait_seen(1, |seen| seen.ended == Some(Ended::PeerClosed))).await;
    let record = house.record(&id).await;
    assert_eq!(ended(&record), ("client_gone", "client_gone", "stream", 499));
    assert_eq!((record.attempts[0].outcome.as_str(), record.stream), ("cancelled", true));
    // The same where its length is known, and a part is far smaller than what a door gathers.
    let small = b"{\n\"model\":\"sim?tokens=2&gap=1000s\"\n}\n";
    let mut answer = send(&house, "POST", "/v1/echo/x", "", small).await;
    assert_eq!(answer.header("content-length"), Some(small.len().to_string().as_str()));
    assert_eq!(answer.frame().await.as_deref(), Some("{"));
    drop(answer);
    within("it to be left", house.sim.wait_seen(2, |seen| seen.ended == Some(Ended::PeerClosed))).await;
    let mut waiting = Client::connect(house.addr).await;
    waiting.send_raw(&raw("POST", "/v1/echo/x", "", &scripted("fault=hang_headers"))).await;
    within("the third", house.sim.wait_seen(3, |seen| seen.path.ends_with("/echo/x"))).await;
    drop(waiting);
    within("it to be left", house.sim.wait_seen(3, |seen| seen.ended == Some(Ended::PeerClosed))).await;
    assert_eq!(ended(&house.newest_of(3).await), ("client_gone", "client_gone", "headers", 499));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_providers_own_refusal_goes_back_as_it_came_and_is_named_in_the_record() {
    let house = House::start("", ECHO).await;
    for (script, status, cause, says) in [
        ("fault=status_429&retry_after=7", 429, "rate_limited", "Rate limit"),
        ("fault=status_401", 401, "auth", "Incorrect API key provided."),
        ("fault=status_503", 503, "overloaded", ""),
        ("fault=bad_request", 400, "bad_request", ""),
        ("fault=quota", 429, "quota_exhausted", ""),
        ("fault=html_502", 502, "server_error", "502 Bad Gateway"),
    ] {
        let mut answer = send(&house, "POST", "/v1/echo/x", "", &scripted(script)).await;
        let record = house.record_of(&answer).await;
        assert_eq!(
            (answer.status, record.outcome.as_str(), record.cause.as_str()),
            (status, "returned", cause),
            "{script}"
        );
        assert_eq!((record.status, record.attempts[0].outcome.as_str()), (status, "returned"));
        assert_eq!(answer.header("retry-after"), (cause == "rate_limited").then_some("7"));
        assert_eq!(answer.header("x-tautline-cause"), None, "it is the provider's answer");
        let text = answer.text().await;
        assert!(text.contains(says), "{script}: {text}");
    }
    let mut answer = send(&house, "GET", "/v1/files/file-7", "", b"").await;
    let told = answer.json().await;
    assert_eq!((answer.status, &told["error"]["message"]), (404, &"Invalid URL (GET /v1/files/file-7)".into()));
    let record = house.record_of(&answer).await;
    assert_eq!((record.cause.as_str(), record.side.as_str()), ("bad_request", "client"), "no model was asked for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_before_a_head_is_told_in_words_of_ours() {
    let config = format!(
        "{ECHO}\"/v1/gone\" = \"nobody\"\n[providers.nobody]\ndialect = \"openai\"\nbase_url = \"http://127.0.0.1:{}/v1\"\n\
         [deadlines]\nfirst_token = \"200ms\"\n",
        closed_port()
    );
    let house = House::start("", &config).await;
    for (path, script, status, cause) in [
        ("/v1/echo/x", "fault=reset_headers", 502, "reset_before_headers"),
        ("/v1/echo/x", "fault=close_headers", 502, "reset_before_headers"),
        ("/v1/echo/x", "fault=hang_headers", 504, "own_deadline_first_token"),
        ("/v1/echo/x", "fault=redirect", 502, "not_an_api"),
        ("/v1/gone/x", "", 502, "connect_refused"),
    ] {
        let mut answer = send(&house, "POST", path, "", &scripted(script)).await;
        assert_eq!((answer.status, answer.header("x-tautline-cause")), (status, Some(cause)), "{script}");
        let target = if path.contains("gone") { "nobody" } else { "sim" };
        assert_eq!((answer.header("x-tautline-target"), answer.header("location")), (Some(target), None));
        let told = answer.json().await;
        assert_eq!(told["error"]["code"], cause);
        assert!(!told.to_string().contains("127.0.0.1"), "an address is not told: {told}");
        let record = house.record_of(&answer).await;
        assert_eq!((record.outcome.as_str(), record.cause.as_str(), record.status), ("failed", cause, status));
        assert_eq!(
            (record.attempts.len(), record.attempts[0].outcome.as_str()),
            (1, "failed"),
            "nothing is tried again"
        );
    }
    let headers = "x-tautline-timeout-ms: 50\r\n";
    let answer = send(&house, "POST", "/v1/echo/x", headers, &scripted("fault=hang_headers")).await;
    assert_eq!((answer.status, answer.header("x-tautline-cause")), (504, Some("own_deadline_total")));
    let answer = send(&house, "POST", "/v1/echo/x", "x-tautline-timeout-ms: soon\r\n", b"").await;
    assert_eq!((answer.status, answer.header("x-tautline-cause")), (400, Some("invalid_request")));
    assert_eq!(house.record_of(&answer).await.outcome.as_str(), "refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_breaks_never_looks_whole() {
    let config = format!("{ECHO}[deadlines]\nidle = \"200ms\"\n");
    let house = House::start("", &config).await;
    for (count, (script, accept, cause)) in (1..).zip([
        ("tokens=8&fault=early_end&after=4", "*/*", "early_end"),
        ("tokens=8&fault=early_end&after=4", "text/event-stream", "early_end"),
        ("tokens=8&fault=stall&after=4", "*/*", "own_deadline_idle"),
        // With gaps, so that words are read before the reset throws unread ones away.
        ("tokens=8&gap=20ms&fault=reset&after=4", "text/event-stream", "reset"),
    ]) {
        let body = scripted(script);
        let headers = format!("accept: {accept}\r\nconnection: close\r\n");
        let all = until_closed(&house, &raw("POST", "/v1/echo/x", &headers, &body)).await;
        let got = memchr::memchr_iter(b'x', &all).count();
        assert!(got > PADDING / 4 && got < PADDING, "{script} {accept}: {got}");
        assert!(!all.ends_with(b"0\r\n\r\n"), "{script}: the last chunk came");
        let record = house.newest_of(count).await;
        assert_eq!(ended(&record), ("cut", cause, "stream", 200), "{script} {accept}");
        assert_eq!(record.attempts[0].outcome.as_str(), "failed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http2_bytes_pass_alike_and_a_broken_answer_ends_its_stream_alone() {
    let house = House::start("listen_h2c = \"127.0.0.1:0\"", ECHO).await;
    let connection = Http2::connect(house.running.addrs_h2c[0]).await;
    let body = scripted("tokens=4");
    let mut answer = connection.request("PUT", "/v1/echo/x?a=b", &[("content-type", "audio/x")], &body).await;
    let length = body.len().to_string();
    assert_eq!((answer.status, &answer.headers["content-type"]), (200, &"audio/x".parse().expect("a value")));
    assert_eq!(answer.headers["content-length"].as_bytes(), length.as_bytes());
    assert!(answer.text().await.expect("an orderly end").as_bytes() == body);
    for (method, path, status, length) in [
        ("HEAD", "/v1/echo/x", 200, Some(&b"0"[..])),
        ("GET", "/v1/echo/status/204", 204, None),
        ("GET", "/v1/echo/status/304", 304, None),
    ] {
        let mut answer = connection.request(method, path, &[], b"").await;
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(answer.headers.get("content-length").map(http::HeaderValue::as_bytes), length, "{method} {path}");
        assert_eq!(answer.text().await.expect("an orderly end"), "");
    }
    for accept in ["*/*", "text/event-stream"] {
        let cut = scripted("tokens=8&fault=early_end&after=4");
        let mut answer = connection.request("POST", "/v1/echo/x", &[("accept", accept)], &cut).await;
        assert_eq!(answer.status, 200);
        assert!(answer.text().await.is_err(), "{accept}: it must not look whole");
    }
    assert_eq!(ended(&house.newest_of(6).await), ("cut", "early_end", "stream", 200));
    let mut answer = connection.request("GET", "/v1/echo/x", &[], b"").await;
    assert_eq!(answer.text().await.expect("the connection serves on"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_slows_its_provider_and_is_let_go() {
    let config = format!("{ECHO}[deadlines]\nidle = \"100ms\"\n");
    // Its answer has more bytes than `output_bytes_max`, which is not for bytes that pass.
    let house = House::start("write_timeout = \"600ms\"\noutput_bytes_max = 65536", &config).await;
    let mut client = Client::connect_with_buffer(house.addr, 4096).await;
    client.send_raw(&raw("POST", "/v1/echo/x", "accept: text/event-stream\r\n", &scripted("fault=endless"))).await;
    within("its provider to be left", house.sim.wait_seen(1, |seen| seen.ended == Some(Ended::PeerClosed))).await;
    let record = house.newest_of(1).await;
    assert_eq!(ended(&record), ("client_gone", "client_stalled", "stream", 499), "and no clock of its provider fired");
    let bytes = record.attempts[0].bytes;
    assert!(bytes > 65_536 && bytes < 32 << 20, "what the sockets hold, and one piece: {bytes}");
    drop(client);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_waits_for_what_passes_and_its_end_cuts_it() {
    let house = House::start("", ECHO).await;
    let headers = "accept: text/event-stream\r\n";
    let mut slow = send(&house, "POST", "/v1/echo/x", headers, &scripted("tokens=2&gap=300ms")).await;
    assert!(slow.frame().await.is_some());
    let mut hung = Client::connect(house.addr).await;
    hung.send_raw(&raw("POST", "/v1/echo/x", headers, &scripted("fault=hang_headers"))).await;
    within("the second", house.sim.wait_seen(2, |seen| seen.path.ends_with("/echo/x"))).await;
    let (registry, lifecycle) = (house.running.registry.clone(), house.running.gateway.lifecycle.clone());
    let stopping = tokio::spawn(house.running.stop(Duration::from_secs(2), std::future::pending()));
    lifecycle.reached(Stage::Draining).await;
    let mut rest = 1;
    while slow.frame().await.is_some() {
        rest += 1;
    }
    assert_eq!(rest, 4, "its last line came within the grace");
    let hung = hung.response().await;
    assert_eq!((hung.status, hung.header("x-tautline-cause")), (503, Some("shutdown")));
    within("the end of the drain", stopping).await.expect("no panic");
    let metrics = String::from_utf8(encode(&registry)).expect("text");
    for outcome in ["ok", "failed"] {
        let line =
            format!("tautline_gateway_requests_total{{outcome=\"{outcome}\",route=\"passthrough\",task=\"none\"}} 1");
        assert!(metrics.contains(&line), "{line} in\n{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_provider_gets_the_credential_that_is_its_own() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let keyed = Sim::start(listener, SimSettings::default());
    let folder = tempfile::tempdir().expect("a folder");
    let key = |name: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("KeyOfPool{name}")).expect("written");
        format!("\"file:{}\"", path.display())
    };
    let config = format!(
        "[providers.keyed]\ndialect = \"openai\"\nbase_url = \"{url}\"\nmodels = [\"k\"]\napi_key = [{}, {}]\n\
         headers = {{ \"openai-organization\" = \"org-1\" }}\nquery = {{ api-version = \"7\" }}\n\
         [providers.own]\ndialect = \"openai\"\nbase_url = \"{url}\"\nmodels = [\"o\"]\nauth = \"client\"\n\
         [passthrough]\n\"/v1/echo\" = \"keyed\"\n\"/v1/echo/own\" = \"own\"\n",
        key("one"),
        key("two"),
        url = keyed.base_url()
    );
    let house = House::start("", &config).await;
    let login = "authorization: Bearer CallersOwn\r\nopenai-project: mine\r\n";
    let last = || keyed.seen().into_iter().next_back().expect("it arrived");
    let answer = send(&house, "GET", "/v1/echo/own/x", login, b"").await;
    assert_eq!((answer.status, answer.header("x-tautline-target")), (200, Some("own")));
    assert_eq!(answer.header("openai-version"), Some("2020-10-01"), "it is its own user");
    assert_eq!(last().bearer.as_deref(), Some("CallersOwn"));
    assert!(last().headers.contains(&("openai-project".to_owned(), "mine".to_owned())));
    let record = house.record_of(&answer).await;
    assert!(record.principal.id.starts_with("client:"), "{:?}", record.principal);
    // A key that is refused for its rate rests; the next request takes the other one.
    let answer = send(&house, "POST", "/v1/echo/x?a=b", login, &scripted("fault=status_429&retry_after=60")).await;
    assert_eq!(answer.status, 429);
    let first = last();
    assert_eq!(first.query.as_deref(), Some("a=b&api-version=7"));
    assert!(first.headers.contains(&("openai-organization".to_owned(), "org-1".to_owned())), "{:?}", first.headers);
    assert!(!first.headers.iter().any(|(name, _)| name == "openai-project"), "{:?}", first.headers);
    for _ in 0..3 {
        assert_eq!(send(&house, "POST", "/v1/echo/x", login, b"").await.status, 200);
        let key = last().bearer.expect("a key");
        assert!(key.starts_with("KeyOfPool") && Some(&key) != first.bearer.as_ref(), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_pass_is_refused_at_the_door() {
    let key = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(key.path(), "tl-secret-1").expect("written");
    let gateway = format!("access_key = \"file:{}\"\nbody_bytes_max = 10000", key.path().display());
    let house = House::start(&gateway, ECHO).await;
    let large = vec![b'x'; 10_001];
    for (method, path, headers, body, status, cause) in [
        ("GET", "/v1/echo/x", "x-key: no\r\n", &b""[..], 401, "unauthorized"),
        ("GET", "/v1/echo/../chat/completions", "", b"", 400, "invalid_request"),
        ("GET", "/v1/files/%2e%2E%2fmodels", "", b"", 400, "invalid_request"),
        ("GET", "/v1/echoes", "", b"", 404, "unknown_route"),
        ("TRACE", "/v1/echo/x", "", b"", 405, "invalid_request"),
        ("GET", "/v1/echo/x", "upgrade: websocket\r\nconnection: upgrade\r\n", b"", 426, "invalid_request"),
        ("POST", "/v1/echo/x", "", &large, 413, "too_large"),
    ] {
        let key = if headers.starts_with("x-key") { "" } else { "x-tautline-key: tl-secret-1\r\n" };
        let answer = send(&house, method, path, &format!("{key}{headers}"), body).await;
        assert_eq!((answer.status, answer.header("x-tautline-cause")), (status, Some(cause)), "{method} {path}");
        let allowed = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
        assert_eq!(answer.header("allow"), (status == 405).then_some(allowed));
        assert_eq!(house.record_of(&answer).await.outcome.as_str(), "refused");
    }
    let asked: Vec<_> = house.sim.seen().into_iter().filter(|seen| !seen.path.ends_with("/models")).collect();
    assert!(asked.is_empty(), "{asked:?}");
    let answer = send(&house, "GET", "/v1/echo/x", "x-tautline-key: tl-secret-1\r\n", b"").await;
    assert_eq!(answer.status, 200);
    let seen = house.sim.seen().into_iter().next_back().expect("it arrived");
    assert!(!format!("{:?}", seen.headers).contains("tl-secret"), "our key goes no further");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_changes_what_passes() {
    let house = House::start("", "").await;
    assert_eq!(send(&house, "GET", "/v1/echo/x", "", b"").await.status, 404);
    house.rewrite("", ECHO);
    assert!(house.running.reloader.reload().await.is_ok());
    assert_eq!(send(&house, "GET", "/v1/echo/x", "", b"").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_is_told_in_the_dialect_of_its_path() {
    let config = format!(
        "[providers.nobody]\ndialect = \"anthropic\"\nbase_url = \"http://127.0.0.1:{}\"\nmodels = [\"n\"]\n\
         [passthrough]\n\"/v1/messages/batches\" = \"nobody\"\n",
        closed_port()
    );
    let house = House::start("", &config).await;
    let mut answer = send(&house, "GET", "/v1/messages/batches/b1", "", b"").await;
    assert_eq!((answer.status, answer.header("x-tautline-cause")), (502, Some("connect_refused")));
    let id = answer.header("x-request-id").map(str::to_owned);
    assert_eq!(answer.header("request-id").map(str::to_owned), id);
    let told = answer.json().await;
    assert_eq!((&told["type"], &told["error"]["type"]), (&"error".into(), &"api_error".into()), "{told}");
}
