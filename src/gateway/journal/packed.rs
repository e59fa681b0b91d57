//! Entries that everyone has read, kept small.
//!
//! Owns their form in memory: frames of one stream differ in few bytes, so each
//! is kept as what it does not share with the frame before it. Refuses to know
//! readers. Invariant: what comes out is what went in, byte for byte and in order.

use super::Entry;
use crate::wire::sse::SseFrame;
use bytes::Bytes;
use std::collections::VecDeque;

/// Room of the first segment, and of each later one: most answers are short.
const FIRST: usize = 512;
const LATER: usize = 1 << 10;
/// Bytes compared at once.
const WIDE: usize = 16;

/// A queue of entries.
#[derive(Debug, Default)]
pub struct Packed {
    segments: VecDeque<Segment>,
    count: usize,
    /// Payload of the frame before the first entry, to which that one refers.
    before: Vec<u8>,
    /// Payload of the last frame.
    last: Vec<u8>,
}

#[derive(Debug)]
enum Segment {
    /// Frames one after the other; those before `at` are gone.
    Frames { bytes: Vec<u8>, at: usize },
    /// What is no frame is large or rare.
    Other(Entry),
}

impl Packed {
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Puts an entry at the end.
    pub fn push(&mut self, entry: &Entry) {
        self.count += 1;
        match entry {
            Entry::Frame(frame) => self.push_frame(frame),
            other => self.segments.push_back(Segment::Other(other.clone())),
        }
    }

    fn push_frame(&mut self, SseFrame { event, data }: &SseFrame) {
        let prefix = common_prefix(&self.last, data);
        let suffix = common_suffix(&self.last[prefix..], &data[prefix..]);
        let middle = &data[prefix..data.len() - suffix];
        let numbers = [prefix, suffix, middle.len()];
        let of_event = event.as_ref().map_or(0, |event| length_of(event.len()) + event.len());
        let most = 1 + of_event + numbers.iter().map(|number| length_of(*number)).sum::<usize>() + middle.len();
        let room = if self.segments.is_empty() { FIRST } else { LATER };
        let fits = matches!(self.segments.back(), Some(Segment::Frames { bytes, .. }) if bytes.capacity() - bytes.len() >= most);
        if !fits {
            if let Some(Segment::Frames { bytes, .. }) = self.segments.back_mut() {
                // Frames of half a segment each would leave as much unused.
                bytes.shrink_to_fit();
            }
            self.segments.push_back(Segment::Frames { bytes: Vec::with_capacity(room.max(most)), at: 0 });
        }
        let Some(Segment::Frames { bytes, .. }) = self.segments.back_mut() else { return };
        bytes.push(u8::from(event.is_some()));
        if let Some(event) = event {
            push_number(bytes, event.len());
            bytes.extend_from_slice(event);
        }
        for number in numbers {
            push_number(bytes, number);
        }
        bytes.extend_from_slice(middle);
        self.last.clear();
        shrink(&mut self.last, data.len());
        self.last.extend_from_slice(data);
    }

    /// Drops the first entry; how many bytes of payload it had.
    pub fn drop_first(&mut self) -> Option<usize> {
        let first = self.segments.front_mut()?;
        self.count -= 1;
        let (dropped, is_empty) = match first {
            Segment::Other(entry) => (entry.bytes(), true),
            Segment::Frames { bytes, at } => {
                let frame = read_frame(bytes, at, &mut self.before);
                let length = frame.data.len() + frame.event.map_or(0, <[u8]>::len);
                let payload = self.before.len();
                shrink(&mut self.before, payload);
                (length, *at == bytes.len())
            }
        };
        if is_empty {
            self.segments.pop_front();
        }
        Some(dropped)
    }

    /// Appends every entry from the one at `skip` on to `out`.
    pub fn unpack(&self, skip: usize, out: &mut Vec<Entry>) {
        let mut before = self.before.clone();
        let mut place = 0;
        let mut take = |entry: &dyn Fn() -> Entry| {
            if place >= skip {
                out.push(entry());
            }
            place += 1;
        };
        for segment in &self.segments {
            match segment {
                Segment::Other(entry) => take(&|| entry.clone()),
                Segment::Frames { bytes, at } => {
                    let mut at = *at;
                    while at < bytes.len() {
                        let frame = read_frame(bytes, &mut at, &mut before);
                        take(&|| {
                            let event = frame.event.map(Bytes::copy_from_slice);
                            Entry::Frame(SseFrame { event, data: Bytes::copy_from_slice(frame.data) })
                        });
                    }
                }
            }
        }
    }
}

struct Unpacked<'a> {
    event: Option<&'a [u8]>,
    data: &'a [u8],
}

/// Reads the frame at `at` and goes behind it. `before`: the payload before it, then its own.
fn read_frame<'a>(bytes: &'a [u8], at: &mut usize, before: &'a mut Vec<u8>) -> Unpacked<'a> {
    let has_event = bytes[*at] != 0;
    *at += 1;
    let slice = |at: &mut usize, length: usize| {
        *at += length;
        &bytes[*at - length..*at]
    };
    let event = has_event.then(|| {
        let length = read_number(bytes, at);
        slice(at, length)
    });
    let [prefix, suffix, length] = [(); 3].map(|()| read_number(bytes, at));
    let middle = slice(at, length);
    let kept_from = before.len() - suffix;
    before.splice(prefix..kept_from, middle.iter().copied());
    Unpacked { event, data: before }
}

/// Lets go of what one huge frame left behind.
fn shrink(kept: &mut Vec<u8>, needed: usize) {
    if kept.capacity() > LATER.max(needed * 4) {
        kept.shrink_to(needed);
    }
}

/// Bytes that [`push_number`] takes for it.
fn length_of(number: usize) -> usize {
    let bits = usize::BITS - number.leading_zeros();
    bits.div_ceil(7).max(1) as usize
}

/// Seven bits a byte, the lowest first (LEB128).
fn push_number(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

fn read_number(bytes: &[u8], at: &mut usize) -> usize {
    let (mut number, mut shift) = (0, 0);
    loop {
        let byte = bytes[*at];
        *at += 1;
        number |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            return number;
        }
    }
}

fn common_prefix(one: &[u8], other: &[u8]) -> usize {
    let wide = one.chunks_exact(WIDE).zip(other.chunks_exact(WIDE)).take_while(|(one, other)| one == other);
    let whole = wide.count() * WIDE;
    whole + one[whole..].iter().zip(&other[whole..]).take_while(|(one, other)| one == other).count()
}

fn common_suffix(one: &[u8], other: &[u8]) -> usize {
    let wide = one.rchunks_exact(WIDE).zip(other.rchunks_exact(WIDE)).take_while(|(one, other)| one == other);
    let whole = wide.count() * WIDE;
    let rest = one[..one.len() - whole].iter().rev().zip(other[..other.len() - whole].iter().rev());
    whole + rest.take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(data: &[u8]) -> Entry {
        Entry::Frame(SseFrame { event: None, data: Bytes::copy_from_slice(data) })
    }

    fn unpacked(packed: &Packed, skip: usize) -> Vec<Entry> {
        let mut out = Vec::new();
        packed.unpack(skip, &mut out);
        out
    }

    #[test]
    fn what_comes_out_is_what_went_in() {
        let mut entries: Vec<Entry> = Vec::new();
        let mut random = fastrand::Rng::with_seed(7);
        for turn in 0..600 {
            // Of two letters, so that beginnings and ends overlap in every way.
            let length = random.usize(..if turn % 50 == 0 { 9000 } else { 70 });
            let data: Vec<u8> = (0..length).map(|_| if random.u8(..8) == 0 { b'b' } else { b'a' }).collect();
            entries.push(match random.u8(..20) {
                0 => Entry::Note("a note".to_owned()),
                1 => Entry::Whole(Bytes::from(data)),
                2 => Entry::Frame(SseFrame { event: Some(Bytes::from_static(b"error")), data: Bytes::from(data) }),
                _ => frame(&data),
            });
        }
        let mut packed = Packed::default();
        for entry in &entries {
            packed.push(entry);
        }
        assert_eq!(unpacked(&packed, 0), entries);
        assert_eq!(unpacked(&packed, 200), entries[200..]);
        for (place, entry) in entries.iter().enumerate() {
            assert_eq!(packed.drop_first(), Some(entry.bytes()));
            if place % 97 == 0 {
                assert_eq!(unpacked(&packed, 0), entries[place + 1..]);
            }
        }
        assert_eq!((packed.drop_first(), packed.len()), (None, 0));
    }

    #[test]
    fn a_stream_of_words_takes_a_fraction_of_its_frames() {
        let mut packed = Packed::default();
        for word in 0..100 {
            let data = format!(
                "{{\"id\":\"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT\",\"object\":\"chat.completion.chunk\",\"created\":1764000000,\
                 \"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\" word{word}\"}},\"finish_reason\":null}}]}}"
            );
            packed.push(&frame(data.as_bytes()));
        }
        let held: usize = packed
            .segments
            .iter()
            .map(|one| if let Segment::Frames { bytes, .. } = one { bytes.len() } else { 0 })
            .sum();
        assert!(held < 1200, "{held} bytes for 100 frames of some 180");
    }

    #[test]
    fn frames_that_share_nothing_take_little_more_than_their_bytes_and_a_huge_one_leaves_none() {
        let room = |packed: &Packed| -> usize {
            let held = |one: &Segment| if let Segment::Frames { bytes, .. } = one { bytes.capacity() } else { 0 };
            packed.segments.iter().map(held).sum::<usize>() + packed.last.capacity() + packed.before.capacity()
        };
        let mut random = fastrand::Rng::with_seed(7);
        let mut opaque = |length: usize| (0..length).map(|_| random.u8(..)).collect::<Vec<u8>>();
        let mut packed = Packed::default();
        for _ in 0..1000 {
            packed.push(&frame(&opaque(492)));
        }
        assert!(room(&packed) < 492 * 1000 * 11 / 10, "{}", room(&packed));
        let mut packed = Packed::default();
        packed.push(&frame(&opaque(1 << 20)));
        packed.push(&frame(b"small"));
        packed.push(&frame(b"small"));
        packed.drop_first();
        packed.drop_first();
        assert!(room(&packed) < 4 << 10, "{}", room(&packed));
    }

    #[test]
    fn a_number_takes_the_bytes_that_are_reserved_for_it() {
        for number in [0, 1, 127, 128, 16_383, 16_384, usize::MAX] {
            let mut out = Vec::new();
            push_number(&mut out, number);
            assert_eq!((out.len(), read_number(&out, &mut 0)), (length_of(number), number));
        }
    }
}
