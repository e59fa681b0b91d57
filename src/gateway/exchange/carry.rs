//! One attempt, carried from its start into the journal.

use super::Walk;
use super::goes_on::PREVIOUS;
use super::visit::Form;
use crate::domain::deadline::Clock;
use crate::domain::failure::{Cause, Failure, Observation, classify};
use crate::domain::record::{AttemptOutcome, Purpose};
use crate::gateway::attempt::{Attempt, AttemptSpec, Credential, Event, Good, Interrupted, Tally, outgoing};
use crate::gateway::events::{AttemptSpan, BoundHit, GapSeen, JournalFull};
use crate::gateway::intake::Request;
use crate::gateway::journal::Entry;
use crate::gateway::lifecycle::Stage;
use crate::gateway::makers::Maker;
use crate::gateway::plan::Step;
use crate::gateway::provider::pool::Picked;
use crate::gateway::settle::{BegunAttempt, ms};
use crate::wire::canon::{Json, ReplyContext};
use crate::wire::chat::chunks_of_whole;
use crate::wire::dialect::Dialect;
use crate::wire::{messages, responses};
use futures_util::FutureExt as _;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::Instrument as _;

/// A target that is always ready would keep the reader from its turn; after so
/// many bytes of payload it gets one.
const TURN_BYTES: usize = 64 << 10;
/// Losses of one translation that are named one by one: a header holds them.
const WARNINGS_MAX: usize = 8;

impl Walk {
    /// Makes one attempt and writes its part of the record.
    pub(super) async fn attempt(
        &mut self,
        step: &Step,
        form: &Form,
        picked: Picked,
        first_target: bool,
        purpose: Purpose,
        waited: Duration,
    ) -> Result<Good, Box<Interrupted>> {
        let (credential, key) = match picked {
            Picked::Nothing => (Credential::Nothing, None),
            Picked::Client => (Credential::Client, None),
            Picked::Key(key) => (Credential::Key(key), Some(key)),
        };
        let mut request = outgoing(
            &step.target,
            credential,
            &self.client,
            form.rewritten.body.clone(),
            (self.request.asked.dialect, form.dialect, form.streams),
        );
        request.headers.extend(self.open.trace_attempt());
        self.warn(step, form);
        self.note_answerer(step, picked, form);
        let spec = self.spec(step, form, picked, first_target);
        let mut attempt = Attempt::start(spec, request, &self.gateway.transport, self.open.accepted());
        let tally = attempt.tally();
        let begun = BegunAttempt {
            tally: Arc::clone(&tally),
            purpose,
            limit: step.limits.first_token,
            waited,
            key,
            input_tokens: Some(self.request.asked.input_tokens()),
            translated_to: (form.dialect != self.request.asked.dialect).then_some(form.dialect),
        };
        self.open.begin_attempt(&step.target, begun);
        let attempts = self.open.record.attempts.len() + 1;
        self.journal.set_head(|head| {
            step.target.name.as_str().clone_into(&mut head.target);
            head.attempts = attempts;
            head.provider_headers.clear();
        });
        let span = AttemptSpan { target: &step.target, purpose, place: attempts }.open();
        let mut outcome = self.follow(step, &mut attempt).instrument(span.clone()).await;
        if self.journal.shown()
            && let Err(interrupted) = &mut outcome
            && let Some(empty) = interrupted.empty.take()
        {
            // Its reasoning was shown already: the answer is what it is.
            let sent = empty.entries.len() - empty.unsent;
            self.journal.append(empty.entries.into_iter().skip(sent));
            outcome = Ok(Good { finishes: empty.finishes });
        }
        self.note_seam(form, tally.lock().how);
        self.learn(step, picked, &mut tally.lock());
        AttemptSpan::close(&span, outcome.as_ref().err().map(|interrupted| &interrupted.failure));
        match &outcome {
            Ok(_) => self.open.end_attempt(AttemptOutcome::Ok, None),
            Err(interrupted) => {
                let shut = interrupted.failure.cause == Cause::Shutdown;
                // Words that do not join are no failure of who wrote them.
                let unjoined = interrupted.unjoined.is_some();
                let outcome = if shut || unjoined { AttemptOutcome::Cancelled } else { AttemptOutcome::Failed };
                self.open.end_attempt(outcome, Some(&interrupted.failure).filter(|_| !unjoined));
            }
        }
        outcome
    }

    /// What an attempt, however it ended, lets us know for later ones.
    fn learn(&mut self, step: &Step, picked: Picked, tally: &mut Tally) {
        if let (Picked::Key(key), Some(wait)) = (picked, tally.exhausted_for) {
            // A good answer may say that it was the last one for a while.
            self.gateway.memory.cool(&step.target, key, Cause::RateLimited, Some(wait), Instant::now());
        }
        let seals = std::mem::take(&mut tally.seals);
        if !seals.is_empty() {
            self.gateway.makers.remember(&seals, Maker::of(&step.target.provider, picked));
        }
        // An answer that is not streamed has its head still to come.
        for loss in std::mem::take(&mut tally.losses).into_iter().take(WARNINGS_MAX) {
            self.warn_of(format!("{loss} of the answer"));
        }
    }

    fn spec(&self, step: &Step, form: &Form, picked: Picked, first_target: bool) -> AttemptSpec {
        let bounds = &self.settings.bounds;
        let asked = &self.request.asked;
        AttemptSpec {
            target: step.target.clone(),
            limits: step.limits,
            finish_grace: bounds.finish_grace,
            frame_bytes_max: bounds.frame_bytes_max,
            output_bytes_max: bounds.output_bytes_max,
            streams: form.streams,
            dialect: form.dialect,
            translation: (form.dialect != asked.dialect || form.goes_on.is_some())
                .then(|| Box::new((asked.dialect, self.reply_context()))),
            goes_on: self.join(form).map(Box::new),
            swallow_usage: form.asks_usage && asked.stream && !asked.particulars.include_usage,
            choices: asked.particulars.n,
            first_target,
            pristine: form.rewritten.pristine,
            forwards_client_auth: picked == Picked::Client,
            body: form.rewritten.body.clone(),
        }
    }

    /// Carries an attempt's events into the journal until it ends.
    async fn follow(&mut self, step: &Step, attempt: &mut Attempt) -> Result<Good, Box<Interrupted>> {
        let gateway = Arc::clone(&self.gateway);
        let mut ending = pin!(gateway.lifecycle.reached(Stage::Ending));
        let mut gaps = None;
        let mut carried = 0;
        loop {
            let event = tokio::select! {
                biased;
                event = self.next(step, attempt) => event,
                () = &mut ending => {
                    return Err(boxed(classify(&attempt.evidence(Observation::Shutdown))));
                }
            };
            match event {
                Event::Frames { frames, gap } => {
                    if let Some(gap) = gap {
                        let gaps = gaps.get_or_insert_with(|| gateway.metrics.gaps_of(&step.target.label));
                        GapSeen(gap).emit(gaps);
                    }
                    self.heard_again();
                    self.note_terminal(&frames);
                    carried += frames.iter().map(|frame| frame.data.len()).sum::<usize>();
                    self.journal.append(frames.into_iter().map(Entry::Frame));
                    if carried >= TURN_BYTES {
                        carried = 0;
                        // The reader is polled by the same task, after this.
                        tokio::task::yield_now().await;
                    }
                }
                Event::ForItsUser(headers) => self.journal.set_head(|head| head.provider_headers = headers),
                Event::Whole(body) => {
                    if !self.whole(&body) {
                        // It is JSON of a kind that can be passed on, not taken apart: a number too large.
                        let detail = "the answer cannot be made into a stream".to_owned();
                        return Err(boxed(classify(&attempt.evidence(Observation::Garbled { detail }))));
                    }
                    self.note_whole(body);
                }
                Event::Ended(good) => return Ok(good),
                Event::Failed(interrupted) => {
                    if let Some(bound) = interrupted.bound {
                        BoundHit(bound).emit(&self.gateway.metrics);
                    }
                    return Err(interrupted);
                }
            }
        }
    }

    /// The attempt's next event, once the journal has room for it. While it has
    /// none the attempt's clocks rest, all but `total`. Cancel-safe.
    async fn next(&self, step: &Step, attempt: &mut Attempt) -> Event {
        let mut room = std::future::poll_fn(|cx| self.journal.poll_room(cx));
        if (&mut room).now_or_never().is_none() {
            JournalFull.emit(&self.gateway.metrics);
            attempt.suspend();
            let total = step.limits.total;
            let in_time = if let Some(limit) = total.value {
                tokio::time::timeout_at((self.open.accepted() + limit).into(), room).await.is_ok()
            } else {
                room.await;
                true
            };
            attempt.resume();
            if !in_time {
                let observation = Observation::Clock {
                    clock: Clock::Total,
                    limit_ms: total.value.map_or(0, ms),
                    elapsed_ms: self.open.elapsed_ms(),
                    source: total.source,
                };
                return Event::Failed(boxed(classify(&attempt.evidence(observation))));
            }
        }
        attempt.next().await
    }

    /// An unstreamed answer: as it is, or, for a client that streams, as frames that
    /// say all of it. `false`: there are none.
    pub(super) fn whole(&self, body: &bytes::Bytes) -> bool {
        let asked = &self.request.asked;
        let frames = match asked.dialect {
            _ if !asked.stream => {
                self.journal.append([Entry::Whole(body.clone())]);
                return true;
            }
            Dialect::Messages => messages::frames_of_whole(body),
            Dialect::Responses => responses::frames_of_whole(body),
            Dialect::Chat | Dialect::Completions | Dialect::Embeddings | Dialect::CountTokens => {
                chunks_of_whole(body, asked.particulars.include_usage)
            }
        };
        let is_told = !frames.is_empty();
        self.journal.append(frames.into_iter().map(Entry::Frame));
        is_told
    }

    /// What an encoder of the client's dialect knows of this exchange.
    fn reply_context(&self) -> ReplyContext {
        let asked = &self.request.asked;
        ReplyContext {
            id: self.open.record.id.to_ascii_lowercase(),
            created: u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0),
            model: asked.model.clone(),
            // A whole answer is assembled from frames, and has its usage.
            include_usage: asked.particulars.include_usage || !asked.stream,
            custom_tools: self.request.custom_tools(),
            unfit_names: self.request.unfit_names(),
            fields: repeated(&self.request),
        }
    }

    /// Names what this target does not get as the client wrote it.
    fn warn(&mut self, step: &Step, form: &Form) {
        for name in &form.rewritten.dropped {
            self.warn_of(format!("dropped {name} for {}", step.target.name));
        }
        for loss in form.losses.iter().take(WARNINGS_MAX) {
            self.warn_of(format!("{loss} for {}", step.target.name));
        }
        if let Some(more) = form.losses.len().checked_sub(WARNINGS_MAX + 1) {
            self.warn_of(format!("and {} more for {}", more + 1, step.target.name));
        }
    }

    pub(super) fn warn_of(&mut self, warning: String) {
        if !self.open.record.warnings.contains(&warning) {
            self.journal.set_head(|head| head.warnings.push(warning.clone()));
            self.open.record.warnings.push(warning);
        }
    }
}

/// The fields that an answer repeats (responses), or that say in which form it
/// is wanted (chat's older `functions`).
fn repeated(request: &Request) -> Vec<(String, Json)> {
    let asked = &request.asked;
    let wanted = |name: &str| match asked.dialect {
        // Its input too: tools may be defined in it.
        Dialect::Responses => true,
        Dialect::Chat => matches!(name, "functions" | "tools"),
        Dialect::Messages | Dialect::Completions | Dialect::Embeddings | Dialect::CountTokens => false,
    };
    let previous = asked.fields().iter().filter(|(name, _)| request.chain.is_some() && name == PREVIOUS);
    let fields = request.whole().iter().filter(|(name, _)| wanted(name)).chain(previous);
    fields.map(|(name, raw)| (name.clone(), Json::from(raw.clone()))).collect()
}

fn boxed(failure: Failure) -> Box<Interrupted> {
    Box::new(Interrupted::without_answer(failure))
}
