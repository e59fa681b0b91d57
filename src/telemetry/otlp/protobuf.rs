//! Writes protobuf messages field by field.
//!
//! Owns the four wire types that OTLP needs. Refuses schemas (`signal`,
//! `families`). OTLP's messages are few and only written here: a generated
//! schema would bring opentelemetry's SDK and a dozen crates for these lines.
//! Invariant: the official schema reads what is written (`tests/it/otlp.rs`).

/// A message in its encoded form.
#[derive(Debug, Default)]
pub struct Message(Vec<u8>);

impl Message {
    /// An empty one with room for so many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub fn uint(&mut self, field: u32, value: u64) {
        self.tag(field, 0);
        self.varint(value);
    }

    pub fn fixed64(&mut self, field: u32, value: u64) {
        self.tag(field, 1);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub fn fixed32(&mut self, field: u32, value: u32) {
        self.tag(field, 5);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub fn double(&mut self, field: u32, value: f64) {
        self.fixed64(field, value.to_bits());
    }

    /// Also text, and messages that are encoded already.
    pub fn bytes(&mut self, field: u32, value: &[u8]) {
        self.tag(field, 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    /// A packed list of `fixed64` or, as their bits, `double`.
    pub fn packed(&mut self, field: u32, values: impl ExactSizeIterator<Item = u64>) {
        self.tag(field, 2);
        self.varint(values.len() as u64 * 8);
        for value in values {
            self.0.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// A message inside this one, written in place: an attribute is two of them,
    /// and an allocation for each was most of what a span cost.
    pub fn message(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        self.tag(field, 2);
        let at = self.0.len();
        // Nearly every length is one byte; a longer one moves what was written.
        self.0.push(0);
        write(self);
        let len = self.0.len() - at - 1;
        if len < 0x80 {
            self.0[at] = len.to_le_bytes()[0];
        } else {
            let mut prefix = Self::default();
            prefix.varint(len as u64);
            self.0.splice(at..=at, prefix.0);
        }
    }

    fn tag(&mut self, field: u32, wire_type: u8) {
        self.varint(u64::from(field) << 3 | u64::from(wire_type));
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }
}
