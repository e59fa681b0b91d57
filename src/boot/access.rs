//! A first key for a process that others can reach and that names none.

use crate::boot::config::Loaded;
use crate::gateway::access::{Access, KeyHash};
use anyhow::{Context as _, Result};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

/// The key that a process demands off loopback, and the key itself where it was
/// made just now: it is shown once and stored nowhere.
#[derive(Debug, Default)]
pub struct Minted {
    pub hash: Option<KeyHash>,
    pub shown_once: Option<String>,
}

/// Takes `TAUTLINE_KEY`, else the key of an earlier start, else makes one.
/// Nothing, where no listener is off loopback or the configuration says who
/// may come in.
///
/// # Errors
/// When the hash cannot be read or written.
pub fn mint(loaded: &Loaded) -> Result<Minted> {
    let reachable = loaded
        .gateway
        .listen
        .iter()
        .chain(&loaded.gateway.listen_h2c)
        .chain([&loaded.admin_listen])
        .any(|addr| !addr.ip().is_loopback());
    if !reachable || loaded.gateway.access != Access::Unsaid {
        return Ok(Minted::default());
    }
    if let Ok(key) = std::env::var("TAUTLINE_KEY")
        && !key.trim().is_empty()
    {
        return Ok(Minted { hash: Some(KeyHash::of(key.trim())), shown_once: None });
    }
    let path = loaded.state_dir.join("access.sha256");
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let hash = KeyHash::from_hex(&text)
                .with_context(|| format!("{} holds no hash; remove it to get a new key", path.display()))?;
            return Ok(Minted { hash: Some(hash), shown_once: None });
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("failed to read {}", path.display())),
    }
    // Two ULIDs carry 160 random bits of the system's generator.
    let key = format!("tl-{}{}", ulid::Ulid::generate(), ulid::Ulid::generate()).to_ascii_lowercase();
    let hash = KeyHash::of(&key);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("failed to write {}", path.display()))?;
    file.write_all(hash.to_hex().as_bytes())?;
    Ok(Minted { hash: Some(hash), shown_once: Some(key) })
}
