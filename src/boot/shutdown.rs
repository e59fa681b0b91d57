//! Who stops first, who is waited for, how long.

use crate::boot::roles::Running;
use anyhow::{Context as _, Result};
use sd_notify::NotifyState;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A person at the terminal waits less long than an orchestrator.
const INTERRUPT_GRACE: Duration = Duration::from_secs(5);

/// The signals that a process listens to. Taken before its addresses are told:
/// whoever reads them may send one at once.
pub struct Signals {
    term: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Begins to listen.
    ///
    /// # Errors
    /// When the process may not.
    pub fn listen() -> Result<Self> {
        Ok(Self {
            term: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }
}

/// Runs until a signal says otherwise: TERM drains within the configured
/// grace, INT within 5 s, a second one ends the waiting; HUP reloads.
pub async fn run_until_signalled(running: Running, signals: Signals) {
    let Signals { mut term, mut interrupt, mut hangup } = signals;
    tell(&[NotifyState::Ready]);
    let grace = loop {
        tokio::select! {
            _ = term.recv() => break running.gateway.settings().bounds.drain_grace,
            _ = interrupt.recv() => break INTERRUPT_GRACE.min(running.gateway.settings().bounds.drain_grace),
            _ = hangup.recv() => {
                // Said in the log, either way; the signals that end the process wait for it no longer than a secret's command.
                tell(&[NotifyState::Reloading, NotifyState::monotonic_usec_now().unwrap_or(NotifyState::MonotonicUsec(0))]);
                let _ = running.reloader.reload().await;
                tell(&[NotifyState::Ready]);
            }
        }
    };
    tell(&[NotifyState::Stopping]);
    tracing::info!(target: "tautline::boot", grace_s = grace.as_secs(), running = running.gateway.lifecycle.running(), "draining");
    let hurry = async {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    running.stop(grace, hurry).await;
    tracing::info!(target: "tautline::boot", "stopped");
}

/// Tells systemd, where it asked (`Type=notify`, sd_notify(3)); nobody else.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(target: "tautline::boot", %error, "the service manager was not told");
    }
}

fn listen(kind: SignalKind) -> Result<Signal> {
    signal(kind).context("failed to listen to signals")
}
