//! The response object that the first and the last events carry.
//!
//! Owns the fields that repeat the request, with the vendor's defaults (OpenAI
//! API reference, "The response object"). Refuses clocks: what has no known time
//! has no field. Invariant: every field that the SDKs demand is there.

use super::super::json_out::JsonOut;
use super::super::usage;
use crate::domain::usage::Usage;
use crate::wire::canon::{Json, ReplyContext};
use crate::wire::resume::Identity;
use serde_json::{Value, json};

/// Fields of the request that are repeated, and what stands for those left out.
const REPEATED: [(&str, &str); 19] = [
    ("background", "false"),
    ("instructions", "null"),
    ("max_output_tokens", "null"),
    ("max_tool_calls", "null"),
    ("parallel_tool_calls", "true"),
    ("previous_response_id", "null"),
    ("prompt_cache_key", "null"),
    ("prompt_cache_retention", "null"),
    ("reasoning", r#"{"effort":null,"summary":null}"#),
    ("safety_identifier", "null"),
    ("service_tier", r#""default""#),
    ("store", "true"),
    ("temperature", "1.0"),
    ("text", r#"{"format":{"type":"text"},"verbosity":"medium"}"#),
    ("tool_choice", r#""auto""#),
    ("tools", "[]"),
    ("top_logprobs", "0"),
    ("top_p", "1.0"),
    ("truncation", r#""disabled""#),
];

/// What stays the same in all response objects of one answer.
#[derive(Debug)]
pub(super) struct Reply {
    id: String,
    created: u64,
    pub(super) model: String,
    /// The client asked for sealed reasoning.
    pub(super) sealed: bool,
    /// The client asked for the pages that a search found.
    pub(super) sources: bool,
    repeated: String,
}

impl Reply {
    pub(super) fn new(context: &ReplyContext) -> Self {
        let field = |name: &str| {
            let found = context.fields.iter().find(|(key, _)| key == name).map(|(_, json)| json);
            found.filter(|json| json.text() != "null")
        };
        let mut out = JsonOut::default();
        for (name, default) in REPEATED {
            match field(name) {
                Some(json) if matches!(name, "text" | "reasoning") => {
                    out.raw_field(name, &completed(json, default));
                }
                Some(json) => {
                    out.raw_field(name, json.text());
                }
                None => {
                    out.raw_field(name, default);
                }
            }
        }
        for (name, default) in [("user", "null"), ("metadata", "{}")] {
            out.raw_field(name, field(name).map_or(default, Json::text));
        }
        let include = field("include").map(Json::value).unwrap_or_default();
        let includes = |name: &str| include.as_array().is_some_and(|list| list.iter().any(|entry| entry == name));
        Self {
            id: format!("resp_{}", context.id),
            created: context.created,
            model: context.model.clone(),
            sealed: includes("reasoning.encrypted_content"),
            sources: includes("web_search_call.action.sources"),
            repeated: out.into_string(),
        }
    }

    pub(super) fn adopt(&mut self, names: &Identity) {
        if let Some(id) = &names.id {
            self.id.clone_from(id);
        }
        if let Some(model) = &names.model {
            self.model.clone_from(model);
        }
        self.created = names.created.unwrap_or(self.created);
    }

    /// Writes the object as a value.
    pub(super) fn write<'i>(
        &self,
        status: &str,
        incomplete: Option<&str>,
        output: impl Iterator<Item = &'i str>,
        usage: Option<&Usage>,
        out: &mut JsonOut,
    ) {
        out.open().field("id", &self.id).field("object", "response").number("created_at", self.created);
        out.field("status", status).raw_field("error", "null").key("incomplete_details");
        match incomplete {
            Some(reason) => out.open().field("reason", reason).close(),
            None => out.raw("null"),
        };
        out.field("model", &self.model).key("output").open_list();
        for item in output {
            out.raw(item);
        }
        out.close_list().raw(&self.repeated).key("usage");
        match usage {
            Some(usage) => usage::write(usage, out),
            None => {
                out.raw("null");
            }
        }
        out.close();
    }
}

/// The client's object with the fields that it left out.
fn completed(given: &Json, default: &str) -> String {
    let (Value::Object(mut given), Ok(Value::Object(default))) = (given.value(), serde_json::from_str(default)) else {
        return given.text().to_owned();
    };
    for (key, value) in default {
        given.entry(key).or_insert(value);
    }
    json!(given).to_string()
}
