//! Settings in, running service out.
//!
//! Owns the order in which a gateway comes up: sockets first (an address in
//! use is said at once), then the store, then the doors.

use crate::boot::admin::Admin;
use crate::boot::config::{Loaded, secrets};
use crate::domain::secret::Secret;
use crate::gateway::door::Door;
use crate::gateway::events::{KeysCooling, Metrics};
use crate::gateway::lifecycle::{Lifecycle, Stage};
use crate::gateway::provider::catalog::{FIRST_LIST_EVERY, REFRESH_EVERY};
use crate::gateway::record::{self, MIGRATIONS, RecordSink};
use crate::gateway::settings::{Key, Resolved};
use crate::gateway::state::Gateway;
use crate::serve::{Bound, DoorLimits, bind, open};
use crate::store::Store;
use crate::telemetry::{Counters, Gauges, Scope};
use anyhow::{Context as _, Result};
use prometheus::Registry;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Waited for, after the grace, until what was ended is written out.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Waited for until records are on disk.
const FLUSH_MAX: Duration = Duration::from_secs(5);

/// A gateway that listens.
#[derive(Debug)]
pub struct Running {
    pub gateway: Arc<Gateway>,
    pub addrs: Vec<SocketAddr>,
    pub admin_addr: SocketAddr,
    pub store: Store,
    pub registry: Registry,
    closing: watch::Sender<bool>,
    admin_closing: watch::Sender<bool>,
    sink: RecordSink,
    tasks: Vec<JoinHandle<()>>,
}

/// Brings the gateway role up with its admin port.
///
/// # Errors
/// An address in use, or a state folder that cannot be written.
pub async fn start(loaded: &Loaded) -> Result<Running> {
    let settings = Arc::clone(&loaded.gateway);
    let bound = settings
        .listen
        .iter()
        .map(|addr| bind(*addr).with_context(|| format!("failed to listen on {addr} (gateway.listen)")))
        .collect::<Result<Vec<Bound>>>()?;
    let admin_bound = bind(loaded.admin_listen)
        .with_context(|| format!("failed to listen on {} (admin.listen)", loaded.admin_listen))?;
    let (addrs, admin_addr) = (bound.iter().map(|one| one.addr).collect(), admin_bound.addr);
    let store = Store::open(&loaded.state_dir.join("gateway.sqlite"), MIGRATIONS).await?;
    let principal_key = principal_key(&loaded.state_dir)?;
    let registry = Registry::new();
    process_metrics(&registry);
    let metrics = Arc::new(Metrics::new(&Scope::new(registry.clone(), "tautline_gateway")));
    let (sink, writer) =
        record::open(store.clone(), settings.bounds.records_max, loaded.log.exchanges, Arc::clone(&metrics));
    let lifecycle = Lifecycle::default();
    let gateway = Arc::new(Gateway::new(Arc::clone(&settings), metrics, sink.clone(), lifecycle, principal_key));
    let bounds = &settings.bounds;
    let limits = DoorLimits {
        head_timeout: bounds.head_timeout,
        connection_idle: bounds.connection_idle,
        body_timeout: bounds.body_timeout,
        write_timeout: bounds.write_timeout,
        head_bytes_max: bounds.head_bytes_max,
        body_rate_min: bounds.body_rate_min,
        connections_max: bounds.connections_max,
    };
    let (closing, admin_closing) = (watch::Sender::new(false), watch::Sender::new(false));
    let admin = Admin { gateway: Arc::clone(&gateway), store: store.clone(), registry: registry.clone() };
    // Each ends when its watch turns, or with the process; `stop` waits for them.
    let tasks = vec![
        tokio::spawn(writer.run()),
        tokio::spawn(open("gateway", bound, Door(Arc::clone(&gateway)), limits, closing.subscribe())),
        tokio::spawn(open("admin", vec![admin_bound], admin, limits, admin_closing.subscribe())),
        tokio::spawn(keep_lists(Arc::clone(&gateway))),
        tokio::spawn(keep_keys(Arc::clone(&gateway))),
    ];
    Ok(Running { gateway, addrs, admin_addr, store, registry, closing, admin_closing, sink, tasks })
}

impl Running {
    /// The base URL that clients are pointed at.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.addrs[0])
    }

    /// Drains: takes nothing new, waits up to `grace` (or until `hurry` ends)
    /// for what runs, ends the rest as `shutdown`, writes out the records.
    pub async fn stop(self, grace: Duration, hurry: impl Future<Output = ()>) {
        let lifecycle = &self.gateway.lifecycle;
        lifecycle.advance(Stage::Draining);
        self.closing.send_replace(true);
        tokio::select! {
            () = lifecycle.empty() => {}
            () = tokio::time::sleep(grace) => {}
            () = hurry => {}
        }
        lifecycle.advance(Stage::Ending);
        let _ = tokio::time::timeout(LAST_WORDS, lifecycle.empty()).await;
        let _ = tokio::time::timeout(FLUSH_MAX, self.sink.flush()).await;
        self.admin_closing.send_replace(true);
        for task in self.tasks {
            task.abort();
            let _ = task.await;
        }
        let _ = tokio::time::timeout(FLUSH_MAX, self.store.close()).await;
    }
}

/// Asks providers for their lists now and then. Ends with the process's drain.
async fn keep_lists(gateway: Arc<Gateway>) {
    loop {
        let mut again = REFRESH_EVERY;
        for (provider, why) in gateway.catalog.refresh(&gateway.settings, &gateway.transport).await {
            tracing::info!(target: "tautline::catalog", provider, why, "no list of models; the last good one stays");
            if !gateway.catalog.has_list(&provider) {
                // Without any list its names are unknown here: a server that starts
                // after us must not stay so for ten minutes.
                again = FIRST_LIST_EVERY;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(again) => {}
            () = gateway.lifecycle.reached(Stage::Draining) => return,
        }
    }
}

/// Asks commands for their keys anew when these are due. Ends with the drain.
async fn keep_keys(gateway: Arc<Gateway>) {
    let keys: Vec<&Key> = gateway.settings.providers.values().flat_map(|provider| provider.auth.keys()).collect();
    loop {
        let Some(key) = keys.iter().filter(|key| key.due().is_some()).min_by_key(|key| key.due()) else { return };
        let due = key.due().unwrap_or_else(Instant::now);
        tokio::select! {
            () = tokio::time::sleep_until(due.into()) => {}
            // A failed login may have made another one due earlier.
            () = gateway.keys_due.notified() => continue,
            () = gateway.lifecycle.reached(Stage::Draining) => return,
        }
        let reference = key.reference().to_owned();
        let resolved = resolve_again(reference).await;
        if let Err(why) = &resolved {
            tracing::warn!(target: "tautline::keys", reference = key.shown(), why, "a key could not be renewed; the old one stays");
        }
        key.renew(resolved.ok(), Instant::now());
    }
}

#[expect(clippy::disallowed_methods, reason = "one at a time, bounded by the command's own limit")]
async fn resolve_again(reference: String) -> Result<Resolved, String> {
    tokio::task::spawn_blocking(move || secrets::resolve(&reference))
        .await
        .unwrap_or_else(|error| Err(error.to_string()))
}

/// What is only known when it is asked for.
pub fn refresh_gauges(gateway: &Gateway) {
    for provider in gateway.settings.providers.values() {
        let resting = gateway.memory.cooling(provider, Instant::now());
        let mut keys: Vec<usize> = resting.iter().map(|(key, ..)| *key).collect();
        keys.dedup();
        KeysCooling { provider: &provider.name, count: keys.len() }.emit(&gateway.metrics);
    }
}

fn process_metrics(registry: &Registry) {
    use crate::domain::ids::TargetName;
    let scope = Scope::new(registry.clone(), "tautline");
    let info = Counters::new(&scope, "build_info", "The build; always 1.", ["version"]);
    info.one([&TargetName::new(env!("CARGO_PKG_VERSION"))]);
    let good = Gauges::new(&scope, "config_last_reload_successful", "1 if the last configuration read was good.", []);
    good.set([], 1);
    let at = Gauges::new(
        &scope,
        "config_last_reload_success_timestamp_seconds",
        "When a configuration was last read well, Unix seconds.",
        [],
    );
    at.set([], jiff::Timestamp::now().as_second());
}

/// The key of the hash that names callers; made once, kept readable by the
/// owner only.
fn principal_key(state_dir: &Path) -> Result<Secret<[u8; 32]>> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = state_dir.join("principal.key");
    if let Ok(bytes) = std::fs::read(&path)
        && let Ok(key) = <[u8; 32]>::try_from(bytes)
    {
        return Ok(Secret::new(key));
    }
    let mut key = [0; 32];
    // Two ULIDs carry 160 random bits of the system's generator.
    for chunk in key.chunks_mut(8) {
        chunk.copy_from_slice(&ulid::Ulid::generate().0.to_be_bytes()[8..]);
    }
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("failed to write {}", path.display()))?;
    file.write_all(&key)?;
    Ok(Secret::new(key))
}
