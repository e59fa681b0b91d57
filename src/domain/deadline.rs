//! Clocks and where their limits come from.
//!
//! Owns the names of the clocks; refuses to keep time (that is
//! `gateway/provider/pace.rs`). Invariant: one clock, one cause.

use crate::domain::failure::Cause;
use crate::domain::failure::closed_enum;

closed_enum! {
    /// A clock; each is armed in one phase only and is a cause of its own.
    Clock {
        /// DNS, TCP, TLS, stream slot.
        Connect => "connect",
        /// No request byte accepted for this long.
        Send => "send",
        /// From the last request byte to the first content.
        FirstToken => "first_token",
        /// After the first content: no byte for this long.
        Idle => "idle",
        /// After the first content: bytes, but no content for this long.
        Progress => "progress",
        /// From accept to the end of the exchange.
        Total => "total",
    }
}
closed_enum! {
    /// What a limit does when it is reached. Soft ones, which end nothing, come later.
    LimitKind {
        /// The attempt is ended.
        Hard => "hard",
    }
}
closed_enum! {
    /// Who set the limit that a clock fired at.
    LimitSource {
        Configured => "configured",
        Learned => "learned",
        Client => "client",
        Budget => "budget",
    }
}

impl Clock {
    /// The cause of an attempt that this clock ended.
    #[must_use]
    pub const fn cause(self) -> Cause {
        match self {
            Self::Connect => Cause::OwnDeadlineConnect,
            Self::Send => Cause::OwnDeadlineSend,
            Self::FirstToken => Cause::OwnDeadlineFirstToken,
            Self::Idle => Cause::OwnDeadlineIdle,
            Self::Progress => Cause::OwnDeadlineProgress,
            Self::Total => Cause::OwnDeadlineTotal,
        }
    }
}
