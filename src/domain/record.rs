//! Everything known of one exchange, in the shape that is stored and shown.
//!
//! Owns the record's fields and outcomes; refuses storage (`gateway/record.rs`)
//! and wording (`domain/story.rs`). Invariant: an exchange has exactly one
//! record, and neither a prompt, an answer nor a credential stands in it.

use crate::domain::deadline::{Clock, LimitSource};
use crate::domain::failure::{Cause, Confidence, Fact, closed_enum};
use crate::domain::ids::{Principal, PrincipalKind};
use crate::domain::usage::Usage;
use serde::{Deserialize, Serialize};

closed_enum! {
    /// How an exchange ended.
    Outcome {
        Ok => "ok",
        /// A later target answered, nothing of an earlier one had been shown.
        OkFallback => "ok_fallback",
        OkContinued => "ok_continued",
        OkHedged => "ok_hedged",
        /// The target's own refusal, passed on as it came.
        Returned => "returned",
        /// At our door or in plan; no attempt was made.
        Refused => "refused",
        /// An error before anything was shown.
        Failed => "failed",
        /// An error after something was shown.
        Cut => "cut",
        ClientGone => "client_gone",
    }
}

closed_enum! {
    /// How an attempt ended.
    AttemptOutcome {
        Ok => "ok",
        OkLate => "ok_late",
        OkOrphans => "ok_orphans",
        Returned => "returned",
        Failed => "failed",
        Cancelled => "cancelled",
    }
}

closed_enum! {
    /// What an attempt was made for.
    Purpose {
        Serve => "serve",
        Retry => "retry",
        Fallback => "fallback",
        Hedge => "hedge",
        Continue => "continue",
        Shadow => "shadow",
    }
}

closed_enum! {
    /// How an answer that broke off was carried on.
    Strategy {
        /// The answer so far was given as the beginning of the successor's own.
        Prefill => "prefill",
        /// The successor was asked to repeat the last words.
        Anchored => "anchored",
        /// It started over, and said the same.
        Realigned => "realigned",
        /// No word was shown yet, reasoning only: the answer begins with the successor.
        Afresh => "afresh",
    }
}

closed_enum! {
    /// How a successor's words fitted.
    SeamFit {
        Exact => "exact",
        /// In other case, spaces, quotes, or another Unicode form.
        Normalised => "normalised",
        /// A repeat of another part than was asked for.
        Overlap => "overlap",
        Realigned => "realigned",
        /// They did not, and none of them was shown.
        None => "none",
    }
}

/// Where an attempt's words join those of the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seam {
    pub strategy: Strategy,
    pub seam: SeamFit,
    /// Characters that said again what was delivered.
    pub repeated: u64,
    /// Characters held until the place was found.
    pub held: u64,
    /// Characters left out before the repeat.
    pub dropped: u64,
    /// From the moment the failure was known to the first new words, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub silence_ms: Option<u64>,
}

closed_enum! {
    /// What a client thought of an answer.
    Verdict {
        Good => "good",
        Bad => "bad",
        Neutral => "neutral",
    }
}

/// What a client said of an answer, afterwards.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Feedback {
    /// RFC 3339, UTC, milliseconds.
    pub at: String,
    pub verdict: Verdict,
    /// From 0 to 1; absent where a verdict alone was given.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub score: Option<f64>,
}

/// One exchange.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// ULID; also `x-request-id`.
    pub id: String,
    /// RFC 3339, UTC, milliseconds: when the request head was complete.
    pub at: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub client_request_id: Option<String>,
    pub principal: Principal,
    /// Of the client, behind proxies that are trusted; absent over a Unix socket.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub client_addr: Option<String>,
    /// The path that was asked for, without its query.
    pub path: String,
    /// What the client speaks (`chat`, `messages`, `responses`, ...).
    #[serde(default)]
    pub dialect: String,
    /// The model name the client sent.
    pub model: String,
    pub route: String,
    pub task: String,
    pub task_reason: String,
    pub stream: bool,
    pub outcome: Outcome,
    /// The status the client got; `499` when it was gone.
    pub status: u16,
    /// `none` on success.
    pub cause: String,
    pub phase: String,
    pub side: String,
    /// Of a refusal at our door or in plan; attempts carry their own.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub evidence: Vec<Fact>,
    pub plan: PlanRecord,
    pub attempts: Vec<AttemptRecord>,
    pub timings: Timings,
    /// Annotations of a good answer: `length_limited`, `content_filtered`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub annotations: Vec<String>,
    /// Warnings the client got in `x-tautline-warning`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub warnings: Vec<String>,
    /// What was delivered.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub usage: Option<Usage>,
    /// What all attempts together cost.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub billed: Option<Billed>,
    /// Kept beside the record, and joined when it is read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub feedback: Option<Feedback>,
}

/// The itinerary and who was left out of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanRecord {
    pub steps: Vec<PlanStep>,
    pub rejected: Vec<PlanRejection>,
    /// What the request demands of a target (`tools`, `vision`, `json`, `web`).
    pub needs: Vec<String>,
    /// Estimated prompt tokens.
    pub input_tokens: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanStep {
    pub target: String,
    /// Why it stands at this place.
    pub reason: String,
    pub clocks: Vec<PlanClock>,
}

/// One armed clock of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanClock {
    pub clock: Clock,
    /// `None`: off.
    pub limit_ms: Option<u64>,
    pub source: LimitSource,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanRejection {
    pub target: String,
    pub reason: String,
}

/// One try at one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptRecord {
    pub target: String,
    pub provider: String,
    pub model: String,
    /// What it was asked in, where the client speaks another dialect.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub translated_to: Option<String>,
    pub outcome: AttemptOutcome,
    /// `none` on success.
    pub cause: String,
    pub phase: String,
    pub side: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub confidence: Option<Confidence>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub evidence: Vec<Fact>,
    /// The first-token limit in force, milliseconds; absent when off.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub limit_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub limit_source: Option<LimitSource>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub first_token_ms: Option<u64>,
    /// Milliseconds from the exchange's acceptance to this attempt's start.
    pub started_ms: u64,
    pub ms: u64,
    /// Waited before it began (a `Retry-After`, jitter), milliseconds.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub waited_ms: u64,
    pub bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tokens: Option<Usage>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cost_usd: Option<f64>,
    pub purpose: Purpose,
    /// Place of the pooled key that was used, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub upstream_request_id: Option<String>,
    /// Of an attempt that carried an answer on, or tried to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub seam: Option<Seam>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// Milliseconds from acceptance; absent where it never came to that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    /// The request body was complete.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub body_ms: Option<u64>,
    /// The first attempt began.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub first_attempt_ms: Option<u64>,
    /// The first content was there for the client.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub first_token_ms: Option<u64>,
    pub total_ms: u64,
    /// Our own share: total less the time spent waiting for targets and client, microseconds.
    pub overhead_us: u64,
}

/// What an exchange cost over all its attempts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Billed {
    pub tokens: Usage,
    /// Absent while a price is unknown.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cost_usd: Option<f64>,
}

/// Begins the annotation that says why a broken answer ends there.
pub const NOT_CARRIED_ON: &str = "not carried on: ";

/// The label of "no failure" in `cause`, `phase` and `side`.
pub const NONE: &str = "none";

impl Record {
    /// A record of nothing: what it begins with, and what stays behind where it was taken from.
    #[must_use]
    pub fn blank() -> Self {
        Self {
            id: String::new(),
            at: String::new(),
            client_request_id: None,
            principal: Principal { id: String::new(), kind: PrincipalKind::Anonymous },
            client_addr: None,
            path: String::new(),
            dialect: String::new(),
            model: String::new(),
            route: String::new(),
            task: String::new(),
            task_reason: String::new(),
            stream: false,
            outcome: Outcome::Failed,
            status: 0,
            cause: NONE.to_owned(),
            phase: NONE.to_owned(),
            side: NONE.to_owned(),
            evidence: Vec::new(),
            plan: PlanRecord::default(),
            attempts: Vec::new(),
            timings: Timings::default(),
            annotations: Vec::new(),
            warnings: Vec::new(),
            usage: None,
            billed: None,
            feedback: None,
        }
    }

    /// The cause as the enum, or `None` on success.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        cause_named(&self.cause)
    }
}

impl AttemptRecord {
    /// The cause as the enum, or `None` on success.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        cause_named(&self.cause)
    }

    /// Writes a failure's cause, phase, side, confidence and evidence.
    pub fn set_failure(&mut self, failure: &crate::domain::failure::Failure) {
        failure.cause.as_str().clone_into(&mut self.cause);
        failure.phase.as_str().clone_into(&mut self.phase);
        failure.side.as_str().clone_into(&mut self.side);
        self.confidence = Some(failure.confidence);
        self.evidence.clone_from(&failure.evidence);
    }
}

fn cause_named(label: &str) -> Option<Cause> {
    Cause::ALL.iter().copied().find(|cause| cause.as_str() == label)
}
