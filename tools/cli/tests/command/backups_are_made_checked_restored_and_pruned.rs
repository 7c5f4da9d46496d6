//! Backups as an operator makes them: from a timer, killed, restored in part, pruned.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{self, Place, hour_ago, lines};

/// A recording of some minutes that is none of the others.
fn recording(n: u64) -> String {
    lines(&common::recording(hour_ago() + n, 60 + n))
}

/// A store with recordings of two sites, and where its backups go.
fn recorded(sessions: u64) -> (Place, String) {
    let place = Place::with_site();
    place.ok(&["site", "add", "help", "--retention", "30"]);
    for site in ["shop", "help"] {
        for n in 0..sessions {
            let file = format!("{}-{site}-{n}.ndjson", common::SECRET);
            let file = place.file(&file, recording(n));
            place.ok(&["import", "--site", site, &file]);
        }
    }
    let repo = place.path("backups").to_str().unwrap().to_owned();
    (place, repo)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text.trim()).unwrap()
}

/// The sessions of both sites of the store in a directory, as JSON, with what they replay to.
fn content(place: &Place, dir: &str) -> Vec<String> {
    let keyring = place.path("store.keys/mirror-1/keyring").to_str().unwrap().to_owned();
    let key = place.path("store.keys/key").to_str().unwrap().to_owned();
    let keys = ["--store", dir, "--keyring", &keyring, "--key-file", &key];
    let mut all = Vec::new();
    for site in ["shop", "help"] {
        let listed = place.ok(&[&["sessions", site, "--json"], &keys[..]].concat());
        for session in json(&listed)["sessions"].as_array().unwrap() {
            let id = session["id"].as_str().unwrap();
            all.push(place.ok(&[&["replay", site, id], &keys[..]].concat()));
        }
    }
    all
}

#[test]
fn a_backup_an_increment_an_erasure_a_restore() {
    let (place, repo) = recorded(3);
    place.ok(&["archive"]);
    let first = json(&place.ok(&["backup", "--repo", &repo, "--json"]));
    assert_eq!(first["snapshot"], 1);
    assert!(first["copied_bytes"].as_u64().unwrap() > 0);
    let file = place.file("later.ndjson", recording(9));
    place.ok(&["import", "--site", "shop", &file]);
    let tried = json(&place.ok(&["backup", "--repo", &repo, "--dry-run", "--json"]));
    assert_eq!((tried["snapshot"].is_null(), tried["dry_run"].as_bool()), (true, Some(true)));
    let metrics = place.path("backup.prom").to_str().unwrap().to_owned();
    let told = place.ok(&["backup", "--repo", &repo, "--metrics-file", &metrics]);
    assert!(told.contains("snapshot  2"), "{told}");
    let figures = std::fs::read_to_string(&metrics).unwrap();
    assert!(figures.contains("reelvault_backup_success 1\n"), "{figures}");
    assert!(figures.contains("reelvault_backup_last_success_timestamp_seconds 1"), "{figures}");

    let erased = format!("{}-shop-1", common::SECRET);
    place.ok(&["erase", "session", "shop", &erased]);
    let dir = place.path("restored").to_str().unwrap().to_owned();
    let told = place.ok(&["restore", &dir, "--repo", &repo, "--verify"]);
    assert!(told.contains("1 erased session,") && told.contains("sound"), "{told}");
    let store = place.path("store").to_str().unwrap().to_owned();
    assert_eq!(content(&place, &dir), content(&place, &store));
    let again = place.run(&["restore", &dir, "--repo", &repo]);
    assert_eq!(again.code, 1, "{again:?}");
    assert!(again.err.contains("is not empty") && !again.err.contains(common::SECRET));

    let listed = json(&place.ok(&["snapshots", "--repo", &repo, "--json"]));
    let numbers: Vec<_> =
        listed["snapshots"].as_array().unwrap().iter().map(|s| s["number"].as_u64()).collect();
    assert_eq!(numbers, [Some(2), Some(1)]);
    let one = place.path("one").to_str().unwrap().to_owned();
    let what = ["--site", "shop", "--session", "later", "--snapshot", "2"];
    let restored = place.ok(&[&["restore", &one, "--repo", &repo, "--json"], &what[..]].concat());
    assert_eq!(json(&restored)["sessions"], 1);
    assert_eq!(content(&place, &one).len(), 1);
    let gone =
        place.run(&["restore", "x", "--repo", &repo, "--site", "shop", "--session", &erased]);
    assert_eq!(gone.code, 15, "{gone:?}");
}

#[test]
fn what_is_wrong_with_a_repository_is_told_with_an_exit_code() {
    let (place, repo) = recorded(1);
    let none = place.run(&["snapshots", "--repo", &repo]);
    assert_eq!(none.code, 10, "{none:?}");
    assert!(none.err.contains("no repository in") && none.err.contains("reelvault backup"));
    let nothing = place.run(&["check"]);
    assert_eq!(nothing.code, 2, "{nothing:?}");
    let foreign = place.run(&["backup", "--repo", "ftp://example/x"]);
    assert_eq!(foreign.code, 2, "{foreign:?}");
    let mut open = place.command(&["backup", "--repo", "s3://bucket/x"]);
    open.env("AWS_ENDPOINT_URL", "http://example.net").env("AWS_REGION", "eu");
    let clear = common::finish(open);
    assert_eq!(clear.code, 2, "{clear:?}");
    assert!(clear.err.contains("without TLS"), "{clear:?}");
    place.ok(&["backup", "--repo", &repo]);
    assert_eq!(place.run(&["forget", "7", "--repo", &repo]).code, 10);
    assert_eq!(place.run(&["prune", "--repo", &repo]).code, 2, "what is to be kept?");
    let early = place.run(&["restore", "x", "--repo", &repo, "--at", "2020-01-01"]);
    assert_eq!(early.code, 10, "{early:?}");
    let sound = place.ok(&["check", "--repo", &repo, "--read-data", "--probe"]);
    assert!(sound.contains("sound"), "{sound}");
    let piece = walk(&place.path("backups"))
        .into_iter()
        .find(|p| p.contains("/segment/") || p.contains("/piece/"))
        .unwrap();
    let mut bytes = std::fs::read(&piece).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&piece, bytes).unwrap();
    assert_eq!(place.run(&["check", "--repo", &repo]).code, 0, "sizes are right");
    let rotten = place.run(&["check", "--repo", &repo, "--read-data", "--json"]);
    assert_eq!(rotten.code, 13, "{rotten:?}");
    assert_eq!(json(&rotten.out)["sound"], false);
    assert!(rotten.err.contains("reelvault backup --repair"), "{rotten:?}");
    let tried = place.ok(&["backup", "--repo", &repo, "--repair", "--dry-run"]);
    assert!(tried.contains("to repair  1 object"), "{tried}");
    let repaired = json(&place.ok(&["backup", "--repo", &repo, "--repair", "--json"]));
    assert_eq!(repaired["repaired_objects"], 1);
    // A journal's piece is still what the first snapshot names.
    place.ok(&["forget", "1", "--repo", &repo]);
    place.ok(&["check", "--repo", &repo, "--read-data"]);
    assert_eq!(place.run(&["backup", "--repo", &repo, "--repair", "--follow"]).code, 2);
}

fn walk(dir: &std::path::Path) -> Vec<String> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(walk(&path)),
            false => files.push(path.to_str().unwrap().to_owned()),
        }
    }
    files
}

#[test]
fn old_snapshots_are_pruned_and_the_newest_stays() {
    let (place, repo) = recorded(1);
    for _ in 0..3 {
        place.ok(&["backup", "--repo", &repo]);
    }
    let keep = ["prune", "--repo", &repo, "--keep-last", "1"];
    let tried = json(&place.ok(&[&keep[..], &["--dry-run", "--json"]].concat()));
    assert_eq!(tried["forgotten"].as_array().unwrap().len(), 2);
    let pruned = json(&place.ok(&[&keep[..], &["--json"]].concat()));
    assert_eq!((pruned["kept"].as_u64(), pruned["removed_objects"].as_u64()), (Some(1), Some(0)));
    let early = place.run(&[&keep[..], &["--grace", "1h"]].concat());
    assert_eq!(early.code, 2, "{early:?}");
    place.ok(&["check", "--repo", &repo, "--read-data"]);
}

#[test]
fn a_damaged_snapshot_is_passed_over_when_a_time_is_asked_for() {
    let (place, repo) = recorded(1);
    for _ in 0..2 {
        place.ok(&["backup", "--repo", &repo]);
    }
    // The newest is the first by name.
    let snapshots = walk(&place.path("backups")).into_iter().filter(|p| p.contains("/snapshot/"));
    let newest = snapshots.min().unwrap();
    let mut bytes = std::fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&newest, bytes).unwrap();
    let dir = place.path("restored").to_str().unwrap().to_owned();
    let ran = place.run(&["restore", &dir, "--repo", &repo, "--at", "now", "--json"]);
    assert_eq!(ran.code, 13, "{ran:?}");
    let told = json(&ran.out);
    assert_eq!((&told["snapshot"], told["damage"].as_array().unwrap().len()), (&Value::from(1), 1));
    let store = place.path("store").to_str().unwrap().to_owned();
    assert_eq!(content(&place, &dir), content(&place, &store));
}

#[test]
fn a_backup_that_is_killed_again_and_again_ends_whole() {
    let (place, repo) = recorded(6);
    place.ok(&["archive"]);
    let store = place.path("store").to_str().unwrap().to_owned();
    let expected = content(&place, &store);
    for n in 0..24u64 {
        let mut command = place.command(&["backup", "--repo", &repo]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(n * 1_500));
        let _ = child.kill();
        child.wait().unwrap();
    }
    let last = json(&place.ok(&["backup", "--repo", &repo, "--json"]));
    place.ok(&["check", "--repo", &repo, "--read-data"]);
    let snapshots = last["snapshot"].as_u64().unwrap();
    for number in [1, snapshots] {
        let dir = place.path(&format!("restored-{number}")).to_str().unwrap().to_owned();
        if place.path(&format!("restored-{number}")).exists() {
            continue;
        }
        place.ok(&["restore", &dir, "--repo", &repo, "--snapshot", &number.to_string()]);
        assert_eq!(content(&place, &dir), expected);
    }
}

#[test]
fn a_continuous_backup_ships_what_comes_and_ends_in_order() {
    let (place, repo) = recorded(1);
    let mut command =
        place.command(&["backup", "--repo", &repo, "--follow", "--interval", "100ms", "--json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let listed = |least: usize| {
        let begun = Instant::now();
        loop {
            let ran = place.run(&["snapshots", "--repo", &repo, "--json"]);
            if ran.code == 0 && json(&ran.out)["snapshots"].as_array().unwrap().len() >= least {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "nothing came: {ran:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    listed(1);
    let file = place.file("later.ndjson", recording(7));
    place.ok(&["import", "--site", "shop", &file]);
    listed(2);
    std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(child.wait().unwrap().success());
    let dir = place.path("restored").to_str().unwrap().to_owned();
    place.ok(&["restore", &dir, "--repo", &repo, "--site", "shop", "--session", "later"]);
    assert_eq!(content(&place, &dir).len(), 1);
}

#[test]
fn a_restore_without_the_store_needs_its_key_and_says_so() {
    let (place, repo) = recorded(1);
    place.ok(&["backup", "--repo", &repo]);
    std::fs::remove_dir_all(place.path("store")).unwrap();
    let dir = place.path("restored").to_str().unwrap().to_owned();
    let (key, aside) = (place.path("store.keys/key"), place.path("key"));
    std::fs::rename(&key, &aside).unwrap();
    for args in [&["restore", &dir][..], &["snapshots"], &["check"]] {
        let ran = place.run(&[args, &["--repo", &repo]].concat());
        assert_eq!(ran.code, 12, "{args:?}: {ran:?}");
        assert!(ran.err.contains("store.keys/key") && ran.err.contains("--key-file"), "{ran:?}");
    }
    let shared = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&aside, shared).unwrap();
    let key_file = aside.to_str().unwrap();
    let ran = place.run(&["restore", &dir, "--repo", &repo, "--key-file", key_file]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("0600"), "{ran:?}");
    let ran = place.run(&["backup", "--repo", &repo]);
    assert_eq!(ran.code, 10, "a backup needs the store: {ran:?}");
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&aside, private).unwrap();
    std::fs::rename(&aside, &key).unwrap();
    place.ok(&["restore", &dir, "--repo", &repo]);
    assert_eq!(content(&place, &dir).len(), 2);
}

#[test]
fn a_backup_that_fails_early_is_in_the_figures_too() {
    let (place, repo) = recorded(1);
    let metrics = place.path("backup.prom").to_str().unwrap().to_owned();
    let figures = || std::fs::read_to_string(&metrics).unwrap();
    let to = |repo: &str, more: &[&str]| {
        place.run(&[&["backup", "--repo", repo, "--metrics-file", &metrics], more].concat())
    };
    assert_eq!(to(&repo, &["--dry-run"]).code, 10, "there is no repository yet");
    assert!(!place.path("backup.prom").exists(), "only tried");
    assert_eq!(to(&repo, &[]).code, 0);
    let good = figures();
    let last = good.lines().find(|l| l.starts_with("reelvault_backup_last_success")).unwrap();
    let store = place.path("store").to_str().unwrap().to_owned();
    let (elsewhere, no_phrase) = (format!("{store}-2"), format!("{store}/phrase"));
    let file = format!("{store}/manifest/x");
    let early: [(&str, &[&str], i32); 5] = [
        ("ftp://example/x", &[], 2),
        ("ftp://example/x", &["--follow"], 2),
        (&file, &[], 1),
        (&repo, &["--store", &elsewhere], 10),
        (&repo, &["--passphrase-file", &no_phrase], 1),
    ];
    for (repo, more, code) in early {
        std::fs::write(&metrics, &good).unwrap();
        let ran = to(repo, more);
        assert_eq!(ran.code, code, "{repo} {more:?}: {ran:?}");
        let figures = figures();
        assert!(figures.contains("reelvault_backup_success 0\n"), "{repo} {more:?}: {figures}");
        assert!(figures.contains(last), "{figures}");
    }
}

#[test]
fn figures_that_cannot_be_written_hide_nothing_of_the_backup() {
    let (place, repo) = recorded(1);
    let nowhere = place.path("none/backup.prom").to_str().unwrap().to_owned();
    let made = place.run(&["backup", "--repo", &repo, "--metrics-file", &nowhere, "--json"]);
    assert_eq!((made.code, json(&made.out)["snapshot"].as_u64()), (1, Some(1)), "{made:?}");
    assert!(made.err.contains("none/backup.prom"), "{made:?}");
    let failed = place.run(&["backup", "--repo", "ftp://example/x", "--metrics-file", &nowhere]);
    assert_eq!(failed.code, 2, "{failed:?}");
    assert!(failed.err.contains("ftp") && failed.err.contains("none/backup.prom"), "{failed:?}");
}

#[test]
fn a_failed_step_of_a_continuous_backup_is_in_the_figures() {
    let (place, repo) = recorded(1);
    let metrics = place.path("backup.prom");
    let file = metrics.to_str().unwrap();
    let follow = ["backup", "--repo", &repo, "--follow", "--interval", "100ms", "--metrics-file"];
    let mut command = place.command(&[&follow[..], &[file]].concat());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let wait_for = |figure: &str| {
        let begun = Instant::now();
        while !std::fs::read_to_string(&metrics).is_ok_and(|text| text.contains(figure)) {
            assert!(begun.elapsed() < Duration::from_secs(60), "no {figure}");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    wait_for("reelvault_backup_success 1\n");
    // A file in the repository's place: nothing can be written to it.
    let aside = place.path("aside");
    std::fs::rename(place.path("backups"), &aside).unwrap();
    std::fs::write(place.path("backups"), "").unwrap();
    let recording = place.file("later.ndjson", recording(7));
    place.ok(&["import", "--site", "shop", &recording]);
    wait_for("reelvault_backup_success 0\n");
    let _ = child.kill();
    child.wait().unwrap();
}
