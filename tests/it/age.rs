//! Connections grow old: they end with an answer, and never within one.

use crate::support::{Answer2, Client, House, Http2, chat, sim_target, within};
use futures_util::future::join_all;
use std::time::{Duration, Instant};
use tautline::sim::answer_text;
use tokio::io::AsyncReadExt as _;

const PROMPT: &str = "why do ropes go slack?";
const AGE: &str = "connection_age_max = \"600ms\"\nlisten_h2c = \"127.0.0.1:0\"";

fn config() -> String {
    format!(
        "{}{}[routes.m]\ntargets = [\"a\"]\n[routes.slow]\ntargets = [\"slow\"]\n",
        sim_target("a", "tokens=8", ""),
        sim_target("slow", "tokens=60&gap=20ms", "")
    )
}

/// Waits until so many connections ended for their age.
async fn aged(house: &House, count: u64) {
    let line = format!("tautline_gateway_connections_closed_total{{reason=\"aged\"}} {count}\n");
    within("the end of the old", async {
        while !house.metrics().await.contains(&line) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_connection_of_http_1_1_ends_with_its_next_answer() {
    let house = House::start(AGE, &config()).await;
    let (began, mut client) = (Instant::now(), Client::connect(house.addr).await);
    let body = chat("m", false).to_string();
    let (mut client, kept_for) = loop {
        let asked = began.elapsed();
        let mut answer = client.request("POST", "/v1/chat/completions", &[], body.as_bytes()).await;
        assert_eq!(answer.status, 200);
        let last = answer.header("connection") == Some("close");
        answer.bytes().await;
        client = answer.into_client();
        if last {
            break (client, began.elapsed());
        }
        assert!(asked < Duration::from_secs(5), "kept for {asked:?}");
    };
    // A tenth less is the least.
    assert!(kept_for >= Duration::from_millis(540), "{kept_for:?}");
    assert_eq!(within("its end", client.stream.read_to_end(&mut Vec::new())).await.expect("an orderly end"), 0);
    aged(&house, 1).await;
    // What began before is not cut, and only what comes behind it ends the connection.
    let mut answer = house.post(&chat("slow", true)).await;
    assert_ne!(answer.header("connection"), Some("close"));
    let streamed = answer.stream_text().await;
    assert_eq!((streamed.text.as_str(), streamed.done), (answer_text(PROMPT, 60).as_str(), true));
    let mut last = answer.into_client().request("GET", "/healthz", &[], b"").await;
    assert_eq!((last.status, last.header("connection")), (200, Some("close")));
    last.bytes().await;
    aged(&house, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_connection_of_http_2_takes_no_more_and_its_streams_end_in_peace() {
    let house = House::start(AGE, &config()).await;
    let (began, connection) = (Instant::now(), Http2::connect(house.running.addrs_h2c[0]).await);
    let mut streams = Vec::new();
    for _ in 0..5 {
        streams.push(connection.post(&chat("slow", true)).await);
    }
    connection.sent_away().await;
    let kept_for = began.elapsed();
    assert!((540..5000).contains(&kept_for.as_millis()), "{kept_for:?}");
    // Side by side: what one leaves unread takes the connection's window from the others.
    for streamed in join_all(streams.iter_mut().map(Answer2::stream_text)).await {
        assert_eq!((streamed.text.as_str(), streamed.done), (answer_text(PROMPT, 60).as_str(), true));
    }
    connection.ended().await;
    aged(&house, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_off_no_connection_grows_old() {
    let house = House::start("connection_age_max = \"off\"", &config()).await;
    assert_eq!(house.running.gateway.settings().bounds.connection_age_max, None);
    let defaults = House::start("", &config()).await;
    assert_eq!(defaults.running.gateway.settings().bounds.connection_age_max, Some(Duration::from_secs(3600)));
    assert_ne!(house.post(&chat("m", false)).await.header("connection"), Some("close"));
}
