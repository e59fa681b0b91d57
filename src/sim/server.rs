//! The simulator's listener and its endpoints.
//!
//! Owns accepting, routing and the request counters. Refuses to word answers.
//! Invariant: one task per connection, ended by its peer, its script, or the
//! drop of the last [`Sim`].

use super::chat::Chat;
use super::conn::{Conn, Gone, Running};
use super::fault::Fault;
use super::play::{Next, Turn, play, respond};
use super::refusal::{self, Response, refusal, rejected};
use super::request::{self, Body, Head, Unread};
use super::script::{Script, ScriptError};
use super::seen::{Ended, Log, Seen};
use super::whole;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

const CONNECTIONS_MAX: usize = 16_384;
/// Scripts with a fault whose requests are counted; beyond it counting begins anew.
const COUNTERS_MAX: usize = 65_536;
/// How long an answered connection with an unread upload stays open.
const LINGER: Duration = Duration::from_secs(1);
/// After an accept that failed (no descriptors left, as a rule).
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
const SCRIPT_HEADER: &str = "x-tautline-sim";

/// What a simulator is told once.
#[derive(Debug, Clone)]
pub struct SimSettings {
    /// Requests remembered; the oldest go first.
    pub seen_max: usize,
    /// Model names listed beside `sim`, `sim-small` and `sim-large`.
    pub names: Vec<String>,
    /// If there are any, the bearer has to be one of them, else 401.
    pub api_keys: Vec<String>,
}

impl Default for SimSettings {
    fn default() -> Self {
        Self {
            seen_max: 10_000,
            names: Vec::new(),
            api_keys: Vec::new(),
        }
    }
}

/// A running simulator. Clones are handles of the same one; it stops with
/// [`Sim::stop`] or when the last handle is dropped.
#[derive(Clone)]
pub struct Sim {
    addr: SocketAddr,
    shared: Arc<Shared>,
    running: Arc<watch::Sender<Running>>,
    /// Closed by the accept loop once its listener is gone.
    listening: watch::Receiver<()>,
}

struct Shared {
    settings: SimSettings,
    log: Log,
    counters: Mutex<HashMap<String, u64>>,
}

impl Sim {
    /// Serves on a listener that is bound already. Needs a tokio runtime.
    ///
    /// # Panics
    /// If the listener has no local address, which a bound one has.
    pub fn start(listener: TcpListener, settings: SimSettings) -> Self {
        let addr = listener
            .local_addr()
            .expect("a bound listener has an address");
        let running = Arc::new(watch::Sender::new(Running::Listening));
        let (guard, listening) = watch::channel(());
        let log = Log::new(settings.seen_max);
        let shared = Arc::new(Shared {
            settings,
            log,
            counters: Mutex::default(),
        });
        // Ended by stop, by stop_listening, or by the drop of the last handle.
        tokio::spawn(accept(
            listener,
            Arc::clone(&shared),
            running.subscribe(),
            guard,
        ));
        Self {
            addr,
            shared,
            running,
            listening,
        }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What a client takes for its base URL, `/v1` included.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.addr)
    }

    /// A snapshot of the log, in order of arrival.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.log.snapshot()
    }

    /// Waits until at least so many logged requests satisfy `pred`. Unbounded:
    /// the caller puts its own limit around it. Cancel safe.
    pub async fn wait_seen(&self, at_least: usize, pred: impl Fn(&Seen) -> bool) {
        self.shared.log.wait(at_least, pred).await;
    }

    /// Closes the listener ([`Fault::Refuse`]); on return connecting is refused.
    /// Connections that exist are served on.
    pub async fn stop_listening(&self) {
        self.advance(Running::Closed);
        // The error is the message: the loop has dropped its end.
        let _ = self.listening.clone().changed().await;
    }

    /// Ends everything; connections are dropped where they stand.
    pub fn stop(&self) {
        self.advance(Running::Stopped);
    }

    fn advance(&self, to: Running) {
        self.running.send_if_modified(|now| {
            let further = to > *now;
            *now = to.max(*now);
            further
        });
    }
}

async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    mut running: watch::Receiver<Running>,
    guard: watch::Sender<()>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let arrival = async {
            let place = Arc::clone(&places)
                .acquire_owned()
                .await
                .expect("the semaphore is never closed");
            listener.accept().await.map(|(stream, _)| (stream, place))
        };
        let arrived = tokio::select! {
            arrived = arrival => arrived,
            _ = running.wait_for(|now| *now > Running::Listening) => break,
        };
        let Ok((stream, place)) = arrived else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // Without it frames wait for acknowledgements; it fails only on a dead socket.
        let _ = stream.set_nodelay(true);
        let conn = Conn::new(stream, running.clone());
        let shared = Arc::clone(&shared);
        // Ended by its peer, its script, or the simulator's stop.
        tokio::spawn(async move {
            converse(conn, &shared).await;
            drop(place);
        });
    }
    // In this order: whoever waits for the guard may rely on a refused connect.
    drop(listener);
    drop(guard);
}

/// What an exchange leaves behind.
struct Done {
    next: Next,
    /// Written to the log once the connection is in the state it tells of.
    ended: Option<(u64, Ended)>,
}

async fn converse(mut conn: Conn, shared: &Shared) {
    loop {
        let Done { next, ended } = exchange(&mut conn, shared).await;
        let note = || ended.map_or((), |(id, ended)| shared.log.ended(id, ended));
        match next {
            Next::KeepAlive => note(),
            Next::Reset => {
                conn.reset();
                return note();
            }
            Next::Fin => {
                conn.finish().await;
                return note();
            }
            Next::Linger => {
                conn.finish().await;
                note();
                return conn.linger(LINGER).await;
            }
        }
    }
}

async fn exchange(conn: &mut Conn, shared: &Shared) -> Done {
    let read = match request::read_head(conn).await {
        Ok(head) => receive(conn, shared, &head)
            .await
            .map(|received| (head, received)),
        Err(unread) => Err(unread),
    };
    let (head, received) = match read {
        Ok(read) => read,
        Err(unread) => {
            return Done {
                next: unreadable(conn, unread).await,
                ended: None,
            };
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
    Done {
        next,
        ended: id.map(|id| (id, ended)),
    }
}

async fn unreadable(conn: &mut Conn, unread: Unread) -> Next {
    let status = match unread {
        Unread::Gone(_) => return Next::Fin,
        Unread::Malformed => 400,
        Unread::HeadTooLarge => 431,
        Unread::BodyTooLarge => 413,
    };
    let response = rejected(status, &unread.to_string());
    respond(conn, 0, &response, Next::Linger)
        .await
        .unwrap_or(Next::Fin)
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
    let mut early = false;
    let read = request::read_body(conn, head, |model| {
        early = Script::read(model, header).is_ok_and(|script| {
            script.fault == Some(Fault::EarlyAnswer) && shared.strikes(&script, model, header)
        });
        early
    })
    .await?;
    let (body, body_bytes, model) = match read {
        Body::Part { read, model } => (Value::Null, read, model),
        Body::Whole(bytes) => {
            let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            let model = body["model"].as_str().unwrap_or_default().to_owned();
            (body, bytes.len(), model)
        }
    };
    let script = Script::read(&model, header);
    let fault = match &script {
        Ok(script) if early => script.fault,
        // Early answers were drawn for already, while the body came in.
        Ok(script) => script.fault.filter(|fault| {
            *fault != Fault::EarlyAnswer
                && applies(*fault, &body)
                && shared.strikes(script, &model, header)
        }),
        Err(_) => None,
    };
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
    Ok(Received {
        id,
        body,
        early,
        script,
        fault,
    })
}

/// Whether the fault has a meaning for this request.
fn applies(fault: Fault, body: &Value) -> bool {
    if fault == Fault::StreamOptionsUnsupported {
        return !body["stream_options"].is_null();
    }
    body["stream"] == true || whole::applies(fault)
}

async fn answer(
    conn: &mut Conn,
    shared: &Shared,
    head: &Head,
    received: Received,
) -> Result<(Next, Ended), Gone> {
    let id = received.id.unwrap_or(0);
    let early = received.early;
    let path = head.path.strip_prefix("/v1").unwrap_or(&head.path);
    let response = match (head.method.as_str(), path) {
        ("GET", "/sim/seen") => Response::json(200, &shared.log.to_json()),
        _ if !shared.knows(head.bearer().as_deref()) => {
            refusal(Fault::Status401, &Script::default(), "").expect("401 is a refusal")
        }
        ("GET", "/models") => Response::json(200, &shared.models()),
        ("POST", "/chat/completions") if early => {
            let script = received.script.unwrap_or_default();
            let response =
                refusal(Fault::EarlyAnswer, &script, "").expect("an early answer is a refusal");
            return Ok((
                respond(conn, id, &response, Next::Linger).await?,
                Ended::FaultDone,
            ));
        }
        ("POST", "/chat/completions") => match prepare(received, &shared.log, id) {
            Ok((turn, chat)) => return Ok((play(conn, &turn, chat).await?, turn.ended())),
            Err(response) => response,
        },
        (method, _) => {
            let message = format!("Invalid URL ({method} {})", head.path);
            Response::json(
                404,
                &refusal::error(&message, "invalid_request_error", None, None),
            )
        }
    };
    // An upload that was given up cannot be followed by another request.
    let next = if early { Next::Linger } else { Next::KeepAlive };
    Ok((respond(conn, id, &response, next).await?, Ended::Complete))
}

/// Checks the body and words its answer.
fn prepare(received: Received, log: &Log, id: u64) -> Result<(Turn<'_>, Chat), Response> {
    let Received {
        body,
        script,
        fault,
        ..
    } = received;
    if !body.is_object() {
        return Err(rejected(
            400,
            "We could not parse the JSON body of your request.",
        ));
    }
    if body["model"].as_str().is_none_or(str::is_empty) {
        return Err(rejected(400, "you must provide a model parameter"));
    }
    if !body["messages"].is_array() {
        return Err(rejected(400, "Missing required parameter: 'messages'."));
    }
    let script = script.map_err(|error| rejected(400, &error.to_string()))?;
    let chat =
        Chat::compose(&body, &script, id).map_err(|error| rejected(400, &error.to_string()))?;
    let stream = body["stream"] == true;
    Ok((
        Turn {
            log,
            id,
            script,
            fault,
            stream,
        },
        chat,
    ))
}

impl Shared {
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
        let counter = counters
            .entry(format!("{model}\n{}", header.unwrap_or_default()))
            .or_default();
        *counter += 1;
        script.strikes(*counter - 1)
    }
}
