//! A connection: TCP or a Unix socket, TLS inside it, TLS inside that.
//!
//! Owns the bytes and what pingora's sessions want to know of a stream.
//! Invariant: bytes that were read ahead are handed out first.

use super::dial::tls_fault;
use async_trait::async_trait;
use bytes::Bytes;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    UniqueIDType,
};
use std::io::IoSlice;
use std::os::fd::{AsRawFd as _, RawFd};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::SystemTime;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

/// A connection to a provider, or to the proxy before it.
#[derive(Debug)]
pub struct Line {
    io: Io,
    /// The socket under it all.
    fd: RawFd,
    opened: SystemTime,
    ahead: Bytes,
    /// What TLS said when it broke: h2 drops it.
    fault: Arc<OnceLock<&'static str>>,
}

#[derive(Debug)]
pub enum Io {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<Io>>),
}

impl Io {
    fn fd(&self) -> RawFd {
        match self {
            Self::Tcp(stream) => stream.as_raw_fd(),
            Self::Unix(stream) => stream.as_raw_fd(),
            Self::Tls(stream) => stream.get_ref().0.fd(),
        }
    }
}

impl Line {
    pub fn new(io: Io) -> Self {
        Self { fd: io.fd(), io, opened: SystemTime::now(), ahead: Bytes::new(), fault: Arc::default() }
    }

    /// Whether both sides agreed on HTTP/2 (ALPN).
    pub fn agreed_on_h2(&self) -> bool {
        matches!(&self.io, Io::Tls(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2"))
    }

    /// Told once, when TLS breaks.
    pub fn fault(&self) -> Arc<OnceLock<&'static str>> {
        Arc::clone(&self.fault)
    }

    /// Hands these bytes out before any other.
    pub fn read_ahead(&mut self, bytes: Vec<u8>) {
        self.ahead = Bytes::from(bytes);
    }
}

/// Does the same with whatever is inside.
macro_rules! each {
    ($io:expr, $stream:ident => $does:expr) => {
        match $io {
            Io::Tcp($stream) => $does,
            Io::Unix($stream) => $does,
            Io::Tls($stream) => $does,
        }
    };
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_write(cx, buf))
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_write_vectored(cx, parts))
    }
    fn is_write_vectored(&self) -> bool {
        each!(self, stream => stream.is_write_vectored())
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_flush(cx))
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(cx))
    }
}

impl AsyncRead for Line {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        if self.ahead.is_empty() {
            let read = Pin::new(&mut self.io).poll_read(cx, buf);
            if let Poll::Ready(Err(error)) = &read
                && let Some(fault) = tls_fault(error)
            {
                let _ = self.fault.set(fault);
            }
            return read;
        }
        let taken = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead.split_to(taken));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, parts)
    }
    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Line {
    async fn shutdown(&mut self) {
        let _ = AsyncWriteExt::shutdown(&mut self.io).await;
    }
}

impl UniqueID for Line {
    fn id(&self) -> UniqueIDType {
        self.fd
    }
}

impl Ssl for Line {
    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.agreed_on_h2().then_some(ALPN::H2)
    }
}

#[async_trait]
impl Peek for Line {}

impl GetTimingDigest for Line {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        vec![Some(TimingDigest { established_ts: self.opened, ..TimingDigest::default() })]
    }
}

impl GetProxyDigest for Line {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Line {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}
