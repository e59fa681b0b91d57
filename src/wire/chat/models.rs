//! The list of models, read and written.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

/// One line of `GET /v1/models`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelEntry {
    pub id: String,
    pub owned_by: String,
}

/// Writes the list as OpenAI does. `created` is a Unix second.
#[must_use]
pub fn model_list(entries: &[ModelEntry], created: u64) -> Bytes {
    let list: Vec<_> = entries.iter().map(|entry| line(entry, created)).collect();
    Bytes::from(json!({"object": "list", "data": list}).to_string())
}

/// One of them. `created` is a Unix second.
#[must_use]
pub fn model(entry: &ModelEntry, created: u64) -> Bytes {
    Bytes::from(line(entry, created).to_string())
}

fn line(entry: &ModelEntry, created: u64) -> serde_json::Value {
    json!({"id": entry.id, "object": "model", "created": created, "owned_by": entry.owned_by})
}

/// Reads a provider's list, at most `names_max` names.
///
/// # Errors
/// A sentence when the body is no such list.
pub fn read_model_list(body: &[u8], names_max: usize) -> Result<Vec<String>, String> {
    #[derive(Deserialize)]
    struct List {
        data: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        id: String,
    }
    let list: List = serde_json::from_slice(body).map_err(|_| "the answer is not a list of models".to_owned())?;
    Ok(list.data.into_iter().map(|entry| entry.id).take(names_max).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let entries = [ModelEntry { id: "a".into(), owned_by: "tautline".into() }];
        assert_eq!(read_model_list(&model_list(&entries, 1), 9), Ok(vec!["a".to_owned()]));
        assert!(read_model_list(b"[]", 9).is_err());
    }
}
