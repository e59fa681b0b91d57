//! Sockets of our own under pingora's listening service.
//!
//! pingora retries a used port for 30 s and then panics; a socket bound here
//! gives an honest error at once, and port 0 in tests.

use super::close::Closed;
use super::session::{Answer, Malformed, Session};
use super::tls::Certificate;
use crate::telemetry::Raised;
use async_trait::async_trait;
use parking_lot::Mutex;
use pingora_core::apps::{HttpPersistentSettings, HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp};
use pingora_core::listeners::tls::TlsSettings;
use pingora_core::listeners::{L4BufferSettings, ListenerConfig};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::{ALPN, Stream};
use pingora_core::server::{Fds, ShutdownWatch};
use pingora_core::services::Service as _;
use pingora_core::services::listening::Service;
use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::IntoRawFd as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// Read and write buffers of a connection, bytes each. Without TLS nothing is read
/// through one: heads and bodies are read into buffers of their own.
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
    /// A whole body may take `body_timeout` and as long as its bytes take at
    /// this many a second.
    pub body_rate_min: usize,
    /// For a client that stops reading.
    pub write_timeout: Duration,
    pub head_bytes_max: usize,
    /// One more is closed at once.
    pub connections_max: usize,
}

/// What stands behind a door.
pub trait App: Send + Sync + 'static {
    /// Answers one request. Whatever it leaves unanswered is closed.
    fn serve(&self, session: &mut Session) -> impl Future<Output = ()> + Send;

    /// The answer to something that is no request; `head`: where one was read.
    fn malformed(&self, what: Malformed, head: Option<&Session>) -> Answer;

    /// A connection begins; it is counted until the guard is dropped.
    fn opened(&self) -> Option<Raised> {
        None
    }

    /// A connection has ended.
    fn closed(&self, _why: Closed) {}
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
    let places = Semaphore::new(limits.connections_max.min(Semaphore::MAX_PERMITS));
    let mut service = Service::new(name.to_owned(), Counted { adapter: Arc::new(adapter), places });
    let read_buffer = if matches!(protocol, Protocol::Tls(_)) { L4_BUFFER } else { 0 };
    for one in bound {
        let key = one.addr.to_string();
        fds.add(key.clone(), one.listener.into_raw_fd());
        let mut listener = ListenerConfig::tcp(key).l4_buffer(L4BufferSettings::new(read_buffer, L4_BUFFER));
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

/// Counts connections around the adapter, which sees requests.
struct Counted<A> {
    adapter: Arc<Adapter<A>>,
    places: Semaphore,
}

#[async_trait]
impl<A: App> ServerApp for Counted<A> {
    async fn process_new(self: &Arc<Self>, stream: Stream, closing: &ShutdownWatch) -> Option<Stream> {
        let app = &self.adapter.app;
        let Ok(_place) = self.places.try_acquire() else {
            app.closed(Closed::ConnectionsMax);
            return None;
        };
        let _counted = app.opened();
        // Over HTTP/2 the adapter sees streams, of which none ends the connection.
        let streams = matches!(stream.selected_alpn_proto(), Some(ALPN::H2));
        if streams || self.adapter.options.h2c {
            let kept = self.adapter.process_new(stream, closing).await;
            if streams {
                app.closed(Closed::Done);
            }
            return kept;
        }
        // pingora's own loop, without the room for HTTP/2 that each connection would hold.
        let mut next = Some((stream, None::<HttpPersistentSettings>));
        while let Some((stream, settings)) = next {
            let mut session = ServerSession::new_http1(stream);
            if let Some(settings) = settings {
                settings.apply_to_session(&mut session);
            }
            next = self.adapter.process_new_http(session, closing).await.map(ReusedHttpStream::consume);
        }
        None
    }

    async fn cleanup(&self) {
        self.adapter.cleanup().await;
    }
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
        let is_connection = session.as_http1().is_some();
        // Told when dropped, as a panic in `serve` would drop it.
        let mut ending = Ending { app: &self.app, why: is_connection.then_some(Closed::Internal) };
        let accepted =
            Session::accept(session, self.limits, self.closing.clone(), |what, head| self.app.malformed(what, head));
        let mut session = match accepted.await {
            Ok(session) => session,
            Err(why) => {
                ending.why = is_connection.then_some(why);
                return None;
            }
        };
        self.app.serve(&mut session).await;
        let (kept, why) = session.end().await;
        ending.why = (is_connection && kept.is_none()).then_some(why);
        kept
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}

/// Tells the end of a connection, unless it is kept.
struct Ending<'a, A: App> {
    app: &'a A,
    why: Option<Closed>,
}

impl<A: App> Drop for Ending<'_, A> {
    fn drop(&mut self) {
        if let Some(why) = self.why {
            self.app.closed(why);
        }
    }
}
