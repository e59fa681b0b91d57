//! An unstreamed answer, and how it breaks.
//!
//! Owns the faults inside a JSON body. Refuses frames: faults that only exist in
//! a stream answer well here. Invariant: a fault after N deltas strikes at the
//! N-th part of the body's bytes, and never at its end.

use super::conn::{Conn, Gone};
use super::fault::Fault;
use super::play::{COMMENT_EVERY, Next, TRICKLE_EVERY, Turn, respond};
use super::refusal::{self, JSON, Response};
use super::voice::Voice;
use std::time::Duration;

/// Plays the whole turn on a connection that nothing was written to yet.
pub(super) async fn play(conn: &mut Conn, turn: &Turn<'_>, voice: &Voice) -> Result<Next, Gone> {
    let body = voice.whole().into_bytes();
    let (all, after) = (voice.deltas().max(1), usize::try_from(turn.script.after).unwrap_or(usize::MAX));
    let said = if turn.fault.is_some() { after.min(all) } else { all };
    let gaps = u32::try_from(said.saturating_sub(1)).unwrap_or(u32::MAX);
    conn.pause(turn.script.ttft.saturating_add(turn.script.gap.saturating_mul(gaps))).await?;
    let cut = &body[..(body.len() * said / all).min(body.len() - 1)];
    let Some(fault) = turn.fault else {
        return sized(conn, turn, body.len(), &body).await;
    };
    match fault {
        Fault::HangAfterHeaders => {
            sized(conn, turn, body.len(), b"").await?;
            Err(conn.hold().await)
        }
        Fault::CommentsForever => blanks(conn, turn, b"").await,
        Fault::StallComments => blanks(conn, turn, cut).await,
        Fault::Trickle => trickle(conn, turn, b"").await,
        Fault::StallTrickle => trickle(conn, turn, cut).await,
        Fault::Stall => {
            sized(conn, turn, body.len(), cut).await?;
            Err(conn.hold().await)
        }
        Fault::Reset => {
            sized(conn, turn, body.len(), cut).await?;
            Ok(Next::Reset)
        }
        Fault::EarlyEnd | Fault::CutChunked | Fault::WrongLength | Fault::ToolCut => {
            sized(conn, turn, body.len(), cut).await?;
            Ok(Next::Fin)
        }
        Fault::BadChunk => {
            chunked(conn, turn, cut).await?;
            conn.send(b"zz\r\n{}\r\n").await?;
            Ok(Next::Fin)
        }
        Fault::Garbled => {
            let garbled = [cut, b"{oops"].concat();
            sized(conn, turn, garbled.len(), &garbled).await
        }
        Fault::HalfUtf8 => {
            let halved = half_utf8(voice, &body);
            sized(conn, turn, halved.len(), &halved).await
        }
        Fault::ErrorEvent | Fault::ErrorEventOverloaded => {
            let failed = Response::json(200, &voice.whole_failed(fault));
            respond(conn, turn.dialect, turn.id, &failed, Next::KeepAlive).await
        }
        Fault::Endless => endless(conn, turn, opened(voice, &body)).await,
        // The rest was answered before, or has no meaning without frames.
        _ => sized(conn, turn, body.len(), &body).await,
    }
}

async fn sized(conn: &mut Conn, turn: &Turn<'_>, length: usize, body: &[u8]) -> Result<Next, Gone> {
    let length = length.to_string();
    let head = refusal::head(turn.dialect, 200, turn.id, &[("content-type", JSON), ("content-length", &length)]);
    conn.send(&[head.as_bytes(), body].concat()).await?;
    Ok(Next::KeepAlive)
}

async fn chunked(conn: &mut Conn, turn: &Turn<'_>, body: &[u8]) -> Result<(), Gone> {
    let head = refusal::head(turn.dialect, 200, turn.id, &[("content-type", JSON), ("transfer-encoding", "chunked")]);
    conn.send(head.as_bytes()).await?;
    // An empty chunk would be the last one.
    if body.is_empty() { Ok(()) } else { conn.send(&chunk(body)).await }
}

/// White space for ever, as providers keep an unstreamed answer alive.
async fn blanks(conn: &mut Conn, turn: &Turn<'_>, cut: &[u8]) -> Result<Next, Gone> {
    chunked(conn, turn, cut).await?;
    let every = turn.script.every.unwrap_or(COMMENT_EVERY);
    loop {
        conn.send(&chunk(b"\n")).await?;
        conn.pause(every).await?;
    }
}

async fn trickle(conn: &mut Conn, turn: &Turn<'_>, cut: &[u8]) -> Result<Next, Gone> {
    chunked(conn, turn, cut).await?;
    let every: Duration = turn.script.every.unwrap_or(TRICKLE_EVERY);
    loop {
        conn.send(&chunk(b"x")).await?;
        conn.pause(every).await?;
    }
}

async fn endless(conn: &mut Conn, turn: &Turn<'_>, opened: &[u8]) -> Result<Next, Gone> {
    chunked(conn, turn, opened).await?;
    let piece = chunk("endless ".repeat(128).as_bytes());
    loop {
        conn.send(&piece).await?;
    }
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// The body up to the inside of its first text.
fn opened<'a>(voice: &Voice, body: &'a [u8]) -> &'a [u8] {
    let key = voice.text_key().as_bytes();
    let at = body.windows(key.len()).position(|window| window == key);
    &body[..at.map_or(body.len() - 1, |at| at + key.len())]
}

/// The body with a text that begins with two of a character's three bytes.
fn half_utf8(voice: &Voice, body: &[u8]) -> Vec<u8> {
    let opened = opened(voice, body);
    [opened, "cut ".as_bytes(), &"€".as_bytes()[..2], &body[opened.len()..]].concat()
}
