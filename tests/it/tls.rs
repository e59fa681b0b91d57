//! Providers and a collector behind https: a private authority that is trusted, and one that is not.
//! Handshakes at the door: inside its bounds, each with its end.

use crate::support::{Authority, Client, Collector, Folder, Front, House, Process, chat, closed_port, within};
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};
use tautline::sim::{Sim, SimSettings, answer_text};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const PROMPT: &str = "why do ropes go slack?";

async fn simulator() -> Sim {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    Sim::start(listener, SimSettings::default())
}

/// A process with the target `secure` at `base_url`, alone and with a spare.
async fn process(base_url: &str, spare: &Sim, state: &Path, trusted: Option<&Path>) -> Process {
    let config = format!(
        "state_dir = {:?}\n[gateway]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         [log]\nexchanges = \"off\"\n[providers.tls]\ndialect = \"openai\"\nbase_url = \"{base_url}\"\nmodels = []\n\
         [providers.spare]\ndialect = \"sim\"\nbase_url = \"{}\"\nmodels = []\n\
         [targets.secure]\nprovider = \"tls\"\nmodel = \"sim?tokens=20\"\n\
         [targets.spare]\nprovider = \"spare\"\nmodel = \"sim?tokens=4\"\n\
         [routes.alone]\ntargets = [\"secure\"]\n[routes.both]\ntargets = [\"secure\", \"spare\"]\n",
        state.display().to_string(),
        spare.base_url()
    );
    let file = state.join("tautline.toml");
    std::fs::write(&file, config).expect("writable");
    let trusted = trusted.map(|path| path.display().to_string());
    let environment: Vec<(&str, &str)> = trusted.iter().map(|path| ("SSL_CERT_FILE", path.as_str())).collect();
    Process::up(&file, &environment).await
}

async fn post(process: &Process, body: &Value) -> crate::support::Response {
    let client = Client::connect(process.gateway).await;
    client.request("POST", "/v1/chat/completions", &[], body.to_string().as_bytes()).await
}

async fn last_record(process: &Process, id: &str) -> Value {
    crate::support::within("the record", async {
        loop {
            let admin = Client::connect(process.admin).await;
            let mut answer = admin.request("GET", &format!("/-/records/{id}"), &[], b"").await;
            if answer.status == 200 {
                return answer.json().await;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_of_a_private_authority_is_reached_where_that_is_trusted() {
    let (authority, sim) = (Authority::naming("DNS:localhost"), simulator().await);
    let port = Front::tls(&authority, sim.addr()).await.port;
    let state = tempfile::tempdir().expect("a temporary folder");
    let url = format!("https://localhost:{port}/v1");
    let mut process = process(&url, &sim, state.path(), Some(&authority.path("ca.pem"))).await;
    for _ in 0..3 {
        let streamed = post(&process, &chat("alone", true)).await.stream_text().await;
        assert_eq!((streamed.text.as_str(), streamed.done), (answer_text(PROMPT, 20).as_str(), true));
        let whole = post(&process, &chat("alone", false)).await.json().await;
        assert_eq!(whole["choices"][0]["message"]["content"], answer_text(PROMPT, 20));
    }
    assert_eq!(
        sim.seen()[0].headers.iter().find(|(name, _)| name == "host").map(|(_, host)| host.as_str()),
        Some(&*format!("localhost:{port}"))
    );
    process.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_cannot_prove_itself_is_called_tls_and_left_for_the_next() {
    let (authority, stranger, sim) =
        (Authority::naming("DNS:localhost"), Authority::naming("DNS:localhost"), simulator().await);
    let port = Front::tls(&authority, sim.addr()).await.port;
    let trusted = authority.path("ca.pem");
    for (case, url, trusted) in [
        ("an authority that nobody trusts", format!("https://localhost:{port}/v1"), Some(stranger.path("ca.pem"))),
        ("the system's authorities", format!("https://localhost:{port}/v1"), None),
        ("another name", format!("https://127.0.0.1:{port}/v1"), Some(trusted.clone())),
        ("no TLS at all", format!("https://localhost:{}/v1", sim.addr().port()), Some(trusted)),
    ] {
        let state = tempfile::tempdir().expect("a temporary folder");
        let mut process = process(&url, &sim, state.path(), trusted.as_deref()).await;
        let mut answer = post(&process, &chat("alone", true)).await;
        let told = answer.json().await;
        assert_eq!((answer.status, answer.header("x-tautline-cause")), (502, Some("tls")), "{case}: {told}");
        assert_eq!(answer.header("x-should-retry"), Some("false"), "{case}");
        let record = last_record(&process, answer.header("x-request-id").expect("an id")).await;
        let attempts = record["attempts"].as_array().expect("a list");
        assert_eq!(attempts.len(), 1, "{case}: not tried again at the same target");
        assert_eq!(
            (&attempts[0]["cause"], &attempts[0]["phase"], &attempts[0]["side"]),
            (&"tls".into(), &"connect".into(), &"caller_config".into()),
            "{case}: {record}"
        );
        let streamed = post(&process, &chat("both", true)).await.stream_text().await;
        assert_eq!(streamed.text, answer_text(PROMPT, 4), "{case}");
        process.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_behind_https_has_to_prove_itself() {
    let (authority, collector) = (Authority::naming("DNS:localhost"), Collector::start(200).await);
    let endpoint = format!("https://localhost:{}", Front::tls(&authority, collector.addr).await.port);
    let trusted = authority.path("ca.pem").display().to_string();
    let folder = Folder::new();
    for (trust, arrived) in [(None, 0), (Some(trusted.as_str()), 1)] {
        let [port, admin] = [closed_port(), closed_port()];
        let config = format!(
            "[gateway]\nlisten = \"127.0.0.1:{port}\"\n[admin]\nlisten = \"127.0.0.1:{admin}\"\n\
             [otlp]\nendpoint = \"{endpoint}\"\n{}",
            crate::config::BY_TASK
        );
        folder.write("tautline.toml", &config);
        let environment: Vec<(&str, &str)> = trust.map(|path| ("SSL_CERT_FILE", path)).into_iter().collect();
        let mut up = folder.spawn(&environment, &["up"], [port, admin]).await.expect("it starts");
        Client::connect(up.addr).await.request("POST", "/v1/chat/completions", &[], b"{}").await.bytes().await;
        up.signal("TERM").await;
        if trust.is_none() {
            up.says("the collector did not take an export").await;
        }
        assert!(up.ended().await.success());
        assert_eq!(collector.got().spans.len(), arrived, "{trust:?}");
    }
}

fn door(authority: &Authority, more: &str) -> String {
    let (certificate, key) = (authority.path("server.pem"), authority.path("server.key"));
    format!("tls = {{ certificate = \"{}\", key = \"{}\" }}\n{more}", certificate.display(), key.display())
}

/// Waits until this line of the metrics shows at least so many.
async fn shows(house: &House, line: &str, at_least: u64) {
    within(line, async {
        loop {
            let metrics = house.metrics().await;
            let shown = metrics.lines().find_map(|text| text.strip_prefix(line));
            if shown.is_some_and(|count| count.trim().parse::<u64>().expect("a number") >= at_least) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

fn closed(reason: &str) -> String {
    format!("tautline_gateway_connections_closed_total{{reason=\"{reason}\"}}")
}

/// The first bytes of a ClientHello, whose rest never comes.
const HALF_A_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_has_its_place_and_its_time_and_garbage_is_told() {
    let authority = Authority::new();
    let house = House::start(&door(&authority, "connections_max = 3\nhead_timeout = \"700ms\""), "").await;
    // A silent one and half of one take places, though no TLS ever comes about.
    let began = Instant::now();
    let mut open = Vec::new();
    for bytes in [&b""[..], HALF_A_HELLO, HALF_A_HELLO] {
        let mut stream = TcpStream::connect(house.addr).await.expect("it listens");
        stream.write_all(bytes).await.expect("taken");
        open.push(stream);
    }
    shows(&house, "tautline_gateway_connections ", 3).await;
    let mut rest = Vec::new();
    let mut late = TcpStream::connect(house.addr).await.expect("it listens");
    let _ = within("its end", late.read_to_end(&mut rest)).await;
    shows(&house, &closed("connections_max"), 1).await;
    for stream in &mut open {
        let _ = within("its end", stream.read_to_end(&mut rest)).await;
    }
    assert!((600..10_000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    shows(&house, &closed("handshake"), 3).await;
    // What is no TLS, who leaves within, who leaves before: each at once.
    let mut plain = TcpStream::connect(house.addr).await.expect("it listens");
    plain.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("taken");
    let _ = within("its end", plain.read_to_end(&mut rest)).await;
    shows(&house, &closed("handshake"), 4).await;
    let mut left = TcpStream::connect(house.addr).await.expect("it listens");
    left.write_all(HALF_A_HELLO).await.expect("taken");
    left.shutdown().await.expect("a socket");
    shows(&house, &closed("client_gone"), 1).await;
    drop(TcpStream::connect(house.addr).await.expect("it listens"));
    shows(&house, &closed("done"), 1).await;
    // There is room again, and the time of a handshake is not taken from the head's.
    let mut good = authority.connect(house.addr, "http/1.1").await;
    good.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.expect("taken");
    let mut told = Vec::new();
    let _ = within("its end", good.read_to_end(&mut told)).await;
    assert!(told.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&told));
    shows(&house, &closed("done"), 2).await;
}

/// Idle handshakes hold no drain up, and end with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_ends_handshakes_under_way() {
    let authority = Authority::new();
    let house = House::start(&door(&authority, ""), "").await;
    let mut half = TcpStream::connect(house.addr).await.expect("it listens");
    half.write_all(HALF_A_HELLO).await.expect("taken");
    shows(&house, "tautline_gateway_connections ", 1).await;
    let began = Instant::now();
    house.running.stop(Duration::from_secs(20), std::future::pending()).await;
    let _ = within("its end", half.read_to_end(&mut Vec::new())).await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}
