//! The keyring as a whole: providers, bytes, mirrors, derivation.
#![allow(clippy::disallowed_methods, reason = "tests look behind the environment's back")]

mod bytes;
mod change;
#[cfg(feature = "sim")]
mod crash;
mod derivation;
mod hooks;
mod key_file;
mod mirrors;
mod parts;
mod providers;
mod sites;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{fs, process};

use super::*;

/// A directory of its own for each test, removed in the end.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("reelvault-keyring-{}-{n}", process::id()));
        fs::DirBuilder::new().create(&dir).unwrap();
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn create(env: &Env, at: &[PathBuf], provider: Arc<dyn KeyProvider>) -> Result<Keyring> {
    Keyring::create(env, at, provider, PART_BYTES, any_store(env))
}

fn any_store(env: &Env) -> StoreId {
    StoreId(draw(&*env.random).unwrap())
}

fn open(
    env: &Env,
    at: &[PathBuf],
    provider: Arc<dyn KeyProvider>,
    read_only: bool,
) -> Result<Keyring> {
    Keyring::open(env, at, provider, read_only, PART_BYTES)
}

/// A keyring in two mirrors, and its key file.
struct Setup {
    env: Env,
    dir: Dir,
    mirrors: Vec<PathBuf>,
}

impl Setup {
    fn new() -> Self {
        let dir = Dir::new();
        let env = Env::real();
        KeyFile::create(&env, dir.path("key")).unwrap();
        let mirrors = vec![dir.path("a/keyring"), dir.path("b/deep/keyring")];
        Self { env, dir, mirrors }
    }

    fn provider(&self) -> Arc<dyn KeyProvider> {
        Arc::new(KeyFile::open(&self.env, self.dir.path("key")).unwrap())
    }

    fn create(&self) -> Keyring {
        create(&self.env, &self.mirrors, self.provider()).unwrap()
    }

    fn open(&self) -> Result<Keyring> {
        open(&self.env, &self.mirrors, self.provider(), false)
    }

    fn read(&self) -> Result<Keyring> {
        open(&self.env, &self.mirrors, self.provider(), true)
    }

    fn bytes(&self, mirror: usize) -> Vec<u8> {
        fs::read(&self.mirrors[mirror]).unwrap()
    }

    fn key(&self) -> Vec<u8> {
        fs::read(self.dir.path("key")).unwrap()
    }

    fn put_key(&self, bytes: &[u8]) {
        fs::write(self.dir.path("key"), bytes).unwrap();
    }

    fn put(&self, mirror: usize, bytes: &[u8]) {
        fs::write(&self.mirrors[mirror], bytes).unwrap();
    }
}

fn id(name: &str) -> SiteId {
    SiteId::new(name).unwrap()
}

/// The error of something that must fail.
fn error<T>(result: Result<T>) -> Error {
    match result {
        Ok(_) => panic!("it should have failed"),
        Err(e) => e,
    }
}

fn damage(e: &Error) -> Option<crate::error::Damage> {
    match e {
        Error::Corrupt(c) => Some(c.kind),
        _ => None,
    }
}

fn names(keyring: &Keyring) -> Vec<String> {
    let mut names: Vec<_> = keyring.sites().iter().map(|s| s.id().to_string()).collect();
    names.sort();
    names
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
