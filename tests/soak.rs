//! Hours in minutes: three equal rounds of mixed load with every fault that the
//! simulator knows, after which nothing may be left: no exchange, no gauge, no
//! descriptor, no allocation, and in the long form no memory a minute later. One
//! gateway lives through all of them, asked over HTTP/1.1 and HTTP/2; after each
//! round its provider goes, which closes its pools.

#[path = "it/support/client.rs"]
#[expect(dead_code, reason = "the integration tests use more of it")]
mod client;

use client::Client;
use fastrand::Rng;
use std::collections::HashSet;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tautline::boot::config;
use tautline::boot::roles::{self, Running};
use tautline::gateway::record::{self, RecordQuery};
use tautline::sim::{Fault, Sim, SimSettings, answer_text};

/// The system's allocator, with what lives counted.
mod counting {
    #![allow(unsafe_code, reason = "an allocator cannot be written without; it only counts and passes on")]

    use std::alloc::{GlobalAlloc, Layout, System};
    use std::sync::atomic::{AtomicI64, Ordering};

    pub struct Counting;

    static LIVE: AtomicI64 = AtomicI64::new(0);
    static BYTES: AtomicI64 = AtomicI64::new(0);

    fn count(allocations: i64, bytes: usize, sign: i64) {
        LIVE.fetch_add(allocations, Ordering::Relaxed);
        BYTES.fetch_add(sign * i64::try_from(bytes).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    // SAFETY: every call goes to the system's allocator as it came.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            count(1, layout.size(), 1);
            unsafe { System.alloc(layout) }
        }

        unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
            count(1, layout.size(), 1);
            unsafe { System.alloc_zeroed(layout) }
        }

        unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
            count(-1, layout.size(), -1);
            unsafe { System.dealloc(at, layout) }
        }

        unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            count(0, layout.size(), -1);
            count(0, size, 1);
            unsafe { System.realloc(at, layout, size) }
        }
    }

    /// Allocations that live, and their bytes.
    pub fn live() -> (i64, i64) {
        (LIVE.load(Ordering::Relaxed), BYTES.load(Ordering::Relaxed))
    }
}

#[global_allocator]
static COUNTING: counting::Counting = counting::Counting;

const ROUNDS: usize = 3;
const CLIENTS: usize = 12;
const PROMPT: &str = "why do ropes go slack?";
/// What any wait here is bounded by: an exchange that takes longer is stuck.
const STUCK: Duration = Duration::from_secs(30);
/// Timers of the transport's own are kept until they would have fired: twice the door's waits.
const TIMERS: Duration = Duration::from_millis(2200);

/// What memory is given to go back to the system. Its allocator keeps what it was given for a
/// while, and in pieces: a bound on pages, where `live` is one on what is used.
const LATER: Duration = Duration::from_secs(60);
/// Resident memory a minute after the last round, in percent of that after the first.
const RESIDENT_MAX: u64 = 130;

/// Allocations of one more time series, its labels and its buckets.
const SERIES_COST: i64 = 16;

/// How long a round's load goes on.
#[derive(Clone, Copy)]
enum Length {
    /// Requests of each client.
    Requests(usize),
    Time(Duration),
}

impl Length {
    /// The long form waits, and judges resident memory.
    fn is_long(self) -> bool {
        matches!(self, Self::Time(_))
    }

    fn third(self) -> Self {
        match self {
            Self::Requests(count) => Self::Requests(count / 3),
            Self::Time(time) => Self::Time(time / 3),
        }
    }
}

/// How a client behaves.
#[derive(Clone, Copy, Debug)]
enum Manner {
    Stream,
    Whole,
    LeaveAtOnce,
    LeaveWithin,
    ReadSlowly,
    Nonsense,
    Compressed,
}

const MANNERS: [(Manner, u32); 7] = [
    (Manner::Stream, 40),
    (Manner::Whole, 20),
    (Manner::LeaveAtOnce, 5),
    (Manner::LeaveWithin, 15),
    (Manner::ReadSlowly, 8),
    (Manner::Nonsense, 6),
    (Manner::Compressed, 6),
];

fn manner(rng: &mut Rng) -> Manner {
    let mut at = rng.u32(0..MANNERS.iter().map(|(_, weight)| weight).sum());
    for (manner, weight) in MANNERS {
        if at < weight {
            return manner;
        }
        at -= weight;
    }
    Manner::Stream
}

/// A model that fails half of the time, with a fault that a script can have,
/// at once or after some words.
fn faulty(rng: &mut Rng) -> String {
    let faults: Vec<_> = Fault::ALL.iter().filter(|fault| **fault != Fault::Refuse).collect();
    let place = rng.usize(0..faults.len());
    let after = if place.is_multiple_of(2) { 0 } else { 5 };
    format!("sim?fault={}&p=0.5&seed={place}&after={after}&tokens=20&every=5ms", faults[place])
}

fn configuration(state: &std::path::Path, sim: SocketAddr) -> String {
    let mut text = format!(
        "state_dir = {:?}\n[gateway]\nlisten = \"127.0.0.1:0\"\nlisten_h2c = \"127.0.0.1:0\"\nhead_timeout = \"1s\"\nbody_timeout = \"1s\"\n\
         write_timeout = \"1s\"\nconnection_idle = \"1s\"\npool_idle = \"1s\"\nfinish_grace = \"200ms\"\nretry_base = \"5ms\"\n\
         output_bytes_max = 200000\njournal_bytes_max = 65536\nheaders_hold_max = \"300ms\"\nkeepalive_every = \"100ms\"\n\
         records_max = 10000000\n\
         [admin]\nlisten = \"127.0.0.1:0\"\n[log]\nexchanges = \"off\"\n[deadlines]\nfirst_token = \"400ms\"\nidle = \"400ms\"\n\
         progress = \"400ms\"\n[providers.sim]\ndialect = \"sim\"\nbase_url = \"http://{sim}/v1\"\nmodels = [\"sim*\"]\n\
         [targets.good]\nprovider = \"sim\"\nmodel = \"sim?tokens=40&gap=1ms&jitter=1ms\"\n\
         deadlines = {{ first_token = \"20s\", idle = \"20s\", progress = \"20s\" }}\n[routes.good]\ntargets = [\"good\"]\n",
        state.display().to_string()
    );
    // On demand, so that all faults share one label and rounds have the same series.
    text.push_str("[routes.\"*\"]\npassthrough = true\nfallback = [\"good\"]\n");
    text
}

/// What the clients did and saw.
#[derive(Default)]
struct Tally {
    sent: AtomicU64,
    whole: AtomicU64,
    refused: AtomicU64,
    cut: AtomicU64,
    left: AtomicU64,
}

/// Asks over a connection of HTTP/2, reads it or leaves within; whether a whole answer came.
async fn over_http2(addr: SocketAddr, id: &str, body: Vec<u8>, leave: bool) -> bool {
    let stream = tokio::net::TcpStream::connect(addr).await.expect("it listens");
    let (mut send, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let request = http::Request::post("http://localhost/v1/chat/completions").header("x-client-request-id", id);
    let (answer, mut sending) = send.send_request(request.body(()).expect("a request"), false).expect("it is sent");
    sending.send_data(body.into(), true).expect("it is sent");
    let mut answer = answer.await.expect("an answer").into_body();
    let mut text = Vec::new();
    while let Some(piece) = answer.data().await {
        let piece = piece.expect("not cut");
        answer.flow_control().release_capacity(piece.len()).expect("as much as came");
        text.extend_from_slice(&piece);
        if leave {
            connection.abort();
            break;
        }
    }
    drop((send, sending, answer));
    // The other side may be gone before our last words: nothing is lost by that.
    let _ = connection.await;
    text.ends_with(b"data: [DONE]\n\n")
}

async fn one([addr, addr_h2c]: [SocketAddr; 2], rng: &mut Rng, tally: &Tally, id: &str) {
    let route = if rng.u8(0..4) == 0 { "good".to_owned() } else { faulty(rng) };
    let manner = manner(rng);
    let stream = !matches!(manner, Manner::Whole);
    let model = if matches!(manner, Manner::Nonsense) { "nobody-has-this" } else { route.as_str() };
    let body = serde_json::json!({"model": model, "stream": stream, "messages": [{"role": "user", "content": PROMPT}]});
    let mut body = body.to_string().into_bytes();
    if matches!(manner, Manner::Stream | Manner::LeaveWithin) && rng.u8(0..3) == 0 {
        tally.sent.fetch_add(1, Ordering::Relaxed);
        let leave = matches!(manner, Manner::LeaveWithin);
        let seen = match over_http2(addr_h2c, id, body, leave).await {
            _ if leave => &tally.left,
            true => &tally.whole,
            // A refusal is not told from a cut here.
            false => &tally.cut,
        };
        seen.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let mut headers = format!("x-client-request-id: {id}\r\n");
    if matches!(manner, Manner::Compressed) {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&body).expect("memory");
        body = encoder.finish().expect("memory");
        headers.push_str("content-encoding: gzip\r\n");
    }
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    );
    let mut client = if matches!(manner, Manner::ReadSlowly) {
        Client::connect_with_buffer(addr, 4096).await
    } else {
        Client::connect(addr).await
    };
    client.send_raw(&[head.into_bytes(), body].concat()).await;
    tally.sent.fetch_add(1, Ordering::Relaxed);
    let seen = match manner {
        Manner::LeaveAtOnce => &tally.left,
        Manner::LeaveWithin => {
            let mut response = client.response().await;
            for _ in 0..rng.u8(0..12) {
                if response.frame().await.is_none() {
                    break;
                }
            }
            &tally.left
        }
        Manner::ReadSlowly => {
            let mut response = client.response().await;
            while response.frame().await.is_some() {
                tokio::time::sleep(Duration::from_micros(rng.u64(0..1500))).await;
            }
            &tally.whole
        }
        Manner::Whole | Manner::Nonsense => {
            let mut response = client.response().await;
            let answer = response.json().await;
            assert_eq!(answer["error"].is_null(), response.status == 200, "{answer}");
            if response.status == 200 { &tally.whole } else { &tally.refused }
        }
        Manner::Stream | Manner::Compressed => {
            let mut response = client.response().await;
            if response.status == 200 {
                let streamed = response.stream_text().await;
                assert_ne!(streamed.done, streamed.error.is_some(), "an end of one kind: {streamed:?}");
                assert!(route != "good" || streamed.text == answer_text(PROMPT, 40), "{streamed:?}");
                if streamed.done { &tally.whole } else { &tally.cut }
            } else {
                response.bytes().await;
                &tally.refused
            }
        }
    };
    seen.fetch_add(1, Ordering::Relaxed);
}

async fn load(addrs: [SocketAddr; 2], length: Length, round: usize, tally: &Arc<Tally>) {
    let began = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|place| {
            let tally = Arc::clone(tally);
            tokio::spawn(async move {
                // The same in each round.
                let mut rng = Rng::with_seed(place as u64);
                let mut done = 0;
                while match length {
                    Length::Requests(count) => done < count,
                    Length::Time(time) => began.elapsed() < time,
                } {
                    let id = format!("{round}-{place}-{done}");
                    let exchange = one(addrs, &mut rng, &tally, &id);
                    let ended = tokio::time::timeout(STUCK, exchange).await;
                    ended.unwrap_or_else(|_| panic!("{id} is stuck"));
                    done += 1;
                }
            })
        })
        .collect();
    for client in clients {
        client.await.expect("no client panicked");
    }
}

async fn until(what: &str, mut there: impl FnMut() -> bool) {
    let began = Instant::now();
    while !there() {
        assert!(began.elapsed() < STUCK, "{what} did not happen within {STUCK:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The gauges of the gateway that are not zero, but for the limits in force, which are settings.
fn raised(running: &Running) -> Vec<String> {
    let mut raised = Vec::new();
    for family in running.registry.gather() {
        let gauge = family.get_field_type() == prometheus::proto::MetricType::GAUGE
            && family.name() != "tautline_gateway_limit_seconds";
        for metric in family.get_metric().iter().filter(|_| gauge && family.name().starts_with("tautline_gateway_")) {
            if metric.get_gauge().get_value() != 0.0 {
                raised.push(format!("{} {}", family.name(), metric.get_gauge().get_value()));
            }
        }
    }
    raised
}

/// What was counted, over all labels.
fn counted(running: &Running, name: &str) -> u64 {
    let families = running.registry.gather();
    let family = families.iter().find(|family| family.name() == name);
    let sum =
        family.map_or(0.0, |family| family.get_metric().iter().map(|one| one.get_counter().get_value()).sum::<f64>());
    format!("{sum:.0}").parse().expect("whole")
}

/// Bytes of this process in memory, the clients and the simulator among them.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    text.split(' ').nth(1).expect("pages").parse::<u64>().expect("a number") * 4096
}

/// Open sockets of this process.
fn sockets() -> usize {
    let entries = std::fs::read_dir("/proc/self/fd").expect("Linux").flatten();
    entries
        .filter(|entry| std::fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:")))
        .count()
}

/// Open files beside the database's, whose pool opens connections when it likes.
fn descriptors() -> usize {
    let entries = std::fs::read_dir("/proc/self/fd").expect("Linux").flatten();
    entries
        .filter(|entry| std::fs::read_link(entry.path()).is_ok_and(|to| !to.to_string_lossy().contains(".sqlite")))
        .count()
}

/// Time series that the registry holds.
fn series(running: &Running) -> i64 {
    let count: usize = running.registry.gather().iter().map(|family| family.get_metric().len()).sum();
    i64::try_from(count).expect("few")
}

/// The clients' own ids of all records, each once.
async fn recorded(running: &Running) -> u64 {
    let mut ids = HashSet::new();
    let mut query = RecordQuery { limit: 1000, ..RecordQuery::default() };
    loop {
        let page = record::list(&running.store, &query).await.expect("readable");
        for one in &page.records {
            let id = one.client_request_id.clone().expect("each has one");
            assert!(ids.insert(id), "settled twice: {:?}", one.client_request_id);
        }
        match page.records.last() {
            Some(last) => query.before = Some(last.id.clone()),
            None => return ids.len() as u64,
        }
    }
}

/// What lives while nothing happens: the least that was seen for a while.
async fn quietest() -> (i64, i64) {
    let mut least = counting::live();
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(25)).await;
        least = least.min(counting::live());
    }
    least
}

async fn soak(length: Length) {
    let state = tempfile::tempdir().expect("a temporary folder");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let sim_addr = listener.local_addr().expect("bound");
    let mut listener = Some(listener);
    let loaded =
        config::parse("soak", &configuration(state.path(), sim_addr)).unwrap_or_else(|faults| panic!("{faults}"));
    let running = roles::start(&loaded).await.expect("the gateway starts");
    let tally = Arc::new(Tally::default());
    let sockets_before = sockets() - 1;
    let (mut lives, mut files, mut known, mut pages) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    // The one before the first warms caches up and is not judged.
    for round in 0..=ROUNDS {
        let listening = match listener.take() {
            Some(listener) => listener,
            None => tokio::net::TcpListener::bind(sim_addr).await.expect("the port was given back"),
        };
        let sim = Sim::start(listening, SimSettings { seen_max: 16, ..SimSettings::default() });
        let began = Instant::now();
        load([running.addrs[0], running.addrs_h2c[0]], if round == 0 { length.third() } else { length }, round, &tally)
            .await;
        let loaded_for = began.elapsed();
        let lifecycle = &running.gateway.lifecycle;
        until("the end of all exchanges", || lifecycle.running() == 0).await;
        sim.stop();
        drop(sim);
        until("all gauges at zero", || raised(&running).is_empty()).await;
        until("the room of all bodies", || running.gateway.bodies.held() == 0).await;
        until("the end of all sockets", || sockets() <= sockets_before).await;
        running.gateway.settling.sink.flush().await;
        tokio::time::sleep(TIMERS).await;
        lives.push(quietest().await);
        files.push(descriptors());
        known.push(series(&running));
        pages.push(resident() >> 10);
        let (allocations, bytes) = lives[round];
        println!(
            "round {round}: {} requests so far in {loaded_for:.1?}: {} whole, {} cut, {} refused, {} left; \
             {allocations} allocations of {bytes} bytes live, {} KiB resident, {} descriptors, {} series",
            tally.sent.load(Ordering::Relaxed),
            tally.whole.load(Ordering::Relaxed),
            tally.cut.load(Ordering::Relaxed),
            tally.refused.load(Ordering::Relaxed),
            tally.left.load(Ordering::Relaxed),
            pages[round],
            files[round],
            known[round],
        );
    }
    if length.is_long() {
        tokio::time::sleep(LATER).await;
        let (first, later) = (pages[1], resident() >> 10);
        println!("a minute later: {later} KiB resident");
        assert!(later * 100 <= first * RESIDENT_MAX, "resident memory: {pages:?} KiB, {later} a minute later");
    }
    let sent = tally.sent.load(Ordering::Relaxed);
    assert_eq!(counted(&running, "tautline_gateway_requests_total"), sent, "each is settled exactly once");
    assert_eq!(recorded(&running).await, sent, "and recorded");
    assert_eq!(counted(&running, "tautline_gateway_connections_closed_total"), sent, "each connection ended once");
    assert!(files[ROUNDS] <= files[1], "descriptors: {files:?}");
    let (first, third) = (lives[1].0, lives[ROUNDS].0);
    // A pair of cause and phase that was seen for the first time is no leak.
    let new = (known[ROUNDS] - known[1]) * SERIES_COST;
    assert!((third - new) * 100 <= first * 101, "live allocations: {lives:?}, series: {known:?}");
    running.stop(Duration::from_secs(1), std::future::pending()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_short_rounds_leave_nothing_behind() {
    soak(Length::Requests(40)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: ten minutes; run it alone, since the allocator counts the whole process"]
async fn ten_minutes_leave_nothing_behind() {
    soak(Length::Time(Duration::from_secs(180))).await;
}
