//! A corrupt segment: its session answers an error with an id, others play, and the status page says so until it is mended.

use crate::common::{self, SHOP, World};

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
    drop(service);

    // Mended, and looked at again by the scrub: the incident closes by itself.
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
