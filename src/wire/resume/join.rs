//! A successor's answer, from the place where it says something new.
//!
//! Owns which of its events go on with the delivered answer, and as which blocks.
//! Refuses what does not join. Invariant: what comes out is the delivered
//! answer's continuation, with blocks that are numbered on.

use super::seam::{Fit, Joined, Seam, Verdict};
use super::transcript::Transcript;
use crate::domain::usage::Usage;
use crate::wire::canon::{Block, Delta, Event};
use std::collections::BTreeSet;

/// Carries events over a seam.
#[derive(Debug, Clone)]
pub struct Join {
    /// Until the words joined.
    seam: Option<Seam>,
    /// The delivered words end a sentence: a call may follow at once.
    ends_a_sentence: bool,
    /// The delivered answer has text, so a successor's reasoning has no place.
    has_text: bool,
    /// The delivered answer's block that is open.
    open: Option<u32>,
    /// Where the joined words go.
    text_block: u32,
    text_is_open: bool,
    /// Added to the numbers of the successor's blocks.
    offset: u32,
    left_out: BTreeSet<u32>,
    /// The successor's blocks whose words are looked at, or were.
    said: BTreeSet<u32>,
    delivered: Delivered,
    how: How,
    refused: Option<&'static str>,
}

/// What the delivered part counts for in the joined answer's usage.
#[derive(Debug, Clone, Copy, Default)]
pub struct Delivered {
    /// Tokens that were delivered before.
    pub output: u64,
    /// Tokens of the successor's prompt that the client did not send.
    pub added_input: u64,
}

/// How it joined, for the record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct How {
    /// `None`: not, or not yet.
    pub fit: Option<Fit>,
    /// Characters that said again what was delivered.
    pub repeated: usize,
    /// Characters held until the place was found.
    pub held: usize,
    /// Characters before the repeat.
    pub dropped: usize,
}

impl Join {
    /// Goes on from `transcript`; `seam`: where it has words.
    #[must_use]
    pub fn new(transcript: &Transcript, seam: Option<Seam>, delivered: Delivered) -> Self {
        let open_text = transcript.open.as_ref().filter(|(_, kind)| *kind == Block::Text).map(|(block, _)| *block);
        let text_block = open_text.unwrap_or(transcript.next);
        let words = transcript.text().trim_end();
        Self {
            how: How { fit: seam.is_none().then_some(Fit::Exact), ..How::default() },
            seam,
            ends_a_sentence: words.ends_with(['.', '!', '?', ':', '…', '。', '！', '？', '।', '`', ')']),
            has_text: !words.is_empty(),
            open: transcript.open.as_ref().map(|(block, _)| *block),
            text_block,
            text_is_open: open_text.is_some(),
            offset: text_block + 1,
            left_out: BTreeSet::new(),
            said: BTreeSet::new(),
            delivered,
            refused: None,
        }
    }

    /// Why the words did not join.
    #[must_use]
    pub const fn refused(&self) -> Option<&'static str> {
        self.refused
    }

    /// How it joined so far.
    #[must_use]
    pub const fn how(&self) -> How {
        self.how
    }

    /// Takes an event of the successor and appends those that go on.
    ///
    /// # Errors
    /// Why its words do not join. Nothing of it may be shown.
    pub fn push(&mut self, event: Event, out: &mut Vec<Event>) -> Result<(), &'static str> {
        let pushed = self.take(event, out);
        self.refused = pushed.err();
        pushed
    }

    fn take(&mut self, event: Event, out: &mut Vec<Event>) -> Result<(), &'static str> {
        match event {
            Event::Start { .. } => {}
            Event::Usage(usage) => out.push(Event::Usage(self.usage(usage))),
            Event::Open { block, kind } => self.open(block, kind, out)?,
            Event::Delta { block, .. } | Event::Close { block } if self.left_out.contains(&block) => {}
            Event::Delta { block, delta } if self.said.contains(&block) => self.say(delta, out)?,
            Event::Close { block } if self.said.contains(&block) => {
                // Without its place found the words may go on in a further block.
                if self.seam.is_none() {
                    self.close_text(out);
                }
            }
            Event::Delta { block, delta } => out.push(Event::Delta { block: self.offset + block, delta }),
            Event::Close { block } => out.push(Event::Close { block: self.offset + block }),
            Event::Finish { .. } => {
                self.settle(out)?;
                self.close_text(out);
                self.close_open(out);
                out.push(event);
            }
        }
        Ok(())
    }

    fn open(&mut self, block: u32, kind: Block, out: &mut Vec<Event>) -> Result<(), &'static str> {
        match kind {
            // Behind words it has no place, and its seal would be over another's words.
            Block::Reasoning | Block::Sealed if self.has_text => {
                self.left_out.insert(block);
            }
            Block::Text if self.seam.is_some() => {
                self.said.insert(block);
            }
            Block::Refusal if self.seam.is_some() => return Err("the successor refuses to go on"),
            kind => {
                if self.seam.is_some() {
                    self.settle(out)?;
                }
                self.close_text(out);
                self.close_open(out);
                out.push(Event::Open { block: self.offset + block, kind });
            }
        }
        Ok(())
    }

    fn say(&mut self, delta: Delta, out: &mut Vec<Event>) -> Result<(), &'static str> {
        match (&mut self.seam, delta) {
            (Some(seam), Delta::Text(text)) => {
                let verdict = seam.push(&text);
                self.follow(verdict, out)
            }
            // Of words that were said before.
            (Some(_), _) => Ok(()),
            (None, delta) => {
                self.open_text(out);
                out.push(Event::Delta { block: self.text_block, delta });
                Ok(())
            }
        }
    }

    /// The successor says no more words where they are looked at.
    fn settle(&mut self, out: &mut Vec<Event>) -> Result<(), &'static str> {
        let Some(seam) = &mut self.seam else { return Ok(()) };
        if seam.held() == 0 && self.ends_a_sentence {
            let nothing = Joined { text: String::new(), fit: Fit::Exact, repeated: 0, dropped: 0 };
            return self.follow(Verdict::Join(nothing), out);
        }
        let verdict = seam.end();
        self.follow(verdict, out)
    }

    fn follow(&mut self, verdict: Verdict, out: &mut Vec<Event>) -> Result<(), &'static str> {
        match verdict {
            Verdict::Wait => Ok(()),
            Verdict::Refuse(why) => Err(why),
            Verdict::Join(Joined { text, fit, repeated, dropped }) => {
                let held = self.seam.take().map_or(0, |seam| seam.held());
                self.how = How { fit: Some(fit), repeated, held, dropped };
                if !text.is_empty() {
                    self.open_text(out);
                    out.push(Event::Delta { block: self.text_block, delta: Delta::Text(text) });
                }
                Ok(())
            }
        }
    }

    fn open_text(&mut self, out: &mut Vec<Event>) {
        if !self.text_is_open {
            self.close_open(out);
            self.text_is_open = true;
            out.push(Event::Open { block: self.text_block, kind: Block::Text });
        }
    }

    fn close_text(&mut self, out: &mut Vec<Event>) {
        if std::mem::take(&mut self.text_is_open) {
            self.open.take_if(|open| *open == self.text_block);
            out.push(Event::Close { block: self.text_block });
            // Words in a further block of the successor are a block of their own.
            self.text_block = self.offset;
            self.offset += 1;
        }
    }

    /// Reasoning that broke off ends where it broke off.
    fn close_open(&mut self, out: &mut Vec<Event>) {
        if let Some(open) = self.open.take_if(|open| *open != self.text_block || !self.text_is_open) {
            out.push(Event::Close { block: open });
        }
    }

    /// Of the joined answer: what was delivered, and what the client sent.
    fn usage(&self, usage: Usage) -> Usage {
        Usage {
            input: usage.input.saturating_sub(self.delivered.added_input),
            output: usage.output + self.delivered.output,
            estimated: true,
            ..usage
        }
    }
}
