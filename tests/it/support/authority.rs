//! Certificates of our own, made by the openssl command line.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs `openssl` in `folder`.
fn openssl(folder: &Path, arguments: &str) {
    let done = Command::new("openssl").current_dir(folder).args(arguments.split_whitespace()).output();
    let done = done.expect("openssl is installed");
    assert!(done.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&done.stderr));
}

/// A certificate authority of our own, and a certificate of it for `localhost`.
pub struct Authority(tempfile::TempDir);

impl Authority {
    /// Its server is called `localhost` and `127.0.0.1`.
    pub fn new() -> Self {
        Self::naming("DNS:localhost,IP:127.0.0.1")
    }

    /// With these alternative names of its server.
    pub fn naming(names: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        openssl(folder.path(), &format!("req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=authority"));
        openssl(folder.path(), &format!("req {key} -keyout server.key -out server.csr -subj /CN=localhost"));
        std::fs::write(folder.path().join("names"), format!("subjectAltName={names}\n")).expect("writable");
        openssl(folder.path(), &format!("req {key} -keyout client.key -out client.csr -subj /CN=client"));
        let sign = "x509 -req -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names";
        for name in ["server", "client"] {
            openssl(folder.path(), &format!("{sign} -in {name}.csr -out {name}.pem"));
        }
        Self(folder)
    }

    /// `ca.pem`, or `.pem` and `.key` of `server` and `client`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}
