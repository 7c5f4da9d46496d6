//! A crash at every operation of long workloads.

use std::sync::Arc;

use parking_lot::Mutex;
use reelvault::env::sim::{Operation, SimDisk};

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

pub(crate) struct Crash {
    seed: u64,
    base: Base,
}

/// Steps of a long workload.
const STEPS: usize = 24;
const RANDOM_IMAGES: usize = 4;

/// How a workload is watched.
#[derive(Clone, Copy)]
pub(super) struct Watched {
    pub(super) seed: u64,
    /// Images of each crash that are drawn by chance.
    pub(super) random_images: usize,
}

/// What watches a workload.
struct Watcher {
    /// The machine without its disk, for a disk that owns its watcher would never end.
    world: World,
    model: Arc<Mutex<Model>>,
    how: Watched,
    chance: Chance,
    counts: Counts,
    broken: Option<Broken>,
}

/// Does something, and at each operation of it on the disk looks at images of the machine.
pub(super) fn watch(
    run: &mut Run,
    how: Watched,
    counts: &mut Counts,
    work: impl FnOnce(&mut Run) -> Outcome,
) -> Outcome {
    let world = run.world.without_disk();
    let watcher = Arc::new(Mutex::new(Watcher {
        world,
        model: Arc::clone(&run.model),
        how,
        chance: Chance::new(how.seed),
        counts: Counts::default(),
        broken: None,
    }));
    let same = Arc::clone(&watcher);
    run.world.disk.on_operation(move |disk, operation| same.lock().look(disk, Some(operation)));
    let done = work(run);
    run.world.disk.on_operation(|_, _| {});
    let mut watcher = watcher.lock();
    if done.is_ok() {
        // And when all of it is done.
        watcher.look(&run.world.disk, None);
    }
    counts.merge(&watcher.counts);
    watcher.broken.take().map_or(done, Err)
}

impl Watcher {
    fn look(&mut self, disk: &SimDisk, operation: Option<&Operation>) {
        if self.broken.is_some() {
            return;
        }
        let model = self.model.lock().clone();
        self.counts.one("crash points");
        for (way, image) in deaths(disk, &mut self.chance, self.how.random_images) {
            self.counts.one("images");
            let depth = match self.chance.below(200) {
                0 => Deep::Backups,
                1..5 => Deep::GoesOn,
                _ => Deep::Sessions,
            };
            let image = self.world.with_disk(image);
            if let Err(broken) = guarded(|| check::machine(&image, &model, depth)) {
                let at = operation.map_or("at the end".to_owned(), |o| {
                    format!("before operation {} ({:?} {})", o.number, o.kind, o.path.display())
                });
                self.broken = Some(broken.during(format!("{at}, {way}")));
                return;
            }
        }
    }
}

impl Crash {
    pub(crate) fn new(seed: u64) -> Outcome<Self> {
        Ok(Self { seed, base: Base::new(seed)? })
    }

    fn steps(&self, case: u64) -> Vec<step::Step> {
        let mut chance = Chance::of(self.seed, case);
        (0..STEPS).map(|_| step::any(&mut chance)).collect()
    }
}

impl Cases for Crash {
    fn number(&self) -> Option<u64> {
        None
    }

    fn run(&mut self, case: u64, counts: &mut Counts) -> Outcome {
        let seeds = Seeds::of(self.seed, case);
        let mut run = self.base.run(&seeds);
        let how = Watched { seed: self.seed ^ case, random_images: RANDOM_IMAGES };
        counts.one("workloads");
        let steps = self.steps(case);
        watch(&mut run, how, counts, |run| steps.iter().try_for_each(|step| run.step(*step)))
    }

    fn tell(&self, case: u64) -> String {
        format!("{:?}", self.steps(case))
    }
}
