//! Names that no route has: who serves them, and what becomes of them.

use crate::support::{Client, House, chat};
use serde_json::{Value, json};
use tautline::sim::{Sim, SimSettings, answer_text};

const PROMPT: &str = "why do ropes go slack?";

async fn simulator(names: &[&str]) -> Sim {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    Sim::start(listener, SimSettings { names, ..SimSettings::default() })
}

fn provider(name: &str, sim: &Sim, models: &str) -> String {
    let models = if models.is_empty() { String::new() } else { format!("models = [{models}]\n") };
    format!("[providers.{name}]\ndialect = \"openai\"\nbase_url = \"{}\"\n{models}", sim.base_url())
}

const ANY: &str = "[routes.\"*\"]\npassthrough = true\n";

fn asked(sim: &Sim) -> Vec<String> {
    sim.seen().into_iter().filter(|seen| seen.path.ends_with("/chat/completions")).map(|seen| seen.model).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_longest_pattern_that_matches_decides_and_the_name_goes_on_unchanged() {
    let (wide, narrow) = (simulator(&[]).await, simulator(&[]).await);
    let config = format!(
        "{}{}{ANY}[targets.t]\nprovider = \"wide\"\nmodel = \"m\"\n[routes.gpt-mine]\ntargets = [\"t\"]\n",
        provider("wide", &wide, "\"gpt-*\", \"o*\""),
        provider("narrow", &narrow, "\"gpt-4o-*\", \"exact\"")
    );
    let house = House::start("", &config).await;
    for (model, target) in [
        ("gpt-5", "wide/gpt-5"),
        ("gpt-4o", "wide/gpt-4o"),
        ("gpt-4o-mini", "narrow/gpt-4o-mini"),
        ("exact", "narrow/exact"),
        ("o4", "wide/o4"),
        // A route of its own comes before any pattern.
        ("gpt-mine", "t"),
    ] {
        let mut answer = house.post(&chat(model, true)).await;
        assert_eq!((answer.status, answer.header("x-tautline-target")), (200, Some(target)), "{model}");
        assert!(answer.stream_text().await.done);
        let record = house.record_of(&answer).await;
        assert_eq!(record.attempts[0].target, target);
    }
    assert_eq!(asked(&wide), ["gpt-5", "gpt-4o", "o4", "m"]);
    assert_eq!(asked(&narrow), ["gpt-4o-mini", "exact"]);
    let metrics = house.metrics().await;
    assert!(metrics.contains("target=\"wide/*\"") && metrics.contains("target=\"narrow/*\""));
    for name in ["gpt-5", "gpt-4o-mini", "exact"] {
        assert!(!metrics.contains(name), "names of clients are no labels: {name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_nobody_serves_is_told_with_its_neighbours() {
    let sim = simulator(&["published-large"]).await;
    let config = format!("{}{ANY}", provider("open", &sim, ""));
    let house = House::start("", &config).await;
    wait_for_list(&house).await;
    for (asked, near) in [("published-lagre", "`published-large`"), ("published", "`published-large`")] {
        let mut answer = house.post(&chat(asked, false)).await;
        let told = answer.json().await;
        assert_eq!((answer.status, answer.header("x-tautline-cause")), (404, Some("unknown_route")), "{told}");
        assert_eq!((&told["error"]["code"], &told["error"]["param"]), (&json!("model_not_found"), &json!("model")));
        assert!(told["error"]["message"].as_str().expect("text").contains(near), "{told}");
        assert_eq!(house.record_of(&answer).await.model, asked);
    }
}

/// Until the provider's list was read: it is asked for when the gateway starts.
async fn wait_for_list(house: &House) {
    crate::support::within("the provider's list", async {
        while !house.running.gateway.catalog.has_list("open") {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_without_patterns_serves_what_it_publishes() {
    let sim = simulator(&["published-large", "published-small"]).await;
    let config = format!("{}{ANY}", provider("open", &sim, ""));
    let house = House::start("", &config).await;
    wait_for_list(&house).await;
    let mut answer = house.post(&chat("published-small", false)).await;
    assert_eq!(answer.header("x-tautline-target"), Some("open/published-small"));
    assert_eq!(answer.json().await["choices"][0]["message"]["content"], answer_text(PROMPT, 60));
    let client = Client::connect(house.addr).await;
    let list = client.request("GET", "/v1/models", &[], b"").await.json().await;
    let names: Vec<&str> =
        list["data"].as_array().expect("a list").iter().filter_map(|entry| entry["id"].as_str()).collect();
    assert!(names.contains(&"published-large") && names.contains(&"sim"), "{names:?}");
    assert_eq!(list["object"], "list");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_the_provider_disowns_comes_back_as_it_came_and_falls_back_where_told() {
    let sim = simulator(&[]).await;
    let plain = format!("{}{ANY}", provider("p", &sim, "\"sim*\""));
    let house = House::start("", &plain.replace("\"sim*\"", "\"sim?*\"")).await;
    let mut answer = house.post(&chat("sim?fault=status_404", false)).await;
    let told: Value = answer.json().await;
    assert_eq!((answer.status, answer.header("x-tautline-cause")), (404, Some("model_not_found")), "{told}");
    assert_eq!(
        told["error"]["message"],
        "The model `sim?fault=status_404` does not exist or you do not have access to it."
    );
    assert_eq!(house.record_of(&answer).await.outcome.as_str(), "returned");
    let config = format!(
        "{}[targets.spare]\nprovider = \"sim\"\nmodel = \"sim?tokens=4\"\n{ANY}fallback = [\"spare\"]\n",
        provider("p", &sim, "\"sim?*\"")
    );
    let house = House::start("", &config).await;
    for fault in ["status_404", "status_503", "reset_headers", "empty"] {
        let mut answer = house.post(&chat(&format!("sim?fault={fault}"), true)).await;
        assert_eq!(answer.stream_text().await.text, answer_text(PROMPT, 4), "{fault}");
        assert_eq!(house.record_of(&answer).await.outcome.as_str(), "ok_fallback", "{fault}");
    }
    assert!(house.metrics().await.contains("from=\"p/*\",") || house.metrics().await.contains("from=\"p/*\"}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn targets_made_on_demand_are_bounded() {
    let sim = simulator(&[]).await;
    let house = House::start("", &format!("{}{ANY}", provider("p", &sim, "\"name-*\""))).await;
    for number in 0..300 {
        let answer = house.post(&chat(&format!("name-{number}"), false)).await;
        assert_eq!(answer.status, 200);
    }
    // The first was forgotten and is made again.
    assert_eq!(house.post(&chat("name-0", false)).await.header("x-tautline-target"), Some("p/name-0"));
    let metrics = house.metrics().await;
    let series = metrics.lines().filter(|line| line.starts_with("tautline_gateway_attempts_total{")).count();
    assert_eq!(series, 1, "one label for all of them");
}
