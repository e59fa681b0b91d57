//! What kind of work a request is, and how we came to think so.

use crate::domain::failure::closed_enum;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// A task's name: a key of `[tasks]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Task(Arc<str>);

impl Task {
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

closed_enum! {
    /// Who said which task it is.
    TaskReason {
        Header => "header",
        Metadata => "metadata",
        ModelSuffix => "model_suffix",
        Default => "default",
    }
}
