//! One accepted socket.
//!
//! Owns writing, waiting and closing. Refuses to know HTTP. Invariant: no wait
//! outlives the peer or the simulator; every one of them also listens for the
//! peer's close, which is how a stalled fault learns at once that it was left.

use bytes::BytesMut;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::ReadHalf;
use tokio::sync::watch;

/// Bytes taken in while we are busy answering (a pipelined request). Beyond
/// it nothing is read, hence a close not noticed, until the answer is done.
const AHEAD_MAX: usize = 64 * 1024;

/// Asked of the socket in one read of a request.
const READ_BYTES: usize = 16 * 1024;

/// Why an exchange cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Gone {
    #[error("the peer closed")]
    Peer,
    #[error("the simulator was stopped")]
    Stopped,
}

/// How far a simulator is from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Running {
    Listening,
    /// New connections are refused, old ones served.
    Closed,
    Stopped,
}

pub(super) struct Conn {
    stream: TcpStream,
    /// Received and not yet consumed.
    pub inbox: BytesMut,
    running: watch::Receiver<Running>,
}

impl Conn {
    pub fn new(stream: TcpStream, running: watch::Receiver<Running>) -> Self {
        Self { stream, inbox: BytesMut::new(), running }
    }

    /// Reads what there is, at least one byte, into the inbox.
    pub async fn fill(&mut self) -> Result<(), Gone> {
        self.inbox.reserve(READ_BYTES);
        tokio::select! {
            read = self.stream.read_buf(&mut self.inbox) => match read {
                Ok(count) if count > 0 => Ok(()),
                _ => Err(Gone::Peer),
            },
            () = stopped(&mut self.running) => Err(Gone::Stopped),
        }
    }

    /// Writes all of it. Not cancel safe: part of it may be out.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        let (mut reading, mut writing) = self.stream.split();
        tokio::select! {
            written = writing.write_all(bytes) => written.map_err(|_| Gone::Peer),
            () = left(&mut reading, &mut self.inbox) => Err(Gone::Peer),
            () = stopped(&mut self.running) => Err(Gone::Stopped),
        }
    }

    /// Waits, unless the peer leaves earlier.
    pub async fn pause(&mut self, wait: Duration) -> Result<(), Gone> {
        if wait.is_zero() {
            return Ok(());
        }
        let (mut reading, _) = self.stream.split();
        tokio::select! {
            () = tokio::time::sleep(wait) => Ok(()),
            () = left(&mut reading, &mut self.inbox) => Err(Gone::Peer),
            () = stopped(&mut self.running) => Err(Gone::Stopped),
        }
    }

    /// Keeps the connection open and silent until the peer leaves.
    pub async fn hold(&mut self) -> Gone {
        let (mut reading, _) = self.stream.split();
        tokio::select! {
            () = left(&mut reading, &mut self.inbox) => Gone::Peer,
            () = stopped(&mut self.running) => Gone::Stopped,
        }
    }

    /// FIN behind everything written so far; reading stays possible.
    pub async fn finish(&mut self) {
        // It fails only where the peer was faster, and then nothing is left to close.
        let _ = self.stream.shutdown().await;
    }

    /// RST instead of FIN.
    pub fn reset(self) {
        // As above: a socket that is gone already needs no reset.
        let _ = self.stream.set_zero_linger();
    }

    /// Waits without reading, so that an upload in progress stays unread. The
    /// peer's close is not noticed here, therefore the wait has to be short.
    pub async fn linger(&mut self, wait: Duration) {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stopped(&mut self.running) => {}
        }
    }
}

/// Resolves when the peer closes or resets; cancel safe, as `read_buf` is.
async fn left(reading: &mut ReadHalf<'_>, inbox: &mut BytesMut) {
    while inbox.len() < AHEAD_MAX {
        match reading.read_buf(inbox).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
    std::future::pending::<()>().await;
}

/// Resolves when the simulator is stopped or its last handle was dropped.
async fn stopped(running: &mut watch::Receiver<Running>) {
    // An error means that the sender is gone with its handle.
    let _ = running.wait_for(|now| *now == Running::Stopped).await;
}
