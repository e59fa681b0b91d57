//! The task through a target of each dialect: its own, where bytes go through as
//! they are, and the others, where every turn is translated there and back.

use super::agent::Agent;
use super::desk::{Desk, aside, clean, records};
use crate::support::{House, Tongue};

fn config(target: Tongue) -> String {
    let name = target.provider();
    target.target("reasoning=4", "max_output_tokens = 64000")
        + &format!("[routes.m]\ntargets = [\"{name}\"]\n")
        + &aside()
}

async fn works_through(test: &str, agent: Agent, targets: &[Tongue]) {
    let Some(folder) = Agent::installed(test) else { return };
    for target in targets {
        let what = format!("{agent:?} through {target:?}");
        let house = House::start("", &config(*target)).await;
        let requests = Desk::new(folder.clone(), agent, &house, "m").await.works(&what, 2).await;
        let records = records(&house).await;
        clean(&what, agent, &records, &[]);
        assert_eq!(records.len(), requests, "{what}: {records:#?}");
        for record in &records {
            let translated = record.attempts[0].translated_to.is_some();
            assert_eq!((record.attempts.len(), translated), (1, agent.tongue() != *target), "{what}");
        }
    }
}

macro_rules! agents {
    ($($name:ident, $agent:expr;)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "long: an agent at work"]
            async fn $name() {
                works_through(stringify!($name), $agent, &Tongue::ALL).await;
            }
        )*
    };
}

agents! {
    claude_mends_a_file_through_a_target_of_every_dialect, Agent::Claude;
    codex_mends_a_file_through_a_target_of_every_dialect, Agent::Codex;
    opencode_mends_a_file_through_a_target_of_every_dialect, Agent::Opencode(Tongue::Chat);
    opencode_in_messages_mends_a_file_through_a_target_of_every_dialect, Agent::Opencode(Tongue::Messages);
    opencode_in_responses_mends_a_file_through_a_target_of_every_dialect, Agent::Opencode(Tongue::Responses);
    aider_mends_a_file_through_a_target_of_every_dialect, Agent::Aider;
}
