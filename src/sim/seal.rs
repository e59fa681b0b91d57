//! What only this simulator, for this key, can have said: signatures of thinking
//! and encrypted reasoning.
//!
//! Owns making and checking both. Refuses to know messages and items. Invariant:
//! what one simulator sealed for a key opens at no other simulator and for no
//! other key, as it is with vendors.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

/// The first bytes of the vendor's encrypted content, which is a Fernet token.
const TOKEN: &str = "gAAAAAB";

/// Why encrypted content was refused, in the vendor's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unsealed {
    #[error("Encrypted content could not be decrypted or parsed.")]
    Foreign,
    #[error("Encrypted content item_id did not match the target item id.")]
    OtherItem,
}

/// Seals for one key.
#[derive(Debug, Clone)]
pub(super) struct Seal {
    secret: String,
    key: String,
}

impl Seal {
    /// `secret` is the simulator's, `key` the one the request came with.
    pub fn new(secret: &str, key: &str) -> Self {
        Self { secret: secret.to_owned(), key: key.to_owned() }
    }

    /// The signature of a thinking block with this text.
    pub fn signature(&self, thinking: &str) -> String {
        STANDARD.encode([&b"\x12\xa4"[..], &self.mac("thinking", thinking)].concat())
    }

    pub fn signed(&self, thinking: &str, signature: &str) -> bool {
        self.signature(thinking) == signature
    }

    /// The encrypted content of the reasoning item `id` with this text.
    pub fn encrypted(&self, id: &str, reasoning: &str) -> String {
        let text = URL_SAFE_NO_PAD.encode(Sha256::digest(reasoning.as_bytes()));
        let sealed = format!("{id}.{text}");
        let mac = URL_SAFE_NO_PAD.encode(self.mac("reasoning", &sealed));
        format!("{TOKEN}{}", URL_SAFE_NO_PAD.encode(format!("{sealed}.{mac}")))
    }

    /// Whether `content` was made here, for this key and, where the item names
    /// itself, for this item.
    pub fn opens(&self, content: &str, id: Option<&str>) -> Result<(), Unsealed> {
        let bytes = content.strip_prefix(TOKEN).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or(Unsealed::Foreign)?;
        let (sealed, mac) = text.rsplit_once('.').ok_or(Unsealed::Foreign)?;
        if mac != URL_SAFE_NO_PAD.encode(self.mac("reasoning", sealed)) {
            return Err(Unsealed::Foreign);
        }
        let own = sealed.split_once('.').map(|(id, _)| id);
        if id.is_some() && id != own { Err(Unsealed::OtherItem) } else { Ok(()) }
    }

    fn mac(&self, purpose: &str, text: &str) -> Vec<u8> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()).expect("HMAC takes keys of any length");
        for part in [purpose, &self.key, text] {
            // Lengths before the parts, so that no two different triples read alike.
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac.finalize().into_bytes().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_text_its_key_and_its_simulator() {
        let seal = Seal::new("a", "k");
        let signature = seal.signature("think");
        assert!(seal.signed("think", &signature));
        assert!(!seal.signed("thinks", &signature));
        assert!(!Seal::new("a", "l").signed("think", &signature));
        assert!(!Seal::new("b", "k").signed("think", &signature));
    }

    #[test]
    fn encrypted_content_opens_only_where_it_was_sealed() {
        let seal = Seal::new("a", "k");
        let content = seal.encrypted("rs_1", "think");
        assert_eq!(seal.opens(&content, Some("rs_1")), Ok(()));
        assert_eq!(seal.opens(&content, None), Ok(()));
        assert_eq!(seal.opens(&content, Some("rs_2")), Err(Unsealed::OtherItem));
        assert_eq!(Seal::new("b", "k").opens(&content, None), Err(Unsealed::Foreign));
        let altered = content.replacen('A', "B", 6);
        assert_eq!(seal.opens(&altered, None), Err(Unsealed::Foreign));
        assert_eq!(seal.opens(&content[..content.len() - 2], None), Err(Unsealed::Foreign));
    }
}
