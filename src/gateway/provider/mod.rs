//! How a target is reached: connections, clocks, keys, lists of models.
//!
//! Owns everything about talking to a provider that is no business rule.
//! Invariant: what happens at one target never delays another, even on the
//! same host; only a pooled key's quota and login are shared.

pub mod catalog;
pub mod pace;
pub mod pool;
pub mod transport;
