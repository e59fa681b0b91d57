//! Events of any dialect as streams of this one.

use super::super::decode::Decoder;
use super::super::decode::tests::told;
use super::super::{Assembler, FrameReader};
use super::*;
use crate::wire::canon::{Json, Seal};
use serde_json::{Value, json};

fn json_of(text: &str) -> Json {
    Json::parse(text.to_owned()).expect("JSON")
}

fn context(fields: &[(&str, &str)]) -> ReplyContext {
    ReplyContext {
        id: "01J".into(),
        created: 1_741_476_777,
        model: "auto".into(),
        fields: fields.iter().map(|(key, text)| ((*key).to_owned(), json_of(text))).collect(),
        ..ReplyContext::default()
    }
}

fn encode(context: ReplyContext, events: &[Event]) -> Vec<SseFrame> {
    let mut encoder = Encoder::new(context);
    let mut out = Vec::new();
    for event in events {
        encoder.push(event, &mut out);
    }
    encoder.end(&mut out);
    encoder.end(&mut out);
    out
}

fn payloads(frames: &[SseFrame]) -> Vec<Value> {
    frames.iter().map(|frame| serde_json::from_slice(&frame.data).expect("JSON")).collect()
}

fn kinds(frames: &[SseFrame]) -> Vec<String> {
    payloads(frames).iter().map(|event| event["type"].as_str().expect("a type").to_owned()).collect()
}

fn open(block: u32, kind: Block) -> Event {
    Event::Open { block, kind }
}

fn text(block: u32, text: &str) -> Event {
    Event::Delta { block, delta: Delta::Text(text.into()) }
}

fn arguments(block: u32, text: &str) -> Event {
    Event::Delta { block, delta: Delta::Arguments(text.into()) }
}

fn call(block: u32, id: &str, name: &str, custom: bool) -> Event {
    open(block, Block::Call { id: id.into(), name: name.into(), custom })
}

fn finish(finish: Finish) -> Event {
    Event::Finish { finish, stop_sequence: None }
}

/// The terminal event's response object.
fn answer(frames: &[SseFrame]) -> Value {
    payloads(frames).last().expect("an end")["response"].clone()
}

/// What every stream has to hold whatever it says.
fn check(frames: &[SseFrame]) {
    let events = payloads(frames);
    assert_eq!(events[0]["type"], "response.created");
    assert_eq!(events[1]["type"], "response.in_progress");
    let mut reader = FrameReader::default();
    let mut growing = Assembler::default();
    let mut whole = Assembler::default();
    let mut ends = 0;
    for (place, (frame, event)) in frames.iter().zip(&events).enumerate() {
        assert_eq!(frame.event.as_deref(), event["type"].as_str().map(str::as_bytes));
        assert_eq!(event["sequence_number"], place);
        let facts = reader.read(frame).expect("of this dialect");
        ends += usize::from(facts.done);
        assert!(!facts.done || place + 1 == frames.len());
        whole.push(frame);
        let kind = event["type"].as_str().expect("a type");
        if kind == "response.output_item.added" {
            let added = events[..place].iter().filter(|event| event["type"] == kind).count();
            assert_eq!(event["output_index"], added, "items are added in the order of their indexes");
        }
        if kind.strip_suffix(".done").is_none() && !facts.done {
            growing.push(frame);
        }
    }
    assert_eq!(ends, 1);
    // Deltas alone make what the end repeats.
    let (mut grown, mut end) = (growing.finish()["output"].take(), answer(frames)["output"].take());
    if grown.is_null() {
        grown = json!([]);
    }
    for output in [&mut grown, &mut end] {
        for item in output.as_array_mut().expect("a list") {
            let item = item.as_object_mut().expect("an item");
            item.shift_remove("status");
            item.shift_remove("encrypted_content");
        }
    }
    assert_eq!(grown, end);
    assert_eq!(whole.finish(), answer(frames));
}

#[test]
fn a_text_is_written_event_by_event_as_the_vendor_does() {
    let events = [
        Event::Start { id: "chatcmpl-1".into(), model: "m-1".into() },
        open(0, Block::Text),
        text(0, "Hi"),
        text(0, ""),
        text(0, " \"you\""),
        Event::Close { block: 0 },
        finish(Finish::Stop),
        Event::Usage(Usage { input: 9, output: 3, cached_input: 4, reasoning: 1, ..Usage::default() }),
    ];
    let frames = encode(context(&[("instructions", "\"be brief\""), ("text", r#"{"verbosity":"low"}"#)]), &events);
    check(&frames);
    assert_eq!(
        kinds(&frames),
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    let delta = br#"{"type":"response.output_text.delta","sequence_number":5,"item_id":"msg_01J0000","output_index":0,"content_index":0,"delta":" \"you\"","logprobs":[]}"#;
    assert_eq!(&frames[5].data[..], delta);
    let message = json!({
        "id": "msg_01J0000", "type": "message", "status": "completed", "role": "assistant",
        "content": [{"type": "output_text", "annotations": [], "logprobs": [], "text": "Hi \"you\""}],
    });
    assert_eq!(
        answer(&frames),
        json!({
            "id": "resp_01J", "object": "response", "created_at": 1_741_476_777, "status": "completed",
            "error": null, "incomplete_details": null, "model": "m-1", "output": [message], "background": false,
            "instructions": "be brief", "max_output_tokens": null, "max_tool_calls": null,
            "parallel_tool_calls": true, "previous_response_id": null, "prompt_cache_key": null,
            "prompt_cache_retention": null, "reasoning": {"effort": null, "summary": null},
            "safety_identifier": null, "service_tier": "default", "store": true, "temperature": 1.0,
            "text": {"verbosity": "low", "format": {"type": "text"}}, "tool_choice": "auto", "tools": [],
            "top_logprobs": 0, "top_p": 1.0, "truncation": "disabled", "user": null, "metadata": {},
            "usage": {"input_tokens": 9, "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
                "output_tokens": 3, "output_tokens_details": {"reasoning_tokens": 1}, "total_tokens": 12},
        })
    );
}

#[test]
fn an_answer_without_a_start_or_a_word_is_still_whole() {
    let frames = encode(context(&[]), &[open(0, Block::Text), finish(Finish::Stop)]);
    check(&frames);
    let answer = answer(&frames);
    assert_eq!((&answer["model"], &answer["output"], &answer["usage"]), (&json!("auto"), &json!([]), &Value::Null));
}

#[test]
fn blocks_that_open_twice_or_grow_by_what_they_cannot_hold_make_no_broken_answer() {
    let seal = |block| Event::Delta { block, delta: Delta::Seal(Seal::Signature("x".into())) };
    let events = [
        call(0, "c", "f", false),
        open(0, Block::Text),
        seal(0),
        arguments(0, "x"),
        text(0, "a"),
        open(0, Block::Reasoning),
        arguments(0, "x"),
        text(7, "nowhere"),
        Event::Close { block: 7 },
        finish(Finish::Stop),
    ];
    let frames = encode(context(&[]), &events);
    check(&frames);
    let output = answer(&frames)["output"].take();
    let kinds: Vec<&str> = output.as_array().expect("a list").iter().filter_map(|item| item["type"].as_str()).collect();
    assert_eq!(kinds, ["function_call", "message"]);
}

#[test]
fn every_finish_has_its_status_and_a_cut_answer_is_not_complete() {
    for (given, status, reason) in [
        (Some(Finish::Stop), "completed", None),
        (Some(Finish::ToolCalls), "completed", None),
        (Some(Finish::Other), "completed", None),
        (Some(Finish::Length), "incomplete", Some("max_output_tokens")),
        (Some(Finish::ContentFilter), "incomplete", Some("content_filter")),
        (None, "incomplete", None),
    ] {
        let events: Vec<Event> = given.map(finish).into_iter().collect();
        let frames = encode(context(&[]), &events);
        check(&frames);
        assert_eq!(kinds(&frames).last().map(String::as_str), Some(&*format!("response.{status}")));
        assert_eq!(answer(&frames)["status"], status);
        assert_eq!(answer(&frames)["incomplete_details"]["reason"].as_str(), reason);
    }
}

#[test]
fn what_a_limit_cut_ends_incomplete_and_what_came_before_it_complete() {
    let states = |events: &[Event]| {
        let frames = encode(context(&[]), events);
        check(&frames);
        let output = answer(&frames)["output"].take();
        let done: Vec<Value> = frames
            .iter()
            .map(|frame| serde_json::from_slice::<Value>(&frame.data).expect("JSON"))
            .filter(|event| event["type"] == "response.output_item.done")
            .map(|event| event["item"].clone())
            .collect();
        assert_eq!(json!(done), output, "both ends say the same");
        let state = |item: &Value| item["status"].as_str().unwrap_or_default().to_owned();
        output.as_array().expect("a list").iter().map(state).collect::<Vec<_>>()
    };
    let cut = |finish: Option<Finish>| {
        let calls = [call(0, "c", "f", false), arguments(0, "{}"), Event::Close { block: 0 }];
        let more = [call(1, "d", "f", false), arguments(1, "{\"x\":"), Event::Close { block: 1 }];
        let usage = Event::Usage(Usage::default());
        states(&calls.into_iter().chain(more).chain([usage]).chain(finish.map(self::finish)).collect::<Vec<_>>())
    };
    for finish in [Some(Finish::Length), Some(Finish::ContentFilter), None] {
        assert_eq!(cut(finish), ["completed", "incomplete"]);
    }
    assert_eq!(cut(Some(Finish::ToolCalls)), ["completed", "completed"]);
    let words = [open(0, Block::Text), text(0, "a"), Event::Close { block: 0 }, finish(Finish::Length)];
    assert_eq!(states(&words), ["incomplete"]);
}

#[test]
fn citations_are_counted_and_bounded() {
    let cite = |url: &str| {
        let citation = Citation { url: Some(url.to_owned()), ..Citation::default() };
        Event::Delta { block: 0, delta: Delta::Citation(citation) }
    };
    let mut events = vec![open(0, Block::Text), text(0, "äb")];
    events.extend((0..=CITATIONS_MAX).map(|_| cite("u")));
    events.push(finish(Finish::Stop));
    let frames = encode(context(&[]), &events);
    let annotations = answer(&frames)["output"][0]["content"][0]["annotations"].take();
    let annotations = annotations.as_array().expect("a list");
    assert_eq!((annotations.len(), &annotations[0]["end_index"]), (CITATIONS_MAX, &json!(2)));
}

#[test]
fn seals_go_out_only_where_the_client_asked_for_them() {
    let events = [
        open(0, Block::Reasoning),
        text(0, "hm"),
        Event::Delta { block: 0, delta: Delta::Seal(Seal::Signature("EqQB".into())) },
        Event::Delta { block: 0, delta: Delta::Seal(Seal::Signature("CA==".into())) },
        Event::Close { block: 0 },
        open(1, Block::Sealed),
        Event::Delta { block: 1, delta: Delta::Seal(Seal::Encrypted("xai-1".into())) },
        Event::Close { block: 1 },
        finish(Finish::Stop),
    ];
    let frames = encode(context(&[("include", r#"["reasoning.encrypted_content"]"#)]), &events);
    check(&frames);
    assert_eq!(
        answer(&frames)["output"],
        json!([
            {"id": "rs_01J0000", "type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}],
                "encrypted_content": "tl-signature:EqQBCA=="},
            {"id": "rs_01J0001", "type": "reasoning", "summary": [], "encrypted_content": "xai-1"},
        ])
    );
    let frames = encode(context(&[]), &events);
    check(&frames);
    assert!(!String::from_utf8_lossy(&frames.last().expect("an end").data).contains("encrypted"));
}

#[test]
fn calls_are_written_as_the_client_defined_its_tools() {
    let tools = r#"[
        {"type":"namespace","name":"mcp__git","tools":[{"type":"function","name":"log"}]},
        {"type":"custom","name":"apply_patch"},{"type":"local_shell"},
        {"type":"tool_search","execution":"client"},{"type":"function","name":"f"}]"#;
    let events = [
        call(0, "toolu_1", "mcp__git__log", false),
        arguments(0, "{\"n\":"),
        call(1, "c2", "apply_patch", false),
        arguments(1, "{\"inp"),
        arguments(0, "1}"),
        arguments(1, "ut\":\"a\\n"),
        arguments(1, "b\"}"),
        call(2, "c3", "local_shell", false),
        arguments(2, "{\"command\":[\"ls\"]}"),
        call(3, "c4", "tool_search", false),
        arguments(3, "{\"query\":\"x\"}"),
        call(4, "c5", "f", false),
        call(5, "", "raw", true),
        arguments(5, "free"),
        finish(Finish::ToolCalls),
    ];
    let frames = encode(context(&[("tools", tools)]), &events);
    check(&frames);
    let answer = answer(&frames);
    let find = |kind: &str, name: &str| {
        let all = answer["output"].as_array().expect("a list");
        all.iter().find(|item| item["type"] == kind && (name.is_empty() || item["name"] == name)).expect(kind).clone()
    };
    let log = find("function_call", "log");
    assert_eq!(log["namespace"], "mcp__git");
    assert_eq!((&log["call_id"], &log["arguments"]), (&json!("toolu_1"), &json!("{\"n\":1}")));
    assert_eq!(find("custom_tool_call", "apply_patch")["input"], "a\nb");
    assert_eq!(find("local_shell_call", "")["action"], json!({"command": ["ls"], "type": "exec", "env": {}}));
    let search = find("tool_search_call", "");
    assert_eq!((&search["execution"], &search["arguments"]), (&json!("client"), &json!({"query": "x"})));
    assert_eq!(find("function_call", "f")["arguments"], "");
    let raw = find("custom_tool_call", "raw");
    assert_eq!(raw["input"], "free");
    assert!(raw["call_id"].as_str().is_some_and(|id| id.starts_with("call_")));
}

#[test]
fn a_tool_that_the_gateway_calls_custom_is_unwrapped_without_the_clients_fields() {
    let context = ReplyContext { custom_tools: vec!["patch".into()], ..context(&[]) };
    let events = [call(0, "c", "patch", false), arguments(0, "{\"input\":\"x\"}"), finish(Finish::ToolCalls)];
    let frames = encode(context, &events);
    check(&frames);
    let item = answer(&frames)["output"][0].take();
    assert_eq!((&item["type"], &item["input"]), (&json!("custom_tool_call"), &json!("x")));
    assert!(item["id"].as_str().is_some_and(|id| id.starts_with("ctc_")));
}

#[test]
fn a_search_and_its_citations_are_items_and_annotations() {
    let events = [
        open(
            0,
            Block::Search {
                id: "srvtoolu_1".into(),
                query: Some("rust".into()),
                hits: vec![("Rust".into(), "https://rust-lang.org".into())],
            },
        ),
        Event::Close { block: 0 },
        open(1, Block::Native { kind: "code_execution_tool_result".into(), json: json_of("{}") }),
        Event::Close { block: 1 },
        open(2, Block::Text),
        text(2, "Fast"),
        Event::Delta {
            block: 2,
            delta: Delta::Citation(Citation { url: Some("https://rust-lang.org".into()), ..Citation::default() }),
        },
        Event::Delta { block: 2, delta: Delta::Citation(Citation::default()) },
        finish(Finish::Stop),
    ];
    let mut encoder = Encoder::new(context(&[("include", r#"["web_search_call.action.sources"]"#)]));
    let mut frames = Vec::new();
    for event in &events {
        encoder.push(event, &mut frames);
    }
    encoder.end(&mut frames);
    check(&frames);
    assert_eq!(
        encoder.losses(),
        [Loss::Dropped("code_execution_tool_result".into()), Loss::Dropped("citations".into())]
    );
    let output = answer(&frames)["output"].take();
    assert_eq!(
        output[0]["action"],
        json!({"type": "search", "query": "rust", "sources": [{"type": "url", "url": "https://rust-lang.org"}]})
    );
    assert_eq!(
        output[1]["content"][0]["annotations"],
        json!([{"type": "url_citation", "start_index": 0, "end_index": 4, "url": "https://rust-lang.org",
            "title": "https://rust-lang.org"}])
    );
}

/// Random events as any dialect's decoder may give them, and what they say.
fn random(rng: &mut fastrand::Rng) -> (Vec<Event>, Vec<String>) {
    let mut events = Vec::new();
    let mut said: Vec<String> = Vec::new();
    // Open blocks: the line they are told in, once they said something.
    let mut open_blocks: Vec<(u32, Block, Option<usize>)> = Vec::new();
    if rng.bool() {
        events.push(Event::Start { id: "x".into(), model: "m".into() });
    }
    let mut next = 0;
    let words = ["a", "", "é\n", "\"q\"", "\u{1f600}", "\\u"];
    for _ in 0..rng.usize(0..40) {
        if open_blocks.is_empty() || rng.usize(0..4) == 0 {
            let kind = match rng.usize(0..6) {
                0 => Block::Text,
                1 => Block::Refusal,
                2 => Block::Reasoning,
                3 => Block::Call { id: format!("c{next}"), name: "f".into(), custom: false },
                4 => Block::Call { id: format!("c{next}"), name: "g".into(), custom: true },
                _ => Block::Native { kind: "x".into(), json: json_of("{}") },
            };
            let line = match &kind {
                Block::Call { id, name, custom } => {
                    said.push(format!("call {id} {name} {custom}:"));
                    Some(said.len() - 1)
                }
                _ => None,
            };
            events.push(open(next, kind.clone()));
            open_blocks.push((next, kind, line));
            next += 1;
        } else {
            let place = rng.usize(0..open_blocks.len());
            if rng.usize(0..4) == 0 {
                let (block, ..) = open_blocks.swap_remove(place);
                events.push(Event::Close { block });
                continue;
            }
            let (block, kind, line) = &mut open_blocks[place];
            let word = words[rng.usize(0..words.len())];
            let delta = match kind {
                Block::Call { .. } => Delta::Arguments(word.into()),
                _ => Delta::Text(word.into()),
            };
            events.push(Event::Delta { block: *block, delta });
            if word.is_empty() || matches!(kind, Block::Native { .. }) {
                continue;
            }
            let line = line.get_or_insert_with(|| {
                said.push(match kind {
                    Block::Text => "text:".into(),
                    Block::Refusal => "refusal:".into(),
                    _ => "reasoning:".into(),
                });
                said.len() - 1
            });
            said[*line].push_str(word);
        }
    }
    let usage = Event::Usage(Usage { input: 5, output: 6, ..Usage::default() });
    if rng.bool() {
        events.push(usage.clone());
        events.push(finish(Finish::Length));
    } else {
        events.push(finish(Finish::Length));
        events.push(usage);
    }
    said.push("usage 5 6".into());
    said.push("Length".into());
    (events, said)
}

#[test]
fn whatever_is_said_in_whatever_order_is_read_back() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    for _ in 0..500 {
        let (events, said) = random(&mut rng);
        let frames = encode(context(&[]), &events);
        check(&frames);
        let mut decoder = Decoder::default();
        let mut back = Vec::new();
        for frame in &frames {
            decoder.push(frame, &mut back).expect("of this dialect");
        }
        let lines: Vec<String> = told(&back)
            .into_iter()
            .filter(|line| !line.starts_with("start"))
            .map(|line| line.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start().to_owned())
            .collect();
        assert_eq!(lines, said, "{events:?}");
    }
}
