//! Which words for effort a model of OpenAI's dialects takes.
//!
//! Owns one small table by model name. Refuses to know whether a model is to
//! think at all. Invariant: a name that is not listed gets the three words that
//! all take who take any.
//!
//! Sources (read in November 2026): OpenAI API reference, `reasoning_effort` ("All
//! models before gpt-5.1 ... do not support none", "xhigh is supported for all
//! models after gpt-5.1-codex-max", "gpt-5-pro ... only supports high"); its own
//! 400s that list what a model takes; vLLM's and SGLang's list for others.

use super::canon::Effort;

/// What a model takes.
struct Takes {
    /// It can be told not to think.
    none: bool,
    /// From least to most; nothing: no wish at all.
    efforts: &'static [Effort],
}

const PLAIN: &[Effort] = &[Effort::Low, Effort::Medium, Effort::High];
const TO_XHIGH: &[Effort] = &[Effort::Low, Effort::Medium, Effort::High, Effort::XHigh];
const FROM_MINIMAL: &[Effort] = &[Effort::Minimal, Effort::Low, Effort::Medium, Effort::High];

/// Beginnings of names behind a vendor's prefix, the longer before the shorter.
const TABLE: [(&str, Takes); 17] = [
    ("gpt-5.1-codex-max", Takes { none: false, efforts: TO_XHIGH }),
    ("gpt-5.1-codex", Takes { none: false, efforts: PLAIN }),
    ("gpt-5.1", Takes { none: true, efforts: PLAIN }),
    ("gpt-5.2-codex", Takes { none: false, efforts: TO_XHIGH }),
    ("gpt-5.3-codex", Takes { none: false, efforts: TO_XHIGH }),
    ("gpt-5.", Takes { none: true, efforts: TO_XHIGH }),
    ("gpt-5-pro", Takes { none: false, efforts: &[Effort::High] }),
    ("gpt-5-codex", Takes { none: false, efforts: PLAIN }),
    ("gpt-5-chat", Takes { none: false, efforts: &[] }),
    ("gpt-5", Takes { none: false, efforts: FROM_MINIMAL }),
    ("gpt-6", Takes { none: true, efforts: TO_XHIGH }),
    ("gpt-4", Takes { none: false, efforts: &[] }),
    ("gpt-3", Takes { none: false, efforts: &[] }),
    ("gpt-oss", Takes { none: false, efforts: PLAIN }),
    ("o1", Takes { none: false, efforts: PLAIN }),
    ("o3", Takes { none: false, efforts: PLAIN }),
    ("o4", Takes { none: false, efforts: PLAIN }),
];

/// What a wish becomes at a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// As it was wished.
    Same(&'static str),
    /// The nearest that there is.
    Nearest(&'static str),
    /// It takes no such wish.
    LeftOut,
}

fn row(model: &str) -> Option<&'static Takes> {
    let name = model.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    TABLE.iter().find(|(start, _)| name.starts_with(start)).map(|(_, takes)| takes)
}

/// The word for `wish`, or the nearest below it, or else the least.
pub(super) fn word(model: &str, wish: Effort) -> Word {
    let efforts = row(model).map_or(PLAIN, |takes| takes.efforts);
    match efforts.iter().rev().find(|level| **level <= wish).or(efforts.first()) {
        Some(level) if *level == wish => Word::Same(level.as_str()),
        Some(level) => Word::Nearest(level.as_str()),
        None => Word::LeftOut,
    }
}

/// The word for no thinking. A model that always thinks thinks least; of one that
/// is not listed only what its operator declared is known (`declared`).
pub(super) fn none(model: &str, declared: bool) -> Word {
    match row(model) {
        Some(Takes { none: true, .. }) => Word::Same("none"),
        Some(takes) => takes.efforts.first().map_or(Word::LeftOut, |least| Word::Nearest(least.as_str())),
        None if declared => Word::Same("none"),
        None => Word::LeftOut,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_becomes_a_word_that_the_model_takes() {
        use Word::{LeftOut, Nearest, Same};
        for (model, wish, becomes) in [
            ("openai/gpt-5", Effort::Minimal, Same("minimal")),
            ("gpt-5-mini", Effort::Max, Nearest("high")),
            ("gpt-5.1", Effort::Minimal, Nearest("low")),
            ("gpt-5.4-mini", Effort::Max, Nearest("xhigh")),
            ("GPT-5.1-Codex-Max", Effort::XHigh, Same("xhigh")),
            ("gpt-5-pro", Effort::Low, Nearest("high")),
            ("o3-mini", Effort::XHigh, Nearest("high")),
            ("gpt-4o", Effort::High, LeftOut),
            ("some-server", Effort::Max, Nearest("high")),
            ("some-server", Effort::Medium, Same("medium")),
        ] {
            assert_eq!(word(model, wish), becomes, "{model} {wish:?}");
        }
        for (model, declared, becomes) in [
            ("gpt-5.2", false, Same("none")),
            ("gpt-5", true, Nearest("minimal")),
            ("o4-mini", false, Nearest("low")),
            ("gpt-4.1", true, LeftOut),
            ("some-server", false, LeftOut),
            ("some-server", true, Same("none")),
        ] {
            assert_eq!(none(model, declared), becomes, "{model} {declared}");
        }
    }

    #[test]
    fn no_row_hides_a_longer_one_below_it() {
        for (place, (later, _)) in TABLE.iter().enumerate() {
            for (earlier, _) in &TABLE[..place] {
                assert!(!later.starts_with(earlier), "{earlier} hides {later}");
            }
        }
    }
}
