//! Mirrors: which one counts, what is repaired, and what is left alone.

use super::*;
use crate::error::Damage;

/// A keyring of two generations, and the bytes of both.
fn two_generations() -> (Setup, Vec<u8>, Vec<u8>) {
    let (setup, old, new, _) = two_generations_and_key();
    (setup, old, new)
}

/// The same, with the key file as it was when both versions lived: after the new one was made, before the old one was
/// destroyed.
fn two_generations_and_key() -> (Setup, Vec<u8>, Vec<u8>, Vec<u8>) {
    let setup = Setup::new();
    let keyring = setup.create();
    let (old, mut both) = (setup.bytes(0), setup.key());
    keyring.add_site(id("shop"), 30, 5).unwrap();
    let new = setup.bytes(0);
    assert_eq!(setup.bytes(1), new);
    assert_ne!(old, new);
    let key = setup.key();
    both.extend_from_slice(&key[both.len()..]);
    (setup, old, new, both)
}

fn is_repaired(setup: &Setup, expected: &[u8]) {
    let keyring = setup.open().unwrap();
    assert_eq!(keyring.generation(), 2);
    assert_eq!(names(&keyring), ["shop"]);
    assert_eq!((setup.bytes(0), setup.bytes(1)), (expected.to_vec(), expected.to_vec()));
}

#[test]
fn a_keyring_is_made_once() {
    let setup = Setup::new();
    let keyring = setup.create();
    assert_eq!(keyring.generation(), 1);
    assert!(keyring.sites().is_empty());
    let again = create(&setup.env, &setup.mirrors, setup.provider());
    assert!(matches!(error(again), Error::Exists(p) if p == setup.mirrors[0]));
    fs::remove_file(&setup.mirrors[0]).unwrap();
    let again = create(&setup.env, &setup.mirrors, setup.provider());
    assert!(matches!(error(again), Error::Exists(p) if p == setup.mirrors[1]));
    assert!(!setup.mirrors[0].exists(), "nothing was written");
    let one = &setup.mirrors[0];
    for mirrors in [vec![], vec![one.clone(), one.clone()]] {
        let e = error(create(&setup.env, &mirrors, setup.provider()));
        assert!(matches!(e, Error::Input(InputError::Option { name: "mirrors", .. })));
    }
}

#[test]
fn a_mirror_that_is_behind_missing_or_damaged_is_repaired() {
    let (setup, old, new) = two_generations();
    let mut flipped = new.clone();
    flipped[200] ^= 1;
    for mirror in [0, 1] {
        for bad in [&old[..], &flipped, &new[..100], &[]] {
            setup.put(mirror, bad);
            assert_eq!(setup.read().unwrap().generation(), 2);
            assert_eq!(setup.bytes(mirror), bad, "a read-only open repairs nothing");
            is_repaired(&setup, &new);
        }
        fs::remove_dir_all(setup.mirrors[mirror].parent().unwrap()).unwrap();
        is_repaired(&setup, &new);
    }
}

#[test]
fn any_damage_to_one_mirror_is_survived() {
    let (setup, _, new) = two_generations();
    for at in (0..new.len()).filter(|at| *at >= 4) {
        let mut bad = new.clone();
        bad[at] ^= 0x10;
        setup.put(at % 2, &bad);
        is_repaired(&setup, &new);
    }
}

#[test]
fn damage_to_all_mirrors_is_named() {
    let (setup, _, new) = two_generations();
    for at in (0..new.len()).step_by(7) {
        let mut bad = new.clone();
        bad[at] ^= 1;
        setup.put(0, &bad);
        setup.put(1, &bad[..at]);
        for result in [setup.open(), setup.read()] {
            let e = error(result);
            assert!(damage(&e).is_some(), "byte {at}: {e}");
            assert!(e.to_string().contains("keyring"), "{e}");
        }
    }
    for path in &setup.mirrors {
        fs::remove_file(path).unwrap();
    }
    let e = error(setup.open());
    assert!(
        matches!(&e, Error::Io { cause, .. } if cause.kind() == std::io::ErrorKind::NotFound),
        "{e}"
    );
}

#[test]
fn a_damaged_newest_generation_gives_way_to_a_whole_older_one() {
    let (setup, old, mut new, both) = two_generations_and_key();
    setup.put_key(&both);
    new[200] ^= 1;
    setup.put(0, &new);
    setup.put(1, &old);
    let keyring = setup.open().unwrap();
    assert_eq!(keyring.generation(), 1);
    assert_eq!(setup.bytes(0), old);
}

/// The writer dies after each of its steps: what stands at a path is always a whole generation.
#[test]
fn a_crash_between_mirrors_leaves_the_old_or_the_new_generation_whole() {
    let (setup, old, new, both) = two_generations_and_key();
    setup.put_key(&both);
    let beside = setup.dir.path("a/keyring.new");
    // Half of the new generation beside the old one.
    setup.put(0, &old);
    setup.put(1, &old);
    fs::write(&beside, &new[..new.len() / 2]).unwrap();
    let keyring = setup.open().unwrap();
    assert_eq!((keyring.generation(), names(&keyring).len()), (1, 0));
    assert!(!beside.exists(), "what was left beside it is removed");
    assert_eq!(keyring.status().unwrap().undestroyed, [2], "the attempt may have been copied");
    // The first mirror is new, the second old.
    setup.put(0, &new);
    setup.put(1, &old);
    is_repaired(&setup, &new);
    assert!(setup.open().unwrap().status().unwrap().undestroyed.is_empty());
    fs::write(&beside, &new[..new.len() / 2]).unwrap();
    setup.open().unwrap().add_site(id("next"), 30, 6).unwrap();
    assert!(!beside.exists());
    assert_eq!(setup.open().unwrap().generation(), 3);
}

#[test]
fn a_failed_write_changes_nothing_in_memory_and_its_number_is_not_used_again() {
    let (setup, ..) = two_generations();
    let keyring = setup.open().unwrap();
    // The second mirror's directory turns into a file: its disk went away.
    let dir = setup.mirrors[1].parent().unwrap();
    let aside = setup.dir.path("aside");
    fs::rename(dir, &aside).unwrap();
    fs::write(dir, b"").unwrap();
    assert!(matches!(error(keyring.add_site(id("lost"), 30, 6)), Error::Io { .. }));
    assert_eq!((keyring.generation(), names(&keyring)), (2, vec!["shop".to_owned()]));
    let reader = open(&setup.env, &setup.mirrors[..1], setup.provider(), true).unwrap();
    assert_eq!((reader.generation(), names(&reader).len()), (2, 1), "nor has the first mirror");
    fs::remove_file(dir).unwrap();
    fs::rename(&aside, dir).unwrap();
    keyring.add_site(id("kept"), 30, 7).unwrap();
    assert_eq!(keyring.generation(), 4);
    let reopened = setup.open().unwrap();
    assert_eq!((reopened.generation(), names(&reopened)), (4, vec!["kept".into(), "shop".into()]));
}

#[test]
fn a_creation_that_fails_leaves_nothing_behind() {
    let setup = Setup::new();
    fs::write(setup.dir.path("b"), b"").unwrap();
    assert!(create(&setup.env, &setup.mirrors, setup.provider()).is_err());
    assert!(!setup.mirrors[0].exists());
    fs::remove_file(setup.dir.path("b")).unwrap();
    setup.create();
}

#[test]
fn a_wrong_key_never_makes_an_older_generation_count() {
    let (setup, old, newest, both) = two_generations_and_key();
    setup.put(1, &old);
    // The key file is restored from a backup that lacks version 2: generation 1 would open, and must not.
    setup.put_key(&both[..both.len() - 118]);
    for result in [setup.open(), setup.read()] {
        assert!(matches!(error(result), Error::MissingKeyVersion(2)));
    }
    assert_eq!((setup.bytes(0), setup.bytes(1)), (newest, old));
    let key = setup.dir.path("key");
    fs::remove_file(&key).unwrap();
    KeyFile::create(&setup.env, &key).unwrap();
    assert!(matches!(error(setup.open()), Error::MissingKeyVersion(2)));
    // Another key under the same number.
    let other = Setup::new();
    other.create();
    setup.put_key(&other.key());
    setup.put(0, &setup.bytes(1));
    assert!(matches!(error(setup.open()), Error::WrongKey(_)));
}

#[test]
fn a_keyring_wrapped_by_another_kind_of_provider_says_so() {
    let (setup, ..) = two_generations();
    let light = crate::keyring::passphrase::LIGHT;
    let passphrase = Arc::new(Passphrase::with_cost(&setup.env, "secret", light).unwrap());
    let e = error(open(&setup.env, &setup.mirrors, passphrase.clone(), false));
    assert!(matches!(e, Error::WrongKey(why) if why.contains("key file")));
    let mirrors = vec![setup.dir.path("by-passphrase")];
    create(&setup.env, &mirrors, passphrase.clone()).unwrap();
    let e = error(open(&setup.env, &mirrors, setup.provider(), false));
    assert!(matches!(e, Error::WrongKey(why) if why.contains("passphrase")));
    let other = Arc::new(Passphrase::with_cost(&setup.env, "Secret", light).unwrap());
    let e = error(open(&setup.env, &mirrors, other, false));
    assert!(matches!(e, Error::WrongKey(_)));
    let keyring = open(&setup.env, &mirrors, passphrase, false).unwrap();
    keyring.add_site(id("shop"), 30, 1).unwrap();
    assert_eq!(keyring.generation(), 2);
}

#[test]
fn mirrors_of_different_stores_are_refused() {
    let (setup, _, new) = two_generations();
    let other = vec![setup.dir.path("other")];
    create(&setup.env, &other, setup.provider()).unwrap();
    setup.put(1, &fs::read(&other[0]).unwrap());
    assert!(matches!(error(setup.open()), Error::WrongKey(why) if why.contains("different")));
    assert_eq!(setup.bytes(0), new);
}

#[test]
fn a_file_that_is_no_keyring_is_not_overwritten() {
    let (setup, _, mut newer) = two_generations();
    setup.put(1, b"notes that have nothing to do with any keyring");
    assert_eq!(damage(&error(setup.open())), Some(Damage::Foreign));
    assert_eq!(setup.read().unwrap().generation(), 2);
    newer[8] = 2;
    let crc = crc32fast::hash(&newer[..28]);
    newer[28..32].copy_from_slice(&crc.to_le_bytes());
    setup.put(1, &newer);
    assert!(matches!(error(setup.open()), Error::Unsupported { found: 2, .. }));
    assert_eq!(setup.bytes(1), newer);
}

/// One mirror was away while the other went on, and both made a generation 3. With the keys of both still there, as
/// after a key file was put together of two, neither is taken.
#[test]
fn two_histories_of_one_keyring_are_refused() {
    let (setup, _, new) = two_generations();
    let key = setup.key();
    setup.open().unwrap().add_site(id("one"), 30, 6).unwrap();
    let (fork, fork_key) = (setup.bytes(0), setup.key());
    setup.put(0, &new);
    setup.put(1, &new);
    // A version 9, so that the next is 10.
    let store = StoreId(*new[12..].first_chunk().unwrap());
    let mut later = key;
    later.extend_from_slice(&crate::keyring::slots::live_line(9, &store, &Key::take(&mut [9; 32])));
    setup.put_key(&later);
    setup.open().unwrap().add_site(id("two"), 30, 6).unwrap();
    let mut both = setup.key();
    both.extend_from_slice(&fork_key[21..]);
    setup.put_key(&both);
    setup.put(1, &fork);
    let e = error(setup.open());
    assert!(matches!(damage(&e), Some(Damage::Malformed(_))), "{e}");
    assert_eq!(setup.bytes(1), fork);
}

#[test]
fn a_second_writer_is_found() {
    let (setup, ..) = two_generations();
    let (one, two) = (setup.open().unwrap(), setup.open().unwrap());
    one.add_site(id("one"), 30, 6).unwrap();
    assert!(matches!(error(two.add_site(id("two"), 30, 6)), Error::Locked { pid: None }));
    assert_eq!(names(&setup.open().unwrap()), ["one", "shop"]);
}

/// A keyring file as anyone can make it who has no key: with numbers of their choice, and no wrapped data key.
fn forged(whole: &[u8], generation: u64, version: u32) -> Vec<u8> {
    use crate::format::header::FILE_HEADER_BYTES;
    let mut file = whole[..FILE_HEADER_BYTES].to_vec();
    file.extend_from_slice(&generation.to_le_bytes());
    file.extend_from_slice(&[ProviderKind::KeyFile as u8, 0, 0, 0]);
    file.extend_from_slice(&version.to_le_bytes());
    file.extend_from_slice(&[0; 4]);
    let crc = crc32fast::hash(&file[FILE_HEADER_BYTES..]);
    file.extend_from_slice(&crc.to_le_bytes());
    file
}

#[test]
fn a_generation_that_is_only_claimed_takes_no_numbers_from_those_to_come() {
    let (setup, _, new) = two_generations();
    setup.put(1, &forged(&new, u64::MAX, 2));
    let reader = setup.read().unwrap();
    assert_eq!(reader.generation(), 2);
    let keyring = setup.open().unwrap();
    keyring.add_site(id("next"), 30, 6).unwrap();
    assert_eq!(keyring.generation(), 3);
    assert!(reader.refresh().unwrap(), "a reader is not held back, either");
    assert_eq!(reader.generation(), 3);
    assert_eq!(names(&setup.open().unwrap()), ["next", "shop"]);
}

#[test]
fn a_version_that_is_only_claimed_is_not_destroyed() {
    for generation in [0, 1, u64::MAX] {
        let setup = Setup::new();
        let keyring = setup.create();
        let mirrors = vec![setup.dir.path("other/keyring")];
        create(&setup.env, &mirrors, setup.provider()).unwrap();
        keyring.add_site(id("shop"), 30, 5).unwrap();
        // The other store has version 2, and this one 3 by now.
        setup.put(1, &forged(&setup.bytes(0), generation, 2));
        let keyring = setup.open().unwrap();
        keyring.add_site(id("next"), 30, 6).unwrap();
        assert!(keyring.status().unwrap().undestroyed.is_empty());
        open(&setup.env, &mirrors, setup.provider(), false).unwrap();
    }
}
