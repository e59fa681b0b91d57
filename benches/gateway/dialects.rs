//! What translation costs: a frame on its way, and bodies made to be slow.

use crate::upstream::data;
use serde_json::{Map, Value, json};
use std::hint::black_box;
use std::time::Instant;
use tautline::wire::canon::{ReplyContext, WriteFor};
use tautline::wire::dialect::Dialect;
use tautline::wire::frames::FrameReader;
use tautline::wire::request::Asked;
use tautline::wire::sse::{SseDecoder, SseFrame};
use tautline::wire::translate::{Translator, read_request, write_request};

const SPOKEN: [Dialect; 3] = [Dialect::Chat, Dialect::Messages, Dialect::Responses];
const WORDS: usize = 500;
const BODY_BYTES: usize = 32 << 20;

/// Prints and returns microseconds of CPU a frame for each pair, and
/// milliseconds for each hostile body, put in the dialect where that takes longest.
pub fn run(quick: bool) -> Value {
    let mut out = Map::new();
    let chat = chat_stream();
    for from in SPOKEN {
        let source = translated(Dialect::Chat, from, &chat);
        for to in SPOKEN.into_iter().filter(|to| *to != from) {
            let rounds = if quick { 3 } else { 40 };
            let best = (0..rounds).map(|_| once(from, to, &source)).fold(f64::INFINITY, f64::min);
            let name = format!("a frame from {from} to {to}");
            println!("{:>10}  {name:<44} {best:>10.2} us", "translate");
            out.insert(name, json!((best * 100.0).round() / 100.0));
        }
    }
    if !quick {
        for (name, dialect, body) in hostile() {
            let (verdict, read, writes) = cost(dialect, &body);
            // An attempt is put in one dialect.
            let ms = read + writes.iter().copied().fold(0.0, f64::max);
            println!(
                "{:>10}  {dialect}, 32 MiB of {name:<30} {ms:>10.0} ms  {verdict} (read {read:.0} ms, written {writes:.0?} ms)",
                "hostile"
            );
            out.insert(format!("{dialect}, 32 MiB of {name}, ms"), json!(ms.round()));
        }
    }
    Value::Object(out)
}

/// What becomes of a body; milliseconds to parse and read it, and to write it in each dialect.
fn cost(dialect: Dialect, body: &[u8]) -> (&'static str, f64, Vec<f64>) {
    let began = Instant::now();
    let ms = |began: Instant| began.elapsed().as_secs_f64() * 1e3;
    let Ok(asked) = Asked::parse(dialect, body) else { return ("refused", ms(began), Vec::new()) };
    let Ok((conversation, _)) = read_request(dialect, asked.fields()) else {
        return ("not understood", ms(began), Vec::new());
    };
    let read = ms(began);
    let write = |to: Dialect| {
        let began = Instant::now();
        let _ = black_box(write_request(to, &conversation, &whom()));
        ms(began)
    };
    ("taken", read, SPOKEN.into_iter().map(write).collect())
}

fn whom() -> WriteFor<'static> {
    WriteFor {
        model: "m",
        stream: true,
        ask_usage: true,
        output_tokens_max: Some(4096),
        reasoning: true,
        reasoning_declared: true,
        developer_role: true,
        reasoning_field: None,
    }
}

fn chat_stream() -> Vec<SseFrame> {
    let mut text = data("\"role\":\"assistant\",\"content\":\"\"", "null");
    for _ in 0..WORDS {
        text.push_str(&data("\"content\":\" word\"", "null"));
    }
    text.push_str(&data("", "\"stop\""));
    let mut frames = Vec::new();
    SseDecoder::new(1 << 20).push(text.as_bytes(), &mut frames).expect("good frames");
    frames
}

fn translated(from: Dialect, to: Dialect, frames: &[SseFrame]) -> Vec<SseFrame> {
    let mut translator = Translator::new(from, to, ReplyContext { include_usage: true, ..ReplyContext::default() });
    let mut out = Vec::new();
    for frame in frames {
        translator.push(frame, &mut out).expect("a good frame");
    }
    translator.end(&mut out);
    out
}

/// Microseconds a frame: read for the clocks, decoded, encoded, as an attempt does.
fn once(from: Dialect, to: Dialect, source: &[SseFrame]) -> f64 {
    let began = Instant::now();
    let mut reader = FrameReader::new(from);
    let mut translator = Translator::new(from, to, ReplyContext { include_usage: true, ..ReplyContext::default() });
    let mut out = Vec::new();
    for frame in source {
        black_box(reader.read(frame).expect("a good frame"));
        translator.push(frame, &mut out).expect("a good frame");
        if out.len() > 16 {
            out.clear();
        }
    }
    translator.end(&mut out);
    began.elapsed().as_secs_f64() * 1e6 / source.len() as f64
}

/// Bodies of 32 MiB, each of one thing without end.
fn hostile() -> Vec<(&'static str, Dialect, Vec<u8>)> {
    let filled = |head: &str, piece: &str, tail: &str| {
        let mut body = head.as_bytes().to_vec();
        while body.len() + piece.len() + tail.len() < BODY_BYTES {
            body.extend_from_slice(piece.as_bytes());
        }
        // The comma behind the last piece.
        body.pop();
        body.extend_from_slice(tail.as_bytes());
        body
    };
    let numbered = |head: &str, tail: &str| {
        let mut body = head.as_bytes().to_vec();
        let mut n = 0;
        while body.len() + 32 < BODY_BYTES {
            body.extend_from_slice(format!("\"k{n}\":0,").as_bytes());
            n += 1;
        }
        body.pop();
        body.extend_from_slice(tail.as_bytes());
        body
    };
    let mut all = Vec::new();
    for (dialect, list, turn) in [
        (Dialect::Chat, "messages", "{\"role\":\"user\",\"content\":\"x\"},"),
        (Dialect::Messages, "messages", "{\"role\":\"user\",\"content\":\"x\"},"),
        (Dialect::Responses, "input", "{\"role\":\"user\",\"content\":\"x\"},"),
    ] {
        let head = format!("{{\"model\":\"m\",\"max_tokens\":9,\"{list}\":[");
        let head = if dialect == Dialect::Responses { head.replace("\"max_tokens\":9,", "") } else { head };
        let one = format!("{head}{}],\"x\":{{", turn.trim_end_matches(','));
        let text = if dialect == Dialect::Responses { "input_text" } else { "text" };
        let blocks = format!("{head}{{\"role\":\"user\",\"content\":[");
        all.push(("short turns", dialect, filled(&head, turn, "]}")));
        // Below what is refused for its number of objects.
        let padded = turn.replace("\"x\"", &format!("\"{}\"", "\\u00e9".repeat(22)));
        all.push(("as many turns as may be", dialect, filled(&head, &padded, "]}")));
        all.push((
            "short parts",
            dialect,
            filled(&blocks, &format!("{{\"type\":\"{text}\",\"text\":\"x\"}},"), "]}]}"),
        ));
        all.push(("parts of no known kind", dialect, filled(&blocks, "{\"type\":\"odd\",\"a\":[[[[1]]]]},", "]}]}")));
        all.push(("keys", dialect, numbered(&one, "}}")));
        all.push(("brackets", dialect, filled(&head, "[", "]}")));
        let text = format!("{head}{{\"role\":\"user\",\"content\":\"");
        all.push(("escapes", dialect, filled(&text, "\\u00e9", "9\"}]}")));
        let many = call_of(dialect)
            .replace("\"a\"", &format!("\"{}\"", "a".repeat(if dialect == Dialect::Responses { 100 } else { 260 })));
        let (calls, end) = calls_of(dialect, &head);
        all.push(("as many calls as may be", dialect, filled(&calls, &many, end)));
        all.push(("calls of one id", dialect, filled(&calls, call_of(dialect), end)));
    }
    all
}

/// What calls stand in, and what closes it.
fn calls_of(dialect: Dialect, head: &str) -> (String, &'static str) {
    match dialect {
        Dialect::Chat => (format!("{head}{{\"role\":\"assistant\",\"tool_calls\":["), "]}]}"),
        Dialect::Messages => (format!("{head}{{\"role\":\"assistant\",\"content\":["), "]}]}"),
        _ => (head.to_owned(), "]}"),
    }
}

fn call_of(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Chat => "{\"id\":\"a\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}},",
        Dialect::Messages => "{\"type\":\"tool_use\",\"id\":\"a\",\"name\":\"f\",\"input\":{}},",
        _ => "{\"type\":\"function_call\",\"call_id\":\"a\",\"name\":\"f\",\"arguments\":\"{}\"},",
    }
}
