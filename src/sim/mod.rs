//! The simulated provider: real sockets, the vendors' dialects, every way to fail.
//!
//! Owns a server that parses raw sockets itself, because it must be able to
//! break framing, its deterministic answers, its faults, and the table of what a
//! gateway has to call each of them. Refuses to know the gateway. Invariant: the
//! text of an answer depends on prompt and length alone, in every dialect.
//!
//! `server.rs` accepts, `exchange.rs` serves one request: `request.rs` reads it,
//! `route.rs` says what is asked of, `script.rs` what is wanted. `prepare.rs`
//! checks it (`strict.rs`), understands it (`ask.rs`, `walk.rs`) and composes one
//! answer (`answer.rs`), which a renderer behind `voice.rs` words: `chat.rs`,
//! `completions.rs`, `messages.rs`, `responses.rs`. `play.rs`, `refusal.rs`,
//! `stream.rs` and `whole.rs` play it over `conn.rs`; `seen.rs` remembers.

mod answer;
mod ask;
mod chat;
mod completions;
mod conn;
mod dialect;
mod echo;
mod embeddings;
mod exchange;
mod fault;
mod messages;
mod models;
mod play;
mod prepare;
mod refusal;
mod request;
mod responses;
mod route;
mod script;
mod seal;
mod seen;
mod server;
mod stream;
mod strict;
mod successor;
mod table;
mod text;
mod voice;
mod walk;
mod whole;

pub use dialect::Dialect;
pub use fault::Fault;
pub use seen::{Ended, Seen};
pub use server::{Sim, SimSettings};
pub use table::{Expected, expected, falls_back};
pub use text::{answer, answer_text, json_answer, tool_arguments};
