//! How an answer that broke off is carried on by somebody else.
//!
//! Owns what was delivered (`transcript`), how the rest is asked for (`ask`), the
//! place where the new words join (`seam`), and which events of the successor go
//! on (`join`). Refuses to guess: what cannot be placed is refused. Knows no
//! target. Invariant: what the client has in the end has no lost and no doubled
//! character.

mod ask;
mod join;
mod normal;
mod seam;
mod transcript;

pub use ask::{Continuing, PLEA, Prefill, continued};
pub use join::{Delivered, How, Join};
pub use seam::{Fit, HELD_CHARS_MAX, Joined, Kind, Seam, Verdict};
pub(in crate::wire) use transcript::Identity;
pub use transcript::{Lost, Transcript};
