//! The frameworks over the packages: LangChain's chat models and the OpenAI Agents
//! SDK. `.ci/run full` brings them.

use super::package::{Case, PROMPT, Told, lone, route, run, short, target};
use crate::support::{House, Language, Tongue, absent};
use serde_json::{Value, json};
use tautline::domain::record::Outcome;
use tautline::sim::{answer_text, json_answer};

const FAULTS: [&str; 3] = ["status_503", "reset_headers", "hang_headers"];

/// The script, if what it imports is installed; `None` after saying why not.
async fn script(test: &str, name: &str, module: &str) -> Option<tokio::process::Command> {
    let command = Language::Python.script(test, name)?;
    let python = command.as_std().get_program().to_owned();
    let mut probe = tokio::process::Command::new(python);
    let there = probe.args(["-c", &format!("import {module}")]).output().await.expect("the interpreter starts");
    if !there.status.success() {
        absent(test, &format!("the Python module {module} is not installed (.ci/run full installs it)"));
        return None;
    }
    Some(command)
}

fn config() -> String {
    let mut config = String::new();
    for tongue in Tongue::ALL {
        let name = short(tongue);
        config += &lone(&format!("plain-{name}"), tongue, "tokens=30", "");
        config += &lone(&format!("json-{name}"), tongue, "json=1", "");
        config += &lone(&format!("mind-{name}"), tongue, "reasoning=4", "");
        for fault in FAULTS {
            let more = "deadlines = { first_token = \"300ms\" }";
            config += &target(&format!("{fault}-{name}"), tongue, &format!("fault={fault}"), more);
            for fallback in Tongue::ALL.map(short) {
                let (first, second) = (format!("{fault}-{name}"), format!("plain-{fallback}"));
                config += &route(&format!("{first}-{fallback}"), &[&first, &second]);
            }
        }
    }
    config
        + &lone("busy-chat", Tongue::Chat, "fault=status_503", "")
        + &lone("bad-chat", Tongue::Chat, "fault=bad_request", "")
}

fn walk() -> String {
    let calls = [0, 1, 2].map(|call| format!("@sim call look_up {{\"query\":\"q{call}\"}}\n")).concat();
    format!("mend it\n{calls}@sim say mended")
}

/// By each way of asking: answers of each dialect and of each fallback, JSON, a walk, two errors.
fn cases(at: &str, ways: &[&str], ask: [&str; 2], walker: [&str; 2]) -> Vec<Case> {
    let mut cases = Vec::new();
    for by in ways {
        let case = |action: &str, model: &str| {
            let case = Case::new(at, action, model).with("by", json!(by));
            case.with("name", json!(format!("{by} {action} {model}")))
        };
        for tongue in Tongue::ALL.map(short) {
            cases.extend(ask.iter().map(|action| case(action, &format!("plain-{tongue}"))));
            cases.push(case("parse", &format!("json-{tongue}")));
            for action in walker {
                let case = case(action, &format!("mind-{tongue}")).with("prompt", json!(walk()));
                if !cases.iter().any(|known: &Case| known.name() == case.name()) {
                    cases.push(case);
                }
            }
            for fallback in Tongue::ALL.map(short) {
                let model = |fault: &str| format!("{fault}-{tongue}-{fallback}");
                cases.extend(FAULTS.iter().map(|fault| case(ask[1], &model(fault))));
            }
        }
        cases.push(case(ask[0], "busy-chat").with("retries", json!(1)));
        cases.push(case(ask[0], "bad-chat").with("retries", json!(1)));
    }
    cases
}

fn judge(case: &Case, told: &Value) {
    let name = case.name();
    let model = case.0["model"].as_str().expect("a model");
    match model.split('-').next().expect("a first part") {
        "busy" => {
            // The packages' own classes, from which LangChain derives its own.
            let bases = told["error"]["bases"].as_array().unwrap_or_else(|| panic!("{name}: {told:#}"));
            let is = |class: &str| bases.contains(&json!(class));
            assert!(is("InternalServerError") || is("ServiceUnavailableError"), "{name}: {told:#}");
        }
        "bad" => assert_eq!(told["error"]["status"], 400, "{name}: {told:#}"),
        _ if !told["error"].is_null() => panic!("{name}: {told:#}"),
        "json" => {
            let answer: Value = serde_json::from_str(&json_answer(PROMPT, 60)).expect("JSON");
            assert_eq!(told["parsed"], answer["answer"], "{name}");
        }
        "mind" => {
            assert_eq!(told["text"], "mended", "{name}: {told:#}");
            let wanted: Vec<Value> =
                (0..3).map(|call| json!({"name": "look_up", "arguments": {"query": format!("q{call}")}})).collect();
            assert_eq!(told["calls"], json!(wanted), "{name}: no call is wrong, none is lost");
        }
        _ => {
            assert_eq!(told["text"], answer_text(PROMPT, 30), "{name}");
            if !told["output_tokens"].is_null() {
                assert_eq!(told["output_tokens"], 30, "{name}");
            }
        }
    }
}

async fn is_served(command: tokio::process::Command, ways: &[&str], ask: [&str; 2], walker: [&str; 2]) {
    let house = House::start("same_target_retries = 0\n", &config()).await;
    let cases = cases(&format!("http://{}", house.addr), ways, ask, walker);
    let told: Told = run(command, &cases).await;
    for case in &cases {
        judge(case, &told[case.name()]);
    }
    let records = house.records().await;
    let count = |model: &str| records[model].len();
    assert_eq!(count("busy-chat"), 2 * ways.len(), "asked again once, by each");
    assert_eq!(count("bad-chat"), ways.len(), "and here never");
    for (model, records) in &records {
        let rescued = FAULTS.iter().any(|fault| model.starts_with(fault));
        let wanted = if rescued { Outcome::OkFallback } else { Outcome::Ok };
        let good = |outcome| outcome == wanted || model.ends_with("sy-chat") || model == "bad-chat";
        assert!(records.iter().all(|record| good(record.outcome)), "{model}: {records:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: LangChain and all that it imports"]
async fn langchain_is_served_over_every_dialect() {
    let test = "langchain_is_served_over_every_dialect";
    let Some(command) = script(test, "sdk_langchain.py", "langchain_openai, langchain_anthropic").await else { return };
    is_served(command, &["chat", "responses", "anthropic"], ["invoke", "stream"], ["walk", "walk"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: the OpenAI Agents SDK and all that it imports"]
async fn the_agents_sdk_is_served_over_every_dialect() {
    let test = "the_agents_sdk_is_served_over_every_dialect";
    let Some(command) = script(test, "sdk_agents.py", "agents").await else { return };
    is_served(command, &["chat", "responses"], ["run", "stream"], ["run", "stream"]).await;
}
