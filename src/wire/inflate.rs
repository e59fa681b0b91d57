//! Compressed bodies, undone piece by piece.
//!
//! Owns the codings that are understood, and what a stream may ask of memory.
//! Refuses to decide how much is too much: who pulls pieces does.

use bytes::{Buf as _, Bytes};
use std::io::{Error, ErrorKind, Read};

/// Window of a zstd stream, as a power of two: 8 MiB (RFC 9659).
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Bytes of compressed input that a brotli decoder holds.
const BROTLI_BUFFER: usize = 4096;
/// How a brotli stream begins that wants a window of up to a gigabyte; RFC 7932, section 9.1,
/// has no such stream, its largest window is 16 MiB. The decoder at hand would grant it.
const BROTLI_LARGE_WINDOW: u8 = 0b001_0001;

/// A coding of `content-encoding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    Gzip,
    /// The format of zlib, as RFC 9110 has it.
    Deflate,
    Zstd,
    Brotli,
}

impl Coding {
    /// Bytes that undoing `compressed` takes at once, besides what comes out of it:
    /// brotli's window is made, and filled, before its first byte is told. The
    /// others give out as they go.
    #[must_use]
    pub fn window(self, compressed: &[u8]) -> usize {
        let (Self::Brotli, Some(first)) = (self, compressed.first()) else { return 0 };
        // RFC 7932, section 9.1.
        let bits = match (first & 1, first >> 1 & 7, first >> 4 & 7) {
            (0, ..) => 16,
            (_, 0, 0) => 17,
            (_, 0, high) => 8 + high,
            (_, low, _) => 17 + low,
        };
        1 << bits
    }
}

/// What is left to inflate.
pub struct Inflate(Box<dyn Read + Send>);

impl Coding {
    /// The names, for who has to be told.
    pub const NAMES: &'static str = "gzip, deflate, zstd, br";

    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "deflate" => Some(Self::Deflate),
            "zstd" => Some(Self::Zstd),
            "br" => Some(Self::Brotli),
            _ => None,
        }
    }
}

impl std::fmt::Debug for Inflate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inflate").finish_non_exhaustive()
    }
}

impl Inflate {
    /// Begins to undo `coding`.
    ///
    /// # Errors
    /// The decoder could not be made.
    pub fn new(coding: Coding, compressed: Bytes) -> std::io::Result<Self> {
        let wants = compressed.first().map(|first| first & 0x7f);
        let from = compressed.reader();
        Ok(Self(match coding {
            Coding::Gzip => Box::new(flate2::read::MultiGzDecoder::new(from)),
            Coding::Deflate => Box::new(flate2::read::ZlibDecoder::new(from)),
            Coding::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::new(from)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
            Coding::Brotli if wants == Some(BROTLI_LARGE_WINDOW) => {
                return Err(Error::new(ErrorKind::InvalidData, "its window is larger than the 16 MiB of RFC 7932"));
            }
            Coding::Brotli => Box::new(Brotli(brotli_decompressor::Decompressor::new(from, BROTLI_BUFFER))),
        }))
    }

    /// The next bytes, at most as many as `into` takes; 0 at the end.
    ///
    /// # Errors
    /// The stream is broken or cut.
    pub fn piece(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(into)
    }
}

/// A brotli stream with nothing behind it.
struct Brotli<R: Read>(brotli_decompressor::Decompressor<R>);

impl<R: Read> Read for Brotli<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        match self.0.read(into)? {
            // It tells of what is left over at the second end only.
            0 => self.0.read(into),
            read => Ok(read),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).expect("memory");
        encoder.finish().expect("memory")
    }

    fn deflate(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).expect("memory");
        encoder.finish().expect("memory")
    }

    fn brotli(bytes: &[u8], window: i32, large: bool) -> Vec<u8> {
        let params = brotli::enc::BrotliEncoderParams {
            quality: 5,
            lgwin: window,
            large_window: large,
            ..brotli::enc::BrotliEncoderParams::default()
        };
        let mut encoder = brotli::CompressorWriter::with_params(Vec::new(), 4096, &params);
        encoder.write_all(bytes).expect("memory");
        encoder.into_inner()
    }

    fn all(coding: Coding, compressed: Vec<u8>) -> std::io::Result<Vec<u8>> {
        let mut inflate = Inflate::new(coding, compressed.into())?;
        let (mut out, mut piece) = (Vec::new(), [0; 777]);
        loop {
            match inflate.piece(&mut piece)? {
                0 => return Ok(out),
                read => out.extend_from_slice(&piece[..read]),
            }
        }
    }

    #[test]
    fn the_window_of_a_brotli_stream_is_known_before_it_is_made() {
        let text = b"why do ropes go slack? ".repeat(500);
        for bits in [10, 15, 16, 17, 18, 22, 24] {
            assert_eq!(Coding::Brotli.window(&brotli(&text, bits, false)), 1 << bits, "{bits}");
        }
        assert_eq!((Coding::Gzip.window(&gzip(b"x")), Coding::Brotli.window(b"")), (0, 0));
    }

    #[test]
    fn each_coding_is_undone_and_a_broken_one_ends() {
        let text = b"why do ropes go slack? ".repeat(500);
        let zstd = zstd::stream::encode_all(&text[..], 3).expect("memory");
        for (coding, compressed) in [
            (Coding::Gzip, gzip(&text)),
            (Coding::Deflate, deflate(&text)),
            (Coding::Zstd, zstd),
            (Coding::Brotli, brotli(&text, 22, false)),
            (Coding::Brotli, brotli(&text, 24, false)),
            (Coding::Brotli, brotli(&text, 10, false)),
        ] {
            assert_eq!(all(coding, compressed.clone()).expect("whole"), text, "{coding:?}");
            let half = compressed[..compressed.len() / 2].to_vec();
            assert!(all(coding, half).ok().is_none_or(|got| got.len() < text.len()), "{coding:?}");
            for at in 0..compressed.len().min(60) {
                let mut odd = compressed.clone();
                odd[at] ^= 0x55;
                // It ends, one way or the other.
                let _ = all(coding, odd);
            }
        }
        assert_eq!(all(Coding::Gzip, [gzip(b"one "), gzip(b"two")].concat()).expect("two members"), b"one two");
    }

    #[test]
    fn a_window_beyond_the_bound_is_refused_before_it_is_made() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("memory");
        encoder.window_log(27).expect("a size");
        encoder.write_all(&vec![b' '; 32 << 20]).expect("memory");
        assert!(all(Coding::Zstd, encoder.finish().expect("memory")).is_err());
        let large = brotli(&vec![b' '; 1 << 20], 28, true);
        assert!(Inflate::new(Coding::Brotli, large.into()).is_err(), "before a byte was decoded");
    }

    #[test]
    fn nothing_stands_behind_a_brotli_stream() {
        let behind = [brotli(b"one", 22, false), b"two".to_vec()].concat();
        assert!(all(Coding::Brotli, behind).is_err());
        assert!(all(Coding::Brotli, Vec::new()).is_err(), "an empty one is cut");
    }
}
