//! Identity and size: who asks, and the body they bring.
//!
//! Owns what is taken from a session before an exchange begins. Refuses to
//! read meaning into the body (`intake`). Invariant: from here on nothing
//! borrows from the session.

use crate::domain::failure::{Observation, StallPoint};
use crate::domain::ids::{Principal, PrincipalKind};
use crate::gateway::events::{Bound, BoundHit};
use crate::gateway::lifecycle::Stage;
use crate::gateway::settle::{Open, ms};
use crate::gateway::state::Gateway;
use crate::serve::{BodyError, Session, refuse_foreign};
use bytes::Bytes;
use hmac::{Hmac, Mac as _};
use http::HeaderMap;
use sha2::Sha256;

/// What was taken from the session.
#[derive(Debug)]
pub struct Admitted {
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Who asks: the keyed hash of a credential that is forwarded, else anonymous.
#[must_use]
pub fn principal(gateway: &Gateway, headers: &HeaderMap) -> Principal {
    let anonymous = || Principal { id: "anonymous".to_owned(), kind: PrincipalKind::Anonymous };
    if !gateway.forwards_credentials {
        return anonymous();
    }
    let credential = headers.get(http::header::AUTHORIZATION).or_else(|| headers.get("x-api-key"));
    credential.map_or_else(anonymous, |credential| {
        let mut mac = Hmac::<Sha256>::new_from_slice(gateway.principal_key.expose()).expect("HMAC takes any key");
        mac.update(credential.as_bytes());
        let hash = mac.finalize().into_bytes();
        let short = u64::from_be_bytes(hash[..8].try_into().expect("a hash has 32 bytes"));
        Principal { id: format!("client:{short:016x}"), kind: PrincipalKind::ClientCredential }
    })
}

/// Lets a request in, with its body.
///
/// # Errors
/// Why it stays outside.
pub async fn admit(gateway: &Gateway, session: &mut Session, open: &mut Open) -> Result<Admitted, Observation> {
    if let Some(detail) = refuse_foreign(session.headers(), &gateway.settings.allowed_hosts) {
        return Err(Observation::NotAllowed { detail });
    }
    if gateway.lifecycle.stage() >= Stage::Draining {
        session.close_after();
        return Err(Observation::Draining);
    }
    if session.headers().contains_key(http::header::CONTENT_ENCODING) {
        return Err(Observation::Invalid {
            field: Some("content-encoding".to_owned()),
            offset: None,
            detail: "compressed request bodies are not supported; send the JSON as it is".to_owned(),
        });
    }
    let bounds = &gateway.settings.bounds;
    let read = tokio::select! {
        biased;
        read = session.read_body(bounds.body_bytes_max, |_| true) => Some(read),
        () = gateway.lifecycle.reached(Stage::Ending) => None,
    };
    let Some(read) = read else {
        session.close_after();
        return Err(Observation::Shutdown);
    };
    let body = read.map_err(|error| match error {
        BodyError::TooLarge { max } => {
            BoundHit(Bound::Body).emit(&gateway.metrics);
            Observation::TooLarge { what: "body_bytes_max", limit: max as u64 }
        }
        BodyError::Stalled(limit) => Observation::ClientStalled { at: StallPoint::Body, limit_ms: ms(limit) },
        BodyError::NoRoom => Observation::Draining,
        BodyError::Gone => Observation::ClientGone,
        BodyError::Malformed => {
            Observation::Invalid { field: None, offset: None, detail: "the body's framing is broken".to_owned() }
        }
    })?;
    open.record.timings.body_ms = Some(open.elapsed_ms());
    Ok(Admitted { headers: session.headers().clone(), body })
}
