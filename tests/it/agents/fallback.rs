//! A primary that fails before its first token, a fallback of every dialect, and
//! the turns after it: at the recovered primary and at the fallback, with reasoning
//! that each of the two vendors signs in its own way and refuses from the other.

use super::agent::Agent;
use super::desk::{Desk, answered_by, aside, clean, records};
use crate::support::{House, Tongue};
use tautline::sim::{Sim, SimSettings};

/// Shorter than any agent's patience, longer than a busy machine's pauses.
const FIRST_TOKEN: &str = "deadlines = { first_token = \"3s\" }";
/// A target that failed is asked again in the next turn, whatever it did before.
const GATEWAY: &str = "same_target_retries = 0\n";

/// Two vendors, the second of whom signs in his own way: `first` on the house's
/// simulator with `script`, `second` on the other.
async fn two(first: Tongue, second: Tongue, script: &str) -> (Sim, String) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let other = Sim::start(listener, SimSettings { signing: "another vendor".to_owned(), ..SimSettings::default() });
    let api = second.provider().trim_start_matches("only-");
    let more = "max_output_tokens = 64000";
    let config = format!(
        "[providers.other]\ndialect = \"sim\"\nbase_url = \"{}\"\nmodels = [\"other-*\"]\napis = [\"{api}\"]\n\
         [targets.first]\nprovider = \"{}\"\nmodel = \"sim?reasoning=4&{script}\"\n{more}\n{FIRST_TOKEN}\n\
         [targets.second]\nprovider = \"other\"\nmodel = \"sim?reasoning=4\"\n{more}\n\
         [routes.m]\ntargets = [\"first\", \"second\"]\n{}",
        other.base_url(),
        first.provider(),
        aside(),
    );
    (other, config)
}

/// One run over both; tells who answered each request.
async fn walks(what: &str, agent: Agent, fallback: Tongue, fault: (&str, &str), times: usize) -> Option<Vec<String>> {
    let folder = Agent::installed(what)?;
    let (script, cause) = fault;
    let (_other, config) = two(agent.tongue(), fallback, script).await;
    let house = House::start(GATEWAY, &config).await;
    let what = format!("{agent:?} with a fallback in {fallback:?} after {script}");
    let requests = Desk::new(folder, agent, &house, "m").await.works(&what, times).await;
    let records = records(&house).await;
    clean(&what, agent, &records, &[("first", cause)]);
    assert_eq!(records.len(), requests, "{what}: {records:#?}");
    Some(answered_by(&records).into_iter().map(str::to_owned).collect())
}

/// Ways to fail before the first token, each with what it has to be called.
const FAULTS: [(&str, &str); 3] = [
    ("fault=status_503&first=1", "overloaded"),
    ("fault=early_end&first=1", "early_end"),
    ("fault=hang_headers&first=1", "own_deadline_first_token"),
];

/// The first request falls back, the others go to the primary again.
async fn falls_back(test: &str, agent: Agent) {
    for (place, fallback) in Tongue::ALL.into_iter().enumerate() {
        // A run of opencode's takes several seconds: one fault for each fallback.
        let slow = matches!(agent, Agent::Opencode(_) | Agent::Aider);
        let faults = if slow { &FAULTS[place..=place] } else { &FAULTS[..] };
        for fault in faults {
            let Some(by) = walks(test, agent, fallback, *fault, 1).await else { return };
            assert_eq!(by[0], "second", "{agent:?}, {fallback:?}, {fault:?}: {by:?}");
            assert!(by[1..].iter().all(|by| by == "first"), "{agent:?}, {fallback:?}, {fault:?}: {by:?}");
        }
    }
}

/// After the fallback: three more turns at the recovered primary, three more at the
/// fallback, then both by turns.
async fn goes_on(test: &str, agent: Agent) {
    for fallback in Tongue::ALL {
        for (script, expected) in [
            ("fault=status_503&first=1", "2111111"),
            ("fault=status_503&skip=1", "1222222"),
            ("fault=status_503&skip=1&first=3", "1222111"),
        ] {
            let Some(by) = walks(test, agent, fallback, (script, "overloaded"), 4).await else { return };
            let by: String = by.iter().map(|by| if by == "first" { '1' } else { '2' }).collect();
            assert_eq!(by, expected, "{agent:?}, {fallback:?}, {script}");
        }
    }
}

macro_rules! agents {
    ($($agent:expr => $falls:ident $(, $goes:ident)?;)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "long: an agent at work"]
            async fn $falls() {
                falls_back(stringify!($falls), $agent).await;
            }

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                #[ignore = "long: an agent at work"]
                async fn $goes() {
                    goes_on(stringify!($goes), $agent).await;
                }
            )?
        )*
    };
}

agents! {
    Agent::Claude => claude_does_not_notice_a_fallback, claude_goes_on_at_the_recovered_primary_and_at_the_fallback;
    Agent::Codex => codex_does_not_notice_a_fallback, codex_goes_on_at_the_recovered_primary_and_at_the_fallback;
    Agent::Opencode(Tongue::Chat) =>
        opencode_does_not_notice_a_fallback, opencode_goes_on_at_the_recovered_primary_and_at_the_fallback;
    Agent::Opencode(Tongue::Messages) => opencode_in_messages_does_not_notice_a_fallback,
        opencode_in_messages_goes_on_at_the_recovered_primary_and_at_the_fallback;
    Agent::Opencode(Tongue::Responses) => opencode_in_responses_does_not_notice_a_fallback,
        opencode_in_responses_goes_on_at_the_recovered_primary_and_at_the_fallback;
    Agent::Aider => aider_does_not_notice_a_fallback;
}
