//! The door's certificate: from files, replaced while the door is open.
//!
//! Owns the reading of PEM files and the certificate in use. Invariant: a pair
//! that does not belong together is refused when it is read, never in a
//! handshake.

use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// Why a certificate cannot be used; names the file, never its content.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("{path} holds no certificate in PEM form")]
    Certificate { path: String },
    #[error("{path} holds no private key in PEM form")]
    Key { path: String },
    #[error("{key} is not the key of {certificate}")]
    NoPair { certificate: String, key: String },
}

/// A certificate chain and its key. Cheap to clone; all clones show the same.
#[derive(Debug, Clone)]
pub struct Certificate(Arc<Current>);

#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl Certificate {
    /// Reads a chain and its key.
    ///
    /// # Errors
    /// Which file is at fault.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, CertificateError> {
        let shown = |path: &Path| path.display().to_string();
        let unreadable = || CertificateError::Certificate { path: shown(certificate) };
        let chain = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|_| unreadable())?;
        if chain.is_empty() {
            return Err(unreadable());
        }
        let private = PrivateKeyDer::from_pem_file(key).map_err(|_| CertificateError::Key { path: shown(key) })?;
        let signing = rustls::crypto::ring::sign::any_supported_type(&private)
            .map_err(|_| CertificateError::Key { path: shown(key) })?;
        let pair = CertifiedKey::new(chain, signing);
        match pair.keys_match() {
            Ok(()) => {}
            Err(_) => return Err(CertificateError::NoPair { certificate: shown(certificate), key: shown(key) }),
        }
        Ok(Self(Arc::new(Current(RwLock::new(Arc::new(pair))))))
    }

    /// Shows what `other` shows from now on; connections that stand keep theirs.
    pub fn replace_by(&self, other: &Self) {
        let new = Arc::clone(&other.0.0.read());
        *self.0.0.write() = new;
    }

    /// Shows it in handshakes, and agrees on HTTP/2 or HTTP/1.1.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(ring)
            .with_safe_default_protocol_versions()
            .expect("ring has suites for both versions")
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&self.0) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read()))
    }
}
