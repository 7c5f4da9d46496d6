//! What an operator wants to know of a store at a glance.

use std::sync::atomic::Ordering::Relaxed;

use crate::error::{Error, Result};
use crate::journal::file::JOURNAL_DIR;

use super::Store;

/// Figures of a store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Sites.
    pub sites: u64,
    /// Shards.
    pub shards: u16,
    /// Segments.
    pub segments: u64,
    /// Bytes of the segments.
    pub segment_bytes: u64,
    /// Session parts in segments; a session that spans two segments counts twice.
    pub archived_sessions: u64,
    /// NDJSON bytes that the segments hold.
    pub archived_raw_bytes: u64,
    /// Journal files.
    pub journals: u64,
    /// Bytes of the journal files, with what is filled ahead.
    pub journal_bytes: u64,
    /// Sessions with chunks in journals.
    pub live_sessions: u64,
    /// Chunks in journals.
    pub live_chunks: u64,
    /// Bytes waiting for the archiver.
    pub backlog_bytes: u64,
    /// Chunks appended since the store was opened.
    pub appended: u64,
    /// Duplicates dropped since the store was opened.
    pub duplicates: u64,
    /// NDJSON bytes appended since the store was opened.
    pub appended_raw_bytes: u64,
    /// Bytes of frames made durable since the store was opened.
    pub frame_bytes: u64,
    /// Groups made durable since the store was opened, each with one write and one sync.
    pub groups: u64,
    /// Journals archived since the store was opened.
    pub archived_journals: u64,
    /// Bytes skipped when the store was opened in salvage mode.
    pub salvaged_bytes: u64,
    /// Shards that take no appends because a sync failed.
    pub poisoned_shards: Vec<u16>,
    /// Journals that the archiver could not read.
    pub stuck_journals: u64,
    /// Held sessions whose day has passed since the store was opened and which may lack chunks, as [`Expiry::doubtful_holds`](crate::Expiry::doubtful_holds)
    /// tells.
    pub doubtful_holds: u64,
    /// Whether the last round of background work failed, or retention did when it ran last: after some attempts it runs in pauses.
    pub maintenance_failed: bool,
    /// Indexes that were in memory when they were looked for, since the store was opened.
    pub index_hits: u64,
    /// Indexes that had to be read.
    pub index_misses: u64,
    /// Bytes of indexes in memory, at most [`Options::cache_bytes`](crate::Options::cache_bytes).
    pub index_bytes: u64,
    /// Generation of the manifest.
    pub manifest_generation: u64,
    /// Generation of the keyring.
    pub keyring_generation: u64,
}

impl Store {
    /// Figures of the store, as they are now.
    ///
    /// # Errors
    /// Errors of the disk in listing the journals.
    pub fn stats(&self) -> Result<Stats> {
        let inner = &*self.inner;
        let folder = inner.dir.join(JOURNAL_DIR);
        let journals = inner.env.disk.list(&folder);
        let journals = journals.map_err(|e| Error::io("listing the journals", &folder, e))?;
        let c = &inner.counters;
        let indexes = inner.segments.cached();
        let mut stats = Stats {
            sites: inner.keyring.sites().len() as u64,
            shards: inner.shards.len() as u16,
            journals: journals.len() as u64,
            journal_bytes: journals.iter().map(|j| j.bytes).sum(),
            appended: c.appended.load(Relaxed),
            duplicates: c.duplicates.load(Relaxed),
            appended_raw_bytes: c.raw_bytes.load(Relaxed),
            archived_journals: c.archived.load(Relaxed),
            salvaged_bytes: c.salvaged_bytes.load(Relaxed),
            doubtful_holds: c.doubtful_holds.load(Relaxed),
            maintenance_failed: c.maintenance_failed.load(Relaxed)
                || inner.expiry_tries.lock().is_behind(),
            index_hits: indexes.hits,
            index_misses: indexes.misses,
            index_bytes: indexes.weight as u64,
            manifest_generation: inner.manifest.generation(),
            keyring_generation: inner.keyring.generation(),
            ..Stats::default()
        };
        for segment in inner.catalog.snapshot().iter().flat_map(|days| days.values().flatten()) {
            stats.segments += 1;
            stats.segment_bytes += segment.entry.bytes;
            stats.archived_sessions += u64::from(segment.entry.sessions);
            stats.archived_raw_bytes += segment.entry.raw_bytes;
        }
        for shard in &inner.shards {
            let state = shard.state.lock();
            stats.live_sessions += state.table.sessions() as u64;
            stats.live_chunks += state.table.frames() as u64;
            stats.backlog_bytes += state.backlog_bytes();
            stats.frame_bytes += state.log.counts.bytes;
            stats.groups += state.log.counts.groups;
            stats.stuck_journals += state.stuck.len() as u64;
            if state.log.is_poisoned() {
                stats.poisoned_shards.push(shard.index);
            }
        }
        Ok(stats)
    }
}
