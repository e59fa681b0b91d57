//! Responses that are kept, so that `previous_response_id` works whoever made them.
//!
//! Owns the sealed table of what was asked and answered, and the walk along its
//! chain. Refuses to know dialects. Invariants: what one principal asked is
//! found by that principal alone; nothing is kept of a request with `store:
//! false`; bounded in bytes and hours, and what is read of it takes room as a
//! body does; the rows are sealed with a key that stands beside the database, not in it.

use crate::domain::secret::Secret;
use crate::gateway::bodies::{Bodies, Room};
use crate::gateway::makers::Maker;
use crate::store::Store;
use crate::wire::canon::Json;
use futures_util::TryStreamExt as _;
use hmac::{Hmac, Mac as _};
use parking_lot::Mutex;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// A table of the gateway's database. `chain` is the response that it goes on from.
pub const TABLE: &str = "
    CREATE TABLE gateway_responses (
        id TEXT NOT NULL,
        principal TEXT NOT NULL,
        chain TEXT,
        at INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        sealed BLOB NOT NULL,
        PRIMARY KEY (principal, id)
    ) WITHOUT ROWID;
    CREATE INDEX gateway_responses_at ON gateway_responses (at);
";

/// Sums of bytes come from the index alone.
pub const INDEX: &str = "
    DROP INDEX gateway_responses_at;
    CREATE INDEX gateway_responses_at ON gateway_responses (at, bytes);
";

/// The rows from one response back to the first that is known; as many as one
/// conversation may be long.
const WALK: &str = "
    WITH RECURSIVE walk (id, chain, bytes, depth) AS (
        SELECT id, chain, bytes, 1 FROM gateway_responses WHERE principal = ?1 AND id = ?2
        UNION ALL
        SELECT r.id, r.chain, r.bytes, walk.depth + 1 FROM walk
        JOIN gateway_responses r ON r.principal = ?1 AND r.id = walk.chain
        WHERE walk.depth < 1000
    )";
/// Conversations whose age waits to be written: beyond it they are gone earlier, no worse.
const TOUCHED_MAX: usize = 4096;
/// What comes within this shares a transaction.
const GATHER: Duration = Duration::from_millis(50);
/// A database that takes longer counts as one that does not know.
const READ_MAX: Duration = Duration::from_secs(5);
/// Rows that one pass removes.
const PRUNE_MAX: i64 = 1000;

/// One response with what it answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Kept {
    /// What it goes on from.
    pub previous: Option<String>,
    /// The request's own input, as items.
    pub input: Vec<Json>,
    /// The response object.
    pub response: Json,
    /// Who made it.
    pub target: String,
    pub maker: Maker,
    /// Its maker keeps it too, under the same id.
    pub native: bool,
}

/// A conversation up to a response.
#[derive(Debug)]
pub struct Chain {
    /// Everything asked and answered, oldest first.
    pub items: Vec<Json>,
    /// For the items, and for a request that they stand in.
    _room: Room,
}

/// Who made a response.
#[derive(Debug, Clone)]
pub struct Made {
    pub target: String,
    pub maker: Maker,
    /// Its maker knows the conversation under the id that the client sent.
    pub native: bool,
}

impl Made {
    fn of(kept: &Kept) -> Self {
        Self { target: kept.target.clone(), maker: kept.maker, native: kept.native }
    }
}

/// What is known of a response and of all before it.
#[derive(Debug)]
pub enum History {
    Unknown,
    /// The response is known, something before it is not.
    Part(Made),
    Whole(Made, Chain),
    /// All of it together is larger than a body may be.
    TooLarge(Made),
    /// It would be read, were there room for it; who made it, where there is room to see that.
    NoRoom(Option<Made>),
}

/// The bounds that are in force.
#[derive(Debug, Clone, Copy)]
pub struct KeptBounds {
    pub bytes_max: u64,
    pub keep: Duration,
}

/// By principal and id: what it is and how large.
type Fresh = HashMap<(String, String), (Arc<Kept>, usize)>;

/// What is kept. Lives as long as the gateway; its table outlives that.
pub struct Keep {
    key: LessSafeKey,
    /// `None` until the database is open: nothing is found before.
    store: Mutex<Option<Store>>,
    /// Not yet in the table, by principal and id, with its size.
    fresh: Mutex<Fresh>,
    arrived: Notify,
    /// The last responses of conversations that went on, by principal and id.
    touched: Mutex<HashSet<(String, String)>>,
    /// Held while the table is written: what is deleted meanwhile must not come back.
    writing: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Keep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keep").finish_non_exhaustive()
    }
}

impl Keep {
    /// `secret` is the gateway's own; what seals rows is derived from it.
    #[must_use]
    pub fn new(secret: &Secret<[u8; 32]>) -> Self {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose()).expect("HMAC takes any key");
        mac.update(b"kept responses");
        let key = UnboundKey::new(&CHACHA20_POLY1305, &mac.finalize().into_bytes()).expect("32 bytes are a key");
        Self {
            key: LessSafeKey::new(key),
            store: Mutex::default(),
            fresh: Mutex::default(),
            arrived: Notify::new(),
            touched: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
        }
    }

    /// The database is open.
    pub fn opened(&self, store: Store) {
        *self.store.lock() = Some(store);
    }

    /// Keeps a response. It is found at once, and on disk soon.
    ///
    /// Returns false when it, or all that waits for the disk, is too large to be kept.
    #[must_use]
    pub fn put(&self, principal: &str, id: &str, kept: Kept, bounds: KeptBounds) -> bool {
        let size = kept.response.text().len() + kept.input.iter().map(|item| item.text().len()).sum::<usize>();
        let mut fresh = self.fresh.lock();
        let waiting: usize = fresh.values().map(|(_, size)| size).sum();
        if (waiting + size) as u64 > bounds.bytes_max / 4 {
            return false;
        }
        fresh.insert((principal.to_owned(), id.to_owned()), (Arc::new(kept), size));
        drop(fresh);
        self.arrived.notify_one();
        true
    }

    /// One response.
    pub async fn get(&self, principal: &str, id: &str) -> Option<Arc<Kept>> {
        let place = (principal.to_owned(), id.to_owned());
        if let Some((kept, _)) = self.fresh.lock().get(&place) {
            return Some(Arc::clone(kept));
        }
        let store = self.store.lock().clone()?;
        let query =
            sqlx::query_as::<_, (Vec<u8>,)>("SELECT sealed FROM gateway_responses WHERE principal = ? AND id = ?")
                .bind(principal)
                .bind(id)
                .fetch_optional(store.pool());
        let (sealed,) = within(query).await??;
        self.unseal(principal, id, sealed).map(Arc::new)
    }

    /// The conversation up to a response of this principal, as far as it is known. At most
    /// `bytes_max` of it are read, once and the same again for a request that holds them, out of
    /// the room that `bodies` have. Ends by itself within a few times five seconds. Cancel-safe.
    pub async fn history(&self, principal: &str, id: &str, bodies: &Arc<Bodies>, bytes_max: usize) -> History {
        let fresh = self.waiting(principal, id);
        let next = fresh.last().map_or(Some(id), |(oldest, _)| oldest.previous.as_deref());
        let rows = match next {
            Some(next) => within(self.rows(principal, next)).await,
            None => Some(Vec::new()),
        };
        let known = rows.as_ref().map_or(0, Vec::len) + fresh.len();
        if known == 0 {
            return History::Unknown;
        }
        let is_whole = next.is_none() || rows.as_ref().is_some_and(|rows| rows.last().is_some_and(Row::is_first));
        let rows = rows.unwrap_or_default();
        let bytes = fresh.iter().map(|(_, bytes)| *bytes).chain(rows.iter().map(|row| row.bytes));
        let bytes = bytes.fold(0, usize::saturating_add);
        let mut room = bodies.room();
        if !is_whole || bytes > bytes_max || !room.grow(bytes.saturating_mul(2)) {
            let Some(last) = self.last(principal, id, &fresh, &rows, bodies).await else {
                return History::NoRoom(None);
            };
            return match is_whole {
                false => History::Part(last),
                true if bytes > bytes_max => History::TooLarge(last),
                true => History::NoRoom(Some(last)),
            };
        }
        let older = match next {
            Some(next) => within(self.read(principal, next)).await.unwrap_or_default(),
            None => Vec::new(),
        };
        let Some(last) = fresh.first().map(|(kept, _)| Made::of(kept)).or_else(|| older.first().map(Made::of)) else {
            return History::Unknown;
        };
        // One that was removed in between leaves a gap.
        if older.len() < rows.len() {
            return History::Part(last);
        }
        let mut touched = self.touched.lock();
        if touched.len() < TOUCHED_MAX {
            touched.insert((principal.to_owned(), id.to_owned()));
        }
        drop(touched);
        let mut items = Vec::new();
        for link in older.into_iter().rev() {
            let output = output_items(&link.response);
            items.extend(link.input.into_iter().chain(output));
        }
        for (link, _) in fresh.iter().rev() {
            items.extend(link.input.iter().cloned().chain(output_items(&link.response)));
        }
        History::Whole(last, Chain { items, _room: room })
    }

    /// Who made the newest of a conversation that is not read whole; `None`: there is no room to see.
    async fn last(
        &self,
        principal: &str,
        id: &str,
        fresh: &[(Arc<Kept>, usize)],
        rows: &[Row],
        bodies: &Arc<Bodies>,
    ) -> Option<Made> {
        if let Some((last, _)) = fresh.first() {
            return Some(Made::of(last));
        }
        let mut room = bodies.room();
        if !room.grow(rows.first()?.bytes.saturating_mul(2)) {
            return None;
        }
        self.get(principal, id).await.map(|last| Made::of(&last))
    }

    /// What of a conversation is not on the disk yet, newest first. Never longer than what waits.
    fn waiting(&self, principal: &str, id: &str) -> Vec<(Arc<Kept>, usize)> {
        let fresh = self.fresh.lock();
        let mut links: Vec<(Arc<Kept>, usize)> = Vec::new();
        let mut next = Some(id.to_owned());
        while links.len() < fresh.len()
            && let Some(id) = next.take()
            && let Some((kept, bytes)) = fresh.get(&(principal.to_owned(), id))
        {
            next.clone_from(&kept.previous);
            links.push((Arc::clone(kept), *bytes));
        }
        links
    }

    /// The rows of a conversation, newest first, without what they hold.
    async fn rows(&self, principal: &str, id: &str) -> Result<Vec<Row>, sqlx::Error> {
        let Some(store) = self.store.lock().clone() else { return Ok(Vec::new()) };
        let sql = format!("{WALK} SELECT chain, bytes FROM walk ORDER BY depth");
        let rows: Vec<(Option<String>, i64)> =
            sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(principal).bind(id).fetch_all(store.pool()).await?;
        let row = |(chain, bytes)| Row { chain, bytes: usize::try_from(bytes).unwrap_or(usize::MAX) };
        Ok(rows.into_iter().map(row).collect())
    }

    /// What of a conversation is on the disk, newest first, as far as it opens.
    async fn read(&self, principal: &str, id: &str) -> Result<Vec<Kept>, sqlx::Error> {
        let Some(store) = self.store.lock().clone() else { return Ok(Vec::new()) };
        let sql = format!(
            "{WALK} SELECT r.id, r.sealed FROM walk JOIN gateway_responses r ON r.principal = ?1 AND r.id = walk.id
             ORDER BY walk.depth"
        );
        let mut found = sqlx::query_as::<_, (String, Vec<u8>)>(sqlx::AssertSqlSafe(sql))
            .bind(principal)
            .bind(id)
            .fetch(store.pool());
        let mut links = Vec::new();
        while let Some((id, sealed)) = found.try_next().await? {
            let Some(kept) = self.unseal(principal, &id, sealed) else { break };
            links.push(kept);
        }
        Ok(links)
    }

    /// Forgets one; whether it was there.
    pub async fn delete(&self, principal: &str, id: &str) -> bool {
        let writing = tokio::time::timeout(READ_MAX, self.writing.lock()).await;
        let was = self.fresh.lock().remove(&(principal.to_owned(), id.to_owned())).is_some();
        let Some(store) = self.store.lock().clone() else { return was };
        let query = sqlx::query("DELETE FROM gateway_responses WHERE principal = ? AND id = ?")
            .bind(principal)
            .bind(id)
            .execute(store.pool());
        let gone = tokio::time::timeout(READ_MAX, query).await;
        drop(writing);
        was || matches!(gone, Ok(Ok(done)) if done.rows_affected() > 0)
    }

    /// Writes what arrives and removes what is too old or too much, for ever.
    /// Cancel-safe in that only what is under way may be lost; [`Self::flush`] writes the rest.
    pub async fn run(&self, bounds: impl Fn() -> KeptBounds) {
        loop {
            let due = tokio::time::sleep(Duration::from_mins(10));
            tokio::select! {
                () = self.arrived.notified() => tokio::time::sleep(GATHER).await,
                () = due => {}
            }
            self.flush(bounds()).await;
        }
    }

    /// Writes what is not in the table yet.
    pub async fn flush(&self, bounds: KeptBounds) {
        let Some(store) = self.store.lock().clone() else { return };
        let _writing = self.writing.lock().await;
        let fresh: Vec<_> =
            self.fresh.lock().iter().map(|(place, (kept, _))| (place.clone(), Arc::clone(kept))).collect();
        if let Err(error) = self.write(&store, &fresh, bounds).await {
            tracing::warn!(%error, responses = fresh.len(), "failed to keep responses");
            return;
        }
        let mut waiting = self.fresh.lock();
        for (place, kept) in fresh {
            // Another of the same id may have come meanwhile.
            if waiting.get(&place).is_some_and(|(now, _)| Arc::ptr_eq(now, &kept)) {
                waiting.remove(&place);
            }
        }
    }

    async fn write(
        &self,
        store: &Store,
        fresh: &[((String, String), Arc<Kept>)],
        bounds: KeptBounds,
    ) -> Result<(), sqlx::Error> {
        let mut tx = store.pool().begin_with("BEGIN IMMEDIATE").await?;
        for ((principal, id), kept) in fresh {
            let plain = serde_json::to_vec(&**kept).expect("JSON and words always serialize");
            let sealed = self.seal(principal, id, plain);
            sqlx::query(
                "INSERT OR REPLACE INTO gateway_responses (id, principal, chain, at, bytes, sealed) VALUES (?, ?, ?, ?, ?, ?)",
            )
            .bind(id)
            .bind(principal)
            .bind(&kept.previous)
            .bind(now())
            .bind(i64::try_from(sealed.len()).unwrap_or(i64::MAX))
            .bind(sealed)
            .execute(&mut *tx)
            .await?;
        }
        let touched = std::mem::take(&mut *self.touched.lock());
        for (principal, id) in touched {
            // A conversation that goes on is as young as its last word.
            let sql = format!(
                "{WALK} UPDATE gateway_responses SET at = ?3 WHERE principal = ?1 AND id IN (SELECT id FROM walk)"
            );
            let touch = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(principal).bind(id).bind(now());
            touch.execute(&mut *tx).await?;
        }
        let keep = i64::try_from(bounds.keep.as_secs()).unwrap_or(i64::MAX);
        sqlx::query("DELETE FROM gateway_responses WHERE at < ?")
            .bind(now().saturating_sub(keep))
            .execute(&mut *tx)
            .await?;
        loop {
            let (bytes,): (Option<i64>,) =
                sqlx::query_as("SELECT SUM(bytes) FROM gateway_responses").fetch_one(&mut *tx).await?;
            if u64::try_from(bytes.unwrap_or(0)).unwrap_or(0) <= bounds.bytes_max {
                break;
            }
            sqlx::query(
                "DELETE FROM gateway_responses WHERE (principal, id) IN
                 (SELECT principal, id FROM gateway_responses ORDER BY at LIMIT MAX(1, MIN(?,
                  (SELECT COUNT(*) FROM gateway_responses) / 10)))",
            )
            .bind(PRUNE_MAX)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await
    }

    fn seal(&self, principal: &str, id: &str, mut plain: Vec<u8>) -> Vec<u8> {
        let mut nonce = [0_u8; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).expect("the system has random bytes");
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), place(principal, id), &mut plain)
            .expect("a row is far below the cipher's 256 GiB");
        let mut sealed = nonce.to_vec();
        sealed.append(&mut plain);
        sealed
    }

    /// `None` for what was sealed with another key, or for another place.
    fn unseal(&self, principal: &str, id: &str, mut sealed: Vec<u8>) -> Option<Kept> {
        let nonce = Nonce::try_assume_unique_for_key(sealed.get(..NONCE_LEN)?).ok()?;
        let plain = self.key.open_in_place(nonce, place(principal, id), &mut sealed[NONCE_LEN..]).ok()?;
        serde_json::from_slice(plain).ok()
    }
}

/// One response on the disk.
struct Row {
    /// What it goes on from.
    chain: Option<String>,
    bytes: usize,
}

impl Row {
    const fn is_first(&self) -> bool {
        self.chain.is_none()
    }
}

/// `None` where the database takes too long or fails: it does not know.
async fn within<T>(read: impl Future<Output = Result<T, sqlx::Error>>) -> Option<T> {
    tokio::time::timeout(READ_MAX, read).await.ok()?.ok()
}

/// The items of an answer as the bytes they came in.
fn output_items(response: &Json) -> Vec<Json> {
    #[derive(Deserialize)]
    struct Response {
        #[serde(default)]
        output: Vec<Json>,
    }
    serde_json::from_str::<Response>(response.text()).map(|response| response.output).unwrap_or_default()
}

/// A row that was moved to another principal or id does not open.
fn place(principal: &str, id: &str) -> Aad<Vec<u8>> {
    Aad::from([principal.as_bytes(), b"\0", id.as_bytes()].concat())
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const WIDE: KeptBounds = KeptBounds { bytes_max: 1 << 20, keep: Duration::from_hours(1) };

    fn kept(previous: Option<&str>, said: &str, answered: &str) -> Kept {
        let response = json!({"output": [{"type": "message", "role": "assistant", "content": answered}]});
        Kept {
            previous: previous.map(str::to_owned),
            input: vec![Json::from(&json!({"role": "user", "content": said}))],
            response: Json::from(&response),
            target: "t".to_owned(),
            maker: Maker::default(),
            native: false,
        }
    }

    async fn keep(path: &std::path::Path, secret: u8) -> Keep {
        let keep = Keep::new(&Secret::new([secret; 32]));
        keep.opened(Store::open(path, &[TABLE, INDEX]).await.expect("open"));
        keep
    }

    async fn history(keep: &Keep, principal: &str, id: &str) -> History {
        keep.history(principal, id, &Bodies::new(1 << 20), 1 << 20).await
    }

    async fn said(keep: &Keep, id: &str) -> Vec<String> {
        let History::Whole(_, chain) = history(keep, "me", id).await else { panic!("{id} is known") };
        chain.items.iter().map(|item| item.value()["content"].as_str().unwrap_or_default().to_owned()).collect()
    }

    #[tokio::test]
    async fn a_conversation_is_found_by_its_principal_alone_and_survives_a_restart_sealed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("g.sqlite");
        let first = keep(&path, 1).await;
        assert!(first.put("me", "r1", kept(None, "rope-one", "a1"), WIDE));
        assert!(first.put("me", "r2", kept(Some("r1"), "q2", "a2"), WIDE));
        assert_eq!(said(&first, "r2").await, ["rope-one", "a1", "q2", "a2"], "before it is on disk");
        first.flush(WIDE).await;
        assert!(first.put("me", "r3", kept(Some("r2"), "q3", "a3"), WIDE));
        assert_eq!(said(&first, "r3").await, ["rope-one", "a1", "q2", "a2", "q3", "a3"], "a part of it is");
        let again = keep(&path, 1).await;
        assert_eq!(said(&again, "r2").await, ["rope-one", "a1", "q2", "a2"], "after a restart");
        assert!(matches!(history(&again, "you", "r2").await, History::Unknown));
        assert!(keep(&path, 2).await.get("me", "r1").await.is_none(), "another key opens nothing");
        assert!(again.delete("me", "r1").await);
        assert!(matches!(history(&again, "me", "r2").await, History::Part(_)), "a part of it is gone");
        for entry in std::fs::read_dir(folder.path()).expect("a folder").flatten() {
            let bytes = std::fs::read(entry.path()).expect("a file");
            assert!(memchr::memmem::find(&bytes, b"rope-one").is_none(), "{entry:?}");
        }
    }

    #[tokio::test]
    async fn what_is_read_takes_room_and_no_more_than_a_body_may() {
        let folder = tempfile::tempdir().expect("a folder");
        let keep = keep(&folder.path().join("g.sqlite"), 1).await;
        for flushed in [false, true] {
            assert!(keep.put("me", "r1", kept(None, &"x".repeat(1000), "a1"), WIDE));
            assert!(keep.put("me", "r2", kept(Some("r1"), &"y".repeat(1000), "a2"), WIDE));
            if flushed {
                keep.flush(WIDE).await;
            }
            let bodies = Bodies::new(6000);
            assert!(matches!(keep.history("me", "r2", &bodies, 1500).await, History::TooLarge(_)));
            assert!(matches!(keep.history("me", "r2", &Bodies::new(3000), 4000).await, History::NoRoom(Some(_))));
            let none = keep.history("me", "r2", &Bodies::new(100), 4000).await;
            assert!(matches!(none, History::NoRoom(made) if made.is_none() == flushed), "nor is one row read");
            let whole = keep.history("me", "r2", &bodies, 4000).await;
            assert!(matches!(whole, History::Whole(..)) && bodies.held() > 4000, "{}", bodies.held());
            drop(whole);
            assert_eq!(bodies.held(), 0);
        }
    }

    #[tokio::test]
    async fn a_conversation_that_goes_on_stays_young_and_one_in_a_circle_has_no_beginning() {
        let folder = tempfile::tempdir().expect("a folder");
        let keep = keep(&folder.path().join("g.sqlite"), 1).await;
        assert!(keep.put("me", "r1", kept(None, "q1", "a1"), WIDE));
        assert!(keep.put("me", "r2", kept(Some("r1"), "q2", "a2"), WIDE));
        assert!(keep.put("me", "o", kept(Some("o"), "q", "a"), WIDE));
        for _ in 0..2 {
            assert!(matches!(history(&keep, "me", "o").await, History::Part(_)));
            keep.flush(WIDE).await;
        }
        let store = keep.store.lock().clone().expect("open");
        sqlx::query("UPDATE gateway_responses SET at = at - 100").execute(store.pool()).await.expect("older");
        assert_eq!(said(&keep, "r2").await.len(), 4);
        keep.flush(KeptBounds { keep: Duration::from_secs(50), ..WIDE }).await;
        assert!(keep.get("me", "r1").await.is_some() && keep.get("me", "r2").await.is_some());
        assert!(keep.get("me", "o").await.is_none(), "it did not go on");
    }

    #[tokio::test]
    async fn what_is_too_much_or_too_old_goes_oldest_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let keep = keep(&folder.path().join("g.sqlite"), 1).await;
        let narrow = KeptBounds { bytes_max: 4000, ..WIDE };
        for n in 0..40 {
            assert!(keep.put("me", &format!("r{n}"), kept(None, &"x".repeat(100), "a"), narrow));
            keep.flush(narrow).await;
        }
        assert!(keep.get("me", "r39").await.is_some());
        let mut left = 0;
        for n in 0..40 {
            left += usize::from(keep.get("me", &format!("r{n}")).await.is_some());
        }
        assert!((1..20).contains(&left), "{left}");
        assert!(!keep.put("me", "huge", kept(None, &"x".repeat(2000), "a"), narrow));
        keep.flush(KeptBounds { keep: Duration::ZERO, ..WIDE }).await;
        // Written within this second, hence not older than now.
        assert!(keep.delete("me", "r39").await);
        assert!(!keep.delete("me", "r39").await);
    }
}
