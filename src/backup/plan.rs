//! What a backup is to copy: what a repository lacks of a store.

use std::collections::{HashMap, HashSet};
use std::io;

use super::repository::SEGMENTS;
use super::run::{Backup, Done};
use super::source::Look;
use crate::error::{Error, Result};
use crate::format::manifest::{Manifest, SegmentEntry};
use crate::format::repository::{JournalCut, Piece, Stored, bytes_of};
use crate::ids::{FileId, day_of};
use crate::limits::PIECES_MAX;

/// From so many missing segments on, what is there already is found out by one listing.
const ASKED_ONE_BY_ONE_MAX: usize = 8;
/// Pieces of a journal after which it is copied whole again.
const PIECES_BEFORE_MERGE: usize = PIECES_MAX / 64;

/// What is to be copied and what is there.
pub(super) struct Plan {
    pub(super) segments: Vec<Stored>,
    pub(super) missing: Vec<Stored>,
    /// What is there already, and in no snapshot.
    pub(super) resumed: Vec<Stored>,
    pub(super) journals: Vec<Growth>,
    /// Of journals that cannot be read now, what is there.
    pub(super) unreadable: Vec<JournalCut>,
    pub(super) deletions: Growth,
    /// Of the repository, met while it was looked at.
    pub(super) damage: Vec<Error>,
}

/// A file that grows: the pieces that are there, and what is to be copied of it.
pub(super) struct Growth {
    pub(super) pieces: Vec<Piece>,
    pub(super) from: u64,
    pub(super) bytes: u64,
}

impl Growth {
    fn new(there: Option<&[Piece]>, end: u64) -> Self {
        let pieces = there.unwrap_or_default();
        let from = bytes_of(pieces);
        // A shorter file is another one; of one in very many pieces a single one is made.
        let (pieces, from) = match from > end || (from < end && pieces.len() >= PIECES_BEFORE_MERGE)
        {
            true => (Vec::new(), 0),
            false => (pieces.to_vec(), from),
        };
        Self { pieces, from, bytes: end - from }
    }

    /// Of a file that is not there, or cannot be read, what was copied before.
    fn none(there: Option<&[Piece]>) -> Self {
        let pieces = there.unwrap_or_default();
        Self { pieces: pieces.to_vec(), from: bytes_of(pieces), bytes: 0 }
    }
}

impl Plan {
    /// Tells what is to be done.
    pub(super) fn describe(&self, done: &mut Done) {
        let grown = self.journals.iter().chain([&self.deletions]);
        let bytes = |segments: &[Stored]| segments.iter().map(|s| s.entry.bytes).sum::<u64>();
        done.segments = self.segments.len() as u64;
        done.bytes = bytes(&self.segments) + grown.clone().map(|g| g.from + g.bytes).sum::<u64>();
        done.copied_segments = self.missing.len() as u64;
        done.copied_bytes = bytes(&self.missing) + grown.map(|g| g.bytes).sum::<u64>();
        done.resumed_segments = self.resumed.len() as u64;
    }
}

impl Backup<'_> {
    /// The segments of a manifest that are still kept.
    pub(super) fn kept<'m>(
        &self,
        manifest: &'m Manifest,
    ) -> impl Iterator<Item = &'m SegmentEntry> + use<'m, '_> {
        let expired = self.repository.keyring.expired_through();
        let gone = move |s: &SegmentEntry| {
            s.expiry_day().zip(expired).is_some_and(|(day, last)| day <= last)
        };
        // On a full disk the file of a segment whose day has come goes before anything can say so.
        let today = day_of(self.repository.env().clock.now_ms());
        let unlinked = move |s: &SegmentEntry| s.has_expired(today) && !self.source.has(s.id);
        manifest.segments.iter().filter(move |s| !gone(s) && !unlinked(s))
    }

    /// What of `look` the repository lacks.
    pub(super) fn plan(&self, look: &Look) -> Result<Plan> {
        let alive = self.kept(&look.manifest).filter(|s| !self.left_out.contains_key(&s.id));
        let there =
            |s: &SegmentEntry| self.base.as_ref().and_then(|base| base.all.get(&s.id)).copied();
        let (mut segments, mut spoilt, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
        for entry in alive {
            match there(entry) {
                Some(stored) if self.is_spoilt(&stored) => spoilt.push(stored),
                Some(stored) => segments.push(stored),
                None => unknown.push(*entry),
            }
        }
        let mut damage = Vec::new();
        let (mut missing, resumed) = self.missing(&unknown, &mut damage)?;
        missing.append(&mut spoilt);
        segments.extend(&missing);
        segments.extend(&resumed);
        let before = |id: FileId| {
            let journals = self.base.as_ref().map(|base| &base.body.journals)?;
            let pieces = journals.iter().find(|journal| journal.id == id).map(|j| &j.pieces[..]);
            pieces.filter(|pieces| !self.has_spoilt(pieces))
        };
        let journals = look.journals.iter();
        let journals =
            journals.map(|cut| Growth::new(before(cut.entry.id), cut.end.into())).collect();
        let carried = self.base.iter().flat_map(|base| &base.body.journals);
        let unreadable = carried.filter(|j| look.unreadable.contains(&j.id)).cloned().collect();
        let log = self.base.as_ref().map(|base| &base.body.deletions[..]);
        let deletions = match &look.deletions {
            Some((_, end)) => Growth::new(log.filter(|pieces| !self.has_spoilt(pieces)), *end),
            None => Growth::none(log),
        };
        Ok(Plan { segments, missing, resumed, journals, unreadable, deletions, damage })
    }

    /// Which of these segments are to be copied, and which an interrupted backup has copied. What a mark names is
    /// copied under another name; a mark that cannot be read, which is told, may name whatever is there.
    fn missing(
        &self,
        unknown: &[SegmentEntry],
        damage: &mut Vec<Error>,
    ) -> Result<(Vec<Stored>, Vec<Stored>)> {
        let (mut missing, mut resumed) = (Vec::new(), Vec::new());
        if unknown.is_empty() {
            return Ok((missing, resumed));
        }
        let repository = self.repository;
        let marks = repository.marks_if_readable()?;
        let is_blind = !marks.damaged.is_empty();
        damage.extend(marks.damaged.into_iter().map(|(_, e)| e));
        let marked: HashSet<String> =
            marks.sound.into_iter().flat_map(|(_, mark)| mark.names).collect();
        let listed: Option<HashMap<String, u64>> =
            match unknown.len() > ASKED_ONE_BY_ONE_MAX || is_blind {
                true => {
                    let names = repository.names(SEGMENTS, usize::MAX)?;
                    Some(names.into_iter().map(|entry| (entry.name, entry.bytes)).collect())
                }
                false => None,
            };
        for entry in unknown {
            let may_go = |copy| {
                let is_there = || listed.iter().any(|l| l.contains_key(&file_name(entry.id, copy)));
                // What this process has put there, or seen there before there was such a mark, is found again: else it would be copied anew for ever.
                let is_ours = || self.sent.lock().contains_key(&Stored { entry: *entry, copy });
                marked.contains(&marked_name(entry.id, copy))
                    || (is_blind && is_there() && !is_ours())
            };
            let mut copy = 0;
            while may_go(copy) {
                copy += 1;
            }
            let stored = Stored { entry: *entry, copy };
            let there = match &listed {
                Some(listed) => listed.get(&file_name(entry.id, copy)).copied(),
                None => self.length(&repository.segment_object(entry.id, copy))?,
            };
            let is_there = there == Some(entry.bytes) && !self.is_spoilt(&stored);
            let into = if is_there { &mut resumed } else { &mut missing };
            into.push(stored);
        }
        Ok((missing, resumed))
    }

    fn length(&self, name: &str) -> Result<Option<u64>> {
        match self.repository.place.length(name) {
            Ok(bytes) => Ok(Some(bytes)),
            // Whoever may only write copies it once more.
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
                ) =>
            {
                Ok(None)
            }
            Err(e) => Err(self.repository.failed("looking for", name, e)),
        }
    }
}

/// The name of a segment's object in its folder.
fn file_name(id: FileId, copy: u32) -> String {
    if copy == 0 { id.to_string() } else { format!("{id}.{copy}") }
}

/// The name of a segment's object as marks have it.
fn marked_name(id: FileId, copy: u32) -> String {
    format!("{SEGMENTS}/{}", file_name(id, copy))
}
