//! A client that sees bytes: no HTTP library could report broken framing.

use serde_json::{Value, json};
use std::io::ErrorKind;
use std::time::Duration;
use tautline::sim::{Sim, SimSettings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Bounds every wait, so that a defect fails instead of hanging.
pub async fn soon<T>(wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("it happens within 30 s")
}

pub async fn sim(settings: SimSettings) -> Sim {
    Sim::start(TcpListener::bind("127.0.0.1:0").await.expect("a free port"), settings)
}

pub fn chat(model: &str, extra: &Value) -> Value {
    let mut body = json!({ "model": model, "messages": [{ "role": "user", "content": "tie a knot" }] });
    for (key, value) in extra.as_object().into_iter().flatten() {
        body[key] = value.clone();
    }
    body
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Fin,
    Rst,
}

pub struct Client {
    pub stream: TcpStream,
    pub got: Vec<u8>,
}

impl Client {
    pub async fn connect(sim: &Sim) -> Self {
        Self { stream: TcpStream::connect(sim.addr()).await.expect("the simulator listens"), got: Vec::new() }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the simulator reads");
    }

    pub async fn post(&mut self, headers: &str, body: &Value) {
        self.post_to("/v1/chat/completions", headers, body).await;
    }

    pub async fn post_to(&mut self, path: &str, headers: &str, body: &Value) {
        let body = body.to_string();
        let head = format!("POST {path} HTTP/1.1\r\nhost: sim\r\n{headers}content-length: {}\r\n\r\n", body.len());
        self.send(&[head.as_bytes(), body.as_bytes()].concat()).await;
    }

    /// A request without a body, and its answer's status and body.
    pub async fn fetch(&mut self, method: &str, path: &str, headers: &str) -> (u16, Value) {
        self.send(format!("{method} {path} HTTP/1.1\r\n{headers}\r\n").as_bytes()).await;
        let (status, _, body) = self.whole().await;
        (status, body)
    }

    pub async fn ask(sim: &Sim, model: &str, extra: &Value) -> Self {
        let mut client = Self::connect(sim).await;
        client.post("", &chat(model, extra)).await;
        client
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.got).into_owned()
    }

    /// Reads until the bytes so far satisfy `enough`.
    pub async fn until(&mut self, enough: impl Fn(&str) -> bool) {
        while !enough(&self.text()) {
            let count = soon(self.stream.read_buf(&mut self.got)).await;
            assert!(count.is_ok_and(|count| count > 0), "ended early: {}", self.text());
        }
    }

    /// Reads to the end of the connection.
    pub async fn end(&mut self) -> End {
        loop {
            match soon(self.stream.read_buf(&mut self.got)).await {
                Ok(0) => return End::Fin,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return End::Rst,
                Err(error) => panic!("unexpected: {error}"),
            }
        }
    }

    /// Reads one response that has a content-length, and takes it out.
    pub async fn whole(&mut self) -> (u16, String, Value) {
        self.until(|text| text.contains("\r\n\r\n")).await;
        let (head, _) = self.text().split_once("\r\n\r\n").map(|(a, b)| (a.to_owned(), b.to_owned())).expect("a head");
        let length: usize = header(&head, "content-length").expect("a length").parse().expect("a number");
        let start = head.len() + 4;
        while self.got.len() < start + length {
            assert!(soon(self.stream.read_buf(&mut self.got)).await.is_ok_and(|count| count > 0));
        }
        let rest = self.got.split_off(start + length);
        let body = serde_json::from_slice(&self.got[start..]).unwrap_or_default();
        self.got = rest;
        (status(&head), head, body)
    }

    /// The SSE payloads of an answer read so far, chunk framing taken off.
    pub fn payloads(&self) -> Vec<String> {
        let (_, body) = self.text().split_once("\r\n\r\n").map(|(a, b)| (a.to_owned(), b.to_owned())).expect("a head");
        body.lines().filter_map(|line| line.strip_prefix("data: ")).map(str::to_owned).collect()
    }

    /// The events of an answer read so far: each name with its payload; `Null` for
    /// payloads that are no JSON.
    pub fn events(&self) -> Vec<(String, Value)> {
        let text = self.text();
        let (_, body) = text.split_once("\r\n\r\n").expect("a head");
        let mut name = String::new();
        let mut events = Vec::new();
        for line in body.lines() {
            if let Some(event) = line.strip_prefix("event: ") {
                event.clone_into(&mut name);
            } else if let Some(payload) = line.strip_prefix("data: ") {
                events.push((std::mem::take(&mut name), serde_json::from_str(payload).unwrap_or_default()));
            }
        }
        events
    }

    /// The content text of one choice read so far.
    pub fn content(&self, choice: u64) -> String {
        self.deltas(choice).iter().filter_map(|delta| delta["content"].as_str()).collect()
    }

    pub fn deltas(&self, choice: u64) -> Vec<Value> {
        let payloads = self.payloads();
        let frames = payloads.iter().filter_map(|payload| serde_json::from_str::<Value>(payload).ok());
        let choices = frames.filter_map(|frame| frame["choices"].get(0).cloned());
        choices.filter(|found| found["index"] == choice).map(|found| found["delta"].clone()).collect()
    }
}

pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().filter_map(|line| line.split_once(": ")).find(|(key, _)| *key == name).map(|(_, value)| value)
}

pub fn status(head: &str) -> u16 {
    head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line")
}

/// The end of a chunked body.
pub fn closed(text: &str) -> bool {
    text.ends_with("0\r\n\r\n")
}
