//! One request over HTTP/2: a stream among others on a shared connection.
//!
//! Invariants: a stream gives its place on the connection back however it ends;
//! one whose reader stands still holds at most its own window.

use super::dial::Place;
use super::line::Line;
use super::{Marks, Outgoing, PIECE, Stage, Transport, peer, tls_broke};
use crate::domain::failure::Observation;
use crate::gateway::settings::Reach;
use bytes::Bytes;
use pingora_core::connectors::http::v2::{H2HandshakeSettings, handshake};
use pingora_core::protocols::http::v2::client::Http2Session;
use pingora_core::upstreams::peer::{HttpPeer, Peer as _};
use pingora_core::{Error, ErrorType, RetryType};
use pingora_http::RequestHeader;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// Streams on one connection (design.md, section 6).
pub const STREAMS_MAX: usize = 100;
/// Bytes of an answer that nobody has read yet, for each stream.
const STREAM_WINDOW: u32 = 128 << 10;
/// And for a connection: more than all its streams together, so that readers
/// that stand still never hold up one that reads.
const CONNECTION_WINDOW: u32 = 16 << 20;
/// A silent connection is asked this often whether it still stands.
const PING_EVERY: Duration = Duration::from_secs(30);

/// A stream, given back to its connection when it is dropped.
pub struct Lease {
    /// `None` only while it is dropped.
    session: Option<Box<Http2Session>>,
    peer: Box<HttpPeer>,
    transport: Arc<Transport>,
}

impl Lease {
    fn session(&mut self) -> &mut Http2Session {
        self.session.as_mut().expect("it is there until the lease ends")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Without a runtime nobody would watch the idle connection: it goes with the process.
        if let Some(session) = self.session.take()
            && tokio::runtime::Handle::try_current().is_ok()
        {
            self.transport.h2.release_http_session(*session, &*self.peer, Some(self.transport.pool_idle));
        }
    }
}

/// An answer whose head was read.
pub struct Answered {
    pub lease: Lease,
    pub sent_whole: bool,
    pub status: u16,
    pub headers: http::HeaderMap,
}

/// Why there is no answer.
pub struct Unanswered {
    pub observation: Observation,
    /// The server said, or the way it broke shows, that it did nothing with the
    /// request (RFC 9113, section 8.7).
    pub untouched: bool,
}

impl Transport {
    /// A stream on a connection that stands, if one has room and is young enough.
    pub(super) async fn stream_of(self: &Arc<Self>, peer: Box<HttpPeer>) -> Option<Lease> {
        // Each turn takes one connection out of use, so this ends.
        loop {
            let session = self.h2.reused_http_session(&*peer).await.ok()??;
            let opened = session.digest().and_then(|digest| digest.timing_digest.first()?.clone());
            if opened.is_some_and(|opened| self.is_old(opened.established_ts)) {
                session.conn.mark_shutdown();
                self.h2.release_http_session(session, &*peer, None);
                continue;
            }
            return Some(Lease { session: Some(Box::new(session)), peer, transport: Arc::clone(self) });
        }
    }

    /// The first stream of a new connection, which others may use from now on.
    pub(super) async fn first_stream(
        self: &Arc<Self>,
        line: Box<Line>,
        reach: &Reach,
        place: &Place,
    ) -> Result<Lease, Observation> {
        let peer = Box::new(peer(reach, place));
        let mut settings = H2HandshakeSettings::new();
        settings.max_streams = STREAMS_MAX;
        settings.ping_interval = Some(PING_EVERY);
        settings.stream_window_size = Some(STREAM_WINDOW);
        settings.connection_window_size = Some(CONNECTION_WINDOW);
        let connection = handshake(line, settings).await.map_err(|error| broke(&error))?;
        let stream = connection.spawn_stream().await.map_err(|error| broke(&error))?;
        let session = stream.ok_or(Observation::Broken { errno: None })?;
        if connection.more_streams_allowed() {
            self.h2.in_use_pool().insert(peer.reuse_hash(), connection);
        }
        Ok(Lease { session: Some(Box::new(session)), peer, transport: Arc::clone(self) })
    }
}

/// Sends `request` and reads the head of its answer. An answer that begins
/// before the upload has ended stops it.
///
/// # Errors
/// What was seen instead.
pub async fn exchange(mut lease: Lease, request: &Outgoing, marks: &Marks) -> Result<Answered, Unanswered> {
    marks.begin();
    let head = head(request).map_err(|()| Unanswered {
        observation: Observation::Garbled { detail: "the request's head cannot be written as HTTP/2".to_owned() },
        untouched: false,
    })?;
    let unanswered = |error: &Error| Unanswered {
        observation: broke(error),
        untouched: matches!(error.retry, RetryType::Decided(true)),
    };
    let session = lease.session();
    session.write_request_header(Box::new(head), request.body.is_empty()).map_err(|error| unanswered(&error))?;
    let sent_whole = request.body.is_empty() || upload(session, request.body.clone(), marks).await;
    marks.enter(Stage::Sent);
    if session.response_header().is_none() {
        session.read_response_header().await.map_err(|error| unanswered(&error))?;
    }
    marks.hear();
    let head = session.response_header().expect("a head was read just now");
    let (status, headers) = (head.status.as_u16(), head.headers.clone());
    Ok(Answered { lease, sent_whole, status, headers })
}

/// Hands the body over as the connection takes it; false when an answer, or the
/// stream's end, came first.
async fn upload(session: &mut Http2Session, mut body: Bytes, marks: &Marks) -> bool {
    let Some(mut sender) = session.take_request_body_writer() else { return false };
    std::future::poll_fn(|cx| {
        loop {
            if body.is_empty() {
                return Poll::Ready(true);
            }
            sender.reserve_capacity(body.len().min(PIECE));
            match sender.poll_capacity(cx) {
                Poll::Ready(Some(Ok(0))) => {}
                Poll::Ready(Some(Ok(room))) => {
                    let piece = body.split_to(room.min(body.len()));
                    let taken = piece.len();
                    if sender.send_data(piece, body.is_empty()).is_err() {
                        return Poll::Ready(false);
                    }
                    marks.accept(taken);
                }
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(false),
                // Blocked: an answer may come all the same. Its own error is told by reading its head.
                Poll::Pending => return heard(session, cx).map(|()| false),
            }
        }
    })
    .await
}

/// Ready once the answer's head was read.
fn heard(session: &mut Http2Session, cx: &mut Context<'_>) -> Poll<()> {
    let _ = ready!(session.poll_read_response_header(cx));
    Poll::Ready(())
}

fn head(request: &Outgoing) -> Result<RequestHeader, ()> {
    let endpoint = &request.reach.endpoint;
    let path = format!("{}{}", endpoint.path, request.path);
    let scheme = if endpoint.tls { "https" } else { "http" };
    let uri = http::Uri::builder().scheme(scheme).authority(endpoint.authority()).path_and_query(path);
    let mut head =
        RequestHeader::build_no_case(request.method.clone(), b"/", Some(request.headers.len() + 1)).map_err(drop)?;
    head.set_uri(uri.build().map_err(drop)?);
    for (name, value) in &request.headers {
        head.append_header(name.clone(), value.clone()).map_err(drop)?;
    }
    if request.method != http::Method::GET {
        head.insert_header(http::header::CONTENT_LENGTH, request.body.len()).map_err(drop)?;
    }
    Ok(head)
}

impl Lease {
    /// The next bytes of the body; false at its orderly end.
    pub fn poll_body(&mut self, cx: &mut Context<'_>, take: impl FnOnce(&[u8])) -> Poll<Result<bool, Observation>> {
        let read = std::pin::pin!(self.session().read_response_body());
        match ready!(read.poll(cx)) {
            Ok(Some(bytes)) => {
                take(&bytes);
                Poll::Ready(Ok(true))
            }
            Ok(None) => Poll::Ready(Ok(false)),
            Err(error) => Poll::Ready(Err(broke(&error))),
        }
    }
}

/// What an error of a stream or its connection says.
fn broke(error: &Error) -> Observation {
    const ETIMEDOUT: i32 = 110;
    if error.etype() == &ErrorType::new("PingTimedout") {
        return Observation::Broken { errno: Some(ETIMEDOUT) };
    }
    let Some(fault) = error.root_cause().downcast_ref::<h2::Error>() else {
        return match error.root_cause().downcast_ref::<std::io::Error>() {
            Some(fault) => tls_broke(fault).unwrap_or(Observation::Broken { errno: errno(fault) }),
            None => Observation::Garbled { detail: "the answer is not HTTP/2".to_owned() },
        };
    };
    if let Some(fault) = fault.get_io() {
        return tls_broke(fault).unwrap_or(Observation::Broken { errno: errno(fault) });
    }
    match fault.reason() {
        // Ours: it did not keep to the protocol.
        Some(reason) if fault.is_library() => {
            Observation::Garbled { detail: format!("the answer breaks HTTP/2 ({reason:?})") }
        }
        Some(reason) => Observation::StreamReset { code: reason.into() },
        None => Observation::Broken { errno: None },
    }
}

/// h2 keeps the kind of a broken connection's error and drops its number.
fn errno(error: &std::io::Error) -> Option<i32> {
    const EPIPE: i32 = 32;
    const ECONNRESET: i32 = 104;
    const ETIMEDOUT: i32 = 110;
    error.raw_os_error().or(match error.kind() {
        std::io::ErrorKind::ConnectionReset => Some(ECONNRESET),
        std::io::ErrorKind::BrokenPipe => Some(EPIPE),
        std::io::ErrorKind::TimedOut => Some(ETIMEDOUT),
        _ => None,
    })
}
