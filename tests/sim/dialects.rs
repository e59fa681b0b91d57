//! Every fault in the dialects beside chat, whose own proofs are in `faults.rs`.

use crate::client::{Client, End, chat, closed, sim, soon, status};
use crate::{messages, responses};
use serde_json::json;
use tautline::sim::{Dialect, Ended, Fault, Seen, SimSettings, answer_text};

/// What a peer sees of a fault that strikes after 3 of 8 deltas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// A whole response with this status.
    Status(u16),
    /// The connection ends like this, without a last chunk.
    Broken(End),
    /// An orderly last chunk, without what ends a stream of the dialect.
    Cut,
    /// An orderly last chunk behind the dialect's own end.
    Finished,
    /// The connection stays; its close is noticed.
    Held,
    /// Nobody is connected at all.
    Refused,
}

fn look(fault: Fault, dialect: Dialect) -> Look {
    match fault {
        Fault::Refuse => Look::Refused,
        // Where a fault does not apply there is a plain answer.
        fault if !dialect.applies(fault, true) => Look::Finished,
        // A spent balance is a 400 with Anthropic, told by its wording.
        Fault::Quota if dialect == Dialect::Messages => Look::Status(400),
        Fault::Status429 | Fault::Quota => Look::Status(429),
        Fault::Status401 => Look::Status(401),
        Fault::Status402 => Look::Status(402),
        Fault::Status403 => Look::Status(403),
        Fault::Status404 => Look::Status(404),
        Fault::Status408 => Look::Status(408),
        Fault::Status500 => Look::Status(500),
        Fault::Status502 | Fault::Html502 => Look::Status(502),
        Fault::Status503 | Fault::EarlyAnswer => Look::Status(503),
        Fault::Status504 => Look::Status(504),
        Fault::Status529 => Look::Status(529),
        Fault::Redirect => Look::Status(307),
        Fault::Html | Fault::ErrorPayload => Look::Status(200),
        Fault::ContextLength | Fault::Unsupported | Fault::Policy | Fault::BadRequest | Fault::StreamUnsupported => {
            Look::Status(400)
        }
        Fault::Reset | Fault::ResetHeaders => Look::Broken(End::Rst),
        Fault::CloseHeaders
        | Fault::HalfHead
        | Fault::CutChunked
        | Fault::WrongLength
        | Fault::ToolCut
        | Fault::BadChunk => Look::Broken(End::Fin),
        Fault::EarlyEnd | Fault::MissingDone | Fault::ErrorEvent | Fault::ErrorEventOverloaded | Fault::HugeFrame => {
            Look::Cut
        }
        // The last one strikes where its parameter is sent, and here it is not.
        Fault::Empty | Fault::Garbled | Fault::HalfUtf8 | Fault::FloodHold | Fault::StreamOptionsUnsupported => {
            Look::Finished
        }
        Fault::HangHeaders
        | Fault::NoDoneHold
        | Fault::HangAfterHeaders
        | Fault::CommentsForever
        | Fault::Trickle
        | Fault::Stall
        | Fault::StallComments
        | Fault::StallTrickle
        | Fault::Endless => Look::Held,
    }
}

fn struck(fault: Fault, ended: Ended) -> impl Fn(&Seen) -> bool {
    move |seen| seen.fault == Some(fault) && seen.ended == Some(ended)
}

async fn strike(fault: Fault, dialect: Dialect) {
    let (path, headers, end) = match dialect {
        Dialect::Messages => (messages::PATH, messages::HEADERS, "\"type\":\"message_stop\""),
        Dialect::Responses => (responses::PATH, "", "\"type\":\"response.completed\""),
        Dialect::Completions => ("/v1/completions", "", "[DONE]"),
        Dialect::Chat => unreachable!("chat's proofs stand in faults.rs"),
    };
    let model = format!("sim?fault={fault}&tokens=8&after=3&every=1ms");
    let stream = json!({ "stream": true });
    let body = match dialect {
        Dialect::Messages => messages::body(&model, &stream),
        Dialect::Responses => responses::body(&model, &stream),
        Dialect::Completions | Dialect::Chat => json!({ "model": model, "prompt": "tie a knot", "stream": true }),
    };
    let look = look(fault, dialect);
    if look == Look::Refused {
        return;
    }
    let sim = sim(SimSettings::default()).await;
    let mut client = Client::connect(&sim).await;
    client.post_to(path, headers, &body).await;
    let applies = dialect.applies(fault, true) && fault != Fault::StreamOptionsUnsupported;
    let case = format!("{fault} in {dialect}");
    match look {
        Look::Status(expected) => {
            client.until(|text| text.contains("\r\n\r\n")).await;
            assert_eq!(status(&client.text()), expected, "{case}");
            soon(sim.wait_seen(1, struck(fault, Ended::FaultDone))).await;
        }
        Look::Broken(how) => {
            assert_eq!(client.end().await, how, "{case}");
            assert!(!client.text().contains(end) && !closed(&client.text()), "{case}: {}", client.text());
        }
        Look::Cut | Look::Finished => {
            while !client.got.ends_with(b"0\r\n\r\n") {
                let count = soon(tokio::io::AsyncReadExt::read_buf(&mut client.stream, &mut client.got)).await;
                assert!(count.is_ok_and(|count| count > 0), "{case}");
            }
            assert_eq!(client.text().contains(end), look == Look::Finished, "{case}: {}", client.text());
            let ended = if applies { Ended::FaultDone } else { Ended::Complete };
            soon(sim.wait_seen(1, |seen| seen.ended == Some(ended))).await;
            assert_eq!(sim.seen()[0].fault, applies.then_some(fault), "{case}");
        }
        Look::Held => {
            soon(sim.wait_seen(1, |seen| seen.fault == Some(fault))).await;
            drop(client);
            soon(sim.wait_seen(1, struck(fault, Ended::PeerClosed))).await;
        }
        Look::Refused => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_has_its_meaning_in_every_dialect() {
    let mut strikes = tokio::task::JoinSet::new();
    for fault in Fault::ALL.iter().copied() {
        for dialect in [Dialect::Messages, Dialect::Responses, Dialect::Completions] {
            strikes.spawn(soon(strike(fault, dialect)));
        }
    }
    while let Some(joined) = strikes.join_next().await {
        joined.expect("the fault was seen");
    }
}

#[tokio::test]
async fn a_broken_stream_tells_its_error_in_the_vendors_form() {
    let sim = sim(SimSettings::default()).await;
    let ask = |path: &'static str, headers: &'static str, body: serde_json::Value| {
        let sim = sim.clone();
        async move {
            let mut client = Client::connect(&sim).await;
            client.post_to(path, headers, &body).await;
            client.until(closed).await;
            client.events().pop().expect("an event")
        }
    };
    let stream = json!({ "stream": true });
    for (fault, kind, code) in [
        ("error_event", "api_error", "server_error"),
        ("error_event_overloaded", "overloaded_error", "server_is_overloaded"),
    ] {
        let model = format!("sim?fault={fault}&after=2");
        let (name, event) = ask(messages::PATH, messages::HEADERS, messages::body(&model, &stream)).await;
        assert_eq!((name.as_str(), event["error"]["type"].as_str()), ("error", Some(kind)));
        let (name, event) = ask(responses::PATH, "", responses::body(&model, &stream)).await;
        let response = &event["response"];
        assert_eq!((name.as_str(), response["status"].as_str()), ("response.failed", Some("failed")));
        assert_eq!(response["error"]["code"], code);
        let (name, event) = ask(responses::PATH, "", responses::body(&format!("{model}&flat=1"), &stream)).await;
        assert_eq!((name.as_str(), event["code"].as_str()), ("error", Some(code)));
        assert!(event["sequence_number"].as_u64().is_some_and(|number| number > 2));
    }
}

#[tokio::test]
async fn an_unstreamed_body_breaks_in_its_middle_and_tells_errors_inside() {
    let sim = sim(SimSettings::default()).await;
    for (path, headers, body) in [
        (messages::PATH, messages::HEADERS, messages::body as fn(&str, &serde_json::Value) -> serde_json::Value),
        (responses::PATH, "", responses::body),
    ] {
        for fault in [Fault::Garbled, Fault::HalfUtf8] {
            let mut client = Client::connect(&sim).await;
            client.post_to(path, headers, &body(&format!("sim?fault={fault}&after=3"), &json!({}))).await;
            let (status, _, body) = client.whole().await;
            assert_eq!((status, body), (200, serde_json::Value::Null), "{fault} is no JSON");
        }
        for fault in [Fault::EarlyEnd, Fault::CutChunked, Fault::Reset] {
            let mut client = Client::connect(&sim).await;
            client.post_to(path, headers, &body(&format!("sim?fault={fault}&after=3"), &json!({}))).await;
            let how = if fault == Fault::Reset { End::Rst } else { End::Fin };
            assert_eq!(client.end().await, how, "{fault}");
        }
        let mut client = Client::connect(&sim).await;
        client.post_to(path, headers, &body("sim?fault=error_event", &json!({}))).await;
        let (status, _, told) = client.whole().await;
        assert_eq!((status, told["error"].is_object()), (200, true), "{told}");
    }
}

#[tokio::test]
async fn an_answer_goes_on_well_behind_a_frame_that_was_spoilt() {
    let sim = sim(SimSettings::default()).await;
    for fault in [Fault::Garbled, Fault::HalfUtf8] {
        for after in [0, 3] {
            let model = format!("sim?fault={fault}&tokens=6&after={after}");
            let mut client = Client::connect(&sim).await;
            client
                .post_to(messages::PATH, messages::HEADERS, &messages::body(&model, &json!({ "stream": true })))
                .await;
            client.until(closed).await;
            let events = client.events();
            let text: String = events.iter().filter_map(|(_, event)| event["delta"]["text"].as_str()).collect();
            let expected = answer_text(messages::PROMPT, 6);
            // A reader that mends characters sees the cut one.
            assert_eq!(text.replace("cut \u{fffd}", ""), expected, "{fault} {after}");
            let starts = events.iter().filter(|(name, _)| name == "content_block_start").count();
            assert_eq!(starts, 1, "{fault} {after}");
        }
    }
}

#[tokio::test]
async fn a_search_is_told_in_every_dialect_beside_the_same_text() {
    let sim = sim(SimSettings::default()).await;
    let prompt = messages::PROMPT;
    let expected = answer_text(prompt, 60);
    let ask = |path: &'static str, headers: &'static str, body: serde_json::Value| {
        let sim = sim.clone();
        async move {
            let mut client = Client::connect(&sim).await;
            client.post_to(path, headers, &body).await;
            client.whole().await.2
        }
    };
    let tool = json!({ "tools": [{ "type": "web_search_20250305", "name": "web_search" }] });
    let message = ask(messages::PATH, messages::HEADERS, messages::body("sim?search=1", &tool)).await;
    let content = &message["content"];
    assert_eq!(content[0]["type"], "server_tool_use");
    assert_eq!(content[1]["tool_use_id"], content[0]["id"]);
    assert_eq!(
        (&content[2]["text"], &content[2]["citations"][0]["url"]),
        (&json!(expected), &content[1]["content"][0]["url"])
    );
    assert_eq!(message["usage"]["server_tool_use"]["web_search_requests"], 1);
    let tool = json!({ "tools": [{ "type": "web_search" }] });
    let response = ask(responses::PATH, "", responses::body("sim?search=1", &tool)).await;
    let part = &response["output"][1]["content"][0];
    assert_eq!((&response["output"][0]["type"], &part["text"]), (&json!("web_search_call"), &json!(expected)));
    assert_eq!(part["annotations"][0]["end_index"], expected.chars().count());
    let body = chat("sim?search=1", &json!({ "web_search_options": {} }));
    let completion = ask("/v1/chat/completions", "", body).await;
    let said = &completion["choices"][0]["message"];
    assert_eq!((&said["content"], &said["annotations"][0]["type"]), (&json!(expected), &json!("url_citation")));
    let plain = ask("/v1/chat/completions", "", chat("sim?search=1", &json!({}))).await;
    assert_eq!(plain["choices"][0]["message"]["annotations"], json!([]), "no search was on offer");
}
