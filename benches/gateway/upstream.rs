//! A provider that costs next to nothing: raw sockets, bytes made beforehand.
//!
//! What it answers follows from the model's name and from `"stream":true` in
//! the request, so that all subjects are asked the same and get the same.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Frames of a paced stream, and the wait before each.
pub const PACED_FRAMES: usize = 50;
pub const PACE: Duration = Duration::from_millis(20);
/// Frames of an unpaced stream.
pub const UNPACED_FRAMES: usize = 1000;
/// Frames before a stream goes idle, and how many come at once.
pub const IDLE_FRAMES: usize = 100;
const IDLE_AT_ONCE: usize = 5;
const IDLE_PACE: Duration = Duration::from_millis(60);
/// Frames of an answer that is assembled.
const ASSEMBLED_FRAMES: usize = 10;

const HEAD_STREAM: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

struct Answers {
    whole_1k: Vec<u8>,
    whole_4k: Vec<u8>,
    models: Vec<u8>,
    frame: Vec<u8>,
    tail: Vec<u8>,
    assembled: Vec<u8>,
    unpaced: Vec<u8>,
    idle: Vec<u8>,
}

/// Serves from a thread of its own until the process ends.
pub fn start() -> SocketAddr {
    let (told, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            told.send(listener.local_addr().expect("bound")).expect("the bench waits");
            let answers = Arc::new(Answers::new());
            loop {
                let (stream, _) = listener.accept().await.expect("accepts");
                let _ = stream.set_nodelay(true);
                tokio::spawn(serve(stream, Arc::clone(&answers)));
            }
        });
    });
    address.recv().expect("the upstream starts")
}

async fn serve(mut stream: TcpStream, answers: Arc<Answers>) -> std::io::Result<()> {
    let mut buf = Vec::with_capacity(4096);
    loop {
        buf.clear();
        let (head, length) = loop {
            if let Some(end) = memchr::memmem::find(&buf, b"\r\n\r\n") {
                break (end + 4, content_length(&buf[..end]));
            }
            if stream.read_buf(&mut buf).await? == 0 {
                return Ok(());
            }
        };
        while buf.len() < head + length {
            if stream.read_buf(&mut buf).await? == 0 {
                return Ok(());
            }
        }
        let (head, body) = buf.split_at(head);
        let has = |what: &[u8]| memchr::memmem::find(body, what).is_some();
        if head.starts_with(b"GET") {
            stream.write_all(&answers.models).await?;
        } else if !has(b"\"stream\":true") {
            stream.write_all(if has(b"bench-4k") { &answers.whole_4k } else { &answers.whole_1k }).await?;
        } else if has(b"bench-paced") {
            stream.write_all(HEAD_STREAM).await?;
            let mut ticks = tokio::time::interval(PACE);
            for _ in 0..PACED_FRAMES - 1 {
                ticks.tick().await;
                stream.write_all(&answers.frame).await?;
            }
            ticks.tick().await;
            stream.write_all(&answers.tail).await?;
        } else if has(b"bench-idle") {
            stream.write_all(HEAD_STREAM).await?;
            let mut ticks = tokio::time::interval(IDLE_PACE);
            for _ in 0..IDLE_FRAMES / IDLE_AT_ONCE {
                ticks.tick().await;
                stream.write_all(&answers.idle).await?;
            }
            // Until the other side goes.
            let _ = stream.read_buf(&mut buf).await?;
            return Ok(());
        } else {
            stream.write_all(if has(b"bench-unpaced") { &answers.unpaced } else { &answers.assembled }).await?;
        }
    }
}

pub fn content_length(head: &[u8]) -> usize {
    let lower = head.to_ascii_lowercase();
    let Some(at) = memchr::memmem::find(&lower, b"content-length:") else { return 0 };
    let digits: String = lower[at + 15..]
        .iter()
        .map(|byte| *byte as char)
        .skip_while(|c| *c == ' ')
        .take_while(char::is_ascii_digit)
        .collect();
    digits.parse().unwrap_or(0)
}

/// A frame as providers send it, about 230 bytes.
pub fn data(content: &str, finish: &str) -> String {
    format!(
        "data: {{\"id\":\"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT\",\"object\":\"chat.completion.chunk\",\
         \"created\":1764000000,\"model\":\"bench\",\"system_fingerprint\":\"fp_44709d6fcb\",\"choices\":[{{\"index\":0,\
         \"delta\":{{{content}}},\"logprobs\":null,\"finish_reason\":{finish}}}]}}\n\n"
    )
}

fn chunk(payload: &str) -> Vec<u8> {
    format!("{:x}\r\n{payload}\r\n", payload.len()).into_bytes()
}

impl Answers {
    fn new() -> Self {
        let whole = |bytes: usize| {
            let make = |text: &str| {
                format!(
                    "{{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1764000000,\"model\":\"bench\",\
                     \"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":\"{text}\"}},\
                     \"logprobs\":null,\"finish_reason\":\"stop\"}}],\"usage\":{{\"prompt_tokens\":20,\
                     \"completion_tokens\":200,\"total_tokens\":220}}}}"
                )
            };
            let body = make(&"w".repeat(bytes - make("").len()));
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
                .into_bytes()
        };
        let frame = chunk(&data("\"content\":\" word\"", "null"));
        let tail = [chunk(&data("", "\"stop\"")), chunk("data: [DONE]\n\n"), b"0\r\n\r\n".to_vec()].concat();
        let stream = |frames: usize| [HEAD_STREAM.to_vec(), frame.repeat(frames - 1), tail.clone()].concat();
        let list = "{\"object\":\"list\",\"data\":[]}";
        Self {
            whole_1k: whole(1024),
            whole_4k: whole(4096),
            models: format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{list}",
                list.len()
            )
            .into_bytes(),
            assembled: stream(ASSEMBLED_FRAMES),
            unpaced: stream(UNPACED_FRAMES),
            idle: frame.repeat(IDLE_AT_ONCE),
            frame,
            tail,
        }
    }
}
