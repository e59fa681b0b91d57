//! One output item while it is being written.
//!
//! Owns the events of its life and the item as it stands at its end. Refuses to
//! know other items. Invariant: what its deltas said is what its `done` events
//! repeat.

use super::super::json_out::JsonOut;
use super::super::names::Origin;
use super::super::seal;
use super::emit;
use super::unwrap::Unwrap;
use crate::wire::canon::Seal;
use crate::wire::sse::SseFrame;

#[derive(Debug)]
pub(super) struct Item {
    pub(super) id: String,
    index: u64,
    kind: ItemKind,
    /// The whole item, once it has ended.
    pub(super) done: String,
}

#[derive(Debug)]
pub(super) enum ItemKind {
    Message {
        parts: Vec<Part>,
    },
    Reasoning {
        text: String,
        seal: Option<Seal>,
    },
    Call {
        call_id: String,
        origin: Origin,
        custom: bool,
        arguments: String,
        unwrap: Option<Unwrap>,
    },
    /// Known from its beginning: its fields but for id, type and status.
    Whole {
        kind: &'static str,
        body: String,
    },
}

/// How an item stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    InProgress,
    Completed,
    /// Cut by a limit or a filter, or by the end of the stream.
    Incomplete,
}

impl Status {
    const fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Incomplete => "incomplete",
        }
    }
}

/// A part of a message.
#[derive(Debug)]
pub(super) struct Part {
    refusal: bool,
    text: String,
    /// Characters of the text: a citation without a place stands for all of them, and
    /// to count them for each would be quadratic.
    characters: u64,
    annotations: Vec<String>,
    open: bool,
}

impl Part {
    pub(super) const fn new(refusal: bool) -> Self {
        Self { refusal, text: String::new(), characters: 0, annotations: Vec::new(), open: true }
    }

    fn write(&self, text: &str, annotated: bool, json: &mut JsonOut) {
        json.open();
        if self.refusal {
            json.field("type", "refusal").field("refusal", text).close();
            return;
        }
        json.field("type", "output_text").key("annotations").open_list();
        for annotation in self.annotations.iter().filter(|_| annotated) {
            json.raw(annotation);
        }
        json.close_list().key("logprobs").raw("[]").field("text", text).close();
    }
}

impl Item {
    pub(super) fn new(id: String, index: usize, kind: ItemKind) -> Self {
        Self { id, index: index as u64, kind, done: String::new() }
    }

    /// Gives it the id that its client knows; one that ended already says it in its end, too.
    pub(super) fn rename(&mut self, id: &str) {
        if !self.done.is_empty()
            && let Ok(mut done) = serde_json::from_str::<serde_json::Value>(&self.done)
        {
            done["id"] = id.into();
            self.done = done.to_string();
        }
        id.clone_into(&mut self.id);
    }

    pub(super) fn begin(&self, sequence: &mut u64, out: &mut Vec<SseFrame>) {
        emit(sequence, "response.output_item.added", out, |json| {
            json.number("output_index", self.index).key("item");
            self.write(Status::InProgress, false, json);
        });
    }

    /// The item as it stands: at its end whole, at its beginning empty.
    fn write(&self, status: Status, sealed: bool, json: &mut JsonOut) {
        let ended = status != Status::InProgress;
        let status = status.as_str();
        json.open().field("id", &self.id);
        match &self.kind {
            ItemKind::Message { parts } => {
                json.field("type", "message").field("status", status).key("content").open_list();
                for part in parts.iter().filter(|_| ended) {
                    part.write(&part.text, true, json);
                }
                json.close_list().field("role", "assistant");
            }
            ItemKind::Reasoning { text, seal } => {
                json.field("type", "reasoning").key("summary").open_list();
                if ended && !text.is_empty() {
                    json.open().field("type", "summary_text").field("text", text).close();
                }
                json.close_list();
                if let Some(seal) = seal.as_ref().filter(|_| ended && sealed) {
                    json.key("encrypted_content").pieces(&seal::close(seal));
                }
            }
            ItemKind::Call { call_id, origin, custom, arguments, .. } => {
                let (kind, field) =
                    if *custom { ("custom_tool_call", "input") } else { ("function_call", "arguments") };
                json.field("type", kind).field("status", status);
                json.field(field, if ended { arguments } else { "" }).field("call_id", call_id);
                json.field("name", &origin.name);
                if let Some(namespace) = &origin.namespace {
                    json.field("namespace", namespace);
                }
            }
            ItemKind::Whole { kind, body } => {
                json.field("type", kind).field("status", status).raw(body);
            }
        }
        json.close();
    }

    pub(super) fn begin_part(&mut self, part: Part, sequence: &mut u64, out: &mut Vec<SseFrame>) -> usize {
        let ItemKind::Message { parts } = &mut self.kind else { unreachable!("only messages get parts") };
        let place = parts.len();
        emit(sequence, "response.content_part.added", out, |json| {
            json.field("item_id", &self.id).number("output_index", self.index).number("content_index", place as u64);
            json.key("part");
            part.write("", false, json);
        });
        parts.push(part);
        place
    }

    fn part(&mut self, place: usize) -> Option<&mut Part> {
        match &mut self.kind {
            ItemKind::Message { parts } => parts.get_mut(place),
            _ => None,
        }
    }

    pub(super) fn has_open_part(&self) -> bool {
        matches!(&self.kind, ItemKind::Message { parts } if parts.iter().any(|part| part.open))
    }

    pub(super) fn characters(&self, place: usize) -> u64 {
        match &self.kind {
            ItemKind::Message { parts } => parts.get(place).map_or(0, |part| part.characters),
            _ => 0,
        }
    }

    pub(super) fn say(&mut self, place: usize, text: &str, sequence: &mut u64, out: &mut Vec<SseFrame>) {
        let Some(part) = self.part(place).filter(|_| !text.is_empty()) else { return };
        part.text.push_str(text);
        part.characters += text.chars().count() as u64;
        let refusal = part.refusal;
        let kind = if refusal { "response.refusal.delta" } else { "response.output_text.delta" };
        emit(sequence, kind, out, |json| {
            self.place(place, json).field("delta", text);
            if !refusal {
                json.key("logprobs").raw("[]");
            }
        });
    }

    pub(super) fn annotate(&mut self, place: usize, annotation: &str, sequence: &mut u64, out: &mut Vec<SseFrame>) {
        let Some(part) = self.part(place).filter(|part| !part.refusal) else { return };
        let number = part.annotations.len() as u64;
        part.annotations.push(annotation.to_owned());
        emit(sequence, "response.output_text.annotation.added", out, |json| {
            self.place(place, json).number("annotation_index", number).raw_field("annotation", annotation);
        });
    }

    fn place<'j>(&self, content: usize, json: &'j mut JsonOut) -> &'j mut JsonOut {
        json.field("item_id", &self.id).number("output_index", self.index).number("content_index", content as u64)
    }

    pub(super) fn end_part(&mut self, place: usize, sequence: &mut u64, out: &mut Vec<SseFrame>) {
        let Some(part) = self.part(place) else { return };
        part.open = false;
        let ItemKind::Message { parts } = &self.kind else { return };
        let part = &parts[place];
        if part.refusal {
            emit(sequence, "response.refusal.done", out, |json| {
                self.place(place, json).field("refusal", &part.text);
            });
        } else {
            emit(sequence, "response.output_text.done", out, |json| {
                self.place(place, json).field("text", &part.text).key("logprobs").raw("[]");
            });
        }
        emit(sequence, "response.content_part.done", out, |json| {
            self.place(place, json).key("part");
            part.write(&part.text, true, json);
        });
    }

    pub(super) fn think(&mut self, more: &str, sequence: &mut u64, out: &mut Vec<SseFrame>) {
        let ItemKind::Reasoning { text, .. } = &mut self.kind else { return };
        if more.is_empty() {
            return;
        }
        let is_first = text.is_empty();
        text.push_str(more);
        if is_first {
            emit(sequence, "response.reasoning_summary_part.added", out, |json| {
                self.summary(json).key("part").open().field("type", "summary_text").field("text", "").close();
            });
        }
        emit(sequence, "response.reasoning_summary_text.delta", out, |json| {
            self.summary(json).field("delta", more);
        });
    }

    fn summary<'j>(&self, json: &'j mut JsonOut) -> &'j mut JsonOut {
        json.field("item_id", &self.id).number("output_index", self.index).number("summary_index", 0)
    }

    /// A signature may come in pieces.
    pub(super) fn seal(&mut self, more: &Seal) {
        match &mut self.kind {
            ItemKind::Reasoning { seal: Some(seal), .. } => seal.push(more.text()),
            ItemKind::Reasoning { seal, .. } => *seal = Some(more.clone()),
            _ => {}
        }
    }

    pub(super) fn argue(&mut self, more: &str, sequence: &mut u64, out: &mut Vec<SseFrame>) {
        let ItemKind::Call { custom, arguments, unwrap, .. } = &mut self.kind else { return };
        let said = match unwrap {
            Some(unwrap) => unwrap.push(more),
            None => more.to_owned(),
        };
        arguments.push_str(&said);
        let kind =
            if *custom { "response.custom_tool_call_input.delta" } else { "response.function_call_arguments.delta" };
        if !said.is_empty() {
            emit(sequence, kind, out, |json| {
                json.field("item_id", &self.id).number("output_index", self.index).field("delta", &said);
            });
        }
    }

    /// `sealed`: the client asked for sealed reasoning.
    pub(super) fn end(&mut self, status: Status, sealed: bool, sequence: &mut u64, out: &mut Vec<SseFrame>) {
        self.end_content(sequence, out);
        let mut whole = JsonOut::default();
        self.write(status, sealed, &mut whole);
        self.done = whole.into_string();
        emit(sequence, "response.output_item.done", out, |json| {
            json.number("output_index", self.index).raw_field("item", &self.done);
        });
    }

    fn end_content(&mut self, sequence: &mut u64, out: &mut Vec<SseFrame>) {
        if let ItemKind::Call { unwrap: Some(unwrap), .. } = &mut self.kind {
            let rest = std::mem::take(unwrap).finish();
            if let ItemKind::Call { unwrap, .. } = &mut self.kind {
                *unwrap = None;
            }
            self.argue(&rest, sequence, out);
        }
        match &self.kind {
            ItemKind::Reasoning { text, .. } if !text.is_empty() => {
                emit(sequence, "response.reasoning_summary_text.done", out, |json| {
                    self.summary(json).field("text", text);
                });
                emit(sequence, "response.reasoning_summary_part.done", out, |json| {
                    self.summary(json).key("part").open().field("type", "summary_text").field("text", text).close();
                });
            }
            ItemKind::Call { custom: true, arguments, .. } => {
                emit(sequence, "response.custom_tool_call_input.done", out, |json| {
                    json.field("item_id", &self.id).number("output_index", self.index).field("input", arguments);
                });
            }
            ItemKind::Call { origin, arguments, .. } => {
                emit(sequence, "response.function_call_arguments.done", out, |json| {
                    json.field("item_id", &self.id).number("output_index", self.index);
                    json.field("name", &origin.name).field("arguments", arguments);
                });
            }
            ItemKind::Message { .. } | ItemKind::Reasoning { .. } | ItemKind::Whole { .. } => {}
        }
    }
}
