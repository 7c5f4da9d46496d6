//! Decompression: a whole frame, or as much of it as is asked for.

use std::cell::Cell;

use zstd::zstd_safe::{
    DCtx, DParameter, InBuffer, OutBuffer, ResetDirective, find_frame_compressed_size,
    get_frame_content_size,
};

use super::{WINDOW_LOG_MAX, behind};
use crate::format::codec::Malformed;

const WRONG: Malformed = Malformed("zstd frame");

/// Compressed bytes that are looked at in one step: about as many as a zstd block of 128 KiB takes, which is the least that can be
/// decompressed.
const STEP_BYTES: usize = 8 << 10;

/// A context that is used again by this thread when it is dropped.
struct Context(Option<DCtx<'static>>);

thread_local! {
    static CONTEXT: Cell<Option<DCtx<'static>>> = const { Cell::new(None) };
}

impl Context {
    /// One that is at no frame.
    fn take() -> Result<Self, Malformed> {
        let begin = || {
            let mut context = match CONTEXT.take() {
                Some(context) => context,
                None => {
                    let mut context = DCtx::try_create()?;
                    context.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX)).ok()?;
                    // The output itself is the window: nothing is held or copied twice.
                    context.set_parameter(DParameter::StableOutBuffer(true)).ok()?;
                    context
                }
            };
            context.reset(ResetDirective::SessionOnly).ok()?;
            Some(context)
        };
        begin().map(|context| Self(Some(context))).ok_or(WRONG)
    }

    fn get(&mut self) -> Result<&mut DCtx<'static>, Malformed> {
        self.0.as_mut().ok_or(WRONG)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // Where the thread is ending there is no next one.
        let _ = CONTEXT.try_with(|kept| kept.set(self.0.take()));
    }
}

/// Whether a frame says that it holds `raw_bytes` bytes: the length must agree with the sealed one before anything is allocated.
fn says(frame: &[u8], raw_bytes: usize) -> bool {
    get_frame_content_size(frame).ok().flatten() == Some(raw_bytes as u64)
}

/// Whether this is one zstd frame that says it holds `raw_bytes` bytes, and ends where `frame` does.
pub(crate) fn is_frame(frame: &[u8], raw_bytes: usize) -> bool {
    says(frame, raw_bytes) && find_frame_compressed_size(frame).ok() == Some(frame.len())
}

/// Decompresses one zstd frame that must yield exactly `raw_bytes` bytes, and appends them to `out`.
pub(crate) fn unpack(frame: &[u8], raw_bytes: usize, out: &mut Vec<u8>) -> Result<(), Malformed> {
    if !says(frame, raw_bytes) {
        return Err(WRONG);
    }
    let mut context = Context::take()?;
    let from = out.len();
    out.reserve(raw_bytes);
    match context.get()?.decompress(&mut behind(out), frame) {
        Ok(n) if n == raw_bytes => Ok(()),
        _ => {
            out.truncate(from);
            Err(WRONG)
        }
    }
}

/// One zstd frame that is decompressed from its beginning as far as it is needed, and no further.
pub(crate) struct Unpacking {
    context: Context,
    raw_bytes: usize,
    out: Vec<u8>,
    /// How much of the frame was looked at.
    used: usize,
    ended: bool,
}

impl Unpacking {
    /// Begins a frame that must yield exactly `raw_bytes` bytes; they go into `out`, in place of what is in it.
    pub(crate) fn new(frame: &[u8], raw_bytes: usize, mut out: Vec<u8>) -> Result<Self, Malformed> {
        if !says(frame, raw_bytes) {
            return Err(WRONG);
        }
        out.clear();
        out.reserve_exact(raw_bytes);
        Ok(Self { context: Context::take()?, raw_bytes, out, used: 0, ended: false })
    }

    /// Goes on until there are `to` bytes. `frame` is the one with which this was begun.
    pub(crate) fn fill(&mut self, frame: &[u8], to: usize) -> Result<(), Malformed> {
        let is_last = to == self.raw_bytes;
        while self.out.len() < to || (is_last && !self.ended) {
            self.step(frame)?;
        }
        Ok(())
    }

    /// What there is of it.
    pub(crate) fn filled(&self) -> &[u8] {
        &self.out
    }

    fn step(&mut self, frame: &[u8]) -> Result<(), Malformed> {
        let (used, had) = (self.used, self.out.len());
        let end = frame.len().min(used + STEP_BYTES);
        let input = frame.get(used..end).filter(|_| !self.ended).ok_or(WRONG)?;
        let mut input = InBuffer::around(input);
        let mut output = OutBuffer::around_pos(&mut self.out, had);
        let left = self.context.get()?.decompress_stream(&mut output, &mut input);
        self.ended = left.map_err(|_| WRONG)? == 0;
        self.used += input.pos();
        let is_well = match self.ended {
            true => self.out.len() == self.raw_bytes && self.used == frame.len(),
            false => self.used > used || self.out.len() > had,
        };
        if is_well { Ok(()) } else { Err(WRONG) }
    }

    /// The memory it was given, to be used again.
    pub(crate) fn into_out(self) -> Vec<u8> {
        self.out
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test ends where it fails")]
mod tests {
    use super::super::Packer;
    use super::*;

    /// Events of which each has something new.
    fn events() -> Vec<u8> {
        let mixed = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31) ^ n;
        (0..60_000).flat_map(|n| format!("{{\"n\":{}}}\n", mixed(n)).into_bytes()).collect()
    }

    fn packed(raw: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        Packer::for_blocks(5).unwrap().pack(raw, &mut frame).unwrap();
        frame
    }

    #[test]
    fn a_frame_is_decompressed_no_further_than_is_needed() {
        let raw = events();
        let frame = packed(&raw);
        let mut out = Vec::new();
        for _ in 0..2 {
            let mut unpacking = Unpacking::new(&frame, raw.len(), out).unwrap();
            unpacking.fill(&frame, 1000).unwrap();
            let filled = unpacking.filled();
            assert_eq!(filled[..1000], raw[..1000]);
            assert!(filled.len() < raw.len() / 2, "{} bytes", filled.len());
            unpacking.fill(&frame, raw.len()).unwrap();
            assert!(unpacking.ended);
            assert_eq!(unpacking.filled(), raw);
            assert!(unpacking.fill(&frame, raw.len() + 1).is_err());
            out = unpacking.into_out();
        }
    }

    #[test]
    fn what_is_no_such_frame_is_refused() {
        let raw = events();
        let frame = packed(&raw);
        let whole = |frame: &[u8], raw_bytes: usize| {
            let mut unpacking = Unpacking::new(frame, raw_bytes, Vec::new())?;
            unpacking.fill(frame, raw_bytes).map(|()| unpacking.into_out())
        };
        assert_eq!(whole(&frame, raw.len()).unwrap(), raw);
        assert!(whole(&frame, raw.len() + 1).is_err());
        assert!(whole(&frame, usize::MAX).is_err());
        assert!(whole(&frame[..frame.len() - 1], raw.len()).is_err());
        assert!(whole(&[&frame[..], b"more"].concat(), raw.len()).is_err());
        assert!(whole(b"", 0).is_err());
        let empty = packed(b"");
        assert_eq!(whole(&empty, 0).unwrap(), b"");
    }
}
