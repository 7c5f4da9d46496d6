//! Importing with several writers at a time: they wait for the disk together, as the sessions of a recording service do.

use std::collections::HashMap;
use std::fs::File;
use std::hash::RandomState;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::thread;

use indicatif::ProgressBar;
use reelvault::{Site, SiteId};

use super::feed::{Feed, Shared, Stop};
use super::plan::{Item, Plan};
use super::tally::Tally;
use super::{formats, source};
use crate::exit::{Failure, tell};

/// What came of an import.
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    /// Whether damage of the store kept something out.
    pub(crate) damage: bool,
    /// Why it ended early, if it did.
    pub(crate) stopped: Option<Failure>,
}

/// Imports all files of a plan.
pub(crate) fn run(
    plan: &mut Plan,
    sites: &HashMap<SiteId, Site>,
    jobs: usize,
    acks: Option<File>,
    bar: &ProgressBar,
) -> Outcome {
    let total = Mutex::new(Outcome {
        tally: std::mem::take(&mut plan.tally),
        damage: false,
        stopped: None,
    });
    let acks = acks.map(Mutex::new);
    let (hasher, next, stop) = (RandomState::new(), AtomicUsize::new(0), AtomicBool::new(false));
    let shared = Shared { hasher: &hasher, acks: acks.as_ref(), stop: &stop };
    let items = &plan.items;
    let writer = || {
        while !stop.load(Relaxed) {
            let Some(item) = items.get(next.fetch_add(1, Relaxed)) else { break };
            let Some(site) = sites.get(&item.site) else { continue };
            let mut feed = Feed::new(site, &item.path, &shared);
            let outcome = file(item, &mut feed, bar);
            let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
            if settle(outcome, &mut feed, &mut total) {
                stop.store(true, Relaxed);
            }
            total.tally.add(feed.tally);
            let done = total.tally.chunks + total.tally.duplicates;
            bar.set_message(format!("{done} chunks"));
        }
    };
    thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, items.len().max(1)) {
            scope.spawn(writer);
        }
    });
    total.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn file(item: &Item, feed: &mut Feed<'_>, bar: &ProgressBar) -> Result<(), Stop> {
    match source::open(&item.path, bar) {
        Ok(reader) => formats::read(item.format, reader, &item.name, feed),
        Err(e) => {
            feed.refuse(0, 0, format!("it cannot be read: {e}"));
            Ok(())
        }
    }
}

/// Notes how a file ended; whether everything ends with it.
fn settle(outcome: Result<(), Stop>, feed: &mut Feed<'_>, total: &mut Outcome) -> bool {
    match outcome {
        Ok(()) => feed.tally.files += 1,
        Err(Stop::File(e)) => {
            feed.refuse(0, 0, tell(&e).what);
            total.damage = true;
        }
        Err(Stop::Interrupted) => {
            total.stopped.get_or_insert(Failure::Interrupted);
            return true;
        }
        Err(Stop::Fatal(failure)) => {
            // What is wrong matters more than that somebody lost patience over it.
            if !matches!(total.stopped, Some(Failure::Told(_))) {
                total.stopped = Some(failure);
            }
            return true;
        }
    }
    false
}
