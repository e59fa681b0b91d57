//! The official openai packages against the gateway, with nothing but the base
//! URL changed. The scripts in tests/clients run many cases in one process and
//! print what the package gave or raised; what that has to be stands here.

use crate::support::{House, Language, chat, closed_port, lines, sim_target, within};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tautline::domain::record::{Outcome, Record};
use tautline::sim::{Ended, Sim, SimSettings, answer_text, tool_arguments};

const PROMPT: &str = "why do ropes go slack?";

#[derive(Clone, Copy)]
enum Package {
    Python,
    Node,
}

/// What each case of a run printed, by its name.
type Told = BTreeMap<String, Value>;

impl Package {
    /// Its interpreter, ready for the script; `None` after saying why not.
    fn command(self, test: &str) -> Option<tokio::process::Command> {
        match self {
            Self::Python => Language::Python.script(test, "cases.py"),
            Self::Node => Language::Node.script(test, "cases.cjs"),
        }
    }
}

/// Runs one group of cases to its end.
async fn run(mut command: tokio::process::Command, house: &House, group: &str) -> Told {
    command.arg(house.running.base_url()).arg(group);
    let told = lines(command, "").await.into_iter();
    told.map(|told| (told["case"].as_str().expect("a name").to_owned(), told)).collect()
}

fn route(name: &str, targets: &[&str]) -> String {
    format!("[routes.{name}]\ntargets = {targets:?}\n")
}

/// A target of the same name as its route, with this script.
fn lone(name: &str, script: &str) -> String {
    sim_target(name, script, "") + &route(name, &[name])
}

/// A second provider that knows one key, and a route on which it gets the
/// caller's own.
async fn own_login(known: &str) -> (Sim, String) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let sim = Sim::start(listener, SimSettings { api_keys: vec![known.to_owned()], ..SimSettings::default() });
    let config = format!(
        "[providers.own]\ndialect = \"sim\"\nbase_url = \"{}\"\nauth = \"client\"\nmodels = [\"own\"]\n\
         [targets.own]\nprovider = \"own\"\nmodel = \"sim?tokens=40\"\n{}",
        sim.base_url(),
        route("own", &["own"])
    );
    (sim, config)
}

fn answers_config() -> String {
    lone("good", "tokens=40")
        + &lone("tools", "tools=1&parallel=2")
        + &lone("endless", "tokens=5000&gap=20ms")
        + &sim_target("broken", "fault=status_503", "")
        + &route("rescued", &["broken", "good"])
        + "[tasks.chat]\ntargets = [\"broken\"]\n[tasks.lookup]\ntargets = [\"good\"]\n"
        + "[routes.auto]\nby_task = true\ndefault_task = \"chat\"\n"
}

async fn gives_answers(package: Package, test: &str) {
    let Some(command) = package.command(test) else { return };
    let (own, own_config) = own_login("sk-of-the-user").await;
    let house = House::start("", &(answers_config() + &own_config)).await;
    let told = run(command, &house, "answers").await;
    let expected = answer_text(PROMPT, 40);
    assert_eq!(told.len(), 11, "{told:#?}");
    for case in told.values() {
        assert!(case["error"].is_null(), "{case:#}");
    }
    for name in ["stream", "whole", "usage", "fallback", "own_login", "task"] {
        assert_eq!(
            (told[name]["text"].as_str(), told[name]["finish"].as_str()),
            (Some(&*expected), Some("stop")),
            "{name}"
        );
    }
    assert_eq!(told["whole"]["usage"], 40);
    assert_eq!(told["usage"]["usage"], 40, "include_usage was asked for");
    assert_eq!(told["stream"]["usage"], Value::Null, "and here it was not");
    for name in ["stream", "usage", "fallback", "tools_stream"] {
        assert_eq!(told[name]["ids"].as_array().map(Vec::len), Some(1), "one answer has one id: {}", told[name]);
    }
    let call = |index| json!({"name": "look", "arguments": tool_arguments(PROMPT, index)});
    for name in ["tools_stream", "tools_whole", "tools_helper"] {
        assert_eq!(told[name]["calls"], json!([call(0), call(1)]), "{name}");
    }
    assert_eq!(told["tools_stream"]["finish"], "tool_calls");
    assert_eq!(
        told["models"]["ids"],
        json!(["auto", "auto:chat", "auto:lookup", "endless", "good", "own", "rescued", "tools"])
    );
    assert_eq!(told["abort"]["chunks"], 4);
    let records = house.records().await;
    let outcome = |model: &str| records[model].iter().map(|record| record.outcome).collect::<Vec<_>>();
    assert_eq!(outcome("good"), [Outcome::Ok; 3]);
    assert_eq!(outcome("tools"), [Outcome::Ok; 3]);
    assert_eq!(outcome("rescued"), [Outcome::OkFallback]);
    let left = &records["endless"][0];
    assert_eq!((left.outcome, left.status, left.cause.as_str()), (Outcome::ClientGone, 499, "client_gone"));
    assert_eq!(left.attempts[0].outcome.as_str(), "cancelled", "no target is blamed for it");
    within("the target's notice", house.sim.wait_seen(1, |seen| seen.ended == Some(Ended::PeerClosed))).await;
    let seen = house.sim.seen();
    let cut: Vec<_> = seen.iter().filter(|seen| seen.ended == Some(Ended::PeerClosed)).collect();
    assert!(cut.len() == 1 && cut[0].model.contains("tokens=5000") && cut[0].frames_sent < 4000, "{cut:#?}");
    assert!(seen.iter().all(|seen| seen.bearer.is_none()), "the user's key goes to its own provider only");
    assert_eq!(own.seen()[0].bearer.as_deref(), Some("sk-of-the-user"));
    let auto = &records["auto"][0];
    assert_eq!((auto.task.as_str(), auto.task_reason.as_str()), ("lookup", "header"));
}

fn errors_config() -> String {
    let slow = "deadlines = { first_token = \"400ms\" }";
    lone("bad", "fault=bad_request")
        + &lone("policy", "fault=policy")
        + &lone("long", "fault=context_length")
        + &lone("page", "fault=html")
        + &lone("login", "fault=status_401")
        + &lone("quota", "fault=quota")
        + &sim_target("late", "fault=hang_headers", slow)
        + &route("late", &["late"])
        + &lone("cut", "fault=reset&after=5&tokens=40&gap=10ms")
        + &lone("busy", "fault=status_503")
        + &lone("busy-once", "fault=status_503&first=1&tokens=40")
        + &lone("limited-once", "fault=status_429&retry_after=1&first=1&tokens=40")
        + &lone("limited-long", "fault=status_429&retry_after=90")
        + &format!(
            "[providers.shut]\ndialect = \"sim\"\nbase_url = \"http://127.0.0.1:{}/v1\"\nmodels = [\"shut\"]\n",
            closed_port()
        )
        + "[targets.closed]\nprovider = \"shut\"\nmodel = \"shut\"\n"
        + &route("closed", &["closed"])
}

/// What both packages have to raise, since they name their classes alike: its class, status, code and cause, and how many
/// requests it sends before it does.
struct Raised {
    case: &'static str,
    class: &'static str,
    status: u16,
    code: &'static str,
    cause: &'static str,
    requests: usize,
}

fn to_be_raised() -> Vec<Raised> {
    let bad = "BadRequestError";
    let server = "InternalServerError";
    let limit = "RateLimitError";
    let row = |case, class, status, code, cause, requests| Raised { case, class, status, code, cause, requests };
    vec![
        // As it came from the target: this one has no code.
        row("bad", bad, 400, "", "bad_request", 1),
        row("policy", bad, 400, "content_policy_violation", "content_policy", 1),
        row("long", bad, 400, "context_length_exceeded", "context_too_long", 1),
        row("own", "AuthenticationError", 401, "invalid_api_key", "auth", 1),
        row("no-such-model", "NotFoundError", 404, "model_not_found", "unknown_route", 1),
        // What the operator has to mend is never tried again by the package.
        row("page", server, 502, "not_an_api", "not_an_api", 1),
        row("login", server, 502, "auth", "auth", 1),
        row("quota", limit, 429, "insufficient_quota", "quota_exhausted", 1),
        row("late", server, 504, "own_deadline_first_token", "own_deadline_first_token", 1),
        row("limited_long", limit, 429, "rate_limit_exceeded", "rate_limited", 1),
        // Where waiting helps it is: twice more by default, once more where the script says so.
        row("closed", server, 502, "connect_refused", "connect_refused", 3),
        row("busy", server, 503, "overloaded", "overloaded", 2),
    ]
}

async fn raises_errors(package: Package, test: &str) {
    let Some(command) = package.command(test) else { return };
    let (_own, own_config) = own_login("sk-of-somebody-else").await;
    let gateway = "retry_after_wait_max = \"500ms\"\nheaders_hold_max = \"100ms\"\n";
    let house = House::start(gateway, &(errors_config() + &own_config)).await;
    let told = run(command, &house, "errors").await;
    let records = house.records().await;
    for Raised { case, class, status, code, cause, requests } in to_be_raised() {
        let error = &told[case]["error"];
        let got = (error["class"].as_str(), error["status"].as_u64(), error["code"].as_str().unwrap_or_default());
        assert_eq!(got, (Some(class), Some(status.into()), code), "{case}: {error:#}");
        assert_eq!(error["cause"], cause, "{case}");
        let records = &records[&case.replace('_', "-")];
        let sent: Vec<_> = records.iter().filter(|record| !record.stream).collect();
        assert_eq!(sent.len(), requests, "{case}: requests that the package sent");
        assert!(sent.iter().all(|record| record.cause == cause && record.status == status), "{case}: {sent:#?}");
        assert_eq!(error["request_id"], sent[requests - 1].id.as_str(), "{case}: the error names its record");
        if requests == 1 {
            assert_eq!((&error["should_retry"], &error["retry_after"]), (&json!("false"), &Value::Null), "{case}");
        } else {
            assert_eq!(error["should_retry"], Value::Null, "{case}");
        }
    }
    in_stream(&told, &records);
    let astray = &told["wrong_base_url"]["error"];
    assert_eq!((astray["class"].as_str(), astray["code"].as_str()), (Some("NotFoundError"), Some("unknown_url")));
    assert!(astray["message"].as_str().is_some_and(|told| told.contains("`/v1/v1/chat/completions`")), "{astray:#}");
    let expected = answer_text(PROMPT, 40);
    for case in ["busy_then_good", "limited_then_good"] {
        assert_eq!(told[case]["text"], expected, "{case}: {}", told[case]);
    }
    let statuses = |model: &str| records[model].iter().map(|record| record.status).collect::<Vec<_>>();
    assert_eq!(statuses("busy-once"), [503, 200]);
    assert_eq!(statuses("limited-once"), [429, 200]);
    let [refused, answered] = &records["limited-once"][..] else { unreachable!("two, as just said") };
    let at = |record: &Record| record.at.parse::<jiff::Timestamp>().expect("RFC 3339").as_millisecond();
    assert!(at(answered) - at(refused) >= 950, "the package waited for its retry-after of a second");
    assert!(records.values().flatten().all(|record| record.outcome != Outcome::ClientGone), "none was left waiting");
}

/// An error after the headers went out: the packages raise it from the loop.
fn in_stream(told: &Told, records: &BTreeMap<String, Vec<Record>>) {
    for (case, model, cause) in [("late_stream", "late", "own_deadline_first_token"), ("cut", "cut", "reset")] {
        let error = &told[case]["error"];
        assert_eq!(error["class"], "APIError", "{case}: {error:#}");
        assert_eq!(error["code"], cause, "{case}: {error:#}");
        let streamed: Vec<_> = records[model].iter().filter(|record| record.stream).collect();
        assert_eq!(streamed.len(), 1, "{case}: nothing is sent again once a stream began");
        assert_eq!((streamed[0].cause.as_str(), streamed[0].status), (cause, 200), "{case}");
    }
    assert_eq!(records["cut"][0].outcome, Outcome::Cut);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_is_free_when_it_said_last() {
    let house = House::start("", &lone("limited", "fault=status_429&retry_after_ms=1200")).await;
    let response = house.post(&chat("limited", false)).await;
    // It was waited for once; what it said before that is over.
    assert_eq!((response.header("x-tautline-attempts"), response.header("retry-after")), (Some("2"), Some("2")));
}

/// Silent before the first token, and between the only two.
fn silence_config(before: &str, between: &str) -> String {
    lone("quiet", &format!("ttft={before}&tokens=5")) + &lone("halting", &format!("gap={between}&tokens=2"))
}

/// The packages wait shorter than the target is silent, and notice nothing.
async fn bears_silence(package: Package, test: &str, group: &str, gateway: &str, silence: &str, keepalives_min: f64) {
    let Some(command) = package.command(test) else { return };
    let house = House::start(gateway, &silence_config(silence, silence)).await;
    let told = run(command, &house, group).await;
    for (case, tokens) in [("before", 5), ("within", 2)] {
        assert_eq!(told[case]["text"], answer_text(PROMPT, tokens), "{case}: {:#}", told[case]);
        assert_eq!(told[case]["finish"], "stop", "{case}");
    }
    let records = house.records().await;
    assert!(records.values().flatten().all(|record| record.outcome == Outcome::Ok), "{records:#?}");
    let metrics = house.metrics().await;
    let sent = metrics.lines().find_map(|line| line.strip_prefix("tautline_gateway_keepalives_total "));
    let sent: f64 = sent.and_then(|number| number.parse().ok()).unwrap_or_default();
    assert!(sent >= keepalives_min, "{sent} keep-alives, at least {keepalives_min} were due");
}

const SCALED: &str = "keepalive_every = \"300ms\"\nheaders_hold_max = \"300ms\"\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_package_gets_its_answers() {
    gives_answers(Package::Python, "the_python_package_gets_its_answers").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_package_gets_its_answers() {
    gives_answers(Package::Node, "the_node_package_gets_its_answers").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_package_raises_its_own_errors_and_retries_where_that_helps() {
    raises_errors(Package::Python, "the_python_package_raises_its_own_errors_and_retries_where_that_helps").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_package_raises_its_own_errors_and_retries_where_that_helps() {
    raises_errors(Package::Node, "the_node_package_raises_its_own_errors_and_retries_where_that_helps").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_package_does_not_notice_a_silence() {
    bears_silence(Package::Python, "the_python_package_does_not_notice_a_silence", "silence", SCALED, "3s", 10.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_package_does_not_notice_a_silence() {
    bears_silence(Package::Node, "the_node_package_does_not_notice_a_silence", "silence", SCALED, "3s", 10.0).await;
}

const NO_KEEPALIVE: &str = "keepalive_every = \"1h\"\nheaders_hold_max = \"1h\"\n";

/// The tests of silence could not fail if the packages did not give up here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_keepalives_the_python_package_gives_up() {
    let Some(command) = Package::Python.command("without_keepalives_the_python_package_gives_up") else { return };
    let house = House::start(NO_KEEPALIVE, &silence_config("60s", "60s")).await;
    let told = run(command, &house, "silence").await;
    assert_eq!(told["before"]["error"]["class"], "APITimeoutError", "{:#}", told["before"]);
    // In the middle of a stream the package raises what its HTTP library does.
    let within = told["within"]["error"]["class"].as_str().expect("it gave up");
    assert!(["APITimeoutError", "ReadTimeout"].contains(&within), "{within}");
    let records = house.records().await;
    assert!(records.values().flatten().all(|record| record.outcome == Outcome::ClientGone), "{records:#?}");
}

/// This package's own patience ends with the headers; in the middle of a stream
/// it waits on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_early_headers_the_node_package_gives_up() {
    let Some(command) = Package::Node.command("without_early_headers_the_node_package_gives_up") else { return };
    let house = House::start(NO_KEEPALIVE, &silence_config("60s", "100ms")).await;
    let told = run(command, &house, "silence").await;
    assert_eq!(told["before"]["error"]["class"], "APIConnectionTimeoutError", "{:#}", told["before"]);
    assert_eq!(house.records().await["quiet"][0].outcome, Outcome::ClientGone);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: 30 s of silence before the first token and between two"]
async fn the_python_package_does_not_notice_half_a_minute_of_silence() {
    let test = "the_python_package_does_not_notice_half_a_minute_of_silence";
    bears_silence(Package::Python, test, "long-silence", "", "30s", 4.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: 30 s of silence before the first token and between two"]
async fn the_node_package_does_not_notice_half_a_minute_of_silence() {
    let test = "the_node_package_does_not_notice_half_a_minute_of_silence";
    bears_silence(Package::Node, test, "long-silence", "", "30s", 4.0).await;
}
