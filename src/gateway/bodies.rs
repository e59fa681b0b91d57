//! Room for request bodies, over all connections.
//!
//! Owns the count of bytes held. Refuses to read anything. Invariant: room is
//! given back when the last holder of a body is gone, however it went.

use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// All bodies in memory together.
#[derive(Debug)]
pub struct Bodies {
    held: AtomicUsize,
    max: usize,
}

/// Room that one body takes; dropping it gives the room back.
#[derive(Debug)]
pub struct Room {
    bodies: Arc<Bodies>,
    bytes: usize,
}

struct Kept {
    bytes: Bytes,
    _room: Room,
}

impl Bodies {
    #[must_use]
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { held: AtomicUsize::new(0), max })
    }

    /// Bytes held now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    #[must_use]
    pub const fn max(&self) -> usize {
        self.max
    }

    /// Room of no bytes yet.
    #[must_use]
    pub fn room(self: &Arc<Self>) -> Room {
        Room { bodies: Arc::clone(self), bytes: 0 }
    }
}

impl Room {
    /// Takes `more` bytes; false, and nothing taken, where there are not so many left.
    pub fn grow(&mut self, more: usize) -> bool {
        let max = self.bodies.max;
        let grown = self.bodies.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
            held.checked_add(more).filter(|all| *all <= max)
        });
        if grown.is_ok() {
            self.bytes += more;
        }
        grown.is_ok()
    }

    /// The body, which holds its room as long as anyone holds the body.
    #[must_use]
    pub fn keep(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Kept { bytes, _room: self })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.bodies.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_bounded_and_comes_back_with_the_last_holder() {
        let bodies = Bodies::new(100);
        let (mut one, mut other) = (bodies.room(), bodies.room());
        assert!(one.grow(60) && one.grow(10) && !other.grow(31) && other.grow(30));
        assert!(!one.grow(usize::MAX));
        drop(other);
        let kept = one.keep(Bytes::from_static(b"abc"));
        let slice = kept.slice(1..);
        drop(kept);
        assert_eq!((bodies.held(), &slice[..]), (70, &b"bc"[..]));
        drop(slice);
        assert_eq!(bodies.held(), 0);
    }
}
