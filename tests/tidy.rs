//! The guard at every landing: the house's rules, read off the source as text.
//!
//! `rules` holds each rule as a pure function from one file to its findings,
//! `scan` reads source as text, `falsified` shows that each rule can fail. This
//! file walks the tree. Refuses to parse Rust in full: it counts on rustfmt's
//! layout. Invariant: a finding names file, line and what to do.

#[path = "tidy/falsified.rs"]
mod falsified;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/scan.rs"]
mod scan;

use rules::*;
use scan::Source;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Where banned words are looked for; whatever is not there yet is skipped.
const READ_FOR_WORDS: [&str; 11] = [
    "src",
    "tests",
    "benches",
    "config",
    "deploy",
    "dashboards",
    "docs",
    ".ci",
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
];

#[test]
fn imports_go_down() {
    check(&sources(), floors);
}

#[test]
fn pingora_stays_at_its_two_places() {
    check(&sources(), pingora);
}

#[test]
fn files_stay_small() {
    for file in sources().iter().filter(|file| file.own_lines() > FILE_LINES_NOTED) {
        println!("note: {} has {} lines, give it a second look", file.path, file.own_lines());
    }
    check(&sources(), file_size);
}

#[test]
fn functions_stay_small() {
    check(&sources(), function_size);
}

#[test]
fn rooms_and_files_are_named_for_what_they_hold() {
    check(&sources(), names);
}

#[test]
fn mod_files_hold_docs_and_reexports() {
    check(&sources(), mod_file);
}

#[test]
fn every_file_says_what_it_owns() {
    check(&sources(), module_doc);
}

#[test]
fn banned_words_stay_out() {
    let files: Vec<Source> = READ_FOR_WORDS.iter().flat_map(|place| tree(place, None)).collect();
    check(&files, words);
}

#[test]
fn nobody_unwraps_outside_tests() {
    check(&sources(), unwraps);
}

#[test]
fn only_boot_reads_the_environment() {
    check(&sources(), environment);
}

#[test]
fn gauges_fall_by_guards() {
    check(&sources(), dec);
}

/// The command that the README shows is the command that CI runs.
#[test]
fn readme_and_ci_run_the_same_tests() {
    let ci = std::fs::read_to_string(root().join(".ci/run")).expect(".ci/run is part of the tree");
    let command = test_command(&ci).expect(".ci/run has one line TEST_COMMAND=\"...\"");
    match std::fs::read_to_string(root().join("README.md")) {
        Ok(readme) => assert!(
            readme.lines().any(|line| line.trim().trim_start_matches("$ ") == command),
            "README.md: show the tests' command as .ci/run has it, on a line of its own: {command}"
        ),
        Err(_) => println!("note: there is no README.md yet to compare with"),
    }
}

fn test_command(script: &str) -> Option<&str> {
    let mut lines = script.lines().filter_map(|line| line.strip_prefix("TEST_COMMAND=\""));
    let command = lines.next()?.strip_suffix('"');
    if lines.next().is_some() { None } else { command }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let files = tree("src", Some("rs"));
    assert!(!files.is_empty(), "src/ holds no Rust file: the rules would pass on nothing");
    files
}

/// Every readable text file at or below `place`, sorted; nothing if it is not there.
fn tree(place: &str, extension: Option<&str>) -> Vec<Source> {
    let mut files = Vec::new();
    collect(&root().join(place), extension, &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn collect(path: &Path, extension: Option<&str>, files: &mut Vec<Source>) {
    if path.is_dir() {
        if path.ends_with("node_modules") || path.ends_with("target") {
            return;
        }
        let entries = std::fs::read_dir(path).expect("a folder of the tree can be read");
        for entry in entries {
            collect(&entry.expect("its entries can be read").path(), extension, files);
        }
        return;
    }
    if extension.is_some_and(|wanted| path.extension().is_none_or(|found| found != wanted)) {
        return;
    }
    // What is not text holds no words.
    let Ok(text) = std::fs::read_to_string(path) else {
        return;
    };
    let relative = path.strip_prefix(root()).expect("it was found below the root");
    files.push(Source::new(&relative.to_string_lossy().replace('\\', "/"), &text));
}

fn check(files: &[Source], rule: fn(&Source) -> Vec<Finding>) {
    let mut report = String::new();
    for file in files {
        for Finding { line, fix } in rule(file) {
            let _ = writeln!(report, "{}:{line}: {fix}", file.path);
        }
    }
    assert!(report.is_empty(), "\n{report}");
}
