//! What an answer says, piece by piece.

use super::conversation::{Citation, Seal};
use super::json::Json;
use crate::domain::usage::Usage;
use crate::wire::facts::Finish;

/// One step of an answer. Blocks are numbered from 0 in the order in which they
/// open; an open block is closed before the answer finishes.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Once, first: what the target calls the answer.
    Start {
        id: String,
        model: String,
    },
    Open {
        block: u32,
        kind: Block,
    },
    Delta {
        block: u32,
        delta: Delta,
    },
    Close {
        block: u32,
    },
    /// What was counted so far; later ones replace earlier ones.
    Usage(Usage),
    /// Why the answer ends, and the stop sequence that was met.
    Finish {
        finish: Finish,
        stop_sequence: Option<String>,
    },
}

/// What a block holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Block {
    Text,
    Refusal,
    /// Reasoning that is shown.
    Reasoning,
    /// Reasoning that is not shown, as its maker sealed it (messages:
    /// `redacted_thinking`; responses: an item without summary).
    Sealed,
    Call {
        id: String,
        name: String,
        /// Free text instead of JSON arguments.
        custom: bool,
    },
    /// A search that the provider made by itself: the query once known, the hits
    /// as (title, url).
    Search {
        id: String,
        query: Option<String>,
        hits: Vec<(String, String)>,
    },
    /// What no other dialect has; encoders of others leave it out.
    Native {
        kind: String,
        json: Json,
    },
}

/// What a block grows by.
#[derive(Debug, Clone, PartialEq)]
pub enum Delta {
    /// Of a text, refusal or reasoning block.
    Text(String),
    /// Of a call: JSON text, or the free text of a custom one.
    Arguments(String),
    Citation(Citation),
    /// The maker's seal over a reasoning block, or a further piece of it.
    Seal(Seal),
}

/// What an encoder knows of the exchange that it answers.
#[derive(Debug, Clone, Default)]
pub struct ReplyContext {
    /// Makes ids of the dialect's own form: `chatcmpl-`, `msg_`, `resp_` + this.
    pub id: String,
    /// Unix seconds.
    pub created: u64,
    /// The model name that the client sent.
    pub model: String,
    /// The client asked for a usage frame (chat).
    pub include_usage: bool,
    /// Tools that the client defined as custom: calls of them carry free text,
    /// which other dialects wrap as `{"input": "..."}`.
    pub custom_tools: Vec<String>,
    /// Names of the client's tools that some dialect takes in another form only.
    pub unfit_names: Vec<String>,
    /// The client's top-level fields, which a response object repeats.
    pub fields: Vec<(String, Json)>,
}
