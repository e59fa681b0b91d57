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
            input: self.input + other.input,
            output: self.output + other.output,
            cached_input: self.cached_input + other.cached_input,
            reasoning: self.reasoning + other.reasoning,
            estimated: self.estimated || other.estimated,
        }
    }
}

/// USD per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Price {
    pub input: f64,
    pub output: f64,
    /// Left out: cached input costs what input costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input: Option<f64>,
}

impl Price {
    /// What `usage` costs in USD.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "token counts stay far below 2^52")]
    pub fn cost_usd(&self, usage: &Usage) -> f64 {
        let cached = usage.cached_input.min(usage.input);
        let fresh = usage.input - cached;
        (fresh as f64 * self.input
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
        let price = Price { input: 2.0, output: 10.0, cached_input: Some(0.5) };
        let usage = Usage { input: 1_000_000, output: 100_000, cached_input: 400_000, ..Usage::default() };
        assert!((price.cost_usd(&usage) - (0.6 * 2.0 + 0.4 * 0.5 + 1.0)).abs() < 1e-9);
    }
}
