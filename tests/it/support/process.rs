//! The binary kept running, with everything it prints collected.

use super::house::within;

/// `tautline up` in a process of its own.
pub struct Process {
    child: tokio::process::Child,
    pub gateway: std::net::SocketAddr,
    pub admin: std::net::SocketAddr,
    out: tokio::task::JoinHandle<String>,
    err: tokio::task::JoinHandle<String>,
}

impl Process {
    /// Starts it and waits until it says where it listens.
    pub async fn up(config: &std::path::Path, environment: &[(&str, &str)]) -> Self {
        use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
        let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_tautline"))
            .args(["up", "--config"])
            .arg(config)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .envs(environment.iter().copied())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary starts");
        let mut stdout = child.stdout.take().expect("piped");
        // Both end with the child's own end.
        let out = tokio::spawn(async move {
            let mut bytes = Vec::new();
            let _ = stdout.read_to_end(&mut bytes).await;
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let (told, addresses) = tokio::sync::oneshot::channel();
        let err = tokio::spawn(async move {
            let (mut all, mut found, mut told) = (String::new(), Vec::new(), Some(told));
            while let Ok(Some(line)) = lines.next_line().await {
                let word = line.split_whitespace().find_map(|word| word.strip_prefix("http://")).map(str::to_owned);
                if let (true, Some(word)) = (found.len() < 2, word)
                    && let Ok(addr) = word.split('/').next().unwrap_or_default().parse::<std::net::SocketAddr>()
                {
                    found.push(addr);
                }
                if found.len() == 2
                    && let Some(told) = told.take()
                {
                    let _ = told.send((found[0], found[1]));
                }
                all.push_str(&line);
                all.push('\n');
            }
            all
        });
        let (gateway, admin) =
            within("the start of tautline up", addresses).await.expect("tautline up says where it listens");
        Self { child, gateway, admin, out, err }
    }

    /// Ends it and returns what it wrote to stdout and stderr.
    pub async fn end(&mut self) -> (String, String) {
        let pid = self.child.id().expect("it runs").to_string();
        let signalled = tokio::process::Command::new("kill").args(["-TERM", &pid]).status().await;
        assert!(signalled.expect("kill").success());
        within("its end", self.child.wait()).await.expect("a status");
        ((&mut self.out).await.expect("no panic"), (&mut self.err).await.expect("no panic"))
    }
}
