//! Changes of a keyring for the tests of other modules.

use super::*;
use crate::crypto::Suite;

impl Keyring {
    /// Makes a generation in which the keys of a day are gone.
    pub(crate) fn lose_day(&self, expiry_day: u32) {
        self.edit(|next| assert!(next.time.puncture(expiry_day.into())));
    }

    /// Makes a generation in which new data is sealed in another suite.
    pub(crate) fn seal_new_data_in(&self, suite: Suite) {
        self.edit(|next| next.suite = suite as u8);
    }

    fn edit(&self, edit: impl FnOnce(&mut State)) {
        let mut tried = self.tried.lock();
        let mut next = self.live.read().clone();
        edit(&mut next);
        *tried += 1;
        next.generation = *tried;
        self.publish(&next).unwrap();
        self.adopt(next);
    }
}
