//! The ways to a provider: HTTP/2, certificates of one's own, proxies, Unix sockets, age.

use crate::support::{Authority, Client, Folder, Front, House, Process, chat, closed_port, frame, installed, within};
use serde_json::Value;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tautline::domain::failure::Fact;
use tautline::domain::record::Record;
use tautline::sim::{Ended, Sim, SimSettings, answer_text};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdout, Command};

const PROMPT: &str = "why do ropes go slack?";
const H2: &str = include_str!("support/h2.js");

/// Node's HTTP/2 server; it ends when this is dropped.
struct Node {
    port: u16,
    lines: Lines<BufReader<ChildStdout>>,
    /// Every line that was read.
    said: Vec<String>,
    _child: Child,
}

impl Node {
    /// Before `sim`; `None` where Node is not installed.
    async fn start(test: &str, sim: &Sim, authority: Option<&Authority>) -> Option<Self> {
        let mut command = installed(test, "node", "nodejs")?;
        command.args(["-e", H2, "--", &sim.addr().port().to_string()]);
        if let Some(authority) = authority {
            command.arg(authority.path("server.pem")).arg(authority.path("server.key"));
        }
        let mut child = command.stdout(Stdio::piped()).spawn().expect("node starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut node = Self { port: 0, lines, said: Vec::new(), _child: child };
        let first = node.says("listening").await;
        node.port = first.rsplit(' ').next().expect("a port").parse().expect("a number");
        Some(node)
    }

    /// Reads on until a line begins with `words`.
    async fn says(&mut self, words: &str) -> String {
        within(words, async {
            loop {
                let line = self.lines.next_line().await.expect("readable").expect("node runs");
                self.said.push(line.clone());
                if line.starts_with(words) {
                    return line;
                }
            }
        })
        .await
    }

    fn sessions(&self) -> usize {
        self.said.iter().filter(|line| *line == "session").count()
    }
}

async fn simulator() -> Sim {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    Sim::start(listener, SimSettings::default())
}

/// A provider `p` at `url` with these lines, and a route for each model, named after it.
fn provider(url: &str, lines: &str, models: &[&str]) -> String {
    let mut text = format!("[providers.p]\ndialect = \"openai\"\nbase_url = \"{url}\"\nmodels = []\n{lines}\n");
    for (n, model) in models.iter().enumerate() {
        text += &format!(
            "[targets.t{n}]\nprovider = \"p\"\nmodel = \"{model}\"\n[routes.\"{model}\"]\ntargets = [\"t{n}\"]\n"
        );
    }
    text
}

/// Asks and is answered whole; afterwards the connection is back in its pool.
async fn whole(house: &House, model: &str, tokens: usize) {
    let mut answer = house.post(&chat(model, true)).await;
    let streamed = answer.stream_text().await;
    assert_eq!((streamed.text.as_str(), streamed.done), (answer_text(PROMPT, tokens).as_str(), true), "{model}");
    house.record_of(&answer).await;
}

fn only(record: &Record) -> (&str, &str) {
    assert_eq!(record.attempts.len(), 1, "{record:?}");
    (&record.attempts[0].cause, &record.attempts[0].phase)
}

fn line(key: &str, path: &std::path::Path) -> String {
    format!("{key} = {:?}\n", path.display().to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http_2_streams_share_a_connection_and_a_departure_ends_one_alone() {
    let (authority, sim) = (Authority::new(), simulator().await);
    let Some(mut node) = Node::start("streams share a connection", &sim, Some(&authority)).await else { return };
    let url = format!("https://localhost:{}/v1", node.port);
    let models = ["sim?tokens=20", "sim?fault=stall&after=3"];
    let house = House::start("", &provider(&url, &line("ca", &authority.path("ca.pem")), &models)).await;
    // Each is held open while the next begins.
    let mut held = Vec::new();
    for _ in 0..20 {
        let mut answer = house.post(&chat(models[1], true)).await;
        assert_eq!(answer.status, 200);
        answer.frame().await.expect("its first frame");
        held.push(answer);
        node.says("asked https localhost").await;
    }
    whole(&house, models[0], 20).await;
    node.says("closed 0").await;
    assert_eq!(node.sessions(), 1, "{:?}", node.said);
    // Who goes resets its own stream (CANCEL), and nobody else's.
    drop(held.pop());
    node.says("closed 8").await;
    within("the simulator", sim.wait_seen(1, |seen| seen.ended == Some(Ended::PeerClosed))).await;
    whole(&house, models[0], 20).await;
    let large = Value::String("x".repeat(1 << 20));
    let mut body = chat(models[0], false);
    body["messages"][0]["content"] = large;
    let answer = house.post(&body).await;
    assert_eq!(answer.status, 200, "a body of many windows");
    let sent = house.sim.seen().into_iter().chain(sim.seen()).map(|seen| seen.body_bytes).max().expect("asked");
    assert!(sent > 1 << 20);
    let many = format!("asked https localhost:{} sim?tokens=20 {}", node.port, sent);
    node.says(&many).await;
    assert_eq!(node.sessions(), 1, "{:?}", node.said);
    drop(held);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ends_an_http_2_stream_is_told_by_its_code() {
    let sim = simulator().await;
    let Some(mut node) = Node::start("what ends a stream", &sim, None).await else { return };
    let url = format!("http://localhost:{}/v1", node.port);
    let models = ["h2-reset", "h2-reset-first", "h2-end", "h2-refuse", "sim?tokens=4"];
    let house =
        House::start("retry_base = \"1ms\"\nsame_target_retries = 0", &provider(&url, "http = \"2\"", &models)).await;
    let mut told = Vec::new();
    for model in &models[..3] {
        let mut answer = house.post(&chat(model, true)).await;
        let _ = answer.bytes().await;
        let record = house.record_of(&answer).await;
        let code = record.attempts[0].evidence.iter().find_map(|fact| match fact {
            Fact::Http2 { code, name } => Some((*code, name.clone())),
            _ => None,
        });
        let (cause, phase) = only(&record);
        told.push((*model, cause.to_owned(), phase.to_owned(), code));
    }
    let internal = Some((2, "INTERNAL_ERROR".to_owned()));
    let named = |words: [&str; 3], code| (words[0].to_owned(), words[1].to_owned(), words[2].to_owned(), code);
    let told: Vec<_> =
        told.into_iter().map(|(model, cause, phase, code)| (model.to_owned(), cause, phase, code)).collect();
    assert_eq!(
        told,
        [
            named(["h2-reset", "reset", "stream"], internal.clone()),
            named(["h2-reset-first", "reset_before_headers", "headers"], internal),
            named(["h2-end", "early_end", "stream"], None),
        ]
    );
    // What the server did nothing with is sent again in silence.
    whole(&house, "h2-refuse", 60).await;
    whole(&house, "sim?tokens=4", 4).await;
    node.says(&format!("asked http localhost:{} sim", node.port)).await;
    // And nothing else: a server that worked on it is not asked twice.
    let asked = |model: &str| node.said.iter().filter(|line| line.contains(&format!(" {model} "))).count();
    assert_eq!([asked("h2-reset"), asked("h2-reset-first"), asked("h2-end"), asked("h2-refuse")], [1, 1, 1, 2]);
}

/// Speaks just enough HTTP/2 to say one thing: answers the first request of each connection with
/// the next of `answers`, then closes.
async fn scripted(answers: Vec<Vec<u8>>) -> (u16, tokio::task::JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let served = tokio::spawn(async move {
        let mut asked = 0;
        for answer in answers {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            stream.write_all(&frame(SETTINGS, 0, 0, b"")).await.expect("written");
            let mut preface = [0; 24];
            stream.read_exact(&mut preface).await.expect("a preface");
            loop {
                let mut head = [0; 9];
                stream.read_exact(&mut head).await.expect("a frame");
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                stream.read_exact(&mut vec![0; length]).await.expect("its payload");
                // The request's last frame; before it the settings' acknowledgement is due.
                if head[3] == 4 && head[4] == 0 {
                    stream.write_all(&frame(SETTINGS, 1, 0, b"")).await.expect("written");
                }
                if head[3] <= 1 && head[4] & 1 == 1 {
                    break;
                }
            }
            asked += 1;
            stream.write_all(&answer).await.expect("written");
            // Until the client has taken it and goes.
            let _ = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut [0; 512])).await;
        }
        asked
    });
    (port, served)
}

const SETTINGS: u8 = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_a_server_did_nothing_with_is_sent_again() {
    // GOAWAY with the last stream that was looked at and an error, RST_STREAM, HEADERS of a 404 with END_STREAM.
    let goaway = |last: u32, code: u32| frame(7, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat());
    let reset = |code: u32| frame(3, 0, 1, &code.to_be_bytes());
    let not_found = frame(1, 5, 1, &[0x8d]);
    for (said, answers, asked, cause) in [
        ("a goodbye that left it out", vec![goaway(0, 0), not_found.clone()], 2, "model_not_found"),
        ("a goodbye behind it", vec![[goaway(1, 0), not_found.clone()].concat()], 1, "model_not_found"),
        ("refused", vec![reset(7), not_found.clone()], 2, "model_not_found"),
        ("an error of its own", vec![reset(2)], 1, "reset_before_headers"),
        ("cancelled", vec![reset(8)], 1, "reset_before_headers"),
        ("no HTTP/2 for this", vec![reset(13)], 1, "reset_before_headers"),
        ("frames that are none", vec![frame(0, 0, 0, b"x")], 1, "garbled"),
    ] {
        let (port, served) = scripted(answers).await;
        let url = format!("http://127.0.0.1:{port}/v1");
        let house = House::start("same_target_retries = 0", &provider(&url, "http = \"2\"", &["m"])).await;
        let answer = house.post(&chat("m", true)).await;
        let record = house.record_of(&answer).await;
        assert_eq!(only(&record).0, cause, "{said}: {record:?}");
        drop(house);
        assert_eq!(served.await.expect("no panic"), asked, "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_before_the_upload_has_ended_is_heard_over_http_2() {
    let sim = simulator().await;
    let Some(node) = Node::start("an answer before the upload has ended", &sim, None).await else { return };
    let url = format!("http://127.0.0.1:{}/v1", node.port);
    let house = House::start("", &provider(&url, "http = \"2\"", &["sim?tokens=4"])).await;
    let mut body = chat("sim?tokens=4", false);
    body["messages"][0]["content"] = Value::String("x".repeat(9 << 20));
    let answer = house.post(&body).await;
    let record = house.record_of(&answer).await;
    assert!(record.attempts[0].evidence.contains(&Fact::HttpStatus { status: 413 }), "{record:?}");
    whole(&house, "sim?tokens=4", 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_version_that_is_asked_for_is_spoken_or_the_failure_says_so() {
    let (authority, sim) = (Authority::new(), simulator().await);
    let front = Front::tls(&authority, sim.addr()).await;
    let url = format!("https://localhost:{}/v1", front.port);
    for (version, works) in [("auto", true), ("1.1", true), ("2", false)] {
        let lines = line("ca", &authority.path("ca.pem")) + &format!("http = \"{version}\"");
        let house = House::start("", &provider(&url, &lines, &["sim?tokens=4"])).await;
        if works {
            whole(&house, "sim?tokens=4", 4).await;
            continue;
        }
        let answer = house.post(&chat("sim?tokens=4", true)).await;
        let record = house.record_of(&answer).await;
        assert_eq!(only(&record), ("tls", "connect"));
        let told = format!("{:?}", record.attempts[0].evidence);
        assert!(told.contains("the HTTP version that `http` asks for"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_named_authority_is_trusted_and_a_certificate_is_shown_where_it_is_wanted() {
    let (servers, clients, strangers) = (Authority::new(), Authority::new(), Authority::new());
    let sim = simulator().await;
    let front = Front::tls_for(&servers, &clients, sim.addr()).await;
    let url = format!("https://localhost:{}/v1", front.port);
    let ca = line("ca", &servers.path("ca.pem"));
    let pair = |from: &Authority| {
        line("client_certificate", &from.path("client.pem")) + &line("client_key", &from.path("client.key"))
    };
    let cases = [
        (ca.clone() + &pair(&clients), None),
        (ca.clone(), Some("it wants a certificate of ours; name it as client_certificate and client_key")),
        (ca.clone() + &pair(&strangers), Some("it does not accept our certificate")),
        (pair(&clients), Some("signed by an authority that is not trusted here")),
    ];
    for (lines, fault) in cases {
        let house = House::start("", &provider(&url, &lines, &["sim?tokens=4"])).await;
        let Some(fault) = fault else {
            whole(&house, "sim?tokens=4", 4).await;
            whole(&house, "sim?tokens=4", 4).await;
            assert_eq!(front.accepted(), 1, "the connection is kept");
            continue;
        };
        let answer = house.post(&chat("sim?tokens=4", true)).await;
        let record = house.record_of(&answer).await;
        assert_eq!((answer.status, only(&record).0), (502, "tls"), "{fault}");
        let told = format!("{:?}", record.attempts[0].evidence);
        assert!(told.contains(fault), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_authority_after_a_reload_makes_another_connection() {
    let (servers, strangers) = (Authority::new(), Authority::new());
    let sim = simulator().await;
    let front = Front::tls(&servers, sim.addr()).await;
    let url = format!("https://localhost:{}/v1", front.port);
    let config = |ca: &Authority| provider(&url, &line("ca", &ca.path("ca.pem")), &["sim?tokens=4"]);
    let house = House::start("", &config(&servers)).await;
    whole(&house, "sim?tokens=4", 4).await;
    house.rewrite("", &config(&strangers));
    house.running.reloader.reload().await.expect("a good file");
    let answer = house.post(&chat("sim?tokens=4", true)).await;
    assert_eq!(answer.header("x-tautline-cause"), Some("tls"), "no connection of the old trust is used");
    house.rewrite("", &config(&servers));
    house.running.reloader.reload().await.expect("a good file");
    let before = front.accepted();
    whole(&house, "sim?tokens=4", 4).await;
    assert_eq!(front.accepted(), before, "and the first one serves again");
}

/// A proxy of Debian's; it ends when this is dropped.
struct Tinyproxy {
    port: u16,
    folder: tempfile::TempDir,
    _child: Child,
}

impl Tinyproxy {
    async fn start(mut command: Command, more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = closed_port();
        let path = folder.path().join("tinyproxy.conf");
        let log = folder.path().join("log");
        let config = format!(
            "Port {port}\nListen 127.0.0.1\nTimeout 600\nMaxClients 100\nAllow 127.0.0.1\nLogFile {:?}\nLogLevel Info\n{more}\n",
            log.display().to_string()
        );
        std::fs::write(&path, config).expect("writable");
        let child = command.arg("-d").arg("-c").arg(&path).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.expect("tinyproxy starts");
        within("the start of tinyproxy", async {
            while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        Self { port, folder, _child: child }
    }

    /// Until its log holds `words`.
    async fn logs(&self, words: &str) {
        within(words, async {
            loop {
                let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                if log.contains(words) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_stands_between_with_and_without_tls_on_either_side() {
    let Some(command) = installed("a proxy stands between", "tinyproxy", "tinyproxy-bin") else { return };
    let (authority, sim) = (Authority::new(), simulator().await);
    let secure = Front::tls(&authority, sim.addr()).await;
    let proxy = Tinyproxy::start(command, "BasicAuth agent let-me-out").await;
    let folder = Folder::new();
    folder.write("credentials", "agent:let-me-out\n");
    folder.write("wrong", "agent:nonsense\n");
    let by = |file: &str| {
        let path = folder.path().join(file);
        format!("proxy = \"http://127.0.0.1:{}\"\nproxy_credentials = \"file:{}\"\n", proxy.port, path.display())
    };
    let ca = line("ca", &authority.path("ca.pem"));
    let over_tls = format!("https://localhost:{}/v1", secure.port);
    let house = House::start("", &provider(&over_tls, &(by("credentials") + &ca), &["sim?tokens=4"])).await;
    for _ in 0..3 {
        whole(&house, "sim?tokens=4", 4).await;
    }
    proxy.logs(&format!("CONNECT localhost:{}", secure.port)).await;
    assert_eq!(secure.accepted(), 1, "the tunnel is kept");
    assert!(!sim.seen()[0].headers.iter().any(|(name, _)| name == "proxy-authorization"), "it goes no further");
    let plain = sim.base_url();
    let house = House::start("", &provider(&plain, &by("credentials"), &["sim?tokens=4"])).await;
    whole(&house, "sim?tokens=4", 4).await;
    proxy.logs(&format!("POST {plain}/chat/completions")).await;
    // Its refusals and its absence are told as what they are, and name no credential.
    let nobody = format!("proxy = \"http://127.0.0.1:{}\"\n", closed_port());
    let bare = format!("proxy = \"http://127.0.0.1:{}\"\n", proxy.port);
    for (lines, cause, told) in [
        (by("wrong") + &ca, "connect_unreachable", "the proxy does not accept proxy_credentials"),
        (bare + &ca, "connect_unreachable", "the proxy wants proxy_credentials"),
        (nobody + &ca, "connect_refused", "the proxy takes no connection"),
    ] {
        let house = House::start("same_target_retries = 0", &provider(&over_tls, &lines, &["sim?tokens=4"])).await;
        let answer = house.post(&chat("sim?tokens=4", true)).await;
        let record = house.record_of(&answer).await;
        assert_eq!(only(&record), (cause, "connect"), "{told}");
        let evidence = format!("{:?}", record.attempts[0].evidence);
        assert!(evidence.contains(told) && !evidence.contains("nonsense"), "{evidence}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_behind_tls_has_to_prove_itself_too() {
    let Some(command) = installed("a proxy behind TLS", "tinyproxy", "tinyproxy-bin") else { return };
    let (proxys, stranger, sim) = (Authority::new(), Authority::new(), simulator().await);
    let servers = Authority::new();
    let secure = Front::tls(&servers, sim.addr()).await;
    let tinyproxy = Tinyproxy::start(command, "").await;
    let proxy = Front::tls(&proxys, (std::net::Ipv4Addr::LOCALHOST, tinyproxy.port).into()).await;
    let lines = format!("proxy = \"https://localhost:{}\"\n", proxy.port) + &line("ca", &servers.path("ca.pem"));
    let url = format!("https://localhost:{}/v1", secure.port);
    for (authority, works) in [(&proxys, true), (&stranger, false)] {
        let state = tempfile::tempdir().expect("a temporary folder");
        let config = format!(
            "state_dir = {:?}\n[gateway]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n{}",
            state.path().display().to_string(),
            provider(&url, &lines, &["sim?tokens=4"])
        );
        let file = state.path().join("tautline.toml");
        std::fs::write(&file, config).expect("writable");
        let trusted = authority.path("ca.pem").display().to_string();
        let mut process = Process::up(&file, &[("SSL_CERT_FILE", &trusted)]).await;
        for _ in 0..2 {
            let body = chat("sim?tokens=4", true).to_string();
            let client = Client::connect(process.gateway).await;
            let mut answer = client.request("POST", "/v1/chat/completions", &[], body.as_bytes()).await;
            if works {
                assert_eq!(answer.stream_text().await.text, answer_text(PROMPT, 4));
            } else {
                assert_eq!(answer.header("x-tautline-cause"), Some("tls"));
            }
        }
        process.end().await;
    }
    assert_eq!(secure.accepted(), 1, "TLS inside TLS is kept, too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateways_proxy_serves_providers_elsewhere_and_none_on_this_machine() {
    let sim = simulator().await;
    let proxy = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let gateway = format!("proxy = \"http://{}\"", proxy.local_addr().expect("bound"));
    // Whatever the proxy would say: what counts is what it is asked.
    let asked = tokio::spawn(async move {
        let (mut stream, _) = proxy.accept().await.expect("a connection");
        let mut head = vec![0; 512];
        let read = stream.read(&mut head).await.expect("a request");
        stream.write_all(b"HTTP/1.1 503 no\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await.expect("written");
        String::from_utf8_lossy(&head[..read]).into_owned()
    });
    let far = "[providers.far]\ndialect = \"openai\"\nbase_url = \"http://models.example/v1\"\nmodels = []\n\
               [targets.far]\nprovider = \"far\"\nmodel = \"m\"\n[routes.far]\ntargets = [\"far\"]\n";
    let house = House::start(&gateway, &(provider(&sim.base_url(), "", &["sim?tokens=4"]) + far)).await;
    whole(&house, "sim?tokens=4", 4).await;
    let answer = house.post(&chat("far", true)).await;
    assert_eq!(answer.header("x-tautline-cause"), Some("overloaded"));
    let asked = asked.await.expect("no panic");
    assert!(
        asked.starts_with("POST http://models.example/v1/chat/completions HTTP/1.1\r\nhost: models.example\r\n"),
        "{asked}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unix_socket_is_connected_to_instead_of_the_host() {
    let (sim, folder) = (simulator().await, Folder::new());
    let socket = folder.path().join("model.sock");
    let front = Front::unix(&socket, sim.addr());
    let config = provider("http://model.internal/v1", &line("socket", &socket), &["sim?tokens=4"]);
    let house = House::start("same_target_retries = 0", &config).await;
    for _ in 0..3 {
        whole(&house, "sim?tokens=4", 4).await;
    }
    assert_eq!(front.accepted(), 1, "the connection is kept");
    let host = sim.seen()[0].headers.iter().find(|(name, _)| name == "host").map(|(_, host)| host.clone());
    assert_eq!(host.as_deref(), Some("model.internal"));
    let nowhere = provider("http://x/v1", &line("socket", &folder.path().join("none.sock")), &["sim?tokens=4"]);
    let house = House::start("same_target_retries = 0", &nowhere).await;
    let answer = house.post(&chat("sim?tokens=4", true)).await;
    let record = house.record_of(&answer).await;
    assert_eq!(only(&record), ("connect_unreachable", "connect"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_too_old_carries_no_further_request() {
    let (sim, began) = (simulator().await, Instant::now());
    let front = Front::plain(sim.addr()).await;
    let url = format!("http://127.0.0.1:{}/v1", front.port);
    let house = House::start("pool_age_max = \"400ms\"", &provider(&url, "", &["sim?tokens=4"])).await;
    within("a second connection", async {
        while front.accepted() < 2 {
            whole(&house, "sim?tokens=4", 4).await;
        }
    })
    .await;
    assert!(began.elapsed() >= Duration::from_millis(400), "not before its time");
    let Some(mut node) = Node::start("a connection that is too old", &sim, None).await else { return };
    let url = format!("http://127.0.0.1:{}/v1", node.port);
    let lines = "http = \"2\"";
    let house = House::start("pool_age_max = \"400ms\"", &provider(&url, lines, &["sim?tokens=4"])).await;
    let began = Instant::now();
    while node.sessions() < 2 {
        whole(&house, "sim?tokens=4", 4).await;
        node.says("asked").await;
    }
    assert!(began.elapsed() >= Duration::from_millis(400), "not before its time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_of_a_way_is_told_with_its_fix() {
    let (authority, other, folder) = (Authority::new(), Authority::new(), Folder::new());
    folder.write("junk.pem", "-----BEGIN NOTHING-----\n");
    folder.write("bare", "no colon here");
    let file = |authority: &Authority, name: &str| authority.path(name).display().to_string();
    let junk = folder.path().join("junk.pem").display().to_string();
    let bare = folder.path().join("bare").display().to_string();
    let (pem, key) = (file(&authority, "client.pem"), file(&other, "client.key"));
    let cases = [
        ("https://h/v1", "http = \"3\"".to_owned(), "providers.p.http: \"3\" is not known"),
        ("http://h/v1", "ca = \"ca.pem\"".to_owned(), "providers.p.ca: means nothing without TLS"),
        ("https://h/v1", "ca = \"nowhere.pem\"".to_owned(), "providers.p.ca: nowhere.pem cannot be read"),
        ("https://h/v1", format!("ca = \"{junk}\""), "holds no certificate in PEM form"),
        ("https://h/v1", format!("client_certificate = \"{pem}\""), "providers.p.client_key: is missing beside"),
        ("https://h/v1", format!("client_key = \"{key}\""), "providers.p.client_certificate: is missing beside"),
        (
            "https://h/v1",
            format!("client_certificate = \"{pem}\"\nclient_key = \"{key}\""),
            "is not the key of client_certificate",
        ),
        (
            "https://h/v1",
            format!("client_certificate = \"{pem}\"\nclient_key = \"{junk}\""),
            "holds no private key in PEM form",
        ),
        (
            "https://h/v1",
            "proxy = \"socks5://h:1\"".to_owned(),
            "providers.p.proxy: \"socks5://h:1\" begins with neither",
        ),
        ("https://h/v1", "proxy = \"http://u:p@h:1\"".to_owned(), "must not hold a credential"),
        ("https://h/v1", "proxy = \"http://h:1/x\"".to_owned(), "has a path"),
        ("https://h/v1", "proxy = \"socks5://u:secret@h:1\"".to_owned(), "must not hold a credential"),
        (
            "https://h/v1",
            "proxy = \"http://h:1\"\nproxy_credentials = \"exec:echo u:secret\"".to_owned(),
            "never renewed",
        ),
        ("https://h/v1", "proxy_credentials = \"env:PATH\"".to_owned(), "stands without a proxy of its own"),
        (
            "https://h/v1",
            format!("proxy = \"http://h:1\"\nproxy_credentials = \"file:{bare}\""),
            "gives no user:password",
        ),
        (
            "https://h/v1",
            "proxy = \"http://h:1\"\nproxy_credentials = \"agent:secret\"".to_owned(),
            "providers.p.proxy_credentials",
        ),
        (
            "http://h/v1",
            "socket = \"/s\"\nproxy = \"http://h:1\"".to_owned(),
            "providers.p.proxy: stands beside socket",
        ),
        ("http://h/v1", format!("socket = \"/{}\"", "s".repeat(200)), "providers.p.socket"),
    ];
    for (url, lines, told) in cases {
        folder.write("tautline.toml", &provider(url, &lines, &["m"]));
        let ran = folder.run(&["check-config"]).await;
        let said = format!("{}{}", ran.out, ran.err);
        assert_eq!(ran.code, Some(1), "{lines}: {said}");
        assert!(said.contains(told) && said.contains("fix: "), "{lines}: {said}");
        assert!(!said.contains("secret") && !said.contains("no colon here"), "{said}");
    }
    // The gateway's own is told once, however many providers use it.
    let two = provider("https://a/v1", "", &["m"]).replace("providers.p]", "providers.q]").replace("\"p\"", "\"q\"");
    let config =
        format!("[gateway]\nproxy = \"ftp://h\"\n{}{}", provider("https://b/v1", "", &["n"]).replace("t0", "u0"), two);
    folder.write("tautline.toml", &config);
    let ran = folder.run(&["check-config"]).await;
    assert_eq!(format!("{}{}", ran.out, ran.err).matches("gateway.proxy: ").count(), 1, "{}{}", ran.out, ran.err);
}
