//! What all exchanges of one gateway share.

use crate::domain::secret::Secret;
use crate::gateway::bodies::Bodies;
use crate::gateway::events::Metrics;
use crate::gateway::intake::OnDemand;
use crate::gateway::lifecycle::Lifecycle;
use crate::gateway::provider::catalog::Catalog;
use crate::gateway::provider::pool::Memory;
use crate::gateway::provider::transport::Transport;
use crate::gateway::record::RecordSink;
use crate::gateway::settings::{Auth, Settings};
use crate::gateway::settle::Settling;
use std::sync::Arc;
use tokio::sync::Notify;

/// One gateway: its settings and everything that outlives an exchange.
#[derive(Debug)]
pub struct Gateway {
    pub settings: Arc<Settings>,
    pub transport: Arc<Transport>,
    pub memory: Memory,
    pub catalog: Catalog,
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
    /// A key's login failed; it should be asked for anew.
    pub keys_due: Notify,
    /// Some provider gets the caller's own credential.
    pub forwards_credentials: bool,
}

impl Gateway {
    /// A gateway that has not begun to listen.
    #[must_use]
    pub fn new(
        settings: Arc<Settings>,
        metrics: Arc<Metrics>,
        sink: RecordSink,
        lifecycle: Lifecycle,
        principal_key: Secret<[u8; 32]>,
    ) -> Self {
        let forwards_credentials = settings.providers.values().any(|provider| matches!(provider.auth, Auth::Client));
        Self {
            settling: Settling { metrics: Arc::clone(&metrics), sink, write_timeout: settings.bounds.write_timeout },
            bodies: Bodies::new(settings.bounds.bodies_bytes_max),
            transport: Arc::new(Transport::new(settings.bounds.pool_idle)),
            settings,
            memory: Memory::default(),
            catalog: Catalog::default(),
            on_demand: OnDemand::default(),
            metrics,
            lifecycle,
            started: u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0),
            principal_key,
            keys_due: Notify::new(),
            forwards_credentials,
        }
    }
}
