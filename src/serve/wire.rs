//! A client's connection as bytes, below HTTP.
//!
//! Owns what has to be known of bytes before a head or a frame is understood: how
//! many of a head were read, what HTTP/2 sends beside requests, whether the client
//! is gone. Counts, and copies nothing.

use super::frames::{Excess, Frames};
use super::listen::DoorLimits;
use async_trait::async_trait;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream, TimingDigest,
    UniqueID, UniqueIDType,
};
use std::io::{Error, IoSlice, Result};
use std::os::fd::AsRawFd as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Notify;
use tokio_rustls::server::TlsStream;

/// Bytes gathered for one write.
const WRITE_BUFFER: usize = 8 << 10;
/// What is left of a head that was refused, or of an upload that was answered early, is
/// read for this long in all, and for this long without a byte: a connection that is closed
/// with unread bytes is reset, and the answer may be lost with it.
pub(super) const LINGER_MAX: Duration = Duration::from_secs(5);
pub(super) const LINGER_IDLE: Duration = Duration::from_secs(1);

/// No bound.
const FREE: usize = usize::MAX;

/// A head did not end within its bound.
#[derive(Debug, thiserror::Error)]
#[error("the head is larger than its bound")]
pub(super) struct HeadOver;

/// What is known of a connection's bytes, for who has handed the connection away.
#[derive(Debug)]
pub(super) struct Meter {
    /// Bytes that may still be read.
    left: AtomicUsize,
    over: AtomicBool,
    block_over: AtomicBool,
    flooded: AtomicBool,
    flood: Notify,
    /// Of what was handed over for writing, bytes that the system took.
    written: AtomicUsize,
    /// Small writes are not gathered.
    direct: AtomicBool,
}

impl Meter {
    /// A head begins: it may have this many bytes.
    pub(super) fn bound(&self, head_bytes_max: usize) {
        self.direct.store(false, Ordering::Relaxed);
        // With one more it is known that it has not ended in time.
        self.left.store(head_bytes_max.saturating_add(1), Ordering::Relaxed);
    }

    /// It has ended.
    pub(super) fn lift(&self) {
        self.left.store(FREE, Ordering::Relaxed);
    }

    /// Until the next head whatever is written goes out at once.
    pub(super) fn write_through(&self) {
        self.direct.store(true, Ordering::Relaxed);
    }

    /// The client sends no more, or the connection is broken.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// A header block of HTTP/2 was larger than a head may be.
    pub(super) fn is_block_over(&self) -> bool {
        self.block_over.load(Ordering::Acquire)
    }

    /// Pends until too many frames came that ask for nothing; from then on nothing
    /// is read. Cancel-safe.
    pub(super) async fn flooded(&self) {
        while !self.flooded.load(Ordering::Acquire) {
            self.flood.notified().await;
        }
    }

    /// Bytes that the client, or the system for it, took so far.
    pub(super) fn written(&self) -> usize {
        self.written.load(Ordering::Relaxed)
    }

    fn wrote(&self, bytes: usize) {
        self.written.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Some of the head that is being read has come.
    pub(super) fn has_begun(&self, head_bytes_max: usize) -> bool {
        self.left.load(Ordering::Relaxed) <= head_bytes_max
    }

    fn took(&self, bytes: usize) {
        let left = self.left.load(Ordering::Relaxed);
        if left != FREE {
            self.left.store(left.saturating_sub(bytes), Ordering::Relaxed);
        }
    }

    fn note(&self, excess: Excess) {
        match excess {
            Excess::Block => self.block_over.store(true, Ordering::Release),
            Excess::Flood => {
                self.flooded.store(true, Ordering::Release);
                self.flood.notify_one();
            }
        }
    }
}

#[derive(Debug)]
enum Transport {
    Plain(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection whose bytes are counted.
#[derive(Debug)]
pub(super) struct Wire {
    out: Gathered,
    /// Read already, to be read again.
    first: Vec<u8>,
    frames: Option<Frames>,
    meter: Arc<Meter>,
    fd: UniqueIDType,
    socket: Arc<SocketDigest>,
}

impl Wire {
    /// `first`: what was read of it already.
    pub(super) fn plain(stream: TcpStream, first: Vec<u8>) -> Self {
        let fd = stream.as_raw_fd();
        Self::new(Transport::Plain(stream), fd, first)
    }

    pub(super) fn unix(stream: UnixStream) -> Self {
        let fd = stream.as_raw_fd();
        Self::new(Transport::Unix(stream), fd, Vec::new())
    }

    pub(super) fn tls(stream: TlsStream<TcpStream>) -> Self {
        let fd = stream.get_ref().0.as_raw_fd();
        Self::new(Transport::Tls(Box::new(stream)), fd, Vec::new())
    }

    fn new(transport: Transport, fd: UniqueIDType, first: Vec<u8>) -> Self {
        let meter = Meter {
            left: AtomicUsize::new(FREE),
            over: AtomicBool::new(false),
            block_over: AtomicBool::new(false),
            flooded: AtomicBool::new(false),
            flood: Notify::new(),
            written: AtomicUsize::new(0),
            direct: AtomicBool::new(false),
        };
        let meter = Arc::new(meter);
        let socket = SocketDigest::from_raw_fd(fd);
        // It asks the system when it is asked: a stream of HTTP/2 may do so when the descriptor is
        // another connection's already.
        let _ = (socket.peer_addr(), socket.local_addr());
        Self {
            out: Gathered { transport, bytes: Vec::new(), sent: 0, meter: Arc::clone(&meter) },
            first,
            frames: None,
            meter,
            fd,
            socket: Arc::new(socket),
        }
    }

    /// What comes is HTTP/2, from its first byte on.
    pub(super) fn watch_frames(mut self, limits: &DoorLimits) -> Self {
        self.frames = Some(Frames::new(limits.head_bytes_max));
        self
    }

    pub(super) fn meter(&self) -> Arc<Meter> {
        Arc::clone(&self.meter)
    }

    pub(super) fn socket(&self) -> Arc<SocketDigest> {
        Arc::clone(&self.socket)
    }

    /// A client that is gone may show in a write before it shows in a read.
    fn watched<T>(&self, written: Poll<Result<T>>) -> Poll<Result<T>> {
        if matches!(written, Poll::Ready(Err(_))) {
            self.meter.over.store(true, Ordering::Release);
        }
        written
    }

    /// Closes what was answered before all that its client sends was read.
    pub(super) async fn let_go(stream: Stream) {
        let Ok(mut wire) = stream.into_any().downcast::<Self>() else { return };
        let mut dropped = vec![0; WRITE_BUFFER];
        let reading =
            async { while let Ok(Ok(1..)) = tokio::time::timeout(LINGER_IDLE, wire.out.read(&mut dropped)).await {} };
        let _ = tokio::time::timeout(LINGER_MAX, reading).await;
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let this = self.get_mut();
        let left = this.meter.left.load(Ordering::Relaxed);
        if left == 0 {
            return Poll::Ready(Err(Error::other(HeadOver)));
        }
        if this.frames.is_some() && this.meter.flooded.load(Ordering::Relaxed) {
            // Whoever waits for `flooded` ends the connection.
            return Poll::Pending;
        }
        let before = buf.filled().len();
        if this.first.is_empty() {
            let room = buf.remaining();
            let read = ready!(if left < room {
                // The last bytes of a head's room: no more are taken, so that what is refused does
                // not hang on how it was cut on its way.
                let mut part = ReadBuf::new(buf.initialize_unfilled_to(left));
                let read = Pin::new(&mut this.out).poll_read(cx, &mut part);
                let came = part.filled().len();
                buf.advance(came);
                read
            } else {
                Pin::new(&mut this.out).poll_read(cx, buf)
            });
            if read.is_err() || (room > 0 && buf.filled().len() == before) {
                this.meter.over.store(true, Ordering::Release);
            }
            read?;
        } else {
            let taken = this.first.len().min(buf.remaining());
            buf.put_slice(&this.first[..taken]);
            this.first.drain(..taken);
        }
        let came = &buf.filled()[before..];
        this.meter.took(came.len());
        if let Some(excess) = this.frames.as_mut().and_then(|frames| frames.take(came)) {
            this.meter.note(excess);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.out).poll_write(cx, bytes);
        this.watched(written)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.out).poll_flush(cx);
        this.watched(flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.get_mut().out).poll_shutdown(cx)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.out).poll_write_vectored(cx, parts);
        this.watched(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.out.is_write_vectored()
    }
}

/// Small writes, gathered until they are flushed. Unlike tokio's `BufWriter` it
/// holds nothing between flushes: thousands of streams are silent most of the time.
#[derive(Debug)]
struct Gathered {
    transport: Transport,
    bytes: Vec<u8>,
    /// Of `bytes`, what was taken.
    sent: usize,
    meter: Arc<Meter>,
}

impl Gathered {
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        while self.sent < self.bytes.len() {
            match ready!(Pin::new(&mut self.transport).poll_write(cx, &self.bytes[self.sent..]))? {
                0 => return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into())),
                taken => {
                    self.sent += taken;
                    self.meter.wrote(taken);
                }
            }
        }
        (self.bytes, self.sent) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }

    fn counted(&self, written: Poll<Result<usize>>) -> Poll<Result<usize>> {
        if let Poll::Ready(Ok(taken)) = &written {
            self.meter.wrote(*taken);
        }
        written
    }

    fn has_room(&self, more: usize) -> bool {
        self.bytes.len() + more <= WRITE_BUFFER && !self.meter.direct.load(Ordering::Relaxed)
    }
}

impl AsyncRead for Gathered {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.get_mut().transport).poll_read(cx, buf)
    }
}

impl AsyncWrite for Gathered {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let this = self.get_mut();
        if !this.has_room(bytes.len()) {
            ready!(this.poll_drain(cx))?;
            if !this.has_room(bytes.len()) {
                let written = Pin::new(&mut this.transport).poll_write(cx, bytes);
                return this.counted(written);
            }
        }
        this.bytes.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<Result<usize>> {
        let this = self.get_mut();
        let all = parts.iter().map(|part| part.len()).sum();
        if !this.has_room(all) {
            ready!(this.poll_drain(cx))?;
            if !this.has_room(all) {
                let written = Pin::new(&mut this.transport).poll_write_vectored(cx, parts);
                return this.counted(written);
            }
        }
        this.bytes.reserve_exact(all);
        for part in parts {
            this.bytes.extend_from_slice(part);
        }
        Poll::Ready(Ok(all))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.transport).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.transport).poll_shutdown(cx)
    }
}

/// Does for either what `call` does for the one that is there.
macro_rules! either {
    ($self:ident, $inner:ident => $call:expr) => {
        match $self.get_mut() {
            Transport::Plain($inner) => {
                let $inner = Pin::new($inner);
                $call
            }
            Transport::Unix($inner) => {
                let $inner = Pin::new($inner);
                $call
            }
            Transport::Tls($inner) => {
                let $inner = Pin::new($inner.as_mut());
                $call
            }
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        either!(self, inner => inner.poll_read(cx, buf))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        either!(self, inner => inner.poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        either!(self, inner => inner.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        either!(self, inner => inner.poll_shutdown(cx))
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<Result<usize>> {
        either!(self, inner => inner.poll_write_vectored(cx, parts))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(inner) => inner.is_write_vectored(),
            Self::Unix(inner) => inner.is_write_vectored(),
            Self::Tls(inner) => inner.is_write_vectored(),
        }
    }
}

#[async_trait]
impl Shutdown for Wire {
    async fn shutdown(&mut self) {
        let _ = self.out.shutdown().await;
    }
}

impl UniqueID for Wire {
    fn id(&self) -> UniqueIDType {
        self.fd
    }
}

impl GetSocketDigest for Wire {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(self.socket())
    }
}

impl GetTimingDigest for Wire {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Wire {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl Ssl for Wire {}

impl Peek for Wire {}
