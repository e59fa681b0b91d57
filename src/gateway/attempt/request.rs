//! What goes out: headers, credential, body.

use crate::gateway::provider::pace::Limits;
use crate::gateway::provider::transport::Outgoing;
use crate::gateway::settings::{self, ANTHROPIC_VERSION, Auth, Provider, Target};
use crate::wire::canon::ReplyContext;
use crate::wire::dialect::Dialect;
use crate::wire::resume::{Join, Transcript};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::sync::Arc;
use std::time::Duration;

/// Client headers that are forwarded unchanged (design.md, section 5).
const FORWARDED: [&str; 4] = ["openai-beta", "anthropic-beta", "anthropic-version", "idempotency-key"];
/// The first of them are a vendor's own.
const VENDORS_OWN: usize = 3;

/// Client headers that belong to its credential, forwarded with it. A login at
/// ChatGPT, as Codex has one, is worth nothing without the account and who asks.
const WITH_CREDENTIAL: [&str; 6] =
    ["authorization", "openai-organization", "openai-project", "x-api-key", "chatgpt-account-id", "originator"];

/// Client headers that are about a body, an answer or a part of one; beside
/// [`FORWARDED`], for what goes on as bytes. Not `accept-encoding`: nobody here
/// undoes what the client may not have meant for a range of it.
const PASSING: [&str; 10] = [
    "content-type",
    "content-disposition",
    "accept",
    "accept-language",
    "range",
    "if-range",
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-unmodified-since",
];

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
    /// What the target speaks.
    pub dialect: Dialect,
    /// What the client speaks, where that is another dialect.
    pub translation: Option<Box<(Dialect, ReplyContext)>>,
    /// The answer that this one goes on from, and how.
    pub goes_on: Option<Box<(Arc<Transcript>, Join)>>,
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

/// The request to a target, in a dialect that its provider serves. What
/// the provider's own `headers` name is sent as they say, and once.
#[must_use]
pub fn outgoing(
    target: &Target,
    credential: Credential,
    client: &HeaderMap,
    body: Bytes,
    (asked, dialect, streams): (Dialect, Dialect, bool),
) -> Outgoing {
    let provider = &target.provider;
    let accept = if streams { "text/event-stream, application/json" } else { "application/json" };
    let mut headers: Vec<(HeaderName, HeaderValue)> = vec![
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (ACCEPT, HeaderValue::from_static(accept)),
        (USER_AGENT, HeaderValue::from_static(concat!("tautline/", env!("CARGO_PKG_VERSION")))),
    ];
    // What a client says of its vendor's versions means nothing to another one.
    let own = if asked.is_anthropics() == dialect.is_anthropics() { 0 } else { VENDORS_OWN };
    copy(&mut headers, client, &FORWARDED[own..]);
    sign(&mut headers, provider, credential, client);
    let speaks_anthropic = provider.dialect == settings::Dialect::Anthropic || dialect.is_anthropics();
    if speaks_anthropic && !headers.iter().any(|(name, _)| *name == ANTHROPIC_VERSION.0) {
        headers.push(ANTHROPIC_VERSION);
    }
    insist(&mut headers, provider);
    Outgoing {
        reach: Arc::clone(&provider.reach),
        method: http::Method::POST,
        path: dialect.path().into(),
        headers,
        body,
    }
}

/// A request that goes on as it came.
#[derive(Debug)]
pub struct Passing {
    pub method: http::Method,
    /// Below the provider's base URL, with its query.
    pub path: String,
    pub body: Bytes,
}

/// The request to a provider as the client wrote it: method, path and body, and
/// those of its headers that are about them.
#[must_use]
pub fn passing(target: &Target, credential: Credential, client: &HeaderMap, request: Passing) -> Outgoing {
    let provider = &target.provider;
    let mut headers = vec![(USER_AGENT, HeaderValue::from_static(concat!("tautline/", env!("CARGO_PKG_VERSION"))))];
    copy(&mut headers, client, &PASSING);
    copy(&mut headers, client, &FORWARDED);
    sign(&mut headers, provider, credential, client);
    let asks_version = provider.dialect == settings::Dialect::Anthropic;
    if asks_version && !headers.iter().any(|(name, _)| *name == ANTHROPIC_VERSION.0) {
        headers.push(ANTHROPIC_VERSION);
    }
    insist(&mut headers, provider);
    let Passing { method, path, body } = request;
    Outgoing { reach: Arc::clone(&provider.reach), method, path: path.into(), headers, body }
}

/// The credential, and headers of the client that belong to its own.
fn sign(headers: &mut Vec<(HeaderName, HeaderValue)>, provider: &Provider, credential: Credential, client: &HeaderMap) {
    match (credential, &provider.auth) {
        (Credential::Client, Auth::Client) => copy(headers, client, &WITH_CREDENTIAL),
        (Credential::Key(place), Auth::Keys(keys)) => {
            headers.extend(keys.get(place).map(|key| provider.credential(&key.secret())));
        }
        _ => {}
    }
}

fn copy(headers: &mut Vec<(HeaderName, HeaderValue)>, client: &HeaderMap, names: &[&'static str]) {
    for name in names {
        headers.extend(client.get_all(*name).iter().map(|value| (HeaderName::from_static(name), value.clone())));
    }
}

/// What the provider's own `headers` name is sent as they say, and once.
fn insist(headers: &mut Vec<(HeaderName, HeaderValue)>, provider: &Provider) {
    headers.retain(|(name, _)| !provider.headers.iter().any(|(own, _)| own == name));
    headers.extend(provider.headers.iter().cloned());
}
