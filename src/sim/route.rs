//! Which endpoint a request knocks at.
//!
//! Owns methods and paths, with and without `/v1`. Refuses bodies. Invariant: a
//! path that is not listed is `Unknown`, never taken for another.

use super::dialect::Dialect;
use super::request::Head;

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// The simulator's own log.
    Seen,
    Models,
    Model(String),
    Answer(Dialect),
    CountTokens,
    Embeddings,
    Response(String),
    CancelResponse(String),
    DeleteResponse(String),
    /// The body of the request, with this status.
    Echo(u16),
    Unknown,
}

impl Endpoint {
    pub fn of(head: &Head) -> Self {
        let path = head.path.strip_prefix("/v1").unwrap_or(&head.path);
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        match (head.method.as_str(), parts.as_slice()) {
            ("GET", ["sim", "seen"]) => Self::Seen,
            ("GET", ["models"]) => Self::Models,
            ("GET", ["models", name @ ..]) => Self::Model(decoded(&name.join("/"))),
            ("POST", ["chat", "completions"]) => Self::Answer(Dialect::Chat),
            ("POST", ["completions"]) => Self::Answer(Dialect::Completions),
            ("POST", ["messages"]) => Self::Answer(Dialect::Messages),
            ("POST", ["messages", "count_tokens"]) => Self::CountTokens,
            ("POST", ["responses"]) => Self::Answer(Dialect::Responses),
            ("POST", ["embeddings"]) => Self::Embeddings,
            ("GET", ["responses", id]) => Self::Response((*id).to_owned()),
            ("DELETE", ["responses", id]) => Self::DeleteResponse((*id).to_owned()),
            ("POST", ["responses", id, "cancel"]) => Self::CancelResponse((*id).to_owned()),
            (_, ["echo", "status", status]) => status.parse().map_or(Self::Unknown, Self::Echo),
            (_, ["echo", ..]) => Self::Echo(200),
            _ => Self::Unknown,
        }
    }

    /// Whose errors and headers the endpoint has. Lists of models are Anthropic's
    /// where its version header is sent.
    pub fn dialect(&self, head: &Head) -> Dialect {
        match self {
            Self::Answer(dialect) => *dialect,
            Self::CountTokens => Dialect::Messages,
            Self::Response(_) | Self::CancelResponse(_) | Self::DeleteResponse(_) => Dialect::Responses,
            Self::Models | Self::Model(_) | Self::Unknown if head.header("anthropic-version").is_some() => {
                Dialect::Messages
            }
            Self::Models | Self::Model(_) | Self::Unknown | Self::Embeddings | Self::Seen | Self::Echo(_) => {
                Dialect::Chat
            }
        }
    }
}

/// A path with its percent escapes undone; what is no escape stays.
fn decoded(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, tail @ ..] = rest {
        let escape = tail.get(..2).filter(|_| *first == b'%').and_then(|two| std::str::from_utf8(two).ok());
        match escape.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) => (bytes.push(byte), rest = &tail[2..]).1,
            None => (bytes.push(*first), rest = tail).1,
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_in_a_models_name_are_undone() {
        assert_eq!(decoded("sim%3Ftokens=4%2Fx%"), "sim?tokens=4/x%");
        assert_eq!(decoded("%zz"), "%zz");
    }
}
