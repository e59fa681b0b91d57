//! The queue between those who tell and the thread that sends.
//!
//! Owns the bound, the counting of what is dropped, batches, the wait after a
//! failure and the last flush. Invariant: [`Exporter::spans`] and
//! [`Exporter::log`] never wait for the collector, and each entry is either
//! delivered or counted as dropped.

use super::families;
use super::send::Client;
use super::signal::{Sent, Signal, request};
use crate::telemetry::registry::Counters;
use parking_lot::{Condvar, Mutex};
use prometheus::proto::MetricFamily;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::oneshot;

/// Entries of one request at most.
const BATCH_MAX: usize = 512;
/// An entry waits this long for company.
const LINGER: Duration = Duration::from_secs(1);
/// Metrics are sent this often.
const METRICS_EVERY: Duration = Duration::from_secs(15);
/// After a failure at least [`LINGER`] is waited, twice as long after each further one, up to this.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A failing collector is written about this often.
const COMPLAIN_EVERY: Duration = Duration::from_mins(1);

/// Where to export to, and what.
#[derive(Debug, Clone)]
pub struct OtlpSettings {
    /// Base URL without a trailing slash; `/v1/traces` and its like are appended.
    pub endpoint: String,
    pub traces: bool,
    pub metrics: bool,
    pub logs: bool,
    /// For one request to the collector.
    pub timeout: Duration,
    /// Entries of one signal that wait.
    pub queue_max: usize,
    /// Share of plain successes whose spans are exported, from 0 to 1.
    pub sample: f64,
    pub headers: Vec<(http::HeaderName, http::HeaderValue)>,
}

/// Reads all metrics, with gauges brought up to date.
pub type Reading = Box<dyn Fn() -> Vec<MetricFamily> + Send>;

/// Takes what is to be exported. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Exporter(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    settings: OtlpSettings,
    queue: Mutex<Queue>,
    wake: Condvar,
    dropped: Counters<1>,
}

#[derive(Debug, Default)]
struct Queue {
    spans: VecDeque<Sent>,
    lines: VecDeque<Sent>,
    closing: Option<Closing>,
    closed: bool,
}

#[derive(Debug)]
struct Closing {
    deadline: Instant,
    done: oneshot::Sender<()>,
}

impl Exporter {
    /// Starts the thread. It ends with [`Self::close`], or with the process.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(settings: OtlpSettings, dropped: Counters<1>, reading: Reading) -> std::io::Result<Self> {
        for signal in Signal::ALL {
            // There from the beginning, so that an alert on its rise sees the first one.
            dropped.add([signal], 0);
        }
        let shared = Arc::new(Shared { settings, queue: Mutex::default(), wake: Condvar::new(), dropped });
        let mut worker = Worker::new(Arc::clone(&shared), reading);
        // A thread and no task: its client blocks, and a runtime that is busy or
        // shutting down does not stop it.
        std::thread::Builder::new().name("tautline-otlp".to_owned()).spawn(move || worker.run())?;
        Ok(Self(shared))
    }

    #[must_use]
    pub fn settings(&self) -> &OtlpSettings {
        &self.0.settings
    }

    /// Hands over the spans of one exchange, all or none of them. The last
    /// quarter of the queue is kept for what is not `plain`.
    pub fn spans(&self, spans: Vec<Sent>, plain: bool) {
        self.0.put(Signal::Traces, spans, plain);
    }

    /// Hands over a line.
    pub fn log(&self, line: Sent, plain: bool) {
        self.0.put(Signal::Logs, vec![line], plain);
    }

    /// Sends what waits and the last metrics, within `limit`; what comes later
    /// is dropped, and so is what the collector does not take in time.
    pub async fn close(&self, limit: Duration) {
        let (done, wait) = oneshot::channel();
        self.0.queue.lock().closing = Some(Closing { deadline: Instant::now() + limit, done });
        self.0.wake.notify_one();
        // A request under way may last longer than that; nobody waits for it.
        let _ = tokio::time::timeout(limit, wait).await;
    }
}

impl Shared {
    fn put(&self, signal: Signal, entries: Vec<Sent>, plain: bool) {
        let max = self.settings.queue_max;
        let room = if plain { max - max / 4 } else { max };
        let count = entries.len();
        let mut queue = self.queue.lock();
        let closed = queue.closed;
        let waiting = queue.of(signal);
        if closed || waiting.len() + count > room {
            drop(queue);
            self.dropped.add([&signal], count as u64);
            return;
        }
        let before = waiting.len();
        waiting.extend(entries);
        if before < BATCH_MAX && waiting.len() >= BATCH_MAX {
            self.wake.notify_one();
        }
    }
}

impl Queue {
    fn of(&mut self, signal: Signal) -> &mut VecDeque<Sent> {
        match signal {
            Signal::Traces => &mut self.spans,
            Signal::Metrics | Signal::Logs => &mut self.lines,
        }
    }

    fn has_batch(&self) -> bool {
        self.spans.len() >= BATCH_MAX || self.lines.len() >= BATCH_MAX
    }
}

/// What the thread owns.
struct Worker {
    shared: Arc<Shared>,
    client: Client,
    reading: Reading,
    since: u64,
    metrics_due: Instant,
    pause: Duration,
    complained: Option<Instant>,
}

impl Worker {
    fn new(shared: Arc<Shared>, reading: Reading) -> Self {
        let client = Client::new(&shared.settings);
        let metrics_due = Instant::now() + METRICS_EVERY;
        Self { shared, client, reading, since: unix_nanos(), metrics_due, pause: Duration::ZERO, complained: None }
    }

    fn run(&mut self) {
        loop {
            if let Some(Closing { deadline, done }) = self.wait() {
                self.finish(deadline);
                let _ = done.send(());
                return;
            }
            let limit = self.shared.settings.timeout;
            // Both in any case: a collector may take one of them only.
            let went = [Signal::Traces, Signal::Logs].map(|signal| self.is_closing() || self.send_batch(signal, limit));
            self.pause = if went == [true, true] { Duration::ZERO } else { (self.pause * 2).clamp(LINGER, PAUSE_MAX) };
            if self.metrics_due <= Instant::now() && !self.is_closing() {
                self.metrics_due = Instant::now() + METRICS_EVERY;
                self.send_metrics(limit);
            }
        }
    }

    /// Whoever stops has less time than an export: none is begun any more.
    fn is_closing(&self) -> bool {
        self.shared.queue.lock().closing.is_some()
    }

    /// Waits for a batch, for the time that an entry may wait, or for the end.
    /// After a failure no batch shortens the pause.
    fn wait(&self) -> Option<Closing> {
        let until = Instant::now() + self.pause.max(LINGER);
        let mut queue = self.shared.queue.lock();
        while queue.closing.is_none() && !(self.pause.is_zero() && queue.has_batch()) {
            if self.shared.wake.wait_until(&mut queue, until).timed_out() {
                break;
            }
        }
        queue.closing.take()
    }

    /// Sends one batch; false if the collector is away. What it may take later
    /// goes back to the front of the queue, as far as there is room; what it
    /// refuses for good is lost, and nothing is waited for.
    fn send_batch(&mut self, signal: Signal, limit: Duration) -> bool {
        let batch: Vec<Sent> = {
            let mut queue = self.shared.queue.lock();
            let waiting = queue.of(signal);
            let count = waiting.len().min(BATCH_MAX);
            waiting.drain(..count).collect()
        };
        if batch.is_empty() {
            return true;
        }
        let body = request(batch.iter().map(|sent| sent.0.as_slice()));
        let Err(error) = self.client.post(signal, &body, limit) else { return true };
        let mut lost = batch.len();
        let away = error.may_pass();
        if away {
            let mut queue = self.shared.queue.lock();
            let waiting = queue.of(signal);
            for sent in batch.into_iter().rev() {
                if waiting.len() >= self.shared.settings.queue_max {
                    break;
                }
                waiting.push_front(sent);
                lost -= 1;
            }
        }
        self.shared.dropped.add([&signal], lost as u64);
        self.complain(signal, &error);
        !away
    }

    /// Counts are cumulative, so that a lost export costs a point in time only.
    fn send_metrics(&mut self, limit: Duration) {
        if !self.shared.settings.metrics {
            return;
        }
        let span = families::Span { since: self.since, now: unix_nanos() };
        let metrics = families::encode(&(self.reading)(), span);
        let body = request(metrics.iter().map(Vec::as_slice));
        if let Err(error) = self.client.post(Signal::Metrics, &body, limit) {
            self.shared.dropped.one([&Signal::Metrics]);
            self.complain(Signal::Metrics, &error);
        }
    }

    /// The last words: everything that waits, while there is time.
    fn finish(&mut self, deadline: Instant) {
        let timeout = self.shared.settings.timeout;
        let left = || Some(deadline.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero());
        for signal in [Signal::Traces, Signal::Logs] {
            while let Some(left) = left() {
                if !self.send_batch(signal, left.min(timeout)) || self.shared.queue.lock().of(signal).is_empty() {
                    break;
                }
            }
        }
        if let Some(left) = left() {
            self.send_metrics(left.min(timeout));
        }
        let mut queue = self.shared.queue.lock();
        queue.closed = true;
        for signal in [Signal::Traces, Signal::Logs] {
            let lost = queue.of(signal).drain(..).count();
            self.shared.dropped.add([&signal], lost as u64);
        }
    }

    fn complain(&mut self, signal: Signal, error: &super::send::SendError) {
        if self.complained.is_some_and(|at| at.elapsed() < COMPLAIN_EVERY) {
            return;
        }
        self.complained = Some(Instant::now());
        tracing::warn!(
            target: "tautline::otlp",
            signal = signal.as_str(),
            %error,
            "the collector did not take an export; requests are not affected, what finds no room is dropped and counted"
        );
    }
}

fn unix_nanos() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}
