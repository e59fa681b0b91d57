//! What an HTTP/2 client sends beside its requests, counted.
//!
//! h2 bounds what a frame costs in memory, and answers as many as come: pings,
//! settings and resets cost a client nothing and us a wake-up and an answer each.
//! Owns the count of these. Refuses to understand a frame beyond its first nine
//! bytes.

use std::time::{Duration, Instant};

/// Frames that ask for nothing, as many in this time. A client that cancels a hundred requests a
/// second is still within.
pub(super) const IDLE_FRAMES_MAX: u32 = 2000;
const WITHIN: Duration = Duration::from_secs(10);

const HEAD: usize = 9;
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;

/// A reader of frame heads.
#[derive(Debug)]
pub(super) struct Frames {
    head: [u8; HEAD],
    gathered: usize,
    /// Bytes that follow and are no frame's head.
    skip: usize,
    idle: u32,
    since: Instant,
    /// Bytes of the header block under way.
    block: usize,
    block_max: usize,
}

/// What is wrong with what came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Excess {
    /// Too many frames that ask for nothing.
    Flood,
    /// A header block above the bound.
    Block,
}

impl Frames {
    /// From a connection's first byte on.
    pub(super) fn new(block_max: usize) -> Self {
        let since = Instant::now();
        Self { head: [0; HEAD], gathered: 0, skip: PREFACE.len(), idle: 0, since, block: 0, block_max }
    }

    /// Takes what was read, in order.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Option<Excess> {
        let mut excess = None;
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let taken = (HEAD - self.gathered).min(bytes.len());
            self.head[self.gathered..self.gathered + taken].copy_from_slice(&bytes[..taken]);
            self.gathered += taken;
            bytes = &bytes[taken..];
            if self.gathered == HEAD {
                self.gathered = 0;
                // A flood is told however much else was read with it.
                excess = excess.filter(|excess| *excess == Excess::Flood).or(self.frame()).or(excess);
            }
        }
        excess
    }

    fn frame(&mut self) -> Option<Excess> {
        let [a, b, c, kind, flags, ..] = self.head;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        self.skip = length;
        match kind {
            HEADERS => self.block = length,
            CONTINUATION => self.block += length,
            _ => {}
        }
        if matches!(kind, HEADERS | CONTINUATION) && self.block > self.block_max {
            return Some(Excess::Block);
        }
        let asks = match kind {
            DATA => length > 0 || flags & END_STREAM != 0,
            CONTINUATION => length > 0,
            // A request, and room for an answer: h2 sends nothing back for the latter.
            HEADERS | WINDOW_UPDATE => true,
            _ => false,
        };
        if asks {
            return None;
        }
        self.idle += 1;
        if self.idle <= IDLE_FRAMES_MAX {
            return None;
        }
        let slow = self.since.elapsed() > WITHIN;
        (self.idle, self.since) = (0, Instant::now());
        (!slow).then_some(Excess::Flood)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("small").to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    #[test]
    fn only_what_asks_for_nothing_is_counted_however_it_is_cut() {
        let asking =
            [frame(HEADERS, 4, b"abc"), frame(DATA, 0, b"x"), frame(DATA, END_STREAM, b""), frame(8, 0, &[0; 4])];
        let (ping, settings, reset) = (frame(6, 0, &[0; 8]), frame(4, 0, b""), frame(3, 0, &[0; 4]));
        let empty = frame(DATA, 0, b"");
        for chunk in [1, 7, 9, 1000] {
            let mut all = PREFACE.to_vec();
            for at in 0..IDLE_FRAMES_MAX {
                all.extend_from_slice(&asking[at as usize % 4]);
                all.extend_from_slice([&ping, &settings, &reset, &empty][at as usize % 4]);
            }
            let mut frames = Frames::new(100);
            assert!(all.chunks(chunk).all(|piece| frames.take(piece).is_none()), "{chunk}");
            assert_eq!(frames.take(&ping), Some(Excess::Flood), "{chunk}");
        }
    }

    #[test]
    fn a_header_block_is_summed_over_its_frames() {
        let mut frames = Frames::new(100);
        assert_eq!(frames.take(&[&PREFACE[..], &frame(HEADERS, 0, &[0; 60])].concat()), None);
        assert_eq!(frames.take(&frame(CONTINUATION, 4, &[0; 40])), None);
        assert_eq!(frames.take(&frame(HEADERS, 0, &[0; 60])), None, "a block of its own");
        assert_eq!(frames.take(&frame(CONTINUATION, 0, &[0; 41])), Some(Excess::Block));
    }
}
