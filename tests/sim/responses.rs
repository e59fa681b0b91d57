//! `OpenAI`'s responses, by raw bytes.

use crate::client::{Client, closed, header, sim};
use serde_json::{Value, json};
use tautline::sim::{Sim, SimSettings, answer_text, json_answer, tool_arguments};

pub const PROMPT: &str = "tie a knot";
pub const PATH: &str = "/v1/responses";

pub fn body(model: &str, extra: &Value) -> Value {
    let mut body = json!({ "model": model, "input": PROMPT });
    for (key, value) in extra.as_object().into_iter().flatten() {
        body[key] = value.clone();
    }
    body
}

async fn ask_as(sim: &Sim, key: &str, body: &Value) -> (u16, Value) {
    let mut client = Client::connect(sim).await;
    client.post_to(PATH, &format!("authorization: Bearer {key}\r\n"), body).await;
    let (status, head, body) = client.whole().await;
    assert!(header(&head, "x-request-id").is_some());
    (status, body)
}

async fn ask(sim: &Sim, body: &Value) -> (u16, Value) {
    ask_as(sim, "k", body).await
}

async fn stream(sim: &Sim, model: &str, extra: &Value) -> Vec<Value> {
    let mut body = body(model, extra);
    body["stream"] = true.into();
    let mut client = Client::connect(sim).await;
    client.post_to(PATH, "authorization: Bearer k\r\n", &body).await;
    client.until(closed).await;
    assert!(!client.text().contains("[DONE]"));
    let events = client.events();
    for (at, (name, event)) in events.iter().enumerate() {
        assert_eq!((&event["type"], &event["sequence_number"]), (&json!(name), &json!(at)));
    }
    events.into_iter().map(|(_, event)| event).collect()
}

fn names(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["type"].as_str()).collect()
}

/// The output of a response, as its items are told one by one.
fn told(events: &[Value]) -> Vec<Value> {
    let mut items = Vec::new();
    let mut text = String::new();
    for event in events {
        match event["type"].as_str().expect("a type") {
            "response.output_item.added" => assert_eq!(event["output_index"], items.len()),
            "response.output_item.done" => items.push(event["item"].clone()),
            kind if kind.split('.').next_back() == Some("delta") => {
                text.push_str(event["delta"].as_str().expect("text"));
            }
            "response.output_text.done" | "response.reasoning_summary_text.done" => {
                assert_eq!(event["text"], std::mem::take(&mut text));
            }
            "response.function_call_arguments.done" => assert_eq!(event["arguments"], std::mem::take(&mut text)),
            "response.custom_tool_call_input.done" => assert_eq!(event["input"], std::mem::take(&mut text)),
            _ => {}
        }
    }
    items
}

#[tokio::test]
async fn a_stream_has_the_vendors_events_in_the_vendors_order() {
    let sim = sim(SimSettings::default()).await;
    let events = stream(&sim, "sim?tokens=1&reasoning=1", &json!({ "reasoning": { "summary": "auto" } })).await;
    let expected = [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.done",
        "response.reasoning_summary_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ];
    assert_eq!(names(&events), expected);
    assert_eq!(
        (&events[0]["response"]["output"], &events[0]["response"]["status"]),
        (&json!([]), &json!("in_progress"))
    );
    assert!(events[4]["obfuscation"].is_string() && events[10]["logprobs"] == json!([]));
    let plain = json!({ "stream_options": { "include_obfuscation": false } });
    assert!(stream(&sim, "sim", &plain).await.iter().all(|event| event.get("obfuscation").is_none()));
}

#[tokio::test]
async fn whole_and_streamed_responses_say_the_same() {
    let sim = sim(SimSettings::default()).await;
    let tools = json!([{ "type": "function", "name": "look", "parameters": {} }]);
    let raw = json!([{ "type": "custom", "name": "raw" }]);
    let search = json!([{ "type": "web_search" }]);
    for (model, extra, last) in [
        ("sim?reasoning=4&cached=9", json!({ "reasoning": { "summary": "auto" } }), "response.completed"),
        ("sim?tools=1&parallel=2&reasoning=2", json!({ "tools": tools }), "response.completed"),
        ("sim?tools=1", json!({ "tools": raw }), "response.completed"),
        ("sim?search=1", json!({ "tools": search }), "response.completed"),
        ("sim?finish=length", json!({}), "response.incomplete"),
        ("sim?finish=content_filter", json!({}), "response.incomplete"),
    ] {
        let events = stream(&sim, model, &extra).await;
        assert_eq!(names(&events).last(), Some(&last));
        let response = &events.last().expect("events")["response"];
        assert_eq!(response["output"], Value::from(told(&events)), "{model}");
        let (status, mut whole) = ask(&sim, &body(model, &extra)).await;
        assert_eq!(status, 200, "{whole}");
        // Ids are the requests' own.
        let strip = |response: &mut Value| {
            response["id"] = Value::Null;
            for item in response["output"].as_array_mut().expect("a list") {
                item["id"] = Value::Null;
            }
        };
        let mut streamed = response.clone();
        strip(&mut streamed);
        strip(&mut whole);
        assert_eq!(streamed, whole, "{model}");
    }
}

#[tokio::test]
async fn the_answer_is_the_one_of_every_dialect() {
    let sim = sim(SimSettings::default()).await;
    let summary = json!({ "reasoning": { "summary": "detailed" } });
    let (_, response) = ask(&sim, &body("sim?tokens=9&reasoning=3&cached=5", &summary)).await;
    let output = &response["output"];
    assert_eq!(output[0]["summary"][0]["text"], answer_text(&format!("{PROMPT}\u{1}reasoning"), 3));
    assert_eq!(output[1]["content"][0]["text"], answer_text(PROMPT, 9));
    let usage = &response["usage"];
    assert_eq!((&usage["input_tokens"], &usage["input_tokens_details"]["cached_tokens"]), (&json!(8), &json!(5)));
    assert_eq!((&usage["output_tokens"], &usage["output_tokens_details"]["reasoning_tokens"]), (&json!(12), &json!(3)));
    let (_, response) =
        ask(&sim, &body("sim?tokens=9", &json!({ "text": { "format": { "type": "json_object" } } }))).await;
    assert_eq!(response["output"][0]["content"][0]["text"], json_answer(PROMPT, 9));
    let tools = json!({ "tools": [{ "type": "function", "name": "look", "parameters": {} }] });
    let (_, response) = ask(&sim, &body("sim?tools=1", &tools)).await;
    assert_eq!(response["output"][0]["arguments"], tool_arguments(PROMPT, 0));
    let (_, response) = ask(&sim, &body("sim?reasoning=3", &json!({}))).await;
    assert_eq!(response["output"][0]["summary"], json!([]), "nobody asked for a summary");
}

#[tokio::test]
async fn responses_go_on_from_earlier_ones_that_were_stored() {
    let sim = sim(SimSettings::default()).await;
    let prompt = "Go.\n@sim call look {\"at\":\"one\"}\n@sim say There.";
    let tools = json!([{ "type": "function", "name": "look", "parameters": {} }]);
    let first = json!({ "input": prompt, "tools": tools });
    let (_, called) = ask(&sim, &body("sim?reasoning=1", &first)).await;
    let call = &called["output"][1];
    assert_eq!(call["arguments"], "{\"at\":\"one\"}");
    let output = json!([{ "type": "function_call_output", "call_id": call["call_id"], "output": "seen" }]);
    let follow =
        |previous: &Value| body("sim", &json!({ "previous_response_id": previous, "input": output, "tools": tools }));
    let (_, said) = ask(&sim, &follow(&called["id"])).await;
    assert_eq!(said["output"][0]["content"][0]["text"], "There.");
    let id = called["id"].as_str().expect("an id");
    let mut client = Client::connect(&sim).await;
    let (status, found) = client.fetch("GET", &format!("{PATH}/{id}"), "").await;
    assert_eq!((status, &found["output"]), (200, &called["output"]));
    let (status, _) = client.fetch("POST", &format!("{PATH}/{id}/cancel"), "").await;
    assert_eq!(status, 400, "it was no background response");
    let (_, gone) = client.fetch("DELETE", &format!("{PATH}/{id}"), "").await;
    assert_eq!(gone, json!({ "id": id, "object": "response", "deleted": true }));
    assert_eq!(client.fetch("GET", &format!("{PATH}/{id}"), "").await.0, 404);
    let (status, refused) = ask(&sim, &follow(&called["id"])).await;
    assert_eq!((status, refused["error"]["code"].as_str()), (400, Some("previous_response_not_found")));
    let (_, unkept) = ask(&sim, &body("sim", &json!({ "store": false }))).await;
    assert_eq!(ask(&sim, &follow(&unkept["id"])).await.0, 400);
}

#[tokio::test]
async fn reasoning_comes_back_encrypted_here_for_this_key_or_known_by_its_id() {
    let own = sim(SimSettings::default()).await;
    let other = sim(SimSettings { signing: "another vendor".to_owned(), ..SimSettings::default() }).await;
    let sealed = json!({ "store": false, "include": ["reasoning.encrypted_content"] });
    let (_, response) = ask(&own, &body("sim?reasoning=3", &sealed)).await;
    let history = |items: &Value| {
        let mut list = vec![json!({ "role": "user", "content": "a" })];
        list.extend(items.as_array().expect("a list").iter().cloned());
        list.push(json!({ "role": "user", "content": [{ "type": "input_text", "text": "b" }] }));
        body("sim", &json!({ "input": list }))
    };
    let again = history(&response["output"]);
    assert_eq!(ask(&own, &again).await.0, 200);
    for (sim, key) in [(&other, "k"), (&own, "l")] {
        let (status, refused) = ask_as(sim, key, &again).await;
        assert_eq!((status, refused["error"]["code"].as_str()), (400, Some("invalid_encrypted_content")));
    }
    let (_, stored) = ask(&own, &body("sim?reasoning=3", &json!({}))).await;
    assert!(stored["output"][0].get("encrypted_content").is_none());
    let by_id = history(&stored["output"]);
    assert_eq!(ask(&own, &by_id).await.0, 200);
    let (status, refused) = ask(&other, &by_id).await;
    assert_eq!(status, 404);
    assert!(refused["error"]["message"].as_str().is_some_and(|text| text.starts_with("Item with id 'rs_")));
}

#[tokio::test]
async fn custom_tools_get_the_raw_rest_of_the_line() {
    let sim = sim(SimSettings::default()).await;
    let input = "Go.\n@sim call apply_patch *** Begin {Patch\n@sim say There.";
    let extra = json!({ "input": input, "tools": [{ "type": "custom", "name": "apply_patch" }] });
    let items = told(&stream(&sim, "sim", &extra).await);
    assert_eq!((&items[0]["type"], &items[0]["input"]), (&json!("custom_tool_call"), &json!("*** Begin {Patch")));
}
