//! Reading the configuration again while the process runs.
//!
//! Owns what a reload may change and what it may not. Invariants: a whole
//! checked snapshot is put in force or none; a bad file keeps the last good
//! one; an exchange keeps the snapshot it began with.

use crate::boot::config::{self, Faults, Loaded};
use crate::gateway::events::LimitsInForce;
use crate::gateway::settings::{Fault, Settings, limits_in_force};
use crate::gateway::state::Gateway;
use crate::telemetry::{Gauges, Scope};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Mutex;

/// Tells how the last reading of the configuration went.
#[derive(Debug)]
pub struct ConfigGauges {
    successful: Gauges<0>,
    success_at: Gauges<0>,
}

impl ConfigGauges {
    /// Registered for a process that has read its configuration well.
    #[must_use]
    pub fn new(scope: &Scope) -> Self {
        let gauges = Self {
            successful: Gauges::new(
                scope,
                "config_last_reload_successful",
                "1 if the last configuration read was good.",
                [],
            ),
            success_at: Gauges::new(
                scope,
                "config_last_reload_success_timestamp_seconds",
                "When a configuration was last read well, Unix seconds.",
                [],
            ),
        };
        gauges.read(true);
        gauges
    }

    fn read(&self, well: bool) {
        self.successful.set([], i64::from(well));
        if well {
            self.success_at.set([], jiff::Timestamp::now().as_second());
        }
    }
}

/// What a good reload did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloaded {
    /// Keys that changed and take effect at the next start only.
    pub at_restart: Vec<&'static str>,
}

/// Reloads, one at a time.
#[derive(Debug)]
pub struct Reloader {
    gateway: Arc<Gateway>,
    gauges: ConfigGauges,
    /// What the process was started with; held while a reload runs.
    started: Mutex<Loaded>,
}

impl Reloader {
    #[must_use]
    pub fn new(gateway: Arc<Gateway>, gauges: ConfigGauges, started: Loaded) -> Self {
        Self { gateway, gauges, started: Mutex::new(started) }
    }

    /// Reads the file again and puts it in force. Files and commands of secrets
    /// are read on a thread of their own. Cancel-safe: dropped, it changed
    /// everything or nothing.
    ///
    /// # Errors
    /// Every fault of the file; the last good configuration stays.
    pub async fn reload(&self) -> Result<Reloaded, Faults> {
        let started = self.started.lock().await;
        let outcome = match &started.file {
            Some(path) => read(path.clone()).await,
            None => Err(Faults {
                source: started.source.clone(),
                faults: vec![Fault::new("file", "there is none to read again", "start with --config FILE")],
            }),
        };
        self.gauges.read(outcome.is_ok());
        match outcome {
            Ok(loaded) => {
                let at_restart = at_restart(&started, &loaded);
                if let (Some(shown), Some(read)) = (&started.certificate, &loaded.certificate) {
                    shown.replace_by(read);
                }
                LimitsInForce(&limits_in_force(&loaded.gateway)).emit(&self.gateway.metrics);
                self.gateway.swap(loaded.gateway);
                tracing::info!(target: "tautline::boot", ?at_restart, "configuration reloaded");
                Ok(Reloaded { at_restart })
            }
            Err(faults) => {
                tracing::error!(target: "tautline::boot", %faults, "configuration not reloaded; the last good one stays");
                Err(faults)
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "one at a time, bounded by the commands' own limit")]
async fn read(path: PathBuf) -> Result<Loaded, Faults> {
    let shown = path.display().to_string();
    tokio::task::spawn_blocking(move || config::load(&path)).await.unwrap_or_else(|error| {
        let fault = Fault::new("file", format!("reading it failed: {error}"), "see the log");
        Err(Faults { source: shown, faults: vec![fault] })
    })
}

/// The keys whose value differs from the one that this process was started
/// with and that only a start reads.
fn at_restart(started: &Loaded, now: &Loaded) -> Vec<&'static str> {
    let (old, new): (&Settings, &Settings) = (&started.gateway, &now.gateway);
    let (a, b) = (&old.bounds, &new.bounds);
    [
        ("state_dir", started.state_dir != now.state_dir),
        ("admin.listen", started.admin_listen != now.admin_listen),
        ("log.format", started.log.format != now.log.format),
        ("log.filter", started.log.filter != now.log.filter),
        ("log.exchanges", started.log.exchanges != now.log.exchanges),
        ("gateway.listen", old.listen != new.listen),
        ("gateway.listen_h2c", old.listen_h2c != new.listen_h2c),
        ("gateway.listen_unix", old.listen_unix != new.listen_unix),
        ("gateway.tls", old.tls.is_some() != new.tls.is_some()),
        ("gateway.head_timeout", a.head_timeout != b.head_timeout),
        ("gateway.body_timeout", a.body_timeout != b.body_timeout),
        ("gateway.write_timeout", a.write_timeout != b.write_timeout),
        ("gateway.connection_idle", a.connection_idle != b.connection_idle),
        ("gateway.connection_age_max", a.connection_age_max != b.connection_age_max),
        ("gateway.pool_idle", a.pool_idle != b.pool_idle),
        ("gateway.pool_age_max", a.pool_age_max != b.pool_age_max),
        ("gateway.connections_max", a.connections_max != b.connections_max),
        ("gateway.body_rate_min", a.body_rate_min != b.body_rate_min),
        ("gateway.head_bytes_max", a.head_bytes_max != b.head_bytes_max),
        ("gateway.records_max", a.records_max != b.records_max),
        ("gateway.worker_threads", a.worker_threads != b.worker_threads),
    ]
    .into_iter()
    .filter_map(|(key, differs)| differs.then_some(key))
    .collect()
}
