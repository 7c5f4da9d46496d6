//! The same work for each shard, by several threads.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::sync::{spawn_scoped, thread};

use super::state::Shard;

/// Does `work` for each of the shards, in this thread and in so many that help; answers come in the order of the shards.
///
/// Which thread has which shard is a matter of time: each takes the next one when it is done with one.
pub(super) fn each<T: Send + 'static>(
    shards: &[&Shard],
    helpers: usize,
    work: impl Fn(&Shard) -> T + Sync,
) -> Vec<T> {
    let taken = AtomicUsize::new(0);
    let take = || {
        let mut done = Vec::new();
        loop {
            let at = taken.fetch_add(1, Relaxed);
            let Some(shard) = shards.get(at) else { return done };
            done.push((at, work(shard)));
        }
    };
    let mut done = thread::scope(|scope| {
        // Where the system has no thread to give, it takes longer.
        let helping = (0..helpers).map_while(|_| spawn_scoped(scope, take).ok());
        let helping: Vec<_> = helping.collect();
        let mut done = take();
        for helper in helping {
            done.extend(helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        done
    });
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, answer)| answer).collect()
}
