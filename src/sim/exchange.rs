//! One request: read, written down, routed, answered.
//!
//! Owns the endpoints and the request counters. Refuses to word answers.
//! Invariant: whatever is logged as arrived is logged as ended.

use super::chat::Chat;
use super::conn::{Conn, Gone};
use super::fault::Fault;
use super::play::{Next, Turn, play, respond};
use super::refusal::{self, Response, refusal, rejected};
use super::request::{self, Body, Head, Unread};
use super::script::{Script, ScriptError};
use super::seen::{Ended, Log, Seen};
use super::server::SimSettings;
use super::whole;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Instant;

/// Scripts with a fault whose requests are counted; beyond it counting begins anew.
const COUNTERS_MAX: usize = 65_536;
const SCRIPT_HEADER: &str = "x-tautline-sim";

/// What all connections of one simulator share.
pub(super) struct Shared {
    settings: SimSettings,
    pub log: Log,
    counters: Mutex<HashMap<String, u64>>,
}

/// What an exchange leaves behind.
pub(super) struct Done {
    pub next: Next,
    /// Written to the log once the connection is in the state it tells of.
    pub ended: Option<(u64, Ended)>,
}

/// Serves the next request of a connection.
pub(super) async fn exchange(conn: &mut Conn, shared: &Shared) -> Done {
    let read = match request::read_head(conn).await {
        Ok(head) => receive(conn, shared, &head).await.map(|received| (head, received)),
        Err(unread) => Err(unread),
    };
    let (head, received) = match read {
        Ok(read) => read,
        Err(unread) => {
            return Done { next: unreadable(conn, unread).await, ended: None };
        }
    };
    let id = received.id;
    let played = answer(conn, shared, &head, received).await;
    let (next, ended) = match played {
        Ok((Next::KeepAlive, ended)) if !head.keep_alive => (Next::Fin, ended),
        Ok(played) => played,
        Err(Gone::Peer) => (Next::Fin, Ended::PeerClosed),
        Err(Gone::Stopped) => (Next::Fin, Ended::Stopped),
    };
    Done { next, ended: id.map(|id| (id, ended)) }
}

async fn unreadable(conn: &mut Conn, unread: Unread) -> Next {
    let status = match unread {
        Unread::Gone(_) => return Next::Fin,
        Unread::Malformed => 400,
        Unread::HeadTooLarge => 431,
        Unread::BodyTooLarge => 413,
    };
    let response = rejected(status, &unread.to_string());
    respond(conn, 0, &response, Next::Linger).await.unwrap_or(Next::Fin)
}

/// A request that was read and written down.
struct Received {
    /// `None` for what is not logged: the log's own endpoint.
    id: Option<u64>,
    body: Value,
    /// The body was cut short on purpose.
    early: bool,
    script: Result<Script, ScriptError>,
    fault: Option<Fault>,
}

async fn receive(conn: &mut Conn, shared: &Shared, head: &Head) -> Result<Received, Unread> {
    let header = head.header(SCRIPT_HEADER);
    let mut drawn = None;
    let read = request::read_body(conn, head, |model| {
        drawn = Script::read(model, header)
            .ok()
            .filter(|script| script.fault == Some(Fault::EarlyAnswer))
            .map(|script| shared.strikes(&script, model, header));
        drawn == Some(true)
    })
    .await?;
    let early = matches!(read, Body::Part { .. });
    let (body, body_bytes, model) = match read {
        Body::Part { read, model } => (Value::Null, read, model),
        Body::Whole(bytes) => {
            let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            let model = body["model"].as_str().unwrap_or_default().to_owned();
            (body, bytes.len(), model)
        }
    };
    let script = Script::read(&model, header);
    let fault = script.as_ref().ok().and_then(|script| {
        // Counted once: an early answer was drawn for while its body came in.
        let drawn = drawn.filter(|_| script.fault == Some(Fault::EarlyAnswer));
        let strikes = || drawn.unwrap_or_else(|| shared.strikes(script, &model, header));
        script.fault.filter(|fault| early || (applies(*fault, &body) && strikes()))
    });
    let id = (head.path != "/sim/seen").then(|| {
        shared.log.arrived(Seen {
            id: 0,
            model,
            path: head.path.clone(),
            headers: head.headers.clone(),
            body: body.clone(),
            body_bytes,
            bearer: head.bearer(),
            fault,
            ended: None,
            at: Instant::now(),
            frames_sent: 0,
        })
    });
    Ok(Received { id, body, early, script, fault })
}

/// Whether the fault has a meaning for this request.
fn applies(fault: Fault, body: &Value) -> bool {
    if fault == Fault::StreamOptionsUnsupported {
        return !body["stream_options"].is_null();
    }
    body["stream"] == true || whole::applies(fault)
}

async fn answer(conn: &mut Conn, shared: &Shared, head: &Head, received: Received) -> Result<(Next, Ended), Gone> {
    let id = received.id.unwrap_or(0);
    let early = received.early;
    let path = head.path.strip_prefix("/v1").unwrap_or(&head.path);
    let response = match (head.method.as_str(), path) {
        ("GET", "/sim/seen") => Response::json(200, &shared.log.to_json()),
        _ if !shared.knows(head.bearer().as_deref()) => {
            refusal(Fault::Status401, &Script::default(), "", "").expect("401 is a refusal")
        }
        ("GET", "/models") => Response::json(200, &shared.models()),
        ("POST", "/chat/completions") if early => {
            let script = received.script.unwrap_or_default();
            let response = refusal(Fault::EarlyAnswer, &script, "", "").expect("an early answer is a refusal");
            return Ok((respond(conn, id, &response, Next::Linger).await?, Ended::FaultDone));
        }
        ("POST", "/chat/completions") => match prepare(received, &shared.log, id) {
            Ok((turn, chat)) => return Ok((play(conn, &turn, chat).await?, turn.ended())),
            Err(response) => response,
        },
        (method, _) => {
            let message = format!("Invalid URL ({method} {})", head.path);
            Response::json(404, &refusal::error(&message, "invalid_request_error", None, None))
        }
    };
    // An upload that was given up cannot be followed by another request.
    let next = if early { Next::Linger } else { Next::KeepAlive };
    Ok((respond(conn, id, &response, next).await?, Ended::Complete))
}

/// Checks the body and words its answer.
fn prepare(received: Received, log: &Log, id: u64) -> Result<(Turn<'_>, Chat), Response> {
    let Received { body, script, fault, .. } = received;
    if !body.is_object() {
        return Err(rejected(400, "We could not parse the JSON body of your request."));
    }
    if body["model"].as_str().is_none_or(str::is_empty) {
        return Err(rejected(400, "you must provide a model parameter"));
    }
    if !body["messages"].is_array() {
        return Err(rejected(400, "Missing required parameter: 'messages'."));
    }
    let script = script.map_err(|error| rejected(400, &error.to_string()))?;
    let chat = Chat::compose(&body, &script, id).map_err(|error| rejected(400, &error.to_string()))?;
    let stream = body["stream"] == true && !script.plain;
    Ok((Turn { log, id, script, fault, stream }, chat))
}

impl Shared {
    pub fn new(settings: SimSettings) -> Self {
        Self { log: Log::new(settings.seen_max), settings, counters: Mutex::default() }
    }

    fn knows(&self, bearer: Option<&str>) -> bool {
        let keys = &self.settings.api_keys;
        keys.is_empty() || bearer.is_some_and(|bearer| keys.iter().any(|key| key == bearer))
    }

    fn models(&self) -> Value {
        let own = ["sim", "sim-small", "sim-large"].into_iter();
        let data: Vec<Value> = own
            .chain(self.settings.names.iter().map(String::as_str))
            .map(|id| json!({ "id": id, "object": "model", "created": 1_767_225_600, "owned_by": "sim" }))
            .collect();
        json!({ "object": "list", "data": data })
    }

    /// Counts the request among those with the same model and header, and
    /// says whether its fault strikes.
    fn strikes(&self, script: &Script, model: &str, header: Option<&str>) -> bool {
        let mut counters = self.counters.lock();
        if counters.len() >= COUNTERS_MAX {
            counters.clear();
        }
        let counter = counters.entry(format!("{model}\n{}", header.unwrap_or_default())).or_default();
        *counter += 1;
        script.strikes(*counter - 1)
    }
}
