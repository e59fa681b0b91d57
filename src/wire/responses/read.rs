//! A request of the responses dialect as a conversation.
//!
//! Owns the top level; items of the input and tools are read by `read/`. Refuses
//! what would be misread, naming the field; what a target of this dialect alone
//! understands is kept in `others` or as `Native`. Invariant: a field that is
//! not in the conversation is named as a [`Loss`].

mod content;
mod item;
mod tool;

pub(super) use content::citation;
pub(super) use item::kind_of;

use super::reading::{At, Losses, Object, count, flag, is_text, text, word, wrong};
use crate::wire::canon::{Conversation, Effort, Format, Json, Loss, Part, Role, Sampling, Thinking, Tool, Turn};
use crate::wire::request::Invalid;
use serde_json::value::RawValue;

/// Reads the top-level fields of a body. `model`, `stream` and `stream_options`
/// are the exchange's own.
///
/// # Errors
/// [`Invalid`] names the field whose shape would be misread.
pub fn read_request(fields: &[(String, Box<RawValue>)]) -> Result<(Conversation, Vec<Loss>), Invalid> {
    let mut reading = Reading::default();
    for (key, raw) in fields {
        if raw.get() != "null" {
            reading.field(key, raw)?;
        }
    }
    Ok(reading.finish())
}

#[derive(Default)]
struct Reading {
    conversation: Conversation,
    instructions: Option<String>,
    /// Tools that items of the input bring, behind those of `tools`.
    later_tools: Vec<Tool>,
    user: Option<String>,
    losses: Losses,
}

impl Reading {
    fn field(&mut self, key: &str, raw: &RawValue) -> Result<(), Invalid> {
        let at = At::Field(key);
        let json = || Some(Json::from(raw.to_owned()));
        let into = &mut self.conversation;
        match key {
            "model" | "stream" | "stream_options" => {}
            "instructions" => self.instructions = Some(text(raw, &at)?),
            "input" => (into.turns, self.later_tools) = item::read(raw, &mut self.losses)?,
            "tools" => into.tools = tool::read(raw, &at, &mut self.losses)?,
            "tool_choice" => {
                into.tool_choice = tool::choice(raw, &at)?;
                if into.tool_choice.is_none() {
                    into.others.push((key.to_owned(), raw.to_owned().into()));
                }
            }
            "parallel_tool_calls" => into.parallel_calls = Some(flag(raw, &at)?),
            "text" => self.text(raw, &at)?,
            "reasoning" => into.thinking = thinking(raw, &at, &mut self.losses)?,
            "max_output_tokens" => into.output_tokens_max = Some(count(raw, &at)?),
            "safety_identifier" => into.user = Some(text(raw, &at)?),
            "user" => self.user = Some(text(raw, &at)?),
            "prompt_cache_key" => into.cache_key = Some(text(raw, &at)?),
            "service_tier" => into.service_tier = Some(text(raw, &at)?),
            "metadata" => into.metadata = json(),
            _ => match sampling(&mut into.sampling, key) {
                Some(slot) => *slot = json(),
                None => into.others.push((key.to_owned(), raw.to_owned().into())),
            },
        }
        Ok(())
    }

    fn text(&mut self, raw: &RawValue, at: &At<'_>) -> Result<(), Invalid> {
        let mut object = Object::read(raw, at)?;
        self.conversation.verbosity = object.text("verbosity", at)?;
        if let Some(raw) = object.take("format") {
            self.conversation.format = format(raw, &at.key("format"), &mut self.losses)?;
        }
        object.name_rest(at, &[], &mut self.losses);
        Ok(())
    }

    fn finish(self) -> (Conversation, Vec<Loss>) {
        let Self { mut conversation, instructions, later_tools, user, losses } = self;
        if let Some(text) = instructions {
            conversation.turns.insert(0, Turn { role: Role::System, name: None, parts: vec![Part::text(text)] });
        }
        tool::add_new(&mut conversation.tools, later_tools);
        match user {
            // Who both name goes on under both names.
            Some(user) if conversation.user.is_some() => {
                conversation.others.push(("user".to_owned(), Json::from(&serde_json::Value::from(user))));
            }
            Some(user) => conversation.user = Some(user),
            None => {}
        }
        (conversation, losses.finish())
    }
}

fn sampling<'a>(sampling: &'a mut Sampling, key: &str) -> Option<&'a mut Option<Json>> {
    match key {
        "temperature" => Some(&mut sampling.temperature),
        "top_p" => Some(&mut sampling.top_p),
        // Not OpenAI's, but taken by servers that speak this dialect.
        "top_k" => Some(&mut sampling.top_k),
        "seed" => Some(&mut sampling.seed),
        "frequency_penalty" => Some(&mut sampling.frequency_penalty),
        "presence_penalty" => Some(&mut sampling.presence_penalty),
        _ => None,
    }
}

fn format(raw: &RawValue, at: &At<'_>, losses: &mut Losses) -> Result<Option<Format>, Invalid> {
    let mut object = Object::read(raw, at)?;
    let kind = object.required("type", at)?;
    let format = match kind.as_str() {
        "text" => Format::Text,
        "json_object" => Format::JsonObject,
        "json_schema" => Format::Schema {
            name: object.text("name", at)?,
            description: object.text("description", at)?,
            schema: object
                .take("schema")
                .map(|raw| raw.to_owned().into())
                .ok_or_else(|| wrong(&at.key("schema"), "a JSON schema"))?,
            strict: object.take("strict").map(|raw| flag(raw, &at.key("strict"))).transpose()?,
        },
        _ => {
            losses.dropped(at);
            return Ok(None);
        }
    };
    object.name_rest(at, &[], losses);
    Ok(Some(format))
}

fn thinking(raw: &RawValue, at: &At<'_>, losses: &mut Losses) -> Result<Option<Thinking>, Invalid> {
    let mut object = Object::read(raw, at)?;
    let mut thinking = Thinking::default();
    if let Some(raw) = object.take("effort") {
        let effort = word(raw, &at.key("effort"))?;
        thinking.effort = Effort::parse(&effort);
        if effort == "none" {
            thinking.wanted = Some(false);
        } else if thinking.effort.is_none() {
            losses.dropped(at.key("effort"));
        }
    }
    let older = object.text("generate_summary", at)?;
    thinking.summary = object.text("summary", at)?.or(older);
    object.name_rest(at, &[], losses);
    Ok(Some(thinking).filter(|thinking| *thinking != Thinking::default()))
}

/// The choice of a tool that the provider itself has can be said here only.
pub(super) fn is_hosted_choice(raw: &RawValue) -> bool {
    !is_text(raw) && matches!(tool::choice(raw, &At::Field("tool_choice")), Ok(None))
}

#[cfg(test)]
mod tests;
