//! What each tool has to be told, as its own documentation names it.
//!
//! Owns names and places of other programs' settings. Refuses to read or write
//! any. Invariant: no key is ever put into a file: where one is needed, the tool
//! takes it from the environment, as `TAUTLINE_KEY`.

use super::edit::{Change, Format, To};
use serde_json::{Value, json};
use std::path::PathBuf;

/// A program that can be pointed at the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Tool {
    /// Claude Code.
    Claude,
    /// OpenAI's Codex.
    Codex,
    /// opencode.
    Opencode,
    /// aider.
    Aider,
    /// OpenAI's packages for Python and JavaScript, and what is built on them.
    Openai,
}

/// What a tool has to know of the gateway.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// Without `/v1` and a slash behind.
    pub root: String,
    /// Its door asks for a key of ours.
    pub needs_key: bool,
    /// It passes callers' own logins through to Anthropic.
    pub forwards_anthropic: bool,
    /// It passes callers' own logins through to OpenAI.
    pub forwards_openai: bool,
    /// Names that it serves, as its routes have them.
    pub models: Vec<String>,
}

/// Where settings live, as the environment says.
#[derive(Debug, Default)]
pub struct Homes {
    pub home: PathBuf,
    /// `CLAUDE_CONFIG_DIR`
    pub claude: Option<PathBuf>,
    /// `CODEX_HOME`
    pub codex: Option<PathBuf>,
    /// `XDG_CONFIG_HOME`
    pub xdg: Option<PathBuf>,
    /// `OPENCODE_CONFIG`: a file.
    pub opencode: Option<PathBuf>,
}

/// What to do for one tool.
#[derive(Debug)]
pub struct Advice {
    /// The tool's settings file; `None`: it has none.
    pub file: Option<(PathBuf, Format)>,
    pub changes: Vec<Change>,
    /// Variables to be exported, with values as a shell takes them.
    pub environment: Vec<(&'static str, String)>,
    /// How our key goes.
    pub key: &'static str,
    /// What becomes of the user's own login.
    pub login: &'static str,
}

/// What stands for a key where a tool insists on one and the gateway does not.
const PLACEHOLDER: &str = "tautline";
/// Claude Code runs it for a key; so none stands in its file.
const HELPER: &str = "printenv TAUTLINE_KEY";
/// Models that are written into a list of a tool's.
const MODELS_MAX: usize = 64;

const NO_KEY: &str = "none is needed";
const KEY_IN_ENVIRONMENT: &str = "export it as TAUTLINE_KEY; it is taken from there, and stands in no file";
const NOT_FORWARDED: &str = "stays where it is and is not used: the gateway has keys of its own, and drops a caller's";

/// What `tool` has to be told; `model`: what it is to ask for.
#[must_use]
pub fn advice(tool: Tool, gateway: &Gateway, homes: &Homes, model: Option<&str>) -> Advice {
    match tool {
        Tool::Claude => claude(gateway, homes, model),
        Tool::Codex => codex(gateway, homes, model),
        Tool::Opencode => opencode(gateway, homes, model),
        Tool::Aider => aider(gateway, homes, model),
        Tool::Openai => openai(gateway),
    }
}

fn put(path: &str, value: impl Into<Value>) -> Change {
    Change::at(path, To::Put(value.into()))
}

fn drop_if(path: &str, value: &str) -> Change {
    Change::at(path, To::Drop(Some(value.into())))
}

/// code.claude.com/docs, "LLM gateway" and "Settings": `ANTHROPIC_BASE_URL`
/// without `/v1`, in `env` of the user's settings.json; `apiKeyHelper` prints a
/// key; `ANTHROPIC_CUSTOM_HEADERS` holds lines of `Name: Value`. A login goes
/// along where neither `ANTHROPIC_AUTH_TOKEN` nor a helper stands before it.
fn claude(gateway: &Gateway, homes: &Homes, model: Option<&str>) -> Advice {
    let folder = homes.claude.clone().unwrap_or_else(|| homes.home.join(".claude"));
    let (token, helper) = ("env.ANTHROPIC_AUTH_TOKEN", "apiKeyHelper");
    let mut changes = vec![put("env.ANTHROPIC_BASE_URL", gateway.root.as_str())];
    let mut environment = Vec::new();
    let (key, login) = match (gateway.forwards_anthropic, gateway.needs_key) {
        (true, needs_key) => {
            changes.extend([drop_if(token, PLACEHOLDER), drop_if(helper, HELPER)]);
            if needs_key {
                environment.push(("ANTHROPIC_CUSTOM_HEADERS", "x-tautline-key: $TAUTLINE_KEY".to_owned()));
            }
            let login = "is kept: `claude` goes on with its login or ANTHROPIC_API_KEY, which goes through to Anthropic and to nobody else";
            (if needs_key { KEY_IN_ENVIRONMENT } else { NO_KEY }, login)
        }
        (false, true) => {
            let own = "Claude Code sends it before the gateway's key; take it out";
            changes.extend([Change::at(token, To::Free(PLACEHOLDER.into(), own)), put(helper, HELPER)]);
            (KEY_IN_ENVIRONMENT, NOT_FORWARDED)
        }
        (false, false) => {
            changes.push(Change::at(token, To::Default(PLACEHOLDER.into())));
            changes.push(drop_if(helper, HELPER));
            (NO_KEY, NOT_FORWARDED)
        }
    };
    changes.extend(model.map(|model| put("model", model)));
    Advice { file: Some((folder.join("settings.json"), Format::Json)), changes, environment, key, login }
}

/// developers.openai.com/codex, "Configuration reference": `model_providers`
/// with `base_url`, `wire_api` (only "responses" is left), `env_key`,
/// `env_http_headers`, `requires_openai_auth`. `supports_websockets` keeps it
/// from asking for an upgrade that the gateway does not have.
fn codex(gateway: &Gateway, homes: &Homes, model: Option<&str>) -> Advice {
    let folder = homes.codex.clone().unwrap_or_else(|| homes.home.join(".codex"));
    let own = |key: &str| format!("model_providers.tautline.{key}");
    let when = |key: &str, value: Option<Value>| Change::at(&own(key), value.map_or(To::Drop(None), To::Put));
    let (forwards, needs_key) = (gateway.forwards_openai, gateway.needs_key);
    let header = if forwards && needs_key { To::Put("TAUTLINE_KEY".into()) } else { To::Drop(None) };
    let mut changes = vec![
        put("model_provider", "tautline"),
        put(&own("name"), "Tautline"),
        put(&own("base_url"), format!("{}/v1", gateway.root)),
        put(&own("wire_api"), "responses"),
        put(&own("supports_websockets"), false),
        when("requires_openai_auth", forwards.then(|| true.into())),
        when("env_key", (!forwards && needs_key).then(|| "TAUTLINE_KEY".into())),
        Change::below(&own("env_http_headers"), "x-tautline-key", header),
    ];
    changes.extend(model.map(|model| put("model", model)));
    Advice {
        file: Some((folder.join("config.toml"), Format::Toml)),
        changes,
        environment: Vec::new(),
        key: if needs_key { KEY_IN_ENVIRONMENT } else { NO_KEY },
        login: if forwards {
            "is kept: `codex login` stays as it is and goes through to OpenAI and to nobody else"
        } else {
            NOT_FORWARDED
        },
    }
}

/// opencode.ai/docs, "Providers" and "Config": a provider of one's own with the
/// package `@ai-sdk/openai-compatible`, `options.baseURL` and its models; `{env:NAME}`
/// stands for a variable.
fn opencode(gateway: &Gateway, homes: &Homes, model: Option<&str>) -> Advice {
    let folder = homes.xdg.clone().unwrap_or_else(|| homes.home.join(".config")).join("opencode");
    let file = homes.opencode.clone().unwrap_or_else(|| folder.join("opencode.json"));
    let key = "{env:TAUTLINE_KEY}";
    let own = "provider.tautline";
    let named: Vec<&str> = match model {
        Some(model) => vec![model],
        None if gateway.models.is_empty() => vec!["auto"],
        None => gateway.models.iter().take(MODELS_MAX).map(String::as_str).collect(),
    };
    let mut changes = vec![
        Change::at("$schema", To::Default("https://opencode.ai/config.json".into())),
        put(&format!("{own}.npm"), "@ai-sdk/openai-compatible"),
        put(&format!("{own}.name"), "Tautline"),
        put(&format!("{own}.options.baseURL"), format!("{}/v1", gateway.root)),
        Change::at(
            &format!("{own}.options.apiKey"),
            if gateway.needs_key { To::Put(key.into()) } else { To::Drop(Some(key.into())) },
        ),
    ];
    let models = format!("{own}.models");
    changes.extend(named.iter().map(|name| Change::below(&models, name, To::Default(json!({ "name": name })))));
    let chosen = format!("tautline/{}", named[0]);
    changes
        .push(Change::at("model", if model.is_some() { To::Put(chosen.into()) } else { To::Default(chosen.into()) }));
    Advice {
        file: Some((file, Format::Json)),
        changes,
        environment: Vec::new(),
        key: if gateway.needs_key { KEY_IN_ENVIRONMENT } else { NO_KEY },
        login: "is kept: logins belong to opencode's other providers, which stay beside this one",
    }
}

/// aider.chat/docs, "OpenAI compatible APIs" and "YAML config file".
fn aider(gateway: &Gateway, homes: &Homes, model: Option<&str>) -> Advice {
    let named = model.or(gateway.models.first().map(String::as_str)).unwrap_or("auto");
    let chosen: Value = format!("openai/{named}").into();
    let placeholder = drop_if("openai-api-key", PLACEHOLDER);
    let mut changes = vec![
        put("openai-api-base", format!("{}/v1", gateway.root)),
        Change::at("model", if model.is_some() { To::Put(chosen) } else { To::Default(chosen) }),
    ];
    let mut environment = Vec::new();
    let (key, login) = match (gateway.needs_key, gateway.forwards_openai) {
        (true, _) => {
            changes.push(placeholder);
            environment.push(("OPENAI_API_KEY", "$TAUTLINE_KEY".to_owned()));
            (KEY_IN_ENVIRONMENT, "an OPENAI_API_KEY of yours makes room for our key: aider sends one credential")
        }
        (false, true) => {
            changes.push(placeholder);
            (NO_KEY, "is kept: your OPENAI_API_KEY goes through to OpenAI and to nobody else")
        }
        (false, false) => {
            changes.push(Change::at("openai-api-key", To::Default(PLACEHOLDER.into())));
            (NO_KEY, NOT_FORWARDED)
        }
    };
    let file = homes.home.join(".aider.conf.yml");
    Advice { file: Some((file, Format::Yaml)), changes, environment, key, login }
}

/// The READMEs of openai-python and openai-node: `OPENAI_BASE_URL` and
/// `OPENAI_API_KEY`; there is no file.
fn openai(gateway: &Gateway) -> Advice {
    let mut environment = vec![("OPENAI_BASE_URL", format!("{}/v1", gateway.root))];
    let (key, login) = match (gateway.needs_key, gateway.forwards_openai) {
        (true, true) => (
            "send it as the header x-tautline-key, by `default_headers` (Python) or `defaultHeaders` (JavaScript) of the client",
            "is kept: your OPENAI_API_KEY goes through to OpenAI and to nobody else",
        ),
        (true, false) => {
            environment.push(("OPENAI_API_KEY", "$TAUTLINE_KEY".to_owned()));
            (KEY_IN_ENVIRONMENT, NOT_FORWARDED)
        }
        (false, true) => (NO_KEY, "is kept: your OPENAI_API_KEY goes through to OpenAI and to nobody else"),
        (false, false) => {
            environment.push(("OPENAI_API_KEY", PLACEHOLDER.to_owned()));
            (NO_KEY, NOT_FORWARDED)
        }
    };
    Advice { file: None, changes: Vec::new(), environment, key, login }
}
