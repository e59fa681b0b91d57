//! A healthy target: what a client gets is what the target said.

use crate::support::{House, chat, sim_target};
use tautline::sim::answer_text;

const PROMPT: &str = "why do ropes go slack?";

fn config() -> String {
    format!("{}[routes.m]\ntargets = [\"a\"]\n", sim_target("a", "tokens=40", ""))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_arrives_whole_with_one_done_and_no_usage_that_nobody_asked_for() {
    let house = House::start("", &config()).await;
    let mut response = house.post(&chat("m", true)).await;
    assert_eq!(response.status, 200);
    assert_eq!(response.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!(response.header("x-tautline-target"), Some("a"));
    assert_eq!(response.header("x-tautline-attempts"), Some("1"));
    let streamed = response.stream_text().await;
    assert_eq!(streamed.text, answer_text(PROMPT, 40));
    assert!(streamed.done && streamed.usage.is_none() && streamed.error.is_none());
    let record = house.record_of(&response).await;
    assert_eq!((record.outcome.as_str(), record.status, record.cause.as_str()), ("ok", 200, "none"));
    assert_eq!(record.usage.expect("the target reported it").output, 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payloads_go_through_byte_for_byte() {
    let house = House::start("", &config()).await;
    let body = {
        let mut body = chat("m", true);
        body["stream_options"] = serde_json::json!({"include_usage": true});
        body
    };
    let through = house.post(&body).await.payloads().await;
    let direct = {
        let mut body = body.clone();
        body["model"] = serde_json::json!("sim?tokens=40");
        let client = crate::support::Client::connect(house.sim.addr()).await;
        client.request("POST", "/v1/chat/completions", &[], body.to_string().as_bytes()).await.payloads().await
    };
    // The simulator numbers its answers; everything else must be the same.
    let id_of =
        |payload: &str| serde_json::from_str::<serde_json::Value>(payload).ok().map(|chunk| chunk["id"].clone());
    let plain = |list: &[String]| -> Vec<String> {
        list.iter()
            .map(|payload| match id_of(payload) {
                Some(serde_json::Value::String(id)) => payload.replace(&id, "ID"),
                _ => payload.clone(),
            })
            .collect()
    };
    assert_eq!(plain(&through), plain(&direct));
    assert!(through.iter().any(|payload| payload.contains("\"usage\":{")), "usage was asked for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unstreamed_request_is_streamed_upstream_and_assembled() {
    let house = House::start("", &config()).await;
    let mut response = house.post(&chat("m", false)).await;
    assert_eq!((response.status, response.header("content-type")), (200, Some("application/json")));
    let answer = response.json().await;
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["choices"][0]["message"]["content"], answer_text(PROMPT, 40));
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert_eq!(answer["usage"]["completion_tokens"], 40);
    assert_eq!(house.sim.seen()[0].body["stream"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_connection_is_kept_for_the_next_request() {
    let house = House::start("", &config()).await;
    let mut first = house.post(&chat("m", false)).await;
    first.bytes().await;
    let client = first.into_client();
    let body = chat("m", true).to_string();
    let mut second = client.request("POST", "/v1/chat/completions", &[], body.as_bytes()).await;
    assert_eq!(second.status, 200);
    assert!(second.stream_text().await.done);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_table_of_records_stays_near_its_bound_and_is_cut_at_the_next_start() {
    let house = House::start("records_max = 20", &config()).await;
    for _ in 0..60 {
        house.post(&chat("m", false)).await.bytes().await;
    }
    let mut last = house.post(&chat("m", false)).await;
    last.bytes().await;
    let newest = house.record_of(&last).await;
    let query = tautline::gateway::record::RecordQuery { limit: 1000, ..Default::default() };
    let page = tautline::gateway::record::list(&house.running.store, &query).await.expect("readable");
    assert_eq!(page.records[0].id, newest.id, "the newest stay");
    assert!((20..=22).contains(&page.records.len()), "{}", page.records.len());
}
