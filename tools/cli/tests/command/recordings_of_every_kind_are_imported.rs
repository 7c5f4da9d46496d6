//! `import`: formats, duplicates, refusals, sites.

use std::fs;
use std::io::Write;

use serde_json::{Value, json};

use crate::common::{Place, SECRET, chunk, event, hour_ago, lines, recording};

fn id(name: &str) -> String {
    format!("{SECRET}-{name}")
}

fn import(place: &Place, paths: &[&str]) -> (i32, Value) {
    place.json(&[&["import", "--site", "shop"], paths].concat())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_json_array_is_a_session_named_by_its_file() {
    let place = Place::with_site();
    let events = recording(hour_ago(), 12);
    let array = format!("[\n  {}\n]\n", events.join(",\n  "));
    let file = place.file(&format!("{}.json", id("a")), array);
    let (code, done) = import(&place, &[&file]);
    assert_eq!((code, &done["sessions"], &done["events"]), (0, &json!(1), &json!(13)));
    // A chunk each five seconds of recording.
    assert_eq!(done["chunks"], 3);
    assert_eq!(place.ok(&["replay", "shop", &id("a")]), lines(&events));
}

#[test]
fn lines_of_events_plain_and_packed_are_the_same() {
    let place = Place::with_site();
    let events = lines(&recording(hour_ago(), 12));
    let packed = zstd::encode_all(events.as_bytes(), 3).unwrap();
    let files = [
        place.file(&format!("in/{}.ndjson", id("plain")), &events),
        place.file(&format!("in/{}.ndjson.zst", id("zst")), packed),
        place.file(&format!("in/{}.jsonl.gz", id("gz")), gzip(events.as_bytes())),
    ];
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    assert_eq!(import(&place, &files).1["chunks"], 9);
    for name in ["plain", "zst", "gz"] {
        assert_eq!(place.ok(&["replay", "shop", &id(name)]), events, "{name}");
    }
}

#[test]
fn chunks_bring_their_session_visitor_and_attributes() {
    let place = Place::with_site();
    let start = hour_ago();
    let first = recording(start, 5);
    let third = vec![event(3, start + 9000, "later")];
    let text = [chunk(&id("s"), 0, &first), chunk(&id("s"), 2, &third)].concat();
    let file = place.file("upload.ndjson", text);
    assert_eq!(import(&place, &[&file]).1["chunks"], 2);
    let (_, shown) = place.json(&["show", "shop", &id("s")]);
    let session = &shown["session"];
    assert_eq!(session["visitor"], format!("v-{SECRET}"));
    assert_eq!(session["attributes"]["page"], "https://shop.test/");
    assert_eq!(session["gaps"], json!([[1, 2]]));
    assert_eq!(shown["snapshots_ms"], json!([start]));
    assert!(place.ok(&["show", "shop", &id("s")]).contains("1 chunk missing: 1"));
}

#[test]
fn a_chat_becomes_a_session_beside_its_own() {
    let place = Place::with_site();
    let start = hour_ago();
    let message = |n: u64, session: &str| json!({"timestamp": start + n, "session": session, "visitor": id("v"), "from": "agent", "text": "hi"});
    let (a, b) = (id("a"), id("b"));
    let messages = [message(0, &a), message(1, &b), message(2, &a)].map(|m| m.to_string());
    let file = place.file("talk.chat.jsonl", lines(&messages));
    assert_eq!(import(&place, &[&file]).1["sessions"], 2);
    let (_, shown) = place.json(&["show", "shop", &format!("{a}-chat")]);
    assert_eq!(shown["session"]["kind"], "chat");
    assert_eq!(shown["session"]["attributes"]["replay"], a);
    assert_eq!(shown["session"]["visitor"], id("v"));
    assert_eq!(shown["session"]["events"], 2);
    let events = place.ok(&["replay", "shop", &format!("{a}-chat")]);
    assert_eq!(events, format!("{}\n{}\n", messages[0], messages[2]));
}

#[test]
fn importing_twice_drops_duplicates() {
    let place = Place::with_site();
    let start = hour_ago();
    place.file("in/up.ndjson", chunk(&id("s"), 0, &recording(start, 5)));
    place.file(&format!("in/{}.json", id("a")), format!("[{}]", recording(start, 12).join(",")));
    let dir = place.path("in");
    let dir = dir.to_str().unwrap();
    let (_, first) = import(&place, &[dir]);
    let (code, second) = import(&place, &[dir, "--no-archive"]);
    assert_eq!((first["chunks"].as_u64(), first["duplicates"].as_u64()), (Some(4), Some(0)));
    assert_eq!((second["chunks"].as_u64(), second["duplicates"].as_u64()), (Some(0), Some(4)));
    assert_eq!(code, 0);
}

#[test]
fn a_file_that_grew_since_is_told_of() {
    let place = Place::with_site();
    let events = recording(hour_ago(), 12);
    let name = format!("{}.ndjson", id("s"));
    let file = place.file(&name, lines(&events[..9]));
    import(&place, &[&file]);
    place.file(&name, lines(&events));
    let (code, done) = import(&place, &[&file]);
    assert_eq!(code, 3);
    let why = done["refused"][0]["why"].as_str().unwrap();
    assert!(why.contains("the file has changed"), "{why}");
}

#[test]
fn bad_lines_are_refused_by_file_and_line_and_the_others_taken() {
    let place = Place::with_site();
    let start = hour_ago();
    let good = event(3, start, "x");
    let text = [
        &good,
        "not json",
        "[3, 1700000000000]",
        "{\"type\":3}",
        &event(3, 1, "1970"),
        &event(3, start + 200 * 3_600_000, "next week"),
        &good,
    ]
    .join("\n");
    let file = place.file(&format!("{}.ndjson", id("s")), text);
    let ran = place.run(&["import", "--site", "shop", &file]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.out.contains("refused   5 lines"), "{}", ran.out);
    assert!(ran.out.contains(".ndjson:2-4: it is not a JSON object"), "{}", ran.out);
    assert!(ran.out.contains(".ndjson:5: its timestamp is before 2000-01-01"), "{}", ran.out);
    assert!(ran.out.contains(".ndjson:6: its timestamp is more than a day"), "{}", ran.out);
    assert_eq!(place.ok(&["replay", "shop", &id("s")]), format!("{good}\n{good}\n"));
}

#[test]
fn a_chunk_is_taken_whole_or_not_at_all() {
    let place = Place::with_site();
    let start = hour_ago();
    let events = recording(start, 4);
    let cut_short = chunk(&id("s"), 0, &events);
    let cut_short = &cut_short[..cut_short.len() - 20];
    let bad_event = chunk(&id("s"), 1, &[events[0].clone(), "{\"type\":".into()]);
    let bad_header = "{\"chunk\":{\"session\":7}}\n";
    let bad_id = chunk("", 2, &events);
    let good = chunk(&id("s"), 3, &events);
    let missing = chunk(&id("s"), 4, &events);
    let missing = &missing[..missing.len() - lines(&events[2..]).len()];
    let text = format!("{cut_short}\n{bad_event}{bad_header}{bad_id}{good}{missing}{good}");
    let file = place.file("up.ndjson", text);
    let (code, done) = import(&place, &[&file]);
    assert_eq!(code, 3);
    assert_eq!(
        (done["chunks"].as_u64(), done["duplicates"].as_u64()),
        (Some(1), Some(1)),
        "{done}"
    );
    let (_, shown) = place.json(&["show", "shop", &id("s")]);
    assert_eq!(shown["session"]["gaps"], json!([[0, 3]]));
    let whys: Vec<&str> =
        done["refused"].as_array().unwrap().iter().map(|r| r["why"].as_str().unwrap()).collect();
    let expected = [
        "not a JSON object with a timestamp",
        "left out because of an event",
        "not a chunk's header",
        "a session id is 1 to 128",
        "the header says 5 events, and 2 follow",
    ];
    for part in expected {
        assert!(whys.iter().any(|why| why.contains(part)), "{part}: {whys:?}");
    }
}

#[test]
fn broken_arrays_and_packed_files_give_what_they_hold() {
    let place = Place::with_site();
    let events = recording(hour_ago(), 4);
    let array = format!("[{}", events.join(","));
    let cut = place.file(&format!("{}.json", id("cut")), array);
    let packed = gzip(lines(&events).repeat(2000).as_bytes());
    let torn = place.file(&format!("{}.ndjson.gz", id("torn")), &packed[..packed.len() / 2]);
    let (code, done) = import(&place, &[&cut, &torn]);
    assert_eq!(code, 3);
    let told = done["refused"].to_string();
    assert!(told.contains("the file ends within the array"), "{told}");
    assert!(told.contains("cannot be read further"), "{told}");
    // The last event stands before no comma and no bracket: it may be half of one.
    assert_eq!(place.ok(&["replay", "shop", &id("cut")]), lines(&events[..4]));
}

#[test]
fn what_is_no_recording_is_passed_over_in_directories_and_refused_by_name() {
    let place = Place::with_site();
    place.file("in/corpus.json", "{\"version\":1}");
    place.file("in/README.md", "# hello");
    place.file("in/.hidden", "x");
    place.file(&format!("in/{}.json", id("s")), format!("[{}]", event(3, hour_ago(), "x")));
    let dir = place.path("in");
    let (code, done) = import(&place, &[dir.to_str().unwrap()]);
    assert_eq!((code, &done["files"], &done["skipped_files"]), (0, &json!(1), &json!(2)));
    let readme = place.path("in/README.md");
    let (code, done) = import(&place, &[readme.to_str().unwrap()]);
    assert_eq!(code, 3);
    assert_eq!(done["refused"][0]["why"], "it holds no recording");
    let missing = place.run(&["import", "--site", "shop", "nowhere"]);
    assert_eq!(missing.code, 1);
    assert!(missing.err.contains("Nothing was imported"), "{}", missing.err);
}

#[test]
fn two_files_of_one_name_do_not_mix() {
    let place = Place::with_site();
    let name = format!("{}.json", id("s"));
    place.file(&format!("in/a/{name}"), format!("[{}]", event(3, hour_ago(), "a")));
    place.file(&format!("in/b/{name}"), format!("[{}]", event(3, hour_ago(), "b")));
    let dir = place.path("in");
    let (code, done) = import(&place, &[dir.to_str().unwrap()]);
    assert_eq!((code, &done["chunks"]), (3, &json!(1)));
    assert!(done["refused"][0]["why"].as_str().unwrap().contains("same name"));
}

#[test]
fn sites_come_from_directories_and_are_added_when_asked() {
    let place = Place::with_store();
    for site in ["a.example", "b.example"] {
        let name = format!("in/{site}/{}.json", id("s"));
        place.file(&name, format!("[{}]", event(3, hour_ago(), site)));
    }
    let dir = place.path("in");
    let dir = dir.to_str().unwrap();
    let refused = place.run(&["import", "--sites-from-dirs", dir]);
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("not in this store: a.example, b.example"), "{}", refused.err);
    let args = ["import", "--sites-from-dirs", "--add-sites", "--retention", "180", dir];
    assert_eq!(place.json(&args).1["sessions"], 2);
    let (_, list) = place.json(&["site", "list"]);
    assert_eq!(list["sites"][1]["retention_days"], 180);
    assert!(place.ok(&["replay", "b.example", &id("s")]).contains("b.example"));
}

#[test]
fn one_way_to_a_site_is_needed_and_only_one() {
    let place = Place::with_site();
    let file = place.file("s.json", "[]");
    assert_eq!(place.run(&["import", &file]).code, 2);
    assert_eq!(place.run(&["import", "--site", "shop", "--sites-from-dirs", &file]).code, 2);
    assert_eq!(place.run(&["import", "--site", "nope", &file]).code, 1);
}

#[test]
fn what_has_expired_already_is_refused() {
    let place = Place::with_store();
    place.ok(&["site", "add", "shop", "--retention", "1"]);
    let old = event(3, hour_ago() - 10 * 86_400_000, "old");
    let file = place.file(&format!("{}.json", id("s")), format!("[{old}]"));
    let (code, done) = import(&place, &[&file]);
    assert_eq!(code, 3);
    assert!(done["refused"][0]["why"].as_str().unwrap().contains("expired"), "{done}");
}

#[test]
fn everything_is_archived_unless_told_not_to() {
    let place = Place::with_site();
    let file = place.file("up.ndjson", chunk(&id("s"), 0, &recording(hour_ago(), 4)));
    assert_eq!(import(&place, &[&file, "--no-archive"]).1["archived"], false);
    let (_, stats) = place.json(&["stats"]);
    assert_eq!((&stats["live_chunks"], &stats["segments"]), (&json!(1), &json!(0)));
    place.ok(&["archive"]);
    let (_, stats) = place.json(&["stats"]);
    assert_eq!((&stats["live_chunks"], &stats["segments"]), (&json!(0), &json!(1)));
}

#[test]
fn acknowledged_chunks_are_written_down() {
    let place = Place::with_site();
    let file = place.file("up.ndjson", chunk(&id("s"), 7, &recording(hour_ago(), 4)));
    let acks = place.path("acks");
    import(&place, &[&file, "--acks", acks.to_str().unwrap()]);
    let ack: Value = serde_json::from_str(&fs::read_to_string(acks).unwrap()).unwrap();
    assert_eq!(ack, json!({"site": "shop", "session": id("s"), "seq": 7}));
}
