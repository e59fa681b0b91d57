//! Bytes through: a request that goes to a provider as it came, and its answer.
//!
//! Owns the delivery of the answer, piece by piece. Refuses fallback and any
//! reading of meaning: there is one attempt, recorded like others. Invariants:
//! never more than one piece is held, so a client that does not read slows its
//! provider; an answer that was cut never ends as if it were whole.

mod crossing;
mod errand;

pub use errand::{Errand, Request};

use crate::domain::failure::{Observation, StallPoint};
use crate::gateway::attempt::for_its_user;
use crate::gateway::lifecycle::Stage;
use crate::gateway::relay::ReplyHeaders;
use crate::gateway::settle::ms;
use crate::serve::{Answer, SendError, Session};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Headers of an answer that go back with it. Not among them: what belongs to a
/// connection, cookies, and a provider's own ids (the record has those).
const PASSED_BACK: [&str; 12] = [
    "content-type",
    "content-encoding",
    "content-language",
    "content-disposition",
    "content-range",
    "accept-ranges",
    "cache-control",
    "expires",
    "etag",
    "last-modified",
    "vary",
    "retry-after",
];

/// Carries one request to its provider and the answer back; a good answer is
/// handed over where it is kept.
pub async fn pass(session: &mut Session, reply: &ReplyHeaders, errand: Errand<'_>) -> Option<Vec<u8>> {
    let own_work = errand.open.own_work();
    timed(&own_work, deliver(session, reply, errand)).await
}

/// Adds up what its polls take: what lies between them is waiting for others.
async fn timed<T>(own_work: &Arc<AtomicU64>, story: impl Future<Output = T>) -> T {
    let mut story = pin!(story);
    std::future::poll_fn(|cx| {
        let began = Instant::now();
        let polled = story.as_mut().poll(cx);
        own_work.fetch_add(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        polled
    })
    .await
}

async fn deliver(session: &mut Session, reply: &ReplyHeaders, mut errand: Errand<'_>) -> Option<Vec<u8>> {
    let mut begun = false;
    match carry(session, reply, &mut errand, &mut begun).await {
        Ok(()) => return errand.delivered(),
        // The answer stays open, and so its connection ends.
        Err(observation) if begun => errand.cut(observation),
        Err(observation) => {
            let mut headers = reply.with_attempt(errand.target.name.as_str());
            let answer = errand.failed(observation)?;
            headers.extend(answer.headers);
            let _ = session.answer(Answer { status: answer.status, headers, body: answer.body }).await;
        }
    }
    None
}

/// Head and pieces, as they come. `begun` is set before anything is shown.
async fn carry(
    session: &mut Session,
    reply: &ReplyHeaders,
    errand: &mut Errand<'_>,
    begun: &mut bool,
) -> Result<(), Observation> {
    let gateway = errand.gateway;
    let mut ending = pin!(gateway.lifecycle.reached(Stage::Ending));
    let left = |error| match error {
        SendError::Gone => Observation::ClientGone,
        SendError::Stalled => {
            let limit_ms = ms(gateway.settings().bounds.write_timeout);
            Observation::ClientStalled { at: StallPoint::Answer, limit_ms }
        }
    };
    let head = tokio::select! {
        biased;
        head = errand.crossing.head() => head?,
        () = session.departed() => return Err(Observation::ClientGone),
        () = &mut ending => return Err(Observation::Shutdown),
    };
    errand.take_head(head.clone())?;
    if *session.method() == Method::HEAD {
        errand.crossing.end_at_head();
    }
    let mut headers = reply.with_attempt(errand.target.name.as_str());
    headers.extend(passed_back(&head.headers, errand.is_callers()));
    errand.open.record.stream = is_stream(&head.headers);
    let length = head.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    *begun = true;
    session.write_through();
    session.begin(head.status, &headers, length).await.map_err(left)?;
    loop {
        let piece = tokio::select! {
            biased;
            piece = errand.crossing.piece() => piece?,
            () = session.departed() => return Err(Observation::ClientGone),
            () = &mut ending => return Err(Observation::Shutdown),
        };
        let Some(piece) = piece else { break };
        errand.take_piece(&piece);
        errand.crossing.suspend();
        tokio::select! {
            biased;
            // Not cancel-safe: whoever ends it ends the answer.
            sent = session.send(piece) => sent.map_err(left)?,
            () = &mut ending => return Err(Observation::Shutdown),
            observation = errand.crossing.expired() => return Err(observation),
        }
        errand.crossing.resume();
    }
    // All of it was taken; a client that closes without reading the last chunk has missed nothing.
    let _ = session.finish().await;
    Ok(())
}

/// What the client is told of the answer's head.
fn passed_back(headers: &HeaderMap, client_auth: bool) -> Vec<(HeaderName, HeaderValue)> {
    let mut back: Vec<(HeaderName, HeaderValue)> = Vec::new();
    for name in PASSED_BACK {
        back.extend(headers.get_all(name).iter().map(|value| (HeaderName::from_static(name), value.clone())));
    }
    if client_auth {
        back.extend(for_its_user(headers));
    }
    if is_stream(headers) {
        // nginx in front of us would hold the frames back otherwise.
        back.push((HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")));
    }
    back
}

fn is_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.trim_start().to_ascii_lowercase().starts_with("text/event-stream")
}
