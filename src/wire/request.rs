//! What a request asks for, and how it is rewritten for a target of its own dialect.
//!
//! Owns the reading of the body's top level and the few fields we act on.
//! Refuses to judge anything else: an unknown field is the target's to take or
//! refuse. Invariant: every value that is not ours to change is sent as the
//! bytes it came in (`RawValue`), in the order it came in.

use crate::wire::dialect::Dialect;
use crate::wire::strict::{self, NotStrict};
use crate::wire::{chat, messages, plain, responses};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// Bytes of a model name. The longest in use are resource names of clouds, of
/// about 200; names go into records, target names and headers.
const MODEL_BYTES_MAX: usize = 512;

/// A capability that a request demands of its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Need {
    Tools,
    Vision,
    Json,
    Web,
}

impl Need {
    /// The word that `capabilities` uses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Vision => "vision",
            Self::Json => "json",
            Self::Web => "web",
        }
    }
}

/// Why a body is no request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Invalid {
    pub field: Option<String>,
    pub offset: Option<u64>,
    pub detail: String,
}

impl From<NotStrict> for Invalid {
    fn from(error: NotStrict) -> Self {
        Self {
            field: Some(error.field).filter(|field| !field.is_empty()),
            offset: Some(error.offset),
            detail: error.detail,
        }
    }
}

/// A parsed body. Holds the body itself, so that any number of attempts can be
/// made from it.
#[derive(Debug, Clone)]
pub struct Asked {
    fields: Vec<(String, Box<RawValue>)>,
    pub dialect: Dialect,
    pub model: String,
    pub stream: bool,
    /// `metadata.task`, if it is a string.
    pub metadata_task: Option<String>,
    pub particulars: Particulars,
}

/// What a dialect's own fields say, as far as we act on it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Particulars {
    /// The client asked for a usage frame, or its dialect always has one.
    pub include_usage: bool,
    pub needs: Vec<Need>,
    /// Choices asked for, at least 1.
    pub n: u32,
    /// The answer cannot be streamed and assembled: audio, several choices with
    /// log-probabilities, a background job.
    pub unstreamable: bool,
    /// Bytes of text in messages and tool definitions, the basis of estimates.
    pub text_bytes: u64,
    /// The client's own limit of the answer, in tokens.
    pub output_tokens_max: Option<u64>,
    /// A field that only targets of this dialect can serve.
    pub bound: Option<&'static str>,
}

impl Asked {
    /// Reads a body of any origin.
    ///
    /// # Errors
    /// [`Invalid`] names the field and, where it is known, the byte.
    pub fn parse(dialect: Dialect, body: &[u8]) -> Result<Self, Invalid> {
        strict::check(body)?;
        let Fields(fields) = serde_json::from_slice(body).map_err(|_| Invalid {
            field: None,
            offset: Some(0),
            detail: "the body must be a JSON object".to_owned(),
        })?;
        let reader = Reader(&fields);
        let model: String = reader.required("model", "a string")?;
        if model.is_empty() {
            return Err(bad("model", "must not be empty"));
        }
        if model.len() > MODEL_BYTES_MAX {
            return Err(bad("model", &format!("must have at most {MODEL_BYTES_MAX} bytes")));
        }
        let particulars = particulars(dialect, &fields)?;
        Ok(Self {
            dialect,
            model,
            stream: reader.optional("stream", "true or false")?.unwrap_or(false),
            metadata_task: metadata_task(&reader),
            particulars,
            fields,
        })
    }

    /// A field that is text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        Reader(&self.fields).optional(name, "text").ok().flatten()
    }

    /// A field that is true or false.
    #[must_use]
    pub fn flag(&self, name: &str) -> Option<bool> {
        Reader(&self.fields).optional(name, "true or false").ok().flatten()
    }

    /// The top-level fields in their order, each value as its bytes.
    #[must_use]
    pub fn fields(&self) -> &[(String, Box<RawValue>)] {
        &self.fields
    }

    /// Estimated prompt tokens: four bytes of text each (OpenAI help centre,
    /// "What are tokens": about four characters of English).
    #[must_use]
    pub const fn input_tokens(&self) -> u64 {
        self.particulars.text_bytes.div_ceil(4)
    }

    /// A prompt is surely not shorter than this: six bytes a token, more than
    /// running text has. `plan` rejects by it alone.
    #[must_use]
    pub const fn input_tokens_least(&self) -> u64 {
        self.particulars.text_bytes.div_ceil(6)
    }

    /// The body for one attempt.
    #[must_use]
    pub fn rewrite(&self, how: &Rewrite<'_>) -> Rewritten {
        rewrite_fields(&self.fields, how)
    }
}

/// What these fields say.
///
/// # Errors
/// [`Invalid`] names the field.
pub fn particulars(dialect: Dialect, fields: &[(String, Box<RawValue>)]) -> Result<Particulars, Invalid> {
    let reader = Reader(fields);
    match dialect {
        Dialect::Chat => chat::ask(&reader),
        Dialect::Messages => messages::ask(&reader),
        Dialect::Responses => responses::ask(&reader),
        Dialect::Completions => plain::completions(&reader),
        Dialect::Embeddings => plain::embeddings(&reader),
        Dialect::CountTokens => plain::count_tokens(&reader),
    }
}

/// A body of ours with the same changes; one that is no object stays as it is.
#[must_use]
pub fn rewrite(body: &Bytes, how: &Rewrite<'_>) -> Rewritten {
    match serde_json::from_slice(body) {
        Ok(Fields(fields)) => rewrite_fields(&fields, how),
        Err(_) => Rewritten { body: body.clone(), dropped: Vec::new(), pristine: true },
    }
}

/// [`Asked::rewrite`] of fields that were changed before.
#[must_use]
pub fn rewrite_fields(fields: &[(String, Box<RawValue>)], how: &Rewrite<'_>) -> Rewritten {
    let mut out =
        String::with_capacity(fields.iter().map(|(key, raw)| key.len() + raw.get().len() + 4).sum::<usize>() + 64);
    let mut dropped = Vec::new();
    let mut changed = false;
    let mut seen_options = false;
    out.push('{');
    for (key, raw) in fields {
        if how.drop.iter().any(|name| name == key) {
            dropped.push(key.clone());
            changed = true;
            continue;
        }
        if how.set.iter().any(|(name, _)| name == key) || key == "stream" || key == "model" {
            continue;
        }
        let renamed = how.rename.iter().find(|(from, _)| from == key).map(|(_, to)| to.as_str());
        let taken = |name: &str| {
            fields.iter().any(|(known, _)| known == name) || how.set.iter().any(|(known, _)| known == name)
        };
        if renamed.is_some_and(taken) {
            // Sent under both names by the client: the new one stands, no key goes out twice.
            dropped.push(key.clone());
            changed = true;
            continue;
        }
        changed |= renamed.is_some();
        match key.as_str() {
            "stream_options" => {
                seen_options = true;
                if let Some(options) = stream_options(how, Some(raw)) {
                    push_field(&mut out, key, &options);
                }
            }
            "metadata" if how.drop_metadata_task => {
                if let Some(rest) = without_task(raw) {
                    push_field(&mut out, key, &rest);
                }
            }
            _ => push_field(&mut out, renamed.unwrap_or(key), raw.get()),
        }
    }
    let mut model = String::with_capacity(how.model.len() + 2);
    push_text(&mut model, how.model);
    push_field(&mut out, "model", &model);
    if how.stream {
        push_field(&mut out, "stream", "true");
    }
    if !seen_options && let Some(options) = stream_options(how, None) {
        push_field(&mut out, "stream_options", &options);
    }
    for (name, value) in how.set {
        push_field(&mut out, name, &value.to_string());
        changed = true;
    }
    out.push('}');
    Rewritten { body: Bytes::from(out), dropped, pristine: !changed }
}

/// How a body is rewritten for one attempt.
#[derive(Debug, Clone)]
pub struct Rewrite<'a> {
    pub model: &'a str,
    /// Whether the target is asked to stream.
    pub stream: bool,
    /// Whether a usage frame is asked for.
    pub ask_usage: bool,
    /// `metadata.task` was ours: remove it, and a `metadata` that is then empty.
    pub drop_metadata_task: bool,
    pub drop: &'a [String],
    pub rename: &'a [(String, String)],
    pub set: &'a [(String, serde_json::Value)],
}

/// A body for one attempt, and what was changed in it.
#[derive(Debug, Clone)]
pub struct Rewritten {
    pub body: Bytes,
    /// Names that `params.drop` removed.
    pub dropped: Vec<String>,
    /// Changed only in `model`, `stream`, `stream_options` and a removed `metadata.task`.
    pub pristine: bool,
}

fn push_field(out: &mut String, key: &str, raw: &str) {
    if out.len() > 1 {
        out.push(',');
    }
    push_text(out, key);
    out.push(':');
    out.push_str(raw);
}

/// As a JSON string.
fn push_text(out: &mut String, text: &str) {
    if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/' | b':')) {
        // Nearly every key and name: nothing in it is escaped.
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&serde_json::Value::from(text).to_string());
    }
}

/// The client's options (chat) with `include_usage` set as needed; `None`: leave them out.
fn stream_options(how: &Rewrite<'_>, raw: Option<&RawValue>) -> Option<String> {
    if !how.stream {
        return None;
    }
    let Fields(mut options) = raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    if how.ask_usage {
        options.retain(|(key, _)| key != "include_usage");
        options.push(("include_usage".to_owned(), RawValue::from_string("true".to_owned()).expect("valid JSON")));
    }
    if options.is_empty() {
        return None;
    }
    let mut out = String::from("{");
    for (key, value) in &options {
        push_field(&mut out, key, value.get());
    }
    out.push('}');
    Some(out)
}

fn without_task(raw: &RawValue) -> Option<String> {
    let Fields(mut fields) = serde_json::from_str(raw.get()).unwrap_or_default();
    fields.retain(|(key, _)| key != "task");
    if fields.is_empty() {
        return None;
    }
    let mut out = String::from("{");
    for (key, value) in &fields {
        push_field(&mut out, key, value.get());
    }
    out.push('}');
    Some(out)
}

fn metadata_task(reader: &Reader<'_>) -> Option<String> {
    #[derive(Deserialize)]
    struct Metadata {
        task: String,
    }
    let raw = reader.raw("metadata")?;
    serde_json::from_str::<Metadata>(raw.get()).ok().map(|metadata| metadata.task)
}

pub(super) fn bad(field: &str, detail: &str) -> Invalid {
    Invalid { field: Some(field.to_owned()), offset: None, detail: format!("`{field}` {detail}") }
}

/// The top level of a body, field by field.
pub(super) struct Reader<'a>(&'a [(String, Box<RawValue>)]);

impl Reader<'_> {
    /// The field's text; `null` counts as absent.
    pub(super) fn raw(&self, name: &str) -> Option<&RawValue> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, raw)| &**raw).filter(|raw| raw.get() != "null")
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.raw(name).is_some()
    }

    pub(super) fn optional<T: for<'de> Deserialize<'de>>(
        &self,
        name: &str,
        expected: &str,
    ) -> Result<Option<T>, Invalid> {
        self.raw(name)
            .map(|raw| serde_json::from_str(raw.get()).map_err(|_| bad(name, &format!("must be {expected}"))))
            .transpose()
    }

    pub(super) fn required<T: for<'de> Deserialize<'de>>(&self, name: &str, expected: &str) -> Result<T, Invalid> {
        self.optional(name, expected)?.ok_or_else(|| self.missing(name, expected))
    }

    #[expect(clippy::unused_self, reason = "reads as one of the reader's words")]
    pub(super) fn missing(&self, name: &str, expected: &str) -> Invalid {
        bad(name, &format!("is missing; it must be {expected}"))
    }
}

/// An object's fields in their order, each value as its bytes.
#[derive(Default)]
pub(super) struct Fields(pub Vec<(String, Box<RawValue>)>);

impl Fields {
    /// The object again.
    pub(super) fn to_raw(&self) -> Box<RawValue> {
        let mut out = String::from("{");
        for (key, raw) in &self.0 {
            push_field(&mut out, key, raw.get());
        }
        out.push('}');
        RawValue::from_string(out).expect("fields of JSON make an object")
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Look;
        impl<'de> Visitor<'de> for Look {
            type Value = Fields;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    fields.push(entry);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Look)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &[u8]) -> Result<Asked, Invalid> {
        Asked::parse(Dialect::Chat, body)
    }

    const PLAIN: &str =
        r#"{"model":"auto","messages":[{"role":"user","content":"hi"}],"seed":12345678901234567890123,"x":1.0}"#;

    fn invalid(body: &str) -> (Option<String>, String) {
        let error = parse(body.as_bytes()).expect_err("refused");
        (error.field, error.detail)
    }

    fn plain<'a>() -> Rewrite<'a> {
        Rewrite {
            model: "m",
            stream: true,
            ask_usage: true,
            drop_metadata_task: false,
            drop: &[],
            rename: &[],
            set: &[],
        }
    }

    #[test]
    fn values_that_are_not_ours_keep_their_bytes() {
        let request = parse(PLAIN.as_bytes()).expect("valid");
        let rewritten = request.rewrite(&plain());
        assert_eq!(
            rewritten.body,
            r#"{"messages":[{"role":"user","content":"hi"}],"seed":12345678901234567890123,"x":1.0,"model":"m","stream":true,"stream_options":{"include_usage":true}}"#
        );
        assert!(rewritten.pristine);
    }

    #[test]
    fn params_drop_rename_and_set_are_told() {
        let request = parse(PLAIN.as_bytes()).expect("valid");
        let how = Rewrite {
            stream: false,
            drop: &["seed".to_owned()],
            rename: &[("x".to_owned(), "y".to_owned())],
            set: &[("top_p".to_owned(), serde_json::json!(0.5))],
            ..plain()
        };
        let rewritten = request.rewrite(&how);
        assert_eq!(rewritten.body, r#"{"messages":[{"role":"user","content":"hi"}],"y":1.0,"model":"m","top_p":0.5}"#);
        assert_eq!(rewritten.dropped, ["seed"]);
        assert!(!rewritten.pristine);
    }

    #[test]
    fn a_rename_onto_a_name_that_is_there_sends_no_key_twice() {
        let body =
            r#"{"model":"auto","messages":[{"role":"user","content":"hi"}],"max_tokens":5,"max_completion_tokens":9}"#;
        let request = parse(body.as_bytes()).expect("valid");
        let rename = [("max_tokens".to_owned(), "max_completion_tokens".to_owned())];
        let rewritten = request.rewrite(&Rewrite { stream: false, rename: &rename, ..plain() });
        assert_eq!(
            rewritten.body,
            r#"{"messages":[{"role":"user","content":"hi"}],"max_completion_tokens":9,"model":"m"}"#
        );
        assert_eq!(rewritten.dropped, ["max_tokens"]);
    }

    #[test]
    fn a_task_of_ours_leaves_metadata_and_takes_an_empty_one_along() {
        let body = |metadata: &str| {
            format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}],"metadata":{metadata}}}"#)
        };
        let rewrite = |text: String| {
            let request = parse(text.as_bytes()).expect("valid");
            assert_eq!(request.metadata_task.as_deref(), Some("chat"));
            let how = Rewrite { drop_metadata_task: true, stream: false, ..plain() };
            String::from_utf8(request.rewrite(&how).body.to_vec()).expect("text")
        };
        assert!(!rewrite(body(r#"{"task":"chat"}"#)).contains("metadata"));
        assert!(rewrite(body(r#"{"task":"chat","run":"7"}"#)).contains(r#""metadata":{"run":"7"}"#));
    }

    #[test]
    fn every_wrong_field_is_named() {
        let with = |extra: &str| format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}],{extra}}}"#);
        for (body, field) in [
            (r#"{"messages":[{"role":"user"}]}"#.to_owned(), "model"),
            (r#"{"model":7,"messages":[{"role":"user"}]}"#.to_owned(), "model"),
            (r#"{"model":"m"}"#.to_owned(), "messages"),
            (r#"{"model":"m","messages":[]}"#.to_owned(), "messages"),
            (r#"{"model":"m","messages":[{"content":"x"}]}"#.to_owned(), "messages"),
            (r#"{"model":"m","messages":"x"}"#.to_owned(), "messages"),
            (with(r#""stream":"yes""#), "stream"),
            (with(r#""n":0"#), "n"),
            (with(r#""tools":{}"#), "tools"),
            (with(r#""max_tokens":"many""#), "max_tokens"),
            (with(r#""model":"again""#), "model"),
        ] {
            let (named, detail) = invalid(&body);
            assert_eq!(named.as_deref(), Some(field), "{body}: {detail}");
        }
        assert_eq!(invalid("[]").0, None);
        assert_eq!(invalid("").0, None);
    }

    #[test]
    fn needs_are_read_off_the_body() {
        let needs = |extra: &str| {
            let body = format!(
                r#"{{"model":"m","messages":[{{"role":"user","content":[{{"type":"text","text":"abcdefgh"}},{{"type":"image_url","image_url":{{"url":"x"}}}}]}}]{extra}}}"#
            );
            let request = parse(body.as_bytes()).expect("valid");
            (request.particulars.needs.clone(), request.particulars.unstreamable)
        };
        assert_eq!(needs(""), (vec![Need::Vision], false));
        assert_eq!(
            needs(r#","tools":[{"type":"function"}],"response_format":{"type":"json_schema"},"web_search_options":{}"#)
                .0,
            [Need::Tools, Need::Vision, Need::Json, Need::Web]
        );
        assert!(needs(r#","modalities":["text","audio"]"#).1);
        assert!(needs(r#","n":2,"logprobs":true"#).1);
        assert!(!needs(r#","n":2"#).1);
    }
}
