//! Removing what is not needed any more: snapshots by rule, and objects that no snapshot names, in two phases and without a lock. See *Repository* in
//! the format document for why nothing that is needed is removed.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::check::Named;
use super::dir::BESIDE;
use super::repository::{LISTS, Repository, SEGMENTS};
use crate::error::{InputError, Result};
use crate::format::repository::{MarkBody, OBJECT_NAME_BYTES_MAX, SnapshotBody};
use crate::ids::day_of;
use crate::limits::{DAY_MS, PRUNE_GRACE_MS_MIN};
use crate::planted::{self, Bug};

/// Which snapshots are kept. A snapshot is kept if any rule keeps it, and the newest always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keep {
    /// So many of the newest.
    pub last: usize,
    /// The newest of each of so many days (UTC) that have one.
    pub daily: usize,
    /// The newest of each of so many weeks, from Monday on.
    pub weekly: usize,
    /// The newest of each of so many months.
    pub monthly: usize,
    /// All that were taken within this span before the newest, in milliseconds.
    pub within_ms: u64,
}

/// What pruning did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Snapshots that were forgotten.
    pub forgotten: Vec<u64>,
    /// Snapshots that are left.
    pub kept: usize,
    /// Objects that were removed.
    pub removed_objects: u64,
    /// Their bytes.
    pub removed_bytes: u64,
    /// Objects that no snapshot names, and that a later prune removes.
    pub waiting_objects: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
}

impl Keep {
    fn check(&self) -> Result<()> {
        match *self == Self::default() {
            true => Err(InputError::Option { name: "keep", why: "say what is to be kept" }.into()),
            false => Ok(()),
        }
    }

    /// Which of these snapshots, newest first, are kept.
    fn choose(&self, taken_ms: &[u64]) -> Vec<bool> {
        let newest_ms = taken_ms.first().copied().unwrap_or(0);
        let mut kept: Vec<bool> = taken_ms
            .iter()
            .enumerate()
            .map(|(i, ms)| i < self.last.max(1) || ms.saturating_add(self.within_ms) > newest_ms)
            .collect();
        let day = |ms: u64| i64::from(day_of(ms));
        let week = |ms: u64| (i64::from(day_of(ms)) + 3).div_euclid(7);
        let rules: [(usize, &dyn Fn(u64) -> i64); 3] =
            [(self.daily, &day), (self.weekly, &week), (self.monthly, &month_of)];
        for (count, period_of) in rules {
            let mut seen = BTreeSet::new();
            for (i, ms) in taken_ms.iter().enumerate() {
                let is_new = !seen.contains(&period_of(*ms));
                if is_new && seen.len() < count {
                    seen.insert(period_of(*ms));
                    kept[i] = true;
                }
            }
        }
        kept
    }
}

/// The month of a time, counted from the year 0: Howard Hinnant's `civil_from_days`.
fn month_of(ms: u64) -> i64 {
    let days = (ms / DAY_MS) as i64 + 719_468;
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    (days.div_euclid(146_097) * 400 + year_of_era) * 12 + month_from_march + 2
}

impl Repository {
    /// Forgets the snapshots that the rules do not keep, marks what no snapshot names any more, and removes what was marked longer than the
    /// grace time ago, Unix milliseconds. With `dry_run` it only tells.
    ///
    /// Backups, restores and readers may go on meanwhile.
    ///
    /// # Errors
    /// [`InputError::Option`] if nothing is to be kept, or the grace time is below [`PRUNE_GRACE_MS_MIN`]; damage of any snapshot, for what it
    /// names, and from when it is, is not known then, and nothing is removed; the place's.
    pub fn prune(&self, keep: &Keep, grace_ms: u64, dry_run: bool) -> Result<Pruned> {
        keep.check()?;
        if grace_ms < PRUNE_GRACE_MS_MIN {
            return Err(InputError::Option { name: "grace", why: "at least a day" }.into());
        }
        self.keyring.refresh()?;
        let mut pruned = Pruned::default();
        let kept = self.forget_by(keep, dry_run, &mut pruned)?;
        let mut unnamed = self.unnamed(&kept)?;
        if planted::is(Bug::PrunedInUse) {
            let all = self.names(SEGMENTS, usize::MAX)?.into_iter();
            unnamed.extend(all.map(|e| (format!("{SEGMENTS}/{}", e.name), e.bytes)));
        }
        let now_ms = self.place.now_ms().map_err(|e| self.failed("asking the time of", "", e))?;
        let marks = self.marks()?;
        let is_ripe = |mark: &MarkBody| now_ms.saturating_sub(mark.at_ms) >= grace_ms;
        let (ripe, young): (Vec<_>, Vec<_>) =
            marks.sound.into_iter().partition(|(_, m)| is_ripe(m));
        let ripe_names: HashSet<&String> = ripe.iter().flat_map(|(_, mark)| &mark.names).collect();
        let young_names: HashSet<&String> =
            young.iter().flat_map(|(_, mark)| &mark.names).collect();
        let mut fresh = Vec::new();
        for (name, bytes) in &unnamed {
            if ripe_names.contains(name) {
                pruned.removed_objects += 1;
                pruned.removed_bytes += bytes;
            } else {
                pruned.waiting_objects += 1;
                pruned.waiting_bytes += bytes;
                if !young_names.contains(name) {
                    fresh.push(name.clone());
                }
            }
        }
        if dry_run {
            return Ok(pruned);
        }
        if !fresh.is_empty() {
            self.write_mark(&MarkBody { at_ms: now_ms, names: fresh })?;
        }
        for name in unnamed.keys().filter(|name| ripe_names.contains(name)) {
            self.remove(&self.object_named(name))?;
        }
        ripe.iter().try_for_each(|(name, _)| self.remove(name))?;
        // What one that cannot be read may have named has just been marked anew, and waits once more.
        marks.damaged.iter().try_for_each(|(name, _)| self.remove(name))?;
        Ok(pruned)
    }

    fn object_named(&self, name: &str) -> String {
        format!("{}/{name}", self.store())
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.place.remove(name).map_err(|e| self.failed("removing", name, e))
    }

    /// Forgets by the rules; what is left, read.
    fn forget_by(
        &self,
        keep: &Keep,
        dry_run: bool,
        pruned: &mut Pruned,
    ) -> Result<Vec<SnapshotBody>> {
        let mut snapshots = Vec::new();
        for number in self.numbers(usize::MAX)? {
            snapshots.extend(self.if_kept(number, Ok)?);
        }
        let taken_ms: Vec<u64> = snapshots.iter().map(|s| s.taken_ms).collect();
        let chosen = keep.choose(&taken_ms);
        let (kept, gone): (Vec<_>, Vec<_>) =
            snapshots.into_iter().zip(chosen).partition(|(_, kept)| *kept);
        pruned.forgotten = gone.iter().map(|(snapshot, _)| snapshot.number).collect();
        pruned.kept = kept.len();
        if !dry_run {
            self.remove_snapshots(&pruned.forgotten)?;
        }
        Ok(kept.into_iter().map(|(snapshot, _)| snapshot).collect())
    }

    /// The objects that none of these snapshots names, by their names below the store's id, with their sizes.
    fn unnamed(&self, kept: &[SnapshotBody]) -> Result<BTreeMap<String, u64>> {
        // Objects first: what is put after them is in none of the snapshots that were read before, and not in this list either.
        let mut present = BTreeMap::new();
        for folder in Self::KEPT_FOLDERS.into_iter().chain([BESIDE]) {
            let entries = self.names(folder, usize::MAX)?.into_iter();
            let named = entries.map(|e| (format!("{folder}/{}", e.name), e.bytes));
            // A name for which a mark has no room is a stranger's, and stays.
            present.extend(named.filter(|(name, _)| name.len() <= OBJECT_NAME_BYTES_MAX));
        }
        let (mut named, mut last) = (Named::new(), None);
        let seen: HashSet<u64> = kept.iter().map(|snapshot| snapshot.number).collect();
        let mut lists = HashSet::new();
        let mut name = |body: &SnapshotBody| {
            lists.extend(body.list);
            self.name_all(body, &mut last, &mut named)
        };
        kept.iter().try_for_each(&mut name)?;
        let newest = seen.iter().max().copied();
        for number in self.numbers(usize::MAX)?.into_iter().filter(|n| Some(*n) > newest) {
            self.if_kept(number, |body| name(&body))?;
        }
        let is_named = |object: &String| {
            let list = object.strip_prefix(LISTS).and_then(|rest| rest.strip_prefix('/'));
            match list.and_then(crate::ids::FileId::parse) {
                Some(list) => lists.contains(&list),
                None => named.contains_key(&self.object_named(object)),
            }
        };
        present.retain(|object, _| !is_named(object));
        Ok(present)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    #[test]
    fn the_newest_of_each_day_week_and_month_is_kept_and_the_newest_of_all_always() {
        // Every six hours for 70 days back from 2027-03-10 18:00, a Wednesday.
        let newest = 1_804_701_600_000;
        let taken: Vec<u64> = (0..280).map(|i| newest - i * 6 * HOUR).collect();
        let kept = |keep: Keep| -> Vec<u64> {
            let chosen = keep.choose(&taken);
            taken.iter().zip(chosen).filter(|(_, kept)| *kept).map(|(ms, _)| *ms).collect()
        };
        assert_eq!(
            kept(Keep { daily: 3, ..Keep::default() }),
            [0, 1, 2].map(|d| newest - d * DAY_MS)
        );
        // Weeks begin on Monday: the newest of the week before is Sunday's.
        let weekly = kept(Keep { weekly: 2, ..Keep::default() });
        assert_eq!(weekly, [newest, newest - 3 * DAY_MS]);
        let monthly = kept(Keep { monthly: 9, ..Keep::default() });
        // The ends of February, of January and of December.
        assert_eq!(monthly, [0, 10, 38, 69].map(|days| newest - days * DAY_MS));
        assert_eq!(kept(Keep { last: 2, ..Keep::default() }), &taken[..2]);
        assert_eq!(kept(Keep { within_ms: 13 * HOUR, ..Keep::default() }), &taken[..3]);
        assert_eq!(kept(Keep { within_ms: 1, ..Keep::default() }), &taken[..1]);
        assert_eq!(kept(Keep { within_ms: u64::MAX, ..Keep::default() }), taken, "for ever");
    }
}
