//! Every fault of the simulator, called by its name, with and without a way out.
//!
//! What each must be called is the simulator's own table, written from the
//! design and not from `classify`.

use crate::support::{Client, House, Response, chat, closed_port, sim_target, within};
use futures_util::future::join_all;
use tautline::domain::failure::{Cause, StatusRule, status_rule, waiting_helps};
use tautline::domain::record::Record;
use tautline::sim::{Expected, Fault, answer_text, expected, falls_back};

const PROMPT: &str = "why do ropes go slack?";
/// The fallback's answer is longer than anything a faulty target sends.
const TOKENS: usize = 50;

/// Faults that the simulator plays over HTTP; `refuse` is a closed port.
fn played() -> impl Iterator<Item = Fault> {
    Fault::ALL.iter().copied().filter(|fault| *fault != Fault::Refuse)
}

/// A house with a target and two routes for each fault: `NAME`, alone, and
/// `NAME+`, with a good target behind it.
async fn house_of_faults(after: u64) -> House {
    let clocks = "deadlines = { connect = \"5s\", first_token = \"700ms\", idle = \"700ms\", progress = \"900ms\" }";
    let mut config = sim_target("good", &format!("tokens={TOKENS}"), "");
    for fault in played() {
        // Trickled bytes come faster than `idle` is long, so that only `progress` can end it.
        let script = format!("fault={fault}&after={after}&every=50ms&tokens=30&gap=1ms");
        config.push_str(&sim_target(fault.as_str(), &script, clocks));
    }
    config.push_str(&format!(
        "[providers.closed]\ndialect = \"openai\"\nbase_url = \"http://127.0.0.1:{}/v1\"\nmodels = []\n\
         [targets.refuse]\nprovider = \"closed\"\nmodel = \"m\"\n",
        closed_port()
    ));
    for fault in Fault::ALL {
        config.push_str(&format!(
            "[routes.{fault}]\ntargets = [\"{fault}\"]\n[routes.\"{fault}+\"]\ntargets = [\"{fault}\", \"good\"]\n"
        ));
    }
    let gateway = "headers_hold_max = \"20s\"\noutput_bytes_max = 300000\nframe_bytes_max = 100000\nretry_base = \"1ms\"\nfinish_grace = \"300ms\"";
    House::start(gateway, &config).await
}

fn named(record: &Record, row: Expected, fault: Fault) {
    let first = &record.attempts[0];
    let seen = (first.cause.as_str(), first.phase.as_str(), first.side.as_str());
    let wanted = (row.cause.as_str(), row.phase.as_str(), row.side.as_str());
    assert_eq!(seen, wanted, "{fault}: {:?}", first.evidence);
}

async fn whole_text(response: &mut Response, stream: bool) -> String {
    if stream {
        let streamed = response.stream_text().await;
        assert!(streamed.done, "{:?}", streamed.error);
        streamed.text
    } else {
        let answer = response.json().await;
        answer["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned()
    }
}

/// The client gets the fallback's whole, exact answer, and the record names
/// what happened to the first target.
async fn is_rescued(house: &House, fault: Fault, after: u64, stream: bool) {
    let row = expected(fault, after, true).expect("a fault that falls back has a row");
    let mut response = within(fault.as_str(), house.post(&chat(&format!("{fault}+"), stream))).await;
    assert_eq!(response.status, 200, "{fault}");
    assert_eq!(response.header("x-tautline-target"), Some("good"), "{fault}");
    let text = within(fault.as_str(), whole_text(&mut response, stream)).await;
    assert_eq!(text, answer_text(PROMPT, TOKENS), "{fault}");
    let record = house.record_of(&response).await;
    named(&record, row, fault);
    assert_eq!(record.outcome.as_str(), "ok_fallback", "{fault}");
    assert_eq!((record.cause.as_str(), record.status), ("none", 200), "{fault}");
    let last = record.attempts.last().expect("two targets at least");
    assert_eq!((last.target.as_str(), last.outcome.as_str(), last.purpose.as_str()), ("good", "ok", "fallback"));
    let header = response.header("x-tautline-attempts").map(str::to_owned);
    assert_eq!(header, Some(record.attempts.len().to_string()), "{fault}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_before_the_first_token_is_named_and_carried_on_from() {
    let house = house_of_faults(0).await;
    // Those that have sent content before they strike come below.
    let early: Vec<Fault> =
        Fault::ALL.iter().copied().filter(|fault| falls_back(*fault) && *fault != Fault::ToolCut).collect();
    assert!(early.len() >= 25, "{} faults", early.len());
    for stream in [true, false] {
        join_all(early.iter().map(|fault| is_rescued(&house, *fault, 0, stream))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unstreamed_even_what_breaks_after_many_tokens_ends_in_the_fallbacks_whole_answer() {
    let house = house_of_faults(12).await;
    let all: Vec<Fault> = Fault::ALL.iter().copied().filter(|fault| falls_back(*fault)).collect();
    join_all(all.iter().map(|fault| is_rescued(&house, *fault, 12, false))).await;
}

/// Breaks that come after content was sent.
fn late() -> Vec<Fault> {
    played()
        .filter(|fault| expected(*fault, 12, true).is_some_and(|row| row.phase.as_str() == "stream"))
        .filter(|fault| *fault != Fault::ToolCut)
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_breaks_in_its_middle_is_carried_on_to_its_whole_text() {
    let house = house_of_faults(12).await;
    let late: Vec<Fault> = late().into_iter().filter(|fault| !is_final(*fault)).collect();
    assert!(late.len() >= 10, "{late:?}");
    join_all(late.iter().map(async |fault| {
        let mut response = within(fault.as_str(), house.post(&chat(&format!("{fault}+"), true))).await;
        let text = within(fault.as_str(), whole_text(&mut response, true)).await;
        assert_eq!(text, answer_text(PROMPT, TOKENS), "{fault}");
        let record = house.record_of(&response).await;
        named(&record, expected(*fault, 12, true).expect("a late fault has a row"), *fault);
        assert_eq!(record.outcome.as_str(), "ok_continued", "{fault}");
        let last = record.attempts.last().expect("two at least");
        assert_eq!((last.target.as_str(), last.purpose.as_str()), ("good", "continue"), "{fault}");
        assert_eq!(last.seam.map(|seam| seam.seam.as_str()), Some("exact"), "{fault}");
    }))
    .await;
}

/// Whose break nobody may carry on: a call may have been run, or our own bound was hit.
fn is_final(fault: Fault) -> bool {
    matches!(fault, Fault::ToolCut | Fault::Endless)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_stream_ends_in_an_error_with_its_cause_and_never_in_done() {
    let house = house_of_faults(12).await;
    let late = late();
    join_all(late.iter().map(async |fault| {
        let row = expected(*fault, 12, true).expect("a late fault has a row");
        // Nobody stands behind, or nobody could carry it on.
        let route = if is_final(*fault) { format!("{fault}+") } else { fault.to_string() };
        let mut response = within(fault.as_str(), house.post(&chat(&route, true))).await;
        assert_eq!(response.status, 200, "{fault}");
        let streamed = within(fault.as_str(), response.stream_text()).await;
        assert!(!streamed.done, "{fault}: a cut answer never ends in [DONE]");
        let error = streamed.error.unwrap_or_else(|| panic!("{fault}: an error event ends it"));
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains(fault.as_str()), "{fault}: the message names the target: {message}");
        if *fault != Fault::Endless {
            // The same target may have gone on with it for a while.
            let (whole, least) = (answer_text(PROMPT, TOKENS), answer_text(PROMPT, 12));
            let exact = streamed.text.starts_with(&least) && whole.starts_with(&streamed.text);
            assert!(exact || *fault == Fault::ToolCut, "{fault}: {:?}", streamed.text);
        }
        let record = house.record_of(&response).await;
        named(&record, row, *fault);
        assert_eq!(record.outcome.as_str(), "cut", "{fault}");
        assert!(record.attempts.len() == 1 || !is_final(*fault), "{fault}");
        assert_eq!(record.cause, row.cause.as_str());
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_fallback_the_error_says_the_cause_and_whether_waiting_helps() {
    let house = house_of_faults(0).await;
    let all: Vec<Fault> = Fault::ALL
        .iter()
        .copied()
        // An empty answer is returned when every target is empty; endless and a cut call have shown something.
        .filter(|fault| expected(*fault, 0, true).is_some())
        .filter(|fault| !matches!(fault, Fault::Empty | Fault::Endless | Fault::ToolCut))
        .collect();
    for stream in [true, false] {
        join_all(all.iter().map(|fault| is_told(&house, *fault, stream))).await;
    }
}

async fn is_told(house: &House, fault: Fault, stream: bool) {
    let row = expected(fault, 0, true).expect("filtered");
    let mut response = within(fault.as_str(), house.post(&chat(fault.as_str(), stream))).await;
    assert_eq!(response.header("x-tautline-cause"), Some(row.cause.as_str()), "{fault}");
    let record = house.record_of(&response).await;
    named(&record, row, fault);
    let error = response.json().await["error"].clone();
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{fault}: {error}");
    // What an error frame's code maps to rules status and waiting.
    let effective = match fault {
        Fault::ErrorEvent => Cause::ServerError,
        Fault::ErrorEventOverloaded => Cause::Overloaded,
        _ => row.cause,
    };
    match status_rule(effective, false, false) {
        StatusRule::Fixed(status) => {
            assert_eq!(response.status, status, "{fault}");
            assert_eq!(record.outcome.as_str(), "failed", "{fault}");
        }
        StatusRule::AsItCame => {
            assert_eq!(response.status, 400, "{fault}");
            assert_eq!(record.outcome.as_str(), "returned", "{fault}");
        }
    }
    let never = (!waiting_helps(effective)).then_some("false");
    assert_eq!(response.header("x-should-retry"), never, "{fault}");
    assert_eq!(response.header("retry-after"), None, "{fault}: no wait is known");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_that_is_an_answer_goes_back_as_it_came_after_one_attempt() {
    let house = house_of_faults(0).await;
    for fault in [Fault::Policy, Fault::BadRequest] {
        for stream in [true, false] {
            let mut through = house.post(&chat(&format!("{fault}+"), stream)).await;
            let mut body = chat(&format!("sim?fault={fault}"), stream);
            body["stream"] = stream.into();
            let client = Client::connect(house.sim.addr()).await;
            let mut direct = client.request("POST", "/v1/chat/completions", &[], body.to_string().as_bytes()).await;
            assert_eq!(through.status, direct.status, "{fault}");
            let record = house.record_of(&through).await;
            assert_eq!(through.json().await, direct.json().await, "{fault}");
            assert_eq!((record.outcome.as_str(), record.attempts.len()), ("returned", 1), "{fault}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_answer_is_returned_only_when_every_target_is_empty() {
    let house = House::start(
        "retry_base = \"1ms\"",
        &format!("{}[routes.m]\ntargets = [\"a\"]\n", sim_target("a", "fault=empty", "")),
    )
    .await;
    let mut response = house.post(&chat("m", true)).await;
    let streamed = response.stream_text().await;
    assert_eq!((response.status, streamed.text.as_str(), streamed.done), (200, "", true));
    assert_eq!(streamed.finish.as_deref(), Some("stop"));
    let record = house.record_of(&response).await;
    assert_eq!((record.outcome.as_str(), record.cause.as_str()), ("returned", "empty"));
    let mut whole = house.post(&chat("m", false)).await;
    assert_eq!(whole.json().await["choices"][0]["finish_reason"], "stop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_done_after_a_finish_is_no_failure() {
    let house = house_of_faults(0).await;
    for fault in [Fault::MissingDone, Fault::NoDoneHold] {
        for stream in [true, false] {
            let mut response = within(fault.as_str(), house.post(&chat(fault.as_str(), stream))).await;
            let text = within(fault.as_str(), whole_text(&mut response, stream)).await;
            assert_eq!(text, answer_text(PROMPT, 30), "{fault}");
            assert_eq!(house.record_of(&response).await.outcome.as_str(), "ok", "{fault}");
        }
    }
}
