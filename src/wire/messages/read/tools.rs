//! Tools and how they are to be used.

use crate::wire::canon::{Cache, Conversation, Json, Tool, ToolChoice, WebSearch};
use crate::wire::dialect::Dialect;
use crate::wire::messages::object::{Losses, Object, Path, list, wrong};
use crate::wire::request::Invalid;
use serde_json::value::RawValue;

pub(super) fn tools(raw: &RawValue, path: &Path<'_>, losses: &mut Losses) -> Result<Vec<Tool>, Invalid> {
    let read = |(index, raw)| tool(raw, &Path::Index(path, index), losses);
    list(raw, path, "a list of objects")?.into_iter().enumerate().map(read).collect()
}

fn tool(raw: &RawValue, path: &Path<'_>, losses: &mut Losses) -> Result<Tool, Invalid> {
    let mut object = Object::read(raw, path)?;
    let kind = object.text("type", path)?.unwrap_or_else(|| "custom".to_owned());
    let name = object.text("name", path)?;
    let tool = match kind.as_str() {
        "custom" => function(&mut object, name, path)?,
        _ if kind.starts_with("web_search_") => web_search(&mut object, raw, path)?,
        _ => return Ok(Tool::Native { dialect: Dialect::Messages, kind, name, json: Json::from(raw.to_owned()) }),
    };
    object.name_rest(path, losses);
    Ok(tool)
}

fn function(object: &mut Object<'_>, name: Option<String>, path: &Path<'_>) -> Result<Tool, Invalid> {
    let name = name.ok_or_else(|| wrong(&Path::Key(path, "name"), "a string"))?;
    let cache = cache(object, path)?;
    // How its input is streamed is no one's business but the target's.
    object.take("eager_input_streaming");
    Ok(Tool::Function {
        name,
        description: object.text("description", path)?,
        parameters: object.take("input_schema").map(|raw| Json::from(raw.to_owned())),
        strict: object.typed("strict", path, "true or false")?,
        cache,
    })
}

fn web_search(object: &mut Object<'_>, raw: &RawValue, path: &Path<'_>) -> Result<Tool, Invalid> {
    let domains = "a list of strings";
    let search = WebSearch {
        max_uses: object.typed("max_uses", path, "a whole number")?,
        allowed_domains: object.typed("allowed_domains", path, domains)?.unwrap_or_default(),
        blocked_domains: object.typed("blocked_domains", path, domains)?.unwrap_or_default(),
        user_location: object.take("user_location").map(|raw| Json::from(raw.to_owned())),
        context_size: None,
        native: Some((Dialect::Messages, Json::from(raw.to_owned()))),
    };
    cache(object, path)?;
    Ok(Tool::WebSearch(search))
}

fn cache(object: &mut Object<'_>, path: &Path<'_>) -> Result<Option<Cache>, Invalid> {
    let Some(raw) = object.take("cache_control") else { return Ok(None) };
    let path = Path::Key(path, "cache_control");
    let mut object = Object::read(raw, &path)?;
    Ok(Some(Cache { ttl: object.text("ttl", &path)? }))
}

pub(super) fn choice(
    raw: &RawValue,
    path: &Path<'_>,
    conversation: &mut Conversation,
    losses: &mut Losses,
) -> Result<(), Invalid> {
    let mut object = Object::read(raw, path)?;
    let choice = match object.text("type", path)?.as_deref() {
        Some("auto") => ToolChoice::Auto,
        Some("any") => ToolChoice::Required,
        Some("none") => ToolChoice::None,
        Some("tool") => {
            let name = object.text("name", path)?.ok_or_else(|| wrong(&Path::Key(path, "name"), "a string"))?;
            ToolChoice::Named(name)
        }
        _ => return Err(wrong(&Path::Key(path, "type"), "`auto`, `any`, `tool` or `none`")),
    };
    conversation.tool_choice = Some(choice);
    let single: Option<bool> = object.typed("disable_parallel_tool_use", path, "true or false")?;
    conversation.parallel_calls = single.map(|single| !single);
    object.name_rest(path, losses);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use super::*;

    #[test]
    fn tools_and_their_choice_are_read() {
        let (conversation, losses) = read(
            r#"{"messages":[],"tools":[
                {"name":"f","description":"d","input_schema":{"type":"object"},"strict":true,"cache_control":{"type":"ephemeral"},"input_examples":[{}]},
                {"type":"web_search_20250305","name":"web_search","max_uses":3,"allowed_domains":["a"],"user_location":{"type":"approximate","city":"x"}},
                {"type":"bash_20250124","name":"bash"}],
               "tool_choice":{"type":"tool","name":"f","disable_parallel_tool_use":true}}"#,
        )
        .expect("a request");
        assert_eq!(conversation.tool_choice, Some(ToolChoice::Named("f".into())));
        assert_eq!(conversation.parallel_calls, Some(false));
        assert_eq!(
            conversation.tools[0],
            Tool::Function {
                name: "f".into(),
                description: Some("d".into()),
                parameters: Json::parse(r#"{"type":"object"}"#.into()),
                strict: Some(true),
                cache: Some(Cache { ttl: None })
            }
        );
        let Tool::WebSearch(search) = &conversation.tools[1] else { panic!("{:?}", conversation.tools[1]) };
        assert_eq!((search.max_uses, search.allowed_domains.len()), (Some(3), 1));
        assert!(
            matches!(&conversation.tools[2], Tool::Native { kind, name: Some(name), .. } if kind == "bash_20250124" && name == "bash")
        );
        assert_eq!(losses.iter().map(ToString::to_string).collect::<Vec<_>>(), ["dropped tools[0].input_examples"]);
    }
}
