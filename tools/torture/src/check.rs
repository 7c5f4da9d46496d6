//! What must hold of any machine on which a store was used, whatever happened to it.

use std::collections::{BTreeMap, BTreeSet};

use reelvault::{Depth, Error, Query, Replay, Site, Store};

use crate::broken::{Broken, Outcome};
use crate::model::{Fate, Held, Model, Told};
use crate::run::{session_id, site_id};
use crate::step::{Of, SITES};
use crate::world::World;

/// How much is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Deep {
    /// Every session is replayed, and the log of deletions read.
    Sessions,
    /// The store is verified as well, goes on, and is opened once more.
    GoesOn,
    /// All snapshots of its backups are opened as well, and the newest restored.
    Backups,
}

/// Opens a machine's store, which must succeed, and looks at it.
pub(crate) fn machine(world: &World, model: &Model, depth: Deep) -> Outcome {
    let store = world.open().map_err(|e| Broken::new(format!("opening: {e}")))?;
    sessions(&store, model, false)?;
    log(&store)?;
    if depth >= Deep::GoesOn {
        goes_on(world, store, model)?;
    } else {
        drop(store);
    }
    if depth >= Deep::Backups {
        snapshots(world, model)?;
        restored(world, model)?;
    }
    Ok(())
}

/// Whether an error says that nobody can read it any more, or that it never was.
fn is_gone(e: &Error) -> bool {
    matches!(e, Error::Erased | Error::Expired { .. } | Error::UnknownSession)
}

/// Every session is there as far as it must be, with what was sent, and none that must be gone.
pub(crate) fn sessions(store: &Store, model: &Model, may_fail: bool) -> Outcome {
    for at in 0..SITES.len() as u8 {
        let site = match (store.site(&site_id(at)?), model.sites[usize::from(at)]) {
            (Ok(_), Fate::Gone) => return Err(Broken::new(format!("site {at} is there again"))),
            (Ok(site), _) => site,
            (Err(Error::Erased), Fate::Going | Fate::Gone) => continue,
            (Err(e), _) => return Err(Broken::new(format!("site {at}: {e}"))),
        };
        for (of, told) in model.sessions.range((at, 0)..=(at, u8::MAX)) {
            let found = read(&site, *of, told);
            judge(*of, told, told.kept, found, may_fail)?;
        }
    }
    Ok(())
}

/// The numbers of the chunks that there are of a session, in order; each must be what was sent.
type Found = Outcome<Result<Vec<usize>, Error>>;

fn read(site: &Site, of: Of, told: &Told) -> Found {
    match session_id(of).and_then(|id| site.replay(&id)) {
        Ok(replay) => chunks(replay, of, told),
        Err(e) => Ok(Err(e)),
    }
}

fn chunks(mut replay: Replay, of: Of, told: &Told) -> Found {
    let mut found = Vec::new();
    loop {
        let chunk = match replay.next_chunk() {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return Ok(Ok(found)),
            Err(e) => return Ok(Err(e)),
        };
        let seq = chunk.seq as usize;
        if found.last().is_some_and(|last| *last >= seq) {
            return Err(Broken::new(format!("session {of:?}: chunk {seq} comes again")));
        }
        if told.sent.get(seq).map(|sent| &**sent) != Some(chunk.events) {
            return Err(Broken::new(format!("session {of:?}: chunk {seq} is not what was sent")));
        }
        found.push(seq);
    }
}

fn judge(of: Of, told: &Told, kept: usize, found: Found, may_fail: bool) -> Outcome {
    let broken = |what: String| Err(Broken::new(format!("session {of:?} {what}")));
    match (found?, told.fate) {
        (Ok(_), Fate::Gone) => broken("is readable again".to_owned()),
        // On a full disk its files may go before its day: until then, what is left of it shows.
        (Ok(_), Fate::Ending) => Ok(()),
        (Ok(found), _) if !found.iter().copied().eq(0..found.len()) => {
            broken(format!("has a gap: {found:?}"))
        }
        (Ok(found), _) if found.len() >= kept => Ok(()),
        (Ok(found), _) => broken(format!("lost chunks: {found:?} of {kept} acknowledged")),
        (Err(e), Fate::Gone | Fate::Going | Fate::Ending) if is_gone(&e) => Ok(()),
        (Err(Error::UnknownSession), Fate::Kept) if kept == 0 => Ok(()),
        // A fault of the moment may keep it from being read; it may not make it vanish.
        (Err(e), _) if may_fail && !is_gone(&e) => Ok(()),
        (Err(e), fate) => broken(format!("is {fate:?}, with {kept} chunks: {e}")),
    }
}

/// The log of deletions has no damage and no gap.
fn log(store: &Store) -> Outcome {
    match store.deletions()?.damage.first() {
        Some(damage) => Err(Broken::new(format!("log of deletions: {damage}"))),
        None => Ok(()),
    }
}

/// The store is sound, does its background work, takes chunks, and is the same when it is opened again.
fn goes_on(world: &World, store: Store, model: &Model) -> Outcome {
    let found = store.verify(Depth::Content, |_, _| ())?;
    if let Some(damage) = found.damage.first() {
        return Err(Broken::new(format!("verify: {damage}")));
    }
    listed(&store, model)?;
    let mut run = crate::run::Run::new(world.clone(), model.clone());
    run.store = Some(store);
    run.settle()?;
    let first = crate::step::CALLS.map(|(_, step)| step);
    let steps = first.into_iter().filter(|step| !matches!(step, crate::step::Step::Expire { .. }));
    for step in steps.take(7).chain([crate::step::Step::Reopen, crate::step::Step::Look]) {
        run.step(step).map_err(|broken| broken.during("going on"))?;
    }
    Ok(())
}

/// What is listed is what can be read.
fn listed(store: &Store, model: &Model) -> Outcome {
    for at in 0..SITES.len() as u8 {
        let Ok(site) = store.site(&site_id(at)?) else { continue };
        let page = site.sessions(&Query::new().limit(1_000))?;
        if let Some(damage) = page.damage.first() {
            return Err(Broken::new(format!("listing site {at}: {damage}")));
        }
        for (of, told) in model.sessions.range((at, 0)..=(at, u8::MAX)) {
            let name = session_id(*of)?;
            let is_listed = page.sessions.iter().any(|info| info.id == name);
            let must = told.fate == Fate::Kept && told.kept > 0;
            if (must && !is_listed) || (told.fate == Fate::Gone && is_listed) {
                return Err(Broken::new(format!(
                    "session {of:?} is {:?}, listed: {is_listed}",
                    told.fate
                )));
            }
        }
    }
    Ok(())
}

/// Every snapshot that can be seen is whole, and holds what was acknowledged before it was begun and not deleted since.
pub(crate) fn snapshots(world: &World, model: &Model) -> Outcome {
    if world.bucket.objects().is_empty() {
        return Ok(());
    }
    let repository = world.repository()?;
    let (there, damage) = repository.snapshots()?;
    if let Some(damage) = damage.first() {
        return Err(Broken::new(format!("snapshots: {damage}")));
    }
    let newest = model.snapshots.last().map(|snap| snap.number);
    for snap in &model.snapshots {
        let is_there = there.iter().any(|found| found.number == snap.number);
        if !is_there && (!model.pruned || Some(snap.number) == newest) {
            return Err(Broken::new(format!("snapshot {} is gone", snap.number)));
        }
    }
    for found in there {
        // One that was not acknowledged holds at least what the one before it does.
        let snap = model.snapshots.iter().rev().find(|snap| snap.number <= found.number);
        let store = repository.open_snapshot(found.number)?;
        let kept = snap.map(|snap| &snap.kept);
        held_by(&store, model, kept).map_err(|b| b.during(format!("snapshot {}", found.number)))?;
    }
    Ok(())
}

/// What a copy of the store holds.
fn held_by(store: &Store, model: &Model, kept: Option<&BTreeMap<Of, usize>>) -> Outcome {
    let found = store.verify(Depth::Content, |_, _| ())?;
    if let Some(damage) = found.damage.first() {
        return Err(Broken::new(format!("verify: {damage}")));
    }
    let empty = BTreeMap::new();
    for (of, told) in &model.sessions {
        let Ok(site) = store.site(&site_id(of.0)?) else { continue };
        // A hold has a key of its own: a copy from before it expires with its day.
        let mut told = told.clone();
        if told.held != Held::No && told.fate == Fate::Kept {
            told.fate = Fate::Going;
        }
        let kept = kept.unwrap_or(&empty).get(of).copied().unwrap_or(0);
        judge(*of, &told, kept, read(&site, *of, &told), false)?;
    }
    Ok(())
}

/// The newest snapshot restores.
fn restored(world: &World, model: &Model) -> Outcome {
    let Some(snap) = model.snapshots.last() else { return Ok(()) };
    let repository = world.repository()?;
    let dir = format!("/restored-{}", snap.number);
    let all = reelvault::backup::What::All;
    let restored = repository.restore(snap.number, &dir, &all, &|_| true)?;
    if let Some(damage) = restored.damage.first() {
        return Err(Broken::new(format!("restoring: {damage}")));
    }
    let store = world.open_restored(&dir)?;
    held_by(&store, model, Some(&snap.kept)).map_err(|broken| broken.during("restored"))
}

/// The same model, with everything acknowledged that can be read.
pub(crate) fn seen(store: &Store, model: &Model) -> Outcome<Model> {
    let mut seen = model.clone();
    for (of, told) in &mut seen.sessions {
        let Ok(site) = store.site(&site_id(of.0)?) else { continue };
        if let Ok(found) = read(&site, *of, told)? {
            told.kept = told.kept.max(found.len());
        }
    }
    Ok(seen)
}

/// The chunks of a session that there are in a store, each of which must be what was sent; or what it answers.
pub(crate) fn found(store: &Store, of: Of, told: &Told) -> Found {
    match store.site(&site_id(of.0)?) {
        Ok(site) => read(&site, of, told),
        Err(e) => Ok(Err(e)),
    }
}

/// Whatever is shown of sessions is what was sent, and nothing of those that are gone.
pub(crate) fn contents(store: &Store, model: &Model) -> Outcome {
    for (of, told) in &model.sessions {
        if let (Ok(_), Fate::Gone) = (found(store, *of, told)?, told.fate) {
            return Err(Broken::new(format!("session {of:?} is readable again")));
        }
    }
    Ok(())
}

/// Everything acknowledged is there, be it in several parts of one name. While an index could not be read, a chunk of one of its
/// sessions was taken for the beginning of another one: new sessions must not wait until a disk is mended.
pub(crate) fn in_parts(world: &World, model: &Model, with_log: bool) -> Outcome {
    let store = world.open().map_err(|e| Broken::new(format!("opening: {e}")))?;
    for (of, told) in model.sessions.iter().filter(|(of, _)| model.is_kept(**of)) {
        let site = store.site(&site_id(of.0)?)?;
        let name = session_id(*of)?;
        let page = site.sessions(&Query::new().limit(1_000))?;
        let mut all = BTreeSet::new();
        for part in page.sessions.iter().filter(|info| info.id == name) {
            let found = site
                .replay_listed(part)
                .map_or_else(|e| Ok(Err(e)), |replay| chunks(replay, *of, told));
            all.extend(found??);
        }
        if (0..told.kept).any(|seq| !all.contains(&seq)) {
            let what = format!("session {of:?}: {all:?} of {} acknowledged", told.kept);
            return Err(Broken::new(what));
        }
    }
    if with_log { log(&store) } else { Ok(()) }
}
