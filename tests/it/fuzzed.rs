//! The corpora of the fuzz targets, whatever fuzzing found, and mutations of both,
//! through the same functions that are fuzzed.

use crate::corpus::{corpus, files};
use fastrand::Rng;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};
use tautline::wire::fuzzed::{TARGETS, Target, mutated, mutated_values};

/// Mutations of each file, of values and of bytes in turn.
const MUTATIONS: usize = 6;
/// One input, unoptimised, on a busy machine.
const ONE_MAX: Duration = Duration::from_secs(4);

/// Runs a target; an input that it does not stand is left in the target folder.
fn run(target: Target, name: &str, bytes: &[u8]) {
    let began = Instant::now();
    if catch_unwind(AssertUnwindSafe(|| target(bytes))).is_err() {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name.replace(['/', ' ', ','], "_"));
        std::fs::write(&kept, bytes).expect("a file");
        panic!("{name}: see above; the input is {}", kept.display());
    }
    assert!(began.elapsed() < ONE_MAX, "{name}: {:?}", began.elapsed());
}

/// Replays what there is for the targets whose names begin like this.
fn replay(prefix: &str) {
    let strange = corpus("body");
    let mut rng = Rng::with_seed(11);
    for (name, target) in TARGETS.into_iter().filter(|(name, _)| name.starts_with(prefix)) {
        let seeds = files(&format!("fuzz/corpus/{name}"));
        assert!(seeds.len() > 3, "{name} has a corpus");
        for (file, bytes) in seeds.into_iter().chain(files(&format!("fuzz/found/{name}"))) {
            run(target, &format!("{name}/{file}"), &bytes);
            for number in 0..MUTATIONS {
                let odd = if number % 2 == 0 { mutated_values(&bytes, &mut rng) } else { mutated(&bytes, &mut rng) };
                run(target, &format!("{name}/{file}, mutation {number}"), &odd);
            }
        }
        for (file, bytes) in &strange {
            run(target, &format!("{name}, body/{file}"), bytes);
        }
    }
}

#[test]
fn requests_of_the_corpora_are_written_as_we_would_take_them() {
    replay("request_");
}

#[test]
fn chat_streams_of_the_corpora_become_good_streams() {
    replay("stream_chat");
}

#[test]
fn messages_streams_of_the_corpora_become_good_streams() {
    replay("stream_messages");
}

#[test]
fn responses_streams_of_the_corpora_become_good_streams() {
    replay("stream_responses");
}

#[test]
fn whole_answers_of_the_corpora_become_good_answers() {
    replay("whole_");
}

#[test]
fn frames_codings_errors_and_seals_of_the_corpora_are_read_or_refused() {
    for name in ["sse", "error", "inflate", "seals"] {
        replay(name);
    }
}

#[test]
fn every_target_is_a_program_of_the_fuzz_package() {
    let known: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let programs = files("fuzz/fuzz_targets").into_iter();
    let programs: BTreeSet<String> = programs.map(|(name, _)| name.trim_end_matches(".rs").to_owned()).collect();
    assert_eq!(programs, known);
    let manifest = include_str!("../../fuzz/Cargo.toml");
    for (name, text) in files("fuzz/fuzz_targets") {
        let name = name.trim_end_matches(".rs");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "fuzz/Cargo.toml lacks {name}");
        let text = String::from_utf8(text).expect("text");
        assert!(text.contains(&format!("fuzzed::{name}(bytes)")), "{name} runs itself");
    }
    for folder in ["fuzz/corpus", "fuzz/found"] {
        for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).into_iter().flatten() {
            let name = entry.expect("readable").file_name().to_string_lossy().into_owned();
            assert!(known.contains(&name), "{folder}/{name} is of no target");
        }
    }
}
