//! Items that are kept between the requests of one conversation.
//!
//! Owns what of a request and of its answer a later request builds on, and how
//! it is put before that one's own input. Refuses to keep anything: that is the
//! gateway's. Invariant: an item goes on as the bytes it came in.

use super::json_out::JsonOut;
use super::reading::{as_list, is_text};
use crate::wire::canon::Json;
use serde_json::Value;
use serde_json::value::RawValue;

/// The items of an answer; none where it has no output.
#[must_use]
pub fn output_items(response: &Value) -> &[Value] {
    response.get("output").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The input of a request as items: a text is one message of the user.
#[must_use]
pub fn input_items(fields: &[(String, Box<RawValue>)]) -> Vec<Json> {
    let Some((_, raw)) = fields.iter().find(|(key, _)| key == "input") else { return Vec::new() };
    match as_list(raw) {
        Some(items) => items.into_iter().map(|item| Json::from(item.to_owned())).collect(),
        None if is_text(raw) => {
            let mut out = JsonOut::with_capacity(raw.get().len() + 64);
            out.open().field("type", "message").field("role", "user").key("content").open_list();
            out.open().field("type", "input_text").raw_field("text", raw.get()).close().close_list().close();
            Json::parse(out.into_string()).into_iter().collect()
        }
        None => Vec::new(),
    }
}

/// The request with what was said before in front of its own input, and without
/// `previous_response_id`. All else stays as it is.
#[must_use]
pub fn expand(fields: &[(String, Box<RawValue>)], earlier: &[Json]) -> Vec<(String, Box<RawValue>)> {
    let own = fields.iter().find(|(key, _)| key == "input").map(|(_, raw)| raw.get());
    // A list goes on as it is, without a look at its items.
    let listed = own.and_then(|text| text.strip_prefix('[')?.strip_suffix(']')).map(str::trim);
    let said = if listed.is_some() { Vec::new() } else { input_items(fields) };
    let bytes = earlier.iter().map(|item| item.text().len() + 1).sum::<usize>();
    let mut out = JsonOut::with_capacity(bytes + own.map_or(0, str::len) + 128);
    out.open_list();
    for item in earlier.iter().chain(&said) {
        out.raw(item.text());
    }
    if let Some(items) = listed.filter(|items| !items.is_empty()) {
        out.raw(items);
    }
    out.close_list();
    let input = RawValue::from_string(out.into_string()).expect("a list of items is JSON");
    let mut input = Some(input);
    let mut expanded = Vec::with_capacity(fields.len() + 1);
    for (key, raw) in fields {
        match key.as_str() {
            "previous_response_id" => {}
            "input" => expanded.extend(input.take().map(|input| (key.clone(), input))),
            _ => expanded.push((key.clone(), raw.clone())),
        }
    }
    expanded.extend(input.map(|input| ("input".to_owned(), input)));
    expanded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(body: &str) -> Vec<(String, Box<RawValue>)> {
        let object: serde_json::Map<String, Value> = serde_json::from_str(body).expect("an object");
        let raw = |value: &Value| serde_json::value::to_raw_value(value).expect("JSON");
        object.iter().map(|(key, value)| (key.clone(), raw(value))).collect()
    }

    #[test]
    fn earlier_items_stand_before_the_requests_own() {
        let earlier = [Json::parse(r#"{"role":"user","content":"1"}"#.to_owned()).expect("JSON")];
        for (body, input) in [
            (
                r#"{"model":"m","input":"\"2\"","previous_response_id":"resp_1","store":true}"#,
                r#"[{"role":"user","content":"1"},{"type":"message","role":"user","content":[{"type":"input_text","text":"\"2\""}]}]"#,
            ),
            (
                r#"{"model":"m","previous_response_id":"resp_1","input":[{"a":1},{"b":2}]}"#,
                r#"[{"role":"user","content":"1"},{"a":1},{"b":2}]"#,
            ),
            (r#"{"model":"m"}"#, r#"[{"role":"user","content":"1"}]"#),
            (r#"{"model":"m","input":[ ]}"#, r#"[{"role":"user","content":"1"}]"#),
        ] {
            let expanded = expand(&fields(body), &earlier);
            let found = expanded.iter().find(|(key, _)| key == "input").expect("an input");
            assert_eq!(found.1.get(), input);
            assert!(expanded.iter().all(|(key, _)| key != "previous_response_id"));
            assert_eq!(expanded.iter().filter(|(key, _)| key == "model").count(), 1);
        }
    }

    #[test]
    fn an_answer_without_output_has_no_items() {
        assert!(output_items(&serde_json::json!({"output": null})).is_empty());
        assert_eq!(output_items(&serde_json::json!({"output": [{"a": 1}]})).len(), 1);
    }
}
