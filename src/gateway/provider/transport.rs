//! One request to one provider: resolve, connect, send, read.
//!
//! Owns pingora's pools and client sessions; nothing of pingora leaves this
//! room but through it. Refuses clocks and meaning: it reports what it saw as
//! an [`Observation`]. Invariants: an HTTP/1.1 connection goes back to the pool
//! only after its answer was read to the end; a connection carries requests of
//! one [`Reach`] only.

mod dial;
mod h1;
mod h2;
mod line;

use crate::domain::failure::Observation;
use crate::gateway::settings::{HttpVersion, Reach};
use bytes::Bytes;
use dial::{Book, Place};
use futures_util::FutureExt as _;
use h2::Again;
use line::Line;
use pingora_core::connectors::ConnectorOptions;
use pingora_core::connectors::http::v2::Connector;
use pingora_core::protocols::http::v1::client::HttpSession;
use pingora_core::upstreams::peer::{HttpPeer, Peer as _};
use std::borrow::Cow;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

/// Idle connections kept over all providers.
const POOL_MAX: usize = 1024;
/// The end of an answer, after its last frame, is waited for this long before
/// the connection is given up.
const RETIRE_MAX: Duration = Duration::from_secs(1);
const PIECE: usize = 64 << 10;

/// Connections to all providers.
pub struct Transport {
    /// Of HTTP/2; the pool of the transport below it keeps those of HTTP/1.1.
    h2: Connector,
    /// An idle connection is closed after this.
    pool_idle: Duration,
    /// An older one carries no further request.
    pool_age_max: Duration,
    book: Book,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}

/// A request as it goes out.
#[derive(Debug, Clone)]
pub struct Outgoing {
    pub reach: Arc<Reach>,
    pub method: http::Method,
    /// Below the endpoint's own path, with its leading slash; it may have a query.
    pub path: Cow<'static, str>,
    pub headers: Vec<(http::HeaderName, http::HeaderValue)>,
    pub body: Bytes,
}

impl Outgoing {
    /// Path and query as they are written: the endpoint's, the request's, and
    /// what the provider's requests always carry.
    fn target(&self) -> String {
        let mut target = format!("{}{}", self.reach.endpoint.path, self.path);
        if let Some(query) = &self.reach.query {
            target.push(if self.path.contains('?') { '&' } else { '?' });
            target.push_str(query.expose());
        }
        target
    }
}

/// How far a request has come, seen from outside while it is on its way.
#[derive(Debug, Default)]
pub struct Marks {
    stage: AtomicU8,
    accepted: AtomicU64,
    reused: AtomicBool,
    /// A byte of an answer came.
    heard: AtomicBool,
}

/// Where a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Connecting,
    Sending,
    Sent,
}

impl Marks {
    #[must_use]
    pub fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Relaxed) {
            0 => Stage::Connecting,
            1 => Stage::Sending,
            _ => Stage::Sent,
        }
    }

    /// Request bytes that the network took.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    #[must_use]
    pub fn reused(&self) -> bool {
        self.reused.load(Ordering::Relaxed)
    }

    fn begin(&self) {
        self.accepted.store(0, Ordering::Relaxed);
        self.enter(Stage::Sending);
    }

    fn enter(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    fn accept(&self, bytes: usize) {
        self.accepted.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn hear(&self) {
        self.heard.store(true, Ordering::Relaxed);
    }
}

/// An answer whose head was read.
pub struct Upstream {
    body: Body,
    /// The request went out to its last byte; otherwise the target still waits
    /// for the rest, and an HTTP/1.1 connection can carry no other request.
    sent_whole: bool,
    pub status: u16,
    pub headers: http::HeaderMap,
}

/// What the answer's body is read from.
enum Body {
    /// With its place in the pool.
    One(Box<HttpSession>, u64),
    Two(h2::Lease),
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream").field("status", &self.status).finish_non_exhaustive()
    }
}

/// A connection that can carry a request.
enum Ready {
    One(Box<Line>, u64),
    Two(h2::Lease),
}

impl Transport {
    #[must_use]
    pub fn new(pool_idle: Duration, pool_age_max: Duration) -> Self {
        Self {
            h2: Connector::new(Some(ConnectorOptions::new(POOL_MAX))),
            pool_idle,
            pool_age_max,
            book: Book::default(),
        }
    }

    /// Sends `request` and reads the head of its answer. It is sent once more, in
    /// silence, where a reused connection broke before any byte of an answer
    /// (RFC 9110, section 9.2.2; pools race with their server's idle timeout), and
    /// where an HTTP/2 server says that it did nothing with it or wants it by
    /// HTTP/1.1 (RFC 9113, section 8.7). Not cancel-safe: dropping it drops the
    /// connection or resets the stream. No clock of its own: the caller's `Pace`
    /// ends it.
    ///
    /// # Errors
    /// What was seen instead of an answer.
    pub async fn open(self: Arc<Self>, request: Outgoing, marks: Arc<Marks>) -> Result<Upstream, Observation> {
        let places = self.book.places(&request.reach).await?;
        let (ready, reused) = match self.reused(&request.reach, &places).await {
            Some(ready) => (ready, true),
            None => (self.fresh(&request.reach, &places, false).await?, false),
        };
        marks.reused.store(reused, Ordering::Relaxed);
        let (observation, again) = match exchange(ready, &request, &marks).await {
            Ok(upstream) => return Ok(upstream),
            Err(unanswered) => unanswered,
        };
        let silent =
            reused && matches!(observation, Observation::Broken { .. }) && !marks.heard.load(Ordering::Relaxed);
        let older = again == Again::Older && request.reach.version == HttpVersion::Auto;
        if !silent && !older && again != Again::Untouched {
            return Err(observation);
        }
        marks.enter(Stage::Connecting);
        marks.reused.store(false, Ordering::Relaxed);
        let ready = self.fresh(&request.reach, &places, older).await?;
        exchange(ready, &request, &marks).await.map_err(|(observation, _)| observation)
    }

    /// A connection that stands, the best place first.
    async fn reused(self: &Arc<Self>, reach: &Reach, places: &[Place]) -> Option<Ready> {
        let may_be_h2 = reach.version == HttpVersion::Two || (reach.version == HttpVersion::Auto && reach.endpoint.tls);
        for place in places {
            let peer = Box::new(peer(reach, place));
            let key = peer.reuse_hash();
            while let Some(stream) = self.h2.transport().reused_stream(&*peer).await {
                let opened = stream.get_timing_digest().into_iter().next().flatten();
                if !opened.is_some_and(|opened| self.is_old(opened.established_ts))
                    && let Ok(line) = stream.into_any().downcast::<Line>()
                {
                    return Some(Ready::One(line, key));
                }
            }
            if may_be_h2 && let Some(lease) = self.stream_of(peer).await {
                return Some(Ready::Two(lease));
            }
        }
        None
    }

    async fn fresh(self: &Arc<Self>, reach: &Reach, places: &[Place], older: bool) -> Result<Ready, Observation> {
        let (line, place) = self.book.dial(reach, places, older).await?;
        let line = Box::new(line);
        if line.agreed_on_h2() || (reach.version == HttpVersion::Two && !reach.endpoint.tls) {
            return Ok(Ready::Two(self.first_stream(line, reach, &place).await?));
        }
        if reach.version == HttpVersion::Two {
            // A server without ALPN speaks HTTP/1.1 (RFC 9113, section 3.2).
            let detail = "it does not speak the HTTP version that `http` asks for".to_owned();
            return Err(Observation::Tls { detail });
        }
        Ok(Ready::One(line, peer(reach, &place).reuse_hash()))
    }

    fn is_old(&self, opened: SystemTime) -> bool {
        // A clock that was set back makes none old.
        opened.elapsed().is_ok_and(|age| age >= self.pool_age_max)
    }

    /// Takes an answer whose last frame was read: reads its framing to the end
    /// and returns the connection to the pool, else closes it (of HTTP/2 the
    /// stream alone).
    pub fn retire(self: &Arc<Self>, mut upstream: Upstream) {
        if !upstream.sent_whole {
            return;
        }
        let transport = Arc::clone(self);
        let mut retiring = Box::pin(async move {
            let rest = async {
                let mut left = PIECE;
                loop {
                    let read = std::future::poll_fn(|cx| {
                        upstream.poll_body(cx, |bytes| left = left.saturating_sub(bytes.len()))
                    });
                    match read.await {
                        Ok(true) if left > 0 => {}
                        read => return read == Ok(false),
                    }
                }
            };
            if tokio::time::timeout(RETIRE_MAX, rest).await == Ok(true)
                && let Body::One(mut session, key) = upstream.body
            {
                session.respect_keepalive();
                if let Some(stream) = session.reuse().await {
                    transport.h2.transport().release_stream(stream, key, Some(transport.pool_idle));
                }
            }
        });
        // Nearly always its end is here already, and no task is needed.
        if retiring.as_mut().now_or_never().is_none() {
            // Ends by itself within RETIRE_MAX; nobody waits for it.
            tokio::spawn(retiring);
        }
    }
}

/// Its error is what was seen instead of an answer, and what the server wants.
async fn exchange(ready: Ready, request: &Outgoing, marks: &Marks) -> Result<Upstream, (Observation, Again)> {
    match ready {
        Ready::One(line, key) => {
            let answered = h1::exchange(line, request, marks).await.map_err(|observation| (observation, Again::No))?;
            let h1::Answered { session, sent_whole, status, headers } = answered;
            Ok(Upstream { body: Body::One(session, key), sent_whole, status, headers })
        }
        Ready::Two(lease) => {
            let answered = h2::exchange(lease, request, marks).await;
            let h2::Answered { lease, sent_whole, status, headers } =
                answered.map_err(|unanswered| (unanswered.observation, unanswered.again))?;
            Ok(Upstream { body: Body::Two(lease), sent_whole, status, headers })
        }
    }
}

/// As which pingora's pools know a way to a place.
fn peer(reach: &Reach, place: &Place) -> HttpPeer {
    let addr = match place {
        Place::Addr(addr) => *addr,
        // pingora holds a pooled connection's other end against the peer's, and a Unix socket goes by the
        // name that its server bound it by, which may be another; the way's key tells sockets apart.
        Place::Socket(_) => SocketAddr::from(([0, 0, 0, 0], 0)),
    };
    let mut peer = HttpPeer::new(addr, reach.endpoint.tls, reach.endpoint.host.clone());
    peer.group_key = reach.key;
    peer
}

/// A fault of TLS that shows only when something is read: of TLS 1.3 the
/// refusal of our certificate.
fn tls_broke(error: &std::io::Error) -> Option<Observation> {
    dial::tls_fault(error).map(|detail| Observation::Tls { detail: detail.to_owned() })
}

impl Upstream {
    /// The next bytes of the body; false at its orderly end. Cancel-safe:
    /// what was read is handed out before it pends again.
    ///
    /// # Errors
    /// How the body broke.
    pub fn poll_body(&mut self, cx: &mut Context<'_>, take: impl FnOnce(&[u8])) -> Poll<Result<bool, Observation>> {
        let session = match &mut self.body {
            Body::One(session, _) => session,
            Body::Two(lease) => return lease.poll_body(cx, take),
        };
        let read = pin!(session.read_body_ref());
        match ready!(read.poll(cx)) {
            Ok(Some(bytes)) => {
                take(bytes);
                Poll::Ready(Ok(true))
            }
            Ok(None) => Poll::Ready(Ok(false)),
            Err(error) => Poll::Ready(Err(h1::body_broke(&error))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// A server that answers before the upload has ended and keeps its connection
    /// open, waiting for the rest of the body. The simulator always closes there.
    #[tokio::test]
    async fn a_connection_whose_upload_was_cut_short_carries_no_other_request() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let server = tokio::spawn(async move {
            let mut accepted = Vec::new();
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let mut first = [0; 1024];
                assert!(stream.read(&mut first).await.expect("readable") > 0);
                stream
                    .write_all(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\n{}")
                    .await
                    .expect("written");
                accepted.push(stream);
            }
            accepted
        });
        let transport = Arc::new(Transport::new(Duration::from_secs(50), Duration::from_secs(600)));
        let request = |bytes: usize| Outgoing {
            reach: Arc::new(Reach::straight("127.0.0.1", port)),
            method: http::Method::POST,
            path: "/x".into(),
            headers: Vec::new(),
            body: Bytes::from(vec![b' '; bytes]),
        };
        // Far more than the sockets' buffers hold, so that it cannot be sent whole.
        for bytes in [64 << 20, 1] {
            let open = Arc::clone(&transport).open(request(bytes), Arc::default());
            let upstream =
                tokio::time::timeout(Duration::from_secs(20), open).await.expect("an answer").expect("a head");
            assert_eq!((upstream.status, upstream.sent_whole), (503, bytes == 1));
            if bytes > 1 {
                transport.retire(upstream);
                // Enough turns for what `retire` spawns, were it to keep the connection.
                for _ in 0..1000 {
                    tokio::task::yield_now().await;
                }
            }
        }
        assert_eq!(server.await.expect("no panic").len(), 2, "the second request had a connection of its own");
    }
}
