//! The admin port: metrics, targets, records, health.

use crate::boot::reload::Reloader;
use crate::boot::roles::refresh_gauges;
use crate::domain::failure::Observation;
use crate::gateway::admit::{identify, may_enter};
use crate::gateway::lifecycle::Stage;
use crate::gateway::provider::pool::Quirk;
use crate::gateway::record::{self, RecordQuery};
use crate::gateway::settings::{Auth, Capabilities, Target};
use crate::gateway::state::Gateway;
use crate::serve::{Answer, App, Malformed, Session};
use crate::store::Store;
use crate::telemetry::encode;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method};
use prometheus::Registry;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Records that wait for the disk are waited for this long by who asks for one.
const WRITTEN_MAX: Duration = Duration::from_secs(1);

/// What the admin port shows.
#[derive(Debug)]
pub struct Admin {
    pub gateway: Arc<Gateway>,
    pub store: Store,
    pub registry: Registry,
    pub reloader: Arc<Reloader>,
}

impl App for Admin {
    async fn serve(&self, session: &mut Session) {
        let answer = self.answer(session).await;
        // Whoever asked and left misses nothing.
        let _ = session.answer(answer).await;
    }

    fn malformed(&self, _: Malformed, _: Option<&Session>) -> Answer {
        error(400, "this is no HTTP/1.1 request")
    }
}

impl Admin {
    async fn answer(&self, session: &Session) -> Answer {
        let caller = identify(&self.gateway, session);
        let health = matches!(session.path(), "/healthz" | "/readyz");
        match may_enter(&self.gateway, session, caller.denied.filter(|_| !health)) {
            Ok(()) => {}
            Err(Observation::NotAllowed { detail }) => return error(403, &detail),
            Err(_) => return error(401, "the access key is missing or wrong; send it as `Authorization: Bearer KEY`"),
        }
        if *session.method() == Method::POST && session.path() == "/-/reload" {
            return self.reload().await;
        }
        if !matches!(*session.method(), Method::GET | Method::HEAD) {
            return error(405, "only GET is served here, and POST /-/reload");
        }
        match session.path() {
            "/metrics" => {
                refresh_gauges(&self.gateway);
                typed(200, "text/plain; version=0.0.4; charset=utf-8", Bytes::from(encode(&self.registry)))
            }
            "/healthz" => typed(200, "text/plain", Bytes::from_static(b"ok\n")),
            "/readyz" if self.gateway.lifecycle.stage() == Stage::Open => {
                typed(200, "text/plain", Bytes::from_static(b"ready\n"))
            }
            "/readyz" => typed(503, "text/plain", Bytes::from_static(b"draining\n")),
            "/-/targets" => json_answer(200, &self.targets()),
            "/-/records" => self.records(session.query().unwrap_or_default()).await,
            path => match path.strip_prefix("/-/records/") {
                Some(id) => self.record(id).await,
                None => error(
                    404,
                    "served here: /metrics, /healthz, /readyz, /-/targets, /-/records, /-/records/ID, POST /-/reload",
                ),
            },
        }
    }

    async fn reload(&self) -> Answer {
        match self.reloader.reload().await {
            Ok(reloaded) => json_answer(200, &json!({"reloaded": true, "at_restart": reloaded.at_restart})),
            Err(faults) => {
                let list: Vec<Value> = faults
                    .faults
                    .iter()
                    .map(|fault| json!({"key": fault.key, "problem": fault.problem, "fix": fault.fix}))
                    .collect();
                json_answer(400, &json!({"reloaded": false, "source": faults.source, "faults": list}))
            }
        }
    }

    fn targets(&self) -> Value {
        let now = Instant::now();
        let list: Vec<Value> =
            self.gateway.settings().targets.values().map(|target| self.target(target, now)).collect();
        json!({"targets": list})
    }

    fn target(&self, target: &Target, now: Instant) -> Value {
        let memory = &self.gateway.memory;
        let provider = &target.provider;
        let (auth, keys) = match &provider.auth {
            Auth::None => ("none", 0),
            Auth::Keys(keys) => ("keys", keys.len()),
            Auth::Client => ("client", 0),
        };
        let cooling: Vec<Value> = memory
            .cooling(provider, now)
            .into_iter()
            .filter(|(_, scope, _)| scope.as_deref().is_none_or(|scope| scope == target.name.as_str()))
            .map(|(key, scope, rest)| {
                let why = if scope.is_some() { "rate limited at this target" } else { "login or quota failed" };
                json!({"key": key + 1, "for_ms": u64::try_from(rest.as_millis()).unwrap_or(u64::MAX), "why": why})
            })
            .collect();
        json!({
            "target": target.name, "provider": provider.name, "model": target.model,
            "auth": auth, "keys": keys, "cooling": cooling,
            "context_tokens": target.context_tokens,
            "capabilities": match &target.capabilities {
                Capabilities::Unknown => Value::Null,
                Capabilities::Exactly(list) => json!(list),
            },
            "price": target.price,
            "takes_stream": !memory.knows(target, Quirk::Stream, now),
            "takes_stream_options": !memory.knows(target, Quirk::StreamOptions, now),
        })
    }

    async fn records(&self, query: &str) -> Answer {
        let mut wanted = RecordQuery { limit: 100, ..RecordQuery::default() };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            match key {
                "outcome" => wanted.outcome = Some(value.to_owned()),
                "route" => wanted.route = Some(value.to_owned()),
                "cause" => wanted.cause = Some(value.to_owned()),
                "before" => wanted.before = Some(value.to_owned()),
                "limit" => match value.parse() {
                    Ok(limit) => wanted.limit = limit,
                    Err(_) => return error(400, "`limit` must be a whole number"),
                },
                _ => return error(400, "known here: outcome, route, cause, before, limit"),
            }
        }
        self.written().await;
        match record::list(&self.store, &wanted).await {
            Ok(page) => json_answer(200, &json!(page)),
            Err(_) => error(500, "the records cannot be read; see the log"),
        }
    }

    /// What was settled before is in the table, unless the disk is slow.
    async fn written(&self) {
        let _ = tokio::time::timeout(WRITTEN_MAX, self.gateway.settling.sink.flush()).await;
    }

    async fn record(&self, id: &str) -> Answer {
        self.written().await;
        match record::find(&self.store, id).await {
            Ok(Some(record)) => json_answer(200, &json!(record)),
            Ok(None) => error(404, "no record has this id, or more than one ends in it"),
            Err(_) => error(500, "the records cannot be read; see the log"),
        }
    }
}

fn typed(status: u16, kind: &'static str, body: Bytes) -> Answer {
    Answer { status, headers: vec![(CONTENT_TYPE, HeaderValue::from_static(kind))], body }
}

fn json_answer(status: u16, value: &Value) -> Answer {
    typed(status, "application/json", Bytes::from(value.to_string()))
}

fn error(status: u16, message: &str) -> Answer {
    json_answer(status, &json!({"error": {"message": message}}))
}
