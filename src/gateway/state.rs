//! What all exchanges of one gateway share.

use crate::domain::secret::Secret;
use crate::gateway::access::KeyHash;
use crate::gateway::bodies::Bodies;
use crate::gateway::events::Metrics;
use crate::gateway::feedback::Shelf;
use crate::gateway::intake::OnDemand;
use crate::gateway::kept::Keep;
use crate::gateway::lifecycle::Lifecycle;
use crate::gateway::makers::Makers;
use crate::gateway::provider::catalog::Catalog;
use crate::gateway::provider::pool::Memory;
use crate::gateway::provider::transport::Transport;
use crate::gateway::settings::Settings;
use crate::gateway::settle::Settling;
use crate::store::Store;
use std::sync::Arc;
use tokio::sync::{Notify, watch};

/// What [`Store::open`] is handed; a change is a new entry at the end.
pub const MIGRATIONS: &[&str] = &[
    crate::gateway::record::TABLE,
    crate::gateway::makers::TABLE,
    crate::gateway::kept::TABLE,
    crate::gateway::feedback::TABLE,
    crate::gateway::kept::INDEX,
];

/// One gateway: its settings and everything that outlives an exchange.
#[derive(Debug)]
pub struct Gateway {
    /// The snapshot in force; an exchange keeps the one it began with.
    settings: watch::Sender<Arc<Settings>>,
    pub transport: Arc<Transport>,
    pub memory: Memory,
    pub catalog: Catalog,
    pub makers: Makers,
    pub kept: Keep,
    pub feedback: Shelf,
    pub on_demand: OnDemand,
    pub metrics: Arc<Metrics>,
    pub lifecycle: Lifecycle,
    /// Room for the bodies of requests.
    pub bodies: Arc<Bodies>,
    pub settling: Settling,
    /// Unix second at which this process began.
    pub started: u64,
    /// Keys the hash that makes a principal of a caller's own credential.
    pub principal_key: Secret<[u8; 32]>,
    /// The key demanded off loopback where the configuration names none.
    pub minted: Option<KeyHash>,
    /// A key's login failed; it should be asked for anew.
    pub keys_due: Notify,
}

impl Gateway {
    /// A gateway that has not begun to listen.
    #[must_use]
    pub fn new(
        settings: Arc<Settings>,
        settling: Settling,
        lifecycle: Lifecycle,
        principal_key: Secret<[u8; 32]>,
        minted: Option<KeyHash>,
    ) -> Self {
        Self {
            metrics: Arc::clone(&settling.metrics),
            settling,
            bodies: Bodies::new(settings.bounds.bodies_bytes_max),
            transport: Arc::new(Transport::new(settings.bounds.pool_idle, settings.bounds.pool_age_max)),
            settings: watch::Sender::new(settings),
            memory: Memory::default(),
            catalog: Catalog::default(),
            makers: Makers::default(),
            kept: Keep::new(&principal_key),
            feedback: Shelf::default(),
            on_demand: OnDemand::default(),
            lifecycle,
            started: u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0),
            principal_key,
            minted,
            keys_due: Notify::new(),
        }
    }

    /// The database is open: reads what is needed at once.
    ///
    /// # Errors
    /// The database's.
    pub async fn opened(&self, store: &Store) -> Result<(), sqlx::Error> {
        self.kept.opened(store.clone());
        self.feedback.opened(store.clone());
        self.makers.load(store).await
    }

    /// The settings in force now.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.borrow())
    }

    /// Puts a whole, checked snapshot in force; exchanges under way keep theirs.
    pub fn swap(&self, settings: Arc<Settings>) {
        self.settings.send_replace(settings);
    }

    /// Told of each swap.
    #[must_use]
    pub fn watch_settings(&self) -> watch::Receiver<Arc<Settings>> {
        self.settings.subscribe()
    }
}
