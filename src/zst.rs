//! Compression: zstd contexts that are kept and used again, and decompression that trusts no length.

use std::cell::{Cell, RefCell};

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{CParameter, DParameter, get_frame_content_size};

use crate::format::codec::Malformed;

/// Largest zstd window, as a power of two: 8 MiB is what RFC 9659 lets a browser refuse beyond.
const WINDOW_LOG_MAX: u32 = 23;

/// A compressor of one level, its context used again for each frame.
pub(crate) struct Packer(Compressor<'static>);

impl Packer {
    pub(crate) fn new(level: i32) -> std::io::Result<Self> {
        let mut compressor = Compressor::new(level)?;
        compressor.set_parameter(CParameter::WindowLog(0))?;
        Ok(Self(compressor))
    }

    /// For large blocks: the whole window of a browser. Long-distance matching was tried and took more space, not
    /// less: a block hardly exceeds the window.
    pub(crate) fn for_blocks(level: i32) -> std::io::Result<Self> {
        let mut compressor = Compressor::new(level)?;
        compressor.set_parameter(CParameter::WindowLog(WINDOW_LOG_MAX))?;
        Ok(Self(compressor))
    }

    /// Appends one zstd frame of `raw` to `out`.
    pub(crate) fn pack(&mut self, raw: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
        let from = out.len();
        let bound = zstd::zstd_safe::compress_bound(raw.len());
        out.resize(from + bound, 0);
        let bytes = self.0.compress_to_buffer(raw, &mut out[from..])?;
        out.truncate(from + bytes);
        Ok(())
    }
}

/// A thread's buffer is kept for the next chunk up to this size: most chunks fit, and a thousand threads hold little.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// Calls `then` with one zstd frame of `raw`, made with this thread's context of that level and in its buffer.
pub(crate) fn with_packed<T>(
    level: i32,
    raw: &[u8],
    then: impl FnOnce(&[u8]) -> T,
) -> std::io::Result<T> {
    thread_local! {
        static PACKER: RefCell<Option<(i32, Packer)>> = const { RefCell::new(None) };
        static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    }
    let mut packed = BUFFER.take();
    packed.clear();
    packed.reserve(zstd::zstd_safe::compress_bound(raw.len()));
    PACKER.with_borrow_mut(|slot| {
        let packer = match slot {
            Some((l, packer)) if *l == level => packer,
            _ => &mut slot.insert((level, Packer::new(level)?)).1,
        };
        packer.0.compress_to_buffer(raw, &mut packed)
    })?;
    let outcome = then(&packed);
    if packed.capacity() <= KEPT_BYTES_MAX {
        BUFFER.set(packed);
    }
    Ok(outcome)
}

/// Decompresses one zstd frame that must yield exactly `raw_bytes` bytes, and appends them to `out`.
pub(crate) fn unpack(frame: &[u8], raw_bytes: usize, out: &mut Vec<u8>) -> Result<(), Malformed> {
    thread_local! {
        static UNPACKER: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
    }
    const WRONG: Malformed = Malformed("zstd frame");
    // The length in the frame must agree with the sealed one before anything is allocated.
    if get_frame_content_size(frame).ok().flatten() != Some(raw_bytes as u64) {
        return Err(WRONG);
    }
    UNPACKER.with_borrow_mut(|slot| {
        let unpacker = match slot {
            Some(unpacker) => unpacker,
            None => {
                let mut unpacker = Decompressor::new().map_err(|_| WRONG)?;
                let limit = DParameter::WindowLogMax(WINDOW_LOG_MAX);
                unpacker.set_parameter(limit).map_err(|_| WRONG)?;
                slot.insert(unpacker)
            }
        };
        let from = out.len();
        out.resize(from + raw_bytes, 0);
        match unpacker.decompress_to_buffer(frame, &mut out[from..]) {
            Ok(n) if n == raw_bytes => Ok(()),
            _ => {
                out.truncate(from);
                Err(WRONG)
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_and_lengths_are_not_believed() {
        let raw = b"{\"a\":1}\n".repeat(1000);
        for blocks in [false, true] {
            let mut packer = if blocks { Packer::for_blocks(6) } else { Packer::new(1) }.unwrap();
            let mut out = b"before".to_vec();
            packer.pack(&raw, &mut out).unwrap();
            let mut back = Vec::new();
            unpack(&out[6..], raw.len(), &mut back).unwrap();
            assert_eq!(back, raw);
            assert!(unpack(&out[6..], raw.len() + 1, &mut back).is_err());
            assert!(unpack(&out[6..], usize::MAX, &mut back).is_err());
            assert!(unpack(&out[6..out.len() - 1], raw.len(), &mut back).is_err());
            assert!(unpack(b"", 0, &mut back).is_err());
            assert_eq!(back, raw, "a failure leaves the output as it was");
        }
        for level in [1, 3, 1] {
            let packed = with_packed(level, &raw, <[u8]>::to_vec).unwrap();
            let mut back = Vec::new();
            unpack(&packed, raw.len(), &mut back).unwrap();
            assert_eq!(back, raw);
        }
    }
}
