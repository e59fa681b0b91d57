//! Reads the configuration and reports all its faults at once.
//!
//! Owns files, environment overrides, secret references and unknown keys.
//! Refuses to judge a section (each role's `settings` does). Invariant: a
//! configuration that is returned has no fault.

mod keys;
mod otlp;
pub(super) mod secrets;

use crate::gateway::record::Lines;
use crate::gateway::settings::{Fault, Outside, RawDeadlines, RawGateway, RawSettings, Settings};
use crate::serve::Certificate;
use crate::telemetry::otlp::OtlpSettings;
use crate::telemetry::{LogFormat, check_filter};
pub use keys::all_keys;
use keys::{known_keys, section};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file that is read when none is named.
pub const DEFAULT_FILE: &str = "tautline.toml";

/// A checked configuration of the whole process.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The file's path, or what stood in for one.
    pub source: String,
    /// The file, if it was one; a reload reads it again.
    pub file: Option<PathBuf>,
    pub state_dir: PathBuf,
    pub gateway: Arc<Settings>,
    /// Of `gateway.tls`.
    pub certificate: Option<Certificate>,
    pub admin_listen: SocketAddr,
    pub log: LogSettings,
    /// `None`: nothing is exported.
    pub otlp: Option<OtlpSettings>,
}

/// `[log]`
#[derive(Debug, Clone)]
pub struct LogSettings {
    pub format: LogFormat,
    pub filter: String,
    /// A line on stdout for each exchange.
    pub exchanges: Lines,
}

/// Everything that is wrong with a configuration.
#[derive(Debug)]
pub struct Faults {
    pub source: String,
    pub faults: Vec<Fault>,
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.faults {
            let place = overridden_by(&fault.key).unwrap_or_else(|| self.source.clone());
            writeln!(f, "{place}: {}: {}\n    fix: {}", fault.key, fault.problem, fault.fix)?;
        }
        let count = self.faults.len();
        write!(f, "{count} fault{} in {}", if count == 1 { "" } else { "s" }, self.source)
    }
}

impl std::error::Error for Faults {}

/// The environment variable that sets this key, if one does.
fn overridden_by(key: &str) -> Option<String> {
    let name = format!("TAUTLINE__{}", key.to_ascii_uppercase().replace('.', "__"));
    std::env::var_os(&name).map(|_| format!("environment variable {name}"))
}

/// Reads a file, with overrides from the environment.
///
/// # Errors
/// Every fault, each with key and fix.
pub fn load(path: &Path) -> Result<Loaded, Faults> {
    let source = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| Faults {
        source: source.clone(),
        faults: vec![Fault::new("file", format!("cannot be read: {error}"), "name a file with --config")],
    })?;
    let mut loaded = parse(&source, &text)?;
    // Found again wherever the process has gone meanwhile.
    loaded.file = Some(path.canonicalize().unwrap_or_else(|_| path.to_owned()));
    Ok(loaded)
}

/// Reads a configuration from text, with overrides from the environment.
///
/// # Errors
/// Every fault, each with key and fix.
pub fn parse(source: &str, text: &str) -> Result<Loaded, Faults> {
    let failed = |faults| Faults { source: source.to_owned(), faults };
    let tree = tree(text).map_err(|problem| failed(vec![Fault::new("syntax", problem, "mend the line it names")]))?;
    let mut faults = Vec::new();
    let raw = raw_settings(&tree, &mut faults);
    let admin: RawAdmin = section(&tree, "admin", &mut faults);
    let log: RawLog = section(&tree, "log", &mut faults);
    let otlp: otlp::RawOtlp = section(&tree, "otlp", &mut faults);
    let admin_listen = admin_listen(&admin, &mut faults);
    let log = log_settings(&log, &mut faults);
    let otlp = otlp::check(&otlp, &mut faults);
    let state_dir = match tree.get("state_dir") {
        None => PathBuf::from("tautline-state"),
        Some(Value::String(path)) if !path.is_empty() => PathBuf::from(path),
        Some(_) => {
            faults.push(Fault::new("state_dir", "is no path", "write state_dir = \"tautline-state\""));
            PathBuf::new()
        }
    };
    let gateway = Settings::check(&raw, &Outside { resolve: &secrets::resolve, read: &|path| std::fs::read(path) })
        .map_err(|more| faults.extend(more))
        .ok();
    let certificate = gateway.as_ref().and_then(|gateway| certificate(gateway, &mut faults));
    if admin_listen.port() != 0 && gateway.as_ref().is_some_and(|gateway| gateway.listen.contains(&admin_listen)) {
        let problem = format!("{admin_listen} is an address of the gateway, too");
        faults.push(Fault::new("admin.listen", problem, "choose another port"));
    }
    match gateway {
        Some(gateway) if faults.is_empty() => Ok(Loaded {
            source: source.to_owned(),
            file: None,
            state_dir,
            gateway: Arc::new(gateway),
            certificate,
            admin_listen,
            log,
            otlp,
        }),
        _ => Err(failed(faults)),
    }
}

fn certificate(settings: &Settings, faults: &mut Vec<Fault>) -> Option<Certificate> {
    let (certificate, key) = settings.tls.as_ref()?;
    Certificate::read(certificate, key)
        .map_err(|error| {
            let fix = "name PEM files: a chain that begins with its own certificate, and its key";
            faults.push(Fault::new("gateway.tls", error.to_string(), fix));
        })
        .ok()
}

/// The file with the environment's scalar overrides in it.
fn tree(text: &str) -> Result<Map<String, Value>, String> {
    let environment =
        config::Environment::with_prefix("TAUTLINE").prefix_separator("__").separator("__").try_parsing(true);
    let built = config::Config::builder()
        .add_source(config::File::from_str(text, config::FileFormat::Toml))
        .add_source(environment)
        .build();
    let config = built.map_err(|error| error.to_string())?;
    match config.try_deserialize::<Value>().map_err(|error| error.to_string())? {
        Value::Object(tree) => Ok(tree),
        _ => Ok(Map::new()),
    }
}

fn raw_settings(tree: &Map<String, Value>, faults: &mut Vec<Fault>) -> RawSettings {
    known_keys(tree, faults);
    let gateway: RawGateway = section(tree, "gateway", faults);
    let deadlines: RawDeadlines = section(tree, "deadlines", faults);
    RawSettings {
        gateway,
        deadlines,
        providers: keys::entries(tree, "providers", faults),
        targets: keys::entries(tree, "targets", faults),
        tasks: keys::entries(tree, "tasks", faults),
        routes: keys::entries(tree, "routes", faults),
        models: keys::entries(tree, "models", faults),
        passthrough: keys::entries(tree, "passthrough", faults),
    }
}

/// `[admin]`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawAdmin {
    listen: Option<String>,
}

/// `[log]`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawLog {
    format: Option<String>,
    filter: Option<String>,
    exchanges: Option<String>,
}

fn admin_listen(raw: &RawAdmin, faults: &mut Vec<Fault>) -> SocketAddr {
    let default = SocketAddr::from(([127, 0, 0, 1], 4001));
    let Some(text) = &raw.listen else { return default };
    match text.parse::<SocketAddr>() {
        Ok(addr) => return addr,
        Err(_) => faults.push(Fault::new(
            "admin.listen",
            format!("\"{text}\" is no address with a port"),
            "write it as \"127.0.0.1:4001\"",
        )),
    }
    default
}

fn log_settings(raw: &RawLog, faults: &mut Vec<Fault>) -> LogSettings {
    let mut unknown = |key: &str, value: &str, fix: &str| {
        faults.push(Fault::new(key, format!("\"{value}\" is not known"), fix));
    };
    let format = match raw.format.as_deref() {
        None | Some("text") => LogFormat::Text,
        Some("json") => LogFormat::Json,
        Some(other) => {
            unknown("log.format", other, "write \"text\" or \"json\"");
            LogFormat::Text
        }
    };
    let exchanges = match raw.exchanges.as_deref() {
        None | Some("json") => Lines::Json,
        Some("text") => Lines::Text,
        Some("off") => Lines::Off,
        Some(other) => {
            unknown("log.exchanges", other, "write \"json\", \"text\" or \"off\"");
            Lines::Off
        }
    };
    let filter = raw.filter.clone().unwrap_or_else(|| "info".to_owned());
    if let Err(problem) = check_filter(&filter) {
        faults.push(Fault::new("log.filter", problem, "write it as \"info\" or \"info,tautline::attempt=debug\""));
    }
    LogSettings { format, filter, exchanges }
}
