//! The OpenAI chat-completions dialect.
//!
//! Owns the reading of requests, chunks and refusals and the writing of bodies,
//! whole answers and errors. Invariant: a value that is not ours to change is
//! carried as the bytes it came in.

mod assemble;
mod chunk;
mod error;
mod models;
mod refusal;
mod request;
mod stream;
mod whole;

pub use assemble::Assembler;
pub use chunk::{ChunkFacts, Finish, WholeFacts, read_chunk, read_whole};
pub use error::{ErrorBody, error_frame};
pub use models::{ModelEntry, model_list, read_model_list};
pub use refusal::{ErrorFields, Refusal, duration_text_ms, read_error_fields, read_refusal};
pub use request::{ChatRequest, Invalid, Need, Rewrite, Rewritten};
pub use stream::ChunkReader;
pub use whole::chunks_of_whole;
