//! `tautline demo`, and the configuration of a process that has none.

use crate::boot::config::{self, Loaded};
use crate::boot::roles;
use crate::domain::record::Record;
use crate::domain::story::tell;
use crate::sim::{Sim, SimSettings, answer_text};
use crate::telemetry::{LogFormat, init_logs};
use anyhow::{Context as _, Result, bail, ensure};
use std::io::{BufReader, Write as _};
use std::time::Duration;

/// A moment is enough for everything on loopback.
const DEMO_MAX: Duration = Duration::from_secs(20);
const PROMPT: &str = "Tell me why ropes go slack.";
const TOKENS: usize = 60;

/// A simulator on a free port; it lives as long as the handle.
pub async fn simulator() -> Result<Sim> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.context("failed to start the simulator")?;
    Ok(Sim::start(listener, SimSettings::default()))
}

/// Which ports the demo configuration uses.
#[derive(Debug, Clone, Copy)]
pub enum Ports {
    Default,
    Free,
}

/// A configuration on the simulator alone: a primary that refuses the first
/// request of each process, a steady second, and a task each.
pub fn configuration(simulator: &Sim, ports: Ports) -> Result<Loaded> {
    let (gateway, admin) = match ports {
        Ports::Default => ("127.0.0.1:4000", "127.0.0.1:4001"),
        Ports::Free => ("127.0.0.1:0", "127.0.0.1:0"),
    };
    let text = format!(
        r#"
        [gateway]
        listen = ["{gateway}"]
        [admin]
        listen = "{admin}"
        [providers.sim]
        dialect = "sim"
        base_url = "{base}"
        models = ["sim*"]
        [targets.flaky]
        provider = "sim"
        model = "sim?fault=status_503&first=1&gap=15ms&tokens={TOKENS}"
        [targets.steady]
        provider = "sim"
        model = "sim?gap=15ms&tokens={TOKENS}"
        capabilities = ["tools", "json", "web"]
        [tasks.analysis]
        targets = ["steady"]
        [tasks.lookup]
        targets = ["flaky", "steady"]
        [tasks.search]
        targets = ["steady"]
        [tasks.chat]
        targets = ["flaky", "steady"]
        [routes.auto]
        by_task = true
        default_task = "chat"
        [routes."*"]
        passthrough = true
        [log]
        exchanges = "text"
        "#,
        base = simulator.base_url()
    );
    Ok(config::parse("the built-in demo configuration", &text)?)
}

/// Shows a failing primary caught, carried on and explained.
///
/// # Errors
/// When the answer is not the one that was to be expected.
pub async fn demo() -> Result<()> {
    init_logs(LogFormat::Text, "warn").map_err(anyhow::Error::msg)?;
    let simulator = simulator().await?;
    let state = std::env::temp_dir().join(format!("tautline-demo-{}", std::process::id()));
    let mut loaded = configuration(&simulator, Ports::Free)?;
    loaded.state_dir.clone_from(&state);
    loaded.log.exchanges = crate::gateway::record::Lines::Off;
    let running = roles::start(&loaded).await?;
    println!("A gateway on {} with two simulated models. The first, `flaky`, is about to fail.", running.base_url());
    println!("Asked of \"auto\", streamed: {PROMPT}\n");
    let (base, admin) = (running.base_url(), running.admin_addr);
    let shown = blocking(move || show(&base, &admin.to_string())).await;
    running.stop(Duration::from_secs(1), std::future::pending()).await;
    simulator.stop();
    let _ = std::fs::remove_dir_all(&state);
    shown?;
    println!("\nStill to come: going on at token 40 from another model, and telling kills of processes apart.");
    println!("Next: `tautline up`, and point your client's base URL at http://127.0.0.1:4000/v1");
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "one call, bounded by its agent's timeout")]
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await?
}

fn show(base: &str, admin: &str) -> Result<()> {
    // What is on this machine is not reached by way of a proxy.
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .proxy(None)
        .timeout_global(Some(DEMO_MAX))
        .http_status_as_error(false)
        .build()
        .into();
    let request =
        serde_json::json!({"model": "auto", "stream": true, "messages": [{"role": "user", "content": PROMPT}]});
    let mut answer = agent
        .post(format!("{base}/chat/completions"))
        .header("content-type", "application/json")
        .send(request.to_string())?;
    ensure!(answer.status() == 200, "the gateway answered {}", answer.status());
    let header =
        |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let (id, target) = (header("x-request-id"), header("x-tautline-target"));
    let text = print_stream(BufReader::new(answer.body_mut().as_reader()))?;
    ensure!(text == answer_text(PROMPT, TOKENS), "the answer is not the one that the simulator gives to this prompt");
    println!(
        "\n\nWhole and exact, character by character, from `{target}`. What happened, by `tautline explain {id}`:\n"
    );
    let body = agent.get(format!("http://{admin}/-/records/{id}")).call()?.body_mut().read_to_vec()?;
    let record: Record = serde_json::from_slice(&body).context("failed to read the record")?;
    for line in tell(&record) {
        println!("  {line}");
    }
    Ok(())
}

fn print_stream(lines: impl std::io::BufRead) -> Result<String> {
    let mut text = String::new();
    let mut done = false;
    for line in lines.lines() {
        let line = line?;
        let Some(payload) = line.strip_prefix("data: ") else { continue };
        if payload == "[DONE]" {
            done = true;
            continue;
        }
        let chunk: serde_json::Value = serde_json::from_str(payload)?;
        if let Some(delta) = chunk["choices"][0]["delta"]["content"].as_str() {
            text.push_str(delta);
            print!("{delta}");
            std::io::stdout().flush()?;
        }
    }
    if !done {
        bail!("the answer was cut");
    }
    Ok(text)
}
