//! Requests as conversations.

use super::*;
use crate::wire::canon::ToolChoice;
use crate::wire::canon::{Cache, Call, CallResult, Reasoning, Seal, Source, WebSearch};
use crate::wire::dialect::Dialect;
use crate::wire::request::Asked;

fn read(body: &str) -> (Conversation, Vec<String>) {
    let asked = Asked::parse(Dialect::Responses, body.as_bytes()).expect("a request");
    let (conversation, losses) = read_request(asked.fields()).expect("readable");
    (conversation, losses.iter().map(ToString::to_string).collect())
}

fn json(text: &str) -> Json {
    Json::parse(text.to_owned()).expect("JSON")
}

fn turn(role: Role, parts: Vec<Part>) -> Turn {
    Turn { role, name: None, parts }
}

fn called(id: &str, name: &str, arguments: &str, custom: bool) -> Part {
    Part::Call(Call { id: id.into(), name: name.into(), arguments: arguments.into(), custom, cache: None })
}

fn answered(call_id: &str, parts: Vec<Part>, custom: bool) -> Part {
    Part::Result(CallResult { call_id: call_id.into(), parts, is_error: false, custom, cache: None })
}

fn names(tools: &[Tool]) -> Vec<String> {
    tools
        .iter()
        .map(|tool| match tool {
            Tool::Function { name, .. } => name.clone(),
            Tool::Custom { name, .. } => format!("{name} (custom)"),
            Tool::WebSearch(_) => "search".to_owned(),
            Tool::Native { kind, .. } => format!("native {kind}"),
        })
        .collect()
}

#[test]
fn what_codex_sends_with_its_tools_in_the_input_is_read() {
    let (conversation, losses) = read(include_str!("../../../../tests/wire/responses/codex_lite.json"));
    assert_eq!(
        conversation.turns,
        [
            turn(Role::Developer, vec![Part::text("You are an agent.")]),
            turn(Role::User, vec![Part::text("<environment_context/>")]),
            turn(Role::User, vec![Part::text("list the files")]),
            turn(
                Role::Assistant,
                vec![
                    Part::Reasoning(Reasoning {
                        text: vec!["**Listing**".into()],
                        seal: Some(Seal::Encrypted("gAAAAABq".into())),
                        id: Some("rs_1".into()),
                    }),
                    Part::text("I look."),
                    called("call_1", "exec", "text(await tools.exec_command({cmd: \"ls\"}))", true),
                ]
            ),
            turn(
                Role::User,
                vec![answered("call_1", vec![Part::text("Script completed\n"), Part::text("a.rs\n")], true)]
            ),
            turn(Role::Assistant, vec![called("call_2", "clock__sleep", "{\"seconds\":1}", false)]),
            turn(Role::User, vec![answered("call_2", vec![Part::text("slept")], false)]),
        ]
    );
    assert_eq!(names(&conversation.tools), ["exec (custom)", "wait", "clock__sleep"]);
    assert!(matches!(&conversation.tools[2], Tool::Function { description: Some(words), .. }
        if words == "(Tells and passes time.)\nSleeps."));
    assert_eq!(conversation.tool_choice, Some(ToolChoice::Auto));
    assert_eq!(conversation.parallel_calls, Some(false));
    assert_eq!(conversation.thinking, Some(Thinking { effort: Some(Effort::Medium), ..Thinking::default() }));
    assert_eq!(conversation.verbosity.as_deref(), Some("low"));
    assert_eq!(conversation.cache_key.as_deref(), Some("01a2"));
    let others: Vec<&str> = conversation.others.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(others, ["store", "include", "client_metadata"]);
    assert_eq!(losses, ["dropped reasoning.context"]);
}

#[test]
fn tools_that_the_client_runs_are_functions_and_their_steps_calls() {
    let (conversation, losses) = read(include_str!("../../../../tests/wire/responses/codex_tools.json"));
    assert_eq!(
        names(&conversation.tools),
        [
            "exec_command",
            "apply_patch (custom)",
            "local_shell",
            "tool_search",
            "search",
            "native image_generation",
            "mcp__calendar__create"
        ]
    );
    let source = Source::Base64 { media_type: "image/png".into(), data: "iVBORw0KGgo=".into() };
    assert_eq!(
        conversation.turns[..6],
        [
            turn(Role::System, vec![Part::text("You are an agent.")]),
            turn(Role::User, vec![Part::text("see"), Part::Image { source, detail: Some("high".into()), cache: None }]),
            turn(
                Role::Assistant,
                vec![called("call_1", "local_shell", r#"{"type":"exec","command":["ls"],"env":{}}"#, false)]
            ),
            turn(Role::User, vec![answered("call_1", vec![Part::text("a.rs")], false)]),
            turn(Role::Assistant, vec![called("call_2", "tool_search", r#"{"query":"calendar","limit":1}"#, false)]),
            turn(
                Role::User,
                vec![answered(
                    "call_2",
                    vec![Part::text("These tools are available now: mcp__calendar__create")],
                    false
                )]
            ),
        ]
    );
    let [search, Part::Call(create)] = &conversation.turns[6].parts[..] else { panic!("a search and a call") };
    assert!(matches!(search, Part::Native { kind, .. } if kind == "web_search_call"));
    assert_eq!(create.name, "mcp__calendar__create");
    assert_eq!(
        conversation.turns[7].parts,
        [answered(
            "call_3",
            vec![Part::Image { source: Source::Url("https://example.com/i.png".into()), detail: None, cache: None }],
            false
        )]
    );
    assert_eq!(conversation.turns[8], turn(Role::User, vec![Part::text("I am done.")]));
    assert_eq!(
        losses,
        [
            "changed input[4].tools[0].tools[0].defer_loading: loaded at once",
            "changed input[8]: a user's message",
            "dropped input[8].author",
            "dropped input[8].recipient",
            "changed tools[2]: a function, for targets of other dialects",
            "changed tools[3]: a function, for targets of other dialects",
        ]
    );
}

#[test]
fn every_part_of_a_message_is_read() {
    let (conversation, losses) = read(
        r#"{"model":"m","input":[
        {"role":"user","content":[
            {"type":"input_text","text":"a","prompt_cache_breakpoint":{"mode":"explicit"}},
            {"type":"input_image","file_id":"file_1"},
            {"type":"input_image","image_url":{"url":"https://x/i"}},
            {"type":"input_file","file_data":"data:application/pdf;base64,JVBE","filename":"f.pdf"},
            {"type":"input_file","file_data":"JVBE"},
            {"type":"input_file","file_url":"https://x/f","detail":"low"},
            {"type":"input_file","file_id":"file_2"},
            {"type":"input_audio","input_audio":{"data":"UklG","format":"wav"}},
            {"type":"of_tomorrow","x":1}]},
        {"type":"message","role":"assistant","id":"msg_1","status":"completed","content":[
            {"type":"output_text","text":"b","logprobs":[],"annotations":[{"type":"url_citation","start_index":0,"end_index":1,"url":"https://x","title":"X"}]},
            {"type":"refusal","refusal":"no"}]},
        {"role":"system","content":"c"},{"role":"user","content":[]}]}"#,
    );
    let pdf = |data: &str| Source::Base64 { media_type: "application/pdf".into(), data: data.into() };
    let file = |source, name: Option<&str>| Part::File { source, name: name.map(str::to_owned), cache: None };
    let [user, assistant, system] = &conversation.turns[..] else { panic!("{:?}", conversation.turns) };
    assert_eq!(
        user.parts[..8],
        [
            Part::Text { text: "a".into(), cache: Some(Cache { ttl: None }), citations: vec![] },
            Part::Image { source: Source::FileId("file_1".into()), detail: None, cache: None },
            Part::Image { source: Source::Url("https://x/i".into()), detail: None, cache: None },
            file(pdf("JVBE"), Some("f.pdf")),
            file(pdf("JVBE"), None),
            file(Source::Url("https://x/f".into()), None),
            file(Source::FileId("file_2".into()), None),
            Part::Audio { data: "UklG".into(), format: "wav".into() },
        ]
    );
    assert!(matches!(&user.parts[8], Part::Native { kind, json, .. }
        if kind == "of_tomorrow" && *json == self::json(r#"{"type":"of_tomorrow","x":1}"#)));
    let [Part::Text { citations, .. }, Part::Refusal(refusal)] = &assistant.parts[..] else { panic!("two parts") };
    assert_eq!((citations[0].url.as_deref(), citations[0].span), (Some("https://x"), Some((0, 1))));
    assert_eq!(refusal, "no");
    assert_eq!(*system, turn(Role::System, vec![Part::text("c")]));
    assert_eq!(losses, ["dropped input[0].content[5].detail"]);
}

#[test]
fn top_level_fields_find_their_place() {
    let (conversation, losses) = read(
        r#"{"model":"m","input":"hi","instructions":"be","max_output_tokens":99,"temperature":0.10,"top_p":1,
        "top_k":3,"user":"u","safety_identifier":"s","service_tier":"flex","metadata":{"a":"b"},
        "text":{"format":{"type":"json_object"},"new":1},"reasoning":{"effort":"none","generate_summary":"concise"},
        "truncation":"auto","previous_response_id":"resp_1","max_tool_calls":null,"stream_options":{"a":1},
        "tools":[{"type":"web_search","filters":{"allowed_domains":["a.org"]},"search_context_size":"low"}],
        "tool_choice":{"type":"allowed_tools","mode":"required","tools":[{"type":"function","name":"f"},{"type":"mcp","server_label":"x"},{"type":"web_search"}]}}"#,
    );
    assert_eq!(conversation.turns.len(), 2);
    assert_eq!(conversation.output_tokens_max, Some(99));
    assert_eq!(conversation.sampling.temperature.as_ref().map(Json::text), Some("0.10"));
    assert_eq!(conversation.sampling.top_k.as_ref().map(Json::text), Some("3"));
    assert_eq!(conversation.user.as_deref(), Some("s"));
    assert_eq!(conversation.service_tier.as_deref(), Some("flex"));
    assert_eq!(conversation.format, Some(Format::JsonObject));
    let thinking = Thinking { wanted: Some(false), summary: Some("concise".into()), ..Thinking::default() };
    assert_eq!(conversation.thinking, Some(thinking));
    assert_eq!(conversation.tool_choice, Some(ToolChoice::Allowed(vec!["f".into(), "web_search".into()], true)));
    let Tool::WebSearch(WebSearch { allowed_domains, context_size, .. }) = &conversation.tools[0] else {
        panic!("a search")
    };
    assert_eq!((&allowed_domains[..], context_size.as_deref()), (&["a.org".to_owned()][..], Some("low")));
    let others: Vec<&str> = conversation.others.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(others, ["truncation", "previous_response_id", "user"]);
    assert_eq!(losses, ["dropped text.new"]);
}

#[test]
fn a_hosted_choice_stays_for_targets_that_have_the_tool() {
    let (conversation, _) = read(
        r#"{"model":"m","input":"x","tools":[{"type":"file_search","vector_store_ids":[]}],"tool_choice":{"type":"file_search"}}"#,
    );
    assert_eq!(conversation.tool_choice, None);
    assert_eq!(conversation.others[0].0, "tool_choice");
}

#[test]
fn what_would_be_misread_is_refused_by_its_place() {
    for (fields, field) in [
        (r#""input":[{"role":"robot","content":"x"}]"#, "input[0].role"),
        (r#""input":[{"role":"user","content":7}]"#, "input[0].content"),
        (r#""input":[{"role":"user","content":[{"text":"x"}]}]"#, "input[0].content[0].type"),
        (r#""input":[{"role":"user","content":[{"type":"input_text"}]}]"#, "input[0].content[0].text"),
        (r#""input":[{"role":"user","content":[{"type":"input_image"}]}]"#, "input[0].content[0].image_url"),
        (r#""input":[{"type":"function_call","name":"f","arguments":"{}"}]"#, "input[0].call_id"),
        (r#""input":[{"type":"function_call","call_id":"c","name":"f","arguments":{}}]"#, "input[0].arguments"),
        (r#""input":[{"type":"function_call_output","call_id":"c"}]"#, "input[0].output"),
        (r#""input":[{"type":"reasoning","summary":"x"}]"#, "input[0].summary"),
        (r#""input":"x","tools":[{"name":"f"}]"#, "tools[0].type"),
        (r#""input":"x","tools":[{"type":"function"}]"#, "tools[0].name"),
        (r#""input":"x","tools":[{"type":"namespace","name":"n"}]"#, "tools[0].tools"),
        (r#""input":"x","tool_choice":"any""#, "tool_choice"),
        (r#""input":"x","tool_choice":{"name":"f"}"#, "tool_choice.type"),
        (r#""input":"x","text":{"format":{"type":"json_schema"}}"#, "text.format.schema"),
        (r#""input":"x","reasoning":"high""#, "reasoning"),
        (r#""input":"x","parallel_tool_calls":"no""#, "parallel_tool_calls"),
    ] {
        let body = format!(r#"{{"model":"m",{fields}}}"#);
        let named = match Asked::parse(Dialect::Responses, body.as_bytes()) {
            Ok(asked) => read_request(asked.fields()).map(|_| ()).expect_err(fields).field,
            Err(error) => error.field,
        };
        assert_eq!(named.as_deref(), Some(field), "{fields}");
    }
}

#[test]
fn large_and_hostile_bodies_are_read_in_linear_time() {
    let base64 = "A".repeat(24 << 20);
    let image = format!(
        r#"{{"model":"m","input":[{{"role":"user","content":[{{"type":"input_image","image_url":"data:image/png;base64,{base64}"}}]}}]}}"#
    );
    let many = format!(r#"{{"model":"m","input":[{}]}}"#, vec![r#"{"role":"user","content":"x"}"#; 100_000].join(","));
    let keys: Vec<String> = (0..60_000).map(|n| format!(r#""k{n}":1"#)).collect();
    let wide = format!(r#"{{"model":"m","input":[{{"role":"user","content":"x",{}}}]}}"#, keys.join(","));
    let parts = vec![r#"{"type":"input_text","text":"x"}"#; 100_000].join(",");
    let long = format!(r#"{{"model":"m","input":[{{"role":"user","content":[{parts}]}}]}}"#);
    for body in [image, many, wide, long] {
        let asked = Asked::parse(Dialect::Responses, body.as_bytes()).expect("a request");
        let begun = std::time::Instant::now();
        let (_, losses) = read_request(asked.fields()).expect("readable");
        // In a debug build, beside other tests.
        assert!(begun.elapsed().as_secs() < 5, "{:?} for {} bytes", begun.elapsed(), body.len());
        assert!(losses.len() <= 33);
    }
}
