//! One request: read, written down, routed, answered.
//!
//! Owns the endpoints and the request counters. Refuses to word answers.
//! Invariant: whatever is logged as arrived is logged as ended.

use super::conn::{Conn, Gone};
use super::dialect::Dialect;
use super::echo::{self, Echo};
use super::fault::Fault;
use super::models;
use super::play::{Next, Turn, play, respond};
use super::prepare::prepare;
use super::refusal::{About, Complaint, Response, refusal};
use super::request::{self, Body, Head, Unread};
use super::responses::Kept;
use super::route::Endpoint;
use super::script::{Script, ScriptError};
use super::seal::Seal;
use super::seen::{Ended, Log, Seen};
use super::server::SimSettings;
use bytes::Bytes;
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
    pub kept: Kept,
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
    let head = match request::read_head(conn).await {
        Ok(head) => head,
        Err(unread) => {
            return Done { next: unreadable(conn, Dialect::Chat, unread).await, ended: None };
        }
    };
    let endpoint = Endpoint::of(&head);
    let received = match receive(conn, shared, &head, &endpoint).await {
        Ok(received) => received,
        Err(unread) => {
            return Done { next: unreadable(conn, endpoint.dialect(&head), unread).await, ended: None };
        }
    };
    let id = received.id;
    let played = answer(conn, shared, &head, &endpoint, received).await;
    let (next, ended) = match played {
        Ok((Next::KeepAlive, ended)) if !head.keep_alive => (Next::Fin, ended),
        Ok(played) => played,
        Err(Gone::Peer) => (Next::Fin, Ended::PeerClosed),
        Err(Gone::Stopped) => (Next::Fin, Ended::Stopped),
    };
    Done { next, ended: id.map(|id| (id, ended)) }
}

async fn unreadable(conn: &mut Conn, dialect: Dialect, unread: Unread) -> Next {
    let status = match unread {
        Unread::Gone(_) => return Next::Fin,
        Unread::Malformed => 400,
        Unread::HeadTooLarge => 431,
        Unread::BodyTooLarge => 413,
    };
    let response = Complaint::invalid(unread.to_string()).status(status).response(dialect, 0);
    respond(conn, dialect, 0, &response, Next::Linger).await.unwrap_or(Next::Fin)
}

/// A request that was read and written down.
pub(super) struct Received {
    /// `None` for what is not logged: the log's own endpoint.
    id: Option<u64>,
    pub body: Value,
    /// As it came, for an echo.
    raw: Bytes,
    /// The body was cut short on purpose.
    early: bool,
    pub script: Result<Script, ScriptError>,
    pub fault: Option<Fault>,
}

async fn receive(conn: &mut Conn, shared: &Shared, head: &Head, endpoint: &Endpoint) -> Result<Received, Unread> {
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
    let (body, raw, body_bytes, model) = match read {
        Body::Part { read, model } => (Value::Null, Bytes::new(), read, model),
        Body::Whole(bytes) => {
            let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            let model = body["model"].as_str().unwrap_or_default().to_owned();
            let length = bytes.len();
            (body, bytes.freeze(), length, model)
        }
    };
    let script = Script::read(&model, header);
    let fault = script.as_ref().ok().and_then(|script| {
        // Counted once: an early answer was drawn for while its body came in.
        let drawn = drawn.filter(|_| script.fault == Some(Fault::EarlyAnswer));
        let strikes = || drawn.unwrap_or_else(|| shared.strikes(script, &model, header));
        script.fault.filter(|fault| early || (applies(*fault, endpoint, &body) && strikes()))
    });
    let id = (*endpoint != Endpoint::Seen).then(|| {
        shared.log.arrived(Seen {
            id: 0,
            model,
            method: head.method.clone(),
            path: head.path.clone(),
            query: head.query.clone(),
            headers: head.headers.clone(),
            body: body.clone(),
            body_bytes,
            bearer: head.bearer(),
            key: head.key(),
            fault,
            ended: None,
            at: Instant::now(),
            frames_sent: 0,
        })
    });
    Ok(Received { id, body, raw, early, script, fault })
}

/// Whether the fault has a meaning for this request. Bodies that are no
/// conversation (embeddings, counted tokens) know the faults of an unstreamed chat.
fn applies(fault: Fault, endpoint: &Endpoint, body: &Value) -> bool {
    let (dialect, stream) = match endpoint {
        Endpoint::Answer(dialect) => (*dialect, body["stream"] == true),
        _ => (Dialect::Chat, false),
    };
    if fault == Fault::StreamOptionsUnsupported && body["stream_options"].is_null() {
        return false;
    }
    dialect.applies(fault, stream)
}

async fn answer(
    conn: &mut Conn,
    shared: &Shared,
    head: &Head,
    endpoint: &Endpoint,
    received: Received,
) -> Result<(Next, Ended), Gone> {
    let id = received.id.unwrap_or(0);
    let dialect = endpoint.dialect(head);
    let early = received.early;
    let played = matches!(endpoint, Endpoint::Answer(_) | Endpoint::CountTokens | Endpoint::Embeddings);
    let response = match endpoint {
        Endpoint::Seen => Response::json(200, &shared.log.to_json()),
        _ if !shared.knows(head.key().as_deref()) => {
            refused(Fault::Status401, dialect, id, &Script::default()).expect("401 is a refusal")
        }
        Endpoint::Echo(status) => match received.script {
            Err(error) => Complaint::invalid(error.to_string()).response(dialect, id),
            Ok(script) => {
                let (content_type, chunked) = echo::content_type(head.header("accept"), head.header("content-type"));
                let (method, status, body, fault) = (&head.method, *status, received.raw, received.fault);
                let echo = Echo { id, method, content_type, chunked, status, body, script, fault };
                return echo::play(conn, &echo).await;
            }
        },
        _ if played && early => {
            let script = received.script.unwrap_or_default();
            let response = refused(Fault::EarlyAnswer, dialect, id, &script).expect("an early answer is a refusal");
            return Ok((respond(conn, dialect, id, &response, Next::Linger).await?, Ended::FaultDone));
        }
        _ if played => match prepare(shared, head, endpoint, received, id) {
            Ok(ready) => {
                let turn = Turn {
                    log: &shared.log,
                    id,
                    dialect,
                    script: ready.script,
                    fault: ready.fault,
                    stream: ready.stream,
                };
                return Ok((play(conn, &turn, ready.voice).await?, turn.ended()));
            }
            Err(complaint) => complaint.response(dialect, id),
        },
        _ => looked_up(shared, head, endpoint, id),
    };
    // A head alone was asked for: a body would be taken for the next answer.
    let response = if head.method == "HEAD" { Response { body: String::new(), ..response } } else { response };
    // An upload that was given up cannot be followed by another request.
    let next = if early { Next::Linger } else { Next::KeepAlive };
    Ok((respond(conn, dialect, id, &response, next).await?, Ended::Complete))
}

/// The endpoints without a model at work.
fn looked_up(shared: &Shared, head: &Head, endpoint: &Endpoint, id: u64) -> Response {
    let dialect = endpoint.dialect(head);
    let found = match endpoint {
        Endpoint::Models => Ok(models::list(dialect, &shared.settings.names)),
        Endpoint::Model(name) => models::one(dialect, &shared.settings.names, name),
        Endpoint::Response(name) => kept(shared, name).map(|turn| turn.response.clone()),
        Endpoint::CancelResponse(name) => kept(shared, name).and_then(|turn| {
            let background = turn.response["background"] == true;
            background
                .then(|| turn.response.clone())
                .ok_or_else(|| Complaint::invalid("Cannot cancel a synchronous response."))
        }),
        Endpoint::DeleteResponse(name) if shared.kept.forget(name) => {
            Ok(json!({ "id": name, "object": "response", "deleted": true }))
        }
        Endpoint::DeleteResponse(name) => Err(unknown_response(name)),
        Endpoint::Seen
        | Endpoint::Answer(_)
        | Endpoint::CountTokens
        | Endpoint::Embeddings
        | Endpoint::Echo(_)
        | Endpoint::Unknown => {
            let message = match dialect {
                Dialect::Messages => "Not Found".to_owned(),
                Dialect::Chat | Dialect::Completions | Dialect::Responses => {
                    format!("Invalid URL ({} {})", head.method, head.path)
                }
            };
            Err(Complaint::invalid(message).status(404))
        }
    };
    match found {
        Ok(body) => Response::json(200, &body),
        Err(complaint) => complaint.response(dialect, id),
    }
}

fn kept(shared: &Shared, id: &str) -> Result<std::sync::Arc<super::responses::KeptTurn>, Complaint> {
    shared.kept.find(id).ok_or_else(|| unknown_response(id))
}

fn unknown_response(id: &str) -> Complaint {
    Complaint::invalid(format!("Response with id '{id}' not found.")).status(404)
}

fn refused(fault: Fault, dialect: Dialect, request: u64, script: &Script) -> Option<Response> {
    refusal(fault, &About { dialect, request, script, model: "", prompt: "" })
}

impl Shared {
    pub fn new(settings: SimSettings) -> Self {
        Self { log: Log::new(settings.seen_max), kept: Kept::default(), settings, counters: Mutex::default() }
    }

    pub fn signing(&self) -> &str {
        &self.settings.signing
    }

    /// What this simulator seals for the key that a request came with.
    pub fn seal(&self, head: &Head) -> Seal {
        Seal::new(&self.settings.signing, &head.key().unwrap_or_default())
    }

    fn knows(&self, key: Option<&str>) -> bool {
        let keys = &self.settings.api_keys;
        keys.is_empty() || key.is_some_and(|key| keys.iter().any(|known| known == key))
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
