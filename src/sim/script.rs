//! What a request wants of the simulator, read from its model name and header.
//!
//! Owns the script's keys, their defaults and bounds. Refuses to act on them.
//! Invariant: a key or value that is not understood is an error that names it,
//! never ignored, so that a misspelt fault cannot pass for a good answer.

use super::answer::Finish;
use super::fault::Fault;
use super::successor::Successor;
use std::str::FromStr;
use std::time::Duration;

/// Content deltas of one answer at most, over all of its choices.
pub(super) const TOKENS_MAX: usize = 100_000;
/// No wait of a script is longer.
const WAIT_MAX: Duration = Duration::from_hours(1);

/// Why a script was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ScriptError {
    #[error("unknown simulator key '{key}'")]
    UnknownKey { key: String },
    #[error("simulator key '{key}' does not take the value '{value}'")]
    BadValue { key: String, value: String },
}

/// One request's script; `Default` is a plain good answer.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches of the wire form, not a state")]
pub(super) struct Script {
    pub ttft: Duration,
    pub gap: Duration,
    pub jitter: Duration,
    /// Between two bytes or comments of a fault that babbles; `None`: its own default.
    pub every: Option<Duration>,
    pub tokens: usize,
    pub tools: bool,
    pub parallel: usize,
    pub json: bool,
    pub reasoning: usize,
    pub finish: Option<Finish>,
    /// Input tokens that came from a cache, beside those of the prompt.
    pub cached: usize,
    /// A web search before the answer, where a search tool is on offer.
    pub search: bool,
    /// Chat refuses unknown parameters.
    pub strict: bool,
    /// Responses tell a broken stream by a flat `error` event.
    pub flat: bool,
    /// Frames in one write.
    pub batch: usize,
    pub crlf: bool,
    pub comments: bool,
    /// A `data:` line without a payload, and an event without data, before each frame.
    pub blanks: bool,
    /// `finish_reason: ""` instead of `null` in every chunk of content.
    pub reasons: bool,
    /// How it goes on with an answer that a request brings the beginning of.
    pub successor: Successor,
    /// A refusal quotes the prompt, as validators do.
    pub quote: bool,
    pub done: bool,
    /// Answers in one JSON object even where a stream was asked for.
    pub plain: bool,
    pub usage: bool,
    pub role_frames: usize,
    pub fault: Option<Fault>,
    pub after: u64,
    /// The fault spares so many requests before it hits.
    pub skip: u64,
    /// The fault hits the first so many requests only, counted behind those that it spares.
    pub first: Option<u64>,
    pub p: f64,
    pub seed: u64,
    pub retry_after: Option<u64>,
    pub retry_after_ms: Option<u64>,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            ttft: Duration::ZERO,
            gap: Duration::ZERO,
            jitter: Duration::ZERO,
            every: None,
            tokens: 60,
            tools: false,
            parallel: 1,
            json: false,
            reasoning: 0,
            finish: None,
            cached: 0,
            search: false,
            strict: false,
            flat: false,
            batch: 1,
            crlf: false,
            comments: false,
            blanks: false,
            reasons: false,
            successor: Successor::Good,
            quote: false,
            done: true,
            plain: false,
            usage: true,
            role_frames: 1,
            fault: None,
            after: 0,
            skip: 0,
            first: None,
            p: 1.0,
            seed: 0,
            retry_after: None,
            retry_after_ms: None,
        }
    }
}

impl Script {
    /// Reads the model name's script, then the header's, which wins key by key.
    pub fn read(model: &str, header: Option<&str>) -> Result<Self, ScriptError> {
        let mut script = Self::default();
        let named = model.strip_prefix("sim").and_then(|rest| rest.split_once(['?', '/'])).map(|(_, text)| text);
        for text in [named, header].into_iter().flatten() {
            for pair in text.split(['&', ',']).map(str::trim).filter(|pair| !pair.is_empty()) {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                script.set(key.trim(), value.trim())?;
            }
        }
        if script.fault == Some(Fault::ToolCut) {
            script.tools = true;
        }
        Ok(script)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), ScriptError> {
        let known = match key {
            "ttft" => put(&mut self.ttft, duration(value)),
            "gap" => put(&mut self.gap, duration(value)),
            "jitter" => put(&mut self.jitter, duration(value)),
            "every" => put(&mut self.every, duration(value).filter(|every| !every.is_zero()).map(Some)),
            "tokens" => put(&mut self.tokens, number(value, TOKENS_MAX)),
            "tools" => put(&mut self.tools, switch(value)),
            "parallel" => put(&mut self.parallel, number(value, 16).filter(|calls| *calls > 0)),
            "json" => put(&mut self.json, switch(value)),
            "reasoning" => put(&mut self.reasoning, number(value, TOKENS_MAX)),
            "finish" => put(&mut self.finish, finish(value).map(Some)),
            "cached" => put(&mut self.cached, number(value, 10_000_000)),
            "search" => put(&mut self.search, switch(value)),
            "strict" => put(&mut self.strict, switch(value)),
            "flat" => put(&mut self.flat, switch(value)),
            "batch" => put(&mut self.batch, number(value, 10_000).filter(|frames| *frames > 0)),
            "crlf" => put(&mut self.crlf, switch(value)),
            "comments" => put(&mut self.comments, switch(value)),
            "blanks" => put(&mut self.blanks, switch(value)),
            "reasons" => put(&mut self.reasons, switch(value)),
            "successor" => put(&mut self.successor, successor(value)),
            "quote" => put(&mut self.quote, switch(value)),
            "done" => put(&mut self.done, switch(value)),
            "plain" => put(&mut self.plain, switch(value)),
            "usage" => put(&mut self.usage, switch(value)),
            "role_frames" => put(&mut self.role_frames, number(value, 10_000)),
            "fault" => put(&mut self.fault, fault(value).map(Some)),
            "after" => put(&mut self.after, number(value, u64::MAX)),
            "skip" => put(&mut self.skip, number(value, u64::MAX)),
            "first" => put(&mut self.first, number(value, u64::MAX).map(Some)),
            "p" => put(&mut self.p, value.parse().ok().filter(|p| (0.0..=1.0).contains(p))),
            "seed" => put(&mut self.seed, number(value, u64::MAX)),
            "retry_after" => put(&mut self.retry_after, number(value, u64::MAX).map(Some)),
            "retry_after_ms" => put(&mut self.retry_after_ms, number(value, u64::MAX).map(Some)),
            _ => {
                return Err(ScriptError::UnknownKey { key: key.to_owned() });
            }
        };
        known.ok_or_else(|| ScriptError::BadValue { key: key.to_owned(), value: value.to_owned() })
    }

    /// Whether the fault hits the `ordinal`-th request (from 0) with this script.
    pub fn strikes(&self, ordinal: u64) -> bool {
        let due = ordinal.checked_sub(self.skip).is_some_and(|place| self.first.is_none_or(|first| place < first));
        // A generator per request: the sequence does not depend on who asks when.
        let draw = || fastrand::Rng::with_seed(self.seed ^ ordinal.wrapping_mul(0x9E37_79B9_7F4A_7C15)).f64();
        due && (self.p >= 1.0 || draw() < self.p)
    }
}

fn put<T>(field: &mut T, value: Option<T>) -> Option<()> {
    value.map(|value| *field = value)
}

fn number<T: FromStr + PartialOrd + Copy>(value: &str, max: T) -> Option<T> {
    value.parse().ok().filter(|number| *number <= max)
}

fn switch(value: &str) -> Option<bool> {
    match value {
        "1" | "true" => Some(true),
        "0" | "false" => Some(false),
        _ => None,
    }
}

fn finish(value: &str) -> Option<Finish> {
    match value {
        "stop" => Some(Finish::Stop),
        "length" => Some(Finish::Length),
        "content_filter" => Some(Finish::Filter),
        _ => None,
    }
}

fn successor(value: &str) -> Option<Successor> {
    Successor::ALL.iter().copied().find(|known| known.as_str() == value)
}

fn fault(value: &str) -> Option<Fault> {
    Fault::parse(value).filter(|fault| *fault != Fault::Refuse)
}

/// `250us`, `50ms`, `2s`, `1.5s`; a bare number means milliseconds.
fn duration(value: &str) -> Option<Duration> {
    let (digits, unit) = value.split_at(value.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(value.len()));
    let scale = match unit {
        "us" => 1e-6,
        "ms" | "" => 1e-3,
        "s" => 1.0,
        _ => return None,
    };
    let seconds = digits.parse::<f64>().ok()? * scale;
    Duration::try_from_secs_f64(seconds).ok().filter(|wait| *wait <= WAIT_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_script_is_a_plain_answer() {
        for model in ["sim", "sim-large", "gpt-4o", "meta/llama?x=1"] {
            assert_eq!(Script::read(model, None), Ok(Script::default()), "{model}");
        }
    }

    #[test]
    fn the_header_wins_key_by_key() {
        let script = Script::read("sim-small?fault=reset&after=40,gap=2ms", Some("after=3")).expect("a valid script");
        assert_eq!((script.fault, script.after, script.gap), (Some(Fault::Reset), 3, Duration::from_millis(2)));
        assert_eq!(Script::read("sim/gap=0.5s", None).map(|s| s.gap), Ok(Duration::from_millis(500)));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let error = |model| Script::read(model, None).expect_err("an invalid script").to_string();
        assert_eq!(error("sim?faul=reset"), "unknown simulator key 'faul'");
        assert_eq!(error("sim?fault=resett"), "simulator key 'fault' does not take the value 'resett'");
        for model in
            ["sim?gap=5min", "sim?p=2", "sim?tokens=999999999", "sim?fault=refuse", "sim?finish=x", "sim?every=0"]
        {
            assert!(Script::read(model, None).is_err(), "{model}");
        }
    }

    #[test]
    fn a_fault_strikes_first_requests_or_by_a_repeatable_draw() {
        let script = Script::read("sim?fault=reset&first=2", None).expect("a valid script");
        assert_eq!([0, 1, 2, 3].map(|n| script.strikes(n)), [true, true, false, false]);
        let script = Script::read("sim?fault=reset&skip=1&first=2", None).expect("a valid script");
        assert_eq!([0, 1, 2, 3].map(|n| script.strikes(n)), [false, true, true, false]);
        let script = Script::read("sim?fault=reset&p=0.3&seed=7", None).expect("a valid script");
        let hits = (0..1000).filter(|n| script.strikes(*n)).count();
        assert!((200..400).contains(&hits), "{hits}");
    }
}
