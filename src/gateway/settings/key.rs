//! A key that may change while the process runs.

use crate::domain::secret::Secret;
use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// A key that failed its login is not asked for anew more often than this.
const RENEW_MIN: Duration = Duration::from_secs(30);

/// What a secret reference gave.
#[derive(Debug, Clone)]
pub struct Resolved {
    pub secret: Secret<String>,
    /// The reference can be asked again, and should be after this.
    pub renew_after: Option<Duration>,
}

/// One key of a provider.
#[derive(Debug)]
pub struct Key {
    reference: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    secret: Secret<String>,
    asked: Instant,
    /// When it should be asked for anew; `None`: it cannot be.
    due: Option<Instant>,
}

impl Key {
    /// A key that was resolved from `reference` at `now`.
    #[must_use]
    pub fn new(reference: String, resolved: Resolved, now: Instant) -> Self {
        let due = resolved.renew_after.map(|after| now + after);
        Self { reference, state: Mutex::new(State { secret: resolved.secret, asked: now, due }) }
    }

    /// Where it comes from; never the key itself.
    #[must_use]
    pub fn reference(&self) -> &str {
        &self.reference
    }

    /// The reference as it may be logged: of a command the program alone.
    #[must_use]
    pub fn shown(&self) -> &str {
        self.reference.split(' ').next().unwrap_or_default()
    }

    /// The key as it is now.
    #[must_use]
    pub fn secret(&self) -> Secret<String> {
        self.state.lock().secret.clone()
    }

    /// When it should be asked for anew.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.state.lock().due
    }

    /// Its login failed: it should be asked for anew soon. Returns whether that
    /// changed when it is due.
    pub fn spoil(&self, now: Instant) -> bool {
        let mut state = self.state.lock();
        let soon = now.max(state.asked + RENEW_MIN);
        let earlier = state.due.is_some_and(|due| soon < due);
        if earlier {
            state.due = Some(soon);
        }
        earlier
    }

    /// Takes what the reference gave anew; a failure keeps the old key and
    /// tries again after a while.
    pub fn renew(&self, resolved: Option<Resolved>, now: Instant) {
        let mut state = self.state.lock();
        state.asked = now;
        match resolved {
            Some(resolved) => {
                state.due = resolved.renew_after.map(|after| now + after.max(RENEW_MIN));
                state.secret = resolved.secret;
            }
            None => state.due = Some(now + RENEW_MIN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_due_by_its_life_or_soon_after_a_failed_login_and_survives_a_failed_renewal() {
        let now = Instant::now();
        let secs = Duration::from_secs;
        let resolved = |text: &str| Resolved { secret: Secret::new(text.to_owned()), renew_after: Some(secs(300)) };
        let key = Key::new("exec:x".into(), resolved("one"), now);
        assert_eq!(key.due(), Some(now + secs(300)));
        assert!(key.spoil(now + secs(1)));
        assert_eq!(key.due(), Some(now + secs(30)), "not at once: a wrong command would be run for every request");
        key.renew(None, now + secs(30));
        assert_eq!((key.secret().expose().as_str(), key.due()), ("one", Some(now + secs(60))));
        key.renew(Some(resolved("two")), now + secs(60));
        assert_eq!((key.secret().expose().as_str(), key.due()), ("two", Some(now + secs(360))));
        let fixed = Key::new("env:X".into(), Resolved { renew_after: None, ..resolved("k") }, now);
        assert!(!fixed.spoil(now));
        assert_eq!(fixed.due(), None);
    }
}
