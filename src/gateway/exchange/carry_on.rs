//! An answer that broke off in its middle, and who carries it on.
//!
//! Owns what of an exchange can be carried on, what a successor is asked, and what
//! the record says of the seam. Refuses to choose targets (`exchange` walks on).
//! Invariant: what was shown stays; words that do not join are never shown.

use super::Walk;
use super::visit::Form;
use crate::domain::failure::{Cause, Verdict, verdict};
use crate::domain::record::{Seam as SeamRecord, SeamFit, Strategy};
use crate::gateway::attempt::Interrupted;
use crate::gateway::events::Continued;
use crate::gateway::plan::Step;
use crate::gateway::provider::pool::Quirk;
use crate::wire::dialect::Dialect;
use crate::wire::resume::{Continuing, Delivered, Fit, How, Join, Kind, Prefill, Seam, Transcript, continued};
use std::sync::Arc;
use std::time::Instant;

/// Characters of prose that one token holds, where nobody counted: an estimate.
const CHARS_A_TOKEN: u64 = 4;
/// Tokens on top of the rest for the words that a successor repeats (design.md, section 9).
const REPEAT_TOKENS: u64 = 64;

/// An answer that broke off.
#[derive(Debug)]
pub(super) struct Broken {
    pub transcript: Arc<Transcript>,
    /// The place in `lost` of the failure that is told if nobody carries it on.
    pub told: usize,
    /// Since when the client hears nothing, until it hears something.
    since: Option<Instant>,
    silence: Option<u64>,
}

impl Walk {
    /// Takes note that the answer broke off. `Err`: nobody may carry it on, and why, where its cause does not say so.
    pub(super) fn break_off(&mut self, interrupted: &Interrupted) -> Result<(), Option<&'static str>> {
        let Verdict { no, person, .. } = verdict(interrupted.failure.effective_cause(), false);
        if no || person || interrupted.failure.cause == Cause::Shutdown {
            return Err(None);
        }
        let asked = &self.request.asked;
        if !matches!(asked.dialect, Dialect::Chat | Dialect::Messages | Dialect::Responses) {
            return Err(Some("answers of this dialect are not carried on"));
        }
        if asked.particulars.n > 1 || asked.particulars.unstreamable || asked.flag("logprobs") == Some(true) {
            return Err(Some("several choices, sound and log-probabilities are not carried on"));
        }
        let frames = self.journal.frames().ok_or(Some("its beginning is not held any more"))?;
        let transcript = Transcript::read(asked.dialect, frames.iter()).map_err(|lost| Some(lost.why()))?;
        let anew = self.broken.as_ref().is_none_or(|broken| broken.transcript.text() != transcript.text());
        if anew {
            self.broken = Some(Broken {
                transcript: Arc::new(transcript),
                told: self.lost.len(),
                since: Some(Instant::now()),
                silence: None,
            });
        }
        Ok(())
    }

    /// Puts the request for the rest of a broken answer in the place of the request.
    pub(super) fn ask_to_go_on(&self, step: &Step, form: &mut Form) {
        let Some(broken) = &self.broken else { return };
        let text = broken.transcript.text();
        let declared = step.target.prefill.filter(|prefill| takes(form.dialect, *prefill));
        let prefill = declared.filter(|_| !self.gateway.memory.knows(&step.target, Quirk::Prefill, Instant::now()));
        let kind = if prefill.is_some() { Kind::Prefill } else { Kind::Anchored };
        let Some(seam) = Seam::new(kind, text) else {
            // Reasoning alone was shown: the answer itself begins with the successor.
            form.goes_on = Some(GoesOn { strategy: Strategy::Afresh, seam: None });
            return;
        };
        let said = tokens_of(text);
        let ask = Continuing {
            text,
            prefill,
            fragment: seam.fragment(),
            output_tokens_max: self.request.asked.particulars.output_tokens_max.map(|max| {
                let rest = max.saturating_sub(said).max(1) + REPEAT_TOKENS;
                step.target.max_output_tokens.map_or(rest, |most| rest.min(most))
            }),
        };
        if let Some(body) = continued(form.dialect, &form.rewritten.body, &ask) {
            form.rewritten.body = body;
            form.rewritten.pristine = false;
        }
        let strategy = if prefill.is_some() { Strategy::Prefill } else { Strategy::Anchored };
        form.goes_on = Some(GoesOn { strategy, seam: Some(seam) });
    }

    /// The seam that an attempt writes over.
    pub(super) fn join(&self, form: &Form) -> Option<(Arc<Transcript>, Join)> {
        let (broken, goes_on) = (self.broken.as_ref()?, form.goes_on.as_ref()?);
        let output = tokens_of(broken.transcript.text());
        let added_input = if goes_on.seam.is_some() { output + REPEAT_TOKENS } else { 0 };
        let join = Join::new(&broken.transcript, goes_on.seam.clone(), Delivered { output, added_input });
        Some((Arc::clone(&broken.transcript), join))
    }

    /// The client hears something again.
    pub(super) fn heard_again(&mut self) {
        if let Some(broken) = &mut self.broken
            && let Some(since) = broken.since.take()
        {
            broken.silence = Some(u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX));
        }
    }

    /// What the record says of an attempt that carried on, or tried to.
    pub(super) fn note_seam(&mut self, form: &Form, how: Option<How>) {
        let (Some(broken), Some(goes_on)) = (&self.broken, &form.goes_on) else { return };
        let how = how.unwrap_or_default();
        let fit = how.fit.map_or(SeamFit::None, |fit| match fit {
            Fit::Exact => SeamFit::Exact,
            Fit::Normalised => SeamFit::Normalised,
            Fit::Overlap => SeamFit::Overlap,
            Fit::Realigned => SeamFit::Realigned,
        });
        let strategy = if fit == SeamFit::Realigned { Strategy::Realigned } else { goes_on.strategy };
        let silence_ms = broken.silence.filter(|_| how.fit.is_some());
        Continued { strategy, fit, silence_ms }.emit(&self.gateway.metrics);
        self.open.note_seam(SeamRecord {
            strategy,
            seam: fit,
            repeated: how.repeated as u64,
            held: how.held as u64,
            dropped: how.dropped as u64,
            silence_ms,
        });
    }
}

/// How a request asks for the rest.
#[derive(Debug)]
pub(super) struct GoesOn {
    pub strategy: Strategy,
    seam: Option<Seam>,
}

impl GoesOn {
    /// The target was given the beginning as its own.
    pub(super) fn is_prefill(&self) -> bool {
        self.strategy == Strategy::Prefill
    }
}

/// A form of one dialect means nothing in another.
fn takes(dialect: Dialect, prefill: Prefill) -> bool {
    match prefill {
        Prefill::Anthropic => dialect == Dialect::Messages,
        Prefill::Prefix | Prefill::ContinueFinal => dialect == Dialect::Chat,
        Prefill::Trailing => matches!(dialect, Dialect::Chat | Dialect::Messages),
    }
}

fn tokens_of(text: &str) -> u64 {
    (text.chars().count() as u64).div_ceil(CHARS_A_TOKEN)
}
