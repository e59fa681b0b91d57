//! Who stands behind a proxy that handed a request on.
//!
//! Owns `X-Forwarded-For` and `Forwarded` (RFC 7239). Refuses to believe a peer
//! that `gateway.trusted_proxies` does not name. Invariant: no header can bring a
//! request nearer than its peer is; one that came from elsewhere is never taken
//! for one of this machine, whoever handed it on.

use http::HeaderMap;
use ipnet::IpNet;
use std::net::IpAddr;

/// More hops than this are a loop, or a lie.
const HOPS_MAX: usize = 32;

/// Whose word about a client counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    pub networks: Vec<IpNet>,
    /// Whoever may open the Unix socket.
    pub unix: bool,
}

impl TrustedProxies {
    fn hold(&self, addr: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&addr.to_canonical()))
    }
}

/// Where a request came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Of the client; `None` over a Unix socket and where a proxy does not say it.
    pub addr: Option<IpAddr>,
    /// From this machine, by a way that no other can take.
    pub near: bool,
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// `None`: it was gone before it could be asked.
    Tcp(Option<IpAddr>),
    Unix,
}

/// The origin of a request that `peer` sent; `near`: it came over a loopback
/// address or a Unix socket of ours.
#[must_use]
pub fn origin(peer: Peer, near: bool, headers: &HeaderMap, trusted: &TrustedProxies) -> Origin {
    let addr = match peer {
        Peer::Tcp(addr) => addr.map(|addr| addr.to_canonical()),
        Peer::Unix => None,
    };
    let (listed, standard) = (hops(headers, "x-forwarded-for", |element| element), hops(headers, "forwarded", of_for));
    if listed.is_empty() && standard.is_empty() {
        return Origin { addr, near };
    }
    // Believed or not, one hop from elsewhere is enough: whoever sent it may have written those before it.
    let near = near && listed.iter().chain(&standard).all(|hop| hop.is_some_and(|addr| addr.is_loopback()));
    let believed = match peer {
        Peer::Tcp(_) => addr.is_some_and(|addr| trusted.hold(addr)),
        Peer::Unix => trusted.unix,
    };
    if !believed {
        return Origin { addr, near };
    }
    let client = match (client(&listed, trusted), client(&standard, trusted)) {
        (Some(one), Some(other)) if one != other => None,
        // A proxy that writes one of the two hands the other on, from whoever wrote it.
        (Some(client), _) | (None, Some(client)) => client,
        (None, None) => None,
    };
    Origin { addr: client, near }
}

/// The last hop that no proxy of ours wrote about itself; where all are ours the
/// first that is not this machine. `None` without a hop, `Some(None)` where it
/// is no address.
#[expect(clippy::option_option, reason = "no header, no address, and one")]
fn client(hops: &[Option<IpAddr>], trusted: &TrustedProxies) -> Option<Option<IpAddr>> {
    let of_ours = |hop: &Option<IpAddr>| hop.is_some_and(|addr| trusted.hold(addr));
    let is_elsewhere = |hop: &&Option<IpAddr>| hop.is_some_and(|addr| !addr.is_loopback());
    let stranger = hops.iter().rev().find(|hop| !of_ours(hop));
    stranger.or_else(|| hops.iter().find(is_elsewhere)).or(hops.first()).copied()
}

/// The clients that proxies tell of in one header, the nearest last and no more
/// than so many of these. An element that is no address is `None`.
fn hops(headers: &HeaderMap, name: &str, value: fn(&str) -> &str) -> Vec<Option<IpAddr>> {
    let lines = headers.get_all(name).iter();
    // Bytes that are no text make an element that is no address.
    let mut hops: Vec<_> =
        lines.flat_map(|line| line.to_str().unwrap_or("?").split(',')).map(|element| address(value(element))).collect();
    if hops.len() > HOPS_MAX {
        hops.drain(..hops.len() - HOPS_MAX);
        // What was cut off may have come from anywhere.
        hops[0] = None;
    }
    hops
}

/// The value of `for=` in one element (RFC 7239, section 4).
fn of_for(element: &str) -> &str {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let mut found = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
    found.next().map_or("", |(_, value)| value.trim().trim_matches('"'))
}

/// An address, with or without brackets and a port.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None if text.matches(':').count() == 1 => text.split_once(':')?.0,
        None => text,
    };
    bare.parse::<IpAddr>().ok().map(|addr| addr.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(peer: &str, near: bool, headers: &[(&'static str, &str)], trusted: &[&str]) -> (String, bool) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("header"));
        }
        let unix = trusted.contains(&"unix");
        let networks = trusted.iter().filter(|text| **text != "unix").map(|text| text.parse().expect("network"));
        let trusted = TrustedProxies { networks: networks.collect(), unix };
        let peer = peer.parse().map_or(Peer::Unix, |addr| Peer::Tcp(Some(addr)));
        let origin = origin(peer, near, &map, &trusted);
        (origin.addr.map_or_else(|| "unknown".to_owned(), |addr| addr.to_string()), origin.near)
    }

    #[test]
    fn without_a_header_the_peer_is_the_client() {
        assert_eq!(from("127.0.0.1", true, &[], &[]), ("127.0.0.1".to_owned(), true));
        assert_eq!(from("10.1.2.3", false, &[], &["10.0.0.0/8"]), ("10.1.2.3".to_owned(), false));
        assert_eq!(from("::ffff:10.1.2.3", false, &[], &[]), ("10.1.2.3".to_owned(), false));
        assert_eq!(from("a socket", true, &[], &[]), ("unknown".to_owned(), true));
    }

    #[test]
    fn a_trusted_proxy_is_believed_back_to_the_first_that_is_not() {
        let trusted = ["127.0.0.1/32", "10.0.0.0/8"];
        for (header, expected) in [
            ("203.0.113.9", "203.0.113.9"),
            ("198.51.100.1, 203.0.113.9, 10.0.0.7", "203.0.113.9"),
            ("10.0.0.3, 10.0.0.4", "10.0.0.3"),
            ("203.0.113.9:4711", "203.0.113.9"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("203.0.113.9, nonsense", "unknown"),
            ("unknown", "unknown"),
            ("", "unknown"),
        ] {
            let found = from("127.0.0.1", true, &[("x-forwarded-for", header)], &trusted);
            assert_eq!(found, (expected.to_owned(), false), "{header}");
        }
        let two = [("x-forwarded-for", "203.0.113.9"), ("x-forwarded-for", "10.0.0.7")];
        assert_eq!(from("10.0.0.1", false, &two, &trusted).0, "203.0.113.9", "two lines are one list");
        let standard = [("forwarded", "for=198.51.100.1;proto=https, For=\"[2001:db8::1]:4711\";by=10.0.0.9")];
        assert_eq!(from("127.0.0.1", true, &standard, &trusted), ("2001:db8::1".to_owned(), false));
        assert!(from("127.0.0.1", true, &[("x-forwarded-for", "127.0.0.1")], &trusted).1, "from here");
        let long = vec!["127.0.0.1"; HOPS_MAX + 1].join(",");
        assert!(!from("127.0.0.1", true, &[("x-forwarded-for", &long)], &trusted).1, "too long to be told");
        let padded = format!("{long}, 203.0.113.9");
        assert_eq!(from("127.0.0.1", true, &[("x-forwarded-for", &padded)], &trusted).0, "203.0.113.9");
    }

    #[test]
    fn no_header_of_a_clients_own_brings_it_nearer() {
        let trusted = ["127.0.0.1/32", "10.0.0.0/8"];
        let own = [("x-forwarded-for", "127.0.0.1, 10.0.0.50")];
        assert_eq!(
            from("127.0.0.1", true, &own, &trusted),
            ("10.0.0.50".to_owned(), false),
            "written before the proxy's"
        );
        let beside = [("x-forwarded-for", "127.0.0.1"), ("forwarded", "for=203.0.113.9")];
        for trusted in [&trusted[..], &[]] {
            assert!(!from("127.0.0.1", true, &beside, trusted).1, "the proxy writes the other header");
        }
        assert_eq!(from("127.0.0.1", true, &beside, &trusted).0, "unknown");
    }

    #[test]
    fn nobody_else_is_believed_and_what_was_handed_on_is_not_near() {
        let header = [("x-forwarded-for", "203.0.113.9")];
        assert_eq!(from("127.0.0.1", true, &header, &[]), ("127.0.0.1".to_owned(), false));
        assert_eq!(from("198.51.100.7", false, &header, &["10.0.0.0/8"]), ("198.51.100.7".to_owned(), false));
        let claims_to_be_here = [("x-forwarded-for", "127.0.0.1")];
        assert!(!from("198.51.100.7", false, &claims_to_be_here, &[]).1);
        assert!(!from("198.51.100.7", false, &claims_to_be_here, &["198.51.100.0/24"]).1);
        assert!(from("127.0.0.1", true, &claims_to_be_here, &[]).1, "a development server of this machine");
        assert_eq!(from("a socket", true, &header, &[]), ("unknown".to_owned(), false));
        assert_eq!(from("a socket", true, &header, &["unix"]), ("203.0.113.9".to_owned(), false));
    }
}
