//! The OpenAI chat-completions dialect.
//!
//! Owns the reading of requests, chunks and refusals and the writing of bodies,
//! whole answers and errors. Invariant: a value that is not ours to change is
//! carried as the bytes it came in.

mod ask;
mod assemble;
mod chunk;
mod error;
mod models;
mod stream;
mod whole;

pub(super) use ask::ask;
pub use assemble::Assembler;
pub use chunk::{read_chunk, read_whole};
pub use error::{ErrorBody, error_frame};
pub use models::{ModelEntry, model_list, read_model_list};
pub use stream::ChunkReader;
pub use whole::chunks_of_whole;
