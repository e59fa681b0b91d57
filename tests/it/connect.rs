//! `tautline connect`: what other programs are told, and what becomes of their
//! settings files.

use crate::support::Folder;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;

/// A gateway that passes logins through to both vendors, and asks for a key.
const FORWARDING: &str = r#"
[gateway]
listen = ["0.0.0.0:4100"]
access_key = "file:access"
[providers.openai]
dialect = "openai"
base_url = "https://api.openai.com/v1"
auth = "client"
models = ["gpt-*"]
[providers.anthropic]
dialect = "anthropic"
base_url = "https://api.anthropic.com"
auth = "client"
models = ["claude-*"]
[targets.t]
provider = "openai"
model = "gpt-5"
[routes."v1.5/x"]
targets = ["t"]
"#;

struct Home(Folder);

impl Home {
    fn new() -> Self {
        let folder = Folder::new();
        folder.write("access", "tl-HiddenAccessKey0001");
        Self(folder)
    }

    fn dir(&self, path: &str) {
        std::fs::create_dir_all(self.0.path().join(path)).expect("made");
    }

    /// Runs it with this folder as home; the configuration is the folder's own.
    async fn run(&self, environment: &[(&str, &str)], arguments: &[&str]) -> (Option<i32>, String, String) {
        let home = self.0.path().display().to_string();
        let environment: Vec<(&str, &str)> =
            [("HOME", home.as_str())].into_iter().chain(environment.iter().copied()).collect();
        let arguments: Vec<&str> = ["connect"].into_iter().chain(arguments.iter().copied()).collect();
        let ran = self.0.run_with(&environment, &arguments).await;
        for secret in ["tl-Hidden", "sk-own"] {
            assert!(!ran.out.contains(secret) && !ran.err.contains(secret), "{}{}", ran.out, ran.err);
        }
        (ran.code, ran.out, ran.err)
    }

    async fn write(&self, arguments: &[&str]) -> String {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--write"]).collect();
        let (code, out, err) = self.run(&[], &arguments).await;
        assert_eq!(code, Some(0), "{arguments:?}: {err}");
        out
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.0.read(path)).expect("JSON")
    }

    fn files(&self, path: &str) -> Vec<String> {
        let found = std::fs::read_dir(self.0.path().join(path)).expect("a folder");
        let mut names: Vec<String> =
            found.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

#[tokio::test]
async fn a_settings_file_keeps_what_else_is_in_it_and_its_former_self_beside_it() {
    let home = Home::new();
    home.dir(".claude");
    let mine = "{\n    \"hooks\": {\"Stop\": []},\n    \"env\": {\"MINE\": \"1\", \"ANTHROPIC_AUTH_TOKEN\": \"sk-own\"},\n    \"model\": \"opus\"\n}";
    home.0.write(".claude/settings.json", mine);
    let path = home.0.path().join(".claude/settings.json");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("allowed");
    let out = home.write(&["claude", "--base-url", "http://127.0.0.1:4000/v1/"]).await;
    assert!(out.contains("settings.json: env.ANTHROPIC_BASE_URL\n"), "{out}");
    assert!(out.contains("its former text is kept in ") && out.contains("settings.json.before-tautline\n"), "{out}");
    let expected = "{\n    \"hooks\": {\n        \"Stop\": []\n    },\n    \"env\": {\n        \"MINE\": \"1\",\n        \"ANTHROPIC_AUTH_TOKEN\": \"sk-own\",\n        \"ANTHROPIC_BASE_URL\": \"http://127.0.0.1:4000\"\n    },\n    \"model\": \"opus\"\n}\n";
    assert_eq!(home.0.read(".claude/settings.json"), expected, "the URL without /v1, as the SDK appends it");
    assert_eq!(home.0.read(".claude/settings.json.before-tautline"), mine);
    for name in ["settings.json", "settings.json.before-tautline"] {
        let mode = std::fs::metadata(path.with_file_name(name)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o640, "{name}");
    }
    let again = home.write(&["claude", "--base-url", "http://127.0.0.1:4000"]).await;
    assert!(again.contains("nothing to be done"), "{again}");
    assert_eq!(home.files(".claude"), ["settings.json", "settings.json.before-tautline"]);
    home.write(&["claude", "--base-url", "http://127.0.0.1:4007", "--model", "auto"]).await;
    assert_eq!(home.json(".claude/settings.json")["model"], "auto");
    assert_eq!(home.0.read(".claude/settings.json.before-tautline"), mine, "no backup is overwritten");
    assert_eq!(home.0.read(".claude/settings.json.before-tautline.2"), expected);
}

#[tokio::test]
async fn without_write_nothing_is_touched_and_all_is_said() {
    let home = Home::new();
    for (tool, file, told) in [
        ("claude", ".claude/settings.json", "\"ANTHROPIC_BASE_URL\": \"http://127.0.0.1:4000\""),
        ("codex", ".codex/config.toml", "base_url = \"http://127.0.0.1:4000/v1\""),
        ("opencode", ".config/opencode/opencode.json", "\"baseURL\": \"http://127.0.0.1:4000/v1\""),
        ("aider", ".aider.conf.yml", "openai-api-base: \"http://127.0.0.1:4000/v1\""),
    ] {
        let (code, out, _) = home.run(&[], &[tool]).await;
        assert!(code == Some(0) && out.contains(told) && out.contains(file), "{tool}: {out}");
        assert!(out.contains("key:   none is needed\n") && out.contains("login: "), "{out}");
        assert!(out.contains(&format!("`tautline connect {tool} --write` sets it")), "{out}");
    }
    let (code, out, _) = home.run(&[], &["openai"]).await;
    assert!(code == Some(0) && out.contains("export OPENAI_BASE_URL=\"http://127.0.0.1:4000/v1\"\n"), "{out}");
    let (code, out, err) = home.run(&[], &["openai", "--write"]).await;
    assert!(code == Some(1) && out.contains("OPENAI_BASE_URL") && err.contains("shell's profile"), "{out}{err}");
    assert_eq!(home.files("."), ["access"]);
}

#[tokio::test]
async fn a_gateway_that_passes_logins_through_leaves_them_and_has_its_own_key_in_a_header() {
    let home = Home::new();
    home.0.write("tautline.toml", FORWARDING);
    home.dir(".claude");
    home.0.write(
        ".claude/settings.json",
        "{\"env\":{\"ANTHROPIC_AUTH_TOKEN\":\"tautline\"},\"apiKeyHelper\":\"printenv TAUTLINE_KEY\"}",
    );
    let out = home.write(&["claude"]).await;
    assert!(out.contains("export ANTHROPIC_CUSTOM_HEADERS=\"x-tautline-key: $TAUTLINE_KEY\""), "{out}");
    assert!(out.contains("login: is kept"), "{out}");
    let left = json!({"env": {"ANTHROPIC_BASE_URL": "http://127.0.0.1:4100"}});
    assert_eq!(home.json(".claude/settings.json"), left, "what an earlier run put before the login is gone");
    home.write(&["codex"]).await;
    let expected = "model_provider = \"tautline\"\n\n[model_providers.tautline]\nname = \"Tautline\"\n\
        base_url = \"http://127.0.0.1:4100/v1\"\nwire_api = \"responses\"\nsupports_websockets = false\n\
        requires_openai_auth = true\n\n[model_providers.tautline.env_http_headers]\nx-tautline-key = \"TAUTLINE_KEY\"\n";
    assert_eq!(home.0.read(".codex/config.toml"), expected);
    home.write(&["opencode"]).await;
    let opencode = home.json(".config/opencode/opencode.json");
    assert_eq!(opencode["provider"]["tautline"]["options"]["apiKey"], "{env:TAUTLINE_KEY}");
    assert_eq!(
        opencode["provider"]["tautline"]["models"],
        json!({"v1.5/x": {"name": "v1.5/x"}}),
        "one key, dots and all"
    );
    assert_eq!(opencode["model"], "tautline/v1.5/x");
}

#[tokio::test]
async fn a_gateway_elsewhere_asks_for_a_key_that_stands_in_no_file() {
    let home = Home::new();
    home.dir("elsewhere");
    home.0.write("config.toml", "# mine\nmodel = \"gpt-5\" # why\n[tui]\nx = 1\n");
    std::fs::rename(home.0.path().join("config.toml"), home.0.path().join("elsewhere/config.toml")).expect("moved");
    let elsewhere = home.0.path().join("elsewhere").display().to_string();
    let environment = [
        ("CODEX_HOME", elsewhere.as_str()),
        ("CLAUDE_CONFIG_DIR", elsewhere.as_str()),
        ("XDG_CONFIG_HOME", elsewhere.as_str()),
        ("TAUTLINE_KEY", "tl-HiddenKeyOfTheShell"),
    ];
    let url = "https://gw.example.org/llm/v1";
    for tool in ["claude", "codex", "opencode", "aider"] {
        let (code, out, err) = home.run(&environment, &[tool, "--write", "--base-url", url]).await;
        assert!(code == Some(0) && out.contains("TAUTLINE_KEY"), "{tool}: {out}{err}");
        let (_, out, _) = home.run(&environment, &[tool, "--write", "--json", "--base-url", url]).await;
        let told: Value = serde_json::from_str(&out).expect("JSON");
        assert_eq!((&told["base_url"], &told["needs_key"]), (&json!("https://gw.example.org/llm"), &json!(true)));
        assert_eq!(told["written"], json!({"changed": [], "backup": null}), "{tool}");
    }
    let claude =
        json!({"env": {"ANTHROPIC_BASE_URL": "https://gw.example.org/llm"}, "apiKeyHelper": "printenv TAUTLINE_KEY"});
    assert_eq!(home.json("elsewhere/settings.json"), claude);
    let codex = home.0.read("elsewhere/config.toml");
    assert!(codex.starts_with("# mine\nmodel = \"gpt-5\" # why\nmodel_provider = \"tautline\"\n"), "{codex}");
    assert!(codex.contains("\n[tui]\nx = 1\n") && codex.contains("\nenv_key = \"TAUTLINE_KEY\"\n"), "{codex}");
    assert!(home.0.path().join("elsewhere/opencode/opencode.json").exists());
    assert!(!home.0.path().join(".codex").exists() && !home.0.path().join(".claude").exists());
}

#[tokio::test]
async fn a_link_stays_a_link_and_a_file_that_cannot_be_kept_whole_stays_as_it_is() {
    let home = Home::new();
    home.dir("dotfiles");
    home.0.write("dotfiles/aider.yml", "dark-mode: true\n");
    std::os::unix::fs::symlink("dotfiles/aider.yml", home.0.path().join(".aider.conf.yml")).expect("linked");
    home.write(&["aider"]).await;
    assert!(std::fs::symlink_metadata(home.0.path().join(".aider.conf.yml")).expect("there").is_symlink());
    let text = home.0.read("dotfiles/aider.yml");
    assert!(text.starts_with("dark-mode: true\nopenai-api-base: \"http://127.0.0.1:4000/v1\"\n"), "{text}");
    std::fs::remove_file(home.0.path().join("dotfiles/aider.yml")).expect("removed");
    let (code, _, err) = home.run(&[], &["aider", "--write"]).await;
    assert!(code == Some(1) && err.contains("a link that leads to no file"), "{err}");
    assert!(home.files("dotfiles").iter().all(|name| name.starts_with("aider.yml.before-tautline")), "{err}");
    home.dir(".config/opencode");
    for (file, text) in [("opencode.jsonc", "{ // mine\n}\n"), ("opencode.json", "{\"provider\": []}")] {
        home.0.write(&format!(".config/opencode/{file}"), text);
        let (code, _, err) = home.run(&[], &["opencode", "--write"]).await;
        assert!(code == Some(1) && err.contains(file) && err.contains("by hand"), "{err}");
        assert_eq!(home.0.read(&format!(".config/opencode/{file}")), text);
    }
    assert_eq!(home.files(".config/opencode"), ["opencode.json", "opencode.jsonc"], "and nothing is left beside them");
}

#[tokio::test]
async fn what_cannot_be_understood_is_told_and_nothing_is_written() {
    let home = Home::new();
    for (url, problem) in [
        ("gw.example.org", "begins with neither http:// nor https://"),
        ("http://user:sk-own@gw/v1", "must not hold a credential"),
        ("http://gw/v1?key=1", "must not have a query"),
    ] {
        let (code, _, err) = home.run(&[], &["claude", "--write", "--base-url", url]).await;
        assert!(code == Some(1) && err.contains("--base-url") && err.contains(problem), "{url}: {err}");
    }
    assert_eq!(home.run(&[], &["claude", "--write", "--model", ""]).await.0, Some(1));
    assert_eq!(home.run(&[], &["emacs"]).await.0, Some(2));
    home.0.write("tautline.toml", "[gateway]\nlisten = [\"127.0.0.1:0\"]\n");
    let (code, _, err) = home.run(&[], &["claude"]).await;
    assert!(code == Some(1) && err.contains("port is not fixed") && err.contains("--base-url"), "{err}");
    home.0.write("tautline.toml", "[gateway]\nlisten = \"nowhere\"\n");
    assert_eq!(home.run(&[], &["claude"]).await.0, Some(1), "the faults of a configuration are told");
    let (code, ..) = home.run(&[], &["claude", "--base-url", "http://127.0.0.1:4000"]).await;
    assert_eq!(code, Some(0), "but are no concern where the place is given");
    assert_eq!(home.files("."), ["access", "tautline.toml"]);
}
