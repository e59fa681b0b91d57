//! What was seen: the only input of `classify`.
//!
//! Owns the observations that can end an attempt or refuse a request, and the
//! facts that a record keeps of them. Invariant: no key, prompt or address gets
//! in here; text that a target wrote is cut and redacted where it is made
//! (`wire`).

use crate::domain::deadline::{Clock, LimitSource};
use crate::domain::failure::Cause;
use serde::{Deserialize, Serialize};

/// The state an attempt was in when it ended, and what ended it.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not a state")]
pub struct Evidence {
    /// The first thing, in time, that ended it.
    pub observation: Observation,
    pub connected: bool,
    pub reused_connection: bool,
    /// A complete response head was read.
    pub headers_seen: bool,
    /// Bytes of the answer's body.
    pub bytes: u64,
    /// Content deltas (text, reasoning, tool call, refusal, audio).
    pub contents: u64,
    /// The dialect's own end was seen (`finish_reason`).
    pub finish_seen: bool,
    /// First target of the itinerary.
    pub first_target: bool,
    /// The client's own dialect and a body changed only where the contract allows.
    pub pristine: bool,
    /// Milliseconds since the attempt (or, for refusals, the exchange) began.
    pub elapsed_ms: u64,
}

impl Evidence {
    /// Evidence of something that happened before any attempt.
    #[must_use]
    pub const fn at_door(observation: Observation, elapsed_ms: u64) -> Self {
        Self {
            observation,
            connected: false,
            reused_connection: false,
            headers_seen: false,
            bytes: 0,
            contents: 0,
            finish_seen: false,
            first_target: true,
            pristine: true,
            elapsed_ms,
        }
    }
}

/// Where a client made no progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StallPoint {
    Head,
    Body,
    /// Bytes came, and too few.
    BodyPace,
    Answer,
}

impl StallPoint {
    /// What stood still, as a person would say it before the time that it took.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Head => "the head of the request made no progress for",
            Self::Body => "the body of the request made no progress for",
            Self::BodyPace => {
                "the body of the request came slower than `gateway.body_rate_min` asks and was not there after"
            }
            Self::Answer => "the reading of the answer made no progress for",
        }
    }
}

/// What a refusal of a target means in the words of its dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    BadRequest,
    /// Names a parameter or feature that the target does not take.
    Unsupported,
    Auth,
    ModelNotFound,
    ContextTooLong,
    ContentPolicy,
    RateLimited,
    QuotaExhausted,
    Overloaded,
    ProviderTimeout,
    ServerError,
    /// HTML, a redirect or a content type that is no dialect of ours.
    NotAnApi,
}

/// Something that ends an attempt, or refuses a request before there is one.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation {
    /// Our parser or framing check.
    Invalid {
        field: Option<String>,
        offset: Option<u64>,
        detail: String,
    },
    TooLarge {
        what: &'static str,
        limit: u64,
    },
    /// No such path.
    UnknownPath {
        asked: String,
        nearest: Vec<String>,
    },
    /// No such model name.
    UnknownRoute {
        asked: String,
        nearest: Vec<String>,
    },
    NotAllowed {
        detail: String,
    },
    /// Our key is missing or wrong.
    Unauthorized {
        detail: String,
    },
    /// Every candidate was rejected; a reason each.
    NoFit {
        rejected: Vec<(String, String)>,
        context_alone: bool,
    },
    /// What the client asks cannot be put in the dialect that a target speaks.
    Unsayable {
        field: String,
        why: String,
    },
    Draining,
    /// A bound over all requests leaves no room for this one.
    NoRoom {
        what: &'static str,
        limit: u64,
    },
    ClientStalled {
        at: StallPoint,
        limit_ms: u64,
    },
    ClientGone,
    Shutdown,
    OutputLimit {
        limit_bytes: u64,
    },
    Panic {
        detail: String,
    },
    /// A clock of ours fired.
    Clock {
        clock: Clock,
        limit_ms: u64,
        elapsed_ms: u64,
        source: LimitSource,
    },
    Dns {
        detail: String,
    },
    Connect {
        errno: Option<i32>,
        detail: String,
    },
    Tls {
        detail: String,
    },
    /// The connection broke; `errno` is absent for a plain end.
    Broken {
        errno: Option<i32>,
    },
    /// An HTTP/2 stream, or its connection, was ended by its server with this
    /// error code (RFC 9113, section 7).
    StreamReset {
        code: u32,
        name: String,
    },
    Refused {
        kind: RefusalKind,
        status: u16,
        code: Option<String>,
        param: Option<String>,
        message: Option<String>,
        retry_after_ms: Option<u64>,
        /// Read off the message's wording, not off a status or code.
        by_wording: bool,
    },
    /// An error frame inside a 200.
    ErrorFrame {
        kind: RefusalKind,
        code: Option<String>,
        message: Option<String>,
        retry_after_ms: Option<u64>,
    },
    /// A 200 whose whole body is an error object.
    ErrorPayload {
        code: Option<String>,
        message: Option<String>,
    },
    Garbled {
        detail: String,
    },
    Empty,
}

impl Observation {
    /// The connection or stream ended before the answer did.
    #[must_use]
    pub const fn is_break(&self) -> bool {
        matches!(self, Self::Broken { .. } | Self::StreamReset { .. })
    }
}

/// One line of evidence in a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
pub enum Fact {
    Clock {
        clock: Clock,
        limit_ms: u64,
        elapsed_ms: u64,
        source: LimitSource,
    },
    Errno {
        errno: i32,
        name: String,
    },
    HttpStatus {
        status: u16,
    },
    Vendor {
        #[serde(skip_serializing_if = "Option::is_none", default)]
        code: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        param: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        message: Option<String>,
    },
    RetryAfter {
        ms: u64,
    },
    /// What an error frame's own code maps to.
    MappedTo {
        cause: Cause,
    },
    ByWording,
    Seen {
        bytes: u64,
        contents: u64,
        finish: bool,
    },
    ReusedConnection,
    Http2 {
        code: u32,
        name: String,
    },
    ClosedByTarget,
    ClosedByClient,
    Field {
        field: String,
    },
    Offset {
        byte: u64,
    },
    Bound {
        what: String,
        limit: u64,
    },
    Stalled {
        at: StallPoint,
        limit_ms: u64,
    },
    Nearest {
        names: Vec<String>,
    },
    Rejected {
        target: String,
        reason: String,
    },
    Detail {
        text: String,
    },
}

/// The numbers as they came, for those who want them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raw {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub http_code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub errno: Option<i32>,
    pub ms: u64,
}
