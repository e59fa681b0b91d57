//! HTTP/2 from the client's side: by h2 for those who behave, by hand for those
//! who do not.

use super::Authority;
use super::client::Streamed;
use super::house::within;
use bytes::Bytes;
use h2::RecvStream;
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, HeaderValue};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// What a client begins with, its empty SETTINGS included.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

/// A frame by hand.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("small").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A connection that behaves.
pub struct Http2 {
    send: SendRequest<Bytes>,
    /// Its end, as h2 tells it.
    ended: JoinHandle<Result<(), h2::Error>>,
}

/// An answer whose head was read.
pub struct Answer2 {
    pub status: u16,
    pub headers: HeaderMap,
    body: RecvStream,
    /// Read and not yet taken.
    text: String,
    /// The beginning of a character.
    rest: Vec<u8>,
}

impl Http2 {
    pub async fn connect(addr: SocketAddr) -> Self {
        Self::over(TcpStream::connect(addr).await.expect("the gateway listens")).await
    }

    pub async fn over<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: T) -> Self {
        let (send, connection) = within("the settings", h2::client::handshake(stream)).await.expect("HTTP/2");
        Self { send, ended: tokio::spawn(connection) }
    }

    /// Sends a chat request.
    pub async fn send(
        &self,
        headers: &[(&'static str, &str)],
        body: &serde_json::Value,
    ) -> Result<ResponseFuture, h2::Error> {
        let mut request = http::Request::post("http://localhost/v1/chat/completions");
        for (name, value) in headers {
            request = request.header(*name, HeaderValue::from_str(value).expect("a value"));
        }
        let mut send = within("room for a stream", self.send.clone().ready()).await?;
        let (answer, mut sending) = send.send_request(request.body(()).expect("a request"), false)?;
        sending.send_data(body.to_string().into(), true)?;
        Ok(answer)
    }

    pub async fn post(&self, body: &serde_json::Value) -> Answer2 {
        let answer = self.send(&[], body).await.expect("the connection stands");
        Answer2::of(within("an answer", answer).await.expect("an answer"))
    }

    /// Any request, with a body of these bytes.
    pub async fn request(&self, method: &str, path: &str, headers: &[(&'static str, &str)], body: &[u8]) -> Answer2 {
        let mut request = http::Request::builder().method(method).uri(format!("http://localhost{path}"));
        for (name, value) in headers {
            request = request.header(*name, HeaderValue::from_str(value).expect("a value"));
        }
        let mut send = within("room for a stream", self.send.clone().ready()).await.expect("the connection stands");
        let request = request.body(()).expect("a request");
        let (answer, mut sending) = send.send_request(request, body.is_empty()).expect("the connection stands");
        if !body.is_empty() {
            sending.send_data(Bytes::copy_from_slice(body), true).expect("the stream stands");
        }
        Answer2::of(within("an answer", answer).await.expect("an answer"))
    }

    /// Pends until the other side takes no more streams.
    pub async fn sent_away(&self) {
        within("the GOAWAY", async {
            while self.send.clone().ready().await.is_ok() {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        })
        .await;
    }

    /// Lets the connection go once its streams are over, and waits for its end.
    pub async fn close(self) {
        drop(self.send);
        Self::ends(self.ended).await;
    }

    /// Waits until the other side has ended the connection in peace.
    pub async fn ended(self) {
        Self::ends(self.ended).await;
    }

    async fn ends(connection: JoinHandle<Result<(), h2::Error>>) {
        if let Err(error) = within("the end of the connection", connection).await.expect("no panic") {
            // Its last words may find the other side gone already, which had nothing left to say.
            assert!(error.is_io(), "{error}");
        }
    }

    /// Goes without a word, in the middle of whatever there is.
    pub async fn vanish(self) {
        self.ended.abort();
        let _ = self.ended.await;
    }
}

impl Answer2 {
    pub fn of(response: http::Response<RecvStream>) -> Self {
        let (parts, body) = response.into_parts();
        Self { status: parts.status.as_u16(), headers: parts.headers, body, text: String::new(), rest: Vec::new() }
    }

    /// Reads until `count` frames with a payload are there.
    pub async fn frames(&mut self, count: usize) {
        while self.text.matches("data: ").count() < count {
            assert!(self.more().await.expect("not cut"), "it ended before: {}", self.text);
        }
    }

    async fn more(&mut self) -> Result<bool, h2::Error> {
        let Some(bytes) = within("more of the answer", self.body.data()).await else { return Ok(false) };
        let bytes = bytes?;
        self.body.flow_control().release_capacity(bytes.len())?;
        // A character may stand in two frames.
        self.rest.extend_from_slice(&bytes);
        let whole = match std::str::from_utf8(&self.rest) {
            Ok(text) => text.len(),
            Err(error) => {
                assert!(error.error_len().is_none(), "no text: {error}");
                error.valid_up_to()
            }
        };
        let text: Vec<u8> = self.rest.drain(..whole).collect();
        self.text.push_str(std::str::from_utf8(&text).expect("so far it is text"));
        Ok(true)
    }

    /// All of it.
    pub async fn text(&mut self) -> Result<String, h2::Error> {
        while self.more().await? {}
        Ok(std::mem::take(&mut self.text))
    }

    /// What the stream told to its orderly end.
    pub async fn stream_text(&mut self) -> Streamed {
        let text = self.text().await.expect("an orderly end");
        Streamed::of(&text.lines().filter_map(|line| line.strip_prefix("data: ")).collect::<Vec<_>>())
    }
}

impl Authority {
    /// TLS to `addr` with this protocol agreed on.
    pub async fn connect(&self, addr: SocketAddr, protocol: &str) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.path("ca.pem")).expect("a certificate")).expect("a root");
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(ring).with_safe_default_protocol_versions();
        let mut config = config.expect("versions").with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let stream = TcpStream::connect(addr).await.expect("the gateway listens");
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = within("the handshake", TlsConnector::from(Arc::new(config)).connect(name, stream)).await;
        let stream = stream.expect("TLS");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol.as_bytes()));
        stream
    }
}
