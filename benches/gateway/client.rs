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
        Ok(Self { stream, buf: Vec::with_capacity(64 << 10) })
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
            frames += memchr::memmem::find_iter(&self.buf, b"data: {").count();
            if frames > 0 && first.is_none() {
                first = Some(began.elapsed());
            }
            if self.buf.ends_with(b"\r\n0\r\n\r\n") {
                return Ok(Took { whole: began.elapsed(), first: first.unwrap_or_default(), frames });
            }
            // What may be the beginning of a frame or of the end stays.
            let keep = self.buf.len().min(7);
            let tail = self.buf.len() - keep;
            let tail = if self.buf[tail..] == *b"data: {" { self.buf.len() - 6 } else { tail };
            // Seven bytes hold no second whole "data: {" that was counted.
            self.buf.drain(..tail);
            self.more().await?;
        }
    }

    /// One request of which so many frames are read; the stream stays open.
    pub async fn ask_for(&mut self, request: &[u8], frames: usize) -> std::io::Result<()> {
        self.head(request).await?;
        while memchr::memmem::find_iter(&self.buf, b"data: {").count() < frames {
            self.more().await?;
        }
        self.buf = Vec::new();
        Ok(())
    }
}
