//! OpenAI's responses dialect.
//!
//! Owns the reading of requests, frames and answers and the writing of them.
//! Refuses policy. Invariant: a value that is not ours to change is carried as
//! the bytes it came in.

mod ask;
mod assemble;
mod client_tools;
mod decode;
mod encode;
mod error;
mod frame;
mod json_out;
mod kept;
mod names;
mod read;
mod reading;
mod seal;
mod usage;
mod whole;
mod write;

pub(super) use ask::ask;
pub use assemble::Assembler;
pub use decode::{Decoder, decode_whole};
pub use encode::Encoder;
pub(in crate::wire) use encode::is_minted;
pub use error::{Tail, error_body, error_frames};
pub use frame::{FrameReader, read_whole};
pub use kept::{expand, input_items, output_items};
pub use read::read_request;
pub(in crate::wire) use seal::is_abroad;
pub use whole::frames_of_whole;
pub use write::write_request;
