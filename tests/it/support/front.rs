//! What stands before a simulator: TLS, a Unix socket, or nothing but a counter.

use super::authority::Authority;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// Hands each connection on; ends with the test's runtime.
pub struct Front {
    pub port: u16,
    accepted: Arc<AtomicUsize>,
}

impl Front {
    /// Connections so far.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Takes TLS off.
    pub async fn tls(authority: &Authority, behind: SocketAddr) -> Self {
        Self::over_tcp(Some(acceptor(authority, None)), behind).await
    }

    /// Takes TLS off those who show a certificate of `clients`.
    pub async fn tls_for(authority: &Authority, clients: &Authority, behind: SocketAddr) -> Self {
        Self::over_tcp(Some(acceptor(authority, Some(clients))), behind).await
    }

    /// Only counts.
    pub async fn plain(behind: SocketAddr) -> Self {
        Self::over_tcp(None, behind).await
    }

    async fn over_tcp(acceptor: Option<TlsAcceptor>, behind: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let accepted = Arc::<AtomicUsize>::default();
        let counter = Arc::clone(&accepted);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Some(acceptor) = acceptor else { return relay(stream, behind).await };
                    // A peer that does not trust us goes away in the handshake.
                    let Ok(front) = acceptor.accept(stream).await else { return };
                    relay(front, behind).await;
                });
            }
        });
        Self { port, accepted }
    }

    /// On a Unix socket; its port is 0.
    pub fn unix(path: &Path, behind: SocketAddr) -> Self {
        let listener = UnixListener::bind(path).expect("a free path");
        let accepted = Arc::<AtomicUsize>::default();
        let counter = Arc::clone(&accepted);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(relay(stream, behind));
            }
        });
        Self { port: 0, accepted }
    }
}

async fn relay(mut front: impl AsyncRead + AsyncWrite + Unpin, behind: SocketAddr) {
    let mut back = TcpStream::connect(behind).await.expect("it listens");
    let _ = tokio::io::copy_bidirectional(&mut front, &mut back).await;
}

fn acceptor(authority: &Authority, clients: Option<&Authority>) -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_file(authority.path("server.pem")).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(authority.path("server.key")).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(clients.path("ca.pem")).expect("a certificate")).expect("usable");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().expect("roots are there"))
        }
    };
    TlsAcceptor::from(Arc::new(builder.with_single_cert(vec![certificate], key).expect("they belong together")))
}
