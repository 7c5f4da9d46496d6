//! Changes: the next generation, made as a copy, published, and only then put in the place of the live one.

use std::sync::Arc;

use super::hold::Hold;
use super::mirror::{Mirror, MirrorAt};
use super::mirrors;
use super::publish::{destroy_older, publish, remove_leftovers};
use super::site::{Record, Site};
use super::state::{LogHead, State};
use super::status::Published;
use super::tree::{SITE_DEPTH, Tree};
use super::{EXPIRY_DAY_MAX, Keyring, Stray, Writer, draw, refuse};
use crate::crypto::{Key, Suite};
use crate::env::Random;
use crate::error::{Damage, Error, Result};
use crate::ids::{HoldId, SiteHandle, SiteId, check_retention};
use crate::limits::{HOLD_REASON_BYTES_MAX, SITES_MAX};
use crate::planted::{self, Bug};

/// The longest pause between two attempts at putting the live generation over one that stands in a mirror, counted in passes of maintenance: about
/// a minute. Where it only may come to stand in one, or versions of the provider's key are to be spared, pauses go on growing.
const ASKED_MAX: u32 = 64;

/// Once so many versions of the provider's key were spent on attempts at changes that failed, others become rare: none of them is destroyed before a
/// change has succeeded, and with none left to make none ever can.
const VERSIONS_SPENT_MAX: usize = 256;
/// So they do with fewer left than these: stores that share a key file share its 1,024.
const VERSIONS_LEFT_MIN: usize = 512;

/// The generation that is being made. Nothing of it counts before it is published.
pub(crate) struct Next<'a> {
    pub(super) state: State,
    before: u64,
    random: &'a dyn Random,
    /// Whether it lacks a key that the live one has.
    takes_away: bool,
}

impl Next<'_> {
    /// The number of the generation being made.
    pub(crate) fn generation(&self) -> u64 {
        self.state.generation
    }

    /// The number of the generation that is live.
    pub(crate) fn before(&self) -> u64 {
        self.before
    }

    /// Removes sessions' places from a site's tree, all at once; how many of them were there. A site that is gone has
    /// none. Holds are not touched: each goes by [`Self::remove_hold`].
    pub(crate) fn puncture(&mut self, site: &SiteHandle, places: &[u64]) -> usize {
        if planted::is(Bug::ErasureUnwritten) {
            return places.len();
        }
        let removed = self.state.puncture(site, places);
        self.takes_away |= removed > 0;
        removed
    }

    /// Removes a site with its tree, its key and its holds, and remembers that its id was erased; false if it is not there.
    pub(crate) fn remove_site(&mut self, handle: &SiteHandle) -> bool {
        let Some(site) = self.state.remove(handle) else { return false };
        let hash = self.state.erased_hash(site.id());
        Arc::make_mut(&mut self.state.erased).insert(hash);
        Arc::make_mut(&mut self.state.holds).retain(|_, hold| hold.site != *handle);
        self.takes_away = true;
        true
    }

    /// Removes the leaves of all expiry days up to this one.
    pub(crate) fn expire_through(&mut self, day: u32) {
        let day = day.min(EXPIRY_DAY_MAX);
        if day >= self.state.first_day {
            self.state.time.puncture_through(day.into());
            self.state.first_day = day + 1;
            self.takes_away = true;
        }
    }

    /// Adds a hold.
    ///
    /// # Errors
    /// [`crate::InputError::Option`] if its reason is too long or its id taken.
    pub(crate) fn add_hold(&mut self, hold: Arc<Hold>) -> Result<()> {
        if hold.reason.len() > HOLD_REASON_BYTES_MAX {
            return refuse("reason", "at most 1,024 bytes");
        }
        if self.state.holds.contains_key(&hold.id) {
            return refuse("hold", "an id of its own");
        }
        Arc::make_mut(&mut self.state.holds).insert(hold.id, hold);
        Ok(())
    }

    /// Removes a hold and its key; what it was, if it was there.
    pub(crate) fn remove_hold(&mut self, id: &HoldId) -> Option<Arc<Hold>> {
        let hold = Arc::make_mut(&mut self.state.holds).remove(id)?;
        self.takes_away = true;
        Some(hold)
    }

    /// The cipher suite for new data; what is there keeps its own.
    pub(crate) fn set_suite(&mut self, suite: Suite) {
        self.state.suite = suite as u8;
        // Ciphers that were made for the old one are remembered no longer.
        self.takes_away = true;
    }

    /// Adds a site. The id of one that was erased can be used again: it is another site.
    ///
    /// # Errors
    /// [`Error::SiteExists`], [`crate::InputError::RetentionClass`], [`crate::InputError::Option`] at the limit of sites.
    pub(crate) fn add_site(
        &mut self,
        id: SiteId,
        retention_days: u32,
        now_ms: u64,
    ) -> Result<Arc<Site>> {
        check_retention(retention_days)?;
        if self.state.site(&id).is_some() {
            return Err(Error::SiteExists(id));
        }
        if self.state.sites.len() >= SITES_MAX {
            return refuse("sites", "at most 1,048,576");
        }
        let hash = self.state.erased_hash(&id);
        if self.state.erased.contains(&hash) {
            Arc::make_mut(&mut self.state.erased).remove(&hash);
        }
        let mut handle = SiteHandle(draw(self.random)?);
        while self.state.is_taken(&handle) {
            handle = SiteHandle(draw(self.random)?);
        }
        let key = Key::take(&mut draw(self.random)?);
        let tree = Tree::new(SITE_DEPTH, Key::take(&mut draw(self.random)?));
        let site = Site::new(id, handle, now_ms, retention_days, key, tree.clone());
        let site = Arc::new(site);
        self.state.insert(Record::new(Arc::clone(&site), tree));
        Ok(site)
    }

    /// Puts a record at the end of the log of deletions, with the digest of its statement. The keyring keeps it until the
    /// next one.
    pub(crate) fn record(&mut self, record: &[u8], digest: [u8; 32]) {
        self.state.log = self.state.log.after(record, digest);
    }

    /// Where the log of deletions ends, what was recorded in this generation included.
    pub(crate) fn log_head(&self) -> LogHead {
        self.state.log.clone()
    }
}

impl Keyring {
    /// Makes a generation: `edit` changes a copy of the live one, which is then sealed under a fresh version of the
    /// provider's key and written to every mirror. It counts from then on, in this process too: those who hold a site have its
    /// new tree, and what was derived before is forgotten. Then the older versions of the provider's key are destroyed; what
    /// came of that is told, and does not undo the change.
    ///
    /// Changes are made one at a time; `edit` must not begin another. If it fails, nothing was changed.
    ///
    /// After an error of the disk or the provider the change does not count in this process. If a mirror has it all the same, the live
    /// generation is published again, now or by [`Self::supersede`]; should the process end before that, the next open finds the change.
    ///
    /// # Errors
    /// [`Error::ReadOnly`]; [`Error::Locked`] if another process changed the keyring; what `edit`, the provider and
    /// the disk answer.
    pub(crate) fn change<T>(
        &self,
        edit: impl FnOnce(&mut Next<'_>) -> Result<T>,
    ) -> Result<(T, Published)> {
        self.change_as(&mut self.writer.lock(), edit)
    }

    fn change_as<T>(
        &self,
        writer: &mut Writer,
        edit: impl FnOnce(&mut Next<'_>) -> Result<T>,
    ) -> Result<(T, Published)> {
        if self.read_only {
            return Err(Error::ReadOnly);
        }
        let tried = writer.tried;
        let made = self.make(writer, edit);
        if made.is_err() && writer.tried > tried && writer.stray == Stray::There {
            // What fails now is tried again by `supersede`.
            let _ = self.make(writer, |_| Ok(()));
        }
        made
    }

    /// Publishes the live generation again, under a new number, if one whose change was answered with an error may stand in a mirror, or come to
    /// stand there: the next open would take that for the newest, and what was recorded meanwhile may need keys that it lacks. Whether it did.
    pub(crate) fn supersede(&self) -> bool {
        // Maintenance does not wait for a change that is under way: that one takes the place of what is there.
        let Some(mut writer) = self.writer.try_lock() else { return false };
        if self.read_only || writer.stray == Stray::Nowhere {
            return false;
        }
        // After longer and longer pauses: a bucket may be out of reach, and takes long to say so.
        writer.asked = writer.asked.saturating_add(1);
        let again_and_again = writer.stray == Stray::There && writer.asked % ASKED_MAX == 0;
        let is_due = writer.asked.is_power_of_two() || (again_and_again && !self.spares(&writer));
        if !is_due {
            return false;
        }
        // Each attempt takes a version of the provider's key, of which there may not be many: none before it can succeed. Where no mirror has
        // such a generation, a bucket may come to it still: a request that was given up is on its way somewhere.
        let is_away = |mirror| matches!(mirrors::read_copy(mirror), Err(Error::Io { .. }));
        if writer.mirrors.iter().any(is_away) {
            return false;
        }
        self.make(&mut writer, |_| Ok(())).is_ok()
    }

    /// Puts the live generation over one that may stand in a mirror, now. Whether there was one.
    ///
    /// # Errors
    /// As [`Self::change`].
    pub(crate) fn put_back(&self) -> Result<bool> {
        let mut writer = self.writer.lock();
        let has_stray = writer.stray != Stray::Nowhere;
        if has_stray {
            self.make(&mut writer, |_| Ok(()))?;
        }
        Ok(has_stray)
    }

    /// Whether the copy of a hold is needed: it is known, or of a change that failed and that the next open may find in a mirror.
    pub(crate) fn needs_copy(&self, hold: &HoldId) -> bool {
        self.hold(hold).is_some() || self.writer.lock().stray_holds.contains(hold)
    }

    /// Whether so many versions of the provider's key were spent, or so few are left, that attempts at changes are to be rare.
    pub(crate) fn spares_versions(&self) -> bool {
        self.spares(&self.writer.lock())
    }

    fn spares(&self, writer: &Writer) -> bool {
        let failed = |version: &u32| *version > writer.sealed.version;
        let alive = self.provider.versions(&writer.sealed.store).unwrap_or_default();
        alive.into_iter().filter(failed).count() > VERSIONS_SPENT_MAX
            || self.provider.versions_left().is_some_and(|left| left < VERSIONS_LEFT_MIN)
    }

    /// One attempt at a change.
    fn make<T>(
        &self,
        writer: &mut Writer,
        edit: impl FnOnce(&mut Next<'_>) -> Result<T>,
    ) -> Result<(T, Published)> {
        let before = self.generation();
        // A generation whose writing failed may stand in a mirror, so its number is not used again.
        let last = || Error::corrupt("keyring", 0, Damage::Malformed("generation: the last one"));
        let number = writer.tried.checked_add(1).ok_or_else(last)?;
        let state = self.live.read().next(number);
        let mut next = Next { state, before, random: &*self.env.random, takes_away: false };
        let made = edit(&mut next)?;
        // The lock of the store keeps other writers out; this finds those that went around it.
        if mirrors::newest_in_reach(&writer.mirrors)? > writer.tried {
            return Err(Error::Locked { pid: None });
        }
        let after = next.generation();
        publish(self, writer, &next.state)?;
        self.adopt(next.state, next.takes_away);
        let destroyed = destroy_older(&*self.provider, writer);
        remove_leftovers(writer);
        Ok((made, Published { before, after, destroyed }))
    }

    /// Adds a site with its default retention class in days. See [`Self::add_sites`].
    pub(crate) fn add_site(
        &self,
        id: SiteId,
        retention_days: u32,
        now_ms: u64,
    ) -> Result<Arc<Site>> {
        let mut sites = self.add_sites(vec![(id, retention_days)], now_ms)?;
        sites.pop().ok_or(Error::Closed)
    }

    /// Adds sites with their default retention classes in days, all in one generation.
    ///
    /// # Errors
    /// [`Error::SiteExists`], [`crate::InputError::RetentionClass`], [`crate::InputError::Option`] at the limit of sites; and as
    /// [`Self::change`].
    pub(crate) fn add_sites(
        &self,
        sites: Vec<(SiteId, u32)>,
        now_ms: u64,
    ) -> Result<Vec<Arc<Site>>> {
        if self.read_only {
            return Err(Error::ReadOnly);
        }
        if sites.is_empty() {
            return Ok(Vec::new());
        }
        let add = |next: &mut Next<'_>| {
            sites.into_iter().map(|(id, days)| next.add_site(id, days, now_ms)).collect()
        };
        self.change(add).map(|(added, _)| added)
    }

    /// Adds a mirror for as long as the keyring is open, by publishing a generation to all of them; later opens must name
    /// it. There must be nothing at its path.
    ///
    /// # Errors
    /// [`Error::Exists`]; [`crate::InputError::Option`] if it is a mirror already; and as [`Self::change`].
    pub(crate) fn add_mirror(&self, at: impl Into<MirrorAt>) -> Result<Published> {
        let mut writer = self.writer.lock();
        let mirror = Mirror::new(&self.env, at.into());
        if writer.mirrors.iter().any(|other| other.path() == mirror.path()) {
            return refuse("mirror", "it is one already");
        }
        if mirror.exists()? {
            return Err(Error::Exists(mirror.path().to_owned()));
        }
        writer.mirrors.push(mirror.clone());
        let published = self.change_as(&mut writer, |_| Ok(()));
        if published.is_err() {
            writer.mirrors.pop();
            // Left there, it would be in the way of the next attempt.
            mirror.remove();
            for id in self.live.read().parts() {
                let _ = mirror.remove_part(id);
            }
        }
        published.map(|((), published)| published)
    }
}
