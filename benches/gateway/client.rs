//! The load: HTTP/1.1 over raw sockets, kept alive, read to the last byte.

use crate::upstream::content_length;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// One kept connection.
pub struct Client {
    stream: TcpStream,
    buf: Vec<u8>,
    /// Of the chunk that is being read, its line end included.
    chunk_left: usize,
    /// The last bytes of the body, in which a frame may begin.
    text: Vec<u8>,
}

/// What one answer took.
#[derive(Debug, Clone, Copy)]
pub struct Took {
    pub whole: Duration,
    /// To the first `data:` line.
    pub first: Duration,
    pub frames: usize,
}

/// The bytes of a request.
pub fn request(model: &str, stream: bool) -> Vec<u8> {
    let stream = if stream { "\"stream\":true," } else { "" };
    let body = format!(
        "{{\"model\":\"{model}\",{stream}\"messages\":[{{\"role\":\"system\",\"content\":\"Answer briefly.\"}},\
         {{\"role\":\"user\",\"content\":\"{}\"}}]}}",
        "What is the capital of France? ".repeat(8)
    );
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         accept: application/json\r\nuser-agent: OpenAI/Python 2.0.0\r\nauthorization: Bearer none\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

impl Client {
    pub async fn connect(addr: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buf: Vec::with_capacity(64 << 10), chunk_left: 0, text: Vec::new() })
    }

    async fn more(&mut self) -> std::io::Result<()> {
        if self.stream.read_buf(&mut self.buf).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    async fn head(&mut self, request: &[u8]) -> std::io::Result<usize> {
        self.buf.clear();
        self.stream.write_all(request).await?;
        let end = loop {
            if let Some(end) = memchr::memmem::find(&self.buf, b"\r\n\r\n") {
                break end + 4;
            }
            self.more().await?;
        };
        if !self.buf.starts_with(b"HTTP/1.1 200") {
            while self.buf.len() < end + content_length(&self.buf[..end]) {
                self.more().await?;
            }
            return Err(std::io::Error::other(String::from_utf8_lossy(&self.buf).into_owned()));
        }
        Ok(end)
    }

    /// One request, its answer read to the end. Not to be used again after a fault.
    pub async fn ask(&mut self, request: &[u8]) -> std::io::Result<Took> {
        let began = Instant::now();
        let head = self.head(request).await?;
        let length = content_length(&self.buf[..head]);
        if length > 0 {
            while self.buf.len() < head + length {
                self.more().await?;
            }
            return Ok(Took { whole: began.elapsed(), first: began.elapsed(), frames: 0 });
        }
        self.buf.drain(..head);
        let (mut first, mut frames) = (None, 0);
        loop {
            let ended = self.unframe();
            frames += self.count();
            if frames > 0 && first.is_none() {
                first = Some(began.elapsed());
            }
            if ended {
                return Ok(Took { whole: began.elapsed(), first: first.unwrap_or_default(), frames });
            }
            self.more().await?;
        }
    }

    /// Takes the chunks that are there apart; true at the last one.
    fn unframe(&mut self) -> bool {
        let mut at = 0;
        let ended = loop {
            let body = self.chunk_left.saturating_sub(2).min(self.buf.len() - at);
            self.text.extend_from_slice(&self.buf[at..at + body]);
            let taken = if self.chunk_left - body <= 2 { self.chunk_left.min(self.buf.len() - at) } else { body };
            self.chunk_left -= taken;
            at += taken;
            if self.chunk_left > 0 {
                break false;
            }
            let Some(line) = memchr::memmem::find(&self.buf[at..], b"\r\n") else { break false };
            let size = std::str::from_utf8(&self.buf[at..at + line]).ok();
            let size = size.and_then(|size| usize::from_str_radix(size, 16).ok()).expect("a chunk's size");
            if size == 0 {
                if self.buf.len() < at + line + 4 {
                    break false;
                }
                at += line + 4;
                break true;
            }
            self.chunk_left = size + 2;
            at += line + 2;
        };
        self.buf.drain(..at);
        ended
    }

    /// Frames that begin in what was taken apart.
    fn count(&mut self) -> usize {
        const BEGINS: &[u8] = b"data: {";
        let count = memchr::memmem::find_iter(&self.text, BEGINS).count();
        let keep = self.text.len().min(BEGINS.len() - 1);
        self.text.drain(..self.text.len() - keep);
        count
    }

    /// One request of which so many frames are read; the stream stays open.
    pub async fn ask_for(&mut self, request: &[u8], frames: usize) -> std::io::Result<()> {
        let head = self.head(request).await?;
        self.buf.drain(..head);
        let mut seen = 0;
        loop {
            self.unframe();
            seen += self.count();
            if seen >= frames {
                return Ok(());
            }
            self.more().await?;
        }
    }
}
