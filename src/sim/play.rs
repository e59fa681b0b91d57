//! Playing one turn: which behaviour comes before any body, which in it.
//!
//! Owns the faults that replace the answer's head. Refuses bodies (`stream.rs`,
//! `whole.rs`). Invariant: a fault that never ends is ended by the peer.

use super::conn::{Conn, Gone};
use super::dialect::Dialect;
use super::fault::Fault;
use super::refusal::{self, About, Response};
use super::script::Script;
use super::seen::{Ended, Log};
use super::voice::Voice;
use super::{stream, whole};
use std::time::Duration;

/// Between two comments of a fault that sends nothing else.
pub(super) const COMMENT_EVERY: Duration = Duration::from_millis(20);
/// Between two bytes of a trickle.
pub(super) const TRICKLE_EVERY: Duration = Duration::from_secs(1);

/// One request, understood, with what will be done to it.
pub(super) struct Turn<'a> {
    pub log: &'a Log,
    pub id: u64,
    pub dialect: Dialect,
    pub script: Script,
    /// The fault that strikes this time.
    pub fault: Option<Fault>,
    pub stream: bool,
}

/// What becomes of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    KeepAlive,
    Fin,
    Reset,
    /// FIN at once, but close a little later: unread bytes of an upload would
    /// turn the close into an RST that may overtake the answer.
    Linger,
}

impl Turn<'_> {
    /// How a turn that was played to its end is remembered.
    pub fn ended(&self) -> Ended {
        if self.fault.is_some() { Ended::FaultDone } else { Ended::Complete }
    }
}

/// Answers a request as its script wants it.
pub(super) async fn play(conn: &mut Conn, turn: &Turn<'_>, voice: Voice) -> Result<Next, Gone> {
    match turn.fault {
        Some(Fault::HangHeaders) => return Err(conn.hold().await),
        Some(Fault::ResetHeaders) => return Ok(Next::Reset),
        Some(Fault::CloseHeaders) => return Ok(Next::Fin),
        Some(Fault::HalfHead) => {
            conn.send(b"HTTP/1.1 200 OK\r\nx-request-id: sim\r\ncontent-ty").await?;
            return Ok(Next::Fin);
        }
        _ => {}
    }
    let refused = turn.fault.and_then(|fault| {
        let about = About {
            dialect: turn.dialect,
            request: turn.id,
            script: &turn.script,
            model: voice.model(),
            prompt: voice.prompt(),
        };
        refusal::refusal(fault, &about)
    });
    if let Some(response) = refused {
        conn.pause(turn.script.ttft).await?;
        return respond(conn, turn.dialect, turn.id, &response, Next::KeepAlive).await;
    }
    let mut voice = if turn.fault == Some(Fault::Empty) { voice.emptied() } else { voice };
    if turn.stream { stream::play(conn, turn, &mut voice).await } else { whole::play(conn, turn, &voice).await }
}

/// Writes a complete response.
pub(super) async fn respond(
    conn: &mut Conn,
    dialect: Dialect,
    id: u64,
    response: &Response,
    next: Next,
) -> Result<Next, Gone> {
    let length = response.body.len().to_string();
    let mut fields = vec![("content-type", response.content_type), ("content-length", length.as_str())];
    fields.extend(response.headers.iter().map(|(name, value)| (*name, value.as_str())));
    if next != Next::KeepAlive {
        fields.push(("connection", "close"));
    }
    let mut bytes = refusal::head(dialect, response.status, id, &fields).into_bytes();
    bytes.extend_from_slice(response.body.as_bytes());
    conn.send(&bytes).await?;
    Ok(next)
}
