//! Keys in a vault: a provider that is neither the key file nor a passphrase, by the public interface alone.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]
#![allow(clippy::disallowed_methods, reason = "tests copy files themselves")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use common::{Folder, NOON, env_at};
use reelvault::{
    Chunk, DataKey, Destruction, Error, Held, KeyProvider, Options, ProviderKind, Result, Session,
    SessionId, Site, SiteId, Store, StoreId,
};

/// What a key service keeps to itself: of each version the store it was made for, and what it wrapped.
#[derive(Default)]
struct Vault {
    versions: Mutex<BTreeMap<u32, Version>>,
    /// Whether a version goes with all before it, as where a key service can but raise the oldest one that it unwraps.
    trims: bool,
}

struct Version {
    store: StoreId,
    wrapped: Vec<([u8; 32], Vec<u8>)>,
}

impl KeyProvider for Vault {
    fn kind(&self) -> ProviderKind {
        ProviderKind::External
    }

    fn new_version(&self, store: &StoreId) -> Result<u32> {
        let mut versions = self.versions.lock().unwrap();
        let version = versions.last_key_value().map_or(0, |(last, _)| *last) + 1;
        versions.insert(version, Version { store: *store, wrapped: Vec::new() });
        Ok(version)
    }

    fn versions(&self, store: &StoreId) -> Result<Vec<u32>> {
        let versions = self.versions.lock().unwrap();
        Ok(versions.iter().filter(|(_, v)| v.store == *store).map(|(n, _)| *n).collect())
    }

    fn wrap(&self, version: u32, data_key: &DataKey, aad: &[u8]) -> Result<Vec<u8>> {
        let mut versions = self.versions.lock().unwrap();
        let known = versions.get_mut(&version).ok_or(Error::MissingKeyVersion(version))?;
        known.wrapped.push((*data_key.expose(), aad.to_vec()));
        Ok(format!("vault:v{version}:{}", known.wrapped.len() - 1).into_bytes())
    }

    fn unwrap_key(&self, version: u32, bytes: &[u8], aad: &[u8]) -> Result<DataKey> {
        let versions = self.versions.lock().unwrap();
        let known = versions.get(&version).ok_or(Error::MissingKeyVersion(version))?;
        let number = std::str::from_utf8(bytes).unwrap().rsplit(':').next().unwrap();
        match &known.wrapped[number.parse::<usize>().unwrap()] {
            (key, bound) if bound == aad => Ok(DataKey::take(&mut key.clone())),
            _ => Err(Error::WrongKey("it was wrapped for something else")),
        }
    }

    fn destroy(&self, version: u32) -> Result<Destruction> {
        let mut versions = self.versions.lock().unwrap();
        match self.trims {
            true => *versions = versions.split_off(&(version + 1)),
            false => drop(versions.remove(&version)),
        }
        Ok(Destruction::Destroyed { receipt: format!("trimmed version {version}") })
    }
}

fn options(folder: &Folder, provider: Arc<dyn KeyProvider>) -> Options {
    let mirrors = ["keys/a/keyring", "keys/b/keyring"].map(|name| folder.path().join(name));
    Options::new(folder.store(), mirrors, provider).env(env_at(NOON)).background(false)
}

fn append(site: &Site, name: &str) -> Result<()> {
    let chunk = Chunk {
        seq: 0,
        first_ms: NOON,
        last_ms: NOON,
        events: format!("{{\"said\":\"{name}\"}}\n").into_bytes().into(),
        snapshots: Vec::new(),
    };
    site.append(&Session::new(SessionId::new(name)?), &chunk).map(drop)
}

fn replay(site: &Site, name: &str) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut replay = site.replay(&SessionId::new(name)?)?;
    while let Some(chunk) = replay.next_chunk()? {
        out.extend_from_slice(chunk.events);
    }
    Ok(out)
}

fn copy_keyring(from: &Path, to: &Path) {
    for mirror in ["a", "b"] {
        std::fs::create_dir_all(to.join("keys").join(mirror)).unwrap();
        let name = Path::new("keys").join(mirror).join("keyring");
        std::fs::copy(from.join(&name), to.join(&name)).unwrap();
    }
}

#[test]
fn a_provider_of_ones_own_keeps_a_store_and_makes_erasure_final() {
    let (folder, before) = (Folder::new(), Folder::new());
    let vault = Arc::new(Vault::default());
    std::fs::create_dir_all(folder.path().join("keys")).unwrap();
    let store = Store::create(options(&folder, Arc::clone(&vault) as _)).unwrap();
    let site = store.add_site(SiteId::new("shop").unwrap(), 30).unwrap();
    append(&site, "kept").unwrap();
    append(&site, "erased").unwrap();
    store.archive().unwrap();
    copy_keyring(folder.path(), before.path());
    let erased = SessionId::new("erased").unwrap();
    assert_eq!(site.erase_sessions([erased], Held::Refuse).unwrap().sessions, 1);
    drop(site);
    store.close().unwrap();

    let store = Store::open(options(&folder, Arc::clone(&vault) as _)).unwrap();
    let site = store.site(&SiteId::new("shop").unwrap()).unwrap();
    assert_eq!(replay(&site, "kept").unwrap(), b"{\"said\":\"kept\"}\n");
    assert!(matches!(replay(&site, "erased"), Err(Error::Erased)));
    let status = store.key_status().unwrap();
    assert_eq!((status.provider, status.indestructible), (ProviderKind::External, None));
    assert!(status.undestroyed.is_empty(), "{:?}", status.undestroyed);
    drop(site);
    store.close().unwrap();

    // The keyring as it was before, put back: the vault does not open it any more.
    copy_keyring(before.path(), folder.path());
    let put_back = Store::open(options(&folder, vault));
    assert!(matches!(put_back, Err(Error::MissingKeyVersion(_))), "{:?}", put_back.err());
}

#[test]
fn a_keyring_of_a_vault_says_so_to_who_comes_with_a_key_file() {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.path().join("keys")).unwrap();
    Store::create(options(&folder, Arc::new(Vault::default()))).unwrap().close().unwrap();
    let refused = Store::open(folder.options());
    let Err(Error::WrongKey(why)) = refused else { panic!("{:?}", refused.err()) };
    assert!(why.contains("key provider of another program"), "{why}");
}

/// The version of a change that failed is newer than the one in use: with it, that one would go, too.
#[test]
fn a_change_that_failed_takes_no_version_from_a_provider_that_trims() {
    let folder = Folder::new();
    let vault = Arc::new(Vault { trims: true, ..Vault::default() });
    std::fs::create_dir_all(folder.path().join("keys")).unwrap();
    let store = Store::create(options(&folder, Arc::clone(&vault) as _)).unwrap();
    let site = store.add_site(SiteId::new("shop").unwrap(), 30).unwrap();
    append(&site, "kept").unwrap();
    store.archive().unwrap();
    let (mirror, away) = (folder.path().join("keys/b"), folder.path().join("away"));
    std::fs::rename(&mirror, &away).unwrap();
    std::fs::write(&mirror, "what is no folder").unwrap();
    let refused = store.add_site(SiteId::new("other").unwrap(), 30);
    assert!(matches!(refused, Err(Error::Io { .. })), "{:?}", refused.err());
    std::fs::remove_file(&mirror).unwrap();
    std::fs::rename(&away, &mirror).unwrap();
    drop(site);
    store.close().unwrap();

    let store = Store::open(options(&folder, Arc::clone(&vault) as _)).unwrap();
    let site = store.site(&SiteId::new("shop").unwrap()).unwrap();
    assert_eq!(replay(&site, "kept").unwrap(), b"{\"said\":\"kept\"}\n");
    // The next change takes the failed one's version along with the one before.
    store.add_site(SiteId::new("other").unwrap(), 30).unwrap();
    assert_eq!(vault.versions.lock().unwrap().len(), 1);
}
