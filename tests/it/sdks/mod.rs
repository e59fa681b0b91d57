//! The vendors' packages, each against targets of all three dialects, with
//! nothing but the address changed: what they get (`answers`), how they go on
//! over a change of targets (`turns`), what they raise (`errors`), what they send
//! and that it comes through unchanged (`wire`), and the frameworks over them (`frames`).

mod answers;
mod errors;
mod frames;
mod package;
mod turns;
mod wire;
