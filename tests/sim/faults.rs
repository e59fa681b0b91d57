//! Every fault, proven by the bytes a peer gets.

use crate::client::{Client, End, chat, closed, sim, soon, status};
use serde_json::{Value, json};
use tautline::sim::{Ended, Fault, Seen, Sim, SimSettings, answer_text};

/// What a peer has to see of a fault, with `tokens=8&after=3`.
enum Proof {
    /// Connecting is refused.
    Refused,
    /// A whole response with this status, these words in its head or body.
    Told(u16, &'static str),
    /// The connection ends like this, after these words, without a last chunk.
    Broken(End, &'static str),
    /// The last chunk comes, after these words.
    Orderly(&'static str),
    /// The words come, the connection stays; its close is noticed.
    Held(&'static str, u64),
}

fn proof(fault: Fault) -> Proof {
    use Proof::{Broken, Held, Orderly, Refused, Told};
    match fault {
        Fault::Refuse => Refused,
        Fault::HangHeaders => Held("", 0),
        Fault::HangAfterHeaders => Held("text/event-stream", 0),
        Fault::CommentsForever => Held("e\r\n: keep-alive\n\n\r\ne\r\n: keep-alive\n\n\r\n", 0),
        Fault::Trickle => Held("1\r\nd\r\n1\r\na\r\n1\r\nt\r\n1\r\na\r\n1\r\n:\r\n", 0),
        Fault::Status401 => Told(401, "invalid_api_key"),
        Fault::Status402 => Told(402, "Insufficient Balance"),
        Fault::Status403 => Told(403, "unsupported_country"),
        Fault::Status404 => Told(404, "model_not_found"),
        Fault::Status408 => Told(408, "timed out"),
        Fault::Status429 => Told(429, "rate_limit_exceeded"),
        Fault::Status500 => Told(500, "server_error"),
        Fault::Status502 => Told(502, "Bad gateway."),
        Fault::Status503 => Told(503, "overloaded"),
        Fault::Status504 => Told(504, "in time"),
        Fault::Status529 => Told(529, "overloaded_error"),
        Fault::Quota => Told(429, "insufficient_quota"),
        Fault::Redirect => Told(307, "location: https://"),
        Fault::Html => Told(200, "text/html"),
        Fault::Html502 => Told(502, "text/html"),
        Fault::ErrorPayload => Told(200, "server_error"),
        Fault::EarlyAnswer => Told(503, "connection: close"),
        Fault::ContextLength => Told(400, "context_length_exceeded"),
        Fault::Unsupported => Told(400, "\"param\":\"temperature\""),
        Fault::Policy => Told(400, "content_policy_violation"),
        Fault::BadRequest => Told(400, "\"code\":null"),
        Fault::StreamUnsupported => Told(400, "\"param\":\"stream\""),
        Fault::StreamOptionsUnsupported => Told(400, "\"param\":\"stream_options\""),
        Fault::ResetHeaders => Broken(End::Rst, ""),
        Fault::CloseHeaders => Broken(End::Fin, ""),
        Fault::HalfHead => Broken(End::Fin, "content-ty"),
        Fault::Reset => Broken(End::Rst, "assistant"),
        Fault::CutChunked => Broken(End::Fin, "assistant"),
        Fault::WrongLength => Broken(End::Fin, "content-length: 1000000000"),
        Fault::ToolCut => Broken(End::Fin, "\"arguments\":\"{"),
        Fault::BadChunk => Broken(End::Fin, "\r\nzz\r\n"),
        Fault::EarlyEnd => Orderly("assistant"),
        Fault::ErrorEvent => Orderly("data: {\"error\":{"),
        Fault::ErrorEventOverloaded => Orderly("\"code\":\"overloaded_error\""),
        Fault::Garbled => Orderly("data: {\"id\": \"chatcmpl-sim\", oops\n\n"),
        Fault::HalfUtf8 => Orderly("cut \u{fffd}\""),
        Fault::Empty | Fault::MissingDone => Orderly("\"finish_reason\":\"stop\""),
        Fault::HugeFrame => Orderly("xxxxxxxx"),
        Fault::FloodHold => Orderly("[DONE]"),
        Fault::Stall => Held("assistant", 4),
        Fault::StallComments => Held(": keep-alive\n\n\r\ne\r\n: keep-alive\n\n", 4),
        Fault::StallTrickle => Held("1\r\nd\r\n1\r\na\r\n1\r\nt\r\n1\r\na\r\n", 4),
        Fault::Endless => Held("endless endless", 64),
        Fault::NoDoneHold => Held("\"finish_reason\":\"stop\"", 10),
    }
}

fn struck(fault: Fault, ended: Ended) -> impl Fn(&Seen) -> bool {
    move |seen| seen.fault == Some(fault) && seen.ended == Some(ended)
}

async fn strike(fault: Fault) {
    let sim = sim(SimSettings::default()).await;
    if matches!(proof(fault), Proof::Refused) {
        sim.stop_listening().await;
        assert!(tokio::net::TcpStream::connect(sim.addr()).await.is_err());
        return;
    }
    let model = format!("sim?fault={fault}&tokens=8&after=3&every=1ms");
    let asked = json!({ "stream": true, "stream_options": { "include_usage": false } });
    let mut client = Client::ask(&sim, &model, &asked).await;
    match proof(fault) {
        Proof::Refused => {}
        Proof::Told(code, words) => {
            let (found, head, body) = told(&mut client).await;
            assert_eq!(found, code, "{fault}");
            assert!(head.contains(words) || body.contains(words), "{fault}: {head}{body}");
            soon(sim.wait_seen(1, struck(fault, Ended::FaultDone))).await;
        }
        Proof::Broken(end, words) => {
            assert_eq!(client.end().await, end, "{fault}");
            let text = client.text();
            assert!(
                text.contains(words) && !closed(&text) && !text.contains("finish_reason\":\"stop"),
                "{fault}: {text}"
            );
            assert_eq!(words.is_empty(), text.is_empty(), "{fault}: {text}");
            soon(sim.wait_seen(1, struck(fault, Ended::FaultDone))).await;
        }
        Proof::Orderly(words) => {
            while !client.got.ends_with(b"0\r\n\r\n") {
                let count = soon(tokio::io::AsyncReadExt::read_buf(&mut client.stream, &mut client.got)).await;
                assert!(count.is_ok_and(|count| count > 0), "{fault}");
            }
            let text = client.text();
            assert!(text.contains(words), "{fault}");
            let done = matches!(fault, Fault::Empty | Fault::Garbled | Fault::HalfUtf8 | Fault::FloodHold);
            assert_eq!(text.contains("[DONE]"), done, "{fault}");
            assert!(fault != Fault::Empty || client.content(0).is_empty());
            soon(sim.wait_seen(1, struck(fault, Ended::FaultDone))).await;
        }
        Proof::Held(words, frames) => {
            soon(sim.wait_seen(1, |seen| seen.fault == Some(fault) && seen.frames_sent >= frames)).await;
            client.until(|text| text.contains(words)).await;
            assert!(!closed(&client.text()), "{fault}");
            assert!(sim.seen()[0].ended.is_none(), "{fault}");
            drop(client);
            soon(sim.wait_seen(1, struck(fault, Ended::PeerClosed))).await;
        }
    }
}

/// A response with a body that need not be JSON.
async fn told(client: &mut Client) -> (u16, String, String) {
    client.until(|text| text.contains("\r\n\r\n")).await;
    let text = client.text();
    let (head, _) = text.split_once("\r\n\r\n").expect("a head");
    let length: usize =
        crate::client::header(head, "content-length").and_then(|value| value.parse().ok()).expect("a length");
    client.until(|text| text.len() >= head.len() + 4 + length).await;
    (status(head), head.to_owned(), client.text()[head.len() + 4..].to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_looks_from_outside_as_it_is_described() {
    let mut strikes = tokio::task::JoinSet::new();
    for fault in Fault::ALL {
        strikes.spawn(soon(strike(*fault)));
    }
    while let Some(joined) = strikes.join_next().await {
        joined.expect("the fault was seen");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_after_n_tokens_lets_exactly_n_through() {
    let sim = sim(SimSettings::default()).await;
    for fault in [Fault::Reset, Fault::CutChunked, Fault::WrongLength, Fault::BadChunk] {
        for after in [0, 3] {
            let model = format!("sim?fault={fault}&after={after}");
            let mut client = Client::ask(&sim, &model, &json!({ "stream": true })).await;
            client.end().await;
            assert_eq!(client.content(0), answer_text("tie a knot", after), "{fault} {after}");
        }
    }
}

#[tokio::test]
async fn a_fault_spares_all_but_the_first_requests_of_its_script() {
    let sim = sim(SimSettings::default()).await;
    let mut found = Vec::new();
    for _ in 0..4 {
        let mut client = Client::ask(&sim, "sim?fault=status_500&first=2", &json!({})).await;
        found.push(client.whole().await.0);
    }
    assert_eq!(found, [500, 500, 200, 200]);
    let faults: Vec<_> = sim.seen().iter().map(|seen| seen.fault.is_some()).collect();
    assert_eq!(faults, [true, true, false, false]);
}

#[tokio::test]
async fn an_early_answer_does_not_wait_for_the_upload() {
    let sim = sim(SimSettings::default()).await;
    let mut client = Client::connect(&sim).await;
    client.send(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 1000000\r\n\r\n").await;
    client.send(b"{\"model\": \"sim?fault=early_answer\", \"messages\": [").await;
    assert_eq!(client.whole().await.0, 503);
    assert_eq!(client.end().await, End::Fin);
}

#[tokio::test]
async fn a_parameter_is_refused_only_where_it_was_sent() {
    let sim = sim(SimSettings::default()).await;
    for fault in [Fault::StreamUnsupported, Fault::StreamOptionsUnsupported] {
        let mut client = Client::ask(&sim, &format!("sim?fault={fault}"), &json!({})).await;
        assert_eq!(client.whole().await.0, 200, "{fault}");
    }
    assert!(sim.seen().iter().all(|seen| seen.fault.is_none()));
}

/// An unstreamed body broken after 3 of 8 tokens.
async fn unstreamed(sim: &Sim, fault: Fault) -> (Client, usize) {
    let mut client = Client::ask(sim, &format!("sim?fault={fault}&tokens=8&after=3"), &json!({})).await;
    client.until(|text| text.split_once("\r\n\r\n").is_some_and(|(_, body)| body.contains('{'))).await;
    let text = client.text();
    let promised = crate::client::header(&text, "content-length").and_then(|value| value.parse().ok());
    (client, promised.unwrap_or(usize::MAX))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unstreamed_body_breaks_in_its_middle() {
    let sim = sim(SimSettings::default()).await;
    for (fault, end) in [
        (Fault::Reset, End::Rst),
        (Fault::CutChunked, End::Fin),
        (Fault::WrongLength, End::Fin),
        (Fault::ToolCut, End::Fin),
        (Fault::BadChunk, End::Fin),
    ] {
        let (mut client, promised) = unstreamed(&sim, fault).await;
        assert_eq!(client.end().await, end, "{fault}");
        let got = client.text().split_once("\r\n\r\n").map_or(0, |(_, body)| body.len());
        assert!(got > 0 && got < promised, "{fault}: {got} of {promised}");
    }
    for fault in [Fault::Stall, Fault::StallComments, Fault::StallTrickle, Fault::Endless] {
        let (client, _) = unstreamed(&sim, fault).await;
        drop(client);
        soon(sim.wait_seen(1, struck(fault, Ended::PeerClosed))).await;
    }
    for fault in [Fault::Garbled, Fault::HalfUtf8] {
        let (mut client, _) = unstreamed(&sim, fault).await;
        assert_eq!(client.whole().await.2, Value::Null, "{fault} is no JSON");
    }
    let mut client = Client::connect(&sim).await;
    client.post("", &chat("sim?fault=error_event", &json!({}))).await;
    assert_eq!(client.whole().await.2["error"]["type"], "server_error");
}
