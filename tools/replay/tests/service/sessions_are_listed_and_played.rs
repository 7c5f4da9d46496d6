//! What a viewer sees: sites, sessions, events in every coding, transcripts.

use std::io::Read;

use flate2::read::GzDecoder;

use crate::common::{self, HELP, OTHER, SHOP, World};

fn unzstd(body: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    zstd::stream::read::Decoder::new(body).unwrap().read_to_end(&mut text).unwrap();
    text
}

#[test]
fn a_viewer_sees_the_sessions_of_its_site() {
    let world = World::new();
    let service = world.serve();
    let viewer = service.with_token(SHOP, &["viewer"]);
    let me = viewer.get("/v1/me");
    assert_eq!(me.status, 200, "{me:?}");
    let expected = serde_json::json!([{"id": SHOP, "roles": ["viewer"]}]);
    assert_eq!(me.json()["sites"], expected);
    let sites = viewer.get("/v1/sites").json();
    assert_eq!(sites["sites"][0]["retention_days"], 3_650);
    assert_eq!(sites["sites"].as_array().unwrap().len(), 1);

    let list = viewer.get(&format!("/v1/sites/{SHOP}/sessions")).json();
    let of_shop = world.of(SHOP);
    assert_eq!(list["sessions"].as_array().unwrap().len(), of_shop.len());
    assert_eq!(list["next"], serde_json::Value::Null);
    let mut paged = Vec::new();
    let mut path = format!("/v1/sites/{SHOP}/sessions?limit=1&order=oldest");
    loop {
        let page = viewer.get(&path).json();
        paged.extend(page["sessions"].as_array().unwrap().iter().cloned());
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/sites/{SHOP}/sessions?limit=1&order=oldest&cursor={next}");
    }
    paged.reverse();
    assert_eq!(serde_json::Value::from(paged), list["sessions"]);

    for recorded in of_shop {
        let path = format!("/v1/sites/{SHOP}/sessions/{}", recorded.session);
        let one = viewer.get(&path).json();
        assert_eq!(one["visitor"], recorded.visitor.as_str());
        assert_eq!(one["raw_bytes"], recorded.events().len());
        assert_eq!(one["attributes"]["page"], format!("https://{SHOP}/<script>alert(1)</script>"));
        let times = one["snapshot_times"].as_array().unwrap().len();
        assert_eq!(one["snapshots"], times);
        let by_visitor = format!("/v1/sites/{SHOP}/sessions?visitor={}", recorded.visitor);
        let found = viewer.get(&by_visitor).json();
        let ids = found["sessions"].as_array().unwrap().iter().map(|s| s["id"].clone());
        assert!(ids.collect::<Vec<_>>().contains(&recorded.session.as_str().into()));
    }
    let none = viewer.get(&format!("/v1/sites/{SHOP}/sessions?min_duration_ms=99999999999")).json();
    assert_eq!(none["sessions"].as_array().unwrap().len(), 0);
    let chats = viewer.get(&format!("/v1/sites/{SHOP}/sessions?kind=chat")).json();
    assert!(chats["sessions"].as_array().unwrap().iter().all(|s| s["kind"] == "chat"));
}

#[test]
fn events_are_the_same_in_every_coding() {
    let world = World::new();
    let service = world.serve();
    for site in [SHOP, HELP] {
        let viewer = service.with_token(site, &["viewer"]);
        for recorded in world.of(site) {
            let path = format!("/v1/sites/{site}/sessions/{}/events", recorded.session);
            let plain = viewer.get(&path);
            assert_eq!(plain.status, 200, "{plain:?}");
            assert!(plain.whole && plain.body == recorded.events());
            assert_eq!(plain.header("content-type"), Some("application/x-ndjson"));
            let stored = viewer.with("accept-encoding", "gzip, zstd").get(&path);
            assert_eq!(stored.header("content-encoding"), Some("zstd"));
            assert!(unzstd(&stored.body) == recorded.events());
            let zipped = viewer.with("accept-encoding", "gzip").get(&path);
            assert_eq!(zipped.header("content-encoding"), Some("gzip"));
            let mut text = Vec::new();
            GzDecoder::new(&zipped.body[..]).read_to_end(&mut text).unwrap();
            assert!(text == recorded.events());
            let tags = [&plain, &stored, &zipped].map(|r| r.header("etag").unwrap().to_owned());
            assert!(tags[0] != tags[1] && tags[1] != tags[2]);
            let again = viewer.with("if-none-match", &tags[0]).get(&path);
            assert_eq!((again.status, again.body.len()), (304, 0));
            let head = viewer.send("HEAD", &path, None);
            assert_eq!((head.status, head.header("etag")), (200, Some(tags[0].as_str())));
        }
    }
}

#[test]
fn a_window_begins_at_a_snapshot_and_nothing_is_still_a_body() {
    let world = World::new();
    let service = world.serve();
    let viewer = service.with_token(SHOP, &["viewer"]);
    let id = world.session(SHOP);
    let info = world.site(SHOP).session(&common::session_id(&id)).unwrap();
    let snapshot = *info.snapshots.last().unwrap();
    let path = format!("/v1/sites/{SHOP}/sessions/{id}/events");
    for (from, to) in [(snapshot, u64::MAX), (snapshot + 1, snapshot + 1), (0, snapshot), (0, 0)] {
        let mut expected = Vec::new();
        let replay = world.site(SHOP).replay_from(&common::session_id(&id), from).unwrap();
        replay.until(to).write_to(&mut expected).unwrap();
        let window = format!("{path}?from={from}&to={to}");
        assert!(viewer.get(&window).body == expected, "{from} {to}");
        let stored = viewer.with("accept-encoding", "zstd").get(&window);
        assert!(stored.whole && unzstd(&stored.body) == expected);
    }
}

#[test]
fn a_chat_has_a_transcript_and_a_replay_has_none() {
    let world = World::new();
    let service = world.serve();
    let viewer = service.with_token(HELP, &["viewer"]);
    let of = world.of(HELP);
    let chat = of.iter().find(|r| r.is_chat()).unwrap();
    let transcript = viewer.get(&format!("/v1/sites/{HELP}/sessions/{}/transcript", chat.session));
    assert_eq!(transcript.status, 200, "{transcript:?}");
    let messages = transcript.json()["messages"].as_array().unwrap().clone();
    let events = String::from_utf8(chat.events()).unwrap();
    assert_eq!(messages.len(), events.lines().count());
    for (message, line) in messages.iter().zip(events.lines()) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!((&message["from"], &message["text"]), (&line["from"], &line["text"]));
    }
    let replay = world.session(HELP);
    let none = viewer.get(&format!("/v1/sites/{HELP}/sessions/{replay}/transcript"));
    assert_eq!(none.status, 404);
}

#[test]
fn what_is_new_appears_by_itself() {
    let world = World::new();
    let service = world.serve_with("");
    let viewer = service.with_token(SHOP, &["viewer"]);
    let count = || {
        let list = viewer.get(&format!("/v1/sites/{SHOP}/sessions")).json();
        list["sessions"].as_array().unwrap().len()
    };
    let before = count();
    let store = world.writer();
    let mut new = common::recordings::some().into_iter().find(|r| r.site == SHOP).unwrap();
    new.session = "brand-new".into();
    new.append_to(&store);
    service.running.refresh();
    assert_eq!(count(), before + 1);
    let live = viewer.get(&format!("/v1/sites/{SHOP}/sessions/brand-new"));
    assert_eq!(live.json()["live"], true);
    assert!(
        viewer.get(&format!("/v1/sites/{SHOP}/sessions/brand-new/events")).body == new.events()
    );
    let _ = OTHER;
}
