//! Streams of any bytes.
//!
//! Owns what an attempt does with the bytes of an answer, and what a client makes
//! of the frames that come of it. Invariant: as long as a stream is good, so are
//! the frames that it becomes, and they say what it said.

use super::held::{SPOKEN, assert_growth, assert_named, contexts, decoded, read_ours, told};
use crate::wire::canon::ReplyContext;
use crate::wire::dialect::Dialect;
use crate::wire::error::Tail;
use crate::wire::frames::{Assembler, FrameReader, read_whole};
use crate::wire::seals::SealWatch;
use crate::wire::sse::{SseDecoder, SseFrame};
use crate::wire::translate::Translator;

/// A stream of a target that speaks chat completions.
pub fn stream_chat(bytes: &[u8]) {
    stream(Dialect::Chat, bytes);
}

/// A stream of a target that speaks messages.
pub fn stream_messages(bytes: &[u8]) {
    stream(Dialect::Messages, bytes);
}

/// A stream of a target that speaks responses.
pub fn stream_responses(bytes: &[u8]) {
    stream(Dialect::Responses, bytes);
}

fn stream(from: Dialect, bytes: &[u8]) {
    let (mut decoder, mut frames) = (SseDecoder::new(1 << 20), Vec::new());
    let _ = decoder.push(bytes, &mut frames);
    frames.extend(decoder.finish());
    let good = good(from, frames);
    for to in SPOKEN {
        for context in contexts(to) {
            translated(from, to, context, &good, bytes.len());
        }
    }
}

/// A stream as far as an attempt reads it.
struct Good {
    frames: Vec<SseFrame>,
    /// It came to an end of its own.
    finished: bool,
}

/// The frames up to the first that is none of this dialect, or an error; all that
/// read a stream as it is are given them.
fn good(from: Dialect, frames: Vec<SseFrame>) -> Good {
    let mut reader = FrameReader::new(from);
    let mut assembler = Assembler::new(from);
    let (mut watch, mut tail) = (SealWatch::default(), Tail::new(from));
    let mut good = Good { frames: Vec::new(), finished: false };
    let (mut bytes, mut contents) = (0, 0);
    for frame in frames {
        if frame.data.is_empty() {
            continue;
        }
        let Ok(facts) = reader.read(&frame) else { break };
        if facts.error.is_some() {
            break;
        }
        bytes += frame.data.len();
        contents += facts.contents;
        good.finished |= !facts.finished.is_empty();
        assembler.push(&frame);
        let _ = watch.frame(from, &frame);
        tail.follow(&frame);
        good.frames.push(frame);
        if facts.done {
            break;
        }
    }
    assert_failed(from, &tail);
    let whole = assembler.finish();
    assert_growth("an assembled answer", bytes, whole.len());
    if good.finished && contents > 0 {
        let _ = read_whole(from, whole.as_bytes());
    }
    good
}

/// What ends a stream that failed is an error, and never a good end.
fn assert_failed(dialect: Dialect, tail: &Tail) {
    let error = tail.error(dialect, br#"{"error":{"message":"the target refused","code":"server_error"}}"#);
    let mut frames = Vec::new();
    SseDecoder::new(1 << 20).push(&error, &mut frames).expect("small");
    let mut reader = FrameReader::new(dialect);
    let last = frames.iter().map(|frame| reader.read(frame).expect("a frame of ours")).next_back();
    assert!(last.is_some_and(|facts| facts.error.is_some()), "{dialect}: {frames:?}");
}

fn translated(from: Dialect, to: Dialect, context: ReplyContext, good: &Good, bytes: usize) {
    let is_plain = context.fields.is_empty();
    let mut translator = Translator::new(from, to, context);
    let mut out = Vec::new();
    let taken = good.frames.iter().take_while(|frame| translator.push(frame, &mut out).is_ok()).count();
    let failed = taken < good.frames.len();
    let mut tail = Tail::new(to);
    for frame in &out {
        tail.follow(frame);
    }
    assert_failed(to, &tail);
    translator.end(&mut out);
    let ended = out.len();
    translator.end(&mut out);
    assert_eq!(out.len(), ended, "an answer ends once");
    assert_named(translator.losses());
    assert_growth("a stream", bytes, out.iter().map(|frame| frame.data.len()).sum());
    let read = read_ours(to, &out);
    if !failed {
        let said = told(&decoded(from, &good.frames).expect("they were taken"));
        if is_plain && good.finished && translator.losses().is_empty() {
            assert_eq!(read, said, "from {from} to {to}");
        }
    }
}
