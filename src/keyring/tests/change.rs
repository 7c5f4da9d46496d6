//! Changes: what they do, what they leave of older copies, and what is told of them.

use super::*;
use crate::crypto::Suite;
use crate::keyring::hold::Hold;

/// A provider whose destruction can be made to fail or to lie.
struct Stubborn {
    inner: Arc<dyn KeyProvider>,
    fails: std::sync::atomic::AtomicBool,
    lies: std::sync::atomic::AtomicBool,
}

impl KeyProvider for Stubborn {
    fn kind(&self) -> ProviderKind {
        self.inner.kind()
    }
    fn new_version(&self, store: &StoreId) -> Result<u32> {
        self.inner.new_version(store)
    }
    fn versions(&self, store: &StoreId) -> Result<Vec<u32>> {
        self.inner.versions(store)
    }
    fn wrap(&self, version: u32, data_key: &DataKey, aad: &[u8]) -> Result<Vec<u8>> {
        self.inner.wrap(version, data_key, aad)
    }
    fn unwrap_key(&self, version: u32, bytes: &[u8], aad: &[u8]) -> Result<DataKey> {
        self.inner.unwrap_key(version, bytes, aad)
    }
    fn destroy(&self, version: u32) -> Result<Destruction> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(Error::io("reach", "the provider", std::io::ErrorKind::TimedOut.into()));
        }
        if self.lies.load(Ordering::Relaxed) {
            return Ok(Destruction::Destroyed { receipt: "trust me".to_owned() });
        }
        self.inner.destroy(version)
    }
}

fn stubborn(setup: &Setup) -> Arc<Stubborn> {
    Arc::new(Stubborn {
        inner: setup.provider(),
        fails: Default::default(),
        lies: Default::default(),
    })
}

fn hold(n: u8, site: SiteHandle) -> Hold {
    Hold {
        id: HoldId([n; 16]),
        site,
        tag: SessionTag([n; 16]),
        visitor: crate::ids::VisitorTag([n; 16]),
        start_ms: 1,
        retention_days: 30,
        chunks: 3,
        created_ms: 2,
        key: Key::take(&mut [n; 32]),
        reason: "a lawsuit".to_owned(),
    }
}

#[test]
fn a_change_makes_one_generation_and_ends_the_version_before() {
    let setup = Setup::new();
    let keyring = setup.create();
    let site = keyring.add_site(id("shop"), 30, 5).unwrap();
    let (old, key) = (setup.bytes(0), setup.key());
    let places: Vec<u64> = (0..10_000).map(|n| n << 40).collect();
    let edit = |next: &mut Next<'_>| {
        next.set_suite(Suite::Aes256Gcm);
        Ok((next.generation(), next.puncture(&site.handle(), &places)))
    };
    let ((making, removed), published) = keyring.change(edit).unwrap();
    assert_eq!((making, removed), (3, 10_000));
    assert_eq!(keyring.suite(), Suite::Aes256Gcm);
    assert_eq!((published.before, published.after), (2, 3));
    assert!(published.is_final());
    let [end] = &published.destroyed[..] else { panic!("{published:?}") };
    assert!(end.version == 2 && end.proven);
    assert!(places.iter().all(|place| site.leaf(*place).is_none()));
    assert!(site.leaf(1).is_some());
    // The older copy is dead, and with an older key file, which is the point of destroying, it would not be.
    for mirror in [0, 1] {
        setup.put(mirror, &old);
    }
    assert!(matches!(error(setup.read()), Error::MissingKeyVersion(2)));
    setup.put_key(&key);
    assert!(setup.read().unwrap().site(&id("shop")).unwrap().leaf(0).is_some());
}

#[test]
fn an_edit_that_fails_changes_nothing() {
    let setup = Setup::new();
    let keyring = setup.create();
    let site = keyring.add_site(id("shop"), 30, 5).unwrap();
    let (bytes, key, epoch) = (setup.bytes(0), setup.key(), keyring.epoch());
    let result = keyring.change(|next| {
        next.puncture(&site.handle(), &[7]);
        next.expire_through(20_000);
        next.remove_site(&site.handle());
        next.record(b"it did not happen", [1; 32]);
        Err::<(), _>(Error::Erased)
    });
    assert!(matches!(error(result), Error::Erased));
    assert!(site.leaf(7).is_some() && keyring.site(&id("shop")).is_some());
    assert_eq!((keyring.log_head().count, keyring.expired_through()), (0, None));
    assert_eq!((setup.bytes(0), setup.key(), keyring.epoch()), (bytes, key, epoch));
    assert!(matches!(error(setup.read().unwrap().rotate()), Error::ReadOnly));
}

#[test]
fn a_site_that_comes_again_is_another_one() {
    let setup = Setup::new();
    let keyring = setup.create();
    let before = keyring.add_site(id("shop"), 30, 5).unwrap();
    let remove = |next: &mut Next<'_>| {
        next.add_hold(Arc::new(hold(1, before.handle())))?;
        Ok((next.remove_site(&before.handle()), next.remove_site(&before.handle())))
    };
    assert_eq!(keyring.change(remove).unwrap().0, (true, false));
    assert!(keyring.holds().is_empty(), "its holds go with it");
    assert!(keyring.erased(&id("shop")) && !keyring.erased(&id("other")));
    assert!(setup.open().unwrap().erased(&id("shop")));
    let again = keyring.add_site(id("shop"), 30, 6).unwrap();
    assert!(!keyring.erased(&id("shop")));
    assert_ne!(again.handle(), before.handle());
    assert!(before.leaf(7).is_none() && again.leaf(7).is_some());
    assert_eq!(keyring.status().unwrap().erased_sites, 0);
}

#[test]
fn holds_and_the_end_of_the_log_are_kept() {
    let setup = Setup::new();
    let keyring = setup.create();
    let site = keyring.add_site(id("shop"), 30, 5).unwrap().handle();
    let edit = |next: &mut Next<'_>| {
        next.add_hold(Arc::new(hold(1, site)))?;
        next.add_hold(Arc::new(hold(2, site)))?;
        next.record(b"one", [1; 32]);
        let one = next.log_head();
        next.record(b"two", [2; 32]);
        Ok(one)
    };
    let one = keyring.change(edit).unwrap().0;
    assert_eq!((one.count, &one.last[..]), (1, &b"one"[..]));
    let reopened = setup.open().unwrap();
    let head = reopened.log_head();
    assert_eq!((head.count, &head.last[..]), (2, &b"two"[..]));
    assert_ne!(head.digest, one.digest);
    assert_eq!(reopened.holds().len(), 2);
    let held = reopened.hold(&HoldId([2; 16])).unwrap();
    assert_eq!((held.key.expose(), held.site, &*held.reason), (&[2; 32], site, "a lawsuit"));
    let twice = reopened.change(|next| next.add_hold(Arc::new(hold(2, site))));
    assert!(matches!(error(twice), Error::Input(_)));
    let mut long = hold(3, site);
    long.reason = "x".repeat(1_025);
    assert!(matches!(
        error(reopened.change(|next| next.add_hold(Arc::new(long)))),
        Error::Input(_)
    ));
    let epoch = reopened.epoch();
    let gone = reopened.change(|next| Ok(next.remove_hold(&HoldId([1; 16])))).unwrap().0;
    assert_eq!(gone.unwrap().id, HoldId([1; 16]));
    assert!(reopened.hold(&HoldId([1; 16])).is_none() && reopened.epoch() > epoch);
}

#[test]
fn days_expire_once_and_the_tree_stays_small() {
    let setup = Setup::new();
    let keyring = setup.create();
    for day in [20_000, 20_003, 20_001] {
        keyring.lose_day(day);
    }
    assert_eq!(keyring.expired_through(), Some(20_003));
    assert!(matches!(
        error(keyring.directory_cipher(Kept::Until(20_003))),
        Error::Expired { expiry_day: 20_003 }
    ));
    assert!(keyring.directory_cipher(Kept::Until(20_004)).is_ok());
    assert!(keyring.status().unwrap().nodes <= 24);
    keyring.lose_day(u32::MAX);
    assert_eq!(keyring.expired_through(), Some(EXPIRY_DAY_MAX));
    assert!(keyring.directory_cipher(Kept::Until(EXPIRY_DAY_MAX)).is_err());
    assert_eq!(setup.open().unwrap().expired_through(), Some(EXPIRY_DAY_MAX));
}

#[test]
fn a_version_that_could_not_be_destroyed_is_told_and_tried_again() {
    let setup = Setup::new();
    let provider = stubborn(&setup);
    let keyring = create(&setup.env, &setup.mirrors, provider.clone()).unwrap();
    provider.fails.store(true, Ordering::Relaxed);
    let published = keyring.rotate().unwrap();
    assert!(!published.is_final());
    assert!(published.destroyed[0].destruction.as_ref().unwrap_err().contains("reach"));
    assert_eq!(keyring.generation(), 2, "the change counts all the same");
    assert_eq!(keyring.status().unwrap().undestroyed, [1]);
    provider.lies.store(true, Ordering::Relaxed);
    provider.fails.store(false, Ordering::Relaxed);
    let published = keyring.rotate().unwrap();
    assert_eq!(published.destroyed.len(), 2, "both are tried");
    assert!(published.destroyed.iter().all(|end| !end.is_destroyed() && !end.proven), "and probed");
    assert_eq!(keyring.status().unwrap().undestroyed, [1, 2]);
    provider.lies.store(false, Ordering::Relaxed);
    let published = keyring.rotate().unwrap();
    assert!(published.is_final() && published.destroyed.iter().all(|end| end.proven));
    assert_eq!(published.destroyed.iter().map(|end| end.version).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(keyring.status().unwrap().undestroyed.is_empty());
    // Or when it is opened again, for writing alone.
    provider.fails.store(true, Ordering::Relaxed);
    keyring.rotate().unwrap();
    assert_eq!(setup.read().unwrap().status().unwrap().undestroyed, [4]);
    assert!(setup.open().unwrap().status().unwrap().undestroyed.is_empty());
}

#[test]
fn a_passphrase_says_that_older_copies_still_open() {
    let setup = Setup::new();
    let light = crate::keyring::passphrase::LIGHT;
    let provider = Arc::new(Passphrase::with_cost(&setup.env, "secret", light).unwrap());
    let keyring = create(&setup.env, &setup.mirrors, provider.clone()).unwrap();
    let old = setup.bytes(0);
    let published = keyring.rotate().unwrap();
    assert!(!published.is_final());
    let [end] = &published.destroyed[..] else { panic!("{published:?}") };
    assert!(matches!(end.destruction, Ok(Destruction::Impossible { .. })));
    assert!(keyring.status().unwrap().indestructible.unwrap().contains("passphrase"));
    setup.put(1, &old);
    assert_eq!(keyring.check()[1].state, MirrorState::Behind { generation: 1, opens: true });
    for mirror in [0, 1] {
        setup.put(mirror, &old);
    }
    let reader = open(&setup.env, &setup.mirrors, provider, true).unwrap();
    assert_eq!(reader.generation(), 1);
}

#[test]
fn a_reader_follows_through_rotations() {
    let setup = Setup::new();
    let writer = setup.create();
    let site = writer.add_site(id("shop"), 30, 5).unwrap();
    let reader = setup.read().unwrap();
    let held = reader.site(&id("shop")).unwrap();
    std::thread::scope(|scope| {
        let done = scope.spawn(|| {
            for place in 0..30 {
                writer.change(|next| Ok(next.puncture(&site.handle(), &[place]))).unwrap();
            }
        });
        while !done.is_finished() {
            reader.refresh().unwrap();
            setup.read().unwrap();
        }
    });
    reader.refresh().unwrap();
    assert_eq!(reader.generation(), writer.generation());
    assert!(held.leaf(29).is_none() && held.leaf(30).is_some());
}

#[test]
fn a_mirror_that_is_added_is_a_mirror_from_then_on() {
    let setup = Setup::new();
    let keyring = setup.create();
    let third = setup.dir.path("c/keyring");
    let twice = keyring.add_mirror(&setup.mirrors[1]);
    assert!(matches!(error(twice), Error::Input(InputError::Option { name: "mirror", .. })));
    fs::write(setup.dir.path("taken"), b"x").unwrap();
    assert!(matches!(error(keyring.add_mirror(setup.dir.path("taken"))), Error::Exists(_)));
    // Its directory cannot be made.
    let impossible = setup.dir.path("taken/keyring");
    assert!(keyring.add_mirror(&impossible).is_err());
    assert!(keyring.add_mirror(&third).unwrap().is_final());
    keyring.add_site(id("shop"), 30, 5).unwrap();
    assert_eq!(fs::read(&third).unwrap(), setup.bytes(0));
    let alone = open(&setup.env, &[third], setup.provider(), true).unwrap();
    assert_eq!(names(&alone), ["shop"]);
}

#[test]
fn a_check_tells_how_each_mirror_is() {
    let setup = Setup::new();
    let keyring = setup.create();
    let old = setup.bytes(0);
    keyring.add_site(id("shop"), 30, 5).unwrap();
    let new = setup.bytes(0);
    let states = || keyring.check().iter().map(|m| m.state).collect::<Vec<_>>();
    assert_eq!(states(), [MirrorState::Whole, MirrorState::Whole]);
    setup.put(0, &old);
    setup.put(1, &new[..new.len() - 1]);
    let behind = MirrorState::Behind { generation: 1, opens: false };
    assert_eq!(states(), [behind, MirrorState::Damaged(crate::error::Damage::Truncated)]);
    let mut flipped = new.clone();
    flipped[200] ^= 1;
    setup.put(0, &flipped);
    fs::remove_file(&setup.mirrors[1]).unwrap();
    let rot = MirrorState::Damaged(crate::error::Damage::Rot);
    assert_eq!(states(), [rot, MirrorState::Missing]);
    let status = keyring.status().unwrap();
    assert_eq!((status.generation, status.version, status.sites), (2, 2, 1));
    assert_eq!((status.bytes, status.nodes), (new.len() as u64, 2));
    keyring.rotate().unwrap();
    assert_eq!(states(), [MirrorState::Whole, MirrorState::Whole]);
}
