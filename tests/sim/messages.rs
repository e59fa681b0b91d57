//! Anthropic's messages, by raw bytes.

use crate::client::{Client, closed, header, sim};
use serde_json::{Value, json};
use tautline::sim::{Sim, SimSettings, answer_text, json_answer, tool_arguments};

pub const PROMPT: &str = "tie a knot";
pub const PATH: &str = "/v1/messages?beta=true";
pub const HEADERS: &str = "x-api-key: k\r\nanthropic-version: 2023-06-01\r\n";

pub fn body(model: &str, extra: &Value) -> Value {
    let user = json!([{ "role": "user", "content": [{ "type": "text", "text": PROMPT }] }]);
    let mut body = json!({ "model": model, "max_tokens": 4_096, "messages": user });
    for (key, value) in extra.as_object().into_iter().flatten() {
        body[key] = value.clone();
    }
    body
}

async fn ask(sim: &Sim, body: &Value) -> (u16, String, Value) {
    let mut client = Client::connect(sim).await;
    client.post_to(PATH, HEADERS, body).await;
    client.whole().await
}

async fn stream(sim: &Sim, model: &str, extra: &Value) -> Vec<(String, Value)> {
    let mut body = body(model, extra);
    body["stream"] = true.into();
    let mut client = Client::connect(sim).await;
    client.post_to(PATH, HEADERS, &body).await;
    client.until(closed).await;
    let events = client.events();
    assert!(events.iter().all(|(name, payload)| payload["type"] == name.as_str()), "{events:?}");
    events
}

/// What the vendor's own packages make of a stream.
fn assembled(events: &[(String, Value)]) -> Value {
    let mut message = Value::Null;
    let mut inputs = Vec::<String>::new();
    for (name, event) in events {
        let index = usize::try_from(event["index"].as_u64().unwrap_or(0)).expect("a small number");
        let delta = &event["delta"];
        match name.as_str() {
            "message_start" => message = event["message"].clone(),
            "content_block_start" => {
                let blocks = message["content"].as_array_mut().expect("a list");
                assert_eq!(blocks.len(), index, "blocks are opened in order");
                blocks.push(event["content_block"].clone());
                inputs.push(String::new());
            }
            "content_block_delta" => {
                let block = &mut message["content"][index];
                for (kind, field) in [("text", "text"), ("thinking", "thinking"), ("signature", "signature")] {
                    if let Some(more) = delta[kind].as_str() {
                        block[field] = format!("{}{more}", block[field].as_str().unwrap_or_default()).into();
                    }
                }
                if let Some(citation) = delta.get("citation") {
                    block["citations"].as_array_mut().expect("a list").push(citation.clone());
                }
                inputs[index].push_str(delta["partial_json"].as_str().unwrap_or_default());
            }
            "content_block_stop" if !inputs[index].is_empty() => {
                message["content"][index]["input"] = serde_json::from_str(&inputs[index]).expect("JSON");
            }
            "message_delta" => {
                for (field, value) in delta.as_object().expect("an object") {
                    message[field] = value.clone();
                }
                for (field, value) in event["usage"].as_object().expect("an object") {
                    message["usage"][field] = value.clone();
                }
            }
            _ => {}
        }
    }
    message
}

#[tokio::test]
async fn a_stream_has_the_vendors_events_in_the_vendors_order() {
    let sim = sim(SimSettings::default()).await;
    let events = stream(&sim, "sim?tokens=2", &json!({})).await;
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    let expected = [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ];
    assert_eq!(names, expected);
    let message = &events[0].1["message"];
    let fields: Vec<&str> = message.as_object().expect("an object").keys().map(String::as_str).collect();
    let expected = ["model", "id", "type", "role", "content", "stop_reason", "stop_sequence", "stop_details", "usage"];
    assert_eq!((fields.as_slice(), &message["stop_reason"]), (&expected[..], &Value::Null));
}

#[tokio::test]
async fn whole_and_streamed_messages_say_the_same() {
    let sim = sim(SimSettings::default()).await;
    let tool = json!([{ "name": "look", "input_schema": { "type": "object" } }]);
    let search = json!([{ "type": "web_search_20250305", "name": "web_search" }]);
    for (model, extra) in [
        ("sim?reasoning=4&cached=9", json!({})),
        ("sim?tools=1&parallel=2&reasoning=2", json!({ "tools": tool })),
        ("sim?search=1", json!({ "tools": search })),
        ("sim?finish=length", json!({})),
        ("sim?finish=content_filter", json!({})),
        ("sim?reasoning=4", json!({ "thinking": { "type": "adaptive", "display": "omitted" } })),
    ] {
        let mut streamed = assembled(&stream(&sim, model, &extra).await);
        let (status, head, mut whole) = ask(&sim, &body(model, &extra)).await;
        assert_eq!(status, 200, "{whole}");
        assert!(header(&head, "request-id").is_some_and(|id| id.starts_with("req_")) && !head.contains("openai"));
        // Each request has its own id, and the cache's details come at the start alone.
        for message in [&mut streamed, &mut whole] {
            message["id"] = Value::Null;
        }
        assert_eq!(streamed, whole, "{model}");
    }
}

#[tokio::test]
async fn the_answer_is_the_one_of_every_dialect() {
    let sim = sim(SimSettings::default()).await;
    let schema = json!({ "output_config": { "format": { "type": "json_schema", "schema": {} } } });
    let (_, _, message) = ask(&sim, &body("sim?tokens=9&reasoning=3&cached=5", &json!({}))).await;
    assert_eq!(message["content"][0]["thinking"], answer_text(&format!("{PROMPT}\u{1}reasoning"), 3));
    assert_eq!(message["content"][1]["text"], answer_text(PROMPT, 9));
    let usage = &message["usage"];
    assert_eq!((&usage["input_tokens"], &usage["cache_read_input_tokens"]), (&json!(3), &json!(5)));
    assert_eq!((&usage["output_tokens"], &usage["output_tokens_details"]["thinking_tokens"]), (&json!(12), &json!(3)));
    let (_, _, message) = ask(&sim, &body("sim?tokens=9", &schema)).await;
    assert_eq!(message["content"][0]["text"], json_answer(PROMPT, 9));
    let tool = json!({ "tools": [{ "name": "look", "input_schema": { "type": "object" } }] });
    let (_, _, message) = ask(&sim, &body("sim?tools=1", &tool)).await;
    let input: Value = serde_json::from_str(&tool_arguments(PROMPT, 0)).expect("JSON");
    assert_eq!((&message["content"][0]["input"], message["stop_reason"].as_str()), (&input, Some("tool_use")));
    for (finish, reason) in [("length", "max_tokens"), ("content_filter", "refusal")] {
        let (_, _, message) = ask(&sim, &body(&format!("sim?finish={finish}"), &json!({}))).await;
        assert_eq!(message["stop_reason"], reason);
    }
}

#[tokio::test]
async fn an_agent_is_led_through_the_tools_that_its_prompt_names() {
    let sim = sim(SimSettings::default()).await;
    let prompt = "Go.\n@sim call look {\"at\":\"one\"}\n@sim call look {\"at\":\"two\"}\n@sim say There.";
    let mut messages = json!([{ "role": "user", "content": prompt }]);
    let tools = json!([{ "name": "look", "input_schema": { "type": "object" } }]);
    let mut said = Vec::new();
    for _ in 0..3 {
        let extra = json!({ "messages": messages, "tools": tools });
        let (status, _, message) = ask(&sim, &body("sim?reasoning=2", &extra)).await;
        assert_eq!(status, 200, "{message}");
        let block = message["content"][1].clone();
        said.push(if block["text"].is_null() { block["input"]["at"].clone() } else { block["text"].clone() });
        let list = messages.as_array_mut().expect("a list");
        list.push(json!({ "role": "assistant", "content": message["content"] }));
        list.push(json!({ "role": "user", "content": [
            { "type": "tool_result", "tool_use_id": block["id"], "content": "seen" },
            { "type": "text", "text": "<system-reminder>Mind the knots.</system-reminder>" },
        ] }));
    }
    assert_eq!(said, ["one", "two", "There."]);
    let (_, _, message) =
        ask(&sim, &body("sim", &json!({ "messages": [{ "role": "user", "content": prompt }] }))).await;
    assert_eq!(message["content"][0]["text"], "tool look was not offered");
}

#[tokio::test]
async fn thinking_comes_back_signed_by_this_simulator_for_this_key_or_not_at_all() {
    let own = sim(SimSettings::default()).await;
    let other = sim(SimSettings { signing: "another vendor".to_owned(), ..SimSettings::default() }).await;
    let (_, _, message) = ask(&own, &body("sim?reasoning=3", &json!({}))).await;
    let user = |text: &str| json!({ "role": "user", "content": text });
    let history = json!([user("a"), { "role": "assistant", "content": message["content"] }, user("b")]);
    let again = body("sim", &json!({ "messages": history }));
    assert_eq!(ask(&own, &again).await.0, 200);
    let (status, _, refused) = ask(&other, &again).await;
    assert_eq!((status, refused["type"].as_str()), (400, Some("error")));
    assert_eq!(refused["error"]["message"], "messages.1.content.0: Invalid `signature` in `thinking` block");
    assert!(refused["request_id"].as_str().is_some_and(|id| id.starts_with("req_")));
    let mut client = Client::connect(&own).await;
    client.post_to(PATH, "authorization: Bearer l\r\nanthropic-version: 2023-06-01\r\n", &again).await;
    assert_eq!(client.whole().await.0, 400, "another key is another customer");
}

#[tokio::test]
async fn a_model_that_thinks_demands_its_thinking_back_within_a_turn() {
    let sim = sim(SimSettings::default()).await;
    let history = json!([
        { "role": "user", "content": "a" },
        { "role": "assistant", "content": [{ "type": "tool_use", "id": "t", "name": "look", "input": {} }] },
        { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "t", "content": "b" }] },
    ]);
    for (model, kind, expected) in [
        ("sim?reasoning=2", json!({ "type": "enabled", "budget_tokens": 1_024 }), 400),
        ("sim", json!({ "type": "enabled", "budget_tokens": 1_024 }), 200),
        ("sim?reasoning=2", json!({ "type": "adaptive" }), 200),
    ] {
        let (status, _, told) = ask(&sim, &body(model, &json!({ "messages": history, "thinking": kind }))).await;
        assert_eq!(status, expected, "{told}");
    }
}

#[tokio::test]
async fn a_head_alone_is_answered_without_a_body() {
    let sim = sim(SimSettings::default()).await;
    let mut client = Client::connect(&sim).await;
    client.send(b"HEAD / HTTP/1.1\r\n\r\n").await;
    assert_eq!(client.whole().await.0, 404);
    assert_eq!(client.fetch("GET", "/v1/models", HEADERS).await.0, 200);
    let seen = sim.seen();
    assert_eq!((seen[0].path.as_str(), seen.len()), ("/", 2));
}

#[tokio::test]
async fn tokens_are_counted_as_an_answer_would_bill_them() {
    let sim = sim(SimSettings::default()).await;
    let mut client = Client::connect(&sim).await;
    let mut asked = body("sim?cached=4", &json!({}));
    asked.as_object_mut().expect("an object").remove("max_tokens");
    client.post_to("/v1/messages/count_tokens", HEADERS, &asked).await;
    assert_eq!(client.whole().await.2, json!({ "input_tokens": 7 }));
}

#[tokio::test]
async fn models_and_keys_have_the_vendors_form_where_its_version_is_sent() {
    let settings = SimSettings { api_keys: vec!["k".to_owned()], ..SimSettings::default() };
    let sim = sim(settings).await;
    let mut client = Client::connect(&sim).await;
    let (_, list) = client.fetch("GET", "/v1/models?limit=20", HEADERS).await;
    assert_eq!((&list["first_id"], &list["has_more"]), (&json!("sim"), &json!(false)));
    assert_eq!(list["data"][0]["type"], "model");
    let (status, model) = client.fetch("GET", "/v1/models/sim%3Ftokens=3", HEADERS).await;
    assert_eq!((status, model["id"].as_str()), (200, Some("sim?tokens=3")));
    let (status, none) = client.fetch("GET", "/v1/models/none", HEADERS).await;
    assert_eq!((status, none["error"]["type"].as_str()), (404, Some("not_found_error")));
    let (status, none) = client.fetch("GET", "/v1/models/none", "api-key: k\r\n").await;
    assert_eq!((status, none["error"]["code"].as_str()), (404, Some("model_not_found")));
    let (status, refused) = client.fetch("GET", "/v1/models", "anthropic-version: 2023-06-01\r\n").await;
    assert_eq!((status, refused["error"]["type"].as_str()), (401, Some("authentication_error")));
    assert_eq!(sim.seen()[0].key.as_deref(), Some("k"));
    assert_eq!(sim.seen()[0].bearer, None);
}
