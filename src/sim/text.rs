//! The simulator's words.
//!
//! Owns the answer text, JSON answers and tool arguments. Refuses to know models,
//! faults and sockets. Invariant: everything here depends on (prompt, length)
//! only, and a shorter answer is a prefix of a longer one, so that a joined
//! answer can be checked character by character.

use sha2::{Digest, Sha256};

const WORDS: &[&str] = &[
    "a",
    "against",
    "anchor",
    "and",
    "before",
    "between",
    "block",
    "bridge",
    "calm",
    "carries",
    "cleat",
    "coil",
    "current",
    "deck",
    "drift",
    "every",
    "fibre",
    "first",
    "follows",
    "from",
    "grip",
    "hand",
    "harbour",
    "hitch",
    "holds",
    "into",
    "keel",
    "knot",
    "ladder",
    "later",
    "line",
    "load",
    "loosely",
    "mast",
    "measure",
    "mooring",
    "never",
    "north",
    "of",
    "over",
    "patient",
    "pulley",
    "quiet",
    "reef",
    "rope",
    "rudder",
    "runs",
    "sail",
    "second",
    "shackle",
    "shore",
    "slack",
    "slowly",
    "snap",
    "so",
    "splice",
    "steady",
    "strand",
    "taut",
    "tension",
    "that",
    "the",
    "then",
    "through",
    "tide",
    "tightens",
    "toward",
    "turns",
    "under",
    "until",
    "vessel",
    "watch",
    "weather",
    "weight",
    "where",
    "which",
    "while",
    "winch",
    "wind",
    "with",
    "within",
    "without",
    "yields",
    "naïve",
    "café",
    "Ångström",
    "señor",
    "Übung",
    "façade",
    "смола",
    "λόγος",
    "結び目",
    "綱",
    "שלום",
];
const SYMBOLS: &[&str] = &["🪢", "⛵", "⚓", "👩‍🔧", "🇫🇷", "→", "½", "e\u{301}t\u{e9}", "𝛼"];

/// The first `tokens` tokens of the answer to `prompt`; concatenated they are text.
#[must_use]
pub fn answer(prompt: &str, tokens: usize) -> Vec<String> {
    let mut writer = Writer::new(prompt);
    (0..tokens).map(|_| writer.token()).collect()
}

/// [`answer`], concatenated.
#[must_use]
pub fn answer_text(prompt: &str, tokens: usize) -> String {
    answer(prompt, tokens).concat()
}

/// A JSON object as text, its longest field an answer of `tokens` tokens.
#[must_use]
pub fn json_answer(prompt: &str, tokens: usize) -> String {
    let score = seed(prompt) % 1000;
    serde_json::json!({ "answer": answer_text(prompt, tokens), "score": score, "tags": answer(prompt, 3), "ok": true })
        .to_string()
}

/// The JSON arguments of the `call`-th tool call, counted from 0.
#[must_use]
pub fn tool_arguments(prompt: &str, call: usize) -> String {
    let query = answer_text(&format!("{prompt}\u{1}call {call}"), 12);
    serde_json::json!({ "query": query, "limit": 1 + seed(prompt) % 20, "call": call }).to_string()
}

/// Text cut into pieces of at most four characters, as tokens would be.
pub(super) fn fragments(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    characters.chunks(4).map(|piece| piece.iter().collect()).collect()
}

/// The first eight bytes of the text's SHA-256.
pub(super) fn seed(text: &str) -> u64 {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(8).fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
}

struct Writer {
    rng: fastrand::Rng,
    /// Words until the sentence ends.
    left: usize,
    /// What stands before the next token decides about space and capital.
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Paragraph,
    Sentence,
    Comma,
    Word,
}

impl Writer {
    fn new(prompt: &str) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed(prompt));
        let left = rng.usize(4..14);
        Self { rng, left, place: Place::Paragraph }
    }

    fn token(&mut self) -> String {
        if self.left == 0 {
            self.left = self.rng.usize(4..14);
            let paragraph = self.rng.u8(..6) == 0;
            self.place = if paragraph { Place::Paragraph } else { Place::Sentence };
            let mark = [".", ".", ".", "!", "?", "…"][self.rng.usize(..6)];
            return if paragraph { format!("{mark}\n\n") } else { mark.to_owned() };
        }
        if self.place == Place::Word && self.left > 1 && self.rng.u8(..12) == 0 {
            self.place = Place::Comma;
            return [",", ";", " \u{2014}"][self.rng.usize(..3)].to_owned();
        }
        self.left -= 1;
        let space = if self.place == Place::Paragraph { "" } else { " " };
        let word = match self.rng.u8(..24) {
            0 => SYMBOLS[self.rng.usize(..SYMBOLS.len())].to_owned(),
            1 | 2 => self.rng.u16(10..9999).to_string(),
            _ => WORDS[self.rng.usize(..WORDS.len())].to_owned(),
        };
        let capital = matches!(self.place, Place::Paragraph | Place::Sentence);
        self.place = Place::Word;
        format!("{space}{}", if capital { capitalised(&word) } else { word })
    }
}

fn capitalised(word: &str) -> String {
    let mut rest = word.chars();
    rest.next().map_or_else(String::new, |first| first.to_uppercase().chain(rest).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shorter_answer_is_a_prefix_of_a_longer_one() {
        let long = answer("tie a bowline", 500);
        for tokens in [0, 1, 7, 60, 499] {
            assert_eq!(answer("tie a bowline", tokens), long[..tokens]);
        }
    }

    #[test]
    fn prompts_get_texts_of_their_own_with_multi_byte_characters() {
        let text = answer_text("one", 400);
        assert_ne!(text, answer_text("two", 400));
        assert!(text.chars().any(|c| c.len_utf8() == 2) && text.chars().any(|c| c.len_utf8() == 4), "{text}");
        assert!(answer("one", 400).iter().all(|token| !token.is_empty()));
    }

    #[test]
    fn fragments_join_to_the_text_they_were_cut_from() {
        let arguments = tool_arguments("weather", 1);
        assert_eq!(fragments(&arguments).concat(), arguments);
        assert!(serde_json::from_str::<serde_json::Value>(&arguments).is_ok());
        assert!(serde_json::from_str::<serde_json::Value>(&json_answer("weather", 40)).is_ok());
    }
}
