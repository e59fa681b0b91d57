//! A streamed answer, and how it breaks.
//!
//! Owns SSE framing, pace, and the faults inside a stream. Refuses to word
//! anything (`voice.rs`). Invariant: a fault after N deltas strikes when exactly
//! N have been written, or all of them if there are fewer.

use super::answer::Delta;
use super::conn::{Conn, Gone};
use super::fault::Fault;
use super::play::{COMMENT_EVERY, Next, TRICKLE_EVERY, Turn};
use super::refusal;
use super::voice::{Frame, Voice};
use std::time::Duration;

/// What `wrong_length` promises; no scripted answer is that long.
const PROMISED_BYTES: &str = "1000000000";
const HUGE_FRAME_BYTES: usize = 32 * 1024 * 1024;
const PIECE_BYTES: usize = 64 * 1024;
/// Hollow frames of `flood_hold`: role-only in chat, empty deltas elsewhere.
const FLOOD_FRAMES: usize = 200;

/// Plays the whole turn on a connection that nothing was written to yet.
pub(super) async fn play(conn: &mut Conn, turn: &Turn<'_>, voice: &mut Voice) -> Result<Next, Gone> {
    let mut out = Out::new(conn, turn);
    out.head().await?;
    match turn.fault {
        Some(Fault::HangAfterHeaders) => return Err(out.conn.hold().await),
        Some(Fault::CommentsForever) => return out.comments().await,
        Some(Fault::Trickle) => return out.trickle(voice).await,
        _ => {}
    }
    out.opening(voice).await?;
    let all = voice.deltas();
    let at = strikes_at(turn, voice).unwrap_or(all);
    out.content(voice, 0, at).await?;
    if let Some(fault) = turn.fault
        && let Some(next) = out.strike(fault, voice).await?
    {
        return Ok(next);
    }
    out.content(voice, at, all).await?;
    out.ending(voice).await
}

/// The number of deltas that are written before the fault.
fn strikes_at(turn: &Turn<'_>, voice: &Voice) -> Option<usize> {
    let after = usize::try_from(turn.script.after).unwrap_or(usize::MAX);
    let deltas = voice.answer().map_or(&[][..], |answer| &answer.deltas);
    let all = deltas.len();
    match turn.fault? {
        Fault::ToolCut => {
            let start = deltas.iter().position(|(_, delta)| matches!(delta, Delta::ToolStart { .. }))?;
            let rest = &deltas[start + 1..];
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
        let head = refusal::head(self.turn.dialect, 200, self.turn.id, &fields);
        self.conn.send(head.as_bytes()).await
    }

    async fn opening(&mut self, voice: &mut Voice) -> Result<(), Gone> {
        let flood = self.turn.fault == Some(Fault::FloodHold);
        let opening = voice.opening(if flood { 1 } else { self.turn.script.role_frames });
        self.frames_of(opening).await?;
        if flood {
            for _ in 1..FLOOD_FRAMES {
                self.frames_of(voice.hollow()).await?;
            }
        }
        Ok(())
    }

    async fn content(&mut self, voice: &mut Voice, from: usize, to: usize) -> Result<(), Gone> {
        for at in from..to {
            self.pace().await?;
            self.frames_of(voice.say(at)).await?;
        }
        Ok(())
    }

    async fn frames_of(&mut self, frames: Vec<Frame>) -> Result<(), Gone> {
        for frame in frames {
            self.frame(&frame).await?;
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
    async fn ending(&mut self, voice: &mut Voice) -> Result<Next, Gone> {
        self.frames_of(voice.ending()).await?;
        match self.turn.fault {
            Some(Fault::NoDoneHold) => {
                self.flush().await?;
                return Err(self.conn.hold().await);
            }
            Some(Fault::MissingDone) => {}
            _ if !self.turn.script.done || !voice.has_done() => {}
            _ => self.frame(&Frame::data("[DONE]".to_owned())).await?,
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
    async fn strike(&mut self, fault: Fault, voice: &mut Voice) -> Result<Option<Next>, Gone> {
        if !self.spoke {
            self.pace().await?;
        }
        match fault {
            Fault::Garbled => self.spoil(voice.filler(""), |_| b"{\"id\": \"chatcmpl-sim\", oops".to_vec()).await?,
            Fault::HalfUtf8 => self.spoil(voice.filler("cut €"), half_utf8).await?,
            _ => {}
        }
        self.flush().await?;
        Ok(Some(match fault {
            Fault::Reset => Next::Reset,
            Fault::CutChunked | Fault::WrongLength | Fault::ToolCut => Next::Fin,
            Fault::EarlyEnd => self.last_chunk().await?,
            Fault::ErrorEvent | Fault::ErrorEventOverloaded => {
                let failed = voice.failed(fault);
                self.frame(&failed).await?;
                self.last_chunk().await?
            }
            Fault::Stall => return Err(self.conn.hold().await),
            Fault::StallComments => self.comments().await?,
            Fault::StallTrickle => self.trickle(voice).await?,
            Fault::Endless => self.endless(voice).await?,
            Fault::BadChunk => {
                self.conn.send(b"zz\r\ndata: {}\n\n\r\n").await?;
                Next::Fin
            }
            Fault::HugeFrame => self.huge_frame(voice).await?,
            _ => return Ok(None),
        }))
    }

    /// Frames of which the last one is spoilt.
    async fn spoil(&mut self, mut frames: Vec<Frame>, how: impl Fn(String) -> Vec<u8>) -> Result<(), Gone> {
        let last = frames.pop();
        self.frames_of(frames).await?;
        match last {
            Some(frame) => self.raw(frame.event, &how(frame.payload)).await,
            None => Ok(()),
        }
    }

    async fn comments(&mut self) -> Result<Next, Gone> {
        let every = self.turn.script.every.unwrap_or(COMMENT_EVERY);
        let comment = self.encoded(b": keep-alive");
        loop {
            self.body(&comment).await?;
            self.conn.pause(every).await?;
        }
    }

    async fn trickle(&mut self, voice: &mut Voice) -> Result<Next, Gone> {
        let every = self.turn.script.every.unwrap_or(TRICKLE_EVERY);
        let mut opening = self.opened_frame(voice).into_iter();
        loop {
            self.body(&[opening.next().unwrap_or(b'x')]).await?;
            self.conn.pause(every).await?;
        }
    }

    async fn endless(&mut self, voice: &mut Voice) -> Result<Next, Gone> {
        let text = "endless ".repeat(128);
        loop {
            self.frames_of(voice.filler(&text)).await?;
        }
    }

    async fn huge_frame(&mut self, voice: &mut Voice) -> Result<Next, Gone> {
        let opened = self.opened_frame(voice);
        self.body(&opened).await?;
        let piece = vec![b'x'; PIECE_BYTES];
        for _ in 0..HUGE_FRAME_BYTES / PIECE_BYTES {
            self.body(&piece).await?;
        }
        self.last_chunk().await
    }

    async fn frame(&mut self, frame: &Frame) -> Result<(), Gone> {
        self.raw(frame.event, frame.payload.as_bytes()).await
    }

    /// Queues one `data:` frame and writes the batch if it is full.
    async fn raw(&mut self, event: Option<&str>, payload: &[u8]) -> Result<(), Gone> {
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
        let opened = self.opened(event, payload);
        let frame = self.encoded(&opened);
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
        let end = self.line_end();
        [line, end, end].concat()
    }

    /// A frame without its end.
    fn opened(&self, event: Option<&str>, payload: &[u8]) -> Vec<u8> {
        let named = event.map(|event| [b"event: ", event.as_bytes(), self.line_end()].concat());
        [&named.unwrap_or_default(), &b"data: "[..], payload].concat()
    }

    fn line_end(&self) -> &'static [u8] {
        if self.turn.script.crlf { b"\r\n" } else { b"\n" }
    }

    /// A frame up to the inside of its text, never closed.
    fn opened_frame(&self, voice: &mut Voice) -> Vec<u8> {
        let mark = "@@";
        let Some(frame) = voice.filler(mark).pop() else {
            return b"data: ".to_vec();
        };
        let inside = frame.payload.rfind(mark).unwrap_or(frame.payload.len());
        self.opened(frame.event, &frame.payload.as_bytes()[..inside])
    }
}

/// A payload whose text ends in two of a character's three bytes.
fn half_utf8(payload: String) -> Vec<u8> {
    let mut bytes = payload.into_bytes();
    let last = "€".as_bytes()[2];
    if let Some(place) = bytes.iter().rposition(|byte| *byte == last) {
        bytes.remove(place);
    }
    bytes
}
