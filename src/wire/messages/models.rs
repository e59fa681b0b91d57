//! The list of models as Anthropic's API writes it.
//!
//! Source: Anthropic API reference, "List Models": `data`, `has_more`,
//! `first_id`, `last_id`; `created_at` in RFC 3339.

use crate::wire::chat::ModelEntry;
use bytes::Bytes;
use serde_json::{Value, json};

/// Writes the list, whole: there is no next page. `created` is a Unix second.
#[must_use]
pub fn model_list(entries: &[ModelEntry], created: u64) -> Bytes {
    let id = |entry: Option<&ModelEntry>| entry.map(|entry| entry.id.clone());
    let list = json!({
        "data": entries.iter().map(|entry| object(entry, created)).collect::<Vec<_>>(),
        "has_more": false,
        "first_id": id(entries.first()),
        "last_id": id(entries.last()),
    });
    Bytes::from(list.to_string())
}

/// Writes one model. `created` is a Unix second.
#[must_use]
pub fn model_object(entry: &ModelEntry, created: u64) -> Bytes {
    Bytes::from(object(entry, created).to_string())
}

fn object(entry: &ModelEntry, created: u64) -> Value {
    let second = i64::try_from(created).ok().and_then(|second| jiff::Timestamp::from_second(second).ok());
    json!({
        "type": "model",
        "id": entry.id,
        "display_name": entry.id,
        "created_at": second.unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string(),
        "lifecycle": "active",
        "capabilities": null,
        "max_input_tokens": null,
        "max_tokens": null,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::chat::read_model_list;

    #[test]
    fn the_list_names_its_ends_and_reads_back() {
        let entries = ["a", "b"].map(|id| ModelEntry { id: id.into(), owned_by: "tautline".into() });
        let list = model_list(&entries, 1_700_000_000);
        let value: Value = serde_json::from_slice(&list).expect("JSON");
        assert_eq!(
            (&value["first_id"], &value["last_id"], &value["has_more"]),
            (&json!("a"), &json!("b"), &json!(false))
        );
        assert_eq!(value["data"][1]["created_at"], "2023-11-14T22:13:20Z");
        assert_eq!(read_model_list(&list, 9), Ok(vec!["a".to_owned(), "b".to_owned()]));
        let none: Value = serde_json::from_slice(&model_list(&[], 0)).expect("JSON");
        assert_eq!(none, json!({"data": [], "has_more": false, "first_id": null, "last_id": null}));
        let one: Value = serde_json::from_slice(&model_object(&entries[0], u64::MAX)).expect("JSON");
        assert_eq!(one["created_at"], "1970-01-01T00:00:00Z");
    }
}
