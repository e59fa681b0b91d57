//! Durations, bounds and addresses, with their defaults.

use super::Fault;
use super::raw::{RawDeadline, RawDeadlines, RawGateway};
use crate::domain::deadline::{Clock, LimitSource};
use crate::gateway::kept::KeptBounds;
use std::ops::RangeInclusive;
use std::time::Duration;

/// More threads than this are a slip of the pen.
const WORKER_THREADS_MAX: usize = 1024;

/// The named bounds and waits of `[gateway]`. Bytes are bytes.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Response headers wait for the first content at most this long.
    pub headers_hold_max: Duration,
    /// Silence after which a stream gets a keep-alive comment.
    pub keepalive_every: Duration,
    /// From SIGTERM to the end of what still runs.
    pub drain_grace: Duration,
    /// For a complete request head.
    pub head_timeout: Duration,
    /// For a body that stops arriving.
    pub body_timeout: Duration,
    /// A reader that takes nothing for this long is detached.
    pub write_timeout: Duration,
    /// After a finish: how long usage and `[DONE]` are waited for.
    pub finish_grace: Duration,
    /// A kept connection without a request is closed after this.
    pub connection_idle: Duration,
    /// A connection kept for so long, or up to a tenth less, ends with the answers under way;
    /// `None`: never for its age.
    pub connection_age_max: Option<Duration>,
    /// A kept connection to a provider is closed after this.
    pub pool_idle: Duration,
    /// One that is older carries no further request: names may lead elsewhere by now.
    pub pool_age_max: Duration,
    /// A longer `Retry-After` moves on to the next target.
    pub retry_after_wait_max: Duration,
    /// Base of the full jitter before a same-target retry.
    pub retry_base: Duration,
    pub same_target_retries: u32,
    /// Open at a time; one more is closed at once.
    pub connections_max: usize,
    /// Bytes a second that a request body must keep up on the whole.
    pub body_rate_min: usize,
    /// Bytes of all request bodies in memory.
    pub bodies_bytes_max: usize,
    pub head_bytes_max: usize,
    pub body_bytes_max: usize,
    pub frame_bytes_max: usize,
    pub journal_bytes_max: usize,
    pub output_bytes_max: u64,
    /// Rows kept in the table of records.
    pub records_max: u64,
    /// Responses that are kept for `previous_response_id`.
    pub kept: KeptBounds,
    /// Threads that carry requests; 0: one for each core.
    pub worker_threads: usize,
}

/// One clock's setting at one level of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Setting {
    /// Said nothing: the level above decides.
    #[default]
    Inherit,
    Off,
    Hard(Duration),
}

/// The deadlines of one level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Deadlines {
    pub connect: Setting,
    pub send: Setting,
    pub first_token: Setting,
    pub idle: Setting,
    pub progress: Setting,
    pub total: Setting,
}

/// A limit in force, and who set it. `None`: off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    pub value: Option<Duration>,
    pub source: LimitSource,
}

impl Deadlines {
    fn of(&self, clock: Clock) -> Setting {
        match clock {
            Clock::Connect => self.connect,
            Clock::Send => self.send,
            Clock::FirstToken => self.first_token,
            Clock::Idle => self.idle,
            Clock::Progress => self.progress,
            Clock::Total => self.total,
        }
    }

    /// The limit in force for `clock`: the last level that says something
    /// wins, else the default (design.md, sections 4 and 7).
    #[must_use]
    pub fn resolve(levels: &[&Self], clock: Clock, stream: bool) -> Limit {
        let said = levels.iter().rev().map(|level| level.of(clock)).find(|setting| *setting != Setting::Inherit);
        let value = match said {
            Some(Setting::Off) => None,
            Some(Setting::Hard(value)) => Some(value),
            Some(Setting::Inherit) | None => default_limit(clock, stream),
        };
        Limit { value, source: LimitSource::Configured }
    }

    /// Reads one level; faults are collected.
    pub fn read(raw: &RawDeadlines, at: &str, faults: &mut Vec<Fault>) -> Self {
        let mut one = |name: &str, raw: &Option<RawDeadline>| match raw {
            None => Setting::Inherit,
            Some(RawDeadline(text)) if text == "off" => Setting::Off,
            Some(RawDeadline(text)) => match duration(text) {
                Some(value) if !value.is_zero() => Setting::Hard(value),
                _ => {
                    faults.push(Fault::new(
                        format!("{at}.{name}"),
                        format!("\"{text}\" is no duration above zero"),
                        "write it as \"30s\", \"10m\" or \"off\"",
                    ));
                    Setting::Inherit
                }
            },
        };
        Self {
            connect: one("connect", &raw.connect),
            send: one("send", &raw.send),
            first_token: one("first_token", &raw.first_token),
            idle: one("idle", &raw.idle),
            progress: one("progress", &raw.progress),
            total: one("total", &raw.total),
        }
    }
}

const fn default_limit(clock: Clock, stream: bool) -> Option<Duration> {
    match clock {
        Clock::Connect => Some(Duration::from_secs(5)),
        Clock::Send => Some(Duration::from_secs(30)),
        Clock::FirstToken => Some(Duration::from_mins(10)),
        Clock::Idle | Clock::Progress => Some(Duration::from_mins(5)),
        Clock::Total if stream => None,
        Clock::Total => Some(Duration::from_mins(30)),
    }
}

impl Bounds {
    /// Reads `[gateway]`; faults are collected.
    pub fn read(raw: &RawGateway, faults: &mut Vec<Fault>) -> Self {
        let mut wait = |name: &str, text: &Option<String>, default| wait(name, text.as_deref(), default, faults);
        let secs = Duration::from_secs;
        let responses_keep = wait("responses_keep", &raw.responses_keep, secs(72 * 3600));
        let bounds = Self {
            headers_hold_max: wait("headers_hold_max", &raw.headers_hold_max, secs(8)),
            keepalive_every: wait("keepalive_every", &raw.keepalive_every, secs(10)),
            drain_grace: wait("drain_grace", &raw.drain_grace, secs(25)),
            head_timeout: wait("head_timeout", &raw.head_timeout, secs(30)),
            body_timeout: wait("body_timeout", &raw.body_timeout, secs(30)),
            write_timeout: wait("write_timeout", &raw.write_timeout, secs(30)),
            finish_grace: wait("finish_grace", &raw.finish_grace, secs(5)),
            connection_idle: wait("connection_idle", &raw.connection_idle, secs(75)),
            // As nginx's keepalive_time: within the hour a balancer's new neighbour has its share.
            connection_age_max: match raw.connection_age_max.as_deref() {
                Some("off") => None,
                _ => Some(wait("connection_age_max", &raw.connection_age_max, secs(3600))),
            },
            // Below the 75 s and 60 s that nginx and common load balancers keep theirs.
            pool_idle: wait("pool_idle", &raw.pool_idle, secs(50)),
            pool_age_max: wait("pool_age_max", &raw.pool_age_max, secs(600)),
            retry_after_wait_max: wait("retry_after_wait_max", &raw.retry_after_wait_max, secs(5)),
            retry_base: wait("retry_base", &raw.retry_base, Duration::from_millis(250)),
            same_target_retries: raw.same_target_retries.unwrap_or(1),
            connections_max: count("connections_max", raw.connections_max, 10_000, 1_000_000, faults),
            body_rate_min: count("body_rate_min", raw.body_rate_min, 1000, 1 << 30, faults),
            bodies_bytes_max: bytes("bodies_bytes_max", raw.bodies_bytes_max, 1 << 30, 1 << 40, faults),
            head_bytes_max: bytes("head_bytes_max", raw.head_bytes_max, 64 << 10, 1 << 20, faults),
            body_bytes_max: bytes("body_bytes_max", raw.body_bytes_max, 32 << 20, 1 << 30, faults),
            frame_bytes_max: bytes("frame_bytes_max", raw.frame_bytes_max, 1 << 20, 1 << 30, faults),
            journal_bytes_max: bytes("journal_bytes_max", raw.journal_bytes_max, 8 << 20, 1 << 30, faults),
            output_bytes_max: bytes("output_bytes_max", raw.output_bytes_max, 16 << 20, 1 << 34, faults) as u64,
            records_max: raw.records_max.unwrap_or(100_000),
            kept: KeptBounds {
                bytes_max: bytes("responses_bytes_max", raw.responses_bytes_max, 256 << 20, 1 << 40, faults) as u64,
                keep: responses_keep,
            },
            worker_threads: raw.worker_threads.unwrap_or(0),
        };
        bounds.check(faults);
        bounds
    }

    /// What one bound says of another.
    fn check(&self, faults: &mut Vec<Fault>) {
        if self.bodies_bytes_max < self.body_bytes_max {
            faults.push(Fault::new(
                "gateway.bodies_bytes_max",
                format!("{} bytes for all bodies are less than body_bytes_max allows one", self.bodies_bytes_max),
                "raise it, or lower gateway.body_bytes_max",
            ));
        }
        if self.worker_threads > WORKER_THREADS_MAX {
            faults.push(Fault::new(
                "gateway.worker_threads",
                format!("{} threads are more than {WORKER_THREADS_MAX}", self.worker_threads),
                "write 0 for one on each core, or a small number",
            ));
        }
        if self.same_target_retries > 1 {
            faults.push(Fault::new(
                "gateway.same_target_retries",
                "more than one repeat of a failing target is not supported",
                "write 0 or 1",
            ));
        }
    }
}

fn wait(name: &str, text: Option<&str>, default: Duration, faults: &mut Vec<Fault>) -> Duration {
    let Some(text) = text else { return default };
    match duration(text) {
        Some(value) if !value.is_zero() => value,
        _ => {
            faults.push(Fault::new(
                format!("gateway.{name}"),
                format!("\"{text}\" is no duration above zero"),
                match name {
                    "connection_age_max" => "write it as \"10m\", \"1h\" or \"off\"",
                    _ => "write it as \"500ms\", \"30s\" or \"10m\"",
                },
            ));
            default
        }
    }
}

fn count(name: &str, value: Option<u64>, default: usize, max: usize, faults: &mut Vec<Fault>) -> usize {
    ranged(name, value, default, 1..=max, "", faults)
}

fn bytes(name: &str, value: Option<u64>, default: usize, max: usize, faults: &mut Vec<Fault>) -> usize {
    ranged(name, value, default, 1024..=max, " bytes", faults)
}

fn ranged(
    name: &str,
    value: Option<u64>,
    default: usize,
    range: RangeInclusive<usize>,
    unit: &str,
    faults: &mut Vec<Fault>,
) -> usize {
    let Some(value) = value else { return default };
    match usize::try_from(value) {
        Ok(value) if range.contains(&value) => value,
        _ => {
            faults.push(Fault::new(
                format!("gateway.{name}"),
                format!("{value}{unit} is out of range"),
                format!("write a number from {} to {}", range.start(), range.end()),
            ));
            default
        }
    }
}

/// Reads `500ms`, `30s`, `10m`, `1h30m`.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    let signed: jiff::SignedDuration = text.parse().ok()?;
    Duration::try_from(signed).ok()
}

/// Where a provider is reached: an `http` or `https` URL, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    pub tls: bool,
    pub host: String,
    pub port: u16,
    /// Without a trailing slash; may be empty.
    pub path: String,
}

impl Endpoint {
    /// Takes a base URL apart.
    ///
    /// # Errors
    /// A sentence saying what is wrong with it.
    pub fn parse(url: &str) -> Result<Self, String> {
        let authority = url.split_once("://").map_or(url, |(_, rest)| rest).split(['/', '?', '#']).next();
        // Before anything is quoted.
        if authority.is_some_and(|authority| authority.contains('@')) {
            return Err("the URL must not hold a credential".to_owned());
        }
        let uri: http::Uri = url.parse().map_err(|_| format!("\"{url}\" is no URL"))?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(format!("\"{url}\" begins with neither http:// nor https://")),
        };
        let authority = uri.authority().ok_or_else(|| format!("\"{url}\" names no host"))?;
        if uri.query().is_some() {
            return Err(format!("\"{url}\" must not have a query"));
        }
        Ok(Self {
            tls,
            host: authority.host().trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            path: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// Whether its host is this machine by name or address.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let host = self.host.trim_end_matches('.');
        host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// The `Host` header's value.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_level_that_speaks_wins() {
        let global = Deadlines { first_token: Setting::Hard(Duration::from_secs(9)), ..Deadlines::default() };
        let target = Deadlines { first_token: Setting::Off, ..Deadlines::default() };
        let silent = Deadlines::default();
        let resolve = |levels: &[&Deadlines], clock, stream| Deadlines::resolve(levels, clock, stream).value;
        assert_eq!(resolve(&[&global, &silent], Clock::FirstToken, true), Some(Duration::from_secs(9)));
        assert_eq!(resolve(&[&global, &target], Clock::FirstToken, true), None);
        assert_eq!(resolve(&[&silent], Clock::Total, true), None);
        assert_eq!(resolve(&[&silent], Clock::Total, false), Some(Duration::from_secs(1800)));
    }

    #[test]
    fn base_urls_are_taken_apart() {
        let end = Endpoint::parse("https://api.example.com/v1/").expect("valid");
        assert_eq!(
            (end.tls, end.port, end.path.as_str(), end.authority().as_str()),
            (true, 443, "/v1", "api.example.com")
        );
        let local = Endpoint::parse("http://[::1]:8080").expect("valid");
        assert_eq!((local.host.as_str(), local.authority().as_str()), ("::1", "[::1]:8080"));
        for wrong in ["api.example.com/v1", "ftp://x", "http://user:pw@x/", "http://x/?a=1"] {
            assert!(Endpoint::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_read_as_people_write_them() {
        assert_eq!(duration("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("-5s"), None);
        assert_eq!(duration("soon"), None);
    }
}
