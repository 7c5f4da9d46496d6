//! Crashes during recovery, and during the recovery from those.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use reelvault::Store;
use reelvault::env::sim::{Kind, SimDisk, Survival};

use crate::broken::{Broken, Outcome, guarded};
use crate::chance::Chance;
use crate::check::{self, Deep};
use crate::counts::Counts;
use crate::model::Model;
use crate::run::Run;
use crate::step;
use crate::world::{Seeds, World};

use super::base::Base;
use super::{Cases, deaths};

pub(crate) struct Recovery {
    seed: u64,
    base: Base,
}

/// The machine dies for the first time within so many operations.
const FIRST_DEATH_MAX: u64 = 160;
/// Syncs of a workload before which a process is killed.
const SYNCS_KEPT: usize = 12;
/// So many times it may die again before it comes to itself.
const DEATHS_MAX: u32 = 3;

impl Recovery {
    pub(crate) fn new(seed: u64) -> Outcome<Self> {
        Ok(Self { seed, base: Base::new(seed)? })
    }
}

impl Cases for Recovery {
    fn number(&self) -> Option<u64> {
        None
    }

    fn run(&mut self, case: u64, counts: &mut Counts) -> Outcome {
        let mut chance = Chance::of(self.seed, case);
        let mut run = self.base.run(&Seeds::of(self.seed, case));
        run.may_fail = true;
        let disk = run.world.disk.clone();
        disk.crash_within(disk.operations() + chance.below(FIRST_DEATH_MAX), chance.below(5_000));
        let killed = Arc::new(Mutex::new(VecDeque::new()));
        watch_syncs(&run, &killed);
        while !disk.crashed() {
            run.step(step::any(&mut chance))?;
        }
        disk.on_operation(|_, _| {});
        drop(run.store.take());
        for (image, model) in killed.lock().drain(..) {
            let told = |broken: Broken| broken.during("killed before a sync");
            seen_stays(&run.world.with_disk(image), &model, counts).map_err(told)?;
        }
        run.model.lock().resend();
        let model = run.model.lock().clone();
        let first = match chance.below(3) {
            0 => disk.kill_image(),
            _ => disk.crash_image(Survival::Random(chance.next())),
        };
        counts.one("workloads");
        seen_stays(&run.world.with_disk(first.kill_image()), &model, counts)?;
        let mut dying = Dying { chance, counts, model };
        dying.everywhere(&run.world.with_disk(first), DEATHS_MAX)
    }

    fn tell(&self, _: u64) -> String {
        "steps up to a crash, then a crash at each operation of recovery".to_owned()
    }
}

/// Keeps the machine as it is when a process is killed between writing and syncing, for the last syncs of a workload: what was written
/// is in the system's memory then.
fn watch_syncs(run: &Run, killed: &Arc<Mutex<VecDeque<(SimDisk, Model)>>>) {
    let (killed, model) = (Arc::clone(killed), Arc::clone(&run.model));
    run.world.disk.on_operation(move |disk, operation| {
        if operation.kind == Kind::Sync {
            let mut killed = killed.lock();
            let mut model = model.lock().clone();
            model.resend();
            killed.push_back((disk.kill_image(), model));
            if killed.len() > SYNCS_KEPT {
                killed.pop_front();
            }
        }
    });
}

struct Dying<'a> {
    chance: Chance,
    counts: &'a mut Counts,
    model: Model,
}

impl Dying<'_> {
    /// Opens a machine that is off, and lets it die at each operation of that, and of the work that follows.
    fn everywhere(&mut self, off: &World, deaths_left: u32) -> Outcome {
        for n in 0.. {
            let again = off.with_disk(off.disk.kill_image());
            let disk = &again.disk;
            disk.crash_within(disk.operations() + n, self.chance.below(3) * 700);
            let _ = guarded(|| Ok(recover(&again)))?;
            let done = !disk.crashed();
            disk.heal();
            self.counts.one("crashes in recovery");
            for (way, image) in deaths(disk, &mut self.chance, 3) {
                self.counts.one("images");
                let deep = if self.chance.one_in(24) { Deep::GoesOn } else { Deep::Sessions };
                let image = off.with_disk(image);
                let told =
                    |broken: Broken| broken.during(format!("operation {n} of recovery, {way}"));
                if deaths_left > 1 && self.chance.one_in(400) {
                    let copy = off.with_disk(image.disk.kill_image());
                    self.everywhere(&copy, deaths_left - 1).map_err(told)?;
                }
                guarded(|| check::machine(&image, &self.model, deep)).map_err(told)?;
            }
            if done {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Opens the store and lets it do its first work. That may fail, for the machine dies.
fn recover(world: &World) -> reelvault::Result<()> {
    let store = world.open()?;
    store.maintain()?;
    store.archive()
}

/// What was read once after a crash is there after the next one: a process that was killed has left frames in the system's memory,
/// and whoever shows them must have made them durable.
fn seen_stays(world: &World, model: &Model, counts: &mut Counts) -> Outcome {
    let store = world.open().map_err(|e| Broken::new(format!("opening: {e}")))?;
    let seen = check::seen(&store, model)?;
    let cut = |disk: &SimDisk| world.with_disk(disk.crash_image(Survival::Nothing));
    counts.one("images");
    let told = |broken: Broken| broken.during("seen after the crash, and then the power went");
    check::machine(&cut(&world.disk), &seen, Deep::Sessions).map_err(told)?;
    close(store)
}

fn close(store: Store) -> Outcome {
    Ok(store.close()?)
}
