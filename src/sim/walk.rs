//! A scripted walk through tools, written in the prompt itself.
//!
//! Owns the lines `@sim call NAME {json arguments}` and `@sim say TEXT`; a tool that
//! takes free text gets the rest of its line. Free text, said or given to a tool, is
//! what that says as a JSON string, where it is one: so it may have several lines. Refuses to know dialects. Invariant: the step taken depends on the prompt, the number
//! of turns with calls since it, and the tools on offer, hence an agent that
//! resends its history is led through the same calls.

use super::ask::Offered;

/// Calls in one prompt; later lines are not read.
const CALLS_MAX: usize = 1_000;

/// What a prompt's lines ask for, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Walk<'a> {
    calls: Vec<(&'a str, &'a str)>,
    say: Option<&'a str>,
}

/// What is done in one turn.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A call of this tool with exactly these arguments.
    Call(Offered, String),
    Say(String),
}

impl<'a> Walk<'a> {
    pub fn read(prompt: &'a str) -> Self {
        let mut walk = Self::default();
        for line in prompt.lines().map(str::trim) {
            if let Some(call) = line.strip_prefix("@sim call ").filter(|_| walk.calls.len() < CALLS_MAX) {
                let call = call.trim();
                let (name, arguments) = call.split_once(char::is_whitespace).unwrap_or((call, ""));
                walk.calls.push((name, arguments.trim()));
            } else if let Some(text) = line.strip_prefix("@sim say ") {
                walk.say = Some(text);
            }
        }
        walk
    }

    /// The step after `turns` turns with calls; `None` where the prompt asks for
    /// nothing, and where it asked for calls that are all made.
    pub fn step(&self, turns: usize, tools: &[Offered]) -> Option<Step> {
        let Some((name, arguments)) = self.calls.get(turns) else {
            return self.say.map(|text| Step::Say(free(text)));
        };
        let Some(tool) = tools.iter().find(|tool| tool.name == *name) else {
            return Some(Step::Say(format!("tool {name} was not offered")));
        };
        let arguments = if arguments.is_empty() && !tool.custom { "{}" } else { arguments };
        if tool.custom {
            return Some(Step::Call(tool.clone(), free(arguments)));
        }
        if serde_json::from_str::<serde_json::Map<_, _>>(arguments).is_ok() {
            Some(Step::Call(tool.clone(), arguments.to_owned()))
        } else {
            Some(Step::Say(format!("the arguments of tool {name} are no JSON object")))
        }
    }
}

/// The text of a JSON string, or the line as it is.
fn free(line: &str) -> String {
    serde_json::from_str(line).unwrap_or_else(|_| line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_turn_takes_the_next_line_and_then_speaks() {
        let prompt = "Do it.\n  @sim call look {\"a\": 1}\n@sim call raw one two\n@sim say done, all\n";
        let walk = Walk::read(prompt);
        let raw = Offered { custom: true, ..Offered::function("raw") };
        let tools = [Offered::function("look"), raw.clone()];
        assert_eq!(walk.step(0, &tools), Some(Step::Call(tools[0].clone(), "{\"a\": 1}".to_owned())));
        assert_eq!(walk.step(1, &tools), Some(Step::Call(raw, "one two".to_owned())));
        assert_eq!(walk.step(2, &tools), Some(Step::Say("done, all".to_owned())));
        assert_eq!(
            Walk::read("@sim call raw \"a\\nb\"").step(0, &tools),
            Some(Step::Call(tools[1].clone(), "a\nb".to_owned()))
        );
        let said = |line| Walk::read(line).step(0, &[]);
        assert_eq!(said("@sim say \"a\\nb\""), Some(Step::Say("a\nb".to_owned())));
        assert_eq!(said("@sim say \"a\" or b"), Some(Step::Say("\"a\" or b".to_owned())));
        assert_eq!(walk.step(0, &[]), Some(Step::Say("tool look was not offered".to_owned())));
    }

    #[test]
    fn a_prompt_without_lines_asks_for_nothing() {
        assert_eq!(Walk::read("mention @sim call x").step(0, &[]), None);
        assert_eq!(Walk::read("@sim call x").step(1, &[Offered::function("x")]), None);
    }
}
