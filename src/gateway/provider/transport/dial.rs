//! From the way to a provider to a connection: addresses, proxy, TLS.
//!
//! Owns the memory of resolved names. Invariant: an address that swallows
//! connections costs a moment, not the whole `connect` clock.

use super::line::{Io, Line};
use crate::domain::failure::Observation;
use crate::gateway::settings::{ClientTls, Endpoint, HttpVersion, Proxy, Reach};
use crate::serve::prepare;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

/// How long a resolved address is used without asking again.
const RESOLVED_FOR: Duration = Duration::from_secs(30);
const RESOLVED_MAX: usize = 1024;
/// Another address is tried after this, beside the first (RFC 8305, section 5).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);
/// And this long after it took a connection and has not come to an end with TLS: one behind
/// which nobody answers.
const NEXT_HANDSHAKE: Duration = Duration::from_secs(1);
/// The head of a proxy's answer.
const TUNNEL_HEAD_MAX: usize = 8 << 10;
const TUNNEL_HEADERS_MAX: usize = 64;

/// What is connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Socket(PathBuf),
    Addr(SocketAddr),
}

/// Addresses of names.
#[derive(Debug, Default)]
pub struct Book(Mutex<HashMap<(String, u16), Resolved>>);

/// Addresses of a host, and when they were asked for.
type Resolved = (Instant, Vec<SocketAddr>);

/// The host that is connected to: the proxy's, else the provider's.
fn next_hop(reach: &Reach) -> &Endpoint {
    reach.proxy.as_ref().map_or(&reach.endpoint, |proxy| &proxy.endpoint)
}

impl Book {
    /// Where `reach` leads first, the best place in front.
    ///
    /// # Errors
    /// The name has no address.
    pub async fn places(&self, reach: &Reach) -> Result<Vec<Place>, Observation> {
        if let Some(path) = &reach.socket {
            return Ok(vec![Place::Socket(path.clone())]);
        }
        Ok(self.resolve(next_hop(reach)).await?.into_iter().map(Place::Addr).collect())
    }

    async fn resolve(&self, endpoint: &Endpoint) -> Result<Vec<SocketAddr>, Observation> {
        if let Ok(ip) = endpoint.host.parse::<std::net::IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, endpoint.port)]);
        }
        let key = (endpoint.host.clone(), endpoint.port);
        if let Some((at, addrs)) = self.0.lock().get(&key)
            && at.elapsed() < RESOLVED_FOR
        {
            return Ok(addrs.clone());
        }
        let found = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port)).await;
        let addrs: Vec<SocketAddr> = found.map_err(|error| Observation::Dns { detail: error.to_string() })?.collect();
        if addrs.is_empty() {
            return Err(Observation::Dns { detail: "the name has no address".to_owned() });
        }
        let addrs = interleaved(addrs);
        let mut resolved = self.0.lock();
        if resolved.len() >= RESOLVED_MAX {
            resolved.clear();
        }
        resolved.insert(key, (Instant::now(), addrs.clone()));
        Ok(addrs)
    }

    /// A new connection to the first of `places` that takes one, through the
    /// proxy and into TLS where the way says so. `older`: offers HTTP/1.1 alone.
    /// Not cancel-safe: dropping it drops the connection. No clock of its own: the
    /// `connect` clock ends it.
    ///
    /// # Errors
    /// What was seen instead; of several addresses the last failure.
    pub async fn dial(&self, reach: &Reach, places: &[Place], older: bool) -> Result<(Line, Place), Observation> {
        if let [Place::Socket(path)] = places {
            let stream = UnixStream::connect(path).await.map_err(|error| refused(&error, "the socket"))?;
            return Ok((Line::new(within(Io::Unix(stream), reach, older).await?), Place::Socket(path.clone())));
        }
        let (io, addr) = self.race(reach, places, older).await?;
        Ok((Line::new(io), Place::Addr(addr)))
    }

    /// The first of several addresses that takes a connection (RFC 8305, "Happy
    /// Eyeballs"): the next one is tried when one fails, has taken nothing for
    /// [`NEXT_ADDRESS`], or takes longer than [`NEXT_HANDSHAKE`] for what follows.
    async fn race(&self, reach: &Reach, places: &[Place], older: bool) -> Result<(Io, SocketAddr), Observation> {
        let endpoint = next_hop(reach);
        let mut last = Observation::Dns { detail: "the name has no address".to_owned() };
        let taken = Mutex::new(None);
        let mut tries = FuturesUnordered::new();
        let mut rest = places.iter().filter_map(|place| match place {
            Place::Addr(addr) => Some(*addr),
            Place::Socket(_) => None,
        });
        let mut next = rest.next();
        loop {
            match next.take() {
                Some(addr) => tries.push(connect(addr, reach, older, &taken)),
                None if tries.is_empty() => break,
                None => {}
            }
            next = rest.next();
            let stalled = async {
                let mut wait = NEXT_ADDRESS;
                loop {
                    tokio::time::sleep(wait).await;
                    let since: Option<Instant> = *taken.lock();
                    match since.and_then(|since| NEXT_HANDSHAKE.checked_sub(since.elapsed())) {
                        Some(left) if !left.is_zero() => wait = left,
                        _ => return,
                    }
                }
            };
            tokio::select! {
                Some((outcome, addr)) = tries.next() => match outcome {
                    Ok(io) => {
                        self.prefer(endpoint, addr);
                        return Ok((io, addr));
                    }
                    Err(observation) => last = observation,
                },
                () = stalled, if next.is_some() => {}
            }
        }
        self.0.lock().remove(&(endpoint.host.clone(), endpoint.port));
        Err(last)
    }

    /// The address that took a connection is tried first as long as it is known.
    fn prefer(&self, endpoint: &Endpoint, addr: SocketAddr) {
        let mut resolved = self.0.lock();
        if let Some((_, addrs)) = resolved.get_mut(&(endpoint.host.clone(), endpoint.port))
            && let Some(place) = addrs.iter().position(|known| *known == addr)
        {
            addrs[..=place].rotate_right(1);
        }
    }
}

/// One try at one address; `taken` is told when TCP has done its part.
async fn connect(
    addr: SocketAddr,
    reach: &Reach,
    older: bool,
    taken: &Mutex<Option<Instant>>,
) -> (Result<Io, Observation>, SocketAddr) {
    let outcome = async {
        let who = if reach.proxy.is_some() { "the proxy" } else { "it" };
        let stream = TcpStream::connect(addr).await.map_err(|error| refused(&error, who))?;
        *taken.lock() = Some(Instant::now());
        prepare(&stream);
        within(Io::Tcp(stream), reach, older).await
    };
    (outcome.await, addr)
}

/// What follows on a connection that stands: the proxy's part, then TLS.
async fn within(mut io: Io, reach: &Reach, older: bool) -> Result<Io, Observation> {
    if let Some(proxy) = &reach.proxy {
        if let Some(tls) = &proxy.tls {
            let shaken = handshake(io, tls, &proxy.endpoint.host, true).await;
            io = shaken.map_err(|detail| Observation::Tls { detail: format!("the proxy: {detail}") })?;
        }
        // An absolute target is HTTP/1.1's: HTTP/2 by prior knowledge needs a tunnel, too.
        if reach.endpoint.tls || reach.version == HttpVersion::Two {
            tunnel(&mut io, &reach.endpoint, proxy).await?;
        }
    }
    match &reach.tls {
        None => Ok(io),
        Some(tls) => {
            let shaken = handshake(io, tls, &reach.endpoint.host, older).await;
            shaken.map_err(|detail| Observation::Tls { detail: detail.to_owned() })
        }
    }
}

/// The families in turn, in the resolver's order within each, so that one that
/// leads nowhere is not tried again and again first (RFC 8305, section 4).
fn interleaved(addrs: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addrs.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addrs.into_iter().partition(|addr| addr.is_ipv6() == first_is_v6);
    let mut second = second.into_iter();
    let mut out = Vec::new();
    for addr in first {
        out.push(addr);
        out.extend(second.next());
    }
    out.extend(second);
    out
}

fn refused(error: &std::io::Error, who: &str) -> Observation {
    let detail = match error.kind() {
        std::io::ErrorKind::ConnectionRefused => format!("{who} takes no connection"),
        std::io::ErrorKind::NotFound => format!("{who} is not there"),
        std::io::ErrorKind::PermissionDenied => format!("{who} may not be opened by this user"),
        kind => format!("{who} cannot be reached ({kind})"),
    };
    Observation::Connect { errno: error.raw_os_error(), detail }
}

async fn handshake(io: Io, tls: &ClientTls, host: &str, older: bool) -> Result<Io, &'static str> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| "its name can stand in no certificate")?;
    let shaken = TlsConnector::from(tls.config(older)).connect(name, io).await;
    shaken
        .map(|stream| Io::Tls(Box::new(stream)))
        .map_err(|error| tls_fault(&error).unwrap_or("the handshake broke off"))
}

/// What rustls says in an error of a stream, without the names that it quotes.
pub fn tls_fault(error: &std::io::Error) -> Option<&'static str> {
    let fault = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match fault {
        rustls::Error::InvalidCertificate(certificate) => certificate_fault(certificate),
        rustls::Error::InvalidMessage(_) => "what answers there does not speak TLS",
        rustls::Error::AlertReceived(alert) => alert_fault(*alert),
        rustls::Error::NoApplicationProtocol => "it does not speak the HTTP version that `http` asks for",
        rustls::Error::PeerIncompatible(_) => "it knows no version or cipher of TLS that is used here",
        _ => "the handshake failed",
    })
}

const fn certificate_fault(fault: &CertificateError) -> &'static str {
    match fault {
        CertificateError::UnknownIssuer => "its certificate is signed by an authority that is not trusted here",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its certificate is for another name"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "its certificate has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet"
        }
        CertificateError::Revoked => "its certificate was revoked",
        _ => "its certificate is not accepted",
    }
}

const fn alert_fault(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::CertificateRequired => {
            "it wants a certificate of ours; name it as client_certificate and client_key"
        }
        AlertDescription::BadCertificate
        | AlertDescription::DecryptError
        | AlertDescription::UnknownCA
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied => "it does not accept our certificate",
        AlertDescription::NoApplicationProtocol => "it does not speak the HTTP version that `http` asks for",
        AlertDescription::UnrecognisedName => "it does not know its own name",
        _ => "it ended the handshake",
    }
}

/// A proxy that lets nobody through without a credential, or not with ours.
pub fn unwelcome(proxy: &Proxy) -> Observation {
    let detail = match proxy.authorization {
        Some(_) => "the proxy does not accept proxy_credentials",
        None => "the proxy wants proxy_credentials",
    };
    Observation::Connect { errno: None, detail: detail.to_owned() }
}

/// Asks a proxy for a tunnel (RFC 9110, section 9.3.6).
async fn tunnel(io: &mut Io, endpoint: &Endpoint, proxy: &Proxy) -> Result<(), Observation> {
    let wrong = |detail: String| Observation::Connect { errno: None, detail };
    let broken = |error: &std::io::Error| Observation::Connect {
        errno: error.raw_os_error(),
        detail: "the proxy broke off before it answered".to_owned(),
    };
    let host = if endpoint.host.contains(':') { format!("[{}]", endpoint.host) } else { endpoint.host.clone() };
    let authority = format!("{host}:{}", endpoint.port);
    let mut head = format!("CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n").into_bytes();
    if let Some(value) = &proxy.authorization {
        head.extend_from_slice(b"proxy-authorization: ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    io.write_all(&head).await.map_err(|error| broken(&error))?;
    io.flush().await.map_err(|error| broken(&error))?;
    let mut answer = Vec::new();
    loop {
        let mut headers = [httparse::EMPTY_HEADER; TUNNEL_HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        match response.parse(&answer) {
            // The provider says nothing before our handshake: what follows the head is not its.
            Ok(httparse::Status::Complete(end)) => {
                return match response.code {
                    Some(200..=299) if end == answer.len() => Ok(()),
                    Some(200..=299) => Err(wrong("the proxy sent more than the head of its answer".to_owned())),
                    Some(401 | 407) => Err(unwelcome(proxy)),
                    code => Err(wrong(format!("the proxy opened no tunnel ({})", code.unwrap_or(0)))),
                };
            }
            Ok(httparse::Status::Partial) if answer.len() < TUNNEL_HEAD_MAX => {}
            Ok(httparse::Status::Partial) | Err(_) => {
                return Err(wrong("the proxy's answer is no HTTP/1.1".to_owned()));
            }
        }
        let mut piece = [0; 1024];
        match io.read(&mut piece).await {
            Ok(0) => return Err(wrong("the proxy broke off before it answered".to_owned())),
            Ok(n) => answer.extend_from_slice(&piece[..n]),
            Err(error) => return Err(broken(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[test]
    fn families_take_turns() {
        let addrs =
            |list: &[&str]| -> Vec<SocketAddr> { list.iter().map(|one| one.parse().expect("address")).collect() };
        assert_eq!(
            interleaved(addrs(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"])),
            addrs(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"])
        );
        assert_eq!(interleaved(addrs(&["1.1.1.1:1"])), addrs(&["1.1.1.1:1"]));
    }

    /// An address that takes no connection: its queue is full.
    async fn black_hole() -> (TcpListener, Vec<tokio::net::TcpStream>) {
        let socket = tokio::net::TcpSocket::new_v6().expect("a socket");
        socket.bind("[::1]:0".parse().expect("address")).expect("a free port");
        let listener = socket.listen(1).expect("it listens");
        let addr = listener.local_addr().expect("bound");
        let mut held = Vec::new();
        // The queue takes a few; then a connection hangs.
        while let Ok(Ok(stream)) =
            tokio::time::timeout(Duration::from_millis(300), tokio::net::TcpStream::connect(addr)).await
        {
            held.push(stream);
        }
        (listener, held)
    }

    #[tokio::test]
    async fn an_address_that_swallows_connections_hides_no_other() {
        let (hole, _held) = black_hole().await;
        let dead = hole.local_addr().expect("bound");
        let alive = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let good = alive.local_addr().expect("bound");
        let (book, reach) = (Book::default(), Reach::straight("both", 1));
        book.0.lock().insert(("both".to_owned(), 1), (Instant::now(), vec![dead, good]));
        let began = Instant::now();
        let places = [Place::Addr(dead), Place::Addr(good)];
        let dialing = book.dial(&reach, &places, false);
        let dialed = tokio::time::timeout(Duration::from_secs(20), dialing).await.expect("in time");
        assert!(dialed.is_ok_and(|(_, place)| place == places[1]) && began.elapsed() >= NEXT_ADDRESS);
        let known = book.places(&reach).await.expect("known");
        assert_eq!(known, [places[1].clone(), places[0].clone()], "what worked comes first");
        // One that refuses is passed over at once; if none is left, that is what is said.
        drop(alive);
        match book.dial(&reach, &[Place::Addr(good), Place::Addr(good)], false).await {
            Err(Observation::Connect { errno, .. }) => assert_eq!(errno, Some(111)),
            other => panic!("{other:?}"),
        }
    }
}
