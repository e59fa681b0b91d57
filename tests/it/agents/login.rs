//! Claude Code with a login of its own: it goes to Anthropic's provider and to
//! nobody else, and stands nowhere afterwards.

use super::agent::Agent;
use super::desk::{DONE, Desk};
use crate::support::Process;
use std::path::Path;
use tautline::sim::{Seen, Sim, SimSettings};

/// In the form of a token that `claude setup-token` prints.
const LOGIN: &str = "sk-ant-oat01-TautlineTestLogin-0123456789abcdefghijklmnopqrstuvwxyz-AA";

async fn simulator(keys: &[&str]) -> Sim {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let api_keys = keys.iter().map(|key| (*key).to_owned()).collect();
    Sim::start(listener, SimSettings { api_keys, ..SimSettings::default() })
}

fn config(state: &Path, own: &Sim, other: &Sim) -> String {
    format!(
        "state_dir = {:?}\n[gateway]\nlisten = \"127.0.0.1:0\"\nsame_target_retries = 0\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         [log]\nfilter = \"debug\"\n\
         [providers.anthropic]\ndialect = \"anthropic\"\nbase_url = \"http://{}\"\nauth = \"client\"\nmodels = [\"claude-*\"]\n\
         [providers.other]\ndialect = \"sim\"\nbase_url = \"{}\"\nmodels = [\"other\"]\napis = [\"chat\"]\n\
         [targets.own]\nprovider = \"anthropic\"\nmodel = \"sim?reasoning=4&fault=status_503&skip=1&first=1\"\n\
         [targets.other]\nprovider = \"other\"\nmodel = \"sim?reasoning=4\"\n[routes.m]\ntargets = [\"own\", \"other\"]\n",
        state.display().to_string(),
        own.addr(),
        other.base_url(),
    )
}

/// Whether the login stands in a file below this folder.
fn stands_in(folder: &Path) -> bool {
    std::fs::read_dir(folder).expect("a folder").any(|entry| {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            return stands_in(&path);
        }
        let bytes = std::fs::read(&path).expect("readable");
        bytes.windows(LOGIN.len()).any(|window| window == LOGIN.as_bytes())
    })
}

fn shown(seen: &[Seen]) -> Vec<bool> {
    seen.iter().map(|seen| format!("{:?} {}", seen.headers, seen.body).contains(LOGIN)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: an agent at work"]
async fn claudes_own_login_goes_to_its_provider_and_stands_nowhere() {
    let test = "claudes_own_login_goes_to_its_provider_and_stands_nowhere";
    let Some(folder) = Agent::installed(test) else { return };
    let (own, other) = (simulator(&[LOGIN]).await, simulator(&[]).await);
    let state = tempfile::tempdir().expect("a temporary folder");
    let file = state.path().join("tautline.toml");
    std::fs::write(&file, config(state.path(), &own, &other)).expect("written");
    let mut process = Process::up(&file, &[]).await;
    let base_url = format!("http://{}", process.gateway);
    let connect = ["connect", "claude", "--write", "--keep-login", "--base-url", &base_url, "--model", "m"];
    let desk = Desk::connected(folder, Agent::Claude, &connect).await.with("CLAUDE_CODE_OAUTH_TOKEN", LOGIN);
    let ran = desk.ask(&desk.task(2)).await;
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert!(ran.said.contains(DONE), "{ran:#?}");
    assert_eq!((desk.read("work/notes.txt").as_str(), desk.lines().as_str()), ("the rope is taut\n", "1\n2\n"));
    let (out, err) = process.end().await;
    let exchanges: Vec<serde_json::Value> = out.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let outcomes: Vec<&str> = exchanges.iter().filter_map(|record| record["outcome"].as_str()).collect();
    assert_eq!(outcomes, ["ok", "ok_fallback", "ok", "ok", "ok"], "{out}\n{err}");
    let bearers: Vec<Option<String>> = own.seen().into_iter().map(|seen| seen.bearer).collect();
    assert_eq!(bearers, vec![Some(LOGIN.to_owned()); 5], "as it came, each time");
    assert_eq!(shown(&other.seen()), [false], "the fallback of another provider does not get it");
    let places = [("stdout", out.contains(LOGIN)), ("stderr", err.contains(LOGIN)), ("state", stands_in(state.path()))];
    assert!(places.iter().all(|(_, stands)| !stands), "{places:?}");
    // The search would find it.
    std::fs::write(state.path().join("proof"), format!("x{LOGIN}x")).expect("written");
    assert!(stands_in(state.path()));
}
