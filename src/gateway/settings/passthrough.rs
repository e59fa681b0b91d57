//! `[passthrough]`: paths that go to a provider as bytes.
//!
//! Owns the prefixes and whom they lead to. Refuses what is sent there
//! (`gateway/passage.rs`). Invariant: no prefix hides a door of ours.

use super::check::{Capabilities, Params, Target, unknown};
use super::limits::Deadlines;
use super::provider::Provider;
use super::raw::RawSettings;
use super::{Fault, nearest};
use crate::domain::ids::TargetName;
use crate::wire::dialect::Dialect;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Paths of ours beside those of the dialects.
const OURS: [&str; 2] = ["/v1/models", "/v1/feedback"];

/// A prefix and its provider.
#[derive(Debug, Clone)]
pub struct Passage {
    /// Whole segments of a path, `/v1/` at its beginning.
    pub prefix: Arc<str>,
    /// The provider as a target without a model; it is named for the provider.
    pub target: Arc<Target>,
}

/// All prefixes, the longest first.
#[derive(Debug, Default)]
pub struct Passages(Vec<Passage>);

impl Passages {
    /// Where a path leads: the longest prefix of whole segments wins.
    #[must_use]
    pub fn at(&self, path: &str) -> Option<&Passage> {
        self.0.iter().find(|passage| is_below(path, &passage.prefix))
    }

    /// Checks every entry.
    pub fn read(raw: &RawSettings, providers: &BTreeMap<String, Arc<Provider>>, faults: &mut Vec<Fault>) -> Self {
        let mut passages = Vec::new();
        for (prefix, name) in &raw.passthrough {
            let at = format!("passthrough.{prefix}");
            if let Some((problem, fix)) = objection(prefix) {
                faults.push(Fault::new(&at, problem, fix));
            }
            if !raw.providers.contains_key(name) {
                faults.push(unknown(&at, "provider", name, raw.providers.keys()));
            }
            // A provider that is there but faulty has its own fault already.
            if let Some(provider) = providers.get(name) {
                passages.push(Passage { prefix: prefix.as_str().into(), target: Arc::new(as_target(provider)) });
            }
        }
        passages.sort_by_key(|passage| std::cmp::Reverse(passage.prefix.len()));
        Self(passages)
    }
}

fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What is wrong with a prefix, and the fix.
fn objection(prefix: &str) -> Option<(String, String)> {
    const FORM: &str = "write it as \"/v1/audio\": whole segments behind /v1/, without a slash at the end";
    let segments = prefix.strip_prefix("/v1/").map(|below| below.split('/').collect::<Vec<_>>());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let is_good = |segment: &&str| !matches!(*segment, "" | "." | "..") && segment.bytes().all(plain);
    if !segments.is_some_and(|segments| segments.iter().all(is_good)) {
        return Some((format!("\"{prefix}\" is no prefix of paths below /v1/"), FORM.to_owned()));
    }
    let doors: Vec<String> = Dialect::ALL.iter().map(|dialect| format!("/v1{}", dialect.path())).collect();
    let is_door = doors.iter().any(|door| door == prefix) || OURS.contains(&prefix) || is_below(prefix, OURS[0]);
    is_door.then(|| {
        let all = doors.iter().map(String::as_str).chain(OURS);
        let door = nearest(prefix, all, 1).pop().unwrap_or_else(|| prefix.to_owned());
        (format!("\"{door}\" is served by the gateway itself"), "leave it out; routes and targets serve it".to_owned())
    })
}

/// Keys, clocks and metrics go by targets.
fn as_target(provider: &Arc<Provider>) -> Target {
    Target {
        name: TargetName::new(provider.name.as_str()),
        label: TargetName::new(format!("{}/*", provider.name)),
        provider: Arc::clone(provider),
        model: String::new(),
        context_tokens: None,
        max_output_tokens: None,
        capabilities: Capabilities::Unknown,
        price: None,
        params: Params::default(),
        stream_upstream: true,
        prefill: None,
        deadlines: Deadlines::default(),
        on_demand: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::settings::{Outside, RawProvider, Settings};

    fn checked(passthrough: &[(&str, &str)]) -> Result<Settings, Vec<Fault>> {
        let mut raw = RawSettings::default();
        for name in ["openai", "other"] {
            let url = Some("http://127.0.0.1:1/v1".into());
            let provider = RawProvider { dialect: Some("openai".into()), base_url: url, ..RawProvider::default() };
            raw.providers.insert(name.into(), provider);
        }
        raw.passthrough = passthrough.iter().map(|(prefix, name)| ((*prefix).into(), (*name).into())).collect();
        Settings::check(&raw, &Outside::nothing())
    }

    #[test]
    fn the_longest_prefix_of_whole_segments_wins() {
        let settings = checked(&[("/v1/audio", "openai"), ("/v1/audio/speech", "other")]).expect("valid");
        let leads = |path: &str| settings.passages.at(path).map(|passage| passage.target.name.to_string());
        assert_eq!(leads("/v1/audio"), Some("openai".to_owned()));
        assert_eq!(leads("/v1/audio/speech"), Some("other".to_owned()));
        assert_eq!(leads("/v1/audio/speech/x"), Some("other".to_owned()));
        assert_eq!(leads("/v1/audio/speeches"), Some("openai".to_owned()));
        assert_eq!(leads("/v1/audios"), None);
    }

    #[test]
    fn a_prefix_that_hides_a_door_or_is_none_is_a_fault() {
        let doors = Dialect::ALL.iter().map(|dialect| format!("/v1{}", dialect.path()));
        let all = doors.chain(["/v1/models", "/v1/models/x", "/v1/feedback"].map(str::to_owned));
        for door in all {
            let faults = checked(&[(&door, "openai")]).expect_err(&door);
            assert!(faults.len() == 1 && faults[0].problem.contains("served by the gateway itself"), "{faults:?}");
        }
        for bad in
            ["", "/v1", "/v1/", "/audio", "/v1/audio/", "/v1//audio", "/v1/a/../b", "/v1/a b", "/v1/a%2e", "v1/a"]
        {
            let faults = checked(&[(bad, "openai")]).expect_err(bad);
            assert!(faults.len() == 1 && faults[0].fix.contains("\"/v1/audio\""), "{bad}: {faults:?}");
        }
        for good in ["/v1/messages/batches", "/v1/responses/compact", "/v1/chat"] {
            assert!(checked(&[(good, "openai")]).is_ok(), "{good}");
        }
        let faults = checked(&[("/v1/audio", "opnai")]).expect_err("unknown");
        assert_eq!(
            (faults[0].key.as_str(), faults[0].fix.as_str()),
            ("passthrough./v1/audio", "did you mean \"openai\"?")
        );
    }
}
