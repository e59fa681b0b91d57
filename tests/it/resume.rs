//! An answer that breaks off in its middle is carried on by somebody else, and its
//! client notices nothing.

use crate::support::{House, Tongue};
use tautline::sim::answer_text;

const PROMPT: &str = "why do ropes go slack?";
const TOKENS: usize = 60;

fn pairs() -> impl Iterator<Item = (Tongue, Tongue)> {
    Tongue::ALL.into_iter().flat_map(|client| Tongue::ALL.into_iter().map(move |target| (client, target)))
}

/// A route `m` whose first target breaks off and whose second one goes on.
fn broken(first: Tongue, fault: &str, second: Tongue, successor: &str, more: &str) -> String {
    let target = |name: &str, tongue: Tongue, script: &str, more: &str| {
        format!(
            "[targets.{name}]\nprovider = \"{}\"\nmodel = \"sim?tokens={TOKENS}&gap=2ms&{script}\"\nmax_output_tokens = 4000\n{more}\n",
            tongue.provider()
        )
    };
    target("first", first, fault, "deadlines = { idle = \"300ms\", progress = \"300ms\" }")
        + &target("second", second, successor, more)
        + "[routes.m]\ntargets = [\"first\", \"second\"]\n"
}

async fn carried_on(client: Tongue, config: &str, name: &str) {
    let house = House::start("", config).await;
    let body = client.ask("m", true, PROMPT);
    let mut response = client.post(house.addr, &[], &body).await;
    assert_eq!(response.status, 200, "{name}");
    let said = client.stream(&mut response).await;
    let record = house.record_of(&response).await;
    let told = serde_json::to_string_pretty(&record).expect("JSON");
    assert_eq!(said.error, None, "{name}: {told}");
    assert_eq!(said.text, answer_text(PROMPT, TOKENS), "{name}: {told}");
    assert_eq!((said.finish.as_str(), said.ended), ("stop", true), "{name}");
    assert_eq!(record.outcome.as_str(), "ok_continued", "{name}: {told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_goes_on_repeats_well_or_badly_or_starts_over_the_client_has_the_whole_text() {
    for successor in ["good", "sloppy_1", "sloppy_2", "stubborn"] {
        for after in [9, 17, 30, 42, 59] {
            let config = broken(
                Tongue::Chat,
                &format!("fault=reset&after={after}"),
                Tongue::Chat,
                &format!("successor={successor}"),
                "",
            );
            carried_on(Tongue::Chat, &config, &format!("{successor} after {after}")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_goes_on_over_every_pair_of_dialects() {
    for (client, target) in pairs() {
        for first in Tongue::ALL {
            let config = broken(first, "fault=error_event&after=20", target, "", "");
            carried_on(client, &config, &format!("{client:?}: {first:?}, then {target:?}")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_to_break_off_is_carried_on() {
    for fault in ["reset", "early_end", "cut_chunked", "stall", "stall_comments", "error_event", "garbled", "half_utf8"]
    {
        let config = broken(Tongue::Chat, &format!("fault={fault}&after=23"), Tongue::Messages, "", "");
        carried_on(Tongue::Chat, &config, fault).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_beginning_is_given_in_the_form_that_is_declared_and_asked_for_where_it_is_refused() {
    for (second, prefill) in [
        (Tongue::Messages, "anthropic"),
        (Tongue::Chat, "prefix"),
        (Tongue::Chat, "continue_final"),
        (Tongue::Chat, "trailing"),
    ] {
        for successor in ["good", "refuses_prefill", "stubborn"] {
            let config = broken(
                Tongue::Chat,
                "fault=error_event&after=31",
                second,
                &format!("successor={successor}"),
                &format!("prefill = \"{prefill}\""),
            );
            carried_on(Tongue::Chat, &config, &format!("{prefill} {successor}")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_that_do_not_join_are_never_shown() {
    for successor in ["paraphrasing", "stubborn_2", "echo"] {
        let config =
            broken(Tongue::Chat, "fault=error_event&after=31", Tongue::Chat, &format!("successor={successor}"), "");
        let house = House::start("", &config).await;
        let body = Tongue::Chat.ask("m", true, PROMPT);
        let mut response = Tongue::Chat.post(house.addr, &[], &body).await;
        let said = Tongue::Chat.stream(&mut response).await;
        // The same target may have gone on for a while.
        let whole = answer_text(PROMPT, TOKENS);
        assert!(
            said.text.starts_with(&answer_text(PROMPT, 31)) && whole.starts_with(&said.text),
            "{successor}: {said:?}"
        );
        assert!(said.text.len() < whole.len() && said.error.is_some() && !said.ended, "{successor}");
        let record = house.record_of(&response).await;
        assert_eq!((record.outcome.as_str(), record.cause.as_str()), ("cut", "error_event"), "{successor}");
    }
}
