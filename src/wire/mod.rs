//! Bytes to meaning and back, without I/O.
//!
//! Owns server-sent events, strict JSON, the dialects (chat, messages,
//! responses) with the model that translation goes through, what refusals mean,
//! and the codings of bodies. Refuses
//! sockets, clocks and policy. Invariant: no input, however hostile, makes it
//! panic or hold more than its bound.

pub mod canon;
pub mod chat;
pub mod dialect;
mod efforts;
pub mod error;
pub mod facts;
pub mod frames;
pub mod fuzzed;
pub mod inflate;
pub mod messages;
mod plain;
pub mod redact;
pub mod refusal;
pub mod request;
pub mod responses;
pub mod resume;
pub mod seals;
mod searches;
pub mod sse;
pub mod strict;
mod strict_schema;
pub mod tool_names;
pub mod translate;
