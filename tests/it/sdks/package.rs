//! A package, what it can be asked to do, and the configuration that it is asked over.

use crate::support::{Language, Tongue, lines};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub const PROMPT: &str = "why do ropes go slack?";

/// A package of a vendor in one language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Package {
    OpenaiPython,
    OpenaiNode,
    AnthropicPython,
    AnthropicNode,
}

/// What each case of a run told, by its name.
pub type Told = BTreeMap<String, Value>;

impl Package {
    /// Its script, ready to run; `None` after saying why not.
    pub fn command(self, test: &str) -> Option<tokio::process::Command> {
        match self {
            Self::OpenaiPython => Language::Python.script(test, "sdk_openai.py"),
            Self::OpenaiNode => Language::Node.script(test, "sdk_openai.cjs"),
            Self::AnthropicPython => Language::Python.script(test, "sdk_anthropic.py"),
            Self::AnthropicNode => Language::Node.script(test, "sdk_anthropic.cjs"),
        }
    }

    pub const fn is_openai(self) -> bool {
        matches!(self, Self::OpenaiPython | Self::OpenaiNode)
    }

    /// The dialects that it speaks.
    pub const fn doors(self) -> &'static [Tongue] {
        if self.is_openai() { &[Tongue::Chat, Tongue::Responses] } else { &[Tongue::Messages] }
    }
}

/// What a case is asked to do: by which action, of which model, over which address.
#[derive(Debug, Clone)]
pub struct Case(pub Value);

impl Case {
    pub fn new(at: &str, action: &str, model: &str) -> Self {
        let name = format!("{action} {model}");
        Self(json!({"name": name, "do": action, "at": at, "model": model, "models": [model], "prompt": PROMPT}))
    }

    pub fn with(mut self, key: &str, value: Value) -> Self {
        self.0[key] = value;
        self
    }

    pub fn name(&self) -> &str {
        self.0["name"].as_str().expect("a name")
    }
}

/// Runs cases in one process of the package.
pub async fn run(command: tokio::process::Command, cases: &[Case]) -> Told {
    let names: std::collections::BTreeSet<&str> = cases.iter().map(Case::name).collect();
    assert_eq!(names.len(), cases.len(), "each case has a name of its own");
    let input: Value = cases.iter().map(|case| case.0.clone()).collect();
    let told = lines(command, &input.to_string()).await.into_iter();
    let told: Told = told.map(|told| (told["name"].as_str().expect("a name").to_owned(), told)).collect();
    assert_eq!(told.len(), cases.len(), "each case tells something");
    told
}

/// A target on the provider that speaks this dialect alone.
pub fn target(name: &str, tongue: Tongue, script: &str, more: &str) -> String {
    let provider = tongue.provider();
    format!("[targets.{name}]\nprovider = \"{provider}\"\nmodel = \"sim?{script}\"\nmax_output_tokens = 4000\n{more}\n")
}

pub fn route(name: &str, targets: &[&str]) -> String {
    format!("[routes.{name}]\ntargets = {targets:?}\n")
}

/// A target and a route of the same name.
pub fn lone(name: &str, tongue: Tongue, script: &str, more: &str) -> String {
    target(name, tongue, script, more) + &route(name, &[name])
}

/// The dialect's name in the names of targets and routes.
pub const fn short(tongue: Tongue) -> &'static str {
    match tongue {
        Tongue::Chat => "chat",
        Tongue::Messages => "messages",
        Tongue::Responses => "responses",
    }
}
