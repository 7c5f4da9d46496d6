//! Opening a store: what the journals hold is found again, and what a crash left over is removed.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::error::{Damage, Error, Result};
use crate::format::frame::{FRAMES_FROM, FrameHeader, FramePlace};
use crate::format::manifest::{JournalEntry, Manifest, NO_CUT};
use crate::ids::FileId;
use crate::journal::file::{JOURNAL_DIR, JOURNAL_SUFFIX, Journal};
use crate::journal::scan::{Recovery, Scanned, scan, was_never_used};
use crate::journal::table::{FrameRef, Table};
use crate::parallel;
use crate::planted::{self, Bug};
use crate::segment::writer::{SEGMENT_DIR, SEGMENT_SUFFIX};

use super::state::{Inner, Shard};

/// Shards whose journals are read at the same time, each 4 MiB at a time: so many requests keep a disk busy.
const READ_AT_ONCE: usize = 4;

/// What the journals of one shard hold.
#[derive(Default)]
pub(super) struct Loaded {
    table: Table,
    full: Vec<Arc<Journal>>,
    /// Journals that salvage could not even open: they stay where they are.
    unreadable: Vec<FileId>,
    /// Journals of which something was passed over.
    salvaged: Vec<FileId>,
    salvaged_bytes: u64,
}

impl Loaded {
    /// The journals that are worth keeping.
    pub(super) fn kept(&self) -> impl Iterator<Item = FileId> {
        self.full.iter().map(|j| j.id).chain(self.unreadable.iter().copied())
    }
}

impl Inner {
    /// Reads the journals of a manifest, several shards at once in a store with threads of its own, and changes nothing yet.
    ///
    /// The journals are synced before anything of them is served: after a crash of the process alone, their tails are in
    /// the system's memory and perhaps not on the disk.
    pub(super) fn load_journals(&self, manifest: &Manifest) -> Result<Vec<Loaded>> {
        let mut journals = manifest.journals.clone();
        journals.sort_by_key(|j| j.number);
        if self.read_only {
            // Its writer goes on meanwhile: read in this order, no chunk is seen without those before it.
            journals.reverse();
        }
        let load_shard = |shard: &Shard| {
            let mut loaded = Loaded::default();
            for entry in journals.iter().filter(|j| j.shard == shard.index) {
                let before = loaded.salvaged_bytes;
                let (journal, scanned) = match self.load_sound(entry, manifest, &mut loaded) {
                    Err(e) if self.reads_around(&e) => {
                        loaded.unreadable.push(entry.id);
                        loaded.salvaged.push(entry.id);
                        if entry.cut != NO_CUT {
                            loaded.salvaged_bytes += entry.cut;
                        }
                        continue;
                    }
                    outcome => outcome?,
                };
                if scanned.skipped_bytes > 0 || loaded.salvaged_bytes > before {
                    loaded.salvaged.push(entry.id);
                }
                loaded.salvaged_bytes += scanned.skipped_bytes;
                if scanned.frames == 0 {
                    continue;
                }
                if self.read_only {
                    journal.sync()?;
                } else if !scanned.ended && !planted::is(Bug::RecoveredTailUnsynced) {
                    let from = scanned.durable.min(scanned.end);
                    journal.write_again(&*self.env.disk, from, scanned.end)?;
                }
                journal.set_durable(scanned.end);
                if scanned.ended {
                    journal.set_ended();
                }
                loaded.full.push(journal);
            }
            Ok(loaded)
        };
        let at_once = if self.background { READ_AT_ONCE } else { 1 };
        parallel::each(at_once, &self.shards, load_shard).into_iter().collect()
    }

    /// Whether a journal is left out for this. A writer would go on without frames that a later read may bring: it does not pass over a sector
    /// that cannot be read.
    fn reads_around(&self, error: &Error) -> bool {
        let is_damaged = match self.read_only {
            true => error.is_damage(),
            false => matches!(error, Error::Corrupt(_) | Error::Unsupported { .. }),
        };
        self.options.recovery == Recovery::Salvage && is_damaged
    }

    /// Takes over what was loaded.
    pub(super) fn adopt(&self, loaded: Vec<Loaded>) {
        let mut salvaged_bytes = 0;
        for (shard, loaded) in self.shards.iter().zip(loaded) {
            let mut state = shard.state.lock();
            state.table = loaded.table;
            state.full = loaded.full;
            state.unreadable = loaded.unreadable;
            state.salvaged = loaded.salvaged;
            state.epoch += 1;
            salvaged_bytes += loaded.salvaged_bytes;
        }
        self.counters.salvaged_bytes.store(salvaged_bytes, Relaxed);
    }

    /// Reads one journal.
    ///
    /// # Errors
    /// Damage, around which [`Recovery::Salvage`] does not read: of its head, or of all that it holds.
    pub(super) fn load_sound(
        &self,
        entry: &JournalEntry,
        manifest: &Manifest,
        loaded: &mut Loaded,
    ) -> Result<(Arc<Journal>, Scanned)> {
        let (journal, scanned) = self.load_journal(entry, manifest, loaded)?;
        // Without frames it will be removed, so it must not only look empty.
        let is_empty = scanned.frames == 0 && !scanned.ended;
        if is_empty && !self.read_only && !was_never_used(&journal)? {
            return Err(Error::corrupt(&journal.name, FRAMES_FROM.into(), Damage::Rot));
        }
        Ok((journal, scanned))
    }

    fn load_journal(
        &self,
        entry: &JournalEntry,
        manifest: &Manifest,
        loaded: &mut Loaded,
    ) -> Result<(Arc<Journal>, Scanned)> {
        let cipher = self.keyring.journal_cipher(&entry.id);
        let journal = Arc::new(Journal::open(&*self.env.disk, &self.dir, entry.id, cipher)?);
        let head = &journal.head;
        if head.store != manifest.store || (head.shard, head.number) != (entry.shard, entry.number)
        {
            return Err(Error::corrupt(&journal.name, 0, Damage::Swapped));
        }
        let recovery = self.options.recovery;
        let scanned = scan(&journal, entry.cut, recovery, |offset, header, frame| {
            match self.load_frame(&journal, offset, header, frame, &mut loaded.table) {
                Err(Error::Corrupt(_)) if recovery == Recovery::Salvage => {
                    loaded.salvaged_bytes += header.frame_bytes() as u64;
                    Ok(())
                }
                outcome => outcome,
            }
        });
        if self.read_only {
            // Its writer may have archived it and written over its file meanwhile: then neither what was read of it counts
            // nor what was missed.
            journal.check_kept()?;
        }
        Ok((journal, scanned?))
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
        let locator = header.open_locator(&place, frame, &journal.cipher)?;
        let handle = locator.site;
        // A site that is not in the keyring has been erased; a day that is gone has passed. Neither is damage.
        let Some(site) = self.keyring.site_by_handle(&handle) else { return Ok(()) };
        let cipher = match self.keyring.envelope_cipher(&site, &journal.id, locator.expiry_day) {
            Err(e) if e.is_gone() => return Ok(()),
            cipher => cipher?,
        };
        let (envelope, _) = header
            .open_envelope(&place, locator, frame, &cipher)
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

impl Inner {
    /// A journal that no manifest names, with chunks, and as young as the manifest, shows that it is the manifest that is
    /// old: it was put back. Nothing is changed then.
    pub(super) fn check_not_rolled_back(&self, opened: &Manifest) -> Result<()> {
        let named = opened.journals.iter().map(|j| j.id).collect();
        for (id, _) in self.leftovers(JOURNAL_DIR, JOURNAL_SUFFIX, &named)? {
            if self.is_younger(id, opened)? {
                return Err(Error::corrupt(super::manifest::MANIFEST, 0, Damage::RolledBack));
            }
        }
        Ok(())
    }

    /// Removes the files that a crash left behind: those that no manifest names.
    pub(super) fn remove_leftovers(&self) -> Result<()> {
        let manifest = self.manifest.current();
        let journals = manifest.journals.iter().map(|j| j.id).collect();
        let segments = manifest.segments.iter().map(|s| s.id).collect();
        let mut left = self.leftovers(JOURNAL_DIR, JOURNAL_SUFFIX, &journals)?;
        left.extend(self.leftovers(SEGMENT_DIR, SEGMENT_SUFFIX, &segments)?);
        for (_, path) in left {
            let removed = self.env.disk.remove(&path);
            removed.map_err(|e| Error::io("removing a left-over", &path, e))?;
        }
        super::making::done(&self.env, &self.dir)
    }

    /// The files of a folder that are named as this engine names them and that no manifest names. A foreign file is none
    /// of its business.
    fn leftovers(
        &self,
        folder: &str,
        suffix: &str,
        named: &HashSet<FileId>,
    ) -> Result<Vec<(FileId, PathBuf)>> {
        let folder = self.dir.join(folder);
        let entries = self.env.disk.list(&folder);
        let entries = entries.map_err(|e| Error::io("listing the store", &folder, e))?;
        let id = |name: &str| name.strip_suffix(suffix).and_then(FileId::parse);
        Ok(entries
            .into_iter()
            .filter_map(|e| Some((id(&e.name)?, folder.join(&e.name))))
            .filter(|(id, _)| !named.contains(id))
            .collect())
    }

    /// Whether a journal has frames and was begun under this manifest or a later one.
    fn is_younger(&self, id: FileId, manifest: &Manifest) -> Result<bool> {
        let cipher = self.keyring.journal_cipher(&id);
        let journal = match Journal::open(&*self.env.disk, &self.dir, id, cipher) {
            Ok(journal) => journal,
            // What was only begun, or half recycled, has no head to speak of.
            Err(Error::Corrupt(_) | Error::Unsupported { .. }) => return Ok(false),
            Err(e) => return Err(e),
        };
        if journal.head.manifest_generation < manifest.generation {
            return Ok(false);
        }
        let scanned = scan(&journal, NO_CUT, Recovery::Salvage, |_, _, _| Ok(()))?;
        Ok(scanned.frames > 0)
    }
}
