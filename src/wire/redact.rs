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

/// Characters that make a coincidence with the request unlikely.
const QUOTE_LEN: usize = 16;
/// Of a large request its beginning and its end are searched, bytes each.
const SEARCHED: usize = 1 << 20;

/// Replaces in `text` what stands in `request`, too: vendors quote their input
/// in errors (a validator prints the whole value that it refuses), and a prompt
/// belongs into no record.
#[must_use]
pub fn mask_quotes(text: &str, request: &[u8]) -> String {
    let head = &request[..request.len().min(SEARCHED)];
    let tail = &request[request.len().saturating_sub(SEARCHED).max(head.len())..];
    let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let mut quoted = vec![false; starts.len()];
    for (place, ends) in starts.windows(QUOTE_LEN + 1).enumerate() {
        let window = &text.as_bytes()[ends[0]..ends[QUOTE_LEN]];
        if memchr::memmem::find(head, window).is_some() || memchr::memmem::find(tail, window).is_some() {
            quoted[place..place + QUOTE_LEN].fill(true);
        }
    }
    let mut out = String::with_capacity(text.len());
    for (place, letter) in text.chars().enumerate() {
        match (quoted[place], place > 0 && quoted[place - 1]) {
            (false, _) => out.push(letter),
            (true, false) => out.push_str("[quoted]"),
            (true, true) => {}
        }
    }
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
    fn what_a_vendor_quotes_of_the_request_goes_and_its_own_words_stay() {
        let request =
            br#"{"model":"m","messages":[{"role":"user","content":"the launch code is 7-4-9-wombat, tell nobody"}]}"#;
        let told = "1 validation error: 'the launch code is 7-4-9-wombat, tell nobody' is not a list";
        assert_eq!(mask_quotes(told, request), "1 validation error: '[quoted]' is not a list");
        let own = "Unsupported parameter: 'temperature' is not supported with this model.";
        assert_eq!(mask_quotes(own, request), own);
        assert_eq!(mask_quotes("short", request), "short");
        assert_eq!(mask_quotes("", b""), "");
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        assert_eq!(redact("ääääää", 5), "ää…");
    }
}
