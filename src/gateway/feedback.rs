//! Feedback: what a client thought of an answer, beside its record.
//!
//! Owns the table, the reading of `POST /v1/feedback`, and whom a verdict is
//! counted for. Refuses words: a comment is checked and not kept. Invariants: a
//! request has one verdict at most, the last; a verdict is its own principal's
//! alone; there are no more of them than records.

use crate::domain::failure::Observation;
use crate::domain::ids::{ExchangeId, TargetName};
use crate::domain::record::{Feedback, Outcome, Record, Verdict};
use crate::domain::task::Task;
use crate::gateway::admit::Admitted;
use crate::gateway::events::FeedbackGiven;
use crate::gateway::exchange::refuse_as;
use crate::gateway::journal::ErrorAnswer;
use crate::gateway::record;
use crate::gateway::settings::{Settings, nearest};
use crate::gateway::settle::Open;
use crate::gateway::state::Gateway;
use crate::store::Store;
use crate::wire::redact::redact;
use bytes::Bytes;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use std::future::Future;
use std::time::Duration;

/// A table of the gateway's database.
pub const TABLE: &str = "
    CREATE TABLE gateway_feedback (
        request_id TEXT PRIMARY KEY NOT NULL,
        at TEXT NOT NULL,
        target TEXT NOT NULL,
        task TEXT NOT NULL,
        verdict TEXT NOT NULL,
        score REAL
    ) WITHOUT ROWID;
";

/// What a request may say.
const FIELDS: [&str; 4] = ["request_id", "score", "verdict", "comment"];
/// From this score on it is a good one, and up to that a bad one.
const GOOD_FROM: f64 = 0.67;
const BAD_UP_TO: f64 = 0.33;
/// A record that waits for the disk is waited for this long.
const WRITTEN_MAX: Duration = Duration::from_secs(1);
/// A database that takes longer counts as one that refuses.
const STORE_MAX: Duration = Duration::from_secs(5);

/// Where feedback is kept. Lives as long as the gateway; its table outlives that.
#[derive(Debug, Default)]
pub struct Shelf {
    /// `None` until the database is open.
    store: Mutex<Option<Store>>,
}

/// What a client said.
#[derive(Debug, PartialEq)]
struct Said {
    request_id: String,
    verdict: Verdict,
    score: Option<f64>,
}

/// Why it is not taken.
enum NotTaken {
    Said(Observation),
    /// There is no such request, or it is somebody else's.
    Unknown(String),
    /// The database refuses.
    NotKept,
}

impl Shelf {
    /// The database is open.
    pub fn opened(&self, store: Store) {
        *self.store.lock() = Some(store);
    }
}

/// Takes feedback, settles, and says what the client gets.
pub async fn take(gateway: &Gateway, admitted: &Admitted, open: Open) -> ErrorAnswer {
    let field =
        |field: &str, detail: String| Observation::Invalid { field: Some(field.to_owned()), offset: None, detail };
    match keep(gateway, &admitted.body, &open.record.principal.id).await {
        Ok(said) => {
            let body = serde_json::json!({
                "object": "feedback", "request_id": said.request_id, "verdict": said.verdict, "score": said.score,
            });
            open.settle(Outcome::Ok, 200, None);
            let headers = vec![(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
            ErrorAnswer { status: 200, headers, body: Bytes::from(body.to_string()), in_stream: None }
        }
        Err(NotTaken::Said(observation)) => refuse_as(open, observation, None),
        Err(NotTaken::Unknown(id)) => {
            let detail = format!("there is no request \"{id}\" of yours; it is the x-request-id of an answer");
            refuse_as(open, field("request_id", detail), Some(404))
        }
        Err(NotTaken::NotKept) => {
            let detail = "the database does not take feedback now".to_owned();
            refuse_as(open, Observation::Panic { detail }, None)
        }
    }
}

async fn keep(gateway: &Gateway, body: &[u8], principal: &str) -> Result<Said, NotTaken> {
    let said = read(body).map_err(NotTaken::Said)?;
    let store = gateway.feedback.store.lock().clone().ok_or(NotTaken::NotKept)?;
    let mut found = in_time(record::get(&store, &said.request_id)).await?;
    if found.is_none() {
        // It may have been settled just now.
        let _ = tokio::time::timeout(WRITTEN_MAX, gateway.settling.sink.flush()).await;
        found = in_time(record::get(&store, &said.request_id)).await?;
    }
    let record = found.filter(|found| found.principal.id == principal);
    let record = record.ok_or_else(|| NotTaken::Unknown(said.request_id.clone()))?;
    in_time(write(&store, &record, &said)).await?;
    let settings = gateway.settings();
    FeedbackGiven {
        target: target_label(&settings, &record),
        task: task_label(&settings, &record),
        verdict: said.verdict,
    }
    .emit(&gateway.metrics);
    Ok(said)
}

async fn in_time<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, NotTaken> {
    match tokio::time::timeout(STORE_MAX, work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => {
            tracing::warn!(%error, "failed to keep feedback");
            Err(NotTaken::NotKept)
        }
        Err(_) => Err(NotTaken::NotKept),
    }
}

async fn write(store: &Store, record: &Record, said: &Said) -> Result<(), sqlx::Error> {
    let mut tx = store.pool().begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query(
        "INSERT OR REPLACE INTO gateway_feedback (request_id, at, target, task, verdict, score) VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(&said.request_id)
    .bind(format!("{:.3}", jiff::Timestamp::now()))
    .bind(record.attempts.last().map_or("none", |attempt| attempt.target.as_str()))
    .bind(&record.task)
    .bind(said.verdict.as_str())
    .bind(said.score)
    .execute(&mut *tx)
    .await?;
    // Records go oldest first, bounded by `records_max`; what was said of them goes along.
    sqlx::query("DELETE FROM gateway_feedback WHERE request_id < (SELECT MIN(id) FROM gateway_records)")
        .execute(&mut *tx)
        .await?;
    tx.commit().await
}

/// The target of the last attempt, as metrics name it: a name that a client chose is no label.
fn target_label(settings: &Settings, record: &Record) -> Option<TargetName> {
    let last = record.attempts.last()?;
    if let Some(target) = settings.targets.get(&last.target) {
        return Some(target.label.clone());
    }
    settings.providers.get(&last.provider).map(|provider| TargetName::new(format!("{}/*", provider.name)))
}

/// `None` for one that is not configured any more.
fn task_label(settings: &Settings, record: &Record) -> Option<Task> {
    settings.tasks.get(&record.task).map(|task| task.task.clone())
}

fn read(body: &[u8]) -> Result<Said, Observation> {
    let invalid = |field: Option<&str>, offset: Option<u64>, detail: &str| Observation::Invalid {
        field: field.map(str::to_owned),
        offset,
        detail: detail.to_owned(),
    };
    let told = |field: &str, detail: &str| invalid(Some(field), None, &format!("`{field}` {detail}"));
    let object: Map<String, Value> = serde_json::from_slice(body)
        .map_err(|_| invalid(None, None, "the body must be a JSON object with request_id and score or verdict"))?;
    if let Some(other) = object.keys().find(|key| !FIELDS.contains(&key.as_str())) {
        let near = nearest(other, FIELDS, 1).pop();
        let hint =
            near.map_or_else(|| format!("known here: {}", FIELDS.join(", ")), |near| format!("did you mean `{near}`?"));
        let asked = redact(other, 100);
        return Err(invalid(Some(&asked), None, &format!("there is no field `{asked}`; {hint}")));
    }
    let id = object.get("request_id").and_then(Value::as_str).and_then(ExchangeId::parse);
    let id = id.ok_or_else(|| told("request_id", "must be the x-request-id of an answer, 26 characters"))?;
    if !matches!(object.get("comment"), None | Some(Value::Null | Value::String(_))) {
        return Err(told("comment", "must be text; it is not kept"));
    }
    let given = |name: &str| object.get(name).filter(|value| !value.is_null());
    let (verdict, score) = match (given("verdict"), given("score")) {
        (None, None) => {
            return Err(told("score", "must be a number from 0 to 1, unless `verdict` stands instead of it"));
        }
        (Some(_), Some(_)) => {
            return Err(told("verdict", "stands beside `score`, which says the same: send one of them"));
        }
        (Some(verdict), None) => {
            let named = verdict.as_str().and_then(|name| Verdict::ALL.iter().find(|verdict| verdict.as_str() == name));
            (*named.ok_or_else(|| told("verdict", "must be `good`, `bad` or `neutral`"))?, None)
        }
        (None, Some(score)) => {
            let score = score.as_f64().filter(|score| (0.0..=1.0).contains(score));
            let score = score.ok_or_else(|| told("score", "must be a number from 0 to 1"))?;
            (of_score(score), Some(score))
        }
    };
    Ok(Said { request_id: id.to_string(), verdict, score })
}

fn of_score(score: f64) -> Verdict {
    match score {
        good if good >= GOOD_FROM => Verdict::Good,
        bad if bad <= BAD_UP_TO => Verdict::Bad,
        _ => Verdict::Neutral,
    }
}

/// What a row of the table says; `None` for one of another version.
#[must_use]
pub fn of_row(at: String, verdict: &str, score: Option<f64>) -> Option<Feedback> {
    let verdict = *Verdict::ALL.iter().find(|known| known.as_str() == verdict)?;
    Some(Feedback { at, verdict, score })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";

    fn said(rest: &str) -> Result<Said, Option<String>> {
        let body = format!("{{\"request_id\": \"{ID}\"{rest}}}");
        read(body.as_bytes()).map_err(|observation| match observation {
            Observation::Invalid { field, .. } => field,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn a_score_is_a_verdict_by_thirds() {
        for (score, verdict) in [
            ("0", Verdict::Bad),
            ("0.33", Verdict::Bad),
            ("0.34", Verdict::Neutral),
            ("0.66", Verdict::Neutral),
            ("0.67", Verdict::Good),
            ("1", Verdict::Good),
        ] {
            let said = said(&format!(", \"score\": {score}")).expect("taken");
            assert_eq!((said.verdict, said.score), (verdict, score.parse().ok()), "{score}");
        }
        let expected = Said { request_id: ID.to_owned(), verdict: Verdict::Neutral, score: None };
        assert_eq!(said(r#", "verdict": "neutral", "comment": "so so", "score": null"#), Ok(expected));
    }

    #[test]
    fn what_cannot_be_taken_is_refused_by_its_field() {
        for (rest, field) in [
            ("", "score"),
            (r#", "score": 1.01"#, "score"),
            (r#", "score": -0.01"#, "score"),
            (r#", "score": "1""#, "score"),
            (r#", "verdict": "great""#, "verdict"),
            (r#", "verdict": "good", "score": 1"#, "verdict"),
            (r#", "score": 1, "comment": 7"#, "comment"),
            (r#", "scor": 1"#, "scor"),
        ] {
            assert_eq!(said(rest), Err(Some(field.to_owned())), "{rest}");
        }
        assert!(read(br#"{"request_id": "FAV", "score": 1}"#).is_err(), "the end of an id is not enough");
        assert!(read(b"[]").is_err() && read(b"").is_err());
    }
}
