//! What streams of chat completions say.

use super::super::round::decode;
use super::*;
use bytes::Bytes;

/// A stream from its payloads, one a line.
fn frames(lines: &str) -> Vec<SseFrame> {
    let payloads = lines.lines().map(str::trim).filter(|line| !line.is_empty());
    payloads.map(|line| SseFrame { event: None, data: Bytes::copy_from_slice(line.as_bytes()) }).collect()
}

/// Deltas of one choice as a stream that ends with this reason.
fn deltas(deltas: &[&str], finish: &str) -> Vec<SseFrame> {
    let mut lines = String::new();
    for delta in deltas {
        lines += &format!("{{\"id\":\"a\",\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{delta}}}]}}\n");
    }
    lines += &format!(
        "{{\"id\":\"a\",\"choices\":[{{\"index\":0,\"delta\":{{}},\"finish_reason\":\"{finish}\"}}]}}\n[DONE]"
    );
    frames(&lines)
}

/// The events in few words.
fn told(frames: &[SseFrame]) -> String {
    let word = |event: &Event| match event {
        Event::Start { id, model } => format!("start {id} {model}"),
        Event::Open { block, kind: Block::Call { id, name, custom } } => {
            format!("{block}={}{name}#{id}", if *custom { "custom " } else { "" })
        }
        Event::Open { block, kind } => format!("{block}={kind:?}"),
        Event::Delta { block, delta: Delta::Citation(citation) } => {
            format!("{block}@{}{:?}", citation.url.clone().unwrap_or_default(), citation.span)
        }
        Event::Delta { block, delta: Delta::Seal(seal) } => format!("{block}!{}", seal.text()),
        Event::Delta { block, delta: Delta::Text(text) | Delta::Arguments(text) } => format!("{block}+{text}"),
        Event::Close { block } => format!("{block}."),
        Event::Usage(usage) => format!("usage {}/{}", usage.input, usage.output),
        Event::Finish { finish, stop_sequence } => {
            format!("{finish:?}{}", stop_sequence.clone().unwrap_or_default())
        }
    };
    decode(frames).iter().map(word).collect::<Vec<_>>().join(" ")
}

/// Streams in the form that each vendor documents or sends, and what they tell,
/// an event a line.
#[test]
fn the_streams_of_vendors_tell_what_is_written_beside_them() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire/chat");
    let mut streams = 0;
    for entry in std::fs::read_dir(folder).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|kind| kind != "sse") {
            continue;
        }
        streams += 1;
        let mut frames = Vec::new();
        let mut reading = crate::wire::sse::SseDecoder::new(1 << 20);
        reading.push(&std::fs::read(&path).expect("a stream"), &mut frames).expect("small frames");
        for frame in frames.iter().filter(|frame| frame.data != "[DONE]") {
            super::super::read_chunk(&frame.data).expect("what the clocks read as a chunk");
        }
        let expected = std::fs::read_to_string(path.with_extension("events")).expect("what it tells");
        let expected = expected.lines().collect::<Vec<_>>().join(" ");
        assert_eq!(told(&frames), expected, "{}", path.display());
    }
    assert_eq!(streams, 8);
}

#[test]
fn openais_stream_is_read_as_it_is_recorded() {
    let stream = frames(
        r#"
        {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-4o","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],"usage":null}
        {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-4o","choices":[{"index":0,"delta":{"content":"Hel"},"finish_reason":null}],"usage":null}
        {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-4o","choices":[{"index":0,"delta":{"content":"lo"},"finish_reason":null}],"usage":null}
        {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-4o","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}
        {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-4o","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11,"prompt_tokens_details":{"cached_tokens":4}}}
        [DONE]"#,
    );
    assert_eq!(told(&stream), "start chatcmpl-1 gpt-4o 0=Text 0+Hel 0+lo 0. Stop usage 9/2");
}

#[test]
fn calls_open_with_their_whole_name_and_close_when_they_are_complete() {
    let call = |index: &str, id: &str, name: &str, arguments: &str| {
        format!(
            r#"{{"tool_calls":[{{{index}"id":"{id}","type":"function","function":{{"name":"{name}","arguments":"{arguments}"}}}}]}}"#
        )
    };
    for (pieces, expected) in [
        // As OpenAI streams two calls behind a text; the forced `stop` means calls.
        (
            vec![
                r#"{"content":"a"}"#.to_owned(),
                call(r#""index":0,"#, "c0", "f", ""),
                call(r#""index":0,"#, "", "", "{}"),
                call(r#""index":1,"#, "c1", "g", "{"),
                call(r#""index":1,"#, "", "", "}"),
            ],
            "0=Text 0+a 0. 1=f#c0 1+{} 1. 2=g#c1 2+{ 2+} 2. ToolCalls",
        ),
        // Interleaved.
        (
            vec![
                call(r#""index":0,"#, "c0", "f", "{"),
                call(r#""index":1,"#, "c1", "g", "["),
                call(r#""index":0,"#, "", "", "}"),
                r#"{"content":"t"}"#.to_owned(),
                call(r#""index":1,"#, "", "", "]"),
            ],
            "0=f#c0 0+{ 1=g#c1 1+[ 0+} 0. 2=Text 2+t 1+] 2. 1. ToolCalls",
        ),
        // A name in pieces, an id that is missing, no arguments at all.
        (
            vec![call(r#""index":0,"#, "", "get_", ""), call(r#""index":0,"#, "", "time", "")],
            "0=get_time#call_a_0 0. ToolCalls",
        ),
        // One index for all, or none, and an id for each (Gemini, Ollama).
        (
            vec![call(r#""index":0,"#, "x", "f", "{}"), call(r#""index":0,"#, "y", "f", "{}")],
            "0=f#x 0+{} 0. 1=f#y 1+{} 1. ToolCalls",
        ),
        (
            vec![call(r#""index":0,"#, "x", "f", ""), call(r#""index":0,"#, "y", "g", "{}")],
            "0=f#x 1=g#y 1+{} 0. 1. ToolCalls",
        ),
        (vec![call("", "x", "f", "{}"), call("", "y", "g", "{}")], "0=f#x 0+{} 0. 1=g#y 1+{} 1. ToolCalls"),
        (vec![call("", "x", "f", "{"), call("", "", "", "}")], "0=f#x 0+{ 0+} 0. ToolCalls"),
        // Free text, which is never complete before the end.
        (
            vec![
                r#"{"tool_calls":[{"index":0,"id":"c","type":"custom","custom":{"name":"p","input":"{}"}}]}"#
                    .to_owned(),
                r#"{"content":"t"}"#.to_owned(),
                r#"{"tool_calls":[{"index":0,"custom":{"input":" more"}}]}"#.to_owned(),
            ],
            "0=custom p#c 0+{} 1=Text 1+t 0+ more 1. 0. ToolCalls",
        ),
        // The legacy form; arguments that are no string.
        (
            vec![
                r#"{"function_call":{"name":"f","arguments":""}}"#.to_owned(),
                r#"{"function_call":{"arguments":{"a":1}}}"#.to_owned(),
            ],
            r#"0=f#call_a_0 0+{"a":1} 0. ToolCalls"#,
        ),
    ] {
        let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
        assert_eq!(told(&deltas(&pieces, "stop")), format!("start a m {expected}"));
    }
    assert!(told(&deltas(&[r#"{"content":"a"}"#], "tool_calls")).ends_with("Stop"));
}

#[test]
fn reasoning_of_any_vendor_is_told_once_with_its_seals() {
    for (pieces, expected) in [
        (vec![r#"{"reasoning_content":"r"}"#, r#"{"content":"a"}"#], "0=Reasoning 0+r 0. 1=Text 1+a 1."),
        (vec![r#"{"reasoning":"r","reasoning_content":"r"}"#], "0=Reasoning 0+r 0."),
        // OpenRouter of a Claude model: text twice, then the signature, then the answer.
        (
            vec![
                r#"{"content":"","reasoning":"r","reasoning_details":[{"type":"reasoning.text","text":"r","index":0}]}"#,
                r#"{"content":"","reasoning_details":[{"type":"reasoning.text","signature":"sig","index":0}]}"#,
                r#"{"content":"","reasoning_details":[{"type":"reasoning.encrypted","data":"Eo","format":"anthropic-claude-v1"}]}"#,
                r#"{"content":"a"}"#,
            ],
            "0=Reasoning 0+r 0!sig 0. 1=Sealed 1!Eo 1. 2=Text 2+a 2.",
        ),
        // OpenRouter of an OpenAI model: the encrypted reasoning seals its summary.
        (
            vec![
                r#"{"reasoning":"s","reasoning_details":[{"type":"reasoning.summary","summary":"s"}]}"#,
                r#"{"reasoning_details":[{"type":"reasoning.encrypted","data":"gAAAAABx"}]}"#,
            ],
            "0=Reasoning 0+s 0!gAAAAABx 0.",
        ),
        // Ours: the details come when the block is closed.
        (
            vec![
                r#"{"reasoning_content":"r"}"#,
                r#"{"reasoning_details":[{"type":"reasoning.text","text":"r","signature":"sig"}]}"#,
            ],
            "0=Reasoning 0+r 0!sig 0.",
        ),
        // Mistral's list.
        (
            vec![
                r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"r"}]},{"type":"text","text":"a"}]}"#,
            ],
            "0=Reasoning 0+r 0. 1=Text 1+a 1.",
        ),
        (vec![r#"{"refusal":"no"}"#], "0=Refusal 0+no 0."),
    ] {
        assert_eq!(told(&deltas(&pieces, "stop")), format!("start a m {expected} Stop"));
    }
}

#[test]
fn citations_count_from_the_text_that_they_stand_in() {
    let cited = r#"{"annotations":[{"type":"url_citation","url_citation":{"url":"u","start_index":3,"end_index":5}}]}"#;
    let call = r#"{"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":"{}"}}]}"#;
    let pieces = [r#"{"content":"äbc"}"#, call, r#"{"content":"de"}"#, cited];
    assert_eq!(
        told(&deltas(&pieces, "stop")),
        "start a m 0=Text 0+äbc 0. 1=f#c 1+{} 1. 2=Text 2+de 2@uSome((0, 2)) 2. ToolCalls"
    );
}

#[test]
fn odd_servers_are_understood() {
    // A first frame without an id (Azure), the stop sequence (vLLM), another choice, usage
    // that grows, words behind the finish, sources beside the answer (Perplexity).
    let stream = frames(
        r#"
        {"id":"","choices":[],"prompt_filter_results":[]}
        {"id":7,"choices":[{"index":1,"delta":{"content":"other"}},{"index":0,"delta":{"content":"a"}}],"usage":{"prompt_tokens":3,"completion_tokens":1}}
        {"choices":[{"index":0,"delta":{"content":"b"},"finish_reason":"stop","stop_reason":"END"}],"usage":{"prompt_tokens":0,"completion_tokens":2},"search_results":[{"url":"u","title":"t"}]}
        {"choices":[{"index":0,"delta":{"content":"late"},"finish_reason":"stop"}]}"#,
    );
    assert_eq!(told(&stream), "start   usage 3/1 0=Text 0+a usage 3/2 0+b 0@uNone 0. StopEND");
    let whole = decode_whole(br#"{"id":"w","model":"m","choices":[{"message":{"content":"a","tool_calls":["odd"]}}]}"#);
    assert!(whole.is_err());
}

#[test]
fn a_whole_answer_is_read_as_its_stream() {
    let events = decode_whole(
        br#"{"id":"w","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"a",
            "annotations":[],"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"tool_calls"}],
            "usage":{"prompt_tokens":1,"completion_tokens":2}}"#,
    )
    .expect("an answer");
    assert_eq!(events.len(), 9);
    assert_eq!(events[0], Event::Start { id: "w".into(), model: "m".into() });
    assert!(matches!(events.last(), Some(Event::Usage(_))));
}

#[test]
fn broken_answers_are_refused_without_quoting_them() {
    let one = |text: &str| {
        let mut decoder = Decoder::default();
        let mut out = Vec::new();
        frames(text).iter().try_for_each(|frame| decoder.push(frame, &mut out)).expect_err(text)
    };
    let delta = |delta: &str| format!(r#"{{"id":"a","choices":[{{"index":0,"delta":{delta}}}]}}"#);
    for text in [
        r#"{"choices":"secret"}"#.to_owned(),
        r#"{"error":{"message":"secret"}}"#.to_owned(),
        r#"{"id":"a","choices":[{"index":0,"delta":{},"finish_reason":"insufficient_system_resource"}]}"#.to_owned(),
        delta(r#"{"tool_calls":"secret"}"#),
        // Arguments of nothing.
        delta(r#"{"tool_calls":[{"index":0,"function":{"arguments":"secret"}}]}"#),
        delta(&format!(r#"{{"tool_calls":[{{"index":0,"function":{{"name":"{}"}}}}]}}"#, "secret".repeat(200))),
        format!("[{}]", "[".repeat(100_000)),
    ] {
        assert!(!one(&text).contains("secret"));
    }
    let ended = [
        r#"{"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":"{}"}}]}"#,
        r#"{"content":"secret"}"#,
        r#"{"tool_calls":[{"index":0,"function":{"arguments":"secret"}}]}"#,
    ];
    assert_eq!(one(&ended.map(delta).join("\n")), "a call goes on after its end");
    let calls: Vec<String> = (0..=CALLS_MAX).map(|index| format!(r#"{{"index":{index}}}"#)).collect();
    assert!(one(&delta(&format!(r#"{{"tool_calls":[{}]}}"#, calls.join(",")))).contains("more than 1024 calls"));
    assert!(decode_whole(br#"{"choices":"secret"}"#).is_err());
    assert!(decode_whole(b"secret").is_err());
}

/// What a value is made into.
const SWAPS: [&str; 12] = ["null", "7", "-1", "\"x\"", "[]", "{}", "[[]]", "1e400", "true", "[null]", "{\"a\":{}}", ""];

#[test]
fn no_mutation_of_a_stream_makes_it_panic() {
    let stream = deltas(
        &[
            r#"{"content":"a","reasoning":"r","reasoning_details":[{"type":"reasoning.text","text":"r","index":0}]}"#,
            r#"{"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]}"#,
            r#"{"annotations":[{"type":"url_citation","url_citation":{"url":"u","start_index":3,"end_index":5}}]}"#,
        ],
        "stop",
    );
    let mut rng = fastrand::Rng::with_seed(7);
    for _ in 0..20_000 {
        let (mut decoder, mut out) = (Decoder::default(), Vec::new());
        for frame in &stream {
            let mut text = String::from_utf8(frame.data.to_vec()).expect("text");
            if rng.bool() {
                // A value, or any other piece, is another one.
                let starts: Vec<usize> = text.match_indices([':', '[', ',']).map(|(at, _)| at + 1).collect();
                let from = if starts.is_empty() { 0 } else { starts[rng.usize(..starts.len())] };
                let to = text[from..].find([',', '}', ']']).map_or(text.len(), |end| from + end);
                text.replace_range(from..to, SWAPS[rng.usize(..SWAPS.len())]);
            }
            let frame = SseFrame { event: None, data: Bytes::from(text) };
            let _ = decoder.push(&frame, &mut out);
            let _ = decode_whole(&frame.data);
        }
        let finishes = out.iter().filter(|event| matches!(event, Event::Finish { .. })).count();
        assert!(finishes <= 1);
    }
}
