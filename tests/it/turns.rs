//! The next turn: the client sends back a history that several providers wrote.

use crate::support::{Client, Folder, House, Tongue};
use serde_json::{Value, json};
use tautline::sim::{Sim, SimSettings, answer_text};

const PROMPT: &str = "why do ropes go slack?";

/// A second vendor, who signs in its own way.
async fn other_vendor() -> Sim {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    Sim::start(listener, SimSettings { signing: "another vendor".to_owned(), ..SimSettings::default() })
}

/// `first` on the house's simulator, `second` on the other vendor's, one route over both.
fn two(other: &Sim, api: &str, first: &str, second: &str) -> String {
    let more = "max_output_tokens = 4000";
    format!(
        "[providers.only-{api}-2]\ndialect = \"sim\"\nbase_url = \"{}\"\nmodels = [\"two-*\"]\napis = [\"{api}\"]\n\
         [targets.first]\nprovider = \"only-{api}\"\nmodel = \"sim?{first}\"\n{more}\n\
         [targets.second]\nprovider = \"only-{api}-2\"\nmodel = \"sim?{second}\"\n{more}\n\
         [routes.m]\ntargets = [\"first\", \"second\"]\n[routes.one]\ntargets = [\"first\"]\n[routes.two]\ntargets = [\"second\"]\n",
        other.base_url()
    )
}

fn thinking(stream: bool) -> Value {
    json!({"model": "m", "max_tokens": 4000, "stream": stream, "thinking": {"type": "enabled", "budget_tokens": 1024},
        "messages": [{"role": "user", "content": PROMPT}]})
}

/// Asks, demands a good answer, and hands back what it was and who gave it.
async fn turn(house: &House, tongue: Tongue, body: &Value) -> (Value, String, Option<String>) {
    let mut response = tongue.post(house.addr, &[], body).await;
    let answer = response.json().await;
    assert_eq!(response.status, 200, "{answer}");
    let header = |name: &str| response.header(name).map(str::to_owned);
    (answer, header("x-tautline-target").expect("a target"), header("x-tautline-warning"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recovered_primary_is_not_shown_the_thinking_that_its_fallback_signed() {
    let other = other_vendor().await;
    let config = two(&other, "messages", "reasoning=4&fault=status_503&first=1", "reasoning=4");
    let house = House::start("same_target_retries = 0", &config).await;
    let mut body = thinking(false);
    let (first, by, _) = turn(&house, Tongue::Messages, &body).await;
    assert_eq!((by.as_str(), &first["content"][0]["type"]), ("second", &json!("thinking")), "{first}");
    for (asked, ask) in (1..).zip(["and then?", "and after that?", "and last?"]) {
        let turns = body["messages"].as_array_mut().expect("turns");
        turns.push(json!({"role": "assistant", "content": first["content"]}));
        turns.push(json!({"role": "user", "content": ask}));
        let (answer, by, warning) = turn(&house, Tongue::Messages, &body).await;
        assert_eq!(by, "first", "{answer}");
        assert!(warning.expect("a warning").contains("dropped reasoning of another provider"));
        let record = house.newest_of(1 + asked).await;
        assert_eq!((record.outcome.as_str(), record.attempts.len()), ("ok", 1), "it was never sent");
    }
    // Its own maker gets it back whole.
    body["model"] = json!("two");
    let (_, by, warning) = turn(&house, Tongue::Messages, &body).await;
    assert_eq!((by.as_str(), warning), ("second", None));
    let seen = other.seen().pop().expect("asked");
    assert!(seen.body["messages"].to_string().contains("\"signature\""), "{}", seen.body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signature_that_nobody_remembers_is_tried_and_then_left_out_at_the_same_target() {
    let other = other_vendor().await;
    let config = two(&other, "messages", "reasoning=4", "reasoning=4");
    let house = House::start("", &config).await;
    let direct = |body: &Value| {
        let mut body = body.clone();
        body["model"] = json!("sim?reasoning=4");
        async move { Tongue::Messages.post(other.addr(), &[], &body).await.json().await }
    };
    let mut body = thinking(false);
    let foreign = direct(&body).await;
    let turns = body["messages"].as_array_mut().expect("turns");
    turns.push(json!({"role": "assistant", "content": foreign["content"]}));
    turns.push(json!({"role": "user", "content": "and then?"}));
    let mut response = Tongue::Messages.post(house.addr, &[], &body).await;
    let answer = response.json().await;
    assert_eq!((response.status, response.header("x-tautline-target")), (200, Some("first")), "{answer}");
    let record = house.record_of(&response).await;
    let attempts: Vec<_> =
        record.attempts.iter().map(|one| (one.target.as_str(), one.cause.as_str(), one.side.as_str())).collect();
    assert_eq!(attempts, [("first", "unsupported_by_target", "caller_config"), ("first", "none", "none")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn encrypted_reasoning_goes_to_its_maker_alone() {
    let other = other_vendor().await;
    let config = two(&other, "responses", "reasoning=4&fault=status_503&first=1", "reasoning=4");
    let house = House::start("same_target_retries = 0", &config).await;
    let mut body = json!({"model": "m", "store": false, "include": ["reasoning.encrypted_content"],
        "input": [{"role": "user", "content": PROMPT}]});
    let (first, by, _) = turn(&house, Tongue::Responses, &body).await;
    assert_eq!(by, "second");
    assert!(first["output"][0]["encrypted_content"].is_string(), "{first}");
    let items = body["input"].as_array_mut().expect("items");
    items.extend(first["output"].as_array().expect("output").iter().cloned());
    items.push(json!({"role": "user", "content": "and then?"}));
    let (_, by, warning) = turn(&house, Tongue::Responses, &body).await;
    assert_eq!(by, "first");
    assert!(warning.expect("a warning").contains("dropped reasoning of another provider"));
    body["model"] = json!("two");
    let (_, by, warning) = turn(&house, Tongue::Responses, &body).await;
    assert_eq!((by.as_str(), warning), ("second", None));
}

/// One conversation over `previous_response_id`.
async fn ask(house: &House, model: &str, input: &str, previous: Option<&str>) -> (u16, Value, Option<String>) {
    let mut body = json!({"model": model, "input": input});
    if let Some(previous) = previous {
        body["previous_response_id"] = json!(previous);
    }
    let mut response = Tongue::Responses.post(house.addr, &[], &body).await;
    let answer = response.json().await;
    (response.status, answer, response.header("x-tautline-target").map(str::to_owned))
}

fn id(answer: &Value) -> &str {
    answer["id"].as_str().expect("an id")
}

fn text(answer: &Value) -> String {
    Tongue::Responses.whole(answer).text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_goes_on_at_its_maker_and_elsewhere_with_all_that_was_said() {
    let config = format!(
        "{}{}[routes.m]\ntargets = [\"only-responses\", \"only-chat\"]\n[routes.chat]\ntargets = [\"only-chat\"]\n",
        Tongue::Responses.target("tokens=9", ""),
        Tongue::Chat.target("tokens=9", ""),
    );
    let house = House::start("", &config).await;
    let (status, first, by) = ask(&house, "m", "one", None).await;
    assert_eq!((status, by.as_deref()), (200, Some("only-responses")), "{first}");
    let (status, second, by) = ask(&house, "m", "two", Some(id(&first))).await;
    assert_eq!((status, by.as_deref()), (200, Some("only-responses")), "{second}");
    let seen = house.sim.seen().pop().expect("asked");
    assert_eq!(seen.body["previous_response_id"], first["id"], "its maker needs no more");
    assert_eq!(seen.body["input"], "two");
    // Elsewhere the whole conversation goes along, and on from there as well.
    let (status, third, by) = ask(&house, "chat", "three", Some(id(&second))).await;
    assert_eq!((status, by.as_deref()), (200, Some("only-chat")), "{third}");
    assert_eq!(text(&third), answer_text("three", 9));
    let (status, fourth, by) = ask(&house, "m", "four", Some(id(&third))).await;
    assert_eq!((status, by.as_deref()), (200, Some("only-responses")), "{fourth}");
    let seen = house.sim.seen().pop().expect("asked");
    assert!(seen.body["previous_response_id"].is_null(), "{}", seen.body);
    let said = seen.body["input"].to_string();
    for words in ["one", "two", "three", "four", &answer_text("one", 9), &answer_text("three", 9)] {
        assert!(said.contains(serde_json::to_string(words).expect("text").trim_matches('"')), "{words}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_that_is_gone_or_was_not_to_be_kept_is_said_to_be() {
    let config = format!("{}[routes.chat]\ntargets = [\"only-chat\"]\n", Tongue::Chat.target("tokens=9", ""));
    let house = House::start("", &config).await;
    let (status, error, _) = ask(&house, "chat", "on", Some("resp_nobody")).await;
    assert_eq!((status, &error["error"]["code"]), (400, &json!("previous_response_not_found")), "{error}");
    assert_eq!(error["error"]["param"], "previous_response_id");
    let mut body = json!({"model": "chat", "input": "one", "store": false});
    let answer = Tongue::Responses.post(house.addr, &[], &body).await.json().await;
    body["previous_response_id"] = answer["id"].clone();
    let (status, error, _) = ask(&house, "chat", "on", answer["id"].as_str()).await;
    assert_eq!((status, &error["error"]["code"]), (400, &json!("previous_response_not_found")), "{error}");
    assert!(Client::connect(house.addr).await.request("GET", "/healthz", &[], b"").await.status == 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_its_maker_forgot_is_sent_whole() {
    let config = format!("{}[routes.m]\ntargets = [\"only-responses\"]\n", Tongue::Responses.target("tokens=9", ""));
    let house = House::start("", &config).await;
    let (_, first, _) = ask(&house, "m", "one", None).await;
    let gone = Client::connect(house.sim.addr()).await;
    let path = format!("/v1/responses/{}", id(&first));
    assert_eq!(gone.request("DELETE", &path, &[], b"").await.status, 200);
    let mut response = Tongue::Responses
        .post(house.addr, &[], &json!({"model": "m", "input": "two", "previous_response_id": first["id"]}))
        .await;
    let answer = response.json().await;
    assert_eq!(response.status, 200, "{answer}");
    assert_eq!(text(&answer), answer_text("two", 9));
    let record = house.record_of(&response).await;
    assert_eq!(record.attempts.len(), 2);
    assert!(house.sim.seen().pop().expect("asked").body["input"].to_string().contains("one"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_calls_in_a_row_keep_the_thinking_before_the_first() {
    let other = other_vendor().await;
    let house = House::start("", &two(&other, "messages", "reasoning=4&tools=1", "tokens=3")).await;
    let mut body = thinking(false);
    body["model"] = json!("one");
    Tongue::Messages.offer(&mut body, "look_up");
    let (first, ..) = turn(&house, Tongue::Messages, &body).await;
    assert_eq!(first["content"][0]["type"], "thinking", "{first}");
    let call = first["content"].as_array().expect("blocks").iter().find(|block| block["type"] == "tool_use");
    let result =
        |id: &Value| json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": "1"}]});
    let turns = body["messages"].as_array_mut().expect("turns");
    turns.push(json!({"role": "assistant", "content": first["content"]}));
    turns.push(result(&call.expect("a call")["id"]));
    // A model thinks once, and calls again without.
    turns.push(json!({"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_2", "name": "look_up", "input": {}}]}));
    turns.push(result(&json!("toolu_2")));
    let (_, _, warning) = turn(&house, Tongue::Messages, &body).await;
    assert_eq!(warning, None);
    let seen = house.sim.seen().pop().expect("asked").body;
    assert_eq!((&seen["thinking"], &seen["messages"]), (&body["thinking"], &body["messages"]));
    // Of that first answer's thinking another vendor cannot make anything, nor go on with thinking.
    body["model"] = json!("two");
    let (_, _, warning) = turn(&house, Tongue::Messages, &body).await;
    assert!(warning.expect("a warning").contains("thinking: off"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_of_another_provider_does_not_go_back_to_anthropic() {
    let other = other_vendor().await;
    let house = House::start("", &two(&other, "messages", "tokens=3", "tokens=3")).await;
    let cited = json!([{"type": "web_search_result_location", "url": "u", "title": "T", "cited_text": "q", "encrypted_index": ""}]);
    let found =
        json!([{"type": "web_search_result", "title": "T", "url": "u", "encrypted_content": "", "page_age": null}]);
    let said = json!([
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}},
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": found},
        {"type": "text", "text": "so", "citations": cited},
    ]);
    let body = json!({"model": "one", "max_tokens": 100, "messages": [{"role": "user", "content": PROMPT},
        {"role": "assistant", "content": said}, {"role": "user", "content": "and then?"}]});
    let (_, _, warning) = turn(&house, Tongue::Messages, &body).await;
    assert!(warning.expect("a warning").contains("dropped web searches of another provider"));
    let seen = house.sim.seen().pop().expect("asked").body;
    assert_eq!(seen["messages"][1]["content"], json!([{"type": "text", "text": "so"}]));
}

/// A provider on the house's simulator that is reached with several keys.
fn pool(folder: &Folder, house: &str, dialect: &str, more: &str) -> String {
    let keys = ["one", "two", "three"].map(|name| {
        folder.write(name, &format!("KeyOfPool{name}"));
        format!("\"file:{}\"", folder.path().join(name).display())
    });
    let keys = keys.join(", ");
    format!(
        "[providers.pool]\ndialect = \"{dialect}\"\nbase_url = \"{house}\"\nmodels = [\"k\"]\napi_key = [{keys}]\n{more}\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_stays_with_the_key_that_signed_its_reasoning() {
    let (vendor, folder) = (other_vendor().await, Folder::new());
    let config = pool(&folder, &vendor.base_url(), "anthropic", "")
        + "[targets.k]\nprovider = \"pool\"\nmodel = \"sim?reasoning=4\"\nmax_output_tokens = 4000\n\
           [routes.m]\ntargets = [\"k\"]\n";
    let house = House::start("", &config).await;
    for _ in 0..3 {
        let mut body = thinking(false);
        for _ in 0..4 {
            let (answer, _, warning) = turn(&house, Tongue::Messages, &body).await;
            assert_eq!((warning, &answer["content"][0]["type"]), (None, &json!("thinking")), "{answer}");
            let turns = body["messages"].as_array_mut().expect("turns");
            turns.push(json!({"role": "assistant", "content": answer["content"]}));
            turns.push(json!({"role": "user", "content": "and then?"}));
        }
    }
    let keys: Vec<_> = vendor.seen().into_iter().map(|seen| seen.key.expect("a key")).collect();
    assert!(keys.chunks(4).all(|turns| turns.iter().all(|key| *key == turns[0])), "{keys:?}");
    assert!(keys[0] != keys[4] && keys[4] != keys[8], "conversations take turns: {keys:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_keeps_no_responses_is_sent_the_whole_conversation() {
    let vendor = other_vendor().await;
    let config = format!(
        "[providers.plain]\ndialect = \"openai\"\nbase_url = \"{}\"\nmodels = [\"p\"]\napis = [\"responses\"]\n\
         [targets.p]\nprovider = \"plain\"\nmodel = \"sim?tokens=9\"\n[routes.m]\ntargets = [\"p\"]\n",
        vendor.base_url()
    );
    let house = House::start("", &config).await;
    let (_, first, _) = ask(&house, "m", "one", None).await;
    let (status, second, _) = ask(&house, "m", "two", Some(id(&first))).await;
    assert_eq!((status, text(&second)), (200, answer_text("two", 9)), "{second}");
    let seen = vendor.seen();
    assert_eq!(seen.len(), 2, "and was asked once");
    assert!(seen[1].body["previous_response_id"].is_null() && seen[1].body["input"].to_string().contains("one"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_that_began_elsewhere_goes_on_at_its_maker_and_nowhere_in_part() {
    let config = format!(
        "{}{}[routes.m]\ntargets = [\"only-chat\", \"only-responses\"]\n",
        Tongue::Responses.target("tokens=9", ""),
        Tongue::Chat.target("tokens=9", ""),
    );
    let house = House::start("", &config).await;
    let first = Tongue::Responses.post(house.sim.addr(), &[], &json!({"model": "sim?tokens=9", "input": "one"})).await;
    let first = { first }.json().await;
    let (status, second, by) = ask(&house, "m", "two", Some(id(&first))).await;
    assert_eq!((status, by.as_deref()), (200, Some("only-responses")), "{second}");
    let (status, third, by) = ask(&house, "m", "three", Some(id(&second))).await;
    assert_eq!((status, by.as_deref()), (200, Some("only-responses")), "{third}");
    let seen = house.sim.seen().pop().expect("asked");
    assert_eq!((&seen.body["previous_response_id"], &seen.body["input"]), (&second["id"], &json!("three")));
    // Its maker forgets it: nobody else is asked without the beginning.
    let path = format!("/v1/responses/{}", id(&third));
    assert_eq!(Client::connect(house.sim.addr()).await.request("DELETE", &path, &[], b"").await.status, 200);
    let (status, error, _) = ask(&house, "m", "four", Some(id(&third))).await;
    assert_eq!((status, &error["error"]["code"]), (400, &json!("previous_response_not_found")), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_of_another_caller_is_not_gone_on_from_with_a_key_of_ours() {
    let own = "[providers.own]\ndialect = \"sim\"\nbase_url = \"http://127.0.0.1:9/v1\"\nauth = \"client\"\nmodels = [\"own*\"]\n";
    let (vendor, folder) = (other_vendor().await, Folder::new());
    let config = pool(&folder, &vendor.base_url(), "openai", "apis = [\"responses\"]")
        + own
        + "[targets.k]\nprovider = \"pool\"\nmodel = \"sim?tokens=9\"\n[routes.m]\ntargets = [\"k\"]\n";
    let house = House::start("", &config).await;
    let asked_by = async |who: &str, previous: Option<&Value>| {
        let mut body = json!({"model": "m", "input": "say it again"});
        if let Some(previous) = previous {
            body["previous_response_id"] = previous.clone();
        }
        let mut response = Tongue::Responses.post(house.addr, &[("authorization", who)], &body).await;
        (response.status, response.json().await)
    };
    let (_, first) = asked_by("Bearer one", None).await;
    assert_eq!(asked_by("Bearer one", Some(&first["id"])).await.0, 200);
    let before = vendor.seen().len();
    let (status, error) = asked_by("Bearer other", Some(&first["id"])).await;
    assert_eq!((status, &error["error"]["code"]), (400, &json!("previous_response_not_found")), "{error}");
    assert_eq!(vendor.seen().len(), before, "nobody was asked");
    let record = house.newest_of(3).await;
    assert_eq!((record.model.as_str(), record.route.as_str(), record.cause.as_str()), ("m", "m", "invalid_request"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_background_job_is_found_by_its_id_though_its_stream_broke() {
    let script = "tokens=40&fault=early_end&after=5&gap=20ms";
    let config = format!("{}[routes.m]\ntargets = [\"only-responses\"]\n", Tongue::Responses.target(script, ""));
    let house = House::start("", &config).await;
    let body = json!({"model": "m", "input": "one", "background": true, "stream": true});
    let mut response = Tongue::Responses.post(house.addr, &[], &body).await;
    let payloads = response.payloads().await;
    let begun: Value = serde_json::from_str(&payloads[0]).expect("a frame");
    let path = format!("/v1/responses/{}", id(&begun["response"]));
    for (method, path) in [("GET", path.clone()), ("POST", format!("{path}/cancel"))] {
        Client::connect(house.addr).await.request(method, &path, &[], b"").await.text().await;
        let seen = house.sim.seen().pop().expect("asked");
        assert_eq!((seen.method.as_str(), seen.path.as_str()), (method, path.as_str()), "its maker is asked");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_came_whole_streams_under_its_makers_id_and_is_gone_on_from() {
    let script = "tokens=9&plain=1";
    let config = format!("{}[routes.m]\ntargets = [\"only-responses\"]\n", Tongue::Responses.target(script, ""));
    let house = House::start("", &config).await;
    let body = json!({"model": "m", "input": "one", "stream": true});
    let payloads = Tongue::Responses.post(house.addr, &[], &body).await.payloads().await;
    let last: Value = serde_json::from_str(payloads.last().expect("frames")).expect("a frame");
    assert_eq!((&last["type"], text(&last["response"])), (&json!("response.completed"), answer_text("one", 9)));
    let (status, second, _) = ask(&house, "m", "two", Some(id(&last["response"]))).await;
    assert_eq!((status, text(&second)), (200, answer_text("two", 9)), "{second}");
    let seen = house.sim.seen().pop().expect("asked");
    assert_eq!(seen.body["previous_response_id"], last["response"]["id"], "its maker knows it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plan_judges_all_that_was_said_before() {
    let small = "[targets.small]\nprovider = \"only-chat\"\nmodel = \"sim?tokens=9\"\ncontext_tokens = 100\n";
    let config = format!(
        "{small}{}[routes.m]\ntargets = [\"small\", \"only-chat\"]\n[routes.chat]\ntargets = [\"only-chat\"]\n",
        Tongue::Chat.target("tokens=9", "")
    );
    let house = House::start("", &config).await;
    let (_, first, _) = ask(&house, "chat", &"a long story ".repeat(100), None).await;
    let (status, second, by) = ask(&house, "m", "two", Some(id(&first))).await;
    assert_eq!((status, by.as_deref()), (200, Some("only-chat")), "{second}");
    let (_, _, by) = ask(&house, "m", "two", None).await;
    assert_eq!(by.as_deref(), Some("small"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sealed_reasoning_that_chat_carries_goes_to_its_maker_alone() {
    let other = other_vendor().await;
    let config = two(&other, "messages", "reasoning=4&fault=status_503&first=1", "reasoning=4")
        + &Tongue::Chat.target("tokens=9", "")
        + "[routes.chat]\ntargets = [\"only-chat\"]\n";
    let house = House::start("same_target_retries = 0", &config).await;
    let mut body = json!({"model": "m", "reasoning_effort": "low", "max_tokens": 4000,
        "messages": [{"role": "user", "content": PROMPT}]});
    let (first, by, _) = turn(&house, Tongue::Chat, &body).await;
    let message = &first["choices"][0]["message"];
    assert_eq!(by, "second");
    assert!(message["reasoning_details"].to_string().contains("signature"), "{first}");
    let turns = body["messages"].as_array_mut().expect("turns");
    turns.extend([message.clone(), json!({"role": "user", "content": "and then?"})]);
    // Chat as it came, but for what another made.
    body["model"] = json!("chat");
    let (_, _, warning) = turn(&house, Tongue::Chat, &body).await;
    assert!(warning.expect("a warning").contains("dropped reasoning of another provider or key (1)"));
    let seen = house.sim.seen().pop().expect("asked").body["messages"][1].clone();
    assert_eq!((&seen["content"], seen["reasoning_details"].is_null()), (&message["content"], true), "{seen}");
    // And back to who made it.
    body["model"] = json!("two");
    let (_, by, warning) = turn(&house, Tongue::Chat, &body).await;
    assert_eq!(by, "second");
    assert!(warning.is_none_or(|warning| !warning.contains("reasoning")));
    assert!(other.seen().pop().expect("asked").body["messages"].to_string().contains("\"signature\""));
}
