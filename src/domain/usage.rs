//! Tokens and what they cost.

use serde::{Deserialize, Serialize};

/// Tokens of one attempt or of a whole exchange.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    pub input: u64,
    pub output: u64,
    /// Part of `input` that the provider read from its prompt cache.
    #[serde(default)]
    pub cached_input: u64,
    /// Part of `input` that the provider wrote into its prompt cache.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_write: u64,
    /// Part of `cache_write` that is kept for an hour.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_write_1h: u64,
    /// Part of `output` that was reasoning.
    #[serde(default)]
    pub reasoning: u64,
    /// Not reported by the provider: counted or estimated by us.
    #[serde(default)]
    pub estimated: bool,
}

impl Usage {
    /// The sum; estimated if either part is.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            output: self.output.saturating_add(other.output),
            cached_input: self.cached_input.saturating_add(other.cached_input),
            cache_write: self.cache_write.saturating_add(other.cache_write),
            cache_write_1h: self.cache_write_1h.saturating_add(other.cache_write_1h),
            reasoning: self.reasoning.saturating_add(other.reasoning),
            estimated: self.estimated || other.estimated,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// USD per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Price {
    pub input: f64,
    pub output: f64,
    /// Left out: cached input costs what input costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input: Option<f64>,
    /// Left out: what is written to the cache costs what input costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<f64>,
    /// Left out: for an hour it costs no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_1h: Option<f64>,
}

impl Price {
    /// What `usage` costs in USD.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "token counts stay far below 2^52")]
    pub fn cost_usd(&self, usage: &Usage) -> f64 {
        let cached = usage.cached_input.min(usage.input);
        let written = usage.cache_write.min(usage.input - cached);
        let long = usage.cache_write_1h.min(written);
        let fresh = usage.input - cached - written;
        let write = self.cache_write.unwrap_or(self.input);
        (fresh as f64 * self.input
            + (written - long) as f64 * write
            + long as f64 * self.cache_write_1h.unwrap_or(write)
            + cached as f64 * self.cached_input.unwrap_or(self.input)
            + usage.output as f64 * self.output)
            / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cached_input_is_charged_at_its_own_price() {
        let price =
            Price { input: 2.0, output: 10.0, cached_input: Some(0.5), cache_write: None, cache_write_1h: None };
        let usage = Usage { input: 1_000_000, output: 100_000, cached_input: 400_000, ..Usage::default() };
        assert!((price.cost_usd(&usage) - (0.6 * 2.0 + 0.4 * 0.5 + 1.0)).abs() < 1e-9);
    }

    #[test]
    fn what_is_written_to_the_cache_is_charged_at_its_own_price() {
        let plain = Price { input: 2.0, output: 10.0, cached_input: None, cache_write: None, cache_write_1h: None };
        let usage = Usage { input: 1_000_000, cache_write: 500_000, cache_write_1h: 100_000, ..Usage::default() };
        let cost = |price: Price| price.cost_usd(&usage);
        assert!((cost(plain) - 2.0).abs() < 1e-9);
        let write = Price { cache_write: Some(2.5), ..plain };
        assert!((cost(write) - (0.5 * 2.0 + 0.5 * 2.5)).abs() < 1e-9);
        let long = Price { cache_write_1h: Some(4.0), ..write };
        assert!((cost(long) - (0.5 * 2.0 + 0.4 * 2.5 + 0.1 * 4.0)).abs() < 1e-9);
        let most = Usage { input: u64::MAX, ..Usage::default() };
        assert_eq!(most.plus(most).input, u64::MAX);
    }
}
