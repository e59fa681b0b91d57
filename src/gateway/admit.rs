//! Identity and size: who asks, and the body they bring.
//!
//! Owns what is taken from a session before an exchange begins. Refuses to
//! read meaning into the body (`intake`). Invariant: from here on nothing
//! borrows from the session.

use crate::domain::failure::{Observation, StallPoint};
use crate::domain::ids::{Principal, PrincipalKind};
use crate::gateway::access::{Access, Denied};
use crate::gateway::events::{Bound, BoundHit};
use crate::gateway::forwarded::{Peer, origin};
use crate::gateway::lifecycle::Stage;
use crate::gateway::settle::{Open, ms};
use crate::gateway::state::Gateway;
use crate::serve::{BodyError, Session, refuse_foreign};
use crate::wire::inflate::{Coding, Inflate};
use bytes::{Bytes, BytesMut};
use hmac::{Hmac, Mac as _};
use http::HeaderMap;
use sha2::Sha256;

/// Inflated at a time, bytes: what a bomb gets beyond its bound at most.
const PIECE: usize = 16 << 10;

/// What was taken from the session.
#[derive(Debug)]
pub struct Admitted {
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Who asks, and the headers without our key.
#[derive(Debug)]
pub struct Caller {
    pub principal: Principal,
    /// Its own, behind proxies that are trusted; `None` where nobody knows.
    pub addr: Option<std::net::IpAddr>,
    pub headers: HeaderMap,
    /// Why it may not come in.
    pub denied: Option<Denied>,
}

/// Recognises a caller: by the keyed hash of a credential that is forwarded,
/// else by our key, else not at all.
#[must_use]
pub fn identify(gateway: &Gateway, session: &Session) -> Caller {
    let settings = gateway.settings();
    let mut headers = session.headers().clone();
    let peer = if session.is_over_unix() { Peer::Unix } else { Peer::Tcp(session.peer()) };
    let origin = origin(peer, session.is_near(), &headers, &settings.trusted_proxies);
    let admitted = settings.access.admit(gateway.minted, origin.near, &mut headers);
    let own = || headers.get(http::header::AUTHORIZATION).or_else(|| headers.get("x-api-key"));
    let credential = settings.forwards_credentials().then(own).flatten();
    let principal = match (credential, admitted) {
        (Some(credential), _) => hashed(gateway, credential),
        (None, Ok(true)) => Principal { id: "access_key".to_owned(), kind: PrincipalKind::AccessKey },
        (None, _) => Principal { id: "anonymous".to_owned(), kind: PrincipalKind::Anonymous },
    };
    let denied = admitted.err().map(|denied| match settings.access {
        Access::Unsaid if gateway.minted.is_none() => Denied::NoKey,
        _ => denied,
    });
    Caller { principal, addr: origin.addr, denied, headers }
}

fn hashed(gateway: &Gateway, credential: &http::HeaderValue) -> Principal {
    let mut mac = Hmac::<Sha256>::new_from_slice(gateway.principal_key.expose()).expect("HMAC takes any key");
    mac.update(credential.as_bytes());
    let hash = mac.finalize().into_bytes();
    let short = u64::from_be_bytes(hash[..8].try_into().expect("a hash has 32 bytes"));
    Principal { id: format!("client:{short:016x}"), kind: PrincipalKind::ClientCredential }
}

/// What stands before any body is read: a foreign page, a missing key.
///
/// # Errors
/// Why it stays outside.
pub fn may_enter(gateway: &Gateway, session: &Session, denied: Option<Denied>) -> Result<(), Observation> {
    // Off loopback the name is whatever others call this machine, and a key guards it; no page reaches a Unix socket.
    if !session.is_over_unix()
        && session.is_near()
        && let Some(detail) = refuse_foreign(session.headers(), &gateway.settings().allowed_hosts)
    {
        return Err(Observation::NotAllowed { detail });
    }
    let detail = match denied {
        None => return Ok(()),
        Some(Denied::Missing) => "send it as `Authorization: Bearer KEY`, `x-api-key` or `x-tautline-key`",
        Some(Denied::NoKey) => {
            "a proxy handed this request on from elsewhere, where a key is needed, and none is set: \
             set gateway.access_key, or auth = \"none\" if anybody may come in"
        }
        Some(Denied::Wrong) => "the one that was sent is not known",
    };
    Err(Observation::Unauthorized { detail: detail.to_owned() })
}

/// Lets a request in, with its body.
///
/// # Errors
/// Why it stays outside.
pub async fn admit(
    gateway: &Gateway,
    session: &mut Session,
    open: &mut Open,
    headers: HeaderMap,
    denied: Option<Denied>,
) -> Result<Admitted, Observation> {
    let settings = gateway.settings();
    may_enter(gateway, session, denied)?;
    if gateway.lifecycle.stage() >= Stage::Draining {
        session.close_after();
        return Err(Observation::Draining);
    }
    let coding = coding(session.headers())?;
    let bounds = &settings.bounds;
    let mut room = gateway.bodies.room();
    let read = tokio::select! {
        biased;
        read = session.read_body(bounds.body_bytes_max, |more| room.grow(more)) => Some(read),
        () = gateway.lifecycle.reached(Stage::Ending) => None,
    };
    let Some(read) = read else {
        session.close_after();
        return Err(Observation::Shutdown);
    };
    let body = read.map_err(|error| match error {
        BodyError::TooLarge { max } => too_large(gateway, max),
        BodyError::NoRoom => no_room(gateway),
        BodyError::Stalled(limit) => Observation::ClientStalled { at: StallPoint::Body, limit_ms: ms(limit) },
        BodyError::TooSlow(limit) => Observation::ClientStalled { at: StallPoint::BodyPace, limit_ms: ms(limit) },
        BodyError::Gone => Observation::ClientGone,
        BodyError::Malformed => {
            Observation::Invalid { field: None, offset: None, detail: "the body's framing is broken".to_owned() }
        }
    })?;
    let body = match coding {
        Some(coding) => inflate(gateway, coding, room.keep(body)).await?,
        None => room.keep(body),
    };
    open.record.timings.body_ms = Some(open.elapsed_ms());
    Ok(Admitted { headers, body })
}

fn too_large(gateway: &Gateway, max: usize) -> Observation {
    BoundHit(Bound::Body).emit(&gateway.metrics);
    Observation::TooLarge { what: "body_bytes_max", limit: max as u64 }
}

fn no_room(gateway: &Gateway) -> Observation {
    BoundHit(Bound::Bodies).emit(&gateway.metrics);
    Observation::NoRoom { what: "bodies_bytes_max", limit: gateway.bodies.max() as u64 }
}

fn unreadable(detail: String) -> Observation {
    Observation::Invalid { field: Some("content-encoding".to_owned()), offset: None, detail }
}

/// How the body is compressed, if it is.
fn coding(headers: &HeaderMap) -> Result<Option<Coding>, Observation> {
    let mut named = headers.get_all(http::header::CONTENT_ENCODING).into_iter();
    let Some(value) = named.next() else { return Ok(None) };
    let name = value.to_str().unwrap_or_default().trim();
    if named.next().is_none() {
        if name.eq_ignore_ascii_case("identity") {
            return Ok(None);
        }
        if let Some(coding) = Coding::named(name) {
            return Ok(Some(coding));
        }
    }
    let known = Coding::NAMES;
    Err(unreadable(format!("a body may be sent as it is or compressed once, as one of: {known}")))
}

/// Undoes the compression, with an eye on both bounds before each piece is kept.
async fn inflate(gateway: &Gateway, coding: Coding, compressed: Bytes) -> Result<Bytes, Observation> {
    let max = gateway.settings().bounds.body_bytes_max;
    let broken = |error: std::io::Error| unreadable(format!("the compressed body cannot be read: {error}"));
    let mut window = gateway.bodies.room();
    if !window.grow(coding.window(&compressed)) {
        return Err(no_room(gateway));
    }
    let mut inflate = Inflate::new(coding, compressed).map_err(broken)?;
    let mut room = gateway.bodies.room();
    let mut body = BytesMut::new();
    let mut piece = vec![0; PIECE];
    loop {
        let read = inflate.piece(&mut piece).map_err(broken)?;
        if read == 0 {
            return Ok(room.keep(body.freeze()));
        }
        if body.len() + read > max {
            return Err(too_large(gateway, max));
        }
        if !room.grow(read) {
            return Err(no_room(gateway));
        }
        body.extend_from_slice(&piece[..read]);
        // A megabyte takes milliseconds, a piece of brotli no more than its window: others on this
        // thread have their turn.
        tokio::task::yield_now().await;
    }
}
