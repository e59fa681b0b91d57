//! The configuration read again under traffic.

use crate::support::{Answer2, Client, House, Http2, Response, chat, sim_target, within};
use futures_util::future::join_all;
use serde_json::Value;
use tautline::sim::{Ended, answer_text};

const PROMPT: &str = "why do ropes go slack?";

fn config(target: &str) -> String {
    format!(
        "{}{}[routes.m]\ntargets = [\"{target}\"]\n",
        sim_target("old", "tokens=60&gap=10ms", ""),
        sim_target("new", "tokens=5", "")
    )
}

async fn reload(house: &House, headers: &[(&str, &str)]) -> Response {
    Client::connect(house.running.admin_addr).await.request("POST", "/-/reload", headers, b"").await
}

async fn gauge(house: &House) -> String {
    let metrics = house.metrics().await;
    let line = metrics.lines().find_map(|line| line.strip_prefix("tautline_config_last_reload_successful "));
    line.expect("the gauge is always there").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_streams_go_on_over_a_reload_and_what_comes_after_goes_by_the_new_file() {
    let h2c = "listen_h2c = \"127.0.0.1:0\"";
    let house = House::start(h2c, &config("old")).await;
    let connection = Http2::connect(house.running.addrs_h2c[0]).await;
    let both = |_| async { (house.post(&chat("m", true)).await, connection.post(&chat("m", true)).await) };
    let (mut streams, mut streams2): (Vec<_>, Vec<_>) = join_all((0..100).map(both)).await.into_iter().unzip();
    assert!(streams.iter().all(|stream| stream.header("x-tautline-target") == Some("old")));
    assert!(streams2.iter().all(|stream| stream.headers["x-tautline-target"] == "old"));
    assert!(house.sim.seen().iter().any(|seen| seen.ended.is_none()), "some are under way");
    house.rewrite(h2c, &config("new"));
    assert_eq!(reload(&house, &[]).await.json().await["reloaded"], true);
    let mut after = house.post(&chat("m", true)).await;
    assert_eq!(after.header("x-tautline-target"), Some("new"));
    assert_eq!(after.stream_text().await.text, answer_text(PROMPT, 5));
    let one = join_all(streams.iter_mut().map(Response::stream_text));
    let two = join_all(streams2.iter_mut().map(Answer2::stream_text));
    let (one, two) = within("all streams", futures_util::future::join(one, two)).await;
    assert_eq!(connection.post(&chat("m", true)).await.headers["x-tautline-target"], "new", "on the same connection");
    for told in one.into_iter().chain(two) {
        assert_eq!((told.text.as_str(), told.done), (answer_text(PROMPT, 60).as_str(), true));
    }
    assert!(house.sim.seen().iter().all(|seen| seen.ended == Some(Ended::Complete)), "none was cut");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_file_keeps_the_last_good_one_and_says_all_that_is_wrong_with_it() {
    let house = House::start("", &config("old")).await;
    house.rewrite("headers_hold_maxx = \"1s\"", "[routes.m]\ntargets = [\"nobody\"]\n");
    let mut refused = reload(&house, &[]).await;
    assert_eq!(refused.status, 400);
    let told = refused.json().await;
    let keys: Vec<&str> =
        told["faults"].as_array().expect("a list").iter().filter_map(|fault| fault["key"].as_str()).collect();
    assert_eq!(keys, ["gateway.headers_hold_maxx", "routes.m.targets"], "{told}");
    assert_eq!(gauge(&house).await, "0");
    assert_eq!(house.post(&chat("m", true)).await.header("x-tautline-target"), Some("old"));
    house.rewrite("write_timeout = \"9s\"", &config("new"));
    let told: Value = reload(&house, &[]).await.json().await;
    assert_eq!(told["at_restart"], serde_json::json!(["gateway.write_timeout"]));
    assert_eq!(gauge(&house).await, "1");
    assert_eq!(house.post(&chat("m", true)).await.header("x-tautline-target"), Some("new"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_web_page_reloads_nothing() {
    let house = House::start("", &config("old")).await;
    house.rewrite("", &config("new"));
    assert_eq!(reload(&house, &[("origin", "https://evil.example")]).await.status, 403);
    assert_eq!(house.post(&chat("m", true)).await.header("x-tautline-target"), Some("old"));
}
