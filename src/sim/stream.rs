//! A streamed answer, and how it breaks.
//!
//! Owns SSE framing, pace, and the faults inside a stream. Refuses to word
//! anything (`chat.rs`). Invariant: a fault after N deltas strikes when exactly
//! N have been written, or all of them if there are fewer.

use super::chat::{Chat, Delta};
use super::conn::{Conn, Gone};
use super::fault::Fault;
use super::play::{COMMENT_EVERY, Next, TRICKLE_EVERY, Turn};
use super::refusal;
use std::time::Duration;

/// What `wrong_length` promises; no scripted answer is that long.
const PROMISED_BYTES: &str = "1000000000";
const HUGE_FRAME_BYTES: usize = 32 * 1024 * 1024;
const PIECE_BYTES: usize = 64 * 1024;
/// Role-only frames of `flood_hold`.
const FLOOD_FRAMES: usize = 200;

/// Plays the whole turn on a connection that nothing was written to yet.
pub(super) async fn play(conn: &mut Conn, turn: &Turn<'_>, chat: &Chat) -> Result<Next, Gone> {
    let mut out = Out::new(conn, turn);
    out.head().await?;
    match turn.fault {
        Some(Fault::HangAfterHeaders) => return Err(out.conn.hold().await),
        Some(Fault::CommentsForever) => return out.comments().await,
        Some(Fault::Trickle) => return out.trickle(chat).await,
        _ => {}
    }
    out.roles(chat).await?;
    let all = chat.deltas.len();
    let at = strikes_at(turn, chat).unwrap_or(all);
    out.content(chat, 0, at).await?;
    if let Some(fault) = turn.fault
        && let Some(next) = out.strike(fault, chat).await?
    {
        return Ok(next);
    }
    out.content(chat, at, all).await?;
    out.ending(chat).await
}

/// The number of deltas that are written before the fault.
fn strikes_at(turn: &Turn<'_>, chat: &Chat) -> Option<usize> {
    let after = usize::try_from(turn.script.after).unwrap_or(usize::MAX);
    let all = chat.deltas.len();
    match turn.fault? {
        Fault::ToolCut => {
            let start = chat.deltas.iter().position(|(_, delta)| matches!(delta, Delta::ToolStart { .. }))?;
            let rest = &chat.deltas[start + 1..];
            let whole = rest.iter().take_while(|(_, delta)| matches!(delta, Delta::ToolArguments { .. })).count();
            // At least one fragment is out and at least one is missing.
            let (least, most) = (start + 2, (start + whole).max(start + 2));
            Some(if after == 0 { start + 1 + whole / 2 } else { after }.clamp(least, most).min(all))
        }
        _ => Some(after.min(all)),
    }
}

/// The stream being written.
struct Out<'a> {
    conn: &'a mut Conn,
    turn: &'a Turn<'a>,
    chunked: bool,
    /// Frames that wait for their batch, and how many they are.
    pending: Vec<u8>,
    pending_frames: usize,
    rng: fastrand::Rng,
    /// The wait for the first token is over.
    spoke: bool,
    frames: u64,
}

impl<'a> Out<'a> {
    fn new(conn: &'a mut Conn, turn: &'a Turn<'a>) -> Self {
        Self {
            conn,
            turn,
            chunked: turn.fault != Some(Fault::WrongLength),
            pending: Vec::new(),
            pending_frames: 0,
            rng: fastrand::Rng::with_seed(turn.script.seed),
            spoke: false,
            frames: 0,
        }
    }

    async fn head(&mut self) -> Result<(), Gone> {
        let length = if self.chunked { ("transfer-encoding", "chunked") } else { ("content-length", PROMISED_BYTES) };
        let fields = [("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-cache"), length];
        let head = refusal::head(200, self.turn.id, &fields);
        self.conn.send(head.as_bytes()).await
    }

    async fn roles(&mut self, chat: &Chat) -> Result<(), Gone> {
        let flood = self.turn.fault == Some(Fault::FloodHold);
        let each = if flood { FLOOD_FRAMES } else { self.turn.script.role_frames };
        for choice in 0..chat.choices {
            let frame = chat.role_frame(choice);
            for _ in 0..each {
                self.frame(frame.as_bytes()).await?;
            }
        }
        Ok(())
    }

    async fn content(&mut self, chat: &Chat, from: usize, to: usize) -> Result<(), Gone> {
        for (choice, delta) in &chat.deltas[from..to] {
            self.pace().await?;
            self.frame(chat.frame(*choice, delta).as_bytes()).await?;
        }
        Ok(())
    }

    /// The wait before a delta: the first one's, or the gap before a new batch.
    async fn pace(&mut self) -> Result<(), Gone> {
        let script = &self.turn.script;
        let wait = if !self.spoke {
            script.ttft
        } else if self.pending_frames == 0 {
            script.gap + script.jitter.mul_f64(self.rng.f64())
        } else {
            Duration::ZERO
        };
        self.spoke = true;
        if !wait.is_zero() {
            self.flush().await?;
        }
        self.conn.pause(wait).await
    }

    /// Finish, usage, `[DONE]`, last chunk, each as far as it is wanted.
    async fn ending(&mut self, chat: &Chat) -> Result<Next, Gone> {
        for choice in 0..chat.choices {
            self.frame(chat.finish_frame(choice).as_bytes()).await?;
        }
        if let Some(usage) = chat.usage_frame() {
            self.frame(usage.as_bytes()).await?;
        }
        match self.turn.fault {
            Some(Fault::NoDoneHold) => {
                self.flush().await?;
                return Err(self.conn.hold().await);
            }
            Some(Fault::MissingDone) => {}
            _ if !self.turn.script.done => {}
            _ => self.frame(b"[DONE]").await?,
        }
        self.last_chunk().await
    }

    async fn last_chunk(&mut self) -> Result<Next, Gone> {
        self.flush().await?;
        self.conn.send(b"0\r\n\r\n").await?;
        Ok(Next::KeepAlive)
    }

    /// Breaks the stream; `None` if the answer goes on behind the fault, or if
    /// the fault has its place elsewhere.
    async fn strike(&mut self, fault: Fault, chat: &Chat) -> Result<Option<Next>, Gone> {
        if !self.spoke {
            self.pace().await?;
        }
        match fault {
            Fault::Garbled => self.frame(b"{\"id\": \"chatcmpl-sim\", oops").await?,
            Fault::HalfUtf8 => self.frame(&half_utf8(chat)).await?,
            _ => {}
        }
        self.flush().await?;
        Ok(Some(match fault {
            Fault::Reset => Next::Reset,
            Fault::CutChunked | Fault::WrongLength | Fault::ToolCut => Next::Fin,
            Fault::EarlyEnd => self.last_chunk().await?,
            Fault::ErrorEvent | Fault::ErrorEventOverloaded => {
                self.frame(refusal::error_inside(fault).to_string().as_bytes()).await?;
                self.last_chunk().await?
            }
            Fault::Stall => return Err(self.conn.hold().await),
            Fault::StallComments => self.comments().await?,
            Fault::StallTrickle => self.trickle(chat).await?,
            Fault::Endless => self.endless(chat).await?,
            Fault::BadChunk => {
                self.conn.send(b"zz\r\ndata: {}\n\n\r\n").await?;
                Next::Fin
            }
            Fault::HugeFrame => self.huge_frame(chat).await?,
            _ => return Ok(None),
        }))
    }

    async fn comments(&mut self) -> Result<Next, Gone> {
        let every = self.turn.script.every.unwrap_or(COMMENT_EVERY);
        let comment = self.encoded(b": keep-alive");
        loop {
            self.body(&comment).await?;
            self.conn.pause(every).await?;
        }
    }

    async fn trickle(&mut self, chat: &Chat) -> Result<Next, Gone> {
        let every = self.turn.script.every.unwrap_or(TRICKLE_EVERY);
        let mut opening = opened_frame(chat).into_iter();
        loop {
            self.body(&[opening.next().unwrap_or(b'x')]).await?;
            self.conn.pause(every).await?;
        }
    }

    async fn endless(&mut self, chat: &Chat) -> Result<Next, Gone> {
        let frame = chat.frame(0, &Delta::Text("endless ".repeat(128)));
        loop {
            self.frame(frame.as_bytes()).await?;
        }
    }

    async fn huge_frame(&mut self, chat: &Chat) -> Result<Next, Gone> {
        self.body(&opened_frame(chat)).await?;
        let piece = vec![b'x'; PIECE_BYTES];
        for _ in 0..HUGE_FRAME_BYTES / PIECE_BYTES {
            self.body(&piece).await?;
        }
        self.last_chunk().await
    }

    /// Queues one `data:` frame and writes the batch if it is full.
    async fn frame(&mut self, payload: &[u8]) -> Result<(), Gone> {
        if self.turn.script.comments && self.frames > 0 {
            let comment = self.encoded(b": comment");
            self.pending.extend_from_slice(&comment);
        }
        if self.turn.script.blanks {
            for line in [&b"data:"[..], b"event: ping"] {
                let blank = self.encoded(line);
                self.pending.extend_from_slice(&blank);
            }
        }
        let frame = self.encoded(&[b"data: ", payload].concat());
        self.pending.extend_from_slice(&frame);
        self.frames += 1;
        self.pending_frames += 1;
        if self.pending_frames >= self.turn.script.batch || self.pending.len() >= PIECE_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Gone> {
        if self.pending_frames == 0 {
            return Ok(());
        }
        let pending = std::mem::take(&mut self.pending);
        self.body(&pending).await?;
        self.turn.log.frames(self.turn.id, self.pending_frames as u64);
        self.pending_frames = 0;
        Ok(())
    }

    async fn body(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        if !self.chunked {
            return self.conn.send(bytes).await;
        }
        self.conn.send(&[format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()).await
    }

    fn encoded(&self, line: &[u8]) -> Vec<u8> {
        [line, if self.turn.script.crlf { b"\r\n\r\n" } else { b"\n\n" }].concat()
    }
}

/// A frame up to the inside of its text, never closed.
fn opened_frame(chat: &Chat) -> Vec<u8> {
    let mark = "@@";
    let frame = chat.frame(0, &Delta::Text(mark.to_owned()));
    let inside = frame.rfind(mark).unwrap_or(frame.len());
    [b"data: ", &frame.as_bytes()[..inside]].concat()
}

/// A frame whose text ends in two of a character's three bytes.
fn half_utf8(chat: &Chat) -> Vec<u8> {
    let mut frame = chat.frame(0, &Delta::Text("cut €".to_owned())).into_bytes();
    let last = "€".as_bytes()[2];
    if let Some(place) = frame.iter().rposition(|byte| *byte == last) {
        frame.remove(place);
    }
    frame
}
