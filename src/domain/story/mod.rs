//! A record told in plain sentences, for a tired person at night.
//!
//! Owns the wording of `tautline explain` and of the console: `tell` keeps the
//! order of the paragraphs, `attempt` tells one try, `advice` what to change,
//! `evidence` puts facts, sides and confidence into words. Refuses I/O and clocks. Invariant: the second
//! line alone answers "what happened, and who has to act".

mod advice;
mod attempt;
mod evidence;
mod tell;

pub use tell::tell;
