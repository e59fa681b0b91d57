//! Runs a script of tests/clients in the interpreter that has its packages.

use serde_json::Value;
use std::path::PathBuf;
use std::process::Stdio;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// What a script is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Python,
    Node,
}

impl Language {
    /// Its interpreter, ready for a script of tests/clients; `None` after saying why not.
    pub fn script(self, test: &str, name: &str) -> Option<Command> {
        let variable = match self {
            Self::Python => "TAUTLINE_TEST_PYTHON",
            Self::Node => "TAUTLINE_TEST_NODE_PATH",
        };
        let Some(value) = std::env::var_os(variable) else {
            absent(test, &format!("{variable} is not set"));
            return None;
        };
        let mut command = match self {
            Self::Python => Command::new(value),
            Self::Node => {
                let mut node = Command::new("node");
                node.env("NODE_PATH", PathBuf::from(value).join("node_modules"));
                node
            }
        };
        // What the machine is set up with must not decide where the packages go.
        let set_up = std::env::vars_os().map(|(name, _)| name).filter(|name| {
            let name = name.to_string_lossy().to_uppercase();
            name.starts_with("OPENAI_") || name.starts_with("ANTHROPIC_") || name.ends_with("_PROXY")
        });
        for name in set_up {
            command.env_remove(name);
        }
        command.arg(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)).kill_on_drop(true);
        Some(command)
    }
}

/// Says that a test lacks something, and fails where nothing may be lacking.
pub fn absent(test: &str, what: &str) {
    assert!(std::env::var_os("TAUTLINE_CI").is_none(), "{what}, and here no test may be skipped");
    println!("SKIPPED: {test}: {what} (.ci/run sets it)");
}

/// Runs a script to its end, with this on its standard input: the lines of JSON that it printed.
pub async fn lines(mut command: Command, input: &str) -> Vec<Value> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the interpreter starts");
    let mut stdin = child.stdin.take().expect("piped");
    // A script that ends before it read all tells why on its standard error.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = child.wait_with_output().await.expect("it ends");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("a line of JSON, not: {line}"));
    out.lines().map(line).collect()
}
