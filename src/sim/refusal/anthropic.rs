//! Anthropic's wording of refusals.
//!
//! Owns its error object and its kinds. Refuses heads and pages. Invariant: every
//! error object names the request's id, as the `request-id` header does.

use crate::sim::fault::Fault;
use serde_json::{Value, json};

pub(in crate::sim) fn request_id(request: u64) -> String {
    format!("req_sim_{request}")
}

/// The error object; `request` is the ordinal that makes the request's id.
pub(in crate::sim) fn object(kind: &str, message: &str, request: u64) -> Value {
    json!({ "type": "error", "error": { "type": kind, "message": message }, "request_id": request_id(request) })
}

/// The kind that goes with a status, as the vendor's list of errors has it.
pub(super) fn kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        408 | 504 => "timeout_error",
        529 => "overloaded_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}

/// Status, kind and message of a fault that is told by a status. A spent balance
/// is a 400 with this vendor, told apart by its wording alone.
pub(super) fn worded(fault: Fault, model: &str) -> Option<(u16, &'static str, String)> {
    let (status, message) = match fault {
        Fault::Status401 => (401, "invalid x-api-key"),
        Fault::Status402 => (402, "Your account is not in good standing. Please check your billing details."),
        Fault::Status403 => (403, "Your API key does not have permission to use the specified resource."),
        Fault::Status404 => return Some((404, kind(404), format!("model: {model}"))),
        Fault::Status408 => (408, "Request timed out."),
        Fault::Status429 => (
            429,
            "This request would exceed your organization's rate limit of 50 requests per minute. Please reduce the \
             number of requests, or try again later.",
        ),
        Fault::Quota => (
            400,
            "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or \
             purchase credits.",
        ),
        Fault::Status500 => (500, "Internal server error"),
        Fault::Status502 => (502, "Bad gateway"),
        Fault::Status503 | Fault::EarlyAnswer => (503, "Service unavailable"),
        Fault::Status504 => (504, "Request timed out before the model answered."),
        Fault::Status529 => (529, "Overloaded"),
        Fault::ErrorPayload => return Some((200, "api_error", "Internal server error".to_owned())),
        Fault::ContextLength => (400, "prompt is too long: 210000 tokens > 200000 maximum"),
        Fault::Unsupported => (400, "`temperature` is deprecated for this model."),
        Fault::Policy => (400, "Output blocked by content filtering policy"),
        Fault::BadRequest => (400, "Your request could not be processed."),
        Fault::StreamUnsupported => (400, "stream: Input should be False for this model"),
        _ => return None,
    };
    Some((status, kind(status), message.to_owned()))
}
