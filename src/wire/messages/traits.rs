//! What a model of this dialect takes.
//!
//! Owns one small table by model name. Refuses to know prices and windows
//! (configuration has them). Invariant: a name that is not listed is taken for
//! what costs least if it is wrong: a `claude` for a newest one, any other for
//! the dialect's first form, which compatible servers copied.
//!
//! Sources (read in November 2026): Claude docs, "Troubleshooting thinking"
//! (modes and rejected `thinking.type` by model), "Effort" (levels by model),
//! "What's new in Claude Opus 5.5" (thinking always on, no forced tool, as on
//! Fable 5.1), "Migrating to Claude Opus 4.7" (no sampling parameters), "Models
//! overview" (output limits); the API's own 400 of Claude Opus 4.1 and later,
//! "`temperature` and `top_p` cannot both be specified for this model".

use crate::wire::canon::Effort;

/// How a model is told to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Never,
    /// `{"type":"enabled","budget_tokens"}`.
    Budget,
    /// `{"type":"adaptive"}` and `output_config.effort`.
    Adaptive,
}

/// How a model is told not to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Off {
    Disabled,
    /// It thinks between calls at most (Claude Sonnet 5.5).
    BetweenTools,
    /// It always thinks.
    Impossible,
}

/// Which of `temperature`, `top_p` and `top_k` a model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Draws {
    All,
    /// Not `temperature` together with `top_p`.
    One,
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Traits {
    pub mode: Mode,
    pub off: Off,
    /// Levels of `output_config.effort`, from least to most.
    pub efforts: &'static [Effort],
    pub draws: Draws,
    /// `tool_choice` may be `any` or `tool`.
    pub forced_tool: bool,
    /// Tokens to ask for where nobody set a limit: at most what the model gives.
    pub output_tokens: u64,
}

const EFFORTS: &[Effort] = &[Effort::Low, Effort::Medium, Effort::High, Effort::XHigh, Effort::Max];
const NO_XHIGH: &[Effort] = &[Effort::Low, Effort::Medium, Effort::High, Effort::Max];
const TO_HIGH: &[Effort] = &[Effort::Low, Effort::Medium, Effort::High];

/// A server that speaks this dialect and is not Anthropic's.
const COMPATIBLE: Traits = Traits {
    mode: Mode::Budget,
    off: Off::Disabled,
    efforts: &[],
    draws: Draws::All,
    forced_tool: true,
    output_tokens: 8_192,
};
const OLDEST: Traits = Traits { mode: Mode::Never, output_tokens: 4_096, ..COMPATIBLE };
const FOUR: Traits = Traits { output_tokens: 32_000, ..COMPATIBLE };
const FOUR_FIVE: Traits = Traits { draws: Draws::One, output_tokens: 64_000, ..COMPATIBLE };
const FOUR_SIX: Traits = Traits { mode: Mode::Adaptive, efforts: NO_XHIGH, ..FOUR_FIVE };
const FOUR_SEVEN: Traits = Traits { efforts: EFFORTS, draws: Draws::Nothing, ..FOUR_SIX };
const ALWAYS: Traits = Traits { off: Off::Impossible, ..FOUR_SEVEN };
const UNFORCED: Traits = Traits { forced_tool: false, ..ALWAYS };

/// Beginnings of names behind `claude-`, the longer before the shorter.
const TABLE: [(&str, Traits); 24] = [
    ("3-7", Traits { output_tokens: 64_000, ..COMPATIBLE }),
    ("3-5", Traits { mode: Mode::Never, ..COMPATIBLE }),
    ("3", OLDEST),
    ("2", OLDEST),
    ("opus-4-8", FOUR_SEVEN),
    ("opus-4-7", FOUR_SEVEN),
    ("opus-4-6", FOUR_SIX),
    ("opus-4-5", Traits { efforts: TO_HIGH, ..FOUR_FIVE }),
    ("opus-4-1", Traits { draws: Draws::One, ..FOUR }),
    ("opus-4", FOUR),
    ("sonnet-4-6", FOUR_SIX),
    ("sonnet-4-5", FOUR_FIVE),
    ("sonnet-4", Traits { output_tokens: 64_000, ..COMPATIBLE }),
    ("haiku-4-5", FOUR_FIVE),
    ("mythos-preview", Traits { efforts: NO_XHIGH, ..ALWAYS }),
    ("mythos-5-1", UNFORCED),
    ("mythos", ALWAYS),
    ("fable-5-1", UNFORCED),
    ("fable", ALWAYS),
    ("opus-5-5", UNFORCED),
    ("opus-5", FOUR_SEVEN),
    ("sonnet-5-5", Traits { off: Off::BetweenTools, ..FOUR_SEVEN }),
    ("sonnet-5", FOUR_SEVEN),
    ("haiku-5-5", FOUR_SEVEN),
];

/// What the model of this name takes. Clouds put a prefix before it, and some
/// write its version with dots (`anthropic/claude-opus-4.7`).
pub(super) fn traits_of(model: &str) -> Traits {
    let name = model.to_ascii_lowercase().replace(['.', '@'], "-");
    let Some((_, name)) = name.rsplit_once("claude-") else { return COMPATIBLE };
    TABLE.iter().find(|(start, _)| name.starts_with(start)).map_or(ALWAYS, |(_, traits)| *traits)
}

impl Traits {
    /// The level nearest to `wish`, not above it where there is one below.
    pub(super) fn effort(&self, wish: Effort) -> Option<Effort> {
        self.efforts.iter().rev().find(|level| **level <= wish).or(self.efforts.first()).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_writing_find_their_row() {
        for (name, traits) in [
            ("claude-opus-4-20250514", FOUR),
            ("claude-opus-4-5-20251101", Traits { efforts: TO_HIGH, ..FOUR_FIVE }),
            ("us.anthropic.claude-opus-4-6-v1", FOUR_SIX),
            ("anthropic/claude-opus-4.7", FOUR_SEVEN),
            ("claude-sonnet-4-5@20250929", FOUR_FIVE),
            ("claude-sonnet-5", FOUR_SEVEN),
            ("claude-opus-5-5", UNFORCED),
            ("Claude-Fable-5", ALWAYS),
            ("claude-zenith-9", ALWAYS),
            ("claude-3-5-haiku-latest", Traits { mode: Mode::Never, ..COMPATIBLE }),
            ("deepseek-chat", COMPATIBLE),
        ] {
            assert_eq!(traits_of(name), traits, "{name}");
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

    #[test]
    fn a_wish_becomes_the_nearest_level() {
        assert_eq!(FOUR_SEVEN.effort(Effort::Minimal), Some(Effort::Low));
        assert_eq!(FOUR_SIX.effort(Effort::XHigh), Some(Effort::High));
        assert_eq!(FOUR_SIX.effort(Effort::Max), Some(Effort::Max));
        assert_eq!(COMPATIBLE.effort(Effort::High), None);
    }
}
