//! Bad input: each refused or closed with its reason, in a record where a head
//! was parsed and in `connections_closed_total` where none was; what runs
//! beside it goes on.

use crate::support::{Client, Folder, House, chat, sim_target, within};
use std::io::Write as _;
use std::time::{Duration, Instant};
use tautline::domain::record::Record;
use tautline::gateway::record::{self, RecordQuery};
use tautline::sim::{Sim, SimSettings, answer_text};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const PROMPT: &str = "why do ropes go slack?";
const CHAT: &str = "/v1/chat/completions";
/// RSS that one connection without a word may cost, bytes; an unoptimised build
/// took 18 KiB.
const SILENT_RSS_MAX: u64 = 28 << 10;

fn config() -> String {
    format!(
        "{}{}{}[routes.m]\ntargets = [\"a\"]\n[routes.slow]\ntargets = [\"slow\"]\n[routes.flood]\ntargets = [\"flood\"]\n",
        sim_target("a", "tokens=8", ""),
        sim_target("slow", "tokens=400&gap=20ms", ""),
        sim_target("flood", "fault=endless&after=1", "")
    )
}

async fn count(house: &House, reason: &str) -> u64 {
    read_count(&house.metrics().await, &format!("tautline_gateway_connections_closed_total{{reason=\"{reason}\"}} "))
}

fn read_count(metrics: &str, line: &str) -> u64 {
    metrics.lines().find_map(|text| text.strip_prefix(line)).map_or(0, |count| count.parse().expect("a number"))
}

/// Waits until so many connections ended for this reason.
async fn closed(house: &House, reason: &str, at_least: u64) {
    within(reason, async {
        while count(house, reason).await < at_least {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

async fn records(house: &House) -> Vec<Record> {
    within("the end of all exchanges", house.running.gateway.lifecycle.empty()).await;
    house.running.gateway.settling.sink.flush().await;
    let query = RecordQuery { limit: 1000, ..RecordQuery::default() };
    record::list(&house.running.store, &query).await.expect("readable").records
}

/// All that comes until the connection ends.
async fn rest(client: &mut Client) -> String {
    let mut bytes = Vec::new();
    let _ = within("the end of the connection", client.stream.read_to_end(&mut bytes)).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

fn post(headers: &str, body: &str) -> Vec<u8> {
    format!("POST {CHAT} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n{body}").into_bytes()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn brotli(bytes: &[u8]) -> Vec<u8> {
    brotli_with(bytes, 22)
}

/// With a window of `1 << bits` bytes.
fn brotli_with(bytes: &[u8], bits: u32) -> Vec<u8> {
    let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 5, bits);
    encoder.write_all(bytes).expect("memory");
    encoder.into_inner()
}

/// What is sent, what comes back, and where it is told.
struct Bad {
    name: &'static str,
    bytes: Vec<u8>,
    status: &'static str,
    reason: &'static str,
    /// The cause in the record, where a head was parsed.
    cause: Option<&'static str>,
}

fn heads() -> Vec<Bad> {
    let bad = |name, bytes: &[u8]| Bad { name, bytes: bytes.to_vec(), status: "400", reason: "malformed", cause: None };
    let body = chat("m", false).to_string();
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let both = format!("content-length: {}\r\ntransfer-encoding: chunked\r\n", body.len());
    let reversed = format!("transfer-encoding: chunked\r\ncontent-length: {}\r\n", body.len());
    let flood = "x-many: 1\r\n".repeat(420);
    let wide = format!("x-pad: {}\r\n", "p".repeat(80 << 10));
    let endless = format!("x-pad: {}", "p".repeat(2 << 20));
    let parsed = |name, bytes, status, reason, cause| Bad { name, bytes, status, reason, cause: Some(cause) };
    vec![
        parsed("length and chunks", post(&both, &chunked), "400", "malformed", "invalid_request"),
        parsed("chunks and length", post(&reversed, &chunked), "400", "malformed", "invalid_request"),
        Bad { status: "413", reason: "head_too_large", ..bad("a head too large", &post(&wide, "")) },
        bad("two lengths", &post("content-length: 5\r\ncontent-length: 6\r\n", "hello!")),
        bad("a coding that is not chunked", &post("transfer-encoding: gzip\r\n", "")),
        bad("a NUL in a value", b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: a\0b\r\n\r\n"),
        bad("a NUL in a name", b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx\0y: a\r\n\r\n"),
        bad("a bare CR in a value", b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: a\rb: c\r\n\r\n"),
        bad("a bare CR for a line end", b"GET /healthz HTTP/1.1\rhost: localhost\r\r"),
        bad("a space before the colon", b"GET /healthz HTTP/1.1\r\nhost : localhost\r\n\r\n"),
        bad("a folded line", b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: a\r\n b\r\n\r\n"),
        bad("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
        Bad {
            status: "413",
            reason: "head_too_large",
            ..bad("a flood of headers", format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\n{flood}\r\n").as_bytes())
        },
        Bad {
            status: "413",
            reason: "head_too_large",
            ..bad("a head without an end", format!("GET /healthz HTTP/1.1\r\n{endless}").as_bytes())
        },
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_is_none_is_told_once_counted_and_recorded_where_it_was_parsed() {
    let house = House::start("", &config()).await;
    let mut beside = house.post(&chat("slow", true)).await;
    assert!(beside.frame().await.is_some());
    let mut recorded = 0;
    for Bad { name, bytes, status, reason, cause } in heads() {
        let before = count(&house, reason).await;
        let mut client = Client::connect(house.addr).await;
        // The answer may come, and the connection end, before all was taken.
        let _ = client.stream.write_all(&bytes).await;
        let all = rest(&mut client).await;
        assert!(all.starts_with(&format!("HTTP/1.1 {status} ")), "{name}: {all}");
        assert!(all.matches("HTTP/1.1 4").count() <= 1, "{name}: {all}");
        closed(&house, reason, before + 1).await;
        assert_eq!(count(&house, reason).await, before + 1, "{name}");
        recorded += usize::from(cause.is_some());
        if let Some(cause) = cause {
            let all = house.newest_of(recorded).await;
            assert_eq!(
                (all.outcome.as_str(), all.cause.as_str(), all.phase.as_str()),
                ("refused", cause, "admit"),
                "{name}"
            );
        }
    }
    let streamed = beside.stream_text().await;
    assert_eq!((streamed.text.as_str(), streamed.done), (answer_text(PROMPT, 400).as_str(), true));
    assert_eq!(records(&house).await.len(), recorded + 1, "what never was a request has no record");
}

/// The bound is the head's alone, to the byte, however it is cut and whatever follows it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_may_have_head_bytes_max_and_not_a_byte_more() {
    const MAX: usize = 6000;
    let house = House::start(&format!("head_bytes_max = {MAX}\n"), &config()).await;
    let mut body = chat("m", false).to_string();
    body.push_str(&" ".repeat(50_000));
    let bare = post(&format!("content-length: {}\r\nx-pad: \r\n", body.len()), "").len();
    for (over, status) in [(0, "200"), (1, "413"), (3000, "413"), (0, "200")] {
        for piece in [100_000, 700] {
            let pad = "p".repeat(MAX + over - bare);
            let bytes = post(&format!("content-length: {}\r\nx-pad: {pad}\r\n", body.len()), &body);
            assert_eq!(bytes.len() - body.len(), MAX + over);
            let mut client = Client::connect(house.addr).await;
            for piece in bytes.chunks(piece) {
                // What is refused is read on for a while, so that the answer arrives.
                assert!(client.stream.write_all(piece).await.is_ok(), "{over} in pieces of {}", piece.len());
            }
            let answer = client.response().await;
            assert_eq!(answer.status.to_string(), status, "{over} in pieces of {piece}");
        }
    }
    closed(&house, "head_too_large", 4).await;
    let bound = "tautline_gateway_bound_hit_total{bound=\"head_bytes_max\"} 4";
    assert!(house.metrics().await.contains(bound));
    assert!(records(&house).await.iter().all(|one| one.status == 200 || one.cause == "too_large"));
}

/// A head or a body that trickles puts nothing off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_trickles_ends_at_the_total_deadline() {
    let house = House::start("head_timeout = \"700ms\"\nbody_timeout = \"500ms\"\n", &config()).await;
    let mut every = tokio::time::interval(Duration::from_millis(100));
    let began = Instant::now();
    let mut client = Client::connect(house.addr).await;
    client.send_raw(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n").await;
    while client.stream.write_all(b"x-more: 1\r\n").await.is_ok() && began.elapsed() < Duration::from_secs(10) {
        every.tick().await;
    }
    assert!(began.elapsed() < Duration::from_secs(5), "a header every 100 ms held it for {:?}", began.elapsed());
    closed(&house, "head_stalled", 1).await;
    let began = Instant::now();
    let mut client = Client::connect(house.addr).await;
    client.send_raw(&post("content-length: 100000\r\n", "{")).await;
    // Each byte is well within body_timeout of the one before.
    while client.stream.write_all(b" ").await.is_ok() && began.elapsed() < Duration::from_secs(10) {
        every.tick().await;
    }
    assert!(began.elapsed() < Duration::from_secs(8), "a byte every 100 ms held it for {:?}", began.elapsed());
    closed(&house, "body_stalled", 1).await;
    let all = records(&house).await;
    assert_eq!(all.len(), 1, "a head that never was is no exchange");
    assert_eq!((all[0].cause.as_str(), all[0].phase.as_str(), all[0].status), ("client_stalled", "admit", 408));
    let told = serde_json::to_string(&all[0]).expect("serializes");
    assert!(told.contains("body_pace"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_requests_and_garbage_behind_good_ones_end_alone() {
    let house = House::start("head_timeout = \"400ms\"\nbody_timeout = \"400ms\"\n", &config()).await;
    let mut beside = house.post(&chat("slow", true)).await;
    assert!(beside.frame().await.is_some());
    for (bytes, reason) in [
        (b"GET /healthz HTTP/1.1\r\nho".to_vec(), "head_stalled"),
        (Vec::new(), "head_stalled"),
        (post("content-length: 100\r\n", "{\"model\":"), "body_stalled"),
    ] {
        let before = count(&house, reason).await;
        let mut client = Client::connect(house.addr).await;
        client.send_raw(&bytes).await;
        assert!(rest(&mut client).await.starts_with("HTTP/1.1 408 "));
        closed(&house, reason, before + 1).await;
    }
    // A client that leaves in its head, one that leaves before, one that sends rubbish behind a good request.
    let mut client = Client::connect(house.addr).await;
    client.send_raw(b"GET /healthz HT").await;
    drop(client);
    closed(&house, "client_gone", 1).await;
    drop(Client::connect(house.addr).await);
    closed(&house, "done", 1).await;
    let body = chat("m", false).to_string();
    let mut pipelined = post(&format!("content-length: {}\r\n", body.len()), &body);
    pipelined.extend_from_slice(b"\x00\xff garbage\r\n\r\n");
    let mut client = Client::connect(house.addr).await;
    client.send_raw(&pipelined).await;
    let all = rest(&mut client).await;
    assert!(all.starts_with("HTTP/1.1 200 ") && all.contains(&answer_text(PROMPT, 8)), "{all}");
    assert_eq!((all.matches("HTTP/1.1 200 ").count(), all.matches("HTTP/1.1 400 ").count()), (1, 1), "{all}");
    closed(&house, "malformed", 1).await;
    let streamed = beside.stream_text().await;
    assert_eq!((streamed.text.as_str(), streamed.done), (answer_text(PROMPT, 400).as_str(), true));
    let causes: Vec<String> = records(&house).await.iter().rev().map(|one| one.cause.clone()).collect();
    assert_eq!(causes.len(), 3, "{causes:?}");
    assert_eq!(causes.iter().filter(|cause| *cause == "client_stalled").count(), 1);
    assert_eq!(causes.iter().filter(|cause| *cause == "none").count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_never_reads_is_ended_as_stalled_and_others_go_on() {
    let house = House::start("write_timeout = \"500ms\"\njournal_bytes_max = 65536\n", &config()).await;
    let mut beside = house.post(&chat("slow", true)).await;
    assert!(beside.frame().await.is_some());
    let mut client = Client::connect_with_buffer(house.addr, 4096).await;
    let body = chat("flood", true).to_string();
    client.send_raw(&post(&format!("content-length: {}\r\n", body.len()), &body)).await;
    closed(&house, "client_stalled", 1).await;
    let streamed = beside.stream_text().await;
    assert_eq!((streamed.text.as_str(), streamed.done), (answer_text(PROMPT, 400).as_str(), true));
    let all = records(&house).await;
    let stalled = all.iter().find(|one| one.route == "flood").expect("recorded");
    assert_eq!((stalled.outcome.as_str(), stalled.cause.as_str()), ("client_gone", "client_stalled"));
    drop(client);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compressed_bodies_are_read_and_bombs_end_at_the_bound() {
    let house = House::start("body_bytes_max = 1048576\nbodies_bytes_max = 8388608\n", &config()).await;
    let plain = chat("m", false).to_string().into_bytes();
    let zlib = {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&plain).expect("memory");
        encoder.finish().expect("memory")
    };
    let zstd = zstd::stream::encode_all(&plain[..], 1).expect("memory");
    for (coding, body) in [
        ("gzip", gzip(&plain)),
        ("GZIP", gzip(&plain)),
        ("deflate", zlib),
        ("zstd", zstd),
        ("br", brotli(&plain)),
        ("identity", plain.clone()),
    ] {
        let client = Client::connect(house.addr).await;
        let mut answer = client.request("POST", CHAT, &[("content-encoding", coding)], &body).await;
        let text = answer.text().await;
        assert!(answer.status == 200 && text.contains(&answer_text(PROMPT, 8)), "{coding}: {text}");
    }
    assert!(!serde_json::to_string(&house.sim.seen()[0].body).expect("JSON").contains("content-encoding"));
    let served = house.sim.seen().len();
    // 256 MiB in 256 KiB; a second member behind a good one; zstd of the same kind.
    let bomb = gzip(&vec![b' '; 256 << 20]);
    assert!(bomb.len() < 300 << 10, "{}", bomb.len());
    let behind = [gzip(&plain), gzip(&vec![b' '; 64 << 20])].concat();
    let zeros = zstd::stream::encode_all(&vec![b' '; 64 << 20][..], 3).expect("memory");
    let blanks = brotli(&vec![b' '; 64 << 20]);
    assert!(blanks.len() < 1000, "{}", blanks.len());
    for (coding, body) in [("gzip", bomb), ("gzip", behind), ("zstd", zeros), ("br", blanks)] {
        let began = Instant::now();
        let client = Client::connect(house.addr).await;
        let mut answer = client.request("POST", CHAT, &[("content-encoding", coding)], &body).await;
        let text = answer.text().await;
        assert_eq!((answer.status, answer.header("x-tautline-cause")), (413, Some("too_large")), "{text}");
        assert!(text.contains("body_bytes_max"), "{text}");
        // Whole, 256 MiB take this build seconds.
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
    let cut = gzip(&plain)[..40].to_vec();
    for (coding, body) in [
        ("br", plain.clone()),
        ("br", brotli(&plain)[..40].to_vec()),
        ("br", vec![0x11; 40]),
        ("compress", plain.clone()),
        ("gzip, gzip", gzip(&gzip(&plain))),
        ("gzip", plain.clone()),
        ("gzip", cut),
        ("zstd", plain),
    ] {
        let client = Client::connect(house.addr).await;
        let answer = client.request("POST", CHAT, &[("content-encoding", coding)], &body).await.json().await;
        assert_eq!(answer["error"]["param"], "content-encoding", "{coding}: {answer}");
        assert_eq!(answer["error"]["code"], "invalid_request", "{coding}: {answer}");
    }
    assert_eq!(house.sim.seen().len(), served, "no bomb went further");
    assert_eq!(records(&house).await.len(), 6 + 4 + 8);
    assert_eq!(house.running.gateway.bodies.held(), 0, "the room is given back");
}

/// One body fits, two do not: the second is told to come again, by its cause.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_share_their_room_and_one_too_many_is_told_to_wait() {
    let house = House::start("body_bytes_max = 1048576\nbodies_bytes_max = 1048576\n", &config()).await;
    let mut holder = Client::connect(house.addr).await;
    holder.send_raw(&post("content-length: 900000\r\n", &" ".repeat(800_000))).await;
    within("the first body", async {
        while house.running.gateway.bodies.held() < 800_000 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let mut padded = chat("m", false).to_string();
    padded.push_str(&" ".repeat(400_000));
    let client = Client::connect(house.addr).await;
    let mut answer = client.request("POST", CHAT, &[], padded.as_bytes()).await;
    let text = answer.text().await;
    assert_eq!((answer.status, answer.header("x-tautline-cause")), (503, Some("queue_full")), "{text}");
    assert_eq!(answer.header("x-should-retry"), None, "waiting helps");
    assert!(text.contains("bodies_bytes_max"), "{text}");
    let record = house.record_of(&answer).await;
    assert_eq!((record.outcome.as_str(), record.phase.as_str(), record.side.as_str()), ("refused", "admit", "gateway"));
    assert_eq!(house.post(&chat("m", false)).await.status, 200, "a small one fits");
    drop(holder);
    within("the room", async {
        while house.running.gateway.bodies.held() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let client = Client::connect(house.addr).await;
    assert_eq!(client.request("POST", CHAT, &[], padded.as_bytes()).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_100_continue_is_expected_here_and_only_with_a_body() {
    let house = House::start("", &config()).await;
    let body = chat("m", false).to_string();
    for (version, headers, first) in [
        ("1.1", format!("expect: 100-Continue\r\ncontent-length: {}\r\n", body.len()), "HTTP/1.1 100 "),
        // RFC 9110, section 10.1.1: of HTTP/1.0 it is ignored.
        ("1.0", format!("expect: 100-continue\r\ncontent-length: {}\r\n", body.len()), "HTTP/1.1 200 "),
        ("1.1", "expect: 200-ok\r\ncontent-length: 5\r\n".to_owned(), "HTTP/1.1 417 "),
        ("1.1", "expect: 100-continue, else\r\ncontent-length: 5\r\n".to_owned(), "HTTP/1.1 417 "),
        ("1.1", "expect: 100-continue\r\ncontent-length: 0\r\nconnection: close\r\n".to_owned(), "HTTP/1.1 400 "),
    ] {
        let mut client = Client::connect(house.addr).await;
        let head = format!("POST {CHAT} HTTP/{version}\r\nhost: localhost\r\n{headers}\r\n");
        client.send_raw(head.as_bytes()).await;
        if first.contains("200") {
            client.send_raw(body.as_bytes()).await;
        }
        let mut came = [0; 13];
        within("the first line", client.stream.read_exact(&mut came)).await.expect("an answer");
        assert_eq!(String::from_utf8_lossy(&came), first, "{version} {headers}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_connection_too_many_is_closed_at_once_and_counted() {
    let house = House::start("connections_max = 3\n", &config()).await;
    let mut beside = house.post(&chat("slow", true)).await;
    assert!(beside.frame().await.is_some());
    let silent = [Client::connect(house.addr).await, Client::connect(house.addr).await];
    within("three connections", async {
        while read_count(&house.metrics().await, "tautline_gateway_connections ") < 3 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    for _ in 0..4 {
        assert_eq!(rest(&mut Client::connect(house.addr).await).await, "");
    }
    assert_eq!(count(&house, "connections_max").await, 4);
    assert!(house.metrics().await.contains("bound_hit_total{bound=\"connections_max\"} 4"));
    drop(silent);
    closed(&house, "done", 2).await;
    assert!(beside.stream_text().await.done);
    drop(beside);
    closed(&house, "done", 3).await;
    assert_eq!(house.post(&chat("m", false)).await.status, 200, "there is room again");
}

async fn resident(pid: u32) -> u64 {
    let text = tokio::fs::read_to_string(format!("/proc/{pid}/statm")).await.expect("it runs");
    text.split(' ').nth(1).expect("pages").parse::<u64>().expect("a number") * 4096
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_connections_that_say_nothing_cost_little_and_disturb_nobody() {
    let (soft, hard) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).expect("readable");
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, hard, hard).expect("soft to hard");
    let wanted = 5000.min(usize::try_from(hard).expect("a number").saturating_sub(1000));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let sim = Sim::start(listener, SimSettings::default());
    let folder = Folder::new();
    let up = folder.up(&sim, "head_timeout = \"60s\"\n", &config()).await;
    let ask = |model: &'static str| async move {
        let client = Client::connect(up.addr).await;
        client.request("POST", CHAT, &[], chat(model, true).to_string().as_bytes()).await
    };
    let metrics = || async { Client::connect(up.admin).await.request("GET", "/metrics", &[], b"").await.text().await };
    assert!(ask("m").await.stream_text().await.done);
    let before = resident(up.id()).await;
    let mut beside = ask("slow").await;
    assert!(beside.frame().await.is_some());
    let mut silent = Vec::with_capacity(wanted);
    for _ in 0..wanted {
        silent.push(TcpStream::connect(up.addr).await.expect("the gateway takes it"));
    }
    within("all of them", async {
        while read_count(&metrics().await, "tautline_gateway_connections ") <= wanted as u64 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let each = resident(up.id()).await.saturating_sub(before) / wanted as u64;
    println!("{wanted} silent connections (soft {soft}, hard {hard}): {each} bytes of RSS each");
    assert!(each < SILENT_RSS_MAX, "{each} bytes each");
    let streamed = beside.stream_text().await;
    assert_eq!((streamed.text.as_str(), streamed.done), (answer_text(PROMPT, 400).as_str(), true));
    assert!(ask("m").await.stream_text().await.done, "a new one is served");
    drop(silent);
    within("their end", async {
        while read_count(&metrics().await, "tautline_gateway_connections_closed_total{reason=\"done\"} ")
            < wanted as u64
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decoders_window_takes_room_among_the_bodies() {
    let house = House::start("body_bytes_max = 1048576\nbodies_bytes_max = 8388608\n", &config()).await;
    let plain = chat("m", false).to_string().into_bytes();
    for (bits, status) in [(18, 200), (22, 200), (24, 503)] {
        let client = Client::connect(house.addr).await;
        let body = brotli_with(&plain, bits);
        let mut answer = client.request("POST", CHAT, &[("content-encoding", "br")], &body).await;
        let text = answer.text().await;
        assert_eq!(answer.status, status, "{bits}: {text}");
        if status == 503 {
            assert_eq!(answer.header("x-tautline-cause"), Some("queue_full"), "{text}");
        }
    }
    within("the room's return", async {
        while house.running.gateway.bodies.held() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_kept_connection_a_head_has_its_own_clock_from_its_first_byte() {
    let house = House::start("connection_idle = \"500ms\"\nhead_timeout = \"500ms\"", &config()).await;
    let asked = format!("GET /healthz HTTP/1.1\r\nhost: {}\r\n\r\n", house.addr);
    // Nothing more, and half a head more.
    for (more, reason, told) in [("", "idle", ""), ("GET /healthz HT", "head_stalled", "HTTP/1.1 408")] {
        let mut client = Client::connect(house.addr).await;
        let began = Instant::now();
        client.send_raw(asked.as_bytes()).await;
        let mut first = Vec::new();
        while !first.ends_with(b"ok\n") {
            let read = within("the first answer", client.stream.read_buf(&mut first)).await.expect("readable");
            assert!(read > 0, "{first:?}");
        }
        client.send_raw(more.as_bytes()).await;
        let said = rest(&mut client).await;
        assert!(if told.is_empty() { said.is_empty() } else { said.starts_with(told) }, "{reason}: {said}");
        assert!(began.elapsed() >= Duration::from_millis(500), "{reason}");
        closed(&house, reason, 1).await;
    }
}
