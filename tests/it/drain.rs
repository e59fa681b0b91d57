//! The end of a process: what runs goes on, what is new is sent away, and
//! nothing is left without an ending.

use crate::support::{
    Answer2, Client, Folder, House, Http2, Response, Streamed, Up, chat, closed_port, sim_target, within,
};
use futures_util::future::join_all;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tautline::gateway::lifecycle::Stage;
use tautline::gateway::record::{self, RecordQuery};
use tautline::gateway::state::MIGRATIONS;
use tautline::sim::{Sim, SimSettings, answer_text};
use tautline::store::Store;
use tautline::telemetry::encode;
use tokio::io::AsyncReadExt as _;

const PROMPT: &str = "why do ropes go slack?";
const CHAT: &str = "/v1/chat/completions";

fn config() -> String {
    format!(
        "{}{}[routes.slow]\ntargets = [\"slow\"]\n[routes.endless]\ntargets = [\"endless\"]\n",
        sim_target("slow", "tokens=60&gap=20ms", ""),
        sim_target("endless", "tokens=4&fault=stall_comments&after=2", "")
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_lets_streams_end_closes_idle_connections_and_takes_nothing_new() {
    let house = House::start("", &config()).await;
    let addr = house.addr;
    let mut idle = Client::connect(addr).await.request("GET", "/healthz", &[], b"").await;
    idle.bytes().await;
    let mut idle = idle.into_client();
    // Its head is read, its body is on its way when the drain begins.
    let mut late = Client::connect(addr).await;
    let body = chat("slow", false).to_string();
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", body.len());
    late.send_raw(head.as_bytes()).await;
    let mut running = house.post(&chat("slow", true)).await;
    assert!(running.frame().await.is_some());
    let lifecycle = house.running.gateway.lifecycle.clone();
    within("the late one's head", async {
        while lifecycle.running() < 3 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let registry = house.running.registry.clone();
    let stopping = tokio::spawn(house.running.stop(Duration::from_secs(20), std::future::pending()));
    lifecycle.reached(Stage::Draining).await;
    let mut rest = Vec::new();
    within("the idle connection's end", idle.stream.read_to_end(&mut rest)).await.expect("an orderly end");
    assert!(rest.is_empty());
    within("a closed door", async {
        while tokio::net::TcpStream::connect(addr).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // What was let in before the drain is served to its end.
    late.send_raw(body.as_bytes()).await;
    let mut late = late.response().await;
    assert_eq!((late.status, late.header("connection")), (200, Some("close")));
    assert_eq!(late.json().await["choices"][0]["message"]["content"], answer_text(PROMPT, 60));
    let streamed = running.stream_text().await;
    assert_eq!((streamed.text.as_str(), streamed.done), (answer_text(PROMPT, 60).as_str(), true));
    within("the end of the drain", stopping).await.expect("no panic");
    let metrics = String::from_utf8(encode(&registry)).expect("text");
    let good = metrics.lines().filter(|line| line.contains("requests_total{") && line.contains("outcome=\"ok\""));
    assert_eq!(good.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum::<u64>(), 2, "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_grace_is_over_what_runs_ends_as_shutdown_and_is_counted() {
    let house = House::start("", &config()).await;
    let mut running = house.post(&chat("endless", true)).await;
    assert!(running.frame().await.is_some());
    let mut waiting = Client::connect(house.addr).await;
    let body = chat("endless", false).to_string();
    waiting
        .send_raw(
            format!("POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}", body.len())
                .as_bytes(),
        )
        .await;
    within("the second request", house.sim.wait_seen(2, |seen| seen.frames_sent > 1)).await;
    let registry = house.running.registry.clone();
    let began = Instant::now();
    house.running.stop(Duration::from_millis(400), std::future::pending()).await;
    let took = began.elapsed();
    assert!((350..10_000).contains(&took.as_millis()), "{took:?}");
    let streamed = running.stream_text().await;
    assert!(!streamed.done);
    assert_eq!(streamed.error.expect("an error frame")["code"], "shutdown");
    let mut waiting = waiting.response().await;
    assert_eq!((waiting.status, waiting.header("x-tautline-cause")), (503, Some("shutdown")));
    assert_eq!(waiting.header("connection"), Some("close"));
    waiting.bytes().await;
    let metrics = String::from_utf8(encode(&registry)).expect("text");
    for outcome in ["cut", "failed"] {
        let line = metrics
            .lines()
            .find(|line| line.contains("requests_total{") && line.contains(&format!("outcome=\"{outcome}\"")));
        assert!(line.is_some_and(|line| line.ends_with(" 1")), "{outcome}: {line:?}");
    }
}

const STREAMS: usize = 200;

/// Reads a stream of either protocol to its end, which has to be an orderly one.
async fn read(stream: Either) -> Streamed {
    match stream {
        Either::One(mut stream) => stream.stream_text().await,
        Either::Two(mut stream) => stream.stream_text().await,
    }
}

enum Either {
    One(Response),
    Two(Answer2),
}

/// A quarter of them each: short and long, over HTTP/1.1 and HTTP/2.
async fn under_way(up: &Up, connections: &[Http2]) -> Vec<(bool, Either)> {
    let streams = (0..STREAMS).map(|place| async move {
        let short = place.is_multiple_of(2);
        let body = chat(if short { "short" } else { "long" }, true);
        let stream = if place % 4 < 2 {
            let client = Client::connect(up.addr).await;
            let mut stream = client.request("POST", CHAT, &[], body.to_string().as_bytes()).await;
            assert!(stream.frame().await.is_some());
            Either::One(stream)
        } else {
            let mut stream = connections[place % connections.len()].post(&body).await;
            stream.frames(1).await;
            Either::Two(stream)
        };
        (short, stream)
    });
    join_all(streams).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_under_two_hundred_streams_cuts_none_that_can_end_and_loses_none() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let sim = Sim::start(listener, SimSettings::default());
    let (folder, h2c) = (Folder::new(), closed_port());
    let config = format!(
        "{}{}[routes.short]\ntargets = [\"short\"]\n[routes.long]\ntargets = [\"long\"]\n",
        sim_target("short", "tokens=60&gap=50ms", ""),
        sim_target("long", "tokens=2000&gap=100ms", "")
    );
    let gateway = format!("drain_grace = \"6s\"\nlisten_h2c = \"127.0.0.1:{h2c}\"");
    let mut up = folder.up(&sim, &gateway, &config).await;
    let h2c = SocketAddr::from(([127, 0, 0, 1], h2c));
    let connections = [Http2::connect(h2c).await, Http2::connect(h2c).await, Http2::connect(h2c).await];
    let streams = under_way(&up, &connections).await;
    let open = sim.seen().iter().filter(|seen| seen.ended.is_none()).count();
    assert!(open > STREAMS / 2, "short ones are under way, too: {open}");
    up.signal("TERM").await;
    let began = Instant::now();
    up.drains().await;
    for connection in &connections {
        connection.sent_away().await;
    }
    let mut whole = 0;
    for (short, told) in
        join_all(streams.into_iter().map(|(short, stream)| async move { (short, read(stream).await) })).await
    {
        if short {
            assert_eq!((told.text.as_str(), told.done), (answer_text(PROMPT, 60).as_str(), true));
            whole += 1;
        } else {
            assert!(!told.done && answer_text(PROMPT, 2000).starts_with(&told.text), "{told:?}");
            assert_eq!(told.error.expect("an error frame")["code"], "shutdown");
        }
    }
    assert_eq!(whole, STREAMS / 2);
    for connection in connections {
        connection.close().await;
    }
    assert!(up.ended().await.success());
    let took = began.elapsed();
    assert!((5500..12_000).contains(&took.as_millis()), "{took:?}");
    let store =
        Store::open(&folder.path().join("tautline-state/gateway.sqlite"), MIGRATIONS).await.expect("it is whole");
    let query = RecordQuery { limit: 1000, ..RecordQuery::default() };
    let records = record::list(&store, &query).await.expect("readable").records;
    assert_eq!(records.len(), STREAMS, "one for each");
    for record in &records {
        let expected = if record.route == "short" { ("ok", "none") } else { ("cut", "shutdown") };
        assert_eq!((record.outcome.as_str(), record.cause.as_str()), expected, "{record:?}");
    }
    assert_eq!(records.iter().filter(|record| record.cause == "shutdown").count(), STREAMS / 2);
}

/// The grace is an upper bound: an empty house is left at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_ends_with_its_last_stream_whatever_connections_are_kept() {
    let house = House::start("listen_h2c = \"127.0.0.1:0\"", &config()).await;
    let kept = Http2::connect(house.running.addrs_h2c[0]).await;
    let mut slow = kept.post(&chat("slow", true)).await;
    slow.frames(1).await;
    let silent = Http2::connect(house.running.addrs_h2c[0]).await;
    // A client's handshake is over before anyone has accepted; what was not accepted is not drained.
    within("both connections", async {
        while !house.metrics().await.contains("tautline_gateway_connections 2\n") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let registry = house.running.registry.clone();
    let began = Instant::now();
    let stopping = tokio::spawn(house.running.stop(Duration::from_secs(25), std::future::pending()));
    let streamed = slow.stream_text().await;
    assert_eq!((streamed.text.as_str(), streamed.done), (answer_text(PROMPT, 60).as_str(), true));
    drop(slow);
    kept.close().await;
    silent.close().await;
    within("the end of the drain", stopping).await.expect("no panic");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let metrics = String::from_utf8(encode(&registry)).expect("text");
    let line = "tautline_gateway_connections_closed_total{reason=\"draining\"} 2";
    assert!(metrics.lines().any(|one| one == line), "{metrics}");
}
