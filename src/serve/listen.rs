//! Sockets of our own, and the connections behind them.
//!
//! pingora's listening service retries a used port for 30 s and then panics, and
//! hands a connection over after its TLS handshake only. Here a connection has its
//! place, its clock and its reason from the moment it was accepted. Owns accepting,
//! handshakes and the choice of a protocol. Invariant: a connection that was
//! accepted ends once, with a reason.

use super::close::Closed;
use super::frames::PREFACE;
use super::http2;
use super::session::{Answer, Malformed, Session};
use super::tls::Certificate;
use super::wire::Wire;
use crate::telemetry::Raised;
use futures_util::future::join_all;
use pingora_core::apps::ReusedHttpStream;
use pingora_core::protocols::http::ServerSession;
use socket2::{Domain, SockAddr, SockRef, Socket, TcpKeepalive, Type};
use std::future::Future;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

/// Between two tries to accept where the system has no room: without descriptors each fails at
/// once, as fast as it is asked.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Who may open a Unix socket is near: its user and group.
const UNIX_MODE: u32 = 0o660;
/// Connections that wait to be accepted, as the standard library has it.
const UNIX_BACKLOG: i32 = 128;

/// A silent connection is probed after this, and so often: a client that waits for a whole answer, and
/// a model that thinks, send nothing for minutes, and what stands between would forget the connection
/// (after 350 s on AWS, 4 min on Azure, by their documentation); a peer that has vanished is noticed.
const PROBE_AFTER: Duration = Duration::from_secs(45);
const PROBE_EVERY: Duration = Duration::from_secs(15);
const PROBES: u32 = 4;

/// Share of its age by which a connection may go earlier than another.
const AGE_SPREAD: f64 = 0.1;

/// The waits and bounds of a door.
#[derive(Debug, Clone, Copy)]
pub struct DoorLimits {
    /// For a handshake of TLS, and again for a complete request head, from its connection's start or,
    /// on a kept one, after `connection_idle`.
    pub head_timeout: Duration,
    /// A kept connection without a request is closed after this.
    pub connection_idle: Duration,
    /// A connection kept for so long, or up to a tenth less, is let go with its next answer, and
    /// over HTTP/2 with the answers under way.
    pub connection_age_max: Option<Duration>,
    /// For a body that stops arriving.
    pub body_timeout: Duration,
    /// A whole body may take `body_timeout` and as long as its bytes take at
    /// this many a second.
    pub body_rate_min: usize,
    /// For a client that stops reading.
    pub write_timeout: Duration,
    pub head_bytes_max: usize,
}

/// Room for connections, shared by all doors that are opened with a clone of it.
#[derive(Debug, Clone)]
pub struct Places {
    free: Arc<Semaphore>,
    all: u32,
}

impl Places {
    /// For so many at a time; one more is closed at once.
    #[must_use]
    pub fn new(connections_max: usize) -> Self {
        let all = u32::try_from(connections_max.min(Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        Self { free: Arc::new(Semaphore::new(all as usize)), all }
    }

    /// Pends until no connection is left. Takes every place meanwhile: only for
    /// doors that accept no more.
    async fn emptied(&self) {
        // It is never closed.
        let _all = self.free.acquire_many(self.all).await;
    }
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
pub struct Bound(Listener);

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    /// Its file, known by device and inode, is removed with it.
    Unix {
        listener: UnixListener,
        path: PathBuf,
        file: (u64, u64),
    },
}

/// A connection that was accepted.
enum Accepted {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Bound {
    /// Where it listens; `None` on a Unix socket.
    #[must_use]
    pub fn addr(&self) -> Option<SocketAddr> {
        match &self.0 {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::Unix { .. } => None,
        }
    }
}

impl Listener {
    async fn accept(&self) -> std::io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| Accepted::Tcp(stream)),
            Self::Unix { listener, .. } => listener.accept().await.map(|(stream, _)| Accepted::Unix(stream)),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Whoever comes next replaces one that stayed; one that took our place keeps it.
        if let Self::Unix { path, file, .. } = self
            && std::fs::symlink_metadata(&*path).is_ok_and(|found| (found.dev(), found.ino()) == *file)
        {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Binds `addr`; port 0 takes a free one. Within a runtime.
///
/// # Errors
/// The system's own, such as a port in use.
pub fn bind(addr: SocketAddr) -> std::io::Result<Bound> {
    let listener = std::net::TcpListener::bind(addr)?;
    listener.set_nonblocking(true)?;
    Ok(Bound(Listener::Tcp(TcpListener::from_std(listener)?)))
}

/// Binds a Unix socket at `path`, for its user and group; one that a process left
/// behind is replaced. Within a runtime.
///
/// # Errors
/// `AddrInUse` where somebody listens, or where something else is; else the
/// system's own.
pub fn bind_unix(path: &Path) -> std::io::Result<Bound> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
        Ok(found) if found.file_type().is_socket() && is_left_behind(path)? => {}
        Ok(_) => return Err(ErrorKind::AddrInUse.into()),
    }
    // Under another name until it has its mode and listens: nobody comes in before.
    let mut new = path.as_os_str().to_owned();
    new.push(format!(".{}", std::process::id()));
    let _ = std::fs::remove_file(&new);
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(&new)?)?;
    let placed = std::fs::set_permissions(&new, std::fs::Permissions::from_mode(UNIX_MODE))
        .and_then(|()| socket.listen(UNIX_BACKLOG))
        .and_then(|()| std::fs::symlink_metadata(&new))
        .and_then(|found| std::fs::rename(&new, path).map(|()| (found.dev(), found.ino())));
    match placed {
        Ok(file) => {
            let listener = UnixListener::from_std(socket.into())?;
            Ok(Bound(Listener::Unix { listener, path: path.to_owned(), file }))
        }
        Err(error) => {
            let _ = std::fs::remove_file(&new);
            Err(error)
        }
    }
}

/// Whether nobody listens there any more. Does not wait for one whose queue is full.
fn is_left_behind(path: &Path) -> std::io::Result<bool> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(true),
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
        _ => Ok(false),
    }
}

/// What all connections of a door share.
pub(super) struct Door<A> {
    pub(super) app: A,
    pub(super) limits: DoorLimits,
    pub(super) closing: watch::Receiver<bool>,
    places: Places,
    h2c: bool,
    tls: Option<TlsAcceptor>,
}

/// Accepts on `bound` until `closing` turns true; ends once the last connection
/// has. Runs on the caller's runtime.
pub async fn open<A: App>(
    bound: Vec<Bound>,
    app: A,
    limits: DoorLimits,
    places: Places,
    protocol: Protocol,
    closing: watch::Receiver<bool>,
) {
    if bound.is_empty() {
        return;
    }
    let (h2c, tls) = match protocol {
        Protocol::Plain => (false, None),
        Protocol::H2c => (true, None),
        Protocol::Tls(certificate) => (false, Some(certificate.acceptor())),
    };
    let door = Arc::new(Door { app, limits, closing, places: places.clone(), h2c, tls });
    join_all(bound.into_iter().map(|one| accept(Arc::clone(&door), one.0))).await;
    places.emptied().await;
}

async fn accept<A: App>(door: Arc<Door<A>>, listener: Listener) {
    let mut closing = door.closing.clone();
    // Without descriptors it fails ten times a second: said once.
    let mut said = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = closed(&mut closing) => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(stream) => {
                said = false;
                door.begin(stream);
            }
            Err(error) => {
                if !std::mem::replace(&mut said, true) {
                    tracing::warn!(target: "tautline::serve", %error, "no connection can be accepted");
                }
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

impl<A: App> Door<A> {
    /// Serves a connection in a task of its own, if there is room for it.
    fn begin(self: &Arc<Self>, accepted: Accepted) {
        let Ok(place) = Arc::clone(&self.places.free).try_acquire_owned() else {
            self.app.closed(Closed::ConnectionsMax);
            return;
        };
        let door = Arc::clone(self);
        tokio::spawn(async move {
            let (_place, _counted) = (place, door.app.opened());
            // Told when dropped, as a panic in `serve` would drop it.
            let mut ending = Ending { app: &door.app, why: Closed::Internal };
            let stream = match accepted {
                Accepted::Tcp(stream) => stream,
                Accepted::Unix(stream) => {
                    ending.why = door.http1(Wire::unix(stream)).await;
                    return;
                }
            };
            prepare(&stream);
            ending.why = match &door.tls {
                Some(tls) => door.behind_tls(tls, stream).await,
                None if door.h2c => door.by_its_first_bytes(stream).await,
                None => door.http1(Wire::plain(stream, Vec::new())).await,
            };
        });
    }

    async fn behind_tls(self: &Arc<Self>, tls: &TlsAcceptor, stream: TcpStream) -> Closed {
        let mut closing = self.closing.clone();
        let handshake = Box::pin(tokio::time::timeout(self.limits.head_timeout, async {
            // Who says nothing costs no handshake.
            match stream.peek(&mut [0]).await {
                Ok(1..) => tls.accept(stream).await.map_err(|error| match error.kind() {
                    ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Closed::ClientGone,
                    _ => Closed::Handshake,
                }),
                _ => Err(Closed::Done),
            }
        }));
        let stream = tokio::select! {
            biased;
            shaken = handshake => match shaken {
                Ok(Ok(stream)) => stream,
                Ok(Err(why)) => return why,
                Err(_) => return Closed::Handshake,
            },
            () = closed(&mut closing) => return Closed::Draining,
        };
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        if is_http2 { self.http2(Wire::tls(stream)).await } else { self.http1(Wire::tls(stream)).await }
    }

    /// HTTP/2 if its preface comes, else HTTP/1.1.
    async fn by_its_first_bytes(self: &Arc<Self>, mut stream: TcpStream) -> Closed {
        let mut closing = self.closing.clone();
        let mut first = [0; PREFACE.len()];
        let begun = tokio::select! {
            biased;
            begun = tokio::time::timeout(self.limits.head_timeout, begins(&mut stream, &mut first)) => begun,
            () = closed(&mut closing) => return Closed::Draining,
        };
        let came = match begun {
            Ok(Ok(came)) => came,
            Ok(Err(why)) => return why,
            Err(_) => return Closed::HeadStalled,
        };
        let wire = Wire::plain(stream, first[..came].to_vec());
        if first == *PREFACE { self.http2(wire).await } else { self.http1(wire).await }
    }

    /// When a connection that begins now has grown old. No two at once: a fleet's connections would
    /// otherwise come and go together for ever.
    fn retires(&self) -> Option<Instant> {
        let age = self.limits.connection_age_max?.mul_f64(1.0 - AGE_SPREAD * fastrand::f64());
        // Centuries are never.
        Instant::now().checked_add(age)
    }

    async fn http2(self: &Arc<Self>, wire: Wire) -> Closed {
        Box::pin(http2::serve(self, wire, self.retires())).await
    }

    async fn http1(&self, wire: Wire) -> Closed {
        let retires = self.retires();
        let meter = wire.meter();
        let mut next = ServerSession::new_http1(Box::new(wire));
        loop {
            meter.bound(self.limits.head_bytes_max);
            // Boxed, each: a connection that waits for a head does not hold room for an answer.
            let accepted =
                Box::pin(Session::accept(next, self.limits, self.closing.clone(), Some(&meter), |what, head| {
                    self.app.malformed(what, head)
                }));
            let mut session = match accepted.await {
                Ok(session) => session,
                Err(why) => return why,
            };
            session.retires = retires;
            session.meter = Some(Arc::clone(&meter));
            meter.lift();
            Box::pin(self.app.serve(&mut session)).await;
            let (kept, why) = Box::pin(session.end()).await;
            let Some((stream, settings)) = kept.map(ReusedHttpStream::consume) else { return why };
            next = ServerSession::new_http1(stream);
            if let Some(settings) = settings {
                settings.apply_to_session(&mut next);
            }
        }
    }
}

/// Reads as much as the preface has, or until it is none; how much that is.
async fn begins(stream: &mut TcpStream, first: &mut [u8; PREFACE.len()]) -> Result<usize, Closed> {
    let mut came = 0;
    while came < first.len() && first[..came] == PREFACE[..came] {
        match stream.read(&mut first[came..]).await {
            Ok(0) | Err(_) if came == 0 => return Err(Closed::Done),
            Ok(0) | Err(_) => return Err(Closed::ClientGone),
            Ok(bytes) => came += bytes,
        }
    }
    Ok(came)
}

/// Sets what every connection has, to clients and to providers. A socket that refuses it carries bytes
/// all the same.
pub fn prepare(stream: &TcpStream) {
    // Frames go out as they come; without it each waits for the one before to be taken.
    let _ = stream.set_nodelay(true);
    let probes = TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_EVERY).with_retries(PROBES);
    let _ = SockRef::from(stream).set_tcp_keepalive(&probes);
}

/// Pends until a door closes, or who could close it is gone. Cancel-safe.
pub(super) async fn closed(closing: &mut watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

/// Tells the end of a connection.
struct Ending<'a, A: App> {
    app: &'a A,
    why: Closed,
}

impl<A: App> Drop for Ending<'_, A> {
    fn drop(&mut self) {
        self.app.closed(self.why);
    }
}
