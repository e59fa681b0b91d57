//! `tautline init`: a configuration from what is found here.

use anyhow::{Context as _, Result, bail};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

/// A local server that does not answer within this is taken to be absent.
const LOOK_MAX: Duration = Duration::from_millis(400);
/// Models of a local server that become targets.
const LOCAL_MODELS_MAX: usize = 3;

/// A hosted API that is recognised by its key.
struct Hosted {
    variable: &'static str,
    name: &'static str,
    dialect: &'static str,
    base_url: &'static str,
    /// Strong model, fast model.
    models: [&'static str; 2],
}

/// Base URLs and model names as their documentation gives them.
const HOSTED: [Hosted; 7] = [
    Hosted {
        variable: "OPENAI_API_KEY",
        name: "openai",
        dialect: "openai",
        base_url: "https://api.openai.com/v1",
        models: ["gpt-5", "gpt-5-mini"],
    },
    Hosted {
        variable: "ANTHROPIC_API_KEY",
        name: "anthropic",
        dialect: "anthropic",
        base_url: "https://api.anthropic.com/v1",
        models: ["claude-opus-5-5", "claude-haiku-5-5"],
    },
    Hosted {
        variable: "OPENROUTER_API_KEY",
        name: "openrouter",
        dialect: "openai",
        base_url: "https://openrouter.ai/api/v1",
        models: ["openai/gpt-5", "openai/gpt-5-mini"],
    },
    Hosted {
        variable: "GROQ_API_KEY",
        name: "groq",
        dialect: "openai",
        base_url: "https://api.groq.com/openai/v1",
        models: ["openai/gpt-oss-120b", "openai/gpt-oss-20b"],
    },
    Hosted {
        variable: "MISTRAL_API_KEY",
        name: "mistral",
        dialect: "openai",
        base_url: "https://api.mistral.ai/v1",
        models: ["mistral-large-latest", "mistral-small-latest"],
    },
    Hosted {
        variable: "DEEPSEEK_API_KEY",
        name: "deepseek",
        dialect: "openai",
        base_url: "https://api.deepseek.com/v1",
        models: ["deepseek-reasoner", "deepseek-chat"],
    },
    Hosted {
        variable: "XAI_API_KEY",
        name: "xai",
        dialect: "openai",
        base_url: "https://api.x.ai/v1",
        models: ["grok-4", "grok-3-mini"],
    },
];

/// Local servers by their documented default ports.
const LOCAL: [(&str, &str); 4] = [
    ("ollama", "http://127.0.0.1:11434/v1"),
    ("llamacpp", "http://127.0.0.1:8080/v1"),
    ("vllm", "http://127.0.0.1:8000/v1"),
    ("lmstudio", "http://127.0.0.1:1234/v1"),
];

/// Writes the file and says what went into it.
///
/// # Errors
/// When it exists already (without `force`) or cannot be written.
pub fn init(path: &Path, force: bool) -> Result<()> {
    if path.exists() && !force {
        bail!("{} exists already; --force overwrites it", path.display());
    }
    let hosted: Vec<&Hosted> =
        HOSTED.iter().filter(|hosted| std::env::var_os(hosted.variable).is_some_and(|key| !key.is_empty())).collect();
    let local: Vec<(&str, &str, Vec<String>)> =
        LOCAL.iter().filter_map(|(name, base_url)| Some((*name, *base_url, models_of(base_url)?))).collect();
    let text = configuration(&hosted, &local);
    crate::boot::config::parse(&path.display().to_string(), &text)
        .context("what was written is not a good configuration")?;
    std::fs::write(path, &text).with_context(|| format!("failed to write {}", path.display()))?;
    for hosted in &hosted {
        println!("found {}: provider \"{}\"", hosted.variable, hosted.name);
    }
    for (name, base_url, models) in &local {
        println!("found {name} on {base_url} with {} models", models.len());
    }
    if hosted.is_empty() && local.is_empty() {
        println!("found no key and no local server: OpenAI and Anthropic with each caller's own login, passed through");
    }
    println!("wrote {}; next: `tautline check-config`, then `tautline up`", path.display());
    Ok(())
}

fn models_of(base_url: &str) -> Option<Vec<String>> {
    // What is on this machine is not reached by way of a proxy.
    let agent: ureq::Agent = ureq::Agent::config_builder().proxy(None).timeout_global(Some(LOOK_MAX)).build().into();
    let body = agent.get(format!("{base_url}/models")).call().ok()?.body_mut().read_to_vec().ok()?;
    let models = crate::wire::chat::read_model_list(&body, LOCAL_MODELS_MAX).ok()?;
    (!models.is_empty()).then_some(models)
}

fn configuration(hosted: &[&Hosted], local: &[(&str, &str, Vec<String>)]) -> String {
    let mut text = String::from("# Written by `tautline init`. Every key: config/example.toml.\n");
    let (mut strong, mut fast) = (Vec::new(), Vec::new());
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    for Hosted { variable, name, dialect, base_url, models } in hosted {
        let _ = writeln!(
            text,
            "\n[providers.{name}]\ndialect = \"{dialect}\"\nbase_url = \"{base_url}\"\napi_key = \"env:{variable}\""
        );
        for (role, model, list) in [("strong", models[0], &mut strong), ("fast", models[1], &mut fast)] {
            let target = format!("{name}-{role}");
            let _ = writeln!(text, "[targets.{target}]\nprovider = \"{name}\"\nmodel = {}", quoted(model));
            list.push(target);
        }
    }
    for (name, base_url, models) in local {
        let _ = writeln!(text, "\n[providers.{name}]\ndialect = \"openai\"\nbase_url = \"{base_url}\"");
        for (place, model) in models.iter().enumerate() {
            let target = if place == 0 { (*name).to_owned() } else { format!("{name}-{}", place + 1) };
            let _ = writeln!(text, "[targets.{target}]\nprovider = \"{name}\"\nmodel = {}", quoted(model));
            if place == 0 {
                strong.push(target.clone());
                fast.push(target);
            }
        }
    }
    if strong.is_empty() {
        text.push_str(
            "\n# No key was found: each caller's own login goes to the vendor it is of, by the model's name.\n\
             [providers.openai]\ndialect = \"openai\"\nbase_url = \"https://api.openai.com/v1\"\nauth = \"client\"\n\
             models = [\"gpt-*\", \"o1*\", \"o3*\", \"o4*\", \"chatgpt-*\"]\n\n\
             [providers.anthropic]\ndialect = \"anthropic\"\nbase_url = \"https://api.anthropic.com/v1\"\nauth = \"client\"\n\
             models = [\"claude-*\"]\n\n[routes.\"*\"]\npassthrough = true\n",
        );
        return text;
    }
    let list = |names: &[String]| names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
    let _ = writeln!(text, "\n[tasks.analysis]\ntargets = [{}]", list(&strong));
    let _ = writeln!(text, "[tasks.lookup]\ntargets = [{}]\n[tasks.chat]\ntargets = [{}]", list(&fast), list(&fast));
    text.push_str("\n[routes.auto]\nby_task = true\ndefault_task = \"chat\"\n\n# Any other model name goes to the provider that serves it.\n");
    let _ = writeln!(text, "[routes.\"*\"]\npassthrough = true\nfallback = [{}]", list(&strong));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_found_the_configuration_is_good() {
        let local = [("ollama", LOCAL[0].1, vec!["llama3:8b".to_owned(), "q\"x".to_owned()])];
        for text in [configuration(&[], &[]), configuration(&[], &local)] {
            crate::boot::config::parse("test", &text).expect("good");
        }
        let hosted: Vec<&Hosted> = HOSTED.iter().collect();
        let text = configuration(&hosted, &local);
        let faults = crate::boot::config::parse("test", &text).map(|_| ()).map_err(|faults| faults.faults);
        // Keys that are not set here are the only faults there may be.
        assert!(faults.is_ok() || faults.is_err_and(|list| list.iter().all(|fault| fault.key.ends_with("api_key"))));
    }
}
