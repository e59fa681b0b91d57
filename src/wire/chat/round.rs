//! What is written reads back, and what is encoded decodes to the same.
//!
//! Owns the tests that need both directions, on random input with printed seeds.

use super::{Assembler, Decoder, Encoder, decode_whole, read_chunk, read_request, write_request};
use crate::domain::usage::Usage;
use crate::wire::canon::{
    Block, Call, CallResult, Citation, Conversation, Delta, Effort, Event, Format, Json, Part, Reasoning, ReplyContext,
    Role, Sampling, Seal, Source, Thinking, Tool, ToolChoice, Turn, WebSearch, WriteFor,
};
use crate::wire::dialect::Dialect;
use crate::wire::facts::Finish;
use crate::wire::sse::SseFrame;
use fastrand::Rng;
use serde_json::value::RawValue;

pub(super) const TO: WriteFor<'static> = WriteFor {
    model: "m",
    stream: false,
    ask_usage: false,
    output_tokens_max: None,
    reasoning: true,
    reasoning_declared: true,
    developer_role: true,
    reasoning_field: Some("reasoning_details"),
};

/// The top level of a body, as the gateway hands it over.
pub(super) fn fields(body: &[u8]) -> Vec<(String, Box<RawValue>)> {
    let fields: std::collections::BTreeMap<_, _> = serde_json::from_slice(body).expect("an object");
    fields.into_iter().collect()
}

fn word(rng: &mut Rng) -> String {
    const WORDS: [&str; 8] = ["a", "Füße", "\"quoted\"", "back\\slash", "line\nbreak", "🦀🦀", "{\"x\":1}", " spaced "];
    (0..rng.usize(1..4)).map(|_| WORDS[rng.usize(..WORDS.len())]).collect()
}

fn json(text: &str) -> Json {
    Json::parse(text.to_owned()).expect("JSON")
}

fn source(rng: &mut Rng, of_file: bool) -> Source {
    match rng.u8(0..2) {
        0 if of_file => Source::FileId(format!("file-{}", rng.u16(..))),
        0 => Source::Url(format!("https://x.test/{}", rng.u16(..))),
        _ => Source::Base64 { media_type: "image/png".into(), data: "aGk=".repeat(rng.usize(1..5)) },
    }
}

fn user_part(rng: &mut Rng) -> Part {
    match rng.u8(0..6) {
        0 => Part::Image { source: source(rng, false), detail: rng.bool().then(|| "high".to_owned()), cache: None },
        1 => Part::File { source: source(rng, true), name: Some(word(rng)), cache: None },
        2 => Part::Audio { data: "AAAA".into(), format: "wav".into() },
        3 => Part::Native {
            dialect: Dialect::Chat,
            kind: "video_url".into(),
            json: json(r#"{"type":"video_url","video_url":{"url":"x"}}"#),
        },
        _ => Part::text(word(rng)),
    }
}

/// An assistant's parts in the order that a message has: reasoning, texts, a
/// refusal, calls. The ids of its calls go to `calls`.
fn assistant(rng: &mut Rng, place: usize, calls: &mut Vec<(String, bool)>) -> Vec<Part> {
    let mut parts = Vec::new();
    if rng.bool() {
        let seal = match rng.u8(0..4) {
            0 => None,
            1 => Some(Seal::Signature(word(rng))),
            2 => Some(Seal::Redacted(word(rng))),
            _ => Some(Seal::Encrypted(word(rng))),
        };
        let text = if matches!(seal, Some(Seal::Redacted(_))) { vec![] } else { vec![word(rng)] };
        parts.push(Part::Reasoning(Reasoning { text, seal, id: Some(format!("rs_{place}")) }));
    }
    let mut chars = 0;
    for _ in 0..rng.usize(1..3) {
        let text = word(rng);
        let span = (0, text.chars().count() as u64);
        let citation = Citation {
            url: Some("https://c.test".into()),
            title: Some(word(rng)),
            span: Some(span),
            ..Citation::default()
        };
        let citations = if rng.bool() { vec![citation] } else { vec![] };
        chars += span.1;
        parts.push(Part::Text { text, cache: None, citations });
    }
    assert!(chars > 0);
    if rng.u8(0..4) == 0 {
        parts.push(Part::Refusal(word(rng)));
    }
    for n in 0..rng.usize(0..3) {
        let custom = rng.u8(0..4) == 0;
        let id = format!("call_{place}_{n}");
        calls.push((id.clone(), custom));
        let arguments = if custom { word(rng) } else { format!("{{\"x\":{}}}", rng.u16(..)) };
        parts.push(Part::Call(Call { id, name: format!("f{n}"), arguments, custom, cache: None }));
    }
    parts
}

fn turns(rng: &mut Rng) -> Vec<Turn> {
    let turn = |role, parts| Turn { role, name: None, parts };
    let mut turns = Vec::new();
    if rng.bool() {
        let role = if rng.bool() { Role::System } else { Role::Developer };
        turns.push(turn(role, (0..rng.usize(1..3)).map(|_| Part::text(word(rng))).collect()));
    }
    for place in 0..rng.usize(1..6) {
        let parts = (0..rng.usize(1..4)).map(|_| user_part(rng)).collect();
        turns.push(Turn { name: rng.bool().then(|| "ann".to_owned()), ..turn(Role::User, parts) });
        let mut calls = Vec::new();
        turns.push(turn(Role::Assistant, assistant(rng, place, &mut calls)));
        if calls.is_empty() {
            continue;
        }
        let mut parts = Vec::new();
        for (call_id, custom) in calls {
            let parts_of = (0..rng.usize(1..3)).map(|_| Part::text(word(rng))).collect();
            parts.push(Part::Result(CallResult { call_id, parts: parts_of, is_error: false, custom, cache: None }));
        }
        if rng.bool() {
            parts.push(user_part(rng));
        }
        turns.push(turn(Role::User, parts));
    }
    turns
}

fn tools(rng: &mut Rng) -> Vec<Tool> {
    let function = |name: &str, strict| Tool::Function {
        name: name.into(),
        description: Some("does".into()),
        parameters: Some(json(
            r#"{"type":"object","properties":{"x":{"minimum":1.0}},"required":["x"],"additionalProperties":false}"#,
        )),
        strict,
        cache: None,
    };
    let mut tools = vec![function("f0", Some(true)), function("f1", None)];
    let format = json(r#"{"type":"grammar","syntax":"lark","definition":"start: x"}"#);
    tools.push(Tool::Custom { name: "c".into(), description: None, format: rng.bool().then_some(format) });
    if rng.bool() {
        let json = json(r#"{"type":"retrieval","name":"r"}"#);
        tools.push(Tool::Native { dialect: Dialect::Chat, kind: "retrieval".into(), name: Some("r".into()), json });
    }
    if rng.bool() {
        let options =
            r#"{"search_context_size":"low","user_location":{"type":"approximate","approximate":{"city":"B"}}}"#;
        tools.push(Tool::WebSearch(WebSearch {
            context_size: Some("low".into()),
            user_location: Some(json(r#"{"type":"approximate","city":"B"}"#)),
            native: Some((Dialect::Chat, json(options))),
            ..WebSearch::default()
        }));
    }
    tools
}

fn conversation(rng: &mut Rng) -> Conversation {
    let tools = if rng.bool() { tools(rng) } else { vec![] };
    let has_tools = !tools.is_empty();
    let choice = match rng.u8(0..5) {
        0 => ToolChoice::Auto,
        1 => ToolChoice::None,
        2 => ToolChoice::Required,
        3 => ToolChoice::Named("c".into()),
        _ => ToolChoice::Allowed(vec!["f0".into(), "c".into()], rng.bool()),
    };
    let schema = Format::Schema {
        name: Some("s".into()),
        description: Some(word(rng)),
        schema: json(r#"{"type":"object","additionalProperties":false}"#),
        strict: Some(rng.bool()),
    };
    let thinking = match rng.u8(0..3) {
        0 => None,
        1 => Some(Thinking { wanted: Some(false), ..Thinking::default() }),
        _ => Some(Thinking { effort: Some(Effort::ALL[rng.usize(1..4)]), ..Thinking::default() }),
    };
    let number = |rng: &mut Rng| rng.bool().then(|| json("0.10"));
    Conversation {
        turns: turns(rng),
        tools,
        tool_choice: has_tools.then_some(choice),
        parallel_calls: has_tools.then(|| rng.bool()),
        format: [None, Some(Format::Text), Some(Format::JsonObject), Some(schema)][rng.usize(..4)].clone(),
        sampling: Sampling {
            temperature: number(rng),
            top_p: number(rng),
            top_k: None,
            seed: number(rng),
            frequency_penalty: number(rng),
            presence_penalty: number(rng),
        },
        stop: (0..rng.usize(0..5)).map(|_| word(rng)).collect(),
        output_tokens_max: rng.bool().then(|| rng.u64(1..9999)),
        thinking,
        user: rng.bool().then(|| "u1".into()),
        verbosity: rng.bool().then(|| "low".into()),
        cache_key: rng.bool().then(|| word(rng)),
        service_tier: rng.bool().then(|| "flex".into()),
        metadata: Some(json(r#"{"run":"7"}"#)),
        others: vec![("store".into(), json("true")), ("logit_bias".into(), json(r#"{"5":-1}"#))],
    }
}

#[test]
fn a_conversation_reads_back_as_it_was_written() {
    for seed in 0..2000 {
        let mut asked = conversation(&mut Rng::with_seed(seed));
        let written = write_request(&asked, &TO).expect("it can be said");
        let (mut read, losses) = read_request(&fields(&written.body)).expect("a request");
        asked.normalise();
        read.normalise();
        read.others.sort_by(|a, b| b.0.cmp(&a.0));
        assert_eq!(written.losses, [], "seed {seed}");
        assert_eq!(losses, [], "seed {seed}");
        assert_eq!(read, asked, "seed {seed}: {}", String::from_utf8_lossy(&written.body));
    }
}

/// What an answer means, whatever its events: texts joined, calls in their order.
#[derive(Debug, Default, PartialEq)]
struct Meaning {
    text: String,
    refusal: String,
    reasoning: String,
    seals: Vec<Seal>,
    calls: Vec<(String, String, bool, String)>,
    urls: Vec<String>,
    usage: Option<Usage>,
    finish: Option<Finish>,
    opened: usize,
    closed: usize,
}

fn meaning(events: &[Event]) -> Meaning {
    let mut meaning = Meaning::default();
    let mut kinds = std::collections::HashMap::new();
    for event in events {
        match event {
            Event::Start { .. } => {}
            Event::Open { block, kind } => {
                meaning.opened += 1;
                let place = meaning.calls.len();
                if let Block::Call { id, name, custom } = kind {
                    meaning.calls.push((id.clone(), name.clone(), *custom, String::new()));
                }
                assert!(kinds.insert(*block, (kind.clone(), place)).is_none(), "a number is used once");
            }
            Event::Delta { block, delta } => {
                let (kind, place) = &kinds[block];
                match (kind, delta) {
                    (Block::Text, Delta::Text(text)) => meaning.text.push_str(text),
                    (Block::Refusal, Delta::Text(text)) => meaning.refusal.push_str(text),
                    (Block::Reasoning, Delta::Text(text)) => meaning.reasoning.push_str(text),
                    (_, Delta::Arguments(text)) => meaning.calls[*place].3.push_str(text),
                    (_, Delta::Citation(citation)) => meaning.urls.extend(citation.url.clone()),
                    (_, Delta::Seal(seal)) => meaning.seals.push(seal.clone()),
                    (kind, delta) => panic!("{delta:?} in {kind:?}"),
                }
            }
            Event::Close { block } => {
                assert!(kinds.contains_key(block));
                meaning.closed += 1;
            }
            Event::Usage(usage) => meaning.usage = Some(*usage),
            Event::Finish { finish, .. } => {
                assert!(meaning.finish.replace(*finish).is_none(), "one finish");
                assert_eq!(meaning.opened, meaning.closed, "all is closed before the finish");
            }
        }
    }
    meaning
}

/// A random answer as events, calls interleaved.
fn answer(rng: &mut Rng) -> Vec<Event> {
    let mut events = vec![Event::Start { id: "x".into(), model: "m".into() }];
    let mut block = 0;
    let mut calls = 0;
    for _ in 0..rng.usize(1..6) {
        let kind = match rng.u8(0..5) {
            0 => Block::Text,
            1 => Block::Refusal,
            2 => Block::Reasoning,
            3 => Block::Sealed,
            _ => {
                calls += 2;
                Block::Call { id: format!("c{block}"), name: "f".into(), custom: rng.bool() }
            }
        };
        let open = |block, kind| Event::Open { block, kind };
        let delta = |block, delta| Event::Delta { block, delta };
        events.push(open(block, kind.clone()));
        let mut size = 1;
        match kind {
            Block::Text | Block::Refusal | Block::Reasoning => {
                for _ in 0..rng.usize(1..4) {
                    events.push(delta(block, Delta::Text(word(rng))));
                }
                if kind == Block::Reasoning && rng.bool() {
                    events.push(delta(block, Delta::Seal(Seal::Signature(word(rng)))));
                }
                if kind == Block::Text && rng.bool() {
                    let url = Some(format!("https://c.test/{block}"));
                    events.push(delta(block, Delta::Citation(Citation { url, ..Citation::default() })));
                }
            }
            Block::Sealed => events.push(delta(block, Delta::Seal(Seal::Redacted(word(rng))))),
            Block::Call { custom, .. } => {
                // Two at once.
                size = 2;
                let kind = Block::Call { id: format!("c{}", block + 1), name: "g".into(), custom };
                events.push(open(block + 1, kind));
                for piece in ["{\"a\":", "\"}\\\"", "\"", "}"] {
                    events.push(delta(block, Delta::Arguments(piece.into())));
                    events.push(delta(block + 1, Delta::Arguments(piece.into())));
                }
            }
            Block::Search { .. } | Block::Native { .. } => unreachable!("none was made"),
        }
        for block in block..block + size {
            events.push(Event::Close { block });
        }
        block += size;
    }
    let usage = Usage { input: 9, output: 4, cached_input: 2, cache_write: 3, reasoning: 1, ..Usage::default() };
    let finish = if calls > 0 { Finish::ToolCalls } else { Finish::Stop };
    let finish = Event::Finish { finish, stop_sequence: None };
    if rng.bool() {
        events.extend([Event::Usage(usage), finish]);
    } else {
        events.extend([finish, Event::Usage(usage)]);
    }
    events
}

pub(super) fn encode(events: &[Event], context: ReplyContext) -> Vec<SseFrame> {
    let (mut encoder, mut frames) = (Encoder::new(context), Vec::new());
    for event in events {
        encoder.push(event, &mut frames);
    }
    encoder.end(&mut frames);
    frames
}

pub(super) fn decode(frames: &[SseFrame]) -> Vec<Event> {
    let (mut decoder, mut events) = (Decoder::default(), Vec::new());
    for frame in frames {
        decoder.push(frame, &mut events).expect("a chunk");
    }
    events
}

#[test]
fn an_answer_decodes_to_what_was_encoded() {
    for seed in 0..2000 {
        let events = answer(&mut Rng::with_seed(seed));
        let context = ReplyContext { include_usage: true, ..ReplyContext::default() };
        let frames = encode(&events, context);
        for frame in &frames {
            read_chunk(&frame.data).expect("what the clocks read as a chunk");
        }
        let told = meaning(&events);
        let decoded = Meaning { opened: told.opened, closed: told.closed, ..meaning(&decode(&frames)) };
        assert_eq!(decoded, told, "seed {seed}");
        // The same when it is assembled first.
        let mut assembler = Assembler::default();
        for frame in &frames {
            assembler.push(&frame.data);
        }
        let whole = assembler.finish().to_string();
        let read = meaning(&decode_whole(whole.as_bytes()).expect("an answer"));
        assert_eq!((read.text, read.calls, read.finish, read.usage), (told.text, told.calls, told.finish, told.usage));
        assert_eq!((read.refusal, read.seals, read.urls), (told.refusal, told.seals, told.urls), "seed {seed}");
    }
}

#[test]
fn every_cut_of_the_bytes_tells_the_same() {
    let events = answer(&mut Rng::with_seed(1));
    let frames = encode(&events, ReplyContext { include_usage: true, ..ReplyContext::default() });
    let bytes: Vec<u8> = frames.iter().flat_map(|frame| frame.encode().to_vec()).collect();
    let whole = decode(&frames);
    for cut in 0..=bytes.len() {
        let mut reading = crate::wire::sse::SseDecoder::new(1 << 20);
        let (mut decoder, mut read, mut told) = (Decoder::default(), Vec::new(), Vec::new());
        for piece in [&bytes[..cut], &bytes[cut..]] {
            reading.push(piece, &mut read).expect("small frames");
            for frame in read.drain(..) {
                decoder.push(&frame, &mut told).expect("a chunk");
            }
            assert!(whole.starts_with(&told), "cut at {cut}");
        }
        assert_eq!(told, whole, "cut at {cut}");
    }
}

#[test]
fn no_mutation_of_a_request_makes_it_panic() {
    let swaps = [
        "null",
        "7",
        "\"x\"",
        "[]",
        "{}",
        "[[]]",
        "true",
        "[null]",
        "{\"type\":\"text\"}",
        "\"data:,\"",
        "\"data:;base64,\"",
    ];
    let mut rng = Rng::with_seed(3);
    let mut read = 0;
    for seed in 0..4000 {
        let asked = conversation(&mut Rng::with_seed(seed % 200));
        let body = write_request(&asked, &TO).expect("it can be said").body;
        let mut text = String::from_utf8(body.to_vec()).expect("text");
        for _ in 0..rng.usize(1..4) {
            let starts: Vec<usize> = text.match_indices([':', '[', ',']).map(|(at, _)| at + 1).collect();
            let from = starts[rng.usize(..starts.len())];
            let to = text[from..].find([',', '}', ']']).map_or(text.len(), |end| from + end);
            text.replace_range(from..to, swaps[rng.usize(..swaps.len())]);
        }
        let Ok(fields) = serde_json::from_str::<std::collections::BTreeMap<_, _>>(&text) else { continue };
        if let Ok((conversation, _)) = read_request(&fields.into_iter().collect::<Vec<_>>()) {
            read += 1;
            // Whatever was read is written, or refused by name.
            if let Ok(written) = write_request(&conversation, &TO) {
                assert!(serde_json::from_slice::<serde_json::Value>(&written.body).is_ok());
            }
        }
    }
    assert!(read > 100, "{read} of them were requests");
}
