//! What there is to back up: the files of a store that another process may be writing, as they are at one moment.
//!
//! Nothing but the manifest and the heads of journals is decrypted. Frames that are whole count, synced or not: what a crash takes back was never
//! acknowledged, and a backup may have it all the same.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::env::{Env, File, Mode};
use crate::error::{Damage, Error, Result};
use crate::format::frame::FRAMES_FROM;
use crate::format::manifest::{JournalEntry, Manifest};
use crate::ids::FileId;
use crate::journal::file::Journal;
use crate::journal::scan::{Recovery, scan_from};
use crate::keyring::Keyring;
use crate::retention::log::{DeletionLog, LOG};
use crate::segment::writer::segment_name;
use crate::store::manifest;

/// How often the manifest is read again because a journal was archived between it and the file.
const LOOKS_MAX: usize = 16;

/// A store as it is being written.
pub(super) struct Source {
    env: Env,
    pub(super) dir: PathBuf,
    /// Up to where journals were read before.
    ends: HashMap<FileId, u32>,
}

/// A store at one moment.
pub(super) struct Look {
    pub(super) manifest: Manifest,
    pub(super) journals: Vec<Cut>,
    /// The log of deletions, and where its last whole record ends.
    pub(super) deletions: Option<(Arc<dyn File>, u64)>,
    pub(super) damage: Vec<Error>,
}

/// A journal, and up to where it is whole.
pub(super) struct Cut {
    pub(super) entry: JournalEntry,
    pub(super) journal: Journal,
    pub(super) end: u32,
}

impl Source {
    pub(super) fn new(env: &Env, dir: &Path) -> Self {
        Self { env: env.clone(), dir: dir.to_owned(), ends: HashMap::new() }
    }

    /// Whether the file of a segment is there, as far as can be told.
    pub(super) fn has(&self, segment: FileId) -> bool {
        self.env.disk.exists(&self.dir.join(segment_name(segment))).unwrap_or(true)
    }

    pub(super) fn look(&mut self, keyring: &Keyring) -> Result<Look> {
        let mut last = None;
        for _ in 0..LOOKS_MAX {
            let manifest = manifest::read(&self.env, &self.dir, &keyring.manifest_cipher())?;
            if manifest.store != keyring.store_id() {
                return Err(Error::WrongKey("the keyring belongs to another store"));
            }
            match self.journals(&manifest, keyring) {
                Ok((journals, damage)) => {
                    self.ends = journals.iter().map(|cut| (cut.entry.id, cut.end)).collect();
                    let deletions = self.deletions(keyring)?;
                    return Ok(Look { manifest, journals, deletions, damage });
                }
                // Its writer has archived a journal since; the next manifest names the segments.
                Err(e @ Error::Corrupt(_)) => last = Some(e),
                Err(e) => return Err(e),
            }
        }
        Err(last.unwrap_or(Error::Closed))
    }

    /// The journals, the youngest read first: so no chunk of a session is seen without those before it.
    fn journals(&self, manifest: &Manifest, keyring: &Keyring) -> Result<(Vec<Cut>, Vec<Error>)> {
        let mut entries = manifest.journals.clone();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.number));
        let (mut journals, mut damage) = (Vec::new(), Vec::new());
        for entry in entries {
            let cipher = keyring.journal_cipher(&entry.id);
            let journal = Journal::open(&*self.env.disk, &self.dir, entry.id, cipher)?;
            let from = self.ends.get(&entry.id).map_or(FRAMES_FROM, |end| *end);
            let scanned = scan_from(&journal, from, entry.cut, Recovery::Strict, |_, _, _| Ok(()));
            // Archived and written over since the manifest was read, it would seem empty, and its chunks would be in no snapshot.
            journal.check_kept()?;
            let end = match scanned {
                Ok(scanned) => scanned.end,
                Err(Error::Corrupt(c)) if c.kind == Damage::BeforeValidFrames => {
                    // What is damaged is copied as it is: somebody may want to read around it.
                    damage.push(Error::Corrupt(c));
                    journal.filled()
                }
                Err(e) => return Err(e),
            };
            if end > FRAMES_FROM {
                journals.push(Cut { entry, journal, end });
            }
        }
        Ok((journals, damage))
    }

    fn deletions(&self, keyring: &Keyring) -> Result<Option<(Arc<dyn File>, u64)>> {
        let path = self.dir.join(LOG);
        let file = match self.env.disk.open(&path, Mode::Read) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(|e| Error::io("opening the log of deletions", &path, e))?,
        };
        let log = DeletionLog::new(self.env.clone(), &self.dir);
        let end = log.read(&keyring.log_cipher())?.end();
        Ok(end.map(|end| (file, end)))
    }
}
