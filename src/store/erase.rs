//! Erasing sessions, visitors and sites: their leaves leave the keyring, and with them everything sealed under them, in the store
//! and in every copy of it.

use std::collections::{BTreeSet, HashSet};

use crate::error::{Damage, Error, Result};
use crate::format::frame::FRAMES_FROM;
use crate::ids::{SessionId, SessionTag, SiteHandle, SiteId, VisitorId};
use crate::journal::file::journal_name;
use crate::limits::ERASED_SESSIONS_MAX;
use crate::retention::record::{Certificate, Deed};

use super::find::ATTEMPTS_MAX;
use super::state::Inner;
use super::{Query, Site, Store};

/// Whether sessions that are held may be erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Held {
    /// If one of them is held, nothing is erased, and [`Error::Held`] says so.
    #[default]
    Refuse,
    /// Their holds end, and they are erased.
    Erase,
}

/// What came of an erasure.
#[derive(Debug)]
pub struct Erasure {
    /// What was erased, and its proof; `None` if there was nothing to erase.
    pub certificate: Option<Certificate>,
    /// Sessions that were erased.
    pub sessions: usize,
    /// Sessions named that had been erased before.
    pub already: usize,
    /// Sessions named that this site does not hold.
    pub unknown: Vec<SessionId>,
    /// Damage that was met on the way: where an index cannot be read, or [salvage](crate::Recovery::Salvage) passed over frames of a
    /// journal, sessions of a visitor may be missed. Repeat the erasure once it is mended. Sessions that were named by their ids
    /// are erased all the same.
    pub damage: Vec<Error>,
}

/// Which sessions of a site are to go.
#[derive(Default)]
struct Found {
    tags: BTreeSet<SessionTag>,
    already: usize,
    unknown: Vec<SessionId>,
    damage: Vec<Error>,
}

impl Site {
    /// Erases sessions: when this returns, nobody can read them any more, in this store or in any copy of it, and
    /// appends to them are refused for ever. All of them are one generation of the keyring.
    ///
    /// A session that is being recorded is erased with what has arrived. An append that is under way ends before the
    /// erasure or is refused.
    ///
    /// # Errors
    /// [`Error::Held`] if one is held and `held` refuses; [`crate::InputError::Option`] for more than
    /// [`ERASED_SESSIONS_MAX`] sessions; what the key provider and the disk answer: then nothing is erased, unless the process ends
    /// while a mirror of the keyring that has the erasure cannot be put back: then it may be found when the store is opened again.
    pub fn erase_sessions(
        &self,
        ids: impl IntoIterator<Item = SessionId>,
        held: Held,
    ) -> Result<Erasure> {
        self.check_erasable()?;
        // Nothing is put on hold, expires or is written again meanwhile.
        let _expiring = self.inner.expiring.lock();
        let mut found = Found { damage: self.passed_over(), ..Found::default() };
        // What salvage passed over may be of any of them, and in a backup it may be whole.
        let may_be_any = !found.damage.is_empty();
        let mut seen = HashSet::new();
        for id in ids.into_iter().filter(|id| seen.insert(id.clone())) {
            self.tags_of(id, may_be_any, &mut found)?;
        }
        let site = self.site.handle();
        self.erase(found, held, |sessions| Deed::ErasedSessions { site, sessions })
    }

    /// Erases all sessions of a visitor that this site holds. Sessions of the same visitor that begin later are new ones.
    ///
    /// # Errors
    /// As [`erase_sessions`](Self::erase_sessions).
    pub fn erase_visitor(&self, visitor: &VisitorId, held: Held) -> Result<Erasure> {
        self.check_erasable()?;
        let _expiring = self.inner.expiring.lock();
        let mut found = Found { damage: self.passed_over(), ..Found::default() };
        let tag = self.site.visitor_tag(Some(visitor));
        // Those whose first chunk is not durable yet are not listed.
        {
            let state = self.inner.shard(self.site.handle()).state.lock();
            let of_site = state.table.range(self.site.handle(), ..);
            let theirs = of_site.filter(|live| live.stamp.visitor == tag);
            found.tags.extend(theirs.map(|live| live.stamp.tag));
        }
        let mut query = Query::new().visitor(visitor.clone()).limit(usize::MAX);
        loop {
            let page = self.sessions(&query)?;
            found.tags.extend(page.sessions.iter().map(|info| info.tag));
            found.damage.extend(page.damage);
            match page.next {
                Some(cursor) => query = query.after(cursor),
                None => break,
            }
        }
        for hold in self.inner.keyring.holds_of(&self.site.handle()) {
            if hold.visitor == tag {
                found.tags.insert(hold.tag);
            }
        }
        found.tags.retain(|tag| !self.site.is_erased(tag));
        let site = self.site.handle();
        let deed = |sessions| Deed::ErasedVisitor { site, visitor: tag, sessions };
        self.erase(found, held, deed)
    }

    fn check_erasable(&self) -> Result<()> {
        self.inner.check_writable()?;
        if self.site.is_gone() { Err(Error::Erased) } else { Ok(()) }
    }

    /// Damage of the journals of this site's shard, around which salvage read.
    fn passed_over(&self) -> Vec<Error> {
        let state = self.inner.shard(self.site.handle()).state.lock();
        let told =
            |id| Error::corrupt(&journal_name(id), FRAMES_FROM.into(), Damage::BeforeValidFrames);
        state.salvaged.iter().map(|id| told(*id)).collect()
    }

    /// The tags under which a session of this id is held, also where it is not durable yet, or where there may be one that nothing shows.
    fn tags_of(&self, id: SessionId, may_be_any: bool, found: &mut Found) -> Result<()> {
        let handle = self.site.handle();
        let (before, damage) = (found.tags.len(), found.damage.len());
        for attempt in 0..ATTEMPTS_MAX {
            let tag = self.site.session_tag(&id, attempt);
            if self.site.is_erased(&tag) {
                found.already += 1;
                return Ok(());
            }
            let live: Vec<SessionTag> = {
                let state = self.inner.shard(handle).state.lock();
                state.table.at_place(handle, tag.place()).map(|l| l.stamp.tag).collect()
            };
            let archived = self.archived_tags(tag, &mut found.damage)?;
            let held = self.inner.keyring.holds_of(&handle);
            let there: Vec<SessionTag> =
                live.into_iter().chain(archived).chain(held.iter().map(|h| h.tag)).collect();
            // Where an index can't be read it may be there all the same. Its place in the tree follows from its id, so that is
            // taken out, at worst of a session that never was.
            if there.contains(&tag) || may_be_any || found.damage.len() > damage {
                found.tags.insert(tag);
            }
            if !there.iter().any(|t| t.place() == tag.place() && *t != tag) {
                break;
            }
        }
        if found.tags.len() == before && id.lost_tag().is_none_or(|tag| !found.tags.insert(tag)) {
            found.unknown.push(id);
        }
        Ok(())
    }

    fn erase(
        &self,
        found: Found,
        held: Held,
        deed: impl Fn(Vec<SessionTag>) -> Deed,
    ) -> Result<Erasure> {
        let Found { tags, already, unknown, damage } = found;
        let mut erasure =
            Erasure { certificate: None, sessions: tags.len(), already, unknown, damage };
        if tags.is_empty() {
            return Ok(erasure);
        }
        if tags.len() > ERASED_SESSIONS_MAX {
            let why = "at most 131,072 in one erasure";
            return Err(crate::InputError::Option { name: "sessions", why }.into());
        }
        let site = self.site.handle();
        let holds: Vec<_> = self.inner.keyring.holds_of(&site);
        let holds: Vec<_> = holds.iter().filter(|h| tags.contains(&h.tag)).collect();
        if held == Held::Refuse && !holds.is_empty() {
            return Err(Error::Held { sessions: holds.len() });
        }
        let sessions: Vec<SessionTag> = tags.iter().copied().collect();
        let places: Vec<u64> = sessions.iter().map(SessionTag::place).collect();
        let ((), certificate) = self.inner.commit(|next| {
            next.puncture(&site, &places);
            for hold in &holds {
                next.remove_hold(&hold.id);
            }
            Ok(((), deed(sessions.clone())))
        })?;
        self.inner.erased_at.lock().insert(site, 0);
        self.inner.forget_live(site, |tag| tags.contains(tag));
        self.inner.drop_holds(holds.iter().map(|h| h.id));
        erasure.certificate = Some(certificate);
        Ok(erasure)
    }
}

impl Store {
    /// Erases a site with all that belongs to it: its name, its keys, its sessions, here and in every copy. The name may
    /// be added again, as another site.
    ///
    /// # Errors
    /// [`Error::UnknownSite`], [`Error::Held`] if a session of it is held and `held` refuses; what the key provider and the disk
    /// answer: then nothing is erased, with the exception told at [`Site::erase_sessions`].
    pub fn erase_site(&self, id: &SiteId, held: Held) -> Result<Certificate> {
        self.inner.check_writable()?;
        let site = self.site(id)?;
        let _expiring = self.inner.expiring.lock();
        let handle = site.site.handle();
        let holds = self.inner.keyring.holds_of(&handle);
        if held == Held::Refuse && !holds.is_empty() {
            return Err(Error::Held { sessions: holds.len() });
        }
        let ((), certificate) = self.inner.commit(|next| {
            next.remove_site(&handle);
            Ok(((), Deed::ErasedSite { site: handle }))
        })?;
        self.inner.erased_at.lock().insert(handle, 0);
        self.inner.forget_live(handle, |_| true);
        self.inner.drop_holds(holds.iter().map(|h| h.id));
        Ok(certificate)
    }
}

impl Inner {
    /// Forgets the live sessions of a site for whose tags `gone` holds. Appends that derived their keys before see
    /// it under the same lock.
    pub(super) fn forget_live(&self, site: SiteHandle, gone: impl Fn(&SessionTag) -> bool) {
        let mut state = self.shard(site).state.lock();
        state.epoch += 1;
        state.table.remove_sessions(site, |stamp| gone(&stamp.tag));
    }
}
