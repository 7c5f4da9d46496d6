//! Reading after many erasures, beside a store with the same sessions of which none was erased.

use std::time::Instant;

use reelvault::{Held, Order, Query, Site, SiteId, Store};

use super::{DAY_MS, Watched, fill, session_id, yesterday_ms};
use crate::report::{Goal, Report};
use crate::{Bench, BenchError, Place, Result, median};

const LISTINGS: usize = 301;
const REPLAYS: u64 = 2_001;

struct Filled {
    _store: Store,
    site: Site,
    _place: Place,
}

impl Filled {
    /// A store with a day of sessions, of which some were erased or none.
    fn make(bench: &Bench<'_>, name: &str, day_ms: u64, erased: bool) -> Result<Self> {
        let place = bench.place(name)?;
        let options = Watched::at(&place)?.options;
        let id = SiteId::new("large.example")?;
        let store = Store::create(options.clone())?;
        let site = store.add_site(id.clone(), 30)?;
        fill(&site, bench.config.list_sessions, day_ms)?;
        store.archive()?;
        if erased {
            let ids = (0..bench.config.list_sessions).filter(|n| is_erased(bench, *n));
            let ids = ids.map(session_id).collect::<Result<Vec<_>>>()?;
            let erasure = site.erase_sessions(ids, Held::Refuse)?;
            if erasure.sessions as u64 != bench.config.erasures {
                return Err(BenchError::Child("erasing"));
            }
        }
        drop(site);
        store.close()?;
        // Erasing forgets the keys that appending left in memory: here, both begin without.
        let store = Store::open(options)?;
        let site = store.site(&id)?;
        Ok(Self { _store: store, site, _place: place })
    }

    fn list(&self, query: &Query) -> Result<f64> {
        let start = Instant::now();
        let page = self.site.sessions(query)?;
        let us = start.elapsed().as_secs_f64() * 1e6;
        if page.sessions.len() == 100 { Ok(us) } else { Err(BenchError::Child("listing")) }
    }

    fn replay(&self, n: u64) -> Result<f64> {
        let id = session_id(n)?;
        let start = Instant::now();
        let mut replay = self.site.replay(&id)?;
        while let Some(chunk) = replay.next_chunk()? {
            std::hint::black_box(chunk.events);
        }
        Ok(start.elapsed().as_secs_f64() * 1e6)
    }
}

fn is_erased(bench: &Bench<'_>, n: u64) -> bool {
    n.is_multiple_of(bench.config.list_sessions / bench.config.erasures)
}

pub(super) fn measure(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let day_ms = yesterday_ms();
    let whole = Filled::make(bench, "whole", day_ms, false)?;
    let holed = Filled::make(bench, "holed", day_ms, true)?;
    let (count, erased) = (bench.config.list_sessions, bench.config.erasures);
    let day = Query::new().between(day_ms, day_ms + DAY_MS);
    let told = |report: &mut Report,
                name: [&'static str; 2],
                pairs: Vec<(f64, f64)>,
                what: &str| {
        let (before, after): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
        let (before, after) = (median(before), median(after));
        let note = format!(
            "{what}; {erased} of {count} sessions of the day erased; the limit is the same store without"
        );
        report.add(name[0], after, "µs", Some(before), Goal::None, note);
        let goal = Goal::AtMost(1.1, "<= 1.1");
        report.add(name[1], after / before, "", Some(1.0), goal, "of the medians, taken in turn");
    };
    let names = [
        (
            Order::NewestFirst,
            ["list 100 after erasures, newest first", "the same / without, newest first"],
        ),
        (
            Order::OldestFirst,
            ["list 100 after erasures, oldest first", "the same / without, oldest first"],
        ),
    ];
    for (order, name) in names {
        let query = day.clone().order(order);
        let mut pairs = Vec::new();
        for n in 0..LISTINGS {
            pairs.push(in_turn(n, || whole.list(&query), || holed.list(&query))?);
        }
        // Without the first, which fill the caches.
        let warm = pairs.split_off(LISTINGS / 10);
        let what = format!("median of {}, warm", warm.len());
        told(report, name, warm, &what);
    }
    // Replayed again, a session would find its keys in memory: these are different ones.
    let mut pairs = Vec::new();
    let living =
        (0..count).map(|n| n.wrapping_mul(7_919) % count).filter(|n| !is_erased(bench, *n));
    for (turn, n) in living.take(REPLAYS as usize).enumerate() {
        pairs.push(in_turn(turn, || whole.replay(n), || holed.replay(n))?);
    }
    let what = format!("median of {} sessions of one chunk, each once", pairs.len());
    told(report, ["replay after erasures", "the same / without, replay"], pairs, &what);
    Ok(())
}

/// Both, the one first that has its turn.
fn in_turn(
    turn: usize,
    one: impl Fn() -> Result<f64>,
    other: impl Fn() -> Result<f64>,
) -> Result<(f64, f64)> {
    if turn.is_multiple_of(2) {
        Ok((one()?, other()?))
    } else {
        let second = other()?;
        Ok((one()?, second))
    }
}
