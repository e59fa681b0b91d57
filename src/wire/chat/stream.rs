//! The chunks of one stream.
//!
//! Owns what makes a stream cheaper to read than its chunks one by one: most
//! differ from the one before in their text alone. Refuses to guess. Invariant:
//! what is told of a chunk is what [`read_chunk`](super::read_chunk) tells of it.

use super::chunk::read_with_text;
use crate::wire::facts::FrameFacts;

/// Bytes around a text that are kept for the next chunk.
const AROUND_MAX: usize = 8 << 10;

/// Reads the chunks of one stream in their order.
#[derive(Debug, Default)]
pub struct ChunkReader(Option<Known>);

/// A chunk that was read: what stands around its text, and what it told.
#[derive(Debug)]
struct Known {
    /// Up to the quotation mark before the text.
    head: Vec<u8>,
    /// From the quotation mark behind it.
    tail: Vec<u8>,
    facts: FrameFacts,
}

impl ChunkReader {
    /// Reads a `data:` payload.
    ///
    /// # Errors
    /// As [`read_chunk`](super::read_chunk).
    pub fn read(&mut self, payload: &[u8]) -> Result<FrameFacts, String> {
        if let Some(Known { head, tail, facts }) = &self.0
            && let Some(rest) = payload.strip_prefix(head.as_slice())
            && let Some(text) = rest.strip_suffix(tail.as_slice())
            && is_plain(text)
        {
            // Only the inside of one string is another, so the JSON is good and says the same.
            return Ok(facts.clone());
        }
        let (facts, text) = read_with_text(payload)?;
        // One choice with one text that is an answer, and nothing else that would be told.
        let alone = facts.choices.is_one()
            && facts.unsealed
            && (facts.contents, facts.answers) == (1, 1)
            && facts.finished.is_empty()
            && facts.usage.is_none()
            && facts.error.is_none();
        let is_small = |text: &std::ops::Range<usize>| payload.len() - text.len() <= AROUND_MAX;
        self.0 = text.filter(|text| alone && !text.is_empty() && is_small(text)).map(|text| Known {
            head: payload[..text.start].to_vec(),
            tail: payload[text.end..].to_vec(),
            facts: facts.clone(),
        });
        Ok(facts)
    }
}

/// The inside of a JSON string that is not empty and in which nothing is escaped.
fn is_plain(text: &[u8]) -> bool {
    let plain = |byte: &u8| *byte >= 0x20 && *byte != b'"' && *byte != b'\\';
    !text.is_empty() && text.iter().all(plain) && (text.is_ascii() || std::str::from_utf8(text).is_ok())
}

#[cfg(test)]
mod tests {
    use super::super::read_chunk;
    use super::*;

    #[test]
    fn whatever_comes_is_read_as_if_it_came_alone() {
        let around = |text: &str| {
            format!(r#"{{"id":"a","choices":[{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":null}}]}}"#)
        };
        let mut chunks: Vec<Vec<u8>> =
            ["word", " word", "", "é", "a\\n", "\\u00e9", "x\",\"y\":\"z", "\n", "\\", "word"]
                .iter()
                .map(|text| around(text).into_bytes())
                .collect();
        chunks.push(around("word").replace("null", "\"stop\"").into_bytes());
        chunks.push(around("word").replace("null}", "null,\"text\":\"t\"}").into_bytes());
        chunks.push(
            around("word").replace("{\"content\":\"word\"", "{\"content\":\"word\",\"refusal\":\"no\"").into_bytes(),
        );
        chunks.push(around("word").replace("\"content\"", "\"reasoning\"").into_bytes());
        chunks.push(around("word").replace("]}", "],\"usage\":{\"prompt_tokens\":1}}").into_bytes());
        chunks.push([&around("").into_bytes()[..], b"\xff"].concat());
        chunks.push(
            around("wo\u{7f}rd").into_bytes().iter().map(|byte| if *byte == 0x7f { 0xff } else { *byte }).collect(),
        );
        chunks.push(b"{\"error\":{\"message\":\"m\"}}".to_vec());
        let mut reader = ChunkReader::default();
        for first in &chunks {
            for then in &chunks {
                let _ = reader.read(first);
                assert_eq!(reader.read(then), read_chunk(then), "{:?}", String::from_utf8_lossy(then));
            }
        }
    }
}
