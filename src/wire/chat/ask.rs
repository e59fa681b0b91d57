//! What a chat request asks for, as far as the gateway acts on it.

use crate::wire::request::{Invalid, Need, Particulars, Reader, bad};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Reads the fields that planning and clocks need.
pub(in crate::wire) fn ask(reader: &Reader<'_>) -> Result<Particulars, Invalid> {
    let messages: Vec<Message> = reader.required("messages", "a list of objects, each with a role")?;
    if messages.is_empty() {
        return Err(bad("messages", "must hold at least one message"));
    }
    let options: Option<StreamOptions> = reader.optional("stream_options", "an object")?;
    let n: Option<u32> = reader.optional("n", "a whole number of at least 1")?;
    if n == Some(0) {
        return Err(bad("n", "must be at least 1"));
    }
    let tokens = |name| reader.optional::<u64>(name, "a whole number");
    let output_tokens_max = tokens("max_completion_tokens")?.or(tokens("max_tokens")?);
    let logprobs: Option<bool> = reader.optional("logprobs", "true or false")?;
    let modalities: Option<Vec<String>> = reader.optional("modalities", "a list of strings")?;
    let audio = reader.has("audio") || modalities.is_some_and(|list| list.iter().any(|kind| kind == "audio"));
    let needs = needs(reader, &messages)?;
    let tools_bytes = reader.raw("tools").map_or(0, |raw| raw.get().len());
    let several = n.unwrap_or(1) > 1;
    Ok(Particulars {
        include_usage: options.is_some_and(|options| options.include_usage),
        needs,
        n: n.unwrap_or(1),
        unstreamable: audio || (several && logprobs == Some(true)),
        text_bytes: messages.iter().map(|message| message.content.text_bytes).sum::<u64>() + tools_bytes as u64,
        output_tokens_max,
        bound: match () {
            () if several => Some("n"),
            () if audio => Some("audio"),
            () if logprobs == Some(true) => Some("logprobs"),
            () => None,
        },
    })
}

fn needs(reader: &Reader<'_>, messages: &[Message]) -> Result<Vec<Need>, Invalid> {
    #[derive(Deserialize)]
    struct Typed {
        #[serde(default)]
        r#type: Option<String>,
    }
    let tools: Vec<Typed> = reader.optional("tools", "a list of objects")?.unwrap_or_default();
    let functions: Vec<Typed> = reader.optional("functions", "a list of objects")?.unwrap_or_default();
    let format: Option<Typed> = reader.optional("response_format", "an object with a type")?;
    let is_web = |tool: &Typed| tool.r#type.as_deref().is_some_and(|kind| kind.starts_with("web_search"));
    let mut needs = Vec::new();
    if !functions.is_empty() || tools.iter().any(|tool| !is_web(tool)) {
        needs.push(Need::Tools);
    }
    if messages.iter().any(|message| message.content.has_image) {
        needs.push(Need::Vision);
    }
    if format.and_then(|format| format.r#type).is_some_and(|kind| kind.starts_with("json")) {
        needs.push(Need::Json);
    }
    if reader.has("web_search_options") || tools.iter().any(is_web) {
        needs.push(Need::Web);
    }
    Ok(needs)
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
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
                let is_image = matches!(text, "image_url" | "input_image" | "image");
                Ok(Text { bytes: text.len() as u64, is_image })
            }
        }
        deserializer.deserialize_str(Look)
    }
}

/// A message's content: text, or a list of parts.
#[derive(Default)]
struct Content {
    text_bytes: u64,
    has_image: bool,
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct ContentPart {
            r#type: Text,
            #[serde(default)]
            text: Option<Text>,
        }
        /// A part, or, as some clients write it, its bare text.
        struct Part(Content);
        impl<'de> Deserialize<'de> for Part {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Look;
                impl<'de> Visitor<'de> for Look {
                    type Value = Part;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("a part or text")
                    }
                    fn visit_str<E>(self, text: &str) -> Result<Part, E> {
                        Ok(Part(Content { text_bytes: text.len() as u64, has_image: false }))
                    }
                    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Part, A::Error> {
                        let part = ContentPart::deserialize(MapAccessDeserializer::new(map))?;
                        let text_bytes = part.text.map_or(0, |text| text.bytes);
                        Ok(Part(Content { text_bytes, has_image: part.r#type.is_image }))
                    }
                }
                deserializer.deserialize_any(Look)
            }
        }
        struct Look;
        impl<'de> Visitor<'de> for Look {
            type Value = Content;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, a list of parts or null")
            }
            fn visit_str<E>(self, text: &str) -> Result<Content, E> {
                Ok(Content { text_bytes: text.len() as u64, has_image: false })
            }
            fn visit_unit<E>(self) -> Result<Content, E> {
                Ok(Content::default())
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Content, A::Error> {
                let mut content = Content::default();
                while let Some(Part(part)) = parts.next_element()? {
                    content.text_bytes += part.text_bytes;
                    content.has_image |= part.has_image;
                }
                Ok(content)
            }
        }
        deserializer.deserialize_any(Look)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_may_be_a_list_of_parts_and_bare_texts() {
        let content: Content =
            serde_json::from_str(r#"["ab",{"type":"text","text":"c"},{"type":"image_url","image_url":{"url":"u"}}]"#)
                .expect("content");
        assert_eq!((content.text_bytes, content.has_image), (3, true));
        assert!(serde_json::from_str::<Content>("[7]").is_err());
    }
}
