//! Turns as items of the input.
//!
//! Owns which parts share a message and which are items of their own. Refuses
//! audio, which this dialect does not take. Invariant: parts come in the order in
//! which they stand in the turn.

use super::super::json_out::JsonOut;
use super::super::names::call_id;
use super::super::reading::Losses;
use crate::wire::canon::{Call, CallResult, Citation, Part, Reasoning, Role, Seal, Source, Turn, Unsayable, WriteFor};
use crate::wire::dialect::Dialect;

pub(super) fn write(
    turns: &[Turn],
    how: &WriteFor<'_>,
    out: &mut JsonOut,
    losses: &mut Losses,
) -> Result<(), Unsayable> {
    for turn in turns {
        if turn.name.is_some() {
            losses.dropped("messages[].name");
        }
        let role = match turn.role {
            Role::Developer if how.developer_role => "developer",
            Role::System | Role::Developer => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        let mut items = Items { role, of_assistant: turn.role == Role::Assistant, how, in_message: false, out, losses };
        for part in &turn.parts {
            items.part(part)?;
        }
        items.end_message();
    }
    Ok(())
}

struct Items<'a> {
    role: &'static str,
    of_assistant: bool,
    how: &'a WriteFor<'a>,
    in_message: bool,
    out: &'a mut JsonOut,
    losses: &'a mut Losses,
}

impl Items<'_> {
    fn part(&mut self, part: &Part) -> Result<(), Unsayable> {
        match part {
            Part::Text { text, citations, .. } => {
                self.begin_message();
                write_text(text, citations, self.of_assistant, self.out, self.losses);
            }
            Part::Refusal(refusal) if self.of_assistant => {
                self.begin_message();
                self.out.open().field("type", "refusal").field("refusal", refusal).close();
            }
            Part::Refusal(refusal) => {
                self.begin_message();
                write_text(refusal, &[], false, self.out, self.losses);
            }
            Part::Image { .. } | Part::File { .. } if self.of_assistant => {
                self.losses.dropped("images and files of assistant messages");
            }
            Part::Image { .. } | Part::File { .. } => {
                self.begin_message();
                write_attached(part, self.out, self.losses);
            }
            Part::Audio { .. } => {
                return Err(Unsayable { field: "input_audio".to_owned(), why: "the responses dialect takes no audio" });
            }
            Part::Reasoning(reasoning) => self.reasoning(reasoning),
            Part::Call(call) => self.call(call),
            Part::Result(result) => self.result(result)?,
            Part::Native { dialect: Dialect::Responses, kind, json } => {
                // Parts of messages are told from items by their names, or by what is around them.
                let is_item = is_item(kind) || !(self.in_message || is_part(kind));
                if is_item {
                    self.end_message();
                } else {
                    self.begin_message();
                }
                self.out.raw(json.text());
            }
            Part::Native { kind, .. } => self.losses.dropped(kind),
        }
        Ok(())
    }

    fn begin_message(&mut self) {
        if !self.in_message {
            self.in_message = true;
            self.out.open().field("type", "message").field("role", self.role).key("content").open_list();
        }
    }

    fn end_message(&mut self) {
        if self.in_message {
            self.in_message = false;
            self.out.close_list().close();
        }
    }

    /// Only what this dialect sealed: OpenAI looks up what is not sealed among the
    /// answers that it stored, and there is none.
    fn reasoning(&mut self, reasoning: &Reasoning) {
        let Some(Seal::Encrypted(sealed)) = reasoning.seal.as_ref().filter(|_| self.how.reasoning) else {
            self.losses.dropped("reasoning of earlier turns");
            return;
        };
        self.end_message();
        self.out.open().field("type", "reasoning").key("summary").open_list();
        for text in &reasoning.text {
            self.out.open().field("type", "summary_text").field("text", text).close();
        }
        self.out.close_list().field("encrypted_content", sealed).close();
    }

    fn call(&mut self, call: &Call) {
        self.end_message();
        let (kind, arguments) =
            if call.custom { ("custom_tool_call", "input") } else { ("function_call", "arguments") };
        let id = self.id(&call.id);
        self.out.open().field("type", kind).field("call_id", &id).field("name", &call.name);
        let is_empty = !call.custom && call.arguments.trim().is_empty();
        self.out.field(arguments, if is_empty { "{}" } else { &call.arguments }).close();
    }

    fn id<'i>(&mut self, id: &'i str) -> std::borrow::Cow<'i, str> {
        let short = call_id(id);
        if short != id {
            self.losses.changed("ids of calls", "their SHA-256, which fits into 64 characters");
        }
        short
    }

    fn result(&mut self, result: &CallResult) -> Result<(), Unsayable> {
        self.end_message();
        let kind = if result.custom { "custom_tool_call_output" } else { "function_call_output" };
        let id = self.id(&result.call_id);
        self.out.open().field("type", kind).field("call_id", &id).key("output");
        // There is no other way to say that it is an error.
        let error = if result.is_error { "Error: " } else { "" };
        match result.parts.as_slice() {
            [] => {
                self.out.text(error);
            }
            [Part::Text { text, citations, .. }] if citations.is_empty() => {
                self.out.pieces(&[error, text]);
            }
            parts => {
                self.out.open_list();
                if result.is_error {
                    write_text(error, &[], false, self.out, self.losses);
                }
                for part in parts {
                    self.result_part(part)?;
                }
                self.out.close_list();
            }
        }
        self.out.close();
        Ok(())
    }

    fn result_part(&mut self, part: &Part) -> Result<(), Unsayable> {
        match part {
            Part::Text { text, citations, .. } => write_text(text, citations, false, self.out, self.losses),
            Part::Image { .. } | Part::File { .. } => write_attached(part, self.out, self.losses),
            Part::Refusal(text) => write_text(text, &[], false, self.out, self.losses),
            Part::Native { dialect: Dialect::Responses, json, .. } => {
                self.out.raw(json.text());
            }
            Part::Native { kind, .. } => self.losses.dropped(kind),
            Part::Audio { .. } => {
                return Err(Unsayable { field: "input_audio".to_owned(), why: "the responses dialect takes no audio" });
            }
            Part::Reasoning(_) | Part::Call(_) | Part::Result(_) => self.losses.dropped("parts of a tool's result"),
        }
        Ok(())
    }
}

fn is_item(kind: &str) -> bool {
    kind.ends_with("_call")
        || kind.ends_with("_output")
        || kind.starts_with("mcp_")
        || kind.contains("compaction")
        || matches!(kind, "item_reference" | "program" | "agent_message")
}

fn is_part(kind: &str) -> bool {
    kind.starts_with("input_")
        || kind.starts_with("output_")
        || matches!(kind, "computer_screenshot" | "encrypted_content")
}

fn write_text(text: &str, citations: &[Citation], of_assistant: bool, out: &mut JsonOut, losses: &mut Losses) {
    out.open().field("type", if of_assistant { "output_text" } else { "input_text" }).field("text", text);
    if !citations.is_empty() {
        let whole = text.chars().count() as u64;
        let can_be_said = |citation: &&Citation| of_assistant && is_placed(citation);
        if citations.iter().filter(can_be_said).count() < citations.len() {
            losses.dropped("citations");
        }
        if of_assistant {
            out.key("annotations").open_list();
            for citation in citations.iter().filter(can_be_said) {
                write_citation(citation, (0, whole), out);
            }
            out.close_list();
        }
    }
    out.close();
}

/// Whether an annotation of this dialect can be made of it.
pub(in super::super) fn is_placed(citation: &Citation) -> bool {
    matches!(citation.native, Some((Dialect::Responses, _))) || citation.url.is_some()
}

/// One annotation. `whole`: the characters that it stands for if it does not say which.
pub(in super::super) fn write_citation(citation: &Citation, whole: (u64, u64), out: &mut JsonOut) {
    if let Some((Dialect::Responses, json)) = &citation.native {
        out.raw(json.text());
        return;
    }
    let url = citation.url.as_deref().unwrap_or_default();
    let (start, end) = citation.span.unwrap_or(whole);
    out.open().field("type", "url_citation").number("start_index", start).number("end_index", end);
    out.field("url", url).field("title", citation.title.as_deref().unwrap_or(url)).close();
}

/// An image or a file.
fn write_attached(part: &Part, out: &mut JsonOut, losses: &mut Losses) {
    match part {
        Part::Image { source, detail, .. } => {
            out.open().field("type", "input_image");
            match source {
                Source::Url(url) => out.field("image_url", url),
                Source::Base64 { media_type, data } => {
                    out.key("image_url").pieces(&["data:", media_type, ";base64,", data])
                }
                Source::FileId(id) => out.field("file_id", id),
                Source::Text(text) => out.field("image_url", text),
            };
            if let Some(detail) = detail {
                out.field("detail", detail);
            }
            out.close();
        }
        Part::File { source: Source::Text(text), .. } => {
            losses.changed("documents of plain text", "text parts");
            write_text(text, &[], false, out, losses);
        }
        Part::File { source, name, .. } => {
            out.open().field("type", "input_file");
            match source {
                Source::Url(url) | Source::Text(url) => out.field("file_url", url),
                Source::FileId(id) => out.field("file_id", id),
                Source::Base64 { media_type, data } => {
                    // Inline files must have a name.
                    let made_up = format!("file.{}", media_type.rsplit('/').next().unwrap_or("pdf"));
                    out.field("filename", name.as_deref().unwrap_or(&made_up));
                    out.key("file_data").pieces(&["data:", media_type, ";base64,", data])
                }
            };
            if let (Some(name), false) = (name, matches!(source, Source::Base64 { .. })) {
                out.field("filename", name);
            }
            out.close();
        }
        _ => {}
    }
}
