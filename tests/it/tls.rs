//! Providers and a collector behind https: a private authority that is trusted, and one that is not.

use crate::support::{Authority, Client, Collector, Folder, Front, Process, chat, closed_port};
use serde_json::Value;
use std::path::Path;
use tautline::sim::{Sim, SimSettings, answer_text};
use tokio::net::TcpListener;

const PROMPT: &str = "why do ropes go slack?";

async fn simulator() -> Sim {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    Sim::start(listener, SimSettings::default())
}

/// A process with the target `secure` at `base_url`, alone and with a spare.
async fn process(base_url: &str, spare: &Sim, state: &Path, trusted: Option<&Path>) -> Process {
    let config = format!(
        "state_dir = {:?}\n[gateway]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         [log]\nexchanges = \"off\"\n[providers.tls]\ndialect = \"openai\"\nbase_url = \"{base_url}\"\nmodels = []\n\
         [providers.spare]\ndialect = \"sim\"\nbase_url = \"{}\"\nmodels = []\n\
         [targets.secure]\nprovider = \"tls\"\nmodel = \"sim?tokens=20\"\n\
         [targets.spare]\nprovider = \"spare\"\nmodel = \"sim?tokens=4\"\n\
         [routes.alone]\ntargets = [\"secure\"]\n[routes.both]\ntargets = [\"secure\", \"spare\"]\n",
        state.display().to_string(),
        spare.base_url()
    );
    let file = state.join("tautline.toml");
    std::fs::write(&file, config).expect("writable");
    let trusted = trusted.map(|path| path.display().to_string());
    let environment: Vec<(&str, &str)> = trusted.iter().map(|path| ("SSL_CERT_FILE", path.as_str())).collect();
    Process::up(&file, &environment).await
}

async fn post(process: &Process, body: &Value) -> crate::support::Response {
    let client = Client::connect(process.gateway).await;
    client.request("POST", "/v1/chat/completions", &[], body.to_string().as_bytes()).await
}

async fn last_record(process: &Process, id: &str) -> Value {
    crate::support::within("the record", async {
        loop {
            let admin = Client::connect(process.admin).await;
            let mut answer = admin.request("GET", &format!("/-/records/{id}"), &[], b"").await;
            if answer.status == 200 {
                return answer.json().await;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_of_a_private_authority_is_reached_where_that_is_trusted() {
    let (authority, sim) = (Authority::naming("DNS:localhost"), simulator().await);
    let port = Front::tls(&authority, sim.addr()).await.port;
    let state = tempfile::tempdir().expect("a temporary folder");
    let url = format!("https://localhost:{port}/v1");
    let mut process = process(&url, &sim, state.path(), Some(&authority.path("ca.pem"))).await;
    for _ in 0..3 {
        let streamed = post(&process, &chat("alone", true)).await.stream_text().await;
        assert_eq!((streamed.text.as_str(), streamed.done), (answer_text(PROMPT, 20).as_str(), true));
        let whole = post(&process, &chat("alone", false)).await.json().await;
        assert_eq!(whole["choices"][0]["message"]["content"], answer_text(PROMPT, 20));
    }
    assert_eq!(
        sim.seen()[0].headers.iter().find(|(name, _)| name == "host").map(|(_, host)| host.as_str()),
        Some(&*format!("localhost:{port}"))
    );
    process.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_cannot_prove_itself_is_called_tls_and_left_for_the_next() {
    let (authority, stranger, sim) =
        (Authority::naming("DNS:localhost"), Authority::naming("DNS:localhost"), simulator().await);
    let port = Front::tls(&authority, sim.addr()).await.port;
    let trusted = authority.path("ca.pem");
    for (case, url, trusted) in [
        ("an authority that nobody trusts", format!("https://localhost:{port}/v1"), Some(stranger.path("ca.pem"))),
        ("the system's authorities", format!("https://localhost:{port}/v1"), None),
        ("another name", format!("https://127.0.0.1:{port}/v1"), Some(trusted.clone())),
        ("no TLS at all", format!("https://localhost:{}/v1", sim.addr().port()), Some(trusted)),
    ] {
        let state = tempfile::tempdir().expect("a temporary folder");
        let mut process = process(&url, &sim, state.path(), trusted.as_deref()).await;
        let mut answer = post(&process, &chat("alone", true)).await;
        let told = answer.json().await;
        assert_eq!((answer.status, answer.header("x-tautline-cause")), (502, Some("tls")), "{case}: {told}");
        assert_eq!(answer.header("x-should-retry"), Some("false"), "{case}");
        let record = last_record(&process, answer.header("x-request-id").expect("an id")).await;
        let attempts = record["attempts"].as_array().expect("a list");
        assert_eq!(attempts.len(), 1, "{case}: not tried again at the same target");
        assert_eq!(
            (&attempts[0]["cause"], &attempts[0]["phase"], &attempts[0]["side"]),
            (&"tls".into(), &"connect".into(), &"caller_config".into()),
            "{case}: {record}"
        );
        let streamed = post(&process, &chat("both", true)).await.stream_text().await;
        assert_eq!(streamed.text, answer_text(PROMPT, 4), "{case}");
        process.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_behind_https_has_to_prove_itself() {
    let (authority, collector) = (Authority::naming("DNS:localhost"), Collector::start(200).await);
    let endpoint = format!("https://localhost:{}", Front::tls(&authority, collector.addr).await.port);
    let trusted = authority.path("ca.pem").display().to_string();
    let folder = Folder::new();
    for (trust, arrived) in [(None, 0), (Some(trusted.as_str()), 1)] {
        let [port, admin] = [closed_port(), closed_port()];
        let config = format!(
            "[gateway]\nlisten = \"127.0.0.1:{port}\"\n[admin]\nlisten = \"127.0.0.1:{admin}\"\n\
             [otlp]\nendpoint = \"{endpoint}\"\n{}",
            crate::config::BY_TASK
        );
        folder.write("tautline.toml", &config);
        let environment: Vec<(&str, &str)> = trust.map(|path| ("SSL_CERT_FILE", path)).into_iter().collect();
        let mut up = folder.spawn(&environment, &["up"], [port, admin]).await.expect("it starts");
        Client::connect(up.addr).await.request("POST", "/v1/chat/completions", &[], b"{}").await.bytes().await;
        up.signal("TERM").await;
        if trust.is_none() {
            up.says("the collector did not take an export").await;
        }
        assert!(up.ended().await.success());
        assert_eq!(collector.got().spans.len(), arrived, "{trust:?}");
    }
}
