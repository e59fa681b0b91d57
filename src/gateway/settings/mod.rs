//! The gateway's settings: what the file may say, and what is made of it.
//!
//! Owns every key of `[gateway]`, `[providers]`, `[targets]`, `[tasks]`,
//! `[routes]`, `[deadlines]` and `[models]`. Refuses to read files or the
//! environment (`boot` does). Invariant: a checked [`Settings`] holds no
//! `Option` that means "default" and no pair that contradicts itself.

mod check;
mod limits;
mod raw;

pub use check::{Auth, Capabilities, Params, Provider, Route, RouteKind, Settings, Target, TaskSettings, built_in};
pub use limits::{Bounds, Deadlines, Endpoint, Limit, Setting};
pub use raw::{
    Many, RawDeadline, RawDeadlines, RawGateway, RawModel, RawParams, RawPrice, RawProvider, RawRoute, RawSettings,
    RawTarget, RawTask,
};

/// One thing wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Dotted path, as `targets.strong.provider`.
    pub key: String,
    pub problem: String,
    pub fix: String,
}

impl Fault {
    /// A fault at `key`.
    #[must_use]
    pub fn new(key: impl Into<String>, problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { key: key.into(), problem: problem.into(), fix: fix.into() }
    }
}

/// The nearest of `names` to `asked`, best first, at most `max`; only those
/// close enough to be a slip of the hand or a part of it.
#[must_use]
pub fn nearest<'a>(asked: &str, names: impl IntoIterator<Item = &'a str>, max: usize) -> Vec<String> {
    let mut scored: Vec<(f64, &str)> = names
        .into_iter()
        .map(|name| {
            let contained = name.len() >= 3 && (asked.contains(name) || name.contains(asked) && asked.len() >= 3);
            let score = strsim::jaro_winkler(asked, name).max(if contained { 0.8 } else { 0.0 });
            (score, name)
        })
        .filter(|(score, _)| *score >= 0.72)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.dedup_by(|a, b| a.1 == b.1);
    scored.into_iter().take(max).map(|(_, name)| name.to_owned()).collect()
}
