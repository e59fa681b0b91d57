//! `[providers.NAME]`: how an API is reached, spoken to and paid for.
//!
//! Owns dialect, APIs, credentials, query and fixed headers of a provider; the
//! connection itself is `reach`'s, a vendor's known ways are `vendors`'.
//! Refuses to read files or the environment. Invariant: a header or parameter
//! that may be a credential is marked so, or wrapped, before it leaves here.

use super::raw::{Many, RawGateway, RawProvider, RawSettings};
use super::reach::{Outside, Reach, reach};
use super::vendors::{Api, Vendor, vendor};
use super::{Fault, Key, Resolved};
use crate::domain::ids::ProviderName;
use crate::domain::secret::Secret;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// How to reach an API.
#[derive(Debug)]
pub struct Provider {
    pub name: ProviderName,
    pub dialect: Dialect,
    pub reach: Arc<Reach>,
    pub auth: Auth,
    /// The header that our key goes out in.
    pub auth_header: HeaderName,
    /// The APIs it serves, each once; the first of chat, responses and messages
    /// is what requests in other dialects are translated to.
    pub apis: Vec<Api>,
    /// What is known of its vendor, by its host.
    pub vendor: &'static Vendor,
    /// Patterns of model names it serves; `None`: ask its `GET /models`.
    pub models: Option<Vec<String>>,
    /// Sent with every request.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// What Anthropic's APIs demand in each request, unless it says another
/// (docs.claude.com, "Versioning": there has been none since).
pub const ANTHROPIC_VERSION: (HeaderName, HeaderValue) =
    (HeaderName::from_static("anthropic-version"), HeaderValue::from_static("2023-06-01"));

/// Whose conventions a provider follows beside its APIs: header of the key,
/// version header, form of its list of models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    OpenAi,
    Anthropic,
    /// The simulator: all APIs on one port.
    Sim,
}

impl Provider {
    /// Whether it serves this API.
    #[must_use]
    pub fn serves(&self, api: Api) -> bool {
        self.apis.contains(&api)
    }

    /// The dialect of conversation that other dialects are translated to;
    /// `None`: it serves none, as one for embeddings alone.
    #[must_use]
    pub fn spoken(&self) -> Option<Api> {
        self.apis.iter().copied().find(|api| api.converses())
    }

    /// The header that carries this key: `Bearer KEY` in `authorization`, the key
    /// as it is in any other, marked so that no logger of headers shows it.
    #[must_use]
    pub fn credential(&self, key: &Secret<String>) -> (HeaderName, HeaderValue) {
        let text = if self.auth_header == AUTHORIZATION {
            Secret::new(format!("Bearer {}", key.expose()))
        } else {
            key.clone()
        };
        let mut value = HeaderValue::try_from(text.expose()).expect("checked when the key was read");
        value.set_sensitive(true);
        (self.auth_header.clone(), value)
    }
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

/// Checks every provider, and that no two claim the same names.
pub fn providers(raw: &RawSettings, outside: &Outside<'_>, faults: &mut Vec<Fault>) -> BTreeMap<String, Arc<Provider>> {
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
    let key = |field: &str| format!("providers.{name}.{field}");
    let dialect = dialect(&key("dialect"), raw, faults);
    let query = query(name, raw, outside.resolve, faults);
    let reach = reach(name, raw, gateway, outside, faults);
    let auth = auth(name, raw, outside.resolve, faults);
    if matches!(auth, Auth::Client) && raw.models.is_none() && raw.auth.is_some() {
        // Its list of models would have to be fetched with a key that we do not have.
        faults.push(Fault::new(
            key("models"),
            "is needed with auth = \"client\"",
            "list the names or patterns it serves, as models = [\"gpt-*\"]",
        ));
    }
    let headers = headers(name, raw, outside.resolve, faults);
    let auth_header = auth_header(&key("auth_header"), raw, dialect, faults);
    if headers.iter().any(|(header, _)| *header == auth_header) && !auth.keys().is_empty() {
        let problem = format!("`{auth_header}` carries the key, and stands in `headers` as well");
        faults.push(Fault::new(key("auth_header"), problem, "leave it out of one of the two"));
    }
    let dialect = dialect.unwrap_or(Dialect::OpenAi);
    let mut reach = reach?;
    if dialect == Dialect::Anthropic && !reach.endpoint.path.ends_with("/v1") {
        // The vendor's own packages take the base URL without it and write `/v1/messages` behind; so
        // both are taken, and mean the same.
        reach.endpoint.path.push_str("/v1");
    }
    reach.query = query;
    let vendor = vendor(dialect, &reach.endpoint);
    let apis = apis(&key("apis"), raw, vendor, faults);
    let (name, models) = (ProviderName::new(name), raw.models.clone());
    Some(Provider { name, dialect, reach: Arc::new(reach), auth, auth_header, apis, vendor, models, headers })
}

fn dialect(at: &str, raw: &RawProvider, faults: &mut Vec<Fault>) -> Option<Dialect> {
    match raw.dialect.as_deref() {
        Some("openai") => return Some(Dialect::OpenAi),
        Some("anthropic") => return Some(Dialect::Anthropic),
        Some("sim") => return Some(Dialect::Sim),
        Some(other) => faults.push(Fault::new(
            at,
            format!("\"{other}\" is not a dialect this build speaks"),
            "write \"openai\", \"anthropic\" or \"sim\"",
        )),
        None => faults.push(Fault::new(at, "is missing", "write dialect = \"openai\"")),
    }
    None
}

fn apis(at: &str, raw: &RawProvider, vendor: &Vendor, faults: &mut Vec<Fault>) -> Vec<Api> {
    let Some(names) = &raw.apis else { return vendor.apis.to_vec() };
    let known = || Api::ALL.map(|api| format!("\"{}\"", api.as_str())).join(", ");
    if names.is_empty() {
        faults.push(Fault::new(at, "is an empty list", format!("name some of {}, or leave it out", known())));
    }
    let mut apis = Vec::new();
    for name in names {
        match Api::ALL.into_iter().find(|api| api.as_str() == name) {
            Some(api) if apis.contains(&api) => {
                faults.push(Fault::new(at, format!("\"{name}\" stands twice"), "list each API once"));
            }
            Some(api) => apis.push(api),
            None => {
                let fix = match super::nearest(name, Api::ALL.iter().map(|api| api.as_str()), 1).first() {
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None => format!("there are: {}", known()),
                };
                faults.push(Fault::new(at, format!("there is no API \"{name}\""), fix));
            }
        }
    }
    apis
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
    let references = raw.api_key.clone().map_or_else(Vec::new, Many::into_vec);
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
    !key.is_empty() && HeaderValue::from_str(key).is_ok()
}

/// The header of our key: the one that is named, else the dialect's own
/// (Anthropic's API overview: `x-api-key`).
fn auth_header(at: &str, raw: &RawProvider, dialect: Option<Dialect>, faults: &mut Vec<Fault>) -> HeaderName {
    let usual = match dialect {
        Some(Dialect::Anthropic) => HeaderName::from_static("x-api-key"),
        Some(Dialect::OpenAi | Dialect::Sim) | None => AUTHORIZATION,
    };
    let Some(text) = &raw.auth_header else { return usual };
    if raw.api_key.is_none() {
        let problem = "means nothing without api_key";
        faults.push(Fault::new(
            at,
            problem,
            "write api_key beside it, or leave it out; a caller's own goes as it came",
        ));
    }
    match HeaderName::try_from(text.as_str()) {
        Ok(header) if !OURS.contains(&header.as_str()) => header,
        Ok(header) => {
            let problem = format!("`{header}` is written by the gateway itself");
            faults.push(Fault::new(at, problem, "name the header of the key, as \"x-api-key\" or \"api-key\""));
            usual
        }
        Err(_) => {
            let problem = format!("\"{text}\" is no name of a header");
            faults.push(Fault::new(at, problem, "use letters, digits and dashes, as \"x-api-key\""));
            usual
        }
    }
}

/// Headers that the gateway writes itself, and those that belong to one
/// connection (RFC 9110, section 7.6.1).
const OURS: [&str; 15] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// Words in the name of a header or parameter that say that its value is a credential.
const CREDENTIALS: [&str; 7] = ["key", "token", "secret", "auth", "cookie", "password", "signature"];

fn is_credential(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    CREDENTIALS.iter().any(|word| name.contains(word))
}

const BY_REFERENCE: &str = "write \"env:NAME\" or \"file:PATH\"";

/// A value as it stands in the file, or what its reference gives, with whether
/// it was one. A credential must be a reference, as everywhere.
fn value(
    name: &str,
    text: &str,
    resolve: &dyn Fn(&str) -> Result<Resolved, String>,
) -> Result<(Secret<String>, bool), (String, &'static str)> {
    if text.starts_with("exec:") {
        return Err(("would be asked once and never renewed".to_owned(), "write \"env:NAME\" or \"file:PATH\" here"));
    }
    if ["env:", "file:"].iter().any(|kind| text.starts_with(kind)) {
        let resolved = resolve(text).map_err(|problem| (problem, BY_REFERENCE))?;
        return Ok((resolved.secret, true));
    }
    if is_credential(name) {
        return Err(("holds a credential as it is".to_owned(), BY_REFERENCE));
    }
    Ok((Secret::new(text.to_owned()), false))
}

fn headers(
    name: &str,
    raw: &RawProvider,
    resolve: &dyn Fn(&str) -> Result<Resolved, String>,
    faults: &mut Vec<Fault>,
) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::new();
    for (header, text) in &raw.headers {
        match self::header(header, text, resolve) {
            Ok(pair) => headers.push(pair),
            Err((problem, fix)) => {
                faults.push(Fault::new(format!("providers.{name}.headers.{header}"), problem, fix));
            }
        }
    }
    headers
}

fn header(
    name: &str,
    text: &str,
    resolve: &dyn Fn(&str) -> Result<Resolved, String>,
) -> Result<(HeaderName, HeaderValue), (String, &'static str)> {
    let form = "use letters, digits and dashes, and a value without control characters";
    let name = HeaderName::try_from(name).map_err(|_| ("is no name of a header".to_owned(), form))?;
    // A user agent of one's own is nobody else's.
    if name == AUTHORIZATION || (OURS.contains(&name.as_str()) && name != http::header::USER_AGENT) {
        return Err(("is written by the gateway itself".to_owned(), "leave it out; credentials go into api_key"));
    }
    let (text, is_reference) = value(name.as_str(), text, resolve)?;
    let mut value = HeaderValue::try_from(text.expose()).map_err(|_| ("is no value of a header".to_owned(), form))?;
    value.set_sensitive(is_reference);
    Ok((name, value))
}

/// Parameters that a provider's requests may carry.
const QUERY_PARAMETERS_MAX: usize = 16;
/// Bytes of them, encoded.
const QUERY_BYTES_MAX: usize = 4096;

/// The parameters as they are written behind a path, without the `?`; `None`
/// without any. A secret as a whole, since any value may be one.
fn query(
    name: &str,
    raw: &RawProvider,
    resolve: &dyn Fn(&str) -> Result<Resolved, String>,
    faults: &mut Vec<Fault>,
) -> Option<Secret<String>> {
    let at = format!("providers.{name}.query");
    let mut query = String::new();
    for (parameter, text) in &raw.query {
        if parameter.is_empty() {
            faults.push(Fault::new(&at, "holds a parameter without a name", "write query = { NAME = \"value\" }"));
        }
        match value(parameter, text, resolve) {
            Ok((value, _)) => {
                query.push_str(if query.is_empty() { "" } else { "&" });
                percent_encode(parameter, &mut query);
                query.push('=');
                percent_encode(value.expose(), &mut query);
            }
            Err((problem, fix)) => faults.push(Fault::new(format!("{at}.{parameter}"), problem, fix)),
        }
    }
    if raw.query.len() > QUERY_PARAMETERS_MAX || query.len() > QUERY_BYTES_MAX {
        let problem = format!("is over {QUERY_PARAMETERS_MAX} parameters or {QUERY_BYTES_MAX} bytes");
        faults.push(Fault::new(&at, problem, "keep what the provider asks for in each request"));
    }
    (!query.is_empty()).then(|| Secret::new(query))
}

/// All but unreserved characters as `%XX` (RFC 3986, sections 2.1 and 2.3).
pub fn percent_encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}
