//! `init`, `site`, and what happens with no store, a wrong key or a second writer.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use reelvault::env::Env;
use reelvault::{KeyFile, Options, Store};

use crate::common::{Place, finish, hour_ago, lines, recording, text};

#[test]
fn init_makes_a_store_two_mirrors_and_a_key() {
    let place = Place::empty();
    let (code, made) = place.json(&["init"]);
    assert_eq!(code, 0);
    assert_eq!(made["keyring"].as_array().unwrap().len(), 2);
    for path in ["store/manifest", "store.keys/mirror-1/keyring", "store.keys/mirror-2/keyring"] {
        assert!(place.path(path).is_file(), "{path}");
    }
    let mode = fs::metadata(place.path("store.keys/key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn init_says_loudly_where_keys_belong() {
    let place = Place::empty();
    let ran = place.run(&["init"]);
    assert!(ran.err.contains("TO OTHER DISKS"), "{}", ran.err);
}

#[test]
fn init_twice_changes_nothing() {
    let place = Place::with_store();
    let key = fs::read(place.path("store.keys/key")).unwrap();
    let again = place.run(&["init"]);
    assert_eq!(again.code, 1);
    assert!(again.err.contains("exists already"));
    assert_eq!(fs::read(place.path("store.keys/key")).unwrap(), key);
    place.ok(&["stats"]);
}

#[test]
fn init_refuses_a_directory_with_other_things_in_it() {
    let place = Place::empty();
    place.file("store/letter.txt", "hello");
    let ran = place.run(&["init"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("is not empty"));
    assert!(!place.path("store.keys/key").exists());
}

#[test]
fn init_that_fails_leaves_no_key_behind() {
    let place = Place::empty();
    place.file("taken/keyring", "something else");
    let keyring = text(&place.path("taken/keyring"));
    let ran = place.run(&["init", "--keyring", &keyring]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(!place.path("store.keys/key").exists());
}

#[test]
fn init_goes_on_where_an_attempt_before_it_ended() {
    let place = Place::empty();
    let in_the_way = place.path("store.keys/mirror-2/keyring.new");
    fs::create_dir_all(&in_the_way).unwrap();
    let failed = place.run(&["init"]);
    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(place.path("store/making").is_file() && !place.path("store/manifest").exists());
    assert!(place.path("store.keys/key").is_file(), "something may be sealed with it");
    fs::remove_dir(in_the_way).unwrap();
    place.ok(&["init"]);
    assert!(!place.path("store/making").exists());
    place.ok(&["site", "add", "shop"]);
}

#[test]
fn init_goes_on_when_it_was_killed_before_it_had_a_keyring() {
    let place = Place::empty();
    for folder in ["store/journal", "store/segment"] {
        fs::create_dir_all(place.path(folder)).unwrap();
    }
    for name in ["store/lock", "store/making", "store.keys/key"] {
        place.file(name, "");
    }
    let private = fs::Permissions::from_mode(0o600);
    fs::set_permissions(place.path("store.keys/key"), private).unwrap();
    place.ok(&["init"]);
    place.ok(&["site", "add", "shop"]);
}

#[test]
fn init_refuses_a_store_that_has_lost_its_manifest() {
    let place = Place::with_site();
    let file = place.file("one.ndjson", lines(&recording(hour_ago(), 3)));
    place.ok(&["import", "--site", "shop", "--no-archive", &file]);
    fs::rename(place.path("store/manifest"), place.path("manifest")).unwrap();
    let (keyring, key) = (text(&place.path("new/keyring")), text(&place.path("new/key")));
    let ran = place.run(&["init", "--keyring", &keyring, "--key-file", &key]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("is not empty"), "{}", ran.err);
    fs::rename(place.path("manifest"), place.path("store/manifest")).unwrap();
    assert!(place.ok(&["sessions", "shop"]).contains("one"));
}

#[test]
fn without_a_store_the_exit_code_is_10() {
    let place = Place::empty();
    for args in [&["stats"][..], &["sessions", "shop"], &["archive"], &["site", "list"]] {
        let (code, document) = place.json(args);
        assert_eq!((code, &document["error"]["exit"]), (10, &10.into()), "{args:?}");
    }
    let ran = place.run(&["verify"]);
    assert!(ran.err.contains("no store in") && ran.err.contains("init"), "{}", ran.err);
}

#[test]
fn naming_no_store_is_wrong_usage() {
    let place = Place::empty();
    let mut command = place.command(&["stats"]);
    command.env_remove("REELVAULT_STORE");
    assert_eq!(finish(command).code, 2);
    assert_eq!(place.run(&["stats", "--nonsense"]).code, 2);
    assert_eq!(place.run(&[]).code, 2);
}

#[test]
fn a_missing_or_wrong_key_is_12() {
    let place = Place::with_store();
    let other = Place::with_store();
    let missing = place.run(&["stats", "--key-file", "nowhere/key"]);
    assert_eq!(missing.code, 12, "{missing:?}");
    assert!(missing.err.contains("--key-file"));
    let wrong = place.run(&["stats", "--key-file", &text(&other.path("store.keys/key"))]);
    assert_eq!(wrong.code, 12, "{wrong:?}");
    let mirror = text(&other.path("store.keys/mirror-1/keyring"));
    assert_eq!(place.run(&["stats", "--keyring", &mirror]).code, 12);
    assert_eq!(place.run(&["stats", "--keyring", "nowhere/keyring"]).code, 12);
    place.ok(&["stats"]);
}

#[test]
fn a_key_that_others_may_read_is_refused() {
    let place = Place::with_store();
    let key = place.path("store.keys/key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let ran = place.run(&["stats"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("0600"), "{}", ran.err);
    let other = text(&place.path("other"));
    let ran = place.run(&["--store", &other, "--key-file", &text(&key), "init"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("0600"), "{}", ran.err);
}

#[test]
fn one_mirror_is_enough_and_the_other_is_written_again() {
    let place = Place::with_site();
    fs::remove_file(place.path("store.keys/mirror-1/keyring")).unwrap();
    assert!(place.ok(&["site", "list"]).contains("shop"));
    place.ok(&["site", "add", "help"]);
    assert!(place.path("store.keys/mirror-1/keyring").exists());
}

#[test]
fn a_passphrase_opens_a_store_and_another_does_not() {
    let place = Place::empty();
    let phrase = place.file("phrase", "correct horse\n");
    fs::set_permissions(&phrase, fs::Permissions::from_mode(0o600)).unwrap();
    place.ok(&["init", "--passphrase-file", &phrase]);
    assert!(!place.path("store.keys/key").exists());
    let with = |name: &str, value: &str| {
        let mut command = place.command(&["stats"]);
        command.env(name, value);
        finish(command).code
    };
    assert_eq!(with("REELVAULT_PASSPHRASE", "correct horse"), 0);
    assert_eq!(with("REELVAULT_PASSPHRASE", "wrong horse"), 12);
    let none = place.run(&["stats"]);
    assert_eq!(none.code, 12);
    assert!(none.err.contains("REELVAULT_PASSPHRASE"), "{}", none.err);
    fs::set_permissions(&phrase, fs::Permissions::from_mode(0o644)).unwrap();
    let shared = place.run(&["stats", "--passphrase-file", &phrase]);
    assert_eq!(shared.code, 1);
    assert!(shared.err.contains("0600"));
}

#[test]
fn a_key_file_and_a_passphrase_at_once_are_wrong_usage() {
    let place = Place::with_store();
    let both = ["stats", "--key-file", "a", "--passphrase-file", "b"];
    assert_eq!(place.run(&both).code, 2);
    let mut command = place.command(&["stats"]);
    command.env("REELVAULT_PASSPHRASE", "x").env("REELVAULT_KEY_FILE", "y");
    assert_eq!(finish(command).code, 2);
}

#[test]
fn keyrings_come_from_the_environment_too() {
    let place = Place::empty();
    let list = format!("{}:{}", text(&place.path("a/keyring")), text(&place.path("b/keyring")));
    for args in [&["init"][..], &["stats"]] {
        let mut command = place.command(args);
        command.env("REELVAULT_KEYRING", &list);
        assert_eq!(finish(command).code, 0, "{args:?}");
    }
    assert!(place.path("a/keyring").exists() && place.path("b/keyring").exists());
}

#[test]
fn a_second_writer_is_11_and_readers_go_on() {
    let place = Place::with_site();
    let key = KeyFile::open(&Env::real(), place.path("store.keys/key")).unwrap();
    let mirrors =
        ["mirror-1", "mirror-2"].map(|m| place.path("store.keys").join(m).join("keyring"));
    let options = Options::new(place.path("store"), mirrors, Arc::new(key));
    let store = Store::open(options).unwrap();
    let refused = place.run(&["site", "add", "help"]);
    assert_eq!(refused.code, 11);
    let pid = std::process::id().to_string();
    assert!(refused.err.contains(&pid), "{}", refused.err);
    let recordings = place.file("s.json", "[]");
    assert_eq!(place.run(&["import", "--site", "shop", &recordings]).code, 11);
    for args in [&["stats"][..], &["verify"], &["sessions", "shop"], &["site", "list"]] {
        place.ok(args);
    }
    drop(store);
    place.ok(&["site", "add", "help"]);
}

#[test]
fn sites_are_added_all_or_none_listed_and_shown() {
    let place = Place::with_store();
    assert_eq!(place.json(&["site", "list"]).1["sites"], serde_json::json!([]));
    place.ok(&["site", "add", "b.example", "a.example", "--retention", "365"]);
    let twice = place.run(&["site", "add", "c.example", "a.example"]);
    assert_eq!(twice.code, 1);
    assert!(twice.err.contains("exists already"));
    let (_, list) = place.json(&["site", "list"]);
    let ids: Vec<_> = list["sites"].as_array().unwrap().iter().map(|s| &s["id"]).collect();
    assert_eq!(ids, ["a.example", "b.example"]);
    let (_, shown) = place.json(&["site", "show", "a.example"]);
    assert_eq!(shown["site"]["retention_days"], 365);
    assert!(shown["first_start_ms"].is_null());
    assert_eq!(place.run(&["site", "show", "nope"]).code, 1);
    assert_eq!(place.run(&["site", "add", "a b"]).code, 2);
    assert_eq!(place.run(&["site", "add", "x", "--retention", "0"]).code, 2);
}
