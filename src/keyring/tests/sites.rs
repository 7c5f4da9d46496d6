//! Sites: adding them, finding them, and hearing of them from another process.

use super::*;
use crate::ids::SessionTag;

#[test]
fn sites_are_found_by_id_and_by_handle() {
    let setup = Setup::new();
    let keyring = setup.create();
    let shop = keyring.add_site(id("shop"), 30, 5).unwrap();
    let many = (0..100).map(|n| (id(&format!("s{n}")), 90)).collect();
    let added = keyring.add_sites(many, 6).unwrap();
    assert_eq!((added.len(), keyring.generation()), (100, 3));
    assert!(keyring.add_sites(vec![], 6).unwrap().is_empty());
    assert_eq!(keyring.generation(), 3);
    let reopened = setup.open().unwrap();
    assert_eq!(reopened.store_id(), keyring.store_id());
    for keyring in [&keyring, &reopened] {
        assert_eq!(keyring.sites().len(), 101);
        let found = keyring.site(&id("shop")).unwrap();
        assert_eq!(found.handle(), shop.handle());
        assert_eq!((found.created_ms(), found.retention_days()), (5, 30));
        assert_eq!(keyring.site_by_handle(&shop.handle()).unwrap().id(), &id("shop"));
        assert!(keyring.site(&id("none")).is_none());
        assert!(keyring.site_by_handle(&SiteHandle([0; 16])).is_none());
    }
    for mirror in [0, 1] {
        assert!(!setup.bytes(mirror).windows(4).any(|w| w == b"shop"));
    }
}

#[test]
fn a_site_that_breaks_a_rule_is_refused_and_nothing_is_written() {
    let setup = Setup::new();
    let keyring = setup.create();
    keyring.add_site(id("shop"), 30, 5).unwrap();
    let before = setup.bytes(0);
    assert!(matches!(error(keyring.add_site(id("shop"), 30, 5)), Error::SiteExists(_)));
    let twice = vec![(id("new"), 30), (id("new"), 30)];
    assert!(matches!(error(keyring.add_sites(twice, 5)), Error::SiteExists(_)));
    for days in [0, 36_501] {
        let e = error(keyring.add_site(id("new"), days, 5));
        assert!(matches!(e, Error::Input(InputError::RetentionClass)));
    }
    let reader = setup.read().unwrap();
    assert!(matches!(error(reader.add_site(id("new"), 30, 5)), Error::ReadOnly));
    assert_eq!((setup.bytes(0), keyring.generation()), (before, 2));
    assert!(keyring.site(&id("new")).is_none());
}

#[test]
fn a_reader_hears_of_new_sites() {
    let setup = Setup::new();
    let writer = setup.create();
    writer.add_site(id("one"), 30, 5).unwrap();
    let reader = setup.read().unwrap();
    let held = reader.site(&id("one")).unwrap();
    assert!(!reader.refresh().unwrap());
    writer.add_site(id("two"), 30, 5).unwrap();
    assert!(reader.site(&id("two")).is_none());
    assert!(reader.refresh().unwrap());
    assert!(!reader.refresh().unwrap());
    assert_eq!(names(&reader), ["one", "two"]);
    assert!(Arc::ptr_eq(&held, &reader.site(&id("one")).unwrap()), "it is the same site");
    assert!(!writer.refresh().unwrap(), "a writer knows already");
}

/// Erases a session and a site, and lets a day pass.
fn erase(keyring: &Keyring, session: (&SiteId, u64), day: u32, gone: &SiteId) {
    let handle = |id: &SiteId| keyring.site(id).unwrap().handle();
    let (site, gone) = (handle(session.0), handle(gone));
    let edit = |next: &mut Next<'_>| {
        assert_eq!(next.puncture(&site, &[session.1]), 1);
        assert!(next.remove_site(&gone));
        next.expire_through(day);
        Ok(())
    };
    keyring.change(edit).unwrap();
}

#[test]
fn what_is_erased_is_erased_for_everyone_who_holds_it() {
    let setup = Setup::new();
    let writer = setup.create();
    writer.add_sites(vec![(id("shop"), 30), (id("gone"), 30)], 5).unwrap();
    let reader = setup.read().unwrap();
    let (tag, other) = (SessionTag([7; 16]), SessionTag([8; 16]));
    let sites = |k: &Keyring| (k.site(&id("shop")).unwrap(), k.site(&id("gone")).unwrap());
    let held = [(&writer, sites(&writer)), (&reader, sites(&reader))];
    for (keyring, (shop, gone)) in &held {
        for tag in [&tag, &other] {
            keyring.session_keys(shop, tag, Kept::Until(20_000)).unwrap();
            keyring.session_keys(shop, tag, Kept::Until(20_001)).unwrap();
            keyring.session_keys(gone, tag, Kept::Until(20_001)).unwrap();
        }
    }
    let before =
        *writer.session_keys(&held[0].1.0, &other, Kept::Until(20_001)).unwrap().commitment();
    let epochs = (writer.epoch(), reader.epoch());
    erase(&writer, (&id("shop"), tag.place()), 20_000, &id("gone"));
    assert!(writer.epoch() > epochs.0 && reader.epoch() == epochs.1);
    assert!(reader.refresh().unwrap());
    assert!(reader.epoch() > epochs.1);
    let reopened = setup.open().unwrap();
    let again = (reopened.site(&id("shop")).unwrap(), Arc::clone(&held[0].1.1));
    let [one, two] = held;
    for (keyring, (shop, gone)) in [one, two, (&reopened, again)] {
        assert!(matches!(
            error(keyring.session_keys(&shop, &tag, Kept::Until(20_001))),
            Error::Erased
        ));
        assert!(matches!(
            error(keyring.session_keys(&gone, &other, Kept::Until(20_001))),
            Error::Erased
        ));
        let e = error(keyring.session_keys(&shop, &other, Kept::Until(20_000)));
        assert!(matches!(e, Error::Expired { expiry_day: 20_000 }));
        let kept = keyring.session_keys(&shop, &other, Kept::Until(20_001)).unwrap();
        assert!(kept.commits_to(&before));
        assert!(keyring.site(&id("gone")).is_none());
        assert!(keyring.erased(&id("gone")) && !keyring.erased(&id("shop")));
        assert_eq!(keyring.expired_through(), Some(20_000));
    }
}

#[test]
fn threads_that_add_and_derive_at_once_agree() {
    let setup = Setup::new();
    let keyring = setup.create();
    let first = keyring.add_site(id("first"), 30, 5).unwrap();
    let expected =
        *keyring.session_keys(&first, &SessionTag([7; 16]), Kept::Until(9)).unwrap().commitment();
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let (keyring, first) = (&keyring, &first);
            scope.spawn(move || {
                for n in 0..5 {
                    keyring.add_site(id(&format!("s{thread}-{n}")), 30, 5).unwrap();
                    let keys =
                        keyring.session_keys(first, &SessionTag([7; 16]), Kept::Until(9)).unwrap();
                    assert!(keys.commits_to(&expected));
                    keyring
                        .session_keys(first, &SessionTag([n; 16]), Kept::Until(thread.into()))
                        .unwrap();
                }
            });
        }
    });
    assert_eq!((keyring.generation(), keyring.sites().len()), (22, 21));
    assert_eq!(setup.open().unwrap().sites().len(), 21);
}

#[test]
fn a_bare_tree_is_what_an_erased_site_leaves() {
    assert!(Tree::bare(SITE_DEPTH).leaf(0).is_none());
}
