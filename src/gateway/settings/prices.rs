//! The built-in table of windows and prices.

use crate::domain::usage::Price;

/// Window and price of well-known models, as their makers' price pages said in
/// August 2025; `[models."NAME"]` and `[targets.NAME]` override it.
#[must_use]
pub fn built_in(model: &str) -> Option<(u64, Price)> {
    const fn usd(input: f64, cached_input: f64, output: f64) -> Price {
        Price { input, output, cached_input: Some(cached_input), cache_write: None, cache_write_1h: None }
    }
    Some(match model {
        "gpt-5" => (400_000, usd(1.25, 0.125, 10.0)),
        "gpt-5-mini" => (400_000, usd(0.25, 0.025, 2.0)),
        "gpt-5-nano" => (400_000, usd(0.05, 0.005, 0.4)),
        "gpt-4.1" => (1_047_576, usd(2.0, 0.5, 8.0)),
        "gpt-4.1-mini" => (1_047_576, usd(0.4, 0.1, 1.6)),
        "gpt-4o" => (128_000, usd(2.5, 1.25, 10.0)),
        "gpt-4o-mini" => (128_000, usd(0.15, 0.075, 0.6)),
        "o3" => (200_000, usd(2.0, 0.5, 8.0)),
        "o4-mini" => (200_000, usd(1.1, 0.275, 4.4)),
        _ => return None,
    })
}
