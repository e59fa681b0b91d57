//! A gateway on free ports, with a state folder of its own.

use super::client::{Client, Response};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use tautline::boot::config::{self, Loaded};
use tautline::boot::roles::{self, Running};
use tautline::domain::record::Record;
use tautline::gateway::record;
use tautline::sim::{Sim, SimSettings};

/// What any test's wait is bounded by.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// A running gateway, its simulator, its state.
pub struct House {
    pub running: Running,
    pub sim: Sim,
    pub addr: SocketAddr,
    state: tempfile::TempDir,
}

/// Ends a wait with a sentence instead of a hanging test.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(WAIT_MAX, future).await.unwrap_or_else(|_| panic!("{what} did not happen within {WAIT_MAX:?}"))
}

/// A target on the house's simulator: `[targets.NAME]` with this model script
/// and these further lines.
pub fn sim_target(name: &str, script: &str, more: &str) -> String {
    let model = if script.is_empty() { "sim".to_owned() } else { format!("sim?{script}") };
    format!("[targets.{name}]\nprovider = \"sim\"\nmodel = \"{model}\"\n{more}\n")
}

/// A chat request body.
pub fn chat(model: &str, stream: bool) -> serde_json::Value {
    serde_json::json!({"model": model, "stream": stream, "messages": [{"role": "user", "content": "why do ropes go slack?"}]})
}

/// A port where nobody listens.
pub fn closed_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}

impl House {
    /// `config` without its `[gateway] listen`, `[admin]` and `state_dir`; a
    /// provider `sim` is there already. `gateway` holds further `[gateway]` lines.
    pub async fn start(gateway: &str, config: &str) -> Self {
        Self::start_with(SimSettings::default(), gateway, config).await
    }

    pub async fn start_with(settings: SimSettings, gateway: &str, config: &str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let sim = Sim::start(listener, settings);
        let (loaded, state) = Self::loaded(&sim, gateway, config);
        let running = roles::start(&loaded).await.expect("the gateway starts");
        let addr = running.addrs[0];
        Self { running, sim, addr, state }
    }

    fn loaded(sim: &Sim, gateway: &str, config: &str) -> (Loaded, tempfile::TempDir) {
        let state = tempfile::tempdir().expect("a temporary folder");
        let path = state.path().join("tautline.toml");
        std::fs::write(&path, Self::text(sim, state.path(), gateway, config)).expect("written");
        let loaded = config::load(&path).unwrap_or_else(|faults| panic!("{faults}"));
        (loaded, state)
    }

    fn text(sim: &Sim, state: &std::path::Path, gateway: &str, config: &str) -> String {
        format!(
            "state_dir = {:?}\n[gateway]\nlisten = \"127.0.0.1:0\"\n{gateway}\n[admin]\nlisten = \"127.0.0.1:0\"\n\
             [log]\nexchanges = \"off\"\n[providers.sim]\ndialect = \"sim\"\nbase_url = \"{}\"\nmodels = [\"sim*\"]\n{config}",
            state.display().to_string(),
            sim.base_url()
        ) + &Self::single(sim, config)
    }

    /// Providers of the same simulator that serve one conversation each, where
    /// the configuration speaks of them.
    fn single(sim: &Sim, config: &str) -> String {
        let spoken =
            ["chat", "messages", "responses"].into_iter().filter(|api| config.contains(&format!("only-{api}")));
        let sections = spoken.map(|api| {
            format!(
                "[providers.only-{api}]\ndialect = \"sim\"\nbase_url = \"{}\"\nmodels = [\"only-{api}\"]\n\
                 apis = [\"{api}\"]\n",
                sim.base_url()
            )
        });
        sections.collect()
    }

    /// Writes the configuration file anew; a reload reads it.
    pub fn rewrite(&self, gateway: &str, config: &str) {
        let text = Self::text(&self.sim, self.state.path(), gateway, config);
        std::fs::write(self.state.path().join("tautline.toml"), text).expect("written");
    }

    /// Posts a chat request and reads the answer's head.
    pub async fn post(&self, body: &serde_json::Value) -> Response {
        self.post_with(&[], body).await
    }

    pub async fn post_with(&self, headers: &[(&str, &str)], body: &serde_json::Value) -> Response {
        let client = Client::connect(self.addr).await;
        client.request("POST", "/v1/chat/completions", headers, body.to_string().as_bytes()).await
    }

    /// The record of the exchange with this id, once it is written.
    pub async fn record(&self, id: &str) -> Record {
        within("the record", async {
            loop {
                self.running.gateway.settling.sink.flush().await;
                if let Some(record) = record::find(&self.running.store, id).await.expect("readable") {
                    return record;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }

    /// The record of the exchange that this answer belongs to.
    pub async fn record_of(&self, response: &Response) -> Record {
        self.record(response.header("x-request-id").expect("every answer of an exchange has its id")).await
    }

    /// The newest record once `count` are there.
    pub async fn newest_of(&self, count: usize) -> Record {
        within("the records", async {
            loop {
                self.running.gateway.settling.sink.flush().await;
                let query = record::RecordQuery { limit: 100, ..record::RecordQuery::default() };
                let page = record::list(&self.running.store, &query).await.expect("readable");
                if page.records.len() >= count {
                    return page.records.into_iter().next().expect("at least one");
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }

    /// All records, by the model that was asked for, oldest first. Waits until
    /// nothing is under way any more.
    pub async fn records(&self) -> BTreeMap<String, Vec<Record>> {
        within("the end of all exchanges", self.running.gateway.lifecycle.empty()).await;
        self.running.gateway.settling.sink.flush().await;
        let query = record::RecordQuery { limit: 1000, ..record::RecordQuery::default() };
        let page = record::list(&self.running.store, &query).await.expect("readable");
        let mut by_model: BTreeMap<String, Vec<Record>> = BTreeMap::new();
        for record in page.records.into_iter().rev() {
            by_model.entry(record.model.clone()).or_default().push(record);
        }
        by_model
    }

    /// The metrics as text.
    pub async fn metrics(&self) -> String {
        Client::connect(self.running.admin_addr).await.request("GET", "/metrics", &[], b"").await.text().await
    }
}
