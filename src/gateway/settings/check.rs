//! From what the file says to what the gateway runs on.

use super::limits::{Bounds, Deadlines};
use super::passthrough::Passages;
use super::provider::{Auth, Provider, providers};
use super::raw::{RawModel, RawPrice, RawRoute, RawSettings, RawTarget};
use super::reach::{Outside, SOCKET_PATH_MAX};
use super::{Fault, Resolved, built_in, nearest};
use crate::domain::ids::{RouteName, TargetName};
use crate::domain::task::Task;
use crate::domain::usage::Price;
use crate::gateway::access::{Access, KeyHash};
use crate::gateway::forwarded::TrustedProxies;
use crate::wire::request::Need;
use crate::wire::resume::Prefill;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

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
    /// Paths that go to a provider as bytes.
    pub passages: Passages,
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
    /// Tokens it can write at most; sent where a dialect demands a limit and the
    /// client gave none.
    pub max_output_tokens: Option<u64>,
    pub capabilities: Capabilities,
    pub price: Option<Price>,
    pub params: Params,
    /// Unstreamed requests are streamed upstream and assembled.
    pub stream_upstream: bool,
    /// The form in which it takes the beginning of its answer; `None`: in none.
    pub prefill: Option<Prefill>,
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
    /// Whether its operator listed them.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        matches!(self, Self::Exactly(_))
    }

    /// Whether wishes about reasoning are passed on.
    #[must_use]
    pub fn may_reason(&self) -> bool {
        match self {
            Self::Unknown => true,
            Self::Exactly(list) => list.iter().any(|name| name == "reasoning"),
        }
    }

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
        let passages = Passages::read(raw, &providers, &mut faults);
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
                passages,
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
    if raw_target.max_output_tokens == Some(0) {
        let problem = "is no number of tokens above zero";
        faults.push(Fault::new(
            key("max_output_tokens"),
            problem,
            "write what the model can answer at most, as 128000",
        ));
    }
    let known = built_in(raw_target.model.as_deref().unwrap_or_default());
    let price = price(&key("price"), raw_target.price, faults).or(known.map(|(_, price)| price));
    Some(Target {
        name: TargetName::new(name),
        label: TargetName::new(name),
        provider: provider?,
        model: raw_target.model.clone()?,
        context_tokens: raw_target.context_tokens.or(known.map(|(window, _)| window)),
        max_output_tokens: raw_target.max_output_tokens,
        capabilities: raw_target.capabilities.clone().map_or(Capabilities::Unknown, Capabilities::Exactly),
        price,
        params: Params {
            drop: raw_target.params.drop.clone(),
            rename: raw_target.params.rename.clone().into_iter().collect(),
            set: raw_target.params.set.clone().into_iter().collect(),
        },
        stream_upstream: stream_upstream(&key("upstream_streaming"), raw_target, faults),
        prefill: prefill(&key("prefill"), raw_target, faults),
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

fn prefill(at: &str, raw_target: &RawTarget, faults: &mut Vec<Fault>) -> Option<Prefill> {
    match raw_target.prefill.as_deref()? {
        "anthropic" => Some(Prefill::Anthropic),
        "prefix" => Some(Prefill::Prefix),
        "continue_final" => Some(Prefill::ContinueFinal),
        "trailing" => Some(Prefill::Trailing),
        other => {
            faults.push(Fault::new(
                at,
                format!("\"{other}\" is not known"),
                "write \"anthropic\", \"prefix\", \"continue_final\" or \"trailing\", or leave it out",
            ));
            None
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

/// A name that is not there, with its nearest.
pub fn unknown<S: AsRef<str>>(at: &str, what: &str, asked: &str, names: impl Iterator<Item = S>) -> Fault {
    let names: Vec<S> = names.collect();
    let near = nearest(asked, names.iter().map(AsRef::as_ref), 1);
    let fix = near.first().map_or_else(
        || format!("there are: {}", names.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ")),
        |near| format!("did you mean \"{near}\"?"),
    );
    Fault::new(at, format!("there is no {what} \"{asked}\""), fix)
}

fn price(at: &str, raw: Option<RawPrice>, faults: &mut Vec<Fault>) -> Option<Price> {
    let RawPrice { input, output, cached_input, cache_write, cache_write_1h } = raw?;
    let all = [Some(input), Some(output), cached_input, cache_write, cache_write_1h];
    if all.into_iter().flatten().any(|usd| !usd.is_finite() || usd < 0.0) {
        faults.push(Fault::new(at, "a price is negative or no number", "write USD per million tokens"));
    }
    Some(Price { input, output, cached_input, cache_write, cache_write_1h })
}
