//! JSON that is carried as the text it came in.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A value whose text is kept, so that no number and no order changes on the way.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Json(Box<RawValue>);

impl Json {
    /// `None` when the text is no JSON.
    #[must_use]
    pub fn parse(text: String) -> Option<Self> {
        RawValue::from_string(text).ok().map(Self)
    }

    #[must_use]
    pub fn text(&self) -> &str {
        self.0.get()
    }

    /// As a tree, to be looked into.
    #[must_use]
    pub fn value(&self) -> serde_json::Value {
        serde_json::from_str(self.0.get()).unwrap_or_default()
    }
}

impl From<Box<RawValue>> for Json {
    fn from(raw: Box<RawValue>) -> Self {
        Self(raw)
    }
}

impl From<&serde_json::Value> for Json {
    fn from(value: &serde_json::Value) -> Self {
        Self(serde_json::value::to_raw_value(value).expect("a tree is always JSON"))
    }
}

impl PartialEq for Json {
    /// By meaning: white space and the order of an object's fields say nothing.
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text() || self.value() == other.value()
    }
}
