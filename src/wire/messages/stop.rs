//! Why an answer ended and what it counted, in this dialect's words.
//!
//! Owns both tables in both directions. Source: Anthropic API reference,
//! "Handling stop reasons" and the `Usage` object: `input_tokens` leaves out
//! what was read from or written to the prompt cache; ours counts all input, as
//! OpenAI's does. Refuses to guess a count. Invariant: what was counted once is
//! not forgotten by a later report that leaves it out.

use crate::domain::usage::Usage;
use crate::wire::facts::Finish;
use serde::Deserialize;

/// What a `stop_reason` means.
pub(super) fn finish_of(stop_reason: &str) -> Finish {
    match stop_reason {
        "end_turn" | "stop_sequence" => Finish::Stop,
        "max_tokens" | "model_context_window_exceeded" => Finish::Length,
        "tool_use" => Finish::ToolCalls,
        "refusal" => Finish::ContentFilter,
        // `pause_turn` and whatever comes later: the turn is not over, or ended in a way of its own.
        _ => Finish::Other,
    }
}

/// The `stop_reason` of an answer. Agents act on `tool_use` alone: it stands
/// where, and only where, the answer calls a tool of the client and was not cut.
pub(super) fn stop_reason_of(finish: Option<Finish>, called: bool, met_sequence: bool) -> &'static str {
    match finish {
        Some(Finish::Length) => "max_tokens",
        Some(Finish::ContentFilter) => "refusal",
        _ if called => "tool_use",
        _ if met_sequence => "stop_sequence",
        Some(Finish::Stop | Finish::ToolCalls | Finish::Other) | None => "end_turn",
    }
}

/// A report as it is written; what it leaves out is not zero.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct UsageWire {
    input_tokens: Count,
    output_tokens: Count,
    cache_read_input_tokens: Count,
    cache_creation_input_tokens: Count,
    cache_creation: Option<Written>,
    output_tokens_details: Option<Details>,
}

/// For a field that holds a report: one of another form is none, and costs no answer.
pub(super) fn report<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<UsageWire>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).ok())
}

/// What was written to the cache, by how long it is kept.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default)]
struct Written {
    ephemeral_1h_input_tokens: Count,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    thinking_tokens: Count,
}

/// A report never costs an answer: what is no count is taken as absent.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Count(Option<u64>);

impl<'de> Deserialize<'de> for Count {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::Number(number) => number
                .as_u64()
                .or_else(|| number.as_f64().filter(|count| (0.0..1e15).contains(count)).map(|count| count as u64)),
            serde_json::Value::String(text) => text.parse().ok(),
            _ => None,
        }))
    }
}

/// The reports of one answer: `message_start` tells the input, each
/// `message_delta` what it is by then.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counted {
    input: Option<u64>,
    output: Option<u64>,
    cache_read: Option<u64>,
    cache_creation: Option<u64>,
    cache_creation_1h: Option<u64>,
    thinking: Option<u64>,
}

impl Counted {
    /// Takes a report in; what it says replaces what was said before.
    pub(super) fn take(&mut self, wire: &UsageWire) -> Usage {
        let thinking = wire.output_tokens_details.as_ref().map_or(Count(None), |details| details.thinking_tokens);
        let long = wire.cache_creation.map_or(Count(None), |written| written.ephemeral_1h_input_tokens);
        for (slot, told) in [
            (&mut self.input, wire.input_tokens),
            (&mut self.output, wire.output_tokens),
            (&mut self.cache_read, wire.cache_read_input_tokens),
            (&mut self.cache_creation, wire.cache_creation_input_tokens),
            (&mut self.cache_creation_1h, long),
            (&mut self.thinking, thinking),
        ] {
            *slot = told.0.or(*slot);
        }
        self.usage()
    }

    fn usage(&self) -> Usage {
        let cached = self.cache_read.unwrap_or(0);
        let written = self.cache_creation.unwrap_or(0);
        let others = self.input.unwrap_or(0).saturating_add(written);
        Usage {
            input: cached.saturating_add(others),
            output: self.output.unwrap_or(0),
            cached_input: cached,
            cache_write: written,
            cache_write_1h: self.cache_creation_1h.unwrap_or(0).min(written),
            reasoning: self.thinking.unwrap_or(0),
            estimated: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(json: &str) -> UsageWire {
        serde_json::from_str(json).expect("a report")
    }

    #[test]
    fn input_is_all_input_and_a_later_report_forgets_nothing() {
        let mut counted = Counted::default();
        let start = r#"{"input_tokens":10,"cache_creation_input_tokens":5,"cache_read_input_tokens":100,"output_tokens":1,"cache_creation":{"ephemeral_1h_input_tokens":2}}"#;
        assert_eq!(counted.take(&wire(start)).input, 115);
        let end = counted
            .take(&wire(r#"{"output_tokens":40,"input_tokens":null,"output_tokens_details":{"thinking_tokens":7}}"#));
        assert_eq!(
            end,
            Usage {
                input: 115,
                output: 40,
                cached_input: 100,
                cache_write: 5,
                cache_write_1h: 2,
                reasoning: 7,
                estimated: false
            }
        );
        assert_eq!(counted.take(&wire(r#"{"input_tokens":"x","output_tokens":41.0}"#)).output, 41);
    }

    #[test]
    fn a_reason_comes_back_as_it_went_unless_it_has_no_word_there() {
        for (reason, finish, called, sequence) in [
            ("end_turn", Finish::Stop, false, false),
            ("stop_sequence", Finish::Stop, false, true),
            ("max_tokens", Finish::Length, false, false),
            ("max_tokens", Finish::Length, true, false),
            ("tool_use", Finish::ToolCalls, true, false),
            ("refusal", Finish::ContentFilter, false, false),
        ] {
            assert_eq!(finish_of(reason), finish);
            assert_eq!(stop_reason_of(Some(finish), called, sequence), reason);
        }
        assert_eq!(finish_of("model_context_window_exceeded"), Finish::Length);
        assert_eq!(finish_of("pause_turn"), Finish::Other);
        // Some servers say `stop` after a call, or `tool_calls` without one.
        assert_eq!(stop_reason_of(Some(Finish::Stop), true, false), "tool_use");
        assert_eq!(stop_reason_of(Some(Finish::ToolCalls), false, false), "end_turn");
        assert_eq!(stop_reason_of(None, false, false), "end_turn");
    }
}
