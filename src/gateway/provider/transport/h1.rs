//! One request over HTTP/1.1: head and body in one write, the answer's head read.

use super::dial::unwelcome;
use super::line::Line;
use super::{Marks, Outgoing, PIECE, Stage, tls_broke};
use crate::domain::failure::Observation;
use crate::gateway::settings::Reach;
use pingora_core::protocols::http::v1::client::HttpSession;
use pingora_core::{Error, ErrorType};
use std::pin::Pin;
use std::task::Poll;
use tokio::io::{AsyncRead as _, AsyncWrite as _, AsyncWriteExt as _, ReadBuf};

/// An answer whose head was read.
pub struct Answered {
    pub session: Box<HttpSession>,
    pub sent_whole: bool,
    pub status: u16,
    pub headers: http::HeaderMap,
}

/// Sends `request` and reads the head of its answer.
///
/// # Errors
/// What was seen instead.
pub async fn exchange(mut line: Box<Line>, request: &Outgoing, marks: &Marks) -> Result<Answered, Observation> {
    marks.begin();
    let cut = send(&mut line, request, marks).await;
    marks.enter(Stage::Sent);
    let mut session = Box::new(HttpSession::new(line));
    loop {
        match session.read_response().await {
            Ok(_) => {}
            // The upload broke and nothing was said about it: that is what happened.
            Err(error) => {
                if !is_silent(&error) {
                    marks.hear();
                }
                return Err(match cut {
                    Some(Cut::Broken(observation)) => observation,
                    Some(Cut::Answered) | None => head_broke(&error),
                });
            }
        }
        let head = session.resp_header().expect("a head was read just now");
        marks.hear();
        if !head.status.is_informational() {
            let (status, headers) = (head.status.as_u16(), head.headers.clone());
            // Inside a tunnel it would be the provider's own.
            if let (407, Some(proxy), false) = (status, &request.reach.proxy, request.reach.endpoint.tls) {
                return Err(unwelcome(proxy));
            }
            return Ok(Answered { session, sent_whole: cut.is_none(), status, headers });
        }
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
async fn send(line: &mut Line, request: &Outgoing, marks: &Marks) -> Option<Cut> {
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
            match write_or_hear(line, piece, &mut early).await {
                Ok(taken) => {
                    rest = &rest[taken..];
                    marks.accept(taken);
                    // A `100 Continue` that nobody asked for is no answer (RFC 9110, section 15.2).
                    while let Some(end) = informational(&early) {
                        early.drain(..end);
                    }
                }
                Err(error) => return broken(&error),
            }
        }
    }
    if early.is_empty() {
        return line.flush().await.err().as_ref().and_then(broken);
    }
    line.read_ahead(early);
    Some(Cut::Answered)
}

/// Writes, or, while that is blocked, hears an early answer into `early`
/// (then 0 bytes were written).
async fn write_or_hear(line: &mut Line, piece: &[u8], early: &mut Vec<u8>) -> std::io::Result<usize> {
    std::future::poll_fn(|cx| {
        if let Poll::Ready(written) = Pin::new(&mut *line).poll_write(cx, piece) {
            return Poll::Ready(
                written.and_then(|n| if n == 0 { Err(std::io::ErrorKind::WriteZero.into()) } else { Ok(n) }),
            );
        }
        // Not outside: every request would hold and clear it, and nearly none is blocked.
        let mut heard = [0; 4096];
        let mut buf = ReadBuf::new(&mut heard);
        match Pin::new(&mut *line).poll_read(cx, &mut buf) {
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

/// Where a complete head of an informational answer ends.
fn informational(bytes: &[u8]) -> Option<usize> {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut head = httparse::Response::new(&mut headers);
    match head.parse(bytes) {
        Ok(httparse::Status::Complete(end)) if matches!(head.code, Some(100 | 102..=199)) => Some(end),
        _ => None,
    }
}

fn head_bytes(request: &Outgoing) -> Vec<u8> {
    let mut head = Vec::with_capacity(512 + request.body.len().min(PIECE));
    head.extend_from_slice(request.method.as_str().as_bytes());
    head.extend_from_slice(b" ");
    let Reach { endpoint, proxy, .. } = &*request.reach;
    let authority = endpoint.authority();
    // A proxy is told the whole address (RFC 9112, section 3.2.2); inside a tunnel there is none.
    let proxy = proxy.as_ref().filter(|_| !endpoint.tls);
    if proxy.is_some() {
        head.extend_from_slice(b"http://");
        head.extend_from_slice(authority.as_bytes());
    }
    head.extend_from_slice(request.target().as_bytes());
    head.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    head.extend_from_slice(authority.as_bytes());
    head.extend_from_slice(b"\r\n");
    if let Some(value) = proxy.and_then(|proxy| proxy.authorization.as_ref()) {
        head.extend_from_slice(b"proxy-authorization: ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    for (name, value) in &request.headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    // Without it the body of a GET would be read as the next request.
    if request.method != http::Method::GET || !request.body.is_empty() {
        head.extend_from_slice(format!("content-length: {}\r\n", request.body.len()).as_bytes());
    }
    head.extend_from_slice(b"\r\n");
    head
}

fn errno(error: &Error) -> Option<i32> {
    io_error(error).and_then(std::io::Error::raw_os_error)
}

fn io_error(error: &Error) -> Option<&std::io::Error> {
    error.root_cause().downcast_ref::<std::io::Error>()
}

/// Whether a connection broke before any byte of a head. pingora says it in
/// words alone; were they changed, nothing would be sent again in silence.
fn is_silent(error: &Error) -> bool {
    error.context.as_ref().is_some_and(|context| context.as_str().ends_with("bytes already read: 0"))
}

/// A head that is malformed is garbled; one that never came, or stopped half
/// way, is a broken connection.
fn head_broke(error: &Error) -> Observation {
    if let Some(observation) = io_error(error).and_then(tls_broke) {
        return observation;
    }
    match error.etype() {
        ErrorType::InvalidHTTPHeader => Observation::Garbled { detail: "the answer's head is not HTTP/1.1".to_owned() },
        _ => Observation::Broken { errno: errno(error) },
    }
}

/// How a body broke.
pub fn body_broke(error: &Error) -> Observation {
    match error.etype() {
        ErrorType::ConnectionClosed | ErrorType::ReadError => Observation::Broken { errno: errno(error) },
        ErrorType::Custom("PrematureBodyEnd") => Observation::Broken { errno: None },
        other => Observation::Garbled { detail: format!("the answer's framing is broken ({})", other.as_str()) },
    }
}
