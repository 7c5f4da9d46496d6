//! Opening a store: what the journals hold is found again, and what a crash left over is removed.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::env::Env;
use crate::error::{Damage, Error, Result};
use crate::format::frame::{FrameHeader, FramePlace};
use crate::format::manifest::{JournalEntry, Manifest};
use crate::ids::FileId;
use crate::journal::file::{JOURNAL_DIR, JOURNAL_SUFFIX, Journal};
use crate::journal::scan::{Recovery, Scanned, scan};
use crate::journal::table::{FrameRef, Table};
use crate::segment::writer::{SEGMENT_DIR, SEGMENT_SUFFIX};

use super::state::Inner;

impl Inner {
    /// Reads the journals of a manifest into the tables of their shards.
    ///
    /// The journals are synced before anything of them is served: after a crash of the process alone, their tails are in
    /// the system's memory and perhaps not on the disk.
    pub(super) fn load_journals(&self, manifest: &Manifest) -> Result<()> {
        let mut journals = manifest.journals.clone();
        journals.sort_by_key(|j| j.number);
        for shard in &self.shards {
            let mut table = Table::default();
            let mut full = Vec::new();
            for entry in journals.iter().filter(|j| j.shard == shard.index) {
                let (journal, scanned) = self.load_journal(entry, manifest, &mut table)?;
                if scanned.frames > 0 {
                    journal.sync()?;
                    journal.set_durable(scanned.end);
                    full.push(journal);
                }
                self.counters.salvaged_bytes.fetch_add(scanned.skipped_bytes, Relaxed);
            }
            let mut state = shard.state.lock();
            state.table = table;
            state.full = full;
        }
        Ok(())
    }

    fn load_journal(
        &self,
        entry: &JournalEntry,
        manifest: &Manifest,
        table: &mut Table,
    ) -> Result<(Arc<Journal>, Scanned)> {
        let cipher = self.keyring.journal_cipher(&entry.id);
        let journal = Arc::new(Journal::open(&*self.env.disk, &self.dir, entry.id, cipher)?);
        let head = &journal.head;
        if head.store != manifest.store || (head.shard, head.number) != (entry.shard, entry.number)
        {
            return Err(Error::corrupt(&journal.name, 0, Damage::Swapped));
        }
        if head.manifest_generation >= manifest.generation {
            return Err(Error::corrupt(super::manifest::MANIFEST, 0, Damage::RolledBack));
        }
        let recovery = self.options.recovery;
        let scanned = scan(&journal, entry.cut, recovery, |offset, header, frame| {
            match self.load_frame(&journal, offset, header, frame, table) {
                Err(Error::Corrupt(_)) if recovery == Recovery::Salvage => {
                    let bytes = header.frame_bytes() as u64;
                    self.counters.salvaged_bytes.fetch_add(bytes, Relaxed);
                    Ok(())
                }
                outcome => outcome,
            }
        })?;
        Ok((journal, scanned))
    }

    fn load_frame(
        &self,
        journal: &Arc<Journal>,
        offset: u32,
        header: &FrameHeader,
        frame: &[u8],
        table: &mut Table,
    ) -> Result<()> {
        let place = FramePlace { file: &journal.name, journal: journal.id, offset: offset.into() };
        let handle = header.open_locator(&place, frame, &journal.cipher)?;
        // A site that is not in the keyring has been erased.
        let Some(site) = self.keyring.site_by_handle(&handle) else { return Ok(()) };
        let (envelope, _) = header
            .open_envelope(&place, handle, frame, site.envelope())
            .map_err(|e| e.at_site(site.id()))?;
        let frame_ref = FrameRef {
            journal: Arc::clone(journal),
            offset,
            bytes: header.frame_bytes() as u32,
            seq: envelope.seq,
            first_ms: envelope.first_ms,
            duration_ms: u32::try_from(envelope.last_ms - envelope.first_ms).unwrap_or(u32::MAX),
            raw_bytes: envelope.raw_bytes,
            events: envelope.events,
        };
        table.insert(handle, &envelope, frame_ref, || None);
        Ok(())
    }
}

/// Removes the files that a crash left behind: those that no manifest names.
pub(super) fn remove_leftovers(env: &Env, dir: &Path, manifest: &Manifest) -> Result<()> {
    let journals: HashSet<FileId> = manifest.journals.iter().map(|j| j.id).collect();
    let segments: HashSet<FileId> = manifest.segments.iter().map(|s| s.id).collect();
    for (folder, suffix, named) in
        [(JOURNAL_DIR, JOURNAL_SUFFIX, journals), (SEGMENT_DIR, SEGMENT_SUFFIX, segments)]
    {
        let folder = dir.join(folder);
        let entries =
            env.disk.list(&folder).map_err(|e| Error::io("listing the store", &folder, e))?;
        for entry in entries {
            // Only what this engine names so is ever removed; a foreign file is none of its business.
            let id = entry.name.strip_suffix(suffix).and_then(FileId::parse);
            if id.is_some_and(|id| !named.contains(&id)) {
                let path = folder.join(entry.name);
                env.disk.remove(&path).map_err(|e| Error::io("removing a left-over", &path, e))?;
            }
        }
    }
    Ok(())
}
