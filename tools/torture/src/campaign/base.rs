//! The store with which the cases begin: sessions in segments and in journals, one held, one erased, and a backup.

use crate::broken::Outcome;
use crate::model::Model;
use crate::run::Run;
use crate::step::{SESSIONS, Step};
use crate::world::{Seeds, World};

/// A machine that is off, and what must be true of its store.
pub(super) struct Base {
    world: World,
    model: Model,
}

const SMALL: u32 = 300;

impl Base {
    pub(super) fn new(seed: u64) -> Outcome<Self> {
        let seeds = Seeds::new(seed);
        let mut run = Run::create(World::new(&seeds)?)?;
        let small = |of| Step::Append { of, bytes: SMALL, deferred: false };
        for at in 0..2 {
            for n in 1..SESSIONS.len() as u8 {
                run.step(small((at, n)))?;
                run.step(small((at, n)))?;
            }
        }
        for step in [
            small((2, 0)),
            Step::Archive,
            Step::Hold((1, 4)),
            Step::Erase((1, 2)),
            Step::Erase((1, 5)),
            small((0, 0)),
            small((1, 0)),
            small((0, 1)),
            Step::Append { of: (0, 5), bytes: 9_000, deferred: false },
            Step::Maintain,
            Step::Backup,
            small((1, 1)),
            Step::Reopen,
            small((0, 0)),
        ] {
            run.step(step)?;
        }
        if let Some(store) = run.store.take() {
            store.close()?;
        }
        let model = run.model.lock().clone();
        let disk = run.world.disk.crash_image(reelvault::env::sim::Survival::Everything);
        Ok(Self { world: run.world.with_disk(disk), model })
    }

    /// A copy of the machine to be used, with randomness of its own.
    pub(super) fn run(&self, seeds: &Seeds) -> Run {
        Run::new(self.world.fork(seeds), self.model.clone())
    }
}
