//! What is remembered about keys and targets between exchanges.
//!
//! Owns key pools with their cooling, and what a target was found not to take.
//! Refuses to count or choose targets. Invariants: a single key is never
//! cooled; a 429 cools a key for one target only, quota and login failures for
//! its provider; the maps are bounded.

use crate::domain::failure::Cause;
use crate::domain::ids::TargetName;
use crate::gateway::settings::{Auth, Provider, Target};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// A 429 that names no wait cools its key for this long.
const RATE_COOLING: Duration = Duration::from_secs(30);
/// A key without quota or with a failed login rests for this long.
const ACCOUNT_COOLING: Duration = Duration::from_mins(10);
/// A wait longer than this is not believed.
const COOLING_MAX: Duration = Duration::from_hours(24);
/// How long it is remembered that a target does not take `stream` or `stream_options`.
const QUIRK: Duration = Duration::from_hours(1);
const ENTRIES_MAX: usize = 8192;

/// Memory of all providers and targets of one process.
#[derive(Debug, Default)]
pub struct Memory {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// `(provider, target or "" for all of them, key)` → until when.
    cooling: HashMap<(String, String, usize), Instant>,
    quirks: HashMap<(TargetName, Quirk), Instant>,
    /// Whose turn it is in each provider's pool.
    turns: HashMap<String, usize>,
}

/// Something a target was found not to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Quirk {
    Stream,
    StreamOptions,
    /// The beginning of its own answer, in the form that was declared.
    Prefill,
}

/// Whose credential an attempt carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Picked {
    Nothing,
    Client,
    /// The pooled key at this place, counted from 0.
    Key(usize),
}

impl Memory {
    /// The credential for an attempt at `target`: of several keys one that is
    /// not cooling and not in `tried`, in turn; when all are cooling, the one
    /// that is due soonest.
    #[must_use]
    pub fn pick(&self, target: &Target, tried: &[usize], now: Instant) -> Picked {
        let keys = match &target.provider.auth {
            Auth::None => return Picked::Nothing,
            Auth::Client => return Picked::Client,
            Auth::Keys(keys) => keys.len(),
        };
        let turn = self.turn(target);
        let order = (0..keys).map(|place| (turn + place) % keys).filter(|key| !tried.contains(key));
        let due = |key: &usize| self.cooling_until(target, *key, now).unwrap_or(now);
        // `min_by_key` keeps the first of equals, so free keys are taken in turn.
        Picked::Key(order.min_by_key(due).unwrap_or(turn % keys))
    }

    fn turn(&self, target: &Target) -> usize {
        let mut inner = self.inner.lock();
        let turn = inner.turns.entry(target.provider.name.as_str().to_owned()).or_default();
        *turn = turn.wrapping_add(1);
        *turn
    }

    /// A key of this target's pool that is neither tried nor cooling.
    #[must_use]
    pub fn has_fresh_key(&self, target: &Target, tried: &[usize], now: Instant) -> bool {
        let Auth::Keys(keys) = &target.provider.auth else { return false };
        keys.len() > 1
            && (0..keys.len()).any(|key| !tried.contains(&key) && self.cooling_until(target, key, now).is_none())
    }

    /// Lets a pooled key rest after `cause`; a single key is left alone.
    pub fn cool(&self, target: &Target, key: usize, cause: Cause, wait: Option<Duration>, now: Instant) {
        if !matches!(&target.provider.auth, Auth::Keys(keys) if keys.len() > 1) {
            return;
        }
        let (scope, rest) = match cause {
            Cause::RateLimited => (target.name.as_str(), wait.unwrap_or(RATE_COOLING)),
            Cause::Auth | Cause::QuotaExhausted => ("", wait.unwrap_or(ACCOUNT_COOLING)),
            _ => return,
        };
        let mut inner = self.inner.lock();
        make_room(&mut inner.cooling, now);
        let until = now + rest.min(COOLING_MAX);
        inner.cooling.insert((target.provider.name.as_str().to_owned(), scope.to_owned(), key), until);
    }

    /// Whether this key of the pool rests now.
    #[must_use]
    pub fn rests(&self, target: &Target, key: usize, now: Instant) -> bool {
        self.cooling_until(target, key, now).is_some()
    }

    fn cooling_until(&self, target: &Target, key: usize, now: Instant) -> Option<Instant> {
        let inner = self.inner.lock();
        [target.name.as_str(), ""]
            .iter()
            .filter_map(|scope| {
                inner.cooling.get(&(target.provider.name.as_str().to_owned(), (*scope).to_owned(), key))
            })
            .copied()
            .filter(|until| *until > now)
            .max()
    }

    /// Keys of a provider that rest now, for any of its targets, with the place
    /// of the key (from 0), the target it rests for (`None`: all), and for how long.
    #[must_use]
    pub fn cooling(&self, provider: &Provider, now: Instant) -> Vec<(usize, Option<String>, Duration)> {
        let inner = self.inner.lock();
        let mut resting: Vec<_> = inner
            .cooling
            .iter()
            .filter(|((name, ..), until)| name == provider.name.as_str() && **until > now)
            .map(|((_, scope, key), until)| (*key, Some(scope.clone()).filter(|scope| !scope.is_empty()), *until - now))
            .collect();
        resting.sort();
        resting
    }

    /// Remembers for an hour that a target does not take something.
    pub fn learn(&self, target: &Target, quirk: Quirk, now: Instant) {
        let mut inner = self.inner.lock();
        make_room(&mut inner.quirks, now);
        inner.quirks.insert((target.name.clone(), quirk), now + QUIRK);
    }

    /// Whether a target was found not to take something within the last hour.
    #[must_use]
    pub fn knows(&self, target: &Target, quirk: Quirk, now: Instant) -> bool {
        self.inner.lock().quirks.get(&(target.name.clone(), quirk)).is_some_and(|until| *until > now)
    }
}

/// Forgets what is over; if that is not enough, what is over soonest.
fn make_room<K: Eq + std::hash::Hash + Clone>(map: &mut HashMap<K, Instant>, now: Instant) {
    if map.len() < ENTRIES_MAX {
        return;
    }
    map.retain(|_, until| *until > now);
    if map.len() >= ENTRIES_MAX
        && let Some(soonest) = map.iter().min_by_key(|(_, until)| **until).map(|(key, _)| key.clone())
    {
        map.remove(&soonest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::secret::Secret;
    use crate::gateway::settings::{Outside, RawProvider, RawSettings, RawTarget, Resolved, Settings};
    use std::collections::BTreeMap;
    use std::sync::Arc;

    fn targets(keys: usize) -> BTreeMap<String, Arc<Target>> {
        let mut raw = RawSettings::default();
        let keys = (0..keys).map(|n| format!("env:K{n}")).collect();
        raw.providers.insert(
            "p".into(),
            RawProvider {
                dialect: Some("openai".into()),
                base_url: Some("http://127.0.0.1:1".into()),
                api_key: Some(crate::gateway::settings::Many::List(keys)),
                ..RawProvider::default()
            },
        );
        for name in ["a", "b"] {
            raw.targets.insert(
                name.into(),
                RawTarget { provider: Some("p".into()), model: Some("m".into()), ..RawTarget::default() },
            );
        }
        let resolve = |reference: &str| Ok(Resolved { secret: Secret::new(reference.to_owned()), renew_after: None });
        Settings::check(&raw, &Outside { resolve: &resolve, ..Outside::nothing() }).expect("valid").targets
    }

    #[test]
    fn a_429_rests_for_one_target_and_a_failed_login_for_all() {
        let (targets, memory, now) = (targets(2), Memory::default(), Instant::now());
        let (a, b) = (&targets["a"], &targets["b"]);
        memory.cool(a, 0, Cause::RateLimited, Some(Duration::from_secs(9)), now);
        assert!((0..4).all(|_| memory.pick(a, &[], now) == Picked::Key(1)));
        assert!((0..4).any(|_| memory.pick(b, &[], now) == Picked::Key(0)));
        memory.cool(a, 1, Cause::Auth, None, now);
        assert!((0..4).all(|_| memory.pick(b, &[], now) == Picked::Key(0)));
        assert_eq!(memory.pick(a, &[], now), Picked::Key(0), "all rest: the one due soonest");
        assert!(!memory.has_fresh_key(a, &[], now));
        assert!(memory.has_fresh_key(a, &[], now + Duration::from_secs(10)));
    }

    #[test]
    fn a_single_key_is_never_cooled() {
        let (targets, memory, now) = (targets(1), Memory::default(), Instant::now());
        memory.cool(&targets["a"], 0, Cause::Auth, None, now);
        assert!(memory.cooling(&targets["a"].provider, now).is_empty());
        assert_eq!(memory.pick(&targets["a"], &[], now), Picked::Key(0));
    }

    #[test]
    fn what_a_target_does_not_take_is_forgotten_after_an_hour() {
        let (targets, memory, now) = (targets(1), Memory::default(), Instant::now());
        memory.learn(&targets["a"], Quirk::Stream, now);
        assert!(memory.knows(&targets["a"], Quirk::Stream, now));
        assert!(!memory.knows(&targets["a"], Quirk::StreamOptions, now));
        assert!(!memory.knows(&targets["a"], Quirk::Stream, now + QUIRK));
    }
}
