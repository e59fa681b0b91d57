//! A wire that is listened to: hands bytes on both ways, and keeps them.

use serde_json::Value;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Between a client and a server; ends with the test's runtime.
pub struct Tap {
    pub addr: SocketAddr,
    heard: Arc<Mutex<Vec<Arc<Heard>>>>,
}

/// The bytes of one connection, as far as they came.
#[derive(Default)]
struct Heard {
    asked: Mutex<Vec<u8>>,
    answered: Mutex<Vec<u8>>,
    /// When the bytes of `asked` from an offset on came, counted over all connections.
    arrivals: Mutex<Vec<(usize, u64)>>,
}

/// One request and its answer.
#[derive(Debug, Clone)]
pub struct Overheard {
    pub method: String,
    pub path: String,
    /// Names in lower case, in the order sent.
    pub headers: Vec<(String, String)>,
    pub body: Value,
    pub status: u16,
    /// The answer's body, without its chunks.
    pub answer: Vec<u8>,
}

impl Overheard {
    /// The payloads of the answer's `data:` lines.
    pub fn payloads(&self) -> Vec<String> {
        let text = String::from_utf8(self.answer.clone()).expect("text");
        text.lines().filter_map(|line| line.strip_prefix("data: ")).map(str::to_owned).collect()
    }
}

impl Tap {
    pub async fn before(behind: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let heard: Arc<Mutex<Vec<Arc<Heard>>>> = Arc::default();
        let all = Arc::clone(&heard);
        let clock = Arc::<AtomicU64>::default();
        tokio::spawn(async move {
            while let Ok((front, _)) = listener.accept().await {
                let one = Arc::<Heard>::default();
                all.lock().expect("no panic").push(Arc::clone(&one));
                let clock = Arc::clone(&clock);
                tokio::spawn(async move {
                    let back = TcpStream::connect(behind).await.expect("it listens");
                    let ((front_in, front_out), (back_in, back_out)) = (front.into_split(), back.into_split());
                    let arrived = |at| {
                        let now = clock.fetch_add(1, Ordering::SeqCst);
                        one.arrivals.lock().expect("no panic").push((at, now));
                    };
                    tokio::join!(
                        hand_on(front_in, back_out, &one.asked, arrived),
                        hand_on(back_in, front_out, &one.answered, |_| {})
                    );
                });
            }
        });
        Self { addr, heard }
    }

    /// All that was asked and answered in full, in the order in which it was asked.
    pub fn overheard(&self) -> Vec<Overheard> {
        let connections = self.heard.lock().expect("no panic").clone();
        let mut all = Vec::new();
        for one in connections {
            let (asked, answered) = (one.asked.lock().expect("no panic"), one.answered.lock().expect("no panic"));
            let (mut requests, mut answers) = (&asked[..], &answered[..]);
            let arrivals = one.arrivals.lock().expect("no panic");
            loop {
                let began = asked.len() - requests.len();
                let (Some(request), Some(answer)) = (take_request(&mut requests), take_answer(&mut answers)) else {
                    break;
                };
                let when = arrivals.iter().rev().find(|(at, _)| *at <= began).map(|(_, when)| *when);
                let (method, path, headers, body) = request;
                let body = serde_json::from_slice(&body).unwrap_or_default();
                let (status, answer) = answer;
                all.push((when, Overheard { method, path, headers, body, status, answer }));
            }
        }
        all.sort_by_key(|(when, _)| *when);
        all.into_iter().map(|(_, one)| one).collect()
    }
}

async fn hand_on(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    heard: &Mutex<Vec<u8>>,
    arrived: impl Fn(usize),
) {
    let mut buf = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buf).await {
        // Kept first: whoever has an answer may ask at once what was heard.
        {
            let mut heard = heard.lock().expect("no panic");
            arrived(heard.len());
            heard.extend_from_slice(&buf[..read]);
        }
        if to.write_all(&buf[..read]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

type Headers = Vec<(String, String)>;

fn read_headers(parsed: &[httparse::Header<'_>]) -> Headers {
    let one = |header: &httparse::Header<'_>| {
        (header.name.to_ascii_lowercase(), String::from_utf8_lossy(header.value).into_owned())
    };
    parsed.iter().map(one).collect()
}

fn take_request(bytes: &mut &[u8]) -> Option<(String, String, Headers, Vec<u8>)> {
    let mut slots = [httparse::EMPTY_HEADER; 128];
    let mut parsed = httparse::Request::new(&mut slots);
    let httparse::Status::Complete(len) = parsed.parse(bytes).expect("HTTP") else { return None };
    let (method, path) = (parsed.method?.to_owned(), parsed.path?.to_owned());
    let headers = read_headers(parsed.headers);
    let mut rest = &bytes[len..];
    let body = take_body(&mut rest, &headers)?;
    *bytes = rest;
    Some((method, path, headers, body))
}

fn take_answer(bytes: &mut &[u8]) -> Option<(u16, Vec<u8>)> {
    let mut slots = [httparse::EMPTY_HEADER; 128];
    let mut parsed = httparse::Response::new(&mut slots);
    let httparse::Status::Complete(len) = parsed.parse(bytes).expect("HTTP") else { return None };
    let (status, headers) = (parsed.code?, read_headers(parsed.headers));
    let mut rest = &bytes[len..];
    let body = take_body(&mut rest, &headers)?;
    *bytes = rest;
    Some((status, body))
}

/// `None`: it is not whole.
fn take_body(bytes: &mut &[u8], headers: &Headers) -> Option<Vec<u8>> {
    let find = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    if find("transfer-encoding").is_none() {
        let length: usize = find("content-length").map_or(0, |length| length.parse().expect("a number"));
        let body = bytes.get(..length)?.to_vec();
        *bytes = &bytes[length..];
        return Some(body);
    }
    let mut body = Vec::new();
    loop {
        let httparse::Status::Complete((line, size)) = httparse::parse_chunk_size(bytes).expect("a chunk") else {
            return None;
        };
        let size = usize::try_from(size).expect("a size");
        body.extend_from_slice(bytes.get(line..line + size)?);
        *bytes = bytes.get(line + size + 2..)?;
        if size == 0 {
            return Some(body);
        }
    }
}
