//! `sessions`, `show`, `replay`, `export`.

use std::fs;

use serde_json::{Value, json};

use crate::common::{Place, SECRET, chunk, event, hour_ago, lines, recording};

fn id(n: u64) -> String {
    format!("{SECRET}-{n:02}")
}

/// Ten sessions a minute apart, the first an hour ago.
fn ten() -> (Place, u64) {
    let place = Place::with_site();
    let start = hour_ago();
    let text: String =
        (0..10).map(|n| chunk(&id(n), 0, &recording(start + 60_000 * n, 20))).collect();
    let file = place.file("up.ndjson", text);
    place.ok(&["import", "--site", "shop", &file]);
    (place, start)
}

fn ids(list: &Value) -> Vec<&str> {
    list["sessions"].as_array().unwrap().iter().map(|s| s["id"].as_str().unwrap()).collect()
}

#[test]
fn sessions_are_listed_newest_first_or_oldest_first() {
    let (place, _) = ten();
    let (_, list) = place.json(&["sessions", "shop", "--limit", "3"]);
    assert_eq!(ids(&list), [id(9), id(8), id(7)]);
    let (_, list) = place.json(&["sessions", "shop", "--limit", "3", "--oldest-first"]);
    assert_eq!(ids(&list), [id(0), id(1), id(2)]);
}

#[test]
fn a_cursor_goes_on_where_the_page_ended() {
    let (place, _) = ten();
    let (_, first) = place.json(&["sessions", "shop", "--limit", "6"]);
    let cursor = first["next"].as_str().unwrap();
    let (_, second) = place.json(&["sessions", "shop", "--limit", "6", "--cursor", cursor]);
    assert_eq!(ids(&second), [id(3), id(2), id(1), id(0)]);
    assert!(second["next"].is_null());
    let other = place.run(&["sessions", "shop", "--oldest-first", "--cursor", cursor]);
    assert_eq!(other.code, 2, "{other:?}");
    assert_eq!(place.run(&["sessions", "shop", "--cursor", "abc"]).code, 2);
    let more = place.run(&["sessions", "shop", "--limit", "6"]);
    assert!(more.err.contains(&format!("--cursor {cursor}")), "{}", more.err);
}

#[test]
fn a_window_of_time_and_a_visitor_narrow_the_list() {
    let (place, start) = ten();
    let (from, to) = ((start + 120_000).to_string(), (start + 240_000).to_string());
    let (_, list) = place.json(&["sessions", "shop", "--from", &from, "--to", &to]);
    assert_eq!(ids(&list), [id(3), id(2)]);
    let (_, list) = place.json(&["sessions", "shop", "--last", "54m30s"]);
    assert_eq!(ids(&list).len(), 4, "{list}");
    let visitor = format!("v-{SECRET}");
    assert_eq!(ids(&place.json(&["sessions", "shop", "--visitor", &visitor]).1).len(), 10);
    assert!(ids(&place.json(&["sessions", "shop", "--visitor", "nobody"]).1).is_empty());
    let reversed = place.run(&["sessions", "shop", "--from", &to, "--to", &from]);
    assert_eq!(reversed.code, 2, "{reversed:?}");
    for bad in [["--from", "tomorrow"], ["--last", "x"], ["--from", "+30s"]] {
        assert_eq!(place.run(&[&["sessions", "shop"][..], &bad].concat()).code, 2, "{bad:?}");
    }
}

#[test]
fn the_table_stands_in_columns() {
    let (place, _) = ten();
    let table = place.ok(&["sessions", "shop", "--all"]);
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(rows.len(), 11);
    assert!(rows[0].starts_with("start (UTC)"));
    assert!(rows[1].contains(&id(9)) && rows[1].contains("0:19"), "{}", rows[1]);
    assert_eq!(rows[1].find(&id(9)), rows[2].find(&id(8)));
}

#[test]
fn unknown_sites_and_sessions_fail_with_a_hint() {
    let (place, _) = ten();
    let site = place.run(&["sessions", "nope"]);
    assert_eq!(site.code, 1);
    assert!(site.err.contains("site list"), "{}", site.err);
    for command in ["show", "replay"] {
        let session = place.run(&[command, "shop", "nobody"]);
        assert_eq!((session.code, session.out.as_str()), (1, ""));
        assert!(session.err.contains("no such session"), "{}", session.err);
        // Every session begins like this one.
        let several = place.run(&[command, "shop", SECRET]);
        assert_eq!(several.code, 1);
        assert!(several.err.contains("several sessions"), "{}", several.err);
    }
    assert_eq!(place.json(&["replay", "shop", "nobody"]).1["error"]["kind"], "failed");
}

#[test]
fn a_beginning_of_an_id_is_enough() {
    let place = Place::with_site();
    let start = hour_ago();
    let chat = json!({"timestamp": start, "session": format!("{SECRET}-ab1"), "text": "hi"});
    let files = [
        place.file("up.ndjson", chunk(&format!("{SECRET}-ab1"), 0, &recording(start, 3))),
        place.file("other.ndjson", chunk(&format!("{SECRET}-ab"), 0, &recording(start, 3))),
        place.file("chat.jsonl", format!("{chat}\n")),
    ];
    place.ok(&["import", "--site", "shop", &files[0], &files[1], &files[2]]);
    let found = |part: &str| {
        let (code, shown) = place.json(&["show", "shop", part]);
        (code, shown["session"]["id"].as_str().unwrap_or_default().to_owned())
    };
    // A whole id is that session, though others begin with it; and a chat gives way to its replay.
    assert_eq!(found(&format!("{SECRET}-ab")), (0, format!("{SECRET}-ab")));
    assert_eq!(found(&format!("{SECRET}-ab1")), (0, format!("{SECRET}-ab1")));
    assert_eq!(found(&format!("{SECRET}-ab1-c")), (0, format!("{SECRET}-ab1-chat")));
    assert_eq!(found(&format!("{SECRET}-a")).0, 1);
}

#[test]
fn a_replay_is_what_was_recorded_and_can_begin_later() {
    let place = Place::with_site();
    let start = hour_ago();
    let mut events = recording(start, 30);
    events.extend(recording(start + 30_000, 30));
    let file = place.file(&format!("{}.json", id(1)), format!("[{}]", events.join(",")));
    place.ok(&["import", "--site", "shop", &file]);
    assert_eq!(place.ok(&["replay", "shop", &id(1)]), lines(&events));
    let second = place.ok(&["replay", "shop", &id(1), "--from", "+40s"]);
    assert_eq!(second, lines(&events[31..]));
    let at = (start + 40_000).to_string();
    assert_eq!(place.ok(&["replay", "shop", &id(1), "--from", &at]), second);
    let part = place.ok(&["replay", "shop", &id(1), "--from", "+40s", "--to", "+41s"]);
    assert!(second.starts_with(&part) && part.len() < second.len());
    assert_eq!(place.run(&["replay", "shop", &id(1), "--from", "+2s", "--to", "+1s"]).code, 2);
}

#[test]
fn a_replay_with_chunks_can_be_imported_again() {
    let (place, _) = ten();
    let chunks = place.ok(&["replay", "shop", &id(4), "--chunks"]);
    let other = Place::with_site();
    let file = other.file("up.ndjson", &chunks);
    other.ok(&["import", "--site", "shop", &file]);
    assert_eq!(other.ok(&["replay", "shop", &id(4), "--chunks"]), chunks);
    let (_, here) = place.json(&["show", "shop", &id(4)]);
    let (_, there) = other.json(&["show", "shop", &id(4)]);
    for field in ["visitor", "attributes", "start_ms", "events", "raw_bytes", "snapshots"] {
        assert_eq!(here["session"][field], there["session"][field], "{field}");
    }
}

#[test]
fn an_export_is_complete_and_goes_on_where_it_was() {
    let (place, start) = ten();
    let out = place.path("export");
    let dir = out.to_str().unwrap();
    let from = (start + 60_000).to_string();
    let args = ["export", "shop", "--out", dir, "--from", &from];
    let (code, done) = place.json(&args);
    assert_eq!((code, &done["sessions"], &done["written"]), (0, &json!(9), &json!(9)));
    let index: Value =
        serde_json::from_str(&fs::read_to_string(out.join("index.json")).unwrap()).unwrap();
    assert_eq!((&index["reelvault"], &index["site"]), (&json!(1), &json!("shop")));
    for entry in index["sessions"].as_array().unwrap() {
        let text = fs::read_to_string(out.join(entry["file"].as_str().unwrap())).unwrap();
        assert_eq!(text, place.ok(&["replay", "shop", entry["id"].as_str().unwrap()]));
    }
    fs::remove_file(out.join(format!("{}.ndjson", id(3)))).unwrap();
    fs::write(out.join(format!("{}.ndjson", id(4))), "half").unwrap();
    let (_, again) = place.json(&args);
    assert_eq!((&again["written"], &again["kept"]), (&json!(2), &json!(7)));
    let parts = fs::read_dir(&out)
        .unwrap()
        .filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|x| x == "part"));
    assert_eq!(parts.count(), 0);
}

/// Their sizes are the same, so a file that is there tells nothing.
#[test]
fn sessions_of_one_id_are_exported_each_to_a_file_of_its_own() {
    let place = Place::with_site();
    let later = hour_ago();
    let starts = [later - 3 * 86_400_000, later];
    for start in starts {
        let file = place.file("up.ndjson", chunk(&id(1), 0, &recording(start, 20)));
        place.ok(&["import", "--site", "shop", &file]);
    }
    let out = place.path("export");
    let args = ["export", "shop", "--out", out.to_str().unwrap()];
    let (code, done) = place.json(&args);
    assert_eq!((code, &done["sessions"], &done["written"]), (0, &json!(2), &json!(2)));
    let index: Value =
        serde_json::from_str(&fs::read_to_string(out.join("index.json")).unwrap()).unwrap();
    let mut files = Vec::new();
    for (entry, start) in index["sessions"].as_array().unwrap().iter().zip(starts) {
        files.push(entry["file"].as_str().unwrap());
        let text = fs::read_to_string(out.join(files[files.len() - 1])).unwrap();
        assert_eq!(entry["start_ms"], start);
        assert_eq!(text, lines(&recording(start, 20)));
        let start = start.to_string();
        assert_eq!(text, place.ok(&["replay", "shop", &id(1), "--start", &start]));
    }
    assert_eq!(files[0], format!("{}.ndjson", id(1)));
    assert!(files[1].starts_with(&format!("{}@20", id(1))), "the day stands in it");
    let (_, again) = place.json(&args);
    assert_eq!((&again["written"], &again["kept"]), (&json!(0), &json!(2)));
}

/// Each week's export named the files anew: the later session of an id replaced the earlier one, or was taken to be there.
#[test]
fn sessions_of_one_id_keep_their_files_when_other_windows_are_exported() {
    let place = Place::with_site();
    let later = hour_ago();
    let earlier = later - 3 * 86_400_000;
    for start in [earlier, later] {
        let file = place.file("up.ndjson", chunk(&id(1), 0, &recording(start, 20)));
        place.ok(&["import", "--site", "shop", &file]);
    }
    let out = place.path("export");
    let middle = (later - 86_400_000).to_string();
    let export = |window: &[&str]| {
        let args = [&["export", "shop", "--out", out.to_str().unwrap()][..], window].concat();
        let (code, done) = place.json(&args);
        assert_eq!(code, 0, "{done}");
        let index = fs::read_to_string(out.join("index.json")).unwrap();
        let index: Value = serde_json::from_str(&index).unwrap();
        (done, index)
    };
    let text =
        |entry: &Value| fs::read_to_string(out.join(entry["file"].as_str().unwrap())).unwrap();

    let (_, first) = export(&["--to", &middle]);
    let plain = format!("{}.ndjson", id(1));
    assert_eq!((&first["sessions"][0]["file"], &first["earlier"]), (&json!(plain), &json!([])));
    let (done, second) = export(&["--from", &middle]);
    assert_eq!((&done["sessions"], &done["written"]), (&json!(1), &json!(1)));
    assert_ne!(second["sessions"][0]["file"], plain);
    assert_eq!(second["earlier"], first["sessions"]);
    // What no window has had for a while is not forgotten.
    let (_, none) = export(&["--from", &middle, "--to", &(later - 43_200_000).to_string()]);
    assert_eq!(none["earlier"].as_array().unwrap().len(), 2, "{none}");
    for (window, sessions) in [
        (vec!["--from", &*middle], vec![&second["sessions"][0]]),
        (vec!["--to", &*middle], vec![&first["sessions"][0]]),
        (vec![], vec![&first["sessions"][0], &second["sessions"][0]]),
    ] {
        let (done, index) = export(&window);
        assert_eq!((&done["written"], &done["kept"]), (&json!(0), &json!(sessions.len())));
        let files = |all: &[&Value]| all.iter().map(|e| e["file"].clone()).collect::<Vec<_>>();
        let told: Vec<_> = index["sessions"].as_array().unwrap().iter().collect();
        assert_eq!(files(&told), files(&sessions));
        assert_eq!(text(&first["sessions"][0]), lines(&recording(earlier, 20)));
        assert_eq!(text(&second["sessions"][0]), lines(&recording(later, 20)));
    }
}

#[test]
fn ids_cannot_lead_an_export_elsewhere() {
    let place = Place::with_site();
    let evil = format!("../../{SECRET}/x");
    let file = place.file("up.ndjson", chunk(&evil, 0, &[event(3, hour_ago(), "x")]));
    place.ok(&["import", "--site", "shop", &file]);
    let out = place.path("deep/export");
    place.ok(&["export", "shop", "--out", out.to_str().unwrap()]);
    let names: Vec<_> = fs::read_dir(&out)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(names.contains(&format!("%2E.%2F..%2F{SECRET}%2Fx.ndjson")), "{names:?}");
}
