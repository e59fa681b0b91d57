//! Streams and whole answers as the vendor sends them, and what they tell.

use super::*;
use crate::domain::usage::Usage;
use crate::wire::canon::{Citation, Seal};
use crate::wire::dialect::Dialect;
use crate::wire::messages::frames_of_whole;
use crate::wire::sse::SseDecoder;
use serde_json::json;

fn decode(events: &[&str]) -> Vec<Event> {
    let mut decoder = Decoder::default();
    let mut out = Vec::new();
    for event in events {
        let frame = SseFrame { event: None, data: bytes::Bytes::from((*event).to_owned()) };
        decoder.push(&frame, &mut out).expect(event);
    }
    out
}

fn said(block: u32, text: &str) -> Event {
    Event::Delta { block, delta: Delta::Text(text.into()) }
}

fn arguments(block: u32, text: &str) -> Event {
    Event::Delta { block, delta: Delta::Arguments(text.into()) }
}

const START: &str = r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-x","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":10,"cache_creation_input_tokens":5,"cache_read_input_tokens":85,"output_tokens":1}}}"#;

#[test]
fn thinking_text_and_a_call_are_blocks_in_their_order() {
    let events = decode(&[
        START,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
        r#"{"type":"ping"}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"sig"}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"redacted_thinking","data":"xx"}}"#,
        r#"{"type":"content_block_stop","index":1}"#,
        r#"{"type":"content_block_start","index":2,"content_block":{"type":"text","text":""}}"#,
        r#"{"type":"content_block_delta","index":2,"delta":{"type":"text_delta","text":"Hi"}}"#,
        r#"{"type":"content_block_delta","index":2,"delta":{"type":"later_delta","text":"?"}}"#,
        r#"{"type":"content_block_stop","index":2}"#,
        r#"{"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"toolu_1","name":"f","input":{}}}"#,
        r#"{"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":""}}"#,
        r#"{"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"{\"a\":"}}"#,
        r#"{"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"1}"}}"#,
        r#"{"type":"content_block_stop","index":3}"#,
        r#"{"type":"content_block_start","index":4,"content_block":{"type":"tool_use","id":"toolu_2","name":"g","input":{}}}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":40}}"#,
        r#"{"type":"message_stop"}"#,
    ]);
    let call = |id: &str, name: &str| Block::Call { id: id.into(), name: name.into(), custom: false };
    let usage = Usage { input: 100, output: 1, cached_input: 85, cache_write: 5, ..Usage::default() };
    assert_eq!(
        events,
        [
            Event::Start { id: "msg_1".into(), model: "claude-x".into() },
            Event::Usage(usage),
            Event::Open { block: 0, kind: Block::Reasoning },
            said(0, "hm"),
            Event::Delta { block: 0, delta: Delta::Seal(Seal::Signature("sig".into())) },
            Event::Close { block: 0 },
            Event::Open { block: 1, kind: Block::Sealed },
            Event::Delta { block: 1, delta: Delta::Seal(Seal::Redacted("xx".into())) },
            Event::Close { block: 1 },
            Event::Open { block: 2, kind: Block::Text },
            said(2, "Hi"),
            Event::Close { block: 2 },
            Event::Open { block: 3, kind: call("toolu_1", "f") },
            arguments(3, "{\"a\":"),
            arguments(3, "1}"),
            Event::Close { block: 3 },
            Event::Open { block: 4, kind: call("toolu_2", "g") },
            Event::Usage(Usage { output: 40, ..usage }),
            arguments(4, "{}"),
            Event::Close { block: 4 },
            Event::Finish { finish: Finish::ToolCalls, stop_sequence: None },
        ]
    );
}

#[test]
fn a_search_is_told_once_with_what_was_asked_and_found() {
    let events = decode(&[
        START,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"server_tool_use","id":"srvtoolu_1","name":"web_search","input":{}}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{\"query\":"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":" \"rust\"}"}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"web_search_tool_result","tool_use_id":"srvtoolu_1","content":[{"type":"web_search_result","title":"T","url":"https://a","encrypted_content":"e"}]}}"#,
        r#"{"type":"content_block_stop","index":1}"#,
        r#"{"type":"content_block_start","index":2,"content_block":{"type":"text","text":""}}"#,
        r#"{"type":"content_block_delta","index":2,"delta":{"type":"citations_delta","citation":{"type":"web_search_result_location","url":"https://a","title":"T","cited_text":"q","encrypted_index":"i"}}}"#,
        r#"{"type":"content_block_stop","index":2}"#,
        r#"{"type":"content_block_start","index":3,"content_block":{"type":"server_tool_use","id":"srvtoolu_2","name":"web_search","input":{"query":"more"}}}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"pause_turn"},"usage":{}}"#,
    ]);
    let search = |id: &str, query: &str, hits| Block::Search { id: id.into(), query: Some(query.into()), hits };
    let Event::Delta { delta: Delta::Citation(cited), .. } = &events[5] else { panic!("{:?}", events[5]) };
    let Citation { url, title, quote, native, .. } = cited;
    assert_eq!((url.as_deref(), title.as_deref(), quote.as_deref()), (Some("https://a"), Some("T"), Some("q")));
    assert!(matches!(native, Some((Dialect::Messages, _))));
    assert_eq!(
        events[2..4],
        [
            Event::Open { block: 0, kind: search("srvtoolu_1", "rust", vec![("T".into(), "https://a".into())]) },
            Event::Close { block: 0 }
        ]
    );
    assert_eq!(events[8], Event::Open { block: 2, kind: search("srvtoolu_2", "more", Vec::new()) });
    assert_eq!(events[10], Event::Finish { finish: Finish::Other, stop_sequence: None });
}

#[test]
fn endings_come_once_and_whatever_is_open_is_closed() {
    let open = r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"x"}}"#;
    let events = decode(&[
        open,
        r#"{"type":"message_stop"}"#,
        r#"{"type":"message_stop"}"#,
        open,
        r#"{"type":"error","error":{"type":"api_error","message":"m"}}"#,
        r#"{"type":"unheard_of"}"#,
    ]);
    assert_eq!(
        events,
        [
            Event::Open { block: 0, kind: Block::Text },
            said(0, "x"),
            Event::Close { block: 0 },
            Event::Finish { finish: Finish::Other, stop_sequence: None },
        ]
    );
    let refused = decode(&[
        r#"{"type":"message_delta","delta":{"stop_reason":"refusal","stop_sequence":null,"stop_details":{"type":"refusal","category":"bio","explanation":"no"}}}"#,
    ]);
    assert_eq!(refused[0], Event::Open { block: 0, kind: Block::Refusal });
    assert_eq!(refused[3], Event::Finish { finish: Finish::ContentFilter, stop_sequence: None });
    let sequence =
        decode(&[r#"{"type":"message_delta","delta":{"stop_reason":"stop_sequence","stop_sequence":"END"}}"#]);
    assert_eq!(sequence, [Event::Finish { finish: Finish::Stop, stop_sequence: Some("END".into()) }]);
}

#[test]
fn a_whole_answer_says_what_its_stream_says() {
    let whole = json!({"id":"msg_1","type":"message","role":"assistant","model":"m","content":[
        {"type":"thinking","thinking":"hm","signature":"sig"},
        {"type":"text","text":"Hello","citations":[{"type":"char_location","cited_text":"x","document_title":"D"}]},
        {"type":"server_tool_use","id":"s","name":"web_search","input":{"query":"q"}},
        {"type":"web_search_tool_result","tool_use_id":"s","content":[{"title":"T","url":"u"}]},
        {"type":"tool_use","id":"toolu_1","name":"f","input":{"a":1}},
        {"type":"container_upload","file_id":"file_1"}],
        "stop_reason":"tool_use","stop_sequence":null,"usage":{"input_tokens":9,"output_tokens":15}})
    .to_string();
    let mut decoder = Decoder::default();
    let mut streamed = Vec::new();
    for frame in frames_of_whole(whole.as_bytes()) {
        decoder.push(&frame, &mut streamed).expect("a frame");
    }
    // The stream counts twice, before and after.
    let last = streamed.iter().rposition(|event| matches!(event, Event::Usage(_))).expect("counted");
    streamed.remove(last);
    assert_eq!(decode_whole(whole.as_bytes()).expect("an answer"), streamed);
    assert!(decode_whole(br#"{"content":"x"}"#).is_err());
    assert!(!decode_whole(br#"{"content":"secret"}"#).expect_err("bad").contains("secret"));
}

#[test]
fn a_calls_input_is_what_was_written() {
    let input = r#"{"id":123456789012345678901234567890,"x":1.50}"#;
    let block = format!(r#"{{"type":"tool_use","id":"t","name":"f","input":{input}}}"#);
    let whole = format!(r#"{{"id":"m","model":"m","content":[{block}],"stop_reason":"tool_use"}}"#);
    let told = Event::Delta { block: 0, delta: Delta::Arguments(input.to_owned()) };
    assert!(decode_whole(whole.as_bytes()).expect("an answer").contains(&told));
    let start = format!(r#"{{"type":"content_block_start","index":0,"content_block":{block}}}"#);
    assert!(decode(&[&start, r#"{"type":"content_block_stop","index":0}"#]).contains(&told));
}

#[test]
fn what_a_server_may_do_wrong_is_bounded() {
    let mut decoder = Decoder::default();
    let mut out = Vec::new();
    let mut refused = false;
    for index in 0..10_000 {
        let data = format!(r#"{{"type":"content_block_start","index":{index},"content_block":{{"type":"text"}}}}"#);
        refused |= decoder.push(&SseFrame { event: None, data: data.into() }, &mut out).is_err();
    }
    assert!(refused && decoder.open.len() <= OPEN_MAX);
    let mut decoder = Decoder::default();
    for _ in 0..10_000 {
        for data in [
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"server_tool_use","id":"s","name":"web_search"}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"xxxxxxxxxxxxxxxxxxxxxxxxxxx"}}"#,
            r#"{"type":"content_block_stop","index":0}"#,
        ] {
            decoder.push(&SseFrame { event: None, data: data.into() }, &mut out).expect("a frame");
        }
    }
    assert!(decoder.searches.len() <= SEARCHES_MAX);
}

#[test]
fn wherever_the_bytes_are_cut_the_events_are_the_same() {
    let whole = json!({"id":"msg_1","model":"m","content":[{"type":"text","text":"grüße 🦀"},
        {"type":"tool_use","id":"toolu_1","name":"f","input":{"a":"ü"}}],"stop_reason":"tool_use","usage":{"output_tokens":1}});
    let frames = frames_of_whole(whole.to_string().as_bytes());
    let bytes: Vec<u8> = frames.iter().flat_map(|frame| frame.encode().to_vec()).collect();
    let read = |cut: usize| {
        let (mut sse, mut decoder, mut out) = (SseDecoder::new(1 << 20), Decoder::default(), Vec::new());
        for part in [&bytes[..cut], &bytes[cut..]] {
            let mut frames = Vec::new();
            sse.push(part, &mut frames).expect("small");
            for frame in frames {
                decoder.push(&frame, &mut out).expect("a frame");
            }
        }
        out
    };
    let uncut = read(0);
    assert!(uncut.len() > 8);
    for cut in 1..bytes.len() {
        assert_eq!(read(cut), uncut, "cut at {cut}");
    }
}
