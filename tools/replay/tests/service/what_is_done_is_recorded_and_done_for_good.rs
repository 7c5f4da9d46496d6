//! Erase, hold, release, export, and the audit log of all that.

use std::io::Read;

use serde_json::{Value, json};

use crate::common::{HELP, OTHER, SHOP, Service, World};

fn audit(service: &Service<'_>, site: &str) -> Vec<Value> {
    let reply =
        service.with_token(site, &["auditor"]).get(&format!("/v1/sites/{site}/audit?limit=1000"));
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()["records"].as_array().unwrap().clone()
}

fn told(records: &[Value]) -> Vec<(String, String, Option<String>)> {
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    let one = |r: &Value| {
        (text(&r["action"]), text(&r["outcome"]), r["session"].as_str().map(str::to_owned))
    };
    records.iter().rev().map(one).collect()
}

#[test]
fn an_erased_session_is_gone_with_a_certificate() {
    let world = World::new();
    let service = world.serve();
    let admin = service.admin();
    let id = world.session(SHOP);
    let one = format!("/v1/sites/{SHOP}/sessions/{id}");
    assert_eq!(admin.get(&format!("{one}/events")).status, 200);
    let held = admin.post(&format!("{one}/hold"), "{\"reason\":\"court order <b>\"}");
    assert_eq!(held.status, 200, "{held:?}");
    let detail = admin.get(&one).json();
    assert_eq!(
        (&detail["held"], &detail["hold"]["reason"]),
        (&json!(true), &json!("court order <b>"))
    );
    assert_eq!(admin.post(&format!("{one}/hold"), "{\"reason\":\"again\"}").status, 409);
    assert_eq!(admin.post(&format!("{one}/hold"), "{\"reason\":\"\"}").status, 400);
    assert_eq!(admin.post(&format!("{one}/erase"), "{}").status, 409, "it is held");
    assert_eq!(admin.get(&format!("{one}/events")).status, 200);
    let released = admin.send("DELETE", &format!("{one}/hold"), None);
    assert_eq!(released.status, 200, "{released:?}");
    assert_eq!(admin.send("DELETE", &format!("{one}/hold"), None).status, 404);
    let erased = admin.post(&format!("{one}/erase"), "");
    assert_eq!(erased.status, 200, "{erased:?}");
    assert_eq!(erased.json()["reelvault"], "certificate", "{erased:?}");
    for path in ["", "/events", "/export"] {
        assert_eq!(admin.get(&format!("{one}{path}")).status, 410, "{path}");
    }
    assert_eq!(admin.post(&format!("{one}/erase"), "{}").status, 410);
    let list = admin.get(&format!("/v1/sites/{SHOP}/sessions")).text();
    assert!(!list.contains(&id));

    let expected = [
        ("view", "ok"),
        ("hold", "begun"),
        ("hold", "ok"),
        ("hold", "begun"),
        ("hold", "conflict"),
        ("erase", "begun"),
        ("erase", "conflict"),
        ("view", "ok"),
        ("release", "begun"),
        ("release", "ok"),
        ("release", "begun"),
        ("release", "not-found"),
        ("erase", "begun"),
        ("erase", "ok"),
        ("view", "gone"),
        ("export", "gone"),
        ("erase", "begun"),
        ("erase", "gone"),
        ("audit", "ok"),
    ];
    let records = audit(&service, SHOP);
    let found = told(&records);
    let short: Vec<_> = found.iter().map(|(a, o, _)| (a.as_str(), o.as_str())).collect();
    assert_eq!(short, expected);
    assert!(found[..18].iter().all(|(_, _, session)| session.as_deref() == Some(&id)));
    assert!(records[1..].iter().all(|r| r["who"] == "user:admin" && r["address"] == "127.0.0.1"));
    assert_eq!(records[0]["who"], "jwt:https://issuer.test:robot-1");
}

#[test]
fn a_store_that_another_process_writes_refuses_deeds() {
    let world = World::new();
    let service = world.serve();
    let admin = service.admin();
    let one = format!("/v1/sites/{SHOP}/sessions/{}", world.session(SHOP));
    let writer = world.writer();
    let refused = admin.post(&format!("{one}/erase"), "{}");
    assert_eq!(refused.status, 409, "{refused:?}");
    assert_eq!(admin.post(&format!("{one}/hold"), "{\"reason\":\"x\"}").status, 409);
    assert_eq!(admin.get(&format!("{one}/events")).status, 200);
    drop(writer);
    assert_eq!(admin.post(&format!("{one}/erase"), "{}").status, 200);
}

#[test]
fn attempts_that_were_refused_are_recorded_where_they_were_aimed() {
    let world = World::new();
    let service = world.serve_with("[[sites]]\nid = \"help.example\"\nallow = [\"10.0.0.0/8\"]\n");
    let viewer = service.with_token(SHOP, &["viewer"]);
    let id = world.session(SHOP);
    assert_eq!(viewer.get(&format!("/v1/sites/{SHOP}/sessions/{id}/export")).status, 403);
    assert_eq!(service.client().get(&format!("/v1/sites/{SHOP}/sessions/{id}")).status, 401);
    assert_eq!(viewer.get(&format!("/v1/sites/{OTHER}/sessions")).status, 404);
    // From this address the site cannot be used, whatever a header says.
    let help = service.with_token(HELP, &["viewer", "auditor"]).with("x-forwarded-for", "10.1.1.1");
    assert_eq!(help.get(&format!("/v1/sites/{HELP}/sessions")).status, 403);
    assert_eq!(help.get("/v1/sites").json()["sites"], json!([]));
    drop(service);

    let store = world.reader();
    let all = |site: &str| {
        let env = reelvault::env::Env::real();
        let site = store.site(&reelvault::SiteId::new(site).unwrap()).unwrap();
        let mut all = Vec::new();
        let head =
            reelvault_replay::audit::read_all(&env, &world.path().join("state"), &site, |r| {
                all.push((r.who.clone(), r.outcome.clone()));
            });
        assert!(all.is_empty() || head.unwrap() != [0; 32]);
        all
    };
    let robot = "jwt:https://issuer.test:robot-1".to_owned();
    assert_eq!(
        all(SHOP),
        [(robot.clone(), "forbidden".into()), ("nobody".into(), "unauthorized".into())]
    );
    assert_eq!(all(OTHER), [(robot.clone(), "not-found".into())]);
    assert_eq!(all(HELP), [(robot, "forbidden".into())]);
}

#[test]
fn whose_address_a_proxy_does_not_tell_gets_in_nowhere_for_the_proxys() {
    let world = World::new();
    let service = world.serve_with(
        "[proxy]\ntrusted = [\"127.0.0.1/32\"]\n[[sites]]\nid = \"shop.example\"\nallow = [\"127.0.0.0/8\"]\n",
    );
    let viewer = service.with_token(SHOP, &["viewer"]);
    let list = format!("/v1/sites/{SHOP}/sessions");
    // What the client itself has sent stands before what the proxy knows, and need not be a text.
    for (said, status) in [
        ("\u{e9}, 6.6.6.6", 403),
        ("127.0.0.9, \u{e9}", 403),
        ("127.0.0.9, unknown", 403),
        ("127.0.0.9:4711", 200),
        ("127.0.0.9", 200),
    ] {
        assert_eq!(viewer.with("x-forwarded-for", said).get(&list).status, status, "{said}");
    }
    assert_eq!(viewer.get(&list).status, 200, "the proxy itself");
    let records = audit(&service, SHOP);
    let denied = records.iter().rev().filter(|r| r["action"] == "denied");
    let addresses: Vec<&str> = denied.map(|r| r["address"].as_str().unwrap()).collect();
    assert_eq!(addresses, ["6.6.6.6", "unknown, by 127.0.0.1", "unknown, by 127.0.0.1"]);
}

#[test]
fn an_audit_log_that_was_tampered_with_says_so_and_holds_nothing_readable() {
    let world = World::new();
    let service = world.serve();
    let viewer = service.with_token(SHOP, &["viewer"]);
    let id = world.session(SHOP);
    for _ in 0..3 {
        viewer.get(&format!("/v1/sites/{SHOP}/sessions/{id}/events"));
    }
    assert_eq!(audit(&service, SHOP).len(), 4);
    let page = service
        .with_token(SHOP, &["auditor"])
        .get(&format!("/v1/sites/{SHOP}/audit?limit=2"))
        .json();
    let next = page["next"].as_str().unwrap();
    let more = format!("/v1/sites/{SHOP}/audit?limit=2&cursor={next}");
    let more = service.with_token(SHOP, &["auditor"]).get(&more).json();
    assert_eq!(more["records"][0]["number"], page["records"][1]["number"].as_u64().unwrap() - 1);
    drop(service);
    let handle = world.site(SHOP).handle().to_string();
    let file = world.path().join(format!("state/audit/{handle}/0000000000000001.rvl"));
    let whole = std::fs::read(&file).unwrap();
    for secret in [&id, "robot", "view", "127.0.0.1", SHOP] {
        assert!(!whole.windows(secret.len()).any(|w| w == secret.as_bytes()), "{secret}");
    }
    let mut spoiled = whole.clone();
    spoiled[60] ^= 1;
    std::fs::write(&file, &spoiled).unwrap();
    let service = world.serve();
    let auditor = service.with_token(SHOP, &["auditor"]);
    assert_eq!(auditor.get(&format!("/v1/sites/{SHOP}/audit")).status, 503);
    // What cannot be recorded is not shown.
    let viewer = service.with_token(SHOP, &["viewer"]);
    assert_eq!(viewer.get(&format!("/v1/sites/{SHOP}/sessions/{id}/events")).status, 503);
    let help = service.with_token(HELP, &["viewer"]);
    let other = format!("/v1/sites/{HELP}/sessions/{}/events", world.session(HELP));
    assert_eq!(help.get(&other).status, 200, "another site's log is whole");
    service.running.refresh();
    assert_eq!(service.client().get("/v1/status").json()["state"], "degraded");
    assert_eq!(service.client().get("/readyz").status, 200);
}

#[test]
fn exports_hold_every_event_and_go_to_exporters() {
    let world = World::new();
    let service = world.serve();
    let exporter = service.with_token(HELP, &["exporter"]);
    let of = world.of(HELP);
    for recorded in &of {
        let reply = exporter.get(&format!("/v1/sites/{HELP}/sessions/{}/export", recorded.session));
        assert_eq!(reply.status, 200, "{reply:?}");
        assert!(reply.body == recorded.events());
        let name = format!("attachment; filename=\"{}.ndjson\"", recorded.session);
        assert_eq!(reply.header("content-disposition"), Some(name.as_str()));
    }
    let archive = exporter.get(&format!("/v1/sites/{HELP}/export"));
    assert!(archive.whole, "{archive:?}");
    let mut found = Vec::new();
    let mut reader = tar::Archive::new(&archive.body[..]);
    for entry in reader.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut text = Vec::new();
        entry.read_to_end(&mut text).unwrap();
        found.push((entry.path().unwrap().to_string_lossy().into_owned(), text));
    }
    assert_eq!(found.len(), of.len());
    for recorded in &of {
        let name = format!("{}.ndjson", recorded.session);
        assert!(found.iter().any(|(n, text)| *n == name && *text == recorded.events()), "{name}");
    }
    let nothing = exporter.get(&format!("/v1/sites/{HELP}/export?from=1&to=2"));
    assert_eq!(nothing.body, [0; 1024]);
}

#[test]
fn deeds_at_one_time_wait_for_each_other() {
    let world = World::new();
    let service = world.serve();
    let admin = service.admin();
    let ids: Vec<String> = [SHOP, HELP, OTHER].iter().map(|site| world.session(site)).collect();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let erase = |site: &str, id: &String| format!("/v1/sites/{site}/sessions/{id}/erase");
        let paths = [SHOP, HELP, OTHER].iter().zip(&ids).map(|(site, id)| erase(site, id));
        let all: Vec<_> = paths
            .map(|path| {
                let admin = &admin;
                scope.spawn(move || admin.post(&path, "{}").status)
            })
            .collect();
        all.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert_eq!(statuses, [200, 200, 200]);
}
