//! The agents' command lines, their tools' names, and how they tell what they did.
//!
//! Invariant: an agent runs with a home of its own and nothing of this machine's
//! environment but where programs are, so that only its settings file says where
//! the gateway is.

use crate::support::{Folder, Tongue};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// An agent's whole run at most: the longest takes a few seconds on an idle machine.
const RUN_MAX: Duration = Duration::from_secs(240);
/// The file that the tasks are about.
pub const NOTE: &str = "notes.txt";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agent {
    Claude,
    Codex,
    /// By the vendor's own package for this dialect.
    Opencode(Tongue),
    Aider,
}

/// What a run left behind.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    /// Its own words: the last answer, or what it says went wrong.
    pub said: String,
    /// Everything it wrote, in stdout and stderr.
    wrote: (String, String),
}

impl Ran {
    /// Whether these words stand in what it wrote, wherever it wrote them and broke its lines.
    pub fn tells(&self, words: &str) -> bool {
        let (out, err) = &self.wrote;
        [&self.said, out, err].iter().any(|text| text.split_whitespace().collect::<Vec<_>>().join(" ").contains(words))
    }
}

impl Agent {
    /// The dialect it asks in.
    pub const fn tongue(self) -> Tongue {
        match self {
            Self::Claude => Tongue::Messages,
            Self::Codex => Tongue::Responses,
            Self::Opencode(tongue) => tongue,
            Self::Aider => Tongue::Chat,
        }
    }

    /// Its name for `tautline connect`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Codex => "codex",
            Self::Opencode(_) => "opencode",
            Self::Aider => "aider",
        }
    }

    /// The folder that `.ci/run full` installs the agents in; `None` after saying why
    /// the test is passed over.
    pub fn installed(test: &str) -> Option<PathBuf> {
        let found = std::env::var_os("TAUTLINE_TEST_AGENTS");
        if found.is_none() {
            let ci = std::env::var_os("TAUTLINE_CI").is_some();
            assert!(!ci, "TAUTLINE_TEST_AGENTS is not set, and here no test may be skipped");
            println!("SKIPPED: {test}: TAUTLINE_TEST_AGENTS is not set (.ci/run full sets it)");
        }
        found.map(PathBuf::from)
    }

    /// A line that makes the simulator call this agent's shell.
    pub fn shell(self, line: &str) -> String {
        match self {
            Self::Claude => call("Bash", &json!({"command": line, "description": "run it"})),
            Self::Codex => call("exec_command", &json!({"cmd": line})),
            Self::Opencode(_) => call("bash", &json!({"command": line, "description": "run it"})),
            Self::Aider => unreachable!("it has no tools"),
        }
    }

    /// Lines that make it read the note and write "taut" for "slack".
    pub fn mending(self, work: &Path) -> Vec<String> {
        let note = work.join(NOTE).display().to_string();
        match self {
            Self::Claude => vec![
                call("Read", &json!({"file_path": note})),
                call("Edit", &json!({"file_path": note, "old_string": "slack", "new_string": "taut"})),
            ],
            Self::Codex => vec![
                self.shell(&format!("cat {NOTE}")),
                self.shell(&format!(
                    "apply_patch <<'EOF'\n*** Begin Patch\n*** Update File: {NOTE}\n@@\n-the rope is slack\n+the rope is \
                     taut\n*** End Patch\nEOF\n"
                )),
            ],
            Self::Opencode(_) => vec![
                call("read", &json!({"filePath": note})),
                call("edit", &json!({"filePath": note, "oldString": "slack", "newString": "taut"})),
            ],
            Self::Aider => unreachable!("it edits by what the model says"),
        }
    }

    /// Runs it to its end in `home/work`, with `prompt` and further arguments.
    pub async fn run(
        self,
        (folder, home): (&Path, &Path),
        extra: &[(&str, String)],
        arguments: &[&str],
        prompt: &str,
    ) -> Ran {
        let mut command = self.command(folder, prompt);
        command.args(arguments);
        command.current_dir(home.join("work")).env_clear().kill_on_drop(true);
        command.env("HOME", home).envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.envs(self.environment().iter().copied()).envs(extra.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{} starts: {error}", self.name()));
        let mut stdin = child.stdin.take().expect("piped");
        if let Self::Opencode(_) = self {
            // As an argument it would arrive in quotes, with those inside it escaped.
            let _ = stdin.write_all(prompt.as_bytes()).await;
        }
        drop(stdin);
        let output = tokio::time::timeout(RUN_MAX, child.wait_with_output()).await;
        let output = output.unwrap_or_else(|_| panic!("{} did not end within {RUN_MAX:?}", self.name()));
        let output = output.expect("it can be waited for");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        Ran { code: output.status.code(), said: self.said(&out), wrote: (out, err) }
    }

    /// Runs lines of a shell in `home`, with this agent's environment and these programs.
    pub async fn shell_of(self, home: &Folder, path: &str, lines: &str) -> std::process::Output {
        let mut command = Command::new("sh");
        command.args(["-ec", lines]).current_dir(home.path()).env_clear().kill_on_drop(true).stdin(Stdio::null());
        command.env("HOME", home.path()).env("PATH", path).envs(self.environment().iter().copied());
        let output = tokio::time::timeout(RUN_MAX, command.output()).await;
        output.unwrap_or_else(|_| panic!("{} did not end within {RUN_MAX:?}", self.name())).expect("a shell starts")
    }

    fn command(self, folder: &Path, prompt: &str) -> Command {
        let program = |path: &str| Command::new(folder.join(path));
        match self {
            Self::Claude => {
                let mut command = program("node_modules/.bin/claude");
                command.args(["-p", prompt, "--dangerously-skip-permissions", "--output-format", "json"]);
                command
            }
            Self::Codex => {
                let mut command = program("node_modules/.bin/codex");
                command.args(["exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "--json"]);
                command.arg(prompt);
                command
            }
            Self::Opencode(_) => {
                let mut command = program("node_modules/.bin/opencode");
                command.arg("run");
                command
            }
            Self::Aider => {
                let mut command = program("venv/bin/aider");
                command.args(["--yes-always", "--no-check-update", "--no-analytics", "--no-show-model-warnings"]);
                command.args(["--no-show-release-notes", "--no-git", "--no-pretty", "--message", prompt, NOTE]);
                command
            }
        }
    }

    /// What keeps it from asking anybody but the gateway.
    fn environment(self) -> &'static [(&'static str, &'static str)] {
        match self {
            // As root it refuses to work without questions anywhere but in a sandbox.
            Self::Claude => {
                &[("IS_SANDBOX", "1"), ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"), ("DISABLE_AUTOUPDATER", "1")]
            }
            Self::Codex => &[],
            Self::Opencode(_) => &[
                ("OPENCODE_DISABLE_AUTOUPDATE", "1"),
                ("OPENCODE_DISABLE_MODELS_FETCH", "1"),
                ("OPENCODE_DISABLE_LSP_DOWNLOAD", "1"),
                ("OPENCODE_DISABLE_DEFAULT_PLUGINS", "1"),
            ],
            Self::Aider => &[("AIDER_ANALYTICS_DISABLE", "true"), ("LITELLM_LOCAL_MODEL_COST_MAP", "True")],
        }
    }

    fn said(self, out: &str) -> String {
        let events = || out.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match self {
            Self::Claude => events().next_back().map(|told| text(&told["result"])).unwrap_or_default(),
            Self::Codex => {
                let words = |event: Value| match event["type"].as_str() {
                    Some("item.completed") if event["item"]["type"] == "agent_message" => {
                        Some(text(&event["item"]["text"]))
                    }
                    Some("turn.failed") => Some(text(&event["error"]["message"])),
                    _ => None,
                };
                events().filter_map(words).next_back().unwrap_or_default()
            }
            Self::Opencode(_) | Self::Aider => out.to_owned(),
        }
    }
}

/// A line of the simulator's that calls a tool.
pub fn call(name: &str, arguments: &Value) -> String {
    format!("@sim call {name} {arguments}")
}
