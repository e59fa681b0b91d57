//! Whether OpenAI holds a model to a schema.
//!
//! Owns the check before `strict: true` is written to a target. Refuses to mend a
//! schema: closing an object would forbid what its author allows. Invariant: what
//! passes keeps the rules that OpenAI refuses a request for (guide "Structured
//! outputs", "Supported schemas"): each object is closed and demands all of its
//! fields, and the root is an object.

use super::canon::Json;
use serde_json::{Map, Value};

/// Keywords that are refused in this mode.
const REFUSED: [&str; 10] = [
    "allOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "dependentRequired",
    "dependentSchemas",
    "patternProperties",
    "unevaluatedProperties",
];

pub(super) fn is_strict(schema: &Json) -> bool {
    let value = schema.value();
    let is_object = |schema: &Map<String, Value>| schema.get("type").is_some_and(|kind| kind == "object");
    value.as_object().is_some_and(is_object) && holds(&value)
}

/// The tree is at most as deep as a body may be.
fn holds(schema: &Value) -> bool {
    let Value::Object(schema) = schema else { return false };
    if REFUSED.iter().any(|word| schema.contains_key(*word)) || !is_closed(schema) {
        return false;
    }
    let one = schema.get("items").is_none_or(holds);
    let list = schema.get("anyOf").and_then(Value::as_array).is_none_or(|list| list.iter().all(holds));
    let mut named = ["properties", "$defs", "definitions"].iter().filter_map(|word| schema.get(*word)?.as_object());
    one && list && named.all(|named| named.values().all(holds))
}

fn is_closed(schema: &Map<String, Value>) -> bool {
    let properties = schema.get("properties").and_then(Value::as_object);
    let is_object = match schema.get("type") {
        Some(Value::String(kind)) => kind == "object",
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "object"),
        _ => properties.is_some(),
    };
    if !is_object {
        return true;
    }
    let required = schema.get("required").and_then(Value::as_array);
    let is_demanded = |name: &String| required.is_some_and(|list| list.iter().any(|one| one == name));
    schema.get("additionalProperties") == Some(&Value::Bool(false))
        && properties.is_none_or(|properties| properties.keys().all(is_demanded))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_closed_objects_that_demand_all_their_fields_are_strict() {
        let closed = json!({"type": "object", "additionalProperties": false, "required": ["a"], "properties": {
            "a": {"anyOf": [{"type": "null"}, {"type": "array", "items": {"$ref": "#/$defs/x"}}]}},
            "$defs": {"x": {"type": "object", "properties": {}, "additionalProperties": false}}});
        assert!(is_strict(&Json::from(&closed)));
        let with = |path: &str, value: Value| {
            let mut schema = closed.clone();
            *schema.pointer_mut(path).expect("a place") = value;
            is_strict(&Json::from(&schema))
        };
        assert!(!with("/required", json!([])));
        assert!(!with("/additionalProperties", json!(true)));
        assert!(!with("/$defs/x/additionalProperties", json!(true)));
        assert!(!with("/$defs/x", json!({"allOf": []})));
        assert!(!with("/properties/a", json!({"type": ["object", "null"], "properties": {}})));
        assert!(!with("/type", json!("array")));
        assert!(!is_strict(&Json::from(&json!(true))));
    }
}
