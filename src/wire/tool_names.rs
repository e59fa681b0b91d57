//! Names of tools as a dialect's makers take them.
//!
//! Owns the shorter name of a tool whose own is too long there, and the way back
//! from it in an answer. Refuses tools of a provider's own kind: their names are
//! not the client's. Invariant: the same name always becomes the same one, so that
//! tools, choice, history and answer agree.

use super::canon::{Conversation, Part, Tool, ToolChoice};
use super::dialect::Dialect;
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;
use std::collections::HashMap;

/// Characters of a name (`OpenAI` API reference, "Create chat completion", `tools`).
const OPENAI_MAX: usize = 64;
/// The same of Anthropic's: `^[a-zA-Z0-9_-]{1,128}$`.
const ANTHROPIC_MAX: usize = 128;
/// An underscore and eight digits.
const MARK_BYTES: usize = 9;

const fn longest(dialect: Dialect) -> usize {
    if dialect.is_anthropics() { ANTHROPIC_MAX } else { OPENAI_MAX }
}

fn fits(name: &str, max: usize) -> bool {
    name.len() <= max && name.bytes().all(is_taken)
}

const fn is_taken(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// The name as that dialect takes it: its beginning, and a hash of the whole.
fn fitting(name: &str, dialect: Dialect) -> Cow<'_, str> {
    let max = longest(dialect);
    if name.is_empty() || fits(name, max) {
        return name.into();
    }
    let taken = |c: char| if u8::try_from(c).is_ok_and(is_taken) { c } else { '_' };
    let mut short: String = name.chars().map(taken).take(max - MARK_BYTES).collect();
    let digest = Sha256::digest(name.as_bytes());
    short.push_str(&format!("_{:02x}{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2], digest[3]));
    short.into()
}

/// A conversation whose names that dialect takes.
pub(super) fn fit(conversation: &Conversation, dialect: Dialect) -> Cow<'_, Conversation> {
    let mut all = names(conversation);
    if all.all(|name| matches!(fitting(name, dialect), Cow::Borrowed(_))) {
        return Cow::Borrowed(conversation);
    }
    let change = |name: &mut String| {
        if let Cow::Owned(short) = fitting(name, dialect) {
            *name = short;
        }
    };
    let mut fitted = conversation.clone();
    for tool in &mut fitted.tools {
        if let Tool::Function { name, .. } | Tool::Custom { name, .. } = tool {
            change(name);
        }
    }
    match &mut fitted.tool_choice {
        Some(ToolChoice::Named(name)) => change(name),
        Some(ToolChoice::Allowed(names, _)) => names.iter_mut().for_each(change),
        Some(ToolChoice::Auto | ToolChoice::None | ToolChoice::Required) | None => {}
    }
    for part in fitted.turns.iter_mut().flat_map(|turn| &mut turn.parts) {
        if let Part::Call(call) = part {
            change(&mut call.name);
        }
    }
    Cow::Owned(fitted)
}

/// All names that [`fit`] looks at.
fn names(conversation: &Conversation) -> impl Iterator<Item = &str> {
    let chosen = match &conversation.tool_choice {
        Some(ToolChoice::Named(name)) => std::slice::from_ref(name),
        Some(ToolChoice::Allowed(names, _)) => names.as_slice(),
        Some(ToolChoice::Auto | ToolChoice::None | ToolChoice::Required) | None => &[],
    };
    let calls = conversation.turns.iter().flat_map(|turn| &turn.parts).filter_map(|part| match part {
        Part::Call(call) => Some(call.name.as_str()),
        _ => None,
    });
    defined(conversation).chain(chosen.iter().map(String::as_str)).chain(calls)
}

fn defined(conversation: &Conversation) -> impl Iterator<Item = &str> {
    conversation.tools.iter().filter_map(|tool| match tool {
        Tool::Function { name, .. } | Tool::Custom { name, .. } => Some(name.as_str()),
        Tool::WebSearch(_) | Tool::Native { .. } => None,
    })
}

/// Names of tools that some dialect takes in another form only.
#[must_use]
pub fn unfit(conversation: &Conversation) -> Vec<String> {
    defined(conversation).filter(|name| !fits(name, OPENAI_MAX)).map(str::to_owned).collect()
}

/// The client's names by those that a target of this dialect was told.
#[derive(Debug, Default)]
pub(super) struct Back(HashMap<String, String>);

impl Back {
    pub(super) fn of(unfit: &[String], dialect: Dialect) -> Self {
        let changed = unfit.iter().filter_map(|name| match fitting(name, dialect) {
            Cow::Owned(short) => Some((short, name.clone())),
            Cow::Borrowed(_) => None,
        });
        Self(changed.collect())
    }

    pub(super) fn restore(&self, name: &mut String) {
        if let Some(own) = self.0.get(name) {
            name.clone_from(own);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_fits_where_it_goes_and_comes_back_as_it_was() {
        let long = format!("mcp__{}", "x".repeat(100));
        for dialect in [Dialect::Chat, Dialect::Responses, Dialect::Messages] {
            for name in [&long, &format!("{long}y"), &"z".repeat(200), &"weather.get".to_owned(), &"ä".repeat(70)] {
                let short = fitting(name, dialect).into_owned();
                assert!(fits(&short, longest(dialect)), "{short}");
                let mut back = short.clone();
                Back::of(std::slice::from_ref(name), dialect).restore(&mut back);
                assert_eq!(back, *name);
            }
            assert_eq!(fitting("look-up_1", dialect), "look-up_1");
        }
        assert_ne!(fitting(&long, Dialect::Chat), fitting(&format!("{long}y"), Dialect::Chat));
        assert_eq!(fitting(&long, Dialect::Messages), long.as_str(), "128 are taken there");
    }
}
