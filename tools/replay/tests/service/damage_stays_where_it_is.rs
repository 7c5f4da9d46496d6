//! A corrupt segment: its session answers an error with an id, others play, and the status page says so until it is mended.

use std::io::{Read, Write};
use std::sync::Arc;

use reelvault::Store;
use reelvault::env::Env;
use reelvault::env::sim::SimDisk;
use reelvault_replay::LiveStore;

use crate::common::{self, SHOP, Service, World};

fn figures(service: &Service<'_>) -> String {
    let mut plain = std::net::TcpStream::connect(service.running.metrics().unwrap()).unwrap();
    plain.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    let mut text = String::new();
    plain.read_to_string(&mut text).unwrap();
    text
}

fn figure(service: &Service<'_>, name: &str) -> f64 {
    let text = figures(service);
    let line = text.lines().find_map(|l| l.strip_prefix(name)).unwrap();
    line.trim().parse().unwrap()
}

#[test]
fn a_corrupt_block_is_an_error_with_an_id_and_others_play() {
    let world = World::new();
    let of = world.of(SHOP);
    let victim = of.iter().find(|r| !r.is_chat()).unwrap();
    // The block of the victim's session: found by trying which bit makes it, and it alone, unreadable.
    let (file, whole) = world
        .segments()
        .into_iter()
        .map(|f| (f.clone(), std::fs::read(&f).unwrap()))
        .find(|(f, whole)| {
            let blocks: Vec<usize> = whole
                .windows(4)
                .enumerate()
                .filter(|(_, w)| w == b"RVbk")
                .map(|(i, _)| i)
                .collect();
            blocks.iter().any(|at| {
                let mut spoiled = whole.clone();
                spoiled[at + 100] ^= 1;
                std::fs::write(f, &spoiled).unwrap();
                let broken = world.site(SHOP).replay(&common::session_id(&victim.session));
                let broken = broken.unwrap().write_to(&mut std::io::sink()).is_err();
                if !broken {
                    std::fs::write(f, whole).unwrap();
                }
                broken
            })
        })
        .unwrap();
    let service = world.serve();
    let viewer = service.with_token(SHOP, &["viewer", "exporter"]);
    let path = |id: &str| format!("/v1/sites/{SHOP}/sessions/{id}/events");
    for coding in ["zstd", "gzip", "identity"] {
        let reply = viewer.with("accept-encoding", coding).get(&path(&victim.session));
        assert_eq!(reply.status, 500, "{reply:?}");
        let problem = reply.json();
        assert_eq!(problem["type"], "urn:reelvault:damaged");
        let id = reply.header("x-request-id").unwrap();
        assert_eq!(problem["instance"], format!("urn:uuid:{id}"));
        assert!(!reply.text().contains("segment"), "no file is named");
    }
    for other in of.iter().filter(|r| r.session != victim.session) {
        assert!(viewer.get(&path(&other.session)).body == other.events());
    }
    // An export of the site has all others, and says what it lacks.
    let archive = viewer.get(&format!("/v1/sites/{SHOP}/export"));
    assert!(archive.whole);
    let mut reader = tar::Archive::new(&archive.body[..]);
    let names: Vec<String> = reader
        .entries()
        .unwrap()
        .map(|e| e.unwrap().path().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(names.len(), of.len());
    assert!(names.contains(&format!("{}.DAMAGED.txt", victim.session)), "{names:?}");

    service.running.refresh();
    let status = service.client().get("/v1/status").json();
    assert_eq!(status["state"], "degraded");
    assert_eq!(status["incidents"][0]["kind"], "integrity");
    assert!(status["incidents"][0]["closed_ms"].is_null());
    let page = service.client().get("/status");
    assert!(page.text().contains("One file is damaged"), "{page:?}");
    let incident = status["incidents"][0]["id"].clone();
    drop(service);

    // A restart mends nothing, also where the scrub is off: what is damaged is looked at once more, and the incident stays open.
    let service = world.serve();
    let begun = std::time::Instant::now();
    while figure(&service, "reelvault_scrubbed_bytes_total") == 0.0 {
        assert!(begun.elapsed().as_secs() < 20, "it is not looked at");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    service.running.refresh();
    let status = service.client().get("/v1/status").json();
    assert_eq!(
        (&status["state"], status["incidents"].as_array().unwrap().len()),
        (&"degraded".into(), 1)
    );
    assert_eq!(status["incidents"][0]["id"], incident);
    assert!(status["incidents"][0]["closed_ms"].is_null());
    drop(service);

    // Nor does one after which nothing tells what was damaged: it is open until everything was looked at.
    let damaged = world.path().join("state/damaged");
    let mut sealed = std::fs::read(&damaged).unwrap();
    *sealed.last_mut().unwrap() ^= 1;
    std::fs::write(&damaged, sealed).unwrap();
    let service = world.serve();
    service.running.refresh();
    let status = service.client().get("/v1/status").json();
    assert_eq!(status["state"], "degraded");
    assert_eq!(status["incidents"].as_array().unwrap().len(), 1);
    assert_eq!(status["incidents"][0]["id"], incident);
    assert!(status["incidents"][0]["closed_ms"].is_null());
    drop(service);

    // Mended, and looked at again: the incident closes by itself.
    std::fs::write(&file, &whole).unwrap();
    let service = world.serve();
    let begun = std::time::Instant::now();
    loop {
        service.running.refresh();
        let status = service.client().get("/v1/status").json();
        if status["state"] == "ok" {
            assert!(status["incidents"][0]["closed_ms"].as_u64().is_some(), "{status}");
            break;
        }
        assert!(begun.elapsed().as_secs() < 20, "{status}");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

/// The files below a folder, on a disk that can lose a sector.
fn copy(from: &std::path::Path, disk: &SimDisk) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            copy(&path, disk);
        } else {
            disk.write_file(&path, &std::fs::read(&path).unwrap()).unwrap();
        }
    }
}

/// A sector that could not be read was an internal error: nothing counted it, and the status page knew of no damage.
#[test]
fn a_bad_sector_is_damage_like_any_other() {
    let world = World::new();
    let disk = SimDisk::new();
    copy(world.path(), &disk);
    let env = Env { disk: Arc::new(disk.clone()), ..Env::real() };
    let store = Store::open_read_only(world.options().env(env)).unwrap();
    let site = store.site(&reelvault::SiteId::new(SHOP).unwrap()).unwrap();
    let of = world.of(SHOP);
    let is_broken = |id: &str| {
        let replay = site.replay(&common::session_id(id));
        !replay.is_ok_and(|mut r| r.write_to(&mut std::io::sink()).is_ok())
    };
    let victim = world.segments().into_iter().find_map(|file| {
        let whole = std::fs::read(&file).unwrap();
        let blocks = whole.windows(4).enumerate().filter(|(_, w)| *w == b"RVbk").map(|(i, _)| i);
        blocks.collect::<Vec<_>>().into_iter().find_map(|at| {
            disk.lose_sector(&file, at as u64 + 100).unwrap();
            let broken: Vec<_> = of.iter().filter(|r| is_broken(&r.session)).collect();
            if let [victim] = broken[..] {
                return Some(victim.session.clone());
            }
            disk.write_file(&file, &whole).unwrap();
            None
        })
    });
    let victim = victim.unwrap();
    let source = Arc::new(LiveStore::new(store.clone(), None));
    let running = reelvault_replay::start(world.config(""), Env::real(), source).unwrap();
    let service = Service { world: &world, running };

    let viewer = service.with_token(SHOP, &["viewer", "exporter"]);
    // An export goes on past it. It, too, must tell: often nobody else comes by.
    let read_errors = || figure(&service, "reelvault_read_errors_total{kind=\"unreadable\"}");
    let archive = viewer.get(&format!("/v1/sites/{SHOP}/export"));
    assert!(archive.whole);
    let mut reader = tar::Archive::new(&archive.body[..]);
    let name = |e: std::io::Result<tar::Entry<'_, _>>| {
        e.unwrap().path().unwrap().to_string_lossy().into_owned()
    };
    let names: Vec<String> = reader.entries().unwrap().map(name).collect();
    assert_eq!(names.len(), of.len());
    assert!(names.contains(&format!("{victim}.DAMAGED.txt")), "{names:?}");
    assert_eq!((read_errors(), figure(&service, "reelvault_damaged_files")), (1.0, 1.0));

    let reply = viewer.get(&format!("/v1/sites/{SHOP}/sessions/{victim}/events"));
    assert_eq!((reply.status, &reply.json()["type"]), (500, &"urn:reelvault:damaged".into()));
    assert_eq!(read_errors(), 2.0);
    for other in of.iter().filter(|r| r.session != victim) {
        let path = format!("/v1/sites/{SHOP}/sessions/{}/events", other.session);
        assert!(viewer.get(&path).body == other.events());
    }
    service.running.refresh();
    assert_eq!(service.client().get("/v1/status").json()["state"], "degraded");
    assert_eq!(figure(&service, "reelvault_damaged_files"), 1.0);
}
