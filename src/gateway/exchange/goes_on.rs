//! A request that goes on from an earlier response.
//!
//! Owns who may be asked it as it is, what the others are asked instead, and
//! what is kept of its answer. Refuses the store itself (`kept`). Invariant: an
//! answer is kept under the id that its client was given.

use super::Walk;
use crate::domain::failure::Observation;
use crate::gateway::exchange::visit::Form;
use crate::gateway::intake::Request;
use crate::gateway::kept::Kept;
use crate::gateway::makers::Maker;
use crate::gateway::plan::Step;
use crate::gateway::provider::pool::Picked;
use crate::gateway::state::Gateway;
use crate::wire::canon::Json;
use crate::wire::dialect::Dialect;
use crate::wire::responses::input_items;
use crate::wire::sse::SseFrame;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

/// The field that names the earlier response.
pub(super) const PREVIOUS: &str = "previous_response_id";

/// Finds the conversation that a request goes on from. What only its maker may
/// know goes to targets of the dialect alone.
///
/// # Errors
/// Nobody who could be asked knows it.
pub(super) async fn go_on(gateway: &Gateway, request: &mut Request, principal: &str) -> Result<(), Observation> {
    if request.asked.dialect != Dialect::Responses {
        return Ok(());
    }
    let Some(id) = request.asked.text(PREVIOUS) else { return Ok(()) };
    if let Some(chain) = gateway.kept.chain(principal, &id).await {
        if chain.native {
            // Its maker first: it needs nothing but the new words.
            request.candidates.sort_by_key(|(target, _)| target.name.as_str() != chain.target);
        }
        request.chain = Some(chain);
        return Ok(());
    }
    let native = |dialect| dialect == Some(Dialect::Responses);
    if request.candidates.iter().any(|(target, _)| native(target.provider.dialect_for(Dialect::Responses))) {
        request.only_natively = Some(PREVIOUS);
        return Ok(());
    }
    Err(Observation::Invalid {
        field: Some(PREVIOUS.to_owned()),
        offset: None,
        detail: format!("Previous response with id '{}' not found.", crate::wire::redact::redact(&id, 100)),
    })
}

impl Walk {
    /// The key that made what this request goes on from, at its target.
    pub(super) fn key_of_chain(&self, step: &Step, tried: &[usize]) -> Option<Picked> {
        let chain = self.request.chain.as_ref().filter(|chain| chain.native)?;
        let keys = step.target.provider.auth.keys();
        let place = (0..keys.len()).filter(|place| !tried.contains(place));
        place.map(Picked::Key).find(|picked| self.is_maker(step, *picked, &chain.target, chain.maker))
    }

    fn is_maker(&self, step: &Step, picked: Picked, target: &str, maker: Maker) -> bool {
        step.target.name.as_str() == target
            && Maker::of(&step.target.provider, picked, &self.open.record.principal.id) == maker
    }

    /// The whole conversation, for a target that does not have its beginning.
    /// `None`: the request goes out as it is. `anew`: its maker does not know it any more.
    pub(super) fn expanded(&self, step: &Step, picked: Picked, anew: bool) -> Option<&[(String, Box<RawValue>)]> {
        let chain = self.request.chain.as_ref()?;
        let known = !anew && chain.native && self.is_maker(step, picked, &chain.target, chain.maker);
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
        }
    }

    /// Keeps the answer, unless the client said that it must not be.
    pub(super) fn keep(&mut self) {
        let asked = &self.request.asked;
        let Some(body) = self.terminal.take().filter(|_| asked.flag("store") != Some(false)) else { return };
        let Some((id, response)) = response_of(&body) else { return };
        let Some((target, maker, native)) = self.answered_by.take() else { return };
        let kept = Kept {
            previous: self.request.chain.as_ref().and_then(|_| asked.text(PREVIOUS)),
            input: input_items(asked.fields()),
            response,
            target,
            maker,
            native,
        };
        let bounds = self.settings.bounds.kept;
        if !self.gateway.kept.put(&self.open.record.principal.id, &id, kept, bounds) {
            self.open.record.warnings.push("the response is too large to be kept".to_owned());
        }
    }

    /// Who answers this attempt, and whether it keeps the response itself.
    pub(super) fn note_answerer(&mut self, step: &Step, picked: Picked, form: &Form) {
        if self.request.asked.dialect == Dialect::Responses {
            let maker = Maker::of(&step.target.provider, picked, &self.open.record.principal.id);
            self.answered_by = Some((step.target.name.to_string(), maker, form.dialect == Dialect::Responses));
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
