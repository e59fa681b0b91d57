//! Every row of the taxonomy's "What the client gets", written down by hand.

use std::time::Duration;
use tautline::domain::failure::{Cause, Confidence, Failure, Phase, Raw};
use tautline::domain::ids::ExchangeId;
use tautline::gateway::attempt::TargetAnswer;
use tautline::gateway::settle::{Asker, Verdicts, error_answer};
use tautline::wire::dialect::Dialect;

/// Cause → status with nothing of the target's own to pass on, and whether
/// waiting helps. Written from failure-taxonomy.md, not from the code.
const ROWS: [(&str, u16, bool); 59] = [
    ("invalid_request", 400, false),
    ("too_large", 413, false),
    ("unknown_route", 404, false),
    ("unauthorized", 401, false),
    ("not_allowed", 403, false),
    ("no_fit_target", 400, false),
    ("client_stalled", 408, false),
    ("spawn_not_found", 502, false),
    ("spawn_not_executable", 502, false),
    ("spawn_args_too_big", 502, false),
    ("spawn_no_resources", 502, false),
    ("workdir_or_env_invalid", 502, false),
    ("stdin_failed", 502, false),
    ("own_deadline_connect", 504, false),
    ("own_deadline_send", 504, false),
    ("own_deadline_first_token", 504, false),
    ("own_deadline_idle", 504, false),
    ("own_deadline_progress", 504, false),
    ("own_deadline_total", 504, false),
    ("hedge_lost", 502, false),
    ("client_gone", 499, false),
    ("cancelled", 502, false),
    ("shutdown", 503, true),
    ("output_limit", 502, false),
    ("killed_term", 502, false),
    ("killed_kill", 502, false),
    ("oom_kernel", 502, false),
    ("oom_app", 502, false),
    ("crash_signal", 502, false),
    ("resource_limit", 502, false),
    ("exit_nonzero", 502, false),
    ("supervisor_lost", 502, false),
    ("dns", 502, true),
    ("connect_refused", 502, true),
    ("connect_unreachable", 502, true),
    ("tls", 502, false),
    ("reset_before_headers", 502, true),
    ("auth", 502, false),
    ("model_not_found", 502, false),
    ("context_too_long", 400, false),
    ("rate_limited", 429, true),
    ("quota_exhausted", 429, false),
    ("overloaded", 503, true),
    ("provider_timeout", 504, true),
    ("server_error", 502, true),
    ("not_an_api", 502, false),
    ("reset", 502, true),
    ("early_end", 502, true),
    ("garbled", 502, false),
    ("empty", 502, false),
    ("error_payload", 502, false),
    ("schema_invalid", 502, false),
    ("queue_full", 503, true),
    ("circuit_open", 503, true),
    ("draining", 503, true),
    ("limited", 429, true),
    ("budget_stop", 429, false),
    ("config_changed", 503, true),
    ("internal", 500, false),
];

/// Rows that are no error of an exchange's own, or go back as they came.
const ELSEWHERE: [&str; 9] = [
    "bad_request",
    "unsupported_by_target",
    "content_policy",
    "error_event",
    "length_limited",
    "content_filtered",
    "truncated_unmarked",
    "check_failed",
    "intent_disputed",
];

fn failure(cause: Cause) -> Failure {
    Failure {
        cause,
        phase: Phase::Headers,
        side: cause.side(),
        confidence: Confidence::Certain,
        evidence: Vec::new(),
        raw: Raw::default(),
    }
}

struct Answered {
    returned: bool,
    status: u16,
    retry_after: Option<String>,
    should_retry: Option<String>,
    body: String,
    cause: Option<String>,
}

fn answered(
    cause: Cause,
    free_in: Option<Duration>,
    refusal: Option<&TargetAnswer>,
    client_auth: bool,
    passthrough: bool,
) -> Answered {
    let failure = failure(cause);
    let (returned, answer) = error_answer(&Verdicts {
        failure: &failure,
        target: Some("t"),
        attempts: &[],
        answer: refusal,
        client_auth,
        passthrough,
        free_in,
        asker: Asker { id: ExchangeId::generate(), dialect: Dialect::Chat },
    });
    let header = |name: &str| {
        let found = answer.headers.iter().find(|(known, _)| known.as_str() == name);
        found.map(|(_, value)| value.to_str().expect("text").to_owned())
    };
    Answered {
        returned,
        status: answer.status,
        retry_after: header("retry-after"),
        should_retry: header("x-should-retry"),
        cause: header("x-tautline-cause"),
        body: String::from_utf8(answer.body.to_vec()).expect("text"),
    }
}

fn cause_named(name: &str) -> Cause {
    Cause::ALL.iter().copied().find(|cause| cause.as_str() == name).unwrap_or_else(|| panic!("no cause {name}"))
}

#[test]
fn every_cause_stands_in_the_table() {
    for cause in Cause::ALL {
        let rows = ROWS.iter().filter(|(name, ..)| *name == cause.as_str()).count();
        let elsewhere = ELSEWHERE.contains(&cause.as_str());
        assert_eq!(rows + usize::from(elsewhere), 1, "{cause}");
    }
}

#[test]
fn every_status_and_whether_to_try_again_is_the_taxonomys() {
    for (name, status, helps) in ROWS {
        let cause = cause_named(name);
        let unknown = answered(cause, None, None, false, false);
        assert_eq!((unknown.status, unknown.cause.as_deref()), (status, Some(name)));
        assert_eq!(unknown.should_retry.as_deref(), (!helps).then_some("false"), "{name}");
        assert_eq!(unknown.retry_after, None, "{name}: no wait is known");
        let short = answered(cause, Some(Duration::from_millis(1500)), None, false, false);
        assert_eq!(short.retry_after.as_deref(), helps.then_some("2"), "{name}: rounded up");
        let minute = answered(cause, Some(Duration::from_secs(60)), None, false, false);
        assert_eq!(minute.retry_after.as_deref(), helps.then_some("60"), "{name}");
        let long = answered(cause, Some(Duration::from_secs(61)), None, false, false);
        assert_eq!((long.retry_after, long.should_retry.as_deref()), (None, Some("false")), "{name}: never clamped");
        let object: serde_json::Value = serde_json::from_str(&unknown.body).expect("JSON");
        for field in ["message", "type", "param", "code"] {
            assert!(object["error"].get(field).is_some(), "{name}: {field}");
        }
    }
}

#[test]
fn a_targets_own_words_go_back_only_where_they_may() {
    let refusal = TargetAnswer {
        dialect: Dialect::Chat,
        status: 422,
        headers: vec![(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"))],
        body: "{\"error\":\"its own\"}".into(),
    };
    let told = |cause: &str, client_auth, passthrough| {
        let answer = answered(cause_named(cause), None, Some(&refusal), client_auth, passthrough);
        assert_eq!(answer.returned, answer.body == "{\"error\":\"its own\"}" && answer.status == 422);
        (answer.returned, answer.should_retry)
    };
    let never = Some("false".to_owned());
    for cause in ["bad_request", "unsupported_by_target", "content_policy"] {
        assert_eq!(told(cause, false, false), (true, never.clone()), "{cause}");
    }
    assert_eq!(told("auth", false, true), (false, never.clone()), "a 401 of ours would make users log in again");
    assert_eq!(told("auth", true, false), (true, never.clone()));
    assert_eq!(told("model_not_found", false, false), (false, never.clone()));
    assert_eq!(told("model_not_found", true, false), (true, never.clone()));
    assert_eq!(told("model_not_found", false, true), (true, never.clone()));
    assert_eq!(told("server_error", false, false), (false, None));
    assert_eq!(told("context_too_long", false, false), (false, never));
}

#[test]
fn codes_are_openais_where_agents_act_on_them() {
    for (cause, code) in [
        ("context_too_long", "context_length_exceeded"),
        ("unknown_route", "model_not_found"),
        ("rate_limited", "rate_limit_exceeded"),
        ("quota_exhausted", "insufficient_quota"),
        ("own_deadline_idle", "own_deadline_idle"),
    ] {
        let body: serde_json::Value =
            serde_json::from_str(&answered(cause_named(cause), None, None, false, false).body).expect("JSON");
        assert_eq!(body["error"]["code"], code);
    }
}
