//! Key files and passphrases: what they wrap they unwrap, and nothing else.

use super::*;
use crate::error::Damage;
use crate::keyring::passphrase::LIGHT;
use crate::keyring::provider::LOCAL_WRAP_BYTES;

const AAD: &[u8] = b"store, generation, provider";

fn data_key() -> DataKey {
    DataKey::take(&mut [9; 32])
}

fn light(secret: &str) -> Passphrase {
    Passphrase::with_cost(&Env::real(), secret.to_owned(), LIGHT).unwrap()
}

const STORE: StoreId = StoreId([0x5a; 16]);

/// What must hold of every provider.
fn check(provider: &dyn KeyProvider, stranger: &dyn KeyProvider) {
    let version = provider.new_version(&STORE).unwrap();
    assert_eq!(stranger.new_version(&STORE).unwrap(), version);
    let bytes = provider.wrap(version, &data_key(), AAD).unwrap();
    let opened = provider.unwrap_key(version, &bytes, AAD).unwrap();
    assert_eq!(opened.expose(), data_key().expose());
    assert_ne!(
        provider.wrap(version, &data_key(), AAD).unwrap(),
        bytes,
        "each has a nonce of its own"
    );
    assert!(!bytes.windows(8).any(|w| w == [9; 8]));

    let wrong_key = |r: Result<DataKey>| assert!(matches!(error(r), Error::WrongKey(_)));
    wrong_key(stranger.unwrap_key(version, &bytes, AAD));
    wrong_key(provider.unwrap_key(version, &bytes, b"another store"));
    let missing = error(provider.unwrap_key(version + 1, &bytes, AAD));
    assert!(matches!(missing, Error::MissingKeyVersion(v) if v == version + 1));
    let missing = error(provider.wrap(version + 1, &data_key(), AAD).map(|_| ()));
    assert!(matches!(missing, Error::MissingKeyVersion(v) if v == version + 1));
    for len in 0..bytes.len() {
        let e = error(provider.unwrap_key(version, &bytes[..len], AAD));
        assert_eq!(damage(&e), Some(Damage::Malformed(malformed(&e))));
    }
    for at in bytes.len() - LOCAL_WRAP_BYTES..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        wrong_key(provider.unwrap_key(version, &bad, AAD));
    }

    assert_eq!(provider.versions(&STORE).unwrap(), [version]);
    let next = provider.new_version(&STORE).unwrap();
    let destruction = provider.destroy(version).unwrap();
    let again = provider.destroy(version).unwrap();
    let is_same = std::mem::discriminant(&again) == std::mem::discriminant(&destruction);
    assert!(is_same, "it can be asked for again: {again:?}");
    if provider.indestructible().is_some() {
        assert!(matches!(destruction, Destruction::Impossible { .. }));
        assert!(provider.unwrap_key(version, &bytes, AAD).is_ok());
    } else {
        assert!(matches!(destruction, Destruction::Destroyed { .. }));
        assert!(next > version);
        assert_eq!(provider.versions(&STORE).unwrap(), [next]);
        let gone = error(provider.unwrap_key(version, &bytes, AAD));
        assert!(matches!(gone, Error::MissingKeyVersion(v) if v == version));
    }
}

fn malformed(e: &Error) -> &'static str {
    match damage(e) {
        Some(Damage::Malformed(field)) => field,
        _ => panic!("{e}"),
    }
}

#[test]
fn a_key_file_unwraps_what_it_wrapped() {
    let (env, dir) = (Env::real(), Dir::new());
    let made = KeyFile::create(&env, dir.path("new/dir/key")).unwrap();
    let stranger = KeyFile::create(&env, dir.path("stranger")).unwrap();
    check(&made, &stranger);
    let version = made.new_version(&STORE).unwrap();
    let bytes = made.wrap(version, &data_key(), AAD).unwrap();
    let opened = KeyFile::open(&env, dir.path("new/dir/key")).unwrap();
    assert_eq!(opened.unwrap_key(version, &bytes, AAD).unwrap().expose(), data_key().expose());
    assert_eq!(opened.kind(), ProviderKind::KeyFile);
}

#[test]
fn a_passphrase_unwraps_what_it_wrapped() {
    let provider = light("correct horse");
    check(&provider, &light("Correct horse"));
    let (version, bytes) = (1, provider.wrap(1, &data_key(), AAD).unwrap());
    // Opened at the cost that is stored, whatever the provider's own.
    let other = Passphrase::new(&Env::real(), b"correct horse".to_vec()).unwrap();
    assert!(other.unwrap_key(version, &bytes, AAD).is_ok());
    assert_eq!(other.kind(), ProviderKind::Passphrase);
    assert_eq!(&bytes[16..28], &[32, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]);
}

#[test]
fn every_generation_of_one_passphrase_shares_a_salt_that_others_do_not() {
    let (one, two) = (light("secret"), light("secret"));
    let salt = |p: &Passphrase| p.wrap(1, &data_key(), AAD).unwrap()[..16].to_vec();
    assert_eq!(salt(&one), salt(&one));
    assert_ne!(salt(&one), salt(&two));
    let (version, bytes) = (1, one.wrap(1, &data_key(), AAD).unwrap());
    two.unwrap_key(version, &bytes, AAD).unwrap();
    assert_eq!(salt(&two), salt(&one), "the salt of the keyring that was opened");
}

#[test]
fn a_hostile_cost_is_refused_before_any_memory_is_taken() {
    let provider = light("secret");
    let (version, bytes) = (1, provider.wrap(1, &data_key(), AAD).unwrap());
    for (at, value) in [
        (16, u32::MAX),
        (16, ARGON2_MEMORY_KIB_MAX + 1),
        (16, 7),
        (20, 0),
        (20, ARGON2_PASSES_MAX + 1),
        (24, 0),
        (24, 5),
        (24, ARGON2_LANES_MAX + 1),
        (24, u32::MAX),
    ] {
        let mut bad = bytes.clone();
        bad[at..at + 4].copy_from_slice(&value.to_le_bytes());
        let e = error(provider.unwrap_key(version, &bad, AAD));
        assert_eq!(malformed(&e), "cost of Argon2id", "{value} at {at}");
    }
    for (secret, cost) in [
        ("", LIGHT),
        ("x", Argon2Cost { memory_kib: u32::MAX, ..LIGHT }),
        ("x", Argon2Cost { passes: 0, ..LIGHT }),
        ("x", Argon2Cost { lanes: 5, ..LIGHT }),
    ] {
        let e = error(Passphrase::with_cost(&Env::real(), secret, cost));
        assert!(matches!(e, Error::Input(InputError::Option { .. })));
    }
}

#[test]
fn a_key_file_is_its_owners_alone_and_never_overwritten() {
    use std::os::unix::fs::PermissionsExt;
    let (env, dir) = (Env::real(), Dir::new());
    let path = dir.path("key");
    KeyFile::create(&env, &path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let before = fs::read(&path).unwrap();
    assert!(matches!(error(KeyFile::create(&env, &path)), Error::Exists(p) if p == path));
    assert_eq!(fs::read(&path).unwrap(), before);
    for mode in [0o640, 0o604, 0o620, 0o601] {
        set_mode(&path, mode);
        let e = error(KeyFile::open(&env, &path));
        assert!(
            matches!(&e, Error::Io { cause, .. } if cause.kind() == std::io::ErrorKind::PermissionDenied),
            "mode {mode:o}: {e}"
        );
    }
    set_mode(&path, 0o400);
    assert!(KeyFile::open(&env, &path).is_ok());
    let gone = error(KeyFile::open(&env, dir.path("none")));
    assert!(
        matches!(gone, Error::Io { cause, .. } if cause.kind() == std::io::ErrorKind::NotFound)
    );
}

#[test]
fn nothing_that_holds_a_key_shows_it() {
    let (env, dir) = (Env::real(), Dir::new());
    let file = KeyFile::create(&env, dir.path("key")).unwrap();
    assert_eq!(format!("{file:?}"), "KeyFile(…)");
    assert_eq!(format!("{:?}", light("secret")), "Passphrase(…)");
    assert_eq!(format!("{:?}", data_key()), "DataKey(…)");
}
