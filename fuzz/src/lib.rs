//! What the targets share: finished stores on a simulated machine, edits of their files, a life for the engine, and what must
//! hold whatever is done to them.

pub mod backups;
pub mod edit;
pub mod encodings;
pub mod image;
pub mod life;
pub mod limit;
pub mod world;

use reelvault::{Session, SessionId, SiteId, VisitorId};

/// Noon of a day in 2027.
pub const NOON: u64 = 1_800_014_400_000;
/// The sites of every store.
pub const SITES: [&str; 2] = ["shop.example", "help.example"];

pub fn site_id(at: usize) -> SiteId {
    SiteId::new(SITES[at % SITES.len()]).expect("an id")
}

pub fn session_id(name: &str) -> SessionId {
    SessionId::new(name).expect("an id")
}

pub fn session(name: &str) -> Session {
    Session::new(session_id(name)).visitor(VisitorId::new("visitor").expect("an id"))
}

/// Events of a chunk: a snapshot and another event.
pub fn events(name: &str, seq: u64) -> Vec<u8> {
    events_at(name, seq, NOON)
}

/// The same of a session that began at another time.
pub fn events_at(name: &str, seq: u64, start_ms: u64) -> Vec<u8> {
    let ms = start_ms + seq * 1000;
    let mut events = String::new();
    for (kind, ms) in [(4, ms), (2, ms), (3, ms + 7)] {
        events += &format!("{{\"type\":{kind},\"timestamp\":{ms},\"data\":\"{name} {seq}\"}}\n");
    }
    events.into_bytes()
}
