//! A client that decides itself when to read.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// No read in a test waits longer.
const READ_MAX: Duration = Duration::from_secs(60);

/// One connection.
pub struct Client {
    pub stream: TcpStream,
    pub host: String,
    buf: Vec<u8>,
}

/// An answer whose head was read; its body is read on demand.
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    client: Client,
    framing: Framing,
    /// Decoded and not yet taken.
    body: Vec<u8>,
    frames: VecDeque<String>,
    pub ended: bool,
}

enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

impl Client {
    pub async fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.expect("the gateway listens");
        stream.set_nodelay(true).expect("a socket");
        Self { stream, host: addr.to_string(), buf: Vec::new() }
    }

    /// With a receive buffer of about this many bytes.
    pub async fn connect_with_buffer(addr: SocketAddr, bytes: u32) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(bytes).expect("a size");
        let stream = socket.connect(addr).await.expect("the gateway listens");
        Self { stream, host: addr.to_string(), buf: Vec::new() }
    }

    /// Sends bytes as they are.
    pub async fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the gateway reads");
    }

    pub async fn request(mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head.push_str(&format!("host: {}\r\n", self.host));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            head.push_str(&format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        self.send_raw(&bytes).await;
        self.response().await
    }

    /// Reads the head of an answer.
    pub async fn response(mut self) -> Response {
        loop {
            let mut slots = [httparse::EMPTY_HEADER; 64];
            let mut parsed = httparse::Response::new(&mut slots);
            if let httparse::Status::Complete(len) = parsed.parse(&self.buf).expect("the gateway speaks HTTP") {
                let status = parsed.code.expect("a status");
                let headers: Vec<(String, String)> = parsed
                    .headers
                    .iter()
                    .map(|header| {
                        (header.name.to_ascii_lowercase(), String::from_utf8_lossy(header.value).into_owned())
                    })
                    .collect();
                self.buf.drain(..len);
                if status == 100 {
                    continue;
                }
                return Response::new(status, headers, self);
            }
            assert!(
                self.fill().await > 0,
                "the connection ended before a complete head: {:?}",
                String::from_utf8_lossy(&self.buf)
            );
        }
    }

    /// Reads once; 0 at the end.
    async fn fill(&mut self) -> usize {
        let read = tokio::time::timeout(READ_MAX, self.stream.read_buf(&mut self.buf)).await;
        read.expect("an answer within a minute").unwrap_or(0)
    }
}

impl Response {
    fn new(status: u16, headers: Vec<(String, String)>, client: Client) -> Self {
        let find = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let framing = match (find("content-length"), find("transfer-encoding")) {
            (Some(length), _) => Framing::Length(length.parse().expect("a number")),
            (None, Some(_)) => Framing::Chunked,
            (None, None) => Framing::UntilClose,
        };
        Self { status, headers, client, framing, body: Vec::new(), frames: VecDeque::new(), ended: false }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Sends bytes as they are while the answer is being read.
    pub async fn send_raw(&mut self, bytes: &[u8]) {
        self.client.send_raw(bytes).await;
    }

    /// Gives the connection back for the next request.
    pub fn into_client(self) -> Client {
        self.client
    }

    /// More of the body; false at its orderly end. Panics when it is cut.
    async fn more(&mut self) -> bool {
        loop {
            match &mut self.framing {
                Framing::Length(0) => return false,
                Framing::Length(left) if !self.client.buf.is_empty() => {
                    let taken = (*left).min(self.client.buf.len());
                    self.body.extend(self.client.buf.drain(..taken));
                    *left -= taken;
                    return true;
                }
                Framing::Chunked => match httparse::parse_chunk_size(&self.client.buf).expect("a chunk") {
                    httparse::Status::Complete((line, size)) => {
                        let size = usize::try_from(size).expect("a size");
                        if self.client.buf.len() >= line + size + 2 {
                            self.body.extend_from_slice(&self.client.buf[line..line + size]);
                            self.client.buf.drain(..line + size + 2);
                            return size > 0;
                        }
                    }
                    httparse::Status::Partial => {}
                },
                Framing::UntilClose if !self.client.buf.is_empty() => {
                    self.body.append(&mut self.client.buf);
                    return true;
                }
                _ => {}
            }
            if self.client.fill().await == 0 {
                assert!(matches!(self.framing, Framing::UntilClose), "the body was cut");
                return false;
            }
        }
    }

    /// The whole body.
    pub async fn bytes(&mut self) -> Vec<u8> {
        while self.more().await {}
        self.ended = true;
        std::mem::take(&mut self.body)
    }

    pub async fn text(&mut self) -> String {
        String::from_utf8(self.bytes().await).expect("text")
    }

    pub async fn json(&mut self) -> serde_json::Value {
        let text = self.text().await;
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("JSON, not: {text}"))
    }

    /// The next line group of an event stream, without its line ends: a frame
    /// or a single comment line. `None` at the orderly end.
    pub async fn frame(&mut self) -> Option<String> {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Some(frame);
            }
            while let Some(end) = self.body.iter().position(|byte| *byte == b'\n') {
                let line = String::from_utf8(self.body.drain(..=end).collect()).expect("text");
                let line = line.trim_end().to_owned();
                if !line.is_empty() {
                    self.frames.push_back(line);
                }
            }
            if self.frames.is_empty() && !self.more().await {
                self.ended = true;
                return None;
            }
        }
    }

    /// The payloads of all frames to the end, comments left out.
    pub async fn payloads(&mut self) -> Vec<String> {
        let mut payloads = Vec::new();
        while let Some(frame) = self.frame().await {
            payloads.extend(frame.strip_prefix("data: ").map(str::to_owned));
        }
        payloads
    }

    /// Reads a stream to its end: its text, and whether `[DONE]` and an error came.
    pub async fn stream_text(&mut self) -> Streamed {
        Streamed::of(&self.payloads().await)
    }
}

/// What a stream told.
#[derive(Debug, Default, PartialEq)]
pub struct Streamed {
    pub text: String,
    pub done: bool,
    pub finish: Option<String>,
    pub usage: Option<serde_json::Value>,
    pub error: Option<serde_json::Value>,
}

impl Streamed {
    /// What these payloads told, in order.
    pub fn of<T: AsRef<str>>(payloads: &[T]) -> Self {
        let mut streamed = Self::default();
        for payload in payloads.iter().map(AsRef::as_ref) {
            if payload == "[DONE]" {
                streamed.done = true;
                continue;
            }
            assert!(!streamed.done, "nothing follows [DONE]");
            let chunk: serde_json::Value = serde_json::from_str(payload).expect("JSON");
            if !chunk["error"].is_null() {
                streamed.error = Some(chunk["error"].clone());
                continue;
            }
            if let Some(text) = chunk["choices"][0]["delta"]["content"].as_str() {
                streamed.text.push_str(text);
            }
            if let Some(finish) = chunk["choices"][0]["finish_reason"].as_str() {
                streamed.finish = Some(finish.to_owned());
            }
            if chunk["usage"].is_object() {
                streamed.usage = Some(chunk["usage"].clone());
            }
        }
        streamed
    }
}
