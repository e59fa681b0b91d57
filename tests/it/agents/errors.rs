//! What agents do under our errors and under the vendors' own: the same, but where
//! a row says why not. docs/errors-for-clients.md tells it to people.
//!
//! Each failure is played by the vendor (the simulator, asked directly), by a target
//! of the agent's own dialect and by one of another. Most strike once or twice: an
//! agent that goes on gets its answer then, so that no run depends on its patience.

use super::agent::{Agent, Ran};
use super::desk::{ASIDE, DONE, Desk, aside};
use crate::support::{House, Tongue};
use But::{Nothing, Unasked, Wide};
use End::{Done, Stopped};
use futures_util::stream::{self, StreamExt as _};
use serde_json::json;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use tautline::domain::record::Record;
use tautline::sim::{Sim, SimSettings};

/// How a run ends, and how many requests its failing turn took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The work is done, once, and the agent says so.
    Done(usize),
    /// It ends without the work, and its own words hold these.
    Stopped(usize, &'static str),
}

/// What differs from the vendor, on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum But {
    /// Nothing: the vendor's agent ends in the same way after as many requests.
    Nothing,
    /// All of it, for this reason.
    Wide(&'static str),
    /// The vendor is not asked, for this reason.
    Unasked(&'static str),
}

/// One failure of the only target there is.
struct Row {
    name: &'static str,
    script: &'static str,
    /// What our error is: status and cause of each record of a request that failed.
    told: (u16, &'static str),
    claude: (End, But),
    codex: (End, But),
    opencode: (End, But),
    aider: (End, But),
}

const FUTILE: &str = "the operator has to mend it, so that nobody shall run into it again";
const HEEDLESS: &str = "it reads no x-should-retry, and of a 502 that it may pass";
const BROKEN: &str = "an answer that only stops looks whole to it, ours says that it was cut";
const NAMELESS: &str = "the maker's object names no code, and only by the code would it go on";
const SLEEPS: &str = "the agent would sleep the minute and a half twice, and so would the test";

/// What breaks in mid-stream has gaps, so that what came before was shown.
const ROWS: [Row; 15] = [
    Row {
        name: "limited",
        script: "fault=status_429&retry_after=1&first=1",
        told: (429, "rate_limited"),
        claude: (Done(2), Nothing),
        codex: (Done(2), Nothing),
        opencode: (Done(2), Nothing),
        aider: (Done(2), Nothing),
    },
    Row {
        name: "limited-long",
        script: "fault=status_429&retry_after=90&first=2",
        told: (429, "rate_limited"),
        claude: (Stopped(1, "had reached its rate limit"), Unasked(SLEEPS)),
        codex: (Stopped(1, "429 Too Many Requests"), Unasked(SLEEPS)),
        opencode: (Done(3), Unasked(SLEEPS)),
        aider: (Done(3), Unasked(SLEEPS)),
    },
    Row {
        name: "spent",
        script: "fault=quota&first=2",
        told: (429, "quota_exhausted"),
        claude: (Stopped(1, "has no credit or quota left"), Nothing),
        codex: (Stopped(1, "Quota exceeded"), Nothing),
        opencode: (Done(3), Nothing),
        aider: (Done(3), Nothing),
    },
    Row {
        name: "busy",
        script: "fault=status_503&first=1",
        told: (503, "overloaded"),
        claude: (Done(2), Nothing),
        codex: (Done(2), Nothing),
        opencode: (Done(2), Nothing),
        aider: (Done(2), Nothing),
    },
    Row {
        name: "broken",
        script: "fault=status_500&first=1",
        told: (502, "server_error"),
        claude: (Done(2), Nothing),
        codex: (Done(2), Nothing),
        opencode: (Done(2), Nothing),
        aider: (Done(2), Nothing),
    },
    Row {
        name: "login",
        script: "fault=status_401&first=2",
        told: (502, "auth"),
        claude: (Stopped(1, "did not accept the credential"), Wide(FUTILE)),
        codex: (Done(3), Nothing),
        opencode: (Done(3), Wide(HEEDLESS)),
        aider: (Done(3), Wide(HEEDLESS)),
    },
    Row {
        name: "bad",
        script: "fault=bad_request&first=2",
        told: (400, "bad_request"),
        claude: (Done(3), Nothing),
        codex: (Stopped(1, "Your request could not be processed."), Nothing),
        opencode: (Stopped(1, "Your request could not be processed."), Nothing),
        aider: (Stopped(1, "Your request could not be processed."), Nothing),
    },
    Row {
        name: "policy",
        script: "fault=policy&first=2",
        told: (400, "content_policy"),
        claude: (Stopped(1, ""), Nothing),
        codex: (Stopped(1, ""), Nothing),
        opencode: (Stopped(1, ""), Nothing),
        aider: (Done(3), Nothing),
    },
    Row::broken("event", "fault=error_event&after=5&gap=50ms&first=1", "error_event"),
    Row::broken("event-late", "fault=error_event&after=5&gap=50ms&skip=1&first=1", "error_event"),
    Row::broken("event-busy", "fault=error_event_overloaded&after=5&gap=50ms&first=1", "error_event"),
    Row::broken("cut", "fault=reset&after=5&gap=50ms&first=1", "reset"),
    Row::broken("cut-late", "fault=reset&after=5&gap=50ms&skip=1&first=1", "reset"),
    Row::broken("end", "fault=early_end&after=5&gap=50ms&first=1", "early_end"),
    Row::broken("end-late", "fault=early_end&after=5&gap=50ms&skip=1&first=1", "early_end"),
];

impl Row {
    /// A stream that breaks, once: every agent asks again, and takes no half answer.
    const fn broken(name: &'static str, script: &'static str, cause: &'static str) -> Self {
        let again = (Done(2), Nothing);
        Self { name, script, told: (200, cause), claude: again, codex: again, opencode: again, aider: again }
    }

    /// What the agent is to do, over a target of this dialect.
    fn wanted(&self, agent: Agent, target: Tongue) -> (End, But) {
        // By whose policy: the maker's own words come through.
        let policy = match target {
            Tongue::Chat => "rejected as a result of our safety system",
            Tongue::Messages => "Output blocked by content filtering policy",
            Tongue::Responses => "flagged as potentially violating our usage policy",
        };
        match (agent, self.name) {
            // Anthropic's object names no code, and on the code aider goes on for ever.
            (Agent::Aider, "policy") if target == Tongue::Messages => (Stopped(1, policy), Wide(NAMELESS)),
            (Agent::Aider, "policy") => self.aider,
            (_, "policy") => (Stopped(1, policy), Nothing),
            // It ends on this code, and so does ours leave it.
            (Agent::Codex, "event-busy") => (Stopped(1, "Selected model is at capacity"), Nothing),
            (Agent::Aider | Agent::Opencode(_), "end") => (Done(2), Wide(BROKEN)),
            (Agent::Claude, _) => self.claude,
            (Agent::Codex, _) => self.codex,
            (Agent::Opencode(_), _) => self.opencode,
            (Agent::Aider, _) => self.aider,
        }
    }

    /// The cause in the records: behind a translation a 400 may be the translation's fault.
    fn cause(&self, agent: Agent, target: Tongue) -> &'static str {
        if self.name == "bad" && target != agent.tongue() { "unsupported_by_target" } else { self.told.1 }
    }
}

/// Who fails in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Vendor,
    Target(Tongue),
}

/// One run: a failure, by whom, and the model that is asked for.
struct Run {
    row: &'static Row,
    by: By,
    model: String,
}

/// What came of it.
struct Came {
    done: bool,
    ran: Ran,
    /// In the whole run.
    requests: usize,
    /// Records of those that failed.
    failed: Vec<Record>,
}

/// Its own dialect and another.
fn targets(agent: Agent) -> [Tongue; 2] {
    let own = agent.tongue();
    [own, if own == Tongue::Chat { Tongue::Messages } else { Tongue::Chat }]
}

fn rows(agent: Agent) -> impl Iterator<Item = &'static Row> {
    // All of aider's work is one turn.
    ROWS.iter().filter(move |row| agent != Agent::Aider || !row.name.ends_with("-late"))
}

/// A script of its own for each run, since the simulator counts by script.
fn runs(agent: Agent) -> (Vec<Run>, String) {
    let (mut runs, mut config) = (Vec::new(), aside());
    for (seed, row) in rows(agent).enumerate() {
        // A break late in the work is the same break again: no need to translate it twice.
        let foreign = usize::from(!row.name.ends_with("-late"));
        for (place, target) in targets(agent).into_iter().take(1 + foreign).enumerate() {
            let model = format!("{}-{place}", row.name);
            let _ = write!(
                config,
                "[targets.{model}]\nprovider = \"{}\"\nmodel = \"sim?{}&seed={seed}{place}\"\nmax_output_tokens = 64000\n\
                 [routes.{model}]\ntargets = [\"{model}\"]\n",
                target.provider(),
                row.script
            );
            runs.push(Run { row, by: By::Target(target), model });
        }
        if !matches!(row.wanted(agent, agent.tongue()).1, Unasked(_)) {
            runs.push(Run { row, by: By::Vendor, model: format!("sim?{}", row.script) });
        }
    }
    (runs, config)
}

/// Turns of good work: a call of the shell and the last words; all at once for aider.
const fn turns(agent: Agent) -> usize {
    if matches!(agent, Agent::Aider) { 1 } else { 2 }
}

fn prompt(desk: &Desk) -> String {
    if desk.agent == Agent::Aider {
        return desk.task(0);
    }
    // Half of it is not the end of it.
    let text = format!("It was slack before, as ropes are that nobody minds. {DONE}");
    format!("Mend it.\n{}\n@sim say {}", desk.agent.shell("echo 1 >> done.txt"), json!(text))
}

async fn work(folder: &Path, agent: Agent, addr: SocketAddr, model: &str) -> (bool, Ran) {
    let desk = Desk::at(folder.to_owned(), agent, addr, model).await;
    let ran = desk.ask(&prompt(&desk)).await;
    let done = if agent == Agent::Aider {
        desk.read("work/notes.txt") == "the rope is taut\n"
    } else {
        // A call that was cut and made all the same would leave a second line.
        ran.said.contains(DONE) && desk.lines() == "1\n"
    };
    let half = !done && (desk.lines() != "" || desk.read("work/notes.txt") != "the rope is slack\n");
    assert!(!half, "{agent:?} {model}: neither done nor left alone: {ran:#?}");
    (done, ran)
}

/// Nothing of the gateway's own patience stands between the agent and the error.
const GATEWAY: &str = "retry_after_wait_max = \"1ms\"\nsame_target_retries = 0\n";

async fn came(folder: &Path, agent: Agent, runs: &[Run], config: &str) -> Vec<Came> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let vendor = Sim::start(listener, SimSettings::default());
    let house = House::start(GATEWAY, config).await;
    let (vendors, ours) = (vendor.addr(), house.addr);
    let at = |run: &Run| if run.by == By::Vendor { vendors } else { ours };
    // Two at a time: agents mostly wait, for themselves or before they ask again.
    let ran: Vec<(bool, Ran)> =
        stream::iter(runs).map(|run| work(folder, agent, at(run), &run.model)).buffered(2).collect().await;
    let records = house.records().await;
    let asked = vendor.seen();
    let one = |(run, (done, ran)): (&Run, (bool, Ran))| {
        let all = records.get(&run.model).map_or(&[][..], Vec::as_slice);
        let path = |seen: &&tautline::sim::Seen| seen.model == run.model && seen.path == agent.tongue().path();
        let requests = if run.by == By::Vendor { asked.iter().filter(path).count() } else { all.len() };
        let failed = all.iter().filter(|record| record.cause != "none").cloned().collect();
        Came { done, ran, requests, failed }
    };
    assert!(asked.iter().all(|seen| seen.model == ASIDE || runs.iter().any(|run| run.model == seen.model)));
    runs.iter().zip(ran).map(one).collect()
}

/// How it ended, in the row's terms.
fn end(agent: Agent, came: &Came, words: &'static str) -> End {
    if came.done {
        return Done(came.requests.saturating_sub(turns(agent) - 1));
    }
    Stopped(came.requests, if came.ran.tells(words) { words } else { "other words" })
}

/// `None`: as it is to be.
fn wrong(agent: Agent, run: &Run, came: &Came, vendors: Option<&Came>) -> Option<String> {
    let By::Target(target) = run.by else { return None };
    let (wanted, but) = run.row.wanted(agent, target);
    let words = if let Stopped(_, words) = wanted { words } else { "" };
    let got = end(agent, came, words);
    // aider ends well whatever became of its work, as far as a shell can see.
    let code = i32::from(!came.done && agent != Agent::Aider);
    let told = (run.row.told.0, run.row.cause(agent, target));
    let errors: Vec<(u16, &str)> = came.failed.iter().map(|record| (record.status, &*record.cause)).collect();
    let count = |end: End| match end {
        Done(tries) => (true, tries),
        Stopped(tries, _) => (false, tries),
    };
    let vendors = vendors.map(|came| count(end(agent, came, "")));
    let alike = match but {
        Nothing => vendors == Some(count(got)),
        Wide(_) => vendors.is_some_and(|vendors| vendors != count(got)),
        Unasked(_) => vendors.is_none(),
    };
    let failures = match wanted {
        Done(tries) => tries - 1,
        Stopped(tries, _) => tries,
    };
    if got == wanted && alike && came.ran.code == Some(code) && errors == vec![told; failures] {
        return None;
    }
    Some(format!(
        "{agent:?}, {}, target in {target:?}: {got:?}, code {:?}, {errors:?}\n  wanted {wanted:?} {but:?} {told:?}\n  \
         vendor {vendors:?}\n  {:#?}\n",
        run.row.name, came.ran.code, came.ran
    ))
}

async fn behaves_as_under_the_vendor(agent: Agent, test: &str) {
    let Some(folder) = Agent::installed(test) else { return };
    let (runs, config) = runs(agent);
    let came = came(&folder, agent, &runs, &config).await;
    let vendors = |row: &Row| {
        let found = runs.iter().position(|run| run.by == By::Vendor && run.row.name == row.name);
        found.map(|place| &came[place])
    };
    let wrong: String =
        runs.iter().zip(&came).filter_map(|(run, came)| wrong(agent, run, came, vendors(run.row))).collect();
    assert!(wrong.is_empty(), "\n{wrong}");
}

macro_rules! agents {
    ($($name:ident, $agent:expr;)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "long: an agent at work"]
            async fn $name() {
                behaves_as_under_the_vendor($agent, stringify!($name)).await;
            }
        )*
    };
}

agents! {
    claude_behaves_as_under_its_vendor, Agent::Claude;
    codex_behaves_as_under_its_vendor, Agent::Codex;
    opencode_behaves_as_under_its_vendor, Agent::Opencode(Tongue::Chat);
    aider_behaves_as_under_its_vendor, Agent::Aider;
}
