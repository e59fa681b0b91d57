//! What goes out: headers, credential, body.

use crate::gateway::provider::pace::Limits;
use crate::gateway::provider::pool::bearer;
use crate::gateway::provider::transport::Outgoing;
use crate::gateway::settings::{Auth, Target};
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::sync::Arc;
use std::time::Duration;

/// Client headers that are forwarded unchanged (design.md, section 5).
const FORWARDED: [&str; 4] = ["openai-beta", "anthropic-beta", "anthropic-version", "idempotency-key"];

/// Client headers that belong to its credential, forwarded with it.
const WITH_CREDENTIAL: [&str; 4] = ["authorization", "openai-organization", "openai-project", "x-api-key"];

/// Those of a client's headers that any attempt may forward; kept for as long as
/// its answer streams.
#[must_use]
pub fn forwardable(client: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for name in FORWARDED.iter().chain(&WITH_CREDENTIAL) {
        for value in client.get_all(*name) {
            kept.append(HeaderName::from_static(name), value.clone());
        }
    }
    kept
}

/// All that one attempt needs to know.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not a state")]
pub struct AttemptSpec {
    pub target: Arc<Target>,
    pub limits: Limits,
    pub finish_grace: Duration,
    pub frame_bytes_max: usize,
    pub output_bytes_max: u64,
    /// The target was asked to stream.
    pub streams: bool,
    /// A usage frame is ours alone and goes no further.
    pub swallow_usage: bool,
    /// Choices asked for.
    pub choices: u32,
    pub first_target: bool,
    /// The body was changed only where the contract allows.
    pub pristine: bool,
    pub forwards_client_auth: bool,
    /// What was sent, to recognise what a target quotes of it.
    pub body: Bytes,
}

/// Whose credential goes along.
#[derive(Debug, Clone, Copy)]
pub enum Credential {
    Nothing,
    Client,
    Key(usize),
}

/// The request to a target.
#[must_use]
pub fn outgoing(target: &Target, credential: Credential, client: &HeaderMap, body: Bytes, streams: bool) -> Outgoing {
    let mut headers: Vec<(HeaderName, HeaderValue)> = vec![
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (
            ACCEPT,
            HeaderValue::from_static(if streams { "text/event-stream, application/json" } else { "application/json" }),
        ),
        (USER_AGENT, HeaderValue::from_static(concat!("tautline/", env!("CARGO_PKG_VERSION")))),
    ];
    let mut forward = |names: &[&'static str]| {
        for name in names {
            headers.extend(client.get_all(*name).iter().map(|value| (HeaderName::from_static(name), value.clone())));
        }
    };
    forward(&FORWARDED);
    match (credential, &target.provider.auth) {
        (Credential::Client, Auth::Client) => forward(&WITH_CREDENTIAL),
        (Credential::Key(place), Auth::Keys(keys)) => {
            headers.extend(keys.get(place).map(|key| (AUTHORIZATION, bearer(&key.secret()))));
        }
        _ => {}
    }
    headers.extend(target.provider.headers.iter().cloned());
    Outgoing {
        reach: Arc::clone(&target.provider.reach),
        method: http::Method::POST,
        path: "/chat/completions",
        headers,
        body,
    }
}
