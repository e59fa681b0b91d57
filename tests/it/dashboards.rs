//! Dashboards and alerts against the registry and a real Prometheus: whoever
//! looks at a panel sees what the gateway shows, and all of it.

mod drawn;
mod traffic;

use crate::support::{House, Prometheus, chat, closed_port, installed, sim_target, within};
use drawn::{Query, Selector, alerts, asked_in, dashboards, groupings, names, panels, read, selectors, tree};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use traffic::Run;

/// Set by Prometheus on every series.
const SCRAPED: [&str; 2] = ["instance", "job"];

/// Every series name of a registry with its labels.
fn exposed(registry: &prometheus::Registry) -> BTreeMap<String, BTreeSet<String>> {
    let mut all = BTreeMap::new();
    for family in registry.gather() {
        let metric = family.get_metric().first().expect("a family that is gathered has a metric");
        let mut labels: BTreeSet<String> = metric.get_label().iter().map(|label| label.name().to_owned()).collect();
        labels.extend(SCRAPED.map(str::to_owned));
        if family.get_field_type() == prometheus::proto::MetricType::HISTOGRAM {
            for suffix in ["sum", "count", "bucket"] {
                let mut labels = labels.clone();
                labels.extend((suffix == "bucket").then(|| "le".to_owned()));
                all.insert(format!("{}_{suffix}", family.name()), labels);
            }
        } else {
            all.insert(family.name().to_owned(), labels);
        }
    }
    all.insert("up".to_owned(), SCRAPED.map(str::to_owned).into());
    all
}

/// What is wrong with the names in one expression.
fn misnamed(query: &Query, known: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut lacks = |metric: &str, labels: &[String]| match known.get(metric) {
        None => wrong.push(format!("{}: there is no {metric}", query.place)),
        Some(there) => {
            for label in labels.iter().filter(|label| !there.contains(*label)) {
                wrong.push(format!("{}: {metric} has no label {label}", query.place));
            }
        }
    };
    for Selector { metric, labels } in selectors(&query.expression) {
        lacks(&metric, &labels);
    }
    for grouping in groupings(&query.expression) {
        for Selector { metric, .. } in selectors(grouping.operand) {
            lacks(&metric, &grouping.labels);
        }
    }
    wrong
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_in_dashboards_and_alerts_are_those_of_the_registry_and_none_is_left_out() {
    let mut run = Run::start().await;
    run.round().await;
    // Gauges that are known only when asked for.
    run.house.metrics().await;
    let known = exposed(&run.house.running.registry);
    let drawn: Vec<Query> = panels().into_iter().flat_map(|panel| panel.queries).collect();
    let asked = drawn.iter().chain(&alerts()).chain(&in_runbooks()).flat_map(|query| misnamed(query, &known)).collect();
    let mut wrong: Vec<String> = asked;
    for (name, board) in dashboards() {
        for variable in board["templating"]["list"].as_array().expect("variables") {
            let Some(asked) = variable["query"]["query"].as_str() else { continue };
            let inside = asked.strip_prefix("label_values(").and_then(|text| text.strip_suffix(')'));
            let (metric, label) = inside.and_then(|text| text.split_once(", ")).expect("label_values(metric, label)");
            if !known.get(metric).is_some_and(|labels| labels.contains(label)) {
                wrong.push(format!("{name}: variable {}: there is no {metric} with {label}", variable["name"]));
            }
        }
    }
    let seen: BTreeSet<String> =
        drawn.iter().flat_map(|query| selectors(&query.expression)).map(|selector| selector.metric).collect();
    for family in run.house.running.registry.gather() {
        let name = family.name();
        let shown = ["", "_bucket", "_sum", "_count"].iter().any(|suffix| seen.contains(&format!("{name}{suffix}")));
        if !shown {
            wrong.push(format!("no dashboard shows {name}"));
        }
    }
    // A family without a series is not gathered: one that this run does not provoke is missed above.
    let source = read("src/gateway/events.rs");
    let declared: Vec<&str> = source.split("::new(").skip(1).filter_map(declared).collect();
    assert!(declared.len() >= 15, "the declarations are read: {declared:?}");
    for name in declared {
        let name = format!("tautline_gateway_{name}");
        if !known.contains_key(&name) && !known.contains_key(&format!("{name}_count")) {
            wrong.push(format!("the run of this test never shows {name}: make it happen in traffic.rs"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// The name in `scope, "name", ...`.
fn declared(text: &str) -> Option<&str> {
    text.trim_start().strip_prefix("scope,")?.trim_start().strip_prefix('"')?.split('"').next()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_and_the_first_zero_of_each_bound_are_there_before_any_request() {
    let target = sim_target("a", "", "deadlines = { first_token = \"150ms\", idle = \"off\" }");
    let house = House::start("", &format!("{target}[routes.m]\ntargets = [\"a\"]\n")).await;
    let text = house.metrics().await;
    let shown: Vec<&str> = text.lines().filter(|line| line.starts_with("tautline_gateway_limit_seconds{")).collect();
    let line = |clock: &str, value: &str| {
        format!(
            "tautline_gateway_limit_seconds{{clock=\"{clock}\",kind=\"hard\",source=\"configured\",target=\"a\",task=\"none\"}} {value}"
        )
    };
    let wanted = [("connect", "5"), ("first_token", "0.15"), ("progress", "300"), ("send", "30"), ("total", "1800")];
    assert_eq!(shown, wanted.map(|(clock, value)| line(clock, value)), "idle is off");
    for zero in ["bound_hit_total{bound=\"record_queue\"}", "records_dropped_total", "journal_full_total"] {
        assert!(text.contains(&format!("tautline_gateway_{zero} 0\n")), "{zero}");
    }
    // What is shown is what a request's plan says.
    let mut answer = house.post(&chat("m", false)).await;
    answer.bytes().await;
    let plan = house.record_of(&answer).await.plan;
    let mut planned: Vec<(&str, f64)> = plan.steps[0]
        .clocks
        .iter()
        .filter_map(|one| Some((one.clock.as_str(), std::time::Duration::from_millis(one.limit_ms?).as_secs_f64())))
        .collect();
    planned.sort_by_key(|(clock, _)| *clock);
    assert_eq!(planned, wanted.map(|(clock, value)| (clock, value.parse().expect("a number"))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_expression_gives_data_from_a_prometheus_that_scrapes_a_real_run() {
    let Some(command) = installed("every_expression_gives_data", "prometheus", "prometheus") else { return };
    let mut run = Run::start().await;
    // One gateway is down: an alert tells of it.
    let down = SocketAddr::from(([127, 0, 0, 1], closed_port()));
    let prometheus = Prometheus::start(command, &[run.house.running.admin_addr, down]).await;
    // Rates are differences: series are born in the first round and rise in the second.
    for _ in 0..2 {
        run.round().await;
        within("a scrape that saw the round", counted(&prometheus, run.sent)).await;
    }
    let drawn: Vec<Query> = panels().into_iter().flat_map(|panel| panel.queries).collect();
    let mut wrong = Vec::new();
    for query in drawn.iter().chain(&alerts()) {
        let expression = substituted(&query.expression);
        let samples = prometheus.query(&expression).await;
        let told: Vec<_> = samples.iter().filter(|sample| !sample.value.is_nan()).collect();
        if told.is_empty() {
            wrong.push(format!("{}: no data from {expression}", query.place));
        }
        for label in &query.legend {
            if !told.iter().all(|sample| sample.labels.contains(label)) {
                wrong.push(format!("{}: the legend's {{{{{label}}}}} is not in what {expression} gives", query.place));
            }
        }
    }
    for query in in_runbooks() {
        // Asserts that Prometheus takes it; what a healthy hour shows may be nothing.
        prometheus.query(&query.expression).await;
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn in_runbooks() -> Vec<Query> {
    let queries: Vec<Query> =
        alerts().iter().flat_map(|alert| asked_in(&format!("docs/runbooks/{}.md", alert.place))).collect();
    assert!(queries.len() >= 12, "the blocks are read: {}", queries.len());
    queries
}

/// Waits until two scrapes saw exactly these requests: the first one may have
/// come between two metrics of the last request.
async fn counted(prometheus: &Prometheus, sent: usize) {
    let seen = "tautline_gateway_requests_total[2s]";
    let asked = format!("sum(min_over_time({seen})) == {sent} and min(count_over_time({seen})) >= 2");
    while prometheus.query(&asked).await.is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// As Grafana would ask it, but for the zero that stands in where there is
/// nothing: behind it a misspelt name would not be seen.
fn substituted(expression: &str) -> String {
    let bare = expression.replace(" or vector(0)", "");
    let text = ["$__rate_interval", "$__range"].iter().fold(bare, |text, name| text.replace(name, "1m"));
    let text = ["$instance", "$target"].iter().fold(text, |text, name| text.replace(name, ".*"));
    assert!(!text.contains('$'), "no value is known for a variable in {text}");
    text
}

#[tokio::test]
async fn the_rules_are_valid_and_each_has_a_case_where_it_fires_and_one_where_it_is_silent() {
    let names_of_alerts: Vec<String> = alerts().into_iter().map(|alert| alert.place).collect();
    let rules = read("deploy/prometheus/alerts.yml");
    for name in &names_of_alerts {
        let cases = read(&format!("deploy/prometheus/tests/{name}.yml"));
        let block = |kind: &str| cases.matches(&format!("- name: '{kind}: ")).count();
        assert!(block("fires") >= 1 && block("silent") >= 1, "{name} needs a firing and a silent case");
        assert_eq!(cases.matches("exp_alerts: []").count(), block("silent"), "{name}: silent means no alert");
        assert_eq!(cases.matches("alertname: ").count(), cases.matches(&format!("alertname: {name}\n")).count());
        let runbook = format!("docs/runbooks/{name}.md");
        assert!(rules.contains(&format!("runbook: {runbook}\n")), "{name} names its runbook");
        let text = read(&runbook);
        for heading in ["## What it means", "## What to look at", "## What to do"] {
            assert!(text.contains(heading), "{runbook} has no \"{heading}\"");
        }
        assert!(text.contains("tautline explain") || text.contains("/healthz"), "{runbook} says where to look");
    }
    let Some(_) = installed("the_rules_are_valid", "promtool", "prometheus") else { return };
    let tests = names("deploy/prometheus/tests");
    assert_eq!(tests.len(), names_of_alerts.len(), "one file of cases for each alert");
    let tests: Vec<String> = tests.iter().map(|name| format!("tests/{name}")).collect();
    for arguments in [
        vec!["check", "config", "prometheus.yml"],
        vec!["check", "rules", "alerts.yml"],
        ["test", "rules"].into_iter().chain(tests.iter().map(String::as_str)).collect(),
    ] {
        let mut promtool = installed("the_rules_are_valid", "promtool", "prometheus").expect("it was there just now");
        let run = promtool.args(&arguments).current_dir(tree("deploy/prometheus")).output();
        let output = within("promtool's end", run).await.expect("promtool starts");
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "promtool {arguments:?}:\n{}", String::from_utf8_lossy(&said));
    }
}

#[test]
fn dashboards_can_be_read_by_whoever_is_woken() {
    let mut uids = BTreeSet::new();
    for (name, board) in dashboards() {
        let uid = board["uid"].as_str().filter(|uid| !uid.is_empty()).expect("a fixed uid");
        assert!(uids.insert(uid.to_owned()), "{name}: {uid} is taken");
        assert!(!board.to_string().contains("http"), "{name}: nothing leads outside");
        let variables = board["templating"]["list"].as_array().expect("variables");
        assert!(variables.iter().any(|one| one["name"] == "datasource" && one["type"] == "datasource"), "{name}");
        let all = board["panels"].as_array().expect("panels");
        let ids: BTreeSet<i64> = all.iter().map(|panel| panel["id"].as_i64().expect("an id")).collect();
        assert_eq!(ids.len(), all.len(), "{name}: ids are unique");
        let mut taken: BTreeMap<(i64, i64), &str> = BTreeMap::new();
        for panel in all {
            let title = panel["title"].as_str().expect("a title");
            let side =
                |key: &str| panel["gridPos"][key].as_i64().unwrap_or_else(|| panic!("{name}: {title} has no {key}"));
            let (x, y, w, h) = (side("x"), side("y"), side("w"), side("h"));
            assert!(x >= 0 && w > 0 && x + w <= 24 && h > 0, "{name}: {title} leaves the grid of 24 columns");
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                if let Some(other) = taken.insert(cell, title) {
                    panic!("{name}: {title} lies over {other}");
                }
            }
        }
    }
    for panel in panels() {
        let (place, whole) = (&panel.place, &panel.whole);
        assert!(whole["description"].as_str().is_some_and(|text| text.len() > 20), "{place} does not explain itself");
        assert!(whole["fieldConfig"]["defaults"]["unit"].is_string(), "{place} has no unit");
        assert_eq!(whole["datasource"]["uid"], "${datasource}", "{place}");
        let many = whole["targets"].as_array().expect("queries");
        assert!(many.iter().all(|query| query["datasource"]["uid"] == "${datasource}"), "{place}");
        let bare = many.iter().filter(|query| query["legendFormat"] == "").count();
        assert!(bare == 0 || whole["type"] == "stat", "{place}: a line without a name");
    }
}

/// No engine runs here: at least what is mounted is there.
#[test]
fn the_compose_file_mounts_what_exists() {
    let text = read("deploy/compose.yaml");
    let mounted: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- ")?.split_once(':'))
        .map(|(host, _)| host)
        .filter(|host| host.starts_with('.'))
        .collect();
    assert!(mounted.len() >= 4, "{mounted:?}");
    for host in mounted {
        assert!(tree("deploy").join(host).exists(), "deploy/compose.yaml mounts {host}");
    }
    let (grafana, interval) = (read("deploy/grafana/provisioning/datasources/tautline.yaml"), "5s");
    assert!(grafana.contains(&format!("timeInterval: {interval}")));
    assert!(read("deploy/prometheus/prometheus.yml").contains(&format!("scrape_interval: {interval}")));
}
