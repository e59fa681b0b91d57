//! How the packages go on over three tool turns and more, at one target and over
//! a change of targets: what one signed or sealed must never be shown to another.

use super::package::{Case, Package, lone, route, run, short, target};
use crate::support::{House, Tongue};
use serde_json::{Value, json};
use tautline::domain::record::Outcome;
use tautline::sim::{Sim, SimSettings};

/// Asks for so many calls, one a turn.
fn walk(calls: usize) -> String {
    let lines = (0..calls).map(|call| format!("@sim call look_up {{\"query\":\"q{call}\"}}\n"));
    format!("mend it\n{}@sim say mended", lines.collect::<String>())
}

fn judge(name: &str, told: &Value, calls: usize) {
    assert!(told["error"].is_null(), "{name}: {told:#}");
    assert_eq!(told["text"], "mended", "{name}: {told:#}");
    let wanted: Vec<Value> =
        (0..calls).map(|call| json!({"name": "look_up", "arguments": {"query": format!("q{call}")}})).collect();
    assert_eq!(told["calls"], json!(wanted), "{name}: no call is wrong, none is lost");
    if let Some(ids) = told["ids"].as_array() {
        let distinct: std::collections::BTreeSet<&str> = ids.iter().filter_map(Value::as_str).collect();
        assert_eq!(distinct.len(), calls + 1, "{name}: each answer has an id of its own");
    }
}

/// What a package is asked for so that it gets reasoning that it has to bring back.
fn reasoning(tongue: Tongue) -> Value {
    match tongue {
        Tongue::Chat => json!({}),
        Tongue::Messages => json!({"thinking": {"type": "enabled", "budget_tokens": 1024}}),
        Tongue::Responses => json!({"store": false, "include": ["reasoning.encrypted_content"],
            "reasoning": {"effort": "low", "summary": "auto"}}),
    }
}

/// Its own tool loops, and the loops that its documentation shows.
fn walks(package: Package, at: &str, model: &str) -> Vec<Case> {
    let prompt = json!(walk(3));
    let case = |action: &str| Case::new(at, action, model).with("prompt", prompt.clone());
    let named = |case: Case, name: &str| case.with("name", json!(format!("{name} {model}")));
    match package {
        Package::OpenaiPython | Package::OpenaiNode => {
            let mut cases = vec![
                case("chat_walk"),
                case("responses_walk"),
                named(case("responses_walk").with("by_id", json!(true)), "by_id"),
                named(case("responses_walk").with("more", reasoning(Tongue::Responses)), "sealed"),
            ];
            cases.extend((package == Package::OpenaiNode).then(|| case("chat_runner")));
            cases
        }
        Package::AnthropicPython | Package::AnthropicNode => vec![
            case("messages_walk"),
            named(case("messages_walk").with("more", reasoning(Tongue::Messages)), "thinking"),
            case("messages_runner"),
        ],
    }
}

async fn walks_with_tools(package: Package, test: &str) {
    let Some(command) = package.command(test) else { return };
    let each = |tongue| lone(&format!("m-{}", short(tongue)), tongue, "reasoning=4", "");
    let house = House::start("", &Tongue::ALL.map(each).concat()).await;
    let at = format!("http://{}", house.addr);
    let cases: Vec<Case> =
        Tongue::ALL.iter().flat_map(|tongue| walks(package, &at, &format!("m-{}", short(*tongue)))).collect();
    let told = run(command, &cases).await;
    for case in &cases {
        judge(case.name(), &told[case.name()], 3);
    }
    if !package.is_openai() {
        let thought = &told["thinking m-messages"]["thought"];
        assert_eq!(thought, 4, "each turn thought, and the walk went on with all of it");
    }
    for record in house.records().await.values().flatten() {
        let told = (record.outcome, record.cause.as_str());
        let thread = ["bad_request", "unsupported_by_target"].contains(&record.cause.as_str());
        // Nobody here holds a thread of Anthropic's: its tool loop is told so and sends all of it.
        assert!(told.0 == Outcome::Ok || (thread && !package.is_openai()), "{record:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openai_for_python_walks_with_tools_at_every_dialect() {
    walks_with_tools(Package::OpenaiPython, "openai_for_python_walks_with_tools_at_every_dialect").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openai_for_node_walks_with_tools_at_every_dialect() {
    walks_with_tools(Package::OpenaiNode, "openai_for_node_walks_with_tools_at_every_dialect").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anthropic_for_python_walks_with_tools_at_every_dialect() {
    walks_with_tools(Package::AnthropicPython, "anthropic_for_python_walks_with_tools_at_every_dialect").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anthropic_for_node_walks_with_tools_at_every_dialect() {
    walks_with_tools(Package::AnthropicNode, "anthropic_for_node_walks_with_tools_at_every_dialect").await;
}

/// A second vendor, who signs in its own way.
async fn other_vendor() -> Sim {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    Sim::start(listener, SimSettings { signing: "another vendor".to_owned(), ..SimSettings::default() })
}

fn pairs() -> impl Iterator<Item = (Tongue, Tongue)> {
    Tongue::ALL.into_iter().flat_map(|first| Tongue::ALL.into_iter().map(move |second| (first, second)))
}

/// For each door and each pair of dialects: a first target that fails once, a second one at another vendor.
fn recovering(other: &Sim, doors: &[Tongue]) -> String {
    let mut config = String::new();
    for tongue in Tongue::ALL {
        let name = short(tongue);
        config += &format!(
            "[providers.only-{name}-2]\ndialect = \"sim\"\nbase_url = \"{}\"\nmodels = [\"two-at-{name}\"]\napis = [\"{name}\"]\n\
             [targets.two-{name}]\nprovider = \"only-{name}-2\"\nmodel = \"sim?reasoning=4\"\nmax_output_tokens = 4000\n{}",
            other.base_url(),
            route(&format!("two-{name}"), &[&format!("two-{name}")])
        );
    }
    for door in doors {
        for (at, (first, second)) in pairs().enumerate() {
            let (first_name, second_name) = (short(first), short(second));
            let name = format!("{}-{first_name}-{second_name}", short(*door));
            // A script of its own, since the simulator counts by script.
            let script = format!("reasoning=4&fault=status_503&first=1&seed={}{at}", doors.len());
            let script = format!("{script}{}", doors.iter().position(|one| one == door).unwrap_or(0));
            config += &target(&format!("one-{name}"), first, &script, "");
            config += &route(&name, &[&format!("one-{name}"), &format!("two-{second_name}")]);
        }
    }
    config
}

/// Four calls at whoever answers, three more at the fallback, one more at the first.
const CALLS: usize = 8;

async fn goes_on_after_a_fallback(package: Package, test: &str) {
    let Some(command) = package.command(test) else { return };
    let other = other_vendor().await;
    let doors = package.doors();
    let house = House::start("same_target_retries = 0\n", &recovering(&other, doors)).await;
    let at = format!("http://{}", house.addr);
    let mut cases = Vec::new();
    for door in doors {
        for (first, second) in pairs() {
            let model = format!("{}-{}-{}", short(*door), short(first), short(second));
            let two = format!("two-{}", short(second));
            let models = json!([model, model, model, model, two, two, two, model]);
            let case = Case::new(&at, &format!("{}_walk", short(*door)), &model).with("prompt", json!(walk(CALLS)));
            cases.push(case.with("models", models).with("more", reasoning(*door)));
        }
    }
    let told = run(command, &cases).await;
    for case in &cases {
        judge(case.name(), &told[case.name()], CALLS);
    }
    let records = house.records().await;
    for case in &cases {
        let model = case.0["model"].as_str().expect("a model");
        let outcomes: Vec<_> = records[model].iter().map(|record| (record.outcome, record.attempts.len())).collect();
        let [(rescued, 2), later @ ..] = &outcomes[..] else { panic!("{model}: {outcomes:?}") };
        assert_eq!(*rescued, Outcome::OkFallback, "{model}");
        assert_eq!(later.len(), 5, "{model}");
        // One attempt each: nobody was shown what it had not made.
        assert!(later.iter().all(|one| (one.0, one.1) == (Outcome::Ok, 1)), "{model}: {outcomes:?}");
    }
    let back: usize = Tongue::ALL.iter().map(|tongue| records[&format!("two-{}", short(*tongue))].len()).sum();
    assert_eq!(back, cases.len() * 3, "three turns of each went to its fallback");
    for record in records.iter().filter(|(model, _)| model.starts_with("two-")).flat_map(|(_, records)| records) {
        assert_eq!(
            (record.outcome, record.attempts.len()),
            (Outcome::Ok, 1),
            "{:#?} {:?}",
            record.attempts,
            record.warnings
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openai_for_python_goes_on_after_a_fallback() {
    goes_on_after_a_fallback(Package::OpenaiPython, "openai_for_python_goes_on_after_a_fallback").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openai_for_node_goes_on_after_a_fallback() {
    goes_on_after_a_fallback(Package::OpenaiNode, "openai_for_node_goes_on_after_a_fallback").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anthropic_for_python_goes_on_after_a_fallback() {
    goes_on_after_a_fallback(Package::AnthropicPython, "anthropic_for_python_goes_on_after_a_fallback").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anthropic_for_node_goes_on_after_a_fallback() {
    goes_on_after_a_fallback(Package::AnthropicNode, "anthropic_for_node_goes_on_after_a_fallback").await;
}
