//! Whether the gateway takes work, and how much is under way.
//!
//! Owns the three stages of a process and the count of drivers. Refuses
//! signals and graces (`boot/shutdown.rs`). Invariant: the count falls when a
//! driver is gone, however it went.

use std::sync::Arc;
use tokio::sync::watch;

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
    running: Arc<watch::Sender<usize>>,
}

/// One thing under way; dropping it says that it is over.
#[derive(Debug)]
pub struct Running(Arc<watch::Sender<usize>>);

impl Default for Lifecycle {
    fn default() -> Self {
        Self { stage: Arc::new(watch::Sender::new(Stage::Open)), running: Arc::new(watch::Sender::new(0)) }
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
        self.running.send_modify(|count| *count += 1);
        Running(Arc::clone(&self.running))
    }

    /// How many are under way.
    #[must_use]
    pub fn running(&self) -> usize {
        *self.running.borrow()
    }

    /// Pends until nothing is under way. Cancel-safe.
    pub async fn empty(&self) {
        let mut watching = self.running.subscribe();
        let _ = watching.wait_for(|count| *count == 0).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
