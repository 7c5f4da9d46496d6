//! Where a replay begins that is to show a moment.

use super::super::find::Parts;

/// The chunk and offset of the last snapshot at or before a time.
///
/// The index of an archived session says in which chunk of its block a snapshot is, but not that chunk's number; a block
/// whose numbers have gaps is entered at its first chunk at the latest.
pub(super) fn last_snapshot(parts: &Parts, ms: u64) -> (u32, u32) {
    let live = parts.live.iter().flat_map(|l| &l.snapshots).map(|(seq, s)| (s.ms, *seq, s.offset));
    let archived = parts.archived.iter().flat_map(|part| {
        let entry = part.entry();
        entry.blocks.iter().flat_map(move |block| {
            block.snapshots.iter().map(move |s| {
                let seq = nth_seq(entry.seqs.runs(), block.first_seq, s.chunk);
                (s.ms, seq, s.offset)
            })
        })
    });
    let best = live.chain(archived).filter(|(at, ..)| *at <= ms).max();
    best.map_or((0, 0), |(_, seq, offset)| (seq, offset))
}

/// The number of the chunk that comes `n` chunks after `first` in a set of numbers.
pub(super) fn nth_seq(runs: &[(u32, u32)], first: u32, n: u32) -> u32 {
    let mut left = n;
    for &(start, end) in runs.iter().filter(|r| r.1 > first) {
        let start = start.max(first);
        if left < end - start {
            return start + left;
        }
        left -= end - start;
    }
    first
}
