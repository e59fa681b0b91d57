//! The front door: which path leads where.
//!
//! Owns the answers that are no exchanges, and who is let through to which
//! stage (`door/paths.rs` has the table). Refuses
//! everything about models. Invariant: whatever is asked here, besides health
//! and lists, opens one record and settles it.

mod paths;

use crate::domain::failure::{Evidence, Observation, StallPoint, classify};
use crate::domain::ids::ExchangeId;
use crate::domain::ids::RouteName;
use crate::domain::record::NONE;
use crate::domain::task::{Task, TaskReason};
use crate::gateway::access::Denied;
use crate::gateway::admit::{Admitted, Caller, admit, identify, may_enter};
use crate::gateway::attempt::Passing;
use crate::gateway::events::{Bound, BoundHit, ConnectionClosed};
use crate::gateway::exchange::{begin, refuse, refuse_as};
use crate::gateway::feedback;
use crate::gateway::intake::{model_names, timeout_header};
use crate::gateway::journal::ErrorAnswer;
use crate::gateway::lifecycle::Stage;
use crate::gateway::passage::{Errand, Request, pass};
use crate::gateway::recall::{self, Part, recall};
use crate::gateway::relay::{ReplyHeaders, as_answer, relay};
use crate::gateway::settings::{Passage, RouteKind};
use crate::gateway::settle::{Asker, Open, Opening, fixed_answer, ms};
use crate::gateway::state::Gateway;
use crate::serve::{Answer, App, Closed, Malformed, Session};
use crate::telemetry::Raised;
use crate::wire::chat::{ModelEntry, model, model_list};
use crate::wire::dialect::Dialect;
use crate::wire::messages;
use crate::wire::redact::redact;
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use paths::{MODELS, Way, below_base, dialect_of, unknown_path, wants_anthropics};
use std::sync::Arc;

/// Bytes of a client's own request id; a longer one is not its id.
const CLIENT_ID_MAX: usize = 256;

/// The gateway behind its door.
#[derive(Debug, Clone)]
pub struct Door(pub Arc<Gateway>);

impl App for Door {
    async fn serve(&self, session: &mut Session) {
        let gateway = &self.0;
        let is_get = *session.method() == Method::GET || *session.method() == Method::HEAD;
        let path = match session.path().trim_end_matches('/') {
            "" => "/".to_owned(),
            path => path.to_owned(),
        };
        let answer = match path.as_str() {
            "/healthz" if is_get => plain(200, "ok\n"),
            "/readyz" if is_get && gateway.lifecycle.stage() == Stage::Open => plain(200, "ready\n"),
            "/readyz" if is_get => plain(503, "draining\n"),
            MODELS if is_get => self.models(session),
            path if is_get && path.starts_with("/v1/models/") => self.model(session, &path["/v1/models/".len()..]),
            _ => return self.exchange(session, &path).await,
        };
        // The client's departure here concerns nobody.
        let _ = session.answer(answer).await;
    }

    fn malformed(&self, what: Malformed, head: Option<&Session>) -> Answer {
        let gateway = &self.0;
        let invalid = |detail: &str| Observation::Invalid { field: None, offset: None, detail: detail.to_owned() };
        let observation = match what {
            Malformed::NotHttp => invalid("this is no HTTP/1.1 request, or its framing can be read in two ways"),
            Malformed::HeadStalled(limit) => Observation::ClientStalled { at: StallPoint::Head, limit_ms: ms(limit) },
            Malformed::HeadTooLarge(max) => {
                BoundHit(Bound::Head).emit(&gateway.metrics);
                Observation::TooLarge { what: "head_bytes_max", limit: max as u64 }
            }
            Malformed::TooManyHeaders(max) => Observation::TooLarge { what: "header lines", limit: max as u64 },
        };
        let Some(session) = head else {
            let ErrorAnswer { status, headers, body, .. } =
                fixed_answer(&classify(&Evidence::at_door(observation, 0)), stranger());
            return Answer { status, headers, body };
        };
        // A head was read: there is an exchange to tell of.
        let Asked { open, reply: headers, .. } = self.open(session, session.path());
        let refused = refuse_as(open, observation, None);
        let mut all = headers.base();
        all.extend(refused.headers);
        Answer { status: refused.status, headers: all, body: refused.body }
    }

    fn opened(&self) -> Option<Raised> {
        Some(self.0.metrics.connection_open())
    }

    fn closed(&self, why: Closed) {
        ConnectionClosed(why).emit(&self.0.metrics);
    }
}

/// A request with its record, before anything was decided.
struct Asked {
    open: Open,
    /// What its answer is headed with.
    reply: ReplyHeaders,
    /// The client's headers without our key.
    headers: http::HeaderMap,
    denied: Option<Denied>,
}

impl Door {
    /// The record of a request, and what its answer is headed with.
    fn open(&self, session: &Session, path: &str) -> Asked {
        let gateway = &self.0;
        let id = ExchangeId::generate();
        let dialect = dialect_of(path, session.headers());
        let own_id = session.headers().get("x-client-request-id").filter(|value| value.len() <= CLIENT_ID_MAX).cloned();
        let Caller { principal, addr, headers: client_headers, denied } = identify(gateway, session);
        let mut open = Open::new(
            Opening {
                id,
                accepted: session.accepted(),
                path: redact(path, 200),
                client_request_id: own_id.as_ref().and_then(|id| id.to_str().ok()).map(|id| redact(id, CLIENT_ID_MAX)),
                principal,
                client_addr: addr.map(|addr| addr.to_string()),
                dialect,
            },
            &gateway.settling,
        );
        open.join_trace(session.headers());
        let reply = ReplyHeaders { id: id.to_string(), client_request_id: own_id, dialect };
        Asked { open, reply, headers: client_headers, denied }
    }

    async fn exchange(&self, session: &mut Session, path: &str) {
        let gateway = &self.0;
        // Drain waits for the answer to be written, not just for the driver.
        let _running = gateway.lifecycle.enter();
        let way = Way::of(path, &gateway.settings());
        // Boxed, as is whatever is over before the answer streams: what it needs is not kept meanwhile.
        let Some((admitted, open, reply)) = Box::pin(self.let_in(session, path, &way)).await else { return };
        match way {
            Way::Model => match Box::pin(begin(gateway, admitted, open)).await {
                Ok(begun) => relay(gateway, session, begun, &reply).await,
                Err(refused) => answer(session, &reply, refused).await,
            },
            Way::Passage(passage) => Box::pin(self.pass(session, admitted, open, &reply, &passage)).await,
            Way::Response(id, part) => Box::pin(self.recall(session, admitted, open, &reply, (id, part))).await,
            Way::Feedback => answer(session, &reply, Box::pin(feedback::take(gateway, &admitted, open)).await).await,
            // Nobody was let in to it.
            Way::Unknown => answer(session, &reply, refuse(open, unknown_path(path))).await,
        }
    }

    /// Takes the request, its body included; `None`: it is over, and its client was told.
    async fn let_in(&self, session: &mut Session, path: &str, way: &Way) -> Option<(Admitted, Open, ReplyHeaders)> {
        let Asked { mut open, reply, headers: client_headers, denied } = self.open(session, path);
        let wrong_method = way.is_served() && !way.takes(session.method());
        let upgrades = session.headers().contains_key(http::header::UPGRADE)
            && (wrong_method || (matches!(way, Way::Passage(_)) && wants_websocket(session.headers())));
        let observation = match self.accept(session, path, way, &mut open, client_headers, denied).await {
            Ok(admitted) => return Some((admitted, open, reply)),
            // Nobody is there to be told; dropping the record settles it.
            Err(Observation::ClientGone) => return None,
            Err(observation) => observation,
        };
        let unmet = session.expects_more() && way.is_served();
        let status = match () {
            // A client that would rather speak WebSocket is told at once to go on over HTTP.
            () if upgrades => Some(426),
            () if wrong_method => Some(405),
            () if unmet => Some(417),
            () => None,
        };
        let mut refused = refuse_as(open, observation, status);
        if upgrades {
            // RFC 9110, section 15.5.22: a 426 names what to speak instead.
            refused.headers.push((http::header::UPGRADE, HeaderValue::from_static("HTTP/1.1")));
        } else if wrong_method {
            // RFC 9110, section 15.5.6: a 405 names what is allowed.
            refused.headers.push((ALLOW, HeaderValue::from_static(way.allowed())));
        }
        answer(session, &reply, refused).await;
        None
    }

    async fn accept(
        &self,
        session: &mut Session,
        path: &str,
        way: &Way,
        open: &mut Open,
        headers: http::HeaderMap,
        denied: Option<Denied>,
    ) -> Result<Admitted, Observation> {
        let invalid =
            |field: &str, detail: String| Observation::Invalid { field: Some(field.to_owned()), offset: None, detail };
        if !way.is_served() {
            return Err(unknown_path(path));
        }
        if !way.takes(session.method()) {
            return Err(invalid("method", format!("{path} takes {} only, over plain HTTP", way.allowed())));
        }
        if session.expects_more() {
            session.close_after();
            return Err(invalid("expect", "the only expectation met here is 100-continue".to_owned()));
        }
        if let Way::Passage(_) | Way::Response(..) = way {
            below_base(session.path(), None)?;
        }
        if matches!(way, Way::Passage(_)) && wants_websocket(session.headers()) {
            return Err(invalid("upgrade", format!("{path} passes plain HTTP only")));
        }
        admit(&self.0, session, open, headers, denied).await
    }

    /// A response that was made before.
    async fn recall(
        &self,
        session: &mut Session,
        admitted: Admitted,
        open: Open,
        reply: &ReplyHeaders,
        (id, part): (String, Part),
    ) {
        let path = match below_base(session.path(), session.query()) {
            Ok(path) => path,
            Err(observation) => return answer(session, reply, refuse(open, observation)).await,
        };
        let (method, query) = (session.method().clone(), session.query().map(str::to_owned));
        recall(&self.0, session, reply, admitted, open, recall::Asked { id, part, method, path, query }).await;
    }

    /// To a provider as bytes.
    async fn pass(
        &self,
        session: &mut Session,
        admitted: Admitted,
        mut open: Open,
        reply: &ReplyHeaders,
        passage: &Passage,
    ) {
        let Admitted { headers: client, body } = admitted;
        open.identify("", &RouteName::new("passthrough"), &Task::new(NONE), TaskReason::Default, false);
        let asked = below_base(session.path(), session.query()).and_then(|path| Ok((path, timeout_header(&client)?)));
        let (path, budget) = match asked {
            Ok(asked) => asked,
            Err(observation) => return answer(session, reply, refuse(open, observation)).await,
        };
        let request = Request {
            target: Arc::clone(&passage.target),
            picked: None,
            passing: Passing { method: session.method().clone(), path, body },
            client,
            reason: format!("[passthrough] \"{}\"", passage.prefix),
            budget,
            keep_max: 0,
        };
        pass(session, reply, Errand::begin(&self.0, open, request)).await;
    }

    /// The list of models, in the form that the client reads.
    fn models(&self, session: &Session) -> Answer {
        match self.entries(session) {
            Err(answer) => answer,
            Ok(entries) if wants_anthropics(session.headers()) => json(messages::model_list(&entries, self.0.started)),
            Ok(entries) => json(model_list(&entries, self.0.started)),
        }
    }

    /// One model. `name` as it stands in the path: it may hold slashes.
    fn model(&self, session: &Session, name: &str) -> Answer {
        let entries = match self.entries(session) {
            Ok(entries) => entries,
            Err(answer) => return answer,
        };
        let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
        let Some(entry) = entries.iter().find(|entry| entry.id == name) else {
            let nearest = crate::gateway::settings::nearest(&name, entries.iter().map(|entry| entry.id.as_str()), 3);
            let observation = Observation::UnknownRoute { asked: redact(&name, 100), nearest };
            return refusal(observation, dialect_of(MODELS, session.headers()));
        };
        let write = if wants_anthropics(session.headers()) { messages::model_object } else { model };
        json(write(entry, self.0.started))
    }

    /// What there is to be asked for; or why that is not told.
    fn entries(&self, session: &Session) -> Result<Vec<ModelEntry>, Answer> {
        let settings = self.0.settings();
        let caller = identify(&self.0, session);
        may_enter(&self.0, session, caller.denied)
            .map_err(|observation| refusal(observation, dialect_of(MODELS, session.headers())))?;
        let mut entries: Vec<ModelEntry> =
            model_names(&settings).into_iter().map(|id| ModelEntry { id, owned_by: "tautline".to_owned() }).collect();
        if settings.routes.values().any(|route| matches!(route.kind, RouteKind::Passthrough { .. })) {
            let published = self.0.catalog.names().into_iter().map(|(id, owned_by)| ModelEntry { id, owned_by });
            entries.extend(published.filter(|entry| !settings.routes.contains_key(&entry.id)).collect::<Vec<_>>());
        }
        Ok(entries)
    }
}

/// The answer of an exchange that is over.
async fn answer(session: &mut Session, reply: &ReplyHeaders, answer: ErrorAnswer) {
    // The record is settled: a client that left misses nothing.
    let _ = session.answer(as_answer(answer, reply.base())).await;
}

/// A request to go on by WebSocket (RFC 6455, section 4.1). Other upgrades are offers, and not taken.
fn wants_websocket(headers: &HeaderMap) -> bool {
    let asked = headers.get(http::header::UPGRADE).and_then(|value| value.to_str().ok());
    asked.is_some_and(|asked| asked.split(',').any(|one| one.trim().eq_ignore_ascii_case("websocket")))
}

/// Somebody of whom nothing was read.
fn stranger() -> Asker {
    Asker { id: ExchangeId::generate(), dialect: Dialect::Chat }
}

/// A refusal that is no exchange.
fn refusal(observation: Observation, dialect: Dialect) -> Answer {
    let asker = Asker { dialect, ..stranger() };
    let ErrorAnswer { status, headers, body, .. } = fixed_answer(&classify(&Evidence::at_door(observation, 0)), asker);
    Answer { status, headers, body }
}

fn json(body: Bytes) -> Answer {
    Answer { status: 200, headers: vec![(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body }
}

fn plain(status: u16, text: &'static str) -> Answer {
    let headers: Vec<(HeaderName, HeaderValue)> =
        vec![(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))];
    Answer { status, headers, body: Bytes::from_static(text.as_bytes()) }
}
