//! Clocks, waits, slow and departed clients: whose patience ended, and what
//! was done meanwhile.

use crate::support::{Client, House, Response, chat, sim_target, within};
use std::time::Duration;
use tautline::domain::ids::{ExchangeId, Principal, PrincipalKind};
use tautline::domain::story::tell;
use tautline::gateway::admit::Admitted;
use tautline::gateway::exchange;
use tautline::gateway::journal::{Ending, Entry, Reader};
use tautline::gateway::settle::{Open, Opening};
use tautline::sim::{Ended, answer_text};
use tautline::wire::chat::Assembler;
use tautline::wire::dialect::Dialect;

const PROMPT: &str = "why do ropes go slack?";

/// Short clocks for a target that will not keep them.
const SHORT: &str = "deadlines = { first_token = \"600ms\", idle = \"500ms\", progress = \"600ms\" }";

/// A request that ends after just over 500 ms by a clock of ours: an event that
/// tells that this much time has passed.
async fn half_a_second(house: &House) {
    let mut response = house.post(&chat("stalls", true)).await;
    assert!(within("a stalled stream's end", response.stream_text()).await.error.is_some());
}

fn stalling() -> String {
    format!("{}[routes.stalls]\ntargets = [\"stalls\"]\n", sim_target("stalls", "fault=stall&after=2", SHORT))
}

async fn cause_of(house: &House, model: &str) -> (String, String, String) {
    let mut response = house.post(&chat(model, true)).await;
    response.bytes().await;
    let record = house.record_of(&response).await;
    let first = &record.attempts[0];
    (first.cause.clone(), first.phase.clone(), first.side.clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_timeout_is_never_taken_for_theirs_a_reset_an_early_end_or_a_departure() {
    let mut config = String::new();
    for (name, script) in [
        ("ours_before", "fault=hang_headers"),
        ("theirs_408", "fault=status_408"),
        ("theirs_504", "fault=status_504"),
        ("reset_before", "fault=reset_headers"),
        ("ours_after", "fault=stall&after=3"),
        ("reset_after", "fault=reset&after=3"),
        ("early_end", "fault=early_end&after=3"),
    ] {
        config.push_str(&sim_target(name, script, SHORT));
        config.push_str(&format!("[routes.{name}]\ntargets = [\"{name}\"]\n"));
    }
    let house = House::start("retry_base = \"1ms\"", &config).await;
    let ours = |phase: &str| ("own_deadline_first_token".to_owned(), phase.to_owned(), "gateway".to_owned());
    assert_eq!(cause_of(&house, "ours_before").await, ours("headers"));
    for name in ["theirs_408", "theirs_504"] {
        assert_eq!(cause_of(&house, name).await, ("provider_timeout".into(), "headers".into(), "target".into()));
    }
    let network = |cause: &str, phase: &str| (cause.to_owned(), phase.to_owned(), "network".to_owned());
    assert_eq!(cause_of(&house, "reset_before").await, network("reset_before_headers", "headers"));
    assert_eq!(cause_of(&house, "ours_after").await, ("own_deadline_idle".into(), "stream".into(), "gateway".into()));
    assert_eq!(cause_of(&house, "reset_after").await, network("reset", "stream"));
    assert_eq!(cause_of(&house, "early_end").await, ("early_end".into(), "stream".into(), "target".into()));

    // A departed client against the same two silences.
    for (model, after) in [("ours_before", 0), ("ours_after", 3)] {
        let last = house.sim.seen().last().map_or(0, |seen| seen.id);
        let mut client = Client::connect(house.addr).await;
        let body = chat(model, true).to_string();
        let head =
            format!("POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", body.len());
        client.send_raw(format!("{head}{body}").as_bytes()).await;
        within("the request at the target", house.sim.wait_seen(1, |seen| seen.id > last && seen.frames_sent >= after))
            .await;
        drop(client);
        let count = house.running.gateway.settings().targets.len();
        let record = house.newest_of(count + 1 + usize::from(after > 0)).await;
        assert_eq!((record.cause.as_str(), record.side.as_str(), record.status), ("client_gone", "client", 499));
        assert_eq!(record.attempts[0].outcome.as_str(), "cancelled", "never blamed on the target");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn comments_for_ever_are_ended_by_first_token_before_content_and_by_progress_after_it() {
    let mut config = String::new();
    for (name, script) in [("before", "fault=comments_forever"), ("after", "fault=stall_comments&after=4")] {
        config.push_str(&sim_target(name, script, SHORT));
        config.push_str(&format!("[routes.{name}]\ntargets = [\"{name}\"]\n"));
    }
    let house = House::start("", &config).await;
    for (model, cause, phase, limit) in
        [("before", "own_deadline_first_token", "first_token", 600), ("after", "own_deadline_progress", "stream", 600)]
    {
        let mut response = house.post(&chat(model, true)).await;
        response.bytes().await;
        let record = house.record_of(&response).await;
        let attempt = &record.attempts[0];
        assert_eq!((attempt.cause.as_str(), attempt.phase.as_str()), (cause, phase));
        assert!(attempt.ms >= limit, "{} ms", attempt.ms);
        let told = serde_json::to_value(&attempt.evidence).expect("JSON");
        assert_eq!((&told[0]["fact"], &told[0]["limit_ms"]), (&"clock".into(), &limit.into()), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_retry_after_is_waited_out_on_the_same_target_and_delays_nobody_else() {
    let config = format!(
        "{}{}{}[routes.m]\ntargets = [\"busy\", \"other\"]\n[routes.o]\ntargets = [\"other\"]\n[routes.long]\ntargets = [\"later\", \"other\"]\n",
        sim_target("busy", "fault=status_429&first=1&retry_after=2&tokens=9", ""),
        sim_target("other", "tokens=5", ""),
        sim_target("later", "fault=status_429&retry_after=9", ""),
    );
    let house = House::start("", &config).await;
    let waiting = async {
        let mut response = house.post(&chat("m", true)).await;
        let text = response.stream_text().await.text;
        (std::time::Instant::now(), text, house.record_of(&response).await)
    };
    let beside = async {
        within("the 429", house.sim.wait_seen(1, |seen| seen.model.contains("429"))).await;
        let mut response = house.post(&chat("o", true)).await;
        assert_eq!(response.stream_text().await.text, answer_text(PROMPT, 5));
        (std::time::Instant::now(), house.record_of(&response).await)
    };
    let ((waited_until, text, record), (other_done, other)) = tokio::join!(waiting, beside);
    assert_eq!(text, answer_text(PROMPT, 9));
    let told: Vec<_> = record
        .attempts
        .iter()
        .map(|attempt| (attempt.target.as_str(), attempt.cause.as_str(), attempt.purpose.as_str()))
        .collect();
    assert_eq!(told, [("busy", "rate_limited", "serve"), ("busy", "none", "retry")]);
    assert!(record.attempts[1].waited_ms >= 2000 && record.timings.total_ms >= 2000);
    assert_eq!(record.outcome.as_str(), "ok");
    assert!(other_done < waited_until, "the target beside it did not wait");
    assert_eq!((other.attempts.len(), other.attempts[0].waited_ms), (1, 0));
    // A longer one moves on.
    let mut response = house.post(&chat("long", true)).await;
    assert_eq!(response.header("x-tautline-target"), Some("other"));
    assert!(response.stream_text().await.done);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_known_wait_goes_to_the_client_when_nothing_is_left() {
    let config = format!(
        "{}{}[routes.short]\ntargets = [\"short\"]\n[routes.long]\ntargets = [\"long\"]\n",
        sim_target("short", "fault=status_429&retry_after=9", ""),
        sim_target("long", "fault=status_429&retry_after=90", "")
    );
    let house = House::start("", &config).await;
    let short = house.post(&chat("short", true)).await;
    assert_eq!((short.status, short.header("x-should-retry")), (429, None));
    assert!(matches!(short.header("retry-after"), Some("8" | "9")), "{:?}", short.header("retry-after"));
    let long = house.post(&chat("long", true)).await;
    assert_eq!(
        (long.header("retry-after"), long.header("x-should-retry")),
        (None, Some("false")),
        "never a clamped value"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_be_tried_again_on_the_same_target_is_tried_once() {
    let config = format!(
        "{}{}[routes.once]\ntargets = [\"once\"]\n[routes.always]\ntargets = [\"always\"]\n",
        sim_target("once", "fault=status_500&first=1", ""),
        sim_target("always", "fault=status_500", "")
    );
    let house = House::start("retry_base = \"1ms\"", &config).await;
    let mut response = house.post(&chat("once", true)).await;
    assert!(response.stream_text().await.done);
    let record = house.record_of(&response).await;
    assert_eq!(
        (record.outcome.as_str(), record.attempts.len(), record.attempts[1].purpose.as_str()),
        ("ok", 2, "retry")
    );
    let response = house.post(&chat("always", true)).await;
    assert_eq!((response.status, house.record_of(&response).await.attempts.len()), (502, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_connection_that_broke_is_replaced_silently() {
    let config = format!(
        "{}{}[routes.warm]\ntargets = [\"warm\"]\n[routes.m]\ntargets = [\"m\"]\n",
        sim_target("warm", "tokens=3", ""),
        sim_target("m", "fault=close_headers&first=1&tokens=4", "")
    );
    let house = House::start("same_target_retries = 0", &config).await;
    within("a kept connection", async {
        loop {
            let mut warm = house.post(&chat("warm", false)).await;
            warm.bytes().await;
            let reused = house.record_of(&warm).await;
            if reused.attempts[0].outcome.as_str() == "ok" && house.sim.seen().len() >= 2 {
                break;
            }
        }
    })
    .await;
    let mut response = house.post(&chat("m", true)).await;
    assert_eq!(response.stream_text().await.text, answer_text(PROMPT, 4));
    let record = house.record_of(&response).await;
    assert_eq!(record.attempts.len(), 1, "silent: {:?}", record.attempts);
    let asked = house.sim.seen().iter().filter(|seen| seen.model.contains("close_headers")).count();
    assert_eq!(asked, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_wait_for_content_then_go_out_and_fallback_goes_on_inside() {
    let config = format!(
        "{}{}[routes.m]\ntargets = [\"hangs\", \"good\"]\n[routes.lost]\ntargets = [\"hangs\"]\n",
        sim_target("hangs", "fault=hang_headers", "deadlines = { first_token = \"1500ms\" }"),
        sim_target("good", "tokens=7", "")
    );
    let house = House::start("headers_hold_max = \"300ms\"\nkeepalive_every = \"300ms\"", &config).await;
    let mut response = house.post(&chat("m", true)).await;
    assert_eq!(response.status, 200);
    assert_eq!(response.header("x-tautline-target"), Some("hangs"), "headers describe the moment of commit");
    let mut lines = Vec::new();
    while let Some(line) = response.frame().await {
        lines.push(line);
    }
    let first_data = lines.iter().position(|line| line.starts_with("data: ")).expect("an answer");
    assert!(first_data >= 2 && lines[..first_data].iter().all(|line| line == ": keepalive"), "{lines:?}");
    assert_eq!(lines.last().map(String::as_str), Some("data: [DONE]"));
    let record = house.record_of(&response).await;
    assert_eq!(record.outcome.as_str(), "ok_fallback");
    // Nothing left: an event, since the status is out.
    let mut response = house.post(&chat("lost", true)).await;
    assert_eq!(response.status, 200);
    let streamed = response.stream_text().await;
    assert!(!streamed.done);
    assert_eq!(streamed.error.expect("an error event")["code"], "own_deadline_first_token");
    let record = house.record_of(&response).await;
    assert_eq!((record.outcome.as_str(), record.status), ("failed", 200), "the status that the client got");
}

/// A target whose answer is far larger than all buffers on the way.
const LONG: &str = "tokens=40000&batch=200";

fn slow_reader_config() -> String {
    format!(
        "{}{}[routes.m]\ntargets = [\"a\"]\n",
        stalling(),
        sim_target("a", LONG, "deadlines = { first_token = \"2s\", idle = \"500ms\", progress = \"500ms\" }")
    )
}

/// A client whose own buffer is small, so that its silence is felt at once.
async fn slow_post(house: &House) -> Response {
    let client = Client::connect_with_buffer(house.addr, 16 << 10).await;
    client.request("POST", "/v1/chat/completions", &[], chat("m", true).to_string().as_bytes()).await
}

async fn until_the_journal_is_full(house: &House) {
    within("a full journal", async {
        let counted = |text: &str| {
            text.lines()
                .any(|line| line.strip_prefix("tautline_gateway_journal_full_total ").is_some_and(|count| count != "0"))
        };
        while !counted(&house.metrics().await) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_stops_reading_and_reads_on_gets_everything_and_no_clock_blames_the_target() {
    let house = House::start("journal_bytes_max = 65536\nwrite_timeout = \"20s\"", &slow_reader_config()).await;
    let mut response = slow_post(&house).await;
    until_the_journal_is_full(&house).await;
    // Three times the target's idle limit passes with nobody reading.
    for _ in 0..3 {
        half_a_second(&house).await;
    }
    let streamed = within("the rest", response.stream_text()).await;
    assert_eq!(streamed.text, answer_text(PROMPT, 40_000));
    assert!(streamed.done);
    let record = house.record_of(&response).await;
    assert_eq!((record.outcome.as_str(), record.attempts.len()), ("ok", 1));
    assert!(record.timings.total_ms >= 1500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_never_reads_again_is_detached_as_stalled() {
    let house = House::start("journal_bytes_max = 65536\nwrite_timeout = \"700ms\"", &slow_reader_config()).await;
    let response = slow_post(&house).await;
    let record = house.record_of(&response).await;
    assert_eq!((record.cause.as_str(), record.side.as_str()), ("client_stalled", "client"));
    assert_eq!(record.attempts[0].outcome.as_str(), "cancelled");
    assert!(record.timings.total_ms >= 700);
    within("the attempt's end", house.sim.wait_seen(1, |seen| seen.ended == Some(Ended::PeerClosed))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: a client that does not read for 20 s"]
async fn twenty_seconds_without_reading_lose_nothing() {
    let house = House::start("journal_bytes_max = 65536", &slow_reader_config()).await;
    let mut response = slow_post(&house).await;
    until_the_journal_is_full(&house).await;
    let began = std::time::Instant::now();
    while began.elapsed() < Duration::from_secs(20) {
        half_a_second(&house).await;
    }
    assert_eq!(response.stream_text().await.text, answer_text(PROMPT, 40_000));
    assert_eq!(house.record_of(&response).await.outcome.as_str(), "ok");
}

async fn take(reader: &mut Reader, assembler: &mut Assembler) -> (usize, Option<Ending>) {
    let batch = within("a batch", reader.batch(true)).await;
    let mut taken = 0;
    for entry in &batch.entries {
        if let Entry::Frame(frame) = entry {
            assembler.push(&frame.data);
            taken += 1;
        }
    }
    (taken, batch.ending)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_outlives_its_session_and_a_second_reader_gets_the_whole_answer() {
    let config = format!("{}[routes.m]\ntargets = [\"a\"]\n", sim_target("a", "tokens=60&gap=5ms", ""));
    let house = House::start("", &config).await;
    let gateway = &house.running.gateway;
    let opening = Opening {
        dialect: Dialect::Chat,
        id: ExchangeId::generate(),
        accepted: std::time::Instant::now(),
        path: "/v1/chat/completions".into(),
        client_request_id: None,
        principal: Principal { id: "anonymous".into(), kind: PrincipalKind::Anonymous },
        client_addr: None,
    };
    let id = opening.id.to_string();
    let open = Open::new(opening, &gateway.settling);
    let body = chat("m", true).to_string();
    let admitted = Admitted { headers: http::HeaderMap::new(), body: body.into() };
    let begun = exchange::begin(gateway, admitted, open).await.expect("planned");
    let mut driver = begun.driver;
    // The first session polls the driver inline and reads some frames.
    let mut first = begun.journal.attach(0).expect("new");
    let mut lost = Assembler::default();
    let mut got = 0;
    while got < 5 {
        tokio::select! {
            () = &mut driver => panic!("it cannot be over yet"),
            (taken, _) = take(&mut first, &mut lost) => got += taken,
        }
    }
    // It leaves; the same future goes on as a task of its own.
    drop(first);
    let detached = tokio::spawn(driver);
    let mut second = begun.journal.attach(0).expect("nothing was dropped");
    let mut whole = Assembler::default();
    loop {
        let (_, ending) = take(&mut second, &mut whole).await;
        match ending {
            None => {}
            Some(Ending::Complete { .. }) => break,
            Some(Ending::Error(answer)) => panic!("{answer:?}"),
        }
    }
    assert_eq!(whole.finish()["choices"][0]["message"]["content"], answer_text(PROMPT, 60));
    within("the driver's end", detached).await.expect("no panic");
    assert_eq!(house.record(&id).await.outcome.as_str(), "ok");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prompt_that_was_sent_counts_even_if_we_ended_it_before_the_first_word() {
    let priced = "price = { input = 1000000.0, output = 1000000.0 }";
    let config = format!(
        "{}{}{}[routes.m]\ntargets = [\"busy\", \"hangs\", \"good\"]\n",
        sim_target("busy", "fault=status_503", priced),
        sim_target("hangs", "fault=hang_headers", &format!("{priced}\n{SHORT}")),
        sim_target("good", "tokens=7", priced)
    );
    let house = House::start("", &config).await;
    let mut response = house.post(&chat("m", false)).await;
    response.bytes().await;
    let record = house.record_of(&response).await;
    let [busy, hangs, good] = &record.attempts[..] else { panic!("three attempts: {record:#?}") };
    assert_eq!(busy.tokens, None, "a refusal costs nothing");
    let sent = hangs.tokens.expect("the provider had the whole prompt");
    assert!(sent.estimated && sent.output == 0 && sent.input == record.plan.input_tokens, "{sent:?}");
    let delivered = good.tokens.expect("the target reported it");
    let billed = record.billed.expect("priced");
    assert_eq!(billed.tokens.input, sent.input + delivered.input);
    assert_eq!(billed.cost_usd, hangs.cost_usd.zip(good.cost_usd).map(|(lost, good)| lost + good));
    assert_eq!(record.usage, good.tokens, "what was delivered is the good answer's alone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_the_rest_unread_is_told_so_even_when_the_target_was_done_long_ago() {
    // The whole answer fits the journal: the driver ends well while the client reads nothing.
    let config = format!("{}[routes.m]\ntargets = [\"a\"]\n", sim_target("a", "tokens=30000&batch=200", ""));
    let house = House::start("journal_bytes_max = 67108864\nwrite_timeout = \"700ms\"", &config).await;
    let response = slow_post(&house).await;
    let record = house.record_of(&response).await;
    assert_eq!((record.outcome.as_str(), record.cause.as_str()), ("client_gone", "client_stalled"));
    assert_eq!(record.attempts[0].outcome.as_str(), "ok", "the target did its part");
    assert!(tell(&record)[1].contains("no longer took"), "{:?}", tell(&record)[1]);
    let response = slow_post(&house).await;
    let id = response.header("x-request-id").expect("an id").to_owned();
    within("the target's end", house.sim.wait_seen(2, |seen| seen.ended == Some(Ended::Complete))).await;
    drop(response);
    let record = house.record(&id).await;
    assert_eq!((record.outcome.as_str(), record.cause.as_str(), record.status), ("client_gone", "client_gone", 499));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_departure_in_the_middle_of_an_answer_is_told_with_how_long_it_had_been_coming() {
    let config = format!("{}[routes.m]\ntargets = [\"a\"]\n", sim_target("a", "fault=stall&after=3", ""));
    let house = House::start("", &config).await;
    let mut response = house.post(&chat("m", true)).await;
    while !response.frame().await.expect("content").contains("content\":\"") {}
    let id = response.header("x-request-id").expect("an id").to_owned();
    drop(response);
    let record = house.record(&id).await;
    assert_eq!((record.cause.as_str(), record.phase.as_str()), ("client_gone", "stream"));
    assert!(tell(&record)[1].contains("had been receiving the answer"), "{}", tell(&record)[1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fallbacks_do_not_put_keepalives_off() {
    // Four targets, each given up after 600 ms; keep-alives are due every 900 ms.
    let names = ["a", "b", "c", "d"];
    let mut config: String = names.iter().map(|name| sim_target(name, "fault=stall&after=0", SHORT)).collect();
    config.push_str(&format!("[routes.m]\ntargets = {names:?}\n"));
    let house = House::start("headers_hold_max = \"300ms\"\nkeepalive_every = \"900ms\"", &config).await;
    let mut response = house.post(&chat("m", true)).await;
    let mut keepalives = 0;
    while let Some(line) = response.frame().await {
        keepalives += usize::from(line == ": keepalive");
    }
    assert!(keepalives >= 2, "{keepalives} in 2.4 s");
}
