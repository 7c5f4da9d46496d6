//! What there is to back up: the files of a store that another process may be writing, as they are at one moment.
//!
//! No recording is decrypted: only the manifest, the heads of journals and the log of deletions are. Frames that are whole count, synced or not:
//! what a crash takes back was never acknowledged, and a backup may have it all the same.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use crate::env::{Env, File, Mode};
use crate::error::{Corruption, Damage, Error, Result};
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
/// After how many looks a journal that cannot be read, and that the manifest still names, is given up.
const JOURNAL_LOOKS_MAX: usize = 3;

/// A store as it is being written.
pub(super) struct Source {
    env: Env,
    pub(super) dir: PathBuf,
    known: HashMap<FileId, Known>,
}

/// What was found in a journal when it was read last.
#[derive(Clone)]
struct Known {
    /// The end of the last whole frame.
    end: u32,
    /// It stays damaged, and is told of at every look.
    damage: Vec<Corruption>,
}

/// A store at one moment.
pub(super) struct Look {
    pub(super) manifest: Manifest,
    pub(super) journals: Vec<Cut>,
    /// Journals that cannot be read at all.
    pub(super) unreadable: Vec<FileId>,
    /// The log of deletions, and where its last whole record ends.
    pub(super) deletions: Option<(Arc<dyn File>, u64)>,
    pub(super) damage: Vec<Error>,
}

/// A journal, and up to where it has whole frames.
pub(super) struct Cut {
    pub(super) entry: JournalEntry,
    pub(super) journal: Journal,
    pub(super) end: u32,
}

/// The journals of a manifest.
#[derive(Default)]
struct Journals {
    cuts: Vec<Cut>,
    unreadable: Vec<FileId>,
    known: HashMap<FileId, Known>,
    damage: Vec<Error>,
}

impl Source {
    pub(super) fn new(env: &Env, dir: &Path) -> Self {
        Self { env: env.clone(), dir: dir.to_owned(), known: HashMap::new() }
    }

    /// Whether the file of a segment is there, as far as can be told.
    pub(super) fn has(&self, segment: FileId) -> bool {
        self.env.disk.exists(&self.dir.join(segment_name(segment))).unwrap_or(true)
    }

    pub(super) fn manifest(&self, keyring: &Keyring) -> Result<Manifest> {
        let manifest = manifest::read(&self.env, &self.dir, &keyring.manifest_cipher())?;
        match manifest.store == keyring.store_id() {
            true => Ok(manifest),
            false => Err(Error::WrongKey("the keyring belongs to another store")),
        }
    }

    pub(super) fn look(&mut self, keyring: &Keyring) -> Result<Look> {
        let (mut last, mut failures) = (None, HashMap::new());
        for _ in 0..LOOKS_MAX {
            let manifest = self.manifest(keyring)?;
            match self.journals(&manifest, keyring, &mut failures) {
                Ok(Journals { cuts: journals, unreadable, known, mut damage }) => {
                    self.known = known;
                    let deletions = self.deletions(keyring, &mut damage)?;
                    return Ok(Look { manifest, journals, unreadable, deletions, damage });
                }
                // Its writer has archived a journal since; the next manifest names the segments.
                Err(e) if is_of_one_file(&e) => last = Some(e),
                Err(e) => return Err(e),
            }
        }
        Err(last.unwrap_or(Error::Closed))
    }

    /// The journals, the youngest read first: so no chunk of a session is seen without those before it.
    ///
    /// `failures` counts how often each could not be read. One that a manifest names which was read after it had failed has not been archived: it is
    /// damaged, and must not keep all else from being backed up.
    fn journals(
        &self,
        manifest: &Manifest,
        keyring: &Keyring,
        failures: &mut HashMap<FileId, usize>,
    ) -> Result<Journals> {
        let mut entries = manifest.journals.clone();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.number));
        let (mut found, mut again) = (Journals::default(), None);
        for entry in entries {
            match self.journal(&entry, keyring) {
                Ok((journal, known)) => {
                    let damage = known.damage.iter().cloned();
                    found.damage.extend(damage.map(|c| Error::Corrupt(Box::new(c))));
                    if known.end > FRAMES_FROM {
                        found.cuts.push(Cut { entry, journal, end: known.end });
                    }
                    found.known.insert(entry.id, known);
                }
                Err(e) if !is_of_one_file(&e) => return Err(e),
                Err(e) => {
                    let failed = failures.entry(entry.id).or_insert(0);
                    *failed += 1;
                    if *failed < JOURNAL_LOOKS_MAX {
                        again = Some(e);
                    } else {
                        found.damage.push(e);
                        found.unreadable.push(entry.id);
                    }
                }
            }
        }
        again.map_or(Ok(found), Err)
    }

    /// One journal, from where it was read before.
    fn journal(&self, entry: &JournalEntry, keyring: &Keyring) -> Result<(Journal, Known)> {
        let cipher = keyring.journal_cipher(&entry.id);
        let journal = Journal::open(&*self.env.disk, &self.dir, entry.id, cipher)?;
        let known = self.known.get(&entry.id).cloned();
        let mut known = known.unwrap_or(Known { end: FRAMES_FROM, damage: Vec::new() });
        let scan = |recovery| scan_from(&journal, known.end, entry.cut, recovery, |_, _, _| Ok(()));
        let scanned = match scan(Recovery::Strict) {
            // What is damaged is copied as it is: somebody may want to read around it. Not beyond the last whole frame:
            // there the next frames will come, and a later backup must still find them missing.
            Err(Error::Corrupt(c)) if c.kind == Damage::BeforeValidFrames => {
                scan(Recovery::Salvage).map(|s| (s.end, (s.skipped_bytes > 0).then_some(*c)))
            }
            scanned => scanned.map(|s| (s.end, None)),
        };
        // Archived and written over since the manifest was read, it would seem empty, and its chunks would be in no snapshot.
        journal.check_kept()?;
        let (end, damaged) = scanned?;
        known.end = end;
        known.damage.extend(damaged.filter(|c| !known.damage.contains(c)));
        Ok((journal, known))
    }

    fn deletions(
        &self,
        keyring: &Keyring,
        damage: &mut Vec<Error>,
    ) -> Result<Option<(Arc<dyn File>, u64)>> {
        let path = self.dir.join(LOG);
        let file = match self.env.disk.open(&path, Mode::Read) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(|e| Error::io("opening the log of deletions", &path, e))?,
        };
        let log = DeletionLog::new(self.env.clone(), &self.dir);
        let logged = log.read(&keyring.log_cipher())?;
        let end = logged.end();
        damage.extend(logged.damage);
        Ok(end.map(|end| (file, end)))
    }
}

/// Whether an error tells of one file that is damaged or gone, or of the medium below it: not of what whoever backs up may do, or has too little of.
pub(super) fn is_of_one_file(error: &Error) -> bool {
    use io::ErrorKind::{OutOfMemory, PermissionDenied};
    let own = |cause: &io::Error| {
        let too_many = [Errno::MFILE, Errno::NFILE].map(|e| Some(e.raw_os_error()));
        matches!(cause.kind(), OutOfMemory | PermissionDenied)
            || too_many.contains(&cause.raw_os_error())
    };
    match error {
        Error::Corrupt(_) | Error::Unsupported { .. } => true,
        Error::Io { cause, .. } => !own(cause),
        _ => false,
    }
}
