//! Streams and whole answers as events.

use super::super::frame::tests::frames;
use super::*;
use bytes::Bytes;

const STREAMS: [&str; 3] = [
    include_str!("../../../../tests/wire/responses/reasoning_text_calls.sse"),
    include_str!("../../../../tests/wire/responses/hosted_custom_refusal.sse"),
    include_str!("../../../../tests/wire/responses/open_model.sse"),
];

fn decode(frames: &[SseFrame]) -> Vec<Event> {
    let mut decoder = Decoder::default();
    let mut out = Vec::new();
    for frame in frames {
        decoder.push(frame, &mut out).expect("of this dialect");
    }
    out
}

fn event(data: &str) -> SseFrame {
    SseFrame { event: None, data: Bytes::from(data.to_owned()) }
}

/// The events in few words: deltas of one block joined.
pub(in super::super) fn told(events: &[Event]) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut open = BTreeMap::new();
    for event in events {
        match event {
            Event::Start { id, model } => out.push(format!("start {id} {model}")),
            Event::Open { block, kind } => {
                let kind = match kind {
                    Block::Text => "text".to_owned(),
                    Block::Refusal => "refusal".to_owned(),
                    Block::Reasoning => "reasoning".to_owned(),
                    Block::Sealed => "sealed".to_owned(),
                    Block::Call { id, name, custom } => format!("call {id} {name} {custom}"),
                    Block::Search { query, hits, .. } => format!("search {query:?} {hits:?}"),
                    Block::Native { kind, .. } => format!("native {kind}"),
                };
                assert!(open.insert(*block, out.len()).is_none(), "block {block} opens once");
                out.push(format!("{block} {kind}:"));
            }
            Event::Delta { block, delta } => {
                let line = &mut out[open[block]];
                match delta {
                    Delta::Text(text) | Delta::Arguments(text) => line.push_str(text),
                    Delta::Citation(citation) => line.push_str(&format!(" <{:?}>", citation.url)),
                    Delta::Seal(seal) => line.push_str(&format!(" [{}]", seal.text())),
                }
            }
            Event::Close { block } => {
                assert!(open.remove(block).is_some(), "block {block} closes once");
            }
            Event::Usage(usage) => out.push(format!("usage {} {}", usage.input, usage.output)),
            Event::Finish { finish, .. } => {
                assert!(open.is_empty(), "closed before the finish: {open:?}");
                out.push(format!("{finish:?}"));
            }
        }
    }
    out
}

#[test]
fn streams_become_events() {
    assert_eq!(
        told(&decode(&frames(STREAMS[0]))),
        [
            "start resp_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3795b gpt-5.1-2025-11-13",
            "0 reasoning:**Looking up** the weather.\n\nTwo calls. [gAAAAABoXYZ]",
            "1 text:Héllo \"you\"\n <Some(\"https://example.com/a\")>",
            "2 call call_b1 get_weather false:{\"city\":\"Paris\"}",
            "3 call call_b2 get_time false:{}",
            "usage 328 52",
            "ToolCalls",
        ]
    );
    assert_eq!(
        told(&decode(&frames(STREAMS[1]))),
        [
            "start resp_2 gpt-5.1-2025-11-13",
            "0 search Some(\"rust 1.95\") [(\"\", \"https://blog.rust-lang.org\")]:",
            "1 call call_p apply_patch true:*** Begin Patch\n",
            "2 native image_generation_call:",
            "3 refusal:I cannot",
            "usage 328 52",
            "Length",
        ]
    );
    assert_eq!(
        told(&decode(&frames(STREAMS[2]))),
        ["start resp_3 gpt-oss-120b", "0 reasoning:2+2=4", "1 text:4", "usage 328 52", "Stop"]
    );
}

#[test]
fn the_whole_answer_says_what_its_stream_said() {
    for stream in &STREAMS[..2] {
        let all = frames(stream);
        let end: Value = serde_json::from_slice(&all.last().expect("an end").data).expect("JSON");
        let whole = decode_whole(end["response"].to_string().as_bytes()).expect("an answer");
        assert_eq!(told(&whole), told(&decode(&all)));
        // A stream of which only the end came.
        assert_eq!(told(&decode(&all[all.len() - 1..])), told(&whole));
    }
}

#[test]
fn any_loss_of_deltas_is_made_good_by_the_ends() {
    for stream in &STREAMS[..2] {
        let all = frames(stream);
        let whole = told(&decode(&all));
        for kind in [".delta", ".added", "annotation", "output_item.done", "created"] {
            let kept: Vec<SseFrame> = all
                .iter()
                .filter(|frame| {
                    !frame.event.as_ref().is_some_and(|event| String::from_utf8_lossy(event).contains(kind))
                })
                .cloned()
                .collect();
            let mut sorted = told(&decode(&kept));
            let mut wanted = whole.clone();
            // Without their beginnings blocks are numbered as they end.
            for list in [&mut sorted, &mut wanted] {
                for line in list.iter_mut() {
                    *line = line.trim_start_matches(|c: char| c.is_ascii_digit()).to_owned();
                }
                list.sort();
            }
            if kind == "created" {
                wanted.retain(|line| !line.starts_with("start"));
                sorted.retain(|line| !line.starts_with("start"));
            }
            assert_eq!(sorted, wanted, "without {kind}");
        }
    }
}

#[test]
fn a_stream_may_be_cut_between_any_frames() {
    for stream in STREAMS {
        let all = frames(stream);
        for cut in 0..all.len() {
            decode(&all[..cut]);
        }
    }
}

#[test]
fn failures_and_other_dialects_are_errors_and_the_unknown_is_none() {
    for data in [r#"{"type":"response.failed","response":{}}"#, r#"{"type":"error","message":"secret"}"#, "secret"] {
        let error = Decoder::default().push(&event(data), &mut Vec::new()).expect_err(data);
        assert!(!error.contains("secret"));
    }
    for data in ["{}", "[]", "7", r#"{"type":"x"}"#, r#"{"type":"response.output_item.done","item":7}"#] {
        Decoder::default().push(&event(data), &mut Vec::new()).expect(data);
    }
    for body in ["{}", "x", r#"{"error":{"message":"secret"}}"#, r#"{"status":"failed","output":[]}"#] {
        assert!(!decode_whole(body.as_bytes()).expect_err(body).contains("secret"));
    }
}

#[test]
fn a_target_that_opens_items_without_end_is_stopped() {
    let mut decoder = Decoder::default();
    let mut out = Vec::new();
    let stopped = (0..=ITEMS_MAX).any(|index| {
        let data = format!(
            r#"{{"type":"response.output_item.added","output_index":{index},"item":{{"type":"function_call","call_id":"c","name":"f"}}}}"#
        );
        decoder.push(&event(&data), &mut out).is_err()
    });
    assert!(stopped);
    let stopped = (0..=PARTS_MAX).any(|index| {
        let data =
            format!(r#"{{"type":"response.output_text.delta","output_index":0,"content_index":{index},"delta":"x"}}"#);
        decoder.push(&event(&data), &mut out).is_err()
    });
    assert!(stopped);
}

#[test]
fn a_server_that_numbers_every_item_alike_loses_none() {
    let all = [
        r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"message","id":"a"}}"#,
        r#"{"type":"response.output_text.delta","output_index":0,"delta":"x"}"#,
        r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"message","id":"a","content":[{"type":"output_text","text":"x"}]}}"#,
        r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"function_call","id":"b","call_id":"c","name":"f"}}"#,
        r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"function_call","id":"b","call_id":"c","name":"f","arguments":"{}"}}"#,
        r#"{"type":"response.completed","response":{"id":"r","model":"m","output":[{"type":"message","id":"a","content":[{"type":"output_text","text":"x"}]},{"type":"function_call","id":"b","call_id":"c","name":"f","arguments":"{}"}]}}"#,
    ]
    .map(event);
    assert_eq!(told(&decode(&all)), ["0 text:x", "1 call c f false:{}", "ToolCalls"]);
}

/// Frames that a target may send by mistake or on purpose: no reader may fall
/// over them, and what the decoder says stays in order.
#[test]
fn frames_in_any_disorder_do_no_harm() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let all: Vec<SseFrame> = STREAMS.iter().flat_map(|stream| frames(stream)).collect();
    for _ in 0..300 {
        let mut decoder = Decoder::default();
        let mut reader = super::super::FrameReader::default();
        let mut assembler = super::super::Assembler::default();
        let mut tail = super::super::Tail::default();
        let mut out = Vec::new();
        for _ in 0..rng.usize(1..60) {
            let mut frame = all[rng.usize(0..all.len())].clone();
            if rng.u8(0..3) == 0 {
                let mut bytes = frame.data.to_vec();
                for _ in 0..rng.usize(1..4) {
                    let at = rng.usize(0..bytes.len());
                    match rng.u8(0..3) {
                        0 => bytes[at] = rng.u8(..),
                        1 => bytes.truncate(at + 1),
                        // A type or an index in place of another.
                        _ => bytes[at] = b"0123456789abcdef\"{}[],:"[rng.usize(0..23)],
                    }
                }
                frame.data = Bytes::from(bytes);
            }
            let _ = reader.read(&frame);
            assembler.push(&frame);
            tail.follow(&frame);
            let _ = decoder.push(&frame, &mut out);
        }
        let _ = assembler.finish();
        told(&out);
    }
}

#[test]
fn any_cut_of_the_bytes_is_read_up_to_the_cut() {
    let stream = STREAMS[1].as_bytes();
    let whole = decode(&frames(STREAMS[1]));
    for cut in 0..stream.len() {
        let mut sse = crate::wire::sse::SseDecoder::new(1 << 20);
        let (mut all, mut out) = (Vec::new(), Vec::new());
        sse.push(&stream[..cut], &mut all).expect("frames");
        let mut decoder = Decoder::default();
        for frame in &all {
            decoder.push(frame, &mut out).expect("of this dialect");
        }
        assert_eq!(out[..], whole[..out.len()]);
        // What the end of the connection left over may be half a frame.
        if let Some(rest) = sse.finish() {
            let _ = decoder.push(&rest, &mut out);
            let _ = super::super::FrameReader::default().read(&rest);
        }
    }
}
