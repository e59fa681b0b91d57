//! SQLite in WAL mode: open, migrate, hand out connections.
//!
//! Refuses to know any role's tables: migrations are handed in. Invariant: a
//! database that was opened has every migration it was handed.

mod open;

pub use open::{OpenError, Store};
