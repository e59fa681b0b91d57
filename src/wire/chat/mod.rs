//! The OpenAI chat-completions dialect.
//!
//! Owns the reading of requests, chunks and refusals and the writing of bodies,
//! whole answers and errors. Invariant: a value that is not ours to change is
//! carried as the bytes it came in.

mod ask;
mod assemble;
mod chunk;
mod decode;
mod encode;
mod error;
mod fit;
mod losses;
mod models;
mod read;
#[cfg(test)]
mod round;
mod seal;
mod stream;
mod whole;
mod write;

pub(super) use ask::ask;
pub use assemble::Assembler;
pub use chunk::{read_chunk, read_whole};
pub use decode::{Decoder, decode_whole};
pub use encode::Encoder;
pub use error::{ErrorBody, error_frame};
pub use fit::{Fitted, Misfit, fit, fit_body};
pub use models::{ModelEntry, model, model_list, read_model_list};
pub use read::read_request;
pub(super) use seal::{sealed_in, strip_sealed};
pub use stream::ChunkReader;
pub use whole::chunks_of_whole;
pub use write::write_request;
