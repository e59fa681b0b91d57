//! From a request to an itinerary: which targets, in which order, by which clocks.
//!
//! Owns the choice and its reasons. Refuses sockets, clocks and state: it is a
//! pure function of what it is given. Invariant: every candidate is either a
//! step or a rejection with its reason.

use crate::domain::deadline::{Clock, LimitSource};
use crate::domain::failure::Observation;
use crate::domain::record::{PlanClock, PlanRecord, PlanRejection, PlanStep};
use crate::gateway::provider::pace::Limits;
use crate::gateway::settings::{Auth, Deadlines, Limit, Provider, Target};
use crate::wire::dialect::Dialect;
use crate::wire::request::Need;
use std::sync::Arc;
use std::time::Duration;

/// What `plan` decides from.
#[derive(Debug)]
pub struct PlanInput<'a> {
    /// In order of preference, each with why it stands there.
    pub candidates: &'a [(Arc<Target>, String)],
    pub needs: &'a [Need],
    /// Estimated tokens of the prompt, for people.
    pub input_tokens: u64,
    /// What the prompt surely has; a target is rejected by this alone.
    pub input_tokens_least: u64,
    /// What the client asked to be written at most.
    pub output_tokens_max: Option<u64>,
    pub stream: bool,
    /// What the client speaks.
    pub dialect: Dialect,
    /// A field that only a target of the client's own dialect can serve.
    pub bound: Option<&'static str>,
    pub global: &'a Deadlines,
    pub task: &'a Deadlines,
    /// `x-tautline-timeout-ms`.
    pub budget: Option<Duration>,
}

/// The targets to try, in order.
#[derive(Debug, Clone)]
pub struct Itinerary {
    pub steps: Vec<Step>,
    pub record: PlanRecord,
}

/// Why there is no itinerary, and the plan as far as it came, for the record.
#[derive(Debug)]
pub struct Unplanned {
    /// Always [`Observation::NoFit`].
    pub observation: Observation,
    pub record: PlanRecord,
}

/// One stop of the itinerary.
#[derive(Debug, Clone)]
pub struct Step {
    pub target: Arc<Target>,
    pub limits: Limits,
}

/// Plans, or says why nothing fits.
///
/// # Errors
/// [`Unplanned`], with each candidate's reason.
pub fn plan(input: &PlanInput<'_>) -> Result<Itinerary, Box<Unplanned>> {
    let mut record = PlanRecord {
        needs: input.needs.iter().map(|need| need.as_str().to_owned()).collect(),
        input_tokens: input.input_tokens,
        ..PlanRecord::default()
    };
    let owner = owner_of_credential(input);
    let mut steps = Vec::new();
    let mut context_alone = !input.candidates.is_empty();
    for (target, reason) in input.candidates {
        if let Some((why, by_context)) = reject(target, input, owner) {
            context_alone &= by_context;
            record.rejected.push(PlanRejection { target: target.name.to_string(), reason: why });
            continue;
        }
        let limits = limits(target, input);
        record.steps.push(PlanStep {
            target: target.name.to_string(),
            reason: reason.clone(),
            clocks: clocks(&limits),
        });
        steps.push(Step { target: Arc::clone(target), limits });
    }
    if steps.is_empty() {
        let rejected = record.rejected.iter().map(|one| (one.target.clone(), one.reason.clone())).collect();
        return Err(Box::new(Unplanned { observation: Observation::NoFit { rejected, context_alone }, record }));
    }
    Ok(Itinerary { steps, record })
}

/// Why a target cannot serve this, and whether its window alone is the reason.
fn reject(target: &Target, input: &PlanInput<'_>, owner: Option<&Provider>) -> Option<(String, bool)> {
    if let Some(why) = not_its_credential(target, owner) {
        return Some((why, false));
    }
    let missing: Vec<&str> =
        input.needs.iter().filter(|need| !target.capabilities.meets(**need)).map(|need| need.as_str()).collect();
    if !missing.is_empty() {
        return Some((format!("the request needs {}, which it does not declare", missing.join(" and ")), false));
    }
    if let Some(why) = unspoken(target, input) {
        return Some((why, false));
    }
    let window = target.context_tokens?;
    let wanted = input.input_tokens_least.saturating_add(input.output_tokens_max.unwrap_or(0));
    (wanted > window).then(|| {
        let asked = input.output_tokens_max.map_or_else(String::new, |tokens| format!(" and {tokens} asked for"));
        (
            format!("at least {} tokens of prompt{asked} do not fit its window of {window}", input.input_tokens_least),
            true,
        )
    })
}

/// Whose credential a caller brings, where providers are to get it: that of the
/// first of them that speaks as the caller does.
fn owner_of_credential<'a>(input: &PlanInput<'a>) -> Option<&'a Provider> {
    let asked = input.dialect;
    let vendor = |provider: &&'a Provider| {
        provider.dialect_for(asked).is_some_and(|dialect| dialect.is_anthropics() == asked.is_anthropics())
    };
    let mut providers = input.candidates.iter().map(|(target, _)| &*target.provider);
    providers.find(|provider| matches!(provider.auth, Auth::Client) && vendor(provider))
}

/// A caller's credential goes to the provider that it is for, and to no fallback of another.
fn not_its_credential(target: &Target, owner: Option<&Provider>) -> Option<String> {
    let provider = &*target.provider;
    if !matches!(provider.auth, Auth::Client) || owner.is_some_and(|owner| std::ptr::eq(owner, provider)) {
        return None;
    }
    Some(match owner {
        Some(owner) => format!("the caller's own credential is for {}, and this one would need it", owner.name),
        None => "the caller's own credential is for another kind of API, and this one would need it".to_owned(),
    })
}

/// Why a target cannot be asked this in any dialect that it speaks.
fn unspoken(target: &Target, input: &PlanInput<'_>) -> Option<String> {
    let asked = input.dialect;
    match (target.provider.dialect_for(asked), input.bound) {
        (None, _) => Some(format!("its provider does not serve {asked}; `apis` says what it serves")),
        (Some(dialect), Some(field)) if dialect != asked => {
            Some(format!("it is asked in {dialect}, where `{field}` cannot be said"))
        }
        _ => None,
    }
}

fn limits(target: &Target, input: &PlanInput<'_>) -> Limits {
    limits_of(&[input.global, input.task, &target.deadlines], input.stream, input.budget)
}

/// The limits that these levels give together; the last that says something wins.
#[must_use]
pub fn limits_of(levels: &[&Deadlines], stream: bool, budget: Option<Duration>) -> Limits {
    let of = |clock| Deadlines::resolve(levels, clock, stream);
    let mut total = of(Clock::Total);
    if let Some(budget) = budget
        && total.value.is_none_or(|total| budget < total)
    {
        total = Limit { value: Some(budget), source: LimitSource::Client };
    }
    Limits {
        connect: of(Clock::Connect),
        send: of(Clock::Send),
        first_token: of(Clock::FirstToken),
        idle: of(Clock::Idle),
        progress: of(Clock::Progress),
        total,
    }
}

/// Limits as a record tells them.
#[must_use]
pub fn clocks(limits: &Limits) -> Vec<PlanClock> {
    Clock::ALL
        .iter()
        .map(|clock| {
            let Limit { value, source } = limits.of(*clock);
            PlanClock {
                clock: *clock,
                limit_ms: value.map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)),
                source,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::settings::{Outside, RawProvider, RawSettings, RawTarget, Settings};

    /// Name, window, capabilities.
    type Sketch<'a> = (&'a str, Option<u64>, Option<&'a [&'a str]>);

    fn targets(list: &[Sketch<'_>]) -> Vec<(Arc<Target>, String)> {
        let mut raw = RawSettings::default();
        raw.providers.insert(
            "p".into(),
            RawProvider {
                dialect: Some("openai".into()),
                base_url: Some("http://127.0.0.1:1".into()),
                ..RawProvider::default()
            },
        );
        for (name, window, capabilities) in list {
            raw.targets.insert(
                (*name).into(),
                RawTarget {
                    provider: Some("p".into()),
                    model: Some("m".into()),
                    context_tokens: *window,
                    capabilities: capabilities.map(|list| list.iter().map(|word| (*word).to_owned()).collect()),
                    ..RawTarget::default()
                },
            );
        }
        let settings = Settings::check(&raw, &Outside::nothing()).expect("valid");
        list.iter().map(|(name, ..)| (Arc::clone(&settings.targets[*name]), "listed".to_owned())).collect()
    }

    fn planned(candidates: &[(Arc<Target>, String)], needs: &[Need], input_tokens: u64) -> Result<Vec<String>, bool> {
        let silent = Deadlines::default();
        let input = PlanInput {
            candidates,
            needs,
            input_tokens,
            input_tokens_least: input_tokens,
            output_tokens_max: Some(100),
            stream: true,
            dialect: Dialect::Chat,
            bound: None,
            global: &silent,
            task: &silent,
            budget: None,
        };
        match plan(&input) {
            Ok(itinerary) => Ok(itinerary.steps.iter().map(|step| step.target.name.to_string()).collect()),
            Err(unplanned) => match unplanned.observation {
                Observation::NoFit { context_alone, .. } => Err(context_alone),
                other => unreachable!("plan refuses with NoFit only, not {other:?}"),
            },
        }
    }

    #[test]
    fn candidates_keep_their_order_and_the_unfit_are_left_out() {
        let list =
            targets(&[("small", Some(1000), None), ("text", None, Some(&[])), ("all", None, Some(&["tools", "web"]))]);
        let names = |list: &[&str]| Ok(list.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(planned(&list, &[], 10), names(&["small", "text", "all"]));
        assert_eq!(planned(&list, &[Need::Tools], 10), names(&["small", "all"]));
        assert_eq!(planned(&list, &[Need::Web], 10), names(&["all"]), "unknown never means web");
        assert_eq!(planned(&list, &[], 950), names(&["text", "all"]), "prompt and answer share the window");
    }

    #[test]
    fn a_window_that_rejects_all_alone_is_told_apart() {
        let list = targets(&[("a", Some(10), None), ("b", Some(20), None)]);
        assert_eq!(planned(&list, &[], 50), Err(true));
        assert_eq!(planned(&list, &[Need::Web], 50), Err(false));
    }

    #[test]
    fn the_clients_budget_narrows_total_and_never_widens_it() {
        let list = targets(&[("a", None, None)]);
        let silent = Deadlines::default();
        let total = |stream, budget| {
            let input = PlanInput {
                candidates: &list,
                needs: &[],
                input_tokens: 1,
                input_tokens_least: 1,
                output_tokens_max: None,
                stream,
                dialect: Dialect::Chat,
                bound: None,
                global: &silent,
                task: &silent,
                budget: Some(Duration::from_secs(budget)),
            };
            let limit = plan(&input).expect("fits").steps[0].limits.total;
            (limit.value.map(|value| value.as_secs()), limit.source)
        };
        assert_eq!(total(true, 7), (Some(7), LimitSource::Client));
        assert_eq!(total(false, 9000), (Some(1800), LimitSource::Configured));
    }
}
