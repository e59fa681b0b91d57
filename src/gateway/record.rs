//! The table of records and its query.
//!
//! Owns the schema, a bounded queue in front of it and the thread behind that, so
//! that no request ever waits for the disk, nor for another's record to be put
//! into words. Refuses to shape a record (`domain`). Invariants: the
//! table holds `records_max` rows and at most a tenth more; when the queue is nearly full,
//! successes make room for failures, and what is dropped is counted.

use crate::domain::failure::level;
use crate::domain::record::{Outcome, Record};
use crate::gateway::events::{Metrics, RecordDropped};
use crate::gateway::feedback::of_row;
use crate::store::Store;
use serde::Serialize;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments as _, Row as _};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{mpsc, oneshot};

/// A table of the gateway's database.
pub const TABLE: &str = "
    CREATE TABLE gateway_records (
        id TEXT PRIMARY KEY NOT NULL,
        outcome TEXT NOT NULL,
        route TEXT NOT NULL,
        cause TEXT NOT NULL,
        body TEXT NOT NULL
    ) WITHOUT ROWID;
";

/// Records that wait to be written.
const QUEUE_MAX: usize = 8192;
/// The last quarter of the queue is kept for records of failures.
const QUEUE_FOR_FAILURES: usize = QUEUE_MAX / 4;
/// Written in one transaction at most.
const BATCH_MAX: usize = 256;
/// What is settled within this of a record shares its transaction: one for each
/// record would cost more than the request.
const GATHER: Duration = Duration::from_millis(20);
/// A batch of lines that stdout does not take within this is given up.
const PRINT_MAX: Duration = Duration::from_secs(2);
/// The oldest rows are removed when there are so many too many, or a tenth of the table if that is less.
const PRUNE_EVERY: u64 = 1024;
/// Room made for a record's JSON: one of a single attempt fits.
const BODY_FIRST: usize = 2 << 10;
/// Rows that one query returns at most.
pub const PAGE_MAX: u32 = 1000;

/// Where settled records go. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RecordSink(mpsc::Sender<Queued>);

#[derive(Debug)]
enum Queued {
    Record(Box<Record>),
    /// Answered once everything before it is written.
    Flush(oneshot::Sender<()>),
}

/// Takes records off the queue and writes them.
#[derive(Debug)]
pub struct RecordWriter {
    queue: mpsc::Receiver<Queued>,
    store: Store,
    records_max: u64,
    printer: Printer,
    metrics: Arc<Metrics>,
}

/// The thread that a writer runs on; dropping it ends the thread, and what was
/// not flushed is lost.
#[derive(Debug)]
pub struct RecordThread {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for RecordThread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It waits for nothing but the database's thread now.
            let _ = thread.join();
        }
    }
}

/// Whether and how each record is also a line on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lines {
    Off,
    /// The record as one JSON object, with `level` and `event` before it.
    Json,
    /// A short line for a person.
    Text,
}

/// A queue and its writer.
#[must_use]
pub fn open(store: Store, records_max: u64, lines: Lines, metrics: Arc<Metrics>) -> (RecordSink, RecordWriter) {
    let (sender, queue) = mpsc::channel(QUEUE_MAX);
    let printer = Printer { lines, under_way: None, stuck: false };
    (RecordSink(sender), RecordWriter { queue, store, records_max, printer, metrics })
}

impl RecordSink {
    /// Hands a record over without waiting; false when it was dropped.
    #[must_use]
    pub fn put(&self, record: Box<Record>) -> bool {
        let plain = matches!(record.outcome, Outcome::Ok);
        if plain && self.0.capacity() < QUEUE_FOR_FAILURES {
            return false;
        }
        self.0.try_send(Queued::Record(record)).is_ok()
    }

    /// Pends until every record handed over before is written. The writer ends
    /// it by going away, too.
    pub async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        if self.0.send(Queued::Flush(done)).await.is_ok() {
            let _ = wait.await;
        }
    }
}

impl RecordWriter {
    /// Runs on a thread of its own: a batch is work of a third of a millisecond, which
    /// requests on the same worker would wait for.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(self) -> std::io::Result<RecordThread> {
        let (stop, stopped) = oneshot::channel();
        let (told, begun) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name("records".to_owned()).spawn(move || {
            // Made here: one that is dropped where another runs panics. Its blocking threads are for
            // lines to stdout alone, of which one batch is under way at a time.
            let made = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build();
            let runtime = match made {
                Ok(runtime) => runtime,
                Err(error) => return drop(told.send(Err(error))),
            };
            let _ = told.send(Ok(()));
            runtime.block_on(async move {
                tokio::select! {
                    () = self.run() => {}
                    _ = stopped => {}
                }
            });
            // A line that stdout does not take is not waited for.
            runtime.shutdown_background();
        })?;
        // It tells at once, or has ended without a word.
        begun.recv().unwrap_or_else(|_| Err(std::io::Error::other("the thread ended at its start")))?;
        Ok(RecordThread { stop: Some(stop), thread: Some(thread) })
    }

    /// Writes until every sink is gone and the queue is empty. A batch that the
    /// database refuses is logged and lost; the next one is tried.
    async fn run(mut self) {
        let mut queued = Vec::with_capacity(BATCH_MAX);
        let mut rows = self.count().await;
        // A process that is restarted often would never come to it otherwise.
        self.prune(&mut rows).await;
        let slack = PRUNE_EVERY.min(self.records_max / 10).max(1);
        while self.queue.recv_many(&mut queued, BATCH_MAX).await > 0 {
            if !queued.iter().any(|one| matches!(one, Queued::Flush(_))) {
                tokio::time::sleep(GATHER).await;
                while queued.len() < BATCH_MAX
                    && let Ok(one) = self.queue.try_recv()
                {
                    queued.push(one);
                }
            }
            let mut batch = Vec::with_capacity(queued.len());
            let mut flushes = Vec::new();
            for one in queued.drain(..) {
                match one {
                    Queued::Record(record) => batch.push((body(&record), record)),
                    Queued::Flush(done) => flushes.push(done),
                }
            }
            rows += self.write(batch).await;
            if rows >= self.records_max.saturating_add(slack) {
                self.prune(&mut rows).await;
            }
            for done in flushes {
                let _ = done.send(());
            }
        }
    }

    /// Rows in the table. Asked once: to count them reads all of it.
    async fn count(&self) -> u64 {
        let counted = sqlx::query_scalar("SELECT COUNT(*) FROM gateway_records").fetch_one(self.store.pool()).await;
        let known = counted.inspect_err(|error| {
            tracing::error!(target: "tautline::records", %error, "records could not be counted");
        });
        known.map_or(0, i64::cast_unsigned)
    }

    /// Removes the oldest of `rows` until there are `records_max`.
    async fn prune(&self, rows: &mut u64) {
        let excess = rows.saturating_sub(self.records_max);
        if excess == 0 {
            return;
        }
        match prune(&self.store, excess).await {
            Ok(removed) => *rows = rows.saturating_sub(removed),
            Err(error) => tracing::error!(target: "tautline::records", %error, "old records could not be removed"),
        }
    }

    /// How many rows the table gained.
    async fn write(&mut self, rows: Vec<Row>) -> u64 {
        if rows.is_empty() {
            return 0;
        }
        self.printer.print(&rows).await;
        let count = rows.len() as u64;
        if let Err(error) = write(&self.store, rows).await {
            tracing::error!(target: "tautline::records", %error, lost = count, "records could not be written");
            for _ in 0..count {
                RecordDropped.emit(&self.metrics);
            }
            // Counted as rows, they would have as many good ones pruned.
            return 0;
        }
        count
    }
}

/// The JSON of a record, and the record.
type Row = (String, Box<Record>);

fn body(record: &Record) -> String {
    let mut out = Vec::with_capacity(BODY_FIRST);
    serde_json::to_writer(&mut out, record).expect("records always serialize");
    String::from_utf8(out).expect("JSON is UTF-8")
}

/// Lines on stdout. A reader of it that is gone or slow costs lines, not records:
/// one batch is waited for, and what comes while it is stuck is left out.
#[derive(Debug)]
struct Printer {
    lines: Lines,
    under_way: Option<tokio::task::JoinHandle<()>>,
    stuck: bool,
}

impl Printer {
    async fn print(&mut self, rows: &[Row]) {
        if self.lines == Lines::Off {
            return;
        }
        if let Some(under_way) = &self.under_way
            && !under_way.is_finished()
        {
            if !std::mem::replace(&mut self.stuck, true) {
                tracing::warn!(target: "tautline::records", "stdout takes no lines: those of exchanges are left out");
            }
            return;
        }
        self.stuck = false;
        let out = lines(rows, self.lines);
        // Ends with the process at the latest.
        let mut under_way = tokio::spawn(async move {
            let mut stdout = tokio::io::stdout();
            let _ = stdout.write_all(out.as_bytes()).await;
            let _ = stdout.flush().await;
        });
        if tokio::time::timeout(PRINT_MAX, &mut under_way).await.is_err() {
            self.under_way = Some(under_way);
        }
    }
}

fn lines(rows: &[Row], form: Lines) -> String {
    let mut out = String::new();
    if form == Lines::Json {
        // As the bodies, with what stands before them.
        out.reserve(rows.iter().map(|(body, _)| body.len() + 48).sum());
    }
    for (body, record) in rows {
        let level = record.cause().map_or(tracing::Level::INFO, level);
        match form {
            Lines::Off => {}
            Lines::Json => {
                for part in ["{\"level\":\"", level.as_str(), "\",\"event\":\"exchange\",", &body[1..], "\n"] {
                    out.push_str(part);
                }
            }
            Lines::Text => {
                let target = record.attempts.last().map_or("-", |attempt| attempt.target.as_str());
                let _ = writeln!(
                    out,
                    "{level} {} {} model={} task={} target={target} attempts={} cause={} {} ms",
                    record.id,
                    record.outcome,
                    crate::wire::redact::redact(&record.model, 80),
                    record.task,
                    record.attempts.len(),
                    record.cause,
                    record.timings.total_ms
                );
            }
        }
    }
    out
}

/// One statement, which is a transaction of its own: each statement more is a
/// way to the database's thread and back.
async fn write(store: &Store, rows: Vec<Row>) -> Result<(), sqlx::Error> {
    const ROW: &str = "(?,?,?,?,?)";
    let mut sql = "INSERT OR REPLACE INTO gateway_records (id, outcome, route, cause, body) VALUES ".to_owned();
    sql.reserve(rows.len() * (ROW.len() + 1));
    let mut values = SqliteArguments::default();
    for (place, (body, record)) in rows.into_iter().enumerate() {
        sql.push_str(if place == 0 { "" } else { "," });
        sql.push_str(ROW);
        // By value: what is lent is copied.
        let Record { id, outcome, route, cause, .. } = *record;
        for text in [id, outcome.as_str().to_owned(), route, cause, body] {
            values.add(text).map_err(sqlx::Error::Encode)?;
        }
    }
    // Its text depends on the number of rows: not worth keeping.
    let insert = sqlx::query_with(sqlx::AssertSqlSafe(sql), values).persistent(false);
    insert.execute(store.pool()).await.map(|_| ())
}

/// Reads no more of the table than it removes.
async fn prune(store: &Store, excess: u64) -> Result<u64, sqlx::Error> {
    let excess = i64::try_from(excess).unwrap_or(i64::MAX);
    // Ids are ULIDs: their order is the order of time.
    let removed =
        sqlx::query("DELETE FROM gateway_records WHERE id IN (SELECT id FROM gateway_records ORDER BY id LIMIT ?)")
            .bind(excess)
            .execute(store.pool())
            .await?;
    Ok(removed.rows_affected())
}

/// What to look for.
#[derive(Debug, Clone, Default)]
pub struct RecordQuery {
    pub outcome: Option<String>,
    pub route: Option<String>,
    pub cause: Option<String>,
    /// Only records older than this id.
    pub before: Option<String>,
    /// At most [`PAGE_MAX`].
    pub limit: u32,
}

/// Newest first.
#[derive(Debug, Serialize)]
pub struct RecordPage {
    pub records: Vec<Record>,
    /// Pass it as `before` for the next page.
    pub next: Option<String>,
}

/// Reads a page of records.
///
/// # Errors
/// The database's own.
pub async fn list(store: &Store, query: &RecordQuery) -> Result<RecordPage, sqlx::Error> {
    let limit = query.limit.clamp(1, PAGE_MAX);
    let rows = sqlx::query(
        "SELECT body, at, verdict, score FROM gateway_records LEFT JOIN gateway_feedback ON request_id = id
         WHERE (?1 IS NULL OR outcome = ?1) AND (?2 IS NULL OR route = ?2)
           AND (?3 IS NULL OR cause = ?3) AND (?4 IS NULL OR id < ?4)
         ORDER BY id DESC LIMIT ?5",
    )
    .bind(&query.outcome)
    .bind(&query.route)
    .bind(&query.cause)
    .bind(&query.before)
    .bind(limit)
    .fetch_all(store.pool())
    .await?;
    let records: Vec<Record> = rows.iter().filter_map(read).collect();
    let next = (rows.len() == limit as usize).then(|| records.last().map(|record| record.id.clone())).flatten();
    Ok(RecordPage { records, next })
}

/// The record of one exchange: by its whole id, or by the end of one that is
/// unambiguous among the newest (people copy ids by halves), or `last`.
///
/// # Errors
/// The database's own.
pub async fn find(store: &Store, id: &str) -> Result<Option<Record>, sqlx::Error> {
    let sql = match id {
        "last" => {
            "SELECT body, at, verdict, score FROM gateway_records LEFT JOIN gateway_feedback ON request_id = id
             WHERE ?1 = 'last' ORDER BY id DESC LIMIT 2"
        }
        _ => {
            "SELECT body, at, verdict, score FROM gateway_records LEFT JOIN gateway_feedback ON request_id = id
             WHERE id = ?1 OR (length(?1) >= 4 AND id LIKE '%' || ?1) ORDER BY id DESC LIMIT 2"
        }
    };
    let rows = sqlx::query(sql).bind(id).fetch_all(store.pool()).await?;
    let ambiguous = id != "last" && rows.len() > 1;
    Ok(rows.first().filter(|_| !ambiguous).and_then(read))
}

/// The record of one exchange by its whole id; it reads one row.
///
/// # Errors
/// The database's own.
pub async fn get(store: &Store, id: &str) -> Result<Option<Record>, sqlx::Error> {
    let sql = "SELECT body, at, verdict, score FROM gateway_records LEFT JOIN gateway_feedback ON request_id = id
               WHERE id = ?1";
    let row = sqlx::query(sql).bind(id).fetch_optional(store.pool()).await?;
    Ok(row.as_ref().and_then(read))
}

/// A row that cannot be read was written by another version; it is skipped.
fn read(row: &SqliteRow) -> Option<Record> {
    let mut record: Record = serde_json::from_str(row.get::<&str, _>("body")).ok()?;
    let said: (Option<String>, Option<&str>) = (row.get("at"), row.get("verdict"));
    record.feedback = said.0.zip(said.1).and_then(|(at, verdict)| of_row(at, verdict, row.get("score")));
    Some(record)
}
