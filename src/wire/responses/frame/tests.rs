//! What frames tell, by table and over whole streams.

use super::*;
use bytes::Bytes;

const STREAMS: [&str; 3] = [
    include_str!("../../../../tests/wire/responses/reasoning_text_calls.sse"),
    include_str!("../../../../tests/wire/responses/hosted_custom_refusal.sse"),
    include_str!("../../../../tests/wire/responses/open_model.sse"),
];

pub(in super::super) fn frames(stream: &str) -> Vec<SseFrame> {
    let mut out = Vec::new();
    crate::wire::sse::SseDecoder::new(1 << 20).push(stream.as_bytes(), &mut out).expect("frames");
    out
}

fn frame(data: &str) -> SseFrame {
    SseFrame { event: None, data: Bytes::from(data.to_owned()) }
}

fn told(data: &str) -> FrameFacts {
    FrameReader::default().read(&frame(data)).expect("an event")
}

#[test]
fn only_what_says_something_is_content() {
    for (data, contents, answers) in [
        (r#"{"type":"response.output_text.delta","delta":"a"}"#, 1, 1),
        (r#"{"type":"response.output_text.delta","delta":""}"#, 0, 0),
        (r#"{"type":"response.output_text.delta","delta":null}"#, 0, 0),
        (r#"{"type":"response.refusal.delta","delta":"no"}"#, 1, 1),
        (r#"{"type":"response.reasoning_summary_text.delta","delta":"hm"}"#, 1, 0),
        (r#"{"type":"response.reasoning_text.delta","delta":"hm"}"#, 1, 0),
        (r#"{"type":"response.function_call_arguments.delta","delta":"{"}"#, 1, 1),
        (r#"{"type":"response.custom_tool_call_input.delta","delta":"{"}"#, 1, 1),
        (r#"{"type":"response.output_item.added","item":{"type":"message","content":[]}}"#, 0, 0),
        (r#"{"type":"response.output_item.added","item":{"type":"reasoning"}}"#, 0, 0),
        (r#"{"type":"response.output_item.added","item":{"type":"function_call"}}"#, 1, 1),
        (r#"{"type":"response.output_item.added","item":{"type":"web_search_call"}}"#, 1, 0),
        (
            r#"{"type":"response.output_item.done","item":{"type":"message","content":[{"type":"output_text","text":"a"}]}}"#,
            1,
            1,
        ),
        (
            r#"{"type":"response.output_item.done","item":{"type":"message","content":[{"type":"output_text","text":""}]}}"#,
            0,
            0,
        ),
        (r#"{"type":"response.output_item.done","item":{"type":"function_call","arguments":"{}"}}"#, 1, 1),
        (r#"{"type":"response.content_part.added","part":{"type":"output_text","text":""}}"#, 0, 0),
        (r#"{"type":"response.created","response":{"output":[]}}"#, 0, 0),
        (r#"{"type":"response.new.delta","delta":{"a":1}}"#, 0, 0),
        ("[DONE]", 0, 0),
        ("", 0, 0),
    ] {
        let facts = told(data);
        assert_eq!((facts.contents, facts.answers), (contents, answers), "{data}");
        assert_eq!(facts.choices.is_empty(), contents == 0, "{data}");
    }
}

#[test]
fn repeats_errors_and_ends_are_told() {
    assert!(told(r#"{"type":"response.in_progress","response":{}}"#).repeat);
    assert!(told(r#"{"type":"keepalive","sequence_number":3}"#).repeat);
    assert_eq!(told(r#"{"type":"keepalive","sequence_number":3}"#).sequence, Some(3));
    let error = told(r#"{"type":"error","code":"rate_limit_exceeded","message":"slow","param":null}"#).error;
    assert_eq!(error.and_then(|error| error.code).as_deref(), Some("rate_limit_exceeded"));
    let error = told(r#"{"type":"error","error":{"code":"context_length_exceeded","message":"m"}}"#).error;
    assert_eq!(error.and_then(|error| error.code).as_deref(), Some("context_length_exceeded"));
    let error = told(r#"{"error":{"message":"m"}}"#).error;
    assert_eq!(error.and_then(|error| error.message).as_deref(), Some("m"));
    let failed = told(
        r#"{"type":"response.failed","response":{"status":"failed","error":{"code":"server_error","message":"m"},"usage":{"input_tokens":5}}}"#,
    );
    assert!(failed.done && failed.finished.is_empty());
    assert_eq!(failed.usage.map(|usage| usage.input), Some(5));
    assert_eq!(failed.error.and_then(|error| error.code).as_deref(), Some("server_error"));
    for (data, finish) in [
        (r#"{"type":"response.completed","response":{"status":"completed","output":[]}}"#, Finish::Stop),
        (r#"{"type":"response.completed","response":{"output":[{"type":"function_call"}]}}"#, Finish::ToolCalls),
        (r#"{"type":"response.completed"}"#, Finish::Stop),
        (
            r#"{"type":"response.completed","response":{"output":[{"type":"tool_search_call","execution":"server"}]}}"#,
            Finish::Stop,
        ),
        (
            r#"{"type":"response.incomplete","response":{"incomplete_details":{"reason":"max_output_tokens"}}}"#,
            Finish::Length,
        ),
        (
            r#"{"type":"response.incomplete","response":{"incomplete_details":{"reason":"content_filter"}}}"#,
            Finish::ContentFilter,
        ),
        (r#"{"type":"response.incomplete","response":{"incomplete_details":null}}"#, Finish::Length),
    ] {
        let facts = told(data);
        assert_eq!((facts.finished, facts.done), (vec![(0, finish)], true), "{data}");
    }
}

#[test]
fn what_is_no_event_is_said_to_be_none_without_quoting_it() {
    for data in ["secret", "{\"type\":\"response.created\"", "[]", "{\"x\":\"secret\"}", "{\"type\":7}"] {
        let error = FrameReader::default().read(&frame(data)).expect_err(data);
        assert!(!error.contains("secret"), "{error}");
    }
    let bytes = SseFrame { event: None, data: Bytes::from_static(b"\xff") };
    FrameReader::default().read(&bytes).expect_err("no UTF-8");
}

#[test]
fn whole_streams_are_told() {
    for (stream, answers, finish) in
        [(STREAMS[0], 8, Finish::ToolCalls), (STREAMS[1], 5, Finish::Length), (STREAMS[2], 1, Finish::Stop)]
    {
        let mut reader = FrameReader::default();
        let all: Vec<FrameFacts> = frames(stream).iter().map(|frame| reader.read(frame).expect("an event")).collect();
        assert_eq!(all.iter().map(|facts| facts.answers).sum::<u32>(), answers);
        let finished: Vec<_> = all.iter().flat_map(|facts| facts.finished.clone()).collect();
        assert_eq!(finished, [(0, finish)]);
        let usage = all.iter().find_map(|facts| facts.usage).expect("a report");
        assert_eq!((usage.input, usage.cached_input, usage.output, usage.reasoning), (328, 256, 52, 32));
        let numbers: Vec<u64> = all.iter().filter_map(|facts| facts.sequence).collect();
        assert!(numbers.iter().enumerate().all(|(place, number)| *number == place as u64));
        // The same answer, unstreamed.
        let terminal = frames(stream).into_iter().rev().find(|frame| frame.data.starts_with(b"{")).expect("an end");
        let event: serde_json::Value = serde_json::from_slice(&terminal.data).expect("JSON");
        if event["response"]["output"][0].is_object() {
            let whole = read_whole(event["response"].to_string().as_bytes()).expect("an answer");
            assert_eq!((whole.has_answer, whole.finish, whole.usage), (true, Some(finish), Some(usage)));
        }
    }
}

#[test]
fn whole_answers_that_fail_or_only_begin_are_told() {
    let error = read_whole(br#"{"error":{"code":"model_not_found","message":"m"}}"#).expect("an error").error;
    assert_eq!(error.and_then(|error| error.code).as_deref(), Some("model_not_found"));
    let failed = read_whole(br#"{"status":"failed","error":{"code":"server_error","message":"m"},"output":[]}"#);
    assert!(failed.expect("an answer").error.is_some());
    let queued = read_whole(br#"{"id":"resp_1","status":"queued","error":null,"output":[]}"#).expect("an answer");
    assert!(queued.has_answer && queued.finish.is_none() && queued.error.is_none());
    let empty = read_whole(br#"{"status":"completed","error":null,"output":[]}"#).expect("an answer");
    assert_eq!((empty.has_answer, empty.finish), (false, Some(Finish::Stop)));
    for body in ["{}", "[]", "x", r#"{"choices":[]}"#] {
        read_whole(body.as_bytes()).expect_err(body);
    }
}
