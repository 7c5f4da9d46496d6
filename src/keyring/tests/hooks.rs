//! Changes of a keyring for the tests of other modules.

use super::*;

impl Keyring {
    /// Makes a generation in which the keys of a day are gone.
    pub(crate) fn lose_day(&self, expiry_day: u32) {
        self.edit(|next| assert!(next.time.puncture(expiry_day.into())));
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
