//! `keys`: status, rotation, mirrors, cipher suite.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::common::{Place, chunk, hour_ago, recording, text};

#[test]
fn after_a_rotation_older_copies_of_the_keyring_do_not_open() {
    let place = Place::with_site();
    let mirror = place.path("store.keys/mirror-1/keyring");
    let old = place.path("old");
    fs::copy(&mirror, &old).unwrap();
    let with_old = ["site", "list", "--keyring", &text(&old)];
    assert_eq!(place.run(&with_old).code, 0);
    let (_, before) = place.json(&["keys", "status"]);
    let (code, rotated) = place.json(&["keys", "rotate"]);
    assert_eq!((code, &rotated["certificate"]["final"]), (0, &true.into()));
    let (_, after) = place.json(&["keys", "status"]);
    assert!(after["generation"].as_u64() > before["generation"].as_u64());
    assert_eq!(after["older_copies_open"], false);
    let ran = place.run(&with_old);
    assert_eq!(ran.code, 12, "{ran:?}");
    assert!(ran.err.contains("older copy"), "{}", ran.err);
    place.ok(&["site", "show", "shop"]);
}

#[test]
fn status_warns_loudly_where_older_copies_still_open() {
    let place = Place::empty();
    let phrase = place.file("phrase", "correct horse\n");
    fs::set_permissions(&phrase, fs::Permissions::from_mode(0o600)).unwrap();
    place.ok(&["init", "--passphrase-file", &phrase]);
    let ran = place.run(&["keys", "status", "--passphrase-file", &phrase]);
    assert_eq!(ran.code, 0);
    assert!(ran.err.contains("OLDER COPIES OF THE KEYRING STILL OPEN"), "{}", ran.err);
    let rotated = place.run(&["keys", "rotate", "--passphrase-file", &phrase]);
    assert_eq!(rotated.code, 0);
    assert!(rotated.err.contains("NOT FINAL"), "{}", rotated.err);
}

#[test]
fn a_mirror_that_is_not_whole_is_13_and_is_mended_by_the_next_change() {
    let place = Place::with_site();
    let second = place.path("store.keys/mirror-2/keyring");
    place.ok(&["keys", "check"]);
    let older = fs::read(&second).unwrap();
    place.ok(&["keys", "rotate"]);
    for state in ["missing", "behind", "damaged"] {
        match state {
            "missing" => fs::remove_file(&second).unwrap(),
            "behind" => fs::write(&second, &older).unwrap(),
            _ => {
                let mut rotten = fs::read(&second).unwrap();
                let middle = rotten.len() / 2;
                rotten[middle] ^= 1;
                fs::write(&second, rotten).unwrap();
            }
        }
        let (code, checked) = place.json(&["keys", "check"]);
        assert_eq!((code, &checked["whole"]), (13, &false.into()), "{state}");
        assert_eq!(checked["mirrors"][0]["state"], "whole");
        assert_eq!(checked["mirrors"][1]["state"], state, "{checked}");
        place.ok(&["keys", "rotate"]);
        place.ok(&["keys", "check"]);
    }
}

#[test]
fn a_file_in_the_place_of_a_mirror_is_told_and_not_overwritten() {
    let place = Place::with_site();
    let letter = place.file("store.keys/mirror-2/keyring", "Dear Sir or Madam, ".repeat(50));
    for args in [&["keys", "check"][..], &["keys", "rotate"]] {
        let ran = place.run(args);
        assert_eq!(ran.code, 13, "{ran:?}");
        assert!(ran.err.contains("move it away"), "{}", ran.err);
    }
    assert!(fs::read_to_string(&letter).unwrap().starts_with("Dear"));
    fs::remove_file(letter).unwrap();
    place.ok(&["keys", "rotate"]);
    place.ok(&["keys", "check"]);
}

#[test]
fn a_mirror_is_added_and_opens_the_store() {
    let place = Place::with_site();
    let third = text(&place.path("third/keyring"));
    let ran = place.run(&["keys", "mirror", "add", &third]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.err.contains("FROM NOW ON"), "{}", ran.err);
    assert!(place.ok(&["site", "list", "--keyring", &third]).contains("shop"));
    assert_eq!(place.run(&["keys", "mirror", "add", &third]).code, 1);
}

#[test]
fn the_suite_of_new_data_is_changed_and_old_data_stays_readable() {
    let place = Place::with_site();
    let import = |n: u64| {
        let file = place.file("up.ndjson", chunk(&format!("s-{n}"), 0, &recording(hour_ago(), 5)));
        place.ok(&["import", "--site", "shop", &file]);
        place.ok(&["archive"]);
    };
    assert!(place.ok(&["keys", "suite"]).ends_with("aes-256-gcm\n"));
    import(1);
    let (code, set) = place.json(&["keys", "suite", "aes-256-gcm-siv"]);
    assert_eq!((code, &set["suite"]), (0, &"aes-256-gcm-siv".into()));
    import(2);
    for id in ["s-1", "s-2"] {
        place.ok(&["replay", "shop", id]);
    }
    place.ok(&["verify"]);
    assert_eq!(place.run(&["keys", "suite", "rot13"]).code, 2);
}
