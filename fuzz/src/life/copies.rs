//! Those that read beside the one who writes: a reader, backups, and what is restored of them.

use std::sync::Arc;

use reelvault::Store;
use reelvault::backup::{Repository, What};

use super::Life;
use crate::backups::{ON, back_up};

impl Life {
    /// Looks at the store itself, and with a reader beside it.
    pub(super) fn look_beside(&mut self) {
        let seed = self.seed();
        let options = self.world.options(seed).expect("keys");
        let reader = Store::open_read_only(options).expect("it opens");
        self.check(&reader);
        self.store();
        if let Some(store) = &self.store {
            self.check(store);
        }
    }

    pub(super) fn back_up(&mut self) {
        let seed = self.seed();
        match back_up(&self.world, &self.bucket, seed) {
            Ok(repository) => {
                let number = repository.latest(None).expect("a snapshot");
                self.snapshots.push((number, self.ledger.acknowledged.len()));
            }
            Err(e) => panic!("a backup writes nothing to the disk: {e}"),
        }
    }

    /// Looks at the snapshots where they lie, or at what is restored of them.
    pub(super) fn look_at_backups(&mut self, restore: bool) {
        if self.snapshots.is_empty() {
            return;
        }
        let seed = self.seed();
        let mut world = self.world.clone();
        // Restoring goes to another disk: this one may be full.
        world.disk = self.world.disk.crash_image(reelvault::env::sim::Survival::Everything);
        let options = world.options(seed).expect("keys");
        let repository = Repository::open(Arc::new(self.bucket.clone()), options).expect("opens");
        // The last ones: each is a store to be opened.
        for (number, count) in self.snapshots.iter().rev().take(2) {
            let store = match restore {
                false => repository.open_snapshot(*number).expect("it opens"),
                true => {
                    let dir = format!("/restored-{number}");
                    let done = repository.restore(*number, &dir, &What::All, ON);
                    assert!(done.expect("restored").damage.is_empty(), "{number}");
                    let options = world.options_at(&dir, seed + *number).expect("keys");
                    Store::open_read_only(options).expect("it opens")
                }
            };
            // A hold that came later keeps nothing in a snapshot.
            self.ledger.check(&store, self.now_ms(), *count, false);
        }
    }
}
