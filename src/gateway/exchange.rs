//! The story of one request: the driver.
//!
//! The only place that starts attempts. Owns the walk along the itinerary:
//! which target is next, when the same one is tried again, what is waited for,
//! when it ends. Refuses sockets of the client (`relay` reads the journal).
//! Invariants: a driver borrows nothing from a session; once something was shown
//! it is only ever carried on; it settles once.

mod carry;
mod carry_on;
mod ending;
mod goes_on;
mod visit;

use crate::domain::failure::{Cause, Evidence, Failure, Observation, classify};
use crate::domain::record::Purpose;
use crate::gateway::admit::Admitted;
use crate::gateway::attempt::{Good, TargetAnswer, forwardable};
use crate::gateway::events::{ExchangeSpan, FellBack};
use crate::gateway::intake::{Request, intake};
use crate::gateway::journal::{Ending, Entry, ErrorAnswer, Journal};
use crate::gateway::lifecycle::Running;
use crate::gateway::makers::Maker;
use crate::gateway::plan::{Itinerary, Step, plan};
use crate::gateway::settings::{Auth, Settings};
use crate::gateway::settle::{Asker, Open, fixed_answer, ms, told_in_stream};
use crate::gateway::state::Gateway;
use crate::wire::dialect::Dialect;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tracing::Instrument as _;

/// The future that carries an exchange. Owns everything it needs: polled by
/// the first session, or spawned when that leaves and someone still wants to
/// read. Dropping it cancels the attempt under way; the record settles then.
pub struct Driver {
    /// `None` once it is over.
    future: Option<BoxFuture<'static, ()>>,
    journal: Journal,
    own_work: Arc<AtomicU64>,
    for_whom: Asker,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(future) = self.future.as_mut() else { return Poll::Ready(()) };
        // Every poll is work of ours; what lies between them is waiting for others.
        let began = Instant::now();
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
        let polled = polled.unwrap_or_else(|_| {
            // A programmer's fault ends this exchange, not the process. The
            // record settled while the panic unwound; its reader is told here.
            let detail = "a task of the gateway panicked".to_owned();
            let failure = classify(&Evidence::at_door(Observation::Panic { detail }, 0));
            self.journal.end(Ending::Error(fixed_answer(&failure, self.for_whom)));
            Poll::Ready(())
        });
        if polled.is_ready() {
            self.future = None;
        }
        let spent = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.own_work.fetch_add(spent, Ordering::Relaxed);
        polled
    }
}

/// How the answer is to be delivered.
#[derive(Debug, Clone, Copy)]
pub struct Delivery {
    pub stream: bool,
    pub report: bool,
    /// What the client speaks.
    pub dialect: Dialect,
}

/// An exchange that began.
#[derive(Debug)]
pub struct Begun {
    pub driver: Driver,
    pub journal: Journal,
    pub delivery: Delivery,
    /// The snapshot that this exchange began with.
    pub settings: Arc<Settings>,
}

/// Understands, plans, and hands back the driver; or settles a refusal and
/// hands back its answer.
///
/// # Errors
/// The answer to a request that was refused before any attempt.
pub async fn begin(gateway: &Arc<Gateway>, admitted: Admitted, mut open: Open) -> Result<Begun, ErrorAnswer> {
    let began = Instant::now();
    let settings = gateway.settings();
    let dialect = open.asker.dialect;
    let Admitted { headers, body } = admitted;
    let mut request = match intake(&settings, &gateway.catalog, &gateway.on_demand, &headers, dialect, &body) {
        Ok(request) => request,
        Err(refused) => {
            open.record.model.clone_from(&refused.model);
            open.record.route.clone_from(&refused.route);
            open.record.task.clone_from(&refused.task);
            open.record.stream = refused.stream;
            return Err(refuse(open, refused.observation));
        }
    };
    open.identify(&request.asked.model, &request.route, &request.task, request.task_reason, request.asked.stream);
    if let Err(observation) = goes_on::go_on(gateway, &settings, &mut request, &open.record.principal.id).await {
        return Err(refuse(open, observation));
    }
    let asked = &request.asked;
    let itinerary = match plan(&request.plan_input(&settings)) {
        Ok(itinerary) => itinerary,
        Err(unplanned) => {
            open.record.plan = unplanned.record;
            if dialect == Dialect::CountTokens {
                return Err(estimate(open, request.asked.input_tokens()));
            }
            return Err(refuse(open, unplanned.observation));
        }
    };
    let Itinerary { steps, record } = itinerary;
    open.record.plan = record;
    let journal = Journal::new(settings.bounds.journal_bytes_max);
    journal.set_head(|head| request.task.as_str().clone_into(&mut head.task));
    open.follow(journal.clone());
    let (own_work, for_whom) = (open.own_work(), open.asker);
    own_work.fetch_add(u64::try_from(began.elapsed().as_nanos()).unwrap_or(0), Ordering::Relaxed);
    let delivery = Delivery { stream: asked.stream, report: request.report, dialect };
    let span = ExchangeSpan { record: &open.record }.open();
    let walk = Box::new(Walk {
        running: gateway.lifecycle.enter(),
        gateway: Arc::clone(gateway),
        settings: Arc::clone(&settings),
        client: forwardable(&headers),
        request,
        open,
        journal: journal.clone(),
        lost: Vec::new(),
        broken: None,
        first_empty: None,
        terminal: None,
        answered_by: None,
    });
    let future = Some(Box::pin(walk.run(steps).instrument(span)) as BoxFuture<'static, ()>);
    Ok(Begun { driver: Driver { future, journal: journal.clone(), own_work, for_whom }, journal, delivery, settings })
}

/// A count of tokens where no target counts them: our own estimate, named as one.
fn estimate(open: Open, tokens: u64) -> ErrorAnswer {
    const WARNING: &str = "estimated from the length of the text: no target of this route counts tokens";
    let mut open = open;
    open.record.warnings.push(WARNING.to_owned());
    open.settle(crate::domain::record::Outcome::Ok, 200, None);
    let headers = vec![
        (http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json")),
        (http::HeaderName::from_static("x-tautline-warning"), http::HeaderValue::from_static(WARNING)),
    ];
    ErrorAnswer { status: 200, headers, body: Bytes::from(format!("{{\"input_tokens\":{tokens}}}")), in_stream: None }
}

/// Settles a refusal at our door or in plan and makes its answer.
pub fn refuse(open: Open, observation: Observation) -> ErrorAnswer {
    refuse_as(open, observation, None)
}

/// [`refuse`] with a status that says more than the cause's own.
pub fn refuse_as(open: Open, observation: Observation, status: Option<u16>) -> ErrorAnswer {
    let failure = open.classify_here(observation);
    let mut answer = fixed_answer(&failure, open.asker);
    answer.status = status.unwrap_or(answer.status);
    answer.in_stream = told_in_stream(&open.record, open.asker, &failure, &answer);
    let outcome = crate::domain::record::Outcome::Refused;
    open.settle(outcome, answer.status, Some(&failure));
    answer
}

/// One exchange on its way along its itinerary.
struct Walk {
    gateway: Arc<Gateway>,
    settings: Arc<Settings>,
    /// The client's headers; attempts forward some of them.
    client: http::HeaderMap,
    request: Request,
    open: Open,
    journal: Journal,
    lost: Vec<Lost>,
    /// An answer that broke off with words shown.
    broken: Option<carry_on::Broken>,
    /// The first empty answer, in case every target is empty.
    first_empty: Option<Vec<Entry>>,
    /// The frame or body with the whole response (responses).
    terminal: Option<Bytes>,
    /// Target and maker of the answer, and whether it keeps it (responses).
    answered_by: Option<(String, Maker, bool)>,
    /// Held until the exchange is over; drain waits for it.
    #[expect(dead_code, reason = "a guard: it is held, not read")]
    running: Running,
}

/// An attempt that failed.
struct Lost {
    target: String,
    failure: Failure,
    answer: Option<TargetAnswer>,
    client_auth: bool,
    /// A form of the request that was ours; sent again in another one, it says
    /// nothing about the exchange.
    resent: bool,
    /// When this target is free again, if it said so.
    free_at: Option<Instant>,
}

/// How a visit to one target ended.
enum Visit {
    Good(Good),
    /// The next target may be tried.
    MoveOn,
    /// The exchange ends under the failure of the last of `lost`.
    Over,
    /// It ends between two attempts.
    Stopped(Failure),
}

impl Walk {
    /// Boxed: an `async fn` keeps what it takes by value twice.
    async fn run(mut self: Box<Self>, steps: Vec<Step>) {
        let mut window_over: Option<u64> = None;
        let mut purpose = Purpose::Serve;
        let mut place = 0;
        while let Some(step) = steps.get(place) {
            match self.visit(step, place == 0, purpose).await {
                Visit::Good(good) => return self.succeeded(&good),
                Visit::Over => return self.failed_by_last(),
                Visit::Stopped(failure) => return self.stopped(failure),
                Visit::MoveOn => {}
            }
            let last = self.lost.last().expect("a visit that moves on has lost an attempt");
            let failure = last.failure.clone();
            if failure.effective_cause() == Cause::ContextTooLong {
                window_over = step.target.context_tokens.max(window_over).or(window_over);
            }
            purpose = Purpose::Fallback;
            let Some(next) = next_fit(&steps, place + 1, window_over) else { break };
            FellBack { from: &step.target.label, to: &steps[next].target.label, failure: &failure }
                .emit(&self.gateway.metrics);
            self.note(|| {
                format!(
                    "tautline {} failed ({}); going on to {}",
                    step.target.name, failure.cause, steps[next].target.name
                )
            });
            place = next;
        }
        self.exhausted();
    }

    /// A line for those who asked for a report.
    fn note(&self, text: impl FnOnce() -> String) {
        if self.request.report && self.request.asked.stream {
            self.journal.append([Entry::Note(text())]);
        }
    }

    /// Waits; ends early when the process ends or the budget is used up, and
    /// then says how.
    async fn wait(&self, wait: Duration, step: &Step) -> Result<(), Observation> {
        let total = step.limits.total;
        let over = total.value.map(|limit| self.open.accepted() + limit);
        let until = Instant::now() + wait;
        tokio::select! {
            () = tokio::time::sleep_until(over.map_or(until, |over| over.min(until)).into()) => {}
            () = self.gateway.lifecycle.reached(crate::gateway::lifecycle::Stage::Ending) => return Err(Observation::Shutdown),
        }
        match (over, total.value) {
            (Some(over), Some(limit)) if over <= Instant::now() => Err(Observation::Clock {
                clock: crate::domain::deadline::Clock::Total,
                limit_ms: ms(limit),
                elapsed_ms: self.open.elapsed_ms(),
                source: total.source,
            }),
            _ => Ok(()),
        }
    }
}

/// The next step; after a prompt that was too long only one whose window may
/// hold it.
fn next_fit(steps: &[Step], from: usize, window_over: Option<u64>) -> Option<usize> {
    (from..steps.len()).find(|place| match (window_over, steps[*place].target.context_tokens) {
        (Some(over), Some(window)) => window > over,
        _ => true,
    })
}

impl Lost {
    fn client_auth(step: &Step) -> bool {
        matches!(step.target.provider.auth, Auth::Client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_its_exchange_as_internal_and_nothing_else() {
        let journal = Journal::new(1000);
        let mut reader = journal.attach(0).expect("new");
        let driver = Driver {
            future: Some(Box::pin(async { panic!("a programmer's fault") })),
            journal,
            own_work: Arc::default(),
            for_whom: Asker { id: crate::domain::ids::ExchangeId::generate(), dialect: Dialect::Chat },
        };
        driver.await;
        match reader.batch(true).await.ending {
            Some(Ending::Error(answer)) => assert_eq!(answer.status, 500),
            other => panic!("{other:?}"),
        }
    }
}
