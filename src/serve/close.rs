//! Why connections end.

use crate::domain::failure::closed_enum;
use crate::telemetry::Label;

closed_enum! {
    /// The end of a connection, for those where no record can tell it.
    Closed {
        /// It was one too many.
        ConnectionsMax => "connections_max",
        /// Kept, and no further request came.
        Idle => "idle",
        /// No TLS came about: it stalled, or it was none.
        Handshake => "handshake",
        HeadStalled => "head_stalled",
        HeadTooLarge => "head_too_large",
        Malformed => "malformed",
        /// HTTP/2 frames that ask for nothing, or resets, without end.
        Flood => "flood",
        BodyStalled => "body_stalled",
        BodyTooLarge => "body_too_large",
        /// The client closed within a request or an answer.
        ClientGone => "client_gone",
        /// The client took nothing of its answer.
        ClientStalled => "client_stalled",
        Draining => "draining",
        /// Kept for `connection_age_max`.
        Aged => "aged",
        /// All that was asked was answered, or nothing was asked.
        Done => "done",
        /// A task of ours panicked.
        Internal => "internal",
    }
}

impl Label for Closed {
    fn label(&self) -> &str {
        self.as_str()
    }
}
