//! What a request asks for, as far as the gateway acts on it.

use crate::wire::request::{Invalid, Particulars, Reader, bad};
use serde_json::value::RawValue;

/// Reads the fields that planning and clocks need.
pub(in crate::wire) fn ask(reader: &Reader<'_>) -> Result<Particulars, Invalid> {
    let messages: Vec<Box<RawValue>> = reader.required("messages", "a list of objects, each with a role")?;
    if messages.is_empty() {
        return Err(bad("messages", "must hold at least one message"));
    }
    Ok(Particulars {
        include_usage: true,
        n: 1,
        text_bytes: messages.iter().map(|raw| raw.get().len() as u64).sum(),
        output_tokens_max: reader.optional("max_tokens", "a whole number")?,
        ..Particulars::default()
    })
}
