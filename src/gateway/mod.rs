//! The gateway role: one base URL that answers, falls back and explains itself.
pub mod attempt;
pub mod intake;
pub mod journal;
pub mod lifecycle;
pub mod plan;
pub mod provider;
pub mod settings;
