//! Seals over reasoning, and how one of another dialect travels in this one.
//!
//! Owns the marks. A client of this dialect gives `signature` and `data` back as
//! they came; reasoning that another dialect sealed goes out under a mark, so
//! that it comes back as what it was, and is never sent to a maker that did not
//! make it. Refuses to open a seal. Invariant: what went out comes back equal.

use crate::wire::canon::Seal;

/// Stands before a seal that is no `signature` of this dialect.
const FOREIGN: &str = "tl-sealed:";

/// A seal of unknown making, for a client of this dialect.
pub(super) fn foreign(seal: &str) -> String {
    format!("{FOREIGN}{seal}")
}

/// Whether a seal was made in another dialect: no target of this one made it.
pub(in crate::wire) fn is_abroad(seal: &str) -> bool {
    seal.starts_with(FOREIGN)
}

/// A seal as its maker wrote it, whatever it travelled in.
pub(super) fn bare(seal: &str) -> &str {
    seal.strip_prefix(FOREIGN).unwrap_or(seal)
}

/// What a block's `signature` is; an empty one seals nothing.
pub(super) fn of_signature(signature: &str) -> Option<Seal> {
    match signature.strip_prefix(FOREIGN) {
        Some("") => None,
        Some(seal) => Some(Seal::Encrypted(seal.to_owned())),
        None if signature.is_empty() => None,
        None => Some(Seal::Signature(signature.to_owned())),
    }
}

/// What a block's `data` is.
pub(super) fn of_redacted(data: &str) -> Seal {
    match data.strip_prefix(FOREIGN) {
        Some(seal) => Seal::Encrypted(seal.to_owned()),
        None => Seal::Redacted(data.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_seal_comes_back_as_what_it_was() {
        assert_eq!(of_signature(&foreign("gAAA")), Some(Seal::Encrypted("gAAA".into())));
        assert_eq!(of_redacted(&foreign("gAAA")), Seal::Encrypted("gAAA".into()));
        assert_eq!(bare(&foreign("gAAA")), "gAAA");
        assert_eq!(of_signature("EqQB"), Some(Seal::Signature("EqQB".into())));
        assert_eq!(of_signature(""), None);
    }
}
