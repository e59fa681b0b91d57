//! From a request that was read to what is played.
//!
//! Owns the order of checks and the choice of renderer. Refuses sockets.
//! Invariant: a request is checked before it is answered, and a response is kept
//! before its client can have read its id.

use super::answer::{Answer, input_tokens};
use super::ask;
use super::chat::Chat;
use super::completions::Completions;
use super::dialect::Dialect;
use super::embeddings;
use super::exchange::{Received, Shared};
use super::fault::Fault;
use super::messages::Messages;
use super::refusal::Complaint;
use super::request::Head;
use super::responses::Responses;
use super::route::Endpoint;
use super::script::Script;
use super::strict::{self, Versions};
use super::successor::Successor;
use super::voice::Voice;
use serde_json::{Value, json};

/// What one request is answered with, and how.
pub(super) struct Ready {
    pub voice: Voice,
    pub script: Script,
    pub fault: Option<Fault>,
    pub stream: bool,
}

/// Checks the body and words its answer.
pub(super) fn prepare(
    shared: &Shared,
    head: &Head,
    endpoint: &Endpoint,
    received: Received,
    id: u64,
) -> Result<Ready, Complaint> {
    let Received { body, script, fault, .. } = received;
    if !body.is_object() {
        let message = match endpoint.dialect(head) {
            Dialect::Messages => "The request body is not valid JSON.",
            Dialect::Chat | Dialect::Completions | Dialect::Responses => {
                "We could not parse the JSON body of your request."
            }
        };
        return Err(Complaint::invalid(message));
    }
    let script = script.map_err(|error| Complaint::invalid(error.to_string()))?;
    let request = Request { shared, head, body: &body, script: &script, fault, id };
    let voice = match endpoint {
        Endpoint::CountTokens => request.count_tokens()?,
        Endpoint::Answer(Dialect::Completions) => request.completions()?,
        Endpoint::Answer(Dialect::Messages) => request.messages()?,
        Endpoint::Answer(Dialect::Responses) => request.responses()?,
        Endpoint::Embeddings => {
            request.model()?;
            let (answer, input) = embeddings::embed(&body)?;
            request.fixed(&answer, input)
        }
        _ => request.chat()?,
    };
    let stream = body["stream"] == true && !script.plain && voice.answer().is_some();
    Ok(Ready { voice, script, fault, stream })
}

struct Request<'a> {
    shared: &'a Shared,
    head: &'a Head,
    body: &'a Value,
    script: &'a Script,
    fault: Option<Fault>,
    id: u64,
}

impl Request<'_> {
    fn chat(&self) -> Result<Voice, Complaint> {
        self.model()?;
        if !self.body["messages"].is_array() {
            return Err(Complaint::invalid("Missing required parameter: 'messages'."));
        }
        strict::chat(self.body, self.script.strict)?;
        let answer = self.compose(&ask::chat(self.body))?;
        Ok(Voice::Chat(Chat::new(answer, self.body, self.script)))
    }

    fn completions(&self) -> Result<Voice, Complaint> {
        self.model()?;
        let answer = self.compose(&ask::completions(self.body))?;
        Ok(Voice::Completions(Completions::new(answer, self.body, self.script)))
    }

    fn messages(&self) -> Result<Voice, Complaint> {
        let seal = self.shared.seal(self.head);
        strict::messages(self.body, self.versions(), &seal, self.script.reasoning > 0)?;
        let answer = self.compose(&ask::messages(self.body))?;
        Ok(Voice::Messages(Messages::new(answer, self.body, seal, self.id)))
    }

    fn versions(&self) -> Versions<'_> {
        Versions { version: self.head.header("anthropic-version"), betas: self.head.header("anthropic-beta") }
    }

    fn count_tokens(&self) -> Result<Voice, Complaint> {
        strict::count_tokens(self.body, self.versions(), &self.shared.seal(self.head))?;
        let prompt = ask::messages(self.body).prompts.concat();
        let tokens = input_tokens(&prompt) + self.script.cached;
        Ok(self.fixed(&json!({ "input_tokens": tokens }), prompt))
    }

    fn responses(&self) -> Result<Voice, Complaint> {
        self.model()?;
        strict::responses_parameters(self.body)?;
        let items = self.conversation()?;
        let seal = self.shared.seal(self.head);
        strict::responses(self.body, &items, &self.shared.kept, &seal)?;
        let answer = self.compose(&ask::responses(self.body, &items))?;
        let responses = Responses::new(answer, self.body, seal, self.script);
        if self.body["store"] != false && self.fault.is_none() {
            self.shared.kept.keep(responses.completed(), items);
        }
        Ok(Voice::Responses(responses))
    }

    /// The items of earlier responses and of this request, references resolved.
    fn conversation(&self) -> Result<Vec<Value>, Complaint> {
        let mut items = Vec::new();
        if let Some(previous) = self.body["previous_response_id"].as_str() {
            let turn = self.shared.kept.find(previous).ok_or_else(|| {
                Complaint::invalid(format!("Previous response with id '{previous}' not found."))
                    .param("previous_response_id")
                    .code("previous_response_not_found")
            })?;
            items.extend(turn.items.iter().cloned());
        }
        match &self.body["input"] {
            Value::String(text) => items.push(json!({ "type": "message", "role": "user", "content": text })),
            Value::Array(input) => {
                for item in input {
                    items.push(self.resolved(item)?);
                }
            }
            _ => {}
        }
        Ok(items)
    }

    fn resolved(&self, item: &Value) -> Result<Value, Complaint> {
        if item["type"] != "item_reference" {
            return Ok(item.clone());
        }
        let id = item["id"].as_str().unwrap_or_default();
        self.shared.kept.item(id).ok_or_else(|| strict::unknown_item(id))
    }

    fn fixed(&self, body: &Value, prompt: String) -> Voice {
        let model = self.body["model"].as_str().unwrap_or_default().to_owned();
        Voice::Fixed { body: body.to_string(), model, prompt }
    }

    fn model(&self) -> Result<(), Complaint> {
        if self.body["model"].as_str().is_none_or(str::is_empty) {
            return Err(Complaint::invalid("you must provide a model parameter"));
        }
        Ok(())
    }

    fn compose(&self, asked: &ask::Asked) -> Result<Answer, Complaint> {
        let is_last_turn = asked.begun.as_ref().is_some_and(|begun| begun.repeat.is_none());
        if is_last_turn && self.script.successor == Successor::RefusesPrefill {
            // As current Claude models say it.
            return Err(Complaint::invalid(
                "This model does not support assistant message prefill. The conversation must end with a user message.",
            ));
        }
        Answer::compose(asked, self.script, self.shared.signing(), self.id)
            .map_err(|error| Complaint::invalid(error.to_string()))
    }
}
