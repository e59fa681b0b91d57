//! What is asked in one dialect and put in another means the same, and so does
//! the answer on its way back.
//!
//! Owns the tests over all pairs of dialects, on random conversations with
//! printed seeds. What a pair cannot carry is in docs/translation-*.md and in the
//! tests beside each dialect; here is what every pair must carry.

use super::{Translator, read_request, write_request};
use crate::domain::usage::Usage;
use crate::wire::canon::{
    Block, Call, CallResult, Conversation, Delta, Event, Json, Part, ReplyContext, Role, Sampling, Source, Tool,
    ToolChoice, Turn, WriteFor,
};
use crate::wire::dialect::Dialect;
use crate::wire::facts::Finish;
use crate::wire::frames::{Assembler, FrameReader};
use crate::wire::request::Fields;
use crate::wire::sse::SseFrame;
use crate::wire::{chat, messages, responses};
use fastrand::Rng;
use serde_json::{Value, json};

const SPOKEN: [Dialect; 3] = [Dialect::Chat, Dialect::Messages, Dialect::Responses];

const WHOM: WriteFor<'static> = WriteFor {
    model: "m",
    stream: false,
    ask_usage: false,
    output_tokens_max: Some(4096),
    reasoning: true,
    reasoning_declared: false,
    developer_role: true,
    reasoning_field: None,
};

fn pairs() -> impl Iterator<Item = (Dialect, Dialect)> {
    SPOKEN.into_iter().flat_map(|from| SPOKEN.into_iter().map(move |to| (from, to)))
}

fn words(rng: &mut Rng) -> String {
    const WORDS: [&str; 9] =
        ["rope", "Füße", "\"so\"", "back\\slash", "line\nbreak", "👩‍🔧🦀", "{\"x\":1}", "a\u{2028}b", " נעל"];
    (0..rng.usize(1..5)).map(|_| WORDS[rng.usize(..WORDS.len())]).collect()
}

fn arguments(rng: &mut Rng) -> Value {
    json!({"query": words(rng), "limit": rng.u32(..), "deep": {"list": [1, "zwei", null, 2.5], "yes": rng.bool()}})
}

/// A conversation of what every dialect has: leading system text, words and
/// pictures of a person, words and calls of the model, results.
fn conversation(rng: &mut Rng) -> Conversation {
    let turn = |role, parts| Turn { role, name: None, parts };
    let mut turns = Vec::new();
    if rng.bool() {
        turns.push(turn(Role::System, vec![Part::text(words(rng))]));
    }
    let picture = |rng: &mut Rng| Part::Image {
        source: if rng.bool() {
            Source::Url(format!("https://x.test/{}.png", rng.u16(..)))
        } else {
            Source::Base64 { media_type: "image/png".to_owned(), data: "aGFsbG8=".to_owned() }
        },
        detail: None,
        cache: None,
    };
    for round in 0..rng.usize(1..5) {
        let mut asked = vec![Part::text(words(rng))];
        if rng.u8(0..4) == 0 {
            asked.push(picture(rng));
        }
        turns.push(turn(Role::User, asked));
        let calls: Vec<Call> = (0..rng.usize(0..4))
            .map(|place| Call {
                id: format!("call_{round}_{place}"),
                name: ["look_up", "edit-file"][rng.usize(..2)].to_owned(),
                arguments: arguments(rng).to_string(),
                custom: false,
                cache: None,
            })
            .collect();
        let mut said = if calls.is_empty() || rng.bool() { vec![Part::text(words(rng))] } else { Vec::new() };
        said.extend(calls.iter().cloned().map(Part::Call));
        turns.push(turn(Role::Assistant, said));
        let results = calls.iter().map(|call| {
            let parts = vec![Part::text(words(rng))];
            Part::Result(CallResult { call_id: call.id.clone(), parts, is_error: false, custom: false, cache: None })
        });
        let results: Vec<Part> = results.collect();
        if !results.is_empty() {
            turns.push(turn(Role::User, results));
        }
    }
    let tool = |name: &str| Tool::Function {
        name: name.to_owned(),
        description: Some("does".to_owned()),
        parameters: Some((&json!({"type": "object", "properties": {"query": {"type": "string"}}})).into()),
        strict: None,
        cache: None,
    };
    Conversation {
        turns,
        tools: vec![tool("look_up"), tool("edit-file")],
        tool_choice: [
            None,
            Some(ToolChoice::Auto),
            Some(ToolChoice::Required),
            Some(ToolChoice::Named("look_up".into())),
        ][rng.usize(..4)]
        .clone(),
        output_tokens_max: Some(u64::from(rng.u16(16..))),
        sampling: Sampling { temperature: rng.bool().then(|| (&json!(0.5)).into()), ..Sampling::default() },
        ..Conversation::default()
    }
}

/// Roles, order, text, pictures, calls and results, whatever parts they stand in.
fn meaning(conversation: &Conversation) -> Vec<String> {
    let mut told = Vec::new();
    for turn in &conversation.turns {
        // Instructions are instructions, whoever is said to give them.
        let role = if turn.role == Role::Developer { Role::System } else { turn.role };
        for part in &turn.parts {
            told.push(match part {
                Part::Text { text, .. } => format!("{role:?} says {text}"),
                Part::Image { source, .. } => format!("{role:?} shows {source:?}"),
                Part::Call(Call { id, name, arguments, .. }) => {
                    let arguments: Value = serde_json::from_str(arguments).expect("JSON");
                    format!("{role:?} calls {id} {name} {arguments}")
                }
                Part::Result(CallResult { call_id, parts, .. }) => format!("{call_id} gives {}", texts(parts)),
                other => format!("{role:?} has {other:?}"),
            });
        }
    }
    told.push(format!("{:?} {:?}", conversation.tool_choice, conversation.output_tokens_max));
    told.push(format!("{:?}", conversation.sampling.temperature));
    told.extend(conversation.tools.iter().map(|tool| match tool {
        Tool::Function { name, description, parameters, .. } => {
            format!(
                "{name} {description:?} {}",
                parameters.as_ref().map(|schema| schema.value()["properties"].clone()).unwrap_or_default()
            )
        }
        other => format!("{other:?}"),
    }));
    told
}

fn texts(parts: &[Part]) -> String {
    let text = |part: &Part| if let Part::Text { text, .. } = part { text.clone() } else { format!("{part:?}") };
    parts.iter().map(text).collect()
}

/// Writes a conversation and reads it back.
fn through(dialect: Dialect, conversation: &Conversation) -> Conversation {
    let encoded = write_request(dialect, conversation, &WHOM).expect("every dialect has this");
    let Fields(fields) = serde_json::from_slice(&encoded.body).expect("an object");
    let (mut read, _) = read_request(dialect, &fields).expect("what we write we read");
    read.normalise();
    read
}

#[test]
fn a_conversation_keeps_its_meaning_from_any_dialect_to_any_other() {
    for seed in 0..200 {
        let asked = conversation(&mut Rng::with_seed(seed));
        for (from, to) in pairs() {
            let there = through(from, &asked);
            let back = through(to, &there);
            assert_eq!(meaning(&back), meaning(&there), "seed {seed}: {from} to {to}");
            assert_eq!(meaning(&there), meaning(&through(from, &there)), "seed {seed}: {from} twice");
        }
    }
}

/// An answer: words and calls, as events of a well-behaved target.
fn answer(rng: &mut Rng) -> Vec<Event> {
    let mut events = vec![Event::Start { id: "answer".to_owned(), model: "m".to_owned() }];
    let mut block = 0;
    let mut open = |events: &mut Vec<Event>, kind, pieces: Vec<Delta>| {
        events.push(Event::Open { block, kind });
        events.extend(pieces.into_iter().map(|delta| Event::Delta { block, delta }));
        events.push(Event::Close { block });
        block += 1;
    };
    let calls = rng.usize(0..3);
    if calls == 0 || rng.bool() {
        open(&mut events, Block::Text, (0..rng.usize(1..6)).map(|_| Delta::Text(words(rng))).collect());
    }
    for call in 0..calls {
        let kind = Block::Call { id: format!("call_{call}"), name: "look_up".to_owned(), custom: false };
        let text: Vec<char> = arguments(rng).to_string().chars().collect();
        open(&mut events, kind, text.chunks(7).map(|piece| Delta::Arguments(piece.iter().collect())).collect());
    }
    let finish = if calls > 0 { Finish::ToolCalls } else { [Finish::Stop, Finish::Length][rng.usize(..2)] };
    events.push(Event::Usage(Usage { input: 30, output: 12, cached_input: 10, ..Usage::default() }));
    events.push(Event::Finish { finish, stop_sequence: None });
    events
}

fn context() -> ReplyContext {
    ReplyContext {
        id: "01x".to_owned(),
        created: 1,
        model: "m".to_owned(),
        include_usage: true,
        ..ReplyContext::default()
    }
}

macro_rules! drive {
    ($encoder:expr, $events:expr, $out:expr) => {{
        let mut encoder = $encoder;
        for event in $events {
            encoder.push(event, &mut $out);
        }
        encoder.end(&mut $out);
    }};
}

fn encode(dialect: Dialect, events: &[Event]) -> Vec<SseFrame> {
    let mut out = Vec::new();
    match dialect {
        Dialect::Messages => drive!(messages::Encoder::new(context()), events, out),
        Dialect::Responses => drive!(responses::Encoder::new(context()), events, out),
        _ => drive!(chat::Encoder::new(context()), events, out),
    }
    out
}

fn decode(dialect: Dialect, frames: &[SseFrame]) -> Vec<Event> {
    let mut out = Vec::new();
    macro_rules! with {
        ($decoder:expr) => {{
            let mut decoder = $decoder;
            for frame in frames {
                decoder.push(frame, &mut out).expect("what we write we read");
            }
        }};
    }
    match dialect {
        Dialect::Messages => with!(messages::Decoder::default()),
        Dialect::Responses => with!(responses::Decoder::default()),
        _ => with!(chat::Decoder::default()),
    }
    out
}

/// Words, calls with their arguments, the end and the count.
fn told(events: &[Event]) -> (String, Vec<(String, Value)>, Vec<String>) {
    let (mut text, mut calls, mut rest) = (String::new(), Vec::<(u32, String, String)>::new(), Vec::new());
    for event in events {
        match event {
            Event::Open { block, kind: Block::Call { id, name, .. } } => {
                calls.push((*block, format!("{id} {name}"), String::new()));
            }
            Event::Delta { delta: Delta::Text(piece), .. } => text.push_str(piece),
            Event::Delta { block, delta: Delta::Arguments(piece) } => {
                calls.iter_mut().find(|(known, ..)| known == block).expect("open").2.push_str(piece);
            }
            Event::Finish { finish, .. } => rest.push(format!("{finish:?}")),
            _ => {}
        }
    }
    let usage = events.iter().rev().find_map(|event| if let Event::Usage(usage) = event { Some(*usage) } else { None });
    rest.push(format!("{:?}", usage.map(|usage| (usage.input, usage.output, usage.cached_input))));
    let calls = calls.into_iter().map(|(_, name, text)| (name, serde_json::from_str(&text).expect("JSON")));
    (text, calls.collect(), rest)
}

#[test]
fn an_answer_keeps_its_meaning_from_any_dialect_to_any_other() {
    for seed in 0..120 {
        let events = answer(&mut Rng::with_seed(seed));
        for (from, to) in pairs() {
            let frames = encode(from, &events);
            let mut translator = Translator::new(from, to, context());
            let mut out = Vec::new();
            for frame in &frames {
                translator.push(frame, &mut out).unwrap_or_else(|error| panic!("seed {seed}: {from} to {to}: {error}"));
            }
            translator.end(&mut out);
            assert_eq!(told(&decode(to, &out)), told(&events), "seed {seed}: {from} to {to}");
            // The clocks and the bill read the same of both streams.
            let mut reader = FrameReader::new(to);
            let finished = out.iter().filter(|frame| !reader.read(frame).expect("good").finished.is_empty()).count();
            assert!(finished >= 1, "seed {seed}: {from} to {to}");
        }
    }
}

#[test]
fn seals_keep_their_kind_and_their_own_dialect_marks_none() {
    use crate::wire::canon::Seal;
    let kinds = [Seal::Signature("s".into()), Seal::Redacted("r".into()), Seal::Encrypted("e".into())];
    let mut events = vec![Event::Start { id: "answer".to_owned(), model: "m".to_owned() }];
    for (block, seal) in (0..).zip(&kinds) {
        let shown = !matches!(seal, Seal::Redacted(_));
        events.push(Event::Open { block, kind: if shown { Block::Reasoning } else { Block::Sealed } });
        if shown {
            events.push(Event::Delta { block, delta: Delta::Text("hm".to_owned()) });
        }
        events.push(Event::Delta { block, delta: Delta::Seal(seal.clone()) });
        events.push(Event::Close { block });
    }
    events.push(Event::Finish { finish: Finish::Stop, stop_sequence: None });
    for to in SPOKEN {
        let include = Json::from(&json!(["reasoning.encrypted_content"]));
        let context = ReplyContext { fields: vec![("include".to_owned(), include)], ..context() };
        let mut frames = Vec::new();
        match to {
            Dialect::Messages => drive!(messages::Encoder::new(context), &events, frames),
            Dialect::Responses => drive!(responses::Encoder::new(context), &events, frames),
            _ => drive!(chat::Encoder::new(context), &events, frames),
        }
        let seal = |event| if let Event::Delta { delta: Delta::Seal(seal), .. } = event { Some(seal) } else { None };
        let back: Vec<_> = decode(to, &frames).into_iter().filter_map(seal).collect();
        assert_eq!(back, kinds, "{to}");
    }
    let whole = br#"{"id":"m","model":"m","content":[{"type":"thinking","thinking":"hm","signature":"s"}],"stop_reason":"end_turn"}"#;
    let frames = Translator::new(Dialect::Messages, Dialect::Messages, context()).whole(whole).expect("whole");
    assert!(frames.iter().any(|frame| frame.data.ends_with(br#""signature":"s"}}"#)), "{frames:?}");
}

#[test]
fn a_whole_answer_says_what_its_stream_said() {
    for seed in 0..120 {
        let events = answer(&mut Rng::with_seed(seed));
        for (from, to) in pairs() {
            let mut assembler = Assembler::new(from);
            for frame in &encode(from, &events) {
                assembler.push(frame);
            }
            let whole = assembler.finish();
            let frames = Translator::new(from, to, context()).whole(whole.as_bytes()).expect("whole");
            assert_eq!(told(&decode(to, &frames)), told(&events), "seed {seed}: {from} to {to}: {whole}");
        }
    }
}
