//! A Prometheus of the test's own, from the Debian package.

use super::client::Client;
use super::house::within;
use serde_json::Value;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt as _, BufReader};

/// A running Prometheus; it ends when this is dropped.
pub struct Prometheus {
    addr: SocketAddr,
    _child: tokio::process::Child,
    _folder: tempfile::TempDir,
}

/// A command of this program of a Debian package, or `None` after saying that `test` skips itself.
/// In CI nothing may be skipped.
pub fn installed(test: &str, program: &str, package: &str) -> Option<tokio::process::Command> {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()));
    if !found {
        assert!(
            std::env::var_os("TAUTLINE_CI").is_none(),
            "{program} is not installed, and here no test may be skipped"
        );
        println!("SKIPPED: {test}: {program} is not installed (apt-get install {package})");
        return None;
    }
    let mut command = tokio::process::Command::new(program);
    command.stdin(Stdio::null()).kill_on_drop(true);
    Some(command)
}

impl Prometheus {
    /// Scrapes these addresses as job `tautline` five times a second.
    pub async fn start(mut command: tokio::process::Command, scraped: &[SocketAddr]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let targets: Vec<String> = scraped.iter().map(|addr| format!("\"{addr}\"")).collect();
        let config = format!(
            "global:\n  scrape_interval: 200ms\n  scrape_timeout: 200ms\nscrape_configs:\n  - job_name: tautline\n    \
             static_configs:\n      - targets: [{}]\n",
            targets.join(", ")
        );
        let path = folder.path().join("prometheus.yml");
        std::fs::write(&path, config).expect("writable");
        let mut child = command
            .arg(format!("--config.file={}", path.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("tsdb").display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .arg("--log.format=json")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("prometheus starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let addr = within("the start of prometheus", Self::ready(&mut lines)).await;
        // Ends with the process: a full pipe would stop it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { addr, _child: child, _folder: folder }
    }

    /// Its address, once it says that it is ready.
    async fn ready(lines: &mut tokio::io::Lines<BufReader<tokio::process::ChildStderr>>) -> SocketAddr {
        // It says both, in no certain order.
        let (mut said, mut addr, mut ready) = (String::new(), None, false);
        while let Some(line) = lines.next_line().await.expect("text") {
            let entry: Value = serde_json::from_str(&line).unwrap_or_default();
            if entry["msg"] == "Listening on" {
                addr = entry["address"].as_str().and_then(|text| text.parse().ok());
            }
            ready |= entry["msg"].as_str().is_some_and(|text| text.starts_with("Server is ready"));
            if let (true, Some(addr)) = (ready, addr) {
                return addr;
            }
            said.push_str(&line);
            said.push('\n');
        }
        panic!("prometheus ended at its start:\n{said}")
    }

    /// What an expression gives now: the samples of a vector, a scalar as one
    /// sample without labels.
    pub async fn query(&self, expression: &str) -> Vec<Sample> {
        let path = format!("/api/v1/query?query={}", encoded(expression));
        let answer = Client::connect(self.addr).await.request("GET", &path, &[], b"").await.json().await;
        assert_eq!(answer["status"], "success", "{expression}\n{answer}");
        let list = match answer["data"]["resultType"].as_str() {
            Some("vector") => answer["data"]["result"].as_array().expect("a list").clone(),
            kind => panic!("{expression} gives no vector but {kind:?}"),
        };
        list.into_iter()
            .map(|one| Sample {
                value: one["value"][1].as_str().expect("text").parse().expect("a number"),
                labels: one["metric"].as_object().expect("labels").keys().cloned().collect(),
            })
            .collect()
    }
}

/// One sample of an instant vector.
#[derive(Debug)]
pub struct Sample {
    /// Prometheus writes `NaN` and `+Inf` as Rust reads them.
    pub value: f64,
    /// Names only.
    pub labels: Vec<String>,
}

fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
