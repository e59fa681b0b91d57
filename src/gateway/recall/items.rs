//! The items that a response answered, as a list in pages.
//!
//! Owns order, page and the names of items that came without one. Refuses to
//! read them. Invariant: an item is written as it came, with `id` and `type`
//! put before the rest where they were missing.

use super::query::{Order, Page};
use crate::wire::canon::Json;
use serde::Deserialize;
use std::fmt::Write as _;

/// OpenAI's list of the input items of a response.
///
/// # Errors
/// `after` names no item of it.
pub fn list(response_id: &str, items: &[Json], page: &Page) -> Result<String, ()> {
    let mut named: Vec<(String, String)> =
        items.iter().enumerate().map(|(place, item)| name(response_id, place, item)).collect();
    if page.order == Order::Newest {
        named.reverse();
    }
    let from = match &page.after {
        None => 0,
        Some(after) => named.iter().position(|(id, _)| id == after).ok_or(())? + 1,
    };
    let shown = &named[from..named.len().min(from.saturating_add(page.limit))];
    let quoted = |pair: Option<&(String, String)>| {
        pair.map_or_else(|| "null".to_owned(), |(id, _)| serde_json::Value::from(id.as_str()).to_string())
    };
    let more = from + shown.len() < named.len();
    let mut out = String::with_capacity(128 + shown.iter().map(|(_, text)| text.len() + 1).sum::<usize>());
    out.push_str("{\"object\":\"list\",\"data\":[");
    for (place, (_, text)) in shown.iter().enumerate() {
        out.push_str(if place == 0 { "" } else { "," });
        out.push_str(text);
    }
    let (first, last) = (quoted(shown.first()), quoted(shown.last()));
    let _ = write!(out, "],\"first_id\":{first},\"last_id\":{last},\"has_more\":{more}}}");
    Ok(out)
}

/// An item's id, and the item with it.
fn name(response_id: &str, place: usize, item: &Json) -> (String, String) {
    #[derive(Deserialize)]
    struct Known {
        id: Option<String>,
        #[serde(rename = "type")]
        kind: Option<String>,
    }
    let known: Known = serde_json::from_str(item.text()).unwrap_or(Known { id: None, kind: None });
    let text = item.text().trim_start();
    let Some(inside) = text.strip_prefix('{') else {
        // No object: nothing can be written into it.
        return (String::new(), text.to_owned());
    };
    let kind = known.kind.as_deref().unwrap_or("message");
    let mut before = String::new();
    let id = known.id.unwrap_or_else(|| {
        let stem = response_id.strip_prefix("resp_").unwrap_or(response_id);
        let id = format!("{}_{stem}_{place}", if kind == "message" { "msg" } else { "item" });
        let _ = write!(before, "\"id\":{},", serde_json::Value::from(id.as_str()));
        id
    });
    if known.kind.is_none() {
        before.push_str("\"type\":\"message\",");
    }
    if inside.trim_start().starts_with('}') {
        before.pop();
    }
    (id, format!("{{{before}{inside}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn items() -> Vec<Json> {
        [
            r#"{"role":"user","content":"one","n":1.50}"#,
            r#"{"type":"function_call","id":"fc_1"}"#,
            "{}",
            r#"{"type":"reasoning"}"#,
        ]
        .map(|text| Json::parse(text.to_owned()).expect("JSON"))
        .to_vec()
    }

    fn listed(order: Order, limit: usize, after: Option<&str>) -> Option<Value> {
        let page = Page { order, limit, after: after.map(str::to_owned) };
        list("resp_7", &items(), &page).ok().map(|text| serde_json::from_str(&text).expect("JSON"))
    }

    #[test]
    fn every_item_has_a_name_and_keeps_its_own_text() {
        let page = Page { order: Order::Oldest, limit: 100, after: None };
        let text = list("resp_7", &items(), &page).expect("a list");
        assert!(text.contains(r#"{"id":"msg_7_0","type":"message","role":"user","content":"one","n":1.50}"#), "{text}");
        let all: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(all["data"][1], json!({"type": "function_call", "id": "fc_1"}));
        assert_eq!(all["data"][2], json!({"id": "msg_7_2", "type": "message"}));
        assert_eq!(all["data"][3], json!({"id": "item_7_3", "type": "reasoning"}));
        assert_eq!((&all["first_id"], &all["has_more"]), (&json!("msg_7_0"), &json!(false)));
    }

    #[test]
    fn pages_follow_each_other_in_either_order_and_end() {
        let first = listed(Order::Newest, 3, None).expect("a page");
        assert_eq!((&first["first_id"], &first["last_id"]), (&json!("item_7_3"), &json!("fc_1")));
        assert_eq!(first["has_more"], json!(true));
        let second = listed(Order::Newest, 3, Some("fc_1")).expect("a page");
        assert_eq!((second["data"].as_array().map(Vec::len), &second["has_more"]), (Some(1), &json!(false)));
        let beyond = listed(Order::Newest, 3, Some("msg_7_0")).expect("an empty page");
        assert_eq!((&beyond["data"], &beyond["first_id"]), (&json!([]), &Value::Null));
        assert_eq!(listed(Order::Oldest, 3, Some("fc_9")), None);
    }
}
