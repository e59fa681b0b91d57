//! Seals over reasoning, as `encrypted_content` carries them.
//!
//! Owns how a seal of another vendor goes to a client of this dialect and comes
//! back as what it was. Refuses to open one. Invariant: the text of a seal
//! returns unchanged.

use crate::wire::canon::Seal;

/// Marks what other vendors call a signature: it holds only for the text beside it.
const SIGNATURE: &str = "tl-signature:";
/// Marks reasoning that another vendor blacked out.
const REDACTED: &str = "tl-redacted:";

/// Whether a seal was made in another dialect: no target of this one made it.
pub(in crate::wire) fn is_abroad(content: &str) -> bool {
    content.starts_with(SIGNATURE) || content.starts_with(REDACTED)
}

/// The seal in an `encrypted_content`.
pub(super) fn open(content: String) -> Seal {
    if let Some(signature) = content.strip_prefix(SIGNATURE) {
        Seal::Signature(signature.to_owned())
    } else if let Some(data) = content.strip_prefix(REDACTED) {
        Seal::Redacted(data.to_owned())
    } else {
        Seal::Encrypted(content)
    }
}

/// A seal of any vendor as two pieces of an `encrypted_content`.
pub(super) fn close(seal: &Seal) -> [&str; 2] {
    match seal {
        Seal::Encrypted(seal) => ["", seal],
        Seal::Signature(seal) => [SIGNATURE, seal],
        Seal::Redacted(seal) => [REDACTED, seal],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seals_come_back_as_what_they_were() {
        for seal in [Seal::Encrypted("gAAAAABo".into()), Seal::Signature("EqQB".into()), Seal::Redacted("EqQB".into())]
        {
            assert_eq!(open(close(&seal).concat()), seal);
        }
        assert_eq!(open("xai".to_owned()), Seal::Encrypted("xai".into()));
    }
}
