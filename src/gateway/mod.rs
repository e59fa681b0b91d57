//! The gateway role: one base URL that answers, falls back and explains itself.
//!
//! The path of a request, a verb and a file each:
//! `accept → admit → intake → plan → attempt → relay → settle`. Invariant: it
//! has one way out, `settle`.

pub mod access;
pub mod admit;
pub mod attempt;
pub mod bodies;
pub mod door;
pub mod events;
pub mod exchange;
pub mod feedback;
pub mod forwarded;
pub mod intake;
pub mod journal;
pub mod kept;
pub mod lifecycle;
pub mod makers;
pub mod passage;
pub mod plan;
pub mod provider;
pub mod recall;
pub mod record;
pub mod relay;
pub mod settings;
pub mod settle;
pub mod spans;
pub mod state;
