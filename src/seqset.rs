//! The sequence numbers a session has, as runs: what is there, what is a duplicate, where the gaps are.

use crate::limits::SEQUENCE_MAX;

/// A set of sequence numbers, kept as sorted runs `[start, end)` that neither touch nor overlap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SeqSet {
    runs: Vec<(u32, u32)>,
}

impl SeqSet {
    pub(crate) fn contains(&self, seq: u32) -> bool {
        let after = self.runs.partition_point(|&(start, _)| start <= seq);
        after > 0 && seq < self.runs[after - 1].1
    }

    /// The lowest number that is there, from `seq` on.
    pub(crate) fn next_from(&self, seq: u32) -> Option<u32> {
        let at = self.runs.partition_point(|&(_, end)| end <= seq);
        self.runs.get(at).map(|&(start, _)| start.max(seq))
    }

    /// Adds a number; false if it was there.
    pub(crate) fn insert(&mut self, seq: u32) -> bool {
        if self.contains(seq) {
            return false;
        }
        self.insert_run(seq, seq + 1);
        true
    }

    fn insert_run(&mut self, mut start: u32, mut end: u32) {
        // The runs that touch or overlap the new one are replaced by their union.
        let from = self.runs.partition_point(|&(_, e)| e < start);
        let to = self.runs.partition_point(|&(s, _)| s <= end);
        if from < to {
            start = start.min(self.runs[from].0);
            end = end.max(self.runs[to - 1].1);
        }
        self.runs.splice(from..to, [(start, end)]);
    }

    /// Takes in all numbers of another set.
    pub(crate) fn extend(&mut self, other: &Self) {
        if self.runs.is_empty() {
            self.runs.clone_from(&other.runs);
        } else {
            other.runs.iter().for_each(|&(s, e)| self.insert_run(s, e));
        }
    }

    /// Whether every number of another set is there.
    pub(crate) fn includes(&self, other: &Self) -> bool {
        let mut all = self.clone();
        all.extend(other);
        all == *self
    }

    /// How many numbers there are.
    pub(crate) fn len(&self) -> u32 {
        self.runs.iter().map(|(s, e)| e - s).sum()
    }

    pub(crate) fn runs(&self) -> &[(u32, u32)] {
        &self.runs
    }

    /// A set of runs that are already sorted and apart; `None` if they are not.
    pub(crate) fn from_runs(runs: Vec<(u32, u32)>) -> Option<Self> {
        let rising = runs.windows(2).all(|w| w[0].1 < w[1].0);
        let sound = runs.iter().all(|&(s, e)| s < e && u64::from(e) <= SEQUENCE_MAX);
        (rising && sound).then_some(Self { runs })
    }

    /// The missing stretches before the last number, as `[start, end)`.
    pub(crate) fn gaps(&self) -> Vec<(u32, u32)> {
        let ends = std::iter::once(0).chain(self.runs.iter().map(|r| r.1));
        ends.zip(self.runs.iter().map(|r| r.0)).filter(|(end, start)| end < start).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_agrees_with_a_plain_set(a in prop::collection::vec(0u32..60, 0..60), b in prop::collection::vec(0u32..60, 0..20)) {
            let mut set = SeqSet::default();
            let mut plain = BTreeSet::new();
            for n in a {
                prop_assert_eq!(set.insert(n), plain.insert(n));
            }
            let mut other = SeqSet::default();
            for n in b {
                other.insert(n);
                plain.insert(n);
            }
            let includes = other.runs().iter().all(|&(s, e)| (s..e).all(|n| set.contains(n)));
            prop_assert_eq!(set.includes(&other), includes);
            set.extend(&other);
            prop_assert_eq!(set.len() as usize, plain.len());
            for n in 0..61 {
                prop_assert_eq!(set.contains(n), plain.contains(&n));
                prop_assert_eq!(set.next_from(n), plain.range(n..).next().copied());
            }
            let last = plain.last().copied().unwrap_or(0);
            let missing: Vec<u32> = (0..last).filter(|n| !plain.contains(n)).collect();
            let gaps: Vec<u32> = set.gaps().iter().flat_map(|&(s, e)| s..e).collect();
            prop_assert_eq!(missing, gaps);
            prop_assert_eq!(SeqSet::from_runs(set.runs().to_vec()), Some(set));
        }
    }
}
