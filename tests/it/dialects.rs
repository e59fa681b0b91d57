//! Three dialects at the door, three behind it: whatever is asked in one and
//! answered in another means the same.

use crate::support::{Client, House, Tongue};
use serde_json::{Value, json};
use tautline::sim::{answer_text, tool_arguments};

const PROMPT: &str = "why do ropes go slack?";
/// One pixel.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/// A target for each dialect with the same script, and a route of its own for each.
fn each(script: &str) -> String {
    let one = |tongue: Tongue| {
        let name = tongue.provider();
        format!("{}[routes.{name}]\ntargets = [\"{name}\"]\n", tongue.target(script, "max_output_tokens = 4000"))
    };
    Tongue::ALL.into_iter().map(one).collect()
}

fn pairs() -> impl Iterator<Item = (Tongue, Tongue)> {
    Tongue::ALL.into_iter().flat_map(|client| Tongue::ALL.into_iter().map(move |target| (client, target)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_crosses_every_pair_of_dialects_streamed_and_whole() {
    let house = House::start("", &each("tokens=30&reasoning=6")).await;
    for (client, target) in pairs() {
        for stream in [true, false] {
            let name = format!("{client:?} asks {target:?}, streamed: {stream}");
            let body = client.ask(target.provider(), stream, PROMPT);
            let mut response = client.post(house.addr, &[], &body).await;
            let status = response.status;
            assert_eq!(status, 200, "{name}: {}", response.text().await);
            assert_eq!(response.header("x-tautline-target"), Some(target.provider()), "{name}");
            let said = if stream { client.stream(&mut response).await } else { client.whole(&response.json().await) };
            assert_eq!(said.text, answer_text(PROMPT, 30), "{name}");
            assert_eq!((said.finish.as_str(), said.ended, &said.error), ("stop", true, &None), "{name}");
            // Responses shows a summary only where one was asked for.
            assert_eq!(said.reasoning.is_empty(), target == Tongue::Responses, "{name}");
            let record = house.record_of(&response).await;
            assert_eq!((record.outcome.as_str(), record.attempts.len()), ("ok", 1), "{name}");
            let counted = record.usage.expect("the target reported it");
            assert_eq!(said.usage.map(|(_, output)| output), Some(counted.output), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parallel_calls_cross_every_pair_of_dialects_with_their_arguments() {
    let house = House::start("", &each("tools=1&parallel=2")).await;
    for (client, target) in pairs() {
        for stream in [true, false] {
            let name = format!("{client:?} asks {target:?}, streamed: {stream}");
            let mut body = client.ask(target.provider(), stream, PROMPT);
            client.offer(&mut body, "look_up");
            let mut response = client.post(house.addr, &[], &body).await;
            let status = response.status;
            assert_eq!(status, 200, "{name}: {}", response.text().await);
            let said = if stream { client.stream(&mut response).await } else { client.whole(&response.json().await) };
            assert_eq!((said.finish.as_str(), said.ended), ("tool_calls", true), "{name}");
            let wanted: Vec<(String, Value)> = (0..2)
                .map(|call| {
                    let arguments = serde_json::from_str(&tool_arguments(PROMPT, call)).expect("JSON");
                    ("look_up".to_owned(), arguments)
                })
                .collect();
            let calls: Vec<_> =
                said.calls.iter().map(|(_, name, arguments)| (name.clone(), arguments.clone())).collect();
            assert_eq!(calls, wanted, "{name}");
            assert_ne!(said.calls[0].0, said.calls[1].0, "{name}: ids");
        }
    }
}

/// Three turns with tools: the target demands that every result answers its call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_walk_with_tools_goes_on_over_every_pair_of_dialects() {
    let house = House::start("", &each("reasoning=4")).await;
    let prompt =
        "mend it\n@sim call look_up {\"query\":\"one\"}\n@sim call look_up {\"query\":\"two\"}\n@sim say mended";
    for (client, target) in pairs() {
        let name = format!("{client:?} asks {target:?}");
        let mut body = client.ask(target.provider(), false, prompt);
        client.offer(&mut body, "look_up");
        for wanted in ["one", "two"] {
            let mut response = client.post(house.addr, &[], &body).await;
            let answer = response.json().await;
            assert_eq!(response.status, 200, "{name}: {answer}");
            let said = client.whole(&answer);
            let calls: Vec<_> = said.calls.iter().map(|(_, _, arguments)| arguments["query"].clone()).collect();
            assert_eq!(calls, [wanted], "{name}: {answer}");
            client.go_on(&mut body, &answer, &[(said.calls[0].0.clone(), format!("found {wanted}"))]);
        }
        let mut response = client.post(house.addr, &[], &body).await;
        let answer = response.json().await;
        assert_eq!(response.status, 200, "{name}: {answer}");
        assert_eq!(client.whole(&answer).text, "mended", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fallback_of_another_dialect_answers_with_tools_and_pictures_before_anything_was_shown() {
    for (client, fallback) in pairs().filter(|(client, fallback)| client != fallback) {
        for (fault, cause) in
            [("status_503", "overloaded"), ("hang_headers", "own_deadline_first_token"), ("early_end", "early_end")]
        {
            let name = format!("{client:?} falls back to {fallback:?} after {fault}");
            let config = format!(
                "{}{}[routes.m]\ntargets = [\"{}\", \"{}\"]\n",
                client.target(&format!("fault={fault}"), "deadlines = { first_token = \"300ms\" }"),
                fallback.target("tools=1", "max_output_tokens = 4000"),
                client.provider(),
                fallback.provider(),
            );
            let house = House::start("", &config).await;
            let mut body = client.ask("m", true, PROMPT);
            client.offer(&mut body, "look_up");
            client.show(&mut body, PNG);
            let mut response = client.post(house.addr, &[], &body).await;
            assert_eq!(response.status, 200, "{name}");
            assert_eq!(response.header("x-tautline-target"), Some(fallback.provider()), "{name}");
            let said = client.stream(&mut response).await;
            let arguments: Value = serde_json::from_str(&tool_arguments(PROMPT, 0)).expect("JSON");
            assert_eq!(said.calls.iter().map(|call| &call.2).collect::<Vec<_>>(), [&arguments], "{name}");
            let record = house.record_of(&response).await;
            assert_eq!(record.outcome.as_str(), "ok_fallback", "{name}");
            assert_eq!(record.attempts[0].cause, cause, "{name}");
            let seen = house.sim.seen().pop().expect("the fallback was asked");
            assert!(seen.body.to_string().contains(PNG), "{name}: the picture went along");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tools_long_name_is_short_for_openais_dialects_and_comes_back_as_it_was() {
    let house = House::start("", &each("tools=1")).await;
    let name = format!("mcp__{}", "x".repeat(90));
    for (client, target) in pairs().filter(|(client, target)| client != target) {
        let mut body = client.ask(target.provider(), true, PROMPT);
        client.offer(&mut body, &name);
        let mut response = client.post(house.addr, &[], &body).await;
        assert_eq!(response.status, 200, "{client:?} asks {target:?}");
        let said = client.stream(&mut response).await;
        assert_eq!(said.calls.iter().map(|call| &call.1).collect::<Vec<_>>(), [&name], "{client:?} asks {target:?}");
        let seen = house.sim.seen().pop().expect("asked").body.to_string();
        assert_eq!(seen.contains(&name), target == Tongue::Messages, "{client:?} asks {target:?}: {seen}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_web_search_beside_other_tools_is_a_wish_and_alone_or_chosen_a_need() {
    let house = House::start("", &each("tokens=3")).await;
    let search = json!({"type": "web_search_20250305", "name": "web_search"});
    for target in Tongue::ALL {
        let mut body = Tongue::Messages.ask(target.provider(), false, PROMPT);
        Tongue::Messages.offer(&mut body, "look_up");
        body["tools"].as_array_mut().expect("a list").push(search.clone());
        let mut response = Tongue::Messages.post(house.addr, &[], &body).await;
        let answer = response.text().await;
        assert_eq!(response.status, 200, "{target:?}: {answer}");
        let warned = response.header("x-tautline-warning").is_some_and(|text| text.contains("web search"));
        let seen = house.sim.seen().pop().expect("asked").body;
        // In its own dialect it goes through as it came; the target says what it makes of it.
        let own = target == Tongue::Messages;
        assert_eq!((seen.to_string().contains("web_search"), warned), (own, !own), "{target:?}: {seen}");
        body["tool_choice"] = json!({"type": "tool", "name": "web_search"});
        assert_eq!(Tongue::Messages.post(house.addr, &[], &body).await.status, 400, "{target:?}: chosen");
        body["tool_choice"] = json!({"type": "auto"});
        body["tools"] = json!([search]);
        assert_eq!(Tongue::Messages.post(house.addr, &[], &body).await.status, 400, "{target:?}: alone");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_breaks_ends_in_the_dialects_own_error_and_never_in_its_good_end() {
    for (client, target) in pairs() {
        let name = format!("{client:?} asks {target:?}");
        let config = format!(
            "{}[routes.m]\ntargets = [\"{}\"]\n",
            target.target("fault=reset&after=5&gap=1ms", "max_output_tokens = 4000"),
            target.provider()
        );
        let house = House::start("", &config).await;
        let mut response = client.post(house.addr, &[], &client.ask("m", true, PROMPT)).await;
        assert_eq!(response.status, 200, "{name}");
        let said = client.stream(&mut response).await;
        assert!(!said.ended, "{name}");
        let error = said.error.unwrap_or_else(|| panic!("{name}: an error"));
        assert!(error["message"].as_str().is_some_and(|message| message.contains("target")), "{name}: {error}");
        assert!(answer_text(PROMPT, 60).starts_with(&said.text), "{name}");
        assert_eq!(house.record_of(&response).await.cause, "reset", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payloads_of_the_same_dialect_go_through_byte_for_byte() {
    let script = "tokens=12&reasoning=3&tools=1&parallel=2";
    let house = House::start("", &each(script)).await;
    for tongue in Tongue::ALL {
        let ask = |model: &str| {
            let mut body = tongue.ask(model, true, PROMPT);
            tongue.offer(&mut body, "look_up");
            body
        };
        let through = tongue.post(house.addr, &[], &ask(tongue.provider())).await.payloads().await;
        let direct = tongue.post(house.sim.addr(), &[], &ask(&format!("sim?{script}"))).await.payloads().await;
        assert!(through.len() > 10, "{tongue:?}");
        for (through, direct) in plain(&through).iter().zip(plain(&direct)) {
            assert_eq!(*through, direct, "{tongue:?}");
        }
        assert_eq!(through.len(), direct.len(), "{tongue:?}");
    }
}

/// Without what the simulator numbers anew for each answer: the sixteen digits of its ids.
fn plain(payloads: &[String]) -> Vec<String> {
    let one = |payload: &String| {
        let mut parts = payload.split("sim_").flat_map(|part| part.split("sim-"));
        let mut text = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let digits = part.bytes().take_while(u8::is_ascii_hexdigit).count();
            text.push_str("sim_");
            text.push_str(&part[if digits == 16 { digits } else { 0 }..]);
        }
        text
    };
    payloads.iter().map(one).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_door_refuses_in_its_own_words() {
    let house = House::start("", &each("tokens=3")).await;
    for (tongue, body, status, kind) in [
        (Tongue::Messages, json!({"model": "only-chat", "max_tokens": 9}), 400, "invalid_request_error"),
        (
            Tongue::Messages,
            json!({"model": "nobody", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}),
            404,
            "not_found_error",
        ),
        (Tongue::Responses, json!({"model": "nobody", "input": "x"}), 404, "invalid_request_error"),
    ] {
        let mut response = tongue.post(house.addr, &[], &body).await;
        let answer = response.json().await;
        assert_eq!(response.status, status, "{answer}");
        assert_eq!(answer["error"]["type"], kind, "{answer}");
        if tongue == Tongue::Messages {
            assert_eq!(answer["type"], "error");
            assert_eq!(response.header("request-id"), response.header("x-request-id"));
            assert_eq!(answer["request_id"].as_str(), response.header("request-id"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prompt_that_is_too_long_leaves_each_door_as_its_vendor_says_it_whoever_refused() {
    for (client, target) in pairs() {
        let name = format!("{client:?} asks {target:?}");
        let refuses = target.target("fault=context_length", "max_output_tokens = 4000");
        let small = target.target("tokens=3", "context_tokens = 5");
        // Refused by the target, and by our own plan.
        for config in [refuses, small] {
            let house = House::start("", &format!("{config}[routes.m]\ntargets = [\"{}\"]\n", target.provider())).await;
            for stream in [true, false] {
                let mut response = client.post(house.addr, &[], &client.ask("m", stream, &PROMPT.repeat(20))).await;
                let text = response.text().await;
                match (client, stream) {
                    (Tongue::Chat, _) | (Tongue::Responses, false) => {
                        let error: Value = serde_json::from_str(&text).expect("JSON");
                        assert_eq!(
                            (response.status, &error["error"]["code"]),
                            (400, &json!("context_length_exceeded")),
                            "{name}: {text}"
                        );
                    }
                    (Tongue::Messages, _) => {
                        let error: Value = serde_json::from_str(&text).expect("JSON");
                        assert_eq!(
                            (response.status, &error["error"]["type"]),
                            (400, &json!("invalid_request_error")),
                            "{name}: {text}"
                        );
                        assert!(
                            error["error"]["message"]
                                .as_str()
                                .is_some_and(|words| words.starts_with("prompt is too long")),
                            "{name}: {text}"
                        );
                    }
                    (Tongue::Responses, true) => {
                        // OpenAI says it inside the stream; Codex acts on that alone.
                        assert_eq!(response.status, 200, "{name}: {text}");
                        let payloads: Vec<Value> = text
                            .lines()
                            .filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok())
                            .collect();
                        let kinds: Vec<&str> = payloads.iter().filter_map(|frame| frame["type"].as_str()).collect();
                        assert_eq!(kinds, ["response.created", "response.failed"], "{name}: {text}");
                        assert_eq!(
                            payloads[1]["response"]["error"]["code"], "context_length_exceeded",
                            "{name}: {text}"
                        );
                        assert_eq!(payloads[1]["sequence_number"], 1, "{name}");
                    }
                }
                assert_eq!(house.record_of(&response).await.cause, "context_too_long", "{name}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models_are_told_in_both_forms_one_by_one_and_a_websocket_is_sent_to_http() {
    let house = House::start("", &each("tokens=3")).await;
    let get = async |path: &str, headers: &[(&str, &str)]| {
        let mut response = Client::connect(house.addr).await.request("GET", path, headers, b"").await;
        let status = response.status;
        (status, response.header("upgrade").map(str::to_owned), response.json().await)
    };
    let anthropic = [("anthropic-version", "2023-06-01")];
    let (status, _, list) = get("/v1/models", &anthropic).await;
    assert_eq!((status, &list["data"][0]["type"], &list["has_more"]), (200, &json!("model"), &json!(false)), "{list}");
    let (status, _, one) = get("/v1/models/only-chat", &anthropic).await;
    assert_eq!((status, &one["type"], &one["id"]), (200, &json!("model"), &json!("only-chat")), "{one}");
    let (status, _, one) = get("/v1/models/only-chat", &[]).await;
    assert_eq!((status, &one["object"]), (200, &json!("model")), "{one}");
    let (status, _, error) = get("/v1/models/only%2Dchatt", &[]).await;
    assert_eq!((status, &error["error"]["code"]), (404, &json!("model_not_found")), "{error}");
    assert!(error["error"]["message"].as_str().is_some_and(|message| message.contains("only-chat`")), "{error}");
    let upgrade = [("upgrade", "websocket"), ("connection", "upgrade"), ("sec-websocket-key", "x")];
    let (status, upgrade, error) = get("/v1/responses", &upgrade).await;
    assert_eq!((status, upgrade.as_deref()), (426, Some("HTTP/1.1")), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_counted_by_who_counts_them_and_else_estimated_and_named_so() {
    let house = House::start("", &each("tokens=3")).await;
    let count = async |model: &str| {
        let body = json!({"model": model, "messages": [{"role": "user", "content": PROMPT}]});
        let client = Client::connect(house.addr).await;
        let headers = [("anthropic-version", "2023-06-01")];
        let mut response =
            client.request("POST", "/v1/messages/count_tokens", &headers, body.to_string().as_bytes()).await;
        assert_eq!(response.status, 200);
        let warned = response.header("x-tautline-warning").map(str::to_owned);
        (response.json().await["input_tokens"].as_u64().expect("a count"), warned)
    };
    let (counted, warned) = count("only-messages").await;
    assert!(counted > 0 && warned.is_none());
    let (estimated, warned) = count("only-chat").await;
    assert!(estimated > 0 && warned.expect("a warning").contains("estimated"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embeddings_and_completions_go_to_who_serves_them_and_fall_back_there() {
    let config = "[targets.a]\nprovider = \"sim\"\nmodel = \"sim?fault=status_503\"\n[targets.b]\nprovider = \"sim\"\nmodel = \"sim?tokens=5\"\n\
                  [routes.m]\ntargets = [\"a\", \"b\"]\n";
    let house = House::start("", config).await;
    let post = async |path: &str, body: Value| {
        let mut response =
            Client::connect(house.addr).await.request("POST", path, &[], body.to_string().as_bytes()).await;
        let answer = response.text().await;
        assert_eq!(response.status, 200, "{answer}");
        assert_eq!(house.record_of(&response).await.outcome.as_str(), "ok_fallback");
        answer
    };
    let embeddings: Value =
        serde_json::from_str(&post("/v1/embeddings", json!({"model": "m", "input": "rope"})).await).expect("JSON");
    assert!(embeddings["data"][0]["embedding"].as_array().is_some_and(|vector| vector.len() > 8), "{embeddings}");
    let whole: Value =
        serde_json::from_str(&post("/v1/completions", json!({"model": "m", "prompt": PROMPT})).await).expect("JSON");
    assert_eq!(whole["choices"][0]["text"], answer_text(PROMPT, 5));
    let streamed = post("/v1/completions", json!({"model": "m", "prompt": PROMPT, "stream": true})).await;
    assert!(streamed.ends_with("data: [DONE]\n\n"), "{streamed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_of_an_answer_the_clients_dialect_cannot_say_is_named_in_its_head() {
    let house = House::start("", &each("tools=1&parallel=2")).await;
    // The older form of tools has room for one call.
    let function =
        json!({"name": "look_up", "parameters": {"type": "object", "properties": {"query": {"type": "string"}}}});
    let body = json!({"model": "only-messages", "functions": [function],
        "messages": [{"role": "user", "content": PROMPT}]});
    let mut response = Tongue::Chat.post(house.addr, &[], &body).await;
    let answer = response.json().await;
    assert_eq!(answer["choices"][0]["finish_reason"], "function_call", "{answer}");
    let warning = response.header("x-tautline-warning").expect("a warning");
    assert!(warning.contains("dropped all calls but the first of the answer"), "{warning}");
    assert!(house.record_of(&response).await.warnings.iter().any(|told| warning.contains(told.as_str())));
}
