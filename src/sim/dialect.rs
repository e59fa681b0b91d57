//! Which vendor's language an endpoint speaks.
//!
//! Owns the closed list of dialects and what a fault means in each. Refuses to
//! word anything. Invariant: a fault that does not apply answers well, it never
//! becomes another fault.

use super::fault::Fault;
use crate::domain::failure::closed_enum;

closed_enum! {
    /// The form of a request and of its answer.
    Dialect {
        /// `POST /v1/chat/completions`, and what else `OpenAI` answers in that style.
        Chat => "chat",
        /// `POST /v1/completions`, `OpenAI`'s legacy form.
        Completions => "completions",
        /// `POST /v1/messages`, Anthropic's.
        Messages => "messages",
        /// `POST /v1/responses`, `OpenAI`'s.
        Responses => "responses",
    }
}

impl Dialect {
    /// Whether the fault changes an answer in this dialect at all.
    ///
    /// `missing_done` and `no_done_hold` need a `[DONE]`, which the two newer
    /// dialects do not have: there they answer well. `stream_options_unsupported`
    /// names a parameter of chat and completions. Completions have no tools to cut.
    #[must_use]
    pub const fn applies(self, fault: Fault, stream: bool) -> bool {
        let older = matches!(self, Self::Chat | Self::Completions);
        match fault {
            Fault::MissingDone | Fault::NoDoneHold => stream && older,
            Fault::HugeFrame | Fault::FloodHold | Fault::StreamUnsupported => stream,
            Fault::StreamOptionsUnsupported => older,
            Fault::ToolCut => !matches!(self, Self::Completions),
            Fault::Refuse
            | Fault::HangHeaders
            | Fault::HangAfterHeaders
            | Fault::CommentsForever
            | Fault::Trickle
            | Fault::Status401
            | Fault::Status402
            | Fault::Status403
            | Fault::Status404
            | Fault::Status408
            | Fault::Status429
            | Fault::Status500
            | Fault::Status502
            | Fault::Status503
            | Fault::Status504
            | Fault::Status529
            | Fault::Quota
            | Fault::Redirect
            | Fault::Html
            | Fault::Html502
            | Fault::Empty
            | Fault::ErrorPayload
            | Fault::EarlyAnswer
            | Fault::ContextLength
            | Fault::Unsupported
            | Fault::Policy
            | Fault::BadRequest
            | Fault::ErrorEvent
            | Fault::ErrorEventOverloaded
            | Fault::Reset
            | Fault::ResetHeaders
            | Fault::CloseHeaders
            | Fault::HalfHead
            | Fault::EarlyEnd
            | Fault::CutChunked
            | Fault::Stall
            | Fault::StallComments
            | Fault::StallTrickle
            | Fault::Garbled
            | Fault::HalfUtf8
            | Fault::Endless
            | Fault::WrongLength
            | Fault::BadChunk => true,
        }
    }
}
