//! Erasing sessions: one at a time, and many in one call.

use std::io::Write;
use std::time::Instant;

use reelvault::{Held, Site, SiteId, Store};

use super::{Watched, fill, session_id, yesterday_ms};
use crate::report::{Goal, Report};
use crate::{Bench, BenchError, Place, Result, median};

/// Archived sessions among which single ones are erased.
const SESSIONS: u64 = 1_000;
const SINGLE: u64 = 50;
/// Syncs of an erasure without parts: two mirrors and the manifest with their folders, the log.
const SYNCS_WITHOUT_PARTS: f64 = 7.0;
/// Further syncs where there are parts: of the folder of each mirror.
const FOLDER_SYNCS: f64 = 2.0;

pub(super) fn measure(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    single(bench, report)?;
    bulk(bench, report)?;
    after_many(bench, report)?;
    among_sites(bench, report)
}

fn single(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let place = bench.place("erase")?;
    let watched = Watched::at(&place)?;
    let store = Store::create(watched.options.clone())?;
    let site = store.add_site(SiteId::new("erased.example")?, 30)?;
    fill(&site, SESSIONS, yesterday_ms())?;
    store.archive()?;
    // 499 has no divisor in common with the count, so these are spread over all of them.
    let singles = Singles::erase(&watched, &store, &site, |n| n * 499 % SESSIONS)?;
    let what = format!("one of {SESSIONS} archived sessions");
    singles.tell(&place, report, "erase a session, less the provider", &what)?;
    let goal = Goal::AtMost(2_048.0, "<= 2 KiB");
    let note = format!("growth of the keyring by the first {SINGLE} of {SESSIONS} sessions");
    report.add("state of an erased session", singles.grown, "B", None, goal, note);
    Ok(())
}

/// One more session each after many were erased: a fifth of the sessions of a day.
fn after_many(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let place = bench.place("erase-after-many")?;
    let watched = Watched::at(&place)?;
    let store = Store::create(watched.options.clone())?;
    let site = store.add_site(SiteId::new("erased.example")?, 30)?;
    let (all, many) = (bench.config.list_sessions, bench.config.erasures);
    fill(&site, all, yesterday_ms())?;
    store.archive()?;
    let step = all / many;
    let ids = (0..many).map(|n| session_id(n * step)).collect::<Result<Vec<_>>>()?;
    site.erase_sessions(ids, Held::Refuse)?;
    // Beside those that are gone.
    let singles = Singles::erase(&watched, &store, &site, |n| n * 499 % many * step + 1)?;
    let bytes = store.key_status()?.bytes as f64 / 1e6;
    let what = format!(
        "one more of {all} sessions after {many} were erased; the keyring has {bytes:.0} MB"
    );
    singles.tell(&place, report, "erase one more after many, less the provider", &what)?;
    let goal = Goal::AtMost(2_048.0, "<= 2 KiB");
    let note = format!("growth of the keyring by {SINGLE} more, after {many} of {all} sessions");
    report.add("state of one more erased session", singles.grown, "B", None, goal, note);
    Ok(())
}

/// One session each in a store of as many sites as a day has sessions.
fn among_sites(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let place = bench.place("erase-among-sites")?;
    let watched = Watched::at(&place)?;
    let store = Store::create(watched.options.clone())?;
    let sites = bench.config.list_sessions;
    let ids = (0..sites).map(|n| SiteId::new(format!("site-{n}.example")));
    let ids = ids.collect::<Result<Vec<_>, _>>()?;
    store.add_sites(ids.into_iter().map(|id| (id, 30)))?;
    let site = store.site(&SiteId::new("site-0.example")?)?;
    fill(&site, SESSIONS, yesterday_ms())?;
    store.archive()?;
    let singles = Singles::erase(&watched, &store, &site, |n| n * 499 % SESSIONS)?;
    let bytes = store.key_status()?.bytes as f64 / 1e6;
    let what = format!("one session of one of {sites} sites; the keyring has {bytes:.0} MB");
    singles.tell(&place, report, "erase a session among many sites, less the provider", &what)
}

/// What erasing sessions one by one took.
struct Singles {
    own_ms: f64,
    provider_ms: f64,
    all_ms: f64,
    /// Each.
    writes: f64,
    syncs: f64,
    written_bytes: f64,
    grown: f64,
}

impl Singles {
    fn erase(
        watched: &Watched,
        store: &Store,
        site: &Site,
        which: impl Fn(u64) -> u64,
    ) -> Result<Self> {
        // The first one takes the record of whatever was done before it out of the keyring.
        site.erase_sessions([session_id(which(SINGLE))?], Held::Refuse)?;
        let state_before = store.key_status()?.bytes;
        // A key file writes and syncs, too: that is not the keyring's.
        let counts = || watched.disk.counts() - watched.provider.counts();
        let before = counts();
        let (mut own, mut theirs, mut all) = (Vec::new(), Vec::new(), Vec::new());
        for n in 0..SINGLE {
            let provider_before = watched.provider.ms();
            let start = Instant::now();
            let erasure = site.erase_sessions([session_id(which(n))?], Held::Refuse)?;
            let ms = start.elapsed().as_secs_f64() * 1e3;
            if erasure.sessions != 1 {
                return Err(BenchError::Child("erasing"));
            }
            let provider = watched.provider.ms() - provider_before;
            own.push(ms - provider);
            theirs.push(provider);
            all.push(ms);
        }
        let counts = counts() - before;
        let each = |n: u64| n as f64 / SINGLE as f64;
        Ok(Self {
            own_ms: median(own),
            provider_ms: median(theirs),
            all_ms: median(all),
            writes: each(counts.writes),
            syncs: each(counts.syncs + counts.dir_syncs),
            written_bytes: each(counts.written_bytes),
            grown: each(store.key_status()?.bytes.saturating_sub(state_before)),
        })
    }

    fn tell(
        &self,
        place: &Place,
        report: &mut Report,
        name: &'static str,
        what: &str,
    ) -> Result<()> {
        let note = format!(
            "{what}, key file and two mirrors; median of {SINGLE}; {:.1} ms with the provider's {:.1} ms; {:.1} writes of {:.0} KiB and {:.1} syncs each; the limit is the keyring's own of these in a bare loop",
            self.all_ms,
            self.provider_ms,
            self.writes,
            self.written_bytes / 1024.0,
            self.syncs,
        );
        let limit = Some(self.bare_ms(place)?);
        report.add(name, self.own_ms, "ms", limit, Goal::AtMost(5.0, "<= 5 ms"), note);
        Ok(())
    }

    /// Milliseconds of the same writes and syncs by themselves: parts are written to two mirrors, two mirrors and the manifest are
    /// replaced, the log grows.
    fn bare_ms(&self, place: &Place) -> Result<f64> {
        let dir = place.0.join("limit");
        let failed = |e| BenchError::Io(dir.clone(), e);
        std::fs::create_dir(&dir).map_err(failed)?;
        let parts = ((self.syncs - SYNCS_WITHOUT_PARTS - FOLDER_SYNCS) / 2.0).round().max(0.0);
        let bytes = vec![7; (self.written_bytes / 2.0 / (parts + 1.0)) as usize];
        let sync_dir = || std::fs::File::open(&dir)?.sync_all();
        let write = |name: &str, bytes: &[u8]| -> std::io::Result<std::fs::File> {
            let mut file = std::fs::File::create(dir.join(name))?;
            file.write_all(bytes)?;
            Ok(file)
        };
        let rename = |name: &str| std::fs::rename(dir.join(format!("{name}.new")), dir.join(name));
        let mut log = std::fs::File::create(dir.join("log")).map_err(failed)?;
        let mut all = |n: u64| -> std::io::Result<()> {
            let mut files = Vec::new();
            for mirror in ["a", "b"] {
                for part in 0..parts as u64 {
                    files.push(write(&format!("part-{mirror}-{n}-{part}"), &bytes)?);
                }
                files.push(write(&format!("{mirror}.new"), &bytes)?);
            }
            files.iter().try_for_each(std::fs::File::sync_data)?;
            if parts > 0.0 {
                sync_dir()?;
                sync_dir()?;
            }
            rename("a")?;
            rename("b")?;
            sync_dir()?;
            sync_dir()?;
            log.write_all(&[7; 512])?;
            log.sync_data()?;
            write("manifest.new", &[7; 1_024])?.sync_data()?;
            rename("manifest")?;
            sync_dir()
        };
        let mut times = Vec::new();
        for n in 0..SINGLE {
            let start = Instant::now();
            all(n).map_err(failed)?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        Ok(median(times))
    }
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
