//! Text as it is compared at a seam: without case, spaces, kinds of quotes and
//! dashes, and Unicode forms.
//!
//! Owns the folding, and where in the text each folded character came from.
//! Invariant: what is appended never changes what was folded before.

use unicode_normalization::char::decompose_compatible;

/// Folded text.
#[derive(Debug, Default, Clone)]
pub(super) struct Normal {
    chars: Vec<char>,
    /// For each, the place behind the character it came from, in bytes.
    ends: Vec<usize>,
    /// For each, the place of the character it came from, in bytes.
    starts: Vec<usize>,
    bytes: usize,
}

impl Normal {
    pub(super) fn of(text: &str) -> Self {
        let mut normal = Self::default();
        normal.push(text);
        normal
    }

    /// Appends text.
    pub(super) fn push(&mut self, text: &str) {
        for c in text.chars() {
            let (start, end) = (self.bytes, self.bytes + c.len_utf8());
            fold(c, |folded| {
                self.chars.push(folded);
                self.starts.push(start);
                self.ends.push(end);
            });
            self.bytes = end;
        }
    }

    pub(super) fn chars(&self) -> &[char] {
        &self.chars
    }

    pub(super) const fn len(&self) -> usize {
        self.chars.len()
    }

    /// The place in the text behind the first `count` folded characters, in bytes.
    pub(super) fn end(&self, count: usize) -> usize {
        count.checked_sub(1).map_or(0, |last| self.ends[last])
    }

    /// The place in the text where the folded character at `at` begins, in bytes.
    pub(super) fn start(&self, at: usize) -> usize {
        self.starts.get(at).copied().unwrap_or(self.bytes)
    }

    /// What the character that the first `count` end in has beyond them: an accent,
    /// where the letter alone was delivered.
    pub(super) fn rest_of_character(&self, count: usize) -> String {
        let end = self.end(count);
        let rest = self.chars.iter().zip(&self.ends).skip(count);
        rest.take_while(|(_, other)| **other == end && count > 0).map(|(c, _)| *c).collect()
    }
}

/// Whether a character counts for nothing at a seam: spaces, soft hyphens, marks of byte order.
pub(super) fn is_ignored(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{ad}' | '\u{200b}' | '\u{2060}' | '\u{feff}')
}

/// Unicode Standard Annex 15, form KD, character by character (marks keep their
/// order: both sides are folded alike), then lower case.
fn fold(c: char, mut take: impl FnMut(char)) {
    decompose_compatible(c, |part| {
        let part = match part {
            '\u{201c}'..='\u{201f}' | '\u{ab}' | '\u{bb}' => '"',
            '\u{2018}'..='\u{201b}' | '\u{2039}' | '\u{203a}' | '`' => '\'',
            '\u{2010}'..='\u{2015}' | '\u{2212}' => '-',
            other => other,
        };
        if !is_ignored(part) {
            part.to_lowercase().for_each(&mut take);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(a: &str, b: &str) -> bool {
        Normal::of(a).chars() == Normal::of(b).chars()
    }

    #[test]
    fn what_differs_in_form_alone_is_the_same() {
        assert!(same("Caf\u{e9}  au lait", "cafe\u{301} Au\nlait"));
        assert!(same("\u{201c}so\u{201d} \u{2014} it\u{2019}s\u{2026}", "\"so\" - it's..."));
        assert!(same("\u{ac00}", "\u{1100}\u{1161}"));
        assert!(!same("cafe", "caf\u{e9}"));
        assert!(!same("1.5", "15"));
    }

    #[test]
    fn places_are_those_of_the_text() {
        let normal = Normal::of("a \u{e9}x");
        assert_eq!(normal.len(), 4);
        assert_eq!((normal.end(1), normal.start(1), normal.end(2), normal.end(3)), (1, 2, 4, 4));
        assert_eq!((normal.rest_of_character(2).as_str(), normal.rest_of_character(3).as_str()), ("\u{301}", ""));
        assert_eq!(normal.rest_of_character(0), "");
    }
}
