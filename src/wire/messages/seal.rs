//! Seals over reasoning, and how one of another dialect travels in this one.
//!
//! Owns the marks. A client of this dialect gives `signature` and `data` back as
//! they came; reasoning that another dialect sealed goes out under a mark, so
//! that it comes back as what it was, and is never sent to a maker that did not
//! make it. Refuses to open a seal. Invariant: what went out comes back equal.

use crate::wire::canon::Seal;

/// Stand before a seal that came in another dialect, by what it is.
const ENCRYPTED: &str = "tl-sealed:";
const SIGNATURE: &str = "tl-signature:";
const REDACTED: &str = "tl-redacted:";

/// A seal that came in another dialect, for a client of this one.
pub(super) fn foreign(seal: &Seal) -> String {
    let mark = match seal {
        Seal::Encrypted(_) => ENCRYPTED,
        Seal::Signature(_) => SIGNATURE,
        Seal::Redacted(_) => REDACTED,
    };
    format!("{mark}{}", seal.text())
}

/// Whether a seal was made in another dialect: no target of this one made it.
pub(in crate::wire) fn is_abroad(seal: &str) -> bool {
    marked(seal).is_some()
}

fn marked(seal: &str) -> Option<Seal> {
    let rest = |mark: &str| seal.strip_prefix(mark).map(str::to_owned);
    let encrypted = rest(ENCRYPTED).map(Seal::Encrypted);
    encrypted.or_else(|| rest(SIGNATURE).map(Seal::Signature)).or_else(|| rest(REDACTED).map(Seal::Redacted))
}

/// What a block's `signature` is; an empty one seals nothing.
pub(super) fn of_signature(signature: &str) -> Option<Seal> {
    let seal = marked(signature).unwrap_or_else(|| Seal::Signature(signature.to_owned()));
    Some(seal).filter(|seal| !seal.text().is_empty())
}

/// What a block's `data` is.
pub(super) fn of_redacted(data: &str) -> Seal {
    marked(data).unwrap_or_else(|| Seal::Redacted(data.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_seal_comes_back_as_what_it_was() {
        for seal in [Seal::Encrypted("gAAA".into()), Seal::Signature("EqQB".into()), Seal::Redacted("Eo".into())] {
            let marked = foreign(&seal);
            assert!(is_abroad(&marked) && !is_abroad(seal.text()));
            assert_eq!((of_signature(&marked), of_redacted(&marked)), (Some(seal.clone()), seal));
        }
        assert_eq!(of_signature("EqQB"), Some(Seal::Signature("EqQB".into())));
        assert_eq!(of_signature(""), None);
    }
}
