//! The memory of what is on its way to clients, within a bound that all share.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::PASSED_ON_PART;

/// How long a stream waits for memory before it gives up.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// What a step of a stream takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need {
    pub(crate) bytes: usize,
    /// Whether it unpacks what is stored: it then holds its memory until its client has taken a whole block.
    pub(crate) unpacks: bool,
}

/// The memory that there is, counted in KiB.
pub(crate) struct Memory {
    all: Arc<Semaphore>,
    kib: u32,
    /// What of it those who unpack may hold together.
    unpacking: Arc<Semaphore>,
    unpacking_kib: u32,
}

/// Memory that is held until this is dropped.
pub(crate) struct Held {
    _all: OwnedSemaphorePermit,
    _unpacking: Option<OwnedSemaphorePermit>,
}

impl Memory {
    pub(crate) fn new(mib: u32) -> Self {
        let kib = mib.saturating_mul(1024);
        let unpacking_kib = kib - kib / PASSED_ON_PART;
        let new = |kib: u32| Arc::new(Semaphore::new(kib as usize));
        Self { all: new(kib), kib, unpacking: new(unpacking_kib), unpacking_kib }
    }

    /// What is counted for a step: what is larger than all that it may have gets all of that.
    fn kib(&self, need: Need) -> u32 {
        let kib = u32::try_from(need.bytes / 1024 + 1).unwrap_or(u32::MAX);
        kib.min(if need.unpacks { self.unpacking_kib } else { self.kib })
    }

    /// Memory for a step, if there is enough right now.
    pub(crate) fn hold_now(&self, need: Need) -> Option<Held> {
        let kib = self.kib(need);
        let unpacking =
            need.unpacks.then(|| Arc::clone(&self.unpacking).try_acquire_many_owned(kib));
        let unpacking = unpacking.transpose().ok()?;
        let all = Arc::clone(&self.all).try_acquire_many_owned(kib).ok()?;
        Some(Held { _all: all, _unpacking: unpacking })
    }

    /// Memory for a step as soon as there is enough; none if that takes too long.
    pub(crate) async fn hold(&self, need: Need) -> Option<Held> {
        tokio::time::timeout(WAIT_MAX, self.wait(need)).await.ok()?
    }

    async fn wait(&self, need: Need) -> Option<Held> {
        let kib = self.kib(need);
        // First what is scarcer: who waits for that stands in nobody else's way.
        let unpacking = match need.unpacks {
            true => Some(Arc::clone(&self.unpacking).acquire_many_owned(kib).await.ok()?),
            false => None,
        };
        let all = Arc::clone(&self.all).acquire_many_owned(kib).await.ok()?;
        Some(Held { _all: all, _unpacking: unpacking })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;
    /// What a step of a client without zstd takes, and one of a client with it.
    const UNPACKING: Need = Need { bytes: MIB, unpacks: true };
    const PASSING: Need = Need { bytes: MIB / 2, unpacks: false };

    /// As many as there is memory for.
    fn all(memory: &Memory, need: Need) -> Vec<Held> {
        std::iter::from_fn(|| memory.hold_now(need)).collect()
    }

    /// A few slow clients without zstd held all of it, and nobody else's replay began.
    #[test]
    fn who_unpacks_leaves_a_part_to_those_who_are_passed_what_is_stored() {
        let memory = Memory::new(20);
        let slow = all(&memory, UNPACKING);
        assert!((14..=15).contains(&slow.len()), "{}", slow.len());
        let passed = all(&memory, PASSING);
        assert!(passed.len() >= 9, "{}", passed.len());
        drop(slow);
        assert!(memory.hold_now(UNPACKING).is_some());
        drop(passed);
        // Who is passed what is stored may have all of it.
        assert!(all(&memory, PASSING).len() >= 39);
    }

    #[test]
    fn what_is_larger_than_all_that_it_may_have_gets_that_alone() {
        let memory = Memory::new(20);
        let unpacking = memory.hold_now(Need { bytes: 100 * MIB, unpacks: true }).unwrap();
        assert!(memory.hold_now(Need { bytes: 0, unpacks: true }).is_none());
        assert!(memory.hold_now(PASSING).is_some());
        drop(unpacking);
        let passing = memory.hold_now(Need { bytes: 100 * MIB, unpacks: false }).unwrap();
        assert!(memory.hold_now(Need { bytes: 0, unpacks: false }).is_none());
        drop(passing);
        assert!(memory.hold_now(UNPACKING).is_some());
    }

    #[test]
    fn who_waits_to_unpack_stands_in_nobody_elses_way() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let memory = Memory::new(20);
            let slow = all(&memory, UNPACKING);
            let mut waiting = std::pin::pin!(memory.hold(UNPACKING));
            tokio::select! {
                biased;
                _ = &mut waiting => panic!("there is none left for it"),
                () = std::future::ready(()) => {}
            }
            assert!(memory.hold(PASSING).await.is_some());
            drop(slow);
            assert!(waiting.await.is_some());
        });
    }
}
