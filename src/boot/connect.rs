//! `tautline connect`: points another program at the gateway.
//!
//! Owns what is said and done about it; names and places are `tools`', changes
//! `edit`'s, files `place`'s. Refuses to write anything without `--write`.
//! Invariant: no key is printed or written, ours or anybody's.

mod edit;
mod place;
mod tools;

use crate::boot::config::Loaded;
use crate::gateway::access::Access;
use crate::gateway::intake::model_names;
use crate::gateway::settings::{Auth, Dialect, Endpoint, Provider};
use anyhow::{Context as _, Result, bail};
use edit::{Format, To, edit};
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
pub use tools::Tool;
use tools::{Advice, Gateway, Homes, advice};

/// Where the gateway is when neither a flag nor a configuration says.
const DEFAULT_BASE_URL: &str = "http://127.0.0.1:4000";

/// What was asked for.
#[derive(Debug, clap::Args)]
pub struct Asked {
    /// The program.
    tool: Tool,
    /// Set it in the program's own settings file, after a backup beside it.
    #[arg(long)]
    write: bool,
    /// The gateway's URL, with or without /v1; else the configuration's first address.
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// The model that the program is to ask for; left out, its own choice stays.
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// The gateway passes this program's own login through, as auth = "client" does; a
    /// configuration that is found says so itself.
    #[arg(long)]
    keep_login: bool,
    #[arg(long)]
    json: bool,
}

impl Asked {
    /// Whether the gateway's place is given, so that no configuration is needed.
    #[must_use]
    pub const fn says_where(&self) -> bool {
        self.base_url.is_some()
    }
}

/// What `--write` did.
struct Written {
    changed: Vec<String>,
    backup: Option<PathBuf>,
}

/// Says what the program has to be told, and tells it with `--write`.
///
/// # Errors
/// When the URL is none, there is no home, or the file cannot be changed without
/// harm; then it stands as it was.
pub fn connect(loaded: Option<&Loaded>, asked: &Asked) -> Result<ExitCode> {
    let gateway = gateway(loaded, asked)?;
    let model = asked.model.as_deref();
    if model.is_some_and(|model| model.is_empty() || model.chars().any(char::is_control)) {
        bail!("--model: this is no name of a model");
    }
    let mut advice = advice(asked.tool, &gateway, &homes()?, model);
    if let Some((path, _)) = &mut advice.file {
        let commented = path.with_extension("jsonc");
        if asked.tool == Tool::Opencode && !path.exists() && commented.exists() {
            *path = commented;
        }
    }
    let written = match (&advice.file, asked.write) {
        (Some((path, format)), true) => Some(write(path, *format, &advice)?),
        (None, true) => {
            say(asked, &gateway, &advice, None);
            bail!("there is no settings file to write: put these lines into your shell's profile");
        }
        (_, false) => None,
    };
    if asked.json {
        println!("{}", serde_json::to_string_pretty(&report(asked, &gateway, &advice, written.as_ref()))?);
    } else {
        say(asked, &gateway, &advice, written.as_ref());
    }
    Ok(ExitCode::SUCCESS)
}

fn gateway(loaded: Option<&Loaded>, asked: &Asked) -> Result<Gateway> {
    let url = match (&asked.base_url, loaded) {
        (Some(url), _) => url.clone(),
        (None, Some(loaded)) => listening(loaded)?,
        (None, None) => DEFAULT_BASE_URL.to_owned(),
    };
    let endpoint = Endpoint::parse(&url).map_err(|problem| anyhow::anyhow!("--base-url: {problem}"))?;
    let scheme = if endpoint.tls { "https" } else { "http" };
    let path = endpoint.path.strip_suffix("/v1").unwrap_or(&endpoint.path);
    let settings = loaded.map(|loaded| &loaded.gateway);
    let forwards = |wanted: &dyn Fn(&Provider) -> bool| {
        let mut providers = settings.into_iter().flat_map(|settings| settings.providers.values());
        asked.keep_login || providers.any(|provider| matches!(provider.auth, Auth::Client) && wanted(provider))
    };
    Ok(Gateway {
        root: format!("{scheme}://{}{path}", endpoint.authority()),
        needs_key: match settings.map(|settings| &settings.access) {
            Some(Access::Nobody) => false,
            Some(Access::Key(_)) => true,
            Some(Access::Unsaid) | None => !endpoint.is_loopback(),
        },
        forwards_anthropic: forwards(&|provider| provider.dialect == Dialect::Anthropic),
        forwards_openai: forwards(&|provider| provider.dialect == Dialect::OpenAi),
        models: settings.map(|settings| model_names(settings)).unwrap_or_default(),
    })
}

/// The first address of the door, as a client on this machine reaches it.
fn listening(loaded: &Loaded) -> Result<String> {
    let settings = &loaded.gateway;
    let fix = "say where it is with --base-url";
    let mut addr =
        *settings.listen.first().with_context(|| format!("the gateway listens on no address with a port; {fix}"))?;
    if addr.port() == 0 {
        bail!("the gateway's port is not fixed in the configuration; {fix}");
    }
    if addr.ip().is_unspecified() {
        addr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), addr.port());
    }
    Ok(format!("{}://{addr}", if settings.tls.is_some() { "https" } else { "http" }))
}

fn homes() -> Result<Homes> {
    let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    Ok(Homes {
        home: path("HOME").context("HOME is not set, below which the settings of programs are")?,
        claude: path("CLAUDE_CONFIG_DIR"),
        codex: path("CODEX_HOME"),
        xdg: path("XDG_CONFIG_HOME"),
        opencode: path("OPENCODE_CONFIG"),
    })
}

fn write(path: &Path, format: Format, advice: &Advice) -> Result<Written> {
    let before = place::read(path)?;
    let (text, changed) = edit(format, &before, &advice.changes)
        .with_context(|| format!("failed to change {}; put the settings in by hand", path.display()))?;
    let backup = if changed.is_empty() { None } else { place::replace(path, &text)? };
    Ok(Written { changed, backup })
}

fn say(asked: &Asked, gateway: &Gateway, advice: &Advice, written: Option<&Written>) {
    let tool = clap::ValueEnum::to_possible_value(&asked.tool).expect("no tool is hidden");
    println!("{} → {}", tool.get_name(), gateway.root);
    match (&advice.file, written) {
        (Some((path, _)), Some(Written { changed, .. })) if changed.is_empty() => {
            println!("  {}: nothing to be done, it says so already", path.display());
        }
        (Some((path, _)), Some(Written { changed, backup })) => {
            println!("  wrote {}: {}", path.display(), changed.join(", "));
            match backup {
                Some(backup) => println!("  its former text is kept in {}", backup.display()),
                None => println!("  there was none before"),
            }
        }
        (Some((path, format)), None) => {
            println!("  in {}:", path.display());
            // As the file would say it if it said nothing else.
            let (text, _) = edit(*format, "", &advice.changes).expect("ours fit into an empty file");
            for line in text.lines() {
                println!("    {line}");
            }
            let defaults = advice.changes.iter().filter(|change| matches!(change.to, To::Default(_)));
            let defaults: Vec<String> = defaults.map(edit::Change::name).collect();
            if !defaults.is_empty() {
                println!("  of these, what is set already stays: {}", defaults.join(", "));
            }
        }
        (None, _) => {}
    }
    if !advice.environment.is_empty() {
        println!("  in the environment:");
    }
    for (name, value) in &advice.environment {
        println!("    export {name}=\"{value}\"");
    }
    println!("  key:   {}", advice.key);
    println!("  login: {}", advice.login);
    if advice.file.is_some() && written.is_none() {
        println!("  `tautline connect {} --write` sets it", tool.get_name());
    }
}

fn report(asked: &Asked, gateway: &Gateway, advice: &Advice, written: Option<&Written>) -> serde_json::Value {
    let tool = clap::ValueEnum::to_possible_value(&asked.tool).expect("no tool is hidden");
    let settings: Vec<_> = advice
        .changes
        .iter()
        .filter_map(|change| match &change.to {
            To::Put(value) => Some(json!({"path": change.path, "value": value, "unless_set": false})),
            To::Default(value) => Some(json!({"path": change.path, "value": value, "unless_set": true})),
            To::Drop(_) | To::Free(..) => None,
        })
        .collect();
    let environment: serde_json::Map<_, _> =
        advice.environment.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();
    json!({
        "tool": tool.get_name(),
        "base_url": gateway.root,
        "file": advice.file.as_ref().map(|(path, _)| path),
        "settings": settings,
        "environment": environment,
        "needs_key": gateway.needs_key,
        "key": advice.key,
        "login": advice.login,
        "written": written.map(|written| json!({"changed": written.changed, "backup": written.backup})),
    })
}
