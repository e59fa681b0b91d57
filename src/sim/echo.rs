//! `/v1/echo/...`: a provider's endpoint for bytes that mean nothing here.
//!
//! Owns an answer that is the request's body, in as many parts as its script has
//! tokens, and how it breaks. Refuses to read it. Invariant: a fault after N
//! strikes behind the N-th part, and never at the end.

use super::conn::{Conn, Gone};
use super::dialect::Dialect;
use super::fault::Fault;
use super::play::{Next, respond};
use super::refusal::{self, About, JSON};
use super::script::Script;
use super::seen::Ended;
use bytes::Bytes;

/// Written at a time by a fault that has no end.
const PIECE_BYTES: usize = 16 * 1024;

/// What is sent back.
pub(super) struct Echo<'a> {
    pub id: u64,
    pub method: &'a str,
    /// As it came; a stream of events where that is accepted.
    pub content_type: &'a str,
    /// Without a length that is known before.
    pub chunked: bool,
    /// The answer's status, as the path has it (`/v1/echo/status/204`); a body comes with 200 alone.
    pub status: u16,
    pub body: Bytes,
    pub script: Script,
    pub fault: Option<Fault>,
}

/// Answers with the body of the request.
pub(super) async fn play(conn: &mut Conn, echo: &Echo<'_>) -> Result<(Next, Ended), Gone> {
    let script = &echo.script;
    match echo.fault {
        Some(Fault::HangHeaders) => return Err(conn.hold().await),
        Some(Fault::ResetHeaders) => return Ok((Next::Reset, Ended::FaultDone)),
        Some(Fault::CloseHeaders) => return Ok((Next::Fin, Ended::FaultDone)),
        _ => {}
    }
    let about = About { dialect: Dialect::Chat, request: echo.id, script, model: "", prompt: "" };
    if let Some(refused) = echo.fault.and_then(|fault| refusal::refusal(fault, &about)) {
        let next = respond(conn, Dialect::Chat, echo.id, &refused, Next::KeepAlive).await?;
        return Ok((next, Ended::FaultDone));
    }
    conn.pause(script.ttft).await?;
    conn.send(head(echo).as_bytes()).await?;
    if echo.status != 200 || echo.method == "HEAD" {
        return Ok((Next::KeepAlive, Ended::Complete));
    }
    let size = echo.body.len().div_ceil(script.tokens.max(1)).max(1);
    for (sent, part) in (0..).zip(echo.body.chunks(size)) {
        if let Some(fault) = echo.fault.filter(|_| sent >= script.after) {
            return strike(conn, echo, fault).await;
        }
        if sent > 0 {
            conn.pause(script.gap).await?;
        }
        send(conn, echo, part).await?;
    }
    if echo.chunked {
        conn.send(b"0\r\n\r\n").await?;
    }
    Ok((Next::KeepAlive, Ended::Complete))
}

fn head(echo: &Echo<'_>) -> String {
    let length = echo.body.len().to_string();
    let mut fields = vec![("content-type", echo.content_type), ("etag", "\"sim\""), ("set-cookie", "sim=1")];
    match echo.status {
        200 if echo.chunked => fields.push(("transfer-encoding", "chunked")),
        200 => fields.push(("content-length", &length)),
        // No body, and no word of its length (RFC 9110, section 8.6).
        _ => {}
    }
    refusal::head(Dialect::Chat, echo.status, echo.id, &fields)
}

async fn send(conn: &mut Conn, echo: &Echo<'_>, part: &[u8]) -> Result<(), Gone> {
    if !echo.chunked {
        return conn.send(part).await;
    }
    conn.send(&[format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat()).await
}

async fn strike(conn: &mut Conn, echo: &Echo<'_>, fault: Fault) -> Result<(Next, Ended), Gone> {
    match fault {
        Fault::Stall | Fault::HangAfterHeaders => Err(conn.hold().await),
        Fault::Reset => Ok((Next::Reset, Ended::FaultDone)),
        Fault::Endless => loop {
            send(conn, echo, &[b'x'; PIECE_BYTES]).await?;
        },
        // Whatever else breaks an answer breaks off.
        _ => Ok((Next::Fin, Ended::FaultDone)),
    }
}

/// What an echo is said to be.
pub(super) fn content_type<'a>(accept: Option<&str>, sent: Option<&'a str>) -> (&'a str, bool) {
    let streams = accept.is_some_and(|accept| accept.contains("text/event-stream"));
    if streams { ("text/event-stream", true) } else { (sent.unwrap_or(JSON), false) }
}
