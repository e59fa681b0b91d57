//! The front door: what is refused, how it is told, and that it is told once.

use crate::support::{Client, House, Response, chat, sim_target, within};
use serde_json::{Value, json};
use std::time::Instant;
use tautline::domain::record::Record;
use tautline::gateway::record::{self, RecordQuery};
use tautline::sim::answer_text;
use tokio::io::AsyncReadExt as _;

const PROMPT: &str = "why do ropes go slack?";
const CHAT: &str = "/v1/chat/completions";
/// What `body_bytes_max` is when nobody sets it.
const BODY_MAX: usize = 32 << 20;

fn config() -> String {
    format!(
        "{}{}[tasks.chat]\ntargets = [\"a\"]\n[routes.auto]\nby_task = true\ndefault_task = \"chat\"\n\
         [routes.m]\ntargets = [\"a\"]\n[routes.gpt-4o]\ntargets = [\"a\"]\n[routes.slow]\ntargets = [\"slow\"]\n",
        sim_target("a", "tokens=8", ""),
        sim_target("slow", "tokens=300&gap=20ms", "")
    )
}

async fn records(house: &House) -> Vec<Record> {
    // A record settles when its answer was delivered, a moment after the client has it.
    within("the end of all exchanges", house.running.gateway.lifecycle.empty()).await;
    house.running.gateway.settling.sink.flush().await;
    let query = RecordQuery { limit: 1000, ..RecordQuery::default() };
    record::list(&house.running.store, &query).await.expect("readable").records
}

/// A request that must be refused.
struct Bad {
    name: &'static str,
    method: &'static str,
    path: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    body: Vec<u8>,
    status: u16,
    cause: &'static str,
    phase: &'static str,
    param: Option<&'static str>,
    /// Somewhere in the message.
    says: &'static str,
}

fn bad(name: &'static str, body: impl Into<Vec<u8>>, param: Option<&'static str>, says: &'static str) -> Bad {
    Bad {
        name,
        method: "POST",
        path: CHAT,
        headers: Vec::new(),
        body: body.into(),
        status: 400,
        cause: "invalid_request",
        phase: "admit",
        param,
        says,
    }
}

fn with(extra: &str) -> String {
    format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}],{extra}}}"#)
}

fn bad_bodies() -> Vec<Bad> {
    let deep = format!(
        r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}],"x":{}{}}}"#,
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    let mut wrong_utf8 = with(r#""user":"ab"#).into_bytes();
    wrong_utf8.truncate(wrong_utf8.len() - 1);
    wrong_utf8.extend_from_slice(b"\xff\"}");
    vec![
        bad("no JSON at all", "hello", None, "not JSON"),
        bad("cut JSON", r#"{"model":"m","messages":[{"role":"us"#, Some("messages[0].role"), "not JSON"),
        bad("no body", "", None, "not JSON"),
        bad("two values", r#"{"model":"m"} {}"#, None, "trailing"),
        bad("a list", "[1]", None, "must be a JSON object"),
        bad("a string", r#""model""#, None, "must be a JSON object"),
        bad("a lone surrogate", with(r#""user":"\ud800""#), Some("user"), "not JSON"),
        bad("no model", r#"{"messages":[{"role":"user","content":"x"}]}"#, Some("model"), "missing"),
        bad("null model", r#"{"model":null,"messages":[{"role":"user","content":"x"}]}"#, Some("model"), "missing"),
        bad("empty model", r#"{"model":"","messages":[{"role":"user","content":"x"}]}"#, Some("model"), "empty"),
        bad("a number for a model", r#"{"model":7,"messages":[]}"#, Some("model"), "must be a string"),
        bad("no messages", r#"{"model":"m"}"#, Some("messages"), "missing"),
        bad("empty messages", r#"{"model":"m","messages":[]}"#, Some("messages"), "at least one"),
        bad("text for messages", r#"{"model":"m","messages":"x"}"#, Some("messages"), "a list"),
        bad("a message without a role", r#"{"model":"m","messages":[{"content":"x"}]}"#, Some("messages"), "role"),
        bad("text for stream", with(r#""stream":"yes""#), Some("stream"), "true or false"),
        bad("a number for stream_options", with(r#""stream_options":7"#), Some("stream_options"), "an object"),
        bad("no choices", with(r#""n":0"#), Some("n"), "at least 1"),
        bad("a negative limit", with(r#""max_tokens":-1"#), Some("max_tokens"), "whole number"),
        bad("an object for tools", with(r#""tools":{}"#), Some("tools"), "a list"),
        bad("a key twice", with(r#""model":"again""#), Some("model"), "duplicate key"),
        bad(
            "a nested key twice",
            r#"{"model":"m","messages":[{"role":"user","content":"x","role":"system"}]}"#,
            Some("messages[0].role"),
            "duplicate key",
        ),
        bad("too deep", deep, Some("x[0][0][0][0][0][0][0][0][0][0][0]"), "127 levels"),
        bad("no UTF-8", wrong_utf8, None, "not valid UTF-8"),
        bad(
            "a model name of a megabyte",
            format!(r#"{{"model":"{}","messages":[{{"role":"user"}}]}}"#, "m".repeat(1 << 20)),
            Some("model"),
            "at most 512 bytes",
        ),
    ]
}

fn bad_requests() -> Vec<Bad> {
    let plain = || chat("m", false).to_string().into_bytes();
    let unknown = |body: Value| Bad {
        status: 404,
        cause: "unknown_route",
        phase: "plan",
        ..bad("unknown model", body.to_string(), Some("model"), "`gpt-4o`")
    };
    vec![
        unknown(chat("gpt-4", false)),
        unknown(chat("gpt-40", true)),
        Bad {
            headers: vec![("content-encoding", "gzip")],
            ..bad("compressed", plain(), Some("content-encoding"), "compressed")
        },
        Bad {
            status: 404,
            cause: "unknown_route",
            phase: "plan",
            path: "/v1/chat/completion",
            ..bad("unknown path", plain(), Some("path"), "`/v1/chat/completions`")
        },
        Bad {
            status: 404,
            cause: "unknown_route",
            phase: "plan",
            path: "/v1/audio/speech",
            ..bad("a path that is not built", plain(), Some("path"), "no such path")
        },
        Bad { method: "GET", status: 405, ..bad("wrong method", "", Some("method"), "POST only") },
        Bad { method: "DELETE", status: 405, ..bad("another wrong method", "", Some("method"), "POST only") },
        Bad {
            headers: vec![("x-tautline-task", "chatt")],
            ..bad("unknown task", plain(), Some("x-tautline-task"), "\"chat\"")
        },
        Bad {
            headers: vec![("x-tautline-timeout-ms", "soon")],
            ..bad("no number", plain(), Some("x-tautline-timeout-ms"), "whole number")
        },
        Bad {
            headers: vec![("x-tautline-timeout-ms", "0")],
            ..bad("no time", plain(), Some("x-tautline-timeout-ms"), "above zero")
        },
        Bad {
            headers: vec![("origin", "https://evil.example")],
            status: 403,
            cause: "not_allowed",
            ..bad("a web page", plain(), None, "Origin")
        },
    ]
}

/// One refusal: status, headers, error object, record.
async fn refused(house: &House, case: Bad) {
    let Bad { name, method, path, headers, body, status, cause, phase, param, says } = case;
    let client = Client::connect(house.addr).await;
    let mut response = client.request(method, path, &headers, &body).await;
    let answer = response.json().await;
    assert_eq!(response.status, status, "{name}: {answer}");
    check_error(name, &response, &answer, cause);
    let error = &answer["error"];
    assert_eq!(error["param"].as_str(), param, "{name}: {answer}");
    let message = error["message"].as_str().expect("a message");
    assert!(message.contains(says), "{name}: {message}");
    if status == 405 {
        assert_eq!(response.header("allow"), Some("POST"), "{name}");
    }
    let record = house.record_of(&response).await;
    assert_eq!(
        (record.outcome.as_str(), record.cause.as_str(), record.phase.as_str(), record.status),
        ("refused", cause, phase, status),
        "{name}"
    );
    assert!(record.attempts.is_empty(), "{name}");
    // The connection is good for the next request.
    let mut next = response.into_client().request("GET", "/healthz", &[], b"").await;
    assert_eq!((next.status, next.text().await.as_str()), (200, "ok\n"), "{name}");
}

fn check_error(name: &str, response: &Response, answer: &Value, cause: &str) {
    let error = answer["error"].as_object().unwrap_or_else(|| panic!("{name}: an error object, not {answer}"));
    let mut keys: Vec<_> = error.keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["code", "message", "param", "type"], "{name}");
    assert!(error["code"].is_string() && error["type"].is_string(), "{name}: {answer}");
    assert_eq!(response.header("content-type"), Some("application/json"), "{name}");
    assert_eq!(response.header("x-should-retry"), Some("false"), "{name}");
    assert_eq!(response.header("retry-after"), None, "{name}");
    assert_eq!(response.header("x-tautline-cause"), Some(cause), "{name}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_wrong_is_named_recorded_once_and_touches_no_stream_beside_it() {
    let house = House::start("", &config()).await;
    let mut beside = house.post(&chat("slow", true)).await;
    assert!(beside.frame().await.is_some());
    let cases: Vec<Bad> = bad_bodies().into_iter().chain(bad_requests()).collect();
    let count = cases.len();
    for case in cases {
        refused(&house, case).await;
    }
    assert!(house.sim.seen()[0].ended.is_none(), "the stream is still under way");
    let streamed = beside.stream_text().await;
    // The first frame, read above, is the role alone.
    assert_eq!((streamed.text.as_str(), streamed.done), (answer_text(PROMPT, 300).as_str(), true));
    let all = records(&house).await;
    assert_eq!(all.len(), count + 1, "each is recorded exactly once");
    assert_eq!(all.iter().filter(|record| record.outcome.as_str() == "refused").count(), count);
    assert_eq!(house.sim.seen().len(), 1, "nothing that was refused went further");
    for record in &all {
        assert!(serde_json::to_string(record).expect("serializes").len() < 16 << 10, "a record stays small");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_announced_too_large_is_refused_before_it_is_sent() {
    let house = House::start("", &config()).await;
    let mut client = Client::connect(house.addr).await;
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: x.localhost\r\ncontent-length: {}\r\n\r\n", BODY_MAX + (1 << 20));
    client.send_raw(head.as_bytes()).await;
    // Not one byte of the body is sent.
    let mut response = client.response().await;
    assert_eq!(response.status, 413);
    let answer = response.json().await;
    check_error("declared", &response, &answer, "too_large");
    assert!(answer["error"]["message"].as_str().expect("text").contains("body_bytes_max"), "{answer}");
    assert_eq!(response.header("connection"), Some("close"));
    let record = house.record_of(&response).await;
    assert_eq!((record.outcome.as_str(), record.phase.as_str()), ("refused", "admit"));
}

/// Most clients write their whole body before they read: the answer must not
/// be lost in the reset of a connection with unread bytes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_sends_all_of_a_body_too_large_still_reads_its_413() {
    let house = House::start("", &config()).await;
    for chunked in [false, true] {
        let mut client = Client::connect(house.addr).await;
        let length = BODY_MAX + (1 << 20);
        let framing =
            if chunked { "transfer-encoding: chunked".to_owned() } else { format!("content-length: {length}") };
        client.send_raw(format!("POST {CHAT} HTTP/1.1\r\nhost: x.localhost\r\n{framing}\r\n\r\n").as_bytes()).await;
        let piece = vec![b' '; 1 << 20];
        for _ in 0..33 {
            if chunked {
                client.send_raw(format!("{:x}\r\n", piece.len()).as_bytes()).await;
            }
            client.send_raw(&piece).await;
            if chunked {
                client.send_raw(b"\r\n").await;
            }
        }
        if chunked {
            client.send_raw(b"0\r\n\r\n").await;
        }
        let mut response = client.response().await;
        let answer = response.json().await;
        assert_eq!(response.status, 413, "{answer}");
        check_error("sent whole", &response, &answer, "too_large");
    }
    let all = records(&house).await;
    assert_eq!(all.len(), 2);
    assert!(all.iter().all(|record| record.cause == "too_large"));
    assert!(house.metrics().await.contains("bound"), "the bound is counted");
}

/// Reads to the end of a connection; whatever came is returned.
async fn rest(client: &mut Client) -> String {
    let mut bytes = Vec::new();
    let _ = within("the end of the connection", client.stream.read_to_end(&mut bytes)).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_http_is_answered_once_and_closed() {
    let house = House::start("", &config()).await;
    let body = chat("m", false).to_string();
    let both = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len(),
        body.len()
    );
    let two_lengths =
        format!("POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!");
    let huge_head = format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-pad: {}\r\n\r\n", "p".repeat(70 << 10));
    for (name, bytes, status) in [
        ("garbage", "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}garbage\r\n\r\n".to_owned(), Some("400")),
        ("a line of text", "hello there general\r\n\r\n".to_owned(), Some("400")),
        ("two lengths", two_lengths, Some("400")),
        ("a head too large", huge_head, Some("413")),
        ("length and chunks", both, None),
    ] {
        let mut client = Client::connect(house.addr).await;
        client.send_raw(bytes.as_bytes()).await;
        let all = rest(&mut client).await;
        assert_eq!(all.matches("HTTP/1.1 4").count() + all.matches("HTTP/1.1 2").count(), 1, "{name}: once: {all}");
        assert!(all.to_ascii_lowercase().contains("connection: close"), "{name}: {all}");
        if let Some(status) = status {
            assert!(all.starts_with(&format!("HTTP/1.1 {status} ")), "{name}: {all}");
            assert!(all.contains("x-tautline-cause: ") && all.contains("x-should-retry: false"), "{name}: {all}");
            assert!(all.contains(r#"{"error":{"message":""#), "{name}: {all}");
        }
    }
    let mut client = Client::connect(house.addr).await;
    client.send_raw(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
    assert!(rest(&mut client).await.starts_with("HTTP/1.1 200"), "the door still stands");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_upload_is_refused_once_and_its_connection_closed() {
    let house = House::start("", &config()).await;
    let chunked =
        |rest: &str| format!("POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n{rest}");
    let long_extension = format!("5;{}\r\nhello\r\n0\r\n\r\n", "e".repeat(200 << 10));
    let uploads = [
        ("a size that is no number", chunked("zz\r\nhello\r\n0\r\n\r\n")),
        ("a size beyond all bounds", chunked("fffffffffffffffffff\r\nhello\r\n0\r\n\r\n")),
        ("a negative size", chunked("-5\r\nhello\r\n0\r\n\r\n")),
        ("a chunk longer than its size", chunked("2\r\nhello\r\n0\r\n\r\n")),
        ("an endless extension", chunked(&long_extension)),
    ];
    let count = uploads.len();
    for (name, bytes) in uploads {
        let mut client = Client::connect(house.addr).await;
        client.send_raw(bytes.as_bytes()).await;
        let all = rest(&mut client).await;
        assert!(all.starts_with("HTTP/1.1 400 "), "{name}: {all}");
        assert_eq!(all.matches("HTTP/1.1 4").count(), 1, "{name}: {all}");
        assert!(all.contains("Connection: close"), "{name}: {all}");
    }
    let all = records(&house).await;
    assert_eq!(all.len(), count);
    assert!(
        all.iter().all(|record| (record.outcome.as_str(), record.cause.as_str()) == ("refused", "invalid_request"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_requests_are_answered_and_the_door_stands() {
    let house = House::start("", &config()).await;
    for (odd, status) in [
        ("OPTIONS * HTTP/1.1\r\nhost: localhost\r\n", "404"),
        ("GET http://evil.example/healthz HTTP/1.1\r\nhost: evil.example\r\n", "200"),
        ("GET http://evil.example/v1/models HTTP/1.1\r\nhost: localhost\r\n", "4"),
        ("GET /v1/models/../../etc/passwd HTTP/1.1\r\nhost: localhost\r\n", "404"),
        ("GET //healthz HTTP/1.1\r\nhost: localhost\r\n", "404"),
        ("GET /healthz?x=%00%ff HTTP/1.1\r\nhost: localhost\r\n", "200"),
        ("BREW /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n", "405"),
        (
            "GET /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: upgrade\r\n",
            "426",
        ),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n", "400"),
        ("POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: +5\r\n", "400"),
        ("POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999999999999999\r\n", "4"),
        ("POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: gzip\r\n", "400"),
    ] {
        let mut client = Client::connect(house.addr).await;
        client.send_raw(format!("{odd}\r\n").as_bytes()).await;
        let mut response = client.response().await;
        response.bytes().await;
        assert!(response.status.to_string().starts_with(status), "{odd}: {}", response.status);
    }
    let many = "x-many: 1\r\n".repeat(400);
    let mut client = Client::connect(house.addr).await;
    client.send_raw(format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\n{many}\r\n").as_bytes()).await;
    assert!(rest(&mut client).await.starts_with("HTTP/1.1 4"));
    assert_eq!(house.post(&chat("m", false)).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_is_told_to_get_and_head_and_the_connection_stays_in_step() {
    let house = House::start("", &config()).await;
    let mut client = Client::connect(house.addr).await;
    client
        .send_raw(
            b"HEAD /healthz HTTP/1.1\r\nhost: localhost\r\n\r\nGET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n\
              HEAD /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n\r\n\
              GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
        )
        .await;
    let all = rest(&mut client).await;
    let statuses: Vec<&str> = all.match_indices("HTTP/1.1 ").map(|(at, _)| &all[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["200", "200", "405", "200"], "{all}");
    assert!(all.ends_with("\r\n\r\nok\n") && all.contains("ready\n"), "{all}");
    assert!(!all.contains("{\"error\""), "an answer to HEAD has no body: {all}");
}

/// RFC 9112, section 6.1: no `Transfer-Encoding` to a client of HTTP/1.0 (nginx
/// speaks it to its upstreams unless told otherwise).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_http_1_0_gets_a_stream_that_ends_with_its_connection() {
    let house = House::start("", &config()).await;
    for stream in [true, false] {
        let body = chat("m", stream).to_string();
        let mut client = Client::connect(house.addr).await;
        let head = format!("POST {CHAT} HTTP/1.0\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", body.len());
        client.send_raw(format!("{head}{body}").as_bytes()).await;
        let mut response = client.response().await;
        assert_eq!((response.status, response.header("transfer-encoding")), (200, None));
        if stream {
            let streamed = response.stream_text().await;
            assert_eq!((streamed.text.as_str(), streamed.done), (answer_text(PROMPT, 8).as_str(), true));
        } else {
            assert_eq!(response.json().await["choices"][0]["message"]["content"], answer_text(PROMPT, 8));
        }
        assert_eq!(house.record_of(&response).await.outcome.as_str(), "ok");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelined_requests_are_both_answered_and_not_taken_for_a_departure() {
    let house = House::start("", &config()).await;
    let post = |stream: bool| {
        let body = chat("m", stream).to_string();
        format!("POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    };
    // Together in one write, and the second while the first is being answered.
    for apart in [false, true] {
        let mut client = Client::connect(house.addr).await;
        let (first, second) = (post(true), post(false));
        let mut response = if apart {
            client.send_raw(first.as_bytes()).await;
            let mut response = client.response().await;
            response.send_raw(second.as_bytes()).await;
            response
        } else {
            client.send_raw(format!("{first}{second}").as_bytes()).await;
            client.response().await
        };
        let streamed = response.stream_text().await;
        assert_eq!((streamed.text.as_str(), streamed.done), (answer_text(PROMPT, 8).as_str(), true));
        let mut next = response.into_client().response().await;
        assert_eq!(next.json().await["choices"][0]["message"]["content"], answer_text(PROMPT, 8));
    }
    let all = records(&house).await;
    assert_eq!(all.iter().map(|record| record.outcome.as_str()).collect::<Vec<_>>(), ["ok"; 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_waits_for_100_continue_gets_it() {
    let house = House::start("", &config()).await;
    let mut client = Client::connect(house.addr).await;
    let body = chat("m", false).to_string();
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    client.send_raw(head.as_bytes()).await;
    let mut told = [0; 25];
    within("100 Continue", client.stream.read_exact(&mut told)).await.expect("an interim answer");
    assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.send_raw(body.as_bytes()).await;
    let mut response = client.response().await;
    assert_eq!(response.json().await["choices"][0]["message"]["content"], answer_text(PROMPT, 8));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_instead_of_100_continue_ends_its_connection_and_says_so() {
    let house = House::start("", &config()).await;
    for (path, length, status) in [("/v1/nothing", 10, 404), (CHAT, BODY_MAX + 1, 413)] {
        let mut client = Client::connect(house.addr).await;
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
        );
        client.send_raw(head.as_bytes()).await;
        let told = rest(&mut client).await;
        assert!(told.starts_with(&format!("HTTP/1.1 {status} ")), "no interim answer before it: {told}");
        assert!(told.contains("Connection: close"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_connection_without_a_request_is_closed_in_silence() {
    let house = House::start("connection_idle = \"400ms\"\n", &config()).await;
    let mut first = Client::connect(house.addr).await.request("GET", "/healthz", &[], b"").await;
    first.bytes().await;
    let began = Instant::now();
    assert_eq!(rest(&mut first.into_client()).await, "");
    assert!((350..10_000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_or_a_body_that_stalls_is_told_408() {
    let house = House::start("head_timeout = \"500ms\"\nbody_timeout = \"500ms\"\n", &config()).await;
    let mut head = Client::connect(house.addr).await;
    let began = Instant::now();
    head.send_raw(b"POST /v1/chat/completions HTTP/1.1\r\nhost: local").await;
    let told = rest(&mut head).await;
    assert!(told.starts_with("HTTP/1.1 408 ") && told.contains("x-tautline-cause: client_stalled"), "{told}");
    assert!(began.elapsed().as_millis() >= 450);
    let mut client = Client::connect(house.addr).await;
    client
        .send_raw(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{\"model\":")
        .await;
    let mut response = client.response().await;
    let answer = response.json().await;
    assert_eq!((response.status, response.header("connection")), (408, Some("close")), "{answer}");
    check_error("body", &response, &answer, "client_stalled");
    let record = house.record_of(&response).await;
    assert_eq!(
        (record.outcome.as_str(), record.cause.as_str(), record.phase.as_str(), record.side.as_str()),
        ("refused", "client_stalled", "admit", "client")
    );
    assert_eq!(records(&house).await.len(), 1, "a head that never was is no exchange");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_body_that_makes_progress_is_waited_for() {
    let house = House::start("body_timeout = \"600ms\"\nbody_rate_min = 50\n", &config()).await;
    let mut client = Client::connect(house.addr).await;
    let body = chat("m", false).to_string().into_bytes();
    client
        .send_raw(
            format!("POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes(),
        )
        .await;
    let mut every = tokio::time::interval(std::time::Duration::from_millis(300));
    for piece in body.chunks(body.len().div_ceil(4)) {
        every.tick().await;
        client.send_raw(piece).await;
    }
    assert_eq!(client.response().await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_in_the_middle_of_its_upload_is_recorded_gone() {
    let house = House::start("", &config()).await;
    for reset in [false, true] {
        let mut client = Client::connect(house.addr).await;
        client
            .send_raw(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{\"model\":",
            )
            .await;
        if reset {
            client.stream.set_zero_linger().expect("a socket");
        }
        drop(client);
        let record = house.newest_of(1 + usize::from(reset)).await;
        assert_eq!(
            (record.outcome.as_str(), record.cause.as_str(), record.phase.as_str(), record.status),
            ("client_gone", "client_gone", "admit", 499)
        );
        assert!(record.attempts.is_empty());
    }
    assert_eq!(records(&house).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_origin_or_host_is_refused_on_both_ports_unless_allowed() {
    let closed = House::start("", &config()).await;
    let open = House::start("allowed_hosts = [\"gw.example\"]\n", &config()).await;
    let foreign: [(&str, &str); 4] = [
        ("host", "evil.example"),
        ("host", "127.0.0.1.evil.example:4000"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
    ];
    for header in foreign {
        for (house, path) in [(&closed, "/v1/models"), (&closed, CHAT), (&open, CHAT)] {
            let method = if path == CHAT { "POST" } else { "GET" };
            let body = if path == CHAT { chat("m", false).to_string() } else { String::new() };
            let mut answer = Client::connect(house.addr).await.request(method, path, &[header], body.as_bytes()).await;
            let json = answer.json().await;
            assert_eq!(answer.status, 403, "{header:?} {path}: {json}");
            check_error("foreign", &answer, &json, "not_allowed");
        }
        for path in ["/metrics", "/-/targets", "/-/records", "/-/records/last"] {
            let admin = Client::connect(closed.running.admin_addr).await;
            assert_eq!(admin.request("GET", path, &[header], b"").await.status, 403, "{header:?} {path}");
        }
    }
    for header in [("host", "gw.example:4000"), ("origin", "https://gw.example"), ("origin", "http://localhost:3000")] {
        let answer = open.post_with(&[header], &chat("m", false)).await;
        assert_eq!(answer.status, 200, "{header:?}");
        let admin = Client::connect(open.running.admin_addr).await;
        assert_eq!(admin.request("GET", "/metrics", &[header], b"").await.status, 200, "{header:?}");
    }
    assert!(closed.sim.seen().is_empty(), "no key was spent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clients_own_request_id_comes_back_as_it_was() {
    let house = House::start("", &config()).await;
    for id in ["run-7", "0af7651916cd43dd8448eb211c80319c", "3f2504e0-4f89-41d3-9a0c-0305e82c3301"] {
        let good = house.post_with(&[("x-client-request-id", id)], &chat("m", false)).await;
        assert_eq!(good.header("x-client-request-id"), Some(id));
        let refused = house.post_with(&[("x-client-request-id", id)], &chat("nobody", false)).await;
        assert_eq!((refused.status, refused.header("x-client-request-id")), (404, Some(id)));
        assert!(house.record_of(&good).await.client_request_id.is_some());
    }
    let long = "x".repeat(5000);
    let answer = house.post_with(&[("x-client-request-id", &long)], &chat("m", false)).await;
    assert!(answer.header("x-client-request-id").is_none_or(|echo| echo.len() <= 300));
    let record = house.record_of(&answer).await;
    assert!(record.client_request_id.is_none_or(|id| id.len() <= 300));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_connection_outlives_many_refusals() {
    let house = House::start("", &config()).await;
    let mut client = Client::connect(house.addr).await;
    for body in ["{", "{}", &chat("nobody", true).to_string(), &chat("m", false).to_string()] {
        let mut response = client.request("POST", CHAT, &[], body.as_bytes()).await;
        response.bytes().await;
        client = response.into_client();
    }
    // Refused before the body was read: what is left of it is not the next request.
    let mut response = client.request("POST", "/v1/nothing", &[], chat("m", false).to_string().as_bytes()).await;
    assert_eq!(response.status, 404);
    response.bytes().await;
    let mut last = response.into_client().request("POST", CHAT, &[], chat("m", true).to_string().as_bytes()).await;
    assert_eq!(last.stream_text().await.text, answer_text(PROMPT, 8));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_names_end_up_in_no_header_and_no_line_of_their_own() {
    let house = House::start("", &format!("{}[routes.\"*\"]\npassthrough = true\n", config())).await;
    for name in ["sim\r\nx-evil: 1", "sim\u{0}", "sim\u{2028}é", "sim?tokens=2&x=\"\n"] {
        let mut answer = house.post(&json!({"model": name, "messages": [{"role": "user", "content": "x"}]})).await;
        assert_eq!(answer.header("x-evil"), None);
        let text = answer.text().await;
        assert!(serde_json::from_str::<Value>(&text).is_ok(), "{text}");
        house.record_of(&answer).await;
    }
    let metrics = house.metrics().await;
    assert!(!metrics.contains("x-evil"), "names of clients are no labels");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_impossible_patience_is_no_panic() {
    let house = House::start("", &config()).await;
    for ms in [u64::MAX, u64::MAX / 1000, i64::MAX as u64] {
        let headers = [("x-tautline-timeout-ms", ms.to_string())];
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut answer = house.post_with(&headers, &chat("m", true)).await;
        assert_eq!(answer.status, 200, "{ms}");
        assert!(answer.stream_text().await.done);
    }
}
