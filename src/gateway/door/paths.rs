//! Which path leads where, and by which methods.
//!
//! Owns the table of exchanges. Refuses sessions and bodies: it is a pure
//! function of a path. Invariant: a door of ours goes before any prefix that the
//! configuration passes through.

use crate::domain::failure::Observation;
use crate::gateway::recall::Part;
use crate::gateway::settings::{Passage, Settings};
use crate::wire::dialect::Dialect;
use crate::wire::redact::redact;
use http::{HeaderMap, Method};
use percent_encoding::percent_decode_str;

/// The list of models, which is no exchange.
pub const MODELS: &str = "/v1/models";
const FEEDBACK: &str = "/v1/feedback";

/// What a path leads to.
#[derive(Debug, Clone)]
pub enum Way {
    /// A request to a model.
    Model,
    /// To a provider as bytes.
    Passage(Passage),
    /// A response that was made before, by its id.
    Response(String, Part),
    Feedback,
    Unknown,
}

impl Way {
    /// `path` without its query and a slash at its end.
    #[must_use]
    pub fn of(path: &str, settings: &Settings) -> Self {
        if dialect_at(path).is_some() {
            return Self::Model;
        }
        if path == FEEDBACK {
            return Self::Feedback;
        }
        if let Some(passage) = settings.passages.at(path) {
            return Self::Passage(passage.clone());
        }
        if let Some((id, part)) = path.strip_prefix("/v1/responses/").and_then(response) {
            return Self::Response(id, part);
        }
        Self::Unknown
    }

    /// Whether something is there.
    #[must_use]
    pub const fn is_served(&self) -> bool {
        !matches!(self, Self::Unknown)
    }

    #[must_use]
    pub fn takes(&self, method: &Method) -> bool {
        match self {
            Self::Model | Self::Feedback | Self::Response(_, Part::Cancel) => *method == Method::POST,
            // The one is for proxies, the other shows a request's headers to whoever asked (RFC 9110, section 9.3.8).
            Self::Passage(_) => !matches!(*method, Method::CONNECT | Method::TRACE),
            Self::Response(_, Part::Whole) => matches!(*method, Method::GET | Method::DELETE),
            Self::Response(_, Part::InputItems) => *method == Method::GET,
            Self::Unknown => true,
        }
    }

    /// The methods that are taken, as `Allow` lists them.
    #[must_use]
    pub const fn allowed(&self) -> &'static str {
        match self {
            Self::Model | Self::Feedback | Self::Response(_, Part::Cancel) => "POST",
            Self::Response(_, Part::Whole) => "GET, DELETE",
            Self::Response(_, Part::InputItems) => "GET",
            Self::Passage(_) | Self::Unknown => "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
        }
    }
}

/// The id of a response, and what of it is asked for; `below` stands behind `/v1/responses/`.
fn response(below: &str) -> Option<(String, Part)> {
    let (id, part) = match below.split_once('/') {
        None => (below, Part::Whole),
        Some((id, "input_items")) => (id, Part::InputItems),
        Some((id, "cancel")) => (id, Part::Cancel),
        Some(_) => return None,
    };
    let id = percent_decode_str(id).decode_utf8().ok()?;
    (!id.is_empty()).then(|| (id.into_owned(), part))
}

/// What requests to a path are written in.
#[must_use]
pub fn dialect_at(path: &str) -> Option<Dialect> {
    let below = path.strip_prefix("/v1")?;
    Dialect::ALL.iter().copied().find(|dialect| dialect.path() == below)
}

/// The dialect in which a refusal at a path is read.
#[must_use]
pub fn dialect_of(path: &str, headers: &HeaderMap) -> Dialect {
    dialect_at(path).unwrap_or(match () {
        () if path.starts_with("/v1/responses/") => Dialect::Responses,
        () if wants_anthropics(headers) || path.starts_with("/v1/messages/") => Dialect::Messages,
        () => Dialect::Chat,
    })
}

/// Anthropic's clients say which version they speak with each request (Anthropic
/// API reference, "Versions").
#[must_use]
pub fn wants_anthropics(headers: &HeaderMap) -> bool {
    headers.contains_key("anthropic-version")
}

/// A path that nobody serves.
#[must_use]
pub fn unknown_path(path: &str) -> Observation {
    let paths: Vec<String> = Dialect::ALL.iter().map(|dialect| format!("/v1{}", dialect.path())).collect();
    let all = paths.iter().map(String::as_str).chain([MODELS, FEEDBACK, "/healthz", "/readyz"]);
    let nearest = crate::gateway::settings::nearest(path, all, 1);
    Observation::UnknownPath { asked: redact(path, 100), nearest }
}

/// What a path is called below a provider's base URL, with its query.
///
/// # Errors
/// It climbs: whoever resolves its dots, or decodes its slashes, would leave the prefix that
/// let it in (RFC 3986, section 5.2.4).
pub fn below_base(path: &str, query: Option<&str>) -> Result<String, Observation> {
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    if decoded.split(['/', '\\']).any(|segment| matches!(segment, "." | "..")) {
        return Err(Observation::Invalid {
            field: Some("path".to_owned()),
            offset: None,
            detail: "segments of dots are not resolved here: write the path that is meant".to_owned(),
        });
    }
    let below = path.strip_prefix("/v1").unwrap_or(path);
    Ok(query.map_or_else(|| below.to_owned(), |query| format!("{below}?{query}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_climbs_is_refused_however_it_is_written() {
        for path in [
            "/v1/files/../chat/completions",
            "/v1/files/%2e%2E/x",
            "/v1/files/..%2fx",
            "/v1/files/.",
            "/v1/files/a%5C..%5cb",
        ] {
            assert!(below_base(path, None).is_err(), "{path}");
        }
        assert_eq!(below_base("/v1/files/a..b/...", Some("after=..")).as_deref(), Ok("/files/a..b/...?after=.."));
    }
}
