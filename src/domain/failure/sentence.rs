//! What a cause says in plain words, and what to do about it.

use super::Cause;

/// What happened, for the person who asks; no address, key or prompt.
#[must_use]
pub const fn sentence(cause: Cause) -> &'static str {
    cause.as_str()
}

/// What to change so that it does not happen again.
#[must_use]
pub const fn advice(cause: Cause) -> &'static str {
    cause.as_str()
}
