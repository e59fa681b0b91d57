//! `tautline explain`: finds a record and tells it.

use crate::boot::config::Loaded;
use crate::domain::failure::{Evidence, Observation, classify, client_message};
use crate::domain::quantity;
use crate::domain::record::{PlanClock, Record};
use crate::domain::story::tell;
use crate::domain::task::TaskReason;
use crate::gateway::record;
use crate::gateway::state::MIGRATIONS;
use crate::store::Store;
use anyhow::{Context as _, Result, bail};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// The admin port has this long to answer.
const ASK_MAX: Duration = Duration::from_secs(5);

/// Asks the running gateway, else reads its table.
pub fn explain(loaded: &Loaded, id: &str, json: bool) -> Result<ExitCode> {
    let admin = loaded.admin_listen.to_string();
    let record = match ask(&admin, id) {
        Ok(found) => found,
        Err(_) => read(&loaded.state_dir, id)?,
    };
    let Some(record) = record else {
        bail!(
            "no record has the id {id}, or more than one ends in it; `curl http://{admin}/-/records` lists the newest"
        );
    };
    if json {
        println!("{}", serde_json::to_string_pretty(&record)?);
    } else {
        for line in tell(&record) {
            println!("{line}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The record from a running gateway; an error when none answers there.
fn ask(admin: &str, id: &str) -> Result<Option<Record>> {
    // What is on this machine is not reached by way of a proxy.
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .proxy(None)
        .timeout_global(Some(ASK_MAX))
        .http_status_as_error(false)
        .build()
        .into();
    let mut answer = agent.get(format!("http://{admin}/-/records/{id}")).call()?;
    match answer.status().as_u16() {
        200 => Ok(Some(serde_json::from_slice(&answer.body_mut().read_to_vec()?)?)),
        404 => Ok(None),
        status => bail!("the admin port answered {status}"),
    }
}

fn read(state_dir: &Path, id: &str) -> Result<Option<Record>> {
    let path = state_dir.join("gateway.sqlite");
    if !path.exists() {
        bail!("no gateway answers, and there is no {}", path.display());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let store = Store::open(&path, MIGRATIONS).await?;
        let found = record::find(&store, id).await.context("failed to read the records")?;
        store.close().await;
        Ok(found)
    })
}

/// A refusal that was not sent, as its client would read it.
pub fn refusal(observation: &Observation) -> String {
    client_message(&classify(&Evidence::at_door(observation.clone(), 0)), None, &[])
}

/// Who said which task it is.
pub const fn task_reason(reason: TaskReason) -> &'static str {
    match reason {
        TaskReason::Header => "said by the header x-tautline-task",
        TaskReason::Metadata => "said by metadata.task",
        TaskReason::ModelSuffix => "said by the model name",
        TaskReason::Default => "the route's default",
    }
}

/// `first_token 10 min`
pub fn clock(clock: &PlanClock) -> String {
    match clock.limit_ms {
        Some(limit) => format!("{} {}", clock.clock, quantity::duration(limit)),
        None => format!("{} off", clock.clock),
    }
}
