//! What a request asks for, as far as the gateway acts on it.
//!
//! Owns the fields that planning and clocks need. Refuses shapes that would be
//! misread; an unknown field is the target's to judge. Invariant: base64 counts
//! as no text.

use super::read::is_hosted_choice;
use super::reading::{At, Object, as_list, as_word, is_list, is_text, wrong};
use crate::wire::request::{Invalid, Need, Particulars, Reader};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Reads the fields that planning and clocks need.
pub(in crate::wire) fn ask(reader: &Reader<'_>) -> Result<Particulars, Invalid> {
    let background: Option<bool> = reader.optional("background", "true or false")?;
    reader.optional::<Cow<'_, str>>("instructions", "a string")?;
    let previous: Option<String> = reader.optional("previous_response_id", "a string")?;
    let _: Option<bool> = reader.optional("store", "true or false")?;
    let _: Option<bool> = reader.optional("parallel_tool_calls", "true or false")?;
    let _: Option<Vec<String>> = reader.optional("include", "a list of strings")?;
    let mut seen = Seen::default();
    match reader.raw("input") {
        Some(raw) => seen.input(raw)?,
        // A conversation or a template may bring all there is to say.
        None if previous.is_some() || reader.has("prompt") || reader.has("conversation") => {}
        None => return Err(wrong(&At::Field("input"), "there: a string or a list of items")),
    }
    if let Some(raw) = reader.raw("tools") {
        seen.tools(raw, &At::Field("tools"))?;
    }
    let instructions = reader.raw("instructions").map_or(0, |raw| raw.get().len() as u64);
    Ok(Particulars {
        include_usage: true,
        n: 1,
        unstreamable: background == Some(true),
        text_bytes: seen.text_bytes + instructions,
        output_tokens_max: reader.optional("max_output_tokens", "a whole number")?,
        bound: bound(reader, background, &seen),
        needs: seen.needs(reader)?,
    })
}

/// What only targets of this dialect can serve.
fn bound(reader: &Reader<'_>, background: Option<bool>, seen: &Seen) -> Option<&'static str> {
    if background == Some(true) {
        return Some("background");
    }
    if let Some(name) = ["conversation", "prompt"].into_iter().find(|name| reader.has(name)) {
        return Some(name);
    }
    if reader.raw("tool_choice").is_some_and(is_hosted_choice) {
        return Some("tool_choice");
    }
    seen.bound
}

/// What the input and the tools hold.
#[derive(Default)]
struct Seen {
    text_bytes: u64,
    tools: bool,
    vision: bool,
    web: bool,
    bound: Option<&'static str>,
}

impl Seen {
    fn input(&mut self, raw: &RawValue) -> Result<(), Invalid> {
        let at = At::Field("input");
        if is_text(raw) {
            self.text_bytes += raw.get().len() as u64;
            return Ok(());
        }
        let items = as_list(raw).ok_or_else(|| wrong(&at, "a string or a list of items"))?;
        for (place, raw) in items.into_iter().enumerate() {
            self.item(raw, &at.index(place))?;
        }
        Ok(())
    }

    fn item(&mut self, raw: &RawValue, at: &At<'_>) -> Result<(), Invalid> {
        let mut item = Object::read(raw, at)?;
        let kind = super::read::kind_of(&mut item, at)?;
        match &*kind {
            // The provider alone knows what these stand for.
            "item_reference" => self.bound = self.bound.or(Some("item_reference")),
            "compaction" | "compaction_summary" | "compaction_trigger" => {
                self.bound = self.bound.or(Some("compaction"));
            }
            "additional_tools" => {
                if let Some(tools) = item.get("tools") {
                    self.tools(tools, &at.key("tools"))?;
                }
            }
            _ => {}
        }
        for field in ["content", "output", "arguments", "input", "summary", "action", "tools"] {
            if let Some(raw) = item.get(field) {
                self.parts(raw);
            }
        }
        Ok(())
    }

    /// A text, or the parts of a message; what is neither counts as it is written.
    fn parts(&mut self, raw: &RawValue) {
        #[derive(Deserialize)]
        struct Part<'a> {
            #[serde(borrow, default)]
            r#type: Option<Cow<'a, str>>,
            #[serde(borrow, default)]
            text: Option<&'a RawValue>,
            #[serde(borrow, default)]
            refusal: Option<&'a RawValue>,
        }
        let parts =
            Some(raw).filter(|raw| is_list(raw)).and_then(|raw| serde_json::from_str::<Vec<Part<'_>>>(raw.get()).ok());
        let Some(parts) = parts else {
            self.text_bytes += raw.get().len() as u64;
            return;
        };
        for part in parts {
            self.vision |= matches!(part.r#type.as_deref(), Some("input_image" | "computer_screenshot"));
            let text = [part.text, part.refusal].into_iter().flatten();
            self.text_bytes += text.map(|raw| raw.get().len() as u64).sum::<u64>();
        }
    }

    fn tools(&mut self, raw: &RawValue, at: &At<'_>) -> Result<(), Invalid> {
        let tools = as_list(raw).ok_or_else(|| wrong(at, "a list of objects"))?;
        self.text_bytes += raw.get().len() as u64;
        for (place, raw) in tools.into_iter().enumerate() {
            let tool = Object::read(raw, &at.index(place))?;
            let is_web = tool.get("type").and_then(as_word).is_some_and(|kind| kind.starts_with("web_search"));
            self.web |= is_web;
            self.tools |= !is_web;
        }
        Ok(())
    }

    fn needs(&self, reader: &Reader<'_>) -> Result<Vec<Need>, Invalid> {
        #[derive(Deserialize)]
        struct Text {
            #[serde(default)]
            format: Option<Format>,
        }
        #[derive(Deserialize)]
        struct Format {
            r#type: String,
        }
        let text: Option<Text> = reader.optional("text", "an object whose format has a type")?;
        let json = text.and_then(|text| text.format).is_some_and(|format| format.r#type.starts_with("json"));
        let all = [(self.tools, Need::Tools), (self.vision, Need::Vision), (json, Need::Json), (self.web, Need::Web)];
        Ok(all.into_iter().filter(|(there, _)| *there).map(|(_, need)| need).collect())
    }
}

#[cfg(test)]
mod tests {
    use crate::wire::dialect::Dialect;
    use crate::wire::request::{Asked, Need};

    fn asked(fields: &str) -> Asked {
        Asked::parse(Dialect::Responses, format!(r#"{{"model":"m",{fields}}}"#).as_bytes()).expect("a request")
    }

    #[test]
    fn needs_and_bounds_are_read_off_the_body() {
        for (fields, needs, bound) in [
            (r#""input":"x""#, vec![], None),
            (r#""input":"x","tools":[{"type":"function","name":"f"}]"#, vec![Need::Tools], None),
            (r#""input":"x","tools":[{"type":"web_search_preview"}]"#, vec![Need::Web], None),
            (
                r#""input":[{"role":"user","content":[{"type":"input_image","image_url":"data:image/png;base64,AAAA"}]}]"#,
                vec![Need::Vision],
                None,
            ),
            (
                r#""input":[{"type":"function_call_output","call_id":"c","output":[{"type":"input_image","image_url":"x"}]}]"#,
                vec![Need::Vision],
                None,
            ),
            (r#""input":"x","text":{"format":{"type":"json_schema"}}"#, vec![Need::Json], None),
            (
                r#""input":[{"type":"additional_tools","role":"developer","tools":[{"type":"custom","name":"exec"}]}]"#,
                vec![Need::Tools],
                None,
            ),
            (r#""input":"x","background":true"#, vec![], Some("background")),
            (r#""input":"x","conversation":"conv_1""#, vec![], Some("conversation")),
            (r#""prompt":{"id":"p"}"#, vec![], Some("prompt")),
            (r#""input":[{"type":"item_reference","id":"msg_1"}]"#, vec![], Some("item_reference")),
            (r#""input":[{"id":"msg_1"}]"#, vec![], Some("item_reference")),
            (r#""input":[{"type":"compaction","encrypted_content":"x"}]"#, vec![], Some("compaction")),
            (
                r#""input":"x","tools":[{"type":"file_search"}],"tool_choice":{"type":"file_search"}"#,
                vec![Need::Tools],
                Some("tool_choice"),
            ),
            (r#""input":"x","previous_response_id":"resp_1""#, vec![], None),
        ] {
            let asked = asked(fields);
            assert_eq!((asked.particulars.needs, asked.particulars.bound), (needs, bound), "{fields}");
        }
        assert!(asked(r#""input":"x","background":true"#).particulars.unstreamable);
        assert_eq!(asked(r#""input":"x","max_output_tokens":9"#).particulars.output_tokens_max, Some(9));
    }

    #[test]
    fn text_is_counted_and_base64_is_not() {
        let image = "A".repeat(10_000);
        let body = format!(
            r#""instructions":"0123456789","input":[{{"role":"user","content":[{{"type":"input_text","text":"0123456789"}},
            {{"type":"input_image","image_url":"data:image/png;base64,{image}"}}]}},{{"type":"function_call","call_id":"c","name":"f","arguments":"0123456789"}}]"#
        );
        assert_eq!(asked(&body).particulars.text_bytes, 36);
    }

    #[test]
    fn every_wrong_field_is_named() {
        for (fields, field) in [
            (r#""store":true"#, "input"),
            (r#""input":7"#, "input"),
            (r#""input":[7]"#, "input[0]"),
            (r#""input":[{"content":"x"}]"#, "input[0].type"),
            (r#""input":"x","instructions":["x"]"#, "instructions"),
            (r#""input":"x","tools":{}"#, "tools"),
            (r#""input":"x","tools":[7]"#, "tools[0]"),
            (r#""input":"x","max_output_tokens":"9""#, "max_output_tokens"),
            (r#""input":"x","background":"yes""#, "background"),
            (r#""input":"x","text":{"format":"json"}"#, "text"),
            (r#""input":"x","previous_response_id":7"#, "previous_response_id"),
            (r#""input":"x","include":"x""#, "include"),
        ] {
            let body = format!(r#"{{"model":"m",{fields}}}"#);
            let error = Asked::parse(Dialect::Responses, body.as_bytes()).expect_err(fields);
            assert_eq!(error.field.as_deref(), Some(field), "{fields}: {error}");
        }
    }
}
