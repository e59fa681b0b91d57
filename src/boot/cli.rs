//! The command line.

use crate::boot::config::{self, DEFAULT_FILE, Loaded};
use crate::boot::{connect, demo, explain, files, init, roles, shutdown};
use crate::domain::record::PlanRecord;
use crate::gateway::intake::{OnDemand, intake};
use crate::gateway::plan::plan;
use crate::gateway::provider::catalog::Catalog;
use crate::sim::{Sim, SimSettings};
use crate::telemetry::{LogFormat, init_logs};
use crate::wire::dialect::Dialect;
use anyhow::{Context as _, Result, bail};
use clap::{CommandFactory as _, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// An observability-first, OpenAI-compatible model gateway.
#[derive(Debug, Parser)]
#[command(name = "tautline", version, about, max_term_width = 100)]
struct Cli {
    /// Configuration file.
    #[arg(long, short, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// No key, no configuration, some seconds: see a failing model caught and explained.
    Demo,
    /// Every role in one process; without a configuration, on the simulator.
    Up,
    /// The gateway role alone.
    Gateway,
    /// Write tautline.toml from the keys and local servers found here.
    Init {
        /// Overwrite an existing file.
        #[arg(long)]
        force: bool,
    },
    /// Point a coding agent or a client at the gateway: what to set, and how.
    Connect(connect::Asked),
    /// Report every unknown key and every fault at once; exit 1 if there is one.
    CheckConfig,
    /// Which task, which targets, which clocks, and why, without sending.
    Plan {
        /// A request body.
        #[arg(long, value_name = "FILE")]
        request: PathBuf,
        /// The dialect that it is written in: chat, messages or responses.
        #[arg(long, value_name = "DIALECT", default_value = "chat", value_parser = dialect)]
        dialect: Dialect,
        /// The task, as the header `x-tautline-task` would say it.
        #[arg(long)]
        task: Option<String>,
        #[arg(long)]
        json: bool,
    },
    /// The story of one request in plain sentences.
    Explain {
        /// The `x-request-id` of the answer, its last 4 characters or more, or `last`.
        id: String,
        /// The record itself.
        #[arg(long)]
        json: bool,
    },
    /// The simulated provider on a port of its own.
    Sim {
        #[arg(long, default_value = "127.0.0.1:4010")]
        listen: SocketAddr,
    },
    /// Shell completions.
    Completions { shell: clap_complete::Shell },
}

/// Runs the command line and maps its outcome to an exit code: 0 good, 1
/// failed, 2 misused (clap's own).
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("tautline: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "tautline", &mut std::io::stdout());
        }
        Command::Init { force } => init::init(&cli.config.unwrap_or_else(|| DEFAULT_FILE.into()), force)?,
        Command::Connect(asked) => {
            let loaded = match configured(cli.config.as_deref()) {
                // Keys that only the gateway's own environment has are no concern of this shell.
                Err(_) if asked.says_where() && cli.config.is_none() => None,
                loaded => loaded?,
            };
            return connect::connect(loaded.as_ref(), &asked);
        }
        Command::CheckConfig => {
            let path = cli.config.unwrap_or_else(|| DEFAULT_FILE.into());
            match config::load(&path) {
                Ok(loaded) => println!("{}: no faults", loaded.source),
                Err(faults) => {
                    println!("{faults}");
                    return Ok(ExitCode::FAILURE);
                }
            }
        }
        Command::Plan { request, dialect, task, json } => {
            return print_plan(cli.config.as_deref(), (&request, dialect), task.as_deref(), json);
        }
        Command::Explain { id, json } => {
            let loaded = match configured(cli.config.as_deref())? {
                Some(loaded) => loaded,
                // As `up` without a file: the defaults, and what the environment says.
                None => config::parse("the defaults", "")?,
            };
            return explain::explain(&loaded, &id, json);
        }
        Command::Demo => runtime(0)?.block_on(demo::demo())?,
        Command::Up | Command::Gateway => {
            let loaded = configured(cli.config.as_deref())?;
            let workers = loaded.as_ref().map_or(0, |loaded| loaded.gateway.bounds.worker_threads);
            runtime(workers)?.block_on(up(loaded))?;
        }
        Command::Sim { listen } => runtime(0)?.block_on(simulate(listen))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// `workers`: threads; 0 leaves their number to the cores.
fn runtime(workers: usize) -> Result<tokio::runtime::Runtime> {
    // Before anything asks for TLS; an error means that it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // One worker needs no other to take its work from it, and wakes nobody.
    let mut builder = match workers {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    if workers > 1 {
        builder.worker_threads(workers);
    }
    builder.enable_all().build().context("failed to start the runtime")
}

/// The named file, else `tautline.toml` if there is one, else nothing.
fn configured(path: Option<&Path>) -> Result<Option<Loaded>> {
    match path {
        Some(path) => Ok(Some(config::load(path)?)),
        None if Path::new(DEFAULT_FILE).exists() => Ok(Some(config::load(Path::new(DEFAULT_FILE))?)),
        None => Ok(None),
    }
}

async fn up(loaded: Option<Loaded>) -> Result<()> {
    // The simulator lives as long as its handle.
    let (loaded, simulator) = if let Some(loaded) = loaded {
        (loaded, None)
    } else {
        let simulator = demo::simulator().await?;
        (demo::configuration(&simulator, demo::Ports::Default)?, Some(simulator))
    };
    init_logs(loaded.log.format, &loaded.log.filter).map_err(|error| anyhow::anyhow!("log.filter: {error}"))?;
    files::raise_open_files(loaded.gateway.bounds.connections_max);
    let signals = shutdown::Signals::listen()?;
    let running = roles::start(&loaded).await?;
    announce(&loaded, &running, simulator.is_some());
    shutdown::run_until_signalled(running, signals).await;
    Ok(())
}

fn announce(loaded: &Loaded, running: &roles::Running, simulated: bool) {
    eprintln!("tautline {} with {}", env!("CARGO_PKG_VERSION"), loaded.source);
    if simulated {
        eprintln!(
            "  no {DEFAULT_FILE} here: the answers come from the simulator (`tautline init` writes a configuration)"
        );
    }
    eprintln!("  gateway  {}   point the base URL of your client here", running.base_url());
    for addr in &running.addrs_h2c {
        eprintln!("           http://{addr}/v1   by HTTP/2");
    }
    for path in &loaded.gateway.listen_unix {
        eprintln!("           {}   by this Unix socket", path.display());
    }
    eprintln!("  admin    http://{}   /metrics /-/targets /-/records", running.admin_addr);
    if let Some(otlp) = &loaded.otlp {
        eprintln!("  otlp     {}   traces, metrics and logs go there, as [otlp] says", otlp.endpoint);
    }
    let names = crate::gateway::intake::model_names(&loaded.gateway);
    eprintln!(
        "  models   {}",
        if names.is_empty() { "any that a provider serves".to_owned() } else { names.join(", ") }
    );
    eprintln!("  connect  tautline connect claude|codex|opencode|aider|openai");
    eprintln!("  explain  tautline explain last");
    if let Some(key) = &running.key_shown_once {
        eprintln!("  access   a key was made for callers from other machines; it is shown this once: {key}");
    }
}

async fn simulate(listen: SocketAddr) -> Result<()> {
    if !listen.ip().is_loopback() {
        bail!("the simulator has no keys; it listens on loopback only");
    }
    init_logs(LogFormat::Text, "info").map_err(anyhow::Error::msg)?;
    let listener =
        tokio::net::TcpListener::bind(listen).await.with_context(|| format!("failed to listen on {listen}"))?;
    let simulator = Sim::start(listener, SimSettings::default());
    eprintln!("simulator {}   (script by model name, as \"sim?fault=reset&after=40\")", simulator.base_url());
    tokio::signal::ctrl_c().await.context("failed to listen to signals")?;
    simulator.stop();
    Ok(())
}

fn dialect(word: &str) -> Result<Dialect, String> {
    let known = Dialect::ALL.iter().copied().find(|dialect| dialect.as_str() == word);
    known.ok_or_else(|| format!("there are {}", Dialect::ALL.iter().map(|d| d.as_str()).collect::<Vec<_>>().join(", ")))
}

fn print_plan(
    config: Option<&Path>,
    (request, dialect): (&Path, Dialect),
    task: Option<&str>,
    json: bool,
) -> Result<ExitCode> {
    let Some(loaded) = configured(config)? else { bail!("there is no {DEFAULT_FILE} here; name one with --config") };
    let settings = &loaded.gateway;
    let body = std::fs::read(request).with_context(|| format!("failed to read {}", request.display()))?;
    let mut headers = http::HeaderMap::new();
    if let Some(task) = task {
        headers.insert("x-tautline-task", task.parse().context("the task is no header value")?);
    }
    let understood = match intake(settings, &Catalog::default(), &OnDemand::default(), &headers, dialect, &body) {
        Ok(understood) => understood,
        Err(refused) => {
            println!("refused: {}", explain::refusal(&refused.observation));
            if settings.providers.values().any(|provider| provider.models.is_none()) {
                println!("(the lists of models that providers publish were not asked for; `tautline up` asks them)");
            }
            return Ok(ExitCode::FAILURE);
        }
    };
    let planned = plan(&understood.plan_input(settings));
    let (record, refused) = match planned {
        Ok(itinerary) => (itinerary.record, None),
        Err(unplanned) => (unplanned.record, Some(unplanned.observation)),
    };
    if json {
        println!(
            "{}",
            serde_json::json!({
                "model": understood.asked.model, "route": understood.route, "task": understood.task,
                "task_reason": understood.task_reason, "plan": record,
            })
        );
    } else {
        println!(
            "model \"{}\" → route \"{}\", task \"{}\" ({})",
            understood.asked.model,
            understood.route,
            understood.task,
            explain::task_reason(understood.task_reason)
        );
        print_steps(&record);
    }
    if let Some(observation) = refused {
        println!("refused: {}", explain::refusal(&observation));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn print_steps(record: &PlanRecord) {
    let needs = if record.needs.is_empty() { "nothing special".to_owned() } else { record.needs.join(", ") };
    println!("needs {needs}; about {} tokens of prompt", record.input_tokens);
    for (place, step) in record.steps.iter().enumerate() {
        println!("{}. {}: {}", place + 1, step.target, step.reason);
        let clocks: Vec<String> = step.clocks.iter().map(explain::clock).collect();
        println!("   clocks: {}", clocks.join(", "));
    }
    for rejected in &record.rejected {
        println!("not {}: {}", rejected.target, rejected.reason);
    }
}
