//! The ground floor: words every room shares.
//!
//! Owns the vocabulary of design and taxonomy as types: failures, clocks, ids,
//! records, usage. Refuses tokio, sockets, files and clocks: whatever depends on
//! time takes `now`. Invariant: everything here is a pure function of its input.

pub mod backoff;
pub mod deadline;
pub mod failure;
pub mod ids;
pub mod quantity;
pub mod record;
pub mod secret;
pub mod story;
pub mod task;
pub mod usage;
