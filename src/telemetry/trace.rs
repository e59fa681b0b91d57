//! W3C trace context: who asked whom, across processes.
//!
//! Owns the ids and the `traceparent` header (W3C Trace Context, section 3.2).
//! Refuses to decide what is recorded. Invariant: an id is never zero.

use std::fmt;

/// A trace's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId(u128);

/// A span's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanId(u64);

/// A `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traceparent {
    pub trace: TraceId,
    pub span: SpanId,
    /// Its sender records this trace.
    pub sampled: bool,
}

impl TraceId {
    #[must_use]
    pub fn generate() -> Self {
        Self(fastrand::u128(1..))
    }

    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// Whether this trace is among `share` (from 0 to 1) of all; the same for
    /// everyone who asks, whichever process that is.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the low half; a share is positive")]
    pub fn is_among(self, share: f64) -> bool {
        // 2^63: as many values have 63 bits.
        const WHOLE: f64 = 9_223_372_036_854_775_808.0;
        share >= 1.0 || ((self.0 as u64) >> 1) < (share * WHOLE) as u64
    }
}

impl SpanId {
    #[must_use]
    pub fn generate() -> Self {
        Self(fastrand::u64(1..))
    }

    #[must_use]
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

impl Traceparent {
    /// Reads the header; `None` if it is invalid, which means that there is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim_matches([' ', '\t']);
        let (version, rest) = (text.get(..2)?, text.get(2..)?);
        let more = rest.get(53..)?;
        // Later versions may say more behind another dash.
        let well_ended = more.is_empty() || (version != "00" && more.starts_with('-'));
        let dashes = [0, 33, 50].iter().all(|at| rest.as_bytes()[*at] == b'-');
        if hex(version)? == 0xff || !well_ended || !dashes {
            return None;
        }
        let trace = hex(rest.get(1..33)?).filter(|id| *id != 0)?;
        let span = hex(rest.get(34..50)?).filter(|id| *id != 0)?;
        let flags = hex(rest.get(51..53)?)?;
        Some(Self { trace: TraceId(trace), span: SpanId(u64::try_from(span).ok()?), sampled: flags & 1 == 1 })
    }
}

/// Lower-case hexadecimal digits, and nothing else.
fn hex(text: &str) -> Option<u128> {
    text.bytes()
        .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
        .then(|| u128::from_str_radix(text, 16).ok())
        .flatten()
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-0{}", self.trace, self.span, u8::from(self.sampled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_is_read_as_it_is_written() {
        let read = Traceparent::parse(GOOD).expect("valid");
        assert!(read.sampled);
        assert_eq!(read.to_string(), GOOD);
        assert!(!Traceparent::parse(&GOOD.replace("-01", "-02")).expect("valid").sampled);
        // A later version may say more.
        assert_eq!(Traceparent::parse(&(GOOD.replacen("00", "01", 1) + "-what")), Some(read));
    }

    #[test]
    fn an_invalid_one_is_none() {
        let zero_trace = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
        let zero_span = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", "0".repeat(16));
        let wrong = [
            "",
            "00",
            "00-é",
            &GOOD.replacen("00", "ff", 1),
            &GOOD.to_uppercase(),
            &format!("{GOOD}-what"),
            &format!("{GOOD}0"),
            &GOOD.replace('-', "_"),
            &GOOD.replace("-01", "-+1"),
            &GOOD[..54],
            &zero_trace,
            &zero_span,
        ];
        for text in wrong {
            assert_eq!(Traceparent::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_share_of_traces_is_that_share() {
        let among = (0..10_000).filter(|_| TraceId::generate().is_among(0.25)).count();
        assert!((2_200..2_800).contains(&among), "{among}");
        assert!(!TraceId::generate().is_among(0.0));
        assert!(TraceId(u128::MAX).is_among(1.0));
    }
}
