//! One attempt, carried from its start into the journal.

use super::Walk;
use super::visit::Form;
use crate::domain::deadline::Clock;
use crate::domain::failure::{Cause, Failure, Observation, classify};
use crate::domain::record::{AttemptOutcome, Purpose};
use crate::gateway::attempt::{Attempt, AttemptSpec, Credential, Event, Good, Interrupted, outgoing};
use crate::gateway::events::{AttemptSpan, BoundHit, GapSeen, JournalFull};
use crate::gateway::journal::Entry;
use crate::gateway::lifecycle::Stage;
use crate::gateway::plan::Step;
use crate::gateway::provider::pool::Picked;
use crate::gateway::settle::{BegunAttempt, ms};
use crate::wire::chat::chunks_of_whole;
use futures_util::FutureExt as _;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::Instrument as _;

/// A target that is always ready would keep the reader from its turn; after so
/// many bytes of payload it gets one.
const TURN_BYTES: usize = 64 << 10;

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
        let mut request = outgoing(&step.target, credential, &self.client, form.rewritten.body.clone(), form.streams);
        request.headers.extend(self.open.trace_attempt());
        self.warn_of_drops(step, &form.rewritten.dropped);
        let spec = self.spec(step, form, picked, first_target);
        let mut attempt = Attempt::start(spec, request, &self.gateway.transport, self.open.accepted());
        let tally = attempt.tally();
        let begun = BegunAttempt {
            tally: Arc::clone(&tally),
            purpose,
            limit: step.limits.first_token,
            waited,
            key,
            input_tokens: self.request.asked.input_tokens(),
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
        if let (Some(key), Some(wait)) = (key, tally.lock().exhausted_for) {
            // A good answer may say that it was the last one for a while.
            self.gateway.memory.cool(&step.target, key, Cause::RateLimited, Some(wait), Instant::now());
        }
        AttemptSpan::close(&span, outcome.as_ref().err().map(|interrupted| &interrupted.failure));
        match &outcome {
            Ok(_) => self.open.end_attempt(AttemptOutcome::Ok, None),
            Err(interrupted) => {
                let shut = interrupted.failure.cause == Cause::Shutdown;
                let outcome = if shut { AttemptOutcome::Cancelled } else { AttemptOutcome::Failed };
                self.open.end_attempt(outcome, Some(&interrupted.failure));
            }
        }
        outcome
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
            swallow_usage: asked.stream && !asked.particulars.include_usage,
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
                    carried += frames.iter().map(|frame| frame.data.len()).sum::<usize>();
                    self.journal.append(frames.into_iter().map(Entry::Frame));
                    if carried >= TURN_BYTES {
                        carried = 0;
                        // The reader is polled by the same task, after this.
                        tokio::task::yield_now().await;
                    }
                }
                Event::ForItsUser(headers) => self.journal.set_head(|head| head.provider_headers = headers),
                Event::Whole(body) => self.whole(body),
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

    /// An unstreamed answer: as it is, or, for a client that streams, as chunks.
    pub(super) fn whole(&self, body: bytes::Bytes) {
        let asked = &self.request.asked;
        if asked.stream {
            self.journal.append(chunks_of_whole(&body, asked.particulars.include_usage).into_iter().map(Entry::Frame));
        } else {
            self.journal.append([Entry::Whole(body)]);
        }
    }

    fn warn_of_drops(&mut self, step: &Step, dropped: &[String]) {
        for name in dropped {
            let warning = format!("dropped {name} for {}", step.target.name);
            if !self.open.record.warnings.contains(&warning) {
                self.journal.set_head(|head| head.warnings.push(warning.clone()));
                self.open.record.warnings.push(warning);
            }
        }
    }
}

fn boxed(failure: Failure) -> Box<Interrupted> {
    Box::new(Interrupted::without_answer(failure))
}
