//! All attempts at one target: its keys, a repeat, a wait, a second form.

use super::carry_on::GoesOn;
use super::{Lost, Visit, Walk};
use crate::domain::backoff::full_jitter;
use crate::domain::failure::Observation;
use crate::domain::failure::{Cause, Verdict, verdict};
use crate::domain::record::Purpose;
use crate::gateway::attempt::Interrupted;
use crate::gateway::makers::Maker;
use crate::gateway::plan::Step;
use crate::gateway::provider::pool::{Picked, Quirk};
use crate::gateway::settings::{Target, ToolCallIds};
use crate::wire::canon::{Conversation, Loss, Tool, WriteFor};
use crate::wire::chat::{Misfit, fit, fit_body};
use crate::wire::dialect::Dialect;
use crate::wire::request::{Need, Rewrite, Rewritten, rewrite, rewrite_fields};
use crate::wire::seals::{SealHash, Stripped, strip, strip_conversation};
use crate::wire::translate::write_request;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A jittered repeat waits at most this long.
const RETRY_CAP: Duration = Duration::from_secs(2);

/// What was tried at this target already.
#[derive(Default)]
struct Tried {
    keys: Vec<usize>,
    repeats: u32,
    waited: bool,
    resent: u32,
    /// All reasoning of earlier turns was left out.
    unsealed: bool,
    /// Sent with the whole conversation, whose beginning its maker did not know any more.
    anew: bool,
}

/// How one attempt goes out.
pub(super) struct Form {
    pub streams: bool,
    pub asks_usage: bool,
    /// What the target speaks.
    pub dialect: Dialect,
    pub rewritten: Rewritten,
    /// What translation could not carry over.
    pub losses: Vec<Loss>,
    /// It asks for the rest of an answer that broke off.
    pub goes_on: Option<GoesOn>,
}

/// What follows a lost attempt.
enum Next {
    Again {
        wait: Duration,
    },
    /// The same request in another form of ours.
    Resend,
    MoveOn,
    Over,
}

impl Walk {
    pub(super) async fn visit(&mut self, step: &Step, first_target: bool, purpose: Purpose) -> Visit {
        let mut tried = Tried::default();
        let mut purpose = purpose;
        let mut waited = Duration::ZERO;
        loop {
            let picked = self
                .key_of_history(step, &tried.keys)
                .unwrap_or_else(|| self.gateway.memory.pick(&step.target, &tried.keys, Instant::now()));
            let mut form = match self.form(step, picked, &tried) {
                Ok(form) => form,
                Err(unsayable) => return self.unsayable(step, unsayable, purpose),
            };
            self.ask_to_go_on(step, &mut form);
            if form.goes_on.is_some() {
                purpose = Purpose::Continue;
            }
            let interrupted = match self.attempt(step, &form, picked, first_target, purpose, waited).await {
                Ok(good) => return Visit::Good(good),
                Err(interrupted) => interrupted,
            };
            let next = self.judge(step, &form, picked, &interrupted, &mut tried);
            let resent = matches!(next, Next::Resend);
            self.lose(step, *interrupted, resent);
            match next {
                Next::Resend => purpose = Purpose::Retry,
                Next::Over => return Visit::Over,
                Next::MoveOn => return Visit::MoveOn,
                Next::Again { wait } => {
                    if !wait.is_zero()
                        && let Err(observation) = self.wait(wait, step).await
                    {
                        return Visit::Stopped(self.open.classify_here(observation));
                    }
                    purpose = Purpose::Retry;
                    waited = wait;
                }
            }
        }
    }

    /// What may be done after this failure, at this target or elsewhere.
    fn judge(
        &mut self,
        step: &Step,
        form: &Form,
        picked: Picked,
        interrupted: &Interrupted,
        tried: &mut Tried,
    ) -> Next {
        let cause = interrupted.failure.effective_cause();
        let broke_off = !self.journal.start_afresh();
        if broke_off && let Err(why) = self.break_off(interrupted) {
            if let Some(why) = why {
                self.open.note_not_carried_on(why);
            }
            return Next::Over;
        }
        if interrupted.unjoined.is_some() {
            return Next::MoveOn;
        }
        if self.resends(step, form, picked, interrupted, tried) {
            return Next::Resend;
        }
        let (now, memory, target) = (Instant::now(), &self.gateway.memory, &step.target);
        let bounds = &self.settings.bounds;
        let of_the_key = matches!(cause, Cause::RateLimited | Cause::QuotaExhausted | Cause::Auth);
        if let (Picked::Key(key), true) = (picked, of_the_key) {
            memory.cool(target, key, cause, interrupted.retry_after, now);
            let spoilt =
                cause == Cause::Auth && target.provider.auth.keys().get(key).is_some_and(|failed| failed.spoil(now));
            if spoilt {
                self.gateway.keys_due.notify_one();
            }
            tried.keys.push(key);
            if memory.has_fresh_key(target, &tried.keys, now) {
                return Next::Again { wait: Duration::ZERO };
            }
        }
        let Verdict { same, fallback, wait, no, person } = verdict(cause, false);
        if no || person || cause == Cause::Shutdown {
            return Next::Over;
        }
        let short = interrupted.retry_after.filter(|wait| *wait <= bounds.retry_after_wait_max);
        if wait
            && !tried.waited
            && let Some(wait) = short
            && self.fits_budget(step, wait)
        {
            tried.waited = true;
            // After the wait the keys are free again.
            tried.keys.clear();
            return Next::Again { wait };
        }
        // One that broke in its middle may go on where it was (design.md, section 9).
        let same = same || (broke_off && matches!(cause, Cause::Reset | Cause::EarlyEnd));
        if same && tried.repeats < bounds.same_target_retries {
            tried.repeats += 1;
            let wait = full_jitter(bounds.retry_base, RETRY_CAP, 0, fastrand::f64());
            if self.fits_budget(step, wait) {
                return Next::Again { wait };
            }
        }
        if fallback { Next::MoveOn } else { Next::Over }
    }

    /// Whether the same request goes out once more in another form of ours.
    fn resends(&self, step: &Step, form: &Form, picked: Picked, interrupted: &Interrupted, tried: &mut Tried) -> bool {
        // Bounded here, whatever the memory keeps.
        if tried.resent < 2 && interrupted.names_prefill && form.goes_on.as_ref().is_some_and(GoesOn::is_prefill) {
            self.gateway.memory.learn(&step.target, Quirk::Prefill, Instant::now());
            tried.resent += 1;
            return true;
        }
        if let Some(quirk) = self.ours(form, interrupted)
            && tried.resent < 2
        {
            self.gateway.memory.learn(&step.target, quirk, Instant::now());
            tried.resent += 1;
            return true;
        }
        if interrupted.names_seal && !tried.unsealed {
            tried.unsealed = true;
            let something_goes = if form.dialect == self.request.asked.dialect {
                self.unsealed(step, picked, self.expanded(step, picked, tried.anew), true).is_some()
            } else {
                let read = self.request.conversation().ok();
                read.is_some_and(|(conversation, _)| strip_conversation(conversation, true, &|_| true).is_some())
            };
            if something_goes {
                return true;
            }
        }
        if interrupted.names_previous && !tried.anew && self.expanded(step, picked, true).is_some() {
            tried.anew = true;
            return true;
        }
        false
    }

    /// A refusal of `stream` or `stream_options` that the client did not ask for.
    fn ours(&self, form: &Form, interrupted: &Interrupted) -> Option<Quirk> {
        let asked = &self.request.asked;
        match interrupted.names_streaming {
            Some("stream_options") if form.asks_usage && !asked.particulars.include_usage => Some(Quirk::StreamOptions),
            Some("stream") if form.streams && !asked.stream => Some(Quirk::Stream),
            _ => None,
        }
    }

    fn fits_budget(&self, step: &Step, wait: Duration) -> bool {
        step.limits.total.value.is_none_or(|total| self.open.accepted() + total > Instant::now() + wait)
    }

    fn lose(&mut self, step: &Step, interrupted: Interrupted, resent: bool) {
        if self.first_empty.is_none() {
            self.first_empty = interrupted.empty.map(|empty| empty.entries);
        }
        self.lost.push(Lost {
            target: step.target.name.to_string(),
            client_auth: Lost::client_auth(step),
            resent,
            free_at: interrupted.retry_after.map(|wait| Instant::now() + wait),
            failure: interrupted.failure,
            answer: interrupted.answer,
        });
    }

    /// How the request is put to this target.
    fn form(&self, step: &Step, picked: Picked, tried: &Tried) -> Result<Form, Observation> {
        let (asked, target, now) = (&self.request.asked, &step.target, Instant::now());
        let memory = &self.gateway.memory;
        let particulars = &asked.particulars;
        let unstreamed =
            particulars.unstreamable || !target.stream_upstream || memory.knows(target, Quirk::Stream, now);
        let streams = asked.stream || !unstreamed;
        let dialect = target.provider.dialect_for(asked.dialect).unwrap_or(asked.dialect);
        let asks_usage = streams
            && dialect == Dialect::Chat
            && target.provider.vendor.stream_options
            && ((asked.dialect == Dialect::Chat && particulars.include_usage)
                || !memory.knows(target, Quirk::StreamOptions, now));
        let (drop, rename) = departures(target, dialect);
        let how = Rewrite {
            model: &target.model,
            stream: streams,
            ask_usage: asks_usage,
            drop_metadata_task: self.request.drop_metadata_task,
            drop: &drop,
            rename: &rename,
            set: &target.params.set,
        };
        if dialect == asked.dialect {
            let expanded = self.expanded(step, picked, tried.anew);
            let stripped = self.unsealed(step, picked, expanded, tried.unsealed);
            let mut losses = stripped.as_ref().map(named).unwrap_or_default();
            let changed = stripped.as_ref().map(|stripped| &stripped.fields[..]).or(expanded);
            let fitted = misfit(target, dialect).and_then(|misfit| fit(changed.unwrap_or(asked.fields()), misfit));
            let rewritten = match (&fitted, changed) {
                (None, None) => asked.rewrite(&how),
                (Some(fitted), _) => Rewritten { pristine: false, ..rewrite_fields(&fitted.whole, &how) },
                (None, Some(fields)) => Rewritten { pristine: false, ..rewrite_fields(fields, &how) },
            };
            losses.extend(fitted.into_iter().flat_map(|fitted| of_messages(fitted.dropped)));
            return Ok(Form { streams, asks_usage, dialect, rewritten, losses, goes_on: None });
        }
        self.translated(step, picked, tried, dialect, &how)
    }

    /// The request in the target's dialect, which is not the client's.
    fn translated(
        &self,
        step: &Step,
        picked: Picked,
        tried: &Tried,
        dialect: Dialect,
        how: &Rewrite<'_>,
    ) -> Result<Form, Observation> {
        let target = &step.target;
        let (conversation, mut losses) = self.request.conversation()?;
        let maker = Maker::of(&target.provider, picked);
        let stripped =
            strip_conversation(conversation, tried.unsealed, &|seal| self.gateway.makers.is_anothers(seal, maker));
        losses.extend(stripped.iter().map(|(_, removed)| of_another(*removed)));
        let conversation = stripped.as_ref().map_or(conversation, |(stripped, _)| stripped);
        let conversation = without_search(conversation, target, &mut losses);
        let whom = WriteFor {
            model: &target.model,
            stream: how.stream,
            ask_usage: how.ask_usage,
            output_tokens_max: target.max_output_tokens,
            reasoning: target.capabilities.may_reason(),
            reasoning_declared: target.capabilities.is_known() && target.capabilities.may_reason(),
            developer_role: target.provider.vendor.developer_role,
            reasoning_field: target.provider.reasoning_back(),
        };
        let encoded = write_request(dialect, &conversation, &whom)
            .map_err(|unsayable| Observation::Unsayable { field: unsayable.field, why: unsayable.why.to_owned() })?;
        losses.extend(encoded.losses);
        let mut rewritten = Rewritten { body: encoded.body, dropped: Vec::new(), pristine: false };
        if let Some(fitted) = misfit(target, dialect).and_then(|misfit| fit_body(&rewritten.body, misfit)) {
            rewritten.body = fitted.whole;
            losses.extend(of_messages(fitted.dropped));
        }
        if !(how.drop.is_empty() && how.rename.is_empty() && target.params.set.is_empty()) {
            rewritten = rewrite(&rewritten.body, how);
        }
        Ok(Form { streams: how.stream, asks_usage: how.ask_usage, dialect, rewritten, losses, goes_on: None })
    }

    /// The request without reasoning that this target has not made, or, where it
    /// refused that, without any. `None`: all of it may stay.
    fn unsealed(
        &self,
        step: &Step,
        picked: Picked,
        expanded: Option<&[(String, Box<RawValue>)]>,
        all: bool,
    ) -> Option<Stripped> {
        let asked = &self.request.asked;
        // Most requests have no seal.
        let maker = std::cell::LazyCell::new(|| Maker::of(&step.target.provider, picked));
        strip(asked.dialect, expanded.unwrap_or_else(|| asked.fields()), all, &|seal| {
            self.gateway.makers.is_anothers(seal, *maker)
        })
    }

    /// Which of these made the newest reasoning in the history that any of them made.
    pub(super) fn newest_of(&self, makers: &[Maker]) -> Option<usize> {
        let newest = std::cell::Cell::new(None);
        let look = |seal: &SealHash| {
            let made = self.gateway.makers.of(seal);
            newest.set(made.and_then(|made| makers.iter().position(|maker| *maker == made)).or(newest.get()));
            false
        };
        strip(self.request.asked.dialect, self.request.whole(), false, &look);
        newest.get()
    }

    /// A target that cannot be asked this at all: lost without an attempt on the wire.
    fn unsayable(&mut self, step: &Step, observation: Observation, purpose: Purpose) -> Visit {
        let failure = self.open.classify_here(observation);
        self.open.skip_attempt(&step.target, &failure, purpose);
        self.lose(step, Interrupted::without_answer(failure), false);
        Visit::MoveOn
    }
}

fn of_another(removed: usize) -> Loss {
    Loss::Dropped(format!("reasoning of another provider or key ({removed})"))
}

/// What a client is told of reasoning that was left out.
fn named(stripped: &Stripped) -> Vec<Loss> {
    let mut losses: Vec<Loss> = (stripped.removed > 0).then(|| of_another(stripped.removed)).into_iter().collect();
    if stripped.searches > 0 {
        losses.push(Loss::Dropped(format!("web searches of another provider ({})", stripped.searches)));
    }
    if stripped.thinking_off {
        losses.push(Loss::Changed("thinking".to_owned(), "off, since the turn that goes on lost its own"));
    }
    losses
}

/// Without the web search on offer, where the target does not declare that it
/// searches: plan let it through, hence it can be left out.
fn without_search<'a>(from: &'a Conversation, target: &Target, losses: &mut Vec<Loss>) -> Cow<'a, Conversation> {
    let is_search = |tool: &Tool| matches!(tool, Tool::WebSearch(_));
    if target.capabilities.meets(Need::Web) || !from.tools.iter().any(is_search) {
        return Cow::Borrowed(from);
    }
    losses.push(Loss::Dropped(format!("the web search, which target `{}` does not declare", target.name)));
    let mut without = from.clone();
    without.tools.retain(|tool| !is_search(tool));
    Cow::Owned(without)
}

/// Where this target's messages depart from OpenAI's.
fn misfit(target: &Target, dialect: Dialect) -> Option<Misfit<'static>> {
    let vendor = target.provider.vendor;
    let nine = vendor.tool_call_ids == ToolCallIds::NineAlphanumerics;
    (dialect == Dialect::Chat && (nine || !vendor.refused_in_messages.is_empty())).then_some(Misfit {
        refused: vendor.refused_in_messages,
        takes_id: if nine { &|id| ToolCallIds::NineAlphanumerics.takes(id) } else { &|_| true },
    })
}

fn of_messages(dropped: BTreeMap<String, usize>) -> Vec<Loss> {
    dropped.into_iter().map(|(field, times)| Loss::Dropped(format!("{field} of messages ({times})"))).collect()
}

/// Names to leave out; names to send under another one.
type Departures<'a> = (Cow<'a, [String]>, Cow<'a, [(String, String)]>);

/// What is left out of a body and what goes under another name: the vendor's known ways, then the target's `params`.
fn departures(target: &Target, dialect: Dialect) -> Departures<'_> {
    let (vendor, params) = (target.provider.vendor, &target.params);
    if dialect != Dialect::Chat || (vendor.refused.is_empty() && vendor.renamed.is_empty()) {
        return (Cow::Borrowed(&params.drop), Cow::Borrowed(&params.rename));
    }
    let drop = vendor.refused.iter().map(|name| (*name).to_owned()).chain(params.drop.iter().cloned());
    let own = params.rename.iter().cloned();
    let known = vendor.renamed.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned()));
    // The first that fits counts: what the operator wrote goes before what we know.
    (Cow::Owned(drop.collect()), Cow::Owned(own.chain(known).collect()))
}
