//! What a gateway must call each fault.
//!
//! Owns the table fault → (cause, phase, side). Written by hand from section 14
//! of the design and from the failure taxonomy; it refuses to look at
//! `classify` or `Cause::side`, because it is what they are tested against.
//! Invariant: `None` means that nothing failed.

use super::fault::Fault;
use crate::domain::failure::{Cause, Phase, Side};

/// How an attempt that met a fault has to be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    pub cause: Cause,
    pub phase: Phase,
    pub side: Side,
}

/// The row of one fault for the *first* target of an itinerary, in the client's
/// own dialect. `after`: content deltas sent before it. `stream`: the gateway
/// asked upstream with `stream: true`. An unstreamed body is content only once
/// it is whole, so all that breaks inside it breaks before the first token.
///
/// One table for all dialects: a vendor words its refusal in its own way (a spent
/// balance is a 400 with Anthropic), breaks its stream with its own event, and means
/// the same. Where a fault has no meaning in a dialect ([`super::Dialect::applies`])
/// the row is not asked for, because nothing fails.
///
/// `stream_unsupported` and `stream_options_unsupported` are `None`: the same
/// request is sent again without, and that one is answered.
#[must_use]
pub const fn expected(fault: Fault, after: u64, stream: bool) -> Option<Expected> {
    let body = if stream && after > 0 { Phase::Stream } else { Phase::FirstToken };
    let streamed = if stream { Phase::Stream } else { Phase::FirstToken };
    let silent = if stream && after > 0 { Cause::OwnDeadlineIdle } else { Cause::OwnDeadlineFirstToken };
    let babbling = if stream && after > 0 { Cause::OwnDeadlineProgress } else { Cause::OwnDeadlineFirstToken };
    let (cause, phase, side) = match fault {
        Fault::MissingDone | Fault::NoDoneHold | Fault::StreamUnsupported | Fault::StreamOptionsUnsupported => {
            return None;
        }
        // Frames exist in streams only; unstreamed these two answer well.
        Fault::HugeFrame | Fault::FloodHold if !stream => return None,
        // An error frame exists in streams only too, but its object has a place in a body.
        Fault::ErrorEvent | Fault::ErrorEventOverloaded if !stream => (Cause::ErrorPayload, Phase::End, Side::Target),
        Fault::Garbled | Fault::HalfUtf8 if !stream => (Cause::Garbled, Phase::End, Side::Target),

        Fault::Refuse => (Cause::ConnectRefused, Phase::Connect, Side::Target),
        Fault::HangHeaders => (Cause::OwnDeadlineFirstToken, Phase::Headers, Side::Gateway),
        Fault::ResetHeaders | Fault::CloseHeaders | Fault::HalfHead => {
            (Cause::ResetBeforeHeaders, Phase::Headers, Side::Network)
        }

        Fault::Status401 | Fault::Status403 => (Cause::Auth, Phase::Headers, Side::CallerConfig),
        Fault::Status402 | Fault::Quota => (Cause::QuotaExhausted, Phase::Headers, Side::CallerConfig),
        Fault::Status404 => (Cause::ModelNotFound, Phase::Headers, Side::CallerConfig),
        Fault::Status408 | Fault::Status504 => (Cause::ProviderTimeout, Phase::Headers, Side::Target),
        Fault::Status429 => (Cause::RateLimited, Phase::Headers, Side::Target),
        Fault::Status500 | Fault::Status502 | Fault::Html502 => (Cause::ServerError, Phase::Headers, Side::Target),
        Fault::Status503 | Fault::Status529 | Fault::EarlyAnswer => (Cause::Overloaded, Phase::Headers, Side::Target),
        Fault::Redirect | Fault::Html => (Cause::NotAnApi, Phase::Headers, Side::CallerConfig),
        Fault::ContextLength => (Cause::ContextTooLong, Phase::Headers, Side::Client),
        Fault::Unsupported => (Cause::UnsupportedByTarget, Phase::Headers, Side::CallerConfig),
        Fault::Policy => (Cause::ContentPolicy, Phase::Headers, Side::Client),
        Fault::BadRequest => (Cause::BadRequest, Phase::Headers, Side::Client),

        Fault::HangAfterHeaders | Fault::CommentsForever | Fault::Trickle => {
            (Cause::OwnDeadlineFirstToken, Phase::FirstToken, Side::Gateway)
        }
        Fault::FloodHold => (Cause::Garbled, Phase::FirstToken, Side::Target),
        Fault::Stall => (silent, body, Side::Gateway),
        Fault::StallComments | Fault::StallTrickle => (babbling, body, Side::Gateway),
        Fault::Reset => (Cause::Reset, body, Side::Network),
        Fault::EarlyEnd | Fault::CutChunked | Fault::WrongLength => (Cause::EarlyEnd, body, Side::Target),
        Fault::ErrorEvent | Fault::ErrorEventOverloaded => (Cause::ErrorEvent, body, Side::Target),
        Fault::Garbled | Fault::HalfUtf8 | Fault::BadChunk | Fault::HugeFrame => (Cause::Garbled, body, Side::Target),
        // Both have sent content by then, whatever `after` says.
        Fault::ToolCut => (Cause::EarlyEnd, streamed, Side::Target),
        Fault::Endless => (Cause::OutputLimit, streamed, Side::CallerConfig),

        Fault::Empty => (Cause::Empty, Phase::End, Side::Target),
        Fault::ErrorPayload => (Cause::ErrorPayload, Phase::End, Side::Target),
    };
    Some(Expected { cause, phase, side })
}

/// Whether the taxonomy's verdict for the fault, nothing shown, contains S, F or
/// W (R without content counts as F): a second target saves the exchange.
#[must_use]
pub const fn falls_back(fault: Fault) -> bool {
    match fault {
        // No failure, so there is nothing to fall back from.
        Fault::MissingDone
        | Fault::NoDoneHold
        | Fault::StreamUnsupported
        | Fault::StreamOptionsUnsupported
        // N.
        | Fault::Policy
        | Fault::BadRequest
        | Fault::Endless => false,
        Fault::Refuse
        | Fault::HangHeaders
        | Fault::HangAfterHeaders
        | Fault::CommentsForever
        | Fault::Trickle
        | Fault::Status401
        | Fault::Status402
        | Fault::Status403
        | Fault::Status404
        | Fault::Status408
        | Fault::Status429
        | Fault::Status500
        | Fault::Status502
        | Fault::Status503
        | Fault::Status504
        | Fault::Status529
        | Fault::Quota
        | Fault::Redirect
        | Fault::Html
        | Fault::Html502
        | Fault::Empty
        | Fault::ErrorPayload
        | Fault::EarlyAnswer
        | Fault::ContextLength
        | Fault::Unsupported
        | Fault::ErrorEvent
        | Fault::ErrorEventOverloaded
        | Fault::Reset
        | Fault::ResetHeaders
        | Fault::CloseHeaders
        | Fault::HalfHead
        | Fault::EarlyEnd
        | Fault::CutChunked
        | Fault::Stall
        | Fault::StallComments
        | Fault::StallTrickle
        | Fault::Garbled
        | Fault::HalfUtf8
        | Fault::WrongLength
        | Fault::ToolCut
        | Fault::BadChunk
        | Fault::HugeFrame
        | Fault::FloodHold => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::verdict;

    #[test]
    fn a_stall_is_named_by_the_clock_that_has_to_fire() {
        let cause = |fault, after| expected(fault, after, true).map(|row| (row.cause, row.phase));
        assert_eq!(cause(Fault::Stall, 0), Some((Cause::OwnDeadlineFirstToken, Phase::FirstToken)));
        assert_eq!(cause(Fault::Stall, 4), Some((Cause::OwnDeadlineIdle, Phase::Stream)));
        assert_eq!(cause(Fault::StallComments, 4), Some((Cause::OwnDeadlineProgress, Phase::Stream)));
    }

    #[test]
    fn what_did_not_fail_has_no_row_and_no_fallback() {
        for fault in Fault::ALL.iter().copied().filter(|fault| expected(*fault, 0, true).is_none()) {
            assert!(!falls_back(fault), "{fault}");
        }
    }

    #[test]
    fn sides_and_fallbacks_written_here_agree_with_those_of_the_domain() {
        for fault in Fault::ALL.iter().copied() {
            for (after, stream) in [(0, true), (9, true), (0, false), (9, false)] {
                let Some(row) = expected(fault, after, stream) else {
                    continue;
                };
                let verdict = verdict(row.cause, false);
                assert_eq!(row.side, row.cause.side(), "{fault}");
                assert_eq!(falls_back(fault), verdict.same || verdict.fallback || verdict.wait, "{fault}");
            }
        }
    }
}
