//! Changes of a keyring for the tests of other modules.

use super::*;
use crate::crypto::Suite;

impl Next<'_> {
    /// The handle of a site in the generation that is being made.
    pub(crate) fn state_site(&self, id: &SiteId) -> Option<SiteHandle> {
        self.state.site(id).map(|site| site.handle())
    }
}

impl Keyring {
    /// Makes a generation that differs in nothing but the keys that seal it.
    pub(crate) fn rotate(&self) -> Result<Published> {
        self.change(|_| Ok(())).map(|((), published)| published)
    }

    /// Makes a generation in which the keys of a day, and of those before it, are gone.
    pub(crate) fn lose_day(&self, expiry_day: u32) {
        self.change(|next| {
            next.expire_through(expiry_day);
            Ok(())
        })
        .unwrap();
    }

    /// Makes a generation in which new data is sealed in another suite.
    pub(crate) fn seal_new_data_in(&self, suite: Suite) {
        self.change(|next| {
            next.set_suite(suite);
            Ok(())
        })
        .unwrap();
    }
}
