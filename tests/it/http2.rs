//! HTTP/2 at the door: what misbehaves ends with its reason and in bounded
//! memory, what ends well is told so, and whatever runs beside goes on.

use crate::support::{Authority, Client, Folder, House, Http2, PREFACE, chat, closed_port, frame, sim_target, within};
use std::net::SocketAddr;
use std::time::Duration;
use tautline::sim::{Sim, SimSettings, answer_text};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

const PROMPT: &str = "why do ropes go slack?";
/// What all attacks together may add to the process's memory.
const RSS_MAX: u64 = 24 << 20;
const HEADERS: u8 = 1;
const END_HEADERS: u8 = 4;
const CONTINUATION: u8 = 9;
const PING: u8 = 6;
/// POST http /, indexed.
const REQUEST: &[u8] = b"\x83\x86\x84";

fn config() -> String {
    format!(
        "{}{}{}{}[routes.m]\ntargets = [\"a\"]\n[routes.slow]\ntargets = [\"slow\"]\n[routes.stall]\ntargets = [\"stall\"]\n[routes.flood]\ntargets = [\"flood\"]\n",
        sim_target("a", "tokens=8", ""),
        sim_target("slow", "tokens=300&gap=20ms", ""),
        sim_target("stall", "fault=stall&after=3", ""),
        sim_target("flood", "fault=endless&after=1", "")
    )
}

async fn metrics(admin: SocketAddr) -> String {
    Client::connect(admin).await.request("GET", "/metrics", &[], b"").await.text().await
}

async fn count(admin: SocketAddr, reason: &str) -> u64 {
    let line = format!("tautline_gateway_connections_closed_total{{reason=\"{reason}\"}} ");
    let metrics = metrics(admin).await;
    metrics.lines().find_map(|text| text.strip_prefix(&*line)).map_or(0, |count| count.parse().expect("a number"))
}

/// Waits until so many connections ended for this reason.
async fn closed(admin: SocketAddr, reason: &str, count_is: u64) {
    within(reason, async {
        while count(admin, reason).await < count_is {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(count(admin, reason).await, count_is, "{reason}");
}

/// Sends the preface and `piece` until the other side has had enough; all that it
/// said. Whoever is cut off may not read all of it.
async fn flood<T: AsyncRead + AsyncWrite + Unpin>(stream: T, first: &[u8], piece: &[u8]) -> Vec<u8> {
    let (mut read, mut write) = tokio::io::split(stream);
    let sending = async {
        let _ = write.write_all(&[PREFACE, first].concat()).await;
        // Far above any bound, and not for ever where there is none.
        for _ in 0..(64 << 20) / piece.len() {
            if write.write_all(piece).await.is_err() {
                return;
            }
        }
        panic!("64 MiB were taken");
    };
    let mut said = Vec::new();
    let reading = async {
        let _ = read.read_to_end(&mut said).await;
    };
    within("the end of the connection", async {
        tokio::select! {
            // Done reading is the end: the sender may wait for room that never comes.
            () = reading => {}
            () = async { sending.await; std::future::pending().await } => {}
        }
    })
    .await;
    said
}

/// The reason of the last GOAWAY among these frames, if one came.
fn went_away(mut bytes: &[u8]) -> Option<u32> {
    let mut reason = None;
    while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = bytes {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let payload = rest.get(..length)?;
        if *kind == 7 {
            reason = Some(u32::from_be_bytes(payload[4..8].try_into().expect("four")));
        }
        bytes = &rest[length..];
    }
    reason
}

async fn resident(pid: u32) -> u64 {
    let text = tokio::fs::read_to_string(format!("/proc/{pid}/statm")).await.expect("it runs");
    text.split(' ').nth(1).expect("pages").parse::<u64>().expect("a number") * 4096
}

/// A literal header that enters no table, as often as fits in a frame.
fn padding(bytes: usize) -> Vec<u8> {
    b"\x00\x01a\x01b".repeat(bytes / 5)
}

fn resets() -> Vec<u8> {
    let mut bytes = Vec::new();
    // HEADERS of a POST without its end, then RST_STREAM at once (CVE-2023-44487).
    for id in (1..40_001u32).step_by(2) {
        bytes.extend(frame(HEADERS, END_HEADERS, id, REQUEST));
        bytes.extend(frame(3, 0, id, &8u32.to_be_bytes()));
    }
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_end_their_connection_with_a_reason_in_bounded_memory_and_disturb_no_other() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let sim = Sim::start(listener, SimSettings::default());
    let (folder, authority, h2c) = (Folder::new(), Authority::new(), closed_port());
    let (certificate, key) = (authority.path("server.pem"), authority.path("server.key"));
    let gateway = format!(
        "listen_h2c = \"127.0.0.1:{h2c}\"\ntls = {{ certificate = \"{}\", key = \"{}\" }}",
        certificate.display(),
        key.display()
    );
    let up = folder.up(&sim, &gateway, &config()).await;
    let h2c = SocketAddr::from(([127, 0, 0, 1], h2c));
    let beside = Http2::connect(h2c).await;
    let mut slow = beside.post(&chat("slow", true)).await;
    slow.frames(1).await;
    let before = resident(up.id()).await;
    let open = frame(HEADERS, 0, 1, &[REQUEST, &padding(1000)].concat());
    let wide = frame(HEADERS, 0, 1, &[REQUEST, &padding(16_000)].concat());
    let mut counts = std::collections::BTreeMap::new();
    for (name, first, piece, reason) in [
        ("pings", vec![], frame(PING, 0, 0, &[0; 8]), "flood"),
        ("settings", vec![], frame(4, 0, 0, b""), "flood"),
        ("priorities", vec![], frame(2, 0, 1, &[0, 0, 0, 3, 9]), "flood"),
        ("empty data", frame(HEADERS, END_HEADERS, 1, REQUEST), frame(0, 0, 1, b""), "flood"),
        ("continuations with nothing", open.clone(), frame(CONTINUATION, 0, 1, b""), "flood"),
        ("continuations", open, frame(CONTINUATION, 0, 1, &padding(1000)), "flood"),
        ("a head without an end", wide, frame(CONTINUATION, 0, 1, &padding(16_000)), "head_too_large"),
        ("resets", vec![], resets(), "flood"),
        ("a stream of no number", vec![], frame(0, 0, 0, b"x"), "malformed"),
        ("a frame above its bound", vec![], frame(0, 0, 1, &vec![0; 20_000]), "malformed"),
    ] {
        for tls in [false, true] {
            let expected = counts.entry(reason).and_modify(|count| *count += 1).or_insert(1u64);
            let said = if tls {
                flood(authority.connect(up.addr, "h2").await, &first, &piece).await
            } else {
                flood(TcpStream::connect(h2c).await.expect("it listens"), &first, &piece).await
            };
            closed(up.admin, reason, *expected).await;
            // What was unread may have reset the connection before the client read it.
            assert_ne!(went_away(&said), Some(0), "{name}, TLS: {tls}");
        }
    }
    let grown = resident(up.id()).await.saturating_sub(before);
    println!("{} attacks: {} KiB of RSS more", counts.values().sum::<u64>(), grown >> 10);
    assert!(grown < RSS_MAX, "{grown} bytes");
    let streamed = slow.stream_text().await;
    assert_eq!((streamed.text.as_str(), streamed.done), (answer_text(PROMPT, 300).as_str(), true));
    drop(slow);
    assert_eq!(beside.post(&chat("m", false)).await.status, 200, "its connection serves on");
    beside.close().await;
    closed(up.admin, "done", 1).await;
}

/// One request too wide is refused alone, with a record; one that is wider than twice the bound by
/// HTTP/2 itself (RFC 9113, section 10.5.1). Its neighbours go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_list_over_head_bytes_max_is_refused_and_its_neighbours_go_on() {
    let house = House::start("listen_h2c = \"127.0.0.1:0\"\nhead_bytes_max = 20000", &config()).await;
    let connection = Http2::connect(house.running.addrs_h2c[0]).await;
    let mut slow = connection.post(&chat("slow", true)).await;
    slow.frames(1).await;
    for (bytes, status) in [(10_000, 200), (30_000, 413), (10_000, 200), (50_000, 431), (10_000, 200)] {
        let wide = "p".repeat(bytes);
        let answer = connection.send(&[("x-pad", &wide)], &chat("m", false)).await.expect("it is sent");
        let answer = within("an answer", answer).await.expect("an answer");
        assert_eq!(answer.status().as_u16(), status, "{bytes}");
    }
    let streamed = slow.stream_text().await;
    assert_eq!((streamed.text.as_str(), streamed.done), (answer_text(PROMPT, 300).as_str(), true));
    drop(slow);
    connection.close().await;
    closed(house.running.admin_addr, "done", 1).await;
    let metrics = house.metrics().await;
    assert!(metrics.contains("tautline_gateway_bound_hit_total{bound=\"head_bytes_max\"} 1\n"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_end_of_an_http_2_connection_is_told_as_what_it_is() {
    let gateway = "listen_h2c = \"127.0.0.1:0\"\nconnection_idle = \"600ms\"\nhead_timeout = \"500ms\"";
    let house = House::start(gateway, &config()).await;
    let (h2c, admin) = (house.running.addrs_h2c[0], house.running.admin_addr);
    // Nothing at all, half a preface, a whole one with rubbish for settings.
    let silent = TcpStream::connect(h2c).await.expect("it listens");
    closed(admin, "head_stalled", 1).await;
    drop(silent);
    let mut half = TcpStream::connect(h2c).await.expect("it listens");
    half.write_all(&PREFACE[..10]).await.expect("taken");
    closed(admin, "head_stalled", 2).await;
    drop(half);
    drop(TcpStream::connect(h2c).await.expect("it listens"));
    closed(admin, "done", 1).await;
    let mut odd = TcpStream::connect(h2c).await.expect("it listens");
    odd.write_all(&[&PREFACE[..24], b"garbage garbage garbage garbage"].concat()).await.expect("taken");
    closed(admin, "malformed", 1).await;
    drop(odd);
    // Left in an answer: the client is gone. Left behind one: all was done.
    let left = Http2::connect(h2c).await;
    let mut answer = left.post(&chat("stall", true)).await;
    answer.frames(1).await;
    left.vanish().await;
    drop(answer);
    closed(admin, "client_gone", 1).await;
    let whole = Http2::connect(h2c).await;
    let mut answer = whole.post(&chat("m", true)).await;
    assert_eq!(answer.headers.get("x-tautline-target").map(http::HeaderValue::as_bytes), Some(&b"a"[..]));
    assert!(answer.stream_text().await.done);
    drop(answer);
    whole.close().await;
    closed(admin, "done", 2).await;
    // A kept one that asks nothing is sent away with a GOAWAY of no error.
    let kept = Http2::connect(h2c).await;
    assert!(kept.post(&chat("m", true)).await.stream_text().await.done);
    kept.ended().await;
    closed(admin, "idle", 1).await;
}

/// One that takes nothing more of an answer is ended for that, and its neighbours are not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_not_read_ends_alone_and_its_connection_as_stalled() {
    let gateway = "listen_h2c = \"127.0.0.1:0\"\nconnection_idle = \"600ms\"\nwrite_timeout = \"500ms\"\njournal_bytes_max = 65536";
    let house = House::start(gateway, &config()).await;
    let (h2c, admin) = (house.running.addrs_h2c[0], house.running.admin_addr);
    let connection = Http2::connect(h2c).await;
    let unread = connection.post(&chat("flood", true)).await;
    let record = house.newest_of(1).await;
    assert_eq!((record.outcome.as_str(), record.cause.as_str()), ("client_gone", "client_stalled"));
    drop(unread);
    connection.ended().await;
    closed(admin, "client_stalled", 1).await;
    // With a good answer behind it, it is idle like any other.
    let connection = Http2::connect(h2c).await;
    let unread = connection.post(&chat("flood", true)).await;
    house.newest_of(2).await;
    drop(unread);
    assert_eq!(connection.post(&chat("m", false)).await.status, 200);
    connection.ended().await;
    closed(admin, "idle", 1).await;
}
