//! The lists of models.
//!
//! Owns both vendors' forms of them. Refuses to know which models answer: all do.
//! Invariant: one list, the same names in either form.

use super::chat::CREATED;
use super::dialect::Dialect;
use super::refusal::Complaint;
use serde_json::{Value, json};

const OWN: [&str; 3] = ["sim", "sim-small", "sim-large"];

/// The list, in Anthropic's form for [`Dialect::Messages`].
pub(super) fn list(dialect: Dialect, names: &[String]) -> Value {
    let ids = || OWN.into_iter().chain(names.iter().map(String::as_str));
    let data: Vec<Value> = ids().map(|id| entry(dialect, id)).collect();
    if dialect == Dialect::Messages {
        return json!({ "data": data, "has_more": false, "first_id": ids().next(), "last_id": ids().last() });
    }
    json!({ "object": "list", "data": data })
}

/// One model, by its name or by a script of it.
pub(super) fn one(dialect: Dialect, names: &[String], id: &str) -> Result<Value, Complaint> {
    let plain = id.split('?').next().unwrap_or(id);
    if OWN.contains(&plain) || names.iter().any(|name| name == id) {
        return Ok(entry(dialect, id));
    }
    Err(match dialect {
        Dialect::Messages => Complaint::invalid(format!("model: {id}")),
        Dialect::Chat | Dialect::Completions | Dialect::Responses => {
            Complaint::invalid(format!("The model '{id}' does not exist")).param("model").code("model_not_found")
        }
    }
    .status(404))
}

fn entry(dialect: Dialect, id: &str) -> Value {
    if dialect == Dialect::Messages {
        return json!({ "type": "model", "id": id, "display_name": id, "created_at": "2026-01-01T00:00:00Z" });
    }
    json!({ "id": id, "object": "model", "created": CREATED, "owned_by": "sim" })
}
