//! What a request asks for, as far as the gateway acts on it.
//!
//! Owns needs, limits and the text that is counted. Refuses to judge fields that
//! it does not act on. Invariant: the payload of an image or a file is passed
//! over, never decoded and never counted as text.

use crate::wire::request::{Invalid, Need, Particulars, Reader, bad};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use std::fmt;

/// Fields that no other dialect can serve: a container's state, and servers that
/// the provider calls.
const BOUND: [&str; 2] = ["container", "mcp_servers"];

/// Reads the fields that planning and clocks need.
pub(in crate::wire) fn ask(reader: &Reader<'_>) -> Result<Particulars, Invalid> {
    let messages: Vec<Message> = reader.required("messages", "a list of objects, each with a role")?;
    if messages.is_empty() {
        return Err(bad("messages", "must hold at least one message"));
    }
    let system: Content = reader.optional("system", "a string or a list of text blocks")?.unwrap_or_default();
    let tools: Vec<Tool> = reader.optional("tools", "a list of objects")?.unwrap_or_default();
    let output_tokens_max: Option<u64> = reader.optional("max_tokens", "a whole number")?;
    let tools_bytes = reader.raw("tools").map_or(0, |raw| raw.get().len());
    let text_bytes = messages.iter().map(|message| message.content.text_bytes).sum::<u64>();
    let bound = BOUND.into_iter().find(|name| reader.has(name));
    Ok(Particulars {
        include_usage: true,
        needs: needs(reader, &messages, &tools)?,
        n: 1,
        unstreamable: false,
        text_bytes: text_bytes + system.text_bytes + tools_bytes as u64,
        output_tokens_max,
        // None at all asks for the prompt to be cached, and for no answer.
        bound: bound.or((output_tokens_max == Some(0)).then_some("max_tokens")),
    })
}

fn needs(reader: &Reader<'_>, messages: &[Message], tools: &[Tool]) -> Result<Vec<Need>, Invalid> {
    #[derive(Deserialize)]
    struct OutputConfig {
        #[serde(default)]
        format: Option<IgnoredAny>,
    }
    let config: Option<OutputConfig> = reader.optional("output_config", "an object")?;
    let is_web = |tool: &Tool| tool.r#type.as_deref().is_some_and(|kind| kind.starts_with("web_search_"));
    let mut needs = Vec::new();
    if tools.iter().any(|tool| !is_web(tool)) {
        needs.push(Need::Tools);
    }
    if messages.iter().any(|message| message.content.has_image) {
        needs.push(Need::Vision);
    }
    if config.is_some_and(|config| config.format.is_some()) || reader.has("output_format") {
        needs.push(Need::Json);
    }
    if tools.iter().any(is_web) {
        needs.push(Need::Web);
    }
    Ok(needs)
}

#[derive(Deserialize)]
struct Tool {
    #[serde(default)]
    r#type: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(rename = "role")]
    _role: Text,
    #[serde(default)]
    content: Content,
}

/// A string, of which only this is wanted: its length, and whether it is the
/// type of an image.
#[derive(Default)]
struct Text {
    bytes: u64,
    is_image: bool,
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Look;
        impl Visitor<'_> for Look {
            type Value = Text;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(Text { bytes: text.len() as u64, is_image: text == "image" })
            }
        }
        deserializer.deserialize_str(Look)
    }
}

/// A block of any kind; each has its words in one of these.
#[derive(Deserialize)]
struct Block {
    r#type: Text,
    #[serde(default)]
    text: Option<Text>,
    #[serde(default)]
    thinking: Option<Text>,
    /// Of a result: text, or blocks again. Of others whatever they hold.
    #[serde(default)]
    content: Option<Nested>,
    /// Of a call.
    #[serde(default)]
    input: Option<Bytes>,
    #[serde(default)]
    source: Option<Source>,
}

/// A document in plain text is text.
#[derive(Deserialize)]
struct Source {
    #[serde(default)]
    r#type: Option<String>,
    #[serde(default)]
    data: Option<Text>,
}

impl Block {
    fn add_to(self, content: &mut Content) {
        content.has_image |= self.r#type.is_image;
        for text in [self.text, self.thinking].into_iter().flatten() {
            content.text_bytes += text.bytes;
        }
        content.text_bytes += self.input.map_or(0, |input| input.0);
        if let Some(Source { r#type: Some(kind), data: Some(data) }) = self.source
            && kind == "text"
        {
            content.text_bytes += data.bytes;
        }
        if let Some(Nested(nested)) = self.content {
            content.text_bytes += nested.text_bytes;
            content.has_image |= nested.has_image;
        }
    }
}

/// The length of a value's JSON text.
struct Bytes(u64);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<serde_json::value::RawValue>::deserialize(deserializer).map(|raw| Self(raw.get().len() as u64))
    }
}

/// What a result holds, one level deep: deeper is nothing that is counted.
struct Nested(Content);

impl<'de> Deserialize<'de> for Nested {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Flat {
            #[serde(default)]
            r#type: Text,
            #[serde(default)]
            text: Option<Text>,
        }
        let raw = Box::<serde_json::value::RawValue>::deserialize(deserializer)?;
        let mut content = Content::default();
        if let Ok(text) = serde_json::from_str::<Text>(raw.get()) {
            content.text_bytes = text.bytes;
        } else if let Ok(blocks) = serde_json::from_str::<Vec<Flat>>(raw.get()) {
            for block in blocks {
                content.has_image |= block.r#type.is_image;
                content.text_bytes += block.text.map_or(0, |text| text.bytes);
            }
        }
        Ok(Self(content))
    }
}

/// A message's content: text, or a list of blocks.
#[derive(Default)]
struct Content {
    text_bytes: u64,
    has_image: bool,
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Look;
        impl<'de> Visitor<'de> for Look {
            type Value = Content;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text or a list of blocks")
            }
            fn visit_str<E>(self, text: &str) -> Result<Content, E> {
                Ok(Content { text_bytes: text.len() as u64, has_image: false })
            }
            fn visit_unit<E>(self) -> Result<Content, E> {
                Ok(Content::default())
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut blocks: A) -> Result<Content, A::Error> {
                let mut content = Content::default();
                while let Some(block) = blocks.next_element::<Block>()? {
                    block.add_to(&mut content);
                }
                Ok(content)
            }
        }
        deserializer.deserialize_any(Look)
    }
}

#[cfg(test)]
mod tests {
    use crate::wire::dialect::Dialect;
    use crate::wire::request::{Asked, Need, Particulars};

    fn ask(extra: &str, content: &str) -> Particulars {
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":{content}}}]{extra}}}"#);
        Asked::parse(Dialect::Messages, body.as_bytes()).expect("a request").particulars
    }

    #[test]
    fn text_is_counted_wherever_it_stands_and_payloads_are_not() {
        assert_eq!(ask("", r#""12345""#).text_bytes, 5);
        assert_eq!(ask(r#","system":"123""#, r#""12""#).text_bytes, 5);
        assert_eq!(ask(r#","system":[{"type":"text","text":"123"}]"#, r#""12""#).text_bytes, 5);
        let blocks = r#"[{"type":"text","text":"12"},{"type":"thinking","thinking":"345","signature":"xxxxxxxx"},
            {"type":"tool_use","id":"a","name":"f","input":{"a":1}},
            {"type":"tool_result","tool_use_id":"a","content":"67"},
            {"type":"tool_result","tool_use_id":"a","content":[{"type":"text","text":"8"}]},
            {"type":"document","source":{"type":"text","media_type":"text/plain","data":"90"}},
            {"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"AAAAAAAA"}}]"#;
        assert_eq!(ask("", blocks).text_bytes, 17);
        assert_eq!(ask(r#","tools":[{"name":"f"}]"#, "\"\"").text_bytes, 14);
    }

    #[test]
    fn needs_limits_and_bounds_are_read_off_the_body() {
        let image = r#"[{"type":"tool_result","tool_use_id":"a","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA"}}]}]"#;
        let asked = ask(
            r#","max_tokens":7,"tools":[{"name":"f"},{"type":"web_search_20250305","name":"web_search"}],"output_config":{"format":{"type":"json_schema","schema":{}}}"#,
            image,
        );
        assert_eq!(asked.needs, [Need::Tools, Need::Vision, Need::Json, Need::Web]);
        assert_eq!((asked.output_tokens_max, asked.bound, asked.n, asked.include_usage), (Some(7), None, 1, true));
        assert_eq!(ask(r#","output_config":{"effort":"low"}"#, "\"x\"").needs, []);
        assert_eq!(ask(r#","container":"c""#, "\"x\"").bound, Some("container"));
        assert_eq!(ask(r#","max_tokens":0"#, "\"x\"").bound, Some("max_tokens"));
    }

    #[test]
    fn a_shape_that_would_be_misread_is_named() {
        for (body, field) in [
            (r#"{"model":"m"}"#, "messages"),
            (r#"{"model":"m","messages":[]}"#, "messages"),
            (r#"{"model":"m","messages":[{"content":"x"}]}"#, "messages"),
            (r#"{"model":"m","messages":[{"role":"user","content":{}}]}"#, "messages"),
            (r#"{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":"9"}"#, "max_tokens"),
            (r#"{"model":"m","messages":[{"role":"user","content":"x"}],"system":7}"#, "system"),
            (r#"{"model":"m","messages":[{"role":"user","content":"x"}],"tools":{}}"#, "tools"),
        ] {
            let error = Asked::parse(Dialect::Messages, body.as_bytes()).expect_err(body);
            assert_eq!(error.field.as_deref(), Some(field), "{body}");
        }
    }
}
