//! Each operation and each read of a workload fails, in each way, once or for good.

use reelvault::env::sim::{Fault as Of, ReadFault, Survival, When};

use crate::broken::{Broken, Outcome, guarded};
use crate::chance::Chance;
use crate::check::{self, Deep};
use crate::counts::Counts;
use crate::run::Run;
use crate::step::{self, Step};
use crate::world::Seeds;

use super::Cases;
use super::base::Base;

pub(crate) struct Fault {
    seed: u64,
    base: Base,
}

/// Steps of a workload.
const STEPS: usize = 14;

/// What fails.
#[derive(Debug, Clone, Copy)]
enum What {
    /// An operation that changes something.
    Change(Of),
    Read(ReadFault),
}

/// Every way to fail, and whether for good.
const WAYS: [(What, bool); 12] = [
    (What::Change(Of::Io), false),
    (What::Change(Of::Io), true),
    (What::Change(Of::Full), false),
    (What::Change(Of::Full), true),
    (What::Read(ReadFault::Io), false),
    (What::Read(ReadFault::Io), true),
    (What::Read(ReadFault::Short), false),
    (What::Read(ReadFault::Short), true),
    (What::Read(ReadFault::Misdirected), false),
    (What::Read(ReadFault::Misdirected), true),
    (What::Read(ReadFault::Rot), false),
    (What::Read(ReadFault::Rot), true),
];

impl Fault {
    pub(crate) fn new(seed: u64) -> Outcome<Self> {
        Ok(Self { seed, base: Base::new(seed)? })
    }

    /// Workload and way of a case.
    fn workload(&self, case: u64) -> (Vec<Step>, What, bool) {
        let mut chance = Chance::of(self.seed, case / WAYS.len() as u64);
        let (what, for_good) = WAYS[(case % WAYS.len() as u64) as usize];
        let steps = (0..STEPS).map(|_| step::any(&mut chance)).chain([Step::Look]).collect();
        (steps, what, for_good)
    }

    fn begin(&self, seeds: &Seeds) -> Run {
        let mut run = self.base.run(seeds);
        run.may_fail = true;
        run
    }
}

impl Cases for Fault {
    fn number(&self) -> Option<u64> {
        None
    }

    fn run(&mut self, case: u64, counts: &mut Counts) -> Outcome {
        let (steps, what, for_good) = self.workload(case);
        let seeds = Seeds::of(self.seed, case);
        let mut chance = Chance::of(self.seed, !case);
        counts.one("workloads");
        let mut n = 0;
        loop {
            let mut run = self.begin(&seeds);
            run.may_lie = lies(what);
            let disk = run.world.disk.clone();
            let reached = |disk: &reelvault::env::sim::SimDisk| match what {
                What::Change(_) => disk.operations(),
                What::Read(_) => disk.reads(),
            };
            let at = reached(&disk) + n;
            let when = if for_good { When::From(at) } else { When::Once(at) };
            match what {
                What::Change(fault) => disk.fail(when, fault),
                What::Read(fault) => disk.fail_read(when, fault),
            }
            let told = |broken: Broken| broken.during(format!("{what:?} {when:?}"));
            guarded(|| steps.iter().try_for_each(|step| run.step(*step))).map_err(told)?;
            let struck = reached(&disk) > at;
            counts.one("faults");
            counts.add("errors answered", run.errors);
            after(&mut run, (what, for_good), &mut chance, counts).map_err(told)?;
            if !struck {
                return Ok(());
            }
            n += 1;
        }
    }

    fn tell(&self, case: u64) -> String {
        let (steps, what, for_good) = self.workload(case);
        format!("{what:?}{} in {steps:?}", if for_good { " for good" } else { "" })
    }
}

/// Whether what is read is not what stands there.
fn lies(what: What) -> bool {
    matches!(what, What::Read(ReadFault::Short | ReadFault::Misdirected | ReadFault::Rot))
}

/// The disk is whole again: the process ends, with or without the machine, and everything acknowledged is there.
fn after(
    run: &mut Run,
    (what, for_good): (What, bool),
    chance: &mut Chance,
    counts: &mut Counts,
) -> Outcome {
    let lied = lies(what);
    run.world.disk.heal();
    drop(run.store.take());
    let mut model = run.model.lock();
    model.resend();
    let disk = &run.world.disk;
    let ways = [
        ("killed", disk.kill_image()),
        ("nothing kept", disk.crash_image(Survival::Nothing)),
        ("some kept", disk.crash_image(Survival::Random(chance.next()))),
    ];
    for (way, image) in ways {
        counts.one("images");
        let deep = if chance.one_in(40) { Deep::GoesOn } else { Deep::Sessions };
        let image = run.world.with_disk(image);
        let told = |broken: Broken| broken.during(format!("then {way}"));
        let look = || match lied {
            true => check::in_parts(&image, &model, !for_good),
            false => check::machine(&image, &model, deep),
        };
        guarded(look).map_err(told)?;
    }
    Ok(())
}
