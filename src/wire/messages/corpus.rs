//! Recorded-style streams, through everything that reads and writes them.
//!
//! Owns what must hold of a stream as a whole. The streams in
//! `tests/wire/messages` are written by hand after the vendor's documentation.

use super::{
    Assembler, Decoder, Encoder, FrameReader, decode_whole, error_frames, frames_of_whole, read_request, write_request,
};
use crate::domain::usage::Usage;
use crate::wire::canon::{Conversation, Event, Loss, ReplyContext, WriteFor};
use crate::wire::dialect::Dialect;
use crate::wire::facts::Finish;
use crate::wire::request::Asked;
use crate::wire::sse::{SseDecoder, SseFrame};
use serde_json::{Value, json};

const STREAMS: [(&str, &str); 4] = [
    ("text", include_str!("../../../tests/wire/messages/text.sse")),
    ("tools", include_str!("../../../tests/wire/messages/tools.sse")),
    ("search", include_str!("../../../tests/wire/messages/search.sse")),
    ("cut", include_str!("../../../tests/wire/messages/cut.sse")),
];

/// What an agent sends in the middle of its work.
const REQUEST: &str = include_str!("../../../tests/wire/messages/request.json");

const TARGET: WriteFor<'static> = WriteFor {
    model: "claude-opus-4-6",
    stream: true,
    ask_usage: false,
    output_tokens_max: None,
    reasoning: true,
    reasoning_declared: false,
    developer_role: false,
    reasoning_field: None,
};

fn read(body: &[u8]) -> Option<(Conversation, Vec<Loss>)> {
    let asked = Asked::parse(Dialect::Messages, body).ok()?;
    read_request(asked.fields()).ok()
}

fn frames(name: &str) -> Vec<SseFrame> {
    let (_, text) = STREAMS.iter().find(|(stream, _)| *stream == name).expect("a stream");
    let mut frames = Vec::new();
    SseDecoder::new(1 << 20).push(text.as_bytes(), &mut frames).expect("small");
    frames
}

fn whole(frames: &[SseFrame]) -> Value {
    let mut assembler = Assembler::default();
    for frame in frames {
        assembler.push(frame);
    }
    serde_json::from_str(&assembler.finish()).expect("JSON")
}

fn events(frames: &[SseFrame]) -> Vec<Event> {
    let (mut decoder, mut out) = (Decoder::default(), Vec::new());
    for frame in frames {
        decoder.push(frame, &mut out).expect("a frame");
    }
    out
}

#[test]
fn clocks_and_bills_are_told_what_a_stream_says() {
    let usage = |input, output, reasoning| Usage { input, output, reasoning, ..Usage::default() };
    let cached = Usage { cached_input: 400, cache_write: 10, ..usage(435, 15, 0) };
    for (name, contents, answers, finish, counted) in [
        ("text", 2, 2, Some(Finish::Stop), cached),
        ("tools", 8, 5, Some(Finish::ToolCalls), usage(472, 89, 30)),
        ("search", 6, 2, Some(Finish::Stop), usage(10_682, 510, 0)),
        ("cut", 1, 1, None, usage(5, 1, 0)),
    ] {
        let mut reader = FrameReader::default();
        let facts: Vec<_> = frames(name).iter().map(|frame| reader.read(frame).expect("a frame")).collect();
        let sum = |of: fn(&crate::wire::facts::FrameFacts) -> u32| facts.iter().map(of).sum::<u32>();
        assert_eq!((sum(|one| one.contents), sum(|one| one.answers)), (contents, answers), "{name}");
        let ends: Vec<_> = facts.iter().flat_map(|one| &one.finished).map(|(_, finish)| *finish).collect();
        assert_eq!(ends, finish.into_iter().collect::<Vec<_>>(), "{name}");
        assert_eq!(facts.iter().filter_map(|one| one.usage).next_back(), Some(counted), "{name}");
        assert_eq!(facts.last().is_some_and(|last| last.done), finish.is_some(), "{name}");
        assert_eq!(facts.last().is_some_and(|last| last.error.is_some()), finish.is_none(), "{name}");
    }
}

/// What another dialect can be told, and what of it comes back.
#[test]
fn an_answer_that_went_through_events_is_the_same_but_for_its_makers_own_marks() {
    for name in ["text", "tools", "search"] {
        let told = frames(name);
        let mut encoder = Encoder::new(ReplyContext { id: "x".into(), ..ReplyContext::default() });
        encoder.keep_seals();
        let mut out = Vec::new();
        for event in events(&told) {
            encoder.push(&event, &mut out);
        }
        encoder.end(&mut out);
        assert_eq!(encoder.losses(), [], "{name}");
        let (mut before, mut after) = (whole(&told), whole(&out));
        for message in [&mut before, &mut after] {
            message.as_object_mut().expect("a message").shift_remove("usage");
            for block in message["content"].as_array_mut().expect("blocks") {
                if block["type"] == "web_search_tool_result" {
                    block["content"][0]["encrypted_content"] = json!("");
                }
            }
        }
        assert_eq!(after, before, "{name}");
    }
}

#[test]
fn streamed_and_whole_say_the_same() {
    for name in ["text", "tools", "search"] {
        let streamed = whole(&frames(name));
        let body = streamed.to_string();
        assert_eq!(whole(&frames_of_whole(body.as_bytes())), streamed, "{name}");
        let meaning = |events: Vec<Event>| -> Vec<Event> {
            events.into_iter().filter(|event| !matches!(event, Event::Delta { .. } | Event::Usage(_))).collect()
        };
        assert_eq!(
            meaning(decode_whole(body.as_bytes()).expect("an answer")),
            meaning(events(&frames(name))),
            "{name}"
        );
    }
}

#[test]
fn an_error_in_a_stream_goes_on_as_it_came() {
    let frames = frames("cut");
    let last = frames.last().expect("an error");
    let mut again = Vec::new();
    SseDecoder::new(1 << 20).push(&error_frames(&last.data), &mut again).expect("small");
    assert_eq!(again.as_slice(), std::slice::from_ref(last));
}

/// Whatever stands in a frame: nothing panics, and what is told of it can be written.
#[test]
fn frames_with_bytes_of_any_kind_harm_nobody() {
    let seed = fastrand::u64(..);
    let mut rng = fastrand::Rng::with_seed(seed);
    let all: Vec<SseFrame> = STREAMS.iter().flat_map(|(name, _)| frames(name)).collect();
    let pieces = ["null", "{}", "[]", "-1", "1e9", "\"x\"", "\"index\":9", "true", "{\"type\":7}", "\u{0}"];
    for round in 0..400 {
        let (mut reader, mut decoder, mut assembler) =
            (FrameReader::default(), Decoder::default(), Assembler::default());
        let mut encoder = Encoder::new(ReplyContext::default());
        let mut out = Vec::new();
        for _ in 0..30 {
            let mut frame = all[rng.usize(0..all.len())].clone();
            let mut bytes = frame.data.to_vec();
            for _ in 0..rng.usize(0..3) {
                let from = rng.usize(0..=bytes.len());
                let to = rng.usize(from..=bytes.len().min(from + 12));
                bytes.splice(from..to, pieces[rng.usize(0..pieces.len())].bytes());
            }
            frame.data = bytes.into();
            let mut events = Vec::new();
            let _ = (reader.read(&frame), decoder.push(&frame, &mut events));
            assembler.push(&frame);
            for event in &events {
                encoder.push(event, &mut out);
            }
            let _ = (decode_whole(&frame.data), error_frames(&frame.data), frames_of_whole(&frame.data));
        }
        encoder.end(&mut out);
        let _ = assembler.finish();
        let mut strict = FrameReader::default();
        for frame in &out {
            strict.read(frame).unwrap_or_else(|error| panic!("{error}: seed {seed}, round {round}"));
        }
    }
}

#[test]
fn an_agents_request_comes_back_but_for_what_is_documented() {
    let (conversation, losses) = read(REQUEST.as_bytes()).expect("a request");
    assert_eq!(losses, []);
    let written = write_request(&conversation, &TARGET).expect("sayable");
    let losses: Vec<_> = written.losses.iter().map(ToString::to_string).collect();
    assert_eq!(
        losses,
        ["changed messages[2]: a system turn in the middle became user text", "dropped context_management",]
    );
    let mut sent: Value = serde_json::from_str(REQUEST).expect("JSON");
    let written: Value = serde_json::from_slice(&written.body).expect("JSON");
    // The middle turn joins the user's, and `display` is what the model does by itself.
    let middle = sent["messages"].as_array_mut().expect("turns").remove(1);
    let first = json!([sent["messages"][0]["content"][0], {"type": "text", "text": middle["content"]}]);
    sent["messages"][0]["content"] = first;
    sent["messages"][2]["content"][1]["is_error"] = json!(true);
    sent["thinking"] = json!({"type": "adaptive"});
    sent.as_object_mut().expect("an object").shift_remove("context_management");
    assert_eq!(written, sent);
}

#[test]
fn bodies_with_values_of_any_kind_harm_nobody() {
    let seed = fastrand::u64(..);
    let mut rng = fastrand::Rng::with_seed(seed);
    let values = ["null", "{}", "[]", "-1", "1e400", "\"x\"", "true", "[[\"a\"]]", "{\"type\":\"text\"}", "\"\""];
    // Where a value begins: behind each colon, and at each object in a list.
    let places: Vec<usize> = REQUEST.match_indices(": ").map(|(at, _)| at + 2).collect();
    let mut good = 0;
    for round in 0..3_000 {
        let mut body = REQUEST.to_owned();
        for _ in 0..rng.usize(1..3) {
            let at = places[rng.usize(0..places.len())];
            let Some(rest) = body.get(at..) else { continue };
            let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
            if !matches!(stream.next(), Some(Ok(_))) {
                continue;
            }
            let end = at + stream.byte_offset();
            body.replace_range(at..end, values[rng.usize(0..values.len())]);
        }
        let Some((conversation, _)) = read(body.as_bytes()) else { continue };
        if let Ok(written) = write_request(&conversation, &TARGET) {
            good += 1;
            let again = read(&written.body);
            assert!(again.is_some(), "seed {seed}, round {round}: {body}");
        }
    }
    assert!(good > 100, "only {good} bodies were requests");
}
