//! One HTTP/2 connection: its streams, and how it ends.
//!
//! Owns the loop around h2's connection. pingora's own tells neither why one
//! ended nor lets one be sent away before the process ends. Refuses requests: each
//! stream is a session of its own. Invariant: a connection that was told to go
//! takes what was already on its way, and is given what it still takes.

use super::close::Closed;
use super::listen::{App, Door, closed};
use super::session::Session;
use super::wire::{Meter, Wire};
use h2::Reason;
use h2::server::Connection;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::{H2Accept, H2Options, HttpSession, handshake};
use pingora_core::protocols::{Digest, Stream};
use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Requests side by side on one connection; a client is told, and one more is refused by h2.
const STREAMS_MAX: u32 = 100;
/// Streams that were reset and not looked at yet; one more ends the connection (CVE-2023-44487).
const RESET_UNSEEN_MAX: usize = 20;
/// Streams that h2 had to reset for what they sent; one more ends the connection (CVE-2025-8671).
/// Many: a proxy before us carries the slips of all its clients.
const RESET_BY_US_MAX: usize = 1000;
/// Requests with heads that no two readers understand alike; one more ends the connection.
const REJECTED_MAX: usize = 32;
/// Bytes of an answer that h2 holds for a client that has not taken them yet, for each stream.
const SEND_BUFFER: usize = 64 << 10;
/// Turns of `write_timeout` that a client that was told to go has for what it still takes.
const PARTING_TURNS: u32 = 10;
/// Waited for until streams that lost their connection have noticed, and a goodbye is written.
const PARTING: Duration = Duration::from_secs(2);

/// The streams under way, and what those that ended know of the client.
struct Streams {
    active: watch::Sender<usize>,
    /// One of them lost its client with the connection.
    lost: AtomicBool,
    /// The last of them was ended because its client took nothing.
    stalled: AtomicBool,
}

/// One of them; dropping it says that it is over.
struct Active(Arc<Streams>);

impl Active {
    fn new(streams: &Arc<Streams>) -> Self {
        streams.active.send_modify(|count| *count += 1);
        Self(Arc::clone(streams))
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.send_modify(|count| *count -= 1);
    }
}

impl Streams {
    /// Pends until there is none. Cancel-safe.
    async fn none(&self) {
        // The sender lives in `self`, so this cannot fail.
        let _ = self.active.subscribe().wait_for(|count| *count == 0).await;
    }
}

/// Serves a connection from its first byte to its end; `retires`: when it has
/// grown old.
pub(super) async fn serve<A: App>(door: &Arc<Door<A>>, wire: Wire, retires: Option<Instant>) -> Closed {
    let wire = wire.watch_frames(&door.limits);
    let meter = wire.meter();
    let digest = Arc::new(Digest {
        ssl_digest: None,
        timing_digest: Vec::new(),
        proxy_digest: None,
        socket_digest: Some(wire.socket()),
    });
    let mut closing = door.closing.clone();
    let begun = tokio::select! {
        biased;
        () = closed(&mut closing) => return Closed::Draining,
        begun = tokio::time::timeout(
            door.limits.head_timeout,
            Box::pin(handshake(Box::new(wire), Some(options(door)))),
        ) => begun,
    };
    let mut connection = match begun {
        Err(_) => return Closed::HeadStalled,
        Ok(Err(error)) => return why_broken(&error, &meter),
        Ok(Ok(connection)) => connection,
    };
    let streams = Arc::new(Streams {
        active: watch::Sender::new(0),
        lost: AtomicBool::new(false),
        stalled: AtomicBool::new(false),
    });
    let why = run(door, &mut connection, &digest, &streams, &meter, retires).await;
    drop(connection);
    if !matches!(why, Closed::Done | Closed::Draining | Closed::Aged | Closed::Idle) {
        return why;
    }
    // An end within an answer looks to h2 as one behind it; those who answer know.
    let _ = tokio::time::timeout(PARTING, streams.none()).await;
    match why {
        _ if streams.lost.load(Ordering::Acquire) => Closed::ClientGone,
        Closed::Idle if streams.stalled.load(Ordering::Acquire) => Closed::ClientStalled,
        _ => why,
    }
}

fn options<A: App>(door: &Door<A>) -> H2Options {
    let mut options = H2Options::default();
    // Above our own bound, so that what is over that is refused by us, in a record; what is above
    // this, by h2.
    let list_max = door.limits.head_bytes_max.saturating_mul(2);
    options.max_header_list_size(u32::try_from(list_max).unwrap_or(u32::MAX));
    options.max_send_buffer_size(SEND_BUFFER);
    options.max_concurrent_streams(STREAMS_MAX);
    options.max_pending_accept_reset_streams(RESET_UNSEEN_MAX);
    options.max_local_error_reset_streams(Some(RESET_BY_US_MAX));
    options
}

async fn run<A: App>(
    door: &Arc<Door<A>>,
    connection: &mut Connection<Stream, bytes::Bytes>,
    digest: &Arc<Digest>,
    streams: &Arc<Streams>,
    meter: &Arc<Meter>,
    retires: Option<Instant>,
) -> Closed {
    let mut closing = door.closing.clone();
    // Why the client was told to go.
    let mut leaving = None;
    let mut rejected = 0;
    let old = async {
        match retires {
            Some(at) => tokio::time::sleep_until(at.into()).await,
            None => pending().await,
        }
    };
    tokio::pin!(old);
    loop {
        let stays = leaving.is_none();
        let quiet = async {
            streams.none().await;
            if stays {
                return tokio::time::sleep(door.limits.connection_idle).await;
            }
            // Who was told to go may still be taking answers that h2 holds for it. Not for ever: answers
            // to pings are taken, too.
            for _ in 0..PARTING_TURNS {
                let before = meter.written();
                tokio::time::sleep(door.limits.write_timeout).await;
                if meter.written() == before {
                    return;
                }
            }
        };
        let told = tokio::select! {
            biased;
            () = closed(&mut closing), if stays => Closed::Draining,
            () = &mut old, if stays => Closed::Aged,
            () = meter.flooded() => return send_away(connection, Closed::Flood).await,
            accepted = HttpSession::from_h2_conn(connection, Arc::clone(digest)) => match accepted {
                Err(error) => return why_broken(&error, meter),
                Ok(None) => return leaving.unwrap_or(Closed::Done),
                Ok(Some(H2Accept::Session(stream))) => {
                    begin(door, stream, streams, meter);
                    continue;
                }
                Ok(Some(H2Accept::Rejected)) if rejected == REJECTED_MAX => {
                    return send_away(connection, Closed::Malformed).await;
                }
                Ok(Some(H2Accept::Rejected)) => {
                    rejected += 1;
                    continue;
                }
            },
            () = quiet => match leaving {
                None => Closed::Idle,
                // It was told, and does not go.
                Some(why) => return why,
            },
        };
        connection.graceful_shutdown();
        leaving = Some(told);
    }
}

fn begin<A: App>(door: &Arc<Door<A>>, stream: HttpSession, streams: &Arc<Streams>, meter: &Arc<Meter>) {
    let (door, active, meter) = (Arc::clone(door), Active::new(streams), Arc::clone(meter));
    // Ends with the stream: each wait in a session has its end.
    tokio::spawn(async move {
        let accepted =
            Session::accept(ServerSession::new_http2(stream), door.limits, door.closing.clone(), None, |what, head| {
                door.app.malformed(what, head)
            });
        let Ok(mut session) = accepted.await else { return };
        door.app.serve(&mut session).await;
        let (_, why) = session.end().await;
        if why == Closed::ClientGone && meter.is_over() {
            active.0.lost.store(true, Ordering::Release);
        }
        active.0.stalled.store(why == Closed::ClientStalled, Ordering::Release);
    });
}

/// Says to a client that misbehaves that it is over, at once.
async fn send_away(connection: &mut Connection<Stream, bytes::Bytes>, why: Closed) -> Closed {
    connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
    let _ = tokio::time::timeout(PARTING, poll_fn(|cx| connection.poll_closed(cx))).await;
    why
}

fn why_broken(error: &pingora_core::Error, meter: &Meter) -> Closed {
    let cause: Option<&h2::Error> = error.root_cause().downcast_ref();
    match cause {
        // Broken with nothing under way; whoever was lost with it says so.
        Some(cause) if cause.is_io() => Closed::Done,
        Some(cause) if cause.is_remote() => Closed::ClientGone,
        // h2 counts resets; a block without end is its protocol's error.
        Some(cause) if cause.reason() == Some(Reason::ENHANCE_YOUR_CALM) && !meter.is_block_over() => Closed::Flood,
        _ if meter.is_block_over() => Closed::HeadTooLarge,
        _ => Closed::Malformed,
    }
}
