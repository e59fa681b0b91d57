//! Bytes to meaning and back, without I/O.
//!
//! Owns server-sent events, strict JSON, and the OpenAI chat dialect: what its
//! requests ask for, what its chunks hold, what its refusals mean, and the
//! codings of bodies. Refuses
//! sockets, clocks and policy. Invariant: no input, however hostile, makes it
//! panic or hold more than its bound.

pub mod chat;
pub mod inflate;
pub mod redact;
pub mod sse;
pub mod strict;
