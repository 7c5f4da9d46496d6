//! The campaigns. Each is a list of cases: a case follows from the seed and its number alone, so that one that fails can be run again
//! by itself.

mod base;
mod calls;
mod corruption;
mod crash;
mod fault;
mod life;
mod making;
mod recovery;
mod units;

use reelvault::env::sim::{SimDisk, Survival};

use crate::broken::Outcome;
use crate::chance::Chance;
use crate::counts::Counts;

/// One campaign.
pub(crate) struct Campaign {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// Cases of the short form.
    pub(crate) short: u64,
    /// What the short form must at least have done.
    pub(crate) at_least: &'static [(&'static str, u64)],
    /// Gets ready: what the cases have in common is made once.
    pub(crate) begin: fn(seed: u64) -> Outcome<Box<dyn Cases>>,
}

/// The cases of a campaign.
pub(crate) trait Cases {
    /// How many there are; endless ones say nothing.
    fn number(&self) -> Option<u64>;
    /// Runs one.
    fn run(&mut self, case: u64, counts: &mut Counts) -> Outcome;
    /// What a case does, for those who run it by itself.
    fn tell(&self, case: u64) -> String;
}

/// All of them.
pub(crate) const ALL: [Campaign; 7] = [
    Campaign {
        name: "making",
        about: "a crash at, and a fault in, each operation of making a store, and of making it again",
        short: 12,
        at_least: &[("crash points", 2_000), ("faults", 1_000)],
        begin: |seed| Ok(Box::new(making::Making::new(seed))),
    },
    Campaign {
        name: "calls",
        about: "a crash at every operation of every workload of up to three calls",
        short: 1_150,
        at_least: &[("crash points", 20_000), ("images", 160_000)],
        begin: |seed| Ok(Box::new(calls::Calls::new(seed)?)),
    },
    Campaign {
        name: "crash",
        about: "a crash at every operation of long workloads",
        short: 16,
        at_least: &[("crash points", 2_000)],
        begin: |seed| Ok(Box::new(crash::Crash::new(seed)?)),
    },
    Campaign {
        name: "recovery",
        about: "crashes during recovery, and during the recovery from those",
        short: 50,
        at_least: &[("crashes in recovery", 2_000)],
        begin: |seed| Ok(Box::new(recovery::Recovery::new(seed)?)),
    },
    Campaign {
        name: "fault",
        about: "each operation and each read of a workload fails, in each way, once or for good",
        short: 84,
        at_least: &[("faults", 10_000)],
        begin: |seed| Ok(Box::new(fault::Fault::new(seed)?)),
    },
    Campaign {
        name: "corruption",
        about: "rot in every region of every file, and units exchanged between sites, sessions and places",
        short: u64::MAX,
        at_least: &[("corruptions", 50_000)],
        begin: |seed| Ok(Box::new(corruption::Corrupted::new(seed)?)),
    },
    Campaign {
        name: "life",
        about: "long lives with crashes, faults, a lying bucket, clones and restores",
        short: 120,
        at_least: &[("steps", 10_000)],
        begin: |seed| Ok(Box::new(life::Life::new(seed)?)),
    },
];

/// Ways in which a machine may be found after it died now.
fn deaths(disk: &SimDisk, chance: &mut Chance, random: usize) -> Vec<(String, SimDisk)> {
    let pending = disk.pending_operations();
    if pending.is_empty() {
        return vec![("nothing was pending".to_owned(), disk.crash_image(Survival::Everything))];
    }
    let mut ways = vec![Survival::Nothing, Survival::Everything];
    // The last ones are where order matters most.
    if let [.., last] = pending[..] {
        ways.push(Survival::Without(last));
        if pending.len() > 1 {
            ways.push(Survival::Only(last));
        }
    }
    if let Some(before) = pending.iter().rev().nth(1) {
        ways.push(Survival::Without(*before));
    }
    ways.extend((0..random).map(|_| Survival::Random(chance.next())));
    let images = ways.into_iter().map(|way| (format!("{way:?}"), disk.crash_image(way)));
    images.chain([("killed".to_owned(), disk.kill_image())]).collect()
}
