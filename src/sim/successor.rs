//! What a model says that is given the beginning of an answer.
//!
//! Owns how it goes on: well, sloppily, in other words, from the start. Refuses to
//! know who asks. Invariant: what is new in it is the rest of the same
//! deterministic text, so that a joined answer can be checked.

use super::text;
use crate::domain::failure::closed_enum;
use unicode_normalization::UnicodeNormalization as _;

closed_enum! {
    /// How a model goes on (design.md, section 14).
    Successor {
        /// Repeats what it is asked to, word for word; takes a beginning as its own.
        Good => "good",
        /// As good, in other case, spaces, quotes and Unicode form.
        Sloppy1 => "sloppy_1",
        /// Repeats less or more than it was asked to, or remarks something before.
        Sloppy2 => "sloppy_2",
        /// Repeats the sense.
        Paraphrasing => "paraphrasing",
        /// Starts over, word for word.
        Stubborn => "stubborn",
        /// Starts over, and says something else.
        Stubborn2 => "stubborn_2",
        /// Refuses a beginning with 400; else good.
        RefusesPrefill => "refuses_prefill",
        /// Says the words that it is asked to repeat again and again.
        Echo => "echo",
    }
}

/// The beginning of an answer that a request brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Begun {
    pub text: String,
    /// The words that it asks to be repeated; `None`: the beginning is the last turn.
    pub repeat: Option<String>,
}

impl Begun {
    /// What a person's turn behind `text` asks to be repeated: all that follows its first empty line, where
    /// `text` ends so.
    pub fn asked(text: &str, words: &str) -> Option<Self> {
        let (_, repeat) = words.split_once("\n\n")?;
        let is_its_end = !repeat.is_empty() && text.trim_end().ends_with(repeat);
        is_its_end.then(|| Self { text: text.to_owned(), repeat: Some(repeat.to_owned()) })
    }

    /// What is said instead of `whole`. `None`: `whole` did not begin so, and is said as it is.
    pub fn go_on(&self, successor: Successor, prompt: &str, whole: &str) -> Option<String> {
        let given = self.text.trim_end();
        let rest = whole.strip_prefix(given).filter(|_| !given.is_empty())?;
        let other = |what: &str, tokens| text::answer_text(&format!("{prompt}\u{1}{what}"), tokens);
        let repeat = self.repeat.as_deref();
        Some(match (successor, repeat) {
            (Successor::Stubborn, _) => whole.to_owned(),
            (Successor::Stubborn2, _) => other("otherwise", 80),
            (Successor::Paraphrasing, Some(_)) => format!("{} {rest}", other("in other words", 12)),
            (Successor::Sloppy1, Some(repeat)) => sloppy(repeat) + rest,
            (Successor::Sloppy2, Some(repeat)) => self.another_part(prompt, given, repeat) + rest,
            (Successor::Echo, Some(repeat)) => repeat.repeat(200),
            (Successor::Good | Successor::RefusesPrefill, Some(repeat)) => repeat.to_owned() + rest,
            (_, None) => rest.to_owned(),
        })
    }

    /// Less than `repeat`, more, or a remark before it; which, depends on the text.
    fn another_part(&self, prompt: &str, given: &str, repeat: &str) -> String {
        let letters: Vec<char> = given.chars().collect();
        let last = |count: usize| letters[letters.len().saturating_sub(count)..].iter().collect::<String>();
        match text::seed(&format!("{prompt}\u{1}{}", self.text)) % 3 {
            0 => last(repeat.chars().count().min(24)),
            1 => last(repeat.chars().count() + 35),
            _ => format!("Of course, here is the rest of my answer: {repeat}"),
        }
    }
}

/// Lower case, two spaces for one, curly quotes, letters and accents apart.
fn sloppy(repeat: &str) -> String {
    repeat.to_lowercase().replace(' ', "  ").replace('"', "\u{201d}").replace('\'', "\u{2019}").nfd().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_is_the_rest_of_the_text() {
        let whole = text::answer_text("a prompt", 40);
        let (given, rest) = whole.split_at(whole.char_indices().nth(90).expect("long").0);
        let repeat = given.chars().skip(60).collect::<String>();
        let begun = Begun::asked(given, &format!("Go on.\n\n{}", repeat.trim_end())).expect("it asks");
        for successor in
            [Successor::Good, Successor::Sloppy1, Successor::Sloppy2, Successor::Paraphrasing, Successor::Stubborn]
        {
            let said = begun.go_on(successor, "a prompt", &whole).expect("it began so");
            assert!(said.ends_with(rest.trim_start()), "{successor:?}: {said}");
        }
        let prefill = Begun { text: given.to_owned(), repeat: None };
        assert_eq!(prefill.go_on(Successor::Good, "a prompt", &whole).as_deref(), whole.strip_prefix(given.trim_end()));
        assert_eq!(prefill.go_on(Successor::Good, "a prompt", "other words"), None);
        assert_eq!(Begun::asked(given, "Go on.\n\nwords that it did not say"), None);
        assert_eq!(Begun::asked(given, "Go on."), None);
    }
}
