//! Secrets by reference.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A command that prints a key has this long.
const EXEC_MAX: Duration = Duration::from_secs(10);
/// And a key has at most this many bytes.
const KEY_BYTES_MAX: u64 = 16 << 10;

/// `env:NAME`, `file:PATH` or `exec:COMMAND`; a literal is refused, so that no
/// key stands in a file that is committed.
///
/// # Errors
/// Why there is no secret; never the secret itself.
pub fn resolve(reference: &str) -> Result<String, String> {
    let (kind, rest) =
        reference.split_once(':').ok_or_else(|| "a key stands in the file itself, which is refused".to_owned())?;
    let secret = match kind {
        "env" => std::env::var(rest).map_err(|_| format!("the environment variable {rest} is not set"))?,
        "file" => std::fs::read_to_string(rest).map_err(|error| format!("the file {rest} cannot be read: {error}"))?,
        "exec" => exec(rest)?,
        _ => return Err("a key stands in the file itself, which is refused".to_owned()),
    };
    let secret = secret.trim();
    if secret.is_empty() { Err(format!("{kind}: gives nothing")) } else { Ok(secret.to_owned()) }
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
