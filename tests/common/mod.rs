//! What the tests share: a store in a folder of its own, and chunks that look like a recorder's.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::disallowed_methods, reason = "tests look at the files themselves")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

pub(crate) mod backups;
pub(crate) mod corpus;
pub(crate) mod meddled;
pub(crate) mod sim;
pub(crate) mod spoil;

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use reelvault::env::Env;
use reelvault::{
    Chunk, KeyFile, KeyProvider, Options, Session, SessionId, SiteId, Snapshot, Store, VisitorId,
};

/// 2027-01-15, in the middle of a day.
pub(crate) const NOON: u64 = 1_800_014_400_000;
pub(crate) const DAY: u64 = 86_400_000;

/// A folder that is removed at the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("reelvault-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.0.join("store")
    }

    /// Options of the store in this folder, with small journals, no thread, and a clock that stands at noon.
    pub(crate) fn options(&self) -> Options {
        let env = env_at(NOON);
        self.options_in(env)
    }

    pub(crate) fn options_in(&self, env: Env) -> Options {
        let key = self.0.join("keys/key");
        let provider: Arc<dyn KeyProvider> = if key.exists() {
            Arc::new(KeyFile::open(&Env::real(), &key).unwrap())
        } else {
            std::fs::create_dir_all(self.0.join("keys")).unwrap();
            Arc::new(KeyFile::create(&Env::real(), &key).unwrap())
        };
        let mirrors = [self.0.join("keys/a/keyring"), self.0.join("keys/b/keyring")];
        Options::new(self.store(), mirrors, provider)
            .env(env)
            .shards(2)
            .journal_bytes(256 << 10)
            .fill_bytes(64 << 10)
            .background(false)
    }

    /// Every file in the folder, by path.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        fn walk(dir: &Path, into: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { walk(&path, into) } else { into.push(path) }
            }
        }
        let mut files = Vec::new();
        walk(&self.0, &mut files);
        files.sort();
        files
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The real disk and randomness with a clock that stands still.
pub(crate) fn env_at(ms: u64) -> Env {
    struct Still(u64);
    impl reelvault::env::Clock for Still {
        fn now_ms(&self) -> u64 {
            self.0
        }
        fn monotonic_ns(&self) -> u64 {
            0
        }
    }
    Env { clock: Arc::new(Still(ms)), ..Env::real() }
}

pub(crate) fn site_id(name: &str) -> SiteId {
    SiteId::new(name).unwrap()
}

pub(crate) fn session_id(name: &str) -> SessionId {
    SessionId::new(name).unwrap()
}

pub(crate) fn session(name: &str) -> Session {
    Session::new(session_id(name)).visitor(VisitorId::new("visitor-of-everything").unwrap())
}

/// A new store with one site.
pub(crate) fn store_with_site(folder: &Folder) -> (Store, reelvault::Site) {
    let store = Store::create(folder.options()).unwrap();
    let site = store.add_site(site_id("shop.example"), 30).unwrap();
    (store, site)
}

/// A chunk of a few events at `ms`, of at least `bytes` bytes; every fourth begins with a full snapshot.
pub(crate) fn chunk(session: &str, seq: u64, ms: u64, bytes: usize) -> Chunk<'static> {
    let snapshot = seq.is_multiple_of(4);
    let mut events = String::new();
    if snapshot {
        events += &format!(
            "{{\"type\":4,\"timestamp\":{ms},\"data\":{{\"href\":\"https://shop.example/{session}\"}}}}\n"
        );
        events += &format!("{{\"type\":2,\"timestamp\":{ms},\"data\":{{\"node\":{seq}}}}}\n");
    }
    let mut n = 0u64;
    while events.len() < bytes || n == 0 {
        let at = ms + n.min(999);
        let mix = (seq + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(n * 0x2545_f491);
        events += &format!(
            "{{\"type\":3,\"timestamp\":{at},\"data\":{{\"text\":\"private words of {session} {mix:x}\"}}}}\n"
        );
        n += 1;
    }
    let snapshots = if snapshot { vec![Snapshot { offset: 0, ms }] } else { vec![] };
    let last_ms = ms + (n - 1).min(999);
    Chunk { seq, first_ms: ms, last_ms, events: Cow::Owned(events.into_bytes()), snapshots }
}

/// All events of a session, as replayed.
pub(crate) fn replayed(site: &reelvault::Site, id: &str) -> Vec<u8> {
    let mut out = Vec::new();
    site.replay(&session_id(id)).unwrap().write_to(&mut out).unwrap();
    out
}
