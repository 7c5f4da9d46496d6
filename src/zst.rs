//! Compression: zstd contexts that are kept and used again, and decompression that trusts no length.

mod unpack;

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::Cursor;
use std::num::NonZero;
use std::sync::LazyLock;

use crossbeam::sync::{Parker, Unparker};
use parking_lot::{Mutex, MutexGuard};
use zstd::bulk::Compressor;
use zstd::zstd_safe::CParameter;

pub(crate) use unpack::{Unpacking, is_frame, unpack};

/// Largest zstd window, as a power of two: 8 MiB is what RFC 9659 lets a browser refuse beyond.
const WINDOW_LOG_MAX: u32 = 23;

/// The last level that keeps one place for each hash, the newest.
const FAST_LEVEL_MAX: i32 = 2;

/// For blocks of such a level, the table of hashes as a power of two: one that stays in a processor's second cache is faster than the level's own,
/// and what it forgets sooner would have cost as many bits to point back to as it saves.
const FAST_HASH_LOG: u32 = 15;

/// And zstd's own blocks within, half as large as usual: recordings change their kind from one event to the next, and codes of their own for each save
/// more than they take.
const FAST_PIECE_BYTES: u32 = 64 << 10;

/// The level that takes the best of some places for each hash, and looks no further.
const GREEDY_LEVEL: i32 = 5;

/// For blocks of that level, a table of a quarter of its own, which stays in a processor's second cache.
const GREEDY_HASH_LOG: u32 = 17;

/// Twice as many places, the logarithm of it: that costs less than the table has saved.
const GREEDY_SEARCH_LOG: u32 = 4;

/// And hashes of six bytes, not five: what is found with five alone is hardly ever worth pointing at, and takes places.
const GREEDY_MATCH_MIN: u32 = 6;

/// A compressor of one level, its context used again for each frame.
pub(crate) struct Packer(Compressor<'static>);

impl Packer {
    pub(crate) fn new(level: i32) -> std::io::Result<Self> {
        let mut compressor = Compressor::new(level)?;
        compressor.set_parameter(CParameter::WindowLog(0))?;
        Ok(Self(compressor))
    }

    /// For large blocks: the whole window of a browser, so that a fast level sees as far back as a slow one.
    pub(crate) fn for_blocks(level: i32) -> std::io::Result<Self> {
        let mut compressor = Compressor::new(level)?;
        compressor.set_parameter(CParameter::WindowLog(WINDOW_LOG_MAX))?;
        let own: &[CParameter] = match level {
            ..=FAST_LEVEL_MAX => {
                &[CParameter::HashLog(FAST_HASH_LOG), CParameter::MaxBlockSize(FAST_PIECE_BYTES)]
            }
            GREEDY_LEVEL => &[
                CParameter::HashLog(GREEDY_HASH_LOG),
                CParameter::SearchLog(GREEDY_SEARCH_LOG),
                CParameter::MinMatch(GREEDY_MATCH_MIN),
            ],
            _ => &[],
        };
        own.iter().try_for_each(|parameter| compressor.set_parameter(*parameter))?;
        Ok(Self(compressor))
    }

    /// Bytes that the context holds.
    pub(crate) fn bytes(&mut self) -> usize {
        self.0.context_mut().sizeof()
    }

    /// Appends one zstd frame of `raw` to `out`.
    pub(crate) fn pack(&mut self, raw: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
        out.reserve(zstd::zstd_safe::compress_bound(raw.len()));
        // Nothing is zeroed first: what the frame turns out not to need is never touched, and takes no memory.
        self.0.compress_to_buffer(raw, &mut behind(out))?;
        Ok(())
    }
}

/// The room behind what is in `out`, for zstd to append to.
fn behind(out: &mut Vec<u8>) -> Cursor<&mut Vec<u8>> {
    let at = out.len() as u64;
    let mut room = Cursor::new(out);
    room.set_position(at);
    room
}

/// A thread's buffer is kept for the next chunk up to this size: most chunks fit, and a thousand threads hold little.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// Those who compress chunks.
struct Packers {
    /// Contexts that are not in use, with their levels. However many threads append, the one used last is taken first,
    /// for it is still in the processor's cache.
    kept: Vec<(i32, Packer)>,
    /// Turns that are taken, or handed to one of those who wait.
    taken: usize,
    /// Those who wait, as they came.
    waiting: VecDeque<Unparker>,
}

static PACKERS: Mutex<Packers> =
    Mutex::new(Packers { kept: Vec::new(), taken: 0, waiting: VecDeque::new() });

/// Whether nobody compresses a chunk right now.
pub(crate) fn is_idle() -> bool {
    PACKERS.lock().taken == 0
}

/// How many processors there are to compress with.
pub(crate) fn processors() -> usize {
    static PROCESSORS: LazyLock<usize> =
        LazyLock::new(|| std::thread::available_parallelism().map_or(1, NonZero::get));
    *PROCESSORS
}

/// How many compress at once: one for each processor, and one more, so that none is idle while a turn is handed on. More of them would only take
/// time away from one another, so that a large chunk among many small ones would be done last, however early it came.
static AT_ONCE: LazyLock<usize> = LazyLock::new(|| processors() + 1);

/// The turn of one thread, which is handed to whoever has waited longest when this is dropped: who comes later does not get in before.
struct Turn {
    level: i32,
    packer: Option<Packer>,
}

impl Turn {
    /// Waits until it has come.
    fn take(level: i32) -> Self {
        let mut packers = PACKERS.lock();
        if packers.taken < *AT_ONCE {
            packers.taken += 1;
        } else {
            let parker = Parker::new();
            packers.waiting.push_back(parker.unparker().clone());
            // Woken, it has the turn of the one that woke it.
            MutexGuard::unlocked(&mut packers, || parker.park());
        }
        let kept = packers.kept.iter().rposition(|(l, _)| *l == level);
        Self { level, packer: kept.map(|at| packers.kept.remove(at).1) }
    }

    fn packer(&mut self) -> std::io::Result<&mut Packer> {
        Ok(match &mut self.packer {
            Some(packer) => packer,
            none => none.insert(Packer::new(self.level)?),
        })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut packers = PACKERS.lock();
        if let Some(packer) = self.packer.take() {
            if packers.kept.len() >= *AT_ONCE {
                // Those of a level that is no longer asked for make room.
                packers.kept.remove(0);
            }
            packers.kept.push((self.level, packer));
        }
        match packers.waiting.pop_front() {
            Some(next) => {
                drop(packers);
                next.unpark();
            }
            None => packers.taken -= 1,
        }
    }
}

thread_local! {
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// One zstd frame in this thread's buffer, which is used again when this is dropped.
pub(crate) struct Packed(Vec<u8>);

impl std::ops::Deref for Packed {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Packed {
    fn drop(&mut self) {
        if self.0.capacity() <= KEPT_BYTES_MAX {
            BUFFER.set(std::mem::take(&mut self.0));
        }
    }
}

/// One zstd frame of `raw`, at that level.
pub(crate) fn pack(level: i32, raw: &[u8]) -> std::io::Result<Packed> {
    let mut packed = Packed(BUFFER.take());
    packed.0.clear();
    // Exactly: doubled, it would soon be above what is kept, and be allocated anew for each chunk.
    packed.0.reserve_exact(zstd::zstd_safe::compress_bound(raw.len()));
    let mut turn = Turn::take(level);
    turn.packer()?.0.compress_to_buffer(raw, &mut packed.0)?;
    Ok(packed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_and_lengths_are_not_believed() {
        let raw = b"{\"a\":1}\n".repeat(1000);
        let packers = [1, 2, 3, 5, 6].map(Packer::for_blocks).into_iter().chain([Packer::new(1)]);
        for packer in packers {
            let mut packer = packer.unwrap();
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
            let packed = pack(level, &raw).unwrap();
            let mut back = Vec::new();
            unpack(&packed, raw.len(), &mut back).unwrap();
            assert_eq!(back, raw);
        }
    }

    #[test]
    fn no_more_threads_compress_at_once_than_there_are_turns() {
        let raw = b"{\"a\":1}\n".repeat(1000);
        std::thread::scope(|scope| {
            for _ in 0..*AT_ONCE * 8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let mut back = Vec::new();
                        unpack(&pack(1, &raw).unwrap(), raw.len(), &mut back).unwrap();
                        assert_eq!(back, raw);
                        let packers = PACKERS.lock();
                        assert!(packers.taken <= *AT_ONCE && packers.kept.len() <= *AT_ONCE);
                    }
                });
            }
        });
    }

    #[test]
    fn turns_come_in_the_order_of_arrival() {
        let came = Mutex::new(Vec::new());
        let mut held: Vec<_> = (0..*AT_ONCE).map(|_| Turn::take(1)).collect();
        std::thread::scope(|scope| {
            for n in 0..16 {
                let came = &came;
                scope.spawn(move || {
                    let _turn = Turn::take(1);
                    came.lock().push(n);
                });
                while PACKERS.lock().waiting.len() <= n {
                    std::thread::yield_now();
                }
            }
            // One turn goes round; the others are held. Whoever comes last has it last, though it is here already and nobody has to wake it.
            held.pop();
            held.push(Turn::take(1));
            came.lock().push(16);
        });
        assert!(came.lock().is_sorted(), "{:?}", came.lock());
    }
}
