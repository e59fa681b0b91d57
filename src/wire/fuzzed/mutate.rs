//! Inputs that are nearly good.
//!
//! Owns the changes that lead from a good input to a bad one: of its bytes, of
//! the JSON values in it, of its frames. Refuses chance of its own: the seed
//! decides. Invariant: nothing grows beyond what one change of it can add.

use fastrand::Rng;
use std::ops::Range;

/// What a value is made into.
const ODD: [&str; 24] = [
    "null",
    "true",
    "0",
    "-1",
    "7",
    "1e400",
    "1.5",
    "4096",
    "18446744073709551615",
    "4294967295",
    "\"\"",
    "\"x\"",
    "\"\\u0000\"",
    "\"\\ud83d\"",
    "\"data:;base64,\"",
    "\"data:image/png;base64,QQ==\"",
    "[]",
    "{}",
    "[[]]",
    "[null]",
    "{\"type\":\"text\",\"text\":\"x\"}",
    "{\"type\":\"x\"}",
    "\"\u{1f980}\\n\\\\\\\"\"",
    "{\"a\":[{\"b\":{}}]}",
];

/// One to five changes of single bytes and short pieces.
#[must_use]
pub fn mutated(bytes: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..rng.usize(1..6) {
        let at = rng.usize(0..=bytes.len());
        match rng.u8(0..4) {
            0 if at < bytes.len() => bytes[at] = rng.u8(..),
            1 => drop(bytes.drain(at..bytes.len().min(at + rng.usize(1..12)))),
            2 => {
                let odd = *rng.choice(b"{}[]\",:\\\r\n\0 0e-\xff\xf0").expect("some");
                bytes.splice(at..at, std::iter::repeat_n(odd, rng.usize(1..4)));
            }
            _ => {
                let from = at.saturating_sub(rng.usize(1..40));
                let again = bytes[from..at].to_vec();
                bytes.splice(at..at, again);
            }
        }
    }
    bytes
}

/// One to four changes of whole JSON values or of whole frames, which leave most
/// of the input as good as it was.
#[must_use]
pub fn mutated_values(bytes: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..rng.usize(1..5) {
        if rng.u8(0..4) == 0 && memchr::memmem::find(&bytes, b"\n\n").is_some() {
            change_frame(&mut bytes, rng);
        } else {
            change_value(&mut bytes, rng);
        }
    }
    bytes
}

fn change_value(bytes: &mut Vec<u8>, rng: &mut Rng) {
    let starts = value_starts(bytes);
    let Some(&at) = rng.choice(&starts) else { return };
    let value = at..value_end(bytes, at);
    let other = *rng.choice(&starts).expect("there is one");
    let other = bytes[other..value_end(bytes, other)].to_vec();
    match rng.u8(0..8) {
        0 | 1 => drop(bytes.splice(value, other)),
        2 | 3 => drop(bytes.splice(value, rng.choice(&ODD).expect("some").bytes())),
        // A neighbour in a list.
        4 => drop(bytes.splice(at..at, [&other[..], b","].concat())),
        5 => {
            let again = [b",", &bytes[value.clone()]].concat();
            bytes.splice(value.end..value.end, again);
        }
        6 => {
            // Gone, with the comma behind it.
            let end = value.end + usize::from(bytes.get(value.end) == Some(&b','));
            bytes.drain(at..end);
        }
        _ => {
            let nested = [b"[", &bytes[value.clone()], b"]"].concat();
            bytes.splice(value, nested);
        }
    }
}

/// Where values, and keys, begin.
fn value_starts(bytes: &[u8]) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut may_begin = true;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => {}
            b':' | b',' => may_begin = true,
            b'[' | b'{' if may_begin => starts.push(at),
            b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n' if may_begin => {
                starts.push(at);
                may_begin = false;
            }
            _ => may_begin = false,
        }
    }
    starts
}

/// The end of the value that begins here, should it have one; else that of the input.
fn value_end(bytes: &[u8], start: usize) -> usize {
    let (mut depth, mut inside, mut escaped) = (0_usize, false, false);
    for (at, byte) in bytes.iter().enumerate().skip(start) {
        match byte {
            _ if std::mem::take(&mut escaped) => {}
            b'\\' if inside => escaped = true,
            b'"' => {
                inside = !inside;
                if !inside && depth == 0 {
                    return at + 1;
                }
            }
            _ if inside => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' if depth > 1 => depth -= 1,
            b']' | b'}' => return at + depth,
            b',' | b'\n' if depth == 0 => return at,
            _ => {}
        }
    }
    bytes.len()
}

/// A frame twice, elsewhere, or gone.
fn change_frame(bytes: &mut Vec<u8>, rng: &mut Rng) {
    let ends = memchr::memmem::find_iter(bytes, b"\n\n").map(|at| at + 2);
    let bounds: Vec<usize> = std::iter::once(0).chain(ends).collect();
    let mut frame = || -> Option<Range<usize>> {
        let place = rng.usize(1..bounds.len().max(2));
        Some(bounds[place - 1]..*bounds.get(place)?)
    };
    let (Some(one), Some(other)) = (frame(), frame()) else { return };
    let copy = bytes[one.clone()].to_vec();
    match rng.u8(0..3) {
        0 => drop(bytes.splice(other.start..other.start, copy)),
        1 => drop(bytes.splice(other, copy)),
        _ => drop(bytes.drain(one)),
    }
}
