//! Conversations as requests, and the way back.

use super::super::read_request;
use super::*;
use crate::wire::canon::{
    Cache, Call, CallResult, Citation, Loss, Reasoning, Sampling, Source, Tool, ToolChoice, WebSearch,
};
use crate::wire::dialect::Dialect;
use crate::wire::request::Asked;
use serde_json::{Value, json};

const FOR: WriteFor<'static> = WriteFor {
    model: "m",
    stream: true,
    ask_usage: false,
    output_tokens_max: None,
    reasoning: true,
    reasoning_declared: true,
    developer_role: true,
    reasoning_field: None,
};

fn json_of(text: &str) -> Json {
    Json::parse(text.to_owned()).expect("JSON")
}

fn turn(role: Role, parts: Vec<Part>) -> Turn {
    Turn { role, name: None, parts }
}

fn write(conversation: &Conversation, how: &WriteFor<'_>) -> (Value, Vec<String>) {
    let encoded = write_request(conversation, how).expect("sayable");
    let losses = encoded.losses.iter().map(ToString::to_string).collect();
    (serde_json::from_slice(&encoded.body).expect("JSON"), losses)
}

fn function(name: &str) -> Tool {
    Tool::Function {
        name: name.into(),
        description: Some("d".into()),
        parameters: Some(json_of(r#"{"type":"object","properties":{},"additionalProperties":false}"#)),
        strict: Some(true),
        cache: None,
    }
}

#[test]
fn the_body_has_the_vendors_fields_in_their_order() {
    let conversation = Conversation {
        turns: vec![
            turn(Role::System, vec![Part::text("be")]),
            turn(
                Role::User,
                vec![
                    Part::text("see"),
                    Part::Image {
                        source: Source::Base64 { media_type: "image/png".into(), data: "iVBO".into() },
                        detail: None,
                        cache: None,
                    },
                ],
            ),
            turn(
                Role::Assistant,
                vec![
                    Part::Reasoning(Reasoning {
                        text: vec!["hm".into()],
                        seal: Some(Seal::Encrypted("gAAAAAB".into())),
                        id: Some("rs_1".into()),
                    }),
                    Part::text("I look."),
                    Part::Call(Call {
                        id: "c".into(),
                        name: "f".into(),
                        arguments: "{}".into(),
                        custom: false,
                        cache: None,
                    }),
                ],
            ),
            turn(
                Role::User,
                vec![
                    Part::Result(CallResult {
                        call_id: "c".into(),
                        parts: vec![Part::text("r")],
                        is_error: false,
                        custom: false,
                        cache: None,
                    }),
                    Part::text("and?"),
                ],
            ),
        ],
        tools: vec![function("f")],
        tool_choice: Some(ToolChoice::Named("f".into())),
        parallel_calls: Some(false),
        thinking: Some(Thinking { effort: Some(Effort::High), ..Thinking::default() }),
        output_tokens_max: Some(99),
        ..Conversation::default()
    };
    let encoded = write_request(&conversation, &FOR).expect("sayable");
    assert_eq!(encoded.losses, []);
    assert_eq!(
        String::from_utf8_lossy(&encoded.body),
        concat!(
            r#"{"model":"m","instructions":"be","input":["#,
            r#"{"type":"message","role":"user","content":[{"type":"input_text","text":"see"},{"type":"input_image","image_url":"data:image/png;base64,iVBO"}]},"#,
            r#"{"type":"reasoning","summary":[{"type":"summary_text","text":"hm"}],"encrypted_content":"gAAAAAB"},"#,
            r#"{"type":"message","role":"assistant","content":[{"type":"output_text","text":"I look."}]},"#,
            r#"{"type":"function_call","call_id":"c","name":"f","arguments":"{}"},"#,
            r#"{"type":"function_call_output","call_id":"c","output":"r"},"#,
            r#"{"type":"message","role":"user","content":[{"type":"input_text","text":"and?"}]}],"#,
            r#""tools":[{"type":"function","name":"f","description":"d","parameters":{"type":"object","properties":{},"additionalProperties":false},"strict":true}],"#,
            r#""tool_choice":{"type":"function","name":"f"},"parallel_tool_calls":false,"reasoning":{"effort":"high"},"#,
            r#""max_output_tokens":99,"store":false,"include":["reasoning.encrypted_content"],"stream":true}"#,
        )
    );
}

/// The rows of the table at the top of the module.
#[test]
fn what_cannot_be_carried_is_named() {
    let all = Conversation {
        turns: vec![
            turn(Role::System, vec![Part::text("a"), Part::text("b")]),
            Turn {
                role: Role::User,
                name: Some("bob".into()),
                parts: vec![
                    Part::Text { text: "t".into(), cache: Some(Cache { ttl: None }), citations: vec![] },
                    Part::File { source: Source::Text("plain".into()), name: None, cache: None },
                ],
            },
            turn(
                Role::Assistant,
                vec![
                    Part::Reasoning(Reasoning { seal: Some(Seal::Signature("s".into())), ..Reasoning::default() }),
                    Part::Text { text: "u".into(), cache: None, citations: vec![Citation::default()] },
                    Part::Native { dialect: Dialect::Messages, kind: "server_tool_use".into(), json: json_of("{}") },
                    Part::Image { source: Source::Url("x".into()), detail: None, cache: None },
                    Part::Call(Call {
                        id: "x".repeat(65),
                        name: "f".into(),
                        arguments: "{}".into(),
                        custom: false,
                        cache: None,
                    }),
                ],
            ),
            turn(
                Role::User,
                vec![Part::Result(CallResult {
                    call_id: "x".repeat(65),
                    parts: vec![],
                    is_error: true,
                    custom: false,
                    cache: None,
                })],
            ),
        ],
        tools: vec![
            Tool::Native { dialect: Dialect::Messages, kind: "bash".into(), name: None, json: json_of("{}") },
            Tool::Function { name: "f".into(), description: None, parameters: None, strict: None, cache: None },
            Tool::WebSearch(WebSearch {
                max_uses: Some(1),
                blocked_domains: vec!["b".into()],
                allowed_domains: vec!["a".into()],
                ..WebSearch::default()
            }),
        ],
        stop: vec!["x".into()],
        sampling: Sampling { top_k: Some(json_of("3")), seed: Some(json_of("4")), ..Sampling::default() },
        output_tokens_max: Some(3),
        thinking: Some(Thinking { budget_tokens: Some(4000), wanted: Some(true), ..Thinking::default() }),
        user: Some("y".repeat(65)),
        others: vec![("logit_bias".into(), json_of("{}")), ("truncation".into(), json_of("\"auto\""))],
        ..Conversation::default()
    };
    let (body, losses) = write(&all, &FOR);
    assert_eq!(
        losses,
        [
            "dropped messages[].name",
            "changed documents of plain text: text parts",
            "dropped reasoning of earlier turns",
            "dropped citations",
            "dropped server_tool_use",
            "dropped images and files of assistant messages",
            "changed ids of calls: their SHA-256, which fits into 64 characters",
            "dropped tools[0]",
            "dropped web_search.max_uses",
            "dropped web_search.blocked_domains",
            "changed thinking.budget_tokens: reasoning.effort",
            "changed max_output_tokens: 16, the least that is taken there",
            "dropped top_k",
            "dropped seed",
            "dropped stop",
            "changed user: its SHA-256, which fits into 64 characters",
            "dropped logit_bias",
        ]
    );
    assert_eq!(body["input"][0]["role"], "system");
    assert_eq!(body["input"][3]["call_id"], body["input"][4]["call_id"]);
    assert_eq!(body["input"][3]["call_id"].as_str().map(str::len), Some(37));
    assert_eq!(body["input"][4]["output"], "Error: ");
    assert_eq!(body["reasoning"], json!({"effort": "low", "summary": "auto"}));
    assert_eq!((&body["max_output_tokens"], &body["truncation"]), (&json!(16), &json!("auto")));
    assert_eq!(body["safety_identifier"].as_str().map(str::len), Some(64));
    assert_eq!(
        body["tools"],
        json!([
            {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}, "strict": false},
            {"type": "web_search", "filters": {"allowed_domains": ["a"]}},
        ])
    );
    let error = |parts| {
        turn(
            Role::User,
            vec![Part::Result(CallResult { call_id: "c".into(), parts, is_error: true, custom: false, cache: None })],
        )
    };
    let odd = Conversation {
        turns: vec![error(vec![Part::text("x")]), error(vec![Part::text("x"), Part::text("y")])],
        tools: [r#"{"properties":{}}"#, r#"{"type":"object","x":1}"#, "7"]
            .map(|text| Tool::Function {
                name: "f".into(),
                description: None,
                parameters: Some(json_of(text)),
                strict: None,
                cache: None,
            })
            .to_vec(),
        service_tier: Some("standard_only".into()),
        ..Conversation::default()
    };
    let (odd, losses) = write(&odd, &FOR);
    assert_eq!(losses, [""; 0]);
    assert_eq!(odd["input"][0]["output"], "Error: x");
    assert_eq!(odd["input"][1]["output"][0]["text"], "Error: ");
    assert_eq!(odd["input"][1]["output"][2]["text"], "y");
    let schemas: Vec<&Value> = odd["tools"].as_array().expect("tools").iter().map(|tool| &tool["parameters"]).collect();
    assert!(schemas.iter().all(|schema| schema["type"] == "object" && schema["properties"] == json!({})));
    assert_eq!((&schemas[1]["x"], &odd["service_tier"]), (&json!(1), &json!("default")));
    let plain = WriteFor { reasoning: false, developer_role: false, stream: false, ..FOR };
    let (body, losses) = write(&all, &plain);
    assert!(losses.contains(&"dropped reasoning".to_owned()));
    assert!(body.get("reasoning").is_none() && body.get("include").is_none() && body.get("stream").is_none());
}

#[test]
fn what_would_change_the_question_is_refused() {
    let with = |choice: ToolChoice, tools: Vec<Tool>| Conversation {
        tool_choice: Some(choice),
        tools,
        ..Conversation::default()
    };
    let native = || {
        vec![Tool::Native {
            dialect: Dialect::Messages,
            kind: "bash".into(),
            name: Some("bash".into()),
            json: json_of("{}"),
        }]
    };
    for (conversation, field) in [
        (with(ToolChoice::Required, vec![]), "tool_choice"),
        (with(ToolChoice::Required, native()), "tool_choice"),
        (with(ToolChoice::Named("bash".into()), native()), "tool_choice"),
        (with(ToolChoice::Allowed(vec!["bash".into()], true), native()), "tool_choice"),
        (
            Conversation {
                turns: vec![turn(Role::User, vec![Part::Audio { data: "x".into(), format: "wav".into() }])],
                ..Conversation::default()
            },
            "input_audio",
        ),
    ] {
        assert_eq!(write_request(&conversation, &FOR).expect_err("unsayable").field, field);
    }
    let (body, losses) =
        write(&with(ToolChoice::Allowed(vec!["f".into(), "bash".into()], false), vec![function("f")]), &FOR);
    assert_eq!(
        body["tool_choice"],
        json!({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]})
    );
    assert_eq!(losses, ["dropped tool_choice.tools"]);
    let (body, _) = write(&with(ToolChoice::Auto, vec![]), &FOR);
    assert!(body.get("tool_choice").is_none());
}

#[test]
fn parts_and_items_of_this_dialect_go_back_to_their_places() {
    let native = |kind: &str| Part::Native {
        dialect: Dialect::Responses,
        kind: kind.into(),
        json: json_of(&format!(r#"{{"type":"{kind}"}}"#)),
    };
    let conversation = Conversation {
        turns: vec![turn(
            Role::User,
            vec![
                native("input_video"),
                Part::text("a"),
                native("of_tomorrow"),
                native("computer_call_output"),
                native("of_the_day_after"),
            ],
        )],
        ..Conversation::default()
    };
    let (body, _) = write(&conversation, &FOR);
    assert_eq!(
        body["input"],
        json!([
            {"type": "message", "role": "user", "content":
                [{"type": "input_video"}, {"type": "input_text", "text": "a"}, {"type": "of_tomorrow"}]},
            {"type": "computer_call_output"},
            {"type": "of_the_day_after"},
        ])
    );
}

#[test]
fn efforts_and_strictness_are_what_the_target_takes() {
    let open = json_of(r#"{"type":"object","properties":{"a":{}}}"#);
    let conversation = |thinking| Conversation {
        tools: vec![Tool::Function {
            name: "f".into(),
            description: None,
            parameters: Some(open.clone()),
            strict: Some(true),
            cache: None,
        }],
        format: Some(Format::Schema { name: None, description: None, schema: open.clone(), strict: Some(true) }),
        thinking: Some(thinking),
        ..Conversation::default()
    };
    let most = Thinking { effort: Some(Effort::Max), ..Thinking::default() };
    let (body, losses) = write(&conversation(most), &FOR);
    assert_eq!((&body["tools"][0]["strict"], &body["text"]["format"]["strict"]), (&json!(false), &json!(false)));
    assert_eq!(body["reasoning"], json!({"effort": "high"}));
    assert_eq!(
        losses,
        [
            "changed tools[0].strict: false, as the schema leaves fields open",
            "changed text.format.strict: false, as the schema leaves fields open",
            "changed reasoning.effort: the nearest that this model takes",
        ]
    );
    let none = conversation(Thinking { wanted: Some(false), ..Thinking::default() });
    let effort = |model, reasoning_declared| {
        write(&none, &WriteFor { model, reasoning_declared, ..FOR }).0["reasoning"]["effort"].clone()
    };
    assert_eq!([effort("m", true), effort("m", false)], [json!("none"), Value::Null]);
    assert_eq!([effort("gpt-5.2", false), effort("o3", true)], [json!("none"), json!("low")]);
}

#[test]
fn a_grammar_is_taken_from_chat_completions_too() {
    let custom = |format: &str| Conversation {
        tools: vec![Tool::Custom { name: "p".into(), description: None, format: Some(json_of(format)) }],
        ..Conversation::default()
    };
    let flat = json!({"type": "grammar", "syntax": "lark", "definition": "start: x"});
    for format in [
        r#"{"type":"grammar","grammar":{"syntax":"lark","definition":"start: x"}}"#,
        r#"{"type":"grammar","syntax":"lark","definition":"start: x"}"#,
    ] {
        assert_eq!(write(&custom(format), &FOR).0["tools"][0]["format"], flat);
    }
}

/// A conversation that this dialect can say in full.
fn random(rng: &mut fastrand::Rng) -> Conversation {
    let word = |rng: &mut fastrand::Rng| ["a", "", "\"é\"\n", "\u{1f600}", "{}"][rng.usize(0..5)].to_owned();
    let text = |rng: &mut fastrand::Rng| Part::text(word(rng));
    let source = |rng: &mut fastrand::Rng| match rng.usize(0..3) {
        0 => Source::Url("https://x/y".into()),
        1 => Source::Base64 { media_type: "image/png".into(), data: "iVBO".into() },
        _ => Source::FileId("file_1".into()),
    };
    let attached = |rng: &mut fastrand::Rng| {
        if rng.bool() {
            Part::Image { source: source(rng), detail: rng.bool().then(|| "low".into()), cache: None }
        } else {
            Part::File { source: source(rng), name: Some("n.png".into()), cache: None }
        }
    };
    let mut turns = Vec::new();
    if rng.bool() {
        turns.push(turn(Role::System, vec![text(rng)]));
    }
    for number in 0..rng.usize(0..8) {
        let id = format!("c{number}");
        let custom = rng.bool();
        let role = [Role::User, Role::Assistant, Role::Developer, Role::System][rng.usize(0..4)];
        let mut parts = Vec::new();
        for _ in 0..rng.usize(1..4) {
            parts.push(match (role, rng.usize(0..5)) {
                (Role::User, 0) => attached(rng),
                (Role::User, 1) => Part::Result(CallResult {
                    call_id: id.clone(),
                    parts: if rng.bool() { vec![text(rng)] } else { vec![text(rng), attached(rng)] },
                    is_error: false,
                    custom,
                    cache: None,
                }),
                (Role::Assistant, 0) => Part::Refusal(word(rng)),
                (Role::Assistant, 1) => Part::Call(Call {
                    id: id.clone(),
                    name: "f".into(),
                    arguments: if custom { word(rng) } else { r#"{"é":1}"#.into() },
                    custom,
                    cache: None,
                }),
                (Role::Assistant, 2) => Part::Reasoning(Reasoning {
                    text: (0..rng.usize(0..3)).map(|_| word(rng)).collect(),
                    seal: Some(Seal::Encrypted("gAAAAAB".into())),
                    id: None,
                }),
                (Role::Assistant, 3) => Part::Native {
                    dialect: Dialect::Responses,
                    kind: "web_search_call".into(),
                    json: json_of(r#"{"type":"web_search_call","id":"ws_1","status":"completed"}"#),
                },
                _ => text(rng),
            });
        }
        turns.push(turn(role, parts));
    }
    let mut tools: Vec<Tool> = (0..rng.usize(0..3)).map(|n| function(&format!("f{n}"))).collect();
    if rng.bool() {
        tools.push(Tool::Custom {
            name: "p".into(),
            description: None,
            format: rng.bool().then(|| json_of(r#"{"type":"text"}"#)),
        });
    }
    if rng.bool() {
        tools.push(Tool::WebSearch(WebSearch { allowed_domains: vec!["a.org".into()], ..WebSearch::default() }));
    }
    let thinking = [
        None,
        Some(Thinking { effort: Some(Effort::High), summary: Some("auto".into()), ..Thinking::default() }),
        Some(Thinking { wanted: Some(false), ..Thinking::default() }),
    ];
    Conversation {
        turns,
        tool_choice: (!tools.is_empty())
            .then(|| [ToolChoice::Auto, ToolChoice::None, ToolChoice::Required][rng.usize(0..3)].clone()),
        parallel_calls: (!tools.is_empty()).then(|| rng.bool()),
        tools,
        format: [
            None,
            Some(Format::Text),
            Some(Format::Schema {
                name: Some("n".into()),
                description: None,
                schema: json_of(r#"{"type":"object","additionalProperties":false}"#),
                strict: Some(true),
            }),
        ][rng.usize(0..3)]
        .clone(),
        sampling: Sampling { temperature: rng.bool().then(|| json_of("0.10")), ..Sampling::default() },
        output_tokens_max: rng.bool().then_some(99),
        thinking: thinking[rng.usize(0..3)].clone(),
        user: rng.bool().then(|| "u".into()),
        verbosity: rng.bool().then(|| "low".into()),
        cache_key: rng.bool().then(|| "k".into()),
        service_tier: rng.bool().then(|| "flex".into()),
        metadata: rng.bool().then(|| json_of(r#"{"a":"b"}"#)),
        ..Conversation::default()
    }
}

/// Without what the way itself adds.
fn bare(mut conversation: Conversation) -> Conversation {
    conversation.others.retain(|(key, _)| key != "store" && key != "include");
    conversation.normalise();
    for tool in &mut conversation.tools {
        if let Tool::WebSearch(search) = tool {
            search.native = None;
        }
    }
    conversation
}

fn back(encoded: &Encoded) -> (Conversation, Vec<Loss>) {
    let asked = Asked::parse(Dialect::Responses, &encoded.body).expect("a request");
    read_request(asked.fields()).expect("readable")
}

#[test]
fn what_is_written_is_read_back() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    for _ in 0..500 {
        let conversation = random(&mut rng);
        let encoded = write_request(&conversation, &FOR).expect("sayable");
        let (read, losses) = back(&encoded);
        assert_eq!((&encoded.losses[..], &losses[..]), (&[][..], &[][..]));
        assert_eq!(bare(read), bare(conversation), "{}", String::from_utf8_lossy(&encoded.body));
    }
}

#[test]
fn what_codex_sends_goes_on_whole() {
    for body in [
        include_str!("../../../../tests/wire/responses/codex_lite.json"),
        include_str!("../../../../tests/wire/responses/codex_tools.json"),
    ] {
        let asked = Asked::parse(Dialect::Responses, body.as_bytes()).expect("a request");
        let (conversation, _) = read_request(asked.fields()).expect("readable");
        let encoded = write_request(&conversation, &FOR).expect("sayable");
        assert_eq!(encoded.losses, []);
        let (mut read, losses) = back(&encoded);
        assert_eq!(losses, []);
        // Ids of reasoning stay behind: what is sealed is found without.
        let mut wanted = bare(conversation);
        for part in wanted.turns.iter_mut().flat_map(|turn| &mut turn.parts) {
            if let Part::Reasoning(reasoning) = part {
                reasoning.id = None;
            }
        }
        for tool in &mut wanted.tools {
            if let Tool::Function { strict, .. } = tool {
                strict.get_or_insert(false);
            }
        }
        read = bare(read);
        assert_eq!(read, wanted);
    }
}
