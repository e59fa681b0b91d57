//! The simulator's handle, its listener and its connections.
//!
//! Owns starting, accepting and stopping. Refuses to read or word anything
//! (`exchange.rs`). Invariant: one task per connection, ended by its peer, its
//! script, or the drop of the last [`Sim`].

use super::conn::{Conn, Running};
use super::exchange::{Done, Shared, exchange};
use super::play::Next;
use super::seen::Seen;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

const CONNECTIONS_MAX: usize = 16_384;
/// How long an answered connection with an unread upload stays open.
const LINGER: Duration = Duration::from_secs(1);
/// After an accept that failed (no descriptors left, as a rule).
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// What a simulator is told once.
#[derive(Debug, Clone)]
pub struct SimSettings {
    /// Requests remembered; the oldest go first.
    pub seen_max: usize,
    /// Model names listed beside `sim`, `sim-small` and `sim-large`.
    pub names: Vec<String>,
    /// If there are any, the caller's key has to be one of them, else 401.
    pub api_keys: Vec<String>,
    /// What signatures of thinking and encrypted reasoning are made from: two
    /// simulators with different texts are two vendors.
    pub signing: String,
}

impl Default for SimSettings {
    fn default() -> Self {
        Self { seen_max: 10_000, names: Vec::new(), api_keys: Vec::new(), signing: "tautline-sim".to_owned() }
    }
}

/// A running simulator. Clones are handles of the same one; it stops with
/// [`Sim::stop`] or when the last handle is dropped.
#[derive(Clone)]
pub struct Sim {
    addr: SocketAddr,
    shared: Arc<Shared>,
    running: Arc<watch::Sender<Running>>,
    /// Closed by the accept loop once its listener is gone.
    listening: watch::Receiver<()>,
}

impl Sim {
    /// Serves on a listener that is bound already. Needs a tokio runtime.
    ///
    /// # Panics
    /// If the listener has no local address, which a bound one has.
    pub fn start(listener: TcpListener, settings: SimSettings) -> Self {
        let addr = listener.local_addr().expect("a bound listener has an address");
        let running = Arc::new(watch::Sender::new(Running::Listening));
        let (guard, listening) = watch::channel(());
        let shared = Arc::new(Shared::new(settings));
        // Ended by stop, by stop_listening, or by the drop of the last handle.
        tokio::spawn(accept(listener, Arc::clone(&shared), running.subscribe(), guard));
        Self { addr, shared, running, listening }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What a client takes for its base URL, `/v1` included.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.addr)
    }

    /// A snapshot of the log, in order of arrival.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.log.snapshot()
    }

    /// Waits until at least so many logged requests satisfy `pred`. Unbounded:
    /// the caller puts its own limit around it. Cancel safe.
    pub async fn wait_seen(&self, at_least: usize, pred: impl Fn(&Seen) -> bool) {
        self.shared.log.wait(at_least, pred).await;
    }

    /// Closes the listener (`Fault::Refuse`); on return connecting is refused.
    /// Connections that exist are served on.
    pub async fn stop_listening(&self) {
        self.advance(Running::Closed);
        // The error is the message: the loop has dropped its end.
        let _ = self.listening.clone().changed().await;
    }

    /// Ends everything; connections are dropped where they stand.
    pub fn stop(&self) {
        self.advance(Running::Stopped);
    }

    fn advance(&self, to: Running) {
        self.running.send_if_modified(|now| {
            let further = to > *now;
            *now = to.max(*now);
            further
        });
    }
}

async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    mut running: watch::Receiver<Running>,
    guard: watch::Sender<()>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let arrival = async {
            let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
            listener.accept().await.map(|(stream, _)| (stream, place))
        };
        let arrived = tokio::select! {
            arrived = arrival => arrived,
            _ = running.wait_for(|now| *now > Running::Listening) => break,
        };
        let Ok((stream, place)) = arrived else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // Without it frames wait for acknowledgements; it fails only on a dead socket.
        let _ = stream.set_nodelay(true);
        let conn = Conn::new(stream, running.clone());
        let shared = Arc::clone(&shared);
        // Ended by its peer, its script, or the simulator's stop.
        tokio::spawn(async move {
            converse(conn, &shared).await;
            drop(place);
        });
    }
    // In this order: whoever waits for the guard may rely on a refused connect.
    drop(listener);
    drop(guard);
}

async fn converse(mut conn: Conn, shared: &Shared) {
    loop {
        let Done { next, ended } = exchange(&mut conn, shared).await;
        let note = || ended.map_or((), |(id, ended)| shared.log.ended(id, ended));
        match next {
            Next::KeepAlive => note(),
            Next::Reset => {
                conn.reset();
                return note();
            }
            Next::Fin => {
                conn.finish().await;
                return note();
            }
            Next::Linger => {
                conn.finish().await;
                note();
                return conn.linger(LINGER).await;
            }
        }
    }
}
