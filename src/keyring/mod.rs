//! Keys: the live keyring, from which every other key is derived.
//!
//! Beside it stand the puncturable [`tree`], the [`pieces`] in which trees and sites are shared among generations and the [`part`]s
//! that these are on disk, the [`mod@file`] that names them, the [`mirrors`], [`change`] and how a generation is
//! [published](publish), and the key providers. Nothing here knows what is sealed with the keys.

mod change;
mod coding;
mod derive;
mod file;
#[cfg(feature = "sim")]
pub(crate) mod fuzzing;
mod hold;
mod index;
mod key_file;
mod mirror;
mod mirrors;
mod part;
mod passphrase;
mod pieces;
mod place;
mod provider;
mod publish;
mod session;
mod shape;
mod site;
mod slots;
mod state;
mod status;
mod tree;
mod walk;

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

pub(crate) use change::Next;
pub(crate) use derive::Kept;
pub(crate) use hold::Hold;
pub use key_file::KeyFile;
pub(crate) use mirror::{MirrorAt, make_dir, settle_above};
pub use passphrase::{
    ARGON2_LANES_MAX, ARGON2_MEMORY_KIB_MAX, ARGON2_PASSES_MAX, Argon2Cost, Passphrase,
};
pub(crate) use pieces::PART_BYTES;
pub use provider::{DataKey, Destruction, KeyProvider, ProviderKind};
pub(crate) use session::SessionKeys;
pub(crate) use site::Site;
pub(crate) use state::LogHead;
pub use status::{KeyStatus, MirrorState, MirrorStatus, Published, VersionEnd};

use crate::crypto::Key;
use crate::env::{Env, Random};
use crate::error::{Damage, Error, InputError, Result};
use crate::ids::{FileId, HoldId, SessionTag, SiteHandle, SiteId, StoreId};
use crate::sync::atomic::{AtomicU64, Ordering::SeqCst};
use crate::sync::{Mutex, RwLock};
use coding::Before;
use mirror::Mirror;
use mirrors::{Look, Sealed, Seen};
use session::Cache;
use state::State;
use tree::{SITE_DEPTH, TIME_DEPTH, Tree};

/// Last expiry day that the time tree has a leaf for.
pub(crate) const EXPIRY_DAY_MAX: u32 = (1 << TIME_DEPTH) - 1;

/// The keys of a store, in memory and in all mirrors.
///
/// Safe to share among threads. Changes are made one at a time; each is a new generation, written to every mirror
/// before it counts in memory.
pub(crate) struct Keyring {
    env: Env,
    provider: Arc<dyn KeyProvider>,
    read_only: bool,
    live: RwLock<State>,
    writer: Mutex<Writer>,
    /// Raised whenever keys were taken away.
    epoch: AtomicU64,
    cache: Cache,
}

/// What is held by whoever makes the next generation.
struct Writer {
    mirrors: Vec<Mirror>,
    /// The newest generation that was written or tried. One whose writing failed may stand in a mirror.
    tried: u64,
    /// How the live generation is sealed.
    sealed: Sealed,
    /// Copies of other generations that were seen, to prove that they do not open any more.
    older: Vec<Sealed>,
    /// Versions of the provider's key that it could not destroy.
    alive: BTreeSet<u32>,
    /// What became of older versions when the keyring was opened.
    ended: Vec<VersionEnd>,
    /// Parts that the live generation does not name.
    leftovers: BTreeSet<FileId>,
    /// Bytes of the live generation without its parts.
    state_bytes: u64,
    /// Where a generation may stand whose change was answered with an error.
    stray: Stray,
    /// The holds that it may know and the live one does not.
    stray_holds: HashSet<HoldId>,
    /// How often it was asked since to put the live generation over it.
    asked: u32,
    /// When a reader looks into buckets again, on the monotonic clock in nanoseconds, and the pause before.
    far_again_ns: u64,
    far_pause_ns: u64,
}

/// Where a generation may stand that was tried and does not count here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stray {
    /// In no mirror.
    Nowhere,
    /// In one that did not say whether it took it.
    Perhaps,
    /// In one at least.
    There,
}

/// How long a look into buckets may take before it is made rarely, where files tell as well: a second, as that is how often it is looked.
const FAR_LOOK_MAX_NS: u64 = 1_000_000_000;
/// The pauses after slow looks into buckets: a minute, and twice as long each time, up to an hour.
const FAR_PAUSE_MIN_NS: u64 = 60_000_000_000;
const FAR_PAUSE_MAX_NS: u64 = 3_600_000_000_000;

/// How often a reader starts again because the writer went on to the next generation meanwhile.
const READ_ATTEMPTS: u32 = 32;

/// Random bytes, fit for keys, ids and nonces.
pub(crate) fn draw<const N: usize>(random: &dyn Random) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    random.fill(&mut bytes).map_err(|e| Error::io("draw random bytes", "of the system", e))?;
    Ok(bytes)
}

fn refuse<T>(name: &'static str, why: &'static str) -> Result<T> {
    Err(InputError::Option { name, why }.into())
}

fn check_mirrors(mirrors: &[Mirror]) -> Result<()> {
    if mirrors.is_empty() {
        return refuse("mirrors", "at least one, and better two");
    }
    if mirrors.iter().map(Mirror::path).collect::<HashSet<_>>().len() < mirrors.len() {
        return refuse("mirrors", "each at a path of its own");
    }
    Ok(())
}

impl Keyring {
    /// The generation in which a keyring is made; every change is another one.
    pub(crate) const FIRST_GENERATION: u64 = 1;

    /// Removes what is left of a keyring of this store that has never had a site.
    ///
    /// # Errors
    /// [`Error::Exists`] if a mirror holds anything else, and then nothing is removed.
    pub(crate) fn discard(
        env: &Env,
        mirrors: &[impl Clone + Into<MirrorAt>],
        store: StoreId,
    ) -> Result<()> {
        let mirrors = at(env, mirrors);
        for mirror in &mirrors {
            let copy = mirrors::read_copy(mirror)?.map(|copy| copy.sealed());
            let is_unused =
                |copy: &Sealed| copy.store == store && copy.generation == Self::FIRST_GENERATION;
            if !copy.as_ref().is_none_or(is_unused) {
                return Err(Error::Exists(mirror.path().to_owned()));
            }
        }
        mirrors.iter().for_each(Mirror::remove);
        Ok(())
    }

    /// Makes the directories of mirrors in which there is nothing yet, and makes sure that it stays so: a keyring that was removed must not
    /// come back with a power cut.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub(crate) fn make_room(env: &Env, mirrors: &[impl Clone + Into<MirrorAt>]) -> Result<()> {
        let mirrors = at(env, mirrors);
        check_mirrors(&mirrors)?;
        for mirror in &mirrors {
            if mirror.exists()? {
                return Err(Error::Exists(mirror.path().to_owned()));
            }
            mirror.make_dir()?;
            mirror.settle_dir()?;
            mirror.sync()?;
        }
        Ok(())
    }

    /// Makes the keyring of a new store, in mirrors for which [room](Self::make_room) was made. Its pieces are split at `part_bytes`.
    ///
    /// # Errors
    /// [`Error::Exists`] if there is anything at the path of a mirror; [`InputError::Option`] if no mirrors are
    /// named, or one twice; what the provider and the disk answer.
    pub(crate) fn create(
        env: &Env,
        mirrors: &[impl Clone + Into<MirrorAt>],
        provider: Arc<dyn KeyProvider>,
        part_bytes: usize,
        store: StoreId,
    ) -> Result<Self> {
        let mirrors = at(env, mirrors);
        check_mirrors(&mirrors)?;
        for mirror in &mirrors {
            if mirror.exists()? {
                return Err(Error::Exists(mirror.path().to_owned()));
            }
        }
        let fresh = || Ok::<_, Error>(Key::take(&mut draw(&*env.random)?));
        let state = State::new(store, fresh()?, fresh()?, part_bytes);
        let writer = Writer::new(mirrors, Sealed::nothing(store), 0);
        let keyring = Self::with(env, provider, false, state, writer);
        let mut writer = keyring.writer.lock();
        // Publishing reads what is live: a read within a read waits for ever once a writer stands between them.
        let first = keyring.live.read().clone();
        if let Err(e) = publish::publish(&keyring, &mut writer, &first) {
            // Half of a new keyring would be in the way of the next attempt, and no data depends on it.
            writer.mirrors.iter().for_each(Mirror::remove);
            for attempt in &writer.older {
                let _ = keyring.provider.destroy(attempt.version);
            }
            return Err(e);
        }
        writer.older.clear();
        drop(writer);
        Ok(keyring)
    }

    /// Opens the keyring of a store: the newest generation in its mirrors. If it is not read-only, mirrors and parts that
    /// are missing, damaged or behind are written again, and versions of the provider's key that are older than the one
    /// in use are destroyed; [`Self::status`] tells if one could not be.
    ///
    /// # Errors
    /// [`Error::WrongKey`] and [`Error::MissingKeyVersion`] if the provider does not open the newest generation;
    /// [`Error::Corrupt`] and [`Error::Unsupported`] if no mirror is whole, or one holds something else;
    /// [`Error::Io`] of kind `NotFound` if all mirrors are missing; what the disk answers.
    pub(crate) fn open(
        env: &Env,
        mirrors: &[impl Clone + Into<MirrorAt>],
        provider: Arc<dyn KeyProvider>,
        read_only: bool,
        part_bytes: usize,
    ) -> Result<Self> {
        let mut mirrors = at(env, mirrors);
        check_mirrors(&mirrors)?;
        if read_only {
            // Those that answer at once are looked into first.
            mirrors.sort_by_key(Mirror::is_in_bucket);
        }
        let (writable, before, seen) = (!read_only, None, None);
        let look = Look { provider: &*provider, writable, before, seen, part_bytes };
        let loaded = match read_only {
            true => read_newest(&mirrors, look)?,
            false => mirrors::load(&mirrors, look)?,
        };
        if !read_only {
            mirrors::mend(&mirrors, &loaded.torn)?;
            for (i, mirror) in mirrors.iter().enumerate() {
                match loaded.stale.contains(&i) {
                    true => mirror.replace(&loaded.bytes)?,
                    // Older keys end below: what was found must not depend on power that stays on.
                    false => mirror.sync()?,
                }
            }
            mirrors.iter().for_each(Mirror::remove_beside);
        }
        let mut writer = Writer::new(mirrors, loaded.sealed, loaded.bytes.len() as u64);
        writer.older = loaded.older;
        // What a reader has not loaded, it looks at again.
        if !read_only {
            writer.tried = writer.tried.max(loaded.newest);
            writer.leftovers = publish::leftovers(&writer.mirrors, &loaded.state);
            writer.ended = publish::destroy_older(&*provider, &mut writer);
        }
        Ok(Self::with(env, provider, read_only, loaded.state, writer))
    }

    fn with(
        env: &Env,
        provider: Arc<dyn KeyProvider>,
        read_only: bool,
        state: State,
        writer: Writer,
    ) -> Self {
        Self {
            env: env.clone(),
            provider,
            read_only,
            live: RwLock::new(state),
            writer: Mutex::new(writer),
            epoch: AtomicU64::new(0),
            cache: Cache::new(),
        }
    }

    /// Where its first mirror is.
    pub(crate) fn path(&self) -> PathBuf {
        self.writer.lock().mirrors.first().map(|at| at.path().to_owned()).unwrap_or_default()
    }

    pub(crate) fn store_id(&self) -> StoreId {
        self.live.read().store_id
    }

    pub(crate) fn generation(&self) -> u64 {
        self.live.read().generation
    }

    /// All sites, by handle.
    pub(crate) fn sites(&self) -> Vec<Arc<Site>> {
        self.live.read().sites.iter().map(|record| Arc::clone(&record.site)).collect()
    }

    pub(crate) fn site(&self, id: &SiteId) -> Option<Arc<Site>> {
        self.live.read().site(id).cloned()
    }

    pub(crate) fn site_by_handle(&self, handle: &SiteHandle) -> Option<Arc<Site>> {
        self.live.read().site_by_handle(handle).cloned()
    }

    /// Whether a site of this id was erased, and none was added since.
    pub(crate) fn erased(&self, id: &SiteId) -> bool {
        let live = self.live.read();
        !live.erased.is_empty() && live.erased.contains(&live.erased_hash(id))
    }

    /// All holds, by id.
    pub(crate) fn holds(&self) -> Vec<Arc<Hold>> {
        self.live.read().holds.values().cloned().collect()
    }

    /// The holds of one site, by id.
    pub(crate) fn holds_of(&self, site: &SiteHandle) -> Vec<Arc<Hold>> {
        self.live.read().holds.values().filter(|hold| hold.site == *site).cloned().collect()
    }

    /// The hold of a session, if it is held.
    pub(crate) fn hold_of(&self, site: &SiteHandle, tag: &SessionTag) -> Option<Arc<Hold>> {
        let live = self.live.read();
        live.holds.values().find(|hold| hold.tag == *tag && hold.site == *site).cloned()
    }

    pub(crate) fn hold(&self, id: &HoldId) -> Option<Arc<Hold>> {
        self.live.read().holds.get(id).cloned()
    }

    /// What became of the provider's older versions when the keyring was opened.
    pub(crate) fn ended(&self) -> Vec<VersionEnd> {
        self.writer.lock().ended.clone()
    }

    /// Where the log of deletions ends.
    pub(crate) fn log_head(&self) -> LogHead {
        self.live.read().log.clone()
    }

    /// The last expiry day whose leaf is gone, if there is one.
    pub(crate) fn expired_through(&self) -> Option<u32> {
        self.live.read().first_day.checked_sub(1)
    }

    /// Raised whenever keys were taken away: what was found or derived in an earlier epoch may be erased.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(SeqCst)
    }

    /// Takes over a newer generation that the writer has made since; whether there was one.
    ///
    /// # Errors
    /// As [`Self::open`], also if no mirror tells which generation it holds: there may be a newer one then, which lacks keys. What is
    /// in memory stays as it is.
    pub(crate) fn refresh(&self) -> Result<bool> {
        if !self.read_only {
            return Ok(false);
        }
        let mut writer = self.writer.lock();
        let (near, all) = (near(&writer.mirrors), writer.mirrors.len());
        let now_ns = || self.env.clock.monotonic_ns();
        let mut is_newer = false;
        if (1..all).contains(&near) {
            // What they know of counts before a bucket is asked that may be out of reach, and takes minutes to say so. Their errors are told below.
            let told = self.take_newest(&mut writer, near);
            if told.is_ok() && now_ns() < writer.far_again_ns {
                return told;
            }
            is_newer = told.unwrap_or(false);
        }
        let began_ns = now_ns();
        let told = self.take_newest(&mut writer, all);
        // Whoever erases changes all files, and waits for that: where they tell, nobody needs to wait for a slow bucket each time.
        let is_slow = now_ns().saturating_sub(began_ns) > FAR_LOOK_MAX_NS;
        writer.far_pause_ns = match is_slow {
            true => (2 * writer.far_pause_ns).clamp(FAR_PAUSE_MIN_NS, FAR_PAUSE_MAX_NS),
            false => 0,
        };
        writer.far_again_ns = now_ns().saturating_add(writer.far_pause_ns);
        Ok(told? || is_newer)
    }

    /// Takes over what the first `count` mirrors have, if it is newer.
    fn take_newest(&self, writer: &mut Writer, count: usize) -> Result<bool> {
        let mirrors = writer.mirrors.get(..count).unwrap_or_default();
        if mirrors::newest_told(mirrors)? <= writer.tried {
            return Ok(false);
        }
        let before = Before::of(&self.live.read());
        let loaded = read_newest(mirrors, self.look(Some(&before)))?;
        if loaded.state.store_id != self.store_id() {
            return Err(Error::WrongKey("the keyring is another store's"));
        }
        if loaded.state.generation <= writer.tried {
            return Ok(false);
        }
        writer.tried = loaded.state.generation;
        writer.sealed = loaded.sealed;
        writer.state_bytes = loaded.bytes.len() as u64;
        // Whether keys were taken away is not known, so it is taken for granted.
        self.adopt(loaded.state, true);
        Ok(true)
    }

    /// How this process reads its mirrors.
    fn look<'a>(&'a self, before: Option<&'a Before>) -> Look<'a> {
        let part_bytes = self.live.read().edit.part_bytes;
        Look { provider: &*self.provider, writable: false, before, seen: None, part_bytes }
    }

    /// Puts another generation in the place of this one. Those who hold a site keep it, with the tree it has now; what
    /// was erased is erased for them too. Of the sites, only pieces that changed are looked at.
    fn adopt(&self, next: State, takes_away: bool) {
        let mut live = self.live.write();
        for old in live.sites.iter_without(&next.sites) {
            let now = next.record(&old.site.handle());
            if now.is_none_or(|now| !Arc::ptr_eq(&now.site, &old.site)) {
                old.site.replace_tree(&Tree::bare(SITE_DEPTH));
            }
        }
        for new in next.sites.iter_without(&live.sites) {
            new.site.replace_tree(&new.tree);
        }
        *live = next;
        if takes_away {
            // The trees have changed before: what is derived of the old ones from now on is not remembered.
            self.cache.forget();
            self.epoch.fetch_add(1, SeqCst);
        }
    }
}

impl Writer {
    fn new(mirrors: Vec<Mirror>, sealed: Sealed, state_bytes: u64) -> Self {
        Self {
            mirrors,
            tried: sealed.generation,
            sealed,
            older: Vec::new(),
            alive: BTreeSet::new(),
            ended: Vec::new(),
            leftovers: BTreeSet::new(),
            state_bytes,
            stray: Stray::Nowhere,
            stray_holds: HashSet::new(),
            asked: 0,
            far_again_ns: 0,
            far_pause_ns: 0,
        }
    }
}

/// How many of a reader's mirrors are not in buckets: they are the first.
fn near(mirrors: &[Mirror]) -> usize {
    mirrors.partition_point(|mirror| !mirror.is_in_bucket())
}

fn at(env: &Env, mirrors: &[impl Clone + Into<MirrorAt>]) -> Vec<Mirror> {
    mirrors.iter().map(|at| Mirror::new(env, at.clone().into())).collect()
}

/// Reads the newest generation while another process may be making the next: the key of the one that was read may be
/// destroyed before it was opened, and its parts may be gone before they were read. Each attempt reads only what the ones before have not:
/// a writer may make generations faster than all parts of a large keyring are read.
fn read_newest(mirrors: &[Mirror], look: Look<'_>) -> Result<mirrors::Loaded> {
    let seen = Seen::default();
    let mut look = look;
    let mut newest = mirrors::newest_claimed(mirrors);
    for _ in 1..READ_ATTEMPTS {
        match mirrors::load(mirrors, look) {
            Err(Error::MissingKeyVersion(_) | Error::WrongKey(_)) => {}
            Err(Error::Corrupt(c)) if c.kind == Damage::Missing => {}
            other => return other,
        }
        let now = mirrors::newest_claimed(mirrors);
        if now == newest {
            break;
        }
        newest = now;
        // Most readers need one attempt, and nothing twice in memory.
        look.seen = Some(&seen);
    }
    mirrors::load(mirrors, look)
}

#[cfg(test)]
mod tests;
