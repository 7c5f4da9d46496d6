//! Erasing sessions: one at a time, and many in one call.

use std::io::Write;
use std::time::Instant;

use reelvault::{Held, SiteId, Store};

use super::{Watched, fill, session_id, yesterday_ms};
use crate::report::{Goal, Report};
use crate::{Bench, BenchError, Place, Result, median};

/// Archived sessions among which single ones are erased.
const SESSIONS: u64 = 1_000;
const SINGLE: u64 = 50;

pub(super) fn measure(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    single(bench, report)?;
    bulk(bench, report)
}

fn single(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let place = bench.place("erase")?;
    let watched = Watched::at(&place)?;
    let store = Store::create(watched.options.clone())?;
    let site = store.add_site(SiteId::new("erased.example")?, 30)?;
    fill(&site, SESSIONS, yesterday_ms())?;
    store.archive()?;
    let state_before = store.key_status()?.bytes;
    let before = watched.disk.counts();
    let (mut own, mut theirs, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..SINGLE {
        let provider_before = watched.provider.ms();
        let start = Instant::now();
        // 499 has no divisor in common with the count, so these are spread over all of them.
        let erasure = site.erase_sessions([session_id(n * 499 % SESSIONS)?], Held::Refuse)?;
        let ms = start.elapsed().as_secs_f64() * 1e3;
        if erasure.sessions != 1 {
            return Err(BenchError::Child("erasing"));
        }
        let provider = watched.provider.ms() - provider_before;
        own.push(ms - provider);
        theirs.push(provider);
        all.push(ms);
    }
    let counts = watched.disk.counts() - before;
    let each = |n: u64| n as f64 / SINGLE as f64;
    let note = format!(
        "one of {SESSIONS} archived sessions, key file and two mirrors; median of {SINGLE}; {:.1} ms with the provider's {:.1} ms; {:.1} writes and {:.1} syncs each; the limit is the keyring's own of these in a bare loop",
        median(all),
        median(theirs),
        each(counts.writes),
        each(counts.syncs + counts.dir_syncs),
    );
    let limit = Some(bare_ms(&place, store.key_status()?.bytes)?);
    let goal = Goal::AtMost(5.0, "<= 5 ms");
    report.add("erase a session, less the provider", median(own), "ms", limit, goal, note);
    let grown = store.key_status()?.bytes.saturating_sub(state_before);
    let goal = Goal::AtMost(2_048.0, "<= 2 KiB");
    let note = format!("growth of the keyring by the first {SINGLE} of {SESSIONS} sessions");
    report.add("state of an erased session", each(grown), "B", None, goal, note);
    Ok(())
}

/// Milliseconds of the same writes and syncs by themselves: two mirrors and the manifest are replaced, the log grows.
fn bare_ms(place: &Place, keyring_bytes: u64) -> Result<f64> {
    let dir = place.0.join("limit");
    let failed = |e| BenchError::Io(dir.clone(), e);
    std::fs::create_dir(&dir).map_err(failed)?;
    let replace = |name: &str, bytes: u64| -> std::io::Result<()> {
        let beside = dir.join("new");
        let mut file = std::fs::File::create(&beside)?;
        file.write_all(&vec![7; bytes as usize])?;
        file.sync_data()?;
        std::fs::rename(&beside, dir.join(name))?;
        std::fs::File::open(&dir)?.sync_all()
    };
    let mut log = std::fs::File::create(dir.join("log")).map_err(failed)?;
    let mut all = || -> std::io::Result<()> {
        replace("mirror-a", keyring_bytes)?;
        replace("mirror-b", keyring_bytes)?;
        log.write_all(&[7; 512])?;
        log.sync_data()?;
        replace("manifest", 1_024)
    };
    let mut times = Vec::new();
    for _ in 0..SINGLE {
        let start = Instant::now();
        all().map_err(failed)?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(times))
}

fn bulk(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let place = bench.place("erase-many")?;
    let watched = Watched::at(&place)?;
    let store = Store::create(watched.options.clone())?;
    let site = store.add_site(SiteId::new("erased.example")?, 30)?;
    let (all, many) = (bench.config.list_sessions, bench.config.erasures / 2);
    fill(&site, all, yesterday_ms())?;
    store.archive()?;
    let state_before = store.key_status()?.bytes;
    let step = all / many;
    let ids = (0..many).map(|n| session_id(n * step)).collect::<Result<Vec<_>>>()?;
    let start = Instant::now();
    let erasure = site.erase_sessions(ids, Held::Refuse)?;
    let seconds = start.elapsed().as_secs_f64();
    if erasure.sessions as u64 != many {
        return Err(BenchError::Child("erasing"));
    }
    let note =
        format!("{many} of {all} archived sessions of a day, in one generation of the keyring");
    report.add("erase many sessions at once", seconds, "s", None, Goal::None, note);
    let grown = store.key_status()?.bytes.saturating_sub(state_before);
    let goal = Goal::AtMost(2_048.0, "<= 2 KiB");
    let note = format!("growth of the keyring by {many} of {all} sessions");
    let each = grown as f64 / many as f64;
    report.add("state of an erased session, of many", each, "B", None, goal, note);
    Ok(())
}
