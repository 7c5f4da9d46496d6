//! A sealed record opens for its purpose, its site and its place, and for nobody once its site is erased.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod common;

use common::{Folder, site_id, store_with_site};
use reelvault::{Damage, Error, SEALED_BYTES_MORE, Sealer, Store, Suite};

const RECORD: &[u8] = b"somebody looked at something";

fn is_refused(sealer: &Sealer, place: &[u8], sealed: &[u8]) -> bool {
    let tampered = |k| matches!(k, Damage::Tampered | Damage::Truncated);
    matches!(sealer.open(place, sealed), Err(Error::Corrupt(c)) if tampered(c.kind))
}

#[test]
fn a_record_opens_where_it_was_sealed_and_nowhere_else() {
    let folder = Folder::new();
    let (store, site) = store_with_site(&folder);
    let other = store.add_site(site_id("other.example"), 30).unwrap();
    let audit = site.sealer("audit").unwrap();
    let sealed = audit.seal(b"1", RECORD).unwrap();
    assert_eq!(sealed.len(), RECORD.len() + SEALED_BYTES_MORE);
    assert!(!sealed.windows(8).any(|w| w == &RECORD[..8]));
    assert_ne!(sealed, audit.seal(b"1", RECORD).unwrap(), "a nonce of its own each time");
    assert_eq!(audit.open(b"1", &sealed).unwrap(), RECORD);
    let elsewhere = [
        site.sealer("incidents").unwrap(),
        other.sealer("audit").unwrap(),
        store.sealer("audit").unwrap(),
    ];
    assert!(elsewhere.iter().all(|sealer| is_refused(sealer, b"1", &sealed)));
    assert!(is_refused(&audit, b"2", &sealed));
    for at in 1..sealed.len() {
        let mut spoiled = sealed.clone();
        spoiled[at] ^= 1;
        assert!(is_refused(&audit, b"1", &spoiled));
        assert!(is_refused(&audit, b"1", &sealed[..at]));
    }
    let mut unknown = sealed.clone();
    unknown[0] = 77;
    assert!(matches!(audit.open(b"1", &unknown), Err(Error::Unsupported { found: 77, .. })));
    for purpose in [String::new(), "x".repeat(65)] {
        assert!(matches!(site.sealer(&purpose), Err(Error::Input(_))));
        assert!(matches!(store.sealer(&purpose), Err(Error::Input(_))));
    }
    assert_eq!(format!("{audit:?}"), "Sealer(audit)");

    // A reader in another process opens it, and what was sealed in an earlier suite.
    let reader = Store::open_read_only(folder.options()).unwrap();
    let theirs = reader.site(&site_id("shop.example")).unwrap().sealer("audit").unwrap();
    assert_eq!(theirs.open(b"1", &sealed).unwrap(), RECORD);
    store.set_cipher_suite(Suite::Aes256GcmSiv).unwrap();
    let newer = site.sealer("audit").unwrap();
    assert_eq!(newer.open(b"1", &sealed).unwrap(), RECORD);
    assert_eq!(newer.seal(b"1", RECORD).unwrap()[0], Suite::Aes256GcmSiv as u8);
}

#[test]
fn nobody_opens_the_records_of_a_site_that_was_erased() {
    let folder = Folder::new();
    let (store, site) = store_with_site(&folder);
    let reader = Store::open_read_only(folder.options()).unwrap();
    let theirs = reader.site(&site_id("shop.example")).unwrap().sealer("audit").unwrap();
    let ours = site.sealer("audit").unwrap();
    let sealed = ours.seal(b"1", RECORD).unwrap();
    store.erase_site(&site_id("shop.example"), reelvault::Held::Erase).unwrap();
    reader.refresh().unwrap();
    for sealer in [ours, theirs] {
        assert!(matches!(sealer.open(b"1", &sealed), Err(Error::Erased)));
        assert!(matches!(sealer.seal(b"1", RECORD), Err(Error::Erased)));
    }
    assert!(matches!(site.sealer("audit"), Err(Error::Erased)));
    // A new site of the same name has another key.
    let again = store.add_site(site_id("shop.example"), 30).unwrap();
    assert!(is_refused(&again.sealer("audit").unwrap(), b"1", &sealed));
}
