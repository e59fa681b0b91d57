//! A conversation as a body of this dialect.
//!
//! Owns what is said, altered, left out and refused there. Refuses to leave
//! anything out in silence. Invariant: whatever stands in the table below as
//! dropped or changed is named in [`Encoded::losses`]. The body is good for
//! `anthropic-version: 2023-06-01`; of a later one only that it takes no
//! sampling parameters matters here.
//!
//! | what | becomes |
//! |---|---|
//! | system and developer turns at the start | `system` |
//! | the same in the middle | user text (changed) |
//! | anything but text in `system` | dropped |
//! | turns of one role after each other | one turn; results first in it |
//! | no user turn first, or none at all | one is put there, or the last system text is it (changed) |
//! | nothing at all that can be said | refused |
//! | ids of calls with other letters than `[a-zA-Z0-9_-]` | rewritten, and read back |
//! | a tool's name of more than 128 characters, or with others than letters, digits, `_` and `-` | its beginning and a hash; the answer has the client's name again |
//! | reasoning with `signature`, `redacted_thinking` | as it was |
//! | any other reasoning of earlier turns | dropped |
//! | refusals of earlier turns | text (changed) |
//! | text without a letter | dropped |
//! | image `detail`, a participant's `name`, citations of other dialects | dropped |
//! | files | PDF and text; any other form, or a file in another store, is refused |
//! | audio | refused |
//! | arguments that are no object | wrapped as `{"input": ...}` (changed) |
//! | custom tools | a function with one text, `input` (changed); a grammar is dropped |
//! | `strict` of a tool whose schema the API cannot hold a model to, or beyond 20 of them | dropped |
//! | web search | `web_search_20250305`; `search_context_size` is dropped |
//! | other providers' own tools | dropped; refused where one must be called |
//! | a tool that must be called | `tool_choice`; refused for a model that takes none |
//! | `allowed_tools` | the other tools are left out (changed) |
//! | `parallel_tool_calls: false` | `disable_parallel_tool_use` |
//! | earlier calls and no tools | their tools, of which none may be called (changed) |
//! | no limit of the answer | the target's `max_output_tokens`, else what the model gives |
//! | reasoning effort or budget | `thinking` and `output_config.effort` as the model takes them; left off where a tool must be called, there is no room, or sealed reasoning is missing (changed) |
//! | `temperature` above 1 | 1 (changed) |
//! | `temperature`, `top_p`, `top_k` that the model, or its thinking, does not go with | dropped |
//! | `seed`, penalties, `verbosity`, `prompt_cache_key`, `metadata`, other fields | dropped |
//! | `response_format: json_schema` | `output_config.format`, its objects closed and its bounds in words (changed); one with free keys, or with references in a circle or to elsewhere, is asked for in `system` (changed); its name says nothing and is left out |
//! | `response_format: json_object` | an instruction in `system` (changed) |
//! | `stop` without a letter | dropped |
//! | `user` | `metadata.user_id`; dropped if it is an address |
//! | `service_tier` | `auto`, `default` → `standard_only`; any other is dropped |

mod body;
mod schema;
mod thinking;
mod tools;
mod turns;

use super::object::{Losses, clip};
use super::traits::{Draws, Traits, traits_of};
use crate::wire::canon::{Conversation, Effort, Encoded, Format, Json, Unsayable, WriteFor};
use body::{Block, Body, Content, Metadata, OutputConfig, Piece, Raw};
use bytes::Bytes;
use std::borrow::Cow;

/// What `json_object` asks for, in words: this dialect has no such mode.
const JSON_OBJECT: &str =
    "Answer with one JSON object and nothing else: no words before or after it, and no code fence.";

/// Least `top_p` that goes with thinking.
const TOP_P_THINKING_MIN: f64 = 0.95;

/// Writes a conversation for a target.
///
/// # Errors
/// [`Unsayable`] where leaving something out would change what is asked.
pub fn write_request(conversation: &Conversation, target: &WriteFor<'_>) -> Result<Encoded, Unsayable> {
    let traits = traits_of(target.model);
    let mut losses = Losses::default();
    let turns = turns::turns(conversation, &mut losses)?;
    let tools = tools::tools(conversation, &traits, turns.has_calls, &mut losses)?;
    let max_tokens =
        conversation.output_tokens_max.unwrap_or_else(|| target.output_tokens_max.unwrap_or(traits.output_tokens));
    let around = thinking::Around {
        takes: target.reasoning,
        max_tokens,
        forced_tool: tools.forced,
        is_loop_unsealed: turns.is_loop_unsealed,
    };
    let plan = thinking::plan(conversation, &traits, &around, &mut losses);
    let mut system = Content(turns.system);
    let output_config = output_config(conversation, plan.effort, &mut system, &mut losses);
    let drawn = drawn(conversation, &traits, plan.is_on(), &mut losses);
    let body = Body {
        model: target.model,
        max_tokens,
        system,
        messages: turns.messages,
        tools: tools.list,
        tool_choice: tools.choice,
        thinking: plan.thinking,
        output_config,
        temperature: drawn.temperature,
        top_p: drawn.top_p,
        top_k: drawn.top_k,
        stop_sequences: stop_sequences(conversation, &mut losses),
        metadata: metadata(conversation, &mut losses),
        service_tier: service_tier(conversation, &mut losses),
        stream: target.stream,
    };
    name_rest(conversation, &mut losses);
    let body = serde_json::to_vec(&body).expect("strings and JSON always serialize");
    Ok(Encoded { body: Bytes::from(body), losses: losses.finish() })
}

fn output_config<'a>(
    conversation: &'a Conversation,
    effort: Option<Effort>,
    system: &mut Content<'a>,
    losses: &mut Losses,
) -> Option<OutputConfig<'a>> {
    let mut config = OutputConfig { effort: effort.map(Effort::as_str), format: None };
    match &conversation.format {
        Some(Format::Schema { description, schema, .. }) => {
            if description.is_some() {
                losses.dropped("response_format.json_schema.description");
            }
            let written = match schema::fit(schema) {
                schema::Fit::AsIs => Some(Raw::Kept(schema)),
                schema::Fit::Rewritten(fitted) => {
                    losses.changed("response_format", "objects are closed, and bounds are words in the schema");
                    Some(Raw::Made(fitted))
                }
                schema::Fit::InWords => {
                    let text = format!("{JSON_OBJECT} It must be valid against this JSON schema:\n{}", schema.text());
                    ask_in_words(text.into(), system, losses);
                    None
                }
            };
            config.format = written.map(|schema| body::Format::JsonSchema { schema });
        }
        Some(Format::JsonObject) => ask_in_words(JSON_OBJECT.into(), system, losses),
        Some(Format::Text) | None => {}
    }
    (config.effort.is_some() || config.format.is_some()).then_some(config)
}

fn ask_in_words<'a>(text: Cow<'a, str>, system: &mut Content<'a>, losses: &mut Losses) {
    losses.changed("response_format", "asked for in the system text");
    system.0.push(Piece::Block(Block::Text { text, citations: Vec::new(), cache_control: None }));
}

struct Drawn {
    temperature: Option<Json>,
    top_p: Option<Json>,
    top_k: Option<Json>,
}

/// What of the sampling parameters goes with this model and its thinking. A
/// value that is the default is left out unnamed where it may not stand.
fn drawn(conversation: &Conversation, traits: &Traits, thinks: bool, losses: &mut Losses) -> Drawn {
    let sampling = &conversation.sampling;
    let number = |json: &Json| json.value().as_f64();
    let is_default = |json: &Json| number(json) == Some(1.0);
    let none = traits.draws == Draws::Nothing;
    let mut drop = |name: &str, json: &Json| {
        if !is_default(json) || name == "top_k" {
            losses.dropped(name);
        }
    };
    let mut drawn = Drawn { temperature: None, top_p: None, top_k: None };
    match &sampling.temperature {
        Some(json) if none || (thinks && !is_default(json)) => drop("temperature", json),
        other => drawn.temperature.clone_from(other),
    }
    match &sampling.top_p {
        Some(json) if none || (thinks && number(json).is_some_and(|p| p < TOP_P_THINKING_MIN)) => drop("top_p", json),
        Some(json) if traits.draws == Draws::One && drawn.temperature.is_some() => drop("top_p", json),
        other => drawn.top_p.clone_from(other),
    }
    match &sampling.top_k {
        Some(json) if none || thinks => drop("top_k", json),
        other => drawn.top_k.clone_from(other),
    }
    if drawn.temperature.as_ref().and_then(number).is_some_and(|temperature| temperature > 1.0) {
        losses.changed("temperature", "1, the highest there");
        drawn.temperature = Json::parse("1".to_owned());
    }
    drawn
}

fn stop_sequences<'a>(conversation: &'a Conversation, losses: &mut Losses) -> Vec<&'a str> {
    let mut sequences = Vec::with_capacity(conversation.stop.len());
    for (index, sequence) in conversation.stop.iter().enumerate() {
        // "each stop sequence must contain non-whitespace text" (the API's own 400).
        if sequence.trim().is_empty() {
            losses.dropped(format_args!("stop[{index}]"));
        } else {
            sequences.push(sequence.as_str());
        }
    }
    sequences
}

/// The API refuses ids that look like a mail address.
fn metadata<'a>(conversation: &'a Conversation, losses: &mut Losses) -> Option<Metadata<'a>> {
    let user_id = conversation.user.as_deref()?;
    if user_id.contains('@') {
        losses.dropped("user");
        return None;
    }
    Some(Metadata { user_id })
}

fn service_tier(conversation: &Conversation, losses: &mut Losses) -> Option<&'static str> {
    match conversation.service_tier.as_deref()? {
        "auto" => Some("auto"),
        "default" | "standard_only" => Some("standard_only"),
        _ => {
            losses.dropped("service_tier");
            None
        }
    }
}

/// What this dialect has no field for. A value that only says a default is no loss.
fn name_rest(conversation: &Conversation, losses: &mut Losses) {
    let sampling = &conversation.sampling;
    let is_zero = |json: &Json| json.value().as_f64() == Some(0.0);
    if sampling.seed.is_some() {
        losses.dropped("seed");
    }
    for (name, penalty) in
        [("frequency_penalty", &sampling.frequency_penalty), ("presence_penalty", &sampling.presence_penalty)]
    {
        if penalty.as_ref().is_some_and(|json| !is_zero(json)) {
            losses.dropped(name);
        }
    }
    for (name, is_there) in [
        ("verbosity", conversation.verbosity.is_some()),
        ("prompt_cache_key", conversation.cache_key.is_some()),
        ("metadata", conversation.metadata.is_some()),
    ] {
        if is_there {
            losses.dropped(name);
        }
    }
    for (name, value) in &conversation.others {
        let says_default = matches!(value.text(), "false" | "null") || (name == "n" && value.text() == "1");
        if !says_default {
            losses.dropped(clip(name));
        }
    }
}

#[cfg(test)]
mod tests;
