//! `erase`, `retention`, `hold`, `release`, `holds`, `deletions`, `reclaim`.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::Arc;

use reelvault::env::{Clock, Env};
use reelvault::{KeyFile, Options, SiteId, Store};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::common::{Place, Ran, SECRET, chunk, finish, hour_ago, recording, text};

fn id(n: u64) -> String {
    format!("{SECRET}-{n:02}")
}

/// Some sessions of one visitor.
fn some(count: u64) -> Place {
    let place = Place::with_site();
    let start = hour_ago();
    let text: String =
        (0..count).map(|n| chunk(&id(n), 0, &recording(start + 60_000 * n, 5))).collect();
    let file = place.file("up.ndjson", text);
    place.ok(&["import", "--site", "shop", &file]);
    place
}

fn listed(place: &Place) -> Vec<String> {
    let (_, list) = place.json(&["sessions", "shop", "--all", "--oldest-first"]);
    let ids = list["sessions"].as_array().unwrap().iter();
    ids.map(|s| s["id"].as_str().unwrap().to_owned()).collect()
}

fn deeds(place: &Place) -> Vec<Value> {
    let (code, log) = place.json(&["deletions"]);
    assert_eq!(code, 0);
    log["deletions"].as_array().unwrap().iter().map(|d| d["deed"].clone()).collect()
}

/// Runs with something on standard input.
fn fed(mut command: Command, place: &Place, input: &str) -> Ran {
    let path = place.file("input", input);
    command.stdin(Stdio::from(fs::File::open(path).unwrap()));
    finish(command)
}

#[test]
fn an_erased_session_answers_erased_and_its_certificate_proves_itself() {
    let place = some(3);
    let proof = text(&place.path("proof.json"));
    let (code, erased) =
        place.json(&["erase", "session", "shop", &id(1), &id(1), "--certificate", &proof]);
    assert_eq!((code, &erased["sessions"]), (0, &1.into()));
    assert_eq!(listed(&place), [id(0), id(2)]);
    for args in [&["show", "shop", &id(1)][..], &["replay", "shop", &id(1)]] {
        let ran = place.run(args);
        assert_eq!(ran.code, 15, "{ran:?}");
        assert!(ran.err.contains("erased"), "{}", ran.err);
    }
    let written = fs::read_to_string(&proof).unwrap();
    let (_, rest) = written.split_once("\"statement\":").unwrap();
    let (statement, _) = rest.split_once(",\"digest\"").unwrap();
    let certificate: Value = serde_json::from_str(&written).unwrap();
    let digest: String = Sha256::digest(statement).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(certificate["digest"], digest);
    assert_eq!(certificate["final"], true);
    assert_eq!(erased["certificate"], certificate);
    assert_eq!(place.ok(&["deletions", "--number", "1"]), written);
    assert!(!written.contains(SECRET), "a certificate names nobody");

    let (code, again) = place.json(&["erase", "session", "shop", &id(1)]);
    assert_eq!((code, &again["already_erased"], &again["sessions"]), (0, &1.into(), &0.into()));
}

#[test]
fn a_certificate_overwrites_nothing_and_a_refused_erasure_leaves_no_file() {
    let place = some(2);
    let there = place.file("letter", "hello");
    let ran = place.run(&["erase", "session", "shop", &id(0), "--certificate", &there]);
    assert_eq!(ran.code, 1);
    assert_eq!(fs::read(&there).unwrap(), b"hello");
    assert_eq!(listed(&place).len(), 2, "nothing is erased without its proof");
    let proof = place.path("proof.json");
    let ran = place.run(&["erase", "session", "shop", "nobody", "--certificate", &text(&proof)]);
    assert_eq!(ran.code, 1);
    assert!(!proof.exists());
}

#[test]
fn shortened_ids_erase_nothing_and_unknown_ones_are_told() {
    let place = some(2);
    let ran = place.run(&["erase", "session", "shop", SECRET]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("whole"), "{}", ran.err);
    assert_eq!(listed(&place).len(), 2);
    let (code, partly) = place.json(&["erase", "session", "shop", &id(0), &id(9)]);
    assert_eq!(code, 3);
    assert_eq!(partly["unknown"], serde_json::json!([id(9)]));
    assert_eq!(listed(&place), [id(1)]);
}

#[test]
fn many_ids_come_from_a_file_or_standard_input_and_are_one_change() {
    let place = some(5);
    let ids = place.file("ids", format!("{}\r\n\n{}\n", id(0), id(1)));
    let (code, erased) = place.json(&["erase", "session", "shop", &id(2), "--from-file", &ids]);
    assert_eq!((code, &erased["sessions"]), (0, &3.into()));
    assert_eq!(deeds(&place).len(), 1);
    let command = place.command(&["erase", "session", "shop", "--from-file", "-"]);
    assert_eq!(fed(command, &place, &id(3)).code, 0);
    assert_eq!(listed(&place), [id(4)]);
    let long = format!("{}\n", "x".repeat(5000));
    let command = place.command(&["erase", "session", "shop", "--from-file", "-"]);
    let ran = fed(command, &place, &format!("{}\n{long}", id(4)));
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("line 2"), "{}", ran.err);
    assert_eq!(place.run(&["erase", "session", "shop"]).code, 2);
    assert_eq!(listed(&place), [id(4)]);
}

#[test]
fn a_visitor_is_erased_with_all_sessions() {
    let place = some(4);
    let visitor = format!("v-{SECRET}");
    let (code, erased) = place.json(&["erase", "visitor", "shop", &visitor]);
    assert_eq!((code, &erased["sessions"]), (0, &4.into()));
    assert!(listed(&place).is_empty());
    assert_eq!(place.run(&["erase", "visitor", "shop", &visitor]).code, 1);
}

#[test]
fn a_site_is_erased_only_with_a_confirmation_and_then_answers_erased() {
    let place = some(2);
    let ran = place.run(&["erase", "site", "shop"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("--yes"), "{}", ran.err);
    assert_eq!(listed(&place).len(), 2);
    let (code, _) = place.json(&["erase", "site", "shop", "--yes"]);
    assert_eq!(code, 0);
    for args in [&["site", "show", "shop"][..], &["sessions", "shop"], &["holds", "shop"]] {
        let (code, answer) = place.json(args);
        assert_eq!((code, &answer["error"]["kind"]), (15, &"gone".into()), "{args:?}");
        assert!(answer["error"]["message"].as_str().unwrap().contains("erased"));
    }
    let (_, log) = place.json(&["deletions"]);
    assert!(log["deletions"][0]["site"].is_null(), "its name is gone: {log}");
    place.ok(&["site", "add", "shop"]);
    assert!(listed(&place).is_empty());
}

#[test]
fn a_held_session_outlives_its_retention_and_is_erased_only_when_said() {
    let place = some(3);
    let (code, _) = place.json(&["hold", "shop", &id(1), "--reason", "order 12"]);
    assert_eq!(code, 0);
    assert_eq!(place.run(&["hold", "shop", &id(1), "--reason", "again"]).code, 1);
    let (_, holds) = place.json(&["holds"]);
    assert_eq!(holds["holds"][0]["reason"], "order 12");
    assert_eq!(holds["holds"][0]["session"], id(1));
    let (_, shown) = place.json(&["show", "shop", &id(1)]);
    assert_eq!(
        (&shown["session"]["held"], &shown["hold"]["reason"]),
        (&true.into(), &"order 12".into())
    );
    assert!(place.ok(&["show", "shop", &id(1)]).contains("HELD"));
    assert!(place.ok(&["sessions", "shop"]).contains("replay, held"));

    let visitor = format!("v-{SECRET}");
    for args in [
        &["erase", "session", "shop", &id(0), &id(1)][..],
        &["erase", "visitor", "shop", &visitor],
        &["erase", "site", "shop", "--yes"],
    ] {
        let ran = place.run(args);
        assert_eq!(ran.code, 16, "{ran:?}");
        assert!(ran.err.contains("--held"), "{}", ran.err);
    }
    assert_eq!(listed(&place).len(), 3);
    let before = place.ok(&["replay", "shop", &id(1)]);
    let (code, expired) = place.json(&["retention", "--now", "+100d"]);
    assert_eq!(code, 0, "{expired}");
    assert_eq!(listed(&place), [id(1)]);
    assert_eq!(place.ok(&["replay", "shop", &id(1)]), before);
    place.ok(&["erase", "session", "shop", &id(1), "--held"]);
    assert_eq!(place.run(&["replay", "shop", &id(1)]).code, 15);
    assert_eq!(deeds(&place), ["held", "expired", "erased sessions"]);
}

#[test]
fn of_two_sessions_of_one_id_the_one_is_held_that_was_meant() {
    let place = Place::with_site();
    let later = hour_ago();
    let starts = [later - 3 * 86_400_000, later];
    for start in starts {
        let file = place.file("up.ndjson", chunk(&id(1), 0, &recording(start, 5)));
        place.ok(&["import", "--site", "shop", &file]);
    }
    let [early, late] = starts.map(|ms| ms.to_string());
    let hold =
        |start: &str| place.run(&["hold", "shop", &id(1), "--start", start, "--reason", "x"]);
    assert_eq!(hold("2001-01-01").code, 1, "no session started then");
    assert_eq!(hold(&early).code, 0);
    assert_eq!(place.json(&["holds", "shop"]).1["holds"][0]["start_ms"], starts[0]);
    let held = |start: &str| {
        let (_, shown) = place.json(&["show", "shop", &id(1), "--start", start]);
        (shown["session"]["held"].clone(), shown["hold"]["reason"].clone())
    };
    assert_eq!(held(&early), (true.into(), "x".into()));
    assert_eq!(held(&late), (false.into(), serde_json::Value::Null));
    let refused = hold(&late);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.err.contains("another"), "{}", refused.err);
}

#[test]
fn a_hold_that_is_released_leaves_the_session_to_its_retention() {
    let place = some(1);
    place.ok(&["hold", "shop", SECRET, "--reason", "complaint"]);
    assert_eq!(place.run(&["release", "shop", SECRET]).code, 1, "ids must be whole");
    place.ok(&["release", "shop", &id(0)]);
    assert_eq!(listed(&place), [id(0)]);
    let (_, holds) = place.json(&["holds", "shop"]);
    assert_eq!(holds["holds"], serde_json::json!([]));
}

#[test]
fn who_knows_when_a_session_started_is_told_that_it_has_expired() {
    let place = some(1);
    let (_, shown) = place.json(&["show", "shop", &id(0)]);
    let start = shown["session"]["start_ms"].to_string();
    let (code, same) = place.json(&["show", "shop", &id(0), "--start", &start]);
    assert_eq!((code, same), (0, shown));
    let replay = |more: &[&str]| place.run(&[&["replay", "shop", &id(0)][..], more].concat());
    let whole = replay(&[]);
    assert_eq!((whole.code, replay(&["--start", &start]).out), (0, whole.out.clone()));
    assert_eq!(replay(&["--start", &start, "--from", "+0s"]).out, whole.out);
    assert_eq!(replay(&["--start", "2020-01-01"]).code, 1, "no day has passed in this store");
    assert_eq!(replay(&["--start", "+3s"]).code, 2);
    assert_eq!(place.run(&["replay", "shop", SECRET, "--start", &start]).code, 1, "ids are whole");
    assert_eq!(place.json(&["retention", "--now", "+100d"]).0, 0);
    assert_eq!(replay(&[]).code, 1);
    for command in ["replay", "show"] {
        let expired = place.run(&[command, "shop", &id(0), "--start", &start]);
        assert_eq!((expired.code, expired.out.as_str()), (15, ""));
        assert!(expired.err.contains("expired"), "{}", expired.err);
    }
    assert_eq!(replay(&["--start", "2020-01-01"]).code, 15, "of that day nothing is kept");
}

#[test]
fn a_dry_run_of_retention_deletes_nothing() {
    let place = some(2);
    let (code, dry) = place.json(&["retention", "--dry-run", "--now", "+100d"]);
    assert_eq!((code, &dry["sessions"], &dry["certificate"]), (0, &2.into(), &Value::Null));
    assert_eq!(listed(&place).len(), 2);
    assert_eq!(deeds(&place).len(), 0);
    let both = ["retention", "--now", "+1d", "--trust-clock"];
    assert_eq!(place.run(&both).code, 2);
}

struct Past(Arc<dyn Clock>);

impl Clock for Past {
    fn now_ms(&self) -> u64 {
        self.0.now_ms() - 30 * 86_400_000
    }
    fn monotonic_ns(&self) -> u64 {
        self.0.monotonic_ns()
    }
}

#[test]
fn a_clock_that_jumped_is_doubted_until_somebody_has_looked() {
    let place = Place::empty();
    let mut env = Env::real();
    env.clock = Arc::new(Past(env.clock));
    fs::create_dir(place.path("store.keys")).unwrap();
    let key = KeyFile::create(&env, place.path("store.keys/key")).unwrap();
    let mirrors =
        ["mirror-1", "mirror-2"].map(|m| place.path("store.keys").join(m).join("keyring"));
    let options = Options::new(place.path("store"), mirrors, Arc::new(key)).env(env);
    let store = Store::create(options).unwrap();
    store.add_site(SiteId::new("shop").unwrap(), 10).unwrap();
    store.close().unwrap();

    let (code, doubted) = place.json(&["retention"]);
    assert_eq!(code, 3, "{doubted}");
    let doubt = &doubted["clock_doubt"];
    assert!(doubt["clock_ms"].as_u64() > doubt["expected_ms"].as_u64());
    let ran = place.run(&["retention", "--dry-run"]);
    assert_eq!(ran.code, 3);
    assert!(ran.err.contains("the clock says") && ran.err.contains("--trust-clock"), "{}", ran.err);
    let (code, trusted) = place.json(&["retention", "--trust-clock"]);
    assert_eq!((code, &trusted["clock_doubt"]), (0, &Value::Null), "{trusted}");
    assert_eq!(place.run(&["retention"]).code, 0);
}

#[test]
fn a_damaged_log_of_deletions_is_13_and_verify_sees_it() {
    let place = some(3);
    for n in 0..3 {
        place.ok(&["erase", "session", "shop", &id(n)]);
    }
    let (code, sound) = place.json(&["verify"]);
    assert_eq!((code, &sound["deletions"]), (0, &3.into()));
    assert_eq!(place.run(&["deletions", "--number", "4"]).code, 1);
    assert_eq!(place.ok(&["erasures"]), place.ok(&["deletions"]));
    let log = place.path("store/deletions");
    let mut bytes = fs::read(&log).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&log, bytes).unwrap();
    let (code, damaged) = place.json(&["deletions"]);
    assert_eq!(code, 13);
    assert!(!damaged["damage"].as_array().unwrap().is_empty());
    let (code, found) = place.json(&["verify"]);
    assert_eq!((code, &found["sound"]), (13, &false.into()));
}

#[test]
fn space_of_erased_sessions_is_given_back() {
    let place = some(4);
    place.ok(&["archive"]);
    place.ok(&["erase", "session", "shop", &id(0), &id(1), &id(2)]);
    let (code, given) = place.json(&["reclaim", "--share", "0.1"]);
    assert_eq!(code, 0);
    assert_eq!(given["segments"], 1, "{given}");
    assert_eq!(listed(&place), [id(3)]);
    assert_eq!(place.run(&["reclaim", "--share", "2"]).code, 2);
}
