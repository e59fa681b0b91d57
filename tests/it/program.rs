//! The whole program: `up`, `demo`, `explain`, and what it does with signals.

use crate::config::{BY_TASK, PLANS, tool_request};
use crate::support::{Client, Folder, Response, Up, chat, closed_port, sim_target, within};
use serde_json::Value;
use std::time::{Duration, Instant};
use tautline::sim::{Sim, SimSettings, answer_text};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const PROMPT: &str = "why do ropes go slack?";

async fn simulator(settings: SimSettings) -> Sim {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    Sim::start(listener, settings)
}

async fn post(up: &Up, body: &Value) -> Response {
    let client = Client::connect(up.addr).await;
    client.request("POST", "/v1/chat/completions", &[], body.to_string().as_bytes()).await
}

fn route(name: &str, script: &str) -> String {
    format!("{}[routes.{name}]\ntargets = [\"{name}\"]\n", sim_target(name, script, ""))
}

/// Explains until the record is written.
async fn explained(folder: &Folder, arguments: &[&str]) -> String {
    within("the record", async {
        loop {
            let ran = folder.run(&[&["explain"], arguments].concat()).await;
            if ran.code == Some(0) {
                return ran.out;
            }
            assert!(ran.err.contains("no record has the id"), "{}", ran.err);
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn demo_ends_well_and_tells_its_story_whatever_proxy_is_set() {
    let folder = Folder::new();
    // Nobody listens there: whatever is sent to it fails.
    let proxy = format!("http://127.0.0.1:{}", closed_port());
    let environment = [("HTTP_PROXY", &*proxy), ("http_proxy", &*proxy), ("ALL_PROXY", &*proxy)];
    let ran = folder.run_with(&environment, &["demo"]).await;
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    for told in [
        "Whole and exact, character by character, from `steady`",
        "after flaky failed (overloaded)",
        "Attempt 2 of 2: steady",
        "Outcome: ok_fallback; the client got status 200.",
    ] {
        assert!(ran.out.contains(told), "{told}:\n{}", ran.out);
    }
    assert_eq!(std::fs::read_dir(folder.path()).expect("readable").count(), 0, "it leaves nothing behind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn up_without_a_configuration_answers_from_the_simulator() {
    let folder = Folder::new();
    let (mut up, admin) = loop {
        let ports = [closed_port(), closed_port()];
        let [gateway, admin] = ports.map(|port| format!("127.0.0.1:{port}"));
        let environment = [("TAUTLINE__GATEWAY__LISTEN", &*gateway), ("TAUTLINE__ADMIN__LISTEN", &*admin)];
        match folder.spawn(&environment, &["up"], ports).await {
            Ok(up) => break (up, admin),
            Err(said) => assert!(said.contains("in use"), "{said}"),
        }
    };
    let mut response = post(&up, &chat("auto", true)).await;
    assert_eq!(response.status, 200);
    let streamed = response.stream_text().await;
    assert_eq!((streamed.text, streamed.done), (answer_text(PROMPT, 60), true));
    assert_eq!(response.header("x-tautline-target"), Some("steady"));
    // Without a file `explain` finds it by the same environment.
    let elsewhere = [("TAUTLINE__ADMIN__LISTEN", &*admin), ("TAUTLINE__STATE_DIR", "elsewhere")];
    let id = response.header("x-request-id").expect("every answer has one");
    within("the record", async { while folder.run_with(&elsewhere, &["explain", id]).await.code != Some(0) {} }).await;
    up.signal("INT").await;
    assert_eq!(up.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_task_goes_to_its_own_targets_and_explain_tells_why_while_up_and_after() {
    let (folder, sim) = (Folder::new(), simulator(SimSettings::default()).await);
    // The provider `sim` of `up` takes the place of the one in the file.
    let config = BY_TASK.split("[targets.strong]").nth(1).expect("it has targets").replace("\"p\"", "\"sim\"");
    let config = format!("[targets.strong]{config}").replace("model = \"m\"", "model = \"sim\"");
    let mut up = folder.up(&sim, "", &config).await;
    let mut ids = Vec::new();
    for (task, targets, rejected) in PLANS {
        let request = tool_request(&format!("auto:{task}"));
        folder.write("request.json", &request.to_string());
        let before = folder.run(&["plan", "--request", "request.json", "--json"]).await;
        let before: Value = serde_json::from_str(&before.out).expect("JSON");
        let mut response = post(&up, &request).await;
        assert_eq!((response.status, response.header("x-tautline-target")), (200, Some(targets[0])));
        assert_eq!(response.header("x-tautline-task"), Some(task));
        response.bytes().await;
        let id = response.header("x-request-id").expect("every answer has one").to_owned();
        let record: Value = serde_json::from_str(&explained(&folder, &[&id, "--json"]).await).expect("JSON");
        assert_eq!(record["plan"], before["plan"], "what was planned is what was done");
        assert_eq!(record["task_reason"], before["task_reason"]);
        let story = explained(&folder, &[&id]).await;
        for (target, reason) in rejected {
            let line = story.lines().find(|line| line.contains(&format!("Left out: {target}: ")));
            assert!(line.is_some_and(|line| line.contains(reason)), "{story}");
        }
        ids.push((id, story));
    }
    let (last, story) = ids.last().expect("three");
    let suffix = &last[last.len() - 6..];
    assert_eq!(explained(&folder, &["last"]).await, *story);
    assert_eq!(explained(&folder, &[suffix]).await, *story);
    // With another state folder only the running gateway can tell.
    let elsewhere = [("TAUTLINE__STATE_DIR", "elsewhere")];
    assert_eq!(folder.run_with(&elsewhere, &["explain", "last"]).await.out, *story);
    up.signal("TERM").await;
    assert_eq!(up.ended().await.code(), Some(0));
    // Nobody answers any more: the table is read.
    assert_eq!(folder.run_with(&elsewhere, &["explain", "last"]).await.code, Some(1));
    for (id, story) in &ids {
        assert_eq!(explained(&folder, &[id]).await, *story);
    }
    assert_eq!(explained(&folder, &["last"]).await, *story);
    assert_eq!(explained(&folder, &[suffix]).await, *story);
    let record: Value = serde_json::from_str(&explained(&folder, &["last", "--json"]).await).expect("JSON");
    assert_eq!(record["id"], last.as_str());
    let ran = folder.run(&["explain", "nonsense"]).await;
    assert!(ran.code == Some(1) && ran.err.contains("no record has the id nonsense"), "{}", ran.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_from_a_file_and_a_command_reach_their_providers() {
    let settings = SimSettings { api_keys: vec!["sk-file".into(), "sk-exec".into()], ..SimSettings::default() };
    let (folder, sim) = (Folder::new(), simulator(settings).await);
    folder.write("key", "sk-file\n");
    let with_key = |name: &str, reference: &str| {
        format!(
            "[providers.{name}]\ndialect = \"sim\"\nbase_url = \"{}\"\napi_key = \"{reference}\"\nmodels = [\"{name}-*\"]\n\
             [targets.{name}]\nprovider = \"{name}\"\nmodel = \"sim\"\n[routes.{name}]\ntargets = [\"{name}\"]\n",
            sim.base_url()
        )
    };
    let config = with_key("f", "file:key") + &with_key("e", "exec:echo sk-exec");
    let up = folder.up(&sim, "", &config).await;
    for name in ["f", "e"] {
        let mut response = post(&up, &chat(name, false)).await;
        assert_eq!(response.status, 200);
        response.bytes().await;
    }
    let bearers: Vec<_> = sim.seen().into_iter().filter_map(|seen| seen.bearer).collect();
    assert_eq!(bearers, ["sk-file", "sk-exec"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_term_lets_a_running_stream_finish_and_takes_nothing_new() {
    let (folder, sim) = (Folder::new(), simulator(SimSettings::default()).await);
    let mut up = folder.up(&sim, "", &route("m", "tokens=30&gap=50ms")).await;
    let mut running = post(&up, &chat("m", true)).await;
    assert!(running.frame().await.is_some());
    let id = running.header("x-request-id").expect("an id").to_owned();
    up.signal("TERM").await;
    up.says("draining").await;
    up.drains().await;
    // It may have a record, which is then the last.
    refused(&up).await;
    let streamed = within("the stream's end", running.stream_text()).await;
    assert!(streamed.done && streamed.error.is_none(), "{streamed:?}");
    assert!(answer_text(PROMPT, 30).ends_with(&streamed.text) && streamed.text.len() > 50, "{}", streamed.text);
    assert_eq!(up.ended().await.code(), Some(0));
    let story = explained(&folder, &[&id]).await;
    assert!(story.contains("Outcome: ok;"), "{story}");
}

/// Either nobody accepts any more, or whoever was accepted in the last moment
/// is told to come back.
async fn refused(up: &Up) {
    let Ok(mut stream) = tokio::net::TcpStream::connect(up.addr).await else { return };
    let body = chat("m", true).to_string();
    let head =
        format!("POST /v1/chat/completions HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n\r\n", up.addr, body.len());
    let _ = stream.write_all((head + &body).as_bytes()).await;
    let mut answer = Vec::new();
    let _ = within("the refusal", stream.read_to_end(&mut answer)).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 503 "), "{answer}");
}

/// A stream that shows three tokens and then says nothing more.
async fn stalled(up: &Up) -> Response {
    let mut stalled = post(up, &chat("stalls", true)).await;
    for _ in 0..4 {
        assert!(stalled.frame().await.is_some_and(|frame| frame.starts_with("data: ")));
    }
    stalled
}

async fn is_shut_down(mut response: Response) {
    let streamed = within("the stream's end", response.stream_text()).await;
    let error = streamed.error.expect("it was cut");
    assert_eq!((error["code"].as_str(), streamed.done), (Some("shutdown"), false), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_what_runs_at_once() {
    let (folder, sim) = (Folder::new(), simulator(SimSettings::default()).await);
    let mut up = folder.up(&sim, "drain_grace = \"10m\"", &route("stalls", "fault=stall&after=3")).await;
    let stream = stalled(&up).await;
    up.signal("TERM").await;
    up.says("draining").await;
    up.drains().await;
    let began = Instant::now();
    up.signal("TERM").await;
    is_shut_down(stream).await;
    assert_eq!(up.ended().await.code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let story = explained(&folder, &["last"]).await;
    assert!(story.contains("Outcome: cut;") && story.contains("Cause: shutdown"), "{story}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_graces_end_ends_what_runs_and_what_waits() {
    let (folder, sim) = (Folder::new(), simulator(SimSettings::default()).await);
    let config = route("stalls", "fault=stall&after=3") + &route("hangs", "fault=hang_headers");
    let mut up = folder.up(&sim, "drain_grace = \"300ms\"", &config).await;
    let stream = stalled(&up).await;
    let body = chat("hangs", false).to_string();
    let waiting = Client::connect(up.addr).await;
    let waiting =
        tokio::spawn(async move { waiting.request("POST", "/v1/chat/completions", &[], body.as_bytes()).await });
    within("the second request", sim.wait_seen(2, |_| true)).await;
    up.signal("TERM").await;
    is_shut_down(stream).await;
    let mut waited = waiting.await.expect("an answer");
    assert_eq!((waited.status, waited.header("x-tautline-cause")), (503, Some("shutdown")));
    assert_eq!(waited.header("x-should-retry"), None, "another process may take it");
    assert_eq!(waited.json().await["error"]["code"], "shutdown");
    assert_eq!(up.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hangup_reads_the_configuration_again() {
    let (folder, sim) = (Folder::new(), simulator(SimSettings::default()).await);
    let mut up = folder.up(&sim, "", &route("m", "tokens=3")).await;
    up.signal("HUP").await;
    up.says("configuration reloaded").await;
    folder.write("tautline.toml", "nonsense = 1\n");
    up.signal("HUP").await;
    up.says("the last good one stays").await;
    assert_eq!(post(&up, &chat("m", false)).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_in_use_is_told_by_its_key() {
    let folder = Folder::new();
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = taken.local_addr().expect("bound");
    for (key, listen, admin) in [
        ("gateway.listen", addr.to_string(), "127.0.0.1:0".to_owned()),
        ("admin.listen", "127.0.0.1:0".to_owned(), addr.to_string()),
    ] {
        let text = format!("[gateway]\nlisten = \"{listen}\"\n[admin]\nlisten = \"{admin}\"\n{BY_TASK}");
        folder.write("tautline.toml", &text);
        let ran = folder.run(&["up"]).await;
        assert_eq!(ran.code, Some(1));
        let told = format!("tautline: failed to listen on {addr} ({key}): Address already in use");
        assert!(ran.err.contains(&told), "{}", ran.err);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_others_can_reach_gets_a_key_that_is_shown_once_and_kept_hashed() {
    let folder = Folder::new();
    // Nobody is asked over it: bound to every address, reached over loopback, where no key is needed.
    let (port, admin) = (crate::support::closed_port(), crate::support::closed_port());
    let text = format!("[gateway]\nlisten = \"0.0.0.0:{port}\"\n[admin]\nlisten = \"127.0.0.1:{admin}\"\n{BY_TASK}");
    folder.write("tautline.toml", &text);
    let start = async || folder.spawn(&[], &["up"], [port, admin]).await.unwrap_or_else(|said| panic!("{said}"));
    let mut up = start().await;
    let told = up.says("shown this once: ").await;
    let key = told.split("shown this once: ").nth(1).expect("a key").trim();
    assert!(key.starts_with("tl-") && key.len() > 40, "{key}");
    let kept = folder.read("tautline-state/access.sha256");
    assert_eq!(kept, tautline::gateway::access::KeyHash::of(key).to_hex());
    up.signal("TERM").await;
    assert_eq!(up.ended().await.code(), Some(0));
    let _again = start().await;
    assert_eq!(folder.read("tautline-state/access.sha256"), kept, "the key of the first start goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_manager_is_told_when_it_is_ready_reloads_and_stops() {
    let folder = Folder::new();
    let (port, admin) = (crate::support::closed_port(), crate::support::closed_port());
    let text = format!("[gateway]\nlisten = \"127.0.0.1:{port}\"\n[admin]\nlisten = \"127.0.0.1:{admin}\"\n{BY_TASK}");
    folder.write("tautline.toml", &text);
    let path = folder.path().join("notify");
    let socket = tokio::net::UnixDatagram::bind(&path).expect("a socket");
    let told = async || {
        let mut bytes = [0; 512];
        let read = within("the notice", socket.recv(&mut bytes)).await.expect("a datagram");
        String::from_utf8_lossy(&bytes[..read]).into_owned()
    };
    let path = path.display().to_string();
    let environment = [("NOTIFY_SOCKET", path.as_str())];
    let mut up = folder.spawn(&environment, &["up"], [port, admin]).await.unwrap_or_else(|said| panic!("{said}"));
    assert_eq!(told().await.trim(), "READY=1");
    up.signal("HUP").await;
    let reloading = told().await;
    assert!(reloading.contains("RELOADING=1") && reloading.contains("MONOTONIC_USEC="), "{reloading}");
    assert_eq!(told().await.trim(), "READY=1");
    up.signal("TERM").await;
    assert_eq!(told().await.trim(), "STOPPING=1");
    assert_eq!(up.ended().await.code(), Some(0));
}
