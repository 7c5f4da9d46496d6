//! Deletion: dropping a day, erasing sessions, and what reading costs after it.

mod after;
mod day;
mod erase;
mod provider;

use std::sync::Arc;

use reelvault::env::{Counted, Env, RealDisk};
use reelvault::{Chunk, Durability, Options, Session, SessionId, Site, VisitorId};

use crate::report::Report;
use crate::{Bench, Place, Result};
use provider::Timed;

const DAY_MS: u64 = 86_400_000;

/// All figures of deletion.
pub(crate) fn measure(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    day::drop_days(bench, report)?;
    day::drop_beside_writers(bench, report)?;
    erase::measure(bench, report)?;
    after::measure(bench, report)
}

/// What a store is opened with so that its disk is counted and its key provider timed. It works only when told to, so that nothing
/// is counted twice.
struct Watched {
    options: Options,
    disk: Arc<Counted>,
    provider: Arc<Timed>,
}

impl Watched {
    fn at(place: &Place) -> Result<Self> {
        let disk = Arc::new(Counted::new(Arc::new(RealDisk)));
        let env = Env { disk: Arc::clone(&disk) as _, ..Env::real() };
        let provider = Arc::new(Timed::create(&env, &place.0.join("key"))?);
        let mirrors = [place.0.join("keyring-a"), place.0.join("keyring-b")];
        let options = Options::new(place.0.join("store"), mirrors, Arc::clone(&provider) as _);
        Ok(Self { options: options.env(env).background(false), disk, provider })
    }
}

/// Fills a site with sessions of one small chunk each, spread over a day in no order of time.
fn fill(site: &Site, count: u64, day_ms: u64) -> Result<()> {
    for n in 0..count {
        let at = day_ms + (n.wrapping_mul(7_919) % count) * (DAY_MS - 400_000) / count;
        let events = format!("{{\"type\":3,\"timestamp\":{at},\"data\":{{\"n\":{n}}}}}\n");
        let chunk = Chunk::from_events(0, events.into_bytes())?;
        let visitor = VisitorId::new(format!("v-{}", n % 5_000))?;
        let session = Session::new(session_id(n)?).visitor(visitor);
        site.append_with(&session, &chunk, Durability::Deferred)?;
    }
    Ok(())
}

fn session_id(n: u64) -> Result<SessionId> {
    Ok(SessionId::new(format!("s-{n:012}"))?)
}

/// The day before today, from its first millisecond.
fn yesterday_ms() -> u64 {
    (crate::now_ms() / DAY_MS - 1) * DAY_MS
}
