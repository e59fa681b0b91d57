//! One request to a provider and its answer as bytes, under our clocks.
//!
//! Owns reading head and pieces, and the counting of both. Refuses to know what
//! they mean. Invariants: a ready read is taken before a clock is judged; at
//! most one piece is held; polling is cancel-safe.

use crate::domain::failure::{Evidence, Observation};
use crate::gateway::attempt::{Tally, clock, upstream_request_id};
use crate::gateway::provider::pace::{Limits, Pace};
use crate::gateway::provider::transport::{Marks, Outgoing, Stage, Transport, Upstream};
use crate::gateway::settle::ms;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use parking_lot::Mutex;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::time::Sleep;

/// The head of an answer.
#[derive(Debug, Clone)]
pub struct Head {
    pub status: u16,
    pub headers: HeaderMap,
}

/// A request on its way, or its answer.
pub struct Crossing {
    transport: Arc<Transport>,
    state: State,
    marks: Arc<Marks>,
    stage: Stage,
    accepted: u64,
    pace: Pace,
    began: Instant,
    sleep: Pin<Box<Sleep>>,
    /// When `sleep` ends, while it is armed.
    armed: Option<Instant>,
    tally: Arc<Mutex<Tally>>,
}

enum State {
    Opening(BoxFuture<'static, Result<Upstream, Observation>>),
    Reading(Box<Upstream>),
    Over,
}

impl std::fmt::Debug for Crossing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Crossing").field("stage", &self.stage).finish_non_exhaustive()
    }
}

impl Crossing {
    /// Begins to connect. `accepted`: when the exchange was. Of the limits
    /// `first_token` holds until the head came, `progress` not at all: any byte is progress.
    #[must_use]
    pub fn start(request: Outgoing, mut limits: Limits, accepted: Instant, transport: &Arc<Transport>) -> Self {
        let now = Instant::now();
        let marks = Arc::new(Marks::default());
        limits.progress.value = None;
        Self {
            state: State::Opening(Box::pin(Arc::clone(transport).open(request, Arc::clone(&marks)))),
            transport: Arc::clone(transport),
            marks,
            stage: Stage::Connecting,
            accepted: 0,
            // Its end is the body's end: there is no grace behind a finish.
            pace: Pace::new(limits, Duration::ZERO, accepted, now),
            began: now,
            sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
            armed: None,
            tally: Arc::default(),
        }
    }

    /// The counters, readable after it is gone. `contents` counts pieces.
    #[must_use]
    pub fn tally(&self) -> Arc<Mutex<Tally>> {
        Arc::clone(&self.tally)
    }

    /// The head of the answer. Cancel-safe; asked once.
    ///
    /// # Errors
    /// What was seen instead.
    pub async fn head(&mut self) -> Result<Head, Observation> {
        std::future::poll_fn(|cx| self.poll_by_the_clock(cx, Self::poll_head)).await
    }

    /// The next piece of the body; `None` at its orderly end. Cancel-safe.
    ///
    /// # Errors
    /// How it broke.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, Observation> {
        std::future::poll_fn(|cx| self.poll_by_the_clock(cx, Self::poll_piece)).await
    }

    /// Pends until the time of the whole exchange is up. For as long as nobody
    /// reads upstream, see [`Self::suspend`].
    pub async fn expired(&mut self) -> Observation {
        let never = |_: &mut Self, _: &mut Context<'_>| Poll::<Result<Infallible, Observation>>::Pending;
        match std::future::poll_fn(|cx| self.poll_by_the_clock(cx, never)).await {
            Ok(never) => match never {},
            Err(observation) => observation,
        }
    }

    /// Nobody reads upstream for a while: its silence proves nothing.
    pub fn suspend(&mut self) {
        self.pace.suspend(Instant::now());
        self.armed = None;
    }

    /// Reading goes on.
    pub fn resume(&mut self) {
        self.pace.resume(Instant::now());
        self.armed = None;
    }

    /// No body follows this head, whatever its headers say (HEAD).
    pub fn end_at_head(&mut self) {
        // Its connection is not used again: the transport would wait for a body, too.
        self.state = State::Over;
        self.tally.lock().finished = true;
    }

    /// The state of this crossing as evidence of what ended it.
    #[must_use]
    pub fn evidence(&self, observation: Observation) -> Evidence {
        let tally = self.tally.lock();
        Evidence {
            connected: self.marks.stage() > Stage::Connecting || tally.headers_seen,
            reused_connection: self.marks.reused(),
            headers_seen: tally.headers_seen,
            bytes: tally.bytes,
            contents: tally.contents,
            finish_seen: tally.finished,
            ..Evidence::at_door(observation, ms(self.began.elapsed()))
        }
    }

    fn poll_by_the_clock<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut poll: impl FnMut(&mut Self, &mut Context<'_>) -> Poll<Result<T, Observation>>,
    ) -> Poll<Result<T, Observation>> {
        loop {
            let now = Instant::now();
            let polled = poll(self, cx);
            if polled.is_ready() {
                return polled;
            }
            self.follow_marks(now);
            match self.pace.check(now) {
                Err(fired) => return Poll::Ready(Err(clock(fired))),
                Ok(None) => return Poll::Pending,
                Ok(Some(due)) => {
                    // Armed anew only when it is due earlier than the sleep ends, or that has ended.
                    if self.armed.is_none_or(|armed| due < armed) {
                        self.armed = Some(due);
                        self.sleep.as_mut().reset(due.into());
                    }
                    if self.sleep.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    self.armed = None;
                }
            }
        }
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Observation>> {
        let State::Opening(opening) = &mut self.state else { return Poll::Pending };
        let mut upstream = match opening.as_mut().poll(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(observation)) => return Poll::Ready(Err(observation)),
            Poll::Ready(Ok(upstream)) => upstream,
        };
        let head = Head { status: upstream.status, headers: std::mem::take(&mut upstream.headers) };
        self.state = State::Reading(Box::new(upstream));
        self.pace.content(Instant::now());
        self.armed = None;
        let mut tally = self.tally.lock();
        (tally.connected, tally.sent, tally.headers_seen) = (true, true, true);
        tally.upstream_request_id = upstream_request_id(&head.headers);
        drop(tally);
        Poll::Ready(Ok(head))
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Observation>> {
        loop {
            let State::Reading(upstream) = &mut self.state else { return Poll::Ready(Ok(None)) };
            let mut piece = Bytes::new();
            match upstream.poll_body(cx, |bytes| piece = Bytes::copy_from_slice(bytes)) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(observation)) => return Poll::Ready(Err(observation)),
                Poll::Ready(Ok(true)) if piece.is_empty() => {}
                Poll::Ready(Ok(true)) => {
                    self.count(piece.len());
                    return Poll::Ready(Ok(Some(piece)));
                }
                Poll::Ready(Ok(false)) => {
                    self.tally.lock().finished = true;
                    if let State::Reading(upstream) = std::mem::replace(&mut self.state, State::Over) {
                        self.transport.retire(*upstream);
                    }
                    return Poll::Ready(Ok(None));
                }
            }
        }
    }

    fn count(&mut self, bytes: usize) {
        let now = Instant::now();
        self.pace.content(now);
        let mut tally = self.tally.lock();
        tally.bytes += bytes as u64;
        tally.contents += 1;
        tally.first_token.get_or_insert(now - self.began);
    }

    /// How far the request has come, seen from outside while it is on its way.
    fn follow_marks(&mut self, now: Instant) {
        if !matches!(self.state, State::Opening(_)) {
            return;
        }
        let (stage, accepted) = (self.marks.stage(), self.marks.accepted());
        if stage != self.stage {
            self.stage = stage;
            self.armed = None;
            match stage {
                Stage::Connecting => self.pace.connecting(now),
                Stage::Sending => {
                    self.tally.lock().connected = true;
                    self.pace.connected(now);
                }
                Stage::Sent => {
                    self.tally.lock().sent = true;
                    self.pace.sent(now);
                }
            }
        }
        if accepted != self.accepted {
            self.accepted = accepted;
            self.pace.accepted(now);
        }
    }
}
