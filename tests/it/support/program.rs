//! The binary itself: run to its end, or kept running on ports of its own.

use super::house::within;
use super::{Client, closed_port};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use tautline::sim::Sim;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr, Command};

/// What a run of the binary left behind.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// A folder to run the binary in, with nothing of this machine's environment
/// but where programs are.
pub struct Folder(tempfile::TempDir);

/// A gateway in a process of its own.
pub struct Up {
    pub addr: SocketAddr,
    pub admin: SocketAddr,
    child: Child,
    stderr: tokio::io::Lines<BufReader<ChildStderr>>,
}

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).expect("the folder takes files");
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).expect("the file is there")
    }

    fn command(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tautline"));
        command.args(arguments).current_dir(self.path()).env_clear().stdin(Stdio::null()).kill_on_drop(true);
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.envs(environment.iter().copied());
        command
    }

    pub async fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(&[], arguments).await
    }

    pub async fn run_with(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Ran {
        let output = within("the command's end", self.command(arguments, environment).output()).await;
        let output = output.expect("the binary starts");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Starts `up` on `tautline.toml`, written from `config` with a provider
    /// `sim`, on free ports. Another process may take a port between its choice
    /// and its use: then others are chosen.
    pub async fn up(&self, sim: &Sim, gateway: &str, config: &str) -> Up {
        for _ in 0..5 {
            let (port, admin) = (closed_port(), closed_port());
            let text = format!(
                "[gateway]\nlisten = \"127.0.0.1:{port}\"\n{gateway}\n[admin]\nlisten = \"127.0.0.1:{admin}\"\n\
                 [log]\nexchanges = \"off\"\n[providers.sim]\ndialect = \"sim\"\nbase_url = \"{}\"\nmodels = [\"sim*\"]\n{config}",
                sim.base_url()
            );
            self.write("tautline.toml", &text);
            match self.spawn(&[], &["up"], [port, admin]).await {
                Ok(up) => return up,
                Err(said) => assert!(said.contains("in use"), "{said}"),
            }
        }
        panic!("no port stayed free five times in a row");
    }

    /// Starts a process and waits until it listens; or all that it said instead.
    pub async fn spawn(&self, environment: &[(&str, &str)], arguments: &[&str], ports: [u16; 2]) -> Result<Up, String> {
        let mut command = self.command(arguments, environment);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary starts");
        let mut stderr = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let mut said = String::new();
        while let Some(line) = within("the start", stderr.next_line()).await.expect("text") {
            said.push_str(&line);
            said.push('\n');
            if line.contains("tautline explain last") {
                let [addr, admin] = ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
                return Ok(Up { addr, admin, child, stderr });
            }
        }
        Err(said)
    }
}

impl Up {
    pub fn id(&self) -> u32 {
        self.child.id().expect("it still runs")
    }

    /// Sends a signal by its name.
    pub async fn signal(&self, name: &str) {
        let id = self.child.id().expect("it still runs");
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {id}")]).status().await;
        assert!(sent.expect("a shell").success(), "kill -{name} {id}");
    }

    /// Waits for a line on stderr with this text in it.
    pub async fn says(&mut self, text: &str) -> String {
        within(text, async {
            while let Some(line) = self.stderr.next_line().await.expect("text") {
                if line.contains(text) {
                    return line;
                }
            }
            panic!("it ended without saying: {text}")
        })
        .await
    }

    /// Waits until the process is no longer ready for requests.
    pub async fn drains(&self) {
        within("the drain", async {
            while Client::connect(self.admin).await.request("GET", "/readyz", &[], b"").await.status == 200 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    pub async fn ended(&mut self) -> ExitStatus {
        within("the process's end", self.child.wait()).await.expect("it can be waited for")
    }
}
