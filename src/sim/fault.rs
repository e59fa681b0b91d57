//! The closed list of ways a provider can fail here.
//!
//! Owns the faults' names as scripts, logs and tests write them. Refuses to say
//! what a fault must be called by a gateway (`table.rs`) and how it is played
//! (`refusal.rs`, `stream.rs`, `whole.rs`). Invariant: one fault, one behaviour.

use crate::domain::failure::closed_enum;

closed_enum! {
    /// What goes wrong, described as chat has it; the other dialects have forms of
    /// their own ([`super::Dialect::applies`] says where there is none). "After N"
    /// means after `after=N` content deltas (text, reasoning and tool-call fragments
    /// alike), by default before the first.
    Fault {
        /// Nobody listens: [`super::Sim::stop_listening`]. No script value, since
        /// whoever reads a script has accepted the connection already.
        Refuse => "refuse",
        /// The request is read and never answered.
        HangHeaders => "hang_headers",
        /// The head of a good answer, then silence.
        HangAfterHeaders => "hang_after_headers",
        /// The head, then a comment every `every` (20 ms) for ever.
        CommentsForever => "comments_forever",
        /// The head, then a frame's bytes, one per `every` (1 s), never whole.
        Trickle => "trickle",
        /// 401, `invalid_api_key`.
        Status401 => "status_401",
        /// 402, the balance is spent.
        Status402 => "status_402",
        /// 403, the region is not served.
        Status403 => "status_403",
        /// 404, `model_not_found`.
        Status404 => "status_404",
        /// 408 from the provider.
        Status408 => "status_408",
        /// 429, `rate_limit_exceeded`, with `retry_after` if it is set.
        Status429 => "status_429",
        /// 500.
        Status500 => "status_500",
        /// 502 with a JSON body.
        Status502 => "status_502",
        /// 503, with `retry_after` if it is set.
        Status503 => "status_503",
        /// 504 from the provider.
        Status504 => "status_504",
        /// 529, the vendors' "overloaded".
        Status529 => "status_529",
        /// 429 with code `insufficient_quota`: waiting does not help.
        Quota => "quota",
        /// 307 to another place.
        Redirect => "redirect",
        /// 200 with a login page.
        Html => "html",
        /// 502 with the page of a reverse proxy.
        Html502 => "html_502",
        /// A clean answer without content: role, finish `stop`, end.
        Empty => "empty",
        /// 200, `application/json`, an error object.
        ErrorPayload => "error_payload",
        /// 503 and FIN as soon as the model is known, the upload unread.
        EarlyAnswer => "early_answer",
        /// 400, `context_length_exceeded`.
        ContextLength => "context_length",
        /// 400 that names the parameter `temperature`.
        Unsupported => "unsupported",
        /// 400, `content_policy_violation`.
        Policy => "policy",
        /// 400, `invalid_request_error`, neither code nor param.
        BadRequest => "bad_request",
        /// 400 that names `stream`; fires only where `stream: true` was asked.
        StreamUnsupported => "stream_unsupported",
        /// 400 that names `stream_options`; fires only where that was sent.
        StreamOptionsUnsupported => "stream_options_unsupported",
        /// After N: an error frame of type `server_error`, then an orderly end.
        ErrorEvent => "error_event",
        /// After N: an error frame with code `overloaded_error`, then an orderly end.
        ErrorEventOverloaded => "error_event_overloaded",
        /// After N: RST.
        Reset => "reset",
        /// RST instead of an answer.
        ResetHeaders => "reset_headers",
        /// FIN instead of an answer.
        CloseHeaders => "close_headers",
        /// Part of a response head, then FIN.
        HalfHead => "half_head",
        /// After N: an orderly last chunk, no `finish_reason`, no `[DONE]`.
        EarlyEnd => "early_end",
        /// After N: FIN without the last chunk.
        CutChunked => "cut_chunked",
        /// After N: silence, the connection held.
        Stall => "stall",
        /// After N: a comment every `every` (20 ms) for ever.
        StallComments => "stall_comments",
        /// After N: a frame's bytes, one per `every` (1 s), never whole.
        StallTrickle => "stall_trickle",
        /// After N: a frame that is not JSON; the answer goes on behind it.
        Garbled => "garbled",
        /// After N: a frame with a cut UTF-8 sequence; the answer goes on behind it.
        HalfUtf8 => "half_utf8",
        /// After N: frames of 1 KiB for ever, as fast as the peer reads.
        Endless => "endless",
        /// After N: FIN, while `content-length` promised more.
        WrongLength => "wrong_length",
        /// A whole answer without `[DONE]`: no failure.
        MissingDone => "missing_done",
        /// A whole answer, then neither `[DONE]` nor an end: no failure.
        NoDoneHold => "no_done_hold",
        /// FIN in the middle of a tool call's arguments; implies `tools=1`.
        ToolCut => "tool_cut",
        /// After N: a chunk size line that is no number.
        BadChunk => "bad_chunk",
        /// After N: a frame of 32 MiB that never ends, then an orderly end.
        HugeFrame => "huge_frame",
        /// 200 frames without content before the first content: role-only ones in
        /// chat, empty deltas elsewhere.
        FloodHold => "flood_hold",
    }
}

impl Fault {
    /// The fault of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|fault| fault.as_str() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_as_its_fault() {
        for fault in Fault::ALL {
            assert_eq!(Fault::parse(fault.as_str()), Some(*fault));
        }
        assert_eq!(Fault::parse("resett"), None);
    }
}
