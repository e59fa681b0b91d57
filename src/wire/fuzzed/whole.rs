//! Whole answers of any bytes.
//!
//! Owns what is done with an answer that came unstreamed. Invariant: an answer
//! that is judged to be good is written in every dialect, and says the same.

use super::held::{SPOKEN, assert_growth, contexts, decoded, decoded_whole, lossy, read_ours, told};
use crate::wire::chat::chunks_of_whole;
use crate::wire::dialect::Dialect;
use crate::wire::facts::Finish;
use crate::wire::frames::{FrameReader, read_whole};
use crate::wire::messages::frames_of_whole as message_frames;
use crate::wire::responses::{frames_of_whole as response_frames, output_items};
use crate::wire::seals::in_whole;
use crate::wire::translate::Translator;

/// An answer of a target that speaks chat completions.
pub fn whole_chat(body: &[u8]) {
    whole(Dialect::Chat, body);
}

/// An answer of a target that speaks messages.
pub fn whole_messages(body: &[u8]) {
    whole(Dialect::Messages, body);
}

/// An answer of a target that speaks responses.
pub fn whole_responses(body: &[u8]) {
    whole(Dialect::Responses, body);
}

fn whole(from: Dialect, body: &[u8]) {
    let judged = read_whole(from, body);
    let is_good = judged.as_ref().is_ok_and(|facts| {
        facts.error.is_none()
            && (facts.has_answer || matches!(facts.finish, Some(Finish::Length | Finish::ContentFilter)))
    });
    let _ = read_whole(Dialect::Embeddings, body);
    let _ = in_whole(from, body);
    streamed(from, body, is_good);
    for to in SPOKEN {
        for context in contexts(to) {
            let is_plain = context.fields.is_empty();
            let mut translator = Translator::new(from, to, context);
            // What cannot be decoded fails its attempt.
            let Ok(frames) = translator.whole(body) else { continue };
            assert_growth("a whole answer", body.len(), frames.iter().map(|frame| frame.data.len()).sum());
            let read = read_ours(to, &frames);
            if is_plain && to == from {
                assert_eq!(read, told(&decoded_whole(from, body)), "from {from} to {to}");
            }
        }
    }
}

/// For a client that asked for a stream.
fn streamed(from: Dialect, body: &[u8], is_good: bool) {
    let frames = match from {
        Dialect::Messages => message_frames(body),
        Dialect::Responses => {
            if let Ok(value) = serde_json::from_slice(body) {
                let _ = output_items(&value);
            }
            response_frames(body)
        }
        _ => chunks_of_whole(body, true),
    };
    assert_growth("a streamed answer", body.len(), frames.iter().map(|frame| frame.data.len()).sum());
    // Where there are none, the attempt fails.
    if is_good {
        let mut reader = FrameReader::new(from);
        for frame in &frames {
            let facts = reader.read(frame).unwrap_or_else(|error| panic!("{from}: {error}: {}", lossy(&frame.data)));
            assert!(facts.error.is_none(), "{from}: {}", lossy(&frame.data));
        }
    }
    let _ = decoded(from, &frames).map(|events| told(&events));
}
