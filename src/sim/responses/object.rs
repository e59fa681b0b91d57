//! The response object.
//!
//! Owns its fields and their order, as the vendor sends them. Refuses events and
//! items. Invariant: what the request said stands in it, defaults filled in.

use crate::sim::answer::{Answer, Counts, Finish};
use crate::sim::chat::CREATED;
use crate::sim::script::Script;
use serde_json::{Map, Value, json};

/// Fields that repeat the request, with what stands there where it said nothing.
/// In the vendor's order; what is computed is put between them.
#[derive(Debug, Clone)]
pub(super) struct Object {
    fields: Map<String, Value>,
    usage: Value,
}

impl Object {
    pub fn new(answer: &Answer, body: &Value, script: &Script) -> Self {
        let said = |name: &str, default: Value| if body[name].is_null() { default } else { body[name].clone() };
        let text = &body["text"];
        let format = if text["format"].is_null() { json!({ "type": "text" }) } else { text["format"].clone() };
        let verbosity = if text["verbosity"].is_null() { json!("medium") } else { text["verbosity"].clone() };
        let reasoning = json!({ "effort": body["reasoning"]["effort"], "summary": body["reasoning"]["summary"] });
        let fields = json!({
            "id": answer.id("resp"),
            "object": "response",
            "created_at": CREATED,
            "status": "in_progress",
            "background": said("background", json!(false)),
            "completed_at": null,
            "error": null,
            "frequency_penalty": 0.0,
            "incomplete_details": null,
            "instructions": body["instructions"],
            "max_output_tokens": body["max_output_tokens"],
            "max_tool_calls": body["max_tool_calls"],
            "model": answer.model,
            "output": [],
            "parallel_tool_calls": said("parallel_tool_calls", json!(true)),
            "presence_penalty": 0.0,
            "previous_response_id": body["previous_response_id"],
            "prompt_cache_key": body["prompt_cache_key"],
            "prompt_cache_retention": body["prompt_cache_retention"],
            "reasoning": reasoning,
            "safety_identifier": body["safety_identifier"],
            "service_tier": said("service_tier", json!("auto")),
            "store": said("store", json!(true)),
            "temperature": said("temperature", json!(1.0)),
            "text": { "format": format, "verbosity": verbosity },
            "tool_choice": said("tool_choice", json!("auto")),
            "tools": said("tools", json!([])),
            "top_logprobs": said("top_logprobs", json!(0)),
            "top_p": said("top_p", json!(1.0)),
            "truncation": said("truncation", json!("disabled")),
            "usage": null,
            "user": body["user"],
            "metadata": said("metadata", json!({})),
        });
        let Value::Object(fields) = fields else { unreachable!("an object literal is an object") };
        Self { fields, usage: if script.usage { usage(&answer.counts) } else { Value::Null } }
    }

    /// The same with another answer's counts.
    pub fn recounted(self, answer: &Answer) -> Self {
        let usage = if self.usage.is_null() { Value::Null } else { usage(&answer.counts) };
        Self { usage, ..self }
    }

    pub fn started(&self) -> Value {
        Value::Object(self.fields.clone())
    }

    pub fn finished(&self, finish: Finish, output: &[Value]) -> Value {
        let mut object = self.started();
        let reason = match finish {
            Finish::Stop | Finish::Tools => None,
            Finish::Length => Some("max_output_tokens"),
            Finish::Filter => Some("content_filter"),
        };
        match reason {
            None => {
                object["status"] = "completed".into();
                object["completed_at"] = (CREATED + 1).into();
            }
            Some(reason) => {
                object["status"] = "incomplete".into();
                object["incomplete_details"] = json!({ "reason": reason });
            }
        }
        object["service_tier"] = "default".into();
        object["output"] = output.into();
        object["usage"] = self.usage.clone();
        object
    }

    pub fn failed(&self, code: &str, message: &str) -> Value {
        let mut object = self.started();
        object["status"] = "failed".into();
        object["error"] = json!({ "code": code, "message": message });
        object
    }
}

fn usage(counts: &Counts) -> Value {
    json!({
        "input_tokens": counts.input,
        "input_tokens_details": { "cached_tokens": counts.cached, "cache_write_tokens": 0 },
        "output_tokens": counts.output,
        "output_tokens_details": { "reasoning_tokens": counts.reasoning },
        "total_tokens": counts.input + counts.output,
    })
}
