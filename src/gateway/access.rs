//! One static key, until each caller has its own.
//!
//! Owns who has to show it and where it may stand in a request. Refuses to
//! store or print a key: only its SHA-256 is known here. Invariant: off
//! loopback nobody gets in without a key, unless `auth = "none"` is written
//! out; our key never goes on to a target.

use http::{HeaderMap, HeaderName};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// The SHA-256 of a key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyHash([u8; 32]);

impl std::fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyHash")
    }
}

/// Who may come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing was said: nobody needs a key on loopback, everybody elsewhere.
    Unsaid,
    /// `gateway.access_key`: everybody, everywhere.
    Key(KeyHash),
    /// `gateway.auth = "none"`.
    Nobody,
}

/// Why a request stays outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    Missing,
    Wrong,
    /// One is demanded, and there is none that could be shown.
    NoKey,
}

/// Where a key may stand, the most specific first: `Authorization` may hold the
/// caller's own credential for a provider (design.md, section 5).
const PLACES: [HeaderName; 3] =
    [HeaderName::from_static("x-tautline-key"), HeaderName::from_static("x-api-key"), http::header::AUTHORIZATION];

impl KeyHash {
    /// The hash of a key.
    #[must_use]
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// Reads the 64 hexadecimal digits that [`Self::to_hex`] writes.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.trim().as_bytes();
        let mut hash = [0; 32];
        for (place, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            *place = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        (digits.len() == 64).then_some(Self(hash))
    }

    #[must_use]
    pub fn to_hex(self) -> String {
        self.0.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

impl Access {
    /// Lets a request in, or says why not. `minted`: the key of a process whose
    /// configuration names none. Wherever our key stands it is removed, so
    /// that it goes no further, asked for or not. Returns whether a key was shown.
    ///
    /// # Errors
    /// [`Denied`] when a key is demanded and not shown.
    pub fn admit(self, minted: Option<KeyHash>, on_loopback: bool, headers: &mut HeaderMap) -> Result<bool, Denied> {
        let (ours, demanded) = match self {
            Self::Nobody => (minted, false),
            Self::Unsaid => (minted, !on_loopback),
            Self::Key(hash) => (Some(hash), true),
        };
        let (mut shown, mut right) = (false, false);
        for place in PLACES {
            let Some(value) = headers.get(&place).and_then(|value| value.to_str().ok()) else { continue };
            let key = if place == http::header::AUTHORIZATION {
                let Some(key) = bearer(value) else { continue };
                key
            } else {
                value
            };
            shown = true;
            if Some(KeyHash::of(key.trim())) == ours {
                // A package that insists on a key may be given it twice.
                headers.remove(&place);
                right = true;
            }
        }
        match (demanded, right) {
            (false, _) => Ok(false),
            (true, true) => Ok(true),
            (true, false) => Err(if shown { Denied::Wrong } else { Denied::Missing }),
        }
    }
}

/// The token of `Bearer TOKEN`; the scheme in any case (RFC 9110, section 11.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("header"))).collect()
    }

    #[test]
    fn off_loopback_a_key_is_demanded_unless_nobody_is_written_out() {
        let minted = Some(KeyHash::of("tl-1"));
        let mut none = headers(&[]);
        assert_eq!(Access::Unsaid.admit(minted, true, &mut none), Ok(false));
        assert_eq!(Access::Unsaid.admit(minted, false, &mut none), Err(Denied::Missing));
        assert_eq!(
            Access::Unsaid.admit(None, false, &mut headers(&[("x-api-key", "x")])),
            Err(Denied::Wrong),
            "closed, not open"
        );
        assert_eq!(Access::Nobody.admit(minted, false, &mut none), Ok(false));
        assert_eq!(Access::Key(KeyHash::of("k")).admit(None, true, &mut none), Err(Denied::Missing), "everywhere");
    }

    #[test]
    fn our_key_is_taken_from_its_place_and_the_callers_own_stays() {
        let access = Access::Key(KeyHash::of("tl-1"));
        let mut both = headers(&[("authorization", "Bearer sk-own"), ("x-tautline-key", "tl-1")]);
        assert_eq!(access.admit(None, true, &mut both), Ok(true));
        assert_eq!(both, headers(&[("authorization", "Bearer sk-own")]));
        let mut plain = headers(&[("authorization", "bearer tl-1")]);
        assert_eq!(access.admit(None, true, &mut plain), Ok(true));
        assert!(plain.is_empty());
        let mut anthropic = headers(&[("x-api-key", "tl-1")]);
        assert_eq!(access.admit(None, true, &mut anthropic), Ok(true));
        let mut twice = headers(&[("authorization", "Bearer tl-1"), ("x-tautline-key", "tl-1"), ("x-api-key", "own")]);
        assert_eq!(access.admit(None, true, &mut twice), Ok(true));
        assert_eq!(twice, headers(&[("x-api-key", "own")]));
        let mut unasked = headers(&[("authorization", "Bearer tl-1")]);
        assert_eq!(Access::Unsaid.admit(Some(KeyHash::of("tl-1")), true, &mut unasked), Ok(false));
        assert!(unasked.is_empty(), "it goes no further, though nobody asked for it");
        for wrong in ["Bearer tl-2", "Basic tl-1", "tl-1"] {
            assert!(access.admit(None, true, &mut headers(&[("authorization", wrong)])).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_hash_reads_back() {
        let hash = KeyHash::of("x");
        assert_eq!(KeyHash::from_hex(&hash.to_hex()), Some(hash));
        assert_eq!(KeyHash::from_hex("12"), None);
        assert_eq!(KeyHash::from_hex(&"zz".repeat(32)), None);
    }
}
