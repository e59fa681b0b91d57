//! Secrets by reference.

use crate::domain::secret::Secret;
use crate::gateway::settings::Resolved;
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A command that prints a key has this long.
const EXEC_MAX: Duration = Duration::from_secs(10);
/// A key whose life is not said is asked for anew this often.
const UNKNOWN_LIFE: Duration = Duration::from_secs(300);
/// A longer life is not believed; a number of seconds beyond all calendars
/// would overflow the clock.
const LIFE_MAX: Duration = Duration::from_hours(30 * 24);
/// And a key has at most this many bytes.
const KEY_BYTES_MAX: u64 = 16 << 10;

/// `env:NAME`, `file:PATH` or `exec:COMMAND`; a literal is refused, so that no
/// key stands in a file that is committed. A command prints the key, or a JSON
/// object with `access_token` (or `token`) and `expires_in` in seconds (RFC
/// 6749, section 5.1); a bare key is asked for anew every five minutes.
///
/// # Errors
/// Why there is no secret; never the secret itself.
pub fn resolve(reference: &str) -> Result<Resolved, String> {
    let literal = || "a key stands in the file itself, which is refused".to_owned();
    let (kind, rest) = reference.split_once(':').ok_or_else(literal)?;
    let resolved = match kind {
        "env" => fixed(&std::env::var(rest).map_err(|_| format!("the environment variable {rest} is not set"))?),
        "file" => {
            fixed(&std::fs::read_to_string(rest).map_err(|error| format!("the file {rest} cannot be read: {error}"))?)
        }
        "exec" => token(&exec(rest)?),
        _ => return Err(literal()),
    };
    if http::HeaderValue::from_str(resolved.secret.expose()).is_err() {
        return Err(format!("{kind}: gives something that cannot stand in a header"));
    }
    if resolved.secret.expose().is_empty() { Err(format!("{kind}: gives nothing")) } else { Ok(resolved) }
}

fn fixed(text: &str) -> Resolved {
    Resolved { secret: Secret::new(text.trim().to_owned()), renew_after: None }
}

/// What a command printed.
fn token(printed: &str) -> Resolved {
    #[derive(serde::Deserialize)]
    struct Token {
        #[serde(alias = "token")]
        access_token: String,
        #[serde(default)]
        expires_in: Option<Seconds>,
    }
    /// Some servers write the number as text.
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Seconds {
        Number(u64),
        Text(String),
    }
    match serde_json::from_str::<Token>(printed) {
        Ok(token) => {
            // A minute early, so that no request meets its last second.
            let seconds = match token.expires_in {
                Some(Seconds::Number(seconds)) => Some(seconds),
                Some(Seconds::Text(text)) => text.parse().ok(),
                None => None,
            };
            let life = seconds.map_or(UNKNOWN_LIFE, |secs| Duration::from_secs(secs.saturating_sub(60)).min(LIFE_MAX));
            Resolved { secret: Secret::new(token.access_token), renew_after: Some(life) }
        }
        Err(_) => Resolved { renew_after: Some(UNKNOWN_LIFE), ..fixed(printed) },
    }
}

/// Runs a command without a shell; its words are split at spaces.
fn exec(command: &str) -> Result<String, String> {
    let mut words = command.split_whitespace();
    let program = words.next().ok_or_else(|| "exec: names no command".to_owned())?;
    let mut child = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{program} cannot be started: {error}"))?;
    let began = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if began.elapsed() > EXEC_MAX => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("{program} did not end within {} s", EXEC_MAX.as_secs()));
            }
            Ok(None) => nap(),
            Err(error) => return Err(format!("{program} cannot be waited for: {error}")),
        }
    };
    if !status.success() {
        return Err(format!("{program} ended with {status}"));
    }
    let mut out = String::new();
    let stdout = child.stdout.take().ok_or_else(|| format!("{program} has no output"))?;
    stdout.take(KEY_BYTES_MAX).read_to_string(&mut out).map_err(|_| format!("{program} printed no text"))?;
    Ok(out)
}

#[expect(clippy::disallowed_methods, reason = "start-up runs before there is a runtime")]
fn nap() {
    std::thread::sleep(Duration::from_millis(10));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commands_key_lives_as_long_as_it_says() {
        let read = |printed: &str| {
            let resolved = token(printed);
            (resolved.secret.expose().clone(), resolved.renew_after.map(|after| after.as_secs()))
        };
        assert_eq!(read("abc\n"), ("abc".to_owned(), Some(300)));
        assert_eq!(read(r#"{"access_token":"abc","expires_in":3600}"#), ("abc".to_owned(), Some(3540)));
        assert_eq!(read(r#"{"access_token":"abc","expires_in":"3600"}"#), ("abc".to_owned(), Some(3540)));
        assert_eq!(read(r#"{"token":"abc"}"#), ("abc".to_owned(), Some(300)));
        let endless = format!(r#"{{"token":"abc","expires_in":{}}}"#, u64::MAX);
        assert_eq!(read(&endless), ("abc".to_owned(), Some(30 * 24 * 3600)));
    }

    #[test]
    fn a_literal_is_refused_without_being_repeated() {
        for literal in ["sk-live-1234", "sk:live"] {
            let error = resolve(literal).expect_err("refused");
            assert!(!error.contains("live"), "{error}");
        }
        assert!(resolve("exec:false").is_err());
        assert_eq!(resolve("exec:echo k").expect("printed").secret.expose(), "k");
    }
}
