//! Bytes below the dialects: frames, codings, errors, seals.
//!
//! Owns the targets whose input is no request and no answer, or not only one.
//! Refuses dialects' own rules. Invariant: what is cut or held, is cut or held at
//! its bound.

use super::held::{SPOKEN, lossy};
use crate::wire::canon::WriteFor;
use crate::wire::chat::{ErrorBody, read_model_list};
use crate::wire::dialect::Dialect;
use crate::wire::error::{Tail, error_body, reshape};
use crate::wire::frames::FrameReader;
use crate::wire::inflate::{Coding, Inflate};
use crate::wire::redact::{mask_quotes, redact};
use crate::wire::refusal::{Refusal, duration_text_ms, read_error_fields, read_refusal};
use crate::wire::request::{Asked, Fields};
use crate::wire::seals::{SealHash, SealWatch, in_whole, strip, strip_conversation};
use crate::wire::sse::{SseDecoder, SseFrame};
use crate::wire::translate::{read_request, write_request};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use std::time::{Duration, SystemTime};

/// Bytes of an input that say where the rest is cut.
const CUTS: usize = 4;
/// Output of a compressed stream after which nobody pulls more.
const PULLED_MAX: usize = 1 << 20;

/// A stream of events: four bytes that say how it is cut, then the stream.
pub fn sse(input: &[u8]) {
    let (cuts, bytes) = input.split_at(input.len().min(CUTS));
    let whole = frames(bytes, &[bytes.len()], bytes.len()).expect("no longer than itself");
    let cuts: Vec<usize> = cuts.iter().map(|cut| usize::from(*cut)).chain([1]).collect();
    for cuts in [&cuts[..], &[1]] {
        assert_eq!(frames(bytes, cuts, bytes.len()).as_ref(), Ok(&whole), "cut by {cuts:?}");
    }
    // Within a bound, what comes before the frame that is too long is the same.
    if let Err(before) = frames(bytes, &cuts, 64) {
        assert!(whole.starts_with(&before), "{before:?} of {whole:?}");
    }
    for frame in &whole {
        let mut again = Vec::new();
        SseDecoder::new(usize::MAX).push(&frame.encode(), &mut again).expect("no bound");
        assert_eq!(again, std::slice::from_ref(frame), "what goes out is read as it was");
    }
}

/// The frames of a stream that comes in pieces of these lengths, over and over;
/// the last counts without its blank line. An error holds those before it.
fn frames(bytes: &[u8], cuts: &[usize], frame_bytes_max: usize) -> Result<Vec<SseFrame>, Vec<SseFrame>> {
    let (mut decoder, mut out) = (SseDecoder::new(frame_bytes_max), Vec::new());
    let mut rest = bytes;
    for cut in cuts.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        // An empty piece is a piece, too; the last of the cuts is never empty.
        let (piece, more) = rest.split_at((*cut).min(rest.len()));
        rest = more;
        if decoder.push(piece, &mut out).is_err() {
            return Err(out);
        }
    }
    out.extend(decoder.finish());
    assert_eq!(decoder.finish(), None, "a stream ends once");
    Ok(out)
}

/// A compressed body: one byte that names its coding, then the body.
pub fn inflate(input: &[u8]) {
    let Some((first, compressed)) = input.split_first() else { return };
    let coding = [Coding::Gzip, Coding::Deflate, Coding::Zstd, Coding::Brotli][usize::from(first & 3)];
    assert!(coding.window(compressed) <= 16 << 20);
    let Ok(mut inflate) = Inflate::new(coding, Bytes::copy_from_slice(compressed)) else { return };
    let mut piece = vec![0; 1 + (usize::from(*first) << 4)];
    let mut pulled = 0;
    while pulled < PULLED_MAX {
        match inflate.piece(&mut piece) {
            Ok(0) => break,
            Ok(read) => pulled += read,
            Err(_) => {
                // Who asks again is told the same, or that nothing is left.
                let _ = inflate.piece(&mut piece);
                break;
            }
        }
    }
}

/// What a target says when it refuses: a line for its header, then its body.
pub fn error(input: &[u8]) {
    let at = memchr::memchr(b'\n', &input[..input.len().min(128)]).unwrap_or(0);
    let (line, body) = (&input[..at], input.get(at + 1..).unwrap_or_default());
    let line_text = String::from_utf8_lossy(line);
    let _ = duration_text_ms(&line_text);
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
    for kind in ["application/json", "text/html"] {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.insert(RETRY_AFTER, value.clone());
            headers.insert("retry-after-ms", value);
        }
        for status in [302, 400, 401, 404, 405, 408, 413, 422, 429, 500, 503, 529] {
            assert_read(&read_refusal(status, &headers, body, now));
        }
    }
    let _ = read_error_fields(body).kind_without_status();
    let text = String::from_utf8_lossy(body);
    assert!(redact(&text, 400).len() <= 400 + "…".len());
    let masked = mask_quotes(&redact(&text, 400), body);
    assert!(masked.len() <= 400 + "[quoted]".len() * 400, "{masked}");
    assert!(read_model_list(body, 16).is_ok_and(|names| names.len() <= 16) || read_model_list(body, 16).is_err());
    told_to_clients(body, &line_text);
}

fn assert_read(refusal: &Refusal) {
    let _ = (refusal.names_streaming(), refusal.names_previous(), refusal.names_seal());
    let fields = &refusal.fields;
    for text in [&fields.code, &fields.kind, &fields.param, &fields.message].into_iter().flatten() {
        assert!(text.len() <= 400 + "…".len() && !text.contains(char::is_control), "{text}");
    }
    assert!(fields.status.is_none_or(|status| (300..600).contains(&status)));
}

/// The body of a refusal, and the end of a stream, in every client's dialect.
fn told_to_clients(body: &[u8], line: &str) {
    let body = Bytes::copy_from_slice(body);
    for to in SPOKEN {
        for from in SPOKEN.into_iter().filter(|from| from.is_anthropics() != to.is_anthropics()) {
            let told = reshape(from, to, 400, &body, "01");
            let fields = read_error_fields(&told);
            assert!(fields.message.is_some_and(|text| !text.is_empty()), "{from} to {to}: {}", lossy(&told));
        }
        let ours = ErrorBody { status: 500, message: line.to_owned(), param: None, code: line.to_owned() };
        assert!(serde_json::from_slice::<serde_json::Value>(&error_body(to, &ours, line)).is_ok());
        let mut out = Vec::new();
        let end = Tail::new(to).error(to, &body);
        SseDecoder::new(usize::MAX).push(&end, &mut out).expect("no bound");
        let mut reader = FrameReader::new(to);
        let last = out.iter().map(|frame| reader.read(frame).expect("a frame of ours")).next_back();
        assert!(last.is_some_and(|facts| facts.error.is_some()), "{to}: {}", lossy(&end));
    }
}

/// A request, a stream or a whole answer that holds sealed reasoning.
pub fn seals(bytes: &[u8]) {
    for dialect in SPOKEN {
        let _ = in_whole(dialect, bytes);
        let mut watch = SealWatch::default();
        let (mut decoder, mut out) = (SseDecoder::new(1 << 20), Vec::new());
        let _ = decoder.push(bytes, &mut out);
        for frame in &out {
            let _ = watch.frame(dialect, frame);
        }
    }
    let Ok(Fields(fields)) = serde_json::from_slice(bytes) else { return };
    let goes: [&dyn Fn(&SealHash) -> bool; 3] = [&|_| true, &|_| false, &|seal| seal[0] & 1 == 0];
    for dialect in [Dialect::Chat, Dialect::Messages, Dialect::CountTokens, Dialect::Responses] {
        for goes in goes {
            for all in [false, true] {
                let Some(stripped) = strip(dialect, &fields, all, goes) else { continue };
                let again = strip(dialect, &stripped.fields, all, goes);
                assert!(again.is_none(), "{dialect}: what goes is gone at once: {again:?}");
            }
        }
    }
    conversations(bytes);
}

fn conversations(bytes: &[u8]) {
    let whom = WriteFor {
        model: "m",
        stream: false,
        ask_usage: false,
        output_tokens_max: Some(16),
        reasoning: true,
        reasoning_declared: true,
        developer_role: true,
        reasoning_field: None,
    };
    for from in SPOKEN {
        let Ok(asked) = Asked::parse(from, bytes) else { continue };
        let Ok((conversation, _)) = read_request(from, asked.fields()) else { continue };
        let Some((stripped, removed)) = strip_conversation(&conversation, true, &|_| true) else { continue };
        assert!(removed > 0 && strip_conversation(&stripped, true, &|_| true).is_none());
        for to in SPOKEN.into_iter().filter(|to| *to != from) {
            let Ok(written) = write_request(to, &stripped, &whom) else { continue };
            let Ok(Fields(fields)) = serde_json::from_slice(&written.body) else { panic!("{to}: no object") };
            let (again, _) = read_request(to, &fields).unwrap_or_else(|error| panic!("{to}: {error}"));
            assert!(strip_conversation(&again, true, &|_| true).is_none(), "{to}: {}", lossy(&written.body));
        }
    }
}
