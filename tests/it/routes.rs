//! Which task, which targets, what is changed on the way, what is reported.

use crate::support::{House, Response, chat, sim_target};
use serde_json::{Value, json};
use std::time::Instant;
use tautline::sim::answer_text;

const PROMPT: &str = "why do ropes go slack?";

fn route(name: &str, targets: &str) -> String {
    format!("[routes.{name}]\ntargets = [{targets}]\n")
}

/// Targets `one`, `two`, `three` for the tasks chat, analysis, lookup.
fn tasks() -> String {
    format!(
        "{}{}{}[tasks.chat]\ntargets = [\"one\"]\n[tasks.analysis]\ntargets = [\"two\"]\n[tasks.lookup]\ntargets = [\"three\"]\n\
         [routes.auto]\nby_task = true\ndefault_task = \"chat\"\n{}",
        sim_target("one", "tokens=1", ""),
        sim_target("two", "tokens=2", ""),
        sim_target("three", "tokens=3", ""),
        route("plain", "\"one\"")
    )
}

async fn body_of(response: &mut Response) -> Value {
    response.json().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_task_is_the_headers_then_the_metadatas_then_the_suffixs_then_the_default() {
    let house = House::start("", &tasks()).await;
    for (model, header, metadata, target, task, reason) in [
        ("auto", None, None, "one", "chat", "default"),
        ("auto:analysis", None, None, "two", "analysis", "model_suffix"),
        ("auto:analysis", None, Some("lookup"), "three", "lookup", "metadata"),
        ("auto:analysis", Some("chat"), Some("lookup"), "one", "chat", "header"),
        ("auto", Some("analysis"), None, "two", "analysis", "header"),
        // A task that is the client's own decides nothing.
        ("auto:analysis", None, Some("their-own"), "two", "analysis", "model_suffix"),
        // On a route that is not by task it only labels.
        ("plain", Some("analysis"), None, "one", "analysis", "header"),
        ("plain", None, Some("lookup"), "one", "lookup", "metadata"),
    ] {
        let mut body = chat(model, false);
        if let Some(task) = metadata {
            body["metadata"] = json!({"task": task});
        }
        let headers: Vec<(&str, &str)> = header.map(|task| ("x-tautline-task", task)).into_iter().collect();
        let mut answer = house.post_with(&headers, &body).await;
        let case = format!("{model} {header:?} {metadata:?}");
        assert_eq!(answer.status, 200, "{case}");
        assert_eq!(answer.header("x-tautline-target"), Some(target), "{case}");
        assert_eq!(answer.header("x-tautline-task"), Some(task), "{case}");
        answer.bytes().await;
        let record = house.record_of(&answer).await;
        assert_eq!((record.task.as_str(), record.task_reason.as_str()), (task, reason), "{case}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_task_is_refused_with_the_nearest_unless_it_is_the_clients_own() {
    let house = House::start("", &tasks()).await;
    for (model, header, param) in [
        ("auto:analysi", None, "model"),
        ("auto", Some("analysi"), "x-tautline-task"),
        ("plain", Some("analysi"), "x-tautline-task"),
    ] {
        let headers: Vec<(&str, &str)> = header.map(|task| ("x-tautline-task", task)).into_iter().collect();
        let mut answer = house.post_with(&headers, &chat(model, false)).await;
        let body = body_of(&mut answer).await;
        assert_eq!((answer.status, answer.header("x-tautline-cause")), (400, Some("invalid_request")), "{body}");
        assert_eq!(body["error"]["param"], param);
        assert!(body["error"]["message"].as_str().expect("text").contains("\"analysis\""), "{body}");
    }
    assert!(house.sim.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_of_ours_is_taken_out_of_metadata_and_anything_else_stays_as_it_was() {
    let house = House::start("", &tasks()).await;
    for (metadata, forwarded) in [
        (json!({"task": "analysis"}), Value::Null),
        (json!({"task": "analysis", "run": "7"}), json!({"run": "7"})),
        (json!({"task": "their-own"}), json!({"task": "their-own"})),
        (json!({"task": 7}), json!({"task": 7})),
        (json!({}), json!({})),
    ] {
        let mut body = chat("auto", false);
        body["metadata"] = metadata.clone();
        body["seed"] = json!(12_345_678_901_234_u64);
        assert_eq!(house.post(&body).await.status, 200, "{metadata}");
        let seen = house.sim.seen().pop().expect("asked");
        assert_eq!(seen.body["metadata"], forwarded, "{metadata}");
        assert_eq!(seen.body.get("metadata").is_some(), !forwarded.is_null(), "{metadata}");
        assert_eq!(seen.body["messages"], body["messages"]);
        assert_eq!(seen.body["seed"], body["seed"]);
    }
    // A header that overrules it does not make it the target's business.
    let mut body = chat("auto", false);
    body["metadata"] = json!({"task": "analysis"});
    assert_eq!(house.post_with(&[("x-tautline-task", "lookup")], &body).await.status, 200);
    assert!(house.sim.seen().pop().expect("asked").body.get("metadata").is_none());
}

/// A need, a body with it, and the capability that meets it.
fn needs() -> Vec<(&'static str, Value)> {
    let with = |key: &str, value: Value| {
        let mut body = chat("strict", false);
        body[key] = value;
        body
    };
    let mut vision = chat("strict", false);
    vision["messages"][0]["content"] =
        json!([{"type": "text", "text": "what is this?"}, {"type": "image_url", "image_url": {"url": "data:,"}}]);
    let function = json!([{"type": "function", "function": {"name": "f", "parameters": {}}}]);
    vec![
        ("tools", with("tools", function)),
        ("vision", vision),
        ("json", with("response_format", json!({"type": "json_object"}))),
        ("web", with("web_search_options", json!({}))),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_without_a_needed_capability_is_left_out_with_the_reason() {
    let all = "capabilities = [\"tools\", \"vision\", \"json\", \"web\"]";
    let config = format!(
        "{}{}{}{}{}",
        sim_target("bare", "tokens=1", "capabilities = []"),
        sim_target("half", "tokens=2", "capabilities = [\"reasoning\"]"),
        sim_target("all", "tokens=3", all),
        route("strict", "\"bare\", \"half\""),
        route("lucky", "\"bare\", \"all\"")
    );
    let house = House::start("", &config).await;
    for (need, mut body) in needs() {
        let mut answer = house.post(&body).await;
        let told = body_of(&mut answer).await;
        assert_eq!((answer.status, answer.header("x-tautline-cause")), (400, Some("no_fit_target")), "{need}: {told}");
        let message = told["error"]["message"].as_str().expect("text");
        for target in ["bare", "half"] {
            assert!(message.contains(&format!("`{target}`: the request needs {need}")), "{need}: {message}");
        }
        assert_eq!(answer.header("x-should-retry"), Some("false"));
        let record = house.record_of(&answer).await;
        assert_eq!((record.outcome.as_str(), record.phase.as_str()), ("refused", "plan"));
        assert_eq!(record.plan.rejected.len(), 2);
        assert_eq!(record.plan.needs, [need]);
        body["model"] = json!("lucky");
        let answer = house.post(&body).await;
        assert_eq!((answer.status, answer.header("x-tautline-target")), (200, Some("all")), "{need}");
        let record = house.record_of(&answer).await;
        assert_eq!(record.plan.rejected.len(), 1);
        // Left out in plan is no fallback: the first of the itinerary answered.
        assert_eq!(record.outcome.as_str(), "ok", "{need}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prompt_that_fits_no_window_is_told_in_the_vendors_code() {
    let config = format!(
        "{}{}{}{}{}",
        sim_target("small", "tokens=1", "context_tokens = 100"),
        sim_target("middle", "tokens=2", "context_tokens = 1000"),
        sim_target("toolless", "tokens=2", "context_tokens = 100000\ncapabilities = []"),
        route("m", "\"small\", \"middle\""),
        route("mixed", "\"small\", \"toolless\"")
    );
    let house = House::start("", &config).await;
    let long = |model: &str, characters: usize| {
        let mut body = chat(model, false);
        body["messages"][0]["content"] = json!("x".repeat(characters));
        body
    };
    let answer = house.post(&long("m", 1200)).await;
    assert_eq!((answer.status, answer.header("x-tautline-target")), (200, Some("middle")));
    let mut answer = house.post(&long("m", 8000)).await;
    let told = body_of(&mut answer).await;
    assert_eq!((answer.status, answer.header("x-tautline-cause")), (400, Some("context_too_long")), "{told}");
    assert_eq!(told["error"]["code"], "context_length_exceeded");
    assert_eq!(told["error"]["type"], "invalid_request_error");
    let record = house.record_of(&answer).await;
    assert_eq!((record.outcome.as_str(), record.phase.as_str()), ("refused", "plan"));
    // The answer that is asked for needs room, too.
    let mut body = long("m", 400);
    body["max_completion_tokens"] = json!(950);
    assert_eq!(house.post(&body).await.status, 400);
    // Not the window alone: it is no matter of compacting.
    let mut body = long("mixed", 8000);
    body["tools"] = json!([{"type": "function", "function": {"name": "f"}}]);
    let answer = house.post(&body).await;
    assert_eq!(answer.header("x-tautline-cause"), Some("no_fit_target"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn params_are_dropped_renamed_and_set_and_the_client_is_told_of_the_drop() {
    let params = "params = { drop = [\"temperature\", \"seed\"], rename = { max_tokens = \"max_completion_tokens\" }, \
                  set = { top_p = 0.5, user = \"team\" } }";
    let config = format!("{}{}", sim_target("a", "tokens=2", params), route("m", "\"a\""));
    let house = House::start("", &config).await;
    let mut body = chat("m", true);
    body["temperature"] = json!(0.7);
    body["max_tokens"] = json!(99);
    body["user"] = json!("me");
    body["stop"] = json!(["x"]);
    let mut answer = house.post(&body).await;
    assert_eq!(answer.header("x-tautline-warning"), Some("dropped temperature for a"));
    assert!(answer.stream_text().await.done);
    let seen = house.sim.seen().pop().expect("asked").body;
    assert!(seen.get("temperature").is_none() && seen.get("max_tokens").is_none());
    assert_eq!(
        (&seen["max_completion_tokens"], &seen["top_p"], &seen["user"]),
        (&json!(99), &json!(0.5), &json!("team"))
    );
    assert_eq!(seen["stop"], json!(["x"]));
    assert_eq!(house.record_of(&answer).await.warnings, ["dropped temperature for a"]);
    let plain = house.post(&chat("m", false)).await;
    assert_eq!(plain.header("x-tautline-warning"), None, "nothing was there to drop");
    // Both names of one parameter are no key given twice.
    let mut both = chat("m", false);
    both["max_tokens"] = json!(1);
    both["max_completion_tokens"] = json!(2);
    both["top_p"] = json!(0.1);
    assert_eq!(house.post(&both).await.status, 200);
    let raw = house.sim.seen().pop().expect("asked").body;
    assert_eq!(raw["top_p"], json!(0.5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_callers_own_budget_ends_the_exchange_under_its_name() {
    let config = format!(
        "{}{}{}",
        sim_target("silent", "fault=hang_headers", ""),
        sim_target("next", "tokens=2", ""),
        route("m", "\"silent\", \"next\"")
    );
    let house = House::start("", &config).await;
    for stream in [true, false] {
        let began = Instant::now();
        let mut answer = house.post_with(&[("x-tautline-timeout-ms", "500")], &chat("m", stream)).await;
        let told = body_of(&mut answer).await;
        assert!((450..5000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
        assert_eq!((answer.status, answer.header("x-tautline-cause")), (504, Some("own_deadline_total")), "{told}");
        assert!(told["error"]["message"].as_str().expect("text").contains("(client)"), "{told}");
        let record = house.record_of(&answer).await;
        assert_eq!(record.attempts.len(), 1, "no attempt follows the end of the budget");
        assert_eq!((record.outcome.as_str(), record.side.as_str()), ("failed", "gateway"));
        let total = record.plan.steps[0].clocks.iter().find(|clock| clock.clock.as_str() == "total").expect("planned");
        assert_eq!((total.limit_ms, total.source.as_str()), (Some(500), "client"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_is_added_where_it_was_asked_for_and_nowhere_else() {
    let config = format!(
        "{}{}{}",
        sim_target("broken", "fault=status_503", ""),
        sim_target("good", "tokens=5", ""),
        route("m", "\"broken\", \"good\"")
    );
    let house = House::start("", &config).await;
    let mut answer = house.post_with(&[("x-tautline-report", "1")], &chat("m", true)).await;
    let id = answer.header("x-request-id").expect("an id").to_owned();
    let mut lines = Vec::new();
    while let Some(line) = answer.frame().await {
        lines.push(line);
    }
    assert_eq!(lines.last().map(String::as_str), Some("data: [DONE]"));
    let report: Value =
        serde_json::from_str(lines[lines.len() - 2].strip_prefix("data: ").expect("a frame")).expect("JSON");
    check_report(&report["tautline"], &id);
    assert_eq!(report["choices"], json!([]), "SDKs read it as a chunk without choices");
    let notes: Vec<&String> = lines.iter().filter(|line| line.starts_with(": ")).collect();
    assert!(notes.iter().any(|note| note.contains("broken failed (overloaded)") && note.contains("good")), "{lines:?}");
    let text: String = lines
        .iter()
        .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok())
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(text, answer_text(PROMPT, 5));
    let mut answer = house.post_with(&[("x-tautline-report", "1")], &chat("m", false)).await;
    let id = answer.header("x-request-id").expect("an id").to_owned();
    let whole = body_of(&mut answer).await;
    check_report(&whole["tautline"], &id);
    assert_eq!(whole["choices"][0]["message"]["content"], answer_text(PROMPT, 5));
    for stream in [true, false] {
        let text = house.post(&chat("m", stream)).await.text().await;
        assert!(!text.contains("tautline") && !text.contains("\n: "), "{text}");
    }
}

fn check_report(report: &Value, id: &str) {
    assert_eq!(report["id"], id, "{report}");
    assert_eq!(report["outcome"], "ok_fallback");
    let attempts = report["attempts"].as_array().expect("a list");
    let told: Vec<_> = attempts.iter().map(|attempt| (&attempt["target"], &attempt["cause"])).collect();
    assert_eq!(told.last(), Some(&(&json!("good"), &json!("none"))), "{report}");
    assert_eq!(told[0], (&json!("broken"), &json!("overloaded")), "{report}");
    assert_eq!(report["billed"]["tokens"]["output"], 5, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_only_labels_a_route_that_has_targets_of_its_own() {
    let config = format!(
        "{}{}[tasks.search]\ntargets = [\"web\"]\n[routes.plain]\ntargets = [\"a\"]\n\
         [routes.auto]\nby_task = true\ndefault_task = \"search\"\n",
        sim_target("a", "tokens=3", ""),
        sim_target("web", "tokens=4", "capabilities = [\"web\"]\n")
    );
    let house = House::start("", &config).await;
    let mut response = house.post_with(&[("x-tautline-task", "search")], &chat("plain", true)).await;
    assert_eq!((response.status, response.header("x-tautline-target")), (200, Some("a")));
    assert_eq!(response.header("x-tautline-task"), Some("search"));
    assert!(response.stream_text().await.done);
    let mut response = house.post(&chat("auto", true)).await;
    assert_eq!(response.header("x-tautline-target"), Some("web"));
    let _ = response.stream_text().await;
    assert_eq!(house.record_of(&response).await.plan.needs, ["web"]);
}
