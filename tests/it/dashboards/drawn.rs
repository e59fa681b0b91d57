//! What the files under `dashboards/` and `deploy/` say, read as they are.

use serde_json::Value;
use std::path::{Path, PathBuf};

/// A panel of a dashboard.
pub struct Panel {
    /// `file: title`, for messages.
    pub place: String,
    pub whole: Value,
    pub queries: Vec<Query>,
}

/// One expression and where it stands.
pub struct Query {
    pub place: String,
    pub expression: String,
    /// Labels that its legend shows.
    pub legend: Vec<String>,
}

/// A metric as an expression names it, with the labels of its matchers.
#[derive(Debug, PartialEq)]
pub struct Selector {
    pub metric: String,
    pub labels: Vec<String>,
}

/// Labels that an operator groups or joins by, and the text they must exist in.
#[derive(Debug, PartialEq)]
pub struct Grouping<'a> {
    pub labels: Vec<String>,
    pub operand: &'a str,
}

pub fn tree(place: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(place)
}

pub fn read(place: &str) -> String {
    std::fs::read_to_string(tree(place)).unwrap_or_else(|error| panic!("{place}: {error}"))
}

/// The names of the files in a folder, sorted.
pub fn names(folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(tree(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Every dashboard with its file's name.
pub fn dashboards() -> Vec<(String, Value)> {
    let read = |name: String| {
        let text = read(&format!("dashboards/{name}"));
        let whole = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        (name, whole)
    };
    names("dashboards").into_iter().map(read).collect()
}

/// Every panel that is no row.
pub fn panels() -> Vec<Panel> {
    let mut panels = Vec::new();
    for (name, board) in dashboards() {
        for whole in board["panels"].as_array().expect("panels").iter().filter(|panel| panel["type"] != "row") {
            let place = format!("{name}: {}", whole["title"].as_str().expect("a title"));
            let targets = whole["targets"].as_array().unwrap_or_else(|| panic!("{place} asks nothing"));
            let queries = targets.iter().map(|target| Query {
                place: place.clone(),
                expression: target["expr"].as_str().expect("an expression").to_owned(),
                legend: legend(target["legendFormat"].as_str().expect("a legend")),
            });
            panels.push(Panel { queries: queries.collect(), place, whole: whole.clone() });
        }
    }
    panels
}

fn legend(format: &str) -> Vec<String> {
    format.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap_or_default().trim().to_owned()).collect()
}

/// Names and expressions of the alert rules: blocks behind `expr: |`.
pub fn alerts() -> Vec<Query> {
    let text = read("deploy/prometheus/alerts.yml");
    let (mut alerts, mut name, mut inside) = (Vec::<Query>::new(), String::new(), false);
    for line in text.lines() {
        let depth = line.len() - line.trim_start().len();
        if let Some(found) = line.trim().strip_prefix("- alert: ") {
            found.clone_into(&mut name);
        }
        if line.trim() == "expr: |" {
            inside = true;
            alerts.push(Query { place: name.clone(), expression: String::new(), legend: Vec::new() });
        } else if inside && depth >= 10 {
            let last = alerts.last_mut().expect("pushed above");
            last.expression.push_str(line.trim());
            last.expression.push('\n');
        } else {
            inside = false;
        }
    }
    assert_eq!(alerts.len(), text.matches("- alert: ").count(), "write every expression as a block: expr: |");
    alerts
}

/// Every expression of a runbook: in its `promql` blocks a line that is indented
/// deeper than the first one goes on with the expression before it.
pub fn asked_in(runbook: &str) -> Vec<Query> {
    let text = read(runbook);
    let mut queries = Vec::<Query>::new();
    for block in text.split("```promql\n").skip(1) {
        let block = block.split("```").next().unwrap_or_default();
        let depth = |line: &str| line.len() - line.trim_start().len();
        let first = depth(block.lines().next().unwrap_or_default());
        for line in block.lines().filter(|line| !line.trim().is_empty()) {
            if depth(line) == first {
                queries.push(Query { place: runbook.to_owned(), expression: line.to_owned(), legend: Vec::new() });
            } else {
                queries.last_mut().expect("the first line has this depth").expression.push_str(line);
            }
        }
    }
    queries
}

/// The metrics of an expression: `up`, and whatever begins with our name.
pub fn selectors(expression: &str) -> Vec<Selector> {
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(at) = rest.find(|c: char| is_name(c) || c == '"') {
        rest = &rest[at..];
        if let Some(text) = rest.strip_prefix('"') {
            rest = text.split_once('"').map_or("", |(_, behind)| behind);
            continue;
        }
        let end = rest.find(|c: char| !is_name(c)).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(end);
        rest = behind;
        if word == "up" || word.starts_with("tautline_") || word.starts_with("process_") {
            let matchers = behind.strip_prefix('{').and_then(|inside| inside.split_once('}')).map(|(inside, _)| inside);
            found.push(Selector { metric: word.to_owned(), labels: matchers.map(matched).unwrap_or_default() });
        }
    }
    found
}

/// Label names of `a="x",b=~"y"`: what stands outside of quotes.
fn matched(matchers: &str) -> Vec<String> {
    let outside: String = matchers.split('"').step_by(2).collect::<Vec<_>>().join(" ");
    outside.split(|c: char| !is_name(c)).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// `by (…) (operand)`; `on (…)` and `group_left (…)` hold for the whole expression.
pub fn groupings(expression: &str) -> Vec<Grouping<'_>> {
    for word in ["without", "ignoring"] {
        assert!(!expression.contains(word), "`{word}` cannot be checked: name the labels that stay\n{expression}");
    }
    let mut found = Vec::new();
    for word in ["by", "on", "group_left"] {
        for (at, _) in expression.match_indices(&format!(" {word} (")) {
            let list = &expression[at + word.len() + 2..];
            let (labels, behind) = enclosed(list);
            let operand = if word == "by" {
                let behind = behind.trim_start();
                assert!(behind.starts_with('('), "write `by (…)` before its operand\n{expression}");
                enclosed(behind).0
            } else {
                expression
            };
            let labels = labels.split(',').map(|label| label.trim().to_owned()).filter(|label| !label.is_empty());
            found.push(Grouping { labels: labels.collect(), operand });
        }
    }
    found
}

/// What the leading parenthesis encloses, and what follows it.
fn enclosed(text: &str) -> (&str, &str) {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return (&text[1..at], &text[at + 1..]);
        }
    }
    panic!("a parenthesis stays open: {text}")
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[test]
fn expressions_are_read_as_written() {
    let text = "sum by (a, b) (rate(tautline_x_total{c=\"up d\",e=~\"f|g\"}[5m])) / on (a) up";
    let selector = |metric: &str, labels: &[&str]| Selector {
        metric: metric.to_owned(),
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
    };
    assert_eq!(selectors(text), [selector("tautline_x_total", &["c", "e"]), selector("up", &[])]);
    let grouped = groupings(text);
    assert_eq!(grouped[0].labels, ["a", "b"]);
    assert_eq!(grouped[0].operand, "rate(tautline_x_total{c=\"up d\",e=~\"f|g\"}[5m])");
    assert_eq!((grouped[1].labels.as_slice(), grouped[1].operand), (["a".to_owned()].as_slice(), text));
    assert_eq!(legend("p99 {{target}} ({{ kind }})"), ["target", "kind"]);
}
