//! One try at one target: a stream of events, or a failure.
//!
//! Owns the reading of one answer: head, refusal, frames, ending, with its
//! clocks. Refuses to know what comes next (`exchange` does). Invariants: a
//! ready read is taken before a clock is judged; frames are handed out only
//! from the first content on, or with an accepted end; polling is cancel-safe.

mod judge;
mod request;
mod told;

pub use judge::{TargetAnswer, clock, for_its_user, unquoted, upstream_request_id};
pub use request::{AttemptSpec, Credential, Passing, forwardable, outgoing, passing};
pub use told::{EmptyAnswer, Event, Good, Interrupted, Tally};

use crate::domain::failure::{Evidence, Observation, classify};
use crate::gateway::events::Bound;
use crate::gateway::journal::Entry;
use crate::gateway::provider::pace::{Fired, Pace};
use crate::gateway::provider::transport::{Marks, Outgoing, Stage, Transport, Upstream};
use crate::wire::dialect::Dialect;
use crate::wire::facts::{Finish, FrameFacts};
use crate::wire::frames::FrameReader;
use crate::wire::seals::{SealHash, SealWatch, in_whole};
use crate::wire::sse::{SseDecoder, SseFrame};
use crate::wire::translate::Translator;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use judge::{Judged, judge_whole};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};
use tokio::time::Sleep;

/// Frames that wait for the first content.
const HELD_FRAMES_MAX: usize = 64;
const HELD_BYTES_MAX: usize = 64 << 10;
/// Signs of life before the first content that are passed on (design.md, section 5).
const REPEATS_HELD_MAX: usize = 8;
/// Sealed pieces of reasoning that one answer is remembered for.
const SEALS_MAX: usize = 1024;
/// Bytes of a refusal's body that are read.
const REFUSAL_BYTES_MAX: usize = 64 << 10;
/// Read without a pause before what is there is handed on.
const BATCH_BYTES: usize = 64 << 10;

/// An attempt under way.
pub struct Attempt {
    spec: AttemptSpec,
    transport: Arc<Transport>,
    began: Instant,
    pace: Pace,
    marks: Arc<Marks>,
    stage: Stage,
    accepted: u64,
    state: State,
    sleep: Pin<Box<Sleep>>,
    armed: Option<Instant>,
    decoder: SseDecoder,
    reader: FrameReader,
    /// Where the client speaks another dialect.
    translator: Option<Box<Translator>>,
    /// Why the words do not join.
    unjoined: Option<&'static str>,
    seals: SealWatch,
    /// Signs of life before the first content.
    repeats: usize,
    frames: Vec<SseFrame>,
    /// Handed out already, while there was reasoning only.
    kept: Vec<SseFrame>,
    bound_hit: Option<Bound>,
    held_bytes: usize,
    choices: Vec<(u32, Option<Finish>)>,
    answers: u64,
    last_content: Option<Instant>,
    gap: Option<Duration>,
    done: bool,
    headers_seen: bool,
    tally: Arc<Mutex<Tally>>,
    events: VecDeque<Event>,
}

enum State {
    Opening(BoxFuture<'static, Result<Upstream, Observation>>),
    Refusal(Box<Upstream>, Vec<u8>),
    Whole(Box<Upstream>, Vec<u8>),
    Streaming(Box<Upstream>),
    Over,
}

impl std::fmt::Debug for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attempt").field("target", &self.spec.target.name).finish_non_exhaustive()
    }
}

impl Attempt {
    /// Begins to connect. `accepted`: when the exchange was.
    #[must_use]
    pub fn start(mut spec: AttemptSpec, request: Outgoing, transport: &Arc<Transport>, accepted: Instant) -> Self {
        let now = Instant::now();
        let marks = Arc::new(Marks::default());
        let opening = Arc::clone(transport).open(request, Arc::clone(&marks));
        let reader = FrameReader::new(spec.dialect);
        let translator = spec.translation.take().map(|translation| {
            let (client, context) = *translation;
            Box::new(match spec.goes_on.take() {
                None => Translator::new(spec.dialect, client, context),
                Some(goes_on) => {
                    let (transcript, join) = *goes_on;
                    Translator::continuing(spec.dialect, client, context, &transcript, join)
                }
            })
        });
        Self {
            pace: Pace::new(spec.limits, spec.finish_grace, accepted, now),
            decoder: SseDecoder::new(spec.frame_bytes_max),
            spec,
            transport: Arc::clone(transport),
            began: now,
            marks,
            stage: Stage::Connecting,
            accepted: 0,
            state: State::Opening(Box::pin(opening)),
            sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
            armed: None,
            reader,
            translator,
            unjoined: None,
            seals: SealWatch::default(),
            repeats: 0,
            frames: Vec::new(),
            kept: Vec::new(),
            bound_hit: None,
            held_bytes: 0,
            choices: Vec::new(),
            answers: 0,
            last_content: None,
            gap: None,
            done: false,
            headers_seen: false,
            tally: Arc::default(),
            events: VecDeque::new(),
        }
    }

    /// The counters, readable after the attempt is gone.
    #[must_use]
    pub fn tally(&self) -> Arc<Mutex<Tally>> {
        Arc::clone(&self.tally)
    }

    /// Nobody reads upstream for a while: its silence proves nothing.
    pub fn suspend(&mut self) {
        self.pace.suspend(Instant::now());
    }

    /// Reading goes on.
    pub fn resume(&mut self) {
        self.pace.resume(Instant::now());
        self.armed = None;
    }

    /// The next event. Cancel-safe.
    pub async fn next(&mut self) -> Event {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// [`Self::next`], to be polled beside others.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Poll::Ready(event);
            }
            let now = Instant::now();
            let progressed = self.poll_state(cx, now);
            self.follow_marks(now);
            if progressed || !self.events.is_empty() {
                continue;
            }
            match self.pace.check(now) {
                Err(fired) => self.clock_fired(fired),
                Ok(None) => return Poll::Pending,
                Ok(Some(due)) => {
                    // Re-armed only when it is due earlier than the sleep ends, or that has ended.
                    if self.armed.is_none_or(|armed| due < armed) {
                        self.armed = Some(due);
                        self.sleep.as_mut().reset(due.into());
                    }
                    if self.sleep.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    self.armed = None;
                }
            }
        }
    }

    fn poll_state(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        match &mut self.state {
            State::Opening(opening) => match opening.as_mut().poll(cx) {
                Poll::Pending => return false,
                Poll::Ready(Ok(upstream)) => self.head(upstream),
                Poll::Ready(Err(observation)) => self.fail(observation),
            },
            State::Refusal(upstream, body) => match upstream.poll_body(cx, |bytes| body.extend_from_slice(bytes)) {
                Poll::Pending => return false,
                Poll::Ready(Ok(true)) if body.len() <= REFUSAL_BYTES_MAX => {}
                Poll::Ready(Ok(false)) => self.refused(true),
                Poll::Ready(_) => self.refused(false),
            },
            State::Whole(upstream, body) => match upstream.poll_body(cx, |bytes| body.extend_from_slice(bytes)) {
                Poll::Pending => return false,
                Poll::Ready(Ok(true)) => {
                    let read = body.len() as u64;
                    self.tally.lock().bytes = read;
                    if read > self.spec.output_bytes_max {
                        self.bound_hit = Some(Bound::Output);
                        self.fail(Observation::OutputLimit { limit_bytes: self.spec.output_bytes_max });
                    }
                }
                Poll::Ready(Ok(false)) => self.whole(now),
                Poll::Ready(Err(observation)) => self.fail(observation),
            },
            State::Streaming(_) => return self.poll_stream(cx, now),
            State::Over => return false,
        }
        true
    }

    fn follow_marks(&mut self, now: Instant) {
        let (stage, accepted) = (self.marks.stage(), self.marks.accepted());
        if stage != self.stage {
            self.stage = stage;
            match stage {
                Stage::Connecting => self.pace.connecting(now),
                Stage::Sending => {
                    self.tally.lock().connected = true;
                    self.pace.connected(now);
                }
                Stage::Sent => {
                    self.tally.lock().sent = true;
                    if self.last_content.is_none() && !self.headers_seen {
                        self.pace.sent(now);
                    }
                }
            }
            self.armed = None;
        }
        if accepted != self.accepted {
            self.accepted = accepted;
            self.pace.accepted(now);
        }
    }

    fn head(&mut self, mut upstream: Upstream) {
        self.headers_seen = true;
        self.stage = Stage::Sent;
        self.pace.sent(Instant::now());
        self.armed = None;
        {
            let mut tally = self.tally.lock();
            tally.connected = true;
            tally.sent = true;
            tally.headers_seen = true;
            tally.upstream_request_id = judge::upstream_request_id(&upstream.headers);
            tally.exhausted_for = judge::exhausted_for(&upstream.headers);
        }
        let kind = judge::judge_head(upstream.status, &upstream.headers, self.spec.streams);
        if self.spec.forwards_client_auth && kind != Judged::Refusal {
            self.events.push_back(Event::ForItsUser(judge::for_its_user(&upstream.headers)));
        }
        if matches!(kind, Judged::Whole | Judged::Stream) {
            // Nobody asks for them again, and a stream may be long.
            upstream.headers = http::HeaderMap::new();
        }
        let upstream = Box::new(upstream);
        self.state = match kind {
            Judged::Refusal => State::Refusal(upstream, Vec::new()),
            Judged::Whole => State::Whole(upstream, Vec::new()),
            Judged::Stream => State::Streaming(upstream),
            Judged::NotAnApi => {
                self.state = State::Refusal(upstream, Vec::new());
                self.refused(false);
                return;
            }
        };
    }

    /// Takes every read that is ready, up to a batch.
    fn poll_stream(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut taken = 0;
        let mut read_any = false;
        while taken < BATCH_BYTES && self.events.is_empty() {
            let State::Streaming(upstream) = &mut self.state else { break };
            let (decoder, mut frames) = (&mut self.decoder, Vec::new());
            let mut pushed = Ok(());
            let mut read = 0;
            let polled = upstream.poll_body(cx, |bytes| {
                read = bytes.len();
                pushed = decoder.push(bytes, &mut frames);
            });
            if read > 0 {
                self.pace.byte(now);
                self.tally.lock().bytes += read as u64;
            }
            taken += read;
            read_any |= polled.is_ready();
            let outcome = frames.into_iter().try_for_each(|frame| self.frame(frame, now));
            let outcome = outcome.and_then(|()| match pushed {
                Ok(()) => Ok(()),
                Err(error) => {
                    self.bound_hit = Some(Bound::Frame);
                    Err(Observation::Garbled { detail: error.to_string() })
                }
            });
            match (outcome, polled) {
                (Err(observation), _) | (Ok(()), Poll::Ready(Err(observation))) => self.broke(observation),
                (Ok(()), _) if self.done => self.ended(),
                (Ok(()), Poll::Ready(Ok(false))) => self.end_of_body(now),
                (Ok(()), Poll::Ready(Ok(true))) => {
                    if self.tally.lock().bytes > self.spec.output_bytes_max {
                        self.bound_hit = Some(Bound::Output);
                        self.fail(Observation::OutputLimit { limit_bytes: self.spec.output_bytes_max });
                    }
                }
                (Ok(()), Poll::Pending) => break,
            }
        }
        self.hand_out();
        read_any
    }

    fn end_of_body(&mut self, now: Instant) {
        // A last frame without its blank line counts if it is whole.
        if let Some(frame) = self.decoder.finish()
            && FrameReader::new(self.spec.dialect).read(&frame).is_ok()
            && let Err(observation) = self.frame(frame, now)
        {
            self.broke(observation);
            return;
        }
        self.ended();
    }

    fn frame(&mut self, frame: SseFrame, now: Instant) -> Result<(), Observation> {
        // Without data it is no event (WHATWG HTML, section 9.2.6), just a sign of life.
        if self.done || frame.data.is_empty() {
            return Ok(());
        }
        let facts = self.reader.read(&frame).map_err(|detail| Observation::Garbled { detail })?;
        if let Some(error) = &facts.error {
            return Err(judge::error_frame(error));
        }
        self.done = facts.done;
        if !facts.unsealed {
            let seals = self.seals.frame(self.spec.dialect, &frame);
            if !seals.is_empty() {
                self.seal(&seals);
            }
        }
        self.note(&facts, now);
        self.take(frame, &facts)
    }

    fn seal(&self, seals: &[SealHash]) {
        let mut tally = self.tally.lock();
        let room = SEALS_MAX - tally.seals.len().min(SEALS_MAX);
        tally.seals.extend_from_slice(&seals[..seals.len().min(room)]);
    }

    /// Keeps what the client gets of a frame.
    fn take(&mut self, frame: SseFrame, facts: &FrameFacts) -> Result<(), Observation> {
        if self.last_content.is_none() && facts.repeat {
            // A target that only keeps alive is `first_token`'s matter, not a flood.
            self.repeats += 1;
            if self.repeats > REPEATS_HELD_MAX {
                return Ok(());
            }
        }
        let before = self.frames.len();
        match &mut self.translator {
            Some(translator) => {
                let pushed = translator.push(&frame, &mut self.frames);
                self.tally.lock().how = translator.how();
                self.unjoined = translator.unjoined();
                pushed.map_err(|detail| Observation::Garbled { detail })?;
            }
            None if frame.data == "[DONE]" || (facts.usage_only && self.spec.swallow_usage) => {}
            None => self.frames.push(frame),
        }
        self.held_bytes += self.frames[before..].iter().map(|frame| frame.data.len()).sum::<usize>();
        let frames = self.frames.len().saturating_sub(self.repeats);
        if self.last_content.is_none() && (frames > HELD_FRAMES_MAX || self.held_bytes > self.held_bytes_max()) {
            return Err(Observation::Garbled {
                detail: format!(
                    "more than {HELD_FRAMES_MAX} frames or {} KiB came before any content",
                    self.held_bytes_max() >> 10
                ),
            });
        }
        Ok(())
    }

    /// A response object repeats instructions and tools, in each of its two
    /// events before any content.
    fn held_bytes_max(&self) -> usize {
        let speaks = |dialect| self.spec.dialect == dialect || self.translator.is_some();
        let repeated = if speaks(Dialect::Responses) { 3 * self.spec.body.len() } else { 0 };
        HELD_BYTES_MAX + repeated
    }

    fn note(&mut self, facts: &FrameFacts, now: Instant) {
        for index in facts.choices.iter() {
            if !self.choices.iter().any(|(known, _)| *known == index) && self.choices.len() < 1024 {
                self.choices.push((index, None));
            }
        }
        for (index, finish) in &facts.finished {
            if let Some(choice) = self.choices.iter_mut().find(|(known, _)| known == index) {
                choice.1 = Some(*finish);
            }
        }
        self.answers += u64::from(facts.answers);
        let mut tally = self.tally.lock();
        if facts.usage.is_some() {
            tally.usage = facts.usage;
        }
        if facts.contents > 0 {
            tally.contents += u64::from(facts.contents);
            tally.first_token.get_or_insert(now - self.began);
            if let Some(last) = self.last_content {
                self.gap.get_or_insert(now - last);
            }
            self.last_content = Some(now);
            self.pace.content(now);
        }
        drop(tally);
        if self.is_finished() {
            self.tally.lock().finished = true;
            self.pace.finished(now);
        }
    }

    /// Every choice that appeared has its finish, and all that were asked for appeared.
    fn is_finished(&self) -> bool {
        !self.choices.is_empty()
            && self.choices.iter().all(|(_, finish)| finish.is_some())
            && (self.done || self.choices.len() >= self.spec.choices as usize)
    }

    /// From the first content on, frames go as they come.
    fn hand_out(&mut self) {
        if self.last_content.is_some() && !self.frames.is_empty() {
            let frames = std::mem::take(&mut self.frames);
            if self.answers == 0 {
                // Reasoning alone so far: should the answer turn out empty, it is wanted again.
                self.kept.extend(frames.iter().cloned());
            } else {
                self.kept = Vec::new();
            }
            self.events.push_front(Event::Frames { frames, gap: self.gap.take() });
        }
    }

    /// The stream ended in an orderly way, or its end was as good as there.
    fn ended(&mut self) {
        self.done = true;
        if !self.is_finished() {
            self.fail(Observation::Broken { errno: None });
            return;
        }
        let finishes: Vec<Finish> = self.choices.iter().filter_map(|(_, finish)| *finish).collect();
        let accepted_without_text =
            finishes.iter().any(|finish| matches!(finish, Finish::Length | Finish::ContentFilter));
        if self.answers == 0 && !accepted_without_text {
            self.fail(Observation::Empty);
            return;
        }
        self.close_translation();
        let frames = std::mem::take(&mut self.frames);
        if !frames.is_empty() {
            self.events.push_back(Event::Frames { frames, gap: self.gap.take() });
        }
        self.events.push_back(Event::Ended(Good { finishes }));
        if let State::Streaming(upstream) = std::mem::replace(&mut self.state, State::Over) {
            self.transport.retire(*upstream);
        }
    }

    /// What the client's dialect writes at the end of a complete answer.
    fn close_translation(&mut self) {
        if let Some(mut translator) = self.translator.take() {
            translator.end(&mut self.frames);
            self.tally.lock().losses = translator.losses().iter().map(ToString::to_string).collect();
        }
    }

    /// A connection that breaks after the finish takes nothing away: a missing
    /// `[DONE]` is no failure.
    fn broke(&mut self, observation: Observation) {
        if self.is_finished() && observation.is_break() {
            self.ended();
        } else {
            self.fail(observation);
        }
    }

    fn clock_fired(&mut self, fired: Fired) {
        if matches!(self.state, State::Refusal(..)) {
            // Its status is known; the rest of its body says nothing more.
            self.refused(false);
            return;
        }
        // Whichever clock ends the wait for usage and `[DONE]`: the answer is whole.
        if self.pace.is_finishing() {
            self.ended();
            return;
        }
        self.fail(judge::clock(fired));
    }

    fn whole(&mut self, now: Instant) {
        let State::Whole(upstream, body) = std::mem::replace(&mut self.state, State::Over) else { return };
        let translator = self.translator.take();
        match judge_whole(self.spec.dialect, &body) {
            Ok(facts) => {
                self.transport.retire(*upstream);
                self.seal(&in_whole(self.spec.dialect, &body));
                let mut tally = self.tally.lock();
                tally.usage = facts.usage;
                tally.contents = 1;
                tally.first_token = Some(now - self.began);
                drop(tally);
                let told = translator.map(|mut translator| {
                    let told = translator.whole(&body);
                    self.tally.lock().how = translator.how();
                    self.unjoined = translator.unjoined();
                    told
                });
                match told {
                    None => self.events.push_back(Event::Whole(Bytes::from(body))),
                    Some(Ok(frames)) => self.events.push_back(Event::Frames { frames, gap: None }),
                    Some(Err(detail)) => return self.fail(Observation::Garbled { detail }),
                }
                self.events.push_back(Event::Ended(Good { finishes: facts.finish.into_iter().collect() }));
            }
            Err(observation) => {
                self.fail(observation);
                if let Some(Event::Failed(interrupted)) = self.events.back_mut()
                    && let Some(empty) = &mut interrupted.empty
                {
                    let frames = translator.map(|mut translator| translator.whole(&body).unwrap_or_default());
                    empty.entries = match frames {
                        Some(frames) => frames.into_iter().map(Entry::Frame).collect(),
                        None => vec![Entry::Whole(Bytes::from(body))],
                    };
                    empty.unsent = empty.entries.len();
                }
            }
        }
    }

    fn refused(&mut self, complete: bool) {
        let State::Refusal(upstream, body) = std::mem::replace(&mut self.state, State::Over) else { return };
        let read =
            judge::refusal(self.spec.dialect, &upstream, &body, self.spec.forwards_client_auth, SystemTime::now());
        let observation = judge::unquoted(read.observation, &self.spec.body);
        let mut interrupted = Interrupted::without_answer(classify(&self.evidence(observation)));
        interrupted.answer = read.answer.filter(|_| complete);
        interrupted.names_streaming = read.names_streaming;
        interrupted.names_seal = read.names_seal;
        interrupted.names_previous = read.names_previous;
        interrupted.names_prefill = read.names_prefill;
        interrupted.retry_after = read.retry_after;
        self.events.push_back(Event::Failed(Box::new(interrupted)));
        if complete {
            self.transport.retire(*upstream);
        }
    }

    fn fail(&mut self, observation: Observation) {
        let observation = judge::unquoted(observation, &self.spec.body);
        let mut interrupted = Interrupted::without_answer(classify(&self.evidence(observation.clone())));
        interrupted.answer = judge::answer_in_stream(&observation);
        interrupted.bound = self.bound_hit;
        interrupted.unjoined = self.unjoined;
        if let Observation::ErrorFrame { retry_after_ms, .. } = observation {
            interrupted.retry_after = retry_after_ms.map(Duration::from_millis);
        }
        if observation == Observation::Empty {
            self.close_translation();
            let unsent = std::mem::take(&mut self.frames);
            let finishes = self.choices.iter().filter_map(|(_, finish)| *finish).collect();
            let entries = std::mem::take(&mut self.kept).into_iter().chain(unsent.iter().cloned());
            interrupted.empty =
                Some(EmptyAnswer { entries: entries.map(Entry::Frame).collect(), unsent: unsent.len(), finishes });
        }
        self.hand_out();
        self.state = State::Over;
        self.events.push_back(Event::Failed(Box::new(interrupted)));
    }

    /// The state of this attempt as evidence of what ended it.
    #[must_use]
    pub fn evidence(&self, observation: Observation) -> Evidence {
        let tally = self.tally.lock();
        Evidence {
            observation,
            // Asked anew: the marks may have moved in the very poll that ended it.
            connected: self.marks.stage() > Stage::Connecting || self.headers_seen,
            reused_connection: self.marks.reused(),
            headers_seen: self.headers_seen,
            bytes: tally.bytes,
            contents: tally.contents,
            finish_seen: self.is_finished(),
            first_target: self.spec.first_target,
            pristine: self.spec.pristine,
            elapsed_ms: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }
}
