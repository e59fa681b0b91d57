//! Streams made of events: their order, what they accumulate to, and that they
//! mean afterwards what was told.

use super::*;
use crate::wire::canon::Json;
use crate::wire::messages::{Assembler, Decoder, FrameReader};
use std::collections::BTreeMap;

fn context() -> ReplyContext {
    ReplyContext { id: "01J".into(), model: "alias".into(), ..ReplyContext::default() }
}

fn encode(events: &[Event]) -> (Vec<SseFrame>, Vec<String>) {
    let mut encoder = Encoder::new(context());
    let mut out = Vec::new();
    for event in events {
        encoder.push(event, &mut out);
    }
    encoder.end(&mut out);
    let losses = encoder.losses().iter().map(ToString::to_string).collect();
    check(&out);
    (out, losses)
}

/// What every stream must keep, whatever made it.
fn check(frames: &[SseFrame]) {
    let mut reader = FrameReader::default();
    let (mut open, mut next, mut done) = (None, 0, false);
    for (place, frame) in frames.iter().enumerate() {
        let value: Value = serde_json::from_slice(&frame.data).expect("JSON");
        let name = value["type"].as_str().expect("a type");
        assert_eq!(frame.event.as_deref(), Some(name.as_bytes()));
        assert!(!done, "something follows message_stop");
        assert_eq!(place == 0, name == "message_start");
        match name {
            "content_block_start" => {
                assert_eq!((open, value["index"].as_u64()), (None, Some(next)));
                (open, next) = (Some(next), next + 1);
            }
            "content_block_delta" => assert_eq!(value["index"].as_u64(), open),
            "content_block_stop" => {
                assert_eq!(value["index"].as_u64(), open);
                open = None;
            }
            "message_delta" => assert_eq!(open, None),
            "message_start" => {}
            "message_stop" => done = true,
            other => panic!("{other}"),
        }
        reader.read(frame).expect("a frame");
    }
    assert!(done, "no end");
}

fn whole(events: &[Event]) -> Value {
    let mut assembler = Assembler::default();
    for frame in encode(events).0 {
        assembler.push(&frame);
    }
    serde_json::from_str(&assembler.finish()).expect("JSON")
}

fn open(block: u32, kind: Block) -> Event {
    Event::Open { block, kind }
}

fn call(block: u32, id: &str, custom: bool) -> Event {
    open(block, Block::Call { id: id.into(), name: "f".into(), custom })
}

fn said(block: u32, text: &str) -> Event {
    Event::Delta { block, delta: Delta::Text(text.into()) }
}

fn arguments(block: u32, text: &str) -> Event {
    Event::Delta { block, delta: Delta::Arguments(text.into()) }
}

fn close(block: u32) -> Event {
    Event::Close { block }
}

fn finish(finish: Finish) -> Event {
    Event::Finish { finish, stop_sequence: None }
}

#[test]
fn a_plain_answer_has_the_vendors_frames_in_the_vendors_order() {
    let (frames, losses) = encode(&[
        Event::Start { id: "chatcmpl-1".into(), model: "gpt".into() },
        open(0, Block::Text),
        said(0, "Hi \"you\""),
        said(0, ""),
        close(0),
        finish(Finish::Stop),
        Event::Usage(Usage { input: 10, output: 3, cached_input: 4, reasoning: 1, ..Usage::default() }),
    ]);
    let lines: Vec<_> = frames.iter().map(|frame| std::str::from_utf8(&frame.data).expect("text")).collect();
    assert_eq!(
        lines,
        [
            r#"{"type":"message_start","message":{"id":"msg_01J","type":"message","role":"assistant","model":"alias","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":0,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":0}}}"#,
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi \"you\""}}"#,
            r#"{"type":"content_block_stop","index":0}"#,
            r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"input_tokens":6,"cache_creation_input_tokens":0,"cache_read_input_tokens":4,"output_tokens":3,"output_tokens_details":{"thinking_tokens":1}}}"#,
            r#"{"type":"message_stop"}"#,
        ]
    );
    assert!(losses.is_empty());
}

#[test]
fn calls_that_come_in_turns_are_written_one_after_the_other() {
    let message = whole(&[
        open(0, Block::Text),
        said(0, "look"),
        call(1, "call:1", false),
        call(2, "b", false),
        arguments(1, "{\"a\":"),
        arguments(2, "{\"b\""),
        said(0, " again"),
        arguments(2, ":2}"),
        arguments(1, "\"}\"}"),
        call(3, "", false),
        close(1),
        close(2),
        finish(Finish::Stop),
    ]);
    assert_eq!(
        message["content"],
        json!([
            {"type": "text", "text": "look"},
            {"type": "tool_use", "id": "tl64_Y2FsbDox", "name": "f", "input": {"a": "}"}},
            {"type": "tool_use", "id": "b", "name": "f", "input": {"b": 2}},
            {"type": "text", "text": " again"},
            {"type": "tool_use", "id": "toolu_01J_4", "name": "f", "input": {}},
        ])
    );
    assert_eq!(message["stop_reason"], "tool_use");
}

#[test]
fn a_call_whose_arguments_are_whole_gives_way_before_it_is_closed() {
    let mut encoder = Encoder::new(context());
    let mut out = Vec::new();
    for event in [call(0, "a", false), arguments(0, "{}"), call(1, "b", false)] {
        encoder.push(&event, &mut out);
    }
    let last: Value = serde_json::from_slice(&out.last().expect("frames").data).expect("JSON");
    assert_eq!(last["content_block"]["id"], "b");
    // White space after the end of its arguments says nothing any more.
    encoder.push(&arguments(0, "\n"), &mut out);
    encoder.end(&mut out);
    check(&out);
    assert!(encoder.losses().is_empty());
}

#[test]
fn seals_of_others_and_custom_calls_travel_and_come_back() {
    let events = [
        open(0, Block::Reasoning),
        said(0, "hm"),
        Event::Delta { block: 0, delta: Delta::Seal(Seal::Encrypted("gAAA".into())) },
        close(0),
        open(1, Block::Sealed),
        Event::Delta { block: 1, delta: Delta::Seal(Seal::Encrypted("gBBB".into())) },
        close(1),
        call(2, "c", true),
        arguments(2, "a \"b\"\n"),
        arguments(2, "{"),
        close(2),
        finish(Finish::ToolCalls),
    ];
    let message = whole(&events);
    assert_eq!(
        message["content"],
        json!([
            {"type": "thinking", "thinking": "hm", "signature": "tl-sealed:gAAA"},
            {"type": "redacted_thinking", "data": "tl-sealed:gBBB"},
            {"type": "tool_use", "id": "c", "name": "f", "input": {"input": "a \"b\"\n{"}},
        ])
    );
}

#[test]
fn searches_and_citations_have_the_vendors_form() {
    let citation = |url: Option<&str>, native| Citation {
        url: url.map(str::to_owned),
        title: Some("T".into()),
        quote: Some("q".into()),
        span: None,
        native,
    };
    let cite = |citation| Event::Delta { block: 1, delta: Delta::Citation(citation) };
    let native = Json::parse(r#"{"type":"page_location"}"#.into()).map(|json| (Dialect::Messages, json));
    let events = [
        open(0, Block::Search { id: "ws_1".into(), query: Some("rust".into()), hits: vec![("T".into(), "u".into())] }),
        close(0),
        open(1, Block::Text),
        said(1, "x"),
        cite(citation(Some("https://a"), None)),
        cite(citation(None, native)),
        cite(citation(None, None)),
        open(2, Block::Native { kind: "code_interpreter_call".into(), json: Json::parse("{}".into()).expect("JSON") }),
        close(2),
        Event::Usage(Usage::default()),
        Event::Finish { finish: Finish::Stop, stop_sequence: Some("END".into()) },
    ];
    let (_, losses) = encode(&events);
    assert_eq!(losses, ["dropped citations", "dropped code_interpreter_call"]);
    let message = whole(&events);
    assert_eq!(
        message["content"],
        json!([
            {"type": "server_tool_use", "id": "srvtoolu_01J_0", "name": "web_search", "input": {"query": "rust"}},
            {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_01J_0", "content": [
                {"type": "web_search_result", "title": "T", "url": "u", "encrypted_content": "", "page_age": null}]},
            {"type": "text", "text": "x", "citations": [
                {"type": "web_search_result_location", "url": "https://a", "title": "T", "cited_text": "q", "encrypted_index": ""},
                {"type": "page_location"}]},
        ])
    );
    assert_eq!((&message["stop_reason"], &message["stop_sequence"]), (&json!("stop_sequence"), &json!("END")));
    assert_eq!(message["usage"]["server_tool_use"]["web_search_requests"], 1);
}

#[test]
fn nothing_at_all_is_an_empty_message_and_empty_blocks_leave_no_trace() {
    for events in [
        vec![],
        vec![open(0, Block::Text), close(0), open(1, Block::Reasoning), open(2, Block::Sealed), said(9, "lost")],
    ] {
        let message = whole(&events);
        assert_eq!((&message["content"], &message["stop_reason"]), (&json!([]), &json!("end_turn")));
        assert_eq!(message["id"], "msg_01J");
    }
}

#[test]
fn what_waits_is_bounded() {
    let mut encoder = Encoder::new(context());
    let mut out = Vec::new();
    encoder.push(&call(0, "a", false), &mut out);
    encoder.push(&arguments(0, "{"), &mut out);
    for block in 1..10_000 {
        encoder.push(&call(block, "x", false), &mut out);
        encoder.push(&arguments(block, "{"), &mut out);
        assert!(encoder.waiting.len() <= HELD_BLOCKS_MAX + 1);
    }
    encoder.end(&mut out);
    assert!(encoder.failure().is_some(), "a call whose input is cut would be run");
    assert!(!out.iter().any(|frame| frame.event.as_deref() == Some(b"message_stop")));
    let mut encoder = Encoder::new(context());
    for event in [call(0, "a", false), arguments(0, "{"), call(1, "b", false)] {
        encoder.push(&event, &mut Vec::new());
    }
    let big = arguments(1, &"x".repeat(1 << 20));
    for _ in 0..8 {
        encoder.push(&big, &mut Vec::new());
        assert!(encoder.held_bytes <= HELD_BYTES_MAX + (1 << 20));
    }
}

/// What an answer means: its blocks in their order, each with its words.
#[derive(Debug, PartialEq, Default)]
struct Meaning {
    /// What each block said, by the number that stands in its words: blocks that
    /// came in turns are told one after the other.
    text: BTreeMap<String, Vec<String>>,
    reasoning: BTreeMap<String, Vec<String>>,
    seals: Vec<Seal>,
    /// `(id, name, input)`.
    calls: Vec<(String, String, Value)>,
    finish: Option<Finish>,
    usage: Option<Usage>,
}

fn note(said: &mut BTreeMap<String, Vec<String>>, text: &str) {
    let block = text.split(':').next().unwrap_or_default().to_owned();
    said.entry(block).or_default().push(text.to_owned());
}

fn meaning(events: &[Event]) -> Meaning {
    let mut meaning = Meaning::default();
    let mut kinds = BTreeMap::new();
    let mut inputs: BTreeMap<u32, (String, String, bool, String)> = BTreeMap::new();
    for event in events {
        match event {
            Event::Open { block, kind } => {
                kinds.insert(*block, kind.clone());
                if let Block::Call { id, name, custom } = kind {
                    inputs.insert(*block, (id.clone(), name.clone(), *custom, String::new()));
                }
            }
            Event::Delta { block, delta } => match (&kinds[block], delta) {
                (Block::Text | Block::Refusal, Delta::Text(text)) => note(&mut meaning.text, text),
                (Block::Reasoning, Delta::Text(text)) => note(&mut meaning.reasoning, text),
                (Block::Reasoning | Block::Sealed, Delta::Seal(seal)) => meaning.seals.push(seal.clone()),
                (Block::Call { .. }, Delta::Arguments(text)) => {
                    inputs.get_mut(block).expect("opened").3.push_str(text);
                }
                _ => {}
            },
            Event::Finish { finish, .. } => meaning.finish = Some(*finish),
            Event::Usage(usage) => meaning.usage = Some(*usage),
            Event::Start { .. } | Event::Close { .. } => {}
        }
    }
    for (_, (id, name, custom, input)) in inputs {
        let input = match custom {
            true => json!({"input": input}),
            false if input.is_empty() => json!({}),
            false => serde_json::from_str(&input).expect("whole arguments"),
        };
        meaning.calls.push((ids::original(&id).into_owned(), name, input));
    }
    meaning.calls.sort_by(|a, b| a.0.cmp(&b.0));
    meaning
}

/// An answer as any dialect may tell it: pieces of its blocks in any order.
fn random_answer(rng: &mut fastrand::Rng) -> Vec<Event> {
    let mut pieces: Vec<std::collections::VecDeque<Event>> = Vec::new();
    for block in 0..rng.u32(0..6) {
        let mut list = std::collections::VecDeque::new();
        let word =
            |rng: &mut fastrand::Rng| ["a", "\"", "ü🦀", " \n", "\\", "{}"][rng.usize(0..6)].repeat(rng.usize(1..4));
        match rng.u8(0..5) {
            0 => {
                list.push_back(open(block, if rng.bool() { Block::Text } else { Block::Refusal }));
                list.extend((0..rng.usize(0..4)).map(|_| said(block, &format!("{block}:{}", word(rng)))));
            }
            1 => {
                list.push_back(open(block, Block::Reasoning));
                list.extend((0..rng.usize(0..3)).map(|_| said(block, &format!("{block}:{}", word(rng)))));
                if rng.bool() {
                    list.push_back(Event::Delta { block, delta: Delta::Seal(Seal::Signature(format!("seal{block}"))) });
                }
            }
            2 => {
                list.push_back(open(block, Block::Sealed));
                list.push_back(Event::Delta { block, delta: Delta::Seal(Seal::Redacted(format!("sealed{block}"))) });
            }
            kind => {
                let custom = kind == 3;
                list.push_back(call(block, &format!("call:{block}"), custom));
                let text = json!({"n": word(rng), "list": [1, {"x": null}]}).to_string();
                let chars: Vec<char> = text.chars().collect();
                let mut rest = chars.as_slice();
                while !rest.is_empty() {
                    let (now, later) = rest.split_at(rng.usize(1..=rest.len()));
                    list.push_back(arguments(block, &now.iter().collect::<String>()));
                    rest = later;
                }
            }
        }
        if rng.u8(0..4) > 0 {
            list.push_back(close(block));
        }
        pieces.push(list);
    }
    let interleaved = rng.bool();
    let mut events = Vec::new();
    while let Some(place) = pieces.iter().position(|list| !list.is_empty()) {
        let place = if interleaved { rng.usize(place..pieces.len()) } else { place };
        events.extend(pieces[place].pop_front());
    }
    events
}

#[test]
fn whatever_order_an_answer_comes_in_it_means_the_same_afterwards() {
    let seed = fastrand::u64(..);
    let mut rng = fastrand::Rng::with_seed(seed);
    for round in 0..2_000 {
        let mut events = random_answer(&mut rng);
        let usage = Event::Usage(Usage {
            input: 9,
            output: 5,
            cached_input: 2,
            cache_write: 3,
            reasoning: 1,
            ..Usage::default()
        });
        let place = rng.usize(0..=events.len());
        if rng.bool() {
            events.insert(place, usage);
        }
        if rng.bool() {
            events.insert(0, Event::Start { id: "resp_1".into(), model: "m".into() });
        }
        let called = events.iter().any(|event| matches!(event, Event::Open { kind: Block::Call { .. }, .. }));
        let ending = [Finish::Stop, Finish::Length, Finish::ContentFilter, Finish::ToolCalls][rng.usize(0..4)];
        events.push(finish(ending));
        let (frames, _) = encode(&events);
        let mut decoder = Decoder::default();
        let mut back = Vec::new();
        for frame in &frames {
            decoder.push(frame, &mut back).expect("a frame");
        }
        let mut told = meaning(&events);
        told.finish = match ending {
            Finish::Stop | Finish::ToolCalls if called => Some(Finish::ToolCalls),
            Finish::ToolCalls => Some(Finish::Stop),
            other => Some(other),
        };
        told.usage = Some(told.usage.unwrap_or_default());
        let mut got = meaning(&back);
        told.seals.sort_by(|a, b| a.text().cmp(b.text()));
        got.seals.sort_by(|a, b| a.text().cmp(b.text()));
        assert_eq!(got, told, "seed {seed}, round {round}: {events:#?}");
    }
}
