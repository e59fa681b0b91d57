//! The end of a process: what runs goes on, what is new is sent away, and
//! nothing is left without an ending.

use crate::support::{Client, House, chat, sim_target, within};
use std::time::{Duration, Instant};
use tautline::gateway::lifecycle::Stage;
use tautline::sim::answer_text;
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
