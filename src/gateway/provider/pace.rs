//! All clocks of one attempt, as arithmetic.
//!
//! Owns which clock is armed in which phase and when it fires. Refuses to read
//! the time: everything takes `now`. Invariants: one clock is armed at a time,
//! besides `total`; while the journal is full none but `total` runs.

use crate::domain::deadline::{Clock, LimitSource};
use crate::gateway::settings::Limit;
use std::time::{Duration, Instant};

/// The limits of one attempt.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub connect: Limit,
    pub send: Limit,
    pub first_token: Limit,
    pub idle: Limit,
    pub progress: Limit,
    /// When the exchange as a whole has to end.
    pub total: Limit,
}

impl Limits {
    /// The limit of one clock.
    #[must_use]
    pub const fn of(&self, clock: Clock) -> Limit {
        match clock {
            Clock::Connect => self.connect,
            Clock::Send => self.send,
            Clock::FirstToken => self.first_token,
            Clock::Idle => self.idle,
            Clock::Progress => self.progress,
            Clock::Total => self.total,
        }
    }
}

/// A clock that fired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fired {
    pub clock: Clock,
    pub limit: Duration,
    pub elapsed: Duration,
    pub source: LimitSource,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Connecting {
        since: Instant,
    },
    Sending {
        accepted: Instant,
    },
    Waiting {
        since: Instant,
    },
    Streaming {
        byte: Instant,
        content: Instant,
    },
    /// The finish was seen; usage and `[DONE]` may follow within the grace.
    Finishing {
        since: Instant,
    },
}

/// The clocks of one attempt.
#[derive(Debug)]
pub struct Pace {
    limits: Limits,
    finish_grace: Duration,
    accepted: Instant,
    phase: Phase,
    suspended: Option<Instant>,
}

impl Pace {
    /// An attempt that begins to connect `now`, for an exchange accepted earlier.
    #[must_use]
    pub const fn new(limits: Limits, finish_grace: Duration, accepted: Instant, now: Instant) -> Self {
        Self { limits, finish_grace, accepted, phase: Phase::Connecting { since: now }, suspended: None }
    }

    /// The connection stands; the request is being sent.
    pub const fn connected(&mut self, now: Instant) {
        self.phase = Phase::Sending { accepted: now };
    }

    /// The network took more of the request.
    pub const fn accepted(&mut self, now: Instant) {
        if let Phase::Sending { .. } = self.phase {
            self.phase = Phase::Sending { accepted: now };
        }
    }

    /// A fresh connection takes the place of one that broke.
    pub const fn connecting(&mut self, now: Instant) {
        self.phase = Phase::Connecting { since: now };
    }

    /// The last request byte is out. Said again, it changes nothing: headers do
    /// not put the first token off.
    pub const fn sent(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Waiting { .. }) {
            self.phase = Phase::Waiting { since: now };
        }
    }

    /// Bytes of the answer came; before the first content they put nothing off.
    pub const fn byte(&mut self, now: Instant) {
        if let Phase::Streaming { content, .. } = self.phase {
            self.phase = Phase::Streaming { byte: now, content };
        }
    }

    /// Content came.
    pub const fn content(&mut self, now: Instant) {
        self.phase = Phase::Streaming { byte: now, content: now };
    }

    /// The dialect's own end came.
    pub const fn finished(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Finishing { .. }) {
            self.phase = Phase::Finishing { since: now };
        }
    }

    /// The journal is full: nobody reads upstream, so silence proves nothing.
    pub const fn suspend(&mut self, now: Instant) {
        if self.suspended.is_none() {
            self.suspended = Some(now);
        }
    }

    /// There is room again; the time without reading does not count.
    pub fn resume(&mut self, now: Instant) {
        let Some(since) = self.suspended.take() else { return };
        let pause = now.saturating_duration_since(since);
        self.phase = match self.phase {
            Phase::Connecting { since } => Phase::Connecting { since: since + pause },
            Phase::Sending { accepted } => Phase::Sending { accepted: accepted + pause },
            Phase::Waiting { since } => Phase::Waiting { since: since + pause },
            Phase::Streaming { byte, content } => Phase::Streaming { byte: byte + pause, content: content + pause },
            Phase::Finishing { since } => Phase::Finishing { since: since + pause },
        };
    }

    /// Whether the finish was seen.
    #[must_use]
    pub const fn is_finishing(&self) -> bool {
        matches!(self.phase, Phase::Finishing { .. })
    }

    /// Which clock has fired by `now`, or when to look again (`None`: never).
    /// The end of the grace after a finish reads as `idle`; the attempt knows
    /// that it is no failure then.
    ///
    /// # Errors
    /// The clock that fired first, with its limit and what had elapsed.
    pub fn check(&self, now: Instant) -> Result<Option<Instant>, Fired> {
        let mut armed: [Option<(Clock, Instant, Limit)>; 3] =
            [Some((Clock::Total, self.accepted, self.limits.total)), None, None];
        if self.suspended.is_none() {
            match self.phase {
                Phase::Connecting { since } => armed[1] = Some((Clock::Connect, since, self.limits.connect)),
                Phase::Sending { accepted } => armed[1] = Some((Clock::Send, accepted, self.limits.send)),
                Phase::Waiting { since } => armed[1] = Some((Clock::FirstToken, since, self.limits.first_token)),
                Phase::Streaming { byte, content } => {
                    armed[1] = Some((Clock::Idle, byte, self.limits.idle));
                    armed[2] = Some((Clock::Progress, content, self.limits.progress));
                }
                Phase::Finishing { since } => {
                    let grace = Limit { value: Some(self.finish_grace), source: LimitSource::Configured };
                    armed[1] = Some((Clock::Idle, since, grace));
                }
            }
        }
        // Of several the one due first; at the same instant silence is told before lack of progress.
        let next = armed
            .into_iter()
            .flatten()
            .filter_map(|(clock, since, limit)| {
                limit.value.map(|value| (since + value, clock, since, value, limit.source))
            })
            .min_by_key(|(due, ..)| *due);
        match next {
            Some((due, clock, since, limit, source)) if due <= now => {
                Err(Fired { clock, limit, elapsed: now.saturating_duration_since(since), source })
            }
            Some((due, ..)) => Ok(Some(due)),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(n: u64) -> Limit {
        Limit { value: Some(Duration::from_secs(n)), source: LimitSource::Configured }
    }

    const OFF: Limit = Limit { value: None, source: LimitSource::Configured };

    fn pace(start: Instant) -> Pace {
        let limits = Limits {
            connect: secs(5),
            send: secs(7),
            first_token: secs(10),
            idle: secs(3),
            progress: secs(4),
            total: OFF,
        };
        Pace::new(limits, Duration::from_secs(2), start, start)
    }

    fn fired(pace: &Pace, at: Instant) -> Option<Clock> {
        pace.check(at).err().map(|fired| fired.clock)
    }

    #[test]
    fn each_phase_arms_its_own_clock_only() {
        let t = Instant::now();
        let s = |n: u64| t + Duration::from_secs(n);
        let mut pace = pace(t);
        assert_eq!(pace.check(s(1)), Ok(Some(s(5))));
        assert_eq!(fired(&pace, s(5)), Some(Clock::Connect));
        pace.connected(s(4));
        assert_eq!(fired(&pace, s(10)), None);
        pace.accepted(s(10));
        assert_eq!(fired(&pace, s(16)), None);
        assert_eq!(fired(&pace, s(17)), Some(Clock::Send));
        pace.sent(s(12));
        pace.sent(s(19));
        pace.byte(s(20));
        assert_eq!(fired(&pace, s(22)), Some(Clock::FirstToken), "bytes without content put nothing off");
        pace.content(s(20));
        assert_eq!(fired(&pace, s(23)), Some(Clock::Idle));
        pace.byte(s(22));
        assert_eq!(fired(&pace, s(23)), None);
        assert_eq!(fired(&pace, s(24)), Some(Clock::Progress), "bytes, no content");
    }

    #[test]
    fn a_full_journal_stops_every_clock_but_total() {
        let t = Instant::now();
        let s = |n: u64| t + Duration::from_secs(n);
        let mut pace = pace(t);
        pace.limits.total = secs(100);
        pace.connected(t);
        pace.sent(t);
        pace.content(s(1));
        pace.suspend(s(2));
        assert_eq!(fired(&pace, s(90)), None);
        assert_eq!(fired(&pace, s(100)), Some(Clock::Total));
        pace.resume(s(90));
        assert_eq!(pace.check(s(90)), Ok(Some(s(92))), "one second of the three was used before");
    }

    #[test]
    fn the_grace_after_a_finish_ends() {
        let t = Instant::now();
        let mut pace = pace(t);
        pace.finished(t);
        assert_eq!(pace.check(t), Ok(Some(t + Duration::from_secs(2))));
        assert!(pace.is_finishing());
    }
}
