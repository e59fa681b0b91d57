//! What the fuzz targets share: changes of whole JSON values beside libFuzzer's own.
//!
//! Owns the choice between the two. Refuses invariants: they are in
//! `tautline::wire::fuzzed`, where tests run them, too.

use fastrand::Rng;

/// Changes `bytes[..size]` in place; the new length, at most `max`.
pub fn mutate(bytes: &mut [u8], size: usize, max: usize, seed: u32) -> usize {
    let mut rng = Rng::with_seed(seed.into());
    if rng.u8(0..3) == 0 {
        return libfuzzer_sys::fuzzer_mutate(bytes, size, max);
    }
    let changed = tautline::wire::fuzzed::mutated_values(&bytes[..size], &mut rng);
    let length = changed.len().min(max);
    bytes[..length].copy_from_slice(&changed[..length]);
    length
}
