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
use h2::Reason;
use pingora_core::Error;
use pingora_core::connectors::http::v2::{H2HandshakeSettings, handshake};
use pingora_core::protocols::http::v2::client::{Http2Session, PING_TIMEDOUT};
use pingora_core::upstreams::peer::{HttpPeer, Peer as _};
use pingora_http::RequestHeader;
use std::sync::{Arc, OnceLock};
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
    /// Of a connection that is new: what TLS says shows there first.
    fault: Option<Arc<OnceLock<&'static str>>>,
}

impl Lease {
    fn session(&mut self) -> &mut Http2Session {
        self.session.as_mut().expect("it is there until the lease ends")
    }

    fn unanswered(&self, error: &Error) -> Unanswered {
        match error.root_cause().downcast_ref::<h2::Error>() {
            Some(fault) => self.unanswered_by(fault),
            None => Unanswered { observation: self.told(broke(error)), again: Again::No },
        }
    }

    fn unanswered_by(&self, fault: &h2::Error) -> Unanswered {
        // A GOAWAY is handed to streams alone that its sender did not look at.
        let refused = fault.is_reset() && fault.reason() == Some(Reason::REFUSED_STREAM);
        let again = match fault.reason() {
            Some(Reason::HTTP_1_1_REQUIRED) if fault.is_remote() => Again::Older,
            _ if fault.is_remote() && (fault.is_go_away() || refused) => Again::Untouched,
            _ => Again::No,
        };
        Unanswered { observation: self.told(broke_by(fault)), again }
    }

    /// With what is known beside h2's word.
    fn told(&self, observation: Observation) -> Observation {
        const ETIMEDOUT: i32 = 110;
        if let Some(detail) = self.fault.as_ref().and_then(|fault| fault.get()) {
            return Observation::Tls { detail: (*detail).to_owned() };
        }
        let pinged = self.session.as_ref().is_some_and(|session| session.conn.ping_timedout());
        match observation {
            Observation::Broken { .. } if pinged => Observation::Broken { errno: Some(ETIMEDOUT) },
            observation => observation,
        }
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
    pub again: Again,
}

/// Whether the server says that it did nothing with a request (RFC 9113,
/// section 8.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    No,
    Untouched,
    /// It wants it by HTTP/1.1.
    Older,
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
            return Some(Lease { session: Some(Box::new(session)), peer, transport: Arc::clone(self), fault: None });
        }
    }

    /// The first stream of a new connection, which others may use from now on.
    pub(super) async fn first_stream(
        self: &Arc<Self>,
        line: Box<Line>,
        reach: &Reach,
        place: &Place,
    ) -> Result<Lease, Observation> {
        let (peer, fault) = (Box::new(peer(reach, place)), line.fault());
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
        Ok(Lease { session: Some(Box::new(session)), peer, transport: Arc::clone(self), fault: Some(fault) })
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
        again: Again::No,
    })?;
    let written = lease.session().write_request_header(Box::new(head), request.body.is_empty());
    written.map_err(|error| lease.unanswered(&error))?;
    let uploaded = if request.body.is_empty() {
        Upload::Whole
    } else {
        upload(lease.session(), request.body.clone(), marks).await
    };
    marks.enter(Stage::Sent);
    match &uploaded {
        // pingora panics when it is asked for a head again.
        Upload::Answered => {}
        Upload::Failed(error) => return Err(lease.unanswered_by(error)),
        Upload::Whole | Upload::Stopped => {
            let read = lease.session().read_response_header().await;
            read.map_err(|error| lease.unanswered(&error))?;
        }
    }
    marks.hear();
    let head = lease.session().response_header().expect("a head was read just now");
    let (status, headers) = (head.status.as_u16(), head.headers.clone());
    Ok(Answered { lease, sent_whole: matches!(uploaded, Upload::Whole), status, headers })
}

/// How an upload ended.
enum Upload {
    Whole,
    /// The stream takes no more; why is told by the answer, which was not read yet.
    Stopped,
    /// An answer's head was read meanwhile.
    Answered,
    /// Or that there will be none.
    Failed(h2::Error),
}

/// Hands the body over as the connection takes it.
async fn upload(session: &mut Http2Session, mut body: Bytes, marks: &Marks) -> Upload {
    let Some(mut sender) = session.take_request_body_writer() else { return Upload::Stopped };
    std::future::poll_fn(|cx| {
        loop {
            if body.is_empty() {
                return Poll::Ready(Upload::Whole);
            }
            sender.reserve_capacity(body.len().min(PIECE));
            match sender.poll_capacity(cx) {
                Poll::Ready(Some(Ok(0))) => {}
                Poll::Ready(Some(Ok(room))) => {
                    let piece = body.split_to(room.min(body.len()));
                    let taken = piece.len();
                    if sender.send_data(piece, body.is_empty()).is_err() {
                        return Poll::Ready(Upload::Stopped);
                    }
                    marks.accept(taken);
                }
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(Upload::Stopped),
                // Blocked: an answer may come all the same.
                Poll::Pending => {
                    return Poll::Ready(match ready!(session.poll_read_response_header(cx)) {
                        Ok(()) => Upload::Answered,
                        Err(error) => Upload::Failed(error),
                    });
                }
            }
        }
    })
    .await
}

fn head(request: &Outgoing) -> Result<RequestHeader, ()> {
    let endpoint = &request.reach.endpoint;
    let path = request.target();
    let scheme = if endpoint.tls { "https" } else { "http" };
    let uri = http::Uri::builder().scheme(scheme).authority(endpoint.authority()).path_and_query(path);
    let mut head =
        RequestHeader::build_no_case(request.method.clone(), b"/", Some(request.headers.len() + 1)).map_err(drop)?;
    head.set_uri(uri.build().map_err(drop)?);
    for (name, value) in &request.headers {
        head.append_header(name.clone(), value.clone()).map_err(drop)?;
    }
    if request.method != http::Method::GET || !request.body.is_empty() {
        head.insert_header(http::header::CONTENT_LENGTH, request.body.len()).map_err(drop)?;
    }
    Ok(head)
}

impl Lease {
    /// The next bytes of the body; false at its orderly end.
    pub fn poll_body(&mut self, cx: &mut Context<'_>, take: impl FnOnce(&[u8])) -> Poll<Result<bool, Observation>> {
        let read = {
            let reading = std::pin::pin!(self.session().read_response_body());
            ready!(reading.poll(cx))
        };
        match read {
            Ok(Some(bytes)) => {
                take(&bytes);
                Poll::Ready(Ok(true))
            }
            Ok(None) => Poll::Ready(Ok(false)),
            Err(error) => {
                let observation = self.told(broke(&error));
                Poll::Ready(Err(match observation {
                    // Of a body: shorter than its head said (RFC 9113, section 8.1.1).
                    Observation::Garbled { .. } if is_short(&error) => Observation::Broken { errno: None },
                    observation => observation,
                }))
            }
        }
    }
}

fn is_short(error: &Error) -> bool {
    let fault = error.root_cause().downcast_ref::<h2::Error>();
    fault.is_some_and(|fault| fault.is_reset() && fault.is_library() && fault.reason() == Some(Reason::PROTOCOL_ERROR))
}

/// What an error of a stream or its connection says.
fn broke(error: &Error) -> Observation {
    let cause = error.root_cause();
    if let Some(fault) = cause.downcast_ref::<h2::Error>() {
        return broke_by(fault);
    }
    match cause.downcast_ref::<std::io::Error>() {
        Some(fault) => tls_broke(fault).unwrap_or(Observation::Broken { errno: errno(fault) }),
        None if *error.etype() == PING_TIMEDOUT => Observation::Broken { errno: None },
        None => Observation::Garbled { detail: "the answer is not HTTP/2".to_owned() },
    }
}

fn broke_by(fault: &h2::Error) -> Observation {
    if let Some(fault) = fault.get_io() {
        return tls_broke(fault).unwrap_or(Observation::Broken { errno: errno(fault) });
    }
    match fault.reason() {
        // Ours: it did not keep to the protocol.
        Some(reason) if fault.is_library() => {
            Observation::Garbled { detail: format!("the answer breaks HTTP/2 ({reason:?})") }
        }
        Some(reason) => Observation::StreamReset { code: reason.into(), name: format!("{reason:?}") },
        None => Observation::Broken { errno: None },
    }
}

/// h2 keeps the kind of a broken connection's error and drops its number; of a
/// plain end it makes a broken pipe with words of its own.
fn errno(error: &std::io::Error) -> Option<i32> {
    const EPIPE: i32 = 32;
    const ECONNRESET: i32 = 104;
    const ETIMEDOUT: i32 = 110;
    error.raw_os_error().or(match error.kind() {
        std::io::ErrorKind::ConnectionReset => Some(ECONNRESET),
        std::io::ErrorKind::BrokenPipe if error.get_ref().is_none() => Some(EPIPE),
        std::io::ErrorKind::TimedOut => Some(ETIMEDOUT),
        _ => None,
    })
}
