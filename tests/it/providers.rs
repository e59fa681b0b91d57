//! What a provider is told beside the body: header of the key, query, version,
//! and how its list of models is read.

use crate::support::{Client, Folder, Front, House, Tongue, chat, within};
use serde_json::json;
use std::sync::{Arc, Mutex};
use tautline::gateway::settings::{Api, Dialect};
use tautline::sim::{Sim, SimSettings, answer_text};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const PROMPT: &str = "why do ropes go slack?";
const KEY: &str = "KeyOfProvider000000000000000000000001";

async fn simulator() -> Sim {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    Sim::start(listener, SimSettings::default())
}

/// A server that keeps each request's head and answers with what `answer` makes
/// of its target, as JSON, and then closes: for lists in pages, which the
/// simulator does not have, and for queries, which it does not keep.
struct Pages {
    base_url: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Pages {
    async fn start(answer: fn(&str) -> serde_json::Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base_url = format!("http://{}", listener.local_addr().expect("bound"));
        let heads = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                    let mut piece = [0; 4096];
                    match stream.read(&mut piece).await {
                        Ok(read @ 1..) => head.extend_from_slice(&piece[..read]),
                        _ => break,
                    }
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
                kept.lock().expect("unpoisoned").push(head);
                let body = answer(&target).to_string();
                let length = body.len();
                let text = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
                );
                let _ = stream.write_all(text.as_bytes()).await;
            }
        });
        Self { base_url, heads }
    }

    /// The heads that were asked with `method`, in lower case but for their values.
    fn asked(&self, method: &str) -> Vec<String> {
        let heads = self.heads.lock().expect("unpoisoned");
        heads.iter().filter(|head| head.starts_with(method)).cloned().collect()
    }
}

fn line<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    head.lines().filter_map(|line| line.split_once(": ")).filter(|(n, _)| *n == name).map(|(_, v)| v).collect()
}

/// A route of its own to the provider `p`.
const ROUTE: &str = "[targets.t]\nprovider = \"p\"\nmodel = \"sim\"\n[routes.t]\ntargets = [\"t\"]\n[routes.\"*\"]\npassthrough = true\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_goes_out_in_the_header_that_its_provider_names() {
    let folder = Folder::new();
    folder.write("one", KEY);
    folder.write("two", "KeyOfProvider000000000000000000000002");
    let file = |name: &str| format!("\"file:{}\"", folder.path().join(name).display());
    for (lines, header, values) in [
        (format!("api_key = {}\nauth_header = \"api-key\"", file("one")), "api-key", vec![KEY]),
        (format!("api_key = {}\nauth_header = \"Authorization\"", file("one")), "authorization", vec!["Bearer KeyOf"]),
        ("api_key = \"exec:echo KeyOfCommand\"\nauth_header = \"x-api-key\"".to_owned(), "x-api-key", vec!["KeyOfC"]),
        (
            format!("api_key = [{}, {}]\nauth_header = \"x-goog-api-key\"", file("one"), file("two")),
            "x-goog-api-key",
            vec!["01", "02"],
        ),
    ] {
        let sim = simulator().await;
        let config =
            format!("[providers.p]\ndialect = \"openai\"\nbase_url = \"{}\"\n{lines}\n{ROUTE}", sim.base_url());
        let house = House::start("", &config).await;
        for _ in 0..2 {
            assert_eq!(house.post(&chat("t", false)).await.status, 200, "{lines}");
        }
        sim.wait_seen(1, |seen| seen.path.ends_with("/models")).await;
        let seen = sim.seen();
        let sent = |path: &str| -> Vec<String> {
            let asked = seen.iter().filter(|seen| seen.path.ends_with(path));
            asked.flat_map(|seen| &seen.headers).filter(|(n, _)| n == header).map(|(_, v)| v.clone()).collect()
        };
        for value in values {
            assert!(sent("/chat/completions").iter().any(|sent| sent.contains(value)), "{value}: {seen:#?}");
        }
        assert_eq!(sent("/models").len(), 1, "the list is asked for with it, too");
        if header != "authorization" {
            assert!(seen.iter().all(|seen| seen.bearer.is_none()), "and nowhere else: {seen:#?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_stands_behind_every_request_and_nobody_is_told_its_values() {
    let pages = Pages::start(|_| json!({"data": [{"id": "listed"}]})).await;
    let folder = Folder::new();
    folder.write("key", "a key&of=mine\n");
    let config = format!(
        "[providers.p]\ndialect = \"openai\"\nbase_url = \"{}/openai/v1\"\n\
         query = {{ api-version = \"2025-04-01-preview\", key = \"file:{}\" }}\n{ROUTE}",
        pages.base_url,
        folder.path().join("key").display()
    );
    let house = House::start("", &config).await;
    within("the list", async {
        while !house.running.gateway.catalog.has_list("p") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut answer = house.post(&chat("t", false)).await;
    let told = answer.text().await;
    let query = "?api-version=2025-04-01-preview&key=a%20key%26of%3Dmine HTTP/1.1\r\n";
    let begins = |head: &str, target: &str| head.starts_with(&format!("{target}{query}"));
    assert!(begins(&pages.asked("GET")[0], "GET /openai/v1/models"), "{:?}", pages.asked("GET"));
    assert!(begins(&pages.asked("POST")[0], "POST /openai/v1/chat/completions"), "{:?}", pages.asked("POST"));
    let record = format!("{:?}", house.record_of(&answer).await);
    let admin =
        Client::connect(house.running.admin_addr).await.request("GET", "/-/targets", &[], b"").await.text().await;
    let settings = format!("{:?}", house.running.gateway.settings());
    for shown in [told, record, admin, settings, house.metrics().await] {
        assert!(!shown.contains("of=mine") && !shown.contains("of%3Dmine"), "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_in_pages_is_read_to_its_end_as_anthropic_writes_it() {
    fn page(target: &str) -> serde_json::Value {
        let entry =
            |id: &str| json!({"type": "model", "id": id, "display_name": id, "created_at": "2025-01-01T00:00:00Z"});
        match target {
            "/v1/models?limit=1000" => {
                json!({"data": [entry("c-1"), entry("c 2")], "has_more": true, "last_id": "c 2"})
            }
            "/v1/models?limit=1000&after_id=c%202" => json!({"data": [entry("c-3")], "has_more": false}),
            _ => json!({"error": target}),
        }
    }
    let folder = Folder::new();
    folder.write("key", KEY);
    for path in ["", "/v1", "/v1/"] {
        let pages = Pages::start(page).await;
        let config = format!(
            "[providers.p]\ndialect = \"anthropic\"\nbase_url = \"{}{path}\"\napi_key = \"file:{}\"\n{ROUTE}",
            pages.base_url,
            folder.path().join("key").display()
        );
        let house = House::start("", &config).await;
        within("the list", async {
            while !house.running.gateway.catalog.has_list("p") {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let names = house.running.gateway.catalog.names();
        let names: Vec<&str> = names.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["c-1", "c 2", "c-3"], "{path:?}");
        for head in pages.asked("GET") {
            assert_eq!(line(&head, "x-api-key"), [KEY], "{head}");
            assert_eq!(line(&head, "anthropic-version"), ["2023-06-01"], "{head}");
            assert!(line(&head, "authorization").is_empty(), "{head}");
        }
        let settings = house.running.gateway.settings();
        let provider = &settings.providers["p"];
        assert_eq!((provider.dialect, provider.apis.as_slice()), (Dialect::Anthropic, [Api::Messages].as_slice()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_callers_login_and_version_go_to_anthropic_as_they_came() {
    let sim = simulator().await;
    let config = format!(
        "[providers.p]\ndialect = \"anthropic\"\nbase_url = \"{}\"\nauth = \"client\"\nmodels = [\"sim\"]\n{ROUTE}",
        sim.base_url()
    );
    let house = House::start("", &config).await;
    let oauth = [
        ("authorization", "Bearer CallersOwn0000000000000000000001"),
        ("anthropic-beta", "oauth-2025-04-20"),
        ("anthropic-version", "2099-01-01"),
    ];
    let key = [
        ("x-api-key", "CallersOwn0000000000000000000002"),
        ("chatgpt-account-id", "acct-1"),
        ("originator", "codex_exec"),
    ];
    for sent in [oauth.as_slice(), key.as_slice()] {
        let body = Tongue::Messages.ask("t", false, "why?").to_string();
        let client = Client::connect(house.addr).await;
        assert_eq!(client.request("POST", "/v1/messages", sent, body.as_bytes()).await.status, 200);
        let seen = sim.seen().pop().expect("asked");
        let got = |name: &str| -> Vec<String> {
            seen.headers.iter().filter(|(n, _)| n == name).map(|(_, value)| value.clone()).collect()
        };
        for (name, value) in sent {
            assert_eq!(got(name), [*value], "{name}, once and unchanged");
        }
        let own = sent.iter().any(|(name, _)| *name == "anthropic-version");
        assert_eq!(got("anthropic-version").len(), 1);
        assert_eq!(got("anthropic-version")[0] == "2023-06-01", !own, "ours stands in where the caller has none");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_providers_headers_name_is_sent_once_as_they_say() {
    let sim = simulator().await;
    let config = format!(
        "[providers.p]\ndialect = \"openai\"\nbase_url = \"{}\"\nmodels = [\"sim\"]\n\
         headers = {{ openai-beta = \"ours\", user-agent = \"mine/1\" }}\n{ROUTE}",
        sim.base_url()
    );
    let house = House::start("", &config).await;
    let theirs = [("openai-beta", "theirs"), ("chatgpt-account-id", "acct-1"), ("x-api-key", "CallersOwn")];
    let mut answer = house.post_with(&theirs, &chat("t", false)).await;
    assert_eq!(answer.json().await["choices"][0]["message"]["content"], answer_text(PROMPT, 60));
    let seen = sim.seen().pop().expect("asked");
    for (name, value) in [("openai-beta", "ours"), ("user-agent", "mine/1")] {
        let got: Vec<_> = seen.headers.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str()).collect();
        assert_eq!(got, [value], "{name}");
    }
    let leaked = seen.headers.iter().find(|(name, _)| name == "chatgpt-account-id" || name == "x-api-key");
    assert_eq!(leaked, None, "what belongs to a caller's login stays here");
}

#[test]
fn what_a_provider_serves_is_what_is_written_or_known_of_its_host() {
    let apis = |base_url: &str, lines: &str| {
        let text = format!("[providers.p]\ndialect = \"openai\"\nbase_url = \"{base_url}\"\n{lines}\n");
        let loaded = tautline::boot::config::parse("test", &text).expect("good");
        let provider = &loaded.gateway.providers["p"];
        (provider.apis.clone(), provider.spoken(), provider.vendor.name)
    };
    let written = apis("https://api.openai.com/v1", "apis = [\"embeddings\", \"chat\", \"responses\"]");
    assert_eq!(written, (vec![Api::Embeddings, Api::Chat, Api::Responses], Some(Api::Chat), "openai"));
    assert_eq!(apis("https://api.openai.com/v1", "").1, Some(Api::Responses));
    let unknown = (vec![Api::Chat, Api::Completions, Api::Embeddings], Some(Api::Chat), "unknown");
    assert_eq!(apis("https://llm.example/v1", ""), unknown);
    assert_eq!(apis("https://llm.example/v1", "apis = [\"embeddings\"]").1, None);
}

#[test]
fn each_fault_of_a_provider_is_told_with_its_key_and_fix() {
    for (lines, key, problem, fix) in [
        (
            "auth_header = \"x api key\"\napi_key = \"exec:echo k\"",
            "auth_header",
            "is no name of a header",
            "x-api-key",
        ),
        ("auth_header = \"Host\"\napi_key = \"exec:echo k\"", "auth_header", "`host` is written by", "api-key"),
        ("auth_header = \"accept-encoding\"\napi_key = \"exec:echo k\"", "auth_header", "is written by", "api-key"),
        ("auth_header = \"x-api-key\"", "auth_header", "means nothing without api_key", "leave it out"),
        (
            "auth_header = \"x-title\"\napi_key = \"exec:echo k\"\nheaders = { x-title = \"t\" }",
            "auth_header",
            "stands in `headers` as well",
            "one of the two",
        ),
        ("query = { key = \"literal-7f3c\" }", "query.key", "holds a credential as it is", "env:NAME"),
        ("query = { v = \"exec:echo 1\" }", "query.v", "never renewed", "file:PATH"),
        ("query = { v = \"env:NO_SUCH_NAME\" }", "query.v", "NO_SUCH_NAME is not set", "env:NAME"),
        ("query = { \"\" = \"x\" }", "query", "a parameter without a name", "NAME"),
        ("apis = [\"chats\"]", "apis", "there is no API \"chats\"", "did you mean \"chat\"?"),
        ("apis = [\"chat\", \"chat\"]", "apis", "stands twice", "once"),
        ("apis = []", "apis", "is an empty list", "\"responses\""),
    ] {
        let text = format!("[providers.p]\ndialect = \"openai\"\nbase_url = \"http://127.0.0.1:1/v1\"\n{lines}\n");
        let faults = tautline::boot::config::parse("test", &text).expect_err(lines);
        let [fault] = faults.faults.as_slice() else { panic!("{lines}: {faults}") };
        assert_eq!(fault.key, format!("providers.p.{key}"), "{lines}");
        assert!(fault.problem.contains(problem) && fault.fix.contains(fix), "{lines}: {fault:?}");
        assert!(!faults.to_string().contains("7f3c"), "{faults}");
    }
    let long = format!("query = {{ v = \"{}\" }}", "x".repeat(5000));
    let many: Vec<String> = (0..17).map(|n| format!("p{n} = \"v\"")).collect();
    for lines in [long, format!("query = {{ {} }}", many.join(", "))] {
        let text = format!("[providers.p]\ndialect = \"openai\"\nbase_url = \"http://127.0.0.1:1/v1\"\n{lines}\n");
        let faults = tautline::boot::config::parse("test", &text).expect_err("too much");
        assert!(faults.to_string().contains("providers.p.query: is over 16 parameters or 4096 bytes"), "{faults}");
    }
    let target = "[providers.p]\ndialect = \"sim\"\nbase_url = \"http://127.0.0.1:1/v1\"\n\
                  [targets.t]\nprovider = \"p\"\nmodel = \"m\"\nmax_output_tokens = ";
    let faults = tautline::boot::config::parse("test", &format!("{target}0\n")).expect_err("zero");
    assert!(faults.to_string().contains("targets.t.max_output_tokens: is no number of tokens above zero"), "{faults}");
    let loaded = tautline::boot::config::parse("test", &format!("{target}128000\n")).expect("good");
    assert_eq!(loaded.gateway.targets["t"].max_output_tokens, Some(128_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vendor_that_departs_from_openai_is_asked_in_its_own_way_by_any_client() {
    let (sim, folder) = (simulator().await, Folder::new());
    let socket = folder.path().join("vendor.sock");
    let _front = Front::unix(&socket, sim.addr());
    let config = format!(
        "[providers.mistral]\ndialect = \"openai\"\nbase_url = \"http://api.mistral.ai/v1\"\nsocket = \"{}\"\nmodels = [\"x\"]\n\
         [targets.t]\nprovider = \"mistral\"\nmodel = \"sim?tokens=4\"\n[routes.m]\ntargets = [\"t\"]\n",
        socket.display()
    );
    let house = House::start("", &config).await;
    let call = json!({"id": "call_0123456789abcdef", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let by_chat = json!({"model": "m", "seed": 7, "max_completion_tokens": 50, "user": "me", "messages": [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": null, "reasoning_content": "hm", "refusal": null, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_0123456789abcdef", "content": "1"}]});
    let by_messages = json!({"model": "m", "max_tokens": 50, "messages": [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "call_0123456789abcdef", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_0123456789abcdef", "content": "1"}]}]});
    let mut ids = Vec::new();
    for (tongue, body) in [(Tongue::Chat, by_chat), (Tongue::Messages, by_messages)] {
        let mut response = tongue.post(house.addr, &[], &body).await;
        let answer = response.json().await;
        assert_eq!(response.status, 200, "{answer}");
        let sent = sim.seen().pop().expect("asked").body;
        assert_eq!((&sent["max_tokens"], &sent["max_completion_tokens"]), (&json!(50), &json!(null)), "{sent}");
        let turn = &sent["messages"][1];
        let id = turn["tool_calls"][0]["id"].as_str().expect("an id").to_owned();
        assert!(id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
        assert_eq!(sent["messages"][2]["tool_call_id"], json!(id));
        assert!(turn.get("reasoning_content").is_none() && turn.get("refusal").is_none(), "{turn}");
        if tongue == Tongue::Chat {
            assert_eq!((&sent["random_seed"], &sent["user"]), (&json!(7), &json!(null)), "{sent}");
            let warning = response.header("x-tautline-warning").expect("a warning");
            assert!(warning.contains("dropped reasoning_content of messages (1)"), "{warning}");
        }
        ids.push(id);
    }
    assert_eq!(ids[0], ids[1], "the same in every turn, whoever asks");
}
