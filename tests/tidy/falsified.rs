//! Small texts that break each rule, and their lawful neighbours.

use super::rules::*;
use super::scan::*;
use super::test_command;

fn found(rule: fn(&Source) -> Vec<Finding>, path: &str, text: &str) -> Vec<usize> {
    rule(&Source::new(path, text)).into_iter().map(|finding| finding.line).collect()
}

#[test]
fn an_import_may_not_go_up_or_sideways() {
    let path = "src/wire/chat.rs";
    assert_eq!(found(floors, path, "\nuse crate::gateway::plan;\n"), [2]);
    assert_eq!(found(floors, path, "fn f() { crate::store::open() }"), [1]);
    assert_eq!(found(floors, path, "use crate::{domain::ids, serve::{a, wire}};"), [1]);
    assert_eq!(found(floors, path, "use crate::attic::box_of_things;"), [1]);
    assert!(found(floors, path, "use crate::{domain::ids, wire::sse};").is_empty());
    assert!(found(floors, path, "// crate::gateway\n/* crate::boot */ let s = \"crate::boot\";").is_empty());
    assert!(found(floors, path, "pub(in crate::wire) fn f() {}").is_empty());
}

#[test]
fn roles_do_not_know_each_other_and_the_doorbell_may_ring_anyone() {
    assert_eq!(found(floors, "src/sim/mod.rs", "use crate::gateway::plan;"), [1]);
    assert_eq!(found(floors, "src/cellar/mod.rs", ""), [1]);
    assert_eq!(found(floors, "src/main.rs", "fn main() { tautline::attic::run() }"), [1]);
    assert!(found(floors, "src/main.rs", "fn main() { tautline::boot::run() }").is_empty());
    assert!(found(floors, "src/lib.rs", "pub mod anything; use crate::anything;").is_empty());
}

#[test]
fn super_does_not_slip_past_the_floors() {
    assert_eq!(found(floors, "src/wire/mod.rs", "use super::gateway::plan;"), [1]);
    assert_eq!(found(floors, "src/wire/chat.rs", "use super::super::gateway;"), [1]);
    assert!(found(floors, "src/wire/chat.rs", "use super::sse;").is_empty());
    assert!(found(floors, "src/wire/chat/tool.rs", "use super::super::sse;").is_empty());
    let tests = "mod tests {\n    use super::*;\n    use super::super::sse;\n}\n";
    assert!(found(floors, "src/wire/chat.rs", tests).is_empty());
    assert_eq!(found(floors, "src/wire/chat.rs", &format!("{tests}use super::super::a;")), [5]);
}

#[test]
fn pingora_may_not_wander() {
    let text = "use pingora_core::Result;";
    assert_eq!(found(pingora, "src/gateway/relay.rs", text), [1]);
    assert!(found(pingora, "src/serve/listen.rs", text).is_empty());
    assert!(found(pingora, "src/gateway/provider/transport/pool.rs", text).is_empty());
    assert!(found(pingora, "src/gateway/relay.rs", "// pingora_core does this").is_empty());
}

#[test]
fn long_files_are_refused_and_their_tests_not_counted() {
    let long = "//\n".repeat(FILE_LINES_MAX + 1);
    assert_eq!(found(file_size, "src/wire/sse.rs", &long), [FILE_LINES_MAX + 1]);
    let tested = format!("fn f() {{}}\n\n#[cfg(test)]\nmod tests {{\n{long}}}\n");
    assert!(found(file_size, "src/wire/sse.rs", &tested).is_empty());
    assert_eq!(found(file_size, "src/main.rs", &"//\n".repeat(41)), [41]);
}

#[test]
fn long_functions_are_refused_and_flat_matches_are_not() {
    let path = "src/wire/sse.rs";
    let body = "        step();\n".repeat(FUNCTION_LINES_MAX);
    let long = format!("impl A {{\n    pub(crate) async fn f(\n        a: u8,\n    ) -> u8 {{\n{body}    }}\n}}\n");
    assert_eq!(found(function_size, path, &long), [2]);
    let arms = "        A => \"; {\",\n".repeat(FUNCTION_LINES_MAX);
    let flat = format!("const fn f(a: A) -> B {{\n    match a {{\n{arms}    }}\n}}\n");
    assert!(found(function_size, path, &flat).is_empty());
    let heavy = flat.replacen("A => \"; {\",", "A => {\n a()\n b()\n c()\n        }", 1);
    assert_eq!(found(function_size, path, &heavy), [1]);
    let short = "fn a() {}\nfn b();\nfn c() {\n    d();\n}\n".repeat(FUNCTION_LINES_MAX);
    assert!(found(function_size, path, &short).is_empty());
}

#[test]
fn functions_are_measured_from_fn_to_brace() {
    let code = "fn a() {\n    let f = || {\n    };\n}\n\npub(in crate::x) unsafe fn b(\n) {\n}\n";
    let sizes: Vec<_> = functions(code).iter().map(|f| (f.name(), f.line, f.lines.len())).collect();
    assert_eq!(sizes, [("a".to_owned(), 1, 4), ("b".to_owned(), 6, 3)]);
}

#[test]
fn names_that_say_nothing_are_refused() {
    assert_eq!(found(names, "src/gateway/utils.rs", ""), [1]);
    assert_eq!(found(names, "src/common/mod.rs", ""), [1]);
    assert!(found(names, "src/gateway/commons.rs", "").is_empty());
}

#[test]
fn mod_files_may_not_grow_a_story() {
    let free = "//! Doc.\n\nfn f() {\n    a();\n    b();\n}\n";
    assert_eq!(found(mod_file, "src/wire/mod.rs", free), [3]);
    assert!(found(mod_file, "src/wire/sse.rs", free).is_empty());
    let method = "impl A {\n    fn f() {\n        a();\n        b();\n    }\n}\n";
    assert!(found(mod_file, "src/wire/mod.rs", method).is_empty());
}

#[test]
fn files_without_a_doc_are_refused() {
    assert_eq!(found(module_doc, "src/wire/sse.rs", "use a;\n//! late"), [1]);
    assert!(found(module_doc, "src/wire/sse.rs", "//! Owns sse.\n").is_empty());
}

#[test]
fn every_banned_word_is_found() {
    for (word, _) in BANNED_WORDS {
        assert_eq!(found(words, "README.md", &format!("a\n {word} b")), [2], "{word}");
    }
    assert!(found(words, "README.md", concat!("target/wo", "rk/a")).is_empty());
}

#[test]
fn unwraps_environment_and_dec_are_found_in_code_alone() {
    let text = "fn f() { a.unwrap(); std::env::var(\"A\"); g.dec(); }\n";
    for rule in [unwraps, environment, dec] {
        assert_eq!(found(rule, "src/wire/sse.rs", text), [1]);
        assert!(found(rule, "src/wire/sse.rs", &format!("// {text}")).is_empty());
    }
    assert!(found(environment, "src/boot/config.rs", text).is_empty());
    let tested = format!("fn f() {{}}\n\n#[cfg(test)]\nmod tests {{\n{text}}}\n");
    assert!(found(unwraps, "src/wire/sse.rs", &tested).is_empty());
    assert!(found(unwraps, "src/wire/sse.rs", "a.unwrap_or_default()").is_empty());
}

#[test]
fn literals_and_comments_are_blanked_in_place() {
    let text = "a \"x\\\"y\" b 'c' '\\'' d: &'a str r#\"e\"f\"# /* g /* h */ i */ j // k\nlé";
    let code = blank(text);
    assert_eq!(code.len(), text.len());
    let left: Vec<&str> = code.split_whitespace().collect();
    assert_eq!(left, ["a", "b", "d:", "&'a", "str", "j", "lé"]);
    assert_eq!(blank("\"a\nb\"\nc").lines().count(), 3);
}

#[test]
fn the_test_command_stands_on_one_line_only() {
    assert_eq!(test_command("a\nTEST_COMMAND=\"cargo x\"\n"), Some("cargo x"));
    assert_eq!(test_command("TEST_COMMAND=\"a\"\nTEST_COMMAND=\"b\"\n"), None);
}
