//! Refusing what the vendors refuse, in their words.
//!
//! Owns the checks of each dialect's requests. Refuses to answer them. Invariant:
//! what the vendors' own packages and agents send passes; what a translation
//! leaves behind of another dialect does not.

mod chat;
mod messages;
mod responses;

pub(super) use chat::check as chat;
pub(super) use messages::{Versions, check as messages, check_count as count_tokens};
pub(super) use responses::{check as responses, known as responses_parameters, unknown_item};

use super::refusal::Complaint;
use serde_json::Value;

/// `OpenAI`'s refusal of the first top-level field that is not listed.
fn known_parameters(body: &Value, known: &[&str]) -> Result<(), Complaint> {
    let mut names = body.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    names.find(|name| !known.contains(name)).map_or(Ok(()), |name| Err(unknown_parameter(name)))
}

fn unknown_parameter(name: &str) -> Complaint {
    Complaint::invalid(format!("Unknown parameter: '{name}'.")).param(name).code("unknown_parameter")
}

fn missing_parameter(name: &str) -> Complaint {
    Complaint::invalid(format!("Missing required parameter: '{name}'.")).param(name).code("missing_required_parameter")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
