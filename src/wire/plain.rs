//! What requests ask for that carry no conversation: completions, embeddings,
//! counts of tokens.
//!
//! Owns the reading of the few fields we act on. Refuses translation: they go to
//! targets that serve them. Invariant: their bodies pass as they came.

use super::messages;
use super::request::{Invalid, Particulars, Reader};
use serde_json::value::RawValue;

/// `POST /v1/completions` (OpenAI API reference, "Completions").
pub(super) fn completions(reader: &Reader<'_>) -> Result<Particulars, Invalid> {
    let n: Option<u32> = reader.optional("n", "a whole number of at least 1")?;
    let prompt: &RawValue = reader.raw("prompt").ok_or_else(|| reader.missing("prompt", "text or a list"))?;
    let options: Option<StreamOptions> = reader.optional("stream_options", "an object")?;
    Ok(Particulars {
        include_usage: options.is_some_and(|options| options.include_usage),
        n: n.unwrap_or(1).max(1),
        // Its chunks have no assembler: who asks for a whole answer gets the target's own.
        unstreamable: true,
        text_bytes: prompt.get().len() as u64,
        output_tokens_max: reader.optional("max_tokens", "a whole number")?,
        bound: Some("prompt"),
        ..Particulars::default()
    })
}

/// `POST /v1/embeddings` (OpenAI API reference, "Embeddings").
pub(super) fn embeddings(reader: &Reader<'_>) -> Result<Particulars, Invalid> {
    let input: &RawValue = reader.raw("input").ok_or_else(|| reader.missing("input", "text or a list"))?;
    Ok(Particulars {
        include_usage: true,
        n: 1,
        unstreamable: true,
        text_bytes: input.get().len() as u64,
        bound: Some("input"),
        ..Particulars::default()
    })
}

/// `POST /v1/messages/count_tokens` (Anthropic API reference, "Count tokens in a message").
pub(super) fn count_tokens(reader: &Reader<'_>) -> Result<Particulars, Invalid> {
    let asked = messages::ask(reader)?;
    Ok(Particulars { unstreamable: true, output_tokens_max: None, bound: Some("messages"), ..asked })
}

#[derive(serde::Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}
