//! How a provider is reached: straight, by a proxy, over a Unix socket; by
//! which HTTP, trusting whom and showing what.
//!
//! Owns the keys of `[providers.NAME]` that concern the connection. Refuses to
//! connect. Invariants: certificates are read and held against each other when
//! the configuration is checked, never in a handshake; two ways that differ in
//! anything have different keys, so that no connection serves the wrong one.

use super::raw::{RawGateway, RawProvider};
use super::{Endpoint, Fault, Resolved};
use crate::domain::secret::Secret;
use base64::Engine as _;
use http::HeaderValue;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Bytes of a Unix socket's path (`sun_path` less its end, unix(7)).
pub const SOCKET_PATH_MAX: usize = 107;

/// The way to a provider.
#[derive(Debug)]
pub struct Reach {
    pub endpoint: Endpoint,
    pub version: HttpVersion,
    /// A Unix socket that is connected to instead of the endpoint's host.
    pub socket: Option<PathBuf>,
    pub proxy: Option<Proxy>,
    /// Of an `https` endpoint.
    pub tls: Option<ClientTls>,
    /// What every request's target ends in, encoded and without its `?`; a
    /// secret, as some providers take keys there.
    pub query: Option<Secret<String>>,
    /// The same for ways whose connections are alike in everything.
    pub key: u64,
}

/// Which HTTP is spoken with a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HttpVersion {
    /// Over TLS what both know best (ALPN, RFC 7301), else HTTP/1.1.
    Auto,
    One,
    /// Over TLS by ALPN and nothing else, else by prior knowledge (RFC 9113, section 3.3).
    Two,
}

/// An HTTP proxy: `CONNECT` for `https` endpoints, absolute targets for `http`
/// ones (RFC 9110, section 9.3.6; RFC 9112, section 3.2.2).
#[derive(Debug, Clone)]
pub struct Proxy {
    /// Its path is empty.
    pub endpoint: Endpoint,
    /// `Proxy-Authorization`.
    pub authorization: Option<HeaderValue>,
    pub tls: Option<ClientTls>,
}

/// Whom a connection trusts and what it shows of itself. Cheap to clone.
#[derive(Clone)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    /// The same without HTTP/2, for servers that want some request by HTTP/1.1.
    older: Arc<ClientConfig>,
}

impl std::fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientTls")
    }
}

impl ClientTls {
    /// Speaks `version`; a proxy is spoken to by HTTP/1.1.
    fn new(config: &ClientConfig, version: HttpVersion) -> Self {
        let alpn = |names: &[&[u8]]| {
            let mut config = config.clone();
            config.alpn_protocols = names.iter().map(|name| name.to_vec()).collect();
            Arc::new(config)
        };
        let older = alpn(&[b"http/1.1"]);
        let config = match version {
            HttpVersion::Auto => alpn(&[b"h2", b"http/1.1"]),
            HttpVersion::One => Arc::clone(&older),
            HttpVersion::Two => alpn(&[b"h2"]),
        };
        Self { config, older }
    }

    /// `older`: offers HTTP/1.1 alone.
    #[must_use]
    pub fn config(&self, older: bool) -> Arc<ClientConfig> {
        Arc::clone(if older { &self.older } else { &self.config })
    }
}

/// What stands outside the file and may be asked for.
pub struct Outside<'a> {
    /// A secret reference's secret, or why there is none.
    pub resolve: &'a dyn Fn(&str) -> Result<Resolved, String>,
    /// A file's bytes.
    pub read: &'a dyn Fn(&Path) -> std::io::Result<Vec<u8>>,
}

#[cfg(test)]
impl Reach {
    /// Straight to a port of `host` by HTTP/1.1.
    pub fn straight(host: &str, port: u16) -> Self {
        let endpoint = Endpoint { tls: false, host: host.to_owned(), port, path: String::new() };
        Self { endpoint, version: HttpVersion::Auto, socket: None, proxy: None, tls: None, query: None, key: 0 }
    }
}

#[cfg(test)]
impl Outside<'static> {
    /// Knows no secret and no file.
    pub fn nothing() -> Self {
        Self { resolve: &|_| Err("there is none".to_owned()), read: &|_| Err(std::io::ErrorKind::NotFound.into()) }
    }
}

/// Takes the way apart; `None` with at least one fault.
pub fn reach(
    name: &str,
    raw: &RawProvider,
    gateway: &RawGateway,
    outside: &Outside<'_>,
    faults: &mut Vec<Fault>,
) -> Option<Reach> {
    let before = faults.len();
    let key = |field: &str| format!("providers.{name}.{field}");
    let mut fault = |field: &str, problem: String, fix: &str| faults.push(Fault::new(key(field), problem, fix));
    let form = "write base_url = \"https://host/v1\"";
    let endpoint = match raw.base_url.as_deref().map(Endpoint::parse) {
        Some(Ok(endpoint)) => Some(endpoint),
        Some(Err(problem)) => {
            fault("base_url", problem, form);
            None
        }
        None => {
            fault("base_url", "is missing".to_owned(), form);
            None
        }
    };
    let version = match raw.http.as_deref() {
        None | Some("auto") => HttpVersion::Auto,
        Some("1.1") => HttpVersion::One,
        Some("2") => HttpVersion::Two,
        Some(other) => {
            fault("http", format!("\"{other}\" is not known"), "write \"auto\", \"1.1\" or \"2\"");
            HttpVersion::Auto
        }
    };
    let socket = raw.socket.as_ref().map(PathBuf::from);
    if let Some(path) = &socket
        && !(1..=SOCKET_PATH_MAX).contains(&path.as_os_str().len())
    {
        let problem = format!("{} has no length from 1 to {SOCKET_PATH_MAX} bytes", path.display());
        fault("socket", problem, "name a socket by a shorter path");
    }
    let secure = endpoint.as_ref().is_some_and(|endpoint| endpoint.tls);
    if endpoint.is_some() && !secure {
        let given = [("ca", &raw.ca), ("client_certificate", &raw.client_certificate), ("client_key", &raw.client_key)];
        for (field, _) in given.into_iter().filter(|(_, given)| given.is_some()) {
            fault(field, "means nothing without TLS".to_owned(), "write base_url with https://, or leave it out");
        }
    }
    let proxy = proxy(name, raw, gateway, endpoint.as_ref(), outside, faults);
    let mut files = Files { name, outside, faults, identity: Vec::new() };
    let tls = if secure { files.config(raw, version) } else { None };
    let identity = files.identity;
    let endpoint = endpoint.filter(|_| faults.len() == before)?;
    let mut hasher = DefaultHasher::new();
    (&endpoint, version, &socket).hash(&mut hasher);
    if let Some(Proxy { endpoint, authorization, .. }) = &proxy {
        (endpoint, authorization.as_ref().map(HeaderValue::as_bytes)).hash(&mut hasher);
    }
    identity.hash(&mut hasher);
    Some(Reach { endpoint, version, socket, proxy, tls, query: None, key: hasher.finish() })
}

/// The PEM files of a provider, as they are read.
struct Files<'a> {
    name: &'a str,
    outside: &'a Outside<'a>,
    faults: &'a mut Vec<Fault>,
    /// Everything that was read: a connection made with other bytes is another.
    identity: Vec<Vec<u8>>,
}

impl Files<'_> {
    fn fault(&mut self, field: &str, problem: String, fix: &str) {
        self.faults.push(Fault::new(format!("providers.{}.{field}", self.name), problem, fix));
    }

    fn pem(&mut self, field: &str, path: &str) -> Option<Vec<u8>> {
        match (self.outside.read)(Path::new(path)) {
            Ok(bytes) => {
                self.identity.push(bytes.clone());
                Some(bytes)
            }
            Err(error) => {
                self.fault(field, format!("{path} cannot be read: {error}"), "name a PEM file");
                None
            }
        }
    }

    fn config(&mut self, raw: &RawProvider, version: HttpVersion) -> Option<ClientTls> {
        let roots = self.roots(raw.ca.as_deref());
        let identity = self.identity(raw.client_certificate.as_deref(), raw.client_key.as_deref());
        let builder = client_builder().with_root_certificates(roots?);
        let config = match identity? {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let Ok(config) = builder.with_client_auth_cert(chain, key) else {
                    let problem = "is not the key of client_certificate, or of no kind that is known".to_owned();
                    self.fault("client_key", problem, "name the key that belongs to client_certificate");
                    return None;
                };
                config
            }
        };
        Some(ClientTls::new(&config, version))
    }

    fn roots(&mut self, ca: Option<&str>) -> Option<Arc<RootCertStore>> {
        let Some(path) = ca else {
            let fix = "install the system's certificates, or name an authority's PEM file as `ca`";
            return system_roots().map_err(|problem| self.fault("base_url", problem, fix)).ok();
        };
        let roots = named_roots(&self.pem("ca", path)?);
        if roots.is_none() {
            let problem = format!("{path} holds no certificate in PEM form, or one that cannot be read");
            self.fault("ca", problem, "name the authority's PEM file");
        }
        roots
    }

    /// What a connection shows of itself; `None` with a fault, `Some(None)`: nothing.
    #[expect(clippy::option_option, reason = "a fault, nothing, and something")]
    fn identity(&mut self, chain: Option<&str>, key: Option<&str>) -> Option<Option<Identity>> {
        let beside = "name its PEM file, or leave out both";
        let (chain_path, key_path) = match (chain, key) {
            (None, None) => return Some(None),
            (Some(chain), Some(key)) => (chain, key),
            (Some(_), None) => {
                self.fault("client_key", "is missing beside client_certificate".to_owned(), beside);
                return None;
            }
            (None, Some(_)) => {
                self.fault("client_certificate", "is missing beside client_key".to_owned(), beside);
                return None;
            }
        };
        let (chain, key) = (self.pem("client_certificate", chain_path), self.pem("client_key", key_path));
        let chain = CertificateDer::pem_slice_iter(&chain?).collect::<Result<Vec<_>, _>>().unwrap_or_default();
        if chain.is_empty() {
            let fix = "name a chain that begins with the client's own certificate";
            self.fault("client_certificate", format!("{chain_path} holds no certificate in PEM form"), fix);
            return None;
        }
        let key = PrivateKeyDer::from_pem_slice(&key?);
        if key.is_err() {
            let problem = format!("{key_path} holds no private key in PEM form");
            self.fault("client_key", problem, "name the key's PEM file");
        }
        Some(Some((chain, key.ok()?)))
    }
}

/// A chain of certificates and the key of its first.
type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn client_builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring speaks TLS 1.2 and 1.3")
}

fn named_roots(pem: &[u8]) -> Option<Arc<RootCertStore>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.ok()?).ok()?;
    }
    (!roots.is_empty()).then(|| Arc::new(roots))
}

/// The authorities that this machine trusts, read once a process;
/// `SSL_CERT_FILE` names others.
fn system_roots() -> Result<Arc<RootCertStore>, String> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    if let Some(roots) = ROOTS.get() {
        return Ok(Arc::clone(roots));
    }
    let found = rustls_native_certs::load_native_certs()
        .map_err(|error| format!("is https, and this machine's certificates cannot be read: {error}"))?;
    let mut roots = RootCertStore::empty();
    // Some systems trust what no library can read; the others serve all the same.
    let (good, _) = roots.add_parsable_certificates(found);
    if good == 0 {
        return Err("is https, and this machine has no authority's certificate to check it by".to_owned());
    }
    Ok(Arc::clone(ROOTS.get_or_init(|| Arc::new(roots))))
}

/// The proxy of a provider: its own, else the gateway's, which is not used for
/// loopback and Unix sockets.
fn proxy(
    name: &str,
    raw: &RawProvider,
    gateway: &RawGateway,
    endpoint: Option<&Endpoint>,
    outside: &Outside<'_>,
    faults: &mut Vec<Fault>,
) -> Option<Proxy> {
    let own = format!("providers.{name}");
    let is_near = raw.socket.is_some() || endpoint.is_some_and(Endpoint::is_loopback);
    let (at, url, credentials) = match &raw.proxy {
        Some(url) if raw.socket.is_some() && url != "off" => {
            faults.push(Fault::new(format!("{own}.proxy"), "stands beside socket", "keep one of the two"));
            return None;
        }
        Some(url) => (own.as_str(), url, &raw.proxy_credentials),
        None if raw.proxy_credentials.is_some() => {
            let problem = "stands without a proxy of its own";
            faults.push(Fault::new(format!("{own}.proxy_credentials"), problem, "write it beside `proxy`"));
            return None;
        }
        None => ("gateway", gateway.proxy.as_ref().filter(|_| !is_near)?, &gateway.proxy_credentials),
    };
    if url == "off" {
        return None;
    }
    let mut fault = |field: &str, problem: String, fix: &str| {
        let fault = Fault::new(format!("{at}.{field}"), problem, fix);
        // The gateway's own is told once, not once for each provider.
        if !faults.contains(&fault) {
            faults.push(fault);
        }
    };
    let form = "write it as \"http://host:3128\"; credentials go into proxy_credentials";
    let endpoint = match Endpoint::parse(url) {
        Ok(endpoint) if endpoint.path.is_empty() => endpoint,
        Ok(_) => {
            fault("proxy", format!("\"{url}\" has a path"), form);
            return None;
        }
        Err(problem) => {
            fault("proxy", problem, form);
            return None;
        }
    };
    let authorization = match credentials.as_deref().map(|reference| authorization(reference, outside)) {
        None => None,
        Some(Ok(value)) => Some(value),
        Some(Err((problem, fix))) => {
            fault("proxy_credentials", problem, fix);
            return None;
        }
    };
    let roots = endpoint.tls.then(system_roots).transpose();
    let roots = roots.map_err(|problem| {
        fault("proxy", problem, "install the system's certificates, or use a proxy over http://");
    });
    let config = |roots| client_builder().with_root_certificates(roots).with_no_client_auth();
    let tls = roots.ok()?.map(|roots| ClientTls::new(&config(roots), HttpVersion::One));
    Some(Proxy { endpoint, authorization, tls })
}

/// The value of `Proxy-Authorization`, or why there is none, and the fix.
fn authorization(reference: &str, outside: &Outside<'_>) -> Result<HeaderValue, (String, &'static str)> {
    const FORM: &str = "write \"env:NAME\" or \"file:PATH\"";
    if reference.starts_with("exec:") {
        return Err(("would be asked once and never renewed".to_owned(), FORM));
    }
    let resolved = (outside.resolve)(reference).map_err(|problem| (problem, FORM))?;
    match resolved.secret.expose() {
        pair if pair.contains(':') => Ok(basic(pair)),
        _ => Err(("gives no user:password".to_owned(), "let the variable or file hold user:password")),
    }
}

/// `Basic` credentials (RFC 7617, section 2).
fn basic(user_and_password: &str) -> HeaderValue {
    let encoded = base64::engine::general_purpose::STANDARD.encode(user_and_password);
    let mut value = HeaderValue::try_from(format!("Basic {encoded}")).expect("base64 can stand in a header");
    value.set_sensitive(true);
    value
}
