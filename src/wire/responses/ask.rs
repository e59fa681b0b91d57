//! What a request asks for, as far as the gateway acts on it.

use crate::wire::request::{Invalid, Particulars, Reader};

/// Reads the fields that planning and clocks need.
pub(in crate::wire) fn ask(reader: &Reader<'_>) -> Result<Particulars, Invalid> {
    let background: Option<bool> = reader.optional("background", "true or false")?;
    Ok(Particulars {
        include_usage: true,
        n: 1,
        unstreamable: background == Some(true),
        text_bytes: reader.raw("input").map_or(0, |raw| raw.get().len() as u64),
        output_tokens_max: reader.optional("max_output_tokens", "a whole number")?,
        bound: (background == Some(true)).then_some("background"),
        ..Particulars::default()
    })
}
