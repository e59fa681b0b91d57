//! One request to one provider: resolve, connect, send, read.
//!
//! Owns pingora's connector, pool and HTTP/1.1 client session; nothing of
//! pingora leaves this file but through it. Refuses clocks and meaning: it
//! reports what it saw as an [`Observation`]. Invariant: a connection goes back
//! to the pool only after its answer was read to the end.

use crate::domain::failure::Observation;
use crate::gateway::settings::Endpoint;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use parking_lot::Mutex;
use pingora_core::connectors::{ConnectorOptions, TransportConnector};
use pingora_core::protocols::http::v1::client::HttpSession;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, Ssl, Stream, UniqueID, UniqueIDType,
};
use pingora_core::protocols::{SocketDigest, TimingDigest};
use pingora_core::upstreams::peer::{HttpPeer, Peer};
use pingora_core::{Error, ErrorType};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};

/// Idle connections kept over all providers.
const POOL_MAX: usize = 1024;
/// How long a resolved address is used without asking again.
const RESOLVED_FOR: Duration = Duration::from_secs(30);
const RESOLVED_MAX: usize = 1024;
/// Another address is tried after this, beside the first (RFC 8305, section 5).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);
/// The end of an answer, after its last frame, is waited for this long before
/// the connection is given up.
const RETIRE_MAX: Duration = Duration::from_secs(1);
const PIECE: usize = 64 << 10;

/// Connections to all providers.
pub struct Transport {
    connector: TransportConnector,
    /// An idle connection is closed after this.
    pool_idle: Duration,
    resolved: Mutex<HashMap<(String, u16), Resolved>>,
}

/// Addresses of a host, and when they were asked for.
type Resolved = (Instant, Vec<SocketAddr>);

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}

/// A request as it goes out.
#[derive(Debug, Clone)]
pub struct Outgoing {
    pub endpoint: Endpoint,
    pub method: http::Method,
    /// Below the endpoint's own path, with its leading slash.
    pub path: &'static str,
    pub headers: Vec<(http::HeaderName, http::HeaderValue)>,
    pub body: Bytes,
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

    fn enter(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
    }
}

/// An answer whose head was read.
pub struct Upstream {
    session: HttpSession,
    peer: HttpPeer,
    /// The request went out to its last byte; otherwise the target still waits
    /// for the rest, and the connection can carry no other request.
    sent_whole: bool,
    pub status: u16,
    pub headers: http::HeaderMap,
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Transport {
    /// A connector that trusts the system's roots (`SSL_CERT_FILE` and
    /// `SSL_CERT_DIR` are honoured).
    #[must_use]
    pub fn new(pool_idle: Duration) -> Self {
        Self {
            connector: TransportConnector::new(Some(ConnectorOptions::new(POOL_MAX))),
            pool_idle,
            resolved: Mutex::new(HashMap::new()),
        }
    }

    /// Sends `request` and reads the head of its answer. A reused connection
    /// that breaks before any byte of an answer is replaced by a fresh one,
    /// once and silently (RFC 9110, section 9.2.2, leaves that to clients;
    /// pools race with their server's idle timeout). Not cancel-safe: dropping
    /// it drops the connection. No clock of its own: the caller's `Pace` ends it.
    ///
    /// # Errors
    /// What was seen instead of an answer.
    pub async fn open(self: Arc<Self>, request: Outgoing, marks: Arc<Marks>) -> Result<Upstream, Observation> {
        let addrs = self.resolve(&request.endpoint).await?;
        let (stream, peer, reused) = self.connect(&request.endpoint, &addrs).await?;
        marks.reused.store(reused, Ordering::Relaxed);
        match exchange_heads(stream, peer, &request, &marks).await {
            Err(Observation::Broken { .. }) if reused && !marks.heard.load(Ordering::Relaxed) => {
                marks.enter(Stage::Connecting);
                marks.reused.store(false, Ordering::Relaxed);
                let (stream, peer) = self.connect_fresh(&request.endpoint, &addrs).await?;
                exchange_heads(stream, peer, &request, &marks).await
            }
            outcome => outcome,
        }
    }

    async fn resolve(&self, endpoint: &Endpoint) -> Result<Vec<SocketAddr>, Observation> {
        if let Ok(ip) = endpoint.host.parse::<std::net::IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, endpoint.port)]);
        }
        let key = (endpoint.host.clone(), endpoint.port);
        if let Some((at, addrs)) = self.resolved.lock().get(&key)
            && at.elapsed() < RESOLVED_FOR
        {
            return Ok(addrs.clone());
        }
        let found = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port)).await;
        let addrs: Vec<SocketAddr> = found.map_err(|error| Observation::Dns { detail: error.to_string() })?.collect();
        if addrs.is_empty() {
            return Err(Observation::Dns { detail: "the name has no address".to_owned() });
        }
        let addrs = interleaved(addrs);
        let mut resolved = self.resolved.lock();
        if resolved.len() >= RESOLVED_MAX {
            resolved.clear();
        }
        resolved.insert(key, (Instant::now(), addrs.clone()));
        Ok(addrs)
    }

    async fn connect(
        &self,
        endpoint: &Endpoint,
        addrs: &[SocketAddr],
    ) -> Result<(Stream, HttpPeer, bool), Observation> {
        for addr in addrs {
            let peer = HttpPeer::new(*addr, endpoint.tls, endpoint.host.clone());
            if let Some(stream) = self.connector.reused_stream(&peer).await {
                return Ok((stream, peer, true));
            }
        }
        let (stream, peer) = self.connect_fresh(endpoint, addrs).await?;
        Ok((stream, peer, false))
    }

    /// A connection to the first of several addresses that takes it (RFC 8305,
    /// "Happy Eyeballs"): the next one is tried when one fails, or has said
    /// nothing for [`NEXT_ADDRESS`], so that a black hole costs a moment and not
    /// the whole `connect` clock. The last failure is reported.
    async fn connect_fresh(
        &self,
        endpoint: &Endpoint,
        addrs: &[SocketAddr],
    ) -> Result<(Stream, HttpPeer), Observation> {
        let mut last = Observation::Dns { detail: "the name has no address".to_owned() };
        let mut tries = FuturesUnordered::new();
        let mut rest = addrs.iter();
        loop {
            match rest.next() {
                Some(addr) => tries.push(self.try_address(endpoint, *addr)),
                None if tries.is_empty() => break,
                None => {}
            }
            let more = rest.len() > 0;
            tokio::select! {
                Some(outcome) = tries.next() => match outcome {
                    Ok(connected) => {
                        self.prefer(endpoint, connected.2);
                        return Ok((connected.0, connected.1));
                    }
                    Err(observation) => last = observation,
                },
                () = tokio::time::sleep(NEXT_ADDRESS), if more => {}
            }
        }
        self.resolved.lock().remove(&(endpoint.host.clone(), endpoint.port));
        Err(last)
    }

    async fn try_address(
        &self,
        endpoint: &Endpoint,
        addr: SocketAddr,
    ) -> Result<(Stream, HttpPeer, SocketAddr), Observation> {
        let peer = HttpPeer::new(addr, endpoint.tls, endpoint.host.clone());
        match self.connector.new_stream(&peer).await {
            Ok(stream) => Ok((stream, peer, addr)),
            Err(error) => Err(connect_failed(&error)),
        }
    }

    /// The address that took a connection is tried first as long as it is known.
    fn prefer(&self, endpoint: &Endpoint, addr: SocketAddr) {
        let mut resolved = self.resolved.lock();
        if let Some((_, addrs)) = resolved.get_mut(&(endpoint.host.clone(), endpoint.port))
            && let Some(place) = addrs.iter().position(|known| *known == addr)
        {
            addrs[..=place].rotate_right(1);
        }
    }

    /// Takes an answer whose last frame was read: reads its framing to the end
    /// and returns the connection to the pool, else closes it.
    pub fn retire(self: &Arc<Self>, mut upstream: Upstream) {
        if !upstream.sent_whole {
            return;
        }
        let transport = Arc::clone(self);
        let mut retiring = Box::pin(async move {
            let rest = async {
                let mut left = PIECE;
                while let Ok(Some(bytes)) = upstream.session.read_body_ref().await {
                    left = left.saturating_sub(bytes.len());
                    if left == 0 {
                        return false;
                    }
                }
                true
            };
            if tokio::time::timeout(RETIRE_MAX, rest).await == Ok(true) {
                upstream.session.respect_keepalive();
                let key = upstream.peer.reuse_hash();
                if let Some(stream) = upstream.session.reuse().await {
                    transport.connector.release_stream(stream, key, Some(transport.pool_idle));
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

impl Upstream {
    /// The next bytes of the body; `None` at its orderly end. Cancel-safe:
    /// what was read is handed out before it pends again.
    ///
    /// # Errors
    /// How the body broke.
    pub fn poll_body(&mut self, cx: &mut Context<'_>, take: impl FnOnce(&[u8])) -> Poll<Result<bool, Observation>> {
        let read = pin!(self.session.read_body_ref());
        match ready!(read.poll(cx)) {
            Ok(Some(bytes)) => {
                take(bytes);
                Poll::Ready(Ok(true))
            }
            Ok(None) => Poll::Ready(Ok(false)),
            Err(error) => Poll::Ready(Err(body_broke(&error))),
        }
    }
}

/// The families in turn, in the resolver's order within each, so that one that
/// leads nowhere is not tried again and again first (RFC 8305, section 4).
fn interleaved(addrs: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addrs.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addrs.into_iter().partition(|addr| addr.is_ipv6() == first_is_v6);
    let mut second = second.into_iter();
    let mut out = Vec::new();
    for addr in first {
        out.push(addr);
        out.extend(second.next());
    }
    out.extend(second);
    out
}

async fn exchange_heads(
    stream: Stream,
    peer: HttpPeer,
    request: &Outgoing,
    marks: &Marks,
) -> Result<Upstream, Observation> {
    marks.accepted.store(0, Ordering::Relaxed);
    marks.enter(Stage::Sending);
    let (stream, cut) = send(stream, request, marks).await?;
    marks.enter(Stage::Sent);
    let mut session = HttpSession::new_with_options(stream, &peer);
    loop {
        match session.read_response().await {
            Ok(_) => {}
            // The upload broke and nothing was said about it: that is what happened.
            Err(error) => {
                if !is_silent(&error) {
                    marks.heard.store(true, Ordering::Relaxed);
                }
                return Err(match cut {
                    Some(Cut::Broken(observation)) => observation,
                    Some(Cut::Answered) | None => head_broke(&error),
                });
            }
        }
        let head = session.resp_header().expect("a head was read just now");
        if !head.status.is_informational() {
            let (status, headers) = (head.status.as_u16(), head.headers.clone());
            return Ok(Upstream { session, peer, sent_whole: cut.is_none(), status, headers });
        }
        marks.heard.store(true, Ordering::Relaxed);
    }
}

/// Why a request was not sent to its end.
enum Cut {
    /// An answer came before it.
    Answered,
    Broken(Observation),
}

/// Writes head and body. An answer that begins before the upload has ended (a
/// 413, a 503) stops it and is read; an upload that breaks may still have left
/// an answer behind, so its failure is handed on, not returned.
async fn send(mut stream: Stream, request: &Outgoing, marks: &Marks) -> Result<(Stream, Option<Cut>), Observation> {
    let broken = |error: &std::io::Error| Some(Cut::Broken(Observation::Broken { errno: error.raw_os_error() }));
    let mut head = head_bytes(request);
    if request.body.len() <= PIECE {
        head.extend_from_slice(&request.body);
    }
    let large = if request.body.len() > PIECE { request.body.as_ref() } else { &[] };
    let mut early = Vec::new();
    for part in [head.as_slice(), large] {
        let mut rest = part;
        while !rest.is_empty() && early.is_empty() {
            let piece = &rest[..rest.len().min(PIECE)];
            match write_or_hear(&mut stream, piece, &mut early).await {
                Ok(taken) => {
                    rest = &rest[taken..];
                    marks.accepted.fetch_add(taken as u64, Ordering::Relaxed);
                }
                Err(error) => return Ok((stream, broken(&error))),
            }
        }
    }
    if early.is_empty() {
        let flushed = stream.flush().await;
        return Ok((stream, flushed.err().as_ref().and_then(broken)));
    }
    Ok((Box::new(Prefixed { inner: stream, prefix: Bytes::from(early) }), Some(Cut::Answered)))
}

/// Writes, or, while that is blocked, hears an early answer into `early`
/// (then 0 bytes were written).
async fn write_or_hear(stream: &mut Stream, piece: &[u8], early: &mut Vec<u8>) -> std::io::Result<usize> {
    std::future::poll_fn(|cx| {
        if let Poll::Ready(written) = Pin::new(&mut *stream).poll_write(cx, piece) {
            return Poll::Ready(
                written.and_then(|n| if n == 0 { Err(std::io::ErrorKind::WriteZero.into()) } else { Ok(n) }),
            );
        }
        // Not outside: every request would hold and clear it, and nearly none is blocked.
        let mut heard = [0; 4096];
        let mut buf = ReadBuf::new(&mut heard);
        match Pin::new(&mut *stream).poll_read(cx, &mut buf) {
            Poll::Ready(Ok(())) if buf.filled().is_empty() => {
                Poll::Ready(Err(std::io::ErrorKind::UnexpectedEof.into()))
            }
            Poll::Ready(Ok(())) => {
                early.extend_from_slice(buf.filled());
                Poll::Ready(Ok(0))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

fn head_bytes(request: &Outgoing) -> Vec<u8> {
    let mut head = Vec::with_capacity(512 + request.body.len().min(PIECE));
    head.extend_from_slice(request.method.as_str().as_bytes());
    head.extend_from_slice(b" ");
    head.extend_from_slice(request.endpoint.path.as_bytes());
    head.extend_from_slice(request.path.as_bytes());
    head.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    head.extend_from_slice(request.endpoint.authority().as_bytes());
    head.extend_from_slice(b"\r\n");
    for (name, value) in &request.headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    if request.method != http::Method::GET {
        head.extend_from_slice(format!("content-length: {}\r\n", request.body.len()).as_bytes());
    }
    head.extend_from_slice(b"\r\n");
    head
}

fn errno(error: &Error) -> Option<i32> {
    error.root_cause().downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error)
}

fn connect_failed(error: &Error) -> Observation {
    const ECONNREFUSED: i32 = 111;
    let detail = error.etype().as_str().to_owned();
    match error.etype() {
        ErrorType::ConnectRefused => Observation::Connect { errno: errno(error).or(Some(ECONNREFUSED)), detail },
        ErrorType::TLSHandshakeFailure
        | ErrorType::TLSHandshakeTimedout
        | ErrorType::InvalidCert
        | ErrorType::HandshakeError
        | ErrorType::TLSWantX509Lookup => {
            Observation::Tls { detail: tls_fault(&error.root_cause().to_string()).to_owned() }
        }
        _ => Observation::Connect { errno: errno(error), detail },
    }
}

/// What went wrong in a handshake, without the names that rustls quotes.
fn tls_fault(text: &str) -> &'static str {
    const KINDS: [(&str, &str); 6] = [
        ("UnknownIssuer", "its certificate is signed by an authority that is not trusted here"),
        ("not valid for", "its certificate is for another name"),
        ("NotValidForName", "its certificate is for another name"),
        ("expired", "its certificate has expired"),
        ("not valid yet", "its certificate is not valid yet"),
        ("corrupt message", "what answers there does not speak TLS"),
    ];
    let known = KINDS.iter().find(|(word, _)| text.contains(word));
    known.map_or("the handshake failed", |(_, sentence)| sentence)
}

/// Whether a connection broke before any byte of a head. pingora says it in
/// words alone; were they changed, nothing would be sent again in silence.
fn is_silent(error: &Error) -> bool {
    error.context.as_ref().is_some_and(|context| context.as_str().ends_with("bytes already read: 0"))
}

/// A head that is malformed is garbled; one that never came, or stopped half
/// way, is a broken connection.
fn head_broke(error: &Error) -> Observation {
    match error.etype() {
        ErrorType::InvalidHTTPHeader => Observation::Garbled { detail: "the answer's head is not HTTP/1.1".to_owned() },
        _ => Observation::Broken { errno: errno(error) },
    }
}

fn body_broke(error: &Error) -> Observation {
    match error.etype() {
        ErrorType::ConnectionClosed | ErrorType::ReadError => Observation::Broken { errno: errno(error) },
        ErrorType::Custom("PrematureBodyEnd") => Observation::Broken { errno: None },
        other => Observation::Garbled { detail: format!("the answer's framing is broken ({})", other.as_str()) },
    }
}

/// A stream whose first bytes were read already.
#[derive(Debug)]
struct Prefixed {
    inner: Stream,
    prefix: Bytes,
}

impl AsyncRead for Prefixed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut self.inner).poll_read(cx, buf);
        }
        let taken = self.prefix.len().min(buf.remaining());
        buf.put_slice(&self.prefix.split_to(taken));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Prefixed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Prefixed {
    async fn shutdown(&mut self) {
        Shutdown::shutdown(&mut *self.inner).await;
    }
}

impl UniqueID for Prefixed {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl Ssl for Prefixed {}

#[async_trait]
impl Peek for Prefixed {}

impl GetTimingDigest for Prefixed {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.get_timing_digest()
    }
}

impl GetProxyDigest for Prefixed {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.get_proxy_digest()
    }
}

impl GetSocketDigest for Prefixed {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    #[test]
    fn families_take_turns() {
        let addrs =
            |list: &[&str]| -> Vec<SocketAddr> { list.iter().map(|one| one.parse().expect("address")).collect() };
        assert_eq!(
            interleaved(addrs(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"])),
            addrs(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"])
        );
        assert_eq!(interleaved(addrs(&["1.1.1.1:1"])), addrs(&["1.1.1.1:1"]));
    }

    /// An address that takes no connection: its queue is full.
    async fn black_hole() -> (TcpListener, Vec<tokio::net::TcpStream>) {
        let socket = tokio::net::TcpSocket::new_v6().expect("a socket");
        socket.bind("[::1]:0".parse().expect("address")).expect("a free port");
        let listener = socket.listen(1).expect("it listens");
        let addr = listener.local_addr().expect("bound");
        let mut held = Vec::new();
        // The queue takes a few; then a connection hangs.
        while let Ok(Ok(stream)) =
            tokio::time::timeout(Duration::from_millis(300), tokio::net::TcpStream::connect(addr)).await
        {
            held.push(stream);
        }
        (listener, held)
    }

    #[tokio::test]
    async fn an_address_that_swallows_connections_hides_no_other() {
        let (hole, _held) = black_hole().await;
        let dead = hole.local_addr().expect("bound");
        let alive = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let good = alive.local_addr().expect("bound");
        let transport = Transport::new(Duration::from_secs(50));
        let endpoint = Endpoint { tls: false, host: "both".to_owned(), port: 1, path: String::new() };
        transport.resolved.lock().insert(("both".to_owned(), 1), (Instant::now(), vec![dead, good]));
        let began = Instant::now();
        let addrs = [dead, good];
        let connecting = transport.connect_fresh(&endpoint, &addrs);
        let connected = tokio::time::timeout(Duration::from_secs(20), connecting).await.expect("in time");
        assert!(connected.is_ok() && began.elapsed() >= NEXT_ADDRESS);
        assert_eq!(transport.resolve(&endpoint).await.expect("known"), [good, dead], "what worked comes first");
        // One that refuses is passed over at once; if none is left, that is what is said.
        drop(alive);
        match transport.connect_fresh(&endpoint, &[good, good]).await {
            Err(Observation::Connect { errno, .. }) => assert_eq!(errno, Some(111)),
            other => panic!("{:?}", other.map(|_| ())),
        }
    }

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
        let transport = Arc::new(Transport::new(Duration::from_secs(50)));
        let request = |bytes: usize| Outgoing {
            endpoint: Endpoint { tls: false, host: "127.0.0.1".to_owned(), port, path: String::new() },
            method: http::Method::POST,
            path: "/x",
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
