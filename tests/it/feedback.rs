//! What clients think of answers: who may say it, where it is shown, and that
//! none of their words is kept.

use crate::support::{Client, Folder, House, Response, chat, sim_target};
use serde_json::{Value, json};
use tautline::sim::{Sim, SimSettings};

fn config() -> String {
    format!(
        "{}[tasks.lookup]\ntargets = [\"t\"]\n[routes.auto]\nby_task = true\ndefault_task = \"lookup\"\n\
         [routes.\"*\"]\npassthrough = true\n",
        sim_target("t", "tokens=3", "")
    )
}

async fn say(house: &House, headers: &[(&str, &str)], body: &Value) -> Response {
    let client = Client::connect(house.addr).await;
    client.request("POST", "/v1/feedback", headers, body.to_string().as_bytes()).await
}

/// The id of a request that was answered.
async fn answered(house: &House, model: &str) -> String {
    let mut answer = house.post(&chat(model, true)).await;
    answer.bytes().await;
    answer.header("x-request-id").expect("an id").to_owned()
}

async fn rows(house: &House) -> Vec<(String, String, String, String, Option<f64>)> {
    let sql = "SELECT request_id, target, task, verdict, score FROM gateway_feedback ORDER BY request_id";
    sqlx::query_as(sql).fetch_all(house.running.store.pool()).await.expect("readable")
}

fn counted(metrics: &str, target: &str, task: &str, verdict: &str) -> Option<u64> {
    let line = format!("tautline_gateway_feedback_total{{target=\"{target}\",task=\"{task}\",verdict=\"{verdict}\"}} ");
    metrics.lines().find_map(|found| found.strip_prefix(line.as_str())?.parse().ok())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_word_of_a_request_is_kept_counted_and_shown_with_its_record() {
    let house = House::start("", &config()).await;
    let id = answered(&house, "auto").await;
    let body = json!({"request_id": id, "score": 0.9, "comment": "a rope-words remark"});
    let mut first = say(&house, &[], &body).await;
    let told = first.json().await;
    assert_eq!(first.status, 200, "{told}");
    assert_eq!(told, json!({"object": "feedback", "request_id": id, "verdict": "good", "score": 0.9}));
    let second = say(&house, &[], &json!({"request_id": id.to_lowercase(), "verdict": "bad"})).await;
    assert_eq!(second.status, 200);
    assert_eq!(rows(&house).await, [(id.clone(), "t".to_owned(), "lookup".to_owned(), "bad".to_owned(), None)]);
    let metrics = house.metrics().await;
    assert_eq!(counted(&metrics, "t", "lookup", "good"), Some(1));
    assert_eq!(counted(&metrics, "t", "lookup", "bad"), Some(1));
    let shown = house.record(&id).await.feedback.expect("it is there");
    assert_eq!((shown.verdict.as_str(), shown.score), ("bad", None));
    let path = format!("/-/records/{id}");
    let record = Client::connect(house.running.admin_addr).await.request("GET", &path, &[], b"").await.json().await;
    assert_eq!(record["feedback"]["verdict"], "bad");
    // Asking for it is an exchange of its own, without an attempt.
    let own = house.record_of(&second).await;
    assert_eq!((own.outcome.as_str(), own.path.as_str(), own.attempts.len()), ("ok", "/v1/feedback", 0));
    let all = format!("{:?}", house.newest_of(3).await);
    assert!(!all.contains("rope-words") && !metrics.contains("rope-words"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_of_a_passed_through_name_is_counted_for_its_provider() {
    let house = House::start("", &config()).await;
    let id = answered(&house, "sim?tokens=2").await;
    assert_eq!(say(&house, &[], &json!({"request_id": id, "score": 0.5})).await.status, 200);
    let refused = house.post(&json!({"model": "nowhere", "messages": []})).await;
    let id = refused.header("x-request-id").expect("an id").to_owned();
    assert_eq!(say(&house, &[], &json!({"request_id": id, "score": 0.1})).await.status, 200);
    let metrics = house.metrics().await;
    assert_eq!(counted(&metrics, "sim/*", "none", "neutral"), Some(1), "{metrics}");
    assert_eq!(counted(&metrics, "none", "none", "bad"), Some(1), "no target answered");
    assert!(!metrics.contains("sim?tokens=2"), "a name of a client is no label");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_who_asked_may_judge_and_only_in_the_words_that_are_known() {
    let own = "[providers.own]\ndialect = \"sim\"\nbase_url = \"http://127.0.0.1:9/v1\"\nauth = \"client\"\nmodels = [\"own*\"]\n";
    let house = House::start("", &format!("{}{own}", config())).await;
    let id = answered(&house, "auto").await;
    let known = json!({"request_id": id, "score": 1});
    let mut stranger = say(&house, &[("authorization", "Bearer somebody-else")], &known).await;
    let told = stranger.json().await;
    assert_eq!((stranger.status, &told["error"]["param"]), (404, &json!("request_id")), "{told}");
    assert_eq!(house.record_of(&stranger).await.outcome.as_str(), "refused");
    for (body, status, field) in [
        (json!({"request_id": "01ARZ3NDEKTSV4RRFFQ69G5FAV", "score": 1}), 404, json!("request_id")),
        (json!({"request_id": &id[6..], "score": 1}), 400, json!("request_id")),
        (json!({"request_id": id, "score": 2}), 400, json!("score")),
        (json!({"request_id": id, "verdict": "great"}), 400, json!("verdict")),
        (json!({"request_id": id, "score": 1, "commment": ""}), 400, json!("commment")),
        (json!({"request_id": id}), 400, json!("score")),
        (json!([]), 400, Value::Null),
    ] {
        let mut answer = say(&house, &[], &body).await;
        let told = answer.json().await;
        assert_eq!((answer.status, &told["error"]["param"]), (status, &field), "{body}: {told}");
    }
    let wrong = Client::connect(house.addr).await.request("GET", "/v1/feedback", &[], b"").await;
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("POST")));
    assert!(rows(&house).await.is_empty());
    assert!(!house.metrics().await.contains("feedback_total{"));
    assert_eq!(say(&house, &[], &known).await.status, 200, "who asked may");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_said_goes_with_its_record() {
    let house = House::start("records_max = 10", &config()).await;
    let first = answered(&house, "auto").await;
    assert_eq!(say(&house, &[], &json!({"request_id": first, "score": 1})).await.status, 200);
    let mut last = String::new();
    for _ in 0..15 {
        last = answered(&house, "auto").await;
    }
    assert_eq!(say(&house, &[], &json!({"request_id": last, "score": 1})).await.status, 200);
    let kept: Vec<String> = rows(&house).await.into_iter().map(|row| row.0).collect();
    assert_eq!(kept, [last], "the first one's record is gone");
    assert_eq!(say(&house, &[], &json!({"request_id": first, "score": 1})).await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_tells_of_it_while_the_gateway_runs_and_afterwards() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let sim = Sim::start(listener, SimSettings::default());
    let folder = Folder::new();
    let mut up = folder.up(&sim, "", &config()).await;
    let addr = up.addr;
    let post = async |path: &str, body: Value| {
        Client::connect(addr).await.request("POST", path, &[], body.to_string().as_bytes()).await
    };
    let mut answer = post("/v1/chat/completions", chat("auto", false)).await;
    answer.bytes().await;
    let id = answer.header("x-request-id").expect("an id").to_owned();
    assert_eq!(post("/v1/feedback", json!({"request_id": id, "score": 0.25})).await.status, 200);
    let line = "The client's feedback, ";
    for runs in [true, false] {
        if !runs {
            up.signal("TERM").await;
            assert_eq!(up.ended().await.code(), Some(0));
        }
        let ran = folder.run(&["explain", &id]).await;
        let told = ran.out.lines().find(|told| told.starts_with(line));
        assert!(told.is_some_and(|told| told.ends_with(": bad (score 0.25).")), "{}{}", ran.out, ran.err);
    }
}
