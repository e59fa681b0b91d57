//! The one message that an error answer carries.
//!
//! Owns which facts a client may read: what it sent itself, clocks, bounds,
//! names of targets, and a target's words about the client's own request.
//! Refuses free text of ours about connections (it may hold addresses) and a
//! target's words about accounts, credentials or its own insides. Invariant:
//! what is let through from outside is bounded and has its addresses masked.

use super::words::{advice_for, sentence};
use crate::domain::failure::{Cause, Fact, Failure};
use crate::domain::quantity::{bytes, duration};
use std::fmt::Write as _;

/// Characters of one borrowed text.
const BORROWED_CHARS_MAX: usize = 300;
/// Attempts, names or rejections spelt out before "and N more".
const LISTED_MAX: usize = 8;

/// What happened, to which target, by whose clock, what was tried, what to do.
///
/// `target` is the one that failed; `attempts` is everything tried, in order.
#[must_use]
pub fn client_message(failure: &Failure, target: Option<&str>, attempts: &[(String, Cause)]) -> String {
    let cause = failure.effective_cause();
    let mut message = opening(failure, cause);
    if let Some(name) = target {
        let _ = write!(message, " (target `{}`)", borrowed(name));
    }
    for part in particulars(failure, cause) {
        let _ = write!(message, "; {part}");
    }
    close(&mut message);
    if !attempts.is_empty() {
        let tried = attempts.iter().map(|(name, cause)| format!("{} ({cause})", borrowed(name)));
        let _ = write!(message, " Tried: {}.", listed(tried, ", "));
    }
    let _ = write!(message, " What to do: {}.", advice_for(cause, target, None));
    message
}

/// The first clause. Agents compact their conversation when they read the
/// vendors' wording about context, so it comes first and unchanged.
fn opening(failure: &Failure, cause: Cause) -> String {
    if cause == Cause::ContextTooLong {
        return vendor_words(failure)
            .unwrap_or_else(|| "Your input exceeds the context window of this model".to_owned());
    }
    let told = capitalised(sentence(failure.cause));
    if failure.cause == cause { told } else { format!("{told}: {}", sentence(cause)) }
}

fn particulars(failure: &Failure, cause: Cause) -> Vec<String> {
    let mut parts: Vec<String> = failure.evidence.iter().filter_map(|fact| particular(fact, cause)).collect();
    let rejected = failure.evidence.iter().filter_map(|fact| match fact {
        Fact::Rejected { target, reason } => Some(format!("`{}`: {}", borrowed(target), borrowed(reason))),
        _ => None,
    });
    let rejected = listed(rejected, "; ");
    if !rejected.is_empty() {
        parts.push(format!("looked at and left out: {rejected}"));
    }
    parts
}

/// One fact as a client may read it, or nothing.
fn particular(fact: &Fact, cause: Cause) -> Option<String> {
    match fact {
        Fact::Clock { clock, limit_ms, elapsed_ms, source } => Some(format!(
            "our {clock} clock of {} ({source}) ran out after {}",
            duration(*limit_ms),
            duration(*elapsed_ms)
        )),
        Fact::HttpStatus { status } => Some(format!("the target's status was {status}")),
        Fact::Vendor { code, param, message } => {
            vendor_particular(cause, code.as_deref(), param.as_deref(), message.as_deref())
        }
        Fact::RetryAfter { ms } => Some(format!("it asks to wait {}", duration(*ms))),
        Fact::Field { field } => Some(format!("in the field `{}`", borrowed(field))),
        Fact::Offset { byte } => Some(format!("at byte {byte} of the body")),
        Fact::Bound { what, limit } if what.contains("bytes") => {
            Some(format!("the bound is `{what}`, {}", bytes(*limit)))
        }
        Fact::Bound { what, limit } => Some(format!("the bound is `{what}`, {limit}")),
        Fact::Stalled { at, limit_ms } => Some(format!("{} {}", at.words(), duration(*limit_ms))),
        Fact::Nearest { names } if names.is_empty() => None,
        Fact::Nearest { names } => {
            let names = names.iter().map(|name| format!("`{}`", borrowed(name)));
            Some(format!("the nearest names are {}", listed(names, ", ")))
        }
        Fact::Detail { text } => match cause {
            Cause::InvalidRequest | Cause::NotAllowed | Cause::Unauthorized | Cause::UnsupportedByTarget => {
                Some(borrowed(text))
            }
            Cause::UnknownRoute => Some(format!("asked for was `{}`", borrowed(text))),
            // Text of ours about anything else may name a host.
            _ => None,
        },
        // Told in the list of rejections, or of no use to a client.
        Fact::Rejected { .. }
        | Fact::Errno { .. }
        | Fact::Http2 { .. }
        | Fact::MappedTo { .. }
        | Fact::ByWording
        | Fact::Seen { .. }
        | Fact::ReusedConnection
        | Fact::ClosedByTarget
        | Fact::ClosedByClient => None,
    }
}

/// A target's code and parameter always; its sentence only where that is about
/// the client's own request. About accounts, keys and its own insides it may
/// say more than this client should know.
fn vendor_particular(cause: Cause, code: Option<&str>, param: Option<&str>, message: Option<&str>) -> Option<String> {
    let own_request =
        matches!(cause, Cause::BadRequest | Cause::UnsupportedByTarget | Cause::ContentPolicy | Cause::ModelNotFound);
    let mut parts = Vec::new();
    parts.extend(code.map(|code| format!("code `{}`", borrowed(code))));
    parts.extend(param.map(|param| format!("parameter `{}`", borrowed(param))));
    if own_request {
        parts.extend(message.map(|message| format!("\"{}\"", borrowed(message))));
    }
    (!parts.is_empty()).then(|| format!("the target said: {}", parts.join(", ")))
}

fn vendor_words(failure: &Failure) -> Option<String> {
    failure.evidence.iter().find_map(|fact| match fact {
        Fact::Vendor { message: Some(message), .. } if !message.trim().is_empty() => {
            Some(borrowed(message).trim_end_matches('.').to_owned())
        }
        _ => None,
    })
}

/// Text from outside: one line, bounded, with everything that looks like an
/// address masked.
fn borrowed(text: &str) -> String {
    let words: Vec<&str> =
        text.split_whitespace().map(|word| if is_address(word) { "[address]" } else { word }).collect();
    let line = words.join(" ");
    match line.char_indices().nth(BORROWED_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// A URL, an IP address, or either with a port. Vendors' help pages go too: a
/// link that is missing costs less than a host that is shown.
fn is_address(word: &str) -> bool {
    if word.contains("://") {
        return true;
    }
    let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != ':');
    let bare = bare.trim_end_matches(':');
    let host = bare.rsplit_once(':').map_or(bare, |(host, port)| if port.parse::<u16>().is_ok() { host } else { bare });
    let host = host.trim_matches(['[', ']']);
    host == "localhost"
        || host.parse::<std::net::Ipv4Addr>().is_ok()
        || (host.contains("::") && host.parse::<std::net::Ipv6Addr>().is_ok())
}

fn listed(items: impl Iterator<Item = String>, between: &str) -> String {
    let mut items: Vec<String> = items.collect();
    let more = items.len().saturating_sub(LISTED_MAX);
    if more > 0 {
        items.truncate(LISTED_MAX);
        items.push(format!("and {more} more"));
    }
    items.join(between)
}

fn capitalised(clause: &str) -> String {
    let mut chars = clause.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn close(message: &mut String) {
    if !message.ends_with(['.', '?', '!']) {
        message.push('.');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::deadline::{Clock, LimitSource};
    use crate::domain::failure::{Confidence, Evidence, Observation, Phase, Raw, RefusalKind, Side, classify};

    fn told(observation: Observation, target: Option<&str>, attempts: &[(&str, Cause)]) -> String {
        let attempts: Vec<_> = attempts.iter().map(|(name, cause)| ((*name).to_owned(), *cause)).collect();
        client_message(&classify(&Evidence::at_door(observation, 30_004)), target, &attempts)
    }

    fn refused(kind: RefusalKind, message: &str) -> Observation {
        Observation::Refused {
            kind,
            status: 400,
            code: None,
            param: None,
            message: Some(message.to_owned()),
            retry_after_ms: None,
            by_wording: false,
        }
    }

    #[test]
    fn a_clock_of_ours_is_told_with_limit_elapsed_and_all_that_was_tried() {
        let clock = Observation::Clock {
            clock: Clock::FirstToken,
            limit_ms: 30_000,
            elapsed_ms: 30_004,
            source: LimitSource::Learned,
        };
        let tried = [("strong", Cause::OwnDeadlineFirstToken), ("local", Cause::ConnectRefused)];
        assert_eq!(
            told(clock, Some("strong"), &tried),
            "The target was reached but sent no content within our first-token limit, so we ended \
             the attempt (target `strong`); our first_token clock of 30 s (learned) ran out after \
             30 s. Tried: strong (own_deadline_first_token), local (connect_refused). What to do: \
             operator: raise `deadlines.first_token.hard` if this target is known to think that \
             long, else list a faster target before it."
        );
    }

    #[test]
    fn an_invalid_request_names_field_and_byte() {
        let message = told(
            Observation::Invalid {
                field: Some("messages[0].role".to_owned()),
                offset: Some(41),
                detail: "unknown role".to_owned(),
            },
            None,
            &[],
        );
        assert!(message.contains("in the field `messages[0].role`; at byte 41 of the body; unknown"), "{message}");
    }

    #[test]
    fn an_unknown_name_gets_its_neighbours() {
        let nearest = vec!["gpt-4o".to_owned(), "gpt-4o-mini".to_owned()];
        let message = told(Observation::UnknownRoute { asked: "gtp-4o".to_owned(), nearest }, None, &[]);
        assert!(message.contains("`gtp-4o`; the nearest names are `gpt-4o`, `gpt-4o-mini`."));
    }

    #[test]
    fn every_rejected_candidate_gets_its_reason() {
        let rejected =
            vec![("a".to_owned(), "has no vision".to_owned()), ("b".to_owned(), "its circuit is open".to_owned())];
        let message = told(Observation::NoFit { rejected, context_alone: false }, None, &[]);
        assert!(message.contains("`a`: has no vision; `b`: its circuit is open."), "{message}");
    }

    #[test]
    fn too_long_a_context_opens_with_the_vendors_words() {
        let own = "This model's maximum context length is 8192 tokens. However, you sent 9000.";
        let message = told(refused(RefusalKind::ContextTooLong, own), Some("local"), &[]);
        assert!(message.starts_with("This model's maximum context length is 8192"), "{message}");
        let rejected = vec![("local".to_owned(), "9,000 tokens do not fit 8,192".to_owned())];
        let message = told(Observation::NoFit { rejected, context_alone: true }, None, &[]);
        assert!(message.starts_with("Your input exceeds the context window"), "{message}");
    }

    #[test]
    fn an_error_frame_is_told_with_what_it_maps_to() {
        let frame = Observation::ErrorFrame {
            kind: RefusalKind::Overloaded,
            code: Some("overloaded_error".to_owned()),
            message: None,
            retry_after_ms: None,
        };
        let message = told(frame, Some("strong"), &[]);
        assert!(message.contains("in the middle of its answer: the target said that it is over"));
    }

    /// Every cause with every fact that could carry an address.
    #[test]
    fn no_message_shows_an_address() {
        let hosts = ["10.1.2.3:8080", "http://vllm.internal/v1", "[fd00::1]:443", "localhost:1234"];
        for cause in Cause::ALL {
            for host in hosts {
                let text = format!("cannot reach {host}, giving up");
                let failure = Failure {
                    cause: *cause,
                    phase: Phase::Connect,
                    side: Side::Network,
                    confidence: Confidence::Certain,
                    evidence: vec![
                        Fact::Vendor { code: None, param: None, message: Some(text.clone()) },
                        Fact::Rejected { target: "a".to_owned(), reason: text.clone() },
                        Fact::Detail { text },
                    ],
                    raw: Raw::default(),
                };
                let message = client_message(&failure, Some("a"), &[("a".to_owned(), *cause)]);
                assert!(!message.contains(host), "{cause}: {message}");
            }
        }
    }

    #[test]
    fn a_hosts_name_without_a_port_is_hidden_by_leaving_connection_texts_out() {
        let dns = Observation::Dns { detail: "vllm.internal does not resolve".to_owned() };
        assert!(!told(dns, Some("local"), &[]).contains("vllm.internal"));
        let auth = told(refused(RefusalKind::Auth, "bad key sk-live-1234"), Some("local"), &[]);
        assert!(!auth.contains("sk-live"), "{auth}");
    }

    #[test]
    fn borrowed_text_is_one_bounded_line() {
        let message = told(Observation::NotAllowed { detail: format!("a\nb {}", "x".repeat(5_000)) }, None, &[]);
        assert!(message.contains("a b xxx") && message.len() < 900, "{}", message.len());
    }
}
