//! What must hold of every decoder, whatever bytes it is given.
//!
//! Owns one function for each fuzz target of `fuzz/`, which panics where an
//! invariant is broken; tests/it/fuzzed.rs replays the corpora through the same
//! functions on every run. Refuses to be used by the gateway: nothing here serves
//! a request. Invariant: a function returns for every input, in time and memory
//! that grow with the input's length alone.

mod bytes;
mod held;
mod mutate;
mod request;
mod stream;
mod whole;

pub use bytes::{error, inflate, seals, sse};
pub use mutate::{mutated, mutated_values};
pub use request::{request_chat, request_messages, request_plain, request_responses};
pub use stream::{stream_chat, stream_messages, stream_responses};
pub use whole::{whole_chat, whole_messages, whole_responses};

/// What a target is run with: any bytes.
pub type Target = fn(&[u8]);

/// The targets by the names of their corpora.
pub const TARGETS: [(&str, Target); 14] = [
    ("sse", sse),
    ("request_chat", request_chat),
    ("request_messages", request_messages),
    ("request_responses", request_responses),
    ("request_plain", request_plain),
    ("stream_chat", stream_chat),
    ("stream_messages", stream_messages),
    ("stream_responses", stream_responses),
    ("whole_chat", whole_chat),
    ("whole_messages", whole_messages),
    ("whole_responses", whole_responses),
    ("error", error),
    ("inflate", inflate),
    ("seals", seals),
];
