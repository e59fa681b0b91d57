//! What the client's tools are called elsewhere.
//!
//! Owns the one flat name of a tool in a namespace, and the way back from that
//! name to the tool as the client defined it. Refuses to know what tools do.
//! Invariant: a flat name is one that OpenAI and Anthropic take: letters, digits,
//! `_` and `-`, at most 64.

use super::reading::{At, Object, as_list, as_word};
use crate::wire::canon::Json;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::fmt::Write as _;

/// Characters of a function's name (OpenAI API reference, "Create a response", `tools`).
const NAME_MAX: usize = 64;
/// Codex puts its plain tools into a namespace of this name; calls of them may leave it out.
const PLAIN: &str = "functions";
/// Tools of one request whose names are kept; later ones are called as they are.
const TOOLS_MAX: usize = 4096;

/// How a tool was defined by the client, and how a call of it is written therefore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Function,
    Custom,
    ToolSearch,
    LocalShell,
    Shell,
    ApplyPatch,
}

impl Kind {
    /// The kind of a definition that the client itself acts on; `None`: the provider does.
    pub(super) fn of(kind: &str) -> Option<Self> {
        match kind {
            "function" => Some(Self::Function),
            "custom" => Some(Self::Custom),
            "tool_search" => Some(Self::ToolSearch),
            "local_shell" => Some(Self::LocalShell),
            "shell" => Some(Self::Shell),
            "apply_patch" => Some(Self::ApplyPatch),
            _ => None,
        }
    }
}

/// A tool as the client knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    pub(super) kind: Kind,
}

/// The client's tools by their flat names.
#[derive(Debug, Default)]
pub(super) struct Names(HashMap<String, Origin>);

impl Names {
    /// Reads `tools`, and the tools that items of `input` bring
    /// (`additional_tools`, `tool_search_output`).
    pub(super) fn of(fields: &[(String, Json)]) -> Self {
        let mut names = Self::default();
        for (key, json) in fields {
            let is_looked_at = matches!(key.as_str(), "tools" | "input") && json.text().starts_with('[');
            let entries: Vec<&RawValue> = Some(json)
                .filter(|_| is_looked_at)
                .and_then(|json| serde_json::from_str(json.text()).ok())
                .unwrap_or_default();
            for entry in entries {
                if key == "tools" {
                    names.add(entry, None);
                } else {
                    names.add_from_item(entry);
                }
            }
        }
        names
    }

    fn add_from_item(&mut self, item: &RawValue) {
        // Nearly every item is none of these; a look at its bytes is cheaper than its fields.
        let kinds = ["additional_tools", "tool_search_output"];
        if !kinds.iter().any(|kind| memchr::memmem::find(item.get().as_bytes(), kind.as_bytes()).is_some()) {
            return;
        }
        let Ok(mut item) = Object::read(item, &At::Field("input")) else { return };
        if item.take("type").and_then(as_word).is_some_and(|kind| kinds.contains(&&*kind)) {
            let tools = item.take("tools").and_then(as_list);
            tools.unwrap_or_default().iter().for_each(|tool| self.add(tool, None));
        }
    }

    fn add(&mut self, tool: &RawValue, namespace: Option<&str>) {
        let Ok(mut tool) = Object::read(tool, &At::Field("tools")) else { return };
        let Some(kind) = tool.take("type").and_then(as_word) else { return };
        let name = tool.take("name").and_then(as_word);
        if kind == "namespace" && namespace.is_none() {
            let tools = tool.take("tools").and_then(as_list);
            tools.unwrap_or_default().iter().for_each(|tool| self.add(tool, name.as_deref()));
            return;
        }
        let Some(origin_kind) = Kind::of(&kind) else { return };
        let name = name.unwrap_or(kind);
        if self.0.len() < TOOLS_MAX {
            let namespace = namespace.filter(|namespace| !is_plain(namespace)).map(str::to_owned);
            let origin = Origin { namespace, name: name.clone().into_owned(), kind: origin_kind };
            self.0.insert(flat(origin.namespace.as_deref(), &name), origin);
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Origin> {
        self.0.get(name)
    }
}

fn is_plain(namespace: &str) -> bool {
    namespace.is_empty() || namespace == PLAIN
}

/// The one name of a tool in a namespace.
pub(super) fn flat(namespace: Option<&str>, name: &str) -> String {
    let Some(namespace) = namespace.filter(|namespace| !is_plain(namespace)) else { return name.to_owned() };
    let between = if namespace.ends_with("__") { "" } else { "__" };
    let whole = format!("{namespace}{between}{name}");
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if whole.len() <= NAME_MAX && whole.chars().all(fits) {
        return whole;
    }
    let cut: String = whole.chars().map(|c| if fits(c) { c } else { '_' }).take(NAME_MAX - 9).collect();
    format!("{cut}_{}", &digest(&whole)[..8])
}

/// The id of a call as OpenAI takes it: at most 64 characters.
pub(super) fn call_id(id: &str) -> std::borrow::Cow<'_, str> {
    if id.len() <= NAME_MAX {
        return id.into();
    }
    format!("call_{}", &digest(id)[..32]).into()
}

/// SHA-256 in hexadecimal, 64 characters.
pub(super) fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flat_names_fit_everywhere_and_stay_apart() {
        assert_eq!(flat(None, "exec"), "exec");
        assert_eq!(flat(Some("functions"), "exec"), "exec");
        assert_eq!(flat(Some("mcp__git__"), "log"), "mcp__git__log");
        assert_eq!(flat(Some("mcp__git"), "log"), "mcp__git__log");
        let long = "x".repeat(70);
        for (namespace, name) in [("a.b", "c"), (long.as_str(), "c"), (long.as_str(), "d"), ("ä", "ö")] {
            let name = flat(Some(namespace), name);
            assert!(name.len() <= 64 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{name}");
        }
        assert_ne!(flat(Some(&long), "c"), flat(Some(&long), "d"));
    }

    #[test]
    fn a_flat_name_leads_back_to_the_tool_of_the_client() {
        let json = |text: &str| Json::parse(text.to_owned()).expect("JSON");
        let names = Names::of(&[
            (
                "tools".to_owned(),
                json(
                    r#"[{"type":"namespace","name":"mcp__git","tools":[{"type":"function","name":"log"}]},
                        {"type":"local_shell"},{"type":"web_search"},{"type":"function","name":"f"}]"#,
                ),
            ),
            (
                "input".to_owned(),
                json(
                    r#"[{"type":"additional_tools","tools":[{"type":"namespace","name":"functions","tools":
                        [{"type":"custom","name":"exec"}]}]},{"role":"user","content":"additional_tools"}]"#,
                ),
            ),
        ]);
        let origin = |name: &str| names.get(name).map(|o| (o.namespace.as_deref(), o.name.as_str(), o.kind));
        assert_eq!(origin("mcp__git__log"), Some((Some("mcp__git"), "log", Kind::Function)));
        assert_eq!(origin("exec"), Some((None, "exec", Kind::Custom)));
        assert_eq!(origin("local_shell"), Some((None, "local_shell", Kind::LocalShell)));
        assert_eq!(origin("f"), Some((None, "f", Kind::Function)));
        assert_eq!(origin("web_search"), None);
    }
}
