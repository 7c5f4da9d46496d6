//! Appending: check, find the session or begin it, compress and seal in the caller's thread, join the group.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use parking_lot::MutexGuard;

use crate::chunk::{Chunk, Session};
use crate::crypto::Nonce;
use crate::error::{Error, InputError, Result};
use crate::format::frame::{Envelope, FrameCiphers, Identity, SealedFrame, SealedIdentity};
use crate::format::manifest::{JournalEntry, JournalHead, NO_CUT};
use crate::ids::{FileId, day_of, expiry_day};
use crate::journal::file::{Journal, NewJournal};
use crate::journal::log::wait;
use crate::journal::table::{FrameRef, Stamp};
use crate::keyring::SessionKeys;
use crate::limits::{EVENT_MS_MIN, SESSION_SPAN_MS_MAX};
use crate::seqset::SeqSet;
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

/// The session a chunk belongs to, as far as it is known.
struct Target {
    stamp: Stamp,
    archived: SeqSet,
    keys: Arc<SessionKeys>,
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
            inner.counters.duplicates.fetch_add(1, Relaxed);
            return Ok(Appended { position: None, stored_bytes: 0, duplicate: true });
        }
        zst::with_packed(inner.options.append_level, &chunk.events, |packed| {
            loop {
                match self.join(&target, chunk, events, packed, durability)? {
                    Joined::Done(appended) => return Ok(appended),
                    Joined::Again => target = self.target(session, chunk)?,
                }
            }
        })
        .map_err(|e| Error::io("compressing a chunk", &inner.dir, e))?
    }

    /// The session of a chunk: live, archived, or one that begins with it.
    fn target(&self, session: &Session, chunk: &Chunk<'_>) -> Result<Target> {
        let known = self.find_for_append(&session.id, chunk.first_ms)?;
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
        let expiry_day = expiry_day(stamp.start_ms, stamp.retention_days);
        if expiry_day <= day_of(self.inner.env.clock.now_ms()) {
            return Err(Error::Expired { expiry_day });
        }
        let keys = self.inner.keyring.session_keys(&self.site, &stamp.tag, expiry_day)?;
        let stamp = self.complete(stamp, &keys, session)?;
        Ok(Target { stamp, archived, keys })
    }

    fn new_stamp(&self, session: &Session, chunk: &Chunk<'_>) -> Result<Stamp> {
        let (tag, attempt) = self.free_tag(&session.id, chunk.first_ms)?;
        Ok(Stamp {
            start_ms: chunk.first_ms,
            tag,
            visitor: self.site.visitor_tag(session.visitor.as_ref()),
            commitment: [0; 32],
            attempt,
            kind: session.kind,
            retention_days: session.retention_days.unwrap_or(self.site.retention_days()),
            identity: None,
        })
    }

    /// Checks the key commitment of a session that is known, or fills in what needs the key of a new one.
    fn complete(&self, mut stamp: Stamp, keys: &SessionKeys, session: &Session) -> Result<Stamp> {
        if stamp.identity.is_some() {
            self.check_commitment(keys, &stamp.commitment)?;
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
        durability: Durability,
    ) -> Result<Joined> {
        let inner = &*self.inner;
        let handle = self.site.handle();
        let shard = inner.shard(handle);
        let key = (target.stamp.start_ms, target.stamp.tag);
        let (journal, carries_identity) = {
            let state = inner.journal_with_room(shard, packed.len() + 512)?;
            let Some(journal) = state.log.journal().cloned() else { return Ok(Joined::Again) };
            let in_journal = state.table.get(handle, key).is_some_and(|l| l.is_in(&journal));
            (journal, !in_journal)
        };
        let envelope = self.envelope(target, chunk, events, carries_identity);
        let mut nonce = Nonce::default();
        inner.fill_random(&mut nonce)?;
        let ciphers = FrameCiphers {
            journal: &journal.cipher,
            envelope: self.site.envelope(),
            session: target.keys.cipher(),
        };
        let frame = SealedFrame::seal(journal.id, handle, &envelope, packed, &ciphers, &nonce);

        let mut state = shard.state.lock();
        state.log.check()?;
        // Closing, rotation or another first chunk of the session may have come between.
        inner.check_writable()?;
        let same_journal = state.log.journal().is_some_and(|j| Arc::ptr_eq(j, &journal));
        let live = state.table.at_place(handle, key.1.place());
        let same_session = live.is_none_or(|l| {
            let apart = l.stamp.start_ms.abs_diff(key.0) > SESSION_SPAN_MS_MAX;
            (l.stamp.start_ms, l.stamp.tag) == key || (l.stamp.tag == key.1 && apart)
        });
        let identified = carries_identity || live.is_some_and(|l| l.is_in(&journal));
        let room = state.log.has_room(frame.len(), inner.options.journal_bytes);
        if !(same_journal && same_session && identified && room) {
            return Ok(Joined::Again);
        }
        if let Some(known) = state.table.get(handle, key).and_then(|l| l.has(envelope.seq)) {
            let known = known.clone();
            return self.duplicate(shard, state, &known, durability);
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
            inner.counters.duplicates.fetch_add(1, Relaxed);
            let duplicate = Appended { position: None, stored_bytes: 0, duplicate: true };
            return Ok(Joined::Done(duplicate));
        }
        let Some((_, group)) = state.log.join(frame) else { return Ok(Joined::Again) };
        match durability {
            Durability::Synced => wait(&shard.state, state, &group)?,
            Durability::Deferred if state.log.pending_bytes() >= DEFERRED_BYTES_MAX => {
                wait(&shard.state, state, &group)?;
            }
            Durability::Deferred => drop(state),
        }
        inner.counters.appended.fetch_add(1, Relaxed);
        inner.counters.raw_bytes.fetch_add(chunk.events.len() as u64, Relaxed);
        let position = Some(Position { journal: journal.head.number, offset });
        Ok(Joined::Done(Appended { position, stored_bytes, duplicate: false }))
    }

    fn envelope(
        &self,
        target: &Target,
        chunk: &Chunk<'_>,
        events: u32,
        carries_identity: bool,
    ) -> Envelope {
        let stamp = &target.stamp;
        Envelope {
            tag: stamp.tag,
            visitor: stamp.visitor,
            commitment: stamp.commitment,
            attempt: stamp.attempt,
            kind: stamp.kind,
            identity: stamp.identity.clone().filter(|_| carries_identity),
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

    /// Answers a duplicate of a chunk in a journal: as durable as was asked for.
    fn duplicate(
        &self,
        shard: &Shard,
        state: MutexGuard<'_, ShardState>,
        known: &FrameRef,
        durability: Durability,
    ) -> Result<Joined> {
        self.inner.counters.duplicates.fetch_add(1, Relaxed);
        if durability == Durability::Synced
            && let Some(group) = state.log.group_of(known.offset).filter(|_| !known.is_durable())
        {
            wait(&shard.state, state, &group)?;
        }
        let position = Some(Position::from(known));
        Ok(Joined::Done(Appended { position, stored_bytes: 0, duplicate: true }))
    }
}

enum Joined {
    Done(Appended),
    /// Something changed between sealing and joining.
    Again,
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
            if self.wake.is_some() && state.backlog_bytes() >= self.options.backlog_bytes {
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
                    self.new_journal(shard, recycled)?
                }
            };
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
            state.full.push(old);
        }
        Ok(state)
    }

    /// Makes a journal, and publishes it before any frame goes into it.
    pub(super) fn new_journal(
        &self,
        shard: &Shard,
        recycled: Option<PathBuf>,
    ) -> Result<Arc<Journal>> {
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
                fill_bytes: self.options.fill_bytes,
            },
        )?;
        self.manifest.publish(|m| {
            m.next_journal = m.next_journal.max(number + 1);
            m.journals.push(JournalEntry { id, shard: shard.index, number, cut: NO_CUT });
        })?;
        Ok(Arc::new(journal))
    }
}
