//! Sockets of our own under pingora's listening service.
//!
//! pingora retries a used port for 30 s and then panics; a socket bound here
//! gives an honest error at once, and port 0 in tests.

use super::session::{Answer, Malformed, Session};
use super::tls::Certificate;
use async_trait::async_trait;
use parking_lot::Mutex;
use pingora_core::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora_core::listeners::tls::TlsSettings;
use pingora_core::listeners::{L4BufferSettings, ListenerConfig};
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::{Fds, ShutdownWatch};
use pingora_core::services::Service as _;
use pingora_core::services::listening::Service;
use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::IntoRawFd as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Read and write buffers of a connection, bytes each.
const L4_BUFFER: usize = 8 << 10;

/// The waits and bounds of a door.
#[derive(Debug, Clone, Copy)]
pub struct DoorLimits {
    /// For a complete request head, from its connection's start.
    pub head_timeout: Duration,
    /// A kept connection without a request is closed after this.
    pub connection_idle: Duration,
    /// For a body that stops arriving.
    pub body_timeout: Duration,
    /// For a client that stops reading.
    pub write_timeout: Duration,
    pub head_bytes_max: usize,
}

/// What stands behind a door.
pub trait App: Send + Sync + 'static {
    /// Answers one request. Whatever it leaves unanswered is closed.
    fn serve(&self, session: &mut Session) -> impl Future<Output = ()> + Send;

    /// The answer to something that is no request.
    fn malformed(&self, what: Malformed) -> Answer;
}

/// What is spoken at a door.
#[derive(Debug, Clone)]
pub enum Protocol {
    /// HTTP/1.1.
    Plain,
    /// HTTP/2 with prior knowledge (RFC 9113, section 3.3); who sends no preface
    /// gets HTTP/1.1.
    H2c,
    /// TLS, with HTTP/2 or HTTP/1.1 as ALPN agrees.
    Tls(Certificate),
}

/// A bound socket that nobody accepts from yet.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    pub addr: SocketAddr,
}

/// Binds `addr`; port 0 takes a free one.
///
/// # Errors
/// The system's own, such as a port in use.
pub fn bind(addr: SocketAddr) -> std::io::Result<Bound> {
    let listener = TcpListener::bind(addr)?;
    listener.set_nonblocking(true)?;
    let addr = listener.local_addr()?;
    Ok(Bound { listener, addr })
}

/// Accepts on `bound` until `closing` turns true; ends once accepting has ended
/// (connections go on). Runs on the caller's runtime.
pub async fn open<A: App>(
    name: &str,
    bound: Vec<Bound>,
    app: A,
    limits: DoorLimits,
    protocol: Protocol,
    closing: watch::Receiver<bool>,
) {
    let mut fds = Fds::new();
    let mut options = HttpServerOptions::default();
    options.h2c = matches!(protocol, Protocol::H2c);
    options.h2_idle_timeout = Some(limits.connection_idle);
    let adapter = Adapter { app, limits, closing: closing.clone(), options };
    let mut service = Service::new(name.to_owned(), adapter);
    for one in bound {
        let key = one.addr.to_string();
        fds.add(key.clone(), one.listener.into_raw_fd());
        let mut listener = ListenerConfig::tcp(key).l4_buffer(L4BufferSettings::new(L4_BUFFER, L4_BUFFER));
        if let Protocol::Tls(certificate) = &protocol {
            listener = listener.tls(tls_settings(certificate));
        }
        service.add_listener(listener);
    }
    service.start_service(Some(Arc::new(Mutex::new(fds))), closing, 1).await;
}

fn tls_settings(certificate: &Certificate) -> TlsSettings {
    // The paths are not read: the resolver shows the certificate.
    let mut settings = TlsSettings::intermediate("", "").expect("it only stores what it is given");
    settings.set_cert_resolver(certificate.resolver());
    settings.enable_h2();
    settings
}

struct Adapter<A> {
    app: A,
    limits: DoorLimits,
    closing: ShutdownWatch,
    options: HttpServerOptions,
}

#[async_trait]
impl<A: App> HttpServerApp for Adapter<A> {
    async fn process_new_http(self: &Arc<Self>, session: ServerSession, _: &ShutdownWatch) -> Option<ReusedHttpStream> {
        let mut session =
            Session::accept(session, self.limits, self.closing.clone(), |what| self.app.malformed(what)).await?;
        self.app.serve(&mut session).await;
        session.end().await
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}
