//! What the gateway costs, beside nginx in the same breath.
//!
//! Each round asks the same of the upstream itself (`direct`), of nginx and of
//! `tautline up`, one after the other, for the same bytes. CPU is that of the
//! measured process tree alone; the load and the upstream live in this process.
//! What counts are ratios within a round and their medians over the rounds;
//! microseconds tell more of the machine. Own main, no criterion: the micro
//! figures are a loop and a clock, which needs no crate.

#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
#![allow(clippy::disallowed_methods, reason = "no exchange of the gateway runs in this process")]

#[path = "gateway/client.rs"]
mod client;
#[path = "gateway/dialects.rs"]
mod dialects;
#[path = "gateway/micro.rs"]
mod micro;
#[path = "gateway/subject.rs"]
mod subject;
#[path = "gateway/upstream.rs"]
mod upstream;

use client::{Client, Took, request};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use subject::Subject;
use upstream::{IDLE_FRAMES, PACED_FRAMES, UNPACED_FRAMES};

const USAGE: &str = "cargo bench --bench gateway -- [--rounds N] [--quick] [--only CASE] [--against PROGRAM]
  --rounds N   interleaved rounds (5)
  --quick      some seconds in all: shows that it runs, measures nothing
  --only CASE  1k, 4k, assembled, rate, paced, unpaced, idle, dialects or micro
  --against PROGRAM  another build of tautline, measured in the same rounds";

/// Built beside this bench.
const OWN: &str = env!("CARGO_BIN_EXE_tautline");

/// At the constant rate a round counts only if the machine was this quiet.
const DIRECT_P99_MAX: Duration = Duration::from_millis(1);
const RATE: u32 = 500;
/// Connections of the closed loop.
const LOOPS: usize = 8;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Case {
    /// A closed loop of whole answers, by the model's name.
    Whole(&'static str),
    Rate,
    Paced,
    Unpaced,
    Idle,
}

const CASES: [Case; 7] = [
    Case::Whole("1k"),
    Case::Whole("4k"),
    Case::Whole("assembled"),
    Case::Rate,
    Case::Paced,
    Case::Unpaced,
    Case::Idle,
];

impl Case {
    const fn name(self) -> &'static str {
        match self {
            Self::Whole(name) => name,
            Self::Rate => "rate",
            Self::Paced => "paced",
            Self::Unpaced => "unpaced",
            Self::Idle => "idle",
        }
    }

    /// What a figure of CPU is divided by.
    const fn unit(self) -> &'static str {
        match self {
            Self::Whole(_) | Self::Rate => "request",
            Self::Paced | Self::Unpaced | Self::Idle => "chunk",
        }
    }
}

/// How much is asked.
struct Scale {
    rounds: usize,
    requests: usize,
    seconds: u32,
    paced: usize,
    unpaced: usize,
    idle: usize,
    /// Another build.
    against: Option<String>,
}

/// One subject in one round. Times are microseconds.
#[derive(Default, Clone, Copy)]
struct Seen {
    cpu_us: f64,
    p50_us: f64,
    p99_us: f64,
    first_p50_us: f64,
    pss_start_kib: f64,
    pss_stream_kib: f64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Cargo itself says `--bench`.
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let after = |flag: &str| arguments.iter().skip_while(|argument| *argument != flag).nth(1).cloned();
    if has("--help") {
        println!("{USAGE}");
        return;
    }
    if std::env::var_os("TAUTLINE_BENCH_WIDE").is_none() {
        // A thousand streams need more descriptors than a shell hands out.
        let own = std::env::current_exe().expect("a path");
        let mut again = subject::wide(own.to_str().expect("a plain path"));
        let status = again.args(&arguments).env("TAUTLINE_BENCH_WIDE", "1").status().expect("starts");
        assert!(status.success(), "the bench failed");
        return;
    }
    let against = after("--against");
    let mut scale = if has("--quick") {
        Scale { rounds: 1, requests: 50, seconds: 1, paced: 5, unpaced: 2, idle: 20, against }
    } else {
        Scale { rounds: 5, requests: 15_000, seconds: 3, paced: 200, unpaced: 500, idle: 1000, against }
    };
    if let Some(rounds) = after("--rounds") {
        scale.rounds = rounds.parse().expect("--rounds takes a number");
    }
    let only = after("--only");
    let chosen = |name: &str| only.as_deref().is_none_or(|only| only == name);
    let mut report = Map::new();
    let cases: Vec<Case> = CASES.into_iter().filter(|case| chosen(case.name())).collect();
    assert!(!cases.is_empty() || chosen("micro") || chosen("dialects"), "no such case\n{USAGE}");
    if !cases.is_empty() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        report = runtime.block_on(rounds(&cases, &scale));
    }
    if chosen("dialects") {
        report.insert("dialects".to_owned(), dialects::run(has("--quick")));
    }
    if chosen("micro") {
        report.insert("micro_ns".to_owned(), micro::run(has("--quick")));
    }
    report.insert("rounds".to_owned(), json!(scale.rounds));
    report.insert("quick".to_owned(), json!(has("--quick")));
    write(&Value::Object(report));
}

fn write(report: &Value) {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench");
    std::fs::create_dir_all(&folder).expect("target can be written");
    let file = folder.join("gateway.json");
    std::fs::write(&file, format!("{report:#}\n")).expect("target can be written");
    println!("written to {}", file.display());
}

async fn rounds(cases: &[Case], scale: &Scale) -> Map<String, Value> {
    let upstream = upstream::start();
    let mut all: BTreeMap<Case, Vec<BTreeMap<&'static str, Seen>>> = BTreeMap::new();
    let mut discarded = 0;
    let mut subjects = vec![Subject::direct(upstream)];
    match Subject::nginx(upstream) {
        Some(nginx) => subjects.push(nginx),
        None => println!("nginx is not installed: left out, and with it every ratio"),
    }
    subjects.push(Subject::tautline("tautline", OWN, upstream));
    if let Some(program) = &scale.against {
        subjects.push(Subject::tautline("against", program, upstream));
    }
    for subject in &subjects {
        // The first requests pay for what is made once.
        closed_loop(subject.addr, "1k", 50).await;
    }
    for round in 0..scale.rounds {
        for case in cases {
            let mut seen = BTreeMap::new();
            for place in 0..subjects.len() {
                // Nobody always goes first.
                let subject = &subjects[(place + round) % subjects.len()];
                seen.insert(subject.name, measure(*case, subject, upstream, scale).await);
            }
            if *case == Case::Rate && seen["direct"].p99_us > DIRECT_P99_MAX.as_secs_f64() * 1e6 {
                discarded += 1;
                // A smoke keeps what it has.
                if scale.rounds > 1 {
                    continue;
                }
            }
            all.entry(*case).or_default().push(seen);
        }
        if std::io::stderr().is_terminal() {
            eprintln!("round {} of {}", round + 1, scale.rounds);
        }
    }
    let mut report = Map::new();
    println!("medians of {} rounds; ratios are taken within a round", scale.rounds);
    for case in cases {
        let kept = all.remove(case).unwrap_or_default();
        let mut figures = figures(*case, &kept);
        if *case == Case::Rate {
            println!("rate: {discarded} rounds discarded, their direct p99 was above {DIRECT_P99_MAX:?}");
            figures.insert("discarded".to_owned(), json!(discarded));
        }
        figures.insert("rounds_kept".to_owned(), json!(kept.len()));
        report.insert(case.name().to_owned(), Value::Object(figures));
    }
    report
}

/// Prints and returns what came of one case.
fn figures(case: Case, rounds: &[BTreeMap<&'static str, Seen>]) -> Map<String, Value> {
    let mut out = Map::new();
    let mut tell = |name: String, limit: &str, value: Option<f64>, digits: usize| {
        if let Some(value) = value {
            println!("{:>10}  {name:<44} {value:>10.digits$}{limit}", case.name());
            out.insert(name, json!((value * 1000.0).round() / 1000.0));
        }
    };
    let over =
        |of: &dyn Fn(&BTreeMap<&'static str, Seen>) -> Option<f64>| median(rounds.iter().filter_map(of).collect());
    for subject in ["direct", "nginx", "tautline", "against"] {
        let each = |of: fn(&Seen) -> f64| over(&|round| round.get(subject).map(of).filter(|value| *value != 0.0));
        tell(format!("{subject} CPU µs/{}", case.unit()), "", each(|seen| seen.cpu_us), 1);
        tell(format!("{subject} p50 µs"), "", each(|seen| seen.p50_us), 0);
        tell(format!("{subject} p99 µs"), "", each(|seen| seen.p99_us), 0);
        tell(format!("{subject} first token p50 µs"), "", each(|seen| seen.first_p50_us), 0);
        let limit = if subject == "tautline" { "   (limit 40960)" } else { "" };
        tell(format!("{subject} PSS after start KiB"), limit, each(|seen| seen.pss_start_kib), 0);
        let limit = if subject == "tautline" { "   (limit 56)" } else { "" };
        tell(format!("{subject} PSS/stream KiB"), limit, each(|seen| seen.pss_stream_kib), 1);
    }
    for subject in ["nginx", "tautline", "against"] {
        let added = |of: fn(&Seen) -> f64| over(&|round| Some(of(round.get(subject)?) - of(&round["direct"])));
        if case == Case::Rate {
            tell(format!("{subject} added p50 µs"), "", added(|seen| seen.p50_us), 0);
            tell(format!("{subject} added p99 µs"), "", added(|seen| seen.p99_us), 0);
        }
        if matches!(case, Case::Paced | Case::Unpaced) {
            tell(format!("{subject} added first token p50 µs"), "", added(|seen| seen.first_p50_us), 0);
        }
    }
    let limit = match case {
        Case::Whole("assembled") | Case::Rate | Case::Idle => "",
        Case::Whole(_) => "   (limit 1.80)",
        Case::Paced | Case::Unpaced => "   (limit 1.30)",
    };
    for subject in ["tautline", "against"] {
        let ratio = |of: fn(&Seen) -> f64| {
            over(&|round| Some(of(round.get(subject)?) / of(round.get("nginx")?)).filter(|ratio| ratio.is_finite()))
        };
        tell(format!("{subject}/nginx CPU per {}", case.unit()), limit, ratio(|seen| seen.cpu_us), 2);
        let added = |of: fn(&Seen) -> f64| {
            over(&|round| {
                let direct = of(&round["direct"]);
                let nginx = of(round.get("nginx")?) - direct;
                (nginx > 0.0).then_some((of(round.get(subject)?) - direct) / nginx)
            })
        };
        if case == Case::Rate {
            tell(format!("{subject}/nginx added p50"), "   (limit 3.50)", added(|seen| seen.p50_us), 2);
            tell(format!("{subject}/nginx added p99"), "   (limit 3.50)", added(|seen| seen.p99_us), 2);
        }
    }
    out
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        even if even % 2 == 0 => Some(f64::midpoint(values[middle - 1], values[middle])),
        _ => Some(values[middle]),
    }
}

async fn measure(case: Case, subject: &Subject, upstream: SocketAddr, scale: &Scale) -> Seen {
    let addr = subject.addr;
    let before = subject.cpu();
    let (took, units) = match case {
        Case::Whole(model) => (closed_loop(addr, model, scale.requests).await, scale.requests),
        Case::Rate => {
            let took = constant_rate(addr, RATE * scale.seconds).await;
            let units = took.len();
            (took, units)
        }
        Case::Paced => (paced(addr, scale.paced).await, scale.paced * PACED_FRAMES),
        Case::Unpaced => (unpaced(addr, scale.unpaced).await, scale.unpaced * UNPACED_FRAMES),
        Case::Idle => return idle(subject.name, upstream, scale).await,
    };
    // Records of the last requests are still on their way to the disk.
    tokio::time::sleep(Duration::from_millis(150)).await;
    let cpu_us = (subject.cpu() - before) * 1e6 / units as f64;
    let sorted = |of: fn(&Took) -> Duration| {
        let mut all: Vec<f64> = took.iter().map(|took| of(took).as_secs_f64() * 1e6).collect();
        all.sort_by(f64::total_cmp);
        all
    };
    let (whole, first) = (sorted(|took| took.whole), sorted(|took| took.first));
    Seen {
        cpu_us,
        p50_us: whole[whole.len() / 2],
        p99_us: whole[whole.len() * 99 / 100],
        first_p50_us: if took[0].frames > 0 { first[first.len() / 2] } else { 0.0 },
        ..Seen::default()
    }
}

/// So many tasks share the requests, each on a connection of its own.
async fn shared(addr: SocketAddr, request: Vec<u8>, requests: usize, tasks: usize, frames: usize) -> Vec<Took> {
    let request: std::sync::Arc<[u8]> = request.into();
    let left = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(requests));
    let tasks: Vec<_> = (0..tasks)
        .map(|_| {
            let (request, left) = (request.clone(), left.clone());
            tokio::spawn(async move {
                let mut client = Client::connect(addr).await.expect("connects");
                let mut all = Vec::new();
                let one_less = |left: usize| left.checked_sub(1);
                let order = std::sync::atomic::Ordering::Relaxed;
                while left.fetch_update(order, order, one_less).is_ok() {
                    let took = client.ask(&request).await.expect("an answer");
                    assert_eq!(took.frames, frames, "as many frames as the upstream sent");
                    all.push(took);
                }
                all
            })
        })
        .collect();
    let mut all = Vec::with_capacity(requests);
    for task in tasks {
        all.extend(task.await.expect("no panic"));
    }
    all
}

async fn closed_loop(addr: SocketAddr, model: &str, requests: usize) -> Vec<Took> {
    shared(addr, request(&format!("bench-{model}"), false), requests, LOOPS, 0).await
}

async fn unpaced(addr: SocketAddr, streams: usize) -> Vec<Took> {
    shared(addr, request("bench-unpaced", true), streams, 4, UNPACED_FRAMES).await
}

/// All streams at once, their beginnings spread over one pace.
async fn paced(addr: SocketAddr, streams: usize) -> Vec<Took> {
    let request: std::sync::Arc<[u8]> = request("bench-paced", true).into();
    let mut clients = Vec::new();
    for _ in 0..streams {
        clients.push(Client::connect(addr).await.expect("connects"));
    }
    let tasks: Vec<_> = (0u32..)
        .zip(clients)
        .map(|(place, mut client)| {
            let request = request.clone();
            let wait = upstream::PACE * place / u32::try_from(streams).expect("few");
            tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                let took = client.ask(&request).await.expect("an answer");
                assert_eq!(took.frames, PACED_FRAMES, "as many frames as the upstream sent");
                took
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.push(task.await.expect("no panic"));
    }
    all
}

/// Requests leave when they are due, whatever became of those before them. The
/// clock starts when one is sent: the timer's own grain is not the subject's.
async fn constant_rate(addr: SocketAddr, requests: u32) -> Vec<Took> {
    let request: std::sync::Arc<[u8]> = request("bench-1k", false).into();
    let idle = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    for _ in 0..LOOPS {
        let client = Client::connect(addr).await.expect("connects");
        idle.lock().expect("no panic").push(client);
    }
    let began = Instant::now();
    let mut tasks = Vec::new();
    for place in 0..requests {
        tokio::time::sleep_until((began + Duration::from_secs(1) / RATE * place).into()).await;
        let (request, idle) = (request.clone(), idle.clone());
        tasks.push(tokio::spawn(async move {
            let kept = idle.lock().expect("no panic").pop();
            let mut client = match kept {
                Some(client) => client,
                None => Client::connect(addr).await.expect("connects"),
            };
            let took = client.ask(&request).await.expect("an answer");
            idle.lock().expect("no panic").push(client);
            took
        }));
    }
    let mut all = Vec::new();
    for task in tasks {
        all.push(task.await.expect("no panic"));
    }
    all
}

/// In a process of its own, because freed memory does not come back at once.
async fn idle(name: &str, upstream: SocketAddr, scale: &Scale) -> Seen {
    let streams = scale.idle;
    let fresh = match name {
        "nginx" => Subject::nginx(upstream).expect("it was there before"),
        "tautline" => Subject::tautline("tautline", OWN, upstream),
        "against" => Subject::tautline("against", scale.against.as_ref().expect("it was there before"), upstream),
        _ => return Seen::default(),
    };
    closed_loop(fresh.addr, "1k", 50).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (before, cpu) = (fresh.pss(), fresh.cpu());
    let request: std::sync::Arc<[u8]> = request("bench-idle", true).into();
    let tasks: Vec<_> = (0..streams)
        .map(|place| {
            let (request, addr) = (request.clone(), fresh.addr);
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_micros(200) * u32::try_from(place).expect("few")).await;
                let mut client = Client::connect(addr).await.expect("connects");
                client.ask_for(&request, IDLE_FRAMES).await.expect("an answer");
                client
            })
        })
        .collect();
    let mut open = Vec::new();
    for task in tasks {
        open.push(task.await.expect("no panic"));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let after = fresh.pss();
    let cpu_us = (fresh.cpu() - cpu) * 1e6 / (streams * IDLE_FRAMES) as f64;
    drop(open);
    Seen {
        cpu_us,
        pss_start_kib: before as f64,
        pss_stream_kib: (after.saturating_sub(before)) as f64 / streams as f64,
        ..Seen::default()
    }
}
