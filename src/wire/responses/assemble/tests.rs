//! Streams as whole answers.

use super::super::frame::tests::frames;
use super::*;
use bytes::Bytes;

const STREAMS: [&str; 3] = [
    include_str!("../../../../tests/wire/responses/reasoning_text_calls.sse"),
    include_str!("../../../../tests/wire/responses/hosted_custom_refusal.sse"),
    include_str!("../../../../tests/wire/responses/open_model.sse"),
];

fn assemble(frames: &[SseFrame]) -> Value {
    let mut assembler = Assembler::default();
    for frame in frames {
        assembler.push(frame);
    }
    assembler.finish()
}

fn terminal(frames: &[SseFrame]) -> Value {
    let last = frames.iter().rev().find(|frame| frame.data.starts_with(b"{")).expect("an end");
    serde_json::from_slice::<Value>(&last.data).expect("JSON")["response"].take()
}

#[test]
fn the_terminal_response_is_the_answer() {
    for stream in &STREAMS[..2] {
        let frames = frames(stream);
        assert_eq!(assemble(&frames), terminal(&frames));
    }
}

#[test]
fn an_end_without_output_gets_the_items_of_the_stream() {
    let frames = frames(STREAMS[2]);
    let whole = assemble(&frames);
    assert_eq!(whole["status"], "completed");
    assert_eq!(whole["output"][0]["content"][0]["text"], "2+2=4");
    assert_eq!(whole["output"][1]["content"][0]["text"], "4");
}

#[test]
fn deltas_alone_make_the_items() {
    for stream in &STREAMS[..2] {
        let frames = frames(stream);
        let mut wanted = terminal(&frames)["output"].take();
        let kept: Vec<SseFrame> = frames
            .into_iter()
            .filter(|frame| {
                let kind = String::from_utf8_lossy(frame.event.as_deref().unwrap_or_default()).into_owned();
                kind.strip_suffix(".done").is_none() && kind != "response.completed" && kind != "response.incomplete"
            })
            .collect();
        let mut grown = assemble(&kept)["output"].take();
        for item in grown.as_array_mut().into_iter().chain(wanted.as_array_mut()).flatten() {
            let item = item.as_object_mut().expect("an item");
            // What only the ends bring.
            for key in ["status", "encrypted_content", "action", "result"] {
                item.shift_remove(key);
            }
        }
        assert_eq!(grown, wanted);
    }
}

#[test]
fn the_first_identity_stays_and_what_is_new_survives() {
    let event = |data: &str| SseFrame { event: None, data: Bytes::from(data.to_owned()) };
    let whole = assemble(&[
        event(r#"{"type":"response.created","response":{"id":"resp_1","created_at":1,"model":"a","output":[]}}"#),
        event(r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"of_tomorrow","x":[1]}}"#),
        event(
            r#"{"type":"response.completed","response":{"id":"resp_2","created_at":2,"model":"b","output":[],"new":1}}"#,
        ),
    ]);
    assert_eq!(
        whole,
        json!({"id":"resp_1","created_at":1,"model":"a","output":[{"type":"of_tomorrow","x":[1]}],"new":1})
    );
}

#[test]
fn hostile_frames_do_no_harm() {
    let mut assembler = Assembler::default();
    for data in [
        "",
        "x",
        "[]",
        r#"{"type":"response.output_item.added","output_index":18446744073709551615,"item":"text"}"#,
        r#"{"type":"response.output_text.delta","output_index":18446744073709551615,"delta":"x"}"#,
        r#"{"type":"response.output_item.added","item":{"content":"text","summary":7}}"#,
        r#"{"type":"response.output_text.delta","content_index":4294967295,"delta":"x"}"#,
        r#"{"type":"response.output_text.delta","content_index":7,"delta":"x"}"#,
        r#"{"type":"response.reasoning_summary_text.delta","delta":{"a":1}}"#,
        r#"{"type":"response.output_text.annotation.added","annotation_index":9,"annotation":7}"#,
        r#"{"type":"response.completed","response":7}"#,
    ] {
        assembler.push(&SseFrame { event: None, data: Bytes::from(data.to_owned()) });
    }
    assert!(assembler.finish()["output"].is_array());
}
