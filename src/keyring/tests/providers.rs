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

/// What must hold of every provider.
fn check(provider: &dyn KeyProvider, stranger: &dyn KeyProvider) {
    let Wrapped { version, bytes } = provider.wrap(&data_key(), AAD).unwrap();
    let opened = provider.unwrap_key(version, &bytes, AAD).unwrap();
    assert_eq!(opened.expose(), data_key().expose());
    assert_ne!(
        provider.wrap(&data_key(), AAD).unwrap().bytes,
        bytes,
        "each has a nonce of its own"
    );
    assert!(!bytes.windows(8).any(|w| w == [9; 8]));

    let wrong_key = |r: Result<DataKey>| assert!(matches!(error(r), Error::WrongKey(_)));
    wrong_key(stranger.unwrap_key(version, &bytes, AAD));
    wrong_key(provider.unwrap_key(version, &bytes, b"another store"));
    let missing = error(provider.unwrap_key(version + 1, &bytes, AAD));
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
    let Wrapped { version, bytes } = made.wrap(&data_key(), AAD).unwrap();
    let opened = KeyFile::open(&env, dir.path("new/dir/key")).unwrap();
    assert_eq!(opened.unwrap_key(version, &bytes, AAD).unwrap().expose(), data_key().expose());
    assert_eq!(opened.kind(), ProviderKind::KeyFile);
}

#[test]
fn a_passphrase_unwraps_what_it_wrapped() {
    let provider = light("correct horse");
    check(&provider, &light("Correct horse"));
    let Wrapped { version, bytes } = provider.wrap(&data_key(), AAD).unwrap();
    // Opened at the cost that is stored, whatever the provider's own.
    let other = Passphrase::new(&Env::real(), b"correct horse".to_vec()).unwrap();
    assert!(other.unwrap_key(version, &bytes, AAD).is_ok());
    assert_eq!(other.kind(), ProviderKind::Passphrase);
    assert_eq!(&bytes[16..28], &[32, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]);
}

#[test]
fn every_generation_of_one_passphrase_shares_a_salt_that_others_do_not() {
    let (one, two) = (light("secret"), light("secret"));
    let salt = |p: &Passphrase| p.wrap(&data_key(), AAD).unwrap().bytes[..16].to_vec();
    assert_eq!(salt(&one), salt(&one));
    assert_ne!(salt(&one), salt(&two));
    let Wrapped { version, bytes } = one.wrap(&data_key(), AAD).unwrap();
    two.unwrap_key(version, &bytes, AAD).unwrap();
    assert_eq!(salt(&two), salt(&one), "the salt of the keyring that was opened");
}

#[test]
fn a_hostile_cost_is_refused_before_any_memory_is_taken() {
    let provider = light("secret");
    let Wrapped { version, bytes } = provider.wrap(&data_key(), AAD).unwrap();
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
fn a_key_file_holds_versions_of_which_the_last_is_in_use() {
    let (env, dir) = (Env::real(), Dir::new());
    let path = dir.path("key");
    let (one, two) = ("11".repeat(32), "Ab".repeat(32));
    let write = |text: String| {
        fs::write(&path, text).unwrap();
        set_mode(&path, 0o600);
        KeyFile::open(&env, &path)
    };
    let first = write(format!("reelvault key file 1\n1 {one}\n")).unwrap();
    let wrapped = first.wrap(&data_key(), AAD).unwrap();
    assert_eq!(wrapped.version, 1);
    let both = write(format!("reelvault key file 1\n1 {one}\n7 {two}\n")).unwrap();
    assert!(both.unwrap_key(1, &wrapped.bytes, AAD).is_ok());
    let wrapped = both.wrap(&data_key(), AAD).unwrap();
    assert_eq!(wrapped.version, 7);
    assert!(matches!(error(first.unwrap_key(7, &wrapped.bytes, AAD)), Error::MissingKeyVersion(7)));
    // The version is bound too: under another number the same key does not open.
    let renamed = write(format!("reelvault key file 1\n8 {two}\n")).unwrap();
    assert!(matches!(error(renamed.unwrap_key(8, &wrapped.bytes, AAD)), Error::WrongKey(_)));
}

#[test]
fn a_malformed_key_file_is_refused_and_not_shown() {
    let (env, dir) = (Env::real(), Dir::new());
    let path = dir.path("key");
    let key = "c0ffee42".repeat(8);
    let line = "reelvault key file 1\n";
    let truncated = Damage::Truncated;
    let cases = [
        (String::new(), Damage::Foreign),
        ("ssh-ed25519 AAAA\n".to_owned(), Damage::Foreign),
        (line.to_owned(), truncated),
        (format!("{line}1 {key}"), truncated),
        (format!("reelvault key file x\n1 {key}\n"), Damage::Malformed("version of the key file")),
        (format!("{line}1 {key}0\n"), Damage::Malformed("key")),
        (format!("{line}1 {}\n", &key[1..]), Damage::Malformed("key")),
        (format!("{line}1 {}g\n", &key[1..]), Damage::Malformed("key")),
        (format!("{line}1\n"), Damage::Malformed("key")),
        (format!("{line}01 {key}\n"), Damage::Malformed("key version")),
        (format!("{line}+1 {key}\n"), Damage::Malformed("key version")),
        (format!("{line} {key}\n"), Damage::Malformed("key version")),
        (format!("{line}4294967296 {key}\n"), Damage::Malformed("key version")),
        (format!("{line}0 {key}\n"), Damage::Malformed("order of key versions")),
        (format!("{line}2 {key}\n2 {key}\n"), Damage::Malformed("order of key versions")),
        (format!("{line}1 {key}\n\n2 {key}\n"), Damage::Malformed("line of the key file")),
        ("x".repeat(1 << 20), Damage::Malformed("size of the key file")),
    ];
    for (text, kind) in cases {
        fs::write(&path, &text).unwrap();
        set_mode(&path, 0o600);
        let e = error(KeyFile::open(&env, &path));
        assert_eq!(damage(&e), Some(kind), "{text:.60}");
        assert!(!format!("{e} {e:?}").contains("c0ffee"));
    }
    fs::write(&path, format!("reelvault key file 2\n1 {key}\n")).unwrap();
    assert!(matches!(error(KeyFile::open(&env, &path)), Error::Unsupported { found: 2, .. }));
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
