//! Who may knock on a loopback door.
//!
//! A web page in the operator's browser can send requests to 127.0.0.1; the
//! browser tells on it by `Origin`, and a rebound name by `Host`.

use http::HeaderMap;
use http::header::{HOST, ORIGIN};

/// Why a request must not be served: a foreign `Origin`, or a `Host` that is no
/// loopback name and not in `allowed`. Requests without either header pass.
#[must_use]
pub fn refuse_foreign(headers: &HeaderMap, allowed: &[String]) -> Option<String> {
    for value in headers.get_all(HOST) {
        let host = value.to_str().ok().and_then(host_of);
        if !host.is_some_and(|host| is_known(host, allowed)) {
            return Some(
                "the Host header is no loopback name; add the name to gateway.allowed_hosts if it is yours".to_owned(),
            );
        }
    }
    let origin = headers.get(ORIGIN)?.to_str().unwrap_or("null");
    let host = origin.split_once("://").map(|(_, rest)| rest).and_then(host_of);
    if host.is_some_and(|host| is_known(host, allowed)) {
        None
    } else {
        Some("the Origin header is foreign: a web page must not spend this gateway's keys; add its host to gateway.allowed_hosts if it is yours".to_owned())
    }
}

/// The host of an authority, without port and brackets.
fn host_of(authority: &str) -> Option<&str> {
    let authority = authority.split(['/', '?', '#']).next()?;
    if authority.contains('@') {
        return None;
    }
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split_once(']').map(|(host, _)| host);
    }
    Some(
        authority
            .rsplit_once(':')
            .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
            .map_or(authority, |(host, _)| host),
    )
}

fn is_known(host: &str, allowed: &[String]) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
        || allowed.contains(&host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(host: Option<&str>, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.extend(host.map(|host| (HOST, host.parse().expect("header"))));
        headers.extend(origin.map(|origin| (ORIGIN, origin.parse().expect("header"))));
        refuse_foreign(&headers, &["gw.example".to_owned()]).is_some()
    }

    #[test]
    fn loopback_and_allowed_names_pass_and_nothing_that_looks_like_them() {
        for host in [
            "localhost",
            "LOCALHOST:4000",
            "127.0.0.1:4000",
            "127.9.9.9",
            "[::1]:4000",
            "a.localhost",
            "gw.example:80",
            "localhost.",
        ] {
            assert!(!refused(Some(host), None), "{host}");
        }
        for host in [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example:4000",
            "localhost@evil.example",
            "0.0.0.0",
            "10.0.0.1",
            "[::2]",
        ] {
            assert!(refused(Some(host), None), "{host}");
        }
        for origin in
            ["https://evil.example", "null", "file://", "http://127.0.0.1.evil.example", "chrome-extension://abc"]
        {
            assert!(refused(Some("localhost"), Some(origin)), "{origin}");
        }
        for origin in ["http://localhost:3000", "https://gw.example", "http://[::1]:9"] {
            assert!(!refused(Some("localhost"), Some(origin)), "{origin}");
        }
        assert!(!refused(None, None));
    }
}
