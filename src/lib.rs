//! Tautline: an observability-first, OpenAI-compatible model gateway.
//!
//! The floors, top to bottom; an import may only go down, and rooms on one
//! floor do not know each other (`tests/tidy.rs` enforces it):
//!
//! 4. `boot`: composes a process
//! 3. `gateway`, `sim`: roles
//! 2. `serve`: doors
//! 1. `wire`, `telemetry`, `store`: tools
//! 0. `domain`: the vocabulary, pure

#![forbid(unsafe_code)]

pub mod boot;
pub mod domain;
pub mod gateway;
pub mod serve;
pub mod sim;
pub mod store;
pub mod telemetry;
pub mod wire;
