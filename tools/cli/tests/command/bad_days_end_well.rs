//! Closed pipes, interrupts, kills, full disks, damage; and help, man pages and completions.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::{Place, SECRET, chunk, chunks, event, finish, hour_ago, recording};

/// A site whose one session is larger than a pipe holds.
fn large() -> Place {
    let place = Place::with_site();
    let start = hour_ago();
    let events: Vec<String> =
        (0..3000).map(|n| event(3, start + n, &"long text ".repeat(20))).collect();
    let file = place.file("up.ndjson", chunk(&format!("{SECRET}-1"), 0, &events));
    place.ok(&["import", "--site", "shop", &file]);
    place
}

#[test]
fn a_closed_pipe_is_a_quiet_end() {
    let place = large();
    let mut command = place.command(&["replay", "shop", SECRET]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    assert!(line.starts_with('{'));
    drop(out);
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
}

#[test]
fn a_full_disk_under_standard_output_is_14() {
    let place = large();
    for args in [&["replay", "shop", SECRET][..], &["stats"], &["sessions", "shop", "--json"]] {
        let mut command = place.command(args);
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let ended = command.stdout(full).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(ended.status.code(), Some(14), "{args:?}");
        assert!(String::from_utf8_lossy(&ended.stderr).contains("the disk is full"), "{args:?}");
    }
}

/// Twenty files of many small chunks.
fn many(place: &Place) -> u64 {
    let start = hour_ago();
    for n in 0..20 {
        place.file(&format!("in/{n}.ndjson"), chunks(&format!("{SECRET}-{n}"), start, 100));
    }
    2000
}

fn import(place: &Place, more: &[&str]) -> Command {
    let dir = place.path("in");
    place.command(&[&["import", "--site", "shop", dir.to_str().unwrap()], more].concat())
}

fn acknowledged(path: &Path) -> u64 {
    fs::read(path).map_or(0, |text| text.iter().filter(|b| **b == b'\n').count() as u64)
}

/// Begins an import and sends it a signal once it has acknowledged some chunks.
fn signalled(place: &Place, signal: &str) -> (Child, u64) {
    let acks = place.path("acks");
    let mut command = import(place, &["--jobs", "2", "--acks", acks.to_str().unwrap()]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while acknowledged(&acks) < 20 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let pid = child.id().to_string();
    assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    (child, acknowledged(&acks))
}

#[test]
fn an_interrupted_import_stops_at_a_chunk_and_goes_on_later() {
    let place = Place::with_site();
    let all = many(&place);
    let (child, _) = signalled(&place, "-INT");
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130));
    let done = String::from_utf8_lossy(&ended.stdout);
    assert!(done.contains("chunks"), "what was done is told: {done}");
    let known = acknowledged(&place.path("acks"));
    assert!(known < all, "it was not interrupted but done");
    let ran = finish(import(&place, &["--json"]));
    let again: Value = serde_json::from_str(&ran.out).unwrap();
    // Stopped in order, every chunk that is in the store was acknowledged.
    assert_eq!(again["duplicates"].as_u64(), Some(known));
    assert_eq!(again["chunks"].as_u64(), Some(all - known));
}

#[test]
fn a_killed_import_loses_nothing_acknowledged() {
    let place = Place::with_site();
    let all = many(&place);
    let (mut child, _) = signalled(&place, "-KILL");
    assert!(!child.wait().unwrap().success());
    let known = acknowledged(&place.path("acks"));
    let (code, verified) = place.json(&["verify"]);
    assert_eq!((code, &verified["sound"]), (0, &json!(true)));
    let ran = finish(import(&place, &["--json"]));
    let again: Value = serde_json::from_str(&ran.out).unwrap();
    let duplicates = again["duplicates"].as_u64().unwrap();
    assert!(duplicates >= known, "{duplicates} of {known} acknowledged chunks are there");
    assert_eq!(again["chunks"].as_u64(), Some(all - duplicates));
}

/// Changes a byte in the middle of each segment; returns how many there are.
fn damage_segments(place: &Place) -> usize {
    let mut damaged = 0;
    for entry in fs::read_dir(place.path("store/segment")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 3;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
        damaged += 1;
    }
    damaged
}

#[test]
fn damage_is_found_listed_and_13() {
    let place = large();
    let (code, sound) = place.json(&["verify"]);
    assert_eq!((code, &sound["sound"], &sound["chunks"]), (0, &json!(true), &json!(1)));
    assert!(place.ok(&["verify", "--digests"]).contains("sound"));
    assert_eq!(damage_segments(&place), 1);
    for args in [&["verify"][..], &["verify", "--digests"]] {
        let (code, found) = place.json(args);
        assert_eq!((code, &found["sound"]), (13, &json!(false)), "{args:?}");
        let file = found["damage"][0]["file"].as_str().unwrap();
        assert!(!file.is_empty());
        let ran = place.run(args);
        assert!(ran.out.contains("DAMAGED") && ran.out.contains(file), "{}", ran.out);
        assert!(ran.err.contains("1 damaged place"), "{}", ran.err);
    }
    let replay = place.run(&["replay", "shop", SECRET]);
    assert_eq!(replay.code, 13, "{}", replay.err);
    let out = place.path("export");
    let export = place.run(&["export", "shop", "--out", out.to_str().unwrap()]);
    assert_eq!(export.code, 13, "{export:?}");
    assert!(
        !fs::read_dir(out)
            .unwrap()
            .any(|e| { e.unwrap().file_name().to_string_lossy().starts_with(SECRET) })
    );
}

#[test]
fn a_damaged_manifest_is_13() {
    let place = large();
    let manifest = place.path("store/manifest");
    let mut bytes = fs::read(&manifest).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&manifest, bytes).unwrap();
    let ran = place.run(&["sessions", "shop"]);
    assert_eq!(ran.code, 13, "{ran:?}");
}

#[test]
fn nothing_of_a_recording_is_readable_in_the_store() {
    let place = large();
    let shown = place.ok(&["show", "shop", SECRET]);
    assert!(shown.contains(SECRET));
    let mut dirs = vec![place.path("store"), place.path("store.keys")];
    let mut files = 0;
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            files += 1;
            let bytes = fs::read(&path).unwrap();
            for canary in [SECRET, "shop", "long text", "shop.test"] {
                let found = bytes.windows(canary.len()).any(|w| w == canary.as_bytes());
                assert!(!found, "{canary} in {}", path.display());
            }
        }
    }
    assert!(files >= 5);
}

#[test]
fn every_command_has_help_with_examples_within_80_columns() {
    let place = Place::empty();
    let commands = [
        "init",
        "site",
        "import",
        "sessions",
        "show",
        "replay",
        "export",
        "stats",
        "verify",
        "archive",
        "completions",
        "man",
    ];
    for command in commands {
        let help = place.ok(&[command, "--help"]);
        assert!(help.contains("Examples:"), "{command}");
        let wide = help.lines().find(|line| line.chars().count() > 80);
        assert_eq!(wide, None, "{command}");
    }
    let help = place.ok(&["--help"]);
    assert!(help.contains("Exit codes:") && help.contains("130  interrupted"));
}

#[test]
fn man_pages_and_completions_come_from_the_same_definitions() {
    let place = Place::empty();
    let out = place.path("man");
    place.ok(&["man", "--out", out.to_str().unwrap()]);
    for page in ["reelvault.1", "reelvault-import.1", "reelvault-site-add.1"] {
        let text = fs::read_to_string(out.join(page)).unwrap();
        assert!(text.contains(".TH"), "{page}");
    }
    let page = fs::read_to_string(out.join("reelvault-import.1")).unwrap();
    assert!(page.contains("sites\\-from\\-dirs") && page.contains("store"));
    for shell in ["bash", "zsh", "fish"] {
        let script = place.ok(&["completions", shell]);
        assert!(script.contains("sites-from-dirs") || script.contains("sites\\-from"), "{shell}");
    }
    assert_eq!(place.run(&["completions", "cobol"]).code, 2);
}

#[test]
fn json_is_valid_for_every_command_that_prints() {
    let place = Place::with_site();
    let file = place.file("up.ndjson", chunk(&format!("{SECRET}-1"), 0, &recording(hour_ago(), 4)));
    let (export, man) = (place.path("export"), place.path("man"));
    let all: [&[&str]; 10] = [
        &["import", "--site", "shop", &file],
        &["site", "add", "other"],
        &["site", "list"],
        &["site", "show", "shop"],
        &["sessions", "shop", "--all"],
        &["show", "shop", SECRET],
        &["export", "shop", "--out", export.to_str().unwrap()],
        &["verify"],
        &["archive"],
        &["man", "--out", man.to_str().unwrap()],
    ];
    for args in all {
        let (code, document) = place.json(args);
        assert_eq!(code, 0, "{document}");
        assert!(document.get("error").is_none());
    }
    assert!(File::open(export.join("index.json")).is_ok());
}

/// A site with one session of forty chunks in one journal, of which a byte is changed.
fn with_damaged_journal(at: impl FnOnce(usize) -> usize) -> Place {
    let place = Place::with_site();
    let file = place.file("up.ndjson", chunks(&format!("{SECRET}-1"), hour_ago(), 40));
    place.ok(&["import", "--site", "shop", "--no-archive", &file]);
    let journals = fs::read_dir(place.path("store/journal")).unwrap();
    let journals: Vec<_> = journals.map(|e| e.unwrap().path()).collect();
    assert_eq!(journals.len(), 1);
    let mut bytes = fs::read(&journals[0]).unwrap();
    let at = at(bytes.len());
    bytes[at] ^= 1;
    fs::write(&journals[0], bytes).unwrap();
    place
}

#[test]
fn a_damaged_journal_is_13_and_salvage_reads_around_it() {
    let place = with_damaged_journal(|len| len / 2);
    let strict = place.run(&["stats"]);
    assert_eq!(strict.code, 13, "{strict:?}");
    assert!(strict.err.contains("--salvage"), "{}", strict.err);
    assert!(place.ok(&["stats", "--salvage"]).contains("read around"));
    let (_, shown) = place.json(&["show", "shop", SECRET, "--salvage"]);
    assert_eq!(shown["session"]["chunks"], 39, "{shown}");
}

/// All files of the store, with what they hold.
fn store_files(place: &Place) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut dirs = vec![place.path("store"), place.path("store.keys")];
    let mut files = BTreeMap::new();
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => dirs.push(path),
                false => drop(files.insert(path.clone(), fs::read(path).unwrap())),
            }
        }
    }
    files
}

#[test]
fn verify_lists_damaged_journals_and_changes_nothing() {
    // In a frame, which can be read around; and in the head, without which nothing of it can be read.
    for (at, whole) in [(usize::MAX, 39), (20, 0)] {
        let place = with_damaged_journal(|len| at.min(len / 2));
        let before = store_files(&place);
        for args in [&["verify"][..], &["verify", "--digests"], &["verify", "--salvage"]] {
            let (code, found) = place.json(args);
            assert_eq!((code, &found["sound"]), (13, &json!(false)), "{args:?}: {found}");
            assert_eq!(found["damage"].as_array().unwrap().len(), 1, "{args:?}: {found}");
            assert!(
                found["damage"][0]["file"].as_str().unwrap().starts_with("journal/"),
                "{found}"
            );
            if !args.contains(&"--digests") {
                assert_eq!(found["chunks"], whole, "{found}");
            }
        }
        let ran = place.run(&["verify"]);
        assert!(ran.out.contains("DAMAGED") && ran.err.contains("1 damaged place"), "{ran:?}");
        assert_eq!(store_files(&place), before);
    }
}

#[test]
fn a_restore_of_a_damaged_journal_tells_what_it_did_even_if_it_is_verified() {
    let place = with_damaged_journal(|len| len / 2);
    let repo = place.path("backups").to_str().unwrap().to_owned();
    assert_eq!(place.run(&["backup", "--repo", &repo]).code, 13);
    let ways: [&[&str]; 4] = [&[], &["--salvage"], &["--verify"], &["--verify", "--salvage"]];
    for (n, how) in ways.into_iter().enumerate() {
        let dir = place.path(&format!("restored-{n}")).to_str().unwrap().to_owned();
        let (code, told) = place.json(&[&["restore", &dir, "--repo", &repo], how].concat());
        assert_eq!(code, 13, "{how:?}: {told}");
        assert_eq!(told["damage"].as_array().unwrap().len(), 1, "{how:?}: {told}");
        let verified = if how.contains(&"--verify") { json!(false) } else { Value::Null };
        assert_eq!((&told["verified"], &told["journals"]), (&verified, &json!(1)), "{how:?}");
    }
}
