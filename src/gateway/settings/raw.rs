//! What the file may say: every key, all optional.

use serde::Deserialize;
use std::collections::BTreeMap;

/// All sections of the gateway, each entry read on its own so that one fault
/// does not hide another.
#[derive(Debug, Default)]
pub struct RawSettings {
    pub gateway: RawGateway,
    pub providers: BTreeMap<String, RawProvider>,
    pub targets: BTreeMap<String, RawTarget>,
    pub tasks: BTreeMap<String, RawTask>,
    pub routes: BTreeMap<String, RawRoute>,
    pub deadlines: RawDeadlines,
    pub models: BTreeMap<String, RawModel>,
    /// `[passthrough]`: a prefix of paths and the provider it leads to.
    pub passthrough: BTreeMap<String, String>,
}

/// `[gateway]`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawGateway {
    pub listen: Option<Many>,
    pub listen_h2c: Option<Many>,
    pub listen_unix: Option<Many>,
    pub tls: Option<RawTls>,
    pub access_key: Option<String>,
    pub auth: Option<String>,
    pub allowed_hosts: Vec<String>,
    pub trusted_proxies: Vec<String>,
    pub headers_hold_max: Option<String>,
    pub keepalive_every: Option<String>,
    pub drain_grace: Option<String>,
    pub head_timeout: Option<String>,
    pub body_timeout: Option<String>,
    pub write_timeout: Option<String>,
    pub finish_grace: Option<String>,
    pub connection_idle: Option<String>,
    pub connection_age_max: Option<String>,
    pub pool_idle: Option<String>,
    pub pool_age_max: Option<String>,
    pub proxy: Option<String>,
    pub proxy_credentials: Option<String>,
    pub retry_after_wait_max: Option<String>,
    pub retry_base: Option<String>,
    pub same_target_retries: Option<u32>,
    pub connections_max: Option<u64>,
    pub body_rate_min: Option<u64>,
    pub bodies_bytes_max: Option<u64>,
    pub head_bytes_max: Option<u64>,
    pub body_bytes_max: Option<u64>,
    pub frame_bytes_max: Option<u64>,
    pub journal_bytes_max: Option<u64>,
    pub output_bytes_max: Option<u64>,
    pub records_max: Option<u64>,
    pub responses_bytes_max: Option<u64>,
    pub responses_keep: Option<String>,
    pub worker_threads: Option<usize>,
}

/// `tls = { certificate, key }`: PEM files.
#[derive(Debug, Clone, Deserialize)]
pub struct RawTls {
    pub certificate: String,
    pub key: String,
}

/// One value or a list of them.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Many {
    One(String),
    List(Vec<String>),
}

impl Many {
    /// The values as a list.
    #[must_use]
    pub fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::List(list) => list,
        }
    }
}

/// `[providers.NAME]`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawProvider {
    pub dialect: Option<String>,
    pub base_url: Option<String>,
    pub api_key: Option<Many>,
    pub auth: Option<String>,
    pub auth_header: Option<String>,
    pub apis: Option<Vec<String>>,
    pub models: Option<Vec<String>>,
    pub headers: BTreeMap<String, String>,
    pub query: BTreeMap<String, String>,
    pub http: Option<String>,
    pub socket: Option<String>,
    pub proxy: Option<String>,
    pub proxy_credentials: Option<String>,
    pub ca: Option<String>,
    pub client_certificate: Option<String>,
    pub client_key: Option<String>,
}

/// `[targets.NAME]`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawTarget {
    pub provider: Option<String>,
    pub model: Option<String>,
    pub context_tokens: Option<u64>,
    pub max_output_tokens: Option<u64>,
    pub capabilities: Option<Vec<String>>,
    pub price: Option<RawPrice>,
    pub params: RawParams,
    pub upstream_streaming: Option<String>,
    pub prefill: Option<String>,
    pub deadlines: RawDeadlines,
}

/// `price = { input, output, cached_input, cache_write, cache_write_1h }`, USD per million tokens.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct RawPrice {
    pub input: f64,
    pub output: f64,
    #[serde(default)]
    pub cached_input: Option<f64>,
    #[serde(default)]
    pub cache_write: Option<f64>,
    #[serde(default)]
    pub cache_write_1h: Option<f64>,
}

/// `params = { drop, rename, set }`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawParams {
    pub drop: Vec<String>,
    pub rename: BTreeMap<String, String>,
    pub set: BTreeMap<String, serde_json::Value>,
}

/// `[tasks.NAME]`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawTask {
    pub targets: Vec<String>,
    pub deadlines: RawDeadlines,
}

/// `[routes.NAME]`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawRoute {
    pub targets: Vec<String>,
    pub by_task: bool,
    pub default_task: Option<String>,
    pub passthrough: bool,
    pub fallback: Vec<String>,
}

/// `[deadlines]`, also inside a task or target.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawDeadlines {
    pub connect: Option<RawDeadline>,
    pub send: Option<RawDeadline>,
    pub first_token: Option<RawDeadline>,
    pub idle: Option<RawDeadline>,
    pub progress: Option<RawDeadline>,
    pub total: Option<RawDeadline>,
}

/// `"5s"`, `"off"` or `{ hard = "5s" }`.
#[derive(Debug, Clone)]
pub struct RawDeadline(pub String);

impl<'de> Deserialize<'de> for RawDeadline {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Not an untagged enum: that would swallow unknown keys such as `soft`.
        struct Look;
        impl<'de> serde::de::Visitor<'de> for Look {
            type Value = RawDeadline;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a duration such as \"5s\", \"off\", or { hard = \"5s\" }")
            }
            fn visit_str<E>(self, text: &str) -> Result<RawDeadline, E> {
                Ok(RawDeadline(text.to_owned()))
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<RawDeadline, A::Error> {
                #[derive(Deserialize)]
                struct Table {
                    hard: String,
                }
                let table = Table::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                Ok(RawDeadline(table.hard))
            }
        }
        deserializer.deserialize_any(Look)
    }
}

/// `[models."NAME"]`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawModel {
    pub context_tokens: Option<u64>,
    pub price: Option<RawPrice>,
}
