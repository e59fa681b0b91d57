//! Whose credential goes where, how pools of keys rest, and that nothing of it
//! is ever printed.

use crate::support::{Client, House, Process, chat, sim_target};
use serde_json::Value;
use std::fmt::Write as _;
use tautline::domain::record::Record;
use tautline::sim::{Seen, Sim, SimSettings, answer_text};
use tempfile::TempDir;

const PROMPT: &str = "why do ropes go slack?";
/// Deliberately without a well-known prefix: nothing may rely on one.
const FIRST: &str = "KeyOfPoolFirst0000000000000000000001";
const SECOND: &str = "KeyOfPoolSecond000000000000000000002";
const CALLERS: &str = "CallersOwnCredential0000000000000003";

/// A second simulator, behind a provider with these further lines.
async fn provider(name: &str, settings: SimSettings, lines: &str) -> (Sim, String) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let sim = Sim::start(listener, settings);
    let config = format!("[providers.{name}]\ndialect = \"openai\"\nbase_url = \"{}\"\n{lines}\n", sim.base_url());
    (sim, config)
}

/// Keys in files, and the line that names them.
fn pool(keys: &[&str]) -> (TempDir, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let references: Vec<String> = keys
        .iter()
        .enumerate()
        .map(|(place, key)| {
            let path = folder.path().join(format!("key{place}"));
            std::fs::write(&path, key).expect("writable");
            format!("\"file:{}\"", path.display())
        })
        .collect();
    let line = match references.as_slice() {
        [one] => format!("api_key = {one}\nmodels = [\"p-*\"]\n"),
        many => format!("api_key = [{}]\nmodels = [\"p-*\"]\n", many.join(", ")),
    };
    (folder, line)
}

fn target(name: &str, provider: &str, script: &str) -> String {
    format!(
        "[targets.{name}]\nprovider = \"{provider}\"\nmodel = \"sim?{script}\"\n[routes.{name}]\ntargets = [\"{name}\"]\n"
    )
}

fn bearers(sim: &Sim) -> Vec<String> {
    sim.seen().into_iter().map(|seen| seen.bearer.unwrap_or_default()).collect()
}

/// Requests that ask for an answer, without those for lists of models.
fn asked(sim: &Sim) -> Vec<Seen> {
    sim.seen().into_iter().filter(|seen| seen.path.ends_with("/chat/completions")).collect()
}

async fn admin(house: &House, path: &str) -> Value {
    Client::connect(house.running.admin_addr).await.request("GET", path, &[], b"").await.json().await
}

async fn cooling(house: &House, target: &str) -> Vec<(u64, String)> {
    let all = admin(house, "/-/targets").await;
    let list = all["targets"].as_array().expect("a list");
    let one = list.iter().find(|one| one["target"] == target).expect("the target");
    let resting = one["cooling"].as_array().expect("a list");
    resting
        .iter()
        .map(|one| (one["key"].as_u64().expect("a place"), one["why"].as_str().expect("a reason").to_owned()))
        .collect()
}

fn tried(record: &Record) -> Vec<(&str, Option<usize>, &str)> {
    record.attempts.iter().map(|attempt| (attempt.target.as_str(), attempt.key, attempt.cause.as_str())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_callers_credential_goes_to_the_provider_that_asks_for_it_and_to_no_other() {
    let (own, lines) = provider("own", SimSettings::default(), "auth = \"client\"\nmodels = [\"own-*\"]\n").await;
    let config = format!(
        "{lines}[targets.mine]\nprovider = \"own\"\nmodel = \"sim?fault=status_503\"\n{}[routes.m]\ntargets = [\"mine\", \"theirs\"]\n",
        sim_target("theirs", "tokens=5", "")
    );
    // It looks handed on by a proxy from elsewhere, where a key would be needed.
    let house = House::start("auth = \"none\"", &config).await;
    let headers = [
        ("authorization", format!("Bearer {CALLERS}")),
        ("openai-organization", "org-1".to_owned()),
        ("x-api-key", CALLERS.to_owned()),
        ("cookie", format!("session={CALLERS}")),
        ("x-forwarded-for", "10.9.8.7".to_owned()),
        ("openai-beta", "assistants=v2".to_owned()),
    ];
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut answer = house.post_with(&headers, &chat("m", true)).await;
    assert_eq!(answer.stream_text().await.text, answer_text(PROMPT, 5));
    let first = asked(&own).pop().expect("asked");
    assert_eq!(first.bearer.as_deref(), Some(CALLERS));
    let names: Vec<&str> = first.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.contains(&"openai-organization") && names.contains(&"openai-beta"));
    assert!(!names.contains(&"cookie") && !names.contains(&"x-forwarded-for"), "{names:?}");
    let next = asked(&house.sim).pop().expect("asked");
    assert_eq!(next.bearer, None);
    let sent = format!("{:?}", next.headers);
    assert!(!sent.contains(CALLERS) && !sent.contains("org-1"), "{sent}");
    let record = house.record_of(&answer).await;
    assert!(record.principal.id.starts_with("client:") && !record.principal.id.contains(CALLERS));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_provider_that_asks_for_it_the_callers_credential_is_dropped() {
    let (_keys, line) = pool(&[FIRST]);
    let (keyed, lines) = provider("keyed", SimSettings::default(), &line).await;
    let config = format!(
        "{lines}{}{}[routes.bare]\ntargets = [\"bare\"]\n",
        target("k", "keyed", "tokens=3"),
        sim_target("bare", "tokens=3", "")
    );
    let house = House::start("", &config).await;
    let authorization = format!("Bearer {CALLERS}");
    for route in ["k", "bare"] {
        let answer = house.post_with(&[("authorization", &authorization)], &chat(route, false)).await;
        assert_eq!(answer.status, 200);
        assert_eq!(house.record_of(&answer).await.principal.id, "anonymous");
    }
    assert_eq!(asked(&keyed).pop().expect("asked").bearer.as_deref(), Some(FIRST), "ours, not the caller's");
    assert_eq!(asked(&house.sim).pop().expect("asked").bearer, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_login_of_the_callers_own_goes_back_as_it_came() {
    let settings = SimSettings { api_keys: vec!["another".to_owned()], ..SimSettings::default() };
    let (_own, lines) = provider("own", settings, "auth = \"client\"\nmodels = [\"own-*\"]\n").await;
    let house = House::start("", &format!("{lines}{}", target("mine", "own", "tokens=3"))).await;
    let authorization = format!("Bearer {CALLERS}");
    let mut answer = house.post_with(&[("authorization", &authorization)], &chat("mine", true)).await;
    assert_eq!((answer.status, answer.header("x-tautline-cause")), (401, Some("auth")));
    assert_eq!(answer.json().await["error"]["code"], "invalid_api_key");
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    let record = house.record_of(&answer).await;
    assert_eq!((record.outcome.as_str(), record.status), ("returned", 401));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_429_rests_one_key_for_one_target_and_the_next_is_tried_at_once() {
    let (_keys, line) = pool(&[FIRST, SECOND]);
    let (sim, lines) = provider("p", SimSettings::default(), &line).await;
    // An hour of waiting is asked for: whoever waits does not end.
    let config = format!(
        "{lines}{}{}",
        target("a", "p", "tokens=3&fault=status_429&first=1&retry_after=3600"),
        target("b", "p", "tokens=4")
    );
    let house = House::start("", &config).await;
    let mut answer = house.post(&chat("a", false)).await;
    assert_eq!(answer.json().await["choices"][0]["message"]["content"], answer_text(PROMPT, 3));
    let record = house.record_of(&answer).await;
    let keys: Vec<_> = record.attempts.iter().map(|attempt| attempt.key).collect();
    assert!(keys == [Some(1), Some(2)] || keys == [Some(2), Some(1)], "{keys:?}");
    assert_eq!(record.attempts[0].cause, "rate_limited");
    assert!(record.attempts.iter().all(|attempt| attempt.waited_ms == 0 && attempt.target == "a"));
    assert_eq!((record.outcome.as_str(), record.attempts[1].purpose.as_str()), ("ok", "retry"));
    let seen = bearers(&sim);
    assert_ne!(seen[0], seen[1]);
    let limited = record.attempts[0].key.expect("a key") as u64;
    assert_eq!(cooling(&house, "a").await, [(limited, "rate limited at this target".to_owned())]);
    assert_eq!(cooling(&house, "b").await, [], "the other target is not concerned");
    assert!(house.metrics().await.contains("tautline_gateway_key_pool_cooling{provider=\"p\"} 1"));
    for _ in 0..3 {
        assert_eq!(house.post(&chat("a", false)).await.status, 200);
    }
    assert!(bearers(&sim)[2..].iter().all(|bearer| *bearer == seen[1]), "the resting key rests");
    for _ in 0..2 {
        assert_eq!(house.post(&chat("b", false)).await.status, 200);
    }
    let of_b = bearers(&sim).split_off(5);
    assert_ne!(of_b[0], of_b[1], "at the other target both are used in turn");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_login_and_a_spent_quota_rest_the_key_for_the_whole_provider() {
    for fault in ["", "quota", "status_402", "status_403"] {
        let (_keys, line) = pool(&[FIRST, SECOND]);
        // By login: only the second key is known there. By fault: the first request is hit.
        let api_keys = if fault.is_empty() { vec![SECOND.to_owned()] } else { Vec::new() };
        let (sim, lines) = provider("p", SimSettings { api_keys, ..SimSettings::default() }, &line).await;
        let script = if fault.is_empty() { String::new() } else { format!("&fault={fault}&first=1") };
        let config =
            format!("{lines}{}{}", target("a", "p", &format!("tokens=3{script}")), target("b", "p", "tokens=4"));
        let house = House::start("", &config).await;
        let mut resting = Vec::new();
        // With a login fault the good key may come first: until the bad one was tried.
        while resting.is_empty() {
            assert_eq!(house.post(&chat("a", true)).await.status, 200, "{fault}");
            resting = cooling(&house, "a").await;
        }
        assert_eq!(resting.len(), 1, "{fault}");
        assert_eq!(resting[0].1, "login or quota failed", "{fault}");
        assert_eq!(cooling(&house, "b").await, resting, "{fault}: the provider's other targets rest it, too");
        let before = asked(&sim).len();
        for _ in 0..3 {
            assert_eq!(house.post(&chat("b", false)).await.status, 200, "{fault}");
        }
        let of_b: Vec<_> = bearers(&sim).split_off(before);
        assert!(of_b.len() == 3 && of_b.iter().all(|bearer| *bearer == of_b[0]), "{fault}: {of_b:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_every_key_rests_the_causes_own_verdict_applies() {
    let (_keys, line) = pool(&[FIRST, SECOND]);
    let (sim, lines) = provider("p", SimSettings::default(), &line).await;
    let config = format!(
        "{lines}{}{}{}[routes.both]\ntargets = [\"a\", \"spare\"]\n",
        target("a", "p", "tokens=3&fault=status_429&retry_after=3600"),
        target("alone", "p", "tokens=4&fault=status_429&retry_after=30"),
        sim_target("spare", "tokens=6", "")
    );
    let house = House::start("", &config).await;
    let mut answer = house.post(&chat("both", true)).await;
    assert_eq!(answer.stream_text().await.text, answer_text(PROMPT, 6));
    let record = house.record_of(&answer).await;
    assert_eq!(record.outcome.as_str(), "ok_fallback");
    assert_eq!(record.attempts.iter().map(|attempt| attempt.target.as_str()).collect::<Vec<_>>(), ["a", "a", "spare"]);
    assert_eq!(cooling(&house, "a").await.len(), 2);
    // All rest: the one that is due soonest is tried rather than nothing.
    let before = asked(&sim).len();
    assert_eq!(house.post(&chat("both", true)).await.status, 200);
    assert_eq!(asked(&sim).len(), before + 1);
    let mut alone = house.post(&chat("alone", false)).await;
    assert_eq!((alone.status, alone.header("x-tautline-cause")), (429, Some("rate_limited")));
    let wait: u64 = alone.header("retry-after").expect("a known wait").parse().expect("seconds");
    assert!((25..=30).contains(&wait), "{wait}");
    assert_eq!(alone.json().await["error"]["type"], "rate_limit_error");
    let mut first = house.post(&chat("a", false)).await;
    assert_eq!((first.status, first.header("retry-after"), first.header("x-should-retry")), (429, None, Some("false")));
    first.bytes().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_key_is_never_rested() {
    let (_keys, line) = pool(&[FIRST]);
    let (sim, lines) =
        provider("p", SimSettings { api_keys: vec![SECOND.to_owned()], ..SimSettings::default() }, &line).await;
    let house = House::start("", &format!("{lines}{}", target("a", "p", "tokens=3"))).await;
    for asks in 1..=2 {
        let mut answer = house.post(&chat("a", false)).await;
        // A 401 would make the caller log in again, and it is our key that failed.
        assert_eq!((answer.status, answer.header("x-tautline-cause")), (502, Some("auth")));
        assert!(!answer.text().await.contains(FIRST));
        assert_eq!(asked(&sim).len(), asks, "asked once each");
        let record = house.record_of(&answer).await;
        assert_eq!(tried(&record), [("a", Some(1), "auth")]);
    }
    assert_eq!(cooling(&house, "a").await, []);
}

/// What stays out of everything that is printed.
struct Secrets(Vec<String>);

impl Secrets {
    fn check(&self, place: &str, text: &str) {
        for secret in &self.0 {
            if let Some(at) = text.find(secret.as_str()) {
                let from = (0..=at.saturating_sub(300)).rev().find(|from| text.is_char_boundary(*from)).unwrap_or(0);
                panic!("{place} shows {secret}: …{}", &text[from..at + secret.len()]);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_key_no_prompt_and_no_address_of_a_provider_is_ever_printed() {
    const TOLD: &str = "the secret recipe of grandmother Wilhelmina";
    let state = tempfile::tempdir().expect("a temporary folder");
    let (_keys, line) = pool(&[FIRST, SECOND]);
    let (pooled, pooled_lines) =
        provider("pooled", SimSettings { api_keys: vec![SECOND.to_owned()], ..SimSettings::default() }, &line).await;
    let (own, own_lines) = provider("own", SimSettings::default(), "auth = \"client\"\nmodels = [\"own-*\"]\n").await;
    let (plain, plain_lines) = provider("plain", SimSettings::default(), "").await;
    let dead = crate::support::closed_port();
    let faults: Vec<&str> = tautline::sim::Fault::ALL
        .iter()
        .map(|fault| fault.as_str())
        .filter(|name| !matches!(*name, "refuse"))
        .collect();
    let mut config = format!(
        "state_dir = {:?}\n[gateway]\nlisten = \"127.0.0.1:0\"\nfinish_grace = \"400ms\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         [log]\nfilter = \"debug\"\nformat = \"json\"\nexchanges = \"json\"\n\
         [deadlines]\nfirst_token = \"400ms\"\nidle = \"400ms\"\nprogress = \"400ms\"\n\
         {pooled_lines}{own_lines}{plain_lines}\
         [providers.dead]\ndialect = \"openai\"\nbase_url = \"http://127.0.0.1:{dead}/v1\"\nmodels = []\n\
         [routes.\"*\"]\npassthrough = true\n",
        state.path().display().to_string()
    );
    config.push_str(&target("pool", "pooled", "tokens=3"));
    config.push_str(&target("mine", "own", "fault=status_401"));
    config.push_str(&target("dead", "dead", "tokens=3"));
    for fault in &faults {
        config.push_str(&target(&format!("f-{fault}"), "plain", &format!("tokens=6&fault={fault}&after=2&every=2ms")));
    }
    let file = state.path().join("tautline.toml");
    std::fs::write(&file, config).expect("writable");
    let mut process = Process::up(&file, &[]).await;
    let secrets = Secrets(vec![
        FIRST.to_owned(),
        SECOND.to_owned(),
        CALLERS.to_owned(),
        TOLD.to_owned(),
        pooled.addr().to_string(),
        own.addr().to_string(),
        plain.addr().to_string(),
        format!("127.0.0.1:{dead}"),
    ]);
    let names = ["pool", "pool", "pool", "mine", "dead", "nobody", "p-unknown"].map(str::to_owned);
    let names = names.into_iter().chain(faults.iter().map(|fault| format!("f-{fault}")));
    let secrets = std::sync::Arc::new(secrets);
    // One task a route, ended by its own answers; all are waited for.
    let mut asking = tokio::task::JoinSet::new();
    for name in names {
        let (secrets, gateway) = (std::sync::Arc::clone(&secrets), process.gateway);
        asking.spawn(async move { ask_and_check(gateway, &name, TOLD, &secrets).await });
    }
    while let Some(asked) = asking.join_next().await {
        asked.expect("nothing is shown");
    }
    // Bad input quotes nothing of itself, either.
    for body in
        [format!("{{\"model\": \"pool\", \"messages\": {TOLD}"), format!("{{\"messages\":\"{TOLD}\",\"model\":3}}")]
    {
        let client = Client::connect(process.gateway).await;
        secrets
            .check("a 400", &client.request("POST", "/v1/chat/completions", &[], body.as_bytes()).await.text().await);
    }
    for path in ["/metrics", "/-/targets", "/-/records?limit=1000", "/-/records/last"] {
        let text = Client::connect(process.admin).await.request("GET", path, &[], b"").await.text().await;
        assert!(text.len() > 100, "{path}: {text}");
        secrets.check(path, &text);
    }
    let (out, err) = process.end().await;
    assert!(out.lines().filter(|line| line.contains("\"event\":\"exchange\"")).count() >= 2 * faults.len(), "{out}");
    secrets.check("a line on stdout", &out);
    secrets.check("a line on stderr", &err);
    for entry in std::fs::read_dir(state.path()).expect("readable") {
        let path = entry.expect("readable").path();
        if path == file {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap_or_default();
        secrets.check(&path.display().to_string(), &String::from_utf8_lossy(&bytes));
    }
}

/// Streamed and not, with a report: no header and no body may show anything.
async fn ask_and_check(gateway: std::net::SocketAddr, name: &str, prompt: &str, secrets: &Secrets) {
    let authorization = format!("Bearer {CALLERS}");
    for stream in [true, false] {
        let mut body = chat(name, stream);
        body["messages"][0]["content"] = prompt.into();
        let headers = [("authorization", authorization.as_str()), ("x-tautline-report", "1")];
        let client = Client::connect(gateway).await;
        let mut answer = client.request("POST", "/v1/chat/completions", &headers, body.to_string().as_bytes()).await;
        let mut told = String::new();
        for (header, value) in &answer.headers {
            let _ = writeln!(told, "{header}: {value}");
        }
        secrets.check(&format!("a header of {name}"), &told);
        secrets.check(&format!("the answer of {name}"), &answer.text().await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_target_quotes_of_a_prompt_reaches_its_client_and_no_record() {
    let config =
        format!("{}[routes.m]\ntargets = [\"a\"]\n", crate::support::sim_target("a", "fault=bad_request&quote=1", ""));
    let house = House::start("", &config).await;
    let mut response = house.post(&chat("m", true)).await;
    let record = house.record_of(&response).await;
    let told = response.text().await;
    assert!(told.contains("why do ropes go slack?"), "the client's own words go back to it: {told}");
    let kept = serde_json::to_string(&record).expect("JSON");
    assert!(!kept.contains("ropes go slack") && kept.contains("could not be processed"), "{kept}");
}
