//! The configuration: what the file may say, what is told when it is wrong, and
//! what `check-config`, `init` and `plan` make of it.

use crate::support::{Folder, chat, sim_target};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tautline::boot::config::all_keys;

/// Three targets for three kinds of work, each unfit for some of it.
pub const BY_TASK: &str = r#"
[providers.p]
dialect = "sim"
base_url = "http://127.0.0.1:1/v1"
models = ["p-*"]
[targets.strong]
provider = "p"
model = "m"
capabilities = ["reasoning", "tools", "json"]
[targets.small]
provider = "p"
model = "m"
capabilities = ["tools"]
context_tokens = 10
[targets.fast]
provider = "p"
model = "m"
capabilities = ["tools"]
[targets.web]
provider = "p"
model = "m"
capabilities = ["web", "tools"]
[tasks.analysis]
targets = ["small", "strong"]
[tasks.lookup]
targets = ["fast", "strong"]
[tasks.search]
targets = ["fast", "web"]
[routes.auto]
by_task = true
default_task = "lookup"
"#;

fn example() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/example.toml");
    std::fs::read_to_string(path).expect("config/example.toml is part of the tree")
}

/// The example with the settings that it only mentions.
fn whole_example() -> String {
    let uncommented = |line: &str| match line.strip_prefix('#') {
        Some(setting) if setting.starts_with(|first: char| first.is_ascii_lowercase()) => setting.to_owned(),
        _ => line.to_owned(),
    };
    example().lines().map(|line| uncommented(line) + "\n").collect()
}

/// Every key of a file as [`all_keys`] writes it; a table that is itself a value
/// (headers, renamed parameters) counts as one key.
fn keys_of(text: &str, known: &BTreeSet<String>) -> BTreeSet<String> {
    let file = ::config::File::from_str(text, ::config::FileFormat::Toml);
    let read = ::config::Config::builder().add_source(file).build().expect("TOML");
    let tree: Value = read.try_deserialize().expect("tables");
    let mut found = BTreeSet::new();
    collect(&tree, "", known, &mut found);
    found
}

fn collect(tree: &Value, at: &str, known: &BTreeSet<String>, found: &mut BTreeSet<String>) {
    const NAMED: [&str; 6] = ["providers", "targets", "tasks", "routes", "models", "passthrough"];
    for (key, value) in tree.as_object().expect("a table") {
        let key = if NAMED.contains(&at) { "NAME" } else { key };
        let path = if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
        if known.contains(&path) || !value.is_object() {
            found.insert(path);
        } else {
            collect(value, &path, known, found);
        }
    }
}

#[test]
fn the_example_has_every_key_and_no_other() {
    let known: BTreeSet<String> = all_keys().into_iter().collect();
    assert!(known.len() > 50 && known.contains("targets.NAME.price.cached_input"), "{known:#?}");
    let found = keys_of(&whole_example(), &known);
    let missing: Vec<_> = known.difference(&found).collect();
    assert!(missing.is_empty(), "config/example.toml lacks {missing:?}");
    let invented: Vec<_> = found.difference(&known).collect();
    assert!(invented.is_empty(), "config/example.toml has {invented:?}, which do not exist");
    // And the comparison can fail.
    assert!(!keys_of("[gateway]\nlisten = []\n", &known).contains("gateway.drain_grace"));
    assert!(!known.contains(keys_of("[gateway]\nlissten = []\n", &known).first().expect("one")));
}

#[test]
fn each_setting_of_the_example_says_what_it_is_for() {
    let wordless: Vec<String> = example()
        .lines()
        .filter(|line| line.contains(" = ") && !line.starts_with("# ") && !line.contains(" # "))
        .map(str::to_owned)
        .collect();
    // A name that was explained the first time.
    let explained = |line: &String| {
        let key = line.split(" = ").next().expect("it has one");
        example().lines().any(|other| other.starts_with(key) && other.contains(" # "))
    };
    let left: Vec<_> = wordless.iter().filter(|line| !explained(line)).collect();
    assert!(left.is_empty(), "{left:#?}");
}

#[tokio::test]
async fn the_example_is_a_good_configuration_with_and_without_what_it_only_mentions() {
    let folder = Folder::new();
    let authority = crate::support::Authority::new();
    for name in ["server.pem", "server.key", "ca.pem", "client.pem", "client.key"] {
        folder.write(name, &std::fs::read_to_string(authority.path(name)).expect("it was made"));
    }
    folder.write("example.toml", &example());
    folder.write("whole.toml", &whole_example());
    for name in ["example.toml", "whole.toml"] {
        let ran = folder.run(&["check-config", "--config", name]).await;
        assert_eq!((ran.code, ran.out.trim()), (Some(0), format!("{name}: no faults").as_str()));
    }
}

const FAULTY: &str = r#"
stat_dir = "x"
[gateway]
listen = ["localhost:4000"]
header_hold_max = "8s"
keepalive_every = "soon"
connection_age_max = "0s"
[runner]
listen = "127.0.0.1:4002"
[admin]
listen = "4001"
prot = 4001
[providers.a]
dialect = "openai"
base_url = "https://a.example/v1"
api_key = "sk-literal-7f3c"
timeout = 5
[targets.one]
provider = "b"
model = "m"
capabilities = ["tolls"]
[targets.two]
provider = "a"
model = "m"
deadlines = { idle = { hard = "5m", soft = "30s" } }
[tasks.chat]
targets = ["too"]
order = "fastest"
[routes.auto]
by_task = true
default_task = "chatt"
"#;

#[tokio::test]
async fn every_fault_is_told_at_once_with_its_key_and_its_fix() {
    let folder = Folder::new();
    folder.write("tautline.toml", FAULTY);
    let ran = folder.run(&["check-config"]).await;
    assert_eq!(ran.code, Some(1));
    let told: Vec<(&str, &str)> = {
        let lines: Vec<&str> = ran.out.lines().collect();
        lines.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()
    };
    for (key, problem, fix) in [
        ("stat_dir", "unknown key", "did you mean \"state_dir\"?"),
        ("gateway.header_hold_max", "unknown key", "did you mean \"headers_hold_max\"?"),
        ("runner", "unknown key", "remove it; known here: "),
        ("admin.prot", "unknown key", "known here: listen"),
        ("providers.a.timeout", "unknown key", "known here: dialect, "),
        ("targets.two.deadlines.idle.soft", "unknown key", "known here: hard"),
        ("tasks.chat.order", "unknown key", "known here: targets, "),
        ("gateway.listen", "\"localhost:4000\" is no address", "127.0.0.1:4000"),
        ("admin.listen", "\"4001\" is no address", "127.0.0.1:4001"),
        ("gateway.keepalive_every", "\"soon\" is no duration", "\"30s\""),
        ("gateway.connection_age_max", "\"0s\" is no duration above zero", "\"off\""),
        ("providers.a.api_key", "stands in the file itself", "\"env:NAME\""),
        ("targets.one.provider", "there is no provider \"b\"", "a"),
        ("targets.one.capabilities", "there is no capability \"tolls\"", "did you mean \"tools\"?"),
        ("tasks.chat.targets", "there is no target \"too\"", "did you mean \"two\"?"),
        ("routes.auto.default_task", "there is no task \"chatt\"", "did you mean \"chat\"?"),
    ] {
        let begins = format!("tautline.toml: {key}: ");
        let found: Vec<_> = told.iter().filter(|(fault, _)| fault.starts_with(&begins)).collect();
        let right = |(fault, mended): &&(&str, &str)| {
            fault.contains(problem) && mended.trim_start().starts_with("fix: ") && mended.contains(fix)
        };
        assert!(found.len() == 1 && right(&found[0]), "{key}: {found:#?} in\n{}", ran.out);
    }
    assert_eq!(told.len(), 16, "and nothing else:\n{}", ran.out);
    assert!(ran.out.ends_with("16 faults in tautline.toml\n"));
    assert!(!ran.out.contains("7f3c"), "a key is not repeated");
    let ran = folder.run(&["up"]).await;
    assert_eq!(ran.code, Some(1), "and nothing starts on it");
    assert!(ran.err.contains("16 faults in tautline.toml"), "{}", ran.err);
}

#[tokio::test]
async fn check_config_says_by_its_exit_code_what_it_found() {
    let folder = Folder::new();
    folder.write("good.toml", BY_TASK);
    folder.write("bad.toml", "[gateway]\nlisten = \"x\"\n");
    folder.write("broken.toml", "[gateway\n");
    let code = async |arguments: &[&str]| folder.run(arguments).await.code;
    assert_eq!(code(&["check-config", "--config", "good.toml"]).await, Some(0));
    assert_eq!(code(&["check-config", "-c", "bad.toml"]).await, Some(1));
    assert_eq!(code(&["check-config", "-c", "broken.toml"]).await, Some(1));
    assert_eq!(code(&["check-config"]).await, Some(1), "there is no tautline.toml");
    assert_eq!(code(&["check-config", "--no-such-flag"]).await, Some(2));
    let ran = folder.run(&["check-config", "-c", "broken.toml"]).await;
    assert!(ran.out.contains("broken.toml: syntax: ") && ran.out.contains("line 1"), "{}", ran.out);
}

#[tokio::test]
async fn the_environment_overrides_the_file_and_is_named_when_it_is_wrong() {
    let folder = Folder::new();
    folder.write("tautline.toml", BY_TASK);
    folder.write("request.json", &chat("auto", true).to_string());
    let plan = ["plan", "--request", "request.json", "--json"];
    let first_token = |out: &str| -> Value {
        let plan: Value = serde_json::from_str(out).expect("JSON");
        let clocks = plan["plan"]["steps"][0]["clocks"].as_array().expect("clocks").clone();
        clocks.into_iter().find(|clock| clock["clock"] == "first_token").expect("it is armed")["limit_ms"].clone()
    };
    assert_eq!(first_token(&folder.run(&plan).await.out), 600_000);
    let set = [("TAUTLINE__DEADLINES__FIRST_TOKEN", "7s"), ("TAUTLINE__GATEWAY__HEADERS_HOLD_MAX", "5s")];
    assert_eq!(first_token(&folder.run_with(&set, &plan).await.out), 7_000);
    for (name, value, key) in [
        ("TAUTLINE__GATEWAY__HEADERS_HOLD_MAX", "later", "gateway.headers_hold_max"),
        ("TAUTLINE__GATEWAY__LISTEN", "nowhere:1", "gateway.listen"),
        ("TAUTLINE__GATEWAY__HEADER_HOLD_MAX", "5s", "gateway.header_hold_max"),
    ] {
        let ran = folder.run_with(&[(name, value)], &["check-config"]).await;
        let begins = format!("environment variable {name}: {key}: ");
        assert!(ran.code == Some(1) && ran.out.starts_with(&begins), "{begins}\n{}", ran.out);
    }
}

fn with_key(reference: &str) -> String {
    BY_TASK.replacen("models = ", &format!("api_key = {reference}\nmodels = "), 1)
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_is_told_by_its_reference() {
    let folder = Folder::new();
    folder.write("key", "sk-from-a-file\n");
    folder.write("empty", "\n");
    folder.write("two", "sk-from\n-a-file");
    for (reference, problem) in [
        ("\"file:absent\"", "the file absent cannot be read"),
        ("\"file:empty\"", "file: gives nothing"),
        ("\"file:two\"", "cannot stand in a header"),
        ("\"env:NO_SUCH_KEY\"", "the environment variable NO_SUCH_KEY is not set"),
        ("\"exec:false\"", "false ended with exit status: 1"),
        ("\"exec:no-such-program\"", "no-such-program cannot be started"),
        ("\"exec:\"", "names no command"),
        ("[\"file:key\", \"sk-literal-7f3c\"]", "stands in the file itself"),
    ] {
        folder.write("tautline.toml", &with_key(reference));
        let ran = folder.run(&["check-config"]).await;
        assert!(ran.code == Some(1) && ran.out.contains("1 fault in"), "{reference}: {}", ran.out);
        assert!(
            ran.out.starts_with("tautline.toml: providers.p.api_key: ") && ran.out.contains(problem),
            "{}",
            ran.out
        );
        assert!(!ran.out.contains("sk-"), "{}", ran.out);
    }
    for reference in ["\"file:key\"", "\"exec:cat key\"", "[\"file:key\", \"exec:echo sk-2\"]"] {
        folder.write("tautline.toml", &with_key(reference));
        assert_eq!(folder.run(&["check-config"]).await.code, Some(0), "{reference}");
    }
}

#[tokio::test]
async fn init_writes_what_it_finds_once() {
    let folder = Folder::new();
    let ran = folder.run(&["init"]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.out.contains("wrote tautline.toml"), "{}", ran.out);
    assert_eq!(folder.run(&["check-config"]).await.code, Some(0));
    let first = folder.read("tautline.toml");
    let key = [("OPENAI_API_KEY", "sk-7f3c")];
    let ran = folder.run_with(&key, &["init"]).await;
    assert_eq!(ran.code, Some(1), "it overwrites nothing");
    assert!(ran.err.contains("tautline.toml exists already; --force overwrites it"), "{}", ran.err);
    assert_eq!(folder.read("tautline.toml"), first);
    let ran = folder.run_with(&key, &["init", "--force"]).await;
    assert_eq!(ran.code, Some(0));
    assert!(ran.out.contains("found OPENAI_API_KEY"), "{}", ran.out);
    let text = folder.read("tautline.toml");
    assert!(text.contains("api_key = \"env:OPENAI_API_KEY\"") && !text.contains("7f3c"), "{text}");
    assert_eq!(folder.run_with(&key, &["check-config"]).await.code, Some(0));
    assert_eq!(folder.run(&["check-config"]).await.code, Some(1), "without the key there is a fault");
}

/// A request that every target could serve but for task and window.
pub fn tool_request(model: &str) -> Value {
    let mut body = chat(model, false);
    body["messages"][0]["content"] = json!("why do ropes go slack, and what holds them taut?");
    body["tools"] = json!([{"type": "function", "function": {"name": "look"}}]);
    body
}

/// A task, its targets in order, and who was left out and why.
type TaskPlan = (&'static str, &'static [&'static str], &'static [(&'static str, &'static str)]);

pub const PLANS: [TaskPlan; 3] = [
    ("analysis", &["strong"], &[("small", "tokens of prompt do not fit its window of 10")]),
    ("lookup", &["fast", "strong"], &[]),
    ("search", &["web"], &[("fast", "the request needs web, which it does not declare")]),
];

#[tokio::test]
async fn plan_says_which_targets_each_task_gets_and_who_was_left_out() {
    let folder = Folder::new();
    folder.write("tautline.toml", BY_TASK);
    for (task, targets, rejected) in PLANS {
        folder.write("request.json", &tool_request(&format!("auto:{task}")).to_string());
        let ran = folder.run(&["plan", "--request", "request.json"]).await;
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        let head = format!("model \"auto:{task}\" → route \"auto\", task \"{task}\" (said by the model name)");
        assert_eq!(ran.out.lines().next(), Some(head.as_str()));
        let ran_json = folder.run(&["plan", "--request", "request.json", "--json"]).await;
        let plan: Value = serde_json::from_str(&ran_json.out).expect("JSON");
        assert_eq!((plan["task"].as_str(), plan["task_reason"].as_str()), (Some(task), Some("model_suffix")));
        let names: Vec<_> =
            plan["plan"]["steps"].as_array().expect("steps").iter().map(|step| &step["target"]).collect();
        assert_eq!(names, targets);
        for (place, target) in targets.iter().enumerate() {
            assert!(ran.out.contains(&format!("\n{}. {target}: number ", place + 1)), "{}", ran.out);
        }
        assert_eq!(plan["plan"]["rejected"].as_array().map_or(0, Vec::len), rejected.len());
        for (place, (target, reason)) in rejected.iter().enumerate() {
            let told = &plan["plan"]["rejected"][place];
            assert_eq!(told["target"], *target);
            assert!(told["reason"].as_str().is_some_and(|told| told.contains(reason)), "{told}");
            let line = ran.out.lines().find(|line| line.starts_with(&format!("not {target}: ")));
            assert!(line.is_some_and(|line| line.contains(reason)), "{}", ran.out);
        }
    }
}

#[tokio::test]
async fn plan_says_what_would_be_refused_and_exits_with_1() {
    let folder = Folder::new();
    folder.write("tautline.toml", &(BY_TASK.to_owned() + &sim_target("unused", "", "").replace("\"sim\"", "\"p\"")));
    for (model, task, told) in [
        ("auto:analysys", None, "did you mean \"analysis\"?"),
        ("auto", Some("serch"), "did you mean \"search\"?"),
        ("atuo", None, "auto"),
    ] {
        folder.write("request.json", &tool_request(model).to_string());
        let mut arguments = vec!["plan", "--request", "request.json"];
        arguments.extend(task.into_iter().flat_map(|task| ["--task", task]));
        let ran = folder.run(&arguments).await;
        assert_eq!(ran.code, Some(1));
        assert!(ran.out.starts_with("refused: ") && ran.out.contains(told), "{model}: {}", ran.out);
    }
    let mut json_mode = tool_request("auto:analysis");
    json_mode["response_format"] = json!({"type": "json_object"});
    json_mode["messages"][0]["content"] = json!([{"type": "image_url", "image_url": {"url": "data:,"}}]);
    folder.write("request.json", &json_mode.to_string());
    let ran = folder.run(&["plan", "--request", "request.json"]).await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.out.contains("not strong: the request needs vision, which it does not declare"), "{}", ran.out);
    assert!(ran.out.lines().last().is_some_and(|line| line.starts_with("refused: ")), "{}", ran.out);
}

#[tokio::test]
async fn completions_are_written_for_a_shell() {
    let ran = Folder::new().run(&["completions", "bash"]).await;
    assert_eq!(ran.code, Some(0));
    assert!(ran.out.contains("check-config") && ran.out.contains("complete -F _tautline"), "{}", ran.out);
}

#[test]
fn a_credential_in_a_providers_headers_is_a_reference_or_a_fault() {
    let provider = |headers: &str| {
        let text =
            format!("[providers.p]\ndialect = \"openai\"\nbase_url = \"http://127.0.0.1:1/v1\"\nheaders = {headers}\n");
        tautline::boot::config::parse("test", &text)
    };
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    std::io::Write::write_all(&mut file, b"hidden-1\n").expect("written");
    let loaded =
        provider(&format!("{{ api-key = \"file:{}\", x-title = \"mine\" }}", file.path().display())).expect("good");
    let headers = &loaded.gateway.providers["p"].headers;
    assert!(headers.iter().any(|(name, value)| name == "api-key" && value == "hidden-1" && value.is_sensitive()));
    assert!(headers.iter().any(|(name, value)| name == "x-title" && value == "mine"));
    let faults =
        provider("{ api-key = \"hidden-2\", authorization = \"x\", x-token = \"exec:echo 1\" }").expect_err("refused");
    assert_eq!(faults.faults.len(), 3, "{faults}");
    assert!(!faults.to_string().contains("hidden-2"));
}
