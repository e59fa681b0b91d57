//! The simulated provider: real sockets, `OpenAI`'s dialect, every way to fail.
//!
//! Owns a server that parses raw sockets itself, because it must be able to
//! break framing, its deterministic answers, its faults, and the table of what a
//! gateway has to call each of them. Refuses to know the gateway. Invariant: the
//! text of an answer depends on prompt and length alone.
//!
//! `server.rs` accepts, `exchange.rs` serves one request: `request.rs` reads it,
//! `script.rs` says what is wanted, `chat.rs` words it, `play.rs`, `refusal.rs`,
//! `stream.rs` and `whole.rs` play it over `conn.rs`; `seen.rs` remembers.

mod chat;
mod conn;
mod exchange;
mod fault;
mod play;
mod refusal;
mod request;
mod script;
mod seen;
mod server;
mod stream;
mod table;
mod text;
mod whole;

pub use fault::Fault;
pub use seen::{Ended, Seen};
pub use server::{Sim, SimSettings};
pub use table::{Expected, expected, falls_back};
pub use text::{answer, answer_text, json_answer, tool_arguments};
