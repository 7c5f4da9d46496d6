//! A crash at every operation of every workload of up to three calls.
//!
//! A workload is a path in a tree of calls; what its last call does is looked at, for what the calls before it do is looked at in the
//! shorter workload.

use crate::broken::Outcome;
use crate::counts::Counts;
use crate::step::{CALLS, Step};
use crate::world::Seeds;

use super::Cases;
use super::base::Base;
use super::crash::{Watched, watch};

pub(crate) struct Calls {
    seed: u64,
    base: Base,
}

const KINDS: u64 = CALLS.len() as u64;

/// Images of each crash that are drawn by chance, beside the six that are not.
const RANDOM_IMAGES: usize = 4;

impl Calls {
    pub(crate) fn new(seed: u64) -> Outcome<Self> {
        Ok(Self { seed, base: Base::new(seed)? })
    }
}

/// The calls of a case: first those of one call, then of two, then of three, which come in an order that is spread over all of them, for the
/// short form does not get to the end.
fn calls(mut case: u64) -> Vec<(&'static str, Step)> {
    let mut length = 1;
    while case >= KINDS.pow(length) {
        case -= KINDS.pow(length);
        length += 1;
    }
    if length == 3 {
        // An odd number has no factor in common with a power of two, so each comes once.
        const { assert!(KINDS.is_power_of_two()) };
        case = case * 1_327 % KINDS.pow(length);
    }
    (0..length).rev().map(|place| CALLS[(case / KINDS.pow(place) % KINDS) as usize]).collect()
}

impl Cases for Calls {
    fn number(&self) -> Option<u64> {
        Some(KINDS + KINDS.pow(2) + KINDS.pow(3))
    }

    fn run(&mut self, case: u64, counts: &mut Counts) -> Outcome {
        let seeds = Seeds::of(self.seed, case);
        let mut run = self.base.run(&seeds);
        let calls = calls(case);
        let Some(((_, last), before)) = calls.split_last() else { return Ok(()) };
        run.open()?;
        for (_, step) in before {
            run.step(*step)?;
        }
        counts.one("workloads");
        let watched = Watched { seed: self.seed ^ case, random_images: RANDOM_IMAGES };
        watch(&mut run, watched, counts, |run| run.step(*last))
    }

    fn tell(&self, case: u64) -> String {
        calls(case).iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }
}
