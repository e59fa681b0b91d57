//! One request and its answer over pingora's server session.
//!
//! Owns the duties that `HttpServerApp` leaves to its user: total deadlines for
//! head and body, the head's ceiling, `100-continue`, a write timeout that
//! counts progress, pipelining that does not look like a departure.

use super::close::Closed;
use super::listen::DoorLimits;
use super::wire::{HeadOver, LINGER_IDLE, LINGER_MAX, Meter, Wire};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use pingora_core::apps::{HttpPersistentSettings, ReusedHttpStream};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::{Error, ErrorType};
use pingora_http::ResponseHeader;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Written at most this much at a time, so that a slow reader shows progress
/// within the write timeout (16 KiB in 30 s is 546 bytes a second).
const PIECE: usize = 16 << 10;

/// Room made for a body before a byte of it came.
const BODY_FIRST: usize = 64 << 10;
/// Header lines that pingora reads; it does not say its bound.
const HEADERS_MAX: usize = 256;

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Bytes,
}

/// Why something that came in is no request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Malformed {
    /// Not HTTP, or framing that two readers could read differently.
    NotHttp,
    /// No complete head within this long.
    HeadStalled(Duration),
    /// A head of more bytes than this.
    HeadTooLarge(usize),
    /// More header lines than this.
    TooManyHeaders(usize),
}

/// Why a body was not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyError {
    TooLarge {
        max: usize,
    },
    /// Nothing arrived for this long.
    Stalled(Duration),
    /// Bytes arrived, and too few within this long.
    TooSlow(Duration),
    Gone,
    /// Its framing is broken.
    Malformed,
    /// There is no room to keep more of it.
    NoRoom,
}

/// Why bytes did not reach the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendError {
    Gone,
    /// It took nothing for `write_timeout`.
    Stalled,
}

/// A request with a complete head.
pub struct Session {
    inner: ServerSession,
    limits: DoorLimits,
    closing: watch::Receiver<bool>,
    accepted: Instant,
    /// A response was begun and not ended: the connection cannot be kept.
    open_answer: bool,
    broken: bool,
    /// The client waits for a `100 Continue` that it did not get: it sends nothing.
    awaits_continue: bool,
    /// From then on an answer is its connection's last.
    pub(super) retires: Option<Instant>,
    /// Of an HTTP/1.1 connection.
    pub(super) meter: Option<Arc<Meter>>,
    /// Why the connection ends, if it does.
    why: Closed,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    pub(super) async fn accept(
        mut inner: ServerSession,
        limits: DoorLimits,
        mut closing: watch::Receiver<bool>,
        meter: Option<&Meter>,
        malformed: impl FnOnce(Malformed, Option<&Self>) -> Answer,
    ) -> Result<Self, Closed> {
        let reused = inner.digest().is_some() && inner.get_keepalive_reuses_remaining().is_some();
        inner.set_pipelining_enabled(true);
        if let ServerSession::H1(h1) = &mut inner {
            // A refusal before the body was read keeps the connection: `end` reads the rest.
            h1.set_close_on_response_before_downstream_finish(false);
        }
        // Ours is the only clock for a head: pingora's own 60 s would cut a longer head_timeout
        // short, and keeps each of its timers for a minute after it was of use.
        inner.set_keepalive(Some(0));
        inner.set_read_timeout(Some(limits.head_timeout * 2));
        // Writes have a clock of ours.
        inner.set_write_timeout(None);
        let read = tokio::select! {
            biased;
            // Boxed, as is every phase that is over before the long one: what it needs would else
            // be kept, unused, for as long as an answer streams.
            read = Box::pin(async {
                let mut reading = pin!(inner.read_request());
                if reused {
                    let read = tokio::time::timeout(limits.connection_idle, &mut reading).await;
                    let begun = meter.is_some_and(|meter| meter.has_begun(limits.head_bytes_max));
                    if read.is_ok() || !begun {
                        return read.map_err(|_| Closed::Idle);
                    }
                }
                tokio::time::timeout(limits.head_timeout, reading).await.map_err(|_| Closed::HeadStalled)
            }) => read,
            // Idle connections go at once; one whose head is on its way is told by its next try.
            _ = closing.wait_for(|closing| *closing) => return Err(Closed::Draining),
        };
        let what = match read {
            Ok(Ok(true)) => {
                let session = Self::new(inner, limits, closing);
                let Some(what) = session.objection() else { return Ok(session) };
                let answer = malformed(what.clone(), Some(&session));
                Box::pin(refuse(session.inner, answer, limits.write_timeout, true)).await;
                return Err(what.closes());
            }
            // The connection was closed before a request began.
            Ok(Ok(false)) => return Err(Closed::Done),
            Ok(Err(error)) if is_over_bound(&error) => Malformed::HeadTooLarge(limits.head_bytes_max),
            Ok(Err(error)) => match error.etype() {
                ErrorType::ReadTimedout => return Err(Closed::HeadStalled),
                ErrorType::ReadError | ErrorType::ConnectionClosed => return Err(Closed::ClientGone),
                _ => unread_head(&error),
            },
            Err(Closed::Idle) => return Err(Closed::Idle),
            Err(_) => Malformed::HeadStalled(limits.head_timeout),
        };
        // Who is too slow is not waited for once more.
        let lingers = !matches!(what, Malformed::HeadStalled(_));
        Box::pin(refuse(inner, malformed(what.clone(), None), limits.write_timeout, lingers)).await;
        Err(what.closes())
    }

    fn new(mut inner: ServerSession, limits: DoorLimits, closing: watch::Receiver<bool>) -> Self {
        inner.set_read_timeout(Some(limits.body_timeout * 2));
        if *closing.borrow() {
            inner.set_keepalive(None);
        }
        let mut session = Self {
            inner,
            limits,
            closing,
            accepted: Instant::now(),
            open_answer: false,
            broken: false,
            awaits_continue: false,
            retires: None,
            meter: None,
            why: Closed::Done,
        };
        // Of HTTP/1.0 it is ignored, and without a body there is nothing to wait for (RFC 9110, section 10.1.1).
        session.awaits_continue = session.has_body() && session.expectations().any(is_continue);
        session
    }

    fn has_body(&self) -> bool {
        let length = self.headers().get(http::header::CONTENT_LENGTH);
        self.headers().contains_key(http::header::TRANSFER_ENCODING) || length.is_some_and(|value| value != "0")
    }

    fn expectations(&self) -> impl Iterator<Item = &[u8]> {
        let heard = self.inner.req_header().version >= Version::HTTP_11;
        let lines = self.headers().get_all(http::header::EXPECT).into_iter().filter(move |_| heard);
        lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
    }

    /// The client expects what is not done here.
    #[must_use]
    pub fn expects_more(&self) -> bool {
        self.expectations().any(|one| !is_continue(one))
    }

    /// Why a head that could be read is still none to serve.
    fn objection(&self) -> Option<Malformed> {
        if self.inner.is_http2() {
            // As HTTP/2 counts it (RFC 9113, section 6.5.2).
            let size: usize = self.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
            let size = size + self.path().len() + self.query().map_or(0, str::len);
            return (size > self.limits.head_bytes_max).then_some(Malformed::HeadTooLarge(self.limits.head_bytes_max));
        }
        let raw = self.inner.as_http1()?.get_headers_raw_bytes();
        if raw.len() > self.limits.head_bytes_max {
            return Some(Malformed::HeadTooLarge(self.limits.head_bytes_max));
        }
        // pingora believes the chunks, as RFC 9112 (section 6.3) allows, and drops the length;
        // whoever stands between may have believed that one.
        let names_length = |line: &[u8]| {
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
            name.trim_ascii().eq_ignore_ascii_case(b"content-length")
        };
        let both = self.headers().contains_key(http::header::TRANSFER_ENCODING)
            && raw.split(|byte| *byte == b'\n').skip(1).any(names_length);
        both.then_some(Malformed::NotHttp)
    }

    /// When the head was complete.
    #[must_use]
    pub const fn accepted(&self) -> Instant {
        self.accepted
    }

    #[must_use]
    pub fn method(&self) -> &Method {
        &self.inner.req_header().method
    }

    /// The path without its query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.inner.req_header().uri.path()
    }

    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.inner.req_header().uri.query()
    }

    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.inner.req_header().headers
    }

    /// Whether the client reached us over a loopback address or a Unix socket of ours.
    #[must_use]
    pub fn is_near(&self) -> bool {
        match self.inner.server_addr() {
            Some(SocketAddr::Inet(addr)) => addr.ip().to_canonical().is_loopback(),
            Some(SocketAddr::Unix(_)) => true,
            None => false,
        }
    }

    /// The address at the other end of the connection; `None` over a Unix socket
    /// and where the client was gone before it could be asked.
    #[must_use]
    pub fn peer(&self) -> Option<std::net::IpAddr> {
        self.inner.client_addr().and_then(|addr| addr.as_inet()).map(std::net::SocketAddr::ip)
    }

    #[must_use]
    pub fn is_over_unix(&self) -> bool {
        matches!(self.inner.server_addr(), Some(SocketAddr::Unix(_)))
    }

    /// Whether the door is closing: answers say `Connection: close`.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    /// The connection ends with this answer.
    pub fn close_after(&mut self) {
        self.inner.set_keepalive(None);
    }

    /// Reads the whole body, at most `max` bytes, saying `100 Continue` first
    /// where the client waits for it. A declared length above `max` is refused
    /// before a byte is read. `keeps` is asked before bytes are kept: false ends
    /// it as [`BodyError::NoRoom`].
    ///
    /// # Errors
    /// Why there is none; the session can still answer.
    pub async fn read_body(&mut self, max: usize, keeps: impl FnMut(usize) -> bool) -> Result<Bytes, BodyError> {
        let read = self.collect_body(max, keeps).await;
        if let Err(error) = &read {
            self.close_after();
            self.why = match error {
                BodyError::TooLarge { .. } | BodyError::NoRoom => Closed::BodyTooLarge,
                BodyError::Stalled(_) | BodyError::TooSlow(_) => Closed::BodyStalled,
                BodyError::Gone => Closed::ClientGone,
                BodyError::Malformed => Closed::Malformed,
            };
        }
        read
    }

    async fn collect_body(&mut self, max: usize, mut keeps: impl FnMut(usize) -> bool) -> Result<Bytes, BodyError> {
        let declared = self
            .headers()
            .get(http::header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if declared.is_some_and(|length| length > max) {
            return Err(BodyError::TooLarge { max });
        }
        if self.awaits_continue {
            self.awaits_continue = false;
            let said = within(self.limits.write_timeout, Box::pin(self.inner.write_continue_response())).await;
            // A client that does not even take these words is there, and stands still.
            said.ok_or(BodyError::Stalled(self.limits.write_timeout))?.map_err(|_| BodyError::Gone)?;
        }
        let DoorLimits { body_timeout, body_rate_min, .. } = self.limits;
        let began = Instant::now();
        let mut body = BytesMut::with_capacity(declared.unwrap_or(0).min(BODY_FIRST));
        loop {
            // Each byte buys time, so that one now and then does not buy for ever.
            let allowed = body_timeout + Duration::from_millis(body.len() as u64 * 1000 / body_rate_min as u64);
            let wait = body_timeout.min(allowed.saturating_sub(began.elapsed()));
            let piece = within(wait, self.inner.read_request_body()).await;
            match piece {
                None if wait < body_timeout => return Err(BodyError::TooSlow(allowed)),
                None => return Err(BodyError::Stalled(body_timeout)),
                Some(Err(error)) => return Err(broken_body(&error)),
                Some(Ok(None)) => return Ok(body.freeze()),
                Some(Ok(Some(bytes))) if body.len() + bytes.len() > max => return Err(BodyError::TooLarge { max }),
                Some(Ok(Some(bytes))) if !keeps(bytes.len()) => return Err(BodyError::NoRoom),
                Some(Ok(Some(bytes))) => body.extend_from_slice(&bytes),
            }
        }
    }

    /// From here on each part of the answer goes out as it is sent. pingora flushes an answer of
    /// known length at its end alone, which suits one that is there as a whole.
    pub fn write_through(&mut self) {
        if let Some(meter) = &self.meter {
            meter.write_through();
        }
    }

    /// Begins an answer. `length`: of the body, where it is known.
    ///
    /// # Errors
    /// The client is gone or stalled.
    pub async fn begin(
        &mut self,
        status: u16,
        headers: &[(HeaderName, HeaderValue)],
        length: Option<usize>,
    ) -> Result<(), SendError> {
        // Whether a body that was held back still comes is anybody's guess (RFC 9110, section 10.1.1).
        if self.is_closing() || self.awaits_continue {
            self.close_after();
        }
        if self.retires.is_some_and(|at| at <= Instant::now()) {
            self.close_after();
            if self.why == Closed::Done {
                self.why = Closed::Aged;
            }
        }
        let framing = match length {
            // There is no body, and nothing may say how long it is (RFC 9110, section 8.6; RFC 9112, section 6.1).
            _ if matches!(status, 204 | 304) => Framing::Bodyless,
            Some(length) => Framing::Length(length),
            None if self.inner.req_header().version < Version::HTTP_11 => {
                self.close_after();
                Framing::UntilClose
            }
            // Frames carry the length there (RFC 9113, section 8.2.2).
            None if self.inner.is_http2() => Framing::UntilClose,
            None => Framing::Chunked,
        };
        let head = Box::new(response_head(status, headers, framing));
        self.open_answer = true;
        let limit = self.limits.write_timeout;
        let written = match &mut self.inner {
            ServerSession::H1(h1) => within(limit, h1.write_response_header(head)).await,
            other => within(limit, Box::pin(other.write_response_header(head))).await,
        };
        self.written(written)
    }

    /// Sends a part of the body.
    ///
    /// # Errors
    /// The client is gone, or took nothing for `write_timeout`. Not cancel-safe:
    /// a dropped call may have written a part; the session is then unusable.
    pub async fn send(&mut self, mut bytes: Bytes) -> Result<(), SendError> {
        while !bytes.is_empty() {
            let piece = if bytes.len() <= PIECE { std::mem::take(&mut bytes) } else { bytes.split_to(PIECE) };
            let limit = self.limits.write_timeout;
            let written = match &mut self.inner {
                ServerSession::H1(h1) => within(limit, h1.write_body(&piece)).await.map(|done| done.map(|_| ())),
                other => within(limit, Box::pin(other.write_response_body(piece, false))).await,
            };
            self.written(written)?;
        }
        Ok(())
    }

    /// Ends the body.
    ///
    /// # Errors
    /// The client is gone or stalled.
    pub async fn finish(&mut self) -> Result<(), SendError> {
        let limit = self.limits.write_timeout;
        let written = match &mut self.inner {
            ServerSession::H1(h1) => within(limit, h1.finish_body()).await.map(|done| done.map(|_| ())),
            other => within(limit, Box::pin(other.write_response_body(Bytes::new(), true))).await,
        };
        self.written(written)?;
        self.open_answer = false;
        Ok(())
    }

    /// Sends a whole answer.
    ///
    /// # Errors
    /// The client is gone or stalled.
    pub async fn answer(&mut self, answer: Answer) -> Result<(), SendError> {
        self.begin(answer.status, &answer.headers, Some(answer.body.len())).await?;
        self.send(answer.body).await?;
        self.finish().await
    }

    /// Pends until the client has closed its side; a half-close counts. Call it
    /// only after the body was read. Cancel-safe.
    pub async fn departed(&mut self) {
        while let Ok(_bytes) = self.inner.read_body_or_idle(true).await {}
        self.why = Closed::ClientGone;
    }

    /// What came of a write; `None`: nothing within `write_timeout`.
    fn written(&mut self, outcome: Option<pingora_core::Result<()>>) -> Result<(), SendError> {
        let error = match outcome {
            Some(Ok(())) => return Ok(()),
            Some(Err(error)) if *error.etype() != ErrorType::WriteTimedout => SendError::Gone,
            Some(Err(_)) | None => SendError::Stalled,
        };
        self.broken = true;
        self.why = match error {
            SendError::Gone => Closed::ClientGone,
            SendError::Stalled => Closed::ClientStalled,
        };
        Err(error)
    }

    /// The connection for its next request, or why there is none.
    pub(super) async fn end(mut self) -> (Option<ReusedHttpStream>, Closed) {
        if self.broken || self.open_answer {
            // Dropped: pingora would wait until the client takes what is left, for ever,
            // and end an answer that was cut as if it were whole.
            return (None, self.why);
        }
        if self.inner.response_written().is_none() {
            self.inner.set_keepalive(None);
        }
        if *self.closing.borrow() {
            self.inner.set_keepalive(None);
            if matches!(self.why, Closed::Done | Closed::Aged) {
                self.why = Closed::Draining;
            }
        }
        if !self.awaits_continue {
            self.linger().await;
        }
        self.inner.set_keepalive_reuses_remaining(Some(u32::MAX));
        let settings = HttpPersistentSettings::for_session(&self.inner);
        // `linger` read what there was; this is a backstop.
        self.inner.set_total_drain_timeout(Some(LINGER_IDLE));
        let finished = within(self.limits.write_timeout, Box::pin(self.inner.finish())).await;
        let reusable = finished.and_then(Result::ok).flatten();
        (reusable.map(|reusable| ReusedHttpStream::from_reusable_stream(reusable, settings)), self.why)
    }
}

impl Session {
    /// Reads and drops what is left of the request's body. A body that does not
    /// end within the bounds ends the connection.
    async fn linger(&mut self) {
        let ServerSession::H1(h1) = &mut self.inner else { return };
        if h1.is_body_done() {
            return;
        }
        let until = Instant::now() + LINGER_MAX;
        let why = loop {
            let due = until.min(Instant::now() + LINGER_IDLE);
            match tokio::time::timeout_at(due.into(), h1.read_body_bytes()).await {
                Ok(Ok(Some(_))) if Instant::now() < until => {}
                Ok(Ok(None)) => return,
                Ok(Err(error)) => {
                    let gone = broken_body(&error) == BodyError::Gone;
                    break if gone { Closed::ClientGone } else { Closed::Malformed };
                }
                Ok(Ok(Some(_))) | Err(_) => break Closed::BodyStalled,
            }
        };
        self.inner.set_keepalive(None);
        if matches!(self.why, Closed::Done | Closed::Aged) {
            self.why = why;
        }
    }
}

impl Malformed {
    /// What the connection ends with.
    const fn closes(&self) -> Closed {
        match self {
            Self::NotHttp => Closed::Malformed,
            Self::HeadStalled(_) => Closed::HeadStalled,
            Self::HeadTooLarge(_) | Self::TooManyHeaders(_) => Closed::HeadTooLarge,
        }
    }
}

/// [`tokio::time::timeout`] that makes its timer only when there is something to
/// wait for: nearly every write is taken at once. `None`: it took longer.
async fn within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    if let Poll::Ready(output) = std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await {
        return Some(output);
    }
    Box::pin(tokio::time::timeout(limit, future)).await.ok()
}

fn is_continue(expectation: &[u8]) -> bool {
    expectation.eq_ignore_ascii_case(b"100-continue")
}

/// The connection gave no more of the head than it may have.
fn is_over_bound(error: &Error) -> bool {
    let cause: Option<&std::io::Error> = error.root_cause().downcast_ref();
    let inner: Option<&HeadOver> = cause.and_then(std::io::Error::get_ref).and_then(|inner| inner.downcast_ref());
    inner.is_some()
}

/// What pingora said of a head that it gave up.
fn unread_head(error: &Error) -> Malformed {
    match error.root_cause().downcast_ref() {
        Some(httparse::Error::TooManyHeaders) => Malformed::TooManyHeaders(HEADERS_MAX),
        _ => Malformed::NotHttp,
    }
}

/// How a client knows where the body ends.
#[derive(Clone, Copy)]
enum Framing {
    Length(usize),
    Chunked,
    /// For HTTP/1.0, which has no chunks (RFC 9112, section 6.1).
    UntilClose,
    Bodyless,
}

fn response_head(status: u16, headers: &[(HeaderName, HeaderValue)], framing: Framing) -> ResponseHeader {
    let (mut head, ()) = http::Response::new(()).into_parts();
    head.status = StatusCode::from_u16(status).expect("statuses are ours, 100 to 599");
    // Not through pingora's own methods: those parse each name again and keep its case beside it.
    // Room for `Date` and `Connection`, too, which pingora adds.
    head.headers = HeaderMap::with_capacity(headers.len() + 3);
    for (name, value) in headers {
        head.headers.append(name.clone(), value.clone());
    }
    match framing {
        Framing::Length(length) => drop(head.headers.insert(http::header::CONTENT_LENGTH, length.into())),
        Framing::Chunked => {
            head.headers.insert(http::header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        Framing::UntilClose | Framing::Bodyless => {}
    }
    head.into()
}

async fn refuse(mut inner: ServerSession, answer: Answer, write_timeout: Duration, lingers: bool) {
    inner.set_keepalive(None);
    let head = response_head(answer.status, &answer.headers, Framing::Length(answer.body.len()));
    // The client may be a port scanner that never reads.
    let _ = tokio::time::timeout(write_timeout, async {
        inner.write_response_header(Box::new(head)).await?;
        inner.write_response_body(answer.body, true).await?;
        inner.shutdown().await;
        Ok::<(), pingora_core::BError>(())
    })
    .await;
    if let ServerSession::H1(h1) = inner
        && lingers
    {
        Wire::let_go(h1.into_inner()).await;
    }
}

fn broken_body(error: &Error) -> BodyError {
    match error.etype() {
        ErrorType::ReadError | ErrorType::ConnectionClosed | ErrorType::Custom("PrematureBodyEnd") => BodyError::Gone,
        _ => BodyError::Malformed,
    }
}
