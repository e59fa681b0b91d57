//! The rules, each a pure function from one file to its findings.

use super::scan::{Source, functions, indent, is_word, line_of, lines_with};

pub const FILE_LINES_MAX: usize = 700;
pub const FILE_LINES_NOTED: usize = 400;
pub const MAIN_LINES_MAX: usize = 40;
pub const FUNCTION_LINES_MAX: usize = 70;
/// In `mod.rs`: a free function is a re-export with arguments or it has a file.
pub const MOD_FUNCTION_LINES_MAX: usize = 3;
pub const MOD_METHOD_LINES_MAX: usize = 20;

/// Rooms and their floors. `main.rs` stands above all of them, `lib.rs` lists them.
pub const FLOORS: [(&str, u8); 14] = [
    ("boot", 4),
    ("gateway", 3),
    ("runner", 3),
    ("memory", 3),
    ("sim", 3),
    ("drill", 3),
    ("serve", 2),
    ("peer", 2),
    ("wire", 1),
    ("telemetry", 1),
    ("store", 1),
    ("child", 1),
    ("embed", 1),
    ("domain", 0),
];

pub const BANNED_NAMES: [&str; 7] = ["util", "utils", "common", "helpers", "manager", "types", "misc"];

/// Spelt in two halves, since this file is read as well.
pub const BANNED_WORDS: [(&str, &str); 13] = [
    (concat!("TO", "DO"), "do it now, or file an issue"),
    (concat!("FIX", "ME"), "mend it now, or file an issue"),
    (concat!("todo", "!("), "write the code"),
    (concat!("unimpl", "emented!("), "write the code"),
    (concat!("db", "g!("), "take it out"),
    (concat!("crates", ".io"), "name no package registry's host"),
    (concat!("pypi", ".org"), "name no package registry's host"),
    (concat!("python", "hosted.org"), "name no package registry's host"),
    (concat!("npm", "js.org"), "name no package registry's host"),
    (concat!("proxy.", "golang.org"), "name no package registry's host"),
    (concat!("deb.", "debian.org"), "name no package registry's host"),
    (concat!("/wo", "rk/"), "use a path relative to the repository"),
    (concat!("/ro", "ot/"), "use a path relative to the repository"),
];

/// Something that breaks a rule: its line (from 1) and how to mend it.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    pub line: usize,
    pub fix: String,
}

pub fn finding(line: usize, fix: impl Into<String>) -> Finding {
    Finding { line, fix: fix.into() }
}

/// `use crate::X` and `crate::X::` may only go to a lower floor or stay in the room.
pub fn floors(file: &Source) -> Vec<Finding> {
    if file.path == "src/lib.rs" {
        return Vec::new();
    }
    let room = file.room();
    let Some(own) = floor_of(room) else {
        return vec![finding(1, format!("the room `{room}` is on no floor: add it to FLOORS"))];
    };
    let mut findings = Vec::new();
    for (line, other) in rooms_named(file) {
        match floor_of(&other) {
            None => findings.push(finding(line, format!("`{other}` is no room of the floor plan"))),
            Some(_) if other == room => {}
            Some(floor) if floor < own => {}
            Some(floor) => findings.push(finding(
                line,
                format!(
                    "`{room}` (floor {own}) may not know `{other}` (floor {floor}): imports go \
                     down; move what both need to a lower floor"
                ),
            )),
        }
    }
    findings.extend(escapes(file));
    findings
}

/// Floor of a room; `main` stands on top.
pub fn floor_of(room: &str) -> Option<u8> {
    if room == "main" {
        return Some(5);
    }
    FLOORS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor)
}

/// Every room that a path from the crate's root names, with its line.
pub fn rooms_named(file: &Source) -> Vec<(usize, String)> {
    let mut roots = vec!["crate::"];
    if file.path == "src/main.rs" {
        roots.push("tautline::");
    }
    let mut named = Vec::new();
    for root in roots {
        for (at, _) in file.code.match_indices(root) {
            if file.code[..at].ends_with(is_word) {
                continue;
            }
            let line = line_of(&file.code, at);
            let rest = &file.code[at + root.len()..];
            named.extend(first_segments(rest).into_iter().map(|room| (line, room)));
        }
    }
    named
}

/// The first segment of a path, or of each path in a `{...}` group.
pub fn first_segments(rest: &str) -> Vec<String> {
    let Some(group) = rest.strip_prefix('{') else {
        return vec![rest.chars().take_while(|c| is_word(*c)).collect()];
    };
    let (mut depth, mut expected, mut segments) = (0_u32, true, Vec::new());
    let mut chars = group.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => expected = true,
            _ if is_word(c) && depth == 0 && expected => {
                let mut segment = String::from(c);
                while let Some(c) = chars.next_if(|c| is_word(*c)) {
                    segment.push(c);
                }
                segments.push(segment);
                expected = false;
            }
            _ => {}
        }
    }
    segments
}

/// `super::super::` far enough to leave the room would slip past the floors.
pub fn escapes(file: &Source) -> Vec<Finding> {
    let depth = file.path.trim_start_matches("src/").trim_end_matches("/mod.rs").split('/').count();
    let mut findings = Vec::new();
    for (index, line) in file.code.lines().enumerate() {
        let mut rest = line;
        while let Some(at) = rest.find("super::") {
            let chain = rest[at..].split("super::").take_while(|part| part.is_empty()).count();
            let supers = chain.max(1);
            if supers >= depth + inline_depth(&file.code, index) {
                findings.push(finding(index + 1, "leave the room by `crate::`, not by `super::`"));
            }
            rest = &rest[at + supers * "super::".len()..];
        }
    }
    findings
}

/// How many inline `mod x {` blocks the line stands in.
pub fn inline_depth(code: &str, index: usize) -> usize {
    let mut open: Vec<usize> = Vec::new();
    for line in code.lines().take(index) {
        let declares = line.trim_start().trim_start_matches("pub ").starts_with("mod ");
        if declares && line.trim_end().ends_with('{') {
            open.push(indent(line));
        } else if line.trim() == "}" && open.last() == Some(&indent(line)) {
            open.pop();
        }
    }
    open.len()
}

pub fn pingora(file: &Source) -> Vec<Finding> {
    let allowed = file.path.starts_with("src/serve/")
        || file.path == "src/gateway/provider/transport.rs"
        || file.path.starts_with("src/gateway/provider/transport/");
    if allowed {
        return Vec::new();
    }
    lines_with(&file.code, |line| line.contains("pingora_") || line.contains("pingora::"))
        .map(|line| finding(line, "pingora stops at `serve/` and `gateway/provider/transport.rs`"))
        .collect()
}

pub fn file_size(file: &Source) -> Vec<Finding> {
    let bound = if file.path == "src/main.rs" { MAIN_LINES_MAX } else { FILE_LINES_MAX };
    let lines = file.own_lines();
    if lines <= bound {
        return Vec::new();
    }
    let fix = format!("{lines} lines, {bound} are allowed: split it by reason to change");
    vec![finding(bound + 1, fix)]
}

pub fn function_size(file: &Source) -> Vec<Finding> {
    functions(file.own_code())
        .into_iter()
        .filter(|function| function.lines.len() > FUNCTION_LINES_MAX && !function.is_flat_match())
        .map(|function| {
            let lines = function.lines.len();
            let name = function.name();
            finding(
                function.line,
                format!("`{name}` has {lines} lines, {FUNCTION_LINES_MAX} are allowed: name its parts"),
            )
        })
        .collect()
}

pub fn names(file: &Source) -> Vec<Finding> {
    file.path
        .split('/')
        .map(|part| part.trim_end_matches(".rs"))
        .filter(|part| BANNED_NAMES.contains(part))
        .map(|part| finding(1, format!("`{part}` says nothing: let it live with its one user")))
        .collect()
}

pub fn mod_file(file: &Source) -> Vec<Finding> {
    if !file.path.ends_with("/mod.rs") {
        return Vec::new();
    }
    functions(file.own_code())
        .into_iter()
        .filter(|function| {
            let bound = if function.indent == 0 { MOD_FUNCTION_LINES_MAX } else { MOD_METHOD_LINES_MAX };
            function.lines.len() > bound
        })
        .map(|function| {
            finding(function.line, format!("`mod.rs` holds docs and re-exports: give `{}` a file", function.name()))
        })
        .collect()
}

pub fn module_doc(file: &Source) -> Vec<Finding> {
    if file.text.starts_with("//!") {
        return Vec::new();
    }
    vec![finding(1, "open with `//!`: what it owns, what it refuses, one invariant")]
}

pub fn words(file: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (word, fix) in BANNED_WORDS {
        for (at, _) in file.text.match_indices(word) {
            // `a/work/b` is a path of ours; one that begins with it is somebody's machine.
            let inside =
                word.starts_with('/') && file.text[..at].ends_with(|c: char| is_word(c) || ".-*})".contains(c));
            if !inside {
                findings.push(finding(line_of(&file.text, at), format!("`{word}`: {fix}")));
            }
        }
    }
    findings
}

pub fn unwraps(file: &Source) -> Vec<Finding> {
    lines_with(file.own_code(), |line| line.contains(".unwrap()"))
        .map(|line| finding(line, "`expect` the invariant that makes it unreachable, or return it"))
        .collect()
}

pub fn environment(file: &Source) -> Vec<Finding> {
    if file.room() == "boot" {
        return Vec::new();
    }
    lines_with(&file.code, |line| line.contains("env::var"))
        .map(|line| finding(line, "only `boot` reads the environment: take it as a setting"))
        .collect()
}

pub fn dec(file: &Source) -> Vec<Finding> {
    lines_with(&file.code, |line| line.contains(".dec()"))
        .map(|line| finding(line, "let a guard own what rises and falls (`telemetry`)"))
        .collect()
}
