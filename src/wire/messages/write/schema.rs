//! A JSON schema as the API can hold a model to it.
//!
//! Owns the few rewritings that keep what is meant. Refuses the rest: then the
//! schema is asked for in words. Source: Claude docs, "Structured outputs",
//! "JSON Schema limitations", and what the `anthropic` package does with them
//! (`transform_schema`): objects must be closed; bounds of numbers, strings and
//! lists are not enforced, and go into the description.

use crate::wire::canon::Json;
use serde_json::{Map, Value, json};
use std::collections::HashSet;

/// What becomes of a schema.
#[derive(Debug, PartialEq)]
pub(super) enum Fit {
    AsIs,
    Rewritten(Json),
    /// It says what cannot be said there, such as keys that are not known before.
    InWords,
}

/// Keywords that the API refuses, and a model can be asked to keep.
const BOUNDS: [&str; 12] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "contains",
];

/// Keywords that hold one schema, a list of them, and named ones.
const ONE: [&str; 1] = ["items"];
const LISTS: [&str; 3] = ["anyOf", "allOf", "prefixItems"];
const NAMED: [&str; 3] = ["properties", "$defs", "definitions"];

/// Levels of a schema, references followed; a body itself has at most 128.
const DEPTH_MAX: usize = 512;

pub(super) fn fit(schema: &Json) -> Fit {
    let mut value = schema.value();
    let mut walk = Walk { root: &value, open: Vec::new(), ended: HashSet::new(), depth: 0 };
    if !walk.ends(&value) {
        return Fit::InWords;
    }
    let mut changed = false;
    match close(&mut value, &mut changed) {
        None => Fit::InWords,
        Some(()) if changed => Fit::Rewritten(Json::from(&value)),
        Some(()) => Fit::AsIs,
    }
}

/// A look along the references of a schema.
struct Walk<'s> {
    root: &'s Value,
    /// References that led here.
    open: Vec<&'s str>,
    /// References that were followed to their ends.
    ended: HashSet<&'s str>,
    depth: usize,
}

impl<'s> Walk<'s> {
    /// Whether each reference is within the schema and leads to no circle: the API
    /// refuses both.
    fn ends(&mut self, node: &'s Value) -> bool {
        if self.depth == DEPTH_MAX {
            return false;
        }
        self.depth += 1;
        let ends = match node {
            Value::Object(fields) => fields.iter().all(|(key, value)| match value {
                Value::String(to) if key == "$ref" => self.follow(to),
                value => self.ends(value),
            }),
            Value::Array(list) => list.iter().all(|value| self.ends(value)),
            _ => true,
        };
        self.depth -= 1;
        ends
    }

    fn follow(&mut self, to: &'s str) -> bool {
        if self.ended.contains(to) {
            return true;
        }
        let target = to.strip_prefix('#').and_then(|path| self.root.pointer(path));
        let Some(target) = target.filter(|_| !self.open.contains(&to)) else { return false };
        self.open.push(to);
        let ends = self.ends(target);
        self.open.pop();
        self.ended.insert(to);
        ends
    }
}

/// `None`: it cannot be said. The tree is at most as deep as a body may be.
fn close(schema: &mut Value, changed: &mut bool) -> Option<()> {
    // `true` allows anything.
    let Value::Object(schema) = schema else { return None };
    if ["patternProperties", "not", "if", "dependentSchemas", "unevaluatedProperties"]
        .iter()
        .any(|word| schema.contains_key(*word))
    {
        return None;
    }
    if let Some(variants) = schema.shift_remove("oneOf") {
        if schema.contains_key("anyOf") {
            // Both hold, which one list of variants cannot say.
            return None;
        }
        *changed = true;
        schema.insert("anyOf".to_owned(), variants);
    }
    close_object(schema, changed)?;
    move_bounds(schema, changed);
    for word in ONE {
        if let Some(inner) = schema.get_mut(word) {
            close(inner, changed)?;
        }
    }
    for word in LISTS {
        if let Some(Value::Array(list)) = schema.get_mut(word) {
            list.iter_mut().try_for_each(|inner| close(inner, changed))?;
        }
    }
    for word in NAMED {
        if let Some(Value::Object(named)) = schema.get_mut(word) {
            named.values_mut().try_for_each(|inner| close(inner, changed))?;
        }
    }
    Some(())
}

fn close_object(schema: &mut Map<String, Value>, changed: &mut bool) -> Option<()> {
    let is_object = match schema.get("type") {
        Some(Value::String(kind)) => kind == "object",
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "object"),
        _ => schema.contains_key("properties"),
    };
    if !is_object {
        return Some(());
    }
    match schema.get("additionalProperties") {
        Some(Value::Bool(false)) => Some(()),
        // Any key may stand in it, and none is named: closed it would be empty.
        None | Some(Value::Bool(true)) if !schema.contains_key("properties") => None,
        None | Some(Value::Bool(true)) => {
            *changed = true;
            schema.insert("additionalProperties".to_owned(), json!(false));
            Some(())
        }
        Some(_) => None,
    }
}

fn move_bounds(schema: &mut Map<String, Value>, changed: &mut bool) {
    let mut words: Vec<String> = Vec::new();
    for bound in BOUNDS {
        if let Some(value) = schema.shift_remove(bound) {
            words.push(format!("{bound}: {value}"));
        }
    }
    if schema.get("minItems").and_then(Value::as_u64).is_some_and(|least| least > 1)
        && let Some(value) = schema.shift_remove("minItems")
    {
        words.push(format!("minItems: {value}"));
    }
    if words.is_empty() {
        return;
    }
    *changed = true;
    let told = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    let told = if told.is_empty() { String::new() } else { format!("{told}\n\n") };
    schema.insert("description".to_owned(), json!(format!("{told}{{{}}}", words.join(", "))));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fitted(schema: &Value) -> Fit {
        fit(&Json::from(schema))
    }

    #[test]
    fn objects_are_closed_and_bounds_become_words() {
        let rewritten = fitted(&json!({
            "type": "object",
            "properties": {
                "n": {"type": "integer", "minimum": 1, "maximum": 10, "description": "a number"},
                "list": {"type": "array", "minItems": 2, "items": {"properties": {"a": {"type": "string"}}}},
                "one": {"oneOf": [{"type": "string"}, {"$ref": "#/$defs/x"}]},
                "minimum": {"type": "string"},
            },
            "$defs": {"x": {"type": ["object", "null"], "properties": {}, "additionalProperties": true}},
        }));
        let expected = json!({
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "n": {"type": "integer", "description": "a number\n\n{minimum: 1, maximum: 10}"},
                "list": {"type": "array", "description": "{minItems: 2}",
                    "items": {"properties": {"a": {"type": "string"}}, "additionalProperties": false}},
                "one": {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/x"}]},
                "minimum": {"type": "string"},
            },
            "$defs": {"x": {"type": ["object", "null"], "properties": {}, "additionalProperties": false}},
        });
        assert_eq!(rewritten, Fit::Rewritten(Json::from(&expected)));
        assert_eq!(fitted(&expected), Fit::AsIs);
    }

    #[test]
    fn a_long_row_of_references_is_followed_within_a_bound() {
        let defs: Map<String, Value> =
            (0..100_000).map(|n| (format!("d{n}"), json!({"$ref": format!("#/$defs/d{}", n + 1)}))).collect();
        let began = std::time::Instant::now();
        assert_eq!(fitted(&json!({"$ref": "#/$defs/d0", "$defs": defs})), Fit::InWords);
        let shared: Vec<Value> = (0..1000).map(|_| json!({"$ref": "#/$defs/x"})).collect();
        let twice = json!({"anyOf": shared, "$defs": {"x": {"type": "string"}}});
        assert_eq!(fitted(&twice), Fit::AsIs);
        assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
    }

    #[test]
    fn what_cannot_be_enforced_is_left_to_words() {
        for schema in [
            json!(true),
            json!({"type": "object"}),
            json!({"type": "object", "additionalProperties": {"type": "string"}}),
            json!({"type": "object", "properties": {"a": {"not": {}}}, "additionalProperties": false}),
            json!({"type": "array", "items": {"type": "object", "additionalProperties": true}}),
            json!({"anyOf": [{"type": "string"}], "oneOf": [{"type": "null"}]}),
            json!({"$ref": "#/$defs/x", "$defs": {"x": {"type": "array", "items": {"$ref": "#/$defs/x"}}}}),
            json!({"type": "array", "items": {"$ref": "#"}}),
            json!({"$ref": "https://x.test/schema.json"}),
            json!({"$ref": "#/$defs/gone"}),
        ] {
            assert_eq!(fitted(&schema), Fit::InWords, "{schema}");
        }
    }
}
