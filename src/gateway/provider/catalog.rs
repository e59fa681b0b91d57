//! Who serves which model name.
//!
//! Owns the patterns of the configuration and the lists that providers publish.
//! Invariants: a longer pattern wins; the last good list is kept; at most
//! `NAMES_MAX` names a provider.

use super::transport::{Marks, Outgoing, Transport, Upstream};
use crate::gateway::settings::{ANTHROPIC_VERSION, Auth, Dialect, Provider, Settings, percent_encode};
use crate::wire::chat::read_model_list;
use parking_lot::RwLock;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Names kept of one provider's list.
const NAMES_MAX: usize = 2000;
/// Names that one page may hold, the most that Anthropic allows.
const PAGE: usize = 1000;
const LIST_BYTES_MAX: usize = 4 << 20;
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a provider is asked for its list.
pub const REFRESH_EVERY: Duration = Duration::from_mins(10);

/// How often one is asked that has not given a list yet.
pub const FIRST_LIST_EVERY: Duration = Duration::from_secs(15);

/// The lists that providers published.
#[derive(Debug, Default)]
pub struct Catalog(RwLock<BTreeMap<String, Vec<String>>>);

impl Catalog {
    /// The provider that serves `model`: of all patterns that match, the longest.
    #[must_use]
    pub fn who_serves(&self, settings: &Settings, model: &str) -> Option<Arc<Provider>> {
        let lists = self.0.read();
        settings
            .providers
            .values()
            .filter_map(|provider| {
                let best = match &provider.models {
                    Some(patterns) => patterns.iter().filter(|pattern| matches(pattern, model)).map(String::len).max(),
                    None => lists.get(provider.name.as_str())?.iter().find(|name| *name == model).map(String::len),
                };
                Some((best?, provider))
            })
            // Of equals the first: `max_by_key` would keep the last.
            .fold(None, |best: Option<(usize, &Arc<Provider>)>, next| match best {
                Some(best) if best.0 >= next.0 => Some(best),
                _ => Some(next),
            })
            .map(|(_, provider)| Arc::clone(provider))
    }

    /// Every published name, for lists and for "did you mean".
    #[must_use]
    pub fn names(&self) -> Vec<(String, String)> {
        let lists = self.0.read();
        lists.iter().flat_map(|(provider, names)| names.iter().map(|name| (name.clone(), provider.clone()))).collect()
    }

    /// Whether a list of this provider was ever read.
    #[must_use]
    pub fn has_list(&self, provider: &str) -> bool {
        self.0.read().contains_key(provider)
    }

    /// Asks every provider that has to be asked; a failure keeps the last good
    /// list and is returned as `(provider, why)`.
    pub async fn refresh(&self, settings: &Settings, transport: &Arc<Transport>) -> Vec<(String, String)> {
        let mut failures = Vec::new();
        for provider in settings.providers.values() {
            if provider.models.is_some() || matches!(provider.auth, Auth::Client) {
                continue;
            }
            let fetched = tokio::time::timeout(FETCH_TIMEOUT, fetch(provider, transport)).await;
            match fetched.unwrap_or_else(|_| Err(format!("no answer within {} s", FETCH_TIMEOUT.as_secs()))) {
                Ok(names) => {
                    self.0.write().insert(provider.name.as_str().to_owned(), names);
                }
                Err(why) => failures.push((provider.name.as_str().to_owned(), why)),
            }
        }
        failures
    }
}

/// All of a provider's names, up to `NAMES_MAX`: OpenAI's list is whole,
/// Anthropic's comes in pages (docs.claude.com, "List Models").
async fn fetch(provider: &Provider, transport: &Arc<Transport>) -> Result<Vec<String>, String> {
    if provider.dialect != Dialect::Anthropic {
        return read_model_list(&ask(provider, transport, "/models".into()).await?, NAMES_MAX);
    }
    let mut names: Vec<String> = Vec::new();
    loop {
        let mut path = format!("/models?limit={PAGE}");
        if let Some(last) = names.last() {
            path.push_str("&after_id=");
            percent_encode(last, &mut path);
        }
        let body = ask(provider, transport, path.into()).await?;
        let page = read_model_list(&body, NAMES_MAX.saturating_sub(names.len()))?;
        // A page that brings nothing would be asked for again for ever.
        let ends = page.is_empty() || !has_more(&body);
        names.extend(page);
        if ends || names.len() >= NAMES_MAX {
            return Ok(names);
        }
    }
}

/// Whether another page follows.
fn has_more(body: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Page {
        #[serde(default)]
        has_more: bool,
    }
    serde_json::from_slice::<Page>(body).is_ok_and(|page| page.has_more)
}

async fn ask(provider: &Provider, transport: &Arc<Transport>, path: Cow<'static, str>) -> Result<Vec<u8>, String> {
    let mut headers = provider.headers.clone();
    headers.extend(provider.auth.keys().first().map(|key| provider.credential(&key.secret())));
    if provider.dialect == Dialect::Anthropic && !headers.iter().any(|(name, _)| *name == ANTHROPIC_VERSION.0) {
        headers.push(ANTHROPIC_VERSION);
    }
    headers.push((http::header::ACCEPT, http::HeaderValue::from_static("application/json")));
    let reach = Arc::clone(&provider.reach);
    let request = Outgoing { reach, method: http::Method::GET, path, headers, body: bytes::Bytes::new() };
    let opened = Arc::clone(transport).open(request, Arc::new(Marks::default())).await;
    let mut upstream = opened.map_err(|_| "it cannot be reached".to_owned())?;
    if upstream.status != 200 {
        return Err(format!("it answered {}", upstream.status));
    }
    let body = read_all(&mut upstream, LIST_BYTES_MAX).await?;
    transport.retire(upstream);
    Ok(body)
}

async fn read_all(upstream: &mut Upstream, max: usize) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while std::future::poll_fn(|cx| upstream.poll_body(cx, |bytes| body.extend_from_slice(bytes)))
        .await
        .map_err(|_| "its list broke off".to_owned())?
    {
        if body.len() > max {
            return Err(format!("its list is larger than {max} bytes"));
        }
    }
    Ok(body)
}

/// `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, name, expected) in [
            ("gpt-*", "gpt-4o", true),
            ("gpt-*", "xgpt-4o", false),
            ("*", "anything", true),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "a-c", false),
            ("exact", "exact", true),
            ("exact", "exactly", false),
            ("*-mini", "o4-mini", true),
            ("aa*aa", "aaa", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
