//! A request that goes on from an earlier response.
//!
//! Owns who may be asked it as it is, what the others are asked instead, and
//! what is kept of its answer. Refuses the store itself (`kept`). Invariant: an
//! answer is kept under the id that its client was given.

use super::Walk;
use crate::domain::failure::Observation;
use crate::gateway::events::{Bound, BoundHit};
use crate::gateway::exchange::visit::Form;
use crate::gateway::intake::Request;
use crate::gateway::kept::{History, Kept, Made};
use crate::gateway::makers::Maker;
use crate::gateway::plan::Step;
use crate::gateway::provider::pool::Picked;
use crate::gateway::settings::{Auth, Settings};
use crate::gateway::state::Gateway;
use crate::wire::canon::Json;
use crate::wire::dialect::Dialect;
use crate::wire::responses::input_items;
use crate::wire::sse::SseFrame;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::time::Instant;

/// The field that names the earlier response.
pub(super) const PREVIOUS: &str = "previous_response_id";

/// Finds the conversation that a request goes on from. What only its maker may
/// know goes to targets of the dialect alone.
///
/// # Errors
/// Nobody who could be asked knows it, or it is larger than a body may be.
pub(super) async fn go_on(
    gateway: &Gateway,
    settings: &Settings,
    request: &mut Request,
    principal: &str,
) -> Result<(), Observation> {
    if request.asked.dialect != Dialect::Responses {
        return Ok(());
    }
    let Some(id) = request.asked.text(PREVIOUS) else { return Ok(()) };
    let max = settings.bounds.body_bytes_max;
    let history = gateway.kept.history(principal, &id, &gateway.bodies, max).await;
    let (made, refusal) = match history {
        History::Whole(made, chain) => {
            request.go_on_from(chain);
            if made.native {
                its_maker_first(request, made);
            }
            return Ok(());
        }
        History::Unknown => (None, not_found(&id)),
        History::Part(made) => (Some(made), not_found(&id)),
        History::TooLarge(made) => (Some(made), Observation::TooLarge { what: "body_bytes_max", limit: max as u64 }),
        History::NoRoom(made) => {
            let refusal = Observation::NoRoom { what: "bodies_bytes_max", limit: gateway.bodies.max() as u64 };
            let Some(made) = made else { return Err(refused(gateway, refusal)) };
            (Some(made), refusal)
        }
    };
    match made {
        // Who made it has all of it.
        Some(made) if made.native => its_maker_first(request, made),
        Some(_) => return Err(refused(gateway, refusal)),
        // A key of ours may know it from another caller; a caller's own knows what is the caller's.
        None if settings.forwards_credentials() => {
            request.candidates.retain(|(target, _)| !matches!(target.provider.auth, Auth::Keys(_)));
        }
        None => {}
    }
    let native = |dialect| dialect == Some(Dialect::Responses);
    if request.candidates.iter().any(|(target, _)| native(target.provider.dialect_for(Dialect::Responses))) {
        request.only_natively = Some(PREVIOUS);
        return Ok(());
    }
    Err(refused(gateway, refusal))
}

/// A bound that costs somebody an answer is counted.
fn refused(gateway: &Gateway, refusal: Observation) -> Observation {
    match refusal {
        Observation::TooLarge { .. } => BoundHit(Bound::Body).emit(&gateway.metrics),
        Observation::NoRoom { .. } => BoundHit(Bound::Bodies).emit(&gateway.metrics),
        _ => {}
    }
    refusal
}

/// It needs nothing but the new words.
fn its_maker_first(request: &mut Request, made: Made) {
    request.candidates.sort_by_key(|(target, _)| target.name.as_str() != made.target);
    request.made = Some(made);
}

fn not_found(id: &str) -> Observation {
    Observation::Invalid {
        field: Some(PREVIOUS.to_owned()),
        offset: None,
        detail: format!("Previous response with id '{}' not found.", crate::wire::redact::redact(id, 100)),
    }
}

impl Walk {
    /// Of a pool, the key that made what this request goes on from: the earlier response, else the
    /// newest reasoning, which its maker alone takes back. `None`: any, as where it rests.
    pub(super) fn key_of_history(&self, step: &Step, tried: &[usize]) -> Option<Picked> {
        let keys = step.target.provider.auth.keys().len();
        if keys < 2 {
            return None;
        }
        let made = self.request.made.as_ref().filter(|made| step.target.name.as_str() == made.target);
        let makers: Vec<Maker> = (0..keys).map(|place| Maker::of(&step.target.provider, Picked::Key(place))).collect();
        let place = match made {
            Some(made) => makers.iter().position(|maker| *maker == made.maker)?,
            None => self.newest_of(&makers)?,
        };
        let now = Instant::now();
        let free = !tried.contains(&place) && !self.gateway.memory.rests(&step.target, place, now);
        free.then_some(Picked::Key(place))
    }

    /// The whole conversation, for a target that does not have its beginning.
    /// `None`: the request goes out as it is. `anew`: its maker does not know it any more.
    pub(super) fn expanded(&self, step: &Step, picked: Picked, anew: bool) -> Option<&[(String, Box<RawValue>)]> {
        self.request.chain.as_ref()?;
        let made_it = |made: &Made| {
            step.target.name.as_str() == made.target && Maker::of(&step.target.provider, picked) == made.maker
        };
        let known = !anew && self.request.made.as_ref().is_some_and(made_it);
        (!known).then(|| self.request.expanded())
    }

    /// Takes note of the frame, or the body, that holds the whole response.
    pub(super) fn note_terminal(&mut self, frames: &[SseFrame]) {
        if self.request.asked.dialect != Dialect::Responses {
            return;
        }
        let ends = |frame: &&SseFrame| {
            frame.event.as_ref().is_some_and(|event| event == "response.completed" || event == "response.incomplete")
                || frame.data.starts_with(b"{\"type\":\"response.completed\"")
        };
        if let Some(frame) = frames.iter().rev().find(ends) {
            self.terminal = Some(frame.data.clone());
            return;
        }
        let begins = |frame: &&SseFrame| {
            frame.event.as_ref().is_some_and(|event| event == "response.created" || event == "response.queued")
        };
        // The job goes on without us: it is found by its id from now on, whatever becomes of this stream.
        if let Some(begun) = frames.iter().find(begins)
            && self.request.asked.flag("background") == Some(true)
        {
            self.keep_as(&begun.data);
        }
    }

    /// [`Self::note_terminal`] of an answer that came whole.
    pub(super) fn note_whole(&mut self, body: Bytes) {
        if self.request.asked.dialect == Dialect::Responses {
            self.terminal = Some(body);
        }
    }

    /// Keeps the answer, unless the client said that it must not be.
    pub(super) fn keep(&mut self) {
        if let Some(body) = self.terminal.take() {
            self.keep_as(&body);
        }
    }

    fn keep_as(&mut self, body: &Bytes) {
        let asked = &self.request.asked;
        if asked.flag("store") == Some(false) {
            return;
        }
        let Some((id, response)) = response_of(body) else { return };
        let Some((target, maker, native)) = self.answered_by.clone() else { return };
        let kept = Kept {
            // Known or not: a conversation whose beginning is not known here has none.
            previous: asked.text(PREVIOUS),
            input: input_items(asked.fields()),
            response,
            target,
            maker,
            native,
        };
        let bounds = self.settings.bounds.kept;
        if !self.gateway.kept.put(&self.open.record.principal.id, &id, kept, bounds) {
            self.warn_of("the response is too large to be kept".to_owned());
        }
    }

    /// Who answers this attempt, and whether it keeps the response itself.
    pub(super) fn note_answerer(&mut self, step: &Step, picked: Picked, form: &Form) {
        if self.request.asked.dialect == Dialect::Responses {
            let vendor = step.target.provider.vendor;
            let keeps = vendor.keeps_responses || self.request.asked.flag("background") == Some(true);
            // A maker knows its own part alone, under an id of its own.
            let native = form.dialect == Dialect::Responses && keeps && form.goes_on.is_none();
            let maker = Maker::of(&step.target.provider, picked);
            self.answered_by = Some((step.target.name.to_string(), maker, native));
        }
    }
}

/// The response object of a terminal frame, or of a whole answer, and its id.
fn response_of(body: &Bytes) -> Option<(String, Json)> {
    #[derive(Deserialize)]
    struct Terminal {
        response: Option<Box<RawValue>>,
    }
    #[derive(Deserialize)]
    struct Named {
        id: String,
    }
    let terminal: Terminal = serde_json::from_slice(body).ok()?;
    let response = match terminal.response {
        Some(response) => response,
        None => serde_json::from_slice(body).ok()?,
    };
    let named: Named = serde_json::from_str(response.get()).ok()?;
    Some((named.id, Json::from(response)))
}
