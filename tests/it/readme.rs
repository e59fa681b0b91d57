//! What README.md shows for each client, taken out of it and run as it stands.
//!
//! Only the address is another: the gateway of a test has a port of its own.

use crate::support::{Folder, House, Language, absent, sim_target};
use std::net::SocketAddr;
use std::process::Stdio;
use tautline::domain::record::Outcome;
use tautline::sim::answer_text;

/// How many tokens the only target answers with.
const TOKENS: usize = 20;
/// What the blocks ask.
const QUESTIONS: [&str; 2] = ["Why do ropes go slack?", "And why do they snap?"];

/// The route that README's blocks ask for.
pub fn config() -> String {
    sim_target("any", &format!("tokens={TOKENS}"), "max_output_tokens = 64000")
        + "[tasks.chat]\ntargets = [\"any\"]\n[routes.auto]\nby_task = true\ndefault_task = \"chat\"\n"
}

/// The first block of `language` below the heading of `client`.
pub fn block(client: &str, language: &str) -> String {
    let page = include_str!("../../README.md");
    let (_, section) =
        page.split_once(&format!("\n### {client}\n")).unwrap_or_else(|| panic!("{client} has a section"));
    let section = section.split("\n### ").next().expect("at least what is there");
    let (_, block) =
        section.split_once(&format!("\n```{language}\n")).unwrap_or_else(|| panic!("{client} has a block"));
    block.split_once("\n```\n").expect("a block ends").0.to_owned()
}

/// The block with the address of this gateway in it.
fn at(addr: SocketAddr, block: &str) -> String {
    let here = block.replace("http://127.0.0.1:4000", &format!("http://{addr}"));
    assert_ne!(here, block, "the block names the gateway");
    here
}

/// Runs the block of a client by the package `module`, and demands that it prints each
/// of `answers` answers whole, asked at these paths.
async fn runs(test: &str, client: &str, language: Language, module: &str, paths: &[&str]) {
    let fence = if language == Language::Python { "python" } else { "js" };
    let folder = Folder::new();
    let name = if language == Language::Python { "block.py" } else { "block.mjs" };
    let Some(mut command) = language.script(test, &folder.path().join(name).display().to_string()) else { return };
    if language == Language::Python && !has(&command, module).await {
        absent(test, &format!("the Python module {module} is not installed (.ci/run full installs it)"));
        return;
    }
    if let Some(packages) = std::env::var_os("TAUTLINE_TEST_NODE_PATH") {
        // Modules of this kind are not looked for by NODE_PATH.
        let there = std::path::PathBuf::from(packages).join("node_modules");
        std::os::unix::fs::symlink(there, folder.path().join("node_modules")).expect("the folder takes links");
    }
    let house = House::start("", &config()).await;
    folder.write(name, &at(house.addr, &block(client, fence)));
    let output =
        command.stdin(Stdio::null()).current_dir(folder.path()).output().await.expect("the interpreter starts");
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{client}: {output:?}");
    let asked_for_words = paths.iter().filter(|path| !path.ends_with("count_tokens")).count();
    let printed: usize =
        QUESTIONS.map(|question| out.matches(answer_text(question, TOKENS).trim()).count()).iter().sum();
    assert_eq!(printed, asked_for_words, "{client} prints its answers: {out}");
    let records = house.records().await;
    let records: Vec<_> = records.into_values().flatten().collect();
    let mut asked: Vec<&str> = records.iter().map(|record| record.path.as_str()).collect();
    asked.sort_unstable();
    assert_eq!(asked, paths, "{client}");
    assert!(records.iter().all(|record| record.outcome == Outcome::Ok), "{client}: {records:#?}");
}

async fn has(command: &tokio::process::Command, module: &str) -> bool {
    let mut probe = tokio::process::Command::new(command.as_std().get_program());
    probe.args(["-c", &format!("import {module}")]).output().await.expect("the interpreter starts").status.success()
}

const CHAT: &str = "/v1/chat/completions";
const RESPONSES: &str = "/v1/responses";
const MESSAGES: &str = "/v1/messages";
const COUNT: &str = "/v1/messages/count_tokens";

macro_rules! blocks {
    ($($(#[$ignore:meta])? $name:ident: $client:literal, $language:ident, $module:literal, $paths:expr;)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            $(#[$ignore])?
            async fn $name() {
                runs(stringify!($name), $client, Language::$language, $module, $paths).await;
            }
        )*
    };
}

blocks! {
    the_block_of_openai_for_python_runs: "OpenAI for Python", Python, "openai", &[CHAT, RESPONSES];
    the_block_of_openai_for_node_runs: "OpenAI for Node", Node, "openai", &[CHAT, RESPONSES];
    the_block_of_anthropic_for_python_runs: "Anthropic for Python", Python, "anthropic", &[MESSAGES, COUNT];
    the_block_of_anthropic_for_node_runs: "Anthropic for Node", Node, "@anthropic-ai/sdk", &[MESSAGES];
    #[ignore = "long: .ci/run full installs it"]
    the_block_of_langchain_runs: "LangChain", Python, "langchain_openai", &[CHAT, MESSAGES, RESPONSES];
    #[ignore = "long: .ci/run full installs it"]
    the_block_of_the_agents_sdk_runs: "OpenAI Agents SDK", Python, "agents", &[RESPONSES];
}
