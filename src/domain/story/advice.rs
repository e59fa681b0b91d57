//! "What to change": the last paragraph of a story.

use super::evidence;
use crate::domain::failure::{Cause, advice_for};
use crate::domain::record::{AttemptRecord, Record};

/// A cause and where it was met: the target and provider if one alone met it.
struct Met<'a> {
    cause: Cause,
    by: Option<&'a AttemptRecord>,
    targets: Vec<&'a str>,
}

/// One piece of advice for each distinct cause, in the order they were met. What
/// only wants to be known (a hedge that lost) needs no change.
pub(super) fn tell(record: &Record) -> Vec<String> {
    let mut met: Vec<Met<'_>> = Vec::new();
    for attempt in &record.attempts {
        let Some(cause) = attempt.cause() else {
            continue;
        };
        let cause = evidence::effective(cause, &attempt.evidence);
        match met.iter_mut().find(|known| known.cause == cause) {
            Some(known) if known.targets.contains(&attempt.target.as_str()) => {}
            Some(known) => {
                known.by = None;
                known.targets.push(&attempt.target);
            }
            None => met.push(Met { cause, by: Some(attempt), targets: vec![&attempt.target] }),
        }
    }
    // The exchange's own cause, unless an attempt has brought it already.
    let labels = record.annotations.iter().chain([&record.cause]);
    let own = labels.filter_map(|label| Cause::ALL.iter().find(|cause| cause.as_str() == label));
    for cause in own {
        let told = record.attempts.iter().any(|attempt| attempt.cause == cause.as_str());
        if !told && met.iter().all(|known| known.cause != *cause) {
            met.push(Met { cause: *cause, by: None, targets: Vec::new() });
        }
    }
    met.retain(|known| known.cause != Cause::HedgeLost);
    if met.is_empty() {
        return Vec::new();
    }
    let mut lines = vec!["What to change:".to_owned()];
    lines.extend(met.iter().map(change));
    lines
}

fn change(met: &Met<'_>) -> String {
    let target = met.by.map(|attempt| attempt.target.as_str());
    let provider = met.by.map(|attempt| attempt.provider.as_str());
    let advice = advice_for(met.cause, target, provider);
    match met.targets.as_slice() {
        [] => format!("  {}: {advice}.", met.cause),
        targets => format!("  {} ({}): {advice}.", met.cause, targets.join(", ")),
    }
}
