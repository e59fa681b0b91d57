//! Server-sent events: bytes to frames and back.
//!
//! Owns framing only (WHATWG HTML, section 9.2.6 "Interpreting an event
//! stream"); what a payload means is a dialect's matter. Invariant: a `data:`
//! payload leaves as the bytes it came in, and no more than `frame_bytes_max`
//! of an unfinished frame is ever held.

use bytes::{Buf as _, Bytes, BytesMut};
use std::ops::Range;

/// One dispatched frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SseFrame {
    /// The `event:` field, when there was one.
    pub event: Option<Bytes>,
    /// The `data:` payload; several lines are joined by `\n`.
    pub data: Bytes,
}

/// An unfinished frame outgrew the bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame larger than {max} bytes has no end")]
pub struct FrameTooLong {
    pub max: usize,
}

/// Room for a read of this much is not kept once all of it was frames. For a frame or
/// two it costs less than making it anew; of a target that always has more, large room
/// is used again.
const ROOM_DROPPED: std::ops::Range<usize> = 513..(16 << 10);

/// A byte order mark at the very start is not part of the first line.
const BOM: &[u8] = b"\xEF\xBB\xBF";

/// Cuts a byte stream into frames. Cancel-safe: `push` is synchronous.
#[derive(Debug)]
pub struct SseDecoder {
    buf: BytesMut,
    /// Where the line that is being read begins.
    line_start: usize,
    /// How far `buf` was searched for a line end.
    scanned: usize,
    data: Vec<Range<usize>>,
    event: Option<Range<usize>>,
    /// The last line ended in CR at the very end of a read: an LF that follows belongs to it.
    swallow_lf: bool,
    begun: bool,
    frame_bytes_max: usize,
}

impl SseDecoder {
    #[must_use]
    pub fn new(frame_bytes_max: usize) -> Self {
        Self {
            buf: BytesMut::new(),
            line_start: 0,
            scanned: 0,
            data: Vec::new(),
            event: None,
            swallow_lf: false,
            begun: false,
            frame_bytes_max,
        }
    }

    /// Takes what was read and appends every frame it completes to `out`.
    ///
    /// # Errors
    /// [`FrameTooLong`] when an unfinished frame exceeds the bound; frames
    /// completed before it are in `out`.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<SseFrame>) -> Result<(), FrameTooLong> {
        let mut bytes = bytes;
        if self.swallow_lf && !bytes.is_empty() {
            self.swallow_lf = false;
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        self.buf.extend_from_slice(bytes);
        if !self.begun {
            if self.buf.len() < BOM.len() && BOM.starts_with(&self.buf) {
                return Ok(());
            }
            self.begun = true;
            if self.buf.starts_with(BOM) {
                let _ = self.buf.split_to(BOM.len());
            }
        }
        while let Some(found) = memchr::memchr2(b'\n', b'\r', &self.buf[self.scanned..]) {
            let end = self.scanned + found;
            let mut next = end + 1;
            if self.buf[end] == b'\r' {
                match self.buf.get(next) {
                    Some(b'\n') => next += 1,
                    Some(_) => {}
                    None => self.swallow_lf = true,
                }
            }
            self.take_line(end, next, out);
        }
        self.scanned = self.buf.len();
        if self.buf.is_empty() && ROOM_DROPPED.contains(&bytes.len()) {
            // The stream may be silent for long.
            self.buf = BytesMut::new();
        }
        if self.buf.len() > self.frame_bytes_max {
            return Err(FrameTooLong { max: self.frame_bytes_max });
        }
        Ok(())
    }

    /// The frame that the end of the stream left without its blank line, if it
    /// has a payload. The standard discards it; servers that close right after
    /// `data: [DONE]` make it worth a look.
    #[must_use]
    pub fn finish(&mut self) -> Option<SseFrame> {
        let mut out = Vec::new();
        if self.line_start < self.buf.len() {
            let end = self.buf.len();
            self.take_line(end, end, &mut out);
        }
        let end = self.buf.len();
        self.dispatch(end, &mut out);
        out.pop()
    }

    fn take_line(&mut self, end: usize, next: usize, out: &mut Vec<SseFrame>) {
        let start = self.line_start;
        self.line_start = next;
        self.scanned = next;
        if start == end {
            self.dispatch(next, out);
            return;
        }
        let line = &self.buf[start..end];
        let colon = memchr::memchr(b':', line);
        let name = colon.map_or(line, |at| &line[..at]);
        let value_start = match colon {
            Some(at) if line.get(at + 1) == Some(&b' ') => start + at + 2,
            Some(at) => start + at + 1,
            None => end,
        };
        match name {
            b"data" => self.data.push(value_start..end),
            b"event" => self.event = Some(value_start..end),
            // A comment, or a field that is not ours to forward (`id`, `retry`).
            _ => {
                if self.data.is_empty() && self.event.is_none() {
                    self.forget_to(next);
                }
            }
        }
    }

    fn dispatch(&mut self, next: usize, out: &mut Vec<SseFrame>) {
        if self.data.is_empty() {
            // Without data nothing is dispatched, whatever its name (the standard).
            self.event = None;
            self.forget_to(next);
            return;
        }
        let event_range = self.event.take();
        let mut taken = self.buf.split_to(next).freeze();
        self.line_start = 0;
        self.scanned = 0;
        let event = event_range.map(|range| taken.slice(range));
        let data = match self.data.as_slice() {
            [one] => {
                // As nearly all: cut to size, which counts no holder.
                taken.truncate(one.end);
                taken.advance(one.start);
                taken
            }
            many => {
                let mut joined = BytesMut::new();
                for (place, range) in many.iter().enumerate() {
                    if place > 0 {
                        joined.extend_from_slice(b"\n");
                    }
                    joined.extend_from_slice(&taken[range.clone()]);
                }
                joined.freeze()
            }
        };
        self.data.clear();
        out.push(SseFrame { event, data });
    }

    /// Lets go of bytes that no pending field refers to.
    fn forget_to(&mut self, next: usize) {
        let _ = self.buf.split_to(next);
        self.line_start = 0;
        self.scanned = 0;
    }
}

impl SseFrame {
    /// The frame as it goes out, appended to `out`: an `event:` line if it had one, a
    /// `data:` line for each line of the payload, a blank line.
    pub fn encode_into(&self, out: &mut BytesMut) {
        out.reserve(self.data.len() + 10);
        if let Some(event) = &self.event {
            out.extend_from_slice(b"event: ");
            out.extend_from_slice(event);
            out.extend_from_slice(b"\n");
        }
        let mut rest = &self.data[..];
        while let Some(end) = memchr::memchr(b'\n', rest) {
            out.extend_from_slice(b"data: ");
            out.extend_from_slice(&rest[..=end]);
            rest = &rest[end + 1..];
        }
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(rest);
        out.extend_from_slice(b"\n\n");
    }

    /// [`Self::encode_into`] on its own.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        self.encode_into(&mut out);
        out.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(pieces: &[&[u8]]) -> Vec<String> {
        let mut decoder = SseDecoder::new(1 << 20);
        let mut out = Vec::new();
        for piece in pieces {
            decoder.push(piece, &mut out).expect("within the bound");
        }
        out.iter().map(|frame| String::from_utf8_lossy(&frame.data).into_owned()).collect()
    }

    #[test]
    fn any_cut_of_the_bytes_gives_the_same_frames() {
        for text in [
            "data: a\n\ndata: b1\ndata: b2\n\n: note\n\ndata:c\n\n",
            "data: a\r\n\r\ndata: b1\r\ndata: b2\r\n\r\n: note\r\n\r\ndata:c\r\n\r\n",
            "data: a\r\rdata: b1\rdata: b2\r\r: note\r\rdata:c\r\r",
            "\u{feff}data: a\n\nid: 7\ndata: b1\nretry: 3\ndata: b2\n\ndata:c\n\n",
        ] {
            let bytes = text.as_bytes();
            for cut in 0..bytes.len() {
                assert_eq!(decode(&[&bytes[..cut], &bytes[cut..]]), ["a", "b1\nb2", "c"], "cut at {cut} of {text:?}");
            }
            let singles: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(decode(&singles), ["a", "b1\nb2", "c"]);
        }
    }

    #[test]
    fn a_frame_without_an_end_is_refused_at_the_bound_and_comments_are_not_kept() {
        let mut decoder = SseDecoder::new(64);
        let mut out = Vec::new();
        for _ in 0..1000 {
            decoder.push(b": keep-alive\n\n", &mut out).expect("comments are forgotten");
        }
        assert!(out.is_empty());
        assert_eq!(decoder.push(&[b'x'; 65], &mut out), Err(FrameTooLong { max: 64 }));
    }

    #[test]
    fn a_name_without_data_is_no_frame_and_names_nothing_after_it() {
        let mut decoder = SseDecoder::new(64);
        let mut out = Vec::new();
        decoder.push(b"event: ping\n\ndata: a\n\nevent: b\ndata:\n\n", &mut out).expect("small");
        let told: Vec<_> = out.iter().map(|frame| (frame.event.as_deref(), &frame.data[..])).collect();
        assert_eq!(told, [(None, &b"a"[..]), (Some(&b"b"[..]), &b""[..])]);
    }

    #[test]
    fn the_end_of_the_stream_gives_up_a_frame_without_its_blank_line() {
        let mut decoder = SseDecoder::new(64);
        let mut out = Vec::new();
        decoder.push(b"data: a\n\ndata: [DONE]", &mut out).expect("small");
        assert_eq!(decoder.finish().expect("pending").data, "[DONE]");
        assert_eq!(decoder.finish(), None);
    }

    #[test]
    fn what_goes_out_reads_back_as_the_same_frame() {
        let frame = SseFrame { event: Some(Bytes::from("x")), data: Bytes::from("{\"a\":1}\n{}") };
        let mut decoder = SseDecoder::new(1024);
        let mut out = Vec::new();
        decoder.push(&frame.encode(), &mut out).expect("small");
        assert_eq!(out, [frame]);
    }
}
