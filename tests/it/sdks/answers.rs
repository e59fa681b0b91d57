//! What the packages get: plain, in JSON, with tools, and where the first target
//! fails before its first token.

use super::package::{Case, PROMPT, Package, Told, lone, route, run, short, target};
use crate::support::{House, Tongue};
use serde_json::{Value, json};
use tautline::domain::record::Outcome;
use tautline::sim::{answer_text, json_answer, tool_arguments};

/// Fault of the first target, and the cause that it has to be recorded as.
const FAULTS: [(&str, &str); 3] = [
    ("status_503", "overloaded"),
    ("reset_headers", "reset_before_headers"),
    ("hang_headers", "own_deadline_first_token"),
];

fn config() -> String {
    let mut config = String::new();
    for tongue in Tongue::ALL {
        let name = short(tongue);
        config += &lone(&format!("plain-{name}"), tongue, "tokens=30", "");
        config += &lone(&format!("json-{name}"), tongue, "json=1", "");
        config += &lone(&format!("tools-{name}"), tongue, "tools=1&parallel=2", "");
        for (fault, _) in FAULTS {
            // Short for the one that hangs alone: a slow machine must not end good answers.
            let more = "deadlines = { first_token = \"300ms\" }";
            config += &target(&format!("{fault}-{name}"), tongue, &format!("fault={fault}"), more);
            for fallback in Tongue::ALL {
                let (first, second) = (format!("{fault}-{name}"), format!("plain-{}", short(fallback)));
                config += &route(&format!("{fault}-{name}-{}", short(fallback)), &[&first, &second]);
            }
        }
    }
    config + "[routes.\"*\"]\npassthrough = true\n"
}

/// What it is asked of each target, beside its action on the route and what has to come.
fn cases(package: Package, at: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    let (plain, parsers, helper): (&[&str], &[&str], &[&str]) = if package.is_openai() {
        (
            &["chat_whole", "chat_stream", "chat_helper", "responses_whole", "responses_stream", "responses_helper"],
            &["chat_parse", "responses_parse", "responses_stream_parse"],
            &["chat_helper", "responses_helper"],
        )
    } else {
        (
            &["messages_whole", "messages_stream", "messages_helper", "messages_events"],
            &["messages_parse"],
            &["messages_helper"],
        )
    };
    for tongue in Tongue::ALL.map(short) {
        cases.extend(plain.iter().map(|action| Case::new(at, action, &format!("plain-{tongue}"))));
        cases.extend(parsers.iter().map(|action| Case::new(at, action, &format!("json-{tongue}"))));
        let tools = |action: &&str| Case::new(at, action, &format!("tools-{tongue}")).with("tools", json!(true));
        cases.extend(helper.iter().map(tools));
        for fallback in Tongue::ALL.map(short) {
            for (fault, _) in FAULTS {
                let model = format!("{fault}-{tongue}-{fallback}");
                cases.extend(helper.iter().map(|action| Case::new(at, action, &model)));
                // Streamed it is by the helper; the fault strikes whole answers as well.
                cases.push(Case::new(at, plain[0], &model));
            }
        }
        if package.is_openai() {
            cases.push(Case::new(at, "responses_kept", &format!("plain-{tongue}")));
        } else {
            cases.push(Case::new(at, "count_tokens", &format!("plain-{tongue}")));
        }
    }
    cases.push(Case::new(at, "models", "plain-chat"));
    if package.is_openai() {
        cases.push(Case::new(at, "embeddings", "sim"));
        cases.push(Case::new(at, "completions", "sim?tokens=9"));
    }
    cases
}

/// The word for a good end in the dialect that the action speaks.
fn good_end(action: &str, calls: bool) -> &'static str {
    match (action.split('_').next(), calls) {
        (Some("chat"), false) => "stop",
        (Some("chat"), true) => "tool_calls",
        (Some("responses"), _) => "completed",
        (_, false) => "end_turn",
        (_, true) => "tool_use",
    }
}

fn judge(case: &Case, told: &Value) {
    let (name, action) = (case.name(), case.0["do"].as_str().expect("an action"));
    let model = case.0["model"].as_str().expect("a model");
    assert!(told["error"].is_null(), "{name}: {told:#}");
    match (action, model.split('-').next().expect("a first part")) {
        ("models" | "embeddings" | "completions" | "count_tokens", _) => {}
        ("messages_stream", _) => {
            assert_eq!(told["text"], answer_text(PROMPT, 30), "{name}");
            assert_eq!((&told["first"], &told["last"]), (&json!("message_start"), &json!("message_stop")), "{name}");
        }
        (_, "json") => {
            let answer: Value = serde_json::from_str(&json_answer(PROMPT, 60)).expect("JSON");
            assert_eq!(told["parsed"], answer["answer"], "{name}");
        }
        (_, "tools") => {
            let arguments = |call| serde_json::from_str::<Value>(&tool_arguments(PROMPT, call)).expect("JSON");
            let calls: Vec<Value> = told["calls"].as_array().expect("calls").iter().map(arguments_of).collect();
            assert_eq!(calls, [arguments(0), arguments(1)], "{name}");
            assert_eq!(told["finish"], good_end(action, true), "{name}");
        }
        _ => {
            assert_eq!(told["text"], answer_text(PROMPT, 30), "{name}");
            assert_eq!(told["finish"], good_end(action, false), "{name}");
            assert_eq!(told["output_tokens"], 30, "{name}: counted by who answered");
            if action == "responses_kept" {
                assert_eq!((&told["same"], &told["gone"]), (&json!(true), &json!(404)), "{name}: {told:#}");
            }
            if !told["joined"].is_null() {
                assert_eq!(told["joined"], told["text"], "{name}: pieces and the whole");
            }
        }
    }
}

fn arguments_of(call: &Value) -> Value {
    assert_eq!(call["name"], "look_up");
    match &call["arguments"] {
        Value::String(text) => serde_json::from_str(text).expect("arguments in JSON"),
        read => read.clone(),
    }
}

fn smaller_endpoints(package: Package, told: &Told) {
    let models = &told["models plain-chat"];
    assert_eq!(models["one"], "plain-chat");
    let listed = models["ids"].as_array().expect("a list");
    for name in ["plain-responses", "status_503-chat-messages"] {
        assert!(listed.contains(&json!(name)), "{name} is listed: {models}");
    }
    if package.is_openai() {
        let vectors = &told["embeddings sim"];
        assert_eq!(vectors["sizes"], json!([16, 16]));
        assert!((vectors["norm"].as_f64().expect("a number") - 1.0).abs() < 1e-3, "{vectors}");
        let completed = &told["completions sim?tokens=9"];
        let expected = json!(answer_text(PROMPT, 9));
        assert_eq!((&completed["text"], &completed["joined"]), (&expected, &expected));
        assert_eq!(completed["finish"], "stop");
    } else {
        for tongue in Tongue::ALL.map(short) {
            let counted = &told[&format!("count_tokens plain-{tongue}")]["input_tokens"];
            assert!(counted.as_u64().is_some_and(|tokens| (4..40).contains(&tokens)), "{tongue}: {counted}");
        }
    }
}

async fn gets_answers(package: Package, test: &str) {
    let Some(command) = package.command(test) else { return };
    let house = House::start("same_target_retries = 0\n", &config()).await;
    let cases = cases(package, &format!("http://{}", house.addr));
    let told = run(command, &cases).await;
    for case in &cases {
        judge(case, &told[case.name()]);
    }
    smaller_endpoints(package, &told);
    let records = house.records().await;
    // Fetching and deleting what is kept asks for no model.
    for (model, records) in records.iter().filter(|(model, _)| !model.is_empty()) {
        let fault = FAULTS.iter().find(|(fault, _)| model.starts_with(fault));
        for record in records {
            let tried: Vec<&str> = record.attempts.iter().map(|attempt| attempt.cause.as_str()).collect();
            match fault {
                // Tokens that nobody counts are estimated without an attempt.
                None => {
                    let estimated = record.path.ends_with("/count_tokens") && tried.is_empty();
                    assert!(record.outcome == Outcome::Ok && (estimated || tried == ["none"]), "{model}: {record:#?}");
                }
                Some((_, cause)) => {
                    assert_eq!((record.outcome, &tried[..]), (Outcome::OkFallback, &[*cause, "none"][..]), "{model}");
                }
            }
        }
    }
    let rescued = records.keys().filter(|model| FAULTS.iter().any(|(fault, _)| model.starts_with(fault))).count();
    assert_eq!(rescued, 27, "each fault of each dialect, rescued by each");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openai_for_python_gets_its_answers_from_every_dialect() {
    gets_answers(Package::OpenaiPython, "openai_for_python_gets_its_answers_from_every_dialect").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openai_for_node_gets_its_answers_from_every_dialect() {
    gets_answers(Package::OpenaiNode, "openai_for_node_gets_its_answers_from_every_dialect").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anthropic_for_python_gets_its_answers_from_every_dialect() {
    gets_answers(Package::AnthropicPython, "anthropic_for_python_gets_its_answers_from_every_dialect").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anthropic_for_node_gets_its_answers_from_every_dialect() {
    gets_answers(Package::AnthropicNode, "anthropic_for_node_gets_its_answers_from_every_dialect").await;
}
