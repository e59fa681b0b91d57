//! README's lines for each agent, taken out of it and run as they stand, by a shell.

use super::agent::{Agent, NOTE};
use crate::readme::{block, config};
use crate::support::{Folder, House, Tongue};
use std::path::Path;
use tautline::domain::record::Outcome;
use tautline::gateway::record::{self, RecordQuery};

/// A folder of programs: the gateway's own and the agents.
fn programs(home: &Folder, agents: &Path) {
    let bin = home.path().join("bin");
    std::fs::create_dir(&bin).expect("the folder takes folders");
    let link = |to: &Path, name: &str| std::os::unix::fs::symlink(to, bin.join(name)).expect("the folder takes links");
    link(Path::new(env!("CARGO_BIN_EXE_tautline")), "tautline");
    for name in ["claude", "codex", "opencode"] {
        link(&agents.join("node_modules/.bin").join(name), name);
    }
    link(&agents.join("venv/bin/aider"), "aider");
}

async fn runs(test: &str, agent: Agent, section: &str) {
    let Some(agents) = Agent::installed(test) else { return };
    let house = House::start("", &config()).await;
    let home = Folder::new();
    programs(&home, &agents);
    home.write(NOTE, "the rope is slack\n");
    // `connect` finds the gateway by the configuration in the folder it is run in.
    home.write("tautline.toml", &format!("[gateway]\nlisten = [\"{}\"]\n", house.addr));
    let lines = block(section, "sh");
    let path = format!("{}:{}", home.path().join("bin").display(), std::env::var("PATH").expect("programs somewhere"));
    let ran = agent.shell_of(&home, &path, &lines).await;
    assert!(ran.status.success(), "{section}: {ran:?}");
    house.running.gateway.settling.sink.flush().await;
    let page = record::list(&house.running.store, &RecordQuery::default()).await.expect("readable");
    let good = page.records.iter().filter(|record| record.outcome == Outcome::Ok && record.route == "auto").count();
    assert!(good >= 1 && page.records[0].path == agent.tongue().path(), "{section}: {:#?}", page.records);
}

macro_rules! blocks {
    ($($name:ident: $agent:expr, $section:literal;)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "long: an agent at work"]
            async fn $name() {
                runs(stringify!($name), $agent, $section).await;
            }
        )*
    };
}

blocks! {
    the_lines_of_claude_code_run: Agent::Claude, "Claude Code";
    the_lines_of_codex_run: Agent::Codex, "Codex";
    the_lines_of_opencode_run: Agent::Opencode(Tongue::Chat), "OpenCode";
    the_lines_of_aider_run: Agent::Aider, "Aider";
}
