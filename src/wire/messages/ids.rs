//! Ids of calls, as this dialect takes them and as they were.
//!
//! Owns one mapping in both directions. Refuses to remember: what an id was is
//! read off what it became, so a history that comes back hours later still says
//! it. Invariant: two ids never become one, and `original(portable(id)) == id`.
//! Source: Anthropic API reference, "Create a Message": `tool_use.id` and
//! `tool_use_id` match `^[a-zA-Z0-9_-]+$`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::borrow::Cow;

/// Marks an id that was rewritten; the rest is the id in base64url.
const REWRITTEN: &str = "tl64_";

/// The id in letters that this dialect takes.
#[must_use]
pub fn portable(id: &str) -> Cow<'_, str> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !id.is_empty() && id.bytes().all(fits) && !id.starts_with(REWRITTEN) {
        Cow::Borrowed(id)
    } else {
        Cow::Owned(format!("{REWRITTEN}{}", URL_SAFE_NO_PAD.encode(id)))
    }
}

/// The id as it was before [`portable`]; one that we did not rewrite stays.
#[must_use]
pub fn original(id: &str) -> Cow<'_, str> {
    let told = id.strip_prefix(REWRITTEN).and_then(|rest| URL_SAFE_NO_PAD.decode(rest).ok());
    match told.and_then(|bytes| String::from_utf8(bytes).ok()) {
        Some(id) => Cow::Owned(id),
        None => Cow::Borrowed(id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_an_id_is_it_fits_comes_back_and_stays_apart() {
        let ids = ["toolu_01A", "call_9-x", "", "call:1", "fc_ü", "tl64_", "tl64_YQ", "a b", "functions.f:0", "\u{0}"];
        let mut seen = std::collections::HashSet::new();
        for id in ids {
            let there = portable(id).into_owned();
            assert!(there.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'), "{there}");
            assert!(!there.is_empty());
            assert_eq!(original(&there), id);
            assert!(seen.insert(there));
        }
        assert_eq!(portable("toolu_01A"), "toolu_01A");
        assert_eq!(original("tl64_%%"), "tl64_%%");
    }
}
