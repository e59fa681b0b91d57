//! The way to the collector: HTTP, on the exporter's own thread.
//!
//! Owns the client. A blocking one in a thread of its own, as ureq is in the
//! tree already: opentelemetry-otlp's clients bring reqwest or tonic, and both
//! their own pools beside pingora's. Invariant: no request outlives its limit.

use super::export::OtlpSettings;
use super::signal::Signal;
use std::sync::Arc;
use std::time::Duration;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// Of an answer that nobody needs, so much is read to use the connection again.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Why a batch did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error("{0}")]
    Unreachable(String),
    #[error("the collector answered {0}")]
    Refused(u16),
}

impl SendError {
    /// Whether the same batch may do later (OTLP, "Retryable Response Codes").
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Refused(429 | 502 | 503 | 504))
    }
}

/// A client of one collector.
#[derive(Debug)]
pub struct Client {
    agent: ureq::Agent,
    endpoint: String,
    headers: Vec<(http::HeaderName, http::HeaderValue)>,
}

impl Client {
    pub fn new(settings: &OtlpSettings) -> Self {
        // No proxy out of the environment, which only boot reads; no redirect, which
        // would carry the headers' credentials elsewhere.
        let mut config = ureq::Agent::config_builder()
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .user_agent(concat!("tautline/", env!("CARGO_PKG_VERSION")));
        if settings.endpoint.starts_with("https:") {
            config = config.tls_config(tls());
        }
        Self { agent: config.build().into(), endpoint: settings.endpoint.clone(), headers: settings.headers.clone() }
    }

    /// Posts one request, answered within `limit`.
    ///
    /// # Errors
    /// Why it did not arrive.
    pub fn post(&self, signal: Signal, body: &[u8], limit: Duration) -> Result<(), SendError> {
        let unreachable = |error: ureq::Error| SendError::Unreachable(error.to_string());
        let url = format!("{}/v1/{}", self.endpoint, signal.as_str());
        let mut request = self.agent.post(url).content_type("application/x-protobuf");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.config().timeout_global(Some(limit)).build();
        let mut answer = request.send(body).map_err(unreachable)?;
        let _ = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(SendError::Refused(status.as_u16())),
        }
    }
}

/// The machine's own certificates, as for providers.
fn tls() -> TlsConfig {
    let roots = rustls_native_certs::load_native_certs().unwrap_or_else(|error| {
        tracing::warn!(target: "tautline::otlp", %error, "this machine's certificates cannot be read");
        Vec::new()
    });
    let roots: Vec<Certificate<'static>> = roots.iter().map(|root| Certificate::from_der(root).to_owned()).collect();
    TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&roots))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build()
}
