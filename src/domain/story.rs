//! A record told in plain sentences.

use crate::domain::record::Record;

/// The story of one exchange, a sentence a line.
#[must_use]
pub fn tell(record: &Record) -> Vec<String> {
    vec![record.id.clone()]
}
