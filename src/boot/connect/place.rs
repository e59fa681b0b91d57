//! A settings file of another program, put in place whole.
//!
//! Owns reading, backup and replacement. Refuses to know what is in it.
//! Invariants: whoever reads the file meanwhile finds the old one or the new
//! one; the old one is kept beside it; a link to it stays a link.

use anyhow::{Context as _, Result, bail};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Bytes of a settings file; a larger one is no settings file.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Backups beside one file, none of which is ever overwritten.
const BACKUPS_MAX: usize = 100;
/// Of a file that was not there: keys may come to stand in it.
const MODE: u32 = 0o600;

/// The file's text; empty when there is none.
///
/// # Errors
/// When it cannot be read, is no text or too large.
pub fn read(path: &Path) -> Result<String> {
    match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        Ok(found) if found.len() > FILE_BYTES_MAX => {
            bail!("{} is larger than {FILE_BYTES_MAX} bytes", path.display())
        }
        _ => {}
    }
    fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))
}

/// Replaces the file by `text` and returns where the old one is kept, if there
/// was one.
///
/// # Errors
/// When a step fails; then the old file still stands.
pub fn replace(path: &Path, text: &str) -> Result<Option<PathBuf>> {
    let failed = || format!("failed to write {}", path.display());
    // The file itself, where a link leads to it.
    let path = &match path.canonicalize() {
        Ok(found) => found,
        Err(_) if path.is_symlink() => bail!("{} is a link that leads to no file", path.display()),
        Err(_) => path.to_owned(),
    };
    let folder = path.parent().context("the file has no folder").with_context(failed)?;
    fs::create_dir_all(folder).with_context(failed)?;
    let (mode, backup) = match fs::metadata(path) {
        Ok(found) => (found.permissions().mode() & 0o7777, Some(back_up(path).with_context(failed)?)),
        Err(_) => (MODE, None),
    };
    let name = path.file_name().context("the path names no file")?.to_string_lossy();
    let fresh = folder.join(format!(".{name}.{}", std::process::id()));
    let written = write_whole(&fresh, text, mode).and_then(|()| fs::rename(&fresh, path));
    if written.is_err() {
        // What is left of it is of no use to anybody.
        let _ = fs::remove_file(&fresh);
    }
    written.with_context(failed)?;
    Ok(backup)
}

fn write_whole(path: &Path, text: &str, mode: u32) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    // The mask may have taken rights that the old file had.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Copies the file, with its rights, to the first free name beside it.
fn back_up(path: &Path) -> Result<PathBuf> {
    let name = |number: usize| {
        let mut name = path.as_os_str().to_owned();
        name.push(".before-tautline");
        if number > 1 {
            name.push(format!(".{number}"));
        }
        PathBuf::from(name)
    };
    let free = (1..=BACKUPS_MAX).map(name).find(|path| fs::symlink_metadata(path).is_err());
    let free = free.with_context(|| format!("there are {BACKUPS_MAX} backups already; remove some"))?;
    fs::copy(path, &free)?;
    Ok(free)
}
