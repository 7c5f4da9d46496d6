//! One thread that commits for all that wait: for peers whose commits are one at a time. What waits when a commit ends is in the next one.

use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use parking_lot::Mutex;

use super::rows::Put;
use crate::{PeerError, Result};

/// At most so many appends in a commit: as many as the most threads that a run has.
const GATHERED_MAX: usize = 256;

struct Job {
    put: Put,
    done: SyncSender<Result<()>>,
}

/// A committing thread.
pub(super) struct Gather {
    jobs: Mutex<Option<Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Gather {
    /// `commit` makes all of them durable, in one transaction.
    pub(super) fn new(mut commit: impl FnMut(&[Put]) -> Result<()> + Send + 'static) -> Self {
        let (sender, jobs) = channel::<Job>();
        let thread = std::thread::spawn(move || {
            while let Some(batch) = next(&jobs) {
                let (puts, waiting): (Vec<_>, Vec<_>) =
                    batch.into_iter().map(|job| (job.put, job.done)).unzip();
                let failed = commit(&puts).err().map(|e| e.to_string());
                for done in waiting {
                    let outcome = failed.clone().map_or(Ok(()), |e| Err(PeerError::Peer(e)));
                    // Whoever waited may have given up.
                    let _ = done.send(outcome);
                }
            }
        });
        Self { jobs: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)) }
    }

    /// Returns when it is durable.
    pub(super) fn append(&self, put: Put) -> Result<()> {
        let ended = |_| PeerError::Peer("the committing thread has ended".to_owned());
        let (done, waiting) = sync_channel(1);
        let sender = self.jobs.lock().clone();
        let sender = sender.ok_or_else(|| ended(()))?;
        sender.send(Job { put, done }).map_err(|_| ended(()))?;
        waiting.recv().map_err(|_| ended(()))?
    }
}

/// All that waits; nothing when the last who could append is gone.
fn next(jobs: &Receiver<Job>) -> Option<Vec<Job>> {
    let mut batch = vec![jobs.recv().ok()?];
    batch.extend(jobs.try_iter().take(GATHERED_MAX - 1));
    Some(batch)
}

impl Drop for Gather {
    fn drop(&mut self) {
        self.jobs.lock().take();
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}
