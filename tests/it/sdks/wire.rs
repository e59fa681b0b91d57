//! What the packages really send, recorded in tests/wire/sdk, and that its stream
//! comes through the gateway unchanged: the payloads' hashes are equal at both ends.
//!
//! With `TAUTLINE_RECORD=1` the tests that drive a package write the recording
//! instead of comparing with it. A recording holds no credential, and nothing of
//! the machine that it was made on.

use super::package::{Case, PROMPT, Package, route, run, short};
use crate::support::{Client, House, Overheard, Tap, Tongue};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::path::PathBuf;
use tautline::sim::{Sim, SimSettings};

/// Headers of a request that belong to the connection, the credential or the machine.
const LEFT_OUT: [&str; 11] = [
    "host",
    "connection",
    "content-length",
    "authorization",
    "x-api-key",
    "accept-encoding",
    "user-agent",
    "x-stainless-arch",
    "x-stainless-os",
    "x-stainless-runtime-version",
    // Left out by both packages for Node, random in the others.
    "idempotency-key",
];

impl Package {
    const ALL: [Self; 4] = [Self::OpenaiPython, Self::OpenaiNode, Self::AnthropicPython, Self::AnthropicNode];

    fn recording(self) -> PathBuf {
        let name = match self {
            Self::OpenaiPython => "openai-python.json",
            Self::OpenaiNode => "openai-node.json",
            Self::AnthropicPython => "anthropic-python.json",
            Self::AnthropicNode => "anthropic-node.json",
        };
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/wire/sdk").join(name)
    }
}

/// A gateway with wires on both of its sides that are listened to.
struct Wired {
    house: House,
    /// Before the gateway, before the simulator.
    front: Tap,
    back: Tap,
    _sim: Sim,
}

impl Wired {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let sim = Sim::start(listener, SimSettings::default());
        let back = Tap::before(sim.addr()).await;
        let mut config = String::new();
        for tongue in Tongue::ALL {
            let api = short(tongue);
            config += &format!(
                "[providers.wired-{api}]\ndialect = \"sim\"\nbase_url = \"http://{}/v1\"\nmodels = [\"wired-{api}\"]\n\
                 apis = [\"{api}\"]\n",
                back.addr
            );
            for (name, script) in
                [("text", "tokens=5"), ("tools", "tools=1"), ("json", "json=1&tokens=3"), ("mind", "reasoning=2")]
            {
                let name = format!("{name}-{api}");
                config += &format!("[targets.{name}]\nprovider = \"wired-{api}\"\nmodel = \"sim?{script}\"\n");
                config += &route(&name, &[&name]);
            }
        }
        let house = House::start("", &config).await;
        let front = Tap::before(house.addr).await;
        Self { house, front, back, _sim: sim }
    }
}

/// The simulator numbers its answers, so the cases go one after the other.
fn cases(package: Package, at: &str) -> Vec<Case> {
    let walk = json!("mend it\n@sim call look_up {\"query\":\"one\"}\n@sim say mended");
    let case = |action: &str, model: &str| Case::new(at, action, model).with("streamed", json!(0));
    if package.is_openai() {
        let sealed = json!({"store": false, "include": ["reasoning.encrypted_content"],
            "reasoning": {"effort": "low", "summary": "auto"}});
        vec![
            case("chat_stream", "text-chat"),
            case("chat_helper", "tools-chat").with("tools", json!(true)),
            case("chat_parse", "json-chat"),
            case("chat_walk", "mind-chat").with("prompt", walk.clone()),
            case("responses_stream", "text-responses"),
            case("responses_helper", "tools-responses").with("tools", json!(true)),
            case("responses_stream_parse", "json-responses"),
            case("responses_walk", "mind-responses").with("prompt", walk).with("more", sealed),
        ]
    } else {
        let thinking = json!({"thinking": {"type": "enabled", "budget_tokens": 1024}});
        vec![
            case("messages_stream", "text-messages"),
            case("messages_helper", "tools-messages").with("tools", json!(true)),
            case("messages_parse", "json-messages"),
            case("messages_walk", "mind-messages").with("prompt", walk.clone()).with("more", thinking),
            case("messages_runner", "text-messages").with("prompt", walk),
            case("count_tokens", "text-messages"),
        ]
    }
}

fn hash(payloads: &[String]) -> String {
    format!("{:x}", Sha256::digest(payloads.join("\n").as_bytes()))
}

/// The streams of both ends, which must be the same.
fn compared(wired: &Wired) -> Vec<(Overheard, Vec<String>)> {
    let (asked, given) = (wired.front.overheard(), wired.back.overheard());
    assert_eq!(asked.len(), given.len(), "one attempt for each request");
    let mut compared = Vec::new();
    for (client, target) in asked.into_iter().zip(given) {
        let streamed = client.body["stream"] == true;
        let payloads = if streamed { client.payloads() } else { Vec::new() };
        if streamed {
            assert!(payloads.len() > 5, "{}: {payloads:?}", client.path);
            let mut given = target.payloads();
            if client.path == Tongue::Chat.path() && client.body["stream_options"].is_null() {
                given.retain(|payload| !is_usage_alone(payload));
                assert_eq!(given.len() + 1, target.payloads().len(), "the frame that only the gateway asked for");
            }
            assert_eq!(hash(&payloads), hash(&given), "{}: {}", client.path, client.body);
        }
        compared.push((client, payloads));
    }
    compared
}

fn is_usage_alone(payload: &str) -> bool {
    let frame: Value = serde_json::from_str(payload).unwrap_or_default();
    frame["choices"] == json!([]) && frame["usage"].is_object()
}

fn recorded(request: &Overheard, payloads: &[String]) -> Value {
    let headers: serde_json::Map<String, Value> = request
        .headers
        .iter()
        .filter(|(name, _)| !LEFT_OUT.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    json!({"method": request.method, "path": request.path, "headers": headers, "body": request.body,
        "status": request.status, "sha256": hash(payloads), "payloads": payloads})
}

async fn sends_what_is_recorded(package: Package, test: &str) {
    let Some(mut command) = package.command(test) else { return };
    command.env("TAUTLINE_TEST_AT_ONCE", "1");
    let wired = Wired::start().await;
    let cases = cases(package, &format!("http://{}", wired.front.addr));
    let told = run(command, &cases).await;
    for case in &cases {
        assert!(told[case.name()]["error"].is_null(), "{:#}", told[case.name()]);
    }
    let exchanges: Vec<Value> = compared(&wired).iter().map(|(client, payloads)| recorded(client, payloads)).collect();
    assert!(exchanges.len() >= cases.len(), "each case asks at least once");
    let path = package.recording();
    let now = serde_json::to_string_pretty(&json!({ "exchanges": exchanges })).expect("JSON") + "\n";
    assert!(!now.contains("sk-of-the-user"), "no credential is recorded");
    if std::env::var_os("TAUTLINE_RECORD").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(&path, now).expect("written");
        return;
    }
    let before: Value = serde_json::from_slice(&std::fs::read(&path).expect("recorded")).expect("JSON");
    let before = before["exchanges"].as_array().expect("exchanges");
    for (place, (now, before)) in exchanges.iter().zip(before).enumerate() {
        for part in ["path", "headers", "body", "status", "sha256"] {
            assert_eq!(now[part], before[part], "{part} of exchange {place}; TAUTLINE_RECORD=1 records it anew");
        }
    }
    assert_eq!(exchanges.len(), before.len());
}

/// No package is needed: its recording is sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recorded_streams_have_the_same_hash_at_both_ends() {
    for package in Package::ALL {
        let text = std::fs::read(package.recording()).expect("a recording");
        let recording: Value = serde_json::from_slice(&text).expect("JSON");
        let exchanges = recording["exchanges"].as_array().expect("exchanges");
        let wired = Wired::start().await;
        for exchange in exchanges {
            let headers = exchange["headers"].as_object().expect("headers");
            let headers: Vec<(&str, &str)> = headers
                .iter()
                .filter(|(name, _)| *name != "content-type")
                .map(|(name, value)| (name.as_str(), value.as_str().expect("text")))
                .collect();
            let (method, path) = (exchange["method"].as_str().expect("text"), exchange["path"].as_str().expect("text"));
            let client = Client::connect(wired.front.addr).await;
            let body = exchange["body"].to_string();
            let mut response = client.request(method, path, &headers, body.as_bytes()).await;
            let _ = response.bytes().await;
        }
        wired.house.records().await;
        let compared = compared(&wired);
        assert_eq!(compared.len(), exchanges.len());
        let streams = compared.iter().filter(|(_, payloads)| !payloads.is_empty()).count();
        assert!(streams >= 3, "{package:?}: {streams} streams");
        for ((client, payloads), exchange) in compared.iter().zip(exchanges) {
            assert_eq!(client.status, exchange["status"], "{}", client.path);
            assert_eq!(json!(payloads), exchange["payloads"], "{}", client.path);
            assert_eq!(json!(hash(payloads)), exchange["sha256"], "{}", client.path);
        }
        assert!(recording.to_string().contains(PROMPT));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openai_for_python_sends_what_is_recorded() {
    sends_what_is_recorded(Package::OpenaiPython, "openai_for_python_sends_what_is_recorded").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openai_for_node_sends_what_is_recorded() {
    sends_what_is_recorded(Package::OpenaiNode, "openai_for_node_sends_what_is_recorded").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anthropic_for_python_sends_what_is_recorded() {
    sends_what_is_recorded(Package::AnthropicPython, "anthropic_for_python_sends_what_is_recorded").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anthropic_for_node_sends_what_is_recorded() {
    sends_what_is_recorded(Package::AnthropicNode, "anthropic_for_node_sends_what_is_recorded").await;
}
