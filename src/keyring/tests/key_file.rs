//! The text of a key file: its slots, what is torn, and who may use it together.

use super::*;
use crate::error::Damage;
use crate::keyring::slots::{SLOT_BYTES, destroyed_line, live_line};

const AAD: &[u8] = b"store, generation, provider";
const ONE: StoreId = StoreId([0x11; 16]);
const TWO: StoreId = StoreId([0x22; 16]);
const FIRST: &str = "reelvault key file 1\n";

fn key(n: u8) -> Key {
    Key::take(&mut [n; 32])
}

struct File {
    env: Env,
    dir: Dir,
}

impl File {
    fn new(slots: &[&[u8]]) -> Self {
        let file = Self { env: Env::real(), dir: Dir::new() };
        file.put(&[FIRST.as_bytes(), &slots.concat()].concat());
        file
    }

    fn put(&self, text: &[u8]) {
        fs::write(self.dir.path("key"), text).unwrap();
        set_mode(&self.dir.path("key"), 0o600);
    }

    fn open(&self) -> Result<KeyFile> {
        KeyFile::open(&self.env, self.dir.path("key"))
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.dir.path("key")).unwrap()
    }

    fn slot(&self, n: usize) -> Vec<u8> {
        self.bytes()[FIRST.len() + n * SLOT_BYTES..][..SLOT_BYTES].to_vec()
    }
}

#[test]
fn the_fields_stand_where_the_format_says() {
    let line = live_line(7, &ONE, &key(0xab));
    let text = format!("0000000007 {} {} ", "11".repeat(16), "ab".repeat(32));
    let expected = format!("{text}{:08x}\n", crc32fast::hash(text.as_bytes()));
    assert_eq!((&line[..], line.len()), (expected.as_bytes(), 118));
    let text = format!("{} {} {} ", "0".repeat(10), "0".repeat(32), "0".repeat(64));
    assert_eq!(destroyed_line()[..109], *text.as_bytes());
    let file = File::new(&[]);
    let opened = file.open().unwrap();
    assert_eq!(opened.new_version(&ONE).unwrap(), 1);
    assert_eq!(opened.new_version(&TWO).unwrap(), 2);
    let bytes = file.bytes();
    assert_eq!(bytes.len(), 21 + 2 * 118);
    assert!(bytes[21..].starts_with(format!("0000000001 {} ", "11".repeat(16)).as_bytes()));
}

#[test]
fn a_destroyed_slot_is_overwritten_in_place_and_used_again() {
    use std::os::unix::fs::MetadataExt;
    let file = File::new(&[&live_line(1, &ONE, &key(0xc0)), &live_line(2, &ONE, &key(2))]);
    let inode = || fs::metadata(file.dir.path("key")).unwrap().ino();
    let before = inode();
    let provider = file.open().unwrap();
    provider.destroy(1).unwrap();
    assert_eq!(
        (file.slot(0), provider.versions(&ONE).unwrap()),
        (destroyed_line().to_vec(), vec![2])
    );
    assert!(!file.bytes().windows(8).any(|w| w == b"c0c0c0c0"));
    assert_eq!(provider.new_version(&ONE).unwrap(), 3);
    assert!(file.slot(0).starts_with(b"0000000003 "), "there is room for it now");
    assert_eq!(inode(), before, "it is the same file");
    for _ in 0..50 {
        let version = provider.new_version(&ONE).unwrap();
        provider.destroy(version - 1).unwrap();
    }
    assert!(file.bytes().len() <= 21 + 3 * 118, "it does not grow with changes");
}

#[test]
fn stores_that_share_a_key_file_do_not_touch_each_others_versions() {
    let setup = Setup::new();
    let mirrors = vec![setup.dir.path("other/keyring")];
    let one = setup.create();
    let other = create(&setup.env, &mirrors, setup.provider()).unwrap();
    std::thread::scope(|scope| {
        for (keyring, name) in [(&one, "a"), (&other, "b")] {
            scope.spawn(move || {
                (0..10).for_each(|n| {
                    drop(keyring.add_site(id(&format!("{name}{n}")), 30, n).unwrap())
                });
            });
        }
    });
    for keyring in [&one, &other] {
        assert!(keyring.status().unwrap().undestroyed.is_empty());
    }
    assert_eq!(setup.open().unwrap().sites().len(), 10);
    let other = open(&setup.env, &mirrors, setup.provider(), false).unwrap();
    assert_eq!(other.sites().len(), 10);
    assert_eq!(setup.provider().versions(&one.store_id()).unwrap().len(), 1);
}

/// What rot leaves of a number may be none, or one that no version has.
#[test]
fn a_key_goes_with_its_version_also_when_its_slot_has_lost_its_number() {
    for (digit, reopened) in [(b'x', false), (b'1', false), (b'9', true), (b'x', true)] {
        let setup = Setup::new();
        let mut keyring = setup.create();
        let mirrors = vec![setup.dir.path("other/keyring")];
        create(&setup.env, &mirrors, setup.provider()).unwrap();
        if reopened {
            keyring = setup.open().unwrap();
        }
        let mut text = setup.key();
        let key = text[FIRST.len() + 44..][..64].to_vec();
        text[FIRST.len()] = digit;
        setup.put_key(&text);
        keyring.add_site(id("shop"), 30, 5).unwrap();
        assert!(!setup.key().windows(64).any(|window| window == key), "{digit} {reopened}");
        assert_eq!(names(&setup.open().unwrap()), ["shop"]);
        open(&setup.env, &mirrors, setup.provider(), false).unwrap();
    }
}

#[test]
fn a_slot_that_lost_its_number_is_left_to_its_own_store() {
    let file = File::new(&[&live_line(1, &ONE, &key(1)), &live_line(2, &TWO, &key(2))]);
    let mut text = file.bytes();
    text[FIRST.len() + SLOT_BYTES] = b'x';
    file.put(&text);
    let lost = file.slot(1);
    let provider = file.open().unwrap();
    let receipt = |version| match provider.destroy(version).unwrap() {
        Destruction::Destroyed { receipt } => receipt,
        other => panic!("{other:?}"),
    };
    assert!(receipt(1).contains("overwritten in place"));
    assert!(receipt(1).contains("was not there"), "nothing is said to be done that was not");
    assert!(receipt(2).contains("was not there"));
    assert_eq!(file.slot(1), lost);
}

#[test]
fn a_slot_that_lost_its_number_and_may_be_the_one_in_use_is_left_alone() {
    let slots = |above: Option<&StoreId>| {
        let above = above.map_or_else(destroyed_line, |store| live_line(3, store, &key(3)));
        let mut text = [FIRST.as_bytes(), &live_line(2, &ONE, &key(2))[..], &above[..]].concat();
        text[FIRST.len()] = b'x';
        crate::keyring::slots::Slots::parse("key", &text).unwrap()
    };
    for (above, lost) in [(None, vec![]), (Some(&TWO), vec![]), (Some(&ONE), vec![0])] {
        assert_eq!(slots(above).lost(1, &ONE), lost);
        assert!(slots(above).lost(1, &TWO).is_empty());
    }
    assert!(slots(Some(&ONE)).lost(3, &ONE).is_empty(), "that one has its number");
}

/// A key file of two stores, a version 8 in its first slot whose number rot then makes 9, which is the other store's.
fn one_bit_apart() -> (File, Vec<u8>) {
    let lines = [live_line(8, &ONE, &key(8)), live_line(9, &TWO, &key(9))];
    let file = File::new(&[&lines[0], &lines[1], &live_line(10, &ONE, &key(10))]);
    let mut rotten = file.bytes();
    rotten[FIRST.len() + 9] ^= 1;
    assert!(rotten[FIRST.len()..].starts_with(b"0000000009 "));
    (file, rotten)
}

#[test]
fn a_slot_that_rot_gave_the_number_of_another_store_is_not_taken_for_it() {
    let (file, rotten) = one_bit_apart();
    let slots = crate::keyring::slots::Slots::parse("key", &rotten).unwrap();
    assert_eq!((slots.versions(&ONE), slots.versions(&TWO)), (vec![10], vec![9]));
    assert_eq!((slots.lost(8, &ONE), slots.of_another(9)), (vec![0], vec![0]));
    let provider = file.open().unwrap();
    assert_eq!(provider.versions(&ONE).unwrap(), [8, 10]);
    file.put(&rotten);
    let others = file.slot(1);
    // As a keyring does that is wrapped under version 10.
    for version in [vec![8], provider.versions(&ONE).unwrap()].concat() {
        if version < 10 {
            provider.destroy(version).unwrap();
        }
    }
    assert_eq!((file.slot(0), file.slot(1)), (destroyed_line().to_vec(), others));
    assert!(provider.wrap(9, &DataKey::take(&mut [1; 32]), AAD).is_ok());
}

#[test]
fn destroying_a_version_takes_no_slot_of_another_store_that_shares_its_number() {
    // The slot with the lost number may be the one that its store uses.
    let (file, rotten) = one_bit_apart();
    file.put(&rotten);
    let provider = file.open().unwrap();
    assert_eq!(provider.versions(&TWO).unwrap(), [9]);
    let lost = file.slot(0);
    provider.destroy(9).unwrap();
    assert_eq!((file.slot(0), file.slot(1)), (lost, destroyed_line().to_vec()));

    // Nor was the number the other store's when it was asked for: that slot could not be read then.
    let (file, rotten) = one_bit_apart();
    let mut unread = rotten.clone();
    unread[FIRST.len() + SLOT_BYTES] = b'x';
    file.put(&unread);
    let provider = file.open().unwrap();
    assert_eq!(provider.versions(&ONE).unwrap(), [9, 10]);
    file.put(&rotten);
    let e = error(provider.destroy(9));
    assert_eq!(damage(&e), Some(Damage::Rot), "nothing is said to be done that was not: {e}");
    assert_eq!(file.bytes(), rotten);
}

/// Any write of a slot may be torn: what comes first of it may be missing, or what comes last.
#[test]
fn a_torn_slot_loses_nothing_and_can_be_destroyed() {
    let (kept, old) = (live_line(8, &ONE, &key(8)), live_line(7, &ONE, &key(7)));
    let zeros = destroyed_line();
    for at in 1..SLOT_BYTES {
        for torn in [[&zeros[..at], &old[at..]].concat(), [&old[..at], &zeros[at..]].concat()] {
            let file = File::new(&[&torn, &kept]);
            let provider = file.open().unwrap();
            let wrapped = provider.wrap(8, &DataKey::take(&mut [9; 32]), AAD).unwrap();
            assert!(provider.unwrap_key(8, &wrapped, AAD).is_ok());
            // As a keyring does that is wrapped under version 8.
            for version in provider.versions(&ONE).unwrap() {
                assert!(version <= 8);
                if version < 8 {
                    provider.destroy(version).unwrap();
                }
            }
            assert_eq!(provider.versions(&ONE).unwrap(), [8], "torn at {at}");
            assert_eq!(provider.new_version(&ONE).unwrap(), 9);
            assert_eq!(provider.versions(&ONE).unwrap(), [8, 9]);
            let text = String::from_utf8(file.bytes()).unwrap();
            assert!(!text.contains("070707"), "torn at {at}: a part of the key is left");
            assert!(provider.unwrap_key(8, &wrapped, AAD).is_ok());
        }
    }
    for len in 0..SLOT_BYTES {
        let file = File::new(&[&kept, &live_line(9, &ONE, &key(9))[..len]]);
        let provider = file.open().unwrap();
        assert!(provider.new_version(&ONE).unwrap() > 8);
        assert!(provider.wrap(8, &DataKey::take(&mut [9; 32]), AAD).is_ok());
    }
}

#[test]
fn a_damaged_slot_that_is_wanted_is_named() {
    let file = File::new(&[&live_line(1, &ONE, &key(1)), &live_line(2, &ONE, &key(2))]);
    let provider = file.open().unwrap();
    let wrapped = provider.wrap(2, &DataKey::take(&mut [9; 32]), AAD).unwrap();
    let good = file.bytes();
    for at in FIRST.len() + SLOT_BYTES + 10..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        file.put(&bad);
        let e = error(file.open().unwrap().unwrap_key(2, &wrapped, AAD));
        assert_eq!(damage(&e), Some(Damage::Rot), "byte {at}: {e}");
        assert!(provider.wrap(1, &DataKey::take(&mut [9; 32]), AAD).is_ok());
        assert_eq!(provider.new_version(&TWO).unwrap(), 3, "its number is not given again");
    }
}

#[test]
fn a_malformed_key_file_is_refused_and_not_shown() {
    let file = File::new(&[]);
    let cases = [
        (String::new(), Damage::Foreign),
        ("ssh-ed25519 AAAA c0ffee\n".to_owned(), Damage::Foreign),
        ("reelvault key file 1".to_owned(), Damage::Truncated),
        ("reelvault key file x\n".to_owned(), Damage::Malformed("version of the key file")),
        ("x".repeat(1 << 20), Damage::Malformed("size of the key file")),
    ];
    for (text, kind) in cases {
        file.put(text.as_bytes());
        let e = error(file.open());
        assert_eq!(damage(&e), Some(kind), "{text:.60}");
        assert!(!format!("{e} {e:?}").contains("c0ffee"));
    }
    file.put(b"reelvault key file 2\n");
    assert!(matches!(error(file.open()), Error::Unsupported { found: 2, .. }));
    // What is no slot holds no key.
    for text in ["1 abc\n", "\n\n\n", &"c0ffee42".repeat(40)] {
        file.put(format!("{FIRST}{text}").as_bytes());
        let e = error(file.open().unwrap().wrap(1, &DataKey::take(&mut [9; 32]), AAD).map(|_| ()));
        assert!(matches!(e, Error::MissingKeyVersion(1)), "{e}");
        assert!(!format!("{e} {e:?}").contains("c0ffee"));
    }
}

#[test]
fn a_full_key_file_says_so() {
    let lines: Vec<_> = (1..=1_024).map(|n| live_line(n, &ONE, &key(1))).collect();
    let file = File::new(&lines.iter().map(|line| &line[..]).collect::<Vec<_>>());
    let provider = file.open().unwrap();
    let e = error(provider.new_version(&TWO));
    assert!(matches!(e, Error::Input(InputError::Option { name: "key file", .. })), "{e}");
    provider.destroy(5).unwrap();
    assert_eq!(provider.new_version(&TWO).unwrap(), 1_025);
}

#[test]
fn a_key_file_that_cannot_be_written_still_opens_its_keyring() {
    let setup = Setup::new();
    setup.create().add_site(id("shop"), 30, 5).unwrap();
    set_mode(&setup.dir.path("key"), 0o400);
    assert_eq!(names(&setup.open().unwrap()), ["shop"]);
}

proptest::proptest! {
    #[test]
    fn any_text_is_slots_or_refused(mut text: Vec<u8>, at: proptest::sample::Index, byte: u8) {
        let _ = crate::keyring::slots::Slots::parse("key", &text);
        text.splice(..0, FIRST.bytes());
        text.extend_from_slice(&live_line(3, &ONE, &key(3)));
        let at = at.index(text.len());
        text[at] = byte;
        if let Ok(slots) = crate::keyring::slots::Slots::parse("key", &text) {
            let _ = (slots.versions(&ONE), slots.next_version(), slots.free());
            let _ = (slots.to_overwrite(3, Some(&ONE)), slots.lost(2, &ONE));
            let _ = (slots.of_another(3), slots.numbered(3));
            let _ = slots.key("key", 3);
        }
    }
}
