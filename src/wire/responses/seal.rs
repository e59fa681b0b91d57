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

/// How reasoning that OpenAI encrypted begins: a Fernet token, whose version 0x80
/// and the upper bytes of its time are `gAAAAA` in base64.
const FERNET: &str = "gAAAAA";

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

/// A seal of any vendor as two pieces of an `encrypted_content`. `shown`: its
/// reasoning has text.
pub(super) fn close(seal: &str, shown: bool) -> [&str; 2] {
    match (seal.starts_with(FERNET), shown) {
        (true, _) => ["", seal],
        (false, true) => [SIGNATURE, seal],
        (false, false) => [REDACTED, seal],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seals_come_back_as_what_they_were() {
        for (seal, shown, back) in [
            ("gAAAAABo", true, Seal::Encrypted("gAAAAABo".into())),
            ("gAAAAABo", false, Seal::Encrypted("gAAAAABo".into())),
            ("EqQB", true, Seal::Signature("EqQB".into())),
            ("EqQB", false, Seal::Redacted("EqQB".into())),
        ] {
            assert_eq!(open(close(seal, shown).concat()), back);
        }
        assert_eq!(open("xai".to_owned()), Seal::Encrypted("xai".into()));
    }
}
