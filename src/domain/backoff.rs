//! How long to wait before the same thing is tried again.

use std::time::Duration;

/// Full jitter: uniform over `0..=min(cap, base * 2^repeat)`, for the n-th
/// repeat counted from 0. (AWS Architecture Blog, "Exponential Backoff And
/// Jitter": of the variants measured there full jitter needs the fewest calls.)
/// `unit` is a random number in `0.0..1.0`, passed in so that this stays pure.
#[must_use]
pub fn full_jitter(base: Duration, cap: Duration, repeat: u32, unit: f64) -> Duration {
    let ceiling = base.saturating_mul(2u32.saturating_pow(repeat)).min(cap);
    ceiling.mul_f64(unit.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_by_powers_of_two_up_to_the_cap() {
        let (base, cap) = (Duration::from_millis(100), Duration::from_millis(350));
        let at = |repeat| full_jitter(base, cap, repeat, 1.0).as_millis();
        assert_eq!([at(0), at(1), at(2), at(40)], [100, 200, 350, 350]);
        assert_eq!(full_jitter(base, cap, 3, 0.0), Duration::ZERO);
    }
}
