//! The items of the input as turns.
//!
//! Owns which item belongs to whose turn, and the pairing of calls with their
//! outputs. Refuses an order of its own: parts come as the items came. Invariant:
//! an output whose call is read as a call is read as its result, and the other
//! way round, so that no target sees half of a pair.

use super::super::client_tools;
use super::super::names::flat;
use super::super::reading::{At, Losses, Object, is_text, list, text, word, wrong};
use super::super::seal;
use super::{content, tool};
use crate::wire::canon::{Call, CallResult, Json, Part, Reasoning, Role, Tool, Turn};
use crate::wire::dialect::Dialect;
use crate::wire::request::Invalid;
use serde_json::value::RawValue;

/// What an item says of its own life at its maker: nothing elsewhere.
const SILENT: [&str; 7] =
    ["id", "status", "phase", "created_by", "caller", "internal_chat_message_metadata_passthrough", "metadata"];

/// Reads `input`: the turns, and the tools that items bring.
pub(super) fn read(raw: &RawValue, losses: &mut Losses) -> Result<(Vec<Turn>, Vec<Tool>), Invalid> {
    let at = At::Field("input");
    if is_text(raw) {
        let turn = Turn { role: Role::User, name: None, parts: vec![Part::text(text(raw, &at)?)] };
        return Ok((vec![turn], Vec::new()));
    }
    let mut items = Items { turns: Vec::new(), tools: Vec::new(), losses };
    for (place, raw) in list(raw, &at)?.into_iter().enumerate() {
        items.item(raw, &at.index(place))?;
    }
    Ok((items.turns, items.tools))
}

/// The type of an item; easy messages and references may leave theirs out.
pub(in super::super) fn kind_of<'a>(
    object: &mut Object<'a>,
    at: &At<'_>,
) -> Result<std::borrow::Cow<'a, str>, Invalid> {
    match object.take("type") {
        Some(raw) => word(raw, &at.key("type")),
        None if object.get("role").is_some() => Ok("message".into()),
        None if object.get("id").is_some() => Ok("item_reference".into()),
        None => Err(wrong(&at.key("type"), "a string")),
    }
}

struct Items<'l> {
    turns: Vec<Turn>,
    tools: Vec<Tool>,
    losses: &'l mut Losses,
}

impl Items<'_> {
    fn item(&mut self, raw: &RawValue, at: &At<'_>) -> Result<(), Invalid> {
        let mut object = Object::read(raw, at)?;
        let kind = kind_of(&mut object, at)?;
        match &*kind {
            "message" => self.message(&mut object, at)?,
            "reasoning" => {
                let reasoning = reasoning(&mut object, at)?;
                self.assistant(Part::Reasoning(reasoning));
            }
            "function_call" => self.call(&mut object, "arguments", false, at)?,
            "custom_tool_call" => self.call(&mut object, "input", true, at)?,
            "function_call_output" => self.output(&mut object, false, at)?,
            "custom_tool_call_output" => self.output(&mut object, true, at)?,
            "additional_tools" => {
                let tools = object.take("tools").ok_or_else(|| wrong(&at.key("tools"), "a list"))?;
                self.tools.extend(tool::read(tools, &at.key("tools"), self.losses)?);
                return Ok(());
            }
            "agent_message" if self.agent_message(&mut object, at)? => {}
            _ => {
                self.other(raw, &kind, &object, at)?;
                return Ok(());
            }
        }
        object.name_rest(at, &SILENT, self.losses);
        Ok(())
    }

    fn message(&mut self, object: &mut Object<'_>, at: &At<'_>) -> Result<(), Invalid> {
        let role = object.take("role").ok_or_else(|| wrong(&at.key("role"), "a string"))?;
        let role = match &*word(role, &at.key("role"))? {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "system" => Role::System,
            "developer" => Role::Developer,
            _ => return Err(wrong(&at.key("role"), "user, assistant, system or developer")),
        };
        let parts = match object.take("content") {
            Some(raw) => content::read(raw, &at.key("content"), self.losses)?,
            None => Vec::new(),
        };
        match self.turns.last_mut() {
            // The items of one answer are one turn.
            Some(last) if role == Role::Assistant && last.role == role => last.parts.extend(parts),
            _ if parts.is_empty() => {}
            _ => self.turns.push(Turn { role, name: None, parts }),
        }
        Ok(())
    }

    fn call(&mut self, object: &mut Object<'_>, arguments: &str, custom: bool, at: &At<'_>) -> Result<(), Invalid> {
        let namespace = object.text("namespace", at)?;
        let name = flat(namespace.as_deref(), &object.required("name", at)?);
        let id = object.required("call_id", at)?;
        let arguments = object.required(arguments, at)?;
        self.assistant(Part::Call(Call { id, name, arguments, custom, cache: None }));
        Ok(())
    }

    fn output(&mut self, object: &mut Object<'_>, custom: bool, at: &At<'_>) -> Result<(), Invalid> {
        let call_id = object.required("call_id", at)?;
        let raw = object.take("output").ok_or_else(|| wrong(&at.key("output"), "text or a list of parts"))?;
        let parts = content::read(raw, &at.key("output"), self.losses)?;
        // The name of what was called stands in the call.
        let _ = (object.take("name"), object.take("namespace"));
        self.result(CallResult { call_id, parts, is_error: false, custom, cache: None });
        Ok(())
    }

    /// A message from one agent to another (Codex), where it can be read.
    fn agent_message(&mut self, object: &mut Object<'_>, at: &At<'_>) -> Result<bool, Invalid> {
        let Some(raw) = object.get("content") else { return Ok(false) };
        let parts = content::read(raw, &at.key("content"), self.losses)?;
        let readable = parts.iter().all(|part| matches!(part, Part::Text { .. }));
        if readable {
            object.take("content");
            self.losses.changed(at, "a user's message");
            self.turns.push(Turn { role: Role::User, name: None, parts });
        }
        Ok(readable)
    }

    /// Steps of tools that are no functions: those that the client took become
    /// calls and results, those that the provider took stay as they are.
    fn other(&mut self, raw: &RawValue, kind: &str, object: &Object<'_>, at: &At<'_>) -> Result<(), Invalid> {
        if let Some(call) = client_tools::read_call(kind, object) {
            self.assistant(Part::Call(call));
        } else if let Some(result) = client_tools::read_result(kind, object) {
            if let Some(tools) = object.get("tools") {
                self.tools.extend(tool::read(tools, &at.key("tools"), self.losses)?);
            }
            self.result(result);
        } else {
            let json = Json::from(raw.to_owned());
            let role = if is_from_user(kind) { Role::User } else { Role::Assistant };
            let part = Part::Native { dialect: Dialect::Responses, kind: kind.to_owned(), json };
            match self.turns.last_mut() {
                Some(last) if last.role == role => last.parts.push(part),
                _ => self.turns.push(Turn { role, name: None, parts: vec![part] }),
            }
        }
        Ok(())
    }

    fn assistant(&mut self, part: Part) {
        match self.turns.last_mut() {
            Some(last) if last.role == Role::Assistant => last.parts.push(part),
            _ => self.turns.push(Turn { role: Role::Assistant, name: None, parts: vec![part] }),
        }
    }

    /// Results of one turn's calls are one turn, apart from what the user says.
    fn result(&mut self, result: CallResult) {
        let part = Part::Result(result);
        match self.turns.last_mut() {
            Some(last) if last.role == Role::User && matches!(last.parts.last(), Some(Part::Result(_))) => {
                last.parts.push(part);
            }
            _ => self.turns.push(Turn { role: Role::User, name: None, parts: vec![part] }),
        }
    }
}

fn reasoning(object: &mut Object<'_>, at: &At<'_>) -> Result<Reasoning, Invalid> {
    let mut texts = |name: &str| -> Result<Vec<String>, Invalid> {
        let at = at.key(name);
        let Some(raw) = object.take(name) else { return Ok(Vec::new()) };
        let mut texts = Vec::new();
        for (place, raw) in list(raw, &at)?.into_iter().enumerate() {
            texts.push(Object::read(raw, &at.index(place))?.required("text", &at.index(place))?);
        }
        Ok(texts)
    };
    let (summary, content) = (texts("summary")?, texts("content")?);
    // Open models show the reasoning itself; a summary beside it says less.
    let text = if content.is_empty() { summary } else { content };
    let seal = object.text("encrypted_content", at)?.filter(|sealed| !sealed.is_empty()).map(seal::open);
    Ok(Reasoning { text, seal, id: object.text("id", at)? })
}

/// Items that answer the provider.
fn is_from_user(kind: &str) -> bool {
    kind.ends_with("_output") || matches!(kind, "mcp_approval_response" | "item_reference" | "compaction_trigger")
}
