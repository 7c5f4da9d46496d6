//! Keys: the live keyring, from which every other key is derived.
//!
//! Beside it stand the puncturable [`tree`], the [`file`] format, the [`mirrors`] on disk and the
//! key providers. Nothing here knows what is sealed with the keys.

mod derive;
mod file;
mod key_file;
mod mirrors;
pub(crate) use mirrors::make_dir;
mod passphrase;
mod provider;
mod session;
mod site;
mod state;
mod tree;
mod walk;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

pub(crate) use derive::Kept;
pub use key_file::KeyFile;
pub use passphrase::{
    ARGON2_LANES_MAX, ARGON2_MEMORY_KIB_MAX, ARGON2_PASSES_MAX, Argon2Cost, Passphrase,
};
pub use provider::{DataKey, KeyProvider, ProviderKind, Wrapped};
pub(crate) use session::SessionKeys;
pub(crate) use site::Site;

use crate::crypto::Key;
use crate::env::{Env, Random};
use crate::error::{Error, InputError, Result};
use crate::ids::{SiteHandle, SiteId, StoreId};
use crate::limits::{RETENTION_DAYS_MAX, SITES_MAX};
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
    mirrors: Vec<PathBuf>,
    provider: Arc<dyn KeyProvider>,
    read_only: bool,
    live: RwLock<State>,
    /// The newest generation that was written or tried; held by whoever makes the next. A generation whose writing
    /// failed may stand in a mirror, so its number is not used again.
    tried: Mutex<u64>,
    cache: Cache,
}

/// Random bytes, fit for keys, ids and nonces.
pub(crate) fn draw<const N: usize>(random: &dyn Random) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    random.fill(&mut bytes).map_err(|e| Error::io("draw random bytes", "of the system", e))?;
    Ok(bytes)
}

fn refuse<T>(name: &'static str, why: &'static str) -> Result<T> {
    Err(InputError::Option { name, why }.into())
}

fn check_mirrors(mirrors: &[PathBuf]) -> Result<()> {
    if mirrors.is_empty() {
        return refuse("mirrors", "at least one, and better two");
    }
    if mirrors.iter().collect::<HashSet<_>>().len() < mirrors.len() {
        return refuse("mirrors", "each at a path of its own");
    }
    Ok(())
}

impl Keyring {
    /// Makes the keyring of a new store, and the directories of its mirrors.
    ///
    /// # Errors
    /// [`Error::Exists`] if there is anything at the path of a mirror; [`InputError::Option`] if no mirrors are
    /// named, or one twice; what the provider and the disk answer.
    pub(crate) fn create(
        env: &Env,
        mirrors: &[PathBuf],
        provider: Arc<dyn KeyProvider>,
    ) -> Result<Self> {
        check_mirrors(mirrors)?;
        for path in mirrors {
            let exists = env.disk.exists(path);
            if exists.map_err(|e| Error::io("look for a keyring at", path, e))? {
                return Err(Error::Exists(path.clone()));
            }
        }
        let fresh = || Ok::<_, Error>(Key::take(&mut draw(&*env.random)?));
        let state = State::new(StoreId(draw(&*env.random)?), fresh()?, fresh()?);
        let keyring = Self::with(env, mirrors, provider, false, state);
        if let Err(e) = keyring.publish(&keyring.live.read()) {
            // Half of a new keyring would be in the way of the next attempt, and no data depends on it.
            for path in mirrors {
                let _ = env.disk.remove(path);
            }
            return Err(e);
        }
        Ok(keyring)
    }

    /// Opens the keyring of a store: the newest generation in its mirrors. If it is not read-only, mirrors that
    /// are missing, damaged or behind are written again.
    ///
    /// # Errors
    /// [`Error::WrongKey`] and [`Error::MissingKeyVersion`] if the provider does not open the newest generation;
    /// [`Error::Corrupt`] and [`Error::Unsupported`] if no mirror is whole, or one holds something else;
    /// [`Error::Io`] of kind `NotFound` if all mirrors are missing; what the disk answers.
    pub(crate) fn open(
        env: &Env,
        mirrors: &[PathBuf],
        provider: Arc<dyn KeyProvider>,
        read_only: bool,
    ) -> Result<Self> {
        check_mirrors(mirrors)?;
        let loaded = mirrors::load(env, mirrors, &*provider, !read_only)?;
        if !read_only {
            loaded
                .stale
                .iter()
                .try_for_each(|i| mirrors::write(env, &mirrors[*i], &loaded.bytes))?;
        }
        Ok(Self::with(env, mirrors, provider, read_only, loaded.state))
    }

    fn with(
        env: &Env,
        mirrors: &[PathBuf],
        provider: Arc<dyn KeyProvider>,
        read_only: bool,
        state: State,
    ) -> Self {
        Self {
            env: env.clone(),
            mirrors: mirrors.to_vec(),
            provider,
            read_only,
            tried: Mutex::new(state.generation),
            live: RwLock::new(state),
            cache: Cache::new(),
        }
    }

    pub(crate) fn store_id(&self) -> StoreId {
        self.live.read().store_id
    }

    pub(crate) fn generation(&self) -> u64 {
        self.live.read().generation
    }

    /// All sites, by handle.
    pub(crate) fn sites(&self) -> Vec<Arc<Site>> {
        self.live.read().sites().cloned().collect()
    }

    pub(crate) fn site(&self, id: &SiteId) -> Option<Arc<Site>> {
        self.live.read().site(id).cloned()
    }

    pub(crate) fn site_by_handle(&self, handle: &SiteHandle) -> Option<Arc<Site>> {
        self.live.read().site_by_handle(handle).cloned()
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
    /// It counts when it is in all mirrors. After an error of the disk it does not count in this process, and a
    /// later open may find it or not.
    ///
    /// # Errors
    /// [`Error::SiteExists`], [`InputError::RetentionClass`], [`InputError::Option`] at the limit of sites,
    /// [`Error::ReadOnly`]; [`Error::Locked`] if another process changed the keyring;
    /// what the provider and the disk answer.
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
        let mut tried = self.tried.lock();
        let mut next = self.live.read().clone();
        if next.sites().len() + sites.len() > SITES_MAX {
            return refuse("sites", "at most 1,048,576");
        }
        let mut added = Vec::with_capacity(sites.len());
        for (id, retention_days) in sites {
            if !(1..=RETENTION_DAYS_MAX).contains(&retention_days) {
                return Err(InputError::RetentionClass.into());
            }
            if next.site(&id).is_some() {
                return Err(Error::SiteExists(id));
            }
            added.push(self.new_site(&mut next, id, retention_days, now_ms)?);
        }
        self.check_sole_writer(*tried)?;
        *tried += 1;
        next.generation = *tried;
        self.publish(&next)?;
        *self.live.write() = next;
        Ok(added)
    }

    fn new_site(
        &self,
        state: &mut State,
        id: SiteId,
        retention_days: u32,
        now_ms: u64,
    ) -> Result<Arc<Site>> {
        let random = &*self.env.random;
        let mut handle = SiteHandle(draw(random)?);
        while state.site_by_handle(&handle).is_some() {
            handle = SiteHandle(draw(random)?);
        }
        let key = Key::take(&mut draw(random)?);
        let tree = Tree::new(SITE_DEPTH, Key::take(&mut draw(random)?));
        let site = Arc::new(Site::new(id, handle, now_ms, retention_days, key, tree));
        state.insert(&site);
        Ok(site)
    }

    /// The lock of the store keeps other writers out; this finds those that went around it.
    fn check_sole_writer(&self, tried: u64) -> Result<()> {
        if mirrors::newest_claimed(&self.env, &self.mirrors) > tried {
            return Err(Error::Locked { pid: None });
        }
        Ok(())
    }

    /// Seals a generation under a data key of its own and writes it to all mirrors, one after the other.
    fn publish(&self, state: &State) -> Result<()> {
        let data_key = DataKey::take(&mut draw(&*self.env.random)?);
        let kind = self.provider.kind();
        let aad = file::binding(&state.store_id, state.generation, kind);
        let wrapped = self.provider.wrap(&data_key, &aad)?;
        let nonce = draw(&*self.env.random)?;
        let bytes = file::encode(state, kind, &wrapped, &data_key, &nonce)?;
        self.mirrors.iter().try_for_each(|path| mirrors::write(&self.env, path, &bytes))
    }

    /// Takes over a newer generation that the writer has made since; whether there was one.
    ///
    /// # Errors
    /// As [`Self::open`]; what is in memory stays as it is then.
    pub(crate) fn refresh(&self) -> Result<bool> {
        if !self.read_only {
            return Ok(false);
        }
        let mut tried = self.tried.lock();
        if mirrors::newest_claimed(&self.env, &self.mirrors) <= *tried {
            return Ok(false);
        }
        let state = mirrors::load(&self.env, &self.mirrors, &*self.provider, false)?.state;
        if state.store_id != self.store_id() {
            return Err(Error::WrongKey("the keyring is another store's"));
        }
        if state.generation <= *tried {
            return Ok(false);
        }
        *tried = state.generation;
        self.adopt(state);
        Ok(true)
    }

    /// Puts another generation in the place of this one. Those who hold a site keep it, with the tree it has now; what
    /// was erased is erased for them too.
    fn adopt(&self, mut next: State) {
        let mut live = self.live.write();
        for held in live.sites() {
            match next.site_by_handle(&held.handle()).filter(|site| site.is_same(held)) {
                Some(site) => {
                    held.replace_tree(site.tree());
                    next.replace(held);
                }
                None => held.replace_tree(Tree::bare(SITE_DEPTH)),
            }
        }
        *live = next;
        // The trees have changed before: what is derived of the old ones from now on is not remembered.
        self.cache.forget();
    }
}

#[cfg(test)]
mod tests;
