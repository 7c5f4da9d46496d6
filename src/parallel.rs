//! The same work for each of some things, by several threads.

use crate::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use crate::sync::{spawn_scoped, thread};

/// Does `work` for each of these in at most so many threads, of which this one is one; answers come in the order of the items.
///
/// Which thread has which item is a matter of time: each takes the next one when it is done with one.
pub(crate) fn each<I: Sync, T: Send + 'static>(
    threads: usize,
    items: &[I],
    work: impl Fn(&I) -> T + Sync,
) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let run = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Relaxed);
            let Some(item) = items.get(at) else { return done };
            done.push((at, work(item)));
        }
    };
    let mut done = thread::scope(|scope| {
        // Where the system gives no further thread, those that there are do the work.
        let others = 1..threads.min(items.len());
        let others: Vec<_> = others.map_while(|_| spawn_scoped(scope, run).ok()).collect();
        let mut done = run();
        for other in others {
            done.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        done
    });
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, answer)| answer).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn each_item_is_worked_on_once_by_as_many_as_there_may_be_and_answers_in_its_place() {
        for threads in 1..4 {
            // Nobody goes on alone: each waits until all of them are at work.
            let all = Barrier::new(threads);
            let answers = each(threads, &[6, 5, 4, 3, 2, 1], |item| {
                all.wait();
                item * 10
            });
            assert_eq!(answers, [60, 50, 40, 30, 20, 10], "{threads} threads");
        }
        assert!(each(2, &[], |item: &u8| *item).is_empty());
    }
}
