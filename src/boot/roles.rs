//! Settings in, running service out.
//!
//! Owns the order in which a gateway comes up: sockets first (an address in
//! use is said at once), then the store, then the doors.

use crate::boot::access::mint;
use crate::boot::admin::Admin;
use crate::boot::config::{Loaded, secrets};
use crate::boot::reload::{ConfigGauges, Reloader};
use crate::domain::secret::Secret;
use crate::gateway::door::Door;
use crate::gateway::events::{KeysCooling, LimitsInForce, Metrics};
use crate::gateway::lifecycle::{Lifecycle, Stage};
use crate::gateway::provider::catalog::{FIRST_LIST_EVERY, REFRESH_EVERY};
use crate::gateway::record::{self, RecordSink, RecordThread};
use crate::gateway::settings::{Bounds, Resolved, limits_in_force};
use crate::gateway::settle::Settling;
use crate::gateway::state::{Gateway, MIGRATIONS};
use crate::serve::{Bound, DoorLimits, Places, Protocol, bind, bind_unix, open};
use crate::store::Store;
use crate::telemetry::otlp::Exporter;
use crate::telemetry::{Counters, Scope};
use anyhow::{Context as _, Result};
use futures_util::future::join_all;
use prometheus::Registry;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Waited for, after the grace, until what was ended is written out.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Waited for until records are on disk.
const FLUSH_MAX: Duration = Duration::from_secs(5);

/// Waited for until the collector has what is left.
const EXPORT_MAX: Duration = Duration::from_secs(2);

/// Open at a time at the admin port, which has room of its own: whoever looks into a full gateway gets in.
const ADMIN_CONNECTIONS_MAX: usize = 256;

/// A gateway that listens.
#[derive(Debug)]
pub struct Running {
    pub gateway: Arc<Gateway>,
    /// The gateway's addresses speak TLS.
    pub tls: bool,
    pub addrs: Vec<SocketAddr>,
    /// Those of `gateway.listen_h2c`.
    pub addrs_h2c: Vec<SocketAddr>,
    pub admin_addr: SocketAddr,
    pub store: Store,
    pub registry: Registry,
    pub reloader: Arc<Reloader>,
    /// A key made just now; it is shown once and stored nowhere.
    pub key_shown_once: Option<String>,
    closing: watch::Sender<bool>,
    admin_closing: watch::Sender<bool>,
    sink: RecordSink,
    exporter: Option<Exporter>,
    doors: [JoinHandle<()>; 3],
    tasks: Vec<JoinHandle<()>>,
    records: RecordThread,
}

/// Brings the gateway role up with its admin port.
///
/// # Errors
/// An address in use, or a state folder that cannot be written.
pub async fn start(loaded: &Loaded) -> Result<Running> {
    let settings = Arc::clone(&loaded.gateway);
    let sockets = Sockets::bind(loaded)?;
    let addrs_of = |bound: &[Bound]| bound.iter().filter_map(Bound::addr).collect();
    let (addrs, addrs_h2c) = (addrs_of(&sockets.main), addrs_of(&sockets.h2c));
    let admin_addr = sockets.admin.addr().expect("it is bound to an address");
    let store = Store::open(&loaded.state_dir.join("gateway.sqlite"), MIGRATIONS).await?;
    let principal_key = principal_key(&loaded.state_dir)?;
    let minted = mint(loaded)?;
    let registry = Registry::new();
    let gauges = process_metrics(&registry);
    let metrics = Metrics::new(&Scope::new(registry.clone(), "tautline_gateway"));
    let gen_ai = Registry::new();
    let exports = loaded.otlp.as_ref().is_some_and(|otlp| otlp.metrics);
    let metrics = Arc::new(if exports { metrics.with_gen_ai(gen_ai.clone()) } else { metrics });
    LimitsInForce(&limits_in_force(&settings)).emit(&metrics);
    let (sink, writer) =
        record::open(store.clone(), settings.bounds.records_max, loaded.log.exchanges, Arc::clone(&metrics));
    let itself = Arc::new(OnceLock::new());
    let exporter = exporter(loaded, [registry.clone(), gen_ai], &metrics, &itself)?;
    let settling = Settling {
        metrics,
        sink: sink.clone(),
        exporter: exporter.clone(),
        write_timeout: settings.bounds.write_timeout,
    };
    let settings_now = Arc::clone(&settings);
    let gateway = Arc::new(Gateway::new(settings_now, settling, Lifecycle::default(), principal_key, minted.hash));
    gateway.opened(&store).await.context("failed to read who made which reasoning")?;
    let _ = itself.set(Arc::downgrade(&gateway));
    let limits = door_limits(&settings.bounds);
    let protocol = loaded.certificate.clone().map_or(Protocol::Plain, Protocol::Tls);
    let (closing, admin_closing) = (watch::Sender::new(false), watch::Sender::new(false));
    let reloader = Arc::new(Reloader::new(Arc::clone(&gateway), gauges, loaded.clone()));
    let admin = Admin {
        gateway: Arc::clone(&gateway),
        store: store.clone(),
        registry: registry.clone(),
        reloader: Arc::clone(&reloader),
    };
    // Each ends when its watch turns, or with the process; `stop` waits for them.
    let places = Places::new(settings.bounds.connections_max);
    let door = |bound, protocol| {
        tokio::spawn(open(bound, Door(Arc::clone(&gateway)), limits, places.clone(), protocol, closing.subscribe()))
    };
    let doors = [door(sockets.main, protocol), door(sockets.h2c, Protocol::H2c), door(sockets.unix, Protocol::Plain)];
    let records = writer.start().context("failed to start the thread that writes records")?;
    let mut tasks = vec![tokio::spawn(open_admin(sockets.admin, admin, limits, admin_closing.subscribe()))];
    tasks.extend(keepers(&gateway, &store));
    Ok(Running {
        gateway,
        tls: loaded.certificate.is_some(),
        addrs,
        addrs_h2c,
        admin_addr,
        store,
        registry,
        reloader,
        key_shown_once: minted.shown_once,
        closing,
        admin_closing,
        sink,
        exporter,
        doors,
        tasks,
        records,
    })
}

impl Running {
    /// The base URL that clients are pointed at.
    #[must_use]
    pub fn base_url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        // On Unix sockets alone any name will do: what counts is the socket.
        let host = self.addrs.first().map_or_else(|| "localhost".to_owned(), SocketAddr::to_string);
        format!("{scheme}://{host}/v1")
    }

    /// Drains: takes nothing new, waits up to `grace` (or until `hurry` ends)
    /// for what runs, ends the rest as `shutdown`, writes out the records.
    pub async fn stop(mut self, grace: Duration, hurry: impl Future<Output = ()>) {
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
        // Side by side: a database and a collector that both hang cost their time once.
        let export = async {
            if let Some(exporter) = &self.exporter {
                exporter.close(EXPORT_MAX).await;
            }
        };
        // An answer over HTTP/2 has ended when its last frame was handed to its connection, not when that was
        // written: whoever leaves before cuts it.
        let written = tokio::time::timeout(LAST_WORDS, join_all(self.doors.iter_mut()));
        let rows = async {
            self.gateway.makers.flush(&self.store).await;
            self.gateway.kept.flush(self.gateway.settings().bounds.kept).await;
            self.sink.flush().await;
        };
        let _ = tokio::join!(tokio::time::timeout(FLUSH_MAX, rows), export, written);
        self.admin_closing.send_replace(true);
        for task in self.tasks.into_iter().chain(self.doors) {
            // One that ended may have been waited for already, which is done once.
            if !task.is_finished() {
                task.abort();
                let _ = task.await;
            }
        }
        drop(self.records);
        let _ = tokio::time::timeout(FLUSH_MAX, self.store.close()).await;
    }
}

/// What is listened on.
struct Sockets {
    main: Vec<Bound>,
    h2c: Vec<Bound>,
    unix: Vec<Bound>,
    admin: Bound,
}

impl Sockets {
    /// All or none.
    fn bind(loaded: &Loaded) -> Result<Self> {
        let at = |shown: &dyn std::fmt::Display, key| format!("failed to listen on {shown} ({key})");
        let bind_all = |addrs: &[SocketAddr], key| -> Result<Vec<Bound>> {
            addrs.iter().map(|addr| bind(*addr).with_context(|| at(addr, key))).collect()
        };
        let settings = &loaded.gateway;
        let unix = settings.listen_unix.iter();
        let unix = unix.map(|path| bind_unix(path).with_context(|| at(&path.display(), "gateway.listen_unix")));
        Ok(Self {
            main: bind_all(&settings.listen, "gateway.listen")?,
            h2c: bind_all(&settings.listen_h2c, "gateway.listen_h2c")?,
            unix: unix.collect::<Result<_>>()?,
            admin: bind(loaded.admin_listen).with_context(|| at(&loaded.admin_listen, "admin.listen"))?,
        })
    }
}

const fn door_limits(bounds: &Bounds) -> DoorLimits {
    DoorLimits {
        head_timeout: bounds.head_timeout,
        connection_idle: bounds.connection_idle,
        connection_age_max: bounds.connection_age_max,
        body_timeout: bounds.body_timeout,
        write_timeout: bounds.write_timeout,
        head_bytes_max: bounds.head_bytes_max,
        body_rate_min: bounds.body_rate_min,
    }
}

async fn open_admin(bound: Bound, admin: Admin, limits: DoorLimits, closing: watch::Receiver<bool>) {
    open(vec![bound], admin, limits, Places::new(ADMIN_CONNECTIONS_MAX), Protocol::Plain, closing).await;
}

/// The exporter, where one is configured. The gateway holds it and it reads the
/// gateway's gauges, hence the slot that is filled later.
fn exporter(
    loaded: &Loaded,
    registries: [Registry; 2],
    metrics: &Metrics,
    gateway: &Arc<OnceLock<Weak<Gateway>>>,
) -> Result<Option<Exporter>> {
    let Some(settings) = loaded.otlp.clone() else { return Ok(None) };
    let gateway = Arc::clone(gateway);
    let reading = Box::new(move || {
        if let Some(gateway) = gateway.get().and_then(Weak::upgrade) {
            refresh_gauges(&gateway);
        }
        registries.iter().flat_map(Registry::gather).collect()
    });
    let started = Exporter::start(settings, metrics.otlp_dropped(), reading);
    Ok(Some(started.context("failed to start the thread that exports by OTLP")?))
}

/// Asks providers for their lists now and then. Ends with the process's drain.
async fn keep_lists(gateway: Arc<Gateway>) {
    let mut changed = gateway.watch_settings();
    loop {
        let mut again = REFRESH_EVERY;
        for (provider, why) in gateway.catalog.refresh(&gateway.settings(), &gateway.transport).await {
            tracing::info!(target: "tautline::catalog", provider, why, "no list of models; the last good one stays");
            if !gateway.catalog.has_list(&provider) {
                // Without any list its names are unknown here: a server that starts
                // after us must not stay so for ten minutes.
                again = FIRST_LIST_EVERY;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(again) => {}
            _ = changed.changed() => {}
            () = gateway.lifecycle.reached(Stage::Draining) => return,
        }
    }
}

/// What goes on beside requests; each ends with the drain, or is ended by `stop`.
fn keepers(gateway: &Arc<Gateway>, store: &Store) -> [JoinHandle<()>; 4] {
    [
        tokio::spawn(keep_lists(Arc::clone(gateway))),
        tokio::spawn(keep_keys(Arc::clone(gateway))),
        tokio::spawn(keep_makers(Arc::clone(gateway), store.clone())),
        tokio::spawn(keep_responses(Arc::clone(gateway))),
    ]
}

/// Writes responses until the process ends; `stop` writes the rest.
async fn keep_responses(gateway: Arc<Gateway>) {
    gateway.kept.run(|| gateway.settings().bounds.kept).await;
}

/// Writes who made which reasoning until the process ends; `stop` writes the rest.
async fn keep_makers(gateway: Arc<Gateway>, store: Store) {
    gateway.makers.keep(&store).await;
}

/// Asks commands for their keys anew when these are due. Ends with the drain.
async fn keep_keys(gateway: Arc<Gateway>) {
    let mut changed = gateway.watch_settings();
    loop {
        let settings = gateway.settings();
        let keys = settings.providers.values().flat_map(|provider| provider.auth.keys());
        let next = keys.filter_map(|key| Some((key.due()?, key))).min_by_key(|(due, _)| *due);
        let due = async {
            match next {
                Some((due, _)) => tokio::time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due => {}
            // A failed login may have made another one due earlier, a reload all.
            () = gateway.keys_due.notified() => continue,
            _ = changed.changed() => continue,
            () = gateway.lifecycle.reached(Stage::Draining) => return,
        }
        let Some((_, key)) = next else { continue };
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
    for provider in gateway.settings().providers.values() {
        let resting = gateway.memory.cooling(provider, Instant::now());
        let mut keys: Vec<usize> = resting.iter().map(|(key, ..)| *key).collect();
        keys.dedup();
        KeysCooling { provider: &provider.name, count: keys.len() }.emit(&gateway.metrics);
    }
}

/// The process as the operating system sees it, and the build.
fn process_metrics(registry: &Registry) -> ConfigGauges {
    use crate::domain::ids::TargetName;
    let process = prometheus::process_collector::ProcessCollector::for_self();
    registry.register(Box::new(process)).expect("registered once, in a registry of our own");
    let scope = Scope::new(registry.clone(), "tautline");
    let info = Counters::new(&scope, "build_info", "The build; always 1.", ["version"]);
    info.one([&TargetName::new(env!("CARGO_PKG_VERSION"))]);
    ConfigGauges::new(&scope)
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
