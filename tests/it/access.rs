//! One static key: who has to show it, and where it ends.

use crate::support::{Client, House, chat, sim_target};

fn config(key: &std::path::Path) -> (String, String) {
    let own = "[providers.own]\ndialect = \"sim\"\nauth = \"client\"\nmodels = [\"own*\"]\n";
    (
        format!("access_key = \"file:{}\"", key.display()),
        format!("{}[routes.m]\ntargets = [\"a\"]\n{own}", sim_target("a", "tokens=3", "")),
    )
}

fn key_file(key: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), key).expect("written");
    file
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configured_key_is_demanded_everywhere_but_for_health_and_goes_no_further() {
    let file = key_file("tl-secret-1");
    let (gateway, config) = config(file.path());
    let base = "base_url = \"http://127.0.0.1:9/v1\"\n";
    let house = House::start(&gateway, &format!("{config}{base}")).await;
    for (headers, status) in [
        (vec![], 401),
        (vec![("authorization", "Bearer tl-wrong")], 401),
        (vec![("authorization", "Bearer tl-secret-1")], 200),
        (vec![("x-api-key", "tl-secret-1")], 200),
        (vec![("x-tautline-key", "tl-secret-1"), ("authorization", "Bearer sk-own")], 200),
    ] {
        let mut response = house.post_with(&headers, &chat("m", true)).await;
        assert_eq!(response.status, status, "{headers:?}");
        if status == 401 {
            assert_eq!(response.header("x-tautline-cause"), Some("unauthorized"));
            assert_eq!(response.header("x-should-retry"), Some("false"));
            let record = house.record_of(&response).await;
            assert_eq!((record.outcome.as_str(), record.cause.as_str()), ("refused", "unauthorized"));
            let error = response.json().await["error"].clone();
            assert_eq!((&error["type"], &error["code"]), (&"authentication_error".into(), &"invalid_api_key".into()));
        } else {
            assert!(response.stream_text().await.done);
            assert_ne!(house.record_of(&response).await.principal.id, "anonymous");
        }
    }
    for seen in house.sim.seen() {
        assert!(!format!("{:?}", seen.headers).contains("tl-secret"), "our key never reaches a target");
        assert_eq!(seen.bearer, None, "nor does the caller's own, where it is not forwarded");
    }
    for (addr, path, status) in [
        (house.addr, "/healthz", 200),
        (house.addr, "/v1/models", 401),
        (house.running.admin_addr, "/healthz", 200),
        (house.running.admin_addr, "/metrics", 401),
        (house.running.admin_addr, "/-/records", 401),
    ] {
        assert_eq!(Client::connect(addr).await.request("GET", path, &[], b"").await.status, status, "{path}");
        let key = [("authorization", "Bearer tl-secret-1")];
        assert_eq!(Client::connect(addr).await.request("GET", path, &key, b"").await.status, 200, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_changes_the_key() {
    let file = key_file("tl-one");
    let (gateway, config) = config(file.path());
    let config = format!("{config}base_url = \"http://127.0.0.1:9/v1\"\n");
    let house = House::start(&gateway, &config).await;
    std::fs::write(file.path(), "tl-two").expect("written");
    assert!(house.running.reloader.reload().await.is_ok());
    assert_eq!(house.post_with(&[("x-tautline-key", "tl-one")], &chat("m", false)).await.status, 401);
    assert_eq!(house.post_with(&[("x-tautline-key", "tl-two")], &chat("m", false)).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_proxy_hands_on_from_elsewhere_is_not_taken_for_this_machines_own() {
    let config = format!("{}[routes.m]\ntargets = [\"a\"]\n", sim_target("a", "tokens=3", ""));
    let file = key_file("tl-secret-1");
    let key = format!("access_key = \"file:{}\"", file.path().display());
    let trusting = "trusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]";
    let far = ("x-forwarded-for", "203.0.113.9, 10.0.0.7");
    let shown = ("x-tautline-key", "tl-secret-1");
    for (gateway, headers, status, addr) in [
        (String::new(), vec![], 200, "127.0.0.1"),
        (String::new(), vec![("x-forwarded-for", "::1")], 200, "127.0.0.1"),
        // No proxy is trusted: not believed about who asks, and yet no longer near.
        (String::new(), vec![far], 401, "127.0.0.1"),
        (trusting.to_owned(), vec![far], 401, "203.0.113.9"),
        (trusting.to_owned(), vec![("forwarded", "for=203.0.113.9")], 401, "203.0.113.9"),
        (format!("{trusting}\nauth = \"none\""), vec![far], 200, "203.0.113.9"),
        (format!("{trusting}\n{key}"), vec![far, shown], 200, "203.0.113.9"),
    ] {
        let house = House::start(&gateway, &config).await;
        let mut response = house.post_with(&headers, &chat("m", false)).await;
        assert_eq!(response.status, status, "{gateway} {headers:?}");
        let record = house.record_of(&response).await;
        assert_eq!(record.client_addr.as_deref(), Some(addr), "{gateway} {headers:?}");
        if status == 401 {
            let told = response.json().await["error"]["message"].clone();
            assert!(told.as_str().is_some_and(|told| told.contains("set gateway.access_key")), "{told}");
        }
    }
}
