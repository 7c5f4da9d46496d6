//! The service over a repository in a bucket: several instances, few requests, what comes later, what is erased.

use std::sync::Arc;

use reelvault::SiteId;
use reelvault::backup::{Backup, How, Repository, SimPlace};
use reelvault::env::Env;
use reelvault_replay::{Backups, Running, Source};

use crate::common::client::Client;
use crate::common::recordings::RECORDED_MS;
use crate::common::{HELP, SHOP, World, session_id};

/// Makes a snapshot of the store in the bucket.
fn back_up(world: &World, bucket: &SimPlace) {
    let repository = repository(world, bucket);
    let mut backup = Backup::new(&repository, world.path().join("store")).unwrap();
    assert!(backup.run(&How::default(), &|_| true).unwrap().damage.is_empty());
}

fn repository(world: &World, bucket: &SimPlace) -> Repository {
    let place = Arc::new(bucket.clone());
    Repository::open_or_make(place, world.options()).unwrap()
}

/// An instance of the service with a folder of its own, which looks at the bucket only when it is told to.
struct Instance {
    source: Arc<Backups>,
    running: Running,
}

impl Instance {
    fn start(world: &World, bucket: &SimPlace, name: &str) -> Self {
        let clock = Env::real().clock;
        let source = Arc::new(Backups::new(repository(world, bucket), clock).unwrap());
        let mut config = world.config("");
        config.state = world.path().join(name);
        config.refresh_seconds = 3_600;
        let shared = Arc::clone(&source);
        let running = reelvault_replay::start(config, Env::real(), shared).unwrap();
        Self { source, running }
    }

    fn viewer(&self, world: &World, site: &str) -> Client {
        let client =
            Client::new(self.running.https()[0], "localhost", &world.path().join("service.pem"));
        let token = world.issuer.token(site, &["viewer"]);
        client.with("authorization", &format!("Bearer {token}"))
    }
}

fn events(site: &str, session: &str) -> String {
    format!("/v1/sites/{site}/sessions/{session}/events")
}

#[test]
fn a_cold_session_takes_three_requests_and_the_next_one_of_its_segment_one() {
    let world = World::new();
    let bucket = SimPlace::new(RECORDED_MS, 1);
    back_up(&world, &bucket);
    let instance = Instance::start(&world, &bucket, "state-1");
    let viewer = instance.viewer(&world, SHOP);
    // Two that are read at once; a longer one takes a request for each 256 KiB.
    let mut short: Vec<_> = world.of(SHOP).into_iter().filter(|r| !r.is_chat()).collect();
    short.sort_by_key(|r| r.events().len());
    let counts = [short[0], short[1]].map(|recorded| {
        let before = bucket.requests();
        let reply = viewer.get(&events(SHOP, &recorded.session));
        assert_eq!((reply.status, reply.body == recorded.events()), (200, true));
        bucket.requests() - before
    });
    // The segment's end, the site's index, the session; then the session alone.
    assert_eq!(counts, [3, 1]);
}

#[test]
fn instances_share_a_bucket_and_find_what_is_new() {
    let world = World::new();
    let bucket = SimPlace::new(RECORDED_MS, 2);
    let last = world.recorded.last().unwrap();
    back_up(&world, &bucket);
    let instances = ["state-1", "state-2"].map(|name| Instance::start(&world, &bucket, name));
    let answers = instances.each_ref().map(|i| {
        let viewer = i.viewer(&world, HELP);
        world
            .of(HELP)
            .iter()
            .map(|r| viewer.get(&events(HELP, &r.session)).body)
            .collect::<Vec<_>>()
    });
    assert_eq!(answers[0], world.of(HELP).iter().map(|r| r.events()).collect::<Vec<_>>());
    assert_eq!(answers[0], answers[1]);

    // A session more, in a newer snapshot, and nobody was started again.
    let store = world.writer();
    let site = store.site(&SiteId::new(&last.site).unwrap()).unwrap();
    let chunk = reelvault::Chunk::from_events(0, &last.chunks[0][..]).unwrap();
    site.append(&reelvault::Session::new(session_id("later")), &chunk).unwrap();
    store.close().unwrap();
    let path = events(&last.site, "later");
    let viewers = instances.each_ref().map(|i| i.viewer(&world, &last.site));
    assert_eq!(viewers.each_ref().map(|v| v.get(&path).status), [404, 404]);
    back_up(&world, &bucket);
    instances.iter().for_each(|i| i.source.refresh().unwrap());
    for viewer in &viewers {
        assert_eq!(viewer.get(&path).body, last.chunks[0]);
    }
}

#[test]
fn what_is_erased_in_the_store_is_soon_gone_from_the_served_backup() {
    let world = World::new();
    let bucket = SimPlace::new(RECORDED_MS, 3);
    back_up(&world, &bucket);
    let instance = Instance::start(&world, &bucket, "state-1");
    let viewer = instance.viewer(&world, SHOP);
    let session = world.session(SHOP);
    assert_eq!(viewer.get(&events(SHOP, &session)).status, 200);
    let store = world.writer();
    let site = store.site(&SiteId::new(SHOP).unwrap()).unwrap();
    site.erase_sessions([session_id(&session)], reelvault::Held::Refuse).unwrap();
    store.close().unwrap();
    // A reader looks at the keyring once a second.
    let statuses = (0..100).map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        viewer.get(&events(SHOP, &session)).status
    });
    assert!(statuses.into_iter().any(|status| status == 410));
    let listed = viewer.get(&format!("/v1/sites/{SHOP}/sessions")).text();
    assert!(!listed.contains(&session));
    // Nothing can be done to a backup from here.
    let admin = world.issuer.token(SHOP, &["admin"]);
    let admin = viewer.with("authorization", &format!("Bearer {admin}"));
    let other = world.of(SHOP).iter().find(|r| r.session != session).unwrap().session.clone();
    let erase = admin.post(&format!("/v1/sites/{SHOP}/sessions/{other}/erase"), "");
    assert_eq!(erase.status, 409, "{erase:?}");
    assert_eq!(viewer.get(&events(SHOP, &other)).status, 200);
}
