#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tautline::wire::fuzzed::request_chat(bytes));
libfuzzer_sys::fuzz_mutator!(|bytes: &mut [u8], size: usize, max: usize, seed: u32| { tautline_fuzz::mutate(bytes, size, max, seed) });
