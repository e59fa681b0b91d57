//! TLS and HTTP/2 at the door, by clients that are not ours: curl and Node.

use crate::support::{Authority, Client, House, chat, sim_target, within};
use std::net::SocketAddr;
use std::process::Stdio;
use tautline::sim::{Ended, answer_text};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

const PROMPT: &str = "why do ropes go slack?";

fn config() -> String {
    format!(
        "{}{}[routes.m]\ntargets = [\"a\"]\n[routes.slow]\ntargets = [\"slow\"]\n",
        sim_target("a", "tokens=20", ""),
        sim_target("slow", "fault=stall&after=3", "")
    )
}

fn tls(authority: &Authority) -> String {
    let (certificate, key) = (authority.path("server.pem"), authority.path("server.key"));
    format!("tls = {{ certificate = \"{}\", key = \"{}\" }}", certificate.display(), key.display())
}

/// Asks by curl; its exit code and all that it printed, the protocol last.
async fn curl(arguments: &[&str], url: &str, body: &serde_json::Value) -> (Option<i32>, String) {
    let output = Command::new("curl")
        .args([
            "--silent",
            "--noproxy",
            "*",
            "--max-time",
            "20",
            "--no-buffer",
            "--write-out",
            "\\nversion=%{http_version}",
        ])
        .args(arguments)
        .args(["--data", &body.to_string(), url])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("curl is installed");
    (output.status.code(), String::from_utf8(output.stdout).expect("text"))
}

fn text_of(stream: &str) -> String {
    let payloads = stream.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|payload| *payload != "[DONE]");
    let chunks = payloads.map(|payload| serde_json::from_str::<serde_json::Value>(payload).expect("JSON"));
    chunks.filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned)).collect()
}

fn url(scheme: &str, addr: SocketAddr) -> String {
    format!("{scheme}://{addr}/v1/chat/completions")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_http_1_and_http_2_give_the_same_answer() {
    let authority = Authority::new();
    let ca = authority.path("ca.pem").display().to_string();
    let house = House::start(&tls(&authority), &config()).await;
    assert!(house.running.base_url().starts_with("https://"));
    for (flag, version) in [("--http1.1", "version=1.1"), ("--http2", "version=2")] {
        for stream in [true, false] {
            let (code, told) = curl(&["--cacert", &ca, flag], &url("https", house.addr), &chat("m", stream)).await;
            assert_eq!(code, Some(0), "{flag}: {told}");
            assert!(told.ends_with(version), "{flag}: {told}");
            if stream {
                assert_eq!(text_of(&told), answer_text(PROMPT, 20), "{flag}");
                assert!(told.contains("data: [DONE]\n\n"));
            } else {
                assert!(told.contains("\"object\":\"chat.completion\""), "{told}");
            }
        }
    }
    // Whoever speaks no TLS there gets nothing, and nobody else notices.
    let mut garbage = Client::connect(house.addr).await;
    garbage.send_raw(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let mut answer = Vec::new();
    let _ = within("the end of it", garbage.stream.read_to_end(&mut answer)).await;
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP/1.1"));
    assert_eq!(curl(&["--cacert", &ca], &url("https", house.addr), &chat("m", false)).await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_2_without_tls_has_a_listener_of_its_own() {
    let house = House::start("listen_h2c = \"127.0.0.1:0\"", &config()).await;
    let h2c = house.running.addrs_h2c[0];
    for (flag, addr, version) in [
        ("--http2-prior-knowledge", h2c, "version=2"),
        ("--http1.1", h2c, "version=1.1"),
        ("--http1.1", house.addr, "version=1.1"),
    ] {
        let (code, told) = curl(&[flag], &url("http", addr), &chat("m", true)).await;
        assert_eq!((code, text_of(&told)), (Some(0), answer_text(PROMPT, 20)), "{flag}: {told}");
        assert!(told.ends_with(version), "{flag}: {told}");
    }
    let (code, told) = curl(&["--http2-prior-knowledge"], &url("http", house.addr), &chat("m", true)).await;
    assert_ne!(code, Some(0), "not on the others: {told}");
    // Refusals and a departure are told there as anywhere.
    let (_, told) = curl(&["--http2-prior-knowledge", "--include"], &url("http", h2c), &chat("nope", true)).await;
    assert!(told.starts_with("HTTP/2 404") && told.contains("x-tautline-cause: unknown_route"), "{told}");
    assert!(!told.to_ascii_lowercase().contains("transfer-encoding"), "{told}");
    let (code, _) = curl(&["--http2-prior-knowledge", "--max-time", "1"], &url("http", h2c), &chat("slow", true)).await;
    assert_eq!(code, Some(28), "curl's own patience ended");
    within("the attempt's end", house.sim.wait_seen(1, |seen| seen.ended == Some(Ended::PeerClosed))).await;
    let record = house.newest_of(5).await;
    assert_eq!((record.outcome.as_str(), record.attempts[0].outcome.as_str()), ("client_gone", "cancelled"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_shows_the_new_certificate() {
    let (old, new) = (Authority::new(), Authority::new());
    let house = House::start(&tls(&old), &config()).await;
    let trusted = async |authority: &Authority| {
        let ca = authority.path("ca.pem").display().to_string();
        curl(&["--cacert", &ca], &url("https", house.addr), &chat("m", false)).await.0 == Some(0)
    };
    assert!(trusted(&old).await && !trusted(&new).await);
    house.rewrite(&tls(&new), &config());
    assert!(house.running.reloader.reload().await.is_ok());
    assert!(trusted(&new).await && !trusted(&old).await);
    // A pair that does not belong together is a fault, and the good one stays.
    let (certificate, key) = (old.path("server.pem"), new.path("server.key"));
    let mixed = format!("tls = {{ certificate = \"{}\", key = \"{}\" }}", certificate.display(), key.display());
    house.rewrite(&mixed, &config());
    let faults = house.running.reloader.reload().await.expect_err("refused");
    assert!(faults.to_string().contains("is not the key of"), "{faults}");
    assert!(trusted(&new).await);
}

/// Fifty streams on one connection of Node's own client; one line for each.
const NODE: &str = r"
const http2 = require('node:http2');
const [origin, body] = process.argv.slice(1);
const session = http2.connect(origin);
session.on('error', (error) => { console.log('session', error.code); process.exit(1); });
let left = 50;
for (let n = 0; n < 50; n++) {
  const stream = session.request({ ':method': 'POST', ':path': '/v1/chat/completions', 'content-type': 'application/json' });
  let text = '';
  stream.setEncoding('utf8');
  stream.on('data', (piece) => { text += piece; });
  stream.on('end', () => {
    console.log(text.endsWith('data: [DONE]\n\n') ? 'whole' : 'cut');
    if (--left === 0) session.close();
  });
  stream.end(body);
}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_streams_share_one_connection() {
    let house = House::start("listen_h2c = \"127.0.0.1:0\"", &config()).await;
    let origin = format!("http://{}", house.running.addrs_h2c[0]);
    let node =
        Command::new("node").args(["-e", NODE, &origin, &chat("m", true).to_string()]).kill_on_drop(true).output();
    let output = within("Node's end", node).await.expect("node is installed");
    let told = String::from_utf8(output.stdout).expect("text");
    assert_eq!(told.lines().filter(|line| *line == "whole").count(), 50, "{told}");
}
