//! A recording service embeds the engine: a store, a site, a session, and the way back.
//!
//! `cargo run --example recording_service --features rrweb`

use std::sync::Arc;

use reelvault::env::Env;
use reelvault::{Chunk, KeyFile, Options, Query, Session, SessionId, SiteId, Store, VisitorId};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::temp_dir().join(format!("reelvault-example-{}", std::process::id()));
    Env::real().disk.create_dir(&dir)?;

    // The keyring stands apart from the data, in mirrors; losing all of them loses the data.
    let key = Arc::new(KeyFile::create(&Env::real(), dir.join("key"))?);
    let mirrors = [dir.join("keys-a/keyring"), dir.join("keys-b/keyring")];
    let store = Store::create(Options::new(dir.join("store"), mirrors, key))?;

    // One site is one customer; its sessions are kept for 30 days.
    let site = store.add_site(SiteId::new("shop.example")?, 30)?;
    let session = Session::new(SessionId::new("s-1")?).visitor(VisitorId::new("v-7")?);

    // What a recorder uploads: rrweb events as NDJSON. It is durable when `append` returns.
    let now = Env::real().clock.now_ms();
    for seq in 0..3 {
        let events = format!("{{\"type\":3,\"timestamp\":{},\"data\":{{}}}}\n", now + seq * 5_000);
        site.append(&session, &Chunk::from_events(seq, events.into_bytes())?)?;
    }
    store.archive()?;

    for found in site.sessions(&Query::new().between(now, now + 60_000))?.sessions {
        println!("{}: {} chunks, {} events", found.id, found.chunks, found.events);
        site.replay(&found.id)?.write_to(&mut std::io::stdout())?;
    }
    Ok(std::fs::remove_dir_all(&dir)?)
}
