//! What stays bounded, and the forms an answer may take.

use crate::support::{Client, House, Response, chat, sim_target};
use serde_json::{Value, json};
use tautline::domain::record::Record;
use tautline::sim::answer_text;

const PROMPT: &str = "why do ropes go slack?";

fn one(script: &str, more: &str) -> String {
    format!("{}[routes.m]\ntargets = [\"a\"]\n", sim_target("a", script, more))
}

fn two(script: &str, more: &str) -> String {
    format!(
        "{}{}[routes.m]\ntargets = [\"a\", \"b\"]\n",
        sim_target("a", script, more),
        sim_target("b", "tokens=4", "")
    )
}

fn causes(record: &Record) -> Vec<(&str, &str, &str)> {
    record
        .attempts
        .iter()
        .map(|attempt| (attempt.target.as_str(), attempt.cause.as_str(), attempt.phase.as_str()))
        .collect()
}

async fn bound_hits(house: &House, bound: &str) -> bool {
    let line = format!("tautline_gateway_bound_hit_total{{bound=\"{bound}\"}} ");
    house.metrics().await.lines().any(|text| text.strip_prefix(&line).is_some_and(|count| count != "0"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_without_an_end_is_garbled_at_the_bound_and_the_next_target_answers() {
    let house = House::start("frame_bytes_max = 65536\n", &two("fault=huge_frame", "")).await;
    for stream in [true, false] {
        let mut response = house.post(&chat("m", stream)).await;
        assert_eq!(text_of(&mut response, stream).await, answer_text(PROMPT, 4));
        let record = house.record_of(&response).await;
        assert_eq!(causes(&record)[0], ("a", "garbled", "first_token"));
        assert_eq!(record.outcome.as_str(), "ok_fallback");
        // 32 MiB were on their way; reading ends at the bound and what was under way.
        assert!(record.attempts[0].bytes < 1 << 20, "{}", record.attempts[0].bytes);
    }
}

async fn text_of(response: &mut Response, stream: bool) -> String {
    if stream {
        let streamed = response.stream_text().await;
        assert!(streamed.done && streamed.error.is_none(), "{streamed:?}");
        streamed.text
    } else {
        let whole = response.json().await;
        whole["choices"][0]["message"]["content"].as_str().unwrap_or_else(|| panic!("{whole}")).to_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_without_an_end_is_ended_at_the_bound() {
    for more in ["", "upstream_streaming = \"off\""] {
        let house = House::start("output_bytes_max = 200000\n", &two("fault=endless&after=1", more)).await;
        let mut response = house.post(&chat("m", true)).await;
        assert_eq!(response.status, 200);
        let streamed = response.stream_text().await;
        assert!(!streamed.done, "a cut answer never gets [DONE]");
        let error = streamed.error.expect("an error frame");
        assert_eq!(error["code"], "output_limit");
        assert!(error["message"].as_str().expect("text").contains("output_bytes_max"), "{error}");
        let record = house.record_of(&response).await;
        assert_eq!(
            (record.outcome.as_str(), record.cause.as_str(), record.side.as_str()),
            ("cut", "output_limit", "caller_config")
        );
        assert!((200_000..400_000).contains(&record.attempts[0].bytes), "{}", record.attempts[0].bytes);
        assert!(bound_hits(&house, "output_bytes_max").await);
        // Not streamed: the verdict is the same, nothing was shown.
        let mut response = house.post(&chat("m", false)).await;
        assert_eq!((response.status, response.header("x-tautline-cause")), (502, Some("output_limit")), "{more}");
        assert_eq!(response.header("x-should-retry"), Some("false"));
        response.bytes().await;
        let record = house.record_of(&response).await;
        assert_eq!((record.outcome.as_str(), record.attempts.len()), ("failed", 1), "{more}: no other target is asked");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_frames_wait_for_the_first_content_and_no_more() {
    let house = House::start("", &two("fault=flood_hold", "")).await;
    let mut response = house.post(&chat("m", true)).await;
    assert_eq!(text_of(&mut response, true).await, answer_text(PROMPT, 4));
    let record = house.record_of(&response).await;
    assert_eq!(causes(&record)[0], ("a", "garbled", "first_token"));
    let house = House::start("", &one("role_frames=64&tokens=3", "")).await;
    let payloads = house.post(&chat("m", true)).await.payloads().await;
    let roles = payloads.iter().filter(|payload| payload.contains("\"role\":\"assistant\"")).count();
    assert_eq!(roles, 64, "what waited went out with the content");
}

/// A decoder that kept comments would pass `frame_bytes_max` (1 KiB here), and
/// one that took them for a sign of life would never end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_comments_are_not_kept_and_put_nothing_off() {
    for (fault, cause, phase) in [
        ("comments_forever", "own_deadline_first_token", "first_token"),
        ("stall_comments&after=3", "own_deadline_progress", "stream"),
    ] {
        let config = format!(
            "{}[deadlines]\nfirst_token = \"1500ms\"\nidle = \"1500ms\"\nprogress = \"1500ms\"\n",
            one(&format!("fault={fault}&every=1ms"), "")
        );
        let house = House::start("frame_bytes_max = 1024\n", &config).await;
        let mut response = house.post(&chat("m", true)).await;
        response.bytes().await;
        let record = house.record_of(&response).await;
        assert_eq!(causes(&record), [("a", cause, phase)]);
        assert!(record.attempts[0].bytes > 1024, "more than the bound went by: {}", record.attempts[0].bytes);
    }
}

/// Seen in the wild: neither an empty event nor an empty reason means anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_events_and_empty_reasons_end_no_answer() {
    for script in ["blanks=1", "reasons=1"] {
        // The gaps are longer than the grace after a finish.
        let config = one(&format!("{script}&tokens=4&gap=700ms"), "");
        let house = House::start("finish_grace = \"300ms\"\n", &config).await;
        for stream in [true, false] {
            let mut response = house.post(&chat("m", stream)).await;
            assert_eq!(text_of(&mut response, stream).await, answer_text(PROMPT, 4), "{script}");
            assert_eq!(house.record_of(&response).await.outcome.as_str(), "ok");
        }
    }
}

/// A target that began to answer has the request: whether it may be sent again
/// is for the verdict to say, not for the pool.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_connection_that_breaks_in_the_middle_of_a_head_is_not_replaced_in_silence() {
    let config = format!(
        "{}{}[routes.m]\ntargets = [\"half\"]\n[routes.good]\ntargets = [\"good\"]\n",
        sim_target("half", "fault=half_head", ""),
        sim_target("good", "tokens=2", "")
    );
    let house = House::start("same_target_retries = 0\n", &config).await;
    let (mut asked, mut reused) = (0, false);
    // The connection goes back to the pool a little after its answer.
    while !reused {
        assert!(house.post(&chat("good", true)).await.stream_text().await.done);
        let mut response = house.post(&chat("m", true)).await;
        asked += 1;
        assert_eq!((response.status, response.header("x-tautline-cause")), (502, Some("reset_before_headers")));
        response.bytes().await;
        let record = serde_json::to_string(&house.record_of(&response).await).expect("serializes");
        reused = record.contains("reused_connection");
        let seen = house.sim.seen().iter().filter(|seen| seen.model.contains("half_head")).count();
        assert_eq!(seen, asked, "asked once for each request; reused: {reused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_upstream_streaming_off_the_request_goes_through_as_it_was_asked() {
    let house = House::start("", &one("tokens=5", "upstream_streaming = \"off\"")).await;
    let mut response = house.post(&chat("m", false)).await;
    let through = response.text().await;
    let seen = house.sim.seen().pop().expect("asked").body;
    assert!(seen.get("stream").is_none() && seen.get("stream_options").is_none(), "{seen}");
    let whole: Value = serde_json::from_str(&through).expect("JSON");
    assert_eq!(whole["choices"][0]["message"]["content"], answer_text(PROMPT, 5));
    let direct = {
        let mut body = chat("m", false);
        body["model"] = json!("sim?tokens=5");
        let client = Client::connect(house.sim.addr()).await;
        client.request("POST", "/v1/chat/completions", &[], body.to_string().as_bytes()).await.text().await
    };
    let id = |text: &str| serde_json::from_str::<Value>(text).expect("JSON")["id"].as_str().expect("an id").to_owned();
    assert_eq!(through.replace(&id(&through), "ID"), direct.replace(&id(&direct), "ID"), "byte for byte");
    assert_eq!(house.record_of(&response).await.usage.expect("reported").output, 5);
    // Who asks for a stream gets one.
    assert!(house.post(&chat("m", true)).await.stream_text().await.done);
    assert_eq!(house.sim.seen().pop().expect("asked").body["stream"], true);
}

async fn takes(house: &House, what: &str) -> bool {
    let admin = Client::connect(house.running.admin_addr).await;
    let all = admin.request("GET", "/-/targets", &[], b"").await.json().await;
    all["targets"][0][what].as_bool().expect("a switch")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_refuses_our_stream_is_asked_once_more_and_remembered() {
    for (fault, what, asked_by_client) in [
        ("stream_unsupported", "takes_stream", false),
        ("stream_options_unsupported", "takes_stream_options", false),
        ("stream_options_unsupported", "takes_stream_options", true),
    ] {
        let house = House::start("", &one(&format!("tokens=5&fault={fault}"), "")).await;
        assert!(takes(&house, what).await);
        let mut response = house.post(&chat("m", asked_by_client)).await;
        assert_eq!(text_of(&mut response, asked_by_client).await, answer_text(PROMPT, 5), "{fault}");
        let record = house.record_of(&response).await;
        assert_eq!(record.attempts.len(), 2, "{fault}");
        assert_eq!((record.outcome.as_str(), record.attempts[1].waited_ms), ("ok", 0));
        assert!(!takes(&house, what).await, "{fault}");
        let mut again = house.post(&chat("m", asked_by_client)).await;
        assert_eq!(text_of(&mut again, asked_by_client).await, answer_text(PROMPT, 5));
        assert_eq!(house.record_of(&again).await.attempts.len(), 1, "{fault}: remembered");
        assert_eq!(house.sim.seen().len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_the_client_asked_for_and_the_target_refuses_is_not_ours_to_take_away() {
    let house = House::start("", &one("tokens=5&fault=stream_unsupported", "")).await;
    let mut response = house.post(&chat("m", true)).await;
    let told = response.json().await;
    assert_eq!((response.status, response.header("x-tautline-cause")), (400, Some("unsupported_by_target")), "{told}");
    assert_eq!(told["error"]["param"], "stream");
    assert_eq!(house.sim.seen().len(), 1, "asked once");
    assert!(takes(&house, "takes_stream").await);
    // Usage that the client asked for is its own wish, too.
    let house = House::start("", &one("tokens=5&fault=stream_options_unsupported", "")).await;
    let mut body = chat("m", true);
    body["stream_options"] = json!({"include_usage": true});
    assert_eq!(house.post(&body).await.status, 400);
    assert_eq!(house.sim.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_json_answer_to_a_streamed_request_becomes_chunks() {
    for script in ["tokens=5&plain=1", "tokens=5&plain=1&tools=1&parallel=2", "tokens=5&plain=1&reasoning=3"] {
        let house = House::start("", &one(script, "")).await;
        let mut body = chat("m", true);
        body["n"] = json!(2);
        body["stream_options"] = json!({"include_usage": true});
        if script.contains("tools") {
            body["tools"] = json!([{"type": "function", "function": {"name": "f", "parameters": {}}}]);
        }
        let mut response = house.post(&body).await;
        assert_eq!(response.header("content-type"), Some("text/event-stream; charset=utf-8"));
        let payloads = response.payloads().await;
        assert_eq!(payloads.last().map(String::as_str), Some("[DONE]"));
        let chunks: Vec<Value> =
            payloads[..payloads.len() - 1].iter().map(|text| serde_json::from_str(text).expect("JSON")).collect();
        assert!(chunks.iter().all(|chunk| chunk["object"] == "chat.completion.chunk"), "{script}");
        assert!(chunks.last().expect("some")["usage"]["completion_tokens"].as_u64().is_some(), "{script}");
        for choice in 0..2 {
            let of = |key: &str| {
                chunks
                    .iter()
                    .flat_map(|chunk| chunk["choices"].as_array().expect("a list"))
                    .filter(|one| one["index"] == choice)
                    .find(|one| !one["delta"][key].is_null())
                    .map(|one| one["delta"][key].clone())
            };
            if script.contains("tools") {
                let calls = of("tool_calls").expect("calls");
                assert_eq!((&calls[0]["index"], &calls[1]["index"]), (&json!(0), &json!(1)));
            } else {
                assert!(
                    of("content").is_some_and(|text| text.as_str().is_some_and(|text| !text.is_empty())),
                    "{script}"
                );
            }
        }
        let record = house.record_of(&response).await;
        assert_eq!((record.outcome.as_str(), record.attempts.len()), ("ok", 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_choices_are_told_apart_streamed_and_assembled() {
    let house = House::start("", &one("tokens=6", "")).await;
    let mut body = chat("m", false);
    body["n"] = json!(2);
    let mut response = house.post(&body).await;
    let whole = response.json().await;
    assert_eq!(house.sim.seen()[0].body["stream"], true);
    body["stream"] = json!(true);
    let mut streamed = [String::new(), String::new()];
    let mut finished = 0;
    for payload in house.post(&body).await.payloads().await {
        let Ok(chunk) = serde_json::from_str::<Value>(&payload) else { continue };
        for choice in chunk["choices"].as_array().expect("a list") {
            let index = usize::try_from(choice["index"].as_u64().expect("an index")).expect("small");
            streamed[index].push_str(choice["delta"]["content"].as_str().unwrap_or_default());
            finished += usize::from(choice["finish_reason"] == "stop");
        }
    }
    assert_eq!(finished, 2);
    for (index, text) in streamed.iter().enumerate() {
        assert!(!text.is_empty());
        assert_eq!(whole["choices"][index]["message"]["content"], *text);
        assert_eq!(whole["choices"][index]["index"], index);
        assert_eq!(*text == answer_text(PROMPT, 6), index == 0, "the choices differ");
    }
    // Log-probabilities of several choices cannot be assembled.
    body["stream"] = json!(false);
    body["logprobs"] = json!(true);
    assert_eq!(house.post(&body).await.status, 200);
    assert!(house.sim.seen().pop().expect("asked").body.get("stream").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn length_and_content_filter_pass_with_and_without_text_as_annotations() {
    for (finish, annotation) in [("length", "length_limited"), ("content_filter", "content_filtered")] {
        for script in ["tokens=4", "tokens=0", "tokens=0&reasoning=3", "tokens=4&plain=1", "tokens=0&plain=1"] {
            let house = House::start("", &two(&format!("{script}&finish={finish}"), "")).await;
            for stream in [true, false] {
                let mut response = house.post(&chat("m", stream)).await;
                let case = format!("{finish} {script} {stream}");
                assert_eq!(response.status, 200, "{case}");
                let told = if stream {
                    let streamed = response.stream_text().await;
                    assert!(streamed.done, "{case}");
                    streamed.finish
                } else {
                    response.json().await["choices"][0]["finish_reason"].as_str().map(str::to_owned)
                };
                assert_eq!(told.as_deref(), Some(finish), "{case}");
                let record = house.record_of(&response).await;
                assert_eq!((record.outcome.as_str(), record.cause.as_str()), ("ok", "none"), "{case}");
                assert_eq!(record.annotations, [annotation], "{case}");
                assert_eq!(record.attempts.len(), 1, "{case}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reasoning_alone_is_no_answer_unless_it_was_shown() {
    let house = House::start("", &two("tokens=0&reasoning=4&gap=5ms", "")).await;
    // Assembled: nothing was shown, so the next target answers.
    let mut whole = house.post(&chat("m", false)).await;
    assert_eq!(text_of(&mut whole, false).await, answer_text(PROMPT, 4));
    let record = house.record_of(&whole).await;
    assert_eq!(record.attempts[0].cause, "empty");
    assert_eq!(record.attempts.last().expect("some").target, "b");
    // Streamed: its reasoning went out already; it is the answer.
    let mut streamed = house.post(&chat("m", true)).await;
    let payloads = streamed.payloads().await;
    assert!(payloads.iter().any(|payload| payload.contains("reasoning_content")));
    assert!(payloads[payloads.len() - 2].contains("\"finish_reason\":\"stop\""), "its end is part of it: {payloads:?}");
    assert_eq!(payloads.last().map(String::as_str), Some("[DONE]"));
    assert_eq!(house.record_of(&streamed).await.outcome.as_str(), "ok");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_all_have_only_reasoned_the_first_one_is_returned_with_its_reasoning() {
    for script in ["tokens=0&reasoning=4&gap=5ms", "tokens=0&reasoning=4&batch=100"] {
        let config = format!("{}[routes.m]\ntargets = [\"a\"]\n", sim_target("a", script, ""));
        let house = House::start("same_target_retries = 0\n", &config).await;
        let mut response = house.post(&chat("m", false)).await;
        let answer = response.json().await;
        assert_eq!(response.status, 200, "{script}: {answer}");
        let message = &answer["choices"][0]["message"];
        assert!(message["reasoning_content"].as_str().is_some_and(|text| !text.is_empty()), "{script}: {message}");
        assert_eq!(answer["choices"][0]["finish_reason"], "stop", "{script}");
        assert_eq!(house.record_of(&response).await.outcome.as_str(), "returned", "{script}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_every_target_is_empty_the_first_empty_answer_is_the_answer() {
    for script in ["fault=empty", "fault=empty&plain=1"] {
        let config = format!(
            "{}{}[routes.m]\ntargets = [\"a\", \"b\"]\n",
            sim_target("a", script, ""),
            sim_target("b", &format!("{script}&tokens=1"), "")
        );
        let house = House::start("same_target_retries = 0\n", &config).await;
        for stream in [true, false] {
            let mut response = house.post(&chat("m", stream)).await;
            let case = format!("{script} {stream}");
            assert_eq!(response.status, 200, "{case}");
            if stream {
                let streamed = response.stream_text().await;
                assert_eq!((streamed.text.as_str(), streamed.finish.as_deref()), ("", Some("stop")), "{case}");
                assert!(streamed.done, "{case}");
            } else {
                assert_eq!(response.json().await["choices"][0]["finish_reason"], "stop", "{case}");
            }
            let record = house.record_of(&response).await;
            assert_eq!(causes(&record), [("a", "empty", "end"), ("b", "empty", "end")], "{case}");
            assert_eq!(record.outcome.as_str(), "returned", "{case}");
        }
    }
}
