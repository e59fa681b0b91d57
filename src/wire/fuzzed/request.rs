//! Requests of any bytes.
//!
//! Owns what is done with a request on its way to a target. Invariant: what we
//! write of a request that we took, we would take.

use super::held::{SPOKEN, assert_growth, assert_named, lossy};
use crate::wire::canon::{Conversation, WriteFor};
use crate::wire::dialect::Dialect;
use crate::wire::request::{Asked, Rewrite};
use crate::wire::translate::{read_request, write_request};
use crate::wire::{responses, strict};

/// A target that takes all there is, and one that takes little.
const TARGETS: [WriteFor<'static>; 2] = [
    WriteFor {
        model: "other",
        stream: true,
        ask_usage: true,
        output_tokens_max: Some(4096),
        reasoning: true,
        reasoning_declared: true,
        developer_role: true,
        reasoning_field: Some("reasoning_content"),
    },
    WriteFor {
        model: "other",
        stream: false,
        ask_usage: false,
        output_tokens_max: Some(16),
        reasoning: false,
        reasoning_declared: false,
        developer_role: false,
        reasoning_field: None,
    },
];

/// A body at the door of chat completions.
pub fn request_chat(body: &[u8]) {
    request(Dialect::Chat, body);
}

/// A body at the door of messages.
pub fn request_messages(body: &[u8]) {
    request(Dialect::Messages, body);
}

/// A body at the door of responses.
pub fn request_responses(body: &[u8]) {
    request(Dialect::Responses, body);
}

/// A body at the doors whose requests are never translated.
pub fn request_plain(body: &[u8]) {
    for dialect in [Dialect::Completions, Dialect::Embeddings, Dialect::CountTokens] {
        if let Ok(asked) = Asked::parse(dialect, body) {
            rewritten(&asked);
        }
    }
}

fn request(from: Dialect, body: &[u8]) {
    let asked = match Asked::parse(from, body) {
        Ok(asked) => asked,
        Err(error) => {
            assert!(
                error.to_string().len() <= 2048 && error.offset.is_none_or(|at| at <= body.len() as u64),
                "{error}"
            );
            return;
        }
    };
    rewritten(&asked);
    if from == Dialect::Responses {
        expanded(&asked);
    }
    let Ok((mut conversation, losses)) = read_request(from, asked.fields()) else { return };
    assert_named(&losses);
    // What is bound to its dialect is put in no other; in its own it goes as it came.
    let is_sent = |to| to != from && asked.particulars.bound.is_none();
    for whom in &TARGETS {
        for to in SPOKEN {
            written(to, &conversation, whom, is_sent(to), body.len());
        }
    }
    conversation.normalise();
    for to in SPOKEN {
        written(to, &conversation, &TARGETS[0], is_sent(to), body.len());
    }
}

fn written(to: Dialect, conversation: &Conversation, whom: &WriteFor<'_>, is_sent: bool, bytes: usize) {
    let Ok(encoded) = write_request(to, conversation, whom) else { return };
    assert_named(&encoded.losses);
    assert_growth("a request", bytes, encoded.body.len());
    let shown = || lossy(&encoded.body);
    strict::check(&encoded.body).unwrap_or_else(|error| panic!("to {to}: {error}: {}", shown()));
    if !is_sent {
        return;
    }
    let asked = Asked::parse(to, &encoded.body).unwrap_or_else(|error| panic!("to {to}: {error}: {}", shown()));
    assert_eq!((asked.model.as_str(), asked.stream), (whom.model, whom.stream), "to {to}: {}", shown());
    if let Err(error) = read_request(to, asked.fields()) {
        panic!("to {to}: {error}: {}", shown());
    }
}

/// A request for a target of its own dialect.
fn rewritten(asked: &Asked) {
    let how = Rewrite {
        model: "other",
        stream: true,
        ask_usage: asked.dialect == Dialect::Chat,
        drop_metadata_task: true,
        drop: &["logit_bias".to_owned()],
        rename: &[("max_tokens".to_owned(), "max_completion_tokens".to_owned())],
        set: &[("store".to_owned(), serde_json::json!(false))],
    };
    let rewritten = asked.rewrite(&how);
    let again = Asked::parse(asked.dialect, &rewritten.body)
        .unwrap_or_else(|error| panic!("{}: {error}: {}", asked.dialect, lossy(&rewritten.body)));
    assert_eq!((again.model.as_str(), again.stream), ("other", true), "{}", lossy(&rewritten.body));
    assert_eq!(again.particulars.text_bytes, asked.particulars.text_bytes, "{}", lossy(&rewritten.body));
}

/// A request that goes on from one that was kept.
fn expanded(asked: &Asked) {
    let items = responses::input_items(asked.fields());
    let fields = responses::expand(asked.fields(), &items);
    let twice = responses::input_items(&fields);
    assert_eq!(twice.len(), 2 * items.len(), "each item once before and once again");
    let _ = read_request(Dialect::Responses, &fields);
}
