//! Changes to settings files of other programs, as text to text.
//!
//! Owns three formats: JSON, TOML, and of YAML the flat top level. Refuses
//! files, and any text whose rest it could not keep. Invariants: what is not
//! named stays as it is, comments and order included; the same changes made
//! again change nothing.

use serde::Serialize as _;
use serde_json::{Map, Value};
use toml_edit::{DocumentMut, Item, Table, TableLike};

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json,
    Toml,
    /// Scalars at the top level alone.
    Yaml,
}

/// One change to a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Keys from the top.
    pub path: Vec<String>,
    pub to: To,
}

/// What becomes of a key.
#[derive(Debug, Clone, PartialEq)]
pub enum To {
    /// This, whatever stands there.
    Put(Value),
    /// This, if nothing stands there.
    Default(Value),
    /// Nothing; with a value: if it is this one.
    Drop(Option<Value>),
    /// Nothing but this value may stand there, for this reason; it goes.
    Free(Value, &'static str),
}

impl Change {
    /// A change at a path that is written with dots between keys without any.
    pub fn at(path: &str, to: To) -> Self {
        Self { path: path.split('.').map(str::to_owned).collect(), to }
    }

    /// A change at a path whose last key may hold dots.
    pub fn below(path: &str, last: &str, to: To) -> Self {
        let mut change = Self::at(path, to);
        change.path.push(last.to_owned());
        change
    }

    /// The path for people.
    pub fn name(&self) -> String {
        self.path.join(".")
    }
}

/// A text that is not done, with the reason.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    #[error("it is no {0} that can be written back unharmed: {1}")]
    Syntax(&'static str, String),
    #[error("`{0}` is no table there")]
    NoTable(String),
    #[error("`{0}` is written there in a form that is not done by hand: {1}")]
    Form(String, &'static str),
}

/// The text with the changes in it, and the names of those that done it.
///
/// # Errors
/// When the text is not of the format, or holds what could not be kept.
pub fn edit(format: Format, text: &str, changes: &[Change]) -> Result<(String, Vec<String>), Unfit> {
    match format {
        Format::Json => json(text, changes),
        Format::Toml => toml(text, changes),
        Format::Yaml => yaml(text, changes),
    }
}

/// What is to be written for a change, given what stands there: `None` nothing,
/// `Some(None)` it goes.
///
/// # Errors
/// Something stands there that must not, and is not ours to take out.
#[expect(clippy::option_option, reason = "nothing to do, nothing there, and a value")]
fn wanted<'a>(change: &'a Change, stands: Option<&Value>) -> Result<Option<Option<&'a Value>>, Unfit> {
    Ok(match (&change.to, stands) {
        (To::Free(only, why), Some(stands)) if only != stands => return Err(Unfit::Form(change.name(), why)),
        (To::Put(value), Some(stands)) if stands == value => None,
        (To::Put(value), _) | (To::Default(value), None) => Some(Some(value)),
        (To::Default(_), Some(_)) | (To::Drop(_) | To::Free(..), None) => None,
        (To::Drop(Some(only)), Some(stands)) if only != stands => None,
        (To::Drop(_) | To::Free(..), Some(_)) => Some(None),
    })
}

fn json(text: &str, changes: &[Change]) -> Result<(String, Vec<String>), Unfit> {
    let mut tree: Value = if text.trim().is_empty() {
        Value::Object(Map::new())
    } else {
        serde_json::from_str(text).map_err(|error| Unfit::Syntax("JSON", error.to_string()))?
    };
    let mut done = Vec::new();
    for change in changes {
        let (last, parents) = change.path.split_last().expect("a path has a key");
        let stands = parents.iter().try_fold(&tree, |at, key| at.get(key)).and_then(|at| at.get(last));
        let Some(to) = wanted(change, stands)? else { continue };
        let mut at = &mut tree;
        for (depth, key) in parents.iter().enumerate() {
            let table = at.as_object_mut().ok_or_else(|| Unfit::NoTable(change.path[..depth].join(".")))?;
            at = table.entry(key).or_insert_with(|| Value::Object(Map::new()));
        }
        let table = at.as_object_mut().ok_or_else(|| Unfit::NoTable(parents.join(".")))?;
        match to {
            Some(value) => _ = table.insert(last.clone(), value.clone()),
            // `remove` would put the last key into the gap.
            None => _ = table.shift_remove(last),
        }
        done.push(change.name());
    }
    if done.is_empty() {
        return Ok((text.to_owned(), done));
    }
    let indent = indent(text);
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
    let written = tree.serialize(&mut serde_json::Serializer::with_formatter(&mut out, formatter));
    written.expect("a tree of JSON can be written");
    out.push(b'\n');
    Ok((String::from_utf8(out).expect("JSON is text"), done))
}

/// What the file indents by: that of its first indented line.
fn indent(text: &str) -> String {
    let blank = |line: &str| line.chars().take_while(|c| *c == ' ' || *c == '\t').collect::<String>();
    text.lines().map(blank).find(|blank| !blank.is_empty()).unwrap_or_else(|| "  ".to_owned())
}

fn toml(text: &str, changes: &[Change]) -> Result<(String, Vec<String>), Unfit> {
    let mut tree: DocumentMut =
        text.parse().map_err(|error: toml_edit::TomlError| Unfit::Syntax("TOML", error.message().to_owned()))?;
    let mut done = Vec::new();
    for change in changes {
        let (last, parents) = change.path.split_last().expect("a path has a key");
        let stands = parents
            .iter()
            .try_fold(tree.as_item(), |at, key| at.get(key))
            .and_then(|at| at.get(last))
            // Something that none of ours equals stands there all the same.
            .map(|item| plain(item).unwrap_or(Value::Null));
        let Some(to) = wanted(change, stands.as_ref())? else { continue };
        let mut at: &mut dyn TableLike = tree.as_table_mut();
        for (depth, key) in parents.iter().enumerate() {
            let fresh = || {
                let mut table = Table::new();
                // `[a]` is not written for the sake of `[a.b]`.
                table.set_implicit(depth + 1 < parents.len());
                Item::Table(table)
            };
            let next = at.entry(key).or_insert_with(fresh);
            at = next.as_table_like_mut().ok_or_else(|| Unfit::NoTable(change.path[..=depth].join(".")))?;
        }
        match to {
            None => _ = at.remove(last),
            Some(value) => {
                let value = toml_value(value).ok_or_else(|| Unfit::Form(change.name(), "TOML has no such value"))?;
                match at.get_mut(last).and_then(Item::as_value_mut) {
                    Some(old) => {
                        // A comment behind it stays.
                        let decor = old.decor().clone();
                        *old = value;
                        *old.decor_mut() = decor;
                    }
                    None => _ = at.insert(last, Item::Value(value)),
                }
            }
        }
        done.push(change.name());
    }
    Ok((tree.to_string(), done))
}

fn plain(item: &Item) -> Option<Value> {
    let value = item.as_value()?;
    value.as_str().map(Value::from).or(value.as_bool().map(Value::from)).or(value.as_integer().map(Value::from))
}

fn toml_value(value: &Value) -> Option<toml_edit::Value> {
    match value {
        Value::String(text) => Some(text.as_str().into()),
        Value::Bool(bool) => Some((*bool).into()),
        Value::Number(number) => number.as_i64().map(Into::into),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn yaml(text: &str, changes: &[Change]) -> Result<(String, Vec<String>), Unfit> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    // Its number alone: it may hold a key.
    if let Some(odd) = lines.iter().position(|line| !is_flat(line)) {
        return Err(Unfit::Syntax("YAML", format!("line {} is no `key: value`", odd + 1)));
    }
    let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let mut done = Vec::new();
    for change in changes {
        let name = change.name();
        let begins = format!("{name}:");
        let mut found = lines.iter().enumerate().filter(|(_, line)| line.starts_with(&begins)).map(|(at, _)| at);
        let (at, again) = (found.next(), found.next());
        if again.is_some() {
            return Err(Unfit::Form(name, "it stands there twice"));
        }
        let stands = match at {
            None => None,
            Some(at) => {
                // A value may go on in lines below that are indented.
                let goes_on = lines.get(at + 1).is_some_and(|next| {
                    next.starts_with([' ', '\t']) && !next.trim().is_empty() && !next.trim_start().starts_with('#')
                });
                let value = Some(&lines[at][begins.len()..]).filter(|_| !goes_on).and_then(scalar);
                let why = "its value is no plain text on one line";
                Some(value.ok_or_else(|| Unfit::Form(name.clone(), why))?)
            }
        };
        let value = stands.as_ref().map(|(value, _)| Value::from(value.as_str()));
        let Some(to) = wanted(change, value.as_ref())? else { continue };
        match (to, at) {
            (Some(value), Some(at)) => {
                let comment = stands.map_or_else(String::new, |(_, comment)| comment);
                lines[at] = format!("{begins} {value}{comment}");
            }
            (Some(value), None) => lines.push(format!("{begins} {value}")),
            (None, Some(at)) => _ = lines.remove(at),
            (None, None) => continue,
        }
        done.push(name);
    }
    if done.is_empty() {
        return Ok((text.to_owned(), done));
    }
    Ok((lines.join(end) + end, done))
}

/// Whether a line can stand in a file whose top level is `key: value`, with
/// whatever below it indented or in a list.
fn is_flat(line: &str) -> bool {
    let bare = line.trim_end();
    if bare.is_empty() || bare == "---" || bare.starts_with(['#', ' ', '\t']) || bare.starts_with("- ") {
        return true;
    }
    let key = bare.split_once(':').map_or("", |(key, _)| key);
    !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// A value on one line, and the comment behind it with its blanks; `None` for
/// other forms.
fn scalar(rest: &str) -> Option<(String, String)> {
    let text = rest.trim_start();
    if let Some(quoted) = text.strip_prefix('\'') {
        let (value, behind) = quoted.split_once('\'')?;
        return (!behind.starts_with('\'')).then(|| (value.to_owned(), behind.to_owned()));
    }
    if text.starts_with('"') {
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<String>();
        let value = values.next()?.ok()?;
        return Some((value, text[values.byte_offset()..].to_owned()));
    }
    if text.is_empty() || text.starts_with(['|', '>', '[', '{', '&', '*', '!', '#']) {
        return None;
    }
    let end = text.find(" #").unwrap_or(text.len());
    Some((text[..end].trim_end().to_owned(), text[end..].to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn put(path: &str, value: impl Into<Value>) -> Change {
        Change::at(path, To::Put(value.into()))
    }

    fn twice(format: Format, text: &str, changes: &[Change]) -> (String, Vec<String>) {
        let (once, done) = edit(format, text, changes).expect("fit");
        let (again, nothing) = edit(format, &once, changes).expect("fit");
        assert_eq!((again.as_str(), nothing.as_slice()), (once.as_str(), [].as_slice()), "a second time does nothing");
        (once, done)
    }

    #[test]
    fn json_keeps_order_unknown_keys_and_indent() {
        let text = "{\n\t\"z\": 1.50,\n\t\"env\": {\"B\": \"2\", \"A\": \"1\"},\n\t\"hooks\": [null]\n}\n";
        let changes = [
            put("env.URL", "http://x"),
            Change::at("env.B", To::Drop(None)),
            Change::at("z", To::Default(json!(2))),
            Change::at("env.A", To::Drop(Some(json!("other")))),
        ];
        let (out, done) = twice(Format::Json, text, &changes);
        let expected = "{\n\t\"z\": 1.5,\n\t\"env\": {\n\t\t\"A\": \"1\",\n\t\t\"URL\": \"http://x\"\n\t},\n\t\"hooks\": [\n\t\tnull\n\t]\n}\n";
        assert_eq!(out, expected);
        assert_eq!(done, ["env.URL", "env.B"]);
        assert_eq!(twice(Format::Json, "", &[put("a.b", true)]).0, "{\n  \"a\": {\n    \"b\": true\n  }\n}\n");
        assert!(edit(Format::Json, "{\"env\": 3}", &changes).is_err());
        assert!(edit(Format::Json, "{ // comment\n}", &changes).is_err());
        assert!(edit(Format::Json, "[]", &changes).is_err());
        let free = [Change::at("env.T", To::Free("ours".into(), "it goes before the helper"))];
        assert!(edit(Format::Json, r#"{"env":{"T":"theirs"}}"#, &free).is_err());
        assert_eq!(twice(Format::Json, r#"{"env":{"T":"ours"}}"#, &free).1, ["env.T"]);
        for (format, theirs) in [(Format::Toml, "T = \"theirs\"\n"), (Format::Yaml, "T: theirs\n")] {
            let free = [Change::at("T", To::Free("ours".into(), "it goes before the helper"))];
            assert!(matches!(edit(format, theirs, &free), Err(Unfit::Form(..))));
            assert_eq!(twice(format, &theirs.replace("theirs", "ours"), &free).1, ["T"]);
        }
    }

    #[test]
    fn toml_keeps_comments_and_its_top_level_stays_on_top() {
        let text =
            "# mine\nmodel = \"a\"  # why\n\n[features] # x\nweb = true\n\n[model_providers.other]\nname = \"o\"\n";
        let changes = [
            put("model", "b"),
            put("model_provider", "t"),
            put("model_providers.t.base_url", "http://x/v1"),
            put("model_providers.t.auth", false),
            Change::below("model_providers.t.env", "x-key", To::Put("K".into())),
            Change::at("model_providers.t.gone", To::Drop(None)),
        ];
        let (out, done) = twice(Format::Toml, text, &changes);
        assert!(out.starts_with("# mine\nmodel = \"b\"  # why\nmodel_provider = \"t\"\n"), "{out}");
        assert!(out.contains("[features] # x\nweb = true\n\n[model_providers.other]\nname = \"o\"\n"), "{out}");
        assert!(out.contains("[model_providers.t]\nbase_url = \"http://x/v1\"\nauth = false\n"), "{out}");
        assert!(out.contains("[model_providers.t.env]\nx-key = \"K\"\n"), "{out}");
        assert_eq!(done.len(), 5);
        let (fresh, _) = twice(Format::Toml, "", &[put("a.b.c", "d")]);
        assert_eq!(fresh, "[a.b]\nc = \"d\"\n", "no table is written for another's sake");
        let inline = "model_providers = { t = { base_url = \"old\" } }\n";
        let (out, _) = twice(Format::Toml, inline, &[put("model_providers.t.base_url", "new")]);
        assert_eq!(out, "model_providers = { t = { base_url = \"new\" } }\n");
        assert!(edit(Format::Toml, "model_providers = 3\n", &changes).is_err());
        assert!(edit(Format::Toml, "a = \n", &changes).is_err());
    }

    #[test]
    fn yaml_of_one_level_is_changed_line_by_line_and_any_other_refused() {
        let text = "# mine\nmodel: gpt-4o # fast\nread:\n  - a.md\n- odd\nopenai-api-base: 'http://old'\n";
        let changes =
            [put("openai-api-base", "http://new/v1"), put("model", "openai/auto"), put("openai-api-key", "none")];
        let (out, done) = twice(Format::Yaml, text, &changes);
        let expected = "# mine\nmodel: \"openai/auto\" # fast\nread:\n  - a.md\n- odd\nopenai-api-base: \"http://new/v1\"\nopenai-api-key: \"none\"\n";
        assert_eq!(out, expected);
        assert_eq!(done.len(), 3);
        let drop = [Change::at("model", To::Drop(Some(json!("openai/auto"))))];
        assert!(!edit(Format::Yaml, &out, &drop).expect("fit").0.contains("model:"));
        for odd in [
            "{model: x}\n",
            "model: |\n  x\n",
            "model: x\nmodel: y\n",
            "model:\n  x\n",
            "model: a\n  b\n",
            "plain text\n",
        ] {
            assert!(edit(Format::Yaml, odd, &changes).is_err(), "{odd:?}");
        }
        let told = edit(Format::Yaml, "# x\nOPENAI_API_KEY=sk-secret\n", &changes).expect_err("no YAML").to_string();
        assert!(told.contains("line 2") && !told.contains("secret"), "{told}");
        let (out, _) = twice(Format::Yaml, "model: a # b\r\n# c\r\n", &[put("model", "b")]);
        assert_eq!(out, "model: \"b\" # b\r\n# c\r\n");
    }
}
