//! The front door: which path leads where.
//!
//! Owns the list of paths and the answers that are no exchanges. Refuses
//! everything about models. Invariant: whatever is asked here, besides health
//! and lists, opens one record and settles it.

use crate::domain::failure::{Evidence, Observation, StallPoint, classify};
use crate::domain::ids::ExchangeId;
use crate::gateway::access::Denied;
use crate::gateway::admit::{Caller, admit, identify, may_enter};
use crate::gateway::events::{Bound, BoundHit, ConnectionClosed};
use crate::gateway::exchange::{Begun, begin, refuse_as};
use crate::gateway::intake::model_names;
use crate::gateway::journal::ErrorAnswer;
use crate::gateway::lifecycle::Stage;
use crate::gateway::relay::{ReplyHeaders, relay};
use crate::gateway::settings::RouteKind;
use crate::gateway::settle::{Open, Opening, fixed_answer, ms};
use crate::gateway::state::Gateway;
use crate::serve::{Answer, App, Closed, Malformed, Session};
use crate::telemetry::Raised;
use crate::wire::chat::{ModelEntry, model_list};
use crate::wire::dialect::Dialect;
use crate::wire::redact::redact;
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method};
use std::sync::Arc;

const CHAT: &str = "/v1/chat/completions";
const MODELS: &str = "/v1/models";
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
            let ErrorAnswer { status, headers, body } = fixed_answer(&classify(&Evidence::at_door(observation, 0)));
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
            },
            &gateway.settling,
        );
        open.join_trace(session.headers());
        let reply = ReplyHeaders { id: id.to_string(), client_request_id: own_id };
        Asked { open, reply, headers: client_headers, denied }
    }

    async fn exchange(&self, session: &mut Session, path: &str) {
        let gateway = &self.0;
        // Drain waits for the answer to be written, not just for the driver.
        let _running = gateway.lifecycle.enter();
        // Boxed: what it needs is not kept while the answer streams.
        if let Some((begun, headers)) = Box::pin(self.begin(session, path)).await {
            relay(gateway, session, begun, &headers).await;
        }
    }

    /// Begins an exchange; `None`: it is over, and its client was told.
    async fn begin(&self, session: &mut Session, path: &str) -> Option<(Begun, ReplyHeaders)> {
        let gateway = &self.0;
        let Asked { mut open, reply: headers, headers: client_headers, denied } = self.open(session, path);
        let wrong_method = path == CHAT && *session.method() != Method::POST;
        let refused = match self.accept(session, path, &mut open, client_headers, denied).await {
            Ok(admitted) => match begin(gateway, Dialect::Chat, admitted, open) {
                Ok(begun) => return Some((begun, headers)),
                Err(answer) => answer,
            },
            // Nobody is there to be told; dropping the record settles it.
            Err(Observation::ClientGone) => return None,
            Err(observation) => {
                let unmet = session.expects_more() && path == CHAT;
                refuse_as(open, observation, wrong_method.then_some(405).or(unmet.then_some(417)))
            }
        };
        let mut all = headers.base();
        all.extend(refused.headers);
        if wrong_method {
            // RFC 9110, section 15.5.6: a 405 names what is allowed.
            all.push((ALLOW, HeaderValue::from_static("POST")));
        }
        let _ = session.answer(Answer { status: refused.status, headers: all, body: refused.body }).await;
        None
    }

    async fn accept(
        &self,
        session: &mut Session,
        path: &str,
        open: &mut Open,
        headers: http::HeaderMap,
        denied: Option<Denied>,
    ) -> Result<crate::gateway::admit::Admitted, Observation> {
        if path != CHAT {
            return Err(unknown_path(path));
        }
        if *session.method() != Method::POST {
            return Err(Observation::Invalid {
                field: Some("method".to_owned()),
                offset: None,
                detail: format!("{CHAT} takes POST only"),
            });
        }
        if session.expects_more() {
            session.close_after();
            return Err(Observation::Invalid {
                field: Some("expect".to_owned()),
                offset: None,
                detail: "the only expectation met here is 100-continue".to_owned(),
            });
        }
        admit(&self.0, session, open, headers, denied).await
    }

    fn models(&self, session: &Session) -> Answer {
        let settings = self.0.settings();
        let caller = identify(&self.0, session);
        if let Err(observation) = may_enter(&self.0, session, caller.denied) {
            let failure = classify(&Evidence::at_door(observation, 0));
            let ErrorAnswer { status, headers, body } = fixed_answer(&failure);
            return Answer { status, headers, body };
        }
        let mut entries: Vec<ModelEntry> =
            model_names(&settings).into_iter().map(|id| ModelEntry { id, owned_by: "tautline".to_owned() }).collect();
        if settings.routes.values().any(|route| matches!(route.kind, RouteKind::Passthrough { .. })) {
            let published = self.0.catalog.names().into_iter().map(|(id, owned_by)| ModelEntry { id, owned_by });
            entries.extend(published.filter(|entry| !settings.routes.contains_key(&entry.id)).collect::<Vec<_>>());
        }
        let headers = vec![(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        Answer { status: 200, headers, body: model_list(&entries, self.0.started) }
    }
}

fn unknown_path(path: &str) -> Observation {
    let nearest = crate::gateway::settings::nearest(path, [CHAT, MODELS, "/healthz", "/readyz"], 1);
    Observation::UnknownPath { asked: redact(path, 100), nearest }
}

fn plain(status: u16, text: &'static str) -> Answer {
    let headers: Vec<(HeaderName, HeaderValue)> =
        vec![(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))];
    Answer { status, headers, body: Bytes::from_static(text.as_bytes()) }
}
