//! A reader of the journal: frames to one client.
//!
//! Owns when headers go out, keep-alives, and the delivery of an ending.
//! Refuses to retry or to judge. Invariants: driver and reader are polled side
//! by side, so a blocked write never stops the driver; an answer that was cut
//! never ends in `[DONE]`.

use crate::gateway::events::KeptAlive;
use crate::gateway::exchange::{Begun, Delivery};
use crate::gateway::journal::{Departure, Ending, Entry, ErrorAnswer, Reader};
use crate::gateway::settings::Bounds;
use crate::gateway::state::Gateway;
use crate::serve::{Answer, SendError, Session};
use crate::wire::dialect::Dialect;
use crate::wire::error::Tail;
use crate::wire::frames::{Assembler, keepalive, report_frame, terminator};
use bytes::{Bytes, BytesMut};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue};
use std::future::Future;
use std::pin::{Pin, pin};
use std::time::Instant;
use tokio::time::Sleep;

/// Bytes of `x-tautline-warning`; all of it stands in the record.
const WARNING_BYTES_MAX: usize = 2000;

/// Headers that every answer of an exchange carries.
#[derive(Debug, Clone)]
pub struct ReplyHeaders {
    pub id: String,
    /// The client's own, echoed as it came.
    pub client_request_id: Option<HeaderValue>,
    /// What the client speaks.
    pub dialect: Dialect,
}

impl ReplyHeaders {
    /// The headers as they are before anything is known of the exchange.
    #[must_use]
    pub fn base(&self) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = Vec::with_capacity(10);
        headers.extend(value("x-request-id", &self.id));
        if self.dialect.is_anthropics() {
            headers.extend(value("request-id", &self.id));
        }
        let own = self.client_request_id.clone();
        headers.extend(own.map(|id| (HeaderName::from_static("x-client-request-id"), id)));
        headers
    }

    /// With the facts of a single attempt.
    #[must_use]
    pub fn with_attempt(&self, target: &str) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = self.base();
        headers.extend(value("x-tautline-target", target));
        headers.push((HeaderName::from_static("x-tautline-attempts"), HeaderValue::from_static("1")));
        headers
    }

    fn with_facts(&self, reader: &Reader) -> Vec<(HeaderName, HeaderValue)> {
        let facts = reader.journal().head();
        let mut headers = self.base();
        headers.extend(value("x-tautline-target", &facts.target));
        headers.extend(value("x-tautline-task", &facts.task));
        headers.extend(value("x-tautline-attempts", &facts.attempts.to_string()));
        headers.extend(facts.provider_headers);
        if !facts.warnings.is_empty() {
            headers.extend(value("x-tautline-warning", &shortened(&facts.warnings)));
        }
        headers
    }
}

/// Warnings as one header: names of fields are a client's own text.
fn shortened(warnings: &[String]) -> String {
    let joined = warnings.join("; ");
    let plain = joined.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' });
    plain.take(WARNING_BYTES_MAX).collect()
}

fn value(name: &'static str, text: &str) -> Option<(HeaderName, HeaderValue)> {
    HeaderValue::from_str(text).ok().map(|value| (HeaderName::from_static(name), value))
}

/// Carries one exchange to its first client: polls the driver and the reader
/// until the reader is done. A driver that nobody waits for any more is
/// dropped, which cancels its attempt and settles its record.
pub async fn relay(gateway: &Gateway, session: &mut Session, begun: Begun, headers: &ReplyHeaders) {
    let Begun { driver, journal, delivery, settings } = begun;
    let Some(mut reader) = journal.attach(0) else { return };
    reader.stay_beside_driver();
    journal.await_delivery();
    let mut driver = Some(driver);
    let mut reading = pin!(read(gateway, &settings.bounds, session, reader, delivery, headers));
    std::future::poll_fn(|cx| {
        if let Some(running) = &mut driver
            && std::pin::Pin::new(running).poll(cx).is_ready()
        {
            driver = None;
        }
        reading.as_mut().poll(cx)
    })
    .await;
    journal.delivered();
}

/// Reads a journal to its end for one client. Says in the journal why it went
/// when it went before the end.
pub async fn read(
    gateway: &Gateway,
    bounds: &Bounds,
    session: &mut Session,
    reader: Reader,
    delivery: Delivery,
    headers: &ReplyHeaders,
) {
    let silence = Silence::default();
    let Delivery { stream, dialect, .. } = delivery;
    let tail = Tail::new(dialect);
    let mut delivering =
        Delivering { gateway, bounds, session, reader, headers, dialect, tail, head_sent: false, silence };
    let delivered = if stream { delivering.stream().await } else { delivering.whole().await };
    if let Err(error) = delivered {
        delivering.reader.depart(match error {
            SendError::Gone => Departure::Gone,
            SendError::Stalled => Departure::Stalled,
        });
    }
}

struct Delivering<'a> {
    gateway: &'a Gateway,
    bounds: &'a Bounds,
    session: &'a mut Session,
    reader: Reader,
    headers: &'a ReplyHeaders,
    dialect: Dialect,
    /// What went out, as far as an error behind it needs it.
    tail: Tail,
    head_sent: bool,
    silence: Silence,
}

/// The clock of a stream's silence. Nearly every wake-up puts its end off: one
/// timer, armed anew only once it has fired.
#[derive(Default)]
struct Silence(Option<Pin<Box<Sleep>>>);

impl Silence {
    /// Pends until `due`. Cancel-safe.
    async fn lasts_until(&mut self, due: Instant) {
        let due = tokio::time::Instant::from_std(due);
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if sleep.deadline() > due {
            sleep.as_mut().reset(due);
        }
        loop {
            sleep.as_mut().await;
            if tokio::time::Instant::now() >= due {
                return;
            }
            sleep.as_mut().reset(due);
        }
    }
}

/// What there is to do next.
enum Wake {
    Batch(crate::gateway::journal::Batch),
    Silence,
}

impl Delivering<'_> {
    async fn stream(&mut self) -> Result<(), SendError> {
        let bounds = self.bounds;
        let mut due = Some(Instant::now() + bounds.headers_hold_max);
        // Lines of a report that came while headers were held.
        let mut entries = Vec::new();
        loop {
            match self.wake(due, true).await? {
                Wake::Silence if self.head_sent => {
                    self.session.send(Bytes::from_static(keepalive(self.dialect))).await?;
                    KeptAlive.emit(&self.gateway.metrics);
                }
                // Nothing was shown yet: keep-alives begin, fallback goes on inside.
                Wake::Silence => {
                    self.send_head().await?;
                    let notes = self.encode(std::mem::take(&mut entries), None);
                    self.session.send(notes).await?;
                }
                Wake::Batch(batch) => {
                    if let (false, Some(Ending::Error(answer))) = (self.head_sent, &batch.ending)
                        && !batch.entries.iter().any(|entry| !matches!(entry, Entry::Note(_)))
                    {
                        return self.error(answer.clone()).await;
                    }
                    if !self.head_sent && only_notes(&batch) {
                        entries.extend(batch.entries);
                        continue;
                    }
                    if !self.head_sent {
                        self.send_head().await?;
                    }
                    let ended = batch.ending.is_some();
                    if entries.is_empty() {
                        entries = batch.entries;
                    } else {
                        entries.extend(batch.entries);
                    }
                    if entries.is_empty() && !ended {
                        // The answer began anew: nothing is written, so the silence goes on.
                        continue;
                    }
                    let piece = self.encode(std::mem::take(&mut entries), batch.ending);
                    self.session.send(piece).await?;
                    if ended {
                        // All of it was taken; a client that closes on `[DONE]`
                        // without reading the last chunk has missed nothing.
                        let _ = self.session.finish().await;
                        return Ok(());
                    }
                }
            }
            due = Some(Instant::now() + bounds.keepalive_every);
        }
    }

    /// All that is ready, as one piece.
    fn encode(&mut self, entries: Vec<Entry>, ending: Option<Ending>) -> Bytes {
        let payload = |entry: &Entry| if let Entry::Frame(frame) = entry { frame.data.len() + 40 } else { 0 };
        let mut out = BytesMut::with_capacity(entries.iter().map(payload).sum::<usize>() + 16);
        for entry in entries {
            match entry {
                Entry::Frame(frame) => {
                    self.tail.follow(&frame);
                    frame.encode_into(&mut out);
                }
                // A comment line without a blank line after it, as for keep-alives.
                Entry::Note(text) => {
                    out.extend_from_slice(format!(": {}\n", text.replace(['\n', '\r'], " ")).as_bytes());
                }
                Entry::Whole(_) => {}
            }
        }
        match ending {
            None => {}
            Some(Ending::Complete { report }) => {
                if let Some(report) = report {
                    report_frame(self.dialect, &report).encode_into(&mut out);
                }
                out.extend_from_slice(terminator(self.dialect));
            }
            Some(Ending::Error(answer)) => out.extend_from_slice(&self.tail.error(self.dialect, &answer.body)),
        }
        out.freeze()
    }

    async fn send_head(&mut self) -> Result<(), SendError> {
        let mut headers = self.headers.with_facts(&self.reader);
        headers.push((CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8")));
        headers.push((CACHE_CONTROL, HeaderValue::from_static("no-cache")));
        // nginx in front of us would hold the frames back otherwise.
        headers.push((HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")));
        self.head_sent = true;
        self.reader.journal().set_head(|head| head.sent = true);
        self.session.begin(200, &headers, None).await
    }

    async fn whole(&mut self) -> Result<(), SendError> {
        let mut assembler = Assembler::new(self.dialect);
        let mut whole: Option<Bytes> = None;
        loop {
            let Wake::Batch(batch) = self.wake(None, false).await? else { continue };
            if batch.reset {
                assembler = Assembler::new(self.dialect);
                whole = None;
            }
            for entry in batch.entries {
                match entry {
                    Entry::Frame(frame) => assembler.push(&frame),
                    Entry::Whole(body) => whole = Some(body),
                    Entry::Note(_) => {}
                }
            }
            match batch.ending {
                None => {}
                Some(Ending::Error(answer)) => return self.error(answer).await,
                Some(Ending::Complete { report }) => {
                    if !self.reader.commit() {
                        continue;
                    }
                    let body = whole_body(whole, assembler, report);
                    let mut headers = self.headers.with_facts(&self.reader);
                    headers.push((CONTENT_TYPE, HeaderValue::from_static("application/json")));
                    return self.session.answer(Answer { status: 200, headers, body }).await;
                }
            }
        }
    }

    async fn error(&mut self, answer: ErrorAnswer) -> Result<(), SendError> {
        let headers = self.headers.with_facts(&self.reader);
        self.session.answer(as_answer(answer, headers)).await
    }

    /// The next batch, or silence until `due`; an error when the client left.
    async fn wake(&mut self, due: Option<Instant>, shows: bool) -> Result<Wake, SendError> {
        let silence = async {
            match due {
                Some(due) => self.silence.lasts_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            batch = self.reader.batch(shows) => Ok(Wake::Batch(batch)),
            () = self.session.departed() => Err(SendError::Gone),
            () = silence => Ok(Wake::Silence),
        }
    }
}

/// An error as the whole answer; `headers` are those of the exchange.
pub fn as_answer(error: ErrorAnswer, mut headers: Vec<(HeaderName, HeaderValue)>) -> Answer {
    let ErrorAnswer { status, headers: own, body, in_stream } = error;
    headers.extend(own);
    match in_stream {
        None => Answer { status, headers, body },
        Some(body) => {
            headers.retain(|(name, _)| *name != CONTENT_TYPE);
            headers.push((CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8")));
            Answer { status: 200, headers, body }
        }
    }
}

fn only_notes(batch: &crate::gateway::journal::Batch) -> bool {
    batch.ending.is_none() && batch.entries.iter().all(|entry| matches!(entry, Entry::Note(_)))
}

/// An unstreamed answer byte for byte, or the assembled one; with the report behind its last field.
fn whole_body(whole: Option<Bytes>, assembler: Assembler, report: Option<serde_json::Value>) -> Bytes {
    let body = whole.unwrap_or_else(|| Bytes::from(assembler.finish()));
    let Some(report) = report else { return body };
    let fields = body.trim_ascii_end().strip_suffix(b"}").map(<[u8]>::trim_ascii_end);
    match fields {
        // Neither empty nor anything but an object.
        Some(fields) if fields.trim_ascii_start().starts_with(b"{") && !fields.ends_with(b"{") => {
            let report = format!(",\"tautline\":{report}}}");
            Bytes::from([fields, report.as_bytes()].concat())
        }
        _ => body,
    }
}
