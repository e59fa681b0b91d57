//! What the packages raise, and whether they try again, under our errors and
//! under the vendors' own: the same, but where a row says why not.

use super::package::{Case, Package, Told, lone, run, short};
use crate::support::{House, Tongue, closed_port};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use tautline::sim::{Sim, SimSettings};

/// What a program saw of a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Behaviour {
    /// Of the exception; `none` where an answer came after all.
    class: String,
    status: Option<u64>,
    /// How many requests the package sent, its retry counted.
    requests: usize,
}

/// What differs from the vendor, on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum But {
    /// Nothing: class, status and requests are the vendor's.
    Nothing,
    /// The status is ours; class and requests are the vendor's.
    Status,
    /// All of it is ours, for this reason.
    All(&'static str),
    /// The vendor is not asked, for this reason.
    Unasked(&'static str),
}

/// One failure: what the target does, and what the package makes of our error.
struct Row {
    name: &'static str,
    script: &'static str,
    streamed: bool,
    class: Class,
    status: Option<u64>,
    requests: usize,
    but: But,
}

/// The packages of both vendors name most of their classes alike.
#[derive(Debug, Clone, Copy)]
enum Class {
    Both(&'static str),
    /// Of openai, of anthropic.
    Each(&'static str, &'static str),
    /// What an error event in a stream becomes; see [`Row::wanted`].
    InStream,
}

impl Row {
    fn wanted(&self, package: Package, door: Tongue) -> Behaviour {
        let (class, status) = match self.class {
            Class::Both(class) => (class, self.status),
            Class::Each(openai, _) if package.is_openai() => (openai, self.status),
            Class::Each(_, anthropic) => (anthropic, self.status),
            Class::InStream => match (door, package) {
                (Tongue::Chat, _) | (_, Package::AnthropicNode) => ("APIError", None),
                // A program that iterates has to read the last event: `response.failed`.
                (Tongue::Responses, _) => ("none", None),
                (Tongue::Messages, _) => ("APIStatusError", Some(200)),
            },
        };
        Behaviour { class: class.to_owned(), status, requests: self.requests }
    }

    /// What a program has to be able to read in the error, beside its class.
    fn tells(&self, door: Tongue, told: &Value) -> bool {
        match (self.name, door) {
            // Agents compact on exactly these.
            ("long", Tongue::Chat | Tongue::Responses) => told["error"]["code"] == "context_length_exceeded",
            ("long", Tongue::Messages) => {
                told["error"]["message"].as_str().is_some_and(|message| message.contains("prompt is too long"))
            }
            ("event" | "cut", Tongue::Responses) => told["last"] == "response.failed" && told["failed"].is_string(),
            // The gateway's word, where the package would try again.
            ("limited-long" | "spent", _) => told["error"]["should_retry"] == "false",
            _ => true,
        }
    }
}

const BAD: Class = Class::Both("BadRequestError");
const SERVER: Class = Class::Both("InternalServerError");
const LIMIT: Class = Class::Both("RateLimitError");
const FUTILE: &str = "the operator has to mend it, so that the package must not run into it again";
const BROKEN: &str = "the vendor's connection breaks without a word, ours says what happened";
const SLEEPS: &str = "the package would sleep the minute and a half in silence, and so would the test";

/// Failures of a target that answers. Every one is played by targets of all three
/// dialects, and by the vendor (the simulator, asked directly).
fn rows() -> Vec<Row> {
    let row = |name, script, class, status, requests, but| Row {
        name,
        script,
        streamed: false,
        class,
        status,
        requests,
        but,
    };
    let streamed = |row: Row| Row { streamed: true, ..row };
    let ours = |status, requests, but| (Some(status), requests, but);
    let of = |name, script, class, (status, requests, but)| row(name, script, class, status, requests, but);
    vec![
        of("limited", "fault=status_429&retry_after=1", LIMIT, ours(429, 2, But::Nothing)),
        of("limited-once", "fault=status_429&retry_after=1&first=1", Class::Both("none"), (None, 2, But::Nothing)),
        of("limited-long", "fault=status_429&retry_after=90", LIMIT, ours(429, 1, But::Unasked(SLEEPS))),
        of(
            "busy",
            "fault=status_503",
            Class::Each("InternalServerError", "ServiceUnavailableError"),
            ours(503, 2, But::Nothing),
        ),
        of("busy-once", "fault=status_503&first=1", Class::Both("none"), (None, 2, But::Nothing)),
        of("broken", "fault=status_500", SERVER, ours(502, 2, But::Status)),
        of(
            "late",
            "fault=status_504",
            Class::Each("InternalServerError", "GatewayTimeoutError"),
            ours(504, 2, But::Nothing),
        ),
        of("bad", "fault=bad_request", BAD, ours(400, 1, But::Nothing)),
        of("unsupported", "fault=unsupported", BAD, ours(400, 1, But::Nothing)),
        of("policy", "fault=policy", BAD, ours(400, 1, But::Nothing)),
        of("long", "fault=context_length", BAD, ours(400, 1, But::Nothing)),
        of("login", "fault=status_401", SERVER, ours(502, 1, But::All(FUTILE))),
        of("forbidden", "fault=status_403", SERVER, ours(502, 1, But::All(FUTILE))),
        of("nobody", "fault=status_404", SERVER, ours(502, 1, But::All(FUTILE))),
        of("spent", "fault=quota", LIMIT, ours(429, 1, But::All(FUTILE))),
        streamed(of("event", "fault=error_event&after=5&gap=20ms", Class::InStream, (None, 1, But::Nothing))),
        streamed(of("cut", "fault=reset&after=5&gap=20ms", Class::InStream, (None, 1, But::All(BROKEN)))),
    ]
}

fn model(row: &Row, door: Tongue, target: Tongue) -> String {
    format!("{}-{}-{}", row.name, short(door), short(target))
}

/// A script of its own for each case, since the simulator counts by script.
fn script(row: &Row, door: Tongue, seed: usize) -> String {
    format!("{}&tokens=20&seed={seed}{}", row.script, short(door).len())
}

fn action(row: &Row, door: Tongue) -> String {
    format!("{}_{}", short(door), if row.streamed { "stream" } else { "whole" })
}

fn config(doors: &[Tongue]) -> String {
    let mut config = String::new();
    for (at, row) in rows().iter().enumerate() {
        for door in doors {
            for (place, tongue) in Tongue::ALL.into_iter().enumerate() {
                let script = script(row, *door, at * 10 + place);
                config += &lone(&model(row, *door, tongue), tongue, &script, "");
            }
        }
    }
    config
}

fn seen(told: &Value, requests: usize) -> Behaviour {
    let error = &told["error"];
    let class = error["class"].as_str().unwrap_or("none").to_owned();
    Behaviour { class, status: error["status"].as_u64(), requests }
}

fn by_model(sim: &Sim) -> BTreeMap<String, usize> {
    let mut counted = BTreeMap::new();
    for seen in sim.seen() {
        *counted.entry(seen.model).or_default() += 1;
    }
    counted
}

/// What the package does when the vendor itself fails so: by action and row.
async fn under_the_vendor(package: Package, test: &str) -> Option<BTreeMap<String, Behaviour>> {
    let command = package.command(test)?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let sim = Sim::start(listener, SimSettings::default());
    let at = format!("http://{}", sim.addr());
    let mut cases = Vec::new();
    for row in rows().into_iter().filter(|row| !matches!(row.but, But::Unasked(_))) {
        for door in package.doors() {
            let model = format!("sim?{}", script(&row, *door, 1000));
            let case = Case::new(&at, &action(&row, *door), &model).with("retries", json!(1));
            cases.push(case.with("name", json!(format!("{} {}", row.name, short(*door)))));
        }
    }
    let told = run(command, &cases).await;
    let counted = by_model(&sim);
    let behaviour = |case: &Case| {
        let requests = counted[case.0["model"].as_str().expect("a model")];
        (case.name().to_owned(), seen(&told[case.name()], requests))
    };
    Some(cases.iter().map(behaviour).collect())
}

async fn under_us(
    package: Package,
    house: &House,
    command: tokio::process::Command,
) -> (Told, BTreeMap<String, usize>) {
    let at = format!("http://{}", house.addr);
    let mut cases = Vec::new();
    for row in rows() {
        for door in package.doors() {
            for tongue in Tongue::ALL {
                let name = model(&row, *door, tongue);
                let case = Case::new(&at, &action(&row, *door), &name).with("retries", json!(1));
                cases.push(case.with("name", json!(name)));
            }
        }
    }
    let told = run(command, &cases).await;
    let counted = house.records().await.into_iter().map(|(model, records)| (model, records.len())).collect();
    (told, counted)
}

async fn behaves_as_under_the_vendor(package: Package, test: &str) {
    let Some(command) = package.command(test) else { return };
    let Some(vendor) = under_the_vendor(package, test).await else { return };
    // The gateway waits for nothing itself, so that the package meets each error.
    let gateway = "retry_after_wait_max = \"1ms\"\nsame_target_retries = 0\n";
    let house = House::start(gateway, &config(package.doors())).await;
    let (told, counted) = under_us(package, &house, command).await;
    let mut wrong = String::new();
    for row in rows() {
        for door in package.doors() {
            let vendors = vendor.get(&format!("{} {}", row.name, short(*door)));
            assert_eq!(vendors.is_none(), matches!(row.but, But::Unasked(_)), "{}", row.name);
            for tongue in Tongue::ALL {
                let name = model(&row, *door, tongue);
                let got = seen(&told[&name], counted.get(&name).copied().unwrap_or_default());
                let wanted = row.wanted(package, *door);
                let alike = match row.but {
                    But::Nothing => Some(&got) == vendors,
                    But::Status => {
                        vendors.is_some_and(|vendors| (&got.class, got.requests) == (&vendors.class, vendors.requests))
                            && Some(&got) != vendors
                    }
                    But::All(_) => Some(&got) != vendors,
                    But::Unasked(_) => true,
                };
                if got != wanted || !alike || !row.tells(*door, &told[&name]) {
                    let message = &told[&name]["error"]["message"];
                    let _ = writeln!(
                        wrong,
                        "{name}: {got:?}\n  wanted {wanted:?} {:?}\n  vendor {vendors:?}\n  {message}",
                        row.but
                    );
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openai_for_python_behaves_as_under_its_vendor() {
    behaves_as_under_the_vendor(Package::OpenaiPython, "openai_for_python_behaves_as_under_its_vendor").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openai_for_node_behaves_as_under_its_vendor() {
    behaves_as_under_the_vendor(Package::OpenaiNode, "openai_for_node_behaves_as_under_its_vendor").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anthropic_for_python_behaves_as_under_its_vendor() {
    behaves_as_under_the_vendor(Package::AnthropicPython, "anthropic_for_python_behaves_as_under_its_vendor").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anthropic_for_node_behaves_as_under_its_vendor() {
    behaves_as_under_the_vendor(Package::AnthropicNode, "anthropic_for_node_behaves_as_under_its_vendor").await;
}

/// Errors that no vendor has, or that arise at our own door: class, status, requests.
fn at_our_door(package: Package) -> Vec<(&'static str, &'static str, u64, usize)> {
    let openai = package.is_openai();
    let large = match package {
        Package::OpenaiPython => "APIStatusError",
        Package::OpenaiNode => "APIError",
        Package::AnthropicPython | Package::AnthropicNode => "ContentTooLargeError",
    };
    let late = if openai { "InternalServerError" } else { "GatewayTimeoutError" };
    vec![
        // `x-should-retry: false`: a 504 that is asked again elsewhere in this file, and not here.
        ("slow", late, 504, 1),
        ("closed", "InternalServerError", 502, 2),
        ("large", large, 413, 1),
        ("no-such-model", "NotFoundError", 404, 1),
        // The caller's own login, and the vendor's own word on it.
        ("own", "AuthenticationError", 401, 1),
    ]
}

async fn meets_our_own_errors(package: Package, test: &str) {
    let Some(command) = package.command(test) else { return };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let known = SimSettings { api_keys: vec!["sk-of-somebody-else".to_owned()], ..SimSettings::default() };
    let own = Sim::start(listener, known);
    let provider = |name: &str, url: &str, more: &str| {
        format!("[providers.{name}]\ndialect = \"sim\"\nbase_url = \"{url}\"\nmodels = [\"{name}\"]\n{more}\n")
            + &format!(
                "[targets.{name}]\nprovider = \"{name}\"\nmodel = \"sim\"\n[routes.{name}]\ntargets = [\"{name}\"]\n"
            )
    };
    let config = lone("slow", Tongue::Chat, "fault=hang_headers", "deadlines = { first_token = \"300ms\" }")
        + &lone("large", Tongue::Chat, "tokens=5", "")
        + &provider("closed", &format!("http://127.0.0.1:{}/v1", closed_port()), "")
        + &provider("own", &own.base_url(), "auth = \"client\"");
    let house = House::start("same_target_retries = 0\nbody_bytes_max = 65536\n", &config).await;
    let at = format!("http://{}", house.addr);
    let rows = at_our_door(package);
    let mut cases = Vec::new();
    for (name, ..) in &rows {
        for door in package.doors() {
            let prompt = if *name == "large" { "rope ".repeat(20_000) } else { "why?".to_owned() };
            let case = Case::new(&at, &format!("{}_whole", short(*door)), name).with("retries", json!(1));
            cases.push(case.with("prompt", json!(prompt)));
        }
    }
    let told = run(command, &cases).await;
    let records = house.records().await;
    for (name, class, status, requests) in rows {
        for door in package.doors() {
            let told = &told[&format!("{}_whole {name}", short(*door))];
            let path = door.path();
            // A body that was never read names no model.
            let model = if name == "large" { "" } else { name };
            let sent = records.get(model).into_iter().flatten().filter(|record| record.path == path).count();
            let wanted = Behaviour { class: class.to_owned(), status: Some(status), requests };
            assert_eq!(seen(told, sent), wanted, "{name} at {path}: {told:#}");
            let finally = if requests == 1 { json!("false") } else { Value::Null };
            assert_eq!(told["error"]["should_retry"], finally, "{name} at {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openai_for_python_meets_our_own_errors() {
    meets_our_own_errors(Package::OpenaiPython, "openai_for_python_meets_our_own_errors").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openai_for_node_meets_our_own_errors() {
    meets_our_own_errors(Package::OpenaiNode, "openai_for_node_meets_our_own_errors").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anthropic_for_python_meets_our_own_errors() {
    meets_our_own_errors(Package::AnthropicPython, "anthropic_for_python_meets_our_own_errors").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anthropic_for_node_meets_our_own_errors() {
    meets_our_own_errors(Package::AnthropicNode, "anthropic_for_node_meets_our_own_errors").await;
}
