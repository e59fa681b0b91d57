//! How a rope goes slack or snaps: the only list of causes.
//!
//! Owns the closed [`Cause`] enum, the evidence it is derived from, and every
//! consequence of a cause (retry verdict, HTTP status, log level, sentence) as
//! exhaustive matches. Refuses I/O. Invariant: nobody else decides what failed;
//! a new variant breaks the build wherever a consequence is missing.

mod cause;
mod classify;
mod evidence;
mod sentence;
mod verdict;

pub(crate) use cause::closed_enum;
pub use cause::{Cause, Confidence, Phase, Side};
pub use classify::classify;
pub use evidence::{Evidence, Fact, Observation, Raw, RefusalKind, StallPoint};
pub use sentence::{advice, advice_for, client_message, sentence};
pub use verdict::{StatusRule, Verdict, level, status_rule, verdict, waiting_helps};

use serde::{Deserialize, Serialize};

/// What went wrong, once: cause, where on the path, who has to act, how sure we
/// are, and the facts it was read from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    pub cause: Cause,
    pub phase: Phase,
    pub side: Side,
    pub confidence: Confidence,
    /// Facts in the order they were seen; the first one decided.
    pub evidence: Vec<Fact>,
    pub raw: Raw,
}

impl Failure {
    /// The cause whose consequences apply: an error frame is told by the code
    /// inside it (taxonomy, "`error_event` stays the cause ... that one's retry
    /// and breaker verdicts, HTTP status ... apply").
    #[must_use]
    pub fn effective_cause(&self) -> Cause {
        if self.cause == Cause::ErrorEvent {
            self.evidence
                .iter()
                .find_map(|fact| match fact {
                    Fact::MappedTo { cause } => Some(*cause),
                    _ => None,
                })
                .unwrap_or(Cause::ErrorEvent)
        } else {
            self.cause
        }
    }
}
