//! From what the file says to what the gateway runs on.

use super::limits::{Bounds, Deadlines};
use super::raw::{RawGateway, RawModel, RawPrice, RawProvider, RawRoute, RawSettings, RawTarget};
use super::reach::{Outside, Reach, SOCKET_PATH_MAX, reach};
use super::{Fault, Key, Resolved, built_in, nearest};
use crate::domain::ids::{ProviderName, RouteName, TargetName};
use crate::domain::secret::Secret;
use crate::domain::task::Task;
use crate::domain::usage::Price;
use crate::gateway::access::{Access, KeyHash};
use crate::gateway::forwarded::TrustedProxies;
use crate::wire::request::Need;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// A checked snapshot. Exchanges keep the one they began with.
#[derive(Debug)]
pub struct Settings {
    pub listen: Vec<SocketAddr>,
    /// HTTP/2 without TLS, by prior knowledge.
    pub listen_h2c: Vec<SocketAddr>,
    /// Unix sockets: HTTP/1.1 without TLS.
    pub listen_unix: Vec<PathBuf>,
    /// PEM files of certificate chain and key; without them the door speaks plain HTTP.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Who may come in.
    pub access: Access,
    /// Host names, besides loopback ones, that `Host` and `Origin` may carry.
    pub allowed_hosts: Vec<String>,
    /// Whose word about a client's address counts.
    pub trusted_proxies: TrustedProxies,
    pub bounds: Bounds,
    pub providers: BTreeMap<String, Arc<Provider>>,
    pub targets: BTreeMap<String, Arc<Target>>,
    pub tasks: BTreeMap<String, TaskSettings>,
    pub routes: BTreeMap<String, Route>,
    pub deadlines: Deadlines,
    /// `[models]`: windows and prices of names that are passed through.
    pub models: BTreeMap<String, (Option<u64>, Option<Price>)>,
}

/// How to reach an API.
#[derive(Debug)]
pub struct Provider {
    pub name: ProviderName,
    pub reach: Arc<Reach>,
    pub auth: Auth,
    /// Patterns of model names it serves; `None`: ask its `GET /models`.
    pub models: Option<Vec<String>>,
    /// Sent with every request.
    pub headers: Vec<(http::HeaderName, http::HeaderValue)>,
}

/// Whose credential a provider gets.
#[derive(Debug)]
pub enum Auth {
    None,
    /// Ours; two or more are a pool.
    Keys(Vec<Key>),
    /// The caller's own, forwarded to this provider only.
    Client,
}

impl Auth {
    /// The keys, if there are any.
    #[must_use]
    pub fn keys(&self) -> &[Key] {
        match self {
            Self::Keys(keys) => keys,
            Self::None | Self::Client => &[],
        }
    }
}

/// Provider and model, and what it can do.
#[derive(Debug)]
pub struct Target {
    pub name: TargetName,
    /// The metric label: the name, or `provider/*` for a target made on demand.
    pub label: TargetName,
    pub provider: Arc<Provider>,
    pub model: String,
    pub context_tokens: Option<u64>,
    pub capabilities: Capabilities,
    pub price: Option<Price>,
    pub params: Params,
    /// Unstreamed requests are streamed upstream and assembled.
    pub stream_upstream: bool,
    pub deadlines: Deadlines,
    pub on_demand: bool,
}

/// What a target says it can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Capabilities {
    /// The list was left out: nothing is rejected, except for `web`.
    Unknown,
    Exactly(Vec<String>),
}

impl Capabilities {
    /// Whether a request with this need may go there. `web` always has to be declared.
    #[must_use]
    pub fn meets(&self, need: Need) -> bool {
        match self {
            Self::Unknown => need != Need::Web,
            Self::Exactly(list) => list.iter().any(|name| name == need.as_str()),
        }
    }
}

/// What is changed in the body for this target.
#[derive(Debug, Clone, Default)]
pub struct Params {
    pub drop: Vec<String>,
    pub rename: Vec<(String, String)>,
    pub set: Vec<(String, serde_json::Value)>,
}

#[derive(Debug)]
pub struct TaskSettings {
    pub task: Task,
    pub targets: Vec<Arc<Target>>,
    pub deadlines: Deadlines,
}

/// A name that clients send as `model`.
#[derive(Debug)]
pub struct Route {
    pub name: RouteName,
    pub kind: RouteKind,
}

#[derive(Debug)]
pub enum RouteKind {
    /// A list of its own.
    Targets(Vec<Arc<Target>>),
    /// The task decides.
    ByTask { default_task: Task },
    /// Any other name goes to the provider that serves it, then to these.
    Passthrough { fallback: Vec<Arc<Target>> },
}

/// A socket is made under another name, with a dot and the process's number behind it.
const PID_DIGITS: usize = 8;

const CAPABILITIES: [&str; 5] = ["reasoning", "tools", "vision", "json", "web"];

impl Settings {
    /// Whether some provider gets the caller's own credential.
    #[must_use]
    pub fn forwards_credentials(&self) -> bool {
        self.providers.values().any(|provider| matches!(provider.auth, Auth::Client))
    }

    /// Checks everything and reports all faults together.
    ///
    /// # Errors
    /// Every fault found, in the order of the sections.
    pub fn check(raw: &RawSettings, outside: &Outside<'_>) -> Result<Self, Vec<Fault>> {
        let resolve = outside.resolve;
        let mut faults = Vec::new();
        let bounds = Bounds::read(&raw.gateway, &mut faults);
        let deadlines = Deadlines::read(&raw.deadlines, "deadlines", &mut faults);
        let listen = listen(raw, &mut faults);
        let h2c = raw.gateway.listen_h2c.clone().map_or_else(Vec::new, super::raw::Many::into_vec);
        let listen_h2c = addresses("gateway.listen_h2c", &h2c, &mut faults);
        let listen_unix = unix_sockets(raw, &mut faults);
        let tls = raw.gateway.tls.as_ref().map(|tls| (PathBuf::from(&tls.certificate), PathBuf::from(&tls.key)));
        let access = access(raw, resolve, &mut faults);
        let providers = providers(raw, outside, &mut faults);
        let targets = targets(raw, &providers, &mut faults);
        let tasks = tasks(raw, &targets, &mut faults);
        let routes = routes(raw, &targets, &tasks, &mut faults);
        let models = raw
            .models
            .iter()
            .map(|(name, model)| {
                let RawModel { context_tokens, price: raw_price } = model;
                (name.clone(), (*context_tokens, price(&format!("models.{name}.price"), *raw_price, &mut faults)))
            })
            .collect();
        for host in raw.gateway.allowed_hosts.iter().filter(|host| host.contains([':', '/', '@']) || host.is_empty()) {
            let problem = format!("\"{host}\" is no host name");
            let fix = "write names without scheme and port, as \"gw.example.org\"";
            faults.push(Fault::new("gateway.allowed_hosts", problem, fix));
        }
        let trusted_proxies = trusted_proxies(&raw.gateway.trusted_proxies, &mut faults);
        if faults.is_empty() {
            let allowed_hosts = raw.gateway.allowed_hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
            Ok(Self {
                listen,
                listen_h2c,
                listen_unix,
                tls,
                access,
                allowed_hosts,
                trusted_proxies,
                bounds,
                providers,
                targets,
                tasks,
                routes,
                deadlines,
                models,
            })
        } else {
            Err(faults)
        }
    }
}

fn listen(raw: &RawSettings, faults: &mut Vec<Fault>) -> Vec<SocketAddr> {
    let given = raw.gateway.listen.clone().map(super::raw::Many::into_vec);
    let texts = given.unwrap_or_else(|| vec!["127.0.0.1:4000".to_owned()]);
    let unix = raw.gateway.listen_unix.clone().map_or_else(Vec::new, super::raw::Many::into_vec);
    if texts.is_empty() && unix.is_empty() {
        let fix = "write listen = [\"127.0.0.1:4000\"], or name a socket as listen_unix";
        faults.push(Fault::new("gateway.listen", "no address is given", fix));
    }
    addresses("gateway.listen", &texts, faults)
}

fn unix_sockets(raw: &RawSettings, faults: &mut Vec<Fault>) -> Vec<PathBuf> {
    let texts = raw.gateway.listen_unix.clone().map_or_else(Vec::new, super::raw::Many::into_vec);
    for text in texts.iter().filter(|text| !(1..SOCKET_PATH_MAX - PID_DIGITS).contains(&text.len())) {
        let problem = format!("\"{text}\" is empty or too long for a socket");
        faults.push(Fault::new("gateway.listen_unix", problem, "write it as \"/run/tautline/gateway.sock\""));
    }
    texts.into_iter().map(PathBuf::from).collect()
}

fn addresses(at: &str, texts: &[String], faults: &mut Vec<Fault>) -> Vec<SocketAddr> {
    texts
        .iter()
        .filter_map(|text| {
            let addr = text.parse::<SocketAddr>().ok();
            if addr.is_none() {
                let problem = format!("\"{text}\" is no address with a port");
                faults.push(Fault::new(at, problem, "write it as \"127.0.0.1:4000\""));
            }
            addr
        })
        .collect()
}

fn trusted_proxies(texts: &[String], faults: &mut Vec<Fault>) -> TrustedProxies {
    let mut trusted = TrustedProxies::default();
    for text in texts {
        let network = text.parse::<IpNet>().ok().or(text.parse::<IpAddr>().ok().map(IpNet::from));
        match network {
            Some(network) if network.prefix_len() > 0 => trusted.networks.push(network.trunc()),
            None if text == "unix" => trusted.unix = true,
            Some(_) => {
                let problem = format!("\"{text}\" is everybody, whose word about an address is worth nothing");
                faults.push(Fault::new("gateway.trusted_proxies", problem, "name the proxies' own addresses"));
            }
            None => {
                let problem = format!("\"{text}\" is no address and no network");
                let fix = "write \"10.0.0.7\", \"10.0.0.0/8\", or \"unix\" for the Unix socket";
                faults.push(Fault::new("gateway.trusted_proxies", problem, fix));
            }
        }
    }
    trusted
}

fn access(raw: &RawSettings, resolve: &dyn Fn(&str) -> Result<Resolved, String>, faults: &mut Vec<Fault>) -> Access {
    match (raw.gateway.auth.as_deref(), raw.gateway.access_key.as_deref()) {
        (None | Some("key"), None) => Access::Unsaid,
        (Some("none"), None) => Access::Nobody,
        (None | Some("key"), Some(reference)) => match resolve(reference) {
            Ok(resolved) => Access::Key(KeyHash::of(resolved.secret.expose())),
            Err(problem) => {
                let fix = "write \"env:NAME\", \"file:PATH\" or \"exec:COMMAND\"";
                faults.push(Fault::new("gateway.access_key", problem, fix));
                Access::Unsaid
            }
        },
        (Some("none"), Some(_)) => {
            faults.push(Fault::new("gateway.access_key", "stands beside auth = \"none\"", "keep one of the two"));
            Access::Unsaid
        }
        (Some(other), _) => {
            let fix = "write auth = \"key\" or \"none\"";
            faults.push(Fault::new("gateway.auth", format!("\"{other}\" is not known"), fix));
            Access::Unsaid
        }
    }
}

fn providers(raw: &RawSettings, outside: &Outside<'_>, faults: &mut Vec<Fault>) -> BTreeMap<String, Arc<Provider>> {
    let mut providers = BTreeMap::new();
    let mut claims: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, raw_provider) in &raw.providers {
        for pattern in raw_provider.models.iter().flatten() {
            if let Some(other) = claims.insert(pattern, name) {
                faults.push(Fault::new(
                    format!("providers.{name}.models"),
                    format!("\"{pattern}\" is claimed by providers.{other} too"),
                    "give each pattern to one provider; of two that match, the longer one wins",
                ));
            }
        }
        if let Some(provider) = provider(name, raw_provider, &raw.gateway, outside, faults) {
            providers.insert(name.clone(), Arc::new(provider));
        }
    }
    providers
}

fn provider(
    name: &str,
    raw: &RawProvider,
    gateway: &RawGateway,
    outside: &Outside<'_>,
    faults: &mut Vec<Fault>,
) -> Option<Provider> {
    let resolve = outside.resolve;
    let key = |field: &str| format!("providers.{name}.{field}");
    match raw.dialect.as_deref() {
        Some("openai" | "sim") => {}
        Some(other) => faults.push(Fault::new(
            key("dialect"),
            format!("\"{other}\" is not a dialect this build speaks"),
            "write \"openai\" or \"sim\"",
        )),
        None => faults.push(Fault::new(key("dialect"), "is missing", "write dialect = \"openai\"")),
    }
    let reach = reach(name, raw, gateway, outside, faults);
    let auth = auth(name, raw, resolve, faults);
    if matches!(auth, Auth::Client) && raw.models.is_none() && raw.auth.is_some() {
        // Its list of models would have to be fetched with a key that we do not have.
        faults.push(Fault::new(
            key("models"),
            "is needed with auth = \"client\"",
            "list the names or patterns it serves, as models = [\"gpt-*\"]",
        ));
    }
    let headers = headers(name, raw, resolve, faults);
    Some(Provider { name: ProviderName::new(name), reach: Arc::new(reach?), auth, models: raw.models.clone(), headers })
}

fn auth(
    name: &str,
    raw: &RawProvider,
    resolve: &dyn Fn(&str) -> Result<Resolved, String>,
    faults: &mut Vec<Fault>,
) -> Auth {
    let at = format!("providers.{name}.api_key");
    match (raw.auth.as_deref(), &raw.api_key) {
        (Some("client"), None) => return Auth::Client,
        (Some("client"), Some(_)) => {
            faults.push(Fault::new(&at, "stands beside auth = \"client\"", "keep one of the two"));
        }
        (Some(other), _) => {
            faults.push(Fault::new(
                format!("providers.{name}.auth"),
                format!("\"{other}\" is not known"),
                "write auth = \"client\", or leave it out",
            ));
        }
        (None, None) => return Auth::None,
        (None, Some(_)) => {}
    }
    let references = raw.api_key.clone().map_or_else(Vec::new, super::raw::Many::into_vec);
    let keys = references.iter().filter_map(|reference| match resolve(reference) {
        Ok(resolved) if is_header(resolved.secret.expose()) => {
            Some(Key::new(reference.clone(), resolved, Instant::now()))
        }
        Ok(_) => {
            faults.push(Fault::new(
                &at,
                "resolves to something that cannot stand in a header",
                "check that the file or variable holds just the key",
            ));
            None
        }
        Err(problem) => {
            faults.push(Fault::new(
                &at,
                problem,
                "write \"env:NAME\", \"file:PATH\" or \"exec:COMMAND\", or a list of these",
            ));
            None
        }
    });
    let keys: Vec<_> = keys.collect();
    if references.is_empty() && raw.api_key.is_some() {
        faults.push(Fault::new(&at, "is an empty list", "write a reference, or leave it out where none is needed"));
    }
    if keys.is_empty() { Auth::None } else { Auth::Keys(keys) }
}

/// Whether a key can stand in a header.
fn is_header(key: &str) -> bool {
    !key.is_empty() && http::HeaderValue::from_str(key).is_ok()
}

/// Words in a header's name that say that its value is a credential.
const CREDENTIALS: [&str; 5] = ["key", "token", "secret", "auth", "cookie"];

fn headers(
    name: &str,
    raw: &RawProvider,
    resolve: &dyn Fn(&str) -> Result<Resolved, String>,
    faults: &mut Vec<Fault>,
) -> Vec<(http::HeaderName, http::HeaderValue)> {
    let mut headers = Vec::new();
    for (header, text) in &raw.headers {
        let at = format!("providers.{name}.headers.{header}");
        match self::header(header, text, resolve) {
            Ok(pair) => headers.push(pair),
            Err((problem, fix)) => faults.push(Fault::new(at, problem, fix)),
        }
    }
    headers
}

/// One header: its value as it is, or what a secret reference gives. A
/// credential must be a reference, as everywhere.
fn header(
    name: &str,
    text: &str,
    resolve: &dyn Fn(&str) -> Result<Resolved, String>,
) -> Result<(http::HeaderName, http::HeaderValue), (String, &'static str)> {
    const OURS: [&str; 6] =
        ["authorization", "host", "content-length", "transfer-encoding", "connection", "content-type"];
    let form = "use letters, digits and dashes, and a value without control characters";
    let name = http::HeaderName::try_from(name).map_err(|_| ("is no name of a header".to_owned(), form))?;
    if OURS.contains(&name.as_str()) {
        return Err(("is written by the gateway itself".to_owned(), "leave it out; credentials go into api_key"));
    }
    if text.starts_with("exec:") {
        return Err(("would be asked once and never renewed".to_owned(), "write \"env:NAME\" or \"file:PATH\" here"));
    }
    let is_reference = ["env:", "file:"].iter().any(|kind| text.starts_with(kind));
    if !is_reference && CREDENTIALS.iter().any(|word| name.as_str().contains(word)) {
        return Err((
            "holds a credential as it is".to_owned(),
            "write \"env:NAME\", \"file:PATH\" or \"exec:COMMAND\"",
        ));
    }
    let resolved = if is_reference {
        resolve(text).map_err(|problem| (problem, "write \"env:NAME\", \"file:PATH\" or \"exec:COMMAND\""))?.secret
    } else {
        Secret::new(text.to_owned())
    };
    let mut value =
        http::HeaderValue::try_from(resolved.expose()).map_err(|_| ("is no value of a header".to_owned(), form))?;
    value.set_sensitive(is_reference);
    Ok((name, value))
}

fn targets(
    raw: &RawSettings,
    providers: &BTreeMap<String, Arc<Provider>>,
    faults: &mut Vec<Fault>,
) -> BTreeMap<String, Arc<Target>> {
    let mut targets = BTreeMap::new();
    for (name, raw_target) in &raw.targets {
        let deadlines = Deadlines::read(&raw_target.deadlines, &format!("targets.{name}.deadlines"), faults);
        if name.contains('/') {
            faults.push(Fault::new(
                format!("targets.{name}"),
                "holds a slash, which names of passed-through models have",
                "choose a name without one",
            ));
        }
        if let Some(target) = target(name, raw_target, raw, providers, deadlines, faults) {
            targets.insert(name.clone(), Arc::new(target));
        }
    }
    targets
}

fn target(
    name: &str,
    raw_target: &RawTarget,
    raw: &RawSettings,
    providers: &BTreeMap<String, Arc<Provider>>,
    deadlines: Deadlines,
    faults: &mut Vec<Fault>,
) -> Option<Target> {
    let key = |field: &str| format!("targets.{name}.{field}");
    let provider = match raw_target.provider.as_deref() {
        None => {
            faults.push(Fault::new(key("provider"), "is missing", "name one of [providers]"));
            None
        }
        Some(asked) if !raw.providers.contains_key(asked) => {
            faults.push(unknown(&key("provider"), "provider", asked, raw.providers.keys()));
            None
        }
        // A provider that is there but faulty has its own fault already.
        Some(asked) => providers.get(asked).cloned(),
    };
    if raw_target.model.is_none() {
        faults.push(Fault::new(key("model"), "is missing", "write the model's name at the provider"));
    }
    for wrong in raw_target.capabilities.iter().flatten().filter(|word| !CAPABILITIES.contains(&word.as_str())) {
        faults.push(unknown(&key("capabilities"), "capability", wrong, CAPABILITIES.iter()));
    }
    for fixed in ["model", "messages", "stream", "stream_options"] {
        let params = &raw_target.params;
        if params.drop.iter().any(|name| name == fixed)
            || params.rename.contains_key(fixed)
            || params.set.contains_key(fixed)
        {
            faults.push(Fault::new(
                key("params"),
                format!("`{fixed}` is written by the gateway itself"),
                "leave it out of params",
            ));
        }
    }
    let known = built_in(raw_target.model.as_deref().unwrap_or_default());
    let price = price(&key("price"), raw_target.price, faults).or(known.map(|(_, price)| price));
    Some(Target {
        name: TargetName::new(name),
        label: TargetName::new(name),
        provider: provider?,
        model: raw_target.model.clone()?,
        context_tokens: raw_target.context_tokens.or(known.map(|(window, _)| window)),
        capabilities: raw_target.capabilities.clone().map_or(Capabilities::Unknown, Capabilities::Exactly),
        price,
        params: Params {
            drop: raw_target.params.drop.clone(),
            rename: raw_target.params.rename.clone().into_iter().collect(),
            set: raw_target.params.set.clone().into_iter().collect(),
        },
        stream_upstream: stream_upstream(&key("upstream_streaming"), raw_target, faults),
        deadlines,
        on_demand: false,
    })
}

fn stream_upstream(at: &str, raw_target: &RawTarget, faults: &mut Vec<Fault>) -> bool {
    match raw_target.upstream_streaming.as_deref() {
        None | Some("auto") => true,
        Some("off") => false,
        Some(other) => {
            faults.push(Fault::new(at, format!("\"{other}\" is not known"), "write \"auto\" or \"off\""));
            true
        }
    }
}

fn tasks(
    raw: &RawSettings,
    targets: &BTreeMap<String, Arc<Target>>,
    faults: &mut Vec<Fault>,
) -> BTreeMap<String, TaskSettings> {
    raw.tasks
        .iter()
        .map(|(name, task)| {
            let at = format!("tasks.{name}");
            let list = target_list(&format!("{at}.targets"), &task.targets, true, raw, targets, faults);
            if name == "search" && !list.is_empty() && !list.iter().any(|target| target.capabilities.meets(Need::Web)) {
                faults.push(Fault::new(
                    format!("{at}.targets"),
                    "no target of this task declares `web`, which searches need",
                    "add capabilities = [\"web\", ...] to a target that searches the live web",
                ));
            }
            let deadlines = Deadlines::read(&task.deadlines, &format!("{at}.deadlines"), faults);
            (name.clone(), TaskSettings { task: Task::new(name.as_str()), targets: list, deadlines })
        })
        .collect()
}

fn routes(
    raw: &RawSettings,
    targets: &BTreeMap<String, Arc<Target>>,
    tasks: &BTreeMap<String, TaskSettings>,
    faults: &mut Vec<Fault>,
) -> BTreeMap<String, Route> {
    raw.routes
        .iter()
        .filter_map(|(name, route)| {
            let kind = route_kind(name, route, raw, targets, tasks, faults)?;
            Some((name.clone(), Route { name: RouteName::new(name.as_str()), kind }))
        })
        .collect()
}

fn route_kind(
    name: &str,
    route: &RawRoute,
    raw: &RawSettings,
    targets: &BTreeMap<String, Arc<Target>>,
    tasks: &BTreeMap<String, TaskSettings>,
    faults: &mut Vec<Fault>,
) -> Option<RouteKind> {
    let at = format!("routes.{name}");
    if (name == "*") != route.passthrough {
        faults.push(Fault::new(
            format!("{at}.passthrough"),
            "passthrough belongs to the route \"*\" and only there",
            "write [routes.\"*\"] with passthrough = true",
        ));
        return None;
    }
    if !route.fallback.is_empty() && !route.passthrough {
        faults.push(Fault::new(
            format!("{at}.fallback"),
            "only the route \"*\" has a fallback list",
            "put the names at the end of targets",
        ));
    }
    if route.passthrough {
        return Some(RouteKind::Passthrough {
            fallback: target_list(&format!("{at}.fallback"), &route.fallback, false, raw, targets, faults),
        });
    }
    if !route.by_task {
        if route.default_task.is_some() {
            faults.push(Fault::new(
                format!("{at}.default_task"),
                "means nothing without by_task",
                "write by_task = true, or leave it out",
            ));
        }
        return Some(RouteKind::Targets(target_list(
            &format!("{at}.targets"),
            &route.targets,
            true,
            raw,
            targets,
            faults,
        )));
    }
    if !route.targets.is_empty() {
        faults.push(Fault::new(format!("{at}.targets"), "stands beside by_task", "keep one of the two"));
    }
    match route.default_task.as_deref() {
        Some(task) if tasks.contains_key(task) => Some(RouteKind::ByTask { default_task: Task::new(task) }),
        Some(task) => {
            faults.push(unknown(&format!("{at}.default_task"), "task", task, tasks.keys()));
            None
        }
        None => {
            faults.push(Fault::new(
                format!("{at}.default_task"),
                "is missing",
                "name the task of requests that say none",
            ));
            None
        }
    }
}

fn target_list(
    at: &str,
    names: &[String],
    needed: bool,
    raw: &RawSettings,
    targets: &BTreeMap<String, Arc<Target>>,
    faults: &mut Vec<Fault>,
) -> Vec<Arc<Target>> {
    if needed && names.is_empty() {
        faults.push(Fault::new(at, "no target is given", "list at least one of [targets]"));
    }
    for (place, name) in names.iter().enumerate() {
        if names[..place].contains(name) {
            faults.push(Fault::new(at, format!("\"{name}\" stands twice"), "list each target once"));
        }
        if !raw.targets.contains_key(name) {
            faults.push(unknown(at, "target", name, raw.targets.keys()));
        }
    }
    names.iter().filter_map(|name| targets.get(name).cloned()).collect()
}

fn unknown<S: AsRef<str>>(at: &str, what: &str, asked: &str, names: impl Iterator<Item = S>) -> Fault {
    let names: Vec<S> = names.collect();
    let near = nearest(asked, names.iter().map(AsRef::as_ref), 1);
    let fix = near.first().map_or_else(
        || format!("there are: {}", names.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ")),
        |near| format!("did you mean \"{near}\"?"),
    );
    Fault::new(at, format!("there is no {what} \"{asked}\""), fix)
}

fn price(at: &str, raw: Option<RawPrice>, faults: &mut Vec<Fault>) -> Option<Price> {
    let RawPrice { input, output, cached_input } = raw?;
    if [Some(input), Some(output), cached_input].into_iter().flatten().any(|usd| !usd.is_finite() || usd < 0.0) {
        faults.push(Fault::new(at, "a price is negative or no number", "write USD per million tokens"));
    }
    Some(Price { input, output, cached_input })
}
