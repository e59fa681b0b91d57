//! Responses by their id: what was answered before, asked for again.
//!
//! Owns who is asked, the gateway's own memory or the provider that made the
//! response. Refuses to keep anything itself (`kept`). Invariants: a response is
//! found by its principal alone; a request for one is settled once.

mod items;
mod query;

use crate::domain::failure::{Evidence, Observation, StallPoint, classify};
use crate::domain::record::Outcome;
use crate::gateway::admit::Admitted;
use crate::gateway::attempt::Passing;
use crate::gateway::exchange::refuse;
use crate::gateway::intake::timeout_header;
use crate::gateway::journal::ErrorAnswer;
use crate::gateway::kept::Kept;
use crate::gateway::lifecycle::Stage;
use crate::gateway::makers::Maker;
use crate::gateway::passage::{Errand, Request, pass};
use crate::gateway::provider::pool::Picked;
use crate::gateway::relay::ReplyHeaders;
use crate::gateway::settings::{Auth, Target};
use crate::gateway::settle::{Open, fixed_answer, ms};
use crate::gateway::state::Gateway;
use crate::serve::{Answer, SendError, Session};
use crate::wire::canon::Json;
use crate::wire::redact::redact;
use crate::wire::responses::frames_of_whole;
use crate::wire::sse::SseFrame;
use bytes::{Bytes, BytesMut};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method};
use query::{Page, Wanted, refused};
use serde::Deserialize;
use std::pin::pin;
use std::sync::Arc;

/// What of a response is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Whole,
    InputItems,
    Cancel,
}

/// A request for a response that was made before.
#[derive(Debug)]
pub struct Asked {
    pub id: String,
    pub part: Part,
    pub method: Method,
    /// Below a provider's base URL, with its query.
    pub path: String,
    pub query: Option<String>,
}

/// Who made a response, with the credential that it was made with.
struct Home {
    target: Arc<Target>,
    picked: Picked,
}

/// Answers a request for a response.
pub async fn recall(
    gateway: &Gateway,
    session: &mut Session,
    reply: &ReplyHeaders,
    admitted: Admitted,
    open: Open,
    asked: Asked,
) {
    let told = Told { gateway, session, reply, open };
    let Some(kept) = gateway.kept.get(&told.open.record.principal.id, &asked.id).await else {
        let message = format!("Response with id '{}' not found.", redact(&asked.id, 100));
        return told.refuse_as_openai(404, "response_id", &message).await;
    };
    let home = if kept.native { home(gateway, &kept) } else { None };
    match (&asked.method, asked.part) {
        (&Method::DELETE, _) => told.delete(&asked, admitted, home).await,
        (_, Part::Whole) => told.show(&asked, admitted, &kept, home).await,
        (_, Part::InputItems) => told.items(&asked, &kept).await,
        (_, Part::Cancel) => match home {
            Some(home) => told.ask(home, &asked, admitted, Some(&kept)).await,
            None => told.refuse_as_openai(400, "response_id", "Cannot cancel a synchronous response.").await,
        },
    }
}

/// The target that made it and keeps it, with the key that it was made with.
fn home(gateway: &Gateway, kept: &Kept) -> Option<Home> {
    let settings = gateway.settings();
    let target = match (settings.targets.get(&kept.target), kept.target.split_once('/')) {
        (Some(target), _) => Arc::clone(target),
        (None, Some((provider, model))) => {
            gateway.on_demand.target(&settings, settings.providers.get(provider)?, model)
        }
        (None, None) => return None,
    };
    let picked = match &target.provider.auth {
        Auth::None => vec![Picked::Nothing],
        Auth::Client => vec![Picked::Client],
        Auth::Keys(keys) => (0..keys.len()).map(Picked::Key).collect(),
    };
    let picked = picked.into_iter().find(|picked| Maker::of(&target.provider, *picked) == kept.maker)?;
    Some(Home { target, picked })
}

/// Whom to answer, and on which record.
struct Told<'a> {
    gateway: &'a Gateway,
    session: &'a mut Session,
    reply: &'a ReplyHeaders,
    open: Open,
}

impl Told<'_> {
    async fn show(self, asked: &Asked, admitted: Admitted, kept: &Kept, home: Option<Home>) {
        let wanted = match Wanted::read(asked.query.as_deref()) {
            Ok(wanted) => wanted,
            Err(observation) => return self.refuse(observation).await,
        };
        let state = State::of(&kept.response);
        match home {
            Some(home) if wanted.stream => self.ask(home, asked, admitted, None).await,
            Some(home) if !state.is_terminal() => self.ask(home, asked, admitted, Some(kept)).await,
            _ if !wanted.stream => self.answer(Bytes::copy_from_slice(kept.response.text().as_bytes())).await,
            _ => {
                if let Some(frames) = replayed(&kept.response, wanted.starting_after) {
                    return self.stream(frames).await;
                }
                let why = "cannot be met: this response has no events; ask for it without";
                self.refuse(refused("stream", why)).await;
            }
        }
    }

    async fn items(self, asked: &Asked, kept: &Kept) {
        let page = match Page::read(asked.query.as_deref()) {
            Ok(page) => page,
            Err(observation) => return self.refuse(observation).await,
        };
        match items::list(&asked.id, &kept.input, &page) {
            Ok(list) => self.answer(Bytes::from(list)).await,
            Err(()) => self.refuse(refused("after", "names no item of this response")).await,
        }
    }

    /// Asks who made it. What it says of a response that was not at its end before is kept.
    async fn ask(self, home: Home, asked: &Asked, admitted: Admitted, kept: Option<&Kept>) {
        let Self { gateway, session, reply, open } = self;
        let principal = open.record.principal.id.clone();
        let settings = gateway.settings();
        let bounds = settings.bounds.kept;
        let kept = kept.filter(|kept| !State::of(&kept.response).is_terminal());
        let keep_max = kept.map_or(0, |_| settings.bounds.output_bytes_max.min(bounds.bytes_max));
        let keep_max = usize::try_from(keep_max).unwrap_or(usize::MAX);
        let errand = match errand(gateway, open, home, asked, admitted, keep_max) {
            Ok(errand) => errand,
            Err(refused) => {
                let (open, observation) = *refused;
                return Told { gateway, session, reply, open }.refuse(observation).await;
            }
        };
        let said = pass(session, reply, errand).await;
        let response = said.and_then(|body| Json::parse(String::from_utf8(body).ok()?));
        if let (Some(kept), Some(response)) = (kept, response)
            && State::of(&response).id.as_deref() == Some(asked.id.as_str())
        {
            // One that has grown too large stays as it was, and its maker is asked again.
            let _ = gateway.kept.put(&principal, &asked.id, Kept { response, ..kept.clone() }, bounds);
        }
    }

    /// Forgets it, and has it forgotten by who made it.
    async fn delete(self, asked: &Asked, admitted: Admitted, home: Option<Home>) {
        let Self { gateway, session, reply, open } = self;
        let principal = open.record.principal.id.clone();
        let gone = Bytes::from(format!(
            "{{\"id\":{},\"object\":\"response\",\"deleted\":true}}",
            serde_json::Value::from(asked.id.as_str())
        ));
        let Some(home) = home else {
            gateway.kept.delete(&principal, &asked.id).await;
            return Told { gateway, session, reply, open }.answer(gone).await;
        };
        let mut errand = match errand(gateway, open, home, asked, admitted, 0) {
            Ok(errand) => errand,
            Err(refused) => {
                let (open, observation) = *refused;
                return Told { gateway, session, reply, open }.refuse(observation).await;
            }
        };
        let mut headers = reply.with_attempt(errand.target.name.as_str());
        let answered = {
            let mut ending = pin!(gateway.lifecycle.reached(Stage::Ending));
            tokio::select! {
                biased;
                answered = errand.read_whole() => answered,
                () = session.departed() => Err(Observation::ClientGone),
                () = &mut ending => Err(Observation::Shutdown),
            }
        };
        // What its maker does not know any more is gone there, too.
        let answer = match answered {
            Ok(status) if status < 300 || status == 404 => {
                gateway.kept.delete(&principal, &asked.id).await;
                errand.done(200);
                headers.push((CONTENT_TYPE, HeaderValue::from_static("application/json")));
                ErrorAnswer { status: 200, headers: Vec::new(), body: gone, in_stream: None }
            }
            Ok(_) => errand.refused_whole(),
            Err(observation) => match errand.failed(observation) {
                Some(answer) => answer,
                None => return,
            },
        };
        headers.extend(answer.headers);
        let _ = session.answer(Answer { status: answer.status, headers, body: answer.body }).await;
    }

    /// A whole answer of ours.
    async fn answer(self, body: Bytes) {
        let Self { gateway, session, reply, open } = self;
        let mut headers = reply.base();
        headers.push((CONTENT_TYPE, HeaderValue::from_static("application/json")));
        let sent = session.answer(Answer { status: 200, headers, body }).await;
        settle(gateway, open, sent);
    }

    /// Frames of ours, as a stream.
    async fn stream(self, frames: Vec<SseFrame>) {
        let Self { gateway, session, reply, mut open } = self;
        open.record.stream = true;
        let mut headers = reply.base();
        headers.push((CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8")));
        headers.push((CACHE_CONTROL, HeaderValue::from_static("no-cache")));
        let mut out = BytesMut::new();
        for frame in frames {
            frame.encode_into(&mut out);
        }
        let sent = async {
            session.begin(200, &headers, None).await?;
            session.send(out.freeze()).await?;
            session.finish().await
        };
        let sent = sent.await;
        settle(gateway, open, sent);
    }

    async fn refuse(self, observation: Observation) {
        let Self { session, reply, open, .. } = self;
        send(session, reply, refuse(open, observation)).await;
    }

    /// In the words that OpenAI has for it, which clients look for.
    async fn refuse_as_openai(self, status: u16, field: &str, message: &str) {
        let Self { session, reply, open, .. } = self;
        let failure = open.classify_here(Observation::Invalid {
            field: Some(field.to_owned()),
            offset: None,
            detail: message.to_owned(),
        });
        let answer = ErrorAnswer {
            status,
            body: Bytes::from(
                serde_json::json!({"error": {
                    "message": message, "type": "invalid_request_error", "param": null, "code": null,
                }})
                .to_string(),
            ),
            ..fixed_answer(&failure, open.asker)
        };
        open.settle(Outcome::Refused, status, Some(&failure));
        send(session, reply, answer).await;
    }
}

/// The attempt at who made it. Its error is the record back, with what is wrong.
fn errand<'a>(
    gateway: &'a Gateway,
    open: Open,
    home: Home,
    asked: &Asked,
    admitted: Admitted,
    keep_max: usize,
) -> Result<Errand<'a>, Box<(Open, Observation)>> {
    let Admitted { headers: client, body } = admitted;
    let budget = match timeout_header(&client) {
        Ok(budget) => budget,
        Err(observation) => return Err(Box::new((open, observation))),
    };
    let request = Request {
        target: home.target,
        picked: Some(home.picked),
        passing: Passing { method: asked.method.clone(), path: asked.path.clone(), body },
        client,
        reason: "it made this response".to_owned(),
        budget,
        keep_max,
    };
    Ok(Errand::begin(gateway, open, request))
}

async fn send(session: &mut Session, reply: &ReplyHeaders, answer: ErrorAnswer) {
    let mut headers = reply.base();
    headers.extend(answer.headers);
    let _ = session.answer(Answer { status: answer.status, headers, body: answer.body }).await;
}

/// Settles what was answered without any target.
fn settle(gateway: &Gateway, open: Open, sent: Result<(), SendError>) {
    let observation = match sent {
        Ok(()) => return open.settle(Outcome::Ok, 200, None),
        Err(SendError::Gone) => Observation::ClientGone,
        Err(SendError::Stalled) => {
            let limit_ms = ms(gateway.settings().bounds.write_timeout);
            Observation::ClientStalled { at: StallPoint::Answer, limit_ms }
        }
    };
    // All of the answer was there.
    let mut evidence = Evidence::at_door(observation, open.elapsed_ms());
    (evidence.connected, evidence.headers_seen, evidence.finish_seen) = (true, true, true);
    evidence.contents = 1;
    open.settle(Outcome::ClientGone, 499, Some(&classify(&evidence)));
}

/// What is known of a response from its own fields.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct State {
    id: Option<String>,
    status: Option<String>,
}

impl State {
    fn of(response: &Json) -> Self {
        serde_json::from_str(response.text()).unwrap_or_default()
    }

    /// Nothing more will happen to it (OpenAI API reference, "The response object").
    fn is_terminal(&self) -> bool {
        matches!(self.status.as_deref(), Some("completed" | "incomplete" | "failed" | "cancelled"))
    }
}

/// A response as the events that it would have been streamed in, behind those that
/// the client has. `None`: it has no output.
fn replayed(response: &Json, starting_after: Option<u64>) -> Option<Vec<SseFrame>> {
    #[derive(Deserialize)]
    struct Numbered {
        sequence_number: Option<u64>,
    }
    let is_new = |frame: &SseFrame| {
        let numbered: Option<Numbered> = serde_json::from_slice(&frame.data).ok();
        let number = numbered.and_then(|numbered| numbered.sequence_number);
        number.zip(starting_after).is_none_or(|(number, known)| number > known)
    };
    let frames = frames_of_whole(response.text().as_bytes());
    (!frames.is_empty()).then(|| frames.into_iter().filter(is_new).collect())
}
