//! A run in which everything that the dashboards draw happens.

use crate::support::{Client, House, Response, chat, closed_port, sim_target};
use std::fmt::Write as _;
use tautline::sim::{Sim, SimSettings};

/// A gateway with targets that fail in many ways.
pub struct Run {
    pub house: House,
    /// Requests sent so far.
    pub sent: usize,
    _pooled: Sim,
    _keys: tempfile::TempDir,
}

/// Route, its targets, and how often a round asks it. Alerts want several losses.
const ASKED: [(&str, &str, usize); 13] = [
    ("good", "good", 2),
    ("rescued", "dies\", \"good", 6),
    ("slow", "hangs\", \"good", 4),
    ("away", "gone\", \"good", 1),
    ("resets", "resets\", \"good", 1),
    ("cut", "cuts", 6),
    ("carried", "cuts\", \"good", 1),
    ("quiet", "stalls", 1),
    ("login", "login", 3),
    ("unknown", "unknown", 1),
    ("large", "endless", 2),
    ("pool", "pooled", 1),
    ("translated", "translated", 2),
];

impl Run {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let pooled = Sim::start(listener, SimSettings::default());
        let keys = tempfile::tempdir().expect("a temporary folder");
        let references = ["one", "two"].map(|name| {
            let path = keys.path().join(name);
            std::fs::write(&path, format!("KeyOfPool{name}")).expect("writable");
            format!("\"file:{}\"", path.display())
        });
        let mut config = format!(
            "[providers.pool]\ndialect = \"sim\"\nbase_url = \"{}\"\nmodels = [\"p-*\"]\napi_key = [{}]\n\
             [providers.nobody]\ndialect = \"sim\"\nbase_url = \"http://127.0.0.1:{}/v1\"\nmodels = [\"n-*\"]\n\
             [targets.pooled]\nprovider = \"pool\"\nmodel = \"sim?fault=status_429&first=1&retry_after=3600&tokens=4\"\n\
             [targets.translated]\nprovider = \"only-messages\"\nmodel = \"sim?tokens=4\"\n\
             [targets.gone]\nprovider = \"nobody\"\nmodel = \"sim\"\n\
             [tasks.lookup]\ntargets = [\"good\"]\n[routes.auto]\nby_task = true\ndefault_task = \"lookup\"\n",
            pooled.base_url(),
            references.join(", "),
            closed_port(),
        );
        for (name, script, more) in [
            ("good", "tokens=12&gap=8ms", "price = { input = 1.0, output = 10.0 }"),
            ("dies", "fault=status_503", ""),
            ("hangs", "fault=hang_headers", "deadlines = { first_token = \"150ms\" }"),
            ("resets", "fault=reset_headers", ""),
            // With gaps, so that words are read before the reset throws unread ones away.
            ("cuts", "fault=reset&after=3&gap=30ms", ""),
            ("stalls", "fault=stall&after=3", "deadlines = { idle = \"150ms\" }"),
            ("login", "fault=status_401", ""),
            ("unknown", "fault=status_404", ""),
            ("endless", "fault=endless&after=1", ""),
        ] {
            config.push_str(&sim_target(name, script, more));
        }
        for (route, targets, _) in ASKED {
            let _ = writeln!(config, "[routes.{route}]\ntargets = [\"{targets}\"]");
        }
        let gateway = "output_bytes_max = 65536\nsame_target_retries = 0\n";
        let house = House::start(gateway, &config).await;
        Self { house, sent: 0, _pooled: pooled, _keys: keys }
    }

    /// What a client thought of an answer.
    async fn judge(&mut self, answer: &Response) {
        let id = answer.header("x-request-id").expect("every answer has its id");
        let said = format!(
            "{{\"request_id\":\"{id}\",\"verdict\":\"{}\"}}",
            if self.sent.is_multiple_of(2) { "good" } else { "bad" }
        );
        let client = Client::connect(self.house.addr).await;
        assert_eq!(client.request("POST", "/v1/feedback", &[], said.as_bytes()).await.status, 200);
        self.sent += 1;
    }

    /// Sends every request of a round and reads its answer to the end. What a
    /// client gets is other tests' matter.
    pub async fn round(&mut self) {
        let asked = ASKED.iter().flat_map(|(route, _, times)| std::iter::repeat_n(*route, *times));
        for model in asked.chain(["auto", "nowhere"]) {
            let mut answer = self.house.post(&chat(model, true)).await;
            answer.bytes().await;
            self.sent += 1;
            if model == "good" {
                self.judge(&answer).await;
            }
        }
    }
}
