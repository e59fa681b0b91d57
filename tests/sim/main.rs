//! The simulator from outside, by raw bytes.

mod client;
mod completions;
mod dialects;
mod faults;
mod messages;
mod responses;

use client::{Client, End, chat, closed, header, sim, soon};
use serde_json::{Value, json};
use tautline::sim::{Ended, SimSettings, answer_text, tool_arguments};

const PROMPT: &str = "tie a knot";

#[tokio::test]
async fn a_streamed_answer_is_the_text_of_its_prompt() {
    let sim = sim(SimSettings::default()).await;
    let mut client = Client::ask(&sim, "sim", &json!({ "stream": true })).await;
    client.until(closed).await;
    assert_eq!(client.content(0), answer_text(PROMPT, 60));
    let payloads = client.payloads();
    assert_eq!(payloads.last().map(String::as_str), Some("[DONE]"));
    let finish: Value = serde_json::from_str(&payloads[payloads.len() - 2]).expect("JSON");
    assert_eq!(finish["choices"][0]["finish_reason"], "stop");
    assert_eq!(finish["choices"][0]["delta"], json!({}));
    soon(sim.wait_seen(1, |seen| seen.ended == Some(Ended::Complete) && seen.frames_sent == 63)).await;
}

#[tokio::test]
async fn usage_comes_only_where_it_was_asked_for() {
    let sim = sim(SimSettings::default()).await;
    let asked = json!({ "stream": true, "stream_options": { "include_usage": true } });
    for (model, usage) in [("sim?tokens=5", true), ("sim?tokens=5&usage=0", false)] {
        let mut client = Client::ask(&sim, model, &asked).await;
        client.until(closed).await;
        let payloads = client.payloads();
        let frame: Value = serde_json::from_str(&payloads[payloads.len() - 2]).expect("JSON");
        assert_eq!(frame["usage"]["completion_tokens"] == 5 && frame["choices"] == json!([]), usage);
    }
}

#[tokio::test]
async fn unstreamed_answers_follow_each_other_on_one_connection() {
    let sim = sim(SimSettings::default()).await;
    let mut client = Client::connect(&sim).await;
    for tokens in [3, 30] {
        client.post("authorization: Bearer k1\r\n", &chat(&format!("sim/tokens={tokens}"), &json!({}))).await;
        let (status, head, body) = client.whole().await;
        assert_eq!((status, body["object"].as_str()), (200, Some("chat.completion")));
        assert_eq!(body["choices"][0]["message"]["content"], answer_text(PROMPT, tokens));
        assert!(header(&head, "x-request-id").is_some_and(|id| id.starts_with("sim-")));
    }
    let seen = sim.seen();
    assert_eq!(seen.iter().map(|seen| seen.id).collect::<Vec<_>>(), [1, 2]);
    assert_eq!((seen[0].bearer.as_deref(), seen[0].model.as_str()), (Some("k1"), "sim/tokens=3"));
}

#[tokio::test]
async fn a_chunked_upload_is_read_like_any_other() {
    let sim = sim(SimSettings::default()).await;
    let mut client = Client::connect(&sim).await;
    let body = chat("sim?tokens=2", &json!({})).to_string();
    let (first, second) = body.split_at(20);
    client.send(b"POST /chat/completions HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n").await;
    client
        .send(format!("{:x}\r\n{first}\r\n{:X}\r\n{second}\r\n0\r\n\r\n", first.len(), second.len()).as_bytes())
        .await;
    assert_eq!(client.whole().await.0, 200);
    assert_eq!(sim.seen()[0].body_bytes, body.len());
}

#[tokio::test]
async fn the_script_shapes_the_answer() {
    let sim = sim(SimSettings::default()).await;
    let stream = json!({ "stream": true, "n": 2 });
    let model =
        "sim?tokens=7&reasoning=2&role_frames=3&batch=4&crlf=1&comments=1&done=0&finish=length&gap=1ms&jitter=1ms";
    let mut client = Client::ask(&sim, model, &stream).await;
    client.until(closed).await;
    let text = client.text();
    assert_eq!(client.content(0), answer_text(PROMPT, 7));
    assert!(!client.content(1).is_empty() && client.content(1) != client.content(0));
    assert_eq!(text.matches("\"role\":\"assistant\"").count(), 6);
    assert_eq!(text.matches("reasoning_content").count(), 4);
    assert_eq!(text.matches("\"finish_reason\":\"length\"").count(), 2);
    assert!(text.contains("\r\n\r\n: comment\r\n\r\ndata: ") && !text.contains("[DONE]"));
}

#[tokio::test]
async fn tools_and_json_are_answered_as_asked() {
    let sim = sim(SimSettings::default()).await;
    let tools = json!([{ "type": "function", "function": { "name": "look" } }]);
    let mut client = Client::ask(&sim, "sim?tools=1", &json!({ "stream": true, "tools": tools })).await;
    client.until(closed).await;
    let calls: Vec<Value> = client.deltas(0).iter().filter_map(|delta| delta["tool_calls"].get(0).cloned()).collect();
    let arguments: String = calls.iter().filter_map(|call| call["function"]["arguments"].as_str()).collect();
    assert_eq!((calls[0]["function"]["name"].as_str(), arguments), (Some("look"), tool_arguments(PROMPT, 0)));
    assert!(client.text().contains("\"finish_reason\":\"tool_calls\""));
    let mut client = Client::ask(&sim, "sim", &json!({ "response_format": { "type": "json_object" } })).await;
    let text = client.whole().await.2["choices"][0]["message"]["content"].as_str().map(str::to_owned);
    assert!(serde_json::from_str::<Value>(&text.expect("content")).is_ok_and(|value| value.is_object()));
}

#[tokio::test]
async fn what_is_not_understood_is_refused_and_named() {
    let sim = sim(SimSettings::default()).await;
    for (model, word) in [("sim?fault=reste", "reste"), ("sim?colour=1", "colour"), ("", "model")] {
        let (status, _, body) = Client::ask(&sim, model, &json!({})).await.whole().await;
        assert_eq!(status, 400);
        assert!(body["error"]["message"].as_str().is_some_and(|message| message.contains(word)), "{body}");
    }
    let mut client = Client::connect(&sim).await;
    client.send(b"GET /v1/nothing HTTP/1.1\r\n\r\n").await;
    assert_eq!(client.whole().await.0, 404);
    client.send(b"BAD\x01\r\n\r\n").await;
    assert_eq!(client.whole().await.0, 400);
    assert_eq!(client.end().await, End::Fin);
}

#[tokio::test]
async fn heads_and_bodies_are_bounded() {
    let sim = sim(SimSettings::default()).await;
    let mut client = Client::connect(&sim).await;
    client.send(format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(65 * 1024)).as_bytes()).await;
    assert_eq!(client.whole().await.0, 431);
    let mut client = Client::connect(&sim).await;
    client.send(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 67108865\r\n\r\n").await;
    assert_eq!(client.whole().await.0, 413);
}

#[tokio::test]
async fn keys_models_and_the_log_have_their_endpoints() {
    let settings =
        SimSettings { names: vec!["mine".to_owned()], api_keys: vec!["k".to_owned()], ..SimSettings::default() };
    let sim = sim(settings).await;
    let mut client = Client::connect(&sim).await;
    client.send(b"GET /v1/models HTTP/1.1\r\n\r\n").await;
    let (status, _, body) = client.whole().await;
    assert_eq!((status, body["error"]["code"].as_str()), (401, Some("invalid_api_key")));
    client.send(b"GET /models HTTP/1.1\r\nAuthorization: Bearer k\r\n\r\n").await;
    let (_, _, models) = client.whole().await;
    assert_eq!(models["data"][3]["id"], "mine");
    client.send(b"GET /sim/seen HTTP/1.1\r\n\r\n").await;
    let (_, _, log) = client.whole().await;
    assert_eq!((log[1]["path"].as_str(), log[1]["bearer"].as_str()), (Some("/models"), Some("k")));
    assert_eq!(log.as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn the_header_scripts_models_that_carry_no_script() {
    let sim = sim(SimSettings::default()).await;
    let mut client = Client::connect(&sim).await;
    client.post("x-tautline-sim: fault=status_429&retry_after=2\r\n", &chat("gpt-4o", &json!({}))).await;
    let (status, head, _) = client.whole().await;
    assert_eq!((status, header(&head, "retry-after")), (429, Some("2")));
}

#[tokio::test]
async fn stopping_ends_what_is_held_and_refuses_what_is_new() {
    let sim = sim(SimSettings::default()).await;
    let mut held = Client::ask(&sim, "sim?fault=hang_headers", &json!({})).await;
    soon(sim.wait_seen(1, |_| true)).await;
    sim.stop_listening().await;
    assert!(tokio::net::TcpStream::connect(sim.addr()).await.is_err());
    sim.stop();
    assert_eq!(held.end().await, End::Fin);
    soon(sim.wait_seen(1, |seen| seen.ended == Some(Ended::Stopped))).await;
}

#[tokio::test]
async fn dropping_the_last_handle_stops_everything() {
    let sim = sim(SimSettings::default()).await;
    let mut held = Client::ask(&sim, "sim?fault=stall", &json!({ "stream": true })).await;
    held.until(|text| text.contains("assistant")).await;
    drop(sim);
    assert_eq!(held.end().await, End::Fin);
}
