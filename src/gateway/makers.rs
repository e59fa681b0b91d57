//! Who made which reasoning.
//!
//! Owns the memory of seals: provider and key by the hash of what they sealed.
//! Refuses reasoning itself, and seals: hashes alone are kept. Invariants: at most `SEALS_MAX` are
//! known, the least recently used are forgotten first; what is forgotten is
//! sent on as it came, and its target judges it.

use crate::gateway::provider::pool::Picked;
use crate::gateway::settings::{Auth, Provider};
use crate::store::Store;
use crate::wire::seals::SealHash;
use lru::LruCache;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::num::NonZeroUsize;
use std::time::Duration;
use tokio::sync::Notify;

/// A table of the gateway's database.
pub const TABLE: &str = "
    CREATE TABLE gateway_seals (
        hash BLOB PRIMARY KEY NOT NULL,
        maker INTEGER NOT NULL,
        at INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX gateway_seals_at ON gateway_seals (at);
";

/// Seals that are remembered, about 100 bytes each. An agent's turn makes one to ten.
const SEALS_MAX: NonZeroUsize = NonZeroUsize::new(65_536).expect("it is not zero");
/// What comes within this shares a transaction.
const GATHER: Duration = Duration::from_millis(100);

/// Provider and key, hashed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maker(i64);

impl Maker {
    /// Who makes what an attempt brings. A caller's own credential stands for its provider
    /// alone: a login is renewed in the middle of a conversation, and is the same account.
    #[must_use]
    pub fn of(provider: &Provider, picked: Picked) -> Self {
        let key = match (picked, &provider.auth) {
            (Picked::Key(place), Auth::Keys(keys)) => keys.get(place).map_or("", |key| key.reference()),
            _ => "",
        };
        let digest = Sha256::new().chain_update(provider.name.as_str()).chain_update([0]).chain_update(key).finalize();
        Self(i64::from_be_bytes(digest[..8].try_into().expect("a digest has 32 bytes")))
    }
}

/// The memory. Lives as long as the gateway; its table outlives that.
#[derive(Debug)]
pub struct Makers {
    known: Mutex<LruCache<SealHash, Maker>>,
    /// Not yet in the table; at most `SEALS_MAX`.
    fresh: Mutex<Vec<(SealHash, Maker)>>,
    arrived: Notify,
}

impl Default for Makers {
    fn default() -> Self {
        // Grows as it is used: most gateways never see a seal.
        Self { known: Mutex::new(LruCache::unbounded()), fresh: Mutex::default(), arrived: Notify::new() }
    }
}

impl Makers {
    /// Takes note of what a maker sealed.
    pub fn remember(&self, seals: &[SealHash], maker: Maker) {
        if seals.is_empty() {
            return;
        }
        let mut known = self.known.lock();
        for seal in seals {
            known.put(*seal, maker);
            if known.len() > SEALS_MAX.get() {
                known.pop_lru();
            }
        }
        drop(known);
        let mut fresh = self.fresh.lock();
        let room = SEALS_MAX.get() - fresh.len().min(SEALS_MAX.get());
        fresh.extend(seals.iter().take(room).map(|seal| (*seal, maker)));
        drop(fresh);
        self.arrived.notify_one();
    }

    /// Who made it, where that is known.
    #[must_use]
    pub fn of(&self, seal: &SealHash) -> Option<Maker> {
        self.known.lock().get(seal).copied()
    }

    /// Whether somebody else is known to have made it.
    #[must_use]
    pub fn is_anothers(&self, seal: &SealHash, maker: Maker) -> bool {
        self.of(seal).is_some_and(|made| made != maker)
    }

    /// Reads what an earlier process knew.
    ///
    /// # Errors
    /// The database's.
    pub async fn load(&self, store: &Store) -> Result<(), sqlx::Error> {
        let rows: Vec<(Vec<u8>, i64)> =
            sqlx::query_as("SELECT hash, maker FROM gateway_seals ORDER BY at DESC LIMIT ?")
                .bind(i64::try_from(SEALS_MAX.get()).unwrap_or(i64::MAX))
                .fetch_all(store.pool())
                .await?;
        let mut known = self.known.lock();
        for (hash, maker) in rows.into_iter().rev() {
            if let Ok(hash) = SealHash::try_from(hash.as_slice()) {
                known.put(hash, Maker(maker));
            }
        }
        Ok(())
    }

    /// Writes what arrives, for ever. Cancel-safe in that only what is under way
    /// may be lost; [`Self::flush`] writes the rest.
    pub async fn keep(&self, store: &Store) {
        loop {
            self.arrived.notified().await;
            tokio::time::sleep(GATHER).await;
            self.flush(store).await;
        }
    }

    /// Writes what is not in the table yet. A database that refuses costs the
    /// memory its life beyond this process, nothing else.
    pub async fn flush(&self, store: &Store) {
        let fresh = std::mem::take(&mut *self.fresh.lock());
        if fresh.is_empty() {
            return;
        }
        if let Err(error) = write(store, &fresh).await {
            tracing::warn!(%error, seals = fresh.len(), "failed to keep who made which reasoning");
        }
    }
}

async fn write(store: &Store, fresh: &[(SealHash, Maker)]) -> Result<(), sqlx::Error> {
    let now = jiff::Timestamp::now().as_microsecond();
    let mut tx = store.pool().begin_with("BEGIN IMMEDIATE").await?;
    for (place, (seal, maker)) in fresh.iter().enumerate() {
        sqlx::query("INSERT OR REPLACE INTO gateway_seals (hash, maker, at) VALUES (?, ?, ?)")
            .bind(seal.as_slice())
            .bind(maker.0)
            .bind(now.saturating_add(i64::try_from(place).unwrap_or(0)))
            .execute(&mut *tx)
            .await?;
    }
    sqlx::query(
        "DELETE FROM gateway_seals WHERE at < (SELECT at FROM gateway_seals ORDER BY at DESC LIMIT 1 OFFSET ?)",
    )
    .bind(i64::try_from(SEALS_MAX.get()).unwrap_or(i64::MAX))
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_remembered_is_known_after_a_restart_and_the_unknown_is_nobodys() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("g.sqlite"), &[TABLE]).await.expect("open");
        let (one, two) = (Maker(1), Maker(2));
        let makers = Makers::default();
        makers.remember(&[[1; 16], [2; 16]], one);
        makers.flush(&store).await;
        let again = Makers::default();
        again.load(&store).await.expect("read");
        assert!(again.is_anothers(&[1; 16], two));
        assert!(!again.is_anothers(&[1; 16], one));
        assert!(!again.is_anothers(&[9; 16], two));
    }
}
