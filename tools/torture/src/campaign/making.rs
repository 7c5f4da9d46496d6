//! Making a store: a crash at each operation of it, and of the attempt after that; and each operation that fails.

use reelvault::env::sim::{Fault, Survival, When};
use reelvault::{Error, KeyFile, Store};

use crate::broken::{Broken, Outcome, guarded};
use crate::chance::Chance;
use crate::check::{self, Deep};
use crate::counts::Counts;
use crate::model::Model;
use crate::run::{Run, site_id};
use crate::step::{CALLS, SITES, Step};
use crate::world::{KEY, Seeds, World};

use super::{Cases, deaths};

/// So many attempts in a row may die; the one after that must succeed.
const DEATHS_MAX: u32 = 3;
/// One image in so many dies again, and one in so many is looked at in depth.
const DIES_AGAIN: u64 = 200;
const IN_DEPTH: u64 = 40;
/// Images of each crash that are drawn by chance, beside the six that are not.
const RANDOM_IMAGES: usize = 4;

pub(crate) struct Making {
    seed: u64,
}

impl Making {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed }
    }
}

impl Cases for Making {
    fn number(&self) -> Option<u64> {
        None
    }

    fn run(&mut self, case: u64, counts: &mut Counts) -> Outcome {
        let chance = Chance::of(self.seed, case);
        let mut attempts = Attempts { chance, counts, seeds: Seeds::of(self.seed, case) };
        let bare = World::bare(&attempts.seeds)?;
        attempts.counts.one("workloads");
        if case.is_multiple_of(2) { attempts.die(&bare, DEATHS_MAX) } else { attempts.fail(&bare) }
    }

    fn tell(&self, case: u64) -> String {
        let what = if case.is_multiple_of(2) { "crash at" } else { "fault in" };
        format!("a {what} each operation of making a store")
    }
}

struct Attempts<'a> {
    chance: Chance,
    counts: &'a mut Counts,
    seeds: Seeds,
}

impl Attempts<'_> {
    /// Lets the machine die at each operation, and looks at what is found then.
    fn die(&mut self, off: &World, deaths_left: u32) -> Outcome {
        for n in 0.. {
            let world = off.fork(&self.seeds);
            let disk = &world.disk;
            disk.crash_within(disk.operations() + n, self.chance.below(3) * 700);
            let made = guarded(|| Ok(attempt(&world)))?;
            let died = disk.crashed();
            if let (Err(e), false) = (&made, died) {
                return Err(Broken::new(format!("making a store: {e}")));
            }
            self.counts.one("crash points");
            disk.heal();
            for (way, image) in deaths(disk, &mut self.chance, RANDOM_IMAGES) {
                self.counts.one("images");
                let told = |broken: Broken| broken.during(format!("operation {n}, {way}"));
                let image = off.with_disk(image);
                if deaths_left > 1 && self.chance.one_in(DIES_AGAIN) {
                    self.die(&image, deaths_left - 1).map_err(told)?;
                }
                guarded(|| self.look(&image, made.is_ok())).map_err(told)?;
            }
            if !died {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Lets each operation fail, once or from then on, and makes the store when the disk is whole again.
    fn fail(&mut self, off: &World) -> Outcome {
        for fault in [Fault::Io, Fault::Full] {
            for when in [When::Once, When::From] {
                let mut n = 0;
                while self.fails(off, fault, when(off.disk.operations() + n))? {
                    n += 1;
                }
            }
        }
        Ok(())
    }

    /// Lets one fail; whether there was one to fail.
    fn fails(&mut self, off: &World, fault: Fault, when: When) -> Outcome<bool> {
        let world = off.fork(&self.seeds);
        let disk = &world.disk;
        disk.fail(when, fault);
        let made = guarded(|| Ok(attempt(&world)))?;
        let (When::Once(at) | When::From(at)) = when;
        let struck = disk.operations() > at;
        disk.heal();
        self.counts.one("faults");
        let cut = disk.crash_image(Survival::Random(self.chance.next()));
        for image in [disk.kill_image(), cut] {
            self.counts.one("images");
            let image = off.with_disk(image);
            let told = |broken: Broken| broken.during(format!("{fault:?} {when:?}"));
            guarded(|| self.look(&image, made.is_ok())).map_err(told)?;
        }
        Ok(struck)
    }

    /// The next attempt succeeds, and what was acknowledged before is there.
    fn look(&mut self, world: &World, acknowledged: bool) -> Outcome {
        if acknowledged {
            let store = world.open()?;
            store.site(&site_id(0)?)?;
        }
        let told = |e: Error| Broken::new(format!("making it again: {e}"));
        attempt(world).map_err(told)?;
        if !self.chance.one_in(IN_DEPTH) {
            return Ok(());
        }
        let mut run = Run::new(world.clone(), Model::new());
        for (_, step) in CALLS.iter().filter(|(_, step)| matches!(step, Step::Append { .. })) {
            run.step(*step)?;
        }
        drop(run.store.take());
        let model = run.model.lock().clone();
        check::machine(world, &model, Deep::GoesOn)
    }
}

/// What an operator's script does: a key file, a store and its sites, of which any may be there already.
fn attempt(world: &World) -> Result<(), Error> {
    match KeyFile::create(&world.env(), KEY) {
        Ok(_) | Err(Error::Exists(_)) => {}
        Err(e) => return Err(e),
    }
    let store = match world.open() {
        Err(Error::NoStore(_)) => Store::create(world.options()?),
        store => store,
    }?;
    for at in 0..SITES.len() {
        match store.add_site(site_id(at as u8)?, 30) {
            Ok(_) | Err(Error::SiteExists(_)) => {}
            Err(e) => return Err(e),
        }
    }
    store.close()
}
