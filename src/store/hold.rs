//! Holds: a session that is to be kept beyond its retention is copied into a segment of its own, sealed under a key of its
//! own, so that its hold can end like everything else: by forgetting a key.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::crypto::{Key, Nonce};
use crate::error::{Error, InputError, Result};
use crate::format::identity::SealedIdentity;
use crate::format::manifest::SegmentEntry;
use crate::format::segment::{ChunkEntry, SessionEntry};
use crate::ids::{FileId, HoldId, SessionId, day_of};
use crate::keyring::{Hold, Kept, draw};
use crate::limits::HOLD_REASON_BYTES_MAX;
use crate::retention::record::{Certificate, Deed};
use crate::segment::writer::{SegmentClass, SegmentWriter, SessionBlocks};

use crate::seqset::SeqSet;

use super::find::{ArchivedPart, Parts, Started};
use super::renew::Around;
use super::replay::Beside;
use super::state::{Inner, SegmentInfo};
use super::{Replay, Site, Store};

/// A session that is held.
#[derive(Clone, PartialEq, Eq)]
pub struct HoldInfo {
    /// The session.
    pub session: SessionId,
    /// When it started, Unix milliseconds.
    pub start_ms: u64,
    /// When it was put on hold, Unix milliseconds.
    pub since_ms: u64,
    /// Why.
    pub reason: String,
    /// The first day on which it would no longer be kept without the hold, in days since 1970-01-01 UTC.
    pub expiry_day: u32,
}

// Ids and reasons must not reach a log through `{:?}`.
impl std::fmt::Debug for HoldInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HoldInfo").field("since_ms", &self.since_ms).finish_non_exhaustive()
    }
}

/// What the copy of a hold is made of.
pub(super) struct Original<'a> {
    pub(super) id: &'a SessionId,
    pub(super) parts: &'a Parts,
    /// The copy of the hold that it renews.
    pub(super) copy: Option<Beside>,
    /// Takes what cannot be read; without it, that ends the copying.
    pub(super) around: Option<&'a mut Around>,
}

impl Site {
    /// Holds a session: it is kept beyond its retention until it is released. Why is told to whoever lists the holds.
    ///
    /// Chunks that arrive later are held too: the copy is renewed before the original expires.
    ///
    /// # Errors
    /// [`Error::UnknownSession`], [`Error::Erased`], [`Error::Expired`]; [`InputError::Option`] if it, or another session of its id, is held
    /// already, or the reason is empty or longer than [`HOLD_REASON_BYTES_MAX`]; what the key provider and the disk answer.
    pub fn hold(&self, id: &SessionId, reason: &str) -> Result<Certificate> {
        self.hold_started(id, Started::Last, reason)
    }

    /// Holds the session of this id that started on the day (UTC) of `start_ms`, Unix milliseconds, as
    /// [`session_at`](Self::session_at) finds it. Of the sessions of one id one alone is held at a time.
    ///
    /// # Errors
    /// As [`hold`](Self::hold).
    pub fn hold_at(&self, id: &SessionId, start_ms: u64, reason: &str) -> Result<Certificate> {
        match self.hold_started(id, Started::On(day_of(start_ms)), reason) {
            // Which sessions a day had that has passed, nothing can tell.
            Err(Error::UnknownSession) => match self.session_at(id, start_ms) {
                Err(e) => Err(e),
                Ok(_) => Err(Error::UnknownSession),
            },
            held => held,
        }
    }

    fn hold_started(&self, id: &SessionId, started: Started, reason: &str) -> Result<Certificate> {
        self.inner.check_writable()?;
        let refuse = |why| Err(InputError::Option { name: "hold", why }.into());
        if reason.is_empty() || reason.len() > HOLD_REASON_BYTES_MAX {
            return refuse("a reason of 1 to 1,024 bytes");
        }
        // Retention would take the copy for a hold that has ended, as long as the keyring does not know it.
        let _expiring = self.inner.expiring.lock();
        let parts = self.find(id, started)?;
        let (site, session) = (self.site.handle(), parts.stamp.tag);
        if self.inner.keyring.hold_of(&site, &session).is_some() {
            return refuse("a session of this id is held already");
        }
        let since_ms = self.inner.env.clock.now_ms();
        let original = Original { id, parts: &parts, copy: None, around: None };
        self.put_hold(original, reason, since_ms, None, Deed::Held { site, session })
    }

    /// Ends a hold. If the session's retention has passed meanwhile, it is gone, here and in every copy.
    ///
    /// # Errors
    /// [`Error::UnknownSession`] if it is not held; what the key provider and the disk answer.
    pub fn release(&self, id: &SessionId) -> Result<Certificate> {
        self.inner.check_writable()?;
        let _expiring = self.inner.expiring.lock();
        let site = self.site.handle();
        let tags = (0..super::find::ATTEMPTS_MAX).map(|n| self.site.session_tag(id, n));
        let hold = tags.filter_map(|tag| self.inner.keyring.hold_of(&site, &tag)).next();
        let hold = hold.ok_or(Error::UnknownSession)?;
        let ((), certificate) = self.inner.commit(|next| {
            next.remove_hold(&hold.id);
            Ok(((), Deed::Released { site, session: hold.tag }))
        })?;
        self.inner.drop_holds([hold.id]);
        Ok(certificate)
    }

    /// The sessions of this site that are held, by start.
    ///
    /// # Errors
    /// Damage, and errors of the system.
    pub fn holds(&self) -> Result<Vec<HoldInfo>> {
        self.inner.keep_up()?;
        let mut holds = Vec::new();
        for hold in self.inner.keyring.holds_of(&self.site.handle()) {
            holds.push(HoldInfo {
                session: self.held_id(&hold)?,
                start_ms: hold.start_ms,
                since_ms: hold.created_ms,
                reason: hold.reason.to_string(),
                expiry_day: hold.expiry_day(),
            });
        }
        holds.sort_by_key(|hold| hold.start_ms);
        Ok(holds)
    }

    /// The id of a held session, out of the copy of its hold.
    fn held_id(&self, hold: &Hold) -> Result<SessionId> {
        let lost = || SessionId::lost(hold.tag);
        let Some(copy) = self.copy_of(hold)? else { return Ok(lost()) };
        let keys = self.inner.keyring.session_keys(&self.site, &hold.tag, Kept::Held(&hold.key))?;
        let identity = copy.entry().identity.as_ref();
        let identity =
            identity.and_then(|i| i.open(self.site.handle(), hold.tag, keys.cipher()).ok());
        Ok(identity.and_then(|i| SessionId::new(&i.session).ok()).unwrap_or_else(lost))
    }

    /// What the copy of a hold has of its session, if it is there: also while the session's day lasts.
    fn copy_of(&self, hold: &Hold) -> Result<Option<ArchivedPart>> {
        let Some(segment) = self.inner.segment_of_hold(hold) else { return Ok(None) };
        let keys = self.hold_keys(hold)?;
        let found = self.inner.segments.at_place(&segment.entry, &keys, hold.tag.place());
        let mut found = found.map_err(|e| self.name(e))?.into_iter();
        let found = found.find(|f| f.entry().tag == hold.tag);
        Ok(found.map(|found| ArchivedPart { segment, found }))
    }

    /// The copy of a hold, to be played together with what it was made of.
    pub(super) fn beside(&self, hold: &Hold, is_first: bool) -> Result<Option<Beside>> {
        let Some(part) = self.copy_of(hold)? else { return Ok(None) };
        let keys = self.inner.keyring.session_keys(&self.site, &hold.tag, Kept::Held(&hold.key))?;
        self.check_commitment(&keys, &part.entry().commitment)?;
        Ok(Some(Beside { part, keys, is_first }))
    }

    /// Writes the copy, and lets the keyring know of the hold; `instead_of` is the hold that it renews.
    pub(super) fn put_hold(
        &self,
        original: Original<'_>,
        reason: &str,
        since_ms: u64,
        instead_of: Option<&Hold>,
        deed: Deed,
    ) -> Result<Certificate> {
        let random = &*self.inner.env.random;
        let stamp = &original.parts.stamp;
        let mut hold = Hold {
            id: HoldId(draw(random)?),
            site: self.site.handle(),
            tag: stamp.tag,
            visitor: stamp.visitor,
            start_ms: stamp.start_ms,
            retention_days: stamp.retention_days,
            created_ms: since_ms,
            chunks: 0,
            key: Key::take(&mut draw(random)?),
            reason: reason.into(),
        };
        let inner = &*self.inner;
        inner.manifest.check_sure()?;
        // What a failed change names stays as long as the next open may find that: no other copy is written before it cannot.
        if inner.keyring.put_back()? {
            inner.note_keyring()?;
        }
        let (entry, chunks) = self.write_copy(original, &hold)?;
        hold.chunks = chunks;
        let named = inner.with_space(|| inner.manifest.name_segments(&[entry], |_| ()));
        named.inspect_err(|_| inner.manifest.disown_segments(&[entry]))?;
        inner.catalog.add(vec![SegmentInfo::new(entry, None)]);
        let hold = Arc::new(hold);
        let committed = inner.commit(|next| {
            if let Some(old) = instead_of {
                next.remove_hold(&old.id);
            }
            next.add_hold(Arc::clone(&hold))?;
            Ok(((), deed.clone()))
        });
        // After an error the hold may stand in a mirror all the same, and need its copy.
        if committed.is_err() && !inner.keyring.needs_copy(&hold.id) {
            inner.drop_holds([hold.id]);
        }
        let ((), certificate) = committed?;
        inner.drop_holds(instead_of.iter().map(|old| old.id));
        Ok(certificate)
    }

    /// Copies a session into a segment of its own; returns it and its number of chunks.
    fn write_copy(&self, original: Original<'_>, hold: &Hold) -> Result<(SegmentEntry, u32)> {
        let Original { id, parts, copy: before, around } = original;
        let inner = &*self.inner;
        let (handle, stamp) = (self.site.handle(), &parts.stamp);
        let old = self.keys(parts)?;
        let keys = inner.keyring.session_keys(&self.site, &stamp.tag, Kept::Held(&hold.key))?;
        let mut nonce = Nonce::default();
        inner.fill_random(&mut nonce)?;
        let identity = stamp.identity.as_ref();
        let identity = identity.and_then(|i| i.open(handle, stamp.tag, old.cipher()).ok());
        let in_copy = before.as_ref().and_then(|before| {
            let sealed = before.part.entry().identity.as_ref()?;
            sealed.open(handle, stamp.tag, before.keys.cipher()).ok()
        });
        let identity = identity.or(in_copy);
        let identity =
            identity.map(|i| SealedIdentity::seal(&i, handle, stamp.tag, keys.cipher(), nonce));
        let class = SegmentClass {
            shard: inner.shard(handle).index,
            retention_days: 0,
            day: day_of(stamp.start_ms),
        };
        let level = inner.options.archive_level;
        let (copy, suite) = (FileId(hold.id.0), inner.keyring.suite());
        let mut work = inner.archiver.lock();
        let buffers = &mut work.segment;
        let mut writer =
            SegmentWriter::create(&inner.env, &inner.dir, copy, class, suite, level, buffers)?;
        let mut blocks = SessionBlocks::new(SessionEntry {
            commitment: *keys.commitment(),
            identity,
            ..stamp.entry()
        });
        let mut chunks = 0;
        let mut written = SeqSet::default();
        let mut replay = Replay::with_copy(self, id, parts, before)?;
        if around.is_some() {
            replay = replay.around_damage();
        }
        while let Some(chunk) = replay.next_chunk()? {
            let entry_seq = chunk.seq as u32;
            let entry = ChunkEntry {
                seq: entry_seq,
                first_ms: chunk.first_ms,
                last_ms: chunk.last_ms,
                raw_bytes: chunk.events.len() as u32,
                events: memchr::memchr_iter(b'\n', chunk.events).count() as u32,
                snapshots: chunk.snapshots.clone(),
            };
            writer.chunk(handle, &mut blocks, keys.cipher(), entry, |raw| {
                raw.extend_from_slice(chunk.events);
                Ok(())
            })?;
            written.insert(entry_seq);
            chunks += 1;
        }
        if let Some(around) = around {
            around.damage.append(&mut replay.passed_over());
            if let Some(e) = around.refusal(&written) {
                return Err(e);
            }
        }
        writer.end_session(handle, blocks, keys.cipher())?;
        let of_hold = self.hold_keys(hold)?;
        writer.end_site(handle, &of_hold.index)?;
        Ok((writer.finish(&of_hold.directory)?, chunks))
    }
}

impl Store {
    /// The sessions that are held at all sites, with their sites.
    ///
    /// # Errors
    /// Damage, and errors of the system.
    pub fn holds(&self) -> Result<Vec<(crate::SiteId, HoldInfo)>> {
        let mut all = Vec::new();
        for info in self.sites() {
            let holds = match self.site(&info.id) {
                // It was erased meanwhile.
                Err(e) if e.is_gone() => continue,
                site => site?.holds()?,
            };
            all.extend(holds.into_iter().map(|hold| (info.id.clone(), hold)));
        }
        Ok(all)
    }
}

impl Inner {
    /// Whether a day has passed for good: its leaf is gone.
    pub(super) fn has_passed(&self, day: u32) -> bool {
        self.keyring.expired_through().is_some_and(|last| day <= last)
    }

    pub(super) fn segment_of_hold(&self, hold: &Hold) -> Option<Arc<SegmentInfo>> {
        let all = self.catalog.snapshot();
        let of_day = all.iter().filter_map(|days| days.get(&day_of(hold.start_ms))).flatten();
        of_day.into_iter().find(|s| s.entry.id.0 == hold.id.0).cloned()
    }

    /// Drops the copies of holds that have ended. Nobody can read them any more: what fails now is left to retention.
    pub(super) fn drop_holds(&self, ids: impl IntoIterator<Item = HoldId>) {
        let ids: Vec<FileId> = ids.into_iter().map(|id| FileId(id.0)).collect();
        let all = self.catalog.snapshot();
        let all = all.iter().flat_map(|days| days.values().flatten());
        let gone: Vec<_> = all.filter(|s| ids.contains(&s.entry.id)).cloned().collect();
        if self.drop_segments(&gone).is_err() {
            self.retention_day.store(0, Relaxed);
        }
    }
}
