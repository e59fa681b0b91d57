//! Which words belong to which cause.
//!
//! Owns the exhaustive match; the texts stand in the group files. Each group is
//! a list of constants rather than a match of its own, because a match over part
//! of an enum needs `_`, and `_` is how a new cause would get no words at all.

use super::{answer, door, ours, process, refusal, stopped};
use crate::domain::failure::Cause;

/// The two texts of one cause.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words {
    /// One clause: lowercase start, no full stop, fit for a client's eyes.
    pub what: &'static str,
    /// Imperative, led by who has to act. `X` stands for a name.
    pub change: &'static str,
}

/// What happened, for the person who asks; no address, key or prompt.
#[must_use]
pub const fn sentence(cause: Cause) -> &'static str {
    words(cause).what
}

/// What to change so that it does not happen again, and who has to do it.
#[must_use]
pub const fn advice(cause: Cause) -> &'static str {
    words(cause).change
}

/// The same advice with the names put in: `targets.X` and `providers.X` become
/// the keys to edit. A target made on demand (`provider/model`) has no key of
/// its own, so its `X` stays.
#[must_use]
pub fn advice_for(cause: Cause, target: Option<&str>, provider: Option<&str>) -> String {
    let mut text = advice(cause).to_owned();
    if let Some(name) = target.filter(|name| !name.contains('/')) {
        text = text.replace("targets.X", &format!("targets.{}", key(name)));
    }
    if let Some(name) = provider {
        text = text.replace("providers.X", &format!("providers.{}", key(name)));
    }
    text
}

/// A TOML key: bare where that is allowed, else quoted.
fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(bare) { name.to_owned() } else { format!("{name:?}") }
}

const fn words(cause: Cause) -> Words {
    match cause {
        Cause::InvalidRequest => door::INVALID_REQUEST,
        Cause::TooLarge => door::TOO_LARGE,
        Cause::UnknownRoute => door::UNKNOWN_ROUTE,
        Cause::Unauthorized => door::UNAUTHORIZED,
        Cause::NotAllowed => door::NOT_ALLOWED,
        Cause::NoFitTarget => door::NO_FIT_TARGET,
        Cause::ClientStalled => door::CLIENT_STALLED,
        Cause::SpawnNotFound => process::SPAWN_NOT_FOUND,
        Cause::SpawnNotExecutable => process::SPAWN_NOT_EXECUTABLE,
        Cause::SpawnArgsTooBig => process::SPAWN_ARGS_TOO_BIG,
        Cause::SpawnNoResources => process::SPAWN_NO_RESOURCES,
        Cause::WorkdirOrEnvInvalid => process::WORKDIR_OR_ENV_INVALID,
        Cause::StdinFailed => process::STDIN_FAILED,
        Cause::OwnDeadlineConnect => stopped::OWN_DEADLINE_CONNECT,
        Cause::OwnDeadlineSend => stopped::OWN_DEADLINE_SEND,
        Cause::OwnDeadlineFirstToken => stopped::OWN_DEADLINE_FIRST_TOKEN,
        Cause::OwnDeadlineIdle => stopped::OWN_DEADLINE_IDLE,
        Cause::OwnDeadlineProgress => stopped::OWN_DEADLINE_PROGRESS,
        Cause::OwnDeadlineTotal => stopped::OWN_DEADLINE_TOTAL,
        Cause::HedgeLost => stopped::HEDGE_LOST,
        Cause::ClientGone => stopped::CLIENT_GONE,
        Cause::Cancelled => stopped::CANCELLED,
        Cause::Shutdown => stopped::SHUTDOWN,
        Cause::OutputLimit => stopped::OUTPUT_LIMIT,
        Cause::KilledTerm => process::KILLED_TERM,
        Cause::KilledKill => process::KILLED_KILL,
        Cause::OomKernel => process::OOM_KERNEL,
        Cause::OomApp => process::OOM_APP,
        Cause::CrashSignal => process::CRASH_SIGNAL,
        Cause::ResourceLimit => process::RESOURCE_LIMIT,
        Cause::ExitNonzero => process::EXIT_NONZERO,
        Cause::SupervisorLost => process::SUPERVISOR_LOST,
        Cause::Dns => refusal::DNS,
        Cause::ConnectRefused => refusal::CONNECT_REFUSED,
        Cause::ConnectUnreachable => refusal::CONNECT_UNREACHABLE,
        Cause::Tls => refusal::TLS,
        Cause::ResetBeforeHeaders => refusal::RESET_BEFORE_HEADERS,
        Cause::BadRequest => refusal::BAD_REQUEST,
        Cause::UnsupportedByTarget => refusal::UNSUPPORTED_BY_TARGET,
        Cause::Auth => refusal::AUTH,
        Cause::ModelNotFound => refusal::MODEL_NOT_FOUND,
        Cause::ContextTooLong => refusal::CONTEXT_TOO_LONG,
        Cause::ContentPolicy => refusal::CONTENT_POLICY,
        Cause::RateLimited => refusal::RATE_LIMITED,
        Cause::QuotaExhausted => refusal::QUOTA_EXHAUSTED,
        Cause::Overloaded => refusal::OVERLOADED,
        Cause::ProviderTimeout => refusal::PROVIDER_TIMEOUT,
        Cause::ServerError => refusal::SERVER_ERROR,
        Cause::NotAnApi => refusal::NOT_AN_API,
        Cause::Reset => answer::RESET,
        Cause::EarlyEnd => answer::EARLY_END,
        Cause::ErrorEvent => answer::ERROR_EVENT,
        Cause::Garbled => answer::GARBLED,
        Cause::Empty => answer::EMPTY,
        Cause::LengthLimited => answer::LENGTH_LIMITED,
        Cause::ContentFiltered => answer::CONTENT_FILTERED,
        Cause::ErrorPayload => answer::ERROR_PAYLOAD,
        Cause::SchemaInvalid => answer::SCHEMA_INVALID,
        Cause::TruncatedUnmarked => answer::TRUNCATED_UNMARKED,
        Cause::CheckFailed => answer::CHECK_FAILED,
        Cause::IntentDisputed => answer::INTENT_DISPUTED,
        Cause::QueueFull => ours::QUEUE_FULL,
        Cause::CircuitOpen => ours::CIRCUIT_OPEN,
        Cause::Draining => ours::DRAINING,
        Cause::Limited => ours::LIMITED,
        Cause::BudgetStop => ours::BUDGET_STOP,
        Cause::ConfigChanged => ours::CONFIG_CHANGED,
        Cause::Internal => ours::INTERNAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_cause_has_words_of_its_own() {
        for text in [sentence, advice] {
            let told: HashSet<_> = Cause::ALL.iter().map(|cause| text(*cause)).collect();
            assert_eq!(told.len(), Cause::ALL.len(), "two causes share their words");
        }
    }

    #[test]
    fn words_are_clauses_and_not_labels() {
        for cause in Cause::ALL {
            let what = sentence(*cause);
            assert!(what.starts_with(char::is_lowercase), "{cause}: {what}");
            assert!(!what.ends_with('.') && !what.contains(". "), "{cause}: {what}");
            assert!(what.split(' ').count() >= 5, "{cause}: {what}");
            assert!(!advice(*cause).ends_with('.'), "{cause}");
        }
    }

    #[test]
    fn advice_names_the_key_to_edit() {
        let text = advice_for(Cause::ModelNotFound, Some("gpt-4.1"), Some("openai"));
        assert!(text.contains("`targets.\"gpt-4.1\".model`"), "{text}");
        let text = advice_for(Cause::Auth, Some("openai/gpt-5"), Some("openai"));
        assert!(text.contains("`providers.openai.api_key`"), "{text}");
        let text = advice_for(Cause::ModelNotFound, Some("openai/gpt-5"), None);
        assert!(text.contains("`targets.X.model`"), "{text}");
    }

    #[test]
    fn advice_begins_with_who_has_to_act() {
        const ACTORS: [&str; 4] = ["client: ", "operator: ", "provider: ", "nobody: "];
        for cause in Cause::ALL {
            let text = advice(*cause);
            assert!(ACTORS.iter().any(|actor| text.starts_with(actor)), "{cause}: {text}");
        }
    }

    #[test]
    fn a_deadline_of_ours_says_so_and_a_providers_timeout_says_the_contrary() {
        for cause in Cause::ALL.iter().filter(|cause| cause.as_str().starts_with("own_deadline")) {
            assert!(sentence(*cause).contains(" our "), "{cause}");
        }
        assert!(sentence(Cause::ProviderTimeout).contains("no clock of ours"));
    }
}
