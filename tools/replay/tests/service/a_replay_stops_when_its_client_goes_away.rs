//! Nothing is read for nobody: a replay goes on as its client takes it, and ends with it.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use reelvault::{Chunk, Session, SiteId};

use crate::common::recordings::RECORDED_MS;
use crate::common::{SHOP, Service, World, session_id};

const CHUNKS: u64 = 150;

/// A session of 60 MB that hardly compresses: far more than all buffers on the way hold.
fn record_large(world: &World) {
    let store = world.writer();
    let site = store.site(&SiteId::new(SHOP).unwrap()).unwrap();
    let mut mix = 1u64;
    for seq in 0..CHUNKS {
        let ms = RECORDED_MS - 600_000 + seq * 1_000;
        let mut events = format!("{{\"type\":3,\"timestamp\":{ms},\"data\":\"");
        while events.len() < 400_000 {
            mix =
                mix.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            events += &format!("{mix:x}");
        }
        events += "\"}\n";
        let chunk = Chunk::from_events(seq, events.into_bytes()).unwrap();
        site.append(&Session::new(session_id("large")), &chunk).unwrap();
    }
    store.close().unwrap();
}

fn figure(service: &Service<'_>, name: &str) -> u64 {
    let mut plain = std::net::TcpStream::connect(service.running.metrics().unwrap()).unwrap();
    plain.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    let mut text = String::new();
    plain.read_to_string(&mut text).unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix(name)).unwrap();
    line.trim().parse().unwrap()
}

#[test]
#[ignore = "slow: it waits for as long as the service does"]
fn what_nobody_takes_is_not_read() {
    let world = World::new();
    record_large(&world);
    let service = world.serve();
    let viewer = service.with_token(SHOP, &["viewer"]);
    let token = &viewer.headers[0].1;
    let frames = "reelvault_replayed_frames_total{kind=\"as_stored\"}";
    for coding in ["zstd", "gzip", "identity"] {
        let before = figure(&service, frames);
        let mut tls = viewer.connect().unwrap();
        let request = format!(
            "GET /v1/sites/{SHOP}/sessions/large/events HTTP/1.1\r\nhost: {}\r\nauthorization: {token}\r\naccept-encoding: {coding}\r\n\r\n",
            viewer.host
        );
        tls.write_all(request.as_bytes()).unwrap();
        tls.read_exact(&mut [0; 4_096]).unwrap();
        // The client takes no more: what is on its way is bounded.
        std::thread::sleep(Duration::from_secs(2));
        let read = figure(&service, frames) - before;
        assert!(read > 0 && read < CHUNKS / 2, "{coding}: {read} of {CHUNKS} frames");
        drop(tls);
        let begun = Instant::now();
        while figure(&service, "reelvault_connections") > 0 {
            assert!(begun.elapsed() < Duration::from_secs(5), "{coding}: it goes on for nobody");
            std::thread::sleep(Duration::from_millis(50));
        }
        let at_the_end = figure(&service, frames) - before;
        assert!(at_the_end <= read + 2, "{coding}: {at_the_end} after {read}");
    }
    // Whoever takes all of it gets all of it.
    let whole = viewer.get(&format!("/v1/sites/{SHOP}/sessions/large/events"));
    assert!(whole.whole && whole.body.len() as u64 > CHUNKS * 400_000);
}
