//! Responses by their id: answered from what is kept, or by who made them.

use crate::support::{Client, House, Response, closed_port, sim_target};
use serde_json::{Value, json};
use std::net::SocketAddr;
use tautline::gateway::kept::Kept;
use tautline::gateway::makers::Maker;
use tautline::gateway::provider::pool::Picked;
use tautline::sim::Sim;
use tautline::wire::canon::Json;

/// Numbers and order that a tree would not keep.
const TEXT: &str = r#"{ "id":"resp_1", "object":"response","created_at":1700000000, "status":"completed","model":"m",
 "temperature":1.50,"output":[{"type":"message","id":"msg_1","status":"completed","role":"assistant",
 "content":[{"type":"output_text","text":"slack","annotations":[]}]}] ,"usage":{"input_tokens":1,"output_tokens":1,"total_tokens":2}}"#;

fn config() -> String {
    sim_target("t", "", "")
}

fn kept(house: &House, target: &str, picked: Picked, native: bool, response: &str) -> Kept {
    let settings = house.running.gateway.settings();
    let provider = &settings.targets[target].provider;
    let input =
        [r#"{"role":"user","content":"why?"}"#, r#"{"type":"function_call_output","call_id":"c","output":"1"}"#];
    Kept {
        previous: None,
        input: input.map(|text| Json::parse(text.to_owned()).expect("JSON")).to_vec(),
        response: Json::parse(response.to_owned()).expect("JSON"),
        target: target.to_owned(),
        maker: Maker::of(provider, picked),
        native,
    }
}

fn keep(house: &House, id: &str, kept: Kept) {
    let bounds = house.running.gateway.settings().bounds.kept;
    assert!(house.running.gateway.kept.put("anonymous", id, kept, bounds));
}

async fn ask(addr: SocketAddr, method: &str, path: &str) -> Response {
    Client::connect(addr).await.request(method, path, &[], b"").await
}

/// A response that the simulator keeps, and its id.
async fn made_by(sim: &Sim, more: &Value) -> (String, String) {
    let mut body = json!({"model": "sim?tokens=3", "input": "why do ropes go slack?"});
    body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    let client = Client::connect(sim.addr()).await;
    let mut answer = client.request("POST", "/v1/responses", &[], body.to_string().as_bytes()).await;
    let text = answer.text().await;
    let id = serde_json::from_str::<Value>(&text).expect("JSON")["id"].as_str().expect("an id").to_owned();
    (id, text)
}

fn unfinished(id: &str) -> String {
    format!(r#"{{"id":"{id}","object":"response","status":"in_progress","output":[]}}"#)
}

/// Requests that reached the simulator by way of the gateway.
fn asked(house: &House) -> Vec<String> {
    let by_us = |seen: &tautline::sim::Seen| seen.headers.iter().any(|(name, _)| name == "user-agent");
    let of_responses = house.sim.seen().into_iter().filter(|seen| by_us(seen) && seen.path.contains("/responses/"));
    of_responses.map(|seen| format!("{} {} {}", seen.method, seen.path, seen.query.unwrap_or_default())).collect()
}

fn not_found(id: &str) -> String {
    format!(
        r#"{{"error":{{"message":"Response with id '{id}' not found.","type":"invalid_request_error","param":null,"code":null}}}}"#
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_is_given_as_it_was_and_to_its_principal_alone() {
    let own = "[providers.own]\ndialect = \"sim\"\nbase_url = \"http://127.0.0.1:9/v1\"\nauth = \"client\"\nmodels = [\"own*\"]\n";
    let house = House::start("", &format!("{}{own}", config())).await;
    keep(&house, "resp_1", kept(&house, "t", Picked::Nothing, false, TEXT));
    let mut answer = ask(house.addr, "GET", "/v1/responses/resp_1").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    assert_eq!(answer.text().await, TEXT, "to the byte");
    let record = house.record_of(&answer).await;
    assert_eq!((record.outcome.as_str(), record.attempts.len(), record.status), ("ok", 0, 200));
    let stranger = [("authorization", "Bearer somebody-else")];
    for method in ["GET", "DELETE"] {
        let client = Client::connect(house.addr).await;
        let mut answer = client.request(method, "/v1/responses/resp_1", &stranger, b"").await;
        assert_eq!((answer.status, answer.text().await), (404, not_found("resp_1")));
    }
    for path in ["/v1/responses/resp_9", "/v1/responses/resp_9/input_items", "/v1/responses/resp_9?stream=true"] {
        let mut answer = ask(house.addr, "GET", path).await;
        assert_eq!((answer.status, answer.text().await), (404, not_found("resp_9")), "{path}");
        assert_eq!(answer.header("x-should-retry"), Some("false"));
        let record = house.record_of(&answer).await;
        assert_eq!(
            (record.outcome.as_str(), record.cause.as_str(), record.status),
            ("refused", "invalid_request", 404)
        );
    }
    let mut gone = ask(house.addr, "DELETE", "/v1/responses/resp_1").await;
    assert_eq!(gone.json().await, json!({"id": "resp_1", "object": "response", "deleted": true}));
    assert_eq!(ask(house.addr, "GET", "/v1/responses/resp_1").await.status, 404);
    assert!(asked(&house).is_empty(), "nobody else was asked: {:?}", asked(&house));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_response_answered_is_listed_in_pages() {
    let house = House::start("", &config()).await;
    keep(&house, "resp_1", kept(&house, "t", Picked::Nothing, false, TEXT));
    let path = "/v1/responses/resp_1/input_items";
    let all = ask(house.addr, "GET", path).await.json().await;
    assert_eq!((&all["object"], &all["has_more"]), (&json!("list"), &json!(false)));
    assert_eq!(all["data"][0]["type"], "function_call_output", "the newest first");
    assert_eq!(all["data"][1], json!({"id": "msg_1_0", "type": "message", "role": "user", "content": "why?"}));
    let first = ask(house.addr, "GET", &format!("{path}?order=asc&limit=1")).await.json().await;
    assert_eq!((&first["last_id"], &first["has_more"]), (&json!("msg_1_0"), &json!(true)));
    let second = ask(house.addr, "GET", &format!("{path}?order=asc&after=msg_1_0")).await.json().await;
    assert_eq!(second["data"].as_array().map(Vec::len), Some(1));
    for (query, field) in [("limit=1000", "limit"), ("order=up", "order"), ("after=msg_9", "after")] {
        let mut answer = ask(house.addr, "GET", &format!("{path}?{query}")).await;
        assert_eq!((answer.status, &answer.json().await["error"]["param"]), (400, &json!(field)));
    }
    for (method, path, allowed) in [
        ("POST", "/v1/responses/resp_1", "GET, DELETE"),
        ("DELETE", path, "GET"),
        ("GET", "/v1/responses/resp_1/cancel", "POST"),
    ] {
        let answer = ask(house.addr, method, path).await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some(allowed)), "{method} {path}");
    }
    assert_eq!(ask(house.addr, "GET", "/v1/responses/resp_1/other").await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_not_at_its_end_is_asked_of_who_made_it_until_it_is() {
    let house = House::start("", &config()).await;
    let (id, text) = made_by(&house.sim, &json!({})).await;
    keep(&house, &id, kept(&house, "t", Picked::Nothing, true, &unfinished(&id)));
    let path = format!("/v1/responses/{id}");
    let mut first = ask(house.addr, "GET", &format!("{path}?include[]=x")).await;
    assert_eq!((first.status, first.header("x-tautline-target")), (200, Some("t")));
    assert_eq!(first.json().await, serde_json::from_str::<Value>(&text).expect("JSON"));
    let record = house.record_of(&first).await;
    assert_eq!((record.outcome.as_str(), record.attempts[0].target.as_str()), ("ok", "t"));
    assert_eq!(asked(&house), [format!("GET {path} include[]=x")]);
    // It has ended: from now on it is known here.
    let mut second = ask(house.addr, "GET", &path).await;
    assert_eq!(second.json().await["status"], "completed");
    assert!(house.record_of(&second).await.attempts.is_empty());
    // A stream of it is its maker's matter.
    let streamed = ask(house.addr, "GET", &format!("{path}?stream=true&starting_after=3")).await;
    assert_eq!(streamed.status, 200);
    assert_eq!(
        asked(&house).last().map(String::as_str),
        Some(format!("GET {path} stream=true&starting_after=3").as_str())
    );
    let mut bad = ask(house.addr, "GET", &format!("{path}?stream=maybe")).await;
    assert_eq!((bad.status, &bad.json().await["error"]["param"]), (400, &json!("stream")));
    // What its maker does not know any more is gone, and is not kept as if it were there.
    keep(&house, "resp_lost", kept(&house, "t", Picked::Nothing, true, &unfinished("resp_lost")));
    let mut lost = ask(house.addr, "GET", "/v1/responses/resp_lost").await;
    assert_eq!((lost.status, lost.text().await), (404, not_found("resp_lost")));
    assert_eq!(house.record_of(&lost).await.outcome.as_str(), "returned");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelling_and_deleting_reach_who_made_it() {
    let config = format!(
        "{}[providers.nobody]\ndialect = \"openai\"\nbase_url = \"http://127.0.0.1:{}/v1\"\nmodels = [\"n\"]\n\
         [targets.gone]\nprovider = \"nobody\"\nmodel = \"n\"\n",
        config(),
        closed_port()
    );
    let house = House::start("", &config).await;
    let (id, _) = made_by(&house.sim, &json!({"background": true})).await;
    keep(&house, &id, kept(&house, "t", Picked::Nothing, true, &unfinished(&id)));
    let mut cancelled = ask(house.addr, "POST", &format!("/v1/responses/{id}/cancel")).await;
    assert_eq!((cancelled.status, &cancelled.json().await["id"]), (200, &json!(id)));
    keep(&house, "resp_1", kept(&house, "t", Picked::Nothing, false, TEXT));
    let mut refused = ask(house.addr, "POST", "/v1/responses/resp_1/cancel").await;
    let words = r#"{"error":{"message":"Cannot cancel a synchronous response.","type":"invalid_request_error","param":null,"code":null}}"#;
    assert_eq!((refused.status, refused.text().await.as_str()), (400, words));
    let path = format!("/v1/responses/{id}");
    let mut deleted = ask(house.addr, "DELETE", &path).await;
    assert_eq!(deleted.json().await, json!({"id": id, "object": "response", "deleted": true}));
    assert_eq!(asked(&house), [format!("POST {path}/cancel "), format!("DELETE {path} ")]);
    assert_eq!(ask(house.sim.addr(), "GET", &path).await.status, 404, "it is gone there");
    assert_eq!(ask(house.addr, "GET", &path).await.status, 404, "and here");
    // Its maker has forgotten it already: that is what was wanted.
    keep(&house, &id, kept(&house, "t", Picked::Nothing, true, TEXT));
    assert_eq!(ask(house.addr, "DELETE", &path).await.status, 200);
    // A maker that cannot be reached still has it, and so it stays.
    keep(&house, "resp_2", kept(&house, "gone", Picked::Nothing, true, TEXT));
    let failed = ask(house.addr, "DELETE", "/v1/responses/resp_2").await;
    assert_eq!((failed.status, failed.header("x-tautline-cause")), (502, Some("connect_refused")));
    assert_eq!(house.record_of(&failed).await.outcome.as_str(), "failed");
    assert_eq!(ask(house.addr, "GET", "/v1/responses/resp_2").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_that_made_a_response_is_the_one_that_asks_for_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = ["one", "two", "three"].map(|name| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("KeyOfPool{name}")).expect("written");
        format!("\"file:{}\"", path.display())
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let sim = Sim::start(listener, tautline::sim::SimSettings::default());
    let config = format!(
        "[providers.keyed]\ndialect = \"openai\"\nbase_url = \"{}\"\nmodels = [\"k\"]\napi_key = [{}]\n\
         [targets.k]\nprovider = \"keyed\"\nmodel = \"k\"\n",
        sim.base_url(),
        keys.join(", ")
    );
    let house = House::start("", &config).await;
    for (place, name) in [(1, "two"), (0, "one"), (2, "three"), (1, "two")] {
        keep(&house, "resp_1", kept(&house, "k", Picked::Key(place), true, &unfinished("resp_1")));
        assert_eq!(ask(house.addr, "GET", "/v1/responses/resp_1").await.status, 404);
        let last = sim.seen().into_iter().next_back().expect("it was asked");
        assert_eq!(last.bearer.as_deref(), Some(format!("KeyOfPool{name}").as_str()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_no_other_keeps_is_streamed_again_from_where_the_client_was() {
    let house = House::start("", &config()).await;
    keep(&house, "resp_1", kept(&house, "t", Picked::Nothing, false, TEXT));
    let path = "/v1/responses/resp_1?stream=true";
    let events = async |path: &str| -> Vec<Value> {
        let mut answer = ask(house.addr, "GET", path).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/event-stream; charset=utf-8")));
        answer.payloads().await.iter().map(|data| serde_json::from_str(data).expect("JSON")).collect()
    };
    let all = events(path).await;
    assert_eq!(all.first().map(|event| &event["type"]), Some(&json!("response.created")));
    let last = all.last().expect("events");
    assert_eq!((&last["type"], &last["response"]["id"]), (&json!("response.completed"), &json!("resp_1")));
    assert_eq!(last["response"]["output"][0]["content"][0]["text"], "slack");
    assert_eq!(all[0]["response"]["id"], "resp_1");
    let numbers: Vec<u64> = all.iter().filter_map(|event| event["sequence_number"].as_u64()).collect();
    assert_eq!(numbers, (0..all.len() as u64).collect::<Vec<_>>());
    let rest = events(&format!("{path}&starting_after=2")).await;
    assert_eq!(rest, all[3..]);
    assert!(asked(&house).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_at_the_door_is_found_by_its_id_whoever_made_it() {
    let config = format!(
        "{}[targets.other]\nprovider = \"chatting\"\nmodel = \"sim?tokens=3\"\n[routes.native]\ntargets = [\"t\"]\n\
         [routes.translated]\ntargets = [\"other\"]\n",
        sim_target("t", "tokens=3", "")
    );
    let house = House::start("", &config.replace("chatting", "sim")).await;
    let elsewhere = format!(
        "{config}[providers.chatting]\ndialect = \"openai\"\nbase_url = \"{}\"\nmodels = [\"c\"]\napis = [\"chat\"]\n",
        house.sim.base_url()
    );
    house.rewrite("", &elsewhere);
    assert!(house.running.reloader.reload().await.is_ok());
    for (model, deleted_there) in [("native", 1), ("translated", 0)] {
        let body = json!({"model": model, "input": "why do ropes go slack?"}).to_string();
        let client = Client::connect(house.addr).await;
        let mut answer = client.request("POST", "/v1/responses", &[], body.as_bytes()).await;
        let text = answer.text().await;
        assert_eq!(answer.status, 200, "{text}");
        let id = serde_json::from_str::<Value>(&text).expect("JSON")["id"].as_str().expect("an id").to_owned();
        let path = format!("/v1/responses/{id}");
        let before = asked(&house).len();
        assert_eq!(ask(house.addr, "GET", &path).await.text().await, text, "{model}: as it was given");
        let list = ask(house.addr, "GET", &format!("{path}/input_items")).await.json().await;
        assert_eq!(list["data"][0]["content"][0]["text"], "why do ropes go slack?", "{list}");
        assert_eq!(ask(house.addr, "DELETE", &path).await.status, 200);
        assert_eq!(ask(house.addr, "GET", &path).await.status, 404);
        assert_eq!(asked(&house).len() - before, deleted_there, "{model}: {:?}", asked(&house));
    }
}
