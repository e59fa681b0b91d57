//! The report of tokens in a response object.
//!
//! Owns its reading and writing. Refuses to fail: a report never costs an answer,
//! so what is no count is taken as absent. Invariant: what is written reads back.

use super::json_out::JsonOut;
use crate::domain::usage::Usage;
use serde::Deserialize;
use serde::de::Deserializer;

/// As it stands in `response.usage`.
#[derive(Deserialize, Default, Clone, Copy)]
#[serde(default)]
pub(super) struct UsageWire {
    input_tokens: Count,
    output_tokens: Count,
    input_tokens_details: Option<InputDetails>,
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(default)]
struct InputDetails {
    cached_tokens: Count,
    cache_write_tokens: Count,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(default)]
struct OutputDetails {
    reasoning_tokens: Count,
}

/// A count of tokens in whatever form a server writes it.
#[derive(Default, Clone, Copy)]
struct Count(u64);

impl<'de> Deserialize<'de> for Count {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::Number(number) => Self(number.as_u64().unwrap_or_else(|| {
                number.as_f64().filter(|count| (0.0..1e15).contains(count)).map_or(0, |count| count as u64)
            })),
            serde_json::Value::String(text) => Self(text.parse().unwrap_or(0)),
            _ => Self(0),
        })
    }
}

impl From<UsageWire> for Usage {
    fn from(wire: UsageWire) -> Self {
        let details = wire.input_tokens_details.unwrap_or_default();
        Self {
            input: wire.input_tokens.0,
            output: wire.output_tokens.0,
            cached_input: details.cached_tokens.0,
            cache_write: details.cache_write_tokens.0,
            cache_write_1h: 0,
            reasoning: wire.output_tokens_details.map_or(0, |details| details.reasoning_tokens.0),
            estimated: false,
        }
    }
}

/// Writes the report as a value.
pub(super) fn write(usage: &Usage, out: &mut JsonOut) {
    out.open().number("input_tokens", usage.input);
    out.key("input_tokens_details").open().number("cached_tokens", usage.cached_input);
    out.number("cache_write_tokens", usage.cache_write).close();
    out.number("output_tokens", usage.output);
    out.key("output_tokens_details").open().number("reasoning_tokens", usage.reasoning).close();
    out.number("total_tokens", usage.input.saturating_add(usage.output)).close();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_odd_report_costs_no_answer_and_a_good_one_comes_back() {
        let read = |text: &str| Usage::from(serde_json::from_str::<UsageWire>(text).expect("a report"));
        assert_eq!(
            read(r#"{"input_tokens":12.0,"output_tokens":"7","input_tokens_details":{"cached_tokens":null}}"#),
            Usage { input: 12, output: 7, ..Usage::default() }
        );
        let usage = Usage { input: 9, output: 8, cached_input: 3, cache_write: 4, reasoning: 2, ..Usage::default() };
        let mut out = JsonOut::default();
        write(&usage, &mut out);
        assert_eq!(read(&out.into_string()), usage);
    }
}
