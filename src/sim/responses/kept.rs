//! What responses leave behind for later requests.
//!
//! Owns the memory behind `previous_response_id`, `GET` and `DELETE`, and item
//! ids. Refuses to know how a conversation is answered. Invariant: bounded in
//! responses and in bytes, the oldest go first, and what goes is not found again.

use parking_lot::Mutex;
use serde_json::Value;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Responses remembered.
const KEPT_MAX: usize = 4_096;
/// Their conversations together, as JSON.
const KEPT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// One response and the conversation up to it.
#[derive(Debug)]
pub(in crate::sim) struct Turn {
    pub response: Value,
    /// Input and output of this response and of those before it.
    pub items: Vec<Value>,
    bytes: usize,
}

#[derive(Default)]
struct Shelf {
    turns: HashMap<String, Arc<Turn>>,
    /// Output items by their id, with the response that brought them.
    items: HashMap<String, (String, Value)>,
    order: VecDeque<String>,
    bytes: usize,
}

/// The memory of one simulator.
#[derive(Default)]
pub(in crate::sim) struct Kept {
    held: Mutex<Shelf>,
}

impl Kept {
    /// Remembers a response under its id.
    pub fn keep(&self, response: Value, mut items: Vec<Value>) {
        let id = response["id"].as_str().unwrap_or_default().to_owned();
        let output = response["output"].as_array().cloned().unwrap_or_default();
        items.extend(output.iter().cloned());
        let bytes = items.iter().chain([&response]).map(|value| value.to_string().len()).sum();
        let mut store = self.held.lock();
        for item in output {
            if let Some(name) = item["id"].as_str() {
                store.items.insert(name.to_owned(), (id.clone(), item.clone()));
            }
        }
        store.bytes += bytes;
        store.order.push_back(id.clone());
        store.turns.insert(id, Arc::new(Turn { response, items, bytes }));
        while store.turns.len() > KEPT_MAX || store.bytes > KEPT_BYTES_MAX {
            let Some(oldest) = store.order.pop_front() else {
                break;
            };
            store.remove(&oldest);
        }
    }

    pub fn find(&self, id: &str) -> Option<Arc<Turn>> {
        self.held.lock().turns.get(id).cloned()
    }

    /// The output item of that id.
    pub fn item(&self, id: &str) -> Option<Value> {
        self.held.lock().items.get(id).map(|(_, item)| item.clone())
    }

    /// Forgets a response; `false` if it was not known.
    pub fn forget(&self, id: &str) -> bool {
        let mut store = self.held.lock();
        store.order.retain(|kept| kept != id);
        store.remove(id)
    }
}

impl Shelf {
    fn remove(&mut self, id: &str) -> bool {
        let Some(turn) = self.turns.remove(id) else {
            return false;
        };
        self.bytes -= turn.bytes;
        for item in turn.response["output"].as_array().into_iter().flatten() {
            let name = item["id"].as_str().unwrap_or_default();
            // The same item may have come again with a later response.
            if self.items.get(name).is_some_and(|(of, _)| of == id) {
                self.items.remove(name);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn response(id: usize) -> Value {
        json!({ "id": format!("resp_{id}"), "output": [{ "id": format!("msg_{id}"), "type": "message" }] })
    }

    #[test]
    fn the_oldest_go_first_and_take_their_items_along() {
        let kept = Kept::default();
        for id in 0..=KEPT_MAX {
            kept.keep(response(id), vec![json!("asked")]);
        }
        assert!(kept.find("resp_0").is_none() && kept.item("msg_0").is_none());
        let turn = kept.find("resp_1").expect("the second is the oldest now");
        assert_eq!(turn.items.len(), 2);
        assert!(kept.item("msg_1").is_some());
    }

    #[test]
    fn what_is_forgotten_is_not_found() {
        let kept = Kept::default();
        kept.keep(response(1), Vec::new());
        assert!(kept.forget("resp_1") && !kept.forget("resp_1"));
        assert!(kept.find("resp_1").is_none() && kept.item("msg_1").is_none());
    }

    #[test]
    fn large_conversations_push_out_others_by_bytes() {
        let kept = Kept::default();
        let large = "x".repeat(KEPT_BYTES_MAX / 3);
        for id in 0..3 {
            kept.keep(response(id), vec![json!(large)]);
        }
        assert!(kept.find("resp_0").is_none() && kept.find("resp_2").is_some());
    }
}
