//! What follows from a cause: try again where, answer with which status, log how.
//!
//! Owns the retry verdicts, statuses and log levels. Refuses status lists: all
//! of it is an exhaustive match over the cause. Invariant: no `_` arm here.

use super::Cause;

/// What may be done after a failure, before it is known what is left to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "five independent letters of the taxonomy, not a state")]
pub struct Verdict {
    /// S: the same target may be tried once more.
    pub same: bool,
    /// F: another target may be tried.
    pub fallback: bool,
    /// W: wait as told, then the same target.
    pub wait: bool,
    /// N: it ends here, under its own cause.
    pub no: bool,
    /// H: a person has to decide.
    pub person: bool,
}

const NONE: Verdict = Verdict { same: false, fallback: false, wait: false, no: false, person: false };
const F: Verdict = Verdict { fallback: true, ..NONE };
const SF: Verdict = Verdict { same: true, fallback: true, ..NONE };
const WF: Verdict = Verdict { wait: true, fallback: true, ..NONE };
const W: Verdict = Verdict { wait: true, ..NONE };
const S: Verdict = Verdict { same: true, ..NONE };
const N: Verdict = Verdict { no: true, ..NONE };
const H: Verdict = Verdict { person: true, ..NONE };

/// The taxonomy's verdict column. `shown` means content was written to a
/// reader; then, as long as nothing can be continued, it ends as it is (R
/// without content is F, "With content: ... something shown is N").
#[must_use]
pub const fn verdict(cause: Cause, shown: bool) -> Verdict {
    let unshown = match cause {
        Cause::InvalidRequest
        | Cause::TooLarge
        | Cause::UnknownRoute
        | Cause::Unauthorized
        | Cause::NotAllowed
        | Cause::NoFitTarget
        | Cause::ClientStalled
        | Cause::HedgeLost
        | Cause::ClientGone
        | Cause::Cancelled
        | Cause::OutputLimit
        | Cause::BadRequest
        | Cause::ContentPolicy
        | Cause::LengthLimited
        | Cause::ContentFiltered
        | Cause::OwnDeadlineTotal
        | Cause::Internal => N,
        Cause::SpawnNotFound
        | Cause::SpawnNotExecutable
        | Cause::SpawnArgsTooBig
        | Cause::WorkdirOrEnvInvalid
        | Cause::OwnDeadlineConnect
        | Cause::OwnDeadlineSend
        | Cause::OwnDeadlineFirstToken
        | Cause::OwnDeadlineIdle
        | Cause::OwnDeadlineProgress
        | Cause::OomKernel
        | Cause::OomApp
        | Cause::ResourceLimit
        | Cause::Dns
        | Cause::ConnectRefused
        | Cause::ConnectUnreachable
        | Cause::Tls
        | Cause::UnsupportedByTarget
        | Cause::Auth
        | Cause::ModelNotFound
        | Cause::ContextTooLong
        | Cause::QuotaExhausted
        | Cause::Overloaded
        | Cause::ProviderTimeout
        | Cause::NotAnApi
        | Cause::ErrorPayload
        | Cause::Reset
        | Cause::EarlyEnd
        | Cause::ErrorEvent
        | Cause::Garbled
        | Cause::TruncatedUnmarked
        | Cause::ConfigChanged => F,
        Cause::KilledTerm
        | Cause::KilledKill
        | Cause::CrashSignal
        | Cause::ExitNonzero
        | Cause::SupervisorLost
        | Cause::ResetBeforeHeaders
        | Cause::ServerError
        | Cause::Empty
        | Cause::SchemaInvalid => SF,
        Cause::RateLimited => WF,
        Cause::SpawnNoResources | Cause::QueueFull | Cause::CircuitOpen | Cause::Draining | Cause::Limited => W,
        Cause::StdinFailed | Cause::Shutdown => S,
        Cause::CheckFailed | Cause::IntentDisputed | Cause::BudgetStop => H,
    };
    if shown { N } else { unshown }
}

/// How the client learns of an exchange that failed with nothing shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusRule {
    /// The target's own status, body and code go back unchanged.
    AsItCame,
    Fixed(u16),
}

/// The taxonomy's "What the client gets". `client_auth`: the target forwards
/// the caller's own credential; `passthrough`: the client named the model.
#[must_use]
pub const fn status_rule(cause: Cause, client_auth: bool, passthrough: bool) -> StatusRule {
    match cause {
        Cause::BadRequest | Cause::ContentPolicy | Cause::UnsupportedByTarget => StatusRule::AsItCame,
        Cause::Auth if client_auth => StatusRule::AsItCame,
        Cause::ModelNotFound if client_auth || passthrough => StatusRule::AsItCame,
        Cause::InvalidRequest | Cause::NoFitTarget | Cause::ContextTooLong => StatusRule::Fixed(400),
        Cause::Unauthorized => StatusRule::Fixed(401),
        Cause::NotAllowed => StatusRule::Fixed(403),
        Cause::UnknownRoute => StatusRule::Fixed(404),
        Cause::ClientStalled => StatusRule::Fixed(408),
        Cause::TooLarge => StatusRule::Fixed(413),
        Cause::RateLimited | Cause::Limited | Cause::QuotaExhausted | Cause::BudgetStop => StatusRule::Fixed(429),
        // Written to the record only; nobody is there to read it.
        Cause::ClientGone => StatusRule::Fixed(499),
        Cause::Internal => StatusRule::Fixed(500),
        Cause::Overloaded
        | Cause::QueueFull
        | Cause::CircuitOpen
        | Cause::Draining
        | Cause::Shutdown
        | Cause::ConfigChanged => StatusRule::Fixed(503),
        Cause::OwnDeadlineConnect
        | Cause::OwnDeadlineSend
        | Cause::OwnDeadlineFirstToken
        | Cause::OwnDeadlineIdle
        | Cause::OwnDeadlineProgress
        | Cause::OwnDeadlineTotal
        | Cause::ProviderTimeout => StatusRule::Fixed(504),
        Cause::SpawnNotFound
        | Cause::SpawnNotExecutable
        | Cause::SpawnArgsTooBig
        | Cause::SpawnNoResources
        | Cause::WorkdirOrEnvInvalid
        | Cause::StdinFailed
        | Cause::HedgeLost
        | Cause::Cancelled
        | Cause::OutputLimit
        | Cause::KilledTerm
        | Cause::KilledKill
        | Cause::OomKernel
        | Cause::OomApp
        | Cause::CrashSignal
        | Cause::ResourceLimit
        | Cause::ExitNonzero
        | Cause::SupervisorLost
        | Cause::Dns
        | Cause::ConnectRefused
        | Cause::ConnectUnreachable
        | Cause::Tls
        | Cause::ResetBeforeHeaders
        | Cause::Auth
        | Cause::ModelNotFound
        | Cause::ServerError
        | Cause::NotAnApi
        | Cause::Reset
        | Cause::EarlyEnd
        | Cause::ErrorEvent
        | Cause::Garbled
        | Cause::Empty
        | Cause::LengthLimited
        | Cause::ContentFiltered
        | Cause::ErrorPayload
        | Cause::SchemaInvalid
        | Cause::TruncatedUnmarked
        | Cause::CheckFailed
        | Cause::IntentDisputed => StatusRule::Fixed(502),
    }
}

/// Whether the same request may succeed later by itself (the taxonomy's list);
/// where it may not, the client is told `x-should-retry: false`.
#[must_use]
pub const fn waiting_helps(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::RateLimited
            | Cause::Limited
            | Cause::Overloaded
            | Cause::QueueFull
            | Cause::CircuitOpen
            | Cause::Draining
            | Cause::Shutdown
            | Cause::ConfigChanged
            | Cause::ServerError
            | Cause::ProviderTimeout
            | Cause::Dns
            | Cause::ConnectRefused
            | Cause::ConnectUnreachable
            | Cause::ResetBeforeHeaders
            | Cause::Reset
            | Cause::EarlyEnd
    )
}

/// The level of the one log line that a failed exchange gets: `error` where an
/// operator has to act, `info` where a client does, `warn` otherwise.
#[must_use]
pub const fn level(cause: Cause) -> tracing::Level {
    match cause.side() {
        super::Side::CallerConfig => tracing::Level::ERROR,
        super::Side::Client => tracing::Level::INFO,
        super::Side::Gateway => match cause {
            Cause::Internal => tracing::Level::ERROR,
            _ => tracing::Level::WARN,
        },
        super::Side::Network | super::Side::Target | super::Side::Unknown => tracing::Level::WARN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_tried_again_once_something_was_shown() {
        for cause in Cause::ALL {
            assert_eq!(verdict(*cause, true), N, "{cause}");
        }
    }

    #[test]
    fn a_timeout_of_ours_never_repeats_the_same_target() {
        for cause in Cause::ALL.iter().filter(|cause| cause.as_str().starts_with("own_deadline")) {
            assert!(!verdict(*cause, false).same, "{cause}");
        }
    }

    #[test]
    fn a_login_that_is_ours_never_asks_the_user_to_log_in() {
        assert_eq!(status_rule(Cause::Auth, false, false), StatusRule::Fixed(502));
        assert_eq!(status_rule(Cause::Auth, true, false), StatusRule::AsItCame);
        assert_eq!(status_rule(Cause::ModelNotFound, false, true), StatusRule::AsItCame);
    }
}
