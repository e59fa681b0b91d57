//! From a body to a request: which route, which task, which candidates.
//!
//! Owns the reading of what the client wants and the resolution of the name it
//! sent. Refuses to order or reject targets (`plan` does). Invariant: the body
//! is kept as the client's bytes for the life of the exchange.

use crate::domain::failure::Observation;
use crate::domain::ids::{RouteName, TargetName};
use crate::domain::task::{Task, TaskReason};
use crate::domain::usage::Price;
use crate::gateway::kept::{Chain, Made};
use crate::gateway::plan::PlanInput;
use crate::gateway::provider::catalog::Catalog;
use crate::gateway::settings::{
    Capabilities, Deadlines, Params, Provider, RouteKind, Settings, Target, built_in, nearest,
};
use crate::wire::canon::{Conversation, Loss, Tool};
use crate::wire::dialect::Dialect;
use crate::wire::request::{Asked, Invalid, Need, particulars};
use crate::wire::responses::expand;
use crate::wire::tool_names::unfit;
use crate::wire::translate::read_request;
use http::HeaderMap;
use parking_lot::Mutex;
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Targets made on demand that are kept.
const ON_DEMAND_MAX: usize = 256;

/// A request that was understood.
#[derive(Debug)]
pub struct Request {
    pub asked: Asked,
    pub route: RouteName,
    pub task: Task,
    pub task_reason: TaskReason,
    /// `metadata.task` was ours and is removed before forwarding.
    pub drop_metadata_task: bool,
    pub candidates: Vec<(Arc<Target>, String)>,
    pub task_deadlines: Deadlines,
    pub passthrough: bool,
    /// `x-tautline-timeout-ms`.
    pub budget: Option<Duration>,
    /// `x-tautline-report: 1`.
    pub report: bool,
    /// Capabilities that body and task together demand.
    pub needs: Vec<Need>,
    /// The conversation that it goes on from.
    pub chain: Option<Chain>,
    /// Who has that conversation under the id that the client sent.
    pub made: Option<Made>,
    /// A field that only targets of its own dialect can serve, found out since.
    pub only_natively: Option<&'static str>,
    /// The request with all of that before it.
    expanded: OnceLock<Vec<(String, Box<RawValue>)>>,
    /// Made when the first target of another dialect is met.
    conversation: OnceLock<Result<(Conversation, Vec<Loss>), Invalid>>,
}

impl Request {
    /// What is asked, as every dialect means it, and what had no place in that.
    ///
    /// # Errors
    /// A field that cannot be understood, though a target of the client's own
    /// dialect may.
    pub fn conversation(&self) -> Result<(&Conversation, Vec<Loss>), Observation> {
        let read = self.conversation.get_or_init(|| read_request(self.asked.dialect, self.whole()));
        match read {
            Ok((conversation, losses)) => Ok((conversation, losses.clone())),
            Err(invalid) => Err(Observation::Unsayable {
                field: invalid.field.clone().unwrap_or_default(),
                why: invalid.detail.clone(),
            }),
        }
    }

    /// The fields with all that was said before.
    #[must_use]
    pub fn whole(&self) -> &[(String, Box<RawValue>)] {
        if self.chain.is_some() { self.expanded() } else { self.asked.fields() }
    }

    /// The whole conversation that it goes on from, and its own words.
    #[must_use]
    pub fn expanded(&self) -> &[(String, Box<RawValue>)] {
        let earlier = self.chain.as_ref().map_or(&[][..], |chain| &chain.items);
        self.expanded.get_or_init(|| expand(self.asked.fields(), earlier))
    }

    /// Takes the conversation before this request, and what that demands of a target.
    pub fn go_on_from(&mut self, chain: Chain) {
        self.chain = Some(chain);
        let Ok(whole) = particulars(self.asked.dialect, self.expanded()) else { return };
        self.asked.particulars.text_bytes = whole.text_bytes;
        let more = whole.needs.into_iter().filter(|need| !self.needs.contains(need)).collect::<Vec<_>>();
        self.needs.extend(more);
    }

    /// Names of the tools whose calls carry free text, once a conversation was made.
    #[must_use]
    pub fn custom_tools(&self) -> Vec<String> {
        let Some(Ok((conversation, _))) = self.conversation.get() else { return Vec::new() };
        let custom = conversation.tools.iter().filter_map(|tool| match tool {
            Tool::Custom { name, .. } => Some(name.clone()),
            Tool::Function { .. } | Tool::WebSearch(_) | Tool::Native { .. } => None,
        });
        custom.collect()
    }

    /// Names of its tools that some dialect takes in another form only, once a conversation was made.
    #[must_use]
    pub fn unfit_names(&self) -> Vec<String> {
        let read = self.conversation.get().and_then(|read| read.as_ref().ok());
        read.map_or_else(Vec::new, |(conversation, _)| unfit(conversation))
    }

    /// What `plan` decides from: the same for an exchange and for `tautline plan`.
    #[must_use]
    pub fn plan_input<'a>(&'a self, settings: &'a Settings) -> PlanInput<'a> {
        PlanInput {
            candidates: &self.candidates,
            needs: &self.needs,
            input_tokens: self.asked.input_tokens(),
            input_tokens_least: self.asked.input_tokens_least(),
            dialect: self.asked.dialect,
            bound: self.only_natively.or(self.asked.particulars.bound),
            output_tokens_max: self.asked.particulars.output_tokens_max,
            stream: self.asked.stream,
            global: &settings.deadlines,
            task: &self.task_deadlines,
            budget: self.budget,
        }
    }
}

/// What is known of a request that was refused while it was being understood.
#[derive(Debug)]
pub struct Refused {
    pub observation: Observation,
    pub model: String,
    pub route: String,
    pub task: String,
    pub stream: bool,
}

/// Targets made for names that were passed through, most recently used kept.
#[derive(Debug, Default)]
pub struct OnDemand(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    turn: u64,
    /// By name: when it was last used, counted in turns.
    targets: HashMap<String, (u64, Arc<Target>)>,
}

/// Understands a request.
///
/// # Errors
/// [`Refused`] with what is wrong and as much of the request as was read.
pub fn intake(
    settings: &Settings,
    catalog: &Catalog,
    on_demand: &OnDemand,
    headers: &HeaderMap,
    dialect: Dialect,
    body: &[u8],
) -> Result<Request, Box<Refused>> {
    let asked = Asked::parse(dialect, body).map_err(|invalid| {
        Box::new(Refused {
            observation: Observation::Invalid { field: invalid.field, offset: invalid.offset, detail: invalid.detail },
            model: String::new(),
            route: String::new(),
            task: String::new(),
            stream: false,
        })
    })?;
    let refused = |observation, route: &str, task: &str| {
        Box::new(Refused {
            observation,
            model: asked.model.clone(),
            route: route.to_owned(),
            task: task.to_owned(),
            stream: asked.stream,
        })
    };
    let named = name(settings, &asked.model).map_err(|observation| refused(observation, "", ""))?;
    let (task, task_reason, drop_metadata_task) = task(settings, &named, headers, &asked)
        .map_err(|observation| refused(observation, named.route.as_str(), ""))?;
    let budget =
        timeout_header(headers).map_err(|observation| refused(observation, named.route.as_str(), task.as_str()))?;
    let candidates = candidates(settings, catalog, on_demand, &named, &task, &asked.model)
        .map_err(|observation| refused(observation, named.route.as_str(), task.as_str()))?;
    let mut needs = needs(&asked);
    // On a route that is not by task, a task only labels.
    let by_task = matches!(named.kind, RouteKind::ByTask { .. });
    if by_task && task.as_str() == "search" && !needs.contains(&Need::Web) {
        needs.push(Need::Web);
    }
    Ok(Request {
        route: named.route.clone(),
        passthrough: matches!(named.kind, RouteKind::Passthrough { .. }),
        task_deadlines: settings
            .tasks
            .get(task.as_str())
            .filter(|_| by_task)
            .map(|task| task.deadlines)
            .unwrap_or_default(),
        task,
        task_reason,
        drop_metadata_task,
        candidates,
        budget,
        report: headers.get("x-tautline-report").is_some_and(|value| value == "1"),
        needs,
        asked,
        conversation: OnceLock::new(),
        chain: None,
        made: None,
        only_natively: None,
        expanded: OnceLock::new(),
    })
}

struct Named<'a> {
    route: RouteName,
    kind: &'a RouteKind,
    /// The suffix of `auto:NAME`.
    suffix: Option<&'a str>,
}

/// What a target must be able to do. Agents offer a web search in every request,
/// beside tools of their own: who cannot search answers all the same, and is not
/// offered it. It is needed where nothing else is on offer, where it is chosen, and
/// in chat, whose models search whenever they are told of it.
fn needs(asked: &Asked) -> Vec<Need> {
    let mut needs = asked.particulars.needs.clone();
    let may_choose = matches!(asked.dialect, Dialect::Messages | Dialect::Responses) && needs.contains(&Need::Tools);
    let chosen = |(name, raw): &(String, Box<RawValue>)| name == "tool_choice" && raw.get().contains("web_search");
    if may_choose && needs.contains(&Need::Web) && !asked.fields().iter().any(chosen) {
        needs.retain(|need| *need != Need::Web);
    }
    needs
}

/// The route that a model name means: its own, a by-task route with a suffix,
/// else the passthrough.
fn name<'a>(settings: &'a Settings, model: &'a str) -> Result<Named<'a>, Observation> {
    if model != "*"
        && let Some(route) = settings.routes.get(model)
    {
        return Ok(Named { route: route.name.clone(), kind: &route.kind, suffix: None });
    }
    if let Some((prefix, suffix)) = model.split_once(':')
        && let Some(route) = settings.routes.get(prefix)
        && matches!(route.kind, RouteKind::ByTask { .. })
    {
        return Ok(Named { route: route.name.clone(), kind: &route.kind, suffix: Some(suffix) });
    }
    match settings.routes.get("*") {
        Some(route) => Ok(Named { route: route.name.clone(), kind: &route.kind, suffix: None }),
        None => Err(unknown_route(settings, &[], model)),
    }
}

fn unknown_route(settings: &Settings, published: &[(String, String)], model: &str) -> Observation {
    let names = model_names(settings);
    let all = names.iter().map(String::as_str).chain(published.iter().map(|(name, _)| name.as_str()));
    Observation::UnknownRoute { asked: crate::wire::redact::redact(model, 100), nearest: nearest(model, all, 3) }
}

/// The names that clients may send: routes, and tasks of by-task routes.
#[must_use]
pub fn model_names(settings: &Settings) -> Vec<String> {
    let mut names = Vec::new();
    for (name, route) in &settings.routes {
        match route.kind {
            RouteKind::Passthrough { .. } => {}
            RouteKind::Targets(_) => names.push(name.clone()),
            RouteKind::ByTask { .. } => {
                names.push(name.clone());
                names.extend(settings.tasks.keys().map(|task| format!("{name}:{task}")));
            }
        }
    }
    names
}

/// Header, then metadata, then suffix, then default; the last says whether
/// `metadata.task` was ours.
fn task(
    settings: &Settings,
    named: &Named<'_>,
    headers: &HeaderMap,
    asked: &Asked,
) -> Result<(Task, TaskReason, bool), Observation> {
    let known = |name: &str| settings.tasks.get(name).map(|task| task.task.clone());
    let from_metadata = asked.metadata_task.as_deref().and_then(known);
    let ours = from_metadata.is_some();
    let unknown = |field: &str, asked: &str| Observation::Invalid {
        field: Some(field.to_owned()),
        offset: None,
        detail: unknown_task(settings, asked),
    };
    if let Some(value) = headers.get("x-tautline-task") {
        let asked = value.to_str().unwrap_or_default();
        let task = known(asked).ok_or_else(|| unknown("x-tautline-task", asked))?;
        return Ok((task, TaskReason::Header, ours));
    }
    if let Some(task) = from_metadata {
        return Ok((task, TaskReason::Metadata, true));
    }
    if let Some(suffix) = named.suffix {
        let task = known(suffix).ok_or_else(|| unknown("model", suffix))?;
        return Ok((task, TaskReason::ModelSuffix, false));
    }
    let default = match named.kind {
        RouteKind::ByTask { default_task } => default_task.clone(),
        RouteKind::Targets(_) | RouteKind::Passthrough { .. } => Task::new("none"),
    };
    Ok((default, TaskReason::Default, false))
}

fn unknown_task(settings: &Settings, asked: &str) -> String {
    let near = nearest(asked, settings.tasks.keys().map(String::as_str), 1);
    let asked = crate::wire::redact::redact(asked, 100);
    match near.first() {
        Some(near) => format!("there is no task \"{asked}\"; did you mean \"{near}\"?"),
        None => format!(
            "there is no task \"{asked}\"; there are: {}",
            settings.tasks.keys().cloned().collect::<Vec<_>>().join(", ")
        ),
    }
}

/// `x-tautline-timeout-ms`.
///
/// # Errors
/// It is no whole number above zero.
pub fn timeout_header(headers: &HeaderMap) -> Result<Option<Duration>, Observation> {
    let Some(value) = headers.get("x-tautline-timeout-ms") else { return Ok(None) };
    match value.to_str().ok().and_then(|text| text.trim().parse::<u64>().ok()) {
        Some(ms) if ms > 0 => Ok(Some(Duration::from_millis(ms))),
        _ => Err(Observation::Invalid {
            field: Some("x-tautline-timeout-ms".to_owned()),
            offset: None,
            detail: "the header `x-tautline-timeout-ms` must be a whole number of milliseconds above zero".to_owned(),
        }),
    }
}

fn candidates(
    settings: &Settings,
    catalog: &Catalog,
    on_demand: &OnDemand,
    named: &Named<'_>,
    task: &Task,
    model: &str,
) -> Result<Vec<(Arc<Target>, String)>, Observation> {
    let listed = |list: &[Arc<Target>], why: &str| -> Vec<(Arc<Target>, String)> {
        list.iter()
            .enumerate()
            .map(|(place, target)| (Arc::clone(target), format!("number {} of {why}", place + 1)))
            .collect()
    };
    match named.kind {
        RouteKind::Targets(list) => Ok(listed(list, &format!("route \"{}\"", named.route))),
        RouteKind::ByTask { .. } => {
            let of_task = settings.tasks.get(task.as_str()).map(|task| task.targets.as_slice()).unwrap_or_default();
            Ok(listed(of_task, &format!("task \"{task}\"")))
        }
        RouteKind::Passthrough { fallback } => {
            let Some(provider) = catalog.who_serves(settings, model) else {
                return Err(unknown_route(settings, &catalog.names(), model));
            };
            let first = on_demand.target(settings, &provider, model);
            let mut list = vec![(first, format!("provider \"{}\" serves this name", provider.name))];
            list.extend(listed(fallback, "the passthrough's fallback"));
            Ok(list)
        }
    }
}

impl OnDemand {
    /// The target `provider/model`, made now unless it is kept from before.
    pub fn target(&self, settings: &Settings, provider: &Arc<Provider>, model: &str) -> Arc<Target> {
        let name = format!("{}/{model}", provider.name);
        let mut guard = self.0.lock();
        let Kept { turn, targets: kept } = &mut *guard;
        *turn += 1;
        if let Some((used, target)) = kept.get_mut(&name)
            && Arc::ptr_eq(&target.provider, provider)
        {
            *used = *turn;
            return Arc::clone(target);
        }
        if kept.len() >= ON_DEMAND_MAX
            && let Some(oldest) = kept.iter().min_by_key(|(_, (used, _))| *used).map(|(name, _)| name.clone())
        {
            kept.remove(&oldest);
        }
        let (window, price) = known(settings, model);
        let target = Arc::new(Target {
            name: TargetName::new(name.as_str()),
            label: TargetName::new(format!("{}/*", provider.name)),
            provider: Arc::clone(provider),
            model: model.to_owned(),
            context_tokens: window,
            capabilities: Capabilities::Unknown,
            price,
            params: Params::default(),
            prefill: None,
            stream_upstream: true,
            max_output_tokens: None,
            deadlines: Deadlines::default(),
            on_demand: true,
        });
        kept.insert(name, (*turn, Arc::clone(&target)));
        target
    }
}

/// Window and price of a name that is passed through: what `[models]` says,
/// else what the built-in table does.
fn known(settings: &Settings, model: &str) -> (Option<u64>, Option<Price>) {
    let (window, price) = settings.models.get(model).copied().unwrap_or_default();
    let built_in = built_in(model);
    (window.or(built_in.map(|(window, _)| window)), price.or(built_in.map(|(_, price)| price)))
}
