//! Opening a database file.

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use std::path::Path;
use std::time::Duration;

/// Of a new database; one that is there keeps its own. In a table without row ids a
/// row of more than a quarter of a page takes a page of its own besides: with
/// SQLite's 4096 each record did.
const PAGE_SIZE: u32 = 16 << 10;

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("create the folder of {path}: {source}")]
    Folder { path: String, source: std::io::Error },
    #[error("open {path}: {source}")]
    Open { path: String, source: sqlx::Error },
    #[error("bring {path} up to date: {source}")]
    Migrate { path: String, source: sqlx::Error },
}

/// An open database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    pool: SqlitePool,
}

impl Store {
    /// Opens `path`, creating it, and runs each migration once, in order.
    /// Durability is WAL with `synchronous = NORMAL`: a crash of the machine
    /// may lose the last transactions, never the database
    /// (sqlite.org/wal.html).
    ///
    /// # Errors
    /// Folder, file or migration, each with its path.
    pub async fn open(path: &Path, migrations: &[&'static str]) -> Result<Self, OpenError> {
        let shown = path.display().to_string();
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|source| OpenError::Folder { path: shown.clone(), source })?;
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .page_size(PAGE_SIZE)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(Duration::from_secs(5));
        let pool = SqlitePoolOptions::new()
            .max_connections(4)
            .acquire_timeout(Duration::from_secs(10))
            .connect_with(options)
            .await
            .map_err(|source| OpenError::Open { path: shown.clone(), source })?;
        let store = Self { pool };
        store.migrate(migrations).await.map_err(|source| OpenError::Migrate { path: shown, source })?;
        Ok(store)
    }

    async fn migrate(&self, migrations: &[&'static str]) -> Result<(), sqlx::Error> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let (version,): (i64,) = sqlx::query_as("PRAGMA user_version").fetch_one(&mut *tx).await?;
        let done = usize::try_from(version).unwrap_or(0);
        for migration in migrations.iter().skip(done) {
            sqlx::raw_sql(*migration).execute(&mut *tx).await?;
        }
        if done < migrations.len() {
            sqlx::raw_sql(sqlx::AssertSqlSafe(format!("PRAGMA user_version = {}", migrations.len())))
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await
    }

    /// The pool of connections.
    #[must_use]
    pub const fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// Waits for running statements and closes.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}
