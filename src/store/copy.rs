//! Copying what a store holds into another one, without opening a block: the sealed bytes of the sessions that are to be kept,
//! under an index of their own. For reclaiming space, and for restoring a part of a backup.

use std::path::Path;

use crate::archive;
use crate::env::Env;
use crate::error::{Damage, Error, Result};
use crate::format::header::{Unit, UnitKind};
use crate::format::manifest::SegmentEntry;
use crate::format::segment::{BlockEntry, SessionEntry};
use crate::ids::{FileId, SessionTag, SiteHandle};
use crate::keyring::{Site, draw};
use crate::segment::writer::{SegmentClass, SegmentWriter, segment_name};

use super::Store;
use super::find::visible;
use super::replay::READ_BYTES_MAX;
use super::state::Inner;

/// How many sessions of a segment, or of the journals, are to be copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// That are wanted and can be read.
    pub(crate) kept: u64,
    /// That are wanted and were erased.
    pub(crate) erased: u64,
    /// That are not wanted.
    pub(crate) others: u64,
}

/// Which sessions are wanted.
pub(crate) type Wanted<'a> = &'a (dyn Fn(&SiteHandle, &SessionTag) -> bool + Sync);

impl Store {
    /// Counts what a segment holds. The sessions of a site that was erased count as such if they are wanted without asking which.
    pub(crate) fn tally(&self, segment: &SegmentEntry, wanted: Wanted<'_>) -> Result<Tally> {
        let (inner, mut tally) = (&*self.inner, Tally::default());
        for at in &inner.directory_of(segment)?.sites {
            let Some(of) = inner.index_keys(segment, &at.site)? else {
                tally.erased += at.sessions;
                continue;
            };
            inner.each_session(segment, &of, |entry| {
                match (wanted(&at.site, &entry.tag), of.site.is_erased(&entry.tag)) {
                    (false, _) => tally.others += 1,
                    (true, true) => tally.erased += 1,
                    (true, false) => tally.kept += 1,
                }
                Ok(())
            })?;
        }
        Ok(tally)
    }

    /// Writes a segment with the wanted sessions of another that can still be read, into another store.
    pub(crate) fn copy_wanted(
        &self,
        segment: &SegmentEntry,
        env: &Env,
        dir: &Path,
        wanted: Wanted<'_>,
    ) -> Result<SegmentEntry> {
        let keep = |site: &Site, entry: &SessionEntry| {
            wanted(&site.handle(), &entry.tag) && !site.is_erased(&entry.tag)
        };
        self.inner.copy_segment(segment, env, dir, &keep)
    }

    /// Counts what the journals hold.
    pub(crate) fn tally_journals(&self, wanted: Wanted<'_>) -> Tally {
        let mut tally = Tally::default();
        for shard in &self.inner.shards {
            for (site, live) in shard.state.lock().table.iter() {
                let keys = self.inner.keyring.site_by_handle(&site);
                let erased = keys.is_none_or(|site| site.is_erased(&live.stamp.tag));
                match (wanted(&site, &live.stamp.tag), erased) {
                    (false, _) => tally.others += 1,
                    (true, true) => tally.erased += 1,
                    (true, false) => tally.kept += 1,
                }
            }
        }
        tally
    }

    /// Archives the wanted sessions of the journals into segments of another store.
    pub(crate) fn archive_wanted(
        &self,
        env: &Env,
        dir: &Path,
        wanted: Wanted<'_>,
    ) -> Result<Vec<SegmentEntry>> {
        let mut written = Vec::new();
        for shard in &self.inner.shards {
            let sessions: Vec<_> = {
                let state = shard.state.lock();
                let wanted =
                    state.table.iter().filter(|(site, live)| wanted(site, &live.stamp.tag));
                wanted.filter_map(|(site, live)| Some((site, visible(live)?))).collect()
            };
            let (keyring, level) = (&self.inner.keyring, self.inner.options.archive_level);
            let shard = shard.index;
            let job = archive::Job { env, root: dir, keyring, shard, sessions, level };
            let segments = archive::run(job, &mut self.inner.archiver.lock())?;
            written.extend(segments.into_iter().map(|segment| segment.entry));
        }
        Ok(written)
    }
}

/// How many blocks are read at once: at least one.
fn read_at_once(blocks: &[BlockEntry]) -> usize {
    let mut bytes = 0;
    let fits = |block: &&BlockEntry| {
        bytes += block.unit_bytes as usize;
        bytes <= READ_BYTES_MAX
    };
    blocks.iter().take_while(fits).count().max(1)
}

/// Refuses blocks that a read brought with a wrong bit: what is copied is told for whole by the digest of its new segment.
fn check_blocks(
    file: &str,
    mut at: u64,
    blocks: &[BlockEntry],
    mut bytes: &mut [u8],
) -> Result<()> {
    for block in blocks {
        let unit = bytes.split_off_mut(..block.unit_bytes as usize);
        let unit = unit.ok_or_else(|| Error::corrupt(file, at, Damage::Truncated))?;
        Unit::check(UnitKind::BLOCK, file, at, unit)?;
        at += u64::from(block.unit_bytes);
    }
    Ok(())
}

impl Inner {
    /// Writes a segment with the sessions of another that are to be kept.
    pub(super) fn copy_segment(
        &self,
        old: &SegmentEntry,
        env: &Env,
        dir: &Path,
        keep: &dyn Fn(&Site, &SessionEntry) -> bool,
    ) -> Result<SegmentEntry> {
        let class =
            SegmentClass { shard: old.shard, retention_days: old.retention_days, day: old.day };
        let id = FileId(draw(&*self.env.random)?);
        let level = self.options.archive_level;
        let suite = self.keyring.suite();
        let mut work = self.archiver.lock();
        let buffers = &mut work.segment;
        let mut writer = SegmentWriter::create(env, dir, id, class, suite, level, buffers)?;
        let directory = self.directory_of(old)?;
        for at in &directory.sites {
            let Some(of) = self.index_keys(old, &at.site)? else { continue };
            let mut kept = 0;
            self.each_session(old, &of, |entry| {
                if !keep(&of.site, entry) {
                    return Ok(());
                }
                kept += 1;
                self.copy_session(old, entry, &mut writer)
            })?;
            if kept > 0 {
                writer.end_site(at.site, &of.keys.index)?;
            }
        }
        writer.finish(&*self.directory_cipher(old)?)
    }

    fn copy_session(
        &self,
        old: &SegmentEntry,
        entry: &SessionEntry,
        writer: &mut SegmentWriter<'_>,
    ) -> Result<()> {
        let offset = writer.offset();
        let (mut at, mut bytes) = (entry.offset, Vec::new());
        let mut blocks = &entry.blocks[..];
        while !blocks.is_empty() {
            let (now, later) = blocks.split_at(read_at_once(blocks));
            let len: u64 = now.iter().map(|block| u64::from(block.unit_bytes)).sum();
            bytes.clear();
            self.segments.read(old, at, len as usize, &mut bytes)?;
            check_blocks(&segment_name(old.id), at, now, &mut bytes)?;
            writer.copy(&bytes)?;
            (at, blocks) = (at + len, later);
        }
        writer.index_session(SessionEntry { offset, ..entry.clone() });
        Ok(())
    }
}
