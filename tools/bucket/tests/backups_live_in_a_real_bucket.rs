//! The whole way over a real S3 server on this machine: `tools/test` starts one and says where in `AWS_ENDPOINT_URL`.
#![allow(missing_docs, reason = "a test")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

use std::borrow::Cow;
use std::sync::Arc;

use reelvault::backup::{Backup, Body, How, Keep, Place, Progress, ReadShare, Repository, What};
use reelvault::env::Env;
use reelvault::{Chunk, Held, KeyFile, Options, Query, Session, SessionId, SiteId, Store};
use reelvault_bucket::place;

const ON: &(dyn Fn(Progress) -> bool + Sync) = &|_| true;

/// A prefix of its own for each test, in the bucket that `tools/test` makes.
fn bucket(prefix: &str) -> Arc<dyn Place> {
    place(&Env::real(), &format!("s3://reelvault-test/{prefix}-{}", now_ms())).unwrap()
}

fn now_ms() -> u64 {
    Env::real().clock.now_ms()
}

fn options(dir: &std::path::Path) -> Options {
    let path = dir.join("keys/key");
    let key = match path.exists() {
        true => KeyFile::open(&Env::real(), &path).unwrap(),
        false => KeyFile::create(&Env::real(), &path).unwrap(),
    };
    let mirrors = [dir.join("keys/a/keyring"), dir.join("keys/b/keyring")];
    Options::new(dir.join("store"), mirrors, Arc::new(key)).background(false)
}

/// Records sessions of a few hundred KiB that hardly compress.
fn record(store: &Store, names: &[&str]) {
    let site = store.site(&SiteId::new("shop.example").unwrap()).unwrap();
    for name in names {
        let session = Session::new(SessionId::new(name).unwrap());
        for seq in 0..4u64 {
            let mut events = String::new();
            let ms = now_ms() - 60_000 + seq;
            let mut mix = seq + 1 + name.len() as u64;
            while events.len() < 100_000 {
                mix = mix.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31) ^ seq;
                events += &format!("{{\"type\":3,\"timestamp\":{ms},\"data\":\"{mix:016x}\"}}\n");
            }
            let events = Cow::Owned(events.into_bytes());
            let chunk = Chunk { seq, first_ms: ms, last_ms: ms, events, snapshots: vec![] };
            site.append(&session, &chunk).unwrap();
        }
    }
}

fn content(store: &Store) -> Vec<(String, Vec<u8>)> {
    let site = store.site(&SiteId::new("shop.example").unwrap()).unwrap();
    let sessions = site.sessions(&Query::new()).unwrap().sessions;
    let replay = |id: &SessionId| {
        let mut out = Vec::new();
        site.replay(id).unwrap().write_to(&mut out).unwrap();
        (id.to_string(), out)
    };
    let mut all: Vec<_> = sessions.iter().map(|s| replay(&s.id)).collect();
    all.sort();
    all
}

#[test]
#[ignore = "needs an S3 server on this machine"]
fn backups_are_made_read_in_place_restored_and_pruned() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(options(dir.path())).unwrap();
    store.add_site(SiteId::new("shop.example").unwrap(), 30).unwrap();
    record(&store, &["a", "b"]);
    store.archive().unwrap();
    let place = bucket("life");
    let repository = Repository::open_or_make(Arc::clone(&place), options(dir.path())).unwrap();
    let mut backup = Backup::new(&repository, dir.path().join("store")).unwrap();
    assert_eq!(backup.run(&How::default(), ON).unwrap().snapshot, Some(1));
    record(&store, &["c"]);
    let step = backup.follow(&How::default(), ON).unwrap();
    assert_eq!((step.snapshot, step.copied_segments), (Some(2), 0));

    let again = Repository::open(Arc::clone(&place), options(dir.path())).unwrap();
    let expected = content(&store);
    assert_eq!(content(&again.open_snapshot(2).unwrap()), expected);
    let target = dir.path().join("restored");
    assert!(again.restore(2, &target, &What::All, ON).unwrap().damage.is_empty());
    let mirrors = [dir.path().join("keys/a/keyring")];
    let key = KeyFile::open(&Env::real(), dir.path().join("keys/key")).unwrap();
    let restored = Store::open_read_only(Options::new(target, mirrors, Arc::new(key))).unwrap();
    assert_eq!(content(&restored), expected);
    let checked = again.check(ReadShare::All, ON).unwrap();
    assert!(checked.damage.is_empty(), "{:?}", checked.damage);
    assert_eq!(checked.read_bytes, checked.bytes);
    assert!(checked.objects >= 2);
    let keep = Keep { last: 1, ..Keep::default() };
    let pruned = again.prune(&keep, 86_400_000, false).unwrap();
    assert_eq!((pruned.forgotten, pruned.removed_objects), (vec![1], 0));
    assert_eq!(content(&again.open_snapshot(2).unwrap()), expected);
}

#[test]
#[ignore = "needs an S3 server on this machine"]
fn a_large_object_goes_in_parts_and_a_body_that_fails_leaves_nothing() {
    struct Fails(u64, u64);
    impl Body for Fails {
        fn bytes(&self) -> u64 {
            20 << 20
        }
        fn fill(&mut self, buf: &mut [u8]) -> std::io::Result<()> {
            if self.0 + buf.len() as u64 > self.1 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            for (byte, at) in buf.iter_mut().zip(self.0..) {
                *byte = (at % 251) as u8;
            }
            self.0 += buf.len() as u64;
            Ok(())
        }
    }
    let place = bucket("parts");
    let failed = place.put("x/segment/1", &mut Fails(0, 17 << 20)).unwrap_err();
    assert_eq!(failed.kind(), std::io::ErrorKind::UnexpectedEof);
    assert_eq!(place.length("x/segment/1").unwrap_err().kind(), std::io::ErrorKind::NotFound);
    assert!(place.list("x/segment", 10).unwrap().is_empty());
    place.put("x/segment/1", &mut Fails(0, 20 << 20)).unwrap();
    assert_eq!(place.length("x/segment/1").unwrap(), 20 << 20);
    let file = place.open("x/segment/1", 20 << 20).unwrap();
    let mut part = vec![0; 1000];
    assert_eq!(file.read_at(&mut part, (8 << 20) - 500).unwrap(), 1000);
    let expected: Vec<u8> = ((8u64 << 20) - 500..).take(1000).map(|at| (at % 251) as u8).collect();
    assert_eq!(part, expected);
    // Of an object that has been cut off, what stands behind its end is asked for.
    let file = place.open("x/segment/1", 40 << 20).unwrap();
    let behind = file.read_at(&mut part, 30 << 20).unwrap_err();
    assert_eq!(behind.kind(), std::io::ErrorKind::UnexpectedEof, "{behind}");
}

#[test]
#[ignore = "needs an S3 server on this machine"]
fn the_server_is_fit_and_its_clock_is_a_clock() {
    let place = bucket("probe");
    place.probe([7; 16]).unwrap();
    assert!(place.now_ms().unwrap().abs_diff(now_ms()) < 60_000);
    place.create("x/snapshot/1", b"one").unwrap();
    let twice = place.create("x/snapshot/1", b"two").unwrap_err();
    assert_eq!(twice.kind(), std::io::ErrorKind::AlreadyExists);
    assert_eq!(place.get("x/snapshot/1", 10).unwrap(), b"one");
    assert_eq!(place.get("x/snapshot/1", 2).unwrap_err().kind(), std::io::ErrorKind::InvalidData);
}

#[test]
#[ignore = "needs an S3 server on this machine"]
fn a_mirror_of_the_keyring_opens_what_the_machine_has_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (keys, backups) = (bucket("keys"), bucket("of-the-lost"));
    let store = Store::create(options(dir.path()).mirror_in(Arc::clone(&keys))).unwrap();
    store.add_site(SiteId::new("shop.example").unwrap(), 30).unwrap();
    record(&store, &["a", "b"]);
    store.archive().unwrap();
    let all = options(dir.path()).mirror_in(Arc::clone(&keys));
    let repository = Repository::open_or_make(Arc::clone(&backups), all).unwrap();
    let mut backup = Backup::new(&repository, dir.path().join("store")).unwrap();
    assert!(backup.run(&How::default(), ON).unwrap().damage.is_empty());
    let site = store.site(&SiteId::new("shop.example").unwrap()).unwrap();
    site.erase_sessions([SessionId::new("a").unwrap()], Held::Refuse).unwrap();
    let expected = content(&store);
    assert_eq!(keys.list("keyring", 9).unwrap().len(), 1, "the generations before are removed");
    store.close().unwrap();

    let key = KeyFile::open(&Env::real(), dir.path().join("keys/key")).unwrap();
    let alone = Options::new(dir.path().join("store"), [], Arc::new(key)).mirror_in(keys);
    let repository = Repository::open(backups, alone).unwrap();
    assert_eq!(content(&repository.open_snapshot(1).unwrap()), expected);
}
