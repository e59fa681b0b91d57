//! A conversation as a request of the responses dialect.
//!
//! Owns the top level; items and tools are written by `write/`. Refuses to ask
//! for something else than was asked: see [`Unsayable`]. Invariant: whatever is
//! left out or altered is named as a loss.
//!
//! | in the conversation | here |
//! |---|---|
//! | first system turn of one text | `instructions`; other system and developer turns are messages of the input |
//! | `stop`, `top_k`, `seed`, `frequency_penalty`, `presence_penalty` | dropped |
//! | a limit of the output below 16 | raised to 16 |
//! | `thinking.budget_tokens` | `reasoning.effort`: low up to 4,096, medium up to 16,384, else high |
//! | reasoning of earlier turns | sent if this dialect sealed it, else dropped |
//! | audio | refused |
//! | a participant's name, citations without a URL | dropped |
//! | marks of caches | left out: OpenAI caches without them |
//! | a result that is an error | its text begins with `Error: ` |
//! | empty arguments of a call, a schema without `type` or `properties` | `{}`, with them: else it is refused |
//! | `service_tier: "standard_only"` | `default` |
//! | images in assistant turns, documents as plain text | dropped; a text part |
//! | ids of calls, names of users beyond 64 characters | their SHA-256 |
//! | an effort that the model does not take | the nearest that it takes |
//! | no thinking, where that cannot be asked for | its least effort, else dropped |
//! | `strict` of a schema that OpenAI holds no model to | `strict: false` |
//! | a function without `strict` | `strict: false` (here the default is true) |
//! | other vendors' own tools and steps | dropped; refused if the tool choice demands one |
//! | `max_uses`, `blocked_domains` of a web search | dropped |
//! | fields that only other dialects have | dropped |
//! | not said | `store: false`, and `include: ["reasoning.encrypted_content"]` where thinking is asked for |

mod item;
mod tool;

pub(super) use item::{is_placed, write_citation};

use super::json_out::JsonOut;
use super::names::digest;
use super::reading::Losses;
use crate::wire::canon::{
    Conversation, Effort, Encoded, Format, Json, Part, Role, Seal, Thinking, Turn, Unsayable, WriteFor,
};
use crate::wire::efforts::{self, Word};
use bytes::Bytes;

/// The least that OpenAI takes as `max_output_tokens`.
const OUTPUT_TOKENS_MIN: u64 = 16;
/// Characters of `safety_identifier`.
const USER_MAX: usize = 64;

/// Fields of a request that this dialect alone has, or shares with chat
/// completions by name and meaning: they go on as they are.
const OWN_FIELDS: [&str; 16] = [
    "background",
    "client_metadata",
    "context_management",
    "conversation",
    "include",
    "max_tool_calls",
    "moderation",
    "previous_response_id",
    "prompt",
    "prompt_cache_options",
    "prompt_cache_retention",
    "store",
    "tool_choice",
    "top_logprobs",
    "truncation",
    "user",
];

/// The body that asks a target of this dialect.
///
/// # Errors
/// [`Unsayable`] where leaving something out would ask for something else.
pub fn write_request(conversation: &Conversation, how: &WriteFor<'_>) -> Result<Encoded, Unsayable> {
    let mut losses = Losses::default();
    let mut out = JsonOut::with_capacity(1024);
    out.open().field("model", how.model);
    let turns = match instructions(&conversation.turns) {
        Some((text, rest)) => {
            out.field("instructions", text);
            rest
        }
        None => &conversation.turns,
    };
    out.key("input").open_list();
    item::write(turns, how, &mut out, &mut losses)?;
    out.close_list();
    tool::write(conversation, &mut out, &mut losses)?;
    if let Some(parallel) = conversation.parallel_calls.filter(|_| !conversation.tools.is_empty()) {
        out.flag("parallel_tool_calls", parallel);
    }
    text(conversation, &mut out, &mut losses);
    reasoning(conversation.thinking.as_ref(), how, &mut out, &mut losses);
    limits(conversation, &mut out, &mut losses);
    others(conversation, how, &mut out, &mut losses);
    if how.stream {
        out.flag("stream", true);
    }
    out.close();
    Ok(Encoded { body: Bytes::from(out.into_bytes()), losses: losses.finish() })
}

/// The words of the first turn, if they can go as `instructions`, and the turns after it.
fn instructions(turns: &[Turn]) -> Option<(&str, &[Turn])> {
    let (first, rest) = turns.split_first()?;
    match (first.role, first.parts.as_slice(), &first.name) {
        (Role::System, [Part::Text { text, cache: None, citations }], None) if citations.is_empty() => {
            Some((text, rest))
        }
        _ => None,
    }
}

fn text(conversation: &Conversation, out: &mut JsonOut, losses: &mut Losses) {
    if conversation.format.is_none() && conversation.verbosity.is_none() {
        return;
    }
    out.key("text").open();
    match &conversation.format {
        None => {}
        Some(Format::Text) => {
            out.key("format").open().field("type", "text").close();
        }
        Some(Format::JsonObject) => {
            out.key("format").open().field("type", "json_object").close();
        }
        Some(Format::Schema { name, description, schema, strict }) => {
            out.key("format").open().field("type", "json_schema");
            out.field("name", name.as_deref().unwrap_or("answer"));
            if let Some(description) = description {
                out.field("description", description);
            }
            out.raw_field("schema", schema.text());
            if let Some(strict) = strict {
                out.flag("strict", tool::strict(*strict, Some(schema), "text.format.strict", losses));
            }
            out.close();
        }
    }
    if let Some(verbosity) = &conversation.verbosity {
        out.field("verbosity", verbosity);
    }
    out.close();
}

fn reasoning(thinking: Option<&Thinking>, how: &WriteFor<'_>, out: &mut JsonOut, losses: &mut Losses) {
    let Some(thinking) = thinking else { return };
    if !how.reasoning {
        // A target without reasoning does not think; only a wish to is lost.
        if thinking.wanted != Some(false) {
            losses.dropped("reasoning");
        }
        return;
    }
    let budgeted = || {
        thinking.budget_tokens.map(|tokens| match tokens {
            0..=4096 => Effort::Low,
            4097..=16_384 => Effort::Medium,
            _ => Effort::High,
        })
    };
    let word = match (thinking.wanted, thinking.effort.or_else(budgeted)) {
        (Some(false), _) => Some(efforts::none(how.model, how.reasoning_declared)),
        (_, effort) => effort.map(|effort| efforts::word(how.model, effort)),
    };
    let effort = match word {
        Some(Word::Same(word)) => Some(word),
        Some(Word::Nearest(word)) => {
            losses.changed("reasoning.effort", "the nearest that this model takes");
            Some(word)
        }
        Some(Word::LeftOut) => {
            losses.dropped("reasoning.effort");
            None
        }
        None => None,
    };
    if thinking.budget_tokens.is_some() {
        losses.changed("thinking.budget_tokens", "reasoning.effort");
    }
    // A client that asks for thinking without a word of summaries is of a dialect
    // that always shows it.
    let shown = thinking.wanted == Some(true) || thinking.adaptive || thinking.budget_tokens.is_some();
    let summary = thinking.summary.as_deref().or(shown.then_some("auto"));
    if effort.is_none() && summary.is_none() {
        return;
    }
    out.key("reasoning").open();
    if let Some(effort) = effort {
        out.field("effort", effort);
    }
    if let Some(summary) = summary {
        out.field("summary", summary);
    }
    out.close();
}

fn limits(conversation: &Conversation, out: &mut JsonOut, losses: &mut Losses) {
    if let Some(tokens) = conversation.output_tokens_max {
        if tokens < OUTPUT_TOKENS_MIN {
            losses.changed("max_output_tokens", "16, the least that is taken there");
        }
        out.number("max_output_tokens", tokens.max(OUTPUT_TOKENS_MIN));
    }
    let sampling = &conversation.sampling;
    for (name, value) in [("temperature", &sampling.temperature), ("top_p", &sampling.top_p)] {
        if let Some(value) = value {
            out.raw_field(name, value.text());
        }
    }
    for (name, there) in [
        ("top_k", sampling.top_k.is_some()),
        ("seed", sampling.seed.is_some()),
        ("frequency_penalty", sampling.frequency_penalty.is_some()),
        ("presence_penalty", sampling.presence_penalty.is_some()),
        ("stop", !conversation.stop.is_empty()),
    ] {
        if there {
            losses.dropped(name);
        }
    }
}

fn others(conversation: &Conversation, how: &WriteFor<'_>, out: &mut JsonOut, losses: &mut Losses) {
    if let Some(user) = &conversation.user {
        if user.chars().count() <= USER_MAX {
            out.field("safety_identifier", user);
        } else {
            losses.changed("user", "its SHA-256, which fits into 64 characters");
            out.field("safety_identifier", &digest(user));
        }
    }
    for (name, value) in [("prompt_cache_key", &conversation.cache_key), ("service_tier", &conversation.service_tier)] {
        if let Some(value) = value {
            // Anthropic's word for what is not bought in advance.
            out.field(name, if value == "standard_only" { "default" } else { value });
        }
    }
    if let Some(metadata) = &conversation.metadata {
        out.raw_field("metadata", metadata.text());
    }
    let other = |name: &str| conversation.others.iter().any(|(key, _)| key == name);
    if !other("store") {
        out.flag("store", false);
    }
    if !other("include") && how.reasoning && is_reasoning_carried(conversation) {
        out.key("include").open_list().text("reasoning.encrypted_content").close_list();
    }
    for (name, json) in &conversation.others {
        let is_own = match name.as_str() {
            "tool_choice" => is_hosted_choice(json),
            // Of other vendors they may be anything.
            "user" | "previous_response_id" => json.text().starts_with('"'),
            "store" | "background" => matches!(json.text(), "true" | "false"),
            "include" => serde_json::from_str::<Vec<String>>(json.text()).is_ok(),
            name => OWN_FIELDS.contains(&name),
        };
        if is_own {
            out.raw_field(name, json.text());
        } else {
            losses.dropped(name);
        }
    }
}

/// Whether the client gives reasoning back, or asks for it.
fn is_reasoning_carried(conversation: &Conversation) -> bool {
    let asked = conversation.thinking.as_ref().is_some_and(|thinking| thinking.wanted != Some(false));
    let sealed = |part: &Part| matches!(part, Part::Reasoning(said) if matches!(said.seal, Some(Seal::Encrypted(_))));
    asked || conversation.turns.iter().any(|turn| turn.parts.iter().any(sealed))
}

fn is_hosted_choice(json: &Json) -> bool {
    serde_json::from_str::<Box<serde_json::value::RawValue>>(json.text())
        .is_ok_and(|raw| super::read::is_hosted_choice(&raw))
}

#[cfg(test)]
mod tests;
