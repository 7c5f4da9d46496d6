//! Every key that a keyring derives, against vectors and against each other.

use super::*;
use crate::crypto::{Cipher, Suite};
use crate::ids::{FileId, SessionId, SessionTag, VisitorId, VisitorTag};
use crate::keyring::tree::Tree;

fn key(bytes: [u8; 32]) -> Key {
    Key::take(&mut bytes.clone())
}

fn counting(from: u8) -> Key {
    let mut n = from;
    key([(); 32].map(|()| {
        n += 1;
        n - 1
    }))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(digits: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).unwrap();
    }
    bytes
}

/// A cipher does not give its key away; what it seals does for comparing.
fn sealed(cipher: &Cipher) -> Vec<u8> {
    let mut buf = b"probe".to_vec();
    cipher.seal(&[0; 12], b"", &mut buf, 0);
    buf
}

fn is_under(cipher: &Cipher, digits: &str) -> bool {
    sealed(cipher) == sealed(&Cipher::new(&key(unhex(digits))))
}

fn site(n: u8, tree: Tree) -> Site {
    Site::new(id("shop"), SiteHandle([n; 16]), 0, 30, key([5; 32]), tree)
}

/// Computed with Python's hmac and hashlib from the format document.
#[test]
fn the_keys_of_a_site_are_those_of_the_vectors() {
    let site = site(2, Tree::bare(SITE_DEPTH));
    let session = SessionId::new("session-1").unwrap();
    let visitor = VisitorId::new("visitor-1").unwrap();
    assert_eq!(site.session_tag(&session, 0).to_string(), "9fe18c9d803afa54466b911da3ad48e0");
    assert_eq!(site.session_tag(&session, 1).to_string(), "d46a565fb999896551ba1d187e88e372");
    assert_eq!(site.session_tag(&session, 0).place(), 0x9fe1_8c9d_803a_fa54);
    assert_eq!(site.visitor_tag(Some(&visitor)).to_string(), "f4d1cc1a13fcb4697609b982a81139bf");
    assert_eq!(site.visitor_tag(None), VisitorTag::NONE);
    assert_eq!(hex(&site.cursor_mac(b"cursor")), "cfb8861107a1298e67779d4c39478f90");
    let day = Tree::new(TIME_DEPTH, counting(0)).leaf(20_743).unwrap();
    assert_eq!(
        hex(site.envelope(&day, &FileId([9; 16])).expose()),
        "29a9a0383a631dac621ca89087b64d7c64e08f5e748ffcde181930af3c2f9496"
    );
    assert_eq!(
        hex(site.index(&day).expose()),
        "ab5f5a7dc42e2c977678694ebaf48a83898181b11d372972974639a4c852a082"
    );
    assert_eq!(
        hex(site.index(&counting(64)).expose()),
        "50d8a8d275ec8561b97ec44bae2467fdfbba28db7f79597fc0baea7d798afb9b",
        "of a hold"
    );
    assert_eq!(format!("{site:?}"), "Site(shop)");
}

/// Computed with Python's hmac and hashlib from the format document: the time tree's root is the bytes 0 to 31, the
/// site tree's the bytes 32 to 63.
#[test]
fn the_keys_of_a_session_are_those_of_the_vectors() {
    let day = Tree::new(TIME_DEPTH, counting(0)).leaf(20_743).unwrap();
    let tag = SessionTag([3; 16]);
    let leaf = site(2, Tree::new(SITE_DEPTH, counting(32))).leaf(tag.place()).unwrap();
    let (store, handle) = (StoreId([1; 16]), SiteHandle([2; 16]));
    let suite = Suite::Aes256Gcm;
    let keys = SessionKeys::derive(suite, &day, &leaf, &store, &handle, &tag, 20_743);
    assert!(is_under(
        keys.cipher(),
        "fb59cf33babcf654cc1f38d168f19689d0fe847f7bf6ff715884261dbc94a946"
    ));
    assert_eq!(
        hex(keys.commitment()),
        "e246fb4c2633691bc41da1fe06d9dc341906b3210274b6a9d31b6ca321b7fd21"
    );
    let held = SessionKeys::derive(suite, &counting(64), &leaf, &store, &handle, &tag, u32::MAX);
    assert!(is_under(
        held.cipher(),
        "53551c17113344bde23cdd74b1309c4e3557f5c175073b9f2ed243751b7f431e"
    ));
    assert_eq!(
        hex(held.commitment()),
        "5d69a445fee25bcb0771d27a1e3f06c8c5abf4eed8a3639b8f47db9596eb7900"
    );
}

#[test]
fn the_directory_key_is_that_of_the_vectors() {
    let keyring = Setup::new().create();
    {
        let mut live = keyring.live.write();
        live.store_key = key([6; 32]);
        live.time = Tree::new(TIME_DEPTH, counting(0));
    }
    assert!(is_under(
        &keyring.directory_cipher(Kept::Until(20_743)).unwrap(),
        "596e8306c0893ffa8a00821ef845c6c9a999ee46efc67121960d76b02619adbe"
    ));
}

#[test]
fn what_is_bound_to_a_day_is_gone_with_it_and_the_rest_stays() {
    let setup = Setup::new();
    let keyring = setup.create();
    let site = keyring.add_site(id("one"), 30, 5).unwrap();
    let (tag, journal, hold) = (SessionTag([7; 16]), FileId([1; 16]), key([9; 32]));
    let all = |keyring: &Keyring, kept: Kept<'_>| -> Vec<Result<()>> {
        let mut all = vec![
            keyring.session_keys(&site, &tag, kept).map(drop),
            keyring.index_cipher(&site, kept).map(drop),
            keyring.directory_cipher(kept).map(drop),
        ];
        if let Kept::Until(day) = kept {
            all.push(keyring.envelope_cipher(&site, &journal, day).map(drop));
        }
        all
    };
    let opens = |keyring: &Keyring| {
        for kept in [Kept::Until(101), Kept::Until(102), Kept::Held(&hold)] {
            all(keyring, kept).into_iter().for_each(|outcome| outcome.unwrap());
        }
    };
    opens(&keyring);
    all(&keyring, Kept::Until(100)).into_iter().for_each(|outcome| outcome.unwrap());
    keyring.lose_day(100);
    for keyring in [&keyring, &setup.open().unwrap()] {
        opens(keyring);
        for outcome in all(keyring, Kept::Until(100)) {
            assert!(matches!(outcome, Err(Error::Expired { expiry_day: 100 })));
        }
    }
}

#[test]
fn session_keys_differ_by_site_tag_and_day() {
    let setup = Setup::new();
    let keyring = setup.create();
    let sites = keyring.add_sites(vec![(id("one"), 30), (id("two"), 30)], 5).unwrap();
    // Two tags of one place: they differ only beyond the bits that the tree looks at.
    let mut beside = [7; 16];
    beside[15] = 8;
    let mut seen = Vec::new();
    for site in &sites {
        for tag in [SessionTag([7; 16]), SessionTag(beside), SessionTag([8; 16])] {
            for day in [0, 20_000, 20_001, EXPIRY_DAY_MAX] {
                let keys = keyring.session_keys(site, &tag, Kept::Until(day)).unwrap();
                let again = keyring.session_keys(site, &tag, Kept::Until(day)).unwrap();
                assert!(Arc::ptr_eq(&keys, &again), "remembered");
                seen.push(*keys.commitment());
                seen.push(sealed(keys.cipher())[..5].repeat(7)[..32].try_into().unwrap());
            }
        }
    }
    let count = seen.len();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), count);
    let other = Setup::new().create();
    let keys = other.session_keys(&sites[0], &SessionTag([7; 16]), Kept::Until(20_000)).unwrap();
    assert!(!seen.contains(keys.commitment()), "another store's time tree");
    let reopened = setup.open().unwrap();
    let one = reopened.site(&id("one")).unwrap();
    let keys = reopened.session_keys(&one, &SessionTag([7; 16]), Kept::Until(20_000)).unwrap();
    assert!(seen.contains(keys.commitment()), "the same after reopening");
}

#[test]
fn a_day_beyond_the_time_tree_is_refused() {
    let setup = Setup::new();
    let keyring = setup.create();
    let site = keyring.add_site(id("one"), 30, 5).unwrap();
    for day in [EXPIRY_DAY_MAX + 1, u32::MAX] {
        let e = error(keyring.session_keys(&site, &SessionTag([7; 16]), Kept::Until(day)));
        assert!(matches!(e, Error::Input(InputError::TimeRange { .. })));
    }
}

#[test]
fn every_purpose_has_a_key_of_its_own() {
    let setup = Setup::new();
    let keyring = setup.create();
    let one = keyring.add_site(id("one"), 30, 5).unwrap();
    let two = keyring.add_site(id("two"), 30, 5).unwrap();
    let journals = [FileId([1; 16]), FileId([2; 16])].map(|id| keyring.journal_cipher(&id));
    let store = [keyring.manifest_cipher()];
    let (journal, hold) = (FileId([1; 16]), key([9; 32]));
    let envelope = |site, journal, day| keyring.envelope_cipher(site, &journal, day).unwrap();
    let mut bound = vec![
        envelope(&one, journal, 7),
        envelope(&one, journal, 8),
        envelope(&one, FileId([2; 16]), 7),
        envelope(&two, journal, 7),
    ];
    for kept in [Kept::Until(7), Kept::Until(8), Kept::Held(&hold)] {
        bound.push(keyring.directory_cipher(kept).unwrap());
        bound.extend([&one, &two].map(|site| keyring.index_cipher(site, kept).unwrap()));
    }
    let again = envelope(&one, journal, 7);
    assert!(Arc::ptr_eq(&bound[0], &again), "remembered");
    let all = journals.iter().chain(&store).chain(bound.iter().map(|cipher| &**cipher));
    let mut seen: Vec<_> = all.map(sealed).collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 16);
    let session = SessionId::new("s").unwrap();
    assert_ne!(one.session_tag(&session, 0), two.session_tag(&session, 0));
    assert_ne!(one.session_tag(&session, 0), one.session_tag(&session, 1));
    let again = setup.open().unwrap();
    assert_eq!(sealed(&again.manifest_cipher()), sealed(&store[0]));
    assert_eq!(sealed(&again.journal_cipher(&FileId([1; 16]))), sealed(&journals[0]));
}

#[test]
#[ignore = "a measurement: run it in release with --nocapture"]
fn the_cost_of_keys() {
    let setup = Setup::new();
    let keyring = setup.create();
    let site = keyring.add_site(id("one"), 30, 5).unwrap();
    let clock = Env::real().clock;
    let tags = |n: u64| {
        SessionTag(
            [n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes(); 2].concat().try_into().unwrap(),
        )
    };
    let run = |what: &str, count: u64, day: &dyn Fn(u64) -> u32, tag: &dyn Fn(u64) -> u64| {
        let from = clock.monotonic_ns();
        for n in 0..count {
            std::hint::black_box(
                keyring.session_keys(&site, &tags(tag(n)), Kept::Until(day(n))).unwrap(),
            );
        }
        println!("{what} {:.2} µs", (clock.monotonic_ns() - from) as f64 / 1e3 / count as f64);
    };
    let journal = FileId([1; 16]);
    let from = clock.monotonic_ns();
    for _ in 0..1_000_000 {
        std::hint::black_box(keyring.envelope_cipher(&site, &journal, 9_999).unwrap());
    }
    println!("envelope cipher, cached {:.3} µs", (clock.monotonic_ns() - from) as f64 / 1e9);
    run("cold, cold day", 2_000, &|n| n as u32, &|n| n);
    run("cold, cached day", 20_000, &|_| 9_999, &|n| n);
    run("cached", 1_000_000, &|_| 9_999, &|n| 20_000 - 1 - n % 1_000);
    let from = clock.monotonic_ns();
    let sites = (0..100_000).map(|n| (id(&format!("site-{n}")), 30)).collect();
    keyring.add_sites(sites, 5).unwrap();
    println!("100,000 sites {:.0} ms", (clock.monotonic_ns() - from) as f64 / 1e6);
    let from = clock.monotonic_ns();
    keyring.add_site(id("one-more"), 30, 5).unwrap();
    println!("one more {:.0} ms", (clock.monotonic_ns() - from) as f64 / 1e6);
    let from = clock.monotonic_ns();
    setup.open().unwrap();
    println!("open {:.0} ms", (clock.monotonic_ns() - from) as f64 / 1e6);
    let from = clock.monotonic_ns();
    Passphrase::new(&Env::real(), "secret")
        .unwrap()
        .wrap(1, &DataKey::take(&mut [1; 32]), b"")
        .unwrap();
    println!("passphrase {:.0} ms", (clock.monotonic_ns() - from) as f64 / 1e6);
}
