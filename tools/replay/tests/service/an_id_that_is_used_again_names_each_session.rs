//! A session's id may be used again two days after its start: each of the sessions is shown, played, exported and held.

use std::io::Read;

use reelvault::{Chunk, Kind, Session, SiteId, VisitorId};
use serde_json::{Value, json};

use crate::common::client::Client;
use crate::common::recordings::RECORDED_MS;
use crate::common::{SHOP, World, session_id};

const ID: &str = "used-again";
const DAY_MS: u64 = 86_400_000;

/// The events of the earlier session and of the later one: of one length, so that no size tells them apart.
fn events(ms: u64) -> Vec<u8> {
    let head = format!("{{\"type\":4,\"timestamp\":{ms},\"data\":{{}}}}\n");
    let snapshot = format!("{{\"type\":2,\"timestamp\":{},\"data\":{{}}}}\n", ms + 1);
    (head + &snapshot).into_bytes()
}

/// Adds two sessions of one id, days apart; their starts.
fn used_twice(world: &World, kind: Kind) -> [u64; 2] {
    let starts = [RECORDED_MS - 4 * DAY_MS, RECORDED_MS - DAY_MS];
    let store = world.writer();
    let site = store.site(&SiteId::new(SHOP).unwrap()).unwrap();
    let visitor = VisitorId::new("v-again").unwrap();
    let session = Session::new(session_id(ID)).visitor(visitor).kind(kind);
    for ms in starts {
        let chunk = events(ms);
        site.append(&session, &Chunk::from_events(0, &chunk[..]).unwrap()).unwrap();
    }
    store.archive().unwrap();
    drop(site);
    store.close().unwrap();
    starts
}

/// What the list says of when they started.
fn listed(client: &Client) -> Vec<u64> {
    let list = client.get(&format!("/v1/sites/{SHOP}/sessions?visitor=v-again&order=oldest"));
    let list = list.json();
    let sessions = list["sessions"].as_array().unwrap().iter();
    sessions.filter(|s| s["id"] == ID).map(|s| s["start_ms"].as_u64().unwrap()).collect()
}

#[test]
fn each_is_shown_and_played_by_its_start() {
    let world = World::new();
    let starts = used_twice(&world, Kind::Replay);
    let service = world.serve();
    let admin = service.admin();
    assert_eq!(listed(&admin), starts);
    let one = format!("/v1/sites/{SHOP}/sessions/{ID}");
    let mut tags = Vec::new();
    for ms in starts {
        assert_eq!(admin.get(&format!("{one}?start={ms}")).json()["start_ms"], ms);
        let played = admin.get(&format!("{one}/events?start={ms}"));
        assert_eq!((played.status, played.body == events(ms)), (200, true), "{played:?}");
        let from_snapshot = admin.get(&format!("{one}/events?start={ms}&from={}", ms + 1));
        assert!(from_snapshot.whole && events(ms).ends_with(&from_snapshot.body));
        assert!(!from_snapshot.body.is_empty());
        assert!(admin.get(&format!("{one}/export?start={ms}")).body == events(ms));
        tags.push(played.header("etag").unwrap().to_owned());
    }
    assert_ne!(tags[0], tags[1]);
    // Without a start it is the later one.
    assert_eq!(admin.get(&one).json()["start_ms"], starts[1]);
    assert!(admin.get(&format!("{one}/events")).body == events(starts[1]));
    for (start, status) in [
        ((starts[0] + 2 * DAY_MS).to_string(), 404),
        (u64::MAX.to_string(), 404),
        ("0".into(), 404),
        ("x".into(), 400),
    ] {
        for path in ["", "/events", "/export"] {
            let reply = admin.get(&format!("{one}{path}?start={start}"));
            assert_eq!(reply.status, status, "{path} {start}");
        }
    }
}

#[test]
fn each_chat_has_its_transcript() {
    let world = World::new();
    let starts = used_twice(&world, Kind::Chat);
    let service = world.serve();
    let viewer = service.with_token(SHOP, &["viewer"]);
    for ms in starts {
        let path = format!("/v1/sites/{SHOP}/sessions/{ID}/transcript?start={ms}");
        assert_eq!(viewer.get(&path).json()["messages"][0]["at_ms"], ms);
    }
}

#[test]
fn a_hold_is_of_the_session_that_was_meant() {
    let world = World::new();
    let [early, late] = used_twice(&world, Kind::Replay);
    let service = world.serve();
    let admin = service.admin();
    let one = format!("/v1/sites/{SHOP}/sessions/{ID}");
    let hold = |ms: u64| format!("{one}/hold?start={ms}");
    let reason = "{\"reason\":\"court order\"}";
    let held = admin.post(&hold(early), reason);
    assert_eq!(held.status, 200, "{held:?}");
    let shown = |ms: u64| -> (Value, Value) {
        let detail = admin.get(&format!("{one}?start={ms}")).json();
        (detail["held"].clone(), detail["hold"]["reason"].clone())
    };
    assert_eq!(shown(early), (json!(true), json!("court order")));
    assert_eq!(shown(late), (json!(false), Value::Null));
    assert_eq!(world.site(SHOP).holds().unwrap()[0].start_ms, early);
    // One of an id at a time; and nobody releases another than he sees.
    assert_eq!(admin.post(&hold(late), reason).status, 409);
    assert_eq!(admin.send("DELETE", &hold(late), None).status, 404);
    assert_eq!(shown(early).0, true);
    assert_eq!(admin.send("DELETE", &hold(early), None).status, 200);
    assert_eq!(shown(early).0, false);
    assert_eq!(admin.post(&hold(early + 2 * DAY_MS), reason).status, 404);
}

#[test]
fn an_archive_has_a_file_for_each() {
    let world = World::new();
    let starts = used_twice(&world, Kind::Replay);
    let service = world.serve();
    let archive = service.with_token(SHOP, &["exporter"]).get(&format!("/v1/sites/{SHOP}/export"));
    assert!(archive.status == 200 && archive.whole);
    let mut found = std::collections::BTreeMap::new();
    for entry in tar::Archive::new(&archive.body[..]).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut text = Vec::new();
        entry.read_to_end(&mut text).unwrap();
        assert!(found.insert(name, text).is_none(), "two files of one name");
    }
    assert_eq!(found.len(), world.of(SHOP).len() + 2);
    assert!(found["used-again.ndjson"] == events(starts[0]));
    assert!(found["used-again@2026-11-21.ndjson"] == events(starts[1]));
}
