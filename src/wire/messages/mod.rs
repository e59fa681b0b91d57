//! Anthropic's messages dialect.
//!
//! Owns the reading of requests, frames and answers and the writing of them.
//! Refuses policy. Invariant: a value that is not ours to change is carried as
//! the bytes it came in.

mod ask;
mod assemble;
#[cfg(test)]
mod corpus;
mod decode;
mod encode;
mod error;
mod frame;
mod ids;
mod models;
mod object;
mod partial;
mod read;
mod seal;
mod stop;
mod traits;
mod whole;
mod write;

pub(super) use ask::ask;
pub use assemble::Assembler;
pub use decode::{Decoder, decode_whole};
pub use encode::Encoder;
pub use error::{error_body, error_frames};
pub use frame::{FrameReader, read_whole};
pub use models::{model_list, model_object};
pub use read::read_request;
pub(in crate::wire) use seal::is_abroad;
pub use whole::frames_of_whole;
pub use write::write_request;
