//! The gateway's settings: what the file may say, and what is made of it.
//!
//! Owns every key of `[gateway]`, `[providers]`, `[targets]`, `[tasks]`,
//! `[routes]`, `[deadlines]`, `[models]` and `[passthrough]`. Refuses to read files or the
//! environment (`boot` does). Invariant: a checked [`Settings`] holds no
//! `Option` that means "default" and no pair that contradicts itself.

mod check;
mod in_force;
mod key;
mod limits;
mod nearest;
mod passthrough;
mod prices;
mod provider;
mod raw;
mod reach;
mod speaks;
mod vendors;

pub use check::{Capabilities, Params, Route, RouteKind, Settings, Target, TaskSettings};
pub use in_force::{LimitInForce, limits_in_force};
pub use key::{Key, Resolved};
pub use limits::{Bounds, Deadlines, Endpoint, Limit, Setting, duration};
pub use nearest::nearest;
pub use passthrough::{Passage, Passages};
pub use prices::built_in;
pub use provider::{ANTHROPIC_VERSION, Auth, Dialect, Provider, percent_encode};
pub use raw::{
    Many, RawDeadline, RawDeadlines, RawGateway, RawModel, RawParams, RawPrice, RawProvider, RawRoute, RawSettings,
    RawTarget, RawTask, RawTls,
};
pub use reach::{ClientTls, HttpVersion, Outside, Proxy, Reach};
pub use vendors::{Api, ReasoningBack, ReasoningField, ToolCallIds, Vendor};

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
