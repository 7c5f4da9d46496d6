//! Long lives: a store is used, dies, is cloned, is restored, its disk fails and its bucket lies, time passes, and it goes on.

use reelvault::backup::Trouble;
use reelvault::env::sim::{Fault, Survival, When};

use crate::broken::{Broken, Outcome, guarded};
use crate::chance::Chance;
use crate::check::{self, Deep};
use crate::counts::Counts;
use crate::run::Run;
use crate::step::{self, Step};
use crate::world::Seeds;

use super::Cases;
use super::base::Base;

pub(crate) struct Life {
    seed: u64,
    base: Base,
}

/// Steps of a life, and those that a clone goes on for beside the original.
const STEPS: u64 = 150;
const CLONE_STEPS: u64 = 8;

impl Life {
    pub(crate) fn new(seed: u64) -> Outcome<Self> {
        Ok(Self { seed, base: Base::new(seed)? })
    }
}

impl Cases for Life {
    fn number(&self) -> Option<u64> {
        None
    }

    fn run(&mut self, case: u64, counts: &mut Counts) -> Outcome {
        let mut chance = Chance::of(self.seed, case);
        let mut run = self.base.run(&Seeds::of(self.seed, case));
        for n in 0..STEPS {
            let event = step_or_event(&mut run, &mut chance, counts);
            event.map_err(|broken| broken.during(format!("step {n}")))?;
        }
        die(&mut run, &mut chance, counts)?;
        run.world.bucket.trouble(Trouble::default());
        run.step(Step::Backup)?;
        guarded(|| {
            let world = run.world.with_disk(run.world.disk.kill_image());
            check::machine(&world, &run.model.lock(), Deep::Backups)
        })
    }

    fn tell(&self, _: u64) -> String {
        format!("{STEPS} steps")
    }
}

/// The next thing that happens.
fn step_or_event(run: &mut Run, chance: &mut Chance, counts: &mut Counts) -> Outcome {
    let event = chance.below(40);
    crate::trace(|| format!("event {event}"));
    match event {
        0 | 1 => die(run, chance, counts),
        2 => {
            // Something fails, some operations from now; and a fault for good ends with the next death.
            let at = run.world.disk.operations() + chance.below(60);
            let when = if chance.one_in(2) { When::Once(at) } else { When::From(at) };
            run.world.disk.fail(when, chance.one(&[Fault::Io, Fault::Full]));
            run.may_fail = true;
            counts.one("faults");
            Ok(())
        }
        3 => {
            let odds = chance.one(&[0, 0, 8, 24]);
            let trouble = Trouble { lost: odds, unsure: odds, doubled: odds, delayed: odds };
            run.world.bucket.trouble(trouble);
            run.may_fail |= odds > 0;
            Ok(())
        }
        4 => {
            // A clone of the machine goes on beside it for a while, as a restored copy of a virtual machine does.
            let image = run.world.disk.kill_image();
            let model = run.model.lock().clone();
            let mut clone = Run::new(run.world.with_disk(image), model);
            counts.one("clones");
            clone.may_fail = run.may_fail;
            clone.settle()?;
            for _ in 0..CLONE_STEPS {
                clone.step(step::any(chance)).map_err(|broken| broken.during("clone"))?;
                counts.one("steps");
            }
            Ok(())
        }
        5 if !run.may_fail => guarded(|| check::snapshots(&run.world, &run.model.lock())),
        _ => {
            counts.one("steps");
            let next = step::any(chance);
            guarded(|| run.step(next))
        }
    }
}

/// The machine dies and comes up again, with its disk and its network mended.
fn die(run: &mut Run, chance: &mut Chance, counts: &mut Counts) -> Outcome {
    drop(run.store.take());
    let disk = &run.world.disk;
    disk.heal();
    let image = match chance.below(4) {
        0 => disk.kill_image(),
        1 => disk.crash_image(Survival::Nothing),
        _ => disk.crash_image(Survival::Random(chance.next())),
    };
    run.world.bucket.trouble(Trouble::default());
    run.world = run.world.with_disk(image);
    run.may_fail = false;
    counts.one("deaths");
    guarded(|| run.settle())?;
    run.step(Step::Look).map_err(|broken: Broken| broken.during("after a death"))
}
