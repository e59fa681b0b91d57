//! Ids that could be swapped are types.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The ULID of an exchange: 26 characters, sorts by time of acceptance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExchangeId(ulid::Ulid);

impl ExchangeId {
    /// A fresh id from the system clock and 80 random bits.
    #[must_use]
    pub fn generate() -> Self {
        Self(ulid::Ulid::generate())
    }

    /// Reads the 26-character form; `None` if it is anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        ulid::Ulid::from_string(text).ok().map(Self)
    }
}

impl fmt::Display for ExchangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Declares a name out of the configuration as a cheap, cloneable type.
macro_rules! name_type {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            #[must_use]
            pub fn new(text: impl Into<std::sync::Arc<str>>) -> Self { Self(text.into()) }
            #[must_use]
            pub fn as_str(&self) -> &str { &self.0 }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }
    };
}

name_type!(
    /// A target's name: a key of `[targets]`, or `provider/model` for one made on demand.
    TargetName
);
name_type!(
    /// A provider's name: a key of `[providers]`.
    ProviderName
);
name_type!(
    /// A route's name: a key of `[routes]`.
    RouteName
);

/// Who asks. Journals, records and caches are scoped by its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    pub id: String,
    pub kind: PrincipalKind,
}

/// What the principal was recognised by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalKind {
    /// No credential was needed (loopback).
    Anonymous,
    /// The one static key.
    AccessKey,
    /// A keyed hash of the caller's own credential (`auth = "client"`).
    ClientCredential,
}
