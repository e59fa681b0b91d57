//! Whether the gateway takes work, and how much is under way.
//!
//! Owns the three stages of a process and the count of drivers. Refuses
//! signals and graces (`boot/shutdown.rs`). Invariant: the count falls when a
//! driver is gone, however it went.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Notify, watch};

/// Where a process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Open,
    /// Nothing new is taken; what runs goes on.
    Draining,
    /// The grace is over: what runs ends as `shutdown`.
    Ending,
}

/// Shared by everyone who has to know. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    stage: Arc<watch::Sender<Stage>>,
    running: Arc<Count>,
}

/// How many are under way, and who waits for the last one.
#[derive(Debug, Default)]
struct Count {
    running: AtomicUsize,
    emptied: Notify,
}

/// One thing under way; dropping it says that it is over.
#[derive(Debug)]
pub struct Running(Arc<Count>);

impl Default for Lifecycle {
    fn default() -> Self {
        Self { stage: Arc::new(watch::Sender::new(Stage::Open)), running: Arc::default() }
    }
}

impl Lifecycle {
    #[must_use]
    pub fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// Goes on to a later stage; never back.
    pub fn advance(&self, stage: Stage) {
        self.stage.send_if_modified(|current| {
            let later = stage > *current;
            *current = stage.max(*current);
            later
        });
    }

    /// Pends until `stage` or a later one is reached. Cancel-safe.
    pub async fn reached(&self, stage: Stage) {
        let mut watching = self.stage.subscribe();
        // The sender lives in `self`, so this cannot fail.
        let _ = watching.wait_for(|current| *current >= stage).await;
    }

    /// Counts one more until the guard is dropped.
    #[must_use]
    pub fn enter(&self) -> Running {
        self.running.running.fetch_add(1, Ordering::SeqCst);
        Running(Arc::clone(&self.running))
    }

    /// How many are under way.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running.running.load(Ordering::SeqCst)
    }

    /// Pends until nothing is under way. Cancel-safe.
    pub async fn empty(&self) {
        loop {
            // Before the look, so that the last one cannot go unheard between the two.
            let emptied = self.running.emptied.notified();
            if self.running() == 0 {
                return;
            }
            emptied.await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.running.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.emptied.notify_waiters();
        }
    }
}
