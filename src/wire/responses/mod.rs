//! OpenAI's responses dialect.
//!
//! Owns the reading of requests, frames and answers and the writing of them.
//! Refuses policy. Invariant: a value that is not ours to change is carried as
//! the bytes it came in.

mod ask;

pub(super) use ask::ask;
