//! Text that somebody else wrote, made fit for a log.

/// Cuts `text` to `max` characters and replaces what looks like a credential:
/// words with a well-known key prefix, and unbroken runs of 32 or more letters
/// and digits that mix both. Vendors quote part of a key in their 401 texts.
#[must_use]
pub fn redact(text: &str, max: usize) -> String {
    let mut out = String::new();
    for (place, word) in text.split(' ').enumerate() {
        if place > 0 {
            out.push(' ');
        }
        out.push_str(if looks_secret(word) { "[redacted]" } else { word });
        if out.len() >= max {
            break;
        }
    }
    if out.len() > max {
        let cut = (0..=max).rev().find(|at| out.is_char_boundary(*at)).unwrap_or(0);
        out.truncate(cut);
        out.push('…');
    }
    out.retain(|c| !c.is_control());
    out
}

fn looks_secret(word: &str) -> bool {
    let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
    let prefixed = ["sk-", "sk_", "tl-", "xai-", "gsk_", "AIza", "key-", "pk-", "rk-", "hf_"]
        .iter()
        .any(|prefix| bare.starts_with(prefix) && bare.len() > prefix.len() + 3);
    let run = bare.split(|c: char| !c.is_ascii_alphanumeric()).map(str::len).max().unwrap_or(0);
    let mixed = bare.bytes().any(|b| b.is_ascii_digit()) && bare.bytes().any(|b| b.is_ascii_alphabetic());
    prefixed || (run >= 32 && mixed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_and_sentences_stay() {
        let text = "Incorrect API key provided: sk-proj-abc***xyz. You can find your API key at the site.";
        assert_eq!(redact(text, 300), "Incorrect API key provided: [redacted] You can find your API key at the site.");
        assert_eq!(redact("token 0123456789abcdef0123456789abcdef99 bad", 300), "token [redacted] bad");
        assert_eq!(redact("maximum context length is 8192 tokens", 300), "maximum context length is 8192 tokens");
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        assert_eq!(redact("ääääää", 5), "ää…");
    }
}
