//! The limits in force, for people: what `limit_seconds` shows.
//!
//! Owns which targets may serve which tasks, and by which clocks. Refuses to
//! keep time or to know a request: what a client narrows is in its plan.
//! Invariant: a row here is the limit that `plan` gives the same step.

use super::{Deadlines, RouteKind, Settings, Target};
use crate::domain::deadline::{Clock, LimitKind, LimitSource};
use crate::domain::ids::TargetName;
use crate::domain::task::Task;
use std::collections::BTreeMap;
use std::time::Duration;

/// One clock of one target for one task. A clock that is off has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitInForce {
    /// A metric label, hence `provider/*` for every name that is passed through.
    pub target: TargetName,
    /// `none` on routes where a task only labels.
    pub task: Task,
    pub clock: Clock,
    pub kind: LimitKind,
    pub source: LimitSource,
    pub value: Duration,
}

/// Every limit that some request may meet. `total` is the one of requests that
/// are not streamed, as streams are without unless one is set.
#[must_use]
pub fn limits_in_force(settings: &Settings) -> Vec<LimitInForce> {
    let mut pairs: BTreeMap<(TargetName, Task), (Deadlines, Deadlines)> = BTreeMap::new();
    let mut may_use = |label: &TargetName, task: &Task, of_task: Deadlines, of_target: Deadlines| {
        pairs.insert((label.clone(), task.clone()), (of_task, of_target));
    };
    let (none, silent) = (Task::new("none"), Deadlines::default());
    let listed = |list: &[std::sync::Arc<Target>],
                  may_use: &mut dyn FnMut(&TargetName, &Task, Deadlines, Deadlines)| {
        for target in list {
            may_use(&target.label, &none, silent, target.deadlines);
        }
    };
    for route in settings.routes.values() {
        match &route.kind {
            RouteKind::Targets(list) => listed(list, &mut may_use),
            RouteKind::ByTask { .. } => {
                for task in settings.tasks.values() {
                    for target in &task.targets {
                        may_use(&target.label, &task.task, task.deadlines, target.deadlines);
                    }
                }
            }
            RouteKind::Passthrough { fallback } => {
                listed(fallback, &mut may_use);
                for provider in settings.providers.values() {
                    may_use(&TargetName::new(format!("{}/*", provider.name)), &none, silent, silent);
                }
            }
        }
    }
    let rows = pairs.iter().flat_map(|((target, task), (of_task, of_target))| {
        let levels = [&settings.deadlines, of_task, of_target];
        Clock::ALL.iter().filter_map(move |clock| {
            let limit = Deadlines::resolve(&levels, *clock, false);
            Some(LimitInForce {
                target: target.clone(),
                task: task.clone(),
                clock: *clock,
                kind: LimitKind::Hard,
                source: limit.source,
                value: limit.value?,
            })
        })
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::settings::{
        Outside, RawDeadline, RawDeadlines, RawProvider, RawRoute, RawSettings, RawTarget, RawTask,
    };

    fn rows(change: impl FnOnce(&mut RawSettings)) -> Vec<(String, u64)> {
        let mut raw = RawSettings::default();
        let provider = RawProvider {
            dialect: Some("openai".into()),
            base_url: Some("http://127.0.0.1:1".into()),
            ..RawProvider::default()
        };
        raw.providers.insert("p".into(), provider);
        for name in ["a", "b", "unused"] {
            let target = RawTarget { provider: Some("p".into()), model: Some("m".into()), ..RawTarget::default() };
            raw.targets.insert(name.into(), target);
        }
        change(&mut raw);
        let settings = Settings::check(&raw, &Outside::nothing()).expect("valid");
        limits_in_force(&settings)
            .into_iter()
            .map(|row| {
                let (kind, source) = (row.kind.as_str(), row.source.as_str());
                assert_eq!((kind, source), ("hard", "configured"));
                (format!("{} {} {}", row.target, row.task, row.clock.as_str()), row.value.as_secs())
            })
            .collect()
    }

    fn first_token(text: &str) -> RawDeadlines {
        RawDeadlines { first_token: Some(RawDeadline(text.into())), ..RawDeadlines::default() }
    }

    fn of(rows: &[(String, u64)], key: &str) -> Option<u64> {
        rows.iter().find(|(found, _)| found == key).map(|(_, value)| *value)
    }

    #[test]
    fn a_target_has_its_limits_for_each_task_that_may_use_it_and_an_unused_one_has_none() {
        let rows = rows(|raw| {
            raw.deadlines = first_token("9s");
            for (task, targets) in [("slow", vec!["a", "b"]), ("quick", vec!["a"])] {
                let targets = targets.into_iter().map(str::to_owned).collect();
                raw.tasks.insert(task.into(), RawTask { targets, ..RawTask::default() });
            }
            raw.tasks.get_mut("slow").expect("put there").deadlines = first_token("20m");
            raw.targets.get_mut("b").expect("put there").deadlines = first_token("off");
            let by_task = RawRoute { by_task: true, default_task: Some("quick".into()), ..RawRoute::default() };
            raw.routes.insert("auto".into(), by_task);
            let own = RawRoute { targets: vec!["a".into()], ..RawRoute::default() };
            raw.routes.insert("own".into(), own);
        });
        assert_eq!(of(&rows, "a slow first_token"), Some(1200), "the task widens it");
        assert_eq!(of(&rows, "a quick first_token"), Some(9));
        assert_eq!(of(&rows, "a none first_token"), Some(9), "a route of its own: no task's limits apply");
        assert_eq!(of(&rows, "b slow first_token"), None, "off is not shown");
        assert_eq!(of(&rows, "b slow idle"), Some(300));
        assert_eq!(of(&rows, "a none total"), Some(1800));
        assert!(!rows.iter().any(|(key, _)| key.starts_with("unused") || key == "b quick idle"), "{rows:?}");
        assert_eq!(rows.len(), 4 * 6 - 1);
    }

    #[test]
    fn names_that_are_passed_through_share_one_row() {
        let rows = rows(|raw| {
            let route = RawRoute { passthrough: true, fallback: vec!["b".into()], ..RawRoute::default() };
            raw.routes.insert("*".into(), route);
        });
        assert_eq!(of(&rows, "p/* none first_token"), Some(600));
        assert_eq!(of(&rows, "b none connect"), Some(5));
        assert_eq!(rows.len(), 12);
    }

    #[test]
    fn tasks_that_no_route_asks_for_have_none() {
        let rows = rows(|raw| {
            let targets = vec!["a".to_owned()];
            raw.tasks.insert("idle".into(), RawTask { targets, ..RawTask::default() });
            raw.routes.insert("own".into(), RawRoute { targets: vec!["b".into()], ..RawRoute::default() });
        });
        assert!(rows.iter().all(|(key, _)| key.starts_with("b none")), "{rows:?}");
    }
}
