//! Reading a request off the socket.
//!
//! Owns head and body framing, with httparse. Refuses what would make the next
//! request's first byte ambiguous. Invariant: head and body are bounded, and
//! what was read belongs to this request only.

use super::conn::{Conn, Gone};
use bytes::{Buf, BytesMut};
use httparse::Status;

pub(super) const HEAD_BYTES_MAX: usize = 64 * 1024;
pub(super) const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;
const HEADERS_MAX: usize = 256;
/// A chunk's size line or a trailer line.
const LINE_BYTES_MAX: usize = 4 * 1024;
/// How much of a body is searched for the model's name before it is whole.
const SNIFF_BYTES_MAX: usize = 64 * 1024;

/// Why there is no request to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unread {
    #[error(transparent)]
    Gone(#[from] Gone),
    #[error("malformed request")]
    Malformed,
    #[error("request head over 64 KiB")]
    HeadTooLarge,
    #[error("request body over 64 MiB")]
    BodyTooLarge,
}

pub(super) struct Head {
    pub method: String,
    /// Without its query.
    pub path: String,
    pub query: Option<String>,
    pub headers: Vec<(String, String)>,
    pub keep_alive: bool,
    framing: Framing,
}

#[derive(Clone, Copy)]
enum Framing {
    Length(usize),
    Chunked,
}

impl Head {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn bearer(&self) -> Option<String> {
        let value = self.header("authorization")?;
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
    }

    /// The caller's key, in whichever of the vendors' headers it came.
    pub fn key(&self) -> Option<String> {
        let plain = || self.header("x-api-key").or_else(|| self.header("api-key")).map(str::to_owned);
        self.bearer().or_else(plain)
    }
}

/// Reads the next head; idle until the peer sends or leaves.
pub(super) async fn read_head(conn: &mut Conn) -> Result<Head, Unread> {
    loop {
        if let Some((head, length)) = parse_head(&conn.inbox)? {
            conn.inbox.advance(length);
            return Ok(head);
        }
        if conn.inbox.len() > HEAD_BYTES_MAX {
            return Err(Unread::HeadTooLarge);
        }
        conn.fill().await?;
    }
}

fn parse_head(bytes: &[u8]) -> Result<Option<(Head, usize)>, Unread> {
    let mut slots = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut slots);
    let length = match request.parse(bytes) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Unread::HeadTooLarge),
        Err(_) => return Err(Unread::Malformed),
    };
    if length > HEAD_BYTES_MAX {
        return Err(Unread::HeadTooLarge);
    }
    let headers: Vec<(String, String)> = request
        .headers
        .iter()
        .map(|header| (header.name.to_ascii_lowercase(), String::from_utf8_lossy(header.value).trim().to_owned()))
        .collect();
    let target = request.path.unwrap_or("/");
    let mut head = Head {
        method: request.method.unwrap_or_default().to_owned(),
        path: target.split('?').next().unwrap_or(target).to_owned(),
        query: target.split_once('?').map(|(_, query)| query.to_owned()),
        keep_alive: request.version == Some(1),
        framing: framing(&headers)?,
        headers,
    };
    head.keep_alive &= !head.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    Ok(Some((head, length)))
}

fn framing(headers: &[(String, String)]) -> Result<Framing, Unread> {
    let all = |name: &'static str| headers.iter().filter(move |(key, _)| key == name).map(|(_, value)| value);
    let lengths: Vec<&String> = all("content-length").collect();
    let codings: Vec<&String> = all("transfer-encoding").collect();
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Ok(Framing::Length(0)),
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => Ok(Framing::Chunked),
        ([length], []) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
            // Only a number beyond usize fails here; that is too large as well.
            let length = length.parse().map_err(|_| Unread::BodyTooLarge)?;
            if length > BODY_BYTES_MAX { Err(Unread::BodyTooLarge) } else { Ok(Framing::Length(length)) }
        }
        _ => Err(Unread::Malformed),
    }
}

/// What came of reading a body.
pub(super) enum Body {
    Whole(BytesMut),
    /// `enough` had seen the model's name and did not want the rest.
    Part {
        read: usize,
        model: String,
    },
}

/// Reads the body. As soon as the model's name has arrived `enough` is asked
/// once whether the rest is wanted at all.
pub(super) async fn read_body(
    conn: &mut Conn,
    head: &Head,
    mut enough: impl FnMut(&str) -> bool,
) -> Result<Body, Unread> {
    let mut body = BytesMut::new();
    let mut asked = false;
    let mut chunk = Chunk::Size;
    loop {
        let whole = match head.framing {
            Framing::Length(length) => {
                let take = conn.inbox.len().min(length - body.len());
                body.extend_from_slice(&conn.inbox.split_to(take));
                body.len() == length
            }
            Framing::Chunked => unchunk(&mut conn.inbox, &mut body, &mut chunk)?,
        };
        if !asked {
            let model = sniff_model(&body[..body.len().min(SNIFF_BYTES_MAX)]);
            asked = model.is_some() || body.len() >= SNIFF_BYTES_MAX;
            if let Some(model) = model.filter(|model| enough(model)) {
                return Ok(Body::Part { read: body.len(), model });
            }
        }
        if whole {
            return Ok(Body::Whole(body));
        }
        conn.fill().await?;
    }
}

/// Where a chunked body is being read.
#[derive(Clone, Copy)]
enum Chunk {
    Size,
    Bytes(usize),
    /// The CRLF behind a chunk's bytes.
    Seam,
    Trailers,
}

/// Moves what can be moved from `inbox` to `body`; `true` at the body's end.
fn unchunk(inbox: &mut BytesMut, body: &mut BytesMut, chunk: &mut Chunk) -> Result<bool, Unread> {
    loop {
        match *chunk {
            Chunk::Size => match httparse::parse_chunk_size(inbox) {
                Ok(Status::Complete((line, size))) => {
                    inbox.advance(line);
                    let size = usize::try_from(size).map_err(|_| Unread::BodyTooLarge)?;
                    if size > BODY_BYTES_MAX - body.len() {
                        return Err(Unread::BodyTooLarge);
                    }
                    *chunk = if size == 0 { Chunk::Trailers } else { Chunk::Bytes(size) };
                }
                Ok(Status::Partial) if inbox.len() < LINE_BYTES_MAX => return Ok(false),
                _ => return Err(Unread::Malformed),
            },
            Chunk::Bytes(left) => {
                let take = inbox.len().min(left);
                body.extend_from_slice(&inbox.split_to(take));
                if take < left {
                    *chunk = Chunk::Bytes(left - take);
                    return Ok(false);
                }
                *chunk = Chunk::Seam;
            }
            Chunk::Seam => {
                if inbox.len() < 2 {
                    return Ok(false);
                }
                if inbox.split_to(2) != b"\r\n"[..] {
                    return Err(Unread::Malformed);
                }
                *chunk = Chunk::Size;
            }
            Chunk::Trailers => {
                let Some(line) = inbox.windows(2).position(|pair| pair == b"\r\n") else {
                    return if inbox.len() < LINE_BYTES_MAX { Ok(false) } else { Err(Unread::Malformed) };
                };
                inbox.advance(line + 2);
                if line == 0 {
                    return Ok(true);
                }
            }
        }
    }
}

/// The first `"model": "..."` in a body that may not be whole yet.
fn sniff_model(body: &[u8]) -> Option<String> {
    let key = b"\"model\"";
    let at = body.windows(key.len()).position(|window| window == key)?;
    let rest = body[at + key.len()..].trim_ascii_start().strip_prefix(b":")?.trim_ascii_start().strip_prefix(b"\"")?;
    let mut escaped = false;
    let end = rest.iter().position(|byte| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    })?;
    serde_json::from_slice(&[b"\"", &rest[..=end]].concat()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<Option<(Head, usize)>, Unread> {
        parse_head(text.as_bytes())
    }

    #[test]
    fn a_head_without_a_clear_body_length_is_malformed() {
        for lines in [
            "content-length: 3\r\ntransfer-encoding: chunked",
            "content-length: 3\r\ncontent-length: 3",
            "content-length: +3",
            "transfer-encoding: gzip",
        ] {
            let text = format!("POST / HTTP/1.1\r\n{lines}\r\n\r\n");
            assert_eq!(head(&text).err(), Some(Unread::Malformed), "{lines}");
        }
        assert_eq!(head("POST / HTTP/1.1\r\ncontent-length: 67108865\r\n\r\n").err(), Some(Unread::BodyTooLarge));
    }

    #[test]
    fn query_connection_and_bearer_are_read() {
        let text = "GET /v1/models?x=1 HTTP/1.1\r\nConnection: close\r\nAuthorization: bearer  k1\r\n\r\n";
        let (head, length) = head(text).expect("well formed").expect("whole");
        assert_eq!((head.path.as_str(), head.keep_alive, length), ("/v1/models", false, text.len()));
        assert_eq!(head.bearer().as_deref(), Some("k1"));
    }

    #[test]
    fn a_chunked_body_is_joined_at_any_split() {
        let wire = b"4\r\nabcd\r\n2;x=y\r\nef\r\n0\r\nt: 1\r\n\r\nNEXT";
        for split in 0..wire.len() - 4 {
            let (mut inbox, mut body, mut chunk) = (BytesMut::from(&wire[..split]), BytesMut::new(), Chunk::Size);
            let early = unchunk(&mut inbox, &mut body, &mut chunk).expect("well formed");
            inbox.extend_from_slice(&wire[split..]);
            assert!(early || unchunk(&mut inbox, &mut body, &mut chunk).expect("well formed"));
            assert_eq!((&body[..], &inbox[..]), (&b"abcdef"[..], &b"NEXT"[..]), "split {split}");
        }
    }

    #[test]
    fn the_model_is_found_in_a_part_of_a_body() {
        assert_eq!(sniff_model(b"{ \"model\" : \"sim?x\", \"mess").as_deref(), Some("sim?x"));
        assert_eq!(sniff_model(br#"{"model":"sim?a=1\u0026b=\"","#).as_deref(), Some("sim?a=1&b=\""));
        assert_eq!(sniff_model(b"{\"model\": \"si"), None);
    }
}
