//! What an attempt tells: events, its end, what it counted.
//!
//! Owns the words between an attempt and its exchange. Refuses to act on them.
//! Invariant: a failed end holds all that is needed to judge what may follow.

use super::TargetAnswer;
use crate::domain::failure::Failure;
use crate::domain::usage::Usage;
use crate::gateway::events::Bound;
use crate::gateway::journal::Entry;
use crate::wire::facts::Finish;
use crate::wire::resume::How;
use crate::wire::seals::SealHash;
use crate::wire::sse::SseFrame;
use bytes::Bytes;
use std::time::Duration;

/// What an attempt tells.
#[derive(Debug)]
pub enum Event {
    /// Frames for the journal; `gap`: since the content before them.
    Frames {
        frames: Vec<SseFrame>,
        gap: Option<Duration>,
    },
    /// Headers that the provider means for the user whose credential it got.
    ForItsUser(Vec<(http::HeaderName, http::HeaderValue)>),
    /// An unstreamed answer.
    Whole(Bytes),
    Ended(Good),
    Failed(Box<Interrupted>),
}

/// A good end.
#[derive(Debug, Clone, Default)]
pub struct Good {
    pub finishes: Vec<Finish>,
}

/// A failed end.
#[derive(Debug)]
pub struct Interrupted {
    pub failure: Failure,
    /// The target's own refusal, as it came.
    pub answer: Option<TargetAnswer>,
    /// An empty answer, in case every target is empty.
    pub empty: Option<EmptyAnswer>,
    /// The named bound that was hit.
    pub bound: Option<Bound>,
    /// The refusal names `stream` or `stream_options`, which may be ours.
    pub names_streaming: Option<&'static str>,
    /// The refusal is about sealed reasoning of an earlier turn.
    pub names_seal: bool,
    /// The target does not know the response that the request goes on from.
    pub names_previous: bool,
    /// The target takes no beginning of its answer.
    pub names_prefill: bool,
    /// Why the words do not join those of the answer before: it is no failure of the target's.
    pub unjoined: Option<&'static str>,
    pub retry_after: Option<Duration>,
}

/// An answer that ended well and says nothing.
#[derive(Debug)]
pub struct EmptyAnswer {
    pub entries: Vec<Entry>,
    /// How many of the last were not handed out.
    pub unsent: usize,
    pub finishes: Vec<Finish>,
}

impl Interrupted {
    /// A failure that no words of the target belong to.
    #[must_use]
    pub const fn without_answer(failure: Failure) -> Self {
        Self {
            failure,
            answer: None,
            empty: None,
            bound: None,
            names_streaming: None,
            names_seal: false,
            names_previous: false,
            names_prefill: false,
            unjoined: None,
            retry_after: None,
        }
    }
}

/// What was counted so far; shared, so that a dropped attempt can still be told.
#[derive(Debug, Default, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not a state")]
pub struct Tally {
    pub connected: bool,
    /// The target has the whole request.
    pub sent: bool,
    pub headers_seen: bool,
    /// The dialect's own end came.
    pub finished: bool,
    pub bytes: u64,
    pub contents: u64,
    pub first_token: Option<Duration>,
    pub usage: Option<Usage>,
    pub upstream_request_id: Option<String>,
    /// What it sealed, at most `SEALS_MAX`.
    pub seals: Vec<SealHash>,
    /// What of the answer the client's dialect could not say.
    pub losses: Vec<String>,
    /// How the answer joins the one before it.
    pub how: Option<How>,
    /// The key has nothing left at this target for so long.
    pub exhausted_for: Option<Duration>,
}
