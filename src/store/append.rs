//! Appending: check, find the session or begin it, compress and seal in the caller's thread, join the group.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::chunk::{Chunk, Session};
use crate::crypto::Nonce;
use crate::error::{Error, InputError, Result};
use crate::format::frame::{Envelope, FrameCiphers, SealedFrame};
use crate::format::identity::{Identity, SealedIdentity};
use crate::format::manifest::{JournalEntry, JournalHead, NO_CUT};
use crate::ids::{FileId, day_of};
use crate::journal::file::{Journal, NewJournal};
use crate::journal::log::{Group, wait};
use crate::journal::table::{FrameRef, Stamp};
use crate::keyring::{Kept, SessionKeys};
use crate::limits::{EVENT_MS_MIN, SESSION_SPAN_MS_MAX};
use crate::planted::{self, Bug};
use crate::seqset::SeqSet;
use crate::sync::MutexGuard;
use crate::zst;

use super::Site;
use super::state::{Inner, Shard, ShardState};

/// When an append returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// When the chunk has been synced: no crash takes it back.
    #[default]
    Synced,
    /// At once. The chunk is synced with the next group of its shard, by [`Store::sync`](crate::Store::sync), or
    /// within about a second by the background thread; until then a crash may take it back, and readers do not see it.
    Deferred,
}

/// What came of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Where the chunk stands; for a duplicate whose original was archived, `None`.
    pub position: Option<Position>,
    /// Bytes written for the chunk: compressed, sealed, with its header. 0 for a duplicate.
    pub stored_bytes: u32,
    /// Whether a chunk with this number was there already, and this one was dropped.
    pub duplicate: bool,
}

/// A place in the journals of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The journal's number; journals are numbered in the order in which they were made.
    pub journal: u64,
    /// The offset of the frame in it, in bytes.
    pub offset: u32,
}

impl From<&FrameRef> for Position {
    fn from(frame: &FrameRef) -> Self {
        Self { journal: frame.journal.head.number, offset: frame.offset }
    }
}

/// Pending bytes of appends that do not wait, at which the appender writes them itself.
const DEFERRED_BYTES_MAX: usize = 4 << 20;

/// In place of the key commitment of a session whose key has not been derived yet.
const NEW: [u8; 32] = [0; 32];

/// The session a chunk belongs to, as far as it is known.
struct Target {
    stamp: Stamp,
    archived: SeqSet,
    keys: Arc<SessionKeys>,
    /// The shard's epoch before anything was looked up, and the keyring's before a key was derived.
    epoch: u64,
    keyring_epoch: u64,
}

impl Site {
    /// Appends a chunk and returns when it is durable.
    ///
    /// # Errors
    /// [`Error::Input`] if the chunk breaks a rule; nothing is written. [`Error::Expired`] if a session that starts at its
    /// time would not be kept. [`Error::DiskFull`] and [`Error::Poisoned`] if it could not be made durable.
    pub fn append(&self, session: &Session, chunk: &Chunk<'_>) -> Result<Appended> {
        self.append_with(session, chunk, Durability::Synced)
    }

    /// Appends a chunk.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn append_with(
        &self,
        session: &Session,
        chunk: &Chunk<'_>,
        durability: Durability,
    ) -> Result<Appended> {
        let inner = &*self.inner;
        inner.check_writable()?;
        let events = chunk.check(inner.env.clock.now_ms())?;
        let mut target = self.target(session, chunk)?;
        if target.archived.contains(chunk.seq as u32) {
            return self.duplicate(None, durability);
        }
        let packed = zst::pack(inner.options.append_level, &chunk.events)
            .map_err(|e| Error::io("compressing a chunk", &inner.dir, e))?;
        loop {
            match self.join(&target, chunk, events, &packed)? {
                Joined::Frame(joined) => {
                    drop(packed);
                    return self.settle(joined, chunk, durability);
                }
                Joined::Duplicate(known) => return self.duplicate(known, durability),
                Joined::Again => target = self.target(session, chunk)?,
            }
        }
    }

    /// The session of a chunk: live, archived, or one that begins with it.
    fn target(&self, session: &Session, chunk: &Chunk<'_>) -> Result<Target> {
        let keyring_epoch = self.inner.keyring.epoch();
        let epoch = self.inner.shard(self.site.handle()).state.lock().epoch;
        let known = self.find_for_append(&session.id, chunk.first_ms, epoch)?;
        let (stamp, archived) = match known {
            Some(known) => known,
            None => (self.new_stamp(session, chunk)?, SeqSet::default()),
        };
        let min = stamp.start_ms.saturating_sub(SESSION_SPAN_MS_MAX).max(EVENT_MS_MIN);
        let max = stamp.start_ms + SESSION_SPAN_MS_MAX;
        for ms in [chunk.first_ms, chunk.last_ms] {
            if !(min..=max).contains(&ms) {
                return Err(InputError::TimeRange { ms, min, max }.into());
            }
        }
        let expiry_day = stamp.expiry_day();
        if expiry_day <= day_of(self.inner.env.clock.now_ms()) {
            return Err(Error::Expired { expiry_day });
        }
        let kept = Kept::Until(expiry_day);
        let keys = self.inner.keyring.session_keys(&self.site, &stamp.tag, kept)?;
        let stamp = self.complete(stamp, &keys, session)?;
        Ok(Target { stamp, archived, keys, epoch, keyring_epoch })
    }

    fn new_stamp(&self, session: &Session, chunk: &Chunk<'_>) -> Result<Stamp> {
        let (tag, attempt) = self.free_tag(&session.id, chunk.first_ms)?;
        Ok(Stamp {
            start_ms: chunk.first_ms,
            tag,
            visitor: self.site.visitor_tag(session.visitor.as_ref()),
            commitment: NEW,
            attempt,
            kind: session.kind,
            retention_days: session.retention_days.unwrap_or(self.site.retention_days()),
            identity: None,
        })
    }

    /// Checks the key commitment of a session that is known, or fills in what needs the key of a new one. A session
    /// whose identity was lost with a damaged frame gets it back.
    fn complete(&self, mut stamp: Stamp, keys: &SessionKeys, session: &Session) -> Result<Stamp> {
        if stamp.commitment != NEW {
            self.check_commitment(keys, &stamp.commitment)?;
        }
        if stamp.identity.is_some() {
            return Ok(stamp);
        }
        let mut nonce = Nonce::default();
        self.inner.fill_random(&mut nonce)?;
        let identity = Identity {
            session: session.id.as_str().into(),
            visitor: session.visitor.as_ref().map(|v| v.as_str().into()),
            attributes: session.attributes.clone(),
        };
        let handle = self.site.handle();
        stamp.commitment = *keys.commitment();
        stamp.identity =
            Some(SealedIdentity::seal(&identity, handle, stamp.tag, keys.cipher(), nonce));
        Ok(stamp)
    }

    /// Seals the chunk for the current journal and joins its group.
    fn join(
        &self,
        target: &Target,
        chunk: &Chunk<'_>,
        events: u32,
        packed: &[u8],
    ) -> Result<Joined<'_>> {
        let inner = &*self.inner;
        let handle = self.site.handle();
        let shard = inner.shard(handle);
        let key = (target.stamp.start_ms, target.stamp.tag);
        let mut envelope = self.envelope(target, chunk, events);
        let bytes_max = SealedFrame::bytes_of(&envelope, packed.len());
        let journal = {
            let state = inner.journal_with_room(shard, bytes_max)?;
            let Some(journal) = state.log.journal().cloned() else { return Ok(Joined::Again) };
            if state.table.get(handle, key).is_some_and(|l| l.is_in(&journal)) {
                // A frame before this one carries it.
                envelope.identity = None;
            }
            journal
        };
        let mut nonce = Nonce::default();
        inner.fill_random(&mut nonce)?;
        if planted::is(Bug::NonceCounted) {
            nonce = [0; _];
            nonce[..8].copy_from_slice(&shard.state.lock().log.counts.frames.to_le_bytes());
        }
        let expiry_day = target.stamp.expiry_day();
        let ciphers = FrameCiphers {
            journal: &journal.cipher,
            envelope: &*inner.keyring.envelope_cipher(&self.site, &journal.id, expiry_day)?,
            session: target.keys.cipher(),
        };
        let frame = SealedFrame::seal(journal.id, handle, &envelope, packed, &ciphers, &nonce);

        let mut state = shard.state.lock();
        state.log.check()?;
        inner.check_writable()?;
        if !self.still_holds(target, &journal, &envelope, &state, frame.len()) {
            return Ok(Joined::Again);
        }
        if let Some(known) = state.table.get(handle, key).and_then(|l| l.has(envelope.seq)) {
            let known = known.clone();
            return Ok(Joined::Duplicate(Some((known, state))));
        }
        let stored_bytes = frame.len() as u32;
        let offset = state.log.tail();
        let frame_ref = FrameRef {
            journal: Arc::clone(&journal),
            offset,
            bytes: stored_bytes,
            seq: envelope.seq,
            first_ms: envelope.first_ms,
            duration_ms: (envelope.last_ms - envelope.first_ms) as u32,
            raw_bytes: envelope.raw_bytes,
            events,
        };
        if !state.table.insert(handle, &envelope, frame_ref, || Some(target.archived.clone())) {
            return Ok(Joined::Duplicate(None));
        }
        let Some((_, group)) = state.log.join(frame) else { return Ok(Joined::Again) };
        let position = Some(Position { journal: journal.head.number, offset });
        let appended = Appended { position, stored_bytes, duplicate: false };
        Ok(Joined::Frame(JoinedFrame { shard, state, group, appended }))
    }

    /// Waits for the group of a frame, if that is wanted.
    fn settle(
        &self,
        joined: JoinedFrame<'_>,
        chunk: &Chunk<'_>,
        durability: Durability,
    ) -> Result<Appended> {
        let JoinedFrame { shard, mut state, group, appended } = joined;
        let full = state.log.pending_bytes() >= DEFERRED_BYTES_MAX;
        if durability == Durability::Deferred {
            state.log.defer();
        }
        if durability == Durability::Synced || full {
            wait(&shard.state, state, &group)?;
        }
        let counters = &self.inner.counters;
        counters.appended.fetch_add(1, Relaxed);
        counters.raw_bytes.fetch_add(chunk.events.len() as u64, Relaxed);
        Ok(appended)
    }

    /// Whether what was sealed may still join: rotation, archiving, closing, or another first chunk of
    /// the session may have come between.
    fn still_holds(
        &self,
        target: &Target,
        journal: &Arc<Journal>,
        envelope: &Envelope,
        state: &ShardState,
        frame_bytes: usize,
    ) -> bool {
        let handle = self.site.handle();
        let (start_ms, tag) = (target.stamp.start_ms, target.stamp.tag);
        let same_journal = state.log.journal().is_some_and(|j| Arc::ptr_eq(j, journal));
        let other_began = state.table.at_place(handle, tag.place()).any(|l| {
            let other = &l.stamp;
            (other.start_ms, other.tag) != (start_ms, tag)
                && (other.tag != tag || other.start_ms.abs_diff(start_ms) <= SESSION_SPAN_MS_MAX)
        });
        let known = state.table.get(handle, (start_ms, tag));
        let identified =
            envelope.identity.is_some() || known.is_some_and(|live| live.is_in(journal));
        state.epoch == target.epoch
            // What takes keys away forgets live sessions under this lock afterwards.
            && self.inner.keyring.epoch() == target.keyring_epoch
            && same_journal
            // A session that is known goes on beside another of the same id.
            && (known.is_some() || !other_began)
            && identified
            && state.log.has_room(frame_bytes, self.inner.options.journal_bytes)
    }

    fn envelope(&self, target: &Target, chunk: &Chunk<'_>, events: u32) -> Envelope {
        let stamp = &target.stamp;
        Envelope {
            tag: stamp.tag,
            visitor: stamp.visitor,
            commitment: stamp.commitment,
            attempt: stamp.attempt,
            kind: stamp.kind,
            identity: stamp.identity.clone(),
            retention_days: stamp.retention_days,
            start_ms: stamp.start_ms,
            seq: chunk.seq as u32,
            first_ms: chunk.first_ms,
            last_ms: chunk.last_ms,
            events,
            raw_bytes: chunk.events.len() as u32,
            snapshots: chunk.snapshots.clone(),
        }
    }

    /// Answers a duplicate: as durable as was asked for, where the chunk stands in a journal.
    fn duplicate(&self, known: Option<Known<'_>>, durability: Durability) -> Result<Appended> {
        self.inner.counters.duplicates.fetch_add(1, Relaxed);
        let position = known.as_ref().map(|(frame, _)| Position::from(frame));
        if durability == Durability::Synced
            && let Some((frame, state)) = known
            && let Some(group) = state.log.group_of(frame.offset).filter(|_| !frame.is_durable())
        {
            wait(&self.inner.shard(self.site.handle()).state, state, &group)?;
        }
        Ok(Appended { position, stored_bytes: 0, duplicate: true })
    }
}

/// A frame that is there already, under the lock of its shard: so that it does not fail unseen.
type Known<'a> = (FrameRef, MutexGuard<'a, ShardState>);

/// What came of sealing a chunk and joining a group with it.
enum Joined<'a> {
    Frame(JoinedFrame<'a>),
    /// It is there already, in this frame or in a segment.
    Duplicate(Option<Known<'a>>),
    /// Something changed between sealing and joining.
    Again,
}

/// A frame that has joined a group, under the lock of its shard.
struct JoinedFrame<'a> {
    shard: &'a Shard,
    state: MutexGuard<'a, ShardState>,
    group: Arc<Group>,
    appended: Appended,
}

impl Inner {
    pub(super) fn fill_random(&self, buf: &mut [u8]) -> Result<()> {
        let random = self.env.random.fill(buf);
        random.map_err(|e| Error::io("drawing a nonce", &self.dir, e))
    }

    /// Locks a shard whose journal has room for a frame of `bytes` bytes, rotating it if need be.
    fn journal_with_room<'a>(
        &self,
        shard: &'a Shard,
        bytes: usize,
    ) -> Result<MutexGuard<'a, ShardState>> {
        let mut state = shard.state.lock();
        loop {
            state.log.check()?;
            self.check_writable()?;
            if state.log.has_room(bytes, self.options.journal_bytes) {
                return Ok(state);
            }
            // An archiver that cannot work, on a full disk say, makes no room: then the append fails by itself.
            let works = self.background && !self.counters.maintenance_failed.load(Relaxed);
            if works && state.backlog_bytes() >= self.options.backlog_bytes {
                self.wake();
                shard.room.wait(&mut state);
                continue;
            }
            state = self.rotate(shard, state)?;
        }
    }

    /// Ends the current journal, once its frames are durable, and goes on in a new one.
    pub(super) fn rotate<'a>(
        &self,
        shard: &'a Shard,
        state: MutexGuard<'a, ShardState>,
    ) -> Result<MutexGuard<'a, ShardState>> {
        let before = state.log.journal().map(|j| j.id);
        let mut state = self.end_journal(shard, state)?;
        if state.log.journal().is_none() {
            let next = match state.standby.take() {
                Some(standby) => standby,
                None => {
                    let recycled = state.recycled.pop();
                    self.new_journal(shard, recycled, self.options.fill_bytes)?
                }
            };
            state.begun_ms = self.env.clock.now_ms();
            state.log.switch(Some(next));
        }
        if before.is_some() {
            self.wake();
        }
        Ok(state)
    }

    /// Ends the current journal, once its frames are durable; the next append begins another. If another thread
    /// does so meanwhile, nothing more is done.
    pub(super) fn end_journal<'a>(
        &self,
        shard: &'a Shard,
        mut state: MutexGuard<'a, ShardState>,
    ) -> Result<MutexGuard<'a, ShardState>> {
        let before = state.log.journal().map(|j| j.id);
        while let Some(group) = state.log.last_group() {
            // Whoever waits for the group gets its error; here only the end of waiting counts.
            let _ = wait(&shard.state, state, &group);
            state = shard.state.lock();
            state.log.check()?;
        }
        if state.log.journal().map(|j| j.id) == before
            && let Some(old) = state.log.switch(None)
        {
            // All frames are durable without the mark; it only lets later rot at the end be seen as such.
            let _ = old.write_end(old.durable());
            state.full.push(old);
        }
        Ok(state)
    }

    /// Makes a journal, and publishes it before any frame goes into it.
    pub(super) fn new_journal(
        &self,
        shard: &Shard,
        recycled: Option<PathBuf>,
        fill_bytes: u32,
    ) -> Result<Arc<Journal>> {
        self.manifest.check_sure()?;
        let id = FileId(self.random_id()?);
        let mut nonce = Nonce::default();
        self.fill_random(&mut nonce)?;
        let number = self.manifest.next_journal_number();
        let head = JournalHead {
            store: self.keyring.store_id(),
            shard: shard.index,
            number,
            created_ms: self.env.clock.now_ms(),
            manifest_generation: self.manifest.generation(),
        };
        let journal = Journal::create(
            &*self.env.disk,
            NewJournal {
                root: &self.dir,
                id,
                head,
                cipher: self.keyring.journal_cipher(&id),
                nonce,
                recycled,
                fill_bytes,
            },
        )?;
        let named = self.manifest.publish(|m| {
            m.next_journal = m.next_journal.max(number + 1);
            m.journals.push(JournalEntry { id, shard: shard.index, number, cut: NO_CUT });
        });
        named.inspect_err(|_| self.manifest.disown([journal.path.clone()]))?;
        Ok(Arc::new(journal))
    }
}
