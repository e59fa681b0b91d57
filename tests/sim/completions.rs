//! Legacy completions and embeddings, by raw bytes.

use crate::client::{Client, closed, sim};
use serde_json::{Value, json};
use tautline::sim::{SimSettings, answer_text};

#[tokio::test]
async fn completions_say_the_text_of_their_prompt_streamed_or_whole() {
    let sim = sim(SimSettings::default()).await;
    let mut asked = json!({ "model": "sim?tokens=7", "prompt": ["tie a knot", "untie it"] });
    let mut client = Client::connect(&sim).await;
    client.post_to("/v1/completions", "", &asked).await;
    let (_, _, whole) = client.whole().await;
    assert_eq!(whole["object"], "text_completion");
    asked["stream"] = true.into();
    asked["stream_options"] = json!({ "include_usage": true });
    client.post_to("/v1/completions", "", &asked).await;
    client.until(closed).await;
    let payloads = client.payloads();
    assert_eq!(payloads.last().map(String::as_str), Some("[DONE]"));
    let frames: Vec<Value> = payloads.iter().filter_map(|payload| serde_json::from_str(payload).ok()).collect();
    for (index, prompt) in [(0, "tie a knot"), (1, "untie it")] {
        assert_eq!(whole["choices"][index]["text"], answer_text(prompt, 7));
        let own = frames.iter().map(|frame| &frame["choices"][0]).filter(|choice| choice["index"] == index);
        let text: String = own.filter_map(|choice| choice["text"].as_str()).collect();
        assert_eq!(text, answer_text(prompt, 7));
    }
    assert_eq!(frames.last().map(|frame| &frame["usage"]["completion_tokens"]), Some(&json!(14)));
}

#[tokio::test]
async fn embeddings_are_answered_and_fail_as_they_are_told_to() {
    let sim = sim(SimSettings::default()).await;
    let mut client = Client::connect(&sim).await;
    let ask = |model: &str| json!({ "model": model, "input": ["a", "b"], "dimensions": 4 });
    client.post_to("/v1/embeddings", "", &ask("sim")).await;
    let (status, _, list) = client.whole().await;
    assert_eq!((status, list["data"].as_array().map(Vec::len)), (200, Some(2)));
    assert_eq!(list["data"][1]["embedding"].as_array().map(Vec::len), Some(4));
    client.post_to("/v1/embeddings", "", &ask("sim?fault=status_429")).await;
    assert_eq!(client.whole().await.0, 429);
    client.post_to("/v1/embeddings", "", &json!({ "model": "sim", "input": 7 })).await;
    assert_eq!(client.whole().await.2["error"]["param"], "input");
}
