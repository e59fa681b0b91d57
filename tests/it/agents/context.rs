//! A conversation that outgrows its target in the middle of the work: who compacts
//! it and goes on, who ends, and who looks ahead by the usage that it is told.

use super::agent::Agent;
use super::desk::{DONE, Desk, aside, clean, records};
use crate::support::{House, Tongue};
use serde_json::{Value, json};
use tautline::domain::record::{Outcome, Record};

/// Good for two turns, then once refused for its length.
const GROWS: &str = "reasoning=4&fault=context_length&skip=2&first=1";

fn config(target: Tongue, script: &str) -> String {
    let name = target.provider();
    target.target(script, "max_output_tokens = 64000") + &format!("[routes.m]\ntargets = [\"{name}\"]\n") + &aside()
}

/// A summary that leads on: what the simulator is made to say of the conversation.
fn summary(steps: &[String]) -> String {
    format!("Go on.\n{}\n@sim say {DONE}", steps.join("\n"))
}

/// What the third of them was refused for, once, and how often the target was asked.
fn refused_once(what: &str, agent: Agent, records: &[Record]) {
    let [first, second, refused, rest @ ..] = records else { panic!("{what}: {records:#?}") };
    clean(what, agent, &[first.clone(), second.clone()], &[]);
    clean(what, agent, rest, &[]);
    let told = (refused.outcome, refused.status, refused.cause.as_str(), refused.attempts.len());
    // A Responses client that streams is told inside the stream, as OpenAI does.
    let status = if refused.dialect == "responses" { 200 } else { 400 };
    assert_eq!(told, (Outcome::Failed, status, "context_too_long", 1), "{what}: {refused:#?}");
}

/// The messages or items of a request.
fn entries(body: &Value) -> &[Value] {
    body["messages"].as_array().or_else(|| body["input"].as_array()).map_or(&[], Vec::as_slice)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: an agent at work"]
async fn claude_compacts_and_goes_on_across_dialects() {
    let test = "claude_compacts_and_goes_on_across_dialects";
    let Some(folder) = Agent::installed(test) else { return };
    for target in Tongue::ALL {
        let what = format!("claude through {target:?}");
        let house = House::start("", &config(target, GROWS)).await;
        let desk = Desk::new(folder.clone(), Agent::Claude, &house, "m").await;
        // What this hook prints is put at the end of the request for a summary.
        let mut settings: Value = serde_json::from_str(&desk.read(".claude/settings.json")).expect("JSON");
        let print = format!("cat {}", desk.home().join("compact.txt").display());
        settings["hooks"] = json!({"PreCompact": [{"hooks": [{"type": "command", "command": print}]}]});
        desk.write(".claude/settings.json", &settings.to_string());
        // It keeps its last turn beside the summary: the first of these steps is taken already.
        let agent = desk.agent;
        let edit = agent.mending(&desk.home().join("work")).pop().expect("two steps");
        let steps = [edit, agent.shell("echo 1 >> done.txt"), agent.shell("echo 2 >> done.txt")];
        let said = format!("<analysis>\nIt is long.\n</analysis>\n<summary>\n{}\n</summary>", summary(&steps));
        desk.write("compact.txt", &format!("@sim say {}\n", json!(said)));
        desk.works(&what, 2).await;
        let records = records(&house).await;
        refused_once(&what, agent, &records);
        let seen = house.sim.seen();
        let asked: Vec<String> = seen.iter().map(|seen| seen.body.to_string()).collect();
        let summaries = asked.iter().filter(|body| body.contains("create a detailed summary")).count();
        let short = asked.iter().filter(|body| body.contains("continued from a previous conversation")).count();
        assert!(summaries > 0, "{what}: it asked for a summary");
        assert_eq!(short, 3, "{what}: two calls and the last words came after it");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: an agent at work"]
async fn opencode_compacts_and_goes_on_across_dialects() {
    let test = "opencode_compacts_and_goes_on_across_dialects";
    let Some(folder) = Agent::installed(test) else { return };
    let chat = Tongue::ALL.map(|target| (Tongue::Chat, target));
    let own = [(Tongue::Messages, Tongue::Messages), (Tongue::Responses, Tongue::Responses)];
    for (tongue, target) in chat.into_iter().chain(own) {
        let what = format!("opencode in {tongue:?} through {target:?}");
        let agent = Agent::Opencode(tongue);
        let house = House::start("", &config(target, GROWS)).await;
        let desk = Desk::new(folder.clone(), agent, &house, "m").await;
        // It asks for a summary, and then what is left to be done; the simulator knows of nothing.
        let ran = desk.ask(&desk.task(2)).await;
        assert_eq!(desk.read("work/notes.txt"), "the rope is taut\n", "{what}: {ran:#?}");
        refused_once(&what, agent, &records(&house).await);
        let seen = house.sim.seen();
        let last = &seen.last().expect("asked").body;
        assert!(last.to_string().contains("What did we do so far?"), "{what}: {last}");
        assert!(entries(last).len() < 6, "{what}: the long conversation is gone: {last}");
        // The session works on.
        let again = format!("And now?\n{}\n@sim say {DONE}", agent.shell("echo 1 >> done.txt"));
        let ran = desk.ask_with(&["--continue"], &again).await;
        assert_eq!((ran.code, desk.lines().as_str()), (Some(0), "1\n"), "{what}: {ran:#?}");
        assert!(ran.said.contains(DONE), "{what}: {ran:#?}");
        refused_once(&what, agent, &records(&house).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: an agent at work"]
async fn codex_ends_cleanly_where_the_context_is_too_long_across_dialects() {
    let test = "codex_ends_cleanly_where_the_context_is_too_long_across_dialects";
    let Some(folder) = Agent::installed(test) else { return };
    for target in Tongue::ALL {
        let what = format!("codex through {target:?}");
        let house = House::start("", &config(target, GROWS)).await;
        let desk = Desk::new(folder.clone(), Agent::Codex, &house, "m").await;
        let ran = desk.ask(&desk.task(2)).await;
        assert_eq!(ran.code, Some(1), "{what}: {ran:#?}");
        assert!(ran.said.contains("ran out of room in the model's context window"), "{what}: {ran:#?}");
        let records = records(&house).await;
        refused_once(&what, Agent::Codex, &records);
        assert_eq!(records.len(), 3, "{what}: and asks nothing again: {records:#?}");
    }
}

/// Codex with a limit of 30,000 tokens, told of `cached` more than its prompt has in
/// the first answer; tells how many requests asked for a summary.
async fn codex_counts(folder: &std::path::Path, target: Tongue, cached: usize, compacts: bool) -> usize {
    let what = format!("codex through {target:?}, {cached} tokens");
    // The first turn is the first target's, all others the second's.
    let one = |name: &str, script: &str| {
        format!(
            "[targets.{name}]\nprovider = \"{}\"\nmodel = \"sim?reasoning=4{script}\"\nmax_output_tokens = 64000\n",
            target.provider()
        )
    };
    let config = one("first", &format!("&cached={cached}&fault=status_503&skip=1"))
        + &one("second", "")
        + "[routes.m]\ntargets = [\"first\", \"second\"]\n";
    let house = House::start("same_target_retries = 0\n", &config).await;
    let desk = Desk::new(folder.to_owned(), Agent::Codex, &house, "m").await;
    let agent = desk.agent;
    let patch = agent.mending(&desk.home().join("work")).pop().expect("two steps");
    let steps = [patch, agent.shell("echo 1 >> done.txt"), agent.shell("echo 2 >> done.txt")];
    let prompt = format!("Summarise it.\n@sim say {}", json!(summary(&steps)));
    let settings = desk.read(".codex/config.toml");
    let limits = format!("model_auto_compact_token_limit = 30000\ncompact_prompt = {}\n", json!(prompt));
    desk.write(".codex/config.toml", &(limits + &settings));
    // Beside the summary it keeps what it was asked, which in messages is one turn with
    // it: that must not lead through the same steps again.
    let begin = format!("Mend the note.\n{}\nThank you.", agent.shell("cat notes.txt"));
    let prompt = if compacts { begin } else { desk.task(2) };
    desk.works_by(&what, &prompt, 2).await;
    let records = records(&house).await;
    clean(&what, agent, &records, &[("first", "overloaded")]);
    let asks = |seen: &&tautline::sim::Seen| {
        entries(&seen.body).last().is_some_and(|last| last.to_string().contains("Summarise it."))
            && seen.fault.is_none()
    };
    house.sim.seen().iter().filter(asks).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: an agent at work"]
async fn codex_compacts_by_the_usage_that_it_is_told_across_dialects() {
    let test = "codex_compacts_by_the_usage_that_it_is_told_across_dialects";
    let Some(folder) = Agent::installed(test) else { return };
    for target in Tongue::ALL {
        assert_eq!(codex_counts(&folder, target, 50_000, true).await, 1, "{target:?}: over its limit");
        assert_eq!(codex_counts(&folder, target, 20_000, false).await, 0, "{target:?}: below its limit");
    }
}
