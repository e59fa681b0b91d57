//! A folder to work in, a note to mend, and the rules every record is held to.

use super::agent::{Agent, NOTE, Ran};
use crate::support::{Folder, House, Tongue, within};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::PathBuf;
use tautline::domain::record::{AttemptOutcome, Outcome, Record};
use tautline::gateway::record::{self, RecordQuery};

/// What an agent says at last.
pub const DONE: &str = "The note is mended.";
/// The route of what agents ask besides their work: a title for it.
pub const ASIDE: &str = "aside";

/// One agent with its home, where its work lies in `work`.
pub struct Desk {
    pub agent: Agent,
    folder: PathBuf,
    home: Folder,
    /// Beside what every run of this agent has.
    pub environment: Vec<(&'static str, String)>,
}

impl Desk {
    /// Sets the agent up with `tautline connect` to ask `house` for `model`.
    pub async fn new(folder: PathBuf, agent: Agent, house: &House, model: &str) -> Self {
        Self::at(folder, agent, house.addr, model).await
    }

    /// Sets the agent up in the same way to ask whoever listens there.
    pub async fn at(folder: PathBuf, agent: Agent, addr: SocketAddr, model: &str) -> Self {
        let base_url = format!("http://{addr}");
        let connect = ["connect", agent.name(), "--write", "--base-url", &base_url, "--model", model];
        let desk = Self::connected(folder, agent, &connect).await;
        match agent {
            Agent::Opencode(tongue) => desk.with("OPENCODE_CONFIG_CONTENT", opencode(tongue, &base_url, model)),
            Agent::Claude | Agent::Codex | Agent::Aider => desk,
        }
    }

    /// Sets the agent up by this command.
    pub async fn connected(folder: PathBuf, agent: Agent, connect: &[&str]) -> Self {
        let home = Folder::new();
        std::fs::create_dir(home.path().join("work")).expect("the folder takes folders");
        home.write(&format!("work/{NOTE}"), "the rope is slack\n");
        let ran = home.run_with(&[("HOME", &home.path().display().to_string())], connect).await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        if agent == Agent::Aider {
            // A list of prices that is new enough: it asks nobody for one.
            std::fs::create_dir_all(home.path().join(".aider/caches")).expect("the folder takes folders");
            home.write(".aider/caches/model_prices_and_context_window.json", "{\"openai/nobody\": {}}");
        }
        Self { agent, folder, home, environment: Vec::new() }
    }

    #[expect(clippy::needless_pass_by_value, reason = "a number or a text, as it is written")]
    pub fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.environment.push((name, value.to_string()));
        self
    }

    /// Writes a file of the home.
    pub fn write(&self, name: &str, text: &str) {
        self.home.write(name, text);
    }

    pub fn read(&self, name: &str) -> String {
        self.home.read(name)
    }

    pub fn home(&self) -> &std::path::Path {
        self.home.path()
    }

    /// The task: read, mend, and leave a line behind for each of `times` calls of the
    /// shell. A call that was lost or made twice shows in the lines.
    pub fn task(&self, times: usize) -> String {
        if self.agent == Agent::Aider {
            let text = format!("{DONE}\n\n{NOTE}\n```\nthe rope is taut\n```\n");
            return format!("Mend the note.\n@sim say {}", json!(text));
        }
        let mut lines = vec!["Mend the note.".to_owned()];
        lines.extend(self.agent.mending(&self.home.path().join("work")));
        lines.extend((1..=times).map(|place| self.agent.shell(&format!("echo {place} >> done.txt"))));
        lines.push(format!("@sim say {DONE}"));
        lines.join("\n")
    }

    pub async fn ask(&self, prompt: &str) -> Ran {
        self.ask_with(&[], prompt).await
    }

    pub async fn ask_with(&self, arguments: &[&str], prompt: &str) -> Ran {
        self.agent.run((&self.folder, self.home.path()), &self.environment, arguments, prompt).await
    }

    /// What the shell's calls left behind, in their order.
    pub fn lines(&self) -> String {
        std::fs::read_to_string(self.home.path().join("work/done.txt")).unwrap_or_default()
    }

    /// Does the task and demands that it is done, once; tells how many requests it took.
    pub async fn works(&self, what: &str, times: usize) -> usize {
        self.works_by(what, &self.task(times), times).await;
        // Each call is the answer to one request, and the last words to one more.
        let steps = if self.agent == Agent::Aider { 0 } else { self.agent.mending(self.home.path()).len() + times };
        steps + 1
    }

    /// Does the task by a prompt that may lead to its end in another way.
    pub async fn works_by(&self, what: &str, prompt: &str, times: usize) {
        let ran = self.ask(prompt).await;
        assert_eq!(ran.code, Some(0), "{what}: {ran:#?}");
        assert!(ran.said.contains(DONE), "{what}: {ran:#?}");
        assert_eq!(self.read(&format!("work/{NOTE}")), "the rope is taut\n", "{what}: {ran:#?}");
        let lines: String = (1..=times).map(|place| place.to_string() + "\n").collect();
        let left = if self.agent == Agent::Aider { String::new() } else { lines };
        assert_eq!(self.lines(), left, "{what}: each call was made, once, in order: {ran:#?}");
    }
}

/// Its settings by the packages of the vendors; titles are asked of a model of their own.
fn opencode(tongue: Tongue, base_url: &str, model: &str) -> Value {
    let provider = match tongue {
        Tongue::Chat => "tautline",
        Tongue::Messages => "anthropic",
        Tongue::Responses => "openai",
    };
    let limit = json!({"context": 200_000, "output": 32_000});
    let models = json!({model: {"name": model, "limit": limit}, ASIDE: {"name": ASIDE, "limit": limit}});
    let mut settings = json!({"model": format!("{provider}/{model}"), "small_model": format!("{provider}/{ASIDE}"),
        "autoupdate": false, "share": "disabled", "provider": {provider: {"models": models}}});
    if tongue != Tongue::Chat {
        let options = json!({"baseURL": format!("{base_url}/v1"), "apiKey": "tautline"});
        settings["provider"][provider]["options"] = options;
    }
    settings
}

/// Where titles come from.
pub fn aside() -> String {
    format!(
        "[targets.{ASIDE}]\nprovider = \"sim\"\nmodel = \"sim?tokens=4\"\n[routes.{ASIDE}]\ntargets = [\"{ASIDE}\"]\n"
    )
}

/// All records of the work, oldest first, once nothing is under way any more.
pub async fn records(house: &House) -> Vec<Record> {
    within("the end of all exchanges", house.running.gateway.lifecycle.empty()).await;
    house.running.gateway.settling.sink.flush().await;
    let query = RecordQuery { limit: 1000, ..RecordQuery::default() };
    let page = record::list(&house.running.store, &query).await.expect("readable");
    page.records.into_iter().rev().filter(|record| record.route != ASIDE).collect()
}

/// Holds records of good work to the rules: asked in the agent's dialect, answered,
/// and no attempt failed but at a target and for a cause that the script orders.
pub fn clean(what: &str, agent: Agent, records: &[Record], ordered: &[(&str, &str)]) {
    for record in records {
        assert!(matches!(record.outcome, Outcome::Ok | Outcome::OkFallback), "{what}: {record:#?}");
        assert_eq!(record.path, agent.tongue().path(), "{what}");
        for attempt in record.attempts.iter().filter(|attempt| attempt.outcome != AttemptOutcome::Ok) {
            let failed = (attempt.target.as_str(), attempt.cause.as_str());
            assert!(ordered.contains(&failed), "{what}: {failed:?} was not ordered: {record:#?}");
        }
    }
}

/// The target that answered each exchange.
pub fn answered_by(records: &[Record]) -> Vec<&str> {
    records.iter().map(|record| record.attempts.last().map_or("nobody", |attempt| &*attempt.target)).collect()
}
