//! Wishes about reasoning, as the model at hand takes them.
//!
//! Owns budgets, efforts and what cannot stand beside them. Source: Claude docs,
//! "Extended thinking": a budget is at least 1,024 and below `max_tokens`; with
//! thinking on, `temperature` and `top_k` are refused, `top_p` below 0.95 too,
//! and so is a `tool_choice` of `any` or `tool`; an answer whose calls are being
//! answered must begin with its own thinking.

use super::body::Thinking as Out;
use crate::wire::canon::{Conversation, Effort, Thinking};
use crate::wire::messages::object::Losses;
use crate::wire::messages::traits::{Mode, Off, Traits};

/// The API's own least budget, tokens.
const BUDGET_MIN: u64 = 1_024;

/// What a level means where only a budget can be given, tokens. Ours: from the
/// least budget to 32,000, above which the docs advise batches.
const BUDGETS: [(Effort, u64); 6] = [
    (Effort::Minimal, BUDGET_MIN),
    (Effort::Low, 2_048),
    (Effort::Medium, 8_192),
    (Effort::High, 16_384),
    (Effort::XHigh, 32_000),
    (Effort::Max, 32_000),
];

/// What the wishes became.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub thinking: Option<Out>,
    pub effort: Option<Effort>,
}

impl Plan {
    pub(super) const fn is_on(&self) -> bool {
        matches!(self.thinking, Some(Out::Enabled { .. } | Out::Adaptive { .. }))
    }
}

/// What stands around the wishes.
pub(super) struct Around {
    /// The target takes wishes about reasoning at all.
    pub takes: bool,
    pub max_tokens: u64,
    pub forced_tool: bool,
    pub is_loop_unsealed: bool,
}

pub(super) fn plan(conversation: &Conversation, traits: &Traits, around: &Around, losses: &mut Losses) -> Plan {
    let Some(wish) = &conversation.thinking else { return Plan::default() };
    let says = wish.effort.is_some() || wish.budget_tokens.is_some() || wish.wanted.is_some() || wish.adaptive;
    if !says {
        return Plan::default();
    }
    if !around.takes {
        losses.dropped("reasoning");
        return Plan::default();
    }
    if wish.wanted == Some(false) {
        return off(traits, losses);
    }
    match traits.mode {
        Mode::Never => {
            losses.dropped("reasoning");
            Plan::default()
        }
        Mode::Adaptive => adaptive(wish, traits, around, losses),
        Mode::Budget => budget(wish, traits, around, losses),
    }
}

fn off(traits: &Traits, losses: &mut Losses) -> Plan {
    if traits.mode == Mode::Never {
        return Plan::default();
    }
    match traits.off {
        Off::Disabled => Plan { thinking: Some(Out::Disabled), effort: None },
        Off::BetweenTools => Plan { thinking: Some(Out::BetweenTools), effort: None },
        Off::Impossible => {
            losses.changed("reasoning", "this model always thinks: at its least effort");
            Plan { thinking: None, effort: traits.effort(Effort::Minimal) }
        }
    }
}

fn adaptive(wish: &Thinking, traits: &Traits, around: &Around, losses: &mut Losses) -> Plan {
    let wished = wish.effort.or_else(|| {
        let budget = wish.budget_tokens?;
        losses.changed("thinking.budget_tokens", "became an effort");
        let covers = |(_, tokens): &&(Effort, u64)| budget <= *tokens;
        Some(BUDGETS[1..4].iter().find(covers).map_or(Effort::High, |(effort, _)| *effort))
    });
    let effort = wished.and_then(|effort| traits.effort(effort));
    if around.forced_tool {
        losses.changed("reasoning", "left off, as a tool must be called");
        return Plan { thinking: None, effort };
    }
    let display = wish.summary.as_ref().map(|_| "summarized");
    Plan { thinking: Some(Out::Adaptive { display }), effort }
}

fn budget(wish: &Thinking, traits: &Traits, around: &Around, losses: &mut Losses) -> Plan {
    let effort = wish.effort.and_then(|effort| traits.effort(effort));
    let left_off = |losses: &mut Losses, why| {
        losses.changed("reasoning", why);
        Plan { thinking: None, effort }
    };
    if around.forced_tool {
        return left_off(losses, "left off, as a tool must be called");
    }
    if around.is_loop_unsealed {
        return left_off(losses, "left off, as the reasoning of the calls that are answered is not there");
    }
    let by_effort = |wish: Effort| BUDGETS.iter().find(|(effort, _)| *effort == wish).map(|(_, tokens)| *tokens);
    let wished = wish.budget_tokens.or_else(|| by_effort(wish.effort.unwrap_or(Effort::Medium)));
    let wished = wished.unwrap_or(BUDGET_MIN).max(BUDGET_MIN);
    // A quarter at least is left for the answer where the budget was not the client's own.
    let fits = if wished < around.max_tokens && wish.budget_tokens.is_some() {
        wished
    } else {
        wished.min(around.max_tokens / 4 * 3)
    };
    if fits < BUDGET_MIN {
        return left_off(losses, "left off, as the limit of the answer has no room for it");
    }
    if wish.budget_tokens.is_some_and(|budget| budget != fits) {
        losses.changed("thinking.budget_tokens", "brought between 1024 and the limit of the answer");
    }
    Plan { thinking: Some(Out::Enabled { budget_tokens: fits }), effort }
}
