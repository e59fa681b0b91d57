//! Conversations and the bodies they become.

use super::*;
use crate::wire::canon::{
    Call, CallResult, Part, Reasoning, Role, Sampling, Seal, Source, Thinking, Tool, ToolChoice, Turn, WebSearch,
};
use crate::wire::dialect::Dialect;
use serde_json::{Value, json};

fn target(model: &str) -> WriteFor<'_> {
    WriteFor {
        model,
        stream: false,
        ask_usage: false,
        output_tokens_max: None,
        reasoning: true,
        reasoning_declared: false,
        developer_role: false,
        reasoning_field: None,
    }
}

fn write(conversation: &Conversation, model: &str) -> (Value, Vec<String>) {
    let encoded = write_request(conversation, &target(model)).expect("sayable");
    let losses = encoded.losses.iter().map(ToString::to_string).collect();
    (serde_json::from_slice(&encoded.body).expect("JSON"), losses)
}

fn turn(role: Role, parts: Vec<Part>) -> Turn {
    Turn { role, name: None, parts }
}

fn said(role: Role, text: &str) -> Turn {
    turn(role, vec![Part::text(text)])
}

fn call(id: &str, arguments: &str) -> Part {
    Part::Call(Call { id: id.into(), name: "f".into(), arguments: arguments.into(), custom: false, cache: None })
}

fn answer(id: &str, text: &str) -> Part {
    Part::Result(CallResult {
        call_id: id.into(),
        parts: vec![Part::text(text)],
        is_error: false,
        custom: false,
        cache: None,
    })
}

fn number(text: &str) -> Option<Json> {
    Json::parse(text.to_owned())
}

#[test]
fn a_chat_with_calls_becomes_alternating_turns_with_results_first() {
    let conversation = Conversation {
        turns: vec![
            said(Role::System, "be brief"),
            said(Role::User, "weather?"),
            turn(Role::Assistant, vec![Part::text("looking"), call("call:1", r#"{"city": "x"}"#), call("b", "")]),
            said(Role::Developer, "mind the units"),
            turn(Role::User, vec![answer("call:1", "21"), answer("b", "22")]),
            said(Role::User, "well?"),
        ],
        tools: vec![Tool::Function {
            name: "f".into(),
            description: None,
            parameters: Json::parse(r#"{ "properties": {} }"#.into()),
            strict: Some(false),
            cache: None,
        }],
        parallel_calls: Some(false),
        output_tokens_max: Some(50),
        ..Conversation::default()
    };
    let (body, losses) = write(&conversation, "claude-opus-4-6");
    assert_eq!(
        body,
        json!({
            "model": "claude-opus-4-6", "max_tokens": 50, "system": "be brief",
            "messages": [
                {"role": "user", "content": "weather?"},
                {"role": "assistant", "content": [
                    {"type": "text", "text": "looking"},
                    {"type": "tool_use", "id": "tl64_Y2FsbDox", "name": "f", "input": {"city": "x"}},
                    {"type": "tool_use", "id": "b", "name": "f", "input": {}}]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "tl64_Y2FsbDox", "content": "21"},
                    {"type": "tool_result", "tool_use_id": "b", "content": "22"},
                    {"type": "text", "text": "mind the units"},
                    {"type": "text", "text": "well?"}]}],
            "tools": [{"name": "f", "input_schema": {"type": "object", "properties": {}}}],
            "tool_choice": {"type": "auto", "disable_parallel_tool_use": true},
        })
    );
    assert_eq!(losses, ["changed messages[3]: a system turn in the middle became user text"]);
}

#[test]
fn fields_stand_in_one_order_and_numbers_keep_their_digits() {
    let conversation = Conversation {
        turns: vec![said(Role::User, "hi")],
        sampling: Sampling { temperature: number("0.10"), ..Sampling::default() },
        stop: vec!["END".into()],
        user: Some("u1".into()),
        service_tier: Some("default".into()),
        ..Conversation::default()
    };
    let encoded = write_request(&conversation, &WriteFor { stream: true, ..target("m") }).expect("sayable");
    assert_eq!(
        encoded.body,
        r#"{"model":"m","max_tokens":8192,"messages":[{"role":"user","content":"hi"}],"temperature":0.10,"stop_sequences":["END"],"metadata":{"user_id":"u1"},"service_tier":"standard_only","stream":true}"#
    );
    assert!(encoded.losses.is_empty());
}

#[test]
fn what_has_no_place_there_is_named() {
    let conversation = Conversation {
        turns: vec![Turn {
            name: Some("ann".into()),
            ..turn(
                Role::User,
                vec![
                    Part::text(" \n"),
                    Part::text("hi"),
                    Part::Image {
                        source: Source::Url("data:image/png;base64,AA".into()),
                        detail: Some("high".into()),
                        cache: None,
                    },
                    Part::Native {
                        dialect: Dialect::Responses,
                        kind: "computer_call".into(),
                        json: Json::parse("{}".into()).expect("JSON"),
                    },
                ],
            )
        }],
        tools: vec![
            Tool::Custom { name: "c".into(), description: None, format: Json::parse(r#"{"type":"grammar"}"#.into()) },
            Tool::Native {
                dialect: Dialect::Responses,
                kind: "file_search".into(),
                name: None,
                json: Json::parse("{}".into()).expect("JSON"),
            },
            Tool::WebSearch(WebSearch { context_size: Some("low".into()), ..WebSearch::default() }),
        ],
        format: Some(Format::JsonObject),
        sampling: Sampling {
            temperature: number("1.7"),
            seed: number("1"),
            presence_penalty: number("0.5"),
            frequency_penalty: number("0"),
            ..Sampling::default()
        },
        stop: vec!["\n".into()],
        user: Some("a@b.c".into()),
        verbosity: Some("low".into()),
        cache_key: Some("k".into()),
        service_tier: Some("flex".into()),
        metadata: Json::parse("{}".into()),
        others: vec![
            ("logit_bias".into(), Json::parse("{}".into()).expect("JSON")),
            ("store".into(), Json::parse("false".into()).expect("JSON")),
        ],
        ..Conversation::default()
    };
    let (body, losses) = write(&conversation, "claude-sonnet-4-5");
    assert_eq!(body["system"], JSON_OBJECT);
    assert_eq!(body["temperature"], 1);
    assert_eq!(body["max_tokens"], 64_000);
    assert_eq!(
        body["messages"][0]["content"],
        json!([{"type": "text", "text": "hi"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}}])
    );
    assert_eq!(body["tools"][1], json!({"type": "web_search_20250305", "name": "web_search"}));
    assert_eq!(body["tools"][0]["input_schema"]["required"], json!(["input"]));
    assert_eq!(
        losses,
        [
            "dropped messages[0].name",
            "dropped messages[0].content[0]",
            "dropped messages[0].content[2].detail",
            "dropped messages[0].content[3]",
            "changed tools[0]: became a function with one text, `input`",
            "dropped tools[0].format",
            "dropped tools[1]",
            "dropped tools[2].search_context_size",
            "changed response_format: asked for in the system text",
            "changed temperature: 1, the highest there",
            "dropped stop[0]",
            "dropped user",
            "dropped service_tier",
            "dropped seed",
            "dropped presence_penalty",
            "dropped verbosity",
            "dropped prompt_cache_key",
            "dropped metadata",
            "dropped logit_bias",
        ]
    );
}

#[test]
fn only_sealed_reasoning_goes_back() {
    let thought = |text: &str, seal| Part::Reasoning(Reasoning { text: vec![text.into()], seal, id: None });
    let conversation = Conversation {
        turns: vec![
            said(Role::User, "q"),
            turn(
                Role::Assistant,
                vec![
                    thought("a", Some(Seal::Signature("s".into()))),
                    thought("b", None),
                    thought("c", Some(Seal::Encrypted("e".into()))),
                    Part::Reasoning(Reasoning { seal: Some(Seal::Redacted("r".into())), ..Reasoning::default() }),
                    Part::text("x"),
                ],
            ),
            said(Role::User, "q"),
        ],
        ..Conversation::default()
    };
    let (body, losses) = write(&conversation, "claude-opus-4-6");
    assert_eq!(
        body["messages"][1]["content"],
        json!([{"type": "thinking", "thinking": "a", "signature": "s"},
            {"type": "redacted_thinking", "data": "r"}, {"type": "text", "text": "x"}])
    );
    assert_eq!(losses, ["dropped messages[1].content[1]", "dropped messages[1].content[2]"]);
}

#[test]
fn wishes_about_reasoning_take_the_models_form() {
    let effort = |effort| Thinking { effort: Some(effort), ..Thinking::default() };
    let wanted = |wanted| Thinking { wanted: Some(wanted), ..Thinking::default() };
    let budget = |tokens| Thinking { wanted: Some(true), budget_tokens: Some(tokens), ..Thinking::default() };
    for (model, wish, max, thinking, config, losses) in [
        ("claude-opus-4-7", effort(Effort::Minimal), 9_000, json!({"type": "adaptive"}), json!({"effort": "low"}), 0),
        ("claude-opus-4-6", effort(Effort::XHigh), 9_000, json!({"type": "adaptive"}), json!({"effort": "high"}), 0),
        ("claude-opus-4-7", budget(5_000), 9_000, json!({"type": "adaptive"}), json!({"effort": "medium"}), 1),
        (
            "claude-sonnet-4-5",
            effort(Effort::High),
            64_000,
            json!({"type": "enabled", "budget_tokens": 16_384}),
            json!(null),
            0,
        ),
        (
            "claude-opus-4-5",
            effort(Effort::High),
            8_000,
            json!({"type": "enabled", "budget_tokens": 6_000}),
            json!({"effort": "high"}),
            0,
        ),
        ("claude-sonnet-4-5", budget(5_000), 5_001, json!({"type": "enabled", "budget_tokens": 5_000}), json!(null), 0),
        ("claude-sonnet-4-5", budget(5_000), 4_000, json!({"type": "enabled", "budget_tokens": 3_000}), json!(null), 1),
        ("claude-sonnet-4-5", budget(5_000), 1_200, json!(null), json!(null), 1),
        ("claude-sonnet-4-5", wanted(false), 900, json!({"type": "disabled"}), json!(null), 0),
        ("claude-sonnet-5-5", wanted(false), 900, json!({"type": "between_tools"}), json!(null), 0),
        ("claude-opus-5-5", wanted(false), 900, json!(null), json!({"effort": "low"}), 1),
        ("claude-3-5-haiku-latest", effort(Effort::High), 900, json!(null), json!(null), 1),
        ("claude-opus-4-7", Thinking::default(), 900, json!(null), json!(null), 0),
    ] {
        let conversation = Conversation {
            turns: vec![said(Role::User, "hi")],
            thinking: Some(wish),
            output_tokens_max: Some(max),
            ..Conversation::default()
        };
        let (body, told) = write(&conversation, model);
        assert_eq!(
            (&body["thinking"], &body["output_config"], told.len()),
            (&thinking, &config, losses),
            "{model} {told:?}"
        );
    }
}

#[test]
fn thinking_gives_way_to_a_tool_that_must_be_called_and_takes_sampling_along() {
    let tool = Tool::Function { name: "f".into(), description: None, parameters: None, strict: None, cache: None };
    let mut conversation = Conversation {
        turns: vec![said(Role::User, "hi")],
        thinking: Some(Thinking { effort: Some(Effort::Low), ..Thinking::default() }),
        tools: vec![tool],
        sampling: Sampling {
            temperature: number("0.2"),
            top_p: number("0.9"),
            top_k: number("5"),
            ..Sampling::default()
        },
        ..Conversation::default()
    };
    let (body, losses) = write(&conversation, "claude-sonnet-4-5");
    assert_eq!(body["thinking"]["budget_tokens"], 2_048);
    assert_eq!([&body["temperature"], &body["top_p"], &body["top_k"]], [&Value::Null; 3]);
    assert_eq!(losses, ["dropped temperature", "dropped top_p", "dropped top_k"]);
    conversation.tool_choice = Some(ToolChoice::Required);
    let (body, losses) = write(&conversation, "claude-sonnet-4-5");
    assert_eq!((&body["thinking"], &body["tool_choice"]), (&Value::Null, &json!({"type": "any"})));
    assert_eq!((&body["temperature"], &body["top_p"], &body["top_k"]), (&json!(0.2), &Value::Null, &json!(5)));
    assert_eq!(losses, ["changed reasoning: left off, as a tool must be called", "dropped top_p"]);
    let refused = write_request(&conversation, &target("claude-opus-5-5")).expect_err("unsayable");
    assert_eq!(refused.field, "tool_choice");
    let (body, losses) = write(&Conversation { tool_choice: None, ..conversation }, "claude-opus-4-7");
    assert_eq!([&body["temperature"], &body["top_p"], &body["top_k"]], [&Value::Null; 3]);
    assert_eq!(losses.len(), 3);
}

#[test]
fn a_loop_without_its_own_reasoning_is_not_told_to_think_by_budget() {
    let mut conversation = Conversation {
        turns: vec![
            said(Role::User, "q"),
            turn(Role::Assistant, vec![call("a", "{}")]),
            turn(Role::User, vec![answer("a", "r")]),
        ],
        thinking: Some(Thinking { effort: Some(Effort::Low), ..Thinking::default() }),
        ..Conversation::default()
    };
    let (body, losses) = write(&conversation, "claude-sonnet-4-5");
    assert_eq!(body["thinking"], Value::Null);
    assert_eq!(losses.len(), 2, "{losses:?}");
    // Its tool is remembered, as the client defined none.
    assert_eq!((&body["tools"][0]["name"], &body["tool_choice"]["type"]), (&json!("f"), &json!("none")));
    let seal = Some(Seal::Signature("s".into()));
    conversation.turns[1].parts.insert(0, Part::Reasoning(Reasoning { text: vec!["t".into()], seal, id: None }));
    assert_eq!(write(&conversation, "claude-sonnet-4-5").0["thinking"]["type"], "enabled");
    assert_eq!(write(&conversation, "claude-opus-4-6").0["thinking"]["type"], "adaptive");
    // A second call is made without thinking again.
    conversation.turns.push(turn(Role::Assistant, vec![call("b", "{}")]));
    conversation.turns.push(turn(Role::User, vec![answer("b", "r")]));
    assert_eq!(write(&conversation, "claude-sonnet-4-5").0["thinking"]["type"], "enabled");
    conversation.turns[1].parts.remove(0);
    assert_eq!(write(&conversation, "claude-sonnet-4-5").0["thinking"], Value::Null);
}

#[test]
fn what_cannot_be_said_is_refused_by_name() {
    let file = |media_type: &str, data: &str| Part::File {
        source: Source::Base64 { media_type: media_type.into(), data: data.into() },
        name: None,
        cache: None,
    };
    let with = |part| Conversation { turns: vec![turn(Role::User, vec![part])], ..Conversation::default() };
    for part in [
        Part::Audio { data: String::new(), format: "wav".into() },
        file("application/vnd.ms-excel", "AA"),
        file("text/plain", "/w=="),
        Part::Image { source: Source::FileId("file-1".into()), detail: None, cache: None },
    ] {
        let error = write_request(&with(part), &target("m")).expect_err("unsayable");
        assert_eq!(error.field, "messages[0].content[0]");
    }
    let (body, losses) = write(&with(file("text/csv", "YSxi")), "m");
    assert_eq!(
        body["messages"][0]["content"][0]["source"],
        json!({"type": "text", "media_type": "text/plain", "data": "a,b"})
    );
    assert!(losses.is_empty());
    for choice in [ToolChoice::Required, ToolChoice::Named("x".into()), ToolChoice::Allowed(vec!["x".into()], true)] {
        let conversation =
            Conversation { turns: vec![said(Role::User, "q")], tool_choice: Some(choice), ..Conversation::default() };
        assert_eq!(write_request(&conversation, &target("m")).expect_err("unsayable").field, "tool_choice");
    }
}

#[test]
fn the_whole_is_a_conversation_that_the_api_takes() {
    let image = Part::Image { source: Source::Url("https://a".into()), detail: None, cache: None };
    let system = turn(Role::System, vec![Part::text("s"), image]);
    let (body, losses) = write(&Conversation { turns: vec![system], ..Conversation::default() }, "m");
    assert_eq!(losses[0], "dropped messages[0].content[1]");
    assert_eq!((&body["system"], &body["messages"]), (&Value::Null, &json!([{"role": "user", "content": "s"}])));
    let turns = vec![said(Role::Assistant, "hello"), said(Role::User, "hi"), said(Role::Assistant, "once \n")];
    let (body, losses) = write(&Conversation { turns, ..Conversation::default() }, "m");
    assert_eq!(body["messages"].as_array().expect("a list").len(), 4);
    assert_eq!(body["messages"][3]["content"], "once");
    assert_eq!(losses.len(), 2);
    let broken = vec![said(Role::User, "q"), turn(Role::Assistant, vec![call("a", "[1]")]), said(Role::User, "q")];
    let (body, losses) = write(&Conversation { turns: broken, ..Conversation::default() }, "m");
    assert_eq!(body["messages"][1]["content"][0]["input"], json!({"input": "[1]"}));
    assert_eq!(losses[0], "changed messages[1].content[0].arguments: wrapped as `input`, being no object");
}

#[test]
fn allowed_tools_are_those_that_are_sent() {
    let tool = |name: &str| Tool::Function {
        name: name.into(),
        description: None,
        parameters: None,
        strict: None,
        cache: None,
    };
    let conversation = Conversation {
        turns: vec![said(Role::User, "q")],
        tools: vec![tool("a"), tool("b")],
        tool_choice: Some(ToolChoice::Allowed(vec!["b".into()], false)),
        ..Conversation::default()
    };
    let (body, losses) = write(&conversation, "m");
    assert_eq!(body["tools"], json!([{"name": "b", "input_schema": {"type": "object", "properties": {}}}]));
    assert_eq!(body["tool_choice"], json!({"type": "auto"}));
    assert_eq!(losses, ["changed tool_choice: the tools that are not allowed were left out"]);
}

#[test]
fn a_schema_that_cannot_be_held_to_is_asked_for_in_words() {
    let with = |schema: &str| Conversation {
        turns: vec![said(Role::User, "q")],
        format: Some(Format::Schema {
            name: Some("n".into()),
            description: None,
            schema: Json::parse(schema.into()).expect("JSON"),
            strict: None,
        }),
        ..Conversation::default()
    };
    let (body, losses) = write(&with(r#"{"type":"object","properties":{"a":{"type":"string"}}}"#), "m");
    assert_eq!(body["output_config"]["format"]["schema"]["additionalProperties"], false);
    assert_eq!(losses.len(), 1);
    let (body, losses) = write(&with(r#"{"type":"object","additionalProperties":{"type":"string"}}"#), "m");
    assert_eq!(body["output_config"], Value::Null);
    assert!(body["system"].as_str().is_some_and(|text| text.contains("additionalProperties")));
    assert_eq!(losses, ["changed response_format: asked for in the system text"]);
}

#[test]
fn strict_is_let_go_where_it_would_cost_the_request() {
    let tool = |schema: &str| Tool::Function {
        name: "f".into(),
        description: None,
        parameters: Json::parse(schema.into()),
        strict: Some(true),
        cache: None,
    };
    let closed = r#"{"type":"object","properties":{},"additionalProperties":false}"#;
    let mut tools = vec![tool(r#"{"type":"object","properties":{"a":{"type":"integer","minimum":1}}}"#)];
    tools.extend((0..21).map(|_| tool(closed)));
    let (body, losses) =
        write(&Conversation { turns: vec![said(Role::User, "q")], tools, ..Conversation::default() }, "m");
    assert_eq!((&body["tools"][0]["strict"], &body["tools"][1]["strict"]), (&Value::Null, &json!(true)));
    assert_eq!(losses, ["dropped tools[0].strict", "dropped tools[21].strict"]);
}

/// A conversation as it may come from a client of another dialect, and in which
/// nothing is that this one documents as changed.
fn random_conversation(rng: &mut fastrand::Rng) -> Conversation {
    let mut turns = Vec::new();
    if rng.bool() {
        turns.push(turn(Role::System, (0..rng.usize(1..3)).map(|_| random_text(rng)).collect()));
    }
    for round in 0..rng.usize(1..5) {
        let mut parts: Vec<Part> = (0..rng.usize(1..4)).map(|_| random_content(rng)).collect();
        parts.insert(0, random_text(rng));
        turns.push(turn(Role::User, parts));
        let mut answer_parts = Vec::new();
        if rng.bool() {
            let seal = match rng.u8(0..2) {
                0 => (vec!["hm\n".to_owned()], Seal::Signature("s==".into())),
                _ => (Vec::new(), Seal::Redacted("r".into())),
            };
            answer_parts.push(Part::Reasoning(Reasoning { text: seal.0, seal: Some(seal.1), id: None }));
        }
        answer_parts.push(random_text(rng));
        let calls = rng.usize(0..3);
        for call in 0..calls {
            let name = ["get_weather", "f"][rng.usize(0..2)].to_owned();
            answer_parts.push(Part::Call(Call {
                id: random_id(round, call),
                name,
                arguments: [r#"{"a":1.50,"b":"\u00fc"}"#, "{}"][rng.usize(0..2)].to_owned(),
                custom: false,
                cache: random_cache(rng),
            }));
        }
        turns.push(turn(Role::Assistant, answer_parts));
        let results = (0..calls).map(|call| {
            Part::Result(CallResult {
                call_id: random_id(round, call),
                parts: (0..rng.usize(0..3)).map(|_| random_content(rng)).collect(),
                is_error: rng.bool(),
                custom: false,
                cache: random_cache(rng),
            })
        });
        turns.push(turn(Role::User, results.collect()));
    }
    turns.push(turn(Role::User, vec![random_text(rng)]));
    Conversation { turns, ..random_settings(rng) }
}

fn random_settings(rng: &mut fastrand::Rng) -> Conversation {
    let tool = |name: &str, strict| Tool::Function {
        name: name.into(),
        description: Some("d".into()),
        parameters: Json::parse(
            r#"{"type":"object","properties":{"a":{"type":"number"}},"additionalProperties":false}"#.into(),
        ),
        strict,
        cache: None,
    };
    let sometimes = |rng: &mut fastrand::Rng, text: &str| if rng.bool() { number(text) } else { None };
    Conversation {
        tools: vec![tool("get_weather", Some(true)), tool("f", None)],
        tool_choice: [
            None,
            Some(ToolChoice::Auto),
            Some(ToolChoice::None),
            Some(ToolChoice::Required),
            Some(ToolChoice::Named("f".into())),
        ][rng.usize(0..5)]
        .clone(),
        sampling: Sampling {
            temperature: sometimes(rng, "0.70"),
            top_p: sometimes(rng, "0.5"),
            top_k: sometimes(rng, "40"),
            ..Sampling::default()
        },
        stop: (0..rng.usize(0..3)).map(|n| format!("STOP{n}")).collect(),
        output_tokens_max: Some(rng.u64(1..9_000)),
        user: rng.bool().then(|| "user-1".to_owned()),
        service_tier: [None, Some("auto".to_owned()), Some("standard_only".to_owned())][rng.usize(0..3)].clone(),
        format: rng.bool().then(|| Format::Schema {
            name: None,
            description: None,
            schema: Json::parse(r#"{"type":"string"}"#.into()).expect("JSON"),
            strict: Some(true),
        }),
        ..Conversation::default()
    }
}

fn random_id(round: usize, call: usize) -> String {
    [format!("call_{round}_{call}"), format!("functions.f:{round}{call}"), format!("ü{round}{call}")][call % 3].clone()
}

fn random_cache(rng: &mut fastrand::Rng) -> Option<crate::wire::canon::Cache> {
    let ttl = [None, Some("1h".to_owned())][rng.usize(0..2)].clone();
    (rng.u8(0..4) == 0).then_some(crate::wire::canon::Cache { ttl })
}

fn random_text(rng: &mut fastrand::Rng) -> Part {
    let text = ["a", "\"q\"\n b", "ü🦀", "{}", "x".repeat(300).as_str()][rng.usize(0..5)].to_owned();
    Part::Text { text, cache: random_cache(rng), citations: Vec::new() }
}

fn random_content(rng: &mut fastrand::Rng) -> Part {
    let cache = random_cache(rng);
    let inline = |media_type: &str| Source::Base64 { media_type: media_type.into(), data: "AAEC".into() };
    let url = || Source::Url("https://example.org/a".into());
    match rng.u8(0..6) {
        0 => Part::Image { source: inline("image/png"), detail: None, cache },
        1 => Part::Image { source: url(), detail: None, cache },
        2 => Part::File { source: inline("application/pdf"), name: Some("a.pdf".into()), cache },
        3 => Part::File { source: Source::Text("plain".into()), name: None, cache },
        4 => Part::File { source: url(), name: None, cache },
        _ => random_text(rng),
    }
}

#[test]
fn what_is_written_reads_back_as_what_was_meant() {
    let seed = fastrand::u64(..);
    let mut rng = fastrand::Rng::with_seed(seed);
    for round in 0..500 {
        let mut told = random_conversation(&mut rng);
        let encoded = write_request(&told, &target("compatible")).expect("sayable");
        assert_eq!(encoded.losses, [], "seed {seed}, round {round}");
        let asked = crate::wire::request::Asked::parse(Dialect::Messages, &encoded.body).expect("a request");
        let (mut read, losses) = crate::wire::messages::read_request(asked.fields()).expect("a request");
        assert_eq!(losses, [], "seed {seed}, round {round}");
        told.normalise();
        read.normalise();
        // An empty choice says what none says.
        assert_eq!(read, told, "seed {seed}, round {round}");
    }
}

#[test]
fn wishes_about_reasoning_read_back_too() {
    let budget = Thinking { wanted: Some(true), budget_tokens: Some(2_000), ..Thinking::default() };
    let adaptive = Thinking {
        wanted: Some(true),
        adaptive: true,
        effort: Some(Effort::Max),
        summary: Some("auto".into()),
        ..Thinking::default()
    };
    let off = Thinking { wanted: Some(false), ..Thinking::default() };
    for (model, wish) in [("claude-sonnet-4-5", budget), ("claude-opus-4-7", adaptive), ("claude-opus-5", off)] {
        let told = Conversation {
            turns: vec![said(Role::User, "hi")],
            thinking: Some(wish),
            output_tokens_max: Some(9_000),
            ..Conversation::default()
        };
        let encoded = write_request(&told, &target(model)).expect("sayable");
        let asked = crate::wire::request::Asked::parse(Dialect::Messages, &encoded.body).expect("a request");
        assert_eq!(crate::wire::messages::read_request(asked.fields()).expect("a request").0, told);
    }
}

#[test]
fn the_table_in_the_docs_is_the_one_in_the_source() {
    let source = include_str!("../write.rs").lines().filter_map(|line| line.strip_prefix("//! "));
    let rows: Vec<_> = source.filter(|line| line.starts_with('|')).collect();
    let docs = include_str!("../../../../docs/translation-messages.md");
    assert!(rows.len() > 20 && docs.contains(&rows.join("\n")), "docs/translation-messages.md has another table");
}
