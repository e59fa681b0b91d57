//! The place where a successor's words join those that were delivered.
//!
//! Owns what is held, compared, left out and let through. Refuses to join on a
//! guess: words that fit nowhere, or at two places, are refused. Invariants: what
//! is let through is the end of what the successor wrote, character for
//! character; the hold is bounded.
//!
//! Three things can happen. The successor repeats the last words and goes on: the
//! repeat is looked for, whatever stands before it. It starts over, and says what
//! was said: that is left out. It goes on at once, where it was given the answer
//! as its own beginning.

use super::normal::{Normal, is_ignored};
use unicode_segmentation::UnicodeSegmentation as _;

/// Characters that are held while the repeat is looked for (design.md, section 9).
pub const HELD_CHARS_MAX: usize = 240;
/// Characters of the repeat that is asked for (design.md, section 9).
const FRAGMENT_CHARS_MAX: usize = 40;
/// Folded characters of a repeat that count wherever they stand. Fewer count at
/// the start of the words, or behind a break.
const TELLING: usize = 12;
/// Folded characters that a successor says again before it counts as one that
/// starts over although it was given the beginning.
const RESTART: usize = 32;

/// How the successor was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// To repeat the last words, and go on.
    Anchored,
    /// With the answer so far as the beginning of its own.
    Prefill,
}

/// How the words fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// The repeat was found as it was delivered, or there was nothing to repeat.
    Exact,
    /// It was found in another form: case, spaces, quotes, Unicode form.
    Normalised,
    /// A repeat that was not asked for, or another part than was asked for.
    Overlap,
    /// It started over, and said the same.
    Realigned,
}

/// Words that join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// What comes behind the words that were delivered.
    pub text: String,
    pub fit: Fit,
    /// Characters that said again what was delivered.
    pub repeated: usize,
    /// Characters before the repeat.
    pub dropped: usize,
}

/// What is known after some words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Not yet.
    Wait,
    /// From here on everything goes through.
    Join(Joined),
    /// They do not join: why.
    Refuse(&'static str),
}

/// Looks for the place. One for each successor.
#[derive(Debug, Clone)]
pub struct Seam {
    kind: Kind,
    /// What was delivered, without the spaces at its end.
    delivered: Normal,
    /// The spaces at the end of what was delivered.
    spaces: String,
    fragment: String,
    /// [`Self::fragment`], folded.
    anchor: Vec<char>,
    /// What stands before the fragment in what was delivered.
    before: Option<char>,
    held: String,
    held_chars: usize,
    /// Whatever is waited for; one that starts over may put the same words into more spaces.
    held_max: usize,
    said: Normal,
    /// Folded characters that say the delivered words again from their start.
    followed: usize,
    diverged: bool,
    /// Ends of the repeats found, in folded characters.
    found: Vec<usize>,
    looked: usize,
}

impl Seam {
    /// A seam behind `delivered`. `None`: there are no words to join to.
    #[must_use]
    pub fn new(kind: Kind, delivered: &str) -> Option<Self> {
        let words = delivered.trim_end_matches(is_ignored);
        let normal = Normal::of(words);
        if normal.len() == 0 {
            return None;
        }
        let fragment = fragment(words);
        Some(Self {
            kind,
            spaces: delivered[words.len()..].to_owned(),
            anchor: Normal::of(fragment).chars().to_vec(),
            before: words[..words.len() - fragment.len()].chars().next_back(),
            fragment: fragment.to_owned(),
            delivered: normal,
            held: String::new(),
            held_chars: 0,
            held_max: HELD_CHARS_MAX + 2 * delivered.chars().count(),
            said: Normal::default(),
            followed: 0,
            diverged: false,
            found: Vec::new(),
            looked: 0,
        })
    }

    /// The words that a successor is asked to repeat, at most 40 characters.
    #[must_use]
    pub fn fragment(&self) -> &str {
        &self.fragment
    }

    /// Characters held so far.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.held_chars
    }

    /// Takes words of the successor. Not to be called again once it joined.
    pub fn push(&mut self, text: &str) -> Verdict {
        self.held.push_str(text);
        self.held_chars += text.chars().count();
        self.said.push(text);
        self.follow();
        self.look();
        match self.verdict(false) {
            Verdict::Wait if self.held_chars > self.held_max => {
                Verdict::Refuse("the successor writes more than the answer so far, and none of it joins")
            }
            verdict => verdict,
        }
    }

    /// The successor said all it had to say.
    pub fn end(&mut self) -> Verdict {
        match self.verdict(true) {
            Verdict::Wait => Verdict::Refuse("the successor ended before it reached the last words"),
            verdict => verdict,
        }
    }

    fn follow(&mut self) {
        let (said, delivered) = (self.said.chars(), self.delivered.chars());
        while !self.diverged && self.followed < said.len() && self.followed < delivered.len() {
            if said[self.followed] == delivered[self.followed] {
                self.followed += 1;
            } else {
                self.diverged = true;
            }
        }
    }

    fn look(&mut self) {
        let said = self.said.chars();
        for end in self.looked + 1..=said.len() {
            if said[..end].ends_with(&self.anchor) {
                self.found.push(end);
            }
        }
        self.looked = said.len();
    }

    fn verdict(&self, ended: bool) -> Verdict {
        match self.kind {
            Kind::Anchored => self.anchored(ended),
            Kind::Prefill => self.prefilled(ended),
        }
    }

    fn anchored(&self, ended: bool) -> Verdict {
        let all = self.delivered.len();
        if self.followed == all {
            if self.anchor.len() == all {
                return self.join(0, all, Fit::Exact, ended);
            }
            // It repeats what it was asked to, and what follows looks like the beginning; or it starts over.
            if self.found.first() == Some(&self.anchor.len()) && all < 2 * self.anchor.len() {
                return Verdict::Refuse("the last words stand at two places");
            }
            return self.join(0, all, Fit::Realigned, ended);
        }
        if !self.diverged && !ended {
            return Verdict::Wait;
        }
        let fits = |end: &&usize| {
            let start = **end - self.anchor.len();
            (start == 0 || **end > self.followed)
                && (start == 0 || self.anchor.len() >= TELLING || self.is_behind_a_break(start))
        };
        if let Some(end) = self.found.iter().find(fits) {
            let next = &self.said.chars()[*end..];
            if self.anchor.len() >= TELLING && next.starts_with(&self.anchor) {
                return Verdict::Refuse("the successor repeats the last words again and again");
            }
            if self.anchor.len() >= TELLING && !ended && self.anchor.starts_with(next) {
                return Verdict::Wait;
            }
            return self.join(*end - self.anchor.len(), *end, Fit::Exact, ended);
        }
        match self.overlap(ended) {
            Overlap::May if !ended => return Verdict::Wait,
            Overlap::At(end) => return self.join(0, end, Fit::Overlap, ended),
            Overlap::May | Overlap::No => {}
        }
        if !ended && self.held_chars <= HELD_CHARS_MAX {
            return Verdict::Wait;
        }
        match self.shorter() {
            Some((start, end)) => self.join(start, end, Fit::Overlap, ended),
            None => Verdict::Refuse("the successor's words do not contain the last ones"),
        }
    }

    fn prefilled(&self, ended: bool) -> Verdict {
        let all = self.delivered.len();
        let restarts = RESTART.min(all);
        if all >= TELLING {
            if self.followed == all {
                return self.join(0, all, Fit::Realigned, ended);
            }
            if !self.diverged && !ended {
                return Verdict::Wait;
            }
            if self.followed >= restarts {
                return Verdict::Refuse("the successor started over, and says something else");
            }
        }
        match self.overlap(ended) {
            Overlap::May if !ended => Verdict::Wait,
            Overlap::At(end) => self.join(0, end, Fit::Overlap, ended),
            Overlap::May | Overlap::No => self.join(0, 0, Fit::Exact, ended),
        }
    }

    /// Whether the words begin with the end of what was delivered.
    fn overlap(&self, ended: bool) -> Overlap {
        let (said, delivered) = (self.said.chars(), self.delivered.chars());
        let longest = delivered.len().min(self.anchor.len().max(FRAGMENT_CHARS_MAX));
        for length in (TELLING..=longest).rev() {
            let end = &delivered[delivered.len() - length..];
            if said.starts_with(end) {
                return Overlap::At(length);
            }
            if !ended && end.starts_with(said) {
                return Overlap::May;
            }
        }
        Overlap::No
    }

    /// The longest end of the anchor that stands behind a break.
    fn shorter(&self) -> Option<(usize, usize)> {
        let said = self.said.chars();
        for length in (TELLING..self.anchor.len()).rev() {
            let end = &self.anchor[self.anchor.len() - length..];
            let mut places = (0..=said.len().saturating_sub(length))
                .filter(|start| said[*start..].starts_with(end) && self.is_behind_a_break(*start));
            if let Some(start) = places.next() {
                // At two places it is a guess.
                return places.next().is_none().then_some((start, start + length));
            }
        }
        None
    }

    /// Whether what stands before is a remark of its own: it ends in a colon, a line, or a quote opens.
    fn is_behind_a_break(&self, start: usize) -> bool {
        let before = &self.held[..self.said.start(start)];
        let words = before.trim_end_matches(is_ignored);
        words.is_empty()
            || before[words.len()..].contains('\n')
            || words.ends_with([':', '"', '\'', '`', '\u{201c}', '\u{2018}', '\u{ab}', '\u{2026}', '.', '!'])
    }

    /// Joins behind a repeat, `from..end` in folded characters.
    fn join(&self, from: usize, end: usize, fit: Fit, ended: bool) -> Verdict {
        let at = self.said.end(end);
        let start = if end == 0 { 0 } else { self.said.start(from) };
        let accent = self.said.rest_of_character(end);
        let rest = &self.held[at..];
        let text = if accent.is_empty() {
            let Some(rest) = self.without_its_quote(start, rest, ended) else { return Verdict::Wait };
            let Some(rest) = without_spaces(&self.spaces, rest, ended) else { return Verdict::Wait };
            rest.to_owned()
        } else {
            accent + rest
        };
        let repeat = &self.held[start..at];
        let fit = if fit == Fit::Exact && end > 0 && repeat != self.fragment { Fit::Normalised } else { fit };
        Verdict::Join(Joined {
            text,
            fit,
            repeated: repeat.chars().count(),
            dropped: self.held[..start].chars().count(),
        })
    }

    /// What follows a repeat that the successor put in quotes. `None`: not known yet.
    fn without_its_quote<'a>(&self, start: usize, rest: &'a str, ended: bool) -> Option<&'a str> {
        let opened = self.held[..start].chars().next_back();
        let closing = match opened {
            Some('"') => '"',
            Some('\u{201c}') => '\u{201d}',
            Some('\u{ab}') => '\u{bb}',
            Some('`') => '`',
            _ => return Some(rest),
        };
        if self.before == opened {
            return Some(rest);
        }
        match rest.chars().next() {
            None if !ended => None,
            Some(c) if c == closing => Some(&rest[c.len_utf8()..]),
            _ => Some(rest),
        }
    }
}

/// Whether words begin with the end of what was delivered.
enum Overlap {
    /// They may still come to.
    May,
    /// They do, with so many folded characters.
    At(usize),
    No,
}

/// What follows `spaces`, which were delivered already: the successor wrote them
/// once more, in some form, or not at all. `None`: not known yet.
fn without_spaces<'a>(spaces: &str, rest: &'a str, ended: bool) -> Option<&'a str> {
    if let Some(rest) = rest.strip_prefix(spaces) {
        return Some(rest);
    }
    let words = rest.trim_start_matches(is_ignored);
    if words.is_empty() && !ended {
        return None;
    }
    // Another form of as many.
    let written = &rest[..rest.len() - words.len()];
    let skipped = written.char_indices().nth(spaces.chars().count()).map_or(written.len(), |(at, _)| at);
    Some(&rest[skipped..])
}

/// The last words, at most 40 characters, from the start of a word where there is
/// one, else from that of a character as it is read.
fn fragment(words: &str) -> &str {
    let Some((earliest, _)) = words.char_indices().rev().nth(FRAGMENT_CHARS_MAX - 1) else { return words };
    let starts_a_word = |at: &usize| words[..*at].ends_with(is_ignored) && !words[*at..].starts_with(is_ignored);
    let tail = || words[earliest..].char_indices().map(|(at, _)| earliest + at);
    // Not so short that it says nothing.
    let long_enough = |at: &usize| Normal::of(&words[*at..]).len() >= TELLING;
    if let Some(at) = tail().find(|at| starts_a_word(at) && long_enough(at)) {
        return &words[at..];
    }
    let mut graphemes = words.grapheme_indices(true).map(|(at, _)| at);
    let at = graphemes.find(|at| *at >= earliest).unwrap_or(earliest);
    &words[at..]
}

#[cfg(test)]
mod tests;
